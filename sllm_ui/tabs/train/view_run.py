"""The right side: steps, figures, charts, what it writes, log; or what will happen."""

import tkinter as tk
from typing import Any

from sllm_ui.tabs.train.presenter import Presenter
from sllm_ui.tabs.train.state import State
from sllm_ui.tabs.train.view_chart import ChartCard
from sllm_ui.tabs.train.view_texts import LogPane, Samples
from sllm_ui.tabs.train.watch import Banner
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Stepper
from sllm_ui.widgets.controls import button, set_button
from sllm_ui.widgets.kit import Box, Card, Desk, Flow, Panel, Tile, label, picture, px, tooltip

TILE, GAP = 118, 12  # logical px of a figure, and between two
LOW, LOWER = 248, 200  # logical px of the row of samples and log; beside a banner


class RunSide(Box):
    """The run in view, or the three steps that a first one will take."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master)
        self._presenter, self._desk = presenter, desk
        self._intro: Intro | None = None
        self._page: RunPage | None = None
        self._is_short = False

    def render(self, old: State | None, new: State) -> None:
        """Show what differs."""
        if new.run is None:
            if self._page:
                self._page.pack_forget()
            if self._intro is None:
                self._intro = Intro(self, self._desk)
            self._intro.render(new)
            self._intro.pack(fill="both", expand=True)
            return
        if self._intro:
            self._intro.pack_forget()
        if self._page is None:
            old = None
            self._page = RunPage(self, self._presenter, self._desk)
            self._page.set_short(self._is_short, new)
        self._page.pack(fill="both", expand=True)
        self._page.render(old, new)

    def set_short(self, is_short: bool, state: State) -> None:
        """Samples and log behind a switch, or below the chart."""
        self._is_short = is_short
        if self._page:
            self._page.set_short(is_short, state)

    def beat(self) -> None:
        """Draw what the run has said since."""
        if self._page and self._page.winfo_ismapped():
            self._page.beat()


class Intro(Panel):
    """Before the first run: what will happen, with the numbers of this project."""

    def __init__(self, master: tk.Misc, desk: Desk) -> None:
        super().__init__(master, pad=24)
        self._box = Box(self)
        self._box.place(relx=0.5, rely=0.45, anchor="center")
        badge = Panel(self._box, fill="accent_bg", pad=16, r=14, border="accent_bg")
        badge.pack(pady=(0, px(16)))
        picture(badge, "graph-up", 28, "accent").pack()
        label(self._box, "What happens when you press Start", "h1").pack()
        self._steps: list[tuple[Any, Any]] = []
        self._rows = Box(self._box)
        self._rows.pack(pady=(px(18), 0))
        self._data = button(
            self._box, "Add text on the Data tab", "database", command=lambda: desk.act("tab_data"),
            tip="Go to the Data tab",
        )  # fmt: skip
        self.bind("<Configure>", self._fit, "+")

    def _fit(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            for _, text in self._steps:
                text.configure(wraplength=max(px(180), min(px(430), event.width - px(150))))

    def render(self, new: State) -> None:
        """Show the steps."""
        while len(self._steps) < len(new.intro):
            self._add()
        for (title, text), (name, words) in zip(self._steps, new.intro, strict=False):
            title.configure(text=name)
            text.configure(text=words)
        if new.is_open and "Data tab" in new.go.why:
            self._data.pack(pady=(px(18), 0))
        else:
            self._data.pack_forget()

    def _add(self) -> None:
        row = Box(self._rows)
        row.pack(fill="x", pady=px(7))
        number = Panel(row, fill="raised", pad=0, r=14, border="line2")
        number.configure(padding=(px(11), px(4), px(11), px(5)))
        label(number, str(len(self._steps) + 1), "strong", "fg2").pack()
        number.pack(side="left", anchor="n", padx=(0, px(14)))
        words = Box(row)
        words.pack(side="left", fill="x", expand=True)
        title, text = label(words, "", "strong"), label(words, "", "body", "fg2", justify="left")
        title.pack(anchor="w")
        text.configure(wraplength=px(430))
        text.pack(anchor="w")
        self._steps.append((title, text))


class RunPage(Box):
    """Everything about one run."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master)
        self._presenter, self._desk = presenter, desk
        steps = Panel(self, pad=0)
        steps.configure(padding=(px(8), px(10), px(8), px(4)))
        steps.pack(fill="x")
        self._stepper = Stepper(steps)
        tooltip(self._stepper, "The nine steps of a run, each with its time")
        self._stepper.pack(fill="x")
        self._flow = Flow(self, TILE, GAP)
        self._flow.pack(fill="x", pady=px(12))
        self._tiles: list[Tile] = []
        self._banner = BannerCard(self, presenter, desk)
        self._low = Box(self, height=px(LOW))
        self._low.grid_propagate(False)
        self._low.columnconfigure(0, weight=3, uniform="low")
        self._low.columnconfigure(1, weight=2, uniform="low")
        self._low.rowconfigure(0, weight=1)
        self._charts = ChartCard(self, presenter, desk)
        self._charts.pack(fill="both", expand=True)
        self._samples: Samples | None = None
        self._log: LogPane | None = None
        self._is_short: bool | None = None
        self._run_id = ""

    def set_short(self, is_short: bool, state: State) -> None:
        """Build samples and log where there is room for them."""
        if is_short == self._is_short:
            return
        self._is_short = is_short
        for child in self._low.winfo_children():
            child.destroy()
        if is_short:
            self._low.pack_forget()
            hosts = self._charts.make_sides()
        else:
            self._charts.drop_sides()
            self._low.pack(side="bottom", fill="x", pady=(px(12), 0), before=self._charts)
            hosts = self._make_cards()
        self._samples = Samples(*hosts[0], self._presenter)
        self._log = LogPane(*hosts[1], self._presenter, self._desk)
        self._run_id = ""
        if state.run:
            self._show_texts(None, state)
        self._charts.render(None, state)

    def _make_cards(self) -> list[tuple[Box, Box]]:
        writes = Card(self._low, "What it writes now", "pencil", pad=14)
        writes.grid(row=0, column=0, sticky="nsew", padx=(0, px(12)))
        log = Card(self._low, "Log", "terminal", pad=14)
        log.grid(row=0, column=1, sticky="nsew")
        return [(writes.head, writes.body), (log.head, log.body)]

    def render(self, old: State | None, new: State) -> None:
        """Show what differs."""
        run, was = new.run, old.run if old else None
        assert run
        self._stepper.show(list(run.steps), run.current, run.is_failed)
        if was is None or was.tiles != run.tiles:
            while len(self._tiles) < len(run.tiles):
                self._tiles.append(Tile(self._flow, run.tiles[len(self._tiles)].title))
            for tile, shown in zip(self._tiles, run.tiles, strict=True):
                tile.show(shown.value, shown.note, shown.tone)
                tooltip(tile, shown.tip)
        if was is None or was.banner != run.banner:
            self._show_banner(run.banner)
        self._show_texts(old, new)
        if old is None or was is None or self._looks_other(old, new):
            self._charts.render(old, new)

    @staticmethod
    def _looks_other(old: State, new: State) -> bool:
        names = ("chart", "side", "scale", "span")
        return any(getattr(old, name) != getattr(new, name) for name in names)

    def _show_banner(self, banner: Banner | None) -> None:
        self._low.configure(height=px(LOW if banner is None else LOWER))
        if banner is None:
            self._banner.pack_forget()
        else:
            self._banner.render(banner)
            self._banner.pack(fill="x", pady=(0, px(12)), before=self._charts)

    def _show_texts(self, old: State | None, new: State) -> None:
        run = new.run
        assert run
        if self._samples:
            self._samples.render(run.sample, run.n_samples, run.sample_at)
        if self._log:
            self._log.render(run.id, run.n_lines)

    def beat(self) -> None:
        """Draw the charts anew if the run has said something."""
        self._charts.beat()


class BannerCard(Panel):
    """Why a run stands still, and what to do."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, pad=0, border="bad")
        self.configure(padding=(px(14), px(10), px(12), px(12)))
        self._presenter, self._desk, self._code = presenter, desk, ""
        self._icon = picture(self, "x-circle-fill", 18, "bad")
        self._icon.pack(side="left", anchor="n", padx=(0, px(12)), pady=px(2))
        buttons = Box(self)
        buttons.pack(side="right", anchor="n")
        self._go_on = button(
            buttons, "Continue", "arrow-clockwise", small=True, command=presenter.resume,
            tip="Go on with this run from its newest checkpoint",
        )  # fmt: skip
        self._explain = button(
            buttons, "Explain", "question-circle", "ghost", small=True,
            command=lambda: desk.help("troubleshooting", self._code), tip="Open the help at this problem",
        )  # fmt: skip
        words = Box(self)
        words.pack(side="left", fill="both", expand=True)
        self._title = label(words, "", "strong")
        self._title.pack(anchor="w")
        self._text = kit.wrap(label(words, "", "body", "fg2", justify="left"), 8)
        self._text.pack(anchor="w", fill="x")
        self._lines = kit.wrap(label(words, "", "mono_s", "muted", justify="left"), 8)

    def render(self, banner: Banner) -> None:
        """Say it."""
        self.set_look("card", banner.tone)
        name = "x-circle-fill" if banner.tone == "bad" else "exclamation-triangle-fill"
        self._icon.configure(image=kit.skin().icon(name, 18, banner.tone))
        self._title.configure(text=banner.title)
        self._text.configure(text=banner.text)
        self._lines.configure(text="\n".join(line[:200] for line in banner.lines))
        if banner.lines:
            self._lines.pack(anchor="w", fill="x", pady=(px(4), 0))
        else:
            self._lines.pack_forget()
        self._code = banner.code
        for control, is_on in ((self._go_on, banner.go_on), (self._explain, banner.code)):
            if is_on:
                control.pack(fill="x", pady=(0, px(4)))
            else:
                control.pack_forget()
        if banner.go_on:
            set_button(self._go_on, banner.go_on)

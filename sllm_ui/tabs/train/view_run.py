"""The right side: steps, figures, charts, what it writes, log; or what will happen."""

import tkinter as tk
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sllm_core import fmt
from sllm_core.errors import SllmError
from sllm_ui.tabs.train.presenter import Presenter
from sllm_ui.tabs.train.state import CHARTS, SIDES, State
from sllm_ui.tabs.train.watch import Banner, SampleText
from sllm_ui.tabs.train.watching import clock_text
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Stepper
from sllm_ui.widgets.chart import LiveChart, legend
from sllm_ui.widgets.controls import Segmented, button, set_button, slider
from sllm_ui.widgets.kit import (
    Box,
    Card,
    Desk,
    Flow,
    Panel,
    Tile,
    append_text,
    enable,
    label,
    pane,
    picture,
    px,
    tooltip,
)

LOW, LOWER = 248, 200  # logical px of the row of samples and log; beside a banner
NARROW = 600  # logical px below which the span of the chart has no switch
TONES = {"good": "good", "warning": "warn", "error": "bad", "info": ""}
LAST = 1000  # steps of the short view
SHOWN, KEPT = 500, 3000  # lines of the log: at first, and at most
CHART_TIPS = {
    "Loss": "Training and validation loss",
    "Rate": "The learning rate",
    "Gradient": "Length of the gradient",
    "Writes": "What it writes now",
    "Log": "What the run has said",
}
LEGENDS: dict[str, list[tuple[str, ...]]] = {
    "Loss": [
        ("train", "accent_hi"), ("validation", "good"), ("best", "good", "ring"),
        ("checkpoint", "warn", "tick"), ("sample", "accent_hi", "mark"),
    ],
    "Rate": [("learning rate", "accent_hi")],
    "Gradient": [("gradient norm", "accent_hi")],
}  # fmt: skip


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
        self._flow = Flow(self, 118, 12)
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


class ChartCard(Panel):
    """Loss, learning rate or gradient; in a low window samples and log as well."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, pad=14)
        self._presenter, self._desk = presenter, desk
        self._charts: dict[str, LiveChart] = {}
        self._sides: dict[str, tuple[Box, Box]] = {}
        self._version = (-1, "", "")
        self._chart = CHARTS[0]
        self._is_wide: bool | None = None
        self._head = Box(self)
        self._head.pack(fill="x", pady=(0, px(8)))
        self._switch: Segmented | None = None
        save = button(
            self._head, icon="image", kind="ghost", small=True, command=self._ask_picture,
            tip="Save the chart as a picture",
        )  # fmt: skip
        self._span = Segmented(
            self._head, ["All", "Last 1k"], command=presenter.watching.set_span,
            tips=["The whole run; double click ends a zoom", "The last thousand steps"],
        )  # fmt: skip
        self._scale = Segmented(
            self._head, ["Linear", "Log"], command=presenter.watching.set_scale,
            tips=["Even scale", "Logarithmic scale: shows what happens late"],
        )  # fmt: skip
        self._tools: list[tk.Misc] = [save, self._span, self._scale]
        self._body = Box(self)
        self._body.pack(fill="both", expand=True)
        self._plot = Box(self._body)
        self._legend = Box(self._plot)
        self._legend.pack(fill="x", pady=(0, px(6)))
        self._legend_of = ""
        self._ground = Panel(self._plot, fill="field", pad=1, r=8, border="field")
        self._ground.pack(fill="both", expand=True)
        self.bind("<Configure>", self._on_size, "+")
        self.drop_sides()

    # -- samples and log in a low window ---------------------------------------------------------

    def make_sides(self) -> list[tuple[Box, Box]]:
        """Room for samples and log behind the switch: (head, body) of each."""
        self._make_switch((*CHARTS, *SIDES))
        for name in SIDES:
            host = Box(self._body)
            head, body = Box(host), Box(host)
            head.pack(fill="x", pady=(0, px(6)))
            body.pack(fill="both", expand=True)
            self._sides[name] = (host, body)
        self._legend.pack_forget()
        return [(host.winfo_children()[0], body) for host, body in self._sides.values()]  # type: ignore[misc]

    def drop_sides(self) -> None:
        """Samples and log have cards of their own."""
        for host, _ in self._sides.values():
            host.destroy()
        self._sides = {}
        self._make_switch(CHARTS)
        self._legend.pack(fill="x", pady=(0, px(6)), before=self._ground)

    def _make_switch(self, names: tuple[str, ...]) -> None:
        if self._switch:
            self._switch.destroy()
        tips = [CHART_TIPS[name] for name in names]
        self._switch = Segmented(
            self._head, names, command=self._presenter.watching.show_chart, tips=tips
        )
        self._switch.pack(side="left")

    # -- showing -----------------------------------------------------------------------------------

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        is_wide = event.width >= px(NARROW) * kit.skin().breadth
        if event.widget is self and is_wide != self._is_wide:
            self._is_wide = is_wide
            self._show_tools(self._presenter.store.state)

    def _show_tools(self, state: State) -> None:
        for tool in self._tools:
            tool.pack_forget()  # type: ignore[attr-defined]
        if self._side(state):
            return
        for i, tool in enumerate(self._tools):
            if tool is not self._span or self._is_wide or not self._sides:
                tool.pack(side="right", padx=(px(8), 0) if i else 0)  # type: ignore[attr-defined]

    def _side(self, state: State) -> str:
        return state.side if state.side in self._sides else ""

    def render(self, old: State | None, new: State) -> None:
        """Show the chosen chart or side."""
        side = self._side(new)
        assert self._switch
        self._switch.set_value(side or new.chart)
        self._scale.set_value(new.scale)
        self._span.set_value(new.span)
        self._show_tools(new)
        for name, (host, _) in self._sides.items():
            if name == side:
                host.pack(fill="both", expand=True)
            else:
                host.pack_forget()
        if side:
            self._plot.pack_forget()
            return
        self._plot.pack(fill="both", expand=True)
        self._show_plot(new)

    def _show_plot(self, new: State) -> None:
        for name, chart in self._charts.items():
            if name != new.chart:
                chart.pack_forget()
        self._chart = new.chart
        if new.chart not in self._charts:
            self._charts[new.chart] = self._make_chart(new.chart)
        chart = self._charts[new.chart]
        chart.pack(fill="both", expand=True, padx=px(2), pady=px(2))
        chart.set_scale(new.scale.lower())
        chart.set_window(LAST if new.span != "All" else None)
        if self._legend_of != new.chart:
            self._legend_of = new.chart
            for child in self._legend.winfo_children():
                child.destroy()
            legend(self._legend, LEGENDS[new.chart]).pack(side="left")
        self._version = (-1, "", "")
        self.beat()

    def _make_chart(self, name: str) -> LiveChart:
        formats: dict[str, Callable[[float], str] | None] = {
            "Loss": None, "Rate": lambda y: f"{y:.3g}", "Gradient": None
        }  # fmt: skip
        series = {"train": ("accent_hi", 1.1, 0.85)}
        if name == "Loss":
            series["val"] = ("good", 2.2, 1.0)
        made = LiveChart(self._ground, series, 120, yfmt=formats[name])
        made.set_empty("The curve begins with the first step.")
        tooltip(made.canvas, "Drag to look closer, double click for the whole run")
        return made

    def beat(self) -> None:
        """Take the newest numbers over and draw."""
        run = self._presenter.watching.curves()
        chart = self._charts.get(self._chart)
        if run is None or chart is None or chart.hidden:
            return
        version = (run.version, run.id, self._chart)
        if version == self._version:
            return
        self._version = version
        steps = run.curve["step"]
        column = {"Loss": "loss", "Rate": "lr", "Gradient": "grad_norm"}[self._chart]
        chart.set("train", steps, run.curve[column])
        if self._chart == "Loss":
            chart.set("val", run.validations["step"], run.validations["val_loss"])
            guess = self._presenter.watching.guessing()
            chart.hline(*(guess or (None, "")))
            chart.marks("checkpoint", [saved.step for saved in run.saved], "warn", "tick")
            chart.marks("sample", sorted({s.step for s in run.samples}), "accent_hi", "dot")
            best = run.best
            chart.mark_best(best.step if best else None, best.val_loss if best else None)
        chart.refresh()

    def _ask_picture(self) -> None:
        chart, name = self._charts.get(self._chart), self._chart.lower()
        if chart is None:
            return

        def save(path: Path) -> None:
            try:
                chart.save_picture(path)
            except SllmError as problem:
                self._desk.toast("bad", "The picture was not saved", problem.text)
            else:
                self._desk.toast("good", "The picture is saved", fmt.path_text(str(path)))

        self._desk.dialogs.ask_save("Save the chart as a picture", save, f"{name}.png")


class Samples:
    """What it wrote at a step, with a scrubber over all of them."""

    def __init__(self, head: Box, body: Box, presenter: Presenter) -> None:
        self._presenter = presenter
        self._title = label(head, "", "caption", "muted")
        self._title.pack(side="right")
        bar = Box(body)
        bar.pack(side="bottom", fill="x", pady=(px(8), 0))
        self._back = button(
            bar, icon="chevron-left", kind="ghost", small=True, tip="The samples before",
            command=lambda: self._move(-1),
        )  # fmt: skip
        self._back.pack(side="left")
        self._slider = slider(
            bar, 0, 1, 0, on_change=lambda at: presenter.watching.scrub(round(at)), step=1,
            tip="Go back to what it wrote earlier; the right end follows the run",
        )  # fmt: skip
        self._slider.pack(side="left", fill="x", expand=True, padx=px(8))
        self._on = button(
            bar, icon="chevron-right", kind="ghost", small=True, tip="The samples after",
            command=lambda: self._move(1),
        )  # fmt: skip
        self._on.pack(side="left")
        panel, self._text = pane(body, 3, read_only=True)
        tooltip(self._text, "The prompt in blue, then what the model wrote")
        panel.pack(fill="both", expand=True)
        self._at = 0
        self._shown: SampleText | None = SampleText(-1, ())

    def _move(self, by: int) -> None:
        self._presenter.watching.scrub(self._at + by)

    def render(self, sample: SampleText | None, n: int, at: int) -> None:
        """Show one sample of ``n``."""
        self._at = at
        last = max(1, n - 1)
        if self._slider.hi != last:
            self._slider.hi = last
            self._slider.configure(to=last)
        self._slider.set_value(at if n > 1 else last)
        why = "" if n > 1 else "There are no other samples yet."
        enable(self._slider, not why, why)
        enable(self._back, at > 0, "This is the first.")
        enable(self._on, at < n - 1, "This is the newest.")
        if sample == self._shown:
            return
        self._shown = sample
        self._title.configure(text=f"step {sample.step:,}" if sample else "")
        self._text.configure(state="normal")
        self._text.delete("1.0", "end")
        if sample is None:
            self._text.insert("end", "Samples come with each validation.", "muted")
        else:
            for i, (prompt, text) in enumerate(sample.parts):
                self._text.insert("end", "\n\n" if i else "", "", prompt, "accent", text, "")
        self._text.configure(state="disabled")


class LogPane:
    """The log of the run, new lines at the end."""

    def __init__(self, head: Box, body: Box, presenter: Presenter, desk: Desk) -> None:
        self._presenter, self._desk = presenter, desk
        copy = button(
            head, icon="clipboard", kind="ghost", small=True, tip="Copy the log",
            command=lambda: desk.copy(presenter.watching.log_text()),
        )  # fmt: skip
        copy.pack(side="right")
        panel, self._text = pane(body, 3, mono=True, read_only=True)
        indent = kit.skin().fonts["mono_s"].measure("00:00:00  ")
        self._text.configure(font="mono_s")
        self._text.tag_configure("line", lmargin2=indent)
        self._text.tag_configure("more", lmargin1=indent, lmargin2=indent)
        tooltip(self._text, "What the run has said")
        panel.pack(fill="both", expand=True)
        self._run, self._n = "", 0

    def render(self, run_id: str, n: int) -> None:
        """Add what is new; another run begins anew."""
        if run_id != self._run or n < self._n:
            self._run, self._n = run_id, 0
            self._text.configure(state="normal")
            self._text.delete("1.0", "end")
            self._text.configure(state="disabled")
        if n == self._n:
            return
        lines = self._presenter.watching.log_since(self._n)[-SHOWN:]
        self._n = n
        is_at_end = not self._text.winfo_ismapped() or self._text.yview()[1] >= 1.0
        append_text(self._text, "")  # notes whether the end is followed
        pieces: list[Any] = []
        for line in lines:
            pieces += [f"{clock_text(line.time)}  ", ("muted", "line")]
            first, _, rest = line.text.partition("\n")
            pieces += [f"{first}\n", (TONES.get(line.level, ""), "line")]
            if rest:
                pieces += [f"{rest}\n", (TONES.get(line.level, ""), "more")]
        self._text.configure(state="normal")
        self._text.insert("end", *pieces)  # one call: a thousand lines cost no more than ten
        extra = int(self._text.index("end-1c").split(".")[0]) - KEPT
        if extra > 0:
            self._text.delete("1.0", f"{extra + 1}.0")
        self._text.configure(state="disabled")
        if is_at_end:
            self._text.see("end-1c")

"""The Data tab on the screen."""

import tkinter as tk
from functools import partial
from typing import Any

from sllm_core import fmt
from sllm_ui.tabs.data.cards import TypesCard, UnusedCard
from sllm_ui.tabs.data.figures import TILES, TIPS
from sllm_ui.tabs.data.files_page import FilesPage
from sllm_ui.tabs.data.filters_card import FiltersCard
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.sources_card import DROP_HINT, Ask, SourcesCard
from sllm_ui.tabs.data.state import ColumnsView, State
from sllm_ui.tabs.data.texts import (
    MAX_LINES,
    MIN_LINES,
    SCROLLED_LINES,
    PreparedCard,
    PreviewCard,
)
from sllm_ui.tabs.data.tokenizer_card import TokenizerCard
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import check, empty, entry
from sllm_ui.widgets.kit import Box, Desk, Elided, Flow, Panel, Scroll, Tile, label, px, skin
from sllm_ui.widgets.overlay import Choice

ONE_COLUMN = 760  # logical px of the page: narrower, the two columns become one
REST_MS = 40  # from the first cards to those below them
SCAN_MS = 300  # between two looks whether the filters have come to rest
MOST_COLUMNS = 60  # that can be ticked
WAKE_MS = 500  # after the first paint
HINTS = (
    ("1 MB", "is enough to see it learn spelling"),
    ("20 MB", "gives readable sentences at 10 M parameters"),
    ("200 MB", "is a good diet for 40 M parameters"),
)


class View(Box):
    """Empty state, the page of cards, and the page of files: one at a time."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "page", padding=px(16))
        self._presenter, self._desk = presenter, desk
        self._ask = Ask(presenter, desk)
        self._pages: dict[str, Empty | Main | FilesPage] = {}
        self._shown = ""  # its name
        self._timers: dict[str, str] = {}
        self._is_asking = False
        self.bind("<Destroy>", self._on_destroy, "+")
        self._after("wake", WAKE_MS, presenter.reading.wake)

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            for timer in self._timers.values():
                self.after_cancel(timer)
            self._timers = {}

    def destroy(self) -> None:
        """Take what is being typed, then go."""
        main = self._pages.get("main")
        if isinstance(main, Main):
            main.flush()
        super().destroy()

    def _after(self, name: str, delay_ms: int, action: Any) -> None:
        """Call ``action`` later, once; the same name waits for one call only."""

        def _tick() -> None:
            del self._timers[name]
            action()

        if name not in self._timers:
            self._timers[name] = self.after(delay_ms, _tick)

    def render(self, old: State | None, new: State) -> None:
        """Bring the page up to date."""
        wanted = self._wanted(new)
        if wanted != self._shown:
            self._replace(wanted)
        self._pages[wanted].show(new)
        if new.is_scan_due:
            self._watch_scan()
        is_new = old is None or old.paste is None or bool(new.paste_error)
        if new.paste is not None and is_new and not self._is_asking:
            self._open_paste(new)
        if new.columns is not None and not new.columns.is_waiting and not self._is_asking:
            self._open_columns(new.columns)

    def _replace(self, wanted: str) -> None:
        """Show another page; the cards are kept while a list of files is in view."""
        if self._shown:
            self._pages[self._shown].pack_forget()
        kept = {wanted, "main"} if wanted.startswith("files") else {wanted}
        for name in self._pages.keys() - kept:
            self._pages.pop(name).destroy()
        if wanted not in self._pages:
            self._pages[wanted] = self._make(wanted)
        self._shown = wanted
        self._pages[wanted].pack(fill="both", expand=True)

    def _wanted(self, state: State) -> str:
        if state.mode != "full":
            return "empty"
        return f"files {state.files.query.kind}" if state.page == "files" else "main"

    def _make(self, wanted: str) -> "Empty | Main | FilesPage":
        if wanted == "empty":
            return Empty(self, self._ask, self._desk)
        if wanted == "main":
            return Main(self, self._presenter, self._desk, self._ask)
        return FilesPage(self, self._presenter, self._desk, wanted.split()[1])

    def _watch_scan(self) -> None:
        def look() -> None:
            self._presenter.filters.tick()
            if self._presenter.store.state.is_scan_due:
                self._watch_scan()

        self._after("scan", SCAN_MS, look)

    def focus_first(self) -> None:
        """Give the keyboard to the first control of what is in view."""
        if self._shown:
            self._pages[self._shown].focus_first()

    # A text that is pasted

    def _open_paste(self, state: State) -> None:
        presenter = self._presenter
        assert state.paste is not None
        name, content = state.paste
        fields: dict[str, Any] = {}

        def keep(_: object = None) -> None:
            if fields["text"].winfo_exists():
                presenter.pasting.edit(
                    fields["name"].get_value(), fields["text"].get("1.0", "end-1c")
                )

        def build(body: Box) -> tk.Misc:
            label(body, "Name (left empty: its first line)", "body", "fg2").pack(anchor="w")
            fields["name"] = entry(body, name, tip="The file gets this name.", on_change=keep)
            fields["name"].pack(fill="x", pady=(px(4), px(10)))
            label(body, "Text", "body", "fg2").pack(anchor="w")
            panel, text = kit.pane(body, 14)
            fields["text"] = text
            text.insert("1.0", content)
            kit.tooltip(text, "Paste or write here. It is stored inside the project's folder.")
            panel.pack(fill="both", expand=True, pady=(px(4), 0))
            for event in ("<KeyRelease>", "<<Paste>>", "<FocusOut>"):
                text.bind(event, keep, "+")
            if state.paste_error:
                fault = kit.wrap(label(body, state.paste_error, "caption", "bad", justify="left"))
                fault.pack(side="bottom", fill="x", pady=(px(6), 0), before=panel)
            return text

        def add() -> None:
            self._is_asking = False
            now = presenter.store.state.paste or ("", "")
            presenter.pasting.add(*now)

        def cancel() -> None:
            self._is_asking = False
            presenter.pasting.cancel()

        self._is_asking = True
        self._desk.dialogs.custom(
            "Paste text", build, [("Add text", "primary", add)], 620, 470, on_cancel=cancel
        )

    # The columns of tables

    def _open_columns(self, view: ColumnsView) -> None:
        picking = self._presenter.picking

        def build(body: Box) -> tk.Misc | None:
            words = (
                "Tick the columns that hold the text. Several are joined with a line break; with "
                "none ticked they are found by their names, such as text or content."
            )
            kit.wrap(label(body, words, "body", "fg2", justify="left")).pack(fill="x")
            scroll = Scroll(body)
            scroll.pack(fill="both", expand=True, pady=(px(10), 0))
            scroll.columnconfigure(1, weight=1)
            for i, (name, sample) in enumerate(view.columns[:MOST_COLUMNS]):
                shown = kit.cut(fmt.path_text(name), "body", px(200), "middle")
                tick = check(
                    scroll, shown, name in view.chosen, partial(picking.tick, name),
                    f"Whether the column {fmt.path_text(name)} holds text to learn from.",
                )  # fmt: skip
                tick.grid(row=i, column=0, sticky="w", pady=px(2))
                text = Elided(scroll, " ".join(fmt.path_text(sample).split()), "caption", "muted")
                text.grid(row=i, column=1, sticky="ew", padx=(px(12), 0))
            if len(view.columns) > MOST_COLUMNS:
                more = f"{len(view.columns) - MOST_COLUMNS:,} more columns are not shown."
                label(scroll, more, "caption", "muted").grid(columnspan=2, sticky="w")
            return next((w for w in _walk(scroll) if w.winfo_class() == "TCheckbutton"), None)

        def take() -> None:
            self._is_asking = False
            picking.take()

        def cancel() -> None:
            self._is_asking = False
            picking.close()

        self._is_asking = True
        title = f"Text columns of {view.name}"
        choices: list[Choice] = [("Use these columns", "primary", take)]
        self._desk.dialogs.custom(title, build, choices, 640, 470, on_cancel=cancel)


class Empty(Panel):
    """Nothing to learn from yet: how to begin."""

    def __init__(self, master: Box, ask: Ask, desk: Desk) -> None:
        super().__init__(master, pad=0)
        middle = Box(self)
        middle.place(relx=0.5, rely=0.46, anchor="center")
        words = (
            "Choose folders or files. Text, code, web pages, books, PDF and tables are read; your files "
            "stay where they are. Nothing leaves this computer."
        )
        self._box = empty(
            middle, "folder-plus", "Add the text you want to learn from", words,
            [
                ("Add a folder", "folder-plus", "primary", ask.folder),
                ("Add files", "file-earmark-plus", "default", ask.files),
                ("Try the sample", "stars", "default", lambda: desk.act("sample")),
            ],
        )  # fmt: skip
        self._box.pack()
        row = Box(middle)
        row.pack(pady=(px(56), 0))
        for i, (amount, what) in enumerate(HINTS):
            hint = Panel(row, fill="field", pad=12, r=8)
            hint.grid(row=0, column=i, padx=px(6), sticky="nsew")
            label(hint, amount, "strong").pack(anchor="w")
            label(hint, what, "caption", "muted", wraplength=px(160), justify="left").pack(
                anchor="w"
            )
        self._drop = label(middle, DROP_HINT, "caption", "muted")
        self._buttons = [w for w in _walk(self._box) if w.winfo_class() == "TButton"]

    def show(self, state: State) -> None:
        """Bring it up to date."""
        for made in self._buttons[:2]:
            kit.enable(made, not state.locked, state.locked)
        if state.can_drop:
            self._drop.pack(pady=(px(20), 0))
        else:
            self._drop.pack_forget()

    def focus_first(self) -> None:
        """The main button."""
        self._buttons[0].focus_set()


def _walk(widget: tk.Misc) -> list[tk.Misc]:
    return [widget, *(w for child in widget.winfo_children() for w in _walk(child))]


class Main(Box):
    """Tiles over two columns of cards; one column where the page is narrow."""

    def __init__(self, master: Box, presenter: Presenter, desk: Desk, ask: Ask) -> None:
        super().__init__(master)
        self._tiles_box = Flow(self, 120, 12)
        self._tiles_box.pack(fill="x", pady=(0, px(12)), padx=(0, px(12)))
        self._tiles = [Tile(self._tiles_box, name, tip=TIPS[name]) for name in TILES]
        self._columns = Box(self)
        self._columns.pack(fill="both", expand=True)
        self._columns.rowconfigure(0, weight=1)
        self._presenter, self._desk, self._ask = presenter, desk, ask
        self._is_wide: bool | None = None
        self._cards: list[Any] = []
        self._state: State | None = None
        self._fit_timer = self._rest_timer = ""
        self.bind("<Configure>", self._on_size)
        self.bind("<Destroy>", self._on_destroy, "+")

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            for timer in filter(None, (self._fit_timer, self._rest_timer)):
                self.after_cancel(timer)
            self._fit_timer = self._rest_timer = ""

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        is_wide = event.width >= px(ONE_COLUMN * skin().breadth)
        if is_wide != self._is_wide:
            self._is_wide = is_wide
            self._build(is_wide)
        self._fit_soon()

    def _build(self, is_wide: bool) -> None:
        """Lay the cards out anew: only when the page becomes wide or narrow."""
        for child in self._columns.winfo_children():
            child.destroy()
        self._cards = []
        columns = self._columns
        columns.columnconfigure(0, weight=11, uniform="data" if is_wide else "")
        columns.columnconfigure(1, weight=9 if is_wide else 0, uniform="data" if is_wide else "")
        left = self._right = Scroll(columns)
        left.grid(row=0, column=0, sticky="nsew")
        if is_wide:
            self._right = Scroll(columns)
            self._right.grid(row=0, column=1, sticky="nsew")
        presenter = self._presenter
        self._sources = SourcesCard(left, presenter, self._desk, self._ask)
        prepared = PreparedCard(left, presenter)
        tokenizer = TokenizerCard(self._right, presenter, self._desk)
        self._preview = PreviewCard(self._right, presenter)
        self._add([self._sources, prepared, tokenizer, self._preview])
        tokenizer.card.bind("<Configure>", lambda _: self._fit_soon(), "+")
        self._left = left
        if not self._rest_timer:  # mostly below the edge: the first paint does not wait for it
            self._rest_timer = self.after(REST_MS, self._build_rest)

    def _build_rest(self) -> None:
        self._rest_timer = ""
        left, presenter = self._left, self._presenter
        self._add([FiltersCard(left, presenter), TypesCard(left), UnusedCard(left, presenter)])

    def _add(self, cards: list[Any]) -> None:
        """Put cards beneath those that are there."""
        self._cards += cards
        for made in cards:
            made.card.pack(fill="x", pady=(0, px(12)))
            if self._state is not None:
                made.show(self._state)

    def _fit_soon(self) -> None:
        if not self._fit_timer:
            self._fit_timer = self.after_idle(self._fit)

    def _fit(self) -> None:
        """Let the preview fill the height that its column leaves."""
        self._fit_timer = ""
        if not self._is_wide:
            return
        text = self._preview.text
        line = skin().fonts["mono"].metrics("linespace") + px(1) + px(2)
        now = int(text.cget("height"))
        others = self._right.winfo_reqheight() - now * line
        room = self._columns.winfo_height() - others
        fits = min(MAX_LINES, room // line)
        lines = fits if fits >= MIN_LINES else SCROLLED_LINES
        if lines != now:
            text.configure(height=lines)

    def show(self, state: State) -> None:
        """Bring it up to date."""
        old, self._state = self._state, state
        if old is None or old.tiles != state.tiles:
            for made, tile in zip(self._tiles, state.tiles, strict=True):
                made.show(tile.value, tile.note, tile.tone)
                kit.tooltip(made, tile.tip)
        for made in self._cards:
            made.show(state)

    def flush(self) -> None:
        """Take what is being typed; forms do it by themselves."""
        for made in self._cards:
            if isinstance(made, SourcesCard | FiltersCard | PreviewCard):
                made.flush()

    def focus_first(self) -> None:
        """The button that adds a folder."""
        if self._cards:
            self._sources.focus()

"""The Refine tab on the screen."""

import tkinter as tk
from typing import Any

import ttkbootstrap as tb

from sllm_ui.tabs.refine.presenter import Presenter
from sllm_ui.tabs.refine.state import State
from sllm_ui.tabs.refine.view_cards import (
    CleaningCard,
    CopiesCard,
    LanguageCard,
    ScoreCard,
    SecretsCard,
)
from sllm_ui.tabs.refine.view_sheets import ask_leaks, show_leaks
from sllm_ui.tabs.refine.view_table import PreviewPair, TablePanel, UndoBar
from sllm_ui.tabs.refine.words import files
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import button, empty, set_button
from sllm_ui.widgets.kit import Box, Desk, Elided, Panel, Scroll, label, px, skin, wrap

COLUMN, SLIM = 336, 318  # logical px of the column; on a page that is narrow
NARROW = 960  # logical px of the page
REST_MS = 40  # from the first cards to those below them
# Height of the page, in logical px, and what the preview gets of it.
PREVIEW = ((720, 226), (620, 178), (540, 150), (0, 122))
WHAT = (
    "Every used file is read, cleaned as it is set at the left, and scored from 0 to 100; copies, "
    "keys and personal data are looked for. Nothing is moved or changed, and it can be stopped at "
    "any time: what was done is kept."
)


class View(Box):
    """A page for each state: nothing to refine yet, or the column and the table."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "page", padding=px(16))
        self._presenter, self._desk = presenter, desk
        self._page: Blank | Main | None = None
        self._shown = ""
        self._is_asking = False
        self.bind("<Map>", self._on_map)
        self.bind("<Unmap>", self._on_unmap)
        self.bind("<Destroy>", self._on_destroy, "+")

    def _on_map(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            self._presenter.set_shown(True)

    def _on_unmap(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            self._presenter.set_shown(False)

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            self._presenter.set_shown(False)

    def render(self, old: State | None, new: State) -> None:
        """Bring the page up to date."""
        if new.mode != self._shown:
            self._shown = new.mode
            if self._page is not None:
                self._page.destroy()
            is_full = new.mode == "full"
            self._page = (
                Main(self, self._presenter, self._desk)
                if is_full
                else Blank(self, new.mode, self._desk)
            )
            self._page.pack(fill="both", expand=True)
        assert self._page is not None
        self._page.show(new)
        if new.leaks is not None and not self._is_asking:
            self._is_asking = True
            show_leaks(self._desk, new.leaks, self._close_leaks)

    def _close_leaks(self) -> None:
        self._is_asking = False
        self._presenter.close_leaks()

    def focus_first(self) -> None:
        """The filter, or the button of an empty page."""
        if self._page is not None:
            self._page.focus_first()

    def ask_report(self) -> None:
        """Ask where the report goes."""
        if isinstance(self._page, Main):
            self._page.ask_report()

    def ask_leaks(self) -> None:
        """Ask what is compared with the training text."""
        ask_leaks(self._desk, self._presenter.check_leaks)


class Blank(Panel):
    """Nothing to refine yet, and how to begin."""

    def __init__(self, master: Box, mode: str, desk: Desk) -> None:
        super().__init__(master, pad=0)
        middle = Box(self)
        middle.place(relx=0.5, rely=0.46, anchor="center")
        title, text, buttons = {
            "none": (
                "No project is open",
                "This tab shows which files are good to learn from, and which are not.",
                [
                    ("New project", "plus-lg", "primary", lambda: desk.act("new")),
                    ("Open project", "folder2-open", "default", lambda: desk.act("open")),
                    ("Try the sample", "stars", "default", lambda: desk.act("sample")),
                ],
            ),
            "empty": (
                "There is no text yet",
                "Add folders or files on the Data tab. Here they are scored, and copies, keys and "
                "personal data are found.",
                [("Go to Data", "database", "primary", lambda: desk.act("tab_data"))],
            ),
            "unlisted": (
                "No file is listed yet",
                "Scan the sources first, so that it is known which files can be used.",
                [
                    ("Scan sources", "arrow-repeat", "primary", lambda: desk.act("scan")),
                    ("Go to Data", "database", "default", lambda: desk.act("tab_data")),
                ],
            ),
        }[mode]
        self._box = empty(middle, "funnel", title, text, buttons)
        self._box.pack()

    def show(self, state: State) -> None:
        """There is nothing that changes."""

    def focus_first(self) -> None:
        """The main button."""
        for child in _walk(self._box):
            if child.winfo_class() == "TButton":
                child.focus_set()
                return


def _walk(widget: tk.Misc) -> list[tk.Misc]:
    return [widget, *(w for child in widget.winfo_children() for w in _walk(child))]


class Main(Box):
    """The column of cards at the left, the table and the preview at the right."""

    def __init__(self, master: Box, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master)
        self._presenter, self._desk = presenter, desk
        self.columnconfigure(1, weight=1)
        self.rowconfigure(0, weight=1)
        self._state: State | None = None
        self._rest_timer = ""
        # A height, because Tk does not lay a grid out anew that asks for one pixel.
        left = self._left = Box(self, width=px(SLIM), height=px(100))
        left.grid(row=0, column=0, sticky="ns", padx=(0, px(12)))
        left.pack_propagate(False)
        self._foot = Foot(left, presenter)
        self._foot.pack(side="bottom", fill="x", padx=(0, px(12)))
        self._column = Scroll(left)
        self._column.pack(fill="both", expand=True)
        self._cards: list[Any] = []
        self._add(ScoreCard(self._column, presenter, desk), CopiesCard(self._column, presenter))
        self._right = Box(self)
        self._right.grid(row=0, column=1, sticky="nsew")
        self._undo = UndoBar(self._right, presenter, desk)
        self._first = First(self._right, presenter)
        self._low = PreviewPair(self._right)
        self._table = TablePanel(self._right, presenter, desk)
        self._is_table: bool | None = None
        self._is_undo = False
        self._rest_timer = self.after(REST_MS, self._add_rest)
        self.bind("<Configure>", self._on_size)
        self.bind("<Destroy>", self._on_destroy, "+")

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self and self._rest_timer:
            self.after_cancel(self._rest_timer)
            self._rest_timer = ""

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        height = next(high for least, high in PREVIEW if event.height >= px(least))
        if int(str(self._low.cget("height"))) != px(height):
            self._low.configure(height=px(height))
        is_narrow = event.width < px(NARROW * skin().breadth)
        width = px(SLIM if is_narrow else COLUMN * skin().breadth)
        if int(str(self._left.cget("width"))) != width:
            self._left.configure(width=width)

    def _add(self, *cards: Any) -> None:
        for made in cards:
            made.card.pack(fill="x", pady=(0, px(12)))
            self._cards.append(made)
            if self._state is not None:
                made.show(self._state)

    def _add_rest(self) -> None:
        """Mostly below the edge: the first paint does not wait for them."""
        self._rest_timer = ""
        column, presenter = self._column, self._presenter
        self._add(
            SecretsCard(column, presenter), LanguageCard(column, presenter),
            CleaningCard(column, presenter),
        )  # fmt: skip

    def show(self, state: State) -> None:
        """Bring it up to date."""
        self._state = state
        for made in self._cards:
            made.show(state)
        self._foot.show(state)
        self._lay(state)
        if self._is_table:
            self._table.show(state)
            self._low.show(state.preview)
        else:
            self._first.show(state)
        self._undo.show(state)

    def _lay(self, state: State) -> None:
        """The table, or what stands in its place before the first analysis."""
        is_table, is_undo = state.is_analysed, state.batch is not None
        if (is_table, is_undo) == (self._is_table, self._is_undo):
            return
        self._is_table, self._is_undo = is_table, is_undo
        for part in (self._undo.panel, self._low, self._table.panel, self._first):
            part.pack_forget()
        gap = {"pady": (px(12), 0)}
        if is_undo:
            self._undo.panel.pack(side="bottom", fill="x", **gap)
        if is_table:
            self._low.pack(side="bottom", fill="x", **gap)
            self._table.panel.pack(fill="both", expand=True)
        else:
            self._first.pack(fill="both", expand=True)

    def focus_first(self) -> None:
        """The filter, or the button that analyses."""
        if self._is_table:
            self._table.focus_filter()
        else:
            self._foot.focus()

    def ask_report(self) -> None:
        """Ask where the report goes."""
        self._table.ask_report()


class Foot(Box):
    """What changed since, how far the analysis is, and the button that begins and stops it."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        super().__init__(master)
        self._stale = wrap(label(self, "", "caption", "warn", justify="left"))
        self._progress = Box(self)
        self._words = Elided(self._progress, "", "caption", "fg2")
        self._words.pack(fill="x")
        self._bar = tb.Progressbar(self._progress, style=skin().progress("page"), maximum=1000)
        self._bar.pack(fill="x", pady=(px(4), 0))
        self._button = button(self, "Analyse", "search", "primary", command=presenter.analyse)
        self._button.pack(side="bottom", fill="x", pady=(px(12), 0))

    def focus(self) -> None:
        """Give the keyboard to the button."""
        self._button.focus_set()

    def show(self, state: State) -> None:
        """Bring it up to date."""
        job = state.job
        is_on = bool(job.kind)
        self._words.set_text(job.text if is_on else "")
        self._bar.configure(value=1000 * (job.share or 0))
        note = _stale_words(state) if not is_on else ""
        self._stale.configure(text=note)
        for part, is_shown in ((self._progress, is_on), (self._stale, bool(note))):
            if is_shown and not part.winfo_manager():
                part.pack(side="top", fill="x", pady=(px(10), 0))
            elif not is_shown:
                part.pack_forget()
        if job.is_ours:
            words = "Stopping" if job.is_stopping else "Stop"
            set_button(self._button, words, "stop-fill", "danger")
            kit.tooltip(self._button, "Stop; what was analysed is kept.")
            kit.enable(self._button, not job.is_stopping)
            return
        n = files(state.used) if state.used is not None else "files"
        is_due = not state.is_analysed or bool(_stale_words(state))
        set_button(self._button, f"Analyse {n}", "search", "primary" if is_due else "default")
        kit.tooltip(self._button, f"{WHAT} Files that did not change are not measured again.")
        kit.enable(self._button, not state.busy, state.busy)


def _stale_words(state: State) -> str:
    """What the scores that are shown do not know yet."""
    if not state.is_analysed:
        return ""
    if state.stale:
        what = " and ".join(state.stale)
        return f"{what[0].upper()}{what[1:]} changed since: analyse again."
    if state.counts is not None and state.counts.unknown:
        return f"{files(state.counts.unknown)} not analysed yet."
    return ""


class First(Panel):
    """What an analysis does, before there is one."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        super().__init__(master, pad=0)
        self._box = Box(self)
        self._box.place(relx=0.5, rely=0.46, anchor="center")
        badge = Panel(self._box, fill="accent_bg", pad=18, r=16, border="accent_bg")
        badge.pack(pady=(0, px(18)))
        kit.picture(badge, "funnel", 32, "accent").pack()
        middle: dict[str, Any] = {"justify": "center", "wraplength": px(440)}
        self._title = label(self._box, "", "h1", **middle)
        self._title.pack()
        self._text = label(self._box, WHAT, "body", "fg2", **middle)
        self._text.pack(pady=(px(6), px(10)))
        self._time = label(self._box, "", "body", "muted", **middle)
        self._time.pack()

    def show(self, state: State) -> None:
        """Not begun, reading the list, or analysing."""
        n = files(state.used) if state.used is not None else "files"
        title, time = f"Analyse {n}", f"It takes {state.estimate}." if state.estimate else ""
        if state.job.is_ours:
            title, time = "Analysing", state.job.text
        elif state.is_loading:
            title, time = "Reading the list", ""
        self._title.configure(text=title)
        self._time.configure(text=time)

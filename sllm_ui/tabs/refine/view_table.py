"""The table of the Refine tab: what is shown, what becomes of it, one file before and after."""

import tkinter as tk
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sllm_core import fmt
from sllm_core.corpus import search, table
from sllm_core.corpus.table import USED
from sllm_ui import paths
from sllm_ui.tabs.refine.compare import Line
from sllm_ui.tabs.refine.presenter import Presenter
from sllm_ui.tabs.refine.state import SEGMENTS, PreviewView, State
from sllm_ui.tabs.refine.view_sheets import show_batches
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import Segmented, button, entry, set_button
from sllm_ui.widgets.kit import Badge, Box, Card, Desk, Elided, Panel, label, px, skin
from sllm_ui.widgets.table import Col, VTable

NAMES = {"all": "All", "drop": "Drop", "copy": "Copies", "mask": "Mask", "out": "Out"}
SEGMENT_TIPS = (
    "All used files.",
    "Proposed to go: a low score, a key, or a language that is left out.",
    "Another file stands for them: all but the best one of each group.",
    "Something in them is masked as they are read.",
    "Left out by you, or held back because they would be in both sides of the split.",
)
COLS = [
    Col("Path", 140, kind="strong", stretch=3),
    Col("Kind", 80, drop=3),
    Col("KB", 62, "e", drop=2),
    Col("Score", 108, "e", "bar"),
    Col("Verdict", 76, kind="badge"),
    Col("Why", 114, kind="muted", stretch=2, drop=1),
    Col("Copy of", 84, kind="muted", stretch=1, drop=4),
]
SEGMENT_EDGES = 26  # logical px of a segment beside its text
TYPING_MS = 150  # a filter is applied this long after the last key
HINT = "Filter by path or reason"
FILTER_TIP = f"Words that path or reason must hold. Also: {search.HINT}.\nCtrl+F"
NARROW_ROW = 420  # logical px beside the filter
NARROW = 640  # logical px of the undo bar: narrower, a button loses its words
LOOK_MS = 90  # the cursor must rest this long before its file is read


class FilterField:
    """The field of the filter; its border and the line beneath say when it cannot be."""

    def __init__(self, master: Box, on_text: Callable[[str], object]) -> None:
        self._on_text, self._timer = on_text, ""
        self.entry = entry(master, "", 14, on_change=self._typed, tip=FILTER_TIP)
        ground = Box(self.entry, "field")  # the words that stand in it while it is empty
        self._hint = label(ground, HINT, "body", "muted", cursor="xterm")
        self._hint.bind("<Button-1>", lambda _: self.entry.focus_set())
        self._hint.pack()
        self._ground, self._is_hint = ground, False
        for event in ("<Return>", "<KP_Enter>"):
            self.entry.bind(event, lambda _: self._tell(), "+")
        for event in ("<FocusIn>", "<FocusOut>", "<KeyRelease>"):
            self.entry.bind(event, lambda _: self._show_hint(), "+")
        self.entry.bind("<Escape>", self._clear, "+")
        self.entry.bind("<Destroy>", lambda _: self._drop(), "+")

    def _show_hint(self) -> None:
        is_hint = not self.entry.get_value() and str(self.entry.tk.call("focus")) != str(self.entry)
        if is_hint != self._is_hint:
            self._is_hint = is_hint
            if is_hint:
                self._ground.place(x=px(8), rely=0.5, anchor="w")
            else:
                self._ground.place_forget()

    def _typed(self, _: str) -> None:
        self._drop()
        self._timer = self.entry.after(TYPING_MS, self._tell)

    def _drop(self) -> None:
        if self._timer:
            self.entry.after_cancel(self._timer)
            self._timer = ""

    def _tell(self) -> None:
        self._drop()
        self._on_text(self.entry.get_value())

    def _clear(self, _: object) -> str | None:
        """Escape empties the field first; a second one is the window's."""
        if not self.entry.get_value():
            return None
        self.entry.set_value("")
        self._tell()
        return "break"

    def show(self, text: str, error: str) -> None:
        """Show a text, unless a person is just typing another one."""
        if not self._timer and self.entry.get_value() != text:
            self.entry.set_value(text)
        self.entry.state(["invalid" if error else "!invalid"])
        self._show_hint()


class TablePanel:
    """Segments, filter, what becomes of the files, and the table itself."""

    def __init__(self, master: Box, presenter: Presenter, desk: Desk) -> None:
        self._presenter, self._desk = presenter, desk
        self._timer = ""
        self.panel = Panel(master, pad=0)
        self.panel.configure(padding=(px(14), px(12), px(8), px(8)))
        self._add_top(Box(self.panel))
        self._add_tools(Box(self.panel))
        self._fault = kit.wrap(label(self.panel, "", "caption", "bad", justify="left"), 10)
        self._table = VTable(
            self.panel, COLS, on_select=self._select, on_open=lambda _: self._open(),
            on_sort=presenter.sort, multi=True, on_menu=self._menu, on_key=self._key,
            tip="Files. Ctrl or Shift choose several; the menu key says what can be done.",
        )  # fmt: skip
        self._table.pack(fill="both", expand=True)
        self._none = label(self._table, "", "body", "muted", justify="center", wraplength=px(360))
        self._table.bind("<Destroy>", self._on_destroy, "+")
        self._version = -1

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self._table and self._timer:
            self._table.after_cancel(self._timer)
            self._timer = ""

    def _add_top(self, row: Box) -> None:
        row.pack(fill="x", pady=(0, px(8)), padx=(0, px(6)))
        row.bind("<Configure>", lambda event: self._fit(event.width))
        self._room, self._texts = 0, dict(NAMES)
        self._segments = Segmented(
            row, [NAMES[name] for name in SEGMENTS], NAMES["all"], self._choose_segment,
            tips=SEGMENT_TIPS,
        )  # fmt: skip
        self._segments.pack(side="left")
        self._tools = Box(row)
        self._tools.pack(side="right")
        self._more = button(
            row, icon="three-dots", kind="ghost", small=True, command=self._show_more,
            tip="What was moved, report as CSV, check for leaks.",
        )  # fmt: skip
        self._leaks = button(
            self._tools, icon="shield-exclamation", kind="ghost", small=True,
            command=lambda: self._desk.act("check_leaks"),
            tip="Check for leaks: how much of the validation text, or of files of yours, stands "
            "in the training text.",
        )  # fmt: skip
        self._leaks.pack(side="right")
        self._report = button(
            self._tools, icon="filetype-csv", kind="ghost", small=True, command=self.ask_report,
            tip="Report as CSV: the files that are shown, with scores and reasons.",
        )  # fmt: skip
        self._report.pack(side="right")
        self._history = button(
            self._tools, icon="clock-history", kind="ghost", small=True,
            command=self._show_batches,
            tip="What was moved or left out until now, and the way back.",
        )  # fmt: skip
        self._history.pack(side="right")

    def _show_batches(self) -> None:
        presenter = self._presenter
        show_batches(self._desk, presenter.store.state.earlier, presenter.batches.undo)

    def _show_more(self) -> None:
        """The three buttons as a menu, where there is no room for them."""
        state = self._presenter.store.state
        no_batch = "" if state.earlier else "Nothing was moved or left out yet."
        no_rows = "" if state.n_shown else "The list is empty."
        lines: list[tuple[str, str, str, Callable[[], None]]] = [
            ("clock-history", "What was moved or left out", no_batch, self._show_batches),
            ("filetype-csv", "Report as CSV", no_rows, self.ask_report),
            (
                "shield-exclamation", "Check for leaks", state.busy,
                lambda: self._desk.act("check_leaks"),
            ),
        ]  # fmt: skip
        self._desk.menu(self._more, lines, 260)

    def _fit(self, width: int) -> None:
        """Fewer buttons, then no counts, where the row is too narrow for all of it."""
        self._room = width or self._room
        if not self._room:
            return
        font = skin().fonts["caption"]
        counted = sum(font.measure(text) for text in self._texts.values())
        plain = sum(font.measure(text) for text in NAMES.values())
        edges = len(NAMES) * px(SEGMENT_EDGES) + px(10)
        is_wide = counted + edges + self._tools.winfo_reqwidth() <= self._room
        has_counts = is_wide or counted + edges + px(36) <= self._room
        has_counts = has_counts or plain + edges + px(36) > self._room
        for name, text in self._texts.items():
            self._segments.set_text(NAMES[name], text if has_counts else NAMES[name])
        if is_wide and not self._tools.winfo_manager():
            self._more.pack_forget()
            self._tools.pack(side="right")
        elif not is_wide and not self._more.winfo_manager():
            self._tools.pack_forget()
            self._more.pack(side="right")

    def _add_tools(self, row: Box) -> None:
        self._row, self._n = row, 0
        row.bind("<Configure>", lambda _: self._name_move())
        row.pack(fill="x", pady=(0, px(8)), padx=(0, px(6)))
        presenter = self._presenter
        self._move = button(
            row, "Move to _trash", "trash3", "primary", True, lambda: presenter.remove("trash"),
        )  # fmt: skip
        self._move.pack(side="right")
        self._exclude = button(
            row, "Exclude", "slash-circle", small=True, command=self._leave_out,
        )  # fmt: skip
        self._exclude.pack(side="right", padx=px(8))
        kit.picture(row, "search", 13, "muted").pack(side="left", padx=(px(2), px(6)))
        self._filter = FilterField(row, presenter.filter)
        self._filter.entry.pack(side="left", fill="x", expand=True)

    def _leave_out(self) -> None:
        """Exclude; among those that are out, include them again."""
        if self._presenter.store.state.segment == "out":
            self._presenter.include()
        else:
            self._presenter.remove("exclude")

    def _choose_segment(self, text: str) -> None:
        name = next(name for name, title in NAMES.items() if title == text)
        self._presenter.show_segment(name)

    def focus_filter(self) -> None:
        """Type a filter."""
        self._filter.entry.focus_set()

    # What a person does with rows

    def _select(self, place: int) -> None:
        """Take the choice a moment later: a key that is held down reads no file on its way."""
        if self._timer:
            self._table.after_cancel(self._timer)
        self._timer = self._table.after(LOOK_MS, self._choose)

    def _choose(self) -> None:
        if self._timer:
            self._table.after_cancel(self._timer)
            self._timer = ""
        if self._table.selected is not None:
            self._presenter.choose(self._table.selected, self._table.chosen)

    def _key(self, key: str) -> bool:
        if key == "Delete":
            self._choose()
            if len(self._table.chosen) > 1:
                self._presenter.remove("trash")
            else:
                self._presenter.remove_one("trash")
            return True
        return False

    def _open(self) -> None:
        """Show it in its folder: to open a file of a stranger may be to run it."""
        self._choose()
        self._presenter.place(self._reveal)

    def _reveal(self, place: Path) -> None:
        if not paths.reveal(place):
            self._desk.toast("warn", "No file manager was found", fmt.path_text(str(place)))

    def _menu(self, place: int, anchor: tk.Misc) -> None:
        self._choose()
        presenter, state = self._presenter, self._presenter.store.state
        rows, i = presenter.listing.rows, presenter.listing.cursor
        if rows is None or i < 0:
            return
        busy, is_used = state.busy, rows.state[i] == USED
        n = max(1, state.chosen)
        them = f"these {n:,}" if n > 1 else "it"
        lines: list[tuple[str, str, str, Callable[[], None]]] = [
            ("folder2-open", "Show in its folder", "", self._open),
            ("clipboard", "Copy its path", "", self._copy_path),
            ("", "", "", lambda: None),
        ]
        if is_used:
            lines += [
                ("trash3", f"Move {them} to _trash", busy, partial(self._remove, "trash")),
                ("slash-circle", f"Exclude {them}", busy, partial(self._remove, "exclude")),
            ]
        else:
            lines.append(("plus-circle", f"Include {them} again", busy, presenter.include))
        if rows.keeper[i] >= 0 and rows.duplicate[i]:
            lines.append(("files", "Show the file that stays", "", self._show_keeper))
        self._desk.menu(anchor, lines, 240)

    def _copy_path(self) -> None:
        def copy(place: Path) -> None:
            self._desk.copy(fmt.path_text(str(place)))
            self._desk.toast("good", "Copied", fmt.path_text(str(place)))

        self._presenter.place(copy)

    def _remove(self, kind: str) -> None:
        if self._presenter.store.state.chosen > 1:
            self._presenter.remove_chosen(kind)
        else:
            self._presenter.remove_one(kind)

    def _show_keeper(self) -> None:
        self._presenter.show_keeper()

    def ask_report(self) -> None:
        """Ask where the report goes."""
        project = self._presenter.session.project
        if project is not None:
            self._desk.dialogs.ask_save(
                "Report as CSV", self._presenter.write_report, "refine-report.csv", project.root
            )

    # What is shown

    def show(self, state: State) -> None:
        """Bring it up to date."""
        self._show_segments(state)
        self._filter.show(state.filter, state.filter_error)
        self._fault.configure(text=state.filter_error)
        if state.filter_error and not self._fault.winfo_manager():
            self._fault.pack(fill="x", pady=(0, px(6)), before=self._table)
        elif not state.filter_error:
            self._fault.pack_forget()
        self._show_buttons(state)
        self._table.set_sort(table.COLUMNS.index(state.sort), state.is_descending)
        if state.version != self._version:
            self._version = state.version
            listing = self._presenter.listing
            self._table.show(state.n_shown, listing.cells, listing.places())
            if listing.place() >= 0 and self._table.selected != listing.place():
                self._table.selected = listing.place()
        self._show_none(state)

    def _show_segments(self, state: State) -> None:
        counts = state.counts
        amounts: dict[str, int | None] = dict.fromkeys(SEGMENTS)
        if counts is not None:
            amounts = dict(zip(("keep", "drop", "copy", "mask", "out"), counts.files, strict=True))
            amounts["all"] = counts.used
        for name in SEGMENTS:
            n = amounts[name]
            self._texts[name] = NAMES[name] if n is None else f"{NAMES[name]}  {n:,}"
        self._fit(0)
        if self._segments.get_value() != NAMES[state.segment]:
            self._segments.set_value(NAMES[state.segment])

    def _show_buttons(self, state: State) -> None:
        why = state.busy
        if not why and not state.target:
            why = "Nothing of what is shown is proposed to go. Choose files to move them."
        n = state.target
        self._n = n
        self._name_move()
        what = "The files that are chosen" if state.chosen > 1 else "What is proposed in view"
        kit.tooltip(
            self._move,
            f"{what}: moved into a folder _trash beside their source. Undo brings them back.",
        )
        kit.enable(self._move, not why, why)
        if state.segment == "out":
            why = state.busy or ("" if state.n_shown else "No file is left out.")
            set_button(self._exclude, "Include", "plus-circle")
            kit.tooltip(self._exclude, "Use the chosen files again.")
        else:
            set_button(self._exclude, "Exclude", "slash-circle")
            kit.tooltip(self._exclude, "Leave them out where they are: no file is moved.")
        kit.enable(self._exclude, not why, why)
        kit.enable(self._leaks, not state.busy, state.busy)
        has_rows = "" if state.n_shown else "The list is empty."
        kit.enable(self._report, not has_rows, has_rows)
        no_batch = "" if state.earlier else "Nothing was moved or left out yet."
        kit.enable(self._history, not no_batch, no_batch)

    def _name_move(self) -> None:
        """With the number of files; the rest of the words where there is room for them."""
        is_short = 0 < self._row.winfo_width() < px(NARROW_ROW * skin().breadth)
        words = f"Move {self._n:,}" if self._n else "Move"
        set_button(self._move, words if is_short and self._n else f"{words} to _trash")

    def _show_none(self, state: State) -> None:
        text = ""
        if state.is_loading and state.counts is None:
            text = "Reading the list"
        elif not state.n_shown and state.filter and not state.filter_error:
            text = "No file matches the filter."
        elif not state.n_shown:
            text = {
                "drop": "Nothing is proposed to go: no score is under the line.",
                "copy": "No copies were found.",
                "mask": "Nothing is masked. Choose Mask at the left for what should be.",
                "out": "No file is left out.",
            }.get(state.segment, "")
        self._none.configure(text=text)
        if text:
            self._none.place(relx=0.5, rely=0.45, anchor="center")
        else:
            self._none.place_forget()


class PreviewPair(Box):
    """The chosen file before and after cleaning."""

    def __init__(self, master: Box) -> None:
        super().__init__(master, height=px(180))
        self.pack_propagate(False)
        self.grid_propagate(False)
        self.columnconfigure((0, 1), weight=1, uniform="side")
        self.rowconfigure(0, weight=1)
        self._cards: list[Card] = []
        self.texts: list[tk.Text] = []
        for column, (title, icon) in enumerate(
            (("Before", "file-earmark"), ("After", "file-earmark-check"))
        ):
            card = Card(self, title, icon, pad=14)
            card.grid(row=0, column=column, sticky="nsew", padx=(px(12) * column, 0))
            panel, text = kit.pane(card.body, 4, mono=True, wrap="none", read_only=True)
            text.configure(font="mono_s")
            panel.pack(fill="both", expand=True)
            tone = "good" if column else "bad"
            text.tag_configure(
                "changed", background=skin().surface(f"{tone}_bg"), foreground=skin().ink(tone)
            )
            text.tag_configure("n", foreground=skin().ink("muted"))
            side = "as it is trained on" if column else "as it was read"
            kit.tooltip(text, f"The beginning of the chosen file, {side}.")
            self._cards.append(card)
            self.texts.append(text)
        self._badge = Badge(self._cards[1].head, "", "warn")
        self._shown: PreviewView | None = None

    def show(self, view: PreviewView) -> None:
        """Show a file, or why there is nothing to show."""
        if view == self._shown:
            return
        self._shown = view
        result = view.result
        summary = result.summary if result else ""
        if summary:
            self._badge.show(summary, "warn")
            self._badge.pack(side="right")
        else:
            self._badge.pack_forget()
        if result is None:
            hint = "Reading" if view.is_loading else ""
            for card, text in zip(self._cards, self.texts, strict=True):
                card.set_hint(hint)
                _fill(text, (), view.note)
            return
        more = " and more" if result.is_cut else ""
        self._cards[0].set_hint(f"{result.n_before:,} characters{more}")
        same = "the same" if not summary else f"{result.n_after:,}"
        self._cards[1].set_hint(same)
        _fill(self.texts[0], result.before)
        _fill(self.texts[1], result.after)


def _fill(text: tk.Text, lines: tuple[Line, ...], note: str = "") -> None:
    """Lines with their numbers, what differs in colour."""
    text.configure(state="normal", wrap="word" if note else "none")
    text.delete("1.0", "end")
    parts: list[Any] = []
    for line in lines:
        parts += [f"{line.number:>4}  ", "n"]
        first, last = line.span or (0, 0)
        if line.span is not None and first == last and not line.text:
            parts += [" ", "changed"]  # an empty line that came or went
        for piece, tag in (
            (line.text[:first], ""),
            (line.text[first:last], "changed"),
            (line.text[last:], ""),
        ):
            if piece:
                parts += [piece, tag]
        parts += ["\n", ""]
    if note:
        parts = [note, "n"]
    if parts:
        text.insert("end", *parts)
    first_change = text.tag_nextrange("changed", "1.0")
    text.configure(state="disabled")
    if first_change:
        text.see(first_change[0])


class UndoBar:
    """What was moved last, and the way back; it stays until it is closed."""

    def __init__(self, master: Box, presenter: Presenter, desk: Desk) -> None:
        self._presenter, self._desk = presenter, desk
        self.panel = Panel(master, fill="raised", pad=0, r=8, border="line2")
        self.panel.configure(padding=(px(14), px(5), px(6), px(5)))
        kit.picture(self.panel, "check-circle-fill", 15, "good").pack(side="left")
        close = button(
            self.panel, icon="x-lg", kind="ghost", small=True, command=presenter.batches.dismiss,
            tip="Close this line; the list of what was moved keeps it.",
        )  # fmt: skip
        close.pack(side="right")
        self._undo = button(
            self.panel, "Undo", "arrow-counterclockwise", small=True, command=self._bring_back,
            tip="Bring these files back to where they were.",
        )  # fmt: skip
        self._undo.pack(side="right", padx=(px(6), px(4)))
        self._folder = button(
            self.panel, "Show the folder", kind="ghost", small=True, command=self._show_folder,
            tip="Open the folder _trash in the file manager.",
        )  # fmt: skip
        self.panel.bind("<Configure>", self._on_size, "+")
        self._words = Elided(self.panel)
        self._words.pack(side="left", fill="x", expand=True, padx=(px(10), px(8)))

    def show(self, state: State) -> None:
        """Show the newest batch."""
        batch = state.batch
        if batch is None:
            return
        self._words.set_text(batch.words)
        if batch.kind == "trash":
            self._folder.pack(side="right", after=self._undo)
        else:
            self._folder.pack_forget()
        kit.enable(self._undo, not state.busy, state.busy)

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        is_narrow = event.width < px(NARROW * skin().breadth)
        words = "" if is_narrow else "Show the folder"
        set_button(self._folder, words, "folder2-open")

    def _bring_back(self) -> None:
        batch = self._presenter.store.state.batch
        if batch is not None:
            self._presenter.batches.undo(batch.id)

    def _show_folder(self) -> None:
        batch = self._presenter.store.state.batch
        place = self._presenter.batches.folder(batch) if batch else None
        if place is None or not paths.reveal(place):
            self._desk.toast("warn", "No file manager was found", fmt.path_text(str(place or "")))

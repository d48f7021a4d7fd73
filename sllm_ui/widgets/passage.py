"""A pane whose text two have written: a person and a model."""

import time
import tkinter as tk
from collections.abc import Callable, Iterator
from typing import Any

from sllm_ui.widgets import kit
from sllm_ui.widgets.kit import skin

Piece = tuple[str, bool]  # a stretch of text, and whether a model wrote it
Passage = tuple[Piece, ...]
WRITTEN, SOFT = "written", "soft"
# Tk lays a line out anew for each letter added to it: at 50,000 letters that takes 80 ms. So a very
# long line is broken on the screen, by line ends that are no part of the text.
LONGEST_LINE = 4_000
MAX_UNDO, MAX_UNDO_CHARS = 200, 4_000_000
PAUSE_S = 0.8  # what is typed without such a pause is undone at once


class PassagePane:
    """Shows a passage and tells when a person has changed it.

    Its undo is its own: Tk's would bring letters back without saying who wrote them.

    Args:
        master: what it lies in; place `panel`.
        on_edit: gets the passage after each change by a person.
        height: lines that it asks room for.
        most: letters that can be pasted into it.
        options: of the `tk.Text`.
    """

    def __init__(
        self,
        master: tk.Misc,
        on_edit: Callable[[Passage], None],
        height: int,
        most: int,
        **options: Any,
    ) -> None:
        self.panel, self.text = kit.pane(master, height, **options)
        self.text.tag_configure(WRITTEN, foreground=skin().ink("fg"))
        self.text.tag_raise("sel")
        self._on_edit, self._most = on_edit, most
        self._shown: Passage = ()
        self._is_ours = False  # a change of our own is under way
        self._past: list[Passage] = []
        self._future: list[Passage] = []
        self._edited_at = 0.0
        self._height, self._is_at_end = 0, True
        self._set_bar = str(self.text.cget("yscrollcommand"))
        self.text.configure(yscrollcommand=self._on_view)
        self.text.bind("<<Modified>>", self._modified)
        self.text.bind("<<Paste>>", self._paste)
        self.text.bind("<<Undo>>", lambda event: self._step(self._past, self._future))
        self.text.bind("<<Redo>>", lambda event: self._step(self._future, self._past))

    def show(self, passage: Passage) -> None:
        """Show a passage; one that grew at its end is only added to."""
        if passage == self._shown:
            return
        grown = growth(self._shown, passage)
        if grown is None:
            self._change(lambda: self._replace(passage))
        else:
            is_at_end = self._is_at_end
            self._change(lambda: self._append(grown))
            if is_at_end:
                self.text.see("end-1c")
        self._shown, self._past, self._future = passage, [], []

    def read(self) -> Passage:
        """What stands in it, and who wrote which part."""
        text, at = self.text, "1.0"
        pieces: list[Piece] = []
        ends = [str(index) for index in text.tag_ranges(WRITTEN)]
        for first, last in zip(ends[::2], ends[1::2], strict=True):
            pieces += [(self._get(at, first), False), (self._get(first, last), True)]
            at = last
        pieces.append((self._get(at, "end-1c"), False))
        return tuple(piece for piece in pieces if piece[0])

    def place(self) -> tuple[str, float]:
        """Where the cursor is and what is in view."""
        return self.text.index("insert"), self.text.yview()[0]

    def go_to(self, place: tuple[str, float]) -> None:
        """Back to a `place`."""
        self.text.mark_set("insert", place[0])
        self.text.yview_moveto(place[1])

    def _on_view(self, first: float, last: float) -> None:
        """Move the bar; a pane that showed the end shows it after a change of its height too."""
        self.text.tk.call(self._set_bar, first, last)
        height = self.text.winfo_height()
        if height == self._height:
            self._is_at_end = float(last) >= 1.0
        elif self._is_at_end:
            self.text.see("end-1c")
        self._height = height

    def _get(self, first: str, last: str) -> str:
        parts = []
        while soft := self.text.tag_nextrange(SOFT, first, last):
            parts.append(self.text.get(first, soft[0]))
            first = soft[1]
        parts.append(self.text.get(first, last))
        return "".join(parts)

    def _change(self, change: Callable[[], None]) -> None:
        """Change the text without a word to anybody."""
        self._is_ours = True
        state = str(self.text.cget("state"))
        self.text.configure(state="normal")
        change()
        self.text.edit_modified(False)
        self.text.configure(state=state)  # type: ignore[call-overload]
        self._is_ours = False

    def _replace(self, passage: Passage) -> None:
        self.text.delete("1.0", "end")
        for piece in passage:
            self._append(piece)
        self.text.see("end-1c")

    def _append(self, piece: Piece) -> None:
        text, is_written = piece
        self._insert("end-1c", text, (WRITTEN,) if is_written else ())

    def _insert(self, index: str, text: str, tags: tuple[str, ...] = ()) -> None:
        column = int(self.text.index(index).split(".")[1])
        parts: list[object] = []
        for part, is_soft in soften(text, column):
            parts += [part, (*tags, SOFT) if is_soft else tags]
        if parts:
            self.text.insert(index, *parts)  # type: ignore[arg-type]

    def _modified(self, event: object) -> None:
        if not self.text.edit_modified():
            return
        if not self._is_ours:
            self.text.edit_modified(False)
            self._tell()

    def _tell(self) -> None:
        before, self._shown = self._shown, self.read()
        now = time.monotonic()
        if now - self._edited_at > PAUSE_S or not self._past:
            self._past.append(before)
            while len(self._past) > MAX_UNDO or sum(map(_length, self._past)) > MAX_UNDO_CHARS:
                del self._past[0]
        self._edited_at, self._future = now, []
        self._on_edit(self._shown)

    def _step(self, source: list[Passage], other: list[Passage]) -> str:
        """One step of undo or redo; the cursor goes to where something changed."""
        text = self.text
        if source and str(text.cget("state")) != "disabled":
            other.append(self._shown)
            self._shown, old = source.pop(), text.get("1.0", "end-1c")
            self._change(lambda: self._replace(self._shown))
            new = text.get("1.0", "end-1c")
            pairs = enumerate(zip(reversed(old), reversed(new), strict=False))
            same = next((n for n, (a, b) in pairs if a != b), min(len(old), len(new)))
            text.mark_set("insert", f"1.0+{len(new) - same}c")
            text.see("insert")
            self._edited_at = 0.0
            self._on_edit(self._shown)
        return "break"

    def _paste(self, event: object) -> str:
        """Insert the clipboard, as much as the pane takes, with very long lines broken."""
        text = self.text
        if str(text.cget("state")) == "disabled":
            return "break"
        try:
            words = text.clipboard_get()
        except tk.TclError:  # it is empty, or no text
            return "break"
        self._edited_at = 0.0
        if text.tag_ranges("sel"):
            text.delete("sel.first", "sel.last")
        room = max(0, self._most - _length(self.read()))
        self._insert("insert", words.replace("\r\n", "\n").replace("\0", "")[:room])
        text.see("insert")
        return "break"


def _length(passage: Passage) -> int:
    return sum(len(text) for text, _ in passage)


def growth(old: Passage, new: Passage) -> Piece | None:
    """What ``new`` has more at its end; None when it differs elsewhere."""
    if len(new) == len(old) + 1 and new[:-1] == old:
        return new[-1]
    if not old or len(new) != len(old) or new[:-1] != old[:-1]:
        return None
    (last, was_written), (more, is_written) = old[-1], new[-1]
    if was_written != is_written or not more.startswith(last):
        return None
    return more[len(last) :], is_written


def soften(text: str, column: int = 0, longest: int = LONGEST_LINE) -> Iterator[tuple[str, bool]]:
    """Parts of a text that begins at ``column``; a part with True is a line end of ours."""
    for number, line in enumerate(text.split("\n")):
        if number:
            yield "\n", False
            column = 0
        while column + len(line) > longest:
            room = max(0, longest - column)
            cut = line.rfind(" ", 0, room) + 1
            if not cut and not column:
                cut = room
            if cut:
                yield line[:cut], False
            yield "\n", True
            line, column = line[cut:], 0
        if line:
            yield line, False
            column += len(line)

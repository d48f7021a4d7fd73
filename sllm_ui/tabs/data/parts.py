"""Small parts that the cards of the Data tab are put together from."""

from collections.abc import Callable, Sequence
from typing import Any

from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import Button, Combo, button, combo, entry
from sllm_ui.widgets.kit import Box, label, px, wrap
from sllm_ui.widgets.table import HEAD

ROW = 32  # logical px of a row in the small tables
TYPING_MS = 400  # a value is taken this long after the last key


class Field:
    """An entry whose text is taken a moment after the last key, at Return and when it is left."""

    def __init__(
        self,
        master: Box,
        on_edit: Callable[[str], object],
        width: int,
        tip: str,
        *,
        mono: bool = False,
    ) -> None:
        self._on_edit, self._timer, self._is_telling = on_edit, "", False
        self._text = ""  # as the state has it
        self.entry = entry(master, "", width, mono, on_change=self._typed, tip=tip)
        for event in ("<FocusOut>", "<Return>", "<KP_Enter>"):
            self.entry.bind(event, self._settle, "+")
        self.entry.bind("<Destroy>", lambda _: self._drop(), "+")

    def show(self, text: str, error: str = "", locked: str = "") -> None:
        """Show a text, unless a person is just typing another one."""
        self._text = text
        if not self._timer and not self._is_telling:
            self.entry.set_value(text)
        self.entry.state(["invalid" if error else "!invalid"])
        kit.enable(self.entry, not locked, locked)

    def _typed(self, _: str) -> None:
        self._drop()
        self._timer = self.entry.after(TYPING_MS, self.flush)

    def _drop(self) -> None:
        if self._timer:
            self.entry.after_cancel(self._timer)
            self._timer = ""

    def flush(self) -> None:
        """Tell what was typed, now."""
        if self._timer:
            self._drop()
            self._is_telling = True  # what comes back is not written over the cursor
            try:
                self._on_edit(self.entry.get_value())
            finally:
                self._is_telling = False

    def _settle(self, _: Any) -> None:
        self.flush()
        self.entry.set_value(self._text)


class Fault:
    """The line beneath a field that says what is wrong with it; gone while all is well."""

    def __init__(self, master: Box, row: int, column: int = 1, span: int = 2) -> None:
        self._label = wrap(label(master, "", "caption", "bad", justify="left"), 110)
        self._place = {"row": row, "column": column, "columnspan": span, "sticky": "w"}
        self._is_shown = False

    def show(self, text: str) -> None:
        """Say it, or nothing."""
        if text:
            self._label.configure(text=text)
        if bool(text) != self._is_shown:
            self._is_shown = bool(text)
            if text:
                self._label.grid(**self._place, pady=(0, px(4)))
            else:
                self._label.grid_forget()


class Quick:
    """A few buttons with usual values beside a field."""

    def __init__(
        self, master: Box, choices: Sequence[tuple[str, Callable[[], object], str]]
    ) -> None:
        self.box = Box(master)
        self.buttons: list[Button] = []
        for text, command, tip in choices:
            made = button(self.box, text, kind="ghost", small=True, command=command, tip=tip)
            made.pack(side="left")
            self.buttons.append(made)

    def lock(self, why: str) -> None:
        """Switch them off, or on again."""
        for made in self.buttons:
            kit.enable(made, not why, why)


class SizeRow:
    """A size: number, unit, usual values."""

    def __init__(
        self,
        master: Box,
        row: int,
        title: str,
        tip: str,
        units: Sequence[str],
        on_text: Callable[[str], object],
        on_unit: Callable[[str], object],
        choices: Sequence[tuple[str, Callable[[], object], str]],
    ) -> None:
        name = label(master, title, "body", "fg2")
        name.grid(row=row, column=0, sticky="w", padx=(0, px(10)), pady=px(4))
        kit.tooltip(name, tip)
        box = Box(master)
        box.grid(row=row, column=1, columnspan=2, sticky="w", pady=px(4))
        self.field = Field(box, on_text, 6, tip)
        self.field.entry.pack(side="left")
        self.unit: Combo = combo(box, units, width=4, on_change=on_unit, tip=f"Unit of: {title}")
        self.unit.pack(side="left", padx=(px(6), px(6)))
        self._quick = Quick(box, choices)
        self._quick.box.pack(side="left")
        self._fault = Fault(master, row + 1)

    def show(self, text: str, unit: str, error: str, locked: str) -> None:
        """Show a size."""
        self.field.show(text, error, locked)
        if self.unit.get_value() != unit:
            self.unit.set_value(unit)
        kit.enable(self.unit, not locked, locked)
        self._quick.lock(locked)
        self._fault.show(error)


class Figure:
    """A small figure with its name above."""

    def __init__(self, master: Box, title: str, tip: str) -> None:
        self.box = Box(master)
        label(self.box, title, "caption", "muted").pack(anchor="w")
        self._value = label(self.box, "-", "strong")
        self._value.pack(anchor="w")
        kit.tooltip(self.box, tip)

    def show(self, text: str) -> None:
        """Show a value."""
        self._value.configure(text=text)


class Sized(Box):
    """A ground with the height of some rows, so that a table in it has no empty ones."""

    def __init__(self, master: Box) -> None:
        super().__init__(master, height=px(HEAD + ROW))
        self.pack_propagate(False)
        self._n = 0

    def set_rows(self, n: int) -> None:
        """As high as ``n`` rows and the header."""
        if n != self._n:
            self._n = n
            self.configure(height=px(HEAD) + n * px(ROW) + 2 * px(1) + 1)

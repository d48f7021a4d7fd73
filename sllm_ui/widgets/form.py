"""A form made from the descriptions of a config's fields: label, control, unit, and what is wrong."""

import dataclasses
import functools
import tkinter as tk
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sllm_core import fields
from sllm_core.fields import Info
from sllm_ui.widgets import controls, kit
from sllm_ui.widgets.controls import Check, Combo, Entry, Spin
from sllm_ui.widgets.kit import Box, px

TYPING_MS = 400  # a value is taken this long after the last key
UNIT_WIDTH = 62  # logical px; what is longer goes beneath the control
LABEL_WIDTH = 118  # at least, so that the forms of a page stand in line
SPIN_MAX = 20_000  # numbers up to here have arrows
FINE_MAX = 1024  # and go by ones up to here
SWITCH = {"on": True, "true": True, "yes": True, "1": True}

Control = Entry | Combo | Spin | Check


@functools.cache
def _hints(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def _type_of(section: type, name: str) -> tuple[Any, bool]:
    """The type of a field, and whether it may be left open: ``int | None -> (int, True)``."""
    hint = _hints(section)[name]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        return typing.get_origin(parts[0]) or parts[0], True
    return typing.get_origin(hint) or hint, False


def _range(about: Info) -> str:
    if about.choices:
        return f"One of {', '.join(about.choices)}."
    low, high = (
        f"{end:,.12g}" if end is not None else "" for end in (about.minimum, about.maximum)
    )
    unit = f" {about.unit}" if about.unit else ""
    if low and high:
        return f"From {low} to {high}{unit}."
    return f"From {low}{unit} on." if low else f"Up to {high}{unit}." if high else ""


@functools.cache
def explain(section: type, name: str) -> str:
    """The tooltip of a setting: what it does, its range, its default, its name elsewhere."""
    about = fields.info(section, name)
    default = next(f.default for f in dataclasses.fields(section) if f.name == name)
    said = fields.to_text(section, name, default)
    if about.auto and said == "auto":
        said = f"auto ({about.auto})"
    if len(said) > 60:
        said = f"{said[:57]}..."
    lines = [about.help, _range(about), f"Default: {said}" if said else ""]
    return "\n".join([*filter(None, lines), f"Command line: --set {name}=..."])


class Form(Box):
    """Rows of settings; ``on_edit(name, text)`` is called for each value a person has settled on.

    Values are texts as `fields.parse` takes them, `auto` for a field that is left open.
    """

    def __init__(
        self,
        master: tk.Misc,
        section: type,
        names: Sequence[str],
        on_edit: Callable[[str, str], object],
    ) -> None:
        super().__init__(master)
        self._on_edit = on_edit
        self._rows = {name: _Row(self, section, name, i) for i, name in enumerate(names)}
        self._shown: dict[str, str] = {}  # the value last rendered or told, by name
        self._pending, self._timer = "", ""
        self._width = 0
        self.bind("<Configure>", self._on_size)
        self.columnconfigure(0, minsize=px(LABEL_WIDTH * kit.skin().breadth))
        self.columnconfigure(1, weight=1)
        self.columnconfigure(2, minsize=px(UNIT_WIDTH * kit.skin().breadth))

    def render(
        self,
        values: Mapping[str, str],
        errors: Mapping[str, str],
        notes: Mapping[str, str] = types.MappingProxyType({}),
        locked: str = "",
    ) -> None:
        """Show values, what is wrong with them and what follows from them; ``locked`` says why not."""
        for name, row in self._rows.items():
            if name in values and name != self._pending:
                self._show(name, row, values[name])
            row.set_error(errors.get(name, ""))
            row.set_note(notes.get(name, ""))
            row.lock(locked)

    def focus_field(self, name: str) -> None:
        """Give a field the focus, such as the one that an error is about."""
        self._rows[name].control.focus_set()

    def destroy(self) -> None:
        """Take what was typed, then go."""
        self.flush()
        super().destroy()

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        if event.width != self._width:
            self._width = event.width
            for row in self._rows.values():
                row.fit(event.width)

    def _show(self, name: str, row: "_Row", text: str) -> None:
        # A field being typed in is left alone until its value really is another one.
        is_old = self._shown.get(name) == text
        if row.text() != text and not (is_old and row.has_focus()):
            row.set_text(text)
        self._shown[name] = text

    # What a person does

    def typed(self, name: str) -> None:
        """Take the value soon, unless typing goes on."""
        if self._pending != name:
            self.flush()
        self._stop_timer()
        self._pending = name
        self._timer = self.after(TYPING_MS, self.flush)

    def flush(self) -> None:
        """Take the value that was typed last, now."""
        self._stop_timer()
        name, self._pending = self._pending, ""
        if name:
            self.settle(name)

    def settle(self, name: str) -> None:
        """Tell of a value if it is another one."""
        text = self._rows[name].text()
        if text != self._shown.get(name):
            self._shown[name] = text
            self._on_edit(name, text)

    def _stop_timer(self) -> None:
        if self._timer:
            self.after_cancel(self._timer)
            self._timer = ""


class _Row:
    """One setting: label, control, unit or note, and lines beneath for what is longer."""

    def __init__(self, form: Form, section: type, name: str, index: int) -> None:
        self._form, self._name, self._at = form, name, 2 * index
        self._about = fields.info(section, name)
        self._kind, self._is_open = _type_of(section, name)
        tip = explain(section, name)
        self._label = kit.label(form, self._about.label, "body", "fg2", wraplength=px(150))
        self._label.grid(row=self._at, column=0, sticky="w", padx=(0, px(10)), pady=px(3))
        self.control = self._make(tip)
        self.control.grid(row=self._at, column=1, sticky="ew", pady=px(3))
        self._label.bind("<Button-1>", self._press_label)
        kit.tooltip(self._label, tip)
        unit = self._about.unit or (name if "_" in name else "")  # d_model says more than Width
        room = px(UNIT_WIDTH * kit.skin().breadth) - px(8)
        self._unit = unit if kit.skin().fonts["caption"].measure(unit) <= room else ""
        self._room = room
        self._side = kit.label(form, self._unit, "caption", "muted")
        self._side.grid(row=self._at, column=2, sticky="w", padx=(px(8), 0))
        self._beneath = kit.label(form, "", "caption", "muted", justify="left")
        self._error, self._note, self._lock = "", "", ""

    def _make(self, tip: str) -> Control:
        form, name, about = self._form, self._name, self._about
        settle: Callable[[object], None] = lambda value: form.settle(name)  # noqa: E731
        typed: Callable[[object], None] = lambda value: form.typed(name)  # noqa: E731
        if self._kind is bool and not self._is_open:
            return controls.check(form, "", on_change=settle, tip=tip)
        choices = ("on", "off") if self._kind is bool else about.choices
        if choices:
            if self._is_open and "auto" not in choices:
                choices = ("auto", *choices)
            return controls.combo(form, choices, on_change=settle, width=10, tip=tip)
        made: Entry | Spin
        low, high = about.minimum, about.maximum
        is_number = self._kind is int and not self._is_open
        if is_number and low is not None and high is not None and high <= SPIN_MAX:
            step = max(1, low) if high > FINE_MAX else 1
            made = controls.spin(form, "", low, high, step, 8, on_change=typed, tip=tip)
            for arrow in ("<<Increment>>", "<<Decrement>>"):
                made.bind(arrow, lambda event: form.after_idle(form.flush), "+")
        else:
            made = controls.entry(form, width=10, on_change=typed, tip=tip)
        for event in ("<FocusOut>", "<Return>", "<KP_Enter>"):
            made.bind(event, lambda event: form.flush(), "+")
        return made

    def _press_label(self, event: "tk.Event[tk.Misc]") -> None:
        if isinstance(self.control, Check):
            self.control.invoke()
        else:
            self.control.focus_set()

    def text(self) -> str:
        """The value as a text."""
        value = self.control.get_value()
        if isinstance(value, bool):
            return "on" if value else "off"
        return value.strip()

    def set_text(self, text: str) -> None:
        """Show a value."""
        is_tick = isinstance(self.control, Check)
        self.control.set_value(SWITCH.get(text.lower(), False) if is_tick else text)

    def has_focus(self) -> bool:
        """Whether a person is at it."""
        return str(self.control.tk.call("focus")) == str(self.control)  # focus_get() may fail

    def lock(self, why: str) -> None:
        """Keep it from being changed, for a reason; none lets it be changed again."""
        if why != self._lock:
            self._lock = why
            kit.enable(self.control, not why, why)

    def set_error(self, text: str) -> None:
        """Redden its edge and say beneath it what is wrong."""
        if text != self._error:
            self._error = text
            self.control.state(["invalid" if text else "!invalid"])
            self._say()

    def set_note(self, text: str) -> None:
        """Say what follows from the value: at its side, or beneath when it is long."""
        if text != self._note:
            self._note = text
            self._say()

    def _say(self) -> None:
        is_short = kit.skin().fonts["caption"].measure(self._note) <= self._room
        self._side.configure(text=self._note if self._note and is_short else self._unit)
        beneath = self._error or ("" if is_short else self._note)
        if not beneath:
            self._beneath.grid_remove()
            return
        kit.retone(self._beneath, "caption", "bad" if self._error else "muted")
        self._beneath.configure(text=beneath)
        self.fit(self._form.winfo_width())
        place: dict[str, Any] = {"row": self._at + 1, "column": 1, "columnspan": 2}
        self._beneath.grid(sticky="w", pady=(0, px(4)), **place)

    def fit(self, width: int) -> None:
        """Break the lines beneath at a form's width."""
        if self._beneath.cget("text"):
            label = self._form.grid_bbox(0, self._at)
            room = width - (label[2] if label else 0) - px(4)
            self._beneath.configure(wraplength=max(px(150), room))

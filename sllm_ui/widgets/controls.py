"""What a person presses, types into and chooses from; each has a tooltip, a focus ring, and a place
in the order of Tab. `on_change` is called for what a person did, never for `set_value`.
"""

import tkinter as tk
from collections.abc import Callable, Sequence
from typing import Any

import ttkbootstrap as tb

from sllm_ui.widgets import kit
from sllm_ui.widgets.kit import Box, Panel, px, restyle, surface_of, tooltip

EDIT_TAG, SLIDE_TAG = "SllmEdit", "SllmSlide"
INK = {"primary": "on_accent", "danger": "bad", "good": "good", "link": "accent"}


# Buttons


class Button(tb.Button):
    """A push button that remembers its kind."""

    def __init__(self, master: tk.Misc, kind: str, is_small: bool, anchor: str, **kw: Any) -> None:
        self.kind, self.is_small, self._side = kind, is_small, anchor
        self.icon: str | None = None
        self.words = ""
        style = kit.skin().button(kind, surface_of(master), is_small, anchor)
        super().__init__(master, style=style, cursor="hand2", **kw)

    def show(self, words: str, icon: str | None, kind: str) -> None:
        """Show these words, this icon, this kind."""
        if kind != self.kind:
            self.kind = kind
            surface = surface_of(self.master)
            restyle(self, kit.skin().button(kind, surface, self.is_small, self._side))
        self.words, self.icon = words, icon
        self.tk.call(str(self), "configure", *_face(words, icon, kind, self.is_small))


def _face(words: str, icon: str | None, kind: str, is_small: bool) -> list[object]:
    """Options of a button's text and picture."""
    if not icon:
        return ["-text", words, "-image", "", "-compound", "none"]
    look, size = kit.skin(), 13 if is_small else 15
    lit = look.icon(icon, size, INK.get(kind, "fg2"))
    image = (lit, "disabled", look.icon(icon, size, "muted"))
    if not words:
        return ["-text", "", "-image", image, "-compound", "image"]
    return ["-text", f"  {words}", "-image", image, "-compound", "left"]


def button(
    master: tk.Misc,
    text: str = "",
    icon: str | None = None,
    kind: str = "default",
    small: bool = False,
    command: Callable[[], object] | None = None,
    tip: str | None = None,
    anchor: str = "center",
    **kw: Any,
) -> Button:
    """A button; kinds primary (one a view), default, ghost, danger, good, nav and link."""
    made = Button(master, kind, small, anchor, command=command or "", **kw)
    made.show(text, icon, kind)
    tooltip(made, tip or text)
    return made


def set_button(
    widget: Button, text: str | None = None, icon: str | None = None, kind: str | None = None
) -> None:
    """Change a button's words, icon or kind in place; its tooltip follows if it was the words."""
    words = widget.words if text is None else text
    look = (words, widget.icon if icon is None else icon, widget.kind if kind is None else kind)
    if look != (widget.words, widget.icon, widget.kind):
        if kit.tip_of(widget) == widget.words:
            tooltip(widget, words)
        widget.show(*look)


def clickable(panel: Panel, command: Callable[[], object], tip: str) -> None:
    """Make a panel and all on it work as one button: pointer, Tab, Return and space bar."""

    def press(event: "tk.Event[tk.Misc]") -> str:
        if not panel.instate(["disabled"]):
            command()
        return "break"

    fill, border = panel.surf, panel.border

    def bind(widget: tk.Misc) -> None:
        widget.bind("<Button-1>", press)
        for child in widget.winfo_children():
            bind(child)

    bind(panel)
    panel.configure(takefocus=True, cursor="hand2")
    for event in ("<Return>", "<KP_Enter>", "<Key-space>"):
        panel.bind(event, press)
    panel.bind("<FocusIn>", lambda event: panel.set_look(fill, "accent_hi"))
    panel.bind("<FocusOut>", lambda event: panel.set_look(fill, border))
    tooltip(panel, tip)


# Fields: what holds a value


class _Watch:
    """Tells a callback when a person has changed a field's value."""

    def __init__(self, read: Callable[[], str], on_change: Callable[[str], object] | None) -> None:
        self.read, self.on_change = read, on_change
        self.last = ""

    def look(self) -> None:
        """Compare with the value of the last look."""
        value = self.read()
        if value != self.last:
            self.last = value
            if self.on_change is not None:
                self.on_change(value)


def _watch_edits(widget: "Entry | Combo | Spin") -> None:
    """Look at a field after each event by which a person may have changed it.

    One set of bindings for all fields, on a tag behind their class: the value is new by then.
    """
    root = widget.winfo_toplevel()
    if not root.bind_class(EDIT_TAG):
        for event in (
            "<KeyRelease>",
            "<FocusOut>",
            "<ButtonRelease>",
            "<<Paste>>",
            "<<Cut>>",
            "<<Clear>>",
            "<<Increment>>",
            "<<Decrement>>",
            "<<ComboboxSelected>>",
        ):
            root.bind_class(EDIT_TAG, event, _on_edit)
    widget.bindtags((*widget.bindtags(), EDIT_TAG))


def _on_edit(event: "tk.Event[tk.Misc]") -> None:
    widget = event.widget
    if isinstance(widget, Entry | Combo | Spin):
        widget.watch.look()


class Entry(tb.Entry):
    """One line of text."""

    def __init__(
        self, master: tk.Misc, on_change: Callable[[str], object] | None, **kw: Any
    ) -> None:
        super().__init__(master, style=kit.skin().entry("TEntry", surface_of(master)), **kw)
        self.watch = _Watch(self.get, on_change)
        _watch_edits(self)

    def get_value(self) -> str:
        """What stands in it."""
        return self.get()

    def set_value(self, value: object) -> None:
        """Show a value; the cursor stays when it shows that already."""
        text = str(value)
        self.watch.last = text
        _put(self, text)


def _put(field: tk.Misc, text: str) -> None:
    """Replace the text of an entry or spin, disabled or not."""
    path = str(field)
    if field.tk.call(path, "get") == text:
        return
    is_off = field.tk.call(path, "instate", "disabled")
    field.tk.call(path, "state", "!disabled")
    field.tk.call(path, "delete", 0, "end")
    field.tk.call(path, "insert", 0, text)
    if is_off:
        field.tk.call(path, "state", "disabled")


def entry(
    master: tk.Misc,
    value: object = "",
    width: int = 12,
    mono: bool = False,
    on_change: Callable[[str], object] | None = None,
    tip: str = "",
) -> Entry:
    """A text field; `on_change(text)` comes with each change."""
    made = Entry(master, on_change, width=width, font="mono" if mono else "body")
    made.set_value(value)
    tooltip(made, tip)
    return made


class Combo(tb.Combobox):
    """A choice from a list."""

    def __init__(
        self, master: tk.Misc, on_change: Callable[[str], object] | None, **kw: Any
    ) -> None:
        style = kit.skin().entry("TCombobox", surface_of(master))
        super().__init__(master, style=style, state="readonly", **kw)
        self.watch = _Watch(self.get, on_change)
        _watch_edits(self)
        self.bind("<<ComboboxSelected>>", lambda event: self.selection_clear())

    def get_value(self) -> str:
        """What is chosen."""
        return self.get()

    def set_value(self, value: object) -> None:
        """Choose a value."""
        self.watch.last = str(value)
        self.set(str(value))

    def set_values(self, values: Sequence[str]) -> None:
        """Offer other values; the chosen one stays."""
        self.configure(values=list(values))


def combo(
    master: tk.Misc,
    values: Sequence[str],
    value: object = None,
    width: int = 12,
    on_change: Callable[[str], object] | None = None,
    tip: str = "",
) -> Combo:
    """A list to choose one value from."""
    made = Combo(master, on_change, values=list(values), width=width, font="body")
    made.set_value(value if value is not None else values[0] if values else "")
    tooltip(made, tip)
    return made


class Spin(tb.Spinbox):
    """A number with arrows."""

    def __init__(
        self, master: tk.Misc, on_change: Callable[[str], object] | None, **kw: Any
    ) -> None:
        super().__init__(master, style=kit.skin().entry("TSpinbox", surface_of(master)), **kw)
        self.watch = _Watch(self.get, on_change)
        _watch_edits(self)

    def get_value(self) -> str:
        """The text of the number, as it stands there."""
        return str(self.get())

    def set_value(self, value: object) -> None:
        """Show a number."""
        text = str(value)
        self.watch.last = text
        _put(self, text)


def spin(
    master: tk.Misc,
    value: object,
    lo: float,
    hi: float,
    step: float = 1,
    width: int = 9,
    on_change: Callable[[str], object] | None = None,
    tip: str = "",
) -> Spin:
    """A number with arrows; its value is a text, for a person may type anything."""
    decimals = 0 if step >= 1 else len(f"{step:g}".partition(".")[2])
    shape = {"format": f"%.{decimals}f", "width": width, "font": "body"}
    made = Spin(master, on_change, from_=lo, to=hi, increment=step, **shape)
    made.set_value(value)
    tooltip(made, tip)
    return made


class Check(tb.Checkbutton):
    """A box with a tick; its Tcl variable has no Python object that a collector could touch."""

    def __init__(
        self,
        master: tk.Misc,
        text: str,
        on: bool,
        on_change: Callable[[bool], object] | None,
        **kw: Any,
    ) -> None:
        style = kit.skin().check(surface_of(master))
        super().__init__(master, text=text, style=style, cursor="hand2", **kw)
        self._on_change = on_change
        self.configure(variable=str(self), command=self._tell)  # type: ignore[arg-type]
        self.set_value(on)

    def destroy(self) -> None:
        """Take its variable along."""
        super().destroy()
        self.tk.call("unset", "-nocomplain", f"::{self}")

    def _tell(self) -> None:
        if self._on_change is not None:
            self._on_change(self.get_value())

    def get_value(self) -> bool:
        """Whether it is ticked."""
        return bool(self.tk.getboolean(self.tk.globalgetvar(str(self))))

    def set_value(self, value: object) -> None:
        """Tick it or not."""
        self.tk.globalsetvar(str(self), int(bool(value)))


def check(
    master: tk.Misc,
    text: str,
    on: bool = False,
    on_change: Callable[[bool], object] | None = None,
    tip: str = "",
) -> Check:
    """A box with a tick and a text."""
    made = Check(master, text, on, on_change)
    tooltip(made, tip or text)
    return made


class Slider(tb.Scale):
    """A value between two ends, in steps."""

    def __init__(
        self,
        master: tk.Misc,
        lo: float,
        hi: float,
        step: float,
        on_change: Callable[[float], object] | None,
        **kw: Any,
    ) -> None:
        style = kit.skin().slider(surface_of(master))
        super().__init__(
            master, from_=lo, to=hi, style=style, command=self._moved, takefocus=True, **kw
        )
        self.lo, self.hi, self.step = lo, hi, step
        self._on_change, self._last = on_change, lo
        self.bindtags((SLIDE_TAG, *self.bindtags()))
        root = self.winfo_toplevel()
        if not root.bind_class(SLIDE_TAG):
            root.bind_class(SLIDE_TAG, "<Button-1>", _on_slide_press)
            for event in ("Left", "Right", "Down", "Up", "Prior", "Next", "Home", "End"):
                root.bind_class(SLIDE_TAG, f"<{event}>", _on_slide_key)

    def get_value(self) -> float:
        """Where it stands."""
        return self._last

    def set_value(self, value: float) -> None:
        """Put it somewhere."""
        self._last = self._snap(value)
        self.configure(value=self._last)

    def choose(self, value: float) -> None:
        """Put it somewhere and say so, as when a person does it."""
        self.configure(value=self._snap(value))
        self._moved(str(self._snap(value)))

    def _snap(self, value: float) -> float:
        steps = round((min(self.hi, max(self.lo, value)) - self.lo) / self.step)
        return round(self.lo + steps * self.step, 10)

    def _moved(self, text: str) -> None:
        value = self._snap(float(text))
        if value != self._last:
            self._last = value
            if self._on_change is not None:
                self._on_change(value)


def _on_slide_press(event: "tk.Event[tk.Misc]") -> str | None:
    """A click beside the knob brings it there: ttk would add 1, far too much for 0 to 1."""
    widget = event.widget
    if not isinstance(widget, Slider) or widget.instate(["disabled"]):
        return None
    widget.focus_set()
    if not str(widget.identify(event.x, event.y)).endswith("slider"):
        widget.choose(float(widget.get(event.x, event.y)))
    return None


def _on_slide_key(event: "tk.Event[tk.Misc]") -> str | None:
    widget = event.widget
    if not isinstance(widget, Slider) or widget.instate(["disabled"]):
        return None
    steps = {"Left": -1, "Down": -1, "Right": 1, "Up": 1, "Prior": -10, "Next": 10}
    ends = {"Home": widget.lo, "End": widget.hi}
    where = ends.get(event.keysym, widget.get_value() + steps.get(event.keysym, 0) * widget.step)
    widget.choose(where)
    return "break"


def slider(
    master: tk.Misc,
    lo: float,
    hi: float,
    value: float,
    on_change: Callable[[float], object] | None = None,
    step: float = 0,
    tip: str = "",
    **kw: Any,
) -> Slider:
    """A slider; without ``step`` it has a hundred."""
    made = Slider(master, lo, hi, step or (hi - lo) / 100, on_change, **kw)
    made.set_value(value)
    tooltip(made, tip)
    return made


class Segmented(Panel):
    """A few choices side by side, one of them taken; Left and Right move it."""

    def __init__(
        self,
        master: tk.Misc,
        options: Sequence[str],
        value: str | None = None,
        command: Callable[[str], object] | None = None,
        icons: Sequence[str] | None = None,
        tips: Sequence[str] | None = None,
    ) -> None:
        super().__init__(master, fill="field", pad=3, r=7, border="line")
        self._command = command
        look = kit.skin()
        self.buttons: dict[str, tb.Radiobutton] = {}
        for i, option in enumerate(options):
            face: dict[str, Any] = {"text": option}
            if icons:
                plain, off, lit = (look.icon(icons[i], 13, t) for t in ("fg2", "muted", "accent"))
                images = (plain, "disabled", off, "selected", lit)
                face = {"text": f"  {option}", "image": images}
                face["compound"] = "left"
            part = tb.Radiobutton(
                self,
                value=option,
                variable=str(self),  # type: ignore[arg-type]
                command=self._tell,
                style=look.segment("field"),
                cursor="hand2",
                **face,
            )
            part.pack(side="left", padx=(px(2) if i else 0, 0))
            tooltip(part, tips[i] if tips else option)
            self.buttons[option] = part
        self._last = value if value is not None else options[0]
        self.set_value(self._last)

    def destroy(self) -> None:
        """Take its variable along."""
        super().destroy()
        self.tk.call("unset", "-nocomplain", f"::{self}")

    def _tell(self) -> None:
        value = self.get_value()
        if value != self._last:
            self._last = value
            if self._command is not None:
                self._command(value)

    def get_value(self) -> str:
        """The option that is taken."""
        return str(self.tk.globalgetvar(str(self)))

    def set_value(self, value: object) -> None:
        """Take an option."""
        self._last = str(value)
        self.tk.globalsetvar(str(self), self._last)

    def set_text(self, option: str, text: str) -> None:
        """Show another text for an option, such as one with a count."""
        self.buttons[option].configure(text=text)


# Built of them


class Section(Box):
    """A part of a form that opens and shuts; shut, one line says what is in it."""

    def __init__(
        self,
        master: tk.Misc,
        title: str,
        summary: str = "",
        is_open: bool = True,
        on_toggle: Callable[[bool], object] | None = None,
    ) -> None:
        super().__init__(master)
        self.is_open, self._on_toggle = not is_open, None
        Box(self, "line", height=px(1)).pack(fill="x")
        head = Box(self)
        head.pack(fill="x", pady=px(2))
        self._title = title
        self._button = Button(head, "section", False, "w", command=self.toggle)
        self._button.pack(side="left")
        self._summary = kit.Elided(head, summary, "caption", "muted", anchor="e")
        self._summary.pack(side="left", fill="x", expand=True, padx=(px(8), 0))
        self._summary.bind("<Button-1>", lambda event: self.toggle())
        self.body = Box(self)
        self.toggle()
        self._on_toggle = on_toggle

    def toggle(self) -> None:
        """Open it or shut it."""
        self.is_open = not self.is_open
        arrow = "chevron-down" if self.is_open else "chevron-right"
        image = kit.skin().glyph(arrow, 11, 18, 14)
        self._button.configure(text=self._title, image=image, compound="left")
        tooltip(self._button, f"{'Shut' if self.is_open else 'Open'} {self._title}")
        if self.is_open:
            self.body.pack(fill="x", pady=(0, px(10)))
        else:
            self.body.pack_forget()
        if self._on_toggle is not None:
            self._on_toggle(self.is_open)

    def set_summary(self, text: str) -> None:
        """Say in a few words what is in it."""
        self._summary.set_text(text)


def empty(
    master: tk.Misc,
    icon: str,
    title: str,
    text: str,
    buttons: Sequence[tuple[str, str | None, str, Callable[[], object]]] = (),
) -> Box:
    """What stands where there is nothing yet: icon, title, a sentence, up to three buttons.

    A button is (label, icon, kind, command).
    """
    made = Box(master)
    badge = Panel(made, fill="accent_bg", pad=18, r=16, border="accent_bg")
    badge.pack(pady=(0, px(18)))
    kit.picture(badge, icon, 32, "accent").pack()
    kit.label(made, title, "h1", justify="center", wraplength=px(460)).pack()
    words = kit.label(made, text, "body", "fg2", justify="center", wraplength=px(440))
    words.pack(pady=(px(6), px(16)))
    row = Box(made)
    row.pack()
    for i, (name, picture, kind, command) in enumerate(buttons):
        made_button = button(row, name, picture, kind, command=command)
        made_button.pack(side="left", padx=(px(8) if i else 0, 0))
    return made

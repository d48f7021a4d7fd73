"""What lies over the window and keeps the keyboard: the hold on the focus, and a sheet.

A hold puts one tag of bindings in front of the class of each widget of its area, so Tab, Return
and Escape are its own; it takes the window itself out of their tags, so the shortcuts that are
bound to the window wait until it is gone.
"""

import tkinter as tk
from collections.abc import Callable, Sequence
from functools import partial

from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import Button, button
from sllm_ui.widgets.kit import Box, Panel, px

TAG = "SllmHold"
_HOLDS: "list[Hold]" = []  # the last one has the keyboard
# label, kind of button, what it does (None: it only closes)
Choice = tuple[str, str, Callable[[], object] | None]


def is_held() -> bool:
    """Something lies over the window and has the keyboard."""
    return bool(_HOLDS)


class Hold:
    """Keeps the focus inside ``area`` until it is released or destroyed."""

    def __init__(
        self,
        area: tk.Misc,
        on_escape: Callable[[], object],
        on_return: Callable[[], object],
        on_blur: Callable[[], object] | None = None,
    ) -> None:
        self.area, self.on_escape, self.on_return = area, on_escape, on_return
        self._on_blur = on_blur
        self._before = str(area.tk.call("focus"))
        self._last = ""  # the widget inside that had the focus last
        self._check = ""
        _HOLDS.append(self)
        root = area.winfo_toplevel()
        if not root.bind_class(TAG):
            _bind_tag(root)
        self.adopt()
        area.bind("<Destroy>", self._on_destroy, "+")

    def adopt(self) -> None:
        """Take in the widgets that the area has got since."""
        _adopt(self.area, str(self.area.winfo_toplevel()))

    def holds(self, path: str) -> bool:
        """The widget with this path is inside."""
        return path == str(self.area) or path.startswith(f"{self.area}.")

    def release(self) -> None:
        """Let go and give the focus back to who had it."""
        if self not in _HOLDS:
            return
        _HOLDS.remove(self)
        tk_call = self.area.tk.call
        if self._check:
            self.area.after_cancel(self._check)
            self._check = ""
        is_ours = self.holds(str(tk_call("focus")))
        if is_ours and self._before and int(tk_call("winfo", "exists", self._before)):
            tk_call("focus", self._before)

    def move(self, by: int) -> None:
        """Focus the next (1) or the previous (-1) widget inside, round and round."""
        stops = [path for path in _paths(self.area) if self._can_stop(path)]
        if stops:
            now = str(self.area.tk.call("focus"))
            at = stops.index(now) + by if now in stops else 0
            path = stops[at % len(stops)]
            self.area.tk.call("tk::TabToWindow", path)

    def _can_stop(self, path: str) -> bool:
        return bool(self.area.tk.getboolean(self.area.tk.call("tk::FocusOK", path)))

    def entered(self, path: str) -> None:
        """A widget inside has got the focus."""
        self._last = path

    def left(self) -> None:
        """One has lost it; look where it went when Tk has settled."""
        if not self._check:
            self._check = self.area.after_idle(self._look)

    def _look(self) -> None:
        self._check = ""
        now = str(self.area.tk.call("focus"))  # '' while another program has it
        if not now or self is not _HOLDS[-1] or self.holds(now):
            return
        if self._on_blur is not None:
            self._on_blur()
        elif self._last and int(self.area.tk.call("winfo", "exists", self._last)):
            self.area.tk.call("focus", self._last)
        else:
            self.move(0)

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self.area:
            self.release()


def _paths(widget: tk.Misc) -> list[str]:
    """A widget and all below it, in the order of Tab."""
    found, waiting = [], [str(widget)]
    while waiting:
        path = waiting.pop()
        found.append(path)
        children = widget.tk.splitlist(widget.tk.call("winfo", "children", path))
        waiting += [str(child) for child in reversed(children)]
    return found


def _adopt(widget: tk.Misc, window: str) -> None:
    tags = [tag for tag in widget.bindtags() if tag not in {window, TAG}]
    kind = widget.winfo_class()  # behind what the widget's owner bound, before what its class does
    tags.insert(tags.index(kind) if kind in tags else 1, TAG)
    widget.bindtags(tuple(tags))
    for child in widget.winfo_children():
        _adopt(child, window)


def _bind_tag(root: tk.Misc) -> None:
    bind = root.bind_class
    bind(TAG, "<Escape>", lambda event: _do(event, "escape"))
    bind(TAG, "<Return>", lambda event: _do(event, "return"))
    bind(TAG, "<KP_Enter>", lambda event: _do(event, "return"))
    bind(TAG, "<Tab>", lambda event: _do(event, "next"))
    bind(TAG, "<Shift-Tab>", lambda event: _do(event, "previous"))
    if root.tk.call("tk", "windowingsystem") == "x11":
        bind(TAG, "<ISO_Left_Tab>", lambda event: _do(event, "previous"))
    bind(TAG, "<FocusIn>", lambda event: _do(event, "in"))
    bind(TAG, "<FocusOut>", lambda event: _do(event, "out"))


def _do(event: "tk.Event[tk.Misc]", what: str) -> str | None:
    path = str(event.widget)
    hold = next((hold for hold in reversed(_HOLDS) if hold.holds(path)), None)
    if hold is None:
        return None
    if what == "in":
        hold.entered(path)
        return None
    if what == "out":
        hold.left()
        return None
    if what == "escape":
        hold.on_escape()
    elif what in {"next", "previous"}:
        hold.move(1 if what == "next" else -1)
    elif isinstance(event.widget, Button):
        event.widget.invoke()
    else:
        hold.on_return()
    return "break"


def close_on_click_outside(area: tk.Misc, close: Callable[[], object]) -> None:
    """Close a popover when the mouse is pressed anywhere else in the window."""

    def grab(event: "tk.Event[tk.Misc]") -> None:
        if event.widget is area:  # a grab of what is not on the screen yet is an error
            area.grab_set()

    def press(event: "tk.Event[tk.Misc]") -> None:
        is_inside = 0 <= event.x < area.winfo_width() and 0 <= event.y < area.winfo_height()
        if event.widget is area and not is_inside:
            close()

    area.bind("<Map>", grab, "+")
    area.bind("<Button-1>", press, "+")


class Sheet:
    """A panel in the middle of the covered window: title, body, a row of buttons.

    ``width`` and ``height`` are logical; without a height the panel is as high as it needs.
    """

    def __init__(
        self,
        root: tk.Misc,
        title: str,
        width: float,
        height: float,
        on_cancel: Callable[[], object],
        on_return: Callable[[], object],
    ) -> None:
        self.scrim = Box(root, "scrim")
        self._width, self._height = width, height
        self._panel = Panel(self.scrim, fill="card", pad=20, r=12, border="line2")
        kit.wrap(kit.label(self._panel, title, "h1", justify="left"), 40).pack(
            anchor="w", fill="x", pady=(0, px(10))
        )
        self.buttons = Box(self._panel)
        self.buttons.pack(side="bottom", fill="x", pady=(px(16), 0))
        self.body = Box(self._panel)
        self.body.pack(fill="both", expand=True)
        self.scrim.bind("<Configure>", lambda event: self._fit(event.width, event.height))
        self.scrim.place(relwidth=1, relheight=1)
        self.scrim.tk.call("raise", str(self.scrim))
        self._fit(root.winfo_width(), root.winfo_height())
        self.hold = Hold(self.scrim, on_cancel, on_return)

    def add_buttons(
        self, choices: Sequence[Choice], close: Callable[[Choice], object]
    ) -> list[Button]:
        """Buttons at the right, the first choice outermost; ``close`` is told which one it was."""
        made = []
        for choice in choices:
            words, kind, _ = choice
            one = button(self.buttons, words, kind=kind, command=partial(close, choice))
            one.pack(side="right", padx=(px(8), 0))
            made.append(one)
        for one in reversed(made):  # Tab goes from left to right
            one.tk.call("raise", str(one))
        return made

    def close(self) -> None:
        """Take it away and give the focus back."""
        self.hold.release()
        self.scrim.destroy()

    def _fit(self, width: int, height: int) -> None:
        margin = px(24)
        wide = max(px(200), min(px(self._width), width - margin))
        place = {"relx": 0.5, "rely": 0.46, "anchor": "center", "width": wide}
        if self._height:
            high = max(px(160), min(px(self._height), height - margin))
            place |= {"height": high, "rely": 0.5}
        self._panel.place(**place)

"""What all widgets of the window have in common: tooltips, the wheel, the focus, arrow keys."""

import sys
import tkinter as tk
from functools import partial

import ttkbootstrap as tb

from sllm_ui.theme import Skin

TIP_TAG, TIP_DELAY_MS, TIP_WIDTH = "SllmTip", 500, 320


class Tips:
    """All tooltips of the window: texts by widget, one timer, one panel inside the window."""

    def __init__(self, root: tk.Misc) -> None:
        self.skin: Skin | None = None
        self.texts: dict[str, str] = {}
        self.reasons: dict[str, str] = {}  # why a control is disabled
        self._root, self._timer = root, ""
        self._panel: tb.Frame | None = None
        root.bind_class(TIP_TAG, "<Enter>", self._enter)
        root.bind_class(TIP_TAG, "<Leave>", self.hide)
        root.bind_class(TIP_TAG, "<Destroy>", self._forget)
        for event in ("<ButtonPress>", "<KeyPress>", "<Unmap>"):
            root.bind_all(event, self.hide, "+")

    def tag(self, widget: tk.Misc) -> None:
        """Let the pointer's coming and going over a widget and its parts be heard."""
        tags = widget.bindtags()
        if TIP_TAG not in tags:
            widget.bindtags((*tags, TIP_TAG))
            for child in widget.winfo_children():
                self.tag(child)

    def text(self, widget: tk.Misc) -> str:
        """What is said of a widget, or of what it is a part of, and why it is disabled."""
        return "\n".join(filter(None, (_above(self.texts, widget), _above(self.reasons, widget))))

    def arm(self, widget: tk.Misc, text: str) -> None:
        """Show ``text`` beside the pointer soon, unless it leaves."""
        self.hide()
        if text:
            self._timer = self._root.after(TIP_DELAY_MS, partial(self._show, widget, text))

    def hide(self, event: object = None) -> None:
        """Take the tooltip away, and the one that waits."""
        if self._timer:
            self._root.after_cancel(self._timer)
            self._timer = ""
        if self._panel is not None:
            panel, self._panel = self._panel, None
            panel.destroy()

    def _enter(self, event: "tk.Event[tk.Misc]") -> None:
        self.arm(event.widget, self.text(event.widget))

    def _forget(self, event: "tk.Event[tk.Misc]") -> None:
        self.texts.pop(str(event.widget), None)
        self.reasons.pop(str(event.widget), None)
        self.hide()

    def _show(self, widget: tk.Misc, text: str) -> None:
        self._timer = ""
        skin = self.skin
        if skin is None or not widget.winfo_exists():
            return
        top, px = widget.winfo_toplevel(), skin.px
        style = skin.panel("raised", "raised", 4, "line2")
        panel = tb.Frame(top, style=style, padding=(px(9), px(5), px(9), px(6)))
        words = tb.Label(panel, text=text, style=skin.label("caption", "raised"))
        words.configure(wraplength=px(TIP_WIDTH), justify="left")
        words.pack()
        words.update_idletasks()
        width, height = panel.winfo_reqwidth(), panel.winfo_reqheight()
        x, y = widget.winfo_pointerx() - top.winfo_rootx(), widget.winfo_pointery()
        y -= top.winfo_rooty()
        below = y + px(20)
        if below + height > top.winfo_height():
            below = y - height - px(10)
        left = min(x + px(6), top.winfo_width() - width - px(6))
        panel.place(x=max(0, left), y=max(0, below))
        panel.tk.call("raise", str(panel))
        self._panel = panel


def _above(texts: dict[str, str], widget: tk.Misc) -> str:
    """The text of a widget or of the nearest one around it that has a text."""
    name = str(widget)
    while name and not texts.get(name):
        name = name.rpartition(".")[0]
    return texts.get(name, "")


def bind(root: tk.Misc, tips: Tips) -> None:
    """Give the window's widgets their habits; once a window."""
    wheel = ["<MouseWheel>", "<Button-4>", "<Button-5>"]
    for name in ("TCombobox", "TSpinbox"):  # a form that scrolls must not change its values
        for event in (*wheel, "<Shift-MouseWheel>", "<Control-MouseWheel>"):
            root.unbind_class(name, event)
    for event in wheel:
        root.bind_all(event, partial(_on_wheel, tips), "+")
    root.bind_all("<FocusIn>", _on_focus, "+")
    # ttkbootstrap takes the space bar from buttons
    root.tk.call("bind", "TButton", "<Key-space>", "ttk::button::activate %W")
    for arrow, step in (("<Left>", -1), ("<Up>", -1), ("<Right>", 1), ("<Down>", 1)):
        root.bind_class("TRadiobutton", arrow, partial(_on_arrow, step))


def _on_wheel(tips: Tips, event: "tk.Event[tk.Misc]") -> None:
    """Hand the wheel to the nearest thing under the pointer that can scroll."""
    if event.num in (4, 5):
        notches: float = -1 if event.num == 4 else 1
    else:
        notches = -event.delta / (1 if sys.platform == "darwin" else 120)
    widget: tk.Misc | None = event.widget
    while isinstance(widget, tk.Misc):  # a combobox's list is known to Tcl alone: a str
        if isinstance(widget, tk.Text) and widget.yview() != (0.0, 1.0):
            return  # it has scrolled itself
        on_wheel = getattr(widget, "on_wheel", None)
        if on_wheel is not None and on_wheel(notches):
            tips.hide()
            return
        widget = widget.master


def _on_focus(event: "tk.Event[tk.Misc]") -> None:
    """Let what scrolls bring into view what has got the focus."""
    widget: tk.Misc | None = event.widget
    while isinstance(widget, tk.Misc):
        on_focus = getattr(widget, "on_focus_in", None)
        if on_focus is not None:
            on_focus(event.widget)
        widget = widget.master


def _on_arrow(step: int, event: "tk.Event[tk.Misc]") -> str:
    """Take the next of some radio buttons that stand together."""
    group = event.widget.master.winfo_children() if event.widget.master else []
    parts = [w for w in group if isinstance(w, tb.Radiobutton)]
    usable = [w for w in parts if not w.instate(["disabled"])]
    if event.widget in usable:
        there = usable[(usable.index(event.widget) + step) % len(usable)]
        there.focus_set()
        there.invoke()
    return "break"

"""Small switches side by side that break into lines: one canvas, one stop of Tab."""

import tkinter as tk
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sllm_ui.widgets import kit
from sllm_ui.widgets.kit import px, surface_of

HEIGHT, GAP, PAD = 24, 6, 9  # logical px


@dataclass(frozen=True)
class Chip:
    """One switch: what it says, whether it is on, and its tooltip."""

    name: str
    is_on: bool
    tip: str = ""


class Chips(tk.Canvas):
    """``on_press(name)`` is called for the chip that a person presses; arrows move between them."""

    def __init__(
        self, master: tk.Misc, on_press: Callable[[str], object], tip: str = "File types"
    ) -> None:
        ground = kit.skin().surface(surface_of(master))
        super().__init__(master, bg=ground, bd=0, highlightthickness=0, width=px(60))
        self.configure(height=px(HEIGHT), takefocus=True, cursor="hand2")
        self._on_press, self._chips, self._locked = on_press, list[Chip](), ""
        self._boxes: list[tuple[int, int, int, int]] = []
        self._at, self._width, self._said = 0, 0, -1
        kit.tooltip(self, tip)
        self.bind("<Configure>", self._on_size)
        self.bind("<Button-1>", self._press)
        self.bind("<Motion>", self._move)
        self.bind("<Leave>", lambda event: self._say(-1))
        self.bind("<Key>", self._key)
        for sequence in ("<FocusIn>", "<FocusOut>"):
            self.bind(sequence, lambda event: self._draw())

    def show(self, chips: Sequence[Chip], locked: str = "") -> None:
        """Show these; ``locked`` says why none can be pressed."""
        if (list(chips), locked) != (self._chips, self._locked):
            self._chips, self._locked = list(chips), locked
            self._at = max(0, min(self._at, len(chips) - 1))
            self.configure(cursor="" if locked else "hand2")
            self._draw()

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        if event.width != self._width:  # the height is our own doing
            self._width = event.width
            self._draw()

    def _draw(self) -> None:
        self.delete("all")
        if self._width <= 1:
            return
        look, p = kit.skin(), kit.skin().p
        font, ground = look.fonts["caption"], look.surface(surface_of(self.master))
        x = y = 0
        self._boxes = []
        is_focused = str(self.tk.call("focus")) == str(
            self
        )  # focus_get knows no list of a combobox
        for i, chip in enumerate(self._chips):
            width = font.measure(chip.name) + 2 * px(PAD)
            if x and x + width > self._width:
                x, y = 0, y + px(HEIGHT + GAP)
            fill, border, ink = (
                (p.accent_bg, p.accent_bg, p.accent_hi)
                if chip.is_on
                else (ground, p.line2, p.muted)
            )
            if self._locked:
                fill, border, ink = (
                    (p.raised, p.raised, p.muted) if chip.is_on else (ground, p.line, p.muted)
                )
            if is_focused and i == self._at:
                border = p.accent_hi
            tile = look.tile((width, px(HEIGHT)), px(5), fill, border, ground)
            self.create_image(x, y, image=str(tile), anchor="nw")
            middle = (x + width // 2, y + px(HEIGHT) // 2)
            self.create_text(*middle, text=chip.name, fill=ink, font="caption")
            self._boxes.append((x, y, x + width, y + px(HEIGHT)))
            x += width + px(GAP)
        height = y + px(HEIGHT)
        if int(self.cget("height")) != height:
            self.configure(height=height)

    def _find(self, x: int, y: int) -> int:
        for i, (x0, y0, x1, y1) in enumerate(self._boxes):
            if x0 <= x < x1 and y0 <= y < y1:
                return i
        return -1

    def _press(self, event: "tk.Event[tk.Misc]") -> None:
        self.focus_set()
        i = self._find(event.x, event.y)
        if i >= 0:
            self._at = i
            self._toggle()

    def _toggle(self) -> None:
        if self._chips and not self._locked:
            self._on_press(self._chips[self._at].name)

    def _move(self, event: "tk.Event[tk.Misc]") -> None:
        self._say(self._find(event.x, event.y))

    def _say(self, i: int) -> None:
        """Arm the tooltip of a chip once, not at each move over it."""
        if i != self._said:
            self._said = i
            parts = (self._chips[i].tip, self._locked) if 0 <= i < len(self._chips) else ()
            kit.tooltip_here(self, "\n".join(filter(None, parts)))

    def _key(self, event: "tk.Event[tk.Misc]") -> str | None:
        key = event.keysym.removeprefix("KP_")
        if key in {"Left", "Up", "Right", "Down", "Home", "End"} and self._chips:
            last = len(self._chips) - 1
            step = -1 if key in {"Left", "Up"} else 1
            self._at = {"Home": 0, "End": last}.get(key, max(0, min(self._at + step, last)))
            self._draw()
        elif key in {"space", "Return", "Enter"}:
            self._toggle()
        else:
            return None
        return "break"

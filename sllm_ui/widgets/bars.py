"""Small pictures of shares on a canvas: bars, a stacked bar, the steps of a run."""

import tkinter as tk
from collections.abc import Sequence
from functools import partial
from typing import Any

from PIL import Image, ImageDraw

from sllm_ui.widgets import kit
from sllm_ui.widgets.kit import px, surface_of

STEP_MIN = 68  # logical px a step needs for its name and time


def pill(
    canvas: tk.Canvas, x0: float, x1: float, y: float, height: float, fill: str, **kw: Any
) -> int:
    """A bar with round ends: a line with round caps, for a smooth polygon has no corners at 8 px."""
    r = height / 2
    ends = (x0 + r, y, max(x0 + r + 1, x1 - r), y)
    return canvas.create_line(*ends, width=height, capstyle="round", fill=fill, **kw)


class _Picture(tk.Canvas):
    """A canvas on its parent's surface that knows when its width has changed."""

    def __init__(self, master: tk.Misc, height: int) -> None:
        ground = kit.skin().surface(surface_of(master))
        super().__init__(master, height=height, width=px(60), bg=ground, bd=0)
        self.configure(highlightthickness=0)


class Bars(_Picture):
    """Horizontal bars, one a row: name, share of the longest, a text at the right."""

    def __init__(
        self,
        master: tk.Misc,
        rows: Sequence[tuple[str, float, str]] = (),
        row_height: float = 26,
        label: float = 64,
        right: float = 96,
    ) -> None:
        super().__init__(master, px(row_height) * max(1, len(rows)))
        breadth = kit.skin().breadth
        self._row, self._label, self._right = (
            px(row_height),
            px(label * breadth),
            px(right * breadth),
        )
        self._rows = list(rows)
        self.bind("<Configure>", lambda event: self._draw())

    def show(self, rows: Sequence[tuple[str, float, str]]) -> None:
        """Show these rows; nothing is drawn anew when they are the same."""
        if list(rows) == self._rows:
            return
        self._rows = list(rows)
        self.configure(height=self._row * max(1, len(rows)))
        self._draw()

    def _draw(self) -> None:
        self.delete("all")
        look, p, width = kit.skin(), kit.skin().p, self.winfo_width()
        most = max((share for _, share, _ in self._rows), default=0) or 1
        room = width - self._label - self._right
        for i, (name, share, text) in enumerate(self._rows):
            y = i * self._row + self._row // 2
            name = kit.cut(name, "body", self._label - px(8))
            self.create_text(0, y, text=name, anchor="w", fill=p.fg2, font="body")
            self.create_text(width, y, text=text, anchor="e", fill=p.muted, font="caption")
            if room < px(24):
                continue
            pill(self, self._label, self._label + room, y, px(8), look.surface("raised"))
            if share > 0:
                end = self._label + max(px(9), room * share / most)
                pill(self, self._label, end, y, px(8), p.accent_hi if i == 0 else p.accent)


class Stack(_Picture):
    """One bar of several parts (value, colour); `total` is its whole width."""

    def __init__(
        self,
        master: tk.Misc,
        parts: Sequence[tuple[float, str]] = (),
        total: float = 0,
        height: float = 10,
    ) -> None:
        super().__init__(master, px(height))
        self._parts, self._total = list(parts), total
        self.bind("<Configure>", lambda event: self._draw())

    def show(self, parts: Sequence[tuple[float, str]], total: float = 0) -> None:
        """Show these parts; a total of 0 is their sum. More than the total fills the bar."""
        if (list(parts), total) != (self._parts, self._total):
            self._parts, self._total = list(parts), total
            self._draw()

    def _draw(self) -> None:
        self.delete("all")
        width, height = self.winfo_width(), self.winfo_height()
        look = kit.skin()
        ground = look.surface(surface_of(self.master))
        self.create_rectangle(0, 0, width, height, fill=look.surface("raised"), width=0)
        amount = sum(value for value, _ in self._parts)
        total = max(self._total, amount)
        total = total or 1
        ends, x = [], 0.0
        for value, colour in self._parts:
            start, x = x, x + width * value / total
            if value > 0:  # a part too small to see keeps a pixel
                self.create_rectangle(start, 0, max(start + 1, x), height, fill=colour, width=0)
                ends.append(x)
        for end in ends[:-1]:
            self.create_rectangle(end - px(1), 0, end, height, fill=ground, width=0)
        for side, at in (("w", 0), ("e", width)):
            mask = look.photo(("cap", height, ground, side), partial(_cap, height, ground, side))
            self.create_image(at, 0, image=mask, anchor="nw" if side == "w" else "ne")


def _cap(height: int, ground: str, side: str) -> Image.Image:
    """What makes one end of a bar round: the ground where the bar ends, clear where it is."""
    n, smooth = height * 4, Image.Resampling.LANCZOS
    mask = Image.new("L", (n // 2, n), 255)
    x = 0 if side == "w" else -n // 2
    ImageDraw.Draw(mask).ellipse((x, 0, x + n - 1, n - 1), fill=0)
    small = mask.resize((max(1, height // 2), height), smooth)
    picture = Image.new("RGBA", small.size, ground)
    picture.putalpha(small)
    return picture


class Stepper(_Picture):
    """The steps of a run in one line: done, running, waiting or failed, each with its time."""

    def __init__(
        self,
        master: tk.Misc,
        steps: Sequence[tuple[str, str]] = (),
        current: int = -1,
        is_failed: bool = False,
    ) -> None:
        super().__init__(master, px(52))
        self._steps, self._current, self._is_failed = list(steps), current, is_failed
        self.bind("<Configure>", lambda event: self._draw())

    def show(self, steps: Sequence[tuple[str, str]], current: int, is_failed: bool = False) -> None:
        """Show steps (name, time); those before ``current`` are done, -1 is none yet."""
        state = (list(steps), current, is_failed)
        if state != (self._steps, self._current, self._is_failed):
            self._steps, self._current, self._is_failed = state
            self._draw()

    def _draw(self) -> None:
        self.delete("all")
        if not self._steps:
            return
        look, p = kit.skin(), kit.skin().p
        cell = self.winfo_width() / len(self._steps)
        y, r, is_wide = px(11), px(9), cell > px(STEP_MIN * look.breadth)
        height = px(52 if is_wide else 36)
        if int(self.cget("height")) != height:
            self.configure(height=height)
        for i, (name, time) in enumerate(self._steps):
            x, is_now = cell * (i + 0.5), i == self._current
            if i:
                is_done = i <= self._current
                fill, width = (p.good, px(2)) if is_done else (p.line2, 1)
                self.create_line(x - cell + r + px(5), y, x - r - px(5), y, fill=fill, width=width)
            self._mark(i, x, y, r)
            if is_wide or is_now:
                ink = p.fg if is_now else p.fg2 if i < self._current else p.muted
                at = min(max(x, px(30)), self.winfo_width() - px(30))
                self.create_text(at, y + px(20), text=name, fill=ink, font="caption")
            if is_wide:
                self.create_text(x, y + px(33), text=time, fill=p.muted, font="tiny")

    def _mark(self, i: int, x: float, y: float, r: float) -> None:
        look, p = kit.skin(), kit.skin().p
        if i < self._current:
            self.create_image(x, y, image=look.icon("check-circle-fill", 18, "good"))
        elif i == self._current and self._is_failed:
            self.create_image(x, y, image=look.icon("x-circle-fill", 18, "bad"))
        elif i == self._current:
            self.create_image(x, y, image=look.icon("record-circle-fill", 18, "accent"))
        else:
            self.create_oval(x - r, y - r, x + r, y + r, outline=p.line2, width=px(1.5))
            self.create_text(x, y, text=str(i + 1), fill=p.muted, font="tiny")

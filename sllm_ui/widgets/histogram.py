"""Scores from 0 to 100 as bars, with a line that a person drags: left of it goes, right of it stays."""

import tkinter as tk
from collections.abc import Callable, Sequence
from typing import Any

from sllm_ui.widgets import kit
from sllm_ui.widgets.kit import px, surface_of

TOP = 100  # the highest score
WIDE = 2  # scores a bar, so that it can be seen
FOOT, HEAD = 18, 22  # logical px for the figures below and the handle above
SETTLE_MS = 400  # a key moves the line at once; it counts when no other follows
CURVE = 0.5  # heights grow with the square root: a few files beside many can still be seen
STEPS = {"Left": -1, "Down": -1, "Right": 1, "Up": 1, "Prior": -10, "Next": 10}
TIP = (
    "Files by their score. Drag the line, or use the arrow keys, PgUp, PgDn, Home and End. "
    "Heights grow with the square root of the number."
)


class Histogram(tk.Canvas):
    """``on_move(value)`` while the line moves, ``on_settle(value)`` when it has come to rest."""

    def __init__(
        self,
        master: tk.Misc,
        on_move: Callable[[int], object],
        on_settle: Callable[[int], object],
        height: float = 126,
    ) -> None:
        p, ground = kit.skin().p, kit.skin().surface(surface_of(master))
        options: dict[str, Any] = {
            "bg": ground,
            "bd": 0,
            "height": px(height),
            "width": px(100),
            "highlightthickness": px(1),
            "highlightbackground": ground,
            "highlightcolor": p.accent_hi,
            "takefocus": True,
            "cursor": "sb_h_double_arrow",
        }
        super().__init__(master, **options)
        self._on_move, self._on_settle = on_move, on_settle
        self._counts: tuple[int, ...] = ()
        self.value, self._why = 50, ""
        self._is_dragged, self._timer = False, ""
        self._bars: list[int] = []
        self._said: object = None
        self.bind("<Configure>", lambda _: self._draw())
        self.bind("<Button-1>", self._press)
        self.bind("<B1-Motion>", self._drag)
        self.bind("<ButtonRelease-1>", self._release)
        self.bind("<Motion>", self._hover)
        self.bind("<Leave>", self._leave)
        self.bind("<Key>", self._key)
        self.bind("<Destroy>", lambda _: self._stop_timer())

    def show(self, counts: Sequence[int], value: int, why: str = "") -> None:
        """Show the files at each score and the line; ``why`` it cannot be moved now."""
        self._why = why
        self.configure(cursor="" if why else "sb_h_double_arrow")
        is_new = tuple(counts) != self._counts
        self._counts = tuple(counts)
        if not self._is_dragged and not self._timer:
            is_new = is_new or value != self.value
            self.value = value
        if is_new:
            self._draw()

    # Drawing

    def _x(self, score: float) -> float:
        return score / TOP * (self.winfo_width() - 2 * px(1)) + px(1)

    def _draw(self) -> None:
        self.delete("all")
        width, height, p = self.winfo_width(), self.winfo_height(), kit.skin().p
        if width <= 1:
            return
        base, top = height - px(FOOT), px(HEAD)
        bins = [sum(self._counts[k : k + WIDE]) for k in range(0, TOP, WIDE)]
        if self._counts:
            bins[-1] += self._counts[TOP]
        most = max(bins, default=0)
        self._bars = []
        for k, n in enumerate(bins):
            x0, x1 = self._x(k * WIDE), self._x((k + 1) * WIDE)
            rise = max(px(2), (base - top) * (n / most) ** CURVE) if n else 0
            gap = px(1)
            self._bars.append(
                self.create_rectangle(x0 + gap, base - rise, x1 - gap, base, width=0, fill=p.accent)
            )
        self.create_line(0, base, width, base, fill=p.line2)
        for score in (0, 25, 50, 75, TOP):
            anchor: Any = {0: "nw", TOP: "ne"}.get(score, "n")
            self.create_text(
                self._x(score), base + px(4), text=str(score), anchor=anchor, fill=p.muted,
                font="tiny",
            )  # fmt: skip
        self.create_line(0, 0, 0, 0, fill=p.warn, width=px(2), tags="line")
        self.create_line(0, 0, 0, 0, fill=p.warn, width=px(18), capstyle="round", tags="knob")
        ink = p.side if p.mode == "dark" else p.card
        self.create_text(0, 0, fill=ink, font="caption", tags="figure")
        self._place_line()

    def _place_line(self) -> None:
        p, base = kit.skin().p, self.winfo_height() - px(FOOT)
        for k, bar in enumerate(self._bars):
            # a bar that the line cuts belongs to the side where the most of it lies
            stays = (k + 1) * WIDE - self.value > WIDE // 2 or k * WIDE >= self.value
            self.itemconfigure(bar, fill=p.accent if stays else p.line2)
        x, half = self._x(self.value), px(17)
        middle = min(max(x, half + px(2)), self.winfo_width() - half - px(2))
        self.coords("line", x, px(6), x, base)
        self.coords("knob", middle - half + px(9), px(11), middle + half - px(9), px(11))
        self.coords("figure", middle, px(11))
        self.itemconfigure("figure", text=str(self.value))

    # What a person does

    def _press(self, event: "tk.Event[tk.Misc]") -> None:
        self.focus_set()
        if not self._why:
            self._stop_timer()
            self._is_dragged = True
            self._drag(event)

    def _drag(self, event: "tk.Event[tk.Misc]") -> None:
        if self._is_dragged:
            self._move(round(TOP * (event.x - px(1)) / max(1, self.winfo_width() - 2 * px(1))))

    def _release(self, _: "tk.Event[tk.Misc]") -> None:
        if self._is_dragged:
            self._is_dragged = False
            self._on_settle(self.value)

    def _move(self, value: int) -> None:
        value = max(0, min(TOP, value))
        if value != self.value:
            self.value = value
            self._place_line()
            self._on_move(value)

    def _key(self, event: "tk.Event[tk.Misc]") -> str | None:
        key = event.keysym.removeprefix("KP_")
        ends = {"Home": 0, "End": TOP}
        if key in STEPS and not self._why:
            self._move(self.value + STEPS[key])
        elif key in ends and not self._why:
            self._move(ends[key])
        else:
            return None
        self._stop_timer()
        self._timer = self.after(SETTLE_MS, self._settle)
        return "break"

    def _settle(self) -> None:
        self._timer = ""
        self._on_settle(self.value)

    def _stop_timer(self) -> None:
        if self._timer:
            self.after_cancel(self._timer)
            self._timer = ""

    def _hover(self, event: "tk.Event[tk.Misc]") -> None:
        share = (event.x - px(1)) / max(1, self.winfo_width() - 2 * px(1))
        k = max(0, min(TOP // WIDE - 1, int(share * TOP / WIDE)))
        if k != self._said:
            self._said = k
            kit.tooltip_here(self, self.words(k))

    def words(self, k: int) -> str:
        """What the tooltip says over bar ``k``."""
        if self._why or not self._counts:
            return "\n".join(filter(None, (TIP, self._why)))
        first = k * WIDE
        last = TOP if first + WIDE >= TOP else first + WIDE - 1
        n = sum(self._counts[first : last + 1])
        files = "1 file" if n == 1 else f"{n:,} files"
        return f"Scores {first} to {last}: {files}.\n{TIP}"

    def _leave(self, _: "tk.Event[tk.Misc]") -> None:
        self._said = None
        kit.tooltip_here(self, "")

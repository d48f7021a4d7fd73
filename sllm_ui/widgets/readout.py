"""What a chart says at the pointer, and its legend: small things drawn on a canvas."""

import tkinter as tk
from collections.abc import Sequence
from dataclasses import dataclass

from sllm_ui.widgets import kit
from sllm_ui.widgets.kit import Box, px, skin
from sllm_ui.widgets.plot import colour

TAG = "readout"


@dataclass(frozen=True)
class Reading:
    """One line of the readout, and where its point lies on the canvas."""

    text: str
    tone: str
    at: tuple[float, float]


def draw_readout(
    canvas: tk.Canvas,
    box: tuple[int, int, int, int],
    x: float,
    title: str,
    readings: Sequence[Reading],
) -> None:
    """A line at ``x``, a dot on each point, and a box of words beside the line."""
    left, top, right, bottom = box
    x = min(max(x, left), right)
    canvas.create_line(x, top, x, bottom, fill=colour("line2"), width=px(1), tags=TAG)
    for reading in readings:
        if left <= reading.at[0] <= right and top <= reading.at[1] <= bottom:
            _dot(canvas, *reading.at, "field", 11)
            _dot(canvas, *reading.at, reading.tone, 8)
    pad, line, indent = px(9), px(17), px(14)
    font = skin().fonts["caption"]
    widths = [font.measure(title), *(indent + font.measure(row.text) for row in readings)]
    width, height = max(widths) + 2 * pad, line * (len(readings) + 1) + pad
    start = x + px(12) if x + px(12) + width <= right else max(left, x - px(12) - width)
    y = top + px(6)
    canvas.create_rectangle(
        start, y, start + width, y + height, fill=colour("raised"), outline=colour("line2"),
        width=px(1), tags=TAG,
    )  # fmt: skip
    middle = y + pad / 2 + line / 2
    _text(canvas, start + pad, middle, title, "muted")
    for reading in readings:
        middle += line
        _dot(canvas, start + pad + px(3), middle, reading.tone, 8)
        _text(canvas, start + pad + indent, middle, reading.text, "fg")


def _dot(canvas: tk.Canvas, x: float, y: float, tone: str, size: int) -> None:
    """A round dot; ovals of a canvas have no smooth edge."""
    canvas.create_image(x, y, image=skin().icon("circle-fill", size, colour(tone)), tags=TAG)


def _text(canvas: tk.Canvas, x: float, y: float, text: str, tone: str) -> None:
    canvas.create_text(
        x, y, text=text, anchor="w", font="caption", fill=colour(tone), tags=TAG
    )  # fmt: skip


def legend(master: tk.Misc, items: Sequence[tuple[str, ...]]) -> Box:
    """A legend as a row of labels: (text, tone[, "dash" | "dot" | "tick" | "mark" | "ring"])."""
    row = Box(master)
    for text, tone, *kind in items:
        sample = _sample(row, tone, kind[0] if kind else "solid")
        sample.pack(side="left", padx=(px(12), px(5)))
        kit.label(row, text, "caption", "fg2").pack(side="left")
    return row


def _sample(master: Box, tone: str, kind: str) -> tk.Canvas:
    """A piece of a line (or its mark) as it looks in the chart."""
    width, middle, ink = px(16), px(6), colour(tone)
    ground = skin().surface(master.surf)
    canvas = tk.Canvas(
        master, width=width, height=2 * middle, bg=ground, highlightthickness=0, bd=0
    )
    if kind == "tick":
        canvas.create_line(width / 2, px(1), width / 2, px(11), fill=ink, width=px(2))
    elif kind in {"mark", "ring"}:
        icon, size = ("circle-fill", 8) if kind == "mark" else ("record-circle", 12)
        canvas.create_image(width / 2, middle, image=skin().icon(icon, size, ink))
    else:
        dash = {"dash": (px(5), px(3)), "dot": (px(2), px(2))}.get(kind, ())
        canvas.create_line(
            px(1), middle, width - px(1), middle, fill=ink, width=px(3), dash=dash,
            capstyle="butt" if dash else "round",
        )  # fmt: skip
    return canvas

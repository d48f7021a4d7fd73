"""The matplotlib side of a chart: one figure that draws into memory and repaints cheaply.

matplotlib's own TkAgg canvas is not used: it takes the keyboard focus when it is made, and when it
dies it unbinds ``<MouseWheel>`` and ``<Destroy>`` of the whole window (before Python 3.12
``unbind`` drops every handler of the event). A full draw costs tens of milliseconds, so it happens
only after ``resize`` and ``limit``; otherwise the saved background comes back and the lines are
drawn on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sllm_ui.widgets.curves import Array, Format, Series, View, tick_text
from sllm_ui.widgets.kit import skin

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

_DASHES: dict[str, Any] = {"solid": "-", "dash": (0, (5, 2.2)), "dot": (0, (1.3, 1.8))}
_MARKS = {"tick": ("|", 8.0, 5.0), "dot": ("o", 3.6, 15.0)}  # marker, its points, points above x


def colour(tone: str) -> str:
    """The colour of a tone: a token's name, ``series0`` and on, or a colour of the palette."""
    if tone.startswith("series"):
        colours = skin().p.series
        return colours[int(tone[6:]) % len(colours)]
    return skin().ink(tone)


@dataclass(frozen=True)
class Rule:
    """A level such as ln V."""

    y: float
    text: str
    tone: str


class Plot:
    """The matplotlib side: one figure, restyled by tokens, that knows how to draw itself."""

    def __init__(self, width: int, height: int, scale: float, is_live: bool) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager

        palette = skin().p
        families = set(fontManager.get_font_names())
        self.fonts = [f for f in (skin().ui_family, "Noto Sans", "DejaVu Sans") if f in families]
        self.is_live, self.scale, self.background = is_live, scale, None
        self.figure = Figure(dpi=96 * scale, facecolor=palette.field)
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes = axes = self.figure.add_subplot()
        axes.set_facecolor(palette.field)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(palette.line2)
        axes.tick_params(
            colors=palette.muted, labelsize=8, length=0, pad=5, labelfontfamily=self.fonts
        )
        axes.grid(axis="y", color=palette.line, linewidth=0.8)
        axes.set_axisbelow(True)
        self.lines: dict[str, Line2D] = {}
        self.marks: dict[str, Line2D] = {}
        self.rules: list[Any] = []
        self.best = axes.plot(
            [], [], "o", ms=6, mfc=palette.field, mec=palette.good, mew=2,
            zorder=6, clip_on=False, animated=is_live,
        )[0]  # fmt: skip
        self.box = (0, 0, 1, 1)  # the axes in pixels: left, top, right, bottom
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """Another size in pixels; the margins are set by ``limit``."""
        self.size = width, height
        dpi = self.figure.dpi
        self.figure.set_size_inches(width / dpi, height / dpi, forward=False)
        self.background = None

    def series(self, wanted: Mapping[str, Series]) -> None:
        """One line for each series, in their order."""
        for name in [name for name in self.lines if name not in wanted]:
            self.lines.pop(name).remove()
        for order, (name, one) in enumerate(wanted.items()):
            tone, width, alpha, *dash = one.style
            style = _DASHES[dash[0] if dash else "solid"]
            if name not in self.lines:
                self.lines[name] = self.axes.plot(
                    [], [], label=name, animated=self.is_live,
                    solid_capstyle="round", solid_joinstyle="bevel",
                )[0]  # fmt: skip
            self.lines[name].set(
                color=colour(tone), lw=width, alpha=alpha, ls=style, zorder=3 + order / 100
            )

    def put(self, name: str, points: tuple[Array, Array], is_log: bool) -> None:
        """Points of one line; a lone point becomes a dot."""
        x, y = points
        if is_log:
            y = np.where(y > 0, y, np.nan)
        line = self.lines[name]
        line.set_data(x, y)
        line.set(marker="o" if len(x) == 1 else "", ms=5)

    def put_marks(self, name: str, xs: Array, tone: str, kind: str) -> None:
        """Marks along the bottom, for example checkpoints and samples."""
        from matplotlib.transforms import ScaledTranslation

        marker, size, height = _MARKS[kind]
        if name not in self.marks:
            lift = ScaledTranslation(0, height / 72, self.figure.dpi_scale_trans)
            self.marks[name] = self.axes.plot(
                [], [], ls="", label=name, transform=self.axes.get_xaxis_transform() + lift,
                clip_on=False, zorder=5, mew=1.6 if kind == "tick" else 0, animated=self.is_live,
            )[0]  # fmt: skip
        line = self.marks[name]
        line.set_data(xs, np.zeros(len(xs)))
        line.set(color=colour(tone), marker=marker, ms=size)

    def put_rules(self, rules: Sequence[Rule], view: View) -> None:
        """Dashed levels with their words above or below, where there is room."""
        for artist in self.rules:
            artist.remove()
        self.rules = []
        for rule in rules:
            if not view[2] <= rule.y <= view[3]:
                continue
            tone = colour(rule.tone)
            self.rules.append(
                self.axes.axhline(rule.y, color=tone, lw=1, ls=(0, (4, 4)), alpha=0.8, zorder=1)
            )
            is_high = self.axes.transAxes.inverted().transform(
                self.axes.transData.transform((view[0], rule.y))
            )[1]
            below = is_high > 0.5
            self.rules.append(
                self.axes.annotate(
                    rule.text, (1, rule.y), xycoords=("axes fraction", "data"),
                    xytext=(-2, -4 if below else 3), textcoords="offset points", ha="right",
                    va="top" if below else "bottom", color=tone, fontsize=8,
                    fontfamily=self.fonts,
                )
            )  # fmt: skip

    def limit(self, view: View, is_log: bool, xfmt: Format, yfmt: Format | None) -> None:
        """Limits, scale, ticks, and margins that hold the labels."""
        from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

        width, height = self.size
        axes, scale = self.axes, self.scale
        if axes.get_yscale() != ("log" if is_log else "linear"):
            axes.set_yscale("log" if is_log else "linear")
        axes.set_xlim(view[0], view[1])
        axes.set_ylim(view[2], view[3])
        bins = max(2, int(height / (46 * scale)))
        is_wide = is_log and view[3] / view[2] > 30
        locator = (
            LogLocator(numticks=bins + 1) if is_wide else MaxNLocator(bins, steps=[1, 2, 5, 10])
        )
        axes.yaxis.set_major_locator(locator)
        axes.yaxis.set_minor_locator(NullLocator())
        marks = [v for v in locator.tick_values(view[2], view[3]) if view[2] <= v <= view[3]]
        step = marks[1] - marks[0] if len(marks) > 1 else (view[3] - view[2]) / 2

        def text(value: float, _: Any = None) -> str:
            if yfmt is not None:
                return yfmt(value)
            return f"{value:g}" if is_wide else tick_text(value, step)

        axes.yaxis.set_major_formatter(FuncFormatter(text))
        axes.xaxis.set_major_locator(
            MaxNLocator(max(2, int(width / (96 * scale))), steps=[1, 2, 5, 10])
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: xfmt(value)))
        letters = max([len(text(v)) for v in marks] or [3])
        left, top = (18 + 6.2 * letters) * scale, 14 * scale
        right, bottom = 18 * scale, 26 * scale
        self.box = (round(left), round(top), round(width - right), round(height - bottom))
        self.figure.subplots_adjust(
            left=left / width, right=1 - right / width, top=1 - top / height, bottom=bottom / height
        )
        self.background = None

    def paint(self) -> bool:
        """Draw what changed into the buffer; True if everything had to be drawn."""
        is_full = self.background is None
        if is_full:
            self.canvas.draw()
            self.background = self.canvas.copy_from_bbox(self.figure.bbox)
        else:
            self.canvas.restore_region(self.background)
        for artist in (*self.lines.values(), *self.marks.values(), self.best):
            self.axes.draw_artist(artist)
        return is_full

    def picture(self) -> Image.Image:
        """The buffer as a picture, without a copy."""
        buffer = self.canvas.buffer_rgba()
        height, width = buffer.shape[:2]
        return Image.frombuffer("RGBA", (width, height), buffer, "raw", "RGBA", 0, 1)

    def at(self, x_px: float, y_px: float) -> tuple[float, float]:
        """Pixel on the canvas -> values."""
        inverse = self.axes.transData.inverted()
        x, y = inverse.transform((x_px, self.size[1] - y_px))
        return float(x), float(y)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Values -> pixel on the canvas."""
        x_px, y_px = self.axes.transData.transform((x, y))
        return float(x_px), float(self.size[1] - y_px)

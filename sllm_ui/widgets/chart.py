"""A chart that follows a run: loss over steps, several runs overlaid, zoom, readout, pictures."""

import io
import tkinter as tk
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ImageTk

from sllm_core.project import atomic_write
from sllm_ui.widgets import kit
from sllm_ui.widgets.curves import (
    Array,
    Format,
    Line,
    Series,
    View,
    grown_x,
    human,
    inside,
    kept_y,
    ordered,
    smooth,
    window_x,
)
from sllm_ui.widgets.kit import Box, px, skin
from sllm_ui.widgets.plot import Plot, Rule, colour
from sllm_ui.widgets.readout import TAG, Reading, draw_readout, legend

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

__all__ = ["LiveChart", "human", "legend", "smooth"]

_SETTLE_MS = 120  # quiet time after the last resize step before the chart is drawn anew
_DRAG_PX = 8  # a shorter movement is a click


class LiveChart(Box):
    """Chart of named series: ``series`` is name -> (tone, width, alpha[, dash]).

    Cheap to make: matplotlib is imported after the first refresh with data in a visible window.
    Call ``set`` with new arrays (they are kept, not copied) and then ``refresh``, at 4 Hz.
    Drag a rectangle to zoom, double click or 0 shows all, arrows move, + and - zoom.
    """

    def __init__(
        self,
        master: tk.Misc,
        series: Mapping[str, Line],
        height: int = 240,
        xfmt: Format | None = None,
        yfmt: Format | None = None,
        ylim: tuple[float, float] | None = None,
        xname: str = "step",
    ) -> None:
        super().__init__(master, surface="field", height=px(height), width=px(100))
        self.pack_propagate(False)
        self._xfmt, self._yfmt, self._ylim, self._xname = xfmt or human, yfmt, ylim, xname
        self._series = {name: Series(style) for name, style in series.items()}
        self._marks: dict[str, tuple[Array, str, str]] = {}
        self._rules: dict[str, Rule] = {}
        self._best: tuple[float, float] | None = None
        self._is_log = False
        self._window: float | None = None
        self._zoom: View | None = None
        self._view: View | None = None
        self._plot: Plot | None = None
        self._photo: ImageTk.PhotoImage | None = None
        self._timers: dict[str, str] = {}
        self._is_stale = self._is_changed = False
        self._drag: tuple[int, int] | None = None
        self._pointer: float | None = None  # where the readout is, as a value of x
        self.full_draws = 0

        palette = skin().p
        self.canvas = tk.Canvas(
            self, bg=palette.field, highlightthickness=0, bd=0, takefocus=1, width=1, height=1
        )
        self.canvas.pack(fill="both", expand=True)
        self._image = self.canvas.create_image(0, 0, anchor="nw", state="hidden")
        self._empty = kit.label(self, "", "body", "muted", anchor="center", justify="center")
        self._bind_events()

    # What the owner tells.

    def set(self, name: str, x: Any, y: Any) -> None:
        """Data of one series, ``x`` rising. The same objects again mean nothing changed."""
        one = self._series[name]
        if one.given[0] is x and one.given[1] is y:
            return
        one.given, one.view = (x, y), None
        one.x, one.y = ordered(x, y)

    def show_series(self, series: Mapping[str, Line]) -> None:
        """Another set of lines (the runs that are compared); data of those that stay are kept."""
        old, self._series = self._series, {}
        for name, style in series.items():
            self._series[name] = old.get(name, Series(style))
            self._series[name].style = style
        if self._plot is not None:
            self._plot.series(self._series)
        if set(old) != set(series):
            self._view = None

    def hline(self, y: float | None, text: str = "", tone: str = "muted", name: str = "") -> None:
        """A dashed level with words, such as ln V; None takes it away."""
        rules = dict(self._rules)
        rules.pop(name, None)
        if y is not None:
            rules[name] = Rule(y, text, tone)
        if rules != self._rules:
            self._rules, self._is_changed = rules, True

    def marks(self, name: str, xs: Any, tone: str, kind: str) -> None:
        """Marks at the bottom; ``kind`` is tick (checkpoints) or dot (samples)."""
        self._marks[name] = (np.asarray(xs, float), tone, kind)

    def mark_best(self, x: float | None, y: float | None = None) -> None:
        """A ring at the best value; None takes it away."""
        self._best = None if x is None or y is None else (float(x), float(y))

    def set_empty(self, text: str) -> None:
        """What to say while there is no point to draw."""
        self._empty.configure(text=text)
        self._show_empty()

    def set_axes(self, xname: str, xfmt: Format | None, yfmt: Format | None) -> None:
        """What the axes measure from now on; a zoom of before means nothing there."""
        if (xname, xfmt or human, yfmt) != (self._xname, self._xfmt, self._yfmt):
            self._xname, self._xfmt, self._yfmt = xname, xfmt or human, yfmt
            self._zoom = self._view = None

    def set_scale(self, scale: str) -> None:
        """``linear`` or ``log`` (of y)."""
        if self._is_log != (scale == "log"):
            self._is_log, self._view = scale == "log", None
            self._zoom = None
            self.refresh()

    def set_window(self, n: float | None) -> None:
        """Show the last ``n`` steps only, or all."""
        if (n, None) != (self._window, self._zoom):
            self._window, self._zoom, self._view = n, None, None
            self.refresh()

    def show_all(self) -> None:
        """End a zoom."""
        if self._zoom is not None:
            self._zoom, self._view = None, None
            self.refresh()

    @property
    def is_zoomed(self) -> bool:
        """A part chosen by hand is in view."""
        return self._zoom is not None

    @property
    def hidden(self) -> bool:
        """Nobody sees it, so nothing is drawn."""
        return not self.winfo_viewable()

    def refresh(self) -> bool:
        """Show the newest data; True if everything had to be drawn anew."""
        has_points = self._show_empty()
        if not has_points or self.hidden or "settle" in self._timers or not self._fits():
            self._is_stale = True
            return False
        if self._plot is None:
            self._is_stale = True
            if "build" not in self._timers:  # let the window paint itself before the import
                self._later("build", 30, self._build)
            return False
        return self._draw(self._plot)

    def save_picture(self, path: Path) -> None:
        """Write the chart with a legend, PNG or SVG by the name's ending.

        Raises:
            DiskError: the file could not be written.
        """
        from matplotlib import rc_context

        width, height = max(640, self.winfo_width()), max(360, self.winfo_height())
        scale = skin().factor
        plot = Plot(width, height, scale, is_live=False)
        view = self._view or self._wanted(width)
        self._compose(plot, view)
        named = [line for line in (*plot.lines.values(), *plot.marks.values()) if _is_told(line)]
        plot.axes.legend(
            handles=named, loc="upper right", fontsize=8, facecolor=colour("raised"),
            edgecolor=colour("line2"), labelcolor=colour("fg2"), prop={"family": plot.fonts},
        )  # fmt: skip
        kind = "svg" if path.suffix.lower() == ".svg" else "png"
        data = io.BytesIO()
        with rc_context({"svg.hashsalt": "sllm"}):
            plot.figure.savefig(data, format=kind, dpi=192 * scale)
        with atomic_write(path, point="picture") as file:
            file.write(data.getbuffer())

    # Drawing.

    def _fits(self) -> bool:
        return self.canvas.winfo_width() > px(120) and self.canvas.winfo_height() > px(70)

    def _show_empty(self) -> bool:
        """Words instead of an empty picture; True if there is something to draw."""
        has_points = any(len(one.x) for one in self._series.values())
        if has_points:
            self._empty.place_forget()
        else:
            self._empty.configure(wraplength=max(px(80), self.winfo_width() - px(32)))
            self._empty.place(relx=0.5, rely=0.5, anchor="center")
            self.canvas.itemconfigure(self._image, state="hidden")
            self.canvas.delete(TAG)
            self._view = None
        return has_points

    def _build(self) -> None:
        """Import matplotlib (some hundred milliseconds, once) and make the figure."""
        width, height = self.canvas.winfo_width(), self.canvas.winfo_height()
        self._plot = Plot(width, height, skin().factor, is_live=True)
        self._plot.series(self._series)
        self.refresh()

    def _x_wanted(self) -> tuple[float, float]:
        ends = [(float(s.x[0]), float(s.x[-1])) for s in self._series.values() if len(s.x)]
        if not ends:
            return 0.0, 1.0
        low, high = min(a for a, _ in ends), max(b for _, b in ends)
        if self._window is not None and high - low > self._window:
            return window_x(high, self._window)
        old = None if self._view is None else (self._view[0], self._view[1])
        return grown_x(low, high, old)

    def _y_wanted(self, x0: float, x1: float, columns: int) -> tuple[float, float]:
        lows, highs = [], []
        for one in self._series.values():
            seen = inside(*one.points(x0, x1, columns), x0, x1)
            if self._is_log:
                seen = seen[seen > 0]
            if len(seen):
                lows.append(float(seen.min()))
                highs.append(float(seen.max()))
        if not lows:
            return (0.1, 1.0) if self._is_log else (0.0, 1.0)
        low, high = min(lows), max(highs)
        room = 0.35 * (high - low)
        for rule in self._rules.values():  # a level that is near belongs into the picture
            if low - room <= rule.y <= high + room and (rule.y > 0 or not self._is_log):
                low, high = min(low, rule.y), max(high, rule.y)
        old = self._view
        is_same_x = old is not None and (self._zoom is None or old[:2] == (x0, x1))
        kept = (old[2], old[3]) if old is not None and is_same_x else None
        return kept_y(low, high, kept, self._is_log)

    def _wanted(self, columns: int) -> View:
        if self._zoom is not None:
            x0, x1, y0, y1 = self._zoom
            if np.isnan(y0):
                y0, y1 = self._y_wanted(x0, x1, columns)
            return x0, x1, y0, y1
        x0, x1 = self._x_wanted()
        return (x0, x1, *(self._ylim or self._y_wanted(x0, x1, columns)))

    def _compose(self, plot: Plot, view: View) -> None:
        """Everything of the chart in one figure; used for pictures."""
        plot.series(self._series)
        plot.limit(view, self._is_log, self._xfmt, self._yfmt)
        plot.put_rules(list(self._rules.values()), view)
        self._put_data(plot, view, 2 * plot.size[0])

    def _put_data(self, plot: Plot, view: View, columns: int) -> None:
        x0, x1 = view[0], view[1]
        for name, one in self._series.items():
            plot.put(name, one.points(x0, x1, columns), self._is_log)
        for name, (xs, tone, kind) in self._marks.items():
            plot.put_marks(name, xs[(xs >= x0) & (xs <= x1)], tone, kind)
        best = self._best
        is_seen = best is not None and x0 <= best[0] <= x1 and view[2] <= best[1] <= view[3]
        plot.best.set_data(*([[best[0]], [best[1]]] if best and is_seen else [[], []]))

    def _draw(self, plot: Plot) -> bool:
        size = self.canvas.winfo_width(), self.canvas.winfo_height()
        view = self._wanted(size[0])
        is_new = view != self._view or size != plot.size or self._is_changed
        if is_new and self._drag is not None:  # never a slow draw under a dragging hand
            self._is_stale = True
            return False
        if size != plot.size:
            plot.resize(*size)
        if is_new:
            plot.limit(view, self._is_log, self._xfmt, self._yfmt)
            plot.put_rules(list(self._rules.values()), view)
            self._view, self._is_changed = view, False
        self._put_data(plot, view, size[0])
        is_full = plot.paint()
        self.full_draws += is_full
        self._is_stale = False
        picture = plot.picture()
        if self._photo is None or (self._photo.width(), self._photo.height()) != picture.size:
            self._photo = ImageTk.PhotoImage(picture, master=self)
            self.canvas.itemconfigure(self._image, image=str(self._photo))
        else:
            self._photo.paste(picture)
        self.canvas.itemconfigure(self._image, state="normal")
        self._show_readout()
        self._show_hint()
        return is_full

    # Time.

    def _later(self, name: str, ms: int, do: Callable[[], object]) -> None:
        """Run ``do`` in a while; a second call starts the time anew."""
        self._cancel(name)

        def run() -> None:
            self._timers.pop(name, None)
            do()

        self._timers[name] = self.after(ms, run)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            self.after_cancel(timer)

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            for name in list(self._timers):
                self._cancel(name)
            # Here and now, on Tk's thread: an image that the collector finds elsewhere stalls it.
            self._photo = self._plot = None

    def _on_configure(self, event: "tk.Event[tk.Misc]") -> None:
        if self._plot is not None:  # keep the old picture meanwhile
            self._later("settle", _SETTLE_MS, self.refresh)
        elif self._is_stale:
            self._later("settle", 1, self.refresh)
        self._show_empty()

    def _on_expose(self, event: "tk.Event[tk.Misc]") -> None:
        if self._is_stale and "settle" not in self._timers:
            self._later("settle", 1, self.refresh)

    # Mouse and keyboard.

    def _bind_events(self) -> None:
        bind = self.canvas.bind
        self.bind("<Destroy>", self._on_destroy, "+")
        bind("<Configure>", self._on_configure)
        bind("<Expose>", self._on_expose)
        bind("<Button-1>", self._press)
        bind("<B1-Motion>", self._pull)
        bind("<ButtonRelease-1>", self._release)
        bind("<Double-Button-1>", lambda _: self.show_all())
        bind("<Motion>", self._hover)
        bind("<Leave>", lambda _: self._point(None))
        bind("<FocusIn>", lambda _: self._show_hint())
        bind("<FocusOut>", lambda _: self._on_blur())
        bind("<Left>", lambda _: self._move(-0.2))
        bind("<Right>", lambda _: self._move(0.2))
        bind("<Shift-Left>", lambda _: self._step_readout(-0.01))
        bind("<Shift-Right>", lambda _: self._step_readout(0.01))
        for key in ("plus", "equal", "KP_Add"):
            bind(f"<{key}>", lambda _: self._scale(0.6))
        for key in ("minus", "KP_Subtract"):
            bind(f"<{key}>", lambda _: self._scale(1 / 0.6))
        for key in ("Key-0", "KP_0", "Home"):
            bind(f"<{key}>", lambda _: self.show_all())

    def _on_blur(self) -> None:
        self._point(None)
        self._show_hint()

    def _is_ready(self) -> bool:
        return self._plot is not None and self._view is not None

    def _press(self, event: "tk.Event[tk.Misc]") -> None:
        self.canvas.focus_set()
        if self._is_ready():
            self._drag = event.x, event.y
            self._point(None)

    def _rectangle(self, event: "tk.Event[tk.Misc]") -> tuple[int, int, int, int]:
        """What is dragged, inside the axes; a flat one means the whole height."""
        assert self._drag is not None and self._plot is not None
        left, top, right, bottom = self._plot.box
        x0, x1 = sorted(min(max(x, left), right) for x in (self._drag[0], event.x))
        y0, y1 = sorted(min(max(y, top), bottom) for y in (self._drag[1], event.y))
        return (x0, y0, x1, y1) if y1 - y0 > 3 * px(_DRAG_PX) else (x0, top, x1, bottom)

    def _pull(self, event: "tk.Event[tk.Misc]") -> None:
        if self._drag is None:
            return
        self.canvas.delete("drag")
        if abs(event.x - self._drag[0]) >= px(_DRAG_PX):
            self.canvas.create_rectangle(
                *self._rectangle(event), outline=colour("accent_hi"), dash=(4, 3), tags="drag"
            )

    def _release(self, event: "tk.Event[tk.Misc]") -> None:
        self.canvas.delete("drag")
        if self._drag is None or self._plot is None or self._view is None:
            return
        x0, y0, x1, y1 = self._rectangle(event)
        is_whole = (y0, y1) == (self._plot.box[1], self._plot.box[3])
        self._drag = None
        if x1 - x0 < px(_DRAG_PX):
            if self._is_stale:
                self.refresh()
            return
        left, low = self._plot.at(x0, y1)
        right, high = self._plot.at(x1, y0)
        self._zoom_to(left, right, *((np.nan, np.nan) if is_whole else (low, high)))

    def _zoom_to(self, x0: float, x1: float, y0: float = np.nan, y1: float = np.nan) -> None:
        """Show a part, no smaller than two steps and not beyond the data."""
        ends = [(float(s.x[0]), float(s.x[-1])) for s in self._series.values() if len(s.x)]
        if not ends:
            return
        low, high = min(0.0, *(a for a, _ in ends)), max(b for _, b in ends)
        if x1 - x0 < 1e-6 * max(1.0, abs(x1)):
            return
        if x1 - x0 >= high - low and np.isnan(y0):
            self.show_all()
            return
        shift = max(0.0, low - x0) - max(0.0, x1 - max(high, low + x1 - x0))
        self._zoom = (x0 + shift, x1 + shift, y0, y1)
        self.refresh()

    def _scale(self, factor: float) -> None:
        if self._view is not None:
            middle, half = (self._view[0] + self._view[1]) / 2, (self._view[1] - self._view[0]) / 2
            if self._pointer is not None and self._view[0] <= self._pointer <= self._view[1]:
                middle += (self._pointer - middle) * (1 - factor)
            self._zoom_to(middle - half * factor, middle + half * factor)

    def _move(self, by: float) -> None:
        if self._zoom is not None and self._view is not None:
            shift = (self._view[1] - self._view[0]) * by
            self._zoom_to(self._view[0] + shift, self._view[1] + shift, *self._zoom[2:])

    def _step_readout(self, by: float) -> None:
        """The readout without a mouse: a hundredth of the view to the left or right."""
        if self._view is not None:
            x0, x1 = self._view[0], self._view[1]
            at = self._pointer if self._pointer is not None else (x0 + x1) / 2
            self._point(min(max(at + (x1 - x0) * by, x0), x1))

    def _hover(self, event: "tk.Event[tk.Misc]") -> None:
        if self._plot is None or self._view is None or self._drag is not None:
            return
        left, top, right, bottom = self._plot.box
        is_inside = left <= event.x <= right and top <= event.y <= bottom
        self._point(self._plot.at(event.x, event.y)[0] if is_inside else None)

    def _point(self, x: float | None) -> None:
        self._pointer = x
        self._show_readout()

    def _nearest(self) -> list[tuple[str, str, float, float]]:
        """(name, tone, x, y) of the point of each clear line next to the pointer."""
        assert self._pointer is not None and self._view is not None
        reach = 0.03 * (self._view[1] - self._view[0])
        found = []
        for name, one in self._series.items():
            if one.style[2] < 0.5 or not len(one.x):  # the pale raw line behind a smoothed one
                continue
            at = int(np.searchsorted(one.x, self._pointer))
            sides = [i for i in (at - 1, at) if 0 <= i < len(one.x)]
            best = min(sides, key=lambda i: abs(float(one.x[i]) - float(self._pointer or 0)))
            if abs(float(one.x[best]) - self._pointer) <= reach:
                found.append((name, one.style[0], float(one.x[best]), float(one.y[best])))
        return found

    def _show_readout(self) -> None:
        """A line at the nearest step and a small box with its values."""
        canvas, plot, view = self.canvas, self._plot, self._view
        canvas.delete(TAG)
        if self._pointer is None or plot is None or view is None:
            return
        found = self._nearest()
        if not found or not view[0] <= self._pointer <= view[1]:
            return
        nearest = min(found, key=lambda row: abs(row[2] - (self._pointer or 0)))[2]
        readings = []
        for name, tone, x, y in found:
            value = "-" if np.isnan(y) else self._yfmt(y) if self._yfmt else f"{y:,.4g}"
            where = "" if x == nearest else f"  at {self._x_text(x)}"
            at = plot.pixel(x, max(y, 1e-300) if self._is_log else y)
            readings.append(Reading(f"{name}  {value}{where}", tone, at))
        title = f"{self._xname} {self._x_text(nearest)}".strip()
        draw_readout(canvas, plot.box, plot.pixel(nearest, view[2])[0], title, readings)

    def _x_text(self, x: float) -> str:
        return f"{x:,.0f}" if self._xfmt is human else self._xfmt(x)

    def _show_hint(self) -> None:
        """The focus ring, and which keys help."""
        canvas = self.canvas
        canvas.delete("hint")
        width, height = canvas.winfo_width(), canvas.winfo_height()
        has_focus = str(canvas.tk.call("focus")) == str(canvas)
        if has_focus:
            canvas.create_rectangle(
                0, 0, width - 1, height - 1, outline=colour("accent_hi"), tags="hint"
            )
        if not self._is_ready():
            return
        words = "Zoomed: 0 or a double click shows all" if self.is_zoomed else ""
        if has_focus:
            words = "+ − zoom   ← → move   Shift+← → values" + ("   0 all" if words else "")
        if words:
            text = canvas.create_text(
                width - px(10), px(5), text=words, anchor="ne", font=str(skin().fonts["tiny"]),
                fill=colour("muted"), tags="hint",
            )  # fmt: skip
            box = canvas.create_rectangle(
                *canvas.bbox(text), fill=colour("field"), width=0, tags="hint"
            )
            canvas.tag_lower(box, text)


def _is_told(line: "Line2D") -> bool:
    """The legend names it; pale raw lines and empty marks stay out."""
    return (line.get_alpha() or 1.0) >= 0.5 and np.size(line.get_xdata()) > 0

"""The arithmetic of a chart: which points to draw, which limits, which words at the axes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# tone (a colour of the palette), width in points, alpha, and "solid" | "dash" | "dot"
Line = tuple[str, float, float] | tuple[str, float, float, str]
View = tuple[float, float, float, float]  # x0, x1, y0, y1
Format = Callable[[float], str]

_NONE: Array = np.empty(0)


def decimate(x: Array, y: Array, x0: float, x1: float, columns: int) -> tuple[Array, Array]:
    """The few points that draw the same line between ``x0`` and ``x1`` as all of them.

    First, smallest, largest and last value of every pixel column, and one point beyond each edge.
    ``x`` must not fall; NaN in ``y`` is a gap only where a whole column has nothing else.
    """
    start = max(0, int(np.searchsorted(x, x0, "left")) - 1)
    stop = int(np.searchsorted(x, x1, "right")) + 1
    x, y = x[start:stop], y[start:stop]
    if len(x) <= 4 * columns:
        return x, y
    edges = np.searchsorted(x, np.linspace(x0, x1, columns + 1))
    begin = np.unique(np.concatenate(([0], edges[edges < len(x)])))
    end = np.append(begin[1:], len(x)) - 1
    low, high = np.fmin.reduceat(y, begin), np.fmax.reduceat(y, begin)
    first, last = y[begin], y[end]
    first, last = np.where(np.isnan(first), low, first), np.where(np.isnan(last), high, last)
    middle = (x[begin] + x[end]) / 2
    xs = np.stack([x[begin], middle, middle, x[end]], 1).ravel()
    return xs, np.stack([first, low, high, last], 1).ravel()


def inside(x: Array, y: Array, x0: float, x1: float) -> Array:
    """The known values of a line between ``x0`` and ``x1``, and where it crosses these edges."""
    known = np.isfinite(y)
    x, y = x[known], y[known]
    seen = y[(x >= x0) & (x <= x1)]
    edges = [edge for edge in (x0, x1) if len(x) and x[0] < edge < x[-1]]
    return np.concatenate((seen, np.interp(edges, x, y))) if edges else seen


def smooth(y: Array, weight: float) -> Array:
    """Exponential mean of ``y`` with ``weight`` (0 up to, not including, 1) on the past.

    s_i = sum_j w^(i-j) y_j / sum_j w^(i-j), so the first value is not pulled to zero; NaN counts
    for nothing. In blocks that are short enough for w^-length to stay exact.
    """
    y = np.asarray(y, float)
    if weight <= 0 or len(y) == 0:
        return y
    known = np.isfinite(y)
    total = _decayed_sum(np.where(known, y, 0.0), weight)
    share = _decayed_sum(known.astype(float), weight)
    return np.divide(total, share, out=np.full(len(y), np.nan), where=share > 0)


def _decayed_sum(values: Array, weight: float) -> Array:
    """``out[i] = values[i] + weight * out[i - 1]`` without a loop over values."""
    n = len(values)
    # weight^-block stays below 1e12; what a block hands to the one after the next is below 1e-12
    block = int(min(n, max(1, np.ceil(np.log(1e-12) / np.log(weight)))))
    rows = -(-n // block)
    padded = np.zeros(rows * block)
    padded[:n] = values
    decay = weight ** np.arange(1, block + 1)
    inside = np.cumsum(padded.reshape(rows, block) / decay, axis=1) * decay
    carried = np.zeros(rows)
    carried[1:] = inside[:-1, -1]
    carried[2:] += inside[:-2, -1] * weight**block
    return (inside + carried[:, None] * decay).ravel()[:n]


def human(value: float) -> str:
    """``1200 -> '1.2k'``: the steps under the axis."""
    if abs(value) >= 1000:
        value = round(value)
    if abs(value) >= 1_000_000:
        return f"{value / 1e6:.7g}M"
    return f"{value / 1e3:.7g}k" if abs(value) >= 1000 else f"{value:.4g}"


def tick_text(value: float, step: float) -> str:
    """A number at an axis whose marks are ``step`` apart, with as many digits as they need."""
    if abs(value) >= 10_000 and step >= 100:
        return human(value)
    if 0 < step < 1e-5:
        return f"{value:.1e}".replace("e-0", "e-").replace(".0e", "e")
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9))) if step > 0 else 2
    return f"{value:.{digits}f}"


def grown_x(low: float, high: float, old: tuple[float, float] | None) -> tuple[float, float]:
    """Limits of x that hold ``low`` to ``high``; they grow by 30 % so that they seldom move."""
    start = 0.0 if 0 <= low <= 0.2 * high else low
    if high <= start:
        high = start + 1
    if old is None or old[0] != start or high - start < 0.6 * (old[1] - old[0]):
        return start, high
    return old if high <= old[1] else (start, start + 1.3 * (high - start))


def window_x(high: float, n: float) -> tuple[float, float]:
    """Limits that hold the last ``n`` steps and move by a tenth of them at a time."""
    step = n / 10
    end = np.ceil(high / step) * step
    return float(max(0.0, end - n - step)), float(max(end, step))


def kept_y(
    low: float, high: float, old: tuple[float, float] | None, is_log: bool
) -> tuple[float, float]:
    """Limits of y with room around ``low`` to ``high``; the old ones while they still fit."""
    if is_log:
        bounds = None if old is None else (float(np.log10(old[0])), float(np.log10(old[1])))
        bottom, top = kept_y(float(np.log10(low)), float(np.log10(high)), bounds, is_log=False)
        return 10.0**bottom, 10.0**top
    span = high - low
    if old is not None and old[0] <= low and high <= old[1] and span >= 0.6 * (old[1] - old[0]):
        return old
    if span <= 1e-12 * max(1.0, abs(high)):
        span = abs(high) * 0.1 or 1.0
    return low - 0.08 * span, high + 0.06 * span


def ordered(x: Any, y: Any) -> tuple[Array, Array]:
    """Arrays as ``decimate`` wants them; copied only if something must be mended."""
    x, y = np.asarray(x), np.asarray(y)
    n = min(len(x), len(y))
    x, y = x[:n], y[:n]
    if x.dtype.kind not in "fiu":
        x = x.astype(float)
    if y.dtype.kind != "f":
        y = y.astype(float)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        known = np.isfinite(x)
        x, y = x[known], y[known]
    if (x[1:] < x[:-1]).any():
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
    if np.isinf(y).any():
        y = np.where(np.isinf(y), np.nan, y)
    return x, y


@dataclass
class Series:
    """One line: what the owner gave, and the points drawn of it for one view."""

    style: Line
    given: tuple[Any, Any] = (None, None)
    x: Array = field(default_factory=lambda: _NONE)
    y: Array = field(default_factory=lambda: _NONE)
    view: tuple[float, float, int] | None = None
    shown: tuple[Array, Array] = (_NONE, _NONE)

    def points(self, x0: float, x1: float, columns: int) -> tuple[Array, Array]:
        """Decimated for a view, from the cache if neither data nor view changed."""
        if self.view != (x0, x1, columns):
            self.shown = decimate(self.x, self.y, x0, x1, columns)
            self.view = (x0, x1, columns)
        return self.shown

"""The lines of the chart: which numbers of a run, over what, how smooth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sllm_ui.runstate import RunState

if TYPE_CHECKING:
    from numpy.typing import NDArray

METRICS = {
    "Validation loss": "val_loss",
    "Training loss": "loss",
    "Bits per byte": "val_bpb",
    "Learning rate": "lr",
    "Gradient norm": "grad_norm",
    "Tokens per second": "tokens_per_sec",
}
NOISY = frozenset({"Training loss", "Gradient norm", "Tokens per second"})
AXES = ("Steps", "Tokens", "Time")
SMOOTH_OF = 1000  # points; the weight of the past is that of one of so many
INLINE = 20_000  # points that are worked on at once; more of them on a thread


@dataclass(frozen=True, eq=False)
class Source:
    """The columns that a line is made from, as views."""

    is_each: bool  # a value at each step
    x: "NDArray[Any]"  # steps of the values
    y: "NDArray[Any]"
    steps: "NDArray[Any]"  # of the run, with what belongs to them
    tokens: "NDArray[Any]"
    time: "NDArray[Any]"


@dataclass(frozen=True, eq=False)
class Curve:
    """One run's line: float64 arrays of one length."""

    run: str
    name: str  # as the chart says it; no two are the same
    colour: int
    x: "NDArray[Any]"
    y: "NDArray[Any]"
    smoothed: "NDArray[Any] | None"  # None: as measured


def source_of(story: RunState, metric: str) -> Source:
    """The columns of a metric; copies nothing."""
    is_each, run = not metric.startswith("val_"), story.curve
    table = run if is_each else story.validations
    columns = run["step"], run["tokens"], run["time"]
    return Source(is_each, table["step"], table[metric], *columns)


def line(
    source: Source, axis: str, weight: float
) -> "tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]":
    """x, y and the smoothed y; tokens and time of a validation are those of its step."""
    import numpy as np

    from sllm_core.jobs.series import work_s
    from sllm_ui.widgets.curves import smooth

    x, y = source.x, source.y
    if axis != "Steps" and len(source.steps):
        along = source.tokens if axis == "Tokens" else work_s(source.time) / 60
        x = along if source.is_each else np.interp(x, source.steps, along)
    elif axis != "Steps":
        x, y = x[:0], y[:0]
    known = np.isfinite(y)
    if not known.all():
        x, y = x[known], y[known]
    if weight <= 0:
        return x, y, None
    # Of a long run a pixel holds many steps: the same setting calms the same share of the line.
    return x, y, smooth(y, weight ** (min(1.0, SMOOTH_OF / max(1, len(y)))))


class Lines:
    """Lines that were worked out, kept until their run has more points.

    Args:
        task: works off the window's thread (`Session.task`).
        on_new: a line that was worked on there is ready.
    """

    def __init__(self, task: Callable[..., object], on_new: Callable[[], None]) -> None:
        self._task, self._on_new = task, on_new
        self._kept: dict[str, tuple[Any, Any, Any]] = {}  # run -> view, stamp, arrays
        self._asked: dict[str, Any] = {}  # run -> the view that a thread works on

    def keep(self, runs: tuple[str, ...]) -> None:
        """Forget all other runs."""
        self._kept = {run: kept for run, kept in self._kept.items() if run in runs}
        self._asked = {run: asked for run, asked in self._asked.items() if run in runs}

    def get(self, story: RunState, metric: str, axis: str, weight: float) -> Any:
        """(x, y, smoothed) of a run; None while a long one is worked on for the first time."""
        view = (metric, axis, weight)
        stamp = (id(story), story.curve.n, story.validations.n)
        kept = self._kept.get(story.id)
        if kept is not None and kept[:2] == (view, stamp):
            return kept[2]
        source = source_of(story, metric)
        if len(source.steps) <= INLINE:
            made = line(source, axis, weight)
            self._kept[story.id] = (view, stamp, made)
            return made
        if self._asked.get(story.id) != view:
            self._ask(story.id, view, stamp, source)
        return kept[2] if kept is not None and kept[0] == view else None

    def _ask(self, run: str, view: Any, stamp: Any, source: Source) -> None:
        self._asked[run] = view

        def take(made: Any) -> None:
            self._asked.pop(run, None)
            self._kept[run] = (view, stamp, made)
            self._on_new()

        self._task(f"line {run}", line, source, view[1], view[2], then=take)


def unique(names: list[str]) -> list[str]:
    """The names, with a number behind those that are there already."""
    out: list[str] = []
    for name in names:
        number, made = 1, name
        while made in out:
            number += 1
            made = f"{name} ({number})"
        out.append(made)
    return out


def best_point(curve: Curve) -> tuple[float, float] | None:
    """Where a line is lowest."""
    import numpy as np

    if not len(curve.y):
        return None
    at = int(np.argmin(curve.y))
    return float(curve.x[at]), float(curve.y[at])

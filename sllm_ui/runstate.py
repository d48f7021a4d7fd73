"""What a run has said so far, folded from its messages: numbers as arrays, samples, log, steps."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sllm_core import messages as m
from sllm_core.jobs.channel import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sllm_core.jobs.runs import Run
    from sllm_core.jobs.series import Past

# The steps of a training run in the order of the run, as the window names them.
STEPS = {
    "setup": "Setup",
    "reading": "Read files",
    "tokenizer": "Tokenizer",
    "encoding": "Encode",
    "windows": "Windows",
    "batches": "Batches",
    "model": "Model",
    "training": "Train",
    "saving": "Save",
}
# Steps of the jobs on the data alone; they join the others when a job says that it is at one.
DATA_STEPS = {
    "looking": "Learn what the text is like",
    "scoring": "Score",
    "comparing": "Look for copies",
    "moving": "Move",
    "restoring": "Put back",
    "checking": "Check",
}
LIVE = frozenset({"starting", "running", "paused", "stopping"})
LOG_LINES = 3000
MEAN_OF = 50  # steps that the training loss on screen is the mean of
PACE_OF = 200  # steps that the time left is measured on
WARM_UP = 3  # steps at the start of a process that are slow and say nothing of the pace
DIED = "E-WORKER-DIED"  # said for a process that ended without a last word
Result = m.Refined | m.Removed | m.Restored | m.LeakReport
_STEP_COLUMNS = ("step", "loss", "lr", "grad_norm", "tokens_per_sec", "tokens", "epoch", "time")
_VAL_COLUMNS = ("step", "val_loss", "val_bpb", "time")


class Columns:
    """Columns of numbers that grow at the end; unknown is NaN. Reading one copies nothing."""

    def __init__(self, names: tuple[str, ...]) -> None:
        import numpy as np  # not before the first paint of the window: no run, no numbers

        self._np, self.names, self.n = np, names, 0
        self._data = np.empty((len(names), 1024))
        self._place = {name: i for i, name in enumerate(names)}

    def append(self, *values: float | None) -> None:
        """One row, in the order of the names."""
        if self.n == self._data.shape[1]:
            wider = self._np.empty((len(self.names), 2 * self.n))
            wider[:, : self.n] = self._data
            self._data = wider
        row = [self._np.nan if value is None else value for value in values]
        self._data[:, self.n] = row
        self.n += 1

    def extend(self, table: Any) -> None:
        """All rows of a structured array that has these names."""
        size = max(1024, 2 * (self.n + len(table)))
        wider = self._np.empty((len(self.names), size))
        wider[:, : self.n] = self._data[:, : self.n]
        for name, i in self._place.items():
            wider[i, self.n : self.n + len(table)] = table[name]
        self._data, self.n = wider, self.n + len(table)

    def cut(self, step: int) -> None:
        """Drop the rows behind ``step``, which a resume left behind."""
        self.n = int(self._np.searchsorted(self["step"], step, side="right"))

    def __getitem__(self, name: str) -> "NDArray[Any]":
        """A view of one column, (n,) float64."""
        view: NDArray[Any] = self._data[self._place[name], : self.n]
        return view


@dataclass
class StepState:
    """One of the nine steps: waiting, running or done, and how far it is."""

    state: str = "waiting"
    done: int = 0
    total: int | None = None
    unit: str = ""
    n_bytes: int | None = None
    elapsed_s: float | None = None
    begun: float | None = None  # wall time


@dataclass(frozen=True)
class LogLine:
    """One line of the log."""

    time: float
    level: str  # info | good | warning | error
    text: str


class RunState:
    """A run as the window knows it. ``version`` rises with every message."""

    def __init__(self, run_id: str, kind: str, state: str = "starting") -> None:
        self.id, self.kind, self.state = run_id, kind, state
        self.version = 0
        self.steps = {name: StepState() for name in STEPS}
        self.current = ""  # the step that is running
        self.curve, self.validations = Columns(_STEP_COLUMNS), Columns(_VAL_COLUMNS)
        self.plan: m.Plan | None = None
        self.step: m.Step | None = None
        self.validation: m.Validation | None = None
        self.best: m.Validation | None = None
        self._validated: list[m.Validation] = []  # those a resume did not take back
        self.samples: list[m.Sample] = []
        self.saved: list[m.Saved] = []
        self.scanned: m.Scanned | None = None
        self.prepared: m.Prepared | None = None
        self.result: Result | None = None  # of a job on the data
        self.end: m.Done | m.Stopped | m.Failed | None = None
        self.log: deque[LogLine] = deque(maxlen=LOG_LINES)
        self.n_lines = 0  # of the log, those that fell off included
        self.started: float | None = None  # wall time of the first message of this process
        self.reason = ""  # why it is paused or waiting
        self.is_pausing = False  # asked to pause, not yet confirmed
        self._pace_from: float | None = None  # wall time: what was before says nothing of the pace
        self._reached = ""  # the step that messages other than progress prove

    @classmethod
    def from_past(cls, run: "Run", past: "Past", state: str) -> "RunState":
        """A run from its folder; ``state`` is what its locks and its last word say."""
        made = cls(run.id, run.kind)
        made.curve.extend(past.steps)
        made.validations.extend(past.validations)
        for message, time in past.notes:
            made._fold(message, time, is_replay=True)
        made.step = made._last_step()
        if not (state == "running" and made.is_live):  # a live one may be paused
            made.state = state
        made._infer_steps()
        return made

    @property
    def is_live(self) -> bool:
        """Whether a process works on it."""
        return self.state in LIVE

    @property
    def total_steps(self) -> int | None:
        """Updates planned, None before the plan."""
        return self.plan.total_steps if self.plan else None

    @property
    def tokens_per_step(self) -> int:
        """Tokens an update learns from, 0 before the plan."""
        return self.plan.tokens_per_step if self.plan else 0

    def apply(self, message: m.Message, time: float) -> None:
        """Take one message in; costs microseconds, for a thousand come in a second."""
        self._fold(message, time, is_replay=False)

    def _fold(self, message: m.Message, time: float, *, is_replay: bool) -> None:
        self.version += 1
        if isinstance(message, m.Step):
            self.step = message
            self.curve.append(
                message.step, message.loss, message.lr, message.grad_norm,
                message.tokens_per_sec, message.tokens, message.epoch, time,
            )  # fmt: skip
            if self.state == "starting":
                self.state = "running"
            return
        if isinstance(message, m.Progress):
            self._progress(message, time)
            return
        self._note(message, time, is_replay=is_replay)
        level = _level(message)
        if level and (text := describe(message)):
            self.log.append(LogLine(time, level, text))
            self.n_lines += 1

    def _note(self, message: m.Message, time: float, *, is_replay: bool) -> None:  # noqa: C901 - a table reads best whole
        match message:
            case m.Started():
                self.state, self.end, self.started = "running", None, time
                self.steps = {name: StepState() for name in STEPS}
                self.current, self.reason, self.is_pausing = "", "", False
                self._pace_from, self._reached = time, "setup"
            case m.Plan():
                base, self._reached = self.plan, "training"
                if not message.n_params and base:  # a revision carries only what it revises
                    message = _revised(base, message)
                self.plan = message
            case m.Validation():
                self.validation = message
                self._validated.append(message)
                if not is_replay:
                    self.validations.append(message.step, message.val_loss, message.val_bpb, time)
                if message.is_best:
                    self.best = message
            case m.Sample():
                self.samples.append(message)
            case m.Saved():
                self.saved.append(message)
            case m.Scanned():
                self.scanned = message
                if self.kind == "scan":
                    self.state = "done"
            case m.Prepared():
                self.prepared, self._reached = message, "windows"
            case m.Refined() | m.Removed() | m.Restored() | m.LeakReport():
                self.result = message
            case m.Resumed():
                self._rewind(message.step, is_replay=is_replay)
            case m.StateChanged():
                self.state = {"waiting": "paused"}.get(message.state, message.state)
                self.reason, self.is_pausing = message.reason, False
                if message.state == "running":
                    self._pace_from = time
            case m.Done() | m.Stopped() | m.Failed():
                self._finish(message)
            case _:
                pass

    def _progress(self, message: m.Progress, time: float) -> None:
        step = self.steps.get(message.step_name)
        if step is None and message.step_name in DATA_STEPS:
            step = self.steps[message.step_name] = StepState()
        if step is None:
            return
        if message.state == "done":
            step.state, step.elapsed_s = "done", message.elapsed_s
            return
        if step.state != "running":
            step.state, step.begun, step.elapsed_s = "running", time, None
        step.done, step.total, step.unit = message.done, message.total, message.unit
        step.n_bytes = message.n_bytes
        self.current = message.step_name
        if self.state == "starting":
            self.state = "running"

    def _rewind(self, step: int, *, is_replay: bool) -> None:
        """Forget what came after ``step``: the run goes on from there."""
        if not is_replay:  # what is read from the folder is rewound already
            self.curve.cut(step)
            self.validations.cut(step)
            self.step = self._last_step()
        self.samples = [sample for sample in self.samples if sample.step <= step]
        self.saved = [saved for saved in self.saved if saved.step <= step]
        self._validated = [found for found in self._validated if found.step <= step]
        self.validation = self._validated[-1] if self._validated else None
        self.best = next((found for found in reversed(self._validated) if found.is_best), None)

    def _last_step(self) -> m.Step | None:
        """The last step as a message, from the curve."""
        if not self.curve.n:
            return None
        row = {name: float(self.curve[name][-1]) for name in _STEP_COLUMNS}
        known = {name: value if value == value else None for name, value in row.items()}
        return m.Step(
            step=int(row["step"]), loss=known["loss"], loss_hex="", grad_norm=known["grad_norm"],
            lr=row["lr"], tokens=int(row["tokens"]), data_pos=0, epoch=int(row["epoch"]),
            tokens_per_sec=known["tokens_per_sec"],
        )  # fmt: skip

    def _infer_steps(self) -> None:
        """How far this process came: its progress is not kept, but what it said tells."""
        if self.kind != "train" or self.state == "starting" or not self._reached:
            return
        reached = "saving" if isinstance(self.end, m.Done) else self._reached
        for name, step in self.steps.items():
            if name == reached:
                step.state = "running"
                break
            step.state = "done"
        self.current = reached
        if self.end:
            self._finish(self.end)

    def _finish(self, message: m.Done | m.Stopped | m.Failed) -> None:
        self.end, self.is_pausing = message, False
        self.state = {m.Done: "done", m.Stopped: "stopped", m.Failed: "failed"}[type(message)]
        if self.kind == "train" and isinstance(message, m.Failed) and message.code == DIED:
            self.state = "interrupted"  # as its folder says it, where no last word stands either
        for step in self.steps.values():
            if step.state == "running":
                step.state = "failed" if isinstance(message, m.Failed) else "done"
        if self.kind == "train" and not isinstance(message, m.Failed) and self.step:
            self.steps["saving"].state = "done"

    # -- derived numbers -------------------------------------------------------------------------

    def mean_loss(self) -> float | None:
        """The mean training loss of the last steps, in nats a token."""
        losses = self.curve["loss"][-MEAN_OF:]
        losses = losses[losses == losses]  # NaN is unknown
        return float(losses.mean()) if len(losses) else None

    def pace_s(self) -> float | None:
        """Seconds a step took lately, validations and saves included, slow first steps not."""
        most = PACE_OF + WARM_UP
        times, steps = self.curve["time"][-most:], self.curve["step"][-most:]
        if self._pace_from is not None:
            steps = steps[times >= self._pace_from]
            times = times[times >= self._pace_from]
        if len(times) > 2 * WARM_UP:
            times, steps = times[WARM_UP:], steps[WARM_UP:]
        if len(times) < 3 or steps[-1] <= steps[0] or times[-1] <= times[0]:  # clocks are set back
            return None
        return float((times[-1] - times[0]) / (steps[-1] - steps[0]))

    def left_s(self) -> float | None:
        """Seconds until the planned end at the pace of late; None while it is not known."""
        pace, total = self.pace_s(), self.total_steps
        if self.step is None or not total:
            return self.plan.forecast_s if self.plan else None
        if pace is None:
            return None
        return max(0.0, pace * (total - self.step.step))

    def share(self) -> float | None:
        """Work done of what runs now, 0..1; None where that is not known."""
        if self.kind == "train" and self.step and self.total_steps:
            return min(1.0, self.step.step / self.total_steps)
        step = self.steps.get(self.current)
        if step and step.state == "running" and step.total:
            return min(1.0, step.done / step.total)
        return None


def _revised(base: m.Plan, new: m.Plan) -> m.Plan:
    from dataclasses import replace

    return replace(
        base, step=new.step, total_steps=new.total_steps, warmup_steps=new.warmup_steps,
        reason=new.reason,
    )  # fmt: skip


def _level(message: m.Message) -> str:
    """How a message is coloured in the log; '' for those that are shown elsewhere."""
    match message:
        case m.Log():
            return message.level
        case m.Failed():
            return "error"
        case m.Validation():
            return "good" if message.is_best else "info"
        case m.Done():
            return "good"
        case m.Sample() | m.Started():
            return ""
        case _:
            return "info"

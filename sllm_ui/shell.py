"""What the frame of the window shows: project, machine, tab dots, run bar; and what may be done."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from sllm_core import fmt
from sllm_core.jobs.vitals import Vitals
from sllm_ui.actions import TABS
from sllm_ui.bus import Store
from sllm_ui.events import (
    ConfigChanged,
    DataChanged,
    ProjectChanged,
    RunChanged,
    RunsChanged,
    VitalsChanged,
)
from sllm_ui.runstate import DATA_STEPS, STEPS, RunState
from sllm_ui.session import Session

GIB = 1 << 30
REFINING = frozenset({"refine", "remove", "restore", "leaks"})  # jobs that belong to the Refine tab
WORDS = {
    "scan": "Scanning",
    "prepare": "Preparing",
    "refine": "Analysing",
    "remove": "Moving",
    "restore": "Putting back",
    "leaks": "Checking",
    "clear": "Clearing",
}


@dataclass(frozen=True)
class Meter:
    """One reading of the machine: figure and unit, share of the whole 0..1, this app's part."""

    name: str
    figure: str = "-"
    unit: str = ""
    share: float | None = None
    app: str = ""
    tone: str = "accent"
    tip: str = ""


@dataclass(frozen=True)
class Bar:
    """The run bar. ``buttons`` are ids of actions, shown in this order."""

    word: str = "Ready"
    tone: str = "good"
    text: str = ""
    share: float | None = None
    is_busy: bool = False  # a bar is shown
    left: str = ""
    buttons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShellState:
    """Everything the frame shows."""

    title: str = ""
    path: str = ""
    is_open: bool = False
    read_only: str = ""
    recent: tuple[tuple[str, str, bool], ...] = ()  # (name, folder, is there)
    meters: tuple[Meter, ...] = (Meter("CPU"), Meter("RAM"))
    gpu: str = ""
    dots: dict[str, str] = field(default_factory=lambda: dict.fromkeys(TABS, "empty"))
    bar: Bar = Bar()
    vitals_n: int = 0  # rises with each reading


class ShellPresenter:
    """Keeps the frame's state up to date with the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.store = Store(ShellState())
        for kind in (ProjectChanged, ConfigChanged, DataChanged, RunChanged, RunsChanged):
            session.bus.subscribe(kind, lambda _: self.refresh())
        session.bus.subscribe(VitalsChanged, self._on_vitals)
        self.refresh()

    def refresh(self) -> None:
        """Read everything but the meters from the session."""
        s = self._session
        root = s.project.root if s.project else None
        self.store.update(
            title=fmt.path_text(root.name) if root else "No project",
            path=short_path(root) if root else "Make or open one",
            is_open=root is not None,
            read_only=s.read_only,
            recent=tuple(
                (fmt.path_text(Path(path).name), path, True)
                for path in s.settings.values.recent
                if root is None or path != str(root)
            ),
            dots=dots(s),
            bar=run_bar(s, time.time()),
        )

    def _on_vitals(self, event: VitalsChanged) -> None:
        self.store.update(
            meters=meters(event.vitals),
            gpu=", ".join(dict.fromkeys(gpu.name for gpu in event.vitals.gpus)),
            vitals_n=self.store.state.vitals_n + 1,
        )


def short_path(path: Path, width: int = 60) -> str:
    """A folder as it is shown: the home as ~, the middle left out when it is long."""
    text = fmt.path_text(str(path))
    home = str(Path.home())
    if len(home) > 1 and path.is_relative_to(home):
        text = f"~{text[len(home) :]}"
    return (
        text if len(text) <= width else f"{text[: width // 3]}…{text[-(width - width // 3 - 1) :]}"
    )


def meters(v: Vitals) -> tuple[Meter, ...]:
    """The readings as figures with units; '-' where a number is not known."""
    cores = f"{v.n_cores} cores" if v.n_cores and v.n_cores != 1 else "1 core"
    out = [
        Meter(
            "CPU", _percent(v.cpu_percent), cores, _share(v.cpu_percent, 100),
            f"this app {_percent(v.app_cpu_percent)}",
            tip="Load of all cores; below it the part of this app and its workers.",
        ),
        Meter(
            "RAM", _gib(v.ram_used_bytes), f"of {_gib(v.ram_total_bytes)} GiB",
            _share(v.ram_used_bytes, v.ram_total_bytes), f"this app {_gib(v.app_ram_bytes)} GiB",
            tip="Memory in use; below it the part of this app and its workers.",
        ),
    ]  # fmt: skip
    for number, gpu in enumerate(v.gpus, start=1):
        suffix = f" {number}" if len(v.gpus) > 1 else ""
        heat = " ".join(
            part
            for part in (
                f"{gpu.temperature_c:.0f} °C" if gpu.temperature_c is not None else "",
                f"{gpu.power_w:.0f} W" if gpu.power_w is not None else "",
            )
            if part
        )
        out += [
            Meter(
                f"GPU{suffix}", _percent(gpu.load_percent), heat, _share(gpu.load_percent, 100),
                tip=f"Load, temperature and power of {gpu.name}.",
            ),
            Meter(
                f"VRAM{suffix}", _gib(gpu.used_bytes), f"of {_gib(gpu.total_bytes)} GiB",
                _share(gpu.used_bytes, gpu.total_bytes),
                tip=f"Memory of {gpu.name} in use.",
            ),
        ]  # fmt: skip
    return tuple(out[:6])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} %"


def _gib(n_bytes: float | None) -> str:
    return "-" if n_bytes is None else f"{n_bytes / GIB:.1f}"


def _share(value: float | None, whole: float | None) -> float | None:
    return None if value is None or not whole else max(0.0, min(1.0, value / whole))


def dots(s: Session) -> dict[str, str]:
    """The state of each tab: empty, ready, running, done or failed."""
    data = "empty"
    job, is_refining = s.data_job, s.data_job is not None and s.data_job.kind in REFINING
    if s.is_on_data and not is_refining:
        data = "running"
    elif job is not None and not is_refining and job.state == "failed":
        data = "failed"
    elif s.facts.tokens:
        data = "done"
    elif s.config.sources:
        data = "ready"
    train = "ready" if s.config.sources else "empty"
    if s.run is not None:
        kinds = {"done": "done", "failed": "failed"}
        train = "running" if s.run.is_live else kinds.get(s.run.state, "ready")
    return {
        "data": data,
        "refine": _refine_dot(s),
        "train": train,
        "test": "ready" if s.archive.checkpoints else "empty",
        "monitor": "ready" if s.archive.runs else "empty",
    }


def _refine_dot(s: Session) -> str:
    job = s.data_job
    if job is not None and job.kind in REFINING:
        if job.is_live:
            return "running"
        if job.state == "failed":
            return "failed"
    if s.facts.scores:
        return "done"
    return "ready" if s.config.sources and s.facts.used else "empty"


def run_bar(s: Session, now: float) -> Bar:
    """What goes on now, or the next step."""
    if s.run is not None and s.run.is_live:
        bar = _training_bar(s.run, now)
        return replace(bar, buttons=()) if s.read_only else bar
    if s.data_job is not None and s.data_job.is_live:
        job = s.data_job
        word = "Stopping" if job.state == "stopping" else WORDS.get(job.kind, "Working")
        return Bar(word, "accent", _step_text(job), job.share(), True, "", ("stop",))
    if s.read_only:
        return Bar("Read-only", "warn", s.read_only)
    run = s.run
    if run is not None and run.state in {"failed", "interrupted", "stopped"}:
        step = f"at step {run.step.step:,}" if run.step else "before the first step"
        words = {
            "failed": ("Failed", "bad", f"The last run failed {step}."),
            "interrupted": ("Interrupted", "warn", f"The last run was cut off {step}."),
            "stopped": ("Stopped", "warn", f"The last run was stopped {step}. It can go on."),
        }
        word, tone, text = words[run.state]
        return Bar(word, tone, text, buttons=("resume", "start"))
    return Bar("Ready", "good", _next_step(s), buttons=("start",) if s.config.sources else ())


def _training_bar(run: RunState, now: float) -> Bar:
    words = {
        "starting": ("Starting", "accent"),
        "running": ("Training", "accent"),
        "paused": ("Paused", "warn"),
        "stopping": ("Stopping", "warn"),
    }
    word, tone = words[run.state]
    if run.is_pausing:
        word, tone = "Pausing", "warn"
    if run.step is None:
        return Bar(word, tone, _step_text(run), run.share(), True, "", ("stop",))
    total = f" of {run.total_steps:,}" if run.total_steps else ""
    text = f"Epoch {run.step.epoch}   step {run.step.step:,}{total}"
    left = run.left_s()
    shown = "" if left is None or run.state != "running" else f"about {fmt.duration(left)} left"
    if run.state == "paused":
        shown = "the model can be tested"
    elif run.state == "stopping":
        shown = "saving a checkpoint"
    buttons = ("save_now", "pause", "stop") if run.state in {"running", "paused"} else ("stop",)
    return Bar(word, tone, text, run.share(), True, shown, buttons)


def _step_text(job: RunState) -> str:
    step = job.steps.get(job.current)
    if step is None:
        return "starting the worker"
    done = ""
    if step.state == "running" and step.done:
        amount = fmt.size(step.done) if step.unit == "bytes" else f"{step.done:,} {step.unit}"
        done = f"   {amount}"
    name = STEPS.get(job.current) or DATA_STEPS.get(job.current, job.current)
    return f"{name}{done}"


def _next_step(s: Session) -> str:
    if s.project is None or not s.config.sources:
        return "Add a folder to begin. The sample trains in about two minutes on a laptop."
    if s.run is not None and s.run.state == "done":
        return "The last run is complete. Write with it on the Test tab, or train again."
    if s.facts.is_scanned and not s.facts.used:
        return "None of the listed files can be used. The Data tab says why."
    if s.facts.tokens:
        return "The data is prepared. Choose a preset or Auto-Select, then start training."
    return "Choose a preset or Auto-Select on the Train tab, then start training."


def why_not(s: Session, action: str) -> str:  # noqa: C901 - a table reads best whole
    """Why an action cannot be done now; '' when it can."""
    run = s.run
    needs_project = {"save_as", "duplicate", "rename", "delete", "reveal"}
    match action:
        case _ if action in needs_project and s.project is None:
            return "No project is open."
        case "rename" | "delete":
            if s.read_only:
                return s.read_only
            return "A run is on: stop it first." if s.is_working else ""
        case "scan" | "prepare":
            if why := s.why_read_only():
                return why
            if not s.config.sources:
                return "Add a folder with text first."
            return "A job is on already." if s.is_working else ""
        case "analyse" | "move_to_trash" | "exclude" | "undo_remove" | "check_leaks":
            if why := s.why_read_only():
                return why
            if not s.config.sources:
                return "Add a folder with text first."
            if action != "undo_remove" and not s.facts.used:
                return "No file is listed yet: scan the sources first."
            return "A job is on already." if s.is_working else ""
        case "report_csv":
            return "" if s.facts.used else "No file is listed yet: scan the sources first."
        case "auto_select":
            return s.why_not_start()
        case "start":
            return s.why_not_start()
        case "resume":
            if why := s.why_read_only():
                return why
            if s.is_training:
                return "A run is on."
            return "" if s.archive.runs or run is not None else "There is no run yet."
        case "pause":
            is_on = run is not None and run.state in {"running", "paused"}
            return s.read_only if is_on else "No run is on."
        case "save_now":
            is_on = run is not None and run.state in {"running", "paused"} and bool(run.step)
            return s.read_only if is_on else "No run is on."
        case "stop":
            return s.read_only if s.is_working else "Nothing is running."
        case _:
            return ""

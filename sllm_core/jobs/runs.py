"""Run folders: made, found, listed. Who is alive is read from locks, never from process ids."""

import contextlib
import dataclasses
import datetime as dt
import json
import math
import platform
import secrets
import shutil
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from sllm_core import config as settings
from sllm_core import messages
from sllm_core.config import ProjectConfig
from sllm_core.errors import RunError, disk_error
from sllm_core.jobs.series import EVENTS, Past, read_past, work_s
from sllm_core.ledger import Ledger
from sllm_core.messages import RunInfo
from sllm_core.project import Lock, Project, check_name, remove_temp_files, write_text

KEEP_DATA_RUNS = 5
_STAMP = "%Y%m%d-%H%M%S"
_SECOND = dt.timedelta(seconds=1)
DATA_KINDS = ("scan", "prepare", "refine", "remove", "restore", "leaks", "clear")
LANES = {"train": "accelerator"} | dict.fromkeys(DATA_KINDS, "data")
_LIBRARIES = ("torch", "tokenizers", "tiktoken", "numpy", "safetensors")


@dataclass(frozen=True)
class Run:
    """One run folder and what `run.json` says."""

    project: Project
    id: str
    kind: str
    config: ProjectConfig
    options: dict[str, Any]
    resolved: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def folder(self) -> Path:
        """`runs/<id>`."""
        return self.project.runs_dir / self.id

    def lock(self) -> Lock:
        """Held by the process that does the work."""
        return Lock(self.folder / ".lock", f"{self.kind} run {self.id}")

    def lane_lock(self, name: str = "") -> Lock:
        """Held while this kind of work (or that of lane ``name``) is done; one at a time."""
        name = name or LANES[self.kind]
        return Lock(self.project.runs_dir / f".{name}.lock", f"{self.kind} run {self.id}")

    def save(self) -> None:
        """Write `run.json`."""
        body = {
            "format_version": 1,
            "id": self.id,
            "kind": self.kind,
            "config": dataclasses.asdict(self.config),
            "options": self.options,
            "resolved": self.resolved,
            "provenance": self.provenance,
        }
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
        write_text(self.folder / "run.json", text, point="settings.save")


def new_run(project: Project, kind: str, config: ProjectConfig, /, **options: Any) -> Run:
    """Make a run folder with the complete, frozen configuration."""
    project.runs_dir.mkdir(exist_ok=True)
    run_id = _new_id(project, kind)
    (project.runs_dir / run_id).mkdir()
    run = Run(project, run_id, kind, config, options, {}, versions())
    run.save()
    _drop_old_data_runs(project, kind)
    return run


def _new_id(project: Project, kind: str) -> str:
    """A name that sorts behind every other one, also within a second or after the clock jumped."""
    now = dt.datetime.now().replace(microsecond=0)  # noqa: DTZ005 - the user's own clock
    for name in reversed(run_ids(project)):
        with contextlib.suppress(ValueError):  # a folder that somebody named
            now = max(now, dt.datetime.strptime(name[:15], _STAMP) + _SECOND)  # noqa: DTZ007
            break
    return f"{now.strftime(_STAMP)}-{kind}-{secrets.token_hex(2)}"


def versions() -> dict[str, Any]:
    """What the program and its libraries are."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    here = {"program": settings.VERSION, "python": platform.python_version()}
    return {**here, "system": platform.platform(), "libraries": found}


def open_run(project: Project, run_id: str) -> Run:
    """Read a run folder.

    Raises:
        RunError: there is none of that name, or its run.json cannot be read.
    """
    folder = project.runs_dir / check_name(run_id, "run")
    try:
        body = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        config = settings.project_config(body["config"])
        parts = [body[name] for name in ("options", "resolved", "provenance")]
        return Run(project, run_id, str(body["kind"]), config, *parts)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise RunError(
            "MISSING",
            f"There is no readable run {run_id!r} ({problem.__class__.__name__}).",
            todo="See which there are: Monitor tab, or sllm.py runs PROJECT on the command line.",
        ) from problem


def run_ids(project: Project, kind: str | None = None) -> list[str]:
    """Names of run folders, oldest first."""
    if not project.runs_dir.is_dir():
        return []
    found = [path.name for path in project.runs_dir.iterdir() if (path / "run.json").is_file()]
    return sorted(name for name in found if kind is None or f"-{kind}-" in name)


def last_run(project: Project, kind: str = "train") -> Run:
    """The newest run of a kind.

    Raises:
        RunError: there is none.
    """
    names = run_ids(project, kind)
    if not names:
        raise RunError(
            "MISSING",
            "The project has no run to resume.",
            todo="Start one: Train tab, or sllm.py train PROJECT on the command line.",
        )
    return open_run(project, names[-1])


def _drop_old_data_runs(project: Project, kind: str) -> None:
    """Scans and preparations are repeated often; only the last few folders are of use."""
    if kind not in DATA_KINDS:
        return
    for name in run_ids(project, kind)[:-KEEP_DATA_RUNS]:
        folder = project.runs_dir / name
        if not Lock(folder / ".lock", "").is_held():
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            folder.rmdir()


def is_alive(run: Run) -> bool:
    """Whether a process is working on the run."""
    return run.lock().is_held()


def tidy(run: Run) -> None:
    """Remove unfinished files that a killed process left; only under the run's lock."""
    project = run.project
    for folder in (run.folder, project.root, project.tokenizer_dir, project.data_dir):
        remove_temp_files(folder)


def worker_pid(folder: Path) -> int | None:
    """The process that says in a run folder that it works there; None when it is gone.

    The system may have given the number of one that was killed to another program: a process
    that is younger than the note is not the one meant.
    """
    path = folder / ".lock.json"
    with contextlib.suppress(
        OSError, ValueError, KeyError, TypeError, RecursionError, psutil.Error
    ):
        note = json.loads(path.read_text(encoding="utf-8"))
        pid, is_here = int(note["pid"]), note["host"] == platform.node()
        if is_here and pid > 0 and psutil.Process(pid).create_time() <= path.stat().st_mtime + 1:
            return pid
    return None


# -- what its owner says about a run -----------------------------------------------------------


@dataclass(frozen=True)
class Label:
    """A name, a note and a pin that a person gave a run (`label.json`)."""

    name: str = ""
    note: str = ""
    is_pinned: bool = False


def read_label(folder: Path) -> Label:
    """The label of a run folder; an empty one when nothing readable is there."""
    try:
        body = json.loads((folder / "label.json").read_text(encoding="utf-8"))
        return Label(str(body["name"]), str(body["note"]), body["is_pinned"] is True)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Label()


def write_label(folder: Path, label: Label) -> None:
    """Store the label of a run folder.

    Raises:
        DiskError: the one that was there before is unchanged.
    """
    text = json.dumps(dataclasses.asdict(label), indent=2) + "\n"
    write_text(folder / "label.json", text, point="settings.save")


def clone_config(run: Run, present: ProjectConfig) -> ProjectConfig:
    """The settings of a run for a new one: model, training and writing; data stay as they are."""
    theirs = run.config
    return replace(present, model=theirs.model, train=theirs.train, sampling=theirs.sampling)


def delete_run(run: Run, with_checkpoints: bool = False) -> None:
    """Remove a run folder, and its checkpoints only when that is asked.

    Raises:
        LockError: a process is working on the run.
        DiskError: a file could not be removed; the run is not listed any more.
    """
    with run.lock():  # refused while it works
        if with_checkpoints:
            Ledger(run.project).delete_files(run.id)
        try:
            (run.folder / "run.json").unlink(missing_ok=True)  # from here on it is no run
        except OSError as problem:
            raise disk_error(problem, run.folder / "run.json") from problem
    try:
        shutil.rmtree(run.folder)
    except OSError as problem:
        raise disk_error(problem, problem.filename or run.folder) from problem


# -- runs in one line --------------------------------------------------------------------------


def is_queued(run: Run) -> bool:
    """Whether it waits for its turn: made, and never begun."""
    is_wished = run.kind == "train" and bool(run.options.get("queued"))
    return is_wished and not _stamp(run)[0]


def summarize(run: Run, past: Past | None = None) -> RunInfo:
    """A run in one line: its state and its best numbers; ``past`` spares reading it again."""
    stamp = _stamp(run)
    key = (run.folder, stamp)
    info = _stories.get(key)
    if info is None:
        if past is None or past.end != stamp[0]:  # it has gone on since
            past = read_past(run.folder)
        info = _stories[key] = _story(past, run)
        while len(_stories) > MAX_STORIES:
            _stories.pop(next(iter(_stories)), None)
    state = "queued" if is_queued(run) else info.state
    if is_alive(run):
        state = "running"
    return replace(info, state=state, **dataclasses.asdict(read_label(run.folder)))


def _stamp(run: Run) -> tuple[int, int]:
    """Size and time of what the run has said; it changes with each message."""
    try:
        stat = (run.folder / EVENTS).stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


# What runs have said in one line, kept as long as nothing is added.
_stories: dict[tuple[Path, tuple[int, int]], RunInfo] = {}
MAX_STORIES = 512


def _story(past: Past, run: Run) -> RunInfo:
    """What the messages of a run say."""
    state, total, n_params, best, bpb, elapsed = "interrupted", None, None, None, None, None
    for message, _ in past.notes:
        match message:
            case messages.Plan():
                total, n_params = message.total_steps, message.n_params or n_params
            case messages.Validation():
                if message.is_best:
                    best, bpb = message.val_loss, message.val_bpb
            case messages.Done():
                state, elapsed = "done", message.elapsed_s
            case messages.Stopped():
                state = "stopped"
            case messages.Failed():
                state = "failed"
            case messages.Started():
                state, elapsed = "interrupted", None
            case _:
                pass
    last = past.steps[-1] if len(past.steps) else None
    rate = float(last["tokens_per_sec"]) if last is not None else math.nan
    if elapsed is None and last is not None:
        elapsed = float(work_s(past.steps["time"])[-1])
    return RunInfo(
        run.id,
        run.kind,
        state,
        int(last["step"]) if last is not None else None,
        total,
        best,
        bpb,
        elapsed,
        n_params=n_params,
        tokens_per_sec=rate if math.isfinite(rate) else None,
        started=past.notes[0][1] if past.notes else None,
    )

"""What the Monitor tab knows: runs side by side, their checkpoints, settings, machine and log."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sllm_core import config as configs
from sllm_core import fields, fmt
from sllm_core import messages as m
from sllm_core.config import ProjectConfig
from sllm_core.errors import SllmError
from sllm_core.jobs import runs
from sllm_core.jobs.vitals import Vitals
from sllm_core.ledger import Row
from sllm_ui import paths
from sllm_ui.bus import Store
from sllm_ui.runstate import LogLine, RunState
from sllm_ui.session import ProjectChanged, RunChanged, RunsChanged, Session, VitalsChanged

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
AXES = ("Steps", "Tokens", "Time")
LEVELS = ("All levels", "Warnings", "Errors")
STATES = {
    "running": ("Training", "accent"),
    "starting": ("Starting", "accent"),
    "paused": ("Paused", "warn"),
    "stopping": ("Stopping", "warn"),
    "done": ("Done", "good"),
    "stopped": ("Stopped", "warn"),
    "failed": ("Failed", "bad"),
    "interrupted": ("Interrupted", "warn"),
    "queued": ("Queued", "muted"),
}
MAX_COMPARED = 6  # as many as there are colours
Badge = tuple[str, str] | None


@dataclass(frozen=True)
class RunRow:
    """One line of the table of runs."""

    id: str
    name: str
    model: str
    status: tuple[str, str]
    loss: str
    bpb: str
    time: str
    is_pinned: bool
    note: str


@dataclass(frozen=True)
class CheckpointRow:
    """One line of the table of checkpoints."""

    file: str
    step: str
    val_loss: str
    size: str
    badge: Badge
    is_pinned: bool


@dataclass(frozen=True)
class State:
    """Everything the Monitor tab shows; curves come from `Presenter.curves`."""

    is_open: bool = False
    read_only: str = ""
    rows: tuple[RunRow, ...] = ()
    chosen: tuple[str, ...] = ()  # run ids, the first is the one in view
    checkpoints: tuple[CheckpointRow, ...] = ()
    checkpoint: str = ""  # the chosen file
    why_not_resume: str = ""
    differences: tuple[tuple[str, str, str], ...] = ()
    other: str = ""  # name of the run that is compared with
    only_different: bool = True
    metric: str = "Validation loss"
    axis: str = "Steps"
    smoothing: float = 0.6
    curves_n: int = 0  # rises when the curves are others
    machine: tuple[tuple[str, str], ...] = ()
    level: str = "All levels"
    search: str = ""
    log_n: int = 0  # rises when the log is another


@dataclass(frozen=True)
class Curve:
    """One run's line: x and y float64 arrays of one length."""

    run: str
    name: str
    x: "NDArray[Any]"
    y: "NDArray[Any]"


class Presenter:
    """Follows the list of runs and loads the stories of those that are looked at."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.store = Store(State())
        self._loaded: dict[str, tuple[RunState, ProjectConfig]] = {}
        self._loading: set[str] = set()
        bus = session.bus
        bus.subscribe(ProjectChanged, lambda _: self._on_project())
        bus.subscribe(RunsChanged, lambda _: self._on_runs())
        bus.subscribe(RunChanged, lambda _: self._on_run())
        bus.subscribe(VitalsChanged, lambda event: self._on_vitals(event.vitals))
        self._on_project()
        self._on_runs()
        if session.vitals:
            self._on_vitals(session.vitals)

    # -- what is in view -----------------------------------------------------------------------------

    @property
    def main(self) -> str:
        """The run whose checkpoints and log are shown; '' without one."""
        return next(iter(self.store.state.chosen), "")

    def choose_runs(self, ids: Sequence[str]) -> None:
        """Look at these runs; the first one's checkpoints, log and settings are shown."""
        known = {row.id for row in self.store.state.rows}
        chosen = tuple(run for run in dict.fromkeys(ids) if run in known)[:MAX_COMPARED]
        self.store.update(chosen=chosen, checkpoint="")
        for run in chosen:
            self._load(run)
        self._show_chosen()

    def choose_checkpoint(self, file: str) -> None:
        """Point at a checkpoint."""
        self.store.update(checkpoint=file)

    def set_view(self, **values: Any) -> None:
        """Metric, axis, smoothing, level, search, only_different."""
        self.store.update(**values)
        if {"level", "search"} & set(values):
            self.store.update(log_n=self.store.state.log_n + 1)
        elif "only_different" in values:
            self._show_chosen()
        else:
            self.store.update(curves_n=self.store.state.curves_n + 1)

    def curves(self) -> list[Curve]:
        """The lines of the chosen runs in the chosen metric and axis."""
        state = self.store.state
        names = {row.id: row.name for row in state.rows}
        out = []
        for run in state.chosen:
            story = self._story(run)
            if story is not None:
                x, y = curve(story, METRICS[state.metric], state.axis)
                out.append(Curve(run, names.get(run, run), x, y))
        return out

    def log_lines(self) -> list[LogLine]:
        """The log of the run in view, filtered."""
        story = self._story(self.main)
        state = self.store.state
        return filter_log(story.log if story else (), state.level, state.search)

    def _story(self, run: str) -> RunState | None:
        live = self._session.run
        if live is not None and live.id == run:
            return live
        found = self._loaded.get(run)
        return found[0] if found else None

    def _load(self, run_id: str) -> None:
        if run_id in self._loaded or run_id in self._loading or not self._session.project:
            return
        self._loading.add(run_id)

        def show(story: RunState, run: runs.Run) -> None:
            self._loading.discard(run_id)
            self._loaded[run_id] = (story, run.config)
            self._show_chosen()

        self._session.load_past(run_id, show)

    # -- events ---------------------------------------------------------------------------------------

    def _on_project(self) -> None:
        self._loaded.clear()
        self._loading.clear()
        self.store.update(
            is_open=self._session.project is not None,
            read_only=self._session.why_read_only(),
            rows=(), chosen=(), checkpoints=(), checkpoint="", differences=(), other="",
            curves_n=self.store.state.curves_n + 1, log_n=self.store.state.log_n + 1,
        )  # fmt: skip

    def _on_runs(self) -> None:
        session = self._session
        ordered = sorted(session.runs, key=lambda info: not info.is_pinned)
        live = session.run if session.run is not None and session.run.is_live else None
        rows = tuple(run_row(info, live) for info in ordered)
        known = {row.id for row in rows}
        chosen = tuple(run for run in self.store.state.chosen if run in known)
        if not chosen and rows:
            chosen = (rows[0].id,)
        self._loaded = {run: told for run, told in self._loaded.items() if run in known}
        self.store.update(rows=rows, chosen=chosen, read_only=session.why_read_only())
        for run in chosen:
            self._load(run)
        self._show_chosen()

    def _on_run(self) -> None:
        live = self._session.run
        if live is None:
            return
        rows = tuple(
            dataclasses.replace(
                row, status=STATES.get(live.state, (live.state, "muted")), **live_figures(live)
            )
            if row.id == live.id
            else row
            for row in self.store.state.rows
        )
        changes: dict[str, Any] = {"rows": rows}
        if live.id in self.store.state.chosen:
            changes["curves_n"] = self.store.state.curves_n + 1
            if live.id == self.main:
                changes["log_n"] = self.store.state.log_n + 1
        changes["why_not_resume"] = self._why_not_resume()
        self.store.update(**changes)

    def _on_vitals(self, vitals: Vitals) -> None:
        live = self._session.run if self._session.is_training else None
        self.store.update(machine=machine_rows(vitals, live))

    def _show_chosen(self) -> None:
        state, session = self.store.state, self._session
        listed = [row for row in session.checkpoints if row.run == self.main]
        files = tuple(checkpoint_row(row) for row in listed)
        checkpoint = state.checkpoint if any(c.file == state.checkpoint for c in files) else ""
        if not checkpoint and files:
            best = next((row.file for row in listed if "best" in row.roles), files[0].file)
            checkpoint = best
        other = self._other()
        names = {row.id: row.name for row in state.rows}
        mine, theirs = self._config(self.main), self._config(other)
        differences: tuple[tuple[str, str, str], ...] = ()
        if mine is not None:
            differences = compare_settings(mine, theirs, only_different=state.only_different)
        self.store.update(
            checkpoints=files, checkpoint=checkpoint, other=names.get(other, ""),
            differences=differences, why_not_resume=self._why_not_resume(),
            curves_n=state.curves_n + 1, log_n=state.log_n + 1,
        )  # fmt: skip

    def _other(self) -> str:
        """What the run in view is compared with: the second chosen, else the one before it."""
        chosen = self.store.state.chosen
        if len(chosen) > 1:
            return chosen[1]
        earlier = [row.id for row in self.store.state.rows if row.id < self.main]
        other = max(earlier, default="")
        if other:
            self._load(other)
        return other

    def _config(self, run: str) -> ProjectConfig | None:
        found = self._loaded.get(run)
        return found[1] if found else None

    def _why_not_resume(self) -> str:
        if why := self._session.why_read_only():
            return why
        return "A run is on: pause or stop it first." if self._session.is_training else ""

    # -- commands ------------------------------------------------------------------------------------

    def resume(self) -> bool:
        """Go on with the run in view from the chosen checkpoint."""
        return self._session.resume(self.main, self.store.state.checkpoint)

    def start_queued(self) -> bool:
        """Start a run that waits."""
        return self._session.resume(self.main)

    def test(self) -> None:
        """Write with the chosen checkpoint on the Test tab."""
        self._session.want_checkpoint(self.store.state.checkpoint)

    def verify(self) -> None:
        """Read the chosen checkpoint whole."""
        row = self._row()
        if row:
            self._session.notify("accent", f"Reading {row.file}", fmt.size(row.size_bytes))
            self._session.verify_checkpoint(row)

    def pin_checkpoint(self) -> None:
        """Keep the chosen checkpoint for ever, or not any more."""
        row = self._row()
        if row:
            self._session.pin_checkpoint(row.file, "pinned" not in row.roles)

    def delete_checkpoint(self) -> None:
        """Remove the chosen checkpoint."""
        row = self._row()
        if row:
            self._session.delete_checkpoint(row.file)

    def reveal(self) -> bool:
        """Show the checkpoints in the file manager."""
        project = self._session.project
        return project is not None and paths.reveal(project.checkpoints_dir)

    def rename(self, name: str) -> None:
        """Give the run in view a name of one's own."""
        self._session.label_run(self.main, name=name.strip()[:80])

    def set_note(self, note: str) -> None:
        """A note to the run in view."""
        self._session.label_run(self.main, note=note.strip()[:500])

    def pin_run(self) -> None:
        """Keep the run at the head of the list, or not any more."""
        row = self.run_row()
        if row:
            self._session.label_run(row.id, is_pinned=not row.is_pinned)

    def delete_run(self, *, with_checkpoints: bool) -> None:
        """Remove the run in view."""
        try:
            self._session.delete_run(self.main, with_checkpoints=with_checkpoints)
        except SllmError as problem:
            self._session.report(problem, "The run was not deleted")

    def clone(self) -> ProjectConfig | None:
        """Take the settings of the run in view for the next one; returns those of before."""
        config = self._config(self.main)
        if config is None or self._session.why_read_only():
            return None
        before = self._session.config
        self._session.replace_config(config)
        return before

    def undo_clone(self, before: ProjectConfig) -> None:
        """Take the settings of before again."""
        self._session.replace_config(before)

    def enqueue_copy(self) -> None:
        """Queue a run with the settings of the run in view."""
        before = self.clone()
        if before is not None:
            self._session.enqueue()
            self._session.replace_config(before)

    def run_row(self) -> RunRow | None:
        """The run in view."""
        return next((row for row in self.store.state.rows if row.id == self.main), None)

    def _row(self) -> Row | None:
        wanted = self.store.state.checkpoint
        return next((row for row in self._session.checkpoints if row.file == wanted), None)


def run_row(info: m.RunInfo, live: RunState | None) -> RunRow:
    """A run as one line of words."""
    is_live = live is not None and live.id == info.run
    state = live.state if live is not None and is_live else info.state
    row = RunRow(
        id=info.run,
        name=info.name or short_name(info.run),
        model=fmt.count(info.n_params).replace(" ", " ") if info.n_params else "-",
        status=STATES.get(state, (state, "muted")),
        loss=fmt.number(info.best_val_loss),
        bpb=fmt.number(info.val_bpb),
        time=clock(info.elapsed_s),
        is_pinned=info.is_pinned,
        note=info.note,
    )
    return dataclasses.replace(row, **live_figures(live)) if live and is_live else row


def live_figures(live: RunState) -> dict[str, Any]:
    """The figures of a run that is on."""
    out: dict[str, Any] = {}
    if live.best:
        out = {"loss": fmt.number(live.best.val_loss), "bpb": fmt.number(live.best.val_bpb)}
    if live.is_live and live.started:
        out["time"] = clock(time.time() - live.started)
    if live.plan and live.plan.n_params:
        out["model"] = fmt.count(live.plan.n_params)
    return out


def short_name(run_id: str) -> str:
    """``20261122-185411-train-1a2b -> 22 Nov 18:54``."""
    try:
        stamp = time.strptime(run_id[:15], "%Y%m%d-%H%M%S")
    except ValueError:
        return fmt.path_text(run_id)
    return time.strftime("%d %b %H:%M:%S", stamp).lstrip("0")


def clock(seconds: float | None) -> str:
    """``3725 -> '1:02:05'``; unknown is '-'."""
    if seconds is None or not 0 <= seconds < 1e8:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def checkpoint_row(row: Row) -> CheckpointRow:
    """A checkpoint as one line of words."""
    badge: Badge = None
    if "best" in row.roles:
        badge = ("Best", "good")
    elif "pinned" in row.roles:
        badge = ("Pinned", "accent")
    elif row.state == "superseded":
        badge = ("Left behind", "muted")
    elif "last" in row.roles:
        badge = ("Last", "muted")
    return CheckpointRow(
        row.file, f"{row.step:,}", fmt.number(row.val_loss), fmt.size(row.size_bytes), badge,
        "pinned" in row.roles,
    )  # fmt: skip


def curve(story: RunState, metric: str, axis: str) -> "tuple[NDArray[Any], NDArray[Any]]":
    """Points of one metric, x and y; tokens and time of a validation are those of its step."""
    import numpy as np

    is_val = metric.startswith("val_")
    table = story.validations if is_val else story.curve
    y, steps = table[metric], table["step"]
    known = ~np.isnan(y)
    if axis == "Steps":
        x = steps
    elif axis == "Time":
        first = story.curve["time"][0] if story.curve.n else 0.0
        x = (table["time"] - first) / 60
    else:
        x = np.interp(steps, story.curve["step"], story.curve["tokens"]) if story.curve.n else steps
    return x[known], y[known]


def filter_log(lines: Sequence[LogLine] | Any, level: str, search: str) -> list[LogLine]:
    """Lines of at least a level that hold all the words."""
    levels = {"Warnings": {"warning", "error"}, "Errors": {"error"}}.get(level)
    words = search.lower().split()
    return [
        line
        for line in lines
        if (levels is None or line.level in levels)
        and all(word in line.text.lower() for word in words)
    ]


def compare_settings(
    mine: ProjectConfig, theirs: ProjectConfig | None, *, only_different: bool
) -> tuple[tuple[str, str, str], ...]:
    """(setting, mine, theirs) over all sections; without a second run all that was changed."""
    base = theirs or ProjectConfig()
    out = []
    for section, kind in configs.SECTIONS.items():
        a, b = getattr(mine, section), getattr(base, section)
        for field in dataclasses.fields(kind):
            x, y = getattr(a, field.name), getattr(b, field.name)
            if x != y or not only_different:
                texts = [fields.to_text(kind, field.name, value)[:60] for value in (x, y)]
                out.append((fields.info(kind, field.name).label, texts[0], texts[1]))
    return tuple(out)


def machine_rows(v: Vitals, live: RunState | None) -> tuple[tuple[str, str], ...]:
    """The machine in detail, unknown as '-'."""
    out = [("Processor", f"{v.n_cores} cores, {_part(v.cpu_percent, '%')} busy")]
    out.append(("Memory", f"{fmt.size(v.ram_used_bytes)} of {fmt.size(v.ram_total_bytes)}"))
    out.append(("This app", f"{fmt.size(v.app_ram_bytes)}, {_part(v.app_cpu_percent, '%')}"))
    for gpu in v.gpus:
        out.append(("Graphics card", gpu.name))
        out.append(("Video memory", f"{fmt.size(gpu.used_bytes)} of {fmt.size(gpu.total_bytes)}"))
        parts = (
            _part(gpu.load_percent, "%"), _part(gpu.temperature_c, "°C"), _part(gpu.power_w, "W"),
        )  # fmt: skip
        out.append(("Load, heat, power", ", ".join(parts)))
    if not v.gpus:
        out.append(("Graphics card", "none found"))
    out.append(("Disk", f"{fmt.size(v.disk_free_bytes)} free"))
    if live is not None and live.plan and live.plan.n_params:
        out.append(("Precision", live.plan.precision))
        batch = f"{live.plan.micro_batch_size} x {live.plan.grad_accum_steps}"
        out.append(("Micro-batch", batch))
    return tuple(out)


def _part(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}"

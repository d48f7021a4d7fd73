"""The lists of the Monitor tab as words: runs, checkpoints, readings of the machine."""

import dataclasses
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sllm_core import fmt
from sllm_core import messages as m
from sllm_core.jobs.series import PAUSE_S, work_s
from sllm_core.jobs.vitals import GpuVitals, Vitals
from sllm_core.ledger import Row
from sllm_ui.runstate import RunState

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
COLUMNS = ("Name", "Model", "Status", "Loss", "Bits/byte", "Tokens/s", "Time")
Badge = tuple[str, str] | None


@dataclass(frozen=True)
class RunRow:
    """One line of the table of runs."""

    id: str
    name: str
    state: str
    n_params: int | None
    best: float | None
    bpb: float | None
    tokens_per_sec: float | None
    elapsed_s: float | None
    is_pinned: bool
    note: str

    @property
    def status(self) -> tuple[str, str]:
        """Word and tone of the badge."""
        return STATES.get(self.state, (self.state, "muted"))

    def texts(self) -> tuple[Any, ...]:
        """One value a column."""
        return (
            f"{'★ ' if self.is_pinned else ''}{self.name}",
            fmt.count(self.n_params),
            self.status,
            fmt.number(self.best),
            fmt.number(self.bpb),
            fmt.count(self.tokens_per_sec),
            clock(self.elapsed_s),
        )

    def keys(self) -> tuple[Any, ...]:
        """What each column is sorted by."""
        figures = (self.best, self.bpb, self.tokens_per_sec, self.elapsed_s)
        return (self.name.casefold(), self.n_params, self.status[0], *figures)


@dataclass(frozen=True)
class CheckpointRow:
    """One line of the table of checkpoints."""

    file: str
    name: str  # the file's name as it may be shown
    step: str
    val_loss: str
    size: str
    badge: Badge
    is_pinned: bool


def run_row(info: m.RunInfo) -> RunRow:
    """A run as one line of words."""
    return RunRow(
        id=info.run,
        name=fmt.path_text(info.name) if info.name else short_name(info.run),
        state=info.state,
        n_params=info.n_params,
        best=info.best_val_loss,
        bpb=info.val_bpb,
        tokens_per_sec=info.tokens_per_sec,
        elapsed_s=info.elapsed_s,
        is_pinned=info.is_pinned,
        note=fmt.path_text(info.note),
    )


class WorkClock:
    """Seconds of work of a run that is on; looks only at the steps that are new."""

    def __init__(self) -> None:
        self._story: RunState | None = None
        self._n, self._worked_s = 0, 0.0

    def read(self, story: RunState) -> float:
        """Up to its last step; pauses do not count."""
        times = story.curve["time"]
        n = len(times)
        if story is not self._story or n < self._n or not self._n:
            self._worked_s = float(work_s(times)[-1]) if n else 0.0
        elif n > self._n:
            usual = self._worked_s / self._n
            gaps = times[self._n :] - times[self._n - 1 : -1]
            gaps[gaps > max(PAUSE_S, 20 * usual)] = usual
            self._worked_s += float(gaps.sum())
        self._story, self._n = story, n
        return self._worked_s


def live_row(row: RunRow, live: RunState, worked_s: float) -> RunRow:
    """The line of a run that is followed, with its figures of now."""
    changes: dict[str, Any] = {"state": live.state}
    if live.best:
        changes |= {"best": live.best.val_loss, "bpb": live.best.val_bpb}
    if worked_s:
        changes["elapsed_s"] = float(int(worked_s))
    if live.plan and live.plan.n_params:
        changes["n_params"] = live.plan.n_params
    if live.is_live and live.step and live.step.tokens_per_sec:
        changes["tokens_per_sec"] = float(f"{live.step.tokens_per_sec:.2g}")  # it flickers
    return dataclasses.replace(row, **changes)


def short_name(run_id: str) -> str:
    """``20261122-185411-train-1a2b -> 22 Nov 18:54:11``."""
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


def in_order(rows: Sequence[RunRow], column: int, *, is_descending: bool) -> tuple[RunRow, ...]:
    """Pinned ones first, then by a column, unknown values last; column -1: newest first."""
    ordered = sorted(rows, key=lambda row: row.id, reverse=True)
    if column >= 0:
        ordered.sort(
            key=lambda row: row.keys()[column] if row.keys()[column] is not None else 0,
            reverse=is_descending,
        )
        ordered.sort(key=lambda row: row.keys()[column] is None)
    return tuple(sorted(ordered, key=lambda row: not row.is_pinned))


def checkpoint_rows(listed: Sequence[Row]) -> tuple[CheckpointRow, ...]:
    """The newest first, those that a resume left behind last."""
    ordered = sorted(
        listed, key=lambda row: (row.state != "ok", -row.step, "last" not in row.roles)
    )
    first = newest_of(listed)
    newest = first.step if first else -1
    return tuple(checkpoint_row(row, is_newest=row.step == newest) for row in ordered)


def newest_of(listed: Collection[Row]) -> Row | None:
    """The valid one of the highest step, which a resume takes by itself."""
    valid = [row for row in listed if row.state == "ok"]
    return max(valid, key=lambda row: (row.step, "last" in row.roles), default=None)


@dataclass(frozen=True)
class GoingBack:
    """What to ask before a run goes on from a checkpoint that is not its newest."""

    title: str
    text: str
    here: str  # words of the button that does it
    newest: str  # file
    newest_words: str  # of the button that takes the newest one instead


def going_back(row: Row, newest: Row | None) -> GoingBack | None:
    """None when ``row`` is where the run is."""
    if newest is None or (row.state == "ok" and row.step >= newest.step):
        return None
    name, last = fmt.path_text(row.file), fmt.path_text(newest.file)
    n_back = newest.step - row.step
    title = f"Go on from step {row.step:,}?"
    if n_back > 0:
        title = f"Go back {n_back:,} {'step' if n_back == 1 else 'steps'}?"
    text = f"The newest checkpoint of this run is {last} (step {newest.step:,}). "
    if row.state == "superseded":
        text += f"{name} (step {row.step:,}) was left behind by an earlier resume. "
    if n_back > 0:
        text += (
            f"Going on from {name} (step {row.step:,}) does the steps after it anew. Later "
            "checkpoints are marked Left behind and stay until you delete them."
        )
    else:
        text += f"Going on from {name} takes up what the run had left."
    words = f"Go on from step {newest.step:,}"
    return GoingBack(title, text, f"Use step {row.step:,}", newest.file, words)


def checkpoint_row(row: Row, *, is_newest: bool = False) -> CheckpointRow:
    """A checkpoint as one line of words."""
    badge: Badge = None
    if row.state == "superseded":
        badge = ("Left behind", "muted")
    elif "best" in row.roles:
        badge = ("Best", "good")
    elif "pinned" in row.roles:
        badge = ("Pinned", "accent")
    elif is_newest:
        badge = ("Newest", "muted")
    is_pinned = "pinned" in row.roles
    return CheckpointRow(
        row.file, ("★ " if is_pinned else "") + fmt.path_text(row.file), f"{row.step:,}",
        fmt.number(row.val_loss), fmt.size(row.size_bytes), badge, is_pinned,
    )  # fmt: skip


def why_needed(row: Row, rows: Collection[Row]) -> str:
    """Why a checkpoint of a run that is on must stay; '' when it may go (`Ledger.delete`)."""
    newest = max((r.step for r in rows if r.run == row.run and r.state == "ok"), default=-1)
    if "best" in row.roles:
        return "It is the best one of a run that is on. Stop the run first."
    if row.state == "ok" and row.step >= newest:
        return "It is the newest one of a run that is on. Stop the run first."
    return ""


def machine_rows(v: Vitals, live: RunState | None) -> tuple[tuple[str, str], ...]:
    """The machine in detail, unknown as '-'."""
    out = [
        ("Processor", f"{v.n_cores} cores, {_part(v.cpu_percent, '%')} busy"),
        ("Memory", _share(v.ram_used_bytes, v.ram_total_bytes)),
        ("This app", f"{fmt.size(v.app_ram_bytes)}, {_part(v.app_cpu_percent, '%')}"),
    ]
    for number, gpu in enumerate(v.gpus, 1):
        out += _card_rows(gpu, f" {number}" if len(v.gpus) > 1 else "")
    if not v.gpus:
        out.append(("Graphics card", "none found"))
    out.append(("Disk", f"{fmt.size(v.disk_free_bytes)} free" if v.disk_free_bytes else "-"))
    if live is not None and live.plan and live.plan.n_params:
        reason = live.plan.precision_reason
        out.append(("Precision", f"{live.plan.precision}{f', {reason}' if reason else ''}"))
        windows = f"{live.plan.micro_batch_size} x {live.plan.grad_accum_steps}"
        out.append(("Micro-batch", f"{windows} windows"))
    return tuple(out)


def _card_rows(gpu: GpuVitals, number: str) -> list[tuple[str, str]]:
    parts = (_part(gpu.load_percent, "%"), _part(gpu.temperature_c, "°C"), _part(gpu.power_w, "W"))
    return [
        (f"Graphics card{number}", gpu.name),
        ("Video memory", _share(gpu.used_bytes, gpu.total_bytes)),
        ("Load, heat, power", ", ".join(parts)),
    ]


def _share(used: int | None, total: int | None) -> str:
    return "-" if used is None and total is None else f"{fmt.size(used)} of {fmt.size(total)}"


def _part(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f} {unit}"

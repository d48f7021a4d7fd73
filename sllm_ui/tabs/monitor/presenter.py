"""What the Monitor tab knows: runs side by side, their checkpoints, settings, machine and log."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sllm_core import fmt
from sllm_core import messages as m
from sllm_core.config import ProjectConfig
from sllm_core.errors import SllmError
from sllm_core.jobs import runs
from sllm_core.jobs.runs import Run
from sllm_core.jobs.vitals import Vitals
from sllm_core.ledger import Row
from sllm_ui import paths
from sllm_ui.bus import Store
from sllm_ui.events import ConfigChanged, ProjectChanged, RunChanged, RunsChanged, VitalsChanged
from sllm_ui.runstate import LIVE, LogLine, RunState
from sllm_ui.session import Session
from sllm_ui.tabs.monitor.compare import Difference, Side, compare, side_of
from sllm_ui.tabs.monitor.curves import METRICS, NOISY, Curve, Lines, unique
from sllm_ui.tabs.monitor.loglines import filter_log
from sllm_ui.tabs.monitor.rows import (
    CheckpointRow,
    GoingBack,
    RunRow,
    WorkClock,
    checkpoint_rows,
    going_back,
    in_order,
    live_row,
    machine_rows,
    newest_of,
    run_row,
    short_name,
    why_needed,
)

MAX_COMPARED = 6  # as many as there are colours
OTHER_RUN, DEFAULTS, NEXT_RUN = AGAINST = ("Other run", "Defaults", "Next run")
LONGEST_NAME, LONGEST_NOTE = 80, 500


@dataclass(frozen=True)
class State:
    """Everything the Monitor tab shows; curves and log come from the presenter's methods."""

    is_open: bool = False
    read_only: str = ""
    is_read: bool = True  # the list of runs of this project has been read
    rows: tuple[RunRow, ...] = ()
    sort: tuple[int, bool] = (-1, False)  # column and whether it descends; -1: newest first
    chosen: tuple[str, ...] = ()  # run ids; the first is the one in view
    checkpoints: tuple[CheckpointRow, ...] = ()
    checkpoint: str = ""  # the chosen file
    why_not_resume: str = ""
    why_not_delete: str = ""  # the checkpoint
    why_not_delete_run: str = ""
    differences: tuple[Difference, ...] = ()
    sides: tuple[str, str] = ("", "")  # names of the two that are compared
    against: str = OTHER_RUN
    all_settings: bool = False
    metric: str = "Validation loss"
    axis: str = "Steps"
    smoothing: float = 0.0
    curves_n: int = 0  # rises when the curves are others
    machine: tuple[tuple[str, str], ...] = ()
    level: str = "All levels"
    search: str = ""
    log_n: int = 0  # rises when the log is another


class Presenter:
    """Follows the list of runs and loads the stories of those that are looked at."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.store = Store(State())
        self._smoothings = {metric: 0.6 if metric in NOISY else 0.0 for metric in METRICS}
        self._is_metric_chosen = False
        self._lines = Lines(session.task, self._curves_changed)
        self._reset()
        bus = session.bus
        bus.subscribe(ProjectChanged, lambda _: self._on_project())
        bus.subscribe(ConfigChanged, lambda _: self._on_config())
        bus.subscribe(RunsChanged, lambda _: self._on_runs())
        bus.subscribe(RunChanged, lambda _: self._on_run())
        bus.subscribe(VitalsChanged, lambda event: self._on_vitals(event.vitals))
        self._on_project()
        if session.archive.runs:
            self._on_runs()
        if session.vitals:
            self._on_vitals(session.vitals)

    def _reset(self) -> None:
        self._infos: dict[str, m.RunInfo] = {}
        self._known_rows: dict[str, tuple[m.RunInfo, RunRow]] = {}
        self._stories: dict[str, RunState] = {}
        self._runs: dict[str, Run] = {}
        self._asked: dict[str, Any] = {}  # run -> what was known of it when its story was asked for
        self._asked_runs: dict[str, int | None] = {}  # run -> its parameters at that time
        self._colours: dict[str, int] = {}
        self._clock = WorkClock()
        self._is_following = True  # a person has not chosen a run: the newest is in view
        self._is_pointed = False  # a person has chosen a checkpoint: else it is the newest

    # -- what is in view -----------------------------------------------------------------------------

    @property
    def main(self) -> str:
        """The run whose checkpoints, settings and log are shown; '' without one."""
        return next(iter(self.store.state.chosen), "")

    def run_row(self) -> RunRow | None:
        """The run in view."""
        return next((row for row in self.store.state.rows if row.id == self.main), None)

    def choose_runs(self, ids: Sequence[str]) -> None:
        """Look at these runs. The one in view stays it while it is among them."""
        wanted = [run for run in dict.fromkeys(ids) if run in self._infos]
        if not wanted:
            return
        before = [run for run in self.store.state.chosen if run in wanted]
        ordered = before + [run for run in wanted if run not in before]
        if len(ordered) > MAX_COMPARED:
            self._session.notify(
                "accent", f"{MAX_COMPARED} runs at most", "More lines could not be told apart."
            )
        self._is_following = tuple(ordered) == self._newest()
        self._choose(tuple(ordered[:MAX_COMPARED]))

    def _choose(self, chosen: tuple[str, ...]) -> None:
        self._colours = {run: n for run, n in self._colours.items() if run in chosen}
        for run in chosen:
            free = set(range(MAX_COMPARED)) - set(self._colours.values())
            self._colours.setdefault(run, min(free, default=0))
        if chosen[:1] != self.store.state.chosen[:1]:
            self._is_pointed = False
            self.store.update(chosen=chosen, checkpoint="")
        else:
            self.store.update(chosen=chosen)
        self._lines.keep(chosen)
        self._stories = {run: told for run, told in self._stories.items() if run in chosen}
        self._asked = {run: asked for run, asked in self._asked.items() if run in chosen}
        for run in chosen:
            self._need_story(run)
        self._show_chosen()

    def _newest(self) -> tuple[str, ...]:
        """The run that is on, else the last one that has begun."""
        live = self._session.run
        if live is not None and live.is_live and live.id in self._infos:
            return (live.id,)
        begun = [run for run, info in self._infos.items() if info.state != "queued"]
        newest = max(begun or self._infos, default="")
        return (newest,) if newest else ()

    def choose_checkpoint(self, file: str) -> None:
        """Point at a checkpoint."""
        self._is_pointed = True
        self.store.update(checkpoint=file)
        self.store.update(why_not_delete=self._why_not_delete())

    def sort_by(self, column: int) -> None:
        """Sort the runs: up, down, then newest first again."""
        now, is_descending = self.store.state.sort
        sort = (column, False)
        if now == column:
            sort = (-1, False) if is_descending else (column, True)
        self.store.update(sort=sort, rows=self._ordered(self.store.state.rows, sort))

    def _ordered(self, rows: Sequence[RunRow], sort: tuple[int, bool]) -> tuple[RunRow, ...]:
        return in_order(rows, sort[0], is_descending=sort[1])

    def set_metric(self, metric: str) -> None:
        """Draw another one; each has its own smoothing."""
        if metric in METRICS:
            self._is_metric_chosen = True
            self.store.update(metric=metric, smoothing=self._smoothings[metric])
            self._curves_changed()

    def _choose_metric(self) -> None:
        """The training loss as long as there is no line of validations, until a person chooses."""
        stories = [story for run in self.store.state.chosen if (story := self._story(run))]
        if self._is_metric_chosen or not any(story.curve.n for story in stories):
            return
        has_line = any(story.validations.n > 1 for story in stories)
        metric = "Validation loss" if has_line else "Training loss"
        if metric != self.store.state.metric:
            self.store.update(metric=metric, smoothing=self._smoothings[metric])

    def set_axis(self, axis: str) -> None:
        """Draw over steps, tokens or time."""
        self.store.update(axis=axis)
        self._curves_changed()

    def set_smoothing(self, weight: float) -> None:
        """0 shows every value; higher ones show the trend."""
        weight = max(0.0, min(0.99, round(weight, 2)))
        self._smoothings[self.store.state.metric] = weight
        self.store.update(smoothing=weight)
        self._curves_changed()

    def set_against(self, against: str) -> None:
        """Compare the settings with another run, the defaults or those of the next run."""
        if against in AGAINST:
            self.store.update(against=against)
            self._show_differences()

    def set_all_settings(self, is_all: bool) -> None:
        """Show equal settings too."""
        self.store.update(all_settings=is_all)
        self._show_differences()

    def set_level(self, level: str) -> None:
        """Show all lines of the log, or only warnings and errors."""
        self.store.update(level=level, log_n=self.store.state.log_n + 1)

    def set_search(self, search: str) -> None:
        """Show only lines of the log with these words."""
        self.store.update(search=search, log_n=self.store.state.log_n + 1)

    def _curves_changed(self) -> None:
        self.store.update(curves_n=self.store.state.curves_n + 1)

    def curves(self) -> list[Curve]:
        """The lines of the chosen runs in the chosen metric and axis, as far as they are there."""
        state, out = self.store.state, []
        names = {row.id: row.name for row in state.rows if row.id in state.chosen}
        shown = unique([names.get(run, run) for run in state.chosen])
        for run, name in zip(state.chosen, shown, strict=True):
            story = self._story(run)
            if story is not None:
                made = self._lines.get(story, METRICS[state.metric], state.axis, state.smoothing)
                if made is not None:
                    out.append(Curve(run, name, self._colours.get(run, 0), *made))
        return out

    def why_no_curve(self) -> str:
        """What the chart says while it has nothing to draw."""
        row = self.run_row()
        if row is None:
            return "Choose a run: its curve is drawn here."
        if row.state == "queued":
            if self._session.is_training:
                return "This run waits: it starts when the present one is done."
            return "This run waits in the queue. Start it, or it follows the next run."
        if self._story(row.id) is None:
            return "Reading the run."
        if METRICS[self.store.state.metric].startswith("val_"):
            return "This run has no validation yet."
        return "This run has made no step yet."

    def log_lines(self) -> list[LogLine]:
        """The log of the run in view, filtered."""
        story, state = self._story(self.main), self.store.state
        return filter_log(story.log if story else (), state.level, state.search)

    # -- reading runs ----------------------------------------------------------------------------------

    def _story(self, run: str) -> RunState | None:
        live = self._session.run
        return live if live is not None and live.id == run else self._stories.get(run)

    def _need_story(self, run_id: str) -> None:
        """Read a run whole, unless that was done since it last said something."""
        info, live = self._infos.get(run_id), self._session.run
        if info is None or self._session.project is None:
            return
        self._need_run(run_id)
        is_followed = live is not None and live.id == run_id
        known = (info.state, info.step, info.best_val_loss)
        if is_followed or self._asked.get(run_id) == known:
            return
        self._asked[run_id] = known

        def show(story: RunState, _: Run) -> None:
            if run_id in self.store.state.chosen:
                self._stories[run_id] = story
                self._show_chosen()

        self._session.archive.load_past(run_id, show)

    def _need_run(self, run_id: str, n_params: int | None = None) -> None:
        """Read the settings of a run; again when it has a plan, for then "auto" is a number."""
        info = self._infos.get(run_id)
        if info is None or self._session.project is None:
            return
        n_params = n_params or info.n_params
        if self._asked_runs.get(run_id, -1) == n_params:
            return
        self._asked_runs[run_id] = n_params

        def show(run: Run) -> None:
            self._runs[run_id] = run
            self._show_differences()

        self._session.task(f"run {run_id}", runs.open_run, self._session.project, run_id, then=show)

    # -- events ---------------------------------------------------------------------------------------

    def _on_project(self) -> None:
        self._reset()
        old = self.store.state
        self.store.update(
            is_open=self._session.project is not None, is_read=self._session.project is None,
            read_only=self._session.why_read_only(),
            rows=(), chosen=(), checkpoints=(), checkpoint="", differences=(), sides=("", ""),
            curves_n=old.curves_n + 1, log_n=old.log_n + 1,
        )  # fmt: skip

    def _on_config(self) -> None:
        if self.store.state.against == NEXT_RUN:
            self._show_differences()

    def _on_runs(self) -> None:
        session, live = self._session, self._session.run
        self._infos = {info.run: info for info in session.archive.runs}
        rows = []
        for info in session.archive.runs:
            known = self._known_rows.get(info.run)
            if known is None or known[0] != info:
                known = self._known_rows[info.run] = (info, run_row(info))
            is_live = live is not None and live.is_live and live.id == info.run
            if is_live and live is not None:
                rows.append(live_row(known[1], live, self._clock.read(live)))
            else:
                rows.append(known[1])
        self._known_rows = {
            run: kept for run, kept in self._known_rows.items() if run in self._infos
        }
        self._runs = {run: kept for run, kept in self._runs.items() if run in self._infos}
        chosen = tuple(run for run in self.store.state.chosen if run in self._infos)
        if not chosen or self._is_following:
            chosen, self._is_following = self._newest(), True
        self.store.update(
            rows=self._ordered(rows, self.store.state.sort), is_read=True,
            read_only=session.why_read_only(),
        )  # fmt: skip
        self._choose(chosen)

    def _on_run(self) -> None:
        live, state = self._session.run, self.store.state
        changes: dict[str, Any] = {"why_not_resume": self._why_not_resume()}
        at = next((i for i, row in enumerate(state.rows) if live and row.id == live.id), -1)
        if live is not None and at >= 0:
            row = live_row(state.rows[at], live, self._clock.read(live))
            if row != state.rows[at]:
                changes["rows"] = (*state.rows[:at], row, *state.rows[at + 1 :])
                if row.state != state.rows[at].state:
                    changes["why_not_delete_run"] = self._why_not_delete_run()
                    changes["why_not_delete"] = self._why_not_delete()
            if live.id in state.chosen:
                self._stories[live.id] = live  # it stays when another run comes into view
                self._need_run(live.id, live.plan.n_params if live.plan else None)
                changes["curves_n"] = state.curves_n + 1
                if live.id == self.main:
                    changes["log_n"] = state.log_n + 1
        self.store.update(**changes)
        self._choose_metric()

    def _on_vitals(self, vitals: Vitals) -> None:
        live = self._session.run if self._session.is_training else None
        self.store.update(machine=machine_rows(vitals, live))

    def _show_chosen(self) -> None:
        state = self.store.state
        listed, checkpoint = checkpoint_rows(self._own_rows()), state.checkpoint
        names = [row.file for row in listed]
        if not self._is_pointed or checkpoint not in names:
            checkpoint = next(iter(names), "")
        self._choose_metric()
        self.store.update(
            checkpoints=listed, checkpoint=checkpoint, curves_n=state.curves_n + 1,
            log_n=state.log_n + 1,
        )  # fmt: skip
        self.store.update(
            why_not_resume=self._why_not_resume(), why_not_delete=self._why_not_delete(),
            why_not_delete_run=self._why_not_delete_run(),
        )  # fmt: skip
        self._show_differences()

    # -- settings side by side ---------------------------------------------------------------------------

    def _show_differences(self) -> None:
        mine, theirs = self._side(self.main), self._other_side()
        if mine is None or theirs is None:
            self.store.update(differences=(), sides=("", ""))
            return
        found = compare(mine, theirs, only_different=not self.store.state.all_settings)
        self.store.update(differences=found, sides=(mine.name, theirs.name))

    def _side(self, run_id: str) -> Side | None:
        run, info = self._runs.get(run_id), self._infos.get(run_id)
        if run is None or info is None:
            return None
        n_params = next((row.n_params for row in self.store.state.rows if row.id == run_id), None)
        return side_of(run_row(info).name, run, n_params)

    def _other_side(self) -> Side | None:
        against, chosen = self.store.state.against, self.store.state.chosen
        if against == NEXT_RUN:
            return Side("Next run", self._session.config)
        begun = [run for run, info in self._infos.items() if info.state != "queued"]
        earlier = max((run for run in begun if run < self.main), default="")
        other = chosen[1] if len(chosen) > 1 else earlier
        if against == DEFAULTS or not other:
            run = self._runs.get(self.main)
            sources = run.config.sources if run else ()
            return Side("Defaults", replace(ProjectConfig(), sources=sources))
        self._need_run(other)
        return self._side(other)

    # -- what cannot be done -----------------------------------------------------------------------------

    def _is_on(self, run_id: str) -> bool:
        live, info = self._session.run, self._infos.get(run_id)
        if live is not None and live.id == run_id:
            return live.is_live
        return info is not None and info.state in LIVE

    def _why_not_resume(self) -> str:
        if why := self._session.why_read_only():
            return why
        info = self._infos.get(self.main)
        if info is not None and info.state == "queued":
            return "It starts when the present run is done." if self._session.is_training else ""
        if self._session.is_training or self._is_on(self.main):
            return "A run is on: stop it first."
        return "" if self.store.state.checkpoints else "This run has no checkpoint."

    def _why_not_delete(self) -> str:
        row = self._row()
        if row is None:
            return "This run has no checkpoint."
        if why := self._session.why_read_only():
            return why
        return why_needed(row, self._session.archive.checkpoints) if self._is_on(row.run) else ""

    def _why_not_delete_run(self) -> str:
        if why := self._session.why_read_only():
            return why
        if not self.main:
            return "Choose a run."
        return "The run is on: stop it first." if self._is_on(self.main) else ""

    # -- commands on checkpoints -------------------------------------------------------------------------

    def complete_at(self) -> int:
        """The planned steps of the run in view, when the chosen checkpoint is its last; else 0."""
        row, info = self._row(), self._infos.get(self.main)
        total = info.total_steps if info is not None else None
        return total if row is not None and total and row.step >= total else 0

    def resume(self, max_steps: int | None = None) -> bool:
        """Go on with the run in view from the chosen checkpoint, or start it when it is queued."""
        self._is_pointed = False  # from here on the newest is another one
        changes: dict[str, Any] | None = None
        if max_steps is not None:
            limits = ("epochs", "max_steps", "max_tokens", "max_time_s")
            changes = dict.fromkeys(limits) | {"max_steps": max_steps}
        return self._session.work.resume(self.main, self.store.state.checkpoint, changes)

    def going_back(self) -> GoingBack | None:
        """What to ask first, when the chosen checkpoint is not the newest of the run in view."""
        row = self._row()
        return going_back(row, newest_of(self._own_rows())) if row else None

    def _own_rows(self) -> list[Row]:
        return [row for row in self._session.archive.checkpoints if row.run == self.main]

    def test(self) -> None:
        """Write with the chosen checkpoint on the Test tab."""
        self._session.archive.want(self.store.state.checkpoint)

    def verify(self) -> None:
        """Read the chosen checkpoint whole."""
        row = self._row()
        if row:
            name = fmt.path_text(row.file)
            self._session.notify("accent", f"Reading {name}", fmt.size(row.size_bytes))
            self._session.archive.verify(row)

    def pin_checkpoint(self) -> None:
        """Keep the chosen checkpoint for ever, or not any more."""
        row = self._row()
        if row:
            self._session.archive.pin(row.file, "pinned" not in row.roles)

    def delete_checkpoint(self) -> None:
        """Remove the chosen checkpoint."""
        row = self._row()
        if row:
            self._session.archive.delete_checkpoint(row.file)

    def what_is_lost(self) -> str:
        """What the chosen checkpoint is, for the question before it is deleted."""
        row = self._row()
        if row is None:
            return ""
        words = f"The file of step {row.step:,} ({fmt.size(row.size_bytes)}) is deleted for good."
        if len(self.store.state.checkpoints) == 1:
            words += " It is the only one of its run, which can then not go on."
        elif "best" in row.roles:
            words += " It is the best one of its run."
        return words + (" It is pinned." if "pinned" in row.roles else "")

    def reveal(self) -> bool:
        """Show the checkpoints in the file manager."""
        project = self._session.project
        return project is not None and paths.reveal(project.checkpoints_dir)

    def _row(self) -> Row | None:
        wanted = self.store.state.checkpoint
        return next((row for row in self._session.archive.checkpoints if row.file == wanted), None)

    # -- commands on runs ----------------------------------------------------------------------------------

    def name_and_note(self) -> tuple[str, str]:
        """What a person called the run in view and wrote about it."""
        info = self._infos.get(self.main)
        return (info.name, info.note) if info else ("", "")

    def rename(self, name: str) -> None:
        """Give the run in view a name of one's own; an empty one takes it back."""
        name = " ".join(name.split())[:LONGEST_NAME]
        self._session.archive.label_run(
            self.main, name="" if name == short_name(self.main) else name
        )

    def set_note(self, note: str) -> None:
        """A note to the run in view."""
        self._session.archive.label_run(self.main, note=" ".join(note.split())[:LONGEST_NOTE])

    def pin_run(self) -> None:
        """Keep the run at the head of the list, or not any more."""
        row = self.run_row()
        if row:
            self._session.archive.label_run(row.id, is_pinned=not row.is_pinned)

    def its_files(self) -> str:
        """Number and size of the checkpoints of the run in view; '' when it has none."""
        rows = self._own_rows()
        noun = "checkpoint" if len(rows) == 1 else "checkpoints"
        total = sum(row.size_bytes for row in rows)
        return f"{len(rows)} {noun}, {fmt.size(total)}" if rows else ""

    def delete_run(self, *, with_checkpoints: bool) -> None:
        """Remove the run in view."""
        try:
            self._session.archive.delete_run(self.main, with_checkpoints=with_checkpoints)
        except SllmError as problem:
            self._session.report(problem, "The run was not deleted")

    def clone(self) -> ProjectConfig | None:
        """Take the settings of the run in view for the next one; returns those of before."""
        run = self._runs.get(self.main)
        if run is None or self._session.why_read_only():
            return None
        before = self._session.config
        self._session.replace_config(runs.clone_config(run, before))
        return before

    def undo_clone(self, before: ProjectConfig) -> None:
        """Take the settings of before again."""
        self._session.replace_config(before)

    def enqueue_copy(self) -> None:
        """Queue a run with the settings of the run in view."""
        run = self._runs.get(self.main)
        if run is not None:
            self._session.work.enqueue(runs.clone_config(run, self._session.config))

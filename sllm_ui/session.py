"""The open project and everything that goes on in it. Presenters talk to this; no toolkit here.

All methods are called on the window's thread and return at once: files are read and written by
`jobs.tasks`, work is done by workers, and what they answer comes back through one queue.
"""

import functools
import json
import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sllm_core import config as configs
from sllm_core import errors, fmt, presets, sample
from sllm_core import messages as m
from sllm_core import project as projects
from sllm_core.config import ProjectConfig, SamplingConfig, SourceConfig
from sllm_core.errors import CheckpointError, LockError, ProjectError, SllmError
from sllm_core.jobs import runs
from sllm_core.jobs.runner import PipeProcess, Runner
from sllm_core.jobs.series import Past, read_past
from sllm_core.jobs.tasks import TaskDone, Tasks
from sllm_core.jobs.vitals import Vitals, Watch
from sllm_core.ledger import Ledger, Row
from sllm_core.project import Lock, Project
from sllm_ui.bus import Bus
from sllm_ui.facts import Facts, read_facts
from sllm_ui.runstate import RunState
from sllm_ui.settings import Settings

SAVE_AFTER_S = 0.4  # after the last edit of a field
SAVE_AGAIN_S = 5.0  # after a disk refused
NOTICES = 200


@dataclass(frozen=True)
class ProjectChanged:
    """Another project is open, or none; or it became read-only."""


@dataclass(frozen=True)
class ConfigChanged:
    """Settings of the project have new values."""


@dataclass(frozen=True)
class DataChanged:
    """`facts` are new: a scan or a preparation ended."""


@dataclass(frozen=True)
class RunChanged:
    """The run in view, or the data job, said something (at most once a turn)."""


@dataclass(frozen=True)
class RunsChanged:
    """The list of runs or of checkpoints is new."""


@dataclass(frozen=True)
class VitalsChanged:
    """New readings of the machine."""

    vitals: Vitals


@dataclass(frozen=True)
class Answered:
    """A warm worker answered a request."""

    source: str  # writer | looker | adviser
    message: m.Message


@dataclass(frozen=True)
class CheckpointWanted:
    """The Test tab should write with this checkpoint (also in `Session.wanted_checkpoint`)."""

    file: str


@dataclass(frozen=True)
class TurnEnded:
    """What had come is handled: the moment to show what comes in many small pieces."""


@dataclass(frozen=True)
class Notice:
    """Something a person should hear of: a toast.

    ``action`` is (label, action id), or (label, ``help:page#anchor``).
    """

    kind: str  # good | warn | bad | accent
    title: str
    text: str = ""
    action: tuple[str, str] | None = None


class Session:
    """One window's project, jobs and workers.

    Args:
        settings: what the window remembers.
        inbox: the one queue that every thread puts into.
    """

    def __init__(self, settings: Settings, inbox: "queue.Queue[Any]") -> None:
        self.bus, self.settings, self.inbox = Bus(), settings, inbox
        self.project: Project | None = None
        self.config = ProjectConfig()
        self.read_only = ""  # who holds the project, when it is not this window
        self.facts = Facts()
        self.run: RunState | None = None  # the training run in view: live, else the last one
        self.data_job: RunState | None = None  # a scan or a preparation
        self.runs: tuple[m.RunInfo, ...] = ()  # training runs, newest first
        self.checkpoints: tuple[Row, ...] = ()
        self.vitals: Vitals | None = None
        self.wanted_checkpoint = ""  # what the Test tab should write with
        self._tasks = Tasks(inbox)
        self._runners: dict[str, Runner] = {}
        self._pipes: dict[str, PipeProcess] = {}
        self._requests = 0
        self._lock: Lock | None = None
        self._watch: Watch | None = None
        self._unsaved_since: float | None = None
        self._saving = ""  # the task that stores settings
        self._end_saving: Callable[[], object] | None = None
        self._is_refusal_told = False  # the disk refuses, and the user knows
        self._dirty: set[type] = set()
        self._pending: dict[str, Callable[[Any], None]] = {}  # task name -> what to do with it
        self._is_auto_scan = False  # scan again once the one that runs has ended

    # -- projects ------------------------------------------------------------------------------

    def open(self, folder: str | Path) -> None:
        """Open a project folder; one that somebody else edits is opened read-only.

        Raises:
            SllmError: there is none, or its settings cannot be read; the old one stays open.
        """
        opened = projects.open_project(folder)
        config = opened.load_config()
        self._let_go()
        self.project, self.config = opened, config
        self._take_lock(opened)
        self.settings.remember(opened.root)
        self._restart_watch()
        self.bus.publish(ProjectChanged())
        self._load_last_run()
        self.refresh_data()
        self.refresh_runs()

    def _take_lock(self, opened: Project) -> None:
        lock = opened.lock("the window")
        try:
            self._lock = lock.acquire()
            self.read_only = ""
        except LockError as problem:
            self._lock, self.read_only = None, problem.what
        except SllmError as problem:  # a place that cannot be written to
            self._lock, self.read_only = None, problem.what

    def retry_lock(self) -> bool:
        """Try to become the one who edits; True when that worked."""
        if self.project and self.read_only:
            self._take_lock(self.project)
            if not self.read_only:
                self.config = self.project.load_config()
                self.bus.publish(ProjectChanged())
        return not self.read_only

    def create(self, folder: str | Path, sources: list[str], preset: str = "") -> None:
        """Make a project and open it.

        Raises:
            SllmError: the folder is a project already, or cannot be made.
        """
        config = presets.build(ProjectConfig(), preset or None, [])
        self.open(projects.create(folder, sources, config).root)

    def free_folder(self, name: str) -> Path:
        """A folder for a new project that is not there yet."""
        from sllm_ui.paths import projects_dir

        home = Path(self.settings.values.projects_dir or projects_dir())
        plain = (
            "".join(c if c.isalnum() or c in " -_" else "-" for c in name).strip(" -") or "project"
        )
        number, folder = 1, home / plain
        while folder.exists():
            number += 1
            folder = home / f"{plain} {number}"
        return folder

    def open_sample(self) -> None:
        """Make the sample project, or open the one that is there."""

        def done(result: Project) -> None:
            self.open(result.root)
            self.notify(
                "accent",
                "The sample is ready",
                "Press Start training on the Train tab.",
                ("Train", "tab_train"),
            )

        self.task("sample", sample.open_or_create, None, then=done)

    def copy_project(self, folder: Path, *, with_everything: bool) -> None:
        """Save as (everything), or a new project with the same settings; then open it."""
        if self.project is None:
            return
        self.save_now_config()
        self.notify("accent", "Copying the project", str(folder))

        def done(result: Project) -> None:
            self.open(result.root)
            self.notify("good", "The copy is open", str(result.root))

        copy = functools.partial(projects.duplicate, with_everything=with_everything)
        self.task("copy", copy, self.project, folder, then=done)

    def rename_project(self, name: str) -> None:
        """Give the folder another name.

        Raises:
            SllmError: a run is on, or the name cannot be used; it stays open as it is.
        """
        old = self._idle_project("renamed")
        self.close_project()
        try:
            new = projects.rename(old, name)
        except SllmError:
            self.open(old.root)
            raise
        self.settings.forget(str(old.root))
        self.open(new.root)

    def delete_project(self) -> None:
        """Move the folder to the system's trash.

        Raises:
            SllmError: a run is on, or the trash cannot take it; nothing is lost.
        """
        old = self._idle_project("deleted")
        self.close_project()
        try:
            projects.to_trash(old)
        except SllmError:
            self.open(old.root)
            raise
        self.settings.forget(str(old.root))
        self.notify("good", "Moved to the trash", f"{old.root.name} can be restored from there.")

    def _idle_project(self, verb: str) -> Project:
        if self.project is None:
            raise ProjectError("MISSING", "No project is open.")
        if self.read_only:
            raise LockError("HELD", self.read_only, todo="Wait for it, or stop it first.")
        if self.is_working:
            raise LockError(
                "HELD", f"A run is on: the project cannot be {verb} now.", todo="Stop it first."
            )
        return self.project

    def close_project(self) -> None:
        """Store what is unsaved and let go of the project; runs go on by themselves."""
        self._let_go()
        self.bus.publish(ProjectChanged())

    def _let_go(self) -> None:
        self.save_now_config()
        for runner in self._runners.values():
            self._tasks.do("close", runner.close)
        for pipe in self._pipes.values():
            self._tasks.do("close", pipe.close)
        self._runners, self._pipes = {}, {}
        if self._lock:
            self._lock.release()
        self._lock, self.project, self.read_only = None, None, ""
        self.config, self.facts = ProjectConfig(), Facts()
        self.run = self.data_job = None
        self.runs, self.checkpoints, self._pending = (), (), {}
        self.wanted_checkpoint = ""
        self._is_auto_scan = self._is_refusal_told = False
        self._saving, self._end_saving, self._unsaved_since = "", None, None

    def close(self) -> None:
        """End of the window: nothing of ours stays behind but runs that should go on."""
        self._let_go()
        if self._watch:
            self._watch.close()
        self._tasks.close()

    # -- settings ------------------------------------------------------------------------------

    def change(self, values: dict[str, Any]) -> None:
        """Take over settings by field name; they are stored a moment later.

        Raises:
            ConfigError: a value that cannot be; nothing was changed.
        """
        self._replace_config(configs.with_values(self.config, values))

    def choose_preset(self, name: str) -> None:
        """The shape and recipe of a preset."""
        self._replace_config(presets.apply(self.config, presets.find(name)))

    def add_sources(self, paths: Iterable[str]) -> int:
        """Add files and folders that are not sources yet and scan; returns how many were new.

        Raises:
            DataError: one of them does not exist; none was added.
        """
        assert self.project
        known = {self.project.source_root(source).resolve() for source in self.config.sources}
        fresh = []
        for path in paths:
            place = Path(path).expanduser().resolve()
            if place not in known:
                known.add(place)
                fresh.append(path)
        made = projects.make_sources(self.project.root, fresh)
        first = max((source.id for source in self.config.sources), default=0) + 1
        numbered = tuple(replace(source, id=first + i) for i, source in enumerate(made))
        if numbered:
            self._replace_config(replace(self.config, sources=self.config.sources + numbered))
            self.scan_soon()
        return len(numbered)

    def change_source(self, source_id: int, **changes: Any) -> None:
        """Switch a source on or off, or change what it leaves out; scans."""
        sources = tuple(
            replace(source, **changes) if source.id == source_id else source
            for source in self.config.sources
        )
        self._replace_config(replace(self.config, sources=sources))
        self.scan_soon()

    def remove_source(self, source_id: int) -> SourceConfig | None:
        """Take a source out of the project; its files are not touched."""
        found = next((s for s in self.config.sources if s.id == source_id), None)
        rest = tuple(s for s in self.config.sources if s.id != source_id)
        self._replace_config(replace(self.config, sources=rest))
        self.scan_soon()
        return found

    def restore_source(self, source: SourceConfig) -> None:
        """Undo `remove_source`; one that took its number meanwhile keeps it."""
        there = self.config.sources
        if any(s.path == source.path for s in there):
            return
        if any(s.id == source.id for s in there):
            source = replace(source, id=max(s.id for s in there) + 1)
        sources = tuple(sorted((*there, source), key=lambda s: s.id))
        self._replace_config(replace(self.config, sources=sources))
        self.scan_soon()

    def replace_config(self, config: ProjectConfig) -> None:
        """All settings at once: undo, or those of another run; the sources stay."""
        self._replace_config(replace(config, sources=self.config.sources))

    def _replace_config(self, config: ProjectConfig) -> None:
        if config == self.config:
            return
        self.config = config
        self._unsaved_since = time.monotonic()
        self.bus.publish(ConfigChanged())

    def tick(self) -> None:
        """Called a few times a second: stores settings a moment after the last edit."""
        since = self._unsaved_since
        if since is None or self._saving or time.monotonic() - since < SAVE_AFTER_S:
            return
        self._unsaved_since = None
        if self.project and not self.read_only:
            self._end_saving = self.task(
                "save", self.project.save_config, self.config, then=lambda _: None
            )
            self._saving = f"save#{self._requests}"

    def save_now_config(self) -> None:
        """Store unsaved settings before something that must not lose them."""
        is_stored = self._unsaved_since is None and not self._saving
        if is_stored or not self.project or self.read_only:
            return
        if self._end_saving:  # older values must not come last
            self._end_saving()
        self._pending.pop(self._saving, None)
        self._saving, self._end_saving, self._unsaved_since = "", None, None
        try:
            self.project.save_config(self.config)
        except SllmError as problem:
            self._not_stored(problem)
        else:
            self._is_refusal_told = False

    def _not_stored(self, problem: SllmError) -> None:
        """Keep the values and try again later; a disk that stays full is told once."""
        if self._unsaved_since is None:
            self._unsaved_since = time.monotonic() + SAVE_AGAIN_S
        if not self._is_refusal_told:
            self._is_refusal_told = True
            self.report(problem, "The settings were not stored")

    # -- data jobs -------------------------------------------------------------------------------

    @property
    def is_working(self) -> bool:
        """Whether a job of this project is on."""
        return self.is_training or self.is_on_data

    @property
    def is_training(self) -> bool:
        """Whether the run in view is live."""
        return self.run is not None and self.run.is_live

    @property
    def is_on_data(self) -> bool:
        """Whether a scan or a preparation is on."""
        return self.data_job is not None and self.data_job.is_live

    def scan_soon(self) -> None:
        """Scan now, or as soon as what is being done with the data has ended."""
        if self.is_working:
            self._is_auto_scan = True
        elif self.project and not self.read_only and self.config.sources:
            self.scan()
        else:
            self.refresh_data()

    def scan(self) -> None:
        """List the files of all sources."""
        self._start_data_job("scan")

    def prepare(self, *, tokenizer_file: str = "", is_vocab_asked: bool = False) -> None:
        """Tokenizer (trained, or imported from a file) and token files."""
        options: dict[str, Any] = {"is_vocab_asked": is_vocab_asked}
        options["tokenizer_file"] = str(Path(tokenizer_file).absolute()) if tokenizer_file else None
        self._start_data_job("prepare", **options)

    def _start_data_job(self, kind: str, **options: Any) -> None:
        if self.is_working or self.why_read_only() or not self.project:
            return
        self.save_now_config()
        try:
            run = runs.new_run(self.project, kind, self.config, **options)
        except (SllmError, OSError) as problem:
            self.report(problem, "The job could not be started")
            return
        self.data_job = RunState(run.id, kind)
        self._follow(Runner(run, self.inbox).start)

    def stop_data_job(self) -> None:
        """Stop the scan or the preparation; what was done stays."""
        if self.data_job and self.data_job.is_live:
            self._ask(self.data_job, "stop")

    # -- training --------------------------------------------------------------------------------

    def why_read_only(self) -> str:
        """Why nothing can be changed here; '' when it can."""
        if self.project is None:
            return "Open or make a project first."
        return self.read_only

    def why_not_start(self) -> str:
        """Why training cannot start now; '' when it can."""
        if why := self.why_read_only():
            return why
        if not any(source.is_on for source in self.config.sources):
            return "Add a folder with text on the Data tab first."
        if self.is_training:
            return "A run is on."
        if self.facts.is_scanned and not self.facts.used and not self.is_on_data:
            return "None of the listed files can be used. The Data tab says why."
        return ""

    def start_training(self, *, continue_from: str = "") -> bool:
        """A new run with the settings as they are; False (with a notice) when it cannot start.

        With ``continue_from`` it begins with the weights of that checkpoint, in its shape.
        """
        if why := self.why_not_start():
            self.notify("warn", "Training cannot start", why)
            return False
        assert self.project
        if self.is_on_data:  # the run scans by itself
            self.stop_data_job()
        self.save_now_config()
        try:
            run = runs.new_run(
                self.project, "train", self.config, given=[],
                continue_from=continue_from or None, is_shape_adopted=bool(continue_from),
            )  # fmt: skip
        except (SllmError, OSError) as problem:
            self.report(problem, "The run could not be started")
            return False
        self.run = RunState(run.id, "train")
        self._follow(Runner(run, self.inbox).start)
        self.refresh_runs()
        return True

    def resume(
        self, run_id: str = "", checkpoint: str = "", changes: dict[str, Any] | None = None
    ) -> bool:
        """Go on with a run (the last one) from a checkpoint (its newest good one)."""
        why = self.why_read_only() or ("A run is on." if self.is_training else "")
        if why or not self.project:
            self.notify("warn", "The run cannot go on now", why)
            return False
        try:
            name = run_id or runs.last_run(self.project).id
            run = runs.open_run(self.project, name)
        except SllmError as problem:
            self.report(problem, "There is no run to go on with")
            return False
        if runs.is_alive(run):
            self.notify("warn", "That run is on already", run.lock().holder())
            return False
        self.run = RunState(run.id, "train")
        runner = Runner(run, self.inbox, resume=checkpoint, changes=changes)

        def go_on(past: Past) -> None:
            self.run = RunState.from_past(run, past, "starting")
            self._follow(runner.start)
            self.refresh_runs()

        self.task(f"past {run.id}", read_past, run.folder, then=go_on)
        self._mark(RunChanged)
        return True

    def pause(self) -> None:
        """Pause the run after this step, or let it go on."""
        run = self.run
        if run is None or run.state not in {"running", "paused"} or self._is_refused():
            return
        self._ask(run, "run" if run.state == "paused" else "pause")

    def stop(self) -> None:
        """Save a checkpoint, then stop; a second time: end the process."""
        run = self.run
        if run is None or not run.is_live:
            self.stop_data_job()
            return
        if self._is_refused():
            return
        if run.state == "stopping":
            runner = self._runners.get(run.id)
            if runner:
                runner.end(patience_s=5.0)
            return
        self._ask(run, "stop")

    def save_now(self) -> None:
        """Ask the run for a checkpoint after this step."""
        runner = self._runners.get(self.run.id) if self.run else None
        if runner and not self._is_refused():
            self._try(runner.save_now)

    def change_live(self, values: dict[str, Any]) -> None:
        """Settings that a run takes over while it goes on (intervals, how many are kept)."""
        runner = self._runners.get(self.run.id) if self.run and self.run.is_live else None
        if runner and not self._is_refused():
            self._try(lambda: runner.change(values))

    def _is_refused(self) -> bool:
        """Whether this window only looks on: the run is another one's to steer."""
        if self.read_only:
            self.notify("warn", "This window only looks on", self.read_only)
        return bool(self.read_only)

    def enqueue(self, config: ProjectConfig | None = None) -> None:
        """A run with the settings as they are (or other ones), for when the present one is done."""
        if (why := self.why_read_only()) or not self.project:
            self.notify("warn", "The run cannot be queued", why)
            return
        self.save_now_config()
        try:
            runs.new_run(self.project, "train", config or self.config, queued=True, given=[])
        except (SllmError, OSError) as problem:
            self.report(problem, "The run could not be queued")
            return
        self.notify("good", "Queued", "It starts when the present run is done.")
        if not self.is_training:
            self.start_next_queued()
        self.refresh_runs()

    def start_next_queued(self) -> None:
        """Start the oldest run that waits."""
        if self.project is None or self.read_only or self.is_training:
            return
        project = self.project

        def found(infos: tuple[list[m.RunInfo], list[Row]]) -> None:
            self._show_runs(infos)
            waiting = [info for info in infos[0] if info.state == "queued"]
            if waiting and not self.is_training:
                self.resume(waiting[-1].run)

        self.task("next", list_runs, project, then=found)

    def _ask(self, run: RunState, wish: str) -> None:
        runner = self._runners.get(run.id)
        if runner is None:
            return
        if self._try(lambda: runner.ask(wish)):
            if wish == "stop":
                run.state = "stopping"
            run.version += 1
            self._mark(RunChanged)

    def _follow(self, begin: Callable[[], Runner]) -> None:
        try:
            runner = begin()
        except (SllmError, OSError) as problem:
            state = (
                self.data_job if self.data_job and self.data_job.state == "starting" else self.run
            )
            if state:
                state.state = "failed"
            self.report(problem, "The worker could not be started")
            return
        self._runners[runner.run_id] = runner
        self._mark(RunChanged)

    def _load_last_run(self) -> None:
        """Show the newest training run: followed when it is live, named when it was cut off."""
        assert self.project
        names = runs.run_ids(self.project, "train")
        if not names:
            return
        project = self.project

        self.task("last run", last_run, project, names, then=self._show_last_run)

    def _show_last_run(self, found: "tuple[runs.Run, Past, m.RunInfo] | None") -> None:
        if self.is_training or found is None:
            return
        run, past, info = found
        state = info.state
        self.run = RunState.from_past(run, past, state)
        if state == "running":
            self._follow(Runner(run, self.inbox, offset=past.end).attach)
            self.notify(
                "accent",
                "A run is on",
                "It went on while the window was closed.",
                ("Show it", "tab_train"),
            )
        elif state == "interrupted":
            step = f" at step {info.step:,}" if info.step else ""
            self.notify(
                "warn", f"The last run was interrupted{step}",
                "It goes on from its newest checkpoint; nothing that was saved is lost.",
                ("Continue", "resume"),
            )  # fmt: skip
        self._mark(RunChanged)

    # -- runs and checkpoints ----------------------------------------------------------------------

    def refresh_runs(self) -> None:
        """Read the lists of runs and checkpoints anew."""
        if self.project:
            self.task("runs", list_runs, self.project, then=self._show_runs)

    def _show_runs(self, found: "tuple[list[m.RunInfo], list[Row]]") -> None:
        self.runs, self.checkpoints = tuple(found[0]), tuple(found[1])
        self._mark(RunsChanged)

    def refresh_data(self) -> None:
        """Read the facts about the data anew."""
        if self.project:

            def show(facts: Facts) -> None:
                self.facts = facts
                self._mark(DataChanged)

            self.task("facts", read_facts, self.project, then=show)

    def load_past(self, run_id: str, then: Callable[[RunState, runs.Run], None]) -> None:
        """The whole story of any run, for charts; ``then`` is called when it is there."""
        assert self.project
        project = self.project

        def load() -> tuple[RunState, runs.Run]:
            run = runs.open_run(project, run_id)
            past, state = read_past(run.folder), runs.summarize(run).state
            return RunState.from_past(run, past, state), run

        # Not the name that `resume` uses: one of the two would go unheard.
        self.task(f"story {run_id}", load, then=lambda found: then(*found))

    def label_run(self, run_id: str, **changes: Any) -> None:
        """Name, note or pin of a run."""
        if self.project and not self.read_only:
            folder = self.project.runs_dir / run_id
            label = replace(runs.read_label(folder), **changes)
            self.task("label", runs.write_label, folder, label, then=lambda _: self.refresh_runs())

    def delete_run(self, run_id: str, *, with_checkpoints: bool) -> None:
        """Remove a run that is not live."""
        if self.project and not self.read_only:
            try:
                run = runs.open_run(self.project, run_id)
            except SllmError as problem:
                self.report(problem, "The run was not deleted")
                return
            if runs.is_alive(run) or (self.run and self.run.id == run_id and self.run.is_live):
                self.notify("warn", "The run is on", "Stop it first, then delete it.")
                return

            def done(_: None) -> None:
                if self.run and self.run.id == run_id:
                    self.run = None
                    self._mark(RunChanged)
                self.refresh_runs()

            self.task(f"delete {run_id}", runs.delete_run, run, with_checkpoints, then=done)

    def pin_checkpoint(self, file: str, is_pinned: bool) -> None:
        """Keep a checkpoint whatever the keep-policy says, or not any more."""
        if self.project and not self.read_only:
            self.task(
                "pin", Ledger(self.project).pin, file, is_pinned, then=lambda _: self.refresh_runs()
            )

    def want_checkpoint(self, file: str) -> None:
        """Choose what the Test tab writes with."""
        self.wanted_checkpoint = file
        self.bus.publish(CheckpointWanted(file))

    def verify_checkpoint(self, row: Row) -> None:
        """Read a checkpoint whole and say whether it is what was saved."""
        if self.project is None:
            return
        path = self.project.checkpoints_dir / row.file

        def tell(sha256: str) -> None:
            if sha256 == row.sha256:
                self.notify(
                    "good",
                    f"{row.file} is intact",
                    f"Its SHA-256 is the one saved at step {row.step:,}.",
                )
            else:
                self.notify(
                    "bad",
                    f"{row.file} is damaged",
                    "Its bytes are not those that were saved. Go on from another one. [E-CKPT-HASH]",
                )

        self.task("verify", file_hash, path, then=tell)

    def delete_checkpoint(self, file: str) -> None:
        """Remove a checkpoint file and its row."""
        if self.project and not self.read_only:
            self.task(
                "delete checkpoint",
                Ledger(self.project).delete,
                file,
                then=lambda _: self.refresh_runs(),
            )

    # -- warm workers --------------------------------------------------------------------------------

    def write(self, prompt: str, checkpoint: str, sampling: SamplingConfig, seed: int) -> int:
        """Ask the warm writer for a text; answers come as `Answered` with this number."""
        body = {
            "prompt": prompt,
            "checkpoint": checkpoint,
            "settings": asdict(sampling),
            "seed": seed,
        }
        return self._request("writer", ("write",), body)

    def look(self, **body: Any) -> int:
        """Ask the quick reader: ``preview=``, ``count=`` or ``report=`` (jobs/worker.py)."""
        return self._request("looker", ("look",), body)

    def advise(self, **body: Any) -> int:
        """Ask for a probe or for Auto-Select; one at a time, a new one ends the old."""
        self._drop_pipe("adviser")
        assert self.project
        self._requests += 1
        body = {"request": self._requests, "config": asdict(self.config), **body}
        text = json.dumps(body)
        try:
            self._pipes["adviser"] = PipeProcess(
                "advise", str(self.project.root), text, name="adviser", out=self.inbox
            )
        except OSError as problem:
            self.report(problem, "The worker could not be started")
        return self._requests

    def cancel(self, source: str, request: int) -> None:
        """End a request early."""
        if source == "adviser":
            self._drop_pipe(source)
        elif pipe := self._pipes.get(source):
            pipe.send(json.dumps({"cancel": request}))

    def _request(self, source: str, command: tuple[str, ...], body: dict[str, Any]) -> int:
        assert self.project
        self._requests += 1
        if source not in self._pipes:
            try:
                self._pipes[source] = PipeProcess(
                    *command, str(self.project.root), name=source, out=self.inbox
                )
            except OSError as problem:
                self.report(problem, "The worker could not be started")
                words = f"The worker could not be started ({problem.strerror or problem})."
                failed = m.Failed("E-WORKER-DIED", words, request=self._requests)
                self.inbox.put((source, failed, time.time()))
                return self._requests
        self._pipes[source].send(json.dumps({"request": self._requests, **body}))
        return self._requests

    def _drop_pipe(self, source: str) -> None:
        pipe = self._pipes.pop(source, None)
        if pipe:
            self._tasks.do("close", pipe.terminate)

    # -- the queue ------------------------------------------------------------------------------------

    def handle(self, source: str, message: Any, stamp: float) -> None:
        """Take one item of the inbox in; quick, for many come."""
        if source == "vitals":
            self.vitals = message
            self.bus.publish(VitalsChanged(message))
        elif source == "task":
            self._task_done(message)
        elif source in {"writer", "looker", "adviser"}:
            self._answered(source, message)
        else:
            self._job_said(source, message, stamp)

    def flush(self) -> None:
        """End of a turn: tell presenters what changed in it, once."""
        dirty, self._dirty = self._dirty, set()
        for kind in (RunChanged, DataChanged, RunsChanged):
            if kind in dirty:
                self.bus.publish(kind())
        self.bus.publish(TurnEnded())

    def _mark(self, kind: type) -> None:
        self._dirty.add(kind)
        if len(self._dirty) == 1:  # nothing else may come for a while: make sure of a turn
            self.inbox.put(("wake", None, 0.0))

    def _job_said(self, source: str, message: m.Message | None, stamp: float) -> None:
        state = next(
            (s for s in (self.run, self.data_job) if s is not None and s.id == source), None
        )
        if state is None or message is None:
            return
        state.apply(message, stamp)
        self._dirty.add(RunChanged)
        if isinstance(message, m.Saved | m.Started):
            self.refresh_runs()
        if isinstance(message, m.Prepared | m.Scanned | m.TokenizerReady) and state.kind == "train":
            self.refresh_data()
        if not state.is_live:
            self._job_ended(state, message)

    def _job_ended(self, state: RunState, message: m.Message) -> None:
        self._runners.pop(state.id, None)
        self.refresh_data()
        if state.kind == "train":
            self.refresh_runs()
            self._tell_end(state, message)
            if isinstance(message, m.Done | m.Failed):
                self.start_next_queued()
        elif isinstance(message, m.Failed):
            name = "Scan" if state.kind == "scan" else "Preparation"
            self.notify("bad", f"{name} failed", message.text, _explain(message.code))
        elif state.kind == "prepare" and isinstance(message, m.Done):
            self.notify(
                "good",
                "The data is prepared",
                "Training can start at once.",
                ("Train", "tab_train"),
            )
        if self._is_auto_scan:
            self._is_auto_scan = False
            self.scan_soon()

    def _tell_end(self, state: RunState, message: m.Message) -> None:
        step = state.step.step if state.step else 0
        if isinstance(message, m.Failed):
            self.notify("bad", "The run failed", message.text, ("Show the log", "tab_monitor"))
        elif isinstance(message, m.Stopped) and step:
            self.notify(
                "good",
                f"Stopped at step {step:,}",
                f"Saved as {message.path}." if message.path else "",
                ("Test it", "tab_test"),
            )
        elif isinstance(message, m.Done):
            best = f"Best validation loss {fmt.number(message.best_val_loss)}."
            self.notify("good", "Training is done", best, ("Test it", "tab_test"))

    def _answered(self, source: str, message: m.Message) -> None:
        if isinstance(message, m.Failed) and message.code == "E-WORKER-DIED":
            pipe = self._pipes.pop(source, None)
            if pipe:
                self._tasks.do("close", pipe.close)
        self.bus.publish(Answered(source, message))

    # -- small things ---------------------------------------------------------------------------------

    def task(
        self, name: str, function: Callable[..., Any], *arguments: Any, then: Callable[[Any], None]
    ) -> Callable[[], object]:
        """Do file work off the window's thread; ``then(result)`` is called on it.

        A newer task of the same name makes the older one's result go unused. The function that
        comes back forgets the task or, when it has begun, waits for its end.
        """
        self._requests += 1
        key = f"{name}#{self._requests}"
        for old in [k for k in self._pending if k.split("#")[0] == name]:
            del self._pending[old]
        self._pending[key] = then
        return self._tasks.do(key, function, *arguments)

    def _task_done(self, done: TaskDone) -> None:
        then = self._pending.pop(done.name, None)
        if done.name == self._saving:
            self._saving, self._end_saving = "", None
            if done.error is not None:
                self._not_stored(done.error)
            else:
                self._is_refusal_told = False
        elif then is None:  # what was asked for is no longer of interest
            return
        elif done.error is not None:
            self.report(done.error, "That did not work")
        else:
            try:
                then(done.result)
            except SllmError as problem:
                self.report(problem, "That did not work")

    def notify(
        self, kind: str, title: str, text: str = "", action: tuple[str, str] | None = None
    ) -> None:
        """Tell a person."""
        self.bus.publish(Notice(kind, title, text, action))

    def report(self, problem: Exception, title: str) -> None:
        """Tell a person what went wrong, in words."""
        if isinstance(problem, OSError):
            problem = errors.disk_error(problem, problem.filename or "a file")
        explain = _explain(problem.code) if isinstance(problem, SllmError) else None
        self.notify("bad", title, str(problem), explain)

    def _try(self, action: Callable[[], Any]) -> bool:
        try:
            action()
        except (SllmError, OSError) as problem:
            self.report(problem, "The run could not be told")
            return False
        return True

    def start_watch(self) -> None:
        """Begin to read the machine's load (after the first paint)."""
        self._restart_watch(is_first=True)

    def _restart_watch(self, *, is_first: bool = False) -> None:
        if self._watch is None and not is_first:
            return
        if self._watch:
            self._tasks.do("close", self._watch.close)
        self._watch = Watch(self.inbox, self.project.root if self.project else None)


def last_run(project: Project, names: list[str]) -> "tuple[runs.Run, Past, m.RunInfo] | None":
    """The run that is on, else the newest one that began; those that cannot be read are passed."""
    chosen = None
    for n_seen, name in enumerate(reversed(names), start=1):
        if chosen and n_seen > 5:  # only one of the newest can still be on
            break
        try:
            run = runs.open_run(project, name)
        except SllmError:
            continue
        if runs.is_alive(run):
            chosen = run
            break
        if chosen is None and runs.summarize(run).state != "queued":
            chosen = run
    return (chosen, read_past(chosen.folder), runs.summarize(chosen)) if chosen else None


def _explain(code: str) -> tuple[str, str]:
    """The link to what help says about a code."""
    return ("Explain", f"help:troubleshooting#{code}")


def file_hash(path: Path) -> str:
    """SHA-256 of a checkpoint.

    Raises:
        CheckpointError: the file is gone.
    """
    try:
        return projects.file_sha256(path)
    except FileNotFoundError:
        raise CheckpointError(
            "MISSING", f"{path.name} is not in the checkpoints folder any more.",
            todo="Copy it back, or delete it from the list.",
        ) from None  # fmt: skip


def list_runs(project: Project) -> tuple[list[m.RunInfo], list[Row]]:
    """Training runs, newest first, and the checkpoints that are listed."""
    infos = []
    for name in reversed(runs.run_ids(project, "train")):
        try:
            infos.append(runs.summarize(runs.open_run(project, name)))
        except SllmError:  # a folder that is being made, or was damaged: `verify` tells
            continue
    rows = [row for row in Ledger(project).rows() if row.state != "deleting"]
    return infos, sorted(rows, key=lambda row: (row.run, row.step), reverse=True)

"""The open project and everything that goes on in it. Presenters talk to this; no toolkit here.

All methods are called on the window's thread and return at once: files are read and written by
`chores`, work is done by workers, and what they answer comes back through one queue.
"""

import functools
import queue
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sllm_core import config as configs
from sllm_core import presets, sample
from sllm_core import project as projects
from sllm_core.config import ProjectConfig
from sllm_core.errors import LockError, ProjectError, SllmError
from sllm_core.jobs.vitals import Vitals, Watch
from sllm_core.project import Project
from sllm_ui import paths, pipes
from sllm_ui.archive import Archive
from sllm_ui.autosave import Autosave
from sllm_ui.bus import Bus
from sllm_ui.chores import Chores
from sllm_ui.events import ProjectChanged, VitalsChanged
from sllm_ui.facts import Facts
from sllm_ui.news import News
from sllm_ui.now import Now
from sllm_ui.runstate import RunState
from sllm_ui.settings import Settings
from sllm_ui.sources import Sources
from sllm_ui.work import Work


class Session:
    """One window's project, and the parts that do something with it.

    Args:
        settings: what the window remembers.
        inbox: the one queue that every thread puts into.
    """

    def __init__(self, settings: Settings, inbox: "queue.Queue[Any]") -> None:
        self.bus, self.settings, self.inbox = Bus(), settings, inbox
        self.now = Now()
        self.vitals: Vitals | None = None
        self._watch: Watch | None = None
        self.news = News(self.bus, inbox)
        self.chores = Chores(inbox, self.news)
        parts = (self.now, self.news, self.chores)
        self.autosave = Autosave(*parts)
        self.archive = Archive(*parts)
        self.pipes = pipes.Pipes(*parts, inbox)
        self.work = Work(*parts, self.autosave, self.archive, inbox)
        self.sources = Sources(self.now, self.autosave, self.work)

    # -- what is open --------------------------------------------------------------------------

    @property
    def project(self) -> Project | None:
        """The open project."""
        return self.now.project

    @property
    def config(self) -> ProjectConfig:
        """Its settings, stored or not yet."""
        return self.now.config

    @property
    def read_only(self) -> str:
        """Who holds the project, when it is not this window."""
        return self.now.read_only

    @property
    def facts(self) -> Facts:
        """What its data is."""
        return self.now.facts

    @property
    def run(self) -> RunState | None:
        """The training run in view: live, else the last one."""
        return self.now.run

    @property
    def data_job(self) -> RunState | None:
        """A scan or a preparation: live, else the last one."""
        return self.now.data_job

    @property
    def is_training(self) -> bool:
        """Whether the run in view is live."""
        return self.now.is_training

    @property
    def is_on_data(self) -> bool:
        """Whether a scan or a preparation is on."""
        return self.now.is_on_data

    @property
    def is_working(self) -> bool:
        """Whether a job of this project is on."""
        return self.now.is_working

    def why_read_only(self) -> str:
        """Why nothing can be changed here; '' when it can."""
        return self.now.why_read_only()

    def why_not_start(self) -> str:
        """Why training cannot start now; '' when it can."""
        return self.now.why_not_start()

    # -- projects ------------------------------------------------------------------------------

    def open(self, folder: str | Path) -> None:
        """Open a project folder; one that somebody else edits is opened read-only.

        Raises:
            SllmError: there is none, or its settings cannot be read; the old one stays open.
        """
        opened = projects.open_project(folder)
        config = opened.load_config()
        self._let_go()
        self.now.take(opened, config)
        self.settings.remember(opened.root)
        if self._watch:
            self._watch.root = opened.root
        self.bus.publish(ProjectChanged())
        self.work.load_last_run()
        self.work.refresh_data()
        self.archive.refresh()

    def retry_lock(self) -> bool:
        """Try to become the one who edits; True when that worked."""
        if self.project and self.read_only:
            self.now.take_lock()
            if not self.read_only:
                self.now.config = self.project.load_config()
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
        home = Path(self.settings.values.projects_dir or paths.projects_dir())
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
        self.autosave.save_now()
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
        self._let_go()
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
        self._let_go()
        try:
            projects.to_trash(old)
        except SllmError:
            self.open(old.root)
            raise
        self.settings.forget(str(old.root))
        self.bus.publish(ProjectChanged())
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
        self.autosave.save_now()
        self.work.close()
        self.pipes.close()
        self.now.let_go()
        self.archive.clear()
        self.autosave.clear()
        self.chores.forget()

    def close(self) -> None:
        """End of the window: nothing of ours stays behind but runs that should go on."""
        self._let_go()
        if self._watch:
            self._watch.close()
        self.chores.close()

    # -- settings ------------------------------------------------------------------------------

    def change(self, values: dict[str, Any]) -> None:
        """Take over settings by field name; they are stored a moment later.

        Raises:
            ConfigError: a value that cannot be; nothing was changed.
        """
        self.autosave.put(configs.with_values(self.config, values))

    def choose_preset(self, name: str) -> None:
        """The shape and recipe of a preset."""
        self.autosave.put(presets.apply(self.config, presets.find(name)))

    def replace_config(self, config: ProjectConfig) -> None:
        """All settings at once: undo, or those of another run; the sources stay."""
        self.autosave.put(replace(config, sources=self.config.sources))

    # -- the queue -----------------------------------------------------------------------------

    def handle(self, source: str, message: Any, stamp: float) -> None:
        """Take one item of the inbox in; quick, for many come."""
        if source == "vitals":
            self.vitals = message
            self.bus.publish(VitalsChanged(message))
        elif source == "task":
            self.chores.done(message)
        elif source in pipes.SOURCES:
            self.pipes.answered(source, message)
        else:
            self.work.said(source, message, stamp)

    def flush(self) -> None:
        """End of a turn: tell presenters what changed in it."""
        self.news.flush()

    def tick(self) -> None:
        """Called a few times a second: stores settings a moment after the last edit."""
        self.autosave.tick()

    # -- small things --------------------------------------------------------------------------

    def task(
        self, name: str, function: Callable[..., Any], *arguments: Any, then: Callable[[Any], None]
    ) -> None:
        """Do file work off the window's thread; ``then(result)`` is called on it.

        A newer task of the same name makes the older one's result go unused.
        """
        self.chores.do(name, function, *arguments, then=then)

    def notify(
        self, kind: str, title: str, text: str = "", action: tuple[str, str] | None = None
    ) -> None:
        """Tell a person."""
        self.news.notify(kind, title, text, action)

    def report(self, problem: Exception, title: str) -> None:
        """Tell a person what went wrong, in words."""
        self.news.report(problem, title)

    def start_watch(self) -> None:
        """Begin to read the machine's load (after the first paint)."""
        self._watch = Watch(self.inbox, self.project.root if self.project else None)

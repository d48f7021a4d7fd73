"""What is open now: the project, its settings, its data, the run in view."""

from sllm_core.config import ProjectConfig
from sllm_core.errors import SllmError
from sllm_core.project import Lock, Project
from sllm_ui.facts import Facts
from sllm_ui.runstate import RunState


class Now:
    """Plain values that the parts of a session share, and what follows from them."""

    def __init__(self) -> None:
        self.project: Project | None = None
        self.config = ProjectConfig()
        self.read_only = ""  # who holds the project, when it is not this window
        self.facts = Facts()
        self.run: RunState | None = None  # the training run in view: live, else the last one
        self.data_job: RunState | None = None  # a scan or a preparation
        self.blockers: dict[str, str] = {}  # field -> why its text is no value
        self._lock: Lock | None = None

    def take(self, project: Project, config: ProjectConfig) -> None:
        """Open a project; one that somebody else edits is read-only."""
        self.project, self.config = project, config
        self.take_lock()

    def take_lock(self) -> None:
        """Become the one who edits, or learn who is."""
        assert self.project
        lock = self.project.lock("the window")
        try:
            self._lock, self.read_only = lock.acquire(), ""
        except SllmError as problem:  # held by another one, or a place that cannot be written to
            self._lock, self.read_only = None, problem.what

    def let_go(self) -> None:
        """Nothing is open."""
        if self._lock:
            self._lock.release()
        self._lock, self.project, self.read_only = None, None, ""
        self.config, self.facts = ProjectConfig(), Facts()
        self.run = self.data_job = None
        self.blockers = {}

    @property
    def is_training(self) -> bool:
        """Whether the run in view is live."""
        return self.run is not None and self.run.is_live

    @property
    def is_on_data(self) -> bool:
        """Whether a scan or a preparation is on."""
        return self.data_job is not None and self.data_job.is_live

    @property
    def is_working(self) -> bool:
        """Whether a job of this project is on."""
        return self.is_training or self.is_on_data

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
        if self.blockers:
            return next(iter(self.blockers.values()))
        if self.facts.is_scanned and not self.facts.used and not self.is_on_data:
            return "None of the listed files can be used. The Data tab says why."
        return ""

"""The runs and checkpoints of the project: listed, named, kept, checked, deleted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sllm_core import messages as m
from sllm_core import project as projects
from sllm_core.errors import CheckpointError, SllmError
from sllm_core.jobs import runs
from sllm_core.jobs.series import read_past
from sllm_core.ledger import Ledger, Row
from sllm_core.project import Project
from sllm_ui.chores import Chores
from sllm_ui.events import CheckpointWanted, RunChanged, RunsChanged
from sllm_ui.news import News
from sllm_ui.now import Now
from sllm_ui.runstate import RunState


class Archive:
    """Keeps the lists up to date and does to runs and checkpoints what a person asks for."""

    def __init__(self, now: Now, news: News, chores: Chores) -> None:
        self._now, self._news, self._chores = now, news, chores
        self.runs: tuple[m.RunInfo, ...] = ()  # training runs, newest first
        self.checkpoints: tuple[Row, ...] = ()
        self.wanted = ""  # the checkpoint that the Test tab should write with
        self._is_queue_told = False

    def refresh(self) -> None:
        """Read the lists of runs and checkpoints anew."""
        if self._now.project:
            self._chores.do("runs", list_runs, self._now.project, then=self.show)

    def show(self, found: "tuple[list[m.RunInfo], list[Row]]") -> None:
        """Take over what `list_runs` found."""
        self.runs, self.checkpoints = tuple(found[0]), tuple(found[1])
        self._news.mark(RunsChanged)
        if not self._is_queue_told:  # once a project: runs left waiting when it was closed
            self._is_queue_told = True
            n = sum(info.state == "queued" for info in self.runs)
            if n and not self._now.is_training:
                words = "A run is" if n == 1 else f"{n} runs are"
                self._news.notify(
                    "accent", f"{words} waiting", "Start it on the Monitor tab.",
                    ("Show it", "tab_monitor"),
                )  # fmt: skip

    def clear(self) -> None:
        """No project: no runs."""
        self.runs, self.checkpoints, self.wanted = (), (), ""
        self._is_queue_told = False

    def load_past(self, run_id: str, then: Callable[[RunState, runs.Run], None]) -> None:
        """The whole story of any run, for charts; ``then`` is called when it is there."""
        assert self._now.project
        project = self._now.project

        def load() -> tuple[RunState, runs.Run]:
            run = runs.open_run(project, run_id)
            past = read_past(run.folder)
            return RunState.from_past(run, past, runs.summarize(run, past).state), run

        # Not the name that `Work.resume` uses: one of the two would go unheard.
        self._chores.do(f"story {run_id}", load, then=lambda found: then(*found))

    def label_run(self, run_id: str, **changes: Any) -> None:
        """Name, note or pin of a run."""
        if project := self._own_project():
            folder = project.runs_dir / run_id
            label = replace(runs.read_label(folder), **changes)
            self._chores.do("label", runs.write_label, folder, label, then=lambda _: self.refresh())

    def delete_run(self, run_id: str, *, with_checkpoints: bool) -> None:
        """Remove a run that is not live."""
        project = self._own_project()
        if project is None:
            return
        try:
            run = runs.open_run(project, run_id)
        except SllmError as problem:
            self._news.report(problem, "The run was not deleted")
            return
        in_view = self._now.run
        if runs.is_alive(run) or (in_view and in_view.id == run_id and in_view.is_live):
            self._news.notify("warn", "The run is on", "Stop it first, then delete it.")
            return

        def done(_: None) -> None:
            if self._now.run and self._now.run.id == run_id:
                self._now.run = None
                self._news.mark(RunChanged)
            self.refresh()

        self._chores.do(f"delete {run_id}", runs.delete_run, run, with_checkpoints, then=done)

    def pin(self, file: str, is_pinned: bool) -> None:
        """Keep a checkpoint whatever the keep-policy says, or not any more."""
        if project := self._own_project():
            ledger = Ledger(project)
            self._chores.do("pin", ledger.pin, file, is_pinned, then=lambda _: self.refresh())

    def want(self, file: str) -> None:
        """Choose what the Test tab writes with."""
        self.wanted = file
        self._news.bus.publish(CheckpointWanted(file))

    def verify(self, row: Row) -> None:
        """Read a checkpoint whole and say whether it is what was saved."""
        if self._now.project is None:
            return
        path = self._now.project.checkpoints_dir / row.file

        def tell(sha256: str) -> None:
            if sha256 == row.sha256:
                self._news.notify(
                    "good",
                    f"{row.file} is intact",
                    f"Its SHA-256 is the one saved at step {row.step:,}.",
                )
            else:
                self._news.notify(
                    "bad",
                    f"{row.file} is damaged",
                    "Its bytes are not those that were saved. Go on from another one. [E-CKPT-HASH]",
                )

        self._chores.do("verify", file_hash, path, then=tell)

    def delete_checkpoint(self, file: str) -> None:
        """Remove a checkpoint file and its row."""
        if project := self._own_project():
            delete = Ledger(project).delete
            self._chores.do("delete checkpoint", delete, file, then=lambda _: self.refresh())

    def _own_project(self) -> Project | None:
        """The project, when this window may change it."""
        return None if self._now.read_only else self._now.project


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

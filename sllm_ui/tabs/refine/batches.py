"""What was moved to `_trash` or left out, batch by batch, and the way back."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sllm_core import fmt
from sllm_core.config import ProjectConfig
from sllm_core.corpus.index import Index
from sllm_core.project import Project
from sllm_ui.session import Session

WHAT = {"exact": "exact copies", "near": "near copies", "copy": "copies"}
ONE = {"exact": "exact copy", "near": "near copy", "copy": "copy"}
TRASH = "_trash"


@dataclass(frozen=True)
class Batch:
    """Files that went in one go."""

    id: int
    kind: str  # trash | exclude
    created: float
    n_files: int
    n_bytes: int
    state: str  # done | undone | partial
    reason: str = ""  # when it is one for all of them
    source_id: int = 0  # of the first file

    @property
    def can_return(self) -> bool:
        """Whether there is something to bring back."""
        return self.state != "undone" and self.n_files > 0

    @property
    def words(self) -> str:
        """Such as ``3,118 exact copies moved to _trash, 41.2 MiB.``."""
        names = ONE if self.n_files == 1 else WHAT
        what = names.get(self.reason, "file" if self.n_files == 1 else "files")
        verb = "moved to _trash" if self.kind == "trash" else "left out where they are"
        part = " Some of them are back." if self.state == "partial" else ""
        return f"{self.n_files:,} {what} {verb}, {fmt.size(self.n_bytes)}.{part}"

    @property
    def when(self) -> str:
        """Day and time on this computer."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.created))


def read(project: Project) -> tuple[Batch, ...]:
    """All batches, newest first."""
    if not project.db_path.exists():
        return ()
    with Index(project.db_path, is_checked=False) as index:
        found = list(
            index.read("SELECT id, kind, created, n_files, n_bytes, state FROM batches ORDER BY id")
        )
        reasons: dict[int, tuple[str, int]] = {}
        for batch, reason, n, source in index.read(
            "SELECT batch, MIN(reason), COUNT(DISTINCT reason), MIN(source_id) FROM trash "
            "GROUP BY batch"
        ):
            reasons[batch] = (reason if n == 1 else "", source)
    made = []
    for number, kind, created, n_files, n_bytes, state in reversed(found):
        if n_files:
            of_all = reasons.get(number, ("", 0))
            made.append(Batch(number, kind, created, n_files, n_bytes, state, *of_all))
    return tuple(made)


class Batches:
    """The undo bar and the list behind it.

    Args:
        changed: tells the batch in the bar and the list.
    """

    def __init__(
        self, session: Session, changed: Callable[[Batch | None, tuple[Batch, ...]], None]
    ) -> None:
        self._session, self._changed = session, changed
        self.clear()

    def clear(self) -> None:
        """Another project."""
        self.all: tuple[Batch, ...] = ()
        self._dismissed = 0  # the newest batch whose bar was closed

    def refresh(self) -> None:
        """Read them anew."""
        if self._session.project:
            self._session.task("batches", read, self._session.project, then=self._show)

    def _show(self, found: tuple[Batch, ...]) -> None:
        self.all = found
        self._tell()

    def _tell(self) -> None:
        found = (one for one in self.all if one.can_return and one.id > self._dismissed)
        self._changed(next(found, None), self.all)

    def dismiss(self) -> None:
        """Close the bar; the list still has the batch."""
        if self.all:
            self._dismissed = self.all[0].id
        self._tell()

    def undo(self, batch: int) -> None:
        """Bring the files of a batch back."""
        self._session.work.start("restore", batch=batch)

    def undo_last(self) -> None:
        """Bring the newest batch back that is not back yet."""
        newest = next((batch for batch in self.all if batch.can_return), None)
        if newest is None:
            self._session.notify(
                "accent", "There is nothing to undo", "No file was moved or left out."
            )
        else:
            self.undo(newest.id)

    def folder(self, batch: Batch) -> Path | None:
        """Where the files of a batch lie; None when they were not moved."""
        project = self._session.project
        if batch.kind != "trash" or project is None:
            return None
        return trash_folder(project.root, self._session.config, batch.source_id)


def trash_folder(root: Path, config: ProjectConfig, source_id: int) -> Path | None:
    """The trash of a source: beside its files."""
    with contextlib.suppress(StopIteration):
        source = next(one for one in config.sources if one.id == source_id)
        place = root / source.path
        return (place if place.is_dir() else place.parent) / TRASH
    return None

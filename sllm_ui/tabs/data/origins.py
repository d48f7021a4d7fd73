"""The sources in the table: chosen, switched, changed, removed and put back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sllm_core.config import MAX_WEIGHT, SourceConfig
from sllm_core.errors import ConfigError, SllmError
from sllm_core.project import Project
from sllm_ui.bus import Store
from sllm_ui.session import Session
from sllm_ui.tabs.data import source_rows
from sllm_ui.tabs.data.state import State, refuse


class Origins:
    """What a person does with the list of sources.

    Args:
        refresh: works out the state anew.
    """

    def __init__(self, session: Session, store: Store[State], refresh: Callable[[], None]) -> None:
        self._session, self._store, self._refresh = session, store, refresh
        self._undo: tuple[Project | None, SourceConfig | None] = (None, None)
        self.clear()

    def clear(self) -> None:
        """Another project."""
        self.problems: dict[int, str] = {}  # of sources, by id
        self._asked: tuple[SourceConfig, ...] | None = None
        self._forget_weight()

    def check(self, *, is_forced: bool = False) -> None:
        """Ask the file system which sources are there; it may take its time."""
        session = self._session
        sources = session.config.sources
        if session.project is None or (sources == self._asked and not is_forced):
            return
        self._asked = sources

        def show(found: dict[int, str]) -> None:
            if found != self.problems:
                self.problems = found
                self._refresh()

        session.task("sources", source_rows.find_problems, session.project.root, sources, then=show)

    def add(self, paths: list[str]) -> None:
        """Files and folders that are not sources yet."""
        session = self._session
        if refuse(self._session):
            return
        before = {source.id for source in session.config.sources}
        try:
            n_new = session.sources.add(paths)
        except (SllmError, OSError) as problem:
            session.report(problem, "Nothing was added")
            return
        if not n_new:
            session.notify("accent", "That is a source already", "Nothing was added.")
            return
        added = [source.id for source in session.config.sources if source.id not in before]
        self._store.update(selected=added[0])

    def select(self, source_id: int) -> None:
        """Show this source; what was typed wrong for another one is forgotten."""
        self._store.update(selected=source_id)
        if source_id != self.weight[0]:
            self._forget_weight()
        self._refresh()

    def switch(self, source_id: int) -> None:
        """On or off."""
        found = self._source(source_id)
        if found and not refuse(self._session):
            self._session.sources.change(source_id, is_on=not found.is_on)

    def set_exclude(self, source_id: int, text: str) -> None:
        """Patterns of what the source leaves out, with commas between them."""
        self._change(source_id, exclude=source_rows.patterns(text))

    def set_include(self, source_id: int, text: str) -> None:
        """Patterns of the only files that are read, with commas between them; none: all."""
        self._change(source_id, include=source_rows.patterns(text))

    def set_weight(self, source_id: int, text: str) -> None:
        """How often the source is read, or beneath the field why not."""
        try:
            weight = source_rows.parse_weight(text)
            self._change(source_id, weight=weight)
        except (ValueError, ZeroDivisionError, ConfigError):
            self.weight = (source_id, text)
            self.errors = {
                "weight": f"A number above 0 and at most {MAX_WEIGHT}, such as 2 or 0.5."
            }
        else:
            self._forget_weight()
        self._refresh()

    def _forget_weight(self) -> None:
        self.weight, self.errors = (0, ""), {}

    def _change(self, source_id: int, **values: Any) -> None:
        found = self._source(source_id)
        is_same = found is None or all(getattr(found, name) == new for name, new in values.items())
        if not is_same and not refuse(self._session):
            self._session.sources.change(source_id, **values)

    def remove(self, source_id: int) -> None:
        """Take it out of the project; a toast offers to undo that."""
        if self._source(source_id) is None or refuse(self._session):
            return
        removed = self._session.sources.remove(source_id)
        self._undo = (self._session.project, removed)

    def take_undo(self) -> tuple[str, Callable[[], None]] | None:
        """(what was removed, how to bring it back) once after `remove`, for the toast."""
        project, removed = self._undo
        self._undo = (None, None)
        if project is None or removed is None:
            return None

        def restore() -> None:
            same = self._session.project is not None and self._session.project.root == project.root
            if same and self._source(removed.id) is None and not refuse(self._session):
                self._session.sources.restore(removed)
                self._store.update(selected=removed.id)

        place = str((project.root / removed.path).absolute())
        return source_rows.short_path(place, str(Path.home())), restore

    def place(self, source_id: int) -> Path | None:
        """Where a source is, for the file manager."""
        found = self._source(source_id)
        if found is None or self._session.project is None:
            return None
        return self._session.project.source_root(found)

    def _source(self, source_id: int) -> SourceConfig | None:
        return next((s for s in self._session.config.sources if s.id == source_id), None)

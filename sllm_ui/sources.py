"""Where the text of the project comes from: sources are added, changed, removed, put back."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sllm_core import project as projects
from sllm_core.config import SourceConfig
from sllm_ui.autosave import Autosave
from sllm_ui.now import Now
from sllm_ui.work import Work


class Sources:
    """Edits the list of sources; every change but that of a weight scans."""

    def __init__(self, now: Now, autosave: Autosave, work: Work) -> None:
        self._now, self._autosave, self._work = now, autosave, work

    def add(self, paths: Iterable[str]) -> int:
        """Add files and folders that are not sources yet and scan; returns how many were new.

        Raises:
            DataError: one of them does not exist; none was added.
        """
        project, config = self._now.project, self._now.config
        assert project
        known = {project.source_root(source).resolve() for source in config.sources}
        fresh = []
        for path in paths:
            place = Path(path).expanduser().resolve()
            if place not in known:
                known.add(place)
                fresh.append(path)
        made = projects.make_sources(project.root, fresh)
        first = max((source.id for source in config.sources), default=0) + 1
        numbered = tuple(replace(source, id=first + i) for i, source in enumerate(made))
        if numbered:
            self._put((*config.sources, *numbered))
        return len(numbered)

    def change(self, source_id: int, **changes: Any) -> None:
        """Switch a source on or off, or change what is read of it, or how often."""
        sources = tuple(
            replace(source, **changes) if source.id == source_id else source
            for source in self._now.config.sources
        )
        self._put(sources, is_scanned=set(changes) != {"weight"})

    def remove(self, source_id: int) -> SourceConfig | None:
        """Take a source out of the project; its files are not touched."""
        found = next((s for s in self._now.config.sources if s.id == source_id), None)
        rest = tuple(s for s in self._now.config.sources if s.id != source_id)
        self._put(rest)
        return found

    def restore(self, source: SourceConfig) -> None:
        """Undo `remove`; one that took its number meanwhile keeps it."""
        there = self._now.config.sources
        if any(s.path == source.path for s in there):
            return
        if any(s.id == source.id for s in there):
            source = replace(source, id=max(s.id for s in there) + 1)
        sources = tuple(sorted((*there, source), key=lambda s: s.id))
        self._put(sources)

    def _put(self, sources: tuple[SourceConfig, ...], *, is_scanned: bool = True) -> None:
        self._autosave.put(replace(self._now.config, sources=sources))
        if is_scanned:
            self._work.scan_soon()

"""The page of files: which are listed, what a reason means, one of them to look at."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sllm_core import fmt
from sllm_core.corpus.index import decode_path
from sllm_ui.bus import Store
from sllm_ui.session import Session
from sllm_ui.tabs.data import lists
from sllm_ui.tabs.data.lists import File, Query
from sllm_ui.tabs.data.state import ListView, State


class Listing:
    """Lists of used, unused and converted files, read a page at a time.

    Args:
        place: where a source is.
        look: shows a file in the preview, with its place in the list of used ones (-1: none).
    """

    def __init__(
        self,
        session: Session,
        store: Store[State],
        place: Callable[[int], Path | None],
        look: Callable[[File, int], None],
    ) -> None:
        self._session, self._store, self._place, self._look = session, store, place, look
        self._pages = lists.Pages(self._load_page)

    def clear(self) -> None:
        """Other rows from now on."""
        self._pages.clear()

    def renew(self) -> None:
        """Other files are there now."""
        self._pages.clear()
        if self._store.state.page == "files":
            self._count_files()

    def explain_reason(self, reason: str) -> None:
        """Say what a reason means."""
        self._store.update(reason=reason)

    def open_unused(self) -> None:
        """The page of files that are not used: of the reason that is explained, else of all."""
        state = self._store.state
        known = {row.reason for row in state.reasons}
        self.open("unused", state.reason if state.reason in known else "")

    def open(self, kind: str, reason: str = "") -> None:
        """The page of files: used, unused or converted."""
        self._store.update(page="files", files=ListView(Query(kind, reason)))
        self._count_files()

    def close(self) -> None:
        """Back to the tab."""
        self._store.update(page="main")

    def filter(self, **changes: str) -> None:
        """Another kind, reason or search text."""
        files = self._store.state.files
        query = replace(files.query, **changes)
        if "kind" in changes and changes["kind"] != files.query.kind:
            query = replace(query, reason="")
        if query != files.query:
            self._store.update(files=replace(files, query=query, selected=0))
            self._count_files()

    def select(self, row: int) -> None:
        """Remember the row that is chosen."""
        self._store.update(files=replace(self._store.state.files, selected=row))

    def file(self, row: int) -> File | None:
        """A row of the list; None while it is being read."""
        return self._pages.row(row)

    def place(self, row: int) -> Path | None:
        """Where a file of the list is, for the file manager."""
        found = self._pages.row(row)
        root = self._place(found.source_id) if found else None
        if found is None or root is None:
            return None
        return root / decode_path(found.path) if found.path else root

    def show(self, row: int) -> None:
        """Show a file of the list in the preview."""
        found = self._pages.row(row)
        if found is None:
            return
        query = self._store.state.files.query
        is_whole = query.kind == "used" and not query.search
        self._store.update(page="main")
        self._look(found, row if is_whole else -1)

    def copy(self, then: Callable[[str, int], None]) -> None:
        """All paths of the list as a text: ``then(text, number of files)``."""
        session = self._session
        if session.project:
            query = self._store.state.files.query
            session.task(
                "copy files", lists.as_text, session.project, query,
                then=lambda found: then(*found),
            )  # fmt: skip

    def export(self, path: Path) -> None:
        """Write the whole list into a file: `.csv` as a table, else as lines."""
        session = self._session
        if session.project is None:
            return

        def told(n: int) -> None:
            words = f"{n:,} {'file' if n == 1 else 'files'} in {fmt.path_text(path.name)}."
            session.notify("good", "The list is written", words)

        query = self._store.state.files.query
        session.task("export", lists.export, session.project, query, path, then=told)

    def _count_files(self) -> None:
        session, query = self._session, self._store.state.files.query
        self._pages.clear()
        if session.project is None:
            return

        def show(total: int) -> None:
            files = self._store.state.files
            if files.query == query:
                selected = min(files.selected, max(0, total - 1))
                files = replace(files, total=total, selected=selected, version=files.version + 1)
                self._store.update(files=files)

        session.task("count files", lists.count, session.project, query, then=show)

    def _load_page(self, number: int) -> None:
        session, query = self._session, self._store.state.files.query
        if session.project is None:
            return

        def show(rows: tuple[File, ...]) -> None:
            files = self._store.state.files
            if files.query == query:
                self._pages.put(number, rows)
                self._store.update(files=replace(files, version=files.version + 1))

        name = f"files {number}"  # pages do not replace each other
        session.task(name, lists.read_page, session.project, query, number, then=show)

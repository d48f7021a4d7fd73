"""Lists of files from the project's index, a page at a time, so that their number never matters."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from sllm_core.corpus import report
from sllm_core.corpus.index import Index
from sllm_core.project import Project

PAGE = 200
KEPT = 40  # pages in memory
MOST_TABLES = 4  # that are looked into for their columns
COPIED = 50_000  # lines that go to the clipboard at most


@dataclass(frozen=True)
class Query:
    """Which files."""

    kind: str = "unused"  # used | unused | converted
    reason: str = ""  # of unused ones; '' is all
    search: str = ""  # part of the path


@dataclass(frozen=True)
class File:
    """One listed file."""

    source_id: int
    path: bytes
    name: str  # safe to show
    size: int
    state: str
    reason: str
    encoding: str
    tokens: int | None
    records: int | None = None  # documents of a table


class Pages:
    """The pages that were read; asks for one that is missing, once.

    Args:
        load: begins to read a page; `put` brings it.
    """

    def __init__(self, load: Callable[[int], None]) -> None:
        self._load = load
        self._pages: OrderedDict[int, tuple[File, ...]] = OrderedDict()
        self._asked: set[int] = set()

    def row(self, number: int) -> File | None:
        """A row, None while its page is being read."""
        page, place = divmod(number, PAGE)
        rows = self._pages.get(page)
        if rows is None:
            if page not in self._asked:
                self._asked.add(page)
                self._load(page)
            return None
        return rows[place] if place < len(rows) else None

    def put(self, page: int, rows: tuple[File, ...]) -> None:
        """A page is there."""
        self._asked.discard(page)
        self._pages[page] = rows
        while len(self._pages) > KEPT:
            self._pages.popitem(last=False)

    def clear(self) -> None:
        """Other rows from now on."""
        self._pages.clear()
        self._asked.clear()


def count(project: Project, query: Query) -> int:
    """How many files there are of a kind; reads the index, so never on Tk's thread."""
    if not project.db_path.exists():
        return 0
    with Index(project.db_path, is_checked=False) as index:
        return index.count_list(query.kind, query.reason, query.search)


def read_page(project: Project, query: Query, page: int) -> tuple[File, ...]:
    """A page of them."""
    return _read(project, query, page * PAGE, PAGE)


def read_at(project: Project, position: int) -> tuple[File, ...]:
    """The used file at a place, or nothing."""
    return _read(project, Query("used"), position, 1)


def find_tables(project: Project, source_id: int) -> tuple[bytes, ...]:
    """A few tables of a source: one of each ending, those whose columns were not found first."""
    if not project.db_path.exists():
        return ()
    with Index(project.db_path, is_checked=False) as index:
        rows = index.read(
            "SELECT path, path_text FROM files WHERE source_id = ? AND (reason = 'columns' OR "
            "(state = 'used' AND records IS NOT NULL)) ORDER BY state = 'used', path LIMIT 2000",
            (source_id,),
        )
        found: dict[str, bytes] = {}
        for path, name in rows:
            found.setdefault(PurePath(name).suffix.lower(), path)
    return tuple(found.values())[:MOST_TABLES]


def export(project: Project, query: Query, path: Path) -> int:
    """Write the list into a file, `.csv` as a table, else as lines; returns how many files.

    Raises:
        DiskError: it could not be written; what was there before is unchanged.
    """
    write = report.write_csv if path.suffix.lower() == ".csv" else report.write_lines
    with Index(project.db_path, is_checked=False) as index:
        return write(index, path, (query.kind,), reason=query.reason, search=query.search)


def as_text(project: Project, query: Query) -> tuple[str, int]:
    """Their paths, a line each with the reason, as (text, number of lines)."""
    files = _read(project, query, 0, COPIED)
    lines = [f"{file.name}\t{file.reason or file.encoding}" for file in files]
    return "\n".join(lines) + ("\n" if lines else ""), len(lines)


def _read(project: Project, query: Query, offset: int, limit: int) -> tuple[File, ...]:
    if not project.db_path.exists():
        return ()
    with Index(project.db_path, is_checked=False) as index:
        found = index.list_files(
            query.kind, offset, limit, reason=query.reason, search=query.search
        )
    return tuple(
        File(
            row.source_id, row.path, row.path_text, row.size, row.state, row.reason,
            row.encoding or "", tokens, row.records,
        )
        for row, tokens in found
    )  # fmt: skip

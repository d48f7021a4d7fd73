"""`project.db`: one row for every listed file, and the cache of tokens; SQLite, nothing else."""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sllm_core import faults
from sllm_core.errors import ProjectError, disk_error

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
_SCHEMA_1 = """
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    source_id INTEGER NOT NULL,
    path BLOB NOT NULL,             -- bytes below the source, as the system has them
    path_text TEXT NOT NULL,        -- the same, safe to show
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, dev INTEGER NOT NULL, inode INTEGER NOT NULL,
    state TEXT NOT NULL,            -- used | skipped | failed
    reason TEXT NOT NULL,           -- '' when used, else a stable word
    raw_hash BLOB, text_hash BLOB,  -- xxh3-128 of the bytes, of the cleaned text
    encoding TEXT, is_converted INTEGER, clean_key TEXT,
    chars INTEGER, text_bytes INTEGER, lines INTEGER,
    split TEXT,                     -- train | val | both (sections), NULL until prepared
    tokens INTEGER,                 -- NULL until prepared
    scan_id INTEGER NOT NULL,       -- of the scan that last wrote the row
    UNIQUE (source_id, path)
);
CREATE INDEX files_by_state ON files (state, reason);
CREATE TABLE cache (
    text_hash BLOB NOT NULL, tokenizer_hash TEXT NOT NULL,
    segment TEXT NOT NULL, start INTEGER NOT NULL, n_tokens INTEGER NOT NULL, span_hash BLOB NOT NULL,
    PRIMARY KEY (text_hash, tokenizer_hash)
) WITHOUT ROWID;
"""
_SCHEMA_2 = """
ALTER TABLE files ADD COLUMN kind TEXT;          -- code prose table notebook book page pdf data
ALTER TABLE files ADD COLUMN lang TEXT;          -- of code its language, of prose such as en
ALTER TABLE files ADD COLUMN extractor TEXT;     -- '' for plain text, else what made text of it
ALTER TABLE files ADD COLUMN converted INTEGER;  -- characters that had to be replaced
ALTER TABLE files ADD COLUMN records INTEGER;    -- documents of a table
ALTER TABLE files ADD COLUMN score INTEGER;      -- 0 to 100, NULL until analysed
ALTER TABLE files ADD COLUMN reasons TEXT;       -- JSON list of {code, value, limit}
ALTER TABLE files ADD COLUMN flags TEXT;         -- JSON object: generated, secrets, emails ...
ALTER TABLE files ADD COLUMN dup_kind TEXT;      -- '' | exact | near
ALTER TABLE files ADD COLUMN duplicate_of INTEGER;  -- id of the file that is kept
ALTER TABLE files ADD COLUMN cluster_id BLOB;    -- text hash of the oldest member
ALTER TABLE files ADD COLUMN similarity REAL;    -- true Jaccard with the file that is kept
ALTER TABLE files ADD COLUMN tokenizer_hash TEXT;   -- of the tokenizer that counted its tokens
ALTER TABLE files ADD COLUMN scanned_at REAL;
CREATE TABLE analysis (             -- what was measured of a text; files of one text share it
    text_hash BLOB PRIMARY KEY, version TEXT NOT NULL, model_version TEXT NOT NULL,
    kind TEXT NOT NULL, lang TEXT NOT NULL, score INTEGER, reasons TEXT NOT NULL,
    metrics TEXT NOT NULL, flags TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE signatures (           -- MinHash of a text, and the cluster it once joined
    text_hash BLOB PRIMARY KEY, version TEXT NOT NULL, n_tokens INTEGER NOT NULL,
    signature BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE clusters (             -- membership never changes when files are added
    text_hash BLOB PRIMARY KEY, threshold REAL NOT NULL, cluster_id BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE sides (                -- the side of the split that a cluster was once given
    key BLOB PRIMARY KEY, share REAL NOT NULL, side TEXT NOT NULL, section_chars INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE batches (              -- what was moved or left out in one go, for Undo
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, created REAL NOT NULL, n_files INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL, state TEXT NOT NULL
);
CREATE TABLE trash (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, source_id INTEGER NOT NULL, path BLOB NOT NULL,
    target BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, raw_hash BLOB,
    reason TEXT NOT NULL, state TEXT NOT NULL
);
CREATE INDEX trash_by_batch ON trash (batch, state);
CREATE TABLE excluded (
    source_id INTEGER NOT NULL, path BLOB NOT NULL, batch INTEGER NOT NULL,
    PRIMARY KEY (source_id, path)
) WITHOUT ROWID;
"""
# From schema n to n + 1, in order.
_MIGRATIONS = (_SCHEMA_1, _SCHEMA_2)


@dataclass(frozen=True, slots=True)
class FileRow:
    """One listed file, as the scan leaves it."""

    source_id: int
    path: bytes
    path_text: str
    size: int
    mtime_ns: int
    dev: int
    inode: int
    state: str
    reason: str = ""
    raw_hash: bytes | None = None
    text_hash: bytes | None = None
    encoding: str | None = None
    is_converted: bool | None = None
    clean_key: str | None = None
    chars: int | None = None
    text_bytes: int | None = None
    lines: int | None = None
    kind: str | None = None
    lang: str | None = None
    extractor: str | None = None  # '' for plain text
    converted: int | None = None
    records: int | None = None
    id: int | None = None


_COLUMNS = [
    "source_id",
    "path",
    "path_text",
    "size",
    "mtime_ns",
    "dev",
    "inode",
    "state",
    "reason",
    "raw_hash",
    "text_hash",
    "encoding",
    "is_converted",
    "clean_key",
    "chars",
    "text_bytes",
    "lines",
    "kind",
    "lang",
    "extractor",
    "converted",
    "records",
]
_SELECT = f"SELECT {', '.join(_COLUMNS)}, id FROM files"
_OF_THE_TEXT = (
    "split", "tokens", "tokenizer_hash", "score", "reasons", "flags", "dup_kind", "duplicate_of",
    "cluster_id", "similarity",
)  # fmt: skip
# What is known of a text stays with its file as long as the text is the same.
_KEPT = ", ".join(
    f"{name} = CASE WHEN text_hash IS excluded.text_hash THEN {name} END" for name in _OF_THE_TEXT
)


# What a scan compares a listed file with: path, id, size, mtime_ns, dev, inode, reason,
# clean_key, text_bytes, extractor, raw_hash (of extracted ones). Plain tuples, because the
# collector of garbage leaves these alone.
Known = tuple[bytes, int, int, int, int, int, str, str | None, int | None, str | None, bytes | None]


@dataclass(frozen=True)
class Span:
    """Where the cached tokens of a text lie."""

    segment: str
    start: int
    n_tokens: int
    span_hash: bytes


class Index:
    """An open `project.db`; one connection, for the thread that made it.

    Raises:
        ProjectError: E-PROJECT-DB, the file is damaged or newer; it is not changed.
    """

    def __init__(self, path: Path, *, is_checked: bool = True) -> None:
        self.path, self._is_checked = path, is_checked
        is_new = not path.exists()
        try:
            self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        except sqlite3.DatabaseError as problem:
            raise _damaged(path, str(problem)) from problem
        try:
            self._open(is_new)
        except sqlite3.DatabaseError as problem:
            self.close()
            raise _damaged(path, str(problem)) from problem
        except ProjectError:
            self.close()
            raise

    def _open(self, is_new: bool) -> None:
        self._db.execute("PRAGMA busy_timeout = 5000")
        if not is_new and self._is_checked:
            self._check()
        mode = self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":  # some network drives have no shared memory
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
        self._db.execute("PRAGMA synchronous = FULL")
        self._migrate()

    def _migrate(self) -> None:
        """Bring an older file to the present schema, step by step, each whole or not at all."""
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if 0 < version < SCHEMA_VERSION:
            self._copy_to(self.path.with_suffix(f".db.schema{version}"))
            log.info("%s goes from schema %d to %d", self.path.name, version, SCHEMA_VERSION)
        for number in range(version, SCHEMA_VERSION):
            steps = (
                f"BEGIN IMMEDIATE;{_MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;"
            )
            try:
                self._db.executescript(steps)
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if self._db.execute("PRAGMA user_version").fetchone()[0] <= number:
                    raise  # else another one brought it there while we waited

    def _check(self) -> None:
        verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _damaged(self.path, verdict)
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise _damaged(self.path, f"it was written by a newer version (schema {version})")
        if not version and self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise _damaged(self.path, "it is a database of another program")
        copy = self.path.with_suffix(".db.copy")
        try:  # one good copy a day of use; SQLite makes it, for part may still be in its journal
            if not copy.exists() or copy.stat().st_mtime < time.time() - 86_400:
                self._copy_to(copy)
        except (OSError, sqlite3.OperationalError) as problem:
            log.warning("no copy of %s was made: %s", self.path.name, problem)

    def _copy_to(self, copy: Path) -> None:
        """A whole copy beside it; what is still in the journal goes along."""
        fresh = copy.with_name(f"{copy.name}.new")
        fresh.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(fresh)) as target:
            self._db.backup(target)
        fresh.replace(copy)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def __enter__(self) -> "Index":
        """For a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def read(self, statement: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT, a thousand at a time, so that their number does not matter."""
        found = self._db.execute(statement, values)
        while rows := found.fetchmany(1000):
            yield from rows

    def write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Execute a statement for every row in one transaction.

        Raises:
            DiskError: no room; nothing of it was written.
            ProjectError: the file is damaged.
        """
        self.write_all([(statement, rows)])

    def write_all(self, steps: Iterable[tuple[str, Iterable[tuple[object, ...]]]]) -> None:
        """Several statements, each for its rows, in one transaction: all of it or nothing."""
        todo = [(statement, listed) for statement, rows in steps if (listed := list(rows))]
        if not todo:
            return
        try:
            faults.passage("db.commit")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, rows in todo:
                    self._db.executemany(statement, rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as problem:
            if "full" in str(problem):
                full = OSError(28, "No space left on device")
                raise disk_error(full, self.path.name) from problem
            raise _damaged(self.path, str(problem)) from problem
        except OSError as problem:
            raise disk_error(problem, self.path.name) from problem

    def next_scan_id(self) -> int:
        """A number no row has yet."""
        return int(
            self._db.execute("SELECT COALESCE(MAX(scan_id), 0) + 1 FROM files").fetchone()[0]
        )

    def put_files(self, rows: Iterable[FileRow], scan_id: int) -> None:
        """Insert or replace rows by (source, path); a changed text forgets split and tokens."""
        names, now = ", ".join(_COLUMNS), time.time()
        marks = ", ".join("?" * len(_COLUMNS))
        updates = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)
        self.write(
            f"INSERT INTO files ({names}, scan_id, scanned_at) VALUES ({marks}, ?, ?) "
            f"ON CONFLICT (source_id, path) DO UPDATE SET {updates}, scan_id = excluded.scan_id, "
            f"scanned_at = excluded.scanned_at, {_KEPT}",
            [(*(getattr(row, name) for name in _COLUMNS), scan_id, now) for row in rows],
        )

    def remove(self, ids: Iterable[int]) -> None:
        """Drop rows of files that are no longer there."""
        self.write("DELETE FROM files WHERE id = ?", [(i,) for i in ids])

    def fail_file(self, file_id: int, reason: str) -> None:
        """A used file turned out unusable when it was read again."""
        self.write(
            "UPDATE files SET state = 'failed', reason = ?, split = NULL, tokens = NULL "
            "WHERE id = ?",
            [(reason, file_id)],
        )

    def set_tokens(
        self,
        rows: Iterable[tuple[str, int, int]],
        tokenizer_hash: str,
        sides: Iterable[tuple[bytes, float, str, int]],
    ) -> None:
        """Store (split, tokens, file id) after encoding, and the sides that were decided."""
        counted = ((split, tokens, tokenizer_hash, file_id) for split, tokens, file_id in rows)
        update = "UPDATE files SET split = ?, tokens = ?, tokenizer_hash = ? WHERE id = ?"
        sided = "INSERT OR REPLACE INTO sides (key, share, side, section_chars) VALUES (?, ?, ?, ?)"
        self.write_all([(update, counted), (sided, sides)])

    def known_files(self) -> dict[int, dict[bytes, Known]]:
        """All rows: source -> path -> what a scan compares with."""
        names = (
            "path, id, size, mtime_ns, dev, inode, reason, clean_key, text_bytes, extractor, "
            "CASE WHEN extractor != '' THEN raw_hash END"
        )
        return {  # + keeps SQLite from its index: reading the table from end to end is faster
            source_id: {
                row[0]: row
                for row in self._db.execute(
                    f"SELECT {names} FROM files WHERE +source_id = ?", (source_id,)
                )
            }
            for (source_id,) in self._db.execute("SELECT DISTINCT source_id FROM files").fetchall()
        }

    def used_files(self) -> Iterator[FileRow]:
        """Used rows in their fixed order: source, then path bytes; read in pages, by key."""
        where = "WHERE state = 'used' AND (source_id, path) > (?, ?) ORDER BY source_id, path"
        after: tuple[object, ...] = (-(1 << 62), b"")
        while rows := self._db.execute(f"{_SELECT} {where} LIMIT 1000", after).fetchall():
            yield from (FileRow(*row) for row in rows)
            after = rows[-1][0], rows[-1][1]

    def rows_by_id(self, ids: Iterable[int]) -> Iterator[FileRow]:
        """Rows in the order of ``ids``; those that are gone are passed over."""
        for file_id in ids:
            row = self._db.execute(f"{_SELECT} WHERE id = ?", (file_id,)).fetchone()
            if row:
                yield FileRow(*row)

    def excluded(self) -> dict[int, frozenset[bytes]]:
        """Paths that a user left out, by source."""
        found: dict[int, set[bytes]] = {}
        for source_id, path in self.read("SELECT source_id, path FROM excluded"):
            found.setdefault(source_id, set()).add(path)
        return {source_id: frozenset(paths) for source_id, paths in found.items()}

    def find_file(self, source_id: int, path: bytes) -> FileRow | None:
        """The row of one listed file."""
        where = "WHERE source_id = ? AND path = ?"
        row = self._db.execute(f"{_SELECT} {where}", (source_id, path)).fetchone()
        return FileRow(*row) if row else None

    def count_list(self, kind: str, reason: str = "", search: str = "") -> int:
        """Files that `list_files` lists."""
        where, values = _list_where(kind, reason, search)
        return int(self._db.execute(f"SELECT COUNT(*) FROM files {where}", values).fetchone()[0])

    def list_files(
        self, kind: str, offset: int, limit: int, *, reason: str = "", search: str = ""
    ) -> list[tuple[FileRow, int | None]]:
        """A page of the files (kind used, unused or converted), each with its tokens if known."""
        where, values = _list_where(kind, reason, search)
        order = "state, reason, id" if kind == "unused" else "source_id, path"
        found = self._db.execute(
            f"SELECT {', '.join(_COLUMNS)}, id, tokens FROM files {where} ORDER BY {order} "
            "LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [(FileRow(*row[:-1]), row[-1]) for row in found]

    def by_extension(self) -> list[tuple[str, int, int]]:
        """(ending such as '.py', files, text bytes) of used files, the most text first.

        A name without an ending counts under ''.
        """
        found: dict[str, list[int]] = {}
        rows = self._db.execute("SELECT path_text, text_bytes FROM files WHERE state = 'used'")
        for name, size in rows:
            base = name[name.rfind("/") + 1 :]
            dot = base.rfind(".")
            entry = found.setdefault(base[dot:].lower() if dot > 0 else "", [0, 0])
            entry[0] += 1
            entry[1] += size or 0
        listed = [(ending, n, size) for ending, (n, size) in found.items()]
        return sorted(listed, key=lambda row: (-row[2], row[0]))

    def by_source(self) -> list[tuple[int, int, int]]:
        """(source id, files, text bytes) of used files."""
        found = self._db.execute(
            "SELECT source_id, COUNT(*), COALESCE(SUM(text_bytes), 0) FROM files "
            "WHERE state = 'used' GROUP BY 1 ORDER BY 1"
        )
        return [tuple(row) for row in found]

    def encoded_by_source(self) -> list[tuple[int, int, int]]:
        """(source id, tokens of its used files, how many of these have none yet)."""
        found = self._db.execute(
            "SELECT source_id, COALESCE(SUM(tokens), 0), SUM(tokens IS NULL) FROM files "
            "WHERE state = 'used' GROUP BY 1"
        )
        return [tuple(row) for row in found]

    def unused_files(self, limit: int, *, but: tuple[str, ...] = ()) -> list[FileRow]:
        """Skipped and failed rows, for the report, without those of the reasons ``but``."""
        marks = ", ".join("?" * len(but))
        where = f"WHERE state != 'used' AND reason NOT IN ({marks})"
        order = "ORDER BY state, reason, source_id, path LIMIT ?"
        found = self._db.execute(f"{_SELECT} {where} {order}", (*but, limit))
        return [FileRow(*row) for row in found]

    def converted_files(self, limit: int) -> list[FileRow]:
        """Used files that were not UTF-8, for the report."""
        where = "WHERE state = 'used' AND is_converted ORDER BY source_id, path LIMIT ?"
        return [FileRow(*row) for row in self._db.execute(f"{_SELECT} {where}", (limit,))]

    def counts(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(state, reason) -> (files, text bytes)."""
        found = self._db.execute(
            "SELECT state, reason, COUNT(*), COALESCE(SUM(text_bytes), 0) FROM files GROUP BY 1, 2"
        )
        return {(state, reason): (n, size) for state, reason, n, size in found}

    def put_cache(self, rows: Iterable[tuple[bytes, str, str, int, int, bytes]]) -> None:
        """Remember (text hash, tokenizer hash, segment, start, tokens, span hash)."""
        self.write("INSERT OR REPLACE INTO cache VALUES (?, ?, ?, ?, ?, ?)", rows)

    def forget_cache(self, keep: str | None = None) -> None:
        """Drop the cache, or all of it but one tokenizer's."""
        self.write("DELETE FROM cache WHERE tokenizer_hash IS NOT ?", [(keep,)])

    def cached_many(self, hashes: Sequence[bytes], tokenizer_hash: str) -> dict[bytes, Span]:
        """Where the tokens of these texts are, of those that were ever encoded."""
        found: dict[bytes, Span] = {}
        for first in range(0, len(hashes), 500):  # SQLite allows 999 values a statement
            part = hashes[first : first + 500]
            marks = ", ".join("?" * len(part))
            rows = self._db.execute(
                "SELECT text_hash, segment, start, n_tokens, span_hash FROM cache "
                f"WHERE text_hash IN ({marks}) AND tokenizer_hash = ?",
                (*part, tokenizer_hash),
            )
            found.update((row[0], Span(*row[1:])) for row in rows)
        return found

    def cache_segments(self) -> set[str]:
        """Segment files that rows still point to."""
        return {row[0] for row in self._db.execute("SELECT DISTINCT segment FROM cache")}


def _list_where(kind: str, reason: str, search: str) -> tuple[str, tuple[object, ...]]:
    parts = {
        "used": "state = 'used'",
        "unused": "state IN ('failed', 'skipped')",
        "converted": "state = 'used' AND is_converted",
    }
    where, values = f"WHERE {parts[kind]}", []
    if reason:
        where += " AND reason = ?"
        values.append(reason)
    if search:
        where += " AND path_text LIKE ? ESCAPE '!'"
        plain = "".join(f"!{c}" if c in "!%_" else c for c in search)
        values.append(f"%{plain}%")
    return where, tuple(values)


def decode_path(path: bytes) -> str:
    """A stored path as this system's file functions take it."""
    return os.fsdecode(path)


def _damaged(path: Path, why: str) -> ProjectError:
    copy = path.with_suffix(".db.copy")
    todo = f"A copy of an earlier day is {copy.name}. " if copy.exists() else ""
    return ProjectError(
        "DB",
        f"{path.name} cannot be used: {why}.",
        safe="It was not changed; sources, token files and checkpoints are intact.",
        todo=f"{todo}Move it away and scan again to make a new one.",
    )

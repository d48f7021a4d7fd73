"""What was moved where: the tables of project.db, and `manifest.jsonl` in the batch folder."""

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sllm_core import faults, fmt
from sllm_core.corpus.extract import FileId, SkipFile
from sllm_core.corpus.folders import Parts, Tree
from sllm_core.corpus.index import Index
from sllm_core.errors import DataError

TRASH, MANIFEST = b"_trash", b"manifest.jsonl"
PAGE = 512  # lines a transaction
SEP = os.fsencode(os.sep)
_MAX_LINE_BYTES = 1 << 17  # a path of 4,096 bytes is there three times
_NOT_ON_WINDOWS = frozenset(b'<>:"\\|?*')
_MOST = 1 << 63


class Item(NamedTuple):
    """A file to put aside: where it is, what it was when it was analysed, and why it goes."""

    source_id: int
    path: bytes
    file_id: FileId
    raw_hash: bytes | None
    reason: str


class Entry(NamedTuple):
    """A line of the journal; ``target`` is a path below `_trash`."""

    id: int
    source_id: int
    path: bytes
    target: bytes
    size: int
    mtime_ns: int
    raw_hash: bytes | None
    reason: str


class Batch(NamedTuple):
    """A batch as a list of them shows it; state is done, partial, undone, or unfinished."""

    id: int
    created: float
    n_files: int
    n_bytes: int
    n_left: int  # files that Undo can bring back
    state: str
    folder: str


class Journal:
    """The tables `batches` and `trash` of an open index.

    A batch is open while files are moved (lines intent -> moved | kept), done after, undoing while
    files come back (moved -> restored), then partial or undone.
    """

    def __init__(self, index: Index) -> None:
        self._index = index

    def _number(self, query: str, *values: object) -> int:
        return int(next(self._index.read(query, values))[0] or 0)

    def open_batch(self) -> int:
        """A new batch."""
        batch = self._number("SELECT MAX(id) FROM batches") + 1
        row = (batch, "trash", faults.wall_time(), 0, 0, "open")
        self._index.write("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", [row])
        return batch

    def next_id(self) -> int:
        """The id of the next line."""
        return self._number("SELECT MAX(id) FROM trash") + 1

    def intend(self, batch: int, entries: Iterable[Entry]) -> None:
        """Say what will be moved; on disk when this returns."""
        self._index.write(
            "INSERT INTO trash VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'intent')",
            [(entry.id, batch, *entry[1:]) for entry in entries],
        )

    def settle(self, states: dict[str, list[int]]) -> None:
        """Say what became of lines: state -> ids."""
        rows = [(state, i) for state, ids in states.items() for i in ids]
        self._index.write("UPDATE trash SET state = ? WHERE id = ?", rows)

    def set_state(self, batch: int, state: str) -> None:
        """Change the state of a batch."""
        self._index.write("UPDATE batches SET state = ? WHERE id = ?", [(state, batch)])

    def sources(self, batch: int, state: str) -> set[int]:
        """Sources with lines of a batch in a state."""
        query = "SELECT DISTINCT source_id FROM trash WHERE batch = ? AND state = ?"
        return {row[0] for row in self._index.read(query, (batch, state))}

    def state_of(self, batch: int) -> str:
        """The state of a batch; '' when there is none."""
        query = "SELECT state FROM batches WHERE id = ?"
        return next((row[0] for row in self._index.read(query, (batch,))), "")

    def count(self, batch: int, state: str) -> int:
        """Lines of a batch in a state."""
        query = "SELECT COUNT(*) FROM trash WHERE batch = ? AND state = ?"
        return self._number(query, batch, state)

    def pages(self, batch: int, state: str) -> Iterator[list[Entry]]:
        """Lines of a batch in a state, in order; they may be settled meanwhile."""
        query = (
            "SELECT id, source_id, path, target, size, mtime_ns, raw_hash, reason FROM trash "
            "WHERE batch = ? AND state = ? AND id > ? ORDER BY id LIMIT ?"
        )
        last = 0
        while rows := list(self._index.read(query, (batch, state, last, PAGE))):
            page = [Entry(*row) for row in rows]
            last = page[-1].id
            yield page

    def unfinished(self) -> list[tuple[int, str]]:
        """(batch, state) of those that a crash or an unplugged disk left in the middle."""
        query = "SELECT id, state FROM batches WHERE kind = 'trash' AND state IN ('open','undoing')"
        return list(self._index.read(query))

    def close(self, batch: int) -> None:
        """Count what a batch moved, and give it its state; one without a file is forgotten."""
        query = "SELECT state, COUNT(*), SUM(size) FROM trash WHERE batch = ? GROUP BY state"
        found = {state: (n, size) for state, n, size in self._index.read(query, (batch,))}
        if "intent" in found:  # its disk is not there now
            return
        moved, back = found.get("moved", (0, 0)), found.get("restored", (0, 0))
        if not moved[0] + back[0]:
            forget = "DELETE FROM trash WHERE batch = ?", "DELETE FROM batches WHERE id = ?"
            self._index.write_all((statement, [(batch,)]) for statement in forget)
            return
        state = "done" if not back[0] else "partial" if moved[0] else "undone"
        self._index.write(
            "UPDATE batches SET n_files = ?, n_bytes = ?, state = ? WHERE id = ?",
            [(moved[0] + back[0], moved[1] + back[1], state, batch)],
        )

    def batches(self) -> list[Batch]:
        """All batches, the newest first."""
        query = (
            "SELECT id, created, n_files, n_bytes, "
            "(SELECT COUNT(*) FROM trash WHERE batch = b.id AND state = 'moved'), "
            "CASE WHEN state IN ('open','undoing') THEN 'unfinished' ELSE state END, "
            "(SELECT target FROM trash WHERE batch = b.id LIMIT 1) "
            "FROM batches b WHERE kind = 'trash' ORDER BY id DESC"
        )
        return [
            Batch._make((*row[:-1], os.fsdecode((row[-1] or b"").split(SEP)[0])))
            for row in self._index.read(query)
        ]


def split(path: bytes) -> Parts:
    """The names of a path below its source.

    Raises:
        SkipFile: reason name, it leads elsewhere or cannot be.
    """
    parts = tuple(path.split(SEP))
    if b"\0" in path or any(name in {b"", b".", b".."} for name in parts):
        raise SkipFile("name")
    if os.name == "nt" and any(_NOT_ON_WINDOWS.intersection(name) for name in parts):
        raise SkipFile("name")
    return parts


class Manifest:
    """The `manifest.jsonl` of a new batch folder, one line a file."""

    def __init__(self, tree: Tree, name: bytes) -> None:
        shelf = tree.folder((TRASH,), make=True)
        shelf.make(name, 0o700)  # files of a private folder stay private; and nobody joins in
        tree.touch((TRASH,))
        folder = tree.folder((TRASH, name))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._handle = os.open(folder.at(MANIFEST), flags, 0o600, dir_fd=folder.handle)
        self._size = 0
        tree.touch((TRASH, name))
        tree.sync()

    def append(self, lines: list[tuple[Entry, Parts]]) -> None:
        """Add lines; on disk when this returns.

        Raises:
            OSError: none of them was added.
        """
        data = b"".join(_line(entry, place) for entry, place in lines)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
            os.fsync(self._handle)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._handle)


def _line(entry: Entry, place: Parts) -> bytes:
    """A file as the manifest tells it: the path to read, and its bytes as hex."""
    path = b"/".join(place)
    values = {
        "path": fmt.path_text(path),
        "path_hex": path.hex(),
        "target_hex": b"/".join(split(entry.target)[1:]).hex(),
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "raw_hash": entry.raw_hash.hex() if entry.raw_hash else None,
        "reason": entry.reason,
    }
    return json.dumps(values).encode() + b"\n"


def read_manifest(tree: Tree, name: bytes) -> Iterator[Entry | None]:
    """The lines of a batch folder as entries of source 0; None for one that is damaged.

    A file of strangers: nothing in it is believed but by the checks of whoever follows it.

    Raises:
        DataError: there is no manifest that can be read.
    """
    try:
        handle = tree.folder((TRASH, name)).open(MANIFEST)
    except OSError as problem:
        raise no_manifest(name) from problem
    number = 0
    with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor
        while line := file.readline(_MAX_LINE_BYTES):
            number += 1
            if line.endswith(b"\n"):
                yield _entry(line, number, name)
            elif len(line) == _MAX_LINE_BYTES:
                yield None
                while not line.endswith(b"\n") and (line := file.readline(_MAX_LINE_BYTES)):
                    pass
            # Else the last line, torn by a crash: what it told of was not moved yet.


def no_manifest(name: bytes) -> DataError:
    """A folder that is no batch."""
    return DataError(
        "SOURCE",
        f"{fmt.path_text(name)} is no batch: no manifest.jsonl in it can be read.",
        safe="Nothing was changed; its files can be moved back by hand.",
    )


def _entry(line: bytes, number: int, name: bytes) -> Entry | None:
    try:
        told = json.loads(line)
        path, target = bytes.fromhex(told["path_hex"]), bytes.fromhex(told["target_hex"])
        raw_hash = told["raw_hash"] and bytes.fromhex(told["raw_hash"])
        size, mtime_ns = _whole(told["size"]), _whole(told["mtime_ns"])
        reason = str(told["reason"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not path or not target:
        return None
    target = SEP.join([name, *target.split(b"/")])
    path = path.replace(b"/", SEP)
    return Entry(number, 0, path, target, size, mtime_ns, raw_hash or None, reason)


def _whole(value: Any) -> int:
    if type(value) is not int or not -_MOST <= value < _MOST:
        raise ValueError
    return value


def find_folders(root: Path) -> list[tuple[Path, int, int]]:
    """(folder, files, bytes) of every batch that lies in the trash of a source, by date.

    For the trash of another computer: it needs no journal, and counts what is still there.
    """
    base = root if root.is_dir() else root.parent
    try:
        tree = Tree(base)
    except OSError:
        return []
    found = []
    with contextlib.closing(tree):
        names = sorted(tree.names((TRASH,)))
        for name in names:
            with contextlib.suppress(DataError, OSError):
                sizes = [
                    entry.size
                    for entry in read_manifest(tree, name)
                    if entry is not None and _is_there(tree, entry)
                ]
                found.append(
                    (base / os.fsdecode(TRASH) / os.fsdecode(name), len(sizes), sum(sizes))
                )
    return found


def _is_there(tree: Tree, entry: Entry) -> bool:
    try:
        info = tree.look((TRASH, *split(entry.target)))
    except (OSError, SkipFile):
        return False
    return info is not None and stat.S_ISREG(info.st_mode)

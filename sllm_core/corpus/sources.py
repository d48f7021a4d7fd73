"""Scan: list every file of the sources and say of each whether it is used, and if not, why."""

import os
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import xxhash

from sllm_core import faults, fmt
from sllm_core.config import DataConfig, SourceConfig
from sllm_core.corpus.clean import clean_key
from sllm_core.corpus.extract import FileId, SkipFile, examine_small
from sllm_core.corpus.index import FileRow, Index, decode_path
from sllm_core.errors import Cancelled, DataError
from sllm_core.project import Project

CHUNK_FILES = 64  # a task a file is slower than reading one after the other (DATA 3)
N_READERS = 4
_STACK_BYTES = 16 << 20
SEP = os.fsencode(os.sep)
# Never looked into and never listed: version control, caches, our own trash.
PRUNED = frozenset(
    [
        "_trash",
        ".git",
        ".hg",
        ".svn",
        ".bzr",
        "CVS",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".tox",
        ".nox",
        ".ipynb_checkpoints",
        ".hypothesis",
        ".cache",
        ".eggs",
        ".gradle",
        ".Trash",
        ".Trashes",
        "$RECYCLE.BIN",
    ]
)
FAILED = frozenset({"unreadable", "changed", "parse", "limit"})


@dataclass(frozen=True)
class Listed:
    """A file found by the walk, before it was opened."""

    source_id: int
    path: bytes  # below the source
    file_id: FileId
    reason: str  # '' when it may be used


@dataclass
class ScanCount:
    """Running totals of a scan."""

    listed: int = 0
    read: int = 0
    read_bytes: int = 0


def walk(
    root: Path, project_root: Path, *, recursive: bool, exclude: tuple[str, ...] = ()
) -> Iterator[tuple[bytes, FileId, str]]:
    """Every file below ``root`` as (path below it, identity, reason), in a fixed order.

    Excluded files are listed with the reason glob; excluded folders are not entered.

    Links are not followed: what a link points to inside the source is listed under its own name,
    and what lies outside does not belong to it. A folder is entered once (dev, inode).

    Raises:
        DataError: the source itself cannot be listed.
    """
    top = os.fsencode(root)
    if not root.is_dir():
        yield from _single_file(root)
        return
    mine = project_root.stat()
    seen = {(mine.st_dev, mine.st_ino)}  # the project itself is never entered
    stack = [b""]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(top + SEP + folder if folder else top) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as problem:
            if not folder:
                raise DataError(
                    "SOURCE",
                    f"The source {root} cannot be read: {problem.strerror}.",
                    safe="Nothing was changed.",
                ) from problem
            yield folder, FileId(0, 0, 0, 0), "unreadable"
            continue
        inner = []
        for entry in entries:
            path = folder + SEP + entry.name if folder else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    name = os.fsdecode(entry.name)
                    if not recursive or name in PRUNED or is_excluded(path, exclude):
                        continue
                    info = entry.stat(follow_symlinks=False)
                    key = (info.st_dev, info.st_ino)
                    if key in seen:
                        continue
                    seen.add(key)
                    inner.append(path)
                else:
                    file_id, reason = _look_at(entry, root)
                    yield path, file_id, reason or "glob" * is_excluded(path, exclude)
            except OSError:
                yield path, FileId(0, 0, 0, 0), "changed"
        stack.extend(reversed(inner))


def is_excluded(path: bytes, patterns: tuple[str, ...]) -> bool:
    """Whether a path below the source, or its last name, matches one of the patterns."""
    if not patterns:
        return False
    text = os.fsdecode(path).replace(os.sep, "/")
    name = text.rsplit("/", 1)[-1]
    return any(fnmatchcase(text, p) or fnmatchcase(name, p) for p in patterns)


def _look_at(entry: "os.DirEntry[bytes]", root: Path) -> tuple[FileId, str]:
    info = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        target = Path(os.fsdecode(entry.path)).resolve()
        inside = target.is_relative_to(root.resolve())
        return FileId.of(info), "not-regular" if inside else "outside"
    return FileId.of(info), "" if stat.S_ISREG(info.st_mode) else "not-regular"


def _single_file(path: Path) -> Iterator[tuple[bytes, FileId, str]]:
    try:
        info = path.stat()
    except OSError as problem:
        raise DataError(
            "SOURCE",
            f"The source {path} cannot be read: {problem.strerror}.",
            safe="Nothing was changed.",
            todo="Put it back, or remove the source from the project.",
        ) from problem
    yield b"", FileId.of(info), "" if stat.S_ISREG(info.st_mode) else "not-regular"


def file_path(root: Path, path: bytes) -> Path:
    """The full path of a listed file (a source that is one file has an empty path)."""
    return root / decode_path(path) if path else root


def refusal(name: str, size: int, options: DataConfig) -> str:
    """Why a file is skipped for its name or size; '' when it may be read."""
    if "*" not in options.extensions and not name.lower().endswith(options.extensions):
        return "extension"
    if size == 0:
        return "empty"
    if size < options.min_file_bytes:
        return "too-small"
    return "too-large" if size > options.max_file_bytes else ""


class Scanner:
    """One scan of a project's sources into its index.

    Args:
        project: whose sources are read.
        index: its open index; written from the calling thread only.
        on_progress: told (files listed, files read, files to read or None).
        check: raises `Cancelled` when the user wants to stop; called for every chunk.
    """

    def __init__(
        self,
        project: Project,
        index: Index,
        options: DataConfig,
        *,
        on_progress: Callable[[int, int, int | None], None],
        check: Callable[[], None],
    ) -> None:
        self._project, self._index, self._options = project, index, options
        self._on_progress, self._check = on_progress, check
        self._inodes: set[tuple[int, int]] = set()
        self.count = ScanCount()

    def run(self, sources: tuple[SourceConfig, ...]) -> Counter[tuple[str, str]]:
        """List, choose, read; returns the number of files by (state, reason).

        Raises:
            DataError: there is no source, or one cannot be listed.
            Cancelled: the user stopped; rows written so far stay and are not read again.
        """
        active = [source for source in sources if source.is_on]
        if not active:
            raise DataError("EMPTY", "The project has no source that is switched on.")
        scan_id = self._index.next_scan_id()
        listed = [item for source in active for item in self._list(source)]
        listed = self._choose(listed)
        roots = {source.id: self._project.source_root(source) for source in active}
        totals: Counter[tuple[str, str]] = Counter()
        for rows, unchanged in self._read_all(listed, roots):
            self._index.put_files(rows, scan_id)
            self._index.touch((row.id for row in unchanged if row.id is not None), scan_id)
            totals.update((row.state, row.reason) for row in (*rows, *unchanged))
        self._index.remove_unseen(scan_id)
        assert sum(totals.values()) == len(listed), "listed = used + skipped + failed"
        return totals

    def _list(self, source: SourceConfig) -> Iterator[Listed]:
        root = self._project.source_root(source)
        files = walk(
            root,
            self._project.root,
            recursive=self._options.recursive,
            exclude=source.exclude,
        )
        for path, file_id, reason in files:
            self.count.listed += 1
            if self.count.listed % 1024 == 0:
                self._check()
                self._on_progress(self.count.listed, 0, None)
            if not reason:
                name = os.fsdecode(path.rpartition(SEP)[2]) if path else root.name
                is_chosen_by_hand = not path  # a source that is one file counts whatever its name
                reason = refusal(name, file_id.size, self._options)
                reason = "" if is_chosen_by_hand and reason == "extension" else reason
            if not reason and file_id.inode:
                key = (file_id.dev, file_id.inode)
                reason = "same-file" if key in self._inodes else ""
                self._inodes.add(key)
            yield Listed(source.id, path, file_id, reason)

    def _choose(self, listed: list[Listed]) -> list[Listed]:
        """Keep at most max_files: the first ones, or a choice that depends on seed and path only."""
        faults.passage("scan.listed")
        limit = self._options.max_files
        candidates = [item for item in listed if not item.reason]
        if limit is None or len(candidates) <= limit:
            return listed
        if self._options.shuffle:
            seed = self._options.shuffle_seed
            candidates.sort(key=lambda x: (xxhash.xxh3_64_intdigest(x.path, seed), x.path))
        kept = {(item.source_id, item.path) for item in candidates[:limit]}
        return [
            item
            if item.reason or (item.source_id, item.path) in kept
            else replace(item, reason="over-max-files")
            for item in listed
        ]

    def _read_all(
        self, listed: list[Listed], roots: dict[int, Path]
    ) -> Iterator[tuple[list[FileRow], list[FileRow]]]:
        """Chunks of (new rows, unchanged rows); files are read by a few threads."""
        known = {source_id: self._index.known_files(source_id) for source_id in roots}
        key, total = clean_key(), len(listed)
        chunks = [listed[i : i + CHUNK_FILES] for i in range(0, total, CHUNK_FILES)]
        waiting: list[Future[tuple[list[FileRow], list[FileRow]]]] = []
        stop = threading.Event()
        old_stack = threading.stack_size(_STACK_BYTES)
        done = 0
        with ThreadPoolExecutor(N_READERS) as pool:
            try:
                for chunk in [*chunks, None]:
                    self._check()
                    if chunk is not None:
                        waiting.append(pool.submit(_read_chunk, chunk, roots, known, key, stop))
                    while waiting and (chunk is None or len(waiting) > 4 * N_READERS):
                        rows, unchanged = self._wait(waiting.pop(0))
                        done += len(rows) + len(unchanged)
                        self.count.read += sum(row.raw_hash is not None for row in rows)
                        self.count.read_bytes += sum(row.size for row in rows if row.raw_hash)
                        self._on_progress(total, done, total)
                        yield rows, unchanged
            finally:
                stop.set()
                threading.stack_size(old_stack)
                for future in waiting:
                    future.cancel()

    def _wait(
        self, future: "Future[tuple[list[FileRow], list[FileRow]]]"
    ) -> tuple[list[FileRow], list[FileRow]]:
        while True:
            try:
                return future.result(timeout=0.1)
            except TimeoutError:
                self._check()


def _read_chunk(
    chunk: list[Listed],
    roots: dict[int, Path],
    known: dict[int, dict[bytes, FileRow]],
    key: str,
    stop: threading.Event,
) -> tuple[list[FileRow], list[FileRow]]:
    rows: list[FileRow] = []
    unchanged: list[FileRow] = []
    for item in chunk:
        if stop.is_set():
            raise Cancelled
        old = known[item.source_id].get(item.path)
        row, is_new = _examine_listed(item, roots[item.source_id], old, key)
        (rows if is_new else unchanged).append(row)
    return rows, unchanged


def _examine_listed(
    item: Listed, root: Path, old: FileRow | None, key: str
) -> tuple[FileRow, bool]:
    """The row of a file, and whether it differs from the one of the last scan."""
    file_id = item.file_id
    shown = fmt.path_text(item.path) if item.path else fmt.path_text(root.name)
    row = FileRow(
        item.source_id, item.path, shown, *_signed(file_id), state="skipped", reason=item.reason
    )
    is_same_file = old is not None and _identity(old) == _identity(row)
    if item.reason:
        row = replace(row, state="failed" if item.reason in FAILED else "skipped")
        is_same = is_same_file and old is not None and old.reason == item.reason
        return (old, False) if is_same and old is not None else (row, True)
    was_read = old is not None and (old.raw_hash is not None or old.reason in _FOUND_BY_READING)
    if is_same_file and was_read and old is not None and old.clean_key == key:
        return old, False
    try:
        facts = examine_small(file_path(root, item.path), file_id)
    except SkipFile as skip:
        state = "failed" if skip.reason in FAILED else "skipped"
        return replace(row, state=state, reason=skip.reason, clean_key=key), True
    except (ValueError, RecursionError, MemoryError, UnicodeError):
        return replace(row, state="failed", reason="parse", clean_key=key), True
    return replace(
        row,
        state="used",
        raw_hash=facts.raw_hash,
        text_hash=facts.text_hash,
        encoding=facts.encoding,
        is_converted=facts.is_converted,
        clean_key=key,
        chars=facts.chars,
        text_bytes=facts.text_bytes,
        lines=facts.lines,
    ), True


def _identity(row: FileRow) -> tuple[int, int, int, int]:
    return row.size, row.mtime_ns, row.dev, row.inode


_FOUND_BY_READING = frozenset({"binary", "encoding", "empty"})


def _signed(file_id: FileId) -> tuple[int, int, int, int]:
    """Identity numbers as SQLite stores them: 64 bits with a sign."""
    wrap = 1 << 64
    size, mtime_ns, dev, inode = (
        n if n < 1 << 63 else n - wrap
        for n in (file_id.size, file_id.mtime_ns, file_id.dev % wrap, file_id.inode % wrap)
    )
    return size, mtime_ns, dev, inode

"""Scan: list every file of the sources and say of each whether it is used, and if not, why."""

import os
import re
import stat
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from operator import attrgetter
from pathlib import Path

import xxhash

from sllm_core import faults, fmt
from sllm_core.config import NO_ENDING, DataConfig, SourceConfig
from sllm_core.corpus.clean import clean_key
from sllm_core.corpus.extract import FileId, SkipFile, examine_small
from sllm_core.corpus.index import FileRow, Index, Known, decode_path
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
# What a project keeps in its own folder, for a source that is this folder.
_OWN = re.compile(
    r"config\.json.*|project\.db.*|\.lock.*|tokenizer|encoded_data|checkpoints|runs|logs"
)
_NO_ENDING = os.fsencode(NO_ENDING)
_IS_WINDOWS = os.name == "nt"
_by_name = attrgetter("name")


# A file found by the walk, before it was opened: source id, path below the source, identity,
# reason ('' when it may be used).
Listed = tuple[int, bytes, FileId, str]


@dataclass
class ScanCount:
    """Running totals of a scan."""

    listed: int = 0
    read: int = 0
    read_bytes: int = 0
    used_bytes: int = 0  # of cleaned text, files read before included


NOBODY = FileId(0, 0, 0, 0)  # of what could not be looked at


def walk(
    root: Path, project_root: Path, *, recursive: bool, exclude: tuple[str, ...] = ()
) -> Iterator[tuple[bytes, FileId, str]]:
    """Every file below ``root`` as (path below it, identity, reason), in a fixed order.

    Excluded files are listed with the reason glob; excluded folders are not entered.

    Links are not followed: what a link points to inside the source is listed under its own name,
    and what lies outside does not belong to it. A folder is entered once (dev, inode), the
    project itself never; a source that is the project's own folder is listed without its files.

    Raises:
        DataError: the source itself cannot be listed.
    """
    top = os.fsencode(root)
    if not root.is_dir():
        yield from _single_file(root)
        return
    inside = root.resolve()
    seen = {FileId.of(project_root.stat())[2:]}  # the project itself is never entered
    is_project = root.samefile(project_root)
    stack = [b""]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(top + SEP + folder if folder else top) as found:
                entries = sorted(found, key=_by_name)
        except OSError as problem:
            if not folder:
                raise DataError(
                    "SOURCE",
                    f"The source {root} cannot be read: {problem.strerror}.",
                    safe="Nothing was changed.",
                ) from problem
            yield folder, NOBODY, "unreadable"
            continue
        if is_project and not folder:
            entries = [entry for entry in entries if not _OWN.fullmatch(os.fsdecode(entry.name))]
        prefix = folder + SEP if folder else b""
        inner = []
        for entry in entries:
            path = prefix + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if (
                        not recursive
                        or os.fsdecode(entry.name) in PRUNED
                        or is_excluded(path, exclude)
                    ):
                        continue
                    place = FileId.of(_stat(entry))[2:]
                    if place in seen:
                        continue
                    seen.add(place)
                    inner.append(path)
                    continue
                info = _stat(entry)
                reason = "" if stat.S_ISREG(info.st_mode) else _irregular(entry, info, inside)
                if exclude and not reason and is_excluded(path, exclude):
                    reason = "glob"
                yield path, FileId.of(info), reason
            except OSError:
                yield path, NOBODY, "changed"
        stack.extend(reversed(inner))


def _stat(entry: "os.DirEntry[bytes]") -> os.stat_result:
    if _IS_WINDOWS:  # there an entry knows neither device nor inode
        return os.lstat(entry.path)
    return entry.stat(follow_symlinks=False)


def _irregular(entry: "os.DirEntry[bytes]", info: os.stat_result, inside: Path) -> str:
    """Why what is no regular file is not read: a link that leads outside says so."""
    if not stat.S_ISLNK(info.st_mode):
        return "not-regular"
    target = os.path.realpath(os.fsdecode(entry.path))  # Path.resolve raises on a loop
    return "not-regular" if Path(target).is_relative_to(inside) else "outside"


def is_excluded(path: bytes, patterns: tuple[str, ...]) -> bool:
    """Whether a path below the source, or its last name, matches one of the patterns."""
    if not patterns:
        return False
    text = os.fsdecode(path).replace(os.sep, "/")
    name = text.rsplit("/", 1)[-1]
    return any(fnmatchcase(text, p) or fnmatchcase(name, p) for p in patterns)


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


def _is_of_type(path: bytes, endings: tuple[bytes, ...]) -> bool:
    name = path.lower()[path.rfind(SEP) + 1 :]
    has_ending = name.rfind(b".") > 0  # the dot of .profile begins a name
    return name.endswith(endings) if has_ending else _NO_ENDING in endings or name.endswith(endings)


def refusal(path: bytes, size: int, options: DataConfig, endings: tuple[bytes, ...]) -> str:
    """Why a file is skipped for its name or size; '' when it may be read."""
    if endings and not _is_of_type(path, endings):
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
        roots = {source.id: self._project.source_root(source) for source in active}
        reasons: Counter[str] = Counter()
        gone = self._index.known_files()
        todo, key = [], clean_key()
        for item in self._choose(chain.from_iterable(map(self._list, active))):
            old = gone[item[0]].pop(item[1], None) if item[0] in gone else None
            if old is not None and _still_holds(item, old, key):
                reasons[old[6]] += 1
                self.count.used_bytes += old[8] or 0
            else:
                todo.append(item)
        faults.passage("scan.listed")
        scan_id = self._index.next_scan_id() if todo else 0
        for rows in self._read_all(todo, roots, key):
            self._index.put_files(rows, scan_id)
            reasons.update(row.reason for row in rows)
            self.count.used_bytes += sum(row.text_bytes or 0 for row in rows)
        self._index.remove(row_id for rows in gone.values() for _, row_id, *_ in rows.values())
        assert sum(reasons.values()) == self.count.listed, "listed = used + skipped + failed"
        return Counter({(state_of(reason), reason): n for reason, n in reasons.items()})

    def _list(self, source: SourceConfig) -> Iterator[Listed]:
        root, options = self._project.source_root(source), self._options
        files = walk(root, self._project.root, recursive=options.recursive, exclude=source.exclude)
        count, inodes = self.count, self._inodes
        wanted = () if "*" in options.extensions else options.extensions
        endings = tuple(os.fsencode(ending) for ending in wanted)
        for path, file_id, reason in files:
            count.listed += 1
            if not count.listed & 1023:
                self._check()
                self._on_progress(count.listed, 0, None)
            if not reason:  # a source that is one file counts whatever its name
                reason = refusal(path, file_id.size, options, endings if path else ())
            if not reason:
                place = file_id[2:]  # device and inode
                if place in inodes and file_id.inode:  # 0: the file system has none
                    reason = "same-file"
                inodes.add(place)
            yield source.id, path, file_id, reason

    def _choose(self, files: Iterable[Listed]) -> Iterable[Listed]:
        """Keep at most max_files: the first ones, or a choice that depends on seed and path only."""
        limit = self._options.max_files
        if limit is None:
            return files
        listed = list(files)
        candidates = [(source_id, path) for source_id, path, _, reason in listed if not reason]
        if len(candidates) <= limit:
            return listed
        if self._options.shuffle:
            seed = self._options.shuffle_seed
            candidates.sort(key=lambda x: (xxhash.xxh3_64_intdigest(x[1], seed), x[1]))
        kept = set(candidates[:limit])
        return [
            (source_id, path, file_id, reason)
            if reason or (source_id, path) in kept
            else (source_id, path, file_id, "over-max-files")
            for source_id, path, file_id, reason in listed
        ]

    def _read_all(
        self, todo: list[Listed], roots: dict[int, Path], key: str
    ) -> Iterator[list[FileRow]]:
        """Rows of new and changed files, in chunks; they are read by a few threads."""
        total, done = len(todo), 0
        chunks = [todo[i : i + CHUNK_FILES] for i in range(0, total, CHUNK_FILES)]
        waiting: deque[Future[list[FileRow]]] = deque()
        stop = threading.Event()

        def check() -> None:
            if stop.is_set():
                raise Cancelled

        old_stack = threading.stack_size(_STACK_BYTES)
        with ThreadPoolExecutor(N_READERS) as pool:
            try:
                for chunk in [*chunks, None]:
                    self._check()
                    if chunk is not None:
                        waiting.append(pool.submit(_read_chunk, chunk, roots, key, check))
                    while waiting and (chunk is None or len(waiting) > 4 * N_READERS):
                        rows = self._wait(waiting.popleft())
                        done += len(rows)
                        self.count.read += sum(row.raw_hash is not None for row in rows)
                        self.count.read_bytes += sum(row.size for row in rows if row.raw_hash)
                        self._on_progress(total, done, total)
                        yield rows
            finally:
                stop.set()
                threading.stack_size(old_stack)
                for future in waiting:
                    future.cancel()

    def _wait(self, future: "Future[list[FileRow]]") -> list[FileRow]:
        while True:
            try:
                return future.result(timeout=0.1)
            except TimeoutError:
                self._check()


def state_of(reason: str) -> str:
    """A reason has one state: used without one, failed or skipped."""
    if not reason:
        return "used"
    return "failed" if reason in FAILED else "skipped"


def _still_holds(item: Listed, old: Known, key: str) -> bool:
    """Whether the row of the last scan still says it all; what failed is tried again."""
    _, _, file_id, now = item
    _, _, size, mtime_ns, dev, inode, reason, old_key, _ = old
    if (size, mtime_ns, dev, inode) != file_id:
        return False
    if now:
        return reason == now
    return old_key == key and (not reason or reason in _FOUND_BY_READING)


def _read_chunk(
    chunk: list[Listed], roots: dict[int, Path], key: str, check: Callable[[], None]
) -> list[FileRow]:
    rows = []
    for item in chunk:
        check()
        rows.append(_examine_listed(item, roots[item[0]], key, check))
    return rows


def _examine_listed(item: Listed, root: Path, key: str, check: Callable[[], None]) -> FileRow:
    """The row of a new or changed file."""
    source_id, path, file_id, reason = item
    shown = fmt.path_text(path) if path else fmt.path_text(root.name)
    row = FileRow(source_id, path, shown, *file_id, state=state_of(reason), reason=reason)
    if reason:
        return row
    try:
        facts = examine_small(file_path(root, path), file_id, check)
    except SkipFile as skip:
        reason = skip.reason
    except (ValueError, RecursionError, MemoryError, UnicodeError):
        reason = "parse"
    if reason:
        return replace(row, state=state_of(reason), reason=reason, clean_key=key)
    return replace(
        row,
        raw_hash=facts.raw_hash,
        text_hash=facts.text_hash,
        encoding=facts.encoding,
        is_converted=facts.is_converted,
        clean_key=key,
        chars=facts.chars,
        text_bytes=facts.text_bytes,
        lines=facts.lines,
    )


_FOUND_BY_READING = frozenset({"binary", "encoding", "empty"})

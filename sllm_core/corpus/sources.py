"""Scan: list every file of the sources and say of each whether it is used, and if not, why."""

import contextlib
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
from typing import Any

import xxhash

from sllm_core import errors, faults, fmt, hardware
from sllm_core.config import NO_ENDING, DataConfig, ProjectConfig, SourceConfig
from sllm_core.corpus import formats, ignore, store
from sllm_core.corpus.clean import clean_key
from sllm_core.corpus.extract import (
    Cleaning,
    FileId,
    SkipFile,
    TextFacts,
    examine_small,
    measure_text,
)
from sllm_core.corpus.index import FileRow, Index, Known
from sllm_core.corpus.kinds import classify
from sllm_core.errors import Cancelled, DataError
from sllm_core.project import Project

CHUNK_FILES = 64  # a task a file is slower than reading one after the other (DATA 3)
N_READERS = 4
EXTRACT_S = 20.0  # of a child's processor for one file, and a second more for each 250 kB
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
_PACKED = (b".gz", b".zst")  # such a file counts as what is inside
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
    root: Path,
    project_root: Path,
    *,
    recursive: bool,
    exclude: tuple[str, ...] = (),
    use_gitignore: bool = False,
) -> Iterator[tuple[bytes, FileId, str]]:
    """Every file below ``root`` as (path below it, identity, reason), in a fixed order.

    Excluded files are listed with the reason glob, files that a `.gitignore` names with ignored;
    folders that are left out so are not entered.

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
    ignored = ignore.Rules(top)
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
        has_rules = use_gitignore and ignored.enter(folder, entries)
        inner = []
        for entry in entries:
            path = prefix + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    if (
                        not recursive
                        or os.fsdecode(entry.name) in PRUNED
                        or is_excluded(path, exclude)
                        or (has_rules and ignored.covers(folder, path, is_dir=True))
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
                elif has_rules and not reason and ignored.covers(folder, path):
                    reason = "ignored"
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
    if not patterns:  # also asked with the patterns that include
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


def _is_of_type(path: bytes, endings: tuple[bytes, ...]) -> bool:
    dot = path.rfind(b".")  # mostly what stands behind the last dot decides
    if dot > path.rfind(SEP) + 1 and path[dot:] in endings:
        return True
    name = path.lower()[path.rfind(SEP) + 1 :]
    if name.endswith(_PACKED) and not name.endswith(endings):
        name = name[: name.rfind(b".")]
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
        config: its settings.
        index: its open index; written from the calling thread only.
        on_progress: told (files listed, files read, files to read or None).
        check: raises `Cancelled` when the user wants to stop; called for every chunk.
        is_forced: read every file again, whatever its date and size say.
    """

    def __init__(
        self,
        project: Project,
        config: ProjectConfig,
        index: Index,
        *,
        on_progress: Callable[[int, int, int | None], None],
        check: Callable[[], None],
        is_forced: bool = False,
    ) -> None:
        self._project, self._config, self._index = project, config, index
        self._options, self._is_forced = config.data, is_forced
        self._on_progress, self._check = on_progress, check
        self._inodes: set[tuple[int, int]] = set()
        self._clean_key = clean_key(config.clean)
        self._sources = {source.id: source for source in config.sources}
        self._texts = store.Texts.of(project, config)
        self._excluded = index.excluded()
        self.count = ScanCount()

    def run(self) -> Counter[tuple[str, str]]:
        """List, choose, read; returns the number of files by (state, reason).

        Raises:
            DataError: there is no source, or one cannot be listed.
            Cancelled: the user stopped; rows written so far stay and are not read again.
        """
        active = [source for source in self._config.sources if source.is_on]
        if not active:
            raise DataError("EMPTY", "The project has no source that is switched on.")
        reasons: Counter[str] = Counter()
        gone = self._index.known_files()
        stored = _stored_names(self._project)
        todo = []
        for item in self._choose(chain.from_iterable(map(self._list, active))):
            old = gone[item[0]].pop(item[1], None) if item[0] in gone else None
            if old is not None and self._still_holds(item, old, stored):
                reasons[old[6]] += 1
                self.count.used_bytes += (old[8] or 0) * (not old[6])
            else:
                todo.append(item)
        faults.passage("scan.listed")
        scan_id = self._index.next_scan_id() if todo else 0
        for rows in self._read_all(todo):
            self._index.put_files(rows, scan_id)
            reasons.update(row.reason for row in rows)
            self.count.used_bytes += sum(row.text_bytes or 0 for row in rows if not row.reason)
        self._index.remove(row_id for rows in gone.values() for _, row_id, *_ in rows.values())
        assert sum(reasons.values()) == self.count.listed, "listed = used + skipped + failed"
        return Counter({(state_of(reason), reason): n for reason, n in reasons.items()})

    def _list(self, source: SourceConfig) -> Iterator[Listed]:
        root, options = self._project.source_root(source), self._options
        files = walk(
            root,
            self._project.root,
            recursive=options.recursive,
            exclude=source.exclude,
            use_gitignore=options.use_gitignore,
        )
        count, inodes = self.count, self._inodes
        wanted = () if "*" in options.extensions else options.extensions
        endings = tuple(os.fsencode(ending) for ending in wanted)
        excluded = self._excluded.get(source.id, frozenset())
        for path, file_id, reason in files:
            count.listed += 1
            if not count.listed & 1023:
                self._check()
                self._on_progress(count.listed, 0, None)
            if not reason:  # a source that is one file counts whatever its name
                reason = refusal(path, file_id.size, options, endings if path else ())
            if not reason and source.include and path and not is_excluded(path, source.include):
                reason = "glob"
            if not reason:
                place = file_id[2:]  # device and inode
                if place in inodes and file_id.inode:  # 0: the file system has none
                    reason = "same-file"
                inodes.add(place)
            if not reason and path in excluded:
                reason = "excluded"
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

    def _still_holds(self, item: Listed, old: Known, stored: frozenset[str]) -> bool:
        """Whether the row of the last scan still says it all; what failed is tried again."""
        source_id, path, file_id, now = item
        _, _, size, mtime_ns, dev, inode, reason, old_key, _, extractor, raw_hash = old
        if self._is_forced or (size, mtime_ns, dev, inode) != file_id:
            return False
        if now:
            return reason == now
        if not reason and extractor == "":  # used as plain text: by far the most
            return old_key == self._clean_key
        if extractor and raw_hash and store.text_name(raw_hash, extractor) not in stored:
            return False
        known = not reason or reason in _FOUND_BY_READING
        if reason in _FOUND_BY_EXTRACTING:
            known = bool(self._format(source_id, path))
        return known and old_key == self._key(source_id, path)

    def _format(self, source_id: int, path: bytes) -> str:
        """The format of a file that is no plain text; a source that is one file has no path."""
        name = path or os.fsencode(self._texts.roots[source_id].name)
        return formats.format_of(name)

    def _key(self, source_id: int, path: bytes) -> str:
        """What the text of a file depends on besides its bytes."""
        form = self._format(source_id, path)
        if not form:
            return self._clean_key
        return f"{self._clean_key} {formats.extractor_key(form, self._sources[source_id].columns)}"

    def _read_all(self, todo: list[Listed]) -> Iterator[list[FileRow]]:
        """Rows of new and changed files: plain text in a few threads, the rest in children."""
        plain: list[Listed] = []
        packed: list[Listed] = []
        for item in todo:
            is_plain = bool(item[3]) or not self._format(item[0], item[1])
            (plain if is_plain else packed).append(item)
        total = len(todo)
        for done, rows in self._read_plain(plain):
            self._on_progress(total, done, total)
            yield rows
        if packed:
            for done, rows in self._extract(packed):
                self._on_progress(total, len(plain) + done, total)
                yield rows

    def _read_plain(self, todo: list[Listed]) -> Iterator[tuple[int, list[FileRow]]]:
        done = 0
        chunks = (todo[i : i + CHUNK_FILES] for i in range(0, len(todo), CHUNK_FILES))
        waiting: deque[Future[list[FileRow]]] = deque()
        stop = threading.Event()

        def check() -> None:
            if stop.is_set():
                raise Cancelled

        old_stack = threading.stack_size(_STACK_BYTES)
        with ThreadPoolExecutor(N_READERS) as pool:
            try:
                for chunk in chain(chunks, [None]):
                    self._check()
                    if chunk is not None:
                        waiting.append(pool.submit(self._read_chunk, chunk, check))
                    while waiting and (chunk is None or len(waiting) > 4 * N_READERS):
                        rows = self._wait(waiting.popleft())
                        done += len(rows)
                        self._count(rows)
                        yield done, rows
            finally:
                stop.set()
                threading.stack_size(old_stack)
                for future in waiting:
                    future.cancel()

    def _count(self, rows: list[FileRow]) -> None:
        self.count.read += sum(row.raw_hash is not None for row in rows)
        self.count.read_bytes += sum(row.size for row in rows if row.raw_hash)

    def _wait(self, future: "Future[list[FileRow]]") -> list[FileRow]:
        while True:
            try:
                return future.result(timeout=0.1)
            except TimeoutError:
                self._check()

    def _read_chunk(self, chunk: list[Listed], check: Callable[[], None]) -> list[FileRow]:
        rows = []
        for item in chunk:
            check()
            rows.append(self._examine(item, check))
        return rows

    def _blank_row(self, item: Listed) -> FileRow:
        """What is known of a file before it was opened."""
        source_id, path, file_id, reason = item
        name = self._texts.roots[source_id].name
        shown = fmt.path_text(path) if path else fmt.path_text(name)
        kind, lang = classify(shown)
        return FileRow(
            source_id, path, shown, *file_id, state=state_of(reason), reason=reason,
            kind=kind, lang=lang, extractor="",
        )  # fmt: skip

    def _examine(self, item: Listed, check: Callable[[], None]) -> FileRow:
        """The row of a new or changed file that is plain text."""
        row = self._blank_row(item)
        if row.reason:
            return row
        cleaning = Cleaning(self._config.clean, row.kind or "prose", row.lang or "")
        try:
            place = store.file_path(self._texts.roots[row.source_id], row.path)
            facts = examine_small(place, item[2], check, cleaning)
        except SkipFile as skip:
            return self._unusable(row, skip.reason)
        except (ValueError, RecursionError, MemoryError, UnicodeError):
            return self._unusable(row, "parse")
        return _with_facts(replace(row, clean_key=self._key(row.source_id, row.path)), facts)

    def _unusable(self, row: FileRow, reason: str) -> FileRow:
        key = self._key(row.source_id, row.path)
        return replace(row, state=state_of(reason), reason=reason, clean_key=key)

    # -- formats that are not plain text ---------------------------------------------------------

    def _extract(self, todo: list[Listed]) -> Iterator[tuple[int, list[FileRow]]]:
        """Each is opened once, in a limited child; what it holds lies in the store afterwards."""
        from sllm_core.corpus.children import Children  # most scans need none

        folder = store.texts_dir(self._project)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise errors.disk_error(problem, "encoded_data/texts") from problem
        for left in folder.glob(".new-*"):  # of a scan that was killed
            left.unlink(missing_ok=True)
        requests = (self._request(number, item) for number, item in enumerate(todo))
        n = min(hardware.default_threads(), len(todo))
        with Children(n, {}) as children:
            for done, (request, answer) in enumerate(
                children.run("extract", requests, limit_s=_limit_s, check=self._check), start=1
            ):
                rows = [self._take(todo[request["number"]], request, answer)]
                self._count(rows)
                yield done, rows

    def _request(self, number: int, item: Listed) -> dict[str, Any]:
        source_id, path, file_id, _ = item
        out = store.texts_dir(self._project) / f".new-{number}.txt"
        return {
            "number": number,
            "path": os.fsencode(store.file_path(self._texts.roots[source_id], path)).hex(),
            "id": list(file_id),
            "format": self._format(source_id, path),
            "columns": list(self._sources[source_id].columns),
            "out": os.fsencode(out).hex(),
        }

    def _take(self, item: Listed, request: dict[str, Any], answer: dict[str, Any]) -> FileRow:
        """The row of an extracted file; its text gets the name of what it was made from."""
        row = self._blank_row(item)
        out = Path(os.fsdecode(bytes.fromhex(request["out"])))
        try:
            if reason := str(answer.get("reason", "")):
                return self._unusable(row, reason)
            extractor = formats.extractor_key(request["format"], tuple(request["columns"]))
            row = replace(
                row,
                raw_hash=bytes.fromhex(answer["raw_hash"]),
                extractor=extractor,
                encoding=str(answer["encoding"]),
                is_converted=bool(answer["n_converted"]),
                converted=int(answer["n_converted"]),
                records=answer["n_records"],
                clean_key=self._key(row.source_id, row.path),
            )
            stored = store.text_path(self._project, row)
            assert stored is not None and row.raw_hash is not None
            if row.records is not None:
                out.with_suffix(".ends").replace(stored.with_suffix(".ends"))
            out.replace(stored)
            pieces = self._texts.pieces(row)
            facts = measure_text(pieces, row.raw_hash, str(row.encoding), self._check)
            return _with_facts(row, replace(facts, is_converted=bool(row.converted)))
        except SkipFile as skip:
            return self._unusable(self._blank_row(item), skip.reason)
        except (UnicodeError, ValueError, RecursionError, MemoryError):
            return self._unusable(self._blank_row(item), "parse")
        except OSError as problem:
            raise errors.disk_error(problem, "encoded_data/texts") from problem
        finally:
            for left in (out, out.with_suffix(".ends")):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)


def _limit_s(request: dict[str, Any]) -> float:
    return EXTRACT_S + float(request["id"][0]) / 2.5e5


def _with_facts(row: FileRow, facts: TextFacts) -> FileRow:
    return replace(
        row,
        raw_hash=facts.raw_hash,
        text_hash=facts.text_hash,
        encoding=facts.encoding,
        is_converted=facts.is_converted,
        chars=facts.chars,
        text_bytes=facts.text_bytes,
        lines=facts.lines,
    )


def _stored_names(project: Project) -> frozenset[str]:
    try:
        return frozenset(path.name for path in store.texts_dir(project).iterdir())
    except OSError:
        return frozenset()


def drop_dead_texts(project: Project, index: Index) -> None:
    """Remove extracted texts that no row points to any more."""
    alive = set()
    for raw_hash, extractor in index.read(
        "SELECT raw_hash, extractor FROM files WHERE extractor != '' AND raw_hash IS NOT NULL"
    ):
        alive.add(store.text_name(raw_hash, extractor))
    for name in _stored_names(project):
        if name.removesuffix(".ends").removesuffix(".txt") + ".txt" not in alive:
            (store.texts_dir(project) / name).unlink(missing_ok=True)


def state_of(reason: str) -> str:
    """A reason has one state: used without one, failed or skipped."""
    if not reason:
        return "used"
    return "failed" if reason in FAILED else "skipped"


# Found by reading, and the same as long as the file is: not read again.
_FOUND_BY_READING = frozenset(["binary", "encoding", "empty", "encrypted", "columns", "would-leak"])
_FOUND_BY_EXTRACTING = frozenset(["parse", "limit"])  # of plain text they may be passing

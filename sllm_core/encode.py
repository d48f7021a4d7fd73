"""Prepare: from the used files to token files, streamed, incremental, never half finished.

Texts are encoded by a few threads (the encoder leaves Python's lock) and written in a fixed
order. Every encoded text is remembered in a cache, so that a run that was killed, or new files,
cost only what is new. The manifest is written last: without it there is no dataset.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

from sllm_core import errors, faults
from sllm_core.config import ProjectConfig
from sllm_core.corpus import extract
from sllm_core.corpus.clean import clean_key
from sllm_core.corpus.extract import FileId, SkipFile
from sllm_core.corpus.index import FileRow, Index, Span
from sllm_core.corpus.sources import file_path
from sllm_core.dataset import SIDES, FileMark, Manifest, load_manifest
from sllm_core.errors import DataError
from sllm_core.project import Project, file_sha256, sync_folder, write_text
from sllm_core.tokenizer import SAMPLE_CHARS, Tokenizer, training_piece

HEADER_BYTES = 128
BATCH_CHARS = 2 << 20  # text that one task encodes
BATCH_FILES = 256
FEW_DOCUMENTS = 20  # below, documents are cut into sections and these are divided (DATA 13)
HUGE_BYTES = 1 << 30


@dataclass(frozen=True)
class Division:
    """Which side each text belongs to: by its hash, so it stays when files are added."""

    share: float
    by_sections: bool
    section_chars: int
    forced: dict[bytes, str]

    def side(self, text_hash: bytes) -> str:
        """``train`` or ``val``."""
        if text_hash in self.forced:
            return self.forced[text_hash]
        return "val" if _rank(text_hash) < 1000 * self.share else "train"


def _rank(text_hash: bytes) -> float:
    """0 <= rank < 1000, a pure function of the text."""
    return xxhash.xxh3_64_intdigest(text_hash) % 1_000_000 / 1000


def divide(rows: list[FileRow], val_split: float | None) -> Division:
    """How used files are divided into training and validation.

    Equal texts lie on one side. A source of ten or more documents has at least one on each side.
    """
    total = sum(row.text_bytes or 0 for row in rows)
    share = val_split if val_split is not None else (0.03 if total > HUGE_BYTES else 0.10)
    chars = sum(row.chars or 0 for row in rows)
    section_chars = min(extract.SECTION_CHARS, max(2000, chars // 50))
    division = Division(share, len(rows) < FEW_DOCUMENTS, section_chars, {})
    if division.by_sections:
        return division
    by_source: dict[int, set[bytes]] = {}
    for row in rows:
        by_source.setdefault(row.source_id, set()).add(row.text_hash or b"")
    for hashes in by_source.values():
        if len(hashes) >= 10:
            _force_both_sides(division, hashes)
    _force_both_sides(division, set().union(*by_source.values()))
    return division


def _force_both_sides(division: Division, hashes: set[bytes]) -> None:
    if len(hashes) < 2:
        division.forced.update(dict.fromkeys(hashes, "train"))
        return
    sides = {division.side(text_hash) for text_hash in hashes}
    ordered = sorted(hashes, key=lambda text_hash: (_rank(text_hash), text_hash))
    if "val" not in sides:
        division.forced[ordered[0]] = "val"
    if "train" not in sides:
        division.forced[ordered[-1]] = "train"


def dataset_id(rows: list[FileRow], division: Division, tokenizer: Tokenizer) -> str:
    """Identity of a dataset: its texts in their order, how they are divided, cleaned, encoded."""
    digest = hashlib.sha256()
    sections = division.section_chars if division.by_sections else 0
    for part in (tokenizer.sha256, clean_key(), division.share, sections):
        digest.update(f"{part!r}\0".encode())
    for row in rows:
        digest.update(row.text_hash or b"")
        if not division.by_sections:
            digest.update(division.side(row.text_hash or b"").encode())
    return digest.hexdigest()


def is_current(project: Project, rows: list[FileRow], config: ProjectConfig, t: Tokenizer) -> bool:
    """Whether the prepared data belongs to these files, options and tokenizer."""
    manifest = load_manifest(project)
    expected = dataset_id(rows, divide(rows, config.data.val_split), t)
    return manifest is not None and manifest.dataset_id == expected


class TokenFile:
    """A one-dimensional `.npy` that grows by writes; its header is set when it is finished."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._path, self._dtype = path, dtype
        self._file: BinaryIO = path.open("wb")
        self._file.write(bytes(HEADER_BYTES))
        self.length = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add values; a full disk raises here and not as a signal later."""
        faults.passage("encode.write")
        self._file.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        self.length += values.size

    def truncate(self, length: int) -> None:
        """Forget everything behind ``length`` values."""
        self._file.flush()
        self._file.truncate(HEADER_BYTES + length * self._dtype.itemsize)
        self._file.seek(0, os.SEEK_END)
        self.length = length

    def finish(self, columns: int = 1) -> FileMark:
        """Write the header, sync, close; returns what the file now is."""
        shape = (self.length,) if columns == 1 else (self.length // columns, columns)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        )
        text = header.getvalue()
        assert len(text) == HEADER_BYTES, len(text)
        self._file.seek(0)
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return FileMark(file_sha256(self._path), self._path.stat().st_size, shape[0])

    def close(self) -> None:
        """Give up."""
        self._file.close()


@dataclass(frozen=True)
class Item:
    """A text on its way: a whole small file (text None: read it in the thread) or a section."""

    row: FileRow
    side: str
    text_hash: bytes
    text: str | None = None
    span: Span | None = None
    is_last: bool = True  # of its file on this side: [EOS] follows
    abort: str = ""  # the file failed: forget what was written of it


@dataclass(frozen=True)
class Encoded:
    """An item with its tokens, or the reason why it has none."""

    item: Item
    ids: npt.NDArray[Any] | None
    reason: str = ""


class Builder:
    """One encoding of a project's used files.

    Args:
        project: whose files.
        index: its open index, used by the calling thread only.
        tokenizer: to encode with.
        division: sides.
        threads: encoders.
        on_progress: told (text bytes done, text bytes in all).
        check: raises `Cancelled` when the user wants to stop.
    """

    def __init__(
        self,
        project: Project,
        index: Index,
        tokenizer: Tokenizer,
        division: Division,
        *,
        roots: dict[int, Path],
        threads: int,
        on_progress: Callable[[int, int], None],
        check: Callable[[], None],
    ) -> None:
        self._project, self._index, self._tokenizer = project, index, tokenizer
        self._division, self._roots, self._threads = division, roots, threads
        self._on_progress, self._check = on_progress, check
        self._dtype = np.dtype("<u2" if tokenizer.vocab_size <= 65_536 else "<u4")
        self._eos = np.array([tokenizer.eos_id], dtype=self._dtype)
        self._building = project.data_dir / ".building"
        self._segment_name, self._segment_length = "", 0
        self._segments: dict[str, npt.NDArray[Any]] = {}
        self._cache_rows: list[tuple[bytes, str, str, int, int, bytes]] = []
        self.encoded_docs = self.cached_docs = 0
        self._token_bytes = tokenizer.token_bytes()
        self._text_bytes = dict.fromkeys(SIDES, 0)
        self._open_sides: set[str] = set()  # whose last document goes on in the next section
        self._tokens: dict[int, dict[str, int]] = {}  # file id -> side -> tokens without [EOS]
        self._row_start: tuple[int | None, dict[str, tuple[int, int, int]]] = (None, {})

    def build(self, rows: list[FileRow]) -> Manifest:
        """Encode, write, commit; returns the manifest.

        Raises:
            DataError: no text was left.
            DiskError: the disk is full; the dataset of before is unchanged.
            Cancelled: the user stopped; what was encoded is kept in the cache.
        """
        cache_dir = self._project.data_dir / "cache"
        try:
            for folder in (self._building, cache_dir):
                folder.mkdir(parents=True, exist_ok=True)
            self._index.forget_cache(keep=self._tokenizer.sha256)
            self._drop_dead_segments(cache_dir)
            self._segment_name = f"{max(_numbers(cache_dir), default=0) + 1:06d}.tokens"
            self._sides = {
                side: (
                    TokenFile(self._building / f"{side}.npy", self._dtype),
                    TokenFile(self._building / f"{side}_docs.npy", np.dtype("<u8")),
                )
                for side in SIDES
            }
            with (cache_dir / self._segment_name).open("wb") as self._segment:
                try:
                    self._encode_all(rows)
                finally:
                    self._commit_cache()
            return self._commit(rows)
        except OSError as problem:
            raise errors.disk_error(
                problem, "encoded_data", safe="The prepared data of before is unchanged."
            ) from problem
        finally:
            for tokens, docs in getattr(self, "_sides", {}).values():
                tokens.close()
                docs.close()
            shutil.rmtree(self._building, ignore_errors=True)  # a full disk gets its room back
            with contextlib.suppress(OSError):
                if self._segment_name and not self._segment_length:
                    (cache_dir / self._segment_name).unlink(missing_ok=True)

    def _drop_dead_segments(self, cache_dir: Path) -> None:
        alive = self._index.cache_segments()
        for path in cache_dir.glob("*.tokens"):
            if path.name not in alive:
                path.unlink()

    def _encode_all(self, rows: list[FileRow]) -> None:
        total, done = sum(row.text_bytes or 0 for row in rows), 0
        waiting: deque[Future[list[Encoded]]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for batch in self._batches(rows):
                    self._check()
                    waiting.append(pool.submit(self._encode_batch, batch))
                    while len(waiting) > self._threads + 1:
                        done += self._take(waiting.popleft())
                        self._on_progress(min(done, total), total)
                while waiting:
                    done += self._take(waiting.popleft())
                    self._on_progress(min(done, total), total)
            finally:
                for future in waiting:
                    future.cancel()

    def _batches(self, rows: list[FileRow]) -> Iterator[list[Item]]:
        """Items in order; small files together, a long file or one to be divided by itself."""
        batch: list[Item] = []
        chars = 0
        for row in rows:
            if self._division.by_sections or (row.chars or 0) > extract.SECTION_CHARS:
                if batch:
                    yield batch
                    batch, chars = [], 0
                yield from ([item] for item in self._sections(row))
                continue
            assert row.text_hash is not None
            span = self._find_span(row.text_hash)
            batch.append(Item(row, self._division.side(row.text_hash), row.text_hash, span=span))
            chars += 0 if span else row.chars or 0
            if chars >= BATCH_CHARS or len(batch) >= BATCH_FILES:
                yield batch
                batch, chars = [], 0
        if batch:
            yield batch

    def _find_span(self, text_hash: bytes) -> Span | None:
        """A cached span whose bytes are still what they were."""
        span = self._index.cached(text_hash, self._tokenizer.sha256)
        if span is None or span.segment == self._segment_name:
            return None
        tokens = self._read_span(span)
        if tokens is None or xxhash.xxh3_128_digest(tokens.data) != span.span_hash:
            return None
        return span

    def _read_span(self, span: Span) -> npt.NDArray[Any] | None:
        if span.segment not in self._segments:
            path = self._project.data_dir / "cache" / span.segment
            try:
                self._segments[span.segment] = np.memmap(path, self._dtype, mode="r")
            except (OSError, ValueError):
                return None
        tokens = self._segments[span.segment][span.start : span.start + span.n_tokens]
        return np.asarray(tokens) if len(tokens) == span.n_tokens else None

    def _sections(self, row: FileRow) -> Iterator[Item]:
        """A long document in sections; in a small corpus each section finds its own side."""
        whole = xxhash.xxh3_128()
        held: Item | None = None
        by_sections = self._division.by_sections
        length = self._division.section_chars if by_sections else extract.SECTION_CHARS
        assert row.text_hash is not None
        try:
            for text in extract.sections(self._read(row), length):
                data = text.encode("utf-8")
                whole.update(data)
                text_hash = xxhash.xxh3_128_digest(data)
                if by_sections and not self._division.forced:
                    self._division.forced[text_hash] = "train"  # never all of it for checking
                side = self._division.side(text_hash if by_sections else row.text_hash)
                if held is not None:
                    yield replace(held, is_last=held.side != side)
                span = self._find_span(text_hash)
                held = Item(row, side, text_hash, None if span else text, span)
            if whole.digest() != row.text_hash:
                raise SkipFile("changed")
        except SkipFile as skip:
            yield Item(row, "train", b"", abort=skip.reason)
            return
        if held is not None:
            yield held

    def _read(self, row: FileRow) -> Iterator[str]:
        expected = FileId(row.size, row.mtime_ns, row.dev, row.inode)
        path = file_path(self._roots[row.source_id], row.path)
        return extract.read_text(path, expected, row.encoding or "utf-8")

    def _encode_batch(self, batch: list[Item]) -> list[Encoded]:
        """Runs in a thread: read and encode what is not cached."""
        out = []
        for item in batch:
            if item.span is not None or item.abort:
                out.append(Encoded(item, None, item.abort))
                continue
            try:
                text = "".join(self._read(item.row)) if item.text is None else item.text
                if item.text is None and _text_hash(text) != item.text_hash:
                    raise SkipFile("changed")
            except SkipFile as skip:
                out.append(Encoded(item, None, skip.reason))
                continue
            ids = self._tokenizer.encode(text)
            assert not len(ids) or int(ids.max()) < self._tokenizer.vocab_size
            out.append(Encoded(item, ids.astype(self._dtype)))
        return out

    def _take(self, future: "Future[list[Encoded]]") -> int:
        """Write a finished batch; returns its text bytes."""
        while True:
            try:
                batch = future.result(timeout=0.2)
                break
            except TimeoutError:
                self._check()
        n_bytes = 0
        for encoded in batch:
            row = encoded.item.row
            if self._row_start[0] != row.id:
                self._row_start = (row.id, self._lengths())
            if encoded.reason:
                self._forget(row, encoded.reason)
            else:
                n_bytes += self._write(encoded)
        self._commit_cache()
        return n_bytes

    def _lengths(self) -> dict[str, tuple[int, int, int]]:
        return {
            side: (tokens.length, docs.length, self._text_bytes[side])
            for side, (tokens, docs) in self._sides.items()
        }

    def _write(self, encoded: Encoded) -> int:
        """Append the tokens of an item; returns the bytes of text they stand for."""
        item, ids = encoded.item, encoded.ids
        if ids is not None:
            self._remember(item.text_hash, ids)
            self.encoded_docs += 1
        else:
            assert item.span is not None
            ids = self._read_span(item.span)
            assert ids is not None
            self.cached_docs += 1
        tokens, docs = self._sides[item.side]
        assert item.row.id is not None
        if item.side not in self._open_sides:
            docs.append(np.array([tokens.length, item.row.id], dtype="<u8"))
        tokens.append(ids)
        if item.is_last:
            tokens.append(self._eos)
        (self._open_sides.discard if item.is_last else self._open_sides.add)(item.side)
        mine = self._tokens.setdefault(item.row.id, {})
        mine[item.side] = mine.get(item.side, 0) + len(ids)
        is_whole = item.text_hash == item.row.text_hash
        n_bytes = (item.row.text_bytes or 0) if is_whole else int(self._token_bytes[ids].sum())
        self._text_bytes[item.side] += n_bytes
        return n_bytes

    def _forget(self, row: FileRow, reason: str) -> None:
        """Undo what was written of a file that failed half-way, and say so in the index."""
        assert row.id is not None
        self._index.fail_file(row.id, reason)
        self._tokens.pop(row.id, None)
        self._open_sides.clear()
        for side, (n_tokens, n_docs, n_bytes) in self._row_start[1].items():
            tokens, docs = self._sides[side]
            tokens.truncate(n_tokens)
            docs.truncate(n_docs)
            self._text_bytes[side] = n_bytes

    def _remember(self, text_hash: bytes, ids: npt.NDArray[Any]) -> None:
        self._segment.write(ids.data)
        digest = xxhash.xxh3_128_digest(ids.data)
        key = (text_hash, self._tokenizer.sha256, self._segment_name)
        self._cache_rows.append((*key, self._segment_length, len(ids), digest))
        self._segment_length += len(ids)

    def _commit_cache(self) -> None:
        """Cache rows are only written for tokens that are on the disk."""
        if len(self._cache_rows):
            self._segment.flush()
            os.fsync(self._segment.fileno())
            self._index.put_cache(self._cache_rows)
            self._cache_rows = []

    def _commit(self, rows: list[FileRow]) -> Manifest:
        marks = {}
        counts = {}
        for side, (tokens, docs) in self._sides.items():
            counts[side] = (tokens.length, docs.length // 2)
            docs.append(np.array([tokens.length, 0], dtype="<u8"))
            marks[f"{side}.npy"] = tokens.finish()
            marks[f"{side}_docs.npy"] = docs.finish(columns=2)
        if not counts["train"][0]:
            raise DataError(
                "EMPTY",
                "No text was left to train on.",
                todo="Look at the list of skipped files: Data tab, or sllm.py scan PROJECT on the command "
                "line.",
            )
        used = [row for row in rows if row.id in self._tokens]
        manifest = Manifest(
            dataset_id=dataset_id(used, self._division, self._tokenizer),
            dtype=self._dtype.str,
            vocab_size=self._tokenizer.vocab_size,
            tokenizer_sha256=self._tokenizer.sha256,
            clean_key=clean_key(),
            eos_id=self._tokenizer.eos_id,
            engine=self._tokenizer.engine,
            train_tokens=counts["train"][0],
            val_tokens=counts["val"][0],
            train_docs=counts["train"][1],
            val_docs=counts["val"][1],
            train_text_bytes=self._text_bytes["train"],
            val_text_bytes=self._text_bytes["val"],
            files=marks,
        )
        body = json.dumps(asdict(manifest), indent=2) + "\n"
        write_text(self._building / "manifest.json", body, point="encode.write")
        for name in (*marks, "manifest.json"):  # renames need no room: the disk may be full now
            (self._building / name).replace(self._project.data_dir / name)
        sync_folder(self._project.data_dir)
        self._index.set_tokens(
            ("both" if len(sides) > 1 else next(iter(sides)), sum(sides.values()), file_id)
            for file_id, sides in self._tokens.items()
        )
        return manifest


def _numbers(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.tokens") if path.stem.isdigit()]


def _text_hash(text: str) -> bytes:
    return xxhash.xxh3_128_digest(text.encode("utf-8"))


def sample_texts(
    rows: list[FileRow], roots: dict[int, Path], division: Division, limit_bytes: int
) -> Iterator[str]:
    """A stable choice of training documents, at most ``limit_bytes`` in all, for the tokenizer.

    Each gives its beginning; where there are few documents, each gives more.
    """
    if not division.by_sections:
        rows = [row for row in rows if division.side(row.text_hash or b"") == "train"]
    rows = sorted(rows, key=lambda row: (_rank(row.text_hash or b""), row.path))
    most = max(SAMPLE_CHARS, limit_bytes // max(1, len(rows)))
    left = limit_bytes
    for row in rows:
        expected = FileId(row.size, row.mtime_ns, row.dev, row.inode)
        pieces = extract.read_text(
            file_path(roots[row.source_id], row.path), expected, row.encoding or "utf-8"
        )
        taken = 0
        with contextlib.suppress(SkipFile):  # the encoding will report it
            for text in extract.sections(pieces):
                text = training_piece(text, most - taken)
                taken += len(text)
                left -= len(text.encode("utf-8"))
                yield text
                if taken >= most or left <= 0:
                    break
        if left <= 0:
            return

"""Prepare: from the used files to token files, streamed, incremental, never half finished.

Texts are read and encoded by a few threads (the encoder leaves Python's lock) and written in a
fixed order. Every encoded text is remembered in a cache, so that a run that was killed, or new
files, cost only what is new. The manifest is written last: without it there is no dataset.
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

from sllm_core import errors, faults
from sllm_core.corpus import extract
from sllm_core.corpus.clean import clean_key
from sllm_core.corpus.division import NAMES, SECTIONS, TRAIN, VAL, Division, Units, rank
from sllm_core.corpus.extract import SkipFile
from sllm_core.corpus.index import FileRow, Index, Span
from sllm_core.corpus.sources import drop_dead_texts
from sllm_core.corpus.store import Texts
from sllm_core.dataset import FileMark, Manifest, load_manifest, version_path
from sllm_core.errors import DataError
from sllm_core.project import Project, atomic_write, file_sha256, sync_folder, write_text
from sllm_core.tokenizer import SAMPLE_CHARS, Tokenizer, training_piece

HEADER_BYTES = 128
BATCH_BYTES = 4 << 20  # text that one task encodes
BATCH_PARTS = 1024
PARTS = (TRAIN, VAL)


def dataset_id(units: Units, division: Division, tokenizer: Tokenizer, key: str) -> str:
    """Identity of a dataset: its texts in their order, how they are divided, cleaned, encoded.

    Args:
        units: the used files.
        division: where each goes.
        tokenizer: what they are encoded with.
        key: of the cleaning, see `clean_key`.
    """
    digest = hashlib.sha256()
    for part in (tokenizer.sha256, key, division.share):
        digest.update(f"{part!r}\0".encode())
    inside = division.sides == SECTIONS
    for array in (units.hashes, units.sources, division.sides, division.section_chars[inside]):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def is_current(
    project: Project, units: Units, division: Division, tokenizer: Tokenizer, key: str
) -> bool:
    """Whether the prepared data belongs to these files, options and tokenizer.

    After *Clear cache* it does not: the next Prepare reads and encodes everything again.
    """
    manifest = load_manifest(project)
    if manifest is None or not any((project.data_dir / "cache").glob("*.tokens")):
        return False
    return manifest.dataset_id == dataset_id(units, division, tokenizer, key)


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


@dataclass
class Side:
    """The files of one side while they grow: tokens, where documents begin, which texts they are."""

    tokens: TokenFile
    docs: TokenFile  # pairs: first token, file id
    texts: TokenFile  # the first eight bytes of each document's text hash
    text_bytes: int = 0
    is_open: bool = False  # its last document goes on in what comes next

    @staticmethod
    def create(folder: Path, name: str, dtype: np.dtype[Any]) -> "Side":
        """Fresh files ``NAME.npy``, ``NAME_docs.npy``, ``NAME_texts.npy``."""
        wide = np.dtype("<u8")
        return Side(
            TokenFile(folder / f"{name}.npy", dtype),
            TokenFile(folder / f"{name}_docs.npy", wide),
            TokenFile(folder / f"{name}_texts.npy", wide),
        )

    def lengths(self) -> tuple[int, int, int, int]:
        """How long all of it is, for `truncate`."""
        return self.tokens.length, self.docs.length, self.texts.length, self.text_bytes

    def truncate(self, lengths: tuple[int, int, int, int]) -> None:
        """Forget what came since."""
        for file, length in zip((self.tokens, self.docs, self.texts), lengths[:3], strict=True):
            file.truncate(length)
        self.text_bytes, self.is_open = lengths[3], False

    def close(self) -> None:
        """Give up."""
        for file in (self.tokens, self.docs, self.texts):
            file.close()


@dataclass
class Batch:
    """Parts of text on their way: whole small files, sections of a long one, records of a table.

    A part is a document of its own unless ``goes_on`` says that the next part of its side
    continues it. ``key`` is set when all parts are cached as one (records).
    """

    rows: list[FileRow] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # of the row among the used files
    hashes: list[bytes] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # bytes of text
    texts: list[bytes | None] = field(default_factory=list)  # None: to be read by the thread
    goes_on: list[bool] = field(default_factory=list)
    spans: dict[bytes, Span] = field(default_factory=dict)
    n_bytes: int = 0  # of all texts
    key: bytes = b""
    is_first: bool = False  # of a file that takes several batches
    abort: str = ""  # that file failed: forget what was written of it

    def add(
        self, row: FileRow, place: int, text_hash: bytes, side: int, size: int, text: bytes | None
    ) -> None:
        """One part more."""
        self.rows.append(row)
        self.places.append(place)
        self.hashes.append(text_hash)
        self.sides.append(side)
        self.sizes.append(size)
        self.n_bytes += size
        self.texts.append(text)
        self.goes_on.append(False)

    @property
    def is_full(self) -> bool:
        """Whether it is time to encode it."""
        return len(self.rows) >= BATCH_PARTS or self.n_bytes >= BATCH_BYTES


@dataclass
class Encoded:
    """A batch with its tokens."""

    batch: Batch
    ids: list[npt.NDArray[Any] | None]  # a part; None: it failed
    reasons: list[str]  # '' or why it failed
    is_fresh: list[bool]  # encoded now, not taken from the cache


class Builder:
    """One encoding of a project's used files.

    Args:
        project: whose files.
        index: its open index, used by the calling thread only.
        tokenizer: to encode with.
        texts: reads the files.
        units: the used files.
        division: where each goes.
        threads: encoders.
        on_progress: told (text bytes done, text bytes in all).
        check: raises `Cancelled` when the user wants to stop.
    """

    def __init__(
        self,
        project: Project,
        index: Index,
        tokenizer: Tokenizer,
        *,
        texts: Texts,
        units: Units,
        division: Division,
        threads: int,
        on_progress: Callable[[int, int], None],
        check: Callable[[], None],
    ) -> None:
        self._project, self._index, self._tokenizer = project, index, tokenizer
        self._texts, self._units, self._division = texts, units, division
        self._threads, self._on_progress, self._check = threads, on_progress, check
        self._dtype = np.dtype("<u2" if tokenizer.vocab_size <= 65_536 else "<u4")
        self._building = project.data_dir / ".building"
        self._segment_name, self._segment_length = "", 0
        self._segments: dict[str, npt.NDArray[Any]] = {}
        self._cache_rows: list[tuple[bytes, str, str, int, int, bytes]] = []
        self._sides: dict[int, Side] = {}
        self._begun: dict[int, tuple[int, int, int, int]] = {}  # lengths before the long file
        self.encoded_docs = self.cached_docs = 0

    def build(self) -> Manifest:
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
            drop_dead_texts(self._project, self._index)
            self._segment_name = f"{max(_numbers(cache_dir), default=0) + 1:06d}.tokens"
            with (cache_dir / self._segment_name).open("wb") as self._segment:
                self._compose()
                if (missing := self._missing_side()) is not None:
                    self._division.force(*missing)
                    self._close_sides()
                    self._compose()
            return self._commit()
        except OSError as problem:
            raise errors.disk_error(
                problem, "encoded_data", safe="The prepared data of before is unchanged."
            ) from problem
        finally:
            self._close_sides()
            shutil.rmtree(self._building, ignore_errors=True)  # a full disk gets its room back
            with contextlib.suppress(OSError):
                if self._segment_name and not self._segment_length:
                    (cache_dir / self._segment_name).unlink(missing_ok=True)

    def _drop_dead_segments(self, cache_dir: Path) -> None:
        alive = self._index.cache_segments()
        for path in cache_dir.glob("*.tokens"):
            if path.name not in alive:
                path.unlink()

    def _compose(self) -> None:
        """All token files from the first text to the last."""
        n = len(self._units)
        self._sides = {
            side: Side.create(self._building, NAMES[side], self._dtype) for side in PARTS
        }
        self._counts = {side: np.zeros(n, dtype=np.int64) for side in PARTS}  # tokens a file
        self._has = {side: np.zeros(n, dtype=bool) for side in PARTS}
        self._failed = np.zeros(n, dtype=bool)
        self._lowest: tuple[float, bytes] | None = None  # rank and hash among divided parts
        self._highest: tuple[float, bytes] | None = None
        self.encoded_docs = self.cached_docs = 0
        try:
            self._encode_all()
        finally:
            self._commit_cache()

    def _close_sides(self) -> None:
        for side in self._sides.values():
            side.close()
        self._sides = {}

    def _missing_side(self) -> tuple[bytes, int] | None:
        """A section or record to put on the side that nothing came to, if there is a choice."""
        if self._lowest is None or self._highest is None or self._lowest == self._highest:
            only = self._lowest
            is_empty = not self._sides[TRAIN].docs.length
            return (only[1], TRAIN) if only and is_empty else None
        if not self._sides[VAL].docs.length:
            return self._lowest[1], VAL
        if not self._sides[TRAIN].docs.length:
            return self._highest[1], TRAIN
        return None

    def _encode_all(self) -> None:
        total, done = int(self._units.sizes.sum()), 0
        waiting: deque[Future[Encoded]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for batch in self._batches():
                    self._check()
                    waiting.append(pool.submit(self._encode, batch))
                    while len(waiting) > self._threads + 1:
                        done += self._take(waiting.popleft())
                        self._on_progress(min(done, total), total)
                while waiting:
                    done += self._take(waiting.popleft())
                    self._on_progress(min(done, total), total)
            finally:
                for future in waiting:
                    future.cancel()

    # -- from files to batches -------------------------------------------------------------------

    def _batches(self) -> Iterator[Batch]:
        """Parts in their fixed order; small files together, a long file by itself."""
        batch = Batch()
        for place, row in enumerate(self._rows()):
            side = int(self._division.sides[place])
            is_long = (row.chars or 0) > extract.SECTION_CHARS
            if row.records is None and side != SECTIONS and not is_long:
                assert row.text_hash is not None
                batch.add(row, place, row.text_hash, side, row.text_bytes or 0, None)
                if not batch.is_full:
                    continue
            if batch.rows:
                yield self._with_spans(batch)
                batch = Batch()
            if row.records is not None:
                yield from self._long(row, self._records(row, place))
            elif side == SECTIONS or is_long:
                yield from self._long(row, self._sections(row, place, side))
        if batch.rows:
            yield self._with_spans(batch)

    def _rows(self) -> Iterator[FileRow]:
        """The rows of the units; whoever changed the index meanwhile is noticed."""
        for place, row in enumerate(self._index.used_files()):
            if place >= len(self._units) or row.id != self._units.ids[place]:
                raise DataError("STALE", "The list of files changed while it was encoded.")
            yield row

    def _with_spans(self, batch: Batch) -> Batch:
        """Where the cache has tokens of the parts; the bytes are proven by the thread."""
        keys = [batch.key] if batch.key else batch.hashes
        found = self._index.cached_many(keys, self._tokenizer.sha256)
        batch.spans = {k: s for k, s in found.items() if s.segment != self._segment_name}
        for span in batch.spans.values():
            self._open_segment(span.segment)
        return batch

    def _open_segment(self, name: str) -> None:
        if name not in self._segments:
            path = self._project.data_dir / "cache" / name
            try:
                self._segments[name] = np.memmap(path, self._dtype, mode="r")
            except (OSError, ValueError):
                self._segments[name] = np.empty(0, self._dtype)

    def _long(self, row: FileRow, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of one file; if it cannot be read to its end, nothing of it counts."""
        is_first = True
        try:
            for batch in batches:
                batch.is_first, is_first = is_first, False
                yield self._with_spans(batch)
        except SkipFile as skip:
            yield Batch(rows=[row], abort=skip.reason, is_first=is_first)

    def _sections(self, row: FileRow, place: int, side: int) -> Iterator[Batch]:
        """A long document in sections; in a small corpus each section finds its own side."""
        whole = xxhash.xxh3_128()
        is_divided = side == SECTIONS
        length = int(self._division.section_chars[place]) if is_divided else extract.SECTION_CHARS
        batch = Batch()
        for text in extract.sections(self._texts.pieces(row), length):
            data = text.encode("utf-8")
            whole.update(data)
            text_hash = xxhash.xxh3_128_digest(data)
            if is_divided:
                side = self._side_of_part(text_hash)
            if batch.rows:
                batch.goes_on[-1] = batch.sides[-1] == side
            if batch.is_full:
                yield batch
                batch = Batch()
            batch.add(row, place, text_hash, side, len(data), data)
        if whole.digest() != row.text_hash:
            raise SkipFile("changed")
        if batch.rows:
            yield batch

    def _records(self, row: FileRow, place: int) -> Iterator[Batch]:
        """The documents of a table; blocks of them are cached together."""
        whole = xxhash.xxh3_128()
        batch = Batch()
        for text in self._texts.records(row):
            data = text.encode("utf-8")
            whole.update(data)
            whole.update(b"\n")
            if not data:
                continue
            text_hash = xxhash.xxh3_128_digest(data)
            batch.add(row, place, text_hash, self._side_of_part(text_hash), len(data), data)
            if batch.is_full:
                yield _as_block(batch)
                batch = Batch()
        if whole.digest() != row.text_hash:
            raise SkipFile("changed")
        if batch.rows:
            yield _as_block(batch)

    def _side_of_part(self, text_hash: bytes) -> int:
        found = rank(text_hash), text_hash
        self._lowest = min(self._lowest or found, found)
        self._highest = max(self._highest or found, found)
        return self._division.side_of_part(text_hash)

    # -- in the threads --------------------------------------------------------------------------

    def _encode(self, batch: Batch) -> Encoded:
        """Read and encode what is not cached."""
        n = len(batch.rows)
        if batch.abort:
            return Encoded(batch, [None] * n, [batch.abort] * n, [False] * n)
        if batch.key:
            return self._encode_block(batch)
        ids: list[npt.NDArray[Any] | None] = [None] * n
        reasons, todo, texts = [""] * n, [], []
        for i in range(n):
            ids[i] = self._cached(batch.spans.get(batch.hashes[i]))
            if ids[i] is not None:
                continue
            try:
                text = batch.texts[i]
                texts.append(self._texts.small(batch.rows[i]) if text is None else text)
                todo.append(i)
            except SkipFile as skip:
                reasons[i] = skip.reason
        is_fresh = [False] * n
        if todo:
            flat, lengths = self._checked(texts)
            begin = 0
            for i, length in zip(todo, lengths.tolist(), strict=True):
                ids[i], is_fresh[i] = flat[begin : begin + length], True
                begin += length
        return Encoded(batch, ids, reasons, is_fresh)

    def _checked(self, texts: list[bytes]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        flat, lengths = self._tokenizer.encode_batch(texts)
        assert not len(flat) or int(flat.max()) < self._tokenizer.vocab_size
        return flat.astype(self._dtype), lengths

    def _encode_block(self, batch: Batch) -> Encoded:
        """Records: cached as one run of tokens with [EOS] between them, which no text contains."""
        n, eos = len(batch.rows), self._tokenizer.eos_id
        block = self._cached(batch.spans.get(batch.key))
        if block is not None:
            cuts = np.flatnonzero(block == eos)
            if len(cuts) == n - 1:
                parts = np.split(block, cuts)
                ids = [part[bool(i) :] for i, part in enumerate(parts)]
                return Encoded(batch, list(ids), [""] * n, [False] * n)
        texts = [text for text in batch.texts if text is not None]
        flat, lengths = self._checked(texts)
        return Encoded(batch, list(np.split(flat, np.cumsum(lengths)[:-1])), [""] * n, [True] * n)

    def _cached(self, span: Span | None) -> npt.NDArray[Any] | None:
        """The tokens of a span, if they are still what was written."""
        if span is None:
            return None
        tokens = self._segments[span.segment][span.start : span.start + span.n_tokens]
        if len(tokens) != span.n_tokens:
            return None
        if xxhash.xxh3_128_digest(tokens.tobytes()) != span.span_hash:
            return None
        return np.asarray(tokens)

    # -- writing, in order -----------------------------------------------------------------------

    def _take(self, future: "Future[Encoded]") -> int:
        """Write a finished batch; returns its text bytes."""
        while True:
            try:
                encoded = future.result(timeout=0.2)
                break
            except TimeoutError:
                self._check()
        batch = encoded.batch
        if batch.is_first:
            self._begun = {side: files.lengths() for side, files in self._sides.items()}
        if batch.abort:
            self._forget(batch.rows[0], batch.abort)
            return 0
        for place, row, reason in zip(batch.places, batch.rows, encoded.reasons, strict=True):
            if reason:
                assert row.id is not None
                self._index.fail_file(row.id, reason)
                self._failed[place] = True
        self._remember(encoded)
        for side in PARTS:
            self._append(side, encoded)
        self._commit_cache()
        return batch.n_bytes

    def _append(self, side: int, encoded: Encoded) -> None:
        """The parts of one side: all of them in one write."""
        batch, files = encoded.batch, self._sides[side]
        chosen = [
            i for i, ids in enumerate(encoded.ids) if batch.sides[i] == side and ids is not None
        ]
        if not chosen:
            return
        parts: list[npt.NDArray[Any]] = []
        starts: list[int] = []
        texts: list[bytes] = []
        eos, at = np.array([self._tokenizer.eos_id], dtype=self._dtype), files.tokens.length
        counts, has = self._counts[side], self._has[side]
        for i in chosen:
            ids = encoded.ids[i]
            assert ids is not None
            if not files.is_open:
                starts += (at, batch.rows[i].id or 0)
                texts.append(batch.hashes[i][:8])
            parts.append(ids)
            at += len(ids)
            files.is_open = batch.goes_on[i]
            if not files.is_open:
                parts.append(eos)
                at += 1
            counts[batch.places[i]] += len(ids)
            has[batch.places[i]] = True
            files.text_bytes += batch.sizes[i]
        files.tokens.append(np.concatenate(parts))
        files.docs.append(np.array(starts, dtype="<u8"))
        files.texts.append(np.frombuffer(b"".join(texts), dtype="<u8"))

    def _forget(self, row: FileRow, reason: str) -> None:
        """Undo what was written of a file that failed half-way, and say so in the index."""
        assert row.id is not None
        self._index.fail_file(row.id, reason)
        place = int(np.flatnonzero(self._units.ids == row.id)[0])
        self._failed[place] = True
        for side, lengths in self._begun.items():
            self._sides[side].truncate(lengths)
            self._counts[side][place], self._has[side][place] = 0, False

    def _remember(self, encoded: Encoded) -> None:
        """Put what was encoded now into the cache."""
        batch, eos = encoded.batch, np.array([self._tokenizer.eos_id], dtype=self._dtype)
        self.encoded_docs += sum(encoded.is_fresh)
        self.cached_docs += (
            len(encoded.ids)
            - sum(encoded.is_fresh)
            - sum(bool(reason) for reason in encoded.reasons)
        )
        if batch.key:
            if encoded.is_fresh[0]:
                pieces = [piece for ids in encoded.ids if ids is not None for piece in (eos, ids)]
                self._write_span(batch.key, np.concatenate(pieces[1:]))
            return
        for key, ids, is_fresh in zip(batch.hashes, encoded.ids, encoded.is_fresh, strict=True):
            if is_fresh and ids is not None:
                self._write_span(key, ids)

    def _write_span(self, key: bytes, ids: npt.NDArray[Any]) -> None:
        data = ids.tobytes()
        self._segment.write(data)
        digest = xxhash.xxh3_128_digest(data)
        place = (self._segment_name, self._segment_length, len(ids), digest)
        self._cache_rows.append((key, self._tokenizer.sha256, *place))
        self._segment_length += len(ids)

    def _commit_cache(self) -> None:
        """Cache rows are only written for tokens that are on the disk."""
        if len(self._cache_rows):
            self._segment.flush()
            os.fsync(self._segment.fileno())
            self._index.put_cache(self._cache_rows)
            self._cache_rows = []

    # -- the end ---------------------------------------------------------------------------------

    def _commit(self) -> Manifest:
        counts = {side: (f.tokens.length, f.texts.length) for side, f in self._sides.items()}
        if not counts[TRAIN][0]:
            raise DataError(
                "EMPTY",
                "No text was left to train on.",
                todo="Look at the list of skipped files: Data tab, or sllm.py scan PROJECT on the command "
                "line.",
            )
        marks, ranges = {}, {}
        for side, files in self._sides.items():
            name = NAMES[side]
            files.docs.append(np.array([files.tokens.length, 0], dtype="<u8"))
            marks[f"{name}.npy"] = files.tokens.finish()
            marks[f"{name}_docs.npy"] = files.docs.finish(columns=2)
            marks[f"{name}_texts.npy"] = files.texts.finish()
            ranges[name] = self._ranges(np.load(self._building / f"{name}_docs.npy"))
        units, division = _without(self._units, self._division, self._failed)
        key = clean_key(self._texts.options)
        identity = dataset_id(units, division, self._tokenizer, key)
        before = load_manifest(self._project)
        parent = "" if before is None else before.dataset_id
        if before is not None and parent == identity:  # written again after it was damaged
            parent = before.parent
        manifest = Manifest(
            dataset_id=identity,
            dtype=self._dtype.str,
            vocab_size=self._tokenizer.vocab_size,
            tokenizer_sha256=self._tokenizer.sha256,
            clean_key=key,
            eos_id=self._tokenizer.eos_id,
            engine=self._tokenizer.engine,
            train_tokens=counts[TRAIN][0],
            val_tokens=counts[VAL][0],
            train_docs=counts[TRAIN][1],
            val_docs=counts[VAL][1],
            train_text_bytes=self._sides[TRAIN].text_bytes,
            val_text_bytes=self._sides[VAL].text_bytes,
            files=marks,
            source_ranges=ranges,
            parent=parent,
        )
        self._write_version(manifest)
        body = json.dumps(asdict(manifest), indent=2) + "\n"
        write_text(self._building / "manifest.json", body, point="encode.write")
        for name in (*marks, "manifest.json"):  # renames need no room: the disk may be full now
            (self._building / name).replace(self._project.data_dir / name)
        sync_folder(self._project.data_dir)
        self._index.set_tokens(self._token_rows(), self._tokenizer.sha256, division.decided)
        return manifest

    def _ranges(self, docs: npt.NDArray[np.uint64]) -> list[list[int]]:
        """Which source the tokens of a side come from: [source, first, end), in order."""
        starts, ids = docs[:, 0].astype(np.int64), docs[:-1, 1].astype(np.int64)
        order = np.argsort(self._units.ids)
        of = self._units.sources[order[np.searchsorted(self._units.ids[order], ids)]]
        cuts = np.flatnonzero(np.diff(of)) + 1
        firsts = np.concatenate(([0], cuts)) if len(of) else np.empty(0, dtype=np.int64)
        ends = [*cuts.tolist(), len(of)]
        return [
            [int(of[first]), int(starts[first]), int(starts[end])]
            for first, end in zip(firsts.tolist(), ends, strict=False)
        ]

    def _write_version(self, manifest: Manifest) -> None:
        """Which texts this dataset trains on, kept for ever: what is new is told by it later."""
        path = version_path(self._project, manifest.dataset_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        known = np.unique(np.load(self._building / "train_texts.npy"))
        with atomic_write(path, point="encode.write") as file:
            np.lib.format.write_array(file, known, allow_pickle=False)

    def _token_rows(self) -> Iterator[tuple[str, int, int]]:
        for place, file_id in enumerate(self._units.ids.tolist()):
            found = [side for side in PARTS if self._has[side][place]]
            if found:
                split = "both" if len(found) > 1 else NAMES[found[0]]
                yield split, int(sum(self._counts[side][place] for side in found)), file_id


def _as_block(batch: Batch) -> Batch:
    batch.key = xxhash.xxh3_128_digest(b"records" + b"".join(batch.hashes))
    return batch


def _without(
    units: Units, division: Division, failed: npt.NDArray[np.bool_]
) -> tuple[Units, Division]:
    """The same without the files that failed."""
    if not failed.any():
        return units, division
    kept = ~failed
    left = Units(**{name: getattr(units, name)[kept] for name in Units.__dataclass_fields__})
    sides, lengths = division.sides[kept], division.section_chars[kept]
    return left, Division(division.share, sides, lengths, division.decided, division.forced)


def _numbers(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.tokens") if path.stem.isdigit()]


def clear_cache(project: Project, index: Index) -> int:
    """Really forget all encoded and extracted texts; returns the bytes that became free.

    The prepared dataset stays; the next Prepare reads and encodes everything again.
    """
    freed = 0
    index.forget_cache()
    index.write("UPDATE files SET clean_key = NULL WHERE state = ?", [("used",)])
    for folder in (project.data_dir / "cache", project.data_dir / "texts"):
        for path in sorted(folder.glob("*")):
            freed += path.stat().st_size
            path.unlink()
    return freed


def sample_texts(
    index: Index,
    texts: Texts,
    units: Units,
    division: Division,
    limit_bytes: int,
    weights: dict[int, float] | None = None,
) -> Iterator[str]:
    """A stable choice of training documents, about ``limit_bytes`` in all, for the tokenizer.

    Each source gives its share, times its weight in the mixture. Each document gives its
    beginning; where there are few documents, each gives more.
    """
    chosen: list[tuple[FileRow, int]] = []  # asked for now: the trainer iterates on its own thread
    for source, share in _shares(units, limit_bytes, weights or {}).items():
        places = np.flatnonzero((units.sources == source) & (division.sides != VAL))
        order = sorted(places.tolist(), key=lambda i: rank(units.hashes[i].tobytes()))
        most = max(SAMPLE_CHARS, share // max(1, len(order)))
        reach = np.cumsum(np.minimum(units.sizes[order], most))
        order = order[: int(np.searchsorted(reach, share)) + 1]
        rows = index.rows_by_id(int(units.ids[i]) for i in order)
        chosen += [(row, most) for row in rows]
    return (text for row, most in chosen for text in _beginning(texts, row, most))


def _shares(units: Units, limit_bytes: int, weights: dict[int, float]) -> dict[int, int]:
    """Bytes of the sample that each source gives."""
    sizes = {
        int(source): float(units.sizes[units.sources == source].sum()) * weights.get(int(source), 1)
        for source in np.unique(units.sources)
    }
    whole = sum(sizes.values()) or 1.0
    return {source: int(limit_bytes * size / whole) + 1 for source, size in sizes.items()}


def _beginning(texts: Texts, row: FileRow, most: int) -> Iterator[str]:
    """At most ``most`` characters of a document, or of the first records of a table."""
    taken = 0
    with contextlib.suppress(SkipFile):  # the encoding will report it
        pieces = texts.pieces(row)
        for text in pieces if row.records is not None else extract.sections(pieces):
            text = training_piece(text, most - taken)
            taken += len(text)
            yield text
            if taken >= most:
                return

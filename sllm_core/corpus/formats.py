"""Which format a file has, and its text: opened once, at the scan, inside a limited child.

The text of a file goes into the text store as plain UTF-8, of a table with the end of each record
beside it; everything later reads that. Nothing is written anywhere else.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import xxhash

from sllm_core.corpus.books import PARSER_FAULTS, read_docx, read_epub, read_notebook, read_pdf
from sllm_core.corpus.extract import FileId, SkipFile, open_regular
from sllm_core.corpus.markup import decode_page, page_text
from sllm_core.corpus.records import (
    ParquetTable,
    Row,
    Tally,
    chosen_columns,
    describe,
    head_of,
    rows_of,
    text_columns,
    text_of,
)
from sllm_core.corpus.streams import (
    MARKED,
    Limits,
    Reading,
    TextStore,
    decoded,
    read_all,
    unpacked,
    whole,
)

# Raised whenever the same file could give another text.
VERSIONS = {
    "": 1,
    "html": 1,
    "epub": 1,
    "docx": 1,
    "pdf": 1,
    "ipynb": 1,
    "jsonl": 1,
    "csv": 1,
    "tsv": 1,
    "parquet": 1,
}
TABLES = frozenset({"jsonl", "csv", "tsv", "parquet"})
_ENDINGS = {f".{form}": form for form in VERSIONS if form} | {
    ".htm": "html",
    ".xhtml": "html",
    ".ndjson": "jsonl",
}
_PACKINGS = {".gz": "gz", ".zst": "zst"}
_PICKER_ROWS = 20
_MOST_SPOILT = 0.1  # rows that are no text, of a table that is otherwise UTF-8


@dataclass(frozen=True)
class Extracted:
    """What came out of one file.

    Attributes:
        raw_hash: xxh3-128 of the file's own bytes.
        n_records: of a table; None for a file that is one document.
        encoding: that was found; '' where the format fixes it.
        n_converted: characters that no text file can hold, replaced by U+FFFD.
        columns: of a table, those that are the text.
        note: counts worth keeping: n_bad (rows, pages, chapters left out), n_empty (rows).
    """

    raw_hash: bytes
    n_records: int | None
    chars: int
    n_bytes: int
    encoding: str
    n_converted: int
    columns: tuple[str, ...] = ()
    note: dict[str, int] = field(default_factory=dict)


def format_of(name: bytes | str) -> str:
    """The format that a file's name tells: '' for plain text, ``csv``, ``gz+csv``, ``gz+`` ..."""
    text = os.fsdecode(name).replace("\\", "/").rpartition("/")[2].lower()
    stem, ending = os.path.splitext(text)  # noqa: PTH122 - a name, no path
    packing = _PACKINGS.get(ending, "")
    if packing:
        ending = os.path.splitext(stem)[1]  # noqa: PTH122
    form = _ENDINGS.get(ending, "")
    return f"{packing}+{form}" if packing else form


def split_format(form: str) -> tuple[str, str]:
    """(packing, inner format): ``gz+csv`` -> ``('gz', 'csv')``."""
    packing, _, inner = form.rpartition("+")
    return packing, inner


def extractor_key(format: str, columns: tuple[str, ...]) -> str:
    """Changes whenever another text could come out of the same bytes; '' for plain text."""
    if not format:
        return ""
    inner = split_format(format)[1]
    key = f"{format}-{VERSIONS[inner]}"
    return f"{key} {json.dumps(columns)}" if columns and inner in TABLES else key


@dataclass
class _Job:
    """One file on its way into the store."""

    file: BinaryIO
    size: int
    form: str
    packing: str
    columns: tuple[str, ...]
    store: TextStore
    limits: Limits
    encoding: str = ""
    note: dict[str, int] = field(default_factory=dict)

    def reading(self, encoding: str) -> Reading:
        return Reading(unpacked(self.file, self.packing, self.most_bytes), encoding)

    @property
    def most_bytes(self) -> int:
        return self.limits.most_bytes(self.size)

    def whole(self) -> BinaryIO:
        return whole(self.file, self.packing, self.most_bytes, self.limits.whole_bytes)

    def count(self, **numbers: int) -> None:
        self.note |= {name: n for name, n in numbers.items() if n}


def extract(
    path: Path,
    expected: FileId,
    format: str,
    columns: tuple[str, ...],
    out: Path,
    limits: Limits | None = None,
) -> Extracted:
    """Put the text of a file into ``out``; nothing stays there when that fails.

    Args:
        path: the file.
        expected: what it was when it was listed.
        format: see `format_of`.
        columns: of a table, the text; () finds it.
        out: a file in the text store; a table's ends go beside it as ``.ends``.
        limits: what the file may grow to.

    Raises:
        SkipFile: binary, empty, encoding, parse, limit, encrypted, changed, unreadable, not-regular,
            columns (the user must choose), library (a package is missing; detail says its line).
        DiskError: the text could not be written.
    """
    packing, form = split_format(format)
    limits = limits or Limits()
    with contextlib.ExitStack() as undo, os.fdopen(open_regular(path, expected), "rb") as file:
        most = limits.most_bytes(expected.size)
        store = TextStore(out, most, has_records=form in TABLES)
        undo.callback(store.discard)
        job = _Job(file, expected.size, form, packing, columns, store, limits)
        try:
            raw_hash = _hash(file)
            _guarded(lambda: _READERS[form](job))
            store.finish()
        finally:
            _check_unchanged(file, expected)
        undo.pop_all()
    return Extracted(
        raw_hash=raw_hash,
        n_records=store.n_records if form in TABLES else None,
        chars=store.chars,
        n_bytes=store.n_bytes,
        encoding=job.encoding,
        n_converted=store.n_converted,
        columns=job.columns if form in TABLES else (),
        note=job.note,
    )


def _guarded(read: Callable[[], None]) -> None:
    """Run a reader; whatever a parser raises on bytes of strangers gets a stable reason."""
    try:
        read()
    except MemoryError as problem:
        raise SkipFile("limit", "it needs more memory than one file may have") from problem
    except OSError as problem:
        raise SkipFile("unreadable", problem.strerror or str(problem)) from problem
    except PARSER_FAULTS as problem:
        words = f"{type(problem).__name__}: {problem}"
        raise SkipFile("parse", words[:120]) from problem


def _hash(file: BinaryIO) -> bytes:
    hasher = xxhash.xxh3_128()
    try:
        while block := file.read(1 << 20):
            hasher.update(block)
    except OSError as problem:
        raise SkipFile("unreadable", problem.strerror or str(problem)) from problem
    return hasher.digest()


def _check_unchanged(file: BinaryIO, expected: FileId) -> None:
    if FileId.of(os.fstat(file.fileno())) != expected:
        raise SkipFile("changed", "it changed while it was read")


def _read_plain(job: _Job) -> None:
    def read(encoding: str) -> str:
        job.store.restart()
        reading = job.reading(encoding)
        for piece in reading:
            if "\0" in piece:
                raise SkipFile("binary", "it holds NUL characters")
            job.store.write(piece)
        return reading.encoding

    job.encoding = decoded(read)


def _read_html(job: _Job) -> None:
    blocks = unpacked(job.file, job.packing, job.most_bytes)
    page, job.encoding = decode_page(read_all(blocks, job.limits.page_bytes))
    job.store.write(page_text(page))


def _read_epub(job: _Job) -> None:
    job.count(n_bad=read_epub(job.whole(), job.store.write, job.most_bytes, job.limits))


def _read_docx(job: _Job) -> None:
    read_docx(job.whole(), job.store.write, job.most_bytes, job.limits)


def _read_pdf(job: _Job) -> None:
    job.count(n_bad=read_pdf(job.whole(), job.store.write, job.limits))


def _read_notebook(job: _Job) -> None:
    blocks = unpacked(job.file, job.packing, job.most_bytes)
    job.count(n_bad=read_notebook(read_all(blocks, job.limits.whole_bytes), job.store.write))


def _read_table(job: _Job) -> None:
    def read(encoding: str) -> str:
        job.store.restart()
        tally = Tally()
        reading = job.reading(encoding)
        rows = rows_of(reading, job.form, job.limits, tally)
        head = head_of(rows)
        if not head and tally.n_spoilt:
            raise SkipFile("binary", "it holds NUL characters")
        job.columns = chosen_columns(head, columns) if columns else text_columns(head)
        _write_rows(job, chain(head, rows), tally)
        if encoding == MARKED and tally.n_spoilt > job.store.n_records * _MOST_SPOILT:
            raise SkipFile("encoding", "too many of its rows are in no known encoding")
        return reading.encoding

    columns = job.columns
    job.encoding = decoded(read, has_rows=True)


def _read_parquet(job: _Job) -> None:
    table = ParquetTable(job.whole())
    if not job.columns:
        job.columns = text_columns(head_of(table.rows()))
    _write_rows(job, table.rows(job.columns), Tally())


def _write_rows(job: _Job, rows: Iterable[Row], tally: Tally) -> None:
    for row in rows:
        try:
            text = text_of(row, job.columns)
        except (RecursionError, ValueError):
            text = None
        if text is None:
            tally.n_bad += 1
        elif not job.store.add_record(text):
            tally.n_empty += 1
    job.count(n_bad=tally.n_bad, n_empty=tally.n_empty)
    if tally.n_bad and not job.store.n_records and not tally.n_empty:
        raise SkipFile("parse", f"none of its {tally.n_bad:,} rows can be read")


_READERS: dict[str, Callable[[_Job], None]] = {
    "": _read_plain,
    "html": _read_html,
    "epub": _read_epub,
    "docx": _read_docx,
    "pdf": _read_pdf,
    "ipynb": _read_notebook,
    "jsonl": _read_table,
    "csv": _read_table,
    "tsv": _read_table,
    "parquet": _read_parquet,
}


def table_columns(path: Path, format: str) -> list[tuple[str, str]]:
    """(name, a sample of its text) of each column of a table, from its first rows.

    Raises:
        SkipFile: it is no table, or cannot be read.
    """
    packing, form = split_format(format)
    if form not in TABLES:
        raise SkipFile("columns", "it is not a table")
    limits = Limits()
    found: list[tuple[str, str]] = []
    with os.fdopen(open_regular(path, None), "rb") as file:
        most = limits.most_bytes(os.fstat(file.fileno()).st_size)

        def read(encoding: str) -> str:
            reading = Reading(unpacked(file, packing, most), encoding)
            rows = rows_of(reading, form, limits, Tally())
            found[:] = describe(head_of(rows, _PICKER_ROWS))
            return reading.encoding

        def look() -> None:
            if form == "parquet":
                table = ParquetTable(whole(file, packing, most, limits.whole_bytes))
                found[:] = describe(head_of(table.rows(), _PICKER_ROWS))
            else:
                decoded(read, has_rows=True)

        _guarded(look)
    return found

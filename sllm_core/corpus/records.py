"""Tables: each row of a jsonl, csv, tsv or parquet file is a document.

Rows come one after the other, a bad one between good ones is counted and left out. Which columns
are the text is chosen by the user, or found in the first rows by name and by length.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO

from sllm_core.corpus.extract import SkipFile
from sllm_core.corpus.streams import Limits, Reading, lines

# Where the text of a row usually is, the likeliest first.
PREFERRED = "text content body code document article story passage completion response".split()
PYARROW_LINE = "pip install pyarrow==26.0.1"
_HEAD_ROWS = 200
_HEAD_CHARS = 8 << 20
_LEAST_CHARS = 20  # shorter on average is a name, a label or a date
_SAMPLE_CHARS = 1 << 16  # what the delimiter is told from
_SHOWN_CHARS = 80
_DELIMITERS = {"csv": ",;\t|", "tsv": "\t"}
_NO_DELIMITER = "\x1f"  # of a table with one column: commas in its text divide nothing
_LONGEST_NAME = 64
_BATCH_ROWS, _BATCH_BYTES = 1024, 16 << 20

Row = Any  # what a row of JSON can be: a dictionary, a string, or something that is no document


@dataclass
class Tally:
    """Rows that gave no document."""

    n_bad: int = 0
    n_empty: int = 0
    n_spoilt: int = 0  # lines that are too long, or hold NUL characters


def json_rows(pieces: Iterable[str], limits: Limits, tally: Tally) -> Iterator[Row]:
    """The values of a file with one JSON value a line."""
    for line in _marked_lines(lines(pieces, limits.record_chars), tally):
        if not line.strip():
            continue
        try:
            value = None if "\0" in line else json.loads(line)
        except (ValueError, RecursionError):  # also numbers of thousands of digits
            value = None
        if isinstance(value, dict | str):
            yield value
        else:
            tally.n_bad += 1


def _marked_lines(found: Iterable[str | None], tally: Tally) -> Iterator[str]:
    """The lines; one that is too long or holds NUL characters is counted, and spoils its row."""
    for line in found:
        tally.n_spoilt += line is None or "\0" in line
        yield "\0" if line is None else line


def csv_rows(
    pieces: Iterable[str], form: str, limits: Limits, tally: Tally
) -> Iterator[dict[str, str]]:
    """The rows of a csv or tsv file by column; without a line of names they are 1, 2, ..."""
    csv.field_size_limit(limits.record_chars)
    found = lines(pieces, limits.record_chars)
    sample: list[str | None] = []
    n_chars = 0
    for line in found:
        sample.append(line)
        n_chars += len(line or "")
        if n_chars > _SAMPLE_CHARS:
            break
    sound = [line for line in sample if line is not None]
    delimiter, quoting = sniff(sound, _DELIMITERS[form], is_cut=n_chars > _SAMPLE_CHARS)
    text = _marked_lines(chain(sample, found), tally)
    rows = _sound_rows(_reader(text, delimiter, quoting), tally)
    first = next(rows, None)
    if first is None:
        return
    if _is_header(first):
        names = [name.strip() for name in first]
    else:
        names = [str(number) for number in range(1, len(first) + 1)]
        rows = chain([first], rows)
    for row in rows:
        yield dict(zip(names, row, strict=False))


def _sound_rows(reader: Iterator[list[str]], tally: Tally) -> Iterator[list[str]]:
    while True:
        before = tally.n_spoilt
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:  # the next call begins with the next line
            row = None
        if row is None or tally.n_spoilt > before:
            tally.n_bad += 1
        elif row:
            yield row


def _is_header(row: list[str]) -> bool:
    """Whether a first row reads as names: short, different, none of them a number."""
    names = [cell.strip() for cell in row]
    return len(set(names)) == len(names) and all(
        name and len(name) <= _LONGEST_NAME and not name.replace(".", "").isdigit()
        for name in names
    )


def sniff(sample: list[str], delimiters: str, *, is_cut: bool) -> tuple[str, int]:
    """(delimiter, quoting) under which most rows of a sample have as many cells as the first.

    Quotation marks count unless the rows of a tsv are more regular without: many have none.
    """
    best, answer = (0.0, 1), (_NO_DELIMITER, csv.QUOTE_MINIMAL)
    quotings = (csv.QUOTE_MINIMAL, csv.QUOTE_NONE) if delimiters == "\t" else (csv.QUOTE_MINIMAL,)
    for delimiter in delimiters:
        for quoting in quotings:
            rows = _strict_rows(_reader(sample, delimiter, quoting, strict=True))
            if is_cut and len(rows) > 1:
                rows.pop()  # it may be half a row
            n_cells = len(rows[0]) if rows else 0
            share = sum(len(row) == n_cells for row in rows) / max(1, len(rows))
            if n_cells < 2 or (share <= 0.5 and not _is_header(rows[0])):
                continue
            if (share, n_cells) > best:
                best, answer = (share, n_cells), (delimiter, quoting)
    return answer


def _reader(
    found: Iterable[str], delimiter: str, quoting: int, *, strict: bool = False
) -> Iterator[list[str]]:
    text = (line + "\n" for line in found)
    return csv.reader(text, delimiter=delimiter, quoting=quoting, strict=strict)  # type: ignore[arg-type]


def _strict_rows(reader: Iterator[list[str]]) -> list[list[str]]:
    """Rows of a sample; one with a stray or an open quotation mark counts as one without cells."""
    rows: list[list[str]] = []
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return rows
        except csv.Error:
            rows.append([])
            continue
        if row:
            rows.append(row)


def head_of(rows: Iterator[Row], n_rows: int = _HEAD_ROWS) -> list[Row]:
    """The first rows, fewer when they are large."""
    head, n_chars = [], 0
    for row in islice(rows, n_rows):
        head.append(row)
        values = row.values() if isinstance(row, dict) else [row]
        n_chars += sum(len(value) for value in values if isinstance(value, str))
        if n_chars > _HEAD_CHARS:
            break
    return head


def text_columns(head: list[Row]) -> tuple[str, ...]:
    """The column that is the text, by name or by length; () for rows that are texts themselves.

    Raises:
        SkipFile: reason columns, the user must say.
    """
    rows = [row for row in head if isinstance(row, dict)]
    if not rows:
        return ()
    texts: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and value and not value.isspace():
                texts.setdefault(name, []).append(value)
    for wanted in PREFERRED:
        for name in texts:
            if name.lower() == wanted:
                return (name,)
    means = {name: sum(map(len, values)) / len(values) for name, values in texts.items()}
    longest = max(means, key=lambda name: means[name], default="")
    if not longest or means[longest] < _LEAST_CHARS:
        raise _which(head)
    return (longest,)


def chosen_columns(head: list[Row], columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that the user chose, where the first rows have one of them.

    Raises:
        SkipFile: reason columns, they are those of another table.
    """
    if head and all(text_of(row, columns) is None for row in head):
        raise _which(head)
    return columns


def _which(head: list[Row]) -> SkipFile:
    names = ", ".join(dict.fromkeys(name for row in head if isinstance(row, dict) for name in row))
    return SkipFile("columns", f"which column is the text? It has {names[:200] or 'none'}")


def text_of(row: Row, columns: tuple[str, ...]) -> str | None:
    """The text of a row: its columns joined by a line feed; None if it has none of them.

    A name with dots goes into nested values; lists on the way are gone through.

    Raises:
        RecursionError: lists in lists in lists.
    """
    if isinstance(row, str):
        return row
    parts: list[str | None] = []
    for column in columns:
        parts += _leaves(row, [column] if column in row else column.split("."))
    texts = [part for part in parts if part is not None]
    return "\n".join(filter(None, texts)) if texts else None


def _leaves(value: Any, names: list[str]) -> Iterator[str | None]:
    """The texts at a place below a value; None where there is nothing that could be one."""
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item, names)
    elif names:
        inner = value.get(names[0], _leaves) if isinstance(value, dict) else _leaves
        if inner is _leaves:  # stands for nothing: None is a value
            yield None
        else:
            yield from _leaves(inner, names[1:])
    elif isinstance(value, str):
        yield value
    elif isinstance(value, bool) or value is None:
        yield ""
    elif isinstance(value, int | float):
        yield str(value)
    else:
        yield None


def describe(head: list[Row], depth: int = 3) -> list[tuple[str, str]]:
    """(name, a piece of its first text) of each column, nested ones with dots."""
    found: dict[str, str] = {}

    def look(value: Any, name: str, level: int) -> None:
        if isinstance(value, list) and value and level < depth:
            look(value[0], name, level + 1)
        elif isinstance(value, dict) and level < depth:
            for key, inner in value.items():
                look(inner, f"{name}.{key}" if name else str(key), level + 1)
        elif name and not isinstance(value, dict | list):
            shown = "" if value is None else str(value)[: 4 * _SHOWN_CHARS]
            found[name] = found.get(name) or " ".join(shown.split())[:_SHOWN_CHARS]

    for row in head:
        look(row, "", 0)
    return list(found.items())


class ParquetTable:
    """A Parquet file, read a small batch at a time.

    Args:
        file: open for reading at any place.

    Raises:
        SkipFile: the library is missing, the file is encrypted or damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError:
            words = f"Parquet needs another package: {PYARROW_LINE}"
            raise SkipFile("library", words) from None
        self._kinds = pa.types
        self._faults = (pa.ArrowException, OSError)  # its own errors of reading are OSError
        file.seek(0)
        if file.read(4) == b"PARE":
            raise SkipFile("encrypted", "the table is encrypted")
        try:
            self._table = parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
            self._names: list[str] = list(self._table.schema_arrow.names)
        except self._faults as problem:
            raise self._refusal(problem) from problem

    @staticmethod
    def _refusal(problem: Exception) -> SkipFile:
        if isinstance(problem, MemoryError):  # its own error of that is one of Arrow's too
            return SkipFile("limit", "it needs more memory than one file may have")
        if isinstance(problem, OSError) and problem.errno:
            return SkipFile("unreadable", problem.strerror or str(problem))
        return SkipFile("parse", f"damaged Parquet: {str(problem)[:80]}")

    def rows(self, columns: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
        """Row by row, all columns or those asked for (of names with dots the first part).

        Raises:
            SkipFile: the file is damaged, or has none of the columns.
        """
        wanted = {part for name in columns for part in (name, name.split(".")[0])}
        names = [name for name in self._names if name in wanted or not wanted]
        if not names:
            shown = ", ".join(self._names)[:200]
            raise SkipFile("columns", f"it has no such column, but {shown or 'none'}")
        try:
            batches = self._table.iter_batches(self._batch_rows(), columns=names, use_threads=False)
            while (batch := next(batches, None)) is not None:
                values = [self._values(array) for array in batch.columns]
                for row in zip(*values, strict=True):
                    yield dict(zip(batch.schema.names, row, strict=True))
        except self._faults as problem:
            raise self._refusal(problem) from problem

    def _batch_rows(self) -> int:
        facts = self._table.metadata
        n_bytes = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        per_row = max(1, n_bytes // max(1, facts.num_rows))
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES // per_row))

    def _values(self, array: Any) -> list[Any]:
        """The values of a column; text that is no UTF-8 stays bytes, which nobody takes for text."""
        kinds = self._kinds
        if kinds.is_dictionary(array.type):
            array = array.dictionary_decode()
        if any(is_text(array.type) for is_text in (kinds.is_string, kinds.is_large_string)):
            try:
                return array.to_pylist()
            except UnicodeDecodeError:
                array = array.cast("large_binary")
        if kinds.is_binary(array.type) or kinds.is_large_binary(array.type):
            return [_decode(word) for word in array.to_pylist()]
        return array.to_pylist()


def _decode(word: bytes | None) -> Any:
    """A string of a table; bytes that are no UTF-8 stay bytes, which nobody takes for text."""
    if word is None:
        return None
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        return word


def rows_of(reading: Reading, form: str, limits: Limits, tally: Tally) -> Iterator[Row]:
    """The rows of a table that is text: jsonl, csv or tsv."""
    if form == "jsonl":
        return json_rows(reading, limits, tally)
    return csv_rows(reading, form, limits, tally)

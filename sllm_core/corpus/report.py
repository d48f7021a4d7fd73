"""The list of files as a table for other programs, or as plain lines; of any length.

Everything in a cell is safe in a spreadsheet: no formula, no line break, no hidden character.
"""

import csv
import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from sllm_core import fmt
from sllm_core.corpus.index import Index
from sllm_core.project import atomic_write

KINDS = {  # what can be listed, as a condition on the rows
    "used": "state = 'used'",
    "unused": "state IN ('failed', 'skipped')",
    "converted": "state = 'used' AND is_converted",
}
COLUMNS = (
    "source", "path", "state", "reason", "size_bytes", "kind", "language", "encoding", "converted",
    "records", "text_bytes", "tokens", "side", "score", "score_reasons", "flags", "duplicate",
    "duplicate_of", "similarity",
)  # fmt: skip
_SELECT = """
SELECT source_id, path_text, state, reason, size, kind, lang, encoding, is_converted, records,
    text_bytes, tokens, split, score, reasons, flags, dup_kind,
    (SELECT path_text FROM files AS other WHERE other.id = files.duplicate_of), similarity
FROM files
"""
_FLUSH_ROWS = 1000


def write_csv(
    index: Index,
    path: Path,
    kinds: Collection[str] = ("used", "unused"),
    *,
    reason: str = "",
    search: str = "",
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write a row for each file, with a head line; returns the number of files.

    UTF-8 with a mark at the start, without which Excel takes it for an old code page.

    Args:
        index: an open one.
        path: replaced when all of it is written, and not before.
        kinds: used, unused, converted: which files.
        reason: of unused ones, only those of this reason.
        search: only files whose path holds this.
        check: called now and then; what it raises ends the work, and nothing was changed.

    Raises:
        DiskError: it could not be written.
    """
    rows = (_line(row) for row in _rows(index, kinds, reason, search))
    return _write(path, _as_csv(rows), "\ufeff" + ",".join(COLUMNS) + "\r\n", check)


def write_lines(
    index: Index,
    path: Path,
    kinds: Collection[str] = ("used", "unused"),
    *,
    reason: str = "",
    search: str = "",
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write a line for each file: its path, a tab, and why it is not used; see `write_csv`."""
    rows = _rows(index, kinds, reason, search)
    return _write(
        path, (f"{cell(row[1])}\t{cell(row[3])}".rstrip() + "\n" for row in rows), "", check
    )


def cell(value: object) -> str:
    """What may stand in a cell: unknown is empty; no formula, no control or hidden character."""
    if value is None:
        return ""
    return fmt.path_text(value) if isinstance(value, str) else str(value)


def _rows(
    index: Index, kinds: Collection[str], reason: str, search: str
) -> Iterator[tuple[Any, ...]]:
    parts, values = [KINDS[kind] for kind in kinds], []
    where = " OR ".join(f"({part})" for part in parts) or "0"
    if reason:
        where = f"({where}) AND (state = 'used' OR reason = ?)"
        values.append(reason)
    if search:
        where = f"({where}) AND path_text LIKE ? ESCAPE '!'"
        values.append("%" + "".join(f"!{c}" if c in "!%_" else c for c in search) + "%")
    return index.read(f"{_SELECT} WHERE {where} ORDER BY source_id, path", values)


def _line(row: tuple[Any, ...]) -> tuple[Any, ...]:
    head, reasons, flags, tail = row[:14], row[14], row[15], row[16:]
    return (*head, _codes(reasons), _codes(flags), *tail)


def _codes(text: str | None) -> str | None:
    """``[{"code": "short", ...}, ...]`` or ``{"secrets": 2}`` -> ``short; ...`` or ``secrets 2``."""
    if not text:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if isinstance(found, dict):
        return "; ".join(name if n == 1 else f"{name} {n}" for name, n in found.items())
    return "; ".join(str(part.get("code", "")) for part in found if isinstance(part, dict))


class _Lines:
    """Keeps what the csv writer writes until it is taken."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def write(self, text: str) -> None:
        """Called by csv for each row."""
        self._parts.append(text)

    def take(self) -> str:
        """What was written since."""
        text = "".join(self._parts)
        self._parts.clear()
        return text


def _as_csv(rows: Iterator[tuple[Any, ...]]) -> Iterator[str]:
    lines = _Lines()
    writer = csv.writer(lines)
    for row in rows:
        writer.writerow([cell(value) for value in row])
        yield lines.take()


def _write(path: Path, lines: Iterator[str], head: str, check: Callable[[], None]) -> int:
    n, held = 0, [head]
    with atomic_write(path, point="export", need="the list") as file:
        for line in lines:
            held.append(line)
            n += 1
            if not n % _FLUSH_ROWS:
                check()
                file.write("".join(held).encode("utf-8"))
                held.clear()
        file.write("".join(held).encode("utf-8"))
    return n

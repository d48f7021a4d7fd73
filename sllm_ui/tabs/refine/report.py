"""The table of files for a spreadsheet: written on a thread, safe in every cell."""

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path

from sllm_core.corpus.report import cell
from sllm_core.corpus.table import VERDICTS, Bytes, Ints, Rows
from sllm_core.project import atomic_write
from sllm_ui.tabs.refine import words

HEAD = (
    "path", "kind", "language", "bytes", "score", "verdict", "why", "copy_of", "similarity",
    "secrets", "emails", "phones", "ips",
)  # fmt: skip
PIECE, REST_S = 500, 0.001  # rows at a time, and the breath between, in which the window lives


def write(rows: Rows, found: Bytes, shown: Ints, path: Path) -> int:
    """Write the rows that are shown, in their order; their number comes back.

    UTF-8 with a mark at its beginning: without it Excel takes the file for an old code page.

    Raises:
        DiskError: nothing was written; a file that was there before is unchanged.
    """
    with atomic_write(path, point="report") as file:
        file.write(b"\xef\xbb\xbf" + _lines([HEAD]))
        for start in range(0, len(shown), PIECE):
            piece = shown[start : start + PIECE].tolist()
            file.write(_lines([_row(rows, i, int(found[i])) for i in piece]))
            time.sleep(REST_S)
    return len(shown)


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8")


def _row(rows: Rows, i: int, verdict: int) -> tuple[object, ...]:
    score, keeper, alike = int(rows.score[i]), int(rows.keeper[i]), float(rows.similarity[i])
    return (
        rows.path(i),
        rows.kinds[rows.kind[i]],
        rows.langs[rows.lang[i]],
        int(rows.size[i]),
        score if score >= 0 else None,
        VERDICTS[verdict],
        words.why(rows, i, verdict),
        rows.path(keeper) if keeper >= 0 else None,
        None if alike != alike else round(alike, 4),
        *(int(rows.findings[name][i]) for name in words.FINDINGS),
    )

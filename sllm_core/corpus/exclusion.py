"""Files that a user leaves out where they are, in batches that can be taken back."""

from collections.abc import Iterable, Sequence

from sllm_core import faults
from sllm_core.corpus.index import FileRow, Index

_PAGE = 500


def exclude(index: Index, rows: Iterable[FileRow]) -> tuple[int, int, int]:
    """Leave files out from now on; all of them or none. Returns (batch, files, bytes)."""
    chosen = list(rows)
    batch = int(next(index.read("SELECT COALESCE(MAX(id), 0) + 1 FROM batches"))[0])
    n_bytes = sum(row.size for row in chosen)
    made = (batch, "exclude", faults.wall_time(), len(chosen), n_bytes, "done")
    index.write_all(
        [
            ("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", [made] if chosen else []),
            (
                "INSERT OR REPLACE INTO excluded (source_id, path, batch) VALUES (?, ?, ?)",
                [(row.source_id, row.path, batch) for row in chosen],
            ),
            (
                "UPDATE files SET state = 'skipped', reason = 'excluded', split = NULL, "
                "tokens = NULL WHERE id = ? AND state = 'used'",
                [(row.id,) for row in chosen],
            ),
        ]
    )
    return (batch if chosen else 0), len(chosen), n_bytes


def include(index: Index, *, batch: int | None = None, ids: Sequence[int] = ()) -> tuple[int, int]:
    """Take an exclusion back, of a batch or of some files; returns (files, bytes).

    A file that was never read waits for the next scan.
    """
    found = list(_of_batch(index, batch) if batch is not None else _of_ids(index, ids))
    keys = [(source_id, path) for source_id, path, _ in found]
    index.write_all(
        [
            ("DELETE FROM excluded WHERE source_id = ? AND path = ?", keys),
            (
                "UPDATE files SET state = 'used', reason = '' WHERE source_id = ? AND path = ? "
                "AND reason = 'excluded' AND text_hash IS NOT NULL",
                keys,
            ),
            (
                "UPDATE batches SET state = CASE WHEN EXISTS (SELECT 1 FROM excluded WHERE "
                "excluded.batch = batches.id) THEN 'partial' ELSE 'undone' END WHERE kind = ? "
                "AND state != 'undone' AND n_files > "
                "(SELECT COUNT(*) FROM excluded WHERE excluded.batch = batches.id)",
                [("exclude",)],
            ),
        ]
    )
    return len(found), sum(size for _, _, size in found)


def _of_batch(index: Index, batch: int) -> Iterable[tuple[int, bytes, int]]:
    query = (
        "SELECT e.source_id, e.path, COALESCE(f.size, 0) FROM excluded e LEFT JOIN files f "
        "ON f.source_id = e.source_id AND f.path = e.path WHERE e.batch = ?"
    )
    return ((row[0], row[1], row[2]) for row in index.read(query, (batch,)))


def _of_ids(index: Index, ids: Sequence[int]) -> Iterable[tuple[int, bytes, int]]:
    for first in range(0, len(ids), _PAGE):
        part = ids[first : first + _PAGE]
        marks = ", ".join("?" * len(part))
        query = (
            "SELECT e.source_id, e.path, f.size FROM excluded e JOIN files f ON "
            f"f.source_id = e.source_id AND f.path = e.path WHERE f.id IN ({marks})"
        )
        yield from ((row[0], row[1], row[2]) for row in index.read(query, tuple(part)))

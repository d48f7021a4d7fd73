"""Near copies in a project: signatures kept by text, clusters that stay, and which copy is kept.

The mathematics is in `dedup` and `clusters`; here it meets `project.db`. What was once measured of
a text is kept, so that added files cost only themselves.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sllm_core import errors
from sllm_core.corpus import clusters, dedup, division
from sllm_core.corpus.division import HASH
from sllm_core.corpus.extract import SkipFile
from sllm_core.corpus.index import FileRow, Index
from sllm_core.corpus.store import Texts
from sllm_core.project import Project

VERSION = str(dedup.SIGNATURE_VERSION)
MAX_BYTES = 64 << 20  # of a text: larger ones are not compared
KINDS = ("", "exact", "near")
_SAFE = "The prepared data of before is unchanged."
_BATCH_BYTES, _BATCH_FILES = 2 << 20, 256
# Those that are used, and those that wait outside because of a near copy on the other side.
_TAKING_PART = f"(f.state = 'used' OR f.reason = 'would-leak') AND f.text_bytes <= {MAX_BYTES}"

Check = Callable[[], None]
OnProgress = Callable[[int, int], None]
Signed = list[tuple[bytes, str, int, bytes]]


def sign(index: Index, texts: Texts, threads: int, *, check: Check, on_progress: OnProgress) -> int:
    """Measure the signatures of all texts that have none; returns how many were made."""
    query = (
        f"SELECT f.id FROM files f WHERE {_TAKING_PART} AND NOT EXISTS "
        "(SELECT 1 FROM signatures s WHERE s.text_hash = f.text_hash AND s.version = ?) "
        "GROUP BY f.text_hash ORDER BY f.source_id, f.path"
    )
    ids = np.fromiter((row[0] for row in index.read(query, (VERSION,))), dtype=np.int64)
    done = made = 0
    waiting: deque[tuple[int, Future[Signed]]] = deque()

    def take() -> None:
        nonlocal done, made
        n, future = waiting.popleft()
        rows = _wait(future, check)
        index.write("INSERT OR REPLACE INTO signatures VALUES (?, ?, ?, ?)", rows)
        done, made = done + n, made + len(rows)
        on_progress(done, len(ids))

    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            for batch in _batches(index.rows_by_id(ids.tolist())):
                check()
                waiting.append((len(batch), pool.submit(_sign_batch, texts, batch)))
                if len(waiting) > threads + 1:
                    take()
            while waiting:
                take()
        finally:
            for _, future in waiting:
                future.cancel()
    return made


def _batches(rows: Iterator[FileRow]) -> Iterator[list[FileRow]]:
    batch: list[FileRow] = []
    n_bytes = 0
    for row in rows:
        batch.append(row)
        n_bytes += row.text_bytes or 0
        if n_bytes >= _BATCH_BYTES or len(batch) >= _BATCH_FILES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _sign_batch(texts: Texts, batch: list[FileRow]) -> Signed:
    found, read = [], []
    for row in batch:
        with contextlib.suppress(SkipFile):  # whoever needs its text will report it
            read.append(texts.small(row))
            found.append(row.text_hash or b"")
    n_tokens, made = dedup.signatures(read)
    return [
        (text_hash, VERSION, int(n), signature.tobytes())
        for text_hash, n, signature in zip(found, n_tokens, made, strict=True)
    ]


def _wait(future: "Future[Signed]", check: Check) -> Signed:
    while True:
        try:
            return future.result(timeout=0.1)
        except TimeoutError:
            check()


@dataclass(frozen=True)
class Groups:
    """The distinct texts, oldest first, and what is known of their likeness."""

    hashes: npt.NDArray[Any]  # V16 (n,)
    clusters: npt.NDArray[Any]  # V16 (n,)
    held: npt.NDArray[np.bool_]  # would bring text of the one side to the other
    file_ids: npt.NDArray[np.int64]  # one file of each text
    pairs: npt.NDArray[np.int64]  # (m, 2) of this time, verified
    similarity: npt.NDArray[np.float64]  # (m,)


def is_grouped(index: Index, threshold: float) -> bool:
    """Whether every text that takes part has its cluster already."""
    query = (
        f"SELECT 1 FROM files f WHERE {_TAKING_PART} AND NOT EXISTS (SELECT 1 FROM clusters c "
        "WHERE c.text_hash = f.text_hash AND c.threshold = ?) LIMIT 1"
    )
    return next(index.read(query, (threshold,)), None) is None


def group(
    project: Project,
    index: Index,
    texts: Texts,
    threshold: float,
    share: float,
    *,
    check: Check,
    on_progress: OnProgress,
) -> Groups:
    """Put every text into its cluster; texts known before keep theirs.

    A new text that is a near copy of texts on both sides is held back: its files get the reason
    would-leak until that changes.
    """
    hashes, known, ids = _load(index, threshold)
    sides, known = _sides(index, hashes, known, share)
    is_new = known == np.zeros(1, HASH)[0]
    if not is_new.any():
        nothing = np.zeros(len(hashes), dtype=bool), ids, np.empty((0, 2), np.int64)
        return Groups(hashes, known, *nothing, np.empty(0, np.float64))
    scratch = project.data_dir / ".signatures"
    try:
        signatures = _map_signatures(index, len(hashes), scratch)
        pairs = dedup.candidates(
            signatures, threshold, None if is_new.all() else is_new,
            check=check, on_progress=on_progress,
        )  # fmt: skip
        similar = similarities(index, texts, ids)
        similarity = similar(pairs, check=check, on_progress=on_progress)
    except OSError as problem:
        raise errors.disk_error(problem, "encoded_data", safe=_SAFE) from problem
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
    is_near = similarity >= threshold
    pairs, similarity = pairs[is_near], similarity[is_near]
    made = clusters.assign(hashes, pairs, similarity, known, sides)
    is_changed = (made.clusters != known) & ~made.held
    index.write(
        "INSERT OR REPLACE INTO clusters (text_hash, threshold, cluster_id) VALUES (?, ?, ?)",
        (
            (hashes[i].tobytes(), threshold, made.clusters[i].tobytes())
            for i in np.flatnonzero(is_changed)
        ),
    )
    _hold(index, [hashes[i].tobytes() for i in np.flatnonzero(made.held)])
    return Groups(hashes, made.clusters, made.held, ids, pairs, similarity)


# Distinct texts, oldest first; both queries below give them in this order.
_TEXTS = (
    "FROM files f JOIN signatures s ON s.text_hash = f.text_hash "
    "LEFT JOIN clusters c ON c.text_hash = f.text_hash AND c.threshold = ? "
    f"WHERE {_TAKING_PART} AND s.version = ? GROUP BY f.text_hash "
    "ORDER BY MIN(f.mtime_ns), MIN(f.path), f.text_hash"
)


def _load(
    index: Index, threshold: float
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Hashes, known clusters (zero: none yet), and a file of each text."""
    hashes, known, ids = bytearray(), bytearray(), []
    query = f"SELECT f.text_hash, c.cluster_id, MIN(f.id) {_TEXTS}"
    for text_hash, cluster, file_id in index.read(query, (threshold, VERSION)):
        hashes += text_hash
        known += cluster or bytes(16)
        ids.append(file_id)
    arrays = np.frombuffer(bytes(hashes), HASH), np.frombuffer(bytes(known), HASH).copy()
    return *arrays, np.array(ids, dtype=np.int64)


def _map_signatures(index: Index, n: int, scratch: Path) -> npt.NDArray[np.uint32]:
    """The signatures (n, 128) as a map of a scratch file: half a kilobyte for each text."""
    scratch.parent.mkdir(parents=True, exist_ok=True)
    with scratch.open("wb") as file:
        for (signature,) in index.read(f"SELECT s.signature {_TEXTS}", (0.0, VERSION)):
            file.write(signature)
    return np.memmap(scratch, dedup.SIGNATURE, "r", shape=(n, dedup.N_BINS))


def _sides(
    index: Index, hashes: npt.NDArray[Any], known: npt.NDArray[Any], share: float
) -> tuple[npt.NDArray[np.int8], npt.NDArray[Any]]:
    """The side of each text's cluster (0: none yet); a text that comes back is known again."""
    stored = division.read_known(index, share)
    if not len(stored.keys):
        return np.zeros(len(hashes), dtype=np.int8), known
    nothing = np.zeros(1, HASH)[0]
    is_back = (known == nothing) & np.isin(hashes, stored.keys)
    known[is_back] = hashes[is_back]
    at = np.minimum(np.searchsorted(stored.keys, known), len(stored.keys) - 1)
    is_sided = stored.keys[at] == known
    # What is divided inside has text on both sides; it must not move, so it counts as training.
    found = np.where(stored.sides[at] == division.VAL, clusters.VAL, clusters.TRAIN)
    return np.where(is_sided, found, clusters.NO_SIDE).astype(np.int8), known


def similarities(index: Index, texts: Texts, ids: npt.NDArray[np.int64]) -> dedup.Similarities:
    """True Jaccard of documents, given by the ids of their files; what cannot be read is unlike."""

    def read(document: int) -> bytes:
        for row in index.rows_by_id([int(ids[document])]):
            with contextlib.suppress(SkipFile):
                return texts.small(row)
        return b""

    return dedup.Similarities(read)


def _hold(index: Index, held: list[bytes]) -> None:
    """Say which files wait outside; those that need not any more are used again."""
    back = "UPDATE files SET state = 'used', reason = '' WHERE reason = ?"
    out = (
        "UPDATE files SET state = 'skipped', reason = 'would-leak', split = NULL, tokens = NULL "
        "WHERE text_hash = ? AND state = 'used'"
    )
    index.write_all([(back, [("would-leak",)]), (out, [(text_hash,) for text_hash in held])])


def mark_copies(
    index: Index,
    texts: Texts,
    groups: Groups,
    threshold: float,
    *,
    check: Check,
    on_progress: OnProgress,
) -> tuple[int, int]:
    """Say of every used file whether it is a copy, and of which one; returns (exact, near)."""
    columns = _files_of(index, groups)
    ids, of, scores, lengths, current = columns
    similar = similarities(index, texts, groups.file_ids)
    labels = np.unique(groups.clusters, return_inverse=True)[1]

    def ask(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return similar(pairs, check=check, on_progress=on_progress)

    twins = clusters.keepers(
        of, labels, clusters.ranks(scores, lengths), threshold, ask,
        pairs=groups.pairs, similarity=groups.similarity,
    )  # fmt: skip
    rows = []
    for i, file_id in enumerate(ids.tolist()):
        keeper = int(twins.duplicate_of[i])
        row = (
            KINDS[int(twins.kind[i])],
            int(ids[keeper]) if keeper >= 0 else None,
            groups.clusters[of[i]].tobytes(),
            round(float(twins.similarity[i]), 4) if keeper >= 0 else None,
        )
        if row != current[i]:
            rows.append((*row, file_id))
    index.write(
        "UPDATE files SET dup_kind = ?, duplicate_of = ?, cluster_id = ?, similarity = ? "
        "WHERE id = ?",
        rows,
    )
    return int((twins.kind == clusters.EXACT).sum()), int((twins.kind == clusters.NEAR).sum())


def _files_of(index: Index, groups: Groups) -> tuple[Any, ...]:
    """Used files, oldest first: id, number of the text, score, length of the path, copy as stored."""
    order = np.argsort(groups.hashes)
    keys = groups.hashes[order]
    query = (
        "SELECT f.id, f.text_hash, COALESCE(f.score, 100), LENGTH(f.path), f.dup_kind, "
        f"f.duplicate_of, f.cluster_id, f.similarity FROM files f WHERE {_TAKING_PART} "
        "ORDER BY f.mtime_ns, f.path"
    )
    hashes, numbers, current = bytearray(), [], []
    for file_id, text_hash, score, length, *stored in index.read(query):
        hashes += text_hash
        numbers.append((file_id, score, length))
        current.append(tuple(stored))
    found = np.frombuffer(bytes(hashes), HASH)
    at = np.minimum(np.searchsorted(keys, found), max(0, len(keys) - 1))
    is_known = keys[at] == found if len(keys) else np.zeros(len(found), dtype=bool)
    table = np.array(numbers, dtype=np.int64).reshape(-1, 3)[is_known]
    kept = [stored for stored, known in zip(current, is_known.tolist(), strict=True) if known]
    of = order[at][is_known] if len(keys) else at
    return table[:, 0], of, table[:, 1], table[:, 2], kept

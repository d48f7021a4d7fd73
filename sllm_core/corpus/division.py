"""Training or validation: by duplicate cluster, and as it once was when files are added (DATA 13).

The side follows from the hash of the cluster's oldest text, so that it needs no list; what was
decided is stored all the same (`sides`), because a few documents are put on a side to give every
source both. Where there are very few documents, each is cut into sections and these are divided.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from sllm_core.corpus.extract import SECTION_CHARS
from sllm_core.corpus.index import Index

TRAIN, VAL, SECTIONS = 0, 1, 2
NAMES = ("train", "val", "sections")
FEW_DOCUMENTS = 20  # below, documents are cut into sections and these are divided
HUGE_BYTES = 1 << 30  # above, 3 % of the documents are kept for validation instead of 10 %
SOURCE_DOCUMENTS = 10  # a source of so many clusters has at least one on each side
OVERRIDE = -1  # as section_chars: the row is of a section or a record, not of a cluster
HASH = np.dtype("V16")


@dataclass(frozen=True)
class Units:
    """The used files in their fixed order (source, then path), as arrays (n,)."""

    ids: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    hashes: npt.NDArray[Any]  # V16, of the cleaned text
    sizes: npt.NDArray[np.int64]  # UTF-8 bytes
    chars: npt.NDArray[np.int64]
    is_table: npt.NDArray[np.bool_]
    clusters: npt.NDArray[Any]  # V16; the text's own hash where it has no near copy

    def __len__(self) -> int:
        """How many files."""
        return len(self.ids)


def read_units(index: Index) -> Units:
    """All used files; about 70 bytes each."""
    query = (
        "SELECT f.id, f.source_id, f.text_hash, f.text_bytes, f.chars, f.records IS NOT NULL, "
        "COALESCE(c.cluster_id, f.text_hash) FROM files f "
        "LEFT JOIN clusters c ON c.text_hash = f.text_hash "
        "WHERE f.state = 'used' ORDER BY f.source_id, f.path"
    )
    numbers = np.empty((1024, 5), dtype=np.int64)
    hashes, clusters, n = bytearray(), bytearray(), 0
    for file_id, source, text_hash, size, chars, is_table, cluster in index.read(query):
        if n == len(numbers):
            numbers = np.concatenate([numbers, np.empty_like(numbers)])
        numbers[n] = file_id, source, size or 0, chars or 0, is_table
        hashes += text_hash
        clusters += cluster
        n += 1
    columns = [np.ascontiguousarray(numbers[:n, i]) for i in range(5)]
    return Units(
        ids=columns[0], sources=columns[1], sizes=columns[2], chars=columns[3],
        is_table=columns[4].astype(bool), hashes=np.frombuffer(bytes(hashes), HASH),
        clusters=np.frombuffer(bytes(clusters), HASH),
    )  # fmt: skip


def rank(key: bytes) -> float:
    """0 <= rank < 1000, a pure function of a hash."""
    return xxhash.xxh3_64_intdigest(key) % 1_000_000 / 1000


@dataclass
class Division:
    """Where each file goes, and each section or record of those that are divided inside."""

    share: float
    sides: npt.NDArray[np.int8]  # (n,) TRAIN | VAL | SECTIONS
    section_chars: npt.NDArray[np.int64]  # (n,)
    decided: list[tuple[bytes, float, str, int]] = field(default_factory=list)  # to be stored
    forced: dict[bytes, int] = field(default_factory=dict)  # sections and records off their rank

    def side_of_part(self, text_hash: bytes) -> int:
        """The side of a section or of a record, by its own hash."""
        if text_hash in self.forced:
            return self.forced[text_hash]
        return VAL if rank(text_hash) < 1000 * self.share else TRAIN

    def force(self, text_hash: bytes, side: int) -> None:
        """Put one section or record on a side, for good: that side would be empty without."""
        self.forced[text_hash] = side
        self.decided.append((text_hash, self.share, NAMES[side], OVERRIDE))


def choose_share(val_split: float | None, n_bytes: int) -> float:
    """The share of validation: as set, else by size."""
    if val_split is not None:
        return val_split
    return 0.03 if n_bytes > HUGE_BYTES else 0.10


@dataclass(frozen=True)
class Known:
    """The sides that were decided before, sorted by key."""

    keys: npt.NDArray[Any]  # V16
    sides: npt.NDArray[np.int8]
    lengths: npt.NDArray[np.int64]  # section_chars; OVERRIDE: of a section or record
    forced: dict[bytes, int]


def read_known(index: Index, share: float) -> Known:
    """What `sides` says for this share; another share divides anew."""
    query = "SELECT key, side, section_chars FROM sides WHERE share = ? ORDER BY key"
    keys, sides, lengths, forced = bytearray(), [], [], {}
    for key, name, length in index.read(query, (share,)):
        if length == OVERRIDE:
            forced[key] = NAMES.index(name)
            continue
        keys += key
        sides.append(NAMES.index(name))
        lengths.append(length)
    arrays = np.array(sides, dtype=np.int8), np.array(lengths, dtype=np.int64)
    return Known(np.frombuffer(bytes(keys), HASH), *arrays, forced)


def divide(units: Units, share: float, known: Known) -> Division:
    """Give every cluster its side: the one it had, else by its hash."""
    keys, inverse = np.unique(units.clusters, return_inverse=True)
    total = int(units.chars.sum())
    section_chars = min(SECTION_CHARS, max(2000, total // 50))
    are_few = len(units) < FEW_DOCUMENTS
    at = np.minimum(np.searchsorted(known.keys, keys), max(0, len(known.keys) - 1))
    is_new = np.ones(len(keys), dtype=bool)
    sides = np.full(len(keys), SECTIONS, dtype=np.int8)
    lengths = np.full(len(keys), section_chars, dtype=np.int64)
    if len(known.keys):
        is_new = known.keys[at] != keys
        sides[~is_new] = known.sides[at[~is_new]]
        lengths[~is_new] = np.maximum(known.lengths[at[~is_new]], 1)
    if not are_few:
        limit = 1000 * share
        for i in np.flatnonzero(is_new):
            sides[i] = VAL if rank(keys[i].tobytes()) < limit else TRAIN
        is_whole = np.ones(len(keys), dtype=bool)
        is_whole[inverse[units.is_table]] = False  # each of these has both sides inside
        _give_both(units, keys, inverse, sides, is_new, is_whole)
    decided = [
        (keys[i].tobytes(), share, NAMES[sides[i]], int(lengths[i]) * int(sides[i] == SECTIONS))
        for i in np.flatnonzero(is_new)
    ]
    return Division(share, sides[inverse], lengths[inverse], decided, dict(known.forced))


def _give_both(
    units: Units,
    keys: npt.NDArray[Any],
    inverse: npt.NDArray[np.int64],
    sides: npt.NDArray[np.int8],
    is_new: npt.NDArray[np.bool_],
    is_whole: npt.NDArray[np.bool_],
) -> None:
    """At least one cluster on each side, of every source that has ten, and of all together.

    Only clusters that had no side before are moved; old ones only if there is no other way to
    validate at all.
    """
    for source in np.unique(units.sources):
        members = np.unique(inverse[units.sources == source])
        members = members[is_whole[members] & (sides[members] != SECTIONS)]
        if len(members) >= SOURCE_DOCUMENTS:
            _force(members, keys, sides, is_new)
    if bool(is_whole.all()) and not (sides == SECTIONS).any():
        members = np.arange(len(keys))
        if len(members) == 1:
            sides[0] = TRAIN  # one text only, however often: there is nothing to check with
        else:
            _force(members, keys, sides, is_new if is_new.any() else np.ones_like(is_new))


def _force(
    members: npt.NDArray[np.int64],
    keys: npt.NDArray[Any],
    sides: npt.NDArray[np.int8],
    is_new: npt.NDArray[np.bool_],
) -> None:
    free = [int(i) for i in members if is_new[i]]
    if not free:
        return
    ordered = sorted(free, key=lambda i: (rank(keys[i].tobytes()), keys[i].tobytes()))
    present = set(sides[members].tolist())
    if VAL not in present:
        sides[ordered[0]] = VAL
    if TRAIN not in present:
        sides[ordered[-1]] = TRAIN

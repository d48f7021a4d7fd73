"""Contamination: which passages of validation or test texts also stand in training texts.

Clusters keep near copies on one side of the split; a passage that two otherwise different texts
share they do not. Here it is counted. A passage is 13 tokens in a row; told is, for each target,
the share of its passages that some training text has too, and the one that has most of them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sllm_core.corpus.dedup import distinct, gram_blocks, nothing

GRAM = 13  # tokens: long enough that sharing one is no accident
MAX_GRAMS = 4_000_000  # of all targets together, about 40 bytes each; above it they are sampled
COMMON = 64  # a passage in more targets than this (a licence) names no source

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


def grams(text: bytes) -> Hashes:
    """The passages of a text, sorted, each once; none below 13 tokens."""
    blocks = list(gram_blocks([text], GRAM))
    if sum(int(counts.sum()) for _, counts, _ in blocks) < GRAM:
        return np.empty(0, np.uint64)
    return distinct(np.concatenate([hashes for _, _, hashes in blocks]))


@dataclass(frozen=True)
class Overlap:
    """What one target shares with the training texts."""

    n_grams: int  # passages looked for
    n_found: int  # those that some training text has
    source: int  # the training text that has most of them, -1 for none
    n_from_source: int

    @property
    def share(self) -> float | None:
        """Found passages per passage; None for a text too short to tell."""
        return self.n_found / self.n_grams if self.n_grams else None


class Targets:
    """Texts that training texts must not contain: add all of them, then scan.

    Too many passages are sampled by their hash: only those whose lowest bits are zero are looked
    for, in targets and training texts alike, so that shares stay right on average.
    """

    def __init__(self, max_grams: int = MAX_GRAMS) -> None:
        self._max_grams = max_grams
        self._parts: list[Hashes] = []
        self._n_grams = 0
        self._halvings = 0
        self._table: _Table | None = None

    @property
    def sample_rate(self) -> float:
        """Share of the passages that is looked for."""
        return 0.5**self._halvings

    def add(self, text: bytes) -> int:
        """Add a target; its number."""
        assert self._table is None, "all targets come before the first scan"
        self._parts.append(self._sample(grams(text)))
        self._n_grams += len(self._parts[-1])
        while self._n_grams > self._max_grams:
            self._halvings += 1
            self._parts = [self._sample(part) for part in self._parts]
            self._n_grams = sum(len(part) for part in self._parts)
        return len(self._parts) - 1

    def _sample(self, hashes: Hashes) -> Hashes:
        mask = np.uint64((1 << self._halvings) - 1)
        return hashes[(hashes & mask) == 0] if self._halvings else hashes

    def scan(
        self,
        texts: Iterable[tuple[int, bytes]],
        *,
        check: Callable[[], None] = nothing,
        on_progress: Callable[[int], None] = nothing,
    ) -> None:
        """Look at training texts, each with a number of yours; more may follow in another call.

        ``check`` is asked many times a second and cancels by raising; ``on_progress`` is told how
        many texts were taken.
        """
        if self._table is None:
            self._table = _Table(self._parts)
        numbers: list[int] = []

        def taken() -> Iterator[bytes]:
            for number, text in texts:
                numbers.append(number)
                yield text

        last = 0
        hits: list[tuple[Ints, Ints]] = []  # of one block, or all blocks of a large text
        for first, counts, hashes in gram_blocks(taken(), GRAM):
            check()
            if first != last:
                self._table.note(hits, numbers)
                last, hits = first, []
            places, keys = self._table.find(hashes)
            ends = np.cumsum(counts)
            owners = np.searchsorted(ends, places, side="right") if len(counts) > 1 else 0
            hits.append((first + np.broadcast_to(owners, places.shape), keys))
            on_progress(len(numbers))
        self._table.note(hits, numbers)

    def overlaps(self) -> list[Overlap]:
        """What was found so far, for each target."""
        table = self._table or _Table(self._parts)
        return [
            Overlap(*values)
            for values in zip(
                [len(part) for part in self._parts],
                table.n_found().tolist(),
                table.source.tolist(),
                table.n_from_source.tolist(),
                strict=True,
            )
        ]


class _Table:
    """The passages of all targets, sorted; what training texts have of them."""

    def __init__(self, parts: list[Hashes]) -> None:
        n = len(parts)
        hashes = np.concatenate([np.empty(0, np.uint64), *parts])
        order = np.argsort(hashes, kind="stable")
        owners = np.repeat(np.arange(n, dtype=np.int32), [len(part) for part in parts])
        self._owners = owners[order]  # by passage
        hashes = hashes[order]
        firsts = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])[: len(hashes)])
        self._hashes = hashes[firsts]
        self._firsts = firsts
        self._sizes = np.diff(firsts, append=len(hashes))
        self._is_found = np.zeros(len(firsts), np.bool_)
        self.source = np.full(n, -1)
        self.n_from_source = np.zeros(n, np.int64)
        # One look by the highest bits turns away most passages that no target has.
        n_bits = max(10, (8 * len(firsts)).bit_length())
        self._shift = np.uint64(64 - n_bits)
        self._filter = np.zeros(1 << n_bits, np.bool_)
        self._filter[self._hashes >> self._shift] = True

    def find(self, hashes: Hashes) -> tuple[Ints, Ints]:
        """(places in ``hashes``, numbers of the passages that are there)."""
        places = np.flatnonzero(self._filter.take((hashes >> self._shift).view(np.int64)))
        if not len(self._hashes):
            return places, places
        keys = np.searchsorted(self._hashes, hashes[places]).clip(max=len(self._hashes) - 1)
        is_equal = self._hashes[keys] == hashes[places]
        return places[is_equal], keys[is_equal]

    def note(self, hits: list[tuple[Ints, Ints]], numbers: list[int]) -> None:
        """Remember the passages of some texts: arrays of (text, passage); ``numbers`` name texts."""
        if not sum(len(keys) for _, keys in hits):
            return
        n = len(self._hashes)
        once = np.unique(np.concatenate([texts * n + keys for texts, keys in hits]))
        texts, keys = np.divmod(once, n)
        self._is_found[keys] = True
        telling = self._sizes[keys] <= COMMON
        texts, keys = texts[telling], keys[telling]
        sizes = self._sizes[keys]
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        targets = self._owners[np.repeat(self._firsts[keys], sizes) + within]
        pairs = np.repeat(texts, sizes) * len(self.source) + targets
        pairs, counts = np.unique(pairs, return_counts=True)
        texts, targets = np.divmod(pairs, len(self.source))
        order = np.lexsort((-texts, counts))  # the last one that is written has most and is first
        order = order[counts[order] > self.n_from_source[targets[order]]]
        self.n_from_source[targets[order]] = counts[order]
        self.source[targets[order]] = [numbers[text] for text in texts[order].tolist()]

    def n_found(self) -> Ints:
        """Of each target, how many of its passages some text had."""
        is_found = np.repeat(self._is_found, self._sizes)
        return np.bincount(self._owners[is_found], minlength=len(self.source))

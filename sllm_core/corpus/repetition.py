"""How much of a text says the same again: lines, paragraphs and runs of words (Gopher, table A1).

A share counts what has been there before: of two equal lines, one is a repetition.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sllm_core.corpus.spans import Flags, Hashes, Places

TOP_GRAMS = (2, 3, 4)
DUPLICATE_GRAMS = (5, 6, 7, 8, 9, 10)
_STEP = np.uint64(0x9E3779B97F4A7C15 | 1)


def repeated_shares(parts: Sequence[str]) -> tuple[float, float]:
    """Share of the parts that stood there before, and their share of the characters."""
    if not parts:
        return 0.0, 0.0
    different = set(parts)
    chars = sum(map(len, parts))
    repeated = chars - sum(map(len, different))
    return 1 - len(different) / len(parts), repeated / max(1, chars)


def grams(words: Hashes, n: int) -> Hashes:
    """A hash for each run of n words."""
    found = words[: max(0, len(words) - n + 1)].copy()
    for i in range(1, n):
        found *= _STEP
        found += words[i : len(words) - n + 1 + i]
    return found


def top_share(keys: Hashes, n: int, sizes: NDArray[np.int64]) -> float:
    """Share of the characters within the run of n words that is found most, at least twice.

    Where runs overlap they count double, but the share is never more than 1; of runs that are
    found equally often, the one that comes first in the text counts.
    """
    if len(keys) < 2:
        return 0.0
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    times = np.diff(starts, append=len(ordered))
    most = int(times.max())
    if most < 2:
        return 0.0
    best = ordered[starts[times == most]]
    at = int(np.argmax(np.isin(keys, best) if len(best) > 1 else keys == best[0]))
    return min(1.0, most * int(sizes[at : at + n].sum()) / max(1, int(sizes.sum())))


def duplicate_shares(words: Hashes, sizes: NDArray[np.int64]) -> dict[int, float]:
    """For 5 to 10 words: share of the characters within runs of words that were there before."""
    shares = dict.fromkeys(DUPLICATE_GRAMS, 0.0)
    places: Places | None = None  # where a shorter run is shared; a longer one can only be there
    total = max(1, int(sizes.sum()))
    for n in DUPLICATE_GRAMS:
        keys = grams(words, n)
        if places is None:
            places = np.arange(len(keys))
        places = places[places < len(keys)]
        keys = keys[places]
        ordered = np.sort(keys)
        again = ordered[1:][ordered[1:] == ordered[:-1]]
        if not len(again):
            break
        found = np.minimum(np.searchsorted(again, keys), len(again) - 1)
        is_shared = again[found] == keys
        places, keys = places[is_shared], keys[is_shared]
        repeats = places[_is_repeat(keys)]
        edges = np.zeros(len(words) + 1, np.int64)
        np.add.at(edges, repeats, 1)
        np.add.at(edges, repeats + n, -1)
        covered = np.cumsum(edges)[:-1] > 0
        shares[n] = float(sizes[covered].sum() / total)
    return shares


def _is_repeat(keys: Hashes) -> Flags:
    """Which of them stood there before."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    found = np.zeros(len(keys), np.bool_)
    found[order[1:][ordered[1:] == ordered[:-1]]] = True
    return found

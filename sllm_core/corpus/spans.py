"""Words, lines and runs of words of a text as numbers: compared at once, without cutting strings.

The hash of bytes b[0..n) is the sum of (b[i] + 1) * BASE**i modulo 2**64. BASE is odd, so it has
an inverse, and the hash of any part follows from two entries of one running sum (Rabin and Karp's
idea). It is no protection against somebody who looks for equal hashes; he would only spoil the
score of his own file.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 256 << 10  # what the numbers about a text are measured on, at most
_BASE = 0x9E3779B97F4A7C15
_MIX = 0xD6E8FEB86659FD93
_WRAP = 1 << 64

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Places = NDArray[np.intp]


def _powers(base: int, n: int) -> Hashes:
    table = np.full(n, base, np.uint64)
    table[0] = 1
    return np.multiply.accumulate(table)


_UP = _powers(_BASE, PIECE_BYTES + 8)
_DOWN = _powers(pow(_BASE, -1, _WRAP), PIECE_BYTES + 8)


def piece(data: bytes, limit: int = PIECE_BYTES) -> bytes:
    """The part of a text that is measured: all of it, or its beginning, middle and end.

    The parts end with a line where one ends soon, and never within a character of UTF-8.
    """
    if len(data) <= limit:
        return data
    third = limit // 3
    middle = (len(data) - third) // 2
    parts = (data[:third], data[middle : middle + third], data[-third:])
    return b"\n".join(_whole_lines(part, i > 0, i < 2) for i, part in enumerate(parts))


def _whole_lines(part: bytes, cut_start: bool, cut_end: bool) -> bytes:
    """Without the line, or else the character, that a cut went through."""
    if cut_start:
        at = part.find(b"\n", 0, len(part) // 8)
        if at >= 0:
            part = part[at + 1 :]
        else:
            while part and part[0] & 0xC0 == 0x80:
                part = part[1:]
    if cut_end:
        at = part.rfind(b"\n", len(part) - len(part) // 8)
        part = part[:at] if at >= 0 else part.decode("utf-8", errors="ignore").encode("utf-8")
    return part


def running(values: NDArray[Any]) -> Hashes:
    """The running sums from which `hashes_of` takes the hash of any part; one entry more."""
    sums = np.zeros(len(values) + 1, np.uint64)
    terms = values.astype(np.uint64)
    terms += np.uint64(1)
    terms *= _UP[: len(values)]
    np.cumsum(terms, out=sums[1:])
    return sums


def hashes_of(sums: Hashes, starts: Places, ends: Places) -> Hashes:
    """A hash for each part [start, end)."""
    found: Hashes = sums[ends]
    found -= sums[starts]
    found *= _DOWN[starts]
    return found


def mixed(hashes: Hashes, bits: int) -> NDArray[np.intp]:
    """Hashes brought to ``bits`` bits; their low bits alone depend on too little."""
    found = hashes ^ (hashes >> np.uint64(32))
    found *= np.uint64(_MIX)
    return (found >> np.uint64(64 - bits)).astype(np.intp)


def bounds(is_inside: Flags) -> tuple[Places, Places]:
    """Starts and ends of the runs of True."""
    padded = np.zeros(len(is_inside) + 2, np.bool_)
    padded[1:-1] = is_inside
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return edges[::2], edges[1::2]


ALPHA, SPACE, _UPPER, _LOWER = (np.zeros(256, np.bool_) for _ in range(4))
SPACE[list(b" \t\n\r\f\v")] = True
_LOWER[ord("a") : ord("z") + 1] = True
_UPPER[ord("A") : ord("Z") + 1] = True
ALPHA[:] = _LOWER | _UPPER
ALPHA[0x80:] = True  # all bytes of a letter beyond ASCII
MIN_WORD = 3


class Words(NamedTuple):
    """The words of a text."""

    hashes: Hashes
    share: float  # of the bytes that are no blanks


def find_words(data: bytes) -> Words:
    """A hash for each word of three letters or more, in order; capitals do not matter.

    A word ends where letters end, and in code also before the capital in ``getName``.
    """
    raw = np.frombuffer(data, np.uint8)
    if len(raw) < MIN_WORD:
        return Words(np.zeros(0, np.uint64), 0.0)
    letter = ALPHA[raw]
    hump = _UPPER[raw[1:]]
    hump &= _LOWER[raw[:-1]]
    is_start, is_end = letter.copy(), np.zeros(len(raw) + 1, np.bool_)
    is_start[1:] &= ~letter[:-1] | hump
    is_end[1:-1] = letter[:-1] & (~letter[1:] | hump)
    is_end[-1] = letter[-1]
    starts, ends = np.flatnonzero(is_start), np.flatnonzero(is_end)
    is_long = ends - starts >= MIN_WORD
    starts, ends = starts[is_long], ends[is_long]
    lowered = np.frombuffer(data.lower(), np.uint8)
    n_shown = max(1, int((raw > 32).sum()))
    share = min(1.0, int((ends - starts).sum()) / n_shown)
    return Words(hashes_of(running(lowered), starts, ends), share)

"""Near duplicates: shingles of five tokens, MinHash signatures, candidate pairs, true Jaccard.

A text is bytes here, the UTF-8 of what `clean` returned. Its *tokens* are runs of letters, digits,
underscores and bytes >= 128; every other visible byte is a token of its own; blanks (and NUL) only
separate. A character whose UTF-8 starts with 0xE3-0xED (kana, Han, Hangul) is a token of its own,
because these scripts write no blanks. A *shingle* is the hash of five tokens in a row, or of all
tokens of a shorter text. Two texts are as similar as their sets of shingles (Jaccard).

A signature holds, for each of 128 bins, the smallest of the shingles that fell into it (one-
permutation MinHash, 32 bits a bin). Two signatures agree in a bin with a probability equal to the
similarity of their texts, so pairs are found by comparing 512 bytes, and then read and verified.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from sllm_core.corpus.clusters import union

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Signatures = NDArray[np.uint32]
Check = Callable[[], None]

N_BINS = 128
SHINGLE = 5  # tokens
SIGNATURE = np.dtype("<u4")  # 512 bytes a text, the same on every machine
SIGNATURE_VERSION = 1  # raise it whenever a text would get another signature
SHORT_TOKENS = 170  # below it one inserted line can push a copy under 0.9
EMPTY = 0xFFFF_FFFF  # a bin that no shingle fell into; only a text without tokens keeps such
BLOCK_BYTES = 1 << 17  # text looked at in one go: its temporaries fit into a core's cache
CROWD = 64  # a bucket with more members is compared with its heads, not all with all
_CHUNK = 1 << 14  # rows or pairs between two looks at `check`
_AHEAD, _AHEAD_BYTES = 64, 4 << 20  # texts read for the next pairs too, and their shingles
_BINS_AT_ONCE = 32  # keys of so many bins are made in one pass over the signatures

_VOID = np.uint64(0xFFFF_FFFF_FFFF_FFFF)  # where no shingle starts; falls into no bin
_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)  # odd constants without a pattern (golden ratio, pi, e)
_STEP = np.uint64(0x243F_6A88_85A3_08D3)  # 3 modulo 8: tokens that swap places change the sum most
_FINAL = np.uint64(0xB7E1_5162_8AED_2A6B)
_HALF = np.uint64(32)


def _codes() -> bytes:
    """Byte -> code, so that one comparison tells the class of a byte.

    0 blanks; 1-58 tokens of their own; 65-127 letters, digits, _; 128-191 continuation bytes;
    192-244 other bytes >= 128; 245-255 the leads of three-byte characters that are tokens.
    """
    codes = bytearray(256)
    word = b"_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    alone = bytes(set(range(128)) - set(word) - set(b"\0\t\n\v\f\r "))
    leads = bytes(range(0xE3, 0xEE))
    rest = bytes(set(range(0xC0, 0x100)) - set(leads))
    for first, members in ((1, alone), (65, word), (192, rest), (245, leads)):
        for code, byte in enumerate(sorted(members), first):
            codes[byte] = code
    codes[0x80:0xC0] = bytes(range(0x80, 0xC0))
    return bytes(codes)


_CODES = _codes()
_LONG = (8, 16, 24)  # words of up to 32 bytes are read eight at a time; longer ones are rare
_PAD = bytes(32)
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)


def _tokens(text: bytes) -> tuple[Ints, Hashes]:
    """(where each token starts, its hash); what follows a start has the same tokens alone."""
    coded = b"".join((b"\0", text, _PAD)).translate(_CODES)
    code = np.frombuffer(coded, np.uint8)
    word = code > 64
    inner = word[1:] & word[:-1]
    if not text.isascii():
        lead, follows = code > 244, (code & 0xC0) == 0x80
        inner &= ~lead[1:]
        inner[2:] &= ~(lead[:-3] & follows[1:-2] & follows[2:-1])  # behind a whole character
    starts = np.flatnonzero((code[1:] > 0) > inner)
    eight = np.ndarray(len(text) + len(_PAD) - 7, "<u8", coded, offset=1, strides=(1,))
    room = np.diff(starts, append=len(text))  # a token and the blanks behind it, which are zeros
    hashes = eight.take(starts).astype(np.uint64, copy=False)
    hashes &= _MASKS.take(np.minimum(room, 8))
    hashes *= _SPREAD
    hashes ^= hashes >> _HALF
    long = np.flatnonzero(room > 8)
    for offset in _LONG:
        at = starts[long] + offset
        is_on = (room[long] > offset) & (code.take(at + 1) > 0)
        long, at = long[is_on], at[is_on]
        more = eight[at] & _MASKS.take(np.minimum(room[long] - offset, 8))
        more = (hashes[long] + more) * _SPREAD
        hashes[long] = more ^ (more >> _HALF)
    long = long[room[long] > 32]
    for i in long[code.take(starts[long] + 33) > 0]:
        whole = coded[starts[i] + 1 : starts[i] + 1 + room[i]].rstrip(b"\0")
        hashes[i] = xxhash.xxh3_64_intdigest(whole)
    return starts, hashes


def _roll(hashes: Hashes, n: int) -> Hashes:
    """Polynomial hash of every ``n`` hashes in a row, by doubling."""
    if n == 1:
        return hashes
    half = _roll(hashes, n // 2)
    found = half[: len(half) - n // 2] * np.uint64(pow(int(_STEP), n // 2, 1 << 64))
    found += half[n // 2 :]
    if n % 2:
        found = found[:-1] * _STEP
        found += hashes[n - 1 :]
    return found


def _mix(hashes: Hashes) -> Hashes:
    """Spread in place, so that the highest bits are as good as random."""
    hashes ^= hashes >> _HALF
    hashes *= _FINAL
    return hashes


def _grams(hashes: Hashes, counts: Ints, n: int) -> Hashes:
    """For each token the hash of ``n`` tokens from there on, _VOID where its text ends before.

    ``counts`` says how many of the tokens each text has. A text with fewer than ``n`` tokens has
    the hash of all of them at its first.
    """
    found = np.full(len(hashes), _VOID)
    if len(hashes) >= n:
        found[: len(hashes) - n + 1] = _mix(_roll(hashes, n))
    ends = np.cumsum(counts)
    across = ends[:, None] - np.arange(1, n)
    found[across[across >= 0]] = _VOID
    for length in set(counts[(counts > 0) & (counts < n)].tolist()):
        firsts = (ends - counts)[counts == length]
        whole = hashes[firsts]
        for i in range(1, length):
            whole = whole * _STEP + hashes[firsts + i]
        found[firsts] = _mix(whole)
    return found


def _group(texts: Sequence[bytes], n: int) -> tuple[Ints, Hashes]:
    """(tokens of each text, hashes as of `_grams`); one pass for many small texts."""
    starts, hashes = _tokens(b"\n".join(texts))
    ends = np.cumsum([len(text) + 1 for text in texts])
    counts = np.diff(np.searchsorted(starts, ends), prepend=0)
    return counts, _grams(hashes, counts, n)


def _pieces(text: bytes, n: int) -> Iterator[tuple[Ints, Hashes]]:
    """The same of one large text, window by window, with exactly the grams of the whole."""
    at, size, n_tokens = 0, BLOCK_BYTES, 0
    carry = np.empty(0, np.uint64)  # the tokens at the end of the last window
    while at < len(text):
        starts, hashes = _tokens(text[at : at + size])
        if at + size >= len(text) or not len(starts):
            at += size
        elif starts[-1] == 0:
            size *= 2  # one word fills the window
            continue
        else:
            at += int(starts[-1])  # the last token may go on behind the window
            size, hashes = BLOCK_BYTES, hashes[:-1]
        n_tokens += len(hashes)
        joined = np.concatenate((carry, hashes))
        found = _mix(_roll(joined, n)) if len(joined) >= n else joined[:0]
        yield np.array([len(hashes)]), found
        carry = joined[-(n - 1) :]
    if n_tokens < n:
        yield np.array([0]), _grams(carry, np.array([n_tokens]), n)


def gram_blocks(texts: Iterable[bytes], n: int) -> Iterator[tuple[int, Ints, Hashes]]:
    """Hashes of ``n`` tokens in a row: (number of the first text, tokens of each text, hashes).

    Several small texts come as one block with a hash for each token (all bits set where no ``n``
    tokens follow in that text); a large text comes in several blocks of its own.
    """
    group: list[bytes] = []
    size = first = 0
    for text in texts:
        is_large = len(text) > BLOCK_BYTES
        if group and (is_large or size + len(text) > BLOCK_BYTES):
            yield first, *_group(group, n)
            first += len(group)
            group, size = [], 0
        if is_large:
            for counts, hashes in _pieces(text, n):
                yield first, counts, hashes
            first += 1
        else:
            group.append(text)
            size += len(text)
    if group:
        yield first, *_group(group, n)


def distinct(hashes: Hashes) -> Hashes:
    """Sorted, each once, without the places where nothing starts."""
    found = np.sort(hashes)
    is_first = np.append(True, found[1:] != found[:-1])[: len(found)]
    return found[is_first & (found != _VOID)]


def shingle_sets(texts: Iterable[bytes]) -> Iterator[Hashes]:
    """The set of shingles of each text, sorted; texts are taken one block ahead."""
    number, parts = 0, list[Hashes]()
    for first, counts, hashes in gram_blocks(texts, SHINGLE):
        if parts and (first != number):
            yield distinct(np.concatenate(parts))
            parts = []
        if len(counts) > 1:
            yield from map(distinct, np.split(hashes, np.cumsum(counts)[:-1]))
        else:  # more of the same text may follow
            number = first
            parts.append(hashes)
    if parts:
        yield distinct(np.concatenate(parts))


def shingles(text: bytes) -> Hashes:
    """The set of shingles of one text, sorted."""
    return next(shingle_sets([text]))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Shared share of two sorted sets; 0 when both are empty."""
    if len(one) > len(other):
        one, other = other, one
    if not len(one):
        return 0.0
    at = np.searchsorted(other, one)
    n_shared = int(np.count_nonzero(other.take(at, mode="clip") == one))
    return n_shared / (len(one) + len(other) - n_shared)


def _detours() -> Ints:
    """For each bin the order in which others are asked when it is empty: fixed random numbers."""
    numbers = np.arange(1, 64 * N_BINS + 1, dtype=np.uint64) * _SPREAD
    return (_mix(numbers) >> np.uint64(57)).astype(np.int64).reshape(64, N_BINS)


_DETOURS = _detours()


def _fill(table: Signatures) -> None:
    """Give empty bins the value of a full one, in place (optimal densification).

    Each bin walks its own fixed random list of bins to the first full one, so that two texts which
    are empty in the same bin mostly copy from the same place and agree with the right probability
    (A. Shrivastava, "Optimal Densification for Fast and Accurate Minwise Hashing", 2017).
    """
    is_empty = table == EMPTY
    rows, bins = np.nonzero(is_empty & ~is_empty.all(axis=1, keepdims=True))
    for turn in range(len(_DETOURS) + N_BINS):
        if not len(rows):
            return
        is_detour = turn < len(_DETOURS)  # then, with very few full bins, the next full one
        source = _DETOURS[turn][bins] if is_detour else (bins + turn - len(_DETOURS)) % N_BINS
        has = ~is_empty[rows, source]
        table[rows[has], bins[has]] = table[rows[has], source[has]]
        rows, bins = rows[~has], bins[~has]


def signatures(texts: Sequence[bytes]) -> tuple[Ints, Signatures]:
    """(tokens of each text, a row of 128 numbers for each): many small texts cost one call."""
    n_tokens = np.zeros(len(texts), np.int64)
    table = np.full((len(texts), N_BINS), EMPTY, np.uint32)
    flat = table.reshape(-1)
    for first, counts, hashes in gram_blocks(texts, SHINGLE):
        n_tokens[first : first + len(counts)] += counts
        bins = (hashes >> np.uint64(57)).view(np.int64)
        bins += first * N_BINS
        if len(counts) > 1:
            bins += np.repeat(np.arange(len(counts)) * N_BINS, counts)
        np.minimum.at(flat, bins, (hashes >> np.uint64(25)).astype(np.uint32))
    _fill(table)
    return n_tokens, table.astype(SIGNATURE, copy=False)


def signature(text: bytes) -> tuple[int, Signatures]:
    """(tokens, the 128 numbers) of one text."""
    n_tokens, table = signatures([text])
    return int(n_tokens[0]), table[0]


def bands(threshold: float) -> tuple[int, int]:
    """(bands, bins in each): documents are compared when all bins of one band agree.

    A pair of similarity s agrees in a band of r bins with probability s**r, so one of b bands
    brings it up with 1 - (1 - s**r)**b. At the lower end of each range, where that is smallest:
    0.85 -> 99.4 %, 0.65 -> 99.8 %, 0.50 -> 99.999999 %.
    """
    if threshold >= 0.85:
        return 16, 8
    return (32, 4) if threshold >= 0.65 else (64, 2)


def estimate(signatures: Signatures, one: Ints, other: Ints) -> NDArray[np.float64]:
    """Share of equal bins: the similarity, with an error of about 0.04 at 0.5, 0.03 at 0.9."""
    return np.count_nonzero(signatures[one] == signatures[other], axis=1) / N_BINS


def nothing(*_: object) -> None:
    """Stand in for a callback."""


class _Search:
    """Pairs found so far, and the one way by which pairs get in."""

    def __init__(
        self, signatures: Signatures, threshold: float, new: Mask | None, check: Check
    ) -> None:
        self.signatures = signatures
        self.new = new
        self.check = check
        # Four standard deviations of the estimate at the threshold: below that is no candidate.
        self.floor = threshold - 4 * (threshold * (1 - threshold) / N_BINS) ** 0.5
        self.close = (1 + threshold) / 2  # a head stands for documents that are this much like it
        self.found = np.empty(0, np.int64)  # lower number * n + higher number, sorted
        self.fresh: list[Ints] = []  # of this band; its buckets share no document

    def band(self, keys: Hashes, documents: Ints) -> None:
        """Add the pairs of ``documents`` whose keys are equal."""
        if len(documents) < 2:
            return
        order = documents[np.argsort(keys[documents], kind="stable")]  # oldest first in a bucket
        is_same = np.diff(keys[order].view(np.int64)) == 0
        order = order[np.append(is_same, False) | np.append(False, is_same)]
        firsts = np.flatnonzero(np.append(True, np.diff(keys[order].view(np.int64)) != 0))
        if not len(order):
            return
        sizes = np.diff(firsts, append=len(order))
        is_wanted = np.ones(len(sizes), np.bool_)
        if self.new is not None:
            is_wanted = np.logical_or.reduceat(self.new[order], firsts)
        is_small = is_wanted & (sizes <= CROWD)
        members, small = order[np.repeat(is_small, sizes)], sizes[is_small]
        ends = np.cumsum(small)
        first = 0
        while first < len(members):  # whole buckets, about a chunk of members at a time
            end = int(ends[np.searchsorted(ends, min(first + _CHUNK, len(members)))])
            some = (ends > first) & (ends <= end)
            self._small(members[first:end], small[some])
            first = end
        for i in np.flatnonzero(is_wanted & (sizes > CROWD)):
            self._crowd(order[firsts[i] : firsts[i] + sizes[i]])
        self.found = np.sort(np.concatenate([self.found, *self.fresh]))
        self.fresh = []

    def _small(self, members: Ints, sizes: Ints) -> None:
        """Add pairs of small buckets, which follow each other in ``members``: all with all."""
        owner = np.repeat(np.arange(len(sizes)), sizes)
        for apart in range(1, int(sizes.max())):
            together = owner[apart:] == owner[:-apart]
            self._add(members[:-apart][together], members[apart:][together])

    def _crowd(self, members: Ints) -> None:
        """Add pairs of a large bucket: heads with all that no earlier head stands for."""
        for _ in range(max(4, min(CROWD, 1_000_000 // len(members)))):
            head, members = members[:1], members[1:]
            alike = np.zeros(len(members))
            for first in range(0, len(members), _CHUNK):
                self.check()
                some = members[first : first + _CHUNK]
                alike[first : first + _CHUNK] = estimate(self.signatures, head, some)
            like = members[alike >= self.floor]
            self._add(np.broadcast_to(head, like.shape), like)
            members = members[alike < self.close]
            if len(members) < 2:
                return

    def _add(self, one: Ints, other: Ints) -> None:
        """Keep those that are wanted, not known and not far below the threshold."""
        if self.new is not None:
            wanted = self.new[one] | self.new[other]
            one, other = one[wanted], other[wanted]
        keys = one * len(self.signatures) + other  # the order within a bucket: one < other
        if len(self.found):
            at = np.searchsorted(self.found, keys)
            is_known = self.found.take(at, mode="clip") == keys
            one, other, keys = one[~is_known], other[~is_known], keys[~is_known]
        for first in range(0, len(keys), _CHUNK):
            self.check()
            some = slice(first, first + _CHUNK)
            is_near = estimate(self.signatures, one[some], other[some]) >= self.floor
            self.fresh.append(keys[some][is_near])


def _keys(signatures: Signatures, first: int, rows: int, check: Check) -> Hashes:
    """A key for each document in each of the bands that begin at the next 32 bins."""
    keys = np.empty((_BINS_AT_ONCE // rows, len(signatures)), np.uint64)
    for at in range(0, len(signatures), _CHUNK):
        check()
        bins = signatures[at : at + _CHUNK, first : first + _BINS_AT_ONCE].astype(np.uint64)
        bins = bins.reshape(len(bins), -1, rows)
        found = bins[:, :, 0]
        for row in range(1, rows):
            found = found * _STEP + bins[:, :, row]
        keys[:, at : at + _CHUNK] = found.T
    return keys


def candidates(
    signatures: Signatures,
    threshold: float,
    new: Mask | None = None,
    *,
    check: Check = nothing,
    on_progress: Callable[[int, int], None] = nothing,
) -> Ints:
    """Pairs (lower number first, sorted) that may be as similar as the threshold.

    Equal texts should be one document before: a thousand copies are a thousand pairs. In a bucket
    of more than 64 documents each is compared with a few heads (the oldest; the oldest of those
    that are not like it; ...), so two close copies of a head may come up only through it.

    Args:
        signatures: one row a document, in memory or mapped; documents without tokens never appear.
        new: keep only pairs with one of these documents.
        check: asked many times a second; cancels by raising.
        on_progress: told (bands done, bands).
    """
    n_bands, rows = bands(threshold)
    search = _Search(signatures, threshold, new, check)
    documents = np.flatnonzero(signatures[:, 0] != EMPTY)
    for band in range(n_bands if new is None or new.any() else 0):
        ahead = band * rows % _BINS_AT_ONCE // rows
        if not ahead:
            keys = _keys(signatures, band * rows, rows, check)
        check()
        search.band(keys[ahead], documents)
        on_progress(band + 1, n_bands)
    return np.stack(np.divmod(search.found, max(1, len(signatures))), axis=1)


class Similarities:
    """True similarity of pairs: reads their texts, keeps the shingles of the last ones."""

    def __init__(self, read: Callable[[int], bytes], *, cache_bytes: int = 64 << 20) -> None:
        self._read = read
        self._room = cache_bytes
        self._cache: OrderedDict[int, Hashes] = OrderedDict()

    def __call__(
        self,
        pairs: Ints,
        *,
        check: Check = nothing,
        on_progress: Callable[[int, int], None] = nothing,
    ) -> NDArray[np.float64]:
        """Jaccard of each pair; pairs of one cluster are done together, so most are read once."""
        found = np.zeros(len(pairs))
        names, numbers = np.unique(pairs, return_inverse=True)
        one, other = numbers.reshape(-1, 2).T
        order = np.lexsort((other, one, union(numbers.reshape(-1, 2), len(names))[one]))
        documents = np.asarray(pairs)[order].ravel().tolist()
        for n_done, i in enumerate(order.tolist()):
            check()
            if not set(documents[2 * n_done : 2 * n_done + 2]) <= self._cache.keys():
                self._load(documents[2 * n_done : 2 * n_done + _AHEAD])
            sets = [self._cache[document] for document in documents[2 * n_done : 2 * n_done + 2]]
            found[i] = jaccard(*sets)
            on_progress(n_done + 1, len(pairs))
        return found

    def _load(self, documents: list[int]) -> None:
        """Make sure of the first two; take those behind them along while that costs little."""
        missing = [document for document in dict.fromkeys(documents) if document not in self._cache]
        n_bytes = 0
        for document, found in zip(missing, shingle_sets(map(self._read, missing)), strict=False):
            self._cache[document] = found
            self._room -= found.nbytes
            n_bytes += found.nbytes
            if n_bytes > _AHEAD_BYTES and set(documents[:2]) <= self._cache.keys():
                break
        for document in documents[:2]:
            self._cache.move_to_end(document)
        while self._room < 0 and len(self._cache) > 2:
            self._room += self._cache.popitem(last=False)[1].nbytes

"""How much a text is like the rest of a user's own files: what finds gibberish that looks like words.

Two things are counted on a sample of the files: which byte follows which two bytes, and in how
many files a word occurs. A file that is itself in the sample is judged by the others alone. The
sources of this Python's standard library are counted in, so that ten files are a model too.

"Unlike the rest" is a reason, never a verdict: a lone Chinese text among English looks the same.
"""

import contextlib
import json
import math
import re
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from sllm_core.corpus.spans import find_words, mixed, piece
from sllm_core.project import atomic_write

LIKENESS_VERSION = "1"
SAMPLE_BYTES = 50 << 20  # of the user's files; more does not sharpen the model
SHARE_BYTES = 24 << 10  # of one document, at most: many files say more than one long one
PRIOR_BYTES = 4 << 20  # of the standard library
_MAX_DOCUMENTS = 60_000  # with the prior's, so that 16 bits count every word exactly
_MAX_WEIGHT = 16  # how often the files of a small corpus count
_TRIGRAMS, _WORD_BITS = 1 << 24, 22
_BATCH_BYTES = 4 << 20
# How many observations the shorter context is worth (a Dirichlet prior). Chosen on held-out text.
_TRUST_PAIR, _TRUST_BYTE = 4.0, 4.0
_COMMON_SHARE, _COMMON_LEAST = 0.02, 3  # of the files: then a word is common
_PRIOR_FOLDERS = (
    "", "asyncio", "collections", "concurrent/futures", "email", "html", "http", "importlib",
    "json", "logging", "multiprocessing", "unittest", "urllib", "xml/dom",
)  # fmt: skip
_FACTS = "model.json"
_FILES = {"trigrams": np.uint32, "words": np.uint16, "documents": np.uint64, "prior": np.uint64}


class LikenessError(ValueError):
    """A stored model is missing, damaged, or of another version."""


class Comparison(NamedTuple):
    """A text beside the rest of the files."""

    bits_per_byte: float  # below 4.5 for text of any kind the files have; 7 for random letters
    known_words: float  # share of its words that another file has too
    common_words: float  # share of its words that several other files have
    n_words: int
    word_share: float  # of its letters, digits and signs: those in words of three letters or more


@dataclass(frozen=True, eq=False)
class Likeness:
    """Counts of a sample of the user's files, and of a few of Python's own."""

    version: str
    n_documents: int
    weight: int  # the trigrams of each of the user's documents were counted so often
    trigrams: NDArray[np.uint32]
    words: NDArray[np.uint16]
    documents: NDArray[np.uint64]  # sorted hashes of the user's sampled documents
    prior: NDArray[np.uint64]  # and of the standard library's

    @cached_property
    def _pairs(self) -> NDArray[np.int64]:
        return self.trigrams.reshape(1 << 16, 256).sum(axis=1, dtype=np.int64)

    @cached_property
    def _bytes(self) -> NDArray[np.int64]:
        return self._pairs.reshape(256, 256).sum(axis=1)

    def compare(self, data: bytes, *, with_bits: bool = True) -> Comparison:
        """Beside the other files; the text itself does not count when it is in the sample.

        Without ``with_bits`` the bits are left out (NaN): words alone take half the time.
        """
        data = piece(data, SHARE_BYTES)
        own = self._own_weight(data)
        hashes, share = find_words(data)
        files = self.words[mixed(hashes, _WORD_BITS)].astype(np.int32)
        if own:
            files -= 1
        others = self.n_documents + len(self.prior) - bool(own)
        common = max(_COMMON_LEAST, round(_COMMON_SHARE * others))
        n_words = len(hashes)
        return Comparison(
            bits_per_byte=self._bits(data, own) if with_bits else math.nan,
            known_words=float((files > 0).mean()) if n_words else 0.0,
            common_words=float((files >= common).mean()) if n_words else 0.0,
            n_words=n_words,
            word_share=share,
        )

    def _own_weight(self, data: bytes) -> int:
        """How often the trigrams of this very text were counted."""
        key = np.uint64(xxhash.xxh3_64_intdigest(data))
        for hashes, weight in ((self.documents, self.weight), (self.prior, 1)):
            at = int(np.searchsorted(hashes, key))
            if at < len(hashes) and hashes[at] == key:
                return weight
        return 0

    def _bits(self, data: bytes, own_weight: int) -> float:
        """Cross-entropy of a byte after the two before it, in bits."""
        codes = _codes(data)
        if not len(codes):
            return 0.0
        codes.sort()
        places = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        unique = codes[places]
        times = np.diff(places, append=len(codes))
        first_pair, last_pair = unique >> 8, unique & 0xFFFF
        middle, last = last_pair >> 8, unique & 0xFF
        n_tri = self.trigrams[unique].astype(np.float64)
        pairs, singles = self._pairs, self._bytes
        if own_weight:
            own = times * own_weight
            n_tri -= own
            pairs = pairs - np.bincount(first_pair, own, 1 << 16).astype(np.int64)
            singles = pairs.reshape(256, 256).sum(axis=1)
        p_byte = (singles[last] + 1.0) / (singles.sum() + 256.0)
        p_pair = (pairs[last_pair] + _TRUST_BYTE * p_byte) / (singles[middle] + _TRUST_BYTE)
        p_tri = (n_tri + _TRUST_PAIR * p_pair) / (pairs[first_pair] + _TRUST_PAIR)
        return float(-(times @ np.log2(p_tri)) / len(codes))


def _codes(data: bytes) -> NDArray[np.uint32]:
    """Each three bytes in a row as one number."""
    raw = np.frombuffer(data, np.uint8).astype(np.uint32)
    return (raw[:-2] << np.uint32(16)) | (raw[1:-1] << np.uint32(8)) | raw[2:]


class _Counter:
    """Counts documents, each different one once."""

    def __init__(self) -> None:
        self.trigrams = np.zeros(_TRIGRAMS, np.uint32)
        self.words = np.zeros(1 << _WORD_BITS, np.uint16)
        self.seen: set[int] = set()
        self.n_bytes = 0
        self._held: list[NDArray[np.uint32]] = []
        self._n_held = 0

    def add(self, data: bytes) -> None:
        """One document; nothing when its text was counted before."""
        data = piece(data, SHARE_BYTES)
        key = xxhash.xxh3_64_intdigest(data)
        if not data or key in self.seen:
            return
        self.seen.add(key)
        self.n_bytes += len(data)
        self.words[np.unique(mixed(find_words(data).hashes, _WORD_BITS))] += 1
        self._held.append(_codes(data))
        self._n_held += len(data)
        if self._n_held >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Count what is held back; many documents at once are faster."""
        if self._held:
            codes = np.concatenate(self._held)
            codes.sort()  # neighbours in the table are then met one after the other
            np.add.at(self.trigrams, codes, np.uint32(1))
        self._held, self._n_held = [], 0


def build(
    samples: Iterable[bytes], check: Callable[[], None] = lambda: None, *, with_prior: bool = True
) -> Likeness:
    """A model of these documents; it stops taking more after 50 MB.

    Args:
        samples: the text of each document as UTF-8, in an order that mixes the sources, and the
            same bytes that will be compared later: else a text would vouch for itself.
        check: called for every document; what it raises ends the work.
        with_prior: whether to count some of this Python's standard library too.
    """
    counter, names = _Counter(), xxhash.xxh3_128()
    prior = list(_standard_library()) if with_prior else []
    for data in samples:
        check()
        counter.add(data)
        full = len(counter.seen) + len(prior) >= _MAX_DOCUMENTS
        if counter.n_bytes >= SAMPLE_BYTES or full:
            break
    counter.flush()
    documents, n_bytes = set(counter.seen), counter.n_bytes
    n_prior = sum(len(data) for data in prior)
    weight = max(1, min(_MAX_WEIGHT, n_prior // max(1, n_bytes)))
    counter.trigrams *= np.uint32(weight)
    for data in prior:
        check()
        counter.add(data)
    counter.flush()
    mine, others = (
        np.array(sorted(keys), np.uint64) for keys in (documents, counter.seen - documents)
    )
    names.update(mine.tobytes() + others.tobytes())
    version = f"{LIKENESS_VERSION}-{names.hexdigest()[:16]}"
    return Likeness(version, len(mine), weight, counter.trigrams, counter.words, mine, others)


def _standard_library() -> Iterator[bytes]:
    """Some of this Python's own sources, smaller ones first; none where they are not installed."""
    root = Path(sysconfig.get_paths()["stdlib"])
    total = 0
    for path in (
        path for folder in _PRIOR_FOLDERS for path in sorted((root / folder).glob("*.py"))
    ):
        try:
            data = path.read_bytes().replace(b"\r\n", b"\n")
        except OSError:
            continue  # a file less is no harm
        if total + len(data) > PRIOR_BYTES:
            return
        total += len(data)
        yield data


def save(model: Likeness, folder: Path) -> None:
    """Store a model in place of the one that was there; its description makes it valid.

    The tables of another model are other files: a process may still have them mapped.

    Raises:
        DiskError: it was not stored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hashes, names = {}, {_FACTS}
    for name in _FILES:
        array: NDArray[Any] = getattr(model, name)
        path = folder / f"{name}-{model.version}.npy"
        with atomic_write(path, point="", need=f"{array.nbytes:,} bytes") as file:
            np.save(file, array, allow_pickle=False)
        hashes[name] = _hash(array)
        names.add(path.name)
    facts = {
        "likeness_version": LIKENESS_VERSION,
        "version": model.version,
        "n_documents": model.n_documents,
        "weight": model.weight,
        "hashes": hashes,
    }
    with atomic_write(folder / _FACTS, point="") as file:
        file.write(json.dumps(facts, indent=2).encode())
    for path in folder.glob("*.npy"):
        if path.name not in names:
            with contextlib.suppress(OSError):  # Windows keeps what is mapped; the next time
                path.unlink()


def load(folder: Path) -> Likeness:
    """A stored model; its tables stay on disk and are shared by all processes that read them.

    Raises:
        LikenessError: it is missing, damaged, or was made by another version.
    """
    arrays = {}
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        if facts["likeness_version"] != LIKENESS_VERSION:
            raise LikenessError(f"a model of version {facts['likeness_version']}")
        version = str(facts["version"])
        if not re.fullmatch(r"[0-9a-f-]{1,64}", version):
            raise LikenessError("the version is no name")
        for name, dtype in _FILES.items():
            array = np.load(folder / f"{name}-{version}.npy", mmap_mode="r", allow_pickle=False)
            if array.dtype != dtype or array.ndim != 1 or _hash(array) != facts["hashes"][name]:
                raise LikenessError(f"{name}.npy is damaged")
            arrays[name] = array
        if len(arrays["trigrams"]) != _TRIGRAMS or len(arrays["words"]) != 1 << _WORD_BITS:
            raise LikenessError("a table has another size")
        return Likeness(version, int(facts["n_documents"]), int(facts["weight"]), **arrays)
    except LikenessError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError) as problem:
        raise LikenessError(f"the model cannot be read: {problem}") from problem


def _hash(array: NDArray[Any]) -> str:
    return xxhash.xxh3_64_hexdigest(array.data) if len(array) else ""

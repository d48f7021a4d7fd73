"""Token files and the windows that training reads from them: no loader, one integer of state.

A window is ``seq_len + 1`` tokens: inputs and, one further, targets. Which windows an update sees
is a pure function of (seed, position), so a run can go on from any step, bit for bit. Text that is
read more or less often than once an epoch is a part of its own (`mixture.py` decides which).
"""

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sllm_core.errors import DataError
from sllm_core.project import Project, file_sha256

FORMAT_VERSION = 1
SIDES = ("train", "val")
_ROUNDS = 4
_PREFETCH = 3
_BLOCK = 4096  # windows whose order is worked out at once
_U64 = np.uint64
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class FileMark:
    """What a token file must be, byte for byte."""

    sha256: str
    size_bytes: int
    n_items: int


@dataclass(frozen=True)
class Manifest:
    """What the token files hold; written last, so it is the commit of a dataset."""

    dataset_id: str
    dtype: str
    vocab_size: int
    tokenizer_sha256: str
    clean_key: str
    eos_id: int
    engine: str
    train_tokens: int
    val_tokens: int
    train_docs: int
    val_docs: int
    train_text_bytes: int
    val_text_bytes: int
    files: dict[str, FileMark] = field(default_factory=dict)
    source_ranges: dict[str, list[list[int]]] = field(
        default_factory=dict
    )  # side -> [id, from, to)
    parent: str = ""  # dataset_id of the version that this one took the place of
    format_version: int = FORMAT_VERSION


def load_manifest(project: Project) -> Manifest | None:
    """The manifest of the prepared data; None when there is none that can be read."""
    try:
        body: dict[str, Any] = json.loads(
            (project.data_dir / "manifest.json").read_text(encoding="utf-8")
        )
        if body["format_version"] != FORMAT_VERSION:
            return None
        marks = {name: FileMark(**mark) for name, mark in body.pop("files").items()}
        ranges = body.get("source_ranges", {})
        body["source_ranges"] = {
            side: [[int(source), int(first), int(end)] for source, first, end in rows]
            for side, rows in ranges.items()
        }
        known = {item.name for item in fields(Manifest)}
        return Manifest(**{k: v for k, v in body.items() if k in known}, files=marks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def version_path(project: Project, dataset_id: str) -> Path:
    """Which training documents a dataset held: <u8, sorted, 8 bytes of each text's hash."""
    return project.data_dir / "versions" / f"{dataset_id[:16]}.npy"


def check_files(project: Project, manifest: Manifest) -> None:
    """Prove that the token files are what the manifest says.

    Raises:
        DataError: E-DATA-CHANGED, naming the file.
    """
    for name, mark in manifest.files.items():
        path = project.data_dir / name
        try:
            is_same = path.stat().st_size == mark.size_bytes and file_sha256(path) == mark.sha256
        except OSError:
            is_same = False
        if not is_same:
            raise DataError(
                "CHANGED",
                f"The token file {project.relative(path)} is not what was written.",
                safe="It is not trained on; your files, tokenizer and checkpoints are intact.",
                todo="Prepare again: Data tab, or sllm.py prepare PROJECT on the command line.",
            )


def open_tokens(project: Project, manifest: Manifest, side: str) -> npt.NDArray[Any]:
    """The tokens of a side, memory-mapped (N,), uint16 or uint32.

    Raises:
        DataError: the file does not hold what the manifest says.
    """
    path = project.data_dir / f"{side}.npy"
    try:
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as problem:
        raise DataError("CHANGED", f"{path.name} cannot be read: {problem}.") from problem
    expected = manifest.train_tokens if side == "train" else manifest.val_tokens
    if tokens.dtype.str != manifest.dtype or tokens.shape != (expected,):
        raise DataError("CHANGED", f"{path.name} does not hold {expected:,} tokens.")
    if len(tokens) and int(tokens.max()) >= manifest.vocab_size:
        raise DataError(
            "TOKENS",
            f"{path.name} holds the id {int(tokens.max())}; the vocabulary ends at "
            f"{manifest.vocab_size - 1}.",
            safe="It is not trained on.",
            todo="Prepare again: Data tab, or sllm.py prepare PROJECT on the command line.",
        )
    return tokens


def mix(
    values: npt.NDArray[np.uint64], key: "np.uint64 | npt.NDArray[np.uint64]"
) -> npt.NDArray[np.uint64]:
    """A keyed 64-bit hash of each value (the finalizer of SplitMix64, Steele et al. 2014)."""
    x = values + key
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return x ^ (x >> _U64(31))


def derive_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, the same in every process and version."""
    state = 0
    for part in parts:  # as `mix`, on one number: Python is faster there than numpy
        state = ((state ^ (part & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def permute(
    indices: npt.NDArray[np.uint64],
    n: int,
    *seeds: int,
    of: npt.NDArray[np.intp] | None = None,
) -> npt.NDArray[np.uint64]:
    """The places of ``indices`` in a random order of 0..n-1, without building that order.

    A four-round Feistel network is a bijection of the next power of four; values that fall
    outside n walk on until they are inside (cycle walking), which keeps it a bijection of n.

    Args:
        indices: below n.
        n: length of the order.
        seeds: one for each order.
        of: which of several orders each index is asked of.
    """
    half = _U64(max(1, ((n - 1).bit_length() + 1) // 2))
    mask = (_U64(1) << half) - _U64(1)
    keys = np.array([[derive_seed(seed, i) for seed in seeds] for i in range(_ROUNDS)], dtype=_U64)
    out = indices.astype(_U64, copy=True)
    todo = np.arange(len(out))
    while len(todo):
        left, right = out[todo] >> half, out[todo] & mask
        for key in keys[:, 0] if of is None else keys[:, of[todo]]:
            left, right = right, left ^ (mix(right, key) & mask)
        out[todo] = (left << half) | right
        todo = todo[out[todo] >= _U64(n)]
    return out


@dataclass(frozen=True, eq=False)
class Part:
    """Text that is read with the same frequency: ranges of tokens, one behind the other.

    Attributes:
        title: for people.
        ranges: (R, 2), the first token of each and the one behind its last.
        n_slots: windows of it that an epoch reads; 0 for each of its windows once.
    """

    title: str
    ranges: npt.NDArray[np.int64]
    n_slots: int = 0

    @property
    def n_tokens(self) -> int:
        """Tokens of all its ranges."""
        return int((self.ranges[:, 1] - self.ranges[:, 0]).sum())


def count_windows(n_tokens: int, seq_len: int, stride: int) -> tuple[int, int]:
    """How many windows a text has, and the largest offset at which an epoch may begin."""
    last = n_tokens - seq_len - 1  # start of the last window that fits
    if last < 0:
        return 0, 0
    max_offset = min(stride - 1, last) if last >= stride else 0
    return (last - max_offset) // stride + 1, max_offset


class Line:
    """Ranges of a token array as if they were one array, without a copy.

    Args:
        tokens: (N,), usually memory-mapped.
        ranges: (R, 2), none of them empty.
        length: of the rows that are taken.
    """

    def __init__(
        self, tokens: npt.NDArray[Any], ranges: npt.NDArray[np.int64], length: int
    ) -> None:
        # A plain array is quicker to index than a map; a row for every start costs nothing.
        self._tokens = np.asarray(tokens)
        self._rows = np.lib.stride_tricks.sliding_window_view(self._tokens, length)
        self._steps = np.arange(length)
        self._ends = np.cumsum(ranges[:, 1] - ranges[:, 0])  # of the ranges, on the line
        self._shifts = ranges[:, 1] - self._ends  # from a place on the line to one in the array

    def take(self, starts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The rows (n, length) that begin at these places of the line."""
        if len(self._ends) == 1:
            return self._rows[starts + self._shifts[0]]
        first = np.searchsorted(self._ends, starts, side="right")
        last = np.searchsorted(self._ends, starts + self._steps[-1], side="right")
        places = starts + self._shifts[first]
        is_cut = first != last  # such a row goes on in another range
        if not is_cut.any():
            return self._rows[places]
        out = self._rows[np.where(is_cut, 0, places)]
        cut = starts[is_cut, None] + self._steps
        out[is_cut] = self._tokens[
            cut + self._shifts[np.searchsorted(self._ends, cut, side="right")]
        ]
        return out


class Windows:
    """All windows of a token array in a seeded order that changes every epoch.

    An epoch is a row of slots, so many for each part, in a random order. A part fills its slots
    with its windows, pass after pass, and goes on in the next epoch where it ended: so all of its
    windows are read equally often, give or take once. Without parts all of the text is one, and
    an epoch is a pass.

    Args:
        tokens: (N,), usually memory-mapped.
        seq_len: tokens a window predicts.
        stride: distance of window starts; every pass begins at another offset below it.
        seed: of the order.
        parts: which text is read how often; all of it once when there are none.

    Raises:
        DataError: E-DATA-SMALL, a part has fewer than seq_len + 1 tokens.
    """

    def __init__(
        self,
        tokens: npt.NDArray[Any],
        seq_len: int,
        stride: int,
        seed: int,
        parts: Sequence[Part] = (),
    ) -> None:
        self.parts = parts or (Part("all text", np.array([[0, len(tokens)]])),)
        shortest = min(part.n_tokens for part in self.parts)
        if shortest < seq_len + 1:
            raise DataError(
                "SMALL",
                f"The text has {shortest:,} tokens; one window of {seq_len:,} needs "
                f"{seq_len + 1:,}.",
                safe="Nothing was changed.",
                todo=f"Add text, or use a window (seq_len) of at most {shortest - 1}."
                if shortest > 2
                else "Add text.",
            )
        self.tokens, self.seq_len, self.stride, self.seed = tokens, seq_len, stride, seed
        self._line = Line(tokens, np.concatenate([p.ranges for p in self.parts]), seq_len + 1)
        sizes = [part.n_tokens for part in self.parts]
        counts = [count_windows(size, seq_len, stride) for size in sizes]
        self._begins = np.cumsum([0, *sizes[:-1]])  # of the parts, on the line
        self._n, self._max_offsets = [n for n, _ in counts], [offset for _, offset in counts]
        self._slots = [part.n_slots or n for part, n in zip(self.parts, self._n, strict=True)]
        self._slot_ends = np.cumsum(self._slots)
        self.n_windows = sum(self._slots)  # of an epoch
        self._kept: tuple[int, int, npt.NDArray[np.int64]] | None = None

    @property
    def epoch_tokens(self) -> int:
        """Tokens of text that an epoch reads; what it reads twice counts twice."""
        sizes = [part.n_tokens for part in self.parts]
        return sum(
            size * slots // n for size, slots, n in zip(sizes, self._slots, self._n, strict=True)
        )

    def passes(self, n_windows: int) -> list[float]:
        """How often each part has been read when so many windows have been."""
        share = n_windows / self.n_windows
        return [share * slots / n for slots, n in zip(self._slots, self._n, strict=True)]

    def epoch(self, data_pos: int) -> int:
        """0-based epoch of the window at a position."""
        return data_pos // self.n_windows

    def starts(self, data_pos: int, count: int) -> npt.NDArray[np.int64]:
        """First tokens (count,) of the windows from a position on; epochs follow each other.

        They are places on the line of all parts, which without parts is the token array.
        """
        out = np.empty(count, dtype=np.int64)
        done = 0
        while done < count:
            epoch, index = divmod(data_pos + done, self.n_windows)
            within = index % _BLOCK
            part = self._block(epoch, index - within)[within : within + count - done]
            out[done : done + len(part)] = part
            done += len(part)
        return out

    def _block(self, epoch: int, first: int) -> npt.NDArray[np.int64]:
        """Starts of a block of windows of an epoch; the last block asked for is kept."""
        kept = self._kept  # read once: a thread that prefetches may replace it
        if kept is None or kept[:2] != (epoch, first):
            indices = np.arange(first, min(first + _BLOCK, self.n_windows), dtype=_U64)
            order = permute(indices, self.n_windows, derive_seed(self.seed, epoch))
            kept = (epoch, first, self._places(epoch, order.astype(np.int64)))
            self._kept = kept
        return kept[2]

    def _places(self, epoch: int, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Starts of the windows in these slots of an epoch."""
        out = np.empty(len(slots), dtype=np.int64)
        parts = np.searchsorted(self._slot_ends, slots, side="right")
        for part in np.unique(parts):
            n, n_slots = self._n[part], self._slots[part]
            mine = np.flatnonzero(parts == part)
            read = slots[mine] - (self._slot_ends[part] - n_slots) + epoch * n_slots
            rounds, index = np.divmod(read, n)
            numbers, of = np.unique(rounds, return_inverse=True)
            passes = numbers.tolist()
            if n_slots % n:  # a pass crosses a border of epochs: each gets a random share
                seeds = [derive_seed(self.seed, number, 2) for number in passes]
                index = permute(index.astype(_U64), n, *seeds, of=of).astype(np.int64)
            offsets = [
                derive_seed(self.seed, number, 1) % (self._max_offsets[part] + 1)
                for number in passes
            ]
            out[mine] = self._begins[part] + index * self.stride + np.array(offsets)[of]
        return out

    def batch(self, data_pos: int, count: int) -> npt.NDArray[Any]:
        """Tokens (count, seq_len + 1) of the windows from a position on."""
        return self._line.take(self.starts(data_pos, count))

    def prefetch(self, data_pos: int, count: int) -> "Prefetch":
        """Endless consecutive batches, gathered ahead of time by a thread."""
        return Prefetch(self, data_pos, count)


class Prefetch:
    """Batches in order, ready before they are asked for. Close it when done."""

    def __init__(self, windows: Windows, data_pos: int, count: int) -> None:
        self._windows, self._pos, self._count = windows, data_pos, count
        self._ready: queue.Queue[npt.NDArray[Any] | BaseException] = queue.Queue(_PREFETCH)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="batches", daemon=True)
        self._thread.start()

    def _fill(self) -> None:
        pos = self._pos
        while not self._stop.is_set():
            try:
                item: npt.NDArray[Any] | BaseException = self._windows.batch(pos, self._count)
            except (OSError, ValueError, IndexError, MemoryError) as problem:
                item = problem
            while not self._stop.is_set():
                try:
                    self._ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            pos += self._count

    def take(self) -> npt.NDArray[Any]:
        """The next batch (count, seq_len + 1)."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join(timeout=5)


def spread_windows(
    tokens: npt.NDArray[Any], seq_len: int, limit: int, chunk: int
) -> Iterator[npt.NDArray[Any]]:
    """At most ``limit`` windows, evenly spread and always the same, as (chunk, seq_len + 1)."""
    if len(tokens) < 2:
        return
    seq_len = min(seq_len, len(tokens) - 1)
    n_all = (len(tokens) - 1) // seq_len
    chosen = np.linspace(0, n_all - 1, min(limit, n_all)).astype(np.int64)
    for first in range(0, len(chosen), chunk):
        starts = chosen[first : first + chunk] * seq_len
        yield tokens[starts[:, None] + np.arange(seq_len + 1)]

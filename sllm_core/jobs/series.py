"""The short form of a run's `events.jsonl`: a curve of a million steps opens at once.

`series.bin` holds a record for each step, validation and resume, `notes.jsonl` every other message
as it was said. Both say where in `events.jsonl` their line is; that file alone is the truth, and
what the two lack or hold wrongly is read from it.
"""

import contextlib
import functools
import io
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sllm_core import messages
from sllm_core.errors import DiskError, LockError
from sllm_core.messages import Message, Progress, Resumed, Step, Token, Validation
from sllm_core.project import Lock

if TYPE_CHECKING:  # the window imports this before its first paint: numpy comes when it is used
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

EVENTS, SERIES, NOTES = "events.jsonl", "series.bin", "notes.jsonl"
STEP, VALIDATION, RESUMED = 1, 2, 3
PAUSE_S = 60.0  # between two steps: the run was paused or stopped, unless it is that slow
MEND_BYTES = 4 << 20  # a run that needed so much of events.jsonl gets its short form made

# kind, flag (step: skipped, validation: best), 2 unused, epoch, step, four numbers, tokens, time,
# at. The numbers of a step: loss, grad_norm, lr, tokens_per_sec; of a validation: val_loss,
# val_bpb, perplexity, unused.
_RECORD = struct.Struct("<BBxxiqddddqdq")
_NUMBERS = {
    STEP: ("loss", "grad_norm", "lr", "tokens_per_sec"),
    VALIDATION: ("val_loss", "val_bpb", "perplexity"),
}


@functools.cache
def _raw() -> "np.dtype[Any]":
    import numpy as np

    return np.dtype(
        [("kind", "u1"), ("flag", "u1"), ("unused", "<u2"), ("epoch", "<i4"), ("step", "<i8")]
        + [(f"n{number}", "<f8") for number in range(4)]
        + [("tokens", "<i8"), ("time", "<f8"), ("at", "<i8")]
    )


@functools.cache
def columns(kind: int) -> "np.dtype[Any]":
    """The columns of the steps (`STEP`) or of the validations (`VALIDATION`) of a `Past`."""
    import numpy as np

    numbers = [(name, "<f8") for name in _NUMBERS[kind]]
    flag = {STEP: "is_skipped", VALIDATION: "is_best"}[kind]
    rest = [("tokens", "<i8"), ("epoch", "<i4"), (flag, "?"), ("time", "<f8"), ("at", "<i8")]
    return np.dtype([("step", "<i8"), *numbers, *rest])


_HEAD = b"sllm series 1\n".ljust(_RECORD.size, b"\0")
_QUIET = (Step, Progress, Token)  # not among the notes
_PASSED = tuple(f'{{"type": "{kind.type}"'.encode() for kind in _QUIET)


@dataclass(frozen=True, eq=False)
class Past:
    """What a run has said so far; what a later resume superseded is left out.

    Args:
        end: the offset in `events.jsonl` up to which this speaks: follow from there.
        steps: an array of `columns(STEP)`; a number that is not known is NaN.
        validations: an array of `columns(VALIDATION)`.
        notes: every message but steps, progress and tokens with its time, validations included.
    """

    end: int
    steps: "Array"
    validations: "Array"
    notes: list[tuple[Message, float]]


@dataclass
class _Loaded:
    """Both files as far as they are right, and what `events.jsonl` has beyond them."""

    records: "Array"  # of _raw(), the right ones
    notes: list[tuple[Message, float]]  # the right ones, then what is missing
    notes_size: int = 0  # bytes of the right part of `notes.jsonl`
    new_records: list[bytes] = field(default_factory=list)
    new_notes: list[bytes] = field(default_factory=list)  # lines for `notes.jsonl`
    end: int = 0
    n_read: int = 0  # bytes of `events.jsonl` that had to be read


def read_past(folder: Path) -> Past:
    """The past of a run folder; nothing in it when there is none."""
    import numpy as np

    loaded = _load(folder)
    raw = loaded.records
    if loaded.new_records:
        raw = np.concatenate([raw, np.frombuffer(b"".join(loaded.new_records), _raw())])
    keep = _kept(raw)
    steps = _typed(raw, keep & (raw["kind"] == STEP), STEP)
    validations = _typed(raw, keep & (raw["kind"] == VALIDATION), VALIDATION)
    if loaded.n_read > MEND_BYTES:
        _mend(folder)
    return Past(loaded.end, steps, validations, _without_superseded(loaded.notes))


def _mend(folder: Path) -> None:
    """Write what had to be read the long way, unless the run is being worked on."""
    with contextlib.suppress(LockError, DiskError), Lock(folder / ".lock", "reading the run"):
        recorder = Recorder(folder)
        recorder.catch_up()
        recorder.close()


def end_of(folder: Path) -> int:
    """The offset behind the last whole line of `events.jsonl`."""
    with contextlib.suppress(OSError), (folder / EVENTS).open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - 65_536)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                return begin + newline + 1
            end = begin
    return 0


class Recorder:
    """The worker's end: keeps both files beside `events.jsonl`. Losing them loses nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._is_behind = True

    def fall_behind(self) -> None:
        """The next call looks at `events.jsonl` itself."""
        self._is_behind = True

    def add(self, message: Message, line: bytes, at: int, time: float) -> None:
        """Note a message whose whole line stands at offset ``at``."""
        try:
            if self._is_behind or self._files is None:
                self._catch_up()
                return
            record = _record(message, at, time)
            if record is not None:
                _write(self._files[0], record)
            if not isinstance(message, _QUIET) and len(line) <= messages.MAX_LINE_BYTES:
                _write(self._files[1], _note_line(at, line))
        except OSError:
            self._is_behind = True

    def catch_up(self) -> None:
        """Bring both files to the end of `events.jsonl`."""
        with contextlib.suppress(OSError):
            self._catch_up()

    def _catch_up(self) -> None:
        """Cut off what is wrong, append what is missing."""
        self.close()
        loaded = _load(self._folder)
        series = (self._folder / SERIES).open("ab", buffering=0)
        notes = (self._folder / NOTES).open("ab", buffering=0)
        self._files = (series, notes)
        n_right = len(loaded.records)
        series.truncate(_RECORD.size * (n_right + 1) if n_right else 0)
        notes.truncate(loaded.notes_size)
        new = loaded.new_records if n_right else [_HEAD, *loaded.new_records]
        _write(series, b"".join(new))
        _write(notes, b"".join(loaded.new_notes))
        self._is_behind = False

    def close(self) -> None:
        """Close both files."""
        for file in self._files or ():
            file.close()
        self._files = None


def _write(file: IO[bytes], data: bytes) -> None:
    if file.write(data) != len(data):
        raise OSError(f"only a part of {file.name} was written")  # as a full disk does it


def _note_line(at: int, line: bytes) -> bytes:
    return b"%d %b" % (at, line)


def _record(message: Message, at: int, time: float) -> bytes | None:
    """The record of a message; None for one that has none."""
    try:
        match message:
            case Step():
                kind, flag, epoch, tokens = STEP, message.is_skipped, message.epoch, message.tokens
            case Validation():
                kind, flag = VALIDATION, message.is_best
                epoch, tokens = message.epoch, message.tokens
            case Resumed():
                kind, flag, epoch, tokens = RESUMED, False, 0, 0
            case _:
                return None
        numbers = [_number(getattr(message, name)) for name in _NUMBERS.get(kind, ())]
        numbers += [math.nan] * (4 - len(numbers))
        whole = (kind, bool(flag), epoch, message.step, *numbers, tokens, round(time, 3), at)
        return _RECORD.pack(*whole)
    except (struct.error, TypeError, OverflowError):  # a line that no job wrote
        return None


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan


def _load(folder: Path) -> _Loaded:
    """Read both files, prove their last lines, and read on in `events.jsonl` from there."""
    import numpy as np

    none = _Loaded(np.empty(0, _raw()), [])
    try:
        file = (folder / EVENTS).open("rb")
    except OSError:
        return none
    with file:
        records, series_end = _read_series(folder, file)
        notes, notes_end, notes_size = _read_notes(folder, file)
        loaded = _Loaded(records, notes, notes_size, end=min(series_end, notes_end))
        begin = loaded.end
        for at, line in _lines(file, begin):
            loaded.end = at + len(line)
            if line.startswith(_PASSED) and (at < series_end or not line.startswith(_PASSED[0])):
                continue
            found = messages.decode(line)
            if found is None:
                continue
            message, time = found
            if at >= series_end and (record := _record(message, at, time)) is not None:
                loaded.new_records.append(record)
            if at >= notes_end and not isinstance(message, _QUIET):
                loaded.notes.append(found)
                loaded.new_notes.append(_note_line(at, line))
        loaded.n_read = loaded.end - begin
    return loaded


def _lines(file: IO[bytes], begin: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their offsets."""
    file.seek(begin)
    at = begin
    for line in file:
        if line.endswith(b"\n"):
            yield at, line
        at += len(line)


def _line_at(file: IO[bytes], at: int) -> bytes:
    """The whole line that begins at ``at``; nothing when none begins there."""
    if at < 0:
        return b""
    file.seek(max(0, at - 1))
    if at and file.read(1) != b"\n":
        return b""
    line = file.readline()
    return line if line.endswith(b"\n") else b""


def _read_series(folder: Path, events: IO[bytes]) -> "tuple[Array, int]":
    """The records and the offset behind the line of the last; none when they are not right."""
    import numpy as np

    nothing = np.empty(0, _raw()), 0
    try:
        with (folder / SERIES).open("rb") as file:
            if file.read(len(_HEAD)) != _HEAD:
                return nothing
            data = np.fromfile(file, np.uint8)
    except OSError:
        return nothing
    records = data[: len(data) // _RECORD.size * _RECORD.size].view(_raw())
    if not len(records):
        return nothing
    is_known = (records["kind"] >= STEP) & (records["kind"] <= RESUMED)
    if not is_known.all() or not (np.diff(records["at"]) > 0).all():
        return nothing
    at = int(records["at"][-1])
    line = _line_at(events, at)
    found = messages.decode(line)
    if found is None or _record(found[0], at, found[1]) != records[-1:].tobytes():
        return nothing
    return records, at + len(line)


def _read_notes(folder: Path, events: IO[bytes]) -> tuple[list[tuple[Message, float]], int, int]:
    """The notes, the offset behind the line of the last, their bytes; none when not right."""
    nothing: tuple[list[tuple[Message, float]], int, int] = ([], 0, 0)
    try:
        data = (folder / NOTES).read_bytes()
    except OSError:
        return nothing
    size = data.rfind(b"\n") + 1
    notes, at, line = [], -1, b""
    for whole in io.BytesIO(data[:size]):
        number, _, line = whole.partition(b" ")
        before, at = at, int(number) if number.isdigit() and len(number) < 19 else -1
        found = messages.decode(line)
        if at <= before or found is None:
            return nothing
        notes.append(found)
    if not notes or _line_at(events, at) != line:
        return nothing
    return notes, at + len(line), size


def work_s(times: "Array") -> "Array":
    """Seconds of work up to each of the ``times`` of steps, float64.

    What passed between a stop and a resume does not count: a gap that is long for the run.
    """
    import numpy as np

    gaps = np.diff(times, prepend=times[:1])
    usual = float(np.median(gaps[:: max(1, len(gaps) // 2000)])) if len(gaps) else 0.0
    is_pause = gaps > max(PAUSE_S, 20 * usual)
    worked: Array = np.cumsum(np.where(is_pause, usual, np.maximum(gaps, 0.0)))
    return worked


def _kept(raw: "Array") -> "Array":
    """Which records no later resume superseded."""
    import numpy as np

    keep = np.ones(len(raw), bool)
    limit = None
    stop = len(raw)
    for place in reversed(np.flatnonzero(raw["kind"] == RESUMED)):
        if limit is not None:
            keep[place:stop] &= raw["step"][place:stop] <= limit
        step = int(raw["step"][place])
        limit, stop = step if limit is None else min(limit, step), place
    if limit is not None:
        keep[:stop] &= raw["step"][:stop] <= limit
    return keep


def _typed(raw: "Array", chosen: "Array", kind: int) -> "Array":
    """The chosen records, which are of one kind, under the names of its columns."""
    import numpy as np

    raw = raw if chosen.all() else raw[chosen]
    made = np.empty(len(raw), columns(kind))
    sources = {name: f"n{number}" for number, name in enumerate(_NUMBERS[kind])}
    sources |= {"is_skipped": "flag", "is_best": "flag"}
    for name in made.dtype.names or ():
        made[name] = raw[sources.get(name, name)]
    return made


def _step_of(message: Message) -> int:
    step = getattr(message, "step", 0)
    return step if isinstance(step, int) else 0


def _without_superseded(notes: list[tuple[Message, float]]) -> list[tuple[Message, float]]:
    """Notes in the order of the run: later ones than the step of a resume are left out."""
    kept: list[tuple[Message, float]] = []
    limit = math.inf
    for message, time in reversed(notes):
        if _step_of(message) <= limit:
            kept.append((message, time))
        if isinstance(message, Resumed):
            limit = min(limit, _step_of(message))
    kept.reverse()
    return kept

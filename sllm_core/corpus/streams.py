"""What every reader of a format stands on: unpacked bytes, decoded text, lines, and the text store.

Nothing here holds more than a few pieces of a file, and everything that a file can make larger
than itself is counted against a limit.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import zstandard

from sllm_core.corpus.clean import clean
from sllm_core.corpus.extract import _BOMS, SkipFile, _lines_around, detect_encoding
from sllm_core.errors import disk_error

_BLOCK_BYTES = 1 << 20
_ZST_INPUT_BYTES = 1 << 10  # four bytes can stand for 128 KiB: what comes out at once is bounded
_ZST_WINDOW_BYTES = 128 << 20  # what the zstd command accepts without being asked
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED = re.compile("[\udc80-\udcff]")
MARKED = "utf-8 with marks"  # bytes that are no UTF-8 become NUL, for readers that drop such rows
_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one file may grow to; its time and memory are watched from outside (`children`)."""

    expanded_bytes: int | None = None  # None: by the size of the file
    whole_bytes: int = 256 * _MIB  # of what must be in memory at once
    page_bytes: int = 32 * _MIB  # of HTML: its tree is some 25 to 100 times as large
    record_chars: int = 32 * _MIB  # of one row of a table
    depth: int = 1_000  # of elements in XML
    members: int = 65_536  # of an archive
    pages: int = 50_000

    def most_bytes(self, size: int) -> int:
        """How many bytes a file of this size may unpack to, or its text may have."""
        if self.expanded_bytes is not None:
            return self.expanded_bytes
        return max(4 * size, min(max(100 * size, 16 * _MIB), 4096 * _MIB))


def too_much(what: str, limit: int) -> SkipFile:
    """The refusal of what grew past a limit."""
    amount = f"{limit // _MIB} MiB" if limit >= _MIB else f"{limit:,} bytes"
    return SkipFile("limit", f"{what} more than {amount}")


def unpacked(file: BinaryIO, packing: str, limit: int) -> Iterator[bytes]:
    """The bytes of a file from its beginning, without its packing: '', gz or zst.

    Raises:
        SkipFile: damaged, or more than ``limit`` bytes come out.
    """
    file.seek(0)
    pieces = {"": _as_it_is, "gz": _ungzipped, "zst": _unzstd}[packing](file)
    total = 0
    try:
        for piece in pieces:
            total += len(piece)
            if packing and total > limit:
                raise too_much("it unpacks to", limit)
            yield piece
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as problem:
        words = str(problem)
        reason = "limit" if "much memory" in words else "parse"
        raise SkipFile(reason, f"damaged {packing}: {words[:80]}") from problem


def _as_it_is(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _ungzipped(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as inside:
        while block := inside.read(_BLOCK_BYTES):
            yield block


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    """Frame after frame; the library's own reader says nothing when the last one is cut off."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZST_WINDOW_BYTES)
    frame, is_inside = unpacker.decompressobj(), False
    while block := file.read(_BLOCK_BYTES):
        view, at = memoryview(block), 0
        while at < len(view):
            given = view[at : at + _ZST_INPUT_BYTES]
            if piece := frame.decompress(given):
                yield piece
            at += len(given)
            is_inside = not frame.eof
            if frame.eof:
                at -= len(frame.unused_data)
                frame = unpacker.decompressobj()
    if is_inside:
        raise EOFError("the file ended inside a frame")


def whole(file: BinaryIO, packing: str, limit: int, most: int) -> BinaryIO:
    """A file that can be read at any place: itself, or what it unpacks to in memory.

    Raises:
        SkipFile: damaged, or larger than may be in memory.
    """
    if not packing:
        file.seek(0)
        return file
    return io.BytesIO(read_all(unpacked(file, packing, limit), most))


def read_all(blocks: Iterator[bytes], most: int) -> bytes:
    """All blocks as one.

    Raises:
        SkipFile: more than ``most`` bytes.
    """
    held = bytearray()
    for block in blocks:
        held += block
        if len(held) > most:
            raise too_much("it must be opened whole, and has", most)
    return bytes(held)


class WrongEncoding(Exception):  # noqa: N818 - an answer: try another one
    """The bytes are not UTF-8; probe holds whole lines around the place.

    Where letters beyond ASCII came before it, they were valid UTF-8: then this is damage.
    """

    def __init__(self, probe: bytes, *, is_damage: bool) -> None:
        super().__init__("not utf-8")
        self.probe, self.is_damage = probe, is_damage


class Reading:
    """The text of a stream of bytes in pieces, line feeds only; its encoding is found on the way.

    Args:
        blocks: the bytes.
        encoding: as `detect_encoding` found it; '' is a byte-order mark, or UTF-8.
    """

    def __init__(self, blocks: Iterator[bytes], encoding: str = "") -> None:
        self._blocks, self.encoding = blocks, encoding
        self._is_guess, self._is_marked = not encoding, False
        self._has_letters = False  # beyond ASCII

    def __iter__(self) -> Iterator[str]:
        """Piece by piece.

        Raises:
            WrongEncoding: it is not UTF-8, and nothing said that it is anything else.
            SkipFile: the bytes are not in the encoding that was found.
        """
        decoder, held = None, ""
        for block in self._blocks:
            if decoder is None:
                decoder = self._decoder(block)
            text = held + self._decode(decoder, block)
            held = "\r" if text.endswith("\r") else ""  # its line feed may be in the next block
            if text := clean(text.removesuffix("\r"), is_start=False):
                self._has_letters = self._has_letters or not text.isascii()
                yield text
        if decoder is not None and (text := held + self._decode(decoder, b"", is_last=True)):
            yield clean(text, is_start=False)

    def _decoder(self, block: bytes) -> codecs.IncrementalDecoder:
        if self.encoding == MARKED:
            self._is_marked, self.encoding = True, "utf-8"
            return codecs.getincrementaldecoder("utf-8")("surrogateescape")
        if self._is_guess:
            self.encoding = encoding_of_mark(block) or "utf-8"
            self._is_guess = self.encoding == "utf-8"
        return codecs.getincrementaldecoder(self.encoding)()

    def _decode(
        self, decoder: codecs.IncrementalDecoder, block: bytes, *, is_last: bool = False
    ) -> str:
        try:
            text = decoder.decode(block, is_last)
        except UnicodeDecodeError as problem:
            if self._is_guess:
                probe = _lines_around(problem.object, problem.start)
                raise WrongEncoding(probe, is_damage=self._has_letters) from problem
            raise SkipFile("encoding", f"not {self.encoding}: {problem.reason}") from problem
        except UnicodeError as problem:
            raise SkipFile("encoding", f"not {self.encoding}: {problem}") from problem
        return _ESCAPED.sub("\0", text) if self._is_marked else text


def encoding_of_mark(data: bytes) -> str:
    """The encoding that a byte-order mark states; '' without one."""
    return next((name for mark, name in _BOMS if data.startswith(mark)), "")


def decoded(read: Callable[[str], str], *, has_rows: bool = False) -> str:
    """Run a reader, once more if its text is not UTF-8; returns what it says the encoding is.

    Args:
        read: given an encoding ('' at first), reads everything and returns the encoding.
        has_rows: where no encoding fits, try `MARKED`: a few damaged rows spoil no table.

    Raises:
        SkipFile: no encoding fits, or what the reader raises.
    """
    try:
        return read("")
    except WrongEncoding as problem:
        wrong = problem
    probe = wrong.probe.replace(b"\0", b" ") if has_rows else wrong.probe
    try:
        if wrong.is_damage:
            raise SkipFile("encoding", "damaged UTF-8")
        encoding = detect_encoding(probe)
    except SkipFile:
        if not has_rows:
            raise
        encoding = MARKED
    return read(encoding)


def lines(pieces: Iterable[str], most_chars: int) -> Iterator[str | None]:
    """The lines of a text without their line feed; None stands for one that is too long."""
    held: list[str] = []
    n_held = 0
    for piece in pieces:
        found = piece.split("\n")
        for line in found[:-1]:
            n_held += len(line)
            yield "".join([*held, line]) if n_held <= most_chars else None
            held.clear()
            n_held = 0
        n_held += len(found[-1])
        if n_held <= most_chars:
            held.append(found[-1])
        else:
            held.clear()
    if n_held:
        yield "".join(held) if n_held <= most_chars else None


class TextStore:
    """Writes the text of one file, and for a table where each record ends.

    Args:
        out: the text; `.ends` beside it holds the ends as 64-bit numbers, low byte first.
        limit: most bytes.
        has_records: whether the text comes record by record.

    Raises:
        DiskError: a write did not happen.
    """

    def __init__(self, out: Path, limit: int, *, has_records: bool) -> None:
        self._out, self._limit, self._has_records = out, limit, has_records
        self._ends_path = out.with_suffix(".ends")
        self._files: list[BinaryIO] = []
        self.restart()

    def restart(self) -> None:
        """Begin again with nothing."""
        self.close()
        self.chars = self.n_bytes = self.n_converted = self.n_records = 0
        self._is_start, self._has_letters = True, False
        self._ends: list[int] = []
        try:
            paths = [self._out, self._ends_path] if self._has_records else [self._out]
            for path in paths:
                self._files.append(path.open("wb"))
        except OSError as problem:
            raise disk_error(problem, self._out.name) from problem

    def write(self, text: str) -> None:
        """Append a piece; what UTF-8 or a text file cannot hold becomes U+FFFD and is counted."""
        if self._is_start and text:
            text = text.lstrip("\ufeff")  # or a reader of the store would take it off
            self._is_start = not text
        if not text.isascii() or "\0" in text:
            text, n = _UNSTORABLE.subn("\ufffd", text)
            self.n_converted += n
        text = clean(text, is_start=False)
        data = text.encode("utf-8")
        self._has_letters = self._has_letters or not (not text or text.isspace())
        self.chars += len(text)
        self.n_bytes += len(data)
        if self.n_bytes > self._limit:
            raise too_much("its text has", self._limit)
        self._put(0, data)

    def add_record(self, text: str) -> bool:
        """Append a whole record; returns False for one without text, which is left out."""
        text = text.lstrip("\ufeff")
        if not text or text.isspace():
            return False
        self._is_start = True
        self.write(text)
        self.n_records += 1
        self._ends.append(self.n_bytes)
        if len(self._ends) >= 4096:
            self._put_ends()
        return True

    def _put_ends(self) -> None:
        self._put(1, np.asarray(self._ends, dtype="<u8").tobytes())
        self._ends.clear()

    def _put(self, which: int, data: bytes) -> None:
        try:
            self._files[which].write(data)
        except OSError as problem:
            raise disk_error(problem, self._out.name) from problem

    def finish(self) -> None:
        """Everything is written.

        Raises:
            SkipFile: reason empty, there was no text.
        """
        if not self._has_letters:
            raise SkipFile("empty", "there is no text in it")
        if self._ends:
            self._put_ends()
        self.close()

    def close(self) -> None:
        """Close the files, whatever they hold."""
        try:
            while self._files:
                self._files.pop().close()
        except OSError as problem:
            raise disk_error(problem, self._out.name) from problem

    def discard(self) -> None:
        """Take the files away again."""
        for file in self._files:
            try:
                file.close()
            except OSError:  # a full disk says it again; what matters was raised already
                continue
        self._files.clear()
        for path in (self._out, self._ends_path):
            path.unlink(missing_ok=True)

"""From the bytes of a file to its text: encodings are found, never guessed silently.

A file is read once, front to back, in bounded pieces; a long document is handed on in sections,
so that memory stays flat for a file of any size.
"""

import codecs
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import charset_normalizer
import xxhash

from sllm_core.corpus.clean import clean

SECTION_CHARS = 1 << 20  # a document longer than this is handled in sections
_READ_BYTES = 1 << 20
_PROBE_BYTES = 1 << 17  # what the detection of legacy code pages looks at
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class SkipFile(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A file that is not used; reason is a stable word (RELIABILITY 5)."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


@dataclass(frozen=True)
class FileId:
    """What must not change between listing a file and reading it."""

    size: int
    mtime_ns: int
    dev: int
    inode: int

    @staticmethod
    def of(info: os.stat_result) -> "FileId":
        """From a stat result."""
        return FileId(info.st_size, info.st_mtime_ns, info.st_dev, info.st_ino)


@dataclass(frozen=True)
class TextFacts:
    """What reading a whole file found out."""

    raw_hash: bytes
    text_hash: bytes
    encoding: str
    is_converted: bool
    chars: int
    text_bytes: int
    lines: int


def open_regular(path: Path, expected: FileId | None) -> int:
    """A descriptor of a regular file that is still the one that was listed.

    Opened without blocking, checked on the handle: a pipe or device never hangs the scan.

    Raises:
        SkipFile: it vanished, changed, may not be read, or is no regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NOCTTY", 0))
    except FileNotFoundError:
        raise SkipFile("changed", "it vanished after it was listed") from None
    except OSError as problem:
        raise SkipFile("unreadable", problem.strerror or str(problem)) from problem
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise SkipFile("not-regular")
    if expected is not None and FileId.of(info) != expected:
        os.close(descriptor)
        raise SkipFile("changed", "it changed after it was listed")
    return descriptor


def read_blocks(path: Path, expected: FileId | None) -> Iterator[bytes]:
    """The bytes of a file, at most as many as it had when it was listed.

    Raises:
        SkipFile: see `open_regular`; or it became shorter, or the disk failed.
    """
    descriptor = open_regular(path, expected)
    try:
        left = os.fstat(descriptor).st_size
        while left > 0:
            block = os.read(descriptor, min(left, _READ_BYTES))
            if not block:
                raise SkipFile("changed", "it became shorter while it was read")
            left -= len(block)
            yield block
    except OSError as problem:
        raise SkipFile("unreadable", problem.strerror or str(problem)) from problem
    finally:
        os.close(descriptor)


def detect_encoding(head: bytes, is_whole: bool) -> str:
    """Name of the encoding of a file that starts with ``head`` and is not valid UTF-8.

    Raises:
        SkipFile: binary (it holds NUL bytes), or no encoding fits.
    """
    if b"\0" in head:
        raise SkipFile("binary", "it holds NUL bytes")
    guess = charset_normalizer.from_bytes(
        head if is_whole else head[: head.rfind(b"\n") + 1] or head, cp_exclusion=["utf_7"]
    ).best()
    if guess is None or guess.encoding in {"utf_8", "ascii"}:
        raise SkipFile("encoding", "no text encoding fits")
    return guess.encoding


def find_encoding(path: Path, expected: FileId) -> str:
    """The encoding of a file: byte-order mark, strict UTF-8, then detection (DATA 4).

    Raises:
        SkipFile: it is binary, in no known encoding, or cannot be read.
    """
    head = b""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for number, block in enumerate(read_blocks(path, expected)):
            if not number:
                head = block[:_PROBE_BYTES]
                for mark, name in _BOMS:
                    if block.startswith(mark):
                        return name
            if b"\0" in block:
                raise SkipFile("binary", "it holds NUL bytes")
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return detect_encoding(head, len(head) == expected.size)
    return "utf-8"


def read_text(path: Path, expected: FileId, encoding: str) -> Iterator[str]:
    """The cleaned text of a file in pieces of about a million characters.

    Raises:
        SkipFile: reason encoding (a byte that the encoding does not have) or see `read_blocks`.
    """
    decoder = codecs.getincrementaldecoder(encoding)()  # strict: nothing becomes mojibake
    try:
        held = ""  # a carriage return may have its line feed in the next block
        for block in read_blocks(path, expected):
            text = held + decoder.decode(block)
            held = "\r" if text.endswith("\r") else ""
            yield clean(text.removesuffix("\r"))
        yield clean(held + decoder.decode(b"", final=True))
    except (UnicodeDecodeError, UnicodeError) as problem:
        raise SkipFile("encoding", f"not {encoding}: {problem}") from problem


def examine(path: Path, expected: FileId) -> TextFacts:
    """Read a file whole, without keeping it: its hashes, encoding and counts.

    Raises:
        SkipFile: it holds no text that can be used.
    """
    raw = xxhash.xxh3_128()
    for block in read_blocks(path, expected):
        raw.update(block)
    encoding = find_encoding(path, expected)
    text_hash, chars, n_bytes, lines = xxhash.xxh3_128(), 0, 0, 0
    last = ""
    for text in read_text(path, expected, encoding):
        data = text.encode("utf-8")
        text_hash.update(data)
        chars, n_bytes, lines = chars + len(text), n_bytes + len(data), lines + text.count("\n")
        last = text or last
    if not chars or not last:
        raise SkipFile("empty")
    return TextFacts(
        raw_hash=raw.digest(),
        text_hash=text_hash.digest(),
        encoding=encoding,
        is_converted=encoding not in {"utf-8", "utf-8-sig"},
        chars=chars,
        text_bytes=n_bytes,
        lines=lines + (not last.endswith("\n")),
    )


def examine_small(path: Path, expected: FileId) -> TextFacts:
    """`examine` for a file that fits one block: read once, the usual case of plain UTF-8.

    Raises:
        SkipFile: see `examine`.
    """
    if expected.size > _READ_BYTES:
        return examine(path, expected)
    data = b"".join(read_blocks(path, expected))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return examine(path, expected)
    if "\0" in text:
        return examine(path, expected)
    raw_hash = xxhash.xxh3_128_digest(data)
    cleaned = clean(text)
    if not cleaned:
        raise SkipFile("empty")
    is_same = len(cleaned) == len(text) and "\r" not in text
    encoded = data if is_same else cleaned.encode("utf-8")
    return TextFacts(
        raw_hash=raw_hash,
        text_hash=raw_hash if is_same else xxhash.xxh3_128_digest(encoded),
        encoding="utf-8" if not data.startswith(codecs.BOM_UTF8) else "utf-8-sig",
        is_converted=False,
        chars=len(cleaned),
        text_bytes=len(encoded),
        lines=cleaned.count("\n") + (not cleaned.endswith("\n")),
    )


def sections(pieces: Iterator[str], section_chars: int = SECTION_CHARS) -> Iterator[str]:
    """Cut a long text where no token can span the cut: behind a newline, before a non-blank.

    A blank line is preferred. Text without any such place is cut at eight times the length.
    Joined, the sections are the text.
    """
    held = ""
    for piece in pieces:
        held += piece
        while len(held) > section_chars:
            cut = _find_cut(held, section_chars)
            if cut is None:
                if len(held) <= 8 * section_chars:
                    break
                cut = 8 * section_chars
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _find_cut(text: str, start: int) -> int | None:
    """Position of a safe cut at or after ``start``, soon after it if possible."""
    for mark in ("\n\n", "\n"):
        at = text.find(mark, start)
        limit = start + start // 2 if mark == "\n\n" else len(text)
        while 0 <= at < limit:
            end = at + len(mark)
            while end < len(text) and text[end] == "\n":
                end += 1
            if end < len(text) and not text[end].isspace():
                return end
            at = text.find(mark, end)
    return None


def decode_file(path: Path) -> str:
    """The whole cleaned text of one file that a user named.

    Raises:
        SkipFile: it holds no text that can be used.
    """
    try:
        expected = FileId.of(path.stat())
    except OSError as problem:
        raise SkipFile("unreadable", problem.strerror or str(problem)) from problem
    return "".join(read_text(path, expected, find_encoding(path, expected)))

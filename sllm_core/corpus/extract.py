"""From the bytes of a file to its text: encodings are found, never guessed silently.

A file is read once, front to back, in bounded pieces; a long document is handed on in sections,
so that memory stays flat for a file of any size.
"""

import codecs
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import charset_normalizer
import xxhash

from sllm_core.config import CleanConfig
from sllm_core.corpus.clean import PLAIN, apply, clean

SECTION_CHARS = 1 << 20  # a document longer than this is handled in sections
_READ_BYTES = 1 << 20
_PROBE_BYTES = 1 << 16  # what the detection of legacy code pages looks at
_SIGN = 1 << 63  # SQLite's numbers have a sign; a few file systems use all 64 bits
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


# The code pages that people's old files are in; others only add wrong guesses between look-alikes.
_CODE_PAGES = (
    "cp1252 cp1250 cp1251 koi8_r cp866 iso8859_2 iso8859_5 cp1253 cp1254 cp1255 cp1256 "
    "shift_jis cp932 euc_jp gb18030 big5 cp949"
).split()
_MULTIBYTE = frozenset(["shift_jis", "cp932", "euc_jp", "gb18030", "big5", "cp949"])
# Letters beyond ASCII of one language each: they tell code pages apart that score alike.
_ALPHABETS = tuple(
    frozenset(letters + letters.upper())
    for letters in (
        "äöüß", "àâæçèéêëîïôœùûüÿ", "áéíñóúü", "áàâãçéêíóôõúü", "àèéìíîòóùú", "åäöéü", "æøåéèêòóô",
        "áðéíóúýþæö", "áéëïíóöúü", "äõöüšž", "ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž",
        "áéíóöőúüű", "čćđšž", "ăâîșțşţ", "çğıİöşüâîû",
    )
)  # fmt: skip
_RIVAL_CHAOS, _RIVAL_COHERENCE = 0.02, 0.1  # closer than this, a guess is no answer


class SkipFile(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A file that is not used; reason is a stable word (RELIABILITY 5)."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class FileId(NamedTuple):
    """What must not change between listing a file and reading it."""

    size: int
    mtime_ns: int
    dev: int
    inode: int

    @staticmethod
    def of(info: os.stat_result) -> "FileId":
        """From a stat result; device and inode as 64 bits with a sign, as the index stores them."""
        dev, inode = info.st_dev, info.st_ino
        if dev | inode >= _SIGN:
            dev, inode = ((n + _SIGN) % (2 * _SIGN) - _SIGN for n in (dev, inode))
        return FileId(info.st_size, info.st_mtime_ns, dev, inode)


@dataclass(frozen=True, slots=True)
class Cleaning:
    """How the text of one file is cleaned: by which options, as what."""

    options: CleanConfig = PLAIN
    kind: str = "prose"
    lang: str = ""

    def __call__(self, pieces: Iterable[str]) -> Iterator[str]:
        """The cleaned text, in pieces."""
        return apply(pieces, self.options, self.kind, self.lang)

    @property
    def is_plain(self) -> bool:
        """Whether the options change nothing."""
        return self.options == PLAIN


AS_IT_IS = Cleaning()


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


def detect_encoding(probe: bytes) -> str:
    """Name of the encoding of text that is not valid UTF-8.

    Where code pages score alike, the letters must be those of a language in exactly one of them.

    Raises:
        SkipFile: binary (it holds NUL bytes), damaged UTF-8, no encoding fits, or several do.
    """
    if b"\0" in probe:
        raise SkipFile("binary", "it holds NUL bytes")
    guesses = charset_normalizer.from_bytes(probe, cp_isolation=_CODE_PAGES)
    best = guesses.best()
    if best is None:
        raise SkipFile("encoding", "no text encoding fits")
    as_utf8 = probe.decode("utf-8", errors="replace")
    wrong = as_utf8.count("\ufffd")
    right = sum(letter > "\x7f" for letter in as_utf8) - wrong
    # Legacy two-byte text forms some valid UTF-8 by accident, single-byte text hardly ever.
    most = right if best.encoding in _MULTIBYTE else 4 * right
    if right and wrong <= max(1, most):
        raise SkipFile("encoding", "damaged UTF-8")
    readings = {
        probe.decode(guess.encoding): guess.encoding
        for guess in guesses
        if guess.chaos <= best.chaos + _RIVAL_CHAOS
        and guess.coherence >= best.coherence - _RIVAL_COHERENCE
    }
    if len(readings) > 1:
        readings = {text: name for text, name in readings.items() if _fits_a_language(text)}
        if len(readings) != 1:
            raise SkipFile("encoding", "several text encodings fit")
    return next(iter(readings.values()))


def _fits_a_language(text: str) -> bool:
    """Whether one language has all its accented letters; other scripts count as fitting."""
    letters = {letter for letter in text if letter > "\x7f" and letter.isalpha()}
    is_latin = any(letter < "\u0250" for letter in letters)
    return not is_latin or any(letters <= alphabet for alphabet in _ALPHABETS)


def find_encoding(path: Path, expected: FileId, check: Callable[[], None] = lambda: None) -> str:
    """The encoding of a file: byte-order mark, strict UTF-8, then detection (DATA 4).

    Raises:
        SkipFile: it is binary, in no known encoding, or cannot be read.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_first = True
    try:
        for block in read_blocks(path, expected):
            check()
            if is_first:
                for mark, name in _BOMS:
                    if block.startswith(mark):
                        return name
            is_first = False
            if b"\0" in block:
                raise SkipFile("binary", "it holds NUL bytes")
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as problem:
        return detect_encoding(_lines_around(problem.object, problem.start))
    return "utf-8"


def _lines_around(block: bytes, at: int) -> bytes:
    """Whole lines around a place, where there are any: a cut character would spoil the detection."""
    first, last = max(0, at - _PROBE_BYTES // 2), min(len(block), at + _PROBE_BYTES // 2)
    begin = block.find(b"\n", first, at) + 1 if first else 0
    end = block.rfind(b"\n", at, last) + 1 if last < len(block) else 0
    return block[begin or first : end or last]


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
            yield clean(text.removesuffix("\r"), is_start=False)  # the decoder took the mark
        yield clean(held + decoder.decode(b"", final=True), is_start=False)
    except (UnicodeDecodeError, UnicodeError) as problem:
        raise SkipFile("encoding", f"not {encoding}: {problem}") from problem


def hash_file(
    path: Path, expected: FileId | None, check: Callable[[], None] = lambda: None
) -> bytes:
    """The xxh3-128 of a file's bytes.

    Raises:
        SkipFile: see `read_blocks`.
    """
    raw = xxhash.xxh3_128()
    for block in read_blocks(path, expected):
        check()
        raw.update(block)
    return raw.digest()


def examine(
    path: Path,
    expected: FileId,
    check: Callable[[], None] = lambda: None,
    cleaning: Cleaning = AS_IT_IS,
) -> TextFacts:
    """Read a file whole, without keeping it: its hashes, encoding and counts.

    ``check`` is called for every block; what it raises ends the work.

    Raises:
        SkipFile: it holds no text that can be used.
    """
    raw_hash = hash_file(path, expected, check)
    encoding = find_encoding(path, expected, check)
    return measure_text(cleaning(read_text(path, expected, encoding)), raw_hash, encoding, check)


def measure_text(
    pieces: Iterable[str], raw_hash: bytes, encoding: str, check: Callable[[], None]
) -> TextFacts:
    """Hash and count a cleaned text that comes in pieces.

    Raises:
        SkipFile: there is nothing of it, or it holds NUL characters.
    """
    text_hash, chars, n_bytes, lines = xxhash.xxh3_128(), 0, 0, 0
    last = ""
    for text in pieces:
        check()
        if "\0" in text:
            raise SkipFile("binary", "it holds NUL characters")
        data = text.encode("utf-8")
        text_hash.update(data)
        chars, n_bytes, lines = chars + len(text), n_bytes + len(data), lines + text.count("\n")
        last = text or last
    if not chars or not last:
        raise SkipFile("empty")
    return TextFacts(
        raw_hash=raw_hash,
        text_hash=text_hash.digest(),
        encoding=encoding,
        is_converted=encoding not in {"utf-8", "utf-8-sig"},
        chars=chars,
        text_bytes=n_bytes,
        lines=lines + (not last.endswith("\n")),
    )


def examine_small(
    path: Path,
    expected: FileId,
    check: Callable[[], None] = lambda: None,
    cleaning: Cleaning = AS_IT_IS,
) -> TextFacts:
    """`examine` for a file that fits one block: read once, the usual case of plain UTF-8.

    Raises:
        SkipFile: see `examine`.
    """
    if expected.size > _READ_BYTES:
        return examine(path, expected, check, cleaning)
    data = b"".join(read_blocks(path, expected))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return examine(path, expected, check, cleaning)
    if "\0" in text:
        return examine(path, expected, check, cleaning)
    raw_hash = xxhash.xxh3_128_digest(data)
    cleaned = clean(text) if cleaning.is_plain else "".join(cleaning([clean(text)]))
    if not cleaned:
        raise SkipFile("empty")
    is_same = cleaned is text or (len(cleaned) == len(text) and cleaned == text)
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


class Beginning(NamedTuple):
    """The first part of a file: its text, and what was found out on the way."""

    text: str
    encoding: str
    n_bytes: int
    is_cut: bool


def read_beginning(path: Path, limit_chars: int, encoding: str = "") -> Beginning:
    """The cleaned beginning of a file of any size, without reading more than is shown.

    Args:
        path: the file.
        limit_chars: most characters.
        encoding: as a scan found it; '' looks for it in the bytes that are read.

    Raises:
        SkipFile: what is there holds no text that can be used, or it cannot be read.
    """
    # Four bytes a character at most, and CR LF become one.
    data, n_bytes = read_head(path, max(_PROBE_BYTES, 8 * limit_chars))
    is_whole = len(data) == n_bytes
    encoding = encoding or _encoding_of(data, is_whole=is_whole)
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        text = decoder.decode(data, final=is_whole)
    except UnicodeError as problem:
        raise SkipFile("encoding", f"not {encoding}: {problem}") from problem
    if "\0" in text:
        raise SkipFile("binary", "it holds NUL characters")
    text = clean(text.removesuffix("\r") if not is_whole else text, is_start=False)
    return Beginning(text[:limit_chars], encoding, n_bytes, not is_whole or len(text) > limit_chars)


def read_head(path: Path, limit_bytes: int) -> tuple[bytes, int]:
    """The first bytes of a regular file, and how many it has.

    Raises:
        SkipFile: see `open_regular`.
    """
    descriptor = open_regular(path, None)
    try:
        n_bytes = os.fstat(descriptor).st_size
        parts, left = [], min(n_bytes, limit_bytes)
        while left > 0 and (block := os.read(descriptor, left)):
            parts.append(block)
            left -= len(block)
    except OSError as problem:
        raise SkipFile("unreadable", problem.strerror or str(problem)) from problem
    finally:
        os.close(descriptor)
    return b"".join(parts), n_bytes


def _encoding_of(data: bytes, *, is_whole: bool) -> str:
    """As `find_encoding`, from the beginning alone."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    if b"\0" in data:
        raise SkipFile("binary", "it holds NUL bytes")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=is_whole)
    except UnicodeDecodeError as problem:
        return detect_encoding(_lines_around(data, problem.start))
    return "utf-8"

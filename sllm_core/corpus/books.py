"""Documents that must be opened whole: EPUB, DOCX, PDF and notebooks.

Archives are read member by member in memory, against one budget of bytes; nothing is ever unpacked
to a path. Entities in XML are never expanded.
"""

import json
import logging
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO
from urllib.parse import unquote
from xml.parsers import expat

from sllm_core.corpus.extract import SkipFile
from sllm_core.corpus.markup import decode_page, page_text
from sllm_core.corpus.streams import Limits, read_all, too_much

CRYPTO_LINE = "pip install cryptography"
_BLOCK_BYTES = 1 << 16
_PAGES = frozenset(
    {"application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/xml"}
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the container of old and of encrypted office files
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})

# What a parser of Python code raises on bytes that were made to confuse it.
PARSER_FAULTS = (
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    RecursionError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    EOFError,
    StopIteration,
    zlib.error,
    struct.error,
)

Write = Callable[[str], None]
Attributes = dict[str, str]


class Archive:
    """The members of a zip file, never written anywhere; all of them share one budget.

    Raises:
        SkipFile: no zip, too many members, or members that overlap.
    """

    def __init__(self, file: BinaryIO, most_bytes: int, limits: Limits) -> None:
        file.seek(0)
        if file.read(len(_OLE)) == _OLE:
            file.seek(0)
            held = file.read(limits.whole_bytes)
            is_locked = "EncryptedPackage".encode("utf-16-le") in held
            raise SkipFile("encrypted" if is_locked else "parse", "an old or encrypted office file")
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as problem:
            raise SkipFile("parse", f"no archive: {str(problem)[:80]}") from problem
        members = self._zip.infolist()
        if len(members) > limits.members:
            raise SkipFile("limit", f"it has {len(members):,} members")
        end = 0
        for info in sorted(members, key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise SkipFile("parse", "members of the archive overlap")
            end = info.header_offset + info.compress_size
        self.names = self._zip.namelist()
        self._known, self._left, self._most = set(self.names), most_bytes, most_bytes

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def blocks(self, name: str) -> Iterator[bytes]:
        """The bytes of a member, piece by piece.

        Raises:
            SkipFile: encrypted, damaged, packed in an unusual way, or the budget is spent.
            KeyError: there is no such member.
        """
        info = self._zip.getinfo(name)
        if info.flag_bits & 0x41:
            raise SkipFile("encrypted", "members of the archive are encrypted")
        if info.compress_type not in _METHODS:
            raise SkipFile("parse", f"{name[:60]} is packed by method {info.compress_type}")
        try:
            with self._zip.open(info) as member:
                while block := member.read(_BLOCK_BYTES):
                    self._left -= len(block)
                    if self._left < 0:
                        raise too_much("it unpacks to", self._most)
                    yield block
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as problem:
            raise SkipFile("parse", f"damaged archive: {str(problem)[:80]}") from problem

    def page(self, name: str, limits: Limits) -> bytes:
        """A whole member that is a page."""
        return read_all(self.blocks(name), limits.page_bytes)


def read_xml(
    blocks: Iterator[bytes],
    limits: Limits,
    *,
    start: Callable[[str, Attributes], None],
    end: Callable[[str], None] = lambda _: None,
    text: Callable[[str], None] = lambda _: None,
) -> None:
    """Walk through XML; names are given without their namespace.

    Raises:
        SkipFile: not well-formed, too deep, or with declarations of its own (entities).
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    depth = 0

    def declared(_name: str, _system: Any, _public: Any, has_internal: int) -> None:
        if has_internal:
            raise SkipFile("parse", "its XML declares entities")

    def begin(name: str, attributes: Attributes) -> None:
        nonlocal depth
        depth += 1
        if depth > limits.depth:
            raise SkipFile("limit", f"its XML is more than {limits.depth:,} elements deep")
        start(_local(name), {_local(key): value for key, value in attributes.items()})

    def finish(name: str) -> None:
        nonlocal depth
        depth -= 1
        end(_local(name))

    parser.StartDoctypeDeclHandler = declared
    parser.StartElementHandler, parser.EndElementHandler = begin, finish
    parser.CharacterDataHandler = text
    try:
        for block in blocks:
            parser.Parse(block)
        parser.Parse(b"", True)
    except expat.ExpatError as problem:
        raise SkipFile("parse", f"damaged XML: {str(problem)[:80]}") from problem


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def read_epub(file: BinaryIO, write: Write, most_bytes: int, limits: Limits) -> int:
    """The chapters of a book in reading order, a blank line between them; returns the bad ones.

    Raises:
        SkipFile: no book, encrypted, or nothing of it can be read.
    """
    archive = Archive(file, most_bytes, limits)
    chapters = _spine(archive, limits)
    locked = _locked_members(archive, limits)
    if locked & set(chapters):
        raise SkipFile("encrypted", "the book is protected")
    n_bad = 0
    is_first = True
    for name in chapters:
        try:
            page = page_text(decode_page(archive.page(name, limits))[0])
        except KeyError:
            n_bad += 1
            continue
        except SkipFile as skip:
            if skip.reason in {"limit", "encrypted"}:
                raise
            n_bad += 1
            continue
        if page:
            write(page if is_first else f"\n{page}")
            is_first = False
    if n_bad and n_bad == len(chapters):
        raise SkipFile("parse", "none of its chapters can be read")
    return n_bad


def _spine(archive: Archive, limits: Limits) -> list[str]:
    """Names of the chapters in reading order, each once."""
    package = ""

    def container(tag: str, attributes: Attributes) -> None:
        nonlocal package
        if tag == "rootfile" and not package:
            package = attributes.get("full-path", "")

    if "META-INF/container.xml" in archive:
        read_xml(archive.blocks("META-INF/container.xml"), limits, start=container)
    package = package or next((n for n in archive.names if n.lower().endswith(".opf")), "")
    if package not in archive:
        raise SkipFile("parse", "it is not a book: the list of its parts is missing")
    files: dict[str, str] = {}
    order: list[str] = []

    def item(tag: str, attributes: Attributes) -> None:
        if tag == "item" and attributes.get("media-type", "").lower() in _PAGES:
            href = unquote(attributes.get("href", "").partition("#")[0])
            files[attributes.get("id", "")] = posixpath.normpath(
                posixpath.join(posixpath.dirname(package), href)
            )
        elif tag == "itemref":
            order.append(attributes.get("idref", ""))

    read_xml(archive.blocks(package), limits, start=item)
    return list(dict.fromkeys(files[name] for name in order if name in files))


def _locked_members(archive: Archive, limits: Limits) -> set[str]:
    """Members that a book names as encrypted (its fonts may be, without harm)."""
    found: set[str] = set()

    def cipher(tag: str, attributes: Attributes) -> None:
        if tag == "CipherReference":
            found.add(unquote(attributes.get("URI", "")))

    if "META-INF/encryption.xml" in archive:
        read_xml(archive.blocks("META-INF/encryption.xml"), limits, start=cipher)
    return found


def read_docx(file: BinaryIO, write: Write, most_bytes: int, limits: Limits) -> None:
    """The paragraphs of a document line by line, the rows of its tables with tabs.

    Raises:
        SkipFile: no such document, encrypted, or damaged.
    """
    archive = Archive(file, most_bytes, limits)
    name = ""

    def relation(tag: str, attributes: Attributes) -> None:
        nonlocal name
        if tag == "Relationship" and attributes.get("Type", "").endswith("/officeDocument"):
            name = posixpath.normpath(attributes.get("Target", "").lstrip("/"))

    if "_rels/.rels" in archive:
        read_xml(archive.blocks("_rels/.rels"), limits, start=relation)
    name = name or "word/document.xml"
    if name not in archive:
        raise SkipFile("parse", "it is not a document: its text is missing")
    body = _Body(write)
    read_xml(archive.blocks(name), limits, start=body.start, end=body.end, text=body.text)


class _Body:
    """The text of a Word document, from the elements of its XML.

    What was deleted or moved away, field codes, and the second form of a drawing are left out.
    """

    _LEFT_OUT = frozenset({"moveFrom", "Fallback", "del"})
    _MARKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}  # noqa: RUF012

    def __init__(self, write: Write) -> None:
        self._write = write
        self._is_text = self._in_run = False  # a w:tab outside a run is a stop of the layout
        self._n_out = self._n_cells = 0  # open elements that are left out; open cells
        self._between = ""  # what stands before the next text

    def start(self, tag: str, _attributes: Attributes) -> None:
        """An element begins."""
        if tag in self._LEFT_OUT:
            self._n_out += 1
        elif self._n_out:
            return
        elif tag == "t":
            self._is_text = True
        elif tag == "r":
            self._in_run = True
        elif tag in self._MARKS and self._in_run:
            self._put(self._MARKS[tag])
        elif tag == "tc":
            self._n_cells += 1

    def end(self, tag: str) -> None:
        """An element ends."""
        if tag in self._LEFT_OUT:
            self._n_out -= 1
        elif self._n_out:
            return
        elif tag == "t":
            self._is_text = False
        elif tag == "r":
            self._in_run = False
        elif tag == "p":
            if self._n_cells:
                self._between = self._between or " "
            else:
                self._put("\n")
        elif tag == "tc":
            self._n_cells -= 1
            self._between = self._between.rstrip(" ") + "\t"
        elif tag == "tr":
            self._between = ""
            if self._n_cells:
                self._between = " "
            else:
                self._put("\n")

    def text(self, text: str) -> None:
        """Characters; those outside w:t are the layout of the XML."""
        if self._is_text and not self._n_out:
            self._put(text)

    def _put(self, text: str) -> None:
        self._write(self._between + text)
        self._between = ""


def read_notebook(data: bytes, write: Write) -> int:
    """Its cells of code and words as they are, a blank line between them; outputs are dropped.

    Returns:
        How many cells could not be read.

    Raises:
        SkipFile: it is not a notebook.
    """
    try:
        book = json.loads(data)
        sheets = book.get("worksheets") or [book]  # of version 3
        cells = [cell for sheet in sheets for cell in sheet["cells"]]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as problem:
        raise SkipFile("parse", f"not a notebook: {str(problem)[:80]}") from problem
    n_bad = 0
    is_first = True
    for cell in cells:
        kind = cell.get("cell_type") if isinstance(cell, dict) else None
        if kind not in {"code", "markdown", "heading"}:
            n_bad += kind != "raw"
            continue
        source = cell.get("source", cell.get("input", ""))
        parts = source if isinstance(source, list) else [source]
        if not all(isinstance(part, str) for part in parts):
            n_bad += 1
            continue
        if text := "".join(parts).strip("\n"):
            write(f"{text}\n" if is_first else f"\n{text}\n")
            is_first = False
    return n_bad


def read_pdf(file: BinaryIO, write: Write, limits: Limits) -> int:
    """The text of a PDF page by page; returns how many pages could not be read.

    Raises:
        SkipFile: encrypted, damaged, too long, or none of its pages can be read.
    """
    from pypdf import PdfReader, errors

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it speaks of every small fault
    faults = (errors.PyPdfError, *PARSER_FAULTS)
    try:
        reader = PdfReader(file, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise SkipFile("encrypted", "the PDF asks for a password")
        n_pages = len(reader.pages)
    except errors.DependencyError:
        words = f"encrypted PDF needs another package: {CRYPTO_LINE}"
        raise SkipFile("library", words) from None
    except errors.LimitReachedError as problem:
        raise SkipFile("limit", str(problem)[:80]) from problem
    except faults as problem:
        raise SkipFile("parse", f"damaged PDF: {str(problem)[:80]}") from problem
    if n_pages > limits.pages:
        raise SkipFile("limit", f"it has {n_pages:,} pages")
    n_bad = 0
    for number in range(n_pages):
        try:
            text = reader.pages[number].extract_text()
        except faults:
            n_bad += 1
            continue
        if text:
            write(text if text.endswith("\n") else text + "\n")
    if n_bad and n_bad == n_pages:
        raise SkipFile("parse", "none of its pages can be read")
    return n_bad

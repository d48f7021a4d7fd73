"""Files of every format, made without the code that reads them, and the bytes for hostile ones."""

import io
import json
import zipfile
from pathlib import Path

from sllm_core.corpus import formats
from sllm_core.corpus.extract import FileId, SkipFile
from sllm_core.corpus.streams import Limits

CONTAINER = (
    '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>"
)
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def run(path: Path, data: bytes, columns=(), limits=None, form=None):
    """(facts, text, records) of these bytes under this name."""
    path.write_bytes(data)
    return run_file(path, columns, limits, form)


def run_file(path: Path, columns=(), limits=None, form=None):
    out = path.parent / "store" / "out.txt"
    out.parent.mkdir(exist_ok=True)
    for left in out.parent.iterdir():
        left.unlink()
    form = formats.format_of(path.name) if form is None else form
    done = formats.extract(path, FileId.of(path.stat()), form, tuple(columns), out, limits)
    data = out.read_bytes()
    ends = out.with_suffix(".ends")
    records = None
    if ends.exists():
        raw = ends.read_bytes()
        marks = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
        records = [data[a:b].decode() for a, b in zip([0, *marks], marks, strict=False)]
        assert marks[-1] == len(data)
    assert (done.n_bytes, done.chars) == (len(data), len(data.decode()))
    assert len(list(out.parent.iterdir())) == 1 + (records is not None)
    return done, data.decode("utf-8"), records


def reason(path: Path, data: bytes, columns=(), limits=None) -> str:
    """Why these bytes are refused; nothing may stay in the store then."""
    path.write_bytes(data)
    return reason_of_file(path, columns, limits)


def reason_of_file(path: Path, columns=(), limits=None) -> str:
    try:
        _, text, _ = run_file(path, columns, limits)
    except SkipFile as skip:
        assert not list((path.parent / "store").iterdir())
        return skip.reason
    return f"accepted: {text[:80]!r}"


def zip_bytes(members, *, method=zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return held.getvalue()


def epub(chapters: dict[str, str], *, extra=(), opf_extra="", doctype="") -> bytes:
    """A book; the manifest is in another order than the chapters are read."""
    items = "".join(
        f'<item id="c{i}" href="{name}" media-type="application/xhtml+xml"/>'
        for i, name in reversed(list(enumerate(chapters)))
    )
    order = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    opf = (
        f'<?xml version="1.0"?>{doctype}<package xmlns="http://www.idpf.org/2007/opf" version="2.0">'
        f"<metadata/><manifest>{items}{opf_extra}"
        '<item id="img" href="a.png" media-type="image/png"/></manifest>'
        f"<spine>{order}</spine></package>"
    )
    members = [("mimetype", "application/epub+zip"), ("META-INF/container.xml", CONTAINER)]
    members += [("OPS/book.opf", opf), *extra]
    members += [(f"OPS/{name.replace('%20', ' ')}", text) for name, text in chapters.items()]
    return zip_bytes(members)


def docx(body: str, *, head="", name="word/document.xml", extra=()) -> bytes:
    rels = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        f'relationships/officeDocument" Target="{name}"/></Relationships>'
    )
    text = f'<?xml version="1.0"?>{head}<w:document {W}><w:body>{body}</w:body></w:document>'
    return zip_bytes([("_rels/.rels", rels), (name, text), *extra])


def paragraph(text: str) -> str:
    return f'<w:p><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def pdf(pages: list[str], *, count=None, extra=b"") -> bytes:
    """A PDF by hand: a page a text, a line a line."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b""]
    kids = []
    for text in pages:
        shown = " ".join(
            f"({line.translate({40: '', 41: ''})}) Tj T*" for line in text.splitlines()
        )
        stream = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET".encode("latin-1")
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        content = len(objects)
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources"
            b"<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>" % content
        )
        kids.append(b"%d 0 R" % len(objects))
    n = len(pages) if count is None else count
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (n, b" ".join(kids))
    out, places = bytearray(b"%PDF-1.4\n" + extra), []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    return bytes(out)


def notebook(cells) -> bytes:
    book = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    return json.dumps(book).encode()


SMALL = Limits(expanded_bytes=1 << 20)

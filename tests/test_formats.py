"""What is written in a file of any format comes out of it; what is hostile is named, and no more."""

import csv
import gzip
import html
import io
import json
import os
import random
import socket
import sys
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sllm_core.corpus import formats
from sllm_core.corpus.extract import FileId, SkipFile
from sllm_core.corpus.streams import Limits
from sllm_core.errors import DiskError
from tests import hostile_formats_helpers as made
from tests.hostile_formats_helpers import reason, run

SMALL = Limits(expanded_bytes=1 << 20)
fast = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# What XML and HTML can hold, without what they change on purpose (blanks, line ends).
words = st.text(
    st.characters(
        min_codepoint=33, max_codepoint=0x2FFFF, exclude_categories=["Cs", "Cc", "Zs", "Cn"]
    ),
    min_size=1,
    max_size=20,
)


def parquet(rows, **options) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as library

    held = io.BytesIO()
    table = rows if isinstance(rows, arrow.Table) else arrow.Table.from_pylist(rows)
    library.write_table(table, held, **options)
    return held.getvalue()


def lines(*rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


CONTROLS = {
    "page.html": (
        b"<html><head><title>no</title></head><body><p>One &amp; two</p>three</body></html>",
        "One & two\n\nthree\n",
    ),
    "book.epub": (
        made.epub({"z.xhtml": "<p>First</p>", "a%20b.xhtml": "<h1>Second</h1>"}),
        "First\n\nSecond\n",
    ),
    "letter.docx": (
        made.docx(made.paragraph("Dear &lt;you&gt;") + made.paragraph("Bye")),
        "Dear <you>\nBye\n",
    ),
    "paper.pdf": (
        made.pdf(["First page\nline two", "Page two"]),
        "First page\nline two\nPage two\n",
    ),
    "work.ipynb": (
        made.notebook(
            [
                {"cell_type": "markdown", "source": ["# Title\n", "words"]},
                {"cell_type": "code", "source": "x = 1\n", "outputs": [{"text": "no"}]},
            ]
        ),
        "# Title\nwords\n\nx = 1\n",
    ),
    "rows.jsonl": (lines({"text": "one"}, "two", {"text": "three\n"}), "onetwothree\n"),
    "rows.csv": (b'id,text\n1,"a, ""b"""\n2,c d\n', 'a, "b"c d'),
    "rows.tsv": (b'id\ttext\n1\t"not closed\n2\tc d\n', '"not closedc d'),
    "plain.txt.gz": (gzip.compress("naïve\r\ntext".encode()), "naïve\ntext"),
    "plain.zst": (zstandard.compress(b"\xef\xbb\xbfdef f():\n"), "def f():\n"),
    "rows.jsonl.gz": (gzip.compress(lines({"text": "one"})), "one"),
    "rows.csv.zst": (zstandard.compress(b"text;n\none;1\n"), "one"),
    "page.html.gz": (gzip.compress(b"<p>One"), "One\n"),
    "book.epub.gz": (gzip.compress(made.epub({"a.xhtml": "<p>One"})), "One\n"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_good_file_of_each_format_gives_its_text(tmp_path, name):
    data, text = CONTROLS[name]
    done, found, records = run(tmp_path / name, data)
    assert found == text
    assert (records is not None) == (done.n_records is not None)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.txt", ""), ("a.json", ""), ("Makefile", ""), (".csv", ""), ("a.HTM", "html"),
        ("a.xhtml", "html"), ("dir.csv/a", ""), ("x.JSONL", "jsonl"), ("a.ndjson", "jsonl"),
        ("a.parquet", "parquet"), ("a.gz", "gz+"), ("a.py.zst", "zst+"), ("a.jsonl.gz", "gz+jsonl"),
        ("a.tar.gz", "gz+"), (b"caf\xe9.pdf", "pdf"), ("a.csv.zst", "zst+csv"), ("gz", ""),
    ],
)  # fmt: skip
def test_the_name_tells_the_format(name, form):
    assert formats.format_of(name) == form


def test_another_version_or_column_is_another_extractor(monkeypatch):
    keys = {
        formats.extractor_key(*args)
        for args in (("csv", ()), ("csv", ("a",)), ("csv", ("a", "b")), ("csv", ("a,b",)))
    }
    keys |= {formats.extractor_key(form, ()) for form in ("gz+csv", "zst+csv", "pdf", "gz+")}
    assert len(keys) == 8
    assert formats.extractor_key("", ()) == ""
    assert formats.extractor_key("pdf", ("a",)) == formats.extractor_key("pdf", ())
    monkeypatch.setitem(formats.VERSIONS, "csv", 99)
    assert formats.extractor_key("csv", ()) not in keys


# -- pages -------------------------------------------------------------------------------------


def page(tmp_path, body: str) -> str:
    return run(tmp_path / "a.html", body.encode())[1]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("a<br>b<br><br>c", "a\nb\n\nc\n"),
        ("<p>a</p>\n\n  <p>b</p>", "a\n\nb\n"),
        ("a  <b> b</b>\n c", "a b c\n"),
        ("a<b>b</b>c", "abc\n"),
        ("<pre>  x\n\ty </pre>z", "  x\n\ty \n\nz\n"),
        ("<ul><li>a<li>b</ul>c", "a\nb\nc\n"),
        ("<table><tr><th>a<th>b<tr><td>c<td>d</table>", "a\tb\nc\td\n"),
        ("<h1>T</h1>x<div>y<div>z</div></div>", "T\n\nx\ny\nz\n"),
        ("a<script>s</script><style>t</style><template>u</template><!-- v -->b", "ab\n"),
        ("<p hidden>a</p><p style='display:none'>b</p>c", "c\n"),
        ("&lt;p&gt; &#x41; &eacute;&nbsp;", "<p> A é\xa0\n"),
        ("&#xFEFF;a", "a\n"),
        ("<p>unclosed <i>mark<p>up", "unclosed mark\n\nup\n"),
        ("<select><option>a</select><ruby>字<rt>ji</rt></ruby>", "字\n"),
    ],
)
def test_a_page_reads_as_a_browser_shows_it(tmp_path, body, text):
    assert page(tmp_path, body) == text


@fast
@given(st.lists(words, min_size=1, max_size=20))
def test_the_words_of_a_page_are_kept(tmp_path, found):
    body = "".join(f"<p>{html.escape(word)}</p>" for word in found)
    assert page(tmp_path, body).split("\n\n") == [*found[:-1], found[-1] + "\n"]


RUSSIAN = "Съешь же ещё этих мягких французских булок; в чащах юга жил бы цитрус."
JAPANESE = "吾輩は猫である"


@pytest.mark.parametrize(
    ("text", "stated", "encoding"),
    [
        (RUSSIAN, "windows-1251", "cp1251"), (RUSSIAN, "koi8-r", "koi8-r"),
        (RUSSIAN, "utf-8", "utf-8"), (RUSSIAN, "iso-8859-1", "utf-8"), (RUSSIAN, "", "utf-16"),
        (JAPANESE, "shift_jis", "shift_jis"), (JAPANESE, "iso-2022-jp", "iso2022_jp"),
        (JAPANESE, "euc-jp", "euc_jp"), ("naïve “quotes”", "latin-1", "cp1252"),
        (JAPANESE, "rot13", "utf-8"), (JAPANESE, "utf-7", "utf-8"), (RUSSIAN, "none", "cp1251"),
    ],
)  # fmt: skip
def test_a_page_is_read_in_its_own_encoding(tmp_path, text, stated, encoding):
    body = f'<meta charset="{stated}"><p>{text * 5}'.encode(encoding)
    assert run(tmp_path / "a.html", body)[1] == text * 5 + "\n"


def test_xhtml_may_state_its_encoding_in_its_first_line(tmp_path):
    data = f'<?xml version="1.0" encoding="koi8-r"?><p>{RUSSIAN}</p>'.encode("koi8-r")
    assert run(tmp_path / "a.xhtml", data)[1] == RUSSIAN + "\n"


# -- documents ---------------------------------------------------------------------------------


@fast
@given(st.lists(words, min_size=1, max_size=20))
def test_the_paragraphs_of_a_document_are_kept(tmp_path, found):
    data = made.docx("".join(made.paragraph(escape(word)) for word in found))
    assert run(tmp_path / "a.docx", data)[1] == "".join(f"{word}\n" for word in found)


def test_a_document_gives_tables_tabs_and_breaks_and_leaves_out_what_was_deleted(tmp_path):
    cell = "<w:tc>{}</w:tc>".format
    body = (
        "<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t>"
        "<w:br/><w:t>c</w:t></w:r><w:del><w:r><w:delText>no</w:delText></w:r></w:del></w:p>"
        f"<w:tbl><w:tr>{cell(made.paragraph('1') + made.paragraph('2'))}"
        f"{cell(made.paragraph('3'))}</w:tr></w:tbl>"
        f"<w:p><w:moveFrom>{made.paragraph('no')}</w:moveFrom><w:r><w:instrText>PAGE</w:instrText>"
        "</w:r></w:p><w:p><w:r><Choice>" + made.paragraph("box") + "</Choice>"
        "<Fallback>" + made.paragraph("box") + "</Fallback></w:r></w:p>"
    )
    text = run(tmp_path / "a.docx", made.docx(body, name="word/document2.xml"))[1]
    assert text == "a\tb\nc\n1 2\t3\n\nbox\n\n"


def test_a_book_is_read_in_the_order_of_its_spine_with_bad_chapters_counted(tmp_path):
    data = made.epub(
        {"c.xhtml": "<p>one", "b.xhtml": "\0\0", "a.xhtml": "<p>two"},
        opf_extra='<item id="gone" href="gone.xhtml" media-type="text/html"/>',
    )
    done, text, _ = run(tmp_path / "a.epub", data)
    assert (text, done.note) == ("one\n\ntwo\n", {"n_bad": 1})


def test_an_old_notebook_gives_its_cells_too(tmp_path):
    cells = [{"cell_type": "code", "input": ["a\n", "b"]}, {"cell_type": "markdown", "source": "c"}]
    data = json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}).encode()
    assert run(tmp_path / "a.ipynb", data)[1] == "a\nb\n\nc\n"


# -- tables ------------------------------------------------------------------------------------

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30)


def kept(texts) -> list[str]:
    """The documents of rows with these texts."""
    return [t for t in (text.lstrip("\ufeff") for text in texts) if t and not t.isspace()]


@fast
@given(st.lists(cells, min_size=1, max_size=12), st.sampled_from(",;\t|"))
def test_csv_is_read_as_it_was_written(tmp_path, texts, delimiter):
    texts.append("x")
    held = io.StringIO()
    writer = csv.writer(held, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([["id", "text"], *([str(i), text] for i, text in enumerate(texts))])
    _, _, records = run(tmp_path / "a.csv", held.getvalue().encode("utf-8-sig"))
    assert records == kept(texts)


@fast
@given(st.lists(cells, min_size=1, max_size=12), st.booleans())
def test_jsonl_is_read_as_it_was_written(tmp_path, texts, is_ascii):
    texts.append("x")
    rows = [json.dumps({"id": 1, "text": text}, ensure_ascii=is_ascii) for text in texts]
    assert run(tmp_path / "a.jsonl", "\n".join(rows).encode())[2] == kept(texts)


def test_parquet_is_read_as_it_was_written(tmp_path):
    rng = random.Random(3)
    texts = ["".join(rng.choices("abc é\n\t字", k=rng.randrange(40))) for _ in range(3000)]
    data = parquet([{"id": i, "text": text} for i, text in enumerate(texts)], row_group_size=500)
    done, _, records = run(tmp_path / "a.parquet", data)
    assert records == kept(texts)
    assert (done.columns, done.n_records) == (("text",), len(records))
    assert done.note["n_empty"] == len(texts) - len(records)


def test_the_text_column_is_found_by_name_then_by_length(tmp_path):
    def found(*rows):
        return run(tmp_path / "a.jsonl", lines(*rows))[0].columns

    assert found({"title": "a" * 90, "Content": "b"}) == ("Content",)
    assert found({"code": "a", "text": "b", "body": "c"}) == ("text",)
    assert found({"text": None, "quote": "long enough to be a text", "id": "x"}) == ("quote",)
    assert found({"text": {"deep": "b"}, "quote": "long enough to be a text"}) == ("quote",)
    assert reason(tmp_path / "b.jsonl", lines({"name": "Ann", "age": 3})) == "columns"
    assert reason(tmp_path / "b.csv", b"name,city\nAnn,Rome\n") == "columns"


def test_chosen_columns_are_joined_and_may_be_nested(tmp_path):
    rows = [
        {"a": {"b": "x"}, "m": [{"c": "1"}, {"c": "2"}], "n": 7, "d.e": "dot"},
        {"a": None, "m": [], "n": None},
        {"other": 1},
    ]
    done, _, records = run(tmp_path / "a.jsonl", lines(*rows), columns=["a.b", "m.c", "n", "d.e"])
    assert records == ["x\n1\n2\n7\ndot"]
    assert done.note == {"n_bad": 1, "n_empty": 1}
    again = run(tmp_path / "a.parquet", parquet(rows[:1]), columns=["a.b", "m.c", "n", "d.e"])
    assert again[2] == records


def test_columns_of_another_table_are_asked_for(tmp_path):
    for name, data in (("a.jsonl", lines({"text": "x"})), ("a.csv", b"text,n\nx,1\n")):
        assert reason(tmp_path / name, data, columns=["body"]) == "columns"
    assert reason(tmp_path / "a.parquet", parquet([{"text": "x"}]), columns=["body"]) == "columns"


def test_a_csv_without_names_one_column_or_uneven_rows_is_read(tmp_path):
    long = "words that are long enough to be a text, with a comma"
    assert run(tmp_path / "a.csv", f'1,"{long}"\n2,"{long}"\n'.encode())[2] == [long, long]
    assert run(tmp_path / "a.csv", f"text\n{long}\n{long}, {long}\n".encode())[2] == [
        long,
        f"{long}, {long}",
    ]
    uneven = b"id,text,n\n1,one,1\n2,two\n3\n\n4,four,4,5\n"
    done, _, records = run(tmp_path / "a.csv", uneven)
    assert (records, done.note) == (["one", "two", "four"], {"n_bad": 1})


def test_a_tsv_with_quoted_cells_is_read_as_a_spreadsheet_wrote_it(tmp_path):
    data = b'id\ttext\r\n1\t"two\r\nlines\tand a tab"\r\n2\tplain\r\n'
    assert run(tmp_path / "a.tsv", data)[2] == ["two\nlines\tand a tab", "plain"]


def test_bad_rows_between_good_ones_are_counted(tmp_path):
    rows = [
        lines({"text": "one"}), b"not json\n", b'{"text": "cut\n', b"[1]\n", b"7\n", b"null\n",
        b"[" * 100_000 + b"\n", b'{"text": ' + b"9" * 5000 + b"}\n", b'{"text": "a\0b"}\n',
        b'{"text": "\xff\xfe bytes"}\n', lines({"text": {"no": 1}}), lines({"no": "text"}),
        b'{"text": NaN}\n', lines({"text": "last"}), *['{"text": "é"}\n'.encode()] * 200,
    ]  # fmt: skip
    done, _, records = run(tmp_path / "a.jsonl", b"".join(rows))
    assert records == ["one", "nan", "last", *["é"] * 200]
    assert done.note == {"n_bad": 11}
    assert reason(tmp_path / "b.jsonl", b"".join(rows[1:6])) == "parse"


def test_what_a_text_file_cannot_hold_is_replaced_and_counted(tmp_path):
    data = b'{"text": "a\\u0000b\\ud800c\\r\\nd"}\n{"text": "\\ufeffe"}\n'
    done, _, records = run(tmp_path / "a.jsonl", data)
    assert (records, done.n_converted) == (["a\ufffdb\ufffdc\nd", "e"], 2)


def test_a_giant_cell_is_read_and_a_row_past_the_limit_is_left_out(tmp_path):
    giant = "g" * 300_000  # more than the csv module takes by itself
    done, _, records = run(tmp_path / "a.csv", f"id,text\n1,{giant}\n2,b\n".encode())
    assert [len(text) for text in records] == [300_000, 1]
    limits = Limits(record_chars=1000)
    for name, row in (("a.csv", "1,{}\n"), ("a.jsonl", '{{"text": "{}"}}\n')):
        head = "id,text\n" if name == "a.csv" else ""
        data = (head + row.format("b") + row.format(giant) + row.format("c")).encode()
        done, _, records = run(tmp_path / name, data, limits=limits)
        assert (records, done.note) == (["b", "c"], {"n_bad": 1})


def test_a_row_with_nul_characters_is_left_out(tmp_path):
    done, _, records = run(tmp_path / "a.csv", b"id,text\n1,a\0b\n2,c\n")
    assert (records, done.note) == (["c"], {"n_bad": 1})


def test_an_unclosed_quotation_mark_costs_no_more_than_its_limit(tmp_path):
    data = b'id,text\n1,"open\n' + b"2,b\n" * 1000
    done, _, records = run(tmp_path / "a.csv", data, limits=Limits(record_chars=1000))
    assert done.note["n_bad"] >= 1
    assert records[-1] == "b"


def test_tables_in_old_encodings_are_read(tmp_path):
    data = "id,text\n" + "".join(f"{i},{RUSSIAN}\n" for i in range(20))
    done, _, records = run(tmp_path / "a.csv", data.encode("cp1251"))
    assert (records, done.encoding) == ([RUSSIAN] * 20, "cp1251")
    done, _, records = run(tmp_path / "a.csv", data.encode("utf-16"))
    assert (records, done.encoding) == ([RUSSIAN] * 20, "utf-16")
    rows = json.dumps(RUSSIAN, ensure_ascii=False) + "\n"
    mixed = (rows.encode() + rows.encode("cp1251")) * 20
    assert reason(tmp_path / "a.jsonl", mixed) == "encoding"


def test_one_damaged_row_does_not_make_a_long_table_an_old_encoding(tmp_path):
    good = '{"text": "naïve"}\n'.encode()
    plain = b'{"text": "%s"}\n' % (b"words " * 50)
    damaged = b'{"text": "caf\xe9"}\n'
    data = good * 100 + plain * 9000 + damaged + plain * 9000 + good
    done, _, records = run(tmp_path / "a.jsonl", data)
    assert (records[0], records[-1], done.encoding) == ("naïve", "naïve", "utf-8")
    assert (done.n_records, done.note) == (18_101, {"n_bad": 1})


def test_parquet_with_bytes_that_are_no_text_loses_only_those_rows(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    texts = arrow.array([b"good", b"\xff\xfe", "naïve".encode(), None])
    done, _, records = run(tmp_path / "a.parquet", parquet(arrow.table({"text": texts})))
    assert (records, done.note) == (["good", "naïve"], {"n_bad": 1, "n_empty": 1})


def test_the_columns_of_a_table_are_shown_with_a_sample(tmp_path):
    rows = [{"id": 1, "text": "one\n two " + "x" * 100, "m": [{"c": "y"}]}]
    wanted = [("id", "1"), ("text", ("one two " + "x" * 100)[:80]), ("m.c", "y")]
    for name, data in (
        ("a.jsonl", lines(*rows)),
        ("a.parquet", parquet(rows)),
        ("a.jsonl.gz", gzip.compress(lines(*rows))),
    ):
        (tmp_path / name).write_bytes(data)
        assert formats.table_columns(tmp_path / name, formats.format_of(name)) == wanted
    (tmp_path / "a.csv").write_bytes(b"a;b\n1;two\n")
    assert formats.table_columns(tmp_path / "a.csv", "csv") == [("a", "1"), ("b", "two")]
    with pytest.raises(SkipFile):
        formats.table_columns(tmp_path / "a.csv", "pdf")


# -- hostile -----------------------------------------------------------------------------------

BOMB = bytes(64 << 20)
DIGITS = "".join(map(str, random.Random(1).choices(range(10), k=400_000))).encode()
EIGHT = ["", *("<p>" + "x" * 200_000 for _ in range(8))]
LAUGHS = "<!DOCTYPE a [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def locked(data: bytes) -> bytes:
    """A zip whose members say that they are encrypted."""
    data = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + place] |= 1
    return bytes(data)


def overlapping(data: bytes) -> bytes:
    """A zip whose second member lies in the first."""
    data, at = bytearray(data), data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 1)
    data[at + 42 : at + 46] = bytes(4)
    return bytes(data)


DRM = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData '
    'xmlns="http://www.w3.org/2001/04/xmlenc#"><CipherData><CipherReference URI="{}"/>'
    "</CipherData></EncryptedData></encryption>"
)
SIMPLE_PDF = made.pdf(["text"])
LOCKED_PDF = SIMPLE_PDF.replace(
    b"/Root 1 0 R",
    b"/Root 1 0 R/ID[<00112233445566778899aabbccddeeff><00>]/Encrypt<</Filter/Standard/V 1/R 2"
    b"/O<" + b"11" * 32 + b">/U<" + b"22" * 32 + b">/P -4>>",
)
HOSTILE = {
    "bomb.txt.gz": (gzip.compress(BOMB.replace(b"\0", b"a")), "limit"),
    "bomb.zst": (zstandard.compress(b"a" * len(BOMB)), "limit"),
    "bomb.jsonl.gz": (gzip.compress(b'{"text": "' + b"a" * len(BOMB)), "limit"),
    "bomb.html.gz": (gzip.compress(b"<p>" + b"a" * len(BOMB)), "limit"),
    "bomb.pdf.gz": (gzip.compress(SIMPLE_PDF + BOMB), "limit"),
    "bomb.epub": (made.epub({f"{i}.xhtml": text for i, text in enumerate(EIGHT)}), "limit"),
    "bomb.docx": (made.docx(made.paragraph("a" * (4 << 20))), "limit"),
    "laughs.docx": (made.docx(made.paragraph("&i;"), head=f"{LAUGHS}]>"), "parse"),
    "laughs.epub": (made.epub({"a.xhtml": "<p>a"}, doctype=f"{LAUGHS}]>"), "parse"),
    "deep.docx": (made.docx("<w:p>" * 5000 + "</w:p>" * 5000), "limit"),
    "unclosed.docx": (made.docx("<w:p><w:r>"), "parse"),
    "locked.docx": (locked(made.docx(made.paragraph("a"))), "encrypted"),
    "office.docx": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500 + "EncryptedPackage".encode("utf-16-le"),
        "encrypted",
    ),
    "old.docx": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 900, "parse"),
    "other.docx": (made.zip_bytes([("a.txt", "a")]), "parse"),
    "overlap.epub": (overlapping(CONTROLS["book.epub"][0]), "parse"),
    "locked.epub": (
        made.epub({"a.xhtml": "x"}, extra=[("META-INF/encryption.xml", DRM.format("OPS/a.xhtml"))]),
        "encrypted",
    ),
    "method.epub": (
        made.zip_bytes([("META-INF/container.xml", made.CONTAINER)], method=zipfile.ZIP_LZMA),
        "parse",
    ),
    "text.epub": (b"just words", "parse"),
    "none.epub": (made.epub({}), "empty"),
    "bad.epub": (made.epub({"a.xhtml": "\0", "b.xhtml": "\0"}), "parse"),
    "locked.pdf": (LOCKED_PDF, "encrypted"),
    "text.pdf": (b"just words", "parse"),
    "loop.pdf": (SIMPLE_PDF.replace(b"/Kids[4 0 R]", b"/Kids[2 0 R]"), "parse"),
    "scan.pdf": (made.pdf([""]), "empty"),
    "list.ipynb": (b"[1]", "parse"),
    "deep.ipynb": (b"[" * 100_000, "parse"),
    "empty.ipynb": (made.notebook([]), "empty"),
    "binary.jsonl": (bytes(range(256)) * 10, "binary"),
    "zeros.csv": (bytes(5000), "binary"),
    "empty.csv": (b"text,n\n", "empty"),
    "blank.html": (b"<p> <script>x</script>", "empty"),
    "binary.html": (b"<p>\0\xff", "binary"),
    "binary.tar.gz": (gzip.compress(bytes(range(256)) * 10), "binary"),
    "cut.txt.gz": (gzip.compress(b"text" * 999)[:-9], "parse"),
    "cut.txt.zst": (zstandard.compress(DIGITS)[:-9], "parse"),
    "text.gz": (b"no such packing", "parse"),
    "text.zst": (b"no such packing", "parse"),
    "locked.parquet": (b"PARE" + b"x" * 100 + b"PARE", "encrypted"),
    "text.parquet": (b"just words, no table", "parse"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_by_name_and_nothing_of_it_stays(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    data, why = HOSTILE[name]
    assert reason(tmp_path / name, data, limits=SMALL) == why


def test_the_limit_grows_with_the_file_and_has_an_end():
    mib = 1 << 20
    sizes = {1: 16 * mib, mib: 100 * mib, 1 << 30: 4 << 30, 2 << 30: 8 << 30}
    assert {size: Limits().most_bytes(size) for size in sizes} == sizes


def test_members_that_overlap_are_named(tmp_path):
    path = tmp_path / "a.epub"
    path.write_bytes(HOSTILE["overlap.epub"][0])
    with pytest.raises(SkipFile, match="overlap"):
        made.run_file(path)


def test_fonts_may_be_encrypted_and_members_that_escape_are_never_written(tmp_path):
    outside = tmp_path.parent / "escaped"
    data = made.epub(
        {"a.xhtml": "<p>fine", "../../escaped": "<p>inside"},
        extra=[
            ("META-INF/encryption.xml", DRM.format("OPS/font.otf")),
            ("../../../escaped", "x"),
            (str(outside), "x"),
        ],
    )
    assert run(tmp_path / "a.epub", data)[1].startswith("fine\n")
    assert not outside.exists()


def test_zst_and_gz_may_have_many_parts(tmp_path):
    parts = [b"one ", b"", b"two ", b"x" * 5000]
    for name, pack in (("a.zst", zstandard.compress), ("a.gz", gzip.compress)):
        assert run(tmp_path / name, b"".join(map(pack, parts)))[1] == b"".join(parts).decode()
    with_note = b"\x50\x2a\x4d\x18\x04\x00\x00\x00note" + zstandard.compress(b"text")
    assert run(tmp_path / "a.zst", with_note)[1] == "text"
    many = zstandard.compress(b"a") * 20_000
    assert run(tmp_path / "a.zst", many)[0].chars == 20_000


@pytest.mark.parametrize("name", CONTROLS)
def test_damage_never_gives_more_than_a_reason(tmp_path, name):
    data, rng = CONTROLS[name][0], random.Random(name)
    found = set()
    for _ in range(25):
        hurt = bytearray(data)
        at = rng.randrange(len(hurt))
        match rng.randrange(4):
            case 0:
                hurt[at] ^= 1 << rng.randrange(8)
            case 1:
                del hurt[max(1, at) :]
            case 2:
                hurt[at : at + 20] = bytes(len(hurt[at : at + 20]))
            case 3:
                hurt[at:at] = hurt[at : at + rng.randrange(200)]
        found.add(reason(tmp_path / name, bytes(hurt), limits=SMALL).split(":")[0])
        for left in (tmp_path / "store").iterdir():
            left.unlink()
    assert found <= {"accepted", *"parse limit empty encoding binary encrypted columns".split()}


def test_what_is_no_regular_file_or_changed_is_said_so(tmp_path):
    path, out = tmp_path / "a.jsonl", tmp_path / "out.txt"
    path.write_bytes(lines("text"))
    listed = FileId.of(path.stat())

    def refused(place):
        with pytest.raises(SkipFile) as caught:
            formats.extract(place, listed, "jsonl", (), out)
        assert not out.exists()
        return caught.value.reason

    assert refused(tmp_path / "gone.jsonl") == "changed"
    assert refused(tmp_path) == "not-regular"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert refused(tmp_path / "pipe") == "not-regular"
    path.write_bytes(lines("another text"))
    assert refused(path) == "changed"


def test_a_file_that_changes_while_it_is_read_is_not_used(tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    path.write_bytes(b"<p>text")
    real = formats.page_text

    def grow(page):
        path.write_bytes(b"<p>another text")
        return real(page)

    monkeypatch.setattr(formats, "page_text", grow)
    assert made.reason_of_file(path) == "changed"


def test_a_text_that_cannot_be_written_is_the_fault_of_the_disk(tmp_path):
    path = tmp_path / "a.html"
    path.write_bytes(b"<p>text")
    with pytest.raises(DiskError):
        formats.extract(path, FileId.of(path.stat()), "html", (), tmp_path / "no" / "out.txt")
    if Path("/dev/full").exists():
        full = tmp_path / "full.txt"
        full.symlink_to("/dev/full")
        path.write_bytes(b"<p>" + b"text " * 99_999)
        with pytest.raises(DiskError, match="FULL"):
            formats.extract(path, FileId.of(path.stat()), "html", (), full)


def test_a_missing_library_is_named_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(SkipFile, match="pip install pyarrow==") as caught:
        formats.extract(path, FileId.of(path.stat()), "parquet", (), tmp_path / "out.txt")
    assert caught.value.reason == "library"


def test_no_format_touches_the_network(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    far = '<!DOCTYPE html SYSTEM "http://far.example/x.dtd">'
    pages = {
        "a.xhtml": far + '<link href="http://far.example/a.css"><img src="http://far.example/b">x'
    }
    assert run(tmp_path / "a.epub", made.epub(pages, doctype=far))[1] == "x\n"
    assert run(tmp_path / "a.docx", made.docx(made.paragraph("x"), head=far))[1] == "x\n"
    for name, (data, text) in CONTROLS.items():
        assert run(tmp_path / name, data)[1] == text


def test_nothing_is_written_but_the_text_and_its_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (data, _) in {**CONTROLS, **HOSTILE}.items():
        if not name.endswith("parquet"):
            reason(tmp_path / name, data, limits=SMALL)
            for left in (tmp_path / "store").iterdir():
                assert left.name in {"out.txt", "out.ends"}
                left.unlink()
    assert {x.name for x in tmp_path.iterdir()} <= {*CONTROLS, *HOSTILE, "store"}

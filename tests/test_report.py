"""The list of files holds every file once, and nothing in it can hurt a spreadsheet."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core import fmt
from sllm_core.corpus import report
from sllm_core.corpus.index import FileRow, Index
from sllm_core.errors import Cancelled, DiskError

NASTY = [
    "=cmd()", "+1", "-1", "@x", "a\nb", "a\rb", "a\tb", "a\u202eb", "a\u2028b", 'a"b', "a,b", "a;b",
    "\x1b[31m", "Größe.txt", "\udcff.txt",
]  # fmt: skip


def row(path, state="used", reason="", **more):
    data = path.encode("utf-8", "surrogateescape")
    return FileRow(1, data, fmt.path_text(path), 10, 1, 1, 1, state, reason, **more)


@pytest.fixture
def index(tmp_path):
    with Index(tmp_path / "project.db") as made:
        yield made


def put(index, *rows):
    index.put_files(rows, 1)


def read(path):
    text = path.read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_row_for_each_file_whatever_its_name(index, tmp_path):
    put(index, *(row(name) for name in NASTY))
    assert report.write_csv(index, tmp_path / "list.csv") == len(NASTY)
    rows = read(tmp_path / "list.csv")
    assert {found["path"] for found in rows} == {fmt.path_text(name) for name in NASTY}
    assert len(rows) == len(NASTY)
    for found in rows:
        for value in found.values():
            assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))
            assert value.isprintable()


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_no_cell_begins_a_formula_or_breaks_a_line(text):
    made = report.cell(text)
    assert made[:1] not in {"=", "+", "-", "@"}
    assert not set(made) & set("\r\n\t\x00\u2028\u2029\u202e")
    assert report.cell(made) == made, "what is safe stays as it is"


def test_kinds_reason_and_search_choose_as_the_lists_of_the_window_do(index, tmp_path):
    put(
        index,
        row("a.txt"),
        row("b_100%.txt", encoding="cp1252", is_converted=True),
        row("b.bin", "skipped", "binary"),
        row("c.bin", "failed", "parse"),
        row("x/b.md", "skipped", "extension"),
    )
    for kinds in (["used"], ["unused"], ["converted"], ["used", "unused"]):
        for search in ("", "b", "_100%", "x/"):
            n = report.write_csv(index, tmp_path / "l.csv", kinds, search=search)
            assert n == sum(index.count_list(kind, "", search) for kind in kinds)
            assert len(read(tmp_path / "l.csv")) == n
    assert report.write_csv(index, tmp_path / "l.csv", ["unused"], reason="parse") == 1
    assert read(tmp_path / "l.csv")[0]["path"] == "c.bin"
    assert report.write_csv(index, tmp_path / "l.csv", []) == 0
    with pytest.raises(KeyError):
        report.write_csv(index, tmp_path / "l.csv", ["no such kind"])


def test_reasons_flags_and_the_file_that_is_kept_are_named(index, tmp_path):
    put(index, row("keep.txt"), row("copy.txt"))
    reasons = json.dumps([{"code": "short", "value": 1, "limit": 2}, {"code": "=odd"}])
    index.write(
        "UPDATE files SET score = 12, reasons = ?, flags = ?, dup_kind = 'near', similarity = 0.95, "
        "duplicate_of = (SELECT id FROM files WHERE path_text = 'keep.txt') "
        "WHERE path_text = 'copy.txt'",
        [(reasons, '{"generated": 1, "secrets": 3}')],
    )
    report.write_csv(index, tmp_path / "l.csv")
    copy, keep = read(tmp_path / "l.csv")
    assert (copy["score"], copy["score_reasons"]) == ("12", "short; =odd")
    assert copy["flags"] == "generated; secrets 3"
    assert (copy["duplicate"], copy["duplicate_of"], copy["similarity"]) == (
        "near",
        "keep.txt",
        "0.95",
    )
    assert (keep["score"], keep["duplicate_of"], keep["tokens"]) == ("", "", "")


def test_lines_are_path_tab_reason(index, tmp_path):
    put(index, row("a.txt"), row("b\nc.bin", "skipped", "binary"))
    assert report.write_lines(index, tmp_path / "l.txt") == 2
    assert (tmp_path / "l.txt").read_bytes() == b"a.txt\nb\\nc.bin\tbinary\n"


def test_a_list_that_is_not_finished_leaves_the_old_one(index, tmp_path):
    put(index, *(row(f"{i:05d}.txt") for i in range(2500)))
    (tmp_path / "l.csv").write_text("old")

    def stop():
        raise Cancelled

    with pytest.raises(Cancelled):
        report.write_csv(index, tmp_path / "l.csv", check=stop)
    assert (tmp_path / "l.csv").read_text() == "old"
    with pytest.raises(DiskError):
        report.write_csv(index, tmp_path / "no such folder" / "l.csv")
    names = {path.name for path in tmp_path.iterdir()}
    assert not {name for name in names if ".tmp" in name}
    assert report.write_csv(index, tmp_path / "l.csv") == 2500
    assert [found["path"] for found in read(tmp_path / "l.csv")] == [
        f"{i:05d}.txt" for i in range(2500)
    ]

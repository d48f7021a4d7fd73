"""The table of files: read back what was written, verdicts and filters against plain loops."""

import json
import math
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.config import CleanConfig, RefineConfig
from sllm_core.corpus import search, table
from sllm_core.corpus.index import Index
from sllm_core.jobs import reading

COLUMNS = (
    "id source_id path path_text size score kind lang state reason dup_kind duplicate_of "
    "similarity reasons flags mtime_ns dev inode scan_id"
).split()


def file(number, path, **values):
    """A row of `files` with sensible rest."""
    row = {
        "id": number,
        "source_id": 1,
        "path": path.encode("utf-8", "surrogateescape"),
        "path_text": path,
        "size": 1000,
        "score": 80,
        "kind": "code",
        "lang": "python",
        "state": "used",
        "reason": "",
        "dup_kind": "",
        "duplicate_of": None,
        "similarity": None,
        "reasons": "[]",
        "flags": "{}",
        **dict.fromkeys(("mtime_ns", "dev", "inode"), 0),
        "scan_id": 1,
    }
    for name, value in values.items():
        row[name] = json.dumps(value) if name in {"reasons", "flags"} and value else value
    return row


@pytest.fixture
def read(tmp_path):
    """Write rows into a fresh project.db and load them."""
    made = []

    def give(*files):
        path = tmp_path / f"{len(made)}.db"
        made.append(path)
        with Index(path) as index:
            marks = ", ".join("?" * len(COLUMNS))
            index.write(
                f"INSERT INTO files ({', '.join(COLUMNS)}) VALUES ({marks})",
                [tuple(row[name] for name in COLUMNS) for row in files],
            )
        return table.load(path)

    return give


def words(rows, refine=None, clean=None):
    found = table.verdicts(rows, refine or RefineConfig(), clean or CleanConfig())
    return {rows.path(i): table.VERDICTS[found[i]] for i in range(len(rows))}


def explain(code, _value, _limit):
    return f"{code} in words"


def names(rows, text):
    found = search.find(rows, search.parse(text), explain)
    return [rows.path(i) for i in range(len(rows)) if found[i]]


def test_an_empty_index_gives_no_rows(read):
    rows = read()
    assert len(rows) == 0
    assert len(table.verdicts(rows, RefineConfig(), CleanConfig())) == 0
    assert table.histogram(rows).sum() == 0
    assert table.counts(rows, table.verdicts(rows, RefineConfig(), CleanConfig())).used == 0
    assert names(rows, "a why:secret score<3") == []


def test_what_was_written_is_read_back(read):
    rows = read(
        file(7, "b.py", size=9, score=None, similarity=0.91, dup_kind="near", duplicate_of=3),
        file(
            3,
            "a/Ä.md",
            kind="prose",
            lang="de",
            reasons=[{"code": "short", "value": 3, "limit": 9.5}],
            flags={"generated": 1, "emails": 3, "secrets": 70_000},
        ),
        file(4, "c.py", state="skipped", reason="binary"),
        file(5, "d.py", state="skipped", reason="excluded"),
    )
    assert [rows.path(i) for i in range(3)] == ["a/Ä.md", "b.py", "d.py"]
    assert rows.ids.tolist() == [3, 7, 5]
    assert rows.score.tolist() == [80, -1, 80]
    assert rows.state.tolist() == [table.USED, table.USED, table.EXCLUDED]
    assert rows.keeper.tolist() == [-1, 0, -1]
    assert math.isnan(rows.similarity[0])
    assert rows.reasons(0) == [("short", 3.0, 9.5)]
    assert rows.reasons(1) == []
    assert rows.flags_of(0) == ["generated"]
    assert rows.findings["emails"].tolist() == [3, 0, 0]
    assert rows.findings["secrets"][0] == 65_535, "a count too large for its column is the largest"
    assert rows.is_analysed


def test_many_pieces_make_one_table(read):
    n = 2 * table.CHUNK + 3
    rows = read(*(file(k + 1, f"{k:05}.py", score=k % 101) for k in range(n)))
    assert [rows.path(i) for i in (0, table.CHUNK, n - 1)] == [
        "00000.py",
        f"{table.CHUNK:05}.py",
        f"{n - 1:05}.py",
    ]
    assert table.histogram(rows).sum() == n


def test_giving_up_stops_the_reading(read, tmp_path):
    read(*(file(k + 1, f"{k}") for k in range(3)))

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.load(tmp_path / "0.db", stop)


def test_verdicts_follow_the_rules(read):
    rows = read(
        file(1, "good"),
        file(2, "at the line", score=50),
        file(3, "low", score=49),
        file(4, "unknown", score=None),
        file(5, "twin", dup_kind="exact", duplicate_of=1),
        file(6, "alike", dup_kind="near", duplicate_of=1, similarity=0.9),
        file(7, "less alike", dup_kind="near", duplicate_of=1, similarity=0.89),
        file(8, "twin of low", dup_kind="exact", duplicate_of=3),
        file(9, "twin of nobody", dup_kind="exact", duplicate_of=999),
        file(10, "key", flags={"secrets": 1}),
        file(11, "mail", flags={"emails": 2}),
        file(12, "out", state="skipped", reason="excluded", score=3),
        file(13, "held", state="skipped", reason="would-leak"),
        file(14, "twin of out", dup_kind="exact", duplicate_of=12),
        file(15, "german", kind="prose", lang="de"),
        file(16, "low twin", score=3, dup_kind="exact", duplicate_of=1),
    )
    clean = CleanConfig(mask_emails=True)
    assert words(rows, clean=clean) == {
        "good": "keep",
        "at the line": "keep",
        "low": "drop",
        "unknown": "keep",
        "twin": "copy",
        "alike": "copy",
        "less alike": "keep",
        "twin of low": "keep",
        "twin of nobody": "keep",
        "key": "drop",
        "mail": "mask",
        "out": "out",
        "held": "out",
        "twin of out": "keep",
        "german": "keep",
        "low twin": "drop",
    }
    other = RefineConfig(
        min_score=0, drop_exact=False, near_threshold=0.8, drop_languages=("de", "python")
    )
    found = words(rows, other, CleanConfig(mask_secrets=True))
    expected = {"low": "keep", "twin": "keep", "less alike": "copy", "key": "mask"}
    expected |= {"german": "drop", "mail": "keep", "good": "keep"}
    assert {name: found[name] for name in expected} == expected
    off = words(rows, RefineConfig(drop_near=False, drop_secrets=False), CleanConfig())
    assert (off["alike"], off["key"], off["twin"]) == ("keep", "keep", "copy")


def test_counts_and_histogram_count_used_files_once(read):
    rows = read(
        file(1, "a", size=5, score=100),
        file(2, "b", size=7, score=0, flags={"secrets": 2}),
        file(3, "c", size=11, score=None, kind="prose", lang="de", dup_kind="exact"),
        file(4, "d", size=13, state="skipped", reason="would-leak", flags={"secrets": 1}),
        file(5, "e", size=17, state="skipped", reason="excluded", kind="prose", lang="de"),
    )
    counted = table.counts(rows, table.verdicts(rows, RefineConfig(), CleanConfig()))
    assert counted.files == (2, 1, 0, 0, 2)
    assert counted.n_bytes == (16, 7, 0, 0, 30)
    assert (counted.used, counted.exact, counted.near, counted.unknown) == (3, 1, 0, 1)
    assert (counted.excluded, counted.held_back) == (1, 1)
    assert counted.findings["secrets"] == 1
    assert counted.languages == (("de", 1),)
    scores = table.histogram(rows)
    assert (len(scores), scores[0], scores[100], scores.sum()) == (101, 1, 1, 2)


def test_order_sorts_and_keeps_paths_among_equals(read):
    sizes = [3, 1, 2, 1]
    rows = read(*(file(k + 1, f"{k}", size=size) for k, size in enumerate(sizes)))
    assert table.order(rows, "size").tolist() == [1, 3, 2, 0]
    assert table.order(rows, "size", is_descending=True).tolist() == [0, 2, 1, 3]
    assert table.order(rows, "path", is_descending=True).tolist() == [3, 2, 1, 0]
    for column in table.COLUMNS:
        assert sorted(table.order(rows, column)) == [0, 1, 2, 3]


def test_kind_sorts_by_name_and_reason_by_code(read):
    rows = read(
        file(1, "1", kind="prose", lang="en"),
        file(2, "2", lang="rust", reasons=[{"code": "zz", "value": 1, "limit": 1}]),
        file(3, "3", lang="c", reasons=[{"code": "aa", "value": 1, "limit": 1}]),
    )
    assert table.order(rows, "kind").tolist() == [2, 1, 0]
    assert table.order(rows, "why").tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["a/Main.py", "b/secret.txt", "c/ÄÖ.md"]),
        ("MAIN", ["a/Main.py"]),
        ("äö", ["c/ÄÖ.md"]),
        ("a ai", ["a/Main.py"]),
        ('"/se"', ["b/secret.txt"]),
        ("lang:de", ["c/ÄÖ.md"]),
        ("lang:?", ["b/secret.txt"]),
        ("kind:code", ["a/Main.py"]),
        ("score<40", ["b/secret.txt"]),
        ("score >= 80", ["c/ÄÖ.md"]),
        ("size>1mb", ["c/ÄÖ.md"]),
        ("size<=1,5kb", ["a/Main.py"]),
        ("secret", ["b/secret.txt", "c/ÄÖ.md"]),
        ("path:secret", ["b/secret.txt"]),
        ("why:secret", ["c/ÄÖ.md"]),
        ("why:repeats", ["a/Main.py"]),
        ("why:generated", ["b/secret.txt"]),
        ("why:copy", []),
        ("md main", []),
    ],
)
def test_filter_finds(read, text, found):
    rows = read(
        file(1, "a/Main.py", reasons=[{"code": "repeats", "value": 1, "limit": 1}], score=None),
        file(2, "b/secret.txt", lang="", score=3, size=1 << 20, flags={"generated": 1}),
        file(3, "c/ÄÖ.md", kind="prose", lang="de", size=(1 << 20) + 1, flags={"secrets": 1}),
    )
    if text == "kind:code":
        found = ["a/Main.py", "b/secret.txt"]
    assert names(rows, text) == found


@pytest.mark.parametrize("text", ["score<", "score<4kb", "score:40", "lang:", "size>much", "foo:b"])
def test_a_filter_that_cannot_be_says_what_is_missing(text):
    with pytest.raises(search.FilterError, match=r"\w"):
        search.parse(text)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("aAbBäÄİ/. x", min_size=1, max_size=12), min_size=1, max_size=30),
    st.text("abä/.", min_size=1, max_size=3),
)
def test_words_are_found_where_python_finds_them(tmp_path_factory, paths, word):
    path = tmp_path_factory.mktemp("words") / "project.db"
    listed = [file(k + 1, name) | {"path": b"%d" % k} for k, name in enumerate(paths)]
    with Index(path) as index:
        marks = ", ".join("?" * len(COLUMNS))
        index.write(
            f"INSERT INTO files ({', '.join(COLUMNS)}) VALUES ({marks})",
            [tuple(row[name] for name in COLUMNS) for row in listed],
        )
    rows = table.load(path)
    found = search.in_paths(rows, word)
    has_long_small = "İ" in "".join(paths)
    for i in range(len(rows)):
        text = rows.path(i)
        small = text.lower() if not has_long_small else _ascii_lower(text)
        assert found[i] == (word in small)


def _ascii_lower(text):
    return text.encode().lower().decode()


MIXED = (
    file(3, "a/Ä.md", kind="prose", lang="de", flags={"generated": 1, "emails": 3}),
    file(7, "b.py", score=None, similarity=0.91, dup_kind="near", duplicate_of=3),
    file(9, "c.py", reasons=[{"code": "short", "value": 3, "limit": 9.5}]),
)


def same(one, two):
    """Whether two tables hold the same, column by column."""
    for name, value in vars(one).items():
        other = getattr(two, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype, name
            assert np.array_equal(value, other, equal_nan=value.dtype.kind == "f"), name
        elif name == "findings":
            assert all(np.array_equal(value[key], other[key]) for key in value)
        else:
            assert value == other, name
    return True


def test_what_a_child_reads_is_what_a_thread_reads(read, tmp_path, monkeypatch):
    expected = read(*MIXED)
    assert same(reading.read_rows(tmp_path / "0.db"), expected), "a short list: by itself"
    monkeypatch.setattr(reading, "FEW", 0)
    monkeypatch.setattr(table, "load", None)  # the child alone may do it
    assert same(reading.read_rows(tmp_path / "0.db"), expected)


@pytest.mark.parametrize("problem", ["cannot start", "fails", "hangs"])
def test_without_a_child_the_list_is_read_all_the_same(read, tmp_path, monkeypatch, problem):
    expected = read(*MIXED)
    monkeypatch.setattr(reading, "FEW", 0)

    def run(command, **_):
        if problem == "cannot start":
            raise OSError("no processes left")
        if problem == "hangs":
            raise subprocess.TimeoutExpired(command, 1.0)
        return subprocess.CompletedProcess(command, 1, b"", b"killed")

    monkeypatch.setattr(subprocess, "run", run)
    assert same(reading.read_rows(tmp_path / "0.db"), expected)


def test_a_path_that_is_no_text_is_shown_as_it_is_stored(read):
    rows = read(file(1, "odd\\udcff.txt"))
    assert rows.path(0) == "odd\\udcff.txt"

"""project.db keeps its rows through full disks and strange files, and refuses what it cannot read."""

import os
import sqlite3
import time

import pytest

from sllm_core.corpus.index import SCHEMA_VERSION, FileRow, Index
from sllm_core.errors import DiskError, ProjectError


def row(path: bytes = b"a.txt", **values) -> FileRow:
    facts = {"source_id": 1, "path_text": "a.txt", "size": 5, "mtime_ns": -7, "dev": -(1 << 63)}
    facts |= {"inode": 3, "state": "used", "text_hash": b"h" * 16, "text_bytes": 5, "chars": 4}
    return FileRow(path=path, **(facts | values))


def paths(index: Index) -> list[bytes]:
    return [found.path for found in index.used_files()]


def test_rows_come_back_as_they_were_put_in_in_byte_order(tmp_path):
    names = [b"\\xff\\xfe", b"a", b"B", "é".encode(), b"a/b", b"new\nline", b""]
    with Index(tmp_path / "p.db") as index:
        index.put_files([row(name) for name in names], 1)
    with Index(tmp_path / "p.db") as index:
        assert paths(index) == sorted(names)
        (found,) = (x for x in index.used_files() if x.path == b"a")
        assert found == row(b"a", id=found.id)


def test_a_changed_text_forgets_its_tokens_and_an_unchanged_one_keeps_them(tmp_path):
    with Index(tmp_path / "p.db") as index:
        index.put_files([row(b"same"), row(b"other")], 1)
        ids = {x.path: x.id for x in index.used_files()}
        index.set_tokens([("train", 10, ids[b"same"]), ("val", 20, ids[b"other"])], "t", [])
        index.put_files([row(b"same", mtime_ns=9), row(b"other", text_hash=b"n" * 16)], 2)
        got = index._db.execute("SELECT path, split, tokens FROM files ORDER BY path").fetchall()
        assert got == [(b"other", None, None), (b"same", "train", 10)]
        assert {x.path: x.id for x in index.used_files()} == ids  # a row stays the same row


def test_used_text_is_counted_by_ending_and_by_source(tmp_path):
    names = ["a.py", "b/c.PY", "d.tar.gz", "Makefile", ".hidden", "dir.x/file", "e.txt"]
    rows = [
        row(name.encode(), path_text=name, text_bytes=2**number)
        for number, name in enumerate(names)
    ]
    unused = row(b"u.py", path_text="u.py", state="skipped", reason="empty")
    theirs = row(b"z.py", path_text="z.py", source_id=7, text_bytes=None)
    with Index(tmp_path / "p.db") as index:
        assert index.by_extension() == index.by_source() == []
        index.put_files([*rows, unused, theirs], 1)
        assert index.by_extension() == [
            (".txt", 1, 64), ("", 3, 8 + 16 + 32), (".gz", 1, 4), (".py", 3, 1 + 2),
        ]  # fmt: skip
        assert index.by_source() == [(1, 7, 127), (7, 1, 0)]


def test_known_files_are_all_rows_by_source(tmp_path):
    with Index(tmp_path / "p.db") as index:
        index.put_files([row(b"a"), row(b"a", source_id=2, state="failed", reason="changed")], 1)
        known = index.known_files()
        assert known[1][b"a"] == (b"a", 1, 5, -7, -(1 << 63), 3, "", None, 5, None, None)
        assert known[2][b"a"][6] == "changed"
        index.remove([1])
        assert set(index.known_files()) == {2}


@pytest.mark.parametrize(
    "damage", ["text", "zeros in the middle", "cut in half", "random header", "other database"]
)
def test_a_damaged_file_is_refused_by_name_and_not_touched(tmp_path, damage):
    path = tmp_path / "p.db"
    with Index(path) as index:
        index.put_files([row(b"%d" % n) for n in range(2000)], 1)
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    if damage == "text":
        data = b"this is a letter, not a database\n" * 50
    elif damage == "zeros in the middle":
        data[half : half + 8192] = bytes(8192)
    elif damage == "cut in half":
        data = data[:half]
    elif damage == "random header":
        data[:100] = os.urandom(100)
    else:
        other = sqlite3.connect(tmp_path / "o.db")
        other.executescript("CREATE TABLE files (x); INSERT INTO files VALUES (1)")
        other.close()
        data = (tmp_path / "o.db").read_bytes()
    path.write_bytes(data)
    with pytest.raises(ProjectError, match=r"p\.db") as caught:
        Index(path)
    assert caught.value.code == "E-PROJECT-DB"
    assert path.read_bytes() == data
    assert caught.value.safe
    assert caught.value.todo


def test_a_newer_schema_is_refused_and_not_touched(tmp_path):
    path = tmp_path / "p.db"
    with Index(path) as index:
        index._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    data = path.read_bytes()
    with pytest.raises(ProjectError, match="newer"):
        Index(path)
    assert path.read_bytes() == data


def test_one_copy_a_day_holds_the_rows_of_the_time_it_was_made(tmp_path):
    path, copy = tmp_path / "p.db", tmp_path / "p.db.copy"
    with Index(path) as index:
        index.put_files([row(b"first")], 1)
    assert not copy.exists()
    with Index(path) as index:
        index.put_files([row(b"second")], 1)
    with Index(copy) as index:
        assert paths(index) == [b"first"]
    with Index(path):
        pass
    with Index(copy) as index:
        assert paths(index) == [b"first"]  # the same day: the copy stays
    os.utime(copy, (time.time() - 90_000,) * 2)
    with Index(path):
        pass
    with Index(copy) as index:
        assert paths(index) == [b"first", b"second"]


def test_the_copy_includes_what_a_killed_process_left_in_the_journal(tmp_path):
    path = tmp_path / "p.db"
    with Index(path) as index:
        index.put_files([row(b"first")], 1)
    writer = Index(path)
    (tmp_path / "p.db.copy").unlink(missing_ok=True)
    writer.put_files([row(b"second")], 1)  # lies in p.db-wal while the writer is open
    assert (tmp_path / "p.db-wal").stat().st_size > 0
    with Index(path):
        pass
    writer.close()
    with Index(tmp_path / "p.db.copy") as index:
        assert paths(index) == [b"first", b"second"]


def test_a_full_disk_leaves_the_old_rows_and_says_so(tmp_path, arm):
    with Index(tmp_path / "p.db") as index:
        index.put_files([row(b"old")], 1)
        for kind in ("enospc", "eio", "erofs"):
            arm(f"db.commit:1:{kind}")
            with pytest.raises(DiskError):
                index.put_files([row(b"new"), row(b"old", state="skipped", reason="x")], 2)
            assert paths(index) == [b"old"]
        arm("")
        index.put_files([row(b"new")], 2)
    with Index(tmp_path / "p.db") as index:
        assert paths(index) == [b"new", b"old"]


def test_a_disk_that_is_really_full_is_a_disk_error_and_nothing_is_half_written(tmp_path):
    with Index(tmp_path / "p.db") as index:
        index.put_files([row(b"old")], 1)
        n_pages = index._db.execute("PRAGMA page_count").fetchone()[0]
        index._db.execute(f"PRAGMA max_page_count = {n_pages + 2}")  # SQLite's own "full"
        with pytest.raises(DiskError) as caught:
            index.put_files([row(b"%04d" % n, path_text="x" * 500) for n in range(500)], 2)
        assert caught.value.code == "E-DISK-FULL"
        assert paths(index) == [b"old"]


def test_a_disk_without_room_for_the_copy_still_opens(tmp_path, monkeypatch):
    path = tmp_path / "p.db"
    with Index(path) as index:
        index.put_files([row(b"old")], 1)
    (tmp_path / "p.db.copy").mkdir()
    os.utime(tmp_path / "p.db.copy", (0, 0))  # an old copy that cannot be replaced
    with Index(path) as index:
        assert paths(index) == [b"old"]


def test_rows_are_written_all_or_none(tmp_path):
    with Index(tmp_path / "p.db") as index:
        index.put_files([row(b"a"), row(b"b")], 1)
        with pytest.raises(ProjectError):  # SQLite refuses the second row after the first
            index.set_tokens([("train", 1, 1), ("train", object(), 2)], "t", [])
        assert not index._db.in_transaction
        assert index._db.execute("SELECT tokens FROM files").fetchall() == [(None,), (None,)]


def test_the_cache_gives_back_spans_of_its_own_tokenizer_only(tmp_path):
    with Index(tmp_path / "p.db") as index:
        index.put_cache([(b"t" * 16, "one", "000001.tokens", 7, 3, b"s" * 16)])
        index.put_cache([(b"t" * 16, "two", "000002.tokens", 8, 4, b"s" * 16)])
        assert index.cached_many([b"t" * 16, b"u" * 16], "one")[b"t" * 16].start == 7
        assert list(index.cached_many([b"t" * 16, b"u" * 16], "one")) == [b"t" * 16]
        assert index.cache_segments() == {"000001.tokens", "000002.tokens"}
        index.forget_cache(keep="two")
        assert not index.cached_many([b"t" * 16], "one")
        assert index.cached_many([b"t" * 16], "two")[b"t" * 16].n_tokens == 4

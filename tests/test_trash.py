"""What goes to `_trash` comes back byte for byte, whatever happened in between."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import xxhash

from sllm_core.corpus import folders, journal, trash
from sllm_core.corpus.extract import FileId
from sllm_core.corpus.index import Index
from sllm_core.corpus.journal import Item, Journal, find_folders
from sllm_core.corpus.recovery import part_name, recover
from sllm_core.errors import Cancelled, DataError, DiskError

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="names and links of POSIX")


def snapshot(root: Path, *, without=()) -> dict[bytes, tuple]:
    """Everything below a folder: of a file bytes, mtime and mode, of a link its target.

    Written with os.walk alone, so that it shares nothing with what it judges.
    """
    found = {}
    for top, names, files in os.walk(os.fsencode(root)):
        names[:] = [name for name in names if os.fsdecode(name) not in without]
        for name in [*names, *files]:
            path = os.path.join(top, name)  # noqa: PTH118 - bytes
            info, below = os.lstat(path), os.path.relpath(path, os.fsencode(root))
            if stat.S_ISREG(info.st_mode):
                data = Path(os.fsdecode(path)).read_bytes()
                found[below] = (info.st_mode, info.st_mtime_ns, data)
            elif stat.S_ISLNK(info.st_mode):
                found[below] = (info.st_mode, os.readlink(path))  # noqa: PTH115 - bytes
            else:
                found[below] = (info.st_mode,)
    return found


def fill(root: Path, n_files: int, *, seed: int = 0) -> None:
    """Small files in nested folders with odd times and modes."""
    rng = random.Random(seed)
    for number in range(n_files):
        folder = root / f"d{number % 17}" / f"e{number % 5}" if number % 3 else root
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"file {number}.txt"
        path.write_bytes(rng.randbytes(rng.choice([0, 1, 50, 3000])))
        path.chmod(rng.choice([0o600, 0o644, 0o755, 0o444]))
        os.utime(path, ns=(10**18, 10**18 + rng.randrange(10**17)))


def item(root: Path, path: bytes, source_id: int = 1) -> Item:
    """A file as the analysis saw it."""
    full = root / os.fsdecode(path) if path else root
    digest = xxhash.xxh3_128_digest(full.read_bytes())
    return Item(source_id, path, FileId.of(full.lstat()), digest, "low-score")


def items(root: Path, source_id: int = 1) -> list[Item]:
    """All regular files of a tree."""
    listed = snapshot(root, without=("_trash",))
    paths = [path for path, entry in listed.items() if len(entry) == 3]
    return [item(root, path, source_id) for path in sorted(paths)]


class Desk:
    """A source folder and the journal of its project."""

    def __init__(self, folder: Path) -> None:
        self.root, self.db = folder / "source", folder / "project.db"
        self.root.mkdir()
        self.roots = {1: self.root}
        self.index = Index(self.db)
        self.journal = Journal(self.index)

    def move(self, listed=None, **kwargs):
        chosen = items(self.root) if listed is None else listed
        return trash.move(chosen, self.roots, self.journal, **kwargs)

    def undo(self, batch=None, **kwargs):
        batch = batch or self.journal.batches()[0].id
        return trash.undo(batch, self.roots, self.journal, **kwargs)

    def reopen(self):
        self.index.close()
        self.index = Index(self.db)
        self.journal = Journal(self.index)


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.index.close()


def words(kept) -> Counter:
    return Counter(reason for _, reason in kept)


def files_of(found: dict[bytes, tuple]) -> dict[bytes, tuple]:
    return {path: entry for path, entry in found.items() if len(entry) == 3}


def on_shelf(desk: Desk, folder: str) -> dict[bytes, tuple]:
    """The files of a batch folder but its manifest."""
    found = files_of(snapshot(desk.root / "_trash" / folder))
    found.pop(b"manifest.jsonl", None)
    return found


# --- there and back


@pytest.mark.parametrize("n_files", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_files_go_and_come_back_to_the_last_byte(desk, n_files):
    fill(desk.root, n_files)
    before, listed = snapshot(desk.root), items(desk.root)
    seen = []
    moved = desk.move(listed, on_progress=lambda *pair: seen.append(pair))
    assert (moved.n, moved.kept, moved.problem) == (n_files, [], "")
    assert moved.n_bytes == sum(entry.file_id.size for entry in listed)
    left = snapshot(desk.root, without=("_trash",))
    assert left == {path: entry for path, entry in before.items() if len(entry) == 1}
    assert on_shelf(desk, moved.folder) == files_of(before)
    assert seen[-1] == (n_files, n_files)
    assert seen == sorted(seen)
    desk.reopen()
    back = desk.undo(moved.batch)
    assert (back.n, back.n_bytes, back.kept) == (n_files, moved.n_bytes, [])
    assert snapshot(desk.root) == before


def test_disk_is_waited_for_by_the_chunk_not_by_the_file(desk, monkeypatch):
    fill(desk.root, 1500)
    listed = items(desk.root)
    syncs, commits = [], []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (syncs.append(1), real(handle))[1])
    desk.index._db.set_trace_callback(lambda text: commits.append(1) if text == "COMMIT" else None)
    desk.move(listed)
    n_folders = 1 + 17 + 17 * 5  # of each side, and every one is met in one chunk or two
    assert len(commits) <= 2 * 3 + 2
    assert len(syncs) <= 2 * (n_folders + 2 * 3) + 3 + 3


@POSIX
def test_names_of_every_kind_come_back(desk):
    names = [
        b"manifest.jsonl", b"manifest.jsonl~", b"MANIFEST.jsonl", b"copy.part", b"copy.part~~",
        b"new\nline", b"tab\t", b"\xff\xfe not utf-8", b"n" * 255, "n\u00e4h".encode(), b" ", b"~",
        b"-rf", b"=1+1", b"a", b"A", b"back\\slash", b"quote\"", b"\x1b[31m", b"folder/a", b"folder/A",
        b"Folder/a", b"deep/" * 60 + b"x", b"copy.part.d/x",
    ]  # fmt: skip
    top = os.fsencode(desk.root)
    for number, name in enumerate(names):
        path = os.path.join(top, name)  # noqa: PTH118 - bytes
        Path(os.fsdecode(path)).parent.mkdir(parents=True, exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"%d" % number)
    before = snapshot(desk.root)
    moved = desk.move()
    assert (moved.n, moved.kept) == (len(names), [])
    assert Counter(e[2] for e in on_shelf(desk, moved.folder).values()) == Counter(
        b"%d" % number for number in range(len(names))
    )
    lines = (desk.root / "_trash" / moved.folder / "manifest.jsonl").read_bytes().splitlines()
    told = [json.loads(line.decode("ascii")) for line in lines]
    assert {bytes.fromhex(line["path_hex"]) for line in told} == set(names)
    assert all(line["path"].isprintable() for line in told)
    assert desk.undo().kept == []
    assert snapshot(desk.root) == before


@POSIX
@pytest.mark.parametrize("is_alone", [False, True])
def test_a_folder_named_like_our_files_is_no_trouble(desk, is_alone):
    for name in ("manifest.jsonl", "copy.part"):
        (desk.root / name).mkdir()
        (desk.root / name / "x").write_text(name)
    before = snapshot(desk.root)
    moved = desk.move()
    back = trash.undo_folder(desk.root / "_trash" / moved.folder) if is_alone else desk.undo()
    assert (moved.n, back.n, back.kept) == (2, 2, [])
    assert snapshot(desk.root) == before


@POSIX
def test_systems_without_open_folders_do_the_same(desk, tmp_path, monkeypatch):
    """As on Windows, where names are all there is."""
    monkeypatch.setattr(folders, "_HAS_HANDLES", False)
    fill(desk.root, 60)
    before = snapshot(desk.root)
    moved = desk.move()
    assert desk.undo(selection={(1, moved_path(before))}).n == 1
    assert (moved.n, desk.undo().n) == (60, 59)
    assert snapshot(desk.root) == before
    listed = items(desk.root)
    (desk.root / "d1").rename(tmp_path / "d1")
    (desk.root / "d1").symlink_to(tmp_path / "d1")
    n_inside = sum(entry.path.startswith(b"d1/") for entry in listed)
    outside = snapshot(tmp_path / "d1")
    assert words(desk.move(listed).kept) == {"changed": n_inside}
    assert snapshot(tmp_path / "d1") == outside


def moved_path(before) -> bytes:
    return min(files_of(before))


@POSIX
def test_files_of_a_private_folder_stay_private(desk):
    (desk.root / "private").mkdir(0o700)
    (desk.root / "private" / "letter").write_text("letter")
    moved = desk.move()
    shelf = desk.root / "_trash" / moved.folder
    assert stat.S_IMODE(shelf.stat().st_mode) == 0o700
    assert stat.S_IMODE((shelf / "manifest.jsonl").stat().st_mode) == 0o600


@POSIX
def test_a_file_with_two_names_keeps_both(desk):
    (desk.root / "a").write_text("one file")
    (desk.root / "b").hardlink_to(desk.root / "a")
    before = snapshot(desk.root)
    both = items(desk.root)
    assert desk.move([both[0]]).n == 1
    assert (desk.root / "b").read_text() == "one file"
    assert desk.move([both[1]]).n == 1
    assert [desk.undo(batch.id).n for batch in desk.journal.batches()] == [1, 1]
    assert snapshot(desk.root) == before
    assert (desk.root / "a").samefile(desk.root / "b")


def test_a_source_that_is_one_file_has_its_trash_beside_it(tmp_path, desk):
    for name in ("book.txt", "manifest.jsonl"):
        (tmp_path / name).write_text(name)
    (desk.root / "x").write_text("x")
    desk.roots |= {2: tmp_path / "book.txt", 3: tmp_path / "manifest.jsonl"}
    before = snapshot(tmp_path, without=("project.db",))
    listed = [item(desk.roots[2], b"", 2), item(desk.roots[3], b"", 3), item(desk.root, b"x")]
    moved = desk.move(listed)
    assert moved.n == 3
    shelf = tmp_path / "_trash" / moved.folder
    assert sorted(path.name for path in shelf.iterdir()) == [
        "book.txt", "manifest.jsonl", "manifest.jsonl~"
    ]  # fmt: skip
    assert (desk.root / "_trash" / moved.folder / "x").read_text() == "x"
    assert desk.undo(selection={(1, b"x")}).n == 1
    assert not (desk.root / "_trash").exists()
    assert shelf.is_dir()
    assert trash.undo_folder(shelf).n == 2
    assert desk.undo().kept == []  # they are at their places already
    now = snapshot(tmp_path, without=("project.db",))
    assert {p: e for p, e in now.items() if b"project" not in p} == {
        p: e for p, e in before.items() if b"project" not in p
    }


def test_undo_of_some_leaves_the_others_in_the_trash(desk):
    fill(desk.root, 40)
    before = snapshot(desk.root)
    moved = desk.move()
    some = set(random.Random(1).sample(sorted(files_of(before)), 15))
    assert desk.undo(selection={(1, path) for path in some}).n == 15
    assert set(files_of(snapshot(desk.root, without=("_trash",)))) == some
    batch = desk.journal.batches()[0]
    assert (batch.state, batch.n_files, batch.n_left) == ("partial", 40, 25)
    assert find_folders(desk.root)[0][1] == 25
    assert desk.undo(moved.batch).n == 25
    assert snapshot(desk.root) == before
    assert desk.journal.batches()[0].state == "undone"


def test_undo_twice_does_nothing_the_second_time(desk):
    fill(desk.root, 5)
    moved = desk.move()
    assert desk.undo(moved.batch).n == 5
    before = snapshot(desk.root)
    again = desk.undo(moved.batch)
    assert (again.n, again.kept) == (0, [])
    assert snapshot(desk.root) == before
    with pytest.raises(DataError, match="manifest"):
        trash.undo_folder(desk.root / "_trash" / moved.folder)


def test_a_file_that_is_named_twice_goes_once(desk):
    fill(desk.root, 3)
    listed = items(desk.root)
    moved = desk.move(listed + listed)
    assert (moved.n, moved.kept) == (3, [])
    assert desk.undo().n == 3


def test_batches_stay_apart_and_are_listed(desk):
    (desk.root / "a").write_text("first")
    first = desk.move()
    (desk.root / "a").write_text("second one")
    second = desk.move()
    assert [(b.id, b.n_files, b.n_bytes, b.state) for b in desk.journal.batches()] == [
        (second.batch, 1, 10, "done"),
        (first.batch, 1, 5, "done"),
    ]
    assert {b.folder for b in desk.journal.batches()} == {first.folder, second.folder}
    assert sorted((path.name, n, size) for path, n, size in find_folders(desk.root)) == sorted(
        [(first.folder, 1, 5), (second.folder, 1, 10)]
    )
    assert desk.undo(first.batch).n == 1
    assert (desk.root / "a").read_text() == "first"
    assert words(desk.undo(second.batch).kept) == {"in-the-way": 1}


def test_files_that_left_no_trace_make_no_batch(desk):
    fill(desk.root, 3)
    listed = items(desk.root)
    before = snapshot(desk.root)
    for path in (desk.root / os.fsdecode(entry.path) for entry in listed):
        os.utime(path, ns=(1, 1))
    changed = snapshot(desk.root)
    moved = desk.move(listed)
    assert (moved.n, moved.batch, words(moved.kept)) == (0, None, {"changed": 3})
    assert desk.journal.batches() == []
    assert snapshot(desk.root) == changed != before


# --- other places


def test_a_source_that_was_moved_elsewhere_is_restored_there(desk, tmp_path):
    fill(desk.root, 30)
    before = snapshot(desk.root)
    moved = desk.move()
    shutil.copytree(desk.root, tmp_path / "elsewhere", copy_function=shutil.copyfile)  # no times
    shutil.rmtree(desk.root)
    desk.roots = {1: tmp_path / "elsewhere"}
    assert desk.undo(moved.batch).kept == []
    now = snapshot(tmp_path / "elsewhere")
    assert {p: e[1:] for p, e in now.items()} == {p: e[1:] for p, e in before.items()}


def test_the_manifest_alone_is_enough_on_another_computer(desk, tmp_path):
    fill(desk.root, 30)
    before = snapshot(desk.root)
    moved = desk.move()
    desk.root.rename(tmp_path / "other pc")
    for empty in sorted((tmp_path / "other pc").glob("d*/**"), reverse=True):
        empty.rmdir()  # folders are made again
    ((folder, n, size),) = find_folders(tmp_path / "other pc")
    assert (n, size) == (moved.n, moved.n_bytes)
    some = sorted(files_of(before))[:7]
    assert trash.undo_folder(folder, selection=set(some)).n == 7
    assert trash.undo_folder(folder).n == 23
    assert files_of(snapshot(tmp_path / "other pc")) == files_of(before)
    assert set(snapshot(tmp_path / "other pc")) <= set(before)


def test_a_source_that_is_not_there_loses_nothing(desk, tmp_path):
    fill(desk.root, 4)
    before = snapshot(desk.root)
    moved = desk.move()
    desk.root.rename(tmp_path / "unplugged")
    assert words(desk.undo(moved.batch).kept) == {"no-source": 4}
    desk.roots = {}
    assert words(desk.undo(moved.batch).kept) == {"no-source": 4}
    (tmp_path / "unplugged").rename(desk.root)
    desk.roots = {1: desk.root}
    assert desk.undo(moved.batch).n == 4
    assert snapshot(desk.root) == before


# --- what stands in the way


def test_a_file_that_changed_after_the_analysis_stays(desk):
    for name in ("longer", "later", "other", "gone", "good"):
        (desk.root / name).write_text(name)
    listed = items(desk.root)
    (desk.root / "longer").write_text("longer than it was")
    os.utime(desk.root / "later", ns=(5, 5))
    info = (desk.root / "other").stat()
    (desk.root / "new").write_text("OTHER")
    os.utime(desk.root / "new", ns=(info.st_atime_ns, info.st_mtime_ns))
    (desk.root / "new").replace(desk.root / "other")  # the same size and time, another file
    (desk.root / "gone").unlink()
    moved = desk.move(listed)
    assert {entry.path: why for entry, why in moved.kept} == dict.fromkeys(
        [b"longer", b"later", b"other", b"gone"], "changed"
    )
    assert (desk.root / "other").read_text() == "OTHER"
    assert moved.n == 1


@POSIX
def test_a_change_between_plan_and_move_is_seen(desk, monkeypatch):
    (desk.root / "a").write_text("a")
    (desk.root / "b").write_text("b")
    real = journal.Journal.intend

    def change_then_intend(self, batch, entries):
        real(self, batch, entries)
        (desk.root / "a").unlink()
        (desk.root / "a").symlink_to("/etc/passwd")

    monkeypatch.setattr(journal.Journal, "intend", change_then_intend)
    moved = desk.move()
    assert (moved.n, words(moved.kept)) == (1, {"changed": 1})
    assert (desk.root / "a").is_symlink()
    assert desk.undo().n == 1


@POSIX
def test_links_planted_after_the_analysis_lead_nowhere(desk, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    for folder in (desk.root / "parent", desk.root / "parent/inner", outside, outside / "inner"):
        folder.mkdir(exist_ok=True)
        (folder / "x").write_text("the same text")
        os.utime(folder / "x", ns=(7, 7))
    (desk.root / "file").write_text("file")
    (outside / "file").write_text("file")
    listed = items(desk.root)
    shutil.rmtree(desk.root / "parent")
    (desk.root / "parent").symlink_to(outside)
    (desk.root / "file").unlink()
    (desk.root / "file").symlink_to(outside / "file")
    # Even with the identity of the file outside: the way to it is what is refused.
    listed += [entry._replace(file_id=FileId.of((outside / "x").stat())) for entry in listed]
    before = snapshot(outside)
    for entry in listed:
        assert words(desk.move([entry]).kept) == {"changed": 1}
    assert snapshot(outside) == before
    assert not (desk.root / "_trash").exists()


@POSIX
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_trash_that_is_no_folder_is_not_used(desk, tmp_path, kind):
    fill(desk.root, 3)
    (tmp_path / "outside").mkdir()
    listed = items(desk.root)
    if kind == "link":
        (desk.root / "_trash").symlink_to(tmp_path / "outside")
    else:
        (desk.root / "_trash").write_text("a file")
    before = snapshot(desk.root)
    assert words(desk.move(listed).kept) == {"in-the-way": 3}
    assert snapshot(desk.root) == before
    assert list((tmp_path / "outside").iterdir()) == []
    assert desk.journal.batches() == []


@POSIX
def test_undo_follows_no_link_that_was_planted_meanwhile(desk, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("folder/x", "folder/sub/y", "z"):
        (desk.root / name).parent.mkdir(exist_ok=True, parents=True)
        (desk.root / name).write_text(name)
    moved = desk.move()
    shutil.rmtree(desk.root / "folder")
    (desk.root / "folder").symlink_to(outside)
    (desk.root / "z").symlink_to(outside / "z")
    back = desk.undo(moved.batch)
    assert words(back.kept) == {"in-the-way": 3}
    assert list(outside.iterdir()) == []
    (desk.root / "folder").unlink()
    (desk.root / "z").unlink()
    assert desk.undo(moved.batch).n == 3
    assert (desk.root / "folder/sub/y").read_text() == "folder/sub/y"
    assert not (desk.root / "_trash").exists()


@POSIX
def test_a_link_put_into_the_trash_is_not_restored(desk, tmp_path):
    (tmp_path / "secret").write_text("ab")
    (desk.root / "a").write_text("ab")
    moved = desk.move()
    shelf = desk.root / "_trash" / moved.folder
    (shelf / "a").unlink()
    (shelf / "a").symlink_to(tmp_path / "secret")
    assert words(desk.undo(moved.batch).kept) == {"changed": 1}
    shelf.rename(shelf.with_name("real"))
    shelf.symlink_to(tmp_path)
    assert words(desk.undo(moved.batch).kept) == {"missing": 1}
    assert (tmp_path / "secret").read_text() == "ab"


def test_a_name_in_the_way_stops_that_file_alone(desk):
    fill(desk.root, 20)
    before = snapshot(desk.root)
    moved = desk.move()
    (desk.root / "file 3.txt").write_text("a new file of the user")
    back = desk.undo(moved.batch)
    assert [(entry.path, why) for entry, why in back.kept] == [(b"file 3.txt", "in-the-way")]
    assert back.n == 19
    assert (desk.root / "file 3.txt").read_text() == "a new file of the user"
    assert desk.journal.batches()[0].n_left == 1
    (desk.root / "file 3.txt").unlink()
    assert desk.undo(moved.batch).n == 1
    assert snapshot(desk.root) == before


@pytest.mark.parametrize("state", ["done", "undoing", "open"])
@pytest.mark.parametrize("size", [3, 4])
def test_another_file_of_the_same_time_is_no_twin(desk, state, size):
    (desk.root / "a").write_text("old")
    os.utime(desk.root / "a", ns=(10**18, 10**18))
    moved = desk.move()
    (desk.root / "a").write_text("new!"[:size])
    os.utime(desk.root / "a", ns=(10**18, 10**18))
    if state == "open":
        desk.index.write("UPDATE trash SET state = 'intent' WHERE id = ?", [(1,)])
    desk.journal.set_state(moved.batch, state)
    desk.reopen()
    assert recover(desk.roots, desk.journal) == (state != "done")
    assert words(desk.undo(moved.batch).kept) == {"in-the-way": 1}
    assert (desk.root / "a").read_text() == "new!"[:size]
    assert (desk.root / "_trash" / moved.folder / "a").read_text() == "old"


@POSIX
@pytest.mark.parametrize("has_links", [True, False])
def test_a_rename_back_overwrites_nothing(tmp_path, monkeypatch, has_links):
    (tmp_path / "new").write_text("new")
    (tmp_path / "taken").write_text("taken")
    if not has_links:

        def refuse(*_, **__):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    folder = folders.Tree(tmp_path).folder(())
    with pytest.raises(FileExistsError):
        folders.rename_fresh(folder, b"new", folder, b"taken")
    assert (tmp_path / "taken").read_text() == "taken"
    folders.rename_fresh(folder, b"new", folder, b"free")
    assert (tmp_path / "free").read_text() == "new"
    assert not (tmp_path / "new").exists()


@POSIX
def test_a_trash_that_may_not_be_emptied_leaves_no_second_file(desk, monkeypatch):
    (desk.root / "a").write_text("a")
    moved = desk.move()
    real = folders.Folder.unlink

    def unlink(self, name):
        if b"/_trash/" in self.path:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        real(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(folders.Folder, "unlink", unlink)
        assert words(desk.undo().kept) == {"read-only": 1}
    assert not (desk.root / "a").exists()
    assert (desk.root / "_trash" / moved.folder / "a").read_text() == "a"
    assert desk.undo().n == 1


@POSIX
def test_a_name_taken_in_the_last_moment_is_not_overwritten(desk, arm, monkeypatch):
    (desk.root / "a").write_text("old")
    desk.move()
    real = folders.rename_fresh

    def late(*args):
        (desk.root / "a").write_text("in the last moment")
        real(*args)

    monkeypatch.setattr(folders, "rename_fresh", late)
    assert words(desk.undo().kept) == {"in-the-way": 1}
    assert (desk.root / "a").read_text() == "in the last moment"


def test_what_was_changed_in_the_trash_is_not_restored_as_if_it_were_the_file(desk):
    fill(desk.root, 10, seed=3)
    (desk.root / "flip").write_bytes(b"0123456789")
    (desk.root / "cut").write_bytes(b"0123456789")
    (desk.root / "lost").write_bytes(b"0123456789")
    moved = desk.move()
    shelf = desk.root / "_trash" / moved.folder
    (shelf / "flip").write_bytes(b"0123456798")
    (shelf / "cut").write_bytes(b"01234")
    (shelf / "lost").unlink()
    back = desk.undo(moved.batch)
    assert {entry.path: why for entry, why in back.kept} == {
        b"flip": "changed", b"cut": "changed", b"lost": "missing"
    }  # fmt: skip
    assert back.n == 10
    assert (shelf / "flip").exists()
    assert (shelf / "manifest.jsonl").exists()


def test_files_of_others_in_the_trash_stay(desk):
    fill(desk.root, 4)
    moved = desk.move()
    (desk.root / "_trash" / "mine").write_text("mine")
    (desk.root / "_trash" / moved.folder / "d1").mkdir(exist_ok=True)
    (desk.root / "_trash" / moved.folder / "d1" / "note").write_text("note")
    assert desk.undo(moved.batch).n == 4
    assert (desk.root / "_trash" / "mine").read_text() == "mine"
    assert (desk.root / "_trash" / moved.folder / "d1" / "note").read_text() == "note"


# --- a manifest from a stranger


HOSTILE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 20_000,
    b'{"path_hex": "61"}',
    b"1" * 5000,
    b"x" * 300_000,
]


def told(path: bytes, target: bytes = b"x", **values) -> bytes:
    line = {
        "path": "shown", "path_hex": path.hex(), "target_hex": target.hex(), "size": 1,
        "mtime_ns": 1, "raw_hash": None, "reason": "r",
    }  # fmt: skip
    return json.dumps(line | values).encode()


@POSIX
def test_a_hostile_manifest_writes_nothing_outside(tmp_path):
    root, outside = tmp_path / "a/root", tmp_path / "outside"
    shelf = root / "_trash" / "batch"
    shelf.mkdir(parents=True)
    outside.mkdir()
    (shelf / "x").write_text("x")
    (root / "way").symlink_to(outside)
    lines = [
        *HOSTILE,
        told(b"../escaped"), told(b"a/../../escaped"), told(os.fsencode(outside / "abs")),
        told(b"."), told(b""), told(b"a//b"), told(b"nul\0"), told(b"way/x"), told(b"n" * 300),
        told(b"ok1", b"../../../outside/file"), told(b"ok2", b"../x"), told(b"ok3", b""),
        told(b"ok4", size=-1), told(b"ok5", size=True), told(b"ok6", size=1.0),
        told(b"ok7", mtime_ns=1 << 70), told(b"ok8", raw_hash="zz"), told(b"ok9", raw_hash="00" * 16),
        told(b"ok10", size=2),
    ]  # fmt: skip
    (outside / "file").write_text("x")
    (shelf / "manifest.jsonl").write_bytes(b"\n".join(lines) + b"\n" + told(b"torn")[:-1])
    before = snapshot(tmp_path)
    back = trash.undo_folder(shelf)
    assert back.n == 0
    assert back.problem
    assert snapshot(tmp_path) == before
    with (shelf / "manifest.jsonl").open("ab") as file:  # the control: a good line among them
        file.write(b"\n" + told(b"good") + b"\n")
    assert trash.undo_folder(shelf).n == 1
    assert (root / "good").read_text() == "x"
    assert not (outside / "x").exists()


@POSIX
@pytest.mark.parametrize("kind", ["none", "pipe", "link", "no trash"])
def test_a_folder_without_a_real_manifest_is_refused(tmp_path, kind):
    shelf = tmp_path / ("other" if kind == "no trash" else "_trash") / "batch"
    shelf.mkdir(parents=True)
    (tmp_path / "real").write_bytes(b"")
    if kind == "pipe":
        os.mkfifo(shelf / "manifest.jsonl")
    if kind == "link":
        (shelf / "manifest.jsonl").symlink_to(tmp_path / "real")
    if kind == "no trash":
        (shelf / "manifest.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="manifest"):
        trash.undo_folder(shelf)


# --- faults of the disk


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system in memory; the test is left out where that is not allowed."""
    places = []

    def mount(place: Path, options: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("mounting a file system is not allowed here")
        places.append(place)

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", str(place)], check=False)


@pytest.fixture
def volumes(monkeypatch):
    """The folder mnt of a source looks like another volume: no name leads in or out of it."""

    def is_inside(folder: folders.Folder) -> bool:
        return b"/source/mnt" in folder.path

    def divided(real):
        def do(source, name, goal, new):
            if is_inside(source) != is_inside(goal):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            real(source, name, goal, new)

        return do

    monkeypatch.setattr(folders, "rename", divided(folders.rename))
    monkeypatch.setattr(folders, "rename_fresh", divided(folders.rename_fresh))


def fill_two(desk) -> tuple[dict, list[Item]]:
    fill(desk.root, 12)
    fill(desk.root / "mnt", 12, seed=2)
    (desk.root / "mnt" / "big").write_bytes(random.Random(5).randbytes(2_500_000))
    return snapshot(desk.root), items(desk.root)


@POSIX
def test_files_on_another_volume_are_copied_and_come_back(desk, mounted):
    mounted(desk.root / "mnt", "size=16m")
    assert (desk.root / "mnt").stat().st_dev != desk.root.stat().st_dev
    before, listed = fill_two(desk)
    big, has_notes = desk.root / "mnt" / "big", False
    with contextlib.suppress(OSError):
        os.setxattr(big, "user.note", b"kept")
        has_notes = True
    moved = desk.move(listed)
    assert (moved.n, moved.kept) == (len(listed), [])
    assert on_shelf(desk, moved.folder) == files_of(before)
    assert not files_of(snapshot(desk.root / "mnt"))
    assert desk.undo().kept == []
    assert snapshot(desk.root) == before
    assert not has_notes or os.getxattr(big, "user.note") == b"kept"


@POSIX
def test_copies_are_whole_before_the_first_one_goes(desk, volumes, monkeypatch):
    before, listed = fill_two(desk)
    real, gone = folders.Folder.unlink, []

    def unlink(self, name):
        if self.path.startswith(os.fsencode(desk.root / "mnt")):
            gone.append(name)
            twins = [e for p, e in shelf().items() if p.endswith(name)]
            info = self.look(name)
            assert any(
                twin[1] == info.st_mtime_ns and len(twin[2]) == info.st_size for twin in twins
            )
        real(self, name)

    def shelf():
        return files_of(snapshot(desk.root / "_trash"))

    with monkeypatch.context() as patch:
        patch.setattr(folders.Folder, "unlink", unlink)
        assert desk.move(listed).n == len(listed)
    assert len(gone) == 13
    assert desk.undo().kept == []
    assert snapshot(desk.root) == before


@POSIX
def test_a_copy_that_differs_is_thrown_away(desk, volumes, monkeypatch):
    before, listed = fill_two(desk)
    real = os.write

    def damaged(handle, data):
        return (
            real(handle, bytes(data)[:-1] + b"!") if len(data) > 1_000_000 else real(handle, data)
        )

    monkeypatch.setattr(os, "write", damaged)
    moved = desk.move(listed)
    assert [(entry.path, why) for entry, why in moved.kept] == [(b"mnt/big", "unreadable")]
    assert desk.undo().kept == []
    assert snapshot(desk.root) == before


@POSIX
def test_a_copy_of_other_bytes_than_were_analysed_is_thrown_away(desk, volumes):
    before, listed = fill_two(desk)
    wrong = [entry._replace(raw_hash=bytes(16)) for entry in listed if entry.path == b"mnt/big"]
    assert words(desk.move(wrong).kept) == {"changed": 1}
    assert snapshot(desk.root) == before


@POSIX
@pytest.mark.parametrize("n", [1, 3, 12, 20])
@pytest.mark.parametrize("kind", ["enospc", "short", "eio", "edquot"])
def test_a_full_disk_in_the_middle_of_a_copy_loses_nothing(desk, volumes, arm, n, kind):
    before, listed = fill_two(desk)
    arm(f"trash.copy:{n}:{kind}")
    moved = desk.move(listed)
    arm("")
    assert moved.n + len(moved.kept) == len(listed)
    if kind == "eio":
        assert words(moved.kept) == {"unreadable": 1}
        assert moved.problem == ""
    elif kind != "short" or moved.kept:  # a passage where nothing is written has no half
        assert set(words(moved.kept)) == {"disk-full"}
        assert "E-DISK-FULL" in moved.problem
        rest = [entry.path for entry in listed][moved.n :]
        assert [entry.path for entry, _ in moved.kept] == rest  # nothing was tried after it
    now = snapshot(desk.root)
    assert Counter(e[2] for p, e in files_of(now).items() if not p.endswith(b".jsonl")) == Counter(
        e[2] for e in files_of(before).values()
    )  # each file once: no copy and no half of one is left
    assert {p: now[p] for p in (entry.path for entry, _ in moved.kept)} == {
        entry.path: before[entry.path] for entry, _ in moved.kept
    }
    if moved.batch:
        arm(f"trash.copy:1:{kind}")
        back = desk.undo(moved.batch)
        arm("")
        assert ("disk-full" in words(back.kept)) == ("E-DISK-FULL" in back.problem)
        again = desk.undo(moved.batch)
        assert back.n + again.n == moved.n
    assert snapshot(desk.root) == before


@POSIX
def test_a_disk_that_is_really_full_loses_nothing(desk, mounted):
    mounted(desk.root, "size=2m")
    mounted(desk.root / "mnt", "size=16m")
    before, listed = fill_two(desk)
    moved = desk.move(listed)
    assert set(words(moved.kept)) == {"disk-full"}
    assert b"mnt/big" in {entry.path for entry, _ in moved.kept}
    assert "E-DISK-FULL" in moved.problem
    assert desk.undo().kept == []
    assert snapshot(desk.root) == before


@POSIX
def test_a_full_disk_for_the_manifest_moves_nothing(desk, monkeypatch):
    fill(desk.root, 8)
    before, listed = snapshot(desk.root), items(desk.root)
    real = os.write

    def full(handle, data):
        if len(data) > 100:
            real(handle, bytes(data)[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data)

    monkeypatch.setattr(os, "write", full)
    moved = desk.move(listed)
    assert (moved.batch, words(moved.kept)) == (None, {"disk-full": 8})
    assert snapshot(desk.root) == before


@POSIX
def test_an_error_in_the_middle_of_the_manifest_leaves_no_half_line(desk, monkeypatch):
    monkeypatch.setattr(trash, "CHUNK_FILES", 4)
    fill(desk.root, 12)
    before, listed = snapshot(desk.root), items(desk.root)
    real, calls = os.write, []

    def failing(handle, data):
        calls.append(len(data))
        if len(calls) == 2:
            real(handle, bytes(data)[:300])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(handle, data)

    monkeypatch.setattr(os, "write", failing)
    moved = desk.move(listed)
    assert (moved.n, words(moved.kept)) == (8, {"unreadable": 4})
    back = trash.undo_folder(desk.root / "_trash" / moved.folder)
    assert (back.n, back.kept, back.problem) == (8, [], "")
    assert snapshot(desk.root) == before


def test_a_last_line_that_a_crash_tore_is_no_damage(desk):
    fill(desk.root, 4)
    before = snapshot(desk.root)
    moved = desk.move()
    shelf = desk.root / "_trash" / moved.folder
    with (shelf / "manifest.jsonl").open("ab") as file:
        file.write(told(b"never moved")[:-9])
    back = trash.undo_folder(shelf)
    assert (back.n, back.problem) == (4, "")
    assert snapshot(desk.root) == before


@pytest.mark.parametrize(
    ("kind", "word"), [("erofs", "read-only"), ("eio", "unreadable"), ("emfile", "unreadable")]
)
def test_a_file_that_cannot_be_moved_is_kept_and_named(desk, arm, kind, word):
    fill(desk.root, 9)
    before, listed = snapshot(desk.root), items(desk.root)
    arm(f"trash.rename:4:{kind}")
    moved = desk.move(listed)
    assert (moved.n, words(moved.kept)) == (8, {word: 1})
    arm(f"trash.rename:2:{kind}")
    back = desk.undo()
    assert (back.n, words(back.kept)) == (7, {word: 1})
    arm("")
    assert desk.undo().n == 1
    assert snapshot(desk.root) == before


def test_files_that_windows_has_in_use_are_kept(desk, monkeypatch):
    fill(desk.root, 3)
    before = snapshot(desk.root)

    def in_use(*_):
        problem = PermissionError(errno.EACCES, "used by another process")
        problem.winerror = 32
        raise problem

    monkeypatch.setattr(folders, "rename", in_use)
    assert words(desk.move().kept) == {"in-use": 3}
    assert snapshot(desk.root) == before


@POSIX
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_read_only_folder_keeps_its_files(is_whole):
    """As a plain user: root may write everywhere."""
    with tempfile.TemporaryDirectory(prefix="sllm-") as name:
        desk = Desk(Path(name))
        for folder in ("open", "closed"):
            (desk.root / folder).mkdir()
            (desk.root / folder / "x").write_text(folder)
        listed = items(desk.root)
        closed = desk.root if is_whole else desk.root / "closed"
        is_root = os.geteuid() == 0
        if is_root:
            for path in [Path(name), *Path(name).rglob("*")]:
                os.chown(path, 65534, 65534)
            os.seteuid(65534)
        try:
            closed.chmod(0o555)
            before = snapshot(desk.root)
            moved = desk.move(listed)
            assert words(moved.kept) == {"read-only": 2 if is_whole else 1}
            closed.chmod(0o755)
            if not is_whole:
                (desk.root / "open").chmod(0o555)
                assert words(desk.undo().kept) == {"read-only": 1}
                (desk.root / "open").chmod(0o755)
                assert desk.undo().n == 1
            assert {p: e[1:] for p, e in snapshot(desk.root).items()} == {
                p: e[1:] for p, e in before.items()
            }
        finally:
            if is_root:
                os.seteuid(0)
            desk.index.close()


@POSIX
def test_a_file_that_is_immutable_is_kept(desk):
    fill(desk.root, 3)
    (desk.root / "fixed").write_text("fixed")
    listed = items(desk.root)
    command = ["chattr", "+i", str(desk.root / "fixed")]
    if (
        not shutil.which("chattr")
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("immutable files cannot be made here")
    try:
        moved = desk.move(listed)
    finally:
        subprocess.run(["chattr", "-i", str(desk.root / "fixed")], check=True)
    assert [(entry.path, why) for entry, why in moved.kept] == [(b"fixed", "read-only")]


@pytest.mark.parametrize("n", range(1, 8))
def test_a_database_that_cannot_be_written_loses_nothing(desk, arm, monkeypatch, n):
    monkeypatch.setattr(trash, "CHUNK_FILES", 5)
    fill(desk.root, 12)
    before, listed = snapshot(desk.root), items(desk.root)
    arm(f"db.commit:{n}+:enospc")
    with pytest.raises(DiskError, match="E-DISK-FULL"):
        desk.move(listed)
    arm("")
    desk.reopen()
    recover(desk.roots, desk.journal)
    for batch in desk.journal.batches():
        arm("db.commit:2:enospc")
        with contextlib.suppress(DiskError):
            desk.undo(batch.id)
        arm("")
        desk.undo(batch.id)
    assert snapshot(desk.root) == before
    assert recover(desk.roots, desk.journal) == 0


# --- stopping in the middle


class Stop:
    """Raises `Cancelled` when it was asked ``n`` times."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled


@pytest.mark.parametrize("n", [0, 1, 3, 9])
def test_a_cancelled_move_is_a_batch_that_comes_back(desk, monkeypatch, n):
    monkeypatch.setattr(trash, "CHUNK_FILES", 10)
    fill(desk.root, 95)
    before, listed = snapshot(desk.root), items(desk.root)
    with pytest.raises(Cancelled):
        desk.move(listed, check=Stop(n))
    batches = desk.journal.batches()
    assert [(b.state, b.n_files, b.n_left) for b in batches] == [("done", 10 * n, 10 * n)][:n]
    for batch in batches:
        with contextlib.suppress(Cancelled):
            desk.undo(batch.id, check=Stop(4 * n))
        desk.undo(batch.id)
    assert snapshot(desk.root) == before


def test_an_undo_is_cancelled_before_it_begins(desk):
    fill(desk.root, 4)
    desk.move([entry._replace(raw_hash=None) for entry in items(desk.root)])
    with pytest.raises(Cancelled):
        desk.undo(check=Stop(0))
    assert desk.journal.batches()[0].n_left == 4
    assert desk.undo().n == 4


@POSIX
@pytest.mark.parametrize("n", range(0, 60, 7))
def test_cancelling_a_copy_leaves_no_half_of_it(desk, volumes, n):
    before, listed = fill_two(desk)
    with contextlib.suppress(Cancelled):
        desk.move(listed, check=Stop(n))
    assert Counter(
        e[2] for p, e in files_of(snapshot(desk.root)).items() if not p.endswith(b".jsonl")
    ) == Counter(e[2] for e in files_of(before).values())
    for batch in desk.journal.batches():
        with contextlib.suppress(Cancelled):
            desk.undo(batch.id, check=Stop(n))
        assert desk.undo(batch.id).kept == []
    assert snapshot(desk.root) == before


# --- kill -9

EVENTS = {
    "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "os.chmod", "os.chown",
    "os.truncate", "open",
}  # fmt: skip


def killed(work, at: int, after_s: float | None = None) -> bool:
    """Run ``work`` in a child that is killed before its n-th change of the disk; whether it was.

    With ``after_s`` it is killed at that time from outside.
    """
    child = os.fork()
    if not child:
        left = at

        def count(event, _):
            nonlocal left
            if event in EVENTS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            work()
        finally:
            os._exit(0)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def killing_story(tmp_path: Path, rng: random.Random, rounds: int, *, is_split: bool) -> int:
    """Kill moves and Undos at random points; each time the tree must come back as it was."""
    kills = 0
    for number in range(rounds):
        place = tmp_path / f"{number}"
        place.mkdir()
        desk = Desk(place)
        fill(desk.root, 2 if is_split else 14, seed=number)
        if is_split:
            fill(desk.root / "mnt", 6, seed=number + 1)
        n_events = 165 if is_split else 220  # of a move, of an Undo: some rounds see no kill
        before, listed = snapshot(desk.root), items(desk.root)
        desk.index.close()

        def in_child(do, desk=desk):
            def work():
                desk.index = Index(desk.db, is_checked=False)
                desk.journal = Journal(desk.index)
                do(desk)

            return work

        kills += killed(
            in_child(lambda desk, listed=listed: desk.move(listed)), rng.randrange(n_events)
        )
        assert_each_once(desk, before)
        if rng.random() < 0.5:
            kills += killed(in_child(undo_all), rng.randrange(n_events))
            assert_each_once(desk, before)
        is_by_folder = rng.random() < 0.2  # without the database, which does not hear of it
        for folder, *_ in find_folders(desk.root) if is_by_folder else ():
            trash.undo_folder(folder)
        desk.reopen()
        recover(desk.roots, desk.journal)
        assert desk.journal.unfinished() == []
        n_there = sum(n for _, n, _ in find_folders(desk.root))
        n_left = sum(batch.n_left for batch in desk.journal.batches())
        assert n_left == n_there or (is_by_folder and n_there == 0)
        undo_all(desk)
        assert snapshot(desk.root) == before
        assert not any(batch.n_left for batch in desk.journal.batches())
        desk.index.close()
        shutil.rmtree(place)
    return kills


def undo_all(desk):
    for batch in desk.journal.batches():
        assert desk.undo(batch.id).kept == []


def assert_each_once(desk, before) -> None:
    """No content is gone; the disk is looked at before anything mends it."""
    now = Counter(entry[2] for entry in files_of(snapshot(desk.root)).values())
    assert not Counter(entry[2] for entry in files_of(before).values()) - now


@POSIX
@pytest.mark.timeout(300)  # each round waits for the disk
@pytest.mark.parametrize("rounds", [20, pytest.param(150, marks=pytest.mark.slow)])
def test_a_kill_at_any_point_loses_nothing(tmp_path, rounds):
    assert killing_story(tmp_path, random.Random(1), rounds, is_split=False) >= rounds


@POSIX
@pytest.mark.timeout(300)  # each round waits for the disk
@pytest.mark.parametrize("rounds", [20, pytest.param(150, marks=pytest.mark.slow)])
def test_a_kill_during_copies_loses_nothing(tmp_path, volumes, rounds):
    assert killing_story(tmp_path, random.Random(2), rounds, is_split=True) >= rounds


@POSIX
@pytest.mark.parametrize("is_ours", [True, False])
def test_half_a_copy_of_a_killed_undo_is_removed_only_if_it_is_one(desk, volumes, is_ours):
    before, listed = fill_two(desk)
    batch = desk.move(listed).batch
    desk.journal.set_state(batch, "undoing")
    entry = next(e for page in desk.journal.pages(batch, "moved") for e in page if e.size > 1e6)
    half = desk.root / "mnt" / os.fsdecode(part_name(entry))
    half.write_bytes(before[b"mnt/big"][2][:1_500_000] if is_ours else b"of somebody else")
    assert recover(desk.roots, desk.journal) == 1
    assert half.exists() is not is_ours
    assert words(desk.undo(batch).kept) == ({} if is_ours else {"in-the-way": 1})
    half.unlink(missing_ok=True)
    desk.undo(batch)
    assert snapshot(desk.root) == before


@POSIX
@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_kill_at_any_time_loses_nothing(desk):
    fill(desk.root, 3000)
    before, rng, kills = snapshot(desk.root), random.Random(3), 0
    for _ in range(20):
        listed = items(desk.root)
        desk.index.close()

        def work(listed=listed):
            with Index(desk.db, is_checked=False) as index:
                made = Journal(index)
                batch = trash.move(listed, desk.roots, made).batch
                trash.undo(batch, desk.roots, made)

        kills += killed(work, 1 << 60, rng.random())
        assert_each_once(desk, before)
        desk.reopen()
        recover(desk.roots, desk.journal)
        undo_all(desk)
        assert snapshot(desk.root) == before
    assert kills >= 10


@POSIX
def test_after_a_kill_the_manifest_alone_brings_all_back(tmp_path, volumes):
    for number in range(20):
        desk = Desk(tmp_path)
        fill(desk.root, 14, seed=number)
        fill(desk.root / "mnt", 6, seed=number + 1)
        before, listed = snapshot(desk.root), items(desk.root)
        desk.index.close()

        def work(desk=desk, listed=listed):
            with Index(desk.db, is_checked=False) as index:
                trash.move(listed, desk.roots, Journal(index))

        killed(work, 10 * number)
        for folder, *_ in find_folders(desk.root):
            assert trash.undo_folder(folder).kept == []
        now = snapshot(desk.root, without=("_trash",))
        assert now == before
        shutil.rmtree(desk.root)
        desk.db.unlink()

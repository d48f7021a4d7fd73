"""Every file below a source has one row and one reason, whatever the folder does meanwhile."""

import contextlib
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from sllm_core.config import SourceConfig
from sllm_core.corpus import extract, sources
from sllm_core.corpus.index import Index
from sllm_core.errors import Cancelled, DataError
from sllm_core.jobs import pipeline
from sllm_core.messages import Desired
from tests.helpers import ROOT, change, make_project, rows, scan, select

MARK = "TEXT FROM OUTSIDE THE SOURCE"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "good.txt").write_text("good text\n")
    return folder


@pytest.fixture
def project(tmp_path, source):
    return make_project(tmp_path / "project", source)


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that extract opens."""
    names = []
    real = extract.open_regular

    def note(path, expected):
        names.append(path.name)
        return real(path, expected)

    monkeypatch.setattr(extract, "open_regular", note)
    return names


def all_files(folder: Path) -> int:
    """Entries that are no folder, counted by os.walk, the pruned folders left out."""
    n = 0
    for _, folders, files in os.walk(os.fsencode(folder)):
        folders[:] = [name for name in folders if os.fsdecode(name) not in sources.PRUNED]
        n += len(files)
    return n + sum(
        os.path.islink(os.path.join(top, name))  # noqa: PTH114, PTH118
        for top, folders, _ in os.walk(os.fsencode(folder))
        for name in folders
    )


def check_sum(project, folder, result) -> None:
    """listed = used + skipped + failed = files on the disk = rows; each unused one has a reason."""
    assert result.listed == result.used + result.skipped + result.failed
    found = select(project, "SELECT state, reason FROM files")
    by_state = Counter(state for state, _ in found)
    expected = {"used": result.used, "skipped": result.skipped, "failed": result.failed}
    assert by_state == Counter({k: v for k, v in expected.items() if v})
    assert all(bool(reason) == (state != "used") for state, reason in found)
    assert Counter(reason for _, reason in found if reason) == Counter(result.reasons)
    if folder is not None:
        assert result.listed == all_files(folder)


HOSTILE_NAMES = [
    b"new\nline.txt", b"tab\t.txt", b"esc\x1b[31m.txt", b"\xff\xfe not utf8.txt",
    "bidi\u202etxt.exe.txt".encode(), b"=cmd()+1.txt", b"$(rm -rf).txt", b"{brace} [x].txt",
    b"%s%n.txt", b" leading.txt", b"-option.txt", b"A.txt", b"a.txt", b"CON.txt", b"dot..txt",
    b"'quote\".txt", b"n" * 251 + b".txt", "é.txt".encode(), "e\u0301.txt".encode(), b"\\.txt",
]  # fmt: skip


def hostile(folder: Path, outside: Path) -> None:
    """One of every class of RELIABILITY 7 that a file system lets us make."""
    for name in HOSTILE_NAMES:
        with open(os.path.join(os.fsencode(folder), name), "w") as file:  # noqa: PTH118, PTH123
            file.write(f"text of {name!r}\n")
    os.mkfifo(folder / "pipe.txt")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket has at most 107 bytes
        listener.bind("socket.txt")
        os.chdir(here)
    for link, target in {
        "loop.txt": "loop.txt", "ping.txt": "pong.txt", "pong.txt": "ping.txt",
        "inside.txt": "good.txt", "parent": "..", "self": ".", "dangling.txt": "nowhere.txt",
        "out.txt": outside / "secret.txt", "outdir": outside, "device.txt": "/dev/zero",
    }.items():  # fmt: skip
        (folder / link).symlink_to(target)
    os.link(folder / "good.txt", folder / "hard.txt")
    (folder / "empty.txt").touch()
    (folder / "bom only.txt").write_bytes(b"\xef\xbb\xbf")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 40)
    (folder / "latin.txt").write_bytes(
        "Größe, Übermut und Äpfel: schön, müde, süß.\n".encode("cp1252")
    )
    (folder / "cut.txt").write_bytes("日本語".encode()[:-1])
    (folder / "program.exe").write_bytes(b"MZ")
    with (folder / "sparse.txt").open("wb") as file:
        file.truncate(1 << 40)
    deep = folder
    for number in range(200):
        deep = deep / f"d{number}"
    deep.mkdir(parents=True)
    (deep / "deep.txt").write_text("deep text\n")
    for name in sources.PRUNED:
        (folder / "sub" / name).mkdir(parents=True)
        (folder / "sub" / name / "never.txt").write_text("never listed\n")


@pytest.mark.skipif(os.name != "posix", reason="needs FIFOs, sockets and byte names")
def test_a_folder_of_every_hostile_class_adds_up_and_no_text_comes_from_outside(
    tmp_path, source, project
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(MARK)
    hostile(source, outside)
    result = scan(project)
    check_sum(project, source, result)
    got = rows(project)
    expected = {
        "good.txt": "", "hard.txt": "same-file", "empty.txt": "empty", "bom only.txt": "empty",
        "binary.txt": "binary", "cut.txt": "encoding", "program.exe": "extension",
        "sparse.txt": "too-large", "pipe.txt": "not-regular", "socket.txt": "not-regular",
        "loop.txt": "not-regular", "ping.txt": "not-regular", "inside.txt": "not-regular",
        "parent": "outside", "self": "not-regular", "out.txt": "outside", "outdir": "outside",
        "device.txt": "outside", "latin.txt": "", "dangling.txt": "not-regular",
    }  # fmt: skip
    assert {name: got[name][1] for name in expected} == expected
    assert result.used == len(HOSTILE_NAMES) + 3  # good, latin, deep
    assert {p for (p,) in select(project, "SELECT path FROM files")} >= set(HOSTILE_NAMES)
    shown = "".join(got)
    assert shown.isprintable()
    assert not any("\ud800" <= letter <= "\udfff" for letter in shown)
    assert scan(project).read_files == 0  # and all of it is remembered
    outside_hash = extract.examine(
        outside / "secret.txt", extract.FileId.of((outside / "secret.txt").stat())
    ).text_hash
    assert select(project, f"SELECT 1 FROM files WHERE text_hash = x'{outside_hash.hex()}'") == []


@pytest.mark.skipif(os.name != "posix", reason="needs permissions and users")
def test_what_may_not_be_read_is_listed_as_unreadable(tmp_path, source, project):
    (source / "locked.txt").write_text("locked\n")
    (source / "locked").mkdir()
    (source / "locked" / "inner.txt").write_text("inner\n")
    for folder in tmp_path.parents:  # pytest makes them for one user
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o011)
    for path in (tmp_path, source, project.root):
        path.chmod(0o777)
    (source / "locked.txt").chmod(0)
    (source / "locked").chmod(0)
    child = os.fork()
    if not child:  # root may read everything, so the scan is another user's
        try:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            check_sum(project, None, scan(project))
            os._exit(0)
        finally:
            os._exit(1)
    try:
        assert os.waitpid(child, 0)[1] == 0
    finally:
        (source / "locked").chmod(0o755)
    assert rows(project) == {
        "good.txt": ("used", ""),
        "locked.txt": ("failed", "unreadable"),
        "locked": ("failed", "unreadable"),
    }


def test_an_empty_folder_lists_nothing(tmp_path):
    (tmp_path / "source").mkdir()
    project = make_project(tmp_path / "project", tmp_path / "source")
    check_sum(project, tmp_path / "source", scan(project))
    assert rows(project) == {}


def test_a_missing_source_and_no_source_are_named(tmp_path, source, project):
    shutil.rmtree(source)
    with pytest.raises(DataError, match=str(source)) as caught:
        scan(project)
    assert caught.value.code == "E-DATA-SOURCE"
    off = make_project(tmp_path / "b", SourceConfig(1, str(tmp_path), is_on=False))
    with pytest.raises(DataError) as caught:
        scan(off)
    assert caught.value.code == "E-DATA-EMPTY"


def test_a_source_may_be_one_file_of_any_name(tmp_path):
    (tmp_path / "Makefile").write_text("all:\n\ttrue\n")
    project = make_project(tmp_path / "project", tmp_path / "Makefile")
    assert scan(project).used == 1
    assert rows(project) == {"Makefile": ("used", "")}


def test_a_file_in_two_sources_counts_once(tmp_path, source):
    (source / "sub").mkdir()
    (source / "sub" / "b.txt").write_text("b\n")
    project = make_project(tmp_path / "project", source, source / "sub", source / "good.txt")
    result = scan(project)
    check_sum(project, None, result)
    assert (result.listed, result.used, result.reasons) == (4, 2, {"same-file": 2})


def test_the_project_inside_its_source_is_never_listed(source):
    project = make_project(source / "project", source)
    (project.root / "mine.txt").write_text("not text of the user\n")
    result = scan(project)
    assert set(rows(project)) == {"good.txt"}
    assert result.listed == 1


def test_a_source_that_is_the_project_folder_gives_only_the_users_files(tmp_path):
    project = make_project(tmp_path / "project", tmp_path / "project")
    (project.root / "mine.txt").write_text("text of the user\n")
    for name in ("tokenizer", "logs", "runs", "encoded_data", "checkpoints"):
        (project.root / name).mkdir()
        (project.root / name / "own.txt").write_text("own\n")
    scan(project)
    assert set(rows(project)) == {"mine.txt"}


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({"extensions": (".md",)}, {"a.txt": "extension", "B.MD": "", "c": "extension"}),
        ({"extensions": ("*",)}, {"a.txt": "", "B.MD": "", "c": ""}),
        ({"extensions": ("(none)",)}, {"a.txt": "extension", "sub/d.txt": "extension", "c": ""}),
        ({"extensions": (".md", "(none)")}, {"a.txt": "extension", "B.MD": "", "c": ""}),
        ({"extensions": ("*",), "min_file_bytes": 11}, {"a.txt": "too-small", "B.MD": ""}),
        ({"extensions": ("*",), "max_file_bytes": 19}, {"a.txt": "", "B.MD": "too-large"}),
        ({"recursive": False}, {"a.txt": ""}),
        ({"max_files": 1}, {"B.MD": "", "a.txt": "over-max-files", "sub/d.txt": "over-max-files"}),
    ],
)
def test_options_choose_files_by_name_size_and_number(tmp_path, options, reasons):
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    for name, size in {"a.txt": 10, "B.MD": 20, "c": 15, "sub/d.txt": 16}.items():
        (folder / name).write_text(name * 30)
        os.truncate(folder / name, size)
    project = make_project(tmp_path / "project", folder, **options)
    check_sum(project, None, scan(project))
    got = rows(project)
    assert {name: got[name][1] for name in reasons} == reasons
    assert ("sub/d.txt" in got) == options.get("recursive", True)


def test_excluded_files_are_listed_and_excluded_folders_are_not_entered(tmp_path, source):
    for name in ("tests/a.txt", "docs/b.txt", "docs/c.md"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(name)
    config = SourceConfig(1, str(source), exclude=("tests", "docs/*.md"))
    project = make_project(tmp_path / "project", config)
    scan(project)
    assert {k: v[1] for k, v in rows(project).items()} == {
        "good.txt": "", "docs/b.txt": "", "docs/c.md": "glob",
    }  # fmt: skip


def test_a_random_choice_depends_on_the_seed_and_stays_when_repeated(tmp_path):
    for number in range(60):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / f"{number:02d}.txt").write_text(str(number))
    project = make_project(tmp_path / "project", tmp_path / "source", max_files=20, shuffle=True)

    def chosen(seed: int) -> set[str]:
        change(project, shuffle_seed=seed)
        assert scan(project).used == 20
        return {name for name, (state, _) in rows(project).items() if state == "used"}

    first = chosen(1)
    assert chosen(2) != first
    assert chosen(1) == first
    assert first != {f"{number:02d}.txt" for number in range(20)}
    change(project, max_files=21)
    scan(project)
    more = {name for name, (state, _) in rows(project).items() if state == "used"}
    assert len(more) == 21
    assert more > first


# Incremental


def test_an_unchanged_tree_opens_no_file(source, project, opened):
    (source / "binary.txt").write_bytes(b"\0" * 10)
    (source / "cut.txt").write_bytes(b"\xe6\x97")
    assert scan(project).read_files == 1
    assert sorted(set(opened)) == ["binary.txt", "cut.txt", "good.txt"]
    opened.clear()
    again = scan(project)
    assert opened == []
    check_sum(project, source, again)
    assert again.used_bytes == len("good text\n")


def test_a_changed_time_size_or_inode_is_read_again_and_nothing_else_is(source, project, opened):
    for name in ("time", "size", "inode", "same"):
        (source / f"{name}.txt").write_text(f"text of {name}\n")
    scan(project)
    opened.clear()
    os.utime(source / "time.txt", ns=(1, 1))
    (source / "size.txt").write_text("longer text of size\n")
    info = (source / "inode.txt").stat()
    (source / "fresh").write_text("text of other\n"[: info.st_size])
    (source / "fresh").replace(source / "inode.txt")
    os.utime(source / "inode.txt", ns=(info.st_mtime_ns, info.st_mtime_ns))
    result = scan(project)
    assert sorted(opened) == ["inode.txt", "size.txt", "time.txt"]
    assert result.read_files == 3


def test_a_deleted_file_disappears_and_its_row_with_it(source, project):
    (source / "b.txt").write_text("b")
    scan(project)
    (source / "b.txt").unlink()
    check_sum(project, source, scan(project))
    assert set(rows(project)) == {"good.txt"}


def test_a_source_switched_off_leaves_no_rows(tmp_path, source):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.txt").write_text("b")
    project = make_project(tmp_path / "project", source, tmp_path / "other")
    assert scan(project).listed == 2
    make_project(
        project.root, SourceConfig(1, str(source)),
        SourceConfig(2, str(tmp_path / "other"), is_on=False),
    )  # fmt: skip
    assert scan(project).listed == 1
    assert set(rows(project)) == {"good.txt"}


def test_what_failed_is_tried_again(source, project, monkeypatch, opened):
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", lambda *_: (_ for _ in ()).throw(OSError(5, "disk error")))
        assert scan(project).reasons == {"unreadable": 1}
    assert scan(project).used == 1
    with Index(project.db_path) as index:
        (number,) = (row.id for row in index.used_files())
        index.fail_file(number, "changed")  # as the encoding says it
    assert scan(project).used == 1
    assert opened == ["good.txt"] * 3


def test_other_options_bring_a_file_back(source, project):
    scan(project)
    change(project, extensions=(".md",))
    assert scan(project).reasons == {"extension": 1}
    change(project, extensions=(".txt",))
    assert scan(project).used == 1


# Races: what happens between listing and reading, and during the listing


def vanish(path: Path) -> None:
    path.unlink()


def grow(path: Path) -> None:
    path.write_text("text\n" * 100)


def shrink(path: Path) -> None:
    os.truncate(path, 3)


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "happening", [vanish, grow, shrink, become_fifo, become_link, become_folder]
)
def test_a_file_that_is_not_what_was_listed_fails_with_a_reason(
    source, project, monkeypatch, happening
):
    (source / "victim.txt").write_text("listed like this\n")

    def strike(point: str) -> str:
        if point == "scan.listed":
            happening(source / "victim.txt")
        return ""

    monkeypatch.setattr(sources.faults, "passage", strike)
    result = scan(project)
    check_sum(project, None, result)
    assert rows(project)["good.txt"] == ("used", "")
    state, reason = rows(project)["victim.txt"]
    assert (state, reason) in {
        ("failed", "changed"), ("skipped", "not-regular"), ("failed", "unreadable"),
    }  # fmt: skip
    if happening not in (become_fifo, become_folder):
        assert state == "failed"


def test_a_folder_that_vanishes_during_the_walk_is_reported(source, project, monkeypatch):
    for name in ("a", "b", "c"):
        (source / name).mkdir()
        (source / name / "x.txt").write_text(name)
    real = os.scandir

    def scandir(path):
        if isinstance(path, bytes) and path.endswith(b"/a"):
            (source / "b" / "x.txt").unlink()
            (source / "b").rmdir()
        return real(path)

    monkeypatch.setattr(sources.os, "scandir", scandir)
    result = scan(project)
    check_sum(project, None, result)
    assert rows(project) == {
        "good.txt": ("used", ""), "a/x.txt": ("used", ""), "c/x.txt": ("used", ""),
        "b": ("failed", "unreadable"),
    }  # fmt: skip


def test_a_file_that_vanishes_during_the_walk_is_reported(source, project, monkeypatch):
    (source / "gone.txt").write_text("soon gone")
    real = sources._stat

    def look(entry):
        if entry.name == b"gone.txt":
            Path(os.fsdecode(entry.path)).unlink()
            raise FileNotFoundError(entry.path)
        return real(entry)

    monkeypatch.setattr(sources, "_stat", look)
    check_sum(project, None, scan(project))
    assert rows(project)["gone.txt"] == ("failed", "changed")


def test_a_reader_that_runs_out_of_memory_or_depth_fails_that_file_only(
    source, project, monkeypatch
):
    (source / "bad.txt").write_text("bad")
    real = sources.examine_small
    problems = iter([MemoryError(), RecursionError(), ValueError("x"), UnicodeError("x")])

    def examine(path, *rest):
        if path.name == "bad.txt":
            raise next(problems)
        return real(path, *rest)

    monkeypatch.setattr(sources, "examine_small", examine)
    for _ in range(4):
        result = scan(project)
        check_sum(project, source, result)
        assert rows(project)["bad.txt"] == ("failed", "parse")


# Stop


def test_stop_ends_a_scan_within_a_few_chunks_and_keeps_what_was_read(tmp_path):
    (tmp_path / "source").mkdir()
    for number in range(3000):
        (tmp_path / "source" / f"{number}.txt").write_text(str(number))
    project = make_project(tmp_path / "project", tmp_path / "source")
    wishes = iter([Desired()] * 8)
    job = pipeline.Job(lambda _: None, lambda: next(wishes, Desired(state="stop")))
    with pytest.raises(Cancelled):
        scan(project, job)
    (n_rows,) = select(project, "SELECT COUNT(*) FROM files")[0]
    assert n_rows < 3000
    result = scan(project)
    assert result.used == 3000
    assert result.read_files == 3000 - n_rows


def test_stop_ends_the_reading_of_one_long_file(tmp_path, monkeypatch):
    path = tmp_path / "long.txt"
    with path.open("wb") as file:
        file.write(b"word\n")
    project = make_project(tmp_path / "project", path)
    blocks = []

    def endless(*_):
        while True:
            blocks.append(None)
            time.sleep(0.001)
            yield b"word\n"

    monkeypatch.setattr(extract, "read_blocks", endless)
    monkeypatch.setattr(extract, "_READ_BYTES", 1)
    wish = Desired()
    job = pipeline.Job(lambda _: None, lambda: wish)
    caught = []

    def run() -> None:
        try:
            scan(project, job)
        except Cancelled as stopped:
            caught.append(stopped)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while len(blocks) < 5:
        time.sleep(0.01)
    wish = Desired(state="stop")
    thread.join(20)
    assert len(caught) == 1


def test_memory_stays_flat_while_many_texts_are_read(tmp_path):
    """60 MB of text in 60 files cost a few blocks, not 60 MB."""
    (tmp_path / "source").mkdir()
    rng = random.Random(1)
    body = "".join(rng.choices("abc \n", k=1_000_000))
    for number in range(60):
        (tmp_path / "source" / f"{number}.txt").write_text(f"{number}\n{body}")
    project = make_project(tmp_path / "project", tmp_path / "source")
    program = (
        "import resource, sys, pathlib; from tests.helpers import *\n"
        "from sllm_core.project import Project\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak(); result = scan(Project(pathlib.Path(sys.argv[1])))\n"
        "print(result.used, peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, project.root],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    used, extra_mib = map(int, done.stdout.split())
    assert used == 60
    assert extra_mib < 40


def test_progress_counts_up_to_the_files_that_were_read(source, project):
    told = []
    with Index(project.db_path) as index:
        scanner = sources.Scanner(
            project, project.load_config(), index,
            on_progress=lambda *numbers: told.append(numbers), check=lambda: None,
        )  # fmt: skip
        scanner.run()
    assert told[-1] == (1, 1, 1)


def test_inodes_of_64_bits_are_stored_and_compared_as_they_are(tmp_path):
    info = os.stat_result((0o100644, (1 << 64) - 2, 1 << 63, 1, 0, 0, 5, 0, 0, 0))
    file_id = extract.FileId.of(info)
    assert (file_id.dev, file_id.inode) == (-(1 << 63), -2)
    with sqlite3.connect(tmp_path / "x.db") as db:
        assert db.execute("SELECT ?, ?", (file_id.dev, file_id.inode)).fetchone() == file_id[2:]
    db.close()

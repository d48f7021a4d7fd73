"""A project keeps what it was given: through full disks, kills, hostile names and strange files."""

import array
import contextlib
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sllm_core.config import ProjectConfig, SourceConfig, to_json, with_values
from sllm_core.errors import Cancelled, ConfigError, DataError, DiskError, LockError, ProjectError
from sllm_core.project import (
    AtomicFile,
    Lock,
    Project,
    atomic_write,
    check_name,
    create,
    file_sha256,
    open_project,
    remove_temp_files,
    write_text,
)

ROOT = Path(__file__).parents[1]
OLD, NEW = b"old " * 1000, b"new and longer " * 1000
SAVE_POINTS = ["save.open", "save.write", "save.fsync", "save.replace", "save.dirsync"]
OTHER_POINTS = ["index.write", "encode.write", "tokenizer.save", "settings.save", "export.write"]
CODES = {
    "enospc": "E-DISK-FULL",
    "edquot": "E-DISK-FULL",
    "eio": "E-DISK-IO",
    "erofs": "E-DISK-READONLY",
    "emfile": "E-DISK-HANDLES",
}


def write(path: Path, content: bytes, point: str = "save") -> str:
    """Write in two halves, as a checkpoint is written in many."""
    with atomic_write(path, point=point) as file:
        file.write(content[: len(content) // 2])
        file.write(content[len(content) // 2 :])
    return file.sha256


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# atomic_write


@pytest.mark.parametrize("old", [OLD, None], ids=["over an old file", "as a new file"])
@pytest.mark.parametrize("kind", [*CODES, "short", "raise"])
@pytest.mark.parametrize("point", SAVE_POINTS)
def test_a_failed_save_leaves_the_old_file_or_the_new_one(tmp_path, arm, point, kind, old):
    path = tmp_path / "a.pt"
    if old:
        path.write_bytes(old)
    arm(f"{point}:1:{kind}")
    if kind == "short" and point != "save.write":  # nothing can be short there
        write(path, NEW)
        left = NEW
    else:
        with pytest.raises(RuntimeError if kind == "raise" else DiskError) as caught:
            write(path, NEW)
        if kind != "raise":
            assert caught.value.code == CODES.get(kind, "E-DISK-FULL")
            assert "a.pt" in caught.value.what
            is_named = point == "save.dirsync"
            assert ("new file is there" if is_named else "before is unchanged") in caught.value.safe
        left = NEW if point == "save.dirsync" else old
    assert names(tmp_path) == (["a.pt"] if left else [])
    assert not left or path.read_bytes() == left
    write(path, NEW + OLD)  # the next save works
    assert path.read_bytes() == NEW + OLD


@pytest.mark.parametrize("kind", [*CODES, "short", "raise"])
@pytest.mark.parametrize("point", OTHER_POINTS)
@pytest.mark.parametrize("passage", [1, 2])
def test_every_other_file_is_as_safe_as_a_checkpoint(tmp_path, arm, point, kind, passage):
    path = tmp_path / "a.json"
    path.write_bytes(OLD)
    arm(f"{point}:{passage}:{kind}")
    with pytest.raises(RuntimeError if kind == "raise" else DiskError):
        write(path, NEW, point=point)
    assert names(tmp_path) == ["a.json"]
    assert path.read_bytes() == OLD


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("point", "has_new", "has_temp"),
    [
        ("save.open:1", False, False),
        ("save.write:1", False, True),
        ("save.write:2", False, True),
        ("save.fsync:1", False, True),
        ("save.replace:1", False, True),
        ("save.dirsync:1", True, False),
    ],
)
def test_a_kill_leaves_a_whole_file_and_the_next_start_clears_the_rest(
    tmp_path, point, has_new, has_temp
):
    path = tmp_path / "a.pt"
    path.write_bytes(OLD)
    program = (
        "import sys; from pathlib import Path; from tests.test_project import write, NEW\n"
        "write(Path(sys.argv[1]), NEW); print('saved')"
    )
    done = run(program, path, SLLM_FAULT=f"{point}:kill")
    assert (done.returncode, done.stdout) == (-9, "")
    assert path.read_bytes() == (NEW if has_new else OLD)
    assert len(names(tmp_path)) == 1 + has_temp
    assert len(remove_temp_files(tmp_path)) == has_temp
    assert names(tmp_path) == ["a.pt"]


def test_a_file_is_on_the_disk_before_its_name_is_and_the_name_before_saved(tmp_path, monkeypatch):
    order = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        order.append("rename")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write(tmp_path / "a.pt", NEW)
    assert order == ["file", "rename", "folder"][: 2 if sys.platform == "win32" else 3]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Cancelled, ValueError])
def test_a_writer_that_gives_up_leaves_the_old_file_and_its_own_reason(tmp_path, stop):
    def give_up(file: AtomicFile) -> None:
        file.write(NEW)
        raise stop

    (tmp_path / "a.pt").write_bytes(OLD)
    with pytest.raises(stop), atomic_write(tmp_path / "a.pt") as file:
        give_up(file)
    assert names(tmp_path) == ["a.pt"]
    assert (tmp_path / "a.pt").read_bytes() == OLD


def hiding_library(file: AtomicFile) -> None:
    try:
        file.write(NEW)
    except OSError:
        raise RuntimeError("PytorchStreamWriter failed writing file") from None


def swallowing_library(file: AtomicFile) -> None:
    with contextlib.suppress(OSError):
        file.write(NEW)


@pytest.mark.parametrize("library", [hiding_library, swallowing_library])
def test_a_full_disk_is_told_also_where_a_library_does_not(tmp_path, arm, library):
    (tmp_path / "a.pt").write_bytes(OLD)
    arm("save.write:1:enospc")
    with pytest.raises(DiskError, match="E-DISK-FULL"), atomic_write(tmp_path / "a.pt") as file:
        library(file)
    assert names(tmp_path) == ["a.pt"]
    assert (tmp_path / "a.pt").read_bytes() == OLD


def test_the_bytes_that_were_needed_are_told(tmp_path, arm):
    arm("save.fsync:1:enospc")
    with pytest.raises(DiskError, match="5 GiB needed"):  # noqa: SIM117 - one thing at a time
        with atomic_write(tmp_path / "a.pt", need="5 GiB needed"):
            pass


def test_a_folder_that_is_gone_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(DiskError, match=r"a\.pt was not written"):
        write(tmp_path / "gone" / "a.pt", NEW)


def test_a_system_that_takes_few_bytes_at_a_time_gets_them_all(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    write(tmp_path / "a.pt", OLD)
    assert (tmp_path / "a.pt").read_bytes() == OLD


@given(st.lists(st.binary(max_size=100), max_size=5))
@example([OLD, NEW])
@settings(deadline=None, max_examples=30)
def test_the_hash_is_that_of_the_whole_file(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("hash") / "a"
    with atomic_write(path) as file:
        assert [file.write(part) for part in parts] == [len(part) for part in parts]
    whole = b"".join(parts)
    assert path.read_bytes() == whole
    assert file.sha256 == file_sha256(path) == hashlib.sha256(whole).hexdigest()
    assert file.size_bytes == len(whole)


def test_anything_with_a_buffer_can_be_written(tmp_path):
    numbers = array.array("I", [1, 2, 3])
    with atomic_write(tmp_path / "a") as file:
        assert file.write(numbers) == numbers.itemsize * 3
        assert file.write(memoryview(numbers)[::1]) == numbers.itemsize * 3
        assert file.write(array.array("I")) == 0
    assert (tmp_path / "a").read_bytes() == numbers.tobytes() * 2


def test_text_is_written_as_utf8_with_its_line_ends(tmp_path):
    sha256 = write_text(tmp_path / "a.txt", "Grüße\r\n日本\n")
    assert (tmp_path / "a.txt").read_bytes() == "Grüße\r\n日本\n".encode()
    assert sha256 == file_sha256(tmp_path / "a.txt")


@pytest.mark.skipif(sys.platform == "win32", reason="process ids are not looked up there")
def test_only_temp_files_of_dead_processes_are_removed(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead, alive = child.pid, os.getppid()
    gone = [f"a.pt.tmp{dead}-0123abcd", f".lock.json.tmp{dead}-ffffffff"]
    stay = [
        f"a.pt.tmp{alive}-0123abcd",
        f"a.pt.tmp{os.getpid()}-0123abcd",
        f"a.pt.tmp{dead}-0123abc",  # like ours, but not ours
        f"a.pt.tmp{dead}-0123abcd.txt",
        f"a.pt.tmp{'9' * 30}-0123abcd",
        "a.pt.tmp-0123abcd",
        "a.tmp",
        "notes.tmpl",
    ]
    for name in gone + stay:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / f"folder.tmp{dead}-0123abcd").mkdir()
    assert sorted(remove_temp_files(tmp_path)) == sorted(gone)
    assert names(tmp_path) == sorted([*stay, f"folder.tmp{dead}-0123abcd"])


def test_without_a_folder_there_is_nothing_to_remove(tmp_path):
    assert remove_temp_files(tmp_path / "gone") == []


# check_name


@pytest.mark.parametrize(
    "name", ["a", "My Model 2", "Modèle-日本_3", "a.b", "console", "com", "x" * 120, "a..b"]
)
def test_a_plain_name_is_taken(name):
    assert check_name(name) == name


def test_spaces_around_a_name_are_left_out():
    assert check_name("  a b ") == "a b"


SEPARATORS = ["a/b", "/", "/etc/passwd", "..\\x", "a\\b", "C:", "C:x", "../x", "..", ".", "~/../x"]
RESERVED = ["CON", "con", "nul.txt", "Com1", "LPT9.tar.gz", "aux", "PRN", "NUL .txt", "COM¹"]
CONTROL = ["a\0b", "a\nb", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u202eb", "a\u2066b"]
OTHER = ["", "   ", "\t", ".hidden", "a.", "a?", "a*b", "<a>", 'a"b', "a|b", "a\udce9", "\ud800"]


@pytest.mark.parametrize("name", [*SEPARATORS, *RESERVED, *CONTROL, *OTHER, "x" * 121, "日" * 41])
def test_a_name_that_is_no_plain_file_name_everywhere_is_refused(name):
    with pytest.raises(ProjectError) as caught:
        check_name(name, "run name")
    assert caught.value.code == "E-PROJECT-NAME"
    assert "cannot be a run name" in caught.value.what
    assert caught.value.text.encode("utf-8").isascii() or name in caught.value.what
    assert len(caught.value.text.splitlines()) == 2


@given(st.text(st.characters(exclude_categories=()), max_size=130))
@settings(deadline=None)
def test_a_name_that_is_taken_is_one_file_in_its_folder(tmp_path_factory, name):
    with contextlib.suppress(ProjectError):
        taken = check_name(name)
        folder = tmp_path_factory.mktemp("names")
        (folder / taken).write_bytes(b"")
        assert names(folder) == [taken]


# Lock

HOLD = (
    "import sys; from pathlib import Path; from sllm_core.project import Lock\n"
    "with Lock(Path(sys.argv[1]), 'training'):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/.lock until it is told or killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_a_second_process_is_refused_and_told_who_holds_the_lock(tmp_path, holder):
    lock = Lock(tmp_path / ".lock", "editing")
    assert lock.is_held()
    with pytest.raises(LockError) as caught:
        lock.acquire()
    assert caught.value.code == "E-LOCK-HELD"
    assert f"in use by training (process {holder.pid} on " in caught.value.what
    assert lock.is_held()


def test_a_lock_is_free_after_its_holder_was_killed(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / ".lock.json").exists()  # the note is stale, and that decides nothing
    lock = Lock(tmp_path / ".lock", "editing")
    assert not lock.is_held()
    with lock:
        assert f"process {os.getpid()} " in lock.holder()


def test_a_lock_is_free_after_its_holder_is_done(tmp_path, holder):
    holder.communicate("")
    assert not (tmp_path / ".lock.json").exists()
    with Lock(tmp_path / ".lock", "editing"):
        pass


def test_two_windows_of_one_process_exclude_each_other_too(tmp_path):
    first, second = (Lock(tmp_path / ".lock", job) for job in ("first", "second"))
    with first:
        assert second.is_held()
        assert not first.is_held()  # by another
        with pytest.raises(LockError, match="in use by first"):
            second.acquire()
    with second:
        assert first.is_held()


@pytest.mark.parametrize("note", [None, "", "{}", "[]", "5", "\udce9", '{"job": 1}', "[" * 100_000])
def test_a_holder_without_a_readable_note_is_still_a_holder(tmp_path, holder, note):
    path = tmp_path / ".lock.json"
    path.unlink()
    if note is not None:
        path.write_bytes(note.encode("utf-8", "surrogateescape"))
    with pytest.raises(LockError, match="in use by another window or command"):
        Lock(tmp_path / ".lock", "editing").acquire()


def test_asking_for_a_lock_makes_nothing(tmp_path):
    assert not Lock(tmp_path / "gone" / ".lock", "editing").is_held()
    assert names(tmp_path) == []


def test_two_who_only_ask_whether_a_lock_is_held_do_not_answer_each_other(tmp_path):
    path = tmp_path / ".lock"
    path.touch()
    found = []

    def ask():
        found.extend(Lock(path, "").is_held() for _ in range(300))

    asking = [threading.Thread(target=ask) for _ in range(2)]  # as many as the window has
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(found) == 600
    assert not any(found)


def test_a_lock_that_cannot_be_made_is_an_error_of_the_disk(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError):
        Lock(tmp_path / "file" / ".lock", "editing").acquire()


# Projects


@pytest.fixture
def project(tmp_path):
    return create(tmp_path / "mine", [], with_values(ProjectConfig(), {"seed": 7}))


def test_a_project_is_what_was_saved_last(project):
    assert open_project(project.root).load_config().train.seed == 7
    project.save_config(with_values(project.load_config(), {"seed": 8}))
    assert open_project(str(project.root)).load_config().train.seed == 8
    assert names(project.root) == ["config.json"]


def test_a_project_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    for name in ("here", "there", "here/texts"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    made = create("mine", ["texts", "../there"], ProjectConfig())
    opened = open_project("mine")
    monkeypatch.chdir(tmp_path / "there")
    assert made.root == opened.root == tmp_path / "here" / "mine"
    opened.save_config(with_values(made.load_config(), {"seed": 3}))
    roots = [made.source_root(source) for source in made.load_config().sources]
    assert [root.resolve() for root in roots] == [tmp_path / "here" / "texts", tmp_path / "there"]
    assert names(tmp_path / "there") == []


def test_a_source_inside_the_project_moves_with_it(tmp_path):
    (tmp_path / "mine" / "texts").mkdir(parents=True)
    made = create(tmp_path / "mine", [str(tmp_path / "mine" / "texts")], ProjectConfig())
    assert made.load_config().sources == (SourceConfig(1, "texts"),)
    moved = Project(made.root.rename(tmp_path / "moved"))
    assert moved.source_root(moved.load_config().sources[0]) == tmp_path / "moved" / "texts"


def test_a_source_is_numbered_and_kept_where_it_is(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b.txt").write_bytes(b"")
    made = create(
        tmp_path / "mine", [str(tmp_path / "a"), str(tmp_path / "b.txt")], ProjectConfig()
    )
    sources = made.load_config().sources
    assert sources == (
        SourceConfig(1, str(tmp_path / "a")),
        SourceConfig(2, str(tmp_path / "b.txt")),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_source_whose_name_is_no_text_survives_being_stored(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(path).mkdir()
    made = create(tmp_path / "mine", [path], ProjectConfig())
    assert made.source_root(made.load_config().sources[0]).is_dir()


def test_an_existing_project_is_refused_and_unchanged(project):
    before = project.config_path.read_bytes()
    with pytest.raises(ProjectError, match="E-PROJECT-EXISTS"):
        create(project.root, [], ProjectConfig())
    assert project.config_path.read_bytes() == before


def test_a_folder_that_is_no_project_is_refused_with_the_way_to_make_one(tmp_path):
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(ProjectError, match=r"sllm\.py new") as caught:
            open_project(folder)
        assert caught.value.code == "E-PROJECT-MISSING"
    assert names(tmp_path) == []


def test_a_missing_source_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(DataError, match="gone does not exist") as caught:
        create(tmp_path / "mine", [str(tmp_path), str(tmp_path / "gone")], ProjectConfig())
    assert caught.value.code == "E-DATA-SOURCE"
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["nul", "a\nb", ".hidden", "x" * 121])
def test_a_project_has_a_name_that_every_system_can_have(tmp_path, name):
    with pytest.raises(ProjectError, match="E-PROJECT-NAME"):
        create(tmp_path / name, [], ProjectConfig())
    assert names(tmp_path) == []


def test_a_place_where_no_folder_can_be_is_an_error_of_the_disk(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="E-DISK"):
        create(tmp_path / "file" / "mine", [], ProjectConfig())


GOOD = json.loads(to_json(ProjectConfig()))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "CORRUPT"),
        (b"{", "CORRUPT"),
        (to_json(ProjectConfig()).encode()[:500], "CORRUPT"),
        (b"\xff\xfe\x00", "CORRUPT"),
        (b"[" * 100_000, "CORRUPT"),
        (b'{"a":' * 100_000, "CORRUPT"),
        (b"9" * 10_000, "CORRUPT"),
        (b"[1, 2]", "CORRUPT"),
        (b"null", "CORRUPT"),
        (json.dumps({**GOOD, "model": {"dropout": float("nan")}}).encode(), "CORRUPT"),
        (json.dumps({**GOOD, "model": {"dropout": float("-inf")}}).encode(), "CORRUPT"),
        (b'{"schema_version": 1, "model": {"dropout": 1e999}}', "FIELD"),
        (b'{"schema_version": 1, "train": {"stride": ' + b"9" * 400 + b"}}", "FIELD"),
        (b'{"schema_version": 1, "train": {"stride": -1}}', "FIELD"),
        (b'{"schema_version": 1, "model": null}', "FIELD"),
        (b'{"schema_version": 1, "trian": {}}', "KEY"),
        (b'{"schema_version": 99}', "VERSION"),
    ],
)
def test_settings_that_cannot_be_read_are_refused_and_left_as_they_are(project, content, code):
    project.config_path.write_bytes(content)
    for attempt in (project.load_config, lambda: open_project(project.root)):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert caught.value.code == f"E-CFG-{code}"
        assert len(caught.value.text) < 500
    assert project.config_path.read_bytes() == content
    assert names(project.root) == ["config.json"]


def test_settings_that_are_a_folder_are_refused(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="E-CFG-CORRUPT"):
        open_project(tmp_path)


@pytest.mark.parametrize("kind", [*CODES, "short"])
def test_settings_that_cannot_be_saved_stay_as_they_were(project, arm, kind):
    arm(f"settings.save:1:{kind}")
    with pytest.raises(DiskError, match=r"config\.json was not written"):
        project.save_config(ProjectConfig())
    assert project.load_config().train.seed == 7
    assert names(project.root) == ["config.json"]


def test_everything_a_project_owns_lies_inside_it(project):
    owned = [getattr(project, name) for name in dir(Project) if name.endswith(("_dir", "_path"))]
    assert len(owned) >= 7
    assert all(path.is_relative_to(project.root) for path in [*owned, project.lock("x").path])
    assert project.relative(project.runs_dir / "1" / "log") == "runs/1/log"

"""A project is copied, renamed and thrown away whole, or not at all."""

import os
import shutil
from dataclasses import replace

import pytest

from sllm_core import faults, project
from sllm_core.errors import DiskError, LockError, ProjectError
from sllm_core.project import Lock, Project


@pytest.fixture
def made(tmp_path):
    """A project with a source inside, a checkpoint, and what a process leaves beside its files."""
    folder = tmp_path / "novel"
    (folder / "texts").mkdir(parents=True)
    made = project.create(folder, [str(folder / "texts")], project.ProjectConfig())
    for name in ("checkpoints/step_1.pt", ".lock", "runs/.data.lock", "project.db-shm"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (folder / "config.json.tmp1-0123abcd").write_bytes(b"half")
    return made


@pytest.fixture
def at_work(made):
    with Lock(made.runs_dir / ".data.lock", "a scan"):
        yield made


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_of_the_settings_still_finds_the_sources(made, tmp_path):
    copy = project.duplicate(made, tmp_path / "second")
    assert names(copy.root) == {"config.json"}
    config = copy.load_config()
    assert copy.source_root(config.sources[0]) == made.root / "texts"
    assert replace(config, sources=()) == replace(made.load_config(), sources=())


def test_a_copy_with_everything_leaves_out_locks_and_unfinished_files(made, tmp_path):
    copy = project.duplicate(made, tmp_path / "second", with_everything=True)
    assert names(copy.root) == {"config.json", "checkpoints/step_1.pt"}
    assert copy.source_root(copy.load_config().sources[0]) == copy.root / "texts"


def test_a_copy_never_lands_on_something_or_inside_the_project(made, tmp_path):
    (tmp_path / "taken").mkdir()
    for target, code in [
        (tmp_path / "taken", "E-PROJECT-EXISTS"),
        (made.root / "inside", "E-PROJECT-NAME"),
        (tmp_path / "con", "E-PROJECT-NAME"),
    ]:
        with pytest.raises(ProjectError) as caught:
            project.duplicate(made, target)
        assert caught.value.code == code


def test_a_copy_that_fails_leaves_nothing(made, tmp_path, monkeypatch):
    def full(_, target, **__):
        target.mkdir()
        (target / "half").write_bytes(b"x")
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device")])

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(DiskError) as caught:
        project.duplicate(made, tmp_path / "second", with_everything=True)
    assert caught.value.code == "E-DISK-FULL"
    assert [path.name for path in tmp_path.iterdir()] == ["novel"]


def test_a_copy_that_cannot_fit_is_refused_before_it_begins(made, tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "free_bytes", lambda _: 10)
    with pytest.raises(DiskError) as caught:
        project.duplicate(made, tmp_path / "second", with_everything=True)
    assert caught.value.code == "E-DISK-FORECAST"


def test_a_renamed_project_is_the_same_project(made):
    before = names(made.root)
    moved = project.rename(made, "second novel")
    assert moved.root.name == "second novel"
    assert not made.root.exists()
    assert names(moved.root) | {".lock"} == before | {".lock"}
    assert moved.source_root(moved.load_config().sources[0]) == moved.root / "texts"


def test_a_name_that_is_taken_or_a_path_is_refused(made, tmp_path):
    (tmp_path / "taken").mkdir()
    for name in ("taken", "../x", "a/b", "", "NUL"):
        with pytest.raises(ProjectError):
            project.rename(made, name)
    assert made.root.exists()


def test_nothing_is_moved_while_somebody_works_in_it(at_work, tmp_path):
    for action in (
        lambda: project.rename(at_work, "other"),
        lambda: project.to_trash(at_work),
        lambda: project.duplicate(at_work, tmp_path / "x", with_everything=True),
    ):
        with pytest.raises(LockError):
            action()
    assert at_work.config_path.exists()


def test_an_open_project_is_not_moved(made):
    with made.lock("a window"), pytest.raises(LockError):
        project.to_trash(made)
    assert made.config_path.exists()


@pytest.mark.skipif(os.name == "nt", reason="the trash of freedesktop.org")
def test_the_trash_keeps_the_project(made, monkeypatch, tmp_path):
    import send2trash.plat_other as trash

    monkeypatch.setattr("send2trash.send2trash", trash.send2trash)
    home = tmp_path / "Trash"
    monkeypatch.setattr(trash, "HOMETRASH", str(home))
    monkeypatch.setattr(trash, "HOMETRASH_B", os.fsencode(str(home)))
    project.to_trash(made)
    assert not made.root.exists()
    assert (home / "files" / "novel" / "config.json").exists()


def test_where_there_is_no_trash_nothing_is_removed(made, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("send2trash.send2trash", refuse)
    with pytest.raises(DiskError) as caught:
        project.to_trash(made)
    assert "could not be moved to the trash" in caught.value.text
    assert made.config_path.exists()


def test_a_folder_that_is_no_project_is_never_thrown_away(tmp_path):
    with pytest.raises(ProjectError):
        project.to_trash(Project(tmp_path))
    assert tmp_path.exists()

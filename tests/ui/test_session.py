"""The session keeps a project, its settings and its runs, whatever a person or a disk does to it."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sllm_core import messages as m
from sllm_core import project as projects
from sllm_core.config import ProjectConfig, with_values
from sllm_core.errors import ConfigError, DataError, LockError, ProjectError
from sllm_core.jobs import runs, worker
from sllm_core.jobs.channel import read_control, read_events
from sllm_core.ledger import Ledger, Row
from sllm_core.project import Project
from sllm_ui import autosave, work
from sllm_ui.events import (
    ConfigChanged,
    DataChanged,
    Notice,
    ProjectChanged,
    RunChanged,
    RunsChanged,
    TurnEnded,
)
from tests.helpers import library_of

ROOT = Path(__file__).parents[2]
TINY = {
    "d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 32, "seq_len": 32, "batch_size": 8,
    "target_vocab_size": 300, "precision": "fp32", "sample_tokens": 8, "val_windows": 4,
    "threads": 1, "micro_batch_size": 8,
}  # fmt: skip
LONG = {"max_steps": 1_000_000, "val_interval": 1_000_000, "save_interval": 1_000_000}


@pytest.fixture
def texts(tmp_path):
    """Some small files."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(12):
        lines = (f"Line {n} of text {i}: the sea was calm, {n * i} boats.\n" for n in range(40))
        (folder / f"text_{i:02d}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def quiet(desk, tmp_path, monkeypatch):
    """An open project with one source; jobs are made and never started."""
    monkeypatch.setattr(work.Runner, "start", lambda self: self, raising=False)
    root = tmp_path / "p"
    source = tmp_path / "a"
    source.mkdir()
    projects.create(root, [str(source)], ProjectConfig())
    starts = []
    monkeypatch.setattr(desk.session.work, "_follow", starts.append)
    desk.starts = starts
    desk.session.open(root)
    desk.rest()
    return desk


def stored(desk):
    """The settings on the disk, by json alone."""
    return json.loads((desk.session.project.root / "config.json").read_text(encoding="utf-8"))


def paths(desk):
    return [source.path for source in desk.session.config.sources]


def run_folders(project):
    return sorted(path.name for path in project.runs_dir.glob("2*")) if project else []


def say(run, *said):
    """What a process of a run would have written."""
    from sllm_core.jobs.channel import FolderChannel

    up = FolderChannel(run.folder)
    for message in said:
        up.emit(message)
    up.close()


def old_run(project, *said, **options):
    run = runs.new_run(project, "train", project.load_config(), **options)
    say(run, *said)
    return run


def step(number):
    return m.Step(number, 2.0, "", 0.5, 1e-3, 10 * number, number, 1, 100.0)


# -- what it imports -----------------------------------------------------------------------------


def test_the_window_can_paint_before_numpy_torch_or_a_toolkit_is_imported():
    program = (
        "import sys, sllm_ui.session, sllm_ui.shell, sllm_ui.pump, sllm_ui.actions\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'numpy', 'torch', 'tkinter', 'matplotlib', 'tokenizers', 'ttkbootstrap'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# -- projects ------------------------------------------------------------------------------------


def test_a_project_is_made_opened_and_closed(desk, tmp_path, texts):
    desk.session.create(tmp_path / "novel", [str(texts)], "")
    assert desk.session.project.root == tmp_path / "novel"
    assert desk.session.read_only == ""
    assert desk.session.settings.values.recent == (str(tmp_path / "novel"),)
    assert len(desk.of(ProjectChanged)) == 1
    desk.rest()
    assert desk.of(DataChanged)
    assert desk.of(RunsChanged)
    desk.session.close_project()
    assert desk.session.project is None
    assert (desk.session.config, desk.session.read_only) == (ProjectConfig(), "")
    assert len(desk.of(ProjectChanged)) == 2
    with Project(tmp_path / "novel").lock("another"):  # it let go
        pass


def test_the_presenters_hear_of_a_project_when_its_config_is_there(desk, tmp_path):
    seen = []
    desk.session.bus.subscribe(
        ProjectChanged, lambda _: seen.append(desk.session.config.train.max_steps)
    )
    config = with_values(ProjectConfig(), {"max_steps": 77})
    desk.session.open(projects.create(tmp_path / "p", [], config).root)
    assert seen == [77]


@pytest.mark.parametrize("damage", ["no project", "no folder", "broken", "newer"])
def test_what_cannot_be_opened_leaves_the_old_one_open(desk, tmp_path, damage):
    desk.session.create(tmp_path / "good", [])
    other = tmp_path / "other"
    if damage != "no folder":
        other.mkdir()
    text = {"broken": "{", "newer": '{"format_version": 999}'}.get(damage)
    if text:
        (other / "config.json").write_text(text)
    with pytest.raises((ProjectError, ConfigError)):
        desk.session.open(other)
    assert desk.session.project.root == tmp_path / "good"
    assert desk.session.read_only == ""
    assert desk.session.settings.values.recent == (str(tmp_path / "good"),)
    with pytest.raises(LockError):
        Project(tmp_path / "good").lock("another").acquire()


def test_a_second_window_looks_on_and_may_edit_when_the_first_has_gone(make_desk, tmp_path):
    first, second = make_desk(), make_desk()
    first.session.create(tmp_path / "p", [])
    second.session.open(tmp_path / "p")
    assert "in use by the window" in second.session.read_only
    assert not second.session.retry_lock()
    first.session.change({"max_steps": 123})
    first.session.close()
    n = len(second.of(ProjectChanged))
    assert second.session.retry_lock()
    assert second.session.read_only == ""
    assert second.session.config.train.max_steps == 123  # what the other one changed is here
    assert len(second.of(ProjectChanged)) == n + 1


def test_a_second_window_changes_nothing_on_the_disk(make_desk, tmp_path, texts):
    first, second = make_desk(), make_desk()
    first.session.create(tmp_path / "p", [str(texts)])
    run = old_run(first.session.project, m.Started("x", "train", 1), step(1), m.Done(1))
    second.session.open(tmp_path / "p")
    second.rest()
    s = second.session
    before = {path: path.read_bytes() for path in (tmp_path / "p").rglob("*") if path.is_file()}
    s.change({"max_steps": 5})
    s.sources.remove(1)
    s.work.scan()
    s.work.prepare()
    assert not s.work.start_training()
    assert not s.work.resume()
    s.work.enqueue()
    s.archive.label_run(run.id, name="mine")
    s.archive.delete_run(run.id, with_checkpoints=True)
    s.archive.pin("a.pt", True)
    s.archive.delete_checkpoint("a.pt")
    for action in (lambda: s.rename_project("q"), s.delete_project):
        with pytest.raises(LockError, match="in use by"):
            action()
    time.sleep(autosave.SAVE_AFTER_S + 0.05)
    second.rest()
    s.close()
    assert before == {p: p.read_bytes() for p in (tmp_path / "p").rglob("*") if p.is_file()}
    titles = [title for kind, title, _ in second.notices() if kind == "warn"]
    assert {"Training cannot start", "The run cannot go on now", "The run cannot be queued"} <= set(
        titles
    )
    assert all("in use by" in text for kind, _, text in second.notices() if kind == "warn")


def test_a_place_that_cannot_be_locked_is_shown_read_only(desk, tmp_path):
    root = projects.create(tmp_path / "p", [], ProjectConfig()).root
    (root / ".lock").mkdir()  # as a disk that refuses to write does
    desk.session.open(root)
    assert desk.session.read_only
    assert desk.session.project.root == root
    desk.session.change({"max_steps": 5})
    desk.session.autosave.save_now()
    assert (
        "max_steps" not in stored(desk).get("train", {}) or stored(desk)["train"]["max_steps"] != 5
    )


def test_a_renamed_project_stays_open_under_its_new_name(desk, tmp_path):
    desk.session.create(tmp_path / "old", [])
    desk.session.change({"max_steps": 9})
    desk.session.rename_project("new")
    assert desk.session.project.root == tmp_path / "new"
    assert desk.session.config.train.max_steps == 9
    assert desk.session.settings.values.recent == (str(tmp_path / "new"),)
    (tmp_path / "taken").mkdir()
    with pytest.raises(ProjectError):
        desk.session.rename_project("taken")
    assert desk.session.project.root == tmp_path / "new"
    assert desk.session.read_only == ""


def test_a_project_goes_to_the_trash_or_stays_open(desk, tmp_path, monkeypatch):
    desk.session.create(tmp_path / "p", [])
    gone = []

    def refuse(_):
        raise PermissionError(13, "no trash")

    monkeypatch.setattr("send2trash.send2trash", refuse)
    with pytest.raises(Exception, match="could not be moved"):
        desk.session.delete_project()
    assert desk.session.project.root == tmp_path / "p"
    monkeypatch.setattr("send2trash.send2trash", gone.append)
    desk.session.delete_project()
    assert gone == [str(tmp_path / "p")]
    assert desk.session.project is None
    assert desk.session.settings.values.recent == ()
    assert desk.notices()[-1][:2] == ("good", "Moved to the trash")


def test_copies_are_opened_and_hold_what_was_just_typed(desk, tmp_path):
    desk.session.create(tmp_path / "p", [])
    old_run(desk.session.project, m.Started("x", "train", 1), m.Done(1))
    for name, is_whole in (("settings only", False), ("whole", True)):
        desk.session.change({"max_steps": 41 + is_whole})
        desk.session.copy_project(tmp_path / name, with_everything=is_whole)
        desk.until(lambda name=name: desk.session.project.root == tmp_path / name)
        assert desk.session.config.train.max_steps == 41 + is_whole
        desk.session.open(tmp_path / "p")
    assert not (tmp_path / "settings only" / "runs").exists()
    assert run_folders(Project(tmp_path / "whole")) == run_folders(desk.session.project)


def test_a_copy_that_fails_is_said_and_the_project_stays(desk, tmp_path):
    desk.session.create(tmp_path / "p", [])
    (tmp_path / "taken").mkdir()
    desk.session.copy_project(tmp_path / "taken", with_everything=True)
    desk.until(lambda: desk.notices()[-1][0] == "bad")
    assert "E-PROJECT-EXISTS" in desk.notices()[-1][2]
    assert desk.session.project.root == tmp_path / "p"


def test_a_free_folder_is_one_that_is_not_there(desk, tmp_path):
    desk.session.settings.change(projects_dir=str(tmp_path))
    assert desk.session.free_folder("A novel") == tmp_path / "A novel"
    (tmp_path / "A novel").mkdir()
    assert desk.session.free_folder("A novel") == tmp_path / "A novel 2"
    for name in ("../etc/x", "a/b", "", "...", "tab\there"):
        folder = desk.session.free_folder(name)
        assert folder.parent == tmp_path
        projects.check_name(folder.name)


# -- settings ------------------------------------------------------------------------------------


def test_settings_are_stored_a_moment_after_the_last_edit(desk, tmp_path):
    desk.session.create(tmp_path / "p", [])
    for value in (5, 6, 7):
        desk.session.change({"max_steps": value})
        desk.turn()
    assert stored(desk)["train"].get("max_steps") != 7
    assert len(desk.of(ConfigChanged)) == 3
    desk.session.change({"max_steps": 7})  # nothing new
    assert len(desk.of(ConfigChanged)) == 3
    desk.until(lambda: stored(desk)["train"].get("max_steps") == 7)


def test_settings_are_not_lost_by_closing(desk, tmp_path):
    desk.session.create(tmp_path / "p", [])
    desk.session.change({"max_steps": 11})
    desk.session.close_project()
    assert Project(tmp_path / "p").load_config().train.max_steps == 11
    desk.session.open(tmp_path / "p")
    desk.session.change({"max_steps": 12})
    desk.session.create(tmp_path / "q", [])  # another project takes its place
    assert Project(tmp_path / "p").load_config().train.max_steps == 12
    desk.session.change({"max_steps": 13})
    desk.session.close()
    assert Project(tmp_path / "q").load_config().train.max_steps == 13


@pytest.fixture
def busy_pool(desk):
    """Both threads for file work are held up until the test lets them go."""
    gate = threading.Event()
    for number in range(2):
        desk.session.task(f"slow {number}", gate.wait, 20, then=lambda _: None)
    yield gate
    gate.set()


def begin_to_store(desk, value):
    """Change a value; its storing is asked for and waits for a thread."""
    desk.session.change({"max_steps": value})
    time.sleep(autosave.SAVE_AFTER_S + 0.01)
    desk.session.tick()


def test_settings_that_wait_for_a_thread_are_not_lost_by_closing(desk, tmp_path, request):
    desk.session.create(tmp_path / "p", [])
    desk.rest()
    request.getfixturevalue("busy_pool")
    begin_to_store(desk, 21)
    desk.session.close()
    assert Project(tmp_path / "p").load_config().train.max_steps == 21


def test_older_settings_never_come_last(desk, tmp_path, request, monkeypatch):
    desk.session.create(tmp_path / "p", [])
    desk.rest()
    gate = request.getfixturevalue("busy_pool")
    begin_to_store(desk, 31)
    desk.session.change({"max_steps": 32})
    desk.session.autosave.save_now()
    gate.set()
    desk.rest()
    assert stored(desk)["train"]["max_steps"] == 32

    real, started = Project.save_config, threading.Event()

    def slow(self, config):  # this one has begun when the newer one comes
        if threading.current_thread() is not threading.main_thread():
            started.set()
            time.sleep(0.2)
        real(self, config)

    monkeypatch.setattr(Project, "save_config", slow)
    begin_to_store(desk, 33)
    assert started.wait(5)
    desk.session.change({"max_steps": 34})
    desk.session.autosave.save_now()
    time.sleep(0.25)
    desk.rest()
    assert stored(desk)["train"]["max_steps"] == 34


def test_a_disk_that_refuses_is_told_once_and_the_values_are_stored_when_it_is_well(
    desk, tmp_path, arm, monkeypatch
):
    monkeypatch.setattr(autosave, "SAVE_AGAIN_S", 0.05)
    desk.session.create(tmp_path / "p", [])
    desk.rest()
    arm("settings.save:1+:enospc")
    desk.session.change({"max_steps": 51})
    desk.until(desk.notices)
    desk.session.change({"max_steps": 52})
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        desk.turn(0.05)
    assert [(kind, title) for kind, title, _ in desk.notices()] == [
        ("bad", "The settings were not stored")
    ]
    assert "E-DISK-FULL" in desk.notices()[0][2]
    assert desk.session.config.train.max_steps == 52
    assert stored(desk)["train"].get("max_steps") != 52
    arm("")
    desk.until(lambda: stored(desk)["train"].get("max_steps") == 52)
    arm("settings.save:1:eio")  # a new trouble is news again
    desk.session.change({"max_steps": 53})
    desk.session.autosave.save_now()
    assert len(desk.notices()) == 2
    desk.until(lambda: stored(desk)["train"].get("max_steps") == 53)


def test_a_value_that_cannot_be_changes_nothing(quiet):
    before = quiet.session.config
    with pytest.raises(ConfigError):
        quiet.session.change({"max_steps": 5, "d_model": -3})
    assert quiet.session.config is before
    assert not quiet.of(ConfigChanged)


def test_the_settings_of_another_run_leave_the_sources_alone(quiet):
    other = with_values(ProjectConfig(), {"d_model": 96})
    quiet.session.replace_config(other)
    assert quiet.session.config.model.d_model == 96
    assert len(quiet.session.config.sources) == 1


# -- sources -------------------------------------------------------------------------------------


def test_sources_are_added_once_and_scanned(quiet, tmp_path, monkeypatch):
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "one.txt").write_text("x")
    a, b, c, file = (str(tmp_path / name) for name in ("a", "b", "c", "one.txt"))
    assert quiet.session.sources.add([c, b, c, f"{b}/", a, f"{tmp_path}/c/../b", file]) == 3
    assert paths(quiet) == [a, c, b, file]
    assert [source.id for source in quiet.session.config.sources] == [1, 2, 3, 4]
    assert quiet.session.data_job.kind == "scan"
    assert quiet.session.sources.add([a, b]) == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    assert quiet.session.sources.add(["~/b"]) == 0


def test_a_source_that_is_not_there_adds_none(quiet, tmp_path):
    (tmp_path / "b").mkdir()
    before = quiet.session.config
    with pytest.raises(DataError):
        quiet.session.sources.add([str(tmp_path / "b"), str(tmp_path / "missing")])
    assert quiet.session.config is before
    assert quiet.session.data_job is None


def test_a_source_that_was_removed_comes_back_as_it_was(quiet, tmp_path):
    (tmp_path / "b").mkdir()
    quiet.session.sources.add([str(tmp_path / "b")])
    quiet.session.sources.change(1, is_on=False, exclude=("*.md",))
    before = quiet.session.config.sources
    removed = quiet.session.sources.remove(1)
    assert paths(quiet) == [str(tmp_path / "b")]
    quiet.session.sources.restore(removed)
    assert quiet.session.config.sources == before
    quiet.session.sources.restore(removed)  # twice is once
    assert quiet.session.config.sources == before
    assert quiet.session.sources.remove(99) is None


def test_undo_takes_nothing_away_from_what_was_added_meanwhile(quiet, tmp_path):
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
    a, b, c = (str(tmp_path / name) for name in "abc")
    quiet.session.sources.add([b])
    removed = quiet.session.sources.remove(2)
    quiet.session.sources.add([c])
    quiet.session.sources.restore(removed)
    assert sorted(paths(quiet)) == [a, b, c]
    ids = [source.id for source in quiet.session.config.sources]
    assert len(set(ids)) == 3
    removed = quiet.session.sources.remove(1)
    quiet.session.sources.add([a])  # the same one again, by hand
    quiet.session.sources.restore(removed)
    assert sorted(paths(quiet)) == [a, b, c]


# -- wrong things at wrong times -----------------------------------------------------------------


def live(desk, state="running"):
    """A run that is on, as far as the session knows."""
    run = runs.new_run(desk.session.project, "train", desk.session.config)
    desk.session.now.run = work.RunState(run.id, "train")
    desk.session.run.state = state
    return run


def test_without_a_project_nothing_can_be_begun(desk):
    s = desk.session
    assert not s.work.start_training()
    assert not s.work.resume()
    for action in (s.work.scan, s.work.prepare, s.work.enqueue, s.work.pause, s.work.stop, s.work.save_now, s.work.stop_data_job,
                   s.work.refresh_data, s.archive.refresh, s.autosave.save_now, s.tick, s.work.start_next_queued,
                   s.close_project):  # fmt: skip
        action()
    s.work.change_live({"keep_last": 3})
    s.copy_project(Path("/nowhere"), with_everything=True)
    for action in (lambda: s.rename_project("x"), s.delete_project):
        with pytest.raises(ProjectError):
            action()
    assert [title for _, title, _ in desk.notices()] == [
        "Training cannot start", "The run cannot go on now", "The run cannot be queued",
    ]  # fmt: skip
    assert all(kind == "warn" and text for kind, _, text in desk.notices())


def test_a_run_needs_a_source_that_is_on(quiet):
    quiet.session.sources.change(1, is_on=False)
    quiet.session.now.data_job = None
    assert not quiet.session.work.start_training()
    assert "Add a folder" in quiet.notices()[-1][2]
    assert not [name for name in run_folders(quiet.session.project) if "train" in name]


def test_a_run_is_not_begun_twice(quiet):
    assert quiet.session.work.start_training()
    first = run_folders(quiet.session.project)
    for begin in (quiet.session.work.start_training, quiet.session.work.resume):
        assert not begin()
        assert quiet.notices()[-1][::2] == ("warn", "A run is on.")
    assert run_folders(quiet.session.project) == first
    assert len(quiet.starts) == 1


def test_nothing_usable_is_no_start(quiet):
    quiet.session.now.facts = replace(quiet.session.facts, is_scanned=True, used=0)
    assert not quiet.session.work.start_training()
    assert "None of the listed files" in quiet.notices()[-1][2]


def test_there_must_be_a_run_to_go_on_with(quiet):
    assert not quiet.session.work.resume()
    assert quiet.notices()[-1][:2] == ("bad", "There is no run to go on with")
    assert not quiet.session.work.resume("20260101-000000-train-none")
    assert quiet.session.run is None
    broken = runs.new_run(quiet.session.project, "train", quiet.session.config)
    (broken.folder / "run.json").write_text('{"config": {"format_version": 999}}')
    assert not quiet.session.work.resume(broken.id)
    assert quiet.session.run is None


def test_while_a_run_is_on_the_project_stays_where_it_is(quiet, tmp_path):
    run = live(quiet)
    for action in (lambda: quiet.session.rename_project("q"), quiet.session.delete_project):
        with pytest.raises(LockError, match="A run is on"):
            action()
    assert quiet.session.project.root == tmp_path / "p"
    quiet.session.archive.delete_run(run.id, with_checkpoints=True)
    assert quiet.notices()[-1][:2] == ("warn", "The run is on")
    assert quiet.session.run.id == run.id
    assert runs.open_run(quiet.session.project, run.id) == run


def test_a_run_of_another_process_is_not_deleted(quiet):
    run = old_run(quiet.session.project, m.Started("x", "train", 1), step(1))
    with run.lock():
        quiet.session.archive.delete_run(run.id, with_checkpoints=True)
        assert quiet.notices()[-1][1] == "The run is on"
    quiet.session.archive.delete_run("20260101-000000-train-none", with_checkpoints=True)
    assert quiet.notices()[-1][:2] == ("bad", "The run was not deleted")
    quiet.session.archive.delete_run(run.id, with_checkpoints=True)
    quiet.until(lambda: not run.folder.exists())


def test_a_deleted_run_is_no_longer_in_view(quiet):
    run = old_run(quiet.session.project, m.Started("x", "train", 1), step(1), m.Done(1))
    quiet.session.open(quiet.session.project.root)
    quiet.until(lambda: quiet.session.run)
    quiet.session.archive.delete_run(run.id, with_checkpoints=False)
    quiet.until(lambda: quiet.session.run is None)
    quiet.until(lambda: quiet.session.archive.runs == ())


def test_a_disk_that_refuses_a_run_folder_is_said(quiet, arm):
    arm("settings.save:1+:enospc")
    s = quiet.session
    assert not s.work.start_training()
    s.work.enqueue()
    s.work.scan()
    assert [title for _, title, _ in quiet.notices()] == [
        "The run could not be started", "The run could not be queued",
        "The job could not be started",
    ]  # fmt: skip
    assert (s.run, s.data_job) == (None, None)


def test_a_worker_that_cannot_be_started_is_a_failed_run(desk, tmp_path, texts, monkeypatch):
    desk.session.create(tmp_path / "p", [str(texts)])
    desk.rest()

    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    desk.session.work.start_training()
    assert desk.session.run.state == "failed"
    assert desk.notices()[-1][:2] == ("bad", "The worker could not be started")
    request = desk.session.pipes.look(count="text")
    desk.rest()
    failed = desk.told(m.Failed)[-1]
    assert (failed.code, failed.request) == ("E-WORKER-DIED", request)


# -- runs that wait ------------------------------------------------------------------------------


def test_the_next_run_starts_when_the_present_one_is_done(quiet):
    s = quiet.session
    assert s.work.start_training()
    now = s.run.id
    for steps in (11, 12):
        s.change({"max_steps": steps})
        s.work.enqueue()
    quiet.until(lambda: [info.state for info in s.archive.runs].count("queued") == 2)
    assert quiet.notices()[-1][:2] == ("good", "Queued")
    waiting = [name for name in run_folders(s.project) if "train" in name and name != now]
    assert len(quiet.starts) == 1
    s.change({"max_steps": 99})  # later edits are not theirs
    for name, message, next_id in (
        (now, m.Done(3), waiting[0]), (waiting[0], m.Failed("E-X", "x"), waiting[1]),
    ):  # fmt: skip
        say(runs.open_run(s.project, name), m.Started(name, "train", 1), message)
        quiet.inbox.put((name, message, 1.0))
        quiet.until(lambda next_id=next_id: s.run.id == next_id)
        quiet.rest()
    assert len(quiet.starts) == 3
    assert [runs.open_run(s.project, name).config.train.max_steps for name in waiting] == [11, 12]


def test_who_stops_a_run_does_not_start_the_next_one(quiet):
    s = quiet.session
    s.work.start_training()
    now = s.run.id
    s.work.enqueue()
    say(runs.open_run(s.project, now), m.Started(now, "train", 1), m.Stopped(3, "a.pt", "by you"))
    quiet.inbox.put((now, m.Stopped(3, "a.pt", "by you"), 1.0))
    quiet.rest()
    assert (s.run.id, s.run.state, len(quiet.starts)) == (now, "stopped", 1)


def test_a_run_that_is_queued_when_nothing_is_on_starts_at_once(quiet):
    quiet.session.work.enqueue()
    quiet.until(lambda: quiet.starts)
    assert quiet.session.run.state == "starting"


# -- runs that are there -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "state", "title"),
    [
        ([step(1), m.Done(1)], "done", ""),
        ([step(1), m.Stopped(1, "a.pt", "by you")], "stopped", ""),
        ([step(1), m.Failed("E-X", "x")], "failed", ""),
        ([step(1)], "interrupted", "The last run was interrupted at step 1"),
    ],
)
def test_the_last_run_is_shown_as_it_ended(desk, tmp_path, said, state, title):
    made = projects.create(tmp_path / "p", [], ProjectConfig())
    run = old_run(made, m.Started("x", "train", 1), *said)
    desk.session.open(made.root)
    desk.until(lambda: desk.session.run)
    assert (desk.session.run.id, desk.session.run.state) == (run.id, state)
    assert [notice[1] for notice in desk.notices()] == ([title] if title else [])
    assert not desk.session.is_training
    desk.until(lambda: desk.session.archive.runs)
    assert [(info.run, info.state) for info in desk.session.archive.runs] == [(run.id, state)]


def test_one_that_waits_or_cannot_be_read_does_not_hide_the_last_run(desk, tmp_path):
    made = projects.create(tmp_path / "p", [], ProjectConfig())
    run = old_run(made, m.Started("x", "train", 1), step(3), m.Done(3))
    queued = old_run(made, queued=True)
    for text in ("{", '{"config": {"format_version": 999}}'):
        broken = runs.new_run(made, "train", ProjectConfig())
        (broken.folder / "run.json").write_text(text)
    desk.session.open(made.root)
    desk.until(lambda: desk.session.run)
    assert desk.session.run.id == run.id
    desk.until(lambda: desk.session.archive.runs)
    states = [(info.run, info.state) for info in desk.session.archive.runs]
    assert states == [(queued.id, "queued"), (run.id, "done")]
    assert [title for _, title, _ in desk.notices()] == ["A run is waiting"]


def test_the_story_of_any_run_can_be_read_while_another_one_begins_to_go_on(quiet):
    s, story = quiet.session, []
    run = old_run(s.project, m.Started("x", "train", 1), step(1), step(2), m.Done(2))
    s.work.resume(run.id)
    s.archive.load_past(run.id, lambda past, found: story.append((past, found)))
    quiet.until(lambda: story and quiet.starts)
    assert (story[0][0].curve.n, story[0][0].state, story[0][1].id) == (2, "done", run.id)
    assert (s.run.id, s.run.state, s.run.step.step) == (run.id, "starting", 2)


def test_labels_pins_and_deletions_reach_the_lists(quiet):
    s = quiet.session
    run = old_run(s.project, m.Started("x", "train", 1), step(1), m.Done(1))
    ledger = Ledger(s.project)
    (s.project.checkpoints_dir).mkdir()
    for name in ("a.pt", "b.pt"):
        ledger.put(Row(name, "0", 1, 1, 1, 1, run.id))
        (s.project.checkpoints_dir / name).write_bytes(b"x")
    s.archive.label_run(run.id, name="first try", is_pinned=True)
    quiet.until(
        lambda: (
            s.archive.runs and s.archive.runs[0].name == "first try" and s.archive.runs[0].is_pinned
        )
    )
    s.archive.pin("a.pt", True)
    s.archive.delete_checkpoint("b.pt")
    quiet.until(
        lambda: [(row.file, row.roles) for row in s.archive.checkpoints] == [("a.pt", ("pinned",))]
    )
    assert not (s.project.checkpoints_dir / "b.pt").exists()
    s.archive.verify(s.archive.checkpoints[0])
    quiet.until(lambda: [n for n in quiet.notices() if "a.pt is damaged" in n[1]])
    s.archive.pin("none.pt", True)
    quiet.until(lambda: [n for n in quiet.notices() if "E-CKPT-MISSING" in n[2]])
    s.archive.want("a.pt")
    assert s.archive.wanted == "a.pt"


# -- the queue of the window ---------------------------------------------------------------------


def test_what_changed_is_told_once_a_turn_and_in_the_order_it_came(quiet):
    run = live(quiet, "starting")
    quiet.heard.clear()
    for number in range(1, 200):
        quiet.inbox.put((run.id, step(number), float(number)))
    quiet.inbox.put(("a run of yesterday", step(7), 1.0))
    quiet.turn()
    assert quiet.session.run.curve["step"].tolist() == list(range(1, 200))
    assert len(quiet.of(RunChanged)) == 1
    assert isinstance(quiet.heard[-1], TurnEnded)
    quiet.heard.clear()
    quiet.inbox.put(("wake", None, 0.0))
    quiet.turn()
    assert not quiet.of(RunChanged)


def test_results_of_a_project_that_was_closed_are_not_shown_in_the_next(desk, tmp_path):
    first = projects.create(tmp_path / "p", [], ProjectConfig())
    old_run(first, m.Started("x", "train", 1), step(1), m.Done(1))
    second = projects.create(tmp_path / "q", [], ProjectConfig())
    desk.session.open(first.root)  # its lists are being read now
    desk.session.open(second.root)
    desk.rest()
    assert (desk.session.run, desk.session.archive.runs) == (None, ())
    assert desk.notices() == []


def test_a_newer_question_makes_the_older_answer_go_unused(desk):
    answers, gate = [], threading.Event()
    desk.session.task("ask", gate.wait, 5, then=lambda _: answers.append("old"))
    desk.session.task("ask", str, "new", then=answers.append)
    desk.until(lambda: answers)
    gate.set()
    desk.rest()
    assert answers == ["new"]


def test_an_error_behind_an_answer_is_said_in_words(desk):
    def fail(_):
        raise DataError("EMPTY", "There is nothing.")

    desk.session.task("ask", str, "x", then=fail)
    desk.until(lambda: desk.of(Notice))
    assert "There is nothing." in desk.notices()[0][2]
    desk.session.task("ask", int, "no number", then=fail)
    desk.until(lambda: len(desk.of(Notice)) == 2)
    assert "no number" not in desk.notices()[1][2]  # a fault of ours: its words are in the log


# -- with real workers ---------------------------------------------------------------------------


@pytest.mark.slow  # the same way is gone in the real window, tests/gui/test_story.py
@pytest.mark.timeout(150)  # three to five processes on a machine that may be busy
def test_from_a_folder_of_text_to_a_model_that_writes(make_desk, tmp_path, texts):
    desk = make_desk()
    s = desk.session
    s.create(tmp_path / "p", [])
    s.change({**TINY, **LONG})
    assert s.sources.add([str(texts)]) == 1
    desk.until(lambda: s.facts.is_scanned and not s.is_working)
    assert (s.facts.used, s.data_job.state) == (12, "done")
    assert s.data_job.scanned.used == 12
    s.work.prepare()
    assert s.is_on_data
    s.work.scan()  # one at a time
    assert s.data_job.kind == "prepare"
    desk.until(lambda: s.facts.tokens and not s.is_working)
    assert s.facts.vocab_size == library_of(s.project.tokenizer_dir).get_vocab_size()
    assert desk.notices()[-1][1] == "The data is prepared"

    s.work.scan()
    assert s.work.start_training()  # the run does what the scan would have done
    desk.until(lambda: s.run.step)
    assert s.data_job.state in {"stopped", "done"}
    s.work.pause()
    desk.until(lambda: s.run.state == "paused")
    desk.until(lambda: s.archive.checkpoints)
    paused_at = s.run.step.step
    assert s.archive.checkpoints[0].step == paused_at
    request = s.pipes.write(
        "the sea", s.archive.checkpoints[0].file, replace(s.config.sampling, max_new_tokens=5), 1
    )
    found = desk.until(lambda: desk.told(m.Generated))[0]
    assert (found.request, found.prompt, found.n_tokens <= 5) == (request, "the sea", True)
    assert s.run.step.step == paused_at
    s.work.pause()
    desk.until(lambda: s.run.step.step > paused_at)
    s.work.save_now()
    desk.until(lambda: len(s.run.saved) > 1)
    s.work.stop()
    assert s.run.state == "stopping"
    desk.until(lambda: s.run.state == "stopped")
    last = s.run.step.step
    desk.until(lambda: s.archive.checkpoints[0].step == last)
    assert desk.notices()[-1][1] == f"Stopped at step {last:,}"
    run, curve = s.run.id, s.run.curve["loss"].tolist()
    assert len(curve) == last
    s.close()

    again = make_desk()
    again.session.open(tmp_path / "p")
    again.until(lambda: again.session.run)
    shown = again.session.run
    assert (shown.id, shown.state, shown.step.step) == (run, "stopped", last)
    assert shown.curve["loss"].tolist() == curve


@pytest.mark.slow
@pytest.mark.timeout(150)  # three to five processes on a machine that may be busy
def test_a_killed_run_goes_on_to_the_same_numbers_whatever_windows_do(
    project, make_desk, monkeypatch
):
    first, second, third = make_desk(), make_desk(), make_desk()
    s, watcher = first.session, second.session
    s.open(project.root)
    s.change({"max_steps": 60, "save_interval": 10, "threads": 1})
    monkeypatch.setenv("SLLM_FAULT", "step.forward:47:kill")  # two a step: in the 24th
    assert s.work.start_training()
    monkeypatch.delenv("SLLM_FAULT")
    first.until(lambda: s.run.state == "running")
    s.work.pause()  # before its first step
    assert s.run.is_pausing  # said at once, before the worker answers
    first.until(lambda: s.run.state == "paused")
    run = runs.open_run(project, s.run.id)
    assert run.config == s.config  # typed a moment before the start, and stored

    watcher.open(project.root)
    second.until(lambda: watcher.run)
    assert (watcher.run.id, watcher.run.state) == (run.id, "paused")
    assert watcher.read_only
    second.until(second.notices)
    assert second.notices()[-1][1] == "A run is on"
    for action in (
        watcher.work.pause, watcher.work.stop, watcher.work.save_now,
        lambda: watcher.work.change_live({"keep_last": 9}),
    ):  # fmt: skip
        before = read_control(run.folder)
        action()
        assert second.notices()[-1][1] == "This window only looks on"
        assert read_control(run.folder) == before
    assert watcher.run.state == "paused"

    s.work.pause()
    first.until(lambda: s.run.state == "interrupted")
    end = s.run.end
    assert (end.code, end.signal) == ("E-WORKER-DIED", "SIGKILL")
    assert "most likely for memory" in end.text
    assert any("fault: kill" in line for line in end.last_lines)
    assert s.run.log[-1].level == "error"
    assert s.run.step.step == 23
    assert not s.is_working
    assert first.notices()[-1][:2] == ("warn", "The run was interrupted at step 23")
    second.until(lambda: watcher.run.state == "interrupted")
    first.until(lambda: s.archive.runs and s.archive.runs[0].state == "interrupted")
    assert watcher.run.curve["loss"].tolist() == s.run.curve["loss"].tolist()

    assert s.work.resume()
    assert s.is_training
    first.until(lambda: s.run.state == "running")
    s.close()  # the run outlives its window
    third.session.open(project.root)
    third.until(lambda: third.session.run)
    assert third.session.is_training
    assert third.session.read_only == ""
    third.until(lambda: third.session.run.state == "done")
    shown = third.session.run
    assert shown.curve["step"].tolist() == list(range(1, 61))
    assert m.Resumed(20, "checkpoints/step_20.pt") in [x for x, _ in read_events(run.folder)[0]]
    third.until(
        lambda: third.session.archive.runs and third.session.archive.runs[0].state == "done"
    )

    plain = runs.new_run(project, "train", run.config)
    last, _ = worker.run_job(plain)
    hexes = [
        {x.step: x.loss_hex for x, _ in read_events(folder)[0] if isinstance(x, m.Step)}
        for folder in (run.folder, plain.folder)
    ]
    assert hexes[0] == hexes[1]
    assert len(hexes[0]) == 60
    assert shown.end.weights_sha256 == last.weights_sha256

"""Run folders sort by the order they were made in, and locks tell who is alive."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from sllm_core import faults
from sllm_core.config import DataConfig, ProjectConfig, SourceConfig, with_values
from sllm_core.errors import LockError, ProjectError, RunError
from sllm_core.jobs import runs
from sllm_core.jobs.channel import FolderChannel
from sllm_core.jobs.runs import Label
from sllm_core.ledger import Ledger, Row
from sllm_core.messages import Done, Failed, Plan, Resumed, Started, Step, Stopped, Validation
from sllm_core.project import Project
from tests.training_helpers import ROOT


@pytest.fixture
def empty(tmp_path):
    return Project(tmp_path)


def new(project, kind="train"):
    return runs.new_run(project, kind, ProjectConfig(), why="test")


def test_a_run_comes_back_as_it_was_saved(empty):
    made = new(empty)
    again = runs.open_run(empty, made.id)
    assert again == made
    assert again.options == {"why": "test"}
    assert again.provenance["libraries"]["torch"]


def test_run_names_sort_in_the_order_of_making_within_a_second(empty):
    made = [new(empty).id for _ in range(8)]
    assert made == sorted(made)
    assert runs.last_run(empty).id == made[-1]


@pytest.mark.parametrize("jump_s", [-10 * 365 * 86400, -3600, 10 * 365 * 86400])
def test_the_last_run_is_the_last_made_whatever_the_clock_does(empty, monkeypatch, jump_s):
    first = new(empty)
    real = time.localtime
    monkeypatch.setattr(
        time, "strftime", lambda form, when=None, old=time.strftime: old(
            form, when or real(time.time() + jump_s)
        )
    )  # fmt: skip
    second = new(empty)
    monkeypatch.undo()
    third = new(empty)
    assert [first.id, second.id, third.id] == runs.run_ids(empty)


def test_strange_folders_beside_the_runs_are_no_runs(empty):
    for name in ("zzz", "99999999-999999-train-x", ".hidden"):
        (empty.root / "runs" / name).mkdir(parents=True)
        (empty.root / "runs" / name / "run.json").write_text("{}")
    made = new(empty)
    assert runs.open_run(empty, made.id) == made


def test_only_the_last_scans_and_preparations_are_kept(empty):
    kept = new(empty, "train")
    for _ in range(9):
        new(empty, "scan")
    assert len(runs.run_ids(empty, "scan")) == runs.KEEP_DATA_RUNS
    assert runs.run_ids(empty, "train") == [kept.id]


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "nope", ".lock"])
def test_a_name_that_is_no_run_is_refused(empty, name):
    with pytest.raises((RunError, ProjectError)) as caught:
        runs.open_run(empty, name)
    assert caught.value.code in {"E-RUN-MISSING", "E-PROJECT-NAME"}


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"config": 3}', "[" * 99999])
def test_a_broken_run_file_is_a_message(empty, body):
    made = new(empty)
    (made.folder / "run.json").write_text(body)
    with pytest.raises(Exception, match=r"E-(RUN-MISSING|CFG-)") as caught:
        runs.open_run(empty, made.id)
    assert len(caught.value.text.splitlines()) <= 3


def test_no_run_at_all_is_said(empty):
    with pytest.raises(RunError, match="no run to resume"):
        runs.last_run(empty)


def test_who_is_alive_is_told_by_the_lock_and_ends_with_the_process(empty):
    made = new(empty)
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom sllm_core.project import Lock\n"
        "lock = Lock(Path(sys.argv[1]), 'train run x').acquire()\nprint('held', flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(made.folder / ".lock")]
    assert not runs.is_alive(made)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        assert runs.is_alive(made)
        with pytest.raises(LockError, match=f"train run x.*{child.pid}"):
            made.lock().acquire()
        child.kill()
    assert not runs.is_alive(made)
    made.lock().acquire().release()


def test_two_trainings_share_one_lane_and_data_work_has_its_own(empty):
    first, second = new(empty), new(empty)
    with first.lane_lock():
        with pytest.raises(LockError):
            second.lane_lock().acquire()
        with new(empty, "scan").lane_lock():
            pass


def test_a_run_in_one_line(empty):
    step = Step(3, 1.0, "0x1p+0", 1.0, 1e-3, 30, 3, 1, None)
    for last, state in (
        (None, "interrupted"),
        (Done(3, elapsed_s=4.0), "done"),
        (Stopped(3, "a", "b"), "stopped"),
        (Failed("E-USAGE", "x"), "failed"),
        (Resumed(1, "a"), "interrupted"),
    ):
        made = new(empty)
        up = FolderChannel(made.folder)
        for message in (
            Started(made.id, "train", os.getpid()),
            Plan(0, 9, 1, ""),
            Validation(2, 1, 2.0, 7.4, 1.1, True, 10),
            Validation(3, 1, 2.5, 9.0, 1.2, False, 10),
            step,
            *([last] if last else []),
        ):
            up.emit(message)
        up.close()
        info = runs.summarize(made)
        assert info.state == state
        assert info.total_steps == 9
        resumed = isinstance(last, Resumed)  # at step 1: both validations are superseded
        assert (info.best_val_loss, info.val_bpb) == ((None, None) if resumed else (2.0, 1.1))


def say(run, *said):
    up = FolderChannel(run.folder)
    for message in said:
        up.emit(message)
    up.close()


def test_the_line_of_a_run_has_its_size_its_pace_and_its_beginning(empty, monkeypatch):
    made = new(empty)
    assert runs.summarize(made).started is None
    monkeypatch.setattr(faults, "_clock_shift", "-1000")
    say(made, Started(made.id, "train", 1), Plan(0, 9, 1, "", n_params=77))
    monkeypatch.setattr(faults, "_clock_shift", "0")
    say(
        made,
        Plan(1, 8, 1, "revised"),
        *(Step(n, 1.0, "", 1.0, 1e-3, n, n, 1, 10.0 * n) for n in (1, 2)),
    )
    info = runs.summarize(made)
    assert (info.n_params, info.total_steps, info.step, info.tokens_per_sec) == (77, 8, 2, 20.0)
    assert abs(info.started - (time.time() - 1000)) < 60


def test_a_run_waits_in_the_queue_until_it_says_something(empty):
    queued = runs.new_run(empty, "train", ProjectConfig(), queued=True)
    assert runs.summarize(queued).state == "queued"
    say(queued, Started(queued.id, "train", 1))
    assert runs.summarize(queued).state == "interrupted"
    assert runs.summarize(new(empty)).state == "interrupted"


def test_a_label_comes_back_and_a_broken_one_is_none(empty):
    made = new(empty)
    assert runs.read_label(made.folder) == Label()
    label = Label("wide \U0001f600", "a note\nof two lines", True)
    runs.write_label(made.folder, label)
    assert runs.read_label(made.folder) == label
    info = runs.summarize(made)
    assert (info.name, info.note, info.is_pinned) == (label.name, label.note, True)
    for broken in ("", "{}", "[]", '{"name": 3}', "[" * 9999):
        (made.folder / "label.json").write_text(broken)
        assert runs.read_label(made.folder) == Label()


def test_a_cloned_run_brings_its_shape_and_leaves_the_data_alone(empty):
    theirs = with_values(ProjectConfig(), {"d_model": 96, "epochs": 7.0, "temperature": 0.3})
    made = runs.new_run(empty, "train", replace(theirs, data=DataConfig(recursive=False)))
    mine = replace(ProjectConfig(), sources=(SourceConfig(1, "a"),))
    clone = runs.clone_config(made, mine)
    assert (clone.model.d_model, clone.train.epochs, clone.sampling.temperature) == (96, 7.0, 0.3)
    assert (clone.sources, clone.data) == (mine.sources, mine.data)


@pytest.mark.parametrize("with_checkpoints", [False, True])
def test_a_deleted_run_is_gone_and_its_checkpoints_only_when_that_was_asked(
    empty, with_checkpoints
):
    made, other = new(empty), new(empty)
    ledger = Ledger(empty)
    for run in (made, other):
        name = f"{run.id}.pt"
        ledger.put(Row(name, "0", 1, 1, 1, 1, run.id))
        (empty.checkpoints_dir / name).write_bytes(b"x")
    with made.lock(), pytest.raises(LockError):
        runs.delete_run(made, with_checkpoints)
    assert runs.open_run(empty, made.id) == made
    runs.delete_run(made, with_checkpoints)
    assert runs.run_ids(empty) == [other.id]
    assert not made.folder.exists()
    left = {row.file for row in ledger.rows()}
    assert left == {path.name for path in empty.checkpoints_dir.glob("*.pt")}
    assert (f"{made.id}.pt" in left) != with_checkpoints
    assert f"{other.id}.pt" in left


def test_tidying_removes_temp_files_of_dead_processes_alone(empty):
    made = new(empty)
    dead = made.folder / "run.json.tmp999999999-0123abcd"
    alive = made.folder / f"run.json.tmp{os.getppid()}-0123abcd"
    for path in (dead, alive):
        path.touch()
    runs.tidy(made)
    assert not dead.exists()
    assert alive.exists()

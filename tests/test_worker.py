"""Whatever goes wrong in a job becomes one message; a signal saves first and a second one leaves."""

import os
import signal
import time
from dataclasses import replace

import pytest

from sllm_core import messages
from sllm_core.config import with_values
from sllm_core.errors import Cancelled, DataError
from sllm_core.jobs import models, pipeline, runs, training, worker
from sllm_core.jobs.channel import read_events
from sllm_core.messages import Done, Failed, Log, Plan, Resumed, Stopped
from tests.training_helpers import in_fork


def fail(problem: BaseException):
    def work():
        raise problem

    return work


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (DataError("EMPTY", "none"), "E-DATA-EMPTY"),
        (OSError(28, "No space left", "a.txt"), "E-DISK-FULL"),
        (PermissionError(13, "Permission denied"), "E-DISK-READONLY"),
        (OSError(5, "I/O error", "x"), "E-DISK-IO"),
        (ValueError("weights_only=False"), "E-WORKER-FAULT"),
        (RecursionError("deep"), "E-WORKER-FAULT"),
        (MemoryError(), "E-MEM-SYSTEM"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "E-MEM-SYSTEM"),
    ],
    ids=repr,
)
def test_every_failure_is_one_message_of_three_lines(problem, code):
    told = worker.guarded(fail(problem))
    assert isinstance(told, Failed)
    assert told.code == code
    assert told.text.endswith(f"[{code}]")
    assert len(told.text.splitlines()) <= 3
    assert "weights_only" not in told.text
    assert "Traceback" not in told.text


def test_what_is_no_failure_is_passed_on():
    assert worker.guarded(lambda: 3) == 3
    assert worker.guarded(fail(Cancelled("enough"))) == Stopped(0, "", "enough")
    for problem in (KeyboardInterrupt(), SystemExit(2), BrokenPipeError()):
        with pytest.raises(type(problem)):
            worker.guarded(fail(problem))


# signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_the_first_signal_asks_and_the_second_leaves_at_once(name):
    def work() -> None:
        signals = worker.Signals()
        asked = []
        signals.listen(asked.append)
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(0.01)
        assert asked == [f"by {name}"]
        assert signals.exit_code == 128 + getattr(signal, name)
        late = []
        signals.listen(late.append)
        assert late
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(10)

    assert in_fork(work) == 128 + getattr(signal, name)


def test_former_handlers_come_back():
    before = {name: signal.getsignal(getattr(signal, name)) for name in worker.SIGNALS}
    worker.Signals().restore()
    assert {name: signal.getsignal(getattr(signal, name)) for name in worker.SIGNALS} == before


# a job of a run folder, in this process


def do(project, resume="", run=None, **values):
    """Train here; (run, last message, exit code, all messages)."""
    config = with_values(project.load_config(), {"max_steps": 8, **values})
    run = run or runs.new_run(project, "train", config)
    said = []
    last, code = worker.run_job(run, said.append, resume=resume)
    return runs.open_run(project, run.id), last, code, said


def damage(project, name):
    path = project.checkpoints_dir / name
    path.write_bytes(path.read_bytes()[:-50])


def test_a_run_keeps_its_decisions_and_its_words(project):
    run, last, code, said = do(project)
    assert (code, last.step) == (0, 8)
    assert run.resolved["total_steps"] == 8
    assert run.provenance["dataset_id"]
    assert [message for message, _ in read_events(run.folder)[0]] == said


def test_no_step_at_all_is_refused_with_its_numbers(project):
    _, last, code, _ = do(project, max_steps=None, max_tokens=64)
    assert (code, last.code) == (1, "E-TRAIN-STEPS")
    assert "max_tokens 64" in last.text
    assert "windows" in last.text


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"max_tokens": 5 * 128}, 5),
        ({"epochs": 0.05}, None),
        ({"max_steps": 3}, 3),
    ],
    ids=str,
)
def test_budgets_end_where_they_say(project, values, steps):
    _, last, _, said = do(project, **{"max_steps": None, **values})
    plan = next(message for message in said if isinstance(message, Plan))
    if steps is None:
        steps = int(0.05 * plan.steps_per_epoch)
        assert abs(last.step - steps) <= 1
    else:
        assert last.step == steps


@pytest.mark.parametrize(("kind", "wanted"), [("term", 143), ("int", 130), ("hup", 129)])
def test_a_signal_saves_the_current_step(project, arm, kind, wanted):
    arm(f"step.forward:7:{kind}")
    run, last, code, _ = do(project)
    assert code == wanted
    assert isinstance(last, Stopped)
    assert last.reason == f"by SIG{kind.upper()}"
    assert (project.root / last.path).exists()
    arm("")
    _, last, code, said = do(project, run=run)
    assert (code, last.step) == (0, 8)
    assert said[[type(m) for m in said].index(Resumed)].differences == ()


def test_a_damaged_newest_checkpoint_is_passed_over_and_said(project):
    run, *_ = do(project, save_interval=2)
    for name in ("step_8.pt", "best_model.pt"):
        damage(project, name)
    run = training.change_limits(run, {"max_steps": 10})
    _, last, code, said = do(project, run=run)
    assert (code, last.step) == (0, 10)
    told = [m.text for m in said if isinstance(m, Log) and m.code == "E-CKPT-HASH"]
    assert any("step_8.pt" in text and "step_6.pt (step 6)" in text for text in told)
    assert next(m for m in said if isinstance(m, Resumed)).step == 6
    assert (project.checkpoints_dir / "step_8.pt").exists()


def test_only_damaged_checkpoints_end_in_a_refusal(project):
    run, *_ = do(project, save_interval=4)
    for path in project.checkpoints_dir.glob("*.pt"):
        damage(project, path.name)
    before = sorted(path.name for path in project.checkpoints_dir.iterdir())
    _, last, code, _ = do(project, run=training.change_limits(run, {"max_steps": 10}))
    assert (code, last.code) == (1, "E-CKPT-HASH")
    assert sorted(path.name for path in project.checkpoints_dir.iterdir()) == before


def test_a_run_without_a_checkpoint_starts_again_with_its_settings(project, arm):
    arm("step.forward:3:raise")
    run, last, code, _ = do(project, save_interval=100)
    assert (code, last.code) == (1, "E-WORKER-FAULT")
    arm("")
    again, last, code, said = do(project, run=run)
    assert (code, last.step) == (0, 8)
    assert again.resolved == run.resolved
    assert not [message for message in said if isinstance(message, Resumed)]


def test_other_data_or_tokenizer_is_refused_by_name(project, tmp_path):
    run, *_ = do(project)
    config = project.load_config()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "new.txt").write_text("something else\n" * 50)
    source = type(config.sources[0])(2, str(tmp_path / "more"))
    more = replace(config, sources=(*config.sources, source))
    pipeline.prepare(project, more, pipeline.Job(lambda _: None))
    _, last, code, _ = do(project, run=training.change_limits(run, {"max_steps": 9}))
    assert (code, last.code) == (1, "E-DATA-STALE")
    assert run.provenance["dataset_id"][:12] in last.text
    assert "--continue-from last" in last.text


@pytest.mark.parametrize(
    "values", [{"d_model": 64}, {"seed": 3}, {"batch_size": 8}, {"learning_rate": 0.1}], ids=str
)
def test_what_a_run_keeps_for_life_is_refused_by_name(project, values):
    run = runs.new_run(project, "train", project.load_config())
    with pytest.raises(
        Exception, match=rf"keeps its {next(iter(values))}.*\n.*\n.*E-RESUME-OPTION"
    ):
        training.change_limits(run, values)


def test_a_larger_budget_goes_on_and_a_complete_run_is_said_to_be(project):
    run, *_ = do(project)
    _, last, code, _ = do(project, run=run)
    assert (code, last.code) == (1, "E-TRAIN-STEPS")
    assert "complete: step 8 of 8" in last.text
    _, last, code, said = do(project, run=training.change_limits(run, {"max_steps": 11}))
    assert (code, last.step) == (0, 11)
    assert [m.total_steps for m in said if isinstance(m, Plan)][-1] == 11
    assert runs.summarize(runs.open_run(project, run.id)).total_steps == 11


def test_a_changed_budget_is_applied_once_and_then_resumes_exactly(project, arm):
    run, *_ = do(project, save_interval=2)
    run = training.change_limits(run, {"max_steps": 16})
    plain = {m.step: m.loss_hex for m in do(project, run=run)[3] if isinstance(m, messages.Step)}
    arm("step.forward:7:term")
    other, *_ = do(project, save_interval=2)  # the same run again, interrupted before its end
    arm("")
    other, *_ = do(project, run=other)
    other = training.change_limits(other, {"max_steps": 16})
    arm("step.forward:9:term")
    _, _, _, first = do(project, run=other)
    arm("")
    _, last, _, second = do(project, run=runs.open_run(project, other.id))
    found = {m.step: m.loss_hex for m in (*first, *second) if isinstance(m, messages.Step)}
    assert last.step == 16
    assert found == plain


def test_a_time_budget_that_is_extended_ends(project):
    run, last, _, _ = do(project, max_steps=None, max_time_s=1.0)
    assert last.step > 0
    run = training.change_limits(run, {"max_time_s": 2.0})
    _, again, code, _ = do(project, run=run)
    assert code == 0
    assert last.step < again.step < 40 * last.step


def test_nothing_is_started_on_a_disk_without_room(project, monkeypatch):
    monkeypatch.setenv("SLLM_FAKE_FREE", "1000")
    _, last, code, _ = do(project)
    assert (code, last.code) == (1, "E-DISK-FORECAST")
    assert "1000 B are free" in last.text


def test_continuing_takes_weights_and_shape_and_a_fresh_optimizer(project):
    _, _, _, said = do(project)
    start = next(m for m in said if isinstance(m, messages.Step))
    config = models.adopt_shape(
        project, with_values(project.load_config(), {"max_steps": 2}), "last"
    )
    run = runs.new_run(project, "train", config, continue_from="last")
    said = []
    last, code = worker.run_job(run, said.append)
    assert (code, last.step) == (0, 2)
    assert next(m for m in said if isinstance(m, messages.Step)).loss < start.loss - 0.2
    assert any(
        "Continuing from" in m.text and "(step 8)" in m.text for m in said if isinstance(m, Log)
    )
    other = with_values(config, {"d_model": 64})
    run = runs.new_run(project, "train", other, continue_from="last")
    last, code = worker.run_job(run)
    assert (code, last.code) == (1, "E-CKPT-MISMATCH")
    assert "d_model 32 -> 64" in last.text


def test_a_stop_before_the_first_step_is_no_failure(project):
    run = runs.new_run(project, "train", with_values(project.load_config(), {"max_steps": 4}))
    from sllm_core.jobs.channel import write_control
    from sllm_core.messages import Desired

    write_control(run.folder, Desired("stop"))
    last, code = worker.run_job(run)
    assert (code, last) == (0, Stopped(0, "", "stopped by you"))
    assert not isinstance(last, Done)

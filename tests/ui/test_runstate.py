"""A run in the window is what its messages say, whether they come one by one or from its folder."""

import dataclasses
import json
import math
import tempfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core import messages as m
from sllm_core.jobs.channel import FolderChannel, read_events
from sllm_core.jobs.series import EVENTS, read_past
from sllm_ui import runstate
from sllm_ui.runstate import MEAN_OF, PACE_OF, STEPS, WARM_UP, RunState

RUN = SimpleNamespace(id="20260101-000000-train-0001", kind="train")
PLAN = m.Plan(0, 40, 4, "epochs", 1000, 64, 20, 2, 2, "fp32", "chosen by you", 90.0)
STARTED = m.Started(RUN.id, "train", 7)


def step(number, loss=1.5, rate=100.0, epoch=1):
    return m.Step(number, loss, "", 0.5, 1e-3, 64 * number, number, epoch, rate)


def validation(number, loss, *, is_best):
    perplexity = None if loss is None else math.exp(loss)
    return m.Validation(number, 1, loss, perplexity, loss, is_best, 64 * number)


def folded(*said, kind="train", begin=1000.0):
    """A run that was told some messages, a second after one another."""
    run = RunState(RUN.id, kind)
    for second, message in enumerate(said):
        run.apply(message, begin + second)
    return run


# -- live and from the folder --------------------------------------------------------------------


def story(folder):
    """What stands in the folder, by json alone; a resume takes back what came after its step."""
    told = []
    data = (folder / EVENTS).read_bytes() if (folder / EVENTS).exists() else b""
    for line in data[: data.rfind(b"\n") + 1].split(b"\n"):
        try:
            body = json.loads(line)
        except ValueError:
            continue
        if body["type"] == "resumed":
            told = [old for old in told if old.get("step", 0) <= body["step"]]
        told.append(body)
    return told


@st.composite
def processes(draw):
    """How one process of a run goes: its steps, what it says between them, how it ends."""
    n_steps = draw(st.integers(0, 7))
    places = st.integers(1, max(1, n_steps))
    return SimpleNamespace(
        back=draw(st.integers(0, 5)),
        losses=draw(st.lists(st.none() | st.floats(0, 9), min_size=n_steps, max_size=n_steps)),
        validations=draw(st.dictionaries(places, st.none() | st.sampled_from([1.0, 2.0, 3.0]))),
        samples=draw(st.sets(places, max_size=2)),
        saves=draw(st.sets(places, max_size=2)),
        pauses=draw(st.sets(places, max_size=1)),
        goes_on=draw(st.booleans()),
        revised=draw(st.sets(places, max_size=1)),
        is_prepared=draw(st.booleans()),
        end=draw(st.sampled_from(["", "", "done", "stopped", "failed"])),
        torn=draw(st.sampled_from([0, 0, 0, 1, 9, 150, 700])),
    )


def act(folder, process, is_first):
    """Write the messages of a process into the folder as a worker does."""
    told = story(folder)
    steps = [body["step"] for body in told if body["type"] == "step"]
    begin = max([0, *steps])
    with closing(FolderChannel(folder)) as up:
        up.emit(STARTED)
        if process.is_prepared:
            up.emit(m.Prepared("d", 10, 1, 1, 1, 100, 1, 0, 0.5))
        up.emit(PLAN)
        if not is_first:
            begin = max(0, begin - process.back)
            up.emit(m.Resumed(begin, "checkpoints/a.pt"))
        kept = [b for b in told if b["type"] == "validation" and b["step"] <= begin]
        best = min([b["val_loss"] for b in kept if b["val_loss"] is not None], default=math.inf)
        for number, loss in enumerate(process.losses, start=1):
            at = begin + number
            up.emit(step(at, loss, None if at < 3 else 50.0 + at, 1 + at // 4))
            if number in process.validations:
                found = process.validations[number]
                is_best = found is not None and found < best
                best = found if is_best else best
                up.emit(validation(at, found, is_best=is_best))
            if number in process.samples:
                up.emit(m.Sample(at, "the", f"text {at}"))
            if number in process.saves:
                up.emit(m.Saved(at, f"checkpoints/step_{at}.pt", "0" * 8, 9, ("last",)))
            if number in process.pauses:
                up.emit(m.StateChanged("paused", at, "by you"))
                if process.goes_on or number < len(process.losses):
                    up.emit(m.StateChanged("running", at))
            if number in process.revised:
                up.emit(m.Plan(at, 30 + at, 4, "time"))
        at = begin + len(process.losses)
        up.emit(m.Log("nearly", "warning"))
        ends = {
            "done": m.Done(at, "complete", 1.0, 1.0),
            "stopped": m.Stopped(at, "checkpoints/last.pt", "by you"),
            "failed": m.Failed("E-STEP-NAN", "It failed."),
        }
        if process.end:
            up.emit(ends[process.end])
    path = folder / EVENTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size - process.torn])


FACTS = (
    "kind", "state", "plan", "validation", "best", "samples", "saved", "prepared", "end",
    "started", "reason", "total_steps", "tokens_per_step", "is_live",
)  # fmt: skip
STEP_FACTS = ("step", "loss", "grad_norm", "lr", "tokens", "epoch", "tokens_per_sec")


def same(one, other):
    for name in FACTS:
        assert getattr(one, name) == getattr(other, name), name
    for name in (*STEP_FACTS, "time"):
        if name not in one.curve.names:
            assert name in STEP_FACTS
            continue
        assert np.array_equal(one.curve[name], other.curve[name], equal_nan=True), name
    for name in one.validations.names:
        assert np.array_equal(one.validations[name], other.validations[name], equal_nan=True), name
    assert (one.step is None) == (other.step is None)
    for name in STEP_FACTS if one.step else ():
        assert getattr(one.step, name) == getattr(other.step, name), name
    assert (one.mean_loss(), one.pace_s(), one.left_s()) == (
        other.mean_loss(), other.pace_s(), other.left_s(),
    )  # fmt: skip


def agrees(run, told):
    """The run says what its story says, counted by hand."""

    def of(kind):
        return [body for body in told if body["type"] == kind]

    for columns, kind in ((run.curve, "step"), (run.validations, "validation")):
        for name in columns.names:
            wanted = [math.nan if body[name] is None else body[name] for body in of(kind)]
            assert columns[name].tolist() == pytest.approx(wanted, nan_ok=True, abs=0), name
    assert [sample.text for sample in run.samples] == [body["text"] for body in of("sample")]
    assert [saved.path for saved in run.saved] == [body["path"] for body in of("saved")]
    losses = [body["val_loss"] for body in of("validation") if body["val_loss"] is not None]
    assert (run.best.val_loss if run.best else None) == min(losses, default=None)
    last = of("validation")[-1:]
    assert (run.validation.step if run.validation else None) == (last[0]["step"] if last else None)
    assert (run.step.step if run.step else None) == max(
        [b["step"] for b in of("step")], default=None
    )
    recent = [b["loss"] for b in of("step")][-MEAN_OF:]
    recent = [loss for loss in recent if loss is not None]
    mean = sum(recent) / len(recent) if recent else None
    assert run.mean_loss() == (None if mean is None else pytest.approx(mean))


@given(st.lists(processes(), max_size=4))
@settings(deadline=None, max_examples=60)
def test_a_run_read_from_its_folder_is_the_run_that_was_followed(story_of_run):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, process in enumerate(story_of_run):
            act(folder, process, is_first=number == 0)
            live = RunState(RUN.id, "train")
            found, _ = read_events(folder)
            for message, time in found:
                live.apply(message, time)
            state = "running" if live.is_live else live.state
            past = RunState.from_past(RUN, read_past(folder), state)
            same(past, live)
            told = story(folder)
            agrees(live, told)
            agrees(past, told)
            lines = [line.text for line in live.log]
            rest = iter(lines)
            assert all(line.text in rest for line in past.log)  # in order, none invented
            if not any(body["type"] == "resumed" for body in told):
                assert list(past.log) == list(live.log)
                assert past.n_lines == live.n_lines == len(lines)


def test_the_comparison_sees_a_resume_that_is_not_rewound(monkeypatch, tmp_path):
    monkeypatch.setattr(RunState, "_rewind", lambda *_, **__: None)
    with closing(FolderChannel(tmp_path)) as up:
        for message in (STARTED, step(1), step(2), m.Resumed(1, "a")):
            up.emit(message)
    live = RunState(RUN.id, "train")
    for message, time in read_events(tmp_path)[0]:
        live.apply(message, time)
    with pytest.raises(AssertionError):
        same(RunState.from_past(RUN, read_past(tmp_path), "running"), live)


@pytest.mark.parametrize(
    ("said", "given", "state"),
    [
        ([STARTED, step(1)], "running", "running"),
        ([STARTED, step(1), m.StateChanged("paused", 1)], "running", "paused"),
        ([STARTED, step(1), m.StateChanged("waiting", 1, "the disk is full")], "running", "paused"),
        ([STARTED, step(1), m.StateChanged("paused", 1)], "interrupted", "interrupted"),
        ([STARTED, step(1), m.Stopped(1, "a", "by you")], "stopped", "stopped"),
        ([STARTED, step(1), m.Done(1)], "starting", "starting"),  # it goes on now
        ([], "interrupted", "interrupted"),
    ],
)
def test_the_state_is_what_the_locks_say_and_a_pause_is_remembered(tmp_path, said, given, state):
    with closing(FolderChannel(tmp_path)) as up:
        for message in said:
            up.emit(message)
    run = RunState.from_past(RUN, read_past(tmp_path), given)
    assert run.state == state


def test_how_far_a_run_came_is_seen_without_its_progress(tmp_path):
    prepared = m.Prepared("d", 10, 1, 1, 1, 100, 1, 0, 0.5)

    def states(*said, state="running"):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        with closing(FolderChannel(folder)) as up:
            for message in said:
                up.emit(message)
        run = RunState.from_past(RUN, read_past(folder), state)
        return "".join(run.steps[name].state[0] for name in STEPS)  # waiting, running, done, failed

    fail = m.Failed("E-X", "x")
    assert states() == "wwwwwwwww"
    assert states(STARTED) == "rwwwwwwww"
    assert states(STARTED, prepared) == "ddddrwwww"
    assert states(STARTED, prepared, PLAN, step(1)) == "dddddddrw"
    assert states(STARTED, prepared, PLAN, step(1), fail, state="failed") == "dddddddfw"
    assert states(STARTED, PLAN, step(1), m.Done(1), state="done") == "ddddddddd"
    assert states(STARTED, PLAN, step(1), m.Stopped(1, "a", ""), state="stopped") == "ddddddddd"
    assert states(STARTED, PLAN, step(1), STARTED) == "rwwwwwwww"
    assert states(STARTED, PLAN, step(1), fail, state="starting") == "wwwwwwwww"


# -- resumes -------------------------------------------------------------------------------------


def test_a_resume_takes_back_what_came_after_it_and_the_earlier_best_is_best_again():
    run = folded(
        STARTED, PLAN, step(1, 3.0, epoch=1), validation(1, 2.5, is_best=True), step(2, 2.0),
        m.Sample(2, "a", "early"), m.Saved(2, "a.pt", "", 1, ()),
        step(3, 1.0, epoch=2), validation(3, 1.5, is_best=True), m.Sample(3, "a", "late"),
        m.Saved(3, "b.pt", "", 1, ()), STARTED, PLAN, m.Resumed(2, "a.pt"),
    )  # fmt: skip
    assert run.curve["step"].tolist() == [1, 2]
    assert run.validations["step"].tolist() == [1]
    assert (run.best.val_loss, run.validation.step) == (2.5, 1)
    assert ([s.text for s in run.samples], [s.path for s in run.saved]) == (["early"], ["a.pt"])
    assert (run.step.step, run.step.loss, run.step.epoch) == (2, 2.0, 1)
    assert run.share() == 2 / 40
    run.apply(step(3, 9.0), 2000.0)
    assert run.curve["loss"].tolist() == [3.0, 2.0, 9.0]
    run.apply(validation(3, 2.6, is_best=False), 2001.0)  # not better than at step 1
    assert (run.best.step, run.validation.step) == (1, 3)


def test_a_resume_to_the_beginning_leaves_nothing_known():
    run = folded(STARTED, PLAN, step(1), validation(1, 2.0, is_best=True), m.Resumed(0, "a"))
    assert (run.step, run.best, run.validation, run.mean_loss(), run.share()) == (None,) * 5
    assert run.curve.n == run.validations.n == 0


def test_what_was_read_of_the_curve_earlier_is_not_changed_by_what_follows():
    run = folded(STARTED, step(1, 3.0), step(2, 2.0))
    view = run.curve["loss"]
    before = view.copy()
    for number in range(3, 3000):
        run.apply(step(number, 7.0), 2000.0 + number)
    assert np.array_equal(view, before)
    assert run.curve["loss"][:2].tolist() == before.tolist()


# -- time ----------------------------------------------------------------------------------------


def pace(rows, since):
    """Seconds a step over the last rows (step, time) that are not older than ``since``."""
    rows = [row for row in rows[-PACE_OF - WARM_UP :] if row[1] >= since]
    rows = rows[WARM_UP:] if len(rows) > 2 * WARM_UP else rows
    if len(rows) < 3 or rows[-1][1] <= rows[0][1]:
        return None
    return (rows[-1][1] - rows[0][1]) / (rows[-1][0] - rows[0][0])


@given(
    st.lists(st.tuples(st.floats(0.001, 50), st.sampled_from(["", "", "", "pause", "process"])),
             max_size=60),
    st.integers(1, 500),
)  # fmt: skip
@settings(deadline=None)
def test_pace_and_time_left_are_those_of_the_steps_since_it_last_began(turns, total):
    run, now, since, rows = RunState(RUN.id, "train"), 1e9, 1e9, []
    run.apply(STARTED, now)
    run.apply(dataclasses.replace(PLAN, total_steps=total), now)
    assert (run.pace_s(), run.left_s()) == (None, 90.0)  # the forecast, before the first step
    for number, (seconds, before) in enumerate(turns, start=1):
        if before == "pause":
            run.apply(m.StateChanged("paused", number), now)
            now += 3600.0
            run.apply(m.StateChanged("running", number), now)
            since = now
        elif before == "process":
            now += 7200.0
            run.apply(STARTED, now)
            since = now
        now += seconds
        run.apply(step(number), now)
        rows.append((number, now))
        wanted = pace(rows, since)
        assert run.pace_s() == (None if wanted is None else pytest.approx(wanted))
        left = None if wanted is None else max(0.0, wanted * (total - number))
        assert run.left_s() == (None if left is None else pytest.approx(left))


def test_slow_first_steps_of_a_process_do_not_count_once_there_are_others():
    run, now = folded(STARTED, PLAN), 2000.0
    for number, seconds in enumerate([1.0, 10.0, 1.0, 1.0, 0.5, 0.5], start=1):
        now += seconds
        run.apply(step(number), now)
    assert run.pace_s() == pytest.approx(13 / 5)
    run.apply(step(7), now + 0.5)
    assert run.pace_s() == pytest.approx(0.5)


def test_the_pace_is_that_of_the_last_steps_alone():
    run, now = folded(STARTED, PLAN), 2000.0
    for number in range(1, 3 * PACE_OF):
        now += 100.0 if number <= 2 * PACE_OF - 1 else 0.5
        run.apply(step(number), now)
    assert run.pace_s() == pytest.approx(0.5)


def test_a_clock_that_is_set_back_gives_no_time_rather_than_a_wrong_one():
    run = folded(STARTED, PLAN, begin=1000.0)
    for number in range(1, 6):
        run.apply(step(number), 2000.0 - 100 * number)
    assert (run.pace_s(), run.left_s()) == (None, None)


def test_progress_is_work_done_and_never_more_than_all():
    run = folded(STARTED, m.Progress("encoding", 25, 100, "bytes"))
    assert (run.current, run.share()) == ("encoding", 0.25)
    run.apply(m.Progress("encoding", 130, 100, "bytes"), 1010.0)
    assert run.share() == 1.0
    run.apply(m.Progress("encoding", 30, None, "bytes"), 1011.0)
    assert run.share() is None
    run.apply(dataclasses.replace(PLAN, total_steps=2), 1012.0)
    run.apply(step(3), 1013.0)
    assert run.share() == 1.0
    assert run.left_s() is None


# -- states --------------------------------------------------------------------------------------


def test_unknown_stays_none():
    run = RunState(RUN.id, "train")
    unknown = (
        "plan", "step", "validation", "best", "scanned", "prepared", "end", "started",
        "total_steps",
    )  # fmt: skip
    assert [getattr(run, name) for name in unknown] == [None] * len(unknown)
    assert (run.mean_loss(), run.pace_s(), run.left_s(), run.share()) == (None,) * 4
    for message in (STARTED, m.Plan(0, 10, 1, ""), step(1, None, None)):
        run.apply(message, 1.0)
    run.apply(validation(1, None, is_best=False), 2.0)
    assert (run.mean_loss(), run.left_s(), run.best) == (None, None, None)
    assert math.isnan(run.curve["loss"][0])
    assert math.isnan(run.curve["tokens_per_sec"][0])
    assert math.isnan(run.validations["val_loss"][0])


def test_a_mean_leaves_out_what_is_not_known():
    run = folded(STARTED, step(1, 2.0), step(2, None), step(3, 4.0))
    assert run.mean_loss() == 3.0


@pytest.mark.parametrize(
    ("kind", "said", "state"),
    [
        ("train", [], "starting"),
        ("train", [m.Log("x")], "starting"),
        ("train", [m.Progress("setup", 0, None, "")], "running"),
        ("train", [STARTED], "running"),
        ("train", [STARTED, m.StateChanged("paused", 0)], "paused"),
        ("train", [STARTED, m.StateChanged("waiting", 0, "no room")], "paused"),
        ("train", [STARTED, m.StateChanged("paused", 0), m.StateChanged("running", 0)], "running"),
        ("train", [STARTED, m.Stopped(0, "", "by you")], "stopped"),
        ("train", [STARTED, m.Done(3)], "done"),
        ("train", [STARTED, m.Failed("E-X", "x")], "failed"),
        ("train", [STARTED, m.Failed("E-X", "x"), STARTED], "running"),
        ("train", [STARTED, m.Failed("E-WORKER-DIED", "x")], "interrupted"),
        ("scan", [STARTED, m.Failed("E-WORKER-DIED", "x")], "failed"),
        ("train", [STARTED, m.Scanned(1, 1, 0, 0, 1, 1, {}, 0.1)], "running"),
        ("scan", [STARTED, m.Scanned(1, 1, 0, 0, 1, 1, {}, 0.1)], "done"),
        ("prepare", [STARTED, m.Scanned(1, 1, 0, 0, 1, 1, {}, 0.1)], "running"),
    ],
)
def test_the_state_follows_what_is_said(kind, said, state):
    run = folded(*said, kind=kind)
    assert run.state == state
    assert run.is_live == (state in {"starting", "running", "paused"})


def test_a_run_that_fails_says_where_with_what_words_and_last_lines():
    failed = m.Failed("E-WORKER-DIED", "It was ended.", -9, "SIGKILL", ("one", "two"))
    run = folded(
        STARTED,
        m.Progress("setup", 1, 1, "", "done", 2.5),
        m.Progress("model", 0, None, ""),
        failed,
    )
    assert (run.end, run.end.last_lines) == (failed, ("one", "two"))
    assert (run.steps["setup"].state, run.steps["setup"].elapsed_s) == ("done", 2.5)
    assert run.steps["model"].state == "failed"
    assert run.log[-1] == runstate.LogLine(1003.0, "error", "It was ended.")
    again = folded(failed, STARTED)
    assert (again.end, again.reason, again.current) == (None, "", "")
    assert {s.state for s in again.steps.values()} == {"waiting"}


@pytest.mark.parametrize(
    "said", [m.StateChanged("paused", 1), m.StateChanged("running", 1), m.Done(3), STARTED]
)
def test_a_pause_is_asked_for_until_the_worker_answers(said):
    run = folded(STARTED)
    run.is_pausing = True
    run.apply(step(1), 2000.0)
    assert run.is_pausing
    run.apply(said, 2001.0)
    assert not run.is_pausing


def test_a_step_name_of_a_newer_worker_is_passed_over():
    run = folded(STARTED, m.Progress("telepathy", 1, 2, "x"))
    assert (run.current, run.share()) == ("", None)


def test_a_revised_plan_keeps_what_it_does_not_revise():
    run = folded(STARTED, PLAN, m.Plan(10, 70, 6, "time"))
    assert run.plan == dataclasses.replace(
        PLAN, step=10, total_steps=70, warmup_steps=6, reason="time"
    )
    alone = folded(STARTED, m.Plan(10, 70, 6, "time"))
    assert (alone.total_steps, alone.tokens_per_step) == (70, 0)


def test_the_log_is_coloured_bounded_and_counted():
    run = folded(
        STARTED, m.Log("plain"), m.Log("careful", "warning"), m.Log("bad", "error"),
        validation(1, 2.0, is_best=True), validation(2, 3.0, is_best=False),
        m.Sample(1, "a", "b"), step(1), m.Progress("setup", 1, 2, "x"), m.Done(3),
    )  # fmt: skip
    assert [line.level for line in run.log] == ["info", "warning", "error", "good", "info", "good"]
    assert run.n_lines == 6
    for number in range(runstate.LOG_LINES + 5):
        run.apply(m.Log(f"line {number}"), 1.0)
    assert len(run.log) == runstate.LOG_LINES
    assert run.n_lines == 6 + runstate.LOG_LINES + 5
    assert run.log[-1].text == f"line {runstate.LOG_LINES + 4}"


def test_every_message_is_a_new_version():
    run, seen = RunState(RUN.id, "train"), set()
    for message in (STARTED, PLAN, m.Progress("setup", 1, 2, "x"), step(1), m.Log("x"), m.Done(1)):
        seen.add(run.version)
        run.apply(message, 1.0)
    assert len(seen | {run.version}) == 7


# -- long runs -----------------------------------------------------------------------------------


def test_a_long_run_is_folded_and_rewound():
    run, n = RunState(RUN.id, "train"), 200_000
    run.apply(STARTED, 0.0)
    for number in range(1, n + 1):
        run.apply(step(number, float(number)), number / 10)
    assert (run.curve.n, run.step.step) == (n, n)
    assert run.curve["loss"].sum() == n * (n + 1) / 2
    assert run.pace_s() == pytest.approx(0.1)
    run.apply(m.Resumed(n // 2, "a"), n / 10)
    assert (run.curve.n, run.curve["step"][-1], run.step.step) == (n // 2, n // 2, n // 2)


def test_a_long_run_is_opened_from_its_short_form(tmp_path):
    from sllm_core.jobs import series

    n = 200_000
    with closing(FolderChannel(tmp_path)) as up:
        up.emit(STARTED)
        up.emit(PLAN)
        up.emit(m.Log("so far"))
        up.emit(step(1))
    first = (tmp_path / EVENTS).read_bytes().splitlines(keepends=True)
    line, records, at = first[3].decode(), [], len(b"".join(first[:3]))
    lines, first_step, when = [], *m.decode(line)
    for number in range(1, n + 1):
        text = line.replace('"step": 1,', f'"step": {number},').encode()
        records.append(series._record(dataclasses.replace(first_step, step=number), at, when))
        lines.append(text)
        at += len(text)
    (tmp_path / EVENTS).write_bytes(b"".join([*first[:3], *lines]))
    (tmp_path / series.SERIES).write_bytes(series._HEAD + b"".join(records))
    run = RunState.from_past(RUN, read_past(tmp_path), "interrupted")
    assert (run.curve.n, run.step.step) == (n, n)
    assert np.array_equal(run.curve["step"], np.arange(1, n + 1))
    run.apply(STARTED, 5.0)
    run.apply(m.Resumed(100, "a"), 5.0)
    run.apply(step(101, 9.0), 6.0)
    assert (run.curve.n, run.curve["loss"][-1]) == (101, 9.0)

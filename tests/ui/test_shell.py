"""The frame says what goes on, in words, and what can be done now; unknown is '-'."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sllm_core import messages as m
from sllm_core.config import ProjectConfig, SourceConfig
from sllm_core.jobs.vitals import GpuVitals, Vitals
from sllm_ui.actions import ACTIONS, TABS
from sllm_ui.events import VitalsChanged
from sllm_ui.facts import Facts
from sllm_ui.now import Now
from sllm_ui.runstate import RunState
from sllm_ui.shell import ShellPresenter, dots, meters, run_bar, short_path, why_not

GIB = 1 << 30
HELD = "The project is in use by the window (process 7 on here since 12:00)."
SOURCES = (SourceConfig(1, "/texts"),)
PLAN = m.Plan(0, 1000, 100, "epochs", 10, 64)


def run(state, step=0, kind="train", total=True, progress=None):
    made = RunState("r", kind)
    made.apply(m.Started("r", kind, 1), 100.0)
    if total:
        made.apply(PLAN, 100.0)
    if progress:
        made.apply(progress, 100.5)
    for number in range(max(1, step - 3), step + 1):
        made.apply(m.Step(number, 1.0, "", 1.0, 1e-3, 1, 1, 2, 10.0), 100.0 + number)
    made.state = state
    return made


def session(**changes):
    """What `shell` asks of a session: the words of the real one over plain values."""
    plain = SimpleNamespace(
        project=SimpleNamespace(root=Path("/p")), config=ProjectConfig(sources=SOURCES),
        read_only="", blockers={}, run=None, data_job=None, runs=(), checkpoints=(), facts=Facts(),
    )  # fmt: skip
    for name, value in changes.items():
        assert hasattr(plain, name)
        setattr(plain, name, value)
    plain.archive = plain
    plain.is_training = Now.is_training.fget(plain)
    plain.is_on_data = Now.is_on_data.fget(plain)
    plain.is_working = Now.is_working.fget(plain)
    plain.why_read_only = lambda: Now.why_read_only(plain)
    plain.why_not_start = lambda: Now.why_not_start(plain)
    return plain


NOTHING = {"project": None, "config": ProjectConfig()}
EMPTY = {"config": ProjectConfig()}
SCANNING = {"data_job": run("running", 0, "scan", total=False)}
SCORING = m.Progress("scoring", 3, 4, "files")
ANALYSING = {"data_job": run("running", 0, "refine", total=False, progress=SCORING)}
ANALYSED = {"facts": Facts(is_scanned=True, listed=3, used=3, scores=((1, 90, 3),))}
TRAINING = {"run": run("running", 40)}
SETUP = {"run": run("running", 0)}
PAUSED = {"run": run("paused", 40)}
STOPPING = {"run": run("stopping", 40)}
STOPPED = {"run": run("stopped", 40)}
FAILED = {"run": run("failed", 40)}
DONE = {"run": run("done", 1000)}
LISTED = {"runs": (object(),)}
UNUSABLE = {"facts": Facts(is_scanned=True, listed=3, used=0)}
SCANNED = {"facts": Facts(is_scanned=True, listed=3, used=3)}
LOOKING_ON = {"read_only": HELD}
STATES = {
    "nothing": NOTHING, "empty": EMPTY, "ready": {}, "scanning": SCANNING, "setup": SETUP,
    "training": TRAINING, "paused": PAUSED, "stopping": STOPPING, "stopped": STOPPED,
    "failed": FAILED, "done": DONE, "listed": LISTED, "unusable": UNUSABLE, "scanned": SCANNED, "held": LOOKING_ON,
    "held training": LOOKING_ON | TRAINING, "held stopped": LOOKING_ON | STOPPED,
}  # fmt: skip

# What can be done in which state; everything else in the table always can.
CAN = {
    "save_as": "all but nothing",
    "duplicate": "all but nothing",
    "reveal": "all but nothing",
    "rename": "empty ready stopped failed done listed unusable scanned",
    "delete": "empty ready stopped failed done listed unusable scanned",
    "scan": "ready stopped failed done listed unusable scanned",
    "prepare": "ready stopped failed done listed unusable scanned",
    "analyse": "scanned",
    "move_to_trash": "scanned",
    "exclude": "scanned",
    "check_leaks": "scanned",
    "report_csv": "scanned",
    "undo_remove": "ready stopped failed done listed unusable scanned",
    "auto_select": "ready scanning stopped failed done listed scanned",
    "start": "ready scanning stopped failed done listed scanned",
    "resume": "stopped failed done listed",
    "pause": "setup training paused",
    "save_now": "training paused",
    "stop": "scanning setup training paused stopping",
}


def may(action, state):
    allowed = CAN.get(action)
    if allowed is None:
        return True
    if allowed == "all but nothing":
        return state != "nothing"
    return state in allowed.split()


@pytest.mark.parametrize("action", [action.id for action in ACTIONS])
@pytest.mark.parametrize("state", STATES)
def test_an_action_can_be_done_or_says_why_not(state, action):
    why = why_not(session(**STATES[state]), action)
    assert (why == "") == may(action, state), why
    if why:
        assert why[0].isupper()
        assert why.endswith(".")
        assert len(why.splitlines()) == 1


def test_a_project_of_another_window_names_it():
    for action in ("start", "scan", "prepare", "resume", "rename", "delete", "auto_select"):
        assert why_not(session(**LOOKING_ON), action) == HELD
    for action in ("pause", "save_now", "stop"):
        assert why_not(session(**LOOKING_ON, **TRAINING), action) == HELD


def test_a_source_that_is_off_is_none():
    off = ProjectConfig(sources=(replace(SOURCES[0], is_on=False),))
    assert "Add a folder" in why_not(session(config=off), "start")


@pytest.mark.parametrize(
    ("state", "word", "tone", "buttons", "text"),
    [
        ("nothing", "Ready", "good", (), "Add a folder"),
        ("empty", "Ready", "good", (), "Add a folder"),
        ("ready", "Ready", "good", ("start",), "then start training"),
        ("unusable", "Ready", "good", ("start",), "None of the listed files"),
        ("scanning", "Scanning", "accent", ("stop",), "starting the worker"),
        ("setup", "Training", "accent", ("stop",), "starting the worker"),
        ("training", "Training", "accent", ("save_now", "pause", "stop"),
         "Epoch 2   step 40 of 1,000"),
        ("paused", "Paused", "warn", ("save_now", "pause", "stop"), "step 40 of 1,000"),
        ("stopping", "Stopping", "warn", ("stop",), "step 40"),
        ("stopped", "Stopped", "warn", ("resume", "start"), "stopped at step 40"),
        ("failed", "Failed", "bad", ("resume", "start"), "failed at step 40"),
        ("done", "Ready", "good", ("start",), "The last run is complete"),
        ("held", "Read-only", "warn", (), "in use by the window"),
        ("held training", "Training", "accent", (), "step 40"),
        ("held stopped", "Read-only", "warn", (), "in use by the window"),
    ],
)  # fmt: skip
def test_the_run_bar_says_what_goes_on_or_the_next_step(state, word, tone, buttons, text):
    bar = run_bar(session(**STATES[state]), 200.0)
    assert (bar.word, bar.tone, bar.buttons) == (word, tone, buttons)
    assert text in bar.text
    is_live = word in {"Scanning", "Training", "Paused", "Stopping"}
    assert bar.is_busy == is_live
    assert {button for button in bar.buttons if not may(button, state)} <= (
        {"start"} if state == "unusable" else set()
    )


def test_a_run_that_starts_or_was_cut_off_is_named():
    starting = RunState("r", "train")
    bar = run_bar(session(run=starting), 0.0)
    assert (bar.word, bar.text, bar.share) == ("Starting", "starting the worker", None)
    cut = run("interrupted", 0)
    assert run_bar(session(run=cut), 0.0).text == "The last run was cut off before the first step."
    assert run_bar(session(run=cut), 0.0).word == "Interrupted"


def test_every_state_of_a_run_has_its_words():
    for state in ("starting", "running", "paused", "stopping", "stopped", "failed", "interrupted",
                  "done"):  # fmt: skip
        for step in (0, 5):
            bar = run_bar(session(run=run(state, step)), 0.0)
            assert bar.word
            assert bar.text
            assert dots(session(run=run(state, step)))["train"] in {
                "running", "ready", "done", "failed",
            }  # fmt: skip


def test_the_time_left_is_said_only_while_it_runs():
    training = run("running", 40)  # a step a second
    assert run_bar(session(run=training), 0.0).left == "about 16 min 00 s left"
    for state, words in (("paused", "can be tested"), ("stopping", "saving")):
        training.state = state
        assert words in run_bar(session(run=training), 0.0).left
    training.state = "starting"  # it goes on in a moment: its pace of yesterday tells nothing
    assert run_bar(session(run=training), 0.0).left == ""
    young = run("running", 1)
    assert run_bar(session(run=young), 0.0).left == ""
    assert run_bar(session(run=run("running", 40, total=False)), 0.0).left == ""


def test_what_a_data_job_has_done_is_shown_in_its_unit():
    read = m.Progress("reading", 3 << 20, 4 << 20, "bytes")
    job = run("running", 0, "prepare", total=False, progress=read)
    bar = run_bar(session(data_job=job), 0.0)
    assert (bar.word, bar.share) == ("Preparing", 0.75)
    assert "Read files" in bar.text
    assert "3" in bar.text
    count = m.Progress("encoding", 1234, None, "files")
    job = run("running", 0, "scan", total=False, progress=count)
    bar = run_bar(session(data_job=job), 0.0)
    assert (bar.share, bar.text) == (None, "Encode   1,234 files")


# -- dots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "data", "refine", "train", "test", "monitor"),
    [
        (NOTHING, "empty", "empty", "empty", "empty", "empty"),
        ({}, "ready", "empty", "ready", "empty", "empty"),
        (SCANNING, "running", "empty", "ready", "empty", "empty"),
        (SCANNED, "ready", "ready", "ready", "empty", "empty"),
        ({"data_job": run("failed", 0, "scan")}, "failed", "empty", "ready", "empty", "empty"),
        (ANALYSING, "ready", "running", "ready", "empty", "empty"),
        (ANALYSED, "ready", "done", "ready", "empty", "empty"),
        ({"data_job": run("failed", 0, "remove")}, "ready", "failed", "ready", "empty", "empty"),
        (
            {"facts": Facts(train_tokens=9, val_tokens=1)},
            "done",
            "empty",
            "ready",
            "empty",
            "empty",
        ),
        (TRAINING, "ready", "empty", "running", "empty", "empty"),
        (PAUSED, "ready", "empty", "running", "empty", "empty"),
        (
            STOPPED | {"checkpoints": (1,), "runs": (1,)},
            "ready",
            "empty",
            "ready",
            "ready",
            "ready",
        ),
        (FAILED, "ready", "empty", "failed", "empty", "empty"),
        (DONE | {"config": ProjectConfig()}, "empty", "empty", "done", "empty", "empty"),
    ],
)
def test_each_tab_has_its_dot(changes, data, refine, train, test, monitor):
    found = dots(session(**changes))
    assert tuple(found) == TABS
    assert tuple(found.values()) == (data, refine, train, test, monitor)


def test_jobs_on_the_data_are_named_in_the_run_bar():
    words = {
        "scan": "Scanning", "prepare": "Preparing", "refine": "Analysing", "remove": "Moving",
        "restore": "Putting back", "leaks": "Checking", "clear": "Clearing",
    }  # fmt: skip
    for kind, word in words.items():
        assert run_bar(session(data_job=run("running", 0, kind)), 0.0).word == word
    bar = run_bar(session(**ANALYSING), 0.0)
    assert (bar.text, bar.share) == ("Score   3 files", 0.75)


# -- meters --------------------------------------------------------------------------------------

KNOWN = Vitals(37.4, 4, 3 * GIB, 8 * GIB, 12.0, GIB // 2, (), 50 * GIB)
UNKNOWN = Vitals(None, 0, None, None, None, None, (), None)
CARD = GpuVitals("RTX", 80.0, 6 * GIB, 24 * GIB, 61.0, 250.4)


def test_meters_show_figures_with_their_units():
    cpu, ram, gpu, vram = meters(replace(KNOWN, gpus=(CARD,)))
    assert (cpu.name, cpu.figure, cpu.unit, cpu.share, cpu.app) == (
        "CPU", "37 %", "4 cores", 0.374, "this app 12 %",
    )  # fmt: skip
    assert (ram.figure, ram.unit, ram.share, ram.app) == (
        "3.0", "of 8.0 GiB", 0.375, "this app 0.5 GiB",
    )  # fmt: skip
    assert (gpu.name, gpu.figure, gpu.unit, gpu.share) == ("GPU", "80 %", "61 °C 250 W", 0.8)
    assert (vram.name, vram.figure, vram.unit, vram.share) == ("VRAM", "6.0", "of 24.0 GiB", 0.25)
    assert meters(replace(KNOWN, n_cores=1))[0].unit == "1 core"


def test_what_is_not_known_is_a_dash_and_has_no_share():
    for found in meters(replace(UNKNOWN, gpus=(GpuVitals("lost"),))):
        assert found.figure == "-"
        assert found.share is None
        for text in (found.unit, found.app):
            assert "None" not in text
            assert "nan" not in text
            assert "0" not in text
    assert meters(KNOWN)[0].tip


def test_a_machine_without_cards_has_no_empty_meters_and_one_with_many_not_too_many():
    assert [found.name for found in meters(KNOWN)] == ["CPU", "RAM"]
    names = [found.name for found in meters(replace(KNOWN, gpus=(CARD,) * 3))]
    assert names == ["CPU", "RAM", "GPU 1", "VRAM 1", "GPU 2", "VRAM 2"]


def test_a_reading_beyond_the_whole_is_the_whole():
    assert meters(replace(KNOWN, cpu_percent=130.0))[0].share == 1.0
    assert meters(replace(KNOWN, ram_total_bytes=0))[1].share is None


# -- paths ---------------------------------------------------------------------------------------


def test_paths_are_short_and_the_home_is_a_tilde(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/bob"))
    assert short_path(Path("/home/bob/novel")) == "~/novel"
    assert short_path(Path("/home/bob")) == "~"
    assert short_path(Path("/home/bobby/novel")) == "/home/bobby/novel"  # somebody else
    long = short_path(Path("/data/" + "very long name " * 9 + "end"), 30)
    assert len(long) == 30
    assert long.startswith("/data/")
    assert long.endswith("end")
    assert "\n" not in short_path(Path("/a\nb\x1b[31m"))


# -- presenter -----------------------------------------------------------------------------------


def test_the_frame_follows_the_session(desk, tmp_path):
    shell = ShellPresenter(desk.session)
    state = shell.store.state
    assert (state.is_open, state.title, state.bar.word) == (False, "No project", "Ready")
    assert [found.figure for found in state.meters] == ["-", "-"]
    desk.session.create(tmp_path / "first", [])
    desk.session.close_project()
    hostile = tmp_path / "second\u202e"  # unpacked from somewhere: this program makes no such name
    (tmp_path / "first").rename(hostile)
    desk.session.create(tmp_path / "first", [])
    desk.session.open(hostile)
    state = shell.store.state
    assert state.is_open
    assert "\u202e" not in state.title
    assert [row[1] for row in state.recent] == [str(tmp_path / "first")]  # the open one is above
    desk.session.bus.publish(VitalsChanged(replace(KNOWN, gpus=(CARD, CARD))))
    desk.session.bus.publish(VitalsChanged(replace(KNOWN, gpus=(CARD, CARD))))
    state = shell.store.state
    assert (state.vitals_n, state.gpu, state.meters[0].figure) == (2, "RTX", "37 %")
    desk.session.close_project()
    assert not shell.store.state.is_open
    assert len(shell.store.state.recent) == 2

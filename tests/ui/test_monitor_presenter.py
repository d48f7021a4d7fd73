"""The Monitor page without a window: rows, choice, curves, settings side by side, machine, log."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sllm_core import messages as m
from sllm_core.config import ProjectConfig, SourceConfig, with_values
from sllm_core.jobs.runs import Run
from sllm_core.jobs.vitals import GpuVitals, Vitals
from sllm_core.ledger import Row
from sllm_ui.bus import Bus
from sllm_ui.events import ConfigChanged, ProjectChanged, RunChanged, RunsChanged, VitalsChanged
from sllm_ui.runstate import LogLine, RunState
from sllm_ui.tabs.monitor import compare, curves, loglines, presenter, rows
from sllm_ui.tabs.monitor.presenter import Presenter

A, B, C, D = (f"20261122-18000{i}-train-000{i}" for i in range(4))


class FakeSession:
    """What the presenter needs of the session; tasks are done when a test says so."""

    def __init__(self):
        self.bus, self.config, self.project = Bus(), ProjectConfig(), SimpleNamespace()
        self.runs, self.checkpoints, self.run, self.vitals = (), (), None, None
        self.read_only = ""
        self.archive = self.work = self  # one fake for all parts
        self.asked, self.tasks, self.calls, self.notices = [], [], [], []

    @property
    def is_training(self):
        return self.run is not None and self.run.is_live

    def why_read_only(self):
        return self.read_only

    def load_past(self, run_id, then):
        self.asked.append((run_id, then))

    def task(self, name, function, *arguments, then):
        self.tasks.append((name, function, arguments, then))

    def notify(self, *words):
        self.notices.append(words)

    def replace_config(self, config):
        self.config = config

    def __getattr__(self, name):
        if name in {"resume", "label_run", "enqueue", "delete_checkpoint", "pin"}:
            return lambda *values, **more: self.calls.append((name, values, more))
        raise AttributeError(name)

    def list(self, *infos):
        self.runs = tuple(sorted(infos, key=lambda info: info.run, reverse=True))
        self.bus.publish(RunsChanged())

    def give_settings(self, run_id, config, **more):
        """Answer the question for a run's settings."""
        _, _, _, then = next(task for task in self.tasks if task[0] == f"run {run_id}")
        then(a_run(run_id, config, **more))


def info(run_id, **values):
    known = {"state": "done", "step": 10, "total_steps": 10, "best_val_loss": 2.0, "val_bpb": 1.0}
    return m.RunInfo(**{"run": run_id, "kind": "train", "elapsed_s": 60.0, **known, **values})


def a_run(run_id, config, resolved=None, provenance=None):
    return Run(None, run_id, "train", config, {}, resolved or {}, provenance or {})


def a_story(run_id, n=10, state="running", **columns):
    story = RunState(run_id, "train", state)
    for i in range(n):
        values = {"loss": 3.0, "lr": 0.1, "grad_norm": 1.0, "tokens_per_sec": 100.0} | {
            name: given[i] for name, given in columns.items()
        }
        time = values.pop("time", 1000.0 + i)
        story.apply(
            m.Step(i + 1, values["loss"], "", values["grad_norm"], values["lr"], 8 * (i + 1), 0, 1, values["tokens_per_sec"]),
            time,
        )  # fmt: skip
    return story


def checkpoint(file, run=A, step=10, roles=(), state="ok"):
    return Row(file, "00", 1024, step, 1, 80, run, 3.0, 2.0, tuple(roles), state)


@pytest.fixture
def session():
    return FakeSession()


@pytest.fixture
def page(session):
    made = Presenter(session)
    session.list(info(A), info(B), info(C))
    return made


def shown(page):
    return [row.id for row in page.store.state.rows]


# -- the list of runs ------------------------------------------------------------------------------


def test_runs_stand_newest_first_and_pinned_ones_before_them(session):
    page = Presenter(session)
    session.list(info(A, is_pinned=True), info(B), info(C))
    assert shown(page) == [A, C, B]
    assert page.store.state.rows[0].texts()[0].startswith("★ ")


def test_a_column_sorts_up_then_down_then_as_before_and_unknown_values_stay_last(session):
    page = Presenter(session)
    session.list(
        info(A, best_val_loss=2.0), info(B, best_val_loss=None), info(C, best_val_loss=1.0)
    )
    column = rows.COLUMNS.index("Loss")
    page.sort_by(column)
    assert shown(page) == [C, A, B]
    page.sort_by(column)
    assert shown(page) == [A, C, B]
    page.sort_by(column)
    assert shown(page) == [C, B, A]
    assert page.store.state.sort == (-1, False)


def test_every_column_has_a_text_and_a_key():
    row = rows.run_row(info(A))
    assert len(row.texts()) == len(row.keys()) == len(rows.COLUMNS)


def test_names_that_a_screen_cannot_bear_are_made_safe():
    row = rows.run_row(info(A, name="a\x07b\n", note="x\u202ey"))
    assert row.name == "a\\x07b\\n"
    assert row.note == "x\\u202ey"
    assert rows.short_name("odd\x00") == "odd\\x00"
    assert rows.short_name(A) == "22 Nov 18:00:00"


def test_unknown_numbers_are_dashes():
    row = rows.run_row(
        info(A, best_val_loss=None, val_bpb=None, elapsed_s=None, n_params=None, state="failed")
    )
    assert row.texts() == ("22 Nov 18:00:00", "-", ("Failed", "bad"), "-", "-", "-", "-")
    assert [rows.clock(s) for s in (0, 65, 3725, float("nan"))] == ["0:00", "1:05", "1:02:05", "-"]


def test_only_the_line_of_the_live_run_is_made_anew(page, session):
    session.run = a_story(C)
    before = page.store.state.rows
    session.bus.publish(RunChanged())
    after = page.store.state.rows
    assert after[0].status == ("Training", "accent")
    assert after[0].elapsed_s == 9
    assert all(a is b for a, b in zip(before[1:], after[1:], strict=True))


def test_lines_of_runs_that_did_not_change_are_kept(page, session, monkeypatch):
    made = []
    monkeypatch.setattr(presenter, "run_row", lambda i: made.append(i.run) or rows.run_row(i))
    session.list(info(A), info(B, name="new"), info(C))
    assert made.count(A) == 0
    assert made.count(B) == 1


def test_time_of_work_leaves_pauses_out_and_goes_on_from_where_it_was():
    clock, story = rows.WorkClock(), a_story(A, 5)
    assert clock.read(story) == 4
    story.apply(m.Step(6, 3.0, "", 1.0, 0.1, 48, 0, 1, 100.0), 1005.0)
    assert clock.read(story) == 5
    story.apply(m.Step(7, 3.0, "", 1.0, 0.1, 56, 0, 1, 100.0), 90_000.0)  # a night between
    assert clock.read(story) == pytest.approx(6, abs=0.3)
    assert clock.read(a_story(B, 3)) == 2
    assert clock.read(a_story(C, 9)) == 8


# -- choosing runs ---------------------------------------------------------------------------------


def test_the_newest_run_is_in_view_until_a_person_chooses(page, session):
    assert page.main == C
    session.list(info(A), info(B), info(C), info(D))
    assert page.main == D
    page.choose_runs([A])
    session.list(info(A), info(B), info(C), info(D), info("20261123-000000-train-ffff"))
    assert page.main == A


def test_a_queued_run_does_not_come_into_view_by_itself(page, session):
    session.list(info(A), info(C), info(D, state="queued"))
    assert page.main == C
    session.list(info(D, state="queued"))
    assert page.main == D


def test_a_run_added_to_the_choice_leaves_the_one_in_view(page):
    page.choose_runs([B])
    page.choose_runs([A, B, C])
    assert page.store.state.chosen == (B, A, C)
    page.choose_runs([A, C])
    assert page.store.state.chosen == (A, C)


def test_more_than_six_runs_are_not_drawn_over_each_other(session):
    page = Presenter(session)
    ids = [f"20261122-18000{i}-train-000{i}" for i in range(8)]
    session.list(*(info(run) for run in ids))
    page.choose_runs(ids)
    assert len(page.store.state.chosen) == 6
    assert "6 runs at most" in session.notices[-1]


def test_a_run_keeps_its_colour_while_others_come_and_go(page, session):
    page.choose_runs([A])
    page.choose_runs([A, B, C])
    for run_id, then in session.asked:
        then(a_story(run_id), None)
    page.set_metric("Training loss")
    before = {curve.run: curve.colour for curve in page.curves()}
    page.choose_runs([A, C])
    assert {curve.run: curve.colour for curve in page.curves()} == {A: before[A], C: before[C]}
    page.choose_runs([A, C, B])
    session.asked[-1][1](a_story(B), None)
    assert len({curve.colour for curve in page.curves()}) == 3


def test_an_empty_choice_changes_nothing(page):
    page.choose_runs([])
    page.choose_runs(["gone"])
    assert page.main == C


def test_a_run_is_read_once_and_again_when_it_said_more(page, session):
    page.choose_runs([A])
    session.bus.publish(RunsChanged())
    assert [run for run, _ in session.asked].count(A) == 1
    session.list(info(A, step=20), info(B), info(C))
    assert [run for run, _ in session.asked].count(A) == 2


def test_a_run_that_is_followed_is_not_read_and_stays_when_another_begins(page, session):
    session.run = a_story(D, 4)
    session.list(info(A), info(D, state="running"))
    assert page.main == D
    assert D not in [run for run, _ in session.asked]
    session.bus.publish(RunChanged())
    page.choose_runs([A, D])
    session.run = a_story("20261123-000000-train-ffff")
    page.set_metric("Training loss")
    assert [len(curve.x) for curve in page.curves() if curve.run == D] == [4]


def test_another_project_takes_everything_away(page, session):
    session.runs, session.checkpoints = (), ()
    session.bus.publish(ProjectChanged())
    state = page.store.state
    assert (state.rows, state.chosen, state.differences, state.is_read) == ((), (), (), False)
    session.bus.publish(RunsChanged())
    assert page.store.state.is_read


# -- checkpoints -----------------------------------------------------------------------------------


def test_the_newest_valid_checkpoint_comes_first_and_is_chosen(session):
    page = Presenter(session)
    session.checkpoints = (
        checkpoint("step_20.pt", step=20), checkpoint("step_10.pt", step=10, roles=["pinned"]),
        checkpoint("best_model.pt", step=10, roles=["best"]), checkpoint("other.pt", run=B),
        checkpoint("step_30.pt", step=30, state="superseded"),
    )  # fmt: skip
    session.list(info(A))
    state = page.store.state
    assert [(c.file, c.badge) for c in state.checkpoints] == [
        ("step_20.pt", ("Newest", "muted")), ("step_10.pt", ("Pinned", "accent")),
        ("best_model.pt", ("Best", "good")), ("step_30.pt", ("Left behind", "muted")),
    ]  # fmt: skip
    assert state.checkpoint == "step_20.pt"


def test_a_new_checkpoint_is_chosen_unless_a_person_points_at_another(session):
    page = Presenter(session)
    session.checkpoints = (checkpoint("a.pt", step=5),)
    session.list(info(A))
    session.checkpoints = (checkpoint("b.pt", step=6), *session.checkpoints)
    session.list(info(A))
    assert page.store.state.checkpoint == "b.pt"
    page.choose_checkpoint("a.pt")
    session.checkpoints = (checkpoint("c.pt", step=7), *session.checkpoints)
    session.list(info(A))
    assert page.store.state.checkpoint == "a.pt"
    page.resume()
    session.list(info(A))
    assert page.store.state.checkpoint == "c.pt"


def test_going_back_is_asked_for_with_the_newest_as_the_other_choice(session):
    page = Presenter(session)
    session.checkpoints = (
        checkpoint("step_626.pt", step=626), checkpoint("best_model.pt", step=585, roles=["best"]),
        checkpoint("step_700.pt", step=700, state="superseded"),
    )  # fmt: skip
    session.list(info(A))
    assert page.going_back() is None
    page.choose_checkpoint("best_model.pt")
    asked = page.going_back()
    assert (asked.title, asked.newest) == ("Go back 41 steps?", "step_626.pt")
    assert (asked.newest_words, asked.here) == ("Go on from step 626", "Use step 585")
    assert "Left behind" in asked.text
    page.choose_checkpoint("step_700.pt")
    assert page.going_back().title == "Go on from step 700?"
    assert "left behind" in page.going_back().text


@pytest.mark.parametrize(
    ("file", "words"),
    [("best_model.pt", "best one"), ("step_20.pt", "newest one"), ("step_10.pt", "")],
)
def test_what_a_run_needs_while_it_is_on_cannot_be_deleted(session, file, words):
    page = Presenter(session)
    session.checkpoints = (
        checkpoint("step_20.pt", step=20), checkpoint("step_10.pt"),
        checkpoint("best_model.pt", roles=["best"]),
    )  # fmt: skip
    session.run = a_story(A)
    session.list(info(A, state="running"))
    page.choose_checkpoint(file)
    why = page.store.state.why_not_delete
    assert (words in why) if words else not why
    assert page.store.state.why_not_delete_run == "The run is on: stop it first."
    session.run.state = "stopped"
    session.bus.publish(RunChanged())
    assert page.store.state.why_not_delete == page.store.state.why_not_delete_run == ""


def test_resume_says_why_it_cannot(page, session):
    assert page.store.state.why_not_resume == "This run has no checkpoint."
    session.checkpoints = (checkpoint("a.pt", run=C),)
    session.bus.publish(RunsChanged())
    assert page.store.state.why_not_resume == ""
    session.run = a_story(A)
    session.bus.publish(RunChanged())
    assert page.store.state.why_not_resume == "A run is on: stop it first."


def test_a_queued_run_can_be_started_without_a_checkpoint(session):
    page = Presenter(session)
    session.list(info(A, state="queued"))
    assert page.store.state.why_not_resume == ""
    page.resume()
    assert session.calls == [("resume", (A, "", None), {})]


def test_a_complete_run_goes_on_with_another_limit(session):
    page = Presenter(session)
    session.checkpoints = (checkpoint("a.pt", step=10), checkpoint("b.pt", step=5))
    session.list(info(A, total_steps=10))
    page.choose_checkpoint("b.pt")
    assert page.complete_at() == 0
    page.choose_checkpoint("a.pt")
    assert page.complete_at() == 10
    page.resume(25)
    changes = {"epochs": None, "max_steps": 25, "max_tokens": None, "max_time_s": None}
    assert session.calls == [("resume", (A, "a.pt", changes), {})]


def test_the_question_before_deleting_says_what_is_lost(session):
    page = Presenter(session)
    session.checkpoints = (checkpoint("a.pt", roles=["best", "pinned"]),)
    session.list(info(A))
    assert page.what_is_lost() == (
        "The file of step 10 (1.0 KiB) is deleted for good. It is the only one of its run, which "
        "can then not go on. It is pinned."
    )
    assert page.its_files() == "1 checkpoint, 1.0 KiB"


def test_a_read_only_project_names_its_holder(session):
    page = Presenter(session)
    session.read_only = "The project is in use by another window."
    session.checkpoints = (checkpoint("a.pt"),)
    session.list(info(A))
    state = page.store.state
    reasons = {
        state.read_only,
        state.why_not_resume,
        state.why_not_delete,
        state.why_not_delete_run,
    }
    assert reasons == {session.read_only}
    assert page.clone() is None


# -- labels and settings of a run ----------------------------------------------------------------------


def test_a_name_is_one_line_and_the_time_of_the_start_is_no_name(page, session):
    page.rename("  two \n words  ")
    page.rename(rows.short_name(C))
    page.rename("x" * 200)
    names = [more["name"] for _, _, more in session.calls]
    assert names == ["two words", "", "x" * presenter.LONGEST_NAME]


def test_settings_are_cloned_without_the_data_and_can_be_taken_back(page, session):
    source = SourceConfig(1, "/texts")
    session.config = replace(ProjectConfig(), sources=(source,))
    before = session.config
    session.give_settings(C, with_values(ProjectConfig(), {"d_model": 64, "val_split": 0.3}))
    assert page.clone() is before
    assert session.config.model.d_model == 64
    assert session.config.data == before.data
    assert session.config.sources == (source,)
    page.undo_clone(before)
    assert session.config is before


def test_a_queued_copy_leaves_the_settings_of_the_project_alone(page, session):
    session.give_settings(C, with_values(ProjectConfig(), {"d_model": 64}))
    page.enqueue_copy()
    name, (config,), _ = session.calls[-1]
    assert (name, config.model.d_model) == ("enqueue", 64)
    assert session.config == ProjectConfig()


def test_only_what_differs_from_the_run_before_is_shown(page, session):
    session.give_settings(C, with_values(ProjectConfig(), {"learning_rate": 0.001}))
    session.give_settings(B, with_values(ProjectConfig(), {"n_layers": 9}))
    state = page.store.state
    assert state.differences == (("Layers", "4", "9"), ("Learning rate", "0.001", "auto"))
    assert state.sides == ("22 Nov 18:00:02", "22 Nov 18:00:01")
    page.set_all_settings(True)
    assert len(page.store.state.differences) > 30


def test_the_second_chosen_run_is_the_other_side(page, session):
    page.choose_runs([C])
    page.choose_runs([C, A])
    session.give_settings(C, ProjectConfig())
    session.give_settings(A, ProjectConfig())
    assert page.store.state.sides == ("22 Nov 18:00:02", "22 Nov 18:00:00")


def test_the_defaults_and_the_next_run_are_other_sides_too(page, session):
    session.give_settings(C, with_values(ProjectConfig(), {"n_layers": 9}))
    page.set_against("Defaults")
    assert page.store.state.differences == (("Layers", "9", "4"),)
    page.set_against("Next run")
    session.config = with_values(ProjectConfig(), {"n_layers": 9, "d_model": 64})
    session.bus.publish(ConfigChanged())
    assert page.store.state.differences == (("Width", "256", "64"),)
    assert page.store.state.sides[1] == "Next run"


def test_auto_and_the_number_it_became_are_the_same_setting():
    config = ProjectConfig()
    fixed = with_values(config, {"learning_rate": 0.02})
    used = {"train": {"learning_rate": 0.02}, "precision": "fp32"}
    mine = compare.Side("a", config, used)
    assert compare.compare(mine, compare.Side("b", fixed, used), only_different=True) == ()
    other = {"train": {"learning_rate": 0.01}, "precision": "fp32"}
    found = compare.compare(mine, compare.Side("b", config, other), only_different=True)
    assert found == (("Learning rate", "0.02", "0.01"),)
    # One that has not begun has no numbers yet: then what was set is compared.
    found = compare.compare(mine, compare.Side("b", fixed), only_different=True)
    assert found == ()  # it became the number that the other one has
    slower = with_values(config, {"learning_rate": 0.01})
    found = compare.compare(mine, compare.Side("b", slower), only_different=True)
    assert found == (("Learning rate", "0.02", "0.01"),)


def test_the_vocabulary_shown_is_the_one_the_model_has():
    config = with_values(ProjectConfig(), {"target_vocab_size": 4000})
    used = {"model": {"vocab_size": 3000}, "micro_batch_size": 2}
    mine, defaults = compare.Side("a", config, used), compare.Side("Defaults", ProjectConfig())
    found = {name: texts for name, *texts in compare.compare(mine, defaults, only_different=False)}
    assert found["Vocabulary"][0] == "3000"
    assert found["Micro-batch"][0] == "2"
    other = compare.Side("b", config, {"model": {"vocab_size": 4000}, "micro_batch_size": 2})
    found = compare.compare(mine, other, only_different=True)
    assert found == (("Vocabulary", "3000", "4000"),)


def test_device_and_data_are_compared_when_both_runs_have_begun():
    used, config = {"precision": "fp32"}, ProjectConfig()
    mine = compare.side_of("a", a_run(A, config, used, {"device": "CPU"}), 1000)
    theirs = compare.side_of("b", a_run(B, config, used, {"device": "GPU"}), 1000)
    assert compare.compare(mine, theirs, only_different=True) == (("Computed on", "CPU", "GPU"),)
    queued = compare.side_of("b", a_run(B, config), None)
    assert compare.compare(mine, queued, only_different=True) == ()


# -- curves ----------------------------------------------------------------------------------------


def test_a_line_goes_over_steps_tokens_or_minutes():
    story = a_story(A, 4, time=[0.0, 60.0, 120.0, 180.0])
    source = curves.source_of(story, "loss")
    assert curves.line(source, "Steps", 0)[0].tolist() == [1, 2, 3, 4]
    assert curves.line(source, "Tokens", 0)[0].tolist() == [8, 16, 24, 32]
    assert curves.line(source, "Time", 0)[0].tolist() == [0, 1, 2, 3]


def test_a_validation_has_the_tokens_and_minutes_of_its_step():
    story = a_story(A, 4, time=[0.0, 60.0, 120.0, 180.0])
    story.apply(m.Validation(3, 1, 2.5, 12.0, 1.5, True, 24), 130.0)
    source = curves.source_of(story, "val_loss")
    assert curves.line(source, "Tokens", 0)[0].tolist() == [24]
    assert curves.line(source, "Time", 0)[0].tolist() == [2]
    assert curves.line(source, "Steps", 0)[1].tolist() == [2.5]


def test_a_line_has_no_point_where_nothing_is_known():
    story = a_story(A, 4, loss=[3.0, None, float("nan"), 1.0])
    x, y, smoothed = curves.line(curves.source_of(story, "loss"), "Time", 0.5)
    assert (x * 60).tolist() == [0, 3]
    assert y.tolist() == [3, 1]
    assert len(smoothed) == 2
    empty = curves.line(curves.source_of(RunState(A, "train"), "val_loss"), "Tokens", 0.5)
    assert [len(part) for part in empty] == [0, 0, 0]


def test_smoothing_calms_a_long_run_as_much_as_a_short_one():
    noise = np.random.default_rng(0).normal(size=200_000)
    steps = np.arange(200_000.0)
    source = curves.Source(True, steps, noise, steps, steps, steps)
    assert curves.line(source, "Steps", 0.6)[2][1000:].std() < 0.06
    short = curves.Source(True, *(part[:500] for part in (steps, noise, steps, steps, steps)))
    assert 0.3 < curves.line(short, "Steps", 0.6)[2].std() < 0.7


def test_each_metric_has_its_own_smoothing(page):
    assert page.store.state.smoothing == 0  # a validation is shown as it was measured
    page.set_metric("Training loss")
    page.set_smoothing(0.912)
    page.set_metric("Bits per byte")
    assert page.store.state.smoothing == 0
    page.set_metric("Training loss")
    assert page.store.state.smoothing == 0.91


def test_a_long_line_is_made_by_a_task_one_at_a_time_and_the_old_one_stays_meanwhile(monkeypatch):
    monkeypatch.setattr(curves, "INLINE", 5)
    tasks, told = [], []
    lines = curves.Lines(lambda *parts, then: tasks.append((parts, then)), lambda: told.append(1))
    story = a_story(A, 6)
    assert lines.get(story, "loss", "Steps", 0.0) is None
    assert lines.get(story, "loss", "Steps", 0.0) is None
    assert len(tasks) == 1
    (_, function, *arguments), then = tasks[0]
    story.apply(m.Step(7, 3.0, "", 1.0, 0.1, 56, 0, 1, 100.0), 1010.0)
    then(function(*arguments))
    assert told == [1]
    assert len(lines.get(story, "loss", "Steps", 0.0)[0]) == 6  # and a new one is asked for
    assert len(tasks) == 2
    assert lines.get(story, "lr", "Steps", 0.0) is None


def test_a_line_is_kept_until_there_are_more_points():
    lines = curves.Lines(None, None)
    story = a_story(A, 6)
    first = lines.get(story, "loss", "Steps", 0.0)
    assert lines.get(story, "loss", "Steps", 0.0) is first
    story.apply(m.Step(7, 3.0, "", 1.0, 0.1, 56, 0, 1, 100.0), 1010.0)
    assert lines.get(story, "loss", "Steps", 0.0) is not first


def test_lines_of_one_name_are_told_apart():
    assert curves.unique(["a", "a", "b", "a"]) == ["a", "a (2)", "b", "a (3)"]


def test_the_best_point_is_the_lowest():
    curve = curves.Curve(A, "a", 0, np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0]), None)
    assert curves.best_point(curve) == (2.0, 1.0)
    assert curves.best_point(replace(curve, x=curve.x[:0], y=curve.y[:0])) is None


def test_a_run_without_validations_shows_its_training_loss_until_a_person_chooses(page, session):
    assert page.store.state.metric == "Validation loss"
    story = a_story(C, 5)
    session.asked[-1][1](story, None)
    assert (page.store.state.metric, page.store.state.smoothing) == ("Training loss", 0.6)
    for step in (4, 5):
        story.apply(m.Validation(step, 1, 3.0, 20.0, 1.0, False, 8), 1100.0)
    session.asked[-1][1](story, None)
    assert page.store.state.metric == "Validation loss"
    page.set_metric("Validation loss")
    session.asked[-1][1](a_story(C, 5), None)
    assert page.store.state.metric == "Validation loss"


def test_an_empty_chart_says_why(page, session):
    assert page.why_no_curve() == "Reading the run."
    session.asked[-1][1](a_story(C, 0), None)
    assert page.why_no_curve() == "This run has no validation yet."
    page.set_metric("Training loss")
    assert page.why_no_curve() == "This run has made no step yet."


# -- machine and log -------------------------------------------------------------------------------


def vitals(**values):
    known = {
        "cpu_percent": 12.4, "n_cores": 8, "ram_used_bytes": 1 << 30, "ram_total_bytes": 4 << 30,
        "app_cpu_percent": 3.0, "app_ram_bytes": 1 << 20, "gpus": (), "disk_free_bytes": 1 << 40,
    }  # fmt: skip
    return Vitals(**{**known, **values})


def test_what_the_system_does_not_say_is_a_dash():
    none = dict.fromkeys(
        ("cpu_percent", "ram_used_bytes", "ram_total_bytes", "app_cpu_percent", "app_ram_bytes", "disk_free_bytes")
    )  # fmt: skip
    found = dict(rows.machine_rows(vitals(**none, gpus=(GpuVitals("RTX"),)), None))
    assert found == {
        "Processor": "8 cores, - busy", "Memory": "-", "This app": "-, -", "Disk": "-",
        "Graphics card": "RTX", "Video memory": "-", "Load, heat, power": "-, -, -",
    }  # fmt: skip


def test_all_graphics_cards_are_shown(page, session):
    cards = tuple(GpuVitals(f"RTX {i}", 50.0, 1 << 30, 8 << 30, 60.0, 200.4) for i in range(2))
    session.bus.publish(VitalsChanged(vitals(gpus=cards)))
    found = page.store.state.machine
    assert ("Graphics card 1", "RTX 0") in found
    assert ("Graphics card 2", "RTX 1") in found
    assert found.count(("Load, heat, power", "50 %, 60 °C, 200 W")) == 2


def lines(*texts, level="info"):
    return [LogLine(float(i), level, text) for i, text in enumerate(texts)]


def test_the_log_is_filtered_by_level_and_by_all_words():
    log = lines("Saved the Best one", "Best of all") + lines("slow", level="warning")
    log += lines("lost", level="error")
    texts = lambda level, search: [x.text for x in loglines.filter_log(log, level, search)]  # noqa: E731
    assert texts("All levels", "best  SAVED") == ["Saved the Best one"]
    assert texts("Warnings", "") == ["slow", "lost"]
    assert texts("Errors", "") == ["lost"]
    assert texts("Errors", "slow") == []


def test_a_pane_is_told_what_to_drop_and_what_to_add():
    log = lines("a", "b", "c", "d")
    assert loglines.change(log[:2], log) == (0, 2)
    assert loglines.change(log[:3], log[1:]) == (1, 2)
    assert loglines.change(log, log) == (0, 4)
    assert loglines.change(log[:2], log[2:]) is None  # nothing of the old is left
    assert loglines.change(log, log[:2]) is None  # fewer: another filter
    assert loglines.change([log[0], log[2]], log) is None
    assert loglines.change([], log) is None


def test_a_line_of_the_log_stays_one_line_and_is_safe():
    assert loglines.text_of(LogLine(0.0, "info", "two\nlines")) == "two lines"
    assert loglines.text_of(LogLine(0.0, "info", "bell\x07")) == "bell\\x07"


def test_the_log_of_the_run_in_view_is_shown(page, session):
    story = a_story(C)
    story.apply(m.Log("slow disk", "warning"), 5.0)
    session.asked[-1][1](story, None)
    page.set_level("Warnings")
    assert [line.text for line in page.log_lines()] == ["slow disk"]
    n = page.store.state.log_n
    page.set_search("fast")
    assert page.log_lines() == []
    assert page.store.state.log_n == n + 1

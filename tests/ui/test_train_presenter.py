"""The Train tab without a window: settings, forecast, Auto-Select, start, resume, the run."""

import itertools
import math
import queue
import time
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from sllm_core import advice as auto
from sllm_core import estimate, presets, probe, tokenizer, trainer
from sllm_core import messages as m
from sllm_core import project as projects
from sllm_core.config import STYLES, ModelConfig, ProjectConfig, TrainConfig, with_values
from sllm_core.corpus.division import HUGE_BYTES
from sllm_core.dataset import Windows
from sllm_core.errors import ConfigError
from sllm_core.fields import info
from sllm_core.jobs.vitals import GpuVitals, Vitals
from sllm_core.ledger import Row
from sllm_ui.events import Answered, DataChanged, RunChanged, RunsChanged, VitalsChanged
from sllm_ui.facts import Facts
from sllm_ui.runstate import RunState
from sllm_ui.session import Session
from sllm_ui.settings import Settings
from sllm_ui.tabs.train import fieldset, forecast, measuring, outlook, shapes, watch
from sllm_ui.tabs.train.forecast import Machine, Text
from sllm_ui.tabs.train.presenter import Presenter
from sllm_ui.tabs.train.resuming import run_text

GIB = 1 << 30
FACTS = Facts(is_scanned=True, listed=40, used=40, text_bytes=20_000_000)
VITALS = Vitals(10.0, 4, 4 * GIB, 8 * GIB, 1.0, GIB, (), 50 * GIB)


class Quiet(Session):
    """A session that starts no process and does file work at once."""

    def __init__(self, settings):
        super().__init__(settings, queue.Queue())
        self.asked, self.cancelled, self.did, self.notices = [], [], [], []
        self.pipes = SimpleNamespace(advise=self._advise, cancel=self._cancel, close=lambda: None)
        for action in (self.start_training, self.enqueue, self.resume, self.change_live):
            setattr(self.work, action.__name__, action)
        self.chores.do = self._do

    def _do(self, _, function, *arguments, then):
        then(function(*arguments))

    def _advise(self, **body):
        self.asked.append(body)
        return len(self.asked)

    def _cancel(self, source, request):
        self.cancelled.append((source, request))

    def start_training(self):
        self.did.append("start")
        return True

    def enqueue(self):
        self.did.append("queue")

    def resume(self, run_id="", checkpoint="", changes=None):
        self.did.append(("resume", run_id, checkpoint, changes))
        return True

    def change_live(self, values):
        self.did.append(("live", values))

    def notify(self, *words):
        self.notices.append(words)


@pytest.fixture
def session(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    (text / "a.txt").write_text("the cat sat on the mat\n" * 50, encoding="utf-8")
    made = Quiet(Settings(tmp_path / "settings"))
    root = projects.create(tmp_path / "p", [str(text)], ProjectConfig()).root
    made.open(root)
    made.now.facts, made.vitals = FACTS, VITALS
    yield made
    made.close()


@pytest.fixture
def page(session):
    return Presenter(session)


@pytest.fixture
def patient(monkeypatch):
    """Time that passes when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(measuring.time, "monotonic", lambda: now[0])
    return now


def state(page):
    return page.store.state


def config(page):
    return page.session.config


def run_of(page, *said, run_id="20261122-184218-train-ab12"):
    """A run in view that has said these messages a second apart."""
    run = RunState(run_id, "train")
    for i, message in enumerate(said):
        run.apply(message, 1000.0 + i)
    page.session.now.run = run
    page.session.bus.publish(RunChanged())
    return run


def step(n, loss=2.0):
    return m.Step(n, loss, "", 1.0, 1e-3, n * 100, n, 1, 5000.0)


PLAN = m.Plan(0, 1000, 100, "all", 2_000_000, 4096, 100, 8, 4, "fp32", "measured", 60.0)
STARTED = m.Started("r", "train", 1)


# The fields


def test_every_setting_of_model_and_training_has_one_place():
    here = {field.name for kind in (ModelConfig, TrainConfig) for field in fields(kind)}
    assert set(fieldset.SHOWN) == here - fieldset.LEFT_OUT | {"target_vocab_size"}
    assert len(fieldset.SHOWN) == len(set(fieldset.SHOWN))


def test_advanced_and_plain_fields_are_divided_without_loss():
    for part in fieldset.SECTIONS:
        for group in part.groups:
            both = [fieldset.names_of(group, is_advanced=on) for on in (False, True)]
            assert sorted((*both[0], *both[1])) == sorted(group.names)
    checkpoints = fieldset.SECTIONS[5].groups[0]
    assert "keep_last" in fieldset.names_of(checkpoints, is_advanced=False)
    assert info(TrainConfig, "keep_last").is_advanced


def test_the_fields_a_run_takes_over_are_those_of_the_core():
    live = {
        name for part in fieldset.SECTIONS for g in part.groups if g.is_live for name in g.names
    }
    assert live == set(m.LIVE)


def test_a_value_typed_is_taken_over_and_stored(page):
    page.set_field("d_model", "128")
    assert config(page).model.d_model == 128
    assert state(page).form.texts["d_model"] == "128"
    assert not state(page).form.errors


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("d_model", "12x", "It must be a whole number"),
        ("d_model", "", "It must be a whole number"),
        ("d_model", "4", "The smallest is 8"),
        ("dropout", "nan", "It must be a finite number"),
        ("learning_rate", "7", "The largest is 0.2"),
        ("n_heads", "7", "The width 256 is not divisible by 7 heads"),
        ("n_kv_heads", "3", "4 heads cannot share 3 key/value heads"),
        ("seq_len", "100000", "The window of 100000 tokens"),
        ("optimizer", "sgd", "Choose one of auto, muon, adamw"),
        ("keep_last", "0", "The smallest is 1"),
    ],
)
def test_a_bad_value_stays_in_its_field_and_blocks_start(page, name, text, reason):
    before = config(page)
    page.set_field(name, text)
    form = state(page).form
    assert form.texts[name] == text
    assert form.errors[name].startswith(reason)
    assert config(page) == before
    assert state(page).go.why.startswith(fieldset.label_of(name))
    assert page.why_not_start() == state(page).go.why
    assert page.start() is False and page.session.did == []
    page.set_field(name, fieldset.texts_of(before)[name])
    assert not state(page).form.errors and not state(page).go.why


def test_texts_that_are_wrong_because_of_each_other_become_right_together(page):
    page.set_field("d_model", "300")  # not divisible by 4 heads into even ones: 75
    page.set_field("n_heads", "7")  # nor by 7
    assert set(state(page).form.errors) == {"d_model", "n_heads"}
    page.set_field("n_heads", "10")
    assert (config(page).model.d_model, config(page).model.n_heads) == (300, 10)
    assert not state(page).form.errors


def test_a_waiting_text_is_taken_as_soon_as_it_is_right(page):
    page.set_field("seq_len", "512")  # longer than the longest context of 256
    page.set_field("max_seq_len", "1024")
    assert (config(page).train.seq_len, config(page).model.max_seq_len) == (512, 1024)


def test_a_waiting_text_is_taken_although_another_stays_wrong(page):
    page.set_field("seq_len", "512")
    page.set_field("d_model", "301")
    page.set_field("max_seq_len", "1024")
    assert (config(page).train.seq_len, config(page).model.d_model) == (512, 256)
    assert set(state(page).form.errors) == {"d_model"}


def test_a_preset_replaces_what_was_typed_wrongly(page):
    page.set_field("d_model", "x")
    page.choose_preset(state(page).preset.labels[1])
    assert not state(page).form.errors and not state(page).go.why


def test_a_section_is_remembered(page, tmp_path):
    page.toggle_section("schedule", True)
    page.toggle_section("model", False)
    page.toggle_section("schedule", True)
    assert Settings(tmp_path / "settings").values.sections == ("schedule",)


def test_open_fields_say_what_they_will_be(page):
    notes = state(page).form.notes
    assert notes["n_heads"] == "64 each"
    assert notes["d_ff"] == "= 672"
    assert notes["optimizer"] == "= muon"
    assert notes["learning_rate"] == "= 0.02"
    page.set_field("d_ff", "700")
    assert "d_ff" not in state(page).form.notes


# The limit that counts


@pytest.mark.parametrize("kind", fieldset.BUDGETS)
def test_a_kind_of_limit_gets_a_value_and_is_the_only_one(page, kind):
    page.session.change({"max_steps": 5, "max_time_s": 60.0})
    assert "whichever comes first" in state(page).form.budget_note
    page.set_budget_kind("Tokens")
    page.set_budget_kind(kind)
    given = {name: getattr(config(page).train, name) for name in fieldset.LIMITS}
    assert [name for name, value in given.items() if value is not None] == [
        name for name in [fieldset.BUDGETS[kind]] if name
    ]
    assert state(page).form.budget == kind
    assert (state(page).form.budget_text == "") == (kind == "Automatic")


def test_a_time_is_typed_as_a_person_says_it(page):
    page.set_budget_kind("Time")
    page.set_budget("1h30m")
    assert config(page).train.max_time_s == 5400
    assert state(page).form.budget_text == "1h30m"
    page.set_budget("soon")
    assert state(page).form.budget_error.startswith("It must be a length of time")
    assert state(page).form.budget_text == "soon"
    assert state(page).go.why.startswith("Time: ")
    assert config(page).train.max_time_s == 5400
    page.set_budget_kind("Epochs")
    assert not state(page).form.budget_error and not state(page).go.why


@pytest.mark.parametrize("seconds", [1.0, 59.0, 60.0, 61.0, 3600.0, 5400.0, 90_061.0])
def test_a_time_shown_is_the_time_typed(seconds):
    assert fieldset.parse_budget("Time", fieldset.time_text(seconds)) == seconds


@pytest.mark.parametrize(("kind", "text"), [("Epochs", "0"), ("Steps", "1.5"), ("Tokens", "auto")])
def test_a_limit_that_cannot_be_says_why(page, kind, text):
    page.set_budget_kind(kind)
    before = config(page)
    page.set_budget(text)
    assert state(page).form.budget_error and config(page) == before


# The one knob


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("vocab_size", [272, 5_000, 32_000, 200_000])
def test_every_position_of_the_slider_is_valid_and_as_large_as_it_says(style, vocab_size):
    base = with_values(ProjectConfig(), {"style": style, "batch_size": 7, "head_dim": 32})
    rungs = shapes.ladder(base.model, vocab_size)
    assert len(rungs) > 20
    for shape in rungs:
        made = with_values(base, shape.values())  # raises where a check fails
        n = estimate.count_parameters(replace(made.model, vocab_size=vocab_size)).total
        assert n == shape.n_params
        assert made.train.batch_size is None
    sizes = [shape.n_params for shape in rungs]
    assert sizes == sorted(set(sizes))
    steps = [b / a for a, b in itertools.pairwise(sizes)]
    assert max(steps) < 1.55  # a wide table of tokens jumps with the width


def test_the_slider_is_made_in_a_moment():
    shapes._ladder.cache_clear()
    start = time.process_time()
    shapes.ladder(ModelConfig(), 12_345)
    assert time.process_time() - start < 0.2


def test_the_slider_sets_the_size_and_stands_where_it_was_put(page):
    n = state(page).preset.n_rungs
    for rung in (0, 7, n - 1):
        page.set_size(rung)
        assert state(page).preset.rung == rung
        assert state(page).preset.size == state(page).outlook.parameters


def test_the_slider_ends_at_what_fits_this_machine(page):
    most = state(page).preset.n_rungs
    page.session.vitals = replace(VITALS, ram_used_bytes=int(7.5 * GIB))
    page.session.bus.publish(VitalsChanged(page.session.vitals))
    assert 4 <= state(page).preset.n_rungs < most
    page.set_size(10_000)
    assert state(page).outlook.badge == ("Fits", "good")


# Presets


def test_every_preset_can_be_chosen_and_shows_its_real_size(page):
    shown = set()
    for group in outlook.GROUPS:
        page.choose_group(group)
        for label in state(page).preset.labels:
            page.choose_preset(label)
            assert state(page).preset.label == label
            assert label.endswith(f", {state(page).outlook.parameters}")
            shown.add(config(page).preset)
    assert shown == {preset.name for preset in presets.PRESETS}


def test_a_changed_preset_is_called_own_settings(page):
    page.choose_preset(state(page).preset.labels[1])
    page.set_field("dropout", "0.2")
    assert state(page).preset.label == outlook.OWN


def test_a_project_opens_with_the_group_of_its_preset(session):
    session.choose_preset("GPU 8 GB")
    assert Presenter(session).store.state.preset.group == "By GPU memory"


# The forecast


def test_the_numbers_of_the_worker_are_those_used_here():
    assert (forecast.CPU_TOKENS, forecast.MEMORY_SHARE) == (probe.CPU_TOKENS, probe.MEMORY_SHARE)
    assert forecast.SAVE_ROOM == trainer.ROOM
    assert forecast.BYTE_VOCAB == tokenizer.BYTE_VOCAB_SIZE
    assert forecast.HUGE_BYTES == HUGE_BYTES


@pytest.mark.parametrize("tokens", [2, 3, 64, 65, 66, 100, 1000, 12_345])
@pytest.mark.parametrize(("seq_len", "stride"), [(2, 1), (64, 64), (64, 32), (64, 100)])
def test_windows_are_counted_as_the_run_counts_them(tokens, seq_len, stride):
    import numpy as np

    counted = forecast.count_windows(tokens, seq_len, stride)
    if tokens < seq_len + 1:
        assert counted == 0
    else:
        assert counted == Windows(np.zeros(tokens), seq_len, stride, 0).n_windows


@pytest.mark.parametrize("text_bytes", [1_000, 60_000, 70_000, 500_000, 5_000_000])
def test_the_vocabulary_expected_is_the_one_that_will_be_made(text_bytes):
    made, _ = tokenizer.advise_vocab_size(16_000, text_bytes)
    facts = replace(FACTS, text_bytes=text_bytes)
    found = forecast.expected_text(ProjectConfig(), facts, is_locked=False)
    assert found.vocab_size == made
    assert found.is_estimated and found.train_tokens


def test_a_tokenizer_that_stays_is_counted_with():
    wish = tuple(sorted({f.name: getattr(ProjectConfig().tokenizer, f.name) for f in fields(
        type(ProjectConfig().tokenizer))}.items()))  # fmt: skip
    facts = replace(
        FACTS, vocab_size=4_321, tokenizer_wish=wish, train_tokens=5_000_000, val_tokens=500_000,
        prepared_bytes=20_000_000,
    )  # fmt: skip
    same = forecast.expected_text(ProjectConfig(), facts, is_locked=False)
    assert same == Text(4_321, "4,321 in use", 5_000_000, is_estimated=False)
    other = with_values(ProjectConfig(), {"target_vocab_size": 8_000})
    assert forecast.expected_text(other, facts, is_locked=False).vocab_size == 8_000
    kept = forecast.expected_text(other, facts, is_locked=True)
    assert kept.vocab_size == 4_321 and kept.vocab_note.startswith("stays")
    grown = replace(facts, text_bytes=40_000_000)
    assert forecast.expected_text(ProjectConfig(), grown, is_locked=False).is_estimated


def test_nothing_is_said_of_steps_before_there_is_text(page):
    page.session.now.facts = Facts()
    page.session.bus.publish(DataChanged())
    figures = {figure.title: figure.value for figure in state(page).outlook.figures}
    assert figures["Steps"] == figures["Epochs"] == figures["Time"] == figures["Disk"] == "-"
    assert state(page).outlook.parameters != "-"


def test_a_time_budget_has_no_steps_until_a_step_is_measured():
    settings = with_values(ProjectConfig(), {"max_time_s": 600.0})
    text = Text(5_000, "", 1_000_000)
    unknown = forecast.make_forecast(settings, text, Machine(), None)
    assert (unknown.steps, unknown.time_s, unknown.disk_bytes) == (None, None, None)
    also = with_values(settings, {"max_steps": 900})  # which of the two comes first is not known
    assert forecast.make_forecast(also, text, Machine(), None).steps is None
    assert forecast.make_forecast(also, text, Machine(), probed(step_s=0.5)).steps == 900
    known = forecast.make_forecast(settings, text, Machine(), probed(step_s=0.5))
    assert (known.steps, known.time_s) == (1200, 600.0)


def probed(request=1, step_s=0.5, **changes):
    made = m.Probed(request, step_s, 8000.0, 8, 4, "fp32", "", "cpu", 1, None, 1, 2, 100, 50.0, "")
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("free", "total", "fit"),
    [(7.5, 8, "fits"), (None, None, "unknown"), (0.001, 8, "no"), (0.001, 0.001, "never")],
)
def test_the_badge_says_whether_it_fits(free, total, fit):
    sizes = [None if size is None else int(size * GIB) for size in (free, total)]
    f = forecast.make_forecast(
        ProjectConfig(), Text(5_000, "", 1_000_000), Machine("cpu", "Memory", *sizes), None
    )
    assert f.fit == fit
    assert bool(forecast.why_not(f)) == (fit == "never")


def test_a_full_disk_blocks_start_with_the_numbers(page):
    page.session.vitals = replace(VITALS, disk_free_bytes=1_000_000)
    page.session.bus.publish(VitalsChanged(page.session.vitals))
    assert state(page).outlook.badge == ("Disk too full", "bad")
    assert "of disk" in state(page).go.why


def test_the_memory_of_a_card_counts_when_there_is_one(page):
    card = GpuVitals("RTX 4070", 5.0, 2 * GIB, 12 * GIB)
    page.session.vitals = replace(VITALS, gpus=(card,))
    page.session.bus.publish(VitalsChanged(page.session.vitals))
    assert state(page).outlook.memory_name == "Video memory"
    assert state(page).outlook.memory.endswith("of 12.0 GiB")
    page.set_field("device", "cpu")
    assert state(page).outlook.memory_name == "Memory"


def test_small_changes_of_free_memory_change_nothing_on_the_page(page):
    seen = []
    page.store.listen(lambda _, new: seen.append(new))
    page.session.vitals = replace(
        VITALS, ram_used_bytes=VITALS.ram_used_bytes - 1_000_000, cpu_percent=90.0
    )
    page.session.bus.publish(VitalsChanged(page.session.vitals))
    assert seen == []


def test_too_little_text_for_a_window_blocks_start(page):
    page.session.now.facts = replace(
        FACTS, text_bytes=500, prepared_bytes=500, train_tokens=100, val_tokens=10, vocab_size=300,
        is_tokenizer_imported=True,
    )  # fmt: skip
    page.session.bus.publish(DataChanged())
    assert "too few for one window" in state(page).go.why


def test_settings_without_a_single_step_block_start(page):
    page.session.now.facts = replace(
        FACTS, text_bytes=5000, prepared_bytes=5000, train_tokens=3000, val_tokens=10,
        vocab_size=300, is_tokenizer_imported=True,
    )  # fmt: skip
    page.session.change({"epochs": 0.001})
    assert "no step at all" in state(page).go.why


@pytest.mark.parametrize(
    ("tokens", "epochs", "word", "tone"),
    [
        (40_000, 1.0, "suits up to about 2 M parameters", "warn"),
        (3_000_000, 15.0, "read 15 times", "muted"),
        (3_000_000, 50.0, "read 50 times", "warn"),
        (1_000_000_000, 2.0, "Far more", "muted"),
        (100_000_000, 1.0, "size and text agree", "good"),
        (5_000_000, 2.0, "more steps", "muted"),
        (5_000_000, 8.0, "more text", "muted"),
    ],
)
def test_size_against_text_comes_with_advice(tokens, epochs, word, tone):
    settings = with_values(ProjectConfig(), {"epochs": epochs, "batch_size": 4})
    f = forecast.make_forecast(settings, Text(8_000, "", tokens), Machine(), None)
    words, shown = forecast.advice(f)
    assert word in words and shown == tone


@pytest.mark.parametrize("n_bytes", [150_000, 3_000_000, 60_000_000])
def test_what_auto_select_proposes_is_not_warned_of(n_bytes):
    text = auto.Text(100, n_bytes)
    machine = auto.Machine("cpu", "here", "fp32", "", 1e-6, 1e-11, 1e-11, 8 * GIB, 50 * GIB)
    found = auto.choose(text, machine, ProjectConfig())
    settings = with_values(ProjectConfig(), found.values)
    facts = replace(FACTS, text_bytes=n_bytes)
    expected = forecast.expected_text(settings, facts, is_locked=False)
    f = forecast.make_forecast(settings, expected, Machine(), probed(step_s=found.choice.step_s))
    assert forecast.advice(f)[1] != "warn"


# The trial step


def test_a_trial_is_made_by_itself_once_settings_have_settled(session, patient):
    page = Presenter(session)
    page.tick()
    assert session.asked == []
    patient[0] += 2.0
    page.set_field("d_model", "128")
    patient[0] += 2.0
    page.tick()
    assert session.asked == []
    patient[0] += 1.0
    page.tick()
    page.tick()
    assert [body["do"] for body in session.asked] == ["probe"]
    assert session.asked[0]["values"]["d_model"] == 128
    assert session.asked[0]["train_tokens"] > 1_000_000
    assert state(page).probe.status == "busy"


def test_a_measured_time_is_shown_and_kept_for_its_shape(page):
    page.measure = page.measuring.measure
    page.measure()
    page.session.bus.publish(Answered("adviser", probed(step_s=0.25)))
    figures = {figure.title: figure.value for figure in state(page).outlook.figures}
    steps = int(figures["Steps"].replace(",", ""))
    assert figures["Time"] == watch.short_time(steps * 0.25)
    assert state(page).probe.status == "done"
    page.set_field("d_model", "128")
    assert {f.title: f.value for f in state(page).outlook.figures}["Time"] == "-"
    page.set_field("d_model", "256")
    page.session.change({"max_steps": 10})  # how many steps does not matter for one
    assert {f.title: f.value for f in state(page).outlook.figures}["Time"] == "2 s"
    assert len(page.session.asked) == 1


def test_no_trial_is_made_while_a_run_is_on(session, patient):
    page = Presenter(session)
    run_of(page, STARTED)
    patient[0] += 100
    page.tick()
    assert session.asked == []
    assert state(page).probe.why_not.startswith("A run is on")


def test_a_slow_trial_is_made_only_when_asked(session, patient):
    page = Presenter(session)
    page.choose_group("By size")
    page.choose_preset(state(page).preset.labels[2])
    patient[0] += 100
    page.tick()
    assert session.asked == []
    page.measuring.measure()
    assert len(session.asked) == 1


def test_a_trial_that_was_stopped_is_not_made_again_unasked(session, patient):
    page = Presenter(session)
    patient[0] += 100
    page.tick()
    page.measuring.cancel_measure()
    assert session.cancelled == [("adviser", 1)]
    patient[0] += 100
    page.tick()
    assert len(session.asked) == 1
    assert state(page).probe.status == "failed"


def test_a_trial_that_fails_says_why_and_time_stays_unknown(page):
    page.measuring.measure()
    page.session.bus.publish(Answered("adviser", m.Failed("E-MEM-STEP", "No room.", request=1)))
    assert state(page).probe.status == "failed" and state(page).probe.words == "No room."
    assert {f.title: f.value for f in state(page).outlook.figures}["Time"] == "-"


def test_an_answer_to_an_older_question_is_dropped(page):
    page.measuring.measure()
    page.session.bus.publish(Answered("adviser", probed(request=99)))
    page.session.bus.publish(Answered("writer", m.Failed("E-X", "not ours", request=1)))
    assert state(page).probe.status == "busy"


# Auto-Select


def proposal(**values):
    reasons = {name: f"because of {name}" for name in values}
    return m.Proposal(1, values, reasons, "A model of 4 M.", 4, 5, True, 6.0, 7, 8.0, 9, 10, "cpu")


def test_auto_select_proposes_and_changes_nothing_before_it_is_accepted(page):
    before = config(page)
    page.auto_select()
    assert state(page).advice.status == "busy"
    page.session.bus.publish(Answered("adviser", m.Log("Measuring.")))
    assert state(page).advice.words == "Measuring."
    page.session.bus.publish(Answered("adviser", proposal(d_model=128, n_heads=4, max_steps=None)))
    advice = state(page).advice
    assert (advice.status, config(page)) == ("ready", before)
    assert [(c.words, c.before, c.reason) for c in advice.changes] == [
        ("Width 128", "256", "because of d_model"),
        ("Heads 4", "", "because of n_heads"),
    ]
    page.measuring.dismiss_advice()
    assert (state(page).advice.status, config(page)) == ("", before)


def test_a_proposal_is_applied_and_taken_back(page):
    before = config(page)
    page.auto_select()
    page.session.bus.publish(Answered("adviser", proposal(d_model=128, batch_size=7)))
    page.apply_advice()
    assert (config(page).model.d_model, config(page).train.batch_size) == (128, 7)
    assert state(page).advice.status == "applied"
    page.measuring.undo_advice()
    assert config(page) == before
    assert state(page).advice.status == ""


def test_undo_is_gone_once_a_person_has_gone_on(page):
    page.auto_select()
    page.session.bus.publish(Answered("adviser", proposal(d_model=128)))
    page.apply_advice()
    page.set_field("n_layers", "2")
    assert state(page).advice.status == ""
    page.measuring.undo_advice()
    assert (config(page).model.d_model, config(page).model.n_layers) == (128, 2)


def test_auto_select_can_be_stopped_and_can_fail(page):
    page.auto_select()
    page.measuring.cancel_advice()
    assert page.session.cancelled == [("adviser", 1)] and state(page).advice.status == ""
    page.auto_select()
    page.session.bus.publish(Answered("adviser", m.Failed("E-WORKER-DIED", "It died.")))
    assert (state(page).advice.status, state(page).advice.words) == ("failed", "It died.")


def test_auto_select_is_refused_with_the_reason(page):
    page.session.now.config = replace(config(page), sources=())
    page.auto_select()
    assert page.session.asked == []
    assert page.session.notices[0][1:] == (
        "Auto-Select cannot start", "Add a folder with text on the Data tab first."
    )  # fmt: skip


# Start, queue, resume


def test_start_starts(page):
    assert state(page).go.label == "Start training" and page.start()
    assert page.session.did == ["start"]


def test_a_double_click_on_start_queues_no_second_run(session, patient):
    page = Presenter(session)
    page.start()
    run_of(page)
    assert page.start() is False
    patient[0] += 2.0
    assert page.start() and session.did == ["start", "queue"]


def test_what_is_being_typed_counts_before_start(page):
    page.settle = lambda: page.set_field("d_model", "wide")
    assert page.why_not_start().startswith("Width")
    page.set_field("d_model", "64")
    assert page.start() is False
    assert page.session.did == []
    assert "Width" in page.session.notices[0][2]


@pytest.mark.parametrize("do", ["measure", "auto_select"])
def test_a_run_that_begins_anywhere_ends_what_is_measured(page, do):
    getattr(page.measuring, do)()
    run_of(page, STARTED)
    assert page.session.cancelled == [("adviser", 1)]
    assert (state(page).probe.status, state(page).advice.status) == ("", "")


def test_without_a_project_everything_says_so(tmp_path):
    page = Presenter(Quiet(Settings(tmp_path / "s")))
    assert not state(page).is_open
    assert state(page).go.why == state(page).form.locked == "Open or make a project first."
    page.set_field("d_model", "64")
    page.set_size(3)
    page.choose_preset(state(page).preset.labels[0])
    page.set_budget_kind("Time")
    assert config(page) == ProjectConfig()


def test_a_read_only_project_can_be_read_and_not_changed(page):
    page.session.now.read_only = "The window of process 7 has the project."
    page.session.bus.publish(DataChanged())
    before = config(page)
    form = state(page).form
    assert form.locked == form.locked_live == page.session.read_only
    page.set_field("keep_last", "9")
    page.set_size(0)
    page.set_budget("3")
    assert config(page) == before
    assert state(page).go.why == state(page).resume.why == page.session.read_only


def test_during_a_run_the_form_is_locked_but_for_what_the_run_takes_over(page):
    run_of(page, STARTED, PLAN)
    form = state(page).form
    assert form.locked.startswith("A run is on") and not form.locked_live
    page.set_field("d_model", "64")
    assert config(page).model.d_model == 256
    page.set_field("save_interval", "50")
    assert config(page).train.save_interval == 50
    assert page.session.did == [("live", {"save_interval": 50})]
    page.set_field("save_interval", "auto")  # nothing a run could be told
    assert len(page.session.did) == 1


def test_the_next_run_can_be_set_up_and_queued_while_one_is_on(page):
    run_of(page, STARTED, PLAN)
    assert state(page).go.label == "Queue"
    page.plan_next(True)
    page.set_field("d_model", "64")
    page.set_field("save_interval", "70")
    assert (config(page).model.d_model, page.session.did) == (64, [])
    page.set_field("n_layers", "none")
    assert page.start() is False
    page.set_field("n_layers", "3")
    assert page.start() and page.session.did == ["queue"]
    assert not state(page).form.is_next


def test_the_end_of_a_run_unlocks_the_form(page):
    run = run_of(page, STARTED, PLAN)
    page.plan_next(True)
    run.apply(m.Stopped(5, "checkpoints/a.pt", "asked"), 1010.0)
    page.session.bus.publish(RunChanged())
    assert not state(page).form.locked and not state(page).form.is_next
    assert state(page).go.label == "Start training"


ROWS = (
    Row("b.pt", "", 9, 200, 1, 9, "20261122-184218-train-ab12", None, 2.5, ("last",)),
    Row("best_model.pt", "", 9, 100, 1, 9, "20261122-184218-train-ab12", None, 2.4, ("best",)),
    Row("o\nld.pt", "", 9, 900, 1, 9, "odd\nname", None, None, (), "superseded"),
)


def show_checkpoints(page):
    page.session.archive.checkpoints = ROWS
    page.session.bus.publish(RunsChanged())


def test_any_checkpoint_can_be_resumed_from(page):
    run_of(page, STARTED, m.Stopped(200, "", ""))
    show_checkpoints(page)
    rows = state(page).resume.rows
    assert [(r.step, r.val_loss, r.badge[0]) for r in rows] == [
        ("200", "2.500", ""), ("100", "2.400", "best"), ("900", "-", "left behind"),
    ]  # fmt: skip
    assert "\n" not in rows[2].run + rows[2].name
    assert "200" in state(page).resume.tip
    page.resume()
    page.resuming.open(True)
    page.resuming.choose(1)
    assert page.resume_chosen()
    run_id = ROWS[0].run
    assert page.session.did == [
        ("resume", run_id, "", None), ("resume", run_id, "best_model.pt", None),
    ]  # fmt: skip
    assert not state(page).resume.is_open


def test_the_newest_checkpoint_that_was_not_left_behind_is_chosen_first(page):
    run_of(page, STARTED, m.Stopped(200, "", ""))
    run_id = ROWS[0].run
    page.session.archive.checkpoints = (
        Row("left.pt", "", 9, 300, 1, 9, run_id, None, None, (), "superseded"),
        Row("best_model.pt", "", 9, 200, 1, 9, run_id, None, None, ("best",)), *ROWS,
    )  # fmt: skip
    page.session.bus.publish(RunsChanged())
    page.resuming.open(True)
    resume = state(page).resume
    assert resume.rows[resume.chosen].file == "b.pt"


def test_a_resumed_run_may_get_another_limit(page):
    run_of(page, STARTED, PLAN, step(1000), m.Done(1000))
    show_checkpoints(page)
    assert page.resume() is False  # complete: it asks how far
    resume = state(page).resume
    assert (resume.is_open, resume.limit, resume.limit_text) == (True, "Steps", "2000")
    page.resuming.set_limit("Time", "x")
    assert state(page).resume.error and not page.resume_chosen()
    page.resuming.set_limit("Epochs", "4")
    assert page.resume_chosen()
    changes = {"epochs": 4.0, "max_steps": None, "max_tokens": None, "max_time_s": None}
    assert page.session.did == [("resume", ROWS[0].run, "b.pt", changes)]


def test_resume_without_a_run_says_so(page):
    assert state(page).resume.why == "There is no run yet."
    page.resuming.open(True)
    assert not state(page).resume.is_open


def test_the_name_of_a_run_is_its_time():
    assert run_text("20261122-184218-train-ab12").endswith("18:42")
    assert run_text("a\u202eb") == "a\\u202eb"


# The run


def tiles(page):
    return {tile.title: tile for tile in state(page).run.tiles}


def test_before_the_first_run_the_page_explains_with_this_projects_numbers(page):
    assert state(page).run is None
    words = " ".join(text for _, text in state(page).intro)
    assert "40 files" in words and state(page).outlook.parameters in words


def test_a_new_run_has_figures_that_are_not_known_and_says_so(page):
    run_of(page)
    assert {tile.value for tile in state(page).run.tiles} == {"-"}
    assert state(page).run.current == 0


def test_the_figures_of_a_run(page):
    page.session.now.facts = replace(FACTS, vocab_size=5000)
    said = [STARTED, PLAN, *(step(n, loss=4.0) for n in range(1, 100))]
    said += [
        m.Validation(98, 1, 3.1, 22.2, 1.2, True, 9),
        m.Validation(99, 1, 3.0, 20.1, 1.15, True, 9),
    ]
    run_of(page, *said)
    found = tiles(page)
    assert (found["Train loss"].value, found["Train loss"].note) == ("4.000", "mean of last 50")
    assert (found["Val loss"].value, found["Val loss"].tone) == ("3.000", "good")
    assert (found["Perplexity"].value, found["Perplexity"].note) == ("20.1", "of 5,000")
    assert (found["Bits per byte"].value, found["Bits per byte"].note) == ("1.150", "down 0.050")
    assert found["Tokens/s"].value == "5 k" and found["Tokens/s"].note == "1.0 s a step"
    assert found["Time left"].value == "15 min"


def test_a_worse_validation_names_the_best(page):
    run_of(
        page,
        STARTED,
        m.Validation(10, 1, 3.0, 20.0, 1.1, True, 9),
        m.Validation(20, 1, 3.2, 24.0, 1.2, False, 9),
    )
    assert (tiles(page)["Val loss"].note, tiles(page)["Val loss"].tone) == ("best 3.000, 10", "fg")
    assert tiles(page)["Bits per byte"].note == "up 0.100"


def test_messages_by_the_hundred_wait_for_the_tick(page):
    run = run_of(page, STARTED, PLAN, step(1))
    seen = []
    page.store.listen(lambda _, new: seen.append(new))
    for n in range(2, 300):
        run.apply(step(n), 1000.0 + n)
        page.session.bus.publish(RunChanged())
    assert seen == []
    page.tick()
    assert len(seen) == 1 and seen[0].run.version == run.version


def test_the_steps_show_time_or_share_and_where_it_failed(page):
    run_of(
        page, STARTED, m.Progress("setup", 1, 1, "", "done", 0.24),
        m.Progress("reading", 1, 1, "", "done", 75.0), m.Progress("encoding", 30, 100, "bytes"),
    )  # fmt: skip
    shown = state(page).run
    assert [time for _, time in shown.steps[:4]] == ["0.2 s", "1:15", "", "30%"]
    assert shown.current == 3 and not shown.is_failed
    page.session.run.apply(m.Failed("E-DISK-FULL", "The disk is full. [E-DISK-FULL]"), 1010.0)
    page.session.bus.publish(RunChanged())
    assert (state(page).run.current, state(page).run.is_failed) == (3, True)


def test_a_failed_run_says_why_its_last_lines_and_what_to_do(page):
    show_checkpoints(page)
    lines = tuple(f"line {n}" for n in range(20))
    run_of(
        page,
        STARTED,
        m.Failed("E-WORKER-DIED", "It was killed. [E-WORKER-DIED]", -9, "SIGKILL", lines),
    )
    banner = state(page).run.banner
    assert (banner.tone, banner.title) == ("warn", "The run was interrupted")
    assert banner.text == "It was killed."
    assert banner.lines[-1] == "line 19" and banner.code == "E-WORKER-DIED"
    assert banner.go_on == "Continue from step 200"
    run_of(page, STARTED, m.Failed("E-X", "It is full. [E-X]"))
    banner = state(page).run.banner
    assert (banner.tone, banner.title, banner.text) == ("bad", "The run failed", "It is full.")
    assert banner.go_on == "Continue from step 200"


def test_an_interrupted_run_offers_to_continue(page):
    show_checkpoints(page)
    run = run_of(page, STARTED, PLAN, step(250))
    run.state = "interrupted"
    page.session.bus.publish(RunChanged())
    assert state(page).run.banner.title == "The run was interrupted at step 250"
    assert state(page).run.banner.go_on == "Continue from step 200"
    assert not state(page).form.locked


def test_samples_are_looked_back_at_until_the_newest_is_wanted_again(page):
    run = run_of(
        page, STARTED, *(m.Sample(n, p, f"{p} {n}") for n in (20, 40, 60) for p in ("A", "B"))
    )
    shown = state(page).run
    assert (shown.n_samples, shown.sample_at, shown.sample.step) == (3, 2, 60)
    assert shown.sample.parts == (("A", "A 60"), ("B", "B 60"))
    page.watching.scrub(0)
    run.apply(m.Sample(80, "A", "new"), 1100.0)
    page.session.bus.publish(RunChanged())
    assert (state(page).run.sample.step, state(page).run.n_samples) == (20, 4)
    page.watching.scrub(3)
    run.apply(m.Sample(100, "A", "newer"), 1101.0)
    page.session.bus.publish(RunChanged())
    assert state(page).run.sample.step == 100


def test_the_log_is_told_from_where_it_was_read(page):
    run = run_of(page, STARTED, m.Log("one"), m.Log("two", "warning"))
    assert [(line.text, line.level) for line in page.watching.log_since(1)] == [("two", "warning")]
    assert page.watching.log_since(2) == []
    for n in range(4000):
        run.apply(m.Log(f"line {n}"), 2000.0)
    assert len(page.watching.log_since(1000)) == 3000
    assert page.watching.log_since(run.n_lines - 1)[0].text == "line 3999"
    assert page.watching.log_text().endswith("line 3999")


def test_pure_guessing_is_the_logarithm_of_the_vocabulary(page):
    assert page.watching.guessing() is None
    page.session.now.facts = replace(FACTS, vocab_size=16_000)
    assert page.watching.guessing() == (math.log(16_000), "ln(V) = 9.68, guessing")


def test_another_run_shows_its_own_samples_from_the_newest(page):
    run_of(page, STARTED, m.Sample(20, "A", "x"), m.Sample(40, "A", "y"))
    page.watching.scrub(0)
    run_of(page, STARTED, m.Sample(10, "A", "p"), m.Sample(30, "A", "q"), run_id="other")
    assert state(page).run.sample.step == 30


def test_the_view_of_the_charts_is_kept(page):
    page.watching.show_chart("Gradient")
    page.watching.set_scale("Log")
    page.watching.set_span("Last 1k")
    page.watching.show_chart("Writes")
    now = state(page)
    assert (now.chart, now.side, now.scale, now.span) == ("Gradient", "Writes", "Log", "Last 1k")
    page.watching.show_chart("Loss")
    assert (state(page).chart, state(page).side) == ("Loss", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (-1, "-"), (0, "0 s"), (89, "89 s"), (95, "2 min"), (1260, "21 min"),
     (3590, "1 h 00"), (7800, "2 h 10"), (200_000, "2 d 7 h")],
)  # fmt: skip
def test_durations_are_short(seconds, text):
    assert watch.short_time(seconds) == text


def test_the_end_names_the_day_when_it_is_another():
    noon = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))
    assert watch.ends_at(3 * 3600 + 42 * 60, noon) == "ends about 15:42"
    assert watch.ends_at(20 * 3600, noon).split()[1] in time.strftime(
        "%a", time.localtime(noon + 72_000)
    )
    assert watch.ends_at(None, noon) == ""


def test_parse_budget_refuses_what_is_none():
    with pytest.raises(ConfigError):
        fieldset.parse_budget("Epochs", "auto")

"""The Test tab without its widgets: who writes what, what is shown, and what is left alone."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sllm_core import config as configs
from sllm_core import messages as m
from sllm_core.config import ProjectConfig, SamplingConfig
from sllm_core.errors import ConfigError, DataError
from sllm_core.ledger import Row
from sllm_ui.bus import Bus
from sllm_ui.events import (
    Answered,
    CheckpointWanted,
    ConfigChanged,
    DataChanged,
    ProjectChanged,
    RunChanged,
    RunsChanged,
    TurnEnded,
)
from sllm_ui.facts import Facts
from sllm_ui.settings import Settings
from sllm_ui.tabs.test import passages, words
from sllm_ui.tabs.test import presenter as tab
from sllm_ui.tabs.test import sampling as cards
from sllm_ui.tabs.test.passages import Piece
from sllm_ui.tabs.test.presenter import Presenter, State


def row(file, step, run="train-1", **more):
    return Row(file, "0" * 64, 1, step, 1, 1, run, **more)


class FakeSession:
    """What the presenter asks of a session; requests are noted, answers come by `say`."""

    def __init__(self, folder):
        self.bus, self.settings = Bus(), Settings(folder)
        self.project = SimpleNamespace(root=Path("/p"))
        self.config, self.facts = ProjectConfig(), Facts(vocab_size=300)
        self.checkpoints = (row("best_model.pt", 20, val_loss=2.5), row("step_30.pt", 30))
        self.runs, self.run, self.wanted, self.read_only = (), None, "", ""
        self.archive = self.pipes = self.work = self  # one fake for all parts
        self.written, self.cancelled, self.looked, self.notices = [], [], [], []
        self.n = self.n_pauses = 0

    def why_read_only(self):
        return self.read_only if self.project else "no project"

    def change(self, values):
        self.config = configs.with_values(self.config, values)
        self.bus.publish(ConfigChanged())

    def write(self, prompt, checkpoint, sampling, seed):
        self.n += 1
        self.written.append((prompt, checkpoint, sampling, seed))
        return self.n

    def look(self, **body):
        self.n += 1
        self.looked.append(body)
        return self.n

    def cancel(self, source, request):
        self.cancelled.append((source, request))

    def pause(self):
        self.n_pauses += 1

    def notify(self, *said):
        self.notices.append(said)

    def task(self, _, function, *arguments, then):
        then(function(*arguments))

    def say(self, *told, source="writer"):
        for message in told:
            self.bus.publish(Answered(source, message))

    def turn(self):
        self.bus.publish(TurnEnded())

    def token(self, text, request=None):
        self.say(m.Token(request or self.n, text))

    def end(self, text="", n=2, reason="eos", seed=0, rate=50.0):
        self.turn()
        self.say(m.Generated(text, "", n, reason, seed, rate, self.n))


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def session(tmp_path):
    return FakeSession(tmp_path)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def it(session, clock):
    made = Presenter(session, clock, draw_seed=lambda _: 77)
    session.bus.publish(RunsChanged())
    return made


def text(it):
    return passages.text_of(it.store.state.passage)


def write(it, session, prompt="Once", answer=" upon", seed=0):
    it.edit_prompt(prompt)
    it.write()
    session.token(answer)
    session.end(answer, seed=seed)


# --- writing


def test_it_writes_behind_the_prompt_and_says_how_it_ended(it, session):
    it.edit_prompt("Once")
    it.write()
    assert session.written == [("Once", "best", SamplingConfig(), 0)]
    assert it.store.state.phase == "loading"
    session.token(" upon")
    session.token(" a time")
    session.end(n=5, reason="eos", seed=0)
    assert it.store.state.passage == (Piece("Once"), Piece(" upon a time", True))
    assert it.store.state.status == "5 tokens, end of text, seed 0"
    assert it.store.state.phase == "idle"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("eos", "end of text"),
        ("stop", "stop text"),
        ("length", "length limit"),
        ("cancelled", "stopped by you"),
    ],
)
def test_every_end_has_its_words(reason, told):
    message = m.Generated("x", "", 1, reason, 9, None)
    assert words.describe(message) == f"1 token, {told}, seed 9"


def test_an_end_without_a_token_is_told_as_what_it_is():
    told = words.describe(m.Generated("", "", 0, "eos", 9, None))
    assert told == "The model ended the text at once, seed 9"


def test_tokens_are_shown_once_a_turn(it, session):
    it.write()
    changes = []
    it.store.listen(lambda _, new: changes.append(passages.text_of(new.passage)))
    for i in range(100):
        session.token(f"{i} ")
    assert changes == []
    session.turn()
    assert len(changes) == 1
    assert changes[0].startswith("0 1 2 ")


def test_answers_of_an_older_request_are_left_alone(it, session):
    it.edit_prompt("a")
    it.write()
    old = session.n
    it.stop()
    it.write()
    session.token("old", request=old)
    session.say(m.Generated("old", "", 1, "cancelled", 0, None, old))
    session.turn()
    assert text(it) == "a"
    assert it.store.state.phase == "loading"
    session.token("new")
    session.turn()
    assert text(it) == "anew"


def test_continue_goes_on_from_the_edited_text(it, session):
    write(it, session)
    it.edit_passage((Piece("Once"), Piece(" upon", True), Piece(" my")))
    it.go_on()
    assert session.written[-1][0] == "Once upon my"
    session.token(" word")
    session.end()
    assert it.store.state.passage[-2:] == (Piece(" my"), Piece(" word", True))


def test_edits_while_it_writes_change_nothing(it, session):
    it.edit_prompt("a")
    it.write()
    it.edit_passage((Piece("b"),))
    assert text(it) == "a"


def test_retry_takes_the_same_text_and_the_next_seed(it, session):
    it.sampler.set_text("sample_seed", "41")
    write(it, session)
    it.edit_prompt("Something else")
    it.retry()
    assert session.written[-1][0] == "Once"
    assert [w[3] for w in session.written] == [41, 42]
    assert it.store.state.card.texts["sample_seed"] == "42"
    assert session.config.sampling.sample_seed == 42


def test_retry_of_a_continuation_starts_where_that_started(it, session):
    write(it, session)
    it.go_on()
    session.token(" a")
    session.end()
    it.retry()
    assert session.written[-1][0] == "Once upon"


def test_retry_after_the_largest_seed_starts_at_nought(it, session):
    it.sampler.set_text("sample_seed", str(tab.MAX_SEED))
    write(it, session)
    it.retry()
    assert session.written[-1][3] == 0


def test_a_new_seed_each_time_is_drawn_and_shown(it, session):
    it.sampler.set_new_seed(True)
    it.write()
    assert session.written[-1][3] == 77
    assert it.store.state.card.texts["sample_seed"] == "77"
    assert session.settings.values.is_new_seed


def test_undo_goes_back_to_the_text_before_each_writing(it, session):
    write(it, session)
    it.go_on()
    session.token(" a time")
    session.end()
    assert text(it) == "Once upon a time"
    it.undo()
    assert text(it) == "Once upon"
    it.undo()
    assert text(it) == ""
    assert it.store.state.why["undo"] == "Nothing was written yet."


def test_undo_keeps_a_limited_past(it, session):
    for i in range(tab.MAX_UNDO + 20):
        write(it, session, prompt=str(i))
    n = 0
    while not it.store.state.why["undo"]:
        it.undo()
        n += 1
    assert n == tab.MAX_UNDO


def test_undo_forgets_the_oldest_of_very_long_texts(it, session, monkeypatch):
    monkeypatch.setattr(tab, "MAX_UNDO_CHARS", 100)
    for _ in range(5):
        write(it, session, answer="x" * 60)
    assert len(it._history) == 1


def test_stop_ends_within_a_token(it, session):
    it.write()
    session.token("a")
    session.turn()
    it.stop()
    assert session.cancelled == [("writer", session.n)]
    assert it.store.state.phase == "stopping"
    session.end("a", n=1, reason="cancelled")
    assert it.store.state.status == "1 token, stopped by you, seed 0"
    assert text(it) == "a"


def test_stop_before_the_first_token_gives_the_text_back(it, session):
    write(it, session)
    it.edit_prompt("Other")
    it.write()
    it.stop()
    assert it.store.state.phase == "idle"
    assert text(it) == "Once upon"
    it.undo()
    assert text(it) == ""


def test_a_second_stop_does_not_wait_for_the_last_word(it, session):
    it.write()
    session.token("kept")
    session.turn()
    it.stop()
    it.stop()
    assert it.store.state.phase == "idle"
    assert text(it) == "kept"


def test_a_second_press_of_write_does_nothing(it, session):
    it.write()
    it.write()
    it.go_on()
    it.retry()
    assert len(session.written) == 1


def test_an_empty_prompt_begins_a_new_document(it, session):
    it.write()
    session.token("Hello")
    session.end()
    assert it.store.state.passage == (Piece("Hello", True),)


def test_only_the_end_of_a_very_long_text_is_sent(it, session):
    it.edit_prompt("x" * 200_000 + "end")
    it.write()
    sent = session.written[-1][0]
    assert len(sent) == tab.MAX_SENT
    assert sent.endswith("end")


def test_a_very_long_answer_is_ended_and_can_go_on(it, session):
    it.write()
    session.token("y" * (tab.MAX_ANSWER + 1))
    assert session.cancelled == [("writer", session.n)]
    session.end(n=9, reason="cancelled")
    assert "Continue goes on" in it.store.state.status
    assert it.store.state.why["continue"] == ""


def test_speed_and_the_first_wait_are_measured(it, session, clock):
    it.write()
    clock.now += 0.038
    session.token("a")
    session.turn()
    assert it.store.state.first == "first token after 38 ms"
    clock.now += 1
    for _ in range(20):
        session.token("b")
    session.turn()
    assert it.store.state.rate == "20 tokens/s"
    session.end(rate=148.4)
    assert it.store.state.rate == "148 tokens/s"


def test_one_token_has_no_speed(it, session):
    it.write()
    session.token("a")
    session.end(n=1, rate=None)
    assert it.store.state.rate == ""


def test_what_it_waits_for_is_named(it, session):
    it.write()
    assert it.store.state.status == "Starting the writer, some seconds"
    session.end()
    it.write()
    assert it.store.state.status == "Reading the text"
    session.end()
    it.choose("step_30.pt")
    it.write()
    assert it.store.state.status == "Loading the checkpoint"


def test_single_surrogates_and_nuls_never_reach_the_writer(it, session):
    it.edit_prompt("a\ud83d b \ud83d\ude00 c\0")
    it.write()
    assert session.written[-1][0] == "a\ufffd b \U0001f600 c"


def test_the_prompt_is_remembered(it, session, tmp_path):
    it.edit_prompt("Dear")
    it.write()
    assert Settings(tmp_path).values.writer == "Dear"
    assert Presenter(FakeSession(tmp_path)).store.state.prompt == "Dear"


# --- what goes wrong


def failed(code, text="It broke.\nDo this.", request=None, lines=()):
    return m.Failed(code, f"{text} [{code}]", last_lines=lines, request=request or 0)


def test_a_dead_writer_is_told_with_its_last_lines_and_can_be_tried_again(it, session):
    it.edit_prompt("a")
    it.write()
    session.say(
        failed("E-WORKER-DIED", "It was killed.\nGo on (train --resume auto).", lines=tuple("xyz"))
    )
    problem = it.store.state.problem
    assert problem.text == "It was killed. Your text is still here."
    assert problem.lines == tuple("xyz")
    assert it.store.state.phase == "idle"
    it.try_again()
    assert session.written[-1] == session.written[-2]
    assert it.store.state.problem is None
    assert it.store.state.status == "Starting the writer, some seconds"


def test_what_was_written_before_it_died_stays(it, session):
    it.edit_prompt("a")
    it.write()
    session.token("bc")
    session.say(failed("E-WORKER-DIED"))
    assert text(it) == "abc"
    assert it.store.state.status == "Cut off after 2 characters"


def test_a_writer_that_dies_while_idle_is_started_anew_without_words(it, session):
    write(it, session)
    session.say(failed("E-WORKER-DIED"))
    assert it.store.state.problem is None
    it.write()
    assert it.store.state.status == "Starting the writer, some seconds"


def test_a_damaged_checkpoint_is_named_and_the_newest_good_one_offered(it, session):
    it.choose("best")
    it.write()
    session.say(failed("E-CKPT-HASH", "checkpoints/best_model.pt is damaged.", request=session.n))
    problem = it.store.state.problem
    assert problem.text == "checkpoints/best_model.pt is damaged."
    assert problem.actions == (("other", "Use step_30.pt, step 30"),)
    it.use_other()
    assert it.store.state.choice == "step_30.pt"
    assert it.store.state.problem is None


def test_the_same_damaged_checkpoint_is_not_offered_again(it, session):
    for key in ("step_30.pt", "best"):
        it.choose(key)
        it.write()
        session.say(failed("E-CKPT-HASH", "damaged", request=session.n))
    assert it.store.state.problem.other == ""
    assert it.store.state.problem.actions == (("train", "Go to Train"),)


def test_a_checkpoint_that_is_gone_is_said_at_once(it, session):
    it.choose("step_30.pt")
    session.checkpoints = session.checkpoints[:1]
    session.bus.publish(RunsChanged())
    state = it.store.state
    assert state.choice == "step_30.pt"
    assert "no longer" in state.problem.text
    assert state.problem.other == "best_model.pt"


def live_run(state="running", name="train-1"):
    return SimpleNamespace(id=name, state=state, is_live=True)


def test_a_busy_device_offers_to_pause_the_run_and_then_writes(it, session):
    session.run = live_run()
    it.edit_prompt("a")
    it.write()
    session.say(failed("E-MEM-SYSTEM", "The card is busy.", request=session.n))
    assert it.store.state.problem.actions[0] == ("pause", "Pause the run")
    it.pause_run()
    assert session.n_pauses == 1
    session.bus.publish(RunChanged())
    assert len(session.written) == 1
    session.run.state = "paused"
    session.bus.publish(RunChanged())
    assert len(session.written) == 2
    session.bus.publish(RunChanged())
    assert len(session.written) == 2


def test_beside_a_run_it_says_once_that_both_are_slower(it, session):
    session.run = live_run()
    for _ in range(3):
        it.write()
        session.end()
    assert len(session.notices) == 1
    assert session.notices[0][-1] == ("Pause the run", "pause")


def test_beside_a_paused_run_nothing_is_said(it, session):
    session.run = live_run("paused")
    it.write()
    assert session.notices == []


def test_wrong_values_are_said_at_the_field_and_hold_writing_back(it, session):
    it.sampler.set_text("temperature", "3")
    state = it.store.state
    assert state.card.errors["temperature"] == "The largest is 2."
    assert state.card.texts["temperature"] == "3"
    assert state.why["write"] == state.card.errors["temperature"]
    it.write()
    assert session.written == []
    it.sampler.set_text("temperature", "0.5")
    assert it.store.state.card.errors == {}
    assert it.store.state.why["write"] == ""


@pytest.mark.parametrize("word", ["", "x", "nan", "inf", "-1", "1e400"])
def test_no_text_of_a_number_field_raises(it, word):
    it.sampler.set_text("top_p", word)
    assert "top_p" in it.store.state.card.errors


# --- what there is to write with


def test_without_a_project_it_says_what_to_do(session):
    session.project = None
    made = Presenter(session)
    assert made.store.state.empty == "project"
    made.write()
    assert session.written == []


def test_without_a_checkpoint_it_sends_to_train(it, session):
    session.checkpoints = ()
    it._update(choices=())
    session.bus.publish(RunsChanged())
    assert it.store.state.empty == "checkpoint"
    session.run = live_run()
    session.bus.publish(RunChanged())
    assert it.store.state.empty == "training"
    for kind in ("checkpoint", "training", "project"):
        assert all(action for _, action in words.EMPTY[kind].buttons)


def test_the_chooser_lists_best_last_and_each_file_with_its_numbers():
    rows = [
        row("step_30.pt", 30, val_loss=2.75, roles=("pinned",)),
        row("best_model.pt", 20, val_loss=2.5),
        row("step_10.pt", 10, state="superseded"),
        row("gone.pt", 5, state="deleting"),
    ]
    titles = {c.key: c.title for c in words.list_choices(rows, ["/far/a.pt"], {})}
    assert titles == {
        "best": "best   step 20   val 2.500",
        "last": "last   step 30   val 2.750",
        "step_30.pt": "step_30.pt   step 30   val 2.750   pinned",
        "best_model.pt": "best_model.pt   step 20   val 2.500",
        "step_10.pt": "step_10.pt   step 10   left behind by a resume",
        "/far/a.pt": "a.pt   from /far",
    }


def test_runs_are_named_where_there_is_more_than_one(it, session):
    session.checkpoints += (row("step_9.pt", 9, run="train-2"),)
    info = m.RunInfo("train-2", "train", "done", 9, 9, None, None, None, name="Night")
    session.runs = (info,)
    session.bus.publish(RunsChanged())
    titles = [choice.title for choice in it.store.state.choices]
    assert "step_9.pt   step 9   Night" in titles
    assert titles[1].startswith("last   step 9")


def test_names_of_files_cannot_break_the_list():
    (choice,) = words.list_choices([], ["/far/a\n\u202eb.pt"], {})
    assert choice.title == "a\\n\\u202eb.pt   from /far"


def test_a_file_from_elsewhere_can_be_chosen(it, session):
    it.open_file("/far/a.pt")
    it.write()
    assert session.written[-1][1] == "/far/a.pt"


def test_a_checkpoint_wanted_elsewhere_is_chosen_now_or_at_the_start(it, session):
    session.bus.publish(CheckpointWanted("step_30.pt"))
    assert it.store.state.choice == "step_30.pt"
    session.wanted = "best_model.pt"
    assert Presenter(session).store.state.choice == "best_model.pt"


def test_another_project_starts_afresh_and_keeps_the_prompt(it, session):
    write(it, session)
    it.choose("step_30.pt")
    session.project = SimpleNamespace(root=Path("/q"))
    session.bus.publish(ProjectChanged())
    state = it.store.state
    assert (state.passage, state.choice, state.status) == ((), "best", "")
    assert state.prompt == "Once"
    assert state.why["undo"]


def test_becoming_the_one_who_edits_keeps_the_text(it, session):
    write(it, session)
    session.bus.publish(ProjectChanged())
    assert text(it) == "Once upon"


# --- counting


def test_tokens_of_the_prompt_are_counted_when_typing_rests(it, session):
    it.edit_prompt("O")
    it.edit_prompt("Once")
    assert it.store.state.is_count_due
    assert session.looked == []
    it.settle()
    it.settle()
    assert session.looked == [{"count": "Once"}]
    session.say(m.TokenCount(session.n, 1), source="looker")
    assert it.store.state.count == "1 token"


def test_a_late_count_of_an_older_prompt_is_left_alone(it, session):
    it.edit_prompt("a")
    it.settle()
    old = session.n
    it.edit_prompt("a b c")
    it.settle()
    session.say(m.TokenCount(old, 1), source="looker")
    assert it.store.state.count == ""
    session.say(m.TokenCount(session.n, 3), source="looker")
    assert it.store.state.count == "3 tokens"


def test_without_a_tokenizer_characters_are_counted(it, session):
    session.facts = Facts()
    it.edit_prompt("abc")
    it.settle()
    assert it.store.state.count == "3 characters"
    assert session.looked == []
    session.facts = Facts(vocab_size=300)
    session.bus.publish(DataChanged())
    assert it.store.state.is_count_due


def test_a_reader_that_fails_leaves_characters(it, session):
    it.edit_prompt("abc")
    it.settle()
    session.say(failed("E-WORKER-DIED"), source="looker")
    assert it.store.state.count == "3 characters"


# --- files


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("\ufeffa\r\nb\rc".encode(), "a\nb\nc"),
        ("ä".encode("utf-16"), "ä"),
        (b"", ""),
    ],
)
def test_a_prompt_is_read_from_a_file(it, tmp_path, body, expected):
    path = tmp_path / "prompt.txt"
    path.write_bytes(body)
    it.load_prompt(str(path))
    assert it.store.state.prompt == expected


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\xff\xff\xff", "no text"),
        (b"a\0b", "no text"),
        (b"x" * (passages.MAX_PANE + 1), "too long"),
        (b"\xc3\xa4" * passages.MAX_PROMPT_FILE, "too long"),
    ],
)
def test_a_file_that_is_no_prompt_is_refused_in_words(tmp_path, body, why):
    path = tmp_path / "prompt.txt"
    path.write_bytes(body)
    with pytest.raises(DataError, match=why):
        passages.read_prompt(str(path))


def test_a_prompt_file_that_is_gone_is_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        passages.read_prompt(str(tmp_path / "none"))


def test_the_whole_text_is_saved(it, session, tmp_path):
    write(it, session, prompt="Ä", answer=" b")
    it.save_text(str(tmp_path / "out.txt"))
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "Ä b"
    assert session.notices[-1][0] == "good"


# --- sampling


def test_slider_and_number_are_in_step_and_stored_when_at_rest(it, session):
    it.sampler.slide("temperature", 0.9)
    assert it.store.state.card.texts["temperature"] == "0.9"
    assert session.config.sampling.temperature == 0.8
    it.sampler.commit()
    assert session.config.sampling.temperature == 0.9
    it.sampler.set_text("temperature", "1.25")
    assert it.store.state.card.values.temperature == 1.25
    assert session.config.sampling.temperature == 1.25


def test_what_is_typed_stays_as_typed_until_the_field_is_left(it):
    it.sampler.set_text("temperature", "1.")
    assert it.store.state.card.texts["temperature"] == "1."
    it.sampler.leave_field("temperature")
    assert it.store.state.card.texts["temperature"] == "1"


def test_moving_a_slider_mends_what_was_typed_wrongly(it):
    it.sampler.set_text("top_k", "many")
    it.sampler.slide("top_k", 40)
    assert it.store.state.card.errors == {}
    assert it.store.state.card.texts["top_k"] == "40"


def test_changes_elsewhere_are_taken_over(it, session):
    session.change({"top_k": 7})
    assert it.store.state.card.texts["top_k"] == "7"


@pytest.mark.parametrize("name", cards.SLIDING)
def test_sliders_stay_inside_what_the_field_takes(name):
    slide = cards.SLIDES[name]
    for place in (slide.low - 1, slide.low, slide.high, slide.high * 3):
        SamplingConfig(**{name: cards.snap(name, place)})
    assert slide.low <= getattr(SamplingConfig(), name) <= slide.high


def test_presets_set_the_drawing_and_leave_length_seed_and_stops(it, session):
    it.sampler.set_text("max_new_tokens", "55")
    it.sampler.set_text("sample_seed", "5")
    for name in cards.BUILT_IN:
        it.sampler.choose_preset(name)
        assert it.store.state.card.preset == name
        assert session.config.sampling == replace(
            SamplingConfig(**cards.BUILT_IN[name]), max_new_tokens=55, sample_seed=5
        )


def test_own_values_have_no_preset(it):
    it.sampler.set_text("top_k", "41")
    assert it.store.state.card.preset == ""


def test_presets_of_the_users_own_are_kept(it, session, tmp_path):
    it.sampler.set_text("top_k", "41")
    it.sampler.set_text("stop", r"\n\n")
    it.sampler.save_preset(" Mine ")
    assert it.store.state.card.preset == "Mine"
    it.sampler.reset()
    assert it.store.state.card.preset == "Balanced"
    other = Presenter(FakeSession(tmp_path))
    other.sampler.choose_preset("Mine")
    assert other.store.state.card.values.top_k == 41
    assert other.store.state.card.values.stop == ("\n\n",)
    other.sampler.delete_preset("Mine")
    assert Settings(tmp_path).values.sampling_presets == ()


@pytest.mark.parametrize("name", ["", "  ", "bold", "x" * 41, "a\nb"])
def test_names_that_cannot_be_are_said(it, name):
    assert it.sampler.why_not_name(name)
    it.sampler.save_preset(name)
    assert it.store.state.card.mine == ()


@pytest.mark.parametrize(
    "line",
    ["", "[]", "3", '{"name": "a"}', '{"name": 1, "values": {"top_k": 1}}',
     '{"name": "a", "values": {"top_k": -1}}', '{"name": "a", "values": {"temperature": "x"}}'],
)  # fmt: skip
def test_a_damaged_preset_is_left_out(line):
    good = cards.write_presets({"b": {"top_k": 3}})
    assert cards.read_presets([line, *good]) == {"b": {"top_k": 3}}


@pytest.mark.parametrize(
    ("typed", "stops"),
    [
        (r"\n\n", ("\n\n",)),
        (r"END, \t", ("END", "\t")),
        (r'"a, b", " c"', ("a, b", " c")),
        (r"C:\\new", ("C:\\new",)),
        ("", ()),
    ],
)
def test_stop_texts_are_typed_with_breaks_as_letters(typed, stops):
    assert cards.parse("stop", typed) == stops
    assert cards.parse("stop", cards.to_text("stop", stops)) == stops


def test_reset_brings_the_defaults_back_and_can_be_undone(it, session):
    it.sampler.set_text("top_k", "3")
    it.sampler.set_text("temperature", "wrong")
    before = it.store.state.card.values
    it.sampler.reset()
    assert session.config.sampling == SamplingConfig()
    assert it.store.state.card.errors == {}
    it.sampler.set_values(before)
    assert session.config.sampling.top_k == 3


def test_in_a_read_only_project_values_are_tried_and_not_stored(it, session):
    session.read_only = "Ann has it"
    session.bus.publish(ProjectChanged())
    it.sampler.set_text("top_k", "3")
    assert session.config.sampling.top_k == 40
    assert "Ann has it" in it.store.state.card.note
    it.write()
    assert session.written[-1][2].top_k == 3


def test_the_order_of_the_filters_is_told():
    assert cards.order(SamplingConfig()) == (
        "Order: repetition penalty, top-k, top-p, temperature, then one is drawn."
    )
    off = SamplingConfig(top_k=0, top_p=1.0, repetition_penalty=1.0)
    assert cards.order(off).count("(off)") == 3
    assert "likeliest" in cards.order(SamplingConfig(temperature=0))


def test_each_field_is_shown(it):
    for name in (*cards.SAVED, "sample_seed"):
        assert name in it.store.state.card.texts
    with pytest.raises(ConfigError):
        cards.parse("top_k", "1.5")


def test_buttons_say_why_they_cannot_act():
    why = tab.reasons(State())
    assert why["write"] == "There is no checkpoint yet."
    assert why["continue"] == "There is no checkpoint yet."
    assert why["stop"] == "It is not writing."
    assert why["copy"] == "There is no text yet."

"""The Data tab: what it says of the data is true, and what is typed wrong stays and is explained."""

import json
import os
import queue
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sllm_core import dataset, project, tokenizer
from sllm_core import messages as m
from sllm_core.config import NO_ENDING, DataConfig, ProjectConfig, SourceConfig, TokenizerConfig
from sllm_core.corpus import extract
from sllm_core.corpus import sources as corpus_sources
from sllm_core.corpus.index import FileRow, Index
from sllm_ui.events import Answered, DataChanged, Notice, ProjectChanged, RunChanged, RunsChanged
from sllm_ui.facts import Facts
from sllm_ui.runstate import RunState
from sllm_ui.session import Session
from sllm_ui.settings import Settings
from sllm_ui.tabs.data import figures, lists, pasting, reasons, source_rows, words
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.train import presenter as train_tab
from tests import helpers


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A real session that starts no workers: what it would start is noted in ``calls``."""
    settings = Settings(tmp_path / "settings")
    settings.change(projects_dir=str(tmp_path / "projects"))
    made = Session(settings, queue.Queue())
    made.calls, made.notices = [], []
    made.bus.subscribe(Notice, made.notices.append)
    for name in ("scan", "scan_soon", "stop_data_job", "clear_cache", "rescan_everything"):
        monkeypatch.setattr(made.work, name, lambda name=name: made.calls.append(name))
    prepare = lambda **options: made.calls.append(("prepare", options))  # noqa: E731
    monkeypatch.setattr(made.work, "prepare", prepare)

    def look(**body):
        made.calls.append(("look", body))
        return len(made.calls)

    monkeypatch.setattr(made.pipes, "look", look)

    def compare():
        made.calls.append("compare")
        return len(made.calls)

    monkeypatch.setattr(made.pipes, "compare_sizes", compare)
    cancel = lambda source, number: made.calls.append(("cancel", source, number))  # noqa: E731
    monkeypatch.setattr(made.pipes, "cancel", cancel)
    yield made
    made.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tab(session, clock):
    return Presenter(session, clock)


@pytest.fixture
def texts(tmp_path):
    helpers.write_corpus(tmp_path / "texts", n=6)
    return tmp_path / "texts"


@pytest.fixture
def opened(session, tab, texts, tmp_path):
    """The tab with a project over ``texts``, not scanned."""
    session.create(tmp_path / "p", [str(texts)])
    settle(session)
    session.calls.clear()
    return tab


def settle(session, done=lambda: True, timeout=10.0):
    """Take in what tasks and workers put into the queue until ``done``."""
    end = time.monotonic() + timeout
    while session.chores._pending or not done():
        try:
            session.handle(*session.inbox.get(timeout=0.05))
        except queue.Empty:
            assert time.monotonic() < end, "nothing more comes"
        session.flush()


def show(session, **values):
    """Facts as a scan would leave them."""
    session.now.facts = Facts(is_scanned=True, **values)
    session.bus.publish(DataChanged())


def paths(tab):
    return [row.path for row in tab.store.state.sources]


# -- projects and sources -----------------------------------------------------------------------


def test_without_a_project_a_folder_makes_one_named_after_it(session, tab, texts):
    assert tab.store.state.mode == "none"
    tab.add_folder(str(texts))
    assert session.project.root.name == "texts"
    assert (tab.store.state.mode, paths(tab)) == ("full", [str(texts)])
    assert str(session.project.root) in session.notices[-1].text
    assert session.calls == ["scan_soon"]


def test_files_without_a_project_make_one_named_after_the_first(session, tab, texts):
    files = [str(texts / name) for name in ("doc002.txt", "doc001.txt")]
    tab.add_files(files)
    assert session.project.root.name == "doc002"
    assert paths(tab) == files


@pytest.mark.parametrize("name", ["x" * 200, "é" * 120, "CON", ".hidden", "a\nb", "-"])
def test_any_folder_name_gives_a_project(session, tab, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    tab.add_folder(str(folder))
    assert paths(tab)
    assert session.project.root.parent == tmp_path / "projects"


def test_a_folder_that_vanished_makes_no_project(session, tab, tmp_path):
    tab.add_folder(str(tmp_path / "gone"))
    assert session.project is None
    assert (session.notices[-1].kind, tab.store.state.mode) == ("bad", "none")
    assert "does not exist" in session.notices[-1].text


def test_a_project_without_sources_is_empty(session, tab, tmp_path):
    session.create(tmp_path / "p", [])
    assert tab.store.state.mode == "empty"


def test_the_same_folder_twice_is_said_and_not_added(session, opened, texts):
    opened.add_folder(str(texts))
    assert len(paths(opened)) == 1
    assert "already" in session.notices[-1].title


def test_a_removed_source_comes_back_by_undo(session, opened, texts, tmp_path):
    opened.add_folder(str(tmp_path))
    opened.origins.remove(1)
    assert paths(opened) == [str(tmp_path)]
    name, undo = opened.origins.take_undo()
    assert name.endswith("texts")
    undo()
    undo()
    assert paths(opened) == [str(texts), str(tmp_path)]
    assert opened.origins.take_undo() is None


def test_undo_leaves_another_project_alone(session, opened, tmp_path):
    opened.origins.remove(1)
    _, undo = opened.origins.take_undo()
    session.create(tmp_path / "q", [])
    undo()
    assert session.config.sources == ()


def test_switch_and_patterns_reach_the_settings_and_are_scanned(session, opened):
    opened.origins.switch(1)
    opened.origins.set_exclude(1, " *.log,,docs/*.html ")
    assert session.config.sources[0].is_on is False
    assert session.config.sources[0].exclude == ("*.log", "docs/*.html")
    assert opened.store.state.source.exclude == "*.log, docs/*.html"
    assert session.calls == ["scan_soon", "scan_soon"]
    opened.origins.set_exclude(1, "*.log,docs/*.html")
    assert session.calls == ["scan_soon", "scan_soon"], "the same patterns change nothing"


def test_a_missing_source_is_found_and_explained(session, opened, texts):
    assert opened.store.state.sources[0].problem == ""
    texts.rename(texts.with_name("elsewhere"))
    show(session)
    settle(session, lambda: opened.store.state.sources[0].problem)
    assert "not there any more" in opened.store.state.sources[0].problem
    texts.with_name("elsewhere").rename(texts)
    show(session)
    settle(session, lambda: not opened.store.state.sources[0].problem)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_folder_without_rights_is_explained(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    found = source_rows.find_problems(tmp_path, (SourceConfig(1, "closed"),))
    assert "cannot be read" in found[1]


def test_hostile_names_are_safe_to_show(session, tab, tmp_path):
    folder = tmp_path / "evil\u202ename\n\x1b[31m" / ("long" * 50)
    folder.mkdir(parents=True)
    session.create(tmp_path / "p", [str(folder)])
    row = tab.store.state.sources[0]
    assert "\n" not in row.name + row.path
    assert "\u202e" not in row.name + row.path
    assert "\x1b" not in row.name + row.path


def test_a_read_only_project_changes_nothing_and_says_who_holds_it(session, opened):
    session.now.read_only = "The project is in use by the window (process 7)."
    session.bus.publish(ProjectChanged())
    before = session.config
    opened.origins.switch(1)
    opened.origins.remove(1)
    opened.filters.toggle_type(".txt")
    opened.filters.set_field("max_files", "5")
    opened.origins.set_exclude(1, "*.x")
    opened.pasting.begin()
    opened.filters.reset()
    opened.scan()
    opened.prepare()
    assert session.config == before
    assert session.calls == []
    assert "process 7" in opened.store.state.locked
    assert "process 7" in opened.store.state.busy
    assert "process 7" in session.notices[-1].text


# -- pasted text --------------------------------------------------------------------------------


def test_a_pasted_text_becomes_a_file_of_the_project_and_a_source(session, opened):
    opened.pasting.begin()
    opened.pasting.add("", "Once upon a time\nthere was \ud800 a lamp")
    settle(session, lambda: opened.store.state.paste is None)
    path = session.project.root / "pasted_text" / "Once upon a time.txt"
    assert path.read_text(encoding="utf-8") == "Once upon a time\nthere was ? a lamp\n"
    assert session.config.sources[-1].path == str(Path("pasted_text") / path.name)
    opened.pasting.begin()
    opened.pasting.add("Once upon a time", "again")
    settle(session, lambda: opened.store.state.paste is None)
    assert session.config.sources[-1].path.endswith("Once upon a time 2.txt")


def test_a_paste_without_text_says_so_and_keeps_the_name(session, opened):
    opened.pasting.begin()
    opened.pasting.add("name", " \n")
    assert opened.store.state.paste == ("name", " \n")
    assert "no text" in opened.store.state.paste_error


def test_a_paste_that_cannot_be_stored_is_not_lost(session, opened, arm):
    opened.pasting.begin()
    arm("save.write:1:enospc")
    opened.pasting.add("name", "a text")
    settle(session, lambda: opened.store.state.paste_error)
    assert opened.store.state.paste == ("name", "a text")
    assert "full" in opened.store.state.paste_error


@pytest.mark.parametrize(
    "title", ["../../etc/passwd", "CON", "x" * 400, "\u202e", "é" * 200, "..."]
)
def test_a_pasted_title_is_always_one_plain_name(session, opened, title):
    path = pasting.store_paste(session.project, title, "text")
    assert path.parent == session.project.root / "pasted_text"
    assert len(path.name.encode()) < 130
    assert path.exists()


# -- filters ------------------------------------------------------------------------------------


def test_a_size_is_typed_in_its_unit(session, opened):
    opened.filters.set_unit("max_file_bytes", "MiB")
    opened.filters.set_field("max_file_bytes", "1.5")
    assert session.config.data.max_file_bytes == 3 << 19
    assert opened.store.state.values["max_file_bytes"] == "1.5"
    opened.filters.set_field("max_file_bytes", "20 kb")
    assert session.config.data.max_file_bytes == 20 << 10


def test_another_unit_changes_the_size_and_keeps_the_number(session, opened):
    opened.filters.set_size("max_file_bytes", 4 << 20)
    assert opened.store.state.units["max_file_bytes"] == "MiB"
    opened.filters.set_unit("max_file_bytes", "KiB")
    assert session.config.data.max_file_bytes == 4 << 10
    assert opened.store.state.values["max_file_bytes"] == "4"


def test_a_quick_button_chooses_the_unit_that_suits_it(opened):
    opened.filters.set_unit("max_file_bytes", "B")
    opened.filters.set_size("max_file_bytes", 10 << 20)
    state = opened.store.state
    assert (state.values["max_file_bytes"], state.units["max_file_bytes"]) == ("10", "MiB")


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("min_file_bytes", "many", "no size"),
        ("min_file_bytes", "-1", "smallest is 0"),
        ("min_file_bytes", "nan", "no size"),
        ("max_file_bytes", "0", "smallest is 1"),
        ("max_file_bytes", "1e400", "no size"),
        ("max_files", "0", "smallest is 1"),
        ("max_files", "2.5", "no number of files"),
        ("max_files", "k", "no number of files"),
        ("val_split", "60", "0.1 to 50 %"),
        ("val_split", "x", "0.1 to 50 %"),
        ("shuffle_seed", "x", "whole number"),
        ("target_vocab_size", "100", "smallest is 272"),
        ("target_vocab_size", "1e9", "largest is 200000"),
        ("min_frequency", "", "whole number"),
    ],
)  # fmt: skip
def test_a_wrong_value_stays_in_its_field_with_the_reason(session, opened, name, text, word):
    before = session.config
    opened.filters.set_field(name, text)
    assert session.config == before
    assert opened.store.state.values[name] == text
    assert word in opened.store.state.errors[name]
    assert session.calls == []


def test_a_good_value_ends_the_complaint(opened):
    opened.filters.set_field("max_files", "x")
    opened.filters.set_field("max_files", "10k")
    assert opened.store.state.errors == {}
    assert opened.store.state.values["max_files"] == "10,000"


@pytest.mark.parametrize(
    ("name", "text", "label", "good"),
    [
        ("min_file_bytes", "abc", "Smallest file", "1"),
        ("max_file_bytes", "1e99", "Largest file", "4"),
        ("val_split", "-1", "Validation share", "auto"),
        ("target_vocab_size", "7", "Vocabulary", "300"),
    ],
)
def test_a_red_field_keeps_a_run_from_starting(session, opened, name, text, label, good):
    train = train_tab.Presenter(session)
    assert session.why_not_start() == ""
    opened.filters.set_field(name, text)
    why = f"{label} on the Data tab: {opened.store.state.errors[name]}"
    assert session.why_not_start() == train.store.state.go.why == why
    assert session.work.start_training() is False
    assert session.notices[-1].text == why
    opened.filters.set_field(name, good)
    assert session.why_not_start() == train.store.state.go.why == ""


def test_a_red_field_blocks_neither_another_project_nor_one_that_nobody_can_mend(
    session, opened, tmp_path
):
    opened.filters.set_field("target_vocab_size", "7")
    session.archive.checkpoints = (object(),)
    session.bus.publish(RunsChanged())
    assert session.why_not_start() == "" and opened.store.state.errors == {}
    opened.filters.set_field("max_files", "x")
    session.create(tmp_path / "q", [str(tmp_path)])
    assert session.why_not_start() == ""


def test_the_ends_of_a_range_can_be_moved_in_any_order(session, opened):
    opened.filters.set_size("max_file_bytes", 100)
    opened.filters.set_unit("min_file_bytes", "B")
    opened.filters.set_field("min_file_bytes", "200")
    assert "larger than the largest" in opened.store.state.errors["min_file_bytes"]
    opened.filters.set_field("max_file_bytes", "300")
    data = session.config.data
    assert (data.min_file_bytes, data.max_file_bytes) == (200, 300)
    assert opened.store.state.errors == {}


@pytest.mark.parametrize(
    ("text", "value"), [("10", 0.1), ("12.5 %", 0.125), ("auto", None), ("", None)]
)
def test_the_validation_share_is_typed_in_percent(session, opened, text, value):
    opened.filters.set_value("val_split", 0.2)
    opened.filters.set_field("val_split", text)
    assert session.config.data.val_split == value


@pytest.mark.parametrize(
    ("text", "value"), [("all", None), ("10k", 10_000), ("1,000", 1000), ("1.5k", 1500), ("", None)]
)
def test_most_files_takes_what_people_write(session, opened, text, value):
    opened.filters.set_value("max_files", 7)
    opened.filters.set_field("max_files", text)
    assert session.config.data.max_files == value


def test_filters_are_scanned_once_a_moment_after_the_last_change(session, opened, clock):
    opened.filters.set_field("max_files", "5")
    clock.now += 0.9
    opened.filters.set_field("max_files", "6")
    clock.now += 0.9
    opened.filters.tick()
    assert session.calls == []
    assert opened.store.state.is_scan_due
    clock.now += 0.2
    opened.filters.tick()
    opened.filters.tick()
    assert session.calls == ["scan_soon"]
    assert not opened.store.state.is_scan_due


def test_the_validation_share_needs_no_scan(opened, clock):
    opened.filters.set_field("val_split", "20")
    assert not opened.store.state.is_scan_due


def test_types_are_switched_added_and_chosen_in_sets(session, opened):
    opened.filters.toggle_type(".txt")
    assert ".txt" not in session.config.data.extensions
    assert ("TXT", False) in [(c.name[1:].upper(), c.is_on) for c in opened.store.state.chips]
    opened.filters.add_type("  *.Foo ")
    assert session.config.data.extensions[-1] == ".foo"
    opened.filters.choose_types("Text")
    assert opened.store.state.type_set == "Text"
    opened.filters.choose_types("All")
    assert session.config.data.extensions == ("*",)
    opened.filters.toggle_type(".log")
    assert ".log" not in session.config.data.extensions
    assert {".txt", ".py"} < set(session.config.data.extensions)


def chip(tab, name):
    return next(chip for chip in tab.store.state.chips if chip.name == name)


def test_files_without_an_ending_have_a_chip(session, opened):
    assert not chip(opened, NO_ENDING).is_on
    opened.filters.toggle_type(NO_ENDING)
    assert session.config.data.extensions[-1] == NO_ENDING
    show(session, kinds=((".txt", 2, 9), ("", 3, 5)))
    assert (chip(opened, NO_ENDING).is_on, chip(opened, NO_ENDING).files) == (True, 3)
    opened.filters.toggle_type(NO_ENDING)
    assert NO_ENDING not in session.config.data.extensions
    opened.filters.add_type(" (NONE) ")
    assert session.config.data.extensions[-1] == NO_ENDING
    opened.filters.choose_types("All")
    opened.filters.toggle_type(".log")
    assert NO_ENDING in session.config.data.extensions
    many = tuple((f".k{i}", 1, 1) for i in range(50))
    show(session, kinds=many)
    assert chip(opened, NO_ENDING)


def test_what_is_typed_for_a_type_is_kept_until_it_is_added(opened):
    opened.filters.edit_type("te x")
    opened.filters.add_type("te/x")
    assert opened.store.state.new_type == "te x"
    opened.filters.add_type("tex2")
    assert opened.store.state.new_type == ""


@pytest.mark.parametrize("text", ["", " ", ".", "a/b", "x" * 30, "\u202ex", "a,b"])
def test_what_is_no_ending_is_refused_in_words(session, opened, text):
    before = session.config
    opened.filters.add_type(text)
    assert session.config == before
    assert "no ending" in opened.store.state.errors["type"]


def test_the_last_type_stays_on(session, opened):
    session.change({"extensions": (".txt",)})
    opened.filters.toggle_type(".txt")
    assert session.config.data.extensions == (".txt",)
    assert "At least one" in opened.store.state.errors["type"]


def test_reset_brings_back_every_filter(session, opened):
    opened.filters.choose_types("Code")
    opened.filters.set_field("max_files", "5")
    opened.filters.set_field("val_split", "x")
    opened.filters.reset()
    assert session.config.data == DataConfig()
    assert opened.store.state.errors == {}
    assert opened.store.state.values["val_split"] == "auto"


def test_every_quick_set_is_made_of_real_types():
    for kinds in figures.TYPE_SETS.values():
        DataConfig(extensions=kinds)
    known = set(figures.TYPE_SETS["Text and code"])
    assert set(figures.TEXT_TYPES) | set(figures.CODE_TYPES) == known


@pytest.mark.parametrize(
    "n_bytes", [0, 1, 1023, 1024, 1500, 1 << 20, 3 << 19, 4 << 30, (4 << 30) + 1]
)
def test_a_size_in_a_form_is_the_size(n_bytes):
    assert figures.join_size(*figures.split_size(n_bytes)) == n_bytes


# -- figures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 5, 33, 34, 65, 66, 100, 1000, 4097])
@pytest.mark.parametrize("stride", [1, 7, 32, 64])
def test_windows_are_counted_as_training_counts_them(n, stride):
    found = figures.count_windows(n, 32, stride)
    if n < 33:
        assert found == 0
    else:
        assert found == dataset.Windows(np.zeros(n, "u2"), 32, stride, 0).n_windows


@pytest.mark.parametrize("text_bytes", [0, 1000, 60_000, 70_000, 1_000_000, 100_000_000])
@pytest.mark.parametrize("target", [272, 300, 4000, 16_000])
def test_the_vocabulary_that_will_be_made_is_foretold(target, text_bytes):
    assert (
        figures.fitting_vocab(target, text_bytes)
        == tokenizer.advise_vocab_size(target, text_bytes)[0]
    )


def prepared_facts(config, **more):
    wish = tuple(sorted(vars(config.tokenizer).items()))
    values = {
        "is_scanned": True, "listed": 10, "used": 8, "skipped": 2, "text_bytes": 10_000_000,
        "sources": ((1, 8, 10_000_000),), "train_tokens": 2_000_000, "val_tokens": 500_000,
        "prepared_bytes": 10_000_000, "vocab_size": 16_000, "tokenizer_sha256": "a",
        "data_tokenizer": "a", "tokenizer_wish": wish, "source_tokens": ((1, 2_499_990),),
    }  # fmt: skip
    return Facts(**(values | more))


def tile(config, facts, name):
    return next(t for t in figures.tiles(config, facts) if t.label.startswith(name))


def test_tokens_are_exact_when_prepared_and_estimated_else():
    config = ProjectConfig()
    exact = tile(config, prepared_facts(config), "Tokens")
    assert (exact.value, exact.note) == ("2.5 M", "exact, 4.00 bytes each")
    assert tile(config, prepared_facts(config, unencoded=1), "Tokens").value == "~2.5 M"
    for change in (
        {"unencoded": 1},
        {"prepared_bytes": 9_000_000},
        {"data_tokenizer": "b"},
        {"tokenizer_wish": ()},
        {"train_tokens": None},
    ):
        assert "estimated" in tile(config, prepared_facts(config, **change), "Tokens").note
    asked = replace(config, tokenizer=TokenizerConfig(target_vocab_size=4000))
    assert "estimated" in tile(asked, prepared_facts(config), "Tokens").note
    imported = prepared_facts(config, tokenizer_wish=(), is_tokenizer_imported=True)
    assert "exact" in tile(asked, imported, "Tokens").note


def test_windows_and_tokens_per_parameter_follow_the_training_side():
    config = ProjectConfig()
    facts = prepared_facts(config)
    assert tile(config, facts, "Windows").value == f"{figures.count_windows(2_000_000, 256, 256):,}"
    few = tile(config, facts, "Tokens per")
    assert (few.tone, few.note) == ("warn", "one pass; Train counts all passes")
    many = prepared_facts(config, train_tokens=10**9)
    assert figures.tiles(config, many)[-1].tone == "fg"


def test_before_a_scan_nothing_is_invented():
    assert {t.value for t in figures.tiles(ProjectConfig(), Facts())} == {"-"}


def test_no_text_at_all_breaks_no_tile():
    shown = figures.tiles(ProjectConfig(), Facts(is_scanned=True, listed=3, skipped=3))
    assert [t.value for t in shown[:4]] == ["0", "0 B", "0", "0"]
    assert shown[0].tone == "warn"


def test_each_source_has_its_own_figures(session, opened):
    facts = prepared_facts(session.config)
    session.now.facts = facts
    session.bus.publish(DataChanged())
    row = opened.store.state.sources[0]
    assert (row.files, row.size, row.tokens) == ("8", "9.5 MiB", "2.5 M")
    session.now.facts = replace(facts, unencoded=1)
    session.bus.publish(DataChanged())
    assert opened.store.state.sources[0].tokens.startswith("~")


def test_every_reason_of_the_scan_is_explained():
    text = "".join(Path(m.__file__).read_text(encoding="utf-8") for m in (corpus_sources, extract))
    known = set(re.findall(r'SkipFile\("([a-z-]+)"', text))
    known |= set(re.findall(r'(?:reason =|return|yield \w+, \w+,) "([a-z-]+)"', text))
    known |= corpus_sources.FAILED | {"over-max-files", "same-file", "too-large", "glob"}
    known -= {"failed", "skipped", "used", "utf-8"}
    assert {"extension", "binary", "encoding", "too-small", "parse"} <= known
    assert known <= set(reasons.REASONS)


# RELIABILITY 5, and what formats and splits add to it.
REASONS = (
    "not-regular outside unreadable too-large binary empty encoding changed name parse limit "
    "extension glob ignored too-small over-max-files encrypted excluded same-file columns library "
    "would-leak"
).split()


def test_every_reason_that_there_can_be_has_its_words():
    assert set(reasons.REASONS) == set(reasons.CLAUSES) == set(REASONS)
    for label, meaning in reasons.REASONS.values():
        assert label
        assert meaning.endswith(".")


@pytest.mark.parametrize("reason", REASONS)
def test_one_file_and_many_read_as_a_sentence(reason):
    many, one = reasons.clause(reason, 2), reasons.clause(reason, 1)
    assert many.split()[0] in {"are", "have", "need", "cannot", "changed"}
    assert one.split()[0] in {"is", "has", "needs", "cannot", "changed"}
    assert not one.endswith("s.")


def test_listed_is_used_and_skipped_and_failed(session, opened):
    show(session, listed=7, used=4, skipped=2, failed=1,
         reasons=(("skipped", "binary", 2), ("failed", "weird", 1)))  # fmt: skip
    state = opened.store.state
    assert state.account == "7 files listed = 4 used + 2 skipped + 1 failed."
    assert [(r.label, r.n, r.state) for r in state.reasons] == [
        ("Not text", 2, "skipped"), ("weird", 1, "failed")
    ]  # fmt: skip


def test_new_files_are_those_the_scan_found_beside_the_old(session, opened):
    show(session, listed=5, used=5)
    session.now.data_job = RunState("r", "scan", "running")
    session.bus.publish(RunChanged())
    session.data_job.state = "done"
    session.bus.publish(RunChanged())
    show(session, listed=9, used=8)
    assert opened.store.state.new_files == 3


def test_types_beyond_the_largest_are_one_bar():
    kinds = tuple((f".k{i}", 1, 100 - i) for i in range(20))
    rows = figures.type_rows(kinds, most=8)
    assert len(rows) == 9
    assert rows[-1].name == "12 more"
    assert sum(row.size for row in rows) == sum(size for _, _, size in kinds)


# -- jobs ---------------------------------------------------------------------------------------


def test_scan_and_prepare_turn_to_stop_while_they_run(session, opened):
    opened.scan()
    opened.prepare()
    assert session.calls == ["scan", ("prepare", {})]
    session.now.data_job = RunState("r", "prepare", "running")
    session.bus.publish(RunChanged())
    assert opened.store.state.job.is_ours
    opened.scan()
    opened.prepare()
    assert session.calls[2:] == ["stop_data_job", "stop_data_job"]


def test_train_and_import_ask_for_another_tokenizer(session, opened):
    opened.train_tokenizer()
    opened.import_tokenizer("/a/tokenizer.json")
    assert session.calls == [
        ("prepare", {"is_vocab_asked": True}), ("prepare", {"tokenizer_file": "/a/tokenizer.json"})
    ]  # fmt: skip


def test_a_locked_tokenizer_is_not_replaced(session, opened):
    session.archive.checkpoints = (object(),)
    session.now.facts = prepared_facts(session.config)
    session.bus.publish(DataChanged())
    assert opened.store.state.tokenizer.badge == "Locked by checkpoints"
    session.change({"target_vocab_size": 4000})
    assert "exact" in opened.store.state.tiles[2].note, "it is kept, whatever the settings ask"
    assert opened.store.state.prepared_tone == "good"
    assert opened.store.state.notes["target_vocab_size"] == "16,000 in use"
    assert opened.store.state.sources[0].tokens == "2.5 M"
    session.now.facts = replace(session.facts, unencoded=2, text_bytes=11_000_000)
    session.bus.publish(DataChanged())
    assert opened.store.state.prepared == "Out of date: the files changed since."
    assert "at 4.00 bytes" in opened.store.state.tiles[2].note
    opened.train_tokenizer()
    opened.import_tokenizer("/a/tokenizer.json")
    assert session.calls == []


def test_without_a_source_that_is_on_nothing_is_scanned(session, opened):
    opened.origins.switch(1)
    session.calls.clear()
    opened.scan()
    opened.prepare()
    assert session.calls == []
    assert session.notices[-1].text == "No source is switched on."


def told(kind, *said):
    run = RunState("r", kind)
    for message in said:
        run.apply(message, 1.0)
    return run


def test_progress_is_told_in_files_and_bytes():
    run = told("scan", m.Started("r", "scan", 1), m.Progress("reading", 0, None, ""),
               m.Progress("reading", 2048, None, "files"))  # fmt: skip
    assert words.describe_job(None, run).text == "Listing: 2,048 files"
    run.apply(m.Progress("reading", 64, 128, "files", n_bytes=3 << 20), 2.0)
    job = words.describe_job(None, run)
    assert (job.text, job.share, job.is_ours) == ("Reading: 64 of 128 files, 3.0 MiB", 0.5, True)
    prepare = told("prepare", m.Progress("encoding", 1 << 20, 4 << 20, "bytes"))
    assert words.describe_job(None, prepare).text == "Encoding: 1.0 MiB of 4.0 MiB"


def test_the_end_of_a_job_is_told_in_a_sentence():
    scan = told("scan", m.Scanned(9, 8, 1, 0, 10, 3, {}, 0.2))
    assert words.describe_job(None, scan).text == "Scanned 9 files in less than 1 s, 3 read anew."
    nothing = told("scan", m.Scanned(0, 0, 0, 0, 0, 0, {}, 0.2))
    assert words.describe_job(None, nothing).tone == "warn"
    some = told("scan", m.Scanned(188, 92, 96, 0, 9, 3, {"binary": 22, "extension": 74}, 0.2))
    assert words.describe_job(None, some).text == (
        "92 of 188 files used; 74 are of a file type that is switched off."
    )
    one = told("scan", m.Scanned(2, 1, 1, 0, 9, 3, {"binary": 1}, 0.2))
    assert words.describe_job(None, one).text == "1 of 2 files used; 1 is not text."
    none = told("scan", m.Scanned(2, 0, 2, 0, 0, 2, {"binary": 2}, 0.2))
    assert words.describe_job(None, none).tone == "warn"
    done = m.Prepared("id", 900, 100, 9, 1, 5000, 2, 8, 3.0)
    prepare = told("prepare", done, m.Done())
    job = words.describe_job(None, prepare)
    assert job.text == "2 texts encoded, 8 from the cache, in 3 s: 1 k tokens."
    assert (job.is_live, job.tone) == (False, "good")
    same = told("prepare", replace(done, encoded_docs=0, cached_docs=0), m.Done())
    assert words.describe_job(None, same).text.startswith("Nothing had changed")
    failed = told("prepare", m.Failed("E-DATA-EMPTY", "No text.\nWiden it. [E-DATA-EMPTY]"))
    assert (words.describe_job(None, failed).text, words.describe_job(None, failed).tone) == (
        "No text.",
        "bad",
    )
    stopped = told("scan", m.Stopped(0, "", "stopped by you"))
    assert "kept" in words.describe_job(None, stopped).text


def test_a_run_that_reads_the_data_shows_its_steps():
    run = told("train", m.Progress("encoding", 1, 2, "bytes"))
    job = words.describe_job(run, None)
    assert (job.kind, job.is_ours, job.share) == ("train", False, 0.5)
    assert [step.state for step in job.steps] == ["waiting", "waiting", "running"]


def test_the_prepared_data_is_told_to_be_ready_or_out_of_date():
    config = ProjectConfig()
    facts = prepared_facts(config)
    assert words.describe_prepared(config, Facts())[0].startswith("Not prepared")
    assert words.describe_prepared(config, facts)[1] == "good"
    assert "files changed" in words.describe_prepared(config, replace(facts, unencoded=2))[0]
    asked = replace(config, tokenizer=TokenizerConfig(target_vocab_size=4000))
    assert "the tokenizer changed" in words.describe_prepared(asked, facts)[0]
    both = words.describe_prepared(asked, replace(facts, text_bytes=9))[0]
    assert both == "Out of date: the files and the tokenizer changed since."
    rewritten = replace(facts, tokenizer_sha256="b", unencoded=8)
    assert "the tokenizer changed" in words.describe_prepared(config, rewritten)[0]


def test_what_the_last_preparation_said_is_not_said_of_changed_data():
    job = words.Job("prepare", text="Nothing had changed.", tone="good")
    assert (
        words.prepared_words(job, "Up to date.", "good")[0] == "Nothing had changed.\nUp to date."
    )
    assert words.prepared_words(job, "Out of date.", "warn") == ("Out of date.", "warn")
    failed = words.Job("prepare", text="No text.", tone="bad")
    assert words.prepared_words(failed, "Out of date.", "warn") == ("No text.", "bad")


# -- tokenizer ----------------------------------------------------------------------------------


def view(facts, *, is_locked=False, config=None):
    return words.describe_tokenizer(config or ProjectConfig(), facts, is_locked=is_locked)


def test_the_badge_names_the_state_of_the_tokenizer():
    config = ProjectConfig()
    facts = prepared_facts(config)
    asked = replace(config, tokenizer=TokenizerConfig(target_vocab_size=4000))
    assert view(Facts()).badge == "None"
    assert view(facts).badge == "Trained"
    assert view(replace(facts, is_tokenizer_imported=True)).badge == "Imported"
    assert view(facts, is_locked=True).badge == "Locked by checkpoints"
    assert view(facts, config=asked).badge == "Outdated"
    kept = view(facts, config=asked, is_locked=True)
    assert (kept.badge, kept.is_outdated) == ("Locked by checkpoints", True)
    assert "it stays" in kept.text


def test_the_advice_names_sizes_and_a_better_vocabulary():
    facts = Facts(is_scanned=True, used=1, listed=1, text_bytes=300_000_000)
    small = replace(ProjectConfig(), tokenizer=TokenizerConfig(target_vocab_size=1000))
    found = view(facts, config=small)
    assert found.proposal > 10_000
    assert "286.1 MiB" in found.advice
    little = view(replace(facts, text_bytes=5000))
    assert "plain bytes" in little.advice
    assert little.proposal == 0
    assert "scan" in view(Facts()).advice


def test_the_advice_is_about_the_tokenizer_that_counts():
    config = replace(ProjectConfig(), tokenizer=TokenizerConfig(target_vocab_size=1000))
    facts = prepared_facts(config, vocab_size=50_257, is_tokenizer_imported=True, tokenizer_wish=())
    found = view(facts, config=config)
    assert "50,257 take" in found.advice and found.proposal == 0
    learnt = prepared_facts(ProjectConfig(), vocab_size=12_345)
    assert "12,345 are made" in view(learnt).advice


def test_the_proposal_is_taken_over_by_one_press(session, opened):
    opened.filters.set_field("target_vocab_size", "1000")
    show(session, listed=1, used=1, text_bytes=300_000_000)
    proposal = opened.store.state.tokenizer.proposal
    opened.take_proposal()
    assert session.config.tokenizer.target_vocab_size == proposal
    assert opened.store.state.tokenizer.proposal == 0


# -- lists of files -----------------------------------------------------------------------------


def fill_index(made, n, state="skipped", reason="binary"):
    made.root.mkdir(exist_ok=True)
    rows = [
        FileRow(1, b"d/%06d.txt" % i, f"d/{i:06d}.txt", 5, 0, 0, 0, state, reason, text_bytes=5,
                encoding="cp1252", is_converted=i % 2 == 0)
        for i in range(n)
    ]  # fmt: skip
    with Index(made.db_path) as index:
        index.put_files(rows, 1)


def test_files_are_read_a_page_at_a_time(session, opened):
    fill_index(session.project, 1000)
    opened.files.open("unused")
    settle(session, lambda: opened.store.state.files.total == 1000)
    assert opened.files.file(450) is None, "it is being read"
    version = opened.store.state.files.version
    settle(session, lambda: opened.store.state.files.version > version)
    assert opened.files.file(450).name == "d/000450.txt"
    assert opened.files.file(399 + 1).name == "d/000400.txt"
    assert opened.files.file(0) is None, "another page"


def test_files_are_found_by_part_of_their_path_and_by_reason(session, opened):
    fill_index(session.project, 120)
    opened.files.open("unused", "binary")
    opened.files.filter(search="00011")
    settle(session, lambda: opened.store.state.files.total == 11)
    opened.files.filter(search="100%_")
    settle(session, lambda: opened.store.state.files.total == 0)
    opened.files.filter(search="", reason="empty")
    settle(session, lambda: opened.store.state.files.total == 0)
    opened.files.filter(kind="used")
    assert opened.store.state.files.query.reason == ""


def test_the_chosen_reason_is_the_one_whose_files_are_shown(session, opened):
    show(session, listed=3, skipped=3,
         reasons=(("skipped", "binary", 2), ("skipped", "extension", 1)))  # fmt: skip
    opened.files.open_unused()
    assert opened.store.state.files.query.reason == ""
    opened.files.explain_reason("extension")
    opened.files.open_unused()
    assert opened.store.state.files.query == lists.Query("unused", "extension")
    show(session, listed=2, skipped=2, reasons=(("skipped", "binary", 2),))
    opened.files.open_unused()
    assert opened.store.state.files.query.reason == ""


def test_converted_files_are_listed(session, opened):
    fill_index(session.project, 10, "used", "")
    opened.files.open("converted")
    settle(session, lambda: opened.store.state.files.total == 5)
    opened.files.file(0)
    settle(session, lambda: opened.files.file(0))
    assert opened.files.file(0).encoding == "cp1252"


def test_the_list_is_copied_whole(session, opened):
    fill_index(session.project, 300)
    opened.files.open("unused")
    copied = []
    opened.files.copy(lambda text, n: copied.append((text, n)))
    settle(session, lambda: copied)
    text, n = copied[0]
    assert n == 300
    assert text.splitlines()[299] == "d/000299.txt\tbinary"


def test_two_hundred_thousand_rows_are_paged_in_a_moment(tmp_path):
    made = project.Project(tmp_path / "p")
    fill_index(made, 200_000)
    begun = time.process_time()
    assert lists.count(made, lists.Query("unused")) == 200_000
    assert lists.read_page(made, lists.Query("unused"), 990)[-1].name == "d/198199.txt"
    assert time.process_time() - begun < 1.0


def test_a_page_is_asked_for_once_and_old_ones_are_let_go():
    asked = []
    pages = lists.Pages(asked.append)
    for _ in range(3):
        assert pages.row(5) is None
    assert asked == [0]
    for number in range(lists.KEPT + 1):
        pages.put(number, (number,))
    assert pages.row(lists.PAGE * lists.KEPT) == lists.KEPT
    assert pages.row(0) is None


# -- preview and report -------------------------------------------------------------------------


def looks(session, kind):
    return [
        body for call in session.calls if call[0] == "look" for body in (call[1],) if kind in body
    ]


def answer(session, message):
    session.bus.publish(Answered("looker", message))


@pytest.fixture
def with_files(session, opened):
    fill_index(session.project, 5, "used", "")
    opened.reading.wake()
    show(session, listed=5, used=5, text_bytes=25)
    settle(session, lambda: looks(session, "preview"))
    return opened


def test_the_first_used_file_is_shown_by_itself(session, with_files):
    assert looks(session, "preview")[-1]["preview"] == {
        "source_id": 1,
        "path": b"d/000000.txt".hex(),
    }
    number = len(session.calls)
    answer(session, m.Preview(number, "a.txt", "Hello", 5, ends=(2, 5), n_tokens=2))
    preview = with_files.store.state.preview
    assert (preview.answer.text, preview.is_waiting, preview.total) == ("Hello", False, 5)


def test_tokens_are_placed_by_line_and_column_without_their_newlines():
    found = figures.token_ranges("ab\n\ncd", (1, 4, 6), 2, False)
    assert found == [["1.0", "1.1", "3.0", "3.2"], ["1.1", "1.2"]]
    assert figures.token_ranges("\U0001f600a", (1, 2), 2, True) == [["1.0", "1.2"], ["1.2", "1.3"]]
    assert figures.token_ranges("a\U0001f600", (1, 1, 2), 2, False)[1] == []


def test_next_and_previous_go_round(session, with_files):
    with_files.reading.step_file(-1)
    settle(session, lambda: with_files.store.state.preview.position == 4)
    assert with_files.store.state.preview.file.name == "d/000004.txt"
    with_files.reading.step_file(1)
    settle(session, lambda: with_files.store.state.preview.position == 0)


def test_an_answer_that_is_no_longer_wanted_is_not_shown(session, with_files):
    old = len(session.calls)
    with_files.reading.choose_look("raw")
    assert looks(session, "preview")[-1]["mode"] == "raw"
    answer(session, m.Preview(old, "old", "old", 3))
    assert with_files.store.state.preview.answer is None


def test_a_file_that_cannot_be_shown_says_why(session, with_files):
    answer(session, m.Failed("E-DATA-SOURCE", "Gone. [E-DATA-SOURCE]", request=len(session.calls)))
    assert with_files.store.state.preview.problem == "Gone."


def test_a_dead_reader_is_told_and_asked_anew(session, with_files):
    answer(session, m.Failed("E-WORKER-DIED", "It ended. [E-WORKER-DIED]"))
    assert with_files.store.state.preview.problem == "It ended."
    assert not with_files.store.state.preview.is_waiting


def test_the_report_is_asked_once_for_each_tokenizer(session, with_files):
    session.now.facts = replace(session.facts, vocab_size=300, tokenizer_sha256="a")
    session.bus.publish(DataChanged())
    session.now.facts = replace(session.facts, listed=6, skipped=1)
    session.bus.publish(DataChanged())
    assert len(looks(session, "report")) == 1
    session.now.facts = replace(session.facts, tokenizer_sha256="b")
    session.bus.publish(DataChanged())
    assert len(looks(session, "report")) == 2


def test_a_chosen_file_of_the_list_is_shown_in_the_preview(session, with_files):
    with_files.files.open("used")
    settle(session, lambda: with_files.store.state.files.total == 5)
    with_files.files.file(3)
    settle(session, lambda: with_files.files.file(3))
    with_files.files.show(3)
    state = with_files.store.state
    assert (state.page, state.preview.file.name, state.preview.position) == (
        "main",
        "d/000003.txt",
        3,
    )


def test_the_preview_comes_back_when_the_lock_becomes_ours(session, with_files):
    n = len(looks(session, "preview"))
    session.bus.publish(ProjectChanged())
    settle(session, lambda: len(looks(session, "preview")) > n)
    assert with_files.store.state.preview.file


def test_another_project_starts_with_a_clean_tab(session, with_files, tmp_path):
    with_files.filters.set_field("max_files", "x")
    with_files.files.open("used")
    session.create(tmp_path / "other", [])
    state = with_files.store.state
    assert (state.mode, state.page, state.errors, state.preview.file) == ("empty", "main", {}, None)


def test_closing_the_project_shows_the_first_page(session, opened):
    session.close_project()
    state = opened.store.state
    assert (state.mode, state.sources, state.job.kind) == ("none", (), "")


# -- weights, patterns, columns ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "weight", "means"),
    [
        ("2", 2.0, "read 2 times as often"), (" 1.5x ", 1.5, "read 1.5 times as often"),
        ("1/4", 0.25, "only 25 % of it in each epoch"), ("0,5", 0.5, "only 50 % of it in each epoch"),
        ("1", 1.0, "read once in each epoch"),
    ],
)  # fmt: skip
def test_a_weight_is_taken_and_explained_without_a_scan(session, opened, text, weight, means):
    opened.origins.set_weight(1, text)
    assert session.config.sources[0].weight == weight
    assert opened.store.state.notes["weight"] == means
    assert "scan_soon" not in session.calls


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1000", "inf", "nan", "1/0", "1e999"])
def test_a_weight_that_cannot_be_stays_with_its_reason_and_blocks_a_run(session, opened, text):
    opened.origins.set_weight(1, text)
    state = opened.store.state
    assert session.config.sources[0].weight == 1.0
    assert (state.values["weight"], bool(state.errors["weight"])) == (text, True)
    assert "weight" in session.now.blockers
    opened.origins.set_weight(1, "3")
    assert opened.store.state.errors == {}
    assert session.now.blockers == {}


def test_another_source_shows_its_own_weight(session, opened, tmp_path):
    opened.add_folder(str(tmp_path))
    opened.origins.set_weight(2, "x")
    opened.origins.select(1)
    assert opened.store.state.values["weight"] == "1"
    assert opened.store.state.errors == {}
    assert session.now.blockers == {}


def test_the_weight_in_the_form_is_that_of_the_source_in_view(session, opened, tmp_path):
    opened.add_folder(str(tmp_path))
    opened.origins.set_weight(2, "4")
    opened.origins.select(1)
    assert opened.store.state.values["weight"] == "1"
    opened.origins.select(2)
    assert opened.store.state.values["weight"] == "4"


def test_the_advice_is_that_of_the_measured_sizes(session, with_files):
    view = with_files.store.state.tokenizer
    assert words.sizes_advice(figures.SizesView(), view) == ""
    measured = figures.sizes_view(SIZES)
    assert "1,000 tokens" in words.sizes_advice(measured, view)
    assert words.sizes_advice(measured, replace(view, locked="Locked.")) == ""


def test_only_what_is_included_is_scanned_and_empty_is_all(session, opened):
    opened.origins.set_include(1, "*.md, src/*.py")
    assert session.config.sources[0].include == ("*.md", "src/*.py")
    assert opened.store.state.source.include == "*.md, src/*.py"
    opened.origins.set_include(1, " , ")
    assert session.config.sources[0].include == ()
    assert session.calls == ["scan_soon", "scan_soon"]


def test_gitignore_is_a_filter_and_reset_with_the_others(session, opened):
    opened.filters.set_value("use_gitignore", False)
    assert session.config.data.use_gitignore is False
    assert opened.store.state.values["use_gitignore"] == "off"
    opened.filters.reset()
    assert session.config.data.use_gitignore is True


def test_a_source_shows_what_is_known_of_it(session, opened):
    facts = Facts(
        is_scanned=True, listed=8, used=8, text_bytes=8_000, sources=((1, 8, 8_000),),
        documents=((1, 120),), tables=((1, 2, 3),),
        scores=((1, 20, 1), (1, 80, 3)), copies=((1, 1),),
    )  # fmt: skip
    session.now.facts = facts
    session.bus.publish(DataChanged())
    row = opened.store.state.source
    assert (row.files, row.copies, row.low, row.each) == ("120", "25 %", "25 %", "-")
    assert (row.tables, row.no_columns) == (5, 3)
    assert "3 tables wait" in words.columns_words(row)
    assert "25 % copies" in words.source_words(row)
    session.change({"min_score": 10})
    assert opened.store.state.source.low == "0 %"


@pytest.fixture
def with_table(session, opened):
    """A scanned project with a table that waits for its columns, and one that has them."""
    rows = [
        FileRow(1, b"a.csv", "a.csv", 10, 1, 1, 1, "skipped", "columns"),
        FileRow(1, b"b.csv", "b.csv", 10, 1, 1, 2, "used", text_hash=b"t", records=3),
        FileRow(1, b"c.jsonl", "c.jsonl", 10, 1, 1, 3, "used", text_hash=b"u", records=3),
        FileRow(1, b"d.txt", "d.txt", 10, 1, 1, 4, "used", text_hash=b"v"),
    ]
    with Index(session.project.db_path) as index:
        index.put_files(rows, 1)
    show(
        session,
        listed=4,
        used=3,
        skipped=1,
        tables=((1, 2, 1),),
        reasons=(("skipped", "columns", 1),),
    )
    opened.picking.open(1)
    settle(session, lambda: looks(session, "columns"))
    return opened


def columns_of(session, with_table, *found, chosen=(), nth=-1):
    numbers = [
        i + 1 for i, call in enumerate(session.calls) if call[0] == "look" and "columns" in call[1]
    ]
    answer(session, m.Columns(numbers[nth], "a.csv", found, chosen))


def test_one_table_of_each_kind_is_looked_into_the_waiting_ones_first(session, with_table):
    paths = [bytes.fromhex(what["columns"]["path"]) for what in looks(session, "columns")]
    assert set(paths) == {b"a.csv", b"c.jsonl"}
    assert with_table.store.state.columns.is_waiting


def test_the_columns_of_several_tables_are_offered_once_and_remembered(session, with_table):
    columns_of(session, with_table, ("title", "A"), ("body", "Long"), chosen=("body",), nth=0)
    columns_of(session, with_table, ("text", "B"), ("title", "C"), nth=1)
    view = with_table.store.state.columns
    assert ([name for name, _ in view.columns], view.is_waiting) == (
        ["title", "body", "text"],
        False,
    )
    assert view.columns[2] == ("text", "a.csv: B")
    assert view.chosen == ("body",)
    with_table.picking.tick("title", True)
    assert with_table.store.state.columns.chosen == ("title", "body"), "in the table's order"
    with_table.picking.tick("body", False)
    session.calls.clear()
    with_table.picking.take()
    assert session.config.sources[0].columns == ("title",)
    assert with_table.store.state.columns is None
    assert session.calls == ["scan_soon"]


def test_columns_that_cannot_be_read_are_said_and_nothing_is_asked(session, with_table):
    for number in [
        i + 1 for i, c in enumerate(session.calls) if c[0] == "look" and "columns" in c[1]
    ]:
        answer(session, m.Failed("E-DATA-SOURCE", "Damaged. [E-DATA-SOURCE]", request=number))
    assert with_table.store.state.columns is None
    assert session.notices[-1].text == "Damaged."


def test_a_dead_reader_ends_the_wait_for_columns(session, with_table):
    answer(session, m.Failed("E-WORKER-DIED", "It ended. [E-WORKER-DIED]"))
    assert with_table.store.state.columns is None


def test_choosing_from_the_list_of_reasons_takes_the_source_that_waits(session, with_table):
    with_table.picking.close()
    with_table.picking.open()
    assert with_table.store.state.columns.source_id == 1


# -- sizes of the vocabulary ---------------------------------------------------------------------


def said(session, message):
    session.bus.publish(Answered("sizes", message))


SIZES = m.VocabularySizes(
    0, ((1000, 2.5, 0.1, 0.0, 0.01), (4000, 3.1, 0.3, 0.02, 0.2)), 1000, "Because.", 2_000_000, 3.0
)


def test_sizes_are_compared_shown_and_one_is_taken(session, with_files):
    with_files.sizing.compare()
    assert with_files.store.state.sizes.is_on
    said(session, m.Progress("comparing", 1, 4, "bytes"))
    assert with_files.store.state.sizes.share == 0.25
    said(session, SIZES)
    view = with_files.store.state.sizes
    assert [(row.name, row.each, row.part, row.is_advised) for row in view.rows] == [
        ("1,000", "2.50", "10 %", True), ("4,000", "3.10", "30 %", False)
    ]  # fmt: skip
    assert (view.reason, view.is_on) == ("Because.", False)
    with_files.sizing.take(4000)
    assert session.config.tokenizer.target_vocab_size == 4000


def test_a_second_press_ends_the_comparison_at_once(session, with_files):
    with_files.sizing.compare()
    with_files.sizing.compare()
    assert session.calls[-1][:2] == ("cancel", "sizes")
    said(session, SIZES)
    assert with_files.store.state.sizes == figures.SizesView(), "what comes late is not shown"


def test_a_comparison_that_fails_says_why(session, with_files):
    with_files.sizing.compare()
    said(session, m.Failed("E-DATA-EMPTY", "Too little. [E-DATA-EMPTY]"))
    assert with_files.store.state.sizes.problem == "Too little."


def test_sizes_of_another_text_are_forgotten(session, with_files):
    with_files.sizing.compare()
    said(session, SIZES)
    session.now.facts = replace(session.facts, text_bytes=99)
    session.bus.publish(DataChanged())
    assert with_files.store.state.sizes.rows == ()


# -- records, export, cache ----------------------------------------------------------------------


def test_the_documents_of_a_table_are_shown_one_after_the_other(session, with_table):
    with_table.reading.wake()
    settle(session, lambda: with_table.store.state.preview.file)
    file = with_table.store.state.preview.file
    assert (file.name, file.records) == ("b.csv", 3)
    with_table.reading.show_record(1)
    assert looks(session, "preview")[-1]["record"] == 1
    with_table.reading.show_record(99)
    assert with_table.store.state.preview.record == 2
    with_table.reading.step_file(1)
    settle(session, lambda: with_table.store.state.preview.file.name == "c.jsonl")
    assert with_table.store.state.preview.record == 0


def test_cleaned_and_tokens_are_asked_once(session, with_files):
    n = len(looks(session, "preview"))
    with_files.reading.choose_look("cleaned")
    assert len(looks(session, "preview")) == n
    with_files.reading.choose_look("text")
    assert looks(session, "preview")[-1]["mode"] == "extracted"


@pytest.mark.parametrize("name", ["list.csv", "list.txt"])
def test_a_list_is_written_whole(session, with_files, tmp_path, name):
    with_files.files.open("used")
    with_files.files.export(tmp_path / name)
    settle(session, (tmp_path / name).exists)
    lines = (tmp_path / name).read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 5 + name.endswith(".csv")
    assert "5 files" in session.notices[-1].text


def test_a_list_that_cannot_be_written_is_said(session, with_files, tmp_path):
    with_files.files.export(tmp_path / "gone" / "list.csv")
    settle(session, lambda: session.notices)
    assert session.notices[-1].kind == "bad"


def test_rescan_and_clear_are_begun_only_when_nothing_is_on(session, opened):
    show(session, cache_bytes=3 << 20)
    assert opened.store.state.cache == "3.0 MiB"
    opened.rescan_everything()
    opened.clear_cache()
    assert session.calls == ["rescan_everything", "clear_cache"]
    session.now.data_job = RunState("r", "clear", "running")
    session.bus.publish(RunChanged())
    assert opened.store.state.busy == "The cache is being cleared."
    opened.rescan_everything()
    opened.clear_cache()
    assert len(session.calls) == 2


# -- dropped on the window -----------------------------------------------------------------------


def test_dropped_folders_and_files_become_sources_and_text_a_paste(session, tab, texts, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    tab.drop([str(texts), str(tmp_path / "a.txt")], "")
    assert session.project.root.name == "texts"
    assert paths(tab) == [str(texts), str(tmp_path / "a.txt")]
    tab.drop([], "A text that was dropped.")
    assert tab.store.state.paste == ("", "A text that was dropped.")
    tab.drop([], "  ")
    assert tab.store.state.paste[1] == "A text that was dropped."


def test_the_hint_to_drop_stands_only_where_it_works(session, tab, tmp_path):
    assert not tab.store.state.can_drop
    tab.allow_drop()
    session.create(tmp_path / "p", [])
    assert tab.store.state.can_drop


# -- with real workers --------------------------------------------------------------------------


def test_a_real_scan_and_preparation_end_in_exact_figures(tmp_path, texts):
    session = Session(Settings(tmp_path / "settings"), queue.Queue())
    tab = Presenter(session)
    try:
        session.create(tmp_path / "p", [str(texts)])
        tab.filters.set_field("target_vocab_size", "300")
        tab.prepare()
        settle(session, lambda: session.facts.tokens and not session.is_working, 50)
        state = tab.store.state
        assert "exact" in state.tiles[2].note
        assert state.tokenizer.badge == "Trained"
        assert "encoded" in state.job.text
        assert [step.state for step in state.job.steps] == ["done"] * 3
        manifest = json.loads((session.project.data_dir / "manifest.json").read_text())
        assert session.facts.tokens == manifest["train_tokens"] + manifest["val_tokens"]
        tab.reading.wake()
        settle(session, lambda: tab.store.state.preview.answer and tab.store.state.report, 50)
        preview, report = tab.store.state.preview.answer, tab.store.state.report
        assert preview.ends[-1] == len(preview.text)
        assert report.vocab_size == session.facts.vocab_size
    finally:
        session.close()

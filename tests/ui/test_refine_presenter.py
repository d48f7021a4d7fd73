"""The Refine tab: what it proposes is counted exactly, and it touches nothing before it is told."""

import csv
import queue
import time

import pytest

from sllm_core import messages as m
from sllm_core.config import CleanConfig, RefineConfig
from sllm_core.corpus import table
from sllm_core.corpus.index import Index
from sllm_core.jobs import runs
from sllm_ui.events import Answered, DataChanged, Notice, RunChanged
from sllm_ui.facts import read_facts
from sllm_ui.runstate import RunState
from sllm_ui.session import Session
from sllm_ui.settings import Settings
from sllm_ui.tabs.refine import batches, words
from sllm_ui.tabs.refine.compare import compare
from sllm_ui.tabs.refine.listing import Listing
from sllm_ui.tabs.refine.presenter import Presenter, last_analysis
from tests.test_table import COLUMNS, file


def fill(path, *files):
    with Index(path) as index:
        marks = ", ".join("?" * len(COLUMNS))
        index.write("DELETE FROM files", [()])
        index.write(
            f"INSERT INTO files ({', '.join(COLUMNS)}) VALUES ({marks})",
            [tuple(row[name] for name in COLUMNS) for row in files],
        )


FILES = (
    file(1, "a/good.py", score=90),
    file(2, "a/low.py", score=20, size=2048, reasons=[{"code": "odd", "value": 1, "limit": 0}]),
    file(3, "b/twin.py", score=80, dup_kind="exact", duplicate_of=1),
    file(4, "b/mail.py", score=70, flags={"emails": 3}),
    file(5, "c/key.py", score=95, flags={"secrets": 1}),
    file(6, "c/deutsch.md", score=60, kind="prose", lang="de"),
    file(7, "d/out.py", score=60, state="skipped", reason="excluded"),
)


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A real session that starts no workers: what it would start is noted in ``calls``."""
    made = Session(Settings(tmp_path / "settings"), queue.Queue())
    made.calls, made.notices = [], []
    made.bus.subscribe(Notice, made.notices.append)
    monkeypatch.setattr(
        made.work, "start", lambda kind, /, **options: made.calls.append((kind, options))
    )
    monkeypatch.setattr(made.work, "stop_data_job", lambda: made.calls.append("stop"))

    def look(**body):
        made.calls.append(("look", body))
        return len(made.calls)

    monkeypatch.setattr(made.pipes, "look", look)
    yield made
    made.close()


def turn(session, condition, what=""):
    """Let the session live until something holds."""
    end = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < end, what or session.notices
        try:
            session.handle(*session.inbox.get(timeout=0.02))
        except queue.Empty:
            continue
        session.flush()
    return found


@pytest.fixture
def tab(session, tmp_path):
    """The tab in view, with FILES analysed."""
    source = tmp_path / "texts"
    source.mkdir()
    session.create(tmp_path / "p", [str(source)])
    fill(session.project.db_path, *FILES)
    made = Presenter(session)
    made.set_shown(True)
    session.work.refresh_data()
    turn(session, lambda: session.facts.used == 6 and made.store.state.counts is not None)
    looks = lambda: sum(call[0] == "look" for call in session.calls)  # noqa: E731
    turn(session, lambda: looks() == 2, "the first file, before and after")
    session.calls.clear()
    return made


def shown(tab):
    return [tab.listing.cells(k)[0] for k in range(tab.store.state.n_shown)]


def test_without_a_project_and_without_text_it_says_how_to_begin(session, tmp_path):
    tab = Presenter(session)
    assert tab.store.state.mode == "none"
    session.create(tmp_path / "p", [])
    assert tab.store.state.mode == "empty"
    (tmp_path / "texts").mkdir()
    session.create(tmp_path / "q", [str(tmp_path / "texts")])
    assert tab.store.state.mode == "unlisted"


def test_rows_are_read_only_while_the_tab_is_in_view(session, tmp_path):
    source = tmp_path / "texts"
    source.mkdir()
    session.create(tmp_path / "p", [str(source)])
    fill(session.project.db_path, *FILES)
    tab = Presenter(session)
    session.work.refresh_data()
    turn(session, lambda: session.facts.used == 6)
    assert tab.store.state.counts is None
    tab.set_shown(True)
    turn(session, lambda: tab.store.state.counts is not None)
    assert tab.store.state.counts.used == 6


def test_counts_segments_and_cells_are_those_of_the_index(tab):
    state = tab.store.state
    assert state.is_analysed
    assert state.counts.files == (3, 2, 1, 0, 1)
    assert (state.n_shown, state.target) == (6, 3)
    assert sum(state.scores) == 6
    for segment, paths in {
        "drop": ["a/low.py", "c/key.py"],
        "copy": ["b/twin.py"],
        "mask": [],
        "out": ["d/out.py"],
    }.items():
        tab.show_segment(segment)
        assert shown(tab) == paths
    tab.show_segment("copy")
    _path, kind, kilobytes, bar, badge, why, keeper = tab.listing.cells(0)
    assert (kind, kilobytes, bar) == ("Python", "1.0", (0.8, "good", "80"))
    assert (badge, why, keeper) == (("Copy", "warn"), "exact copy", "a/good.py")
    tab.show_segment("drop")
    assert tab.listing.cells(0)[5].startswith("odd")
    assert "key or password" in tab.listing.cells(1)[5]


def test_dragging_the_line_counts_but_stores_nothing(tab, session):
    tab.move_line(95)
    assert tab.store.state.counts.files == (0, 6, 0, 0, 1), "the one that reaches it holds a key"
    assert tab.store.state.line == 95
    assert session.config.refine.min_score == 50
    assert tab.store.state.target == 3, "the rows keep their verdicts until it is let go"
    tab.set_line(95)
    assert session.config.refine.min_score == 95
    assert tab.store.state.target == 6
    tab.set_line(95)
    assert tab.store.state.line == 95


def test_a_line_that_comes_back_changes_nothing(tab, session):
    before = tab.store.state.counts
    tab.move_line(99)
    tab.set_line(50)
    assert tab.store.state.counts == before
    assert session.config.refine.min_score == 50


def test_switches_change_verdicts_at_once(tab, session):
    tab.set_secrets("leave")
    assert tab.store.state.counts.files[table.DROP] == 1
    tab.set_secrets("mask")
    assert (session.config.refine.drop_secrets, session.config.clean.mask_secrets) == (False, True)
    assert tab.store.state.counts.files[table.MASK] == 1
    tab.set_secrets("drop")
    assert (session.config.refine.drop_secrets, session.config.clean.mask_secrets) == (True, False)
    tab.keep_language("de", False)
    assert session.config.refine.drop_languages == ("de",)
    assert tab.store.state.counts.files[table.DROP] == 3
    tab.keep_language("de", True)
    assert session.config.refine.drop_languages == ()
    tab.change(drop_exact=False, mask_emails=True)
    assert tab.store.state.counts.files == (3, 2, 0, 1, 1)


def test_a_wrong_filter_says_so_and_keeps_the_rows(tab):
    tab.filter("score<60")
    assert shown(tab) == ["a/low.py"]
    tab.filter("score<")
    assert tab.store.state.filter_error
    assert shown(tab) == ["a/low.py"]
    tab.filter("")
    assert (tab.store.state.filter_error, tab.store.state.n_shown) == ("", 6)


def test_a_column_sorts_and_turns_round(tab):
    tab.sort(table.COLUMNS.index("score"))
    assert (tab.store.state.sort, tab.store.state.is_descending) == ("score", True)
    assert shown(tab)[0] == "c/key.py"
    tab.sort(table.COLUMNS.index("score"))
    assert shown(tab)[0] == "a/low.py"


def test_what_is_moved_is_what_is_proposed_in_view_or_chosen(tab, session):
    tab.remove("trash")
    tab.show_segment("copy")
    tab.remove("exclude")
    tab.show_segment("all")
    tab.filter("path:a/")
    tab.remove("trash")
    tab.filter("")
    tab.choose(3, frozenset({0, 3}))
    assert (tab.store.state.chosen, tab.store.state.target) == (2, 2)
    tab.remove("trash")
    tab.choose(3, frozenset({3}))
    tab.remove_one("exclude")
    tab.show_segment("out")
    tab.include()
    jobs = [call for call in session.calls if call[0] in {"remove", "restore"}]
    assert jobs == [
        ("remove", {"kind": "trash", "verdicts": ["drop", "copy"]}),
        ("remove", {"kind": "exclude", "verdicts": ["copy"]}),
        ("remove", {"kind": "trash", "ids": [2]}),
        ("remove", {"kind": "trash", "ids": [1, 3]}),
        ("remove", {"kind": "exclude", "ids": [3]}),
        ("restore", {"ids": [7]}),
    ]


def test_nothing_proposed_is_said_and_starts_nothing(tab, session):
    tab.show_segment("mask")
    tab.remove("trash")
    assert not [call for call in session.calls if call[0] == "remove"]
    assert "Nothing is proposed" in session.notices[-1].title


def test_the_choice_survives_sorting_and_goes_with_the_filter(tab):
    tab.choose(1, frozenset({1, 2}))  # a/low, b/mail
    tab.sort(table.COLUMNS.index("score"))
    assert {shown(tab)[k] for k in tab.listing.places()} == {"a/low.py", "b/mail.py"}
    tab.filter("path:a/")
    assert tab.store.state.chosen == 1
    assert tab.listing.cursor == 1


def test_all_rows_can_be_chosen(tab):
    tab.choose(0, frozenset(range(6)))
    assert (tab.store.state.chosen, tab.store.state.target) == (6, 6)


def test_before_and_after_of_the_chosen_file_are_asked_for(tab, session):
    tab.choose(2, frozenset({2}))
    turn(session, lambda: len([c for c in session.calls if c[0] == "look"]) == 2)
    asked = [call[1] for call in session.calls if call[0] == "look"]
    assert [body["mode"] for body in asked] == ["extracted", "cleaned"]
    assert asked[0]["preview"] == {"source_id": 1, "path": b"b/mail.py".hex()}
    assert asked[0]["clean"] == dict.fromkeys(CleanConfig.__dataclass_fields__, False)
    numbers = [n for n, call in enumerate(session.calls, start=1) if call[0] == "look"]
    texts = ("to jane@x.org  \n", "to <email>\n")
    for number, text in reversed(list(zip(numbers, texts, strict=True))):
        session.bus.publish(Answered("looker", m.Preview(number, "x", text, 9)))
    result = tab.store.state.preview.result
    assert (result.n_before, result.n_after, result.summary) == (16, 11, "1 masked")
    session.bus.publish(Answered("looker", m.Preview(999, "x", "another", 9)))
    assert tab.store.state.preview.result == result


def test_a_late_answer_is_not_taken_for_the_next_file(tab, session):
    tab.choose(2, frozenset({2}))
    turn(session, lambda: len([c for c in session.calls if c[0] == "look"]) == 2)
    old = [n for n, call in enumerate(session.calls, start=1) if call[0] == "look"]
    tab.choose(3, frozenset({3}))
    for number in old:
        session.bus.publish(Answered("looker", m.Preview(number, "x", "old", 9)))
    assert tab.store.state.preview.result is None
    assert tab.store.state.preview.name == "b/twin.py"


def test_a_file_that_is_left_out_is_not_read(tab, session):
    tab.show_segment("out")
    assert tab.store.state.preview.note
    assert not [call for call in session.calls if call[0] == "look"]


def test_analyse_starts_and_stops(tab, session):
    tab.analyse()
    assert session.calls[-1] == ("refine", {})
    job = RunState("r", "refine")
    job.apply(m.Started("r", "refine", 1), 1.0)
    job.apply(m.Progress("scoring", 3, 6, "files"), 2.0)
    session.now.data_job = job
    session.bus.publish(RunChanged())
    state = tab.store.state
    assert state.job.is_ours
    assert (state.job.text, state.job.share) == ("Scoring: 3 of 6 files", 0.5)
    assert state.busy
    tab.analyse()
    assert session.calls[-1] == "stop"
    tab.remove("trash")
    assert session.calls[-1] == "stop", "nothing is moved while a job is on"


def test_what_changed_since_the_last_analysis_is_named(tab, session):
    project = session.project
    assert last_analysis(project) is None
    run = runs.new_run(project, "refine", session.config)
    assert last_analysis(project) is None, "it did not come to its end"
    (run.folder / "events.jsonl").write_text(m.encode(m.Done(), 1.0))
    assert last_analysis(project) == (RefineConfig(), CleanConfig())
    session.bus.publish(DataChanged())
    turn(session, lambda: tab._analysed is not None)
    assert tab.store.state.stale == ()
    tab.change(min_score=30)
    assert tab.store.state.stale == ()
    tab.change(near_threshold=0.8)
    assert tab.store.state.stale == ("what counts as alike",)
    tab.change(strip_comments=True, near_threshold=0.9)
    assert tab.store.state.stale == ("the cleaning",)


def test_the_undo_bar_is_there_after_a_restart_until_it_is_closed(tab, session):
    with Index(session.project.db_path) as index:
        rows = [(1, "trash", 100.0, 2, 4096, "done"), (2, "exclude", 200.0, 1, 5, "undone")]
        index.write("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", rows)
        moved = "INSERT INTO trash (batch, source_id, path, target, size, mtime_ns, reason, state)"
        index.write(f"{moved} VALUES (1, 1, ?, x'00', 1, 1, 'exact', 'moved')", [(b"a",), (b"b",)])
    tab.batches.refresh()
    turn(session, lambda: tab.store.state.batch is not None)
    assert tab.store.state.batch.words == "2 exact copies moved to _trash, 4.0 KiB."
    assert [batch.id for batch in tab.store.state.earlier] == [2, 1]
    place = tab.batches.folder(tab.store.state.batch)
    assert place.parent.name == "texts"
    assert place.name == "_trash"
    tab.batches.undo_last()
    assert session.calls[-1] == ("restore", {"batch": 1})
    tab.batches.dismiss()
    assert tab.store.state.batch is None
    assert len(tab.store.state.earlier) == 2
    again = Presenter(session)
    again.set_shown(True)
    turn(session, lambda: again.store.state.batch is not None)


def test_without_a_batch_there_is_nothing_to_undo(tab, session):
    tab.batches.undo_last()
    assert not [call for call in session.calls if call[0] == "restore"]
    assert "nothing to undo" in session.notices[-1].title


def test_a_leak_report_is_shown_once(tab, session):
    job = RunState("r", "leaks")
    report = m.LeakReport(10, 1, 0, 0, (("x", 0.5, "y"),), 1.0)
    for message in (m.Started("r", "leaks", 1), report, m.Done()):
        job.apply(message, 1.0)
    session.now.data_job = job
    session.bus.publish(RunChanged())
    assert tab.store.state.leaks == report
    tab.close_leaks()
    session.bus.publish(RunChanged())
    assert tab.store.state.leaks is None


def test_the_report_is_what_is_shown_and_no_cell_is_a_formula(tab, session, tmp_path):
    fill(session.project.db_path, *FILES, file(8, "=1+1.py", score=30))
    session.bus.publish(DataChanged())
    turn(session, lambda: tab.store.state.counts.used == 7)
    tab.filter("score<60")
    place = tmp_path / "report.csv"
    tab.write_report(place)
    turn(session, lambda: any("report is written" in n.title for n in session.notices))
    with place.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == ["'=1+1.py", "a/low.py"]
    assert (rows[1]["score"], rows[1]["verdict"], rows[1]["bytes"]) == ("20", "drop", "2048")


def test_a_window_that_only_looks_on_changes_nothing(tab, session):
    session.now.read_only = "Somebody else has it."
    tab.change(min_score=10)
    tab.remove("trash")
    tab.analyse()
    assert session.config.refine.min_score == 50
    assert not [call for call in session.calls if call[0] in {"refine", "remove"}]


def test_facts_and_table_count_the_same_files(tab, session):
    assert read_facts(session.project).used == tab.store.state.counts.used


def test_a_listing_without_rows_shows_nothing():
    listing = Listing()
    assert listing.show("all", (), "path", False) == 0
    assert listing.judge(RefineConfig(), CleanConfig()) is None
    assert listing.places() == frozenset()
    assert len(listing.targets()) == 0
    assert listing.cells(0) == ("",) * 7


def test_a_comparison_marks_what_differs():
    result = compare("a\nkey = 'x1'  \n\n\n\nb", "a\nkey = '<secret>'\n\nb")
    assert [line.text for line in result.before if line.span] == ["key = 'x1'  ", "", ""]
    assert [line.text[slice(*line.span)] for line in result.after if line.span] == ["<secret>'"]
    assert (result.n_masked, result.n_lines) == (1, 3)
    assert [line.number for line in result.before] == [1, 2, 3, 4, 5, 6]
    assert compare("same", "same").summary == ""


@pytest.mark.parametrize(("n", "total", "text"), [
    (0, 5, "0 %"), (5, 5, "100 %"), (999, 1000, "99 %"), (1, 1000, "less than 1 %"), (0, 0, "-"),
    (85, 100, "85 %"),
])  # fmt: skip
def test_a_share_is_whole_only_when_it_is(n, total, text):
    assert words.percent(n, total) == text


def test_every_batch_has_its_words():
    batch = batches.Batch(1, "exclude", 0.0, 1, 10, "partial", "near")
    assert batch.words == "1 near copy left out where they are, 10 B. Some of them are back."

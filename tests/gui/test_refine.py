"""The Refine tab as a person meets it: real widgets, real jobs, real files that move and come back."""

import pytest

from sllm_ui.tabs.refine.view import Blank, First, Main
from sllm_ui.tabs.refine.view_sheets import show_batches, show_leaks, show_rules
from sllm_ui.widgets import kit
from sllm_ui.widgets.histogram import Histogram
from sllm_ui.widgets.table import VTable
from tests.gui import pictures
from tests.gui.conftest import children, find
from tests.helpers import make_project
from tests.test_table import file
from tests.ui.test_refine_presenter import FILES, fill

SECRET = "password = 'hunter2-Xk92jfQ1-aa81b'\n"
MAIL = "Mail jane.doe@example.org about the boats that went out this morning.\n"


@pytest.fixture
def filled(window, tmp_path, soon):
    """A project whose index says that FILES are analysed; the tab is in view."""
    project = make_project(tmp_path / "p", tmp_path)
    many = (file(100 + k, f"z/{k:03}.py", score=k % 101) for k in range(200))
    fill(project.db_path, *FILES, *many)
    window.open_project(project.root)
    window.show("refine")
    tab = window.presenter("refine")
    soon(lambda: tab.store.state.counts is not None and tab.store.state.mode == "full")
    soon(lambda: table_of(window).winfo_ismapped(), 10, "the table")
    return tab


@pytest.fixture
def see(window, soon):
    """``see(text)``: the control with that text, as soon as it is in view."""

    def look(text):
        try:
            return find(window.root, text)
        except AssertionError:
            return None

    return lambda text, timeout=10: soon(lambda: look(text), timeout, text)


def page(window):
    return window.views["refine"]._page


def of(window, kind):
    return next(w for w in children(window.views["refine"]) if isinstance(w, kind))


def table_of(window):
    return of(window, VTable)


def press(widget, keys):
    for key in keys:
        widget.event_generate(f"<{key}>")
        widget.update()


def test_empty_pages_say_how_to_begin(window, tmp_path, soon, see):
    window.show("refine")
    assert isinstance(page(window), Blank)
    assert see("Try the sample")
    window.session.create(tmp_path / "p", [])
    see("Go to Data").invoke()
    assert window.page == "data"


def test_before_the_first_analysis_it_says_what_one_does(window, corpus, soon, see):
    window.presenter("data").add_folder(corpus)
    soon(lambda: window.session.facts.used == 24, 60)
    window.show("refine")
    soon(lambda: not window.presenter("refine").store.state.is_loading)
    assert isinstance(page(window), Main)
    assert of(window, First).winfo_viewable()
    assert see("Analyse 24 files")


def test_the_whole_road_with_real_files(window, corpus, soon, see):
    (corpus / "secret.py").write_text(SECRET * 3)
    (corpus / "mail.txt").write_text(MAIL * 30)
    (corpus / "twin_00.txt").write_bytes((corpus / "text_00.txt").read_bytes())
    before = {path.name: path.read_bytes() for path in corpus.iterdir()}
    window.presenter("data").add_folder(corpus)
    soon(lambda: window.session.facts.used == 27, 60)
    window.show("refine")
    tab = window.presenter("refine")
    soon(lambda: not tab.store.state.busy, 30)
    see("Analyse 27 files").invoke()
    assert see("Stop")
    soon(lambda: tab.store.state.is_analysed and not window.session.is_on_data, 60)
    counts = tab.store.state.counts
    assert counts.exact == 1
    assert counts.findings["secrets"] == 1
    tab.change(min_score=0)  # such monotonous lines have no good score
    tab.show_segment("copy")
    gone = {tab.listing.cells(k)[0] for k in range(tab.store.state.n_shown)}
    assert {"twin_00.txt", "text_00.txt"} & gone
    tab.show_segment("all")
    soon(lambda: not tab.store.state.busy)
    n = tab.store.state.target
    see(f"Move {n:,}").invoke()
    soon(lambda: tab.store.state.batch is not None and not window.session.is_on_data, 60)
    left = {path.name for path in corpus.iterdir() if path.is_file()}
    assert len(left) == 27 - n
    assert "secret.py" not in left
    assert (corpus / "_trash").is_dir()
    see("Undo").invoke()
    soon(lambda: tab.store.state.batch is None and not window.session.is_on_data, 60)
    assert {p.name: p.read_bytes() for p in corpus.iterdir() if p.is_file()} == before


def test_the_line_moves_by_keys_and_by_the_pointer(filled, window, soon):
    histogram = of(window, Histogram)
    histogram.focus_force()
    press(histogram, ["Left", "Left", "Prior"])
    assert histogram.value == 38
    assert filled.store.state.line == 38
    soon(lambda: window.session.config.refine.min_score == 38, 5, "it settles")
    press(histogram, ["Home"])
    assert histogram.value == 0
    press(histogram, ["End"])
    assert histogram.value == 100
    soon(lambda: window.session.config.refine.min_score == 100, 5)
    width = histogram.winfo_width()
    histogram.event_generate("<Button-1>", x=width // 4, y=40)
    histogram.event_generate("<B1-Motion>", x=width // 2, y=40)
    assert histogram.value == 50
    assert window.session.config.refine.min_score == 100, "nothing is stored while it is dragged"
    histogram.event_generate("<ButtonRelease-1>", x=width // 2, y=40)
    assert window.session.config.refine.min_score == 50


def test_the_histogram_tells_exact_numbers(filled, window):
    histogram = of(window, Histogram)
    scores = filled.store.state.scores
    assert sum(scores) == filled.store.state.counts.used
    assert histogram.words(25).startswith(f"Scores 50 to 51: {scores[50] + scores[51]:,} files")
    assert histogram.words(49).startswith("Scores 98 to 100: ")


def test_rows_are_chosen_and_what_can_be_done_follows(filled, window, soon, monkeypatch, see):
    started = []
    monkeypatch.setattr(
        window.session.work, "start", lambda kind, /, **o: started.append((kind, o))
    )
    table = table_of(window)
    table.focus_rows()
    press(table._body, ["Home", "Shift-Down", "Shift-Down"])
    soon(lambda: filled.store.state.chosen == 3)
    assert see("Move 3")
    press(table._body, ["Delete"])
    assert started == [("remove", {"kind": "trash", "ids": [1, 2, 4]})]
    press(table._body, ["Control-a"])
    soon(lambda: filled.store.state.chosen == 206)
    press(table._body, ["Home", "Down"])
    soon(lambda: filled.store.state.chosen == 0)
    press(table._body, ["Shift-F10"])
    assert window.menu.is_open
    see("Exclude it").invoke()
    assert started[-1] == ("remove", {"kind": "exclude", "ids": [2]})


def test_the_menu_opens_beside_the_pointer_and_stays_in_the_window(filled, window):
    table = table_of(window)
    y = table._height * 8 + 5
    table._body.event_generate("<Button-3>", x=60, y=y)
    window.root.update()
    assert window.menu.is_open
    panel = window.menu._panel
    assert panel.winfo_rooty() + panel.winfo_height() <= (
        window.root.winfo_rooty() + window.root.winfo_height()
    )
    window.menu.close()


def test_a_wrong_filter_is_said_at_the_field(filled, window, soon):
    window.act("find")
    field = window.root.focus_get()
    field.insert(0, "score<")
    field.event_generate("<KeyRelease>", keysym="less")
    soon(lambda: filled.store.state.filter_error, 5)
    assert field.instate(["invalid"])
    assert filled.store.state.n_shown == 206
    field.insert("end", "40")
    field.event_generate("<KeyRelease>", keysym="0")
    soon(lambda: not filled.store.state.filter_error, 5)
    assert not field.instate(["invalid"])
    assert 0 < filled.store.state.n_shown < 206
    press(field, ["Escape"])
    soon(lambda: filled.store.state.n_shown == 206, 5)


def test_switches_of_the_column_are_the_settings(filled, window, soon):
    soon(lambda: len(page(window)._cards) == 5, 5)
    for name in ("Exact copies", "Licence headers"):
        find(window.host, name).invoke() if name == "Exact copies" else filled.change(
            drop_licence=True
        )
    config = window.session.config
    assert not config.refine.drop_exact
    assert config.clean.drop_licence
    window.root.update()
    boxes = [w for w in children(window.host) if w.winfo_class() == "TCheckbutton"]
    box = next(w for w in boxes if w.cget("text") == "Licence headers")
    assert box.get_value()


def test_every_control_of_the_tab_has_a_tooltip(filled, window, soon):
    soon(lambda: len(page(window)._cards) == 5, 5)
    kinds = {
        "TButton",
        "TCheckbutton",
        "TRadiobutton",
        "Toolbutton",
        "TEntry",
        "TCombobox",
        "TScale",
    }
    silent = [
        str(w)
        for w in children(window.views["refine"])
        if w.winfo_class() in kinds and not kit._Now.tips.text(w)
    ]
    assert silent == []


def test_sheets_open_and_close(filled, window):
    from sllm_core import messages as m

    show_rules(window.desk)
    assert window.dialogs.title == "What counts"
    window.dialogs.answer("Close")
    closed = []
    show_leaks(
        window.desk, m.LeakReport(9, 1, 0, 0, (("a", 0.4, "b"),), 1.0), lambda: closed.append(1)
    )
    assert "Close" in window.dialogs.choices
    assert "Cancel" not in window.dialogs.choices
    window.dialogs.answer("Close")
    show_leaks(window.desk, m.LeakReport(9, 0, 0, 0, (), 1.0), lambda: closed.append(2))
    window.dialogs.cancel()
    assert closed == [1, 2]
    show_batches(window.desk, (), lambda _: None)
    window.dialogs.answer("Close")
    window.act("check_leaks")
    assert "Check validation" in window.dialogs.choices
    window.dialogs.cancel()


def test_the_tab_keeps_its_list_when_the_theme_changes(filled, window, soon):
    filled.show_segment("drop")
    filled.filter("path:z/")
    n = filled.store.state.n_shown
    window.settings.change(theme="light")
    window.root.update()
    soon(lambda: filled.store.state.n_shown == n)
    assert table_of(window)._count == n
    window.settings.change(theme="dark")


@pytest.mark.parametrize(
    ("size", "zoom"), [("1440x900", 1.0), ("1180x720", 1.0), ("1900x1040", 1.5)]
)
def test_nothing_is_cut(filled, window, size, zoom):
    window.settings.change(zoom=zoom)
    window.root.geometry(f"{size}+0+0")
    pictures.live(window, 0.5)
    assert pictures.cut(window) == []

"""The Data tab with real widgets: cards, sheets, drops, keys."""

import json
import shutil
import subprocess
import sys
import time

import pytest

from sllm_core import messages as m
from sllm_ui.events import Answered
from sllm_ui.facts import Facts
from sllm_ui.widgets import drop, kit
from tests.gui import pictures
from tests.gui.conftest import children, find, until


@pytest.fixture
def scanned(window, corpus):
    """The tab over a scanned folder with some text and tables."""
    rows = [{"text": f"Row {n} has a text of its own.", "id": n} for n in range(30)]
    (corpus / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (corpus / "numbers.csv").write_text("n,m\n1,2\n3,4\n")
    window.presenter("data").add_folder(str(corpus))
    until(window, lambda: window.session.facts.used >= 25 and not window.session.is_working, 60)
    window.root.update()
    return window


def drop_on(window, kind, data):
    """What tkdnd does when something is dropped: it puts the data, quoted, into the binding."""
    window.root.tk.setvar("dropped", data)
    script = f"string map [list %D [list $dropped]] [bind . <<Drop:{kind}>>]"
    return window.root.tk.eval(f"uplevel #0 [{script}]")


def needs_tkdnd(window):
    if not window.presenter("data").store.state.can_drop:
        pytest.skip("tkinterdnd2 is not there")


def test_a_dropped_folder_makes_a_project_whatever_it_is_called(window, tmp_path, soon):
    needs_tkdnd(window)
    places = [tmp_path / name for name in ("my {x} [exit] $HOME", "größe;exit")]
    for place in places:
        place.mkdir()
        (place / "a.txt").write_text("Some text to learn from. " * 50)
    data = window.root.tk.call("list", *map(str, places))
    assert drop_on(window, "DND_Files", data) == "copy"
    soon(lambda: window.session.project is not None)
    rows = window.presenter("data").store.state.sources
    assert [row.path for row in rows] == [str(place) for place in places]
    soon(lambda: window.session.facts.used == 2, 60)


def test_a_dropped_text_opens_the_sheet_for_it_on_the_data_tab(window, corpus, soon):
    needs_tkdnd(window)
    window.presenter("data").add_folder(str(corpus))
    window.show("help")
    text = 'A text, {unbalanced [exit] "quoted" $HOME'
    assert drop_on(window, "DND_Text", text) == "copy"
    soon(lambda: window.dialogs.is_open)
    assert window.page == "data"
    assert window.presenter("data").store.state.paste == ("", text)
    window.dialogs.cancel()


def test_a_drop_is_not_taken_while_a_question_is_open(window, tmp_path):
    needs_tkdnd(window)
    window.dialogs.confirm("Question", "Text", [("OK", "primary", None)])
    drop_on(window, "DND_Files", str(tmp_path))
    window.root.update()
    assert window.session.project is None
    window.dialogs.cancel()


# A file manager in small: another process with a window of its own that offers files over XDND.
# tkdnd gives Tk the list as text where Tk wants numbers; real file managers send bytes.
FILE_MANAGER = """
import sys, pathlib, tkinter
from tkinterdnd2 import TkinterDnD
root = TkinterDnD.Tk()
root.geometry("160x100+1600+300")
label = tkinter.Label(root, text="drag me")
label.pack(fill="both", expand=True)
label.drag_source_register(1, "DND_Files")
uris = tuple(pathlib.Path(name).as_uri() for name in sys.argv[1:])
label.dnd_bind("<<DragInitCmd>>", lambda event: ("copy", "DND_Files", uris))
label.dnd_bind("<<DragEndCmd>>", lambda event: print(event.action, flush=True))
root.tk.eval('''
    rename ::tkdnd::xdnd::_SendData ::tkdnd::xdnd::as_text
    proc ::tkdnd::xdnd::_SendData {args} {
        binary scan [::tkdnd::xdnd::as_text {*}$args] cu* bytes
        return $bytes
    }
''')
root.after(300, lambda: print("ready", flush=True))
root.mainloop()
"""


@pytest.mark.skipif(not shutil.which("xdotool"), reason="xdotool moves the pointer")
def test_files_dragged_from_another_program_arrive(window, tmp_path, soon):
    needs_tkdnd(window)
    place = tmp_path / "my {texts} [exit] größe"
    place.mkdir()
    (place / "a.txt").write_text("Some text to learn from. " * 50)
    command = [sys.executable, "-c", FILE_MANAGER, str(place)]
    said = []

    def pointer(*words):
        subprocess.run(["xdotool", *map(str, words)], check=True, timeout=10)
        pictures.live(window, 0.15)

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as source:
        try:
            assert source.stdout.readline() == "ready\n"
            pictures.live(window, 0.5)
            pointer("mousemove", 1680, 350)
            pointer("mousedown", 1)
            for x in (1640, 1560, 1460, 1300, 1000, 800, 700):
                pointer("mousemove", x, 420)
            pictures.live(window, 0.5)
            pointer("mouseup", 1)
            soon(lambda: window.session.project is not None, 15)
            said.append(source.stdout.readline())
        finally:
            source.kill()
    assert said == ["copy\n"]
    rows = window.presenter("data").store.state.sources
    assert [row.path for row in rows] == [str(place)]


def test_only_paths_of_this_computer_are_taken():
    names = ["/home/x", "localhost/home/y", "https://example.org/a", "relative", "host/share/z"]
    assert drop.local(names) == ["/home/x", "/home/y"]


def test_without_the_package_nothing_can_be_dropped(window, monkeypatch):
    monkeypatch.setitem(sys.modules, "tkinterdnd2", None)
    assert drop.enable(window.root, print) is False


def test_columns_are_offered_for_the_table_that_waits_and_are_read_then(scanned, soon):
    tab = scanned.presenter("data")
    assert tab.store.state.source.no_columns == 1
    find(scanned.host, "Choose columns").invoke()
    soon(lambda: scanned.dialogs.is_open, 30)
    assert "Text columns" in scanned.dialogs.title
    ticks = [w for w in children(scanned.root) if w.winfo_class() == "TCheckbutton"]
    named = {str(w.cget("text")): w for w in ticks}
    assert {"n", "m", "text", "id"} <= set(named)
    assert named["text"].get_value(), "what is read already is ticked"
    named["n"].invoke()
    scanned.dialogs.answer("Use these columns")
    assert scanned.session.config.sources[0].columns == ("n", "text")
    soon(lambda: not scanned.session.is_working and not tab.store.state.source.no_columns, 40)


def test_a_record_is_stepped_through_and_typed(scanned, soon):
    tab = scanned.presenter("data")
    tab.files.open("used")
    soon(lambda: tab.store.state.files.total)
    place = soon(
        lambda: next(
            (i + 1 for i in range(25) if (f := tab.files.file(i)) and f.name == "rows.jsonl"), None
        )
    )
    tab.files.show(place - 1)
    soon(lambda: tab.store.state.preview.answer, 30)
    card = next(c for c in scanned.views["data"]._pages["main"]._cards if hasattr(c, "_records"))
    soon(card._records.winfo_viewable)
    soon(lambda: "Row 0 " in card.text.get("1.0", "end"))
    card._behind.invoke()
    soon(lambda: "Row 1 " in card.text.get("1.0", "end"))
    card._record.entry.set_value("30")
    card._record._typed("30")
    card.flush()
    soon(lambda: "Row 29 " in card.text.get("1.0", "end"))
    assert card._behind.instate(["disabled"])


def test_the_four_looks_of_a_file(scanned, soon):
    tab = scanned.presenter("data")
    card = next(c for c in scanned.views["data"]._pages["main"]._cards if hasattr(c, "_look"))
    soon(lambda: tab.store.state.preview.answer, 30)
    seen = {}
    for name in ("Raw", "Text", "Cleaned", "Tokens"):
        card._look.buttons[name].invoke()
        soon(lambda: not tab.store.state.preview.is_waiting, 30)
        scanned.root.update()
        seen[name] = card.text.get("1.0", "end")
    assert seen["Raw"].startswith("00000000")
    assert seen["Text"] == seen["Cleaned"] == seen["Tokens"]


def test_sizes_stand_side_by_side_and_one_is_taken(scanned, monkeypatch, soon):
    tab = scanned.presenter("data")
    monkeypatch.setattr(scanned.session.pipes, "compare_sizes", lambda: 1)
    find(scanned.host, "Compare sizes").invoke()
    assert tab.store.state.sizes.is_on
    rows = ((1000, 2.5, 0.1, 0.0, 0.01), (4000, 3.1, 0.3, 0.02, 0.2))
    found = m.VocabularySizes(1, rows, 4000, "It pays.", 2_000_000, 3.0)
    scanned.session.bus.publish(Answered("sizes", found))
    scanned.root.update()
    take = next(
        w
        for w in children(scanned.host)
        if w.winfo_class() == "TButton" and "Take" in str(w.cget("text"))
    )
    assert str(take.cget("text")) == "Take 4,000"
    take.invoke()
    assert scanned.session.config.tokenizer.target_vocab_size == 4000


def test_a_weight_is_typed_and_explained(scanned, soon):
    card = next(c for c in scanned.views["data"]._pages["main"]._cards if hasattr(c, "_weight"))
    card._weight.entry.set_value("2.5")
    card._weight._typed("2.5")
    card.flush()
    assert scanned.session.config.sources[0].weight == 2.5
    scanned.root.update()
    assert "2.5 times" in card._means.cget("text")


@pytest.mark.parametrize("size", ["1440x900", "1180x720"])
@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_nothing_is_cut_with_everything_on_the_page(scanned, monkeypatch, size, zoom):
    monkeypatch.setattr(scanned.session.pipes, "compare_sizes", lambda: 1)
    scanned.settings.change(zoom=zoom)
    scanned.root.geometry(f"{size}+0+0")
    facts = scanned.session.facts
    scanned.session.now.facts = Facts(
        **{**facts.__dict__, "cache_bytes": 9 << 20, "scores": ((1, 20, 3), (1, 90, 22)),
           "copies": ((1, 2),)}
    )  # fmt: skip
    tab = scanned.presenter("data")
    tab.refresh()
    tab.origins.set_weight(1, "x")
    tab.sizing.compare()
    rows = tuple((1000 * 2**i, 2.5 + i / 10, 0.1 * i, 0.0, 0.01) for i in range(6))
    scanned.session.bus.publish(
        Answered("sizes", m.VocabularySizes(1, rows, 4000, "Because " * 20, 9, 1))
    )
    pictures.live(scanned, 0.5)
    assert not pictures.cut(scanned)
    tab.origins.set_weight(1, "1")


def test_every_control_has_a_tooltip_and_the_keyboard_reaches_it(scanned):
    page = scanned.views["data"]
    kinds = {"TButton", "TEntry", "TCombobox", "TCheckbutton", "TRadiobutton"}
    controls = [w for w in children(page) if w.winfo_class() in kinds and w.winfo_ismapped()]
    assert len(controls) > 40
    assert not [str(w) for w in controls if not kit.tip_of(w)]
    scanned.root.update()
    first = controls[0]
    first.focus_force()
    scanned.root.update()
    reached, now = set(), scanned.root.focus_get()
    for _ in range(300):
        now = now.tk_focusNext()
        if str(now) in reached:
            break
        reached.add(str(now))
    missed = [
        str(w) for w in controls
        if str(w) not in reached and not w.instate(["disabled"]) and w.winfo_class() != "TRadiobutton"
    ]  # fmt: skip
    assert not missed, missed


def test_waiting_is_over_at_the_end(scanned):
    """Nothing of this page goes on when it is left: the fixture looks for timers."""
    scanned.show("train")
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        scanned.root.update()

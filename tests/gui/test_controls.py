"""Every control says what it is for, can be reached by keyboard, and survives anybody's fingers."""

import random

import pytest

from sllm_ui import paths
from sllm_ui.actions import ACTIONS
from sllm_ui.widgets.kit import pane, tip_of
from tests.gui import pictures
from tests.gui.conftest import TINY, children, until

CONTROLS = {
    "TButton",
    "TCheckbutton",
    "TRadiobutton",
    "Toolbutton",
    "TEntry",
    "TCombobox",
    "TSpinbox",
    "TScale",
    "Text",
}
KEYS = (
    "Tab", "Return", "space", "Escape", "Up", "Down", "Left", "Right", "Home", "End", "Prior", "Next",
    "a", "7", "minus", "period", "BackSpace", "Delete", "F1", "F5",
)  # fmt: skip


@pytest.fixture
def filled(window, corpus):
    window.presenter("data").add_folder(corpus)
    until(window, lambda: window.session.project is not None)
    window.session.change(TINY)
    until(window, lambda: window.session.facts.used == 24, 60)
    return window


def said(widget):
    """The tooltip of a widget or of what it is a part of."""
    while widget is not None:
        if tip_of(widget):
            return tip_of(widget)
        widget = widget.master
    return ""


@pytest.mark.parametrize("page", pictures.PAGES)
def test_every_control_has_a_tooltip(filled, page):
    pictures.show(filled, page)
    without = [
        f"{child.winfo_class()} {child}"
        for child in children(filled.root)
        if child.winfo_class() in CONTROLS and child.winfo_viewable() and not said(child)
    ]
    assert not without, "\n".join(without)


@pytest.mark.parametrize("page", pictures.PAGES)
def test_tab_goes_through_every_control_that_can_act(filled, page):
    pictures.show(filled, page)
    filled.root.focus_force()
    reached, at = set(), filled.root
    for _ in range(400):
        at = at.tk_focusNext()
        if at is None or str(at) in reached:
            break
        reached.add(str(at))
    expected = {
        str(child)
        for child in children(filled.root)
        if child.winfo_class() in CONTROLS - {"TRadiobutton", "Toolbutton"}
        and child.winfo_viewable()
        and (child.winfo_class() == "Text" or not child.instate(["disabled"]))
        and str(child.cget("takefocus")) not in {"0", "False"}
    }
    assert expected <= reached, "\n".join(sorted(expected - reached))


def test_every_key_of_the_table_fires(filled, monkeypatch):
    fired = []
    monkeypatch.setattr(filled, "act", fired.append)
    filled.root.focus_force()
    filled.root.update()
    for action in ACTIONS:
        for key in action.keys:
            filled.root.event_generate(key)
            filled.root.update()
            assert fired and fired[-1] == action.id, f"{key} of {action.id}"


def test_keys_of_the_table_fire_in_a_text_field_too_and_change_nothing_in_it(filled, monkeypatch):
    fired = []
    monkeypatch.setattr(filled, "act", fired.append)
    panel, text = pane(filled.host)
    panel.place(x=0, y=0, width=300, height=100)
    filled.root.update()
    text.insert("1.0", "one\ntwo\nthree")
    text.focus_force()
    filled.root.update()
    for key, name in (
        ("<Control-k>", "palette"),
        ("<Control-o>", "open"),
        ("<Control-p>", "pause"),
        ("<Control-n>", "new"),
    ):
        text.event_generate(key)
        filled.root.update()
        assert fired[-1] == name
    assert text.get("1.0", "end-1c").startswith("one\ntwo\nthree")
    panel.destroy()


def fuzz(window, n, seed):
    """Random clicks, keys and wheel turns wherever they land; never the trash or the desktop."""
    random_ = random.Random(seed)
    root = window.root
    for i in range(n):
        x, y = random_.randrange(root.winfo_width()), random_.randrange(root.winfo_height())
        widget = root.winfo_containing(root.winfo_rootx() + x, root.winfo_rooty() + y)
        if random_.random() < 0.7 and widget is not None:
            at = {
                "x": max(0, x + root.winfo_rootx() - widget.winfo_rootx()),
                "y": max(0, y + root.winfo_rooty() - widget.winfo_rooty()),
            }
            button = random_.choice((1, 1, 1, 1, 3, 4, 5))
            widget.event_generate(f"<Button-{button}>", **at)
            if widget.winfo_exists():  # a toast goes at the press
                widget.event_generate(f"<ButtonRelease-{button}>", **at)
        else:
            focus = str(root.tk.call("focus"))  # focus_get() knows no list of a combobox
            target = root.nametowidget(focus) if focus and "popdown" not in focus else root
            mask = random_.choice(("", "", "", "Shift-", "Control-", "Alt-"))
            target.event_generate(f"<{mask}Key-{random_.choice(KEYS)}>")
        root.update()
        assert not window.test_errors.found, f"after {i} events: {window.test_errors.found[0]}"


@pytest.fixture
def harmless(filled, monkeypatch):
    """What would reach outside the window is left out."""
    monkeypatch.setattr(paths, "reveal", lambda _: True)
    for name in ("do_shortcut", "do_delete", "do_quit", "do_sample"):
        monkeypatch.setattr(filled, name, lambda: None)
    return filled


@pytest.mark.timeout(200)
@pytest.mark.parametrize("page", ["data", "refine", "train", "test", "monitor"])
def test_random_clicks_and_keys_do_no_harm(harmless, page):
    harmless.show(page)
    fuzz(harmless, 60, seed=len(page))
    harmless.dialogs.close_all()
    assert harmless.root.winfo_exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_three_thousand_random_clicks_and_keys_do_no_harm(harmless):
    for part in range(10):
        harmless.show(("data", "refine", "train", "test", "monitor")[part % 5])
        fuzz(harmless, 300, seed=part)
        harmless.dialogs.close_all()

"""The table of actions is whole: names and keys are unique, readable and lead somewhere."""

import ast
import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

from sllm_ui.actions import ACTIONS, BY_ID, TABS, Action

ROOT = Path(__file__).parents[2]
MODIFIERS = {"Ctrl", "Shift", "Alt"}
# Names that Tk knows and a person reads on a key.
NAMED = {"Enter", "Esc", ",", ".", "plus", "equal", "minus", *(f"F{n}" for n in range(1, 13))}


def handlers():
    """The do_ methods of the window, by its source alone."""
    tree = ast.parse((ROOT / "sllm_ui" / "app.py").read_text(encoding="utf-8"))
    window = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Window")
    return {
        node.name.removeprefix("do_"): node
        for node in window.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("do_")
    }


def test_ids_labels_and_keys_are_unique():
    for values in (
        [a.id for a in ACTIONS],
        [a.label for a in ACTIONS],
        [key for a in ACTIONS for key in a.keys],
        [a.shown_keys for a in ACTIONS if a.keys],
    ):
        assert [value for value, n in Counter(values).items() if n > 1] == []
    assert {a.id: a for a in ACTIONS} == BY_ID


def test_every_action_leads_to_a_tab_or_to_a_handler_and_every_handler_is_an_action():
    tabs = {f"tab_{name}" for name in TABS}
    ids = {action.id for action in ACTIONS}
    found = handlers()
    assert tabs <= ids
    assert ids - tabs == set(found)
    for node in found.values():
        assert len(node.args.args) - len(node.args.defaults) == 1, node.name  # self alone


def test_the_tabs_are_numbered_in_their_order():
    assert [BY_ID[f"tab_{name}"].shown_keys for name in TABS] == [
        "Alt+1",
        "Alt+2",
        "Alt+3",
        "Alt+4",
        "Alt+5",
    ]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_a_row_is_complete_and_its_words_are_words(action):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", action.id)
    assert action.group in {"Project", "Run", "Go to", "Window"}
    assert re.fullmatch(r"[A-Z][A-Za-z -]+", action.label)
    assert action.help[0].isupper()
    assert action.help.endswith(".")
    assert action.icon
    for key in action.keys:
        assert re.fullmatch(r"<[A-Za-z0-9-]+>", key)
    parts = action.shown_keys.split("+") if action.keys else []
    assert set(parts[:-1]) <= MODIFIERS
    for last in parts[-1:]:
        assert last in NAMED or re.fullmatch(r"[A-Z0-9]", last), action.shown_keys


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("<Control-n>", "Ctrl+N"),
        ("<Control-Shift-L>", "Ctrl+Shift+L"),
        ("<Control-L>", "Ctrl+Shift+L"),  # Tk: the letter that comes with Shift
        ("<Control-Return>", "Ctrl+Enter"),
        ("<Control-period>", "Ctrl+."),
        ("<Control-comma>", "Ctrl+,"),
        ("<Alt-Key-3>", "Alt+3"),
        ("<Shift-F1>", "Shift+F1"),
        ("<F5>", "F5"),
        ("<Escape>", "Esc"),
    ],
)
def test_keys_are_shown_as_they_are_written_on_a_keyboard(key, shown):
    assert Action("x", "X", "Run", "X.", keys=(key, "<F9>")).shown_keys == shown


def test_an_action_without_keys_shows_none():
    assert Action("x", "X", "Run", "X.").shown_keys == ""


def test_every_icon_is_one_that_the_library_can_draw():
    library = Path(importlib.util.find_spec("ttkbootstrap").origin).parent
    text = (library / "assets" / "icons" / "icon_metrics.json").read_text(encoding="utf-8")
    missing = [action.icon for action in ACTIONS if f'"{action.icon}"' not in text]
    assert missing == []

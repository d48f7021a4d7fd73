"""A pane of a person's and a model's text: long lines are broken on the screen only."""

from hypothesis import given
from hypothesis import strategies as st

from sllm_ui.widgets.passage import growth, soften

LETTERS = st.text(st.sampled_from("ab \n"), max_size=90)


def rows(text, column):
    """The lines as the screen has them, the first one with what stood there before."""
    parts = (part for part, _ in soften(text, column, longest=10))
    return ("x" * column + "".join(parts)).split("\n")


@given(LETTERS, st.integers(0, 12))
def test_breaking_changes_no_letter_and_leaves_no_long_line(text, column):
    parts = list(soften(text, column, longest=10))
    assert "".join(part for part, is_soft in parts if not is_soft) == text
    assert all(part == "\n" for part, is_soft in parts if is_soft)
    assert all(len(row) <= max(10, column) for row in rows(text, column))


def test_lines_are_broken_behind_a_blank_where_there_is_one():
    assert rows("abc defg hijk", 0) == ["abc defg ", "hijk"]
    assert rows("abcdefghijklm", 0) == ["abcdefghij", "klm"]
    assert rows("defg", 8) == ["xxxxxxxx", "defg"]


def test_usual_text_is_left_alone():
    assert list(soften("a\n\nb")) == [("a", False), ("\n", False), ("\n", False), ("b", False)]
    assert rows("abcdefgh\nabcdefgh", 0) == ["abcdefgh", "abcdefgh"]


def test_a_passage_that_grew_is_only_added_to():
    a, b = ("a", False), ("b", True)
    assert growth((a,), (a, b)) == b
    assert growth((a, b), (a, ("bc", True))) == ("c", True)
    assert growth((), (b,)) == b


def test_any_other_change_shows_the_passage_anew():
    a, b = ("a", False), ("b", True)
    for old, new in (
        ((a, b), (a,)),
        ((a, b), (a, ("c", True))),
        ((a, b), (a, ("bc", False))),
        ((a, b), (("x", False), ("bc", True))),
        ((a,), (b, a)),
    ):
        assert growth(old, new) is None

"""The lines of the last minute: only what was read, and it outlives a change of theme."""

import pytest

from sllm_ui.shell import Meter
from sllm_ui.widgets import shell
from sllm_ui.widgets.kit import spark_points


@pytest.fixture(autouse=True)
def nothing_read(monkeypatch):
    monkeypatch.setattr(shell, "_histories", {})


def test_readings_are_kept_and_one_shown_again_counts_once():
    first, second = Meter("CPU", share=0.1), Meter("CPU", share=0.2)
    assert shell.history(Meter("CPU")) == ()
    assert shell.history(first) == (0.1,)
    assert shell.history(second) == (0.1, 0.2)
    assert shell.history(second) == (0.1, 0.2)  # a window built anew shows the same reading
    assert shell.history(Meter("CPU")) == (0.1, 0.2)
    assert shell.history(Meter("RAM", share=0.5)) == (0.5,)


def test_only_the_last_minute_is_kept():
    for number in range(shell.HISTORY + 5):
        kept = shell.history(Meter("CPU", share=number / 100))
    assert kept[0] == 0.05
    assert len(kept) == shell.HISTORY


def test_a_line_begins_where_the_readings_begin():
    assert spark_points([], 60, 600, 30) == spark_points([0.5], 60, 600, 30) == []
    points = spark_points([1.0, 0.0], 61, 600, 30)
    assert points == [590.0, 3.0, 600.0, 28]

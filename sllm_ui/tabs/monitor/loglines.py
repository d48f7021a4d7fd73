"""The log as it is shown: filtered, and what a pane has to add and to drop."""

import time
from collections.abc import Iterable, Sequence

from sllm_core import fmt
from sllm_ui.runstate import LogLine

LEVELS = ("All levels", "Warnings", "Errors")
_SHOWN = {"Warnings": frozenset({"warning", "error"}), "Errors": frozenset({"error"})}


def filter_log(lines: Iterable[LogLine], level: str, search: str) -> list[LogLine]:
    """Lines of at least a level that hold all the words."""
    levels, words = _SHOWN.get(level), search.casefold().split()
    return [
        line
        for line in lines
        if (levels is None or line.level in levels)
        and (not words or all(word in line.text.casefold() for word in words))
    ]


def change(shown: Sequence[LogLine], lines: Sequence[LogLine]) -> tuple[int, int] | None:
    """(how many to drop at the top, from which of ``lines`` on to add); None: show all anew.

    Lines come at the end and go at the beginning, so the same objects tell where they overlap.
    """
    if not shown or not lines:
        return None
    n_dropped = next((i for i, line in enumerate(shown) if line is lines[0]), -1)
    n_kept = len(shown) - n_dropped
    if n_dropped < 0 or n_kept > len(lines) or lines[n_kept - 1] is not shown[-1]:
        return None
    return n_dropped, n_kept


def text_of(line: LogLine) -> str:
    """A line's words on one line, safe to show."""
    text = " ".join(line.text.split("\n"))
    return text if text.isprintable() else fmt.path_text(text)


def stamp_of(line: LogLine) -> str:
    """The time of day."""
    return time.strftime("%H:%M:%S", time.localtime(line.time))

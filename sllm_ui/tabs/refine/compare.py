"""A text before and after cleaning, line by line; pure functions."""

import difflib
import re
from dataclasses import dataclass

MARKS = re.compile(r"<(?:secret|email|phone|ip)>")
Span = tuple[int, int]


@dataclass(frozen=True)
class Line:
    """A line of one side: its number from 1 and the part of it that differs, if any."""

    number: int
    text: str
    span: Span | None = None


@dataclass(frozen=True)
class Comparison:
    """Both sides, and what was done in a few words."""

    before: tuple[Line, ...] = ()
    after: tuple[Line, ...] = ()
    n_before: int = 0  # characters
    n_after: int = 0
    n_lines: int = 0  # that differ, on the side where more do
    n_masked: int = 0
    is_cut: bool = False

    @property
    def summary(self) -> str:
        """Such as ``2 masked`` or ``3 lines changed``; '' when both are equal."""
        if self.n_masked:
            return f"{self.n_masked:,} masked"
        if self.n_lines:
            return f"{self.n_lines:,} {'line' if self.n_lines == 1 else 'lines'} changed"
        return ""


def compare(before: str, after: str, *, is_cut: bool = False) -> Comparison:
    """Lay two texts side by side."""
    old, new = before.split("\n"), after.split("\n")
    left: list[Line] = []
    right: list[Line] = []
    n_lines = 0
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            left += [Line(n + 1, old[n]) for n in range(a, b)]
            right += [Line(n + 1, new[n]) for n in range(c, d)]
            continue
        n_lines += max(b - a, d - c)
        for n in range(max(b - a, d - c)):
            one = old[a + n] if a + n < b else None
            two = new[c + n] if c + n < d else None
            spans = _spans(one, two)
            if one is not None:
                left.append(Line(a + n + 1, one, spans[0]))
            if two is not None:
                right.append(Line(c + n + 1, two, spans[1]))
    masked = max(0, len(MARKS.findall(after)) - len(MARKS.findall(before)))
    return Comparison(tuple(left), tuple(right), len(before), len(after), n_lines, masked, is_cut)


def _spans(one: str | None, two: str | None) -> tuple[Span, Span]:
    """What differs between two lines: all but their common beginning and end."""
    if one is None or two is None:
        whole = one if one is not None else two or ""
        return (0, len(whole)), (0, len(whole))
    shorter = min(len(one), len(two))
    start = next((k for k in range(shorter) if one[k] != two[k]), shorter)
    rest = shorter - start
    end = next((k for k in range(rest) if one[-1 - k] != two[-1 - k]), rest)
    return (start, len(one) - end), (start, len(two) - end)

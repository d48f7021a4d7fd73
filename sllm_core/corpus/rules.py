"""The rules that make a score of 0 to 100: a table, every line a reason with its number.

A rule whose number is beyond its limit costs ``least`` points there, and up to ``most`` points at
``far``. Rules of one family say the same thing in several ways, so only the dearest of a family
counts. What is left of 100 is the score.

Published: Gopher (arXiv 2112.11446, table A1), C4 (arXiv 1910.10683, section 2.2), FineWeb (arXiv
2406.17557, section 3.6), StarCoder (arXiv 2305.06161, section 3). The points, and the rules
without a source, are calibrated on the standard library, manuals and planted junk.
"""

from dataclasses import dataclass
from typing import NamedTuple

MIN_BYTES = 1_000  # a shorter text is too little for anything but its size and whether it parses
UNLIKE = "unlike"  # the family of the reasons that compare with the other files
_ALL = frozenset(["code", "prose", "data"])
_TEXT = frozenset(["code", "prose"])
_CODE, _PROSE, _DATA = (frozenset([name]) for name in ("code", "prose", "data"))


class Reason(NamedTuple):
    """Why a score is below 100: what was measured, and where the limit is."""

    code: str
    value: float
    limit: float


class Verdict(NamedTuple):
    """A score, and the reasons for it, the dearest first."""

    score: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Rule:
    """One line of the table: when a number is a reason, and what it costs."""

    code: str
    metric: str
    side: str  # above or below the limit is a reason
    limit: float
    far: float
    least: float  # points at the limit
    most: float  # points at ``far`` and beyond
    sets: frozenset[str]
    family: str
    title: str  # for the table "What counts"
    words: str  # for one file; {value} and {limit} are filled in
    source: str = ""
    english: bool = False  # only for text in English
    short: bool = False  # also for a text under `MIN_BYTES`
    langs: frozenset[str] = frozenset()  # only code in these; all when empty

    def points(self, value: float) -> float:
        """What this number costs; 0 within the limit."""
        over = value - self.limit if self.side == "above" else self.limit - value
        if over <= 0:
            return 0.0
        return self.least + (self.most - self.least) * min(1.0, over / abs(self.far - self.limit))


_COMMENTED = frozenset(["python", "java", "javascript"])
_GOPHER, _C4, _FINEWEB, _STARCODER = "Gopher", "C4", "FineWeb", "StarCoder"


def _above(
    code: str, metric: str, limits: tuple[float, float], points: tuple[float, float],
    family: str, title: str, words: str, sets: frozenset[str] = _PROSE, source: str = "",
    *, english: bool = False, short: bool = False, langs: frozenset[str] = frozenset(),
) -> Rule:  # fmt: skip
    return Rule(
        code, metric, "above", *limits, *points, sets, family, title, words, source,
        english, short, langs,
    )  # fmt: skip


def _below(
    code: str, metric: str, limits: tuple[float, float], points: tuple[float, float],
    family: str, title: str, words: str, sets: frozenset[str] = _PROSE, source: str = "",
    *, english: bool = False, short: bool = False, langs: frozenset[str] = frozenset(),
) -> Rule:  # fmt: skip
    return Rule(
        code, metric, "below", *limits, *points, sets, family, title, words, source,
        english, short, langs,
    )  # fmt: skip


# fmt: off
RULES: tuple[Rule, ...] = (
    # Does it parse?
    _below("parse", "parses", (1, 0), (60, 60), "parse", "Does not parse",
           "does not parse", _CODE | _DATA, short=True),
    _above("python-2", "python_2", (0, 1), (25, 25), "parse", "Python 2",
           "Python 2: does not run today", _CODE, short=True),
    # Size
    _below("short", "bytes", (100, 10), (5, 40), "size", "Very short",
           "only {value:,.0f} bytes", _ALL, short=True),
    _above("large-data", "bytes", (5_000, 1_000_000), (5, 35), "size", "Much data",
           "{value:,.0f} bytes of data", _DATA, _STARCODER),
    # Like nothing else here
    _above("unlike-bytes", "bits_per_byte", (4.8, 7.5), (10, 60), UNLIKE, "Unlike your other files",
           "unlike your other files ({value:.1f} bits a byte)", _TEXT),
    _below("unlike-words", "known_words", (0.45, 0.15), (10, 65), UNLIKE, "Words no other file has",
           "only {value:.0%} of its words are in other files", _TEXT),
    _below("unlike-common", "common_words", (0.10, 0.02), (20, 75), UNLIKE, "Hardly any common word",
           "only {value:.0%} of its words are common ones", _TEXT),
    _above("language", "is_unknown", (0, 1), (10, 10), "language", "No language recognised",
           "no language recognised"),
    # Noise
    _above("random", "packed", (0.62, 0.74), (10, 65), "noise", "Cannot be packed: random",
           "random: packs to {value:.0%}", _TEXT),
    _above("control", "control", (0.001, 0.02), (15, 60), "noise", "Control characters",
           "{value:.1%} control characters", _ALL),
    _below("alphanumeric", "alphanumeric", (0.25, 0.1), (30, 60), "noise", "Few letters and digits",
           "only {value:.0%} letters and digits", _TEXT, _STARCODER),
    _below("no-words", "in_words", (0.25, 0.05), (15, 70), "noise", "Hardly any words",
           "only {value:.0%} of it are words", _TEXT),
    _above("mojibake", "mojibake", (0.05, 0.3), (20, 60), "noise", "Garbled accents",
           "garbled accents in {value:.0%} of its lines"),
    # The same again
    _below("packs", "packed", (0.12, 0.05), (20, 75), "repetition", "Packs to almost nothing",
           "one thing repeated: packs to {value:.0%}", _TEXT),
    _above("repeated-lines", "repeated_lines", (0.30, 0.9), (10, 70), "repetition",
           "Repeated lines", "repeats {value:.0%} of its lines", _PROSE, _GOPHER),
    _above("repeated-code", "repeated_line_chars", (0.60, 0.9), (20, 75), "repetition",
           "Repeated lines of code", "{value:.0%} of it are repeated lines", _CODE),
    _above("repeated-line-chars", "repeated_line_chars", (0.20, 0.8), (15, 70), "repetition",
           "Characters in repeated lines", "{value:.0%} of it are repeated lines", _PROSE, _GOPHER),
    _above("repeated-paragraphs", "repeated_paragraphs", (0.30, 0.9), (10, 70), "repetition",
           "Repeated paragraphs", "repeats {value:.0%} of its paragraphs", _PROSE, _GOPHER),
    _above("repeated-paragraph-chars", "repeated_paragraph_chars", (0.20, 0.8), (15, 70),
           "repetition", "Characters in repeated paragraphs",
           "{value:.0%} of it are repeated paragraphs", _PROSE, _GOPHER),
    *(_above(f"top-{n}", f"top_{n}", (limit, 0.6), (10, 60), "repetition",
             f"The same {n} words again and again",
             f"the same {n} words are {{value:.0%}} of it", _PROSE, _GOPHER)
      for n, limit in ((2, 0.20), (3, 0.18), (4, 0.16))),
    *(_above(f"repeated-{n}", f"repeated_{n}", (limit, 0.8), (5, 65), "repetition",
             f"Runs of {n} words that are repeated",
             f"{{value:.0%}} of it repeats runs of {n} words", _PROSE, _GOPHER)
      for n, limit in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))),
    # Lines of code
    _above("long-line", "longest_line", (1000, 20_000), (15, 45), "lines", "A very long line",
           "a line of {value:,.0f} characters", _CODE, _STARCODER),
    _above("long-lines", "mean_line", (100, 500), (15, 60), "lines", "Long lines",
           "lines of {value:,.0f} characters on average", _CODE, _STARCODER),
    _above("comments", "comments", (0.80, 1.0), (10, 30), "comments", "Nearly only comments",
           "{value:.0%} comments", _CODE, _STARCODER, langs=_COMMENTED),
    _below("no-comments", "comments", (0.01, 0.0), (2, 2), "comments", "No comments",
           "no comments", _CODE, _STARCODER, langs=_COMMENTED),
    _above("xml", "is_xml", (0, 1), (30, 30), "lines", "XML under another name",
           "XML under the name of a program", _CODE, _STARCODER),
    # Words
    _below("few-words", "words", (50, 10), (20, 60), "words", "Few words",
           "only {value:,.0f} words", _PROSE, _GOPHER),
    _below("short-words", "mean_word", (3, 2), (20, 60), "words", "Short words",
           "words of {value:.1f} letters on average", _PROSE, _GOPHER),
    _above("long-words", "mean_word", (10, 25), (15, 60), "words", "Long words",
           "words of {value:.1f} letters on average", _PROSE, _GOPHER),
    _below("no-letters", "wordlike", (0.80, 0.3), (10, 60), "words", "Words without a letter",
           "only {value:.0%} of its words have a letter", _PROSE, _GOPHER),
    _above("marks", "marks", (0.10, 0.5), (10, 40), "words", "Number signs and dots",
           "{value:.0%} number signs and dots to a word", _PROSE, _GOPHER),
    _above("numbers", "digits", (0.30, 0.6), (15, 70), "words", "Mostly numbers",
           "{value:.0%} digits", _PROSE),
    _above("records", "records", (0.5, 0.9), (40, 75), "words", "A log or a dump",
           "{value:.0%} of its lines begin with the same pattern of digits", _PROSE),
    # Layout
    _above("bullets", "bullets", (0.90, 1.0), (5, 15), "layout", "Nearly only list items",
           "{value:.0%} of its lines are list items", _PROSE, _GOPHER),
    _above("ellipses", "ellipses", (0.30, 0.8), (15, 40), "layout", "Lines that break off",
           "{value:.0%} of its lines end with an ellipsis", _PROSE, _GOPHER),
    _below("no-ends", "ended_lines", (0.12, 0.0), (3, 15), "layout", "Lines without an end",
           "only {value:.0%} of its lines end with a mark", _PROSE, _FINEWEB),
    _above("short-lines", "short_lines", (0.67, 1.0), (5, 20), "layout", "Short lines",
           "{value:.0%} of its lines are short", _PROSE, _FINEWEB),
    _above("breaks", "breaks", (0.30, 1.0), (5, 20), "layout", "Many line breaks",
           "{value:.2f} line breaks to a word", _PROSE, _FINEWEB),
    # How it reads
    _below("sentences", "sentences", (5, 1), (5, 10), "reading", "Few sentences",
           "only {value:.0f} sentences", _PROSE, _C4, english=True),
    _below("stop-words", "stop_words", (2, 0), (10, 20), "reading", "Hardly any stop word",
           "only {value:.0f} of 8 stop words", _PROSE, _GOPHER, english=True),
    _below("hard-to-read", "reading_ease", (0, -200), (3, 15), "reading", "Hard to read",
           "reading ease {value:.0f}", _PROSE, "Flesch 1948", english=True),
    _above("filler", "filler", (0.08, 0.25), (40, 75), "origin", "Lorem ipsum",
           "{value:.0%} of its words are lorem ipsum", _PROSE, _C4),
    _above("policy", "policy", (0.5, 3), (10, 55), "origin", "Cookie and policy notices",
           "{value:.1f} policy notices in 100 words", _PROSE, _C4, english=True),
    # Where it comes from
    _above("legal", "legal", (4, 7), (25, 65), "origin", "Mostly licence text",
           "mostly licence text", _PROSE),
    _above("licence-file", "licence_file", (0, 1), (55, 55), "origin", "A licence",
           "the text of a licence", _PROSE),
    _above("generated", "generated", (0, 1), (40, 40), "origin", "Generated file",
           "generated file", _ALL),
    _above("maybe-generated", "maybe_generated", (0, 1), (10, 10), "origin", "Perhaps generated",
           "perhaps a generated file", _ALL),
    _above("minified", "minified", (0, 1), (60, 60), "origin", "Minified file",
           "minified file", _ALL, short=True),
    _above("lock", "lock", (0, 1), (70, 70), "origin", "Lock file",
           "lock file", _ALL, short=True),
    _above("vendored", "vendored", (0, 1), (10, 10), "origin", "Other people's code",
           "in a folder of other people's code", _ALL, short=True),
)
# fmt: on


def rule_set(kind: str, score_as: str = "auto") -> str:
    """Which rules judge a document: code, prose or data."""
    if kind == "data":
        return "data"
    if score_as in {"code", "prose"}:
        return score_as
    return "code" if kind in {"code", "notebook"} else "prose"


def explain(code: str, value: float, limit: float) -> str:
    """A reason in a few words, such as "repeats 61 % of its lines"."""
    words = _WORDS.get(code, code).format(value=value, limit=limit)
    return words.replace("%", " %")


_WORDS = {rule.code: rule.words for rule in RULES} | {
    "unmeasured": "could not be measured within {limit:.0f} s"
}

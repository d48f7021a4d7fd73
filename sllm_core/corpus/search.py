"""The filter of the table of files: words in path or reason, and ``lang:de score<40 size>1mb``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sllm_core.corpus.table import EXACT, FINDINGS, NEAR, Bools, Rows

Explain = Callable[[str, float, float], str]
UNITS = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
NAMED = ("lang", "kind", "why", "path")
MEASURED = ("score", "size")
RARE = 0.01  # share of the text: a byte that is seldomer is looked for alone
HINT = "words, lang:de, kind:code, why:secret, score<40, size>1mb"
FINDING_WORDS = {
    "secrets": "secrets keys and passwords",
    "emails": "e-mail address emails",
    "phones": "phone number phones",
    "ips": "ip address ips",
}
_TERM = re.compile(r'(?:"[^"]*"|[^\s"])+')
_GLUE = re.compile(r"\b(score|size)\s*(<=|>=|<|>|=)\s*(?=\S)", re.IGNORECASE)
_MEASURE = re.compile(r"(score|size)(<=|>=|<|>|=)(.*)", re.IGNORECASE)
_AMOUNT = re.compile(r"(\d+(?:[.,]\d+)?)\s*([a-z]*)", re.IGNORECASE)
_COMPARE: dict[str, Callable[[Any, float], Bools]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "=": np.equal,
}


class FilterError(ValueError):
    """The text is no filter; the message says what is missing."""


@dataclass(frozen=True)
class Term:
    """One condition; all terms of a filter must hold."""

    field: str  # '' any of path and reason; one of NAMED, MEASURED
    text: str = ""
    sign: str = ""
    amount: float = 0.0


def parse(text: str) -> tuple[Term, ...]:
    """The conditions of a filter, none for an empty one.

    Raises:
        FilterError: a condition cannot be understood.
    """
    return tuple(_term(part) for part in _TERM.findall(_GLUE.sub(r"\1\2", text)))


def _term(part: str) -> Term:
    if part.startswith('"'):
        return Term("", part.replace('"', "").lower())
    measure = _MEASURE.fullmatch(part)
    if measure:
        name, sign, amount = measure[1].lower(), measure[2], measure[3]
        return Term(name, sign=sign, amount=_amount(name, amount))
    name, colon, value = part.partition(":")
    name = name.lower()
    if colon and name in MEASURED:
        example = "score<40" if name == "score" else "size>1mb"
        raise FilterError(f"{name} is compared: {example}")
    if colon and name in NAMED:
        value = value.replace('"', "").lower()
        if not value:
            raise FilterError(f"A word is missing behind {name}:")
        return Term(name, value)
    if colon and name.isalpha():
        raise FilterError(f'There is no {name}: - known are {HINT}; "{part}" finds the text')
    return Term("", part.replace('"', "").lower())


def _amount(name: str, text: str) -> float:
    found = _AMOUNT.fullmatch(text)
    units = {"": 1} if name == "score" else UNITS
    if not found or found[2].lower() not in units:
        what = "a number, such as 40" if name == "score" else "a size, such as 20kb or 1mb"
        raise FilterError(f"{name} needs {what}")
    return float(found[1].replace(",", ".")) * units[found[2].lower()]


def find(rows: Rows, terms: tuple[Term, ...], explain: Explain) -> Bools:
    """Which rows meet every condition."""
    found = np.ones(len(rows), bool)
    for term in terms:
        found &= _holds(rows, term, explain)
    return found


def _holds(rows: Rows, term: Term, explain: Explain) -> Bools:
    if term.field in MEASURED:
        values: Any = rows.score if term.field == "score" else rows.size
        known: Bools = values >= 0
        return known & _COMPARE[term.sign](values, term.amount)
    if term.field == "lang":
        return np.isin(rows.lang, _equal(rows.langs, term.text))
    if term.field == "kind":
        return np.isin(rows.kind, _equal(rows.kinds, term.text))
    if term.field == "why":
        return has_reason(rows, term.text, explain)
    found = in_paths(rows, term.text)
    return found if term.field == "path" else found | has_reason(rows, term.text, explain)


def _equal(names: tuple[str, ...], wanted: str) -> list[int]:
    """Codes of a name; ``?`` stands for not known."""
    return [code for code, name in enumerate(names) if (name.lower() or "?") == wanted]


def in_paths(rows: Rows, word: str) -> Bools:
    """Rows whose path holds the word, capital or small.

    Where its rarest byte stands is found first (with the next one, if it is not rare); the others
    are then compared there.
    """
    found = np.zeros(len(rows), bool)
    needle = np.frombuffer(word.encode("utf-8", "backslashreplace"), np.uint8)
    if not len(rows) or ord("\n") in needle:
        return found
    if not len(needle):
        return ~found
    text, n = rows.lower, len(needle)
    often = _shares(text)[needle]
    order = np.argsort(often, kind="stable").tolist()
    room = len(text) - n + 1  # places where the word may begin
    if room <= 0:
        return found
    fits = text[order[0] : order[0] + room] == needle[order[0]]
    if n > 1 and often[order[0]] > RARE:
        fits &= text[order[1] : order[1] + room] == needle[order[1]]
    if n == 1:  # there may be millions: a look at each row is cheaper than one at each place
        return np.logical_or.reduceat(fits, rows.text_at[:-1].astype(np.int64))
    at = np.flatnonzero(fits)
    for k in order[1:]:
        at = at[text[at + k] == needle[k]]
    found[np.searchsorted(rows.text_at, at, side="right") - 1] = True
    return found


def _shares(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """How often each byte stands in a sample of the text, as a share of it."""
    sample = text[:: max(1, len(text) // 100_000)]
    return np.bincount(sample, minlength=256) / len(sample)


def has_reason(rows: Rows, word: str, explain: Explain) -> Bools:
    """Rows that have a reason, a finding, a mark or a copy of that word."""
    found = np.zeros(len(rows), bool)
    wanted = [
        number
        for number, (code, limit) in enumerate(rows.rules)
        if word in f"{code} {explain(code, limit, limit)}".lower()
    ]
    if wanted:
        hits = np.flatnonzero(np.isin(rows.reason_rule, wanted))
        found[np.searchsorted(rows.reason_at, hits, side="right") - 1] = True
    for name in FINDINGS:
        if word in FINDING_WORDS[name]:
            found |= rows.findings[name] > 0
    bits = sum(1 << k for k, name in enumerate(rows.flag_names) if word in name.lower())
    if bits:
        found |= (rows.flags & np.uint32(bits)) != 0
    for code, words in ((EXACT, "exact copy"), (NEAR, "near copy")):
        if word in words:
            found |= rows.duplicate == code
    return found

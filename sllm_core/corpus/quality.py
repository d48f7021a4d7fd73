"""How good a document is: numbers that cost little and tell much, and the score they add up to.

All of them are bounded: of a long text its beginning, middle and end are measured. Numbers that
say nothing about a text (words of code, the parser of a language that has none here) are left out.
"""

import math
import re
import string
import zlib
from collections import Counter
from collections.abc import Mapping

import numpy as np

from sllm_core.corpus.kinds import name_flags
from sllm_core.corpus.likeness import Likeness
from sllm_core.corpus.parsing import parse_state
from sllm_core.corpus.prose import prose_numbers
from sllm_core.corpus.repetition import repeated_shares
from sllm_core.corpus.rules import MIN_BYTES, RULES, UNLIKE, Reason, Verdict, rule_set
from sllm_core.corpus.spans import ALPHA, SPACE, Bytes, piece

METRICS_VERSION = "1"
FLAGS = ("generated", "minified", "vendored", "lock", "licence")
_PARSE_BYTES = 1 << 20


def metrics_version(score_as: str, model: Likeness | None) -> str:
    """Changes whenever `measure` would give other numbers for the same text."""
    return f"{METRICS_VERSION}/{score_as}/{model.version if model else '-'}"


def measure(
    text: str,
    data: bytes,
    kind: str,
    lang: str,
    path_text: str,
    model: Likeness | None = None,
    *,
    language: str = "",
    score_as: str = "auto",
    true_bytes: int | None = None,
) -> dict[str, float]:
    """The numbers about a document.

    Args:
        text: the cleaned text, or the first million characters of it.
        data: the same as UTF-8.
        kind: as `kinds.classify` gives it.
        lang: programming language of code, format of data.
        path_text: the path as it is shown; names such as ``vendor/`` count.
        model: of the user's own files.
        language: as `languages.detect` gives it.
        score_as: auto, code or prose.
        true_bytes: size of the whole text when ``text`` is only its beginning.
    """
    size = len(data) if true_bytes is None else true_bytes
    numbers: dict[str, float] = {"bytes": size}
    numbers |= name_flags(path_text)
    if not data:
        return numbers
    rules = rule_set(kind, score_as)
    if kind in {"code", "data"} and size == len(data) <= _PARSE_BYTES:
        numbers |= parse_state(text, lang)
    if size < MIN_BYTES:
        return numbers
    part = piece(data)
    sample = text if part is data else part.decode("utf-8", errors="ignore")
    raw = np.frombuffer(part, np.uint8)
    numbers |= _byte_numbers(part, raw)
    numbers |= _line_numbers(sample, numbers["digits"])
    if model is not None:
        numbers |= _likeness(data, model, is_parsed=numbers.get("parses") == 1)
    if rules == "code":
        numbers |= _code_numbers(part, lang)
    elif rules == "prose":
        numbers |= prose_numbers(part, raw, sample, language)
        if numbers["non_latin"] <= _MUCH_FOREIGN:
            numbers["is_unknown"] = float(not language)
    numbers |= _origin(part, kind, lang, numbers)
    return numbers


def judge(
    metrics: Mapping[str, float], kind: str, lang: str, language: str, score_as: str = "auto"
) -> Verdict:
    """The score of a document from its numbers, with every reason.

    Args:
        metrics: as `quality.measure` gives them.
        kind: as `kinds.classify` gives it.
        lang: programming language of code, format of data.
        language: as `languages.detect` gives it.
        score_as: auto, code or prose.
    """
    rules = rule_set(kind, score_as)
    is_short = metrics.get("bytes", 0) < MIN_BYTES
    found: list[tuple[float, Reason]] = []
    families: dict[str, float] = {}
    for rule in RULES:
        value = metrics.get(rule.metric)
        if value is None or rules not in rule.sets or (is_short and not rule.short):
            continue
        if (rule.english and language != "en") or (rule.langs and lang not in rule.langs):
            continue
        points = rule.points(value)
        if points:
            found.append((points, Reason(rule.code, value, rule.limit)))
            families[rule.family] = max(points, families.get(rule.family, 0.0))
    if language or metrics.get("non_latin", 0.0) > _MUCH_FOREIGN:
        families[UNLIKE] = min(_UNLIKE_CAP, families.get(UNLIKE, 0.0))
    found.sort(key=lambda item: -item[0])
    score = max(0, round(100 - sum(families.values())))
    return Verdict(score, tuple(reason for _, reason in found))


_UNLIKE_CAP = 40.0  # in a known language or a script of its own, being unlike is no fault
_MUCH_FOREIGN = 0.3


def _likeness(data: bytes, model: Likeness, *, is_parsed: bool) -> dict[str, float]:
    """How like the other files; what a parser accepted is judged by its words alone."""
    found = model.compare(data, with_bits=not is_parsed)
    numbers = {"in_words": found.word_share}
    if found.n_words >= _LEAST_WORDS:
        numbers |= {"known_words": found.known_words, "common_words": found.common_words}
    elif is_parsed:
        found = model.compare(data)
    if not math.isnan(found.bits_per_byte):
        numbers["bits_per_byte"] = found.bits_per_byte
    return numbers


def flags(metrics: Mapping[str, float]) -> dict[str, int]:
    """What a file is besides good or bad: {"generated": 1, "licence": 1}; only what is so."""
    return {flag: 1 for flag in FLAGS if metrics.get(flag)}


_PACKED_BYTES = 32 << 10  # the window of zlib: longer texts stay comparable
_LEAST_WORDS = 40
_ALNUM, _DIGIT, _PUNCTUATION, _CONTROL = (np.zeros(256, np.bool_) for _ in range(4))
_DIGIT[list(b"0123456789")] = True
_ALNUM[:] = ALPHA | _DIGIT
_PUNCTUATION[0x21:0x7F] = ~_ALNUM[0x21:0x7F]
_CONTROL[:32] = ~SPACE[:32]
_CONTROL[127] = True
# Lead bytes in UTF-8 of the letters beyond Latin, Greek onwards; not of punctuation and pictures.
_FOREIGN = np.zeros(256, np.bool_)
_FOREIGN[0xCD:0xE0] = True
_FOREIGN[[0xE0, *range(0xE3, 0xEE)]] = True
_LATIN_LEAD = np.zeros(256, np.bool_)
_LATIN_LEAD[0xC3:0xCD] = True
_LATIN_LEAD[:128] = ALPHA[:128]


def _byte_numbers(part: bytes, raw: Bytes) -> dict[str, float]:
    """What the counts of the 256 bytes tell, and how well they are packed."""
    counts = np.bincount(raw, minlength=256)
    n = len(raw)
    shares = counts[counts > 0] / n
    shown = max(1, n - int(counts[SPACE].sum()))
    packed = piece(part, _PACKED_BYTES)
    foreign, latin = int(counts[_FOREIGN].sum()), int(counts[_LATIN_LEAD].sum())
    return {
        "entropy": float(-(shares * np.log2(shares)).sum()),
        "packed": len(zlib.compress(packed, 1)) / len(packed),
        "alphanumeric": float(counts[_ALNUM].sum() / n),
        "spaces": 1 - shown / n,
        "digits": float(counts[_DIGIT].sum() / shown),
        "symbols": float(counts[_PUNCTUATION].sum() / shown),
        "control": float(counts[_CONTROL].sum() / n),
        "non_ascii": float(counts[128:].sum() / n),
        "non_latin": foreign / max(1, foreign + latin),
    }


def _line_numbers(sample: str, digits: float) -> dict[str, float]:
    """Lengths of the lines in characters; how many are repeated, or begin with equal numbers."""
    lines = sample.split("\n")
    if not lines[-1]:
        lines.pop()
    sizes = list(map(len, lines))
    numbers = {
        "lines": len(lines),
        "longest_line": max(sizes),
        "mean_line": sum(sizes) / len(sizes),
    }
    long_lines = [line for line in lines if len(line) >= _LEAST_LINE]
    numbers["repeated_lines"], numbers["repeated_line_chars"] = repeated_shares(long_lines)
    if len(long_lines) >= _LEAST_LINES and digits >= _RECORD_DIGITS:
        heads = Counter(line[:_LEAST_LINE].translate(_SHAPE) for line in long_lines)
        head, times = heads.most_common(1)[0]
        if head.count("0") >= _SHAPE_DIGITS:
            numbers["records"] = times / len(long_lines)
    return numbers


_LEAST_LINES = 20
_LEAST_LINE = 10  # bytes; shorter lines are braces, rules and macros, and may well be equal
_SHAPE_DIGITS = 3
_RECORD_DIGITS = 0.08  # share of the text; a log has more
_SHAPE = str.maketrans(
    dict.fromkeys("123456789", "0")
    | dict.fromkeys(string.ascii_lowercase, "a")
    | dict.fromkeys(string.ascii_uppercase, "A")
)

_HASH = "python shell ruby perl r make cmake docker elixir julia tcl awk nim powershell terraform"
_DASH = "sql haskell lua ada vhdl"
_LINE_COMMENT = (
    dict.fromkeys(_HASH.split(), re.compile(rb"#[^\n]*"))
    | dict.fromkeys(_DASH.split(), re.compile(rb"--[^\n]*"))
    | dict.fromkeys("lisp clojure assembly".split(), re.compile(rb";[^\n]*"))
    | dict.fromkeys("tex matlab erlang".split(), re.compile(rb"%[^\n]*"))
    | {"fortran": re.compile(rb"![^\n]*"), "vim": re.compile(rb'"[^\n]*')}
)
_SLASHES = re.compile(rb"//[^\n]*")
_BLOCK = {"python": (b'"""', b'"""'), "haskell": (b"{-", b"-}"), "ocaml": (b"(*", b"*)")}
_BLOCK |= dict.fromkeys([*_HASH.split()[1:], "lisp", "tex", "matlab", "vim"], (b"", b""))
_DEFINITION = {
    "python": re.compile(rb"def \w"),
    "javascript": re.compile(rb"function\b|=>"),
    "typescript": re.compile(rb"function\b|=>"),
    "c": re.compile(rb"\n\w[^\n;=(){}]{0,120}\([^;{}]{0,400}?\)\s{0,8}\{"),
    "shell": re.compile(rb"\(\)\s{0,8}\{"),
}
_ANY_DEFINITION = re.compile(
    rb"\b(?:def|defun|func|function|fn|fun|sub|proc|procedure|class|struct|interface|trait)"
    rb"[ \t]+[A-Za-z_]"
)


def _code_numbers(part: bytes, lang: str) -> dict[str, float]:
    """Share of comments, number of definitions."""
    line = _LINE_COMMENT.get(lang, _SLASHES)
    n_comment = sum(map(len, line.findall(part)))
    begin, end = _BLOCK.get(lang, (b"/*", b"*/"))
    if begin and begin == end:
        n_comment += sum(map(len, part.split(begin)[1::2]))
    elif begin:
        for block in part.split(begin)[1:]:
            at = block.find(end)
            n_comment += at if at >= 0 else len(block)
    definition = _DEFINITION.get("c" if lang in {"cpp", "java"} else lang, _ANY_DEFINITION)
    return {
        "comments": min(1.0, n_comment / len(part)),
        "definitions": len(definition.findall(part)),
    }


_HEAD_BYTES = 3_000
_HEAD_LINES = 8
_SURELY_GENERATED = (
    "@generated", "do not edit", "do not modify", "code generated by", "don't edit", "generated file"
)  # fmt: skip
_MAYBE_GENERATED = re.compile(
    r"\b(?:auto-?generated|automatically[ -]generated|machine[ -]generated|generated (?:by|with) )"
)
_LICENCES = (
    "permission is hereby granted", "licensed under the ", "general public licen",
    "redistribution and use in source", "spdx-license-identifier", "without warranty of any kind",
    "without even the implied warranty", "mozilla public license", "all rights reserved",
)  # fmt: skip
_TITLE_CHARS = 200
_LICENCE_TITLES = (
    "general public license\n", "apache license\n", "free documentation license\n",
    "mozilla public license version", "mozilla public license\n", "the artistic license",
    "creative commons legal code",
)  # fmt: skip
# Beginnings of words that fill a licence and little else.
_LEGAL = (
    b"licens", b"licenc", b"copyright", b"warrant", b"liab", b"redistribut", b"merchantab",
    b"derivative work", b"hereby", b"damages", b"permission",
)  # fmt: skip


def _origin(part: bytes, kind: str, lang: str, numbers: Mapping[str, float]) -> dict[str, float]:
    """Whether a person wrote it here: generated, minified, a licence header, a licence text."""
    head = part[:_HEAD_BYTES].decode("utf-8", errors="ignore").lower()
    first_lines = "\n".join(head.split("\n", _HEAD_LINES)[:_HEAD_LINES])
    found: dict[str, float] = {"is_xml": 1} if "<?xml version=" in head[:100] else {}
    if any(mark in first_lines for mark in _SURELY_GENERATED):
        found["generated"] = 1
    elif "generated" in first_lines and _MAYBE_GENERATED.search(first_lines):
        found["maybe_generated"] = 1
    if "licence_file" in numbers or any(mark in head for mark in _LICENCES):
        found["licence"] = 1
    if any(title in head[:_TITLE_CHARS] for title in _LICENCE_TITLES):
        found["licence_file"] = 1
    if kind != "code" and "words" in numbers:
        found["legal"] = 100 * sum(map(part.lower().count, _LEGAL)) / max(1.0, numbers["words"])
    is_web = lang in {"javascript", "css", "typescript"}
    if is_web and numbers["mean_line"] > 300 and numbers["spaces"] < 0.12:
        found["minified"] = 1
    return found

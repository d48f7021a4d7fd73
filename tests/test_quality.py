"""Junk is flagged with its reason, good files are not, and each number is what it says."""

import math
import random
import re
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.corpus import languages, likeness
from sllm_core.corpus.kinds import classify, name_flags
from sllm_core.corpus.parsing import parse_state
from sllm_core.corpus.quality import flags, judge, measure, metrics_version
from sllm_core.corpus.repetition import (
    DUPLICATE_GRAMS,
    duplicate_shares,
    grams,
    repeated_shares,
    top_share,
)
from sllm_core.corpus.rules import RULES, Reason, explain
from sllm_core.corpus.spans import PIECE_BYTES, SPACE, bounds, hashes_of, running
from tests.junk_helpers import LICENCE, make, minified
from tests.test_languages import PARAGRAPHS

FOLDER = Path(sysconfig.get_paths()["stdlib"])
LIBRARY = [
    (path.name, text)
    for path in sorted([*FOLDER.glob("*.py"), *FOLDER.glob("email/*.py")])
    if len(text := path.read_text(encoding="utf-8")) >= 1000
]
# Prose that is on every machine: what the modules say of themselves.
PROSE = [
    (name.replace(".py", ".txt"), doc)
    for name, text in LIBRARY
    if len(doc := "\n\n".join(re.findall(r'"""([A-Z][^"]{150,})"""', text))) >= 1500
]


def scored(name, text, model=None, **more):
    data = text.encode("utf-8", "replace")
    text = data.decode()
    kind, lang = classify(name)
    language = languages.detect(text) if kind != "code" else ""
    metrics = measure(text, data, kind, lang, name, model, language=language, **more)
    return judge(metrics, kind, lang, language, more.get("score_as", "auto")), metrics


def codes(verdict):
    return [reason.code for reason in verdict.reasons]


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "lang"),
    [
        ("a/b.py", "code", "python"), ("B.PY", "code", "python"), ("x.tar.js", "code", "javascript"),
        ("Makefile", "code", "make"), ("CMakeLists.txt", "code", "cmake"), ("a.h", "code", "c"),
        ("notes.md", "prose", ""), ("README", "prose", ""), (".gitignore", "prose", ""),
        ("", "prose", ""), ("a.strange", "prose", ""), ("ls.1.gz", "prose", ""),
        ("t.jsonl.zst", "table", ""), ("t.csv", "table", ""), ("n.ipynb", "notebook", ""),
        ("b.epub", "book", ""), ("p.html", "page", ""), ("p.pdf", "pdf", ""),
        ("c.json", "data", "json"), ("c.yml", "data", "yaml"), ("poetry.lock", "data", "lock"),
        ("web/package-lock.json", "data", "lock"), ("a\\b\\c.rs", "code", "rust"),
    ],
)  # fmt: skip
def test_the_kind_is_told_from_the_name(name, kind, lang):
    assert classify(name) == (kind, lang)


def test_names_say_where_a_file_comes_from():
    assert name_flags("x/vendor/a.go") == {"vendored": 1}
    assert name_flags("a_pb2.py") == {"generated": 1}
    assert name_flags("jquery.min.js") == {"minified": 1}
    assert name_flags("LICENSE.txt") == name_flags("doc/COPYING") == {"licence_file": 1}
    assert name_flags("yarn.lock") == {"lock": 1}
    assert name_flags("src/vendors.py") == name_flags("licensing.py") == {}


# -- numbers, each against a slow way ---------------------------------------------------------------

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "d", "é"]), min_size=1, max_size=60)


def arrays(words):
    """Hashes and sizes of the words, as `prose` makes them."""
    data = " ".join(words).encode()
    raw = np.frombuffer(data, np.uint8)
    starts, ends = bounds(~SPACE[raw])
    assert len(starts) == len(words)
    sizes = np.array([len(word) for word in words])
    return hashes_of(running(raw), starts, ends), sizes


@given(WORDS)
def test_repeated_runs_of_words_are_those_a_set_finds(words):
    hashes, sizes = arrays(words)
    shares = duplicate_shares(hashes, sizes)
    for n in DUPLICATE_GRAMS:
        seen, covered = set(), set()
        for at in range(len(words) - n + 1):
            run = tuple(words[at : at + n])
            if run in seen:
                covered.update(range(at, at + n))
            seen.add(run)
        wanted = sum(len(words[at]) for at in covered) / sum(map(len, words))
        assert shares[n] == pytest.approx(wanted)


@given(WORDS)
def test_the_most_frequent_run_is_that_of_a_counter(words):
    hashes, sizes = arrays(words)
    for n in (2, 3, 4):
        times = Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
        run, most = (
            times.most_common(1)[0] if times else ((), 0)
        )  # the first in the text, of equals
        size = most * sum(map(len, run)) if most > 1 else 0
        wanted = min(1.0, size / sum(map(len, words)))
        assert top_share(grams(hashes, n), n, sizes) == pytest.approx(wanted)


@given(st.lists(st.sampled_from(["one", "two lines", "x" * 30, "é"]), max_size=30))
def test_repeated_lines_are_those_beyond_the_first(lines):
    kept = [line for i, line in enumerate(lines) if line not in lines[:i]]
    share, chars = repeated_shares(lines)
    assert share == pytest.approx(1 - len(kept) / len(lines) if lines else 0)
    total = sum(map(len, lines))
    assert chars == pytest.approx(1 - sum(map(len, kept)) / total if total else 0)


@given(st.text(alphabet="ab1 \n.é漢#\x07", min_size=500, max_size=700))
@settings(max_examples=30)
def test_counts_of_bytes_and_lines(unit):
    text = unit * 4
    data = text.encode()
    metrics = measure(text, data, "code", "c", "a.c")
    shares = [n / len(data) for n in Counter(data).values()]
    lines = text.split("\n")[: -1 if text.endswith("\n") else None]
    assert metrics["entropy"] == pytest.approx(-sum(x * math.log2(x) for x in shares))
    assert metrics["lines"] == len(lines)
    assert metrics["longest_line"] == max(map(len, lines))
    assert metrics["mean_line"] == pytest.approx(sum(map(len, lines)) / len(lines))
    assert metrics["control"] == pytest.approx(text.count("\x07") / len(data))
    shown = sum(byte not in b" \n" for byte in data)
    assert metrics["digits"] == pytest.approx(text.count("1") / max(1, shown))
    assert metrics["non_ascii"] == pytest.approx(sum(byte > 127 for byte in data) / len(data))


def test_reading_ease_is_flesch_s_on_a_worked_example():
    # 10 words, 2 sentences, 14 syllables: 206.835 - 1.015 * 5 - 84.6 * 1.4 = 83.32
    # The(1) cat(1) ate(1) some(1) apples(2). My(1) little(2) table(2) was(1) open(2)
    text = "The cat ate some apples. My little table was open!\n" * 30
    metrics = measure(text, text.encode(), "prose", "", "a.txt", language="en")
    assert metrics["sentences"] == 60 and metrics["sentence_words"] == 5
    assert metrics["reading_ease"] == pytest.approx(83.32, abs=0.01)


def test_comments_and_definitions_are_counted():
    python = '"""Head."""\n' + "def f(x):  # one\n    return x\n\n" * 50
    metrics = measure(python, python.encode(), "code", "python", "a.py")
    assert metrics["definitions"] == 50
    assert metrics["comments"] == pytest.approx((5 + 50 * len("# one")) / len(python))
    c = "\nint f(int x)\n{\n    return x; /* one */ // two\n}\n" * 50
    metrics = measure(c, c.encode(), "code", "c", "a.c")
    assert metrics["definitions"] == 50
    assert metrics["comments"] == pytest.approx(
        50 * (len(" one ") + len("/*") - 2 + len("// two")) / len(c)
    )


# -- parsers ---------------------------------------------------------------------------------------

BOMB = '<!DOCTYPE a [<!ENTITY x "xxxx"><!ENTITY y "&x;&x;">]><a>&y;</a>'


@pytest.mark.parametrize(
    ("lang", "text", "state"),
    [
        ("python", "x = 1\n", {"parses": 1}), ("python", "def f(:\n", {"parses": 0}),
        ("python", "assert (x, 'always')\nx is 1\n'\\d'\n", {"parses": 1}),  # warnings are muted
        ("python", "print 'old'\n", {"python_2": 1}),
        ("python", "try:\n    f()\nexcept E, e:\n    raise E, 'x'\n", {"python_2": 1}),
        ("python", "# -*- coding: nonsense -*-\nx = 1\n", {"parses": 1}),
        ("python", "x\0", {"parses": 0}), ("python", "x = '\ud800'", {"parses": 0}),
        ("python", "(" * 100_000, {"parses": 0}), ("python", "-" * 200_000 + "1", {"parses": 0}),
        ("python", "x" + ".a" * 100_000, {"parses": 0}), ("python", "1" * 10_000, {"parses": 0}),
        ("python", " \n", {}), ("c", "int x = ;", {}),
        ("json", '{"a": [1, 2]}', {"parses": 1}), ("json", "{'a': 1}", {"parses": 0}),
        ("json", "[" * 200_000, {"parses": 0}), ("json", "1" * 10_000, {"parses": 0}),
        ("toml", "a = 1\n", {"parses": 1}), ("toml", "a = \n", {"parses": 0}),
        ("toml", "a = " + "[" * 50_000, {"parses": 0}),
        ("xml", "<a><b/></a>", {"parses": 1}), ("xml", "<a><b></a>", {"parses": 0}),
        ("xml", BOMB, {"parses": 0}), ("xml", "<a>" * 100_000, {"parses": 0}),
        ("xml", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', {"parses": 1}),
    ],
)  # fmt: skip
def test_parsers_say_yes_or_no_and_nothing_else(lang, text, state):
    assert parse_state(text, lang) == state


def test_a_text_that_was_cut_is_not_parsed():
    text = "x = [\n" + "1,\n" * 2000
    assert "parse" in codes(scored("a.py", text)[0])
    assert "parse" not in codes(scored("a.py", text, true_bytes=10**9)[0])


# -- junk and good files --------------------------------------------------------------------------

CODE, TEXT = dict(LIBRARY)["argparse.py"], PROSE[0][1]
JUNK = make(3, TEXT, CODE)


@pytest.fixture(scope="module")
def model():
    """Of a small corpus: 60 good files and all the junk."""
    texts = [text for _, text in [*LIBRARY[::3][:60], *JUNK.values()]]
    return likeness.build(text.encode("utf-8", "replace") for text in texts)


@pytest.mark.parametrize("name", JUNK)
def test_junk_scores_below_50_and_says_why(name, model):
    verdict, _ = scored(*JUNK[name], model)
    assert verdict.score < 50, verdict
    assert verdict.reasons and all(isinstance(reason, Reason) for reason in verdict.reasons)


def test_the_standard_library_scores_50_or_more(model):
    low = {
        name: verdict
        for name, text in LIBRARY
        if (verdict := scored(name, text, model)[0]).score < 50
    }
    # They are what they are said to be: a generated table of numbers, a text in ROT13.
    for name in ("stringprep.py", "this.py"):
        low.pop(name, None)
    assert len(LIBRARY) > 150 and len(low) <= 0.01 * len(LIBRARY), low


def test_prose_scores_50_or_more(model):
    low = {
        name: verdict
        for name, text in PROSE
        if (verdict := scored(name, text, model)[0]).score < 50
    }
    assert len(PROSE) >= 15 and not low, low


@pytest.mark.parametrize("language", ["zh", "ru", "cs", "vi", "th", "bn"])
def test_a_lone_text_in_another_language_is_not_thrown_out_for_that(language, model):
    bengali = "সকালে আমরা বাজারে যাই এবং তাজা মাছ কিনি, তারপর বাড়ি ফিরে রান্না করি। "
    text = ({"bn": bengali} | PARAGRAPHS)[language] * 9
    _, metrics = scored("a.txt", text, model)
    names = {rule.metric for rule in RULES if rule.family in {"unlike", "language"}}
    unlike = {name: metrics[name] for name in names | {"bytes", "non_latin"} if name in metrics}
    verdict = judge(unlike, "prose", "", languages.detect(text))
    assert codes(verdict) and 50 <= verdict.score <= 60, verdict


def test_small_files_get_only_size_and_parser():
    assert scored("a.txt", "x" * 900)[0] == (100, ())
    verdict, metrics = scored("a.py", "def f(\n")
    assert set(codes(verdict)) == {"parse", "short"} and verdict.score < 50
    assert set(metrics) <= {"bytes", "parses"}


# -- flags and rules ------------------------------------------------------------------------------


def test_flags_say_what_a_file_is():
    body = dict(LIBRARY)["bisect.py"]
    assert flags(scored("a.py", body)[1]) == {}
    assert flags(scored("a.py", "# Code generated by a tool. DO NOT EDIT.\n" + body)[1]) == {
        "generated": 1
    }
    header = "# Permission is hereby granted, free of charge, to any person\n"
    assert flags(scored("vendor/a.py", header + body)[1]) == {"vendored": 1, "licence": 1}
    assert flags(scored("k.js", minified(random.Random(1)))[1]) == {"minified": 1}


def test_where_a_file_comes_from_alone_does_not_drop_code():
    verdict, _ = scored(
        "vendor/a.py", "# Code generated by x. DO NOT EDIT.\n" + dict(LIBRARY)["bisect.py"]
    )
    assert codes(verdict)[0] == "generated" and 50 <= verdict.score < 100


def test_a_reason_has_the_number_and_the_limit_of_its_rule(model):
    limits = {rule.code: rule for rule in RULES}
    assert len(limits) == len(RULES)
    for name, text in JUNK.values():
        verdict, metrics = scored(name, text, model)
        for code, value, limit in verdict.reasons:
            rule = limits[code]
            assert (value, limit) == (metrics[rule.metric], rule.limit)
            assert (value > limit) == (rule.side == "above")


def test_every_rule_has_a_number_that_is_measured(model):
    seen = set()
    extra = [("a.py", "print 'x'\n"), ("LICENSE", LICENCE * 9), ("v/vendor/x_pb2.py", CODE),
             ("a.c", '<?xml version="1.0"?>\n' + "<a/>\n" * 400), *PROSE[:3],
             ("b.txt", "This file was automatically generated by x.\n" + TEXT)]  # fmt: skip
    for name, text in [*JUNK.values(), *extra]:
        seen |= set(scored(name, text, model)[1])
    assert {rule.metric for rule in RULES} <= seen


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rule_costs_more_the_further_beyond_its_limit(rule):
    sign = 1 if rule.side == "above" else -1
    steps = [
        rule.limit + sign * abs(rule.far - rule.limit) * part for part in (-0.5, 0, 0.01, 0.5, 1, 9)
    ]
    points = [rule.points(value) for value in steps]
    assert points[:2] == [0, 0] and points == sorted(points)
    assert rule.least <= points[2] <= points[-1] == rule.most <= 100
    assert explain(rule.code, rule.far, rule.limit) and rule.title and rule.family


def test_of_a_family_only_the_dearest_reason_counts():
    metrics = {"bytes": 5000, "repeated_lines": 0.95, "repeated_line_chars": 0.9, "repeated_5": 0.9}
    verdict = judge(metrics, "prose", "", "en")
    assert len(verdict.reasons) == 3 and verdict.score == 30
    assert judge(metrics | {"bullets": 1.0}, "prose", "", "en").score == 15


def test_rules_are_those_of_the_kind_or_of_the_wish():
    text = TEXT * 2
    assert "words" in scored("a.md", text)[1] and "words" not in scored("a.c", text)[1]
    assert "words" in scored("a.c", text, score_as="prose")[1]
    assert "words" not in scored("a.md", text, score_as="code")[1]
    assert metrics_version("auto", None) != metrics_version("code", None)


def test_reasons_are_said_in_a_few_words():
    assert explain("repeated-lines", 0.61, 0.3) == "repeats 61 % of its lines"
    assert explain("parse", 0, 1) == "does not parse"
    assert explain("long-line", 12345.0, 1000) == "a line of 12,345 characters"
    assert explain("unmeasured", 10, 10) == "could not be measured within 10 s"
    assert explain("of a later version", 1, 1) == "of a later version"


# -- hostile texts --------------------------------------------------------------------------------


HOSTILE = {
    "empty": "", "one letter": "x", "equal letters": "a" * 200_000, "newlines": "\n" * 300_000,
    "blanks": " " * 300_000, "NUL": "\0" * 5000, "control": "\x01\x02\x7f" * 2000,
    "bidi": "\u202e\u2066\u200f" * 3000, "zero width": "\u200b" * 5000,
    "combining": "a" + "\u0301" * 50_000, "emoji": "👩\u200d👩\u200d👧" * 3000,
    "surrogates": "\ud800" * 5000, "nested": "(" * 200_000, "nested all": "([{" * 60_000,
    "chain": "x" + ".x" * 150_000, "comments": "/*" * 150_000, "quotes": '"""' * 90_000,
    "hashes": "#" * 300_000, "brackets": "\na(" * 100_000, "calls": "\na" + "()" * 100_000,
    "def": "def f" * 60_000, "print": ("x" * 199 + " <> ") * 1500, "ends": "." * 200_000,
    "one line": "word " * 60_000, "carriage": "a\rb\x0b\x0c\x85\u2028" * 9000,
    "xml": "<a>" * 100_000, "special": "[EOS]<|endoftext|>" * 9000, "digits": "1" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("file", ["a.py", "a.c", "a.txt", "a.json", "a.xml", "a.toml"])
def test_hostile_text_gets_a_score_in_bounded_time(name, file, model):
    verdict, metrics = scored(file, HOSTILE[name], model)
    assert 0 <= verdict.score <= 100
    assert all(math.isfinite(value) for value in metrics.values())


def test_only_pieces_of_a_long_text_are_measured():
    text = "".join(f"{text}\n" for _, text in PROSE)
    text = (text * (3 * PIECE_BYTES // len(text) + 1))[: 1 << 20]
    metrics = measure(text, text.encode(), "prose", "", "a.txt", language="en", true_bytes=4 << 30)
    assert metrics["bytes"] == 4 << 30
    assert metrics["words"] < PIECE_BYTES / 2

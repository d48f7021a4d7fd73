"""Numbers, durations and file names read as a person would write them."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core import fmt


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (1_234_567, "1.23 M"),
        (-1_234_567, "-1.23 M"),
        (999_999, "1 M"),  # the border of a unit: never 1e+03 k
        (999_499, "999 k"),
        (1_520_000_000, "1.52 G"),
        (5e15, "5000 T"),
    ],
)
def test_a_count_has_three_digits_and_the_unit_that_fits(value, text):
    assert fmt.count(value) == text


@given(st.integers(0, 10**15))
@settings(deadline=None)
def test_a_count_never_needs_an_exponent(value):
    assert "e" not in fmt.count(value)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),  # not 1024.0 KiB
        (5 * 2**30, "5.0 GiB"),
        (3 * 2**40, "3.0 TiB"),
        (5000 * 2**40, "5000.0 TiB"),
    ],
)
def test_a_size_counts_in_1024(n_bytes, text):
    assert fmt.size(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-1, "-"),
        (float("inf"), "-"),
        (float("nan"), "-"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3725, "1 h 02 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds, text):
    assert fmt.duration(seconds) == text


def test_an_unknown_number_is_a_dash_and_zero_is_zero():
    assert fmt.number(None) == "-"
    assert fmt.number(0.0) == "0.000"
    assert fmt.number(3.14159, digits=1) == "3.1"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 120),
        ("45m", 2700),
        ("45 min", 2700),
        ("90s", 90),
        ("1h30m", 5400),
        ("1H 30M", 5400),
        ("1h30", 5400),
        ("0.5h", 1800),
    ],
)
def test_a_typed_time_is_minutes_unless_it_says_otherwise(text, seconds):
    assert fmt.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5m", "m", "soon", "nan", "inf", "1e99", "5 days"])
def test_a_typed_time_that_is_none_is_refused_in_the_users_words(text):
    with pytest.raises(ValueError, match="is not a length of time"):
        fmt.parse_duration(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Grüße 日本.txt", "Grüße 日本.txt"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u061cx", "\\u061cx"),
        ("a\u2028b", "a\\u2028b"),
        (b"caf\xe9", "caf\\udce9"),
        ("=SUM(A1)", "'=SUM(A1)"),
        ("-rf", "'-rf"),
        ("", ""),
    ],
)
def test_a_file_name_is_shown_so_that_it_cannot_act(name, text):
    assert fmt.path_text(name) == text


@given(st.text(st.characters(exclude_categories=()), max_size=40))
@settings(deadline=None)
def test_a_shown_name_is_one_line_that_can_be_encoded(name):
    shown = fmt.path_text(name)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cs"}]

"""A value becomes the text of a form, and that text becomes the same value again."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_core import config, fields

EVERY = [
    (kind, field.name) for kind in config.SECTIONS.values() for field in dataclasses.fields(kind)
]


def again(kind, name, value):
    return fields.parse(kind, name, fields.to_text(kind, name, value))


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda it: getattr(it, "__name__", it))
def test_every_default_survives_the_form(kind, name):
    value = getattr(kind(), name)
    assert again(kind, name, value) == value


@given(st.lists(st.text(min_size=1, max_size=8), max_size=4).map(tuple))
def test_a_list_survives_the_form_with_its_blanks_commas_and_quotes(value):
    assert again(config.TrainConfig, "sample_prompts", value) == value


@given(st.floats(1e-8, 0.2))
def test_a_number_survives_the_form_to_its_last_digit(value):
    assert again(config.TrainConfig, "learning_rate", value) == value


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("learning_rate", None, "auto"),
        ("learning_rate", 0.02, "0.02"),
        ("max_time_s", 1800.0, "1800"),
        ("deterministic", True, "on"),
        ("sample_prompts", ("The", "def "), 'The, "def "'),
        ("sample_prompts", (), ""),
        ("optimizer", "muon", "muon"),
        ("batch_size", 24, "24"),
    ],
)
def test_the_text_is_what_a_person_would_type(name, value, text):
    assert fields.to_text(config.TrainConfig, name, value) == text


def test_a_list_typed_without_quotes_is_read_as_before():
    def parse(text):
        return fields.parse(config.TrainConfig, "sample_prompts", text)

    assert parse("The, def ,, x") == ("The", "def", "x")
    assert parse('say "hi", "not closed') == ('say "hi"', '"not closed')

"""What a job says arrives as it was said; what is torn or foreign is passed over."""

import dataclasses
import json
import math
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.messages import KINDS, MAX_LINE_BYTES, Log, Saved, Step, Stopped, decode, encode

# SPEC 9 and RELIABILITY 6: what scripts may rely on, typed again from there.
PROMISED = {
    "step": {"step", "loss", "loss_hex", "grad_norm", "lr", "tokens", "data_pos"},
    "saved": {"step", "path", "sha256"},
    "validation": {"val_loss", "perplexity", "val_bpb"},
    "sample": {"text"},
    "log": {"text"},
    "progress": {"done", "total"},
    "resumed": {"step", "path"},
    "stopped": {"step"},
    "done": {"weights_sha256"},
    "failed": {"code"},
    "scanned": {"listed", "used", "skipped", "failed"},
    "generated": {"text"},
}

TEXT9, REAL = st.text(max_size=9), st.floats(0, 1e6)
VALUES = {
    str: st.text(max_size=20),
    int: st.integers(-(2**63), 2**63),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    int | None: st.none() | st.integers(0, 2**63),
    float | None: st.none() | st.floats(allow_nan=False, allow_infinity=False),
    tuple[str, ...]: st.lists(st.text(max_size=9), max_size=3).map(tuple),
    tuple[tuple[str, str], ...]: st.lists(st.tuples(TEXT9, TEXT9), max_size=3).map(tuple),
    tuple[tuple[str, float, str], ...]: st.lists(st.tuples(TEXT9, REAL, TEXT9), max_size=3).map(
        tuple
    ),
    tuple[tuple[int, float, float, float, float], ...]: st.lists(
        st.tuples(st.integers(0, 9), REAL, REAL, REAL, REAL), max_size=3
    ).map(tuple),
    tuple[int, ...]: st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
    dict[str, int]: st.dictionaries(st.text(max_size=9), st.integers(), max_size=3),
    dict[str, float]: st.dictionaries(
        st.text(max_size=9), st.floats(allow_nan=False, allow_infinity=False), max_size=3
    ),
    dict[str, str]: st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    dict[str, Any]: st.dictionaries(
        st.text(max_size=9), st.none() | st.booleans() | st.integers() | st.text(), max_size=3
    ),
}


def any_message(kind: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    return st.builds(kind, **{name: VALUES[hints[name]] for name in names})


every_kind = pytest.mark.parametrize("name", KINDS)
A_STEP = Step(
    step=7,
    loss=2.5,
    loss_hex="0x1.4p+1",
    grad_norm=0.5,
    lr=1e-3,
    tokens=512,
    data_pos=2,
    epoch=1,
    tokens_per_sec=None,
)


@every_kind
@given(data=st.data(), time=st.integers(0, 2**32))
@settings(deadline=None, max_examples=25)
def test_a_message_arrives_as_it_was_said(name, data, time):
    message = data.draw(any_message(KINDS[name]))
    line = encode(message, time)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert decode(line) == (message, time)
    assert decode(line.encode("utf-8")) == (message, time)


@every_kind
def test_a_line_says_its_type_and_time_and_no_field_hides_them(name):
    assert KINDS[name].type == name
    assert not {"type", "time"} & {field.name for field in dataclasses.fields(KINDS[name])}
    assert KINDS[name].__dataclass_params__.frozen
    assert not name.startswith("_")


@pytest.mark.parametrize(("name", "promised"), PROMISED.items())
def test_a_line_carries_the_fields_that_scripts_were_promised(name, promised):
    assert promised <= {field.name for field in dataclasses.fields(KINDS[name])}


def test_a_line_is_one_json_object_for_other_programs():
    body = json.loads(encode(A_STEP, time=12.3456789))
    assert body == {"type": "step", "time": 12.346, **dataclasses.asdict(A_STEP)}


def test_a_loss_keeps_every_bit():
    loss = math.pi / 3
    line = encode(dataclasses.replace(A_STEP, loss=loss, loss_hex=loss.hex()), 0)
    message, _ = decode(line)
    assert message.loss.hex() == message.loss_hex == loss.hex()


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_unknown_in_json_and_its_hex_says_which(loss):
    told = dataclasses.replace(A_STEP, loss=loss, loss_hex=loss.hex())
    line = encode(told, 0)
    json.loads(line, parse_constant=pytest.fail)  # strict readers refuse NaN and Infinity
    message, _ = decode(line)
    assert (message.loss, message.loss_hex) == (None, loss.hex())


def test_unknown_is_none_and_not_zero():
    message, _ = decode(encode(A_STEP, 0))
    assert message.tokens_per_sec is None


def test_a_path_that_is_no_text_is_still_a_line_of_utf8():
    message = Log("caf\udce9")
    assert decode(encode(message, 0).encode("utf-8")) == (message, 0.0)


@given(st.data())
@settings(deadline=None)
def test_a_torn_line_is_no_message(data):
    line = encode(Saved(7, "checkpoints/a.pt", "ff", 9, ("best", "last")), 1.0).encode("utf-8")
    end = data.draw(st.integers(0, len(line) - 2))  # without its newline a line is still whole
    assert decode(line[:end]) is None


@pytest.mark.parametrize(
    "line",
    [
        *("", "\n", "null", "5", "[]", '"step"', "{}", "not json", b"\xff\xfe", "\0"),
        *('{"type": "step"}', '{"type": "no such"}', '{"type": null}', '{"type": ["log"]}'),
        *('{"type": {}}', '["type", "log"]', '{"text": "x"}'),
        *('{"type": "log", "text": "x", "time": "noon"}', '{"type": "log", "text": "x", "time": []}'),
        '{"type": "log", "text": "x", "time": ' + "9" * 400 + "}",
        '{"type": "log", "text": "x", "time": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"type": ' * 50_000,
    ],
)  # fmt: skip
def test_a_foreign_line_is_no_message(line):
    assert decode(line) is None


@given(st.binary(max_size=60) | st.text(max_size=60))
@settings(deadline=None)
def test_noise_never_stops_a_reader(line):
    assert decode(line) is None


def test_fields_of_a_newer_writer_are_left_out():
    body = {**json.loads(encode(A_STEP, 3.0)), "colour": "blue", "deep": {"a": [1]}}
    assert decode(json.dumps(body)) == (A_STEP, 3.0)


def test_fields_that_an_older_writer_did_not_know_get_their_defaults():
    assert decode('{"type": "log", "text": "x"}') == (Log("x", level="info", code=""), 0.0)


def test_a_line_without_a_field_that_must_be_there_is_no_message():
    body = json.loads(encode(Stopped(1, "a.pt", "asked"), 0))
    del body["reason"]
    assert decode(json.dumps(body)) is None


def test_a_giant_line_is_not_even_read():
    frame = len(encode(Log(""), 0))
    assert decode(encode(Log("x" * (MAX_LINE_BYTES - frame)), 0)) is not None
    assert decode(encode(Log("x" * (MAX_LINE_BYTES - frame + 1)), 0)) is None

"""The learning rate follows its closed forms, from the first update to the last."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_core.schedule import multiplier

KINDS = ("cosine", "linear", "wsd", "constant")


def rates(total, warmup, kind, floor=0.0):
    return [multiplier(step, total, warmup, kind, floor) for step in range(total)]


@pytest.mark.parametrize("kind", KINDS)
def test_warm_up_is_a_line_that_starts_above_nothing(kind):
    found = rates(100, 9, kind)
    assert found[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert rates(100, 0, kind)[0] == 1.0


def test_cosine_is_the_formula_of_the_specification():
    for floor in (0.0, 0.1):
        found = rates(110, 10, "cosine", floor)
        for step in range(10, 110):
            progress = (step - 10) / 100
            fall = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
            assert found[step] == pytest.approx(fall, abs=1e-12)
        assert found[60] == pytest.approx((1 + floor) / 2)


def test_linear_falls_evenly():
    assert rates(110, 10, "linear")[10:] == pytest.approx([1 - n / 100 for n in range(100)])


def test_wsd_is_flat_and_falls_over_the_last_fifth():
    found = rates(100, 10, "wsd", 0.1)
    assert found[10:81] == [1.0] * 71
    assert found[80:] == pytest.approx([0.1 + 0.9 * (1 - n / 20) for n in range(20)])


def test_constant_stays():
    assert rates(50, 5, "constant")[5:] == [1.0] * 45


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("floor", [0.0, 0.25, 1.0])
def test_the_last_update_still_moves_and_the_end_is_the_floor(kind, floor):
    assert multiplier(199, 200, 20, kind, floor) > 0
    expected = 1.0 if kind == "constant" else floor
    for beyond in (200, 201, 1000):
        assert multiplier(beyond, 200, 20, kind, floor) == pytest.approx(expected)


@given(
    total=st.integers(1, 400),
    warmup_share=st.floats(0, 0.9),
    kind=st.sampled_from(KINDS),
    floor=st.floats(0, 1),
)
def test_it_rises_then_falls_and_stays_between_nothing_and_the_peak(
    total, warmup_share, kind, floor
):
    warmup = int(total * warmup_share)
    found = rates(total, warmup, kind, floor)
    assert all(0 < rate <= 1 for rate in found)
    rising, falling = found[: warmup + 1], found[warmup:]
    assert all(a < b for a, b in pairwise(rising))
    assert falling[:1] in ([], [1.0])
    assert all(a >= b for a, b in pairwise(falling))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="sawtooth"):
        multiplier(50, 100, 10, "sawtooth")

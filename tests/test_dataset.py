"""Windows: each start once an epoch, the same for everybody who asks for the same position."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.dataset import Prefetch, Windows, derive_seed, permute, spread_windows
from sllm_core.errors import DataError

U64 = np.uint64


def order(n: int, seed: int) -> list[int]:
    return permute(np.arange(n, dtype=U64), n, seed).tolist()


@pytest.mark.parametrize(
    "n", [*range(1, 70), 255, 256, 257, 1000, 1023, 1024, 1025, 4096, 4097, 65_537]
)
def test_permute_is_a_bijection(n):
    for seed in (0, 1, 2**62 + 1):
        assert sorted(order(n, seed)) == list(range(n))


def test_permute_depends_on_the_seed_and_mixes():
    orders = {tuple(order(6, seed)) for seed in range(2000)}
    assert len(orders) > 600  # of 720
    moved = np.array(order(10_000, 3))
    assert abs(np.corrcoef(moved, np.arange(10_000))[0, 1]) < 0.05
    assert np.mean(np.abs(np.diff(moved))) > 3000  # a third of n for a random order


def test_permute_gives_the_same_place_alone_and_in_company():
    n, seed = 1237, 5
    whole = order(n, seed)
    picked = np.array([1236, 0, 77, 77], dtype=U64)
    assert permute(picked, n, seed).tolist() == [whole[i] for i in picked]
    huge = permute(np.arange(50, dtype=U64), 10**12, seed)
    assert len(set(huge.tolist())) == 50
    assert huge.max() < 10**12


def test_derive_seed_is_fixed_for_ever():
    assert derive_seed(0) != derive_seed(0, 0) != derive_seed(0, 0, 0)
    assert derive_seed(1, 2) != derive_seed(2, 1)
    assert all(0 <= derive_seed(seed, 1) < 2**63 for seed in (0, 1, 2**63, 2**64 - 1))
    # Runs are resumed by these numbers: another value breaks every checkpoint ever written.
    assert (derive_seed(0), derive_seed(1234, 5)) == (8147104208329303767, 3961839609573649378)


def epoch_starts(windows: Windows, epoch: int) -> list[int]:
    return windows.starts(epoch * windows.n_windows, windows.n_windows).tolist()


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 60), st.integers(0, 9))
def test_an_epoch_has_each_window_once_and_next_to_the_other(n_tokens, seq_len, stride, seed):
    if n_tokens < seq_len + 1:
        return
    windows = Windows(np.arange(n_tokens, dtype="<u2"), seq_len, stride, seed)
    last = n_tokens - seq_len - 1
    for epoch in range(3):
        starts = sorted(epoch_starts(windows, epoch))
        assert len(starts) == len(set(starts)) == windows.n_windows
        assert all(b - a == stride for a, b in itertools.pairwise(starts))
        assert 0 <= starts[0] <= windows.max_offset < max(stride, 1)
        assert starts[-1] <= last
        assert windows.epoch(epoch * windows.n_windows) == epoch
    reach = windows.max_offset + (windows.n_windows - 1) * stride
    assert reach <= last < reach + stride + (stride - 1 if last >= stride else stride)


def test_at_stride_one_an_epoch_has_every_start():
    windows = Windows(np.arange(500, dtype="<u2"), 7, 1, 3)
    for epoch in range(2):
        assert sorted(epoch_starts(windows, epoch)) == list(range(500 - 7))
    assert epoch_starts(windows, 0) != epoch_starts(windows, 1)


def test_epochs_begin_at_every_offset_below_the_stride():
    windows = Windows(np.arange(1000, dtype="<u2"), 8, 5, 1)
    offsets = {epoch_starts(windows, epoch)[0] % 5 for epoch in range(60)}
    assert offsets == set(range(5))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 500), st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_batches_are_the_same_however_the_calls_are_divided(data_pos, counts):
    windows = Windows(np.arange(2000, dtype="<u2") * 3, 16, 11, 4)
    whole = windows.batch(data_pos, sum(counts))
    parts, at = [], data_pos
    for count in counts:
        parts.append(windows.batch(at, count))
        at += count
    assert np.array_equal(np.concatenate(parts), whole)
    tokens = windows.tokens.tolist()
    for line, start in zip(whole.tolist(), windows.starts(data_pos, sum(counts)), strict=True):
        assert line == tokens[start : start + 17]


def test_order_is_the_permutation_across_blocks_and_epochs():
    windows = Windows(np.arange(5000, dtype="<u2"), 8, 2, 6)
    n = windows.n_windows
    assert n > 2 * 1024
    expected = []
    for epoch in range(3):
        offset = derive_seed(6, epoch, 1) % (windows.max_offset + 1)
        expected += [2 * place + offset for place in order(n, derive_seed(6, epoch))]
    assert windows.starts(0, 3 * n).tolist() == expected
    for at in (3, n - 1, 1020, 2047, n + 1024, 0):
        assert windows.starts(at, 10).tolist() == expected[at : at + 10]


def test_a_seed_orders_and_another_seed_orders_otherwise():
    tokens = np.arange(3000, dtype="<u2")
    first, again, other = (Windows(tokens, 8, 8, seed).batch(0, 50) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_prefetched_batches_are_those_asked_for_directly():
    windows = Windows(np.arange(3000, dtype="<u2"), 16, 9, 4)
    ahead = windows.prefetch(37, 13)
    try:
        for number in range(60):  # beyond an epoch
            assert np.array_equal(ahead.take(), windows.batch(37 + 13 * number, 13))
    finally:
        ahead.close()
    assert not ahead._thread.is_alive()


def test_a_failure_while_prefetching_reaches_the_caller():
    windows = Windows(np.arange(3000, dtype="<u2"), 16, 9, 4)
    windows._rows = windows._rows[:0]  # as if the file had been cut
    ahead = Prefetch(windows, 0, 4)
    try:
        with pytest.raises(IndexError):
            ahead.take()
    finally:
        ahead.close()


def test_a_text_of_one_window_is_that_window_for_ever():
    windows = Windows(np.arange(9, dtype="<u2"), 8, 8, 1)
    assert windows.n_windows == 1
    assert windows.batch(0, 3).tolist() == [list(range(9))] * 3


@pytest.mark.parametrize("n_tokens", [0, 1, 8])
def test_a_text_smaller_than_a_window_is_refused_with_both_numbers(n_tokens):
    with pytest.raises(DataError, match=rf"{n_tokens} tokens.* 8 needs 9") as caught:
        Windows(np.arange(n_tokens, dtype="<u2"), 8, 8, 1)
    assert caught.value.code == "E-DATA-SMALL"


def test_windows_for_checking_are_fixed_spread_and_at_most_as_many_as_asked():
    tokens = np.arange(1001, dtype="<u2")
    chunks = list(spread_windows(tokens, 10, 7, 3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    lines = np.concatenate(chunks).tolist()
    assert lines == np.concatenate(list(spread_windows(tokens, 10, 7, 100))).tolist()
    starts = [line[0] for line in lines]
    assert starts[0] == 0
    assert starts[-1] == 990
    assert all(line == list(range(line[0], line[0] + 11)) for line in lines)
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert max(gaps) - min(gaps) <= 10
    assert len(np.concatenate(list(spread_windows(tokens, 10, 10_000, 64)))) == 100
    assert list(spread_windows(tokens[:1], 10, 5, 5)) == []
    assert next(spread_windows(tokens[:4], 10, 5, 5)).tolist() == [[0, 1, 2, 3]]

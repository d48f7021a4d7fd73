"""Windows: each start once an epoch, the same for everybody who asks for the same position."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.dataset import (
    _BLOCK,
    Line,
    Part,
    Prefetch,
    Windows,
    count_windows,
    derive_seed,
    permute,
    spread_windows,
)
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
    others = [order(n, other) for other in (7, 8)]
    of = np.array([1, 0, 0, 1])
    assert permute(picked, n, 7, 8, of=of).tolist() == [
        others[which][i] for which, i in zip(of, picked.tolist(), strict=True)
    ]
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
    n_windows, max_offset = count_windows(n_tokens, seq_len, stride)
    assert n_windows == windows.n_windows
    for epoch in range(3):
        starts = sorted(epoch_starts(windows, epoch))
        assert len(starts) == len(set(starts)) == windows.n_windows
        assert all(b - a == stride for a, b in itertools.pairwise(starts))
        assert 0 <= starts[0] <= max_offset < max(stride, 1)
        assert starts[-1] <= last
        assert windows.epoch(epoch * windows.n_windows) == epoch
    reach = max_offset + (windows.n_windows - 1) * stride
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
    windows = Windows(np.arange(20_000, dtype="<u2"), 8, 2, 6)
    n = windows.n_windows
    assert n > 2 * _BLOCK
    expected = []
    for epoch in range(3):
        offset = derive_seed(6, epoch, 1) % 2
        expected += [2 * place + offset for place in order(n, derive_seed(6, epoch))]
    assert windows.starts(0, 3 * n).tolist() == expected
    for at in (3, n - 1, _BLOCK - 4, 2 * _BLOCK - 1, n + _BLOCK, 0):
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
    windows._line._rows = windows._line._rows[:0]  # as if the file had been cut
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


# parts: text that is read more or less often than once an epoch


def ranges(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, dtype=np.int64)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), min_size=1, max_size=12),
    st.integers(1, 25),
    st.randoms(use_true_random=False),
)
def test_a_line_of_ranges_is_their_concatenation(gaps, length, draw):
    pairs, at = [], 0
    for gap, size in gaps:
        pairs.append((at + gap, at + gap + size))
        at += gap + size
    draw.shuffle(pairs)  # parts may take their ranges from anywhere
    tokens = np.arange(at + 3, dtype="<u2") * 7
    whole = np.concatenate([tokens[a:b] for a, b in pairs])
    if length > len(whole):
        return
    starts = np.arange(len(whole) - length + 1)
    draw.shuffle(starts)
    found = Line(tokens, ranges(*pairs), length).take(starts)
    assert found.dtype == tokens.dtype
    assert found.tolist() == [whole[at : at + length].tolist() for at in starts]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(9, 60), st.floats(0.05, 4.0)), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_slots_and_windows_of_each_part_are_counted_exactly(sizes, stride, seed):
    parts, at = [], 0
    for size, weight in sizes:
        n, _ = count_windows(size, 8, stride)
        slots = max(1, round(weight * n))
        parts.append(Part(str(at), ranges((at, at + size)), slots))
        at += size
    windows = Windows(np.arange(at, dtype="<u2"), 8, stride, seed, parts)
    n_epochs = 3
    for epoch in range(n_epochs):
        starts = np.array(epoch_starts(windows, epoch))
        assert len(starts) == windows.n_windows == sum(part.n_slots for part in parts)
        for part in parts:  # in one epoch: exactly its slots, its own windows, none beyond its end
            a, b = part.ranges[0]
            mine = starts[(a <= starts) & (starts < b)]
            assert len(mine) == part.n_slots
            assert mine.max() + 8 < b
    every = windows.starts(0, n_epochs * windows.n_windows)
    for part in parts:  # over the epochs: whole passes, each window as often as the other
        a, b = part.ranges[0]
        n, max_offset = count_windows(b - a, 8, stride)
        mine = every[(a <= every) & (every < b)] - a
        if max_offset == 0:
            counts = np.bincount(mine // stride, minlength=n)
            assert counts.max() - counts.min() <= 1


def brute_force(windows: Windows, epoch: int) -> list[list[int]]:
    """An epoch from its definition, one slot after the other."""
    slots = []
    for part, n, n_slots in zip(windows.parts, windows._n, windows._slots, strict=True):
        text = np.concatenate([windows.tokens[a:b] for a, b in part.ranges])
        _, max_offset = count_windows(len(text), windows.seq_len, windows.stride)
        for j in range(n_slots):
            number, index = divmod(epoch * n_slots + j, n)
            if n_slots % n:
                index = order(n, derive_seed(windows.seed, number, 2))[index]
            offset = derive_seed(windows.seed, number, 1) % (max_offset + 1)
            at = index * windows.stride + offset
            slots.append(text[at : at + windows.seq_len + 1].tolist())
    mixed = order(len(slots), derive_seed(windows.seed, epoch))
    return [slots[slot] for slot in mixed]


@pytest.mark.parametrize("slots", [(0, 0), (60, 7), (5, 131), (38, 26), (1, 1), (400, 12)])
def test_two_parts_equal_an_enumeration(slots):
    first = Part("old", ranges((0, 70), (100, 230)), slots[0])
    second = Part("new", ranges((230, 300), (70, 100)), slots[1])
    windows = Windows(np.arange(310, dtype="<u2"), 8, 5, 3, [first, second])
    assert windows._n == [38, 18]
    expected = [row for epoch in range(9) for row in brute_force(windows, epoch)]
    assert windows.batch(0, len(expected)).tolist() == expected
    for at in (1, windows.n_windows - 1, windows.n_windows + 2):
        assert windows.batch(at, 9).tolist() == expected[at : at + 9]


def test_a_part_that_is_the_whole_text_is_no_part():
    tokens = np.arange(5000, dtype="<u2")
    plain = Windows(tokens, 16, 7, 3)
    parted = Windows(tokens, 16, 7, 3, [Part("all", ranges((0, 5000)), plain.n_windows)])
    assert np.array_equal(plain.batch(0, 2000), parted.batch(0, 2000))
    assert plain.epoch_tokens == parted.epoch_tokens == 5000


def test_a_pass_of_half_a_part_an_epoch_reads_all_of_it_in_two():
    part = Part("half", ranges((0, 801)), 50)
    windows = Windows(np.arange(801, dtype="<u2"), 8, 8, 1, [part])
    assert windows._n == [100 - 1]
    first, second = (set(epoch_starts(windows, epoch)) for epoch in range(2))
    assert len(first) == 50
    assert first != set(sorted(range(0, 801, 8))[:50])  # a random half, not the first one
    assert len({start // 8 for start in first} & {start // 8 for start in second}) <= 1
    assert windows.passes(200) == [pytest.approx(200 / 99)]
    assert windows.epoch_tokens == 801 * 50 // 99


def test_parts_are_well_mixed():
    parts = [Part("a", ranges((0, 40_000)), 3000), Part("b", ranges((40_000, 50_000)), 3000)]
    windows = Windows(np.arange(50_000, dtype="<u2"), 8, 8, 1, parts)
    is_b = windows.starts(0, 6000) >= 40_000
    tenths = is_b.reshape(10, 600).mean(axis=1)
    assert is_b.mean() == 0.5
    assert tenths.min() > 0.4
    assert tenths.max() < 0.6


def test_a_part_smaller_than_a_window_is_refused():
    parts = [Part("a", ranges((0, 100))), Part("b", ranges((100, 108)))]
    with pytest.raises(DataError, match="8 tokens"):
        Windows(np.arange(200, dtype="<u2"), 8, 8, 1, parts)


def test_where_a_part_ends_in_the_middle_of_the_file_its_last_window_is_read():
    part = Part("a", ranges((90, 100), (0, 7)))
    windows = Windows(np.arange(100, dtype="<u2"), 16, 16, 1, [part])
    assert windows.batch(0, 1).tolist() == [[*range(90, 100), *range(7)]]

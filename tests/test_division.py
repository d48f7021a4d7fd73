"""Documents stay on their side of the split, whatever is added, and near copies stay together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.corpus import division
from sllm_core.corpus.division import HASH, SECTIONS, TRAIN, VAL, Known, Units, divide
from sllm_core.corpus.index import Index

NOTHING = Known(np.empty(0, HASH), np.empty(0, np.int8), np.empty(0, np.int64), {})


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def units(numbers, clusters=None, sources=None, tables=()) -> Units:
    numbers = list(numbers)
    n = len(numbers)
    clusters = numbers if clusters is None else clusters
    return Units(
        ids=np.arange(n),
        sources=np.array(sources if sources is not None else [1] * n),
        hashes=np.frombuffer(b"".join(map(key, numbers)), HASH),
        sizes=np.full(n, 9),
        chars=np.full(n, 9),
        is_table=np.isin(np.arange(n), list(tables)),
        clusters=np.frombuffer(b"".join(map(key, clusters)), HASH),
    )


def known_after(tmp_path, *divisions) -> Known:
    """What the index gives back once these were stored."""
    with Index(tmp_path / "p.db") as index:
        for made in divisions:
            index.set_tokens([], "t", made.decided)
        return division.read_known(index, divisions[-1].share)


@pytest.mark.parametrize("n", [20, 25])
def test_a_source_of_ten_documents_has_both_sides_whatever_the_texts(n):
    for first in range(0, 4000, 200):
        numbers = [*range(first, first + n), *range(first + 100, first + 100 + n)]
        found = units(numbers, sources=[1] * n + [2] * n)
        sides = divide(found, 0.1, NOTHING).sides
        for source in (1, 2):
            assert set(sides[found.sources == source]) == {TRAIN, VAL}


def test_the_share_for_checking_is_near_the_one_asked_for():
    sides = divide(units(range(20_000)), 0.1, NOTHING).sides
    assert abs((sides == VAL).mean() - 0.1) < 0.01
    assert division.choose_share(None, 1000) == 0.1
    assert division.choose_share(None, 2 << 30) == 0.03
    assert division.choose_share(0.2, 2 << 30) == 0.2


def test_forty_copies_of_one_text_are_trained_on():
    for number in range(50):
        assert set(divide(units([number] * 40), 0.5, NOTHING).sides) == {TRAIN}


def test_near_copies_lie_on_one_side():
    clusters = [number // 4 for number in range(400)]
    sides = divide(units(range(400), clusters), 0.3, NOTHING).sides
    assert (sides.reshape(-1, 4) == sides.reshape(-1, 4)[:, :1]).all()
    assert set(sides) == {TRAIN, VAL}


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 60), st.integers(0, 60), st.integers(0, 10_000))
def test_added_documents_move_no_other(tmp_path_factory, n_first, n_added, seed):
    first, both = range(seed, seed + n_first), range(seed, seed + n_first + n_added)
    before = divide(units(first), 0.05, NOTHING)
    known = known_after(tmp_path_factory.mktemp("p"), before)
    after = divide(units(both), 0.05, known)
    assert (after.sides[:n_first] == before.sides).all()
    assert set(after.sides) == {TRAIN, VAL}


def test_a_few_documents_stay_cut_into_sections_when_many_come(tmp_path):
    before = divide(units(range(5)), 0.1, NOTHING)
    assert set(before.sides) == {SECTIONS}
    known = known_after(tmp_path, before)
    after = divide(units(range(200)), 0.1, known)
    assert set(after.sides[:5]) == {SECTIONS}
    assert (after.section_chars[:5] == before.section_chars).all()
    assert set(after.sides[5:]) == {TRAIN, VAL}


def test_another_share_divides_anew(tmp_path):
    known = known_after(tmp_path, divide(units(range(100)), 0.1, NOTHING))
    assert len(known.keys) == 100
    with Index(tmp_path / "p.db") as index:
        assert not len(division.read_known(index, 0.2).keys)


def test_a_section_that_was_put_on_a_side_stays_there(tmp_path):
    made = divide(units(range(3)), 0.1, NOTHING)
    text_hash = key(77)
    other = VAL if made.side_of_part(text_hash) == TRAIN else TRAIN
    made.force(text_hash, other)
    assert made.side_of_part(text_hash) == other
    known = known_after(tmp_path, made)
    assert divide(units(range(3)), 0.1, known).side_of_part(text_hash) == other
    assert len(known.keys) == 3


def test_units_are_the_used_files_in_their_order(tmp_path):
    from tests.test_index import row

    with Index(tmp_path / "p.db") as index:
        rows = [row(name, text_hash=key(i)) for i, name in enumerate([b"b", b"a", b"c"])]
        skipped = row(b"d", state="skipped", reason="empty", text_hash=None)
        index.put_files([*rows, skipped, row(b"0", source_id=2, text_hash=key(9))], 1)
        index.write("INSERT INTO clusters VALUES (?, ?, ?)", [(key(2), 0.9, key(0))])
        found = division.read_units(index)
        ids = [x.id for x in index.used_files()]
    assert found.ids.tolist() == ids
    assert [x.tobytes() for x in found.hashes] == [key(1), key(0), key(2), key(9)]
    assert [x.tobytes() for x in found.clusters] == [key(1), key(0), key(0), key(9)]
    assert found.sources.tolist() == [1, 1, 1, 2]

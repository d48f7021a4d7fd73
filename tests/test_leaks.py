"""The overlap of targets with training texts is that of plain sets of 13 tokens."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_core.corpus import dedup, leaks
from sllm_core.corpus.leaks import GRAM, Overlap, Targets, grams

WORD = st.sampled_from(["a", "bc", "def", "x", "é"])
WORDS = st.one_of(st.lists(WORD, max_size=14), st.lists(WORD, min_size=15, max_size=60))


def passages(text: list[str]) -> set[tuple[str, ...]]:
    return {tuple(text[i : i + GRAM]) for i in range(len(text) - GRAM + 1)}


def join(text: list[str]) -> bytes:
    return " ".join(text).encode()


def words(rng: np.random.Generator, n: int) -> list[str]:
    return [f"w{i}" for i in rng.integers(0, 3000, n)]


@given(WORDS)
def test_there_are_as_many_passages_as_different_runs_of_13_tokens(text: list[str]) -> None:
    assert len(grams(join(text))) == len(passages(text))


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, max_size=6), st.data())
def test_overlap_is_that_of_plain_sets(
    targets: list[list[str]], others: list[list[str]], data: st.DataObject
) -> None:
    """Training texts are made of pieces of targets too; they come in blocks of any size."""
    for i, text in enumerate(others):
        piece = data.draw(st.sampled_from(targets))
        others[i] = text + piece[data.draw(st.integers(0, 20)) :]
    watch = Targets()
    assert [watch.add(join(text)) for text in targets] == list(range(len(targets)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "BLOCK_BYTES", data.draw(st.sampled_from([16, 100, 10_000])))
        half = len(others) // 2
        watch.scan((100 + i, join(text)) for i, text in enumerate(others[:half]))
        watch.scan((100 + i, join(text)) for i, text in enumerate(others[half:], half))
    for target, found in zip(targets, watch.overlaps(), strict=True):
        wanted = passages(target)
        counts = [len(wanted & passages(text)) for text in others]
        seen = wanted & set().union(*(passages(text) for text in others))
        most = max(counts, default=0)
        first = 100 + counts.index(most) if most else -1
        assert found == Overlap(len(wanted), len(seen), first, most)
        assert found.share == (len(seen) / len(wanted) if wanted else None)


def test_a_text_under_13_tokens_says_nothing() -> None:
    watch = Targets()
    watch.add(b"one two three")
    watch.add(b"")
    watch.scan([(0, b"one two three"), (1, b"")])
    assert [found.share for found in watch.overlaps()] == [None, None]


def test_of_two_texts_with_as_much_the_first_is_named_and_both_targets_know_it() -> None:
    text = join(words(np.random.default_rng(4), 60))
    watch = Targets()
    watch.add(text)
    watch.add(text)
    watch.scan([(9, b"nothing of it"), (7, text), (8, text)])
    assert watch.overlaps() == [Overlap(48, 48, 7, 48)] * 2


def test_a_large_training_text_counts_as_one() -> None:
    text = join(words(np.random.default_rng(5), 60_000))
    assert len(text) > 2 * dedup.BLOCK_BYTES
    watch = Targets()
    watch.add(text)
    watch.scan([(1, text[: len(text) // 3]), (2, text)])
    assert watch.overlaps() == [Overlap(59_988, 59_988, 2, 59_988)]


def test_without_targets_or_scan_nothing_is_found() -> None:
    watch = Targets()
    watch.scan([(0, b"a b c " * 20)])
    assert watch.overlaps() == []
    watch = Targets()
    watch.add(join(words(np.random.default_rng(0), 50)))
    assert watch.overlaps() == [Overlap(38, 0, -1, 0)]


def test_too_many_targets_are_sampled_and_shares_stay_about_right() -> None:
    rng = np.random.default_rng(1)
    targets = [words(rng, 2000) for _ in range(40)]
    watch = Targets(max_grams=20_000)
    for text in targets:
        watch.add(join(text))
    assert watch.sample_rate == 0.25
    watch.scan((i, join(text[: 20 * i])) for i, text in enumerate(targets))
    found = watch.overlaps()
    assert 10_000 < sum(overlap.n_grams for overlap in found) <= 20_000
    for i, overlap in enumerate(found):
        share = max(0, 20 * i - 12) / 1988
        assert overlap.share == pytest.approx(share, abs=0.1)
        assert overlap.source == (i if overlap.n_found else -1)


def test_a_passage_of_very_many_targets_counts_but_names_no_source() -> None:
    rng = np.random.default_rng(2)
    licence = words(rng, 13)
    watch = Targets()
    for _ in range(leaks.COMMON + 1):
        watch.add(join([*licence, *words(rng, 20)]))
    watch.scan([(5, join(licence))])
    assert {(found.n_found, found.source) for found in watch.overlaps()} == {(1, -1)}


def test_hostile_texts_are_scanned() -> None:
    watch = Targets()
    hostile = [b"\0" * 5000, b"x" * 300_000, b"\xe3\x80" * 50_000, b"," * 300_000, b""]
    for text in hostile:
        watch.add(text)
    watch.scan(enumerate(hostile))
    for found in watch.overlaps():
        assert found.n_found == found.n_grams
    assert watch.overlaps()[3] == Overlap(1, 1, 3, 1)


def test_scanning_tells_how_far_it_is_and_stops_when_told() -> None:
    rng = np.random.default_rng(3)
    texts = [(i, join(words(rng, 4000))) for i in range(40)]
    watch = Targets()
    watch.add(texts[0][1])
    told: list[int] = []
    watch.scan(texts, on_progress=told.append)
    assert told[-1] == 40
    assert len(told) > 5
    calls = itertools.count()

    def check() -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.scan(texts, check=check)

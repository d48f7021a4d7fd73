"""Near copies are found, and none is called one that a count with plain sets does not confirm."""

import itertools
import re
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from sllm_core.corpus import dedup
from sllm_core.corpus.clusters import union
from sllm_core.corpus.dedup import (
    EMPTY,
    N_BINS,
    SHORT_TOKENS,
    SIGNATURE,
    Similarities,
    bands,
    candidates,
    jaccard,
    shingles,
    signature,
    signatures,
)

# On characters: another way to the same tokens than classes of bytes. U+3000-U+D7FF are the ones
# whose UTF-8 starts with 0xE3-0xED; surrogates, the rest of 0xED, never reach these functions.
TOKEN = re.compile(
    r"[\u3000-\ud7ff]|[A-Za-z0-9_\x80-\u2fff\ue000-\U0010ffff]+|[^\0\t\n\v\f\r A-Za-z0-9_]"
)
MIXED = "ab_ \n\t\0(){}.é中文字かな한글，。ＡЖ😀 longer_word_of_more_than_32_bytes_0123456789 seventeen_letters"
TEXTS = st.lists(
    st.one_of(st.sampled_from(MIXED.split(" ")), st.text(MIXED, max_size=6), st.text(max_size=3)),
    max_size=60,
).map(" ".join)
HOSTILE = [
    b"",
    b"x",
    b"\xe3",
    b"\0" * 1000,
    b"x" * (1 << 20),
    b"," * (1 << 20),
    b" " * (1 << 20),
    b"\xe3\x81" * 70_000,
    bytes(range(256)) * 600,
]


def reference(text: str, n: int = 5) -> set[tuple[str, ...]]:
    tokens = TOKEN.findall(text)
    if len(tokens) < n:
        return {tuple(tokens)} if tokens else set()
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def share(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def words(rng: np.random.Generator, n: int) -> list[bytes]:
    return [b"w%d" % i for i in rng.integers(0, 5000, n)]


def copy_of(text: list[bytes], threshold: float, rng: np.random.Generator) -> list[bytes]:
    """So many words changed, each in five shingles, that about ``threshold`` of them are shared."""
    n = len(text)
    n_changed = round(n * (1 - threshold) / (5 * (1 + threshold)))
    changed = list(text)
    for i in rng.choice(n // 5 - 1, n_changed, replace=False) * 5 + 4:
        changed[i] = b"changed%d" % i
    return changed


def corpus(rng: np.random.Generator, n: int, n_words: int = 300) -> list[bytes]:
    """``n`` texts, most with copies of all degrees, and small ones."""
    texts: list[list[bytes]] = []
    while len(texts) < n:
        if len(texts) < 20 or rng.random() < 0.3:
            texts.append(words(rng, int(rng.integers(30, n_words))))
        else:
            texts.append(copy_of(texts[rng.integers(len(texts))], rng.uniform(0.4, 1), rng))
    return [b" ".join(text) for text in texts]


@given(TEXTS)
def test_there_are_as_many_shingles_as_different_runs_of_five_tokens(text: str) -> None:
    found = shingles(text.encode())
    assert len(found) == len(reference(text))
    assert (found[1:] > found[:-1]).all()


@given(TEXTS, TEXTS, st.integers(0, 200))
def test_jaccard_is_that_of_plain_sets(one: str, other: str, shared: int) -> None:
    other = one[:shared] + other
    expected = share(reference(one), reference(other))
    assert jaccard(shingles(one.encode()), shingles(other.encode())) == expected


@given(TEXTS)
def test_tokens_are_counted(text: str) -> None:
    assert signature(text.encode())[0] == len(TOKEN.findall(text))


@given(st.text(MIXED, max_size=50))
def test_blanks_only_separate(text: str) -> None:
    spread = re.sub(r"[\0\t\n ]", "  \n\t ", text)
    assert np.array_equal(shingles(text.encode()), shingles(f"\n {spread} ".encode()))


@given(
    st.lists(st.one_of(st.binary(max_size=300), TEXTS.map(str.encode)), max_size=6),
    st.sampled_from([8, 50, 200]),
)
def test_blocks_change_nothing(texts: list[bytes], block_bytes: int) -> None:
    """Bytes that are no UTF-8 included: a large text is looked at in windows, small ones joined."""
    n_tokens, rows = signatures(texts)
    sets = [shingles(text) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "BLOCK_BYTES", block_bytes)
        again, same = signatures(texts)
        assert np.array_equal(n_tokens, again)
        assert np.array_equal(rows, same)
        for text, found in zip(texts, sets, strict=True):
            assert np.array_equal(shingles(text), found)
    for text, count, row in zip(texts, n_tokens, rows, strict=True):
        alone = signature(text)
        assert alone[0] == count
        assert np.array_equal(alone[1], row)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_have_a_signature_and_match_themselves(text: bytes) -> None:
    n_tokens, row = signature(text)
    assert len(row.tobytes()) == 512
    found = shingles(text)
    assert jaccard(found, found) == (1.0 if n_tokens else 0.0)
    assert (row == EMPTY).all() == (n_tokens == 0)
    assert len(candidates(np.stack([row, row]), 0.9)) == (1 if n_tokens else 0)


def test_a_signature_is_the_same_on_every_machine() -> None:
    text = "def f(x):\n    return x + 1  # 日本語のテキスト, " + " ".join(map(str, range(500)))
    row = signature(text.encode())[1]
    assert row.dtype == SIGNATURE
    assert xxhash.xxh3_64_hexdigest(row.tobytes()) == "16b16bf95fceb2b3"


@pytest.mark.parametrize("n_words", [20, 60, 200, 2000])
@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_equal_bins_are_on_average_the_similarity(n_words: int, threshold: float) -> None:
    rng = np.random.default_rng(n_words)
    texts = [words(rng, n_words) for _ in range(150)]
    one = [b" ".join(text) for text in texts]
    other = [b" ".join(copy_of(text, threshold, rng)) for text in texts]
    shares = np.mean(signatures(one)[1] == signatures(other)[1], axis=1)
    true = [jaccard(shingles(a), shingles(b)) for a, b in zip(one, other, strict=True)]
    assert abs(np.mean(shares - true)) < 0.015
    assert np.std(shares - true) < 0.06  # sqrt(0.25 / 128) = 0.044


@pytest.mark.parametrize("threshold", np.arange(0.5, 1, 0.01).tolist())
def test_a_pair_at_the_threshold_comes_up_with_99_percent(threshold: float) -> None:
    n_bands, rows = bands(threshold)
    assert n_bands * rows == N_BINS
    assert 1 - (1 - threshold**rows) ** n_bands > 0.99


@pytest.fixture(scope="module")
def all_pairs() -> tuple[np.ndarray, dict[tuple[int, int], float]]:
    """Signatures of 250 texts, and the similarity of each two by plain sets."""
    texts = corpus(np.random.default_rng(3), 250)
    sets = [reference(text.decode()) for text in texts]
    pairs = itertools.combinations(range(len(texts)), 2)
    return signatures(texts)[1], {(i, j): share(sets[i], sets[j]) for i, j in pairs}


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 0.99])
def test_candidates_hold_the_pairs_that_a_count_of_all_pairs_finds(
    all_pairs: tuple[np.ndarray, dict[tuple[int, int], float]], threshold: float
) -> None:
    rows, true = all_pairs
    found = {tuple(pair) for pair in candidates(rows, threshold).tolist()}
    near = {pair for pair, similarity in true.items() if similarity >= threshold}
    assert len(near) > 5
    assert len(near - found) <= 0.01 * len(near)
    assert all(true[pair] > threshold - 0.35 for pair in found)


def test_with_new_documents_only_their_pairs_are_found() -> None:
    texts = corpus(np.random.default_rng(4), 300)
    rows = signatures(texts)[1]
    whole = candidates(rows, 0.8)
    new = np.zeros(len(texts), bool)
    assert len(candidates(rows, 0.8, new)) == 0
    new[::15] = True
    expected = whole[new[whole].any(axis=1)]
    assert 0 < len(expected) < len(whole)
    assert np.array_equal(candidates(rows, 0.8, new), expected)


@pytest.mark.parametrize("with_new", [False, True])
def test_a_crowd_is_connected_without_comparing_all_with_all(with_new: bool) -> None:
    rng = np.random.default_rng(5)
    first = words(rng, 300)
    texts = [b" ".join(copy_of(first, 0.97, rng)) for _ in range(400)]
    rows = signatures(texts)[1]
    new = np.arange(400) >= 200 if with_new else None
    pairs = candidates(rows, 0.85, new)
    assert len(pairs) < 400 * 399 / 2 / 3
    labels = union(pairs, 400)
    assert (labels[200:] == labels[200]).all()
    assert with_new or not labels.any()


def test_two_families_in_one_crowd_each_have_their_pairs() -> None:
    """All agree in the first band and no two of a family in another one."""
    rng = np.random.default_rng(11)
    rows = rng.integers(0, EMPTY, (2, N_BINS), dtype=np.uint32).repeat(50, axis=0)
    rows[:, :8] = rows[0, :8]
    for number, row in enumerate(rows):
        row.reshape(16, 8)[1:, number % 8] = rng.integers(0, EMPTY, 15)
    labels = union(candidates(rows, 0.85), 100)
    assert labels.tolist() == [0] * 50 + [50] * 50


def test_candidates_read_a_mapped_file_and_do_not_write_it(tmp_path: Path) -> None:
    rows = signatures(corpus(np.random.default_rng(6), 100))[1]
    path = tmp_path / "signatures"
    path.write_bytes(rows.tobytes())
    mapped = np.memmap(path, SIGNATURE, "r", shape=rows.shape)
    assert np.array_equal(candidates(mapped, 0.8), candidates(rows, 0.8))


def test_no_documents_have_no_pairs() -> None:
    for n in (0, 1):
        rows = signatures([b"a text of one"] * n)[1]
        assert candidates(rows, 0.5).shape == (0, 2)


class CancelledError(Exception):
    """A user who cancels."""


def stop_at(n: int) -> Callable[[], None]:
    counter = itertools.count(1)

    def check() -> None:
        if next(counter) == n:
            raise CancelledError

    return check


def test_searching_and_verifying_stop_when_told_and_say_how_far_they_are() -> None:
    texts = corpus(np.random.default_rng(7), 60)
    rows = signatures(texts)[1]
    told: list[tuple[int, int]] = []
    pairs = candidates(rows, 0.7, on_progress=lambda *now: told.append(now))
    assert told == [(i, 32) for i in range(1, 33)]
    with pytest.raises(CancelledError):
        candidates(rows, 0.7, check=stop_at(20))
    told.clear()
    similar = Similarities(texts.__getitem__)
    similar(pairs, on_progress=lambda *now: told.append(now))
    assert told[-1] == (len(pairs), len(pairs))
    with pytest.raises(CancelledError):
        similar(pairs, check=stop_at(2))


@pytest.mark.parametrize("cache_bytes", [0, 5000, 1 << 20])
def test_verified_similarity_is_true_with_any_cache(cache_bytes: int) -> None:
    texts = corpus(np.random.default_rng(8), 80)
    pairs = candidates(signatures(texts)[1], 0.6)
    reads: list[int] = []

    def read(document: int) -> bytes:
        reads.append(document)
        return texts[document]

    found = Similarities(read, cache_bytes=cache_bytes)(pairs)
    expected = [share(reference(texts[i].decode()), reference(texts[j].decode())) for i, j in pairs]
    assert found.tolist() == expected
    assert cache_bytes < 1 << 20 or len(reads) == len(np.unique(pairs))


def test_one_inserted_line_leaves_a_file_of_the_standard_library_above_nine_tenths() -> None:
    """What the first sLLM Trainer missed: its similarity fell with the place of the line."""
    rng = np.random.default_rng(9)
    line = b"    value_of_the_line = another_name(that, nobody, uses)\n"
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted([*folder.glob("*.py"), *folder.glob("[a-m]*/*.py")])
    paths = [path for path in paths if "site-packages" not in path.parts]
    before = [path.read_bytes() for path in paths[:: max(1, len(paths) // 250)]]
    before = [text for text in before if signature(text)[0] >= 200]
    assert len(before) >= 150, sys.version
    n_alike = n_found = 0
    for text in before:
        lines = text.splitlines(keepends=True)
        lines.insert(int(rng.integers(len(lines) + 1)), line)
        after = b"".join(lines)
        n_alike += jaccard(shingles(text), shingles(after)) > 0.9
        n_found += len(candidates(signatures([text, after])[1], 0.9))
    assert n_alike >= 0.99 * len(before)
    assert n_found >= 0.99 * len(before)


def test_below_the_stated_length_one_line_may_be_too_much() -> None:
    """Ten tokens in the middle: 14 shingles are new, 4 are gone."""
    text = [b"w%d" % i for i in range(SHORT_TOKENS)]
    for n, is_alike in ((SHORT_TOKENS, True), (SHORT_TOKENS // 2, False)):
        short = text[:n]
        longer = [*short[: n // 2], *[b"n%d" % i for i in range(10)], *short[n // 2 :]]
        assert (jaccard(*(shingles(b" ".join(t)) for t in (short, longer))) >= 0.9) == is_alike

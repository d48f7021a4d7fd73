"""One training gives every smaller vocabulary, and the comparison counts what is there."""

import random

import numpy as np
import pytest

from sllm_core.errors import Cancelled
from sllm_core.tokenizer import BYTE_VOCAB_SIZE, N_SPECIALS, PATTERNS, byte_tokenizer, train
from sllm_core.vocabulary import SizeRow, advise, compare, cut, sizes_for
from tests.test_tokenizer import corpus


def syllables(n: int, seed: int) -> list[str]:
    """Documents of made-up words of which many occur equally often, so that there are many ties."""
    rng = random.Random(seed)
    parts = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = ["".join(rng.choices(parts, k=rng.randrange(1, 4))) for _ in range(900)]
    ties = " ".join(f"{a}{b} {b}{a}" for a in "xyzXYZ" for b in "wqWQ")
    return [" ".join(rng.choices(words, k=300)) + f"\n{ties}\n" for _ in range(n)]


@pytest.mark.parametrize("split", list(PATTERNS))
@pytest.mark.parametrize("min_frequency", [1, 5])
def test_a_smaller_vocabulary_is_the_beginning_of_a_larger_one(split, min_frequency):
    texts = syllables(15, 3) + corpus(15)
    whole = train(texts, 2000, split=split, min_frequency=min_frequency)
    assert whole.vocab_size > 1000
    for size in (273, 512, 1000):
        small = train(texts, size, split=split, min_frequency=min_frequency)
        assert cut(whole, size).content == small.content
        assert cut(whole, size).sha256 == small.sha256


def test_cutting_to_the_bytes_or_to_more_than_there_is_changes_nothing():
    whole = train(corpus(20), 500)
    assert cut(whole, BYTE_VOCAB_SIZE).content == byte_tokenizer().content
    assert cut(whole, whole.vocab_size) is whole
    assert cut(whole, 10**6) is whole


def test_each_row_counts_what_a_separate_training_would_give():
    learn, held = syllables(20, 1), syllables(5, 2)
    told, never = [], never_in_utf8()
    rows = compare(
        learn, held, [2000, 300, 600], split="llama3", min_frequency=2, d_model=64,
        other_parameters=100_000, on_progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert [row.vocab_size for row in rows[:2]] == [300, 600]
    assert 600 < rows[2].vocab_size <= 2000
    for row in rows:
        made = train(learn, row.vocab_size)
        uses = np.zeros(row.vocab_size, dtype=int)
        for text in learn:
            np.add.at(uses, made.encode(text).astype(int), 1)
        usable = [n for n, part in enumerate(made._bytes) if part and part not in never]
        assert row.never_share == pytest.approx(np.mean(uses[usable] == 0))
        assert row.rare_share == pytest.approx(np.mean((uses[usable] > 0) & (uses[usable] < 10)))
        n_tokens = sum(len(made.encode(text)) for text in held)
        assert row.bytes_per_token == pytest.approx(sum(map(len, held)) / n_tokens)
        table = 64 * row.vocab_size
        assert row.embedding_share == pytest.approx(table / (table + 100_000))
    assert [row.is_advised for row in rows].count(True) == 1
    done = [n for n, _ in told]
    assert done == sorted(done)
    assert {total for _, total in told} == {done[-1]}


def never_in_utf8() -> set[bytes]:
    numbers = [*range(0x800), *(n for n in range(0x800, 0x110000, 61) if not 0xD800 <= n < 0xE000)]
    seen = {byte for n in numbers for byte in chr(n).encode()}
    return {bytes([byte]) for byte in range(256) if byte not in seen}


def test_sizes_that_the_sample_does_not_fill_are_replaced_by_what_it_reaches():
    rows = compare(
        corpus(5), corpus(2), [350, 8000, 50_000], split="gpt2", min_frequency=2, d_model=64,
        other_parameters=10_000,
    )  # fmt: skip
    most = train(corpus(5), 50_000, split="gpt2").vocab_size
    assert 350 < most < 8000
    assert [row.vocab_size for row in rows] == [350, most]


def test_of_a_sample_the_uses_are_taken_for_the_whole_text():
    learn, held = corpus(10), corpus(2)
    n_bytes = sum(len(text.encode()) for text in learn)
    shares = []
    for text_bytes in (0, n_bytes, 2 * n_bytes, 10 * n_bytes):
        (found,) = compare(
            learn, held, [600], split="gpt2", min_frequency=2, d_model=8, other_parameters=1,
            text_bytes=text_bytes,
        )  # fmt: skip
        shares.append(found.rare_share)
    assert shares[0] == shares[1] > shares[2] > shares[3] == 0


def test_it_stops_between_the_steps():
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        compare(
            corpus(5), corpus(2), [300, 400], split="gpt2", min_frequency=2, d_model=8,
            other_parameters=1, check=check,
        )  # fmt: skip


def test_the_usual_sizes_end_with_the_largest_that_is_asked_for():
    assert sizes_for(16_000) == (1000, 2000, 4000, 8000, 16_000)
    assert sizes_for(20_000) == (1000, 2000, 4000, 8000, 16_000, 20_000)
    assert sizes_for(500) == (500,)
    assert sizes_for(100_000)[-2:] == (50_000, 100_000)


def row(size: int, per_token: float, rare: float = 0.0) -> SizeRow:
    return SizeRow(size, per_token, 0.0, rare, 0.0)


CURVE = [row(1000, 2.4), row(2000, 2.8), row(4000, 3.2), row(8000, 3.6), row(16_000, 3.9)]


@pytest.mark.parametrize(
    ("d_model", "other", "expected"),
    [(64, 10**5, 1000), (64, 10**6, 4000), (256, 10**7, 8000), (256, 10**9, 16_000)],
)
def test_the_size_at_which_a_byte_costs_least_is_advised(d_model, other, expected):
    costs = {r.vocab_size: (other + d_model * r.vocab_size) / r.bytes_per_token for r in CURVE}
    assert min(costs, key=costs.__getitem__) == expected
    (advised,) = [r for r in advise(CURVE, d_model, other) if r.is_advised]
    assert advised.vocab_size == expected
    assert advised.reason.endswith(".")
    assert advised.reason.startswith(f"{expected:,} tokens")


def test_the_reason_is_a_sentence_with_the_next_size_and_what_it_trades():
    (advised,) = [r for r in advise(CURVE, 256, 10_000_000) if r.is_advised]
    assert advised.reason == (
        "8,000 tokens: 16,000 would cut the text into 7.7 % fewer tokens and make the model "
        "17.0 % larger."
    )
    (advised,) = [r for r in advise(CURVE, 256, 10**9) if r.is_advised]
    assert advised.reason == (
        "16,000 tokens, the most that was compared: against 8,000 they cut the text into 7.7 % "
        "fewer tokens and make the model 0.2 % larger."
    )
    (advised,) = advise(CURVE[:1], 256, 10**9)
    assert advised.reason == "1,000 tokens."


def test_sizes_whose_tokens_are_hardly_used_are_not_advised():
    rows = [*CURVE[:3], row(8000, 3.6, 0.41), row(16_000, 3.9, 0.6)]
    (advised,) = [r for r in advise(rows, 256, 10**9) if r.is_advised]
    assert advised.vocab_size == 4000
    assert ", and 41 % of them are used fewer than 10 times." in advised.reason
    (advised,) = [r for r in advise([row(1000, 2, 0.5), row(2000, 3, 0.9)], 8, 10) if r.is_advised]
    assert advised.vocab_size == 1000


def test_special_tokens_are_not_among_those_that_could_be_used():
    (only,) = compare(
        ["abc " * 50],
        ["abc"],
        [272],
        split="llama3",
        min_frequency=2,
        d_model=8,
        other_parameters=1,
    )
    n_seen = len(set(b"abc "))
    assert only.never_share == pytest.approx(1 - n_seen / (256 - 13))
    assert only.vocab_size - N_SPECIALS == 256
    assert only.bytes_per_token == 1

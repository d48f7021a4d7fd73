"""A text is compared with the other files, never with itself; gibberish has no words in common."""

import json
import math
import random
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.corpus import likeness
from sllm_core.corpus.likeness import LikenessError, build, load, save
from sllm_core.corpus.spans import find_words, piece

FOLDER = Path(sysconfig.get_paths()["stdlib"])
TEXTS = [
    path.read_bytes().replace(b"\r\n", b"\n")
    for path in sorted((FOLDER / "email").glob("*.py")) + sorted((FOLDER / "json").glob("*.py"))
]


def gibberish(seed, n_words=800):
    source = random.Random(seed)
    return " ".join(
        "".join(source.choice("bdfgklmnprstvz") + source.choice("aeiou") for _ in range(source.randint(2, 4)))
        for _ in range(n_words)
    ).encode()  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return build([*TEXTS, *(gibberish(seed) for seed in range(4))])


def slow_bits(text, others):
    """The formula of the model with dictionaries, counted from its pieces anew."""
    tri = Counter(other[i : i + 3] for other in others for i in range(len(other) - 2))
    pairs, singles = Counter(), Counter()
    for key, n in tri.items():
        pairs[key[:2]] += n
        singles[key[:1]] += n
    total, bits = sum(singles.values()), 0.0
    codes = [text[i : i + 3] for i in range(len(text) - 2)]
    for key in codes:
        p1 = (singles[key[2:]] + 1) / (total + 256)
        p2 = (pairs[key[1:]] + 4 * p1) / (singles[key[1:2]] + 4)
        bits -= math.log2((tri[key] + 4 * p2) / (pairs[key[:2]] + 4))
    return bits / len(codes)


DOCUMENTS = st.lists(st.binary(min_size=3, max_size=40), min_size=1, max_size=5, unique=True)


@given(DOCUMENTS, st.binary(min_size=3, max_size=40))
@settings(max_examples=8, deadline=None)
def test_bits_are_those_of_the_formula_without_the_text_itself(documents, other):
    model = build(documents, with_prior=False)
    for text in [documents[0], other]:
        others = [document for document in documents if document != text]
        assert model.compare(text).bits_per_byte == pytest.approx(slow_bits(text, others))


@pytest.mark.parametrize("with_prior", [False, True])
def test_leaving_one_out_is_a_model_without_it(with_prior):
    documents = [*TEXTS[:6], gibberish(1)]
    whole = build(documents, with_prior=with_prior)
    for i in (0, 6):
        without = build(documents[:i] + documents[i + 1 :], with_prior=with_prior)
        assert whole.weight == without.weight  # else the counts would differ by more than one text
        got, wanted = whole.compare(documents[i]), without.compare(documents[i])
        assert got == pytest.approx(wanted)


def test_a_text_of_the_standard_library_does_not_vouch_for_itself():
    text = (FOLDER / "argparse.py").read_bytes()
    prior = build([])
    assert prior.weight == 16 and len(prior.prior) > 50
    own = prior.compare(text)
    altered = prior.compare(text + b"#")  # a text of its own: the original in the prior counts
    assert altered.bits_per_byte < own.bits_per_byte - 0.05
    assert altered.known_words > own.known_words


def test_copies_count_once():
    once, twice = build(TEXTS[:3]), build([*TEXTS[:3], TEXTS[0], TEXTS[0]])
    assert once.version == twice.version and once.n_documents == twice.n_documents == 3
    assert np.array_equal(once.trigrams, twice.trigrams)


def test_real_text_has_words_in_common_and_gibberish_has_not(model):
    for text in TEXTS:
        if len(text) > 2000:
            found = model.compare(text)
            assert found.known_words > 0.6 and found.common_words > 0.4
            assert found.bits_per_byte < 4.5
    for seed in (0, 1, 77):
        found = model.compare(gibberish(seed))
        assert found.known_words < 0.3 and found.common_words < 0.08
        assert found.bits_per_byte > 4.2


def test_words_end_where_letters_end_and_at_the_humps_of_code():
    def same(one, other):
        return np.array_equal(find_words(one).hashes, find_words(other).hashes)

    assert same(b"getElementName(foo_bar)", b"get element NAME foo bar")
    assert same(b"HTTPServer a1b", b"httpserver")  # two letters are no word; no hump in HTTPS
    assert not same(b"abc def", b"abcdef")
    assert not same("für".encode(), b"fur")
    assert len(find_words(b"").hashes) == len(find_words(b"ab").hashes) == 0
    assert find_words(b"abc 123\n").share == pytest.approx(0.5)


def test_a_long_text_is_compared_by_parts_of_it(model):
    text = b"".join(TEXTS) * 20
    assert len(piece(text, likeness.SHARE_BYTES)) <= likeness.SHARE_BYTES + 2
    assert build([text]).compare(text) == build([]).compare(text)


@given(st.text(min_size=1, max_size=400), st.integers(3, 300))
def test_parts_hold_whole_characters_of_the_text(text, limit):
    data = text.encode("utf-8", "replace")
    part = piece(data, limit)
    part.decode("utf-8")
    assert len(part) <= max(limit + 2, len(data)) and (len(data) > limit or part == data)


def test_the_bits_can_be_left_out(model):
    found = model.compare(TEXTS[0], with_bits=False)
    assert math.isnan(found.bits_per_byte) and found[1:] == model.compare(TEXTS[0])[1:]


@pytest.mark.parametrize(
    "data", [b"", b"a", b"ab", b"\0" * 100_000, b"\xff" * 1000, b"a" * 200_000]
)
def test_odd_texts_have_numbers(model, data):
    found = model.compare(data)
    assert all(math.isfinite(value) for value in found)
    build([data, data[:1]], with_prior=False).compare(data)


def test_a_model_without_any_text_answers():
    assert build([], with_prior=False).compare(b"some words here").bits_per_byte == pytest.approx(8)


def test_a_sample_ends_by_itself_and_can_be_cancelled(monkeypatch):
    monkeypatch.setattr(likeness, "SAMPLE_BYTES", 10_000)
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield str(taken).encode()

    assert build(endless(), with_prior=False).n_documents == len(taken) < 10_000

    def cancel():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(TEXTS, cancel, with_prior=False)


def test_a_stored_model_is_the_same_and_shares_its_tables(tmp_path, model):
    save(model, tmp_path)
    again = load(tmp_path)
    assert again.version == model.version and isinstance(again.trigrams, np.memmap)
    assert all(again.compare(text) == model.compare(text) for text in TEXTS[:5])
    other = build(TEXTS[:2])
    save(other, tmp_path)  # while the first one is mapped
    assert load(tmp_path).version == other.version != model.version
    assert again.compare(TEXTS[0]) == model.compare(TEXTS[0])
    assert len(list(tmp_path.glob("*.npy"))) == 4


def rewrite(path, data):
    path.unlink()  # it is a second name of a file that others use
    path.write_bytes(data)


def damage_table(folder):
    path = next(folder.glob("words-*.npy"))
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    rewrite(path, data)


def facts_with(**changes):
    def change(folder):
        facts = json.loads((folder / "model.json").read_text()) | changes
        rewrite(folder / "model.json", json.dumps(facts).encode())

    return change


DAMAGES = {
    "flipped bit": damage_table,
    "table gone": lambda folder: next(folder.glob("trigrams-*.npy")).unlink(),
    "short table": lambda folder: rewrite(next(folder.glob("words-*.npy")), b"\x93NUMPY"),
    "no facts": lambda folder: (folder / "model.json").unlink(),
    "no json": lambda folder: rewrite(folder / "model.json", b"{"),
    "deep json": lambda folder: rewrite(folder / "model.json", b"[" * 100_000),
    "another version": facts_with(likeness_version="0"),
    "a path": facts_with(version="../../x"),
    "no hashes": facts_with(hashes=None),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_is_refused(tmp_path, stored, damage):
    for path in stored.iterdir():
        (tmp_path / path.name).hardlink_to(path)
    load(tmp_path)
    damage(tmp_path)
    with pytest.raises(LikenessError):
        load(tmp_path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("likeness")
    save(model, folder)
    return folder

"""Every encoder gives the ids of `tokenizers`, or is not used."""

import json
import random
import re
import sys
import unicodedata

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sllm_core import engines, tokenizer
from sllm_core.engines import HOSTILE_TEXTS, LADDER, LONG_TEXTS, UNICODE_17
from sllm_core.tokenizer import PATTERNS, SPECIALS, Tokenizer, build_content, byte_tokenizer, train
from tests.helpers import run_python
from tests.test_tokenizer import GOOD, NASTY, corpus

SPLITS = list(PATTERNS)


def has(name: str) -> bool:
    return name != "gigatoken" or engines.importlib.util.find_spec(name) is not None


NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(not has(name), reason=f"{name} is not installed"))
    for name in LADDER
]


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {split: train(corpus(), 900, split=split) for split in SPLITS}


@pytest.fixture(scope="module")
def by_engine(trained) -> dict[tuple[str, str], Tokenizer]:
    return {
        (split, name): Tokenizer(made.content, [name])
        for split, made in trained.items()
        for name in LADDER
        if has(name)
    }


def library_ids(made: Tokenizer, texts: list[str]) -> list[list[int]]:
    """By a plain `tokenizers` that knows the special tokens and is told to leave them in the text."""
    library = tokenizers.Tokenizer.from_str(json.dumps(made.content))
    library.encode_special_tokens = True
    found = library.encode_batch_fast(texts, add_special_tokens=False)
    return [one.ids for one in found]


def rows(flat, lengths) -> list[list[int]]:
    """A batch as lists."""
    assert (flat.dtype, lengths.dtype) == (np.uint32, np.int64)
    assert lengths.sum() == len(flat)
    ends = np.cumsum(lengths)
    return [flat[end - n : end].tolist() for end, n in zip(ends, lengths, strict=True)]


def odd_texts(n: int, seed: int) -> list[str]:
    """Random characters of every category, with what cuts words between them."""
    rng = random.Random(seed)
    kinds: dict[str, list[str]] = {}
    for number in range(0, 0x110000, 7):
        if not 0xD800 <= number < 0xE000:
            kinds.setdefault(unicodedata.category(chr(number)), []).append(chr(number))
    glue = [
        *" \n\r\tsStTmd'a0_-.<|",
        "'s",
        "'LL",
        "\r\n",
        "\u017f",
        "'\u017f",
        "  ",
        "\x85",
        "\ufeff",
    ]
    return [
        "".join(
            rng.choice(glue) if rng.random() < 0.4 else rng.choice(kinds[rng.choice(list(kinds))])
            for _ in range(rng.randrange(60))
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_each_encoder_gives_the_ids_of_the_library(by_engine, split, name):
    made = by_engine[split, name]
    assert made.engine == name
    assert re.fullmatch(r"\d+\.\d+\.\d+", made.engine_version)
    texts = [*HOSTILE_TEXTS, *NASTY, *corpus(20), *odd_texts(1500, 1), "".join(SPECIALS), *SPECIALS]
    texts += [engines.NO_SPECIAL, f"a{engines.NO_SPECIAL * 3} b"]
    expected = library_ids(made, texts)
    assert [made.encode(text).tolist() for text in texts] == expected
    assert rows(*made.encode_batch(texts)) == expected
    assert rows(*made.encode_batch([text.encode() for text in texts])) == expected
    assert min(map(min, filter(None, expected))) >= len(SPECIALS)
    assert [made.decode(ids) for ids in expected] == texts


@pytest.mark.parametrize("name", NAMES)
def test_very_long_words_and_blanks_are_no_exception(by_engine, name):
    made = by_engine["llama3", name]
    found = rows(*made.encode_batch(LONG_TEXTS))
    assert [made.decode(ids) for ids in found] == list(LONG_TEXTS)
    assert found == rows(*by_engine["llama3", "tokenizers"].encode_batch(LONG_TEXTS))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=8))
@example(["", "a\ud800b", "\ud800"])
@example(["\U000323b0's", "abc", "", "\u088f1"])
def test_a_batch_is_its_documents_one_by_one_whatever_they_hold(by_engine, texts):
    for split in SPLITS:
        expected = [by_engine[split, "tokenizers"].encode(text).tolist() for text in texts]
        for (its_split, _), made in by_engine.items():
            if its_split == split:
                assert rows(*made.encode_batch(texts)) == expected
                assert [made.encode(text).tolist() for text in texts] == expected


def test_an_empty_batch_and_empty_documents_have_no_ids(by_engine):
    for made in [*by_engine.values(), byte_tokenizer()]:
        assert rows(*made.encode_batch([])) == []
        assert rows(*made.encode_batch(["", "", ""])) == [[], [], []]
        assert rows(*made.encode_batch([b"", b"a"])) == [[], made.encode("a").tolist()]


def test_plain_bytes_give_a_batch_as_the_others_do():
    made = byte_tokenizer()
    assert rows(*made.encode_batch(["aé", "", "[EOS]"])) == [
        made.encode("aé").tolist(), [], [16 + byte for byte in b"[EOS]"],
    ]  # fmt: skip


# Classes of characters


def boundary_tokenizer(split: str) -> Tokenizer:
    """Merges that show on which side of each character a word is cut."""
    letters = {byte: letter for letter, byte in tokenizer.byte_letters().items()}
    pairs = [(letters[a], letters[lead]) for a in b"a1-\n " for lead in range(0xC2, 0xF5)]
    return Tokenizer(build_content(["".join(pair) for pair in pairs], pairs, split), LADDER)


def disagreeing(made: Tokenizer, numbers: list[int]) -> list[int]:
    """Characters at which gigatoken itself cuts in another place than the library."""
    quick = engines.Gigatoken(made._ladder.book, made._ladder.exact)
    quick._is_disputed = lambda _: False
    texts = [f"a{c}b 1{c}2 -{c}- \n{c}\n {c}x" for c in map(chr, numbers)]
    mine, its = rows(*quick.encode_batch(texts)), library_ids(made, texts)
    return [n for n, a, b in zip(numbers, mine, its, strict=True) if a != b]


@pytest.mark.skipif(not has("gigatoken"), reason="gigatoken is not installed")
@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_the_libraries_differ_about_the_letters_of_unicode_17_and_no_others(step):
    known = {n for first, last in UNICODE_17 for n in range(first, last + 1)}
    seen = {*range(0x80, 0x35000, step), *range(0x35000, 0x110000, 97)}  # nothing is there yet
    seen -= set(range(0xD800, 0xE000))
    numbers = sorted(seen | {n for n in known if n % 13 < 2})
    made = boundary_tokenizer("llama3")
    for first in range(0, len(numbers), 20_000):
        part = numbers[first : first + 20_000]
        assert set(disagreeing(made, part)) == known & set(part)


def test_the_letters_of_unicode_17_are_found_in_utf_8_and_nothing_else_is():
    known = {n for first, last in UNICODE_17 for n in range(first, last + 1)}
    pattern = engines.newer_letters()
    for number in [*range(0x20000), *range(0x2B700, 0x2D000), *range(0x32000, 0x34000)]:
        if not 0xD800 <= number < 0xE000:
            data = f"é{chr(number)}日".encode()
            assert (pattern.search(data) is not None) == (number in known)


# Encoders that lie


class Liar(engines.Tiktoken):
    """Right about everything but foxes, and about batches or single texts only as it is told."""

    name = "gigatoken"
    about, is_single, is_batch = "fox trot", True, True

    def encode(self, text):
        return super().encode(text.replace(self.about, "dog") if self.is_single else text)

    def encode_batch(self, texts):
        if not self.is_batch:
            return super().encode_batch(texts)
        return super().encode_batch([t.replace(self.about.encode(), b"dog") for t in texts])


@pytest.fixture
def fresh(monkeypatch, trained):
    """Content that no encoder of this process was compared on yet."""
    monkeypatch.setattr(engines, "_agreed", {})
    return trained["llama3"].content


def test_an_encoder_that_lies_about_a_hostile_text_is_never_used(fresh, monkeypatch):
    monkeypatch.setattr(engines, "Gigatoken", type("L", (Liar,), {"about": "def"}))
    assert Tokenizer(fresh).engine == "tiktoken"
    monkeypatch.setattr(
        engines, "Tiktoken", type("M", (Liar,), {"about": "def", "name": "tiktoken"})
    )
    assert Tokenizer(fresh).engine == "tiktoken"  # the verdict of this version is remembered
    engines._agreed.clear()
    assert Tokenizer(fresh).engine == "tokenizers"


@pytest.mark.parametrize("kind", ["is_single", "is_batch"])
def test_an_encoder_that_lies_about_the_users_text_is_replaced(fresh, monkeypatch, kind):
    monkeypatch.setattr(engines, "LONG_TEXTS", ())
    other = {"is_single": "is_batch", "is_batch": "is_single"}[kind]
    monkeypatch.setattr(engines, "Gigatoken", type("L", (Liar,), {other: False}))
    made = Tokenizer(fresh)
    assert made.engine == "gigatoken"
    assert made.prove_engine(["no such word"])
    is_found = not made.prove_engine(["no such word", "a fox trot"])
    assert is_found == (kind == "is_batch")  # which is how the data is encoded
    if is_found:
        assert made.engine == "tiktoken"
        assert Tokenizer(fresh).engine == "tiktoken"
        assert made.decode(made.encode("a fox trot")) == "a fox trot"
        assert made.prove_engine(["a fox trot"])


def test_all_that_lie_about_the_users_text_are_replaced(fresh, monkeypatch):
    monkeypatch.setattr(engines, "LONG_TEXTS", ())
    monkeypatch.setattr(engines, "Gigatoken", Liar)
    monkeypatch.setattr(engines, "Tiktoken", type("M", (Liar,), {"name": "tiktoken"}))
    made = Tokenizer(fresh)
    assert not made.prove_engine(["a fox trot"])
    assert made.engine == "tokenizers"
    assert made.prove_engine(["a fox trot"])


@pytest.mark.parametrize("text", [*SPECIALS, "ab" * 100_000])
def test_a_lie_about_a_special_spelling_or_a_long_text_is_seen(fresh, monkeypatch, text):
    monkeypatch.setattr(engines, "Gigatoken", type("L", (Liar,), {"about": text}))
    made = Tokenizer(fresh)
    if len(text) > 100:
        assert made.engine == "gigatoken"
        assert not made.prove_engine([])
    assert made.engine == "tiktoken"


class Panic(BaseException):
    """As a Rust panic arrives in Python."""


@pytest.mark.parametrize("place", ["__init__", "encode"])
def test_an_encoder_that_panics_is_not_used(fresh, monkeypatch, place):
    def fail(*_):
        raise Panic

    monkeypatch.setattr(engines, "Gigatoken", type("L", (Liar,), {place: fail}))
    assert Tokenizer(fresh).engine == "tiktoken"


def test_only_what_can_be_replaced_is_compared():
    def never():
        raise AssertionError("asked")
        yield

    assert byte_tokenizer().prove_engine(never())
    assert Tokenizer(train(corpus(20), 400).content, ["tokenizers"]).prove_engine(never())


def test_a_token_that_the_merges_do_not_build_stops_encoders_that_use_it(fresh):
    """tiktoken takes a word that is a token as it is; the library only with `ignore_merges`."""
    content = json.loads(json.dumps(GOOD["qwen2"]))
    vocab, added = content["model"]["vocab"], content["added_tokens"]
    vocab["zzqx"] = max(item["id"] for item in added) + 1
    made = Tokenizer(content)
    assert made.decode(made.encode("zzqx")) == "zzqx"
    assert made.encode("zzqx").tolist() == library_ids(made, ["zzqx"])[0]
    assert len(made.encode("zzqx")) == 4
    assert Tokenizer(content, ["tiktoken"]).engine == "tokenizers"


def test_a_special_token_that_is_a_word_of_the_vocabulary_is_never_made_from_text(fresh):
    content = json.loads(json.dumps(GOOD["llama3"]))
    added = content["added_tokens"]
    for item in added:
        content["model"]["vocab"][item["content"]] = item["id"]
    added[1]["content"] = "word"
    content["model"]["vocab"]["word"] = content["model"]["vocab"].pop("<|im_start|>")
    for name in ["gigatoken", "tiktoken", "tokenizers"]:
        made = Tokenizer(content, [name])
        for text in ("word", "a word", " word<|end_of_text|>", "<tool_call>word"):
            ids = made.encode(text)
            assert not made.special_ids & set(ids.tolist())
            assert made.decode(ids) == text


# What is not installed


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("gigatoken", "tiktoken"), ("awkward", "tiktoken"), ("gigatoken,tiktoken", "tokenizers")],
)
def test_what_is_not_installed_is_passed_over(trained, tmp_path, missing, expected):
    made = trained["llama3"]
    made.save(tmp_path)
    program = (
        "import sys\n"
        "from importlib import metadata, util\n"
        "missing = sys.argv[2].split(',')\n"
        "version, find = metadata.version, util.find_spec\n"
        "def no_version(name):\n"
        "    if name in missing: raise metadata.PackageNotFoundError(name)\n"
        "    return version(name)\n"
        "metadata.version = no_version\n"
        "util.find_spec = lambda name, *a: None if name in missing else find(name, *a)\n"
        "sys.modules.update(dict.fromkeys(missing))\n"
        "from pathlib import Path; from sllm_core import tokenizer as t\n"
        "made = t.load(Path(sys.argv[1]))\n"
        "print(made.engine, made.encode('the quick [EOS]').tolist())"
    )
    done = run_python(program, tmp_path / "tokenizer.json", missing)
    assert done.stdout.strip() == f"{expected} {made.encode('the quick [EOS]').tolist()}", (
        done.stderr
    )


@pytest.mark.skipif(not has("gigatoken"), reason="gigatoken is not installed")
def test_on_windows_and_with_another_version_gigatoken_is_passed_over(fresh, monkeypatch):
    assert Tokenizer(fresh).engine == "gigatoken"
    monkeypatch.setattr(engines, "_CHECKED_GIGATOKEN", {"0.9.9"})
    assert Tokenizer(fresh).engine == "tiktoken"
    monkeypatch.undo()
    monkeypatch.setattr(sys.modules["os"], "name", "nt")
    assert Tokenizer(fresh).engine == "tiktoken"


@pytest.mark.skipif(not has("gigatoken"), reason="gigatoken is not installed")
def test_gigatoken_begins_anew_when_its_memory_of_words_has_grown(trained, monkeypatch):
    made = Tokenizer(trained["llama3"].content, ["gigatoken"])
    engine = made._ladder.engine
    sizes = iter([100, 100 + engines.CACHE_BYTES, 101 + engines.CACHE_BYTES, 50, 60])
    monkeypatch.setattr(engines.hardware, "own_memory", lambda: next(sizes))
    monkeypatch.setattr(engines, "_LOOK_EVERY", 1000)
    expected = made.encode("the quick brown").tolist()  # the first look: where it begins
    first = engine._backend
    made.encode("short")
    made.encode_batch([b"x" * 1500])
    assert engine._backend is first
    made.encode("x" * 1500)
    assert engine._backend is not first
    assert made.encode("the quick brown").tolist() == expected
    again = engine._backend
    made.encode_batch(["x" * 1500])
    assert engine._backend is again

"""Text to tokens and back loses nothing, and text never becomes a special token."""

import copy
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, models, pre_tokenizers, trainers

from sllm_core import foreign, tokenizer
from sllm_core.errors import TokenizerError
from sllm_core.tokenizer import (
    BYTE_VOCAB_SIZE,
    PATTERNS,
    SPECIALS,
    Tokenizer,
    advise_vocab_size,
    byte_tokenizer,
    train,
    training_piece,
)
from tests.helpers import run_python

WORDS = "the quick brown fox jumps over lazy dogs It's DON'T we'll def return import 1234 56 αβγ 日本 é\n"
SPLITS = list(PATTERNS)
NASTY = [
    *tokenizer.HOSTILE_TEXTS,
    "".join(SPECIALS),
    " ".join(SPECIALS) + "\n<|endoftext|>",
    "".join(map(chr, range(0x180))),
    "e" + "\u0301" * 500,
    "\U0001f468\u200d\U0001f469" * 50,
    "ab" * 20_000,
    "1" * 999,
    "\t \t" * 300 + "x",
    "\x85\u2028\u2029\x1c\x1d\x0b\x0c",
]


def corpus(n: int = 120) -> list[str]:
    """Documents with indented lines, numbers, other scripts, Windows lines and special spellings."""
    rng, words = random.Random(7), WORDS.split(" ")
    texts = []
    for number in range(n):
        lines = [
            " " * 4 * rng.randrange(3) + " ".join(rng.choices(words, k=rng.randrange(1, 12)))
            for _ in range(40)
        ]
        texts.append("\n".join(lines) + f"\r\n{number} [EOS] <|end|>\n\n")
    return texts


@pytest.fixture(scope="module", params=SPLITS)
def trained(request) -> Tokenizer:
    return train(corpus(), 700, split=request.param)


@pytest.fixture(scope="module")
def all_five():
    """Each split trained, one plain-byte tokenizer, one with the slowest encoder."""
    made = {split: train(corpus(), 700, split=split) for split in SPLITS}
    exact = Tokenizer(made["llama3"].content, ["tokenizers"])
    return made | {"bytes": byte_tokenizer(), "tokenizers": exact}


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=200))
@example("\ud7ff\ue000\U0010ffff")
def test_every_text_comes_back(all_five, text):
    for made in all_five.values():
        ids = made.encode(text)
        assert ids.dtype == np.uint32
        assert made.decode(ids) == text
        assert made.decode_bytes(ids) == text.encode()


@pytest.mark.parametrize("text", NASTY)
def test_nasty_texts_come_back_and_hold_no_special_token(all_five, text):
    for made in all_five.values():
        ids = made.encode(text)
        assert made.decode(ids) == text
        assert not set(ids.tolist()) & set(range(16))


def test_every_byte_has_a_token_of_its_own_and_every_byte_string_is_decoded(all_five):
    rng = random.Random(1)
    for made in all_five.values():
        ids = {made._bytes[number]: number for number in range(16, 272)}
        assert sorted(ids) == [bytes([n]) for n in range(256)]
        for size in (1, 2, 7, 300):
            data = rng.randbytes(size)
            assert made.decode_bytes([ids[bytes([byte])] for byte in data]) == data


def test_special_ids_are_0_to_15_and_mean_no_bytes(all_five):
    names = "[PAD] [UNK] [BOS] [EOS] <|system|> <|user|> <|assistant|> <|end|>".split()
    for made in all_five.values():
        assert [made.specials[name] for name in names] == list(range(8))
        assert sorted(made.specials.values()) == list(range(16))
        assert (made.eos_id, made.end_id) == (3, 7)
        assert made.token_bytes()[:16].tolist() == [0] * 16
        assert all(made.token_bytes()[16:] > 0)
        assert len(made.token_bytes()) == made.vocab_size
        assert made.decode([3, 0, 7]) == ""


def test_ids_equal_those_of_the_library_on_the_saved_file(all_five, tmp_path):
    for name, made in all_five.items():
        made.save(tmp_path / name)
        library = tokenizers.Tokenizer.from_file(str(tmp_path / name / "tokenizer.json"))
        library.encode_special_tokens = True
        for text in [*NASTY, *corpus(30)]:
            expected = library.encode(text, add_special_tokens=False).ids
            assert made.encode(text).tolist() == expected
        assert tokenizer.load(tmp_path / name / "tokenizer.json").sha256 == made.sha256
        assert len((tmp_path / name / "vocab.txt").read_text().splitlines()) == made.vocab_size


def test_ids_equal_those_of_tiktoken(trained):
    content = trained.content["model"]["vocab"]
    letters = tokenizer.byte_letters()
    ranks = {bytes(letters[c] for c in t): n for t, n in content.items() if n >= 16}
    bare = tiktoken.Encoding(
        "x", pat_str=PATTERNS[trained.split], mergeable_ranks=ranks, special_tokens={}
    )
    for text in [*NASTY, *corpus(30)]:
        assert trained.encode(text).tolist() == bare.encode_ordinary(text)


def test_training_equals_the_librarys_trainer_on_whole_documents(trained):
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[trained.split]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=700 - 16, min_frequency=2, max_token_length=64, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    model = json.loads(library.to_str())["model"]
    assert trained.content["model"]["merges"] == model["merges"]
    assert len(model["merges"]) > 80
    theirs = sorted((number, token) for token, number in model["vocab"].items())
    ours = sorted((n, t) for t, n in trained.content["model"]["vocab"].items() if n >= 16)
    assert [t for _, t in ours][256:] == [t for _, t in theirs][256:]
    assert trained.vocab_size == len(theirs) + 16


def test_a_token_may_cross_a_line_because_documents_are_fed_whole():
    made = train(["def f():\n    return\n" * 50] * 9, 320)
    assert any(b"\n" in part and part.strip() != part for part in made._bytes)


def test_the_minimum_frequency_prunes_the_vocabulary():
    sizes = [train(corpus(20), 2000, min_frequency=n).vocab_size for n in (2, 50, 10**6)]
    assert sizes[0] > sizes[1] > sizes[2] == BYTE_VOCAB_SIZE


def test_progress_counts_true_bytes_and_tells_feeding_from_merging():
    told = []
    texts = [*corpus(5), "é日本" * 10, ""]
    train(texts, 300, on_bytes=told.append, on_phase=told.append)
    sizes = np.cumsum([len(text.encode()) for text in texts]).tolist()
    assert told == ["feeding", *sizes, "merging"]


@pytest.mark.parametrize(
    ("target", "n_bytes", "expected"),
    [
        (16_000, 10**9, 16_000), (16_000, 3_200_000, 16_000), (16_000, 3_199_800, 15_999),
        (16_000, 1_000_000, 5000), (16_000, 100_000, 500), (16_000, 0, 272), (300, 10_000, 272),
        (272, 0, 272), (544, 200 * 544, 544), (545, 200 * 544, 544), (545, 200 * 543, 543), (500, 200 * 335, 272),
    ],
)  # fmt: skip
def test_advice_is_two_hundred_bytes_of_text_a_token(target, n_bytes, expected):
    size, reason = advise_vocab_size(target, n_bytes)
    assert size == expected
    assert (reason == "as set") == (size == target)


@given(st.text(alphabet="ab\n", max_size=60), st.integers(0, 50))
def test_a_training_piece_is_the_beginning_cut_at_a_line(text, limit):
    piece = training_piece(text, limit)
    assert text.startswith(piece)
    assert len(piece) <= max(limit, 0) or piece == text
    if len(text) > limit and "\n" in text[1:limit]:
        assert piece.endswith("\n")


# Without the library


def test_without_the_library_bytes_still_work():
    program = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from sllm_core import tokenizer as t\n"
        "assert not t.has_library()\n"
        "made = t.train(['some text'] * 99, 5000)\n"
        "assert made.vocab_size == 272 and made.engine == 'bytes'\n"
        "for text in t.HOSTILE_TEXTS:\n"
        "    assert made.decode(made.encode(text)) == text\n"
        "    assert not set(made.encode(text).tolist()) & set(range(16))\n"
        "print('fine', t.byte_tokenizer().sha256)"
    )
    done = run_python(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["fine", byte_tokenizer().sha256]


def test_a_file_with_merges_names_the_missing_library(tmp_path, trained):
    trained.save(tmp_path)
    program = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from pathlib import Path; from sllm_core import tokenizer as t\n"
        "t.load(Path(sys.argv[1]))"
    )
    done = run_python(program, tmp_path / "tokenizer.json")
    assert "E-TOK-MISSING" in done.stderr
    assert "pip install tokenizers" in done.stderr


# Files of strangers


def bytes_in_their_order() -> list[str]:
    """GPT-2's order: printable bytes first."""
    return list(tokenizer.byte_letters())


def like_gpt2() -> dict:
    """As GPT-2's file: no specials at the front, an end-of-text token that is in the vocabulary too."""
    letters = bytes_in_their_order()
    merges = ["Ġ t", "h e", "Ġt he"]
    tokens = [*letters, "Ġt", "he", "Ġthe", "<|endoftext|>"]
    special = {"id": 259, "content": "<|endoftext|>", "single_word": False, "lstrip": False}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [special | {"rstrip": False, "normalized": True, "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "model": {
            "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)}, "merges": merges,
        },
    }  # fmt: skip


def like_modern(split: str, eos: str, **model) -> dict:
    """As Qwen2's and Llama 3's files: special tokens behind the vocabulary, outside of it."""
    made = like_gpt2()
    del made["model"]["vocab"]["<|endoftext|>"]
    names = [eos, "<|im_start|>", "<tool_call>"]
    made["added_tokens"] = [
        {"id": 259 + n, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": n < 2}
        for n, name in enumerate(names)
    ]  # fmt: skip
    made["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERNS[split]}, "behavior": "Isolated",
             "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
             "use_regex": False},
        ],
    }  # fmt: skip
    made["model"] |= {"type": "BPE", "byte_fallback": False, **model}
    made["model"]["merges"] = [merge.split(" ") for merge in made["model"]["merges"]]
    return made


GOOD = {
    "gpt2": like_gpt2(),
    "qwen2": like_modern("qwen2", "<|endoftext|>"),
    "llama3": like_modern("llama3", "<|end_of_text|>", ignore_merges=True),
}


def write(path: Path, content) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("name", list(GOOD))
def test_good_files_of_other_makers_are_accepted(tmp_path, name):
    path = write(tmp_path / "tokenizer.json", GOOD[name])
    made = foreign.open_tokenizer(path)
    assert made.split == name
    assert made.special_ids == {item["id"] for item in GOOD[name]["added_tokens"]}
    assert made.eos_id == 259
    library = tokenizers.Tokenizer.from_file(str(path))
    library.encode_special_tokens = True
    for text in ["the other theme, the the", *NASTY[:12]]:
        assert made.encode(text).tolist() == library.encode(text, add_special_tokens=False).ids
    for encode in (made.encode, Tokenizer(made.content, ["tokenizers"]).encode):
        ids = encode("<tool_call> <|im_start|> <|endoftext|> <|end_of_text|>")
        assert not made.special_ids & set(ids.tolist())
        assert made.decode(ids) == "<tool_call> <|im_start|> <|endoftext|> <|end_of_text|>"


def changed(base: str, *path_and_value):
    """A good file with one value replaced."""
    made = copy.deepcopy(GOOD[base])
    *path, last, value = path_and_value
    place = made
    for key in path:
        place = place[key]
    place[last] = value
    return made


def with_vocab(**tokens):
    made = copy.deepcopy(GOOD["qwen2"])
    made["model"]["vocab"] |= tokens
    return made


def spelled_special() -> dict:
    """Merges that build the text of a special token."""
    made = copy.deepcopy(GOOD["gpt2"])
    vocab = made["model"]["vocab"]
    vocab["<|endoftext|>"] = 261
    vocab |= {"<|": 259, "<|endoftext|": 260}
    made["added_tokens"][0]["id"] = 261
    made["model"]["merges"] += ["< |", "<| <|endoftext|", "<|endoftext| >"]
    vocab["<|<|endoftext|"] = 262
    return made


HOSTILE = {
    "not json": "hello",
    "empty": "",
    "a list": "[]",
    "null": "null",
    "deep": "[" * 100_000,
    "deep object": '{"model":' * 50_000,
    "no model": {},
    "model of another type": changed("gpt2", "model", "type", "WordPiece"),
    "no vocabulary": changed("gpt2", "model", "vocab", None),
    "empty vocabulary": changed("gpt2", "model", "vocab", {}),
    "a list as vocabulary": changed("gpt2", "model", "vocab", ["a"]),
    "merges as text": changed("gpt2", "model", "merges", "a b"),
    "a number as merge": changed("gpt2", "model", "merges", [5]),
    "null as merge": changed("gpt2", "model", "merges", [None]),
    "lists in a merge": changed("gpt2", "model", "merges", [[["a"], "b"]]),
    "numbers in a merge": changed("gpt2", "model", "merges", [["a", 5]]),
    "three in a merge": changed("gpt2", "model", "merges", ["a b c"]),
    "an object as merge": changed("gpt2", "model", "merges", [{"a": 1, "b": 2}]),
    "merge of an unknown token": changed("gpt2", "model", "merges", ["zz z"]),
    "merge into an unknown token": changed("gpt2", "model", "merges", ["z z"]),
    "merges that spell a special token": spelled_special(),
    "duplicate ids": with_vocab(Ġt=257),
    "a hole in the ids": changed("qwen2", "added_tokens", 2, "id", 400),
    "a negative id": with_vocab(Ġt=-1),
    "a huge id": with_vocab(Ġt=2**62),
    "an id that is no integer": with_vocab(Ġt=256.0),
    "an id that is true": with_vocab(Ġt=True),
    "an empty token": changed("qwen2", "model", "vocab", GOOD["qwen2"]["model"]["vocab"] | {"": 262}),
    "a token outside the byte letters": changed(
        "qwen2", "model", "vocab", GOOD["qwen2"]["model"]["vocab"] | {"日": 262}
    ),
    "a giant token": changed(
        "qwen2", "model", "vocab", GOOD["qwen2"]["model"]["vocab"] | {"a" * 5000: 262}
    ),
    "a byte missing": changed(
        "qwen2", "model", "vocab",
        {("zz" if k == "a" else k): v for k, v in GOOD["qwen2"]["model"]["vocab"].items()},
    ),
    "added tokens missing": changed("gpt2", "added_tokens", None),
    "an added token without text": changed("gpt2", "added_tokens", [{"id": 259}]),
    "an empty added token": changed("qwen2", "added_tokens", 2, "content", ""),
    "an added token twice": changed("qwen2", "added_tokens", 2, "content", "<|im_start|>"),
    "an added token with two ids": changed("gpt2", "added_tokens", 0, "id", 300),
    "an added token that is a byte": changed("qwen2", "added_tokens", 2, "content", "a"),
    "no end of text": changed("qwen2", "added_tokens", 0, "content", "<bye>"),
    "truncation": changed("gpt2", "truncation", {"max_length": 1, "strategy": "LongestFirst"}),
    "padding": changed("gpt2", "padding", {"strategy": {"Fixed": 10**12}}),
    "lowercasing": changed("gpt2", "normalizer", {"type": "Lowercase"}),
    "growing text": changed(
        "gpt2", "normalizer",
        {"type": "Replace", "pattern": {"String": ""}, "content": "aa"},
    ),
    "dropout": changed("gpt2", "model", "dropout", 0.5),
    "byte fallback": changed("gpt2", "model", "byte_fallback", True),
    "a prefix of words": changed("gpt2", "model", "continuing_subword_prefix", "##"),
    "a suffix of words": changed("gpt2", "model", "end_of_word_suffix", "</w>"),
    "a costly pattern": changed(
        "qwen2", "pre_tokenizer", "pretokenizers", 0, "pattern", {"Regex": "(a+)+$"}
    ),
    "a broken pattern": changed(
        "qwen2", "pre_tokenizer", "pretokenizers", 0, "pattern", {"Regex": "("}
    ),
    "a pattern that is text": changed(
        "qwen2", "pre_tokenizer", "pretokenizers", 0, "pattern", PATTERNS["qwen2"]
    ),
    "a pattern that removes": changed(
        "qwen2", "pre_tokenizer", "pretokenizers", 0, "behavior", "Removed"
    ),
    "an inverted pattern": changed("qwen2", "pre_tokenizer", "pretokenizers", 0, "invert", True),
    "a second split": changed("qwen2", "pre_tokenizer", "pretokenizers", 1, "use_regex", True),
    "a second split by default": changed(
        "qwen2", "pre_tokenizer", "pretokenizers", 1,
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False},
    ),
    "a blank put in front": changed("gpt2", "pre_tokenizer", "add_prefix_space", True),
    "whitespace dropped": changed("gpt2", "pre_tokenizer", {"type": "Whitespace"}),
    "no pre-tokenizer": changed("gpt2", "pre_tokenizer", None),
    "steps that are a number": changed("gpt2", "pre_tokenizer", {"pretokenizers": 5}),
    "steps that are texts": changed("gpt2", "pre_tokenizer", {"pretokenizers": ["ByteLevel"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_files_are_refused_by_code(tmp_path, name):
    path = write(tmp_path / "tokenizer.json", HOSTILE[name])
    with pytest.raises(TokenizerError) as caught:
        tokenizer.load(path)
    assert caught.value.code in {"E-TOK-SCHEMA", "E-TOK-LIMIT"}
    assert len(caught.value.text.splitlines()) <= 3
    assert "Traceback" not in caught.value.text


@pytest.mark.parametrize(
    "part",
    [
        {"decoder": {"type": "Strip", "content": " ", "start": 2**63, "stop": 2**63}},
        {"decoder": {"type": "nothing known"}},
        {"post_processor": {"type": "TemplateProcessing", "single": [], "pair": [5]}},
        {"post_processor": {"type": "Bert"}},
    ],
)
def test_parts_that_are_not_needed_are_never_given_to_the_library(tmp_path, part):
    path = write(tmp_path / "tokenizer.json", GOOD["llama3"] | part)
    quick = tokenizer.load(path)
    for made in (quick, Tokenizer(quick.content, ["tokenizers"])):
        assert made.decode(made.encode("the [EOS] the")) == "the [EOS] the"


@pytest.mark.parametrize("number", range(12))
def test_what_the_library_itself_refuses_is_refused_by_code(tmp_path, number):
    values = [[], 5, "x", {"a": 1}]
    key = ["ignore_merges", "fuse_unk", "unk_token"][number % 3]
    content = changed("llama3", "model", key, values[number // 3])
    if key == "unk_token" and values[number // 3] == "x":
        return  # a token that is there: nothing to refuse
    with pytest.raises(TokenizerError) as caught:
        tokenizer.load(write(tmp_path / "tokenizer.json", content))
    assert caught.value.code == "E-TOK-SCHEMA"


def test_too_large_files_and_vocabularies_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(tokenizer.MAX_FILE_BYTES + 1)
    with pytest.raises(TokenizerError) as caught:
        tokenizer.load(path)
    assert caught.value.code == "E-TOK-LIMIT"
    monkeypatch.setattr(tokenizer, "MAX_VOCAB_SIZE", 200)
    with pytest.raises(TokenizerError) as caught:
        tokenizer.load(write(tmp_path / "t.json", GOOD["gpt2"]))
    assert caught.value.code == "E-TOK-LIMIT"


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    with pytest.raises(TokenizerError, match="no tokenizer") as caught:
        tokenizer.load(tmp_path / "nothing.json")
    assert caught.value.code == "E-TOK-MISSING"
    with pytest.raises(TokenizerError):
        foreign.open_tokenizer(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        with pytest.raises(TokenizerError):
            foreign.open_tokenizer(tmp_path / "pipe.json")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_put_anywhere_is_accepted_or_refused_by_code(data):
    """No other exception, whatever part of a good file is replaced by whatever JSON."""
    made = copy.deepcopy(GOOD[data.draw(st.sampled_from(list(GOOD)))])
    anything = st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2**40) | st.text(max_size=4) | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
        ),
        max_leaves=4,
    )
    place, key = made, data.draw(st.sampled_from(list(made)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        keys = list(place)[-6:] if isinstance(place, dict) else list(range(len(place)))[-6:]
        key = data.draw(st.sampled_from(keys))
    place[key] = data.draw(anything)
    try:
        found = Tokenizer(made)
    except TokenizerError as problem:
        assert problem.code in {"E-TOK-SCHEMA", "E-TOK-LIMIT"}  # noqa: PT017 - both ways are fine
    else:
        assert found.decode(found.encode("the [EOS] é")) == "the [EOS] é"

"""Text to tokens and back: byte-level BPE, stored as `tokenizer.json`, exact for every text.

Ids: [PAD] 0, [UNK] 1, [BOS] 2, [EOS] 3, chat marks 4-7, eight reserved, then the 256 bytes, then
the merges. Text that spells a special token stays text: special ids are only ever put in by id.
Without the `tokenizers` package (or for very little text) the 256 bytes alone are the vocabulary.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sllm_core.engines import HOSTILE_TEXTS as HOSTILE_TEXTS
from sllm_core.engines import LADDER, Codebook, Ids, Ladder, Lengths, Texts
from sllm_core.engines import refuse as _refuse
from sllm_core.errors import TokenizerError
from sllm_core.project import write_text

SPECIALS = (
    "[PAD]", "[UNK]", "[BOS]", "[EOS]", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
    *(f"<|reserved_{n}|>" for n in range(8)),
)  # fmt: skip
N_SPECIALS = len(SPECIALS)
BYTE_VOCAB_SIZE = N_SPECIALS + 256
MAX_FILE_BYTES = 64 << 20
MAX_VOCAB_SIZE = 1_000_000
MAX_TOKEN_LENGTH = 64
SAMPLE_CHARS = 50_000  # of one document, for training
_EOS_NAMES = ("[EOS]", "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>")
# cl100k (the split of Llama 3), GPT-2's, and Qwen2's, as their authors publish them (DATA 10).
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "llama3": _WORDS + r"\p{N}{1,3}" + _REST,
    "qwen2": _WORDS + r"\p{N}" + _REST,
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}


@functools.cache
def byte_letters() -> dict[str, int]:
    """GPT-2's printable letter for each byte, as `tokenizer.json` files write them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in set(plain))
    return letters | {chr(256 + n): byte for n, byte in enumerate(others)}


class Tokenizer:
    """A tokenizer in use.

    Args:
        content: parsed `tokenizer.json`, checked by `check_schema`.
        ladder: the encoders that may be used, the quickest first.
        is_own: made by this program: not checked, and its encoder chosen when it is needed.

    Raises:
        TokenizerError: the file's parts are not ones this program knows, or its merges need the
            package `tokenizers`, which is not installed.
    """

    def __init__(
        self, content: dict[str, Any], ladder: Sequence[str] = LADDER, *, is_own: bool = False
    ) -> None:
        self.content = content
        self.split = _split_name(content["pre_tokenizer"]) if is_own else check_schema(content)
        vocab: dict[str, int] = content["model"]["vocab"]
        self.specials = {item["content"]: item["id"] for item in content["added_tokens"]}
        self.special_ids = frozenset(self.specials.values())
        self.vocab_size = max(*vocab.values(), *self.specials.values()) + 1
        letters = byte_letters()
        self._bytes = [b""] * self.vocab_size
        for token, number in vocab.items():
            if number not in self.special_ids:
                self._bytes[number] = bytes(letters[letter] for letter in token)
        self.eos_id = next(self.specials[name] for name in _EOS_NAMES if name in self.specials)
        self.end_id = self.specials.get("<|end|>")
        self.sha256 = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        book = Codebook(content, self.split, PATTERNS[self.split], self._bytes, self.sha256)
        self._ladder = Ladder(book, ladder)
        if not is_own:
            _ = self._ladder.engine  # what the libraries refuse is refused here

    @property
    def engine(self) -> str:
        """Name of the encoder in use."""
        return self._ladder.engine.name

    @property
    def engine_version(self) -> str:
        """Its version; '' for plain bytes."""
        return self._ladder.engine.version

    def encode(self, text: str) -> Ids:
        """Ids (uint32) of a text; never a special one."""
        return self._ladder.engine.encode(text)

    def encode_batch(self, texts: Texts) -> tuple[Ids, Lengths]:
        """Ids of all documents in a row, and how many each has; as `encode` of each.

        Args:
            texts: documents, as text or as its UTF-8 bytes (which saves work); a few MB are right.

        Returns:
            An array that may not be written to, and a length for each document.
        """
        return self._ladder.engine.encode_batch(texts)

    def prove_engine(self, texts: Iterable[str]) -> bool:
        """Compare the fast encoder with `tokenizers` on the user's own texts and on long ones.

        Returns:
            False when they differed and a slower one is used from now on.
        """
        return self._ladder.prove(texts)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of tokens; special ones have none."""
        return b"".join([self._bytes[number] for number in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens; broken characters become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def token_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes a token stands for (vocab_size,), 0 for special ones."""
        return np.array([len(part) for part in self._bytes], dtype=np.int64)

    def ranks(self) -> dict[bytes, int]:
        """Bytes -> id of every token but the special ones."""
        return self._ladder.book.ranks()

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and a readable `vocab.txt`."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{number}\t{part!r}\n" for number, part in enumerate(self._bytes)]
        write_text(folder / "vocab.txt", "".join(lines))
        write_text(folder / "tokenizer.json", canonical_json(self.content), point="tokenizer.save")


def canonical_json(content: dict[str, Any]) -> str:
    """The text whose hash identifies a tokenizer."""
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def load(path: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`.

    Raises:
        TokenizerError: missing, too large, damaged, or made of parts this program does not run.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TokenizerError("LIMIT", f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MiB.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TokenizerError(
            "MISSING", f"There is no tokenizer at {path}.", todo="Prepare the data first."
        ) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise _refuse(f"{path.name} cannot be read ({str(problem)[:80]})") from problem
    return Tokenizer(content)


def check_schema(content: Any) -> str:
    """Check a parsed `tokenizer.json` against what this program knows; returns its split name.

    An allow-list: other components could fail, hang or change text (RELIABILITY 4.4).

    Raises:
        TokenizerError: E-TOK-SCHEMA or E-TOK-LIMIT, naming the part.
    """
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise _refuse("it is not a tokenizer.json object")
    model = content["model"]
    for part in ("truncation", "padding", "normalizer"):
        if content.get(part) is not None:
            raise _refuse(f"it changes text by {part}")
    if model.get("type") != "BPE" or model.get("dropout") or model.get("byte_fallback"):
        raise _refuse("its model is not plain byte-level BPE")
    for part in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(part):
            raise _refuse(f"its model uses {part}")
    _check_vocab(model.get("vocab"), model.get("merges"), content.get("added_tokens"))
    return _split_name(content.get("pre_tokenizer"))


def _check_vocab(vocab: Any, merges: Any, added: Any) -> None:
    if not isinstance(vocab, dict) or not isinstance(merges, list) or not isinstance(added, list):
        raise _refuse("vocabulary, merges or added tokens are missing")
    if len(vocab) + len(added) > MAX_VOCAB_SIZE or len(merges) > MAX_VOCAB_SIZE:
        raise TokenizerError("LIMIT", f"The tokenizer has more than {MAX_VOCAB_SIZE:,} tokens.")
    specials = {}
    for item in added:
        if not isinstance(item, dict) or not isinstance(item.get("content"), str):
            raise _refuse("an added token has no text")
        if not item["content"] or item["content"] in specials:
            raise _refuse("an added token is empty or there twice")
        specials[item["content"]] = item.get("id")
        if vocab.get(item["content"], item.get("id")) != item.get("id"):
            raise _refuse(f"the token {item['content'][:40]!r} has two ids")
    ids = list({**vocab, **specials}.values())
    if not all(type(number) is int for number in ids) or sorted(ids) != list(range(len(ids))):
        raise _refuse(f"its ids are not 0 to {len(ids) - 1}, once each")
    letters = byte_letters()
    plain = [token for token in vocab if token not in specials]
    if not all(set(token) <= letters.keys() and 0 < len(token) <= 4096 for token in plain):
        raise _refuse("a token is not written in byte letters")
    if not letters.keys() <= vocab.keys() or any(letter in specials for letter in letters):
        raise _refuse("it does not hold all 256 bytes, so some text would be lost")
    if not any(name in specials for name in _EOS_NAMES):
        raise _refuse(f"it has no end-of-text token ({', '.join(_EOS_NAMES)})")
    mergeable = set(plain)
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        is_pair = isinstance(parts, list) and [type(part) for part in parts] == [str, str]
        if not is_pair or not mergeable.issuperset((*parts, "".join(parts))):
            raise _refuse(f"the merge {str(merge)[:40]!r} uses tokens that are not there")


def _split_name(parts: Any) -> str:
    """Which known split a pre-tokenizer is.

    Raises:
        TokenizerError: it is none of them.
    """
    steps = parts.get("pretokenizers", [parts]) if isinstance(parts, dict) else []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        steps = []
    if len(steps) == 1 and steps[0].get("type") == "ByteLevel":
        if steps[0].get("use_regex", True) and not steps[0].get("add_prefix_space"):
            return "gpt2"
    elif len(steps) == 2 and [step.get("type") for step in steps] == ["Split", "ByteLevel"]:
        is_plain = steps[0].get("behavior") == "Isolated" and not steps[0].get("invert")
        is_plain = is_plain and not steps[1].get("use_regex", True)
        is_plain = is_plain and not steps[1].get("add_prefix_space")
        for name, known in PATTERNS.items():
            if is_plain and steps[0].get("pattern") == {"Regex": known}:
                return name
    raise _refuse("it cuts words in a way this program does not know")


def build_content(merged: list[str], merges: list[tuple[str, str]], split: str) -> dict[str, Any]:
    """A `tokenizer.json` object from the tokens behind the bytes, in order, and their merges."""
    letters = [letter for letter, _ in sorted(byte_letters().items(), key=lambda item: item[1])]
    tokens = [*SPECIALS, *letters, *merged]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    cut = {"type": "Split", "pattern": {"Regex": PATTERNS[split]}, "behavior": "Isolated"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": text, "special": True}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            for number, text in enumerate(SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [cut | {"invert": False}, byte_level | {"use_regex": False}],
        },
        "post_processor": None,
        "decoder": byte_level | {"use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [list(pair) for pair in merges],
        },
    }


def byte_tokenizer(split: str = "llama3") -> Tokenizer:
    """The vocabulary of special tokens and 256 bytes; needs no library and no training."""
    return Tokenizer(build_content([], [], split))


def advise_vocab_size(target: int, text_bytes: int) -> tuple[int, str]:
    """The vocabulary that this much text can fill, and why; 200 bytes of text a token at least."""
    most = max(BYTE_VOCAB_SIZE, text_bytes // 200)
    if target <= most:
        return target, "as set"
    words = f"{text_bytes:,} bytes of text are too few for {target:,} tokens, 200 bytes for each"
    return (most if most >= BYTE_VOCAB_SIZE + 64 else BYTE_VOCAB_SIZE), words


def train(
    documents: Iterable[str],
    vocab_size: int,
    *,
    split: str = "llama3",
    min_frequency: int = 2,
    on_bytes: Callable[[int], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> Tokenizer:
    """Learn merges from whole documents (line by line would never learn newline tokens).

    Args:
        documents: whole texts, or the beginnings that `training_piece` cuts.
        vocab_size: most tokens, special ones and bytes included.
        split: name of the word split.
        min_frequency: pairs seen less often are not merged.
        on_bytes: told the bytes of text fed so far, in UTF-8.
        on_phase: told ``feeding`` and, when all is fed, ``merging``: of that the library says nothing
            until it is done, and it takes longer than the feeding.
    """
    if vocab_size <= BYTE_VOCAB_SIZE or not has_library():
        return byte_tokenizer(split)
    from tokenizers import Regex, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Library

    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[split]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - N_SPECIALS,
        min_frequency=min_frequency,
        initial_alphabet=list(byte_letters()),
        max_token_length=MAX_TOKEN_LENGTH,
        show_progress=False,
    )

    def feed() -> Iterator[str]:
        fed = 0
        on_phase("feeding")
        for text in documents:
            fed += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
            yield text
            on_bytes(fed)
        on_phase("merging")

    library.train_from_iterator(feed(), trainer)
    model = json.loads(library.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    merged = ["".join(pair) for pair in merges]
    return Tokenizer(build_content(list(dict.fromkeys(merged)), merges, split), is_own=True)


def training_piece(text: str, limit: int = SAMPLE_CHARS) -> str:
    """What of a document the tokenizer learns from: its beginning, cut at a line."""
    if len(text) <= limit:
        return text
    cut = text.rfind("\n", 0, limit)
    return text[: cut + 1] if cut > 0 else text[:limit]


def has_library() -> bool:
    """Whether the `tokenizers` package is installed."""
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        return False
    return True

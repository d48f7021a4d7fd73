"""The encoders behind a tokenizer: one interface, four rungs, and the check that keeps them equal.

gigatoken, tiktoken, tokenizers, plain bytes. A quick one is used only as long as it gives the same
ids as `tokenizers`, which decides. None of them ever sees a special token, so no text can become
one. Every document of a batch is encoded by itself.
"""

import functools
import importlib.metadata
import importlib.util
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sllm_core import hardware
from sllm_core.errors import TokenizerError

Ids = npt.NDArray[np.uint32]
Lengths = npt.NDArray[np.int64]
Texts = Sequence[str] | Sequence[bytes]

# The two whose classes of characters were compared with those of `tokenizers` for every character.
_CHECKED_GIGATOKEN = {"0.10.0"}
# Letters and digits that Unicode 17 added. gigatoken 0.10.0 knows them, tokenizers 0.23.3 and
# tiktoken 0.14.0 (Unicode 16) take them for symbols, so they cut words in other places. All other
# characters are of the same class in all three (tests/test_engines.py looks at each).
UNICODE_17 = (
    (0x88F, 0x88F), (0xC5C, 0xC5C), (0xCDC, 0xCDC), (0xA7CE, 0xA7CF), (0xA7D2, 0xA7D2),
    (0xA7D4, 0xA7D4), (0xA7F1, 0xA7F1), (0x10940, 0x10959), (0x10EC5, 0x10EC7), (0x11DB0, 0x11DDB),
    (0x11DE0, 0x11DE9), (0x16EA0, 0x16EB8), (0x16EBB, 0x16ED3), (0x16FF2, 0x16FF6),
    (0x187F8, 0x187FF), (0x18D09, 0x18D1E), (0x18D80, 0x18DF2), (0x1E6C0, 0x1E6DE),
    (0x1E6E0, 0x1E6E2), (0x1E6E4, 0x1E6E5), (0x1E6E7, 0x1E6ED), (0x1E6F0, 0x1E6F4),
    (0x1E6FE, 0x1E6FF), (0x2B73A, 0x2B73F), (0x2CEA2, 0x2CEAD), (0x323B0, 0x33479),
)  # fmt: skip
CACHE_BYTES = 96 << 20  # gigatoken remembers words without end: 5 to 40 MB for 4 MB of odd text
_LOOK_EVERY = 16 << 20  # bytes of text between two looks at the memory

# Texts on which an encoder must agree with `tokenizers` before it is trusted: at every start.
HOSTILE_TEXTS = (
    "",
    " ",
    "a",
    "a" * 20_000,
    " " * 5000,
    "\n" * 5000,
    "ab" * 2000,
    "\t \t" * 300 + "x",
    "\r\n\r\n a\r b",
    "one\r\ntwo\r\n\r\n\tthree\rfour\n\r\n",
    "[EOS] <|end|> [PAD]<|endoftext|></s>",
    "It's I'LL we'Ve DON'T 'tis '' 's 'S're",
    "\u017f 'ſ 'ſt ı İ ß ẞ ŉ K Å 'K",
    "12345678901 1,234.5e-6 ½ ٣٤ Ⅷ ④ " + "1" * 999,
    "日本語のテキスト。中文字符！한국어 ㍿ " + "漢字" * 900,
    "مرحبا بالعالم \u200f\u202eabc \u0640\u064b",
    "हिन्दी தமிழ் తెలుగు ಕನ್ನಡ ไทย ქართული አማርኛ Ελλάδα Привет",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301\u0301 \U0001f600" + "\U0001f468\u200d\U0001f469" * 50,
    "\u0301\u0302 \u0301a 1\u0301 -\u0301 \n\u0301\u20e3" + "e" + "\u0301" * 500,
    "\x00\x01\x7f\u0080\u0085\u2028\u2029\u00a0\ufeff\ufffd\ufffe\uffff\U0010ffff",
    "a\x00b \x00\x00 c \0\U0010ffff\0",
    "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i\u1680j\u2003k\u3000l\u180em\u200bn",
    " \x0b\x0c\x1c\x1d\x1e\x1f\x85 \u2028 \u2029\u00a0\n\u3000\n",
    "def f(x):\n\treturn x  # tab\n\n\n    y = [1,\n         2]\n",
    "trailing spaces   \n   leading\n \n\t\n",
    "<<<<<<< HEAD\n=======\n>>>>>>> ----------------------------------------\n",
    "\ue000\uf8ff\U000f0000\u0378\u2427\U0001fbfa \U00020000\U0002a6df\U00030000",
    "".join(map(chr, range(1, 0x250))),
    " ".join(map(chr, range(0x21, 0x180))),
    "".join(f"a{chr(first)}1 {chr(last)}'s" for first, last in UNICODE_17),
)
# The same idea, longer; looked at once, when the data is prepared.
LONG_TEXTS = (
    *(letter * 200_000 for letter in ("a", " ", "\n", "é", "1", "-")),
    "ab" * 100_000,
    "漢" * 70_000,
    " a" * 70_000,
    "\r\n" * 70_000,
)


# Never made into its id. Without any special token tiktoken searches each text for an empty pattern,
# which is found at every letter: 9 MB/cpu-s instead of 18.
NO_SPECIAL = "\0\U0010ffff\0"


@dataclass(frozen=True)
class Codebook:
    """What an encoder needs of a tokenizer: its parsed file, name and pattern of the split."""

    content: dict[str, Any]
    split: str
    pattern: str
    parts: list[bytes]  # bytes of each id, none for special ones
    sha256: str

    def ranks(self) -> dict[bytes, int]:
        """Bytes -> id of every token but the special ones."""
        return {part: number for number, part in enumerate(self.parts) if part}

    def without_specials(self) -> dict[str, Any]:
        """A `tokenizer.json` object that turns text into ids and has never heard of specials."""
        names = {item["content"] for item in self.content["added_tokens"]}
        model = self.content["model"]
        vocab = {token: number for token, number in model["vocab"].items() if token not in names}
        return self.content | {
            "added_tokens": [],
            "post_processor": None,
            "decoder": None,
            "model": model | {"vocab": vocab},
        }

    def odd_texts(self) -> list[str]:
        """Spellings of its special tokens, and tokens that its merges alone may not build."""
        names = [item["content"] for item in self.content["added_tokens"]]
        built = set()
        for merge in self.content["model"]["merges"]:
            built.add(merge.replace(" ", "") if isinstance(merge, str) else "".join(merge))
        vocab = self.content["model"]["vocab"]
        alone = (n for token, n in vocab.items() if len(token) > 1 and token not in built)
        texts = [self.parts[number].decode("utf-8", "replace") for number in alone]
        return [*names, "".join(names), " ".join(names) + "\n", *texts[:2000]]


class Engine(Protocol):
    """Something that turns text into ids, special spellings taken as text."""

    name: str
    version: str

    def encode(self, text: str) -> Ids:
        """Ids of one text."""

    def encode_batch(self, texts: Texts) -> tuple[Ids, Lengths]:
        """Ids of all texts in a row, and how many each has; bytes must be UTF-8."""


class Bytes:
    """One id a byte: for a vocabulary without merges."""

    name, version = "bytes", ""

    def __init__(self, book: Codebook) -> None:
        self._table = np.zeros(256, dtype=np.uint32)
        for part, number in book.ranks().items():
            self._table[part[0]] = number

    def encode(self, text: str) -> Ids:
        """Ids of one text."""
        return self._table[np.frombuffer(_as_bytes(text), dtype=np.uint8)]

    def encode_batch(self, texts: Texts) -> tuple[Ids, Lengths]:
        """Ids of all texts in a row, and how many each has."""
        data = [_as_bytes(text) for text in texts]
        flat = self._table[np.frombuffer(b"".join(data), dtype=np.uint8)]
        return flat, _lengths(map(len, data), len(data))


class Library:
    """`tokenizers`: the slowest, and the one that is right by definition.

    Raises:
        TokenizerError: it is not installed, or it refuses the file.
    """

    name = "tokenizers"

    def __init__(self, book: Codebook) -> None:
        try:
            import tokenizers
        except ImportError:
            raise TokenizerError(
                "MISSING",
                "This tokenizer needs the package tokenizers.",
                safe="Nothing was changed.",
                todo="Install it: pip install tokenizers",
            ) from None
        self.version = tokenizers.__version__
        try:
            self._library = tokenizers.Tokenizer.from_str(json.dumps(book.without_specials()))
        except BaseException as problem:  # a Rust panic is no Exception
            if isinstance(problem, KeyboardInterrupt | SystemExit):
                raise
            raise refuse(f"the tokenizers package refuses it ({str(problem)[:80]})") from problem

    def encode(self, text: str) -> Ids:
        """Ids of one text."""
        found = self._library.encode(_as_text(text), add_special_tokens=False)
        return np.array(found.ids, dtype=np.uint32)

    def encode_batch(self, texts: Texts) -> tuple[Ids, Lengths]:
        """Ids of all texts in a row, and how many each has; uses all cores."""
        found = self._library.encode_batch_fast(
            [_as_text(text) for text in texts], add_special_tokens=False
        )
        return _in_a_row([np.array(one.ids, dtype=np.uint32) for one in found])


class Tiktoken:
    """tiktoken: six to eight times as fast as `tokenizers`; calls run side by side in threads.

    Args:
        exact: encodes what its regular expression gives up on.

    Raises:
        ImportError: it is not installed.
    """

    name = "tiktoken"

    def __init__(self, book: Codebook, exact: Callable[[], Engine]) -> None:
        import tiktoken

        self.version = importlib.metadata.version("tiktoken")
        self._exact = exact
        self._encoding = tiktoken.Encoding(
            book.sha256[:8],
            pat_str=book.pattern,
            mergeable_ranks=book.ranks(),
            special_tokens={NO_SPECIAL: len(book.parts)},
        )

    def encode(self, text: str) -> Ids:
        """Ids of one text."""
        return self._encode(_as_text(text))

    def _encode(self, text: str) -> Ids:
        try:
            return self._encoding.encode_to_numpy(text, disallowed_special=())
        except ValueError:  # about a million blanks in a row
            return self._exact().encode(text)

    def encode_batch(self, texts: Texts) -> tuple[Ids, Lengths]:
        """Ids of all texts in a row, and how many each has."""
        return _in_a_row([self._encode(_as_text(text)) for text in texts])


class Gigatoken:
    """gigatoken: about ten times as fast as tiktoken on code and English.

    A batch leaves Python's lock, so another thread can read files meanwhile; two batches of one
    object wait for each other. One core is enough: it encodes faster than Python reads files, and
    its own threads (batches of 4 MB and more) cost a tenth to a fifth more CPU time.

    Args:
        exact: encodes the documents with letters that the libraries disagree about.

    Raises:
        ImportError: it or awkward is not installed, or its version was never compared.
    """

    name = "gigatoken"

    def __init__(self, book: Codebook, exact: Callable[[], Engine]) -> None:
        self.version = importlib.metadata.version("gigatoken")  # an ImportError when it is missing
        if os.name == "nt" or self.version not in _CHECKED_GIGATOKEN:
            raise ImportError(f"gigatoken {self.version} was not compared with tokenizers here")
        if importlib.util.find_spec("awkward") is None:  # what a batch comes back as
            raise ImportError("gigatoken needs awkward")
        from gigatoken.gigatoken_rs import load_hf_json

        content = book.without_specials()
        if book.split == "gpt2":  # it knows this split by this spelling only
            content["pre_tokenizer"] = {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": False,
                "use_regex": True,
            }
        text = json.dumps(content)
        self._load: Callable[[], Any] = lambda: load_hf_json(text)
        self._exact = exact
        self._disputed = newer_letters()
        self._backend, self._base_bytes, self._unseen = self._load(), 0, 0

    def encode(self, text: str) -> Ids:
        """Ids of one text."""
        data = _as_bytes(text)
        if self._is_disputed(data):
            return self._exact().encode(text)
        ids: Ids = self._backend.encode(data)
        self._watch_memory(len(data))
        return ids

    def encode_batch(self, texts: Texts) -> tuple[Ids, Lengths]:
        """Ids of all texts in a row, and how many each has."""
        data = [_as_bytes(text) for text in texts]
        disputed = [number for number, text in enumerate(data) if self._is_disputed(text)]
        if disputed:
            return self._encode_mixed(data, disputed)
        if not data:
            return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64)
        layout = self._backend.encode_batch(data, parallel=False).layout
        ends: Lengths = layout.offsets.data
        flat: Ids = layout.content.data[int(ends[0]) : int(ends[-1])]
        self._watch_memory(sum(map(len, data)))
        return flat, np.diff(ends)

    def _is_disputed(self, data: bytes) -> bool:
        if data.isascii() or not (b"\xe0" in data or b"\xea" in data or b"\xf0" in data):
            return False  # found a hundred times as fast as by the expression
        return self._disputed.search(data) is not None

    def _encode_mixed(self, data: list[bytes], disputed: list[int]) -> tuple[Ids, Lengths]:
        slow = set(disputed)
        flat, lengths = self.encode_batch([d for n, d in enumerate(data) if n not in slow])
        quick = iter(np.split(flat, np.cumsum(lengths)[:-1]))
        exact = self._exact()
        return _in_a_row(
            [exact.encode(d.decode()) if n in slow else next(quick) for n, d in enumerate(data)]
        )

    def _watch_memory(self, n_bytes: int) -> None:
        """Begin anew when its memory of words has grown past the budget; costs 0.05 s."""
        self._unseen += n_bytes
        if self._base_bytes and self._unseen < _LOOK_EVERY:
            return
        self._unseen, used = 0, hardware.own_memory()
        if not self._base_bytes:
            self._base_bytes = used
        elif used - self._base_bytes > CACHE_BYTES:
            self._backend, self._base_bytes = self._load(), 0


@functools.cache
def newer_letters() -> re.Pattern[bytes]:
    """Finds a character of `UNICODE_17` in UTF-8."""
    numbers = itertools.chain.from_iterable(range(first, last + 1) for first, last in UNICODE_17)
    return re.compile(_any_of({chr(number).encode() for number in numbers}))


def _any_of(words: set[bytes]) -> bytes:
    """A regular expression for words of which none begins another, nested by their first bytes."""
    tails: dict[bytes, set[bytes]] = {}
    for word in words:
        tails.setdefault(word[:1], set()).add(word[1:])
    if b"" in next(iter(tails.values())):
        return b"[" + b"".join(re.escape(head) for head in sorted(tails)) + b"]"
    return b"(?:" + b"|".join(re.escape(h) + _any_of(t) for h, t in sorted(tails.items())) + b")"


def _as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _as_text(text: str | bytes) -> str:
    """Without half surrogates, which stand for no character."""
    if isinstance(text, bytes):
        return text.decode("utf-8", "replace")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _lengths(values: Iterable[int], count: int) -> Lengths:
    return np.fromiter(values, dtype=np.int64, count=count)


def _in_a_row(found: list[Ids]) -> tuple[Ids, Lengths]:
    flat = np.concatenate(found) if found else np.zeros(0, dtype=np.uint32)
    return flat, _lengths(map(len, found), len(found))


def refuse(why: str) -> TokenizerError:
    """A file that is not one for this program, and why."""
    return TokenizerError(
        "SCHEMA",
        f"This tokenizer is not used: {why}.",
        safe="Nothing was changed.",
        todo="Use a byte-level BPE tokenizer.json (GPT-2, Llama 3 or Qwen2 kind), or train one.",
    )


LADDER = ("gigatoken", "tiktoken", "tokenizers")
_agreed: dict[tuple[str, str, str], bool] = {}  # by (tokenizer, engine, version), of this process


@dataclass
class Ladder:
    """The encoders of one tokenizer, the quickest first, and which of them is in use."""

    book: Codebook
    names: Sequence[str] = LADDER
    _engine: Engine | None = field(default=None, repr=False)
    _library: Library | None = field(default=None, repr=False)

    @property
    def engine(self) -> Engine:
        """The one in use, chosen when it is first needed (0.2 s).

        Raises:
            TokenizerError: the merges need the package `tokenizers`, or it refuses them.
        """
        if self._engine is None:
            self._engine = self._choose()
        return self._engine

    def _choose(self) -> Engine:
        if not self.book.content["model"]["merges"]:
            return Bytes(self.book)
        if not any(key[0] == self.book.sha256 for key in _agreed):
            self.exact()  # refuses what others might choke on
        for engine in self._quick_ones(self.names):
            key = (self.book.sha256, engine.name, engine.version)
            if key not in _agreed:
                # A batch is first looked at by `prove`: what gigatoken needs for one takes 0.2 s.
                texts = [*HOSTILE_TEXTS, *self.book.odd_texts()]
                _agreed[key] = self._agrees(engine, texts, is_batch=False)
            if _agreed[key]:
                return engine
        return self.exact()

    def exact(self) -> Library:
        """The one that decides, made when it is first needed."""
        if self._library is None:
            self._library = Library(self.book)
        return self._library

    def prove(self, texts: Iterable[str]) -> bool:
        """Compare with `tokenizers` on more texts, long ones and each token; step down if need be.

        Returns:
            False when the one in use was replaced.
        """
        before = self.engine
        if before.name in {Bytes.name, Library.name}:
            return True
        tokens = (part.decode("utf-8", "ignore") for part in self.book.parts)
        wanted = [*HOSTILE_TEXTS, *self.book.odd_texts(), *LONG_TEXTS, *tokens, *texts]
        if self._agrees(before, wanted, is_batch=True):
            return True
        _agreed[self.book.sha256, before.name, before.version] = False
        below = self._quick_ones(self.names[self.names.index(before.name) + 1 :])
        agreed = (one for one in below if self._agrees(one, wanted, is_batch=True))
        self._engine = next(agreed, self.exact())
        return False

    def _quick_ones(self, names: Sequence[str]) -> Iterator[Engine]:
        """Those of the names that are installed and take this tokenizer, made one by one."""
        made = (self._make(name) for name in names if name != Library.name)
        return (engine for engine in made if engine is not None)

    def _make(self, name: str) -> Engine | None:
        kinds: dict[str, type[Gigatoken | Tiktoken]] = {
            "gigatoken": Gigatoken,
            "tiktoken": Tiktoken,
        }
        try:
            return kinds[name](self.book, self.exact)
        except ImportError:
            return None
        except BaseException as problem:  # a Rust panic is no Exception
            if isinstance(problem, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            return None

    def _agrees(self, engine: Engine, texts: list[str], *, is_batch: bool) -> bool:
        """Whether its ids are those of `tokenizers`, one by one or as a batch."""
        flat, lengths = self.exact().encode_batch(texts)
        ends = np.cumsum(lengths)
        try:
            if is_batch:
                mine, sizes = engine.encode_batch([_as_bytes(text) for text in texts])
                return np.array_equal(mine, flat) and np.array_equal(sizes, lengths)
            return all(
                np.array_equal(engine.encode(text), flat[end - size : end])
                for text, end, size in zip(texts, ends, lengths, strict=True)
            )
        except BaseException as problem:  # a Rust panic is no Exception
            if isinstance(problem, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            return False

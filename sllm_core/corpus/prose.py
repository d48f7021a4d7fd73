"""Numbers about text for people: its words, lines and repetitions, and how hard it is to read."""

import re

import numpy as np

from sllm_core.corpus.repetition import (
    DUPLICATE_GRAMS,
    TOP_GRAMS,
    duplicate_shares,
    grams,
    repeated_shares,
    top_share,
)
from sllm_core.corpus.spans import ALPHA, SPACE, Bytes, Places, bounds, hashes_of, running

_STOP_WORDS = frozenset("the be to of and that have with".split())
_SENTENCE_END = np.zeros(256, np.bool_)
_SENTENCE_END[list(b".!?")] = True
_AFTER_SENTENCE = SPACE.copy()
_AFTER_SENTENCE[list(b"\"')]*_")] = True
_VOWEL = np.zeros(256, np.bool_)
_VOWEL[list(b"aeiouyAEIOUY")] = True
_VOWEL[0xC3] = True  # most accented letters of Latin-1 are vowels
_UNSPACED = frozenset(["zh", "ja", "th"])
_LONGEST_WORD = 30  # an address counts as a long word, not as a hundred
# UTF-8 that was once read as Latin-1 or Windows-1252.
_MOJIBAKE = re.compile("[ÃÂ][\u0080-\u00bf]|â€|Ã[\u2018-\u201e]")
_BULLETS = ("-", "*", "•", "+", "‣")
_LINE_ENDS = tuple(".!?\"'”’»:;)。！？」।॥؟۔።")
_FILLER = tuple(
    "lorem ipsum dolor amet consectetur adipiscing tempor labore magna aliqua veniam nostrud"
    " exercitation ullamco laboris commodo cillum fugiat pariatur excepteur cupidatat proident"
    " deserunt mollit laborum eiusmod incididunt reprehenderit".split()
)
_POLICY = (
    "terms of use", "terms of service", "privacy policy", "cookie policy", "uses cookies",
    "use of cookies", "enable javascript", "sign up for", "log in to",
)  # fmt: skip


def prose_numbers(part: bytes, raw: Bytes, sample: str, language: str) -> dict[str, float]:
    """Words, lines, repetition; for English also how it reads."""
    lines = [stripped for line in sample.split("\n") if (stripped := line.strip())]
    paragraphs = [stripped for block in sample.split("\n\n") if (stripped := block.strip())]
    numbers: dict[str, float] = {"paragraphs": len(paragraphs)}
    numbers |= _line_shares(lines)
    numbers["repeated_paragraphs"], numbers["repeated_paragraph_chars"] = repeated_shares(
        paragraphs
    )
    if not part.isascii():
        numbers["mojibake"] = len(_MOJIBAKE.findall(sample)) / max(1, len(lines))
    starts, ends = bounds(~SPACE[raw])
    if language in _UNSPACED or not len(starts):
        return numbers  # a word there has no end that could be seen
    n_words = len(starts)
    inner = np.concatenate(([0], np.cumsum((raw & 0xC0) == 0x80)))
    alpha = np.concatenate(([0], np.cumsum(ALPHA[raw])))
    sizes = ends - starts - (inner[ends] - inner[starts])
    words = hashes_of(running(raw), starts, ends)
    numbers |= {
        "words": n_words,
        "mean_word": float(np.minimum(sizes, _LONGEST_WORD).mean()),
        "wordlike": float((alpha[ends] > alpha[starts]).mean()),
        "marks": (sample.count("#") + sample.count("...") + sample.count("…")) / n_words,
        "breaks": part.count(b"\n") / n_words,
        "mean_paragraph": n_words / max(1, len(paragraphs)),
        "different_words": len(np.unique(words[:1000])) / min(1000, n_words),
    }
    for n in TOP_GRAMS:
        numbers[f"top_{n}"] = top_share(grams(words, n), n, sizes)
    shares = duplicate_shares(words, sizes)
    numbers |= {f"repeated_{n}": shares[n] for n in DUPLICATE_GRAMS}
    lowered = sample.lower()
    if "ipsum" in lowered or "dolor" in lowered:
        numbers["filler"] = sum(map(lowered.count, _FILLER)) / n_words
    if language == "en":
        numbers |= _reading(raw, starts, ends)
        numbers["stop_words"] = len(_STOP_WORDS.intersection(lowered[:20_000].split()))
        numbers["policy"] = 100 * sum(map(lowered.count, _POLICY)) / n_words
    return numbers


def _line_shares(lines: list[str]) -> dict[str, float]:
    """FineWeb's and Gopher's shares of lines."""
    n = max(1, len(lines))
    return {
        "ended_lines": sum(line.endswith(_LINE_ENDS) for line in lines) / n,
        "short_lines": sum(len(line) <= 30 for line in lines) / n,
        "bullets": sum(line.startswith(_BULLETS) for line in lines) / n,
        "ellipses": sum(line.endswith(("...", "…")) for line in lines) / n,
    }


def _reading(raw: Bytes, starts: Places, ends: Places) -> dict[str, float]:
    """Flesch's reading ease: 206.835 - 1.015 words a sentence - 84.6 syllables a word.

    A syllable is a group of vowels; a last e behind a consonant is silent, save in -le.
    """
    after = np.concatenate((_AFTER_SENTENCE[raw[1:]], [True]))
    n_sentences = max(1, int((_SENTENCE_END[raw] & after).sum()))
    vowel = _VOWEL[raw]
    begins = vowel.copy()
    begins[1:] &= ~vowel[:-1]
    sums = np.concatenate(([0], np.cumsum(begins)))
    groups = sums[ends] - sums[starts]
    alpha = np.concatenate(([0], np.cumsum(ALPHA[raw])))
    is_word = alpha[ends] > alpha[starts]
    last = ends - 1
    last = last - (~ALPHA[raw[last]] & (last > starts))  # one comma or full stop
    is_silent = (raw[last] | 0x20) == ord("e")
    before = raw[np.maximum(last - 1, 0)]
    is_silent &= ~_VOWEL[before] & ((before | 0x20) != ord("l")) & (groups > 1)
    syllables = np.maximum(groups - is_silent, 1)[is_word]
    n_words = max(1, len(syllables))
    ease = 206.835 - 1.015 * n_words / n_sentences - 84.6 * float(syllables.sum()) / n_words
    return {"reading_ease": ease, "sentences": n_sentences, "sentence_words": n_words / n_sentences}

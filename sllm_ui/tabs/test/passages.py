"""Texts of two writers: who wrote which part, what is sent, what is read from a file."""

from pathlib import Path
from typing import NamedTuple

from sllm_core import fmt
from sllm_core.errors import DataError, SllmError

MAX_PANE = 300_000  # characters of a pane
MAX_PROMPT_FILE = 1 << 20


class Piece(NamedTuple):
    """A stretch of text that a person gave, or that a model wrote."""

    text: str
    is_written: bool = False


Passage = tuple[Piece, ...]


def text_of(passage: Passage) -> str:
    """All of it as one text."""
    return "".join(piece.text for piece in passage)


def length(passage: Passage) -> int:
    """Its characters."""
    return sum(len(piece.text) for piece in passage)


def add(passage: Passage, text: str) -> Passage:
    """The passage with written text behind it."""
    if passage and passage[-1].is_written:
        return (*passage[:-1], Piece(passage[-1].text + text, True))
    return (*passage, Piece(text, True))


def clean(text: str) -> str:
    """Text that every encoder takes: pairs of surrogates joined, single ones replaced, no NUL."""
    if text.isascii() and "\0" not in text:
        return text
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", "")


def read_prompt(path: str) -> str:
    """The text of a file, as UTF-8 or UTF-16 with its mark.

    Raises:
        DataError: it cannot be read, is no text, or too long.
    """
    name = fmt.path_text(Path(path).name)
    safe = "The prompt was not changed."
    try:
        with Path(path).open("rb") as file:
            body = file.read(MAX_PROMPT_FILE + 1)
    except OSError as problem:
        what = f"{name} cannot be read ({problem.strerror or problem})."
        raise DataError("SOURCE", what, safe=safe) from problem
    marked = body.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = body.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as problem:
        if len(body) <= MAX_PROMPT_FILE:
            raise _no_text(name, safe) from problem
        text = "x" * (MAX_PANE + 1)  # too long in any case
    if "\0" in text:
        raise _no_text(name, safe)
    if len(text) > MAX_PANE:
        what = f"{name} is too long: a prompt has up to {MAX_PANE:,} characters."
        raise DataError("SOURCE", what, safe=safe, todo="Take a part of it.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _no_text(name: str, safe: str) -> SllmError:
    return DataError("SOURCE", f"{name} is no text in UTF-8 or UTF-16.", safe=safe)

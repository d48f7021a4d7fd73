"""One text cleaner for everything: what it returns is what is scored, hashed and trained on.

Always: line feeds only, no byte-order mark, no lone surrogates. By choice (`CleanConfig`): blanks,
one Unicode form, licence headers, comments, docstrings, front matter of books, masks. Nothing is
invented but the masks.
"""

import ast
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields

from sllm_core.config import CleanConfig
from sllm_core.corpus import private

CLEAN_VERSION = 2
WHOLE_CHARS = 8 << 20  # longer texts are cleaned line by line; what needs the whole is left out
PLAIN = CleanConfig()
_SURROGATES = re.compile("[\ud800-\udfff]")
_TRAILING = re.compile(r"[ \t\f\v]+$", re.MULTILINE)
_BLANK_RUN = re.compile(r"\n{3,}")
_LICENCE = re.compile(r"licen[cs]e|copyright|spdx-", re.IGNORECASE)
_BEGINS = re.compile(r"^\*{3} ?START OF TH[EI]S? PROJECT GUTENBERG [^\n]{0,200}\n", re.MULTILINE)
_ENDS = re.compile(r"^\*{3} ?END OF TH[EI]S? PROJECT GUTENBERG ", re.MULTILINE)
_QUOTES = r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\''
_C_LIKE = rf"(?P<keep>{_QUOTES}|`(?:[^`\\]|\\.)*`)|//[^\n]*|/\*.*?\*/"
# Comments of a language; a group `keep` is text that only looks like one.
_COMMENTS = {
    "python": r'(?P<keep>"""(?:[^\\]|\\.)*?"""|'
    rf"'''(?:[^\\]|\\.)*?'''|{_QUOTES}|\A#![^\n]*|^#[^\n]*coding[:=][^\n]*)|#[^\n]*",
    "shell": rf"(?P<keep>{_QUOTES}|\A#![^\n]*|[\w$}}]#)|#[^\n]*",
    "ruby": rf"(?P<keep>{_QUOTES}|\A#![^\n]*|#\{{)|#[^\n]*|^=begin\n.*?^=end$",
    "sql": rf"(?P<keep>{_QUOTES})|--[^\n]*|/\*.*?\*/",
    "css": rf"(?P<keep>{_QUOTES})|/\*.*?\*/",
    "html": r"<!--.*?-->",
}
_COMMENTS |= dict.fromkeys(
    "c cpp csharp go java javascript typescript kotlin scala swift rust php".split(), _C_LIKE
)
_PATTERNS = {
    lang: re.compile(pattern, re.DOTALL | re.MULTILINE) for lang, pattern in _COMMENTS.items()
}
_HEADERS = (  # a comment at the top: of lines, or one block
    re.compile(r"(?:(?:#|//|--|;|%)[^\n]*\n)+"),
    re.compile(r"/\*.*?\*/[ \t]*\n", re.DOTALL),
    re.compile(r"<!--.*?-->[ \t]*\n", re.DOTALL),
)
_SHEBANG = re.compile(r"#![^\n]*\n(?:#[^\n]*coding[:=][^\n]*\n)?|<\?(?:xml|php)[^\n]*\n")
_MASKS = {
    "secret": "mask_secrets",
    "email": "mask_emails",
    "phone": "mask_phones",
    "ip": "mask_ips",
}


def clean(text: str, *, is_start: bool = True) -> str:
    """Text with line feeds only and no byte-order mark; nothing is invented or left out.

    Lone surrogates (they cannot be stored as UTF-8) become U+FFFD.

    Args:
        text: a whole text, or a piece of one that does not end within a CR LF pair.
        is_start: whether a byte-order mark may stand here.
    """
    if is_start:
        text = text.removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATES.sub("\ufffd", text) if not text.isascii() else text


def clean_key(options: CleanConfig = PLAIN) -> str:
    """Changes whenever `clean` and the options would give another text for the same file."""
    on = [field.name for field in fields(options) if getattr(options, field.name)]
    return "+".join([f"clean-{CLEAN_VERSION}", *on])


def apply(pieces: Iterable[str], options: CleanConfig, kind: str, lang: str) -> Iterator[str]:
    """The pieces of one text, as the options want it; joined, they are the cleaned text.

    Args:
        pieces: what `clean` returned, front to back.
        options: all off: the pieces come back as they are.
        kind: of the file: code, prose, ...
        lang: the language of code.
    """
    if not any(astuple(options)):
        yield from pieces
        return
    source, held, length = iter(pieces), [], 0
    for piece in source:
        held.append(piece)
        length += len(piece)
        if length > WHOLE_CHARS:
            yield from _by_lines(held, source, options, kind)
            return
    yield apply_whole("".join(held), options, kind, lang)


def apply_whole(text: str, options: CleanConfig, kind: str, lang: str) -> str:
    """`apply` for a text in one piece."""
    if options.strip_front_matter:
        text = strip_front_matter(text)
    if kind == "code":
        if options.drop_licence:
            text = drop_licence(text)
        if options.strip_docstrings and lang == "python":
            text = strip_docstrings(text)
        if options.strip_comments:
            text = strip_comments(text, lang)
    if masks := masks_of(options):
        text, _ = private.mask(text, masks)
    return _tidy(text, options, kind)


def masks_of(options: CleanConfig) -> tuple[str, ...]:
    """Which kinds of private data are masked."""
    return tuple(kind for kind, name in _MASKS.items() if getattr(options, name))


def _by_lines(
    held: list[str], rest: Iterator[str], options: CleanConfig, kind: str
) -> Iterator[str]:
    """What can be done without seeing the whole text; pieces end behind a line, before a letter."""
    masks = masks_of(options)
    masker = private.Masker(masks) if masks else None
    left = "".join(held)
    held.clear()
    for piece in rest:
        cut = _last_cut(left)
        whole, left = left[:cut], left[cut:] + piece
        if whole:
            yield _tidy(masker.feed(whole) if masker else whole, options, kind)
    tail = masker.feed(left) + masker.finish() if masker else left
    yield _tidy(tail, options, kind)


def _last_cut(text: str) -> int:
    """Behind the last line feed that is followed by a non-blank; 0 while there is none.

    A line that is longer than what is held is cut anywhere: memory stays flat.
    """
    at = len(text) - 1
    while (at := text.rfind("\n", 0, at)) >= 0:
        if not text[at + 1].isspace():
            return at + 1
    return len(text) if len(text) > WHOLE_CHARS else 0


def _tidy(text: str, options: CleanConfig, kind: str) -> str:
    if options.tabs_to_spaces:
        text = text.replace("\t", "    ")
    if options.trailing_blanks:
        text = _TRAILING.sub("", text)
    if options.blank_lines:
        text = _BLANK_RUN.sub("\n\n", text)
    if options.unicode_nfc and kind != "code" and not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text


def strip_front_matter(text: str) -> str:
    """The book itself, without what Project Gutenberg puts before and behind it."""
    begin, end = _BEGINS.search(text), _ENDS.search(text)
    first = begin.end() if begin else 0
    last = end.start() if end and end.start() >= first else len(text)
    return text[first:last].lstrip("\n") if begin else text[:last]


def drop_licence(text: str) -> str:
    """Code without the comment at its top, if that speaks of a licence; a shebang stays."""
    first = _SHEBANG.match(text)
    start = first.end() if first else 0
    body = text[start:].lstrip("\n")
    for pattern in _HEADERS:
        header = pattern.match(body)
        if header and _LICENCE.search(header[0]):
            return text[:start] + body[header.end() :].lstrip("\n")
    return text


def strip_comments(text: str, lang: str) -> str:
    """Code without comments; a line that was nothing else goes with them. Unknown: unchanged."""
    pattern = _PATTERNS.get(lang)
    if pattern is None:
        return text
    out, at = [], 0
    for found in pattern.finditer(text):
        if found.groupdict().get("keep") is not None:
            continue
        start, end = found.span()
        line = text.rfind("\n", 0, start) + 1
        if not text[line:start].strip():
            is_alone = end == len(text) or text[end] == "\n"
            start, end = (line, min(end + 1, len(text))) if is_alone else (start, end)
        elif end == len(text) or text[end] == "\n":
            start = line + len(text[line:start].rstrip())
        out.append(text[at : max(at, start)])
        at = max(at, end)
    return "".join([*out, text[at:]])


def strip_docstrings(text: str) -> str:
    """Python without docstrings; code that does not parse, and bodies that are only one, stay."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in somebody else's code
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, UnicodeError):
        return text
    lines = text.encode("utf-8").split(b"\n")  # ast counts columns in bytes
    gone: list[tuple[int, int, int, int]] = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if len(node.body) > 1 and ast.get_docstring(node, clean=False) is not None:
            doc = node.body[0]
            end_line, end_column = doc.end_lineno or doc.lineno, doc.end_col_offset or 0
            gone.append((doc.lineno - 1, doc.col_offset, end_line - 1, end_column))
    for first, left, last, right in sorted(gone, reverse=True):
        before, behind = lines[first][:left], lines[last][right:]
        if behind.strip().startswith(b";"):
            continue  # two statements on one line: leave them
        kept = [before + behind] if (before + behind).strip() else []
        lines[first : last + 1] = kept
    return b"\n".join(lines).decode("utf-8")

"""Pages of the manual: Markdown to blocks, a table's columns, where a word is found."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.token import Token

MAX_HITS = 40
_SNIPPET_CHARS = 110
_GAP_PX = 18  # between the columns of a table
_LEAST_PX = 40


@dataclass(frozen=True)
class Span:
    """Text in one style: any of strong, em, code, hit; with ``target`` it is a link."""

    text: str
    styles: frozenset[str] = frozenset()
    target: str = ""


Spans = tuple[Span, ...]


@dataclass(frozen=True)
class Row:
    """One row of a table; ``anchor`` is that of a first cell which is nothing but a name."""

    cells: tuple[Spans, ...]
    anchor: str = ""


@dataclass(frozen=True)
class Block:
    """One piece of a page, from top to bottom."""

    kind: str  # h1 h2 h3 text code note table
    spans: Spans = ()
    anchor: str = ""
    depth: int = 0  # of a list; 0 is none
    marker: str = ""  # of a list's item, for its first block
    rows: tuple[Row, ...] = ()  # of a table; the first is its head


@dataclass(frozen=True)
class Section:
    """What a search can find: the text beneath one heading, or one row of a table of settings."""

    page: str
    anchor: str
    title: str
    text: str


@dataclass(frozen=True)
class Hit:
    """Where a search leads, and a few words around what was found."""

    page: str
    anchor: str
    title: str
    snippet: Spans


# --- Markdown to blocks


def slug(text: str) -> str:
    """The anchor of a heading: ``E-CFG-KEY -> e-cfg-key``, ``Bits per byte -> bits-per-byte``."""
    return re.sub(r"[^\w-]+", "-", text.lower()).strip("-")


@lru_cache(maxsize=32)
def parse(markdown: str) -> tuple[Block, ...]:
    """The blocks of a page."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return tuple(_blocks(iter(tokens)))


def _blocks(tokens: Iterator["Token"]) -> Iterator[Block]:
    """Walk the flat list of tokens, keeping track of lists and notes."""
    lists: list[tuple[bool, int]] = []  # (is numbered, number of the item) from the outside in
    marker, is_note = "", False
    for token in tokens:
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                lists.append((token.type == "ordered_list_open", 0))
            case "bullet_list_close" | "ordered_list_close":
                lists.pop()
            case "list_item_open":
                is_numbered, number = lists[-1]
                lists[-1] = (is_numbered, number + 1)
                marker = f"{number + 1}." if is_numbered else "•"
            case "blockquote_open" | "blockquote_close":
                is_note = token.type == "blockquote_open"
            case "heading_open":
                spans = inline(next(tokens))
                yield Block(f"h{token.tag[1]}", spans, slug(plain(spans)))
            case "inline":
                kind = "note" if is_note else "text"
                yield Block(kind, inline(token), depth=len(lists), marker=marker)
                marker = ""
            case "fence" | "code_block":
                yield Block("code", (Span(token.content.rstrip("\n")),), depth=len(lists))
            case "table_open":
                yield Block("table", rows=tuple(_rows(tokens)))


def _rows(tokens: Iterator["Token"]) -> Iterator[Row]:
    cells: list[Spans] = []
    for token in tokens:
        if token.type == "inline":
            cells.append(inline(token))
        elif token.type == "tr_close":
            first = cells[0]
            is_name = len(first) == 1 and "code" in first[0].styles
            yield Row(tuple(cells), slug(first[0].text) if is_name else "")
            cells = []
        elif token.type == "table_close":
            return


def inline(token: "Token") -> Spans:
    """The spans of one paragraph, heading or cell."""
    styles: set[str] = set()
    target, spans = "", []
    for part in token.children or ():
        match part.type:
            case "strong_open" | "em_open":
                styles.add(part.type.removesuffix("_open"))
            case "strong_close" | "em_close":
                styles.discard(part.type.removesuffix("_close"))
            case "link_open":
                target = str(part.attrs["href"])
            case "link_close":
                target = ""
            case "code_inline":
                spans.append(Span(part.content, frozenset(styles | {"code"}), target))
            case "softbreak" | "hardbreak":
                spans.append(Span(" ", frozenset(styles), target))
            case _ if part.content:
                spans.append(Span(part.content, frozenset(styles), target))
    return tuple(spans)


def plain(spans: Iterable[Span]) -> str:
    """The text alone."""
    return "".join(span.text for span in spans)


# --- What is in a page


def anchors(blocks: Iterable[Block]) -> set[str]:
    """Everything in a page that a link may point to."""
    found = {block.anchor for block in blocks if block.anchor}
    return found | {row.anchor for block in blocks for row in block.rows if row.anchor}


def targets(blocks: Iterable[Block]) -> Iterator[str]:
    """Where the links of a page lead."""
    for block in blocks:
        cells = [cell for row in block.rows for cell in row.cells]
        for spans in (block.spans, *cells):
            yield from (span.target for span in spans if span.target)


def sections(page: str, blocks: Iterable[Block]) -> Iterator[Section]:
    """A page in the pieces that a search tells apart."""
    title, anchor = "", ""
    texts: list[str] = []
    for block in blocks:
        if block.kind in {"h1", "h2", "h3"}:
            if title:
                yield Section(page, anchor, title, " ".join(texts))
            title, anchor, texts = plain(block.spans), block.anchor, []
            continue
        if block.spans:
            texts.append(plain(block.spans))
        for row in block.rows:
            words = "  ".join(plain(cell) for cell in row.cells)
            if row.anchor:
                name = plain(row.cells[1]) if len(row.cells) > 1 else plain(row.cells[0])
                yield Section(page, row.anchor, name, words)
            else:
                texts.append(words)
    if title:
        yield Section(page, anchor, title, " ".join(texts))


def search(known: Iterable[Section], query: str) -> tuple[Hit, ...]:
    """Sections with every word of ``query`` (or words that begin so); those in titles come first."""
    words = query.lower().split()
    if not words:
        return ()
    patterns = [beginning([word]) for word in words]
    found: list[tuple[int, int, Hit]] = []
    for place, section in enumerate(known):
        in_title = [bool(pattern.search(section.title)) for pattern in patterns]
        in_text = [bool(pattern.search(section.text)) for pattern in patterns]
        if not all(map(any, zip(in_title, in_text, strict=True))):
            continue
        rank = -10 * sum(in_title) - (section.title.lower() == " ".join(words))
        hit = Hit(section.page, section.anchor, section.title, snippet(section.text, words))
        found.append((rank, place, hit))
    return tuple(hit for _, _, hit in sorted(found, key=lambda item: item[:2])[:MAX_HITS])


def beginning(words: Sequence[str]) -> re.Pattern[str]:
    """Any of ``words`` where a word, or a part of a name such as val_loss, begins."""
    return re.compile(f"(?<![^\\W_])(?:{'|'.join(map(re.escape, words))})", re.IGNORECASE)


def snippet(text: str, words: Sequence[str]) -> Spans:
    """About a line of ``text`` around the first of ``words``, with all of them marked."""
    found = beginning(words).search(text)
    start = max(0, (found.start() if found else 0) - _SNIPPET_CHARS // 3)
    if start:
        start = text.find(" ", start) + 1
    end = start + _SNIPPET_CHARS
    cut = text[start:end].rsplit(" ", 1)[0] if end < len(text) else text[start:]
    cut = f"{'… ' if start else ''}{cut}{' …' if end < len(text) else ''}"
    return mark((Span(cut),), words)


def mark(spans: Spans, words: Sequence[str]) -> Spans:
    """The same text with every occurrence of ``words`` in the style hit."""
    if not words:
        return spans
    pattern = beginning(words)
    out: list[Span] = []
    for span in spans:
        end = 0
        for found in pattern.finditer(span.text):
            out.append(replace(span, text=span.text[end : found.start()]))
            out.append(replace(span, text=found.group(), styles=span.styles | {"hit"}))
            end = found.end()
        out.append(replace(span, text=span.text[end:]))
    return tuple(span for span in out if span.text)


# --- Tables: columns and lines. ``measure`` gives the width of a span in pixels.

Measure = Callable[[Span], int]


def column_widths(rows: Sequence[Row], available: int, measure: Measure) -> list[int]:
    """A width for each column: what it asks for, or a fair share when that is too much."""
    columns = list(zip(*(row.cells for row in rows), strict=True))
    sizes = [[sum(map(measure, cell)) + _GAP_PX for cell in column] for column in columns]
    natural = list(map(max, sizes))
    if sum(natural) <= available:
        return natural
    least = [
        min(wish, max(_LEAST_PX, *(_longest_word(cell, measure) for cell in column)) + _GAP_PX)
        for wish, column in zip(natural, columns, strict=True)
    ]
    spare = max(0, available - sum(least))
    # By the usual cell and not the widest: a single long one would starve the other columns.
    usual = [sum(column) / len(column) for column in sizes]
    wishes = [max(1.0, wish - small) for wish, small in zip(usual, least, strict=True)]
    return [
        int(small + spare * wish / sum(wishes)) for small, wish in zip(least, wishes, strict=True)
    ]


def _longest_word(cell: Spans, measure: Measure) -> int:
    words = (replace(span, text=word) for span in cell for word in span.text.split())
    return max(map(measure, words), default=0)


def lay_row(row: Row, widths: Sequence[int], measure: Measure) -> list[tuple[Spans, ...]]:
    """The lines of a row, each with a piece of every column."""
    columns = [
        wrap(cell, width - _GAP_PX, measure) for cell, width in zip(row.cells, widths, strict=True)
    ]
    height = max(map(len, columns))
    padded = [lines + [()] * (height - len(lines)) for lines in columns]
    return list(zip(*padded, strict=True))


def wrap(spans: Spans, width: int, measure: Measure) -> list[Spans]:
    """Break a text at its blanks into lines of at most ``width``; a longer word is cut."""
    lines: list[list[Span]] = [[]]
    used = 0
    for word in _words(spans):
        size = sum(map(measure, word))
        needed = size - measure(word[-1]) + measure(_stripped(word[-1]))
        if used and used + needed > width:
            lines.append([])
            used = 0
        for piece in word if needed <= width else _cut(word, width, measure):
            size = measure(piece)
            if used and needed > width and used + measure(_stripped(piece)) > width:
                lines.append([])
                used = 0
            lines[-1].append(piece)
            used += size
    return [tuple(line) for line in lines]


def _words(spans: Spans) -> Iterator[list[Span]]:
    """The words with the blanks behind them; one may change its style in the middle."""
    word: list[Span] = []
    for span in spans:
        for piece in re.findall(r"\S+\s*|\s+", span.text):
            word.append(replace(span, text=piece))
            if piece[-1].isspace():
                yield word
                word = []
    if word:
        yield word


def _stripped(span: Span) -> Span:
    return replace(span, text=span.text.rstrip())


def _cut(word: list[Span], width: int, measure: Measure) -> Iterator[Span]:
    """A word that is wider than a line, in parts that are not."""
    for piece in word:
        rest = piece
        while measure(_stripped(rest)) > width and len(rest.text) > 1:
            length = max(1, len(rest.text) * width // max(1, measure(rest)))
            yield replace(rest, text=rest.text[:length])
            rest = replace(rest, text=rest.text[length:])
        yield rest

"""HTML as a reader sees it: the text of a page line by line, without scripts and styles.

What a block element holds gets lines of its own, a paragraph or a heading a blank line around it,
the cells of a table row a tab between them. Nothing is added but these.
"""

import codecs
import re

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

from sllm_core.corpus.extract import SkipFile, detect_encoding
from sllm_core.corpus.streams import encoding_of_mark

_HIDDEN_TAGS = frozenset(
    "script style template head noscript title iframe object embed canvas audio video svg "
    "select datalist textarea annotation annotation-xml rt rp -comment".split()
)
_BLOCKS = frozenset(
    "address article aside body caption center dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form header hgroup hr html legend li main menu nav ol optgroup "
    "option search section summary tbody tfoot thead tr ul".split()
)
_APART = frozenset("p h1 h2 h3 h4 h5 h6 pre blockquote table listing plaintext xmp".split())
_PRE = frozenset("pre listing plaintext xmp".split())
_CELLS = frozenset(["td", "th"])
_BREAKS = dict.fromkeys(_BLOCKS, 1) | dict.fromkeys(_APART, 2)
_SHAPING = _BREAKS.keys() | _CELLS | {"br"}  # most elements are not among them
_HIDDEN = '[hidden],[style*="display:none"],[style*="display: none"]'
_BLANKS = re.compile(r"[ \t\n\f\r]+")
_HEAD_BYTES = 4096
_META = re.compile(
    rb"<meta\s[^>]{0,400}?charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE
)
_XML = re.compile(
    rb"\s{0,99}<\?xml\s[^>]{0,200}?encoding\s{0,9}=\s{0,9}[\"']([A-Za-z0-9_.:-]{1,40})"
)
# What a page may say of itself; other names Python knows are no encodings of pages (rot13, utf-7).
_STATED = re.compile(
    r"cp125[0-8]|cp866|cp874|cp932|cp949|iso8859-\d+|koi8-[ru]|shift_jis\w*|euc_\w+|iso2022_jp\w*"
    r"|gb2312|gbk|gb18030|big5\w*|tis-620|mac-(?:roman|cyrillic)|utf-8|ascii"
)
# What browsers read these names as: the larger code page, of which the named one is a part.
_WIDER = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030",
          "gbk": "gb18030", "euc_kr": "cp949", "shift_jis": "cp932", "tis-620": "cp874"}  # fmt: skip


def decode_page(data: bytes) -> tuple[str, str]:
    """(text, encoding) of a page: byte-order mark, UTF-8, what the page says, detection.

    Valid UTF-8 wins over another statement: other text is hardly ever valid UTF-8 by accident.

    Raises:
        SkipFile: it is binary, or in no known encoding.
    """
    encoding = encoding_of_mark(data)
    if not encoding:
        stated = _stated_encoding(data)
        tries = [stated, "utf-8"] if stated.startswith("iso2022") else ["utf-8", stated]
        encoding = next((name for name in tries if name and _fits(data, name)), "")
    try:
        text = data.decode(encoding or detect_encoding(data[: 1 << 20]))
    except UnicodeError as problem:
        raise SkipFile("encoding", f"not {encoding}: {problem}") from problem
    if "\0" in text:
        raise SkipFile("binary", "it holds NUL characters")
    return text, encoding or detect_encoding(data[: 1 << 20])


def _fits(data: bytes, encoding: str) -> bool:
    try:
        codecs.getdecoder(encoding)(data, "strict")
    except UnicodeError:
        return False
    return True


def _stated_encoding(data: bytes) -> str:
    head = data[:_HEAD_BYTES]
    found = _XML.match(head) or _META.search(head)
    if found is None:
        return ""
    try:
        name = codecs.lookup(found[1].decode("ascii")).name
    except LookupError:
        return ""
    return _WIDER.get(name, name) if _STATED.fullmatch(name) else ""


def page_text(page: str) -> str:
    """The visible text of a page, one line feed at its end.

    Raises:
        SkipFile: the parser gave up.
    """
    try:
        parser = LexborHTMLParser(page)
        root = parser.root
        hidden = {node.mem_id for node in parser.css(_HIDDEN)}
    except SelectolaxError as problem:
        raise SkipFile("parse", str(problem)[:80]) from problem
    out = _Lines()
    n_pre = 0
    node = root
    while node is not None:
        tag = node.tag or ""
        inner = None
        if tag == "-text":
            out.add(node.text_content or "", is_pre=n_pre > 0)
        elif tag not in _HIDDEN_TAGS and not (hidden and node.mem_id in hidden):
            if tag in _SHAPING:
                out.enter(tag)
                n_pre += tag in _PRE
            inner = node.child
            if inner is None and tag in _BREAKS:
                out.leave(tag)
                n_pre -= tag in _PRE
        while inner is None and node is not None:  # go on beside, or above
            inner = node.next
            if inner is None and (node := node.parent) is not None and node.tag in _BREAKS:
                out.leave(node.tag)
                n_pre -= node.tag in _PRE
        node = inner
    return out.text()


class _Lines:
    """Puts pieces of text together: runs of blanks become one, breaks are made once."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._n_breaks = self._n_hard = 0  # wanted by blocks; by <br>
        self._is_spaced = self._is_tabbed = self._has_cell = False
        self._n_ends = 2  # line feeds at the end of what is there; the beginning needs none

    def enter(self, tag: str) -> None:
        """An element begins."""
        if tag == "br":
            self._n_hard += 1
            self._is_spaced = False
        elif tag in _CELLS:
            self._is_tabbed, self._has_cell = self._has_cell, True
        elif n := _BREAKS.get(tag):
            self._n_breaks = max(self._n_breaks, n)
            self._is_spaced = False
            if tag == "tr":
                self._has_cell = False

    def leave(self, tag: str) -> None:
        """An element ends."""
        if n := _BREAKS.get(tag):
            self._n_breaks = max(self._n_breaks, n)
            self._is_spaced = False

    def add(self, text: str, *, is_pre: bool) -> None:
        """What stands between two tags."""
        if is_pre:
            if text:
                self._begin()
                self._parts.append(text)
                self._n_ends = len(text) - len(text.rstrip("\n"))
            return
        text = _BLANKS.sub(" ", text)
        body = text.strip(" ")
        if not body:
            self._is_spaced = self._is_spaced or bool(text)
            return
        if text[0] == " ":
            self._is_spaced = True
        if self._n_breaks or self._n_hard or self._is_tabbed or self._is_spaced:
            self._begin()
        self._parts.append(body)
        self._n_ends = 0
        self._is_spaced = text[-1] == " "

    def _begin(self) -> None:
        """Put the breaks, the tab or the blank before what comes next."""
        missing = max(self._n_breaks, self._n_hard) - self._n_ends
        if missing > 0 and self._parts:
            self._parts.append("\n" * missing)
        elif self._is_tabbed and self._parts and not self._n_breaks:
            self._parts.append("\t")
        elif self._is_spaced and not self._n_ends:
            self._parts.append(" ")
        self._n_breaks = self._n_hard = 0
        self._is_spaced = self._is_tabbed = False

    def text(self) -> str:
        """Everything, with one line feed at its end."""
        return "".join(self._parts).rstrip("\n") + "\n" if self._parts else ""

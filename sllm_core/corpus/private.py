"""Keys, passwords, e-mail addresses, phone numbers and IP addresses in a text: found, and masked.

Every pattern is bounded and tried once at each place where a fixed piece of it, or a long word,
stands: the time is linear whatever the text is. What was found is never kept, only its kind, its
line and a short hash that tells two findings apart.

Addresses that belong to nobody are no finding: example.com and its like (RFC 2606), private,
local and documentation networks (RFC 1918, 5737), and four single digits with dots, which are
nearly always the number of a version. Of IPv6 and of phone numbers without a country or area code
nothing is found.
"""

import hashlib
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from sllm_core.corpus.spans import bounds

SECRET, EMAIL, PHONE, IP = KINDS = ("secret", "email", "phone", "ip")
_PLURALS = {SECRET: "secrets", EMAIL: "emails", PHONE: "phones", IP: "ips"}


class Finding(NamedTuple):
    """Where something private stands."""

    kind: str
    line: int  # from 1
    mark: str  # twelve hex digits: equal for equal text under the same salt, and nothing else


class _Place(NamedTuple):
    start: int
    end: int
    kind: str


# Forms of keys as the services publish them for scanners. All are words of 16 letters or more.
_KEYS = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    rb"A(?:KIA|SIA)[A-Z2-7]{16}(?![A-Za-z0-9])"
    rb"|gh[pousr]_[A-Za-z0-9]{36,80}|github_pat_[A-Za-z0-9_]{40,100}|glpat-[A-Za-z0-9_-]{20,64}"
    rb"|xox[abeoprs]-[A-Za-z0-9-]{10,250}"
    rb"|sk-(?:[a-z]{2,8}-){0,2}(?=[A-Za-z_-]{0,40}[0-9])[A-Za-z0-9_-]{20,200}"
    rb"|[sr]k_live_[A-Za-z0-9]{16,200}|AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9])"
    rb"|hf_(?=[A-Za-z]{0,33}[0-9A-Z])[A-Za-z0-9]{34,60}|npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"
    rb"|pypi-Ag[A-Za-z0-9_-]{50,300})"
)
_JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{13,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,2000}")
_LEAST_WORD = 16
_DIGITS = b"0123456789"
_WORD_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+/"
_IN_WORD = bytes(byte in _WORD_BYTES for byte in range(256))
# What stands before a value that is meant to be secret: api_key = "...", "token": "..." .
_NAMED = re.compile(
    rb"(?:key|secret|token|passw(?:or)?d|passwd|pwd|credentials?|auth)[\w.-]{0,24}[\"'\])]{0,2}"
    rb"[ \t]{0,4}(?::=|=>|[:=])[ \t]{0,4}[rbf]?[\"']?$",
    re.IGNORECASE,
)
_LOOK_BACK = 72
_VALUE_BYTES = range(16, 200)
_LEAST_ENTROPY = 3.5  # bits a character; words and names with digits stay below
# Between letters and digits, from small to capital: random text has twice as many as camelCase.
_CHANGE = re.compile(rb"[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])|[a-z](?=[A-Z])")
_LEAST_CHANGES = 0.25
_HEX = re.compile(rb"[0-9a-f]{32,}|[0-9A-F]{32,}")
_HEX_ENTROPY = 3.0  # of at most 4
_PLACEHOLDER = re.compile(
    rb"example|sample|placeholder|changeme|your|dummy|test|fake|insert|xxxx|0000|1234567|abcdef",
    re.IGNORECASE,
)

_LOGIN = re.compile(rb"://[^\s/:@\"'<>`]{0,80}:([^\s/:@\"'<>`]{3,100})@[A-Za-z0-9\[]")
_NO_PASSWORD = re.compile(
    rb"[${%*\[(].*|x+|\.+|pass(?:w(?:or)?d)?|pwd|secret|pw|user(?:name)?|token|foo|bar|1234\d*",
    re.IGNORECASE,
)

_MAIL_DOMAIN = re.compile(rb"@((?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,6}([A-Za-z]{2,24}))(?![\w-])")
_MAIL_NAME = re.compile(rb"[A-Za-z0-9._%+-]{0,63}[A-Za-z0-9_]")  # matched backwards
_NO_MAIL_ENDS = frozenset(
    b"png jpg jpeg gif svg webp css js py service target socket timer mount slice so".split()
)
_NOBODYS = re.compile(
    rb"(?:.*\.)?(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local)",
    re.IGNORECASE,
)

_QUAD = re.compile(rb"\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.\d)")  # from the first dot on
_DIGITS_BEFORE = re.compile(rb"(?<![\w.=~^<>+-])\d{1,3}$")
_PHONES = (  # each begins with a fixed letter, so that it is tried only there
    re.compile(rb"\+[1-9]\d{0,2}(?:[ .()-]{1,2}\d{1,8}){1,5}(?![\w-])|\+[1-9]\d{9,13}(?![\w.-])"),
    re.compile(rb"\([2-9]\d\d\) ?[2-9]\d\d-\d{4}(?![\w-])"),
)
_NOT_BEFORE_PHONE = re.compile(rb"[\w+/=.)-]")
_DIALLED = re.compile(rb"-[2-9]\d\d-\d{4}(?![\w-])")
_AREA_BEFORE = re.compile(rb"(?<![\w.+/=-])[2-9]\d\d$")
_PHONE_DIGITS = range(8, 16)


def find(text: str, kinds: Collection[str] = KINDS, *, salt: bytes = b"") -> list[Finding]:
    """What is private in a text, in order.

    Args:
        text: any text.
        kinds: which of `KINDS` to look for.
        salt: of the project, at most 64 bytes, so that marks of two projects do not compare.
    """
    data = text.encode("utf-8", "surrogatepass")
    found, line, at = [], 1, 0
    for place in _places(data, kinds):
        line += data.count(b"\n", at, place.start)
        at = place.start
        secret = data[place.start : place.end]
        mark = hashlib.blake2b(secret, key=salt, digest_size=6).hexdigest()
        found.append(Finding(place.kind, line, mark))
    return found


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """How many of each kind: {"secrets": 2, "emails": 3}; kinds without any are left out."""
    return dict(Counter(_PLURALS[finding.kind] for finding in findings))


def mask(text: str, kinds: Collection[str] = KINDS) -> tuple[str, int]:
    """The text with `<secret>`, `<email>`, `<phone>` or `<ip>` in place of each; and how many."""
    masker = Masker(kinds)
    masked = masker.feed(text) + masker.finish()
    return masked, masker.count


class Masker:
    """Masks a long text piece by piece; each piece but the last ends with a line.

    However the text is cut, the result is that of `mask` on the whole. A private key of many lines
    is held back until its end has been seen.
    """

    def __init__(self, kinds: Collection[str] = KINDS) -> None:
        self.count = 0
        self._kinds = frozenset(kinds)
        self._held = b""

    def feed(self, piece: str) -> str:
        """What of the text is sure by now."""
        data = self._held + piece.encode("utf-8", "surrogatepass")
        start = _open_block(data) if SECRET in self._kinds else len(data)
        self._held = data[start:]
        return self._masked(data[:start])

    def finish(self) -> str:
        """The rest, at the end of the text."""
        data, self._held = self._held, b""
        return self._masked(data)

    def _masked(self, data: bytes) -> str:
        parts, at = [], 0
        for place in _places(data, self._kinds):
            parts += [data[at : place.start], b"<%s>" % place.kind.encode()]
            at = place.end
            self.count += 1
        parts.append(data[at:])
        return b"".join(parts).decode("utf-8", "surrogatepass")


def _places(data: bytes, kinds: Collection[str]) -> list[_Place]:
    """What is private, from the left; where two overlap, the earlier one counts, then the longer."""
    places: list[_Place] = []
    for kind, search in _SEARCHES:
        if kind in kinds:
            places += (_Place(start, end, kind) for start, end in search(data))
    if len(places) < 2:
        return places
    places.sort(key=lambda place: (place.start, -place.end))
    kept = places[:1]
    for place in places[1:]:
        if place.start >= kept[-1].end:
            kept.append(place)
    return kept


def _long_words(data: bytes) -> Iterator[tuple[int, int]]:
    """Keys by their form, and values that look random behind a name that says they are secret."""
    if len(data) < _LEAST_WORD:
        return
    is_run = np.frombuffer(data.translate(_IN_WORD), np.bool_)
    for step in (1, 2, 4, 8):  # true where 2, 4, 8, 16 bytes of a word begin
        is_run = is_run[:-step] & is_run[step:]
    starts, ends = bounds(is_run)
    for start, end in zip(starts.tolist(), (ends + _LEAST_WORD - 1).tolist(), strict=True):
        word = data[start:end]
        if len(word.translate(None, _DIGITS)) == len(word):
            continue  # a name, a path, a ruler; a random key of only letters is rare
        keys = [(start + key.start(), start + key.end()) for key in _KEYS.finditer(word)]
        if word.startswith(b"eyJ") and (token := _JWT.match(data, start)):
            keys = [token.span()]
        if not keys and len(word) in _VALUE_BYTES:
            before = data[max(0, start - _LOOK_BACK) : start]
            if _NAMED.search(before) and _looks_random(word):
                while data[end : end + 1] == b"=":  # the padding of base64
                    end += 1
                keys = [(start, end)]
        yield from keys


def _looks_random(word: bytes) -> bool:
    """Whether no person would write this as a name: letters and digits in turns, many different."""
    n_changes = len(_CHANGE.findall(word))
    if n_changes < max(3, _LEAST_CHANGES * len(word)) or _PLACEHOLDER.search(word):
        return False
    shares = [times / len(word) for times in Counter(word).values()]
    entropy = -sum(share * math.log2(share) for share in shares)
    return entropy >= (_HEX_ENTROPY if _HEX.fullmatch(word) else _LEAST_ENTROPY)


def _logins(data: bytes) -> Iterator[tuple[int, int]]:
    """Passwords in URLs; only the password itself."""
    for login in _LOGIN.finditer(data):
        if not _NO_PASSWORD.fullmatch(login[1]):
            yield login.span(1)


_BEGIN = re.compile(rb"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(rb"-----END (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_OPENED = re.compile(rb"(?:[\"' \t,+\\\r]|\\n){0,12}$")
_BODY = re.compile(
    rb"[\"' \t#*/>]{0,40}(?:[A-Za-z0-9+/=]{0,200}|[A-Z][A-Za-z-]{2,20}: [^\n]{0,200})"
    rb"(?:[\"' \t,+;\\\r]|\\n){0,12}"
)
_KEY_LINE = re.compile(rb"[A-Za-z0-9+/]{32}")
_MAX_LINES = 1_000


class _Block(NamedTuple):
    start: int
    end: int
    has_key: bool  # else only its first line was there, as in a program that looks for keys
    is_sure: bool  # more text would not change it


def _scan_blocks(data: bytes) -> Iterator[_Block]:
    """What begins like a private key, from the left."""
    at = 0
    while begin := _BEGIN.search(data, at):
        block = _block(data, begin)
        yield block
        at = block.end if block.has_key else _line_end(data, begin.end())


def _blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """Private keys between their BEGIN and END."""
    return ((block.start, block.end) for block in _scan_blocks(data) if block.has_key)


def _open_block(data: bytes) -> int:
    """The line where a private key begins that has no end yet; the length when there is none."""
    start, last = 0, -1
    for block in _scan_blocks(data):
        line = data.rfind(b"\n", max(last, 0), block.start) + 1
        if line or last < 0:  # else the one before ends in the line where this one begins
            start = line
        if not block.is_sure:
            return start
        last = block.end
    return len(data)


def _line_end(data: bytes, at: int) -> int:
    end = data.find(b"\n", at)
    return len(data) if end < 0 else end


def _block(data: bytes, begin: re.Match[bytes]) -> _Block:
    """From BEGIN to END, or as long as the lines look like a key."""
    line_end = _line_end(data, begin.end())
    if not _OPENED.match(data, begin.end(), line_end):  # all of it in one line, as in JSON
        end = _END.search(data, begin.end(), line_end)
        stop = end.end() if end else line_end
        has_key = _KEY_LINE.search(data, begin.end(), stop) is not None
        return _Block(begin.start(), stop, has_key, is_sure=True)
    has_key, last = False, line_end
    for _ in range(_MAX_LINES):
        start = line_end + 1
        if start >= len(data):
            return _Block(begin.start(), last, has_key, is_sure=False)
        line_end = _line_end(data, start)
        if end := _END.search(data, start, line_end):
            return _Block(begin.start(), end.end(), has_key, is_sure=True)
        if not _BODY.fullmatch(data, start, line_end):
            break
        has_key = has_key or _KEY_LINE.search(data, start, line_end) is not None
        last = line_end
    return _Block(begin.start(), last, has_key, is_sure=True)


def _mails(data: bytes) -> Iterator[tuple[int, int]]:
    """E-mail addresses."""
    for domain in _MAIL_DOMAIN.finditer(data):
        at = domain.start()
        name = _MAIL_NAME.match(data[max(0, at - 64) : at][::-1])
        if not name or domain[2].lower() in _NO_MAIL_ENDS or _NOBODYS.fullmatch(domain[1]):
            continue
        start = at - name.end()
        if data[start:at] != b"git" and data[start - 1 : start] not in {b":", b"/"}:
            yield start, domain.end()


def _phones(data: bytes) -> Iterator[tuple[int, int]]:
    """Phone numbers with the code of a country, or an American area code."""
    for pattern in _PHONES:
        for number in pattern.finditer(data):
            n_digits = len(number[0]) - len(number[0].translate(None, _DIGITS))
            before = data[number.start() - 1 : number.start()]
            if n_digits in _PHONE_DIGITS and not _NOT_BEFORE_PHONE.match(before):
                yield number.span()
    for number in _DIALLED.finditer(data):
        area = _AREA_BEFORE.search(data, max(0, number.start() - 4), number.start())
        if area:
            yield area.start(), number.end()


def _addresses(data: bytes) -> Iterator[tuple[int, int]]:
    """Public IPv4 addresses."""
    for quad in _QUAD.finditer(data):
        first = _DIGITS_BEFORE.search(data, max(0, quad.start() - 4), quad.start())
        if not first:
            continue
        address = (first[0] + quad[0]).decode()
        if len(address) == len("1.2.3.4"):
            continue
        try:
            is_public = ipaddress.IPv4Address(address).is_global
        except ValueError:
            continue
        if is_public and int(first[0]) < 224:  # above: groups, not hosts
            yield first.start(), quad.end()


_SEARCHES: tuple[tuple[str, Callable[[bytes], Iterator[tuple[int, int]]]], ...] = (
    (SECRET, _blocks),
    (SECRET, _long_words),
    (SECRET, _logins),
    (EMAIL, _mails),
    (PHONE, _phones),
    (IP, _addresses),
)

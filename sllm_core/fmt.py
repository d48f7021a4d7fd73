"""Numbers, durations and file names in the words a person reads."""

import math
import os
import unicodedata

_SCALE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def count(value: float | None) -> str:
    """``1234567 -> '1.23 M'``; unknown is '-'."""
    if value is None:
        return "-"
    for scale, letter in _SCALE:
        if abs(value) >= 0.9995 * scale:  # 999,999 is 1 M, not 1e+03 k
            digits = ".0f" if abs(value) >= 999.5 * scale else ".3g"
            return f"{value / scale:{digits}} {letter}"
    return f"{value:.4g}"


def size(n_bytes: float | None) -> str:
    """Bytes with the 1024-based unit that fits; unknown is '-'."""
    if n_bytes is None:
        return "-"
    amount = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(abs(amount), 0 if unit == "B" else 1) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def duration(seconds: float | None) -> str:
    """``3725 -> '1 h 02 min'``; unknown is '-'."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "-"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def number(value: float | None, digits: int = 3) -> str:
    """A measured number, unknown as '-'."""
    return "-" if value is None else f"{value:.{digits}f}"


def parse_duration(text: str) -> float:
    """Seconds in ``'45m'``, ``'1h30m'``, ``'90s'`` or ``'2'`` (minutes).

    Raises:
        ValueError: the text is not a duration above zero.
    """
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    seconds, digits = 0.0, ""
    try:
        for letter in text.strip().lower().replace("min", "m").replace(" ", ""):
            if letter in units and digits:
                seconds, digits = seconds + float(digits) * units[letter], ""
            else:
                digits += letter
        if digits:
            seconds += float(digits) * 60
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ValueError(f"{text!r} is not a length of time such as 45m or 1h30m")
    return seconds


def path_text(path: bytes | str) -> str:
    """A file name that is safe on a screen, in a log and in a table.

    Control, bidirectional and undecodable characters are escaped; a leading ``= + - @`` gets an
    apostrophe, so that no spreadsheet takes the name for a formula.
    """
    name = os.fsdecode(path)
    safe = "".join(
        letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        if unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} or letter in _BIDI
        else letter
        for letter in name
    )
    return f"'{safe}" if safe[:1] in {"=", "+", "-", "@"} else safe

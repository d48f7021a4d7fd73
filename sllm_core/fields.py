"""One description of a setting: its form, tooltip, flag, limits and message are made from it."""

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sllm_core.errors import ConfigError

_SHOWN_CHARS = 24  # of a value that cannot be
_NAMED = re.compile(r"^.* cannot be .*: (?=it must|the smallest|the largest|choose one)")


@dataclass(frozen=True)
class Info:
    """What a person is told about a setting, and the limits it must keep."""

    label: str
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    auto: str = ""  # how the value is found when it is left open (None)
    is_advanced: bool = False


def option(
    default: Any,
    label: str,
    text: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    auto: str = "",
    is_advanced: bool = False,
) -> Any:
    """A dataclass field that carries its :class:`Info`; the help anchor is the field's name."""
    info = Info(label, text, unit, minimum, maximum, choices, auto, is_advanced)
    return dataclasses.field(default=default, metadata={"info": info})


def info(section: Any, name: str) -> Info:
    """The description of field ``name`` of a config dataclass or instance."""
    found: Info = {f.name: f for f in dataclasses.fields(section)}[name].metadata["info"]
    return found


def _base_type(hint: Any) -> tuple[Any, bool]:
    """``int | None -> (int, True)``; ``tuple[str, ...] -> (tuple, False)``."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        return typing.get_origin(parts[0]) or parts[0], True
    return typing.get_origin(hint) or hint, False


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Working them out takes longer than checking a whole section."""
    return typing.get_type_hints(kind)


def _refuse(name: str, label: str, value: object, why: str) -> ConfigError:
    shown = repr(value)
    if len(shown) > _SHOWN_CHARS:
        shown = f"{shown[:_SHOWN_CHARS]}\N{HORIZONTAL ELLIPSIS}"
    return ConfigError(
        "FIELD", f"{label} ({name}) cannot be {shown}: {why}.", safe="Nothing was changed."
    )


def short(problem: ConfigError) -> str:
    """The reason for a line beneath the field: field and value need not be named again."""
    reason = _NAMED.sub("", problem.what)
    return f"{reason[:1].upper()}{reason[1:]}"


def check(section: Any) -> None:
    """Check type, range and choice of every described field of a config instance.

    Raises:
        ConfigError: E-CFG-FIELD, naming the field, its value and its limit.
    """
    hints = _hints(_class_of(section))
    for field in dataclasses.fields(section):
        about: Info | None = field.metadata.get("info")
        if about is None:
            continue
        value = getattr(section, field.name)
        kind, may_be_open = _base_type(hints[field.name])
        if value is None and may_be_open:
            continue
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = _float(value)
            object.__setattr__(section, field.name, value)
        if kind is tuple and isinstance(value, list):
            value = tuple(value)
            object.__setattr__(section, field.name, value)
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise _refuse(field.name, about.label, value, f"it must be {_words(kind)}")
        _check_limits(field.name, about, value)


def _check_limits(name: str, about: Info, value: Any) -> None:
    if isinstance(value, tuple):
        if not all(isinstance(item, str) for item in value):
            raise _refuse(name, about.label, value, "it must be a list of texts")
        return
    if about.choices and value not in about.choices:
        raise _refuse(name, about.label, value, f"choose one of {', '.join(about.choices)}")
    if not isinstance(value, int | float):
        return
    if not math.isfinite(_float(value)):
        raise _refuse(name, about.label, value, "it must be a finite number")
    unit = f" {about.unit}" if about.unit else ""
    if about.minimum is not None and value < about.minimum:
        raise _refuse(name, about.label, value, f"the smallest is {about.minimum:.12g}{unit}")
    if about.maximum is not None and value > about.maximum:
        raise _refuse(name, about.label, value, f"the largest is {about.maximum:.12g}{unit}")


def _float(value: float) -> float:
    """A number from JSON as float; a whole number too large for one is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _words(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "on or off", str: "text"}
    return words.get(kind, "a list of texts")


def parse(section: Any, name: str, text: str) -> Any:
    """The value that ``text`` means for field ``name`` (``auto`` leaves it open).

    Raises:
        ConfigError: the text is not a value of that type.
    """
    kind, may_be_open = _base_type(_hints(_class_of(section))[name])
    about = info(section, name)
    word = text.strip()
    if may_be_open and word.lower() in {"auto", "none", "-"}:
        return None
    try:
        if kind is bool:
            return _SWITCH[word.lower()]
        if kind is int:
            return _whole(word) if "e" in word.lower() else int(word)
        if kind is float:
            return float(word)
    except (ValueError, OverflowError, KeyError):
        raise _refuse(name, about.label, text, f"it must be {_words(kind)}") from None
    if kind is tuple:
        return _split_list(text)
    return word


def to_text(section: Any, name: str, value: Any) -> str:
    """The text of a form for a value, which `parse` takes back; ``auto`` for one left open."""
    if value is None:
        return "auto"
    kind, _ = _base_type(_hints(_class_of(section))[name])
    if kind is bool:
        return "on" if value else "off"
    if kind is tuple:
        return ", ".join(_quoted(part) for part in value)
    if kind is float:
        return _short(float(value))
    return str(value)


_LIST_PART = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:,|$)|([^,]*)(?:,|$)')


def _split_list(text: str) -> tuple[str, ...]:
    """``'The, "def "' -> ('The', 'def ')``: quotes keep blanks and commas, and are doubled inside."""
    parts = []
    for found in _LIST_PART.finditer(text):
        quoted, plain = found.groups()
        part = plain.strip() if quoted is None else quoted.replace('""', '"')
        if part:
            parts.append(part)
    return tuple(parts)


def _quoted(part: str) -> str:
    if part == part.strip() and "," not in part and not part.startswith('"'):
        return part
    return '"' + part.replace('"', '""') + '"'


def _short(value: float) -> str:
    """``0.02``, ``10000``, ``3e-05``: the shortest text that means exactly this number."""
    text = repr(value)
    return text.removesuffix(".0") if abs(value) < 1e15 else text


_SWITCH = dict.fromkeys(("on", "true", "yes", "1"), True) | dict.fromkeys(
    ("off", "false", "no", "0"), False
)


def _whole(word: str) -> int:
    """``'1e6' -> 1000000``; 1.5e0 is no whole number."""
    value = float(word)
    if not value.is_integer():
        raise ValueError(word)
    return int(value)


def _class_of(section: Any) -> Any:  # Any: mypy takes no type for a key of the cache
    return section if isinstance(section, type) else type(section)


def nearest(name: str, known: list[str]) -> str:
    """`` Did you mean 'x'?`` or nothing."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""


def from_mapping(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """Build config dataclass ``kind`` from parsed JSON, refusing unknown keys.

    Raises:
        ConfigError: E-CFG-KEY for a key that is no field or is missing, E-CFG-FIELD for a bad value.
    """
    if not isinstance(values, Mapping):
        raise ConfigError("FIELD", f"{where} must be a JSON object, not {str(values)[:60]!r}.")
    known = [field.name for field in dataclasses.fields(kind)]
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is dataclasses.MISSING:
            raise ConfigError("KEY", f"{where} lacks the setting {field.name!r}.")
    for key in values:
        if key not in known:
            raise ConfigError(
                "KEY", f"{where} has no setting {key!r}.{nearest(key, known)}", safe=""
            )
    return kind(**values)


def describe(kind: type) -> str:
    """A Markdown table of a config dataclass: name, label, what it does, limits, default."""
    rows = ["| setting | label | what it does | range | default |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        about: Info = field.metadata["info"]
        default = f"open: {about.auto}" if field.default is None else _shown(field.default)
        if about.auto and field.default == "auto":
            default = f"auto: {about.auto}"
        cells = (f"`{field.name}`", about.label, about.help, _range(about), default)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return str(value)


def _range(about: Info) -> str:
    if about.choices:
        return ", ".join(about.choices)
    ends = [f"{end:,.12g}" for end in (about.minimum, about.maximum) if end is not None]
    if about.minimum is not None and about.maximum is None:
        ends = [f"from {ends[0]}"]
    return f"{' to '.join(ends)} {about.unit}".strip() or "-"

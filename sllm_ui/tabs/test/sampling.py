"""The sampling card without its widgets: presets, sliders, stop texts and the order of filters."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sllm_core import fields
from sllm_core.config import SamplingConfig
from sllm_core.errors import ConfigError

DRAWING = ("temperature", "top_k", "top_p", "repetition_penalty")  # what every preset sets
SLIDING = (*DRAWING, "max_new_tokens")
SAVED = (*SLIDING, "stop")  # what a preset of the user's sets
LIKELIEST_BELOW = 1e-5  # a temperature under this is 0, as in sllm_core.sampler
MAX_NAME = 40
MAX_PRESETS = 50


@dataclass(frozen=True)
class Slide:
    """The useful part of a field's range; its number field takes the whole of it."""

    low: float
    high: float
    step: float


SLIDES = {
    "temperature": Slide(0, 2, 0.05),
    "top_k": Slide(0, 200, 1),
    "top_p": Slide(0, 1, 0.01),
    "repetition_penalty": Slide(0.5, 2, 0.05),
    "max_new_tokens": Slide(10, 1000, 10),
}
BUILT_IN: dict[str, dict[str, Any]] = {
    "Balanced": {name: getattr(SamplingConfig(), name) for name in DRAWING},
    "Precise": dict(zip(DRAWING, (0.3, 20, 0.8, 1.1), strict=True)),
    "Bold": dict(zip(DRAWING, (1.1, 100, 0.98, 1.1), strict=True)),
    "Greedy": dict(zip(DRAWING, (0.0, 0, 1.0, 1.2), strict=True)),
}


def snap(name: str, place: float) -> float | int:
    """The value of a slider at ``place``: a whole number of steps, inside its range."""
    slide = SLIDES[name]
    steps = round((place - slide.low) / slide.step)
    value = min(slide.high, max(slide.low, slide.low + steps * slide.step))
    return int(value) if isinstance(getattr(SamplingConfig(), name), int) else round(value, 4)


def changed(sampling: SamplingConfig, name: str, value: Any) -> SamplingConfig:
    """The same with one value replaced."""
    return replace(sampling, **{name: value})


def to_text(name: str, value: Any) -> str:
    """The text of a field; breaks and tabs in stop texts are shown as ``\\n`` and ``\\t``."""
    if name == "stop":
        value = tuple(_escape(stop) for stop in value)
    return fields.to_text(SamplingConfig, name, value)


def parse(name: str, text: str) -> Any:
    """The checked value that a person typed.

    Raises:
        ConfigError: it is none that the field takes.
    """
    value = fields.parse(SamplingConfig, name, text)
    if name == "stop":
        value = tuple(_unescape(stop) for stop in value)
    SamplingConfig(**{name: value})
    return value


_SIGNS = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_LETTERS = {"\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


def _escape(text: str) -> str:
    return "".join(_SIGNS.get(letter, letter) for letter in text)


def _unescape(text: str) -> str:
    return re.sub(r"\\([\\ntr])", lambda found: _LETTERS[found[1]], text)


def order(sampling: SamplingConfig) -> str:
    """How the next token is found with these values, in one line."""
    penalty = "repetition penalty" + (" (off)" if sampling.repetition_penalty == 1 else "")
    if sampling.temperature < LIKELIEST_BELOW:
        return f"Order: {penalty}, then the likeliest token. Top-k, top-p and seed play no part."
    top_k = "top-k" + (" (off)" if sampling.top_k == 0 else "")
    top_p = "top-p" + (" (off)" if sampling.top_p >= 1 else "")
    return f"Order: {penalty}, {top_k}, {top_p}, temperature, then one is drawn."


# --- presets of the user's own


def read_presets(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Saved presets by name; one that this version cannot use is left out."""
    found = {}
    for line in lines:
        try:
            body = json.loads(line)
            values = {name: body["values"][name] for name in SAVED if name in body["values"]}
            checked = dataclasses.asdict(SamplingConfig(**values))
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError):
            continue
        if isinstance(body.get("name"), str) and values:
            found[body["name"]] = {name: checked[name] for name in values}
    return found


def write_presets(presets: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The lines that `read_presets` takes back."""
    rows = ({"name": name, "values": dict(values)} for name, values in presets.items())
    return tuple(json.dumps(row, ensure_ascii=False) for row in rows)


def name_of(sampling: SamplingConfig, mine: Mapping[str, Mapping[str, Any]]) -> str:
    """The preset that these values are, '' for none; the user's own come first."""
    for name, values in (*mine.items(), *BUILT_IN.items()):
        if all(getattr(sampling, key) == value for key, value in values.items()):
            return name
    return ""


def check_name(name: str, mine: Iterable[str]) -> str:
    """What is wrong with the name of a new preset, '' when nothing is."""
    word = name.strip()
    if not word:
        return "It needs a name."
    if len(word) > MAX_NAME:
        return f"At most {MAX_NAME} letters."
    if word.casefold() in {known.casefold() for known in BUILT_IN}:
        return "That is the name of a preset that is always there."
    if not word.isprintable():
        return "A name cannot hold control characters."
    if len(set(mine) | {word}) > MAX_PRESETS:
        return f"There are {MAX_PRESETS} already; delete one first."
    return ""

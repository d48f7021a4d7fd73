"""The sampling card without its widgets: values, sliders, presets, and how a token is found."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sllm_core import fields
from sllm_core.config import SamplingConfig
from sllm_core.errors import ConfigError
from sllm_ui.session import Session

DRAWING = ("temperature", "top_k", "top_p", "repetition_penalty")  # what every preset sets
SLIDING = (*DRAWING, "max_new_tokens")
SAVED = (*SLIDING, "stop")  # what a preset of the user's sets
LIKELIEST_BELOW = 1e-5  # a temperature under this is 0, as in sllm_core.sampler
MAX_NAME = 40
MAX_PRESETS = 50
DEFAULTS = SamplingConfig()
NAMES = (*SAVED, "sample_seed")  # all fields of the card


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
    "Balanced": {name: getattr(DEFAULTS, name) for name in DRAWING},
    "Precise": dict(zip(DRAWING, (0.3, 20, 0.8, 1.1), strict=True)),
    "Bold": dict(zip(DRAWING, (1.1, 100, 0.98, 1.1), strict=True)),
    "Greedy": dict(zip(DRAWING, (0.0, 0, 1.0, 1.2), strict=True)),
}


def snap(name: str, place: float) -> float | int:
    """The value of a slider at ``place``: a whole number of steps, inside its range."""
    slide = SLIDES[name]
    steps = round((place - slide.low) / slide.step)
    value = min(slide.high, max(slide.low, slide.low + steps * slide.step))
    return int(value) if isinstance(getattr(DEFAULTS, name), int) else round(value, 4)


def changed(sampling: SamplingConfig, name: str, value: Any) -> SamplingConfig:
    """The same with one value replaced.

    Raises:
        ConfigError: it is none that the field takes.
    """
    return replace(sampling, **{name: value})


def to_text(name: str, value: Any) -> str:
    """The text of a field; breaks and tabs in stop texts are shown as ``\\n`` and ``\\t``."""
    if name == "stop":
        value = tuple(_escape(stop) for stop in value)
    return fields.to_text(SamplingConfig, name, value)


def parse(name: str, text: str) -> Any:
    """The value that a person typed.

    Raises:
        ConfigError: it is of another type.
    """
    value = fields.parse(SamplingConfig, name, text)
    if name == "stop":
        value = tuple(_unescape(stop) for stop in value)
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


# --- what the card shows and does


@dataclass(frozen=True)
class CardState:
    """Everything the card shows."""

    values: SamplingConfig = DEFAULTS
    texts: Mapping[str, str] = field(default_factory=dict)  # what stands in the number fields
    errors: Mapping[str, str] = field(default_factory=dict)
    is_new_seed: bool = False
    preset: str = "Balanced"  # '' when the values are none
    mine: tuple[str, ...] = ()  # presets of the user's own
    order: str = ""
    note: str = ""


class Sampler:
    """Handlers of the card.

    Args:
        session: holds the values of the project and the presets of the user.
        get: the card as it is shown.
        put: shows another one.
    """

    def __init__(
        self, session: Session, get: Callable[[], CardState], put: Callable[[CardState], None]
    ) -> None:
        self._session, self._get, self._put = session, get, put
        self._mine = read_presets(session.settings.values.sampling_presets)
        self._known = DEFAULTS  # as the project has them

    def follow(self) -> None:
        """Take over what the project has, when that is new."""
        if self._session.config.sampling != self._known:
            self.refresh()

    def refresh(self) -> None:
        """Show what the project and the settings have."""
        self._known = self._session.config.sampling
        is_new_seed = self._session.settings.values.is_new_seed
        self._put(replace(self._get(), is_new_seed=is_new_seed, mine=tuple(self._mine)))
        self._show(self._known)

    def slide(self, name: str, place: float) -> None:
        """A slider is at ``place``; `commit` stores it when it has come to rest."""
        card, value = self._get(), snap(name, place)
        if value != getattr(card.values, name) or name in card.errors:
            self._show(changed(card.values, name, value), name)

    def set_text(self, name: str, text: str) -> None:
        """A person typed a value."""
        card = self._get()
        texts = {**card.texts, name: text}
        try:
            values = changed(card.values, name, parse(name, text))
        except ConfigError as problem:
            self._put(
                replace(card, texts=texts, errors={**card.errors, name: fields.short(problem)})
            )
            return
        self._show(values, name, texts=texts)
        self.commit()

    def leave_field(self, name: str) -> None:
        """The focus left a field: show its value as the program writes it."""
        card = self._get()
        if name not in card.errors:
            text = to_text(name, getattr(card.values, name))
            self._put(replace(card, texts={**card.texts, name: text}))

    def commit(self) -> None:
        """Store the values in the project, where that may be changed."""
        values = self._get().values
        if values == self._known or self._session.why_read_only():
            return
        new = {
            name: getattr(values, name)
            for name in NAMES
            if getattr(values, name) != getattr(self._known, name)
        }
        self._known = values
        self._session.change(new)

    def set_new_seed(self, is_on: bool) -> None:
        """Draw a seed for each writing, or keep the one that is set."""
        self._session.settings.change(is_new_seed=is_on)
        self._put(replace(self._get(), is_new_seed=is_on))

    def set_seed(self, seed: int) -> None:
        """Write with this seed from now on."""
        self._show(replace(self._get().values, sample_seed=seed), "sample_seed")
        self.commit()

    def set_values(self, values: SamplingConfig) -> None:
        """All values at once."""
        self._show(values)
        self.commit()

    def reset(self) -> None:
        """All values as they come; the seed as well."""
        self.set_values(DEFAULTS)

    def choose_preset(self, name: str) -> None:
        """Take over the values of a preset."""
        found = self._mine.get(name) or BUILT_IN.get(name)
        if found:
            self.set_values(replace(self._get().values, **found))

    def why_not_name(self, name: str) -> str:
        """What is wrong with a name for a preset."""
        return check_name(name, self._mine)

    def save_preset(self, name: str) -> None:
        """Keep the present values under a name."""
        if self.why_not_name(name):
            return
        values, word = self._get().values, name.strip()
        new = {key: getattr(values, key) for key in SAVED}
        self._mine = {word: new} | {k: v for k, v in self._mine.items() if k != word}
        self._store_presets()

    def delete_preset(self, name: str) -> None:
        """Forget a preset of the user's own."""
        self._mine.pop(name, None)
        self._store_presets()

    def _store_presets(self) -> None:
        self._session.settings.change(sampling_presets=write_presets(self._mine))
        card = self._get()
        preset = name_of(card.values, self._mine)
        self._put(replace(card, mine=tuple(self._mine), preset=preset))

    def _show(
        self, values: SamplingConfig, name: str = "", texts: Mapping[str, str] | None = None
    ) -> None:
        """Show values; ``name`` is the one that changed, '' when all may have."""
        card, why = self._get(), self._session.read_only
        fresh = {key: to_text(key, getattr(values, key)) for key in NAMES}
        kept = {key: card.texts[key] for key in card.errors if key != name and name}
        card = replace(
            card,
            values=values,
            texts={**fresh, **kept, **(texts or {})},
            errors={key: text for key, text in card.errors.items() if key in kept},
            preset=name_of(values, self._mine),
            order=order(values),
            note=f"Not stored, the project is read-only: {why}" if why else "",
        )
        self._put(card)

"""What differs between the settings of two runs."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sllm_core import config as configs
from sllm_core import fields, fmt
from sllm_core.config import ProjectConfig
from sllm_core.jobs.runs import Run

LONGEST = 80  # letters of a value
Difference = tuple[str, str, str]
# Settings that a run may fall short of: where in what it used the value stands.
_USED_AS = {
    "target_vocab_size": ("model", "vocab_size"),
    "micro_batch_size": ("", "micro_batch_size"),
    "threads": ("", "threads"),
}


@dataclass(frozen=True)
class Side:
    """One of the two: a run, the defaults or the settings of the next run."""

    name: str
    config: ProjectConfig
    resolved: Mapping[str, Any] = field(default_factory=dict)  # what "auto" became
    facts: Mapping[str, str] = field(default_factory=dict)


def side_of(name: str, run: Run, n_params: int | None) -> Side:
    """A run as one side."""
    made, resolved = run.provenance, run.resolved
    facts = {
        "Parameters": fmt.count(n_params),
        "Precision used": str(resolved.get("precision", "-")),
        "Computed on": str(made.get("device", "-")),
        "Data": str(made.get("dataset_id", ""))[:8] or "-",
        "Tokenizer": str(made.get("tokenizer_sha256", ""))[:8] or "-",
        "Program": str(made.get("program", "-")),
    }
    return Side(name, run.config, resolved, facts if resolved else {})


def compare(mine: Side, theirs: Side, *, only_different: bool) -> tuple[Difference, ...]:
    """(setting, mine, theirs) over all sections.

    Two runs are compared by what was used, so that "auto" and the number it became are the same;
    what a run has used is what is shown of it, whatever the other side is.
    """
    is_used = bool(mine.resolved and theirs.resolved)
    out = []
    for section, kind in configs.SECTIONS.items():
        for one in dataclasses.fields(kind):
            if (section, one.name) == ("model", "vocab_size"):  # said of target_vocab_size
                continue
            a, b = (_value(side, section, one.name, is_used) for side in (mine, theirs))
            used = (_value(side, section, one.name, True) for side in (mine, theirs))
            texts = [_text(kind, one.name, value) for value in used]
            if not only_different or (a != b and texts[0] != texts[1]):
                out.append((fields.info(kind, one.name).label, *texts))
    out += _facts(mine, theirs, only_different)
    return tuple((name, a[:LONGEST], b[:LONGEST]) for name, a, b in out)


def _value(side: Side, section: str, name: str, is_used: bool) -> Any:
    value = getattr(getattr(side.config, section), name)
    if is_used and name in _USED_AS:
        place, key = _USED_AS[name]
        part = side.resolved.get(place, {}) if place else side.resolved
        return part.get(key, "auto" if value is None else value)
    used = side.resolved.get(section)
    if is_used and value in (None, "auto") and isinstance(used, dict) and name in used:
        return used[name]
    return "auto" if value is None else value


def _text(kind: type, name: str, value: Any) -> str:
    try:
        return fmt.path_text(fields.to_text(kind, name, value)).removeprefix("'")
    except (TypeError, ValueError):  # "auto" of a number, or what a newer program wrote
        return str(value)


def _facts(mine: Side, theirs: Side, only_different: bool) -> list[Difference]:
    rows = [("Sources", _sources(mine.config), _sources(theirs.config))]
    if mine.facts and theirs.facts:
        rows += [(name, text, theirs.facts.get(name, "-")) for name, text in mine.facts.items()]
    return [row for row in rows if row[1] != row[2] or not only_different]


def _sources(config: ProjectConfig) -> str:
    names = [
        fmt.path_text(source.path).replace("\\", "/") for source in config.sources if source.is_on
    ]
    return ", ".join(name.rstrip("/").rsplit("/", 1)[-1] for name in names) or "none"

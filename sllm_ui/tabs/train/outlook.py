"""The forecast and the choice of a size in words, as the page shows them. Pure."""

from dataclasses import dataclass, replace
from functools import lru_cache

from sllm_core import estimate, fmt, presets
from sllm_core.config import ModelConfig, ProjectConfig
from sllm_core.messages import Proposal
from sllm_core.presets import PRESETS, Preset
from sllm_ui.facts import Facts
from sllm_ui.tabs.train import fieldset
from sllm_ui.tabs.train import forecast as numbers
from sllm_ui.tabs.train.forecast import Forecast
from sllm_ui.tabs.train.watch import short_time

GROUPS = {
    "By goal": "goal",
    "By GPU memory": "gpu",
    "By dataset": "dataset",
    "By size": "size",
}
OWN = "Own settings"
BADGES = {
    "fits": ("Fits", "good"),
    "tight": ("Tight", "warn"),
    "no": ("Does not fit", "bad"),
    "never": ("Does not fit", "bad"),
    "disk": ("Disk too full", "bad"),
    "unknown": ("-", "muted"),
}


@dataclass(frozen=True)
class Part:
    """A piece of a stacked bar."""

    name: str
    value: float
    text: str
    tip: str


@dataclass(frozen=True)
class Figure:
    """A number of the forecast with its name."""

    title: str
    value: str
    tip: str


@dataclass(frozen=True)
class Outlook:
    """The forecast as shown."""

    badge: tuple[str, str] = ("-", "muted")
    badge_tip: str = ""
    parameters: str = "-"
    parameter_parts: tuple[Part, ...] = ()
    memory_name: str = "Memory"
    memory: str = "-"
    memory_parts: tuple[Part, ...] = ()
    memory_total: float = 0
    figures: tuple[Figure, ...] = ()
    advice: str = ""
    advice_tone: str = "muted"


NOTHING = Outlook()


def outlook(f: Forecast) -> Outlook:
    """All texts of a forecast."""
    p, memory = f.parameters, f.memory
    tables = p.embedding + p.position + p.head
    layers = [
        ("Embedding", tables, "The tables that turn tokens into numbers and back."),
        ("Attention", p.attention, "Looks back at the tokens before."),
        ("MLP", p.mlp, "The feed-forward part of each layer."),
        ("Norms", p.norms, "Scales between the parts."),
    ]
    weights, held = memory.weights + memory.gradients, memory.activations + memory.logits
    parts = [
        (
            "Weights",
            weights,
            f"Weights {fmt.size(memory.weights)}, gradients {fmt.size(memory.gradients)}.",
        ),
        (
            "Optimizer",
            memory.optimizer,
            f"What {f.train.optimizer} remembers: {fmt.size(memory.optimizer)}.",
        ),
        (
            "Activations",
            held,
            f"Between the layers {fmt.size(memory.activations)}, logits {fmt.size(memory.logits)}.",
        ),
    ]
    total = f.machine.total_bytes
    words, tone = numbers.advice(f)
    return Outlook(
        badge=BADGES[f.fit],
        badge_tip=_badge_tip(f),
        parameters=fmt.count(p.total),
        parameter_parts=tuple(Part(name, n, fmt.count(n), tip) for name, n, tip in layers),
        memory_name=f.machine.memory_name,
        memory=f"{fmt.size(memory.total)} of {fmt.size(total)}"
        if total
        else fmt.size(memory.total),
        memory_parts=tuple(
            Part(name, n, _short_size(n, memory.total), tip) for name, n, tip in parts
        ),
        memory_total=float(total or 0),
        figures=_figures(f),
        advice=words,
        advice_tone=tone,
    )


def _short_size(n: int, total: int) -> str:
    """A part in the unit that the whole has: ``0.13`` of GiB, ``135`` of MiB."""
    power = 30 if total >= 1 << 30 else 20
    return f"{n / (1 << power):.2g}" if n < 10 << power else f"{n / (1 << power):.0f}"


def _badge_tip(f: Forecast) -> str:
    if why := numbers.why_not(f):
        return why
    need, free = fmt.size(f.memory.total), fmt.size(f.machine.free_bytes)
    size = f"{f.micro_batch_size} of {f.train.batch_size} windows at once"
    if f.fit == "unknown":
        return f"A step needs about {need} ({size}); free memory is not known here."
    words = {
        "fits": "",
        "tight": " Other programs may have to make room.",
        "no": " Close other programs, or use a smaller size, a shorter window or Save memory.",
    }[f.fit]
    return f"A step needs about {need} ({size}); {free} are free.{words}"


def _figures(f: Forecast) -> tuple[Figure, ...]:
    about = "about " if f.text.is_estimated else ""
    source = (
        f"{about}{fmt.count(f.text.train_tokens)} training tokens"
        if f.text.train_tokens is not None
        else "nothing is scanned yet"
    )
    batch = f.tokens_per_step if f.is_batch_known else None
    ratio = f.tokens_per_parameter
    passes = f.epochs
    return (
        Figure(
            "Tokens a step", fmt.count(batch),
            f"{f.train.batch_size} windows of {f.train.seq_len:,} tokens, {f.micro_batch_size} at once.",
        ),
        Figure("Steps", f"{f.steps:,}" if f.steps is not None else "-", f"Updates until the limit; {source}."),
        Figure("Epochs", f"{passes:.3g}" if passes is not None else "-", f"Passes over the text; {source}."),
        Figure(
            "Per parameter", f"{ratio:.{2 if ratio < 1 else 3}g} tokens" if ratio is not None else "-",
            "Tokens it learns from for each parameter, repeated ones too; 20 is the usual aim.",
        ),
        Figure("Disk", fmt.size(f.disk_bytes), _disk_tip(f)),
        Figure("Time", short_time(f.time_s), _time_tip(f)),
    )  # fmt: skip


def _disk_tip(f: Forecast) -> str:
    free = fmt.size(f.machine.disk_free_bytes)
    one = fmt.size(f.checkpoint_bytes)
    return f"Best and last {f.train.keep_last} checkpoints of {one} each; {free} are free."


def _time_tip(f: Forecast) -> str:
    if f.step_s is None:
        return "Not measured yet: Measure makes a trial step of exactly these settings."
    step = f"{f.step_s:.2g} s" if f.step_s < 10 else f"{f.step_s:.0f} s"
    return f"{step} a step, measured; validations and saves come on top."


# -- presets and the slider ----------------------------------------------------------------------


def preset_labels(
    group: str, config: ProjectConfig, facts: Facts, *, is_locked: bool
) -> tuple[tuple[str, str], ...]:
    """(name, label) of the presets of a group; the count is that of the model they make here."""
    kind = GROUPS[group]
    found = [preset for preset in PRESETS if preset.group == kind]
    plain = replace(config.model, max_seq_len=2, d_model=64, n_layers=1, n_heads=2)
    plain = replace(plain, n_kv_heads=None, head_dim=None, d_ff=None)
    return tuple(
        (preset.name, f"{_preset_name(preset)}, {fmt.count(n)}")
        for preset in found
        for n in (_preset_size(preset, plain, _vocab(preset, config, facts, is_locked)),)
    )


def _preset_name(preset: Preset) -> str:
    return (
        preset.name.removeprefix("Dataset ").removeprefix("Size ").capitalize()
        if (preset.group == "dataset")
        else preset.name
    )


def _vocab(preset: Preset, config: ProjectConfig, facts: Facts, is_locked: bool) -> int:
    wish = replace(config.tokenizer, target_vocab_size=preset.target_vocab_size)
    at = replace(config, tokenizer=wish)
    return numbers.expected_text(at, facts, is_locked=is_locked).vocab_size


@lru_cache(maxsize=256)
def _preset_size(preset: Preset, plain: ModelConfig, vocab_size: int) -> int:
    shape = replace(
        plain, d_model=preset.d_model, n_layers=preset.n_layers, n_heads=preset.n_heads,
        max_seq_len=preset.seq_len, vocab_size=vocab_size,
    )  # fmt: skip
    return estimate.count_parameters(shape).total


def preset_in_use(config: ProjectConfig) -> Preset | None:
    """The preset whose settings these are, unchanged."""
    preset = next((one for one in PRESETS if one.name == config.preset), None)
    if preset is None or presets.apply(config, preset) != config:
        return None
    return preset


# -- Auto-Select ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Settings of a proposal that share a reason."""

    words: str  # Width 256, Layers 4
    before: str  # '' where nothing changes
    reason: str


def changes_of(config: ProjectConfig, proposal: Proposal) -> tuple[Change, ...]:
    """What a proposal would set, those that change first; what stays open is left out."""
    grouped: dict[str, list[str]] = {}
    for name, reason in proposal.reasons.items():
        if name in proposal.values and not _stays_open(config, name, proposal.values[name]):
            grouped.setdefault(reason, []).append(name)
    found = []
    for reason, names in grouped.items():
        pairs = [(name, fieldset.value_of(config, name), proposal.values[name]) for name in names]
        after = ", ".join(
            f"{fieldset.label_of(name)} {_shown(name, new)}" for name, _, new in pairs
        )
        before = ", ".join(_shown(name, old) for name, old, new in pairs if old != new)
        found.append(Change(after, before, reason))
    return tuple(sorted(found, key=lambda change: not change.before))


def _stays_open(config: ProjectConfig, name: str, value: object) -> bool:
    return value is None and fieldset.value_of(config, name) is None


def _shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if name == "max_time_s" and isinstance(value, int | float):
        return fmt.duration(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return fieldset.text_of(name, value)


def preset_tip(preset: Preset | None) -> str:
    """What a preset is, as a tooltip."""
    if preset is None:
        return "The settings are your own; a preset replaces shape and recipe."
    words = f": {preset.purpose}" if preset.purpose else ""
    shape = f"{preset.d_model} wide, {preset.n_layers} layers, window {preset.seq_len:,}"
    return f"{preset.name}{words}\n{shape}"

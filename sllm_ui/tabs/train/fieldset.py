"""The settings of the form: their sections, what each section says when shut, and texts typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sllm_core import config as configs
from sllm_core import fmt
from sllm_core.config import ModelConfig, ProjectConfig, TokenizerConfig, TrainConfig
from sllm_core.errors import ConfigError
from sllm_core.fields import info, parse, short, to_text
from sllm_ui.tabs.train.forecast import Forecast, save_every
from sllm_ui.tabs.train.watch import short_time


@dataclass(frozen=True)
class Group:
    """Fields of one config class that are locked or open together."""

    section: type
    names: tuple[str, ...]
    is_live: bool = False  # a run takes them over while it goes on


@dataclass(frozen=True)
class FormSection:
    """A part of the form that opens and shuts."""

    id: str
    title: str
    groups: tuple[Group, ...]


LIMITS = ("epochs", "max_steps", "max_tokens", "max_time_s")
BUDGETS = {
    "Automatic": "",
    "Epochs": "epochs",
    "Steps": "max_steps",
    "Tokens": "max_tokens",
    "Time": "max_time_s",
}

# fmt: off
SECTIONS: tuple[FormSection, ...] = (
    FormSection("model", "Architecture", (
        Group(ModelConfig, ("style", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "max_seq_len", "dropout", "bias", "tied_head", "norm_eps", "rope_theta")),
        Group(TokenizerConfig, ("target_vocab_size",)),
    )),
    FormSection("training", "Training", (
        Group(TrainConfig, ("seq_len", "stride", "batch_size", "micro_batch_size", "document_masking", "replay_share", "patience", "min_delta", "seed")),
    )),
    FormSection("optimisation", "Optimisation", (
        Group(TrainConfig, ("optimizer", "learning_rate", "weight_decay", "beta1", "beta2", "grad_clip")),
    )),
    FormSection("schedule", "Schedule", (
        Group(TrainConfig, ("schedule", "warmup_ratio", "min_lr_ratio")),
    )),
    FormSection("precision", "Precision and memory", (
        Group(TrainConfig, ("precision", "device", "gradient_checkpointing", "threads", "deterministic")),
    )),
    FormSection("checkpoints", "Checkpoints", (
        Group(TrainConfig, ("save_interval", "keep_last", "val_interval"), is_live=True),
        Group(TrainConfig, ("val_windows",)),
    )),
    FormSection("samples", "Samples", (
        Group(TrainConfig, ("sample_interval",), is_live=True),
        Group(TrainConfig, ("sample_prompts", "sample_tokens")),
    )),
)
# fmt: on
LEFT_OUT = frozenset({"vocab_size", *LIMITS})  # follows from the text; has a chooser of its own
PLAIN = frozenset({"keep_last"})  # advanced on the command line, of use to everyone here
SHOWN = tuple(name for part in SECTIONS for group in part.groups for name in group.names)
SECTION_OF = {name: part.id for part in SECTIONS for group in part.groups for name in group.names}


def names_of(group: Group, *, is_advanced: bool) -> tuple[str, ...]:
    """The fields of a group that are advanced, or those that are not."""
    return tuple(
        name
        for name in group.names
        if (info(group.section, name).is_advanced and name not in PLAIN) == is_advanced
    )


def value_of(config: ProjectConfig, name: str) -> Any:
    """The value a setting has."""
    return getattr(getattr(config, configs.FIELD_SECTION[name]), name)


def class_of(name: str) -> type:
    """The config class a setting belongs to."""
    return configs.SECTIONS[configs.FIELD_SECTION[name]]


def text_of(name: str, value: Any) -> str:
    """A value as the form shows it."""
    return to_text(class_of(name), name, value)


def texts_of(config: ProjectConfig) -> dict[str, str]:
    """All values as the form shows them."""
    return {name: text_of(name, value_of(config, name)) for name in SHOWN}


def label_of(name: str) -> str:
    """The plain name of a setting."""
    return info(class_of(name), name).label


@dataclass(frozen=True)
class Draft:
    """A text that is no value yet, and why."""

    text: str
    reason: str


def edit(
    config: ProjectConfig, drafts: Mapping[str, Draft], name: str, text: str
) -> tuple[dict[str, Any], dict[str, Draft]]:
    """What a new text in a field means: values to take over, and the drafts that are left.

    Texts that were wrong only because of each other (a width and its heads) become values as soon
    as they agree.
    """
    left = {other: draft for other, draft in drafts.items() if other != name}
    try:
        value = parse(class_of(name), name, text)
    except ConfigError as problem:
        return {}, {**left, name: Draft(text, short(problem))}
    waiting = {other: parsed for other, draft in left.items() if (parsed := _parsed(other, draft))}
    together = {name: value, **{other: parsed[0] for other, parsed in waiting.items()}}
    if waiting and _refusal(config, together) is None:
        return together, {other: draft for other, draft in left.items() if other not in waiting}
    reason = _refusal(config, {name: value})
    if reason is not None:
        return {}, {**left, name: Draft(text, reason)}
    values = {name: value}
    for other, parsed in waiting.items():
        if _refusal(config, {**values, other: parsed[0]}) is None:
            values[other] = parsed[0]
            del left[other]
    return values, left


def _parsed(name: str, draft: Draft) -> tuple[Any] | None:
    try:
        return (parse(class_of(name), name, draft.text),)
    except ConfigError:
        return None


def _refusal(config: ProjectConfig, values: Mapping[str, Any]) -> str | None:
    try:
        configs.with_values(config, values)
    except ConfigError as problem:
        return short(problem)
    return None


# -- the limit that counts ---------------------------------------------------------------------


def budget_of(config: ProjectConfig) -> tuple[str, str, str]:
    """Kind and text of the limit that is set, and a word on others that are."""
    train = config.train
    given = [kind for kind, name in BUDGETS.items() if name and getattr(train, name) is not None]
    if not given:
        return "Automatic", "", ""
    more = [f"{kind.lower()} {budget_text(config, kind)}" for kind in given[1:]]
    note = f"or {', '.join(more)}, whichever comes first" if more else ""
    return given[0], budget_text(config, given[0]), note


def budget_text(config: ProjectConfig, kind: str) -> str:
    """The value of one limit as a person types it."""
    return limit_text(kind, getattr(config.train, BUDGETS[kind]))


def limit_text(kind: str, value: float | None) -> str:
    """A value of a kind of limit as a person types it."""
    if kind == "Time" and value is not None:
        return time_text(value)
    return to_text(TrainConfig, BUDGETS[kind], value)


def time_text(seconds: float) -> str:
    """``5400 -> '1h30m'``, as `fmt.parse_duration` takes it."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or f"{seconds:g}s"


def parse_budget(kind: str, text: str) -> float:
    """The limit that a text means.

    Raises:
        ConfigError: it is none.
    """
    if kind == "Time":
        try:
            return fmt.parse_duration(text)
        except ValueError:
            raise ConfigError(
                "FIELD", "It must be a length of time such as 45m or 1h30m."
            ) from None
    value: float | None = parse(TrainConfig, BUDGETS[kind], text)
    if value is None:
        raise ConfigError("FIELD", f"It must be a number of {kind.lower()}.")
    return value


def budget_values(config: ProjectConfig, kind: str, value: float | None) -> dict[str, Any]:
    """Settings with exactly this limit; None for an automatic number of passes."""
    limits: dict[str, Any] = dict.fromkeys(LIMITS)
    if kind != "Automatic":
        limits[BUDGETS[kind]] = value
    configs.with_values(config, limits)
    return limits


def first_budget(kind: str, forecast: Forecast | None) -> float | None:
    """A sensible value when a kind of limit is chosen: about what would be done now."""
    steps = forecast.steps if forecast else None
    if kind == "Epochs":
        passes = forecast.epochs if forecast else None
        return float(max(1, round(passes))) if passes else 1.0
    if kind == "Steps":
        return steps or 1000
    if kind == "Tokens":
        return (forecast.tokens_seen if forecast else None) or 10_000_000
    if kind == "Time":
        seconds = forecast.time_s if forecast else None
        return float(max(60, round((seconds or 1800) / 60) * 60))
    return None


# -- words beside and above the fields ---------------------------------------------------------


def notes_of(config: ProjectConfig, forecast: Forecast) -> dict[str, str]:
    """What an open field will be, and what follows from another one."""
    shape, filled = config.model.resolve(), forecast.train
    found = {
        "n_kv_heads": f"= {shape.n_kv_heads}",
        "head_dim": f"= {shape.head_dim}",
        "d_ff": f"= {shape.d_ff:,}",
        "bias": "= on" if shape.bias else "= off",
        "norm_eps": f"= {shape.norm_eps:g}",
        "batch_size": f"= {filled.batch_size:,} windows",
        "micro_batch_size": f"about {forecast.micro_batch_size:,}",
        "stride": f"= {filled.stride:,}",
        "optimizer": f"= {filled.optimizer}",
        "learning_rate": f"= {filled.learning_rate:g}",
        "weight_decay": f"= {filled.weight_decay:g}",
        "schedule": f"= {filled.schedule}",
    }
    if forecast.text.train_tokens is None:
        del found["batch_size"]
    if forecast.steps:
        found["save_interval"] = f"= {save_every(filled, forecast.steps):,} steps"
    notes = {name: text for name, text in found.items() if value_of(config, name) in {None, "auto"}}
    notes["n_heads"] = f"{shape.head_dim} each"
    if forecast.text.vocab_note:
        notes["target_vocab_size"] = forecast.text.vocab_note
    return notes


def summaries_of(config: ProjectConfig, forecast: Forecast) -> dict[str, str]:
    """One line a section, for when it is shut."""
    train, filled, model = config.train, forecast.train, config.model
    kind, text, _ = budget_of(config)
    amount = {
        "Automatic": f"{filled.epochs:g} epochs" if filled.epochs else "automatic",
        "Epochs": "1 epoch" if text == "1" else f"{text} epochs",
        "Steps": f"{text} steps",
        "Tokens": f"{fmt.count(train.max_tokens)} tokens",
        "Time": short_time(train.max_time_s),
    }[kind]
    decay = f", {train.warmup_ratio:.0%} warm-up" if train.warmup_ratio else ""
    saving = ", saves memory" if train.gradient_checkpointing else ""
    device = {"auto": "", "cpu": ", processor", "cuda": ", GPU"}[train.device]
    every = f"every {train.save_interval:,}" if train.save_interval else "automatic"
    prompts = len(train.sample_prompts)
    return {
        "model": f"{model.d_model} x {model.n_layers}, {model.style}",
        "training": f"{amount}, window {train.seq_len:,}",
        "optimisation": f"{filled.optimizer} {filled.learning_rate:g}",
        "schedule": f"{filled.schedule}{decay}",
        "precision": f"{train.precision}{device}{saving}",
        "checkpoints": f"{every}, best + last {train.keep_last}",
        "samples": f"{prompts} prompt{'' if prompts == 1 else 's'}",
    }

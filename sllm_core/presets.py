"""The table of presets, and the rules for what a preset or a user leaves open."""

from dataclasses import dataclass, replace

from sllm_core import config as settings
from sllm_core.config import ProjectConfig
from sllm_core.errors import ConfigError
from sllm_core.fields import nearest


@dataclass(frozen=True)
class Preset:
    """One row: a shape and a recipe; learning_rate is AdamW's (muon has its own)."""

    name: str
    group: str  # goal | gpu | dataset | size
    d_model: int
    n_layers: int
    n_heads: int
    target_vocab_size: int
    seq_len: int
    batch_size: int | None
    learning_rate: float | None
    dropout: float
    epochs: float | None
    purpose: str
    gradient_checkpointing: bool = False
    max_time_s: float | None = None

    @property
    def slug(self) -> str:
        """The name as the command line takes it."""
        letters = "".join(c if c.isalnum() else " " for c in self.name.lower())
        return "-".join(letters.split())


# fmt: off
PRESETS: tuple[Preset, ...] = (
    #       name                 group      d  L   H   vocab  seq  batch lr   drop epochs purpose
    Preset("Sample", "goal", 192, 4, 3, 4_000, 128, 24, 1e-3, 0.0, None, "two minutes on a laptop", max_time_s=120.0),
    Preset("Fast Experiment", "goal", 256, 4, 4, 16_000, 256, 128, 1e-3, 0.1, 3, "quick tests, 4 GB"),
    Preset("Balanced", "goal", 512, 6, 8, 32_000, 512, 64, 3e-4, 0.1, 10, "general use, 8 GB"),
    Preset("High Quality", "goal", 768, 12, 12, 50_000, 1024, 64, 2e-4, 0.1, 15, "production, 12 GB"),
    Preset("GPU 8 GB", "gpu", 256, 6, 4, 32_000, 512, 32, 3e-4, 0.1, 10, "fp16 or bf16, as the card can"),
    Preset("GPU 12 GB", "gpu", 512, 8, 8, 32_000, 512, 64, 3e-4, 0.1, 10, ""),
    Preset("GPU 16 GB", "gpu", 512, 8, 8, 32_000, 1024, 32, 3e-4, 0.1, 6, ""),
    Preset("GPU 24 GB", "gpu", 1024, 16, 16, 50_000, 1024, 192, 3e-4, 0.1, 6, "large datasets, 20 GB"),
    Preset("Dataset small", "dataset", 256, 4, 4, 16_000, 512, 64, 5e-4, 0.15, 20, "below 50,000 files"),
    Preset("Dataset medium", "dataset", 512, 8, 8, 32_000, 1024, 128, 3e-4, 0.1, 8, "50,000-200,000 files"),
    Preset("Dataset large", "dataset", 768, 12, 12, 50_000, 1024, 128, 3e-4, 0.1, 4, "200,000-500,000 files"),
    Preset("Dataset xlarge", "dataset", 1024, 16, 16, 50_000, 1024, 96, 2e-4, 0.05, 3, "500,000 files and more"),
    Preset("Size 13M", "size", 256, 6, 4, 32_000, 1024, None, None, 0.1, None, ""),
    Preset("Size 35M", "size", 512, 6, 8, 32_000, 1024, None, None, 0.1, None, ""),
    Preset("Size 110M", "size", 768, 12, 12, 32_000, 1024, None, None, 0.1, None, ""),
    Preset("Size 334M", "size", 1024, 24, 16, 32_000, 1024, None, None, 0.1, None, ""),
    Preset("Size 750M", "size", 1280, 36, 20, 32_000, 1024, None, None, 0.1, None, "", True),
    Preset("Size 1.5B", "size", 1600, 48, 25, 32_000, 1024, None, None, 0.1, None, "", True),
)
# fmt: on


def find(name: str) -> Preset:
    """The preset called ``name`` in any spelling of its words.

    Raises:
        ConfigError: there is none (the nearest name is said).
    """
    wanted = "".join(filter(str.isalnum, name.lower()))
    for preset in PRESETS:
        if "".join(filter(str.isalnum, preset.name.lower())) == wanted:
            return preset
    known = [preset.slug for preset in PRESETS]
    raise ConfigError(
        "FIELD",
        f"There is no preset {name!r}.{nearest(name.lower(), known)}",
        todo=f"Presets: {', '.join(known)}",
    )


def apply(project: ProjectConfig, preset: Preset, **given: str) -> ProjectConfig:
    """The project with the shape and recipe of ``preset``; style and optimizer stay, or as given."""
    changed = settings.with_values(
        project,
        {
            "target_vocab_size": preset.target_vocab_size,
            "d_model": preset.d_model,
            "n_layers": preset.n_layers,
            "n_heads": preset.n_heads,
            "n_kv_heads": None,
            "head_dim": None,
            "d_ff": None,
            "max_seq_len": preset.seq_len,
            "dropout": preset.dropout,
            "seq_len": preset.seq_len,
            "batch_size": preset.batch_size,
            "learning_rate": None,
            "gradient_checkpointing": preset.gradient_checkpointing,
            **dict.fromkeys(("max_steps", "max_tokens", "micro_batch_size")),
            "max_time_s": preset.max_time_s,
            "epochs": preset.epochs,
            **given,
        },
    )
    if settings.resolve_optimizer(changed.train.optimizer, changed.model.style) == "adamw":
        changed = settings.with_values(changed, {"learning_rate": preset.learning_rate})
    return replace(changed, preset=preset.name)


def build(project: ProjectConfig, preset: str | None, sets: list[str]) -> ProjectConfig:
    """Preset first, then single settings; style and optimizer count for the preset's rate too."""
    values = settings.parse_sets(sets)
    if preset:
        first = {name: values[name] for name in ("style", "optimizer") if name in values}
        project = apply(project, find(preset), **first)
    return settings.with_values(project, values)

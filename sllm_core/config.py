"""Every setting of a project: frozen, checked when made, described once for form and flag alike."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sllm_core import fields
from sllm_core.errors import ConfigError
from sllm_core.fields import option

VERSION = "0.1.0"  # of the program
SCHEMA_VERSION = 1
STYLES = ("modern", "llama", "classic")
MAX_RATE = {"adamw": 0.01, "muon": 0.2}  # ENGINE 4.4
SPLITS = ("llama3", "gpt2", "qwen2")
SCHEDULES = ("auto", "cosine", "wsd", "linear", "constant")
MAX_WEIGHT = 100  # of a source in the mixture
NO_ENDING = "(none)"  # among the file types: names such as README
TEXT_EXTENSIONS = tuple(
    ".txt .md .rst .py .pyi .ipynb .c .h .cc .cpp .hpp .rs .go .java .js .mjs .ts .tsx .jsx .cs .rb .php "
    ".html .htm .css .json .jsonl .csv .tsv .xml .yaml .yml .toml .ini .cfg .sql .sh .bash .bat "
    ".ps1 .tex .bib .kt .swift .scala .lua .pl .r .jl .hs .ml .ex .erl .clj .lisp .vim .cmake "
    ".asm .s .proto .po .srt .log .epub .docx .pdf .parquet".split()
)


@dataclass(frozen=True)
class SourceConfig:
    """One file or folder that text is read from."""

    id: int
    path: str  # absolute, or relative to the project folder when it lies inside
    is_on: bool = True
    exclude: tuple[str, ...] = ()  # patterns such as test or docs/*.html; a folder goes whole
    include: tuple[str, ...] = ()  # when given, only files that match one of these are read
    weight: float = 1.0  # how often its text is read in an epoch, beside that of the others
    columns: tuple[str, ...] = ()  # of its tables: those that hold the text; empty: found

    def __post_init__(self) -> None:
        """Check the types: a settings file may come from a stranger."""
        if type(self.id) is not int or not isinstance(self.is_on, bool):
            raise _clash(f"source {self.id!r} has an id or a switch of the wrong type")
        if not isinstance(self.path, str) or not self.path or "\0" in self.path:
            raise _clash(f"the path of source {self.id} cannot be {self.path!r}")
        for name in ("exclude", "include", "columns"):
            parts = getattr(self, name)
            if isinstance(parts, str) or not all(isinstance(part, str) for part in parts):
                raise _clash(f"source {self.id}: {name} must be a list of texts, not {parts!r}")
            object.__setattr__(self, name, tuple(parts))
        if type(self.weight) not in {int, float} or not 0 < self.weight <= MAX_WEIGHT:
            raise _clash(
                f"source {self.id}: the weight cannot be {self.weight!r}; it lies above 0 and at "
                f"most {MAX_WEIGHT}"
            )
        object.__setattr__(self, "weight", float(self.weight))


@dataclass(frozen=True)
class DataConfig:
    """Which files are used, and how they are divided."""

    recursive: bool = option(True, "Include subfolders", "Read the folders inside a source too.")
    use_gitignore: bool = option(
        True,
        "Follow .gitignore",
        "Leave out what a .gitignore file inside a source leaves out of version control.",
    )
    extensions: tuple[str, ...] = option(
        TEXT_EXTENSIONS,
        "File types",
        "Endings of the files to read; (none) stands for names without one, such as README, and a "
        "single * reads every file that holds text. A packed file such as notes.txt.gz counts as "
        "what is inside.",
    )
    min_file_bytes: int = option(
        1, "Smallest file", "Smaller files are skipped.", unit="bytes", minimum=0
    )
    max_file_bytes: int = option(
        4 << 30, "Largest file", "Larger files are skipped.", unit="bytes", minimum=1
    )
    max_files: int | None = option(
        None, "Most files", "Read at most so many files.", minimum=1, auto="all files"
    )
    shuffle: bool = option(
        False, "Random choice", "With a limit on files, take a random choice instead of the first."
    )
    shuffle_seed: int = option(
        0, "Choice seed", "The same seed chooses the same files.", minimum=0, maximum=2**31
    )
    val_split: float | None = option(
        None,
        "Validation share",
        "Share of the documents that is kept apart to measure what was learnt.",
        minimum=0.001,
        maximum=0.5,
        auto="0.1; 0.03 above 1 GB of text",
    )

    def __post_init__(self) -> None:
        """Check every field and that the size limits leave room."""
        fields.check(self)
        if self.min_file_bytes > self.max_file_bytes:
            raise _clash(
                f"the smallest file ({self.min_file_bytes} bytes) is larger than "
                f"the largest ({self.max_file_bytes} bytes)"
            )


@dataclass(frozen=True)
class CleanConfig:
    """What is changed in the text on its way in; what is cleaned is what is trained on."""

    trailing_blanks: bool = option(False, "Trailing blanks", "Take blanks off the ends of lines.")
    blank_lines: bool = option(
        False, "Runs of blank lines", "Make three or more line feeds in a row two."
    )
    unicode_nfc: bool = option(
        False, "One form of letters", "Bring prose to the Unicode form NFC: e + accent become one."
    )
    tabs_to_spaces: bool = option(
        False, "Tabs to spaces", "Four spaces for a tab. It cannot be undone, and breaks Makefiles."
    )
    drop_licence: bool = option(
        False, "Licence headers", "Leave out the comment with a licence at the top of code."
    )
    strip_comments: bool = option(
        False, "Comments", "Leave comments out of code in languages that are known."
    )
    strip_docstrings: bool = option(False, "Docstrings", "Leave the docstrings out of Python.")
    strip_front_matter: bool = option(
        False,
        "Front matter of books",
        "Leave out what stands before and behind a Project Gutenberg book.",
    )
    mask_secrets: bool = option(
        False, "Mask keys and passwords", "Write <secret> instead of keys, tokens and passwords."
    )
    mask_emails: bool = option(
        False, "Mask e-mail addresses", "Write <email> instead of an e-mail address."
    )
    mask_phones: bool = option(
        False, "Mask phone numbers", "Write <phone> instead of what looks like a phone number."
    )
    mask_ips: bool = option(
        False, "Mask IP addresses", "Write <ip> instead of an address of a computer."
    )

    def __post_init__(self) -> None:
        """Check every field."""
        fields.check(self)


@dataclass(frozen=True)
class RefineConfig:
    """Which files are proposed to go; nothing happens to one before you say so."""

    score_as: str = option(
        "auto",
        "Score as",
        "Which rules count: those of code, those of prose, or what each file is.",
        choices=("auto", "code", "prose"),
    )
    min_score: int = option(
        50, "Lowest score", "Files below are proposed to go.", minimum=0, maximum=100
    )
    drop_exact: bool = option(
        True, "Exact copies", "All but one file of the same text are proposed to go."
    )
    drop_near: bool = option(
        True, "Near copies", "All but one of files that are almost the same are proposed to go."
    )
    near_threshold: float = option(
        0.9,
        "Alike from",
        "Share of common five-word pieces from which two files are near copies (Jaccard).",
        minimum=0.5,
        maximum=0.99,
    )
    drop_secrets: bool = option(
        True, "Keys and passwords", "Files that hold a key or a password are proposed to go."
    )
    drop_languages: tuple[str, ...] = option(
        (), "Languages left out", "Prose in these languages is proposed to go, such as de, zh."
    )

    def __post_init__(self) -> None:
        """Check every field."""
        fields.check(self)


@dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes tokens."""

    target_vocab_size: int = option(
        16_000,
        "Vocabulary",
        "Number of different tokens wished for; little text gets fewer. 272 or less: plain bytes.",
        unit="tokens",
        minimum=272,
        maximum=200_000,
    )
    split: str = option(
        "llama3",
        "Word split",
        "How text is cut into words before merging; gpt2 for GPT-2-compatible exports.",
        choices=SPLITS,
        is_advanced=True,
    )
    min_frequency: int = option(
        2,
        "Minimum frequency",
        "A pair seen less often never becomes a token; higher values give a smaller vocabulary.",
        minimum=1,
        maximum=100_000,
        is_advanced=True,
    )
    tokenizer_sample_bytes: int = option(
        64_000_000,
        "Training sample",
        "Most text that the tokenizer is trained on.",
        unit="bytes",
        minimum=10_000,
        maximum=200_000_000,
        is_advanced=True,
    )

    def __post_init__(self) -> None:
        """Check every field."""
        fields.check(self)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. Fields left open (None) follow from the style; see `resolve`."""

    style: str = option(
        "modern",
        "Style",
        "modern: the Qwen3 layout; llama: the same without QK-norm; classic: GPT-2.",
        choices=STYLES,
    )
    d_model: int = option(
        256, "Width", "Numbers that describe a token inside.", minimum=8, maximum=16_384
    )
    n_layers: int = option(4, "Layers", "Blocks one after the other.", minimum=1, maximum=512)
    n_heads: int = option(
        4, "Heads", "Parallel looks back; must divide the width.", minimum=1, maximum=512
    )
    n_kv_heads: int | None = option(
        None,
        "Key/value heads",
        "Fewer than heads saves memory when writing (grouped-query attention).",
        minimum=1,
        maximum=512,
        auto="as many as heads",
        is_advanced=True,
    )
    head_dim: int | None = option(
        None,
        "Head width",
        "Numbers a head works with.",
        minimum=2,
        maximum=1024,
        auto="width / heads",
        is_advanced=True,
    )
    d_ff: int | None = option(
        None,
        "MLP width",
        "Inner width of the feed-forward part.",
        minimum=8,
        maximum=131_072,
        auto="4 x width (classic), 8/3 x width rounded to 32 (others)",
        is_advanced=True,
    )
    vocab_size: int | None = option(
        None,
        "Real vocabulary",
        "Number of tokens of the tokenizer in use.",
        minimum=2,
        maximum=1_000_000,
        auto="taken from the tokenizer",
        is_advanced=True,
    )
    max_seq_len: int = option(
        256,
        "Longest context",
        "Most tokens the model can look at.",
        unit="tokens",
        minimum=2,
        maximum=1_048_576,
    )
    dropout: float = option(
        0.1, "Dropout", "Share of values left out at random in training.", minimum=0, maximum=0.9
    )
    bias: bool | None = option(
        None,
        "Biases",
        "Add a learned constant to each linear layer.",
        auto="on for classic",
        is_advanced=True,
    )
    tied_head: bool = option(
        True,
        "Tied head",
        "One table for reading and writing tokens.",
        is_advanced=True,
    )
    norm_eps: float | None = option(
        None,
        "Norm epsilon",
        "Small number that keeps a division safe.",
        minimum=1e-12,
        maximum=1e-2,
        auto="1e-6 for modern, else 1e-5",
        is_advanced=True,
    )
    rope_theta: float = option(
        10_000.0,
        "RoPE base",
        "Base of the rotary positions (not for classic).",
        minimum=1,
        maximum=1e9,
        is_advanced=True,
    )

    def __post_init__(self) -> None:
        """Check every field and that heads fit the width."""
        fields.check(self)
        if self.head_dim is None and self.d_model % self.n_heads:
            raise _clash(f"the width {self.d_model} is not divisible by {self.n_heads} heads")
        if self.n_kv_heads is not None and self.n_heads % self.n_kv_heads:
            raise _clash(f"{self.n_heads} heads cannot share {self.n_kv_heads} key/value heads")
        if self.style == "classic" and self.n_kv_heads not in {None, self.n_heads}:
            raise _clash(f"style classic has as many key/value heads as heads ({self.n_heads})")
        width = self.head_dim or self.d_model // self.n_heads
        if self.style != "classic" and width % 2:
            raise _clash(f"a head of width {width} is odd, and rotary positions need pairs")

    def resolve(self) -> "ModelConfig":
        """The same shape with every open field but vocab_size filled in."""
        is_classic = self.style == "classic"
        d_ff = 4 * self.d_model if is_classic else max(32, 32 * round(self.d_model / 12))
        eps = 1e-6 if self.style == "modern" else 1e-5
        return dataclasses.replace(
            self,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            head_dim=self.head_dim or self.d_model // self.n_heads,
            d_ff=self.d_ff or d_ff,
            bias=is_classic if self.bias is None else self.bias,
            norm_eps=self.norm_eps or eps,
        )


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The first limit reached ends the run."""

    seq_len: int = option(
        256, "Window", "Tokens read at once in training.", unit="tokens", minimum=2
    )
    stride: int | None = option(
        None,
        "Stride",
        "Steps between the starts of windows; smaller repeats text.",
        unit="tokens",
        minimum=1,
        auto="the window",
        is_advanced=True,
    )
    batch_size: int | None = option(
        None,
        "Batch",
        "Windows an update learns from, over all micro-batches.",
        unit="windows",
        minimum=1,
        maximum=1_000_000,
        auto="from width and data",
    )
    micro_batch_size: int | None = option(
        None,
        "Micro-batch",
        "Windows computed at once; the rest of the batch is accumulated.",
        unit="windows",
        minimum=1,
        maximum=1_000_000,
        auto="found for this machine",
        is_advanced=True,
    )
    epochs: float | None = option(
        None, "Epochs", "Passes over the data.", minimum=0.0001, maximum=1e5, auto="no limit"
    )
    max_steps: int | None = option(
        None, "Steps", "Updates of the weights.", minimum=1, maximum=10**9, auto="no limit"
    )
    max_tokens: int | None = option(
        None, "Tokens", "Tokens to learn from.", minimum=1, maximum=10**15, auto="no limit"
    )
    max_time_s: float | None = option(
        None, "Time", "Training time.", unit="s", minimum=1, maximum=1e9, auto="no limit"
    )
    document_masking: bool = option(
        False,
        "Documents apart",
        "Look back inside a document only, never into the one before it in the window.",
        is_advanced=True,
    )
    replay_share: float | None = option(
        None,
        "Old text again",
        "When training goes on with added files: share of what is read that is old text.",
        minimum=0,
        maximum=0.95,
        auto="old and new text as they come",
        is_advanced=True,
    )
    optimizer: str = option(
        "auto",
        "Optimizer",
        "muon learns from fewer tokens; adamw is the classic choice.",
        choices=("auto", "muon", "adamw"),
        auto="muon for modern and llama, adamw for classic",
    )
    learning_rate: float | None = option(
        None,
        "Learning rate",
        "Largest step size; 0.02 is usual for muon, 3e-4 for adamw.",
        minimum=1e-8,
        maximum=0.2,
        auto="0.02 for muon, by size for adamw",
    )
    schedule: str = option(
        "auto",
        "Schedule",
        "How the rate falls after warm-up.",
        choices=SCHEDULES,
        auto="wsd with a time limit, else cosine",
    )
    warmup_ratio: float = option(
        0.1, "Warm-up", "Share of all steps in which the rate rises.", minimum=0, maximum=0.9
    )
    min_lr_ratio: float = option(
        0.0, "Final rate", "Rate at the end as a share of the peak.", minimum=0, maximum=1
    )
    weight_decay: float | None = option(
        None,
        "Weight decay",
        "Pull of the matrices towards zero.",
        minimum=0,
        maximum=1,
        auto="0.1 for adamw, 0 for muon",
        is_advanced=True,
    )
    beta1: float = option(
        0.9, "Beta 1", "Memory of the gradient.", minimum=0, maximum=0.9999, is_advanced=True
    )
    beta2: float = option(
        0.95, "Beta 2", "Memory of its square.", minimum=0, maximum=0.99999, is_advanced=True
    )
    grad_clip: float = option(
        1.0, "Clipping", "Longest gradient; 0 is off.", minimum=0, maximum=1000, is_advanced=True
    )
    precision: str = option(
        "auto",
        "Precision",
        "bf16 where the processor is faster with it.",
        choices=("auto", "bf16", "fp16", "fp32"),
        auto="measured on this machine",
    )
    device: str = option(
        "auto",
        "Device",
        "Where it is computed.",
        choices=("auto", "cpu", "cuda"),
        auto="GPU if any",
    )
    threads: int | None = option(
        None,
        "Threads",
        "Processor threads.",
        minimum=1,
        maximum=1024,
        auto="cores less one",
        is_advanced=True,
    )
    gradient_checkpointing: bool = option(
        False,
        "Save memory",
        "Compute parts twice instead of keeping them (gradient checkpointing).",
    )
    deterministic: bool = option(
        False,
        "Deterministic",
        "Same numbers at every repetition on a GPU, slower.",
        is_advanced=True,
    )
    seed: int = option(
        0, "Seed", "Start of all random choices.", minimum=0, maximum=2**31, is_advanced=True
    )
    patience: int = option(
        0,
        "Patience",
        "Stop after so many validations without a better one and keep the best; 0 is off.",
        minimum=0,
        maximum=10_000,
    )
    min_delta: float = option(
        0.0,
        "Least gain",
        "What counts as better.",
        unit="nats",
        minimum=0,
        maximum=10,
        is_advanced=True,
    )
    val_interval: int | None = option(
        None,
        "Validate every",
        "Steps between validations.",
        unit="steps",
        minimum=1,
        auto="20 times a run and each epoch, 20 steps apart at least",
        is_advanced=True,
    )
    val_windows: int = option(
        64,
        "Validation windows",
        "Windows a validation measures, spread evenly.",
        minimum=1,
        maximum=1_000_000,
        is_advanced=True,
    )
    save_interval: int | None = option(
        None,
        "Save every",
        "Steps between checkpoints.",
        unit="steps",
        minimum=1,
        auto="10 times a run, 100 to 500 steps apart",
    )
    keep_last: int = option(
        3,
        "Keep last",
        "Checkpoints kept beside best and pinned.",
        minimum=1,
        maximum=10_000,
        is_advanced=True,
    )
    sample_interval: int | None = option(
        None,
        "Write every",
        "Steps between samples of what it writes.",
        unit="steps",
        minimum=1,
        auto="at each validation",
        is_advanced=True,
    )
    sample_prompts: tuple[str, ...] = option(
        ("The", "def "), "Sample prompts", "Beginnings that it continues while it learns."
    )
    sample_tokens: int = option(
        64, "Sample length", "Tokens a sample has.", minimum=1, maximum=4096, is_advanced=True
    )

    def __post_init__(self) -> None:
        """Check every field; the rate is checked where the style is known."""
        fields.check(self)

    def with_limits(self, **limits: float | None) -> "TrainConfig":
        """The same training with exactly these of epochs, max_steps, max_tokens, max_time_s."""
        none = dict.fromkeys(("epochs", "max_steps", "max_tokens", "max_time_s"))
        return dataclasses.replace(self, **{**none, **limits})  # type: ignore[arg-type]


@dataclass(frozen=True)
class SamplingConfig:
    """How the next token is drawn when the model writes."""

    temperature: float = option(
        0.8, "Temperature", "0 takes the likeliest; higher is bolder.", minimum=0, maximum=2
    )
    top_k: int = option(
        40, "Top-k", "Only the k likeliest tokens; 0 is off.", minimum=0, maximum=1_000_000
    )
    top_p: float = option(
        0.9, "Top-p", "Smallest set with this much probability; 1 is off.", minimum=0, maximum=1
    )
    repetition_penalty: float = option(
        1.2, "Repetition penalty", "Above 1 avoids words used before.", minimum=0.5, maximum=2
    )
    max_new_tokens: int = option(
        200, "Most new tokens", "Longest answer.", minimum=1, maximum=1_000_000
    )
    sample_seed: int = option(
        0, "Writing seed", "The same seed writes the same text.", minimum=0, maximum=2**31
    )
    stop: tuple[str, ...] = option((), "Stop texts", "Writing ends before one of these.")

    def __post_init__(self) -> None:
        """Check every field."""
        fields.check(self)


@dataclass(frozen=True)
class ProjectConfig:
    """Everything a project remembers; stored as `config.json`."""

    schema_version: int = SCHEMA_VERSION
    preset: str = ""
    sources: tuple[SourceConfig, ...] = ()
    data: DataConfig = DataConfig()
    clean: CleanConfig = CleanConfig()
    refine: RefineConfig = RefineConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    sampling: SamplingConfig = SamplingConfig()

    def __post_init__(self) -> None:
        """Check what two sections must agree on."""
        if not isinstance(self.preset, str):
            raise _clash(f"the preset's name cannot be {self.preset!r}")
        if self.train.seq_len > self.model.max_seq_len:
            raise _clash(
                f"the window of {self.train.seq_len} tokens (seq_len) is longer than the longest "
                f"context of {self.model.max_seq_len} (max_seq_len)"
            )
        rate = self.train.learning_rate
        optimizer = resolve_optimizer(self.train.optimizer, self.model.style)
        if rate is not None and rate > MAX_RATE[optimizer]:
            raise _clash(
                f"a learning rate of {rate:g} (learning_rate) is too high for {optimizer}, which "
                f"takes up to {MAX_RATE[optimizer]:g}"
            )
        ids = [source.id for source in self.sources]
        if len(ids) != len(set(ids)):
            raise _clash("two sources have the same id")


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "clean": CleanConfig,
    "refine": RefineConfig,
    "tokenizer": TokenizerConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "sampling": SamplingConfig,
}
FIELD_SECTION: dict[str, str] = {
    field.name: name for name, kind in SECTIONS.items() for field in dataclasses.fields(kind)
}


def settings_page() -> str:
    """`help/settings.md`: every setting of every section, made from the fields themselves."""
    parts = [
        "# Settings\n\nEach is a field of a form and `--set name=value` on the command line; "
        "`auto` leaves one open.\nThis page is made from the program's own fields "
        "(`python -m tests.test_readme` writes it).\n"
    ]
    for name, kind in SECTIONS.items():
        title = (kind.__doc__ or "").split("\n")[0]
        parts.append(f"## {name}\n\n{title}\n\n{fields.describe(kind)}")
    return "\n".join(parts)


def resolve_optimizer(optimizer: str, style: str) -> str:
    """What ``auto`` means: muon for the modern blocks, adamw for classic."""
    if optimizer != "auto":
        return optimizer
    return "adamw" if style == "classic" else "muon"


def _clash(words: str) -> ConfigError:
    return ConfigError("FIELD", f"{words[0].upper()}{words[1:]}.", safe="Nothing was changed.")


def with_values(config: ProjectConfig, values: Mapping[str, Any]) -> ProjectConfig:
    """A copy with fields of any section replaced, all of a section at once.

    Raises:
        ConfigError: an unknown field (with the nearest name) or a bad value.
    """
    grouped: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in FIELD_SECTION:
            hint = fields.nearest(name, list(FIELD_SECTION))
            raise ConfigError("KEY", f"There is no setting {name!r}.{hint}")
        grouped.setdefault(FIELD_SECTION[name], {})[name] = value
    changed = {
        section: dataclasses.replace(getattr(config, section), **part)
        for section, part in grouped.items()
    }
    return dataclasses.replace(config, **changed)


def parse_sets(pairs: list[str]) -> dict[str, Any]:
    """``['d_model=64', 'shuffle=on']`` -> typed values by field name.

    Raises:
        ConfigError: no ``=``, an unknown name or a value of another type.
    """
    values = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        name = name.strip()
        if not sign:
            raise ConfigError("FIELD", f"{pair!r} must have the form name=value.")
        if name not in FIELD_SECTION:
            hint = fields.nearest(name, list(FIELD_SECTION))
            raise ConfigError("KEY", f"There is no setting {name!r}.{hint}")
        values[name] = fields.parse(SECTIONS[FIELD_SECTION[name]], name, text)
    return values


def to_json(config: Any) -> str:
    """Any config dataclass as readable JSON; undecodable bytes of a path become ``\\udcff``."""
    text = json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def project_config(values: Any) -> ProjectConfig:
    """Build and check a project's settings from parsed JSON, older schemas migrated.

    Raises:
        ConfigError: a newer schema, unknown keys, bad values.
    """
    if not isinstance(values, dict):
        raise ConfigError("CORRUPT", "The settings are not a JSON object.")
    version = values.get("schema_version")
    if type(version) is not int or version < 1:
        raise ConfigError("CORRUPT", f"The settings have the schema version {version!r}.")
    if version > SCHEMA_VERSION:
        raise ConfigError(
            "VERSION",
            f"The project was written by a newer version (schema {version}, known {SCHEMA_VERSION}).",
            safe="It was not changed.",
            todo="Open it with a newer sLLM Trainer.",
        )
    for migrate in MIGRATIONS[version - 1 :]:
        values = migrate(values)
    known = dict(values)
    items = known.pop("sources", [])
    if not isinstance(items, list):
        raise _clash(f"the sources cannot be {str(items)[:60]!r}: they must be a list")
    sources = tuple(fields.from_mapping(SourceConfig, item, "a source") for item in items)
    parts = {
        name: fields.from_mapping(kind, known.pop(name, {}), f"section {name}")
        for name, kind in SECTIONS.items()
    }
    config: ProjectConfig = fields.from_mapping(
        ProjectConfig, {**known, "sources": sources, **parts}, "the project"
    )
    return config


# From schema n to n + 1, in order: small named functions on plain values.
MIGRATIONS: list[Callable[[dict[str, Any]], dict[str, Any]]] = []

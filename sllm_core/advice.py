"""Auto-Select: settings for this text on this machine, each with its reason. Arithmetic only.

Rules of thumb, none of them a law: where a constant was measured or read, it says so.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

from sllm_core import config as settings
from sllm_core import estimate, fmt
from sllm_core.config import ModelConfig, ProjectConfig, TrainConfig
from sllm_core.messages import TokenizerReport

PLAIN_BYTES = 272  # the vocabulary of 256 bytes and the special tokens
CPU_BUDGET_S = 1800.0
GPU_BUDGET_S = 3 * 3600.0
TOKENS_PER_PARAMETER = 20  # arXiv 2203.15556: where more tokens and more parameters gain the same
# Fewer, and a smaller model ends better in the same time: own trials at 2e13 flops on 31 MB of code
# ended at 1.62 bits per byte with 0.5 a parameter, 1.45 with 2, and below that with 7.
MIN_TOKENS_PER_PARAMETER = 10
MOST_EPOCHS = 10.0  # own trials on 0.3 MB: validation turns at the 8th to 12th pass with muon
# Largest useful model: 1 M parameters for 10,000 tokens, 10 M for 1 M, 100 M for 100 M. It lies on
# 10 tokens a parameter at 10 billion and lets small texts have more parameters than tokens.
PARAMETERS_PER_ROOT_TOKEN = 10_000
MEMORY_SHARE = {"cpu": 0.5, "cuda": 0.8}  # of what is free: a PC has other work too
MICRO_TOKENS = 4096  # computed at once: fewer leave a GPU idle
KEPT_CHECKPOINTS = 5  # three last, the best, and the one being written
# (d_model, n_layers, n_heads): each step is about 1.7 times the one before it.
SHAPES = (
    (64, 3, 2), (96, 3, 3), (128, 4, 4), (192, 4, 3), (256, 4, 4), (320, 5, 5), (384, 6, 6),
    (512, 6, 8), (512, 8, 8), (640, 10, 10), (768, 12, 12), (896, 14, 14), (1024, 16, 16),
    (1024, 24, 16), (1280, 28, 20), (1536, 32, 24),
)  # fmt: skip
# Bytes a token by vocabulary: plain bytes; up to 16k the mean of 10 MB of English prose and 10 MB of
# Python, each with a vocabulary learnt from itself (prose 4 % below, code above); from there DATA 10.
_BYTES_PER_TOKEN = (
    (272, 1.0), (512, 1.87), (1024, 2.37), (2048, 2.84), (4096, 3.26), (8192, 3.62), (16_384, 3.9),
    (32_768, 4.1), (65_536, 4.25),
)  # fmt: skip


@dataclass(frozen=True)
class Text:
    """The data as far as it is known."""

    n_files: int
    n_bytes: int
    train_tokens: int | None = None  # measured, with a tokenizer of vocab_size
    bytes_per_token: float | None = None
    vocab_size: int | None = None
    is_vocab_locked: bool = False  # checkpoints hold on to the tokenizer
    val_split: float | None = None

    @property
    def train_share(self) -> float:
        """Of the text that is trained on."""
        return 1 - (self.val_split or (0.03 if self.n_bytes > 1 << 30 else 0.1))


@dataclass(frozen=True)
class Machine:
    """What was measured: seconds a token are ``overhead_s + flops * flop_s``."""

    device: str  # cpu | cuda
    title: str
    precision: str
    precision_reason: str
    overhead_s: float
    flop_s: float
    update_flop_s: float  # of the optimizer's own matrix products
    free_bytes: int  # of the memory that is computed in
    disk_free_bytes: int

    @property
    def is_half(self) -> bool:
        """Whether matrix products are in 16 bits."""
        return self.precision != "fp32"


@dataclass(frozen=True)
class Choice:
    """One shape of model, with what it would cost here."""

    shape: ModelConfig
    train: TrainConfig
    vocab_size: int
    train_tokens: int
    n_params: int
    tokens_per_sec: float
    step_s: float
    total_steps: int
    need_bytes: int
    checkpoint_bytes: int
    is_by_time: bool

    @property
    def tokens_per_step(self) -> int:
        """Tokens an update learns from."""
        return (self.train.batch_size or 1) * self.train.seq_len

    @property
    def forecast_s(self) -> float:
        """Seconds of training."""
        return self.total_steps * self.step_s

    @property
    def seen_tokens(self) -> int:
        """Tokens it is trained on, repetitions included."""
        return self.total_steps * self.tokens_per_step

    @property
    def epochs(self) -> float:
        """Passes over the training text."""
        return self.seen_tokens / max(1, self.train_tokens)


@dataclass(frozen=True)
class Advice:
    """The settings, why each, and the choice they come from."""

    values: dict[str, Any]
    reasons: dict[str, str]
    summary: str
    choice: Choice
    is_estimated: bool
    warnings: tuple[str, ...]


# -- costs ---------------------------------------------------------------------------------------


def flops_per_token(config: ModelConfig, seq_len: int) -> float:
    """Of a training step: 6 a parameter that multiplies, and attention (arXiv 2204.02311, app. B).

    The table of tokens is looked up on the way in but multiplied as the head on the way out.
    """
    n = estimate.count_parameters(config)
    assert config.vocab_size
    products = n.attention + n.mlp + config.vocab_size * config.d_model
    return 6.0 * products + 12.0 * config.n_layers * config.d_model * seq_len


def update_flops(config: ModelConfig, optimizer: str) -> float:
    """Of one update: Muon's five Newton-Schulz steps on each matrix; AdamW's are few."""
    n = estimate.count_parameters(config)
    if optimizer != "muon":
        return 20.0 * n.total
    c = config.resolve()
    assert c.d_ff
    d, total = c.d_model, 0.0
    rows = [(d, d)] * 4 + [(d, c.d_ff)] * 3
    for small, large in (sorted(pair) for pair in rows):
        total += 5 * (4.0 * small * small * large + 2.0 * small**3)
    return c.n_layers * total + 20.0 * (n.embedding + n.norms)


def fit_speed(
    points: list[tuple[float, float]], updates: list[tuple[float, float]]
) -> tuple[float, float, float]:
    """(overhead_s, flop_s, update_flop_s) from (flops, seconds) of two sizes each.

    A negative overhead, which a busy moment can give, becomes none; a large size that seems to
    cost nothing more is taken by its whole time.
    """
    (small, small_s), (large, large_s) = points
    flop_s = (large_s - small_s) / (large - small)
    overhead_s = small_s - flop_s * small
    if flop_s <= 0 or overhead_s < 0:
        flop_s, overhead_s = large_s / large, 0.0
    return overhead_s, flop_s, max(seconds / flops for flops, seconds in updates)


def bytes_per_token(vocab_size: int, known: tuple[int, float] | None = None) -> float:
    """Expected for a vocabulary, scaled to what was measured with another one."""
    expected = _interpolate(vocab_size)
    if known is None:
        return expected
    known_size, measured = known
    return max(1.0, expected * measured / _interpolate(known_size))


def _interpolate(vocab_size: int) -> float:
    sizes = [size for size, _ in _BYTES_PER_TOKEN]
    if vocab_size <= sizes[0]:
        return _BYTES_PER_TOKEN[0][1]
    for (low, a), (high, b) in itertools.pairwise(_BYTES_PER_TOKEN):
        if vocab_size <= high:
            share = math.log(vocab_size / low) / math.log(high / low)
            return a + share * (b - a)
    return _BYTES_PER_TOKEN[-1][1]


def vocabulary_for(n_bytes: int, largest: int = 50_000) -> int:
    """Tokens that so much text can fill and teach: twice the root of its bytes, to a round number.

    0.3 MB: 1,000; 1 MB: 2,000; 25 MB: 10,000; 200 MB: 28,000. Below 100 kB the bytes themselves.
    """
    wish = min(2 * math.sqrt(n_bytes), n_bytes / 250, largest)
    if n_bytes < 100_000 or wish < 512:
        return PLAIN_BYTES
    step = 10 ** (int(math.log10(wish)) - 1)
    return max(500, int(wish // step * step))


# -- the choice ----------------------------------------------------------------------------------


def choose(
    text: Text, machine: Machine, base: ProjectConfig, budget_s: float | None = None
) -> Advice:
    """The largest model that this text can teach and this machine can train in time.

    Args:
        text: bytes, and tokens where they are known.
        machine: speeds and free memory, as measured.
        base: the project's present settings; its style stays.
        budget_s: training time; None is half an hour on a processor, three hours on a GPU.
    """
    budget = budget_s or (GPU_BUDGET_S if machine.device == "cuda" else CPU_BUDGET_S)
    found = [_cost(shape, text, machine, base, budget) for shape in SHAPES]
    chosen, why_not = found[0], ""
    for larger in found[1:]:
        why_not = _obstacle(larger, machine, budget)
        if why_not:
            break
        chosen = larger
    return _explain(chosen, why_not, text, machine, base, budget)


def _cost(
    row: tuple[int, int, int], text: Text, machine: Machine, base: ProjectConfig, budget: float
) -> Choice:
    d_model, n_layers, n_heads = row
    bare = replace(
        base.model, d_model=d_model, n_layers=n_layers, n_heads=n_heads, n_kv_heads=None,
        head_dim=None, d_ff=None, max_seq_len=1024, vocab_size=PLAIN_BYTES,
    )  # fmt: skip
    vocab_size = text.vocab_size if text.is_vocab_locked else _vocabulary(text, bare)
    assert vocab_size
    tokens = train_tokens(text, vocab_size)
    seq_len = _window(tokens, machine, d_model)
    shape = replace(bare, vocab_size=vocab_size, max_seq_len=seq_len)
    n_params = estimate.count_parameters(shape).total
    optimizer = settings.resolve_optimizer("auto", shape.style)
    token_s = machine.overhead_s + machine.flop_s * flops_per_token(shape, seq_len)
    update_s = machine.update_flop_s * update_flops(shape, optimizer)
    in_text = most_epochs(n_params, tokens) * tokens
    affordable = min(in_text, budget / token_s)
    batch = _batch(d_model, seq_len, tokens, affordable)
    step_s = batch * seq_len * token_s + update_s
    by_text = max(1, int(in_text / (batch * seq_len)))
    by_time = max(1, int(budget / step_s))
    train = replace(base.train, seq_len=seq_len, batch_size=batch, optimizer="auto")
    micro = estimate.largest_divisor(batch, max(1, MICRO_TOKENS // seq_len))
    memory = estimate.estimate_memory(shape, micro, seq_len, train=train, is_half=machine.is_half)
    return Choice(
        shape=shape,
        train=train,
        vocab_size=vocab_size,
        train_tokens=tokens,
        n_params=n_params,
        tokens_per_sec=batch * seq_len / step_s,
        step_s=step_s,
        total_steps=min(by_text, by_time),
        need_bytes=memory.total,
        checkpoint_bytes=estimate.checkpoint_bytes(shape, optimizer),
        is_by_time=by_time < by_text,
    )


def _vocabulary(text: Text, shape: ModelConfig) -> int:
    """No more tokens than the text fills, and their table no larger than the layers."""
    n = estimate.count_parameters(shape)
    layers = n.attention + n.mlp
    return vocabulary_for(text.n_bytes, max(1000, layers // shape.d_model))


def train_tokens(text: Text, vocab_size: int) -> int:
    """Tokens of the training side with a vocabulary: measured, else from the bytes."""
    if text.train_tokens and vocab_size == text.vocab_size:
        return text.train_tokens
    known = None
    if text.vocab_size and text.bytes_per_token:
        known = (text.vocab_size, text.bytes_per_token)
    return max(1, int(text.n_bytes * text.train_share / bytes_per_token(vocab_size, known)))


def most_epochs(n_params: int, tokens: int) -> float:
    """Passes that still teach: up to `MOST_EPOCHS`, fewer where one pass is already plenty."""
    plenty = 2 * TOKENS_PER_PARAMETER * n_params / max(1, tokens)
    return max(1.0, min(MOST_EPOCHS, plenty))


def _window(tokens: int, machine: Machine, d_model: int) -> int:
    """A power of two: what the machine can hold, if the text has two hundred such windows."""
    if machine.device == "cuda":
        most = 1024 if machine.free_bytes > 14 << 30 else 512
    else:
        most = 128 if d_model < 192 else 256
    fits = max(32, tokens // 200)
    return int(min(most, 2 ** int(math.log2(fits))))


def _batch(d_model: int, seq_len: int, tokens: int, affordable: float) -> int:
    """Windows an update: enough for Muon's fixed work (50 d_model), and a thousand updates."""
    wish = max(50 * d_model, 8192)
    wish = int(min(wish, max(1024, affordable / 1000)))
    n_windows = max(1, (tokens - 1) // seq_len)
    return max(1, min(wish // seq_len, n_windows // 4 or 1))


def _obstacle(choice: Choice, machine: Machine, budget: float) -> str:
    """Why a model is too large here; '' when it is not."""
    name = fmt.count(choice.n_params)
    most = PARAMETERS_PER_ROOT_TOKEN * math.sqrt(choice.train_tokens)
    if choice.n_params > most:
        return f"{name} would learn {fmt.count(choice.train_tokens)} tokens by heart"
    share = MEMORY_SHARE[machine.device]
    if choice.need_bytes > share * machine.free_bytes:
        return (
            f"{name} would need {fmt.size(choice.need_bytes)} of memory, and "
            f"{fmt.size(machine.free_bytes)} are free"
        )
    if KEPT_CHECKPOINTS * choice.checkpoint_bytes > 0.5 * machine.disk_free_bytes:
        return (
            f"the checkpoints of {name} would fill {fmt.size(5 * choice.checkpoint_bytes)} of "
            f"{fmt.size(machine.disk_free_bytes)} on the disk"
        )
    wanted = MIN_TOKENS_PER_PARAMETER * choice.n_params
    if choice.is_by_time and choice.seen_tokens < wanted:
        return (
            f"{name} would see only {fmt.count(choice.seen_tokens)} tokens in "
            f"{fmt.duration(budget)}, {choice.seen_tokens / choice.n_params:.1f} a parameter"
        )
    return ""


def _dropout(epochs: float) -> float:
    """None for text read once (ENGINE 4.3); the more often it is read, the more."""
    return 0.0 if epochs <= 2 else 0.1


def _explain(
    choice: Choice, why_not: str, text: Text, machine: Machine, base: ProjectConfig, budget: float
) -> Advice:
    shape, train, epochs = choice.shape, choice.train, choice.epochs
    optimizer = settings.resolve_optimizer("auto", shape.style)
    values: dict[str, Any] = {
        "d_model": shape.d_model,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "n_kv_heads": None,
        "head_dim": None,
        "d_ff": None,
        "max_seq_len": train.seq_len,
        "seq_len": train.seq_len,
        "stride": None,
        "dropout": _dropout(epochs),
        "batch_size": train.batch_size,
        "micro_batch_size": None,
        "gradient_checkpointing": False,
        "optimizer": optimizer,
        "learning_rate": None,
        "weight_decay": None,
        "schedule": "wsd" if choice.is_by_time else "cosine",
        "epochs": None if choice.is_by_time else max(1.0, round(epochs, 1)),
        "max_time_s": float(budget) if choice.is_by_time else None,
        "max_steps": None,
        "max_tokens": None,
        "patience": 0 if choice.is_by_time or epochs < 4 else 5,
        "precision": "auto",
        "device": machine.device,
    }
    if not text.is_vocab_locked:
        values["target_vocab_size"] = max(PLAIN_BYTES, choice.vocab_size)
    reasons = _reasons(choice, why_not, text, machine, budget, values)
    limit = (
        f"{fmt.duration(budget)} of training, about {epochs:.1f} passes"
        if choice.is_by_time
        else f"{values['epochs']:g} passes, about {fmt.duration(choice.forecast_s)}"
    )
    summary = (
        f"A model of {fmt.count(choice.n_params)} parameters ({shape.d_model} wide, "
        f"{shape.n_layers} layers) with {choice.vocab_size:,} tokens, for "
        f"{fmt.size(text.n_bytes)} of text: {limit} at {fmt.count(choice.tokens_per_sec)} "
        f"tokens/s on {machine.title}."
    )
    is_measured = bool(text.train_tokens) and choice.vocab_size == text.vocab_size
    settings.with_values(base, values)  # what is proposed can be used, or this raises here
    warnings = _warnings(choice, text, machine)
    return Advice(values, reasons, summary, choice, not is_measured, warnings)


def _reasons(
    choice: Choice,
    why_not: str,
    text: Text,
    machine: Machine,
    budget: float,
    values: dict[str, Any],
) -> dict[str, str]:
    """One sentence with numbers for every value."""
    shape, train = choice.shape, choice.train
    tokens, seen = fmt.count(choice.train_tokens), fmt.count(choice.seen_tokens)
    per = choice.seen_tokens / choice.n_params
    size = (
        f"{fmt.count(choice.n_params)} parameters learn from {seen} tokens ({per:.1f} a "
        f"parameter) in {fmt.duration(choice.forecast_s)}; "
        + (f"the next size not: {why_not}." if why_not else "it is the largest we propose.")
    )
    share = 100 * update_flops(shape, values["optimizer"]) * machine.update_flop_s / choice.step_s
    rate = estimate.default_learning_rate(values["optimizer"], shape.d_model)
    by_default = "Left open: it follows from the width and the heads."
    no_other = "No other limit is needed."
    reasons = {
        "d_model": size,
        "n_layers": f"{shape.n_layers} layers suit a width of {shape.d_model}.",
        "n_heads": f"Heads of {shape.d_model // shape.n_heads} numbers each.",
        "n_kv_heads": "Left open: sharing them would save memory only in much larger models.",
        "head_dim": by_default,
        "d_ff": by_default,
        "seq_len": f"{train.seq_len} tokens: the {tokens} training tokens hold "
        f"{choice.train_tokens // train.seq_len:,} such windows, and {machine.title} computes "
        "them quickly.",
        "max_seq_len": "As long as the window it is trained on.",
        "stride": "Left open: each token is learnt from once a pass.",
        "dropout": f"{values['dropout']:g}: each text is read "
        + (f"{choice.epochs:.1f} times." if choice.epochs >= 1 else "at most once."),
        "batch_size": f"{choice.tokens_per_step:,} tokens an update, so that there are {choice.total_steps:,} "
        f"updates; the optimizer's own work is {share:.0f} % of the time.",
        "micro_batch_size": "Found for the free memory when the run starts.",
        "gradient_checkpointing": f"Not needed: {fmt.size(choice.need_bytes)} of "
        f"{fmt.size(machine.free_bytes)} free memory are used.",
        "optimizer": "muon learns from 1.3 to 1.5 times fewer tokens than adamw at about 0.1 G "
        "parameters."
        if values["optimizer"] == "muon"
        else "adamw is what style classic was made with.",
        "learning_rate": f"Left open: {rate:g}, the usual peak for {values['optimizer']}.",
        "weight_decay": "Left open: it follows from the optimizer.",
        "precision": f"{machine.precision}: {machine.precision_reason}.",
        "device": f"{machine.title} is the fastest here.",
        "max_steps": no_other,
        "max_tokens": no_other,
    }
    if choice.is_by_time:
        reasons |= {
            "max_time_s": f"{fmt.duration(budget)}: at {fmt.count(choice.tokens_per_sec)} tokens/s "
            f"it sees {seen} of {tokens} training tokens ({choice.epochs:.1f} passes).",
            "epochs": "Time ends the run before repetition does harm.",
            "schedule": "wsd: the rate stays up and falls in the last fifth of the time.",
            "patience": "Off: time ends the run.",
        }
    else:
        reasons |= {
            "epochs": f"{values['epochs']:g} passes over {tokens} training tokens; more would be "
            "learnt by heart.",
            "max_time_s": f"Not needed: it takes about {fmt.duration(choice.forecast_s)}.",
            "schedule": "cosine: the number of steps is known.",
            "patience": "Stops when five validations in a row are no better, and keeps the best."
            if values["patience"]
            else "Off: the text is read too few times to be learnt by heart.",
        }
    if "target_vocab_size" in values:
        reasons["target_vocab_size"] = _vocabulary_reason(choice, text)
    return reasons


def _vocabulary_reason(choice: Choice, text: Text) -> str:
    size = fmt.size(text.n_bytes)
    if choice.vocab_size <= PLAIN_BYTES:
        return f"The 256 bytes themselves: {size} of text are too few to learn words from."
    n = estimate.count_parameters(choice.shape)
    share = 100 * n.embedding / n.total
    return (
        f"{choice.vocab_size:,} tokens: {size} of text teach each "
        f"{text.n_bytes // choice.vocab_size:,} bytes, and their table is {share:.0f} % of the "
        "model."
    )


def _warnings(choice: Choice, text: Text, machine: Machine) -> tuple[str, ...]:
    found = []
    if text.n_bytes < 100_000:
        found.append(
            f"{fmt.size(text.n_bytes)} is very little text: the model will repeat it more than it "
            "learns from it. A megabyte and more gives better results."
        )
    if choice.need_bytes > MEMORY_SHARE[machine.device] * machine.free_bytes:
        found.append(
            f"Even the smallest model needs {fmt.size(choice.need_bytes)} of "
            f"{fmt.size(machine.free_bytes)} free memory: close other programs first."
        )
    if KEPT_CHECKPOINTS * choice.checkpoint_bytes > machine.disk_free_bytes:
        found.append(f"Only {fmt.size(machine.disk_free_bytes)} are free on the disk.")
    return tuple(found)


# -- judgements ----------------------------------------------------------------------------------


def judge_size(n_params: int, seen_tokens: float, train_tokens: int) -> str:
    """What tokens a parameter and passes over the text mean for a model, in a sentence."""
    per, epochs = seen_tokens / max(1, n_params), seen_tokens / max(1, train_tokens)
    if epochs > 2 * MOST_EPOCHS:
        return f"{epochs:.0f} passes over the same text: it will be learnt by heart."
    if per < MIN_TOKENS_PER_PARAMETER / 2:
        if epochs >= MOST_EPOCHS / 2:
            return f"{per:.1f} tokens a parameter: more text or a smaller model would do better."
        return f"{per:.1f} tokens a parameter: train longer, or take a smaller model."
    if per > 10 * TOKENS_PER_PARAMETER:
        return f"{per:.0f} tokens a parameter: a larger model would learn more from this."
    return f"{per:.1f} tokens a parameter: a good balance."


def judge_tokenizer(report: TokenizerReport, text_bytes: int) -> str:
    """Whether the vocabulary fits the text, and what would be better, in a sentence or two."""
    fitting = vocabulary_for(text_bytes)
    usable = max(1, report.vocab_size - report.n_special)
    unused = (report.n_never + report.n_rare) / usable
    if report.vocab_size <= PLAIN_BYTES:
        if fitting > PLAIN_BYTES:
            return f"Plain bytes. {fmt.size(text_bytes)} of text can teach {fitting:,} tokens."
        return "Plain bytes suit so little text."
    is_counted = report.counted_tokens > 20 * report.vocab_size
    if is_counted and unused > 0.4 and fitting < 0.8 * report.vocab_size:
        return (
            f"{100 * unused:.0f} % of the tokens are used fewer than ten times: {fitting:,} tokens "
            "would do."
        )
    if report.embedding_share and report.embedding_share > 0.6:
        return (
            f"The table of tokens is {100 * report.embedding_share:.0f} % of the model as it is "
            "set: a smaller vocabulary leaves more for the layers."
        )
    if report.vocab_size < fitting / 4:
        return f"{fmt.size(text_bytes)} of text could teach {fitting:,} tokens."
    return "The vocabulary fits this text."

"""What the settings mean before anything runs: parameters, memory, steps, disk. Pure arithmetic."""

from dataclasses import asdict, astuple, dataclass, replace
from math import sqrt

from sllm_core import advice as auto
from sllm_core import estimate, fmt
from sllm_core.config import ProjectConfig, TrainConfig
from sllm_core.estimate import Memory, Parameters
from sllm_core.jobs.vitals import Vitals
from sllm_core.messages import Probed
from sllm_ui.facts import Facts

# The worker's own numbers; their modules need torch, so a test compares them.
CPU_TOKENS = 4096  # probe.py: most tokens computed at once on a processor
MEMORY_SHARE = 0.8  # probe.py: of the free memory
SAVE_ROOM = 1.1  # trainer.py: a save may be this much larger than the last one
BYTE_VOCAB = 272  # tokenizer.py: special tokens and 256 bytes
HUGE_BYTES = 1 << 30  # corpus/division.py: more text keeps a smaller share apart

BYTES_PER_NEW_TOKEN = 200  # tokenizer.advise_vocab_size: text that each token needs
AIM = auto.TOKENS_PER_PARAMETER
MANY_PASSES, TOO_MANY = auto.MOST_EPOCHS, 20.0  # the second is the most that automatic takes
PROBE_FLOPS = {"cpu": 2e11, "cuda": 2e13}  # a trial by itself must not take longer than moments


@dataclass(frozen=True)
class Machine:
    """Where it would be computed, and what is free there. Unknown is None."""

    device: str = "cpu"  # cpu | cuda
    memory_name: str = "Memory"
    free_bytes: int | None = None
    total_bytes: int | None = None
    disk_free_bytes: int | None = None


@dataclass(frozen=True)
class Text:
    """How much there is to learn from. Tokens are None while nothing is scanned."""

    vocab_size: int
    vocab_note: str
    train_tokens: int | None
    is_estimated: bool = True  # worked out from bytes


@dataclass(frozen=True)
class Forecast:
    """All numbers that follow from settings, text and machine."""

    text: Text
    machine: Machine
    parameters: Parameters
    train: TrainConfig  # open fields filled in as the run will
    memory: Memory
    micro_batch_size: int
    steps: int | None
    epochs: float | None  # passes over the text that these steps are
    step_s: float | None  # measured
    time_s: float | None
    checkpoint_bytes: int
    disk_bytes: int | None
    fit: str  # fits | tight | no | never | disk | unknown
    n_windows: int | None = None
    is_batch_known: bool = True  # it was set, or there is text that it follows from
    update_flops: float = 0.0  # of the optimizer, beside those of the micro-batches

    @property
    def tokens_per_step(self) -> int:
        """Tokens an update learns from."""
        return (self.train.batch_size or 1) * self.train.seq_len

    @property
    def tokens_seen(self) -> int | None:
        """Tokens the whole run learns from, repeated ones too."""
        return self.steps * self.tokens_per_step if self.steps is not None else None

    @property
    def tokens_per_parameter(self) -> float | None:
        """The usual aim is 20."""
        seen = self.tokens_seen
        return seen / self.parameters.total if seen is not None else None


def look_at(config: ProjectConfig, vitals: Vitals | None, own_bytes: int = 0) -> Machine:
    """The memory that counts for these settings; ``own_bytes`` is what our own run holds of RAM."""
    if vitals is None:
        return Machine(device="cuda" if config.train.device == "cuda" else "cpu")
    gpu = vitals.gpus[0] if vitals.gpus else None
    if config.train.device == "cuda" or (config.train.device == "auto" and gpu):
        total = gpu.total_bytes if gpu else None
        used = gpu.used_bytes if gpu else None
        free = total - used if total is not None and used is not None else None
        return Machine("cuda", "Video memory", free, total, vitals.disk_free_bytes)
    total, used = vitals.ram_total_bytes, vitals.ram_used_bytes
    free = None
    if total is not None and used is not None:
        free = min(total, total - used + own_bytes)
    return Machine("cpu", "Memory", free, total, vitals.disk_free_bytes)


def expected_text(config: ProjectConfig, facts: Facts, *, is_locked: bool) -> Text:
    """Vocabulary and training tokens as the next run will find them."""
    vocab, note, is_kept = _vocabulary(config, facts, is_locked=is_locked)
    is_same_text = facts.prepared_bytes is not None and (
        not facts.text_bytes
        or abs(facts.text_bytes - facts.prepared_bytes) < 0.02 * facts.text_bytes
    )
    if is_kept and is_same_text and facts.train_tokens is not None:
        return Text(vocab, note, facts.train_tokens, is_estimated=False)
    if not facts.text_bytes:
        return Text(vocab, note, None)
    known = None
    if facts.vocab_size and facts.bytes_per_token:
        known = (facts.vocab_size, facts.bytes_per_token)
    share = config.data.val_split
    if share is None:
        share = 0.03 if facts.text_bytes > HUGE_BYTES else 0.1
    tokens = facts.text_bytes * (1 - share) / auto.bytes_per_token(vocab, known)
    return Text(vocab, note, int(tokens))


def _vocabulary(config: ProjectConfig, facts: Facts, *, is_locked: bool) -> tuple[int, str, bool]:
    """Size, words, and whether the tokenizer that is there is kept."""
    wish = config.tokenizer.target_vocab_size
    if facts.vocab_size is not None:
        is_same = dict(facts.tokenizer_wish) == asdict(config.tokenizer)
        if is_same or facts.is_tokenizer_imported or is_locked:
            note = f"{facts.vocab_size:,} in use"
            if is_locked and not is_same and not facts.is_tokenizer_imported:
                note = f"stays {facts.vocab_size:,}: in use by checkpoints"
            return facts.vocab_size, note, True
    if facts.text_bytes:
        most = max(BYTE_VOCAB, facts.text_bytes // BYTES_PER_NEW_TOKEN)
        if wish > most:
            size = most if most >= BYTE_VOCAB + 64 else BYTE_VOCAB
            return size, f"{size:,} for this much text", False
    return wish, "", False


def count_windows(tokens: int, seq_len: int, stride: int) -> int:
    """Windows of an epoch, as `dataset.Windows` counts them; 0 when not one fits."""
    last = tokens - seq_len - 1
    if last < 0:
        return 0
    max_offset = min(stride - 1, last) if last >= stride else 0
    return (last - max_offset) // stride + 1


def make_forecast(
    config: ProjectConfig, text: Text, machine: Machine, probed: Probed | None
) -> Forecast:
    """Everything that can be said before a run; nothing is guessed that a trial must measure."""
    shape = replace(config.model, vocab_size=text.vocab_size)
    parameters = estimate.count_parameters(shape)
    stride = config.train.stride or config.train.seq_len
    tokens = text.train_tokens
    n_windows = None if tokens is None else count_windows(tokens, config.train.seq_len, stride)
    many = 1 << 40  # no text yet: as if there were enough
    train = estimate.resolve_training(
        config.train,
        shape,
        tokens if tokens is not None else many,
        max(1, many if n_windows is None else n_windows),
    )
    is_half = _is_half(train, machine, probed)
    micro = _micro_batch(config, train, machine, text.vocab_size, is_half=is_half)
    memory = estimate.estimate_memory(shape, micro, train.seq_len, train=train, is_half=is_half)
    step_s = probed.step_s if probed else None
    steps = _count_steps(train, n_windows, step_s)
    one = estimate.checkpoint_bytes(shape, train.optimizer)
    assert train.batch_size is not None
    is_timed = steps is not None and step_s is not None
    return Forecast(
        text=text,
        machine=machine,
        parameters=parameters,
        train=train,
        memory=memory,
        micro_batch_size=micro,
        steps=steps,
        epochs=steps * train.batch_size / n_windows if steps is not None and n_windows else None,
        step_s=step_s,
        time_s=steps * step_s if is_timed and steps is not None and step_s is not None else None,
        checkpoint_bytes=one,
        disk_bytes=one * _kept(train, steps) if steps is not None else None,
        fit=_fit(memory.total, one, machine, is_split=micro > 1),
        n_windows=n_windows,
        is_batch_known=config.train.batch_size is not None or tokens is not None,
        update_flops=auto.update_flops(shape, train.optimizer),
    )


def _is_half(train: TrainConfig, machine: Machine, probed: Probed | None) -> bool:
    """Whether activations take two bytes; on a processor a measurement decides."""
    if train.precision != "auto":
        return train.precision != "fp32"
    if probed is not None:
        return probed.precision != "fp32"
    return machine.device == "cuda"


def _micro_batch(
    config: ProjectConfig, train: TrainConfig, machine: Machine, vocab_size: int, *, is_half: bool
) -> int:
    """The micro-batch that the worker will try first (`probe.try_step`)."""
    assert train.batch_size is not None
    shape = replace(config.model, vocab_size=vocab_size)
    wish = train.micro_batch_size or train.batch_size
    if train.micro_batch_size is None and machine.device == "cpu":
        wish = min(wish, max(1, CPU_TOKENS // train.seq_len))
    size = estimate.largest_divisor(train.batch_size, wish)
    room = machine.free_bytes
    while size > 1 and room is not None:
        need = estimate.estimate_memory(shape, size, train.seq_len, train=train, is_half=is_half)
        if need.total <= MEMORY_SHARE * room:
            break
        size = estimate.largest_divisor(train.batch_size, size // 2)
    return size


def _count_steps(train: TrainConfig, n_windows: int | None, step_s: float | None) -> int | None:
    """Updates until the first limit that is known; None when the one that counts is not."""
    if n_windows is None:
        if train.epochs or not (train.max_steps or train.max_tokens):
            return None
        steps = estimate.count_steps(train, 0)
    else:
        steps = estimate.count_steps(train, n_windows)
    if train.max_time_s is None:
        return steps
    if step_s is None:
        return None
    by_time = max(1, int(train.max_time_s / step_s))
    return by_time if steps is None else min(steps, by_time)


def save_every(train: TrainConfig, steps: int) -> int:
    """Steps between checkpoints, as the run decides them."""
    return train.save_interval or min(500, max(100, steps // 10))


def validate_every(train: TrainConfig, steps: int, n_windows: int) -> int:
    """Steps between validations, as the run decides them."""
    per_epoch = max(1, n_windows // (train.batch_size or 1))
    return train.val_interval or max(20, min(per_epoch, steps // 20))


def _kept(train: TrainConfig, steps: int) -> int:
    """Checkpoint files at the end: the last ones and the best."""
    return 1 + min(train.keep_last, 1 + steps // save_every(train, steps))


def _fit(need: int, checkpoint: int, machine: Machine, *, is_split: bool) -> str:
    if machine.disk_free_bytes is not None and machine.disk_free_bytes < 2 * SAVE_ROOM * checkpoint:
        return "disk"
    if machine.free_bytes is None or machine.total_bytes is None:
        return "unknown"
    if need > machine.total_bytes and not is_split:
        return "never"
    if need > machine.free_bytes:
        return "no"
    return "fits" if need <= MEMORY_SHARE * machine.free_bytes else "tight"


def probe_key(config: ProjectConfig, vocab_size: int, batch_size: int) -> str:
    """What the time of a step depends on: settings with one key take the same time."""
    t, shape = config.train, replace(config.model, vocab_size=vocab_size)
    how = (t.seq_len, batch_size, t.micro_batch_size, t.optimizer, t.precision, t.device, t.threads)
    return repr((astuple(shape), how, t.gradient_checkpointing, t.deterministic))


def is_quick_to_probe(forecast: Forecast) -> bool:
    """Whether a trial may be made unasked: one micro-batch takes moments, and memory is there."""
    tokens = forecast.micro_batch_size * forecast.train.seq_len
    flops = 6.0 * forecast.parameters.total * tokens + forecast.update_flops
    limit = PROBE_FLOPS[forecast.machine.device]
    return forecast.fit in {"fits", "tight"} and flops <= limit


def why_not(forecast: Forecast) -> str:
    """Why a run with these numbers would be refused; '' when it would not."""
    need = fmt.size(forecast.memory.total)
    if forecast.fit == "never":
        name = "the card" if forecast.machine.device == "cuda" else "this computer"
        return (
            f"One window needs {need}; {name} has {fmt.size(forecast.machine.total_bytes)}. "
            "A smaller size, a shorter window or Save memory help."
        )
    if forecast.fit == "disk":
        room = fmt.size(forecast.machine.disk_free_bytes)
        first = fmt.size(2 * SAVE_ROOM * forecast.checkpoint_bytes)
        return f"The first checkpoints need {first} of disk; {room} are free."
    if forecast.text.is_estimated:
        return ""
    if forecast.n_windows == 0:
        return (
            f"The text has {forecast.text.train_tokens:,} tokens, too few for one window of "
            f"{forecast.train.seq_len:,}. Use a shorter window or more text."
        )
    if forecast.steps == 0:
        return "These settings give no step at all. Use more epochs or tokens, or a smaller batch."
    return ""


def advice(f: Forecast) -> tuple[str, str]:
    """One sentence on size against text, and its tone; the rules are those of Auto-Select."""
    ratio, tokens = f.tokens_per_parameter, f.text.train_tokens
    if ratio is None or not tokens:
        return "", "muted"
    most = auto.PARAMETERS_PER_ROOT_TOKEN * sqrt(tokens)
    if f.parameters.total > most:
        words = f"This text suits up to about {fmt.count(most)} parameters"
        return f"{words}; a larger model learns it by heart.", "warn"
    if (f.epochs or 0) > MANY_PASSES:
        return (
            f"The text is read {f.epochs:.0f} times; after about {MANY_PASSES:.0f} it is rather "
            "learnt by heart. More text helps, or fewer passes.",
            "warn" if (f.epochs or 0) > TOO_MANY else "muted",
        )
    if ratio > 5 * AIM:
        return f"Far more than {AIM} tokens a parameter: a larger model could learn more.", "muted"
    if ratio >= AIM / 2:
        return f"About {AIM} tokens a parameter is the usual aim: size and text agree.", "good"
    if (f.epochs or 0) < MANY_PASSES / 2:
        return f"Fewer than the usual {AIM} tokens a parameter: more steps would help.", "muted"
    return f"Fewer than the usual {AIM} tokens a parameter: more text would help.", "muted"

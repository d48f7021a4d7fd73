"""What this machine can do: a trial of given settings, and Auto-Select. Measures, then `advice`."""

import gc
from dataclasses import replace
from typing import Any

import psutil
import torch

from sllm_core import advice, dataset, estimate, faults, fmt, hardware, probe, tokenizer
from sllm_core import config as settings
from sllm_core import device as devices
from sllm_core.checkpoint import Checkpoints
from sllm_core.config import ModelConfig, ProjectConfig, TrainConfig
from sllm_core.corpus.index import Index
from sllm_core.device import Device
from sllm_core.errors import DataError, LockError, StepMemoryError, TokenizerError
from sllm_core.jobs import pipeline
from sllm_core.jobs.pipeline import Job
from sllm_core.messages import Log, Probed, Proposal
from sllm_core.project import Lock, Project

# (d_model, n_layers, vocab_size, seq_len) of the small and the large trial.
_SIZES = {
    "cpu": ((96, 2, 1024, 128), (320, 3, 2048, 128)),
    "cuda": ((256, 4, 8192, 512), (768, 6, 16_384, 512)),
}
_TRIAL_TOKENS = {"cpu": 1024, "cuda": 8192}
_LONGEST_TRIAL_S = 1.2  # of one pass forward and backward; each is done three times
_BUSY = 0.3
_AGREES = 1.15  # a prediction this close to the measured step is kept


def probe_settings(project: Project, body: dict[str, Any], job: Job) -> Probed:
    """A trial step of the project's settings, changed by ``values`` (typed, by field name).

    ``{"do": "probe", "request": 1, "values": {"d_model": 256}, "train_tokens": 5000000}``; tokens
    are needed only where nothing was prepared yet.

    Raises:
        StepMemoryError: not even one window fits.
        LockError: a run is at work, so that nothing could be measured.
    """
    _refuse_busy(project)
    config = settings.with_values(project.load_config(), body.get("values") or {})
    text = read_text(project, config)
    vocab_size = text.vocab_size or _wished_vocabulary(config, text)
    tokens = int(body.get("train_tokens") or 0)
    if not tokens and text.n_bytes:
        tokens = advice.train_tokens(text, vocab_size)
    shape = replace(config.model, vocab_size=vocab_size).resolve()
    n_windows = max(1, (tokens - 1) // (config.train.stride or config.train.seq_len))
    known = tokens or 10**9  # without data the batch follows from the width alone
    train = estimate.resolve_training(config.train, shape, known, n_windows if tokens else 10**6)
    devices.set_up(train.threads or hardware.default_threads())
    device = devices.choose(
        train.device, train.precision, d_model=shape.d_model, n_tokens=8 * train.seq_len
    )
    if device.name == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trial = probe.try_step(shape, train, device, job.check)
    assert train.batch_size
    per_step = train.batch_size * train.seq_len
    total, forecast_s = _forecast(config, train, tokens, n_windows, trial.step_s)
    memory = estimate.estimate_memory(
        shape, trial.micro_batch_size, train.seq_len, train=train, is_half=device.dtype is not None
    )
    return Probed(
        request=int(body.get("request", 0)),
        step_s=trial.step_s,
        tokens_per_sec=per_step / trial.step_s,
        micro_batch_size=trial.micro_batch_size,
        grad_accum_steps=train.batch_size // trial.micro_batch_size,
        precision=device.precision,
        precision_reason=device.precision_reason,
        device=device.title,
        n_params=estimate.count_parameters(shape).total,
        peak_bytes=int(torch.cuda.max_memory_allocated()) if device.name == "cuda" else None,
        need_bytes=memory.total,
        free_bytes=devices.free_bytes(device) or hardware.free_memory(),
        total_steps=total,
        forecast_s=forecast_s,
        reason=trial.reason,
    )


def _forecast(
    config: ProjectConfig, train: TrainConfig, tokens: int, n_windows: int, step_s: float
) -> tuple[int | None, float | None]:
    """Steps until the first limit and their seconds; None where they depend on unknown data."""
    if not tokens:  # an epoch, and what follows from the text, cannot be counted
        given = config.train
        train = replace(train, epochs=None)
        if given.epochs or not any((given.max_steps, given.max_tokens, given.max_time_s)):
            return None, None
    steps = estimate.count_steps(train, n_windows)
    by_time = max(1, int(train.max_time_s / step_s)) if train.max_time_s else None
    limits = [n for n in (steps, by_time) if n is not None]
    total = min(limits, default=None)
    return total, total * step_s if total is not None else None


def _wished_vocabulary(config: ProjectConfig, text: advice.Text) -> int:
    target = config.tokenizer.target_vocab_size
    return tokenizer.advise_vocab_size(target, text.n_bytes)[0] if text.n_bytes else target


def _refuse_busy(project: Project) -> None:
    lock = Lock(project.runs_dir / ".accelerator.lock", "a measurement")
    if lock.is_held():
        raise LockError(
            "HELD",
            "A run is at work, so this computer's speed cannot be measured now.",
            safe="Nothing was changed.",
            todo="Pause or stop the run, then try again.",
        )


def read_text(project: Project, config: ProjectConfig) -> advice.Text:
    """The data as far as it is known: files and bytes of the scan, tokens if it was prepared."""
    n_files = n_bytes = 0
    if project.db_path.exists():
        with Index(project.db_path) as index:
            n_files, n_bytes = index.counts().get(("used", ""), (0, 0))
    text = advice.Text(n_files, n_bytes, val_split=config.data.val_split)
    try:
        used = tokenizer.load(project.tokenizer_dir / "tokenizer.json")
    except TokenizerError:
        return text
    is_locked = bool(Checkpoints(project).rows())
    text = replace(text, vocab_size=used.vocab_size, is_vocab_locked=is_locked)
    manifest = dataset.load_manifest(project)
    if manifest is None or manifest.tokenizer_sha256 != used.sha256 or not manifest.train_tokens:
        return text
    ratio = manifest.train_text_bytes / manifest.train_tokens
    prepared = manifest.train_text_bytes + manifest.val_text_bytes
    is_whole = abs(prepared - n_bytes) < 0.02 * n_bytes  # else files came or went since
    tokens = manifest.train_tokens if is_whole else None
    return replace(text, train_tokens=tokens, bytes_per_token=ratio)


def propose(project: Project, body: dict[str, Any], job: Job) -> Proposal:
    """Auto-Select: ``{"do": "auto", "request": 1, "budget_s": 1800}``, the budget may be left out.

    A project that was never scanned is scanned first.

    Raises:
        DataError: there is no text.
        LockError: a run is at work, so that nothing could be measured.
    """
    _refuse_busy(project)
    config = project.load_config()
    text = read_text(project, config)
    if not text.n_bytes:
        with Lock(project.runs_dir / ".data.lock", "Auto-Select"):
            job.emit(pipeline.scan(project, config, job))
        text = read_text(project, config)
    if not text.n_bytes:
        raise DataError(
            "EMPTY", "There is no text to choose settings for.", todo="Add a folder of text first."
        )
    budget = float(body["budget_s"]) if body.get("budget_s") else None
    devices.set_up(hardware.default_threads())
    job.emit(Log("Measuring how fast this computer trains; this takes a few seconds."))
    others = busy_share()
    machine, device = measure_machine(project, job)
    found = advice.choose(text, machine, config, budget)
    machine = _corrected(found.choice, machine, device)
    others = max(others, busy_share())
    found = advice.choose(text, machine, config, budget)
    choice = found.choice
    return Proposal(
        request=int(body.get("request", 0)),
        values=found.values,
        reasons=found.reasons,
        summary=found.summary,
        n_params=choice.n_params,
        train_tokens=choice.train_tokens,
        is_estimated=found.is_estimated,
        tokens_per_sec=choice.tokens_per_sec,
        total_steps=choice.total_steps,
        forecast_s=choice.forecast_s,
        need_bytes=choice.need_bytes,
        free_bytes=machine.free_bytes,
        device=device.title,
        machine=describe_machine(),
        warnings=(*found.warnings, *_busy_warning(others, device)),
    )


def busy_share() -> float:
    """How busy the processor is with other things, 0 to 1, measured for 0.4 s."""
    return float(psutil.cpu_percent(interval=0.4)) / 100


def _busy_warning(others: float, device: Device) -> tuple[str, ...]:
    if device.name == "cuda" or others < _BUSY:
        return ()
    return (
        f"Other programs used {100 * others:.0f} % of the processor while its speed was measured. "
        "Close them and ask again: a larger model may fit into the time.",
    )


def describe_machine() -> str:
    """The computer in one line."""
    here = hardware.look()
    cards = "".join(f", {gpu.name} with {fmt.size(gpu.total_bytes)}" for gpu in here.gpus)
    return f"{here.processor}, {here.n_cores} cores, {fmt.size(here.ram_bytes)} of memory{cards}"


def measure_machine(project: Project, job: Job) -> tuple[advice.Machine, Device]:
    """Two short trials on the fastest device, and what is free."""
    device = devices.choose("auto", "auto")
    points: list[tuple[float, float]] = []
    updates: list[tuple[float, float]] = []
    tokens = _TRIAL_TOKENS[device.name]
    for d_model, n_layers, vocab_size, seq_len in _SIZES[device.name]:
        job.check()
        shape = ModelConfig(
            d_model=d_model, n_layers=n_layers, n_heads=d_model // 32, vocab_size=vocab_size,
            max_seq_len=seq_len, dropout=0.0,
        )  # fmt: skip
        flops = advice.flops_per_token(shape, seq_len)
        if points:  # a slow machine gets a smaller piece of the large size
            expected_s = points[0][1] / points[0][0] * flops
            tokens = int(min(tokens, max(seq_len, _LONGEST_TRIAL_S / expected_s)))
        micro_s, update_s, n = _trial(shape, seq_len, tokens, device)
        points.append((flops, micro_s / n))
        updates.append((advice.update_flops(shape, "muon"), update_s))
    overhead_s, flop_s, update_flop_s = advice.fit_speed(points, updates)
    cores = hardware.physical_cores()
    machine = advice.Machine(
        device=device.name,
        title=device.title if device.name == "cuda" else f"the processor ({cores} cores)",
        precision=device.precision,
        precision_reason=device.precision_reason,
        overhead_s=overhead_s,
        flop_s=flop_s,
        update_flop_s=update_flop_s,
        free_bytes=devices.free_bytes(device) or hardware.free_memory(),
        disk_free_bytes=faults.free_bytes(project.root),
    )
    return machine, device


def _trial(
    shape: ModelConfig, seq_len: int, tokens: int, device: Device
) -> tuple[float, float, int]:
    """Seconds of a pass and of an update, and how many tokens the pass had.

    Raises:
        StepMemoryError: not even one window fits.
    """
    size = max(1, tokens // seq_len)
    base = TrainConfig(seq_len=seq_len, batch_size=size)
    train = estimate.resolve_training(base, shape, 10**9, 10**6)
    try:
        with torch.random.fork_rng(devices=[0] if device.name == "cuda" else []):
            micro_s, update_s = probe.measure(shape, train, device, size)
        return micro_s, update_s, size * seq_len
    except (RuntimeError, MemoryError) as problem:
        if not devices.is_out_of_memory(problem):
            raise
    gc.collect()
    if device.name == "cuda":
        torch.cuda.empty_cache()
    if size == 1:
        free = devices.free_bytes(device) or hardware.free_memory()
        memory = estimate.estimate_memory(shape, 1, seq_len, train=train, is_half=False)
        raise probe.no_room(shape, train, memory.total, free)
    return _trial(shape, seq_len, tokens // 2, device)


def _corrected(choice: advice.Choice, machine: advice.Machine, device: Device) -> advice.Machine:
    """The machine as a trial of the chosen model itself shows it."""
    shape, seq_len = choice.shape, choice.train.seq_len
    flops = advice.flops_per_token(shape, seq_len)
    expected_s = machine.overhead_s + machine.flop_s * flops
    tokens = min(_TRIAL_TOKENS[device.name], int(_LONGEST_TRIAL_S / expected_s))
    try:
        micro_s, _, n = _trial(shape, seq_len, max(seq_len, tokens), device)
    except StepMemoryError:
        return machine
    factor = micro_s / n / expected_s
    if 1 / _AGREES < factor < _AGREES:
        return machine
    return replace(machine, overhead_s=factor * machine.overhead_s, flop_s=factor * machine.flop_s)

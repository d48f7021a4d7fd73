"""A trial before the real run: which micro-batch fits this machine, and how long a step takes."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sllm_core import device as devices
from sllm_core import estimate, fmt, hardware
from sllm_core.config import ModelConfig, TrainConfig
from sllm_core.device import Device
from sllm_core.errors import StepMemoryError
from sllm_core.model import GPT, next_token_loss
from sllm_core.optim import Optimizer

CPU_TOKENS = 4096  # a larger micro-batch gains nothing on a CPU and costs memory
MEMORY_SHARE = 0.8  # of what is free; the rest is for validation, samples and the desktop
_TIMED = 2


@dataclass(frozen=True)
class Trial:
    """What the trial step found."""

    micro_batch_size: int
    step_s: float  # of one update over the whole batch
    reason: str


def build_optimizer(model: GPT, train: TrainConfig) -> Optimizer:
    """The optimizer of a resolved training configuration."""
    assert train.learning_rate is not None and train.weight_decay is not None
    config = model.config
    q, kv = config.n_heads, config.n_kv_heads or config.n_heads
    width = config.head_dim or 0
    return Optimizer(
        model,
        train.optimizer,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        beta1=train.beta1,
        beta2=train.beta2,
        grad_clip=train.grad_clip,
        head_rows=(q * width, kv * width, kv * width),
    )


def try_step(
    config: ModelConfig,
    train: TrainConfig,
    device: Device,
    check: Callable[[], None] = lambda: None,
) -> Trial:
    """Find the micro-batch by the memory model, prove it by a real step, and time it.

    A throw-away model is used and the random generators are left as they were.

    Args:
        config: with vocab_size.
        train: resolved; a micro_batch_size set by the user is only reduced if it does not fit.
        device: where.
        check: raises when the user wants to stop.

    Raises:
        StepMemoryError: not even one window fits.
    """
    assert train.batch_size is not None
    is_half = device.dtype is not None
    free = devices.free_bytes(device) or hardware.free_memory()
    wish = train.micro_batch_size or train.batch_size
    if train.micro_batch_size is None and device.name == "cpu":
        wish = min(wish, max(1, CPU_TOKENS // train.seq_len))
    size = estimate.largest_divisor(train.batch_size, wish)

    def need(n: int) -> int:
        memory = estimate.estimate_memory(config, n, train.seq_len, train=train, is_half=is_half)
        return memory.total

    while size > 1 and need(size) > MEMORY_SHARE * free:
        size = estimate.largest_divisor(train.batch_size, size // 2)
    while True:
        check()
        seconds = _time_step(config, train, device, size)
        if seconds is not None:
            break
        if size == 1:
            raise no_room(config, train, need(1), free)
        size = estimate.largest_divisor(train.batch_size, size // 2)
    words = f"{fmt.size(need(size))} of {fmt.size(free)} free memory expected, proven by a step"
    return Trial(size, seconds, words)


def no_room(config: ModelConfig, train: TrainConfig, need: int, free: int) -> StepMemoryError:
    """The words for a step that does not fit, with three ways out and their numbers."""
    half = max(2, train.seq_len // 2)
    return StepMemoryError(
        "STEP",
        f"One window of {train.seq_len} tokens needs about {fmt.size(need)}; "
        f"{fmt.size(free)} are free.",
        safe="Checkpoints and data are intact.",
        todo=f"Use a shorter window (seq_len={half}), switch on gradient_checkpointing, or a "
        f"smaller preset (d_model below {config.d_model}).",
    )


def _time_step(config: ModelConfig, train: TrainConfig, device: Device, size: int) -> float | None:
    """Seconds of an update made of micro-batches of ``size``; None when memory ran out."""
    assert train.batch_size is not None
    n_micro = train.batch_size // size
    with torch.random.fork_rng(devices=[0] if device.name == "cuda" else []):
        try:
            seconds = _run_steps(config, train, device, size, n_micro)
        except (RuntimeError, MemoryError) as problem:
            if not devices.is_out_of_memory(problem):
                raise
            seconds = None  # the handler ends first: its traceback holds the tensors
    gc.collect()
    if device.name == "cuda":
        torch.cuda.empty_cache()
    return seconds


def _run_steps(
    config: ModelConfig, train: TrainConfig, device: Device, size: int, n_micro: int
) -> float:
    micro_s, update_s = measure(config, train, device, size)
    return micro_s * n_micro + update_s


def measure(
    config: ModelConfig, train: TrainConfig, device: Device, size: int
) -> tuple[float, float]:
    """Seconds of a micro-batch of ``size`` windows, and of an update by the optimizer."""
    model = GPT(config, gradient_checkpointing=train.gradient_checkpointing).to(device.torch)
    model.init_weights(0)
    model.train()
    optimizer = build_optimizer(model, train)
    ids = torch.zeros((size, train.seq_len + 1), dtype=torch.int64, device=device.torch)
    documents = torch.zeros_like(ids[:, :-1]) if train.document_masking else None  # costs the same
    micro_s = update_s = float("inf")
    for _ in range(_TIMED + 1):  # the first one warms up
        start = _now(device)
        with device.autocast():
            logits = model(ids[:, :-1], documents=documents)
        next_token_loss(logits, ids[:, 1:]).backward()
        middle = _now(device)
        optimizer.clip()
        optimizer.step(1e-3)
        optimizer.zero_grad()
        end = _now(device)
        micro_s, update_s = min(micro_s, middle - start), min(update_s, end - middle)
    return micro_s, update_s


def _now(device: Device) -> float:
    if device.name == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()

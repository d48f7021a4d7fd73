"""Where and in which precision to compute, with the reason in words."""

import contextlib
import os
import time
from dataclasses import dataclass

import torch

from sllm_core.errors import ConfigError

BF16_GAIN = 1.2  # bf16 must be this much faster on a CPU to be chosen (ENGINE 4.2)


@dataclass(frozen=True)
class Device:
    """A chosen device and precision. ``dtype`` is None for float32 throughout."""

    name: str  # cpu | cuda
    title: str
    precision: str  # bf16 | fp16 | fp32
    precision_reason: str

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the matrix products; None is float32."""
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Matrix products in ``dtype``; weights, states, norms and losses stay float32."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.name, dtype=self.dtype)

    @property
    def torch(self) -> torch.device:  # last: below it the name would mean this property
        """As torch names it."""
        return torch.device(self.name)


def choose(device: str, precision: str, *, d_model: int = 256, n_tokens: int = 2048) -> Device:
    """Find device and precision; what the user chose is obeyed or refused, never replaced.

    Args:
        device: auto, cpu or cuda.
        precision: auto, bf16, fp16 or fp32.
        d_model: width of the matrix product that is measured on a CPU.
        n_tokens: its rows.

    Raises:
        ConfigError: cuda was asked for and is not there.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise ConfigError(
            "FIELD",
            "The device cuda was asked for, but torch finds no NVIDIA GPU.",
            todo="Choose the device auto or cpu, or install a CUDA build of torch (see README).",
        )
    if device == "cpu" or not has_cuda:
        chosen, reason = _cpu_precision(precision, d_model, n_tokens)
        return Device("cpu", "CPU", chosen, reason)
    title = torch.cuda.get_device_name()
    if precision != "auto":
        return Device("cuda", title, precision, "chosen by you")
    major, minor = torch.cuda.get_device_capability()
    if major >= 8:
        return Device("cuda", title, "bf16", f"{title} computes bf16 natively")
    if major == 7:
        reason = f"{title} (capability {major}.{minor}) has fast fp16 but no bf16"
        return Device("cuda", title, "fp16", reason)
    return Device("cuda", title, "fp32", f"{title} is too old for fast half precision")


def _cpu_precision(precision: str, d_model: int, n_tokens: int) -> tuple[str, str]:
    if precision != "auto":
        return precision, "chosen by you"
    gain = matmul_gain(d_model, n_tokens)
    if gain is None:
        return "fp32", "bf16 is too slow on this processor to be measured"
    words = f"a bf16 matrix product is {gain:.1f} times as fast as float32 on this processor"
    return ("bf16" if gain >= BF16_GAIN else "fp32"), words


def matmul_gain(width: int, n_rows: int, budget_s: float = 0.3) -> float | None:
    """Speed of a bf16 matrix product over float32 on this CPU; None if one already takes too long.

    One product at a time: without bf16 instructions a single step can be 15 times slower. The
    quickest of many rounds counts, so that a busy moment does not decide about a whole night.
    """
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(min(n_rows, 1024), width, generator=generator)
    b = torch.randn(width, 4 * width, generator=generator)
    half_a, half_b = a.bfloat16(), b.bfloat16()
    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    begun = time.perf_counter()
    for round_number in range(60):
        for x, y in ((a, b), (half_a, half_b)):
            start = time.perf_counter()
            x @ y
            times[x.dtype].append(time.perf_counter() - start)
        if round_number >= 4 and time.perf_counter() - begun > budget_s:
            break
        if round_number == 0 and times[torch.bfloat16][0] > max(1.0, 20 * times[torch.float32][0]):
            return None
    return min(times[torch.float32]) / min(times[torch.bfloat16])


def set_up(threads: int, *, is_deterministic: bool = False) -> None:
    """Threads and number formats of this process, before the first tensor."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high")
    if is_deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def free_bytes(device: Device) -> int | None:
    """Free memory of a GPU; None for the CPU (ask `hardware.free_memory`)."""
    return int(torch.cuda.mem_get_info()[0]) if device.name == "cuda" else None


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error raised inside a training step means that memory ran out (RELIABILITY 4.6)."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(problem)
    return isinstance(problem, RuntimeError) and (
        "allocate memory" in text or "CUBLAS_STATUS_ALLOC_FAILED" in text
    )

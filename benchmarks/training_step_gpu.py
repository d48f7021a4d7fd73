"""A training step of the GPT-2 size (124M) on an NVIDIA GPU beside transformers, not compiled.

Windows of 1024, bf16, dropout 0, clipping and the optimizer inside the step. Each side is built,
warmed up, timed in rounds and freed; tokens/second of the wall clock, and peak memory.
"""

import datetime as dt
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from sllm_core import estimate, probe
from sllm_core.config import ModelConfig, TrainConfig
from sllm_core.device import Device
from sllm_core.model import GPT, next_token_loss

B, T, V = 16, 1024, 50_304
BF16 = Device("cuda", "GPU", "bf16", "benchmark")
N_ROUNDS, N_STEPS = 7, 5


def ours(style: str) -> Callable[[], None]:
    """One step of our model with the optimizer its style brings."""
    shape = {"d_model": 768, "n_layers": 12, "n_heads": 12, "vocab_size": V, "max_seq_len": T}
    config = ModelConfig(style=style, dropout=0.0, **shape)
    wish = TrainConfig(seq_len=T, batch_size=B)
    train = estimate.resolve_training(wish, config, train_tokens=10**9, n_windows=10**6)
    model = GPT(config).cuda()
    model.init_weights(0)
    model.train()
    optimizer = probe.build_optimizer(model, train)
    ids = torch.randint(V, (B, T + 1), device="cuda")

    def step() -> None:
        with BF16.autocast():
            logits = model(ids[:, :-1])
        (next_token_loss(logits, ids[:, 1:]) / (B * T)).backward()
        optimizer.clip()
        optimizer.step(0.01)
        optimizer.zero_grad()

    return step


def theirs() -> Callable[[], None]:
    """One step of transformers' GPT-2 with scaled-dot-product attention and fused AdamW."""
    off = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = transformers.GPT2Config(
        vocab_size=V, n_positions=T, attn_implementation="sdpa", bos_token_id=0, eos_token_id=0, **off
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).cuda()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(V, (B, T), device="cuda")

    def step() -> None:
        with BF16.autocast():
            loss = model(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(make: Callable[[], Callable[[], None]]) -> tuple[list[float], float]:
    """Tokens/second of each round, and the peak of allocated GiB; everything is freed after."""
    torch.cuda.reset_peak_memory_stats()
    step = make()
    for _ in range(3):
        step()
    rates = []
    for _ in range(N_ROUNDS):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(N_STEPS):
            step()
        torch.cuda.synchronize()
        rates.append(B * T * N_STEPS / (time.perf_counter() - begun))
    peak = torch.cuda.max_memory_allocated() / 2**30
    del step
    gc.collect()
    torch.cuda.empty_cache()
    return rates, peak


def main() -> None:
    """Measure the three sides twice, in turn; write the result file."""
    sides = {
        "transformers GPT-2 (sdpa), AdamW": theirs,
        "ours classic, AdamW": lambda: ours("classic"),
        "ours modern, Muon": lambda: ours("modern"),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    peaks = {}
    for _ in range(2):
        for name, make in sides.items():
            found, peaks[name] = measure(make)
            rates[name] += found
    base = statistics.median(rates[next(iter(sides))])
    gpu = torch.cuda.get_device_name()
    date = dt.datetime.now(tz=dt.UTC).date().isoformat()
    lines = [
        "# A training step of 124M beside transformers' GPT-2 on a GPU",
        "",
        f"- Date: {date}; hardware: {gpu}; torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
        "- Command: `python -m benchmarks.training_step_gpu`; not compiled on either side",
        f"- {B} windows of {T}, vocabulary {V}, bf16, {2 * N_ROUNDS} rounds of {N_STEPS} steps",
        "",
        "| what | tokens/second | spread | against transformers | peak GiB |",
        "|---|---|---|---|---|",
    ]
    for name, values in rates.items():
        middle = statistics.median(values)
        spread = f"{min(values):,.0f}-{max(values):,.0f}"
        lines.append(
            f"| {name} | {middle:,.0f} | {spread} | {middle / base:.2f}x | {peaks[name]:.2f} |"
        )
    slug = "-".join("".join(c if c.isalnum() else " " for c in gpu).split())
    path = Path(__file__).parent / "results" / f"training_step_gpu_{slug}_{date}.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

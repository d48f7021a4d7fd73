"""Writing beside transformers' `generate`: same weights, same prompt, equal greedy text first."""

import argparse
from types import SimpleNamespace

import torch

from benchmarks import report
from benchmarks.training_step import build
from sllm_core.config import SamplingConfig
from sllm_core.device import Device
from sllm_core.sampler import generate

D_MODEL, N_LAYERS, CONTEXT, VOCAB_SIZE = 512, 6, 512, 16_000  # 27 million parameters
N_PROMPT, N_NEW = 128, 128
NO_SPECIALS = SimpleNamespace(
    vocab_size=VOCAB_SIZE, eos_id=-1, end_id=None, special_ids=frozenset()
)
GREEDY = SamplingConfig(temperature=0, top_k=0, top_p=1, repetition_penalty=1, max_new_tokens=N_NEW)
TOP_K = SamplingConfig(
    temperature=0.8, top_k=40, top_p=1, repetition_penalty=1, max_new_tokens=N_NEW
)


def measure(n_rounds: int) -> str:
    """The table: greedy and top-k 40, float32 and, where the processor has it, bf16."""
    ours, peer = build(D_MODEL, N_LAYERS, CONTEXT, VOCAB_SIZE, scale=3.0)
    peer.eval()
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(VOCAB_SIZE, (1, N_PROMPT), generator=generator)
    full, half = (Device("cpu", "CPU", name, "") for name in ("fp32", "bf16"))

    def our_tokens(how: SamplingConfig, device: Device) -> list[int]:
        out: list[int] = []
        generate(
            ours, NO_SPECIALS, prompt[0].tolist(), how, device=device, seed=0, on_token=out.append
        )
        assert len(out) == N_NEW
        return out

    def their_tokens(**how: object) -> list[int]:
        mask = torch.ones_like(prompt)
        found = peer.generate(
            prompt, attention_mask=mask, max_new_tokens=N_NEW, pad_token_id=0, **how
        )
        return found[0, N_PROMPT:].tolist()

    greedy = our_tokens(GREEDY, full)
    assert greedy == their_tokens(do_sample=False)
    sides = {
        "transformers greedy": lambda: their_tokens(do_sample=False),
        "ours greedy": lambda: our_tokens(GREEDY, full),
        "transformers top-k 40": lambda: their_tokens(do_sample=True, temperature=0.8, top_k=40),
        "ours top-k 40": lambda: our_tokens(TOP_K, full),
    }
    if report.has_bf16():
        sides["ours greedy, bf16"] = lambda: our_tokens(GREEDY, half)
    timings = report.interleave(sides, n_rounds)
    n_different = len(set(greedy))
    title = f"## d_model {D_MODEL}, {N_LAYERS} layers, V {VOCAB_SIZE}, prompt {N_PROMPT}, "
    title += f"{N_NEW} new, {n_rounds} rounds; greedy text equal ({n_different} different tokens)"
    return title + "\n\n" + report.table(timings, N_NEW, "transformers greedy") + "\n"


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    notes = [
        "Peer: `GPT2LMHeadModel.generate` with sdpa and its default cache, float32",
        "Reading the prompt is part of the time. CPU seconds decide: the machine was shared",
        "Not tried: transformers' static cache and compile, int8, a GPU",
    ]
    title = "Writing beside transformers' generate"
    report.save("generation", title, [measure(options.rounds)], notes)


if __name__ == "__main__":
    main()

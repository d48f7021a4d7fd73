"""A training step beside transformers' GPT-2: same weights, same batch, equal loss first.

A step is forward, loss, backward, clipping and fused AdamW, with gradients dropped at the end.
"""

import argparse

import torch
import transformers

from benchmarks import report
from sllm_core.config import ModelConfig
from sllm_core.device import Device
from sllm_core.model import GPT, next_token_loss
from sllm_core.optim import Optimizer

SIZES = {  # name: d_model, n_layers, T, V, windows in a batch
    "small": (256, 4, 256, 8_000, 8),
    "middle": (512, 6, 512, 16_000, 2),
}
GPT2_NAMES = {
    "embed_tokens": "wte",
    "pos_emb": "wpe",
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.qkv_proj": "attn.c_attn",
    "self_attn.o_proj": "attn.c_proj",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
    "norm": "ln_f",
}


def build(d_model: int, n_layers: int, max_seq_len: int, vocab_size: int, scale: float = 1.0):
    """Our classic model and transformers' GPT-2 with the same weights."""
    config = ModelConfig(
        style="classic",
        d_model=d_model,
        n_layers=n_layers,
        n_heads=d_model // 64,
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        dropout=0.0,
    )
    ours = GPT(config)
    ours.init_weights(0)
    peer_config = transformers.GPT2Config(
        vocab_size=vocab_size, n_positions=max_seq_len, n_embd=d_model, n_layer=n_layers,
        n_head=config.n_heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=None, eos_token_id=None, attn_implementation="sdpa",
    )  # fmt: skip
    weights = {}
    for name, tensor in ours.state_dict().items():
        if tensor.dim() == 2:
            tensor.mul_(scale)
        path, kind = name.removeprefix("layers.").rsplit(".", 1)
        layer, _, module = path.rpartition(".") if path in GPT2_NAMES else path.partition(".")
        in_block = f"h.{layer}." if layer else ""
        is_linear = bool(layer) and tensor.dim() == 2  # kept transposed there
        weights[f"transformer.{in_block}{GPT2_NAMES[module]}.{kind}"] = (
            tensor.T.contiguous() if is_linear else tensor
        )
    weights["lm_head.weight"] = ours.state_dict()["embed_tokens.weight"]
    peer = transformers.GPT2LMHeadModel(peer_config)
    peer.load_state_dict(weights, strict=True)
    return ours, peer


def measure(size: str, n_rounds: int) -> str:
    """The table of one size."""
    d_model, n_layers, T, vocab_size, n_windows = SIZES[size]
    ours, peer = build(d_model, n_layers, T, vocab_size)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(vocab_size, (n_windows, T + 1), generator=generator)
    x, y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    our_optimizer = Optimizer(
        ours, "adamw", learning_rate=1e-3, weight_decay=0.1, beta1=0.9, beta2=0.95, grad_clip=1.0
    )
    their_optimizer = torch.optim.AdamW(
        peer.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )

    def our_loss(device: Device) -> torch.Tensor:
        with device.autocast():
            return next_token_loss(ours(x), y) / y.numel()

    def their_loss(device: Device) -> torch.Tensor:
        with device.autocast():
            return peer(input_ids=x, labels=y, shift_labels=y, use_cache=False).loss

    def our_step(device: Device) -> None:
        our_loss(device).backward()
        our_optimizer.clip()
        our_optimizer.step(1.0)
        our_optimizer.zero_grad()

    def their_step(device: Device) -> None:
        their_loss(device).backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        their_optimizer.step()
        their_optimizer.zero_grad()

    full, half = (Device("cpu", "CPU", name, "") for name in ("fp32", "bf16"))
    difference = abs(our_loss(full).item() - their_loss(full).item())
    assert difference < 1e-5, difference
    sides = {"transformers fp32": lambda: their_step(full), "ours fp32": lambda: our_step(full)}
    if report.has_bf16():
        assert abs(our_loss(half).item() - our_loss(full).item()) < 0.05
        sides["transformers bf16"] = lambda: their_step(half)
        sides["ours bf16"] = lambda: our_step(half)
    timings = report.interleave(sides, n_rounds)
    title = f"## {size}: d_model {d_model}, {n_layers} layers, T {T}, V {vocab_size}, "
    title += f"{n_windows} windows a step, {n_rounds} rounds; losses differ by {difference:.1e}"
    return title + "\n\n" + report.table(timings, n_windows * T, "transformers fp32") + "\n"


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    sections = [measure(size, options.rounds) for size in options.sizes]
    notes = [
        "Peer: `GPT2LMHeadModel` with sdpa, fused AdamW; dropout 0 and classic blocks on both sides",
        "CPU seconds decide (`time.process_time`): the machine was shared. Not tried: compile, GPU",
    ]
    report.save("training_step", "A training step beside transformers' GPT-2", sections, notes)


if __name__ == "__main__":
    main()

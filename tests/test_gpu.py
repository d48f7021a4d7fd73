"""What must hold on an NVIDIA GPU; run with ``python3 -m tests -m gpu`` where there is one."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sllm_core import device as devices
from sllm_core import estimate, probe
from sllm_core.config import STYLES, ModelConfig, SamplingConfig, TrainConfig
from sllm_core.device import Device
from sllm_core.model import GPT, next_token_loss
from sllm_core.sampler import write
from sllm_core.tokenizer import byte_tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
]
ROOT = Path(__file__).parents[1]
CUDA = Device("cuda", "GPU", "fp32", "test")


def tiny(style: str, **more) -> ModelConfig:
    return ModelConfig(
        style=style, d_model=64, n_layers=2, n_heads=4, vocab_size=272, max_seq_len=64, **more
    )


@pytest.mark.parametrize("style", STYLES)
def test_loss_and_gradients_equal_those_of_the_cpu(style):
    model = GPT(tiny(style, dropout=0.0))
    model.init_weights(0)
    ids = torch.randint(0, 272, (3, 33), generator=torch.Generator().manual_seed(1))
    results = []
    for name in ("cpu", "cuda"):
        model.to(name).zero_grad()
        loss = next_token_loss(model(ids[:, :-1].to(name)), ids[:, 1:].to(name))
        loss.backward()
        results.append((loss.item(), model.embed_tokens.weight.grad.cpu().clone()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-3)
    assert torch.allclose(results[0][1], results[1][1], atol=2e-2)


def test_auto_chooses_the_gpu_with_a_reason():
    chosen = devices.choose("auto", "auto")
    assert (chosen.name, bool(chosen.precision_reason)) == ("cuda", True)


@pytest.mark.parametrize("style", STYLES)
def test_it_writes_the_same_text_with_the_same_seed_beyond_its_context(style):
    model = GPT(tiny(style)).to("cuda")
    model.init_weights(0)
    settings = SamplingConfig(max_new_tokens=150)
    texts = {
        write(model, byte_tokenizer(), "ab", settings, device=CUDA, seed=3).text for _ in range(2)
    }
    assert len(texts) == 1


def test_the_trial_finds_a_smaller_micro_batch_when_memory_is_short():
    config = ModelConfig(d_model=256, n_layers=4, n_heads=4, vocab_size=32_000, max_seq_len=512)
    train = TrainConfig(seq_len=512, batch_size=64, micro_batch_size=64)
    train = estimate.resolve_training(train, config, 10**8, 10**5)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(4e9 / total)
    try:
        found = probe.try_step(config, train, dataclasses.replace(CUDA, precision="bf16"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert 1 <= found.micro_batch_size < 64
    assert 64 % found.micro_batch_size == 0


def run_train(project: Path, *extra: str, kill_at: int = 0) -> dict[int, str]:
    """Losses by step of a run in a child; kill_at ends it as a power cut would."""
    command = [sys.executable, str(ROOT / "sllm.py"), "train", str(project), "--json", *extra]
    environment = {**os.environ, "SLLM_NO_BOOTSTRAP": "1"}
    losses = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        for line in child.stdout:
            message = json.loads(line)
            assert message["type"] != "failed", message
            if message["type"] == "step":
                losses[message["step"]] = message["loss_hex"]
                if message["step"] == kill_at:
                    child.kill()
                    break
    return losses


@pytest.mark.parametrize("style", ["modern", "classic"])
def test_a_killed_run_goes_on_bit_for_bit_in_deterministic_mode(tmp_path, style):
    rng = np.random.default_rng(0)
    source = tmp_path / "text"
    source.mkdir()
    words = ["one", "two", "three", "four\n", "five."]
    for number in range(40):
        (source / f"{number}.txt").write_text(" ".join(rng.choice(words, 800)))
    project = tmp_path / "project"
    command = [sys.executable, str(ROOT / "sllm.py"), "new", str(project), "--source", str(source)]
    subprocess.run(command, check=True, env={**os.environ, "SLLM_NO_BOOTSTRAP": "1"})
    sets = [f"style={style}", "deterministic=on", "seed=7", "save_interval=10", "seq_len=64"]
    sets += ["max_seq_len=64", "d_model=64", "n_layers=2", "batch_size=12", "micro_batch_size=4"]
    options = ["--max-steps", "40", *(word for item in sets for word in ("--set", item))]
    whole = run_train(project, *options)
    cut = run_train(project, *options, kill_at=27)
    rest = run_train(project, "--resume", "auto")
    assert min(rest) <= 27 < 40 == max(rest)
    assert {**cut, **rest} == whole

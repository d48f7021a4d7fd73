"""What is promised before a run equals what the run then holds."""

from dataclasses import replace

import pytest
import torch

from sllm_core import estimate
from sllm_core.config import STYLES, ModelConfig, TrainConfig
from sllm_core.model import GPT, next_token_loss
from sllm_core.optim import Optimizer

SHAPE = {"vocab_size": 300, "d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 48}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("n_kv_heads", [None, 2, 1])
@pytest.mark.parametrize("bias", [None, True, False])
@pytest.mark.parametrize("tied_head", [True, False])
@pytest.mark.parametrize("head_dim", [None, 24])
def test_counts_equal_the_built_model(style, n_kv_heads, bias, tied_head, head_dim):
    if style == "classic":
        n_kv_heads = None
    config = ModelConfig(
        style=style,
        n_kv_heads=n_kv_heads,
        bias=bias,
        tied_head=tied_head,
        head_dim=head_dim,
        **SHAPE,
    )
    assert estimate.count_parameters(config).total == GPT(config).n_params()


@pytest.mark.parametrize(("d", "n", "vocab", "context"), [(64, 2, 500, 32), (768, 12, 50257, 1024)])
def test_classic_is_the_formula_of_the_specification(d, n, vocab, context):
    d_ff = 4 * d
    block = 4 * d * d + 4 * d + 2 * d * d_ff + d + d_ff + 4 * d
    expected = vocab * d + context * d + n * block + 2 * d
    config = ModelConfig(
        style="classic",
        d_model=d,
        n_layers=n,
        n_heads=d // 32,
        vocab_size=vocab,
        max_seq_len=context,
    )
    assert estimate.count_parameters(config).total == expected
    if d == 768:
        assert expected == 124_439_808  # the known size of GPT-2


def held_bytes(tensors):
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("bias", [None, True])
def test_static_bytes_equal_the_storage_held_after_a_step(style, optimizer, bias):
    config = ModelConfig(style=style, bias=bias, **SHAPE)
    train = TrainConfig(seq_len=32, optimizer=optimizer)
    model = GPT(config)
    model.init_weights(0)
    held = Optimizer(
        model,
        optimizer,
        learning_rate=0.01,
        weight_decay=0.0,
        beta1=0.9,
        beta2=0.95,
        grad_clip=1.0,
    )
    ids = torch.randint(0, 300, (2, 33))
    next_token_loss(model(ids[:, :-1]), ids[:, 1:]).backward()
    held.step(1.0)
    expected = estimate.estimate_memory(config, 2, 32, train=train, is_half=False)
    assert held_bytes(model.parameters()) == expected.weights
    assert held_bytes([p.grad for p in model.parameters()]) == expected.gradients
    state = held.state_dict()
    moments = [t for s in state["adamw"].values() for key, t in s.items() if key != "step"]
    assert held_bytes([*moments, *state["muon"].values()]) == expected.optimizer
    assert estimate.checkpoint_bytes(config, optimizer) == expected.weights + expected.optimizer
    assert expected.total > expected.weights + expected.gradients + expected.optimizer


def test_memory_grows_with_the_batch_and_shrinks_with_saving():
    config = ModelConfig(**SHAPE)
    train = TrainConfig(seq_len=32)
    one, two = (estimate.estimate_memory(config, n, 32, train=train, is_half=False) for n in (1, 2))
    assert two.activations == 2 * one.activations
    assert two.logits == 2 * one.logits
    saving = replace(train, gradient_checkpointing=True)
    less = estimate.estimate_memory(config, 2, 32, train=saving, is_half=False)
    assert less.activations < two.activations
    half = estimate.estimate_memory(config, 2, 32, train=train, is_half=True)
    assert half.activations < two.activations
    assert half.weights == 1.5 * two.weights  # float32 and the copies of the matrix products


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"epochs": 2.0}, 20),
        ({"epochs": 0.5}, 5),
        ({"max_steps": 7}, 7),
        ({"max_tokens": 10_000}, 10_000 // (10 * 64)),
        ({"epochs": 2.0, "max_steps": 7, "max_tokens": 64_000}, 7),
        ({"epochs": 1.0, "max_steps": 70}, 10),
        ({"max_time_s": 60.0}, None),
        ({"max_time_s": 60.0, "max_steps": 3}, 3),
    ],
)
def test_the_first_limit_ends_the_run(limits, expected):
    train = TrainConfig(seq_len=64, batch_size=10, **limits)
    assert estimate.count_steps(train, n_windows=103) == expected


def test_open_fields_are_filled_and_chosen_ones_kept():
    model = ModelConfig(**SHAPE)
    filled = estimate.resolve_training(TrainConfig(seq_len=32), model, 1_000_000, 31_000)
    assert filled.optimizer == "muon"
    assert filled.learning_rate == 0.02
    assert filled.weight_decay == 0.0
    assert filled.schedule == "cosine"
    assert filled.stride == 32
    assert 1 <= filled.batch_size <= 31_000
    assert 1 <= filled.epochs <= 20
    classic = replace(model, style="classic")
    filled = estimate.resolve_training(TrainConfig(seq_len=32), classic, 1_000_000, 31_000)
    assert (filled.optimizer, filled.learning_rate, filled.weight_decay) == ("adamw", 1e-3, 0.1)
    own = TrainConfig(
        seq_len=32, batch_size=3, learning_rate=0.005, weight_decay=0.2, max_time_s=60.0, stride=8
    )
    kept = estimate.resolve_training(own, model, 1_000_000, 31_000)
    assert (kept.batch_size, kept.learning_rate, kept.weight_decay, kept.stride) == (
        3,
        0.005,
        0.2,
        8,
    )
    assert (kept.schedule, kept.epochs) == ("wsd", None)
    assert estimate.resolve_training(kept, model, 1_000_000, 31_000) == kept


def test_an_update_never_holds_more_windows_than_there_are():
    filled = estimate.resolve_training(
        TrainConfig(seq_len=32, batch_size=64), ModelConfig(**SHAPE), 320, 10
    )
    assert filled.batch_size == 10
    assert estimate.count_steps(filled, 10) >= 1


@pytest.mark.parametrize(
    ("number", "limit", "expected"),
    [(12, 5, 4), (12, 12, 12), (12, 100, 12), (13, 12, 1), (1, 1, 1), (8, 0, 1)],
)
def test_largest_divisor(number, limit, expected):
    assert estimate.largest_divisor(number, limit) == expected

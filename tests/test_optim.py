"""AdamW equals torch's bit for bit; Muon equals its formulas; state survives saving."""

import copy
import math

import pytest
import torch

from sllm_core.config import ModelConfig
from sllm_core.model import GPT, next_token_loss
from sllm_core.optim import ADAMW_SHARE, MUON_MOMENTUM, Optimizer, is_muon_parameter, orthogonalize

HYPER = {"beta1": 0.9, "beta2": 0.95}


def make(style="modern", **changes):
    shape = {"vocab_size": 50, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 32}
    model = GPT(ModelConfig(style=style, dropout=0.0, **{**shape, **changes}))
    model.init_weights(0)
    return model


def head_rows(model):
    c = model.config
    return tuple(n * c.head_dim for n in (c.n_heads, c.n_kv_heads, c.n_kv_heads))


def optimizer(model, kind, *, lr=0.01, decay=0.1, clip=0.0):
    rows = head_rows(model)
    return Optimizer(
        model, kind, learning_rate=lr, weight_decay=decay, grad_clip=clip, head_rows=rows, **HYPER
    )


def fill_gradients(model, step):
    """Gradients from a real loss on random tokens; each step has its own."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, 50, (2, 17), generator=generator)
    model.zero_grad()
    next_token_loss(model(ids[:, :-1]), ids[:, 1:]).div(32).backward()


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("style", ["classic", "modern"])
def test_adamw_equals_torchs_bit_for_bit(style):
    ours, theirs = make(style), make(style)
    mine = optimizer(ours, "adamw", decay=0.1)
    decayed = [p for p in theirs.parameters() if p.dim() >= 2]
    others = [p for p in theirs.parameters() if p.dim() < 2]
    assert decayed
    assert others
    reference = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.1},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=0.01,
        betas=(0.9, 0.95),
        fused=True,
    )
    for step in range(10):
        multiplier = (step + 1) / 10
        fill_gradients(ours, step)
        fill_gradients(theirs, step)
        for group in reference.param_groups:
            group["lr"] = 0.01 * multiplier
        mine.step(multiplier)
        reference.step()
        assert equal(weights(ours), weights(theirs)), step


def test_weight_decay_pulls_matrices_and_leaves_norms_and_biases():
    model = make("classic")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer(model, "adamw", lr=0.01, decay=0.5).step(1.0)
    for name, value in weights(model).items():
        expected = 1 - 0.01 * 0.5 if value.dim() >= 2 else 1.0
        torch.testing.assert_close(value, torch.full_like(value, expected), msg=name)


@pytest.mark.parametrize("shape", [(64, 64), (32, 128), (128, 32), (96, 48)])
def test_orthogonalize_is_near_the_nearest_orthogonal_matrix(shape):
    """Against U V^T of the SVD: directions to 1e-5, lengths 0.87 to 1.13 (measured 1.1236).

    Singular values below 0.002 of the Frobenius norm are still on their way to 1 after five steps.
    """
    generator = torch.Generator().manual_seed(0)
    stack = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    stack[1] *= 1e-4  # its size must not matter
    left, values, right = torch.linalg.svd(stack, full_matrices=False)
    values[2] = torch.logspace(0, -3, values.shape[1])  # badly conditioned
    stack[2] = left[2] @ torch.diag(values[2]) @ right[2]
    found = left.mT @ orthogonalize(stack.float()).double() @ right.mT
    lengths = found.diagonal(dim1=-2, dim2=-1)
    assert (found - torch.diag_embed(lengths)).abs().max() < 1e-5
    shares = values / values.norm(dim=-1, keepdim=True)
    assert lengths.max() < 1.13
    assert lengths[shares > 0.002].min() > 0.869
    assert (lengths > shares).all()


def test_orthogonalize_of_nothing_is_nothing():
    assert torch.equal(orthogonalize(torch.zeros(1, 8, 4)), torch.zeros(1, 8, 4))


def test_muon_takes_the_matrices_of_the_blocks_only():
    model = make("classic", tied_head=False)
    chosen = {n for n, p in model.named_parameters() if is_muon_parameter(n, p)}
    kinds = {name.split(".", 2)[2] for name in chosen}
    assert kinds == {
        "self_attn.qkv_proj.weight",
        "self_attn.o_proj.weight",
        "mlp.up_proj.weight",
        "mlp.down_proj.weight",
    }


def muon_by_hand(start, gradients, rows, *, lr, decay, multipliers):
    """The update as the page says it (ENGINE 4.4), in float64, piece by piece."""
    weight, momentum = start.double(), torch.zeros_like(start, dtype=torch.float64)
    for gradient, multiplier in zip(gradients, multipliers, strict=True):
        g = gradient.double()
        momentum = MUON_MOMENTUM * momentum + (1 - MUON_MOMENTUM) * g
        ahead = (1 - MUON_MOMENTUM) * g + MUON_MOMENTUM * momentum
        weight = weight * (1 - lr * multiplier * decay)
        pieces = []
        for piece in ahead.split(rows):
            x = piece / (1.01 * piece.norm() + 1e-6)
            x = x.T if piece.shape[0] > piece.shape[1] else x
            for a, b, c in POLYNOMIALS:
                s = x @ x.T
                x = a / 1.01 * x + (b / 1.01**3 * s + c / 1.01**5 * s @ s) @ x
            x = x.T if piece.shape[0] > piece.shape[1] else x
            pieces.append(x * max(1.0, piece.shape[0] / piece.shape[1]) ** 0.5)
        weight = weight - lr * multiplier * torch.cat(pieces)
    return weight


POLYNOMIALS = (  # Polar Express, arXiv 2505.16932, algorithm 1, as printed
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_muon_equals_the_formula_by_hand(n_kv_heads):
    model = make(n_kv_heads=n_kv_heads)
    start, gradients = weights(model), []
    mine = optimizer(model, "muon", lr=0.02, decay=0.05)
    multipliers = [0.5, 1.0, 0.7]
    for step, multiplier in enumerate(multipliers):
        fill_gradients(model, step)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
        mine.step(multiplier)
    for name, value in weights(model).items():
        if not (name.startswith("layers.") and value.dim() == 2):
            continue
        rows = head_rows(model) if "qkv" in name else (value.shape[0],)
        expected = muon_by_hand(
            start[name],
            [found[name] for found in gradients],
            rows,
            lr=0.02,
            decay=0.05,
            multipliers=multipliers,
        )
        assert (value.double() - expected).abs().max() < 1e-6, name


def test_beside_muon_adamw_runs_at_its_share_without_decay_of_norms():
    ours, theirs = make(), make()
    mine = optimizer(ours, "muon", lr=0.02, decay=0.0)
    rest = [p for n, p in theirs.named_parameters() if not is_muon_parameter(n, p)]
    reference = torch.optim.AdamW(
        rest, lr=0.02 * ADAMW_SHARE, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    fill_gradients(ours, 0)
    fill_gradients(theirs, 0)
    mine.step(1.0)
    reference.step()
    assert torch.equal(ours.embed_tokens.weight, theirs.embed_tokens.weight)
    assert torch.equal(ours.norm.weight, theirs.norm.weight)


def test_clipping_shortens_all_gradients_under_adamw():
    model = make()
    fill_gradients(model, 0)
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    length = math.sqrt(sum(float(g.double().square().sum()) for g in before.values()))
    mine = optimizer(model, "adamw", clip=length / 4)
    assert mine.clip().item() == pytest.approx(length, rel=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, before[name] / 4, rtol=1e-4, atol=1e-9)
    long_enough = optimizer(model, "adamw", clip=length)
    unclipped = {name: p.grad.clone() for name, p in model.named_parameters()}
    long_enough.clip()
    assert equal(unclipped, {name: p.grad for name, p in model.named_parameters()})


def test_clipping_leaves_muons_gradients_alone():
    model = make()
    fill_gradients(model, 0)
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    rest = [n for n, p in model.named_parameters() if not is_muon_parameter(n, p)]
    rest_length = math.sqrt(sum(float(before[n].double().square().sum()) for n in rest))
    total = math.sqrt(sum(float(g.double().square().sum()) for g in before.values()))
    found = optimizer(model, "muon", clip=rest_length / 2).clip()
    assert found.item() == pytest.approx(total, rel=1e-5)
    for name, parameter in model.named_parameters():
        share = 0.5 if name in rest else 1.0
        torch.testing.assert_close(parameter.grad, before[name] * share, rtol=1e-4, atol=1e-9)


def test_no_clipping_when_it_is_off():
    model = make()
    fill_gradients(model, 0)
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    optimizer(model, "adamw", clip=0).clip()
    assert equal(before, {name: p.grad for name, p in model.named_parameters()})


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_saved_state_continues_bit_for_bit(kind):
    model = make()
    mine = optimizer(model, kind)
    for step in range(3):
        fill_gradients(model, step)
        mine.step(1.0)
    saved, copied = copy.deepcopy(mine.state_dict()), make()
    copied.load_state_dict(model.state_dict())
    fresh = optimizer(copied, kind)
    fresh.load_state_dict(saved)
    frozen = copy.deepcopy(saved)
    for step in range(3, 6):
        for one, its in ((model, mine), (copied, fresh)):
            fill_gradients(one, step)
            its.step(0.5)
        assert equal(weights(model), weights(copied)), step
    for name, values in saved["adamw"].items():
        assert equal(values, frozen["adamw"][name])  # loading took a copy
    assert equal(saved["muon"], frozen["muon"])


def test_state_is_by_name_so_that_grouping_may_change():
    model = make(n_kv_heads=2)
    grouped = optimizer(model, "muon")
    fill_gradients(model, 0)
    grouped.step(1.0)
    state = grouped.state_dict()
    names = dict(model.named_parameters())
    is_muon = {n: is_muon_parameter(n, p) for n, p in names.items()}
    assert set(state["muon"]) == {n for n in names if is_muon[n]}
    assert set(state["adamw"]) == {n for n in names if not is_muon[n]}

    other = make(n_kv_heads=2)
    regrouped = optimizer(other, "muon")
    other.load_state_dict(model.state_dict())
    regrouped._stacks = [[piece] for stack in regrouped._stacks for piece in reversed(stack)]
    regrouped.load_state_dict(state)
    for one, its in ((model, grouped), (other, regrouped)):
        fill_gradients(one, 1)
        its.step(1.0)
    for name, value in weights(model).items():
        torch.testing.assert_close(value, weights(other)[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_state_with_a_hole_is_refused(kind):
    model = make()
    mine = optimizer(model, kind)
    fill_gradients(model, 0)
    mine.step(1.0)
    for part in ("adamw", "muon"):
        state = copy.deepcopy(mine.state_dict())
        if state[part]:
            name = next(iter(state[part]))
            del state[part][name]
            with pytest.raises(KeyError, match=name):
                optimizer(make(), kind).load_state_dict(state)


def test_zero_grad_frees_every_gradient():
    model = make()
    fill_gradients(model, 0)
    optimizer(model, "muon").zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("style", ["classic", "llama", "modern"])
def test_twenty_steps_learn(kind, style):
    model = make(style)
    mine = optimizer(model, kind, lr=0.02 if kind == "muon" else 0.01, decay=0.0, clip=1.0)
    ids = torch.arange(33).repeat(4, 1) % 7
    losses = []
    for _ in range(20):
        mine.zero_grad()
        loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:]) / (4 * 32)
        loss.backward()
        mine.clip()
        mine.step(1.0)
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]

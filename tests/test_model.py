"""The model equals transformers' GPT-2, Llama and Qwen3, number by number, and keeps its promises."""

import math
from collections import Counter

import pytest
import torch
import transformers as hf

from sllm_core.config import STYLES, ModelConfig
from sllm_core.estimate import count_parameters
from sllm_core.model import GPT, Cache, next_token_loss

SHAPES = [("classic", 4), ("llama", 4), ("llama", 2), ("modern", 4), ("modern", 1)]
GPT2_NAMES = {
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.qkv_proj": "attn.c_attn",
    "self_attn.o_proj": "attn.c_proj",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
}


def make(style, n_kv_heads=None, *, dropout=0.0, **changes):
    shape = {"vocab_size": 300, "d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 128}
    config = ModelConfig(
        style=style, n_kv_heads=n_kv_heads, dropout=dropout, **{**shape, **changes}
    )
    return GPT(config)


def strong(style, n_kv_heads=None, **changes):
    """Random weights three times as large as usual, norms and biases random too."""
    model = make(style, n_kv_heads, **changes).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.empty(parameter.shape).normal_(0, 0.06, generator=generator)
            parameter.copy_(noise if parameter.dim() > 1 else 1 + noise)
    return model


def twin(model):
    """The same model as transformers builds it; every weight is mapped, none is left."""
    c = model.config
    n_rows = [n * c.head_dim for n in (c.n_heads, c.n_kv_heads, c.n_kv_heads)]
    weights = {}
    for name, tensor in model.state_dict().items():
        layer, _, part = name.removeprefix("layers.").partition(".")
        if c.style == "classic":
            if name.startswith("layers."):
                module, _, kind = part.rpartition(".")
                is_matrix = tensor.dim() == 2
                weights[f"transformer.h.{layer}.{GPT2_NAMES[module]}.{kind}"] = (
                    tensor.T if is_matrix else tensor  # Conv1D keeps its matrices transposed
                )
            else:
                known = {"embed_tokens": "wte", "pos_emb": "wpe", "norm": "ln_f"}
                module, _, kind = name.rpartition(".")
                weights[f"transformer.{known[module]}.{kind}"] = tensor
        elif "qkv_proj" in name:
            for letter, rows in zip("qkv", tensor.split(n_rows), strict=True):
                weights["model." + name.replace("qkv", letter)] = rows
        else:
            weights["model." + name] = tensor
    theirs = _empty_twin(c)
    weights["lm_head.weight"] = model.state_dict()["embed_tokens.weight"]
    theirs.load_state_dict(weights, strict=True)
    return theirs.eval()


def _empty_twin(c):
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if c.style == "classic":
        return hf.GPT2LMHeadModel(
            hf.GPT2Config(
                vocab_size=c.vocab_size,
                n_positions=c.max_seq_len,
                n_embd=c.d_model,
                n_layer=c.n_layers,
                n_head=c.n_heads,
                n_inner=c.d_ff,
                activation_function="gelu_new",
                layer_norm_epsilon=c.norm_eps,
                **ids,
            )
        )
    shape = {
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.max_seq_len,
        "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "intermediate_size": c.d_ff,
        "rms_norm_eps": c.norm_eps,
        "rope_theta": c.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_theta},
        "tie_word_embeddings": True,
        "attention_bias": False,
    }
    if c.style == "llama":
        return hf.LlamaForCausalLM(hf.LlamaConfig(**shape, **ids))
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**shape, **ids))


def some_ids(n_rows=3, n_tokens=100, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 300, (n_rows, n_tokens), generator=generator)


@torch.no_grad()
def greedy(logits_of, ids, n):
    for _ in range(n):
        ids = torch.cat((ids, logits_of(ids)[:, -1:].argmax(-1)), dim=1)
    return ids


@pytest.mark.parametrize(("style", "n_kv_heads"), SHAPES)
def test_logits_and_greedy_text_equal_transformers(style, n_kv_heads):
    model = strong(style, n_kv_heads, rope_theta=5000.0)
    theirs = twin(model)
    ids = some_ids()
    with torch.no_grad():
        a, b = model(ids), theirs(ids).logits
    assert a.std() > 0.3  # strong enough to tell layouts apart
    assert (a - b).abs().max() <= 1e-5
    prompts = some_ids(3, 8)
    ours = greedy(model, prompts, 60)
    assert torch.equal(ours, greedy(lambda ids: theirs(ids).logits, prompts, 60))


@pytest.mark.parametrize(("style", "n_kv_heads"), SHAPES)
def test_loss_and_gradients_equal_transformers(style, n_kv_heads):
    model = strong(style, n_kv_heads).train()
    theirs = twin(model).train()
    if style == "classic":
        for module in theirs.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    ids = some_ids()
    loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:]) / ids[:, 1:].numel()
    other = theirs(ids, labels=ids).loss
    torch.testing.assert_close(loss, other, rtol=0, atol=1e-5)
    loss.backward()
    other.backward()
    grad = theirs.get_input_embeddings().weight.grad
    torch.testing.assert_close(model.embed_tokens.weight.grad, grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("style", "n_kv_heads"), SHAPES)
def test_a_cache_changes_no_logits(style, n_kv_heads):
    model = strong(style, n_kv_heads)
    ids = some_ids(2, 40)
    with torch.no_grad():
        full = model(ids)
        cache = Cache(model.config, 2, torch.device("cpu"), torch.float32)
        parts = [model(ids[:, a:b], cache) for a, b in ((0, 7), (7, 8), (8, 25), (25, 40))]
        assert cache.length == 40
        assert (torch.cat(parts, dim=1) - full).abs().max() < 1e-5
        cache.length = 25  # going back is forgetting
        last = model(ids[:, 25:], cache, last_only=True)
    assert last.shape == (2, 1, 300)
    assert (last - full[:, -1:]).abs().max() < 1e-5


@pytest.mark.parametrize("style", STYLES)
def test_a_later_token_changes_no_earlier_logits(style):
    model = strong(style)
    ids = some_ids(1, 30)
    changed = ids.clone()
    changed[0, 20] = (changed[0, 20] + 1) % 300
    with torch.no_grad():
        a, b = model(ids), model(changed)
    assert torch.equal(a[:, :20], b[:, :20])
    assert ((a[:, 20:] - b[:, 20:]).abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize("style", STYLES)
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(style):
    ids = some_ids(2, 33)
    results = []
    for is_on in (False, True):
        model = strong(style, dropout=0.2).train()
        model.gradient_checkpointing = is_on
        torch.manual_seed(5)
        loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        results.append((loss, {name: p.grad for name, p in model.named_parameters()}))
    (loss, grads), (other_loss, other_grads) = results
    assert torch.equal(loss, other_loss)
    assert all(torch.equal(grads[name], other_grads[name]) for name in grads)


def test_dropout_acts_in_training_only():
    model = strong("modern", dropout=0.5)
    ids = some_ids(1, 16)
    with torch.no_grad():
        assert torch.equal(model(ids), model(ids))
        model.train()
        assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize("style", STYLES)
def test_fresh_weights_have_the_promised_spread(style):
    model = make(style, d_model=128, n_layers=4, tied_head=False)
    model.init_weights(7)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            expected = 0.0 if name.endswith("bias") else 1.0
            assert torch.all(parameter == expected), name
            continue
        is_output = name.endswith(("o_proj.weight", "down_proj.weight"))
        std = 0.02 / math.sqrt(8) if is_output else 0.02
        tolerance = 5 * std / math.sqrt(2 * parameter.numel())
        assert abs(parameter.std().item() - std) < tolerance, name
        assert abs(parameter.mean().item()) < 5 * std / math.sqrt(parameter.numel()), name
    again = make(style, d_model=128, n_layers=4, tied_head=False)
    again.init_weights(7)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    again.init_weights(8)
    assert not torch.equal(model.embed_tokens.weight, again.embed_tokens.weight)


def test_zero_outputs_make_every_block_the_identity():
    model = make("modern")
    model.init_weights(0, is_output_zero=True)
    x = torch.randn(1, 5, 64)
    rope = model.cos[:5], model.sin[:5]
    assert torch.equal(model.layers[1](x, rope, None), x)


def test_making_weights_leaves_the_global_generator_alone():
    model = make("classic")
    before = torch.get_rng_state()
    model.init_weights(3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("style", STYLES)
def test_a_fresh_model_knows_nothing(style):
    model = make(style)
    model.init_weights(0)
    ids = some_ids(4, 65)
    loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:]).item() / (4 * 64)
    assert abs(loss - math.log(300)) < 0.5


@pytest.mark.parametrize("tied_head", [True, False])
@pytest.mark.parametrize(("style", "n_kv_heads"), SHAPES)
def test_parameters_by_part_equal_the_estimate(style, n_kv_heads, tied_head):
    model = make(style, n_kv_heads, tied_head=tied_head)
    found = Counter()
    for name, parameter in model.named_parameters():
        is_norm = "norm" in name  # q_norm and k_norm lie inside the attention
        part = (
            "norms" if is_norm else name.split(".")[2] if "layers" in name else name.split(".")[0]
        )
        found[part] += parameter.numel()
    expected = count_parameters(model.config)
    parts = ("embed_tokens", "pos_emb", "self_attn", "mlp", "norms", "lm_head")
    assert [found[part] for part in parts] == [
        expected.embedding,
        expected.position,
        expected.attention,
        expected.mlp,
        expected.norms,
        expected.head,
    ]
    assert model.n_params() == expected.total == sum(found.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_rows", [1, 63, 64, 65, 200])
def test_the_loss_and_its_gradient_equal_torchs(dtype, n_rows):
    generator = torch.Generator().manual_seed(n_rows)
    logits = 5 * torch.randn(1, n_rows, 300, generator=generator)
    targets = torch.randint(0, 300, (1, n_rows), generator=generator)
    ours, theirs = (logits.to(dtype).requires_grad_() for _ in range(2))
    loss = next_token_loss(ours, targets)
    expected = torch.nn.functional.cross_entropy(theirs[0].float(), targets[0], reduction="sum")
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    (loss / 7).backward()
    (expected / 7).backward()
    assert ours.grad.dtype == dtype
    tolerance = 1e-7 if dtype == torch.float32 else 1e-3
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=10 * tolerance, atol=tolerance)


def test_the_loss_of_certainty_is_nothing_and_overflows_nowhere():
    logits = torch.full((1, 2, 5), -1e30)
    logits[..., 3] = 1e30
    logits.requires_grad_()
    loss = next_token_loss(logits, torch.tensor([[3, 3]]))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("style", STYLES)
def test_autocast_trains_without_a_warning_and_nearly_alike(style):
    model = strong(style).train()
    ids = some_ids(2, 33)
    loss = next_token_loss(model(ids[:, :-1]), ids[:, 1:])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = next_token_loss(model(ids[:, :-1]), ids[:, 1:])
    half.backward()
    assert abs(half.item() / loss.item() - 1) < 0.01
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_a_text_longer_than_the_context_is_refused():
    model = make("modern", max_seq_len=8)
    with pytest.raises(AssertionError):
        model(some_ids(1, 9))
    cache = Cache(model.config, 1, torch.device("cpu"), torch.float32)
    model(some_ids(1, 6), cache)
    with pytest.raises(AssertionError):
        model(some_ids(1, 3), cache)


def test_a_token_outside_the_vocabulary_is_refused():
    with pytest.raises(IndexError):
        make("modern")(torch.tensor([[300]]))


def test_weights_of_another_shape_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        make("modern").load_state_dict(make("modern", d_model=32).state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        make("modern").load_state_dict(make("llama").state_dict())


def test_the_rotation_tables_are_no_weights():
    assert not {"cos", "sin"} & set(make("modern").state_dict())

"""Documents kept apart in a window: each gives what it gives alone, and losses count what is taught."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sllm_core import probe, trainer
from sllm_core.config import STYLES, ModelConfig
from sllm_core.dataset import Windows
from sllm_core.device import Device
from sllm_core.evaluate import evaluate
from sllm_core.model import GPT, IGNORED, Cache, keep_apart, lesson, next_token_loss
from tests.training_helpers import MODEL, TOKENIZER, TRAIN, World

SHAPES = [("classic", 4), ("llama", 4), ("llama", 2), ("modern", 4), ("modern", 1)]
EOS = 3
CPU = Device("cpu", "CPU", "fp32", "chosen by you")


def strong(style, n_kv_heads=None, **changes):
    """Random weights large enough to tell a wrong mask or position from the right one."""
    shape = {"d_model": 64, "n_layers": 3, "n_heads": 4, "vocab_size": 300, "max_seq_len": 64}
    more = {**shape, "dropout": 0.0, **changes}
    config = ModelConfig(style=style, n_kv_heads=n_kv_heads, **more)
    model = GPT(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.empty(parameter.shape).normal_(0, 0.06, generator=generator)
            parameter.copy_(noise if parameter.dim() > 1 else 1 + noise)
    return model


def some_windows(borders=((4, 5, 30), (0, 63), (), (12, 40, 64)), n_tokens=65):
    """Windows (B, n_tokens) with an [EOS] at the places given, nowhere else."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 300, (len(borders), n_tokens), generator=generator)
    for row, places in zip(ids, borders, strict=True):
        row[list(places)] = EOS
    return ids


def pieces(row):
    """(first, behind the last) of each document in a row of inputs, by walking along it."""
    found, begin = [], 0
    for place, token in enumerate(row.tolist()):
        if token == EOS:
            found.append((begin, place + 1))
            begin = place + 1
    return [*found, (begin, len(row))] if begin < len(row) else found


def test_a_window_teaches_all_but_how_documents_begin():
    ids = torch.tensor([[7, EOS, 8, 9, EOS, EOS, 6, 5], [1, 2, 4, 5, 6, 7, 8, EOS]])
    inputs, targets, documents = lesson(ids, EOS)
    assert torch.equal(inputs, ids[:, :-1])
    assert targets.tolist() == [
        [EOS, IGNORED, 9, EOS, IGNORED, IGNORED, 5],
        [2, 4, 5, 6, 7, 8, EOS],
    ]
    assert documents.tolist() == [[0, 0, 1, 1, 1, 2, 3], [0] * 7]
    positions, mask = keep_apart(documents)
    assert positions.tolist() == [[0, 1, 0, 1, 2, 0, 0], list(range(7))]
    for b in range(2):
        for i in range(7):
            for j in range(7):
                sees = j <= i and documents[b, i] == documents[b, j]
                assert mask[b, 0, i, j] == sees
    plain = lesson(ids)
    assert torch.equal(plain[1], ids[:, 1:])
    assert plain[2] is None


@pytest.mark.parametrize(("style", "n_kv_heads"), SHAPES)
def test_each_document_gives_what_it_gives_alone(style, n_kv_heads):
    model = strong(style, n_kv_heads)
    inputs, _, documents = lesson(some_windows(), EOS)
    with torch.no_grad():
        together, plain = model(inputs, documents=documents), model(inputs)
        for row, logits in zip(inputs, together, strict=True):
            for begin, end in pieces(row):
                alone = model(row[None, begin:end])[0]
                assert (logits[begin:end] - alone).abs().max() < 1e-5
    assert (together - plain).abs().amax(-1)[0, 31:].min() > 0.01  # and not what it gives unmasked
    assert (together[2] - plain[2]).abs().max() < 1e-5  # where there is no border, it is the same


@pytest.mark.parametrize(("style", "n_kv_heads"), SHAPES)
def test_loss_and_gradients_are_those_of_separate_documents(style, n_kv_heads):
    together, apart = strong(style, n_kv_heads).train(), strong(style, n_kv_heads).train()
    ids = some_windows()
    inputs, targets, documents = lesson(ids, EOS)
    loss = next_token_loss(together(inputs, documents=documents), targets)
    total = torch.zeros(())
    for row in ids:
        for begin, end in pieces(row[:-1]):
            logits = apart(row[None, begin:end])[0]
            goals = row[begin + 1 : end + 1]
            n = len(goals) - (row[end - 1] == EOS).item()  # the last one would be the next's first
            total = total + F.cross_entropy(logits[:n], goals[:n], reduction="sum")
    torch.testing.assert_close(loss, total, rtol=1e-6, atol=1e-4)
    loss.backward()
    total.backward()
    for (name, a), b in zip(together.named_parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("style", STYLES)
def test_nothing_passes_a_border(style):
    model = strong(style)
    ids = some_windows(borders=((20,),))[:, :-1]
    changed = ids.clone()
    changed[0, :20] = (changed[0, :20] + 50) % 290 + 4
    _, _, documents = lesson(torch.cat((ids, ids[:, :1]), 1), EOS)
    with torch.no_grad():
        a, b = (model(each, documents=documents) for each in (ids, changed))
    assert torch.equal(a[:, 21:], b[:, 21:])
    assert (a[:, :20] - b[:, :20]).abs().amax(-1).min() > 0.01


@pytest.mark.parametrize("style", STYLES)
def test_saving_memory_changes_neither_loss_nor_gradients(style):
    inputs, targets, documents = lesson(some_windows(), EOS)
    results = []
    for is_on in (False, True):
        model = strong(style, dropout=0.2).train()
        model.gradient_checkpointing = is_on
        torch.manual_seed(5)
        loss = next_token_loss(model(inputs, documents=documents), targets)
        loss.backward()
        results.append((loss, [p.grad for p in model.parameters()]))
    (loss, grads), (other_loss, other_grads) = results
    assert torch.equal(loss, other_loss)
    assert all(map(torch.equal, grads, other_grads))


@pytest.mark.parametrize("style", STYLES)
def test_the_model_with_documents_is_one_graph(style):
    model = strong(style)
    inputs, _, documents = lesson(some_windows(), EOS)
    traced = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        found, expected = traced(inputs, documents=documents), model(inputs, documents=documents)
    assert (found - expected).abs().max() < 1e-6
    torch.compiler.reset()


@pytest.mark.parametrize("style", STYLES)
def test_half_precision_takes_the_mask_too(style):
    model = strong(style).train()
    inputs, targets, documents = lesson(some_windows(), EOS)
    losses = []
    for is_on in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_on):
            losses.append(next_token_loss(model(inputs, documents=documents), targets))
    losses[1].backward()
    assert abs(losses[1].item() / losses[0].item() - 1) < 0.01


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.parametrize(("style", "n_kv_heads"), SHAPES)
def test_a_gpu_gives_what_the_cpu_gives(style, n_kv_heads):
    results = []
    for name in ("cpu", "cuda"):
        model = strong(style, n_kv_heads).train().to(name)
        inputs, targets, documents = lesson(some_windows().to(name), EOS)
        loss = next_token_loss(model(inputs, documents=documents), targets)
        loss.backward()
        results.append((loss.item(), model.embed_tokens.weight.grad.cpu()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-3)
    assert torch.allclose(results[0][1], results[1][1], rtol=2e-2, atol=2e-2)


def test_a_cache_holds_one_document_only():
    model = strong("modern")
    cache = Cache(model.config, 1, torch.device("cpu"), torch.float32)
    with pytest.raises(AssertionError):
        model(some_windows()[:1, :4], cache, documents=torch.zeros(1, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_rows", [1, 64, 130])
def test_the_loss_leaves_out_what_torchs_leaves_out(dtype, n_rows):
    generator = torch.Generator().manual_seed(n_rows)
    logits = 5 * torch.randn(1, n_rows, 300, generator=generator)
    logits[0, 0] = torch.inf  # what is left out may be anything
    targets = torch.randint(0, 300, (1, n_rows), generator=generator)
    targets[0, ::3] = IGNORED
    ours, theirs = (logits.to(dtype).requires_grad_() for _ in range(2))
    loss = next_token_loss(ours, targets)
    kept = targets[0] != IGNORED
    expected = F.cross_entropy(theirs[0, kept].float(), targets[0, kept], reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    (loss / 7).backward()
    (expected / 7).backward()
    assert not ours.grad[0, 1:][~kept[1:]].any()
    tolerance = 1e-7 if dtype == torch.float32 else 1e-3
    torch.testing.assert_close(
        ours.grad[0, kept], theirs.grad[0, kept], rtol=10 * tolerance, atol=tolerance
    )


# in a run


def made(world: World, **changes) -> trainer.Trainer:
    """A trainer whose text has short documents."""
    fresh = world.fresh(document_masking=True, **changes)
    tokens = np.array(fresh.inputs.windows.tokens)
    tokens[[5, 6, 40, 47, 48, 90, 200, 201, 202, 333]] = TOKENIZER.eos_id
    tokens[np.random.default_rng(0).integers(0, len(tokens), 30)] = TOKENIZER.eos_id
    windows = Windows(tokens, 16, 16, 0)
    val = np.array(fresh.inputs.val_tokens)
    val[[3, 30, 31, 100]] = TOKENIZER.eos_id
    inputs = replace(fresh.inputs, windows=windows, val_tokens=val)
    return trainer.Trainer(inputs, fresh.state)


@pytest.mark.parametrize("style", STYLES)
def test_the_loss_of_a_step_is_the_mean_over_what_it_teaches_however_it_is_divided(tmp_path, style):
    found = {}
    for size in (1, 2, 4):
        world = World(tmp_path / str(size), model=replace(MODEL, style=style, dropout=0.0))
        step = made(world, micro_batch_size=size)
        batch = step.inputs.windows.batch(0, 4)
        batch[:2, 0] = TOKENIZER.eos_id  # it is the input, not the target, that decides
        loss, norm = step._gradients(batch)
        found[size] = loss, norm, step.model.embed_tokens.weight.grad.clone()
    ids = torch.from_numpy(batch.astype(np.int64))
    n = int((ids[:, :-1] != TOKENIZER.eos_id).sum())
    assert n < 64
    total = 0.0
    with torch.no_grad():
        for row in ids:
            for begin, end in pieces(row[:-1]):
                goals = row[begin + 1 : end + 1]
                kept = len(goals) - (row[end - 1] == TOKENIZER.eos_id).item()
                logits = step.model(row[None, begin:end])[0]
                total += F.cross_entropy(logits[:kept], goals[:kept], reduction="sum").item()
    for loss, norm, grad in found.values():
        assert loss == pytest.approx(total / n, abs=1e-5)
        assert norm == pytest.approx(found[4][1], rel=1e-4)
        torch.testing.assert_close(grad, found[4][2], rtol=1e-4, atol=1e-6)


def test_a_batch_that_teaches_nothing_moves_nothing(tmp_path):
    step = made(World(tmp_path))
    batch = np.full((4, 17), TOKENIZER.eos_id, dtype=np.uint16)
    assert step._gradients(batch) == (0.0, 0.0)


@pytest.mark.parametrize("style", STYLES)
def test_a_run_with_documents_apart_is_resumed_bit_for_bit(tmp_path, style):
    model = replace(MODEL, style=style)
    plain = World(tmp_path / "plain", model=model)
    done = made(plain).run()
    world = World(tmp_path / "cut", model=model)
    world.stop_at(5)
    made(world).run()
    world.go_on()
    again = made(world)
    content = world.store.load(world.store.newest_good(world.run)[0])
    assert content["train_config"]["document_masking"] is True
    trainer.restore(again, content)
    assert again.run().weights_sha256 == done.weights_sha256
    assert world.losses() == plain.losses()
    other = World(tmp_path / "other", model=model)
    off = made(other)
    trainer.Trainer(
        replace(off.inputs, train=replace(off.train, document_masking=False)), off.state
    ).run()
    assert other.losses() != plain.losses()


def test_validation_keeps_them_apart_as_well():
    model = strong("modern", vocab_size=TOKENIZER.vocab_size, max_seq_len=16)
    tokens = np.array(TOKENIZER.encode("one text and another one. " * 4), dtype=np.uint16)
    tokens[[5, 20, 21, 40]] = TOKENIZER.eos_id
    windows = [tokens[start : start + 17][None] for start in range(0, 80, 16)]
    found = evaluate(model, windows, TOKENIZER, CPU, is_apart=True)
    nats, sizes, table = 0.0, 0, TOKENIZER.token_bytes()
    n = 0
    text_nats = 0.0
    for window in windows:
        row = torch.from_numpy(window[0].astype(np.int64))
        for begin, end in pieces(row[:-1]):
            with torch.no_grad():
                losses = F.cross_entropy(
                    model(row[None, begin:end])[0], row[begin + 1 : end + 1], reduction="none"
                )
            for place, loss in enumerate(losses.tolist(), start=begin):
                if row[place] != TOKENIZER.eos_id:
                    n += 1
                    nats += loss
                    sizes += int(table[row[place + 1]])
                    text_nats += loss if row[place + 1] != TOKENIZER.eos_id else 0.0
    assert n == found.n_tokens == 80 - 4
    assert found.n_bytes == sizes
    assert found.loss == pytest.approx(nats / n, abs=1e-5)
    assert found.bpb == pytest.approx(text_nats / np.log(2) / sizes, abs=1e-5)
    whole = evaluate(model, windows, TOKENIZER, CPU)
    assert (whole.n_tokens, whole.n_bytes) == (
        80,
        sizes + 3,
    )  # of the four left out one is an [EOS]


def test_a_trial_step_measures_the_masked_one(monkeypatch):
    seen = []
    real = GPT.forward

    def forward(self, ids, *words, documents=None, **more):
        seen.append(documents)
        return real(self, ids, *words, documents=documents, **more)

    monkeypatch.setattr(GPT, "forward", forward)
    probe.try_step(MODEL, replace(TRAIN, document_masking=True), CPU)
    assert all(documents is not None for documents in seen)
    assert seen

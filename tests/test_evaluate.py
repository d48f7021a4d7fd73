"""A measured loss is the mean over targets, whatever the pieces it was measured in."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sllm_core.dataset import spread_windows
from sllm_core.device import Device
from sllm_core.evaluate import evaluate, text_windows
from sllm_core.model import GPT
from tests.training_helpers import MODEL, TOKENIZER, text

CPU = Device("cpu", "CPU", "fp32", "chosen by you")


@pytest.fixture
def model():
    made = GPT(MODEL)
    made.init_weights(1)
    return made


def test_the_loss_is_the_mean_over_all_targets(model):
    ids = TOKENIZER.encode(text(3)).astype(np.int64)
    windows = list(text_windows(ids, TOKENIZER.eos_id, 16))
    found = evaluate(model.train(), windows, TOKENIZER, CPU)
    assert found.n_tokens == len(ids)
    assert found.n_bytes == len(text(3).encode())
    with torch.no_grad():
        model.eval()
        sums = [
            F.cross_entropy(model(w[:, :-1])[0], w[0, 1:], reduction="sum").item()
            for w in map(torch.from_numpy, windows)
        ]
    assert found.loss == pytest.approx(sum(sums) / len(ids), abs=1e-6)
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert found.bpb == pytest.approx(sum(sums) / (math.log(2) * found.n_bytes), abs=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 3, 64])
def test_the_pieces_do_not_change_it(model, chunk):
    tokens = TOKENIZER.encode(text(20)).astype(np.uint16)
    whole = evaluate(model, spread_windows(tokens, 16, 10, 10), TOKENIZER, CPU)
    found = evaluate(model, spread_windows(tokens, 16, 10, chunk), TOKENIZER, CPU)
    assert found.loss == pytest.approx(whole.loss, abs=1e-6)
    assert (found.n_tokens, found.n_bytes) == (whole.n_tokens, whole.n_bytes) == (160, 160)


def test_special_targets_count_as_tokens_and_not_as_bytes(model):
    ids = np.array([TOKENIZER.eos_id, 80, TOKENIZER.eos_id, 81, 82], dtype=np.int64)[None]
    found = evaluate(model, [ids], TOKENIZER, CPU)
    assert (found.n_tokens, found.n_bytes) == (4, 3)
    with torch.no_grad():
        losses = F.cross_entropy(
            model.eval()(torch.from_numpy(ids[:, :-1]))[0], torch.from_numpy(ids[0, 1:]),
            reduction="none",
        )  # fmt: skip
    assert found.bpb == pytest.approx(losses[[0, 2, 3]].sum().item() / (3 * math.log(2)), abs=1e-6)


@pytest.mark.parametrize("was_training", [True, False])
def test_dropout_is_off_meanwhile_and_back_afterwards(model, was_training):
    windows = [TOKENIZER.encode(text(1))[None, :17].astype(np.int64)]
    model.train(was_training)
    state = torch.get_rng_state()
    first = evaluate(model, windows, TOKENIZER, CPU)
    assert evaluate(model, windows, TOKENIZER, CPU) == first
    assert model.training is was_training
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ZeroDivisionError):
        evaluate(model, (1 / 0 for _ in "a"), TOKENIZER, CPU)
    assert model.training is was_training


def test_nothing_to_measure_is_no_number(model):
    assert evaluate(model, [], TOKENIZER, CPU) is None


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 33])
def test_every_token_of_a_text_is_predicted_once(n):
    ids = np.arange(n) + 20
    windows = list(text_windows(ids, 3, 16))
    assert [id for w in windows for id in w[0, 1:]] == list(ids)
    assert all(w.shape[1] <= 17 for w in windows)
    assert not n or windows[0][0, 0] == 3

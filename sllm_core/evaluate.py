"""How well a model predicts text that it does not train on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from sllm_core import metrics
from sllm_core.device import Device
from sllm_core.model import GPT, IGNORED, lesson
from sllm_core.tokenizer import Tokenizer


@dataclass(frozen=True)
class Evaluation:
    """Loss in nats a token over all targets; bits per byte over those that stand for bytes."""

    loss: float
    bpb: float | None
    n_tokens: int
    n_bytes: int

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return metrics.perplexity(self.loss)


def evaluate(
    model: GPT,
    batches: Iterable[npt.NDArray[Any]],
    tokenizer: Tokenizer,
    device: Device,
    *,
    is_apart: bool = False,
) -> Evaluation | None:
    """Measure ``model`` on windows (n, T + 1); None when there are none.

    Dropout is off meanwhile. A target's loss counts once; special targets (they stand for no
    bytes) are left out of bits per byte, on both sides of the division.

    Args:
        is_apart: keep documents apart, as for a model that was trained so: it has never looked
            over a border, nor learnt how a document begins, so neither is measured.
    """
    border = tokenizer.eos_id if is_apart else None
    token_bytes = torch.from_numpy(tokenizer.token_bytes()).to(device.torch)
    was_training = model.training
    model.eval()
    nats = text_nats = 0.0
    n_tokens = n_bytes = 0
    try:
        for windows in batches:
            ids = torch.from_numpy(windows.astype(np.int64)).to(device.torch)
            inputs, targets, documents = lesson(ids, border)
            with torch.inference_mode(), device.autocast():
                logits = model(inputs, documents=documents)
            targets = targets.flatten()
            losses = F.cross_entropy(logits.flatten(0, 1).float(), targets, reduction="none")
            counts = targets != IGNORED
            losses, targets = losses[counts], targets[counts]
            sizes = token_bytes[targets]
            nats += float(losses.double().sum())
            text_nats += float(losses.double()[sizes > 0].sum())
            n_tokens += targets.numel()
            n_bytes += int(sizes.sum())
    finally:
        model.train(was_training)
    if not n_tokens:
        return None
    bpb = metrics.bits_per_byte(text_nats, n_bytes)
    return Evaluation(nats / n_tokens, bpb, n_tokens, n_bytes)


def text_windows(ids: npt.NDArray[Any], eos_id: int, seq_len: int) -> Iterator[npt.NDArray[Any]]:
    """Windows (1, n + 1) that predict every token of a text once, behind a document border."""
    whole = np.concatenate(([eos_id], ids))
    for start in range(0, len(whole) - 1, seq_len):
        yield whole[None, start : start + seq_len + 1]

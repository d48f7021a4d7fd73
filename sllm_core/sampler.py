"""How a trained model writes: each next token is drawn from what it holds likely.

Two layers. Below, pure functions turn logits into a token, always in this order (ALIGN 14):
banned ids, repetition penalty, top-k, top-p, temperature, draw. Above, `generate` runs the model
token by token and `write` turns tokens into text while they come.

Shapes: V vocabulary; logits are float32 (..., V), one row or a batch.
"""

import codecs
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sllm_core import faults
from sllm_core.config import SamplingConfig
from sllm_core.device import Device
from sllm_core.errors import CheckpointError
from sllm_core.model import GPT, Cache
from sllm_core.tokenizer import Tokenizer

GREEDY_BELOW = 1e-5  # a temperature under this is 0: dividing by it would overflow


# --- logits to token


def penalize_repeats(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens used before less likely (CTRL, arXiv 1909.05858, section 4.1); 1 is off.

    A positive logit is divided by ``penalty``, another multiplied, once however often it was used.

    Args:
        logits: (..., V).
        seen: ids used before (..., n); repeats do no harm.
        penalty: above 1 avoids repeats, below 1 encourages them.
    """
    if penalty == 1.0:
        return logits
    used = logits.gather(-1, seen)
    return logits.scatter(-1, seen, torch.where(used < 0, used * penalty, used / penalty))


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """All but the ``k`` largest become -inf; equals of the k-th stay too. 0 is off."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    smallest = logits.topk(k).values[..., -1:]
    return logits.masked_fill(logits < smallest, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """All but the smallest set whose probability reaches ``p`` become -inf (arXiv 1904.09751).

    At least one stays; 1 is off.
    """
    if p >= 1.0:
        return logits
    values, order = logits.sort(descending=False)
    is_out = values.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    is_out[..., -1] = False
    return logits.masked_fill(is_out.scatter(-1, order, is_out), -math.inf)


def scale_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Below 1 the likely gets likelier, above 1 all get more equal."""
    return logits / temperature


def draw(logits: Tensor, seen: Tensor, settings: SamplingConfig, generator: torch.Generator) -> int:
    """The next token of one row (V); at temperature 0 the likeliest, of equals the lowest id.

    Penalties act at temperature 0 too.
    """
    logits = penalize_repeats(logits, seen, settings.repetition_penalty)
    if settings.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    logits = keep_top_k(logits, settings.top_k)
    ids = torch.nonzero(logits > -math.inf).squeeze(-1)  # from here on k values, not V
    logits = keep_top_p(logits[ids], settings.top_p)
    probabilities = scale_temperature(logits, settings.temperature).softmax(dim=-1)
    return int(ids[torch.multinomial(probabilities, 1, generator=generator)])


# --- model to tokens


def never() -> bool:
    """Nobody stops the writing."""
    return False


@contextmanager
def _writing(model: nn.Module, device: Device) -> Iterator[None]:
    """Evaluation mode; in float32 on a CPU also all matrices stored by columns; undone at the end.

    A product with a single row reads such a matrix 1.5 times as fast (in bf16 it would be slower);
    copying them costs the time of about eight tokens (benchmarks/generation.py).
    """
    was_training = model.training
    is_plain_cpu = device.name == "cpu" and device.dtype is None
    rows = [(p, p.data) for p in model.parameters() if p.dim() == 2 and is_plain_cpu]
    try:
        model.eval()
        for parameter, data in rows:
            parameter.data = data.t().contiguous().t()
        yield
    finally:
        for parameter, data in rows:
            parameter.data = data
        model.train(was_training)


@torch.no_grad()  # in inference mode autocast would cast all weights again for each token
def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt_ids: list[int],
    settings: SamplingConfig,
    *,
    device: Device,
    seed: int,
    on_token: Callable[[int], bool | None],
    is_cancelled: Callable[[], bool] = never,
) -> str:
    """Continue ``prompt_ids`` token by token; the same seed draws the same tokens.

    When the context is full (or the prompt longer than it), the last half of it is read again and
    the writing goes on. The repetition penalty looks at what the model still sees, prompt included,
    special tokens left out: punishing the end of an answer would make the next one endless.
    Special tokens are never written; [EOS] and ``<|end|>`` end the text.

    It calls back instead of yielding, because autocast (which keeps half-precision weights until
    it ends) and the weights' changed layout would otherwise leak into the caller's code.

    Args:
        model: on ``device``; its mode (training or not) is restored.
        tokenizer: of the model.
        prompt_ids: what to continue; empty begins a new document.
        settings: how to draw and how long.
        device: where, and in which precision.
        seed: of the generator of this generation; the global one is left alone.
        on_token: gets each token; True ends the writing.
        is_cancelled: asked before each token.

    Returns:
        Why it ended: ``eos``, ``stop`` (by ``on_token``), ``length`` or ``cancelled``.

    Raises:
        CheckpointError: the model's numbers are not finite.
    """
    is_poisoned = faults.passage("sample") == "nan"
    where = device.torch
    longest, n_rows = model.config.max_seq_len, model.embed_tokens.num_embeddings
    ends = {tokenizer.eos_id, tokenizer.end_id}
    unused = range(tokenizer.vocab_size, n_rows)  # rows that only pad the table
    banned = torch.tensor(
        [*sorted(tokenizer.special_ids - ends), *unused], dtype=torch.int64, device=where
    )
    generator = torch.Generator(where).manual_seed(seed)

    context = prompt_ids or [tokenizer.eos_id]  # what the model sees
    new = context = list(context)  # ... and what of it the cache lacks
    room = min(longest, len(context) + settings.max_new_tokens)
    dtype = device.dtype or torch.float32
    cache = Cache(replace(model.config, max_seq_len=room), 1, where, dtype)
    seen = _Seen(tokenizer.special_ids, n_rows, where)
    seen.restart(context)

    with device.autocast(), _writing(model, device):
        for _ in range(settings.max_new_tokens):
            if is_cancelled():
                return "cancelled"
            if cache.length + len(new) > longest:
                new = context = context[-(longest // 2) :]
                cache.length = 0
                seen.restart(context)
            ids = torch.tensor([new], device=where)
            logits = model(ids, cache, last_only=True)[0, -1].float()
            logits[banned] = -math.inf
            if is_poisoned:
                logits.fill_(math.nan)
            if not math.isfinite(logits.max()):
                raise _not_finite()
            token = draw(logits, seen.ids, settings, generator)
            if token in ends:
                return "eos"
            if on_token(token):
                return "stop"
            context.append(token)
            seen.add(token)
            new = [token]
    return "length"


class _Seen:
    """The distinct tokens a repetition penalty looks at, kept in a tensor that is never rebuilt."""

    def __init__(self, left_out: frozenset[int], vocab_size: int, device: torch.device) -> None:
        self._left_out = left_out
        self._known: set[int] = set()
        self._all = torch.empty(vocab_size, dtype=torch.int64, device=device)
        self.ids = self._all[:0]

    def restart(self, context: list[int]) -> None:
        """Forget all, then take the tokens of ``context``."""
        distinct = list(dict.fromkeys(id for id in context if id not in self._left_out))
        self._known = set(distinct)
        self.ids = self._all[: len(distinct)]
        self.ids.copy_(torch.tensor(distinct, dtype=torch.int64))

    def add(self, token: int) -> None:
        """Take one more token."""
        if token not in self._known:
            self._known.add(token)
            self.ids = self._all[: len(self._known)]
            self.ids[-1] = token


def _not_finite() -> CheckpointError:
    return CheckpointError(
        "NONFINITE",
        "The model cannot write: its weights give values that are not numbers.",
        safe="No file was changed.",
        todo="Choose an earlier checkpoint.",
    )


# --- tokens to text


@dataclass(frozen=True)
class Written:
    """What a model wrote behind a prompt."""

    text: str
    n_tokens: int
    reason: str  # eos | stop | length | cancelled
    seed: int
    tokens_per_sec: float | None  # without reading the prompt; None below two tokens


class StopFilter:
    """Lets text through up to the first stop text, and holds back what may become one.

    The stop text that is complete first counts, so the result does not depend on how the text
    is cut into pieces.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.is_stopped = False

    def feed(self, piece: str) -> str:
        """Take the next piece; returns what may be shown now."""
        text = self._held + piece
        found = [(text.index(stop) + len(stop), stop) for stop in self._stops if stop in text]
        if found:
            self.is_stopped = True
            first_end = min(found)[0]
            begin = min(end - len(stop) for end, stop in found if end == first_end)
            self._held = ""
            return text[:begin]
        n_held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]

    def finish(self) -> str:
        """What was held back, now that nothing more comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that is a beginning of ``stop``, not all of it."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((n for n in lengths if text.endswith(stop[:n])), 0)


def write(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    settings: SamplingConfig,
    *,
    device: Device,
    seed: int,
    on_text: Callable[[str], None] | None = None,
    is_cancelled: Callable[[], bool] = never,
) -> Written:
    """Continue ``prompt`` as text; pieces go to ``on_text`` as soon as they are certain.

    An empty prompt begins a new document. A character whose last bytes were never written is left
    out; bytes that are no UTF-8 become U+FFFD. Stop texts are never shown, not even in part. The
    pieces joined are ``Written.text``. See `generate` for the rest.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    stop_filter = StopFilter(settings.stop)
    pieces: list[str] = []
    times: list[float] = []

    def show(piece: str) -> None:
        if piece:
            pieces.append(piece)
            if on_text:
                on_text(piece)

    def on_token(token: int) -> bool:
        times.append(time.perf_counter())
        show(stop_filter.feed(decoder.decode(tokenizer.decode_bytes([token]))))
        return stop_filter.is_stopped

    prompt_ids = [int(id) for id in tokenizer.encode(prompt)]
    reason = generate(
        model,
        tokenizer,
        prompt_ids,
        settings,
        device=device,
        seed=seed,
        on_token=on_token,
        is_cancelled=is_cancelled,
    )
    show(stop_filter.finish())
    elapsed = times[-1] - times[0] if len(times) > 1 else 0.0
    rate = (len(times) - 1) / elapsed if elapsed > 0 else None
    return Written("".join(pieces), len(times), reason, seed, rate)

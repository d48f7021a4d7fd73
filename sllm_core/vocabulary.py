"""Which vocabulary suits a text: several sizes out of one training, side by side.

Byte pair encoding adds one token after another, so a smaller vocabulary is the beginning of a
larger one (tests/test_vocabulary.py compares with separate trainings).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sllm_core.tokenizer import BYTE_VOCAB_SIZE, Tokenizer, build_content, train

SIZES = (1000, 2000, 4000, 8000, 16_000, 32_000, 50_000)
RARE = 10  # uses
MOST_UNDERUSED = 0.4  # of the tokens: the others would be trained for nothing
_NEVER_IN_UTF8 = 13  # bytes 0xC0, 0xC1 and 0xF5 to 0xFF stand in no text
_BATCH_BYTES = 4_000_000


@dataclass(frozen=True)
class SizeRow:
    """One size, what it gains and what it costs."""

    vocab_size: int
    bytes_per_token: float  # of the held-out texts
    never_share: float  # of the tokens that could be used: not in the sample
    rare_share: float  # there, but fewer than ten times in all the text
    embedding_share: float  # of the parameters of the model
    is_advised: bool = False
    reason: str = ""  # of the advised one


def sizes_for(largest: int) -> tuple[int, ...]:
    """The usual sizes below the largest, and the largest."""
    return (*(size for size in SIZES if size < largest), largest)


def compare(
    train_texts: Sequence[str],
    held_out_texts: Sequence[str],
    sizes: Sequence[int],
    *,
    split: str,
    min_frequency: int,
    d_model: int,
    other_parameters: int,
    text_bytes: int = 0,
    check: Callable[[], None] = lambda: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[SizeRow, ...]:
    """Train once at the largest size, cut, and measure each.

    Args:
        train_texts: a bounded sample of what will be trained on; 10 MB take about 10 s.
        held_out_texts: other documents; not empty.
        sizes: those that the sample does not fill are left out, what it reaches takes their place.
        split: name of the word split.
        min_frequency: pairs seen less often are not merged.
        d_model: parameters of a token: the width, or twice that where the head has its own table.
        other_parameters: of the model, without its table of tokens.
        text_bytes: of all that will be trained on, if the sample is a part of it: a token is rare
            when it would be used fewer than `RARE` times in all.
        check: called between the steps; what it raises ends the work.
        on_progress: told (bytes of text done, bytes in all; each size reads the sample again).

    Returns:
        A row a size, ascending; one of them is advised.
    """
    learnt_bytes, held_bytes = _utf8_bytes(train_texts), _utf8_bytes(held_out_texts)
    each = learnt_bytes + held_bytes
    total = learnt_bytes + each * len(sizes)
    rare = RARE * min(1.0, learnt_bytes / max(1, text_bytes, learnt_bytes))
    whole = train(
        train_texts,
        max(sizes),
        split=split,
        min_frequency=min_frequency,
        on_bytes=lambda done: on_progress(done, total),
    )
    rows = []
    for number, size in enumerate(sorted({min(size, whole.vocab_size) for size in sizes})):
        check()
        on_progress(learnt_bytes + number * each, total)
        made = cut(whole, size)
        uses = np.delete(_uses(made, train_texts, check), list(made.special_ids))
        n_usable = len(uses) - _NEVER_IN_UTF8
        n_tokens = int(_uses(made, held_out_texts, check).sum())
        table = size * d_model
        rows.append(
            SizeRow(
                vocab_size=size,
                bytes_per_token=held_bytes / max(1, n_tokens),
                never_share=(int((uses == 0).sum()) - _NEVER_IN_UTF8) / n_usable,
                rare_share=int(((uses > 0) & (uses < rare)).sum()) / n_usable,
                embedding_share=table / (table + other_parameters),
            )
        )
    on_progress(total, total)
    return advise(rows, d_model, other_parameters)


def _uses(
    made: Tokenizer, texts: Sequence[str], check: Callable[[], None]
) -> npt.NDArray[np.int64]:
    """How often each token occurs in the texts."""
    uses = np.zeros(made.vocab_size, dtype=np.int64)
    for batch in _batches(texts):
        check()
        ids, _ = made.encode_batch(batch)
        uses += np.bincount(ids, minlength=made.vocab_size)
    return uses


def _batches(texts: Sequence[str]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    n_bytes = 0
    for text in texts:
        batch.append(text.encode("utf-8", "replace"))
        n_bytes += len(batch[-1])
        if n_bytes >= _BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _utf8_bytes(texts: Sequence[str]) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def cut(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """The smaller vocabulary that the same training would have ended with."""
    if vocab_size >= tokenizer.vocab_size:
        return tokenizer
    merges = tokenizer.content["model"]["merges"][: vocab_size - BYTE_VOCAB_SIZE]
    merged = [left + right for left, right in merges]
    return Tokenizer(build_content(merged, merges, tokenizer.split))


def advise(rows: Sequence[SizeRow], d_model: int, other_parameters: int) -> tuple[SizeRow, ...]:
    """Mark the size at which a byte of text costs the least work.

    A token costs work in proportion to all parameters, its own table as head included, and a
    larger vocabulary needs fewer tokens for a byte. Sizes of which too many tokens are hardly
    ever used are passed over, as nothing could be learnt about those.
    """

    def cost(row: SizeRow) -> float:
        return (other_parameters + row.vocab_size * d_model) / row.bytes_per_token

    def is_used(row: SizeRow) -> bool:
        return row.never_share + row.rare_share <= MOST_UNDERUSED

    best = min(filter(is_used, rows), key=cost, default=rows[0])
    place = list(rows).index(best)
    reason = f"{best.vocab_size:,} tokens"
    if place + 1 < len(rows):
        larger = rows[place + 1]
        reason += f": {larger.vocab_size:,} would {_trade(best, larger, d_model, other_parameters)}"
        if not is_used(larger):
            share = 100 * (larger.never_share + larger.rare_share)
            reason += f", and {share:.0f} % of them are used fewer than {RARE} times"
    elif place:
        smaller = rows[place - 1]
        reason += ", the most that was compared: against "
        reason += f"{smaller.vocab_size:,} they {_trade(smaller, best, d_model, other_parameters)}"
    return tuple(
        replace(row, is_advised=row is best, reason=f"{reason}." if row is best else "")
        for row in rows
    )


def _trade(small: SizeRow, large: SizeRow, d_model: int, other_parameters: int) -> str:
    """What the larger of two sizes gains, and what for."""
    fewer = 1 - small.bytes_per_token / large.bytes_per_token
    parts = [other_parameters + row.vocab_size * d_model for row in (small, large)]
    more = parts[1] / parts[0] - 1
    return (
        f"cut the text into {100 * fewer:.1f} % fewer tokens and make the model "
        f"{100 * more:.1f} % larger"
    )

"""What a loss means: perplexity and bits per byte."""

import math


def perplexity(loss: float) -> float:
    """exp(loss): between how many tokens it hesitates; inf where that is too large to say."""
    return math.exp(loss) if loss < 700 else math.inf


def bits_per_byte(nats: float, n_bytes: int) -> float | None:
    """Loss that does not depend on the tokenizer: nats / (ln 2 * bytes); None without bytes."""
    return nats / (math.log(2) * n_bytes) if n_bytes else None

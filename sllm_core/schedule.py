"""How the learning rate rises and falls: pure functions of the step."""

import math

DECAY_SHARE = 0.2  # wsd: the last fifth falls to the floor


def multiplier(
    step: int, total_steps: int, warmup_steps: int, kind: str, min_lr_ratio: float = 0.0
) -> float:
    """Share of the peak rate at update ``step`` (0-based).

    Warm-up is linear and reaches 1 at ``warmup_steps``. Then, with progress from 0 to 1:
    cosine ``r + (1 - r) * 0.5 * (1 + cos(pi * progress))`` (SGDR, arXiv 1608.03983, eq. 5),
    wsd flat and then linear over the last fifth (MiniCPM, arXiv 2404.06395), linear, constant.

    Raises:
        ValueError: an unknown kind.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    if kind == "cosine":
        fall = 0.5 * (1.0 + math.cos(math.pi * progress))
    elif kind == "linear":
        fall = 1.0 - progress
    elif kind == "wsd":
        n_falling = min(DECAY_SHARE * total_steps, total_steps - warmup_steps)
        fall = min(1.0, (total_steps - step) / max(1.0, n_falling))
    elif kind == "constant":
        fall = 1.0
    else:
        raise ValueError(kind)
    return min_lr_ratio + (1.0 - min_lr_ratio) * max(0.0, fall)

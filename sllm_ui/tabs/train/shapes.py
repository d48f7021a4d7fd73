"""One knob for the size of a model: a ladder of consistent shapes from small to large. Pure."""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log, log2

from sllm_core import estimate
from sllm_core.config import ModelConfig, TrainConfig

LEAST, MOST = 0.5e6, 1.6e9  # parameters
RUNG = 1.13  # each step of the slider is about so many times the one before
IDEAL_ASPECT = 64  # width to layers, as in the presets: 256 x 4, 768 x 12, 1024 x 16
FEWEST_LAYERS = 3  # that a narrow model should have
WIDTHS = (*range(64, 257, 32), *range(320, 769, 64), *range(896, 2049, 128))
MOST_LAYERS = 48
LOOSE = 0.06  # how much a shape may miss its rung for a better aspect


@dataclass(frozen=True)
class Shape:
    """One position of the slider."""

    d_model: int
    n_layers: int
    n_heads: int
    n_params: int

    def values(self) -> dict[str, int | None]:
        """Settings of this size; what is None follows from width and data."""
        open_ones = (
            "n_kv_heads",
            "head_dim",
            "d_ff",
            "batch_size",
            "micro_batch_size",
            "learning_rate",
        )
        shape = {"d_model": self.d_model, "n_layers": self.n_layers, "n_heads": self.n_heads}
        return {**shape, **dict.fromkeys(open_ones)}


def ladder(model: ModelConfig, vocab_size: int) -> tuple[Shape, ...]:
    """Shapes of the style of ``model``, each about a tenth larger than the one before."""
    plain = replace(
        model, d_model=64, n_layers=1, n_heads=2, n_kv_heads=None, head_dim=None, d_ff=None,
        vocab_size=vocab_size, dropout=0.0, norm_eps=None, rope_theta=10_000.0,
        max_seq_len=model.max_seq_len if model.style == "classic" else 2,
    )  # fmt: skip
    return _ladder(plain)


@lru_cache(maxsize=16)
def _ladder(plain: ModelConfig) -> tuple[Shape, ...]:
    sizes = [(width, *_linear(plain, width)) for width in WIDTHS]
    least = max(LEAST, sizes[0][1] + sizes[0][2])
    n = int(log(MOST / least) / log(RUNG))
    found: list[Shape] = []
    for i in range(n + 1):
        shape = _nearest(sizes, least * exp(i * log(MOST / least) / n))
        if not found or shape.n_params > 1.03 * found[-1].n_params:
            found.append(shape)
    return tuple(found)


def _linear(plain: ModelConfig, width: int) -> tuple[int, int]:
    """Parameters beside the layers, and of a layer, at a width."""
    at = replace(plain, d_model=width, n_heads=heads(width))
    one = estimate.count_parameters(at).total
    layer = estimate.count_parameters(replace(at, n_layers=2)).total - one
    return one - layer, layer


def heads(width: int) -> int:
    """Heads of 64 numbers; of 32 in narrow models."""
    return width // 64 if width >= 256 else width // 32


def _nearest(sizes: list[tuple[int, int, int]], target: float) -> Shape:
    """The shape that is near the target and neither a noodle nor a pancake."""
    best, least = (0, 0, 0), float("inf")
    for width, fixed, layer in sizes:
        most = min(MOST_LAYERS, max(4, width // 16))
        n_layers = min(most, max(1, round((target - fixed) / layer)))
        n_params = fixed + n_layers * layer
        miss = max(0.0, abs(log(n_params / target)) - LOOSE)
        cost = 20 * miss + abs(log2(n_layers / max(FEWEST_LAYERS, width / IDEAL_ASPECT)))
        if cost < least:
            best, least = (width, n_layers, n_params), cost
    return Shape(best[0], best[1], heads(best[0]), best[2])


def nearest_rung(shapes: tuple[Shape, ...], n_params: int) -> int:
    """The position whose size is nearest."""
    return min(range(len(shapes)), key=lambda i: abs(log(shapes[i].n_params / n_params)))


@lru_cache(maxsize=64)
def count_fitting(
    shapes: tuple[Shape, ...], model: ModelConfig, train: TrainConfig, room: int, is_half: bool
) -> int:
    """How many of the shapes, smallest first, fit with one window at a time; 4 at least."""
    low, high = min(4, len(shapes)), len(shapes)
    while low < high:
        middle = (low + high + 1) // 2
        shape = shapes[middle - 1]
        at = replace(
            model, d_model=shape.d_model, n_layers=shape.n_layers, n_heads=shape.n_heads,
            n_kv_heads=None, head_dim=None, d_ff=None,
        )  # fmt: skip
        need = estimate.estimate_memory(at, 1, train.seq_len, train=train, is_half=is_half)
        low, high = (middle, high) if need.total <= room else (low, middle - 1)
    return low

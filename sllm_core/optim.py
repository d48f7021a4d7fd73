"""The two optimizers: AdamW, and Muon for the matrices of the blocks with AdamW for the rest."""

import math
from typing import Any

import torch
from torch import Tensor, nn

# Polar Express, arXiv 2505.16932, algorithm 1: five odd polynomials a X + b X^3 + c X^5, each the
# best for the interval the one before leaves. Divided by powers of 1.01 as the paper advises.
_POLYNOMIALS = [
    (a / 1.01, b / 1.01**3, c / 1.01**5)
    for a, b, c in (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    )
]
ADAMW_SHARE = 0.15  # rate of the AdamW side beside Muon's (ENGINE 4.4)
MUON_MOMENTUM = 0.95


def orthogonalize(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices: U V^T of G = U S V^T, by five polynomial steps.

    Args:
        matrices: a stack (N, rows, columns) of one shape.

    Returns:
        The same shape; bf16 on CUDA, float32 elsewhere.
    """
    X = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    is_tall = X.shape[-2] > X.shape[-1]
    if is_tall:
        X = X.mT
    X = X / (1.01 * X.norm(dim=(-2, -1), keepdim=True) + 1e-6)
    for a, b, c in _POLYNOMIALS:
        A = X @ X.mT
        B = torch.baddbmm(A, A, A, beta=b, alpha=c)
        X = torch.baddbmm(X, B, X, beta=a)
    return X.mT if is_tall else X


def is_muon_parameter(name: str, parameter: Tensor) -> bool:
    """Muon is for matrices inside blocks; never embeddings, positions, head, norms or biases."""
    return name.startswith("layers.") and parameter.dim() == 2


class Optimizer:
    """Updates a model; its state is kept by parameter name, whatever the grouping.

    Args:
        model: a GPT with gradients.
        kind: ``adamw`` or ``muon``.
        learning_rate: peak rate (Muon's, where there is Muon).
        weight_decay: for tensors of two dimensions.
        grad_clip: longest gradient; 0 is off. Muon's side is never clipped: it would push the
            matrices under orthogonalize's epsilon.
    """

    def __init__(
        self,
        model: nn.Module,
        kind: str,
        *,
        learning_rate: float,
        weight_decay: float,
        beta1: float,
        beta2: float,
        grad_clip: float,
        head_rows: tuple[int, ...] = (),
    ) -> None:
        named = list(model.named_parameters())
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in named}
        self._grad_clip, self._weight_decay = grad_clip, weight_decay
        self._peak = learning_rate
        self._muon = [p for n, p in named if kind == "muon" and is_muon_parameter(n, p)]
        rest = [p for n, p in named if not (kind == "muon" and is_muon_parameter(n, p))]
        self._rest = rest
        self._adamw_peak = learning_rate * (ADAMW_SHARE if kind == "muon" else 1.0)
        self._adamw = torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.dim() >= 2], "weight_decay": weight_decay},
                {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
            ],
            lr=self._adamw_peak,
            betas=(beta1, beta2),
            eps=1e-8,
            fused=True,
        )
        self._momentum = {p: torch.zeros_like(p) for p in self._muon}
        self._stacks = self._plan_stacks(head_rows)

    def _plan_stacks(self, qkv_rows: tuple[int, ...]) -> list[list[tuple[nn.Parameter, slice]]]:
        """Matrices of one shape go through `orthogonalize` together; q, k and v go apart."""
        by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, slice]]] = {}
        for parameter in self._muon:
            is_fused = self._names[parameter].endswith("qkv_proj.weight") and qkv_rows
            start = 0
            for n_rows in qkv_rows if is_fused else (parameter.shape[0],):
                shape = (n_rows, parameter.shape[1])
                by_shape.setdefault(shape, []).append((parameter, slice(start, start + n_rows)))
                start += n_rows
        return list(by_shape.values())

    def clip(self) -> Tensor:
        """Clip the AdamW side; returns the L2 norm of all gradients before that."""
        gradients = [p.grad for p in self._names if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._grad_clip > 0:
            rest = [p.grad for p in self._rest if p.grad is not None]
            rest_norm = torch.nn.utils.get_total_norm(rest) if self._muon else norm
            torch.nn.utils.clip_grads_with_norm_(self._rest, self._grad_clip, rest_norm)
        return norm

    @torch.no_grad()
    def step(self, multiplier: float) -> None:
        """One update at ``multiplier`` times the peak rates."""
        for group in self._adamw.param_groups:
            group["lr"] = self._adamw_peak * multiplier
        self._adamw.step()
        for parameter in self._muon:
            assert parameter.grad is not None
            self._momentum[parameter].lerp_(parameter.grad, 1.0 - MUON_MOMENTUM)
        lr = self._peak * multiplier
        if self._weight_decay and self._muon:
            torch._foreach_mul_(list[Tensor](self._muon), 1.0 - lr * self._weight_decay)
        for stack in self._stacks:
            pieces = [
                parameter.grad[rows].lerp(self._momentum[parameter][rows], MUON_MOMENTUM)
                for parameter, rows in stack
                if parameter.grad is not None
            ]  # Nesterov: look ahead along the momentum
            updates = orthogonalize(torch.stack(pieces))
            scale = math.sqrt(max(1.0, updates.shape[1] / updates.shape[2]))
            for (parameter, rows), update in zip(stack, updates, strict=True):
                parameter[rows].add_(update.to(parameter.dtype), alpha=-lr * scale)

    def zero_grad(self) -> None:
        """Drop all gradients and their memory."""
        for parameter in self._names:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """State by parameter name: ``adamw`` (step, exp_avg, exp_avg_sq) and ``muon``."""
        adamw = {
            self._names[parameter]: {key: value.detach() for key, value in state.items()}
            for parameter, state in self._adamw.state.items()
        }
        muon = {self._names[parameter]: buffer for parameter, buffer in self._momentum.items()}
        return {"adamw": adamw, "muon": muon}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state of the same model and kind.

        Raises:
            KeyError: a parameter's state is missing.
        """
        by_name = {name: parameter for parameter, name in self._names.items()}
        for parameter in self._muon:
            self._momentum[parameter].copy_(state["muon"][self._names[parameter]])
        for name, values in state["adamw"].items():
            owner = by_name[name]
            self._adamw.state[owner] = {
                key: value.to(owner.device, copy=True) for key, value in values.items()
            }
        missing = {self._names[p] for p in self._rest} - set(state["adamw"])
        if state["adamw"] and missing:
            raise KeyError(min(missing))

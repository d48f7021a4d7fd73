"""The language model: one GPT in three styles, small enough to read in one sitting.

    style    position         norm        MLP      attention
    classic  learned          LayerNorm   GELU     -                    (GPT-2)
    llama    rotary (RoPE)    RMSNorm     SwiGLU   grouped heads        (Llama)
    modern   rotary (RoPE)    RMSNorm     SwiGLU   the same + QK-norm   (Qwen3)

Shapes: B batch, T time (tokens), C width (d_model), H heads, D width of a head, V vocabulary.
Names of parameters follow the Hugging Face Llama family, save for the fused ``qkv_proj``.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sllm_core.config import ModelConfig

IGNORED = -100  # a target that does not count (the number that torch's own loss leaves out)


class Cache:
    """Keys and values of the tokens seen so far, so that each new token costs one step."""

    def __init__(self, config: ModelConfig, n_rows: int, device: torch.device, dtype: torch.dtype):
        shape = (n_rows, _n_kv_heads(config), config.max_seq_len, _head_dim(config))
        make = [torch.empty(shape, device=device, dtype=dtype) for _ in range(2 * config.n_layers)]
        self.keys, self.values = make[: config.n_layers], make[config.n_layers :]
        self.length = 0  # tokens stored; a forward pass writes behind them

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, H, T, D) of the new tokens; returns those of all tokens."""
        end = self.length + k.shape[2]
        self.keys[layer][:, :, self.length : end] = k
        self.values[layer][:, :, self.length : end] = v
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


def _n_kv_heads(config: ModelConfig) -> int:
    return config.n_kv_heads or config.n_heads


def _head_dim(config: ModelConfig) -> int:
    return config.head_dim or config.d_model // config.n_heads


def make_norm(config: ModelConfig, width: int) -> nn.Module:
    """LayerNorm for classic, RMSNorm (arXiv 1910.07467) for the rest."""
    if config.style == "classic":
        return nn.LayerNorm(width, eps=config.norm_eps or 1e-5)
    return nn.RMSNorm(width, eps=config.norm_eps)


def rope_table(head_dim: int, max_seq_len: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines (max_seq_len, D) of rotary positions (RoFormer, arXiv 2104.09864, eq. 34).

    The two halves of a head turn together ("rotate half", as Llama's released weights expect).
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    angles = torch.outer(torch.arange(max_seq_len).float(), 1.0 / theta**exponent)  # (T, D/2)
    angles = torch.cat((angles, angles), dim=-1)  # (T, D)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn queries or keys x (B, H, T, D) by their positions' cos, sin (T, D) or (B, 1, T, D)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def keep_apart(documents: Tensor) -> tuple[Tensor, Tensor]:
    """What keeps the documents of a window apart, from each token's document (B, T).

    Returns:
        Positions (B, T) that begin anew with each document, and the mask (B, 1, T, T) that is true
        where a token may look: at its own document, up to itself.
    """
    order = torch.arange(documents.shape[1], device=documents.device)
    is_first = documents.diff(dim=1, prepend=documents[:, :1] - 1) != 0
    begins = torch.where(is_first, order, 0).cummax(dim=1).values
    is_own = documents[:, None, :, None] == documents[:, None, None, :]
    return order - begins, is_own & (order <= order[:, None])


def as_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores: 0 where ``mask`` is true, else minus infinity.

    Made once: from a mask of truth values each layer would make its own and keep it for the
    backward pass. It has the type of queries and keys, which autocast decides.
    """
    kind = mask.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, -math.inf)


class Attention(nn.Module):
    """Each token looks back at earlier ones and takes what it needs (arXiv 1706.03762, 3.2)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.n_kv_heads = config.n_heads, _n_kv_heads(config)
        self.head_dim = _head_dim(config)
        width, bias = self.n_heads * self.head_dim, bool(config.bias)
        n_rows = width + 2 * self.n_kv_heads * self.head_dim  # rows: all q, then all k, then all v
        self.qkv_proj = nn.Linear(config.d_model, n_rows, bias=bias)
        self.o_proj = nn.Linear(width, config.d_model, bias=bias)
        self.dropout = nn.Dropout(config.dropout)
        self.has_qk_norm = config.style == "modern"
        if self.has_qk_norm:
            self.q_norm = make_norm(config, self.head_dim)
            self.k_norm = make_norm(config, self.head_dim)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        cache: Cache | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """X (B, T, C) -> (B, T, C); ``mask`` (B, 1, T, T) is added to the scores."""
        B, T, _ = x.shape
        sizes = [n * self.head_dim for n in (self.n_heads, self.n_kv_heads, self.n_kv_heads)]
        q, k, v = (
            part.view(B, T, -1, self.head_dim).transpose(1, 2)  # (B, H, T, D)
            for part in self.qkv_proj(x).split(sizes, dim=-1)
        )
        if self.has_qk_norm:
            q, k = self.q_norm(q.float()), self.k_norm(k.float())  # autocast gives halves
        if rope is not None:
            q, k = rotate(q, *rope).to(v.dtype), rotate(k, *rope).to(v.dtype)
        is_causal = mask is None and T > 1
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
            if is_causal and cache.length:  # new token i sees the stored ones and new ones up to i
                seen = torch.arange(k.shape[2], device=x.device)
                mask = seen <= cache.length + torch.arange(T, device=x.device)[:, None]
                is_causal = False
        if self.n_kv_heads != self.n_heads:
            k = k.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)
            v = v.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)
        y = y.transpose(1, 2).reshape(B, T, -1)  # (B, T, H * D)
        return self.dropout(self.o_proj(y))


class Mlp(nn.Module):
    """Each token thinks for itself: GELU in its tanh form, or SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d_ff, bias = config.d_ff or 4 * config.d_model, bool(config.bias)
        self.is_gated = config.style != "classic"
        if self.is_gated:
            self.gate_proj = nn.Linear(config.d_model, d_ff, bias=bias)
        self.up_proj = nn.Linear(config.d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, config.d_model, bias=bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """X (B, T, C) -> (B, T, C)."""
        if self.is_gated:
            hidden = F.silu(self.gate_proj(x)) * self.up_proj(x)  # (B, T, d_ff)
        else:
            hidden = F.gelu(self.up_proj(x), approximate="tanh")
        return self.dropout(self.down_proj(hidden))


class Block(nn.Module):
    """Look back, then think; each adds to the stream it read (pre-norm)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = make_norm(config, config.d_model)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = make_norm(config, config.d_model)
        self.mlp = Mlp(config)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        cache: Cache | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """X (B, T, C) -> (B, T, C)."""
        x = x + self.self_attn(self.input_layernorm(x), rope, cache, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class GPT(nn.Module):
    """A decoder-only transformer that predicts the next token.

    Args:
        config: the shape; vocab_size must be known.
        gradient_checkpointing: compute blocks again in the backward pass to save memory.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config = config.resolve()
        assert config.vocab_size is not None
        self.gradient_checkpointing = gradient_checkpointing
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.is_rotary = config.style != "classic"
        if self.is_rotary:
            cos, sin = rope_table(_head_dim(config), config.max_seq_len, config.rope_theta)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        else:
            self.pos_emb = nn.Embedding(config.max_seq_len, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.n_layers))
        self.norm = make_norm(config, config.d_model)
        if not config.tied_head:
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def forward(
        self,
        ids: Tensor,
        cache: Cache | None = None,
        *,
        last_only: bool = False,
        documents: Tensor | None = None,
    ) -> Tensor:
        """Predict each next token.

        Args:
            ids: tokens (B, T); with a cache they come behind those it holds.
            cache: keys and values seen before; it is extended by T.
            last_only: logits of the last position only (B, 1, V).
            documents: the number of each token's document (B, T); a token then sees its own only,
                and each counts its positions from 0. Not together with a cache.

        Returns:
            Logits (B, T, V) in the precision of the matrix products.
        """
        T = ids.shape[1]
        start = cache.length if cache else 0
        assert start + T <= (self.config.max_seq_len), (start, T)
        assert cache is None or documents is None
        places: slice | Tensor = slice(start, start + T)
        mask = None
        if documents is not None:
            places, may_look = keep_apart(documents)
            mask = as_bias(may_look, self.embed_tokens.weight.dtype)
        x = self.embed_tokens(ids)  # (B, T, C)
        rope = None
        if self.is_rotary:
            cos, sin = self.cos[places], self.sin[places]  # (T, D) or (B, T, D)
            rope = (cos, sin) if documents is None else (cos[:, None], sin[:, None])
        else:
            x = x + self.pos_emb.weight[places]
        x = self.dropout(x)
        for block in self.layers:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, rope, cache, mask, use_reentrant=False)
            else:
                x = block(x, rope, cache, mask)
        if cache:
            cache.length += T
        x = self.norm(x[:, -1:] if last_only else x)
        return F.linear(x, self.embed_tokens.weight) if self.config.tied_head else self.lm_head(x)

    def init_weights(self, seed: int, *, is_output_zero: bool = False) -> None:
        """Fill all parameters from ``seed``: N(0, 0.02), zero biases, ones in norms.

        The two projections that write into the stream get 0.02 / sqrt(2 n_layers) (GPT-2, 2.3),
        or zero, which trains as well with Muon and starts every block as the identity.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
                continue
            std = 0.02
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std = 0.0 if is_output_zero else 0.02 / math.sqrt(2 * self.config.n_layers)
            values = torch.empty(parameter.shape).normal_(0.0, 1.0, generator=generator)
            with torch.no_grad():
                parameter.copy_(values.mul_(std))

    def n_params(self) -> int:
        """Number of trained values; a tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


class _ChunkedLoss(torch.autograd.Function):
    """Cross-entropy a few rows at a time, whose float32 copies stay in the processor's cache.

    Same numbers as `F.cross_entropy`, half the time and a third of the memory on a CPU. Per row:
    loss = logsumexp(logits) - logits[target]; its gradient = softmax(logits) - onehot(target).
    """

    N_ROWS = 64

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, V), targets (N) -> the sum, float32."""
        rows = logits.split(_ChunkedLoss.N_ROWS)
        log_sums = torch.cat([row.float().logsumexp(dim=-1) for row in rows])  # (N)
        ctx.save_for_backward(logits, targets, log_sums)
        chosen = logits.gather(-1, targets.clamp(min=0)[:, None]).squeeze(-1).float()
        return (log_sums - chosen).masked_fill(targets == IGNORED, 0.0).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        """The gradient of the logits, in their precision."""
        logits, targets, log_sums = ctx.saved_tensors
        result = torch.empty_like(logits)
        parts = (x.split(_ChunkedLoss.N_ROWS) for x in (logits, targets, log_sums, result))
        for row, target, log_sum, out in zip(*parts, strict=True):
            softmax = (row.float() - log_sum[:, None]).exp_()
            softmax[torch.arange(len(target)), target.clamp(min=0)] -= 1.0
            weight = gradients[0].masked_fill(target == IGNORED, 0.0)  # (N)
            out.copy_(softmax.mul_(weight[:, None]))
        return result, None


def lesson(ids: Tensor, eos_id: int | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """What windows of ids (B, T + 1) teach.

    Args:
        ids: the windows.
        eos_id: the end of documents that are kept apart; None reads over their borders.

    Returns:
        Inputs (B, T), targets (B, T) and the number of each input's document (B, T) or None. Where
        documents are apart nothing foretells how one begins: that target is ``IGNORED``.
    """
    inputs, targets = ids[:, :-1], ids[:, 1:]
    if eos_id is None:
        return inputs, targets, None
    is_end = inputs == eos_id
    documents = is_end.cumsum(dim=1) - is_end.long()  # an [EOS] belongs to what it ends
    return inputs, targets.masked_fill(is_end, IGNORED), documents


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy summed over all tokens, in nats, computed in float32.

    Args:
        logits: (B, T, V).
        targets: ids of the next tokens (B, T); those that are ``IGNORED`` do not count.
    """
    logits, targets = logits.flatten(0, 1), targets.flatten()
    if logits.is_cuda:  # there many small steps would cost more than they save
        return F.cross_entropy(logits.float(), targets, reduction="sum")
    loss: Tensor = _ChunkedLoss.apply(logits, targets)
    return loss

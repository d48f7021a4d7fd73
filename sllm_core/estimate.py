"""Numbers known before a run: parameters, memory, steps, disk. Exact where they can be."""

from dataclasses import dataclass, replace

from sllm_core.config import ModelConfig, TrainConfig, resolve_optimizer

BF16_SHARE = 0.5  # activations in bf16 beside float32


@dataclass(frozen=True)
class Parameters:
    """Trained values of a model, by part."""

    embedding: int
    position: int
    attention: int
    mlp: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All of them; equals the sum of ``numel`` of the built model."""
        parts = (self.embedding, self.position, self.attention, self.mlp, self.norms, self.head)
        return sum(parts)


def count_parameters(config: ModelConfig) -> Parameters:
    """Exact count by part; ``vocab_size`` must be known. Classic is the formula of SPEC 8."""
    c = config.resolve()
    assert c.vocab_size
    assert c.n_kv_heads
    assert c.head_dim
    assert c.d_ff
    is_classic = c.style == "classic"
    width, d_qkv = c.n_heads * c.head_dim, (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
    attention = c.d_model * d_qkv + width * c.d_model + (d_qkv + c.d_model if c.bias else 0)
    n_matrices = 2 if is_classic else 3
    mlp = n_matrices * c.d_model * c.d_ff
    if c.bias:
        mlp += (n_matrices - 1) * c.d_ff + c.d_model
    norm = 2 * c.d_model if is_classic else c.d_model
    per_layer_norms = 2 * norm + (2 * c.head_dim if c.style == "modern" else 0)
    return Parameters(
        embedding=c.vocab_size * c.d_model,
        position=c.max_seq_len * c.d_model if is_classic else 0,
        attention=c.n_layers * attention,
        mlp=c.n_layers * mlp,
        norms=c.n_layers * per_layer_norms + norm,
        head=0 if c.tied_head else c.vocab_size * c.d_model,
    )


@dataclass(frozen=True)
class Memory:
    """Bytes a training step holds, by part."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All parts together."""
        parts = (self.weights, self.gradients, self.optimizer, self.activations, self.logits)
        return sum(parts)


def estimate_memory(
    config: ModelConfig, micro_batch_size: int, seq_len: int, *, train: TrainConfig, is_half: bool
) -> Memory:
    """Static bytes are exact (float32 weights); activations follow ENGINE 4.6's shape."""
    c, n = config.resolve(), count_parameters(config)
    assert c.vocab_size
    assert c.d_ff
    optimizer = optimizer_bytes(c, resolve_optimizer(train.optimizer, c.style))
    tokens, item = micro_batch_size * seq_len, 2 if is_half else 4
    per_block = tokens * (14 * c.d_model + 3 * c.d_ff) * item
    layers = 1 if train.gradient_checkpointing else c.n_layers
    stream = tokens * c.d_model * 4 * c.n_layers
    mask = tokens * seq_len * (2 + item) if train.document_masking else 0  # made once a forward
    return Memory(
        weights=4 * n.total + (2 * n.total if is_half else 0),
        gradients=4 * n.total,
        optimizer=optimizer,
        activations=per_block * layers + stream + mask,
        logits=tokens * c.vocab_size * (8 + item),
    )


def optimizer_bytes(config: ModelConfig, optimizer: str) -> int:
    """Float32 states: two a parameter, one for the matrices that muon has (never biases)."""
    matrices = 0
    if optimizer == "muon":
        n = count_parameters(replace(config, bias=False))
        matrices = n.attention + n.mlp
    return 8 * count_parameters(config).total - 4 * matrices


def default_learning_rate(optimizer: str, d_model: int) -> float:
    """Muon 0.02 (ENGINE 4.4); AdamW falls with width, as GPT-3's table 2.1 does."""
    if optimizer == "muon":
        return 0.02
    return next(
        rate
        for width, rate in ((256, 1e-3), (512, 6e-4), (1024, 3e-4), (1 << 30, 2e-4))
        if d_model <= width
    )


def default_batch_size(d_model: int, seq_len: int, train_tokens: int) -> int:
    """Windows an update: enough tokens for Muon's fixed cost (50 d_model), yet many updates."""
    wish = max(50 * d_model, 8192)
    most = max(seq_len, train_tokens // 100)  # at least a hundred updates a pass
    return max(1, min(wish, most) // seq_len)


def resolve_training(
    train: TrainConfig, model: ModelConfig, train_tokens: int, n_windows: int
) -> TrainConfig:
    """Fill in every open field that follows from shape and data (not from the machine)."""
    optimizer = resolve_optimizer(train.optimizer, model.style)
    batch = train.batch_size or default_batch_size(model.d_model, train.seq_len, train_tokens)
    batch = min(batch, n_windows)  # an update never sees a window twice
    has_limit = any((train.epochs, train.max_steps, train.max_tokens, train.max_time_s))
    epochs = train.epochs
    if not has_limit:
        wanted = 20 * count_parameters(model).total / max(1, train_tokens)
        epochs = min(20.0, max(1.0, float(round(wanted))))
    schedule = train.schedule
    if schedule == "auto":
        schedule = "wsd" if train.max_time_s else "cosine"
    return replace(
        train,
        optimizer=optimizer,
        batch_size=batch,
        stride=train.stride or train.seq_len,
        epochs=epochs,
        schedule=schedule,
        learning_rate=train.learning_rate or default_learning_rate(optimizer, model.d_model),
        weight_decay=(0.0 if optimizer == "muon" else 0.1)
        if train.weight_decay is None
        else train.weight_decay,
    )


def count_steps(train: TrainConfig, n_windows: int) -> int | None:
    """Updates until the first limit; None when only time limits the run."""
    assert train.batch_size
    limits = []
    if train.epochs:
        limits.append(int(train.epochs * n_windows) // train.batch_size)
    if train.max_steps:
        limits.append(train.max_steps)
    if train.max_tokens:
        limits.append(train.max_tokens // (train.batch_size * train.seq_len))
    return min(limits) if limits else None


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` that is not above ``limit`` (at least 1)."""
    return next(d for d in range(max(1, min(number, limit)), 0, -1) if number % d == 0)


def checkpoint_bytes(config: ModelConfig, optimizer: str) -> int:
    """Size of one checkpoint: float32 weights and the optimizer's state."""
    return 4 * count_parameters(config).total + optimizer_bytes(config, optimizer)

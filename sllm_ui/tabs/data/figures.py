"""What the Data tab says about the data, worked out from settings and facts. Pure functions."""

from dataclasses import asdict, dataclass, replace

from sllm_core import advice, estimate, fmt
from sllm_core.config import (
    NO_ENDING,
    TEXT_EXTENSIONS,
    DataConfig,
    ModelConfig,
    ProjectConfig,
    TokenizerConfig,
)
from sllm_core.messages import VocabularySizes
from sllm_ui.facts import Facts
from sllm_ui.tabs.data.reasons import REASONS

HUGE_BYTES = 1 << 30  # above, 3 % of the documents are kept for validation instead of 10 %
USUAL_AIM = 20  # tokens a parameter (arXiv 2203.15556)
MOST_CHIPS = 23  # beside that of names without an ending
FEW = 10  # tokens a parameter: amber below
BYTE_VOCAB = advice.PLAIN_BYTES
TEXT_TYPES = (
    ".txt", ".md", ".rst", ".tex", ".bib", ".html", ".htm", ".epub", ".docx", ".pdf", ".srt", ".po",
    ".csv", ".tsv", ".parquet", ".log",
)  # fmt: skip
CODE_TYPES = tuple(
    ".py .pyi .ipynb .c .h .cc .cpp .hpp .rs .go .java .js .mjs .ts .tsx .jsx .cs .rb .php .css .json "
    ".jsonl .xml .yaml .yml .toml .ini .cfg .sql .sh .bash .bat .ps1 .kt .swift .scala .lua .pl .r "
    ".jl .hs .ml .ex .erl .clj .lisp .vim .cmake .asm .s .proto".split()
)
TYPE_SETS: dict[str, tuple[str, ...]] = {
    "Text": TEXT_TYPES,
    "Code": CODE_TYPES,
    "Text and code": TEXT_EXTENSIONS,
    "All": ("*",),
}
USUAL_TYPES = (".txt", ".md", ".py", ".rst", ".html", ".js", ".json", ".c", ".java", ".csv")
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


TILES = ("Files", "Size", "Tokens", "Windows", "Tokens per parameter")


@dataclass(frozen=True)
class TileText:
    """One figure at the head of the page."""

    label: str
    value: str = "-"
    note: str = ""
    tone: str = "fg"
    tip: str = ""


@dataclass(frozen=True)
class Chip:
    """A file type that is read or not."""

    name: str
    is_on: bool
    files: int = 0  # used files of that type in the last scan


@dataclass(frozen=True)
class TypeRow:
    """A bar of the chart of file types."""

    name: str
    size: int
    text: str


@dataclass(frozen=True)
class SizeRow:
    """One size of the vocabulary, as the table shows it."""

    size: int
    name: str
    each: str  # bytes a token
    part: str  # of the parameters
    never: str
    rare: str
    is_advised: bool


@dataclass(frozen=True)
class SizesView:
    """Vocabulary sizes side by side, or how far measuring them is."""

    rows: tuple[SizeRow, ...] = ()
    advised: int = 0
    reason: str = ""
    note: str = ""
    is_on: bool = False
    step: str = ""
    share: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class ReasonRow:
    """How many files were not used for one reason."""

    reason: str
    state: str  # skipped | failed
    label: str
    meaning: str
    n: int


# -- sizes, shares, lists ---------------------------------------------------------------------


def split_size(n_bytes: int, unit: str = "") -> tuple[str, str]:
    """A size as (number, unit) for a form: in ``unit``, or in the largest that divides it."""
    if unit not in UNITS:
        fitting = [name for name, factor in UNITS.items() if n_bytes and n_bytes % factor == 0]
        unit = fitting[-1] if fitting else "B"
    return f"{n_bytes / UNITS[unit]:.10g}", unit


def join_size(text: str, unit: str) -> int:
    """Bytes from a number and a unit; the number may carry its own (``2 MB``).

    Raises:
        ValueError: it is no number.
    """
    word = text.strip().replace(",", "").replace("_", "").lower()
    for name, factor in reversed(UNITS.items()):
        for ending in (name.lower(), name.lower().replace("i", "")):
            if word.endswith(ending) and word != ending:
                return _whole(float(word.removesuffix(ending)) * factor)
    return _whole(float(word) * UNITS[unit])


def share(part: int, whole: int) -> str:
    """``4.1 %``: one place, for a share of one in a hundred matters here."""
    value = 100 * part / whole
    return f"{value:.1f} %" if 0 < value < 9.95 else f"{value:.0f} %"


def percent(share: float) -> str:
    """0.1 -> ``10 %``."""
    return f"{100 * share:.0f} %"


def _whole(value: float) -> int:
    if not abs(value) < 1e18:  # not a number is no smaller either
        raise ValueError(f"{value} is no size")
    return round(value)


def parse_share(text: str) -> float | None:
    """``10`` or ``10 %`` -> 0.1; ``auto`` or nothing -> None.

    Raises:
        ValueError: it is no number.
    """
    word = text.strip().removesuffix("%").strip().lower()
    return None if word in {"", "auto", "automatic"} else float(word) / 100


def share_text(share: float | None) -> str:
    """0.1 -> ``10``; None -> ``auto``."""
    return "auto" if share is None else f"{100 * share:.6g}"


def parse_most(text: str) -> int | None:
    """``10k``, ``10,000`` -> 10000; ``all`` or nothing -> None.

    Raises:
        ValueError: it is no whole number.
    """
    word = text.strip().lower().replace(",", "").replace("_", "").replace(" ", "")
    if word in {"", "all", "allfiles", "auto"}:
        return None
    factor = {"k": 1000, "m": 1_000_000}.get(word[-1], 1)
    value = float(word.rstrip("km")) * factor
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


def most_text(most: int | None) -> str:
    """10000 -> ``10,000``; None -> ``all``."""
    return "all" if most is None else f"{most:,}"


def clean_type(text: str) -> str:
    """A file type as the settings take it: ``TXT``, ``*.txt`` -> ``.txt``.

    Raises:
        ValueError: it cannot be the ending of a file name.
    """
    word = text.strip().lower().removeprefix("*")
    if not word and "*" in text:
        return "*"
    if word == NO_ENDING:
        return NO_ENDING
    if word and not word.startswith("."):
        word = f".{word}"
    is_bad = not 2 <= len(word) <= 20 or any(c in '*?/\\:"<>|, ' for c in word)
    if is_bad or fmt.path_text(f"_{word}") != f"_{word}":
        raise ValueError("a file type is an ending such as .txt")
    return word


# -- file types -------------------------------------------------------------------------------


def chips(
    on: tuple[str, ...], kinds: tuple[tuple[str, int, int], ...], touched: tuple[str, ...],
    *, is_open: bool,
) -> tuple[Chip, ...]:  # fmt: skip
    """The file types to choose from: those found and those touched, or all when opened."""
    found = {name or NO_ENDING: n for name, n, _ in kinds if name.startswith(".") or not name}
    every = "*" in on
    own = [name for name in on if name not in TEXT_EXTENSIONS]
    names = [*found, *own, *touched]
    if not set(found) - {NO_ENDING}:
        names += [name for name in USUAL_TYPES if name in on or every]
    if is_open:
        names += TEXT_EXTENSIONS
    names = list(dict.fromkeys(name for name in names if name not in {"*", NO_ENDING}))
    if not is_open:
        names = names[:MOST_CHIPS]
    names.append(NO_ENDING)
    return tuple(Chip(name, every or name in on, found.get(name, 0)) for name in names)


def toggled_types(
    on: tuple[str, ...], name: str, kinds: tuple[tuple[str, int, int], ...]
) -> tuple[str, ...]:
    """The list with one type switched; out of ``*`` it becomes all known types but this one."""
    if "*" in on:
        found = tuple(kind for kind, _, _ in kinds if kind.startswith("."))
        every = dict.fromkeys((*TEXT_EXTENSIONS, *found, NO_ENDING))
        return tuple(kind for kind in every if kind != name)
    return tuple(kind for kind in on if kind != name) if name in on else (*on, name)


def type_set(on: tuple[str, ...]) -> str:
    """The name of the quick set that these types are, or ''."""
    return next((name for name, kinds in TYPE_SETS.items() if set(kinds) == set(on)), "")


def type_rows(kinds: tuple[tuple[str, int, int], ...], most: int = 8) -> tuple[TypeRow, ...]:
    """Bars of the largest types, the rest in one."""
    if len(kinds) > most + 1:
        rest = kinds[most:]
        n, size = sum(kind[1] for kind in rest), sum(kind[2] for kind in rest)
        kinds = (*kinds[:most], (f"{len(rest)} more", n, size))
    return tuple(_type_row(fmt.path_text(name) or NO_ENDING, n, size) for name, n, size in kinds)


def _type_row(name: str, n: int, size: int) -> TypeRow:
    return TypeRow(name, size, f"{n:,} {'file' if n == 1 else 'files'}   {fmt.size(size)}")


# -- tokens -----------------------------------------------------------------------------------


def is_current(facts: Facts, tokenizer: TokenizerConfig) -> bool:
    """Whether the prepared data is that of the present files and of the tokenizer as set."""
    return (
        facts.is_same_text
        and is_tokenizer_current(facts, tokenizer)
        and facts.data_tokenizer == facts.tokenizer_sha256
    )


def is_tokenizer_current(facts: Facts, tokenizer: TokenizerConfig) -> bool:
    """Whether the tokenizer that is there is the one that the settings ask for."""
    if facts.vocab_size is None:
        return False
    wish = tuple(sorted(asdict(tokenizer).items()))
    return facts.is_tokenizer_imported or wish == facts.tokenizer_wish


def with_lock(facts: Facts, tokenizer: TokenizerConfig, *, is_locked: bool) -> Facts:
    """Facts in which a tokenizer that checkpoints hold on to is the one that is asked for."""
    if not is_locked:
        return facts
    return replace(facts, tokenizer_wish=tuple(sorted(asdict(tokenizer).items())))


def guess_bytes_per_token(facts: Facts, vocab_size: int) -> float:
    """Measured on the prepared data where the vocabulary is the same, else worked out from it."""
    measured = facts.bytes_per_token
    known = (facts.vocab_size, measured) if measured and facts.vocab_size else None
    return advice.bytes_per_token(vocab_size, known)


def planned_vocab(facts: Facts, tokenizer: TokenizerConfig) -> int:
    """The vocabulary that training will have."""
    if facts.vocab_size and is_tokenizer_current(facts, tokenizer):
        return facts.vocab_size
    return fitting_vocab(tokenizer.target_vocab_size, facts.text_bytes)


def fitting_vocab(target: int, text_bytes: int) -> int:
    """What `tokenizer.advise_vocab_size` will answer: 200 bytes of text a token at least."""
    most = max(BYTE_VOCAB, text_bytes // 200)
    if target <= most:
        return target
    return most if most >= BYTE_VOCAB + 64 else BYTE_VOCAB


def count_windows(n_tokens: int, seq_len: int, stride: int) -> int:
    """Training windows in so many tokens, as `dataset.Windows` counts them."""
    last = n_tokens - seq_len - 1
    if last < 0:
        return 0
    max_offset = min(stride - 1, last) if last >= stride else 0
    return (last - max_offset) // stride + 1


def val_share(config: DataConfig, text_bytes: int) -> float:
    """The share that is kept for validation."""
    if config.val_split is not None:
        return config.val_split
    return 0.03 if text_bytes > HUGE_BYTES else 0.10


def tiles(config: ProjectConfig, facts: Facts) -> tuple[TileText, ...]:
    """Files, size, tokens, windows, tokens a parameter."""
    if not facts.is_scanned:
        waiting = "after a scan"
        return tuple(TileText(label, note=waiting, tip=TIPS[label]) for label in TILES)
    vocab = planned_vocab(facts, config.tokenizer)
    is_exact = is_current(facts, config.tokenizer)
    each = guess_bytes_per_token(facts, vocab)
    n_tokens = facts.tokens if is_exact and facts.tokens else round(facts.text_bytes / each)
    share = val_share(config.data, facts.text_bytes)
    train = facts.train_tokens if is_exact and facts.train_tokens else round(n_tokens * (1 - share))
    stride = config.train.stride or config.train.seq_len
    windows = count_windows(train, config.train.seq_len, stride)
    found = "file" if facts.listed == 1 else "files"
    return (
        TileText(
            "Files", f"{facts.used:,}", f"of {facts.listed:,} {found} found",
            "fg" if facts.used else "warn", TIPS["Files"],
        ),
        TileText("Size", fmt.size(facts.text_bytes), "of text in use", tip=TIPS["Size"]),
        TileText(
            "Tokens",
            fmt.count(n_tokens) if is_exact or not n_tokens else f"~{fmt.count(n_tokens)}",
            f"exact, {facts.bytes_per_token:.2f} bytes each"
            if is_exact and facts.bytes_per_token
            else f"about: estimated at {each:.2f} bytes",
            tip=TIPS["Tokens"],
        ),
        TileText(
            "Windows", f"{windows:,}" if windows < 10_000_000 else fmt.count(windows),
            f"{config.train.seq_len:,} tokens, step {stride:,}",
            "fg" if windows else "warn", TIPS["Windows"],
        ),
        _per_parameter(config.model, vocab, train),
    )  # fmt: skip


TIPS = {
    "Files": "Files that are read, of all that lie in the sources.",
    "Size": "Text in these files, in UTF-8, after cleaning.",
    "Tokens": "Pieces of text the model will read. Exact once the data is prepared.",
    "Windows": "Pieces of the training text that are read at once: the window and stride of the "
    "Train tab.",
    "Tokens per parameter": "Training text, read once, beside the size of the model. About "
    f"{USUAL_AIM} over all passes is the usual aim: the Train tab counts every pass.",
}


def _per_parameter(model: ModelConfig, vocab: int, train_tokens: int) -> TileText:
    n = estimate.count_parameters(replace(model, vocab_size=vocab)).total
    ratio = train_tokens / n
    return TileText(
        "Tokens per parameter",
        f"{ratio:.3g}" if ratio < 1000 else fmt.count(ratio),
        "one pass; Train counts all passes",
        "warn" if ratio < FEW else "fg",
        f"{TIPS['Tokens per parameter']}\nThe model as set has {fmt.count(n)} parameters.",
    )


# -- files that are not used ------------------------------------------------------------------


def reason_rows(facts: Facts) -> tuple[ReasonRow, ...]:
    """Counts by reason, most first."""
    return tuple(
        ReasonRow(reason, state, *REASONS.get(reason, (reason, "")), n=n)
        for state, reason, n in facts.reasons
    )


def account(facts: Facts) -> str:
    """A sentence such as ``3,412 files listed = 3,220 used + 190 skipped + 2 failed.``."""
    if not facts.is_scanned:
        return "Not scanned yet."
    return (
        f"{facts.listed:,} {'file' if facts.listed == 1 else 'files'} listed = {facts.used:,} used "
        f"+ {facts.skipped:,} skipped + {facts.failed:,} failed."
    )


# -- tokenizer --------------------------------------------------------------------------------


def vocab_advice(config: ProjectConfig, facts: Facts) -> tuple[str, int]:
    """A sentence about the vocabulary for this much text, and the size it proposes (0: as set)."""
    target, text_bytes = config.tokenizer.target_vocab_size, facts.text_bytes
    if facts.is_tokenizer_imported:
        target = facts.vocab_size or target
    if not facts.is_scanned or not text_bytes:
        return "Add text and scan: then this says which vocabulary suits it.", 0
    best = advice.vocabulary_for(text_bytes)
    fits = planned_vocab(facts, config.tokenizer)
    table = fits * config.model.d_model
    n = estimate.count_parameters(replace(config.model, vocab_size=fits)).total
    if fits <= BYTE_VOCAB < target:
        words = (
            f"{fmt.size(text_bytes)} of text are too few to learn a vocabulary from: plain bytes are "
            "used. From 66 KiB on, pieces of words can be learnt."
        )
        return words, 0
    words = f"For {fmt.size(text_bytes)} of text, about {best:,} tokens are a good size."
    if fits < target:
        words += f" {target:,} is more than it can fill: {fits:,} are made."
    else:
        words += f" {fits:,} take {fmt.count(table)} of {fmt.count(n)} parameters ({percent(table / n)})."
    is_fine = best / 2 <= target <= best * 2 or facts.is_tokenizer_imported
    return words, 0 if is_fine else best


def sizes_view(found: VocabularySizes) -> SizesView:
    """Measured vocabulary sizes as the table shows them."""
    rows = tuple(
        SizeRow(size, f"{size:,}", f"{each:.2f}", share_text_of(part), share_text_of(never),
                share_text_of(rare), size == found.advised)
        for size, each, part, never, rare in found.rows
    )  # fmt: skip
    note = f"Measured on {fmt.size(found.sample_bytes)} that the vocabularies were not learnt from."
    return SizesView(rows=rows, advised=found.advised, reason=found.reason, note=note)


def share_text_of(part: float) -> str:
    """0.041 -> ``4.1 %``."""
    return share(round(part * 10_000), 10_000)


# -- preview ----------------------------------------------------------------------------------


def token_ranges(
    content: str, ends: tuple[int, ...], n_tints: int, is_wide: bool
) -> list[list[str]]:
    """For each tint the Tk indices where its tokens begin and end; newlines stay plain."""
    groups: list[list[str]] = [[] for _ in range(n_tints)]
    line, column, start = 1, 0, 0
    for i, end in enumerate(ends):
        group = groups[i % n_tints]
        for j, part in enumerate(content[start:end].split("\n")):
            if j:  # a tinted newline would run to the edge of the pane
                line, column = line + 1, 0
            if part:
                width = len(part) + (sum(c > "\uffff" for c in part) if is_wide else 0)
                group += (f"{line}.{column}", f"{line}.{column + width}")
                column += width
        start = end
    return groups

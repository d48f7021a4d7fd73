"""What a job says while it works: frozen messages, one JSON line each, the same everywhere.

The command line prints them with ``--json``, a run folder keeps them in ``events.jsonl``, the
window draws them. A number that is not known is None, never 0.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class Started:
    """A job began (or went on) in this process."""

    type: ClassVar[str] = "started"
    run: str
    kind: str
    pid: int


@dataclass(frozen=True)
class Log:
    """A sentence for the log; level is info, warning or error, code names a failure."""

    type: ClassVar[str] = "log"
    text: str
    level: str = "info"
    code: str = ""


@dataclass(frozen=True)
class Progress:
    """Work done of a named step; total is None while it is not known."""

    type: ClassVar[str] = "progress"
    step_name: str
    done: int
    total: int | None
    unit: str
    state: str = "running"  # running | done
    elapsed_s: float = 0.0
    n_bytes: int | None = None  # read so far, where done counts files


@dataclass(frozen=True)
class Scanned:
    """A scan ended; listed == used + skipped + failed."""

    type: ClassVar[str] = "scanned"
    listed: int
    used: int
    skipped: int
    failed: int
    used_bytes: int
    read_files: int
    reasons: dict[str, int]
    elapsed_s: float


@dataclass(frozen=True)
class TokenizerReady:
    """The tokenizer to use from now on."""

    type: ClassVar[str] = "tokenizer"
    path: str
    vocab_size: int
    sha256: str
    is_new: bool
    reason: str


@dataclass(frozen=True)
class Prepared:
    """Token files are complete."""

    type: ClassVar[str] = "prepared"
    dataset_id: str
    train_tokens: int
    val_tokens: int
    train_docs: int
    val_docs: int
    text_bytes: int
    encoded_docs: int
    cached_docs: int
    elapsed_s: float


@dataclass(frozen=True)
class Refined:
    """The used files are analysed: scores, copies, findings, and what the rules propose."""

    type: ClassVar[str] = "refined"
    files: int  # used, as listed now
    analysed: int  # texts measured anew; the others were known
    failed: int  # that could not be measured
    keep: int
    drop: int
    copy: int
    mask: int
    exact: int  # files whose text is there a second time
    near: int  # files almost the same as one that stays
    clusters: int  # groups of two and more
    held_back: int  # would bring trained-on text into validation
    secrets: int  # files
    emails: int  # files
    drop_bytes: int  # of the files proposed to go
    scores: tuple[int, ...]  # files at each score, 0 to 100
    reasons: dict[str, int]  # code -> files, most first
    languages: dict[str, int]  # of prose, '' is not sure
    elapsed_s: float


@dataclass(frozen=True)
class Removed:
    """Files were moved to `_trash`, or left out where they are; Undo takes the batch back."""

    type: ClassVar[str] = "removed"
    batch: int
    kind: str  # trash | exclude
    files: int
    n_bytes: int
    kept: dict[str, int]  # reason -> files that stayed where they are
    folder: str = ""  # where they went, of the first source


@dataclass(frozen=True)
class Restored:
    """A batch came back."""

    type: ClassVar[str] = "restored"
    batch: int
    kind: str
    files: int
    n_bytes: int
    kept: dict[str, int]  # reason -> files that could not come back


@dataclass(frozen=True)
class LeakReport:
    """How much of the checked documents stands in the training text too (13-word pieces)."""

    type: ClassVar[str] = "leaks"
    documents: int  # checked: validation, or the files that were named
    leaking: int  # with at least a tenth of their pieces in training
    identical: int  # whose whole text is a training document
    shared_clusters: int
    rows: tuple[tuple[str, float, str], ...]  # worst first: document, share, training document
    elapsed_s: float


@dataclass(frozen=True)
class VocabularySizes:
    """Vocabulary sizes side by side; a row: size, bytes per token, embedding share, unused, rare."""

    type: ClassVar[str] = "vocabulary_sizes"
    request: int
    rows: tuple[tuple[int, float, float, float, float], ...]
    advised: int
    reason: str
    sample_bytes: int
    elapsed_s: float


@dataclass(frozen=True)
class Columns:
    """Columns of a table, to choose the text from: name and a piece of what stands in it."""

    type: ClassVar[str] = "columns"
    request: int
    name: str
    columns: tuple[tuple[str, str], ...]
    chosen: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What will be trained and how, after every probe; total_steps may be revised by time."""

    type: ClassVar[str] = "plan"
    step: int
    total_steps: int
    warmup_steps: int
    reason: str
    n_params: int = 0
    tokens_per_step: int = 0
    steps_per_epoch: int = 0
    micro_batch_size: int = 0
    grad_accum_steps: int = 0
    precision: str = ""
    precision_reason: str = ""
    forecast_s: float | None = None


@dataclass(frozen=True)
class Step:
    """One update. Values are those before it; loss in nats a token."""

    type: ClassVar[str] = "step"
    step: int
    loss: float | None  # None when it is not finite; loss_hex then says nan or inf
    loss_hex: str
    grad_norm: float | None
    lr: float
    tokens: int
    data_pos: int
    epoch: int
    tokens_per_sec: float | None
    is_skipped: bool = False


@dataclass(frozen=True)
class Validation:
    """The loss on text that is never trained on."""

    type: ClassVar[str] = "validation"
    step: int
    epoch: int
    val_loss: float | None
    perplexity: float | None  # None when too large for a number
    val_bpb: float | None
    is_best: bool
    tokens: int


@dataclass(frozen=True)
class Sample:
    """What it writes now."""

    type: ClassVar[str] = "sample"
    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint exists on disk and would survive a power cut; path is relative."""

    type: ClassVar[str] = "saved"
    step: int
    path: str
    sha256: str
    size_bytes: int
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Resumed:
    """The run went on from a checkpoint; lines of later steps are superseded."""

    type: ClassVar[str] = "resumed"
    step: int
    path: str
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class StateChanged:
    """The run is now running, paused or waiting, and why."""

    type: ClassVar[str] = "state"
    state: str
    step: int
    reason: str = ""


@dataclass(frozen=True)
class Stopped:
    """The job ended because somebody asked; everything is saved."""

    type: ClassVar[str] = "stopped"
    step: int
    path: str
    reason: str


@dataclass(frozen=True)
class Done:
    """The job reached its end."""

    type: ClassVar[str] = "done"
    step: int = 0
    reason: str = ""
    val_loss: float | None = None
    best_val_loss: float | None = None
    val_bpb: float | None = None
    weights_sha256: str = ""
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class Failed:
    """The job ended with an error that a user can read."""

    type: ClassVar[str] = "failed"
    code: str
    text: str
    exit_code: int | None = None
    signal: str = ""
    last_lines: tuple[str, ...] = ()
    request: int = 0


@dataclass(frozen=True)
class Token:
    """A piece of text while it is being written."""

    type: ClassVar[str] = "token"
    request: int
    text: str


@dataclass(frozen=True)
class Generated:
    """A text is finished."""

    type: ClassVar[str] = "generated"
    text: str
    prompt: str
    n_tokens: int
    reason: str  # eos | stop | length | cancelled
    seed: int
    tokens_per_sec: float | None
    request: int = 0


@dataclass(frozen=True)
class Evaluated:
    """The loss of a text or of the validation side."""

    type: ClassVar[str] = "evaluated"
    name: str
    loss: float | None
    perplexity: float | None
    bpb: float | None
    n_tokens: int
    n_bytes: int


@dataclass(frozen=True)
class Verified:
    """A file was read whole and is what it should be, or not."""

    type: ClassVar[str] = "verified"
    path: str
    is_good: bool
    text: str
    code: str = ""


@dataclass(frozen=True)
class Preview:
    """The beginning of a file as training would read it, cut into tokens if there is a tokenizer."""

    type: ClassVar[str] = "preview"
    request: int
    name: str
    text: str  # '' when it holds none that can be used
    n_bytes: int  # of the file; 0 when it is not there
    encoding: str = ""
    is_converted: bool = False
    is_cut: bool = False  # the file goes on behind the text
    ends: tuple[int, ...] = ()  # token i is text[ends[i - 1]:ends[i]]; '' without a tokenizer
    n_tokens: int | None = None  # of the text shown
    reason: str = ""  # a stable word when the file is not used: binary, encoding, changed ...
    note: str = ""  # the same in a sentence, or that more follows


@dataclass(frozen=True)
class TokenCount:
    """How many tokens a text has; None without a tokenizer."""

    type: ClassVar[str] = "token_count"
    request: int
    n_tokens: int | None
    n_bytes: int = 0


@dataclass(frozen=True)
class TokenizerReport:
    """How well the tokenizer fits the project's own text, measured on a sample of its files."""

    type: ClassVar[str] = "tokenizer_report"
    request: int
    vocab_size: int
    bytes_per_token: float | None
    by_type: dict[str, float]  # bytes a token by file ending, the most text first
    longest_bytes: int
    longest_text: str
    n_never: int  # of the tokens that could be used
    n_rare: int  # used 1 to 9 times
    n_special: int
    advice: str
    split: str = ""
    engine: str = ""
    sample_files: int = 0
    sample_bytes: int = 0
    sample_tokens: int = 0
    counted_tokens: int = 0  # on which never and rare were counted
    digit_share: float | None = None  # of the sample's tokens
    blank_share: float | None = None
    byte_share: float | None = None  # tokens of a single byte
    doc_tokens_p50: int | None = None  # tokens of a usual document, and of the longest in 100
    doc_tokens_p99: int | None = None
    embedding_share: float | None = None  # of the parameters of the model as set
    gpt2_bytes_per_token: float | None = None  # GPT-2's split with as many tokens, on like text
    gpt2_note: str = ""
    line: str = ""  # of the user's text, to be shown in colours
    line_ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Probed:
    """What a trial step of these settings found on this machine; nothing was changed."""

    type: ClassVar[str] = "probed"
    request: int
    step_s: float
    tokens_per_sec: float
    micro_batch_size: int
    grad_accum_steps: int
    precision: str
    precision_reason: str
    device: str
    n_params: int
    peak_bytes: int | None  # measured on a GPU
    need_bytes: int  # by the memory model
    free_bytes: int
    total_steps: int | None
    forecast_s: float | None  # with validations, samples and saves left out
    reason: str


@dataclass(frozen=True)
class Proposal:
    """Settings chosen for this data on this machine; each name in ``values`` has its reason."""

    type: ClassVar[str] = "proposal"
    request: int
    values: dict[str, Any]  # by field name, as `config.with_values` takes them
    reasons: dict[str, str]
    summary: str
    n_params: int
    train_tokens: int
    is_estimated: bool  # the tokens are worked out from bytes
    tokens_per_sec: float
    total_steps: int
    forecast_s: float
    need_bytes: int
    free_bytes: int
    device: str
    machine: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunInfo:
    """One line of the list of runs."""

    type: ClassVar[str] = "run"
    run: str
    kind: str
    state: str
    step: int | None
    total_steps: int | None
    best_val_loss: float | None
    val_bpb: float | None
    elapsed_s: float | None
    name: str = ""  # what its owner calls it
    note: str = ""
    is_pinned: bool = False
    n_params: int | None = None
    tokens_per_sec: float | None = None
    started: float | None = None  # wall time of its first message


@dataclass(frozen=True)
class Finding:
    """One line of `doctor`."""

    type: ClassVar[str] = "finding"
    name: str
    level: str  # good | note | problem
    text: str


# Settings that change no number of the training itself: a run takes them over between two steps.
LIVE = ("val_interval", "save_interval", "sample_interval", "keep_last")


@dataclass(frozen=True)
class Desired:
    """What a job is asked to be: the one thing that goes down to it (`control.json`)."""

    state: str = "run"  # run | pause | stop
    save_now: int = 0  # one higher for each press of "Save now"
    reason: str = ""  # why it is asked to stop
    settings: dict[str, int] = field(default_factory=dict)  # some of LIVE


Message = (
    Started | Log | Progress | Scanned | TokenizerReady | Prepared | Plan | Step | Validation
    | Sample | Saved | Resumed | StateChanged | Stopped | Done | Failed | Token | Generated
    | Evaluated | Verified | RunInfo | Finding | Preview | TokenCount | TokenizerReport | Probed
    | Proposal | Refined | Removed | Restored | LeakReport | VocabularySizes | Columns
)  # fmt: skip
KINDS: dict[str, type] = {kind.type: kind for kind in Message.__args__}
# What lies in the one queue of an owner: who said it (a run id, or the name of a pipe, a thread),
# what (a message, or the frozen dataclass of that thread), and the wall time.
Item = tuple[str, Any, float]


def encode(message: Message, time: float) -> str:
    """One JSON line (with its newline) that carries the message's type and the wall time.

    Undecodable bytes of a path become ``\\udcff``, so that the line is always valid UTF-8.
    """
    values = dataclasses.asdict(message)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            values[key] = None  # NaN and infinity are no JSON
    body = {"type": message.type, "time": round(time, 3), **values}
    line = json.dumps(body, ensure_ascii=False, allow_nan=False)
    return line.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def _frozen(value: list[Any]) -> tuple[Any, ...]:
    """JSON knows lists only; messages hold tuples, rows of tables inside them too."""
    return tuple(_frozen(part) if isinstance(part, list) else part for part in value)


def decode(line: str | bytes) -> tuple[Message, float] | None:
    """The message and its time; None for a torn, foreign or newer line.

    Fields that this version does not know are left out, so that a newer writer can be read.
    """
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        body: dict[str, Any] = json.loads(line)
        kind = KINDS[body["type"]]
        names = {field.name: field for field in dataclasses.fields(kind)}
        values = {key: value for key, value in body.items() if key in names}
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = _frozen(value)
        message: Message = kind(**values)
        return message, float(body.get("time", 0.0))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None

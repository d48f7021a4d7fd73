"""What the Data tab says about jobs, the tokenizer and wrong values. Pure functions."""

from dataclasses import dataclass, replace

from sllm_core import fields, fmt
from sllm_core import messages as m
from sllm_core.config import ProjectConfig
from sllm_core.errors import ConfigError
from sllm_ui.facts import Facts
from sllm_ui.runstate import RunState
from sllm_ui.tabs.data import figures, source_rows
from sllm_ui.tabs.data.lists import File
from sllm_ui.tabs.data.reasons import clause

DATA_STEPS = ("reading", "tokenizer", "encoding")
BUSY = {
    "scan": "A scan is on.",
    "prepare": "The data is being prepared.",
    "clear": "The cache is being cleared.",
    "refine": "The files are being analysed.",
    "remove": "Files are being moved.",
    "restore": "Files are being put back.",
    "leaks": "Validation is being checked.",
}
STEP_WORDS = {"reading": "Read files", "tokenizer": "Tokenizer", "encoding": "Encode"}


@dataclass(frozen=True)
class StepText:
    """A step of the preparation: waiting, running, done or failed, and how far."""

    name: str
    state: str
    text: str


@dataclass(frozen=True)
class Job:
    """What is being done with the data, or was done last."""

    kind: str = ""  # scan | prepare | train; '' before the first
    is_live: bool = False
    is_stopping: bool = False
    text: str = ""
    share: float | None = None  # of the step that runs; None is not known
    tone: str = "muted"  # of the text
    steps: tuple[StepText, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is a job of this tab that is on now: Stop ends it."""
        return self.is_live and self.kind in {"scan", "prepare", "clear"}


@dataclass(frozen=True)
class PreviewView:
    """The file in the preview."""

    file: File | None = None
    record: int = 0  # of a table, from 0
    position: int = 0  # among the used files
    total: int = 0
    answer: m.Preview | None = None
    is_waiting: bool = False
    problem: str = ""


@dataclass(frozen=True)
class TokenizerView:
    """The state of the tokenizer, in words."""

    badge: str = "None"
    tone: str = "muted"
    hint: str = ""
    text: str = ""
    locked: str = ""  # why it cannot be replaced
    advice: str = ""
    proposal: int = 0  # a better vocabulary, 0 when the one set is fine
    is_outdated: bool = False  # the settings ask for another one


def describe_job(run: RunState | None, data_job: RunState | None) -> Job:
    """What is being done with the data, in words: a scan, a preparation, or a run that begins."""
    if run is not None and run.is_live:
        is_reading = run.current in DATA_STEPS and run.step is None
        if not is_reading:
            return Job("train", is_live=True)
        text = f"Training reads the data: {_progress_text(run)}"
        return Job("train", True, False, text, run.share(), "fg2", _steps(run))
    if data_job is None:
        return Job()
    if data_job.is_live:
        is_stopping = data_job.state == "stopping"
        text = "Stopping" if is_stopping else _progress_text(data_job)
        steps = _steps(data_job) if data_job.kind == "prepare" else ()
        return Job(data_job.kind, True, is_stopping, text, data_job.share(), "fg2", steps)
    text, tone = _outcome(data_job)
    steps = _steps(data_job) if data_job.kind == "prepare" else ()
    return Job(data_job.kind, False, False, text, None, tone, steps)


def _steps(run: RunState) -> tuple[StepText, ...]:
    made = []
    for name in DATA_STEPS:
        step = run.steps[name]
        text = ""
        if step.state == "done" and step.elapsed_s is not None:
            text = fmt.duration(step.elapsed_s) if step.elapsed_s >= 1 else "< 1 s"
        elif step.state == "running" and step.total:
            text = figures.percent(step.done / step.total)
        made.append(StepText(STEP_WORDS[name], step.state, text))
    return tuple(made)


def _progress_text(run: RunState) -> str:
    step = run.steps.get(run.current)
    if step is None or step.state != "running":
        return "Starting"
    word = {"reading": "Reading", "tokenizer": "Learning the tokenizer", "encoding": "Encoding"}
    verb = word.get(run.current, "Working")
    if step.unit == "bytes" and step.total:
        return f"{verb}: {fmt.size(step.done)} of {fmt.size(step.total)}"
    if step.total:
        read = f", {fmt.size(step.n_bytes)}" if step.n_bytes else ""
        return f"{verb}: {step.done:,} of {step.total:,} {step.unit}{read}"
    if run.current == "reading":
        return f"Listing: {step.done:,} files" if step.done else "Listing files"
    return f"{verb}: {step.done:,} {step.unit}".rstrip() if step.done else verb


def _outcome(job: RunState) -> tuple[str, str]:
    """How a scan or a preparation ended, as (words, tone)."""
    if isinstance(job.end, m.Failed):
        return job.end.text.split("\n")[0].rsplit(" [", 1)[0], "bad"
    if isinstance(job.end, m.Stopped):
        return "Stopped. What was done is kept.", "muted"
    found = job.scanned
    if job.kind == "scan" and found is not None and not found.listed:
        return "No file was found: the sources are empty, or all is left out.", "warn"
    if job.kind == "scan" and found is not None:
        if any(found.reasons.values()):
            return scanned_text(found), "good" if found.used else "warn"
        words = f"Scanned {found.listed:,} {_files(found.listed)} in {_took(found.elapsed_s)}"
        return f"{words}, {found.read_files:,} read anew.", "good"
    if job.kind == "prepare" and job.prepared is not None:
        return prepared_text(job.prepared), "good"
    return ("", "muted") if job.state != "interrupted" else ("It was interrupted.", "warn")


def scanned_text(found: m.Scanned) -> str:
    """Such as ``92 of 188 files used; 74 are of a file type that is switched off.``."""
    reason, n = max(found.reasons.items(), key=lambda item: item[1])
    return f"{found.used:,} of {found.listed:,} {_files(found.listed)} used; {n:,} {clause(reason, n)}."


def prepared_text(done: m.Prepared) -> str:
    """A sentence such as ``12 texts encoded, 3,208 from the cache, in 4 s: 35 M tokens.``."""
    total = done.train_tokens + done.val_tokens
    if not done.encoded_docs and not done.cached_docs:
        return f"Nothing had changed: {fmt.count(total)} tokens are ready."
    words = f"{done.encoded_docs:,} {'text' if done.encoded_docs == 1 else 'texts'} encoded"
    if done.cached_docs:
        words += f", {done.cached_docs:,} from the cache"
    return f"{words}, in {_took(done.elapsed_s)}: {fmt.count(total)} tokens."


def preview_words(view: PreviewView, look: str) -> str:
    """Characters, tokens, bytes a token and encoding of what is in view."""
    answer = view.answer
    if view.is_waiting and answer is None:
        return "Reading"
    if answer is None or view.problem:
        return ""
    if look == "raw":
        return answer.note or f"{answer.n_bytes:,} bytes"
    n_chars = f"{len(answer.text):,} characters"
    parts = [f"first {n_chars} of {fmt.size(answer.n_bytes)}" if answer.is_cut else n_chars]
    if answer.n_tokens:
        n_bytes = len(answer.text.encode("utf-8", "replace"))
        parts += [f"{answer.n_tokens:,} tokens", f"{n_bytes / answer.n_tokens:.2f} bytes per token"]
    parts.append(f"converted from {answer.encoding}" if answer.is_converted else answer.encoding)
    if answer.n_tokens is None and answer.text and look != "text":
        parts.append("no tokenizer yet, so no tokens")
    return "    ".join(filter(None, parts))


def sizes_advice(sizes: figures.SizesView, tokenizer: TokenizerView) -> str:
    """What the measured sizes say about the vocabulary; '' while none were measured."""
    if not sizes.advised or tokenizer.locked:
        return ""
    return (
        f"Measured on your text: with this model {sizes.advised:,} tokens cost the least work for "
        "each byte read."
    )


def source_words(row: source_rows.SourceRow) -> str:
    """The figures of a source in one line, as far as they are known."""
    if row.files == "-":
        return "Not scanned yet." if row.is_on else "Not read."
    parts = [f"{row.files} {'document' if row.files == '1' else 'documents'}", row.size]
    parts.append(f"{row.tokens} tokens")
    if row.each != "-":
        parts.append(f"{row.each} bytes per token")
    if row.copies != "-":
        parts += [f"{row.copies} copies", f"{row.low} of low quality"]
    return "    ".join(parts)


def columns_words(row: source_rows.SourceRow) -> str:
    """Which columns of a source's tables are read."""
    n = f"{row.no_columns:,} {'table waits' if row.no_columns == 1 else 'tables wait'}"
    waiting = f"{n} for text columns. " if row.no_columns else ""
    if row.columns:
        return f"{waiting}Text columns: {', '.join(map(fmt.path_text, row.columns))}"
    return f"{waiting}Text columns: found by their names"


def _files(n: int) -> str:
    return "file" if n == 1 else "files"


def _took(seconds: float) -> str:
    return fmt.duration(seconds) if seconds >= 1 else "less than 1 s"


def describe_prepared(config: ProjectConfig, facts: Facts) -> tuple[str, str]:
    """Whether the token files are there and belong to the present files, as (words, tone)."""
    if facts.tokens is None:
        return "Not prepared yet. Starting a training run does it by itself.", "muted"
    if figures.is_current(facts, config.tokenizer):
        assert facts.train_tokens is not None
        train, val = fmt.count(facts.train_tokens), fmt.count(facts.val_tokens)
        return f"Up to date: {train} tokens to learn from, {val} for validation.", "good"
    is_written_so = facts.data_tokenizer == facts.tokenizer_sha256
    is_other_text = not replace(facts, unencoded=is_written_so * facts.unencoded).is_same_text
    is_tokenizer_kept = figures.is_tokenizer_current(facts, config.tokenizer) and is_written_so
    what = " and the ".join(
        ["files"] * bool(is_other_text) + ["tokenizer"] * (not is_tokenizer_kept)
    )
    return f"Out of date: the {what} changed since.", "warn"


def prepared_words(job: Job, prepared: str, tone: str) -> tuple[str, str]:
    """How the last preparation went, and what holds now, as (words, tone)."""
    is_about = job.kind == "prepare" or bool(job.steps)
    if is_about and (job.is_live or job.tone == "bad"):
        return job.text, job.tone
    is_over = job.tone == "good" and tone == "warn"  # something has changed since
    if is_about and job.text and not is_over:
        return f"{job.text}\n{prepared}", tone
    return prepared, tone


def describe_tokenizer(config: ProjectConfig, facts: Facts, *, is_locked: bool) -> TokenizerView:
    """State, lock and advice."""
    advice, proposal = figures.vocab_advice(config, facts)
    if facts.vocab_size is None:
        return TokenizerView(
            text="It is learnt from your text by Prepare data, or when training starts.",
            advice=advice,
            proposal=proposal,
        )
    reason = facts.tokenizer_reason
    badge, tone = ("Imported", "accent") if facts.is_tokenizer_imported else ("Trained", "good")
    hint = f"{facts.vocab_size:,} tokens"
    text = (
        ""
        if reason in {"", "trained, as set", "as before"}
        else f"{reason[0].upper()}{reason[1:]}."
    )
    is_outdated = not figures.is_tokenizer_current(facts, config.tokenizer)
    locked = ""
    if is_locked:
        badge, tone = "Locked by checkpoints", "warn" if is_outdated else "accent"
        locked = (
            "Checkpoints of this project were trained with this tokenizer. For another one make a "
            "new project (Duplicate settings)."
        )
        advice = locked
    if is_outdated and is_locked:
        text += " The settings below ask for another one; it stays, because checkpoints use it."
    elif is_outdated:
        badge, tone = "Outdated", "warn"
        text += " The settings below ask for another one: Prepare data makes it."
    return TokenizerView(
        badge, tone, hint, text.strip(), locked, advice, 0 if is_locked else proposal, is_outdated
    )


def explain(name: str, text: str, problem: Exception) -> str:
    """What a person is told beneath a field that cannot be."""
    if name == "val_split":
        return "A share from 0.1 to 50 %, or auto."
    if isinstance(problem, ConfigError):
        return fields.short(problem)
    if name == "max_files":
        return f"{text.strip()[:20]!r} is no number of files. Write for instance 10k, or all."
    return f"{text.strip()[:20]!r} is no size. Write a number such as 1.5."

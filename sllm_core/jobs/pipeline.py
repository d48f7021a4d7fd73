"""From sources to token files: scan, tokenizer, encoding; and the `Job` that every step gets.

Each step takes the project, a frozen configuration and a `Job` (messages up, wishes down), may be
called again after any interruption, and refuses stale inputs by hash.
"""

import contextlib
import dataclasses
import json
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sllm_core import (
    dataset,
    encode,
    fields,
    hardware,
    tokenizer,
)
from sllm_core.config import SECTIONS, ProjectConfig
from sllm_core.corpus import division as divisions
from sllm_core.corpus import groups
from sllm_core.corpus.clean import clean_key
from sllm_core.corpus.division import Division, Units
from sllm_core.corpus.index import Index
from sllm_core.corpus.journal import Journal
from sllm_core.corpus.recovery import recover
from sllm_core.corpus.sources import Scanner
from sllm_core.corpus.store import Texts
from sllm_core.dataset import Manifest
from sllm_core.errors import (
    Cancelled,
    DataError,
    TokenizerError,
)
from sllm_core.jobs.runner import PipeProcess
from sllm_core.ledger import Ledger
from sllm_core.messages import (
    Desired,
    Done,
    Failed,
    Log,
    Message,
    Prepared,
    Progress,
    Scanned,
    TokenizerReady,
)
from sllm_core.project import Project, write_text
from sllm_core.tokenizer import Tokenizer

_PROGRESS_S = 0.1
_OF_TOKENIZER = ("tokenizer", "data", "clean", "refine")  # what its training depends on
_PHASES = {"merging": "The sample is read; the tokenizer merges pairs now."}


@dataclass
class Job:
    """One piece of work in this process: where messages go and wishes come from."""

    emit: Callable[[Message], None]
    desired: Callable[[], Desired] = Desired
    _last: float = field(default=0.0, repr=False)

    def check(self) -> None:
        """Raise `Cancelled` when the work should stop."""
        if self.desired().state == "stop":
            raise Cancelled(self.desired().reason or "stopped by you")

    def progress(
        self, name: str, done: int, total: int | None, unit: str, n_bytes: int | None = None
    ) -> None:
        """Tell work done, ten times a second at most."""
        now = time.monotonic()
        if now - self._last >= _PROGRESS_S:
            self._last = now
            self.emit(Progress(name, done, total, unit, n_bytes=n_bytes))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One of the named steps: its beginning, its end and how long it took."""
        begun = time.monotonic()
        self.emit(Progress(name, 0, None, "", "running"))
        yield
        self.emit(Progress(name, 1, 1, "", "done", time.monotonic() - begun))


def scan(project: Project, config: ProjectConfig, job: Job, *, is_forced: bool = False) -> Scanned:
    """List every file of the sources; only new and changed ones are read.

    Args:
        is_forced: read all of them again: a date may lie.

    Raises:
        DataError: no source, or one that cannot be listed.
        Cancelled: on Stop.
    """
    begun = time.monotonic()
    with job.step("reading"), Index(project.db_path) as index:
        recover(
            Texts.of(project, config).roots, Journal(index)
        )  # a move that was cut off is brought to an end first
        scanner = Scanner(
            project,
            config,
            index,
            on_progress=lambda listed, done, total: job.progress(
                "reading", done if total else listed, total, "files", scanner.count.read_bytes
            ),
            check=job.check,
            is_forced=is_forced,
        )
        totals = scanner.run()
    by_state = dict.fromkeys(("used", "skipped", "failed"), 0)
    for (state, _), n in totals.items():
        by_state[state] += n
    return Scanned(
        listed=sum(by_state.values()),
        **by_state,
        used_bytes=scanner.count.used_bytes,
        read_files=scanner.count.read,
        reasons={reason: n for (_, reason), n in sorted(totals.items()) if reason},
        elapsed_s=time.monotonic() - begun,
    )


def prepare(
    project: Project,
    config: ProjectConfig,
    job: Job,
    *,
    tokenizer_file: Path | None = None,
    is_vocab_asked: bool = False,
) -> tuple[Manifest, Tokenizer]:
    """Scan, near copies, tokenizer, token files; each only as far as something changed.

    Args:
        tokenizer_file: a `tokenizer.json` to import instead of training one.
        is_vocab_asked: the user wants this vocabulary now, so a tokenizer in use is replaced.

    Raises:
        DataError: no text.
        TokenizerError: the file cannot be used, or checkpoints hold on to the present one.
        DiskError: the disk is full; what was there before is unchanged.
        Cancelled: on Stop; what was encoded is not lost.
    """
    job.emit(scan(project, config, job))
    texts = Texts.of(project, config)
    with Index(project.db_path) as index:
        with job.step("comparing"):
            if not groups.is_grouped(index, config.refine.near_threshold):
                compare(project, config, index, texts, job)
        units, division = divide(index, config)
        if not len(units):
            raise DataError(
                "EMPTY",
                "None of the listed files can be used.",
                todo="See why in the list of skipped files, or widen file types and sizes.",
            )
        with job.step("tokenizer"):
            used = _tokenizer(project, config, units, job, tokenizer_file, is_vocab_asked)
        with job.step("encoding"):
            manifest = _encode(project, config, index, (texts, units, division), used, job)
    return manifest, used


def compare(
    project: Project, config: ProjectConfig, index: Index, texts: Texts, job: Job
) -> groups.Groups:
    """Which texts are near copies: they go to one side of the split together."""
    groups.sign(
        index, texts, hardware.default_threads(), check=job.check,
        on_progress=lambda done, total: job.progress("comparing", done, total, "files"),
    )  # fmt: skip
    found = groups.group(
        project, index, texts, config.refine.near_threshold, share(index, config),
        check=job.check,
        on_progress=lambda done, total: job.progress("comparing", done, total, "steps"),
    )  # fmt: skip
    if n := int(found.held.sum()):
        words = "1 text is" if n == 1 else f"{n:,} texts are"
        job.emit(
            Log(
                f"{words} held back: near copies of them lie in training and in validation. "
                "They are listed with the reason would-leak.",
                "warning",
            )
        )
    return found


def share(index: Index, config: ProjectConfig) -> float:
    """The share of validation for the present text."""
    query = "SELECT COALESCE(SUM(text_bytes), 0) FROM files WHERE state = 'used'"
    return divisions.choose_share(config.data.val_split, int(next(index.read(query))[0]))


def divide(index: Index, config: ProjectConfig) -> tuple[Units, Division]:
    """The used files, and on which side each lies."""
    units, part = divisions.read_units(index), share(index, config)
    return units, divisions.divide(units, part, divisions.read_known(index, part))


def _encode(
    project: Project,
    config: ProjectConfig,
    index: Index,
    corpus: tuple[Texts, Units, Division],
    used: Tokenizer,
    job: Job,
) -> Manifest:
    begun = time.monotonic()
    texts, units, division = corpus
    manifest = dataset.load_manifest(project)
    encoded = cached = 0
    if manifest is None or not _is_current(project, config, units, division, used, job):
        _prove(
            project, used, job, lambda: encode.sample_texts(index, texts, units, division, 400_000)
        )
        builder = encode.Builder(
            project,
            index,
            used,
            texts=texts,
            units=units,
            division=division,
            threads=hardware.default_threads(),
            on_progress=lambda done, total: job.progress("encoding", done, total, "bytes"),
            check=job.check,
        )
        manifest = builder.build()
        encoded, cached = builder.encoded_docs, builder.cached_docs
    job.emit(
        Prepared(
            dataset_id=manifest.dataset_id,
            train_tokens=manifest.train_tokens,
            val_tokens=manifest.val_tokens,
            train_docs=manifest.train_docs,
            val_docs=manifest.val_docs,
            text_bytes=manifest.train_text_bytes + manifest.val_text_bytes,
            encoded_docs=encoded,
            cached_docs=cached,
            elapsed_s=time.monotonic() - begun,
        )
    )
    return manifest


def _prove(
    project: Project, used: Tokenizer, job: Job, sample: Callable[[], Iterator[str]]
) -> None:
    """Compare the fast encoder with the exact one on the user's text; a proof is kept."""
    report = _read_report(project)
    proof = [used.sha256, used.engine, used.engine_version]
    if report.get("proof") == proof:
        return
    if used.prove_engine(sample()):
        path = project.tokenizer_dir / "report.json"
        write_text(path, json.dumps(report | {"proof": proof}, indent=2) + "\n")
    else:
        job.emit(Log(f"The fast encoder differs on your text; {used.engine} is used.", "warning"))


def _is_current(
    project: Project,
    config: ProjectConfig,
    units: Units,
    division: Division,
    used: Tokenizer,
    job: Job,
) -> bool:
    manifest = dataset.load_manifest(project)
    key = clean_key(config.clean)
    if manifest is None or not encode.is_current(project, units, division, used, key):
        return False
    try:
        dataset.check_files(project, manifest)
    except DataError as problem:
        job.emit(Log(f"{problem.what} They are written again.", "warning", problem.code))
        return False
    return True


def _tokenizer(
    project: Project,
    config: ProjectConfig,
    units: Units,
    job: Job,
    file: Path | None,
    is_vocab_asked: bool,
) -> Tokenizer:
    """The project's tokenizer: kept, imported or trained."""
    path = project.tokenizer_dir / "tokenizer.json"
    wish = dataclasses.asdict(config.tokenizer)
    report = _read_report(project)
    is_there = path.exists()
    if file is None and is_there:
        present = tokenizer.load(path)
        is_same = report.get("wish") == wish or bool(report.get("imported"))
        is_locked = bool(Ledger(project).rows())
        if is_same or (is_locked and not is_vocab_asked):
            reason = "as before"
            if not is_same:
                reason = "kept: checkpoints of this project use it"
                job.emit(
                    Log(
                        f"The tokenizer stays at {present.vocab_size:,} tokens, because checkpoints "
                        "use it. For another vocabulary make a new project.",
                        "warning",
                    )
                )
            job.emit(_ready(project, present, is_new=False, reason=reason))
            return present
    if is_there and Ledger(project).rows():
        raise TokenizerError(
            "LOCKED",
            "The tokenizer cannot be replaced: checkpoints of this project were trained with it.",
            safe="Nothing was changed.",
            todo="Make a new project for another vocabulary.",
        )
    if file is not None:
        from sllm_core import foreign  # it brings torch, which no other step of the data needs

        present = foreign.open_tokenizer(file)
        reason, extra = f"imported from {file.name}", {"imported": True}
    else:
        present, reason = _train_tokenizer(project, config, units, job)
        extra = {}
    present.save(project.tokenizer_dir)
    body = {"wish": wish, "vocab_size": present.vocab_size, "reason": reason, **extra}
    body |= {"split": present.split, "engine": present.engine, "sha256": present.sha256}
    write_text(project.tokenizer_dir / "report.json", json.dumps(body, indent=2) + "\n")
    job.emit(_ready(project, present, is_new=True, reason=reason))
    return present


def _ready(project: Project, present: Tokenizer, *, is_new: bool, reason: str) -> TokenizerReady:
    path = project.relative(project.tokenizer_dir / "tokenizer.json")
    return TokenizerReady(path, present.vocab_size, present.sha256, is_new, reason)


def _read_report(project: Project) -> dict[str, Any]:
    try:
        body = json.loads((project.tokenizer_dir / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _train_tokenizer(
    project: Project, config: ProjectConfig, units: Units, job: Job
) -> tuple[Tokenizer, str]:
    """In a child process, so that Stop ends it at once and its memory is given back."""
    n_bytes = int(units.sizes.sum())
    size, reason = tokenizer.advise_vocab_size(config.tokenizer.target_vocab_size, n_bytes)
    if size != config.tokenizer.target_vocab_size:
        job.emit(Log(f"The vocabulary is {size:,} tokens: {reason}.", "warning"))
    if size <= tokenizer.BYTE_VOCAB_SIZE:
        return tokenizer.byte_tokenizer(config.tokenizer.split), f"plain bytes: {reason}"
    if not tokenizer.has_library():
        job.emit(Log("The package tokenizers is missing: plain bytes are used.", "warning"))
        return tokenizer.byte_tokenizer(config.tokenizer.split), "plain bytes"
    out = project.tokenizer_dir / ".training.json"
    out.parent.mkdir(exist_ok=True)
    settings = {name: dataclasses.asdict(getattr(config, name)) for name in _OF_TOKENIZER}
    child = PipeProcess("tokenizer", str(project.root), str(size), str(out), json.dumps(settings))
    try:
        while (message := _next_message(child, job)) is not None:
            if isinstance(message, Failed):
                raise TokenizerError("TRAIN", message.text.rsplit(" [", 1)[0])
            if isinstance(message, Progress | Log):
                job.emit(message)
            if isinstance(message, Done):
                made = tokenizer.load(out)
                words = f"trained, {reason}"
                if made.vocab_size < size:
                    words += f"; no more pairs occur {config.tokenizer.min_frequency} times"
                return made, words
        raise TokenizerError("TRAIN", child.death().text.rsplit(" [", 1)[0])
    finally:
        child.close()
        out.unlink(missing_ok=True)


def _next_message(child: PipeProcess, job: Job) -> Message | None:
    while True:
        try:
            return child.messages.get(timeout=0.1)
        except queue.Empty:
            try:
                job.check()
            except Cancelled:
                child.terminate()
                raise


def train_tokenizer_here(
    project: Project, vocab_size: int, out: Path, settings: dict[str, Any], job: Job
) -> None:
    """The child's part: learn the merges and write the file."""
    sections = {
        name: fields.from_mapping(SECTIONS[name], values, name) for name, values in settings.items()
    }
    config = replace(project.load_config(), **sections)
    limit = config.tokenizer.tokenizer_sample_bytes
    with Index(project.db_path) as index:
        units, division = divide(index, config)
        total = min(limit, int(units.sizes.sum()))
        texts = encode.sample_texts(
            index, Texts.of(project, config), units, division, limit,
            {source.id: source.weight for source in config.sources},
        )  # fmt: skip
        made = tokenizer.train(
            texts,
            vocab_size,
            split=config.tokenizer.split,
            min_frequency=config.tokenizer.min_frequency,
            on_bytes=lambda done: job.progress("tokenizer", min(done, total), total, "bytes"),
            on_phase=lambda name: job.emit(Log(_PHASES[name])) if name in _PHASES else None,
        )
    write_text(out, tokenizer.canonical_json(made.content), point="tokenizer.save")
    job.emit(Done(reason="tokenizer trained"))

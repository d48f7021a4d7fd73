"""The named steps of a job, one function each: scan, prepare, train, write, evaluate.

Each takes the project, a frozen configuration and a `Job` (messages up, wishes down), may be
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

from sllm_core import checkpoint as checkpoints
from sllm_core import (
    dataset,
    encode,
    estimate,
    faults,
    fields,
    fmt,
    foreign,
    hardware,
    messages,
    metrics,
    probe,
    tokenizer,
    trainer,
)
from sllm_core import device as devices
from sllm_core.checkpoint import Checkpoints, Row
from sllm_core.config import (
    DataConfig,
    ModelConfig,
    ProjectConfig,
    TokenizerConfig,
    TrainConfig,
)
from sllm_core.corpus.extract import SkipFile, decode_file
from sllm_core.corpus.index import FileRow, Index
from sllm_core.corpus.sources import Scanner
from sllm_core.dataset import Manifest, Windows
from sllm_core.device import Device
from sllm_core.errors import (
    Cancelled,
    CheckpointError,
    DataError,
    DiskError,
    ProjectError,
    ResumeError,
    TokenizerError,
    TrainError,
)
from sllm_core.evaluate import Evaluation, evaluate, text_windows
from sllm_core.jobs.channel import history
from sllm_core.jobs.runner import PipeProcess
from sllm_core.jobs.runs import Run
from sllm_core.messages import (
    Desired,
    Done,
    Failed,
    Log,
    Message,
    Plan,
    Prepared,
    Progress,
    Resumed,
    Scanned,
    Stopped,
    TokenizerReady,
)
from sllm_core.model import GPT
from sllm_core.project import Project, write_text
from sllm_core.tokenizer import Tokenizer

STEPS = (
    "setup", "reading", "tokenizer", "encoding", "windows", "batches", "model", "training", "saving",
)  # fmt: skip
# What a resumed run may still change (SPEC 9).
LIMITS = ("epochs", "max_steps", "max_tokens", "max_time_s")
CHANGEABLE = frozenset([*LIMITS, "val_interval", "save_interval", "sample_interval", "keep_last"])
_PROGRESS_S = 0.1


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

    def progress(self, name: str, done: int, total: int | None, unit: str) -> None:
        """Tell work done, ten times a second at most."""
        now = time.monotonic()
        if now - self._last >= _PROGRESS_S:
            self._last = now
            self.emit(Progress(name, done, total, unit))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One of the named steps: its beginning, its end and how long it took."""
        begun = time.monotonic()
        self.emit(Progress(name, 0, None, "", "running"))
        yield
        self.emit(Progress(name, 1, 1, "", "done", time.monotonic() - begun))


# -- data ----------------------------------------------------------------------------------------


def source_roots(project: Project, config: ProjectConfig) -> dict[int, Path]:
    """Folder of each source by id."""
    return {source.id: project.source_root(source) for source in config.sources}


def scan(project: Project, config: ProjectConfig, job: Job) -> Scanned:
    """List every file of the sources; only new and changed ones are read.

    Raises:
        DataError: no source, or one that cannot be listed.
        Cancelled: on Stop.
    """
    begun = time.monotonic()
    with job.step("reading"), Index(project.db_path) as index:
        scanner = Scanner(
            project,
            index,
            config.data,
            on_progress=lambda listed, done, total: job.progress(
                "reading", done if total else listed, total, "files"
            ),
            check=job.check,
        )
        totals = scanner.run(config.sources)
    by_state = dict.fromkeys(("used", "skipped", "failed"), 0)
    for (state, _), n in totals.items():
        by_state[state] += n
    result = Scanned(
        listed=sum(by_state.values()),
        **by_state,
        used_bytes=scanner.count.used_bytes,
        read_files=scanner.count.read,
        reasons={reason: n for (_, reason), n in sorted(totals.items()) if reason},
        elapsed_s=time.monotonic() - begun,
    )
    job.emit(result)
    return result


def prepare(
    project: Project,
    config: ProjectConfig,
    job: Job,
    *,
    tokenizer_file: Path | None = None,
    is_vocab_asked: bool = False,
) -> tuple[Manifest, Tokenizer]:
    """Scan, tokenizer, token files; each only as far as something changed.

    Args:
        tokenizer_file: a `tokenizer.json` to import instead of training one.
        is_vocab_asked: the user wants this vocabulary now, so a tokenizer in use is replaced.

    Raises:
        DataError: no text.
        TokenizerError: the file cannot be used, or checkpoints hold on to the present one.
        DiskError: the disk is full; what was there before is unchanged.
        Cancelled: on Stop; what was encoded is not lost.
    """
    scan(project, config, job)
    with Index(project.db_path) as index:
        rows = list(index.used_files())
        if not rows:
            raise DataError(
                "EMPTY",
                "None of the listed files can be used.",
                todo="See why in the list of skipped files, or widen file types and sizes.",
            )
        with job.step("tokenizer"):
            used = _tokenizer(project, config, rows, job, tokenizer_file, is_vocab_asked)
        with job.step("encoding"):
            manifest = _encode(project, config, index, rows, used, job)
    return manifest, used


def _encode(
    project: Project,
    config: ProjectConfig,
    index: Index,
    rows: list[FileRow],
    used: Tokenizer,
    job: Job,
) -> Manifest:
    begun = time.monotonic()
    manifest = dataset.load_manifest(project)
    encoded = cached = 0
    if manifest is None or not _is_current(project, config, rows, used, job):
        roots = source_roots(project, config)
        division = encode.divide(rows, config.data.val_split)
        proof = encode.sample_texts(rows, roots, division, limit_bytes=400_000)
        if not used.prove_engine(proof):
            job.emit(
                Log("The fast encoder differs on your text; the exact one is used.", "warning")
            )
        builder = encode.Builder(
            project,
            index,
            used,
            division,
            roots=roots,
            threads=hardware.default_threads(),
            on_progress=lambda done, total: job.progress("encoding", done, total, "bytes"),
            check=job.check,
        )
        manifest = builder.build(rows)
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


def _is_current(
    project: Project, config: ProjectConfig, rows: list[FileRow], used: Tokenizer, job: Job
) -> bool:
    manifest = dataset.load_manifest(project)
    if manifest is None or not encode.is_current(project, rows, config, used):
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
    rows: list[FileRow],
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
        is_locked = bool(Checkpoints(project).rows())
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
    if is_there and Checkpoints(project).rows():
        raise TokenizerError(
            "LOCKED",
            "The tokenizer cannot be replaced: checkpoints of this project were trained with it.",
            safe="Nothing was changed.",
            todo="Make a new project for another vocabulary: sllm.py new PROJECT --source FOLDER",
        )
    if file is not None:
        present = foreign.open_tokenizer(file)
        reason, extra = f"imported from {file.name}", {"imported": True}
    else:
        present, reason = _train_tokenizer(project, config, rows, job)
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
    project: Project, config: ProjectConfig, rows: list[FileRow], job: Job
) -> tuple[Tokenizer, str]:
    """In a child process, so that Stop ends it at once and its memory is given back."""
    n_bytes = sum(row.text_bytes or 0 for row in rows)
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
    settings = {name: dataclasses.asdict(getattr(config, name)) for name in ("tokenizer", "data")}
    child = PipeProcess("tokenizer", str(project.root), str(size), str(out), json.dumps(settings))
    try:
        while (message := _next_message(child, job)) is not None:
            if isinstance(message, Failed):
                raise TokenizerError("TRAIN", message.text.rsplit(" [", 1)[0])
            if isinstance(message, Progress):
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
    config = replace(
        project.load_config(),
        tokenizer=fields.from_mapping(TokenizerConfig, settings["tokenizer"], "tokenizer"),
        data=fields.from_mapping(DataConfig, settings["data"], "data"),
    )
    with Index(project.db_path) as index:
        rows = list(index.used_files())
    division = encode.divide(rows, config.data.val_split)
    limit = config.tokenizer.tokenizer_sample_bytes
    total = min(limit, sum(row.text_bytes or 0 for row in rows))
    texts = encode.sample_texts(rows, source_roots(project, config), division, limit)
    made = tokenizer.train(
        texts,
        vocab_size,
        split=config.tokenizer.split,
        min_frequency=config.tokenizer.min_frequency,
        on_bytes=lambda done: job.progress("tokenizer", done, total, "characters"),
    )
    write_text(out, tokenizer.canonical_json(made.content), point="tokenizer.save")
    job.emit(Done(reason="tokenizer trained"))


# -- training ------------------------------------------------------------------------------------


def train(run: Run, job: Job, resume: str = "") -> Done | Stopped:
    """Start a run, or go on with it from its newest (or a named) checkpoint.

    Raises:
        SllmError: what stands in the way, in the user's words.
        Cancelled: Stop before the first step.
    """
    project = run.project
    store = Checkpoints(project)
    with job.step("setup"):
        removed = store.settle()
        if removed:
            job.emit(Log(f"Removed {len(removed)} unfinished file(s) of a run that was cut off."))
        row = _resume_row(store, run, resume, job)
        content = store.load(row) if row else None
        threads = run.resolved.get("threads") or run.config.train.threads
        is_deterministic = run.config.train.deterministic
        devices.set_up(threads or hardware.default_threads(), is_deterministic=is_deterministic)
    if content is None and not run.resolved:
        manifest, used = _prepared_for(run, job)
    else:
        manifest, used = _dataset_of(run, job)
    run, inputs, state = _assemble(run, job, store, manifest, used, content)
    with job.step("training"):
        worker = trainer.Trainer(inputs, state)
        if content is not None and row is not None:
            differences = trainer.restore(worker, content)
            _apply_changes(worker, content)
            store.supersede(run.id, worker.state.step)
            job.emit(Resumed(worker.state.step, f"checkpoints/{row.file}", tuple(differences)))
        else:
            _start_weights(worker, run, used, job)
        _check_disk(worker, project)
        return worker.run()


def _resume_row(store: Checkpoints, run: Run, name: str, job: Job) -> Row | None:
    """The checkpoint to go on from; None for a run that has none."""
    if name:
        row = store.find(name)
        if row is None or row.run != run.id:
            raise CheckpointError(
                "MISSING", f"{name} is no checkpoint of run {run.id}.", todo="See: sllm.py runs"
            )
        return row
    row, damaged = store.newest_good(run.id)
    for bad in damaged:
        better = f"; going on from {row.file} (step {row.step})" if row else ""
        text = f"checkpoints/{bad.file} (step {bad.step}) is damaged and was left alone{better}."
        job.emit(Log(text, "warning", "E-CKPT-HASH"))
    if row is None and damaged:
        raise CheckpointError(
            "HASH",
            f"All {len(damaged)} checkpoints of run {run.id} are damaged.",
            safe="They were not touched.",
            todo="Start a new run: sllm.py train PROJECT",
        )
    return row


def _prepared_for(run: Run, job: Job) -> tuple[Manifest, Tokenizer]:
    """Data for a new run: brought up to date, or as it is when a source is not there now."""
    try:
        with run.lane_lock("data"):
            return prepare(run.project, run.config, job)
    except DataError as problem:
        if problem.code != "E-DATA-SOURCE" or dataset.load_manifest(run.project) is None:
            raise
        job.emit(Log(f"{problem.what} The data prepared before is used.", "warning", problem.code))
        return _dataset_of(run, job)


def _dataset_of(run: Run, job: Job) -> tuple[Manifest, Tokenizer]:
    """The prepared data and tokenizer as they lie there, proven by their hashes.

    Raises:
        DataError: E-DATA-STALE when they are not those the run was started with.
    """
    with job.step("reading"):
        manifest = dataset.load_manifest(run.project)
        if manifest is None:
            raise DataError(
                "STALE", "There is no prepared data.", todo="Prepare it: sllm.py prepare PROJECT"
            )
        dataset.check_files(run.project, manifest)
        used = tokenizer.load(run.project.tokenizer_dir / "tokenizer.json")
    wanted = run.provenance.get("dataset_id", manifest.dataset_id)
    if wanted != manifest.dataset_id:
        raise DataError(
            "STALE",
            f"Run {run.id} was trained on dataset {wanted[:12]}; the prepared data is now "
            f"{manifest.dataset_id[:12]}.",
            safe="The run and its checkpoints are intact.",
            todo="Continue on the new data as a new run: train --continue-from last",
        )
    if used.sha256 != manifest.tokenizer_sha256:
        raise DataError(
            "STALE",
            "The prepared data was made with another tokenizer than the one in the project.",
            safe="Nothing was changed.",
            todo="Prepare again: sllm.py prepare PROJECT",
        )
    return manifest, used


def _assemble(
    run: Run,
    job: Job,
    store: Checkpoints,
    manifest: Manifest,
    used: Tokenizer,
    content: dict[str, Any] | None,
) -> tuple[Run, trainer.Inputs, trainer.State]:
    """Windows, device, plan and model of a run; what was decided is written into run.json."""
    resolved = run.resolved
    seq_len = run.config.train.seq_len
    stride = run.config.train.stride or seq_len
    with job.step("windows"):
        tokens = dataset.open_tokens(run.project, manifest, "train")
        val_tokens = dataset.open_tokens(run.project, manifest, "val")
        windows = Windows(tokens, seq_len, stride, run.config.train.seed)
        if len(val_tokens) < 2:
            job.emit(Log("There is too little text for a validation side.", "warning"))
    with job.step("batches"):
        model_config = replace(run.config.model, vocab_size=used.vocab_size).resolve()
        wish = estimate.resolve_training(
            run.config.train, model_config, manifest.train_tokens, windows.n_windows
        )
        if run.config.train.batch_size and wish.batch_size != run.config.train.batch_size:
            job.emit(
                Log(
                    f"The batch is {wish.batch_size} instead of {run.config.train.batch_size}: "
                    f"there are only {windows.n_windows} windows.",
                    "warning",
                )
            )
        _refuse_no_steps(wish, windows)
        if resolved:
            wish = fields.from_mapping(TrainConfig, resolved["train"], "run.json")
        device = devices.choose(
            wish.device, wish.precision, d_model=model_config.d_model, n_tokens=seq_len * 8
        )
    with job.step("model"):
        if not resolved:
            trial = probe.try_step(model_config, wish, device, job.check)
            run, wish = _decide(run, wish, windows, device, trial, manifest, used, model_config)
            resolved = run.resolved
        model = GPT(model_config, gradient_checkpointing=wish.gradient_checkpointing)
        if content is None:
            model.init_weights(wish.seed, is_output_zero=wish.optimizer == "muon")
        model.to(device.torch)
    state = trainer.State(
        total_steps=resolved["total_steps"],
        warmup_steps=resolved["warmup_steps"],
        micro_batch_size=resolved["micro_batch_size"],
    )
    if content is not None:  # what a time budget has made of the plan
        state.total_steps = content["state"]["total_steps"]
    n_params = model.n_params()
    assert n_params == estimate.count_parameters(model_config).total
    assert wish.batch_size is not None
    job.emit(
        Plan(
            step=0,
            total_steps=state.total_steps,
            warmup_steps=state.warmup_steps,
            reason=resolved["reason"],
            n_params=n_params,
            tokens_per_step=wish.batch_size * wish.seq_len,
            steps_per_epoch=max(1, windows.n_windows // wish.batch_size),
            micro_batch_size=state.micro_batch_size,
            grad_accum_steps=wish.batch_size // state.micro_batch_size,
            precision=device.precision,
            precision_reason=resolved["precision_reason"],
            forecast_s=resolved["forecast_s"],
        )
    )
    plans = {m.step: m for m in history(run.folder) if isinstance(m, Plan) and m.step}
    inputs = trainer.Inputs(
        run=run.id,
        model=model,
        train=wish,
        device=device,
        tokenizer=used,
        dataset_id=manifest.dataset_id,
        windows=windows,
        val_tokens=val_tokens,
        store=store,
        emit=job.emit,
        desired=job.desired,
        replayed=plans,
    )
    return run, inputs, state


def _refuse_no_steps(train: TrainConfig, windows: Windows) -> None:
    steps = estimate.count_steps(train, windows.n_windows)
    if steps is not None and steps < 1:
        raise TrainError(
            "STEPS",
            f"These settings give no step at all: {windows.n_windows:,} windows of "
            f"{train.seq_len} tokens, {train.batch_size} windows a step, epochs {train.epochs}, "
            f"max_tokens {train.max_tokens}.",
            safe="Nothing was started.",
            todo="Use more epochs or tokens, or a smaller batch_size.",
        )


def _decide(
    run: Run,
    train: TrainConfig,
    windows: Windows,
    device: Device,
    trial: probe.Trial,
    manifest: Manifest,
    used: Tokenizer,
    model: ModelConfig,
) -> tuple[Run, TrainConfig]:
    """Fix everything the machine decides, write it into run.json, and keep to it from then on."""
    steps = estimate.count_steps(train, windows.n_windows)
    by_time = max(1, int((train.max_time_s or 0) / trial.step_s)) if train.max_time_s else None
    total = min(n for n in (steps, by_time) if n is not None)
    assert train.batch_size is not None
    per_epoch = max(1, windows.n_windows // train.batch_size)
    train = replace(
        train,
        precision=device.precision,
        device=device.name,
        micro_batch_size=trial.micro_batch_size,
        val_interval=train.val_interval or default_val_interval(total, per_epoch),
        save_interval=train.save_interval or min(500, max(100, total // 10)),
    )
    reason = f"{total:,} updates until the first limit"
    if by_time is not None and total == by_time:
        reason = f"{fmt.duration(train.max_time_s)} at {trial.step_s:.3g} s a step in a trial"
    resolved = {
        "model": dataclasses.asdict(model),
        "train": trainer.plain(train),
        "total_steps": total,
        "warmup_steps": int(train.warmup_ratio * total),
        "micro_batch_size": trial.micro_batch_size,
        "micro_batch_reason": trial.reason,
        "threads": train.threads or hardware.default_threads(),
        "precision": device.precision,
        "precision_reason": device.precision_reason,
        "forecast_s": train.max_time_s if total == by_time else total * trial.step_s,
        "reason": reason,
    }
    provenance = {
        **run.provenance,
        "dataset_id": manifest.dataset_id,
        "tokenizer_sha256": used.sha256,
        "device": device.title,
        "identity": trainer.identity(device),
    }
    run = replace(run, resolved=resolved, provenance=provenance)
    run.save()
    return run, train


def default_val_interval(total_steps: int, steps_per_epoch: int) -> int:
    """Twenty validations a run and one an epoch, but 20 steps apart: they cost about one step."""
    return max(20, min(steps_per_epoch, total_steps // 20))


def _apply_changes(worker: trainer.Trainer, content: dict[str, Any]) -> None:
    """A run resumed with another budget than its checkpoint had gets other steps, from here on."""
    state, train, old = worker.state, worker.train, content["train_config"]
    if any(old[name] != getattr(train, name) for name in LIMITS):
        totals = [estimate.count_steps(train, worker.inputs.windows.n_windows)]
        if train.max_time_s is not None:
            totals.append(_steps_in_time(state, train.max_time_s))
        total = min((n for n in totals if n is not None), default=state.total_steps)
        state.total_steps = max(state.step, total)
        worker.inputs.emit(
            Plan(state.step, state.total_steps, state.warmup_steps, "the budget was changed")
        )
    if state.step >= state.total_steps:
        raise TrainError(
            "STEPS",
            f"The run is complete: step {state.step:,} of {state.total_steps:,}.",
            safe="Nothing was changed.",
            todo="Give it a larger budget (--max-steps, --epochs or --time), or start a new run.",
        )


def _steps_in_time(state: trainer.State, limit_s: float) -> int:
    """Steps that fit into a new time budget at the pace so far; it is corrected as before."""
    share = state.train_time_s / limit_s
    state.revisions_done = sum(share >= due for due in trainer.REVISE_AT)
    pace = state.train_time_s / state.step if state.step else limit_s
    return state.step + int(max(0.0, limit_s - state.train_time_s) / pace)


def change_limits(run: Run, values: dict[str, Any]) -> Run:
    """A resumed run with another budget or other intervals; all else is refused by name.

    Raises:
        ResumeError: a setting that a run keeps for its whole life.
    """
    for name in values:
        if name not in CHANGEABLE:
            raise ResumeError(
                "OPTION",
                f"A resumed run keeps its {name}.",
                safe="Nothing was changed.",
                todo=f"It may change {', '.join(sorted(CHANGEABLE))}. For anything else start a "
                "new run: train --continue-from last",
            )
    config = replace(run.config, train=replace(run.config.train, **values))
    run = replace(run, config=config)
    if run.resolved:
        old = fields.from_mapping(TrainConfig, run.resolved["train"], "run.json")
        new = replace(old, **values)
        run = replace(run, resolved={**run.resolved, "train": trainer.plain(new)})
    run.save()
    return run


def _start_weights(worker: trainer.Trainer, run: Run, used: Tokenizer, job: Job) -> None:
    """A run that continues from other weights takes them over; its optimizer is fresh."""
    name = run.options.get("continue_from")
    if not name:
        return
    loaded = open_model(run.project, name, used)
    theirs, mine = loaded.config.resolve(), worker.model.config
    unlike = [
        f"{field.name} {getattr(theirs, field.name)} -> {getattr(mine, field.name)}"
        for field in dataclasses.fields(mine)
        if field.name != "dropout" and getattr(theirs, field.name) != getattr(mine, field.name)
    ]
    if unlike:
        raise CheckpointError(
            "MISMATCH",
            f"{name} has another shape than the project's settings: {', '.join(unlike)}.",
            safe="Nothing was changed.",
            todo="Give the same shape (--set), or start a new run without --continue-from.",
        )
    worker.model.load_state_dict(loaded.state)
    job.emit(Log(f"Continuing from {loaded.title} with a fresh optimizer."))


def _check_disk(worker: trainer.Trainer, project: Project) -> None:
    """Refuse before the first step what could not be saved anyway."""
    optimizer = worker.train.optimizer
    one = int(estimate.checkpoint_bytes(worker.model.config, optimizer) * trainer.ROOM)
    free, need = faults.free_bytes(project.root), 2 * one
    if free < need:
        raise DiskError(
            "FORECAST",
            f"The first checkpoints need {fmt.size(need)}; {fmt.size(free)} are free.",
            safe="Nothing was started.",
            todo="Free some space, or choose a smaller model.",
        )


# -- using a model -------------------------------------------------------------------------------


def adopt_shape(project: Project, config: ProjectConfig, name: str) -> ProjectConfig:
    """The settings of a run that continues from other weights: their shape, the rest as set."""
    used = tokenizer.load(project.tokenizer_dir / "tokenizer.json")
    shape = replace(open_model(project, name, used).config, dropout=config.model.dropout)
    seq_len = min(config.train.seq_len, shape.max_seq_len)
    return replace(config, model=shape, train=replace(config.train, seq_len=seq_len))


@dataclass(frozen=True)
class LoadedModel:
    """Weights and shape from a checkpoint, listed or foreign."""

    config: ModelConfig
    state: dict[str, Any]
    title: str


def open_model(project: Project, name: str, used: Tokenizer) -> LoadedModel:
    """A checkpoint by ``best``, ``last``, file name or path, for the tokenizer in use.

    Raises:
        CheckpointError: missing, damaged, foreign and refused, or made with another tokenizer.
    """
    store = Checkpoints(project)
    row = store.find(name)
    if row is not None:
        content = store.load(row)
        title = f"checkpoints/{row.file} (step {row.step})"
    elif name in {"best", "last"}:
        raise CheckpointError(
            "MISSING", "The project has no checkpoint yet.", todo="Train first: sllm.py train"
        )
    else:
        path = Path(name) if Path(name).exists() else project.checkpoints_dir / name
        content = foreign.open_checkpoint(path)
        title = path.name
    sha256 = content["tokenizer_config"].get("sha256")
    if sha256 != used.sha256:
        raise CheckpointError(
            "MISMATCH",
            f"{title} was trained with another tokenizer ({str(sha256)[:12]}) than the project's "
            f"({used.sha256[:12]}).",
            safe="Nothing was changed.",
            todo="Use it in the project it comes from.",
        )
    return LoadedModel(checkpoints.model_config(content), content["model_state_dict"], title)


def model_key(project: Project, name: str) -> str:
    """Changes whenever ``name`` means other weights."""
    row = Checkpoints(project).find(name)
    if row is not None:
        return row.sha256
    path = Path(name)
    return f"{path}:{path.stat().st_mtime_ns}" if path.exists() else name


def load_model(project: Project, name: str) -> tuple[GPT, Tokenizer, Device, str]:
    """A model ready to write: weights on the device, dropout off."""
    used = tokenizer.load(project.tokenizer_dir / "tokenizer.json")
    loaded = open_model(project, name, used)
    device = devices.choose("auto", "fp32")
    devices.set_up(hardware.default_threads())
    model = GPT(loaded.config)
    model.load_state_dict(loaded.state)
    return model.to(device.torch).eval(), used, device, loaded.title


def evaluate_project(
    project: Project, name: str, files: list[Path], job: Job
) -> list[messages.Evaluated]:
    """Loss, perplexity and bits per byte of text files, or of the whole validation side."""
    model, used, device, _ = load_model(project, name)
    seq_len = model.config.max_seq_len
    results = []
    for path in files:
        try:
            ids = used.encode(decode_file(path))
        except SkipFile as skip:
            raise DataError(
                "SOURCE", f"{path} cannot be evaluated: {skip} ({skip.reason})."
            ) from skip
        found = evaluate(model, text_windows(ids, used.eos_id, seq_len), used, device)
        results.append(_evaluated(path.name, found, job))
    if not files:
        manifest = dataset.load_manifest(project)
        if manifest is None or manifest.tokenizer_sha256 != used.sha256:
            raise DataError("STALE", "There is no prepared data.", todo="sllm.py prepare PROJECT")
        tokens = dataset.open_tokens(project, manifest, "val")
        chunk = max(1, 4096 // seq_len)

        def batches() -> Iterator[Any]:
            n_all = len(tokens) // seq_len
            for done, batch in enumerate(dataset.spread_windows(tokens, seq_len, n_all, chunk)):
                job.check()
                job.progress("evaluating", done * chunk, n_all, "windows")
                yield batch

        found = evaluate(model, batches(), used, device)
        results.append(_evaluated("validation", found, job))
    return results


def _evaluated(name: str, found: Evaluation | None, job: Job) -> messages.Evaluated:
    if found is None:
        raise DataError("EMPTY", f"{name} holds no text to evaluate.")
    perplexity = metrics.perplexity(found.loss)
    result = messages.Evaluated(
        name, found.loss, perplexity, found.bpb, found.n_tokens, found.n_bytes
    )
    job.emit(result)
    return result


def verify_project(project: Project, job: Job) -> bool:
    """Read everything the project owns, change nothing; True when all of it is good."""
    store = Checkpoints(project)
    is_good = True

    def say(path: str, good: bool, text: str, code: str = "") -> None:
        nonlocal is_good
        is_good = is_good and good
        job.emit(messages.Verified(path, good, text, code))

    project.load_config()
    say("config.json", True, "readable")
    if project.db_path.exists():
        try:
            with Index(project.db_path) as index:
                n_files = sum(n for n, _ in index.counts().values())
            say("project.db", True, f"{n_files:,} files listed")
        except ProjectError as problem:
            say("project.db", False, problem.what, problem.code)
    for row in store.rows():
        try:
            store.verify(row)
            say(f"checkpoints/{row.file}", True, f"step {row.step}, SHA-256 equal")
        except CheckpointError as problem:
            say(f"checkpoints/{row.file}", False, problem.what, problem.code)
    listed = {row.file for row in store.rows()}
    for path in sorted(store.folder.glob("*.pt")) if store.folder.is_dir() else []:
        if path.name not in listed:
            say(f"checkpoints/{path.name}", True, "not listed: killed between write and commit")
    manifest = dataset.load_manifest(project)
    if manifest is not None:
        try:
            dataset.check_files(project, manifest)
            say("encoded_data", True, f"{manifest.train_tokens + manifest.val_tokens:,} tokens")
        except DataError as problem:
            say("encoded_data", False, problem.what, problem.code)
    path = project.tokenizer_dir / "tokenizer.json"
    if path.exists():
        try:
            used = tokenizer.load(path)
            say("tokenizer", True, f"{used.vocab_size:,} tokens")
        except TokenizerError as problem:
            say("tokenizer", False, problem.what, problem.code)
    return is_good

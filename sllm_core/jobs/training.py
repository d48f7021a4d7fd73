"""A training run from its folder: new, resumed, or continued from other weights.

What the probes decide is written into run.json before the first step and obeyed ever after.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from sllm_core import (
    dataset,
    estimate,
    faults,
    fields,
    fmt,
    hardware,
    mixture,
    probe,
    tokenizer,
    trainer,
)
from sllm_core import device as devices
from sllm_core.checkpoint import Checkpoints
from sllm_core.config import (
    ModelConfig,
    TrainConfig,
)
from sllm_core.dataset import Manifest, Part, Windows
from sllm_core.device import Device
from sllm_core.errors import (
    CheckpointError,
    DataError,
    DiskError,
    LockError,
    ResumeError,
    RunError,
    TrainError,
)
from sllm_core.jobs.channel import read_control, write_control
from sllm_core.jobs.models import adopt_shape, open_model
from sllm_core.jobs.pipeline import Job, prepare
from sllm_core.jobs.runs import Run, open_run
from sllm_core.jobs.series import read_past
from sllm_core.ledger import Row
from sllm_core.messages import (
    LIVE,
    Done,
    Log,
    Plan,
    Resumed,
    Stopped,
)
from sllm_core.model import GPT
from sllm_core.project import Project
from sllm_core.tokenizer import Tokenizer

LANE_S = 30.0  # how long a run waits for a scan to end
# What a resumed run may still change (SPEC 9).
LIMITS = ("epochs", "max_steps", "max_tokens", "max_time_s")
CHANGEABLE = frozenset([*LIMITS, *LIVE])


def train(run: Run, job: Job, resume: str = "") -> Done | Stopped:
    """Start a run, or go on with it from its newest (or a named) checkpoint.

    Raises:
        SllmError: what stands in the way, in the user's words.
        Cancelled: Stop before the first step.
    """
    project = run.project
    store = Checkpoints(project)
    if run.options.get("is_shape_adopted") and not run.resolved:
        shaped = adopt_shape(project, run.config, run.options["continue_from"])
        run = replace(run, config=shaped)
        run.save()
    if run.options.get("given") and not run.resolved:
        job.emit(Log(f"For this run only: {', '.join(run.options['given'])}."))
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
            store.supersede(run.id, worker.state.step, row.file)
            job.emit(Resumed(worker.state.step, f"checkpoints/{row.file}", tuple(differences)))
            if differences:
                words = f"Resume is not bit-exact because {'; '.join(differences)}."
                job.emit(Log(words, "warning", "E-RESUME-INEXACT"))
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
                "MISSING",
                f"{name} is no checkpoint of run {run.id}.",
                todo="Choose one from the list: Monitor in the window, sllm.py runs on the command line.",
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
            todo="Start a new run: Start in the window, sllm.py train on the command line.",
        )
    return row


@contextlib.contextmanager
def _data_lane(run: Run, job: Job) -> Iterator[None]:
    """The lane of data work, waited for: a scan that was asked to stop needs a moment.

    Raises:
        LockError: it is still held after half a minute.
        Cancelled: on Stop.
    """
    lock, end = run.lane_lock("data"), time.monotonic() + LANE_S
    while True:
        try:
            lock.acquire()
            break
        except LockError:
            if time.monotonic() > end:
                raise
            job.check()
            time.sleep(0.1)
    try:
        yield
    finally:
        lock.release()


def _prepared_for(run: Run, job: Job) -> tuple[Manifest, Tokenizer]:
    """Data for a new run: brought up to date, or as it is when a source is not there now."""
    try:
        with _data_lane(run, job):
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
                "STALE",
                "There is no prepared data.",
                todo="Prepare it: Data tab, or sllm.py prepare PROJECT on the command line.",
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
            todo="Continue on the new data as a new run: New run from its weights in the window, "
            "train --continue-from last on the command line.",
        )
    if used.sha256 != manifest.tokenizer_sha256:
        raise DataError(
            "STALE",
            "The prepared data was made with another tokenizer than the one in the project.",
            safe="Nothing was changed.",
            todo="Prepare again: Data tab, or sllm.py prepare PROJECT on the command line.",
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
    with job.step("windows"):
        run, parts = _mixed(run, manifest, store, job)
        windows, val_tokens = _open_windows(run, manifest, parts, job)
    with job.step("batches"):
        shape = replace(run.config.model, vocab_size=used.vocab_size).resolve()
        train = _resolve(run, shape, windows, job)
        n_tokens = 8 * train.seq_len
        device = devices.choose(
            train.device, train.precision, d_model=shape.d_model, n_tokens=n_tokens
        )
    with job.step("model"):
        if not run.resolved:
            trial = probe.try_step(shape, train, device, job.check)
            run, train = _decide(run, train, windows, device, trial, manifest, used, shape)
            n_read = run.resolved["total_steps"] * train.batch_size
            if words := mixture.repeated(windows, n_read):
                job.emit(Log(words, "warning"))
        model = GPT(shape, gradient_checkpointing=train.gradient_checkpointing)
        if content is None:
            model.init_weights(train.seed, is_output_zero=train.optimizer == "muon")
        model.to(device.torch)
    past = read_past(run.folder)
    inputs = trainer.Inputs(
        run=run.id,
        model=model,
        train=train,
        device=device,
        tokenizer=used,
        dataset_id=manifest.dataset_id,
        windows=windows,
        val_tokens=val_tokens,
        store=store,
        emit=job.emit,
        desired=job.desired,
        replayed={m.step: m for m, _ in past.notes if isinstance(m, Plan) and m.step},
    )
    state = trainer.State(
        total_steps=run.resolved["total_steps"],
        warmup_steps=run.resolved["warmup_steps"],
        micro_batch_size=run.resolved["micro_batch_size"],
    )
    if content is not None:  # what a time budget has made of the plan
        state.total_steps = content["state"]["total_steps"]
    job.emit(_first_plan(run, inputs, state))
    return run, inputs, state


def _mixed(
    run: Run, manifest: Manifest, store: Checkpoints, job: Job
) -> tuple[Run, Sequence[Part]]:
    """What a run reads how often, decided once; none for all text once an epoch.

    Raises:
        DataError: E-DATA-STALE when a resumed run would not read the same.
    """
    kept = run.provenance.get("mixture")
    if run.resolved and not kept:
        return run, ()
    base = kept["base"] or None if kept else _base_of(run, store)
    found = mixture.plan(run.project, manifest, run.config, base)
    if not kept:
        for note in found.notes:
            job.emit(note)
        if not found.parts:
            return run, ()
        return replace(run, provenance={**run.provenance, "mixture": found.record()}), found.parts
    if found.record()["digest"] != kept["digest"]:
        path = run.project.relative(dataset.version_path(run.project, kept["base"]))
        is_gone = kept["base"] and not dataset.version_path(run.project, kept["base"]).is_file()
        why = f" The record of its old text, {path}, is missing." if is_gone else ""
        raise DataError(
            "STALE",
            f"Run {run.id} cannot read its text in the same shares as before.{why}",
            safe="The run and its checkpoints are intact.",
            todo="Continue as a new run: New run from its weights in the window, "
            "train --continue-from last on the command line.",
        )
    return run, found.parts


def _base_of(run: Run, store: Checkpoints) -> str | None:
    """The dataset of the checkpoint a run continues from; "" if unknown, None if of no use."""
    name = run.options.get("continue_from")
    if not name or run.config.train.replay_share is None:
        return None
    row = store.find(name)
    if row is None:  # a file from elsewhere: what it says of another project's data says nothing
        return ""
    try:
        return str(open_run(run.project, row.run).provenance.get("dataset_id", ""))
    except RunError:  # its folder was deleted; the checkpoint itself knows too
        return str(store.load(row).get("dataset_id", ""))


def _open_windows(
    run: Run, manifest: Manifest, parts: Sequence[Part], job: Job
) -> tuple[Windows, NDArray[Any]]:
    """The windows to train on and the tokens to validate on."""
    train = run.config.train
    tokens = dataset.open_tokens(run.project, manifest, "train")
    val_tokens = dataset.open_tokens(run.project, manifest, "val")
    if len(val_tokens) < 2:
        job.emit(Log("There is too little text for a validation side.", "warning"))
    stride = train.stride or train.seq_len
    return Windows(tokens, train.seq_len, stride, train.seed, parts), val_tokens


def _resolve(run: Run, shape: ModelConfig, windows: Windows, job: Job) -> TrainConfig:
    """The training settings with nothing left open but the machine's part.

    Raises:
        TrainError: they give no step at all.
    """
    given = run.config.train
    train = estimate.resolve_training(given, shape, windows.epoch_tokens, windows.n_windows)
    if given.batch_size and train.batch_size != given.batch_size:
        words = f"The batch is {train.batch_size} instead of {given.batch_size}"
        job.emit(Log(f"{words}: there are only {windows.n_windows} windows.", "warning"))
    _refuse_no_steps(train, windows)
    if run.resolved:
        train = fields.from_mapping(TrainConfig, run.resolved["train"], "run.json")
    return train


def _first_plan(run: Run, inputs: trainer.Inputs, state: trainer.State) -> Plan:
    """What will be trained and how, for people to read before it begins."""
    train, n_params = inputs.train, inputs.model.n_params()
    assert n_params == estimate.count_parameters(inputs.model.config).total
    assert train.batch_size is not None
    return Plan(
        step=0,
        total_steps=state.total_steps,
        warmup_steps=state.warmup_steps,
        reason=run.resolved["reason"],
        n_params=n_params,
        tokens_per_step=train.batch_size * train.seq_len,
        steps_per_epoch=max(1, inputs.windows.n_windows // train.batch_size),
        micro_batch_size=state.micro_batch_size,
        grad_accum_steps=train.batch_size // state.micro_batch_size,
        precision=inputs.device.precision,
        precision_reason=run.resolved["precision_reason"],
        forecast_s=run.resolved["forecast_s"],
    )


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
            todo="Give it a larger limit (steps, passes or time), or start a new run.",
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
                "new run: New run from its weights in the window, train --continue-from last on the "
                "command line.",
            )
    config = replace(run.config, train=replace(run.config.train, **values))
    run = replace(run, config=config)
    if run.resolved:
        old = fields.from_mapping(TrainConfig, run.resolved["train"], "run.json")
        new = replace(old, **values)
        run = replace(run, resolved={**run.resolved, "train": trainer.plain(new)})
    run.save()
    wish = read_control(run.folder)
    if wish.settings.keys() & values.keys():  # the newer word counts
        left = {name: value for name, value in wish.settings.items() if name not in values}
        write_control(run.folder, replace(wish, settings=left))
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
            todo="Give the model the same shape, or start a new run without old weights.",
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

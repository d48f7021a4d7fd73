"""Models for use: opened by name, evaluated, and the proof that a project's files are intact."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sllm_core import checkpoint as checkpoints
from sllm_core import (
    dataset,
    estimate,
    foreign,
    hardware,
    messages,
    metrics,
    tokenizer,
)
from sllm_core import device as devices
from sllm_core.checkpoint import Checkpoints
from sllm_core.config import (
    ModelConfig,
    ProjectConfig,
)
from sllm_core.corpus.extract import SkipFile, decode_file
from sllm_core.corpus.index import Index
from sllm_core.device import Device
from sllm_core.errors import (
    CheckpointError,
    DataError,
    ProjectError,
    TokenizerError,
)
from sllm_core.evaluate import Evaluation, evaluate, text_windows
from sllm_core.jobs.pipeline import Job
from sllm_core.model import GPT
from sllm_core.project import Lock, Project
from sllm_core.tokenizer import Tokenizer

ROOM_TO_WRITE = 1 << 30  # on a GPU: its context, the cache of keys and values


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
    is_apart: bool = False  # trained with documents kept apart, so it is measured so


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
        raise CheckpointError("MISSING", "The project has no checkpoint yet.", todo="Train first.")
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
    is_apart = bool(content.get("train_config", {}).get("document_masking"))
    shape = checkpoints.model_config(content)
    return LoadedModel(shape, content["model_state_dict"], title, is_apart)


def model_key(project: Project, name: str) -> str:
    """Changes whenever ``name`` means other weights."""
    row = Checkpoints(project).find(name)
    if row is not None:
        return row.sha256
    path = Path(name)
    return f"{path}:{path.stat().st_mtime_ns}" if path.exists() else name


def writing_threads(project: Project) -> int:
    """Processor threads for writing: half of them while a run is at work."""
    threads = hardware.default_threads()
    is_busy = Lock(project.runs_dir / ".accelerator.lock", "writing").is_held()
    return max(1, threads // 2) if is_busy else threads


def load_model(project: Project, name: str) -> tuple[GPT, Tokenizer, Device, str]:
    """A model ready to write: weights on the device, dropout off.

    A GPU that a run has filled is left to it: writing then uses the processor.
    """
    used = tokenizer.load(project.tokenizer_dir / "tokenizer.json")
    loaded = open_model(project, name, used)
    model, device = _build(project, loaded, used)
    return model, used, device, loaded.title


def _build(project: Project, loaded: LoadedModel, used: Tokenizer) -> tuple[GPT, Device]:
    device = devices.choose("auto", "fp32")
    shape = replace(loaded.config, vocab_size=loaded.config.vocab_size or used.vocab_size)
    need = 4 * estimate.count_parameters(shape).total + ROOM_TO_WRITE
    free = devices.free_bytes(device)
    if free is not None and free < need:
        device = devices.choose("cpu", "fp32")
    devices.set_up(writing_threads(project))
    model = GPT(loaded.config)
    model.load_state_dict(loaded.state)
    return model.to(device.torch).eval(), device


def evaluate_project(
    project: Project, name: str, files: list[Path], job: Job
) -> list[messages.Evaluated]:
    """Loss, perplexity and bits per byte of text files, or of the whole validation side."""
    used = tokenizer.load(project.tokenizer_dir / "tokenizer.json")
    loaded = open_model(project, name, used)
    model, device = _build(project, loaded, used)
    seq_len, is_apart = model.config.max_seq_len, loaded.is_apart
    results = []
    for path in files:
        try:
            ids = used.encode(decode_file(path))
        except SkipFile as skip:
            raise DataError(
                "SOURCE", f"{path} cannot be evaluated: {skip} ({skip.reason})."
            ) from skip
        found = evaluate(
            model, text_windows(ids, used.eos_id, seq_len), used, device, is_apart=is_apart
        )
        results.append(_evaluated(path.name, found, job))
    if not files:
        manifest = dataset.load_manifest(project)
        if manifest is None or manifest.tokenizer_sha256 != used.sha256:
            raise DataError(
                "STALE",
                "There is no prepared data.",
                todo="Prepare it: Data tab, or sllm.py prepare PROJECT on the command line.",
            )
        tokens = dataset.open_tokens(project, manifest, "val")
        chunk = max(1, 4096 // seq_len)

        def batches() -> Iterator[Any]:
            n_all = len(tokens) // seq_len
            for done, batch in enumerate(dataset.spread_windows(tokens, seq_len, n_all, chunk)):
                job.check()
                job.progress("evaluating", done * chunk, n_all, "windows")
                yield batch

        found = evaluate(model, batches(), used, device, is_apart=is_apart)
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

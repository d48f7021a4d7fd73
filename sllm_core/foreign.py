"""Files of strangers: looked at from outside, opened in a limited child, never run.

The child (this module as a program) reads a checkpoint with code switched off, checks what it
holds and writes plain weights (safetensors) and facts (JSON) for the parent; its death is an
answer too (RELIABILITY 4.4).
"""

import json
import math
import os
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sllm_core import checkpoint, estimate, tokenizer
from sllm_core.config import ModelConfig
from sllm_core.errors import CheckpointError, SllmError, TokenizerError
from sllm_core.model import GPT
from sllm_core.tokenizer import Tokenizer

MAX_BYTES = 200 << 30
READ_S = 20.0  # the child's time, and a second more for 100 MB
_DTYPES = {torch.float32, torch.float16, torch.bfloat16, torch.float64}
_SAFE = "Nothing of it was used, nothing was changed."


def _refuse(reason: str, what: str) -> CheckpointError:
    return CheckpointError(reason, what, safe=_SAFE)


def check_outside(path: Path) -> int:
    """What can be told of a checkpoint file without opening it as one; returns its size.

    Raises:
        CheckpointError: no regular file, no zip, records that are compressed, overlap or escape.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise CheckpointError("MISSING", f"There is no file {path}.") from None
    except OSError as problem:
        raise _refuse("FORMAT", f"{path.name} cannot be read: {problem.strerror}.") from problem
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise _refuse("FORMAT", f"{path.name} is not a regular file.")
    with os.fdopen(descriptor, "rb") as file:
        if info.st_size > MAX_BYTES:
            raise _refuse("FORMAT", f"{path.name} is larger than {MAX_BYTES >> 30} GiB.")
        if file.read(4) != b"PK\x03\x04":
            raise _refuse(
                "FORMAT",
                f"{path.name} is not a checkpoint in torch's zip format. A file of an old torch "
                "must be saved again by the program it comes from.",
            )
        _check_zip(path, file, info.st_size)
    return info.st_size


def _check_zip(path: Path, file: Any, size: int) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise _refuse("FORMAT", f"{path.name} holds compressed records.")
            if sum(record.file_size for record in records) > size or len(records) > 1_000_000:
                raise _refuse("FORMAT", f"{path.name} claims more bytes than it has.")
            tops = {record.filename.split("/")[0] for record in records}
            is_outside = any(
                ".." in r.filename.split("/") or r.filename.startswith("/") for r in records
            )
            if len(tops) != 1 or is_outside:
                raise _refuse("FORMAT", f"{path.name} holds records outside its own folder.")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as problem:
        raise _refuse("HASH", f"{path.name} is damaged: {str(problem)[:80]}.") from problem
    if damaged is not None:
        raise _refuse("HASH", f"{path.name} is damaged: the record {damaged[:60]} has changed.")


def open_checkpoint(path: Path) -> dict[str, Any]:
    """Weights, settings and counters of a checkpoint from anywhere.

    Returns:
        ``model_state_dict``, ``config``, ``tokenizer_config``, ``step`` and ``val_loss``.

    Raises:
        CheckpointError: why it was refused; no code of it ran.
    """
    size = check_outside(path)
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        out = Path(folder)
        facts = _run_child("checkpoint", path, out, READ_S + size / 1e8)
        if "reason" in facts:
            raise _refuse(str(facts["reason"]), str(facts["what"]))
        state = load_file(out / "weights.safetensors")
    return {**facts, "model_state_dict": state}


def _run_child(kind: str, path: Path, out: Path, limit_s: float) -> dict[str, Any]:
    """What the child found out about a file; its death is an answer too."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    command = [sys.executable, "-m", "sllm_core.foreign", kind, str(path.absolute()), str(out)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=out,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        words = f"{path.name} took longer than {limit_s:.0f} s to read."
        return {"reason": "FORMAT", "what": words}
    try:
        facts: dict[str, Any] = json.loads((out / "facts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        words = f"{path.name} could not be read (its reader ended with {done.returncode})."
        return {"reason": "FORMAT", "what": words}
    return facts


def limit_self(file_bytes: int) -> None:
    """In the child: no more memory than the file can need, no core file (POSIX)."""
    try:
        import resource
    except ImportError:  # Windows: the time limit alone
        return
    most = (12 << 30) + 6 * file_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read_in_child(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Load without code, check everything, return facts and weights.

    Raises:
        CheckpointError: what is wrong.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        if "weights" in str(problem).lower() or "unsupported" in str(problem).lower():
            words = f"{path.name} holds more than weights and numbers; it was not opened."
            raise _refuse("CODE", words) from problem
        raise _refuse("FORMAT", f"{path.name} cannot be read as a checkpoint.") from problem
    if not isinstance(content, dict):
        raise _refuse("FORMAT", f"{path.name} is no dictionary of weights.")
    for key in ("model_state_dict", "config", "tokenizer_config", "format_version"):
        if key not in content:
            raise _refuse("FORMAT", f"{path.name} has no {key}.")
    if content["format_version"] != checkpoint.FORMAT_VERSION:
        raise _refuse("VERSION", f"{path.name} has format {content['format_version']!r}.")
    config = checkpoint.model_config(content)
    state = content["model_state_dict"]
    _check_tensors(path.name, state)
    wanted = estimate.count_parameters(config).total
    found = sum(tensor.numel() for tensor in state.values())
    if wanted != found:
        raise _refuse(
            "MISMATCH",
            f"{path.name} holds {found:,} weights; its settings describe {wanted:,}.",
        )
    known = content["tokenizer_config"]
    facts = {
        "format_version": content["format_version"],
        "config": content["config"],
        "tokenizer_config": {"sha256": str(known.get("sha256"))} if isinstance(known, dict) else {},
        "step": content["step"] if isinstance(content.get("step"), int) else 0,
    }
    _check_shapes(path.name, config, state)
    return facts, {name: tensor.contiguous() for name, tensor in state.items()}


def _check_shapes(name: str, config: ModelConfig, state: dict[str, Tensor]) -> None:
    """Names and shapes are those of our model; the one compared with holds no memory."""
    with torch.device("meta"):
        wanted = {key: tuple(value.shape) for key, value in GPT(config).state_dict().items()}
    for key in sorted(wanted.keys() | state.keys()):
        shape = tuple(state[key].shape) if key in state else None
        if wanted.get(key) != shape:
            raise _refuse(
                "MISMATCH",
                f"{name}: {key[:60]} has the shape {shape}; its settings describe "
                f"{wanted.get(key)}.",
            )


def _check_tensors(name: str, state: Any) -> None:
    if not isinstance(state, dict) or not state:
        raise _refuse("FORMAT", f"{name} holds no weights.")
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise _refuse("FORMAT", f"{name}: {str(key)[:60]!r} is no tensor.")
        if tensor.layout != torch.strided or tensor.dtype not in _DTYPES or tensor.is_quantized:
            raise _refuse("FORMAT", f"{name}: {key[:60]} is of a kind that is not used here.")
        n_bytes = tensor.numel() * tensor.element_size()
        has_zero_stride = any(
            stride == 0 and length > 1
            for stride, length in zip(tensor.stride(), tensor.shape, strict=True)
        )
        if n_bytes > tensor.untyped_storage().nbytes() or has_zero_stride:
            raise _refuse("FORMAT", f"{name}: {key[:60]} claims more values than are stored.")
        if not math.isfinite(float(tensor.float().abs().sum())):
            raise _refuse("NONFINITE", f"{name}: {key[:60]} holds values that are not numbers.")


def open_tokenizer(path: Path) -> Tokenizer:
    """A `tokenizer.json` from anywhere: checked by schema, then tried on hostile texts.

    Raises:
        TokenizerError: what it is refused for; nothing was changed.
    """
    try:
        info = path.stat()
    except OSError as problem:
        raise TokenizerError("MISSING", f"{path} cannot be read: {problem.strerror}.") from problem
    if not stat.S_ISREG(info.st_mode):
        raise TokenizerError("SCHEMA", f"{path.name} is not a regular file.", safe=_SAFE)
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        facts = _run_child("tokenizer", path, Path(folder), READ_S)
    if "reason" in facts:
        reason = "LIMIT" if facts["reason"] == "LIMIT" else "SCHEMA"
        raise TokenizerError(reason, str(facts["what"]), safe=_SAFE)
    return tokenizer.load(path)


def try_tokenizer(path: Path) -> None:
    """In the child: load, and encode and decode texts that are hard to get right.

    Raises:
        TokenizerError: it cannot be used; where the library panicked, that.
    """
    try:
        made = tokenizer.load(path)
        is_exact = all(made.decode(made.encode(text)) == text for text in tokenizer.HOSTILE_TEXTS)
    except SllmError:
        raise
    except BaseException as problem:  # a Rust panic is no Exception
        if isinstance(problem, KeyboardInterrupt | SystemExit):
            raise
        words = f"{path.name} is not put together as a tokenizer ({type(problem).__name__})."
        raise TokenizerError("SCHEMA", words) from problem
    if not is_exact:
        raise TokenizerError("SCHEMA", f"{path.name} does not give back the text it was given.")


def main(arguments: list[str]) -> None:
    """The child: try ``path``, leave `facts.json` and, of a checkpoint, its weights in ``out``."""
    kind, path, out = arguments[0], Path(arguments[1]), Path(arguments[2])
    limit_self(path.stat().st_size)
    facts: dict[str, Any] = {}
    try:
        if kind == "checkpoint":
            facts, state = read_in_child(path)
            save_file(state, out / "weights.safetensors")
        else:
            try_tokenizer(path)
    except SllmError as problem:
        facts = {"reason": problem.code.rsplit("-", 1)[1], "what": problem.what}
    (out / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

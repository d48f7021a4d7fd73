"""Faults on demand: the proof that nothing is lost when a disk, a clock or the power fails.

``SLLM_FAULT=point:n:kind[,...]`` does ``kind`` at the n-th passage of ``point``;
``SLLM_FAKE_FREE=bytes`` replaces the free disk space, ``SLLM_FAKE_CLOCK=seconds[@step]``
shifts the wall clock. All are read once; unset they cost one comparison.
"""

import errno
import logging
import os
import shutil
import signal
import time
from pathlib import Path

POINTS = [
    "save.open",
    "save.write",
    "save.fsync",
    "save.replace",
    "save.dirsync",
    "index.write",
    "encode.write",
    "tokenizer.save",
    "settings.save",
    "db.commit",
    "export.write",
    "scan.listed",
    "trash.rename",
    "trash.copy",
    "step.forward",
    "step.backward",
    "step.optimizer",
    "validate",
    "sample",
    "dpo.reference",
]
_ERRORS = {
    "enospc": errno.ENOSPC,
    "eio": errno.EIO,
    "edquot": getattr(errno, "EDQUOT", errno.ENOSPC),
    "erofs": errno.EROFS,
    "emfile": errno.EMFILE,
}
_SIGNALS = {"kill": "SIGKILL", "term": "SIGTERM", "int": "SIGINT", "hup": "SIGHUP"}
KINDS = [*_ERRORS, *_SIGNALS, "short", "oom", "nan", "raise", "truncate"]

log = logging.getLogger(__name__)


def parse(text: str) -> dict[str, dict[int, str]]:
    """``'save.write:2:enospc'`` -> ``{'save.write': {2: 'enospc'}}``.

    A number ending in ``+`` means every passage from there on.

    Raises:
        ValueError: an unknown point or kind.
    """
    armed: dict[str, dict[int, str]] = {}
    for part in filter(None, text.split(",")):
        point, _, rest = part.strip().partition(":")
        number, _, kind = rest.partition(":")
        if point not in POINTS or kind not in KINDS:
            raise ValueError(f"SLLM_FAULT: {part!r} names no known point and kind")
        stays = number.endswith("+")
        armed.setdefault(point, {})[-int(number[:-1]) if stays else int(number)] = kind
    return armed


_armed = parse(os.environ.get("SLLM_FAULT", ""))
_passed: dict[str, int] = {}
if _armed:
    log.warning("faults are armed: %s", os.environ["SLLM_FAULT"])


def passage(point: str) -> str:
    """Pass a named point; what is armed there happens.

    Returns:
        ``''``, or the kind that the caller must act out: ``short``, ``nan``, ``truncate``.

    Raises:
        OSError: an armed disk error.
        RuntimeError: ``oom`` (worded as torch words it) or ``raise``.
    """
    if not _armed:
        return ""
    at = _passed[point] = _passed.get(point, 0) + 1
    plan = _armed.get(point, {})
    kind = plan.get(at) or next((k for n, k in plan.items() if n < 0 and at >= -n), "")
    if not kind:
        return ""
    log.warning("fault: %s at passage %d of %s", kind, at, point)
    if kind in _ERRORS:
        raise OSError(_ERRORS[kind], os.strerror(_ERRORS[kind]))
    if kind in _SIGNALS:
        os.kill(os.getpid(), getattr(signal, _SIGNALS[kind]))
        return ""
    if kind == "oom":
        raise RuntimeError("fault: can't allocate memory")
    if kind == "raise":
        raise RuntimeError(f"fault at {point}")
    return kind


def free_bytes(path: Path) -> int:
    """Free bytes of the disk that holds ``path``."""
    fake = os.environ.get("SLLM_FAKE_FREE")
    return int(fake) if fake else shutil.disk_usage(path).free


_clock_shift, _, _clock_step = os.environ.get("SLLM_FAKE_CLOCK", "0").partition("@")


def wall_time(step: int | None = None) -> float:
    """Seconds since 1970, for people to read; order and durations never use it."""
    jumped = not _clock_step or (step is not None and step >= int(_clock_step))
    return time.time() + (float(_clock_shift) if jumped else 0.0)

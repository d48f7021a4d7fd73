"""The computer stays awake while a run goes on; it may sleep again whatever ends the run."""

import contextlib
import ctypes
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

SWITCH = "SLLM_KEEP_AWAKE"  # 0: leave the computer alone
REFUSED_S = 0.2  # the helper of the system ends as quickly when it may not
_CONTINUOUS, _SYSTEM_REQUIRED = 0x80000000, 0x00000001

log = logging.getLogger(__name__)


@contextlib.contextmanager
def keep_awake(why: str, tell: Callable[[str], None]) -> Iterator[None]:
    """No sleep inside the ``with`` block; ``tell`` gets a sentence if that cannot be had."""
    if os.environ.get(SWITCH) == "0":
        yield
        return
    if sys.platform == "win32":
        with _windows(tell):
            yield
        return
    command = _command(why)
    child, problem = _start(command) if command else (None, "")
    if child is None:
        tell("The computer may go to sleep while this runs: it cannot be kept awake.")
        log.debug("not kept awake: %s", problem or "no program of the system for it")
    try:
        yield
    finally:
        if child is not None:
            _end(child)


def _command(why: str) -> list[str]:
    """A program of the system that holds sleep off until its input or this process ends."""
    if sys.platform == "darwin":
        return ["/usr/bin/caffeinate", "-i", "-w", str(os.getpid())]
    found = shutil.which("systemd-inhibit")
    if found is None:
        return []
    words = ["--what=idle:sleep", "--who=sLLM Trainer", f"--why={why}", "--mode=block"]
    return [found, *words, "cat"]  # its input closes with us, also when we are killed


def _start(command: list[str]) -> tuple["subprocess.Popen[bytes] | None", str]:
    """The helper running, or why it is not."""
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # no terminal that it could ask for a password
        )
    except OSError as problem:
        return None, str(problem.strerror or problem)
    try:
        child.wait(REFUSED_S)  # not communicate: that closes its input, which ends it
    except subprocess.TimeoutExpired:
        return child, ""
    assert child.stderr
    lines = child.stderr.read().decode("utf-8", "replace").strip().splitlines()
    _end(child)
    return None, lines[-1] if lines else f"{command[0]} ended"


def _end(child: "subprocess.Popen[bytes]") -> None:
    for stream in (child.stdin, child.stderr):
        if stream is not None:
            stream.close()
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(2)


if sys.platform == "win32":

    @contextlib.contextmanager
    def _windows(tell: Callable[[str], None]) -> Iterator[None]:
        kernel = ctypes.windll.kernel32
        if not kernel.SetThreadExecutionState(_CONTINUOUS | _SYSTEM_REQUIRED):
            tell("The computer may go to sleep while this runs: Windows refused to stay awake.")
        try:
            yield
        finally:
            kernel.SetThreadExecutionState(_CONTINUOUS)

"""The working process: does one job, says all of it in messages, and always has a last word."""

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from sllm_core import errors, fields, hardware
from sllm_core.config import SamplingConfig
from sllm_core.errors import Cancelled, SllmError
from sllm_core.jobs.channel import FolderChannel, LogFiles, PipeChannel, tee
from sllm_core.jobs.runs import Run, open_run, tidy
from sllm_core.messages import Desired, Done, Failed, Generated, Message, Started, Stopped, Token
from sllm_core.project import Project, open_project

T = TypeVar("T")
log = logging.getLogger(__name__)
SIGNALS = {
    name: 128 + getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)
}


class Signals:
    """The first SIGTERM, SIGINT or SIGHUP asks to save and stop; a second one leaves at once."""

    def __init__(self) -> None:
        self.exit_code = 0
        self._listeners: list[Callable[[str], None]] = []
        self._old = {
            name: signal.signal(getattr(signal, name), self._on_signal) for name in SIGNALS
        }

    def listen(self, listener: Callable[[str], None]) -> None:
        """Tell ``listener`` the reason when a signal comes (or has come already)."""
        self._listeners.append(listener)
        if self.exit_code:
            listener("a signal")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.exit_code:
            os._exit(SIGNALS[name])
        self.exit_code = SIGNALS[name]
        for listener in self._listeners:
            listener(f"by {name}")

    def restore(self) -> None:
        """Put the former handlers back."""
        for name, handler in self._old.items():
            signal.signal(getattr(signal, name), handler)


def guarded(work: Callable[[], T]) -> T | Stopped | Failed:
    """The boundary of a job or a command: whatever goes wrong in ``work`` becomes a message."""
    try:
        return work()
    except Cancelled as problem:
        return Stopped(0, "", str(problem) or "stopped by you")
    except SllmError as problem:
        return Failed(problem.code, problem.text)
    except BrokenPipeError:
        raise  # nobody reads our output any more: there is no one to tell
    except OSError as problem:
        log.exception("unexpected error of the operating system")
        told = errors.disk_error(problem, problem.filename or "a file")
        return Failed(told.code, told.text)
    except Exception as problem:
        log.exception("the job failed")
        fault = _describe_fault(problem)
        return Failed(fault.code, fault.text)


def _describe_fault(problem: Exception) -> SllmError:
    """The words for an error that nobody foresaw."""
    from sllm_core.device import is_out_of_memory

    safe = "Everything that was reported as saved is intact."
    if is_out_of_memory(problem):
        return errors.StepMemoryError(
            "SYSTEM",
            "The computer ran out of memory.",
            safe=safe,
            todo="Close other programs, then go on (train --resume auto).",
        )
    return errors.WorkerError(
        "FAULT",
        f"Something went wrong inside the program ({type(problem).__name__}).",
        safe=safe,
        todo="The details are in the log of the run (stderr.log, or --debug).",
    )


def run_job(
    run: Run, sink: Callable[[Message], None] | None = None, *, resume: str = ""
) -> tuple[Message, int]:
    """Do the job of a run folder in this process.

    Args:
        run: what to do; its lock and its lane are taken first.
        sink: a second receiver of all messages (the command line's).
        resume: checkpoint name to go on from; '' is the newest.

    Returns:
        The last message and the exit code of the process.

    Raises:
        LockError: the run or its lane is being worked on.
    """
    signals = Signals()
    try:
        with run.lane_lock(), run.lock():
            tidy(run)
            channel = FolderChannel(run.folder)
            signals.listen(channel.ask_stop)
            sinks = [channel.emit, LogFiles(run.project.logs_dir, run.id).emit]
            emit = tee(*sinks, *([sink] if sink else []))
            try:
                emit(Started(run.id, run.kind, os.getpid()))
                last = guarded(lambda: _do(run, emit, channel.desired, resume))
                emit(last)
            finally:
                channel.close()
    finally:
        signals.restore()
    if isinstance(last, Failed):
        return last, 1
    return last, signals.exit_code if isinstance(last, Stopped) else 0


def _do(
    run: Run, emit: Callable[[Message], None], desired: Callable[[], Desired], resume: str
) -> Message:
    from sllm_core.jobs import (  # heavy: after the folder says that we have started
        pipeline,
        training,
    )

    job = pipeline.Job(emit, desired)
    job.check()
    if run.kind == "train":
        return training.train(run, job, resume)
    if run.kind == "scan":
        return pipeline.scan(run.project, run.config, job)
    file = run.options.get("tokenizer_file")
    pipeline.prepare(
        run.project,
        run.config,
        job,
        tokenizer_file=Path(file) if file else None,
        is_vocab_asked=bool(run.options.get("is_vocab_asked")),
    )
    return Done(reason="prepared")


def train_tokenizer(project: Project, size: int, out: Path, settings: dict[str, Any]) -> None:
    """A child of `prepare`: its messages go up the pipe, and it ends when its owner ends it."""
    from sllm_core.jobs import pipeline

    channel = PipeChannel(sys.stdout)

    def work() -> Message:
        pipeline.train_tokenizer_here(project, size, out, settings, pipeline.Job(channel.emit))
        return Done(reason="tokenizer trained")

    channel.emit(guarded(work))


def serve(project: Project) -> None:
    """The warm writer: one JSON line a request on standard input, answers on standard output.

    ``{"request": 1, "prompt": "...", "checkpoint": "best", "settings": {...}, "seed": 0}`` is
    answered by `token` messages and one `generated`; ``{"cancel": 1}`` ends request 1 early.
    """
    from sllm_core.jobs import models
    from sllm_core.sampler import write

    channel = PipeChannel(sys.stdout)
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
    cancelled: set[int] = set()

    def listen() -> None:
        for line in sys.stdin:
            try:
                body = json.loads(line)
                number = body.get("cancel")
                if number is None:
                    requests.put(body)
                else:
                    cancelled.add(int(number))
            except (ValueError, AttributeError, TypeError, RecursionError):
                continue
        requests.put(None)

    threading.Thread(target=listen, daemon=True).start()
    loaded: dict[str, Any] = {}

    def answer(body: dict[str, Any]) -> Message:
        number, name = int(body["request"]), str(body.get("checkpoint", "best"))
        key = models.model_key(project, name)
        if loaded.get("key") != key:
            loaded.clear()
            loaded.update(key=key, model=models.load_model(project, name))
        model, used, device, _ = loaded["model"]
        settings = fields.from_mapping(SamplingConfig, body.get("settings", {}), "the request")
        seed = int(body.get("seed", settings.sample_seed))
        written = write(
            model,
            used,
            str(body["prompt"]),
            settings,
            device=device,
            seed=seed,
            on_text=lambda text: channel.emit(Token(number, text)),
            is_cancelled=lambda: number in cancelled,
        )
        return Generated(prompt=str(body["prompt"]), request=number, **asdict(written))

    while (body := requests.get()) is not None:
        request = body.get("request", 0)
        last = guarded(lambda body=body: answer(body))  # type: ignore[misc]
        channel.emit(replace(last, request=request) if isinstance(last, Failed) else last)


def main(arguments: list[str]) -> int:
    """``run PROJECT RUN [CHECKPOINT]``, ``write PROJECT`` or ``tokenizer PROJECT SIZE OUT JSON``."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    hardware.lower_priority()
    command, folder, *rest = arguments
    if command == "run":
        try:
            run = open_run(open_project(folder), rest[0])
            return run_job(run, resume=rest[1] if len(rest) > 1 else "")[1]
        except SllmError as problem:
            sys.stderr.write(f"{problem.text}\n")
            return 1
    if command == "write":
        with contextlib.suppress(BrokenPipeError):  # the one we write for is gone
            serve(open_project(folder))
        return 0
    size, out, settings = rest
    train_tokenizer(Project(Path(folder)), int(size), Path(out), json.loads(settings))
    return 0

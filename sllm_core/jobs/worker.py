"""The working process: does one job, says all of it in messages, and always has a last word."""

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from sllm_core import errors, fields, hardware
from sllm_core.config import SamplingConfig
from sllm_core.errors import Cancelled, SllmError
from sllm_core.jobs.awake import keep_awake
from sllm_core.jobs.channel import FolderChannel, LogFiles, PipeChannel, tee
from sllm_core.jobs.runs import Run, open_run, tidy
from sllm_core.messages import (
    Desired,
    Done,
    Failed,
    Generated,
    Log,
    Message,
    Started,
    Stopped,
    Token,
)
from sllm_core.project import Project, open_project

if TYPE_CHECKING:
    from sllm_core.jobs.pipeline import Job

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
    safe = "Everything that was reported as saved is intact."
    if _is_out_of_memory(problem):
        return errors.StepMemoryError(
            "SYSTEM",
            "The computer ran out of memory.",
            safe=safe,
            todo="Close other programs, then go on: Continue in the window, train --resume auto on "
            "the command line.",
        )
    return errors.WorkerError(
        "FAULT",
        f"Something went wrong inside the program ({type(problem).__name__}).",
        safe=safe,
        todo="The details are in stderr.log in the folder of the run.",
    )


def _is_out_of_memory(problem: Exception) -> bool:
    """Ask torch only where it is loaded: `look` must stay without it."""
    if sys.modules.get("torch") is None:
        return isinstance(problem, MemoryError)
    from sllm_core.device import is_out_of_memory

    return is_out_of_memory(problem)


def run_job(
    run: Run,
    sink: Callable[[Message], None] | None = None,
    *,
    resume: str = "",
    changes: dict[str, Any] | None = None,
) -> tuple[Message, int]:
    """Do the job of a run folder in this process.

    Args:
        run: what to do; its lock and its lane are taken first.
        sink: a second receiver of all messages (the command line's).
        resume: checkpoint name to go on from; '' is the newest.
        changes: limits and intervals that a resumed run gets anew, by name.

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
                with _awake(run, emit):
                    last = guarded(lambda: _do(run, emit, channel.desired, resume, changes or {}))
                emit(last)
            finally:
                channel.close()
    finally:
        signals.restore()
    if isinstance(last, Failed):
        return last, 1
    return last, signals.exit_code if isinstance(last, Stopped) else 0


def _awake(run: Run, emit: Callable[[Message], None]) -> contextlib.AbstractContextManager[None]:
    if run.kind != "train":
        return contextlib.nullcontext()
    return keep_awake("a model is being trained", lambda words: emit(Log(words)))


def _do(
    run: Run,
    emit: Callable[[Message], None],
    desired: Callable[[], Desired],
    resume: str,
    changes: dict[str, Any],
) -> Message:
    from sllm_core.jobs import pipeline  # after the folder says that we have started

    job = pipeline.Job(emit, desired)
    job.check()
    if run.kind == "train":
        from sllm_core.jobs import training  # torch: work on the data does without

        if changes:
            run = training.change_limits(run, changes)
        return training.train(run, job, resume)
    if run.kind == "scan":
        is_forced = bool(run.options.get("is_forced"))
        return pipeline.scan(run.project, run.config, job, is_forced=is_forced)
    if run.kind in _DONE:
        return _refine(run, job)
    file = run.options.get("tokenizer_file")
    pipeline.prepare(
        run.project,
        run.config,
        job,
        tokenizer_file=Path(file) if file else None,
        is_vocab_asked=bool(run.options.get("is_vocab_asked")),
    )
    return Done(reason="prepared")


def _refine(run: Run, job: "Job") -> Message:
    """The jobs of the Refine tab."""
    from sllm_core.jobs import refining

    project, config, options = run.project, run.config, run.options
    match run.kind:
        case "refine":
            job.emit(refining.refine(project, config, job))
        case "remove":
            job.emit(refining.remove(project, config, job, options))
        case "restore":
            job.emit(refining.restore(project, config, job, options))
        case "leaks":
            job.emit(refining.find_leaks(project, config, job, options))
        case _:
            refining.clear(project, job)
    return Done(reason=_DONE[run.kind])


_DONE = {
    "refine": "analysed",
    "remove": "moved",
    "restore": "restored",
    "leaks": "checked",
    "clear": "cleared",
}


def train_tokenizer(project: Project, size: int, out: Path, settings: dict[str, Any]) -> None:
    """A child of `prepare`: its messages go up the pipe, and it ends when its owner ends it."""
    from sllm_core.jobs import pipeline

    channel = PipeChannel(sys.stdout)

    def work() -> Message:
        pipeline.train_tokenizer_here(project, size, out, settings, pipeline.Job(channel.emit))
        return Done(reason="tokenizer trained")

    channel.emit(guarded(work))


class Mailbox:
    """Requests from standard input, one JSON line each; ``{"cancel": 1}`` ends request 1 early."""

    def __init__(self) -> None:
        self.cancelled: set[int] = set()
        self._requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            try:
                body = json.loads(line)
                number = body.get("cancel")
                if number is None:
                    self._requests.put(body)
                else:
                    self.cancelled.add(int(number))
            except (ValueError, AttributeError, TypeError, RecursionError):
                continue
        self._requests.put(None)

    def take(self) -> dict[str, Any] | None:
        """The next request, waited for; None when nobody asks any more."""
        return self._requests.get()

    def waiting(self) -> list[dict[str, Any]]:
        """What has come in the meantime."""
        found: list[dict[str, Any]] = []
        while not self._requests.empty():
            body = self._requests.get()
            if body is None:
                self._requests.put(None)
                break
            found.append(body)
        return found


def _answered(answer: Callable[[dict[str, Any]], Message], body: dict[str, Any]) -> Message:
    """The answer, or why there is none, under the number of the request."""
    last = guarded(lambda: answer(body))
    number = body.get("request")
    if isinstance(last, Failed) and type(number) is int:
        return replace(last, request=number)
    return last


def look(project: Project) -> None:
    """What the window looks at: one JSON line a request on standard input. No torch in here.

    ``{"request": 1, "preview": "/a/file.txt", "limit": 8000}`` or ``"preview": {"source_id": 1,
    "path": "612e747874"}`` (the index's path bytes as hex), with ``"raw": true`` as bytes, is
    answered by a `preview`; ``{"request": 2, "count": "text"}`` by a `token_count`;
    ``{"request": 3, "report": true, "compare": true}`` by a `tokenizer_report`, which takes
    seconds and lets quicker requests go first.
    """
    from sllm_core.jobs.look import Looker

    channel, mail = PipeChannel(sys.stdout), Mailbox()
    reports: deque[dict[str, Any]] = deque()

    def breathe() -> None:
        for body in mail.waiting():
            if "report" in body:
                reports.append(body)
            else:
                channel.emit(_answered(looker.answer, body))

    looker = Looker(project, breathe)
    while (body := reports.popleft() if reports else mail.take()) is not None:
        channel.emit(_answered(looker.answer, body))


def advise(project: Project, body: dict[str, Any]) -> None:
    """One question about this machine: ``{"do": "probe"}`` or ``{"do": "auto"}``; see jobs.advise.

    Log and progress messages go up on the way; `probed`, `proposal` or `failed` is the last word.
    """
    from sllm_core.jobs import advise as advisor
    from sllm_core.jobs import pipeline

    channel = PipeChannel(sys.stdout)
    job = pipeline.Job(channel.emit)

    def answer(body: dict[str, Any]) -> Message:
        if body["do"] == "probe":
            return advisor.probe_settings(project, body, job)
        return advisor.propose(project, body, job)

    channel.emit(_answered(answer, body))


def sizes(project: Project, body: dict[str, Any]) -> None:
    """Vocabulary sizes side by side: `progress`, then `vocabulary_sizes` or `failed`."""
    from sllm_core.jobs.sizes import compare_sizes

    channel = PipeChannel(sys.stdout)

    def answer(body: dict[str, Any]) -> Message:
        return compare_sizes(project, int(body["request"]), channel.emit)

    channel.emit(_answered(answer, body))


def serve(project: Project) -> None:
    """The warm writer: one JSON line a request on standard input, answers on standard output.

    ``{"request": 1, "prompt": "...", "checkpoint": "best", "settings": {...}, "seed": 0}`` is
    answered by `token` messages and one `generated`; ``{"cancel": 1}`` ends request 1 early.
    ``{"request": 2, "count": "text"}`` is answered by a `token_count`.
    """
    from sllm_core import device as devices
    from sllm_core.jobs import models
    from sllm_core.jobs.look import Looker
    from sllm_core.sampler import write

    channel, mail = PipeChannel(sys.stdout), Mailbox()
    loaded: dict[str, Any] = {}
    looker = Looker(project)

    def answer(body: dict[str, Any]) -> Message:
        if "count" in body:
            return looker.answer(body)
        number, name = int(body["request"]), str(body.get("checkpoint", "best"))
        key = models.model_key(project, name)
        if loaded.get("key") != key:
            loaded.clear()
            loaded.update(key=key, model=models.load_model(project, name))
        model, used, device, _ = loaded["model"]
        devices.set_up(models.writing_threads(project))  # a run may have begun or ended since
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
            is_cancelled=lambda: number in mail.cancelled,
        )
        return Generated(prompt=str(body["prompt"]), request=number, **asdict(written))

    while (body := mail.take()) is not None:
        channel.emit(_answered(answer, body))


def main(arguments: list[str]) -> int:
    """What a worker process does.

    ``run PROJECT RUN [CHECKPOINT [JSON]]``, ``write PROJECT``, ``look PROJECT``, ``advise PROJECT JSON``,
    ``sizes PROJECT JSON`` or ``tokenizer PROJECT SIZE OUT JSON``.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    hardware.lower_priority()
    command, folder, *rest = arguments
    if command == "run":
        try:
            run = open_run(open_project(folder), rest[0])
            changes = json.loads(rest[2]) if len(rest) > 2 else {}
            return run_job(run, resume=rest[1] if len(rest) > 1 else "", changes=changes)[1]
        except SllmError as problem:
            sys.stderr.write(f"{problem.text}\n")
            return 1
    if command == "write":
        with contextlib.suppress(BrokenPipeError):  # the one we write for is gone
            serve(open_project(folder))
        return 0
    if command == "look":
        with contextlib.suppress(BrokenPipeError):
            look(open_project(folder))
        return 0
    if command == "advise":
        with contextlib.suppress(BrokenPipeError):
            advise(open_project(folder), json.loads(rest[0]))
        return 0
    if command == "sizes":
        with contextlib.suppress(BrokenPipeError):
            sizes(open_project(folder), json.loads(rest[0]))
        return 0
    size, out, settings = rest
    train_tokenizer(Project(Path(folder)), int(size), Path(out), json.loads(settings))
    return 0

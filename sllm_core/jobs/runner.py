"""The owner's side of a job: start it in a child process, follow it, stop it. No heavy imports.

One thread a job reads what the child writes and puts messages into one thread-safe queue.
"""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psutil

from sllm_core import faults, messages
from sllm_core.errors import WorkerError
from sllm_core.jobs.channel import read_control, read_events, write_control
from sllm_core.jobs.runs import Run, is_alive, worker_pid
from sllm_core.jobs.series import end_of
from sllm_core.messages import Done, Failed, Item, Message, Scanned, Stopped

HOME = Path(__file__).resolve().parents[2]
POLL_S = 0.05
LAST_LINES = 12
_FINAL = (Done, Stopped, Failed)
# Workers that go on without a follower: kept, so that their end leaves no zombie behind.
_left: "list[subprocess.Popen[bytes]]" = []
_NO_LAST_WORD = "The working process ended without a last word."
_CODE = re.compile(r"\[(E-[A-Z-]+)\]$")


def worker_command(*arguments: str) -> list[str]:
    """The command line of a worker process of this same Python."""
    return [sys.executable, "-m", "sllm_core.worker", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HOME), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


def describe_exit(code: int) -> tuple[str, str]:
    """(signal name or '', words) for a worker that ended without a last word."""
    if code >= 0:
        return "", f"{_NO_LAST_WORD[:-1]} (exit code {code})."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return name, "The system ended the working process, most likely for memory."
    return name, f"The working process was ended by {name}."


class Runner:
    """Follows one run: started here, or found alive (or finished) and attached to.

    Args:
        run: the run folder.
        out: where messages go, as (run id, message, time of its line).
        resume: a checkpoint name for a run that goes on from it.
        changes: limits and intervals that a resumed run gets anew, by name.
        offset: where in `events.jsonl` to begin (`Past.end`); None is the beginning for a run
            that is attached to, and the end for one that is started.
    """

    def __init__(
        self,
        run: Run,
        out: "queue.Queue[Item]",
        resume: str = "",
        changes: Mapping[str, Any] | None = None,
        offset: int | None = None,
    ) -> None:
        self.run_id = run.id
        self._run, self._out, self._resume = run, out, resume
        self._changes, self._offset = dict(changes or {}), offset or 0
        self._is_offset_given = offset is not None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._follow, name=f"run {run.id}", daemon=True)
        self._closing = threading.Event()
        self._ladder: list[tuple[float, str]] = []  # (when on the monotonic clock, what)

    def start(self) -> "Runner":
        """Start the worker; its errors go to `stderr.log` in the run folder."""
        wish = read_control(self._run.folder)
        write_control(self._run.folder, replace(wish, state="run", reason=""))
        if not self._is_offset_given:
            self._offset = end_of(self._run.folder)
        changes = [json.dumps(self._changes)] if self._changes else []
        words = (str(self._run.project.root), self._run.id, self._resume, *changes)
        command = worker_command("run", *words)
        with (self._run.folder / "stderr.log").open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=HOME,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=os.name != "nt",  # it outlives a window that dies
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        self._thread.start()
        return self

    def attach(self) -> "Runner":
        """Follow a run that another process started, from the offset given."""
        self._thread.start()
        return self

    def ask(self, state: str) -> None:
        """State the wish: run, pause or stop."""
        write_control(self._run.folder, replace(read_control(self._run.folder), state=state))

    def save_now(self) -> None:
        """Ask for a checkpoint."""
        wish = read_control(self._run.folder)
        write_control(self._run.folder, replace(wish, save_now=wish.save_now + 1))

    def change(self, values: Mapping[str, Any]) -> None:
        """Settings that a run takes over while it works (`messages.LIVE`), by name."""
        wish = read_control(self._run.folder)
        settings = {**wish.settings, **values}
        write_control(self._run.folder, replace(wish, settings=settings))

    def end(self, patience_s: float = 60.0) -> None:
        """The ladder without waiting: ask now, terminate and kill later if it must be.

        The thread that follows climbs it; a second call with less patience makes it quicker.
        """
        self.ask("stop")
        now = time.monotonic()
        self._ladder = [(now + patience_s, "terminate"), (now + 2 * patience_s, "kill")]

    def _climb(self) -> None:
        if not self._ladder or time.monotonic() < self._ladder[0][0]:
            return
        (_, verb), *self._ladder = self._ladder
        if self._process is not None:
            getattr(self._process, verb)()
        elif (pid := worker_pid(self._run.folder)) is not None:
            with contextlib.suppress(psutil.Error):
                getattr(psutil.Process(pid), verb)()

    def stop(self, patience_s: float = 60.0) -> None:
        """The ladder: ask, then terminate (it still saves), then kill. Blocks; never on Tk's thread."""
        self.ask("stop")
        if self._process is None:
            return
        for step in (lambda: None, self._process.terminate, self._process.kill):
            step()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
                return

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the last message was put into the queue."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Stop following; the run itself goes on."""
        self._closing.set()
        self._thread.join(timeout=5)
        _left[:] = [process for process in _left if process.poll() is None]
        if self._process is not None and self._process.poll() is None:
            _left.append(self._process)

    def _is_running(self) -> bool:
        return self._process.poll() is None if self._process else is_alive(self._run)

    def _follow(self) -> None:
        is_final = was_running = False
        final = (*_FINAL, Scanned) if self._run.kind == "scan" else _FINAL
        while not self._closing.is_set():
            running = self._is_running()  # asked first: what it wrote before is then complete
            was_running = was_running or running
            found, self._offset = read_events(self._run.folder, self._offset)
            for message, when in found:
                is_final = isinstance(message, final)
                self._put(message, when)
                if is_final and (self._process is not None or self._is_offset_given):
                    self._see_off()  # what comes after its last word is another process's
                    return
            if not running:
                now = faults.wall_time()
                if not is_final and self._process is not None:
                    self._put(self._died(self._process.returncode), now)
                elif was_running and not is_final:  # attached: its exit code is not ours to know
                    self._put(_failed(_NO_LAST_WORD, None, "", ()), now)
                return
            # The window is slower than the job: wait for it.
            while self._out.qsize() > 200 and not self._closing.is_set():
                self._climb()
                time.sleep(POLL_S)
            self._climb()
            time.sleep(POLL_S)

    def _see_off(self) -> None:
        """Wait for the end of a process that has said its last word; the ladder still counts."""
        while self._process and self._process.poll() is None and not self._closing.is_set():
            self._climb()
            time.sleep(POLL_S)

    def _put(self, message: Message, when: float) -> None:
        self._out.put((self._run.id, message, when))

    def _died(self, code: int) -> Failed:
        name, words = describe_exit(code)
        with contextlib.suppress(OSError):
            text = (self._run.folder / "stderr.log").read_text(encoding="utf-8", errors="replace")
            lines = tuple(text.splitlines()[-LAST_LINES:])
            if (told := _CODE.search(text.strip())) and len(text.splitlines()) <= 3:
                return Failed(told[1], text.strip(), exit_code=code, last_lines=lines)  # refused
            return _failed(words, code, name, lines)
        return _failed(words, code, name, ())


def _failed(words: str, code: int | None, name: str, lines: tuple[str, ...]) -> Failed:
    text = WorkerError(
        "DIED",
        words,
        safe="Everything that was reported as saved is intact.",
        todo="Go on from the newest checkpoint: Continue in the window, train --resume auto on the "
        "command line.",
    ).text
    return Failed("E-WORKER-DIED", text, exit_code=code, signal=name, last_lines=lines)


class PipeProcess:
    """A child that answers JSON lines with JSON lines: the warm writer, the tokenizer's trainer.

    It ends with its input. What it writes to standard error is kept for the report of its death.

    Args:
        arguments: the command of the worker and its words.
        name: who says what comes into ``out``; the command when it is left out.
        out: where messages go as (name, message, time), and a death that nobody asked for as
            `Failed`; without it they go to `messages`, which ends with None.
    """

    def __init__(
        self, *arguments: str, name: str = "", out: "queue.Queue[Item] | None" = None
    ) -> None:
        self.name, self._out, self._is_closing = name or arguments[0], out, False
        self._process = subprocess.Popen(
            worker_command(*arguments),
            cwd=HOME,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=os.name != "nt",  # Ctrl-C in a terminal is ours to pass on
        )
        self.messages: queue.Queue[Message | None] = queue.Queue()  # None: the child is gone
        self._errors: deque[str] = deque(maxlen=LAST_LINES)
        self._lines: queue.Queue[bytes | None] = queue.Queue()  # None: nothing more is asked
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin and stdout and stderr
        streams: tuple[tuple[Callable[[Any], None], IO[bytes]], ...] = (
            (self._read, stdout),
            (self._read_errors, stderr),
            (self._write, stdin),
        )
        self._threads = [
            threading.Thread(target=target, args=(stream,), daemon=True)
            for target, stream in streams
        ]
        for thread in self._threads:
            thread.start()

    def send(self, line: str) -> None:
        """One request; returns at once, and a child that is gone is noticed by its None."""
        self._lines.put(line.encode("utf-8") + b"\n")

    def _write(self, stream: IO[bytes]) -> None:
        """Pass requests on: a pipe takes 64 KiB, then it waits for a child that still starts."""
        with contextlib.suppress(OSError, ValueError):
            while (line := self._lines.get()) is not None:
                stream.write(line)
                stream.flush()
        with contextlib.suppress(OSError):
            stream.close()

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            found = messages.decode(line)
            if found is None:
                continue
            if self._out is None:
                self.messages.put(found[0])
            else:
                self._out.put((self.name, *found))
        self._threads[1].join(timeout=2)
        self.messages.put(None)
        if self._out is not None and self._process.wait() != 0 and not self._is_closing:
            self._out.put((self.name, self.death(), faults.wall_time()))

    def _read_errors(self, stream: Iterable[bytes]) -> None:
        for line in stream:
            self._errors.append(line.decode("utf-8", "replace").rstrip())

    def death(self) -> Failed:
        """Why the child is gone."""
        code = self._process.wait()
        name, words = describe_exit(code)
        return _failed(words, code, name, tuple(self._errors))

    def close(self, patience_s: float = 2.0) -> None:
        """End the child: close its input, then terminate, then kill."""
        self._is_closing = True
        for step in (self._close_input, self._process.terminate, self._process.kill):
            step()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
                break
        for thread in self._threads:
            thread.join(timeout=2)
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()

    def terminate(self) -> None:
        """End the child now."""
        self._is_closing = True
        self._process.terminate()
        self.close()

    def _close_input(self) -> None:
        self._lines.put(None)

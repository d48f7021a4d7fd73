"""A pool of child processes for work on files of strangers: what hangs or dies there is one file.

Items go out in chunks and come back in order. A child that takes too long on an item, or too much
memory, is killed and started again; the rest of its chunk goes on.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from sllm_core.errors import DiskError, WorkerError

HOME = Path(__file__).resolve().parents[2]
MEMORY_BYTES = 2 << 30
MOST_ITEMS = 64  # of a chunk: the line for it fits a pipe
CHUNK_S = 0.25  # of work in a chunk: less is talk, more is waiting for the last child
AHEAD = 4  # chunks of the largest size that may be out for each child
WALL = 4.0  # an item may take so many times its limit when others keep the processor busy
RECYCLE_ITEMS = 5000
RECYCLE_BYTES = 768 << 20  # libraries leak, and memory in pieces is not given back
_TURN_S = 0.05
_TAIL_BYTES = 2000  # of what a child said last
_PATIENCE_S = 2.0
READY_S = 120.0  # to start and import; longer is a process that stands still
_STARTS = 2  # a child that cannot even begin is our own fault
_IDLE, _AWAITED = 0, -1

Item = dict[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class _Chunk:
    task: str
    items: list[tuple[int, float, Item]]  # number, limit in seconds, request


class _Child:
    """One process: what it was asked, and since when it has been at it."""

    def __init__(self, settings: dict[str, Any], memory_bytes: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sllm_core.corpus.child"],
            cwd=HOME,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=os.name != "nt",  # Ctrl-C in a terminal is the owner's to pass on
            creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
            | getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._begin = {"settings": settings, "memory_bytes": memory_bytes}
        self._memory_bytes = memory_bytes
        self._facts = psutil.Process(self._process.pid)
        self._tail = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.n_items = 0
        self._has_begun = False
        self.is_at_item = False  # ready, and not through with what it was asked
        self._fault = (0, "")  # item that it was killed for, and why
        self._turn = _IDLE  # which item it is at, from 1
        self._since = self._limit_s = 0.0  # of that item; or since when it is awaited
        self._seen = (0, 0.0)  # item, and the processor time when the watch first saw it

    def _listen(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with contextlib.suppress(OSError, ValueError), stream:
            while piece := os.read(stream.fileno(), 4096):
                self._tail = (self._tail + piece)[-_TAIL_BYTES:]

    def answers(self, chunk: _Chunk, first: int) -> Iterator[Result]:
        """Ask for the items from ``first`` on; ends early when the child is gone."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        request = {"task": chunk.task, "items": [item[1:] for item in chunk.items[first:]]}
        lines = [request] if self._has_begun else [self._begin, request]
        self.is_at_item, self._since = False, time.monotonic()
        self._turn = _AWAITED
        try:
            stdin.write(b"".join(json.dumps(line).encode("ascii") + b"\n" for line in lines))
            stdin.flush()
            if stdout.readline() != b'"ready"\n':
                return
            self._has_begun = self.is_at_item = True
            for _, self._limit_s, _ in chunk.items[first:]:
                self._since = time.monotonic()
                self._turn = self.n_items + 1
                line = stdout.readline()
                self._turn = _IDLE
                if not line.endswith(b"\n"):
                    return
                self.n_items += 1
                yield json.loads(line)
        except (OSError, ValueError):
            self.kill()

    def watch(self) -> None:
        """Kill it if it takes too much; called several times a second."""
        turn = self._turn
        if turn == _AWAITED and time.monotonic() - self._since > READY_S:
            self.kill()
        if turn in {_AWAITED, _IDLE}:
            return
        try:
            times = self._facts.cpu_times()
            memory = self._facts.memory_info().rss
        except psutil.Error:
            return
        cpu_s = times.user + times.system
        if self._seen[0] != turn:
            self._seen = (turn, cpu_s)
        waited_s, limit_s = time.monotonic() - self._since, self._limit_s
        if cpu_s - self._seen[1] > limit_s or waited_s > WALL * limit_s:
            self.kill(turn, f"it took longer than {limit_s:.0f} s")
        elif memory > self._memory_bytes:
            self.kill(turn, f"it needs more than {self._memory_bytes >> 20} MiB of memory")

    def kill(self, turn: int = 0, why: str = "") -> None:
        """End it at once, for an item or for none."""
        self._fault = (turn, why)
        self._process.kill()

    @property
    def too_much(self) -> str:
        """Why it was killed, if that was for the item it did not answer."""
        turn, why = self._fault
        return why if turn == self.n_items + 1 else ""

    def is_worn(self) -> bool:
        """Whether another one should take its place."""
        if self.n_items >= RECYCLE_ITEMS:
            return True
        try:
            return self._facts.memory_info().rss > RECYCLE_BYTES
        except psutil.Error:
            return True

    def verdict(self) -> Result:
        """What its death says about the item it was at."""
        if self.too_much:
            return {"reason": "limit", "detail": self.too_much}
        code = self._process.wait()
        if code in {-getattr(signal, "SIGKILL", 9), -getattr(signal, "SIGXCPU", 24)}:
            return {"reason": "limit", "detail": "the system ended its reader"}
        return {"reason": "parse", "detail": f"its reader ended with {code}: {self.last_words()}"}

    def last_words(self) -> str:
        """The last line it wrote to standard error."""
        self._listener.join(timeout=1)
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else "no last word"

    def end(self, patience_s: float) -> None:
        """Close its input, wait, then kill; nothing of it is left."""
        process = self._process
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._listener.join()


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(HOME),
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena counts 64 MiB of addresses, used or not
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


class Children:
    """A pool that stays warm between runs; use it in a `with` block.

    Args:
        n: how many processes; they are started when there is work.
        settings: told to each child once, for tasks that load something.
        memory_bytes: most memory of each.
    """

    def __init__(
        self, n: int, settings: dict[str, Any], *, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._n, self._settings, self._memory_bytes = max(1, n), settings, memory_bytes
        self._threads: list[threading.Thread] = []
        self._n_runs = 0
        self._open()

    def _open(self) -> None:
        self._inbox: queue.Queue[_Chunk | None] = queue.Queue()
        self._done: queue.Queue[tuple[int, Result | WorkerError]] = queue.Queue()
        self._living: set[_Child] = set()
        self._lock = threading.Lock()
        self._is_stopped = False
        self._is_running = False
        self._item_s = 0.0  # how long an item takes, lately

    def __enter__(self) -> "Children":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(
        self,
        task: str,
        items: Iterable[Item],
        *,
        limit_s: float | Callable[[Item], float],
        check: Callable[[], None],
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, in the order of the items.

        A result is what the task answers, or ``reason`` and ``detail``: of the task itself, or
        ``limit`` and ``parse`` for an item whose child hung or died. Only so many items are taken
        in advance that memory stays flat.

        Args:
            task: a name in `child.TASKS`.
            items: requests; taken in the calling thread.
            limit_s: seconds of processor time for an item, or a function of it.
            check: called many times a second; what it raises kills the children and goes on up.

        Raises:
            DiskError: a child could not write.
            WorkerError: the children cannot be started.
        """
        limit = limit_s if callable(limit_s) else lambda _: limit_s
        source = enumerate(items)
        out: dict[int, Item] = {}
        results: dict[int, Result] = {}
        number, is_more = 0, True
        turn = _Turn(check, self._watch)
        self._n_runs += 1
        this_run, self._is_running = self._n_runs, True
        try:
            self._start()
            while True:
                turn.take()
                room = AHEAD * MOST_ITEMS * self._n - len(out)
                while is_more and room > 0 and self._inbox.qsize() < self._n:
                    taken = list(islice(source, min(room, self._chunk_items())))
                    is_more, room = bool(taken), room - len(taken)
                    out.update(taken)
                    if taken:
                        chunk = [(n, limit(item), item) for n, item in taken]
                        self._inbox.put(_Chunk(task, chunk))
                if number not in results:
                    if not out:
                        self._is_running = False
                        return
                    self._collect(results)
                while number in results:
                    yield out.pop(number), results.pop(number)
                    number += 1
                    turn.take()
        finally:
            if self._is_running and this_run == self._n_runs:
                self._stop()

    def _chunk_items(self) -> int:
        if not self._item_s:
            return 4
        return max(1, min(MOST_ITEMS, int(CHUNK_S / self._item_s)))

    def _collect(self, results: dict[int, Result]) -> None:
        """Take what is done, waiting a little for the first."""
        try:
            number, result = self._done.get(timeout=_TURN_S)
            while True:
                if isinstance(result, WorkerError):
                    raise result
                if "disk" in result:
                    reason, what, safe, todo = result["disk"]
                    raise DiskError(reason, what, safe=safe, todo=todo)
                results[number] = result
                number, result = self._done.get_nowait()
        except queue.Empty:
            return

    def _watch(self) -> None:
        for child in list(self._living):
            child.watch()

    # -- threads: one keeps one child -----------------------------------------------------------

    def _start(self) -> None:
        while len(self._threads) < self._n:
            thread = threading.Thread(target=self._keep, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _keep(self) -> None:
        """Work through chunks with one child, started when it is needed."""
        child: _Child | None = None
        while (chunk := self._inbox.get()) is not None:
            child = self._work(chunk, child)
        if child is not None:
            self._end(child)

    def _work(self, chunk: _Chunk, child: _Child | None) -> _Child | None:
        at = n_starts = 0
        is_again = False  # a child died on the item before: perhaps by accident
        while at < len(chunk.items):
            if child is None and (child := self._spawn()) is None:
                return None
            began, before = time.monotonic(), at
            for result in child.answers(chunk, at):
                self._done.put((chunk.items[at][0], result))
                at, is_again = at + 1, False
            if at > before:
                self._learn((time.monotonic() - began) / (at - before))
            if at == len(chunk.items):
                break
            n_starts = 0 if child.is_at_item else n_starts + 1
            if n_starts >= _STARTS:
                words = f"A reader of files cannot start: {child.last_words()}."
                self._done.put((-1, WorkerError("DIED", words)))
                self._end(child)
                return None
            if child.too_much or (child.is_at_item and is_again):
                self._done.put((chunk.items[at][0], child.verdict()))
                at, is_again = at + 1, False
            else:
                is_again = is_again or child.is_at_item
            self._end(child)
            child = None
        if child is not None and child.is_worn():
            self._end(child)
            child = None
        return child

    def _learn(self, item_s: float) -> None:
        self._item_s = 0.7 * self._item_s + 0.3 * item_s if self._item_s else item_s

    def _spawn(self) -> _Child | None:
        """A new child; None when the pool is being stopped or the system has no room for one."""
        with self._lock:
            if self._is_stopped:
                return None
            try:
                child = _Child(self._settings, self._memory_bytes)
            except (OSError, psutil.Error) as problem:
                words = f"A reader of files cannot start: {problem}."
                self._done.put((-1, WorkerError("DIED", words)))
                return None
            self._living.add(child)
            return child

    def _end(self, child: _Child) -> None:
        child.end(_PATIENCE_S)
        self._living.discard(child)

    def _stop(self) -> None:
        """Kill everything and forget what was asked; the next run begins anew."""
        with self._lock:
            self._is_stopped = True
            for child in list(self._living):
                child.kill()
        self._finish()

    def close(self) -> None:
        """End the children; of a run that was left in the middle nothing more is done."""
        if self._is_running:
            self._stop()
        else:
            self._finish()

    def _finish(self) -> None:
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._open()


class _Turn:
    """What must happen many times a second, and not a thousand times."""

    def __init__(self, *calls: Callable[[], None]) -> None:
        self._calls, self._next = calls, 0.0

    def take(self) -> None:
        """Make the calls when it is time."""
        now = time.monotonic()
        if now >= self._next:
            for call in self._calls:
                call()
            self._next = now + _TURN_S

"""Short work of the window on files, off its thread; each ends with one item in the queue."""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sllm_core import errors, faults
from sllm_core.errors import SllmError, WorkerError
from sllm_core.messages import Item

N_THREADS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskDone:
    """A task ended: with its result, or with an error that a user can read."""

    name: str
    result: Any
    error: SllmError | None


class Tasks:
    """A pool of two threads; puts ("task", `TaskDone`, time) for everything it is given."""

    def __init__(self, out: "queue.Queue[Item]") -> None:
        self._out = out
        self._pool = ThreadPoolExecutor(N_THREADS, thread_name_prefix="task")
        self._is_closed = False

    def do(self, name: str, function: Callable[..., Any], *arguments: Any) -> Callable[[], object]:
        """Call ``function(*arguments)`` on a thread of the pool; after `close` do nothing.

        The function that comes back forgets a task that has not begun and waits for one that has.
        """
        if self._is_closed:
            return lambda: None
        future = self._pool.submit(function, *arguments)
        future.add_done_callback(lambda future: self._tell(name, future))
        return lambda: future.cancel() or future.exception()

    def _tell(self, name: str, future: "Future[Any]") -> None:
        if future.cancelled():
            return
        problem = future.exception()
        result = future.result() if problem is None else None
        error = None if problem is None else _in_words(name, problem)
        self._out.put(("task", TaskDone(name, result, error), faults.wall_time()))

    def close(self) -> None:
        """Take nothing new and forget what has not begun; what has goes on to its end."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)


def _in_words(name: str, problem: BaseException) -> SllmError:
    if isinstance(problem, SllmError):
        return problem
    if isinstance(problem, OSError):
        return errors.disk_error(problem, problem.filename or name)
    log.error("the task %s failed", name, exc_info=problem)
    return WorkerError(
        "FAULT",
        f"Something went wrong inside the program ({type(problem).__name__} in {name}).",
        safe="Everything that was reported as saved is intact.",
        todo="The details are in the log of the window.",
    )

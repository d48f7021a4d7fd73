"""Short file work off the window's thread: what it finds is used, or no longer of interest."""

import queue
from collections.abc import Callable
from typing import Any

from sllm_core.errors import SllmError
from sllm_core.jobs.tasks import TaskDone, Tasks
from sllm_ui.news import News


class Chores:
    """Gives tasks to the pool and knows what to do with each result.

    Args:
        inbox: where the pool says that a task has ended.
        news: tells errors.
    """

    def __init__(self, inbox: "queue.Queue[Any]", news: News) -> None:
        self._tasks, self._news = Tasks(inbox), news
        self._n = 0
        self._pending: dict[str, tuple[Callable[[Any], None], Callable[[SllmError], None]]] = {}

    def do(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        then: Callable[[Any], None],
        on_error: Callable[[SllmError], None] | None = None,
    ) -> Callable[[], None]:
        """Call ``function(*arguments)`` on a thread, then ``then(result)`` on the window's.

        An error is told, or goes to ``on_error``. A newer task of the same name makes the older
        one's result go unused; so does the function that comes back, which forgets the task or,
        when it has begun, waits for its end.
        """
        self._n += 1
        key = f"{name}#{self._n}"
        for old in [k for k in self._pending if k.split("#")[0] == name]:
            del self._pending[old]
        self._pending[key] = (then, on_error or self._tell)
        end = self._tasks.do(key, function, *arguments)

        def drop() -> None:
            end()
            self._pending.pop(key, None)

        return drop

    def do_unheard(self, function: Callable[[], object]) -> None:
        """Call a function on a thread; nobody waits for it."""
        self._tasks.do("unheard", function)

    def done(self, task: TaskDone) -> None:
        """A task has ended."""
        if task.name not in self._pending:  # what was asked for is no longer of interest
            return
        then, on_error = self._pending.pop(task.name)
        if task.error is not None:
            on_error(task.error)
            return
        try:
            then(task.result)
        except SllmError as problem:
            self._tell(problem)

    def forget(self) -> None:
        """No result of what was begun until now is of interest."""
        self._pending = {}

    def close(self) -> None:
        """Take nothing new; what has begun goes on to its end."""
        self._tasks.close()

    def _tell(self, problem: SllmError) -> None:
        self._news.report(problem, "That did not work")

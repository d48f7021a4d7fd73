"""How a session tells: notices to a person at once, what changed once at the end of a turn."""

import queue
from typing import Any

from sllm_core import errors
from sllm_core.errors import SllmError
from sllm_ui.bus import Bus
from sllm_ui.events import DataChanged, Notice, RunChanged, RunsChanged, TurnEnded


class News:
    """What the parts of a session tell with.

    Args:
        bus: where it is told.
        inbox: the queue whose turns end with `flush`.
    """

    def __init__(self, bus: Bus, inbox: "queue.Queue[Any]") -> None:
        self.bus, self._inbox = bus, inbox
        self._dirty: set[type] = set()

    def mark(self, kind: type, *, is_in_turn: bool = False) -> None:
        """Tell of a change when the turn ends, however often it comes until then."""
        self._dirty.add(kind)
        # Outside of a turn nothing else may come for a while: make sure of one.
        if len(self._dirty) == 1 and not is_in_turn:
            self._inbox.put(("wake", None, 0.0))

    def flush(self) -> None:
        """End of a turn: tell presenters what changed in it, once."""
        dirty, self._dirty = self._dirty, set()
        for kind in (RunChanged, DataChanged, RunsChanged):
            if kind in dirty:
                self.bus.publish(kind())
        self.bus.publish(TurnEnded())

    def notify(
        self, kind: str, title: str, text: str = "", action: tuple[str, str] | None = None
    ) -> None:
        """Tell a person."""
        self.bus.publish(Notice(kind, title, text, action))

    def report(self, problem: Exception, title: str) -> None:
        """Tell a person what went wrong, in words."""
        if isinstance(problem, OSError):
            problem = errors.disk_error(problem, problem.filename or "a file")
        action = explain(problem.code) if isinstance(problem, SllmError) else None
        self.notify("bad", title, str(problem), action)


def explain(code: str) -> tuple[str, str]:
    """The link to what help says about a code."""
    return ("Explain", f"help:troubleshooting#{code}")

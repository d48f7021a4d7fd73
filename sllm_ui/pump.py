"""Brings messages from the one queue to Tk's thread, a few milliseconds at a time."""

import queue
import time
from collections.abc import Callable
from typing import Any

BUDGET_S = 0.008  # a turn; UI.md 9 measured 11 ms of own gap with it at 1000 messages a second
SOON_MS, LATER_MS = 1, 40


class Pump:
    """Drains ``inbox`` by ``after``.

    Args:
        after: schedules a call on Tk's thread (milliseconds, callable).
        inbox: what threads put into: (source, message, time).
        handle: takes one item in; must be quick.
        flush: called once at the end of a turn in which something came.
    """

    def __init__(
        self,
        after: Callable[[int, Callable[[], None]], object],
        inbox: "queue.Queue[Any]",
        handle: Callable[[str, Any, float], None],
        flush: Callable[[], None],
    ) -> None:
        self._after, self._inbox, self._handle, self._flush = after, inbox, handle, flush
        self._is_on = False

    def start(self) -> None:
        """Begin."""
        if not self._is_on:
            self._is_on = True
            self._turn()

    def stop(self) -> None:
        """End; what waits stays in the queue."""
        self._is_on = False

    def _turn(self) -> None:
        if not self._is_on:
            return
        delay = LATER_MS
        try:
            delay = self.drain()
        finally:  # an error in a handler is reported by Tk and must not end the window's pulse
            if self._is_on:
                self._after(delay, self._turn)

    def drain(self, budget_s: float = BUDGET_S) -> int:
        """Handle what waits for at most ``budget_s``; returns when to come again, in ms."""
        end, n = time.perf_counter() + budget_s, 0
        try:
            while time.perf_counter() < end:
                source, message, stamp = self._inbox.get_nowait()
                n += 1
                self._handle(source, message, stamp)
        except queue.Empty:
            return LATER_MS
        finally:
            if n:
                self._flush()
        return SOON_MS

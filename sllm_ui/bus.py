"""How the parts of the window hear of each other: events by type, and states that are watched."""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

S = TypeVar("S")
E = TypeVar("E")


class Store(Generic[S]):
    """One frozen state; whoever listens is told the old and the new one."""

    def __init__(self, state: S) -> None:
        self.state = state
        self._listeners: list[Callable[[S, S], None]] = []
        self._untold: list[tuple[S, S]] = []

    def update(self, **changes: Any) -> None:
        """Replace fields of the state; nobody is told when nothing differs.

        A change made by a listener is told when everyone has heard of the one before.
        """
        old = self.state
        new: S = dataclasses.replace(old, **changes)  # type: ignore[type-var]
        if new == old:
            return
        self.state = new
        self._untold.append((old, new))
        if len(self._untold) > 1:
            return
        try:
            while self._untold:
                for listener in tuple(self._listeners):
                    listener(*self._untold[0])
                del self._untold[0]
        finally:
            self._untold.clear()

    def listen(self, listener: Callable[[S, S], None]) -> Callable[[], None]:
        """Call ``listener(old, new)`` at each change; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None


class Bus:
    """Events go to those who subscribed to their type, in the order of subscription."""

    def __init__(self) -> None:
        self._subscribers: dict[type, list[Callable[[Any], None]]] = {}

    def subscribe(self, kind: type[E], listener: Callable[[E], None]) -> Callable[[], None]:
        """Call ``listener(event)`` for each event of ``kind``; the returned function ends that."""
        listeners = self._subscribers.setdefault(kind, [])
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None

    def publish(self, event: object) -> None:
        """Tell everyone now, in this turn."""
        for listener in tuple(self._subscribers.get(type(event), ())):
            listener(event)

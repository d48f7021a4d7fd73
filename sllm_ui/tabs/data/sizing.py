"""Vocabulary sizes side by side: measured in a child of their own, and one of them taken."""

from collections.abc import Callable
from dataclasses import replace

from sllm_core import messages as m
from sllm_ui.bus import Store
from sllm_ui.events import Answered
from sllm_ui.session import Session
from sllm_ui.tabs.data import figures
from sllm_ui.tabs.data.figures import SizesView
from sllm_ui.tabs.data.state import State

STEP_WORDS = {"reading": "Reading a sample", "comparing": "Learning and measuring the sizes"}


class Sizing:
    """Compares sizes and takes one.

    Args:
        take: sets the vocabulary.
    """

    def __init__(self, session: Session, store: Store[State], take: Callable[[int], None]) -> None:
        self._session, self._store, self._take = session, store, take
        self.clear()

    def clear(self) -> None:
        """Another project: nothing was asked."""
        self._request = 0
        self._measured: tuple[object, ...] = ()  # what the rows hold for

    def compare(self) -> None:
        """Measure; a second press ends it at once."""
        session = self._session
        if self._request:
            session.pipes.cancel("sizes", self._request)
            self._request = 0
            self._store.update(
                sizes=replace(self._store.state.sizes, is_on=False, step="", share=None)
            )
        elif session.project is not None and session.facts.used:
            self._request = session.pipes.compare_sizes()
            self._measured = self._key()
            self._store.update(sizes=SizesView(is_on=True, step="Starting"))

    def take(self, size: int) -> None:
        """Set the vocabulary to a size of the table."""
        self._take(size)

    def renew(self) -> None:
        """The text is another: rows of another text say nothing about it."""
        view = self._store.state.sizes
        if view.rows and self._key() != self._measured:
            self._store.update(sizes=SizesView())

    def _key(self) -> tuple[object, ...]:
        facts = self._session.facts
        return facts.used, facts.text_bytes

    def on_answer(self, event: Answered) -> None:
        """The child said something."""
        if event.source != "sizes" or not self._request:
            return
        message, view = event.message, self._store.state.sizes
        if isinstance(message, m.Progress):
            share = message.done / message.total if message.total else None
            step = STEP_WORDS.get(message.step_name, message.step_name.capitalize())
            self._store.update(sizes=replace(view, step=step, share=share))
        elif isinstance(message, m.VocabularySizes):
            self._request = 0
            self._store.update(sizes=figures.sizes_view(message))
        elif isinstance(message, m.Failed):
            self._request = 0
            self._store.update(sizes=SizesView(problem=message.text.rsplit(" [", 1)[0]))

"""The run in view: its figures, its samples, its log, and how the charts are looked at."""

import time
from dataclasses import replace
from math import log

from sllm_ui.bus import Store
from sllm_ui.runstate import LogLine, RunState
from sllm_ui.session import Session
from sllm_ui.tabs.train import watch
from sllm_ui.tabs.train.resuming import Resuming
from sllm_ui.tabs.train.state import CHARTS, RunView, State


class Watching:
    """Shows the session's run in `run`; a person may look back at earlier samples."""

    def __init__(self, session: Session, store: Store[State], resuming: Resuming) -> None:
        self._session, self._store, self._resuming = session, store, resuming
        self._step: int | None = None  # of the sample in view; None follows the newest
        self._samples: tuple[watch.SampleText, ...] = ()
        self._n_samples = -1

    def state(self) -> RunView | None:
        """The run as it is now."""
        run = self._session.run
        shown = self._store.state.run
        if run is None:
            self._samples, self._n_samples = (), -1
            return None
        if shown is not None and shown.id != run.id:
            self._step = None
        if len(run.samples) != self._n_samples or shown is None or shown.id != run.id:
            self._samples, self._n_samples = watch.sample_texts(run), len(run.samples)
        now = time.time()
        steps, current, is_failed = watch.step_texts(run, now)
        at = self._at()
        return RunView(
            id=run.id, state=run.state, version=run.version, steps=steps, current=current,
            is_failed=is_failed, tiles=watch.tiles(run, self._session.facts.vocab_size, now),
            banner=watch.banner(run, self._resuming.newest_step(run.id)), n_lines=run.n_lines,
            sample=self._samples[at] if self._samples else None,
            n_samples=len(self._samples), sample_at=at, is_live=run.is_live,
            has_steps=run.step is not None,
        )  # fmt: skip

    def show(self) -> None:
        """Bring the run's figures up to date."""
        self._store.update(run=self.state())

    def is_stale(self) -> bool:
        """Whether the run has said something since, or its clock goes on."""
        run, shown = self._session.run, self._store.state.run
        return run is not None and (run.is_live or shown is None or shown.version != run.version)

    def _at(self) -> int:
        last = max(0, len(self._samples) - 1)
        if self._step is None:
            return last
        earlier = [i for i, sample in enumerate(self._samples) if sample.step <= self._step]
        return earlier[-1] if earlier else 0

    def scrub(self, at: int) -> None:
        """Show the samples of another step; the last position follows the run."""
        if self._samples:
            at = max(0, min(at, len(self._samples) - 1))
            self._step = None if at == len(self._samples) - 1 else self._samples[at].step
            if self._store.state.run is not None:
                shown = replace(self._store.state.run, sample=self._samples[at], sample_at=at)
                self._store.update(run=shown)

    def log_since(self, n: int) -> list[LogLine]:
        """Lines of the log behind the ``n``-th; all that are kept if that one fell off."""
        run = self._session.run
        if run is None or run.n_lines <= n:
            return []
        lines = list(run.log)
        return lines[-min(len(lines), run.n_lines - n) :]

    def log_text(self) -> str:
        """The whole log for the clipboard."""
        return "\n".join(f"{clock_text(line.time)}  {line.text}" for line in self.log_since(0))

    def curves(self) -> RunState | None:
        """The run whose columns the charts draw."""
        return self._session.run

    def guessing(self) -> tuple[float, str] | None:
        """The loss of pure guessing, ln V, with its words; None while V is not known."""
        vocab = self._session.facts.vocab_size
        return (log(vocab), f"ln(V) = {log(vocab):.2f}, guessing") if vocab else None

    def show_chart(self, name: str) -> None:
        """Loss, Rate or Gradient; in a short window also Writes or Log."""
        if name in CHARTS:
            self._store.update(chart=name, side="")
        else:
            self._store.update(side=name)

    def set_scale(self, scale: str) -> None:
        """Linear or Log."""
        self._store.update(scale=scale)

    def set_span(self, span: str) -> None:
        """All or the last thousand steps."""
        self._store.update(span=span)


def clock_text(stamp: float) -> str:
    """The time of day of a line."""
    return time.strftime("%H:%M:%S", time.localtime(stamp))

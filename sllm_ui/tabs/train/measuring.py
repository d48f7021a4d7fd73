"""What the adviser is asked: Auto-Select, and the trial step behind the forecast of time."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sllm_core import config as configs
from sllm_core import messages as m
from sllm_core.config import ProjectConfig
from sllm_core.errors import ConfigError
from sllm_core.messages import Probed
from sllm_ui.bus import Store
from sllm_ui.events import Answered
from sllm_ui.session import Session
from sllm_ui.tabs.train import fieldset, forecast, outlook
from sllm_ui.tabs.train.forecast import Forecast
from sllm_ui.tabs.train.state import AdviceState, ProbeState, State

SETTLED_S = 2.5  # after the last change a trial step may be made unasked
REMEMBERED = 64  # trials
NOBODY = (0, "", "")


class Measuring:
    """Asks one thing at a time and remembers what trials found.

    Args:
        session: what talks to the worker.
        store: where `advice` and `probe` are shown.
        on_news: called when a trial has ended or settings were replaced.
    """

    def __init__(self, session: Session, store: Store[State], on_news: Callable[[], None]) -> None:
        self._session, self._store, self._on_news = session, store, on_news
        self.reset()

    def reset(self) -> None:
        """Another project: nothing is known."""
        self._pending = NOBODY  # request, auto or probe, key of the trial
        self._measured: dict[str, Probed] = {}
        self._refused: dict[str, str] = {}  # trials that failed, and why
        self._proposal: m.Proposal | None = None
        self._before: ProjectConfig | None = None  # Auto-Select was applied to it
        self._applied: ProjectConfig | None = None
        self._forecast: Forecast | None = None
        self._key = ""
        self._changed_at = time.monotonic()

    def look_up(self, f: Forecast) -> Probed | None:
        """What a trial of the settings of this forecast found; None if there was none."""
        config = self._session.config
        key = forecast.probe_key(config, f.text.vocab_size, f.train.batch_size or 1)
        if key != self._key:
            self._key, self._changed_at = key, time.monotonic()
        return self._measured.get(key)

    def follow(self, f: Forecast) -> None:
        """These are the numbers now."""
        self._forecast = f

    def on_config(self) -> None:
        """Settings have changed: Undo of Auto-Select would lose newer ones."""
        if self._session.config != self._applied and self._store.state.advice.status == "applied":
            self._applied = self._before = None
            self._store.update(advice=AdviceState())

    # -- Auto-Select ---------------------------------------------------------------------------

    def auto_select(self) -> None:
        """Measure this machine and this data, and propose settings."""
        if why := self.why_not_advise():
            self._session.notify("warn", "Auto-Select cannot start", why)
            return
        self._session.autosave.save_now()  # the worker reads the sources from the project
        self._proposal = None
        self._ask("auto", "")
        words = "Looking at this computer and at the text."
        self._store.update(advice=AdviceState("busy", words), probe=self.probe())

    def why_not_advise(self) -> str:
        """Why Auto-Select cannot be asked now; '' when it can."""
        session = self._session
        if why := session.why_read_only():
            return why
        if not any(source.is_on for source in session.config.sources):
            return "Add a folder with text on the Data tab first."
        if session.is_training:
            return "A run is on: the machine is busy with it."
        return "The data is being read." if session.is_on_data else ""

    def cancel_advice(self) -> None:
        """Stop measuring; nothing was changed."""
        self._cancel("auto")
        self._store.update(advice=AdviceState(), probe=self.probe())

    def apply_advice(self) -> bool:
        """Take the proposal over; `undo_advice` brings the old settings back."""
        proposal, old = self._proposal, self._session.config
        if proposal is None or self._session.is_training or self._session.why_read_only():
            return False
        try:
            new = replace(configs.with_values(old, proposal.values), preset="")
        except ConfigError as problem:
            self._store.update(advice=AdviceState("failed", problem.text))
            return False
        self._before, self._applied, self._proposal = old, new, None
        self._store.update(advice=AdviceState("applied", summary=proposal.summary))
        self._session.replace_config(new)
        self._on_news()
        return True

    def dismiss_advice(self) -> None:
        """Keep the settings as they are."""
        self._proposal = None
        self._store.update(advice=AdviceState())

    def undo_advice(self) -> None:
        """The settings from before Auto-Select."""
        before, self._before, self._applied = self._before, None, None
        if before is not None and not self._session.why_read_only():
            self._store.update(advice=AdviceState())
            self._session.replace_config(before)
            self._on_news()

    # -- the trial step ------------------------------------------------------------------------

    def measure(self) -> None:
        """Time a trial step of these settings."""
        if self._forecast is None or self.why_not_measure():
            return
        self._refused.pop(self._key, None)
        names = (*fieldset.SHOWN, *fieldset.LIMITS)
        values = {name: fieldset.value_of(self._session.config, name) for name in names}
        tokens = self._forecast.text.train_tokens or 0
        self._ask("probe", self._key, values=values, train_tokens=tokens)
        self._store.update(probe=self.probe())

    def measure_when_idle(self) -> None:
        """A trial unasked, when changes have settled and it takes moments."""
        f = self._forecast
        if f is None or time.monotonic() - self._changed_at < SETTLED_S or self._pending[0]:
            return
        is_known = self._key in self._measured or self._key in self._refused
        is_deciding = self._store.state.advice.status == "ready"  # whether to change them all
        if is_known or is_deciding or self._session.read_only or self.why_not_measure():
            return
        if f.n_windows and forecast.is_quick_to_probe(f):
            self.measure()

    def cancel_measure(self) -> None:
        """Stop the trial; it is not made again unasked."""
        if self._pending[1] == "probe":
            self._refused[self._pending[2]] = "Stopped."
            self._cancel("probe")
            self._store.update(probe=self.probe())

    def why_not_measure(self) -> str:
        """Why no trial step can be made now; '' when it can."""
        if self._session.project is None:
            return "Open or make a project first."
        if self._session.is_training:
            return "A run is on: its own speed is shown at the right."
        if self._session.is_on_data:
            return "The data is being read."
        return "Auto-Select is measuring." if self._pending[1] == "auto" else ""

    def give_way(self) -> None:
        """A run begins: measuring would disturb it."""
        self._cancel("probe")
        if self._pending[1] == "auto":
            self.cancel_advice()

    def probe(self) -> ProbeState:
        """How the trial of the present settings stands."""
        if self._pending[1] == "probe":
            return ProbeState("busy", "Trying one step")
        if self._key in self._measured:
            return ProbeState("done", "", self.why_not_measure())
        refused = self._refused.get(self._key, "")
        return ProbeState("failed" if refused else "", refused, self.why_not_measure())

    # -- questions and answers -----------------------------------------------------------------

    def _ask(self, do: str, key: str, **body: Any) -> None:
        self._pending = (self._session.pipes.advise(do=do, **body), do, key)

    def _cancel(self, do: str) -> None:
        if self._pending[1] == do:
            self._session.pipes.cancel("adviser", self._pending[0])
            self._pending = NOBODY

    def on_answer(self, answer: Answered) -> None:
        """Take what the adviser says; an answer to an older question is dropped."""
        message, (request, do, key) = answer.message, self._pending
        if answer.source != "adviser" or not request:
            return
        if isinstance(message, m.Log) and do == "auto":
            self._store.update(advice=AdviceState("busy", message.text))
        elif isinstance(message, m.Probed) and message.request == request:
            self._pending = NOBODY
            newest = list(self._measured.items())[1 - REMEMBERED :]
            self._measured = {**dict(newest), key: message}
            self._on_news()
        elif isinstance(message, m.Proposal) and message.request == request:
            self._take_proposal(message)
        elif isinstance(message, m.Failed) and message.request in {0, request}:
            self._take_failure(message, do, key)

    def _take_proposal(self, proposal: m.Proposal) -> None:
        self._pending, self._proposal = NOBODY, proposal
        changes = outlook.changes_of(self._session.config, proposal)
        advice = AdviceState("ready", "", proposal.summary, changes, proposal.warnings)
        self._store.update(advice=advice, probe=self.probe())
        self._session.work.refresh_data()  # it may have scanned

    def _take_failure(self, failed: m.Failed, do: str, key: str) -> None:
        self._pending = NOBODY
        if do == "auto":
            self._store.update(advice=AdviceState("failed", failed.text))
        else:
            self._refused[key] = failed.text
        self._store.update(probe=self.probe())

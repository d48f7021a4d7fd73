"""What the Test tab shows and does: a checkpoint continues a text. Knows no widgets."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sllm_core import fields, fmt
from sllm_core import messages as m
from sllm_core.config import SamplingConfig
from sllm_core.ledger import BEST_NAME
from sllm_core.project import write_text
from sllm_ui.bus import Store
from sllm_ui.events import (
    Answered,
    CheckpointWanted,
    ConfigChanged,
    DataChanged,
    ProjectChanged,
    RunChanged,
    RunsChanged,
    TurnEnded,
)
from sllm_ui.session import Session
from sllm_ui.tabs.test import words
from sllm_ui.tabs.test.passages import (
    Passage,
    Piece,
    add,
    clean,
    length,
    read_prompt,
    text_of,
)
from sllm_ui.tabs.test.sampling import CardState, Sampler
from sllm_ui.tabs.test.words import Choice, Problem

# One line of the writer's pipe takes 1 MiB: prompt and answer, up to 4 bytes a character. A model
# sees far less of a text than that.
MAX_SENT = 100_000
MAX_ANSWER = 150_000
MAX_REMEMBERED = 20_000
MAX_UNDO = 50
MAX_UNDO_CHARS = 2_000_000
RATE_EVERY_S = 0.25
MAX_SEED = int(fields.info(SamplingConfig, "sample_seed").maximum or 0)


@dataclass(frozen=True)
class State:
    """Everything the tab shows."""

    empty: str = "project"  # why there is nothing to write with: a key of EMPTY, '' when there is
    choices: tuple[Choice, ...] = ()
    choice: str = "best"
    prompt: str = ""
    count: str = ""
    is_count_due: bool = False
    passage: Passage = ()
    phase: str = "idle"  # idle | loading | writing | stopping
    status: str = ""
    rate: str = ""
    first: str = ""
    problem: Problem | None = None
    card: CardState = field(default_factory=CardState)
    can_retry: bool = False
    can_undo: bool = False
    why: Mapping[str, str] = field(default_factory=dict)  # button -> why it cannot act, '' it can


@dataclass(frozen=True)
class _Attempt:
    """One writing. ``before`` is what stood there, ``base`` what is continued."""

    before: Passage
    base: Passage
    seed: int
    key: str  # of the checkpoint
    request: int = 0


class Presenter:
    """Handlers and state of the tab.

    Args:
        session: the window's project and its workers.
        clock: seconds that only rise.
        draw_seed: a new seed from 0 to one below its argument.
    """

    def __init__(
        self,
        session: Session,
        clock: Callable[[], float] = time.monotonic,
        draw_seed: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._session, self._clock, self._draw_seed = session, clock, draw_seed
        values = session.settings.values
        self.store = Store(
            State(
                prompt=values.writer,
                is_count_due=bool(values.writer),
            )
        )
        self.sampler = Sampler(session, lambda: self.store.state.card, self._show_card)
        self.places: dict[str, tuple[str, float]] = {}  # pane -> cursor and top, for a new view
        self._root: Path | None = None
        self._files: tuple[str, ...] = ()  # checkpoints from elsewhere
        self._bad: set[str] = set()  # files that could not be loaded
        self._history: list[Passage] = []
        self._attempt: _Attempt | None = None  # the one that is on
        self._last: _Attempt | None = None
        self._arrived: list[str] = []
        self._n_pieces = self._n_chars = 0
        self._asked_at = self._rated_at = 0.0
        self._first_at: float | None = None
        self._is_warm = False  # the writer has answered
        self._loaded = ""  # the checkpoint it has
        self._is_full = False
        self._counting = 0  # the request that is counted by
        self._is_pausing = False  # the run is paused for us: then go on
        self._told_run = ""  # the run beside which writing was said to be slow
        handlers: list[tuple[type, Callable[[Any], None]]] = [
            (ProjectChanged, self._on_project),
            (ConfigChanged, lambda _: self.sampler.follow()),
            (DataChanged, self._on_data),
            (RunsChanged, self._on_runs),
            (RunChanged, self._on_run),
            (Answered, self._on_answer),
            (CheckpointWanted, lambda event: self.choose(event.file)),
            (TurnEnded, self._on_turn),
        ]
        for kind, handler in handlers:
            session.bus.subscribe(kind, handler)
        self._on_project(None)
        self.choose(session.archive.wanted or "best")
        self._list()

    # -- events ------------------------------------------------------------------------------

    def _on_project(self, _: ProjectChanged | None) -> None:
        project = self._session.project
        root = project.root if project else None
        if root != self._root:
            self._root, self._files, self._bad = root, (), set()
            self._history, self._attempt, self._last = [], None, None
            self._arrived, self._is_pausing, self.places = [], False, {}
            self._is_warm, self._loaded = False, ""
            self._update(
                choice="best", passage=(), phase="idle", status="", rate="", first="",
                problem=None, can_retry=False, can_undo=False,
                is_count_due=bool(self.store.state.prompt), choices=(), empty="",
            )  # fmt: skip
        if project is None:
            self._update(empty="project")
        self.sampler.refresh()

    def _on_data(self, _: DataChanged) -> None:
        if self.store.state.prompt:
            self._update(is_count_due=True)

    def _on_runs(self, _: RunsChanged) -> None:
        self._list()

    def _on_run(self, _: RunChanged) -> None:
        if self.store.state.empty in {"checkpoint", "training"}:
            self._list()
        run = self._session.run
        if self._is_pausing and (run is None or not run.is_live or run.state == "paused"):
            self._is_pausing = False
            self.try_again()

    def _on_turn(self, _: TurnEnded) -> None:
        if self._arrived:
            self._pour()

    def _on_answer(self, event: Answered) -> None:
        message = event.message
        if event.source == "looker":
            self._counted(message)
        elif event.source == "writer" and self._attempt is not None:
            mine = self._attempt.request
            if isinstance(message, m.Token) and message.request == mine:
                self._take(message.text)
            elif isinstance(message, m.Generated) and message.request == mine:
                self._finish(self._attempt, message)
            elif isinstance(message, m.Failed) and message.request in {mine, 0}:
                self._fail(self._attempt, message)
        elif event.source == "writer" and isinstance(message, m.Failed) and not message.request:
            self._is_warm = False  # it died while nobody waited for it

    # -- checkpoints -------------------------------------------------------------------------

    def choose(self, key: str) -> None:
        """Write with another checkpoint from now on."""
        if key != self.store.state.choice:
            self._update(choice=key, problem=None)
            self._list()

    def open_file(self, path: str) -> None:
        """Write with a checkpoint file from elsewhere."""
        if path not in self._files:
            self._files = (*self._files, path)
        self._update(choice=path, problem=None)
        self._list()

    def use_other(self) -> None:
        """Take the checkpoint that a problem offers."""
        problem = self.store.state.problem
        if problem and problem.other:
            self.choose(problem.other)

    def _list(self) -> None:
        session, state = self._session, self.store.state
        if session.project is None:
            return
        choices = words.list_choices(session.archive.checkpoints, self._files, _run_names(session))
        problem = state.problem
        if choices and state.choice not in {choice.key for choice in choices}:
            name = fmt.path_text(state.choice)
            choices = (*choices, Choice(state.choice, f"{name}   not there any more"))
            problem = self._offer(f"{name} is no longer among the checkpoints.")
        is_live = session.run is not None and session.run.is_live
        empty = "" if choices else "training" if is_live else "checkpoint"
        self._update(choices=choices, problem=problem, empty=empty)

    def _offer(self, text: str, lines: tuple[str, ...] = ()) -> Problem:
        """A checkpoint cannot be used; the newest good one is offered."""
        good = words.newest_good(
            self._session.archive.checkpoints, self._bad | {self.store.state.choice}
        )
        if good is None:
            actions: tuple[tuple[str, str], ...] = (("train", "Go to Train"),)
            return Problem(f"{text} There is no other one.", lines, actions=actions)
        label = f"Use {fmt.path_text(good.file)}, step {good.step:,}"
        return Problem(text, lines, actions=(("other", label),), other=good.file)

    # -- prompt ------------------------------------------------------------------------------

    def edit_prompt(self, text: str) -> None:
        """The prompt as it stands in its pane."""
        if text != self.store.state.prompt:
            self._update(prompt=text, is_count_due=True)

    def settle(self) -> None:
        """A moment after the last key: count the prompt's tokens."""
        state = self.store.state
        if not state.is_count_due:
            return
        self._counting, count = 0, ""
        has_tokenizer = self._session.facts.vocab_size is not None
        if state.prompt and self._session.project and has_tokenizer:
            count = state.count
            self._counting = self._session.pipes.look(count=clean(state.prompt))
        elif state.prompt:
            count = words.characters(state.prompt)
        self._update(count=count, is_count_due=False)

    def _counted(self, message: m.Message) -> None:
        if isinstance(message, m.TokenCount) and message.request == self._counting:
            n = message.n_tokens
            self._counting = 0
            self._update(
                count=words.characters(self.store.state.prompt) if n is None else words.tokens(n)
            )
        elif isinstance(message, m.Failed) and message.request in {self._counting, 0}:
            if self._counting:
                self._update(count=words.characters(self.store.state.prompt))
            self._counting = 0

    def load_prompt(self, path: str) -> None:
        """Take the text of a file as the prompt."""
        self._session.task("prompt", read_prompt, path, then=self.edit_prompt)

    def remember(self) -> None:
        """Keep the prompt for the next start."""
        self._session.settings.change(writer=self.store.state.prompt[:MAX_REMEMBERED])

    # -- writing -----------------------------------------------------------------------------

    def write(self) -> None:
        """Write behind the prompt."""
        state = self.store.state
        if not state.why["write"]:
            self.remember()
            self._begin((Piece(state.prompt),) if state.prompt else (), self._next_seed())
        elif state.phase == "idle":  # a key can ask what a button cannot
            self._session.notify("warn", "It cannot write now", state.why["write"])

    def go_on(self) -> None:
        """Write behind the text as it stands, edits included."""
        if not self.store.state.why["continue"]:
            self._begin(self.store.state.passage, self._next_seed())

    def retry(self) -> None:
        """Write behind the same text again, with the next seed."""
        if not self.store.state.why["retry"] and self._last:
            seed = self._last.seed + 1 if self._last.seed < MAX_SEED else 0
            self.sampler.set_seed(seed)
            self._begin(self._last.base, seed)

    def try_again(self) -> None:
        """The same writing once more, after it failed."""
        if self._last and self.store.state.phase == "idle" and not self.store.state.card.errors:
            self._begin(self._last.base, self._last.seed)

    def stop(self) -> None:
        """End after the present token; before the first one, at once."""
        attempt = self._attempt
        if attempt is None:
            return
        self._session.pipes.cancel("writer", attempt.request)
        if not self._n_pieces:
            self._attempt = None
            self._give_back(attempt)
            self._update(phase="idle", status="Stopped before the first token")
        elif self.store.state.phase != "stopping":
            self._update(phase="stopping", status="Stopping")
        else:  # asked twice: its last word is not waited for
            self._attempt = None
            self._pour(phase="idle", status="Stopped by you")

    def undo(self) -> None:
        """Back to the text before the last writing."""
        if not self.store.state.why["undo"]:
            passage = self._history.pop()
            self._update(passage=passage, status="", can_undo=bool(self._history))

    def edit_passage(self, pieces: Iterable[tuple[str, bool]]) -> None:
        """The text as it stands in its pane: each piece, and whether the model wrote it."""
        if self._attempt is None:
            self._update(passage=tuple(Piece(*piece) for piece in pieces))

    def pause_run(self) -> None:
        """Pause the run that keeps the device busy, then write."""
        run = self._session.run
        if run is not None and run.state == "running":
            self._is_pausing = True
            self._session.work.pause()
            text = "The run pauses after this step; then it writes."
            self._update(problem=Problem(text, tone="accent"))
        else:
            self.try_again()

    def dismiss(self) -> None:
        """The problem was read."""
        self._is_pausing = False
        self._update(problem=None)

    def _next_seed(self) -> int:
        if self.store.state.card.is_new_seed:
            self.sampler.set_seed(self._draw_seed(MAX_SEED))
        self.sampler.commit()
        return self.store.state.card.values.sample_seed

    def _begin(self, base: Passage, seed: int) -> None:
        state = self.store.state
        attempt = _Attempt(state.passage, base, seed, state.choice)
        self._arrived, self._n_pieces, self._n_chars, self._is_full = [], 0, 0, False
        self._first_at, self._asked_at, self._is_pausing = None, self._clock(), False
        self._push(state.passage)
        status = "Reading the text" if self._loaded == state.choice else "Loading the checkpoint"
        if not self._is_warm:
            status, self._loaded = "Starting the writer, some seconds", ""
        prompt = clean(text_of(base))[-MAX_SENT:]
        request = self._session.pipes.write(prompt, state.choice, state.card.values, seed)
        self._attempt = self._last = replace(attempt, request=request)
        self._update(
            passage=base, phase="loading", status=status, problem=None, rate="", first="",
            can_retry=True, can_undo=True,
        )  # fmt: skip
        self._tell_of_run()

    def _tell_of_run(self) -> None:
        """Say once a run that the machine is shared."""
        run = self._session.run
        if run is not None and words.is_busy(run) and run.id != self._told_run:
            self._told_run = run.id
            self._session.notify(
                "accent", "Training goes on while it writes",
                "They share the machine: both are slower for that time.",
                ("Pause the run", "pause"),
            )  # fmt: skip

    def _push(self, passage: Passage) -> None:
        self._history.append(passage)
        while len(self._history) > MAX_UNDO or (
            len(self._history) > 1 and sum(map(length, self._history)) > MAX_UNDO_CHARS
        ):
            del self._history[0]

    def _take(self, text: str) -> None:
        if self._first_at is None:
            self._first_at = self._clock()
        self._arrived.append(text)
        self._n_pieces += 1
        self._n_chars += len(text)
        if self._n_chars > MAX_ANSWER and not self._is_full and self._attempt:
            self._is_full = True
            self._session.pipes.cancel("writer", self._attempt.request)

    def _pour(self, **changes: Any) -> None:
        """Show what has arrived."""
        state, now = self.store.state, self._clock()
        text, self._arrived = "".join(self._arrived), []
        if text:
            changes["passage"] = add(state.passage, text)
        if state.phase == "loading" and self._first_at is not None and self._attempt:
            self._is_warm, self._loaded = True, self._attempt.key
            wait_s = self._first_at - self._asked_at
            changes = {
                "phase": "writing",
                "status": "Writing",
                "first": f"first token after {words.wait(wait_s)}",
            } | changes
        if self._first_at is not None and now - self._rated_at >= RATE_EVERY_S:
            self._rated_at = now
            if self._n_pieces > 1 and now > self._first_at:
                changes = {
                    "rate": words.rate((self._n_pieces - 1) / (now - self._first_at))
                } | changes
        self._update(**changes)

    def _finish(self, attempt: _Attempt, message: m.Generated) -> None:
        self._attempt, self._is_warm, self._loaded = None, True, attempt.key
        self._bad.discard(attempt.key)
        rate = message.tokens_per_sec
        self._pour(
            phase="idle",
            status=words.describe(message, is_full=self._is_full),
            rate="" if rate is None else words.rate(rate),
        )
        if message.reason == "cancelled" and not self._n_chars:
            self._give_back(attempt)

    def _fail(self, attempt: _Attempt, message: m.Failed) -> None:
        self._attempt = None
        self._pour()
        if not self._n_chars:
            self._give_back(attempt)
        status = f"Cut off after {self._n_chars:,} characters" if self._n_chars else ""
        self._is_warm, self._loaded = message.code != "E-WORKER-DIED", ""
        self._update(phase="idle", status=status, rate="")
        if message.code.startswith("E-CKPT"):
            self._mark_bad(attempt.key)
            problem = self._offer(words.first_line(message))
        else:
            problem = words.explain(message, self._session.run)
        self._update(problem=problem)

    def _give_back(self, attempt: _Attempt) -> None:
        """Nothing was written: the text is as it was before."""
        if self._history:
            self._history.pop()
        self._update(passage=attempt.before, can_undo=bool(self._history))

    def _mark_bad(self, key: str) -> None:
        rows = self._session.archive.checkpoints
        if key == "best" and any(row.file == BEST_NAME for row in rows):
            key = BEST_NAME
        elif key in {"best", "last"} and (newest := words.newest_good(rows, set())):
            key = newest.file
        self._bad.add(key)

    # -- copy and save -----------------------------------------------------------------------

    def whole_text(self) -> str:
        """What the answer pane holds."""
        return clean(text_of(self.store.state.passage))

    def save_text(self, path: str) -> None:
        """Write the text to a file."""

        def done(_: str) -> None:
            self._session.notify("good", "The text is saved", fmt.path_text(path))

        self._session.task("save text", write_text, Path(path), self.whole_text(), then=done)

    def _show_card(self, card: CardState) -> None:
        self._update(card=card)

    def _update(self, **changes: Any) -> None:
        state = replace(self.store.state, **changes)
        self.store.update(**changes, why=reasons(state))


# --- pure parts


def reasons(state: State) -> dict[str, str]:
    """Why each button cannot act; '' where it can."""
    is_on = state.phase != "idle"
    wait = "It is writing." if is_on else ""
    model = "There is no checkpoint yet." if not state.choices else ""
    wrong = next(iter(state.card.errors.values()), "")
    cannot = wait or model or wrong
    has_text = any(piece.text for piece in state.passage)
    no_text = "" if has_text else "There is no text yet."
    return {
        "write": cannot,
        "continue": cannot or no_text,
        "retry": cannot or ("" if state.can_retry else "Nothing was written yet."),
        "stop": "" if is_on else "It is not writing.",
        "undo": wait or ("" if state.can_undo else "Nothing was written yet."),
        "copy": no_text,
        "save": no_text,
    }


def _run_names(session: Session) -> dict[str, str]:
    """What the runs are called, where there is more than one."""
    if len({row.run for row in session.archive.checkpoints}) < 2:
        return {}
    return {info.run: fmt.path_text(info.name or info.run) for info in session.archive.runs}

"""What the Test tab shows and does: a checkpoint continues a text. Knows no widgets."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from sllm_core import fields, fmt
from sllm_core import messages as m
from sllm_core.config import SamplingConfig
from sllm_core.errors import ConfigError, DataError, SllmError
from sllm_core.ledger import BEST_NAME, Row
from sllm_core.project import write_text
from sllm_ui.bus import Store
from sllm_ui.runstate import RunState
from sllm_ui.session import (
    Answered,
    ConfigChanged,
    DataChanged,
    ProjectChanged,
    RunChanged,
    RunsChanged,
    Session,
    TurnEnded,
)
from sllm_ui.tabs.test import sampling as cards

MAX_PANE = 300_000  # characters of a pane
# One line of the writer's pipe takes 1 MiB: prompt and answer, up to 4 bytes a character. A model
# sees far less of a text than that.
MAX_SENT = 100_000
MAX_ANSWER = 150_000
MAX_PROMPT_FILE = 1 << 20
MAX_REMEMBERED = 20_000
MAX_UNDO = 50
MAX_UNDO_CHARS = 2_000_000
RATE_EVERY_S = 0.25
LAST_LINES = 4  # of the worker's, that are shown
MAX_SEED = int(fields.info(SamplingConfig, "sample_seed").maximum or 0)
DEFAULTS = SamplingConfig()
REASONS = {
    "eos": "end of text",
    "stop": "stop text",
    "length": "longest answer reached",
    "cancelled": "stopped by you",
}


class Piece(NamedTuple):
    """A stretch of text that a person gave, or that a model wrote."""

    text: str
    is_written: bool = False


Passage = tuple[Piece, ...]


@dataclass(frozen=True)
class Choice:
    """A checkpoint that can be chosen: ``best``, ``last``, a listed file or a path."""

    key: str
    title: str


@dataclass(frozen=True)
class Problem:
    """Why it cannot write, the last lines of the worker, and what can be done about it."""

    text: str
    lines: tuple[str, ...] = ()
    tone: str = "bad"
    actions: tuple[tuple[str, str], ...] = ()  # (retry | pause | other | train, label)
    other: str = ""  # the checkpoint that is offered


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
    sampling: SamplingConfig = DEFAULTS
    texts: Mapping[str, str] = field(default_factory=dict)  # what stands in the number fields
    errors: Mapping[str, str] = field(default_factory=dict)
    is_new_seed: bool = False
    preset: str = "Balanced"  # '' when the values are none
    mine: tuple[str, ...] = ()  # presets of the user's own
    order: str = ""
    note: str = ""  # of the sampling card
    can_retry: bool = False
    can_undo: bool = False
    why: Mapping[str, str] = field(default_factory=dict)  # button -> why it cannot act, '' it can


@dataclass(frozen=True)
class Empty:
    """What is shown while nothing can be written: words and (label, action id) for buttons."""

    icon: str
    title: str
    text: str
    buttons: tuple[tuple[str, str], ...]  # the action "file" is the tab's own


EMPTY = {
    "project": Empty(
        "chat-square-text",
        "No project is open",
        "A model writes in the project it was trained in.",
        (("Open project", "open"), ("New project", "new"), ("Try the sample", "sample")),
    ),
    "checkpoint": Empty(
        "chat-square-text",
        "There is no model to write with yet",
        "Train first. As soon as a checkpoint is saved, it writes here.",
        (("Go to Train", "tab_train"), ("Open a checkpoint file", "file")),
    ),
    "training": Empty(
        "hourglass-split",
        "The run has not saved a checkpoint yet",
        "Save one now, or wait for the first. Then pause the run or write beside it.",
        (("Save checkpoint now", "save_now"), ("Go to Train", "tab_train")),
    ),
}


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
        self._mine = cards.read_presets(values.sampling_presets)
        self.store = Store(
            State(
                prompt=values.writer,
                is_count_due=bool(values.writer),
                is_new_seed=values.is_new_seed,
                mine=tuple(self._mine),
            )
        )
        self.places: dict[str, tuple[str, float]] = {}  # pane -> cursor and top, for a new view
        self._root: Path | None = None
        self._known = SamplingConfig()  # as the project has it
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
            (ConfigChanged, self._on_config),
            (DataChanged, self._on_data),
            (RunsChanged, self._on_runs),
            (RunChanged, self._on_run),
            (Answered, self._on_answer),
            (TurnEnded, self._on_turn),
        ]
        for kind, handler in handlers:
            session.bus.subscribe(kind, handler)
        self._on_project(None)
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
        self._known = self._session.config.sampling
        self._show_sampling(self._known)

    def _on_config(self, _: ConfigChanged) -> None:
        if self._session.config.sampling != self._known:
            self._known = self._session.config.sampling
            self._show_sampling(self._known)

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
        choices = list_choices(session.checkpoints, self._files, _run_names(session))
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
        good = newest_good(self._session.checkpoints, self._bad | {self.store.state.choice})
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
            self._counting = self._session.look(count=clean(state.prompt))
        elif state.prompt:
            count = _characters(state.prompt)
        self._update(count=count, is_count_due=False)

    def _counted(self, message: m.Message) -> None:
        if isinstance(message, m.TokenCount) and message.request == self._counting:
            n = message.n_tokens
            self._counting = 0
            self._update(count=_characters(self.store.state.prompt) if n is None else _tokens(n))
        elif isinstance(message, m.Failed) and message.request in {self._counting, 0}:
            if self._counting:
                self._update(count=_characters(self.store.state.prompt))
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
            self._show_sampling(replace(self.store.state.sampling, sample_seed=seed))
            self.commit()
            self._begin(self._last.base, seed)

    def try_again(self) -> None:
        """The same writing once more, after it failed."""
        if self._last and self.store.state.phase == "idle" and not self.store.state.errors:
            self._begin(self._last.base, self._last.seed)

    def stop(self) -> None:
        """End after the present token; before the first one, at once."""
        attempt = self._attempt
        if attempt is None:
            return
        self._session.cancel("writer", attempt.request)
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
            self._session.pause()
            text = "The run pauses after this step; then it writes."
            self._update(problem=Problem(text, tone="accent"))
        else:
            self.try_again()

    def dismiss(self) -> None:
        """The problem was read."""
        self._is_pausing = False
        self._update(problem=None)

    def _next_seed(self) -> int:
        state = self.store.state
        if state.is_new_seed:
            seed = self._draw_seed(MAX_SEED)
            self._show_sampling(replace(state.sampling, sample_seed=seed))
        self.commit()
        return self.store.state.sampling.sample_seed

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
        request = self._session.write(prompt, state.choice, state.sampling, seed)
        self._attempt = self._last = replace(attempt, request=request)
        self._update(
            passage=base, phase="loading", status=status, problem=None, rate="", first="",
            can_retry=True, can_undo=True,
        )  # fmt: skip
        self._tell_of_run()

    def _tell_of_run(self) -> None:
        """Say once a run that the processor is shared."""
        run, vitals = self._session.run, self._session.vitals
        if run is None or not _is_busy(run) or run.id == self._told_run:
            return
        if vitals is None or not vitals.gpus:
            self._told_run = run.id
            self._session.notify(
                "accent", "Training and writing share the processor",
                "Both are slower while it writes.", ("Pause the run", "pause"),
            )  # fmt: skip

    def _push(self, passage: Passage) -> None:
        self._history.append(passage)
        while len(self._history) > MAX_UNDO or (
            len(self._history) > 1 and sum(map(_length, self._history)) > MAX_UNDO_CHARS
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
            self._session.cancel("writer", self._attempt.request)

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
                "first": f"first token after {_wait(wait_s)}",
            } | changes
        if self._first_at is not None and now - self._rated_at >= RATE_EVERY_S:
            self._rated_at = now
            if self._n_pieces > 1 and now > self._first_at:
                changes = {"rate": _rate((self._n_pieces - 1) / (now - self._first_at))} | changes
        self._update(**changes)

    def _finish(self, attempt: _Attempt, message: m.Generated) -> None:
        self._attempt, self._is_warm, self._loaded = None, True, attempt.key
        self._bad.discard(attempt.key)
        rate = message.tokens_per_sec
        self._pour(
            phase="idle",
            status=describe(message, is_full=self._is_full),
            rate="" if rate is None else _rate(rate),
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
            problem = self._offer(_first_line(message))
        else:
            problem = explain(message, self._session.run)
        self._update(problem=problem)

    def _give_back(self, attempt: _Attempt) -> None:
        """Nothing was written: the text is as it was before."""
        if self._history:
            self._history.pop()
        self._update(passage=attempt.before, can_undo=bool(self._history))

    def _mark_bad(self, key: str) -> None:
        rows = self._session.checkpoints
        if key == "best" and any(row.file == BEST_NAME for row in rows):
            key = BEST_NAME
        elif key in {"best", "last"} and (newest := newest_good(rows, set())):
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

    # -- sampling ----------------------------------------------------------------------------

    def slide(self, name: str, place: float) -> None:
        """A slider is at ``place``; `commit` stores it when it has come to rest."""
        sampling, value = self.store.state.sampling, cards.snap(name, place)
        if value != getattr(sampling, name) or name in self.store.state.errors:
            self._show_sampling(cards.changed(sampling, name, value), name)

    def set_text(self, name: str, text: str) -> None:
        """A person typed a value."""
        state = self.store.state
        texts, errors = {**state.texts, name: text}, {**state.errors}
        errors.pop(name, None)
        try:
            sampling = cards.changed(state.sampling, name, cards.parse(name, text))
        except ConfigError as problem:
            errors[name] = problem.what
            self._update(texts=texts, errors=errors)
            return
        self._show_sampling(sampling, name, texts=texts)
        self.commit()

    def leave_field(self, name: str) -> None:
        """The focus left a field: show its value as the program writes it."""
        state = self.store.state
        if name not in state.errors:
            text = cards.to_text(name, getattr(state.sampling, name))
            self._update(texts={**state.texts, name: text})

    def commit(self) -> None:
        """Store the values in the project, where that may be changed."""
        sampling = self.store.state.sampling
        if sampling == self._known or self._session.why_read_only():
            return
        changed = {
            name: getattr(sampling, name)
            for name in (*cards.SAVED, "sample_seed")
            if getattr(sampling, name) != getattr(self._known, name)
        }
        self._known = sampling
        self._session.change(changed)

    def set_new_seed(self, is_on: bool) -> None:
        """Draw a seed for each writing, or keep the one that is set."""
        self._session.settings.change(is_new_seed=is_on)
        self._update(is_new_seed=is_on)

    def choose_preset(self, name: str) -> None:
        """Take over the values of a preset."""
        values = self._mine.get(name) or cards.BUILT_IN.get(name)
        if values:
            self.set_sampling(replace(self.store.state.sampling, **values))

    def reset(self) -> None:
        """All values as they come; the seed as well."""
        self.set_sampling(SamplingConfig())

    def set_sampling(self, sampling: SamplingConfig) -> None:
        """All values at once."""
        self._show_sampling(sampling)
        self.commit()

    def why_not_name(self, name: str) -> str:
        """What is wrong with a name for a preset."""
        return cards.check_name(name, self._mine)

    def save_preset(self, name: str) -> None:
        """Keep the present values under a name."""
        if self.why_not_name(name):
            return
        sampling, word = self.store.state.sampling, name.strip()
        values = {key: getattr(sampling, key) for key in cards.SAVED}
        self._mine = {word: values} | {k: v for k, v in self._mine.items() if k != word}
        self._store_presets()

    def delete_preset(self, name: str) -> None:
        """Forget a preset of the user's own."""
        self._mine.pop(name, None)
        self._store_presets()

    def _store_presets(self) -> None:
        self._session.settings.change(sampling_presets=cards.write_presets(self._mine))
        self._update(
            mine=tuple(self._mine), preset=cards.name_of(self.store.state.sampling, self._mine)
        )

    def _show_sampling(
        self, sampling: SamplingConfig, name: str = "", texts: Mapping[str, str] | None = None
    ) -> None:
        """Show values; ``name`` is the one that changed, '' when all may have."""
        state = self.store.state
        fresh = {
            key: cards.to_text(key, getattr(sampling, key)) for key in (*cards.SAVED, "sample_seed")
        }
        kept = {key: state.texts[key] for key in state.errors if key != name and name}
        errors = {key: text for key, text in state.errors.items() if key in kept}
        why = self._session.read_only
        self._update(
            sampling=sampling,
            texts={**fresh, **kept, **(texts or {})},
            errors=errors,
            preset=cards.name_of(sampling, self._mine),
            order=cards.order(sampling),
            note=f"Not stored, the project is read-only: {why}" if why else "",
        )

    def _update(self, **changes: Any) -> None:
        state = replace(self.store.state, **changes)
        self.store.update(**changes, why=reasons(state))


# --- pure parts


def reasons(state: State) -> dict[str, str]:
    """Why each button cannot act; '' where it can."""
    is_on = state.phase != "idle"
    wait = "It is writing." if is_on else ""
    model = "There is no checkpoint yet." if not state.choices else ""
    wrong = next(iter(state.errors.values()), "")
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


def list_choices(
    rows: Iterable[Row], files: Iterable[str], run_names: Mapping[str, str]
) -> tuple[Choice, ...]:
    """``best``, ``last`` and each listed checkpoint, then the files from elsewhere."""
    listed = [row for row in rows if row.state != "deleting"]
    choices = []
    good = [row for row in listed if row.state == "ok"]
    if last := newest_good(good, set()):
        best = next((row for row in good if row.file == BEST_NAME), last)
        choices += [Choice("best", _title("best", best)), Choice("last", _title("last", last))]
    for row in listed:
        words = [run_names.get(row.run, "")] + ["pinned"] * ("pinned" in row.roles)
        words += ["left behind by a resume"] * (row.state == "superseded")
        choices.append(Choice(row.file, _title(fmt.path_text(row.file), row, *words)))
    for path in files:
        name = fmt.path_text(Path(path).name)
        choices.append(Choice(path, f"{name}   from {fmt.path_text(str(Path(path).parent))}"))
    return tuple(choices)


def _title(name: str, row: Row, *words: str) -> str:
    parts = [name, f"step {row.step:,}"]
    if row.val_loss is not None:
        parts.append(f"val {row.val_loss:.3f}")
    return "   ".join((*parts, *filter(None, words)))


def newest_good(rows: Iterable[Row], bad: set[str]) -> Row | None:
    """The newest checkpoint of the newest run that has one and is not known to be bad."""
    fit = [row for row in rows if row.state == "ok" and row.file not in bad]
    return max(fit, key=lambda row: (row.run, row.step, row.file != BEST_NAME), default=None)


def _run_names(session: Session) -> dict[str, str]:
    """What the runs are called, where there is more than one."""
    if len({row.run for row in session.checkpoints}) < 2:
        return {}
    return {info.run: fmt.path_text(info.name or info.run) for info in session.runs}


def _is_busy(run: RunState | None) -> bool:
    return run is not None and run.is_live and run.state != "paused"


def explain(message: m.Failed, run: RunState | None) -> Problem:
    """The words for a failed writing and what can be done about it."""
    actions: tuple[tuple[str, str], ...] = (("retry", "Try again"),)
    if message.code.startswith("E-TOK"):
        return Problem(_first_line(message), actions=(("train", "Go to Train"),))
    if message.code == "E-WORKER-DIED":
        text = f"{_first_line(message)} Your text is still here."
        return Problem(text, message.last_lines[-LAST_LINES:], actions=actions)
    if run is not None and run.state == "running":
        pause = ("pause", "Pause the run")
        return Problem(_first_line(message), tone="warn", actions=(pause, *actions))
    return Problem(_first_line(message), message.last_lines[-LAST_LINES:], actions=actions)


def _first_line(message: m.Failed) -> str:
    """What happened; the lines after it advise users of the command line."""
    return (message.text or message.code).splitlines()[0].removesuffix(f" [{message.code}]")


def describe(message: m.Generated, *, is_full: bool = False) -> str:
    """``56 tokens, end of text, seed 42``."""
    reason = REASONS.get(message.reason, message.reason)
    if is_full and message.reason == "cancelled":
        reason = "as much as is written at once; Continue goes on"
    if message.reason == "eos" and not message.n_tokens:
        return f"The model ended the text at once, seed {message.seed}"
    return f"{_tokens(message.n_tokens)}, {reason}, seed {message.seed}"


def text_of(passage: Passage) -> str:
    """All of it as one text."""
    return "".join(piece.text for piece in passage)


def _length(passage: Passage) -> int:
    return sum(len(piece.text) for piece in passage)


def add(passage: Passage, text: str) -> Passage:
    """The passage with written text behind it."""
    if passage and passage[-1].is_written:
        return (*passage[:-1], Piece(passage[-1].text + text, True))
    return (*passage, Piece(text, True))


def clean(text: str) -> str:
    """Text that every encoder takes: pairs of surrogates joined, single ones replaced, no NUL."""
    if text.isascii() and "\0" not in text:
        return text
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\0", "")


def read_prompt(path: str) -> str:
    """The text of a file, as UTF-8 or UTF-16 with its mark.

    Raises:
        DataError: it cannot be read, is no text, or too long.
    """
    name = fmt.path_text(Path(path).name)
    safe = "The prompt was not changed."
    try:
        with Path(path).open("rb") as file:
            body = file.read(MAX_PROMPT_FILE + 1)
    except OSError as problem:
        what = f"{name} cannot be read ({problem.strerror or problem})."
        raise DataError("SOURCE", what, safe=safe) from problem
    marked = body.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = body.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as problem:
        if len(body) <= MAX_PROMPT_FILE:
            raise _no_text(name, safe) from problem
        text = "x" * (MAX_PANE + 1)  # too long in any case
    if "\0" in text:
        raise _no_text(name, safe)
    if len(text) > MAX_PANE:
        what = f"{name} is too long: a prompt has up to {MAX_PANE:,} characters."
        raise DataError("SOURCE", what, safe=safe, todo="Take a part of it.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _no_text(name: str, safe: str) -> SllmError:
    return DataError("SOURCE", f"{name} is no text in UTF-8 or UTF-16.", safe=safe)


def _tokens(n: int) -> str:
    return "1 token" if n == 1 else f"{n:,} tokens"


def _characters(text: str) -> str:
    return "1 character" if len(text) == 1 else f"{len(text):,} characters"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f} tokens/s" if per_s >= 10 else f"{per_s:.1f} tokens/s"


def _wait(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"

"""What the Test tab says: checkpoints to choose from, ends, failures, and what to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sllm_core import fmt
from sllm_core import messages as m
from sllm_core.ledger import BEST_NAME, Row
from sllm_ui.runstate import RunState

LAST_LINES = 4  # of the worker's, that are shown
REASONS = {
    "eos": "end of text",
    "stop": "stop text",
    "length": "length limit",
    "cancelled": "stopped by you",
}


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


def is_busy(run: RunState) -> bool:
    """Whether a run computes now."""
    return run.is_live and run.state != "paused"


def explain(message: m.Failed, run: RunState | None) -> Problem:
    """The words for a failed writing and what can be done about it."""
    actions: tuple[tuple[str, str], ...] = (("retry", "Try again"),)
    if message.code.startswith("E-TOK"):
        return Problem(first_line(message), actions=(("train", "Go to Train"),))
    if message.code == "E-WORKER-DIED":
        text = f"{first_line(message)} Your text is still here."
        return Problem(text, message.last_lines[-LAST_LINES:], actions=actions)
    if run is not None and run.state == "running":
        pause = ("pause", "Pause the run")
        return Problem(first_line(message), tone="warn", actions=(pause, *actions))
    return Problem(first_line(message), message.last_lines[-LAST_LINES:], actions=actions)


def first_line(message: m.Failed) -> str:
    """What happened; the lines after it advise users of the command line."""
    return (message.text or message.code).splitlines()[0].removesuffix(f" [{message.code}]")


def describe(message: m.Generated, *, is_full: bool = False) -> str:
    """``56 tokens, end of text, seed 42``."""
    reason = REASONS.get(message.reason, message.reason)
    if is_full and message.reason == "cancelled":
        reason = "as much as is written at once; Continue goes on"
    if message.reason == "eos" and not message.n_tokens:
        return f"The model ended the text at once, seed {message.seed}"
    return f"{tokens(message.n_tokens)}, {reason}, seed {message.seed}"


def tokens(n: int) -> str:
    """``1 token``, ``5,000 tokens``."""
    return "1 token" if n == 1 else f"{n:,} tokens"


def characters(text: str) -> str:
    """How long a text is, where its tokens cannot be counted."""
    return "1 character" if len(text) == 1 else f"{len(text):,} characters"


def rate(per_s: float) -> str:
    """``148 tokens/s``."""
    return f"{per_s:,.0f} tokens/s" if per_s >= 10 else f"{per_s:.1f} tokens/s"


def wait(seconds: float) -> str:
    """``38 ms`` or ``2.1 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"

"""A run in words and figures: steps, tiles, samples, and what to do when it ended badly. Pure."""

import time
from dataclasses import dataclass

from sllm_core import fmt
from sllm_core import messages as m
from sllm_ui.runstate import MEAN_OF, STEPS, RunState

LAST_LINES = 3  # of a worker that died: the log has all of them


@dataclass(frozen=True)
class TileText:
    """One figure with its name and a note."""

    title: str
    value: str
    note: str = ""
    tone: str = "fg"
    tip: str = ""


@dataclass(frozen=True)
class Banner:
    """What a run says when it needs a person: why, the last lines, what to do."""

    tone: str  # bad | warn | accent
    title: str
    text: str
    lines: tuple[str, ...] = ()
    code: str = ""  # has an entry in the help
    go_on: str = ""  # words of the button that continues it


@dataclass(frozen=True)
class SampleText:
    """What it wrote at one step."""

    step: int
    parts: tuple[tuple[str, str], ...]  # (prompt, text)


def clock(seconds: float | None) -> str:
    """A duration in few letters: ``0.2 s``, ``12 s``, ``20:14``, ``1:02:14``."""
    if seconds is None or seconds < 0:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def step_texts(run: RunState, now: float) -> tuple[tuple[tuple[str, str], ...], int, bool]:
    """The nine steps as (name, time), which one is on, and whether it failed there."""
    texts, current, failed = [], 0, -1
    for i, (name, label) in enumerate(STEPS.items()):
        step = run.steps[name]
        took = step.elapsed_s
        if step.state == "running" and step.begun is not None:
            took = now - step.begun
        text = clock(took) if step.state != "waiting" else ""
        if step.state == "running" and step.total and name != "training":
            text = f"{min(1.0, step.done / step.total):.0%}"
        texts.append((label, text))
        if step.state == "failed":
            failed = i
        if step.state in {"running", "done", "failed"}:
            current = i if step.state != "done" else i + 1
    if failed >= 0:
        return tuple(texts), failed, True
    if not run.is_live and run.state == "done":
        current = len(STEPS)
    return tuple(texts), current, False


def tiles(run: RunState, vocab_size: int | None, now: float) -> tuple[TileText, ...]:
    """The six figures of a run; '-' for what is not known."""
    loss = run.mean_loss()
    seen = min(MEAN_OF, run.curve.n)
    return (
        TileText(
            "Train loss", fmt.number(loss), f"mean of last {seen}" if loss is not None else "",
            tip="Surprise at the next token, in nats, on the text it learns from: the mean of the last 50 steps.",
        ),
        *_validation_tiles(run, vocab_size),
        _speed(run),
        _left(run, now),
    )  # fmt: skip


def _validation_tiles(run: RunState, vocab_size: int | None) -> tuple[TileText, ...]:
    last, best = run.validation, run.best
    loss = last.val_loss if last else None
    note, tone = "", "fg"
    if last and best and last.step == best.step:
        note, tone = f"best, step {best.step:,}", "good"
    elif best:
        note = f"best {fmt.number(best.val_loss)}, {best.step:,}"
    bits = last.val_bpb if last else None
    return (
        TileText(
            "Val loss", fmt.number(loss), note, tone,
            "The same on text that is never trained on: this is the one that counts.",
        ),
        TileText(
            "Perplexity", perplexity_text(last.perplexity if last else None),
            f"of {vocab_size:,}" if vocab_size and last else "",
            tip="Between how many tokens it hesitates: exp of the validation loss.",
        ),
        TileText(
            "Bits per byte", fmt.number(bits), _change(run),
            tip="Validation loss without the influence of the tokenizer: compare models by this one.",
        ),
    )  # fmt: skip


def perplexity_text(value: float | None) -> str:
    """``19.4``, ``1,204``; unknown is '-'."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value >= 100 else f"{value:.1f}"


def _change(run: RunState) -> str:
    bits = run.validations["val_bpb"][-2:]
    if len(bits) < 2 or bits[0] != bits[0] or bits[1] != bits[1]:
        return ""
    change = float(bits[1] - bits[0])
    return f"{'down' if change <= 0 else 'up'} {abs(change):.3f}"


def _speed(run: RunState) -> TileText:
    rate = run.step.tokens_per_sec if run.step else None
    pace = run.pace_s() if run.is_live else None
    if pace is None and rate and run.tokens_per_step:
        pace = run.tokens_per_step / rate
    note = ""
    if pace:
        note = f"{1 / pace:.1f} steps/s" if pace < 1 else f"{pace:.1f} s a step"
    tip = "Tokens it learns from in a second; the first ten steps are left out."
    return TileText("Tokens/s", fmt.count(rate), note, tip=tip)


def _left(run: RunState, now: float) -> TileText:
    tip = (
        "About: from the speed of the last steps, validations and saves included, the first "
        "steps after a start not."
    )
    if isinstance(run.end, m.Done):
        return TileText("Time left", "Done", f"took {short_time(run.end.elapsed_s)}", "good", tip)
    if not run.is_live:
        return TileText("Time left", "-", run.state, tip=tip)
    if run.state == "paused":
        return TileText("Time left", short_time(run.left_s()), "paused", tip=tip)
    left = run.left_s()
    return TileText("Time left", short_time(left), ends_at(left, now), tip=tip)


def ends_at(left_s: float | None, now: float) -> str:
    """The clock time of the end, with the weekday when it is another day."""
    if left_s is None or left_s > 7 * 86_400:
        return ""
    here, then = time.localtime(now), time.localtime(now + left_s)
    is_today = here[:3] == then[:3]
    return time.strftime("ends about %H:%M" if is_today else "about %a %H:%M", then)


def short_time(seconds: float | None) -> str:
    """A duration for a figure: ``42 s``, ``21 min``, ``3 h 10``, ``2 d 4 h``."""
    if seconds is None or seconds < 0:
        return "-"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest:02d}"
    return f"{hours // 24} d {hours % 24} h"


def sample_texts(run: RunState) -> tuple[SampleText, ...]:
    """All samples by step, in order; each step has one text a prompt."""
    found: dict[int, list[tuple[str, str]]] = {}
    for sample in run.samples:
        found.setdefault(sample.step, []).append((sample.prompt, sample.text))
    return tuple(SampleText(step, tuple(parts)) for step, parts in sorted(found.items()))


def _last_words(end: m.Failed) -> tuple[str, tuple[str, ...]]:
    """The text without its code, and the last lines."""
    words = " ".join(end.text.removesuffix(f"[{end.code}]").split())
    return words, end.last_lines[-LAST_LINES:]


def banner(run: RunState, newest_step: int | None) -> Banner | None:
    """What to say about a run that did not end by itself; ``newest_step`` is of its checkpoints."""
    where = f"from step {newest_step:,}" if newest_step is not None else "from the beginning"
    if run.state == "interrupted":
        at = f" at step {run.step.step:,}" if run.step else ""
        kept = "Nothing that was saved is lost." if newest_step is not None else ""
        text = f"Its process ended without a last word, as by a power cut. {kept}".strip()
        title, go_on = f"The run was interrupted{at}", f"Continue {where}"
        if isinstance(run.end, m.Failed):  # the window saw it end
            return Banner("warn", title, *_last_words(run.end), run.end.code, go_on)
        return Banner("warn", title, text, go_on=go_on)
    if isinstance(run.end, m.Failed):
        words, lines = _last_words(run.end)
        go_on = f"Continue {where}" if newest_step is not None else ""
        return Banner("bad", "The run failed", words, lines, run.end.code, go_on)
    if run.state == "paused" and run.reason:
        return Banner("warn", "The run waits", run.reason)
    return None

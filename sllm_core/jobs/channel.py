"""The two ways a job and its owner talk: a run folder, or a pipe. Messages up, one wish down."""

import contextlib
import csv
import dataclasses
import json
import os
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from sllm_core import faults, fmt, messages, project
from sllm_core.jobs.series import EVENTS, Recorder
from sllm_core.messages import LIVE, Desired, Log, Message, Saved, Step, Validation

ROTATE_BYTES = 10 << 20
CONTROL = "control.json"


class FolderChannel:
    """A job's end of its run folder: appends to `events.jsonl`, looks at `control.json`.

    Beside it goes the short form (`series`), from which a long run is opened at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events = (folder / EVENTS).open("ab", buffering=0)
        self._is_torn = _is_torn(folder / EVENTS)  # what follows gets a line of its own
        self._size = (folder / EVENTS).stat().st_size
        self._recorder = Recorder(folder)
        self._desired, self._stamp = Desired(), (0, 0)
        self._asked = ""  # a signal's wish wins over the file's
        self._step: int | None = None

    def emit(self, message: Message) -> None:
        """Append one whole line; a `saved` line is on the disk when this returns.

        A full disk loses lines here but never the run: what matters is in checkpoints.
        """
        if isinstance(message, Step):
            self._step = message.step
        now = faults.wall_time(self._step)
        line = messages.encode(message, now).encode("utf-8")
        try:
            if self._is_torn:
                self._size += self._events.write(b"\n")
                self._is_torn = False
                self._recorder.fall_behind()  # the torn line may be a whole one now
            at, n_written = self._size, self._events.write(line)
            self._size += n_written
            self._is_torn = n_written != len(line)
            if isinstance(message, Saved):
                os.fsync(self._events.fileno())
        except OSError:
            self._is_torn = True
            with contextlib.suppress(OSError):
                self._size = (self._folder / EVENTS).stat().st_size
        if not self._is_torn:
            self._recorder.add(message, line, at, now)

    def ask_stop(self, reason: str) -> None:
        """Stop at the next chance, whatever the file says (signals)."""
        self._asked = reason

    def desired(self) -> Desired:
        """What the job should be now; costs one stat."""
        path = self._folder / CONTROL
        with contextlib.suppress(OSError):
            info = path.stat()
            if (stamp := (info.st_mtime_ns, info.st_ino)) != self._stamp:
                self._desired, self._stamp = read_control(self._folder), stamp
        if self._asked:
            return replace(self._desired, state="stop", reason=self._asked)
        return self._desired

    def close(self) -> None:
        """Close the files."""
        self._events.close()
        self._recorder.close()


def _is_torn(path: Path) -> bool:
    """Whether a killed process left half a line at the end."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_control(folder: Path) -> Desired:
    """The owner's wish; running when nothing readable is there."""
    try:
        body = json.loads((folder / CONTROL).read_text(encoding="utf-8"))
        state, save_now = body["state"], int(body["save_now"])
        if state in {"run", "pause", "stop"}:
            settings = body.get("settings", {})
            live = {name: settings[name] for name in LIVE if type(settings.get(name)) is int}
            return Desired(state, save_now, str(body.get("reason", "")), live)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return Desired()


def write_control(folder: Path, desired: Desired) -> None:
    """State the owner's wish; replaced whole, so the job never reads half of it."""
    body = dataclasses.asdict(desired)
    project.write_text(folder / CONTROL, json.dumps(body) + "\n", point="settings.save")


def read_events(folder: Path, offset: int = 0) -> tuple[list[tuple[Message, float]], int]:
    """Messages behind a byte offset and the offset behind the last whole line.

    A torn last line is left for the next time; lines that are no message are passed over.
    """
    try:
        with (folder / EVENTS).open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:
        return [], offset
    end = data.rfind(b"\n") + 1
    found = (messages.decode(line) for line in data[:end].splitlines())
    return [item for item in found if item is not None], offset + end


class PipeChannel:
    """Messages as JSON lines on a stream: the warm worker's standard output, or ``--json``."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def emit(self, message: Message) -> None:
        """Write one line now; a reader that went away ends the program as for any pipe."""
        self._stream.write(messages.encode(message, faults.wall_time()))
        self._stream.flush()


class LogFiles:
    """`logs/training.log` for people and `logs/metrics.csv` for a spreadsheet."""

    COLUMNS = tuple(
        "run step epoch tokens loss val_loss val_bpb lr grad_norm tokens_per_sec time".split()
    )

    def __init__(self, folder: Path, run: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._log_path, self._csv_path = folder / "training.log", folder / "metrics.csv"

    def emit(self, message: Message) -> None:
        """Write what belongs into either file; a full disk does not end the job."""
        with contextlib.suppress(OSError):
            self._emit(message)

    def _emit(self, message: Message) -> None:
        now = faults.wall_time()
        if isinstance(message, Step):
            self._row(
                step=message.step, epoch=message.epoch, tokens=message.tokens, loss=message.loss,
                lr=message.lr, grad_norm=message.grad_norm,
                tokens_per_sec=message.tokens_per_sec, time=f"{now:.3f}",
            )  # fmt: skip
            return
        if isinstance(message, Validation):
            self._row(
                step=message.step, epoch=message.epoch, val_loss=message.val_loss,
                val_bpb=message.val_bpb, time=f"{now:.3f}",
            )  # fmt: skip
        text = describe(message)
        if text:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
            _append(self._log_path, f"{stamp}  {self._run}  {text}\n")

    def _row(self, **values: object) -> None:
        _rotate(self._csv_path)
        is_new = not self._csv_path.exists()
        with self._csv_path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow({"run": self._run, **values})


def _rotate(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.stat().st_size > ROTATE_BYTES:
            path.replace(path.with_name(f"{path.stem}.1{path.suffix}"))


def _append(path: Path, text: str) -> None:
    _rotate(path)
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.write(text)


def describe(message: Message) -> str:  # noqa: C901 - a table reads best whole
    """A message in one line of words; '' for those that are only progress."""
    m = messages
    match message:
        case Log():
            return message.text
        case m.Scanned():
            reasons = ", ".join(f"{n:,} {r}" for r, n in sorted(message.reasons.items()))
            return (
                f"Scanned: {message.listed:,} listed = {message.used:,} used "
                f"({fmt.size(message.used_bytes)}) + {message.skipped:,} skipped + "
                f"{message.failed:,} failed{f' ({reasons})' if reasons else ''}"
            )
        case m.TokenizerReady():
            verb = "trained" if message.is_new else "in use"
            return f"Tokenizer {verb}: {message.vocab_size:,} tokens ({message.reason})"
        case m.Prepared():
            work = (
                f"{message.encoded_docs:,} texts encoded, {message.cached_docs:,} from the cache"
                if message.encoded_docs or message.cached_docs
                else "unchanged since the last time"
            )
            return (
                f"Prepared: {fmt.count(message.train_tokens)} training tokens in "
                f"{message.train_docs:,} documents, {fmt.count(message.val_tokens)} validation "
                f"tokens in {message.val_docs:,}; {work}"
            )
        case m.Refined():
            return (
                f"Analysed {message.files:,} files ({message.analysed:,} texts measured now): "
                f"{message.keep:,} stay, {message.drop:,} should go, {message.copy:,} are copies "
                f"({message.exact:,} exact, {message.near:,} near), {message.mask:,} are masked; "
                f"keys in {message.secrets:,}, e-mail addresses in {message.emails:,}"
            )
        case m.Removed():
            verb = "Moved to _trash" if message.kind == "trash" else "Left out"
            return (
                f"{verb}: {message.files:,} files, {fmt.size(message.n_bytes)} (batch "
                f"{message.batch}){_kept(message.kept, 'stayed')}"
            )
        case m.Restored():
            verb = "Brought back" if message.kind == "trash" else "Taken in again"
            return (
                f"{verb}: {message.files:,} files, {fmt.size(message.n_bytes)}"
                f"{_kept(message.kept, 'could not come back')}"
            )
        case m.LeakReport():
            lines = [
                f"Checked {message.documents:,} documents: {message.leaking:,} have a tenth or more "
                f"in training, {message.identical:,} stand there whole, "
                f"{message.shared_clusters:,} clusters lie on both sides"
            ]
            lines += [f"  {share:6.1%}  {name}: {of}" for name, share, of in message.rows[:20]]
            return "\n".join(lines)
        case m.Plan():
            words = f"Plan: {message.total_steps:,} steps ({message.reason})"
            if message.n_params:
                words += (
                    f"; {fmt.count(message.n_params)} parameters, "
                    f"{message.tokens_per_step:,} tokens a step, micro-batch "
                    f"{message.micro_batch_size} x {message.grad_accum_steps}, "
                    f"{message.precision}: {message.precision_reason}"
                )
            return words
        case Validation():
            best = ", best so far" if message.is_best else ""
            return (
                f"Step {message.step:,}: validation loss {fmt.number(message.val_loss, 4)} nats, "
                f"perplexity {fmt.number(message.perplexity, 1)}, "
                f"{fmt.number(message.val_bpb)} bits per byte{best}"
            )
        case m.Sample():
            text = textwrap.indent(f"{message.prompt}{message.text}", "    | ", lambda _: True)
            return f"Step {message.step:,} writes:\n{text}"
        case Saved():
            return f"Saved {message.path} (step {message.step:,}, {fmt.size(message.size_bytes)})"
        case m.Resumed():
            return f"Resumed at step {message.step:,} from {message.path}"
        case m.StateChanged():
            return (
                f"{message.state.capitalize()} at step {message.step:,}. {message.reason}".strip()
            )
        case m.Stopped():
            where = f"; saved as {message.path}" if message.path else ""
            return f"Stopped at step {message.step:,} ({message.reason}){where}"
        case m.Done():
            best = f", best validation loss {fmt.number(message.best_val_loss, 4)}"
            words = f" at step {message.step:,}{best}" if message.step else ""
            return f"Done{words} ({message.reason or 'complete'})"
        case m.Failed():
            return message.text
        case m.Evaluated():
            return (
                f"{message.name}: loss {fmt.number(message.loss, 4)} nats, perplexity "
                f"{fmt.number(message.perplexity, 2)}, {fmt.number(message.bpb)} bits per byte "
                f"({message.n_tokens:,} tokens, {message.n_bytes:,} bytes)"
            )
        case m.Verified():
            return f"{'good' if message.is_good else 'BAD '}  {message.path}: {message.text}"
        case m.RunInfo():
            total = f"/{message.total_steps:,}" if message.total_steps else ""
            step = f"{message.step:,}{total}" if message.step is not None else "-"
            return (
                f"{message.run:32} {message.state:12} step {step:>15}  best loss "
                f"{fmt.number(message.best_val_loss):>7}  {fmt.number(message.val_bpb):>7} "
                f"bits/byte  {fmt.duration(message.elapsed_s)}"
            )
        case m.Finding():
            mark = {"good": " ok ", "note": "note", "problem": "FIX "}[message.level]
            return f"[{mark}] {message.name}: {message.text}"
        case _:
            return ""


def _kept(reasons: dict[str, int], verb: str) -> str:
    words = ", ".join(f"{n:,} {reason}" for reason, n in sorted(reasons.items()))
    return f"; {sum(reasons.values()):,} {verb} ({words})" if words else ""


def tee(*sinks: Callable[[Message], None]) -> Callable[[Message], None]:
    """One emit for several receivers, in order."""

    def emit(message: Message) -> None:
        for sink in sinks:
            sink(message)

    return emit

"""Training: one update after the other, so that any moment can be gone on from, bit for bit.

Everything an update depends on is a pure function of (seed, step): which windows it sees, the
random numbers of dropout, its learning rate. A checkpoint therefore holds weights, optimizer
state, counters and the plan; no generator states and no position inside a loader.
"""

import dataclasses
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sllm_core import checkpoint as checkpoints
from sllm_core import device as devices
from sllm_core import estimate, faults, fmt, probe, schedule
from sllm_core.checkpoint import Checkpoints
from sllm_core.config import SamplingConfig, TrainConfig
from sllm_core.dataset import Prefetch, Windows, derive_seed, spread_windows
from sllm_core.device import Device
from sllm_core.errors import ConfigError, DiskError, LockError, TrainError
from sllm_core.evaluate import Evaluation, evaluate
from sllm_core.ledger import BEST_NAME, Row
from sllm_core.messages import (
    LIVE,
    Desired,
    Done,
    Log,
    Message,
    Plan,
    Sample,
    Saved,
    StateChanged,
    Step,
    Stopped,
    Validation,
)
from sllm_core.model import GPT, lesson, next_token_loss
from sllm_core.sampler import write
from sllm_core.tokenizer import Tokenizer

MAX_SKIPPED = 5  # updates in a row without finite numbers, then the run ends
WARM_STEPS = 10  # left out of tokens_per_sec
EPOCH_SAVE_STEPS = 50  # shorter epochs get no checkpoint of their own
REVISE_AT = (0.1, 0.25, 0.5, 0.75, 0.9)  # shares of a time budget at which it is re-planned
ROOM = 1.1  # a save may be this much larger than the last one


@dataclass
class State:
    """What changes while a run goes on; all of it is in every checkpoint."""

    step: int = 0
    tokens: int = 0
    total_steps: int = 0
    warmup_steps: int = 0
    micro_batch_size: int = 1
    train_time_s: float = 0.0
    loss: float | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    best_val_loss: float | None = None
    best_step: int = 0
    bad_validations: int = 0
    skipped_in_a_row: int = 0
    scale: float = 1.0  # of the loss, fp16 only
    good_steps: int = 0  # since the scale changed
    revisions_done: int = 0


class _StopAsked(Exception):  # noqa: N818 - a way out of nested loops
    pass


@dataclass(frozen=True)
class Inputs:
    """What a run is made of; the pipeline builds it."""

    run: str
    model: GPT
    train: TrainConfig  # resolved: nothing left open but limits
    device: Device
    tokenizer: Tokenizer
    dataset_id: str
    windows: Windows
    val_tokens: npt.NDArray[Any]
    store: Checkpoints
    emit: Callable[[Message], None]
    desired: Callable[[], Desired]
    replayed: dict[int, Plan] = field(default_factory=dict)  # plans a killed process had recorded


class Trainer:
    """One run in this process.

    Args:
        inputs: model, data, settings and the two ends of the channel.
        state: fresh, or from a checkpoint.
    """

    def __init__(self, inputs: Inputs, state: State) -> None:
        self.inputs, self.state = inputs, state
        self.model, self.train = inputs.model, inputs.train
        assert self.train.batch_size is not None
        self.batch_size: int = self.train.batch_size
        is_apart = self.train.document_masking
        self.border = inputs.tokenizer.eos_id if is_apart else None  # between documents
        self.optimizer = probe.build_optimizer(self.model, self.train)
        self._saved_now = inputs.desired().save_now
        self._live: dict[str, Any] = {}  # what was asked while it goes on, over inputs.train
        self._last_row: Row | None = None
        self._validated_at: int | None = None  # step of the validation that `state` tells of
        self._rates: list[float] = []  # seconds of recent updates
        self._steps_here = 0
        self._clock = time.monotonic()

    # -- the run -----------------------------------------------------------------------------

    def run(self) -> Done | Stopped:
        """Train until a limit, early stopping or Stop; everything is saved when it returns.

        Raises:
            TrainError: the numbers are not finite any more.
            DiskError: the last save failed.
            StepMemoryError: not even one window fits.
        """
        self.model.train()
        data = self.inputs.windows.prefetch(self.data_pos, self.batch_size)
        self._clock = time.monotonic()
        reason = "all steps done"
        try:
            if self.state.step == 0:
                self._write_samples()
            while self.state.step < self.state.total_steps:
                self._obey()
                self._update(data)
                self._revise_plan()
                if self._after_update():
                    reason = f"no better validation {self.train.patience} times"
                    break
        except _StopAsked:
            return self._stop()
        finally:
            data.close()
        return self._finish(reason)

    @property
    def data_pos(self) -> int:
        """Windows consumed since the run began."""
        return self.state.step * self.batch_size

    @property
    def epoch(self) -> int:
        """1-based epoch of the last window consumed."""
        return self.inputs.windows.epoch(max(0, self.data_pos - 1)) + 1

    def _obey(self) -> None:
        """Do what the window or a signal asks: other intervals, save now, pause, stop."""
        desired = self.inputs.desired()
        if desired.state == "stop":
            raise _StopAsked
        if desired.settings != self._live:
            self._live = dict(desired.settings)
            self._change_intervals()
        if desired.save_now != self._saved_now:
            self._saved_now = desired.save_now
            self._save(f"step_{self.state.step}.pt", ("last",))
        if desired.state == "pause":
            self._pause()

    def _change_intervals(self) -> None:
        """Take over settings that change no number of the training; an impossible one is said."""
        old = self.train
        try:
            self.train = replace(self.inputs.train, **self._live)
        except ConfigError as problem:
            self._log(f"{problem.what} The run keeps its own.", "warning", problem.code)
            return
        said = [
            f"{name} {getattr(old, name)} -> {getattr(self.train, name)}"
            for name in LIVE
            if getattr(old, name) != getattr(self.train, name)
        ]
        if said:
            self._log(f"From step {self.state.step + 1:,} on: {', '.join(said)}.")

    def _pause(self) -> None:
        if self._last_row is None or self._last_row.step != self.state.step:
            self._save(f"step_{self.state.step}.pt", ("last",))
        self._add_time()
        self.inputs.emit(StateChanged("paused", self.state.step))
        while (desired := self.inputs.desired()).state == "pause":
            time.sleep(0.1)
        self._clock = time.monotonic()
        if desired.state == "stop":
            raise _StopAsked
        self.inputs.emit(StateChanged("running", self.state.step))

    def _stop(self) -> Stopped:
        self._add_time()
        self.optimizer.zero_grad()
        row = self._last_row
        reason = self.inputs.desired().reason or "stopped by you"
        if self.state.step == 0:
            return Stopped(0, "", f"{reason}, before the first step: nothing to save")
        if row is None or row.step != self.state.step:
            row = self._save(f"step_{self.state.step}.pt", ("last",), must=True)
        assert row is not None
        return Stopped(self.state.step, f"checkpoints/{row.file}", reason)

    def _finish(self, reason: str) -> Done:
        self._add_time()
        state = self.state
        if self._last_row is None or self._last_row.step != state.step:
            self._save(f"step_{state.step}.pt", ("last",), must=True)
        if self.train.patience and state.best_step != state.step:
            best = self.inputs.store.find(BEST_NAME)
            if best is not None and best.run == self.inputs.run:
                self.model.load_state_dict(self.inputs.store.load(best)["model_state_dict"])
                self._log(f"The best weights (step {best.step}) are restored from {best.file}.")
        self._judge()
        return Done(
            step=state.step,
            reason=reason,
            val_loss=state.val_loss,
            best_val_loss=state.best_val_loss,
            val_bpb=state.val_bpb,
            weights_sha256=checkpoints.weights_sha256(self.model.state_dict()),
            elapsed_s=state.train_time_s,
        )

    def _judge(self) -> None:
        """Say it when a finished run has not learnt, or learnt by heart."""
        state, chance = self.state, math.log(self.model.config.vocab_size or 2)
        if state.val_loss is None or state.best_val_loss is None:
            return
        if state.best_val_loss >= chance:
            words = f"The validation loss is no better than chance ({chance:.2f} nats)"
            self._log(f"{words}: more text, more steps or a lower rate are needed.", "warning")
        elif state.val_loss > 1.03 * state.best_val_loss:
            self._log(
                f"The validation loss has risen since step {state.best_step:,} "
                f"({state.best_val_loss:.3f} -> {state.val_loss:.3f}): it learns by heart. More "
                "text, fewer steps or dropout help; best_model.pt is from the best step.",
                "warning",
            )

    # -- one update --------------------------------------------------------------------------

    def _update(self, data: Prefetch) -> None:
        """One step of the optimizer over batch_size windows."""
        begun = time.monotonic()
        state = self.state
        batch = data.take()
        if state.step == 0 and state.scale == 1.0 and self.inputs.device.precision == "fp16":
            state.scale = 2.0**14
        while True:
            try:
                loss, norm = self._gradients(batch)
                faults.passage("step.optimizer")
                break
            except (RuntimeError, MemoryError) as problem:
                if not devices.is_out_of_memory(problem):
                    raise
            # Outside the handler: its traceback would keep the tensors alive.
            self._halve_micro_batch()
        multiplier = schedule.multiplier(
            state.step,
            state.total_steps,
            state.warmup_steps,
            self.train.schedule,
            self.train.min_lr_ratio,
        )
        is_finite = math.isfinite(loss) and math.isfinite(norm)
        if is_finite:
            self.optimizer.step(multiplier)
        self.optimizer.zero_grad()
        self._note_step(loss, norm, multiplier, is_finite, time.monotonic() - begun)

    def _gradients(self, batch: npt.NDArray[Any]) -> tuple[float, float]:
        """Gradients of the mean loss over all targets of ``batch`` (batch_size, T + 1) that count.

        Returns:
            Loss in nats a token and the norm of all gradients before clipping.
        """
        device, state = self.inputs.device, self.state
        torch.manual_seed(derive_seed(self.train.seed, state.step, 11))
        n_targets = self.batch_size * self.train.seq_len
        if self.border is not None:  # of the whole batch, so that the micro-batch changes nothing
            n_targets = max(1, int((batch[:, :-1] != self.border).sum()))
        total = torch.zeros((), device=device.torch)
        for first in range(0, self.batch_size, state.micro_batch_size):
            if self.inputs.desired().state == "stop":
                raise _StopAsked
            rows = batch[first : first + state.micro_batch_size]
            ids = torch.from_numpy(rows.astype(np.int64)).to(device.torch, non_blocking=True)
            inputs, targets, documents = lesson(ids, self.border)
            kind = faults.passage("step.forward")
            with device.autocast():
                logits = self.model(inputs, documents=documents)
            loss = next_token_loss(logits, targets) / n_targets
            if kind == "nan":
                loss = loss * math.nan
            faults.passage("step.backward")
            (loss * state.scale).backward()
            total += loss.detach()
        if state.scale != 1.0:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            torch._foreach_div_(gradients, state.scale)
        return float(total), float(self.optimizer.clip())

    def _halve_micro_batch(self) -> None:
        """After out of memory: same batch, same data, smaller pieces (RELIABILITY 4.6)."""
        state = self.state
        self.optimizer.zero_grad()
        if self.inputs.device.name == "cuda":
            torch.cuda.empty_cache()
        if state.micro_batch_size == 1:
            self._try_last_save()
            free = devices.free_bytes(self.inputs.device) or 0
            config = self.model.config
            is_half = self.inputs.device.dtype is not None
            need = estimate.estimate_memory(
                config, 1, self.train.seq_len, train=self.train, is_half=is_half
            )
            raise probe.no_room(config, self.train, need.total, free)
        state.micro_batch_size = estimate.largest_divisor(
            self.batch_size, state.micro_batch_size // 2
        )
        self._log(
            f"Memory ran out at step {state.step + 1}: the micro-batch is now "
            f"{state.micro_batch_size}; batch and data order stay, and the step is repeated.",
            "warning",
            "E-MEM-STEP",
        )

    def _note_step(
        self, loss: float, norm: float, multiplier: float, is_finite: bool, seconds: float
    ) -> None:
        state, n_tokens = self.state, self.batch_size * self.train.seq_len
        state.step += 1
        state.tokens += n_tokens
        self._steps_here += 1
        if self._steps_here > WARM_STEPS:
            self._rates = [*self._rates[-19:], seconds]
        spent = sum(self._rates)  # 0 also where a coarse clock saw no time pass
        state.skipped_in_a_row = 0 if is_finite else state.skipped_in_a_row + 1
        if is_finite:
            state.loss = loss
        if self.inputs.device.precision == "fp16":
            self._adapt_scale(is_finite)
        assert self.train.learning_rate is not None
        self.inputs.emit(
            Step(
                step=state.step,
                loss=loss,
                loss_hex=float(np.float32(loss)).hex(),
                grad_norm=norm,
                lr=self.train.learning_rate * multiplier,
                tokens=state.tokens,
                data_pos=self.data_pos,
                epoch=self.epoch,
                tokens_per_sec=n_tokens * len(self._rates) / spent if spent else None,
                is_skipped=not is_finite,
            )
        )
        if not is_finite:
            self._skipped()

    def _adapt_scale(self, is_finite: bool) -> None:
        """Loss scaling for fp16 (arXiv 1710.03740, 3.2): halve on overflow, double when calm."""
        state = self.state
        state.good_steps = state.good_steps + 1 if is_finite else 0
        if not is_finite:
            state.scale = max(1.0, state.scale / 2)
        elif state.good_steps == 2000:
            state.scale, state.good_steps = state.scale * 2, 0

    def _skipped(self) -> None:
        state = self.state
        if self.inputs.device.precision == "fp16" and state.scale > 1.0:
            state.skipped_in_a_row = 0  # the scale was too high, which is how it is found
            return
        self._log(
            f"Step {state.step} gave numbers that are not finite; its update was skipped.",
            "warning",
            "E-TRAIN-NAN",
        )
        if state.skipped_in_a_row >= MAX_SKIPPED:
            row = self.inputs.store.newest_good(self.inputs.run)[0]
            where = f"{row.file} (step {row.step}) is intact." if row else ""
            raise TrainError(
                "NAN",
                f"{MAX_SKIPPED} steps in a row up to step {state.step} gave numbers that are not "
                "finite.",
                safe=where,
                todo="Go on from it with a lower learning rate, "
                f"{(self.train.learning_rate or 0) / 2:g}: New run from its weights in the window, "
                "train --continue-from best on the command line.",
            )

    # -- between updates ---------------------------------------------------------------------

    def _after_update(self) -> bool:
        """Validation, samples, checkpoints at their steps; True when patience is used up."""
        train, state = self.train, self.state
        is_last = state.step >= state.total_steps
        is_over = False
        if is_last or state.step % (train.val_interval or 1) == 0:
            is_over = self._validate()
        if is_last or state.step % (train.sample_interval or train.val_interval or 1) == 0:
            self._write_samples()
        windows = self.inputs.windows
        per_epoch = windows.n_windows / self.batch_size
        was_epoch = windows.epoch(max(0, self.data_pos - self.batch_size))
        now_epoch = windows.epoch(self.data_pos)
        if now_epoch > was_epoch and per_epoch >= EPOCH_SAVE_STEPS:
            self._save(f"model_epoch_{now_epoch}.pt", ("last", "epoch"))
        elif state.step % (train.save_interval or 1) == 0:
            self._save(f"step_{state.step}.pt", ("last",))
        return is_over

    def _validate(self) -> bool:
        """Measure, remember the best, count patience; True when it is used up."""
        found = self._evaluate()
        if found is None:
            return False
        state = self.state
        is_best = (
            state.best_val_loss is None or found.loss < state.best_val_loss - self.train.min_delta
        )
        state.val_loss, state.val_bpb = found.loss, found.bpb
        self._validated_at = state.step
        state.bad_validations = 0 if is_best else state.bad_validations + 1
        self.inputs.emit(
            Validation(
                step=state.step,
                epoch=self.epoch,
                val_loss=found.loss,
                perplexity=found.perplexity,
                val_bpb=found.bpb,
                is_best=is_best,
                tokens=found.n_tokens,
            )
        )
        if is_best:
            state.best_val_loss, state.best_step = found.loss, state.step
            self._save_best()
        return bool(self.train.patience) and state.bad_validations >= self.train.patience

    def _save_best(self) -> None:
        """Save, and say where the best one of an earlier run went."""
        old = self.inputs.store.find(BEST_NAME)
        self._save(BEST_NAME, ("best",))
        if old is not None and old.file == BEST_NAME and old.run != self.inputs.run:
            better = fmt.number(old.val_loss, 4)
            self._log(
                f"{BEST_NAME} is now this run's; that of run {old.run} (validation loss {better}) "
                f"is kept as best_{old.run}.pt."
            )

    def _evaluate(self) -> Evaluation | None:
        """The loss of the fixed validation windows; in smaller pieces if memory runs out."""
        chunk = self.state.micro_batch_size
        while True:
            windows = spread_windows(
                self.inputs.val_tokens, self.train.seq_len, self.train.val_windows, chunk
            )
            try:
                faults.passage("validate")
                return evaluate(
                    self.model,
                    windows,
                    self.inputs.tokenizer,
                    self.inputs.device,
                    is_apart=self.train.document_masking,
                )
            except (RuntimeError, MemoryError) as problem:
                if not devices.is_out_of_memory(problem) or chunk == 1:
                    raise
            chunk = max(1, chunk // 2)

    def _write_samples(self) -> None:
        """What it writes now, from fixed prompts and a fixed seed."""
        settings = SamplingConfig(max_new_tokens=self.train.sample_tokens)
        for prompt in self.train.sample_prompts:
            try:
                written = write(
                    self.model,
                    self.inputs.tokenizer,
                    prompt,
                    settings,
                    device=self.inputs.device,
                    seed=self.train.seed,
                    is_cancelled=lambda: self.inputs.desired().state == "stop",
                )
            except (RuntimeError, MemoryError) as problem:
                if not devices.is_out_of_memory(problem):
                    raise
                self._log("Memory ran out while writing a sample; it was left out.", "warning")
                return
            self.inputs.emit(Sample(self.state.step, prompt, written.text))

    def _revise_plan(self) -> None:
        """Under a time budget: correct the number of steps at recorded moments only."""
        state, limit = self.state, self.train.max_time_s
        if limit is None:
            return
        self._add_time()
        replayed = self.inputs.replayed.get(state.step)
        if replayed is not None:
            state.total_steps, state.warmup_steps = replayed.total_steps, replayed.warmup_steps
            state.revisions_done += 1
            self.inputs.emit(replayed)
            return
        is_due = (
            state.revisions_done < len(REVISE_AT)
            and state.train_time_s >= REVISE_AT[state.revisions_done] * limit
        )
        if not is_due and state.step < state.total_steps:
            return
        left = limit - state.train_time_s
        pace = state.train_time_s / state.step
        total = state.step + max(0, int(left / pace))
        steps = estimate.count_steps(self.train, self.inputs.windows.n_windows)
        state.total_steps = max(state.step, min(total, steps or total))
        if state.step < state.warmup_steps:
            wish = int(self.train.warmup_ratio * state.total_steps)
            state.warmup_steps = max(state.step, wish)
        state.revisions_done += 1
        self.inputs.emit(
            Plan(
                step=state.step,
                total_steps=state.total_steps,
                warmup_steps=state.warmup_steps,
                reason=f"{pace:.3g} s a step measured, {fmt.duration(left)} left",
            )
        )

    def _add_time(self) -> None:
        now = time.monotonic()
        self.state.train_time_s += now - self._clock
        self._clock = now

    # -- checkpoints -------------------------------------------------------------------------

    def content(self) -> dict[str, Any]:
        """Everything a checkpoint holds, as tensors and plain values."""
        state, inputs = self.state, self.inputs
        return {
            "format_version": checkpoints.FORMAT_VERSION,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "loss": state.loss,
            "config": dataclasses.asdict(self.model.config),
            "tokenizer_config": {
                "sha256": inputs.tokenizer.sha256,
                "vocab_size": inputs.tokenizer.vocab_size,
                "split": inputs.tokenizer.split,
            },
            "train_config": plain(self.train),
            "step": state.step,
            "tokens": state.tokens,
            "data_pos": self.data_pos,
            "rng": {"kind": "derived from (seed, step)", "seed": self.train.seed},
            "state": dataclasses.asdict(state),
            "identity": identity(inputs.device),
            "run": inputs.run,
            "dataset_id": inputs.dataset_id,
        }

    def _save(self, name: str, roles: tuple[str, ...], *, must: bool = False) -> Row | None:
        """Save and say so; a failure is said too, and the run goes on unless it was the last word.

        Raises:
            DiskError: only when ``must``.
        """
        self._add_time()
        state = self.state
        row = Row(
            file=name,
            sha256="",
            size_bytes=0,
            step=state.step,
            epoch=self.epoch,
            tokens=state.tokens,
            run=self.inputs.run,
            loss=state.loss,
            val_loss=state.val_loss if self._validated_at == state.step else None,
            roles=roles,
        )
        store = self.inputs.store
        try:
            row = store.save(self.content(), name, row)
            store.retain(self.inputs.run, self.train.keep_last)
        except (DiskError, LockError) as problem:
            if must:
                raise
            self._log(f"{problem.what} {problem.safe} Training goes on.", "error", problem.code)
            return None
        self._last_row = row
        self.inputs.emit(
            Saved(
                step=row.step,
                path=f"checkpoints/{row.file}",
                sha256=row.sha256,
                size_bytes=row.size_bytes,
                roles=row.roles,
            )
        )
        if not must:
            self._wait_for_room(row)
        return row

    def _wait_for_room(self, row: Row) -> None:
        """Pause one save before the disk is full; go on by itself when there is room again."""
        need = int(row.size_bytes * ROOM)
        free = faults.free_bytes(self.inputs.store.folder)
        if free >= need:
            return
        words = f"The next checkpoint needs {fmt.size(need)}, {fmt.size(free)} are free."
        self._log(
            f"{words} Training waits; step {row.step} is saved. Free some space, or stop.",
            "warning",
            "E-DISK-FORECAST",
        )
        self.inputs.emit(StateChanged("waiting", self.state.step, words))
        while faults.free_bytes(self.inputs.store.folder) < need:
            if self.inputs.desired().state == "stop":
                raise _StopAsked
            time.sleep(0.2)
        self._clock = time.monotonic()
        self.inputs.emit(StateChanged("running", self.state.step))

    def _try_last_save(self) -> None:
        if self._last_row is None or self._last_row.step != self.state.step:
            self._save(f"step_{self.state.step}.pt", ("last",))

    def _log(self, text: str, level: str = "info", code: str = "") -> None:
        self.inputs.emit(Log(text, level, code))


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as values that a checkpoint may hold."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }


def identity(device: Device) -> dict[str, Any]:
    """What must be equal for a resumed run to repeat its numbers bit for bit."""
    return {
        "device": device.title if device.name == "cuda" else platform.machine(),
        "precision": device.precision,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def restore(trainer: Trainer, content: dict[str, Any]) -> list[str]:
    """Take over a checkpoint of the same run; returns what differs from bit-exactness, in words."""
    trainer.model.load_state_dict(content["model_state_dict"])
    trainer.optimizer.load_state_dict(content["optimizer_state_dict"])
    known = {item.name for item in dataclasses.fields(State)}
    saved = {key: value for key, value in content["state"].items() if key in known}
    trainer.state = replace(trainer.state, **saved)
    then, now = content["identity"], identity(trainer.inputs.device)
    return [
        f"{key} was {then[key]} and is {value}" for key, value in now.items() if then[key] != value
    ]

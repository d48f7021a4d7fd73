"""Tiny runs: one in this process without a pipeline, one as a project for the command line."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sllm_core import messages, trainer
from sllm_core.checkpoint import Checkpoints
from sllm_core.config import ModelConfig, ProjectConfig, TrainConfig, with_values
from sllm_core.dataset import Windows
from sllm_core.device import Device
from sllm_core.jobs import pipeline
from sllm_core.messages import Desired
from sllm_core.model import GPT
from sllm_core.project import Project, create
from sllm_core.tokenizer import BYTE_VOCAB_SIZE, byte_tokenizer

ROOT = Path(__file__).parents[1]
WORDS = "the cat sat on a mat and then it ran away def return self for in while if else".split()
TOKENIZER = byte_tokenizer()
MODEL = ModelConfig(
    style="classic", d_model=32, n_layers=2, n_heads=2, vocab_size=BYTE_VOCAB_SIZE, max_seq_len=16
)
TRAIN = TrainConfig(
    seq_len=16, stride=16, batch_size=4, micro_batch_size=2, max_steps=12, optimizer="adamw",
    learning_rate=3e-3, weight_decay=0.1, schedule="cosine", precision="fp32", device="cpu",
    threads=1, val_interval=6, save_interval=4, val_windows=4, sample_prompts=(), sample_tokens=4,
)  # fmt: skip


def text(n_lines: int, seed: int = 0) -> str:
    """Lines of ten common words."""
    draw = random.Random(seed)
    return "".join(" ".join(draw.choice(WORDS) for _ in range(10)) + ".\n" for _ in range(n_lines))


@dataclass
class World:
    """What a run needs, without a pipeline: 25 training windows, so epochs end inside a step."""

    folder: Path
    model: ModelConfig = MODEL
    train: TrainConfig = TRAIN
    run: str = "20260101-000000-train-0001"
    n_windows: int = 25
    wish: Desired = field(default_factory=Desired)
    said: list[Any] = field(default_factory=list)
    on_message: Callable[[Any], None] = lambda _: None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = Checkpoints(Project(self.folder))

    def emit(self, message: Any) -> None:
        self.said.append(message)
        self.on_message(message)

    def fresh(self, **changes: Any) -> trainer.Trainer:
        """A trainer at step 0."""
        torch.set_num_threads(1)
        train = replace(self.train, **changes)
        tokens = TOKENIZER.encode(text(40)).astype(np.uint16)
        model = GPT(self.model, gradient_checkpointing=train.gradient_checkpointing)
        model.init_weights(train.seed, is_output_zero=train.optimizer == "muon")
        inputs = trainer.Inputs(
            run=self.run,
            model=model,
            train=train,
            device=Device("cpu", "CPU", train.precision, "chosen by you"),
            tokenizer=TOKENIZER,
            dataset_id="d",
            windows=Windows(tokens[: 16 * self.n_windows + 1], train.seq_len, 16, train.seed),
            val_tokens=tokens[1000:1200],
            store=self.store,
            emit=self.emit,
            desired=lambda: self.wish,
        )
        total = train.max_steps or 10
        state = trainer.State(
            total_steps=total,
            warmup_steps=int(train.warmup_ratio * total),
            micro_batch_size=train.micro_batch_size or 1,
        )
        return trainer.Trainer(inputs, state)

    def resumed(self, file: str | None = None, **changes: Any) -> trainer.Trainer:
        """A trainer that goes on from a checkpoint, as a new process would."""
        self.store = Checkpoints(Project(self.folder))
        made = self.fresh(**changes)
        row = self.store.find(file) if file else self.store.newest_good(self.run)[0]
        trainer.restore(made, self.store.load(row))
        self.store.supersede(self.run, made.state.step, row.file)
        return made

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.said if isinstance(message, kind)]

    def losses(self) -> dict[int, str]:
        """Step -> loss_hex; of a repeated step the last."""
        return {step.step: step.loss_hex for step in self.of(messages.Step)}

    def stop_at(self, step: int, state: str = "stop") -> None:
        """Ask for a stop when a step is told."""

        def look(message: Any) -> None:
            if isinstance(message, messages.Step) and message.step == step:
                self.wish = Desired(state)

        self.on_message = look

    def go_on(self) -> None:
        """No wish any more."""
        self.wish, self.on_message = Desired(), lambda _: None


def prepare_project(folder: Path) -> Project:
    """Thirty small files, the byte vocabulary, a model of two layers."""
    source = folder / "texts"
    source.mkdir()
    for number in range(30):
        (source / f"t{number}.txt").write_text(text(12, number))
    values = {
        "style": "classic", "d_model": 32, "n_layers": 2, "n_heads": 2, "seq_len": 32,
        "max_seq_len": 32, "batch_size": 4, "micro_batch_size": 2, "threads": 1,
        "precision": "fp32", "val_interval": 10, "save_interval": 5, "val_windows": 4,
        "sample_prompts": (), "sample_tokens": 4, "target_vocab_size": 272,
    }  # fmt: skip
    config = with_values(ProjectConfig(), values)
    made = create(folder / "p", [str(source)], config)
    pipeline.prepare(made, made.load_config(), pipeline.Job(lambda _: None))
    return made


def environment(**more: str) -> dict[str, str]:
    """Of a child: no set-up, one thread."""
    return {**os.environ, "SLLM_NO_BOOTSTRAP": "1", "OMP_NUM_THREADS": "1", **more}


def start(*words: Any, **more: str) -> "subprocess.Popen[str]":
    """``python sllm.py words`` running."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "sllm.py"), *map(str, words)],
        env=environment(**more),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Told:
    """What a command said and how it ended."""

    code: int
    lines: list[dict[str, Any]]
    errors: str

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["type"] == kind]


def sllm(*words: Any, **more: str) -> Told:
    """``python sllm.py words --json`` to its end; every line must be JSON."""
    with start(*words, "--json", **more) as process:
        out, errors = process.communicate(timeout=60)
    return Told(process.returncode, [json.loads(line) for line in out.splitlines()], errors)


def in_fork(work: Callable[[], object]) -> int:
    """Do ``work`` in a forked child; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            torch.set_num_threads(1)
            work()
        except BaseException:  # noqa: BLE001 - nothing may come back into pytest
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


KILLED = -signal.SIGKILL

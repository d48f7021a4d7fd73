"""Fifty steps give the losses they always gave: a refactor moves no number.

`python -m tests.test_golden` writes new ones; the changelog then says why.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sllm_core import hardware
from tests.training_helpers import MODEL, World

PATH = Path(__file__).parent / "golden" / "loss_50_steps.json"
RUNS = {
    "classic+adamw": ("classic", {"optimizer": "adamw", "learning_rate": 3e-3}),
    "modern+muon": ("modern", {"optimizer": "muon", "learning_rate": 0.02, "weight_decay": 0.0}),
}
TOLERANCE = 2e-6  # STYLE 8: the smallest deliberate change tried moves a loss by 4.8e-6


def fingerprint() -> dict[str, object]:
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": hardware.look().processor,
    }


def losses(folder: Path, name: str) -> list[str]:
    style, changes = RUNS[name]
    world = World(folder / name, model=replace(MODEL, style=style))
    world.fresh(max_steps=50, save_interval=1000, val_interval=1000, **changes).run()
    return list(world.losses().values())


@pytest.mark.parametrize("name", list(RUNS))
def test_fifty_steps_give_the_golden_losses(tmp_path, name):
    golden = json.loads(PATH.read_text())
    found = losses(tmp_path, name)
    wanted = golden["runs"][name]
    assert len(found) == len(wanted) == 50
    if fingerprint() == golden["fingerprint"]:
        assert found == wanted
    else:
        as_numbers = [float.fromhex(loss) for loss in wanted]
        assert [float.fromhex(loss) for loss in found] == pytest.approx(as_numbers, abs=TOLERANCE)


def write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: losses(Path(folder), name) for name in RUNS}
    body = {"fingerprint": fingerprint(), "runs": runs}
    PATH.write_text(json.dumps(body, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(write())

"""The trial finds what fits, and leaves no trace in the run that follows."""

import gc
from dataclasses import replace

import pytest
import torch

from sllm_core import hardware, probe
from sllm_core.device import Device
from sllm_core.errors import Cancelled, StepMemoryError
from sllm_core.model import GPT
from tests.training_helpers import MODEL, TRAIN

CPU = Device("cpu", "CPU", "fp32", "chosen by you")
OPEN = replace(TRAIN, batch_size=12, micro_batch_size=None)


@pytest.fixture
def fail_above(monkeypatch):
    """Make a step with more windows than this run out of memory."""
    tried = []

    def order(limit: int, problem: Exception | None = None) -> list[int]:
        real = probe._run_steps

        def run(config, train, device, size, n_micro):
            tried.append(size)
            if size > limit:
                raise problem or RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return real(config, train, device, size, n_micro)

        monkeypatch.setattr(probe, "_run_steps", run)
        return tried

    return order


def test_a_small_batch_is_taken_whole():
    trial = probe.try_step(MODEL, OPEN, CPU)
    assert trial.micro_batch_size == 12
    assert trial.step_s > 0
    assert "proven by a step" in trial.reason


def test_random_numbers_and_threads_are_as_they_were():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    probe.try_step(MODEL, OPEN, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_out_of_memory_leads_to_the_next_divisor(fail_above):
    tried = fail_above(3)
    assert probe.try_step(MODEL, OPEN, CPU).micro_batch_size == 3
    assert tried == [12, 6, 3]


def test_when_one_window_does_not_fit_three_ways_out_are_named(fail_above):
    fail_above(0)
    with pytest.raises(StepMemoryError) as caught:
        probe.try_step(MODEL, OPEN, CPU)
    assert caught.value.code == "E-MEM-STEP"
    assert all(word in caught.value.text for word in ("seq_len=8", "gradient_check", "d_model"))
    assert len(caught.value.text.splitlines()) <= 3


def test_another_error_is_not_taken_for_memory(fail_above):
    fail_above(0, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        probe.try_step(MODEL, OPEN, CPU)


def test_the_memory_model_keeps_sizes_that_cannot_fit_from_being_tried(monkeypatch, fail_above):
    tried = fail_above(99)
    one = probe.estimate.estimate_memory(MODEL, 3, 16, train=OPEN, is_half=False).total
    monkeypatch.setattr(hardware, "free_memory", lambda: int(one / probe.MEMORY_SHARE) + 1)
    assert probe.try_step(MODEL, OPEN, CPU).micro_batch_size == 3
    assert tried == [3]


def test_a_size_set_by_the_user_is_the_first_one_tried(fail_above):
    tried = fail_above(99)
    assert probe.try_step(MODEL, replace(OPEN, micro_batch_size=4), CPU).micro_batch_size == 4
    assert tried == [4]


def test_a_cpu_gets_no_larger_pieces_than_help_it():
    wide = replace(OPEN, batch_size=1024)
    assert probe.try_step(MODEL, wide, CPU).micro_batch_size * 16 <= probe.CPU_TOKENS


def test_stop_ends_it_before_the_first_step(fail_above):
    tried = fail_above(99)

    def check():
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        probe.try_step(MODEL, OPEN, CPU, check)
    assert tried == []


def test_no_model_is_left_behind():
    def alive() -> int:

        return sum(type(thing) is GPT for thing in gc.get_objects())

    before = alive()
    probe.try_step(MODEL, OPEN, CPU)
    assert alive() == before


@pytest.mark.parametrize(("style", "kind"), [("modern", "muon"), ("classic", "adamw")])
def test_the_optimizer_is_the_one_of_the_settings(style, kind):
    model = GPT(replace(MODEL, style=style))
    made = probe.build_optimizer(model, replace(TRAIN, optimizer=kind))
    state = made.state_dict()["muon"]
    assert bool(state) == (kind == "muon")
    assert all(name.startswith("layers.") for name in state)

"""One update after the other: what faults, validations and requests may change, and what never."""

import math
from dataclasses import replace

import pytest
import torch

from sllm_core import faults, messages
from sllm_core.checkpoint import weights_sha256
from sllm_core.errors import DiskError, StepMemoryError, TrainError
from sllm_core.messages import Desired, Log, Sample, Saved, StateChanged, Step, Validation
from tests.training_helpers import MODEL, World


def another(world: World, name: str) -> World:
    """A second run of the same kind."""
    return World(world.folder.parent / name, model=world.model, train=world.train)


def codes(world: World) -> list[str]:
    return [log.code for log in world.of(Log) if log.code]


# what a step is


@pytest.mark.parametrize("style", ["classic", "modern"])
def test_k_micro_batches_are_one_big_batch(world, style):
    world.model = replace(MODEL, style=style, dropout=0.0)
    whole, halves, singles = (another(world, name) for name in "abc")
    for size, one in ((4, whole), (2, halves), (1, singles)):
        one.fresh(micro_batch_size=size, max_steps=6).run()
    for one in (halves, singles):
        for mine, theirs in zip(one.of(Step), whole.of(Step), strict=True):
            assert mine.loss == pytest.approx(theirs.loss, abs=1e-6)
            assert mine.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-5)


def test_it_learns(world):
    world.fresh(max_steps=60, val_interval=30).run()
    steps = world.of(Step)
    assert abs(steps[0].loss - math.log(272)) < 0.5
    assert steps[-1].loss < steps[0].loss - 2
    first, last = world.of(Validation)
    assert last.val_loss < first.val_loss
    assert last.perplexity == pytest.approx(math.exp(last.val_loss))


def test_a_checkpoint_has_the_validation_loss_of_its_own_step_or_none(world):
    world.fresh(keep_last=9).run()
    measured = {found.step: found.val_loss for found in world.of(Validation)}
    rows = world.store.rows()
    assert {row.step for row in rows} == {4, 8, 12}
    assert all(row.val_loss == measured.get(row.step) for row in rows)


def test_each_step_is_told_once_with_its_place(world):
    world.fresh().run()
    steps = world.of(Step)
    assert [step.step for step in steps] == list(range(1, 13))
    assert [step.data_pos for step in steps] == [4 * n for n in range(1, 13)]
    assert [step.tokens for step in steps] == [64 * n for n in range(1, 13)]
    assert [step.epoch for step in steps] == [1] * 6 + [2] * 6  # 25 windows: step 7 takes the 28th
    assert all(float.fromhex(step.loss_hex) == pytest.approx(step.loss) for step in steps)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("style", ["classic", "llama", "modern"])
def test_every_style_learns_in_every_precision(world, style, precision):
    world.model = replace(MODEL, style=style)
    kind, rate = ("adamw", 3e-3) if style == "classic" else ("muon", 0.02)
    changes = {"precision": precision, "optimizer": kind, "learning_rate": rate}
    done = world.fresh(max_steps=20, **changes).run()
    taken = [step for step in world.of(Step) if not step.is_skipped]
    assert taken[-1].loss < taken[0].loss - 0.3
    assert done.step == 20


# numbers that are not finite


def test_a_nan_changes_neither_weights_nor_states(world, arm):
    arm("step.forward:5:nan")  # two passages a step: the third step
    made = world.fresh()
    seen = {}

    def look(message):
        if isinstance(message, Step):
            states = made.optimizer.state_dict()["adamw"]
            flat = {
                f"{n}.{k}": v.clone().reshape(-1) for n, s in states.items() for k, v in s.items()
            }
            seen[message.step] = (weights_sha256(made.model.state_dict()), weights_sha256(flat))

    world.on_message = look
    made.run()
    assert seen[3] == seen[2]
    assert seen[4][0] != seen[3][0]
    assert [step.step for step in world.of(Step) if step.is_skipped] == [3]
    assert codes(world) == ["E-TRAIN-NAN"]


def test_five_nans_in_a_row_end_the_run_and_name_a_good_checkpoint(world, arm):
    arm("step.forward:11+:nan")
    with pytest.raises(TrainError) as caught:
        world.fresh(max_steps=40, save_interval=4, val_interval=100).run()
    assert caught.value.code == "E-TRAIN-NAN"
    assert "step_4.pt (step 4)" in caught.value.text or "step_8.pt (step 8)" in caught.value.text
    assert len(caught.value.text.splitlines()) <= 3
    assert world.of(Step)[-1].step == 10


# out of memory


@pytest.mark.parametrize("at", [1, 2, 5])
@pytest.mark.parametrize("point", ["step.forward", "step.backward", "step.optimizer"])
def test_out_of_memory_continues_as_a_run_told_to_split_there(world, arm, point, at):
    told = another(world, "told")
    made = told.fresh(micro_batch_size=4)
    if at == 1:
        made.state.micro_batch_size = 2

    def split(message):
        if isinstance(message, Step) and message.step == at - 1:
            made.state.micro_batch_size = 2

    told.on_message = split
    wanted = made.run()
    arm(f"{point}:{at}:oom")
    done = world.fresh(micro_batch_size=4).run()
    assert codes(world) == ["E-MEM-STEP"]
    assert world.losses() == told.losses()
    assert done.weights_sha256 == wanted.weights_sha256
    assert max(world.of(Saved), key=lambda saved: saved.step).step == 12


def test_the_split_shows_in_the_numbers(world):
    """Else the equality above would prove nothing: dropout draws other numbers by micro-batch."""
    sums = [
        another(world, name).fresh(micro_batch_size=size).run().weights_sha256
        for name, size in (("a", 4), ("b", 2))
    ]
    assert sums[0] != sums[1]


def test_out_of_memory_at_one_window_stops_safely_with_three_ways_out(world, arm):
    arm("step.forward:9+:oom")
    with pytest.raises(StepMemoryError) as caught:
        world.fresh(micro_batch_size=1, save_interval=100).run()
    text = caught.value.text
    assert caught.value.code == "E-MEM-STEP"
    assert all(word in text for word in ("seq_len=8", "gradient_checkpointing", "d_model"))
    assert len(text.splitlines()) <= 3
    assert [saved.step for saved in world.of(Saved)] == [2]


@pytest.mark.parametrize("point", ["validate", "sample"])
def test_out_of_memory_beside_training_does_not_touch_it(world, arm, point):
    plain = another(world, "plain")
    wanted = plain.fresh(sample_prompts=("the",)).run()
    arm(f"{point}:1:oom")
    done = world.fresh(sample_prompts=("the",)).run()
    assert faults._passed[point] > len(world.of(Sample if point == "sample" else Validation))
    assert done.weights_sha256 == wanted.weights_sha256
    assert world.losses() == plain.losses()
    assert done.val_loss == pytest.approx(wanted.val_loss, abs=1e-6)


def test_another_error_in_a_step_is_no_out_of_memory(world, arm):
    arm("step.forward:3:raise")
    with pytest.raises(RuntimeError, match="fault at"):
        world.fresh().run()


# validation, samples, early stopping


def test_validation_and_samples_do_not_touch_training(world):
    runs = {}
    for name, changes in {
        "never": {"val_interval": 1000},
        "always": {"val_interval": 1},
        "writing": {"val_interval": 1000, "sample_interval": 1, "sample_prompts": ("the", "")},
    }.items():
        one = another(world, name)
        one.fresh(**changes).run()
        runs[name] = one.losses()
    assert runs["never"] == runs["always"] == runs["writing"]


def test_samples_are_written_at_step_0_and_at_each_validation(world):
    world.fresh(sample_prompts=("the",)).run()
    assert [sample.step for sample in world.of(Sample)] == [0, 6, 12]
    again = another(world, "again")
    again.fresh(sample_prompts=("the",)).run()
    assert again.of(Sample) == world.of(Sample)


def test_patience_ends_the_run_and_restores_the_best(world):
    done = world.fresh(max_steps=100, val_interval=2, patience=2, min_delta=5.0).run()
    assert done.step == 6
    assert "2 times" in done.reason
    best = world.store.load(world.store.find("best"))
    assert best["step"] == 2
    assert done.weights_sha256 == weights_sha256(best["model_state_dict"])
    last = world.store.load(world.store.find("last"))["model_state_dict"]
    assert done.weights_sha256 != weights_sha256(last)


def test_without_patience_the_last_weights_stay(world):
    done = world.fresh(max_steps=6, val_interval=2, min_delta=5.0).run()
    last = world.store.load(world.store.find("last"))["model_state_dict"]
    assert done.weights_sha256 == weights_sha256(last)


# requests


def test_stop_saves_the_current_step_and_names_it(world):
    world.stop_at(5)
    stopped = world.fresh().run()
    assert (stopped.step, stopped.path) == (5, "checkpoints/step_5.pt")
    assert world.store.load(world.store.find("step_5.pt"))["step"] == 5


def test_save_now_saves_once_at_once(world):
    def look(message):
        if isinstance(message, Step) and message.step == 2:
            world.wish = Desired(save_now=1)

    world.on_message = look
    world.fresh(save_interval=100, val_interval=100, max_steps=6).run()
    assert [saved.step for saved in world.of(Saved)][:2] == [2, 6]


def test_pause_saves_and_running_again_changes_nothing(world):
    plain = another(world, "plain")
    plain.fresh().run()

    def look(message):
        if isinstance(message, Step) and message.step == 3:
            world.wish = Desired("pause")
        if isinstance(message, StateChanged) and message.state == "paused":
            assert world.of(Saved)[-1].step == 3
            world.wish = Desired()

    world.on_message = look
    world.fresh().run()
    assert [change.state for change in world.of(StateChanged)] == ["paused", "running"]
    assert world.losses() == plain.losses()


# disk


def change_at(world: World, changes: dict[int, dict[str, int]]) -> None:
    """Ask for other intervals when a step is told."""

    def look(message) -> None:
        if isinstance(message, Step) and message.step in changes:
            world.wish = Desired(settings=changes[message.step])

    world.on_message = look


def test_intervals_asked_for_on_the_way_count_from_the_next_step_and_touch_no_number(world):
    plain, changed = another(world, "plain"), another(world, "changed")
    changed.train = replace(changed.train, sample_prompts=("the",))
    plain.fresh().run()
    change_at(changed, {
        3: {"val_interval": 2, "save_interval": 5, "sample_interval": 7},
        9: {"val_interval": 100},
    })  # fmt: skip
    changed.fresh().run()
    assert changed.losses() == plain.losses()
    assert [m.step for m in changed.of(Validation)] == [4, 6, 8, 12]
    assert [m.step for m in changed.of(Saved) if "last" in m.roles] == [5, 12]
    assert [m.step for m in changed.of(Sample)] == [0, 7, 12]
    said = [m.text for m in changed.of(Log) if m.text.startswith("From step")]
    assert said == [
        "From step 4 on: val_interval 6 -> 2, save_interval 4 -> 5, sample_interval None -> 7.",
        "From step 10 on: val_interval 2 -> 100, save_interval 5 -> 4, sample_interval 7 -> None.",
    ]


def test_fewer_checkpoints_are_kept_as_soon_as_that_is_asked(world):
    change_at(world, {10: {"keep_last": 1}})
    world.fresh(save_interval=2, keep_last=4).run()
    left = {path.name for path in world.store.folder.glob("step_*.pt")}
    assert left == {"step_12.pt"}


def test_an_impossible_interval_is_said_once_and_changes_nothing(world):
    change_at(world, {3: {"val_interval": 0}})
    world.fresh().run()
    assert [m.step for m in world.of(Validation)] == [6, 12]
    assert codes(world) == ["E-CFG-FIELD"]


def test_a_failed_save_is_said_and_training_goes_on(world, arm):
    plain = another(world, "plain")
    plain.fresh().run()
    arm("save.write:1:enospc")
    world.fresh().run()
    assert world.losses() == plain.losses()
    assert codes(world) == ["E-DISK-FULL"]
    assert [saved.step for saved in world.of(Saved)] == [6, 8, 12, 12]
    assert {row.step for row in world.store.rows()} == {6, 8, 12} - {6}


def test_a_last_save_that_fails_is_a_failure(world, arm):
    world.stop_at(3)
    arm("save.open:1+:erofs")
    with pytest.raises(DiskError) as caught:
        world.fresh(save_interval=100, val_interval=100).run()
    assert caught.value.code == "E-DISK-READONLY"
    assert world.of(Saved) == []


@pytest.mark.parametrize("answer", ["room", "stop"])
def test_training_waits_one_save_before_the_disk_is_full(world, monkeypatch, answer):
    def look(message):
        if isinstance(message, Saved) and message.step == 4:
            monkeypatch.setenv("SLLM_FAKE_FREE", "1000")
        if isinstance(message, StateChanged) and message.state == "waiting":
            assert "1000 B are free" in message.reason
            if answer == "room":
                monkeypatch.setenv("SLLM_FAKE_FREE", str(10**12))
            else:
                world.wish = Desired("stop")

    world.on_message = look
    ended = world.fresh().run()
    assert codes(world) == ["E-DISK-FORECAST"]
    assert ended.step == (12 if answer == "room" else 4)
    assert world.store.newest_good(world.run)[0].step == ended.step


# time


def test_a_time_budget_ends_by_recorded_plans(world, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def look(message):
        if isinstance(message, Step):
            clock[0] += 1.0

    world.on_message = look
    made = world.fresh(max_time_s=30.0, max_steps=None, schedule="wsd", val_interval=1000)
    made.state.total_steps = 8  # what a trial that was far too slow had promised
    done = made.run()
    plans = [m for m in world.said if isinstance(m, messages.Plan)]
    assert plans
    assert done.step == plans[-1].total_steps
    assert 27 <= done.step <= 31
    assert made.state.train_time_s == pytest.approx(done.step, abs=1)


def test_dropout_is_seeded_by_step(world):
    one, other = world.fresh(seed=1), world.fresh(seed=1)
    batch = one.inputs.windows.batch(0, 4)
    torch.manual_seed(99)
    first = one._gradients(batch)
    torch.manual_seed(7)
    assert other._gradients(batch) == first
    other.state.step = 1
    assert other._gradients(batch) != first

"""Going on from a checkpoint repeats the uninterrupted run, bit for bit, from any step."""

from dataclasses import replace

import pytest
import torch

from sllm_core import trainer
from tests.training_helpers import MODEL, World

STEPS = 14  # 25 windows, 4 a step: the first epoch ends inside step 7
MODERN = {"optimizer": "muon", "learning_rate": 0.02}


def uninterrupted(world: World, **changes) -> tuple[dict[int, str], str]:
    plain = World(world.folder.parent / "plain", model=world.model)
    done = plain.fresh(**changes).run()
    return plain.losses(), done.weights_sha256


def interrupted(world: World, stops: list[int], **changes) -> tuple[dict[int, str], str]:
    made = world.fresh(**changes)
    for stop in stops:
        world.stop_at(stop)
        assert made.run().step == stop
        world.go_on()
        made = world.resumed(**changes)
        assert made.state.step == stop
    done = made.run()
    return world.losses(), done.weights_sha256


@pytest.mark.parametrize(
    ("stops", "changes"),
    [
        ([3], {"seed": 1}),
        ([1], {"seed": 2, "learning_rate": 1e-2}),
        ([6], {"seed": 3}),  # before the border of the epochs, in the step over it, behind it
        ([7], {"seed": 4}),
        ([5, 6], {"seed": 5}),  # two and three times in one epoch
        ([8, 9, 11], {"seed": 6}),
        ([6, 12], {"seed": 7, "val_interval": 6}),  # at a validation and a best checkpoint
        ([4], {"micro_batch_size": 1}),  # accumulation 4, 1 and 3
        ([4], {"micro_batch_size": 4}),
        ([3], {"batch_size": 6, "micro_batch_size": 2}),
        ([2, 9], {"precision": "bf16"}),
        ([5], {"precision": "fp16"}),
        ([5], {"gradient_checkpointing": True}),
        ([4, 10], {"schedule": "wsd", "max_steps": STEPS + 6}),
    ],
    ids=str,
)
def test_a_resumed_run_equals_the_uninterrupted_one(world, stops, changes):
    changes = {"max_steps": STEPS, **changes}
    losses, weights = uninterrupted(world, **changes)
    assert len(losses) == changes["max_steps"]
    assert interrupted(world, stops, **changes) == (losses, weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("style", ["modern", "llama"])
def test_a_resumed_run_with_muon_equals_the_uninterrupted_one(world, style, precision):
    world.model = replace(MODEL, style=style)
    changes = {"max_steps": STEPS, "precision": precision, **MODERN}
    assert interrupted(world, [3, 7], **changes) == uninterrupted(world, **changes)


def test_a_fallback_to_an_older_checkpoint_repeats_the_same_steps(world):
    changes = {"max_steps": STEPS, "save_interval": 3, "keep_last": 9}
    losses, weights = uninterrupted(world, **changes)
    world.fresh(**changes).run()
    for file in ("step_9.pt", "step_3.pt"):
        made = world.resumed(file, **changes)
        assert made.run().weights_sha256 == weights
        assert world.losses() == losses


# What must be noticed when it is left out (F3n): otherwise the equality above proves nothing.


def without_optimizer(content, made):
    content["optimizer_state_dict"] = made.optimizer.state_dict()


def without_adamw_step(content, _):
    for state in content["optimizer_state_dict"]["adamw"].values():
        state["step"] = torch.tensor(1.0)


def without_schedule(content, _):
    content["state"]["warmup_steps"] += 3


def without_weights_of_a_norm(content, _):
    content["model_state_dict"]["norm.weight"] = torch.ones(32)


def without_total(content, _):
    content["state"]["total_steps"] += 2


def without_micro_batch(content, _):
    content["state"]["micro_batch_size"] = 4


@pytest.mark.parametrize(
    "drop",
    [without_optimizer, without_adamw_step, without_schedule, without_weights_of_a_norm,
     without_total, without_micro_batch],
)  # fmt: skip
def test_leaving_out_a_piece_of_the_state_is_noticed(world, drop):
    changes = {"max_steps": STEPS, "val_interval": 1000}
    losses, _ = uninterrupted(world, **changes)
    world.stop_at(4)
    world.fresh(**changes).run()
    world.go_on()
    made = world.fresh(**changes)
    content = world.store.load(world.store.find("last"))
    drop(content, made)
    trainer.restore(made, content)
    made.run()
    later = {step: loss for step, loss in world.losses().items() if 4 < step <= 9}
    assert later != {step: losses[step] for step in later}
    assert len(later) == 5


@pytest.mark.parametrize("piece", ["data position", "seed of the order", "seed of dropout"])
def test_another_place_or_seed_is_noticed(world, piece):
    changes = {"max_steps": STEPS}
    losses, _ = uninterrupted(world, **changes)
    world.stop_at(4)
    world.fresh(**changes).run()
    world.go_on()
    made = world.resumed(**changes)
    windows = made.inputs.windows
    if piece == "data position":
        original = windows.prefetch
        windows.prefetch = lambda position, count: original(position + 1, count)
    elif piece == "seed of the order":
        windows.seed += 1
    else:
        made.train = replace(made.train, seed=1)
    made.run()
    assert [world.losses()[step] for step in range(5, 10)] != [losses[n] for n in range(5, 10)]


def test_the_loss_scale_is_part_of_the_state(world):
    world.stop_at(4)
    first = world.fresh(precision="fp16")
    first.state.scale = 2.0**20
    first.run()
    world.go_on()
    assert world.resumed(precision="fp16").state.scale == first.state.scale > 1


def test_best_and_patience_go_on_counting(world):
    changes = {"max_steps": 100, "val_interval": 2, "patience": 3, "min_delta": 5.0}
    world.stop_at(5)  # one bad validation so far
    world.fresh(**changes).run()
    world.go_on()
    made = world.resumed(**changes)
    assert (made.state.best_step, made.state.bad_validations) == (2, 1)
    assert made.run().step == 8


def test_what_is_not_bit_exact_is_named(world):
    world.stop_at(4)
    world.fresh().run()
    world.go_on()
    content = world.store.load(world.store.find("last"))
    assert trainer.restore(world.fresh(), content) == []
    content["identity"]["threads"] = 64
    assert trainer.restore(world.fresh(), content) == ["threads was 64 and is 1"]
    assert len(trainer.restore(world.fresh(precision="bf16"), content)) == 2

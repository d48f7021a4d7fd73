"""What Auto-Select proposes can be trained, fits into time, memory and disk, and says why."""

import functools
import itertools
import math
import re
from dataclasses import replace

import pytest

from sllm_core import advice, config, estimate, tokenizer
from sllm_core.advice import Machine, Text
from sllm_core.config import ProjectConfig, with_values
from sllm_core.messages import TokenizerReport

GIB = 1 << 30
STYLES = config.STYLES


def machine(device, gflops, free_gib, *, disk_gib=50, overhead_s=1e-6, precision="bf16"):
    return Machine(
        device=device,
        title=f"a {device}",
        precision=precision,
        precision_reason="measured",
        overhead_s=overhead_s,
        flop_s=1e-9 / gflops,
        update_flop_s=2e-9 / gflops,
        free_bytes=int(free_gib * GIB),
        disk_free_bytes=int(disk_gib * GIB),
    )


MACHINES = {
    "netbook": machine("cpu", 4, 1.5, precision="fp32", disk_gib=3),
    "laptop": machine("cpu", 60, 6, overhead_s=2e-6),
    "workstation": machine("cpu", 600, 50),
    "6 GB": machine("cuda", 6_000, 5, overhead_s=2e-7, precision="fp16"),
    "24 GB": machine("cuda", 60_000, 23, overhead_s=1e-7),
    "80 GB": machine("cuda", 300_000, 78, overhead_s=2e-8, disk_gib=2000),
}
SIZES = [1, 300, 3_000, 50_000, 300_000, 2_000_000, 20_000_000, 200_000_000, 3 * 10**9, 10**12]
every_machine = pytest.mark.parametrize("here", MACHINES.values(), ids=list(MACHINES))
every_size = pytest.mark.parametrize("n_bytes", SIZES)


@functools.cache
def choose(n_bytes, here, base=None, budget_s=None, **known):
    return advice.choose(Text(3, n_bytes, **known), here, base or ProjectConfig(), budget_s)


# what is proposed is possible


@every_machine
@every_size
@pytest.mark.parametrize("style", STYLES)
def test_every_proposal_passes_the_programs_own_checks(n_bytes, here, style):
    base = with_values(ProjectConfig(), {"style": style})
    found = choose(n_bytes, here, base)
    made = with_values(base, found.values)
    assert made.model.style == style
    vocab_size = found.choice.vocab_size
    shape = replace(made.model, vocab_size=vocab_size).resolve()
    assert estimate.count_parameters(shape).total == found.choice.n_params
    windows = max(1, (found.choice.train_tokens - 1) // made.train.seq_len)
    train = estimate.resolve_training(made.train, shape, found.choice.train_tokens, windows)
    assert train.batch_size == min(made.train.batch_size, windows), "the batch is not cut"
    steps = estimate.count_steps(train, windows)
    assert (steps is None) == found.choice.is_by_time
    assert steps is None or steps >= 1


@every_machine
@every_size
def test_a_proposal_fits_into_time_memory_and_disk(n_bytes, here):
    choice = choose(n_bytes, here).choice
    budget = advice.CPU_BUDGET_S if here.device == "cpu" else advice.GPU_BUDGET_S
    assert choice.forecast_s <= 1.01 * max(budget, choice.step_s)
    assert choice.need_bytes <= here.free_bytes
    assert 3 * choice.checkpoint_bytes <= here.disk_free_bytes


@every_machine
@every_size
def test_a_pass_has_at_least_four_updates(n_bytes, here):
    choice = choose(n_bytes, here).choice
    windows = max(1, (choice.train_tokens - 1) // choice.train.seq_len)
    assert choice.train.batch_size == 1 or 4 * choice.train.batch_size <= windows


@every_machine
@every_size
def test_every_value_has_a_reason_and_every_reason_is_a_sentence(n_bytes, here):
    found = choose(n_bytes, here)
    assert found.values.keys() == found.reasons.keys()
    for name, reason in found.reasons.items():
        assert re.match(r"^[\w(].*[.]$", reason), (name, reason)
        assert "nan" not in reason and "inf " not in reason, (name, reason)
    for name in ("d_model", "target_vocab_size", "seq_len", "batch_size", "dropout"):
        assert re.search(r"\d", found.reasons[name]), name
    assert f"{found.choice.vocab_size:,}" in found.summary


@every_machine
@every_size
def test_whatever_a_person_had_set_before_cannot_spoil_the_proposal(n_bytes, here):
    odd = with_values(
        ProjectConfig(),
        {
            "n_kv_heads": 2, "head_dim": 16, "d_ff": 64, "max_time_s": 9.0, "max_steps": 3,
            "max_tokens": 5, "learning_rate": 0.05, "stride": 3, "micro_batch_size": 7,
            "gradient_checkpointing": True, "optimizer": "muon", "weight_decay": 0.5,
        },
    )  # fmt: skip
    assert choose(n_bytes, here, odd).values == choose(n_bytes, here).values


# what is proposed is sensible


@every_machine
def test_more_text_never_gives_a_smaller_vocabulary(here):
    sizes = [choose(n, here).choice.vocab_size for n in SIZES[:5]]
    assert sizes == sorted(sizes)


@every_size
def test_a_faster_machine_never_gets_a_smaller_model(n_bytes):
    slow, fast = MACHINES["netbook"], MACHINES["workstation"]
    assert choose(n_bytes, slow).choice.n_params <= choose(n_bytes, fast).choice.n_params


@every_machine
@every_size
def test_more_time_never_gives_a_smaller_model(n_bytes, here):
    short, long = (choose(n_bytes, here, budget_s=s).choice.n_params for s in (120, 12_000))
    assert short <= long


def test_three_hundred_kilobytes_on_a_laptop_give_a_small_model_read_ten_times():
    found = choose(300_000, MACHINES["laptop"])
    assert 0.5e6 < found.choice.n_params < 4e6
    assert found.values["target_vocab_size"] == 1000
    assert 6 <= found.values["epochs"] <= 12
    assert found.values["schedule"] == "cosine"
    assert found.values["patience"] > 0
    assert found.choice.forecast_s < 1800


def test_two_hundred_megabytes_on_a_laptop_are_limited_by_half_an_hour():
    found = choose(200_000_000, MACHINES["laptop"])
    assert found.values["max_time_s"] == 1800
    assert found.values["epochs"] is None
    assert found.values["schedule"] == "wsd"
    assert found.values["dropout"] == 0
    assert 4 <= found.choice.seen_tokens / found.choice.n_params <= 60


def test_two_hundred_megabytes_on_a_large_card_give_a_model_of_tens_of_millions():
    found = choose(200_000_000, MACHINES["24 GB"])
    assert 30e6 < found.choice.n_params < 120e6
    assert found.choice.forecast_s <= 3 * 3600
    assert found.values["seq_len"] == 1024
    assert found.choice.tokens_per_step >= 30 * found.choice.shape.d_model, "muon's fixed work"


def test_a_full_disk_or_little_memory_makes_the_model_smaller_and_is_the_reason():
    rich = choose(10**9, MACHINES["24 GB"])
    poor = choose(10**9, replace(MACHINES["24 GB"], disk_free_bytes=1 * GIB))
    assert poor.choice.n_params < rich.choice.n_params
    assert "on the disk" in poor.reasons["d_model"]
    tight = choose(10**9, replace(MACHINES["24 GB"], free_bytes=1 * GIB))
    assert tight.choice.n_params < rich.choice.n_params
    assert "memory" in tight.reasons["d_model"]


def test_very_little_text_is_said_to_be_too_little():
    assert any("very little text" in words for words in choose(5_000, MACHINES["laptop"]).warnings)
    assert choose(10**7, MACHINES["laptop"]).warnings == ()


def test_a_vocabulary_that_checkpoints_hold_on_to_stays():
    found = choose(10**7, MACHINES["laptop"], vocab_size=777, is_vocab_locked=True)
    assert "target_vocab_size" not in found.values
    assert found.choice.vocab_size == 777


def test_tokens_that_were_counted_are_not_estimated():
    open_text = choose(300_000, MACHINES["laptop"])
    assert open_text.is_estimated
    vocab_size = open_text.choice.vocab_size
    known = choose(300_000, MACHINES["laptop"], vocab_size=vocab_size, train_tokens=98_765)
    assert known.choice.train_tokens == 98_765
    assert not known.is_estimated


# arithmetic


@pytest.mark.parametrize(
    ("n_bytes", "size"),
    [(5_000, 272), (99_999, 272), (300_000, 1_000), (10**6, 2_000), (25 * 10**6, 10_000)],
)
def test_the_vocabulary_is_twice_the_root_of_the_bytes(n_bytes, size):
    assert advice.vocabulary_for(n_bytes) == size


def test_the_program_would_grant_the_vocabulary_that_is_advised():
    for n_bytes in SIZES:
        size = advice.vocabulary_for(n_bytes)
        assert n_bytes < 100_000 or tokenizer.advise_vocab_size(size, n_bytes)[0] == size


def test_the_speed_is_recovered_from_two_sizes():
    overhead_s, flop_s = 3e-6, 2e-11
    points = [(f, overhead_s + f * flop_s) for f in (1e6, 5e7)]
    assert advice.fit_speed(points, [(1e9, 0.1), (1e10, 0.5)]) == pytest.approx(
        (overhead_s, flop_s, 1e-10)
    )


@pytest.mark.parametrize("seconds", [(2e-4, 1e-4), (1e-6, 1e-3), (1e-4, 1e-4)])
def test_a_disturbed_measurement_gives_no_negative_speed(seconds):
    points = list(zip((1e6, 5e7), seconds, strict=True))
    overhead_s, flop_s, _ = advice.fit_speed(points, [(1.0, 1.0)])
    assert overhead_s >= 0
    assert flop_s > 0
    assert overhead_s + flop_s * 5e7 == pytest.approx(seconds[1])


def test_bytes_a_token_rise_with_the_vocabulary_and_keep_to_what_was_measured():
    sizes = [advice.bytes_per_token(n) for n in (272, 500, 1000, 5000, 20_000, 10**6)]
    assert sizes == sorted(sizes)
    assert advice.bytes_per_token(8192, (8192, 4.2)) == pytest.approx(4.2)
    assert advice.bytes_per_token(16_384, (8192, 4.2)) > 4.2
    assert advice.bytes_per_token(272, (8192, 1.1)) == 1.0


@pytest.mark.parametrize(
    ("vocab_size", "prose", "code"), [(1024, 2.29, 2.46), (3000, 3.0, 3.14), (8192, 3.54, 3.71)]
)
def test_bytes_a_token_lie_between_the_prose_and_the_code_that_were_measured(
    vocab_size, prose, code
):
    assert prose < advice.bytes_per_token(vocab_size) < code


def test_flops_are_six_a_parameter_and_attention():
    shape = replace(config.ModelConfig(), vocab_size=1000)
    n = estimate.count_parameters(shape)
    expected = 6 * (n.attention + n.mlp + 1000 * 256) + 12 * 4 * 256 * 128
    assert advice.flops_per_token(shape, 128) == expected


@pytest.mark.parametrize(
    ("n_params", "seen", "tokens", "words"),
    [
        (10**6, 20 * 10**6, 10**7, "good balance"),
        (10**7, 10**7, 10**8, "train longer"),
        (10**7, 10**7, 10**6, "more text"),
        (10**5, 10**8, 10**8, "larger model"),
        (10**6, 10**8, 10**6, "by heart"),
    ],
)
def test_a_size_is_judged_by_tokens_a_parameter_and_passes(n_params, seen, tokens, words):
    assert words in advice.judge_size(n_params, seen, tokens)


def report(**changes):
    made = TokenizerReport(1, 16_000, 3.5, {}, 20, "x", 0, 0, 16, "", counted_tokens=10**7)
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("changes", "n_bytes", "words"),
    [
        ({}, 10**8, "fits"),
        ({"n_never": 5000, "n_rare": 4000}, 10**6, "2,000 tokens would do"),
        ({"n_never": 5000, "n_rare": 4000, "counted_tokens": 100}, 10**8, "fits"),
        ({"embedding_share": 0.7}, 10**8, "70 % of the model"),
        ({"vocab_size": 1000}, 10**8, "could teach 20,000"),
        ({"vocab_size": 272}, 10**6, "can teach 2,000"),
        ({"vocab_size": 272}, 10**4, "suit"),
    ],
)
def test_a_vocabulary_is_judged_by_what_the_text_uses(changes, n_bytes, words):
    assert words in advice.judge_tokenizer(report(**changes), n_bytes)


def test_each_shape_is_larger_than_the_one_before_and_can_be_built():
    sizes = []
    for d_model, n_layers, n_heads in advice.SHAPES:
        shape = config.ModelConfig(
            d_model=d_model, n_layers=n_layers, n_heads=n_heads, vocab_size=10_000
        )
        sizes.append(estimate.count_parameters(shape).total)
        assert d_model // n_heads in {32, 64}
    ratios = [b / a for a, b in itertools.pairwise(sizes)]
    assert all(1.15 < ratio < 2.5 for ratio in ratios)
    assert math.isclose(sizes[-1], 1e9, rel_tol=0.5)

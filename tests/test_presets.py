"""The presets are the ones that were promised, and each of them can be trained."""

from dataclasses import replace

import pytest
import torch

from sllm_core import presets
from sllm_core.config import STYLES, ProjectConfig, with_values
from sllm_core.errors import ConfigError
from sllm_core.estimate import count_parameters
from sllm_core.model import GPT

# The table of SPEC 4, typed again from there.
# fmt: off
PROMISED = [
    # name              width layers heads vocab  window batch lr  dropout epochs
    ("Fast Experiment", 256,   4,  4, 16_000,  256,  128, 1e-3, 0.1,   3),
    ("Balanced",        512,   6,  8, 32_000,  512,   64, 3e-4, 0.1,  10),
    ("High Quality",    768,  12, 12, 50_000, 1024,   64, 2e-4, 0.1,  15),
    ("GPU 8 GB",        256,   6,  4, 32_000,  512,   32, 3e-4, 0.1,  10),
    ("GPU 12 GB",       512,   8,  8, 32_000,  512,   64, 3e-4, 0.1,  10),
    ("GPU 16 GB",       512,   8,  8, 32_000, 1024,   32, 3e-4, 0.1,   6),
    ("GPU 24 GB",      1024,  16, 16, 50_000, 1024,  192, 3e-4, 0.1,   6),
    ("Dataset small",   256,   4,  4, 16_000,  512,   64, 5e-4, 0.15, 20),
    ("Dataset medium",  512,   8,  8, 32_000, 1024,  128, 3e-4, 0.1,   8),
    ("Dataset large",   768,  12, 12, 50_000, 1024,  128, 3e-4, 0.1,   4),
    ("Dataset xlarge", 1024,  16, 16, 50_000, 1024,   96, 2e-4, 0.05,  3),
    ("Size 13M",        256,   6,  4, 32_000, 1024, None, None, 0.1, None),
    ("Size 35M",        512,   6,  8, 32_000, 1024, None, None, 0.1, None),
    ("Size 110M",       768,  12, 12, 32_000, 1024, None, None, 0.1, None),
    ("Size 334M",      1024,  24, 16, 32_000, 1024, None, None, 0.1, None),
    ("Size 750M",      1280,  36, 20, 32_000, 1024, None, None, 0.1, None),
    ("Size 1.5B",      1600,  48, 25, 32_000, 1024, None, None, 0.1, None),
]
# fmt: on
SIZES = {
    "Size 13M": 13e6,
    "Size 35M": 35e6,
    "Size 110M": 110e6,
    "Size 334M": 334e6,
    "Size 750M": 750e6,
    "Size 1.5B": 1.5e9,
}
every_preset = pytest.mark.parametrize("preset", presets.PRESETS, ids=lambda preset: preset.slug)
every_style = pytest.mark.parametrize("style", STYLES)


def build(*sets: str, preset: str = "Balanced", project: ProjectConfig | None = None):
    return presets.build(project or ProjectConfig(), preset, list(sets))


@pytest.mark.parametrize("row", PROMISED, ids=lambda row: row[0])
def test_a_preset_sets_what_the_table_promises(row):
    made = build("optimizer=adamw", preset=row[0])
    assert (
        made.preset,
        made.model.d_model,
        made.model.n_layers,
        made.model.n_heads,
        made.tokenizer.target_vocab_size,
        made.train.seq_len,
        made.train.batch_size,
        made.train.learning_rate,
        made.model.dropout,
        made.train.epochs,
    ) == row
    assert made.model.max_seq_len == made.train.seq_len


def test_the_table_has_one_row_more_the_sample():
    assert {p.name for p in presets.PRESETS} == {row[0] for row in PROMISED} | {"Sample"}
    assert len(presets.PRESETS) == len(PROMISED) + 1


def test_only_the_two_largest_save_memory():
    saving = [p.name for p in presets.PRESETS if build(preset=p.name).train.gradient_checkpointing]
    assert saving == ["Size 750M", "Size 1.5B"]


@every_preset
@every_style
def test_the_parameters_that_are_shown_are_those_of_the_built_model(preset, style):
    made = build(f"style={style}", preset=preset.name)  # passes the checks, or raises here
    shape = replace(made.model, vocab_size=preset.target_vocab_size)
    with torch.device("meta"):
        model = GPT(shape)
    assert count_parameters(shape).total == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "wanted"), SIZES.items())
@every_style
def test_a_size_in_a_name_is_the_real_one_within_a_few_percent(name, wanted, style):
    shape = replace(build(f"style={style}", preset=name).model, vocab_size=32_000)
    assert count_parameters(shape).total == pytest.approx(wanted, rel=0.03)


def test_the_classic_count_is_the_formula_that_was_promised():
    V, T, d, L, d_ff = 32_000, 512, 512, 6, 2048
    promised = V * d + T * d + L * (4 * d**2 + 4 * d + 2 * d * d_ff + d + d_ff + 4 * d) + 2 * d
    shape = replace(build("style=classic").model, vocab_size=V)
    assert count_parameters(shape).total == promised == 35_561_472


# The rate of a preset is AdamW's


@pytest.mark.parametrize(
    ("sets", "rate"),
    [
        ([], None),  # modern means muon, which has its own
        (["style=llama"], None),
        (["style=classic"], 3e-4),  # classic means adamw
        (["optimizer=adamw"], 3e-4),
        (["optimizer=muon"], None),
        (["style=classic", "optimizer=muon"], None),
        (["style=llama", "optimizer=adamw"], 3e-4),
        (["optimizer=adamw", "style=llama"], 3e-4),  # in any order
    ],
)
def test_the_rate_of_a_preset_is_for_adamw_only(sets, rate):
    assert build(*sets).train.learning_rate == rate


def test_the_style_and_optimizer_of_the_project_count_where_none_is_given():
    classic = with_values(ProjectConfig(), {"style": "classic"})
    assert build(project=classic).train.learning_rate == 3e-4
    assert build("style=modern", project=classic).train.learning_rate is None
    assert build("optimizer=muon", project=classic).train.learning_rate is None
    assert build(project=classic).model.style == "classic"


def test_a_single_setting_wins_over_the_preset():
    made = build("learning_rate=1e-4", "dropout=0", "style=classic")
    assert (made.train.learning_rate, made.model.dropout, made.model.d_model) == (1e-4, 0.0, 512)


def test_without_a_preset_single_settings_are_all_that_changes():
    made = presets.build(ProjectConfig(), None, ["style=classic", "seed=3"])
    assert made == with_values(ProjectConfig(), {"style": "classic", "seed": 3})


def test_a_preset_clears_what_an_earlier_one_or_a_person_set():
    old = with_values(
        ProjectConfig(),
        {"n_kv_heads": 2, "head_dim": 16, "d_ff": 64, "max_time_s": 9, "learning_rate": 0.05},
    )
    made = build(project=old)
    assert (made.model.n_kv_heads, made.model.head_dim, made.model.d_ff) == (None, None, None)
    assert (made.train.max_time_s, made.train.learning_rate) == (None, None)
    assert build(preset="Size 13M", project=build("optimizer=adamw")).train.epochs is None


def test_what_a_preset_replaces_cannot_forbid_the_style_or_optimizer_given_with_it():
    old = with_values(ProjectConfig(), {"n_kv_heads": 2, "learning_rate": 0.05})
    assert build("style=classic", project=old).model.style == "classic"
    assert build("optimizer=adamw", project=old).train.learning_rate == 3e-4


def test_what_is_no_part_of_a_preset_stays():
    old = with_values(ProjectConfig(), {"seed": 9, "temperature": 0.3, "split": "gpt2"})
    made = build(project=old)
    assert (made.train.seed, made.sampling.temperature, made.tokenizer.split) == (9, 0.3, "gpt2")


# Names


@every_preset
def test_a_preset_is_found_by_its_name_in_any_spelling(preset):
    for name in (preset.name, preset.slug, preset.name.upper(), preset.name.replace(" ", "_")):
        assert presets.find(name) == preset


def test_no_two_presets_share_a_spelling():
    slugs = [preset.slug for preset in presets.PRESETS]
    assert len(set(slugs)) == len(slugs)
    assert "size-1-5b" in slugs


def test_an_unknown_preset_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(ConfigError) as caught:
        presets.find("balnced")
    assert caught.value.code == "E-CFG-FIELD"
    assert "Did you mean balanced?" in caught.value.what
    assert all(preset.slug in caught.value.todo for preset in presets.PRESETS)
    with pytest.raises(ConfigError):
        presets.find("")

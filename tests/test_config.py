"""Every setting is described once, kept within its limits, and survives being stored."""

import contextlib
import dataclasses
import json
import math
import re
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sllm_core import config as settings
from sllm_core import fields
from sllm_core.config import (
    FIELD_SECTION,
    NO_ENDING,
    SECTIONS,
    DataConfig,
    ModelConfig,
    ProjectConfig,
    SamplingConfig,
    SourceConfig,
    TokenizerConfig,
    TrainConfig,
    parse_sets,
    project_config,
    to_json,
    with_values,
)
from sllm_core.errors import ConfigError

# (section, field) for each setting a person can reach
FIELDS = [(kind, field.name) for kind in SECTIONS.values() for field in dataclasses.fields(kind)]


def hint(kind: type, name: str) -> Any:
    return typing.get_type_hints(kind)[name]


def is_open(kind: type, name: str) -> bool:
    return type(None) in typing.get_args(hint(kind, name))


def limited(side: str) -> list[tuple[type, str, float]]:
    found = [(kind, name, getattr(fields.info(kind, name), side)) for kind, name in FIELDS]
    return [row for row in found if row[2] is not None]


def refusal(kind: type, **values: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        kind(**values)
    return caught.value


def stored(**changes: Any) -> dict[str, Any]:
    """The plain values of a fresh project's config.json, changed at the top."""
    return {**json.loads(to_json(ProjectConfig())), **changes}


# Descriptions


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_every_field_has_a_label_a_sentence_and_a_value_when_left_open(kind, name):
    about = fields.info(kind, name)
    assert about.label[0].isupper()
    assert about.help.endswith(".")
    assert (about.auto != "") >= is_open(kind, name)
    base = fields._base_type(hint(kind, name))[0]
    assert bool(about.choices) == (base is str)
    if base in {int, float}:
        assert about.minimum is not None


def test_every_name_is_unique_over_all_sections():
    assert len(FIELD_SECTION) == len(FIELDS)


def test_an_instance_is_described_like_its_class():
    assert fields.info(TrainConfig(), "seed") == fields.info(TrainConfig, "seed")


@pytest.mark.parametrize("kind", [*SECTIONS.values(), ProjectConfig])
def test_settings_cannot_be_changed_in_place(kind):
    section = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(section, dataclasses.fields(kind)[0].name, None)


# Limits


@pytest.mark.parametrize(
    ("kind", "name", "limit", "side"),
    [(*row, side) for side in ("minimum", "maximum") for row in limited(side)],
)
def test_a_value_beyond_its_limit_is_refused_by_name_value_and_limit(kind, name, limit, side):
    wrong = math.floor(limit) - 1 if side == "minimum" else math.ceil(limit) + 1
    problem = refusal(kind, **{name: wrong})
    assert problem.code == "E-CFG-FIELD"
    assert fields.info(kind, name).label in problem.what
    assert f"({name})" in problem.what
    assert re.search(rf"cannot be {wrong}(\.0)?: ", problem.what)
    said = re.search(r"the (?:smallest|largest) is (\S+?)(?: [a-z]+)?\.$", problem.what)
    assert float(said[1]) == limit


@pytest.mark.parametrize(
    ("kind", "name", "limit"), [row for side in ("minimum", "maximum") for row in limited(side)]
)
def test_the_limit_itself_is_allowed(kind, name, limit):
    section = kind()
    object.__setattr__(section, name, limit)  # past the checks between fields
    fields.check(section)


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_a_value_of_another_type_is_refused_by_name(kind, name):
    for wrong in ({"a": 1}, [1], b"x"):
        problem = refusal(kind, **{name: wrong})
        assert f"({name}) cannot be" in problem.what


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_only_fields_with_a_rule_of_their_own_may_be_left_open(kind, name):
    if is_open(kind, name):
        assert getattr(kind(**{name: None}), name) is None
    else:
        assert f"({name}) cannot be None" in refusal(kind, **{name: None}).what


@pytest.mark.parametrize("name", ["dropout", "rope_theta", "d_model", "norm_eps"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_a_number_that_is_none_is_refused(name, value):
    assert f"({name})" in refusal(ModelConfig, **{name: value}).what


def test_a_long_value_is_cut_and_beneath_its_field_it_is_not_named():
    problem = refusal(SamplingConfig, max_new_tokens=int("9" * 100))
    assert f"cannot be {'9' * 24}\u2026: the largest" in problem.what
    assert fields.short(problem) == "The largest is 1000000."
    for text in ("x" * 100, "a: it must be b", "a\nb"):
        with pytest.raises(ConfigError) as found:
            fields.parse(SamplingConfig, "max_new_tokens", text)
        assert fields.short(found.value) == "It must be a whole number."


def test_names_without_an_ending_are_a_file_type_like_others():
    config = with_values(ProjectConfig(), parse_sets(["extensions=.txt, (none)"]))
    assert config.data.extensions == (".txt", NO_ENDING)
    assert project_config(json.loads(to_json(config))) == config


def test_on_is_not_one_and_one_is_not_on():
    assert "(seed)" in refusal(TrainConfig, seed=True).what
    assert "(shuffle)" in refusal(DataConfig, shuffle=1).what


def test_a_choice_that_is_none_is_refused_with_the_choices():
    problem = refusal(ModelConfig, style="gpt5")
    assert "gpt5" in problem.what
    assert all(style in problem.what for style in ("modern", "llama", "classic"))


def test_whole_numbers_are_taken_where_a_fraction_is_meant():
    made = TrainConfig(epochs=3, sample_prompts=["a"])
    assert isinstance(made.epochs, float)
    assert made.sample_prompts == ("a",)


# What fields must agree on


@pytest.mark.parametrize(
    ("kind", "values", "numbers"),
    [
        (ModelConfig, {"d_model": 100, "n_heads": 3}, ["100", "3"]),
        (ModelConfig, {"n_heads": 4, "n_kv_heads": 3}, ["4", "3"]),
        (ModelConfig, {"style": "classic", "n_heads": 4, "n_kv_heads": 2}, ["4"]),
        (ModelConfig, {"d_model": 12, "n_heads": 4}, ["3"]),
        (ModelConfig, {"head_dim": 5}, ["5"]),
        (DataConfig, {"min_file_bytes": 9, "max_file_bytes": 8}, ["9", "8"]),
    ],
)
def test_fields_that_clash_are_refused_with_both_values(kind, values, numbers):
    problem = refusal(kind, **values)
    assert problem.code == "E-CFG-FIELD"
    assert all(number in problem.what for number in numbers)


def test_odd_heads_are_fine_where_nothing_rotates():
    assert ModelConfig(style="classic", d_model=12, n_heads=4).resolve().head_dim == 3


def test_a_window_longer_than_the_context_is_refused_with_both_numbers():
    problem = refusal(ProjectConfig, train=TrainConfig(seq_len=300))
    assert "300 tokens (seq_len)" in problem.what
    assert "256 (max_seq_len)" in problem.what


def test_a_window_and_its_context_may_grow_together():
    changed = with_values(ProjectConfig(), {"seq_len": 512, "max_seq_len": 512})
    assert changed.train.seq_len == changed.model.max_seq_len == 512


def test_two_sources_cannot_share_an_id():
    source = SourceConfig(1, "/a")
    assert "same id" in refusal(ProjectConfig, sources=(source, SourceConfig(1, "/b"))).what


@pytest.mark.parametrize(
    "values",
    [
        {"id": "1", "path": "/a"},
        {"id": True, "path": "/a"},
        {"id": 1, "path": 5},
        {"id": 1, "path": ""},
        {"id": 1, "path": "a\0b"},
        {"id": 1, "path": "/a", "is_on": "no"},
    ],
)
def test_a_source_of_the_wrong_type_is_refused(values):
    assert refusal(SourceConfig, **values).code == "E-CFG-FIELD"


# Open fields


def test_open_fields_follow_from_the_style():
    modern = ModelConfig(d_model=256, n_heads=4).resolve()
    assert (modern.n_kv_heads, modern.head_dim, modern.d_ff) == (4, 64, 672)  # 8/3 * 256 = 682.7
    assert (modern.bias, modern.norm_eps) == (False, 1e-6)
    llama = ModelConfig(style="llama", d_model=256, n_heads=4).resolve()
    assert (llama.d_ff, llama.bias, llama.norm_eps) == (672, False, 1e-5)
    classic = ModelConfig(style="classic", d_model=256, n_heads=4).resolve()
    assert (classic.d_ff, classic.bias, classic.norm_eps) == (1024, True, 1e-5)


def test_what_was_chosen_is_not_resolved_away():
    chosen = ModelConfig(n_kv_heads=2, head_dim=32, d_ff=96, bias=True, norm_eps=1e-3)
    assert chosen.resolve() == chosen
    assert ModelConfig(style="classic", bias=False).resolve().bias is False


@pytest.mark.parametrize("style", settings.STYLES)
def test_only_the_vocabulary_stays_open_and_resolving_twice_changes_nothing(style):
    once = ModelConfig(style=style).resolve()
    left = {name for name, value in dataclasses.asdict(once).items() if value is None}
    assert left == {"vocab_size"}
    assert once.resolve() == once


def test_new_limits_of_a_run_replace_all_old_ones():
    train = TrainConfig(epochs=3, max_steps=7).with_limits(max_time_s=60)
    assert (train.epochs, train.max_steps, train.max_tokens, train.max_time_s) == (
        *(None, None, None),
        60,
    )


# --set


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("d_model=64", 64),
        (" d_model = 64 ", 64),
        ("max_tokens=1e9", 10**9),
        ("max_tokens=1_000", 1000),
        ("n_kv_heads=auto", None),
        ("epochs=none", None),
        ("dropout=0.25", 0.25),
        ("learning_rate=3e-4", 3e-4),
        ("shuffle=on", True),
        ("shuffle=FALSE", False),
        ("shuffle=0", False),
        ("bias=auto", None),
        ("bias=yes", True),
        ("style= classic ", "classic"),
        ("schedule=auto", "auto"),
        ("extensions=.py, .md,", (".py", ".md")),
        ("stop=", ()),
        ("sample_prompts=a=b,c", ("a=b", "c")),
    ],
)
def test_set_gives_a_field_its_own_type(pair, value):
    (parsed,) = parse_sets([pair]).values()
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "pair",
    [
        *("d_model=wide", "d_model=1.5", "d_model=1.5e0", "d_model=1e999", "d_model=", "seed=on"),
        *("dropout=much", "shuffle=maybe", "shuffle=", "bias=2"),
    ],
)
def test_set_refuses_a_text_that_is_no_value_of_the_field(pair):
    name, _, text = pair.partition("=")
    with pytest.raises(ConfigError) as caught:
        parse_sets([pair])
    assert caught.value.code == "E-CFG-FIELD"
    assert f"({name}) cannot be {text!r}" in caught.value.what


@pytest.mark.parametrize(
    ("name", "meant"),
    [("n_head", "n_heads"), ("dmodel", "d_model"), ("learning-rate", "learning_rate")],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(name, meant):
    for attempt in (
        lambda: parse_sets([f"{name}=1"]),
        lambda: with_values(ProjectConfig(), {name: 1}),
    ):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert caught.value.code == "E-CFG-KEY"
        assert f"{name!r}. Did you mean {meant}?" in caught.value.what


def test_nothing_is_guessed_for_a_name_unlike_all_others():
    with pytest.raises(ConfigError, match=r"'zzzzzzz'\. \[E-CFG-KEY\]$"):
        parse_sets(["zzzzzzz=1"])


def test_set_without_an_equals_sign_says_how_it_is_written():
    with pytest.raises(ConfigError, match="name=value"):
        parse_sets(["d_model"])


def test_values_of_several_sections_are_set_at_once_and_the_rest_stays():
    old = with_values(ProjectConfig(), {"seed": 5})
    new = with_values(old, {"d_model": 96, "n_heads": 6, "temperature": 0.5})
    assert (new.model.d_model, new.model.n_heads, new.sampling.temperature) == (96, 6, 0.5)
    assert new.train == old.train
    assert old.model == ModelConfig()


# Stored


def test_settings_are_the_same_after_they_were_stored():
    config = ProjectConfig(
        preset="Balanced",
        sources=(SourceConfig(1, "texts"), SourceConfig(2, "/Bücher", is_on=False)),
        data=DataConfig(extensions=(".txt",), val_split=0.2),
        tokenizer=TokenizerConfig(split="gpt2"),
        model=ModelConfig(style="llama", n_kv_heads=2),
        train=TrainConfig(learning_rate=1e-4, sample_prompts=("日本", "\u2028")),
        sampling=SamplingConfig(stop=("\n",)),
    )
    assert project_config(json.loads(to_json(config))) == config
    assert "Bücher" in to_json(config)


def test_a_path_that_is_no_text_can_be_stored():
    config = ProjectConfig(sources=(SourceConfig(1, "caf\udce9"),))
    text = to_json(config).encode("utf-8").decode("utf-8")
    assert project_config(json.loads(text)) == config


FREE = {  # the fields that no other field restricts
    name: kind
    for kind, name in FIELDS
    if name
    not in {
        *("d_model", "n_heads", "n_kv_heads", "head_dim", "seq_len", "max_seq_len"),
        *("min_file_bytes", "max_file_bytes", "learning_rate"),
    }
}


def values_of(kind: type, name: str) -> st.SearchStrategy[Any]:
    """Any value that the limits of a field allow."""
    about, base = fields.info(kind, name), fields._base_type(hint(kind, name))[0]
    made = {
        bool: st.booleans(),
        int: st.integers(int(about.minimum or 0), int(about.maximum or 10**12)),
        float: st.floats(about.minimum, about.maximum),
        str: st.sampled_from(about.choices or ("",)),
        tuple: st.lists(st.text(max_size=9), max_size=3).map(tuple),
    }[base]
    return st.none() | made if is_open(kind, name) else made


@given(st.fixed_dictionaries({}, optional={n: values_of(k, n) for n, k in FREE.items()}))
@hypothesis_settings(deadline=None, max_examples=60)
def test_all_allowed_values_are_taken_and_survive_being_stored(values):
    config = with_values(ProjectConfig(), values)
    assert {name: getattr(getattr(config, FIELD_SECTION[name]), name) for name in values} == values
    assert project_config(json.loads(to_json(config))) == config


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(st.sampled_from([*SECTIONS, "sources", "preset", "schema_version"]), JSON)
@hypothesis_settings(deadline=None)
def test_foreign_values_are_taken_or_refused_but_nothing_else_happens(section, value):
    with contextlib.suppress(ConfigError):
        assert isinstance(project_config(stored(**{section: value})), ProjectConfig)


@pytest.mark.parametrize("kind", SECTIONS)
@pytest.mark.parametrize("value", [None, [], [1], 5, "text", True])
def test_a_section_that_is_no_object_is_refused_by_name(kind, value):
    with pytest.raises(ConfigError, match=f"section {kind}"):
        project_config(stored(**{kind: value}))


@pytest.mark.parametrize("value", [None, 5, {}, [5], [{}], [{"id": 1}], [{"id": 1, "path": 2}]])
def test_sources_that_are_none_are_refused(value):
    with pytest.raises(ConfigError, match="source"):
        project_config(stored(sources=value))


def test_unknown_keys_are_refused_where_they_stand():
    with pytest.raises(ConfigError, match="the project has no setting 'modle'") as caught:
        project_config(stored(modle={}))
    assert "Did you mean model?" in caught.value.what
    with pytest.raises(ConfigError, match="section train has no setting 'batchsize'") as caught:
        project_config(stored(train={"batchsize": 4}))
    assert "Did you mean batch_size?" in caught.value.what


def test_sections_and_settings_that_are_missing_get_their_defaults():
    assert project_config({"schema_version": 1}) == ProjectConfig()
    assert project_config(stored(train={"seed": 4})).train == TrainConfig(seed=4)


@pytest.mark.parametrize("values", [None, [], "text", 5])
def test_settings_that_are_no_object_are_refused(values):
    with pytest.raises(ConfigError, match="E-CFG-CORRUPT"):
        project_config(values)


@pytest.mark.parametrize("version", [None, "1", 0, -1, 1.0, True])
def test_a_version_that_is_none_is_refused(version):
    with pytest.raises(ConfigError, match="E-CFG-CORRUPT"):
        project_config(stored(schema_version=version))


def test_settings_of_a_newer_version_are_refused_politely():
    newer = settings.SCHEMA_VERSION + 1
    with pytest.raises(ConfigError) as caught:
        project_config({"schema_version": newer, "what we cannot know": 1})
    assert caught.value.code == "E-CFG-VERSION"
    assert f"schema {newer}" in caught.value.what
    assert caught.value.safe
    assert caught.value.todo


def test_older_settings_are_migrated_step_by_step(monkeypatch):
    def rename(values: dict[str, Any]) -> dict[str, Any]:
        return {"schema_version": 2, "train": {"seed": values["start"]}}

    def double(values: dict[str, Any]) -> dict[str, Any]:
        return {"schema_version": 3, "train": {"seed": 2 * values["train"]["seed"]}}

    monkeypatch.setattr(settings, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(settings, "MIGRATIONS", [rename, double])
    assert project_config({"schema_version": 1, "start": 4}).train.seed == 8
    assert project_config({"schema_version": 2, "train": {"seed": 4}}).train.seed == 8


def test_every_older_version_has_its_migration():
    assert len(settings.MIGRATIONS) == settings.SCHEMA_VERSION - 1


@pytest.mark.parametrize(
    "values",
    [{"optimizer": "adamw"}, {"style": "classic"}],
    ids=["asked for by name", "brought by the style"],
)
def test_a_rate_that_only_muon_can_take_is_refused_for_adamw(values):
    with pytest.raises(ConfigError) as caught:
        settings.with_values(ProjectConfig(), {**values, "learning_rate": 0.02})
    assert all(part in caught.value.text for part in ("0.02", "0.01", "learning_rate"))
    assert (
        settings.with_values(ProjectConfig(), {"learning_rate": 0.02}).train.learning_rate == 0.02
    )

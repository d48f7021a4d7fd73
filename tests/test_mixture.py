"""Weights and replay: an epoch holds exactly the shares that were asked for, and a run keeps them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core import dataset, estimate, messages, mixture
from sllm_core.config import ProjectConfig, SourceConfig, TrainConfig, with_values
from sllm_core.dataset import FileMark, Manifest, Windows, load_manifest, version_path
from sllm_core.errors import DataError
from sllm_core.jobs import pipeline, runs, training, worker
from sllm_core.messages import Log
from sllm_core.project import Project
from tests.training_helpers import text

T = 8
BASE, NOW = "b" * 64, "a" * 64


def make(folder, docs, known=None, **changes) -> tuple[Project, Manifest]:
    """Prepared data of documents (source, text hash, tokens); the base held the ``known`` hashes."""
    project = Project(folder)
    project.data_dir.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([n for _, _, n in docs])
    begins = [0, *ends.tolist()]
    table = np.array([[begin, 1] for begin in begins], dtype="<u8")
    np.save(project.data_dir / "train_docs.npy", table)
    np.save(project.data_dir / mixture.TEXTS, np.array([h for _, h, _ in docs], dtype="<u8"))
    if known is not None:
        path = version_path(project, BASE)
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.array(sorted(known), dtype="<u8"))
    rows = []
    for (source, _, _), begin, end in zip(docs, begins, begins[1:], strict=False):
        if rows and rows[-1][0] == source:
            rows[-1][2] = end
        else:
            rows.append([source, begin, end])
    values = dict.fromkeys(
        ("val_tokens", "val_docs", "train_text_bytes", "val_text_bytes", "eos_id", "vocab_size"), 0
    )
    manifest = Manifest(
        dataset_id=NOW, dtype="<u2", tokenizer_sha256="", clean_key="", engine="",
        train_tokens=begins[-1], train_docs=len(docs), source_ranges={"train": rows, "val": []},
        files={mixture.TEXTS: FileMark("", 0, len(docs))}, **values,
    )  # fmt: skip
    return project, replace(manifest, **changes)


def config(weights=(), replay_share=None, stride=None) -> ProjectConfig:
    sources = tuple(
        SourceConfig(number, f"/data/s{number}", weight=weight)
        for number, weight in enumerate(weights, start=1)
    )
    train = TrainConfig(seq_len=T, stride=stride, replay_share=replay_share)
    return ProjectConfig(sources=sources, train=train)


def slots(mixed) -> dict[str, int]:
    return {part.title: part.n_slots for part in mixed.parts}


def words(mixed) -> str:
    return "\n".join(note.text for note in mixed.notes)


# weights


def test_a_weight_multiplies_the_windows_of_its_source(tmp_path):
    docs = [(1, 1, 801), (2, 2, 401), (3, 3, 201)]
    project, manifest = make(tmp_path, docs)
    mixed = mixture.plan(project, manifest, config((1.0, 2.6, 0.15)), None)
    assert slots(mixed) == {"s1": 99, "s2": 127, "s3": 4}  # of 99, 49 and 24 windows
    assert [part.ranges.tolist() for part in mixed.parts] == [
        [[0, 801]], [[801, 1202]], [[1202, 1403]],
    ]  # fmt: skip
    assert "s2 2.59 times (127 windows)" in words(mixed)


@pytest.mark.parametrize("weights", [(), (1.0, 1.0), (3.0, 3.0), (0.1, 0.1)])
def test_equal_weights_are_no_mixture(tmp_path, weights):
    project, manifest = make(tmp_path, [(1, 1, 801), (2, 2, 401)])
    assert mixture.plan(project, manifest, config(weights), None) == mixture.Mixture()


def test_sources_that_came_apart_in_the_file_are_one_part(tmp_path):
    docs = [(1, 1, 100), (2, 2, 100), (1, 3, 100), (2, 4, 101)]
    project, manifest = make(tmp_path, docs)
    mixed = mixture.plan(project, manifest, config((1.0, 2.0)), None)
    assert [part.ranges.tolist() for part in mixed.parts] == [
        [[0, 100], [200, 300]], [[100, 200], [300, 401]],
    ]  # fmt: skip


def test_a_source_of_less_than_a_window_is_read_with_the_largest_and_said(tmp_path):
    docs = [(1, 1, 100), (2, 2, 5), (3, 3, 300)]
    project, manifest = make(tmp_path, docs)
    mixed = mixture.plan(project, manifest, config((1.0, 2.0, 1.0)), None)
    assert [part.ranges.tolist() for part in mixed.parts] == [[[0, 100]], [[105, 405], [100, 105]]]
    assert "Less than one window of text: s2; read with s3." in words(mixed)
    alone = mixture.plan(*make(tmp_path, docs[:2]), config((1.0, 2.0)), None)
    assert alone.parts == ()


def test_data_that_does_not_know_its_sources_is_read_as_one_and_said(tmp_path):
    project, manifest = make(tmp_path, [(1, 1, 100), (2, 2, 100)], source_ranges={})
    mixed = mixture.plan(project, manifest, config((1.0, 2.0)), None)
    assert mixed.parts == ()
    assert "until it is prepared anew" in words(mixed)
    off = config((1.0, 2.0))
    off = replace(off, sources=(off.sources[0], replace(off.sources[1], is_on=False)))
    assert mixture.plan(project, manifest, off, None).notes == ()


def test_a_source_that_is_gone_from_the_settings_counts_once(tmp_path):
    project, manifest = make(tmp_path, [(1, 1, 801), (7, 2, 401)])
    mixed = mixture.plan(project, manifest, config((2.0,)), None)
    assert slots(mixed) == {"s1": 198, "source 7": 49}


@pytest.mark.parametrize("rows", [[[1, 0, 90]], [[1, 5, 100]], [[1, 0, 50], [2, 60, 100]]])
def test_ranges_that_do_not_cover_the_text_are_refused(tmp_path, rows):
    rows = [*rows[:-1], [2, *rows[-1][1:]]]
    project, manifest = make(tmp_path, [(1, 1, 100)])
    rows = rows if len(rows) > 1 else [[1, rows[0][1], 40], [2, 40, rows[0][2]]]
    manifest = replace(manifest, source_ranges={"train": rows})
    with pytest.raises(DataError, match="do not cover"):
        mixture.plan(project, manifest, config((1.0, 2.0)), None)


# replay


OLD_AND_NEW = [(1, 11, 300), (1, 21, 60), (1, 12, 200), (1, 22, 30), (1, 23, 20), (1, 13, 111)]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_old_text_makes_up_its_share_and_new_text_comes_once(tmp_path, share):
    project, manifest = make(tmp_path, OLD_AND_NEW, known=[11, 12, 13, 99])
    mixed = mixture.plan(project, manifest, config((1.0,), share), BASE)
    old, new = mixed.parts
    assert old.ranges.tolist() == [[0, 300], [360, 560], [610, 721]]
    assert new.ranges.tolist() == [[300, 360], [560, 610]]
    assert new.n_slots == dataset.count_windows(110, T, T)[0] == 12
    assert old.n_slots == round(12 * share / (1 - share))
    assert mixed.base == BASE
    assert "3 of 6 documents are new since the checkpoint: 15.3 % of the text" in words(mixed)
    assert f"new text 1 times ({new.n_slots} windows)" in words(mixed)


def test_without_a_share_old_and_new_are_one(tmp_path):
    project, manifest = make(tmp_path, OLD_AND_NEW, known=[11, 12, 13])
    assert mixture.plan(project, manifest, config((1.0,)), BASE) == mixture.Mixture()


def test_a_share_of_nothing_reads_new_text_only(tmp_path):
    project, manifest = make(tmp_path, OLD_AND_NEW, known=[11, 12, 13])
    mixed = mixture.plan(project, manifest, config((1.0,), 0.0), BASE)
    assert slots(mixed) == {"new text": 12}
    tokens = np.arange(721, dtype="<u2")
    windows = Windows(tokens, T, T, 0, mixed.parts)
    allowed = {*range(300, 360), *range(560, 610)}
    assert set(windows.batch(0, 60).flatten().tolist()) <= allowed
    assert windows.epoch_tokens == 110


@pytest.mark.parametrize(
    ("known", "base", "said"),
    [
        ([11, 12, 13, 21, 22, 23, 5], BASE, "All of the prepared text was there"),
        ([5], BASE, "Nothing of the prepared text was there"),
        (None, BASE, "is not on record"),
        ([11], "", "is not on record"),
        ([11], "c" * 64, "is not on record"),
        ([11], None, "only counts in a run that continues"),
        ([11, 12, 13, 21, 22], BASE, "is not on record"),  # with the list of texts missing
    ],
)
def test_where_nothing_can_be_told_apart_the_run_is_a_plain_one_and_says_why(
    tmp_path, known, base, said
):
    project, manifest = make(tmp_path, OLD_AND_NEW, known)
    if known == [11, 12, 13, 21, 22]:
        (project.data_dir / mixture.TEXTS).unlink()
    mixed = mixture.plan(project, manifest, config((1.0,), 0.5), base)
    assert mixed.parts == ()
    assert said in words(mixed)
    assert len(mixed.notes) == 1


def test_lists_that_are_damaged_or_foreign_are_not_believed(tmp_path):
    project, manifest = make(tmp_path, OLD_AND_NEW, [11])
    good = (project.data_dir / mixture.TEXTS).read_bytes()
    for bad in (b"", good[:60], good[:-8], b"\x93NUMPY" + bytes(200)):
        (project.data_dir / mixture.TEXTS).write_bytes(bad)
        assert mixture.plan(project, manifest, config((), 0.5), BASE).parts == ()
    np.save(project.data_dir / mixture.TEXTS, np.array([{"a": 1}] * 6), allow_pickle=True)
    assert mixture.plan(project, manifest, config((), 0.5), BASE).parts == ()
    old = replace(manifest, files={})  # data from before: the list may be of another dataset
    (project.data_dir / mixture.TEXTS).write_bytes(good)
    assert mixture.plan(project, old, config((), 0.5), BASE).parts == ()
    np.save(project.data_dir / "train_docs.npy", np.zeros((3, 2), dtype="<u8"))
    with pytest.raises(DataError, match="does not fit"):
        mixture.plan(project, manifest, config((), 0.5), BASE)


def test_new_text_of_less_than_a_window_is_read_with_the_old(tmp_path):
    docs = [(1, 11, 300), (1, 21, 5), (1, 12, 200)]
    project, manifest = make(tmp_path, docs, [11, 12])
    mixed = mixture.plan(project, manifest, config((1.0,), 0.5), BASE)
    assert mixed.parts == ()
    assert words(mixed).startswith("There is less new (or old) text than one window")
    docs = [(1, 11, 300), (1, 21, 5), (2, 12, 200), (3, 13, 4)]
    project, manifest = make(tmp_path, docs, [11, 12, 13])
    mixed = mixture.plan(project, manifest, config((1.0, 2.0, 1.0), 0.5), BASE)
    assert slots(mixed) == {"s1": 37, "s2": 48}
    assert len(mixed.notes) == 3


def test_new_text_of_several_sources_makes_a_window_together(tmp_path):
    docs = [(1, 11, 300), (1, 21, 7), (2, 12, 200), (2, 22, 8)]
    project, manifest = make(tmp_path, docs, [11, 12])
    mixed = mixture.plan(project, manifest, config((1.0, 2.0), 0.5), BASE)
    assert mixed.parts[-1].ranges.tolist() == [[507, 515], [300, 307]]
    assert mixed.parts[-1].n_slots == 2  # one window, of weight 2


def test_the_record_changes_with_every_range_and_count():
    a, b = np.array([[0, 9], [9, 20]]), np.array([[0, 10], [10, 20]])
    records = [
        mixture.Mixture((dataset.Part("x", ranges, n),)).record()["digest"]
        for ranges, n in ((a, 5), (b, 5), (a, 6))
    ]
    assert len(set(records)) == 3


def test_weights_act_inside_the_shares(tmp_path):
    docs = [(1, 11, 401), (1, 21, 201), (2, 12, 801), (2, 22, 101)]
    project, manifest = make(tmp_path, docs, [11, 12])
    mixed = mixture.plan(project, manifest, config((1.0, 2.0), 0.5), BASE)
    found = slots(mixed)
    assert found["new text of s1"] == 24
    assert found["new text of s2"] == 2 * 11
    old = found["old text of s1"], found["old text of s2"]
    assert sum(old) == pytest.approx(24 + 22, abs=1)  # half of what is read
    assert old[1] / old[0] == pytest.approx(2 * 99 / 49, rel=0.1)  # 99 and 49 windows, 2 to 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.booleans(), st.integers(1, 60)), min_size=1, max_size=30
    ),
    st.one_of(st.none(), st.just(0.0), st.floats(0.001, 0.95)),
    st.sampled_from([(1.0, 1.0, 1.0), (1.0, 0.3, 4.0)]),
)
def test_every_token_belongs_to_one_part_and_every_part_has_a_window(
    tmp_path_factory, docs, share, weights
):
    docs = sorted(docs, key=lambda doc: doc[0])
    numbered = [(s, 2 * i + is_new, n) for i, (s, is_new, n) in enumerate(docs)]
    project, manifest = make(
        tmp_path_factory.mktemp("p"), numbered, [h for _, h, _ in numbered if h % 2 == 0]
    )
    mixed = mixture.plan(project, manifest, config(weights, share), BASE)
    if not mixed.parts:
        return
    covered = np.zeros(manifest.train_tokens, dtype=int)
    for part in mixed.parts:
        assert part.n_slots >= 1
        for begin, end in part.ranges:
            assert begin < end
            covered[begin:end] += 1
    assert covered.max() == 1
    if share != 0.0:
        assert covered.min() == 1
    windows = Windows(np.arange(manifest.train_tokens), T, T, 0, mixed.parts)  # none is too small
    assert windows.n_windows == sum(part.n_slots for part in mixed.parts)


def test_text_that_is_repeated_by_its_weight_is_warned_of(tmp_path):
    project, manifest = make(tmp_path, [(1, 1, 801), (2, 2, 401)])
    mixed = mixture.plan(project, manifest, config((1.0, 3.0)), None)
    windows = Windows(np.arange(1202), T, T, 0, mixed.parts)
    assert mixture.repeated(windows, windows.n_windows) == ""
    told = mixture.repeated(windows, 2 * windows.n_windows)
    assert "s2 6 times" in told
    assert "s1" not in mixture.repeated(windows, 9 * windows.n_windows)  # many epochs are a choice
    plain = Windows(np.arange(1202), T, T, 0)
    assert mixture.repeated(plain, 9 * plain.n_windows) == ""


# in a run


def add(project, tmp_path, name: str, n_files: int, weight: float = 1.0):
    """Another source in the project's settings, with texts of its own."""
    folder = tmp_path / name
    folder.mkdir()
    for number in range(n_files):
        (folder / f"{name}{number}.txt").write_text(text(12, hash_of(name) + number))
    settings = project.load_config()
    source = SourceConfig(len(settings.sources) + 1, str(folder), weight=weight)
    project.save_config(replace(settings, sources=(*settings.sources, source)))


def hash_of(name: str) -> int:
    return 1000 * sum(name.encode())


def go(project, run=None, resume="", options=None, **values):
    """Train here; (run, last message, exit code, all messages)."""
    settings = with_values(project.load_config(), {"max_steps": 12, **values})
    run = run or runs.new_run(project, "train", settings, **(options or {}))
    said = []
    last, code = worker.run_job(run, said.append, resume=resume)
    return runs.open_run(project, run.id), last, code, said


def logs(said) -> str:
    return "\n".join(message.text for message in said if isinstance(message, Log))


def losses(*all_said) -> dict[int, str]:
    return {m.step: m.loss_hex for said in all_said for m in said if isinstance(m, messages.Step)}


def test_a_run_with_weights_says_so_keeps_it_and_is_resumed_bit_for_bit(project, tmp_path, arm):
    add(project, tmp_path, "more", 25, weight=2.5)
    run, last, code, said = go(project)
    assert (code, last.step) == (0, 12)
    parts = run.provenance["mixture"]["parts"]
    assert [part["title"] for part in parts] == ["texts", "more"]
    assert "more 2.5 times" in logs(said)
    plan = next(m for m in said if isinstance(m, messages.Plan))
    assert plan.steps_per_epoch == sum(part["windows_per_epoch"] for part in parts) // 4
    arm("step.forward:11:term")
    cut, *_, first = go(project)
    arm("")
    again, last, code, second = go(project, run=cut)
    assert (code, last.step) == (0, 12)
    assert losses(first, second) == losses(said)
    assert any(isinstance(m, messages.Resumed) for m in second)
    assert "An epoch reads" not in logs(second)
    assert again.provenance["mixture"] == run.provenance["mixture"]


def test_batch_and_epochs_follow_from_what_an_epoch_reads(project, tmp_path):
    add(project, tmp_path, "more", 25, weight=9.0)
    run, _, code, _ = go(project, batch_size=None, micro_batch_size=None)
    assert code == 0
    parts = run.provenance["mixture"]["parts"]
    tokens = sum(32 * part["windows_per_epoch"] for part in parts)  # up to a part of a window
    expected = estimate.default_batch_size(32, 32, tokens)
    assert run.resolved["train"]["batch_size"] == pytest.approx(expected, abs=1)
    assert expected > 2 * estimate.default_batch_size(32, 32, load_manifest(project).train_tokens)


def test_going_on_with_added_text_replays_the_old(project, tmp_path, arm):
    go(project)
    before = load_manifest(project).dataset_id
    add(project, tmp_path, "new", 20)
    options = {"continue_from": "step_10.pt"}
    run, last, code, said = go(project, options=options, replay_share=0.25)
    assert (code, last.step) == (0, 12)
    kept = run.provenance["mixture"]
    assert kept["base"] == before != run.provenance["dataset_id"]
    old, new = (part["windows_per_epoch"] for part in kept["parts"])
    assert old / (old + new) == pytest.approx(0.25, abs=0.01)
    told = logs(said)
    assert "documents are new since the checkpoint" in told
    assert "75" in told
    arm("step.forward:11:term")
    cut, *_, first = go(project, options=options, replay_share=0.25)
    arm("")
    _, last, code, second = go(project, run=cut)
    assert (code, last.step) == (0, 12)
    assert losses(first, second) == losses(said)
    assert "old text" not in logs(second)


def test_a_resumed_run_that_would_read_otherwise_is_refused(project, tmp_path):
    go(project)
    before = load_manifest(project).dataset_id
    add(project, tmp_path, "new", 20)
    run, *_ = go(project, options={"continue_from": "last"}, replay_share=0.5)
    longer = training.change_limits(run, {"max_steps": 14})
    version_path(project, before).rename(tmp_path / "away.npy")
    _, last, code, _ = go(project, run=longer)
    assert (code, last.code) == (1, "E-DATA-STALE")
    assert f"{before[:16]}.npy, is missing" in last.text
    (tmp_path / "away.npy").rename(version_path(project, before))
    known = np.load(version_path(project, before))
    np.save(version_path(project, before), known[1:])
    _, last, code, _ = go(project, run=longer)
    assert (code, last.code) == (1, "E-DATA-STALE")
    assert "same shares" in last.text
    np.save(version_path(project, before), known)
    _, last, code, _ = go(project, run=longer)
    assert (code, last.step) == (0, 14)


def test_a_checkpoint_whose_run_was_deleted_still_tells_its_data(project, tmp_path):
    run, *_ = go(project)
    before = load_manifest(project).dataset_id
    (run.folder / "run.json").unlink()
    add(project, tmp_path, "new", 20)
    later, *_ = go(project, options={"continue_from": "last"}, replay_share=0.5)
    assert later.provenance["mixture"]["base"] == before


@pytest.mark.slow
def test_a_run_from_a_file_of_elsewhere_has_no_old_text(project, tmp_path):
    go(project)
    away = tmp_path / "foreign.pt"
    away.write_bytes((project.checkpoints_dir / "step_10.pt").read_bytes())
    run, _, code, said = go(project, options={"continue_from": str(away)}, replay_share=0.5)
    assert code == 0
    assert "mixture" not in run.provenance
    assert "is not on record" in logs(said)


def test_documents_apart_come_through_the_whole_run(project):
    run, last, code, said = go(project, document_masking=True)
    assert (code, last.step) == (0, 12)
    assert run.resolved["train"]["document_masking"] is True
    _, _, _, plain = go(project)
    assert losses(said) != losses(plain)


def test_the_manifest_says_where_each_source_is(project, tmp_path):
    add(project, tmp_path, "more", 12)
    pipeline.prepare(project, project.load_config(), pipeline.Job(lambda _: None))
    manifest = load_manifest(project)
    rows = manifest.source_ranges["train"]
    assert [row[0] for row in rows] == [1, 2]
    assert (rows[0][1], rows[-1][2]) == (0, manifest.train_tokens)
    texts = np.load(project.data_dir / mixture.TEXTS)
    assert texts.shape == (manifest.train_docs,)
    known = np.load(version_path(project, manifest.dataset_id))
    assert known.tolist() == sorted(set(texts.tolist()))


@pytest.mark.parametrize("ranges", [[], 3, {"train": [[1, 2]]}, {"train": [["a", 0, 1]]}, None])
def test_a_manifest_with_other_ranges_is_none(project, ranges):
    path = project.data_dir / "manifest.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "source_ranges": ranges}))
    assert load_manifest(project) is None

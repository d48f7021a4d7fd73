"""A checkpoint that was reported as saved exists and loads; a damaged one is noticed before use."""

import contextlib
import dataclasses
import json
import os
import random
from dataclasses import replace

import pytest
import torch

from sllm_core import faults, ledger
from sllm_core.checkpoint import Checkpoints, weights_sha256
from sllm_core.errors import CheckpointError, DiskError
from sllm_core.ledger import BEST_NAME, Row
from sllm_core.project import Project, file_sha256
from tests.training_helpers import KILLED, in_fork

RUN, OTHER = "20260101-000000-train-aaaa", "20260102-000000-train-bbbb"
SAVE = [f"save.{point}:1" for point in ("open", "write", "fsync", "replace", "dirsync")]
POINTS = [*SAVE, "save.write:3", *(f"index.write:{n}" for n in (1, 2, 3, 4))]
KINDS = ["enospc", "eio", "edquot", "erofs", "emfile", "short"]


def content(step: int) -> dict:
    generator = torch.Generator().manual_seed(step)
    weights = {"w": torch.randn(40, 20, generator=generator)}
    return {"format_version": 1, "step": step, "model_state_dict": weights}


def save(store: Checkpoints, step: int, name: str = "", run: str = RUN, **more) -> Row:
    role = "best" if name == BEST_NAME else "last"
    fields = {"tokens": step, "roles": (role,), "epoch": 1} | more
    row = Row("", "", 0, step=step, run=run, **fields)
    return store.save(content(step), name or f"step_{step}.pt", row)


def reopen(store: Checkpoints) -> Checkpoints:
    """As the next process sees it."""
    return Checkpoints(Project(store.folder.parent))


@pytest.fixture
def store(tmp_path):
    return Checkpoints(Project(tmp_path))


def prove(store: Checkpoints, acknowledged: list[Row], name: str) -> None:
    """Promise 1 after a failure: nothing acknowledged is lost, nothing else is claimed."""
    for row in acknowledged:  # before any repair
        now = next(r for r in reopen(store).rows() if r.file == row.file)
        found = reopen(store).load(now)["step"]
        assert found == row.step or (row.file == BEST_NAME and found > row.step)
    store = reopen(store)
    store.settle()
    assert not list(store.folder.glob("*.tmp*"))
    for row in store.rows():
        assert row.previous is None
        assert row.sha256 == file_sha256(store.folder / row.file)
        assert row.step == store.load(row)["step"]
    listed = {row.file for row in store.rows()}
    assert {row.file for row in acknowledged} <= listed
    again = save(store, 90, name)
    assert reopen(store).load(again)["step"] == 90
    assert again in reopen(store).rows()


@pytest.mark.parametrize("name", ["step_3.pt", BEST_NAME])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", POINTS)
def test_a_failed_save_loses_nothing_and_claims_nothing(store, arm, point, kind, name):
    acknowledged = [save(store, 1), save(store, 2, BEST_NAME)]
    arm(f"{point}:{kind}")
    with contextlib.suppress(DiskError):  # a fault at a place that is not passed is none
        acknowledged.append(save(store, 3, name))
    arm("")
    prove(store, acknowledged if name != BEST_NAME else [acknowledged[0], acknowledged[-1]], name)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("enospc", "FULL"), ("edquot", "FULL"), ("eio", "IO"), ("erofs", "READONLY"),
     ("emfile", "HANDLES"), ("short", "FULL")],
)  # fmt: skip
@pytest.mark.parametrize("point", ["save.write:1", "save.write:3", "index.write:1"])
def test_a_failed_save_says_what_the_disk_said(store, arm, point, kind, code):
    save(store, 1)
    arm(f"{point}:{kind}")
    with pytest.raises(DiskError) as caught:
        save(store, 2)
    assert caught.value.code == f"E-DISK-{code}"
    assert len(caught.value.text.splitlines()) <= 3


@pytest.mark.parametrize("name", ["step_3.pt", BEST_NAME])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_inside_a_save_loses_nothing(store, monkeypatch, point, name):
    acknowledged = [save(store, 1), save(store, 2, BEST_NAME)]

    def work() -> None:
        faults._armed, faults._passed = faults.parse(f"{point}:kill"), {}
        save(store, 3, name)

    code = in_fork(work)
    is_passed = int(point[-1]) <= (4 if name == BEST_NAME else 2) or "index" not in point
    assert code == (KILLED if is_passed else 0)
    prove(store, acknowledged, name)


@pytest.mark.parametrize("second", ["save.replace:1", "index.write:3", "index.write:1"])
@pytest.mark.parametrize("first", ["save.replace:1:eio", "index.write:2:eio", "save.dirsync:1:eio"])
def test_a_best_save_killed_after_one_that_failed_still_leaves_a_best(store, arm, first, second):
    save(store, 1, BEST_NAME)
    arm(first)
    with pytest.raises(DiskError):
        save(store, 2, BEST_NAME)

    def work() -> None:
        faults._armed, faults._passed = faults.parse(f"{second}:kill"), {}
        save(store, 3, BEST_NAME)

    assert in_fork(work) == KILLED
    arm("")
    fresh = reopen(store)
    row = fresh.find(BEST_NAME)
    assert fresh.load(row)["step"] in (1, 2, 3)
    fresh.settle()
    row = fresh.find(BEST_NAME)
    assert row.step == fresh.load(row)["step"]


def test_a_name_is_never_reused_for_other_bytes(store):
    rows = [save(store, 7), save(store, 7), save(store, 7)]
    assert [row.file for row in rows] == ["step_7.pt", "step_7_2.pt", "step_7_3.pt"]
    (store.folder / "step_8.pt").write_bytes(b"somebody else's")
    assert save(store, 8).file == "step_8_2.pt"
    assert (store.folder / "step_8.pt").read_bytes() == b"somebody else's"


def test_the_best_of_another_run_keeps_its_bytes_under_its_runs_name(store):
    old = save(store, 5, BEST_NAME)
    save(store, 1, BEST_NAME, run=OTHER)
    kept = store.find(f"best_{RUN}.pt")
    assert (kept.sha256, kept.run) == (old.sha256, RUN)
    assert store.load(kept)["step"] == 5
    assert store.load(store.find("best"))["step"] == 1


@pytest.mark.parametrize("number", range(1, 7))
def test_a_kill_while_the_best_moves_aside_loses_neither(store, number):
    save(store, 5, BEST_NAME)

    def work() -> None:
        faults._armed, faults._passed = faults.parse(f"index.write:{number}:kill"), {}
        save(store, 1, BEST_NAME, run=OTHER)

    assert in_fork(work) == KILLED
    fresh = reopen(store)
    fresh.settle()
    assert any(fresh.load(row)["step"] == 5 for row in fresh.rows())
    assert len({row.file for row in fresh.rows()}) == len(fresh.rows())
    for row in fresh.rows():
        fresh.verify(row)


def test_an_unlisted_best_is_set_aside(store):
    store.folder.mkdir()
    (store.folder / BEST_NAME).write_bytes(b"mine")
    save(store, 1, BEST_NAME)
    assert (store.folder / "best_unlisted.pt").read_bytes() == b"mine"


def test_retention_deletes_only_old_good_ones_of_its_run(store):
    for step in range(1, 7):
        save(store, step)
    save(store, 1, BEST_NAME)
    save(store, 2, "pinned.pt", roles=("pinned",))
    save(store, 3, "theirs.pt", run=OTHER)
    (store.folder / "stray.pt").write_bytes(b"x")
    damaged = store.folder / "step_6.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    fresh = reopen(store)
    fresh.retain(RUN, 2)
    left = {path.name for path in fresh.folder.glob("*.pt")}
    good = {"step_5.pt", "step_4.pt"}  # a damaged one does not count as one of two
    assert left == good | {"step_6.pt", BEST_NAME, "pinned.pt", "theirs.pt", "stray.pt"}
    assert {row.file for row in fresh.rows()} == left - {"stray.pt"}


def test_twenty_damaged_ones_do_not_push_out_three_good_ones(store):
    for step in range(1, 24):
        save(store, step)
    for step in range(4, 24):
        (store.folder / f"step_{step}.pt").write_bytes(b"torn")
    fresh = reopen(store)
    fresh.retain(RUN, 3)
    assert len(list(fresh.folder.glob("step_*.pt"))) == 23
    row, damaged = fresh.newest_good(RUN)
    assert (row.step, len(damaged)) == (3, 20)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_kill_inside_retention_leaves_a_list_that_is_true(store, number):
    for step in range(1, 5):
        save(store, step)

    def work() -> None:
        faults._armed, faults._passed = faults.parse(f"index.write:{number}:kill"), {}
        store.retain(RUN, 1)

    assert in_fork(work) == KILLED
    fresh = reopen(store)
    fresh.settle()
    assert {row.file for row in fresh.rows()} == {path.name for path in fresh.folder.glob("*.pt")}
    assert fresh.newest_good(RUN)[0].step == 4


def damages(size: int):
    """300 bit flips, 50 truncations, 50 zeroed pages."""
    draw = random.Random(0)
    for _ in range(300):
        yield "flip", draw.randrange(size * 8)
    for _ in range(50):
        yield "cut", draw.randrange(size)
    for _ in range(50):
        yield "zero", draw.randrange(max(1, size // 512))


def damage(data: bytes, kind: str, at: int) -> bytes:
    out = bytearray(data)
    if kind == "flip":
        out[at // 8] ^= 1 << at % 8
    elif kind == "cut":
        del out[at:]
    else:
        out[at * 512 : (at + 1) * 512] = bytes(len(out[at * 512 : (at + 1) * 512]))
    return bytes(out)


def test_every_damage_is_noticed_before_use_and_the_newest_good_one_is_named(store):
    save(store, 1)
    row = save(store, 2)
    path = store.folder / row.file
    whole = path.read_bytes()
    n = 0
    for kind, at in damages(len(whole)):
        broken = damage(whole, kind, at)
        if broken == whole:  # a page that was zero already
            continue
        path.write_bytes(broken)
        for use in (store.load, store.verify):
            with pytest.raises(CheckpointError, match=r"step_1\.pt") as caught:
                use(row)
            assert caught.value.code == "E-CKPT-HASH"
        assert reopen(store).newest_good(RUN)[0].step == 1
        n += 1
    assert n >= 390
    assert path.exists()
    path.write_bytes(whole)
    assert store.load(row)["step"] == 2


def test_a_good_twin_does_not_vouch_for_a_damaged_file(store):
    first = save(store, 1)
    twin = save(store, 1)
    if first.sha256 == twin.sha256:
        (store.folder / twin.file).write_bytes(b"torn")
        fresh = reopen(store)
        assert fresh.is_good(first)
        assert not fresh.is_good(twin)


def test_a_damaged_index_is_read_from_its_copy_and_both_damaged_are_refused(store):
    save(store, 1)
    index, copy = store.folder / "index.json", store.folder / "index.copy.json"
    whole = index.read_bytes()
    for kind, at in damages(len(whole)):
        broken = damage(whole, kind, at)
        if kind != "zero" and broken != whole:
            index.write_bytes(broken)
            assert [row.step for row in reopen(store).rows()] == [1]
    index.write_text("[" * 100_000)
    assert [row.step for row in reopen(store).rows()] == [1]
    copy.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        reopen(store).rows()
    assert caught.value.code == "E-CKPT-HASH"
    index.unlink()
    copy.unlink()
    assert reopen(store).rows() == []


def test_an_index_cannot_point_outside_its_folder(store, tmp_path):
    rows = [replace(save(store, 1), file=name) for name in ("../x.pt", "/etc/passwd", "..")]
    body = {
        "sha256": ledger.index_hash(rows),
        "checkpoints": [dataclasses.asdict(r) for r in rows],
    }
    (store.folder / "index.json").write_text(json.dumps(body))
    assert reopen(store).rows() == []


def test_the_newest_is_the_one_of_the_highest_step_whatever_the_clock_says(store):
    for step in (30, 10, 20):
        row = save(store, step)
        os.utime(store.folder / row.file, (step * -1000 + 1e9,) * 2)
    assert store.newest_good(RUN)[0].step == 30
    store.supersede(RUN, 10, "step_10.pt")
    assert store.newest_good(RUN)[0].step == 10
    assert len(list(store.folder.glob("*.pt"))) == 3


def test_what_a_trainer_saves_loads_without_code_and_is_equal(world):
    made = world.fresh(optimizer="muon")
    made.run()
    row = world.store.find("last")
    content = torch.load(world.store.folder / row.file, weights_only=True)
    keys = "model_state_dict optimizer_state_dict epoch loss config tokenizer_config step data_pos"
    assert set(keys.split()) <= content.keys()
    assert weights_sha256(content["model_state_dict"]) == weights_sha256(made.model.state_dict())
    assert content["step"] == 12
    assert content["data_pos"] == 48


def test_the_weights_hash_depends_on_names_and_every_bit():
    state = {"a": torch.zeros(3), "b": torch.ones(2)}
    assert weights_sha256(state) == weights_sha256(dict(reversed(state.items())))
    assert weights_sha256(state) != weights_sha256({"a": torch.zeros(3), "c": torch.ones(2)})
    other = {"a": torch.tensor([0.0, -0.0, 0.0]), "b": torch.ones(2)}
    assert weights_sha256(state) != weights_sha256(other)


def test_a_checkpoint_of_a_newer_format_is_refused_politely(store):
    row = store.save(content(1) | {"format_version": 2}, "a.pt", Row("", "", 0, 1, 1, 1, RUN))
    with pytest.raises(CheckpointError) as caught:
        store.load(row)
    assert caught.value.code == "E-CKPT-VERSION"


def test_a_missing_file_is_said(store):
    row = save(store, 1)
    (store.folder / row.file).unlink()
    for use in (store.load, store.verify):
        with pytest.raises(CheckpointError) as caught:
            use(row)
        assert caught.value.code == "E-CKPT-MISSING"

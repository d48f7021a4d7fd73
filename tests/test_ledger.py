"""The list of checkpoints survives two writers, and nothing that a run needs is deleted."""

import json
import subprocess
import sys

import pytest

from sllm_core import ledger
from sllm_core.errors import CheckpointError, DiskError, LockError
from sllm_core.ledger import BEST_NAME, Ledger, Row
from sllm_core.project import Lock, Project
from tests.training_helpers import ROOT

RUN, OTHER = "20260101-000000-train-aaaa", "20260102-000000-train-bbbb"


def row(file, step=1, run=RUN, **more):
    return Row(file, "0" * 64, 3, step, 1, step, run, **more)


@pytest.fixture
def book(tmp_path):
    """Three checkpoints of a run and one of another."""
    made = Ledger(Project(tmp_path))
    files = [row("step_1.pt", 1), row("step_2.pt", 2), row(BEST_NAME, 1, roles=("best",))]
    for one in [*files, row("theirs.pt", 9, OTHER)]:
        made.put(one)
        (made.folder / one.file).write_bytes(b"abc")
    return made


def files(book):
    """What is listed, as the file itself says it, and what is there."""
    body = json.loads((book.folder / "index.json").read_text())
    return {entry["file"] for entry in body["checkpoints"]}, {
        path.name for path in book.folder.glob("*.pt")
    }


def test_a_pin_stays_until_it_is_taken_off(book):
    assert book.pin("step_1.pt", True).roles == ("pinned",)
    assert book.pin("step_1.pt", True).roles == ("pinned",)
    assert book.pin(BEST_NAME, True).roles == ("best", "pinned")
    again = {found.file: found.roles for found in Ledger(Project(book.folder.parent)).rows()}
    assert again["step_1.pt"] == ("pinned",)
    assert again["step_2.pt"] == ()
    assert book.pin("step_1.pt", False).roles == ()


def test_a_deleted_one_is_gone_from_the_list_and_from_the_disk(book):
    book.delete("step_2.pt")
    left = {"step_1.pt", BEST_NAME, "theirs.pt"}
    assert files(book) == (left, left)


@pytest.mark.parametrize("use", ["pin", "delete"])
@pytest.mark.parametrize("name", ["none.pt", "", "../index.json", "index.json"])
def test_what_is_not_listed_is_neither_pinned_nor_deleted(book, use, name):
    before = files(book)
    with pytest.raises(CheckpointError) as caught:
        book.delete(name) if use == "delete" else book.pin(name, True)
    assert caught.value.code == "E-CKPT-MISSING"
    assert files(book) == before
    assert (book.folder / "index.json").exists()


def test_a_working_run_keeps_its_best_and_its_newest(book):
    folder = book.folder.parent / "runs" / RUN
    folder.mkdir(parents=True)
    with Lock(folder / ".lock", "a run"):
        for name in (BEST_NAME, "step_2.pt"):
            with pytest.raises(LockError) as caught:
                book.delete(name)
            assert caught.value.code == "E-LOCK-HELD"
            assert name in caught.value.text
        book.delete("step_1.pt")
        book.delete("theirs.pt")  # its run does not work
        assert files(book) == ({BEST_NAME, "step_2.pt"},) * 2
    book.delete("step_2.pt")
    book.delete(BEST_NAME)
    assert files(book) == (set(), set())


def test_the_checkpoints_of_one_run_go_together(book):
    assert book.delete_files(RUN) == [BEST_NAME, "step_1.pt", "step_2.pt"]
    assert files(book) == ({"theirs.pt"},) * 2
    assert book.delete_files("none") == []


def test_a_file_that_cannot_be_removed_waits_for_the_next_start(book, monkeypatch):
    def unlink(*_, **__):
        raise PermissionError(13, "in use")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.Path, "unlink", unlink)
        book.delete("step_1.pt")
    assert next(r for r in book.rows() if r.file == "step_1.pt").state == "deleting"
    assert "step_1.pt" in files(book)[1]
    with pytest.raises(CheckpointError):
        book.pin("step_1.pt", True)
    book.settle()
    assert "step_1.pt" not in files(book)[0] | files(book)[1]


def test_a_pinned_best_keeps_its_bytes_when_a_better_one_comes(book):
    (book.folder / BEST_NAME).write_bytes(b"worth keeping")
    book.pin(BEST_NAME, True)
    book.make_room_for_best(RUN)
    kept = next(found for found in book.rows() if "pinned" in found.roles)
    assert kept.file == f"best_{RUN}_step_1.pt"
    assert (book.folder / kept.file).read_bytes() == b"worth keeping"
    assert BEST_NAME not in files(book)[0] | files(book)[1]


def test_a_pin_that_comes_while_a_file_is_written_is_not_lost(book):
    book.pin(BEST_NAME, True)
    assert book.put(row(BEST_NAME, 5, roles=("best",))).roles == ("best", "pinned")


def test_two_programs_do_not_undo_each_other(book, tmp_path):
    program = (
        "import sys\nfrom pathlib import Path\nfrom sllm_core.ledger import Ledger, Row\n"
        "from sllm_core.project import Project\n"
        "book, mine = Ledger(Project(Path(sys.argv[1]))), sys.argv[2]\n"
        "for number in range(25):\n"
        "    book.put(Row(f'{mine}_{number}.pt', '0', 1, number, 1, 1, mine))\n"
        "    book.pin(f'{mine}_{number}.pt', number % 2 == 0)\n"
        "    if number % 5 == 4: book.delete(f'{mine}_{number - 1}.pt')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    children = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("ann", "bob", "cy")]
    while any(child.poll() is None for child in children):
        assert {found.file for found in book.rows()} >= {"step_1.pt", BEST_NAME}
    assert [child.returncode for child in children] == [0, 0, 0]
    pinned = {found.file: found.roles == ("pinned",) for found in book.rows()}
    for name in ("ann", "bob", "cy"):
        for number in range(25):
            is_there = number % 5 != 3
            assert (f"{name}_{number}.pt" in pinned) == is_there
            if is_there:
                assert pinned[f"{name}_{number}.pt"] == (number % 2 == 0)


def test_a_list_that_somebody_holds_is_a_message_and_no_hanging(book, monkeypatch):
    monkeypatch.setattr(ledger, "PATIENCE_S", 0.05)
    with Ledger(Project(book.folder.parent)).locked():
        with pytest.raises(LockError) as caught:
            book.pin("step_1.pt", True)
        assert len(book.rows()) == 4  # reading needs no lock
    assert caught.value.code == "E-LOCK-HELD"
    assert len(caught.value.text.splitlines()) <= 3
    book.pin("step_1.pt", True)


@pytest.mark.parametrize("point", ["index.write:1", "index.write:2"])
def test_a_full_disk_leaves_the_list_as_it_was_and_the_lock_free(book, arm, point):
    before = book.rows()
    arm(f"{point}:enospc")
    with pytest.raises(DiskError):
        book.pin("step_1.pt", True)
    arm("")
    assert book.rows() == before
    assert "pinned" in book.pin("step_1.pt", True).roles

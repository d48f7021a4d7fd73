"""A fault happens at the passage it was ordered for, and nowhere else."""

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sllm_core import faults

ROOT = Path(__file__).parents[1]

# fmt: off
PROMISED_POINTS = [  # RELIABILITY 6.2
    "save.open", "save.write", "save.fsync", "save.replace", "save.dirsync", "index.write",
    "encode.write", "tokenizer.save", "settings.save", "db.commit", "export.write", "scan.listed",
    "step.forward", "step.backward", "step.optimizer", "validate", "sample", "dpo.reference",
]
PROMISED_KINDS = [
    "kill", "term", "int", "hup", "enospc", "eio", "edquot", "erofs", "emfile", "short", "oom",
    "nan", "raise", "truncate",
]
# fmt: on


def what_happens(point: str) -> str:
    try:
        return faults.passage(point)
    except OSError as problem:
        return errno.errorcode[problem.errno]
    except RuntimeError as problem:
        return str(problem)


def test_unset_nothing_happens_at_any_point(arm):
    arm("")
    assert {what_happens(point) for point in faults.POINTS} == {""}


def test_a_fault_happens_at_its_number_alone(arm):
    arm("save.write:2:enospc")
    assert [what_happens("save.write") for _ in range(4)] == ["", "ENOSPC", "", ""]


def test_a_plus_makes_it_stay(arm):
    arm("save.write:2+:eio")
    assert [what_happens("save.write") for _ in range(4)] == ["", "EIO", "EIO", "EIO"]


def test_points_count_for_themselves(arm):
    arm("save.open:1:erofs,validate:2:nan")
    assert what_happens("validate") == ""
    assert what_happens("save.write") == ""
    assert what_happens("save.open") == "EROFS"
    assert what_happens("validate") == "nan"


@pytest.mark.parametrize(
    ("kind", "effect"),
    [
        ("enospc", "ENOSPC"),
        ("eio", "EIO"),
        ("edquot", "EDQUOT"),
        ("erofs", "EROFS"),
        ("emfile", "EMFILE"),
        ("oom", "fault: can't allocate memory"),
        ("raise", "fault at sample"),
        ("short", "short"),
        ("nan", "nan"),
        ("truncate", "truncate"),
    ],
)
def test_each_kind_does_what_its_name_says(arm, kind, effect):
    arm(f"sample:1:{kind}")
    assert what_happens("sample") == effect


def test_every_point_and_kind_that_is_promised_can_be_ordered():
    for point in PROMISED_POINTS:
        for kind in PROMISED_KINDS:
            assert faults.parse(f"{point}:7:{kind}") == {point: {7: kind}}


@pytest.mark.parametrize(
    "text", ["save.wrote:1:eio", "save.write:1:tired", "save.write", "save.write::eio"]
)
def test_an_order_that_is_not_understood_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - any: the process shall not start
        faults.parse(text)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("kind", "code"), [("kill", -9), ("term", -15), ("hup", -1)])
def test_a_signal_ends_a_process_that_was_started_with_the_order(kind, code, monkeypatch):
    monkeypatch.setenv("SLLM_FAULT", f"step.forward:3:{kind}")
    program = (
        "from sllm_core.faults import passage\n"
        "for n in range(1, 9): passage('step.forward'); print(n, flush=True)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "1\n2\n"
    assert done.returncode == code
    assert "faults are armed" in done.stderr


def test_the_free_space_can_be_faked(monkeypatch, tmp_path):
    monkeypatch.delenv("SLLM_FAKE_FREE", raising=False)
    assert faults.free_bytes(tmp_path) > 0
    monkeypatch.setenv("SLLM_FAKE_FREE", "12345")
    assert faults.free_bytes(tmp_path) == 12345


def test_the_clock_jumps_at_the_step_it_was_told(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    monkeypatch.setattr(faults, "_clock_shift", "-500")
    monkeypatch.setattr(faults, "_clock_step", "7")
    assert [faults.wall_time(step) for step in (None, 6, 7, 8)] == [1000, 1000, 500, 500]
    monkeypatch.setattr(faults, "_clock_step", "")
    assert faults.wall_time() == 500

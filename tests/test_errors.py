"""What a user reads when something goes wrong: a stable code, a safe state, a next step."""

import ast
import errno
import os
from pathlib import Path

import pytest

from sllm_core import errors
from sllm_core.errors import CODES, CheckpointError, DiskError, SllmError, UsageError, disk_error

# Written out from RELIABILITY 4.1 and the words of the system, not read from the module.
DISK_CODES = {
    errno.ENOSPC: "E-DISK-FULL",
    errno.EDQUOT: "E-DISK-FULL",
    errno.EROFS: "E-DISK-READONLY",
    errno.EACCES: "E-DISK-READONLY",
    errno.EPERM: "E-DISK-READONLY",
    errno.EMFILE: "E-DISK-HANDLES",
    errno.ENFILE: "E-DISK-HANDLES",
    errno.EIO: "E-DISK-IO",
    errno.ENOENT: "E-DISK-IO",
}


def kinds() -> list[type[SllmError]]:
    return SllmError.__subclasses__()


def test_every_code_has_the_form_area_reason_and_a_sentence():
    for code, sentence in CODES.items():
        assert code.startswith("E-")
        assert code == code.upper()
        assert sentence.endswith(".")


def test_every_code_belongs_to_a_kind_of_error_and_every_kind_has_a_code():
    areas = {kind.area for kind in kinds()}
    assert {code.split("-")[1] for code in CODES} == areas - {""} | {"USAGE"}


def test_the_tree_at_the_top_of_the_file_names_every_kind():
    for kind in kinds():
        assert f"── {kind.__name__} " in errors.__doc__
        assert (f"E-{kind.area}-" if kind.area else "E-USAGE") in errors.__doc__


def test_the_text_says_what_is_safe_and_what_to_do_in_three_lines_with_the_code_last():
    problem = CheckpointError("HASH", "step_9.pt is damaged.", safe="step_8.pt is.", todo="Use it.")
    assert str(problem) == "step_9.pt is damaged.\nstep_8.pt is.\nUse it. [E-CKPT-HASH]"
    assert problem.code == "E-CKPT-HASH"


def test_parts_that_are_left_out_leave_no_empty_line():
    assert str(UsageError("USAGE", "What?")) == "What? [E-USAGE]"


def test_an_unknown_reason_is_our_own_mistake():
    with pytest.raises(AssertionError):
        DiskError("TIRED", "The disk is tired.")


@pytest.mark.parametrize(("number", "code"), DISK_CODES.items())
def test_a_failed_write_gets_the_code_of_its_cause(number, code):
    problem = disk_error(OSError(number, os.strerror(number)), "index.json", need="7 GB needed")
    assert problem.code == code
    assert "index.json" in problem.what
    assert "7 GB needed" in problem.what
    assert "unchanged" in problem.safe
    assert problem.todo


def test_an_error_of_the_disk_without_a_number_still_has_a_code():
    assert disk_error(OSError("strange"), "a.pt").code == "E-DISK-IO"
    assert "strange" in str(disk_error(OSError("strange"), "a.pt"))


def test_no_text_passes_on_advice_that_disarms_a_check():
    told = " ".join(CODES.values()) + " ".join(errors._OS_ADVICE.values())
    assert "weights_only" not in told
    assert "trust_remote_code" not in told


def advice():
    """(place, text) of each `todo` that a worker or the window can say."""
    core = Path(errors.__file__).parent
    ours = ("cli.py", "shortcut.py", "project.py", "sample.py")  # said by the command line alone
    for path in (path for path in sorted(core.rglob("*.py")) if path.name not in ours):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "todo":
                parts = [c.value for c in ast.walk(node.value) if isinstance(c, ast.Constant)]
                yield (
                    f"{path.name}:{node.value.lineno}",
                    "".join(p for p in parts if isinstance(p, str)),
                )


def test_advice_fits_the_window_as_well_as_the_command_line():
    found = dict(advice())
    assert len(found) > 40
    words = {place: text for place, text in found.items() if "--" in text or "sllm.py" in text}
    assert [place for place, text in words.items() if "on the command line" not in text] == []

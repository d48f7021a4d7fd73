"""The computer is kept awake for exactly as long as the run lives, and a run never fails for it."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sllm_core.jobs import awake
from sllm_core.jobs.awake import keep_awake
from tests.training_helpers import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the helper of this system is a stub")  # fmt: skip

INHIBIT = """#!/bin/sh
echo "$$ $@" >> "{log}"
shift 4
exec "$@"
"""


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A stand-in for systemd-inhibit; returns (its log of calls, a function to change it)."""
    log, path = tmp_path / "log", tmp_path / "systemd-inhibit"

    def write(text):
        path.write_text(text.format(log=log))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    write(INHIBIT)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv(awake.SWITCH)
    return log, write


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid):
    end = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_running(pid)


def test_the_helper_lives_as_long_as_the_block(helper):
    log, told = helper[0], []
    with keep_awake("a reason", told.append):
        pid, words = log.read_text().split(" ", 1)
        assert is_running(pid)
        assert "--what=idle:sleep" in words
        assert "--why=a reason" in words
    assert gone(pid)
    assert told == []


def test_a_killed_run_does_not_leave_the_computer_awake(helper):
    program = (
        "import sys, time\nfrom sllm_core.jobs.awake import keep_awake\n"
        "with keep_awake('x', print):\n    print('on', flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "on\n"
        pid = helper[0].read_text().split()[0]
        assert is_running(pid)
        child.send_signal(signal.SIGKILL)
    assert gone(pid)


def test_a_refusal_is_said_once_in_plain_words_and_the_work_goes_on(helper, caplog):
    helper[1]("#!/bin/sh\necho 'Failed to inhibit: Access denied' >&2\nexit 1\n")
    told = []
    with caplog.at_level("DEBUG"), keep_awake("x", told.append):
        pass
    assert told == ["The computer may go to sleep while this runs: it cannot be kept awake."]
    assert "Failed to inhibit: Access denied" in caplog.text


def test_a_system_without_a_helper_is_said_once(helper, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    told = []
    with keep_awake("x", told.append):
        pass
    assert len(told) == 1
    assert "may go to sleep" in told[0]


def test_it_can_be_switched_off(helper, monkeypatch):
    monkeypatch.setenv(awake.SWITCH, "0")
    told = []
    with keep_awake("x", told.append):
        pass
    assert told == []
    assert not helper[0].exists()


def test_what_is_raised_inside_comes_out(helper):
    with pytest.raises(KeyError), keep_awake("x", print):
        raise KeyError
    assert gone(helper[0].read_text().split()[0])

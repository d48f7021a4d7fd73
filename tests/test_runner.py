"""A run in a child process: started, followed, asked, ended, and always with a last word."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import time

import pytest

from sllm_core import cli, messages
from sllm_core.config import with_values
from sllm_core.jobs import runner, runs, training, worker
from sllm_core.jobs.channel import FolderChannel, read_control, read_events
from sllm_core.jobs.runner import PipeProcess, Runner
from sllm_core.jobs.series import read_past
from sllm_core.ledger import Ledger
from sllm_core.messages import Done, Failed, Generated, Saved, StateChanged, Step, Stopped, Token

LONG = {"max_steps": 100_000, "val_interval": 100_000, "save_interval": 100_000}
GUARD_S = 50  # against hanging only


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def new_run(project, **values):
    return runs.new_run(
        project, "train", with_values(project.load_config(), {"max_steps": 12, **values})
    )


class Followed:
    """A runner and all that came out of it."""

    def __init__(self, run, resume=""):
        self.run, self.out, self.said = run, queue.Queue(), []
        self.runner = Runner(run, self.out, resume)

    def until(self, kind, **values):
        """Wait for a message of a kind (with these values)."""
        end = time.monotonic() + GUARD_S
        while time.monotonic() < end:
            run_id, message, when = self.out.get(timeout=GUARD_S)
            assert run_id == self.run.id
            assert abs(when - time.time()) < 600
            self.said.append(message)
            if isinstance(message, kind) and values.items() <= vars(message).items():
                return message
            assert kind is Failed or not isinstance(message, Failed), message.text
        raise AssertionError(f"no {kind}")

    def rest(self):
        self.runner.join(GUARD_S)
        with contextlib.suppress(queue.Empty):
            while True:
                self.said.append(self.out.get_nowait()[1])
        return self.said


@pytest.fixture
def follow():
    """Start runs that are ended whatever the test does."""
    made = []

    def start(run, resume=""):
        one = Followed(run, resume)
        made.append(one)
        one.runner.start()
        return one

    yield start
    for one in made:
        if one.runner._process and one.runner._process.poll() is None:
            one.runner._process.kill()
        if one.runner._process:
            one.runner._process.wait()
        one.runner.close()


def test_messages_come_complete_and_in_order(project, follow):
    one = follow(new_run(project))
    done = one.until(Done)
    assert done.step == 12
    said = one.rest()
    steps = [message.step for message in said if isinstance(message, Step)]
    assert steps == list(range(1, 13))
    assert said == [message for message, _ in read_events(one.run.folder)[0]]
    assert isinstance(said[-1], Done)
    assert not runs.is_alive(one.run)
    log = (project.logs_dir / "training.log").read_text()
    assert "Done at step 12" in log
    assert len((project.logs_dir / "metrics.csv").read_text().splitlines()) >= 13


def test_pause_save_now_run_and_stop_are_obeyed(project, follow, capsys):
    one = follow(new_run(project, **LONG))
    one.until(Step)
    one.runner.ask("pause")
    paused = one.until(StateChanged, state="paused")
    assert any(m.step == paused.step for m in one.said if isinstance(m, Saved))
    one.runner.ask("run")
    one.until(StateChanged, state="running")
    one.runner.save_now()
    saved = one.until(Saved)
    assert saved.step > paused.step
    assert runs.is_alive(one.run)

    watcher = Followed(one.run)  # a second window: the whole history, then what follows
    watcher.runner.attach()
    watcher.until(StateChanged, state="paused")

    for more in ([], ["--resume", "auto"]):  # F11: a second writer while it lives
        assert cli.main(["train", str(project.root), "--max-steps", "5", *more]) == 1
        told = capsys.readouterr().err
        assert "E-LOCK-HELD" in told
        assert one.run.id in told
    assert runs.run_ids(project, "train") == [one.run.id]  # no orphan folder
    assert runs.open_run(project, one.run.id).config == one.run.config  # and nothing was changed

    one.runner.stop()
    stopped = one.until(Stopped)
    steps = {f"checkpoints/{row.file}": row.step for row in Ledger(project).rows()}
    assert steps[stopped.path] == stopped.step  # at the end of an epoch it has that name
    assert (project.root / stopped.path).exists()
    assert one.runner._process.wait() == 0
    assert watcher.until(Stopped) == stopped
    watcher.runner.join(GUARD_S)
    watcher.runner.close()


def test_a_killed_worker_is_a_message_for_its_owner_and_for_who_attached(project, follow):
    one = follow(new_run(project, **LONG))
    one.until(Step)
    watcher = Followed(one.run)
    watcher.runner.attach()
    watcher.until(Step)
    os.kill(one.runner._process.pid, signal.SIGKILL)
    failed = one.until(Failed)
    assert (failed.code, failed.signal, failed.exit_code) == ("E-WORKER-DIED", "SIGKILL", -9)
    assert "memory" in failed.text
    assert len(failed.text.splitlines()) <= 3
    assert watcher.until(Failed).code == "E-WORKER-DIED"
    assert not runs.is_alive(one.run)
    watcher.runner.close()


def test_a_worker_that_cannot_start_tells_its_last_lines(project, follow, monkeypatch):
    broken = "import sys; sys.stderr.write('one\\ntwo\\nImportError: no torch\\n'); sys.exit(3)"
    monkeypatch.setattr(runner, "worker_command", lambda *_: [sys.executable, "-c", broken])
    one = follow(new_run(project))
    failed = one.until(Failed)
    assert (failed.code, failed.exit_code, failed.signal) == ("E-WORKER-DIED", 3, "")
    assert failed.last_lines == ("one", "two", "ImportError: no torch")
    assert "exit code 3" in failed.text


def test_a_worker_that_is_refused_says_why(project, follow):
    run = new_run(project)
    with run.lane_lock():
        failed = follow(run).until(Failed)
    assert failed.code == "E-LOCK-HELD"
    assert "in use by" in failed.text


def test_a_run_is_resumed_through_its_folder_and_an_old_stop_is_forgotten(project, follow):
    run = new_run(project, **LONG)
    one = follow(run)
    one.until(Step)
    one.runner.stop()
    stopped = one.until(Stopped)
    assert read_control(run.folder).state == "stop"
    again = follow(run)
    resumed = again.until(messages.Resumed)
    assert resumed.step == stopped.step
    assert again.until(Step).step == stopped.step + 1
    again.runner.stop()
    more = ["--resume", "auto", "--max-steps", str(again.until(Stopped).step + 5)]
    assert cli.main(["train", str(project.root), *more]) == 0  # nor does the command remember it
    assert runs.summarize(run).state == "done"


def test_a_process_that_lingers_does_not_hear_its_successor(project, monkeypatch):
    """The old one has said Done and still exits while the next one of the same run begins."""
    run, out = new_run(project), queue.Queue()
    channel = FolderChannel(run.folder)
    monkeypatch.setattr(runner, "worker_command", lambda *_: [sys.executable, "-c", "input()"])
    followed = Runner(run, out)
    monkeypatch.setattr(runner.subprocess, "DEVNULL", subprocess.PIPE)  # it waits for its input
    followed.start()
    channel.emit(Done(step=5))
    assert out.get(timeout=GUARD_S)[1] == Done(step=5)
    channel.emit(messages.Started(run.id, "train", 1))
    channel.emit(messages.Log("of the next one"))
    time.sleep(4 * runner.POLL_S)
    followed._process.communicate(b"\n")
    followed.join(GUARD_S)
    channel.close()
    assert out.empty(), out.get()


def test_a_run_goes_on_with_other_limits_and_is_followed_from_where_its_past_ends(project):
    run = new_run(project)
    assert worker.run_job(run)[1] == 0
    end = read_past(run.folder).end
    out, more = queue.Queue(), queue.Queue()
    one = Runner(run, out, changes={"max_steps": 15, "val_interval": 2}, offset=end).start()
    one.join(GUARD_S)
    one.close()
    items = [out.get_nowait() for _ in range(out.qsize())]
    assert {source for source, _, _ in items} == {run.id} == {one.run_id}
    said = [message for _, message, _ in items]
    assert isinstance(said[0], messages.Started)
    assert said[-1].step == 15
    assert [m.step for m in said if isinstance(m, messages.Validation)] == [14, 15]
    found = read_events(run.folder, end)[0]
    assert [(message, when) for _, message, when in items] == found
    late = Runner(run, more, offset=end).attach()
    late.join(GUARD_S)
    late.close()
    assert [more.get_nowait() for _ in range(more.qsize())] == items

    last, code = worker.run_job(run, changes={"seed": 3})
    assert (code, last.code) == (1, "E-RESUME-OPTION")


STUBBORN = """
import signal, sys, time
from pathlib import Path
from sllm_core.project import Lock
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = Lock(Path(sys.argv[1]) / "runs" / sys.argv[2] / ".lock", "a run").acquire()
time.sleep(60)
"""


@pytest.mark.parametrize("is_attached", [False, True])
def test_a_worker_that_does_not_hear_is_ended_without_waiting_for_it(
    project, follow, monkeypatch, is_attached
):
    monkeypatch.setattr(
        runner, "worker_command", lambda _, *words: [sys.executable, "-c", STUBBORN, *words]
    )
    one = follow(new_run(project))
    end = time.monotonic() + GUARD_S
    while runs.worker_pid(one.run.folder) is None and time.monotonic() < end:
        time.sleep(0.02)
    watcher = Followed(one.run)
    watcher.runner.attach()
    begun = time.monotonic()
    (watcher if is_attached else one).runner.end(patience_s=0.1)
    assert time.monotonic() - begun < 1  # it only orders
    assert read_control(one.run.folder).state == "stop"
    assert one.until(Failed).signal == "SIGKILL"
    assert watcher.until(Failed).code == "E-WORKER-DIED"
    watcher.runner.close()


def test_intervals_are_changed_by_a_word_to_the_folder(project):
    run = new_run(project)
    one = Runner(run, queue.Queue())
    one.save_now()
    one.change({"val_interval": 3})
    one.change({"val_interval": 4})
    one.change({"keep_last": 5})
    wish = read_control(run.folder)
    assert (wish.settings, wish.save_now) == ({"val_interval": 4, "keep_last": 5}, 1)
    last, _ = worker.run_job(run)
    assert last.step == 12
    validations = [m for m, _ in read_past(run.folder).notes if isinstance(m, messages.Validation)]
    assert [m.step for m in validations] == [4, 8, 12]
    training.change_limits(run, {"val_interval": 6, "max_steps": 13})  # the newer word
    assert read_control(run.folder).settings == {"keep_last": 5}


# pipes

ECHO = """
import sys
from sllm_core import messages
for line in sys.stdin:
    if line == "die\\n":
        sys.stderr.write("no more\\n")
        sys.exit(3)
    sys.stdout.write(messages.encode(messages.Log(sys.argv[1] + line.strip()), 12.5))
    sys.stdout.flush()
"""


@pytest.fixture
def echo(monkeypatch):
    monkeypatch.setattr(
        runner, "worker_command", lambda *words: [sys.executable, "-c", ECHO, *words]
    )


def test_what_a_pipe_says_comes_into_the_shared_queue_under_its_name(echo):
    out = queue.Queue()
    first, second = PipeProcess("a", out=out), PipeProcess("b", name="other", out=out)
    for child in (first, second):
        child.send("x")
    items = sorted([out.get(timeout=GUARD_S), out.get(timeout=GUARD_S)])
    assert items == [("a", messages.Log("ax"), 12.5), ("other", messages.Log("bx"), 12.5)]
    second.send("die")
    source, failed, when = out.get(timeout=GUARD_S)
    assert (source, failed.code, failed.exit_code) == ("other", "E-WORKER-DIED", 3)
    assert failed.last_lines == ("no more",)
    assert abs(when - time.time()) < 600
    for child in (first, second):
        child.close()
    assert out.empty()  # an end that was asked for is no failure


def test_a_pipe_that_is_ended_is_no_failure(echo):
    out = queue.Queue()
    child = PipeProcess("a", out=out)
    child.terminate()
    assert out.empty()
    assert child._process.returncode != 0


def test_a_request_larger_than_a_pipe_does_not_wait_for_a_child_that_still_starts(monkeypatch):
    slow = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(runner, "worker_command", lambda *_: slow)
    child = PipeProcess("a")
    begun = time.monotonic()
    child.send("x" * 1_000_000)
    assert time.monotonic() - begun < 5
    child.terminate()


def test_codes_and_signals_are_put_into_words():
    assert runner.describe_exit(-9)[0] == "SIGKILL"
    assert "exit code 7" in runner.describe_exit(7)[1]
    assert runner.describe_exit(-11) == ("SIGSEGV", "The working process was ended by SIGSEGV.")
    assert runner.describe_exit(-99)[0] == "signal 99"


# the warm writer


@pytest.fixture
def writer(project):
    ended = worker.run_job(new_run(project))
    assert ended[1] == 0
    child = PipeProcess("write", str(project.root))
    yield child
    child.close()


def ask(child, number, **more):
    child.send(json.dumps({"request": number, "prompt": "the", "seed": 1, **more}))


def answers(child, number) -> list:
    """Messages up to the last one of a request."""
    found = []
    while True:
        message = child.messages.get(timeout=GUARD_S)
        assert message is not None, child.death()
        found.append(message)
        if isinstance(message, Generated | Failed) and message.request == number:
            return found


def test_the_writer_streams_survives_bad_requests_cancels_and_ends(writer):
    ask(writer, 1, settings={"max_new_tokens": 6, "temperature": 0.0})
    *tokens, whole = answers(writer, 1)
    assert "".join(token.text for token in tokens if isinstance(token, Token)) == whole.text
    assert whole.n_tokens == 6

    bad = [
        {"settings": {"temperature": -1}}, {"settings": {"tempo": 1}}, {"settings": 3},
        {"checkpoint": "none.pt"}, {"checkpoint": "../../etc/passwd"}, {"prompt": None, "seed": "x"},
    ]  # fmt: skip
    for number, wrong in enumerate(bad, start=10):
        ask(writer, number, **wrong)
        failed = answers(writer, number)[-1]
        assert isinstance(failed, Failed), wrong
        assert len(failed.text.splitlines()) <= 3
    for line in ("", "{", "[]", "3", '{"cancel": [1]}', '{"cancel": {}}', "[" * 9999):
        writer.send(line)
    ask(writer, 2, settings={"max_new_tokens": 6, "temperature": 0.0})
    assert answers(writer, 2)[-1].text == whole.text

    reasons = []
    for number in range(40, 60):  # until one does not end by itself first
        wild = {"max_new_tokens": 900_000, "temperature": 2.0, "top_k": 0, "top_p": 1.0}
        ask(writer, number, settings=wild, seed=number)
        if isinstance(first := writer.messages.get(timeout=GUARD_S), Token):
            writer.send(json.dumps({"cancel": number}))
            first = answers(writer, number)[-1]
        reasons.append(first.reason)
        if first.reason == "cancelled":
            break
    assert reasons[-1] == "cancelled"

    writer.close(patience_s=GUARD_S)
    assert writer._process.returncode == 0  # its input closed: no signal was needed
    while (left := writer.messages.get(timeout=5)) is not None:
        assert not isinstance(left, Failed)


def test_a_killed_writer_is_reported(project):
    child = PipeProcess("write", str(project.root))
    child._process.kill()
    assert child.messages.get(timeout=GUARD_S) is None
    child.send("{}")
    assert child.death().signal == "SIGKILL"
    child.close()

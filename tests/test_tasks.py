"""Every task of the window ends with exactly one item, whatever happens in it."""

import queue
import threading
from contextlib import closing

import pytest

from sllm_core.errors import DataError
from sllm_core.jobs.tasks import TaskDone, Tasks


@pytest.fixture
def out():
    return queue.Queue()


@pytest.fixture
def tasks(out):
    with closing(Tasks(out)) as made:
        yield made


def told(out):
    source, done, when = out.get(timeout=10)
    assert source == "task"
    assert isinstance(done, TaskDone)
    assert when > 1e9
    return done


def fail(problem):
    raise problem


def test_a_result_comes_back_under_its_name(tasks, out):
    tasks.do("sum", sum, [1, 2, 3])
    assert told(out) == TaskDone("sum", 6, None)


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (DataError("EMPTY", "none"), "E-DATA-EMPTY"),
        (OSError(28, "No space left", "a.txt"), "E-DISK-FULL"),
        (PermissionError(13, "no"), "E-DISK-READONLY"),
        (ValueError("our mistake"), "E-WORKER-FAULT"),
        (RecursionError("deep"), "E-WORKER-FAULT"),
        (SystemExit(3), "E-WORKER-FAULT"),
    ],
    ids=repr,
)
def test_a_failure_comes_back_in_words(tasks, out, problem, code):
    tasks.do("it", fail, problem)
    done = told(out)
    assert (done.name, done.result, done.error.code) == ("it", None, code)
    assert len(done.error.text.splitlines()) <= 3
    assert "our mistake" not in done.error.text
    tasks.do("next", sum, [])
    assert told(out).result == 0


def test_the_work_is_on_another_thread_and_two_go_side_by_side(tasks, out):
    meeting = threading.Barrier(2, timeout=10)
    for name in "ab":
        tasks.do(name, lambda: (meeting.wait(), threading.get_ident())[1])
    ids = {told(out).result, told(out).result}
    assert len(ids) == 2
    assert threading.get_ident() not in ids


def test_after_closing_what_waits_is_forgotten_and_what_runs_ends(out):
    tasks, go, begun = Tasks(out), threading.Event(), threading.Semaphore(0)

    def wait():
        begun.release()
        return go.wait(10)

    for number in range(4):
        tasks.do(str(number), wait)
    assert all(begun.acquire(timeout=10) for _ in range(2))
    tasks.close()
    tasks.do("late", sum, [])
    go.set()
    assert {told(out).name, told(out).name} == {"0", "1"}
    assert out.empty()

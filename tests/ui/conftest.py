"""A session as a window has it, with a queue that is drained by hand and ears for every event."""

import os
import queue
import time

import pytest

from sllm_ui import pipes, work
from sllm_ui.events import (
    Answered,
    ConfigChanged,
    DataChanged,
    Notice,
    ProjectChanged,
    RunChanged,
    RunsChanged,
    TurnEnded,
)
from sllm_ui.session import Session
from sllm_ui.settings import Settings

EVENTS = (
    Answered, ConfigChanged, DataChanged, Notice, ProjectChanged, RunChanged, RunsChanged,
    TurnEnded,
)  # fmt: skip
GUARD_S = 50  # against hanging only


class Desk:
    """One window's session, without the window."""

    def __init__(self, folder):
        self.inbox = queue.Queue()
        self.session = Session(Settings(folder), self.inbox)
        self.heard, self.said = [], []
        for kind in EVENTS:
            self.session.bus.subscribe(kind, self.heard.append)

    def turn(self, wait_s=0.0):
        """One turn of the pump and a tick, as the window does them."""
        n = 0
        try:
            while True:
                source, message, stamp = self.inbox.get(timeout=wait_s if not n else 0.001)
                n += 1
                self.said.append((source, message))
                self.session.handle(source, message, stamp)
        except queue.Empty:
            pass
        if n:
            self.session.flush()
        self.session.tick()

    def until(self, condition, what=""):
        """Live until ``condition()`` holds; its value comes back."""
        end = time.monotonic() + GUARD_S
        while not (found := condition()):
            assert time.monotonic() < end, what or f"{self.notices()} {self.session.run}"
            self.turn(0.05)
        return found

    def rest(self, quiet_s=0.15):
        """Live until nothing more comes."""
        end = time.monotonic() + quiet_s
        while time.monotonic() < end:
            n = len(self.said)
            self.turn(0.02)
            if len(self.said) > n:
                end = time.monotonic() + quiet_s

    def of(self, kind):
        """The events of a kind so far."""
        return [event for event in self.heard if isinstance(event, kind)]

    def notices(self):
        """What a person was told: (kind, title, text)."""
        return [(notice.kind, notice.title, notice.text) for notice in self.of(Notice)]

    def told(self, kind):
        """Messages of jobs and warm workers of a kind."""
        return [message for _, message in self.said if isinstance(message, kind)]


@pytest.fixture
def children(monkeypatch):
    """Every follower and warm worker that a session makes; none is left behind."""
    made = []

    def recorded(kind):
        def make(*arguments, **more):
            made.append(kind(*arguments, **more))
            return made[-1]

        return make

    for module, name in ((work, "Runner"), (pipes, "PipeProcess")):
        monkeypatch.setattr(module, name, recorded(getattr(module, name)))
    yield made
    for child in made:
        process = child._process
        if process and process.poll() is None:
            process.kill()
        if process:
            process.wait()
        if getattr(child, "_thread", None) is None or child._thread.is_alive():
            child.close()


@pytest.fixture
def make_desk(tmp_path, children, monkeypatch):
    """Sessions that are closed whatever the test does."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = []

    def make():
        made.append(Desk(tmp_path / "settings"))
        return made[-1]

    yield make
    for desk in made:
        desk.session.close()
    assert os.environ.get("SLLM_FAULT", "") == ""


@pytest.fixture
def desk(make_desk):
    """One session without a project."""
    return make_desk()

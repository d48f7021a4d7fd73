"""Messages come to the window's thread in order, in small portions, whatever a handler does."""

import queue
import threading
import time
from types import SimpleNamespace

import pytest

from sllm_ui import pump as pumps
from sllm_ui.pump import LATER_MS, SOON_MS, Pump


class Desk:
    """A pump with a hand-moved clock: each item costs ``cost_s``, each wait is written down."""

    def __init__(self, monkeypatch=None, cost_s=0.0):
        self.inbox, self.heard, self.waits, self.flushes = queue.Queue(), [], [], 0
        self.now, self.cost_s, self.next = 0.0, cost_s, None
        if monkeypatch:
            monkeypatch.setattr(pumps, "time", SimpleNamespace(perf_counter=lambda: self.now))
        self.pump = Pump(self.after, self.inbox, self.handle, self.flush)

    def after(self, delay_ms, call):
        self.waits.append(delay_ms)
        self.next = call

    def handle(self, source, message, stamp):
        self.now += self.cost_s
        self.heard.append((source, message, stamp))

    def flush(self):
        self.flushes += 1

    def put(self, *numbers):
        for number in numbers:
            self.inbox.put(("run", number, number / 10))

    def turn(self):
        call, self.next = self.next, None
        call()


def test_a_turn_ends_with_its_budget_and_the_next_comes_soon(monkeypatch):
    desk = Desk(monkeypatch, cost_s=0.003)
    desk.put(*range(10))
    desk.pump.start()
    assert len(desk.heard) == 3  # 3, 6, 9 ms: the third began inside the 8
    assert (desk.waits, desk.flushes) == ([SOON_MS], 1)
    for _ in range(3):
        desk.turn()
    assert desk.heard == [("run", n, n / 10) for n in range(10)]
    assert desk.waits == [SOON_MS] * 3 + [LATER_MS]
    assert desk.flushes == 4


def test_an_empty_queue_is_looked_at_later_and_nothing_is_flushed():
    desk = Desk()
    desk.pump.start()
    assert (desk.heard, desk.waits, desk.flushes) == ([], [LATER_MS], 0)


def test_what_changed_is_told_once_a_turn_however_many_came():
    desk = Desk()
    desk.put(*range(50))
    desk.pump.drain(60.0)
    assert len(desk.heard) == 50
    assert desk.flushes == 1


def test_a_handler_that_raises_costs_one_message_and_not_the_pulse():
    desk = Desk()

    def handle(_, message, __):
        if message == 1:
            raise ValueError("bad message")
        desk.heard.append(message)

    desk.pump = Pump(desk.after, desk.inbox, handle, desk.flush)
    desk.put(0, 1, 2)
    with pytest.raises(ValueError, match="bad message"):
        desk.pump.start()
    assert desk.heard == [0]
    assert desk.flushes == 1  # what was handled before it is shown
    desk.turn()
    assert desk.heard == [0, 2]


def test_a_flush_that_raises_does_not_end_the_pulse():
    desk = Desk()

    def flush():
        raise ValueError("in a view")

    desk.pump = Pump(desk.after, desk.inbox, desk.handle, flush)
    desk.put(0)
    with pytest.raises(ValueError, match="in a view"):
        desk.pump.start()
    desk.put(1)
    with pytest.raises(ValueError, match="in a view"):
        desk.turn()
    assert [message for _, message, _ in desk.heard] == [0, 1]
    assert desk.next is not None


def test_after_the_stop_nothing_is_asked_of_a_window_that_is_gone():
    desk = Desk()
    desk.pump.start()
    desk.pump.start()  # twice is once
    assert len(desk.waits) == 1
    desk.pump.stop()
    desk.put(1)
    desk.turn()
    assert desk.heard == []
    assert len(desk.waits) == 1
    assert desk.inbox.qsize() == 1

    desk.pump.start()
    assert len(desk.heard) == 1


def test_a_handler_may_end_the_pump():
    desk = Desk()
    desk.pump = Pump(desk.after, desk.inbox, lambda *_: desk.pump.stop(), desk.flush)
    desk.put(1, 2)
    desk.pump.start()
    assert desk.waits == []  # the window was destroyed by what the message asked for


def test_many_threads_lose_nothing_and_each_keeps_its_order():
    desk = Desk()

    def say(name):
        for n in range(300):
            desk.inbox.put((name, n, 0.0))

    threads = [threading.Thread(target=say, args=(f"t{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 20
    while len(desk.heard) < 1200 and time.monotonic() < end:
        desk.pump.drain()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert [n for name, n, _ in desk.heard if name == f"t{i}"] == list(range(300))

"""Events reach those who asked for their kind; a state tells its listeners what changed."""

import dataclasses
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_ui.bus import Bus, Store


@dataclass(frozen=True)
class State:
    name: str = ""
    n: int = 0


@dataclass(frozen=True)
class Ping:
    n: int = 0


@dataclass(frozen=True)
class LoudPing(Ping):
    """A subclass is another kind."""


def test_a_listener_hears_the_old_and_the_new_state():
    store, heard = Store(State()), []
    store.listen(lambda *pair: heard.append(pair))
    store.update(name="a", n=2)
    store.update(n=3)
    assert heard == [(State(), State("a", 2)), (State("a", 2), State("a", 3))]
    assert store.state == State("a", 3)


def test_nobody_is_told_when_nothing_differs():
    store, heard = Store(State("a", 1)), []
    store.listen(lambda *pair: heard.append(pair))
    before = store.state
    store.update()
    store.update(name="a", n=1)
    assert (heard, store.state) == ([], before)
    assert store.state is before  # a view may compare by identity


def test_a_field_that_is_none_is_refused_and_changes_nothing():
    store = Store(State("a"))
    with pytest.raises(TypeError):
        store.update(nome="b")
    assert store.state == State("a")


def test_the_state_itself_is_already_new_when_a_listener_hears_of_it():
    store, seen = Store(State()), []
    store.listen(lambda _, new: seen.append(store.state is new))
    store.update(n=1)
    assert seen == [True]


def test_who_left_hears_no_more_and_may_leave_twice():
    store, heard = Store(State()), []
    leave = store.listen(lambda *_: heard.append("a"))
    store.listen(lambda *_: heard.append("b"))
    store.update(n=1)
    leave()
    leave()
    store.update(n=2)
    assert heard == ["a", "b", "b"]


def test_a_listener_may_leave_or_come_while_it_is_told():
    store, heard = Store(State()), []

    def once(*_):
        heard.append("once")
        leave()
        store.listen(lambda *_: heard.append("late"))

    leave = store.listen(once)
    store.listen(lambda *_: heard.append("always"))
    store.update(n=1)
    assert heard == ["once", "always"]
    store.update(n=2)
    assert heard[2:] == ["always", "late"]


def test_the_last_thing_every_listener_hears_is_the_newest_state():
    store, heard = Store(State()), []
    store.listen(lambda _, new: store.update(n=5) if new.n == 1 else None)
    store.listen(lambda *pair: heard.append(pair))
    store.update(n=1)
    assert heard == [(State(), State("", 1)), (State("", 1), State("", 5))]


def test_a_listener_that_fails_does_not_silence_the_store():
    store, heard = Store(State()), []

    def broken(_, new):
        if new.n == 1:
            raise ValueError("in a listener")

    store.listen(broken)
    store.listen(lambda _, new: heard.append(new.n))
    with pytest.raises(ValueError, match="in a listener"):
        store.update(n=1)
    store.update(n=2)
    assert store.state.n == heard[-1] == 2


@given(st.lists(st.tuples(st.sampled_from(["name", "n"]), st.integers(0, 3)), max_size=30))
def test_what_is_told_is_a_chain_from_the_first_state_to_the_last(changes):
    store, heard = Store(State()), []
    store.listen(lambda *pair: heard.append(pair))
    for field, value in changes:
        store.update(**{field: str(value) if field == "name" else value})
    states = [State(), *(new for _, new in heard)]
    assert heard == list(itertools.pairwise(states))
    assert all(old != new for old, new in heard)
    plain = {f.name: f.default for f in dataclasses.fields(State)}
    for field, value in changes:
        plain[field] = str(value) if field == "name" else value
    assert dataclasses.asdict(store.state) == plain


def test_an_event_goes_to_those_of_its_kind_in_the_order_of_subscription():
    bus, heard = Bus(), []
    bus.subscribe(Ping, lambda e: heard.append(("first", e)))
    bus.subscribe(LoudPing, lambda e: heard.append(("loud", e)))
    bus.subscribe(Ping, lambda e: heard.append(("second", e)))
    bus.publish(Ping(1))
    bus.publish(LoudPing(2))
    bus.publish("nobody asked")
    assert heard == [("first", Ping(1)), ("second", Ping(1)), ("loud", LoudPing(2))]


def test_a_subscription_ends_when_asked_also_from_within():
    bus, heard = Bus(), []

    def once(event):
        heard.append(("once", event.n))
        leave()

    leave = bus.subscribe(Ping, once)
    bus.subscribe(Ping, lambda e: heard.append(("always", e.n)))
    bus.publish(Ping(1))
    bus.publish(Ping(2))
    leave()
    assert heard == [("once", 1), ("always", 1), ("always", 2)]

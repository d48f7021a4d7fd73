"""A long run is opened from two small files, and never tells another story than `events.jsonl`."""

import json
import math
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.jobs import series
from sllm_core.jobs.channel import FolderChannel, read_events
from sllm_core.jobs.series import EVENTS, NOTES, SERIES, read_past
from sllm_core.messages import (
    Done,
    Log,
    Plan,
    Progress,
    Resumed,
    Sample,
    Saved,
    Step,
    Stopped,
    Validation,
    decode,
)
from sllm_core.project import Lock

STEP_FIELDS = ("step", "loss", "grad_norm", "lr", "tokens_per_sec", "tokens", "epoch")
VALIDATION_FIELDS = ("step", "val_loss", "val_bpb", "perplexity", "tokens", "epoch")


def step(number, loss=1.5, rate=None, is_skipped=False):
    return Step(number, loss, "0x1p+0", 0.5, 1e-3, 10 * number, number, 1 + number // 9, rate, is_skipped)  # fmt: skip


def validation(number, loss=2.0, is_best=True):
    return Validation(number, 1, loss, math.exp(loss), None, is_best, 77)


def history(folder):
    """(message, time) of a run, by the rule alone: a resume takes back what came after its step."""
    told = []
    data = (folder / EVENTS).read_bytes() if (folder / EVENTS).exists() else b""
    for line in data[: data.rfind(b"\n") + 1].split(b"\n"):
        found = decode(line)
        if found is None:
            continue
        if isinstance(found[0], Resumed):
            told = [old for old in told if getattr(old[0], "step", 0) <= found[0].step]
        told.append(found)
    return told


def known(value):
    """As an array has it: unknown is NaN."""
    return math.nan if value is None else value


def same(array, told, names, flag):
    columns = [[known(getattr(message, name)) for message, _ in told] for name in names]
    for name, wanted in zip(names, columns, strict=True):
        assert np.array_equal(array[name], np.array(wanted, float), equal_nan=True), name
    assert array[flag].tolist() == [getattr(message, flag) for message, _ in told]
    assert array["time"].tolist() == [time for _, time in told]


def check(folder):
    """`read_past` and the plain fold agree, and its end is where the next line begins."""
    past, told = read_past(folder), history(folder)
    same(past.steps, [x for x in told if isinstance(x[0], Step)], STEP_FIELDS, "is_skipped")
    validations = [x for x in told if isinstance(x[0], Validation)]
    same(past.validations, validations, VALIDATION_FIELDS, "is_best")
    assert past.notes == [x for x in told if not isinstance(x[0], Step | Progress)]
    data = (folder / EVENTS).read_bytes() if (folder / EVENTS).exists() else b""
    assert past.end == data.rfind(b"\n") + 1 == series.end_of(folder)
    for array in (past.steps, past.validations):
        for at, number in zip(array["at"], array["step"], strict=True):
            assert json.loads(data[at : data.index(b"\n", at)])["step"] == number
    return past


NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True)
STEP_NUMBERS = st.integers(0, 30)
MESSAGES = st.one_of(
    st.builds(step, STEP_NUMBERS, NUMBERS, NUMBERS, st.booleans()),
    st.builds(step, STEP_NUMBERS, NUMBERS, NUMBERS, st.booleans()),
    st.builds(validation, STEP_NUMBERS, st.floats(0, 9), st.booleans()),
    st.builds(Resumed, STEP_NUMBERS, st.just("a.pt")),
    st.builds(Plan, STEP_NUMBERS, STEP_NUMBERS, st.just(1), st.text(max_size=4)),
    st.builds(Saved, STEP_NUMBERS, st.just("a"), st.just("b"), st.just(3), st.just(("last",))),
    st.builds(Stopped, STEP_NUMBERS, st.just("a"), st.text(max_size=4)),
    st.builds(Log, st.text(max_size=9)),
    st.builds(Progress, st.just("encoding"), STEP_NUMBERS, st.none(), st.just("bytes")),
)
CUTS = st.dictionaries(st.sampled_from([EVENTS, SERIES, NOTES]), st.integers(0, 400), max_size=3)


@given(st.lists(st.tuples(st.lists(MESSAGES, max_size=12), CUTS), max_size=4))
@settings(deadline=None, max_examples=150)
def test_the_past_is_the_fold_of_the_events_whatever_each_process_left_behind(sessions):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for said, cuts in sessions:
            with closing(FolderChannel(folder)) as up:
                for message in said:
                    up.emit(message)
            check(folder)
            for file, n_bytes in cuts.items():  # what a power cut takes, from each file its own
                path = folder / file
                if path.exists():
                    path.write_bytes(path.read_bytes()[: max(0, path.stat().st_size - n_bytes)])
            check(folder)


def write_run(folder, n=40):
    """A run with all kinds of messages and a resume; returns its events as bytes."""
    with closing(FolderChannel(folder)) as up:
        up.emit(Log("begin"))
        for number in range(1, n + 1):
            up.emit(step(number, rate=None if number < 3 else 100.0 + number))
            if number % 10 == 0:
                up.emit(validation(number))
                up.emit(Sample(number, "the", f"text {number}"))
        up.emit(Resumed(n - 5, "a.pt"))
        up.emit(step(n - 4))
        up.emit(Done(n - 4))
    return (folder / EVENTS).read_bytes()


@pytest.mark.parametrize("file", [SERIES, NOTES])
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: None,
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"x" + data[1:],
        lambda data: data + b"\0" * 5,
        lambda data: data + b"\0" * 720,
        lambda data: data + b"12 {}\n",
        lambda data: data[:300] + b"\0" * 300 + data[600:],
        lambda data: data.replace(b"series 1", b"series 9"),
        lambda data: data + data,
        lambda _: b"\n" * 300,
    ],
    ids=["gone", "empty", "torn", "half", "head", "zeros", "zero records", "foreign line",
         "zeros inside", "other format", "twice", "blank"],
)  # fmt: skip
def test_damaged_small_files_are_read_anew_and_mended_by_the_next_process(tmp_path, file, damage):
    write_run(tmp_path)
    whole = {name: (tmp_path / name).read_bytes() for name in (SERIES, NOTES)}
    data = damage(whole[file])
    if data is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(data)
    check(tmp_path)
    with closing(FolderChannel(tmp_path)) as up:
        up.emit(Log("again"))
    assert len(check(tmp_path).steps) == 36
    for name, before in whole.items():
        assert (tmp_path / name).read_bytes().startswith(before), name
    assert series._load(tmp_path).n_read < 400


def test_small_files_of_another_run_are_not_believed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    write_run(tmp_path / "a", 40)
    write_run(tmp_path / "b", 30)
    for file in (SERIES, NOTES):
        (tmp_path / "a" / file).replace(tmp_path / "b" / file)
    assert check(tmp_path / "b").steps["step"].max() == 26


def test_records_of_other_numbers_are_not_believed(tmp_path):
    events = write_run(tmp_path)
    (tmp_path / EVENTS).write_bytes(events.replace(b'"loss": 1.5', b'"loss": 2.5'))
    assert set(check(tmp_path).steps["loss"]) == {2.5}


def test_a_long_run_is_opened_without_its_events(tmp_path):
    events = write_run(tmp_path, 2000)
    before = check(tmp_path)
    tail = events[-1500:]  # the last lines stay: they prove that the files belong together
    (tmp_path / EVENTS).write_bytes(b"x" * (len(events) - len(tail)) + tail)
    after = read_past(tmp_path)
    assert after.steps.tobytes() == before.steps.tobytes()
    assert after.validations.tobytes() == before.validations.tobytes()
    assert after.notes == before.notes


def test_what_follows_the_past_is_what_was_said_after_it(tmp_path):
    write_run(tmp_path)
    end = read_past(tmp_path).end
    with closing(FolderChannel(tmp_path)) as up:
        up.emit(step(37))
        up.emit(Log("more"))
    assert [message for message, _ in read_events(tmp_path, end)[0]] == [step(37), Log("more")]


@pytest.mark.parametrize("strikes", [(1,), (2,), (3,), (1, 2), (3, 4, 5)], ids=str)
@pytest.mark.parametrize("is_half", [False, True])
def test_a_full_disk_under_the_small_files_costs_nothing(tmp_path, monkeypatch, strikes, is_half):
    n, real = 0, series._write

    def write(file, data):
        nonlocal n
        n += 1
        if n in strikes:
            if is_half:
                file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        real(file, data)

    monkeypatch.setattr(series, "_write", write)
    with closing(FolderChannel(tmp_path)) as up:
        for number in range(1, 8):
            up.emit(step(number))
            up.emit(Log(f"said {number}"))
            check(tmp_path)
    assert n > max(strikes)
    assert len(check(tmp_path).steps) == 7
    assert series._load(tmp_path).n_read < 300  # they have caught up


class Short:
    """A file whose second write is one byte short, as on a full disk."""

    def __init__(self, file):
        self.file, self.n = file, 0

    def write(self, data):
        self.n += 1
        return self.file.write(data[:-1] if self.n == 2 else data)

    def close(self):
        self.file.close()


def test_a_line_that_a_full_disk_left_without_its_end_is_not_lost(tmp_path, monkeypatch):
    with closing(FolderChannel(tmp_path)) as up:
        monkeypatch.setattr(up, "_events", Short(up._events))
        for number in range(1, 5):
            up.emit(step(number))
            check(tmp_path)
    assert check(tmp_path).steps["step"].tolist() == [1, 2, 3, 4]


def test_a_line_that_turns_out_whole_is_not_lost(tmp_path):
    write_run(tmp_path)
    path = tmp_path / EVENTS
    path.write_bytes(path.read_bytes()[:-1])  # killed before the newline
    with closing(FolderChannel(tmp_path)) as up:
        up.emit(step(37))
    past = check(tmp_path)
    assert [type(message) for message, _ in past.notes][-1] is Done


def test_an_old_run_gets_its_short_form_when_nobody_works_on_it(tmp_path, monkeypatch):
    write_run(tmp_path)
    for name in (SERIES, NOTES):
        (tmp_path / name).unlink()
    monkeypatch.setattr(series, "MEND_BYTES", 100)
    with Lock(tmp_path / ".lock", "a run"):
        check(tmp_path)
        assert not (tmp_path / SERIES).exists()
    check(tmp_path)
    assert series._load(tmp_path).n_read < 200


def test_no_folder_has_no_past(tmp_path):
    past = read_past(tmp_path / "none")
    assert (past.end, len(past.steps), len(past.validations), past.notes) == (0, 0, 0, [])
    assert series.end_of(tmp_path / "none") == 0


def test_the_end_is_found_behind_a_long_torn_line(tmp_path):
    for text, end in (
        ("", 0),
        ("a\n", 2),
        ("a\n" + "b" * 200_000, 2),
        ("b" * 70_000, 0),
        ("\nb", 1),
    ):
        (tmp_path / EVENTS).write_text(text)
        assert series.end_of(tmp_path) == end

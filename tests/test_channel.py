"""Messages up, one wish down: nothing torn is read, nothing whole is lost."""

import csv
import json
from contextlib import closing

import pytest

from sllm_core import faults
from sllm_core.jobs import channel
from sllm_core.jobs.channel import FolderChannel, LogFiles, read_control, read_events
from sllm_core.messages import Desired, Done, Failed, Log, Plan, Resumed, Saved, Step, Validation


def step(number: int) -> Step:
    return Step(number, 1.5, "0x1.8p+0", 0.5, 1e-3, 10 * number, number, 1, None)


@pytest.fixture
def up(tmp_path):
    with closing(FolderChannel(tmp_path)) as made:
        yield made


def lines(folder) -> list[str]:
    return (folder / "events.jsonl").read_text().splitlines()


def test_messages_come_back_in_order_and_from_an_offset(up, tmp_path):
    sent = [Log("ä\ud800"), step(1), Saved(1, "a", "b", 3, ("last",)), Done(1)]
    up.emit(sent[0])
    _, offset = read_events(tmp_path)
    for message in sent[1:]:
        up.emit(message)
    assert [message for message, _ in read_events(tmp_path, offset)[0]] == sent[1:]
    assert len(read_events(tmp_path)[0]) == 4


def test_a_torn_last_line_is_left_for_the_next_time(up, tmp_path):
    up.emit(step(1))
    whole = lines(tmp_path)[0]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(whole[:20])
    found, offset = read_events(tmp_path)
    assert [message.step for message, _ in found] == [1]
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(whole[20:] + "\n")
    assert [message.step for message, _ in read_events(tmp_path, offset)[0]] == [1]


def test_a_line_torn_by_a_kill_does_not_swallow_the_next_one(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"type": "st')
    with closing(FolderChannel(tmp_path)) as up:
        up.emit(step(7))
    assert [message.step for message, _ in read_events(tmp_path)[0]] == [7]


def test_going_on_after_a_whole_line_adds_no_empty_one(tmp_path):
    for number in (1, 2):
        with closing(FolderChannel(tmp_path)) as up:
            up.emit(step(number))
    assert [json.loads(line)["step"] for line in lines(tmp_path)] == [1, 2]


def test_a_full_disk_loses_lines_and_never_the_run(up, tmp_path, monkeypatch):
    up.emit(step(1))

    class Full:
        def __init__(self, file):
            self.file, self.n = file, 0

        def write(self, data):
            self.n += 1
            if self.n == 1:
                return self.file.write(data[:10])  # short
            if self.n == 2:
                raise OSError(28, "No space left on device")
            return self.file.write(data)

        def close(self):
            self.file.close()

    monkeypatch.setattr(up, "_events", Full(up._events))
    for number in (2, 3, 4):
        up.emit(step(number))
    assert [message.step for message, _ in read_events(tmp_path)[0]] == [1, 4]


def test_the_wish_is_read_when_it_changes_and_a_broken_one_is_no_wish(up, tmp_path):
    assert up.desired() == Desired()
    for wish in (Desired("pause"), Desired("run", 3), Desired("stop", 3, "enough")):
        channel.write_control(tmp_path, wish)
        assert up.desired() == wish
    for broken in (
        "",
        "{",
        "[]",
        '{"state": "fly", "save_now": 0}',
        '{"state": "stop"}',
        "[" * 9999,
    ):
        (tmp_path / "control.json").write_text(broken)
        assert read_control(tmp_path) == Desired()


def test_a_signal_wins_over_the_file(up, tmp_path):
    channel.write_control(tmp_path, Desired("pause", 2))
    up.ask_stop("by SIGTERM")
    assert up.desired() == Desired("stop", 2, "by SIGTERM")


def test_the_wish_is_replaced_whole(tmp_path, arm):
    channel.write_control(tmp_path, Desired("pause"))
    arm("settings.save:1:short")
    with pytest.raises(Exception, match="E-DISK-FULL"):
        channel.write_control(tmp_path, Desired("stop"))
    assert read_control(tmp_path) == Desired("pause")
    assert [path.name for path in tmp_path.iterdir()] == ["control.json"]


def test_settings_asked_for_while_it_goes_on_are_read_and_strange_ones_left_out(up, tmp_path):
    wish = Desired("pause", 2, settings={"val_interval": 7, "keep_last": 9})
    channel.write_control(tmp_path, wish)
    assert up.desired() == wish
    up.ask_stop("by SIGTERM")
    assert up.desired().settings == wish.settings
    for strange in (
        {"seed": 3},
        {"val_interval": "7"},
        {"val_interval": True},
        {"val_interval": 0.5},
    ):
        body = {"state": "run", "save_now": 0, "settings": strange}
        (tmp_path / "control.json").write_text(json.dumps(body))
        assert read_control(tmp_path) == Desired()
    for broken in (3, [], None, "x"):
        body = {"state": "stop", "save_now": 0, "settings": broken}
        (tmp_path / "control.json").write_text(json.dumps(body))
        assert read_control(tmp_path).settings == {}


# logs for people


def rows(folder) -> list[dict]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_a_step_and_a_validation(tmp_path):
    log = LogFiles(tmp_path, "r1")
    log.emit(step(1))
    log.emit(Validation(1, 1, 2.5, 12.2, 3.6, True, 99))
    first, second = rows(tmp_path)
    assert (first["run"], first["step"], first["loss"], first["val_loss"]) == ("r1", "1", "1.5", "")
    assert (second["val_loss"], second["val_bpb"], second["loss"]) == ("2.5", "3.6", "")


def test_a_rotated_table_begins_with_its_head_again(tmp_path, monkeypatch):
    monkeypatch.setattr(channel, "ROTATE_BYTES", 300)
    log = LogFiles(tmp_path, "r1")
    for number in range(1, 30):
        log.emit(step(number))
    assert (tmp_path / "metrics.1.csv").exists()
    assert all(row["run"] == "r1" and row["step"].isdigit() for row in rows(tmp_path))
    assert rows(tmp_path)[-1]["step"] == "29"


def test_the_log_has_sentences_with_the_run_and_rotates(tmp_path, monkeypatch):
    monkeypatch.setattr(channel, "ROTATE_BYTES", 300)
    log = LogFiles(tmp_path, "r1")
    log.emit(step(1))
    assert not (tmp_path / "training.log").exists()
    for number in range(20):
        log.emit(Log(f"sentence {number} \ud800"))
    text = (tmp_path / "training.log").read_text()
    assert "  r1  sentence 19" in text
    assert (tmp_path / "training.1.log").stat().st_size < 1000


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path):
    log = LogFiles(tmp_path, "r1")
    (tmp_path / "training.log").mkdir()
    (tmp_path / "metrics.csv").mkdir()
    log.emit(Log("x"))
    log.emit(step(1))


def test_every_kind_of_message_can_be_said_in_a_line():
    told = [
        Failed("E-USAGE", "no [E-USAGE]"),
        Plan(0, 5, 1, "because"),
        Done(3),
        Resumed(4, "a", ("b",)),
    ]
    texts = [channel.describe(message) for message in told]
    assert texts[0] == "no [E-USAGE]"
    assert "5 steps" in texts[1]
    assert "step 3" in texts[2]
    assert texts[3] == "Resumed at step 4 from a"
    assert channel.describe(step(1)) == ""


def test_the_time_of_a_line_is_the_wall_clock(up, tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "_clock_shift", "-315360000")  # ten years back
    up.emit(step(1))
    ((_, then),) = read_events(tmp_path)[0]
    monkeypatch.setattr(faults, "_clock_shift", "0")
    up.emit(step(2))
    now = read_events(tmp_path)[0][1][1]
    assert then < now - 3e8
    assert [message.step for message, _ in read_events(tmp_path)[0]] == [1, 2]

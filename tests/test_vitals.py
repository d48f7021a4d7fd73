"""The meters tell what the system tells, count our workers in, and outlive a lost card."""

import os
import queue
import subprocess
import sys
import time
from contextlib import closing

import psutil
import pytest

from sllm_core.jobs import vitals
from sllm_core.jobs.runs import worker_pid
from sllm_core.jobs.vitals import GpuVitals, Vitals, Watch
from sllm_core.project import Lock
from tests.training_helpers import ROOT


def looks(root, n=2, interval_s=0.05):
    out = queue.Queue()
    with closing(Watch(out, root, interval_s)):
        items = [out.get(timeout=10) for _ in range(n)]
    assert {source for source, _, _ in items} == {"vitals"}
    return [now for _, now, _ in items]


def test_the_numbers_are_those_of_the_system(tmp_path):
    now = looks(tmp_path)[-1]
    assert isinstance(now, Vitals)
    assert 0 <= now.cpu_percent <= 100
    assert 0 <= now.app_cpu_percent <= 101
    assert 1 <= now.n_cores <= os.cpu_count()
    assert 0 < now.ram_used_bytes < now.ram_total_bytes <= psutil.virtual_memory().total
    own = psutil.Process().memory_info().rss
    assert 0.5 * own < now.app_ram_bytes < now.ram_total_bytes
    free = os.statvfs(tmp_path)
    assert now.disk_free_bytes == pytest.approx(free.f_bavail * free.f_frsize, rel=0.2)


def test_without_a_project_the_disk_is_unknown():
    assert looks(None, 1)[0].disk_free_bytes is None


def test_our_own_work_is_seen():
    out = queue.Queue()
    with closing(Watch(out, None, 0.3)):
        out.get(timeout=10)
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            pass
        shares = [out.get(timeout=10)[1].app_cpu_percent for _ in range(2)]
    assert max(shares) > 1


def test_it_ends_when_it_is_closed_and_waits_for_a_slow_window(monkeypatch):
    monkeypatch.setattr(vitals, "MAX_WAITING", 3)
    out = queue.Queue()
    watch = Watch(out, None, 0.01)
    time.sleep(0.5)
    assert out.qsize() == 3
    watch.close()
    assert not watch._thread.is_alive()


def test_a_worker_that_another_window_started_counts_and_a_dead_one_does_not(tmp_path):
    folder = tmp_path / "runs" / "r1"
    folder.mkdir(parents=True)
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom sllm_core.project import Lock\n"
        "lock = Lock(Path(sys.argv[1]), 'a run').acquire()\nprint('held', flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(folder / ".lock")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        assert vitals.workers(tmp_path) == [worker_pid(folder)] == [child.pid]
        child.kill()
    assert (folder / ".lock.json").exists()
    assert vitals.workers(tmp_path) == []


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"pid": "x", "host": 3}', '{"pid": -1}'])
def test_a_note_that_names_no_process_is_passed_over(tmp_path, note):
    (tmp_path / ".lock.json").write_text(note)
    assert worker_pid(tmp_path) is None


def test_a_number_that_the_system_gave_to_a_younger_process_is_not_the_worker(tmp_path):
    Lock(tmp_path / ".lock", "a run").acquire()
    assert worker_pid(tmp_path) == os.getpid()
    os.utime(tmp_path / ".lock.json", (1e9, 1e9))
    assert worker_pid(tmp_path) is None


class FakeDriver:
    """Two cards; the second one can be lost. Answers as NVIDIA's library does."""

    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU = 0

    def __init__(self):
        self.lost, self.n_open = False, 0

    def nvmlInit(self):  # noqa: N802
        self.n_open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.n_open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, number):  # noqa: N802
        return number

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return f"Card {handle}"

    def _ask(self, handle, value):
        if handle == 1 and self.lost:
            raise self.NVMLError("GPU is lost")
        return value

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        return self._ask(handle, type("Rates", (), {"gpu": 42})())

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return self._ask(handle, type("Memory", (), {"used": 3, "total": 8})())

    def nvmlDeviceGetTemperature(self, handle, _):  # noqa: N802
        return self._ask(handle, 61)

    def nvmlDeviceGetPowerUsage(self, _):  # noqa: N802
        raise self.NVMLError("not supported")


def test_a_lost_card_has_no_numbers_and_stops_nothing(monkeypatch):
    driver = FakeDriver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    cards = vitals._Cards()
    whole = [GpuVitals(f"Card {number}", 42.0, 3, 8, 61, None) for number in (0, 1)]
    assert cards.read() == tuple(whole)
    driver.lost = True
    assert cards.read() == (whole[0], GpuVitals("Card 1"))
    driver.lost = False
    assert cards.read() == tuple(whole)
    cards.close()
    assert driver.n_open == 0


def test_no_driver_is_no_card(monkeypatch):
    driver = FakeDriver()
    monkeypatch.setattr(driver, "nvmlInit", lambda: (_ for _ in ()).throw(driver.NVMLError("no")))
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    cards = vitals._Cards()
    assert cards.read() == ()
    cards.close()

"""How the computer is doing, once a second: processor, memory, graphics cards, disk."""

import contextlib
import queue
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sllm_core import faults, hardware
from sllm_core.jobs.runs import worker_pid
from sllm_core.messages import Item

FIRST_S = 0.2
MAX_WAITING = 200  # nobody draws what comes later than this


@dataclass(frozen=True)
class GpuVitals:
    """One graphics card now. Unknown is None."""

    name: str
    load_percent: float | None = None
    used_bytes: int | None = None
    total_bytes: int | None = None
    temperature_c: float | None = None
    power_w: float | None = None


@dataclass(frozen=True)
class Vitals:
    """The computer now; shares are of the whole computer (0 to 100). Unknown is None."""

    cpu_percent: float | None
    n_cores: int
    ram_used_bytes: int | None
    ram_total_bytes: int | None
    app_cpu_percent: float | None  # this program and its working processes
    app_ram_bytes: int | None
    gpus: tuple[GpuVitals, ...]
    disk_free_bytes: int | None  # where the project lies


class Watch:
    """A thread that puts ("vitals", `Vitals`, time) into ``out``.

    Args:
        out: the queue of the window.
        root: the project whose disk and working processes count; may be set anew.
        interval_s: seconds between two looks.
    """

    def __init__(
        self, out: "queue.Queue[Item]", root: Path | None, interval_s: float = 1.0
    ) -> None:
        self.root = root
        self._out, self._interval_s = out, interval_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="vitals", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        cards, app = _Cards(), _App()
        psutil.cpu_percent(None)  # shares are of the time since the last look
        app.read(self.root)
        self._closing.wait(min(self._interval_s, FIRST_S))
        try:
            while not self._closing.is_set():
                if self._out.qsize() < MAX_WAITING:
                    self._out.put(("vitals", _look(cards, app, self.root), faults.wall_time()))
                self._closing.wait(self._interval_s)
        finally:
            cards.close()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join(timeout=2)


def _look(cards: "_Cards", app: "_App", root: Path | None) -> Vitals:
    total, free = hardware.total_memory(), hardware.free_memory()
    app_cpu, app_ram = app.read(root)
    disk_free = None
    if root is not None:
        with contextlib.suppress(OSError):
            disk_free = faults.free_bytes(root)
    return Vitals(
        cpu_percent=psutil.cpu_percent(None),
        n_cores=hardware.physical_cores(),
        ram_used_bytes=max(0, total - free),
        ram_total_bytes=total,
        app_cpu_percent=app_cpu,
        app_ram_bytes=app_ram,
        gpus=cards.read(),
        disk_free_bytes=disk_free,
    )


class _App:
    """This process, its children, and the workers of runs that another window started."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}  # kept: a share of time needs two looks

    def read(self, root: Path | None) -> tuple[float, int]:
        """(percent of the whole computer, bytes)."""
        here = psutil.Process()
        pids = {here.pid, *workers(root)}
        with contextlib.suppress(psutil.Error):
            pids |= {child.pid for child in here.children(recursive=True)}
        percent, ram, alive = 0.0, 0, {}
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                process = self._known.get(pid) or psutil.Process(pid)
                if process.is_running():
                    percent += process.cpu_percent(None)
                    ram += process.memory_info().rss
                    alive[pid] = process
        self._known = alive
        return percent / (psutil.cpu_count() or 1), ram


def workers(root: Path | None) -> list[int]:
    """Processes that work on runs of the project, whoever started them."""
    notes = root.glob("runs/*/.lock.json") if root is not None else ()
    found = (worker_pid(path.parent) for path in notes)
    return [pid for pid in found if pid is not None]


class _Cards:
    """NVIDIA's cards; the driver stays open between two looks. One that is lost has no numbers."""

    def __init__(self) -> None:
        self._library: Any = None
        self._cards: list[tuple[str, Any]] = []
        try:
            import pynvml

            pynvml.nvmlInit()
        except (ImportError, OSError):
            return
        except pynvml.NVMLError:
            return
        self._library = pynvml
        with contextlib.suppress(pynvml.NVMLError):
            for number in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(number)
                self._cards.append((str(pynvml.nvmlDeviceGetName(handle)), handle))

    def read(self) -> tuple[GpuVitals, ...]:
        """All cards now."""
        return tuple(self._card(name, handle) for name, handle in self._cards)

    def _card(self, name: str, handle: Any) -> GpuVitals:
        library = self._library

        def ask(function: str, *more: Any) -> Any:
            with contextlib.suppress(library.NVMLError):
                return getattr(library, function)(handle, *more)
            return None

        load, memory = ask("nvmlDeviceGetUtilizationRates"), ask("nvmlDeviceGetMemoryInfo")
        power = ask("nvmlDeviceGetPowerUsage")
        return GpuVitals(
            name,
            load_percent=None if load is None else float(load.gpu),
            used_bytes=None if memory is None else int(memory.used),
            total_bytes=None if memory is None else int(memory.total),
            temperature_c=ask("nvmlDeviceGetTemperature", library.NVML_TEMPERATURE_GPU),
            power_w=None if power is None else power / 1000,
        )

    def close(self) -> None:
        """Let go of the driver."""
        if self._library is not None:
            with contextlib.suppress(self._library.NVMLError):
                self._library.nvmlShutdown()

"""What this computer has: processor, memory, graphics card; and good manners on it."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Gpu:
    """One graphics card as NVIDIA's driver reports it."""

    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Machine:
    """The computer at this moment. Unknown is None."""

    system: str
    processor: str
    n_cores: int
    ram_bytes: int
    ram_free_bytes: int
    gpus: tuple[Gpu, ...]


def look() -> Machine:
    """Read it all (about a millisecond without a graphics card)."""
    memory = psutil.virtual_memory()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor_name(),
        n_cores=physical_cores(),
        ram_bytes=memory.total,
        ram_free_bytes=free_memory(),
        gpus=read_gpus(),
    )


def physical_cores() -> int:
    """Cores this process may use, without hyper-threads where that is known."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1 << 30, allowed or 1))


def default_threads() -> int:
    """Threads for computing: one core stays free for the window where there are three or more."""
    cores = physical_cores()
    return min(cores, max(2, cores - 1))


def free_memory() -> int:
    """Bytes of RAM that can be used now, a container's own limit included."""
    free = int(psutil.virtual_memory().available)
    limit = _read_number(Path("/sys/fs/cgroup/memory.max"))
    used = _read_number(Path("/sys/fs/cgroup/memory.current"))
    return min(free, max(0, limit - used)) if limit is not None and used is not None else free


def total_memory() -> int:
    """Bytes of RAM there are for this process, a container's own limit included."""
    total = int(psutil.virtual_memory().total)
    limit = _read_number(Path("/sys/fs/cgroup/memory.max"))
    return total if limit is None else min(total, limit)


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def read_gpus() -> tuple[Gpu, ...]:
    """NVIDIA cards; none when there is no driver or no card."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            found.append(Gpu(str(name), int(memory.total), int(memory.free)))
        return tuple(found)
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def lower_priority() -> None:
    """Let the window and other programs go first; no privilege is needed."""
    process = psutil.Process()
    try:
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else 10)
    except psutil.Error:
        return


def own_memory() -> int:
    """Bytes of RAM this process holds."""
    return int(psutil.Process().memory_info().rss)

"""What every benchmark needs: interleaved timing, the hardware in words, a dated result file."""

import datetime as dt
import importlib.metadata
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """Seconds of one side, a value for each round."""

    cpu_s: list[float]
    wall_s: list[float]


def interleave(sides: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, Timing]:
    """Time the sides in turn, so that a busy moment hits all of them; one warm-up round before."""
    timings = {name: Timing([], []) for name in sides}
    for round_number in range(n_rounds + 1):
        for name, run in sides.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if round_number:
                timings[name].cpu_s.append(cpu)
                timings[name].wall_s.append(wall)
            print(f"  round {round_number}: {name} {cpu:.2f} CPU s", flush=True)
    return timings


HEADER = "| what | tokens/CPU-second | spread | tokens/second | against {} |\n|---|---|---|---|---|"


def table(timings: dict[str, Timing], n_tokens: int, peer: str) -> str:
    """A row a side; the ratio compares medians of CPU seconds with those of ``peer``."""
    base = statistics.median(timings[peer].cpu_s)
    lines = [HEADER.format(peer)]
    for name, timing in timings.items():
        cpu, wall = statistics.median(timing.cpu_s), statistics.median(timing.wall_s)
        low, high = n_tokens / max(timing.cpu_s), n_tokens / min(timing.cpu_s)
        rates = f"{n_tokens / cpu:,.0f} | {low:,.0f}-{high:,.0f} | {n_tokens / wall:,.0f}"
        lines.append(f"| {name} | {rates} | {base / cpu:.2f}x |")
    return "\n".join(lines)


def has_bf16() -> bool:
    """Whether this processor has bf16 instructions; without them bf16 is a trap."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and "avx512_bf16" in flags.read_text(encoding="utf-8")


def hardware() -> str:
    """The processor, its cores and the threads in use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    bf16 = "with" if has_bf16() else "without"
    return f"{name}, {bf16} bf16 instructions, {torch.get_num_threads()} thread"


def save(what: str, title: str, sections: list[str], notes: list[str]) -> Path:
    """Write `results/<what>_<hardware>_<date>.md`."""
    load = os.getloadavg()[2] if hasattr(os, "getloadavg") else math.nan  # of 15 minutes
    date = dt.datetime.now(tz=dt.UTC).date().isoformat()
    slug = "-".join("".join(c if c.isalnum() else " " for c in hardware().split(",")[0]).split())
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")
    )
    facts = [
        f"- Date: {date}",
        f"- Hardware: {hardware()}",
        f"- Versions: Python {platform.python_version()}, {versions}",
        f"- Command: `{' '.join(['python -m', f'benchmarks.{what}', *sys.argv[1:]])}`",
        f"- Load of the machine, 15 minutes: {load:.1f} of {os.cpu_count()} cores",
        *(f"- {note}" for note in notes),
    ]
    path = RESULTS / f"{what}_{slug}_{date}.md"
    RESULTS.mkdir(exist_ok=True)
    path.write_text("\n".join([f"# {title}", "", *facts, "", *sections, ""]), encoding="utf-8")
    print(path.read_text(encoding="utf-8"))
    return path

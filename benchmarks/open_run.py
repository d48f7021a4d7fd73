"""Opening a run of a million steps from its short form beside reading all of its events."""

import argparse
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks import report
from sllm_core import config as settings
from sllm_core.config import ProjectConfig
from sllm_core.jobs import runs
from sllm_core.jobs.channel import FolderChannel
from sllm_core.jobs.series import EVENTS, read_past
from sllm_core.messages import Plan, Sample, Saved, Started, Step, Validation, decode
from sllm_core.project import Project


def write(run: runs.Run, n_steps: int) -> float:
    """A run as the trainer tells it, saves and validations included; seconds an event."""
    begun = time.perf_counter()
    with closing(FolderChannel(run.folder)) as up:
        up.emit(Started(run.id, "train", 1))
        up.emit(Plan(0, n_steps, n_steps // 10, "a benchmark", 1_000_000, 8192, 1000, 8, 1, "fp32"))
        for number in range(1, n_steps + 1):
            loss = 8.0 / (1 + number / 1000)
            up.emit(
                Step(number, loss, loss.hex(), 0.7, 1e-3, 8192 * number, 8 * number, 1, 51234.5)
            )
            if number % max(20, n_steps // 20) == 0:
                up.emit(Validation(number, 1, loss, 9.5, 1.9, True, 65536))
                up.emit(Sample(number, "The", "cat sat on a mat " * 12))
            if number % 500 == 0:
                up.emit(
                    Saved(number, f"checkpoints/step_{number}.pt", "0" * 64, 1 << 20, ("last",))
                )
    return (time.perf_counter() - begun) / n_steps


def read_all(folder: Path) -> int:
    """Every line of events.jsonl decoded, as without the short form."""
    with (folder / EVENTS).open("rb") as file:
        return sum(isinstance(found[0], Step) for line in file if (found := decode(line)))


def spread(seconds: list[float]) -> str:
    """Median, least and most."""
    low, high = min(seconds), max(seconds)
    return f"{statistics.median(seconds):.3f} s | {low:.3f}-{high:.3f} s"


def main() -> None:
    """Write, time, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        run = runs.new_run(Project(Path(folder)), "train", ProjectConfig())
        an_event = write(run, options.steps)
        size = (run.folder / EVENTS).stat().st_size
        assert len(read_past(run.folder).steps) == options.steps == read_all(run.folder)
        sides = {
            "read_past (the short form)": lambda: read_past(run.folder),
            "every line of events.jsonl": lambda: read_all(run.folder),
        }
        timings = report.interleave(sides, options.rounds)
    rows = [f"| {name} | {spread(timing.wall_s)} |" for name, timing in timings.items()]
    table = "\n".join(["| what | median | spread |", "|---|---|---|", *rows])
    notes = [
        f"events.jsonl: {size / 1e6:,.0f} MB; version {settings.VERSION}",
        f"Writing an event with its record: {an_event * 1e6:.1f} us",
        "Equal numbers of steps were asserted before timing",
    ]
    title = f"Opening a run of {options.steps:,} steps"
    report.save("open_run", title, [table], notes)


if __name__ == "__main__":
    main()

"""The window: first paint, gaps of its event loop under load, tab switches, resizing.

    xvfb-run -s "-screen 0 1920x1080x24" .venv/bin/python -m benchmarks.window [--rounds 5] [--seconds 20]

First paint is CPU time of a process from its start until the window is painted, in turns with a
bare ttkbootstrap.App. A gap is the time between two 10 ms ticks; the own gap leaves out what the
thread waited for a processor (/proc/self/task/*/schedstat), because that is the machine's doing.
The load: a real training run in a child process and 1000 messages a second into the queue.
"""

import argparse
import json
import math
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import report

BARE = """
import time, ttkbootstrap as tb
app = tb.App("bare", iconphoto=None)
app.geometry("1440x900")
tb.Label(app, text="bare").pack()
app.update()
print(time.process_time())
"""
OURS = """
import sys, time, tempfile
from pathlib import Path
from sllm_ui.app import Window
from sllm_ui.settings import Settings
window = Window("", Settings(Path(tempfile.mkdtemp())), 1.0)
window.start()
window.root.update_idletasks()
cpu = time.process_time()
heavy = {"torch", "transformers", "matplotlib", "numpy"} & set(sys.modules)
assert not heavy & {"torch", "transformers", "matplotlib"}, heavy
print(cpu)
window.close()
"""


def paint(code: str) -> float:
    """CPU seconds of a process until its window is painted."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return float(done.stdout.split()[0])


def percentile(values: list[float], share: float) -> float:
    """A percentile in ms."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


class Ticks:
    """Ticks of 10 ms on the window's thread: raw and own gaps in seconds."""

    def __init__(self, root) -> None:
        self._root, self._wait = (
            root,
            Path(f"/proc/self/task/{threading.get_native_id()}/schedstat"),
        )
        self.raw: list[float] = []
        self.own: list[float] = []
        self._last = (time.perf_counter(), self._queue_s())
        self._is_on = True
        root.after(10, self._tick)

    def _queue_s(self) -> float:
        return int(self._wait.read_text().split()[1]) / 1e9

    def _tick(self) -> None:
        now, waited = time.perf_counter(), self._queue_s()
        self.raw.append(now - self._last[0])
        self.own.append(now - self._last[0] - (waited - self._last[1]))
        self._last = (time.perf_counter(), self._queue_s())
        if self._is_on:
            self._root.after(10, self._tick)

    def stop(self) -> None:
        """End."""
        self._is_on = False


def live(window, seconds: float) -> None:
    """Run the event loop for a while."""
    window.root.after(int(1000 * seconds), window.root.quit)
    window.root.mainloop()


def flood(inbox: "queue.Queue", run: str, stop: threading.Event) -> None:
    """A thousand messages a second, as a fast run would send them."""
    from sllm_core import messages as m

    step, begun = 0, time.perf_counter()
    plan = m.Plan(0, 1_000_000, 100, "a benchmark", 1_000_000, 4096, 100, 8, 1, "fp32", "a test")
    inbox.put((run, plan, time.time()))
    while not stop.is_set():
        wanted = int((time.perf_counter() - begun) * 1000)
        while step < wanted:
            step += 1
            loss = 2 + 7 * math.exp(-step / 3000) + 0.1 * math.sin(step)
            message = m.Step(step, loss, "", 0.5, 1e-3, step * 4096, step, 1, 50_000.0)
            inbox.put((run, message, time.time()))
            if step % 50 == 0:
                inbox.put((run, m.Log(f"line {step}"), time.time()))
            if step % 500 == 0:
                inbox.put(
                    (run, m.Validation(step, 1, loss, math.exp(loss), 1.1, True, step), time.time())
                )
                inbox.put(
                    (run, m.Sample(step, "The", " sea was calm and the boat went out"), time.time())
                )
        time.sleep(0.005)


def measure(seconds: float, project: Path) -> dict[str, float]:
    """Gaps under load on the Train tab, tab switches, resize steps."""
    from sllm_core.jobs import runs
    from sllm_core.jobs.runner import Runner
    from sllm_core.project import open_project
    from sllm_ui.actions import TABS
    from sllm_ui.app import Window
    from sllm_ui.runstate import RunState
    from sllm_ui.settings import Settings

    window = Window(str(project), Settings(Path(tempfile.mkdtemp())), 1.0)
    window.root.geometry("1440x900+0+0")
    window.start()
    live(window, 2)
    for name in TABS:
        window.show(name)
        live(window, 1)
    opened = open_project(project)
    run = runs.new_run(opened, "train", opened.load_config())
    trainer = Runner(run, queue.Queue()).start()
    out: dict[str, float] = {}
    window.session.now.run = RunState("flood", "train", "running")
    stop = threading.Event()
    sender = threading.Thread(target=flood, args=(window.inbox, "flood", stop))
    sender.start()
    window.show("train")
    live(window, 4)  # matplotlib is imported here, once
    ticks = Ticks(window.root)
    live(window, seconds)
    ticks.stop()
    out["raw_p99"], out["raw_max"] = percentile(ticks.raw, 0.99), 1000 * max(ticks.raw)
    out["own_p50"], out["own_p99"] = percentile(ticks.own, 0.5), percentile(ticks.own, 0.99)
    out["own_max"] = 1000 * max(ticks.own)
    out["own_over_50"] = sum(gap > 0.05 for gap in ticks.own)
    out["ticks"] = len(ticks.own)
    out["waiting_messages"] = window.inbox.qsize()
    switches = []
    for i in range(24):
        begun = time.perf_counter()
        window.show(TABS[i % 4])
        window.root.update_idletasks()
        switches.append(time.perf_counter() - begun)
        live(window, 0.05)
    out["switch_p50"], out["switch_p95"] = percentile(switches, 0.5), percentile(switches, 0.95)
    for name in ("data", "train"):
        window.show(name)
        live(window, 0.5)
        steps = []
        for i in range(40):
            begun = time.perf_counter()
            window.root.geometry(f"{1200 + 12 * (i % 20)}x{740 + 6 * (i % 20)}")
            window.root.update()
            steps.append(time.perf_counter() - begun)
        out[f"resize_{name}_p95"] = percentile(steps, 0.95)
    stop.set()
    sender.join()
    trainer.ask("stop")
    trainer.join(60)
    window.session.now.run = None
    window.close()
    return out


def main() -> None:
    """Measure all and write the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--project", type=Path, help="a prepared project (default: the sample)")
    parser.add_argument("--only", choices=("paint", "gaps"))
    arguments = parser.parse_args()
    lines = []
    if arguments.only != "gaps":
        pairs = [(paint(BARE), paint(OURS)) for _ in range(arguments.rounds)]
        bare, ours = (sorted(column) for column in zip(*pairs, strict=True))
        middle = arguments.rounds // 2
        ratios = sorted(b / a for a, b in pairs)
        lines += [
            f"First paint, CPU ms: ours {1000 * ours[middle]:.0f} ({1000 * ours[0]:.0f} to "
            f"{1000 * ours[-1]:.0f}), bare ttkbootstrap.App {1000 * bare[middle]:.0f} "
            f"({1000 * bare[0]:.0f} to {1000 * bare[-1]:.0f}), ratio {ratios[middle]:.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}), {arguments.rounds} rounds in turns.",
            "",
        ]
    if arguments.only != "paint":
        from sllm_core import sample

        with tempfile.TemporaryDirectory() as folder:
            project = arguments.project or sample.open_or_create(str(Path(folder) / "sample")).root
            found = measure(arguments.seconds, project)
        lines += ["| what | value |", "|---|---|"]
        lines += [f"| {name} | {value:.1f} |" for name, value in found.items()]
        print(json.dumps(found))
    report.save(
        "window",
        "The window: first paint and gaps of its event loop",
        ["\n".join(lines)],
        ["Times in ms; an own gap leaves out waiting for a processor."],
    )


if __name__ == "__main__":
    main()

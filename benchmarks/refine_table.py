"""The table of the Refine tab at 300,000 files: loading, filter, sorting, the line, scrolling, memory.

    xvfb-run -s "-screen 0 1920x1080x24" .venv/bin/python -m benchmarks.refine_table [--files 300000]

Everything is done in a real window as a person does it: a figure ends when the table is drawn.
CPU milliseconds of the window's thread; a gap is the time between two 10 ms ticks while the list
is read anew by a child, the own gap leaves out waiting for a processor.
"""

import argparse
import gc
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import report
from benchmarks.window import Ticks, live, percentile

FOLDERS = (
    "src/core", "lib/python/site-packages/numpy/linalg", "vendor/jquery", "books/english/plays",
    "notes/lectures/week-3", "docs/reference", "tests/unit", "build/lib/pkg",
)  # fmt: skip
NAMES = ("module", "chapter", "session", "parser", "base_events", "hamlet")
FILTERS = ("e", "se", "session", "numpy/linalg", "score<40", "why:secret lang:python", "hamlet .md")
REASONS = (
    '{"code": "repeated-lines", "value": %.3f, "limit": 0.3}',
    '{"code": "parse", "value": %.3f, "limit": 1}',
    '{"code": "long-lines", "value": %.3f, "limit": 100}',
)
COLUMNS = (
    "id source_id path path_text size mtime_ns dev inode state reason scan_id kind lang score "
    "reasons flags dup_kind duplicate_of similarity text_bytes"
).split()


def rows(n: int, seed: int = 1) -> Iterator[tuple[object, ...]]:
    """Files such as a large project has: a tail of low scores, copies, finds."""
    r = random.Random(seed)
    for i in range(1, n + 1):
        is_code = r.random() < 0.6
        lang = r.choice(("python", "javascript", "c")) if is_code else r.choice(("en", "en", "de"))
        path = f"{r.choice(FOLDERS)}/{r.choice(NAMES)}_{i:06d}.{'py' if is_code else 'md'}"
        score = r.randint(0, 45) if r.random() < 0.08 else min(100, max(0, int(r.gauss(80, 15))))
        why = f"[{r.choice(REASONS) % r.random()}]" if score < 60 else "[]"
        flags = f'{{"emails": {r.randint(1, 5)}}}' if r.random() < 0.03 else "{}"
        flags = '{"secrets": 1}' if r.random() < 0.003 else flags
        is_copy = i > 50 and r.random() < 0.05
        size = r.randint(200, 90_000)
        yield (
            i, 1, path.encode(), path, size, 0, 0, 0, "used", "", 1,
            "code" if is_code else "prose", lang, score, why, flags,
            r.choice(("exact", "near")) if is_copy else "", r.randint(1, i) if is_copy else None,
            round(r.uniform(0.9, 1), 3) if is_copy else None, size,
        )  # fmt: skip


def make(folder: Path, n: int) -> Path:
    """A project whose index holds ``n`` analysed files."""
    from sllm_core import project as projects
    from sllm_core.config import ProjectConfig
    from sllm_core.corpus.index import Index

    source = folder / f"texts {n}"
    source.mkdir(parents=True)
    project = projects.create(folder / f"project {n}", [str(source)], ProjectConfig())
    with Index(project.db_path) as index:
        marks = ", ".join("?" * len(COLUMNS))
        index.write(f"INSERT INTO files ({', '.join(COLUMNS)}) VALUES ({marks})", rows(n))
    return project.root


def resident() -> float:
    """Memory of this process, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def cpu_ms(window, action: Callable[[], object]) -> float:
    """CPU milliseconds of this thread for an action and the drawing it asks for."""
    live(window, 0.05)
    begun = time.thread_time()
    action()
    window.root.update_idletasks()
    return 1000 * (time.thread_time() - begun)


def measure(folder: Path, n: int) -> list[tuple[str, str]]:
    """All figures, as rows of (what, value)."""
    from sllm_core.corpus import table
    from sllm_ui.app import Window
    from sllm_ui.events import DataChanged
    from sllm_ui.settings import Settings
    from sllm_ui.widgets.table import VTable
    from tests.gui.conftest import children

    small, large = make(folder, 2), make(folder, n)
    window = Window(str(small), Settings(folder / "settings"), 1.0)
    window.root.geometry("1440x900+0+0")
    window.start()
    live(window, 1)
    window.show("refine")
    live(window, 2)
    tab, before = window.presenter("refine"), resident()
    window.open_project(large)
    while tab.store.state.counts is None or tab.store.state.counts.used != n:
        live(window, 0.02)
    live(window, 2)
    after = resident() - before
    ticks, begun, version = Ticks(window.root), time.perf_counter(), tab.store.state.version
    tab.session.bus.publish(DataChanged())  # as when a job has ended
    while tab.store.state.version == version:
        live(window, 0.02)
    loaded = time.perf_counter() - begun
    ticks.stop()
    live(window, 1)
    found = [
        ("reading the list, wall", f"{loaded:.2f} s"),
        ("gaps meanwhile, own, p50 / p99 / max", spread(ticks.own)),
        ("gaps meanwhile, raw, p50 / p99 / max", spread(ticks.raw)),
        ("memory over the tab with 2 files", f"{after:.0f} MB"),
        ("of that the columns", f"{tab.listing.rows.n_bytes / 1e6:.0f} MB"),
    ]
    for text in FILTERS:
        times = []
        for _ in range(5):
            tab.filter("path:qqq")  # what is remembered of the filter before
            tab.filter("")
            times.append(cpu_ms(window, lambda text=text: tab.filter(text)) / 1000)
        shown = tab.store.state.n_shown
        found.append((f"filter `{text}` ({shown:,} files)", spread(times)))
    tab.filter("")
    for column, name in enumerate(table.COLUMNS):
        times = [cpu_ms(window, lambda c=column: tab.sort(c)) / 1000 for _ in range(6)]
        found.append((f"sort by {name}", spread(times)))
    grid = next(w for w in children(window.views["refine"]) if isinstance(w, VTable))
    steps = [cpu_ms(window, lambda: grid.on_wheel(1)) / 1000 for _ in range(200)]
    jumps = [
        cpu_ms(window, lambda k=k: grid._drag("moveto", str(k / 40))) / 1000 for k in range(40)
    ]
    lines = [cpu_ms(window, lambda k=k: tab.move_line(30 + k)) / 1000 for k in range(40)]
    drops = [cpu_ms(window, lambda k=k: tab.set_line(30 + k)) / 1000 for k in range(10)]
    found += [
        ("scroll step of the wheel", spread(steps)),
        ("jump with the bar", spread(jumps)),
        ("step of the line while it is dragged", spread(lines)),
        ("line let go: verdicts, counts, list", spread(drops)),
        ("all rows chosen", spread([cpu_ms(window, lambda: choose_all(tab, n)) / 1000])),
    ]
    window.close()
    return found


def choose_all(tab, n: int) -> None:
    """What Ctrl+A costs."""
    tab.choose(0, frozenset(range(n)))


def spread(times: list[float]) -> str:
    """The middle, the last in a hundred and the worst, in ms."""
    return " / ".join(f"{percentile(times, share):.1f}" for share in (0.5, 0.99, 1.0)) + " ms"


def main() -> None:
    """Measure all and write the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=300_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.files)
    lines = ["| what | p50 / p99 / max |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in found]
    report.save(
        "refine_table",
        f"The table of the Refine tab at {arguments.files:,} files",
        ["\n".join(lines)],
        ["CPU ms of the window's thread, drawing included; gaps between 10 ms ticks."],
    )


if __name__ == "__main__":
    main()

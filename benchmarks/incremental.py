"""What added files cost beside the first time: scan, analysis, near copies, encoding (G2, G7).

Every stage is timed in processor seconds, children included, on a copy of real files: the first
time, again without a change, and with one file in a hundred added. The dataset with the added
files must have the same texts as one that is prepared from nothing.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.encode import choose_files, usual_roots
from sllm_core import config as settings
from sllm_core import project as projects
from sllm_core.config import ProjectConfig
from sllm_core.jobs import pipeline, refining
from sllm_core.project import Project


def cpu_s(work: Callable[[], object]) -> float:
    """Processor seconds of this process and of the children it waited for."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def stages(project: Project) -> dict[str, float]:
    """Seconds of each stage, in the order in which a person meets them."""
    config, job = project.load_config(), pipeline.Job(lambda _: None)
    return {
        "scan": cpu_s(lambda: pipeline.scan(project, config, job)),
        "analyse (scan, scores, copies)": cpu_s(lambda: refining.refine(project, config, job)),
        "prepare (scan, tokenizer, encoding)": cpu_s(
            lambda: pipeline.prepare(project, config, job)
        ),
    }


def texts(project: Project) -> set[bytes]:
    """The texts on both sides, as the token files name them."""
    found: set[bytes] = set()
    for side in ("train", "val"):
        hashes = np.load(project.data_dir / f"{side}_texts.npy")
        found |= {side.encode() + value.tobytes() for value in hashes}
    return found


def main() -> None:
    """Copy, time, compare, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, action="append", help="folders of files")
    parser.add_argument("--megabytes", type=int, default=60)
    options = parser.parse_args()
    files = choose_files(options.root or usual_roots(), options.megabytes * 1_000_000)
    added = files[::100]
    first = [path for i, path in enumerate(files) if i % 100]
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for number, path in enumerate(first):
            shutil.copy(path, source / f"{number:06d}{path.suffix}")
        config = settings.with_values(ProjectConfig(), {"target_vocab_size": 16_000})
        project = projects.create(Path(folder) / "project", [str(source)], config)
        rows = {"the first time": stages(project), "nothing changed": stages(project)}
        for number, path in enumerate(added):
            shutil.copy(path, source / f"added{number:06d}{path.suffix}")
        rows["one file in a hundred added"] = stages(project)
        whole = projects.create(Path(folder) / "whole", [str(source)], config)
        shutil.copytree(project.tokenizer_dir, whole.tokenizer_dir)
        pipeline.prepare(whole, whole.load_config(), pipeline.Job(lambda _: None))
        ours, theirs = texts(project), texts(whole)
        moved = len({t[-8:] for t in ours ^ theirs})
        assert {t[-8:] for t in ours} == {t[-8:] for t in theirs}, "other texts than from nothing"
    names = list(rows["the first time"])
    base = rows["the first time"]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for title, found in rows.items():
        cells = [f"{found[n]:.2f} s ({100 * found[n] / base[n]:.1f} %)" for n in names]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    notes = [
        f"{len(first):,} files and {len(added):,} added, about {options.megabytes} MB; processor "
        "seconds, children included; one run each",
        "The dataset with the added files holds the texts of one prepared from nothing; "
        f"{moved:,} of {len(ours):,} lie on the other side there, because what was once given a "
        "side keeps it",
        f"The whole took {time.perf_counter() - begun:.0f} s",
    ]
    title = "Added files beside the first time"
    report.save("incremental", title, ["\n".join(lines)], notes)


if __name__ == "__main__":
    main()

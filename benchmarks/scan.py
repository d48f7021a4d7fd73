"""Walking, reading and rescanning a tree of files beside the plain ways to do it."""

import argparse
import os
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import xxhash

from benchmarks import report
from sllm_core import project as projects
from sllm_core.config import DataConfig, ProjectConfig
from sllm_core.corpus import sources
from sllm_core.corpus.extract import FileId, examine_small
from sllm_core.corpus.index import Index
from sllm_core.corpus.store import file_path
from sllm_core.jobs import pipeline

CHUNK = 64


def rglob(root: Path) -> int:
    """`Path.rglob` + stat, as the predecessor did."""
    n = 0
    for path in root.rglob("*"):
        if not path.is_dir():
            path.stat()
            n += 1
    return n


def bare(root: Path) -> int:
    """The least a walk can do: scandir + stat."""
    n, stack = 0, [str(root)]
    while stack:
        with os.scandir(stack.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    n += 1
    return n


def walk(root: Path, elsewhere: Path) -> int:
    """Ours: sorted, links and pruned folders looked at, identities kept."""
    return sum(1 for _ in sources.walk(root, elsewhere, recursive=True))


def read_and_hash(paths: list[str]) -> int:
    """One file after the other, whole."""
    n = 0
    for path in paths:
        data = Path(path).read_bytes()
        xxhash.xxh3_128_digest(data)
        n += len(data)
    return n


def read_threads(paths: list[str]) -> int:
    """The same in chunks by a few threads."""
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor(sources.N_READERS) as pool:
        return sum(pool.map(read_and_hash, chunks))


def examine_threads(paths: list[str]) -> int:
    """What a scan does with a file: identity, UTF-8, cleaning, two hashes, counts."""

    def examine(chunk: list[str]) -> int:
        files = [Path(path) for path in chunk]
        return sum(examine_small(path, FileId.of(path.stat())).text_bytes for path in files)

    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor(sources.N_READERS) as pool:
        return sum(pool.map(examine, chunks))


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_paths()["stdlib"]))
    options = parser.parse_args()
    root = options.root
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        place = Path(folder) / "project"
        sides = {
            "bare scandir + stat": lambda: bare(root),
            "Path.rglob + stat": lambda: rglob(root),
            "our walk + stat": lambda: walk(root, Path(folder)),
        }
        pruned = sources.PRUNED
        sources.PRUNED = frozenset()  # the same files on each side
        n_files = bare(root)
        assert [run() for run in sides.values()] == [n_files] * 3
        listing = report.interleave(sides, options.rounds)
        sources.PRUNED = pruned

        project = projects.create(place, [str(root)], ProjectConfig(data=DataConfig()))
        job = pipeline.Job(emit=lambda _: None)
        first = pipeline.scan(project, project.load_config(), job)
        with Index(project.db_path) as index:
            rows = [row for row in index.used_files() if row.size < 1 << 20]
        paths = [str(file_path(root, row.path)) for row in rows if not row.is_converted]
        assert read_and_hash(paths) == read_threads(paths)
        reading = report.interleave(
            {
                "read + xxh3, one thread": lambda: read_and_hash(paths),
                f"read + xxh3, {sources.N_READERS} threads": lambda: read_threads(paths),
                "our examine (UTF-8, clean, counts)": lambda: examine_threads(paths),
            },
            options.rounds,
        )
        walked = sum(1 for _ in sources.walk(root, place, recursive=True))
        assert first.listed == walked
        pruned_bare = {
            "bare scandir + stat, the same folders": lambda: _bare_pruned(root),
            "our rescan, nothing changed": lambda: pipeline.scan(
                project, project.load_config(), job
            ),
        }
        assert _bare_pruned(root) == walked
        assert pipeline.scan(project, project.load_config(), job).read_files == 0
        rescan = report.interleave(pruned_bare, options.rounds)
    tables = [
        f"## Walk, {n_files:,} files\n\n{report.table(listing, n_files, 'bare scandir + stat')}\n",
        f"## Read, {len(paths):,} files\n\n{report.table(reading, len(paths), next(iter(reading)))}\n",
        f"## Rescan, {walked:,} files\n\n{report.table(rescan, walked, next(iter(rescan)))}\n",
    ]
    notes = [
        f"Tree: {root.name}, warm file cache; CPU seconds decide, the machine was shared",
        "A rescan opens project.db (quick_check), loads its rows, compares each file, writes nothing",
        "Equal counts of files and bytes were asserted before timing",
    ]
    title = "Walking, reading and rescanning"
    report.save("scan", title, [text.replace("tokens/", "files/") for text in tables], notes)


def _bare_pruned(root: Path) -> int:
    n, stack = 0, [str(root)]
    while stack:
        with os.scandir(stack.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in sources.PRUNED:
                        stack.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    n += 1
    return n


if __name__ == "__main__":
    main()

"""Batches of windows beside a torch DataLoader and nanoGPT's get_batch; goal G8 of the data."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from benchmarks import report
from sllm_core.dataset import Part, Windows

B, T = 32, 512
HUGE = 1_000_000_000
STEP_S = 0.02  # of a pretended step, for the wait
DOC = 2_000  # tokens of a document, where old and new ones lie between each other


class Items(Dataset):
    """One window an item, as a DataLoader's tutorial has it; or a batch for a list of indices."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens = tokens
        self.steps = np.arange(T + 1)

    def __len__(self) -> int:
        """Windows at stride T."""
        return (len(self.tokens) - 1) // T

    def __getitem__(self, index: int | list[int]) -> torch.Tensor:
        """(T + 1,) of int64, or (n, T + 1) for n indices."""
        if isinstance(index, list):
            starts = np.array(index)[:, None] * T
            return torch.from_numpy(self.tokens[starts + self.steps].astype(np.int64))
        start = index * T
        return torch.from_numpy(self.tokens[start : start + T + 1].astype(np.int64))


def get_batch(path: Path, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """As nanoGPT's train.py: the file is mapped anew for each batch against a leak in numpy."""
    data = np.load(path, mmap_mode="r")
    starts = torch.randint(len(data) - T, (B,), generator=generator)
    x = torch.stack([torch.from_numpy(data[i : i + T].astype(np.int64)) for i in starts])
    y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + T].astype(np.int64)) for i in starts])
    return x, y


def as_tensor(batch: np.ndarray) -> torch.Tensor:
    """What the trainer does with a batch on the CPU."""
    return torch.from_numpy(batch.astype(np.int64))


def sources(n_tokens: int) -> list[Part]:
    """Three sources of unequal size with the weights 0.3, 1 and 4."""
    cuts = [0, int(0.6 * n_tokens), int(0.95 * n_tokens), n_tokens]
    return [
        Part(str(weight), np.array([[a, b]]), int(weight * ((b - a - 1) // T)))
        for a, b, weight in zip(cuts, cuts[1:], (0.3, 1, 4), strict=False)
    ]


def replay(n_tokens: int) -> list[Part]:
    """A document in ten is new, anywhere in the file; half of what is read is old."""
    begins = np.arange(0, n_tokens, DOC)
    is_new = np.random.default_rng(2).random(len(begins)) < 0.1
    ranges = np.stack((begins, np.minimum(begins + DOC, n_tokens)), axis=1)
    n_new = int((np.diff(ranges[is_new]).sum() - 1) // T)
    return [Part("old", ranges[~is_new], n_new), Part("new", ranges[is_new], n_new)]


def prove(windows: Windows) -> None:
    """Batches equal plain slices of the joined ranges, before anything is timed."""
    ranges = np.concatenate([part.ranges for part in windows.parts])
    line = np.concatenate([windows.tokens[a:b] for a, b in ranges])
    for row, start in zip(windows.batch(5, 64), windows.starts(5, 64), strict=True):
        assert row.tolist() == line[start : start + T + 1].tolist()


def speed(options: argparse.Namespace, path: Path) -> str:
    """Batches a CPU second, sides in turn."""
    n = options.batches
    tokens = np.load(path, mmap_mode="r")
    orders = {
        "ours: seeded order": Windows(tokens, T, T, 1),
        "ours: stride 1": Windows(tokens, T, 1, 1),
        "ours: three weighted sources": Windows(tokens, T, T, 1, sources(len(tokens))),
        f"ours: replay, {len(tokens) // DOC:,} documents": Windows(
            tokens, T, T, 1, replay(len(tokens))
        ),
    }
    for windows in orders.values():
        prove(windows)
    items = Items(tokens)
    loader = DataLoader(items, batch_size=B, shuffle=True, num_workers=0, drop_last=True)
    sampler = BatchSampler(RandomSampler(items), batch_size=B, drop_last=True)
    fetcher = DataLoader(items, batch_size=None, sampler=sampler)
    assert torch.equal(items[[3, 9]], torch.stack([items[3], items[9]]))
    generator = torch.Generator().manual_seed(1)

    def ours(windows: Windows) -> Callable[[], None]:
        def run() -> None:
            for number in range(n):
                as_tensor(windows.batch(number * B, B))

        return run

    def ahead() -> None:
        prefetch = orders["ours: seeded order"].prefetch(0, B)
        for _ in range(n):
            as_tensor(prefetch.take())
        prefetch.close()

    def by(loader: DataLoader) -> Callable[[], None]:
        def run() -> None:
            for number, _ in enumerate(loader, start=1):
                if number == n:
                    break

        return run

    peer = "DataLoader, w=0, per item"
    timings = report.interleave(
        {
            peer: by(loader),
            "DataLoader, w=0, a list of indices a batch": by(fetcher),
            "nanoGPT's get_batch": lambda: [get_batch(path, generator) for _ in range(n)],
            **{name: ours(windows) for name, windows in orders.items()},
            "ours: seeded order, prefetched": ahead,
        },
        options.rounds,
    )
    table = report.table(timings, n, peer).replace("tokens/", "batches/")
    return (
        f"## {options.tokens / 1e6:.0f} M tokens, B {B}, T {T}, {n} batches, {options.rounds} "
        f"rounds\n\n{table}\n"
    )


def wait(path: Path) -> float:
    """Share of a step that is spent waiting for its batch, median."""
    prefetch = Windows(np.load(path, mmap_mode="r"), T, T, 1).prefetch(0, B)
    waits = []
    for _ in range(100):
        time.sleep(STEP_S)
        begun = time.perf_counter()
        prefetch.take()
        waits.append(time.perf_counter() - begun)
    prefetch.close()
    return statistics.median(waits) / STEP_S


def own_memory() -> int:
    """Bytes of this process that are no mapped file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def first_batch(path: str, with_torch: str) -> None:
    """In a process of its own: seconds to the first batch, and bytes it took; ours or a shuffle."""
    tokens = np.load(path, mmap_mode="r")
    before, wall, cpu = own_memory(), time.perf_counter(), time.process_time()
    if with_torch == "yes":
        order = iter(RandomSampler(range(len(tokens) - T)))  # lives as long as the epoch
        next(order)
    else:
        windows = Windows(tokens, T, 1, 1)
        as_tensor(windows.batch(0, B))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if with_torch != "yes":
        for number in range(300):
            as_tensor(windows.batch(number * B, B))
    print(wall, cpu, own_memory() - before)


def firsts(folder: Path, n_shuffled: int) -> str:
    """The first batch at stride 1 of a file of 1 G tokens, which is sparse: it holds zeros."""
    rows = []
    for title, n_tokens, with_torch, repeats in (
        ("ours", HUGE, "no", 5),
        ("the shuffled list of a DataLoader", n_shuffled, "yes", 1),
    ):
        path = folder / f"{n_tokens}.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=(n_tokens,)).flush()
        command = [sys.executable, "-m", "benchmarks.loader", "--first", str(path), with_torch]
        told = [
            [float(word) for word in subprocess.check_output(command, text=True).split()]
            for _ in range(repeats)
        ]
        wall, cpu, taken = (statistics.median(column) for column in zip(*told, strict=True))
        rows.append(
            f"| {title}, {n_tokens / 1e6:,.0f} M windows | {wall:.4f} | {cpu:.4f} | "
            f"{taken / 1e6:,.1f} |"
        )
    head = "| what | seconds | CPU seconds | MB of its own memory |\n|---|---|---|---|"
    return "\n".join(["## First batch at stride 1\n", head, *rows, ""])


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--first", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.first:
        first_batch(*options.first)
        return
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        path = Path(folder) / "train.npy"
        rng = np.random.default_rng(1)
        np.save(path, rng.integers(0, 32_000, options.tokens, dtype=np.uint16))
        sections = [speed(options, path), firsts(Path(folder), options.tokens // 10)]
        waited = wait(path)
    sections.append(
        f"## Wait\n\nWith batches prefetched and a step of {1000 * STEP_S:.0f} ms, a step waits "
        f"{100 * waited:.3f} % of its time for its batch (median of 100).\n"
    )
    notes = [
        "Random tokens, warm file cache; windows were compared with slices before timing",
        "Every side ends with an int64 tensor; ours has the seeded order and the position for resume",
        "The second DataLoader reads a whole batch in one `__getitem__`, as torch's page on loading "
        "batched data says (`batch_size=None` and a BatchSampler)",
        "Own memory: what is no mapped file (RssAnon), after the first batch and 300 more; the "
        "file of 1 G tokens is sparse",
        "CPU seconds decide, threads included: the machine was shared",
    ]
    report.save("loader", "Batches beside DataLoader and nanoGPT", sections, notes)


if __name__ == "__main__":
    main()

"""Batches of windows beside a torch DataLoader and nanoGPT's get_batch."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks import report
from sllm_core.dataset import Windows

B, T = 32, 512


class Items(Dataset):
    """One window an item, as a DataLoader's tutorial has it."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        """Windows at stride T."""
        return (len(self.tokens) - 1) // T

    def __getitem__(self, index: int) -> torch.Tensor:
        """(T + 1,) of int64."""
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


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=100_000_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    n = options.batches
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        path = Path(folder) / "train.npy"
        rng = np.random.default_rng(1)
        np.save(path, rng.integers(0, 32_000, options.tokens, dtype=np.uint16))
        tokens = np.load(path, mmap_mode="r")
        windows = Windows(tokens, T, T, 1)
        batch = as_tensor(windows.batch(5, B))
        for line, start in zip(batch, windows.starts(5, B), strict=True):
            assert line.tolist() == tokens[start : start + T + 1].tolist()
        items = Items(tokens)
        loader = DataLoader(items, batch_size=B, shuffle=True, num_workers=0, drop_last=True)
        generator = torch.Generator().manual_seed(1)

        def ours() -> None:
            for number in range(n):
                as_tensor(windows.batch(number * B, B))

        def ahead() -> None:
            prefetch = windows.prefetch(0, B)
            for _ in range(n):
                as_tensor(prefetch.take())
            prefetch.close()

        def by_loader() -> None:
            for number, _ in enumerate(loader, start=1):
                if number == n:
                    break

        def by_get_batch() -> None:
            for _ in range(n):
                get_batch(path, generator)

        timings = report.interleave(
            {
                "DataLoader, w=0, per item": by_loader,
                "nanoGPT's get_batch": by_get_batch,
                "ours": ours,
                "ours, prefetched": ahead,
            },
            options.rounds,
        )
        first = []
        for _ in range(5):
            begun = time.process_time()
            as_tensor(Windows(tokens, T, 1, 1).batch(0, B))
            first.append(time.process_time() - begun)
        small = np.load(path, mmap_mode="r")[: options.tokens // 10]
        begun = time.process_time()
        next(iter(torch.randperm(len(small)).tolist()))
        shuffled = time.process_time() - begun
    table = report.table(timings, n, "DataLoader, w=0, per item").replace("tokens/", "batches/")
    sections = [
        f"## {options.tokens / 1e6:.0f} M tokens, B {B}, T {T}, {n} batches, {options.rounds} "
        f"rounds\n\n{table}\n",
        "## First batch at stride 1\n\n| what | CPU seconds |\n|---|---|\n"
        f"| ours, {options.tokens / 1e6:.0f} M windows, median of 5 | "
        f"{statistics.median(first):.4f} |\n"
        f"| the shuffled list that a DataLoader makes, {len(small) / 1e6:.0f} M windows | "
        f"{shuffled:.2f} |\n",
    ]
    notes = [
        "Random tokens, warm file cache; windows were compared with slices before timing",
        "Every side ends with an int64 tensor; ours has the seeded order and the position for resume",
        "CPU seconds decide, threads included: the machine was shared",
    ]
    report.save("loader", "Batches beside DataLoader and nanoGPT", sections, notes)


if __name__ == "__main__":
    main()

"""Encoding beside tiktoken, tokenizers and gigatoken, bare and whole; the memory of prepare."""

import argparse
import contextlib
import functools
import importlib.metadata
import json
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
import tokenizers

from benchmarks import report
from sllm_core import encode, engines, tokenizer
from sllm_core import project as projects
from sllm_core.config import ProjectConfig, with_values
from sllm_core.corpus.division import TRAIN
from sllm_core.corpus.index import Index
from sllm_core.corpus.store import Texts
from sllm_core.jobs import pipeline
from sllm_core.tokenizer import Tokenizer

EOS = 3
SUFFIXES = {".py", ".txt", ".md", ".rst", ".c", ".h", ".js", ".css", ".pm", ".pyi", ""}
SIZES = range(2_000, 100_000)  # bytes of a file
# Peaks in MiB: after the scan, of the whole prepare, of the child that trains the tokenizer.
CHILD = """
import json, pathlib, resource, sys
from sllm_core import project as projects
from sllm_core.jobs import pipeline
status = pathlib.Path("/proc/self/status")  # ru_maxrss would be the parent's
peak = lambda: int(status.read_text().partition("VmHWM:")[2].split()[0]) // 1024
project = projects.open_project(sys.argv[1])
told = {"at start": peak()}
real = pipeline._encode
def note(*args):
    told["before encoding"] = peak()
    return real(*args)
pipeline._encode = note
manifest, used = pipeline.prepare(project, project.load_config(), pipeline.Job(lambda _: None))
told["while encoding"] = peak()
told["largest child"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(json.dumps([told, manifest.train_tokens + manifest.val_tokens,
    manifest.train_text_bytes + manifest.val_text_bytes, used.vocab_size, used.engine]))
"""


def measure_memory(place: Path, root: Path, vocab_size: int) -> str:
    """Peak memory of the processes of one `prepare` over a large tree."""
    config = with_values(ProjectConfig(), {"target_vocab_size": vocab_size})
    projects.create(place, [str(root)], config)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, place], capture_output=True, text=True, check=True
    )
    told, n_tokens, n_bytes, vocab_size, engine = json.loads(done.stdout.splitlines()[-1])
    lines = [
        f"## Peak memory of prepare, {n_bytes / 1e6:.0f} MB of text, {n_tokens / 1e6:.1f} M tokens, "
        f"vocabulary {vocab_size:,}, {engine}\n",
        "| process, peak so far | MiB |\n|---|---|",
        *(f"| {name} | {mib:,} |" for name, mib in told.items()),
    ]
    return "\n".join(lines) + "\n"


def usual_roots() -> list[Path]:
    """Python's own files, those of the installed packages, and the documents of the system."""
    paths = sysconfig.get_paths()
    found = [Path(paths["stdlib"]), Path(paths["purelib"]), Path("/usr/share/doc")]
    return list(dict.fromkeys(found))


def choose_files(roots: list[Path], limit_bytes: int) -> list[Path]:
    """A fixed random choice of text files that a cleaner leaves as they are."""
    found = sorted(
        path
        for root in roots
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.is_symlink() and path.is_file()
    )
    random.Random(1).shuffle(found)
    chosen, total = [], 0
    for path in found:
        data = path.read_bytes() if path.stat().st_size in SIZES else b""
        if not data or b"\r" in data or b"\0" in data or data.startswith(b"\xef\xbb\xbf"):
            continue
        with contextlib.suppress(UnicodeDecodeError):
            data.decode("utf-8")
            chosen.append(path)
            total += len(data)
        if total > limit_bytes:
            break
    return chosen


def learn(files: list[Path], vocab_size: int) -> Tokenizer:
    """A tokenizer of other files than those that are encoded."""
    texts = (tokenizer.training_piece(path.read_text(encoding="utf-8")) for path in files)
    return tokenizer.train(texts, vocab_size)


def batches(documents: list[bytes]) -> Iterator[list[bytes]]:
    """As large as the product makes them."""
    batch: list[bytes] = []
    n_bytes = 0
    for data in documents:
        batch.append(data)
        n_bytes += len(data)
        if n_bytes >= encode.BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


class Cold:
    """Gives gigatoken a new memory of words for every round: nobody encodes a text twice.

    The objects are made beforehand, as those of the other libraries are.
    """

    def __init__(self, made: Tokenizer, n_rounds: int) -> None:
        self.made = made
        engine: Any = made._ladder.engine
        n = n_rounds + 2 if made.engine == "gigatoken" else 0
        self._fresh = [engine._load() for _ in range(n)]
        self._used: list[object] = []

    def __call__(self) -> Tokenizer:
        """The tokenizer without the words of before."""
        if self._fresh:
            engine: Any = self.made._ladder.engine
            self._used.append(engine._backend)
            engine._backend = self._fresh.pop()
        return self.made


def by_rung(content: dict[str, Any]) -> dict[str, Tokenizer]:
    """The tokenizer with each encoder that is installed."""
    made = {name: Tokenizer(content, [name]) for name in engines.LADDER}
    return {name: one for name, one in made.items() if one.engine == name}


def measure_engines(
    rungs: dict[str, Tokenizer], files: list[Path], n_peer_bytes: int, n_rounds: int
) -> str:
    """`Tokenizer.encode_batch` over bytes in memory, by each rung; the slowest over a part."""
    documents = [path.read_bytes() for path in files]
    parts = list(batches(documents))
    few = parts[: max(1, n_peer_bytes // encode.BATCH_BYTES)]
    for part in few:
        flat, lengths = rungs["tokenizers"].encode_batch(part)
        for made in rungs.values():
            mine = made.encode_batch(part)
            assert np.array_equal(mine[0], flat)
            assert np.array_equal(mine[1], lengths)

    def run(cold: Cold, parts: list[list[bytes]]) -> None:
        made = cold()
        for part in parts:
            made.encode_batch(part)

    chosen = {name: few if name == "tokenizers" else parts for name in rungs}
    sizes = {name: sum(len(d) for part in some for d in part) for name, some in chosen.items()}
    sides: dict[str, Callable[[], object]] = {
        name: functools.partial(run, Cold(made, n_rounds), chosen[name])
        for name, made in rungs.items()
    }
    timings = report.interleave(sides, n_rounds)
    peers = [name for name in rungs if name != "gigatoken"]
    title = f"## `encode_batch` alone, {len(files):,} documents, {n_rounds} rounds"
    return f"{title}\n\n{rates(timings, sizes, peers)}\n"


class Bare:
    """The libraries as their documentation advises: files -> one file of tokens."""

    def __init__(self, made: Tokenizer, paths: list[Path], out: Path) -> None:
        self._paths, self._out = paths, out
        self._tiktoken = tiktoken.Encoding(
            "bare",
            pat_str=tokenizer.PATTERNS[made.split],
            mergeable_ranks=made.ranks(),
            special_tokens={},
        )
        self._tokenizers = tokenizers.Tokenizer.from_str(tokenizer.canonical_json(made.content))
        self._tokenizers.encode_special_tokens = True

    def tiktoken(self) -> None:
        """One file after another, by the quicker of its two calls (`encode_to_numpy`: 0.6x)."""
        with self._out.open("wb") as file:
            for path in self._paths:
                ids = self._tiktoken.encode_ordinary(path.read_text(encoding="utf-8"))
                file.write(np.array([*ids, EOS], "<u2"))

    def tiktoken_batch(self) -> None:
        """In batches with two threads."""
        self._in_batches(lambda texts: self._tiktoken.encode_ordinary_batch(texts, num_threads=2))

    def tokenizers_batch(self) -> None:
        """`encode_batch_fast`."""
        fast = self._tokenizers.encode_batch_fast
        self._in_batches(
            lambda texts: [found.ids for found in fast(texts, add_special_tokens=False)]
        )

    def _in_batches(self, run: Callable[[list[str]], list[list[int]]]) -> None:
        with self._out.open("wb") as file:
            for first in range(0, len(self._paths), 256):
                some = self._paths[first : first + 256]
                for ids in run([path.read_text(encoding="utf-8") for path in some]):
                    file.write(np.array([*ids, EOS], "<u2"))


def rates(timings: dict[str, report.Timing], sizes: dict[str, int], peers: list[str]) -> str:
    """A row a side with its own amount of text; ratios of medians of bytes a CPU second."""
    mean = {n: sizes[n] / 1e6 / statistics.median(t.cpu_s) for n, t in timings.items()}
    heads = " | ".join(f"against {peer}" for peer in peers)
    lines = [f"| what | MB | MB/CPU-second | spread | MB/second | {heads} |"]
    lines.append("|---" * (5 + len(peers)) + "|")
    for name, timing in timings.items():
        mb = sizes[name] / 1e6
        low, high = mb / max(timing.cpu_s), mb / min(timing.cpu_s)
        ratios = " | ".join(f"{mean[name] / mean[peer]:.2f}x" for peer in peers)
        wall = mb / statistics.median(timing.wall_s)
        lines.append(
            f"| {name} | {mb:.1f} | {mean[name]:.1f} | {low:.1f}-{high:.1f} | {wall:.1f} | {ratios} |"
        )
    return "\n".join(lines)


def measure_product(
    place: Path, rungs: dict[str, Tokenizer], files: list[Path], n_peer_bytes: int, n_rounds: int
) -> str:
    """Files -> token files: the product's own `Builder` beside the bare libraries.

    The bare libraries remember nothing from text to text, so a part of the files is enough for
    them, and for the slowest rung of ours.
    """
    folder = place.with_name("files")
    folder.mkdir()
    for number, path in enumerate(files):
        (folder / f"{number:06d}{path.suffix or '.txt'}").write_bytes(path.read_bytes())
    project = projects.create(place, [str(folder)], ProjectConfig())
    config = project.load_config()
    pipeline.scan(project, config, pipeline.Job(lambda _: None))
    with Index(project.db_path) as index:
        texts = Texts.of(project, config)
        rows = list(index.used_files())
        paths = [texts.place(row) for row in rows]
        ends = np.cumsum([path.stat().st_size for path in paths])
        assert ends[-1] == sum(row.text_bytes or 0 for row in rows)  # cleaning changed nothing
        n_peer = int(np.searchsorted(ends, n_peer_bytes)) or 1
        units, division = pipeline.divide(index, config)
        division.sides[:] = TRAIN  # so that the order is that of the files

        def build(cold: Cold) -> None:
            index.forget_cache()
            encode.Builder(
                project, index, cold(), texts=texts, units=units, division=division,
                threads=2, on_progress=lambda *_: None, check=lambda: None,
            ).build()  # fmt: skip

        bare = Bare(next(iter(rungs.values())), paths[:n_peer], place / "out.bin")
        sides: dict[str, Callable[[], object]] = {
            "tiktoken, encode_ordinary": bare.tiktoken,
            "tiktoken, encode_ordinary_batch": bare.tiktoken_batch,
            "tokenizers, encode_batch_fast": bare.tokenizers_batch,
        }
        sizes = dict.fromkeys(sides, int(ends[n_peer - 1]))
        expected = set()
        for run in sides.values():
            run()
            expected.add((place / "out.bin").read_bytes())
        (first,) = expected
        quick = {n: made for n, made in rungs.items() if n != "tokenizers"}
        ours = {f"ours, {n}": Cold(made, n_rounds) for n, made in quick.items()}
        whole = set()
        for cold in ours.values():
            build(cold)
            whole.add(np.load(project.data_dir / "train.npy").tobytes())
        assert next(iter(whole)).startswith(first)
        assert len(whole) == 1
        peers = list(sides)
        sides |= {name: functools.partial(build, cold) for name, cold in ours.items()}
        sizes |= dict.fromkeys(ours, int(ends[-1]))
        timings = report.interleave(sides, n_rounds)
    title = f"## Files to a token file, {len(rows):,} files of {ends[-1] / len(rows) / 1000:.1f} kB"
    return f"{title}, {n_rounds} rounds\n\n{rates(timings, sizes, peers)}\n"


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--peer-megabytes", type=float, default=12)
    parser.add_argument("--root", type=Path, action="append")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of prepare")
    options = parser.parse_args()
    roots = options.root or usual_roots()
    learnt, limit, part = (
        10_000_000,
        int(options.megabytes * 1e6),
        int(options.peer_megabytes * 1e6),
    )
    files = choose_files(roots, limit + learnt)
    n = int(np.searchsorted(np.cumsum([path.stat().st_size for path in files]), learnt))
    made = learn(files[:n], options.vocab_size)
    rungs = by_rung(made.content)
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        place = Path(folder) / "project"
        sections = [measure_product(place, rungs, files[n:], part, options.rounds)]
        sections.append(measure_engines(rungs, files[n:], part, options.rounds))
        if options.memory:
            place = Path(folder) / "memory"
            sections.append(measure_memory(place, roots[-1], options.vocab_size))
    notes = [
        "Encoders: "
        + ", ".join(
            f"{name} {importlib.metadata.version(name)}" for name in rungs if name != "bytes"
        ),
        f"Tokenizer: {made.vocab_size:,} tokens, split {made.split}, learnt from other files",
        f"Files: a fixed choice of text files below {', '.join(root.name for root in roots)}, of "
        f"{SIZES.start:,} to {SIZES.stop:,} bytes, warm file cache; all results are equal byte for byte",
        "gigatoken begins every round without remembered words; ours is the product's Builder with two "
        "threads, which also proves, hashes and keeps each text for the next time",
        "CPU seconds decide, threads included: the machine was shared",
    ]
    report.save("encode", "Encoding files beside tiktoken and tokenizers", sections, notes)


if __name__ == "__main__":
    main()

"""Finding near copies beside rensa and datasketch; 100,000 documents; contamination.

The peers are not needed by the app. To get them:
``python -m pip install --target benchmarks/.peers --no-deps rensa==0.5.0 datasketch==2.0.0``
and, for datasketch, ``scipy==1.17.1`` in the same way.
"""

import argparse
import re
import statistics
import sys
import sysconfig
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash

from benchmarks import report
from sllm_core.corpus import clusters
from sllm_core.corpus.dedup import SIGNATURE, Similarities, candidates, signatures
from sllm_core.corpus.leaks import Targets

sys.path.append(str(Path(__file__).parent / ".peers"))
import datasketch
import rensa

THRESHOLD = 0.8
TOKEN = re.compile(r"\w+|[^\w\s]")
Pairs = set[tuple[int, int]]


def edited(text: bytes, rng: np.random.Generator) -> bytes:
    """The text with 2 to 20 % of its lines, in runs of four, deleted, replaced or pushed down."""
    lines = text.splitlines(keepends=True)
    n_runs = max(1, round(len(lines) * rng.uniform(0.02, 0.2) / 4))
    for i in sorted(rng.integers(0, len(lines), n_runs).tolist(), reverse=True):
        fresh = [
            b"    new_%d = call(%d, key)\n" % tuple(rng.integers(0, 10**6, 2)) for _ in range(4)
        ]
        lines[i : i + 4] = [[], fresh, fresh + lines[i : i + 4]][rng.integers(3)]
    return b"".join(lines)


def plant(files: list[bytes], n_files: int, n_copies: int) -> tuple[list[bytes], Pairs]:
    """(files and edited copies of some, (number of a file, of its copy))."""
    rng = np.random.default_rng(0)
    files = [files[i] for i in rng.choice(len(files), n_files, replace=False)]
    sources = rng.choice(n_files, n_copies, replace=False).tolist()
    copies = [edited(files[i], rng) for i in sources]
    return files + copies, {(i, n_files + k) for k, i in enumerate(sources)}


def plain_set(text: bytes, n: int = 5) -> set[tuple[bytes, ...]]:
    """Runs of ``n`` tokens with Python alone: what results are checked with."""
    tokens = re.findall(rb"[A-Za-z0-9_]+|[^A-Za-z0-9_\s\0]", text)
    return set(zip(*(tokens[i:] for i in range(n)), strict=False))


def shingled(text: bytes) -> list[str]:
    """Five tokens joined, the quickest way in Python that we know: what a user of a peer writes."""
    tokens = TOKEN.findall(text.decode())
    return list(map(" ".join, zip(*(tokens[i:] for i in range(5)), strict=False)))


def ours(texts: list[bytes], threshold: float = THRESHOLD) -> Pairs:
    """Signatures, candidates, true Jaccard."""
    pairs = candidates(signatures(texts)[1], threshold)
    similarity = Similarities(texts.__getitem__)(pairs)
    return {tuple(pair) for pair in pairs[similarity >= threshold].tolist()}


def by_rensa(texts: list[bytes]) -> Pairs:
    """Its batch signatures and its index, which gives the pairs."""
    sketches = rensa.RMinHash.from_token_sets(map(shingled, texts), num_perm=128, seed=42)
    index = rensa.RMinHashLSH(threshold=THRESHOLD, num_perm=128, num_bands=16)
    found = set()
    for number, sketch in enumerate(sketches):
        found.update((other, number) for other in index.query(sketch))
        index.insert(number, sketch)
    return found


def by_rensa_flags(texts: list[bytes]) -> int:
    """Its documentation's way to keep unique documents; how many it drops, no pairs."""
    kept = rensa.RMinHashDeduplicator(threshold=THRESHOLD, num_perm=128, use_lsh=True)
    return kept.add_pairs((str(i), shingled(text)) for i, text in enumerate(texts)).count(False)


def by_datasketch(texts: list[bytes]) -> Pairs:
    """`MinHash.bulk`, which its documentation names for many sets, and its index, which gives the pairs."""
    sets = ([piece.encode() for piece in shingled(text)] for text in texts)
    sketches = datasketch.MinHash.bulk(sets, num_perm=128)
    index = datasketch.MinHashLSH(threshold=THRESHOLD, num_perm=128)
    found = set()
    for number, sketch in enumerate(sketches):
        found.update((other, number) for other in index.query(sketch))
        index.insert(number, sketch)
    return found


def compare(files: list[bytes], n_rounds: int) -> str:
    """Equal work on planted copies: recall and false pairs first, then processor seconds."""
    texts, planted = plant(files, 900, 400)
    sets = [plain_set(text) for text in texts]

    def similarity(pair: tuple[int, int]) -> float:
        one, other = (sets[i] for i in pair)
        return len(one & other) / len(one | other)

    near = {pair for pair in planted if similarity(pair) >= THRESHOLD}
    sides: dict[str, Callable[[list[bytes]], Pairs]] = {
        "rensa 0.5.0, batch + index": by_rensa,
        "datasketch 2.0.0, bulk + index": by_datasketch,
        "ours, verified": ours,
    }
    lines = [
        "| what | recall of planted J >= 0.8 | pairs | of them J < 0.8 | J < 0.7 |",
        "|---" * 5 + "|",
    ]
    for name, run in sides.items():
        found = run(texts)
        true = [similarity(pair) for pair in found]
        wrong, very = (sum(s < limit for s in true) for limit in (THRESHOLD, 0.7))
        recall = f"{len(near & found)} of {len(near)}"
        lines.append(f"| {name} | {recall} | {len(found)} | {wrong} | {very} |")
        assert len(near & found) >= 0.75 * len(near), name  # the peers estimate
        if run is ours:
            assert len(near & found) >= 0.99 * len(near)
            assert not wrong
    n_dropped = by_rensa_flags(texts)
    assert n_dropped >= 0.6 * len(near), n_dropped  # it drops at an estimate of 0.8
    timings = report.interleave(
        {
            **{name: lambda run=run: run(texts) for name, run in sides.items()},
            "rensa 0.5.0, RMinHashDeduplicator (which to keep, no pairs)": lambda: by_rensa_flags(
                texts
            ),
            "shingles in Python alone, as the peers need them": lambda: [
                shingled(t) for t in texts
            ],
            "ours, signatures alone": lambda: signatures(texts),
        },
        n_rounds,
    )
    size = sum(map(len, texts))
    table = report.table(timings, len(texts), "ours, verified").replace("tokens/", "files/")
    title = f"## {len(texts):,} documents, {size / 1e6:.1f} MB, 400 planted edits of 2-20 % of the lines"
    cpu = {name: statistics.median(timing.cpu_s) for name, timing in timings.items()}
    ratios = [f"{cpu[name] / cpu['ours, verified']:.1f}x {name}" for name in list(sides)[:2]]
    size = size / cpu["ours, signatures alone"] / 1e6
    rate = f"Ours is {' and '.join(ratios)}. Signatures alone: {size:.0f} MB/CPU-second."
    return "\n".join([title, "", *lines, "", table, "", rate, ""])


def inserted_lines(files: list[bytes]) -> str:
    """One new line at a random place of a file of 200 tokens or more."""
    rng = np.random.default_rng(1)
    alike = []
    for text in files:
        if signatures([text])[0][0] < 200:
            continue
        lines = text.splitlines(keepends=True)
        lines.insert(
            int(rng.integers(len(lines) + 1)), b"    value = another(that, nobody, uses)\n"
        )
        one, other = plain_set(text), plain_set(b"".join(lines))
        alike.append(len(one & other) / len(one | other))
    n_above = sum(value > 0.9 for value in alike)
    return f"One inserted line: {n_above} of {len(alike)} files stay above 0.9 (least {min(alike):.2f}).\n"


def at_scale(files: list[bytes], n: int, n_lines: int) -> str:
    """Everything from texts to clusters and keepers for ``n`` documents of random lines."""
    rng = np.random.default_rng(2)
    lines = b"".join(files).splitlines(keepends=True)
    seconds: dict[str, float] = {}

    def text(number: int) -> bytes:
        source = number if number % 10 else number // 10  # a tenth are copies with another line
        at = np.random.default_rng(source).integers(0, len(lines), n_lines)
        return b"".join([lines[i] for i in at]) + (b"" if source == number else b"# a copy\n")

    def timed(name: str, run: Callable[[], object]) -> object:
        start = time.process_time()
        result = run()
        seconds[name] = seconds.get(name, 0) + time.process_time() - start
        return result

    size = 0
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        table = np.memmap(Path(folder) / "signatures", SIGNATURE, "w+", shape=(n, 128))
        for first in range(0, n, 500):
            texts = [text(i) for i in range(first, min(first + 500, n))]
            size += sum(map(len, texts))
            _, table[first : first + 500] = timed(
                "signatures", lambda texts=texts: signatures(texts)
            )
        pairs = timed("candidates", lambda: candidates(table, 0.9))
        numbers = np.unique(pairs)
        cache = {i: text(i) for i in numbers.tolist()}  # making them is no part of the work
        similar = Similarities(cache.__getitem__)
        similarity = timed("true similarity", lambda: similar(pairs))
        pairs, similarity = pairs[similarity >= 0.9], similarity[similarity >= 0.9]
        hashes = np.frombuffer(rng.bytes(16 * n), "V16")
        new, sides = np.zeros(n, "V16"), np.zeros(n, np.int8)

        def group() -> clusters.Twins:
            found = clusters.assign(hashes, pairs, similarity, new, sides)
            labels = np.unique(found.clusters.view("S16"), return_inverse=True)[1]
            order = clusters.ranks(np.full(n, 50), np.full(n, 20))
            return clusters.keepers(
                np.arange(n), labels, order, 0.9, similar, pairs=pairs, similarity=similarity
            )

        twins = timed("clusters and keepers", group)
        tracemalloc.start()
        candidates(table, 0.9)
        group()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    n_expected = sum(i // 10 % 10 > 0 for i in range(10, n, 10))
    n_near = int((twins.kind == clusters.NEAR).sum())
    assert n_near >= 0.99 * n_expected, (n_near, n_expected)
    rows = [f"| {name} | {value:.1f} |" for name, value in seconds.items()]
    return "\n".join(
        [
            f"## {n:,} documents of {size / n / 1e3:.1f} kB, threshold 0.9\n",
            "| step | CPU s |",
            "|---|---|",
            *rows,
            f"| all | {sum(seconds.values()):.1f} |",
            f"\n{n_near:,} near copies found ({n_expected:,} planted). Memory beside the mapped "
            f"signatures (512 bytes a document): {peak / n:.0f} bytes a document.\n",
        ]
    )


def contamination(files: list[bytes], n_rounds: int) -> str:
    """13-token passages of a tenth of the files looked for in the others."""
    targets, others = files[::10], [text for i, text in enumerate(files) if i % 10]

    def scan() -> Targets:
        watch = Targets()
        for text in targets:
            watch.add(text)
        watch.scan(enumerate(others))
        return watch

    found = scan().overlaps()
    passages = [plain_set(text, 13) for text in others]
    seen = set().union(*passages)
    for text, overlap in zip(targets, found, strict=True):
        wanted = plain_set(text, 13)
        assert (overlap.n_grams, overlap.n_found) == (len(wanted), len(wanted & seen))
        assert overlap.n_from_source == max(len(wanted & others) for others in passages)
    timings = report.interleave({"ours": scan}, n_rounds)
    cpu, size = timings["ours"].cpu_s, sum(map(len, files))
    return (
        f"## Contamination, {len(targets)} targets, {len(others)} training texts\n\n"
        f"{size / statistics.median(cpu) / 1e6:.0f} MB/CPU-second ({size / max(cpu) / 1e6:.0f}-"
        f"{size / min(cpu) / 1e6:.0f}) over all {size / 1e6:.1f} MB, targets included; "
        "each share equals that of plain sets.\n"
    )


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--lines", type=int, default=40)
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_paths()["stdlib"]))
    options = parser.parse_args()
    paths = sorted(p for p in options.root.rglob("*.py") if "site-packages" not in p.parts)
    texts = [path.read_bytes() for path in paths]
    texts = list({xxhash.xxh3_128_digest(text): text for text in texts}.values())
    texts = [text for text in texts if text.isascii() and b"\0" not in text]
    usual = [text for text in texts if 2_000 < len(text) < 60_000]
    sections = [
        compare(usual, options.rounds),
        inserted_lines(texts),
        at_scale(texts, options.documents, options.lines),
        contamination(usual, options.rounds),
    ]
    notes = [
        f"Peers: rensa 0.5.0, datasketch 2.0.0; numpy {np.__version__}, xxhash {xxhash.VERSION}",
        "Texts: ASCII files of Python's standard library, warm; the peers get 5-token shingles",
        "Recall, false pairs and shares are checked with Python's own sets before timing",
        "CPU seconds decide: the machine was shared",
    ]
    report.save("dedup", "Near copies beside rensa and datasketch", sections, notes)


if __name__ == "__main__":
    main()

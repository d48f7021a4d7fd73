"""Training a tokenizer beside bare tokenizers: merges, CPU seconds, peak memory, cancelling."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tokenizers

from benchmarks import report
from benchmarks.encode import choose_files, usual_roots
from sllm_core.fmt import duration

# Each side in a process of its own; documents are read while they are fed.
OURS = """
import json, pathlib, sys, time
from sllm_core import tokenizer
names, size, out = json.load(open(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
status = pathlib.Path("/proc/self/status")  # ru_maxrss would be the parent's
peak = lambda: int(status.read_text().partition("VmHWM:")[2].split()[0]) // 1024
told = {"MiB at start": peak()}
def note(phase):
    told[f"s until {phase}"] = time.perf_counter() - begun
    told[f"MiB until {phase}"] = peak()
def feed():
    for name in names:
        yield tokenizer.training_piece(pathlib.Path(name).read_text(encoding="utf-8"))
begun = time.perf_counter()
made = tokenizer.train(feed(), size, on_phase=note, on_bytes=lambda n: told.update(bytes=n))
told |= {"cpu": time.process_time(), "wall": time.perf_counter() - begun, "MiB": peak()}
json.dump([told, made.content["model"]["merges"]], open(out, "w"))
"""
BARE = """
import json, pathlib, sys, time
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from sllm_core.tokenizer import PATTERNS, training_piece
names, size, out = json.load(open(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
status = pathlib.Path("/proc/self/status")  # ru_maxrss would be the parent's
peak = lambda: int(status.read_text().partition("VmHWM:")[2].split()[0]) // 1024
told = {"MiB at start": peak()}
library = Tokenizer(models.BPE())
library.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(PATTERNS["llama3"]), "isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
trainer = trainers.BpeTrainer(
    vocab_size=size - 16, min_frequency=2, max_token_length=64, show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
def feed():
    for name in names:
        yield training_piece(pathlib.Path(name).read_text(encoding="utf-8"))
begun = time.perf_counter()
library.train_from_iterator(feed(), trainer)
told |= {"cpu": time.process_time(), "wall": time.perf_counter() - begun, "MiB": peak()}
json.dump([told, json.loads(library.to_str())["model"]["merges"]], open(out, "w"))
"""


def run(program: str, names: Path, size: int, out: Path) -> tuple[dict[str, float], list[object]]:
    """One training; what it took and its merges."""
    subprocess.run([sys.executable, "-c", program, names, str(size), out], check=True)
    told, merges = json.loads(out.read_text(encoding="utf-8"))
    return told, merges


def measure_cancel(names: Path, size: int, out: Path, after_s: float) -> float:
    """Seconds from the wish to stop until the process is gone."""
    child = subprocess.Popen([sys.executable, "-c", OURS, names, str(size), out])
    time.sleep(after_s)
    assert child.poll() is None
    begun = time.perf_counter()
    child.terminate()
    child.wait()
    return time.perf_counter() - begun


def measure(files: list[Path], size: int, n_rounds: int) -> str:
    """Both sides in turn over the same files, and a training that is cancelled."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "bare tokenizers": []}
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        names, out = Path(folder) / "names.json", Path(folder) / "out.json"
        names.write_text(json.dumps([str(path) for path in files]), encoding="utf-8")
        for _ in range(n_rounds):
            ours, our_merges = run(OURS, names, size, out)
            bare, its_merges = run(BARE, names, size, out)
            assert our_merges == its_merges
            found["ours"].append(ours)
            found["bare tokenizers"].append(bare)
            print(ours, bare, flush=True)
        out.unlink()
        cancel_s = measure_cancel(names, size, out, 0.7 * ours["wall"])
        assert not out.exists()
    base = statistics.median(told["cpu"] for told in found["bare tokenizers"])
    lines = [
        "| what | CPU s | spread | wall s | peak MiB (at start) | speed |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        cpu = [row["cpu"] for row in rows]
        wall = statistics.median(row["wall"] for row in rows)
        peak = max(row["MiB"] for row in rows)
        middle = statistics.median(cpu)
        lines.append(
            f"| {name} | {middle:.1f} | {min(cpu):.1f}-{max(cpu):.1f} | {wall:.1f} | {peak:,.0f} "
            f"({rows[0]['MiB at start']:,.0f}) | {base / middle:.2f}x |"
        )
    n_bytes, n_merges = int(ours["bytes"]), len(our_merges)
    title = f"## {n_bytes / 1e6:.0f} MB, {len(files):,} documents, {n_merges + 272:,} tokens"
    share = statistics.median(row["s until merging"] / row["wall"] for row in found["ours"])
    facts = [
        f"- Merges: {n_merges:,}, 0 different",
        f"- Feeding takes {100 * share:.0f} % of the time and "
        f"{max(row['MiB until merging'] for row in found['ours']):,.0f} MiB; the rest is merging, of "
        "which the library says nothing until it is done",
        f"- Cancelled in the middle of {duration(ours['wall'])}: gone after {cancel_s:.2f} s",
    ]
    return "\n".join([f"{title}, {n_rounds} rounds", "", *lines, "", *facts, ""])


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab-size", type=int, default=50_000)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--large", type=float, default=0, help="MB, one round, for the memory")
    parser.add_argument("--root", type=Path, action="append")
    options = parser.parse_args()
    roots = options.root or usual_roots()
    sections = []
    for megabytes, n_rounds in ((options.megabytes, options.rounds), (options.large, 1)):
        if megabytes:
            files = choose_files(roots, int(megabytes * 1e6))
            sections.append(measure(files, options.vocab_size, n_rounds))
    notes = [
        f"Versions: tokenizers {tokenizers.__version__}",
        "Ours is `BpeTrainer` of tokenizers with special ids in front: equal by construction. The "
        "comparison guards that feeding and reading the result back cost nothing",
        "CPU seconds of the whole process, its start included; reading the files is part of both",
        f"Files: a fixed choice below {', '.join(root.name for root in roots)}; where these hold "
        "copies of packages, texts occur twice, so that there are fewer different words",
    ]
    report.save("bpe_train", "Training a tokenizer beside tokenizers", sections, notes)


if __name__ == "__main__":
    main()

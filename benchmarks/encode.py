"""Encoding whole files beside bare tiktoken and tokenizers, and the memory that prepare takes."""

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
import tiktoken
import tokenizers

from benchmarks import report
from sllm_core import encode, tokenizer
from sllm_core import project as projects
from sllm_core.config import ProjectConfig, with_values
from sllm_core.corpus.index import Index
from sllm_core.corpus.sources import file_path
from sllm_core.jobs import pipeline

EOS = 3
# Peaks in MiB: after the scan, of the whole prepare, of the child that trains the tokenizer.
CHILD = """
import json, pathlib, resource, sys
from sllm_core import project as projects
from sllm_core.jobs import pipeline
peak = lambda who: resource.getrusage(who).ru_maxrss // 1024
project = projects.open_project(sys.argv[1])
told = {"at start": peak(resource.RUSAGE_SELF)}
real = pipeline._encode
def note(*args):
    told["before encoding"] = peak(resource.RUSAGE_SELF)
    return real(*args)
pipeline._encode = note
manifest, used = pipeline.prepare(project, project.load_config(), pipeline.Job(lambda _: None))
told["while encoding"] = peak(resource.RUSAGE_SELF)
told["child that trains the tokenizer"] = peak(resource.RUSAGE_CHILDREN)
print(json.dumps([told, manifest.train_tokens + manifest.val_tokens,
    manifest.train_text_bytes + manifest.val_text_bytes, used.vocab_size]))
"""


def measure_memory(place: Path, root: Path, vocab_size: int) -> str:
    """Peak memory of the processes of one `prepare` over a large tree."""
    config = with_values(ProjectConfig(), {"target_vocab_size": vocab_size})
    projects.create(place, [str(root)], config)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, place], capture_output=True, text=True, check=True
    )
    told, n_tokens, n_bytes, vocab_size = json.loads(done.stdout.splitlines()[-1])
    lines = [
        f"## Peak memory of prepare, {n_bytes / 1e6:.0f} MB of text, {n_tokens / 1e6:.1f} M tokens, "
        f"vocabulary {vocab_size:,}\n",
        "| process, peak so far | MiB |\n|---|---|",
        *(f"| {name} | {mib:,} |" for name, mib in told.items()),
    ]
    return "\n".join(lines) + "\n"


def measure_speed(place: Path, limit_bytes: int, n_rounds: int) -> str:
    """Files -> token file by three encoders, on the first files of the project."""
    project = projects.open_project(place)
    used = tokenizer.load(project.tokenizer_dir / "tokenizer.json")
    roots = pipeline.source_roots(project, project.load_config())
    out = place / "out.bin"
    with Index(project.db_path) as index:
        rows = list(index.used_files())[::7]
        total = 0
        for n_rows, row in enumerate(rows):  # noqa: B007 - the number is used behind the loop
            total += row.text_bytes or 0
            if total > limit_bytes:
                break
        rows = rows[: n_rows + 1]
        rows = [row for row in rows if row.encoding == "utf-8"]
        paths = [file_path(roots[row.source_id], row.path) for row in rows]
        total = sum(row.text_bytes or 0 for row in rows)
        division = encode.Division(0.0, by_sections=False, section_chars=1 << 20, forced={})
        bare = tiktoken.Encoding(
            "bare",
            pat_str=tokenizer.PATTERNS[used.split],
            mergeable_ranks=used.ranks(),
            special_tokens={},
        )
        library = tokenizers.Tokenizer.from_file(str(project.tokenizer_dir / "tokenizer.json"))
        library.encode_special_tokens = True

        def read(path: Path) -> str:
            return path.read_text(encoding="utf-8")

        def ours() -> None:
            index.forget_cache()
            encode.Builder(
                project, index, used, division, roots=roots, threads=2,
                on_progress=lambda *_: None, check=lambda: None,
            ).build(rows)  # fmt: skip

        def by_tiktoken() -> None:
            with out.open("wb") as file:
                for path in paths:
                    ids = bare.encode_to_numpy(read(path), disallowed_special=())
                    file.write(ids.astype("<u2"))
                    file.write(np.array([EOS], "<u2"))

        def by_tokenizers() -> None:
            with out.open("wb") as file:
                for first in range(0, len(paths), 256):
                    texts = [read(path) for path in paths[first : first + 256]]
                    for found in library.encode_batch_fast(texts, add_special_tokens=False):
                        file.write(np.array([*found.ids, EOS], "<u2"))

        sides = {"bare tiktoken": by_tiktoken, "bare tokenizers": by_tokenizers, "ours": ours}
        by_tiktoken()
        first = out.read_bytes()
        by_tokenizers()
        ours()
        assert out.read_bytes() == first
        assert np.load(project.data_dir / "train.npy").tobytes() == first
        timings = report.interleave(sides, n_rounds)
    text = report.table(timings, total // 1000, "bare tiktoken").replace("tokens/", "kB/")
    title = (
        f"## Files to a token file, {len(rows):,} files, {total / 1e6:.1f} MB, {n_rounds} rounds"
    )
    return f"{title}\n\n{text}\n"


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--megabytes", type=float, default=12)
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_paths()["stdlib"]))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        place = Path(folder) / "project"
        memory = measure_memory(place, options.root, options.vocab_size)
        print(memory, flush=True)
        speed = measure_speed(place, int(options.megabytes * 1e6), options.rounds)
    notes = [
        f"Versions: tokenizers {tokenizers.__version__}, tiktoken {tiktoken.__version__}",
        f"Files: {options.root.name}, warm file cache; the three results are equal byte for byte",
        "Ours also cleans, hashes, keeps the cache for the next time and writes the manifest",
        "CPU seconds decide, threads included: the machine was shared",
    ]
    report.save("encode", "Encoding files beside tiktoken and tokenizers", [speed, memory], notes)


if __name__ == "__main__":
    main()

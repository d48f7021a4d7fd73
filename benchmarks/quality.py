"""Scores: files a second beside a bare ast.parse, and how well they tell junk from good files."""

import argparse
import ast
import contextlib
import gzip
import random
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import report
from sllm_core.corpus import languages, likeness, private, quality
from sllm_core.corpus.kinds import classify
from sllm_core.corpus.likeness import Likeness
from tests.junk_helpers import make

MIN_BYTES, MAX_BYTES = 1_000, 1 << 20
# Other names are test data, tables and what programs wrote.
ENDINGS = set(".py .c .h .rs .go .rb .el .pod .rst .md .txt .1 .2 .3 .4 .5 .6 .7 .8".split())
N_SMALL, N_SMALL_JUNK = 60, 12


class Document(NamedTuple):
    """A file as the analysis sees it."""

    name: str
    text: str
    data: bytes
    kind: str
    lang: str
    language: str


def document(name: str, text: str) -> Document:
    """With kind and language, as a scan would find them."""
    kind, lang = classify(name)
    language = languages.detect(text) if kind != "code" else ""
    return Document(name, text, text.encode("utf-8", "replace"), kind, lang, language)


def read(roots: list[Path], n: int, endings: set[str] = ENDINGS, seed: int = 5) -> list[Document]:
    """A stable choice of the text files of 1 KB to 1 MB below some folders."""
    paths = sorted(path for root in roots for path in root.rglob("*") if path.is_file())
    paths = [path for path in paths if Path(path.name.removesuffix(".gz")).suffix in endings]
    random.Random(seed).shuffle(paths)
    found: list[Document] = []
    for path in paths:
        if len(found) >= n:
            break
        with contextlib.suppress(OSError, UnicodeDecodeError, EOFError):
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
            text = text.replace("\r\n", "\n")
            if MIN_BYTES <= len(text) <= MAX_BYTES and "\0" not in text:
                found.append(document(str(path), text))
    return found


def library() -> list[Path]:
    """The folders of the standard library, without what was installed beside it."""
    root = Path(sysconfig.get_paths()["stdlib"])
    return [path for path in root.iterdir() if path.is_dir() and path.name != "site-packages"]


def score(item: Document, model: Likeness | None) -> int:
    """All numbers and all rules."""
    numbers = quality.measure(
        item.text, item.data, item.kind, item.lang, item.name, model, language=item.language
    )
    return quality.judge(numbers, item.kind, item.lang, item.language).score


def auc(good: list[int], bad: list[int]) -> float:
    """Chance that a good file has more points than a junk one; equal points are half a win."""
    ordered = np.sort(np.array(good))
    below = np.searchsorted(ordered, bad, "left") + np.searchsorted(ordered, bad, "right")
    return 1 - float((below / 2 / len(ordered)).mean())


def row(name: str, good: list[int], bad: list[int]) -> str:
    """One line of the table of calibration."""
    low = (
        f"{np.mean(np.array(good) < 50):.1%} | {np.percentile(good, 1):.0f} / {np.median(good):.0f}"
    )
    if not bad:
        return f"| {name} | {len(good):,} | {low} | - | - | - |"
    found = f"{np.mean(np.array(bad) < 50):.1%} | {auc(good, bad):.4f}"
    return f"| {name} | {len(good):,} | {low} | {len(bad):,} | {found} |"


HEADER = "| what | good | below 50 | p1 / median | junk | below 50 | AUC |\n|---|---|---|---|---|---|---|"


def planted(corpora: dict[str, list[Document]], seeds: range) -> list[tuple[str, Document]]:
    """Junk made of the corpora's own prose and Python."""
    everything = [item for items in corpora.values() for item in items]
    prose = [item.text for item in everything if item.kind == "prose" and len(item.text) > 1500]
    code = [item.text for item in everything if item.lang == "python" and "\ndef " in item.text]
    return [
        (what, document(name, text))
        for seed in seeds
        for what, (name, text) in make(
            seed, prose[seed % len(prose)], code[seed % len(code)]
        ).items()
        if len(text) >= MIN_BYTES
    ]


def calibrate(corpora: dict[str, list[Document]]) -> list[str]:
    """Tables for one large corpus, and for many small ones with junk among them."""
    junk, learnt = planted(corpora, range(100, 115)), planted(corpora, range(200, 205))
    # Half of each corpus is in the model, and so is other junk; the other half is judged.
    sample = [item for items in corpora.values() for item in items[::2]]
    sample += [item for _, item in learnt]
    random.Random(1).shuffle(sample)
    model = likeness.build(item.data for item in sample)
    good = {name: [score(item, model) for item in items[1::2]] for name, items in corpora.items()}
    bad: dict[str, list[int]] = defaultdict(list)
    for what, item in junk:
        bad[what].append(score(item, model))
    everything = [points for scores in bad.values() for points in scores]
    lines = [HEADER, *(row(name, scores, everything) for name, scores in good.items())]
    total = [points for scores in good.values() for points in scores]
    lines.append(row("**all**", total, everything))
    share = sum(len(item.data) for _, item in learnt) / max(
        1, sum(len(item.data) for item in sample)
    )
    kinds = [f"{what} {min(scores)}-{max(scores)}" for what, scores in bad.items()]
    large = f"## A large corpus; {share:.0%} of the sampled bytes are junk\n\n" + "\n".join(lines)
    large += "\n\nScores of the junk, least and most: " + "; ".join(kinds)
    return [
        large,
        f"## Small corpora: {N_SMALL} good files and {N_SMALL_JUNK} junk\n\n{_small(corpora)}",
    ]


def _small(corpora: dict[str, list[Document]]) -> str:
    lines, total, everything = [HEADER], [], []
    for i, (name, items) in enumerate(corpora.items()):
        chosen = items[:N_SMALL]
        junk = [item for _, item in planted(corpora, range(300 + i, 301 + i))]
        random.Random(i).shuffle(junk)
        junk = junk[:N_SMALL_JUNK]
        model = likeness.build(item.data for item in [*chosen, *junk])
        good, bad = ([score(item, model) for item in part] for part in (chosen, junk))
        total, everything = total + good, everything + bad
        lines.append(row(name, good, bad))
    return "\n".join([*lines, row("**all**", total, everything)])


def parse(item: Document) -> None:
    """The peer: what a badge "parses" costs alone."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        ast.parse(item.text)


def speed(code: list[Document], prose: list[Document], rounds: int) -> list[str]:
    """Tables of files a CPU second."""
    model = likeness.build(item.data for item in [*code, *prose])
    python = [item for item in code if item.lang == "python" and 2_000 < len(item.text) < 60_000][
        :400
    ]
    even = [item._replace(text=item.text[:10_000], data=item.data[:10_000], kind="code", lang="c")
            for item in code if len(item.data) > 10_000 and item.text.isascii()][:300]  # fmt: skip
    words = [item._replace(text=item.text[:10_000], data=item.data[:10_000])
             for item in prose if len(item.data) > 10_000 and item.text.isascii()][:300]  # fmt: skip
    assert all(quality.measure(i.text, i.data, i.kind, i.lang, i.name) for i in python)

    def each(items: list[Document], function: Callable[[Document], object]) -> Callable[[], object]:
        return lambda: [function(item) for item in items]

    def table(items: list[Document], sides: dict[str, Callable[[Document], object]]) -> str:
        timings = report.interleave({k: each(items, f) for k, f in sides.items()}, rounds)
        kilobytes = sum(len(item.data) for item in items) / len(items) / 1000
        head = f"{len(items)} files of {kilobytes:.1f} kB on average\n\n"
        return head + report.table(timings, len(items), next(iter(sides))).replace(
            "tokens/", "files/"
        )

    return [
        "## Python, " + table(python, {"bare ast.parse": parse, "all numbers, rules, score": lambda i: score(i, model)}),
        "## Cheap numbers (no parser), " + table(even, {"bytes, lines, comments, likeness, score": lambda i: score(i, model)}),
        "## Prose, " + table(words, {
            "all numbers, rules, score": lambda i: score(i, model),
            "language": lambda i: languages.detect(i.text),
            "keys and addresses": lambda i: private.find(i.text),
        }),
    ]  # fmt: skip


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=600, help="of each corpus")
    parser.add_argument("--corpus", action="append", default=[], metavar="NAME=FOLDER[:FOLDER]")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # ast.parse says what it thinks of old escapes
    corpora = {"standard library": read(library(), options.files, {".py"})}
    for wish in options.corpus:
        name, _, folders = wish.partition("=")
        corpora[name] = read([Path(folder) for folder in folders.split(":")], options.files)
    everything = [item for items in corpora.values() for item in items]
    code = [item for item in everything if item.kind == "code"]
    prose = [item for item in everything if item.kind == "prose"]
    sections = [*speed(code, prose, options.rounds), *calibrate(corpora)]
    clean = sum(
        any(f.kind == "secret" for f in private.find(i.text)) for i in corpora["standard library"]
    )
    notes = [
        "CPU seconds decide: the machine was shared",
        "Good: files of 1 KB to 1 MB as they were found; among them are generated tables and lists",
        f"Keys found in the standard library: in {clean} of {len(corpora['standard library'])} files",
    ]
    report.save("quality", "Scores of documents", [f"{text}\n" for text in sections], notes)


if __name__ == "__main__":
    main()

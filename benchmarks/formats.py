"""Text out of pages, books, documents and tables: MB a CPU-second, beside the bare library."""

import argparse
import csv
import gzip
import html
import io
import json
import os
import resource
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pypdf
import zstandard
from pyarrow import parquet
from selectolax.lexbor import LexborHTMLParser

from benchmarks import report
from sllm_core.corpus import formats
from sllm_core.corpus.children import Children
from sllm_core.corpus.extract import FileId
from tests import hostile_formats_helpers as made

PAGE_LINES = 45


def documents(n_bytes: int) -> list[str]:
    """Real texts: modules of this Python's standard library, so many bytes of them."""
    found, total = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        if text.isascii() and text.strip():
            found.append(text)
            total += len(text)
        if total >= n_bytes:
            break
    return found


def page(text: str) -> str:
    """A page with a paragraph a line, links and emphasis as pages have them."""
    body = "\n".join(
        f'<p class="x">{html.escape(line)} <a href="#{i}"><b>more</b></a></p>'
        for i, line in enumerate(text.splitlines())
    )
    return f"<html><head><title>t</title></head><body>{body}</body></html>"


def make(folder: Path, texts: list[str]) -> dict[str, Path]:
    """A file of each format that holds these texts (the PDF a tenth of them)."""
    whole = "".join(texts)
    rows = [{"id": i, "text": text} for i, text in enumerate(texts)]
    jsonl = "".join(json.dumps(row) + "\n" for row in rows).encode()
    held = io.StringIO()
    writer = csv.writer(held)
    writer.writerows([["id", "text"], *([row["id"], row["text"]] for row in rows)])
    table = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), table)
    lines = [line.replace("\\", "/") for line in whole.splitlines()][: whole.count("\n") // 10]
    pages = ["\n".join(lines[i : i + PAGE_LINES]) for i in range(0, len(lines), PAGE_LINES)]
    body = "".join(made.paragraph(html.escape(line)) for line in whole.splitlines())
    cells = [{"cell_type": "code", "source": text.splitlines(keepends=True)} for text in texts]
    data = {
        "page.html": page(whole).encode(),
        "book.epub": made.epub({f"{i}.xhtml": page(text) for i, text in enumerate(texts)}),
        "letter.docx": made.docx(body),
        "paper.pdf": made.pdf(pages),
        "work.ipynb": made.notebook(cells),
        "rows.jsonl": jsonl,
        "rows.csv": held.getvalue().encode(),
        "rows.parquet": table.getvalue(),
        "rows.jsonl.gz": gzip.compress(jsonl),
        "rows.jsonl.zst": zstandard.compress(jsonl),
        "plain.txt.gz": gzip.compress(whole.encode()),
    }
    for name, content in data.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in data}


def extract(path: Path, out: Path) -> int:
    """Ours, in this process; returns the bytes of text."""
    form = formats.format_of(path.name)
    return formats.extract(path, FileId.of(path.stat()), form, (), out).n_bytes


def bare(path: Path) -> Callable[[], int] | None:
    """The least that the library underneath must do for the same file."""
    name = path.name
    if name == "rows.jsonl":
        return lambda: sum(len(json.loads(line)["text"]) for line in path.open("rb"))
    if name == "rows.csv":
        return lambda: sum(
            len(row[1]) for row in csv.reader(path.open(encoding="utf-8", newline=""))
        )
    if name == "rows.parquet":
        return lambda: sum(map(len, parquet.read_table(path, columns=["text"])[0].to_pylist()))
    if name == "plain.txt.gz":
        return lambda: len(gzip.decompress(path.read_bytes()))
    if name == "page.html":
        return lambda: len(LexborHTMLParser(path.read_bytes()).body.text())
    if name == "paper.pdf":
        return lambda: sum(len(p.extract_text()) for p in pypdf.PdfReader(path).pages)
    return None


def single(files: dict[str, Path], out: Path, n_rounds: int) -> str:
    """A row a format: ours, and the bare library where there is one."""
    rows = [
        "| file | file MB | text MB | text MB/CPU-s | spread | bare library | ours takes |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, path in files.items():
        n_bytes = extract(path, out)
        sides: dict[str, Callable[[], object]] = {name: lambda path=path: extract(path, out)}
        library = bare(path)
        if library is not None:
            sides["bare"] = library
        timings = report.interleave(sides, n_rounds)
        mb = n_bytes / 1e6
        cpu = statistics.median(timings[name].cpu_s)
        low, high = mb / max(timings[name].cpu_s), mb / min(timings[name].cpu_s)
        base, ratio = "-", "-"
        if library is not None:
            least = statistics.median(timings["bare"].cpu_s)
            base, ratio = f"{mb / least:.1f}", f"{cpu / least:.2f}x"
        rows.append(
            f"| {name} | {path.stat().st_size / 1e6:.2f} | {mb:.2f} | {mb / cpu:.1f} "
            f"| {low:.1f}-{high:.1f} | {base} | {ratio} |"
        )
    return "\n".join(rows)


def requests(paths: list[Path], out: Path) -> Iterator[dict[str, object]]:
    """As a scan makes them."""
    for number, path in enumerate(paths):
        yield {
            "path": os.fsencode(path).hex(),
            "id": list(FileId.of(path.stat())),
            "format": formats.format_of(path.name),
            "columns": [],
            "out": os.fsencode(out / f"{number}.txt").hex(),
        }


def pool(folder: Path, texts: list[str], n_rounds: int) -> str:
    """Many small pages: in one process, and through the pool (its own processes counted)."""
    small = folder / "small"
    out = folder / "out"
    small.mkdir()
    out.mkdir()
    whole = "".join(texts)
    paths = []
    for i, at in enumerate(range(0, len(whole) - 4000, 4000)):
        paths.append(small / f"{i}.html")
        paths[-1].write_text(page(whole[at : at + 4000]), encoding="utf-8")

    def cpu_s() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + used.ru_utime + used.ru_stime

    def through_pool(n: int) -> int:
        with Children(n, {}) as children:
            found = children.run("extract", requests(paths, out), limit_s=20, check=lambda: None)
            return sum(result["n_bytes"] for _, result in found)

    sides = {
        "in one process": lambda: sum(extract(path, out / "x.txt") for path in paths),
        "pool of 1": lambda: through_pool(1),
        "pool of 2": lambda: through_pool(2),
    }
    sums = {name: run() for name, run in sides.items()}
    assert len(set(sums.values())) == 1, sums
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(n_rounds):
        for name, run in sides.items():
            before = cpu_s()
            run()
            taken[name].append(cpu_s() - before)
    base = statistics.median(taken["in one process"])
    rows = ["| way | files/CPU-s | spread | CPU time against one process |", "|---|---|---|---|"]
    for name, seconds in taken.items():
        cpu = statistics.median(seconds)
        low, high = len(paths) / max(seconds), len(paths) / min(seconds)
        rows.append(
            f"| {name} | {len(paths) / cpu:,.0f} | {low:,.0f}-{high:,.0f} | {cpu / base:.2f}x |"
        )
    return f"{len(paths):,} pages of 4,000 characters; starting the children is counted.\n\n" + (
        "\n".join(rows)
    )


def main() -> None:
    """Run and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=4.0)
    options = parser.parse_args()
    texts = documents(int(options.megabytes * 1e6))
    with tempfile.TemporaryDirectory(prefix="sllm-") as name:
        folder = Path(name)
        files = make(folder, texts)
        expected = sum(len(text.encode()) for text in texts)
        for table in ("rows.jsonl", "rows.csv", "rows.parquet", "plain.txt.gz"):
            assert extract(files[table], folder / "x.txt") == expected, table
        tables = [
            f"## One file of each format\n\n{single(files, folder / 'x.txt', options.rounds)}\n",
            f"## Many small files\n\n{pool(folder, texts, options.rounds)}\n",
        ]
    names = ("selectolax", "pypdf", "pyarrow", "zstandard")
    report.save(
        "formats",
        "Text out of formats that are not plain text",
        tables,
        [
            f"Libraries: {', '.join(f'{name} {version(name)}' for name in names)}",
            f"Texts: {len(texts)} modules of Python's standard library, {expected / 1e6:.1f} MB; the "
            "PDF holds a tenth of the lines",
            "Ours hashes the file, decodes, cleans, counts and writes the text; the bare library only "
            "parses, and its body.text() of a page is not what a browser shows",
            "CPU seconds decide, the machine was shared",
        ],
    )


if __name__ == "__main__":
    main()

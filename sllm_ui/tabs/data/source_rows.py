"""The table of sources, worked out from settings and facts: figures, weights, patterns. Pure."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sllm_core import fmt
from sllm_core.config import ProjectConfig, SourceConfig
from sllm_ui.facts import Facts
from sllm_ui.tabs.data.figures import guess_bytes_per_token, is_current, planned_vocab, share


@dataclass(frozen=True)
class SourceRow:
    """One source as the table shows it."""

    id: int
    name: str  # safe to show, the home folder shortened
    path: str  # safe to show, whole
    files: str = "-"  # documents: files, and the rows of tables
    size: str = "-"
    tokens: str = "-"
    each: str = "-"  # bytes a token
    copies: str = "-"  # share of copies, once analysed
    low: str = "-"  # share below the lowest score of the Refine tab, once analysed
    weight: str = "1"
    is_on: bool = True
    problem: str = ""  # why nothing can be read there, and what to do
    exclude: str = ""
    include: str = ""
    columns: tuple[str, ...] = ()  # that were chosen
    tables: int = 0  # files that are tables, used or not
    no_columns: int = 0  # of these, the ones whose text columns were not found


def short_path(path: str, home: str) -> str:
    """A path to show: the home folder as ``~``, nothing that could spoil a screen."""
    if home and (path == home or path.startswith(home.rstrip(os.sep) + os.sep)):
        path = "~" + path[len(home.rstrip(os.sep)) :]
    return fmt.path_text(path)


def source_rows(
    config: ProjectConfig,
    root: Path,
    facts: Facts,
    problems: Mapping[int, str],
    home: str,
) -> tuple[SourceRow, ...]:
    """The table of sources."""
    counts = {source_id: (n, size) for source_id, n, size in facts.sources}
    exact = dict(facts.source_tokens) if is_current(facts, config.tokenizer) else {}
    each = guess_bytes_per_token(facts, planned_vocab(facts, config.tokenizer))
    documents, tables = dict(facts.documents), {row[0]: row[1:] for row in facts.tables}
    rows = []
    for source in config.sources:
        place = str((root / source.path).absolute())
        read, unread = tables.get(source.id, (0, 0))
        row = SourceRow(
            source.id,
            short_path(place, home),
            fmt.path_text(place),
            weight=weight_text(source.weight),
            is_on=source.is_on,
            problem=problems.get(source.id, ""),
            exclude=", ".join(source.exclude),
            include=", ".join(source.include),
            columns=source.columns,
            tables=read + unread,
            no_columns=unread,
        )
        if source.id in counts:
            n, size = counts[source.id]
            tokens = exact.get(source.id)
            guess = f"~{fmt.count(round(size / each))}" if n else "0"
            row = replace(
                row,
                files=f"{documents.get(source.id, n):,}",
                size=fmt.size(size),
                tokens=guess if tokens is None else fmt.count(tokens),
                each=f"{size / tokens:.2f}" if tokens else "-",
            )
            copies, low = _quality(facts, source.id, config.refine.min_score)
            row = replace(row, copies=copies, low=low)
        rows.append(row)
    return tuple(rows)


def _quality(facts: Facts, source_id: int, min_score: int) -> tuple[str, str]:
    """Shares of copies and of low scores among the files of a source, once they are analysed."""
    scores = [(score, n) for found, score, n in facts.scores if found == source_id]
    total = sum(n for _, n in scores)
    if not total:
        return "-", "-"
    low = sum(n for score, n in scores if score < min_score)
    return share(dict(facts.copies).get(source_id, 0), total), share(low, total)


def weight_text(weight: float) -> str:
    """2.0 -> ``2``."""
    return f"{weight:.6g}"


def weight_words(text: str) -> str:
    """What a weight means: ``read 2.0 times as often``."""
    weight = float(text)
    if weight == 1:
        return "read once in each epoch"
    if weight < 1:
        return f"only {100 * weight:.3g} % of it in each epoch"
    return f"read {weight:.3g} times as often"


def parse_weight(text: str) -> float:
    """A weight as typed: ``2``, ``0.5``, ``2 x``, ``1/3``.

    Raises:
        ValueError: it is no number.
    """
    word = text.strip().lower().removesuffix("x").removeprefix("x").replace(",", ".").strip()
    above, _, below = word.partition("/")
    value = float(above) / (float(below) if below else 1.0)
    if not 0 < value < float("inf"):
        raise ValueError(f"{text!r} is no weight")
    return value


def patterns(text: str) -> tuple[str, ...]:
    """``*.md, docs/`` -> the patterns between the commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def find_problems(root: Path, sources: Sequence[SourceConfig]) -> dict[int, str]:
    """Why a source cannot be read, by id; asks the file system, which may take its time."""
    found = {}
    for source in sources:
        place = (root / source.path).absolute()
        try:
            if place.is_dir():
                with os.scandir(place) as entries:
                    next(entries, None)
            else:
                place.stat()
        except FileNotFoundError:
            found[source.id] = (
                "It is not there any more. Put it back, connect its drive, or remove it here."
            )
        except OSError as problem:
            why = problem.strerror or type(problem).__name__
            found[source.id] = (
                f"It cannot be read ({why}). Give yourself the right to, or remove it here."
            )
    return found

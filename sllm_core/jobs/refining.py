"""The jobs of the Refine tab: analyse, move away or leave out, take back, look for leaks, clear.

Each is one function of project, settings and `Job`, as in `pipeline`; nothing happens to a file
but what the user asked for, and `restore` takes it back.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from sllm_core import encode, fmt
from sllm_core.config import ProjectConfig
from sllm_core.corpus import analysis, exclusion, extract, groups, leaks, table, trash
from sllm_core.corpus.division import SECTIONS, TRAIN, VAL, Division, Units
from sllm_core.corpus.extract import SkipFile
from sllm_core.corpus.index import FileRow, Index
from sllm_core.corpus.journal import Item, Journal
from sllm_core.corpus.store import Texts, identity
from sllm_core.errors import DataError, UsageError
from sllm_core.jobs import pipeline
from sllm_core.jobs.pipeline import Job
from sllm_core.messages import LeakReport, Log, Refined, Removed, Restored
from sllm_core.project import Project

LEAKING = 0.1  # share of a document's pieces that stand in training: it is called leaking
_MOST_ROWS = 200


def refine(project: Project, config: ProjectConfig, job: Job) -> Refined:
    """Measure every used file, find the copies, say what the rules propose.

    Raises:
        DataError: no source, or nothing to analyse.
        Cancelled: on Stop; what was measured is kept.
    """
    begun = time.monotonic()
    job.emit(pipeline.scan(project, config, job))
    texts = Texts.of(project, config)
    with Index(project.db_path) as index:
        with job.step("looking"):
            model = analysis.learn(
                project, index, analysis.unmasked(texts), check=job.check,
                on_progress=lambda done, total: job.progress("looking", done, total, "bytes"),
            )  # fmt: skip
        with job.step("scoring"):
            measured, failed = analysis.score(
                project, config, index, texts, model, check=job.check,
                on_progress=lambda done, total: job.progress("scoring", done, total, "files"),
            )  # fmt: skip
        with job.step("comparing"):
            found = pipeline.compare(project, config, index, texts, job)
            groups.mark_copies(
                index, texts, found, config.refine.near_threshold, check=job.check,
                on_progress=lambda done, total: job.progress("comparing", done, total, "pairs"),
            )  # fmt: skip
    sizes = np.unique(found.clusters, return_counts=True)[1]
    return summarize(
        project, config, analysed=measured, failed=failed, clusters=int((sizes > 1).sum()),
        held_back=int(found.held.sum()), elapsed_s=time.monotonic() - begun,
    )  # fmt: skip


def summarize(project: Project, config: ProjectConfig, **known: Any) -> Refined:
    """What the index says now, under the rules as they are set."""
    rows = table.load(project.db_path)
    verdicts = table.verdicts(rows, config.refine, config.clean)
    counts = table.counts(rows, verdicts)
    used = np.flatnonzero(rows.state == table.USED)
    reasons = Counter(
        code for i in used.tolist() for code in {code for code, _, _ in rows.reasons(i)}
    )
    return Refined(
        files=counts.used,
        keep=counts.files[table.KEEP],
        drop=counts.files[table.DROP],
        copy=counts.files[table.COPY],
        mask=counts.files[table.MASK],
        exact=counts.exact,
        near=counts.near,
        secrets=counts.findings["secrets"],
        emails=counts.findings["emails"],
        drop_bytes=counts.n_bytes[table.DROP] + counts.n_bytes[table.COPY],
        scores=tuple(table.histogram(rows).tolist()),
        reasons=dict(reasons.most_common()),
        languages=dict(counts.languages),
        **known,
    )


def _chosen(project: Project, config: ProjectConfig, options: dict[str, Any]) -> dict[int, str]:
    """Ids of the files that a request names, each with the word for why it goes."""
    rows = table.load(project.db_path)
    verdicts = table.verdicts(rows, config.refine, config.clean)
    if "ids" in options:
        wanted = np.isin(rows.ids, np.array(options["ids"], dtype=np.int64))
    else:
        asked = options.get("verdicts", ["drop", "copy"])
        wanted = np.isin(verdicts, [table.VERDICTS.index(name) for name in asked])
    wanted &= rows.state == table.USED
    return {
        int(rows.ids[i]): _why(int(verdicts[i]), int(rows.duplicate[i]))
        for i in np.flatnonzero(wanted).tolist()
    }


def _why(verdict: int, duplicate: int) -> str:
    """The word that the journal keeps: of a copy, which kind."""
    if verdict == table.COPY:
        return "exact" if duplicate == table.EXACT else "near"
    return table.VERDICTS[verdict]


def remove(project: Project, config: ProjectConfig, job: Job, options: dict[str, Any]) -> Removed:
    """Move files to `_trash`, or leave them out where they are.

    Args:
        options: ``kind`` trash or exclude; ``ids`` of files, or ``verdicts`` whose files go.

    Raises:
        Cancelled: on Stop; what was moved is a batch that `restore` brings back.
        DiskError: the disk is full; nothing is lost.
    """
    kind = str(options.get("kind", "trash"))
    if kind not in {"trash", "exclude"}:
        raise UsageError("USAGE", f"Files can go to trash or be left out, not {kind!r}.")
    chosen = _chosen(project, config, options)
    with Index(project.db_path) as index, job.step("moving"):
        rows = index.rows_by_id(chosen)
        if kind == "exclude":
            batch, n, n_bytes = exclusion.exclude(index, rows)
            return Removed(batch, kind, n, n_bytes, {})
        texts = Texts.of(project, config)
        items = [
            Item(row.source_id, row.path, identity(row), row.raw_hash, chosen[row.id or 0])
            for row in rows
        ]
        moved = trash.move(
            items, texts.roots, Journal(index), check=job.check,
            on_progress=lambda done, total: job.progress("moving", done, total, "files"),
        )  # fmt: skip
        kept = {(item.source_id, item.path) for item, _ in moved.kept}
        gone = [(item.source_id, item.path) for item in items if item[:2] not in kept]
        index.write("DELETE FROM files WHERE source_id = ? AND path = ?", gone)
    if moved.problem:
        job.emit(Log(moved.problem, "warning"))
    reasons = Counter(reason for _, reason in moved.kept)
    folder = _trash_folder(texts, items, moved.folder) if moved.n else ""
    return Removed(moved.batch or 0, kind, moved.n, moved.n_bytes, dict(reasons), folder)


def _trash_folder(texts: Texts, items: list[Item], name: str) -> str:
    root = texts.roots[items[0].source_id]
    return str((root if root.is_dir() else root.parent) / "_trash" / name)


def restore(project: Project, config: ProjectConfig, job: Job, options: dict[str, Any]) -> Restored:
    """Take a batch back, or the files that ``ids`` names (of those that are left out).

    Raises:
        DataError: there is no such batch.
        Cancelled: on Stop; what came back stays, the rest is still in the trash.
    """
    with Index(project.db_path) as index:
        if "ids" in options:
            with job.step("restoring"):
                n, n_bytes = exclusion.include(index, ids=options["ids"])
            return Restored(0, "exclude", n, n_bytes, {})
        batch = int(options.get("batch") or newest_batch(index) or 0)
        kind = next(
            (row[0] for row in index.read("SELECT kind FROM batches WHERE id = ?", (batch,))), ""
        )
        if not kind:
            raise DataError("BATCH", "There is nothing to take back.", safe="Nothing was changed.")
        with job.step("restoring"):
            if kind == "exclude":
                n, n_bytes = exclusion.include(index, batch=batch)
                return Restored(batch, kind, n, n_bytes, {})
            texts = Texts.of(project, config)
            back = trash.undo(
                batch, texts.roots, Journal(index), check=job.check,
                on_progress=lambda done, total: job.progress("restoring", done, total, "files"),
            )  # fmt: skip
    if back.problem:
        job.emit(Log(back.problem, "warning"))
    job.emit(pipeline.scan(project, config, job))
    with Index(project.db_path) as index:
        analysis.spread(index)
    reasons = Counter(reason for _, reason in back.kept)
    return Restored(batch, kind, back.n, back.n_bytes, dict(reasons))


def newest_batch(index: Index) -> int | None:
    """The last batch that can be taken back."""
    query = "SELECT MAX(id) FROM batches WHERE state NOT IN ('undone')"
    found = next(index.read(query))[0]
    return int(found) if found else None


def find_leaks(
    project: Project, config: ProjectConfig, job: Job, options: dict[str, Any]
) -> LeakReport:
    """How much of validation (or of files that a user names) stands in the training text.

    Raises:
        DataError: nothing is scanned, or a named file holds no text.
        Cancelled: on Stop.
    """
    begun = time.monotonic()
    texts = Texts.of(project, config)
    with Index(project.db_path) as index, job.step("checking"):
        units, division = pipeline.divide(index, config)
        if not len(units):
            raise DataError("EMPTY", "There is no text to check.", todo="Scan the sources first.")
        targets, names, hashes = leaks.Targets(), [], []
        for name, data in _targets(texts, index, units, division, options.get("files") or []):
            targets.add(data)
            names.append(name)
            hashes.append(_digest(data))
            job.check()
        training = _Training(texts, index, units, division, job)
        targets.scan(training.texts(), check=job.check)
        known = training.hashes
    rows = []
    for name, overlap in zip(names, targets.overlaps(), strict=True):
        if overlap.share:
            rows.append((name, round(overlap.share, 4), training.name_of(overlap.source)))
    rows.sort(key=lambda row: -row[1])
    sides = {side: set(units.clusters[division.sides == side].tolist()) for side in (TRAIN, VAL)}
    return LeakReport(
        documents=len(names),
        leaking=sum(row[1] >= LEAKING for row in rows),
        identical=sum(text_hash in known for text_hash in hashes),
        shared_clusters=len(sides[TRAIN] & sides[VAL]),
        rows=tuple(rows[:_MOST_ROWS]),
        elapsed_s=time.monotonic() - begun,
    )


def _digest(data: bytes) -> bytes:
    return xxhash.xxh3_128_digest(data)


def _targets(
    texts: Texts, index: Index, units: Units, division: Division, files: list[str]
) -> Iterator[tuple[str, bytes]]:
    """The documents to check, with a name to show."""
    if not files:
        for row, data in _parts(texts, index, units, division, VAL):
            yield row.path_text, data
    for name in files:
        path = Path(name)
        try:
            yield fmt.path_text(path.name), extract.decode_file(path).encode("utf-8")
        except SkipFile as skip:
            raise DataError(
                "SOURCE", f"{path.name} cannot be checked: {skip}.", safe="Nothing was changed."
            ) from skip


class _Training:
    """The training side, streamed, with what is needed to name a document of it."""

    def __init__(
        self, texts: Texts, index: Index, units: Units, division: Division, job: Job
    ) -> None:
        self._parts = _parts(texts, index, units, division, TRAIN)
        self._job, self._total = job, int(units.sizes[division.sides != VAL].sum())
        self._names: list[str] = []
        self.hashes: set[bytes] = set()

    def texts(self) -> Iterator[tuple[int, bytes]]:
        """(number, text) of every training document."""
        done = 0
        for row, data in self._parts:
            if not self._names or self._names[-1] != row.path_text:
                self._names.append(row.path_text)
            self.hashes.add(_digest(data))
            done += len(data)
            self._job.progress("checking", min(done, self._total), self._total, "bytes")
            yield len(self._names) - 1, data

    def name_of(self, number: int) -> str:
        """The path of a training document; '' when there is none."""
        return self._names[number] if number >= 0 else ""


def _parts(
    texts: Texts, index: Index, units: Units, division: Division, side: int
) -> Iterator[tuple[FileRow, bytes]]:
    """Everything that lies on a side: whole files, sections, records."""
    for place, row in enumerate(index.used_files()):
        if place >= len(units) or row.id != units.ids[place]:
            raise DataError("STALE", "The list of files changed while it was read.")
        own = int(division.sides[place])
        try:
            if row.records is not None or own == SECTIONS:
                pieces = (
                    texts.records(row)
                    if row.records is not None
                    else extract.sections(texts.pieces(row), int(division.section_chars[place]))
                )
                for text in pieces:
                    data = text.encode("utf-8")
                    if data and division.side_of_part(_digest(data)) == side:
                        yield row, data
            elif own == side and (row.text_bytes or 0) <= groups.MAX_BYTES:
                yield row, texts.small(row)
        except SkipFile:
            continue  # it changed: the next scan says so


def clear(project: Project, job: Job) -> None:
    """Forget all encoded and extracted texts; the prepared dataset stays."""
    with Index(project.db_path) as index:
        freed = encode.clear_cache(project, index)
    job.emit(Log(f"The cache is cleared; {fmt.size(freed)} are free again."))

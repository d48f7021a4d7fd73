"""Scores for all used files: the text is measured in children, what is found is kept by text.

A text that was measured once is not measured again while the rules and the picture of the corpus
(`likeness`) stay the same; files of one text share the result.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from sllm_core import fields, hardware
from sllm_core.config import CleanConfig, ProjectConfig
from sllm_core.corpus import languages, likeness, private, quality
from sllm_core.corpus.children import Children
from sllm_core.corpus.division import rank
from sllm_core.corpus.extract import SkipFile
from sllm_core.corpus.index import FileRow, Index
from sllm_core.corpus.likeness import Likeness, LikenessError
from sllm_core.corpus.store import Texts
from sllm_core.corpus.table import PROSE
from sllm_core.project import Project, write_text

HEAD_BYTES = 1 << 20  # of a text: what the numbers are measured on
SEARCHED_BYTES = 32 << 20  # of a text: where keys and addresses are looked for
LIMIT_S = 10.0  # of a child for one file
SAMPLE_BYTES = 50_000_000
GROWTH = 1.25  # the picture of the corpus is made anew when there is so much more or less text
_BATCH = 500
_UNMEASURED = "unmeasured"  # it took too long; its score stays unknown
log = logging.getLogger(__name__)

Check = Callable[[], None]
OnProgress = Callable[[int, int], None]


def folder(project: Project) -> Path:
    """Where the picture of the corpus lies."""
    return project.data_dir / "likeness"


# -- in the child --------------------------------------------------------------------------------


class Analyst:
    """Measures one text after the other in a child.

    Args:
        settings: what `_settings` made of the project.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        options = fields.from_mapping(CleanConfig, settings["clean"], "the request")
        roots = {int(key): Path(root) for key, root in settings["roots"].items()}
        self._texts = Texts(Project(Path(settings["project"])), roots, options)
        self._score_as = str(settings["score_as"])
        self._salt = bytes.fromhex(settings["salt"])
        self._model: Likeness | None = None
        with contextlib.suppress(LikenessError):
            self._model = likeness.load(Path(settings["likeness"]))

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """Score, reasons, metrics and flags of the text of a row."""
        row = FileRow(**{**request["row"], **_bytes_of(request["row"])})
        head, found, is_whole = self._read(row)
        kind, lang = row.kind or "prose", row.lang or ""
        text = head.decode("utf-8", "ignore")
        language = languages.detect(text) if kind in PROSE else ""
        metrics = quality.measure(
            text,
            head,
            kind,
            lang if kind not in PROSE else "",
            row.path_text,
            self._model,
            language=language,
            score_as=self._score_as,
            true_bytes=None if is_whole else row.text_bytes,
        )
        verdict = quality.judge(metrics, kind, lang, language, self._score_as)
        return {
            "kind": kind,
            "lang": language if kind in PROSE else lang,
            "score": verdict.score,
            "reasons": [reason._asdict() for reason in verdict.reasons],
            "metrics": {name: _short(value) for name, value in metrics.items()},
            "flags": {**quality.flags(metrics), **private.count(found)},
        }

    def _read(self, row: FileRow) -> tuple[bytes, list[private.Finding], bool]:
        """The beginning of the text, what was found in it, and whether that is all of it."""
        held, found, n_bytes, head = "", [], 0, b""
        for piece in self._texts.pieces(row):
            data = piece.encode("utf-8")
            n_bytes += len(data)
            head += data[: HEAD_BYTES - len(head)]
            held += piece
            if len(held) > HEAD_BYTES:
                found += private.find(held, salt=self._salt)
                held = ""
            if n_bytes > SEARCHED_BYTES:
                break
        found += private.find(held, salt=self._salt)
        return head, found, n_bytes <= HEAD_BYTES


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _bytes_of(row: dict[str, Any]) -> dict[str, Any]:
    names = ("path", "raw_hash", "text_hash")
    return {name: bytes.fromhex(row[name]) if row[name] is not None else None for name in names}


# -- in the job ----------------------------------------------------------------------------------


def learn(
    project: Project, index: Index, texts: Texts, *, check: Check, on_progress: OnProgress
) -> str:
    """Make the picture of the corpus, or keep the one that is there; returns its version."""
    n_bytes = int(
        next(index.read("SELECT COALESCE(SUM(text_bytes), 0) FROM files WHERE state = 'used'"))[0]
    )
    note = folder(project) / "corpus.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, LikenessError):
        before = json.loads(note.read_text(encoding="utf-8"))
        known = likeness.load(folder(project))
        is_near = before["text_bytes"] / GROWTH <= n_bytes <= before["text_bytes"] * GROWTH
        if is_near and before["code"] == likeness.LIKENESS_VERSION:
            return known.version
    model = likeness.build(_sample(index, texts, n_bytes, on_progress), check)
    folder(project).mkdir(parents=True, exist_ok=True)
    likeness.save(model, folder(project))
    body = {"text_bytes": n_bytes, "code": likeness.LIKENESS_VERSION}
    write_text(note, json.dumps(body) + "\n")
    return model.version


def _sample(index: Index, texts: Texts, n_bytes: int, on_progress: OnProgress) -> Iterator[bytes]:
    """Beginnings of a stable choice of texts, 50 MB in all."""
    query = "SELECT MIN(id), text_hash, MIN(text_bytes) FROM files WHERE state = 'used' GROUP BY text_hash"
    found = sorted((rank(row[1]), row[0], row[2] or 0) for row in index.read(query))
    goal, done = min(SAMPLE_BYTES, n_bytes), 0
    for row in index.rows_by_id(file_id for _, file_id, _ in found):
        try:
            data = head_of(texts, row)
        except SkipFile:
            continue
        done += len(data)
        on_progress(min(done, goal), goal)
        yield data
        if done >= goal:
            return


def head_of(texts: Texts, row: FileRow) -> bytes:
    """The beginning of a text, as the numbers are measured on it.

    Raises:
        SkipFile: it cannot be read as it was scanned.
    """
    if (row.text_bytes or 0) <= HEAD_BYTES:
        return "".join(texts.pieces(row)).encode("utf-8")
    head = b""
    for piece in texts.pieces(row):
        head += piece.encode("utf-8")
        if len(head) >= HEAD_BYTES:
            break
    return head[:HEAD_BYTES]


def unmasked(texts: Texts) -> Texts:
    """Reads as before, but keys and addresses stand where they are: what is masked is counted."""
    names = [name for name in CleanConfig.__dataclass_fields__ if name.startswith("mask_")]
    return replace(texts, options=replace(texts.options, **dict.fromkeys(names, False)))


def score(
    project: Project,
    config: ProjectConfig,
    index: Index,
    texts: Texts,
    model_version: str,
    *,
    check: Check,
    on_progress: OnProgress,
) -> tuple[int, int]:
    """Measure the texts that are new or were measured by other rules; returns (measured, failed)."""
    score_as = config.refine.score_as
    version = f"{quality.METRICS_VERSION} {score_as}"
    todo = _todo(index, version, model_version)
    settings = _settings(project, config, texts)
    done = failed = 0
    rows: list[tuple[Any, ...]] = []
    requests = (_request(row) for row in index.rows_by_id(todo.tolist()))
    if len(todo):
        with Children(min(hardware.default_threads(), len(todo)), settings) as children:
            for request, answer in children.run("analyse", requests, limit_s=LIMIT_S, check=check):
                done += 1
                if "score" not in answer:
                    failed += 1
                    if answer.get("reason") != "limit":  # passing, or a fault of ours
                        log.warning("%s: %s", request["row"]["path_text"], answer)
                        continue
                rows.append(_row(request, answer, version, model_version))
                if len(rows) >= _BATCH:
                    _put(index, rows)
                    rows = []
                    on_progress(done, len(todo))
    _put(index, rows)
    spread(index)
    return done - failed, failed


def _todo(index: Index, version: str, model_version: str) -> "np.ndarray[Any, np.dtype[np.int64]]":
    query = (
        "SELECT MIN(f.id) FROM files f WHERE (f.state = 'used' OR f.reason = 'would-leak') AND NOT "
        "EXISTS (SELECT 1 FROM analysis a WHERE a.text_hash = f.text_hash AND a.version = ? AND "
        "a.model_version = ?) GROUP BY f.text_hash ORDER BY f.source_id, f.path"
    )
    return np.fromiter((row[0] for row in index.read(query, (version, model_version))), np.int64)


def _settings(project: Project, config: ProjectConfig, texts: Texts) -> dict[str, Any]:
    return {
        "project": str(project.root),
        "roots": {str(key): str(root) for key, root in texts.roots.items()},
        "clean": asdict(unmasked(texts).options),
        "score_as": config.refine.score_as,
        "likeness": str(folder(project)),
        "salt": _salt(project).hex(),
    }


def _salt(project: Project) -> bytes:
    """Makes the marks of findings useless outside this project."""
    return hashlib.sha256(str(project.root).encode("utf-8", "surrogateescape")).digest()[:16]


def _request(row: FileRow) -> dict[str, Any]:
    names = list(FileRow.__dataclass_fields__)
    values = {name: getattr(row, name) for name in names}
    for name in ("path", "raw_hash", "text_hash"):
        values[name] = values[name].hex() if values[name] is not None else None
    return {"row": values}


def _row(
    request: dict[str, Any], answer: dict[str, Any], version: str, model_version: str
) -> tuple[Any, ...]:
    row = request["row"]
    if "score" not in answer:  # recorded without one, so that it is not tried again and again
        reasons = [{"code": _UNMEASURED, "value": LIMIT_S, "limit": LIMIT_S}]
        answer = {"kind": row["kind"] or "prose", "lang": "", "score": None, "reasons": reasons}
    return (
        bytes.fromhex(row["text_hash"]),
        version,
        model_version,
        answer["kind"],
        answer["lang"],
        answer["score"],
        json.dumps(answer["reasons"]),
        json.dumps(answer.get("metrics", {})),
        json.dumps(answer.get("flags", {})),
    )


def _put(index: Index, rows: list[tuple[Any, ...]]) -> None:
    index.write("INSERT OR REPLACE INTO analysis VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def spread(index: Index) -> None:
    """Bring what is known of a text to every file that holds it."""
    index.write(
        "UPDATE files SET score = a.score, reasons = a.reasons, flags = a.flags, lang = a.lang "
        "FROM analysis a WHERE a.text_hash = files.text_hash AND (files.score IS NOT a.score OR "
        "files.reasons IS NOT a.reasons OR files.flags IS NOT a.flags OR files.lang IS NOT a.lang) "
        "AND 1 = ?",
        [(1,)],
    )

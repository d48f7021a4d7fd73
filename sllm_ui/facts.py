"""What a project's data is at this moment, read from its index and its manifest."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sllm_core.corpus.index import Index
from sllm_core.project import Project


@dataclass(frozen=True)
class Facts:
    """Counts of the last scan and of the last preparation. None: not known yet."""

    is_scanned: bool = False
    listed: int = 0
    used: int = 0
    skipped: int = 0
    failed: int = 0
    text_bytes: int = 0
    reasons: tuple[tuple[str, str, int], ...] = ()  # (state, reason, files), most first
    kinds: tuple[tuple[str, int, int], ...] = ()  # (extension, files, text bytes), largest first
    sources: tuple[tuple[int, int, int], ...] = ()  # (source id, files, text bytes)
    dataset_id: str = ""
    train_tokens: int | None = None
    val_tokens: int | None = None
    prepared_bytes: int | None = None  # text bytes behind these tokens
    vocab_size: int | None = None  # of the tokenizer that is there
    tokenizer_reason: str = ""
    tokenizer_sha256: str = ""
    tokenizer_wish: tuple[tuple[str, Any], ...] = ()  # the settings it was trained with
    is_tokenizer_imported: bool = False
    data_tokenizer: str = ""  # sha256 of the tokenizer that the prepared data is written in
    unencoded: int = 0  # used files whose tokens are not known yet
    source_tokens: tuple[tuple[int, int], ...] = ()  # (source id, tokens) of encoded files
    converted: int = 0  # used files that were not UTF-8
    documents: tuple[tuple[int, int], ...] = ()  # (source id, used files and records of tables)
    tables: tuple[tuple[int, int, int], ...] = ()  # (source id, used ones, without their columns)
    scores: tuple[tuple[int, int, int], ...] = ()  # (source id, score, used files) once analysed
    copies: tuple[tuple[int, int], ...] = ()  # (source id, used files that are copies of others)
    joints: int = 0  # line feeds between the records of tables: in the text, in no token file
    cache_bytes: int = 0  # tokens and texts that are kept so that nothing is read twice

    @property
    def tokens(self) -> int | None:
        """Tokens of all prepared documents, both sides."""
        if self.train_tokens is None or self.val_tokens is None:
            return None
        return self.train_tokens + self.val_tokens

    @property
    def is_same_text(self) -> bool:
        """Whether the prepared data holds the text of the present files."""
        is_as_large = self.prepared_bytes == self.text_bytes - self.joints
        return self.tokens is not None and is_as_large and not self.unencoded

    @property
    def bytes_per_token(self) -> float | None:
        """Measured on the prepared data."""
        if not self.tokens or not self.prepared_bytes:
            return None
        return self.prepared_bytes / self.tokens


def read_facts(project: Project) -> Facts:
    """Read them all; some milliseconds, more for very large indexes: never on Tk's thread.

    Raises:
        ProjectError: the index is damaged.
    """
    values: dict[str, Any] = {}
    if project.db_path.exists():
        with Index(project.db_path) as index:
            counts = index.counts()
            kinds, sources = index.by_extension(), index.by_source()
            encoded, converted = index.encoded_by_source(), index.count_list("converted")
            values = {name: tuple(index.read(_SELECTS[name])) for name in _SELECTS}
            values["joints"] = next(index.read(_JOINTS))[0]
        states = dict.fromkeys(("used", "skipped", "failed"), 0)
        for (state, _), (n, _) in counts.items():
            states[state] += n
        unused = [(state, reason, n) for (state, reason), (n, _) in counts.items() if reason]
        values |= {
            "is_scanned": bool(counts),
            "listed": sum(states.values()),
            **states,
            "text_bytes": sum(size for (state, _), (_, size) in counts.items() if state == "used"),
            "reasons": tuple(sorted(unused, key=lambda row: -row[2])),
            "kinds": tuple(tuple(row) for row in kinds),
            "sources": tuple(tuple(row) for row in sources),
            "source_tokens": tuple((source_id, n) for source_id, n, _ in encoded),
            "unencoded": sum(missing for _, _, missing in encoded),
            "converted": converted,
        }
    folders = (project.data_dir / "cache", project.data_dir / "texts")
    values["cache_bytes"] = sum(_size_of(folder) for folder in folders)
    manifest = _read_json(project.data_dir / "manifest.json")
    if manifest:
        values |= {
            "dataset_id": str(manifest.get("dataset_id", "")),
            "data_tokenizer": str(manifest.get("tokenizer_sha256", "")),
            "train_tokens": _whole(manifest.get("train_tokens")),
            "val_tokens": _whole(manifest.get("val_tokens")),
            "prepared_bytes": (_whole(manifest.get("train_text_bytes")) or 0)
            + (_whole(manifest.get("val_text_bytes")) or 0),
        }
    report = _read_json(project.tokenizer_dir / "report.json")
    if report and (project.tokenizer_dir / "tokenizer.json").exists():
        values |= {
            "vocab_size": _whole(report.get("vocab_size")),
            "tokenizer_reason": str(report.get("reason", "")),
            "tokenizer_sha256": str(report.get("sha256", "")),
            "tokenizer_wish": _pairs(report.get("wish")),
            "is_tokenizer_imported": bool(report.get("imported")),
        }
    return Facts(**values)


_JOINTS = "SELECT COALESCE(SUM(records), 0) FROM files WHERE state = 'used'"
# What the index does not count by itself: field of `Facts` -> its rows.
_SELECTS = {
    "documents": "SELECT source_id, SUM(COALESCE(records, 1)) FROM files WHERE state = 'used' "
    "GROUP BY 1",
    "tables": "SELECT source_id, SUM(state = 'used'), SUM(reason = 'columns') FROM files "
    "WHERE reason = 'columns' OR (state = 'used' AND records IS NOT NULL) GROUP BY 1",
    "scores": "SELECT source_id, score, COUNT(*) FROM files WHERE state = 'used' "
    "AND score IS NOT NULL GROUP BY 1, 2",
    "copies": "SELECT source_id, COUNT(*) FROM files WHERE state = 'used' "
    "AND dup_kind IN ('exact', 'near') GROUP BY 1",
}


def _size_of(folder: Path) -> int:
    """Bytes of the files of a folder; one that goes meanwhile counts nothing."""
    size = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                size += _size_of_entry(entry)
    except OSError:
        return size
    return size


def _size_of_entry(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file() else 0
    except OSError:
        return 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _pairs(value: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(value.items())) if isinstance(value, dict) else ()

"""What a run reads how often: the weights of sources, and old text again when it goes on with new.

A weight multiplies the windows of its source in an epoch. With a replay share the documents that
the checkpoint was not trained on are read as usual, and so many windows of the others are mixed in
that they make up that share. Everything follows from files that are proven by hashes, so a resumed
run finds the same parts again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sllm_core import fmt
from sllm_core.config import ProjectConfig
from sllm_core.dataset import Manifest, Part, Windows, count_windows, version_path
from sllm_core.errors import DataError
from sllm_core.messages import Log
from sllm_core.project import Project

MOST_PASSES = 4  # up to which repeated text is nearly as good as new (arXiv 2305.16264)
TEXTS = "train_texts.npy"


@dataclass(frozen=True)
class Mixture:
    """The parts of an epoch, none for all text once, and what to say about them."""

    parts: tuple[Part, ...] = ()
    base: str = ""  # the dataset by which old text is told from new
    notes: tuple[Log, ...] = ()

    def record(self) -> dict[str, Any]:
        """What run.json keeps: for people, and to prove that a resumed run finds the same."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(part.ranges.astype("<i8").tobytes() + b"%d\0" % part.n_slots)
        parts = [
            {"title": part.title, "tokens": part.n_tokens, "windows_per_epoch": part.n_slots}
            for part in self.parts
        ]
        return {"base": self.base, "digest": digest.hexdigest(), "parts": parts}


@dataclass(frozen=True, eq=False)
class _Rows:
    """Stretches of the training text in order, each of one source and old or new."""

    begins: npt.NDArray[np.int64]  # (n + 1,), the last one is the end of the text
    sources: npt.NDArray[np.int64]  # (n,), places in the list of sources
    is_new: npt.NDArray[np.bool_]  # (n,)


@dataclass(frozen=True, eq=False)
class _Share:
    """A part in the making: the text of a source, or the old or the new text of it."""

    title: str
    weight: float
    is_new: bool
    ranges: npt.NDArray[np.int64]
    n_windows: int = 0

    @property
    def n_tokens(self) -> int:
        """Tokens of all its ranges."""
        return int((self.ranges[:, 1] - self.ranges[:, 0]).sum())


def plan(project: Project, manifest: Manifest, config: ProjectConfig, base: str | None) -> Mixture:
    """Which parts a run reads.

    Args:
        project: whose prepared data.
        manifest: of it.
        config: weights, window, stride and replay share.
        base: dataset of the checkpoint that the run continues from; "" when that is not on record,
            None for a run from fresh weights.

    Raises:
        DataError: E-DATA-CHANGED, the files do not fit the manifest.
    """
    notes: list[Log] = []
    sources = _sources(manifest, config, notes)
    rows = _rows_of_sources(manifest, sources)
    apart = None
    if config.train.replay_share is not None:
        apart = _told_apart(project, manifest, rows, base, notes)
    n_notes = len(notes)
    shares = _shares(apart or rows, sources, config, notes)
    if apart and len({share.is_new for share in shares}) < 2:
        del notes[n_notes:]
        notes.append(
            Log("There is less new (or old) text than one window: it is read with the rest.")
        )
        apart, shares = None, _shares(rows, sources, config, notes)
    if len(shares) < 2:
        return Mixture(notes=tuple(notes))
    parts = _slots(shares, config.train.replay_share if apart else None)
    if apart:
        notes.append(_news(apart, parts, shares))
    notes.append(_frequencies(parts, shares))
    kept = tuple(part for part in parts if part.n_slots)
    return Mixture(kept, (base or "") if apart else "", tuple(notes))


def _sources(
    manifest: Manifest, config: ProjectConfig, notes: list[Log]
) -> dict[int, tuple[str, float]]:
    """Title and weight of each source with text, by id; none when all weigh the same."""
    by_id = {source.id: source for source in config.sources}
    found = {}
    for source_id, begin, end in manifest.source_ranges.get("train", []):
        if begin < end:
            source = by_id.get(source_id)
            path = source.path if source else f"source {source_id}"
            name = fmt.path_text(Path(path).name or path)
            found[source_id] = (name, source.weight if source else 1.0)
    if not found and len({source.weight for source in config.sources if source.is_on}) > 1:
        words = "The prepared data does not say which text is from which source"
        notes.append(Log(f"{words}, so weights do not count until it is prepared anew.", "warning"))
    return found if len({weight for _, weight in found.values()}) > 1 else {}


def _rows_of_sources(manifest: Manifest, sources: dict[int, tuple[str, float]]) -> _Rows:
    """One row a source, or one for all of the text where sources do not matter."""
    ranges = [[0, 0, manifest.train_tokens]]
    if sources:
        ranges = [row for row in manifest.source_ranges["train"] if row[1] < row[2]]
    table = np.array(ranges, dtype=np.int64)
    if (
        table[0, 1]
        or table[-1, 2] != manifest.train_tokens
        or (table[1:, 1] != table[:-1, 2]).any()
    ):
        raise DataError("CHANGED", "The ranges of the sources do not cover the training text.")
    places = {source_id: place for place, source_id in enumerate(sources)}
    of = np.array([places.get(source_id, 0) for source_id in table[:, 0].tolist()])
    begins = np.append(table[:, 1], manifest.train_tokens)
    return _Rows(begins, of, np.zeros(len(of), dtype=np.bool_))


def _told_apart(
    project: Project, manifest: Manifest, rows: _Rows, base: str | None, notes: list[Log]
) -> _Rows | None:
    """A row a document, old or new; None, and why, where there is nothing to tell apart."""
    if base is None:
        words = "The replay share only counts in a run that continues from other weights."
        notes.append(Log(words))
        return None
    is_new = _new_documents(project, manifest, base)
    if is_new is None:
        words = "What the checkpoint was trained on is not on record: old and new text are read"
        notes.append(Log(f"{words} as one, without a replay share.", "warning"))
        return None
    if is_new.all() or not is_new.any():
        words = "Nothing" if is_new.all() else "All"
        words += " of the prepared text was there when the checkpoint was trained"
        notes.append(Log(f"{words}, so there is no replay: it is read as usual."))
        return None
    docs = np.load(project.data_dir / "train_docs.npy", mmap_mode="r", allow_pickle=False)
    begins = np.asarray(docs)[:, 0].astype(np.int64)
    if len(begins) != len(is_new) + 1 or begins[-1] != manifest.train_tokens:
        raise DataError("CHANGED", "train_docs.npy does not fit the training text.")
    places = np.searchsorted(rows.begins, begins[:-1], side="right") - 1
    return _Rows(begins, rows.sources[places], is_new)


def _new_documents(project: Project, manifest: Manifest, base: str) -> npt.NDArray[np.bool_] | None:
    """Of each training document whether dataset ``base`` did not hold it; None: not on record."""
    if not base or TEXTS not in manifest.files:
        return None
    try:
        texts = np.load(project.data_dir / TEXTS, allow_pickle=False)
        known = np.load(version_path(project, base), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if {texts.dtype.str, known.dtype.str} != {"<u8"} or texts.shape != (manifest.train_docs,):
        return None
    return ~np.isin(texts, known)


def _shares(
    rows: _Rows, sources: dict[int, tuple[str, float]], config: ProjectConfig, notes: list[Log]
) -> list[_Share]:
    """What is read with the same frequency, each with a window at least."""
    keys = 2 * rows.sources + rows.is_new
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    ranges = np.stack((rows.begins[firsts], np.append(rows.begins[firsts[1:]], rows.begins[-1])), 1)
    table = list(sources.values()) or [("", 1.0)]
    has_ages = len(set(rows.is_new.tolist())) > 1
    shares = []
    for key in np.unique(keys).tolist():
        title, weight = table[key // 2]
        if has_ages:
            age = "new text" if key % 2 else "old text"
            title = f"{age} of {title}" if title else age
        shares.append(_Share(title, weight, bool(key % 2), ranges[keys[firsts] == key]))
    return _joined(shares, config, notes)


def _joined(shares: list[_Share], config: ProjectConfig, notes: list[Log]) -> list[_Share]:
    """Text of less than one window goes to the largest share of its age.

    Where all new (or all old) text is less than a window there is no share of that age.
    """
    seq_len, stride = config.train.seq_len, config.train.stride or config.train.seq_len
    joined: list[_Share] = []
    for is_new in (False, True):
        mine = [share for share in shares if share.is_new == is_new]
        host = max(mine, key=lambda share: share.n_tokens, default=None)
        small = [share for share in mine if share.n_tokens <= seq_len and share is not host]
        for share in mine:
            if share is host and small:
                ranges = np.concatenate([each.ranges for each in (share, *small)])
                share = replace(share, ranges=ranges)
                names = ", ".join(each.title for each in small)
                notes.append(Log(f"Less than one window of text: {names}; read with {host.title}."))
            n_windows, _ = count_windows(share.n_tokens, seq_len, stride)
            if n_windows:
                joined.append(replace(share, n_windows=n_windows))
    return joined


def _slots(shares: Sequence[_Share], replay: float | None) -> list[Part]:
    """How many windows an epoch reads of each share; with a replay share it scales the old ones."""
    wishes = [share.weight * share.n_windows for share in shares]
    if replay is not None:
        new = sum(wish for wish, share in zip(wishes, shares, strict=True) if share.is_new)
        factor = replay / (1 - replay) * new / (sum(wishes) - new)
        wishes = [
            wish if share.is_new else factor * wish
            for wish, share in zip(wishes, shares, strict=True)
        ]
    return [
        Part(share.title, share.ranges, max(1, round(wish)) if wish else 0)
        for wish, share in zip(wishes, shares, strict=True)
    ]


def _news(apart: _Rows, parts: Sequence[Part], shares: Sequence[_Share]) -> Log:
    """How much is new, and how much of what is read."""
    n_new, n_tokens = int(apart.is_new.sum()), np.diff(apart.begins)
    of_text = int(n_tokens[apart.is_new].sum()) / int(n_tokens.sum())
    total = sum(part.n_slots for part in parts)
    new = sum(part.n_slots for part, share in zip(parts, shares, strict=True) if share.is_new)
    return Log(
        f"{n_new:,} of {len(apart.is_new):,} documents are new since the checkpoint: "
        f"{100 * of_text:.3g} % of the text, {100 * new / total:.3g} % of what is read."
    )


def _frequencies(parts: Sequence[Part], shares: Sequence[_Share]) -> Log:
    """How often an epoch reads each part."""
    told = [
        f"{part.title} {part.n_slots / share.n_windows:.3g} times ({part.n_slots:,} windows)"
        for part, share in zip(parts, shares, strict=True)
    ]
    return Log(f"An epoch reads {', '.join(told)}.")


def repeated(windows: Windows, n_read: int) -> str:
    """A warning in words when a run of so many windows repeats a part too often by its weight."""
    per_epoch = windows.passes(windows.n_windows)
    often = [
        f"{part.title} {passes:.3g} times"
        for part, passes, each in zip(windows.parts, windows.passes(n_read), per_epoch, strict=True)
        if passes > MOST_PASSES and each > 1
    ]
    if not often:
        return ""
    return (
        f"This run reads {', '.join(often)}. Beyond {MOST_PASSES} times the same text teaches "
        "little and is learnt by heart: a smaller weight or replay share reads it less often."
    )

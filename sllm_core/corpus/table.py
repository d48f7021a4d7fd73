"""The analysed files as columns of numbers, and what the rules say about each of them.

300,000 files are some 40 MB of numpy arrays, so that a verdict, a filter or another order takes
milliseconds. Everything but `load` is a pure function; window, command line and the job that
moves files ask the same ones.
"""

import itertools
import json
import math
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sllm_core.config import CleanConfig, RefineConfig
from sllm_core.corpus.index import Index

Ints = npt.NDArray[np.integer[Any]]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

KEEP, DROP, COPY, MASK, OUT = range(5)
VERDICTS = ("keep", "drop", "copy", "mask", "out")
USED, EXCLUDED, HELD = range(3)  # state of a row: of those that are not used, only these are read
EXACT, NEAR = 1, 2
PROSE = ("prose", "book", "page", "pdf")  # kinds that have a language people speak
FINDINGS = ("secrets", "emails", "phones", "ips")  # counted in `flags`, a column each
MASKS = ("mask_secrets", "mask_emails", "mask_phones", "mask_ips")  # the switches that go with it
N_FLAGS = 31
CHUNK = 500  # rows fetched at a time: some three milliseconds with Python's lock held
_STATES = {"used": USED, "excluded": EXCLUDED, "would-leak": HELD}
_DUPLICATES = {None: 0, "": 0, "exact": EXACT, "near": NEAR}
# + keeps SQLite from the index by state: that by (source, path) gives the rows in their order.
_QUERY = (
    "SELECT id, source_id, size, score, kind, lang, CASE state WHEN 'used' THEN 'used' ELSE reason "
    "END, dup_kind, duplicate_of, similarity, reasons, flags, path_text FROM files WHERE "
    "(+state = 'used' OR +reason IN ('excluded', 'would-leak')) ORDER BY source_id, path"
)
_TYPES: dict[str, Any] = {
    "ids": np.int64,
    "source": np.int32,
    "size": np.int64,
    "score": np.int16,
    "kind": np.uint8,
    "lang": np.uint16,
    "state": np.uint8,
    "duplicate": np.uint8,
    "keeper": np.int64,
    "similarity": np.float32,
}
# What is counted or joined on the way.
_COUNTED: dict[str, Any] = {
    **dict.fromkeys(FINDINGS, np.uint16),
    "flags": np.uint32,
    "n_reasons": np.uint16,
    "rule": np.uint16,
    "value": np.float32,
    "text": np.uint8,
    "lower": np.uint8,
    "length": np.uint32,
}


@dataclass(frozen=True, eq=False)
class Rows:
    """Files in the order of their sources and paths; column i belongs to file i."""

    ids: Ints  # files.id
    source: Ints
    size: Ints  # of the file, in bytes
    score: Ints  # 0 to 100; -1 unknown
    kind: Ints  # index into `kinds`
    lang: Ints  # index into `langs`
    state: Bytes  # USED, EXCLUDED or HELD
    duplicate: Bytes  # 0, EXACT or NEAR
    keeper: Ints  # row of the file that stays instead; -1 none, or not among the rows
    similarity: npt.NDArray[np.float32]  # with the keeper; NaN unknown
    findings: dict[str, Ints]  # FINDINGS -> how many in the file
    flags: Ints  # bit k: `flag_names[k]`
    reason_at: Ints  # reasons of file i are reason_at[i] to reason_at[i + 1]
    reason_rule: Ints  # index into `rules`
    reason_value: npt.NDArray[np.float32]
    text: Bytes  # paths as shown, UTF-8, each with a line feed behind it
    lower: Bytes  # the same in small letters: offsets are equal
    text_at: Ints  # path i is text[text_at[i]:text_at[i + 1] - 1]
    kinds: tuple[str, ...] = ("",)
    langs: tuple[str, ...] = ("",)
    flag_names: tuple[str, ...] = ()
    rules: tuple[tuple[str, float], ...] = ()  # code and limit

    def __len__(self) -> int:
        """How many files."""
        return len(self.ids)

    @property
    def is_analysed(self) -> bool:
        """Whether any used file has a score."""
        return bool(((self.score >= 0) & (self.state == USED)).any())

    @property
    def n_bytes(self) -> int:
        """Memory that the columns take."""
        columns = [value for value in vars(self).values() if isinstance(value, np.ndarray)]
        return sum(column.nbytes for column in [*columns, *self.findings.values()])

    def path(self, i: int) -> str:
        """The path below its source as it is shown."""
        return self.text[self.text_at[i] : self.text_at[i + 1] - 1].tobytes().decode()

    def reasons(self, i: int) -> list[tuple[str, float, float]]:
        """(code, value, limit) of file ``i``, the worst first."""
        span = slice(int(self.reason_at[i]), int(self.reason_at[i + 1]))
        pairs = zip(self.reason_rule[span], self.reason_value[span], strict=True)
        return [(*self.rules[rule][:1], float(value), self.rules[rule][1]) for rule, value in pairs]

    def flags_of(self, i: int) -> list[str]:
        """Names of what is true of file ``i``: generated, minified ..."""
        return [name for k, name in enumerate(self.flag_names) if self.flags[i] >> k & 1]


@dataclass(frozen=True)
class Counts:
    """Files by verdict, what they weigh, and what was found in them."""

    files: tuple[int, ...]  # by verdict: keep, drop, copy, mask, out
    n_bytes: tuple[int, ...]
    exact: int = 0  # used files that have an older one of the same text, whatever the switches say
    near: int = 0
    excluded: int = 0
    held_back: int = 0
    unknown: int = 0  # used, without a score
    findings: dict[str, int] = field(default_factory=dict)  # FINDINGS -> used files
    languages: tuple[tuple[str, int], ...] = ()  # of used prose, the most first; '' is not sure

    @property
    def used(self) -> int:
        """Files that stand in the training text unless something is done."""
        return sum(self.files[:OUT])


def load(db_path: Path, check: Callable[[], object] = lambda: None) -> Rows:
    """Read the used, excluded and held-back files of ``project.db``.

    ``check`` is called after each piece and may raise to give up. Beside a window it is a child
    that reads long lists (`jobs.reading`).
    """
    parts = _Parts()
    with Index(db_path, is_checked=False) as index:
        found = index.read(_QUERY)
        while piece := list(itertools.islice(found, CHUNK)):
            parts.add(piece)
            check()
    return parts.rows()


def save(rows: Rows, path: Path) -> None:
    """Write the columns to a file, for another process on this computer."""
    columns: dict[str, Any] = {
        name: value for name, value in vars(rows).items() if isinstance(value, np.ndarray)
    }
    columns |= rows.findings
    names = {name: getattr(rows, name) for name in ("kinds", "langs", "flag_names", "rules")}
    head = np.frombuffer(json.dumps(names).encode(), np.uint8)
    with path.open("wb") as stream:
        np.savez(stream, head=head, **columns)


def read_saved(path: Path) -> Rows:
    """The columns of a file that `save` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        made: dict[str, Any] = {name: stored[name] for name in stored.files}
    names = json.loads(made.pop("head").tobytes())
    findings = {name: made.pop(name) for name in FINDINGS}
    rules = tuple((code, limit) for code, limit in names.pop("rules"))
    made |= {name: tuple(values) for name, values in names.items()}
    return Rows(**made, findings=findings, rules=rules)


class _Codes:
    """Small numbers for values that come again and again."""

    def __init__(self, *first: Any, limit: int = 1 << 16) -> None:
        self.values: dict[Any, int] = {value: n for n, value in enumerate(first)}
        self._limit = limit

    def __getitem__(self, value: Any) -> int:
        """Its number; 0 when there are too many of them."""
        code = self.values.get(value)
        if code is None:
            if len(self.values) >= self._limit:
                return 0
            code = self.values[value] = len(self.values)
        return code


class _Grown(bytearray):
    """A column while it grows: one block of memory that leaves nothing behind."""

    def column(self, kind: Any) -> npt.NDArray[Any]:
        """What it holds, not copied."""
        return np.frombuffer(self, kind)


class _Parts:
    """Columns while they are read, a piece at a time."""

    def __init__(self) -> None:
        self._kinds, self._langs = _Codes("", limit=256), _Codes("")
        self._rules, self._flag_names = _Codes(), _Codes()
        self._columns = {name: _Grown() for name in (*_TYPES, *_COUNTED)}

    def add(self, piece: list[tuple[Any, ...]]) -> None:
        """Take rows of the query."""
        ids, source, size, score, kind, lang, state, dup, keeper, alike, reasons, flags, paths = (
            zip(*piece, strict=True)
        )
        values: dict[str, Iterable[Any]] = {
            "ids": ids,
            "source": source,
            "size": size,
            "score": (-1 if value is None else value for value in score),
            "kind": (self._kinds[value or ""] for value in kind),
            "lang": (self._langs[value or ""] for value in lang),
            "state": (_STATES.get(value, EXCLUDED) for value in state),
            "duplicate": (_DUPLICATES.get(value, 0) for value in dup),
            "keeper": (-1 if value is None else value for value in keeper),
            "similarity": (math.nan if value is None else value for value in alike),
        }
        for name, column in values.items():
            self._put(name, np.fromiter(column, _TYPES[name], len(piece)))
        self._add_reasons(reasons)
        self._add_flags(flags)
        self._add_paths(paths)

    def _put(self, name: str, values: npt.NDArray[Any]) -> None:
        self._columns[name] += values.tobytes()

    def _add_reasons(self, texts: Collection[str | None]) -> None:
        lengths, rules, values = [], [], []
        for text in texts:
            found = json.loads(text) if text and text != "[]" else ()
            lengths.append(len(found))
            for reason in found:
                rules.append(self._rules[reason["code"], float(reason["limit"] or 0)])
                values.append(float(reason["value"] or 0))
        self._put("n_reasons", np.array(lengths, np.uint16))
        self._put("rule", np.array(rules, np.uint16))
        self._put("value", np.array(values, np.float32))

    def _add_flags(self, texts: Collection[str | None]) -> None:
        found = {name: np.zeros(len(texts), np.uint16) for name in FINDINGS}
        bits = np.zeros(len(texts), np.uint32)
        for i, text in enumerate(texts):
            if not text or text == "{}":
                continue
            for name, value in json.loads(text).items():
                if name in found:
                    found[name][i] = min(int(value), 0xFFFF)
                elif value and (bit := self._flag_names[name]) < N_FLAGS:
                    bits[i] |= np.uint32(1 << bit)
        for name, column in found.items():
            self._put(name, column)
        self._put("flags", bits)

    def _add_paths(self, paths: Collection[str]) -> None:
        text = "".join([f"{path}\n" for path in paths])
        raw = text.encode("utf-8", "backslashreplace")
        small = text.lower().encode("utf-8", "backslashreplace")
        ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == ord("\n"))
        if len(small) != len(raw) or any(small[end] != ord("\n") for end in ends.tolist()):
            small = raw.lower()  # some letters are longer when small: then A to Z alone
        self._columns["text"] += raw
        self._columns["lower"] += small
        self._put("length", np.diff(ends, prepend=-1).astype(np.uint32))

    def rows(self) -> Rows:
        """All pieces in one."""
        kinds = {**_TYPES, **_COUNTED}
        made = {name: grown.column(kinds[name]) for name, grown in self._columns.items()}
        columns = {name: made[name] for name in _TYPES}
        columns["keeper"] = _places(columns["ids"], columns["keeper"])
        return Rows(
            **columns,
            findings={name: made[name] for name in FINDINGS},
            flags=made["flags"],
            reason_at=_offsets(made["n_reasons"]),
            reason_rule=made["rule"],
            reason_value=made["value"],
            text=made["text"],
            lower=made["lower"],
            text_at=_offsets(made["length"]),
            kinds=tuple(self._kinds.values),
            langs=tuple(self._langs.values),
            flag_names=tuple(self._flag_names.values)[:N_FLAGS],
            rules=tuple(self._rules.values),
        )


def _offsets(lengths: Ints) -> npt.NDArray[np.uint32]:
    found = np.zeros(len(lengths) + 1, np.uint32)
    np.cumsum(lengths, out=found[1:])
    return found


def _places(ids: Ints, wanted: Ints) -> npt.NDArray[np.int32]:
    """The row of each wanted id, -1 where there is none."""
    if not len(ids):
        return np.zeros(0, np.int32)
    order = np.argsort(ids, kind="stable")
    at = order[np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)]
    return np.where(ids[at] == wanted, at, -1).astype(np.int32)


def verdicts(rows: Rows, refine: RefineConfig, clean: CleanConfig) -> Bytes:
    """KEEP, DROP, COPY, MASK or OUT (is left out already) for each file; a pure function.

    DROP: the score is known and below the lowest, or a key was found that is neither masked nor
    allowed, or it is prose in a language that is left out. COPY: another file stands for it, and
    that one stays. MASK: something in it is masked as it is read.
    """
    is_used = rows.state == USED
    drop = (rows.score >= 0) & (rows.score < refine.min_score)
    if refine.drop_secrets and not clean.mask_secrets:
        drop |= rows.findings["secrets"] > 0
    if refine.drop_languages:
        drop |= is_prose(rows) & np.isin(rows.lang, _codes(rows.langs, refine.drop_languages))
    drop &= is_used
    is_copy = (rows.duplicate == EXACT) & refine.drop_exact
    if refine.drop_near:
        is_alike = ~(rows.similarity < np.float32(refine.near_threshold - 1e-6))  # unknown counts
        is_copy |= (rows.duplicate == NEAR) & is_alike
    stays = np.append(is_used & ~drop, False)  # the last stands for keeper -1
    is_copy &= is_used & stays[rows.keeper] & ~drop
    masked = np.zeros(len(rows), bool)
    for name, switch in zip(FINDINGS, MASKS, strict=True):
        if getattr(clean, switch):
            masked |= rows.findings[name] > 0
    found = np.where(masked, np.uint8(MASK), np.uint8(KEEP))
    found[is_copy] = COPY
    found[drop] = DROP
    found[~is_used] = OUT
    return found


def is_prose(rows: Rows) -> Bools:
    """Files in a language that people speak."""
    return np.isin(rows.kind, _codes(rows.kinds, PROSE))


def _codes(names: tuple[str, ...], wanted: Collection[str]) -> list[int]:
    return [code for code, name in enumerate(names) if name in wanted]


def counts(rows: Rows, found: Bytes) -> Counts:
    """How many files, and bytes, each verdict has; ``found`` is of `verdicts`."""
    is_used = rows.state == USED
    n = np.bincount(found, minlength=len(VERDICTS))
    weight = [int(rows.size[found == verdict].sum()) for verdict in range(len(VERDICTS))]
    spoken = np.bincount(rows.lang[is_used & is_prose(rows)], minlength=len(rows.langs))
    ranked = sorted(zip(rows.langs, spoken.tolist(), strict=True), key=lambda row: (-row[1], row))
    return Counts(
        files=tuple(n.tolist()),
        n_bytes=tuple(weight),
        exact=int(((rows.duplicate == EXACT) & is_used).sum()),
        near=int(((rows.duplicate == NEAR) & is_used).sum()),
        excluded=int((rows.state == EXCLUDED).sum()),
        held_back=int((rows.state == HELD).sum()),
        unknown=int(((rows.score < 0) & is_used).sum()),
        findings={
            name: int(((column > 0) & is_used).sum()) for name, column in rows.findings.items()
        },
        languages=tuple((name, n) for name, n in ranked if n),
    )


def histogram(rows: Rows) -> npt.NDArray[np.int64]:
    """Used files at each score from 0 to 100."""
    known = (rows.score >= 0) & (rows.state == USED)
    return np.bincount(rows.score[known].clip(0, 100), minlength=101)


COLUMNS = ("path", "kind", "size", "score", "verdict", "why", "copy_of")


def order(
    rows: Rows, column: str, *, is_descending: bool = False, found: Bytes | None = None
) -> Ints:
    """Numbers of the rows sorted by one of COLUMNS; equal ones stay in the order of their paths."""
    keys: dict[str, Callable[[], Ints]] = {
        "path": lambda: np.arange(len(rows), dtype=np.int32),
        "kind": lambda: _by_name(rows.langs)[rows.lang] + 1000 * _by_name(rows.kinds)[rows.kind],
        "size": lambda: rows.size,
        "score": lambda: rows.score,
        "verdict": lambda: found if found is not None else rows.state,
        "why": lambda: _worst(rows),
        "copy_of": lambda: rows.keeper,
    }
    key = keys[column]()
    if is_descending:
        key = -key.astype(np.int64)
    return np.argsort(key, kind="stable").astype(np.int32)


def _by_name(names: tuple[str, ...]) -> npt.NDArray[np.int32]:
    """The rank of each code by its name."""
    ranks = np.zeros(len(names), np.int32)
    ranks[sorted(range(len(names)), key=lambda code: names[code])] = np.arange(len(names))
    return ranks


def _worst(rows: Rows) -> Ints:
    """A rank of the first reason of each file; those without come last."""
    n_rules = len(rows.rules)
    ranks = _by_name(tuple(code for code, _ in rows.rules))
    has_one = rows.reason_at[1:] > rows.reason_at[:-1]
    key = np.full(len(rows), n_rules, np.int32)
    key[has_one] = ranks[rows.reason_rule[rows.reason_at[:-1][has_one]]]
    return key


if __name__ == "__main__":  # a child of `jobs.reading`
    save(load(Path(sys.argv[1])), Path(sys.argv[2]))

"""What the window looks at while a person waits: files, columns, tokens, the tokenizer's report.

Runs in a child of its own without torch, so that it is there at once; only ever reads.
"""

import codecs
import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sllm_core import advice, dataset, estimate, fmt, tokenizer
from sllm_core.config import CleanConfig, ProjectConfig
from sllm_core.corpus import extract, formats, records, store
from sllm_core.corpus.clean import PLAIN, apply_whole
from sllm_core.corpus.extract import Beginning, FileId, SkipFile
from sllm_core.corpus.index import FileRow, Index
from sllm_core.corpus.kinds import classify
from sllm_core.corpus.store import Texts, file_path
from sllm_core.errors import DataError
from sllm_core.messages import Columns, Message, Preview, TokenCount, TokenizerReport
from sllm_core.project import Project
from sllm_core.tokenizer import SAMPLE_CHARS, Tokenizer

MOST_CHARS = 30_000  # of a preview: with its tokens it must fit one line of a message
RAW_BYTES = 4096
CLEANED_CHARS = (
    1 << 20
)  # so much is cleaned for a preview: docstrings are found in whole files only
SAMPLE_BYTES = 4_000_000
SAMPLE_FILES = 400
COUNTED_TOKENS = 20_000_000
COMPARED_BYTES = 1_000_000
_LEAST_COMPARED = 100_000
RARE = 10
_LINE_CHARS = 160
# Why no text was made of a file at the scan.
_WHY = {
    "": "it was not read by a scan yet, or has changed since: scan again",
    "columns": "choose the columns of this table that hold the text",
    "library": "a package that reads it is missing",
    "encrypted": "it is locked with a password",
    "parse": "it is damaged",
    "limit": "it needs more memory or time than one file may have",
    "empty": "there is no text in it",
    "excluded": "you left it out",
}
_NEVER_IN_UTF8 = 13  # bytes 0xC0, 0xC1 and 0xF5 to 0xFF stand in no text


@dataclass
class Looker:
    """Answers requests about one project; keeps its tokenizer as long as the file stays the same.

    Args:
        breathe: called between the files of a report, so that quicker requests go first.
    """

    project: Project
    breathe: Callable[[], None] = lambda: None
    _key: tuple[int, int] | None = field(default=None, repr=False)
    _index: Index | None = field(default=None, repr=False)
    _tokenizer: Tokenizer | None = field(default=None, repr=False)

    def answer(self, body: dict[str, Any]) -> Message:
        """The answer to one request (see `worker.look`).

        Raises:
            SllmError: the request cannot be met, in the user's words.
        """
        number = int(body["request"])
        if "preview" in body:
            return self._preview(number, body)
        if "columns" in body:
            return self._columns(number, body["columns"])
        if "count" in body:
            return self._count(number, str(body["count"]))
        if "report" not in body:
            raise ValueError(f"a request asks for nothing: {sorted(body)}")
        return self._report(number, is_compared=bool(body.get("compare", True)))

    def tokenizer(self) -> Tokenizer | None:
        """The project's tokenizer as it is now; None when there is none.

        Raises:
            TokenizerError: there is one that cannot be used.
        """
        path = self.project.tokenizer_dir / "tokenizer.json"
        try:
            info = path.stat()
        except OSError:
            self._key = self._tokenizer = None
            return None
        key = (info.st_mtime_ns, info.st_size)
        if key != self._key:
            self._tokenizer = tokenizer.load(path)
            self._key = key
        return self._tokenizer

    def _preview(self, number: int, body: dict[str, Any]) -> Preview:
        path, row = self._find(body["preview"])
        limit = min(MOST_CHARS, max(1, int(body.get("limit", 8000))))
        mode = str(body.get("mode", "raw" if body.get("raw") else "cleaned"))
        name = fmt.path_text(path.name)
        if mode == "raw":
            return _raw(number, name, path)
        options = PLAIN
        if mode == "cleaned":
            options = _options(self.project.load_config(), body.get("clean"))
        try:
            found = self._read(path, row, limit, int(body.get("record", 0)), options)
        except SkipFile as skip:
            what = "cannot be shown now" if skip.reason == "changed" else "is not used"
            note = f"This file {what}: {skip}."
            return Preview(number, name, "", _size(path), reason=skip.reason, note=note)
        text = found.text
        if not text:
            note = "This file is empty." if not found.n_bytes else "Nothing is left of it as text."
            return Preview(number, name, "", found.n_bytes, reason="empty", note=note)
        used = self.tokenizer() if mode == "cleaned" else None
        ids = used.encode(text) if used else None
        more = f"The first {len(text):,} characters of {fmt.size(found.n_bytes)}."
        return Preview(
            request=number,
            name=name,
            text=text,
            n_bytes=found.n_bytes,
            encoding=found.encoding,
            is_converted=found.encoding not in {"", "utf-8", "utf-8-sig"},
            is_cut=found.is_cut,
            ends=token_ends(text, ids, used) if used and ids is not None else (),
            n_tokens=len(ids) if ids is not None else None,
            note=more if found.is_cut else "",
        )

    def _read(
        self,
        path: Path,
        row: FileRow | None,
        limit: int,
        record: int | None,
        options: CleanConfig,
    ) -> Beginning:
        """The beginning of a file, or of one record of a table, after the options of cleaning.

        Raises:
            SkipFile: there is none.
        """
        if options == PLAIN:
            return self._extracted(path, row, limit, record)
        found = self._extracted(path, row, max(limit, CLEANED_CHARS), record)
        kind, lang = (row.kind, row.lang) if row else classify(path.name)
        text = apply_whole(found.text, options, kind or "prose", lang or "")
        return found._replace(text=text[:limit], is_cut=found.is_cut or len(text) > limit)

    def _extracted(
        self, path: Path, row: FileRow | None, n_chars: int, record: int | None
    ) -> Beginning:
        """The text before the options: of the file itself, or what the scan made of it."""
        stored = store.text_path(self.project, row) if row else None
        if row is None or stored is None:
            if formats.format_of(path.name):  # no text was made of it
                reason = row.reason if row else ""
                raise SkipFile(reason or "changed", _WHY.get(reason, ""))
            return extract.read_beginning(path, n_chars, (row.encoding or "") if row else "")
        if not stored.exists():  # the cache was cleared
            raise SkipFile("changed", "its text is made again by a scan")
        if row.records is None or record is None:
            found = extract.read_beginning(stored, n_chars, "utf-8")
            return found._replace(encoding=row.encoding or "")
        begin, end = _span(store.read_ends(stored), record)
        try:
            with stored.open("rb") as file:
                file.seek(begin)
                data = file.read(min(end - begin, 4 * n_chars))
        except OSError as problem:
            raise SkipFile("unreadable", problem.strerror or str(problem)) from problem
        text = codecs.getincrementaldecoder("utf-8")().decode(data)  # the last letter may be cut
        is_cut = len(data) < end - begin or len(text) > n_chars
        return Beginning(text[:n_chars], row.encoding or "", end - begin, is_cut)

    def _columns(self, number: int, what: Any) -> Columns:
        """The columns of a table with a piece of what stands in each, and those that are the text.

        Raises:
            DataError: it is no table that can be read.
        """
        path, _ = self._find(what)
        name = fmt.path_text(path.name)
        try:
            found = formats.table_columns(path, formats.format_of(path.name))
        except SkipFile as skip:
            raise DataError("SOURCE", f"The columns of {name} cannot be read: {skip}.") from skip
        sources = self.project.load_config().sources
        given = next((s.columns for s in sources if s.id == int(what["source_id"])), ())
        names = [column for column, _ in found]
        usual = [column for word in records.PREFERRED for column in names if column.lower() == word]
        return Columns(number, name, tuple(found), given or tuple(usual[:1]))

    def _find(self, what: Any) -> tuple[Path, FileRow | None]:
        """The path a request names, and its row of the index if it is as it was scanned."""
        if isinstance(what, str):
            return self.project.root / what, None
        config = self.project.load_config()
        source_id, path = int(what["source_id"]), bytes.fromhex(what["path"])
        roots = Texts.of(self.project, config).roots
        if source_id not in roots:
            raise DataError("SOURCE", f"There is no source {source_id} in this project.")
        full, index = file_path(roots[source_id], path), self._open_index()
        row = index.find_file(source_id, path) if index else None
        return full, row if row and _is_same(full, row) else None

    def _open_index(self) -> Index | None:
        """Opened once: its check of a large database takes longer than a person should wait."""
        if self._index is None and self.project.db_path.exists():
            self._index = Index(self.project.db_path)
        return self._index

    def _count(self, number: int, text: str) -> TokenCount:
        used = self.tokenizer()
        n_bytes = len(text.encode("utf-8", "replace"))
        return TokenCount(number, len(used.encode(text)) if used else None, n_bytes)

    def _report(self, number: int, *, is_compared: bool) -> TokenizerReport:
        used = self.tokenizer()
        if used is None:
            raise DataError("EMPTY", "There is no tokenizer yet.", todo="Prepare the data first.")
        config = self.project.load_config()
        sample = self._sample(config, used)
        uses, counted = self._uses(used, sample)
        normal = _can_be_used(used)
        never = int((uses[normal] == 0).sum()) - _NEVER_IN_UTF8
        rare = int(((uses[normal] > 0) & (uses[normal] < RARE)).sum())
        lengths = used.token_bytes()
        longest = int(lengths.argmax())
        share = _embedding_share(config, used)
        text_bytes = sum(row.text_bytes or 0 for row in sample.rows)
        report = TokenizerReport(
            request=number,
            vocab_size=used.vocab_size,
            bytes_per_token=sample.bytes_per_token,
            by_type=sample.by_type(),
            longest_bytes=int(lengths[longest]),
            longest_text=used.decode([longest]),
            n_never=max(0, never),
            n_rare=rare,
            n_special=len(used.special_ids),
            advice="",
            split=used.split,
            engine=used.engine,
            sample_files=len(sample.doc_tokens),
            sample_bytes=sample.n_bytes,
            sample_tokens=sample.n_tokens,
            counted_tokens=counted,
            embedding_share=share,
            **sample.shares(used),
        )
        line, ends = sample.line(used)
        report = replace(report, line=line, line_ends=ends)
        report = replace(report, advice=advice.judge_tokenizer(report, text_bytes))
        if is_compared and sample.texts and used.split != "gpt2":
            self.breathe()
            return _compare(report, sample.texts, used)
        return report

    def _sample(self, config: ProjectConfig, used: Tokenizer) -> "Sample":
        """A bounded, stable choice of the project's files, of validation where there is enough."""
        rows = self.used_rows()
        held_out = self.held_out()
        chosen = [row for row in rows if row.id in held_out] or rows
        sample = Sample(rows)
        for row, text in self.texts(config, chosen):
            if len(sample.doc_tokens) >= SAMPLE_FILES or sample.n_bytes >= SAMPLE_BYTES:
                break
            sample.add(row, text, used)
        return sample

    def used_rows(self) -> list[FileRow]:
        """All files in use."""
        index = self._open_index()
        return list(index.used_files()) if index else []

    def held_out(self) -> frozenset[int]:
        """The ids of whole files that the last preparation kept for validation."""
        index = self._open_index()
        where = "state = 'used' AND split = 'val'"
        found = index.read(f"SELECT id FROM files WHERE {where}") if index else iter(())
        return frozenset(row_id for (row_id,) in found)

    def texts(
        self, config: ProjectConfig, rows: list[FileRow], most_chars: int = SAMPLE_CHARS
    ) -> Iterator[tuple[FileRow, str]]:
        """The beginnings of files as they are trained on, in an order that looks random but stays.

        A file that is gone or changed is left out.
        """
        roots = Texts.of(self.project, config).roots
        for row in sorted(rows, key=lambda row: (row.text_hash or b"", row.path)):
            self.breathe()
            path = file_path(roots[row.source_id], row.path)
            if _is_same(path, row):
                with contextlib.suppress(SkipFile):
                    yield row, self._read(path, row, most_chars, None, config.clean).text

    def _uses(self, used: Tokenizer, sample: "Sample") -> tuple[npt.NDArray[np.int64], int]:
        """How often each token occurs in the prepared data, else in the sample; of how many."""
        uses = np.zeros(used.vocab_size, dtype=np.int64)
        for part in self._encoded_parts(used):
            self.breathe()
            uses += np.bincount(part, minlength=used.vocab_size)[: used.vocab_size]
        if not uses.any():
            for ids in sample.ids:
                uses += np.bincount(ids, minlength=used.vocab_size)
        return uses, int(uses.sum())

    def _encoded_parts(self, used: Tokenizer) -> Iterator[npt.NDArray[np.int64]]:
        """Pieces of train.npy, spread evenly, at most `COUNTED_TOKENS` in all."""
        manifest = dataset.load_manifest(self.project)
        if manifest is None or manifest.tokenizer_sha256 != used.sha256:
            return
        try:
            path = self.project.data_dir / "train.npy"
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return
        piece = 1_000_000
        n_all = math.ceil(len(tokens) / piece)
        every = max(1, math.ceil(n_all / (COUNTED_TOKENS // piece)))
        for number in range(0, n_all, every):
            yield np.asarray(tokens[number * piece : (number + 1) * piece], dtype=np.int64)


@dataclass
class Sample:
    """Texts of some files with their tokens."""

    rows: list[FileRow]
    texts: list[str] = field(default_factory=list)
    ids: list[npt.NDArray[np.int64]] = field(default_factory=list)
    doc_tokens: list[int] = field(default_factory=list)
    bytes_of: Counter[str] = field(default_factory=Counter)
    tokens_of: Counter[str] = field(default_factory=Counter)

    def add(self, row: FileRow, text: str, used: Tokenizer) -> None:
        """Take the beginning of one file."""
        ids = used.encode(text).astype(np.int64)
        n_bytes, kind = len(text.encode("utf-8")), Path(row.path_text).suffix.lower()
        self.texts.append(text)
        self.ids.append(ids)
        self.bytes_of[kind or "other"] += n_bytes
        self.tokens_of[kind or "other"] += len(ids)
        whole = row.text_bytes or n_bytes
        self.doc_tokens.append(round(len(ids) * whole / max(1, n_bytes)))

    @property
    def n_bytes(self) -> int:
        """Of text, UTF-8."""
        return self.bytes_of.total()

    @property
    def n_tokens(self) -> int:
        """Of all texts."""
        return self.tokens_of.total()

    @property
    def bytes_per_token(self) -> float | None:
        """Over all texts."""
        return round(self.n_bytes / self.n_tokens, 3) if self.n_tokens else None

    def by_type(self) -> dict[str, float]:
        """Bytes a token of the twelve file endings with the most text."""
        kinds = [kind for kind, _ in self.bytes_of.most_common(12) if self.tokens_of[kind]]
        return {kind: round(self.bytes_of[kind] / self.tokens_of[kind], 3) for kind in kinds}

    def shares(self, used: Tokenizer) -> dict[str, Any]:
        """What kinds of tokens the sample is made of, and how long its documents are."""
        if not self.n_tokens:
            return {}
        parts = [used.decode_bytes([number]) for number in range(used.vocab_size)]
        uses = np.zeros(used.vocab_size, dtype=np.int64)
        for ids in self.ids:
            uses += np.bincount(ids, minlength=used.vocab_size)

        def share(test: Callable[[bytes], bool]) -> float:
            return round(float(uses[[test(part) for part in parts]].sum()) / self.n_tokens, 4)

        return {
            "digit_share": share(lambda part: part.strip().isdigit()),
            "blank_share": share(lambda part: bool(part) and not part.strip()),
            "byte_share": share(lambda part: len(part) == 1),
            "doc_tokens_p50": int(np.percentile(self.doc_tokens, 50)),
            "doc_tokens_p99": int(np.percentile(self.doc_tokens, 99)),
        }

    def line(self, used: Tokenizer) -> tuple[str, tuple[int, ...]]:
        """A line of the user's text that is good to look at, and where its tokens end."""
        for text in self.texts:
            for line in text.splitlines():
                if len(line.strip()) >= 60:
                    shown = line.strip()[:_LINE_CHARS]
                    return shown, token_ends(shown, used.encode(shown), used)
        return "", ()


def token_ends(text: str, ids: npt.NDArray[Any], used: Tokenizer) -> tuple[int, ...]:
    """Where each token ends, in characters; a character in several tokens belongs to the last."""
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    ends = np.cumsum(used.token_bytes()[ids.astype(np.int64)])
    if len(ids) and int(ends[-1]) != len(data):  # never with our own tokenizers
        return ()
    is_start = np.append((data & 0xC0) != 0x80, True)
    begun = np.concatenate(([0], np.cumsum(is_start[:-1])))
    return tuple((begun[ends] - ~is_start[ends]).tolist())


def _options(config: ProjectConfig, wishes: Any) -> CleanConfig:
    """How text is cleaned: as the project says, or as a person is just trying out."""
    if not isinstance(wishes, dict):
        return config.clean
    names = {field.name for field in fields(CleanConfig)}
    return replace(config.clean, **{k: bool(v) for k, v in wishes.items() if k in names})


def _span(ends: npt.NDArray[np.uint64], record: int) -> tuple[int, int]:
    """Where a record lies, in bytes; beyond the last one it is the last one."""
    record = max(0, min(record, len(ends) - 1))
    return int(ends[record - 1]) if record else 0, int(ends[record])


def hex_dump(data: bytes) -> str:
    """``00000010  61 62 ...  |ab...|``, sixteen bytes a line."""
    lines = []
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<47}  |{shown}|")
    return "\n".join(lines)


def _raw(number: int, name: str, path: Path) -> Preview:
    try:
        data, n_bytes = extract.read_head(path, RAW_BYTES)
    except SkipFile as skip:
        note = f"This file cannot be shown: {skip}."
        return Preview(number, name, "", 0, reason=skip.reason, note=note)
    is_cut = n_bytes > len(data)
    note = f"The first {len(data):,} of {n_bytes:,} bytes." if is_cut else ""
    return Preview(
        number, name, hex_dump(data), n_bytes, encoding="bytes", is_cut=is_cut, note=note
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def _is_same(path: Path, row: FileRow) -> bool:
    """Whether the file is still the one that was scanned, so that its encoding is known."""
    try:
        return FileId.of(path.stat()) == FileId(row.size, row.mtime_ns, row.dev, row.inode)
    except OSError:
        return False


def _can_be_used(used: Tokenizer) -> npt.NDArray[np.bool_]:
    normal = np.ones(used.vocab_size, dtype=np.bool_)
    normal[list(used.special_ids)] = False
    return normal


def _embedding_share(config: ProjectConfig, used: Tokenizer) -> float:
    n = estimate.count_parameters(replace(config.model, vocab_size=used.vocab_size))
    return round((n.embedding + n.head) / n.total, 4)


def _compare(report: TokenizerReport, texts: list[str], used: Tokenizer) -> TokenizerReport:
    """GPT-2's split against ours: both learnt anew from one half of the sample, read the other."""
    if not tokenizer.has_library() or used.vocab_size <= tokenizer.BYTE_VOCAB_SIZE:
        return report
    learn, held = _halves(texts)
    n_bytes = sum(len(text.encode("utf-8")) for text in held)
    if n_bytes < _LEAST_COMPARED or not learn:
        return report
    size = min(used.vocab_size, max(tokenizer.BYTE_VOCAB_SIZE + 64, n_bytes // 50))
    counts = {}
    for split in (used.split, "gpt2"):
        made = tokenizer.train(learn, size, split=split)
        counts[split] = sum(len(made.encode(text)) for text in held)
    ratio = counts[used.split] / counts["gpt2"]
    gain = 100 * (1 / ratio - 1)
    note = (
        f"On your text the split {used.split} needs {abs(gain):.1f} % "
        f"{'fewer' if gain >= 0 else 'more'} tokens than GPT-2's (both learnt from "
        f"{fmt.size(sum(map(len, learn)))}, {size:,} tokens each)."
    )
    return replace(
        report,
        gpt2_bytes_per_token=round((report.bytes_per_token or 0) * ratio, 3),
        gpt2_note=note,
    )


def _halves(texts: list[str]) -> tuple[list[str], list[str]]:
    """Every second text, or the two halves of a single one; at most `COMPARED_BYTES` together."""
    if len(texts) == 1:
        half = min(len(texts[0]), COMPARED_BYTES) // 2
        return [texts[0][:half]], [texts[0][half : 2 * half]]
    kept, size = [], 0
    for text in texts:
        kept.append(text)
        size += len(text)
        if size > COMPARED_BYTES and len(kept) > 1:
            break
    return kept[::2], kept[1::2]

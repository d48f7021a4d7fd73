"""Where the text of a file is read from: the file itself, or what was made of it at the scan.

Formats that are not plain text are opened once, in a limited child (`formats`); their text lies
in `encoded_data/texts`, named by the file's bytes and the extractor. Everything later reads that.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import xxhash

from sllm_core.config import CleanConfig, ProjectConfig
from sllm_core.corpus import extract
from sllm_core.corpus.extract import Cleaning, FileId, SkipFile
from sllm_core.corpus.index import FileRow, decode_path
from sllm_core.project import Project

_GONE = "the text that was made of it is gone"


def texts_dir(project: Project) -> Path:
    """The folder of extracted texts."""
    return project.data_dir / "texts"


def text_name(raw_hash: bytes, extractor: str) -> str:
    """The name of an extracted text: the same for the same bytes and extractor."""
    return xxhash.xxh3_128_hexdigest(raw_hash + extractor.encode()) + ".txt"


def text_path(project: Project, row: FileRow) -> Path | None:
    """The extracted text of a row; None when the file itself is plain text."""
    if not row.extractor or row.raw_hash is None:
        return None
    return texts_dir(project) / text_name(row.raw_hash, row.extractor)


def file_path(root: Path, path: bytes) -> Path:
    """The full path of a listed file (a source that is one file has an empty path)."""
    return root / decode_path(path) if path else root


def identity(row: FileRow) -> FileId:
    """What the file was when it was listed."""
    return FileId(row.size, row.mtime_ns, row.dev, row.inode)


@dataclass
class Texts:
    """Reads the cleaned texts of rows; every reading proves that the file is what was scanned.

    Args:
        project: whose files.
        roots: folder of each source by id.
        options: what is cleaned.
    """

    project: Project
    roots: dict[int, Path]
    options: CleanConfig

    @staticmethod
    def of(project: Project, config: ProjectConfig) -> "Texts":
        """For a project as it is set."""
        roots = {source.id: project.source_root(source) for source in config.sources}
        return Texts(project, roots, config.clean)

    def cleaning(self, row: FileRow) -> Cleaning:
        """How this row is cleaned."""
        return Cleaning(self.options, row.kind or "prose", row.lang or "")

    def place(self, row: FileRow) -> Path:
        """Where the file itself is.

        Raises:
            SkipFile: its source is gone.
        """
        if row.source_id not in self.roots:
            raise SkipFile("changed", "its source is not part of the project any more")
        return file_path(self.roots[row.source_id], row.path)

    def pieces(self, row: FileRow) -> Iterator[str]:
        """The cleaned text of a row (records of a table joined by a line feed), in pieces.

        Raises:
            SkipFile: it changed, vanished or cannot be read any more.
        """
        if row.records is not None:
            return (f"{text}\n" for text in self.records(row))
        return self.cleaning(row)(self.extracted(row))

    def extracted(self, row: FileRow) -> Iterator[str]:
        """The text before the options of cleaning, in pieces.

        Raises:
            SkipFile: see `pieces`.
        """
        stored = text_path(self.project, row)
        if stored is None:
            return extract.read_text(self.place(row), identity(row), row.encoding or "utf-8")
        self._prove(row)
        return extract.read_text(stored, _listed(stored), "utf-8")

    def small(self, row: FileRow) -> bytes:
        """The whole cleaned text of a row as UTF-8, for one that fits memory.

        Raises:
            SkipFile: reason changed, it is not the text that was scanned; or see `pieces`.
        """
        if not row.extractor and row.encoding == "utf-8":
            data = b"".join(extract.read_blocks(self.place(row), identity(row)))
            # The scan hashed the cleaned text: the same hash means there is nothing to clean.
            if xxhash.xxh3_128_digest(data) == row.text_hash:
                return data
        data = "".join(self.pieces(row)).encode("utf-8")
        if xxhash.xxh3_128_digest(data) != row.text_hash:
            raise SkipFile("changed")
        return data

    def records(self, row: FileRow) -> Iterator[str]:
        """The cleaned documents of a table, in order.

        Raises:
            SkipFile: see `pieces`.
        """
        stored = text_path(self.project, row)
        assert stored is not None
        self._prove(row)
        cleaning, begin = self.cleaning(row), 0
        ends = read_ends(stored)
        with _open(stored) as file:
            for end in ends:
                data = file.read(int(end) - begin)
                if len(data) != int(end) - begin:
                    raise SkipFile("changed", _GONE)
                begin = int(end)
                yield "".join(cleaning([data.decode("utf-8")]))

    def _prove(self, row: FileRow) -> None:
        """The file that the text was made of must still be the one that was scanned."""
        os.close(extract.open_regular(self.place(row), identity(row)))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as problem:
        raise SkipFile("changed", _GONE) from problem


def _listed(path: Path) -> FileId:
    try:
        return FileId.of(path.stat())
    except OSError as problem:
        raise SkipFile("changed", _GONE) from problem


def read_ends(stored: Path) -> npt.NDArray[np.uint64]:
    """Where each record of an extracted table ends, in bytes (n_records,).

    Raises:
        SkipFile: the list is gone or is not what was written.
    """
    try:
        ends = np.fromfile(stored.with_suffix(".ends"), dtype="<u8")
        size = stored.stat().st_size
    except OSError as problem:
        raise SkipFile("changed", _GONE) from problem
    is_rising = len(ends) < 2 or bool((ends[1:] >= ends[:-1]).all())
    if not len(ends) or not is_rising or int(ends[-1]) != size:
        raise SkipFile("changed", _GONE)
    return ends

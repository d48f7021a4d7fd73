"""What `.gitignore` files inside a source leave out, as git reads them: deeper files win."""

import os
from collections.abc import Iterable
from pathlib import Path

from pathspec import GitIgnoreSpec

from sllm_core.corpus.extract import SkipFile, read_head

_MOST_BYTES = 1 << 20
_MOST_STARS = 6  # of one pattern: more make a regular expression that can take for ever
SEP = os.fsencode(os.sep)


class Rules:
    """The patterns that hold in each folder of one walk.

    Args:
        top: the source, as bytes.
    """

    def __init__(self, top: bytes) -> None:
        self._top = top
        self._specs: dict[bytes, GitIgnoreSpec] = {}  # folder below the source -> its patterns
        # Folder -> it and those above it that have patterns, the nearest first.
        self._chains: dict[bytes, tuple[bytes, ...]] = {b"": ()}

    def enter(self, folder: bytes, entries: Iterable["os.DirEntry[bytes]"]) -> bool:
        """Read the folder's own `.gitignore`, if it has one; returns whether any patterns hold."""
        above = folder.rpartition(SEP)[0] if folder else b""
        chain = self._chains.get(above, ()) if folder else ()
        if any(entry.name == b".gitignore" for entry in entries):
            spec = _read(self._top + SEP + (folder + SEP if folder else b"") + b".gitignore")
            if spec is not None:
                self._specs[folder] = spec
                chain = (folder, *chain)
        self._chains[folder] = chain
        return bool(chain)

    def covers(self, folder: bytes, path: bytes, *, is_dir: bool = False) -> bool:
        """Whether a file (or a whole folder) inside ``folder`` is left out."""
        for home in self._chains.get(folder, ()):
            below = os.fsdecode(path[len(home) + 1 :] if home else path).replace(os.sep, "/")
            verdict = self._specs[home].check_file(below + "/" * is_dir).include
            if verdict is not None:
                return verdict
        return False


def _read(path: bytes) -> GitIgnoreSpec | None:
    """The patterns of a regular, small file; lines that make no sense are passed over."""
    try:
        data, _ = read_head(Path(os.fsdecode(path)), _MOST_BYTES)
    except SkipFile:
        return None
    text = data.decode("utf-8", "surrogateescape")
    lines = []
    for line in text.splitlines():
        if line.replace("**", "*").count("*") > _MOST_STARS:
            continue
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            continue
        lines.append(line)
    return GitIgnoreSpec.from_lines(lines) if lines else None

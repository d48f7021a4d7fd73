"""Where a file of the trash is, whatever happened: places, and what a crash left in the middle."""

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import xxhash

from sllm_core.corpus import folders
from sllm_core.corpus.extract import SkipFile
from sllm_core.corpus.folders import Folder, Parts, Tree
from sllm_core.corpus.journal import MANIFEST, TRASH, Entry, Journal, split
from sllm_core.errors import disk_error

PART = b"copy.part"  # in the batch folder: a copy from another volume that is not whole yet
_WORDS = {
    errno.ENOENT: "changed",
    errno.ENOTDIR: "changed",
    errno.ELOOP: "changed",
    errno.EACCES: "read-only",
    errno.EPERM: "read-only",
    errno.EROFS: "read-only",
    errno.EEXIST: "in-the-way",
    errno.EISDIR: "in-the-way",
    errno.ENOTEMPTY: "in-the-way",
    errno.EBUSY: "in-use",
    errno.ETXTBSY: "in-use",
    errno.ENAMETOOLONG: "name",
    errno.EILSEQ: "name",
    errno.EINVAL: "name",
    errno.ENOSPC: "disk-full",
    getattr(errno, "EDQUOT", -1): "disk-full",
}
_IN_USE_WINDOWS = {32, 33}  # ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION

log = logging.getLogger(__name__)


class Places:
    """The trees of the sources, opened when they are first needed."""

    def __init__(self, roots: Mapping[int, Path]) -> None:
        self._roots = roots
        self._trees: dict[Path, Tree | None] = {}

    def find(self, source_id: int, path: bytes) -> tuple[Tree, Parts]:
        """The tree of a file and its place in it; a source that is one file lies in its folder.

        Raises:
            SkipFile: no-source, or a name that no listing gives.
        """
        root = self._roots.get(source_id)
        if root is None:
            raise SkipFile("no-source")
        base, parts = (root, split(path)) if path else (root.parent, (os.fsencode(root.name),))
        if base not in self._trees:
            try:
                self._trees[base] = Tree(base)
            except OSError:
                self._trees[base] = None
        tree = self._trees[base]
        if tree is None:
            raise SkipFile("no-source")
        return tree, parts

    def both(self, entry: Entry) -> tuple[Tree, Parts, Parts]:
        """Tree, place and place in the trash of a line."""
        tree, place = self.find(entry.source_id, entry.path)
        return tree, place, (TRASH, *split(entry.target))

    def sync(self) -> None:
        """Write down every folder that was touched."""
        try:
            for tree in filter(None, self._trees.values()):
                tree.sync()
        except OSError as problem:
            raise disk_error(problem, "a folder", safe="Every file is there.") from problem

    def close(self) -> None:
        """Give the handles back."""
        for tree in filter(None, self._trees.values()):
            tree.close()


def word_for(problem: OSError) -> str:
    """The reason of a file that the system did not let us move."""
    if getattr(problem, "winerror", None) in _IN_USE_WINDOWS:
        return "in-use"
    return _WORDS.get(problem.errno or 0, "unreadable")


def never() -> None:
    """Nobody cancels."""


def recover(roots: Mapping[int, Path], journal: Journal) -> int:
    """Finish what a crash left in the middle, by looking where each file is.

    Called before every move, Undo and scan; costs one query when there is nothing to do.

    Returns:
        Batches that are finished now.
    """
    found = journal.unfinished()
    if not found:
        return 0
    places = Places(roots)
    with contextlib.closing(places):
        for batch, state in found:
            log.warning("batch %d of the trash was interrupted (%s); looking it up", batch, state)
            recover_batch(batch, places, journal)
    return len(found) - len(journal.unfinished())


def recover_batch(batch: int, places: Places, journal: Journal) -> None:
    """Look up what is undecided in a batch, remove what is empty of it, and close it."""
    is_undo = journal.state_of(batch) == "undoing"
    for undecided, home in (("intent", "kept"), ("moved", "restored"))[: 1 + is_undo]:
        for page in journal.pages(batch, undecided):
            states: dict[str, list[int]] = {home: [], "moved": []}
            for entry in page:
                with contextlib.suppress(SkipFile, OSError):  # its disk is not there: another time
                    is_away = _is_away(entry, places, is_undo=undecided == "moved")
                    states["moved" if is_away else home].append(entry.id)
            places.sync()
            journal.settle({state: ids for state, ids in states.items() if state != undecided})
    tidy(batch, places, journal)
    journal.close(batch)


def _is_away(entry: Entry, places: Places, *, is_undo: bool) -> bool:
    """Whether a file counts as in the trash; one that is nowhere does, so that nobody forgets it."""
    tree, place, target = places.both(entry)
    here, there = tree.look(place), tree.look(target)
    if there is None:
        return here is None or (is_undo and not is_that(tree, place, entry, never))
    tree.touch(place[:-1])
    tree.touch(target[:-1])
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        drop_part(entry, tree.folder(place[:-1]), tree.folder(target[:-1]), target[-1])
    return here is None or not drop_twin(tree, place, target)


def is_that(tree: Tree, parts: Parts, entry: Entry, check: Callable[[], None]) -> bool:
    """Whether the file of a line stands at a place: size and, where it is known, hash."""
    info = tree.look(parts)
    if info is None or not stat.S_ISREG(info.st_mode) or info.st_size != entry.size:
        return False
    if entry.raw_hash is None:
        return True
    return folders.digest(tree.folder(parts[:-1]), parts[-1], check) == entry.raw_hash


def drop_twin(tree: Tree, place: Parts, target: Parts) -> bool:
    """Where a crash left a file at both places, take the one in the trash away; whether it was so.

    Twins are two names of one file, or equal to the last byte and nanosecond.
    """
    goal, shelf = tree.folder(place[:-1]), tree.folder(target[:-1])
    here, there = goal.look(place[-1]), shelf.look(target[-1])
    if here is None or there is None or not stat.S_ISREG(here.st_mode):
        return False
    if not (here.st_ino and (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)):
        if not stat.S_ISREG(there.st_mode) or here.st_mtime_ns != there.st_mtime_ns:
            return False
        twins = (shelf, target[-1]), (goal, place[-1])
        if here.st_size != there.st_size or not folders.is_beginning(*twins, never):
            return False
    shelf.unlink(target[-1])
    return True


def part_name(entry: Entry) -> bytes:
    """The name of a copy on the way back that is not whole yet, beside the place of its file."""
    return b".sllm-undo-%s.part" % xxhash.xxh3_64_hexdigest(entry.target).encode()


def drop_part(entry: Entry, goal: Folder, shelf: Folder, name: bytes) -> None:
    """Remove the copy that a killed Undo left unfinished, if it is the beginning of the file."""
    part = part_name(entry)
    if goal.look(part) is None:
        return
    with contextlib.suppress(OSError):
        if folders.is_beginning((goal, part), (shelf, name), never):
            goal.unlink(part)


def tidy(batch: int, places: Places, journal: Journal) -> None:
    """Remove what is empty of a batch in every source, its manifest with the last file."""
    shelves: dict[tuple[int, Tree, bytes], set[Parts]] = {}
    for state in ("kept", "restored"):
        for page in journal.pages(batch, state):
            for entry in page:
                with contextlib.suppress(SkipFile):
                    tree, _, target = places.both(entry)
                    key = entry.source_id, tree, target[1]
                    shelves.setdefault(key, set()).add(target[:-1])
    busy = journal.sources(batch, "moved") | journal.sources(batch, "intent")
    for (source_id, tree, name), parts in shelves.items():
        with contextlib.suppress(OSError):  # what cannot be removed harms nobody
            remove_shelves(tree, name, parts, is_empty=source_id not in busy)
    places.sync()


def remove_shelves(tree: Tree, name: bytes, shelves: set[Parts], *, is_empty: bool) -> None:
    """Remove empty folders of a batch; the manifest and the rest when nothing else is there."""
    top = (TRASH, name)
    for shelf in sorted(shelves, key=len, reverse=True):
        parts = shelf
        while len(parts) > len(top) and tree.remove_empty(parts):
            parts = parts[:-1]
    if tree.look((*top, PART)) is not None:  # its first one is untouched: see `_carry`
        tree.folder(top).unlink(PART)
    if is_empty and tree.names(top) == [MANIFEST]:
        tree.folder(top).unlink(MANIFEST)
    if tree.remove_empty(top):
        tree.remove_empty((TRASH,))

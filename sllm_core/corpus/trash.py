"""`_trash`: files are put aside on their own disk with a journal, and Undo brings them back.

A batch is `<source>/_trash/<batch>/<path>`, with `manifest.jsonl` beside, from which Undo works on
another computer too. Order: intent in the journal, line in the manifest, rename, done. After a
crash the disk is asked: a file is at its place or in the trash. Only what is proven to stand at
both places is ever removed, and then at one of them.
"""

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from sllm_core import faults
from sllm_core.corpus import folders
from sllm_core.corpus.extract import FileId, SkipFile
from sllm_core.corpus.folders import Parts, Tree
from sllm_core.corpus.journal import (
    MANIFEST,
    PAGE,
    SEP,
    TRASH,
    Entry,
    Item,
    Journal,
    Manifest,
    no_manifest,
    read_manifest,
)
from sllm_core.corpus.recovery import (
    PART,
    Places,
    drop_part,
    drop_twin,
    is_that,
    never,
    part_name,
    recover,
    recover_batch,
    remove_shelves,
    tidy,
    word_for,
)
from sllm_core.errors import SllmError, disk_error

CHUNK_FILES = PAGE  # a few fsyncs a chunk; a crash leaves at most one to look through
_RESERVED = {MANIFEST, PART}

# Why a file stays where it is, beside the words of a scan (changed, unreadable, name).
REASONS = {
    "changed": "it is not the file any more that was analysed or moved",
    "read-only": "the folder or disk cannot be written to",
    "in-use": "another program has it open",
    "in-the-way": "another file has this name",
    "disk-full": "the disk is full",
    "missing": "it is not in the trash any more",
    "no-source": "its source folder is not there",
    "unreadable": "the disk reported an error",
    "name": "this system cannot have a file of this name",
}


@dataclass
class Moved:
    """What a move did; ``problem`` are words for a person when it had to stop."""

    batch: int | None = None
    folder: str = ""  # name of the batch below `_trash`
    n: int = 0
    n_bytes: int = 0
    kept: list[tuple[Item, str]] = field(default_factory=list)
    problem: str = ""


@dataclass
class Restored:
    """What an Undo did."""

    n: int = 0
    n_bytes: int = 0
    kept: list[tuple[Entry, str]] = field(default_factory=list)
    problem: str = ""


def _silent(done: int, total: int) -> None:
    """Nobody is told."""


def move(
    items: Iterable[Item],
    roots: Mapping[int, Path],
    journal: Journal,
    *,
    on_progress: Callable[[int, int], None] = _silent,
    check: Callable[[], None] = never,
) -> Moved:
    """Put files aside; each one that cannot be is kept at its place, with a reason.

    Args:
        items: the files; only one that is still the same as then is moved.
        roots: folder (or file) of each source.
        journal: of the project whose lock the caller holds.
        on_progress: told (files seen to, all files) after every chunk.
        check: raises `Cancelled`; asked for every chunk and every MiB of a copy.

    Raises:
        Cancelled: what was moved so far is a batch that Undo brings back.
        DiskError: the journal could not be written; nothing is lost.
    """
    recover(roots, journal)
    todo = sorted({item[:2]: item for item in items}.values(), key=lambda item: item[:2])
    places = Places(roots)
    mover = _Mover(journal, places, check)
    try:
        for start in range(0, len(todo), CHUNK_FILES):
            check()
            mover.chunk(todo[start : start + CHUNK_FILES])
            on_progress(min(start + CHUNK_FILES, len(todo)), len(todo))
    except BaseException:
        with contextlib.suppress(SllmError, OSError):  # the journal knows: the next start goes on
            mover.close()
        raise
    else:
        mover.close()
    finally:
        places.close()
    return mover.moved


class _Mover:
    """One move: a batch folder in every source it meets, with its manifest."""

    def __init__(self, journal: Journal, places: Places, check: Callable[[], None]) -> None:
        self._journal, self._places, self._check = journal, places, check
        date = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(faults.wall_time()))
        self._name = os.fsencode(f"{date}_{secrets.token_hex(3)}")
        self._manifests: dict[Tree, Manifest | str] = {}  # or why there is none
        self.moved = Moved(folder=os.fsdecode(self._name))

    def chunk(self, items: list[Item]) -> None:
        """Move some files, sorted by path."""
        planned: list[tuple[Item, Entry]] = []
        entry_id = self._journal.next_id()
        for item in items:
            try:
                planned.append((item, self._plan(item, entry_id + len(planned))))
            except SkipFile as skip:
                self.moved.kept.append((item, skip.reason))
        if not planned:
            return
        if self.moved.batch is None:
            self.moved.batch = self._journal.open_batch()
        self._journal.intend(self.moved.batch, (entry for _, entry in planned))
        refused = self._describe([entry for _, entry in planned])
        states: dict[str, list[int]] = {"moved": [], "kept": []}
        for item, entry in planned:
            try:
                if entry.id in refused:
                    raise SkipFile(refused[entry.id])
                self._put(item, entry)
            except SkipFile as skip:
                self.moved.kept.append((item, skip.reason))
                states["kept"].append(entry.id)
            else:
                self.moved.n += 1
                self.moved.n_bytes += entry.size
                states["moved"].append(entry.id)
        self._places.sync()
        self._journal.settle(states)

    def _plan(self, item: Item, entry_id: int) -> Entry:
        """The line of a file that may go."""
        if self.moved.problem:
            raise SkipFile("disk-full")
        tree, parts = self._places.find(item.source_id, item.path)
        known = self._manifests.get(tree)
        if isinstance(known, str):
            raise SkipFile(known)
        self._prove(item, tree, parts)
        top, *below = parts
        # Our own names get a ~ more, each name a different one, so that none is ever taken.
        top += b"~" * (top.rstrip(b"~").lower() in _RESERVED)
        target = SEP.join([self._name, top, *below])
        size, mtime_ns = item.file_id[:2]
        return Entry(entry_id, *item[:2], target, size, mtime_ns, item.raw_hash, item.reason)

    def _prove(self, item: Item, tree: Tree, parts: Parts) -> None:
        try:
            info = tree.look(parts)
        except OSError as problem:
            raise SkipFile(word_for(problem)) from problem
        if info is None or not stat.S_ISREG(info.st_mode) or FileId.of(info) != item.file_id:
            raise SkipFile("changed")

    def _describe(self, entries: list[Entry]) -> dict[int, str]:
        """Write the lines of the manifests; ids of files whose manifest could not be, and why."""
        by_tree: dict[Tree, list[tuple[Entry, Parts]]] = {}
        for entry in entries:
            tree, place, _ = self._places.both(entry)
            by_tree.setdefault(tree, []).append((entry, place))
        refused: dict[int, str] = {}
        for tree, lines in by_tree.items():
            try:
                manifest = self._manifests.get(tree) or Manifest(tree, self._name)
                assert isinstance(manifest, Manifest), "such files were not planned"
                self._manifests[tree] = manifest
                manifest.append(lines)
            except OSError as problem:
                word = self._refusal(problem)
                word = "in-the-way" if word == "changed" else word  # `_trash` is no folder
                if tree not in self._manifests:
                    self._manifests[tree] = word
                refused.update((entry.id, word) for entry, _ in lines)
        return refused

    def _refusal(self, problem: OSError) -> str:
        """The reason; a full disk ends the move."""
        word = word_for(problem)
        if word == "disk-full" and not self.moved.problem:
            safe = "Files that were not moved are at their places; Undo brings the others back."
            self.moved.problem = disk_error(problem, "_trash", safe=safe).text
        return word

    def _put(self, item: Item, entry: Entry) -> None:
        """Move one file.

        Look and rename: the batch folder was made by us under a fresh name and lets nobody else
        in, so that nothing can take the name in between.
        """
        if self.moved.problem:
            raise SkipFile("disk-full")
        tree, place, target = self._places.both(entry)
        try:
            goal = tree.folder(target[:-1], make=True)
            self._prove(item, tree, place)
            source = tree.folder(place[:-1])
            if goal.look(target[-1]) is not None:
                raise SkipFile("in-the-way")
            tree.touch(place[:-1])
            tree.touch(target[:-1])
            faults.passage("trash.rename")
            try:
                folders.rename(source, place[-1], goal, target[-1])
            except OSError as problem:
                if problem.errno != errno.EXDEV:
                    raise
                self._carry(item, tree, place, target)
        except OSError as problem:
            raise SkipFile(self._refusal(problem)) from problem

    def _carry(self, item: Item, tree: Tree, place: Parts, target: Parts) -> None:
        """Move one file that lies on another volume: copy, prove, then take the first one away."""
        top, source = tree.folder(target[:2]), tree.folder(place[:-1])
        raw_hash = folders.copy(source, place[-1], top, PART, self._check)
        if item.raw_hash not in (None, raw_hash):
            top.unlink(PART)
            raise SkipFile("changed")
        folders.rename(top, PART, tree.folder(target[:-1]), target[-1])
        tree.touch(target[:2])
        try:
            tree.sync()
            faults.passage("trash.copy")
            self._prove(item, tree, place)
            tree.folder(place[:-1]).unlink(place[-1])
        except (OSError, SkipFile):
            if tree.look(place) is not None:  # else somebody took it away, and ours is the last
                tree.folder(target[:-1]).unlink(target[-1])
                raise
        tree.touch(place[:-1])

    def close(self) -> None:
        """End the batch; what an interruption left undecided is looked up."""
        for manifest in self._manifests.values():
            if isinstance(manifest, Manifest):
                manifest.close()
        self._manifests.clear()
        if self.moved.batch is not None:
            recover_batch(self.moved.batch, self._places, self._journal)
            if not self.moved.n:
                self.moved.batch = None


def undo(
    batch: int,
    roots: Mapping[int, Path],
    journal: Journal,
    *,
    selection: Collection[tuple[int, bytes]] | None = None,
    on_progress: Callable[[int, int], None] = _silent,
    check: Callable[[], None] = never,
) -> Restored:
    """Bring a batch back, or some (source id, path) of it; what cannot come stays, with a reason.

    Raises:
        Cancelled: what came back so far stays there; the rest is in the trash.
        DiskError: the journal could not be written; nothing is lost.
    """
    recover(roots, journal)
    total, done = journal.count(batch, "moved"), 0
    back = _Return(check)
    if not total:
        return back.restored
    journal.set_state(batch, "undoing")
    places = Places(roots)
    try:
        for page in journal.pages(batch, "moved"):
            check()
            chosen = [e for e in page if selection is None or (e.source_id, e.path) in selection]
            came = back.chunk(chosen, places)
            journal.settle({"restored": came})
            done += len(page)
            on_progress(done, total)
    except BaseException:
        with contextlib.suppress(SllmError, OSError):  # the journal knows: the next start goes on
            recover_batch(batch, places, journal)
        raise
    else:
        tidy(batch, places, journal)
        journal.close(batch)
    finally:
        places.close()
    return back.restored


def undo_folder(
    folder: Path,
    *,
    selection: Collection[bytes] | None = None,
    on_progress: Callable[[int, int], None] = _silent,
    check: Callable[[], None] = never,
) -> Restored:
    """Bring back a batch folder by its manifest alone: on another computer, of another project.

    Raises:
        DataError: it has no manifest that can be read.
        Cancelled, DiskError: as in `undo`.
    """
    folder = folder.absolute()
    name = os.fsencode(folder.name)
    is_batch = os.fsencode(folder.parent.name) == TRASH
    places = Places({0: folder.parents[1] if is_batch else folder})
    back = _Return(check)
    with contextlib.closing(places):
        try:
            tree, _ = places.find(0, name)
        except SkipFile as problem:
            raise no_manifest(name) from problem
        total = sum(1 for _ in read_manifest(tree, name))
        done, n_left, n_bad, shelves = 0, 0, 0, set()
        for page in _in_pages(read_manifest(tree, name)):
            check()
            entries = [entry for entry in page if entry is not None]
            chosen = [e for e in entries if selection is None or e.path in selection]
            came = set(back.chunk(chosen, places))
            shelves |= {places.both(entry)[2][:-1] for entry in entries if entry.id in came}
            n_left += len(page) - len(came)
            n_bad += len(page) - len(entries)
            done += len(page)
            on_progress(done, total)
        remove_shelves(tree, name, shelves, is_empty=not n_left)
        places.sync()
    if n_bad and not back.restored.problem:
        back.restored.problem = f"{n_bad} lines of manifest.jsonl are damaged; it was left there."
    return back.restored


def _in_pages(entries: Iterator[Entry | None]) -> Iterator[list[Entry | None]]:
    while page := list(islice(entries, CHUNK_FILES)):
        yield page


class _Return:
    """One Undo: puts files back and counts."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self.restored = Restored()

    def chunk(self, entries: list[Entry], places: Places) -> list[int]:
        """Ids of the entries whose file is at its place now."""
        came = []
        for entry in entries:
            try:
                is_news = self._put_back(entry, places)
            except SkipFile as skip:
                self.restored.kept.append((entry, skip.reason))
            else:
                came.append(entry.id)
                self.restored.n += is_news
                self.restored.n_bytes += entry.size * is_news
        places.sync()
        return came

    def _put_back(self, entry: Entry, places: Places) -> bool:
        """Bring one file back; whether it was not there already."""
        tree, place, target = places.both(entry)
        try:
            here, there = tree.look(place), tree.look(target)
            if there is None:
                if is_that(tree, place, entry, self._check):
                    return False
                raise SkipFile("missing")
            if not is_that(tree, target, entry, self._check):
                raise SkipFile("changed")
            tree.touch(place[:-1])
            tree.touch(target[:-1])
            if here is not None:
                if drop_twin(tree, place, target):
                    return True
                raise SkipFile("in-the-way")
        except OSError as problem:
            word = word_for(problem)
            raise SkipFile("unreadable" if word == "read-only" else word) from problem
        try:
            goal, shelf = tree.folder(place[:-1], make=True), tree.folder(target[:-1])
            drop_part(entry, goal, shelf, target[-1])
            if there.st_mtime_ns != entry.mtime_ns:  # the trash itself was copied on the way
                shelf.set_times(target[-1], there.st_atime_ns, entry.mtime_ns)
            faults.passage("trash.rename")
            try:
                folders.rename_fresh(shelf, target[-1], goal, place[-1])
            except OSError as problem:
                if problem.errno != errno.EXDEV:
                    raise
                self._carry_back(entry, tree, place, target)
        except OSError as problem:
            word = word_for(problem)
            if word == "disk-full" and not self.restored.problem:
                safe = "Files that did not come back are in the trash."
                self.restored.problem = disk_error(problem, place[-1], safe=safe).text
            # A link or a file stands where a folder was.
            raise SkipFile("in-the-way" if word == "changed" else word) from problem
        return True

    def _carry_back(self, entry: Entry, tree: Tree, place: Parts, target: Parts) -> None:
        """Bring one file back to another volume: copy, prove, then empty its place in the trash."""
        if self.restored.problem:
            raise SkipFile("disk-full")
        shelf, goal = tree.folder(target[:-1]), tree.folder(place[:-1])
        part = part_name(entry)
        folders.copy(shelf, target[-1], goal, part, self._check)
        try:
            folders.rename_fresh(goal, part, goal, place[-1])
        except OSError:
            goal.unlink(part)
            raise
        tree.sync()
        faults.passage("trash.copy")
        tree.folder(target[:-1]).unlink(target[-1])
        tree.touch(target[:-1])

"""Folders reached without following a link, and ways to move a file that never lose a byte.

Below its root a tree is walked by open folders (openat), so that nobody can turn a folder into a
link between a look and a move. Windows has no such calls: there each folder on the way is looked
at, and its own rename refuses a name that is taken.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from sllm_core import faults

Parts = tuple[bytes, ...]  # a path below the root, name by name

_BLOCK_BYTES = 1 << 20
_KEPT_OPEN = 8  # folders; a move uses two at a time, its files come sorted by folder
_HAS_HANDLES = os.open in os.supports_dir_fd and os.rename in os.supports_dir_fd
_FOLDER_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY
_IS_LINK = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)
# A file system without hard links, or a file that may not get one.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class Folder:
    """One real folder that is held open; names are looked up in it alone."""

    def __init__(self, path: bytes, handle: int | None) -> None:
        self.path, self.handle = path, handle

    def at(self, name: bytes) -> bytes:
        """What the functions of `os` take for a name in here, together with `handle`."""
        return name if self.handle is not None else self._full(name)

    def _full(self, name: bytes) -> bytes:
        return self.path + os.fsencode(os.sep) + name

    def look(self, name: bytes) -> os.stat_result | None:
        """What stands under a name, a link as itself; None when nothing does."""
        try:
            return os.stat(self.at(name), dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def enter(self, name: bytes) -> "Folder":
        """A folder in here.

        Raises:
            OSError: there is none; NotADirectoryError also for a link.
        """
        path = self._full(name)
        if not _HAS_HANDLES:
            _refuse_link(os.lstat(path), path)
            return Folder(path, None)
        try:
            return Folder(path, os.open(name, _FOLDER_FLAGS, dir_fd=self.handle))
        except OSError as problem:
            if problem.errno == errno.ELOOP:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            raise

    def make(self, name: bytes, mode: int = 0o777) -> None:
        """Make a folder in here."""
        os.mkdir(self.at(name), mode, dir_fd=self.handle)

    def open(self, name: bytes) -> int:
        """A descriptor of a regular file in here, never of a link, pipe or device."""
        handle = os.open(self.at(name), _READ_FLAGS, dir_fd=self.handle)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return handle

    def unlink(self, name: bytes) -> None:
        """Take a name out of the folder."""
        os.unlink(self.at(name), dir_fd=self.handle)

    def set_times(self, name: bytes, atime_ns: int, mtime_ns: int) -> None:
        """Give a file in here the time it had; on a volume that refuses, it keeps another one."""
        follow = os.utime not in os.supports_follow_symlinks
        times = atime_ns, mtime_ns
        with contextlib.suppress(OSError):
            os.utime(self.at(name), ns=times, dir_fd=self.handle, follow_symlinks=follow)

    def sync(self) -> None:
        """Make renames in here survive a power cut (Windows does so by itself)."""
        if self.handle is None:
            return
        try:
            os.fsync(self.handle)
        except OSError as problem:  # some network folders cannot
            if problem.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}:
                raise

    def close(self) -> None:
        """Give the handle back."""
        if self.handle is not None:
            os.close(self.handle)


def _refuse_link(info: os.stat_result, path: bytes) -> None:
    is_link = stat.S_ISLNK(info.st_mode) or getattr(info, "st_file_attributes", 0) & _IS_LINK
    if is_link or not stat.S_ISDIR(info.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


class Tree:
    """What lies below one folder, itself reached as the user named it.

    Raises:
        OSError: the folder cannot be opened.
    """

    def __init__(self, root: Path) -> None:
        path = os.fsencode(root)
        if _HAS_HANDLES:
            flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
            self._top = Folder(path, os.open(path, flags))
        else:
            if not root.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root))
            self._top = Folder(path, None)
        self._open: dict[Parts, Folder] = {}  # the last used at the end
        self._touched: set[Parts] = set()

    def folder(self, parts: Parts, *, make: bool = False) -> Folder:
        """A folder below the root, made with those above it if wanted.

        It stays open until some more were asked for.

        Raises:
            OSError: there is none; NotADirectoryError where a link or a file stands on the way.
        """
        if not parts:
            return self._top
        found = self._open.pop(parts, None)
        if found is None:
            found = self._walk_to(parts, make)
            while len(self._open) >= _KEPT_OPEN:
                self._open.pop(next(iter(self._open))).close()
        self._open[parts] = found
        return found

    def _walk_to(self, parts: Parts, make: bool) -> Folder:
        here = self._top
        for depth, name in enumerate(parts):
            try:
                try:
                    inner = here.enter(name)
                except FileNotFoundError:
                    if not make:
                        raise
                    here.make(name)
                    self.touch(parts[:depth])
                    inner = here.enter(name)
            finally:
                if depth:
                    here.close()
            here = inner
        return here

    def look(self, parts: Parts) -> os.stat_result | None:
        """What stands at a place; None when nothing does that a real folder leads to."""
        try:
            return self.folder(parts[:-1]).look(parts[-1])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, parts: Parts) -> list[bytes]:
        """What is in a folder; nothing when it is not there."""
        try:
            folder = self.folder(parts)
        except (FileNotFoundError, NotADirectoryError):
            return []
        with os.scandir(folder.path if folder.handle is None else folder.handle) as found:
            return [os.fsencode(entry.name) for entry in found]

    def touch(self, parts: Parts) -> None:
        """Remember that names in a folder changed."""
        self._touched.add(parts)

    def sync(self) -> None:
        """Write down all folders that were touched; one that is gone meanwhile needs nothing."""
        for parts in sorted(self._touched):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.folder(parts).sync()
        self._touched.clear()

    def remove_empty(self, parts: Parts) -> bool:
        """Remove a folder if nothing is in it; whether it is gone."""
        for known in [known for known in self._open if known[: len(parts)] == parts]:
            self._open.pop(known).close()
        try:
            above = self.folder(parts[:-1])
            os.rmdir(above.at(parts[-1]), dir_fd=above.handle)
        except (FileNotFoundError, NotADirectoryError):
            return self.look(parts) is None
        except OSError:
            return False
        self.touch(parts[:-1])
        return True

    def close(self) -> None:
        """Give all handles back."""
        for folder in [*self._open.values(), self._top]:
            folder.close()
        self._open.clear()


def rename(source: Folder, name: bytes, goal: Folder, new: bytes) -> None:
    """Move a name within one volume; where it may overwrite, the caller owns the goal."""
    os.rename(source.at(name), goal.at(new), src_dir_fd=source.handle, dst_dir_fd=goal.handle)


def rename_fresh(source: Folder, name: bytes, goal: Folder, new: bytes) -> None:
    """Move a name within one volume to one that nobody has, decided by the system itself.

    A second name, then the first one goes: a crash between leaves both, never none. Without hard
    links there is a look and a rename instead.

    Raises:
        FileExistsError: the name is taken; nothing was changed.
    """
    if not _HAS_HANDLES:
        rename(source, name, goal, new)
        return
    try:
        os.link(
            source.at(name),
            goal.at(new),
            src_dir_fd=source.handle,
            dst_dir_fd=goal.handle,
            follow_symlinks=False,
        )
    except OSError as problem:
        if problem.errno not in _NO_LINKS:
            raise
        if goal.look(new) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        rename(source, name, goal, new)
        return
    try:
        source.unlink(name)
    except OSError:
        goal.unlink(new)  # the file keeps its first name
        raise


def blocks(handle: int, check: Callable[[], None]) -> Iterator[bytes]:
    """The bytes of an open file; ``check`` is asked before each piece."""
    while True:
        check()
        block = os.read(handle, _BLOCK_BYTES)
        if not block:
            return
        yield block


def digest(folder: Folder, name: bytes, check: Callable[[], None]) -> bytes:
    """xxh3-128 of a regular file."""
    hashed = xxhash.xxh3_128()
    handle = folder.open(name)
    try:
        for block in blocks(handle, check):
            hashed.update(block)
    finally:
        os.close(handle)
    return hashed.digest()


def is_beginning(
    part: tuple[Folder, bytes], whole: tuple[Folder, bytes], check: Callable[[], None]
) -> bool:
    """Whether every byte of ``part`` stands at the same place of ``whole``."""
    first = part[0].open(part[1])
    try:
        second = whole[0].open(whole[1])
        try:
            return all(_read(second, len(block)) == block for block in blocks(first, check))
        finally:
            os.close(second)
    finally:
        os.close(first)


def _read(handle: int, n_bytes: int) -> bytes:
    parts, left = [], n_bytes
    while left and (block := os.read(handle, left)):
        parts.append(block)
        left -= len(block)
    return b"".join(parts)


def copy(source: Folder, name: bytes, goal: Folder, new: bytes, check: Callable[[], None]) -> bytes:
    """Copy to another volume under a fresh name: bytes, times, mode, owner; synced and read back.

    Returns:
        xxh3-128 of the bytes.

    Raises:
        OSError: it could not be copied, EIO when what was read back differs; the copy is gone.
    """
    reader = source.open(name)
    try:
        before = os.fstat(reader)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY
        writer = os.open(goal.at(new), flags, 0o600, dir_fd=goal.handle)
        try:
            try:
                read = xxhash.xxh3_128()
                for block in blocks(reader, check):
                    _write(writer, block)
                    read.update(block)
                _dress(reader, writer, before)
                faults.passage("trash.copy")
                os.fsync(writer)
                os.lseek(writer, 0, os.SEEK_SET)
                written = xxhash.xxh3_128()
                for block in blocks(writer, check):
                    written.update(block)
            finally:
                os.close(writer)
            if os.utime not in os.supports_fd:
                os.utime(goal.at(new), ns=(before.st_atime_ns, before.st_mtime_ns))
            after = os.fstat(reader)
            is_same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
            if read.digest() != written.digest() or not is_same:
                raise OSError(errno.EIO, "the copy differs from the file")
        except BaseException:
            with contextlib.suppress(OSError):
                goal.unlink(new)
            raise
    finally:
        os.close(reader)
    return read.digest()


def _write(handle: int, block: bytes) -> None:
    kind = faults.passage("trash.copy")
    if kind == "short":
        os.write(handle, block[: len(block) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    view = memoryview(block)
    while view:
        view = view[os.write(handle, view) :]


def _dress(reader: int, writer: int, info: os.stat_result) -> None:
    """Owner, mode, extended attributes and times, as far as volume and rights go."""
    if hasattr(os, "fchown"):
        with contextlib.suppress(OSError):
            os.fchown(writer, info.st_uid, info.st_gid)
        os.fchmod(writer, stat.S_IMODE(info.st_mode))
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for name in os.listxattr(reader):
                os.setxattr(writer, name, os.getxattr(reader, name))
    if os.utime in os.supports_fd:
        os.utime(writer, ns=(info.st_atime_ns, info.st_mtime_ns))

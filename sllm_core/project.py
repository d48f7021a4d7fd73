"""A project folder: where things are, who may write, and the one way a file is written."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sllm_core import config as settings
from sllm_core import errors, faults, fmt
from sllm_core.config import ProjectConfig, SourceConfig
from sllm_core.errors import ConfigError, LockError, ProjectError

ASKED_S = 0.2  # who only asks whether a lock is held has it for a moment, and is no holder
_TEMP = re.compile(r"\.tmp(\d{1,9})-[0-9a-f]{8}$")
_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {
    f"{n}{i}" for n in ("COM", "LPT") for i in "0123456789¹²³"
}


class AtomicFile:
    """A file that appears under its name only when it is whole; hashed while it is written."""

    def __init__(self, descriptor: int, point: str) -> None:
        self._descriptor, self._point = descriptor, point
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0
        self.problem: OSError | None = None  # the first one: libraries hide it in their own

    def write(self, data: Any) -> int:
        """Append bytes (anything with a buffer)."""
        view = memoryview(data).cast("B")
        try:
            kind = faults.passage(f"{self._point}.write" if self._point == "save" else self._point)
            if kind == "short":
                os.write(self._descriptor, view[: len(view) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done = 0
            while done < len(view):
                done += os.write(self._descriptor, view[done:])
        except OSError as problem:
            self.problem = self.problem or problem
            raise
        self._sha256.update(view)
        self.size_bytes += len(view)
        return len(view)

    def flush(self) -> None:
        """Nothing is buffered here; libraries ask for it."""

    @property
    def sha256(self) -> str:
        """Hash of everything written so far, as hex."""
        return self._sha256.hexdigest()


@contextlib.contextmanager
def atomic_write(
    path: Path,
    *,
    point: str = "save",
    need: str = "",
    before_replace: Callable[[AtomicFile], None] | None = None,
) -> Iterator[AtomicFile]:
    """Write ``path`` so that a crash leaves the old file or the new one, never a mixture.

    Temp file in the same folder, fsync, rename, fsync of the folder (RELIABILITY 4.1).

    Args:
        path: the final name.
        point: where `faults` may strike.
        need: words for the error message, such as the bytes needed.
        before_replace: called with the finished temp file before it takes the name.

    Raises:
        DiskError: the file was not written; the one that was there before is unchanged. Only
            where the last step fails, fsync of the folder, is the new one there already.
    """
    temp = path.with_name(f"{path.name}.tmp{os.getpid()}-{secrets.token_hex(4)}")
    is_save, safe = point == "save", ""
    file: AtomicFile | None = None
    try:
        if is_save:
            faults.passage("save.open")
        descriptor = os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _O_BINARY, 0o644)
        file = AtomicFile(descriptor, point)
        try:
            yield file
            if file.problem:  # a library may have swallowed it
                raise file.problem
            if is_save:
                faults.passage("save.fsync")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if before_replace:
            before_replace(file)
        if is_save:
            faults.passage("save.replace")
        temp.replace(path)
        safe = "The new file is there; only a power cut now could bring the old one back."
        if is_save:
            faults.passage("save.dirsync")
        sync_folder(path.parent)
    except BaseException as problem:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)
        cause = file.problem if file and file.problem else problem
        if isinstance(cause, OSError):
            raise errors.disk_error(cause, path.name, safe=safe, need=need) from problem
        raise


_O_BINARY = getattr(os, "O_BINARY", 0)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut (Windows does so by itself)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, point: str = "save") -> str:
    """Write a text file atomically; returns its SHA-256."""
    with atomic_write(path, point=point) as file:
        file.write(text.encode("utf-8"))
    return file.sha256


def file_sha256(path: Path) -> str:
    """SHA-256 of a whole file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_temp_files(folder: Path) -> list[str]:
    """Delete our temp files whose process is gone; only under the project's lock."""
    removed = []
    for path in folder.glob("*.tmp*") if folder.is_dir() else ():
        found = _TEMP.search(path.name)
        if found and path.is_file() and not _is_alive(int(found.group(1))):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _is_alive(pid: int) -> bool:
    if pid == os.getpid() or os.name == "nt":
        return pid == os.getpid()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def check_name(name: str, what: str = "name") -> str:
    """``name`` itself when it is one plain file name on every system.

    Raises:
        ProjectError: it is empty, a path, reserved, too long or holds control characters.
    """
    text = name.strip()
    is_bad = (
        not text
        or text in {".", ".."}
        or text.startswith(".")
        or text.endswith(".")
        or len(text.encode("utf-8", "replace")) > 120
        or any(c in '<>:"/\\|?*' or fmt.path_text(f"_{c}") != f"_{c}" for c in text)
        or text.split(".")[0].strip().upper() in _RESERVED
    )
    if is_bad:
        raise ProjectError(
            "NAME",
            f"{name[:60]!r} cannot be a {what}.",
            todo="Use letters, digits, spaces, - and _, up to 120 characters.",
        )
    return text


class Lock:
    """A lock of the operating system; who holds it is written beside it for the message only."""

    def __init__(self, path: Path, job: str) -> None:
        self.path, self._job = path, job
        self._lock = FileLock(str(path), timeout=0)
        self._note = path.with_name(f"{path.name}.json")

    def acquire(self) -> "Lock":
        """Take the lock now.

        Raises:
            LockError: E-LOCK-HELD, naming the holder.
        """
        try:
            self._lock.acquire(timeout=ASKED_S, poll_interval=0.002)
        except Timeout:
            raise LockError("HELD", self.holder(), todo="Wait for it, or stop it first.") from None
        except OSError as problem:
            raise errors.disk_error(problem, self.path.name) from problem
        body = {
            "pid": os.getpid(),
            "host": platform.node(),
            "job": self._job,
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        with contextlib.suppress(OSError):
            self._note.write_text(json.dumps(body), encoding="utf-8")
        return self

    def holder(self) -> str:
        """Who seems to hold it, in words."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            who = f"{note['job']} (process {note['pid']} on {note['host']} since {note['since']})"
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            who = "another window or command"
        return f"The project is in use by {who}."

    def is_held(self) -> bool:
        """Whether another process holds it now."""
        if not self.path.exists():  # asking makes no folder
            return False
        try:
            self._lock.acquire(timeout=ASKED_S, poll_interval=0.002)
        except Timeout:
            return True
        except OSError:
            return False
        self._lock.release()
        return False

    def release(self) -> None:
        """Give the lock back."""
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> "Lock":
        """Take it for a ``with`` block."""
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.release()


@dataclass(frozen=True)
class Project:
    """The paths of one project. Everything it owns lies below ``root``."""

    root: Path

    @property
    def config_path(self) -> Path:
        """The settings."""
        return self.root / "config.json"

    @property
    def db_path(self) -> Path:
        """The index of files."""
        return self.root / "project.db"

    @property
    def tokenizer_dir(self) -> Path:
        """`tokenizer.json`, `vocab.txt`, `report.json`."""
        return self.root / "tokenizer"

    @property
    def data_dir(self) -> Path:
        """Token files and their cache."""
        return self.root / "encoded_data"

    @property
    def checkpoints_dir(self) -> Path:
        """Checkpoints and their index."""
        return self.root / "checkpoints"

    @property
    def runs_dir(self) -> Path:
        """One folder a job."""
        return self.root / "runs"

    @property
    def logs_dir(self) -> Path:
        """`training.log` and `metrics.csv`."""
        return self.root / "logs"

    def lock(self, job: str) -> Lock:
        """The lock of the one window or command that edits the project."""
        return Lock(self.root / ".lock", job)

    def relative(self, path: Path) -> str:
        """``path`` as messages show it."""
        return path.relative_to(self.root).as_posix()

    def source_root(self, source: SourceConfig) -> Path:
        """The folder or file of a source."""
        return (self.root / source.path).absolute()

    def load_config(self) -> ProjectConfig:
        """The settings, checked.

        Raises:
            ProjectError: no project here.
            ConfigError: unreadable, newer or impossible settings; the file is not touched.
        """
        try:
            text = self.config_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ProjectError(
                "MISSING",
                f"{self.root} is not a project (it has no config.json).",
                todo=f"Make one: sllm.py new {self.root} --source FOLDER",
            ) from None
        except (OSError, UnicodeDecodeError) as problem:
            raise _corrupt(self.config_path, str(problem)) from problem
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as problem:
            raise _corrupt(self.config_path, str(problem)[:100]) from problem
        return settings.project_config(values)

    def save_config(self, config: ProjectConfig) -> None:
        """Store the settings atomically."""
        write_text(self.config_path, settings.to_json(config), point="settings.save")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number a setting can have")


def _corrupt(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "CORRUPT",
        f"{path.name} cannot be read: {why}.",
        safe="It was not changed; data and checkpoints are intact.",
        todo="Repair it, or restore it from a copy.",
    )


def open_project(folder: str | Path) -> Project:
    """The project in ``folder``, whatever the launch directory is.

    Raises:
        ProjectError: there is no project in it.
    """
    project = Project(Path(folder).expanduser().absolute())
    project.load_config()
    return project


def create(
    folder: str | Path,
    sources: list[str],
    config: ProjectConfig,
    exclude: tuple[str, ...] = (),
) -> Project:
    """Make a project in a new or empty-of-projects folder.

    Raises:
        ProjectError: there is a project already, or the name cannot be.
        DiskError: the folder cannot be made.
    """
    root = Path(folder).expanduser().absolute()
    check_name(root.name or "project", "project name")
    project = Project(root)
    if project.config_path.exists():
        raise ProjectError(
            "EXISTS",
            f"{root} is a project already.",
            safe="It was not changed.",
            todo="Choose another folder, or open this one.",
        )
    config = replace(config, sources=make_sources(root, sources, exclude))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise errors.disk_error(problem, root, safe="Nothing was made.") from problem
    project.save_config(config)
    return project


def make_sources(
    root: Path, paths: list[str], exclude: tuple[str, ...] = ()
) -> tuple[SourceConfig, ...]:
    """Sources with ids 1, 2, ...; a place inside the project is kept relative (portable)."""
    made = []
    for number, text in enumerate(paths, start=1):
        path = Path(text).expanduser().absolute()
        if not path.exists():
            raise errors.DataError(
                "SOURCE", f"The source {path} does not exist.", safe="Nothing was made."
            )
        inside = path.is_relative_to(root)
        place = str(path.relative_to(root) if inside else path)
        made.append(SourceConfig(number, place, exclude=exclude))
    return tuple(made)


def _refuse_busy(project: Project, what: str) -> None:
    """Nobody works in the project while its folder is copied, moved or thrown away.

    Raises:
        LockError: somebody does.
    """
    for path in sorted(project.runs_dir.glob(".*.lock")) if project.runs_dir.is_dir() else ():
        lock = Lock(path, what)
        if lock.is_held():
            raise LockError("HELD", lock.holder(), todo="Stop the run first.")


def _refuse_taken(root: Path) -> None:
    if root.exists():
        raise ProjectError(
            "EXISTS",
            f"There is something at {root} already.",
            safe="It was not changed.",
            todo="Choose another name.",
        )


def duplicate(project: Project, folder: str | Path, *, with_everything: bool = False) -> Project:
    """A second project with the same settings; `with_everything` copies what it made as well.

    The copy appears under its name only when it is whole. The caller may hold the project's lock.

    Raises:
        ProjectError: the name cannot be, or is taken.
        LockError: a run is at work in the project.
        DiskError: the copy does not fit or cannot be written; nothing is left of it.
    """
    root = Path(folder).expanduser().absolute()
    check_name(root.name, "project name")
    _refuse_taken(root)
    if root.is_relative_to(project.root):
        raise ProjectError("NAME", f"{root} lies inside the project itself.")
    config = project.load_config()
    if with_everything:
        _refuse_busy(project, "copying the project")
        _check_room(project.root, root.parent)
    else:  # what lies inside the old project is not copied, so it is named by its full path
        sources = tuple(replace(s, path=str(project.source_root(s))) for s in config.sources)
        config = replace(config, sources=sources)
    temp = root.with_name(f"{root.name}.part-{secrets.token_hex(4)}")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        if with_everything:
            shutil.copytree(project.root, temp, symlinks=True, ignore=_leave_out)
        else:
            temp.mkdir()
        Project(temp).save_config(config)
        temp.rename(root)
    except (OSError, shutil.Error) as problem:
        cause = problem if problem.errno else _first_cause(problem)
        safe = "Nothing was left of the copy; the project is unchanged."
        raise errors.disk_error(cause, root, safe=safe) from problem
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return Project(root)


def _leave_out(_: str, names: list[str]) -> list[str]:
    """Locks and unfinished files belong to the processes of the original."""
    return [n for n in names if _TEMP.search(n) or n.endswith((".lock", ".lock.json", "-shm"))]


def _first_cause(problem: OSError) -> OSError:
    """What copytree says, in one number: it gathers its failures as (from, to, words); the words hold the number."""
    words = str(problem)
    full = "No space left" in words or f"Errno {errno.ENOSPC}]" in words
    return OSError(errno.ENOSPC if full else errno.EIO, words[:200])


def _check_room(folder: Path, place: Path) -> None:
    need = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    there = next(path for path in (place, *place.parents) if path.exists())
    free = faults.free_bytes(there)
    if free < need:
        raise errors.DiskError(
            "FORECAST",
            f"The copy needs {fmt.size(need)}; {fmt.size(free)} are free.",
            safe="Nothing was made.",
            todo="Free some space, choose another place, or copy the settings only.",
        )


def rename(project: Project, name: str) -> Project:
    """The project under another name in the same place; the caller has given its lock back.

    Raises:
        ProjectError: the name cannot be, or is taken.
        LockError: a window, a command or a run is using the project.
        DiskError: the system refuses; nothing was changed.
    """
    target = project.root.with_name(check_name(name, "project name"))
    is_same = target.exists() and target.samefile(project.root)  # only the case differs
    if not is_same:
        _refuse_taken(target)
    with project.lock("renaming the project"):
        _refuse_busy(project, "renaming the project")
    try:
        project.root.rename(target)
    except OSError as problem:
        raise errors.disk_error(problem, target, safe="Nothing was changed.") from problem
    return Project(target)


def to_trash(project: Project) -> None:
    """Move the whole project folder to the system's trash; the caller has given its lock back.

    Raises:
        ProjectError: the folder is no project.
        LockError: a window, a command or a run is using it.
        DiskError: there is no trash for this place; nothing was removed.
    """
    from send2trash import send2trash

    if not project.config_path.is_file():
        raise ProjectError("MISSING", f"{project.root} is not a project (it has no config.json).")
    with project.lock("moving the project to the trash"):
        _refuse_busy(project, "moving the project to the trash")
    try:
        send2trash(str(project.root))
    except OSError as problem:
        raise errors.DiskError(
            "IO",
            f"{project.root} could not be moved to the trash ({str(problem)[:120]}).",
            safe="Nothing was removed.",
            todo="Remove the folder in your file manager.",
        ) from problem

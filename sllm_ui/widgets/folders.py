"""What a file chooser knows of folders: reading, sorting, completing, places. No window in it."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from operator import attrgetter
from pathlib import Path

import platformdirs

from sllm_core import fmt

MAX_NAME_BYTES = 255
# words for a person, patterns such as *.txt
Kind = tuple[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Item:
    """One name in a folder; its size and date are asked for only when it is shown."""

    name: str
    is_dir: bool
    key: str  # by which names are sorted


_KEY = attrgetter("key")


@dataclass(frozen=True)
class Place:
    """A folder one click away."""

    icon: str
    label: str
    path: Path


def shown(name: str) -> str:
    """A name as it may stand on the screen: nothing in it is invisible or undecodable."""
    text = fmt.path_text(name)
    return text.removeprefix("'") if not name.startswith("'") else text


def read(folder: Path) -> Iterator[Item]:
    """The names of a folder one by one, in the disk's order.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            yield Item(entry.name, _is_dir(entry), entry.name.casefold())


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into a place that may not be read
        return False


def size_and_time(path: Path) -> tuple[int, float]:
    """Bytes and time of the last change; (-1, 0) where the disk does not say."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return -1, 0.0
    return found.st_size, found.st_mtime


def arrange(
    items: Sequence[Item],
    by: str,
    is_down: bool,
    facts: Callable[[str], tuple[int, float]],
) -> list[Item]:
    """Folders first, then by ``name``, ``size`` or ``time``."""
    found = [[item for item in items if item.is_dir], [item for item in items if not item.is_dir]]
    for part in found:
        if by == "name":
            part.sort(key=_KEY, reverse=is_down)
        else:
            at = 0 if by == "size" else 1
            part.sort(key=lambda item: facts(item.name)[at], reverse=is_down)
    return found[0] + found[1]


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether a name, in small letters, fits one of the patterns; without any all do."""
    if not patterns:
        return lambda name: True
    small = [pattern.casefold() for pattern in patterns]
    ends = tuple(pattern[1:] for pattern in small)
    if all(pattern[0] == "*" and not set(pattern[1:]) & set("*?[") for pattern in small):
        return lambda name: name.endswith(ends)
    return lambda name: any(fnmatch(name, pattern) for pattern in small)


def typed_path(text: str, folder: Path) -> Path:
    """The path that was typed: ~ is the home, a relative one starts in ``folder``."""
    text = text.strip() or "."
    if text == "~" or text.startswith(("~/", f"~{os.sep}")):
        text = str(Path.home()) + text[1:]
    return Path(os.path.normpath(folder / text))


def complete(text: str, folder: Path, only_folders: bool) -> tuple[str, list[str]]:
    """The text as far as it can be completed, and the names it may become."""
    stem = text.rpartition("/")[2]
    head = text[: len(text) - len(stem)]
    if text == "~":
        return "~/", []
    parent = typed_path(head, folder) if head else folder
    try:
        names = sorted(
            f"{item.name}/" if item.is_dir else item.name
            for item in read(parent)
            if item.name.lower().startswith(stem.lower())
            and (item.is_dir or not only_folders)
            and (stem.startswith(".") or not item.name.startswith("."))
        )
    except (OSError, ValueError):
        return text, []
    exact = [name for name in names if name.startswith(stem)]
    names = exact or names
    if not names:
        return text, []
    # Letters, not path parts: this completes the beginning of one name.
    common = os.path.commonprefix(  # noqa: RUF071
        names if exact else [name.lower() for name in names]
    )
    if len(names) == 1:
        common = names[0]
    return head + (common if len(common) >= len(stem) else stem), names


def name_problem(name: str) -> str:
    """Why a file or folder cannot be called so; '' when it can."""
    if not name.strip():
        return "Type a name."
    if "/" in name or "\0" in name or name in {".", ".."}:
        return "A name has no slash in it and is not . or .."
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        return f"A name has at most {MAX_NAME_BYTES} bytes."
    return ""


def reading_problem(folder: Path, problem: OSError) -> str:
    """Words for a folder that cannot be listed."""
    where = shown(folder.name or str(folder))
    if isinstance(problem, PermissionError):
        return f"You may not read {where}: it belongs to another user or is protected."
    if isinstance(problem, FileNotFoundError):
        return f"There is no folder {where} here."
    if isinstance(problem, NotADirectoryError):
        return f"{where} is a file, not a folder."
    return f"{where} cannot be read: {problem.strerror or problem}."


def places(recent: Sequence[str]) -> list[Place]:
    """Home, documents, desktop, the folders used last, and what is plugged in."""
    home = Path.home()
    found = [Place("house", "Home", home)]
    for icon, words, text in (
        ("file-text", "Documents", platformdirs.user_documents_dir()),
        ("display", "Desktop", platformdirs.user_desktop_dir()),
        ("download", "Downloads", platformdirs.user_downloads_dir()),
    ):
        if Path(text) != home and Path(text).is_dir():
            found.append(Place(icon, words, Path(text)))
    known = {place.path for place in found}
    found += [
        Place("clock-history", shown(Path(text).name or text), Path(text))
        for text in recent
        if Path(text) not in known
    ]
    found += [
        Place("device-hdd", shown(path.name) or "Computer", path)
        for path in (Path("/"), *mounted(_mounts()))
    ]
    return found


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return ""


def mounted(table: str) -> list[Path]:
    """Folders of plugged-in and network drives, from the text of /proc/self/mounts."""
    found = []
    for line in table.splitlines():
        words = line.split(" ")
        if len(words) > 2 and words[1].startswith(("/media/", "/mnt/", "/run/media/", "/Volumes/")):
            path = words[1]
            for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
                path = path.replace(code, letter)
            found.append(Path(path))
    return found[:8]


def has_own_chooser() -> bool:
    """Windows and macOS have a file chooser that Tk opens; elsewhere Tk's is bare, ours is used."""
    return sys.platform in {"win32", "darwin"}

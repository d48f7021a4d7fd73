"""What the window remembers beside the projects: looks, places, recent projects, its own size."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sllm_core.errors import DiskError
from sllm_core.project import write_text

MAX_RECENT = 12
ZOOMS = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
_FILE = "window.json"


@dataclass(frozen=True)
class AppSettings:
    """Every value has a default, and only values that differ from it are stored."""

    theme: str = "dark"  # dark | light
    zoom: float = 1.0  # beside the display's own scale
    keep_awake: bool = True
    projects_dir: str = ""  # '' is the documents folder
    recent: tuple[str, ...] = ()  # folders of projects, newest first
    geometry: str = ""  # as Tk writes it
    is_maximized: bool = False
    tab: str = "data"
    sections: tuple[str, ...] = ("model",)  # open sections of the training form
    writer: str = ""  # the last prompt of the Test tab
    sampling_presets: tuple[str, ...] = ()  # those of the user's own, each as JSON
    is_new_seed: bool = False  # the Test tab draws a seed for each writing


class Settings:
    """The stored settings; each change is written at once, and a broken file is set aside."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self.problem = ""  # what to tell the user about the file, '' when all is well
        self._listeners: list[Callable[[AppSettings, AppSettings], None]] = []
        self.values = self._load()

    def listen(self, listener: Callable[[AppSettings, AppSettings], None]) -> None:
        """Call ``listener(old, new)`` at each change."""
        self._listeners.append(listener)

    def change(self, **fields: Any) -> None:
        """Take over new values and store what differs from the defaults."""
        old, changed = self.values, replace(self.values, **fields)
        if changed == old:
            return
        self.values = changed
        self._store(changed)
        for listener in tuple(self._listeners):
            listener(old, changed)

    def _store(self, changed: AppSettings) -> None:
        default = dataclasses.asdict(AppSettings())
        body = {k: v for k, v in dataclasses.asdict(changed).items() if v != default[k]}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
            write_text(
                self._path, text.encode("utf-8", "backslashreplace").decode(), point="settings.save"
            )
        except (DiskError, OSError) as problem:
            self.problem = f"The window's settings cannot be stored: {problem}"

    def remember(self, folder: Path) -> None:
        """Put a project at the head of the recent ones."""
        name = str(folder)
        others = [path for path in self.values.recent if path != name]
        self.change(recent=(name, *others)[:MAX_RECENT])

    def forget(self, folder: str) -> None:
        """Take a project out of the recent ones."""
        self.change(recent=tuple(path for path in self.values.recent if path != folder))

    def _load(self) -> AppSettings:
        try:
            body = json.loads(self._path.read_text(encoding="utf-8"))
            return _checked(body)
        except FileNotFoundError:
            return AppSettings()
        except (OSError, ValueError, TypeError, OverflowError, RecursionError) as problem:
            aside = self._path.with_suffix(".corrupt")
            where = f"set aside as {aside.name}"
            try:
                self._path.replace(aside)
            except OSError:
                where = "left where it is"
            self.problem = (
                f"The window's settings could not be read ({type(problem).__name__}) and were "
                f"{where}. It starts with the defaults; projects are not touched."
            )
            return AppSettings()


def _checked(body: Any) -> AppSettings:
    """Settings from parsed JSON; a value of the wrong type is an error, an unknown key is newer."""
    if not isinstance(body, dict):
        raise TypeError("the settings are no JSON object")
    known = {field.name: field for field in dataclasses.fields(AppSettings)}
    values: dict[str, Any] = {}
    for name, value in body.items():
        if name not in known:
            continue
        default = known[name].default
        if isinstance(default, tuple):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ValueError(f"{name} is not a list of texts")
            value = tuple(value)
        elif isinstance(default, float) and type(value) is int:
            value = float(value)
        elif type(value) is not type(default):
            raise ValueError(f"{name} cannot be {value!r}")
        values[name] = value
    settings = AppSettings(**values)
    if settings.theme not in {"dark", "light"} or not min(ZOOMS) <= settings.zoom <= max(ZOOMS):
        raise ValueError("the theme or the zoom is none this window has")
    return settings

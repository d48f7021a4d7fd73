"""What the settings page shows and changes; each change counts at once. Knows no widgets."""

import configparser
import os
import platform
import plistlib
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from sllm_core import fmt, shortcut
from sllm_core.config import VERSION
from sllm_ui import paths
from sllm_ui.bus import Store
from sllm_ui.events import ProjectChanged
from sllm_ui.session import Session
from sllm_ui.settings import ZOOMS, AppSettings

THEMES = ("dark", "light")
# What "Reset" brings back; recent projects and the window's place are no settings of this page.
RESETTABLE = ("theme", "zoom", "keep_awake", "projects_dir")


@dataclass(frozen=True)
class State:
    """Everything the settings page shows."""

    theme: str = "dark"
    system_theme: str = ""  # dark | light; '' when the system does not say
    zoom: float = 1.0
    keep_awake: bool = True
    projects_dir: str = ""  # as it counts, the default spelled out
    projects_dir_error: str = ""
    is_default: bool = True
    can_undo: bool = False  # the last thing done was a reset
    problem: str = ""  # with the settings file
    logs_dir: str = ""  # of the open project
    about: tuple[tuple[str, str], ...] = ()


class Presenter:
    """Changes the window's own settings."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before_reset: AppSettings | None = None
        self.store = Store(State(system_theme=system_theme(), about=about()))
        session.settings.listen(self._on_settings)
        session.bus.subscribe(ProjectChanged, lambda _: self.refresh())
        self.refresh()

    def _on_settings(self, old: AppSettings, new: AppSettings) -> None:
        if any(getattr(old, name) != getattr(new, name) for name in RESETTABLE):
            self._before_reset = None
        self.refresh()

    def refresh(self) -> None:
        """Show the settings as they are: keys and palette change them too."""
        values, project = self._session.settings.values, self._session.project
        default, now = AppSettings(), self.store.state
        shown = values.projects_dir or str(paths.projects_dir())
        if now.projects_dir_error:  # a text that is being mended stays
            shown = now.projects_dir
        self.store.update(
            theme=values.theme,
            zoom=values.zoom,
            keep_awake=values.keep_awake,
            projects_dir=shown,
            is_default=all(getattr(values, name) == getattr(default, name) for name in RESETTABLE),
            can_undo=self._before_reset is not None,
            problem=self._session.settings.problem,
            logs_dir=str(project.root / "logs") if project else "",
        )

    def set_theme(self, theme: str) -> None:
        """Dark or light."""
        if theme in THEMES:
            self._change(theme=theme)

    def follow_system(self) -> None:
        """The theme that the system has now."""
        now = system_theme()
        self.store.update(system_theme=now)
        self.set_theme(now)

    def set_zoom(self, zoom: float) -> None:
        """The nearest of the steps there are."""
        self._change(zoom=min(ZOOMS, key=lambda step: abs(step - zoom)))

    def set_keep_awake(self, is_on: bool) -> None:
        """Whether the computer is kept from falling asleep while a run is on; new runs obey."""
        self._change(keep_awake=is_on)

    def set_projects_dir(self, text: str) -> None:
        """Where new projects go; an empty text is the documents folder again."""
        text = text.strip()
        error = why_no_projects_dir(text)
        self.store.update(projects_dir_error=error, projects_dir=text)
        if not error:
            is_default = not text or Path(text).expanduser() == paths.projects_dir()
            self._change(projects_dir="" if is_default else str(Path(text).expanduser()))

    def make_shortcut(self) -> None:
        """Put a starter into the desktop's menu, off the window's thread."""

        def done(path: Path) -> None:
            self._session.notify("good", "The shortcut is made", _shown(path))

        python = Path(sys.executable)
        self._session.task("shortcut", shortcut.install, paths.ROOT, python, then=done)

    def reset(self) -> None:
        """The defaults of this page; `undo` takes that back."""
        old = self._session.settings.values
        default = AppSettings()
        self.store.update(projects_dir_error="")
        self._change(**{name: getattr(default, name) for name in RESETTABLE})
        if self._session.settings.values != old:
            self._before_reset = old
        self.refresh()

    def undo(self) -> None:
        """The settings as they were before the reset."""
        if old := self._before_reset:
            self._change(**{name: getattr(old, name) for name in RESETTABLE})

    def _change(self, **values: object) -> None:
        self._session.settings.change(**values)
        self.refresh()


assert set(RESETTABLE) <= {field.name for field in fields(AppSettings)}


def _shown(path: Path) -> str:
    return fmt.path_text(str(path))


def why_no_projects_dir(text: str) -> str:
    """Why new projects cannot go to this folder; '' when they can (it need not be there yet)."""
    if not text:
        return ""
    if "\0" in text:
        return "A folder's name cannot hold that character."
    folder = Path(text).expanduser()
    if not folder.is_absolute():
        return "Give the whole path, from the drive or the root on."
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        return f"{nearest.name or nearest} is a file, not a folder."
    if not os.access(nearest, os.W_OK):
        return f"{_shown(nearest)} cannot be written to."
    return ""


def about() -> tuple[tuple[str, str], ...]:
    """Facts about the program and what it runs on."""
    return (
        ("Version", VERSION),
        ("Licence", "MIT"),
        ("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        ("Program", _shown(paths.ROOT)),
        ("Settings", _shown(paths.settings_dir())),
    )


CREDITS = (
    "Built on PyTorch, tokenizers, tiktoken, NumPy, ttkbootstrap with the Bootstrap icons, "
    "Pillow, matplotlib and markdown-it-py. The idea is owed to the author of the first "
    "sLLM Trainer; no code was taken over."
)


# --- The system's theme, where it is written in a file or in the registry


def system_theme() -> str:
    """``dark`` or ``light`` as the desktop says, ``''`` when it cannot be known."""
    if sys.platform == "win32":
        return _windows_theme()
    home = Path.home()
    if sys.platform == "darwin":
        return mac_theme(home / "Library" / "Preferences" / ".GlobalPreferences.plist")
    named = os.environ.get("GTK_THEME", "")
    if named:
        return "dark" if named.lower().endswith(("dark", "inverse")) else "light"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return kde_theme(config / "kdeglobals") or gtk_theme(config / "gtk-4.0" / "settings.ini")


def _windows_theme() -> str:
    import winreg

    place = r"Software\Microsoft\Windows\CurrentVersion\Themes\Personalize"
    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, place) as key:  # type: ignore[attr-defined]
            is_light, _ = winreg.QueryValueEx(key, "AppsUseLightTheme")  # type: ignore[attr-defined]
    except OSError:
        return ""
    return "light" if is_light else "dark"


def mac_theme(preferences: Path) -> str:
    """From macOS's global preferences; the key is only there when it is dark."""
    try:
        values = plistlib.loads(preferences.read_bytes())
    except (OSError, ValueError, plistlib.InvalidFileException):
        return ""
    return "dark" if values.get("AppleInterfaceStyle") == "Dark" else "light"


def kde_theme(file: Path) -> str:
    """From KDE's colours: dark when the window's background is."""
    try:
        parts = _ini(file).get("Colors:Window", "BackgroundNormal", fallback="").split(",")
        return ("dark" if sum(map(int, parts)) < 384 else "light") if len(parts) == 3 else ""
    except ValueError:
        return ""


def gtk_theme(file: Path) -> str:
    """From GTK's settings file."""
    text = _ini(file).get("Settings", "gtk-application-prefer-dark-theme", fallback="")
    return {"1": "dark", "true": "dark", "0": "light", "false": "light"}.get(text.lower(), "")


def _ini(file: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return configparser.RawConfigParser()
    return parser

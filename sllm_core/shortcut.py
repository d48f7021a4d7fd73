"""An entry for the program in the start menu and on the desktop of this system."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from sllm_core.errors import DiskError, disk_error

NAME = "sLLM Trainer"
COMMENT = "Train a small language model on your own files"
ENTRY = "sllm-trainer.desktop"
# All that differs comes through the environment, so that no path is ever read as a command.
_MAKE_LINKS = """
$ErrorActionPreference = 'Stop'
$shell = New-Object -ComObject WScript.Shell
$places = @([Environment]::GetFolderPath('Programs'), [Environment]::GetFolderPath('Desktop'))
foreach ($place in $places) {
  if (-not $place) { continue }
  $file = Join-Path $place ($env:SLLM_LINK_NAME + '.lnk')
  $link = $shell.CreateShortcut($file)
  $link.TargetPath = $env:SLLM_LINK_TARGET
  $link.Arguments = $env:SLLM_LINK_ARGUMENTS
  $link.WorkingDirectory = $env:SLLM_LINK_FOLDER
  $link.IconLocation = $env:SLLM_LINK_ICON
  $link.Description = $env:SLLM_LINK_COMMENT
  $link.Save()
  [Console]::Out.WriteLine($file)
}
"""


def install(root: Path, python: Path) -> Path:
    """Make the entry, or make it anew.

    Args:
        root: the folder of sllm.py; the entry stops working when it is moved.
        python: what starts it; of an environment's Python the one it was made from is taken, so
            that the entry outlives the environment.

    Returns:
        The entry a person sees: on the desktop where there is one.

    Raises:
        DiskError: it cannot be written.
    """
    python = _outside(python)
    try:
        if sys.platform == "win32":
            return _install_windows(root, python)
        if sys.platform == "darwin":
            return _install_mac(root, python)
        return _install_linux(root, python)
    except OSError as problem:
        raise disk_error(problem, problem.filename or NAME, safe="No entry was made.") from problem


def _outside(python: Path) -> Path:
    base = getattr(sys, "_base_executable", "")
    return Path(base) if base and python == Path(sys.executable) else python


def desktop_file(root: Path, python: Path) -> str:
    """The text of a `.desktop` entry (freedesktop.org, Desktop Entry Specification 1.5)."""
    command = f"{_exec_word(python)} {_exec_word(root / 'sllm.py')}"
    lines = [
        "[Desktop Entry]",
        "Type=Application",
        f"Name={NAME}",
        f"Comment={COMMENT}",
        f"Exec={_value(command)}",
        f"Path={_value(str(root))}",
        f"Icon={_value(str(root / 'assets' / 'icon.png'))}",
        "Terminal=false",
        "Categories=Science;Education;ArtificialIntelligence;",
    ]
    return "\n".join(lines) + "\n"


def _exec_word(path: Path) -> str:
    """One word of a command line: quoted, its own characters escaped, and no field codes."""
    text = str(path).replace("\\", "\\\\")
    for letter in '"`$':
        text = text.replace(letter, f"\\{letter}")
    return '"' + text.replace("%", "%%") + '"'


def _value(text: str) -> str:
    """A value of the file: on one line, with backslashes and outer blanks kept."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    return text.replace("\r", "\\r")


def _install_linux(root: Path, python: Path) -> Path:
    text = desktop_file(root, python)
    shared = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    places = [Path(shared) / "applications"]
    places[0].mkdir(parents=True, exist_ok=True)
    if desktop := _linux_desktop():
        places.append(desktop)
    for place in places:
        _write(place / ENTRY, text)
    return places[-1] / ENTRY


def _linux_desktop() -> Path | None:
    """The person's desktop folder, whatever it is called in their language."""
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    found = Path.home() / "Desktop"
    try:
        lines = (base / "user-dirs.dirs").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip() == "XDG_DESKTOP_DIR":
            found = Path(value.strip().strip('"').replace("$HOME", str(Path.home())))
    # Where a system has no desktop, its folder is the home folder itself.
    return found if found.is_dir() and found != Path.home() else None


def _install_mac(root: Path, python: Path) -> Path:
    path = Path.home() / "Desktop" / f"{NAME}.command"
    _write(
        path, f"#!/bin/sh\nexec {shlex.quote(str(python))} {shlex.quote(str(root / 'sllm.py'))}\n"
    )
    return path


def _write(path: Path, text: str) -> None:
    """Executable, because desktops refuse to start an entry that is not."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8", errors="surrogateescape")
    draft.chmod(0o755)
    draft.replace(path)


def _install_windows(root: Path, python: Path) -> Path:
    silent = python.with_name("pythonw.exe")  # without a console window
    environment = {
        **os.environ,
        "SLLM_LINK_NAME": NAME,
        "SLLM_LINK_TARGET": str(silent if silent.exists() else python),
        "SLLM_LINK_ARGUMENTS": subprocess.list2cmdline([str(root / "sllm.py")]),
        "SLLM_LINK_FOLDER": str(root),
        "SLLM_LINK_ICON": str(root / "assets" / "icon.ico"),
        "SLLM_LINK_COMMENT": COMMENT,
    }
    done = subprocess.run(
        ["powershell", "-NoProfile", "-NonInteractive", "-Command", _MAKE_LINKS],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    made = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not made:
        raise DiskError(
            "IO",
            f"Windows did not make the shortcut ({done.stderr.strip()[:200] or done.returncode}).",
            safe="Nothing else was changed.",
            todo=f"Make one by hand for: {python} {root / 'sllm.py'}",
        )
    return Path(made[-1].strip())

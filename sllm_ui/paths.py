"""Where the window's own files are: settings, pictures, help; and showing a folder to a person."""

import os
import subprocess
import sys
from pathlib import Path

import platformdirs

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"
HELP = ROOT / "help"


def settings_dir() -> Path:
    """The folder of the app's own settings; SLLM_SETTINGS chooses another one."""
    chosen = os.environ.get("SLLM_SETTINGS")
    return Path(chosen) if chosen else Path(platformdirs.user_config_dir("sllm-trainer", False))


def projects_dir() -> Path:
    """Where new projects go unless the user chose another place."""
    return Path(platformdirs.user_documents_dir()) / "sLLM projects"


def reveal(path: Path) -> bool:
    """Open a folder, or the folder of a file, in the system's file manager; False if it has none."""
    folder = path if path.is_dir() else path.parent
    if sys.platform == "win32":
        os.startfile(folder)
        return True
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        subprocess.Popen(
            [opener, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    return True

"""The sample project: this Python's own library as a corpus; nothing is downloaded or bundled."""

import importlib
import sysconfig
from pathlib import Path

from sllm_core import config as settings
from sllm_core import presets, project
from sllm_core.config import ProjectConfig
from sllm_core.errors import DataError
from sllm_core.project import Project

# Packages of other people, tests and generated tables: they are not the library's own prose.
EXCLUDED = (
    "site-packages", "dist-packages", "test", "tests", "idle_test", "lib-dynload", "config-*",
    "ensurepip", "turtledemo", "pydoc_data", "lib2to3", "encodings",
)  # fmt: skip
PROMPTS = ("def __init__(self", '    """Return ', "The ")


def open_or_create(folder: str | None) -> Project:
    """The sample project in ``folder``, by default beside the program.

    Raises:
        DataError: this Python came without its library's sources.
    """
    root = Path(folder) if folder else default_folder()
    if (root / "config.json").exists():
        return project.open_project(root)
    library = Path(sysconfig.get_path("stdlib"))
    if not (library / "argparse.py").exists():
        raise DataError(
            "SOURCE",
            f"This Python has no library sources in {library}.",
            todo="Make a project of your own files: sllm.py new PROJECT --source FOLDER",
        )
    config = presets.build(ProjectConfig(), "Sample", [])
    config = settings.with_values(config, {"sample_prompts": PROMPTS})
    root.mkdir(parents=True, exist_ok=True)
    topics = root / "sample_text"
    write_topics(topics)
    return project.create(root, [str(library), str(topics)], config, exclude=EXCLUDED)


def default_folder() -> Path:
    """Beside the program, or in the user's documents where that cannot be written."""
    beside = Path(__file__).resolve().parents[1] / "sample_project"
    try:
        beside.mkdir(exist_ok=True)
        (beside / ".writable").touch()
        (beside / ".writable").unlink()
    except OSError:
        import platformdirs

        return Path(platformdirs.user_documents_dir()) / "sllm_sample_project"
    return beside


def write_topics(folder: Path) -> None:
    """The texts behind Python's ``help()``, a file each: prose."""
    folder.mkdir(exist_ok=True)
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        topics = {}
    for name, text in topics.items():
        safe = "".join(letter if letter.isalnum() else "_" for letter in name)
        (folder / f"{safe}.txt").write_text(text, encoding="utf-8")

"""A pasted text becomes a file inside the project, and that file a source."""

from collections.abc import Callable
from pathlib import Path

from sllm_core import errors
from sllm_core.errors import SllmError
from sllm_core.project import Project, write_text
from sllm_ui.bus import Store
from sllm_ui.session import Session
from sllm_ui.tabs.data.state import State, refuse

PASTE_FOLDER = "pasted_text"


class Pasting:
    """The sheet for a text.

    Args:
        add: makes sources of paths.
    """

    def __init__(
        self, session: Session, store: Store[State], add: Callable[[list[str]], None]
    ) -> None:
        self._session, self._store, self._add = session, store, add

    def begin(self) -> None:
        """Open the sheet for a text."""
        if not refuse(self._session):
            self._store.update(paste=("", ""), paste_error="")

    def edit(self, name: str, text: str) -> None:
        """Keep what is written, so that nothing is lost when the window is built anew."""
        if self._store.state.paste is not None:
            self._store.update(paste=(name, text))

    def cancel(self) -> None:
        """Close the sheet."""
        self._store.update(paste=None, paste_error="")

    def add(self, name: str, text: str) -> None:
        """Store the text as a file inside the project and add it as a source."""
        project = self._session.project
        if project is None or refuse(self._session):
            return
        if not text.strip():
            self._store.update(
                paste=(name, text), paste_error="There is no text yet. Paste or write some."
            )
            return

        def stored(found: Path | SllmError) -> None:
            if isinstance(found, SllmError):
                self._store.update(paste_error=found.what)
            else:
                self._store.update(paste=None, paste_error="")
                self._add([str(found)])

        title = name.strip() or next(line.strip() for line in text.splitlines() if line.strip())
        self._store.update(paste=(name, text), paste_error="")
        self._session.task("paste", try_store_paste, project, title, text, then=stored)


def try_store_paste(project: Project, title: str, text: str) -> Path | SllmError:
    """`store_paste`, or why it did not work: the sheet stays open then."""
    try:
        return store_paste(project, title, text)
    except SllmError as problem:
        return problem
    except OSError as problem:
        return errors.disk_error(problem, PASTE_FOLDER)


def store_paste(project: Project, title: str, text: str) -> Path:
    """Write a pasted text into the project folder under a name that is free.

    Raises:
        DiskError: it cannot be written.
    """
    plain = "".join(c if c.isalnum() or c in " -_" else " " for c in title)
    stem = " ".join(plain.split())[:60].strip(" .") or "text"
    stem = stem.encode("utf-8")[:100].decode("utf-8", "ignore")
    folder = project.root / PASTE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / f"{stem}.txt", 1
    while path.exists():
        number += 1
        path = folder / f"{stem} {number}.txt"
    write_text(
        path, text.encode("utf-8", "replace").decode() + ("" if text.endswith("\n") else "\n")
    )
    return path

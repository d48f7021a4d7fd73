"""The chosen file before and after cleaning, asked of the warm reader."""

from dataclasses import asdict
from pathlib import Path

from sllm_core import messages as m
from sllm_core.corpus.index import Index
from sllm_core.project import Project
from sllm_ui.bus import Store
from sllm_ui.events import Answered
from sllm_ui.session import Session
from sllm_ui.tabs.refine.compare import compare
from sllm_ui.tabs.refine.state import PreviewView, State

LIMIT = 6000  # characters of each side
MODES = ("extracted", "cleaned")


class Looking:
    """Asks for both sides of a file and lays them side by side."""

    def __init__(self, session: Session, store: Store[State]) -> None:
        self._session, self._store = session, store
        self.clear()

    def clear(self) -> None:
        """Another project: nothing was asked."""
        self._file: tuple[int, int, str] = (0, 0, "")  # source, id in the index, name
        self._requests: dict[int, str] = {}
        self._answers: dict[str, m.Preview] = {}

    def show(self, source_id: int, file_id: int, name: str, *, is_used: bool = True) -> None:
        """Show another file, or the same one anew."""
        self._file, self._requests, self._answers = (source_id, file_id, name), {}, {}
        if not is_used:
            self._store.update(preview=PreviewView(name, note="This file is left out."))
            return
        old = self._store.state.preview
        kept = old.result if old.name == name else None  # no flicker where only a switch changed
        self._store.update(preview=PreviewView(name, is_loading=True, result=kept))
        if self._session.project:
            wanted = self._file
            self._session.task(
                "refine look", read_path, self._session.project, file_id,
                then=lambda path: self._ask(wanted, path),
            )  # fmt: skip

    def again(self) -> None:
        """The cleaning is another: show what it does now."""
        if self._file[1] and self._store.state.preview.result is not None:
            self.show(*self._file)

    def _ask(self, wanted: tuple[int, int, str], path: bytes | None) -> None:
        if wanted != self._file:
            return
        if path is None:
            self._store.update(preview=PreviewView(wanted[2], note="It is not listed any more."))
            return
        what = {"source_id": wanted[0], "path": path.hex()}
        clean = asdict(self._session.config.clean)
        for mode in MODES:
            number = self._session.pipes.look(preview=what, mode=mode, limit=LIMIT, clean=clean)
            self._requests[number] = mode

    def on_answer(self, event: Answered) -> None:
        """The reader answered: when both sides are there, show them."""
        message = event.message
        if event.source != "looker" or not isinstance(message, m.Preview | m.Failed):
            return
        mode = self._requests.pop(message.request, "")
        if not mode:
            return
        if isinstance(message, m.Failed):
            self._requests.clear()
            text = message.text.split("\n")[0].rsplit(" [", 1)[0]
            self._store.update(preview=PreviewView(self._file[2], note=text))
            return
        self._answers[mode] = message
        if len(self._answers) == len(MODES):
            self._lay()

    def _lay(self) -> None:
        before, after = (self._answers[mode] for mode in MODES)
        self._answers = {}
        if not before.text and before.note:
            self._store.update(preview=PreviewView(self._file[2], note=before.note))
            return
        result = compare(before.text, after.text, is_cut=before.is_cut)
        self._store.update(preview=PreviewView(self._file[2], result=result))


def read_path(project: Project, file_id: int) -> bytes | None:
    """The path of a file below its source, as its bytes; None when it is not listed."""
    with Index(project.db_path, is_checked=False) as index:
        rows = list(index.read("SELECT path FROM files WHERE id = ?", (file_id,)))
    return rows[0][0] if rows else None


def place_of(root: Path, path: bytes) -> Path:
    """Where a file lies; a source that is one file has no path below it."""
    from sllm_core.corpus.index import decode_path

    return root / decode_path(path) if path else root

"""The preview of a file and the tokenizer's report, asked of the warm reader."""

from dataclasses import replace

from sllm_core import messages as m
from sllm_ui.bus import Store
from sllm_ui.events import Answered
from sllm_ui.session import Session
from sllm_ui.tabs.data import lists
from sllm_ui.tabs.data.lists import File
from sllm_ui.tabs.data.state import State
from sllm_ui.tabs.data.words import PreviewView

PREVIEW_CHARS = 5000
# How a file is shown -> what the reader is asked for.
MODES = {"raw": "raw", "text": "extracted", "cleaned": "cleaned", "tokens": "cleaned"}


class Reading:
    """Asks the reader and shows what it answers; only while the tab was in view once."""

    def __init__(self, session: Session, store: Store[State]) -> None:
        self._session, self._store = session, store
        self._is_awake = False
        self.clear()

    def clear(self) -> None:
        """Another project: nothing was asked."""
        self._requests: dict[int, str] = {}  # number -> preview | report
        self._reported = ""  # the tokenizer that the report is of

    def wake(self) -> None:
        """The tab is in view: ask for what only it shows."""
        if not self._is_awake:
            self._is_awake = True
            self._look_again()

    def renew(self) -> None:
        """The data, the tokenizer or the project is another."""
        if self._is_awake:
            self._look_again()

    def _look_again(self) -> None:
        """The data or the tokenizer is another: preview and report are of the past."""
        state, facts = self._store.state, self._session.facts
        if self._session.project is None:
            return
        if state.report and state.report.vocab_size and facts.vocab_size is None:
            self._store.update(report=None, report_state="")
        elif facts.vocab_size is not None and facts.tokenizer_sha256 != self._reported:
            self.ask_report()
        if not facts.used:
            self._store.update(preview=PreviewView())
        elif state.preview.file is None:
            self.show_file_at(0)
        else:
            self._ask_preview(state.preview.file)
            self._store.update(preview=replace(self._store.state.preview, total=facts.used))

    def ask_report(self) -> None:
        """Measure how the tokenizer fits the text; takes seconds."""
        if self._session.project is None or self._session.facts.vocab_size is None:
            return
        self._reported = self._session.facts.tokenizer_sha256
        self._drop_requests("report")
        self._requests[self._session.pipes.look(report=True)] = "report"
        self._store.update(report_state="waiting")

    def step_file(self, step: int) -> None:
        """The next (1) or the previous (-1) used file."""
        total = self._session.facts.used
        if total:
            self.show_file_at((max(0, self._store.state.preview.position) + step) % total)

    def show_file_at(self, position: int) -> None:
        """The used file at a place of the list."""
        session = self._session
        if session.project is None:
            return

        def show(rows: tuple[File, ...]) -> None:
            if rows:
                self.show_file(rows[0], position)

        session.task("file at", lists.read_at, session.project, position, then=show)

    def show_file(self, file: File, position: int) -> None:
        """A file, and its place among the used ones (-1: not known)."""
        preview = self._store.state.preview
        self._store.update(
            preview=replace(
                preview, file=file, record=0, position=position, total=self._session.facts.used
            )
        )
        self._ask_preview(file)

    def _ask_preview(self, file: File) -> None:
        self._drop_requests("preview")
        what = {"source_id": file.source_id, "path": file.path.hex()}
        view = self._store.state.preview
        body = {"preview": what, "limit": PREVIEW_CHARS, "mode": MODES[self._store.state.look]}
        if file.records:
            body["record"] = view.record
        self._requests[self._session.pipes.look(**body)] = "preview"
        self._store.update(preview=replace(view, is_waiting=True, problem=""))

    def _drop_requests(self, kind: str) -> None:
        self._requests = {n: k for n, k in self._requests.items() if k != kind}

    def choose_look(self, look: str) -> None:
        """Raw, text, cleaned or tokens."""
        old = self._store.state.look
        if look != old:
            self._store.update(look=look)
            file = self._store.state.preview.file
            if file and MODES[look] != MODES[old]:
                self._ask_preview(file)

    def show_record(self, record: int) -> None:
        """A document of the table in view, from 0; beyond its end is the last one."""
        view = self._store.state.preview
        if view.file is not None and view.file.records:
            record = max(0, min(record, view.file.records - 1))
            if record != view.record:
                self._store.update(preview=replace(view, record=record))
                self._ask_preview(view.file)

    def on_answer(self, event: Answered) -> None:
        """The reader said something."""
        if event.source != "looker":
            return
        message = event.message
        if isinstance(message, m.Failed) and message.code == "E-WORKER-DIED":
            for kind in set(self._requests.values()):
                self._fail(kind, message.text)
            self._requests = {}
            self._reported = ""
            return
        kind = self._requests.pop(getattr(message, "request", 0), "")
        if not kind:
            return
        if isinstance(message, m.Preview):
            preview = replace(
                self._store.state.preview, answer=message, is_waiting=False, problem=""
            )
            self._store.update(preview=preview)
        elif isinstance(message, m.TokenizerReport):
            self._store.update(report=message, report_state="")
        elif isinstance(message, m.Failed):
            self._fail(kind, message.text)

    def _fail(self, kind: str, text: str) -> None:
        said = text.rsplit(" [", 1)[0]
        if kind == "preview":
            preview = replace(
                self._store.state.preview, answer=None, is_waiting=False, problem=said
            )
            self._store.update(preview=preview)
        else:
            self._store.update(report_state=said)

"""The page of files: which are used, which are not and why, which were converted."""

from typing import Any

from sllm_core import fmt
from sllm_ui import paths
from sllm_ui.tabs.data.parts import Field
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.reasons import REASONS
from sllm_ui.tabs.data.state import State
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import Segmented, button, combo
from sllm_ui.widgets.kit import Box, Card, Desk, Elided, label, px
from sllm_ui.widgets.table import Col, VTable

KINDS = {"Used": "used", "Not used": "unused", "Converted": "converted"}
ALL = "All reasons"
COLS = {
    "used": [
        Col("File", 200, stretch=1), Col("Size", 90, "e"), Col("Encoding", 110, kind="muted", drop=1),
        Col("Tokens", 90, "e", tip="Known once the data is prepared."),
    ],
    "unused": [
        Col("File", 200, stretch=1), Col("Size", 90, "e", drop=1), Col("Reason", 230, kind="badge"),
    ],
    "converted": [
        Col("File", 200, stretch=1), Col("Size", 90, "e"), Col("Converted from", 130),
        Col("Tokens", 90, "e", drop=1),
    ],
}  # fmt: skip


class FilesPage(Box):
    """A list of files of any length, with a search."""

    def __init__(self, master: Box, presenter: Presenter, desk: Desk, kind: str) -> None:
        super().__init__(master)
        self._presenter, self._desk, self._kind = presenter, desk, kind
        self._key: Any = None
        self._reasons: list[str] = []
        top = Box(self)
        top.pack(fill="x", pady=(0, px(12)))
        back = button(
            top, "Back", "arrow-left", small=True, command=presenter.files.close, tip="Back to Data"
        )
        back.pack(side="left")
        name = next(words for words, key in KINDS.items() if key == kind)
        kinds = Segmented(
            top, list(KINDS), name, lambda words: presenter.files.filter(kind=KINDS[words]),
            tips=["Files that are read.", "Skipped and failed files.", "From an old encoding."],
        )  # fmt: skip
        kinds.pack(side="left", padx=px(12))
        self._search = Field(
            top, lambda text: presenter.files.filter(search=text.strip()), 22,
            "Show only files whose path holds this.",
        )  # fmt: skip
        kit.picture(top, "search", 14, "muted").pack(side="left", padx=(0, px(6)))
        self._search.entry.pack(side="left")
        self._choice = combo(
            top, [ALL], ALL, 20, self._choose_reason, "Show only files of this reason."
        )
        if kind == "unused":
            self._choice.pack(side="left", padx=px(12))
        self.card = Card(self, "Files", "table", pad=16)
        self.card.pack(fill="both", expand=True)
        self._export = button(
            self.card.head, "Export list", "download", "ghost", True, self._ask_export,
            "Write this list into a file: .csv as a table for a spreadsheet, .txt as lines.",
        )  # fmt: skip
        self._export.pack(side="right")
        self._copy = button(
            self.card.head, "Copy list", "clipboard", "ghost", True, self._copy_list,
            "Copy the paths of all files of this list.",
        )  # fmt: skip
        self._copy.pack(side="right")
        self._reveal = button(
            self.card.head, "Show folder", "folder2-open", "ghost", True, self._show_folder,
            "Show the chosen file in the file manager.",
        )  # fmt: skip
        self._reveal.pack(side="right")
        self._look = button(
            self.card.head, "Preview", "eye", "ghost", True, self._open, "Show the chosen file."
        )
        self._look.pack(side="right")
        self._pick = button(
            self.card.head, "Choose columns", "layout-three-columns", small=True,
            command=self._choose_columns, tip="Say which columns of such tables hold the text.",
        )  # fmt: skip
        self._meaning = Elided(self.card.body, "", "caption", "fg2")
        self._table = VTable(
            self.card.body, COLS[kind], on_select=presenter.files.select,
            on_open=presenter.files.show, tip="Files. Return shows the chosen one in the preview.",
        )  # fmt: skip
        self._table.pack(fill="both", expand=True)
        self._none = label(self._table, "", "body", "muted")

    def focus_first(self) -> None:
        """The search field."""
        self._search.entry.focus_set()

    def _choose_reason(self, words: str) -> None:
        place = self._choice.cget("values").index(words) if words != ALL else 0
        self._presenter.files.filter(reason=self._reasons[place])

    def _copy_list(self) -> None:
        def copied(text: str, n: int) -> None:
            self._desk.copy(text)
            self._desk.toast("good", "Copied", f"{n:,} {'path' if n == 1 else 'paths'}.")

        self._presenter.files.copy(copied)

    def _choose_columns(self) -> None:
        chosen = self._presenter.files.file(self._table.selected or 0)
        self._presenter.picking.open(chosen.source_id if chosen else 0)

    def _ask_export(self) -> None:
        self._desk.dialogs.ask_save(
            "Export the list (.csv or .txt)",
            self._presenter.files.export,
            f"{self._kind} files.csv",
        )

    def _open(self) -> None:
        if self._table.selected is not None:
            self._presenter.files.show(self._table.selected)

    def _show_folder(self) -> None:
        place = self._presenter.files.place(self._table.selected or 0)
        if place is not None and not paths.reveal(place):
            self._desk.toast("warn", "No file manager was found", fmt.path_text(str(place)))

    def show(self, state: State) -> None:
        """Bring it up to date."""
        files = state.files
        self._search.show(files.query.search)
        key = (files, state.reasons, state.locked)
        if key == self._key:
            return
        self._key = key
        self._show_reasons(state)
        total = files.total
        n = total or 0
        self._table.show(n, self._cells, files.selected if n else None)
        hint = "counting" if total is None else f"{n:,} {'file' if n == 1 else 'files'}"
        self.card.set_hint(hint)
        if total == 0:
            words = "No file has this in its path." if files.query.search else "There is none."
            self._none.configure(text=words)
            self._none.place(relx=0.5, rely=0.4, anchor="center")
        else:
            self._none.place_forget()
        for made in (self._export, self._copy, self._look, self._reveal):
            kit.enable(made, bool(n), "The list is empty.")
        chosen = self._presenter.files.file(files.selected) if n else None
        reason = files.query.reason or (chosen.reason if chosen else "")
        if reason == "columns" and not state.locked:
            self._pick.pack(side="right")
        else:
            self._pick.pack_forget()
        words = ": ".join(REASONS[reason]) if reason in REASONS else ""
        self._meaning.set_text(words)
        if words:
            self._meaning.pack(fill="x", pady=(0, px(6)), before=self._table)
        else:
            self._meaning.pack_forget()

    def _show_reasons(self, state: State) -> None:
        reasons = state.reasons
        self._reasons = ["", *(row.reason for row in reasons)]
        words = [ALL, *(f"{row.label} ({row.n:,})" for row in reasons)]
        self._choice.set_values(words)
        reason = state.files.query.reason
        place = self._reasons.index(reason) if reason in self._reasons else 0
        if self._choice.get_value() != words[place]:
            self._choice.set_value(words[place])

    def _cells(self, row: int) -> tuple[Any, ...]:
        file = self._presenter.files.file(row)
        if file is None:
            return ("Reading", *[""] * (len(COLS[self._kind]) - 1))
        size = fmt.size(file.size)
        tokens = "-" if file.tokens is None else f"{file.tokens:,}"
        if self._kind == "unused":
            tone = "bad" if file.state == "failed" else "muted"
            return file.name, size, (REASONS.get(file.reason, (file.reason, ""))[0], tone)
        return file.name, size, file.encoding, tokens

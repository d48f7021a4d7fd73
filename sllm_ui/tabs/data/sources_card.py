"""The card of the sources: the table, what can be done with the chosen one, and the scan."""

from collections.abc import Callable
from typing import Any

from sllm_core.config import MAX_WEIGHT
from sllm_ui import paths
from sllm_ui.tabs.data.parts import ROW, Fault, Field, Sized
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.source_rows import SourceRow
from sllm_ui.tabs.data.state import State
from sllm_ui.tabs.data.words import columns_words, source_words
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Stack
from sllm_ui.widgets.controls import button, check, set_button
from sllm_ui.widgets.kit import Badge, Box, Card, Desk, Elided, Panel, label, px, wrap
from sllm_ui.widgets.table import Col, VTable

MOST_SOURCES = 6  # rows in view
DROP_HINT = "Drop folders or files anywhere in this window."
COLS = [
    Col("Folder or file", 120, kind="strong", stretch=1),
    Col("Documents", 84, "e", tip="Files, and the rows of tables."),
    Col("Size", 80, "e", drop=1),
    Col("Tokens", 74, "e", drop=2, tip="Exact when prepared; ~ is worked out from bytes."),
    Col("Weight", 60, "e", tip="How often its text is read in an epoch."),
    Col("Copies", 60, "e", drop=4, tip="Share of files that are copies of others. After an analysis on the Refine tab."),
    Col("Low", 54, "e", drop=5, tip="Share of files below the lowest score of the Refine tab."),
    Col("B/token", 62, "e", drop=3, tip="Bytes of text a token; known once the data is prepared."),
    Col("State", 78, kind="badge"),
]  # fmt: skip


class Ask:
    """What the buttons for new sources ask, wherever they stand."""

    def __init__(self, presenter: Presenter, desk: Desk) -> None:
        self._presenter, self._desk = presenter, desk

    def folder(self) -> None:
        """Choose a folder to learn from."""
        self._desk.dialogs.ask_folder(
            "Add a folder of text", lambda path: self._presenter.add_folder(str(path))
        )

    def files(self) -> None:
        """Choose files to learn from."""
        self._desk.dialogs.ask_files(
            "Add files",
            lambda found: self._presenter.add_files([str(path) for path in found]),
            kinds=[("All files", ["*"])],
        )


class SourcesCard:
    """The table of sources, what can be done with the chosen one, and the scan."""

    def __init__(self, master: Box, presenter: Presenter, desk: Desk, ask: Ask) -> None:
        self._presenter, self._desk = presenter, desk
        self._rows: tuple[SourceRow, ...] = ()
        self._key: Any = None
        self.card = Card(master, "Sources", "folder2")
        self._add_head(ask)
        self._holder = Sized(self.card.body)
        self._holder.pack(fill="x")
        self._table = VTable(
            self._holder, COLS, row_height=ROW, on_select=self._select, on_open=self._switch,
            tip="Sources. Return or a double click switches one on or off.",
        )  # fmt: skip
        self._table.pack(fill="both", expand=True)
        self._add_detail()
        self._add_foot()

    def _add_head(self, ask: Ask) -> None:
        head, presenter = self.card.head, self._presenter
        self._adders = [
            button(
                head, "Paste text", "clipboard-plus", "ghost", True, presenter.pasting.begin,
                "Store a text of your own inside the project and learn from it.",
            ),
            button(
                head, "Add files", "file-earmark-plus", small=True, command=ask.files,
                tip="Learn from single files; they stay where they are.",
            ),
            button(
                head, "Add folder", "folder-plus", "primary", True, ask.folder,
                "Learn from all text files of a folder; they stay where they are.",
            ),
        ]  # fmt: skip
        for made in self._adders:
            made.pack(side="right", padx=(px(6), 0))

    def _add_detail(self) -> None:
        """What can be done with the chosen source."""
        panel = Panel(self.card.body, fill="field", pad=0, r=8)
        panel.configure(padding=(px(12), px(8), px(8), px(8)))
        panel.pack(fill="x", pady=(px(8), 0))
        top = Box(panel)
        top.pack(fill="x")
        self._remove = button(
            top, "", "trash", "ghost", True, self._take_out,
            "Take this source out of the project. Its files are not touched.",
        )  # fmt: skip
        self._remove.pack(side="right")
        self._reveal = button(
            top, "", "folder2-open", "ghost", True, self._show_folder,
            "Show this source in the file manager.",
        )  # fmt: skip
        self._reveal.pack(side="right")
        self._on = check(
            top, "Read it", True, lambda _: self._switch(),
            "Off, its files are left out without losing the source.",
        )  # fmt: skip
        self._on.pack(side="right", padx=(px(8), px(6)))
        self._path = Elided(top, "", "caption", "muted", "middle")
        self._path.pack(side="left", fill="x", expand=True)
        self._problem = wrap(label(panel, "", "caption", "bad", justify="left"), 24)
        self._figures = wrap(label(panel, "", "caption", "fg2", justify="left"), 24)
        self._figures.pack(fill="x", pady=(px(4), 0))
        self._add_fields(panel)

    def _add_fields(self, panel: Panel) -> None:
        grid = Box(panel)
        grid.pack(fill="x", pady=(px(4), 0))
        grid.columnconfigure(1, weight=1)
        self._exclude = self._pattern(
            grid,
            0,
            "Leave out",
            self._presenter.origins.set_exclude,
            (
                "Patterns with commas between them, such as *.min.js, test or docs/*.html. A folder "
                "that fits is left out whole. Empty: nothing is left out."
            ),
        )
        self._include = self._pattern(
            grid,
            1,
            "Read only",
            self._presenter.origins.set_include,
            (
                "Patterns with commas between them, such as *.md or src/*.py: only files that fit one "
                "of them are read. Empty: all are."
            ),
        )
        tip = (
            "How often the text of this source is read in an epoch, beside that of the others: 2 is "
            f"twice, 0.5 is half of it. Above 0, at most {MAX_WEIGHT}; usual is 1."
        )
        name = label(grid, "Weight", "body", "fg2")
        name.grid(row=2, column=0, sticky="w", padx=(0, px(10)), pady=px(3))
        kit.tooltip(name, tip)
        row = Box(grid)
        row.grid(row=2, column=1, sticky="ew", pady=px(3))
        self._weight = Field(row, self._weigh, 7, tip)
        self._weight.entry.pack(side="left")
        self._means = Elided(row, "", "caption", "muted")
        self._means.pack(side="left", fill="x", expand=True, padx=(px(10), 0))
        self._weight_fault = Fault(grid, 3, 1, 1)
        self._columns = row = Box(panel)
        self._pick = button(
            row, "Choose columns", "layout-three-columns", small=True, command=self._choose,
            tip="Say which columns of this source's tables (CSV, JSONL, Parquet) hold the text.",
        )  # fmt: skip
        self._pick.pack(side="right")
        self._chosen = Elided(row, "", "caption", "fg2")
        self._chosen.pack(side="left", fill="x", expand=True)

    def _pattern(
        self, grid: Box, row: int, title: str, take: Callable[[int, str], object], tip: str
    ) -> Field:
        name = label(grid, title, "body", "fg2")
        name.grid(row=row, column=0, sticky="w", padx=(0, px(10)), pady=px(3))
        kit.tooltip(name, tip)
        state = self._presenter.store
        made = Field(grid, lambda text: take(state.state.selected, text), 12, tip, mono=True)
        made.entry.grid(row=row, column=1, sticky="ew", pady=px(3))
        return made

    def _add_foot(self) -> None:
        foot = Box(self.card.body)
        foot.pack(fill="x", pady=(px(10), 0))
        self._scan = button(
            foot, "Scan", "arrow-repeat", small=True, command=self._presenter.scan,
            tip="List the files of all sources again (F5). Files that did not change are not read.",
        )  # fmt: skip
        self._scan.pack(side="left")
        self._again = button(
            foot, "Rescan everything", None, "ghost", True, self._presenter.rescan_everything,
            "Open every file again, whatever its date says: for drives that keep no true dates.",
        )  # fmt: skip
        self._again.pack(side="right")
        self._new = Badge(foot, "", "accent")
        self._said = Elided(foot, "", "caption", "muted")
        self._said.pack(side="left", fill="x", expand=True, padx=(px(10), 0))
        self._bar = Stack(self.card.body, height=5)
        self._drop = Elided(self.card.body, DROP_HINT, "caption", "muted")

    # What a person does

    def _select(self, row: int) -> None:
        self._presenter.origins.select(self._rows[row].id)

    def _switch(self, row: int = -1) -> None:
        if row >= 0:
            self._presenter.origins.switch(self._rows[row].id)
        else:
            self._presenter.origins.switch(self._presenter.store.state.selected)

    def _weigh(self, text: str) -> None:
        self._presenter.origins.set_weight(self._presenter.store.state.selected, text)

    def _choose(self) -> None:
        self._presenter.picking.open(self._presenter.store.state.selected)

    def _take_out(self) -> None:
        self._presenter.origins.remove(self._presenter.store.state.selected)
        undo = self._presenter.origins.take_undo()
        if undo:
            name, restore = undo
            words = f"{name} is not a source any more. Its files are untouched."
            self._desk.toast("accent", "Removed", words, ("Undo", restore))

    def _show_folder(self) -> None:
        place = self._presenter.origins.place(self._presenter.store.state.selected)
        if place is not None and not paths.reveal(place):
            self._desk.toast("warn", "No file manager was found", str(place))

    def flush(self) -> None:
        """Take what is being typed."""
        for field in (self._exclude, self._include, self._weight):
            field.flush()

    def focus(self) -> None:
        """Where the keyboard starts."""
        self._adders[-1].focus_set()

    # What is shown

    def show(self, state: State) -> None:
        """Bring it up to date."""
        self._show_job(state)
        form = tuple(part.get("weight", "") for part in (state.values, state.errors, state.notes))
        is_looking = state.columns is not None and state.columns.is_waiting
        key = (state.sources, state.selected, state.locked, state.can_drop, form, is_looking)
        if key == self._key:
            return
        self._key, self._rows = key, state.sources
        for made in self._adders:
            kit.enable(made, not state.locked, state.locked)
        self._holder.set_rows(max(1, min(MOST_SOURCES, len(state.sources))))
        ids = [row.id for row in state.sources]
        chosen = ids.index(state.selected) if state.selected in ids else None
        self._table.show(len(ids), lambda i: _cells(self._rows[i]), chosen)
        row = state.source
        if row is None:
            return
        self._path.set_text(row.path)
        self._on.set_value(row.is_on)
        self._exclude.show(row.exclude, locked=state.locked)
        self._include.show(row.include, locked=state.locked)
        weight, fault, means = form
        self._weight.show(weight, fault, state.locked)
        self._weight_fault.show(fault)
        self._means.set_text(means)
        self._figures.configure(text=source_words(row))
        self._show_columns(row, is_looking)
        for control in (self._on, self._remove, self._pick):
            kit.enable(control, not state.locked, state.locked)
        self._problem.configure(text=row.problem)
        if row.problem:
            self._problem.pack(fill="x", pady=(px(4), 0), before=self._figures)
        else:
            self._problem.pack_forget()
        if state.can_drop:
            self._drop.pack(fill="x", pady=(px(8), 0))
        else:
            self._drop.pack_forget()

    def _show_columns(self, row: SourceRow, is_looking: bool) -> None:
        if not row.tables:
            self._columns.pack_forget()
            return
        self._chosen.set_text("Looking into its tables" if is_looking else columns_words(row))
        self._chosen.set_tone("warn" if row.no_columns else "fg2")
        self._columns.pack(fill="x", pady=(px(6), px(2)))

    def _show_job(self, state: State) -> None:
        job = state.job
        is_ours = job.is_ours and job.kind == "scan"
        set_button(
            self._scan,
            "Stop" if is_ours else "Scan",
            "stop-fill" if is_ours else "arrow-repeat",
            "danger" if is_ours else "default",
        )
        kit.enable(self._scan, is_ours or not state.busy, state.busy)
        kit.enable(self._again, not state.busy, state.busy)
        is_about_scan = job.kind == "scan"
        words = job.text if is_about_scan else state.account
        self._said.set_text(words)
        self._said.set_tone(job.tone if is_about_scan and job.tone != "good" else "muted")
        is_new = bool(state.new_files) and not is_ours
        if is_new:
            self._new.show(f"{state.new_files:,} new", "accent")
            self._new.pack(side="left", padx=(px(10), 0), after=self._scan)
        else:
            self._new.pack_forget()
        if is_ours and job.share is not None:
            self._bar.show([(job.share, kit.skin().p.accent)], 1)
            self._bar.pack(fill="x", pady=(px(8), 0))
        else:
            self._bar.pack_forget()


def _cells(row: SourceRow) -> tuple[Any, ...]:
    state = ("Missing", "bad") if row.problem else ("On", "good") if row.is_on else ("Off", "muted")
    tone = "bad" if row.problem else "fg" if row.is_on else "muted"
    figures = (row.size, row.tokens, row.weight, row.copies, row.low, row.each)
    return (row.name, tone), row.files, *figures, state

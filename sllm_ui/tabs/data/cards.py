"""The cards at the left of the Data tab: sources, filters, file types, files that are not used."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sllm_core.config import DataConfig
from sllm_ui import paths
from sllm_ui.tabs.data.figures import TYPE_SETS, UNITS, SourceRow
from sllm_ui.tabs.data.parts import Fault, Field, Quick, SizeRow
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.state import State
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Bars, Stack
from sllm_ui.widgets.chips import Chip, Chips
from sllm_ui.widgets.controls import Segmented, button, check, entry, set_button
from sllm_ui.widgets.form import explain
from sllm_ui.widgets.kit import Badge, Box, Card, Desk, Elided, Panel, label, px, wrap
from sllm_ui.widgets.table import HEAD, Col, VTable

ROW = 32  # logical px
MOST_SOURCES, MOST_REASONS = 6, 7  # rows in view
KIB, MIB = 1 << 10, 1 << 20


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


class Sized(Box):
    """A ground with the height of some rows, so that a table in it has no empty ones."""

    def __init__(self, master: Box) -> None:
        super().__init__(master, height=px(HEAD + ROW))
        self.pack_propagate(False)
        self._n = 0

    def set_rows(self, n: int) -> None:
        """As high as ``n`` rows and the header."""
        if n != self._n:
            self._n = n
            self.configure(height=px(HEAD) + n * px(ROW) + 2 * px(1) + 1)


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
        cols = [
            Col("Folder or file", 120, kind="strong", stretch=1),
            Col("Files", 62, "e"),
            Col("Size", 80, "e", drop=1),
            Col("Tokens", 74, "e", drop=2, tip="Exact when prepared; ~ is worked out from bytes."),
            Col("State", 78, kind="badge"),
        ]
        self._table = VTable(
            self._holder, cols, row_height=ROW, on_select=self._select, on_open=self._switch,
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
        row = self._patterns = Box(panel)
        row.pack(fill="x", pady=(px(6), 0))
        tip = (
            "Patterns with commas between them, such as *.min.js, test or docs/*.html. A folder "
            "that fits is left out whole."
        )
        name = label(row, "Leave out", "body", "fg2")
        name.pack(side="left", padx=(0, px(10)))
        kit.tooltip(name, tip)
        self._exclude = Field(row, self._leave_out, 12, tip, mono=True)
        self._exclude.entry.pack(side="left", fill="x", expand=True)
        self._detail = panel

    def _add_foot(self) -> None:
        foot = Box(self.card.body)
        foot.pack(fill="x", pady=(px(10), 0))
        self._scan = button(
            foot, "Scan", "arrow-repeat", small=True, command=self._presenter.scan,
            tip="List the files of all sources again (F5). Files that did not change are not read.",
        )  # fmt: skip
        self._scan.pack(side="left")
        self._new = Badge(foot, "", "accent")
        self._said = Elided(foot, "", "caption", "muted")
        self._said.pack(side="left", fill="x", expand=True, padx=(px(10), 0))
        self._bar = Stack(self.card.body, height=5)

    # What a person does

    def _select(self, row: int) -> None:
        self._presenter.origins.select(self._rows[row].id)

    def _switch(self, row: int = -1) -> None:
        if row >= 0:
            self._presenter.origins.switch(self._rows[row].id)
        else:
            self._presenter.origins.switch(self._presenter.store.state.selected)

    def _leave_out(self, text: str) -> None:
        self._presenter.origins.set_exclude(self._presenter.store.state.selected, text)

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
        self._exclude.flush()

    def focus(self) -> None:
        """Where the keyboard starts."""
        self._adders[-1].focus_set()

    # What is shown

    def show(self, state: State) -> None:
        """Bring it up to date."""
        self._show_job(state)
        key = (state.sources, state.selected, state.locked)
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
        for control in (self._on, self._remove):
            kit.enable(control, not state.locked, state.locked)
        self._problem.configure(text=row.problem)
        if row.problem:
            self._problem.pack(fill="x", pady=(px(4), 0), before=self._patterns)
        else:
            self._problem.pack_forget()

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
    return (row.name, tone), row.files, row.size, row.tokens, state


class FiltersCard:
    """Which of the listed files are used, and how much is kept for validation."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self._presenter = presenter
        self._key: Any = None
        self.card = Card(master, "Filters", "funnel")
        self._reset = button(
            self.card.head, "Reset", kind="ghost", small=True, command=presenter.filters.reset,
            tip="All filters as in a new project.",
        )  # fmt: skip
        self._reset.pack(side="right")
        grid = self.card.body
        grid.columnconfigure(1, weight=1)
        grid.columnconfigure(0, minsize=px(104 * kit.skin().breadth))
        self._add_types(grid)
        self._sizes = {
            "min_file_bytes": self._size(grid, 4, "min_file_bytes", (1, KIB, 10 * KIB)),
            "max_file_bytes": self._size(grid, 6, "max_file_bytes", (100 * KIB, MIB, 10 * MIB)),
        }
        self._add_most(grid, 8)
        self._add_choice(grid, 10)
        self._add_share(grid, 12)
        self._recursive = check(
            grid, "Include subfolders", True,
            lambda on: presenter.filters.set_value("recursive", on), explain(DataConfig, "recursive"),
        )  # fmt: skip
        self._recursive.grid(row=14, column=1, columnspan=2, sticky="w", pady=px(4))

    def _name(self, grid: Box, row: int, text: str, field: str) -> None:
        made = label(grid, text, "body", "fg2")
        made.grid(row=row, column=0, sticky="nw", padx=(0, px(10)), pady=px(7))
        kit.tooltip(made, explain(DataConfig, field))

    def _add_types(self, grid: Box) -> None:
        presenter = self._presenter
        self._name(grid, 0, "File types", "extensions")
        row = Box(grid)
        row.grid(row=0, column=1, columnspan=2, sticky="ew", pady=px(4))
        tips = [
            "Prose, pages and tables.",
            "Programs and their settings.",
            "All known text files, as in a new project.",
            "Every file that holds text, whatever its name.",
        ]
        self._sets = Segmented(row, list(TYPE_SETS), "", presenter.filters.choose_types, tips=tips)
        self._sets.pack(side="left")
        self._chips = Chips(
            grid, presenter.filters.toggle_type,
            "File types that are read or not: arrows choose one, space switches it.",
        )  # fmt: skip
        self._chips.grid(row=1, column=1, columnspan=2, sticky="ew", pady=px(4))
        row = Box(grid)
        row.grid(row=2, column=1, columnspan=2, sticky="ew", pady=px(2))
        self._type = entry(
            row,
            "",
            7,
            True,
            presenter.filters.edit_type,
            "An ending such as .tex, or (none); Return adds it.",
        )
        self._type.pack(side="left")
        for event in ("<Return>", "<KP_Enter>"):
            self._type.bind(event, lambda _: self._add_type(), "+")
        self._add = button(
            row,
            "Add type",
            "plus-lg",
            "ghost",
            True,
            self._add_type,
            "Read files with this ending.",
        )
        self._add.pack(side="left", padx=px(4))
        self._more = button(
            row, "All types", None, "link", True, self._open, "Show all known types."
        )
        self._more.pack(side="right")
        self._type_fault = Fault(grid, 3)

    def _add_type(self) -> None:
        self._presenter.filters.add_type(self._type.get_value())

    def _open(self) -> None:
        self._presenter.filters.open_types(not self._presenter.store.state.is_types_open)

    def _size(self, grid: Box, row: int, name: str, usual: tuple[int, ...]) -> SizeRow:
        presenter = self._presenter
        choices: list[tuple[str, Callable[[], object], str]] = []
        for n_bytes in usual:
            unit = next(u for u, factor in reversed(UNITS.items()) if n_bytes >= factor)
            text = f"{n_bytes // UNITS[unit]} {unit}"
            choices.append(
                (text, partial(presenter.filters.set_size, name, n_bytes), f"Set to {text}")
            )
        title = "Smallest file" if name.startswith("min") else "Largest file"
        return SizeRow(
            grid, row, title, explain(DataConfig, name), list(UNITS),
            lambda text: presenter.filters.set_field(name, text),
            lambda unit: presenter.filters.set_unit(name, unit), choices,
        )  # fmt: skip

    def _add_most(self, grid: Box, row: int) -> None:
        presenter, name = self._presenter, "max_files"
        self._name(grid, row, "Most files", name)
        box = Box(grid)
        box.grid(row=row, column=1, columnspan=2, sticky="w", pady=px(4))
        self._most = Field(
            box, lambda text: presenter.filters.set_field(name, text), 10, explain(DataConfig, name)
        )
        self._most.entry.pack(side="left")
        usual = (("1k", 1000), ("10k", 10_000), ("50k", 50_000), ("All", None))
        self._most_quick = Quick(
            box,
            [
                (
                    text,
                    partial(presenter.filters.set_value, name, n),
                    f"{n:,} files" if n else "No limit",
                )
                for text, n in usual
            ],
        )
        self._most_quick.box.pack(side="left", padx=px(6))
        self._most_fault = Fault(grid, row + 1)

    def _add_choice(self, grid: Box, row: int) -> None:
        presenter = self._presenter
        box = Box(grid)
        box.grid(row=row, column=1, columnspan=2, sticky="w", pady=px(4))
        self._shuffle = check(
            box, "Random choice, seed", False,
            lambda on: presenter.filters.set_value("shuffle", on), explain(DataConfig, "shuffle"),
        )  # fmt: skip
        self._shuffle.pack(side="left", padx=(0, px(8)))
        self._seed = Field(
            box, lambda text: presenter.filters.set_field("shuffle_seed", text), 8,
            explain(DataConfig, "shuffle_seed"),
        )  # fmt: skip
        self._seed.entry.pack(side="left")
        self._seed_fault = Fault(grid, row + 1)

    def _add_share(self, grid: Box, row: int) -> None:
        presenter, name = self._presenter, "val_split"
        self._name(grid, row, "Validation", name)
        box = Box(grid)
        box.grid(row=row, column=1, columnspan=2, sticky="ew", pady=px(4))
        self._share = Field(
            box, lambda text: presenter.filters.set_field(name, text), 6, explain(DataConfig, name)
        )
        self._share.entry.pack(side="left")
        label(box, "%", "body", "muted").pack(side="left", padx=(px(6), px(4)))
        usual = (("Auto", None), ("5", 0.05), ("10", 0.1), ("20", 0.2))
        self._share_quick = Quick(
            box,
            [
                (
                    text,
                    partial(presenter.filters.set_value, name, n),
                    f"{text} %" if n else "By the size",
                )
                for text, n in usual
            ],
        )
        self._share_quick.box.pack(side="left")
        self._share_note = Elided(box, "", "caption", "muted")
        self._share_note.pack(side="left", fill="x", expand=True, padx=(px(6), 0))
        self._share_fault = Fault(grid, row + 1)

    def flush(self) -> None:
        """Take what is being typed."""
        sizes = [size.field for size in self._sizes.values()]
        for field in (*sizes, self._most, self._seed, self._share):
            field.flush()

    def show(self, state: State) -> None:
        """Bring it up to date."""
        key = (
            state.values, state.units, state.errors, state.notes, state.chips, state.type_set,
            state.is_types_open, state.locked, state.new_type,
        )  # fmt: skip
        if key == self._key:
            return
        self._key = key
        values, errors, locked = state.values, state.errors, state.locked
        self._sets.set_value(state.type_set)
        self._chips.show(
            [Chip(c.name, c.is_on, _chip_tip(c.name, c.is_on, c.files)) for c in state.chips],
            locked,
        )
        set_button(self._more, "Fewer types" if state.is_types_open else "All types")
        for name, size in self._sizes.items():
            size.show(values[name], state.units[name], errors.get(name, ""), locked)
        fields = (
            (self._most, self._most_fault, "max_files"),
            (self._seed, self._seed_fault, "shuffle_seed"),
            (self._share, self._share_fault, "val_split"),
        )
        for field, fault, name in fields:
            field.show(values[name], errors.get(name, ""), locked)
            fault.show(errors.get(name, ""))
        no_choice = "" if values["max_files"] != "all" else "It counts only with a limit on files."
        kit.enable(self._seed.entry, not (locked or no_choice), locked or no_choice)
        kit.enable(self._shuffle, not (locked or no_choice), locked or no_choice)
        self._type_fault.show(errors.get("type", ""))
        self._type.set_value(state.new_type)
        self._type.state(["invalid" if "type" in errors else "!invalid"])
        self._share_note.set_text(state.notes.get("val_split", ""))
        self._shuffle.set_value(values["shuffle"] == "on")
        self._recursive.set_value(values["recursive"] == "on")
        for quick in (self._most_quick, self._share_quick):
            quick.lock(locked)
        for control in (self._sets, self._type, self._add, self._recursive, self._reset):
            kit.enable(control, not locked, locked)


def _chip_tip(name: str, is_on: bool, files: int) -> str:
    found = f"{files:,} {'file' if files == 1 else 'files'} in use. " if files else ""
    return f"{found}Press to {'leave out' if is_on else 'read'} {name} files."


class TypesCard:
    """How much of the text is of which type."""

    def __init__(self, master: Box) -> None:
        self.card = Card(master, "File types", "bar-chart")
        self._bars = Bars(self.card.body, row_height=23, label=62, right=132)
        self._none = label(self.card.body, "", "caption", "muted")
        self._key: Any = None

    def show(self, state: State) -> None:
        """Bring it up to date."""
        key = (state.kinds, state.is_scanned)
        if key == self._key:
            return
        self._key = key
        if state.kinds:
            self._none.pack_forget()
            self._bars.pack(fill="x")
            self._bars.show([(row.name, row.size, row.text) for row in state.kinds])
        else:
            self._bars.pack_forget()
            words = "No file is in use." if state.is_scanned else "After a scan."
            self._none.configure(text=words)
            self._none.pack(anchor="w")


class UnusedCard:
    """Files that are not used, by reason; none is left out silently."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self._presenter = presenter
        self._key: Any = None
        self._reasons: tuple[str, ...] = ()
        self.card = Card(master, "Used and not used", "list-check")
        self._all = button(
            self.card.head, "Show files", "table", "ghost", True,
            presenter.files.open_unused, "List the files that are not used, of the chosen reason or of all.",
        )  # fmt: skip
        self._all.pack(side="right")
        self._sum = wrap(label(self.card.body, "", "caption", "fg2", justify="left"))
        self._sum.pack(fill="x")
        self._holder = Sized(self.card.body)
        cols = [
            Col("Reason", 184, kind="strong"),
            Col("Files", 66, "e"),
            Col("What it means", 140, kind="muted", stretch=1, drop=1),
        ]
        self._table = VTable(
            self._holder, cols, row_height=ROW, on_select=self._select,
            on_open=lambda i: presenter.files.open("unused", self._reasons[i]),
            tip="Reasons. Return or a double click lists the files.",
        )  # fmt: skip
        self._table.pack(fill="both", expand=True)
        self._meaning = wrap(label(self.card.body, "", "caption", "fg2", justify="left"))
        self._links = Box(self.card.body)
        self._used = button(
            self._links, "Files in use", None, "link", True,
            lambda: presenter.files.open("used"), "List every file that is used.",
        )  # fmt: skip
        self._used.pack(side="left")
        self._converted = button(
            self._links, "", None, "link", True,
            lambda: presenter.files.open("converted"),
            "Files in an old encoding that were read beyond doubt and turned into Unicode.",
        )  # fmt: skip
        self._links.pack(fill="x", pady=(px(6), 0))

    def _select(self, row: int) -> None:
        self._presenter.files.explain_reason(self._reasons[row])

    def show(self, state: State) -> None:
        """Bring it up to date."""
        key = (state.account, state.reasons, state.reason, state.converted)
        if key == self._key:
            return
        self._key, self._reasons = key, tuple(row.reason for row in state.reasons)
        self._sum.configure(text=state.account)
        rows = state.reasons
        chosen = self._reasons.index(state.reason) if state.reason in self._reasons else None
        if rows:
            self._holder.set_rows(min(MOST_REASONS, len(rows)))
            self._holder.pack(fill="x", pady=(px(4), 0), after=self._sum)
            self._table.show(
                len(rows),
                lambda i: (
                    (rows[i].label, "bad" if rows[i].state == "failed" else "fg"),
                    f"{rows[i].n:,}",
                    rows[i].meaning,
                ),
                chosen,
            )
        else:
            self._holder.pack_forget()
        if chosen is not None:
            self._meaning.configure(text=rows[chosen].meaning)
            self._meaning.pack(fill="x", pady=(px(6), 0), before=self._links)
        else:
            self._meaning.pack_forget()
        kit.enable(
            self._all,
            bool(rows),
            "Every listed file is used." if state.is_scanned else "Scan first.",
        )
        kit.enable(self._used, state.is_scanned, "Scan first.")
        if state.converted:
            n = state.converted
            set_button(self._converted, f"{n:,} converted from an old encoding")
            self._converted.pack(side="left", padx=(px(12), 0))
        else:
            self._converted.pack_forget()

"""The card of the filters: which of the listed files are used, and what is kept for validation."""

from collections.abc import Callable
from functools import partial
from typing import Any

from sllm_core.config import DataConfig
from sllm_ui.tabs.data.figures import TYPE_SETS, UNITS
from sllm_ui.tabs.data.parts import Fault, Field, Quick, SizeRow
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.state import State
from sllm_ui.widgets import kit
from sllm_ui.widgets.chips import Chip, Chips
from sllm_ui.widgets.controls import Segmented, button, check, entry, set_button
from sllm_ui.widgets.form import explain
from sllm_ui.widgets.kit import Box, Card, Elided, label, px

KIB, MIB = 1 << 10, 1 << 20


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
        self._ignore = check(
            grid, "Follow .gitignore", True,
            lambda on: presenter.filters.set_value("use_gitignore", on),
            explain(DataConfig, "use_gitignore"),
        )  # fmt: skip
        self._ignore.grid(row=15, column=1, columnspan=2, sticky="w", pady=px(4))

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
        self._ignore.set_value(values["use_gitignore"] == "on")
        for quick in (self._most_quick, self._share_quick):
            quick.lock(locked)
        for control in (
            self._sets, self._type, self._add, self._recursive, self._ignore, self._reset,
        ):  # fmt: skip
            kit.enable(control, not locked, locked)


def _chip_tip(name: str, is_on: bool, files: int) -> str:
    found = f"{files:,} {'file' if files == 1 else 'files'} in use. " if files else ""
    return f"{found}Press to {'leave out' if is_on else 'read'} {name} files."

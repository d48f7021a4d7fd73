"""Two cards at the left of the Data tab: file types, files that are not used."""

from typing import Any

from sllm_ui.tabs.data.parts import ROW, Sized
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.state import State
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Bars
from sllm_ui.widgets.controls import button, set_button
from sllm_ui.widgets.kit import Box, Card, label, px, wrap
from sllm_ui.widgets.table import Col, VTable

MOST_REASONS = 7  # rows in view


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
        self._pick = button(
            self._links, "Choose columns", "layout-three-columns", "link", True,
            presenter.picking.open,
            "Say which columns of these tables hold the text.",
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
        if "columns" in self._reasons:
            self._pick.pack(side="left", padx=(px(12), 0))
        else:
            self._pick.pack_forget()

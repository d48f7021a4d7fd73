"""The rows behind the table: judged, filtered, sorted, chosen. Knows no session."""

from typing import Any

import numpy as np

from sllm_core.config import CleanConfig, RefineConfig
from sllm_core.corpus import search, table
from sllm_core.corpus.rules import explain
from sllm_core.corpus.search import Term
from sllm_core.corpus.table import (
    COPY,
    DROP,
    EXCLUDED,
    MASK,
    OUT,
    USED,
    Bools,
    Bytes,
    Counts,
    Ints,
    Rows,
)
from sllm_ui.tabs.refine import words

View = tuple[str, tuple[Term, ...], str, bool]  # segment, filter, column, whether descending
VERDICT_OF = {"drop": DROP, "copy": COPY, "mask": MASK, "out": OUT}
NUMBERS = {"size", "score"}  # columns whose first click puts the largest or the worst on top


class Listing:
    """All rows of the project, and which of them are shown in which order."""

    def __init__(self) -> None:
        self.rows: Rows | None = None
        self.line = 0
        self._clear()

    def _clear(self) -> None:
        self.found: Bytes = np.zeros(0, np.uint8)
        self.shown: Ints = np.zeros(0, np.int32)  # rows, in the order of the table
        self.chosen: Ints = np.zeros(0, np.int32)  # rows
        self.cursor = -1  # row
        self._order: Ints | None = None
        self._order_key: tuple[str, bool] = ("", False)
        self._matches: tuple[tuple[Term, ...], Bools | None] = ((), None)

    def take(self, rows: Rows | None, cursor: int = 0) -> None:
        """Other rows; the cursor goes to the one with this id."""
        self._clear()
        self.rows = rows
        if rows is not None:
            place = np.flatnonzero(rows.ids == cursor)
            self.cursor = int(place[0]) if len(place) else -1

    def cursor_id(self) -> int:
        """The id of the file under the cursor; 0 for none."""
        return int(self.rows.ids[self.cursor]) if self.rows is not None and self.cursor >= 0 else 0

    def judge(self, refine: RefineConfig, clean: CleanConfig) -> Counts | None:
        """Give each row its verdict and count them."""
        if self.rows is None:
            return None
        self.line = refine.min_score
        self.found = table.verdicts(self.rows, refine, clean)
        if self._order_key[0] == "verdict":
            self._order = None
        return table.counts(self.rows, self.found)

    def try_line(self, refine: RefineConfig, clean: CleanConfig) -> Counts | None:
        """What other rules would give; the rows keep their verdicts."""
        if self.rows is None:
            return None
        return table.counts(self.rows, table.verdicts(self.rows, refine, clean))

    def show(self, segment: str, terms: tuple[Term, ...], column: str, is_descending: bool) -> int:
        """Work out which rows are shown; their number comes back."""
        rows = self.rows
        if rows is None:
            return 0
        if self._order is None or self._order_key != (column, is_descending):
            self._order = table.order(rows, column, is_descending=is_descending, found=self.found)
            self._order_key = (column, is_descending)
        is_in = rows.state == USED if segment == "all" else self.found == VERDICT_OF[segment]
        if terms:
            is_in = is_in & self._matching(rows, terms)
        self.shown = self._order[is_in[self._order]]
        self.chosen = self.chosen[is_in[self.chosen]]
        if self.cursor >= 0 and not is_in[self.cursor]:
            self.cursor = -1
        if self.cursor < 0 and len(self.shown):
            self.cursor = int(self.shown[0])
        return len(self.shown)

    def _matching(self, rows: Rows, terms: tuple[Term, ...]) -> Bools:
        known, found = self._matches
        if found is None or known != terms:
            found = search.find(rows, terms, explain)
            self._matches = (terms, found)
        return found

    def choose(self, place: int, places: frozenset[int]) -> None:
        """Take what a person chose in the table: where the cursor is, and all of them."""
        if not 0 <= place < len(self.shown):
            return
        self.cursor = int(self.shown[place])
        if len(places) < 2:
            self.chosen = np.zeros(0, np.int32)
        elif len(places) == len(self.shown):
            self.chosen = self.shown
        else:
            self.chosen = self.shown[np.fromiter(places, np.int64, len(places))]

    def keep(self, old: "Listing") -> None:
        """What was chosen in ``old`` while this list of the same files was read stays chosen."""
        if self.rows is None or old.rows is None:
            return
        is_kept = np.isin(self.rows.ids, old.rows.ids[old.chosen])
        self.chosen = self.shown[is_kept[self.shown]]
        place = np.flatnonzero(self.rows.ids[self.shown] == old.cursor_id())
        if len(place):
            self.cursor = int(self.shown[place[0]])

    def go_to(self, row: int) -> None:
        """Put the cursor on a row."""
        self.cursor, self.chosen = row, np.zeros(0, np.int32)

    def place(self) -> int:
        """Where the cursor is in the table; -1 nowhere."""
        found = np.flatnonzero(self.shown == self.cursor)
        return int(found[0]) if len(found) else -1

    def places(self) -> frozenset[int]:
        """Where the chosen rows are in the table."""
        if len(self.chosen) < 2 or self.rows is None:
            place = self.place()
            return frozenset() if place < 0 else frozenset({place})
        is_chosen = np.zeros(len(self.rows), bool)
        is_chosen[self.chosen] = True
        return frozenset(np.flatnonzero(is_chosen[self.shown]).tolist())

    def targets(self) -> Ints:
        """The rows that go when a person says so: those chosen, else what is proposed in view."""
        if self.rows is None:
            return np.zeros(0, np.int32)
        if len(self.chosen) > 1:
            return self.chosen[self.rows.state[self.chosen] == USED]
        verdict = self.found[self.shown]
        return self.shown[(verdict == DROP) | (verdict == COPY)]

    def excluded(self) -> list[int]:
        """Ids of the chosen files (or the one under the cursor) that a person has left out."""
        if self.rows is None or self.cursor < 0:
            return []
        chosen = self.chosen if len(self.chosen) > 1 else np.array([self.cursor])
        return self.ids(chosen[self.rows.state[chosen] == EXCLUDED])

    def ids(self, rows: Ints) -> list[int]:
        """Ids of rows in the index."""
        assert self.rows is not None
        return [int(n) for n in self.rows.ids[rows]]

    def cells(self, place: int) -> tuple[Any, ...]:
        """The row at a place of the table: path, kind, KB, score, verdict, why, copy of."""
        rows = self.rows
        if rows is None or place >= len(self.shown):
            return ("",) * 7
        i = int(self.shown[place])
        verdict, score = int(self.found[i]), int(rows.score[i])
        bar: object = "-"
        if score >= 0:
            bar = (score / 100, words.score_tone(score, self.line), str(score))
        keeper = int(rows.keeper[i])
        return (
            rows.path(i),
            words.kind(rows, i),
            f"{rows.size[i] / 1024:,.1f}",
            bar,
            words.BADGES[verdict],
            words.why(rows, i, verdict),
            rows.path(keeper) if keeper >= 0 and rows.duplicate[i] else "",
        )

"""Which columns of a source's tables hold the text: looked up, ticked, remembered."""

from dataclasses import replace

from sllm_core import messages as m
from sllm_ui.bus import Store
from sllm_ui.events import Answered
from sllm_ui.session import Session
from sllm_ui.tabs.data import lists
from sllm_ui.tabs.data.state import ColumnsView, State, refuse


class Picking:
    """The sheet with the columns of the tables of one source."""

    def __init__(self, session: Session, store: Store[State]) -> None:
        self._session, self._store = session, store
        self.clear()

    def clear(self) -> None:
        """Another project: nothing was asked."""
        self._requests: set[int] = set()

    def open(self, source_id: int = 0) -> None:
        """Look into a few tables of a source; without one, of the first that lacks its columns."""
        session, rows = self._session, self._store.state.sources
        chosen = next((row for row in rows if row.id == source_id), None)
        chosen = chosen or next((row for row in rows if row.no_columns), None)
        if chosen is None or session.project is None or refuse(session):
            return
        view = ColumnsView(chosen.id, chosen.name, chosen=chosen.columns, is_waiting=True)
        self._store.update(columns=view)

        def ask(paths: tuple[bytes, ...]) -> None:
            if self._store.state.columns == view:
                self._requests = {
                    session.pipes.look(columns={"source_id": view.source_id, "path": path.hex()})
                    for path in paths
                }
                if not paths:
                    self._give_up("There is no table in this source.")

        session.task("tables", lists.find_tables, session.project, chosen.id, then=ask)

    def tick(self, name: str, is_on: bool) -> None:
        """A column holds text, or does not."""
        view = self._store.state.columns
        if view is not None:
            rest = tuple(one for one in view.chosen if one != name)
            chosen = (*rest, name) if is_on else rest
            order = [column for column, _ in view.columns]
            places = {column: order.index(column) for column in chosen if column in order}
            chosen = tuple(sorted(chosen, key=lambda one: places.get(one, len(order))))
            self._store.update(columns=replace(view, chosen=chosen))

    def take(self) -> None:
        """Remember what is ticked; none ticked: the columns are found by their names."""
        view = self._store.state.columns
        self.close()
        if view is None or refuse(self._session):
            return
        sources = self._session.config.sources
        found = next((one for one in sources if one.id == view.source_id), None)
        if found is not None and found.columns != view.chosen:
            self._session.sources.change(view.source_id, columns=view.chosen)

    def close(self) -> None:
        """No column is chosen."""
        self._requests = set()
        self._store.update(columns=None)

    def on_answer(self, event: Answered) -> None:
        """The reader looked into a table."""
        view, message = self._store.state.columns, event.message
        if event.source != "looker" or view is None or not self._requests:
            return
        if isinstance(message, m.Failed) and message.code == "E-WORKER-DIED":
            self._requests = set()
        elif getattr(message, "request", 0) not in self._requests:
            return
        else:
            self._requests.discard(message.request)  # type: ignore[union-attr]
        if isinstance(message, m.Columns):
            known = {name for name, _ in view.columns}
            new = [(name, what) for name, what in message.columns if name not in known]
            shown = tuple((name, f"{message.name}: {what}") for name, what in new)
            # What is read now is ticked: a column that is added takes nothing away.
            ticked = tuple(name for name in message.chosen if name not in view.chosen)
            view = replace(view, columns=(*view.columns, *shown), chosen=(*view.chosen, *ticked))
        elif isinstance(message, m.Failed):
            view = replace(view, problem=message.text.rsplit(" [", 1)[0])
        if not self._requests and not view.columns:
            self._give_up(view.problem or "No column was found.")
        else:
            self._store.update(columns=replace(view, is_waiting=bool(self._requests)))

    def _give_up(self, problem: str) -> None:
        self.close()
        self._session.notify("warn", "The columns cannot be shown", problem)

"""Going on with a run: its newest checkpoint, or any one from the list, with the old limit or another."""

import time
from dataclasses import replace
from typing import Any

from sllm_core import fields, fmt
from sllm_core.errors import ConfigError
from sllm_core.ledger import Row
from sllm_ui.bus import Store
from sllm_ui.session import Session
from sllm_ui.tabs.train import fieldset
from sllm_ui.tabs.train.state import PLANNED, CheckpointText, ResumeState, State


class Resuming:
    """Shows the checkpoints in `resume` and starts the run that goes on."""

    def __init__(self, session: Session, store: Store[State]) -> None:
        self._session, self._store = session, store

    def state(self) -> ResumeState:
        """The list and the button as they are now; what was chosen stays chosen."""
        session, old = self._session, self._store.state.resume
        why = session.why_read_only() or ("A run is on." if session.is_training else "")
        run_id = self.last_run_id()
        if not why and not run_id:
            why = "There is no run yet."
        newest = self.newest_step(run_id)
        tip = "Go on with the last run"
        tip += f" from its checkpoint of step {newest:,}." if newest is not None else "."
        rows = tuple(checkpoint_text(row) for row in session.archive.checkpoints)
        return replace(
            old, why=why, tip=tip, rows=rows, is_open=old.is_open and not why,
            chosen=min(old.chosen, max(0, len(rows) - 1)),
        )  # fmt: skip

    def last_run_id(self) -> str:
        """The run in view, else the newest that has begun."""
        if self._session.run is not None:
            return self._session.run.id
        return next((info.run for info in self._session.archive.runs if info.state != "queued"), "")

    def newest_step(self, run_id: str) -> int | None:
        """The step of a run's newest checkpoint."""
        rows = [
            row
            for row in self._session.archive.checkpoints
            if row.run == run_id and row.state == "ok"
        ]
        return max((row.step for row in rows), default=None)

    def resume(self) -> bool:
        """Go on from the newest checkpoint; a run that is complete asks for another limit first."""
        if self._session.run is not None and self._session.run.state == "done":
            self.open(True)
            return False
        return self._session.work.resume(self.last_run_id())

    def open(self, is_on: bool) -> None:
        """Show or hide the list."""
        run, limit, text = self._session.run, PLANNED, ""
        if run is not None and run.state == "done" and run.total_steps:
            limit, text = "Steps", str(2 * run.total_steps)
        self._change(
            is_open=is_on and not self.state().why, chosen=self._newest_place(), limit=limit,
            limit_text=text, error="",
        )  # fmt: skip

    def _newest_place(self) -> int:
        """Where the newest checkpoint of the run that Resume goes on with stands in the list."""
        rows, run_id = self._session.archive.checkpoints, self.last_run_id()
        places = [i for i, row in enumerate(rows) if row.run == run_id and row.state == "ok"]
        return max(places, key=lambda i: (rows[i].step, "last" in rows[i].roles), default=0)

    def choose(self, row: int) -> None:
        """A row of the list."""
        self._change(chosen=row)

    def set_limit(self, kind: str, text: str) -> None:
        """Another limit for the run that goes on; as planned keeps its own."""
        error = ""
        if kind != PLANNED:
            try:
                fieldset.parse_budget(kind, text)
            except ConfigError as problem:
                error = fields.short(problem)
        self._change(limit=kind, limit_text=text, error=error)

    def resume_chosen(self) -> bool:
        """Go on from the chosen checkpoint."""
        state = self._store.state.resume
        if state.why or state.error or not 0 <= state.chosen < len(state.rows):
            return False
        changes: dict[str, Any] | None = None
        if state.limit != PLANNED:
            value = fieldset.parse_budget(state.limit, state.limit_text)
            changes = {**dict.fromkeys(fieldset.LIMITS), fieldset.BUDGETS[state.limit]: value}
        row = state.rows[state.chosen]
        self._change(is_open=False)
        return self._session.work.resume(row.run_id, row.file, changes)

    def continue_chosen(self) -> bool:
        """A new run that begins with the weights of the chosen checkpoint."""
        state = self._store.state.resume
        if state.why or not 0 <= state.chosen < len(state.rows):
            return False
        self._change(is_open=False)
        return self._session.work.start_training(continue_from=state.rows[state.chosen].file)

    def _change(self, **changes: Any) -> None:
        self._store.update(resume=replace(self._store.state.resume, **changes))


def checkpoint_text(row: Row) -> CheckpointText:
    """A checkpoint as the list shows it."""
    badge = ("", "muted")
    if "best" in row.roles:
        badge = ("best", "good")
    elif row.state == "superseded":
        badge = ("left behind", "muted")
    elif "pinned" in row.roles:
        badge = ("pinned", "accent")
    return CheckpointText(
        file=row.file, name=fmt.path_text(row.file), step=f"{row.step:,}", val_loss=fmt.number(row.val_loss),
        run=run_text(row.run), badge=badge, run_id=row.run,
    )  # fmt: skip


def run_text(run_id: str) -> str:
    """``20261122-184218-train-ab12 -> 22 Nov 18:42``; another name as it is."""
    try:
        return time.strftime("%d %b %H:%M", time.strptime(run_id[:15], "%Y%m%d-%H%M%S"))
    except ValueError:
        return fmt.path_text(run_id)

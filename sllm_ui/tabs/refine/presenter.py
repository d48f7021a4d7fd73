"""What the Refine tab shows and does. Knows no widgets.

Its parts have a class each: `listing` (the rows), `looking` (before and after), `batches` (undo).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sllm_core import fmt
from sllm_core import messages as m
from sllm_core.config import CleanConfig, RefineConfig
from sllm_core.corpus import search, table
from sllm_core.corpus.table import USED, Counts
from sllm_core.errors import SllmError
from sllm_core.jobs import runs
from sllm_core.jobs.reading import read_rows
from sllm_core.project import Project
from sllm_ui.bus import Store
from sllm_ui.events import Answered, ConfigChanged, DataChanged, ProjectChanged, RunChanged
from sllm_ui.session import Session
from sllm_ui.tabs.refine import looking, report, words
from sllm_ui.tabs.refine.batches import Batch, Batches
from sllm_ui.tabs.refine.listing import NUMBERS, Listing, View
from sllm_ui.tabs.refine.looking import Looking
from sllm_ui.tabs.refine.state import State

Rules = tuple[RefineConfig, CleanConfig]
STALE = {
    "clean": "the cleaning",
    "score_as": "what files are scored as",
    "near_threshold": "what counts as alike",
}


class Presenter:
    """Turns what the session says into `State`, and what a person does into calls of the session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.store = Store(State())
        self.listing = Listing()
        self.looking = Looking(session, self.store)
        self.batches = Batches(session, self._on_batches)
        self._is_shown = False  # the tab is in view
        self._is_due = False  # the table has to be read when it comes into view
        self._terms: tuple[search.Term, ...] = ()
        self._judged: Rules | None = None
        self._analysed: Rules | None = None
        self._seen: object = None  # the last result of a job that was taken in
        bus = session.bus
        bus.subscribe(ProjectChanged, lambda _: self._on_project())
        bus.subscribe(ConfigChanged, lambda _: self._on_config())
        bus.subscribe(DataChanged, lambda _: self._on_data())
        bus.subscribe(RunChanged, lambda _: self._on_run())
        bus.subscribe(Answered, self.looking.on_answer)
        self._on_project()

    # -- what the session says -------------------------------------------------------------------

    def _on_project(self) -> None:
        self.listing = Listing()
        self.looking.clear()
        self.batches.clear()
        self._terms, self._judged, self._analysed, self._seen = (), None, None, None
        blank, version = State(), self.store.state.version + 1
        values = {name: getattr(blank, name) for name in State.__dataclass_fields__}
        self.store.update(**(values | {"version": version}))
        self._refresh()
        self._read_soon()

    def _on_config(self) -> None:
        config = self.session.config
        self._refresh()
        if self._judged is None or self._judged == (config.refine, config.clean):
            return
        is_other_clean = self._judged[1] != config.clean
        self._judge()
        if is_other_clean:
            self.looking.again()

    def _on_data(self) -> None:
        self._refresh()
        self._read_soon()

    def _on_run(self) -> None:
        """Called many times a second: only what a job says."""
        job = self.session.data_job
        self.store.update(job=words.job_view(job), busy=self._why_busy())
        if job is not None and not job.is_live and job.result is not self._seen:
            self._seen = job.result
            if isinstance(job.result, m.LeakReport):
                self.store.update(leaks=job.result)

    def _refresh(self) -> None:
        """What follows from project, settings and counts."""
        session = self.session
        facts, config = session.facts, session.config
        mode = "full"
        if session.project is None:
            mode = "none"
        elif not config.sources:
            mode = "empty"
        elif not facts.used:
            mode = "unlisted"
        self.store.update(
            mode=mode,
            locked=session.why_read_only() if session.project else "",
            busy=self._why_busy(),
            job=words.job_view(session.data_job),
            used=facts.used if facts.is_scanned else None,
            estimate=words.estimate(facts.text_bytes) if facts.used else "",
            refine=config.refine,
            clean=config.clean,
            line=config.refine.min_score,
            stale=self._stale(),
        )

    def _why_busy(self) -> str:
        session = self.session
        if session.project is None:
            return "Open or make a project first."
        if session.read_only:
            return session.read_only
        if session.is_training:
            return "A training run is on: wait for its end, or stop it."
        if session.is_on_data and session.data_job:
            return "A job on the data is on."
        if not any(source.is_on for source in session.config.sources):
            return "No source is switched on."
        return ""

    def _stale(self) -> tuple[str, ...]:
        """Settings that the last analysis did not have."""
        if self._analysed is None:
            return ()
        refine, clean = self._analysed
        now = self.session.config
        found = ["clean"] if clean != now.clean else []
        found += [
            name
            for name in ("score_as", "near_threshold")
            if getattr(refine, name) != getattr(now.refine, name)
        ]
        return tuple(STALE[name] for name in found)

    # -- the rows --------------------------------------------------------------------------------

    def set_shown(self, is_shown: bool) -> None:
        """The tab comes into view or leaves it: rows are read for eyes only."""
        self._is_shown = is_shown
        if is_shown and self._is_due:
            self._read()

    def _read_soon(self) -> None:
        self._is_due = True
        if self._is_shown:
            self._read()

    def _read(self) -> None:
        project, config = self.session.project, self.session.config
        self._is_due = False
        if project is None:
            return
        self.store.update(is_loading=True)
        rules = (config.refine, config.clean)
        cursor = self.listing.cursor_id()
        self.session.task(
            "refine rows", read, project, rules, self._view(), cursor, then=self._take
        )
        self.batches.refresh()

    def _view(self, **more: Any) -> View:
        state = self.store.state
        segment, column = more.get("segment", state.segment), more.get("sort", state.sort)
        return segment, self._terms, column, more.get("is_descending", state.is_descending)

    def _take(self, found: "Found") -> None:
        """The rows are there, judged and sorted as it was set when they were asked for."""
        found.listing.keep(self.listing)
        self.listing, self._analysed, self._judged = found.listing, found.analysed, found.rules
        config = self.session.config
        self.store.update(
            is_loading=False,
            is_analysed=found.is_analysed,
            scores=found.scores,
            stale=self._stale(),
            counts=found.counts,
            n_shown=len(self.listing.shown),
            version=self.store.state.version + 1,
            **self._target(),
        )
        if found.rules != (config.refine, config.clean) or found.view != self._view():
            self._judge()
        self._look()

    def _judge(self) -> None:
        """Verdicts and counts anew, then the list."""
        config = self.session.config
        self._judged = (config.refine, config.clean)
        counts = self.listing.judge(config.refine, config.clean)
        self.store.update(counts=counts)
        self._list()

    def _list(self, **more: Any) -> None:
        """The rows of the list anew."""
        n = self.listing.show(*self._view(**more))
        version = self.store.state.version + 1
        self.store.update(n_shown=n, version=version, **self._target(), **more)

    def _target(self) -> dict[str, int]:
        return {"chosen": len(self.listing.chosen), "target": len(self.listing.targets())}

    def show_segment(self, segment: str) -> None:
        """All files, or those of one verdict."""
        if segment != self.store.state.segment:
            self._list(segment=segment)
            self._look()

    def filter(self, text: str) -> None:
        """Show only what a filter finds; one that cannot be says why, and the rows stay."""
        try:
            terms = search.parse(text)
        except search.FilterError as problem:
            self.store.update(filter=text, filter_error=str(problem))
            return
        if terms == self._terms:
            self.store.update(filter=text, filter_error="")
            return
        self._terms = terms
        self._list(filter=text, filter_error="")
        self._look()

    def sort(self, column: int) -> None:
        """Sort by a column; again turns it round."""
        name, state = table.COLUMNS[column], self.store.state
        is_same = name == state.sort
        is_descending = not state.is_descending if is_same else name in NUMBERS
        self._list(sort=name, is_descending=is_descending)

    def choose(self, place: int, places: frozenset[int]) -> None:
        """A person chose rows in the table."""
        before = self.listing.cursor
        self.listing.choose(place, places)
        self.store.update(**self._target())
        if self.listing.cursor != before:
            self._look()

    def _look(self) -> None:
        """Show the file under the cursor before and after."""
        rows, i = self.listing.rows, self.listing.cursor
        if rows is None or i < 0 or not self.store.state.is_analysed:
            self.looking.clear()
            self.store.update(preview=State().preview)
            return
        is_used = bool(rows.state[i] == USED)
        self.looking.show(int(rows.source[i]), int(rows.ids[i]), rows.path(i), is_used=is_used)

    # -- settings --------------------------------------------------------------------------------

    def change(self, **values: Any) -> None:
        """Settings by name; every verdict follows at once."""
        if refused := self.session.why_read_only():
            self.session.notify("warn", "This window only looks on", refused)
            self._refresh()
            return
        try:
            self.session.change(values)
        except SllmError as problem:
            self.session.report(problem, "That cannot be set")

    def move_line(self, score: int) -> None:
        """The line of the histogram is being dragged: count, but change nothing yet."""
        state = self.store.state
        refine = replace(state.refine, min_score=max(0, min(100, score)))
        counts = self.listing.try_line(refine, state.clean)
        self.store.update(line=refine.min_score, counts=counts)

    def set_line(self, score: int) -> None:
        """The line was let go."""
        if score == self.session.config.refine.min_score:
            self.move_line(score)
        else:
            self.change(min_score=max(0, min(100, score)))

    def set_secrets(self, choice: str) -> None:
        """Keys and passwords: leave, mask, or drop the file."""
        self.change(drop_secrets=choice == "drop", mask_secrets=choice == "mask")

    def keep_language(self, code: str, is_kept: bool) -> None:
        """Prose in a language stays, or is proposed to go."""
        old = self.session.config.refine.drop_languages
        rest = tuple(one for one in old if one != code)
        self.change(drop_languages=rest if is_kept else (*rest, code))

    # -- jobs ------------------------------------------------------------------------------------

    def analyse(self) -> None:
        """Score, find copies and findings; a second press stops it."""
        if self.store.state.job.is_ours:
            self.session.work.stop_data_job()
        elif not self._is_hindered():
            self.session.work.start("refine")

    def _is_hindered(self) -> bool:
        why = self._why_busy()
        if why:
            self.session.notify("warn", "Not now", why)
        return bool(why)

    def remove(self, kind: str) -> None:
        """Move to `_trash`, or exclude: the rows that are chosen, else what is proposed in view."""
        if self._is_hindered():
            return
        targets, state = self.listing.targets(), self.store.state
        if not len(targets):
            self.session.notify("accent", "Nothing is proposed to go", "Choose files in the table.")
            return
        verdicts = {"all": ["drop", "copy"], "drop": ["drop"], "copy": ["copy"]}.get(state.segment)
        if verdicts and not self._terms and len(self.listing.chosen) < 2:
            self.session.work.start("remove", kind=kind, verdicts=verdicts)
        else:
            self.session.work.start("remove", kind=kind, ids=self.listing.ids(targets))

    def remove_one(self, kind: str) -> None:
        """The file under the cursor."""
        rows, i = self.listing.rows, self.listing.cursor
        if rows is not None and i >= 0 and not self._is_hindered():
            self.session.work.start("remove", kind=kind, ids=[int(rows.ids[i])])

    def remove_chosen(self, kind: str) -> None:
        """The files that are chosen."""
        targets = self.listing.targets()
        if len(targets) and not self._is_hindered():
            self.session.work.start("remove", kind=kind, ids=self.listing.ids(targets))

    def show_keeper(self) -> None:
        """Go to the file that stays instead of the one under the cursor."""
        rows, i = self.listing.rows, self.listing.cursor
        if rows is None or i < 0 or rows.keeper[i] < 0:
            return
        self.listing.go_to(int(rows.keeper[i]))
        self._terms = ()
        self._list(segment="all", filter="", filter_error="")
        self._look()

    def include(self) -> None:
        """Use files again that were left out: those chosen, else the one under the cursor."""
        ids = self.listing.excluded()
        if not ids:
            self.session.notify(
                "accent", "Nothing to include", "Files that were held back come by themselves."
            )
        elif not self._is_hindered():
            self.session.work.start("restore", ids=ids)

    def check_leaks(self, files: list[str] | None = None) -> None:
        """Compare the validation side, or own files, with the training text."""
        if not self._is_hindered():
            more = {"files": files} if files else {}
            self.session.work.start("leaks", **more)

    def close_leaks(self) -> None:
        """The report was read."""
        self.store.update(leaks=None)

    def place(self, then: Callable[[Path], None]) -> None:
        """Where the file under the cursor lies: ``then(path)`` when it is known."""
        rows, i, project = self.listing.rows, self.listing.cursor, self.session.project
        if rows is None or i < 0 or project is None:
            return
        source_id = int(rows.source[i])
        source = next((s for s in self.session.config.sources if s.id == source_id), None)
        if source is None:
            return
        root = project.root / source.path

        def found(path: bytes | None) -> None:
            if path is not None:
                then(looking.place_of(root, path))

        self.session.task("refine place", looking.read_path, project, int(rows.ids[i]), then=found)

    def write_report(self, path: Path) -> None:
        """The rows that are shown, as CSV."""
        rows = self.listing.rows
        if rows is None:
            return

        def done(n: int) -> None:
            self.session.notify(
                "good", "The report is written", f"{words.files(n)} in {fmt.path_text(str(path))}"
            )

        self.session.task(
            "refine report", report.write, rows, self.listing.found, self.listing.shown, path,
            then=done,
        )  # fmt: skip

    def _on_batches(self, newest: Batch | None, every: tuple[Batch, ...]) -> None:
        self.store.update(batch=newest, earlier=every)


@dataclass(frozen=True)
class Found:
    """The rows as they come from the thread: judged, counted and sorted there."""

    listing: Listing
    counts: Counts | None
    scores: tuple[int, ...]
    is_analysed: bool
    analysed: Rules | None  # the settings of the last analysis that came to its end
    rules: Rules
    view: View


def read(project: Project, rules: Rules, view: View, cursor: int) -> Found:
    """Read the rows of the index and do with them what takes its time."""
    listing = Listing()
    rows = read_rows(project.db_path) if project.db_path.exists() else None
    listing.take(rows, cursor)
    counts = listing.judge(*rules)
    listing.show(*view)
    scores = tuple(table.histogram(rows).tolist()) if rows is not None else ()
    is_analysed = rows is not None and rows.is_analysed
    return Found(listing, counts, scores, is_analysed, last_analysis(project), rules, view)


def last_analysis(project: Project) -> Rules | None:
    """What the newest complete analysis was set to; None when there is none any more."""
    for name in reversed(runs.run_ids(project, "refine")):
        with contextlib.suppress(SllmError, OSError):
            run = runs.open_run(project, name)
            lines = (run.folder / "events.jsonl").read_bytes().splitlines()
            last = m.decode(lines[-1]) if lines else None
            if last and isinstance(last[0], m.Done):
                return run.config.refine, run.config.clean
    return None

"""What the Data tab shows and does. Knows no widgets.

Its parts have a class each: `origins` (sources), `picking` (columns of tables), `pasting`,
`filters` (fields and file types), `listing` (the page of files), `reading` (preview and report),
`sizing` (vocabulary sizes).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sllm_core import fmt
from sllm_core import project as projects
from sllm_core.errors import SllmError
from sllm_ui.bus import Store
from sllm_ui.events import (
    Answered,
    ConfigChanged,
    DataChanged,
    ProjectChanged,
    RunChanged,
    RunsChanged,
)
from sllm_ui.facts import Facts
from sllm_ui.session import Session
from sllm_ui.tabs.data import figures, source_rows, words
from sllm_ui.tabs.data.filters import Filters
from sllm_ui.tabs.data.listing import Listing
from sllm_ui.tabs.data.origins import Origins
from sllm_ui.tabs.data.pasting import Pasting
from sllm_ui.tabs.data.picking import Picking
from sllm_ui.tabs.data.reading import Reading
from sllm_ui.tabs.data.sizing import Sizing
from sllm_ui.tabs.data.source_rows import SourceRow
from sllm_ui.tabs.data.state import State


class Presenter:
    """Turns what the session says into `State`, and what a person does into calls of the session."""

    def __init__(self, session: Session, now: Callable[[], float] = time.monotonic) -> None:
        self.session = session
        self.store = Store(State())
        self.origins = Origins(session, self.store, self.refresh)
        self.pasting = Pasting(session, self.store, self.origins.add)
        self.filters = Filters(session, self.store, self.refresh, now)
        self.reading = Reading(session, self.store)
        self.picking = Picking(session, self.store)
        self.sizing = Sizing(session, self.store, self._take_size)
        self.files = Listing(session, self.store, self.origins.place, self.reading.show_file)
        self._last_used: int | None = None  # before the scan that runs
        self._data_key: tuple[Any, ...] = ()  # what preview, report and lists depend on
        bus = session.bus
        bus.subscribe(ProjectChanged, lambda _: self._on_project())
        bus.subscribe(ConfigChanged, lambda _: self._on_config())
        bus.subscribe(DataChanged, lambda _: self._on_data())
        bus.subscribe(RunChanged, lambda _: self._on_run())
        bus.subscribe(RunsChanged, lambda _: self.refresh())
        for part in (self.reading, self.picking, self.sizing):
            bus.subscribe(Answered, part.on_answer)
        self._on_project()

    # -- what the session says -------------------------------------------------------------------

    def _on_project(self) -> None:
        parts = (self.origins, self.filters, self.files, self.reading, self.picking, self.sizing)
        for part in parts:
            part.clear()
        self._last_used, self._data_key = None, ()
        old = self.store.state
        names = ("look", "is_advanced_open", "is_report_open", "can_drop")
        kept = {name: getattr(old, name) for name in names}
        self.store.update(**(_blank() | kept))
        self.refresh()
        self.origins.check()
        self.reading.renew()  # the lock may be ours now, with the facts as they were

    def _on_config(self) -> None:
        self.refresh()
        self.origins.check()

    def _on_data(self) -> None:
        state, facts = self.store.state, self.session.facts
        new = state.new_files
        if self._last_used is not None and not self.session.is_on_data:
            new = max(0, facts.used - self._last_used)
            self._last_used = None
        self.refresh(new_files=new)
        self.origins.check(is_forced=True)
        key = (facts.used, facts.text_bytes, facts.listed, facts.tokenizer_sha256)
        if key != self._data_key:
            self._data_key = key
            self.files.renew()
            self.reading.renew()
            self.sizing.renew()

    def _on_run(self) -> None:
        session = self.session
        if session.is_on_data and self._last_used is None and session.facts.is_scanned:
            self._last_used = session.facts.used
        # Called many times a second: facts and settings have their own events.
        self.store.update(
            job=words.describe_job(session.run, session.data_job), busy=self._why_busy()
        )

    def refresh(self, **more: Any) -> None:
        """Work out the state anew from the session."""
        session = self.session
        config, is_locked = session.config, bool(session.archive.checkpoints)
        facts = figures.with_lock(session.facts, config.tokenizer, is_locked=is_locked)
        if is_locked:
            self.filters.lock_tokenizer()
        root = session.project.root if session.project else Path()
        state = self.store.state
        sources = source_rows.source_rows(
            config, root, facts, self.origins.problems, str(Path.home())
        )
        ids = [row.id for row in sources]
        selected = state.selected if state.selected in ids else (ids[0] if ids else 0)
        prepared, prepared_tone = words.describe_prepared(config, facts)
        self.store.update(
            mode="none" if session.project is None else "full" if config.sources else "empty",
            locked=session.why_read_only() if session.project else "",
            busy=self._why_busy(),
            tiles=figures.tiles(config, facts),
            sources=sources,
            selected=selected,
            job=words.describe_job(session.run, session.data_job),
            chips=figures.chips(
                config.data.extensions,
                facts.kinds,
                self.filters.touched,
                is_open=state.is_types_open,
            ),
            type_set=figures.type_set(config.data.extensions),
            kinds=figures.type_rows(facts.kinds),
            account=figures.account(facts),
            is_scanned=facts.is_scanned,
            reasons=figures.reason_rows(facts),
            converted=facts.converted,
            **self._form(facts, sources, selected),
            cache=fmt.size(facts.cache_bytes) if facts.cache_bytes else "",
            prepared=prepared,
            prepared_tone=prepared_tone,
            tokenizer=words.describe_tokenizer(config, session.facts, is_locked=is_locked),
            **more,
        )
        faults = {name: f"Data tab, weight: {why}" for name, why in self.origins.errors.items()}
        self.filters.tell_blockers(faults)

    def _form(self, facts: Facts, sources: tuple[SourceRow, ...], selected: int) -> dict[str, Any]:
        """The texts of all fields; the weight is that of the source in view."""
        form = self.filters.form(self.session.config, facts)
        row = next((row for row in sources if row.id == selected), None)
        is_wrong = self.origins.weight[0] == selected and bool(self.origins.errors)
        weight = self.origins.weight[1] if is_wrong else row.weight if row else ""
        form["values"]["weight"] = weight
        form["notes"]["weight"] = (
            source_rows.weight_words(row.weight) if row and not is_wrong else ""
        )
        form["errors"] |= self.origins.errors if is_wrong else {}
        return form

    def _why_busy(self) -> str:
        session = self.session
        if session.project is None:
            return "Open or make a project first."
        if session.read_only:
            return session.read_only
        if session.is_training:
            return "A training run is on; it reads the data by itself."
        if session.is_on_data and session.data_job:
            return words.BUSY.get(session.data_job.kind, "The data is being worked on.")
        if not any(source.is_on for source in session.config.sources):
            return "No source is switched on."
        return ""

    # -- new sources -----------------------------------------------------------------------------

    def add_folder(self, path: str) -> None:
        """Add a folder; without a project one is made that is named after it."""
        if self.session.project is None:
            self._create(Path(path).name, [path])
        else:
            self.origins.add([path])

    def add_files(self, paths: list[str]) -> None:
        """Add single files; without a project one is made that is named after the first."""
        if not paths:
            return
        if self.session.project is None:
            self._create(Path(paths[0]).stem, paths)
        else:
            self.origins.add(paths)

    def allow_drop(self) -> None:
        """Files can be dragged onto the window: say so."""
        self.store.update(can_drop=True)

    def drop(self, paths: list[str], text: str) -> None:
        """Files, folders or a text were dropped on the window."""
        if self.session.project is None and (paths or text.strip()):
            self._create(Path(paths[0]).stem if paths else "my text", paths)
        elif paths:
            self.origins.add(paths)
        if text.strip() and self.session.project is not None and self.store.state.paste is None:
            self.pasting.begin()
            self.pasting.edit("", text)

    def _create(self, name: str, paths: list[str]) -> None:
        session = self.session
        folder = session.free_folder(name.encode("utf-8", "replace")[:80].decode("utf-8", "ignore"))
        try:
            folder = folder.with_name(projects.check_name(folder.name))
        except SllmError:  # a name that some system reserves, such as CON
            folder = session.free_folder("my text")
        try:
            session.create(folder, paths)
        except (SllmError, OSError) as problem:
            session.report(problem, "The project could not be made")
            return
        session.notify(
            "good", f"The project {folder.name} is made", f"It is in {fmt.path_text(str(folder))}.",
            ("Show folder", "reveal"),
        )  # fmt: skip
        session.work.scan_soon()

    # -- jobs ------------------------------------------------------------------------------------

    def scan(self) -> None:
        """List all files again; a second press stops it."""
        if self.store.state.job.is_ours:
            self.session.work.stop_data_job()
        elif not self._is_hindered():
            self.filters.forget_scan()
            self.session.work.scan()

    def prepare(self) -> None:
        """Tokenizer and token files; a second press stops it."""
        if self.store.state.job.is_ours:
            self.session.work.stop_data_job()
        elif not self._is_hindered():
            self.session.work.prepare()

    def train_tokenizer(self) -> None:
        """Learn the tokenizer anew with the settings as they are."""
        if not self._is_hindered() and not self.store.state.tokenizer.locked:
            self.session.work.prepare(is_vocab_asked=True)

    def import_tokenizer(self, path: str) -> None:
        """Use a `tokenizer.json` instead of training one."""
        if not self._is_hindered() and not self.store.state.tokenizer.locked:
            self.session.work.prepare(tokenizer_file=path)

    def rescan_everything(self) -> None:
        """Read every file again, whatever its date says."""
        if not self._is_hindered():
            self.filters.forget_scan()
            self.session.work.rescan_everything()

    def clear_cache(self) -> None:
        """Remove the kept tokens and texts; the next preparation reads and encodes everything."""
        if not self._is_hindered():
            self.session.work.clear_cache()

    def _take_size(self, size: int) -> None:
        self.filters.set_value("target_vocab_size", size)

    def _is_hindered(self) -> bool:
        why = self._why_busy()
        if why:
            self.session.notify("warn", "Not now", why)
        return bool(why)

    def open_advanced(self, is_open: bool) -> None:
        """The rarely used settings of the tokenizer."""
        self.store.update(is_advanced_open=is_open)

    def open_report(self, is_open: bool) -> None:
        """The tokenizer's report in full."""
        self.store.update(is_report_open=is_open)

    def take_proposal(self) -> None:
        """The vocabulary that suits the text."""
        if self.store.state.tokenizer.proposal:
            self.filters.set_value("target_vocab_size", self.store.state.tokenizer.proposal)


def _blank() -> dict[str, Any]:
    """Every field of a state without a project."""
    blank = State()
    return {name: getattr(blank, name) for name in State.__dataclass_fields__}

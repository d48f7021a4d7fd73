"""What the Data tab shows and does. Knows no widgets."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sllm_core import errors, fields, fmt
from sllm_core import messages as m
from sllm_core import project as projects
from sllm_core.config import (
    DataConfig,
    ProjectConfig,
    SourceConfig,
    TokenizerConfig,
)
from sllm_core.corpus.index import decode_path
from sllm_core.errors import ConfigError, SllmError
from sllm_core.project import Project, write_text
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
from sllm_ui.tabs.data import figures, lists, words
from sllm_ui.tabs.data.figures import Chip, ReasonRow, SourceRow, TileText, TypeRow
from sllm_ui.tabs.data.lists import File, Query
from sllm_ui.tabs.data.words import Job, TokenizerView

RESCAN_AFTER_S = 1.0  # after the last change of a filter
PREVIEW_CHARS = 5000
PASTE_FOLDER = "pasted_text"
# Fields of the forms; sizes, most files and the share have words of their own.
DATA_FIELDS = (
    "recursive", "min_file_bytes", "max_file_bytes", "max_files", "shuffle", "shuffle_seed",
    "val_split",
)  # fmt: skip
TOKENIZER_FIELDS = ("target_vocab_size", "min_frequency", "split", "tokenizer_sample_bytes")
SIZES = ("min_file_bytes", "max_file_bytes")


@dataclass(frozen=True)
class PreviewView:
    """The file in the preview."""

    file: File | None = None
    position: int = 0  # among the used files
    total: int = 0
    answer: m.Preview | None = None
    is_waiting: bool = False
    problem: str = ""


@dataclass(frozen=True)
class ListView:
    """The page of files: which are listed, and how many there are."""

    query: Query = field(default_factory=Query)
    total: int | None = None  # None: being counted
    selected: int = 0
    version: int = 0  # one higher when other rows are there to show
    problem: str = ""


@dataclass(frozen=True)
class State:
    """Everything the Data tab shows."""

    mode: str = "none"  # none: no project | empty: no sources | full
    locked: str = ""  # why nothing can be changed
    busy: str = ""  # why neither Scan nor Prepare can begin now
    tiles: tuple[TileText, ...] = ()
    sources: tuple[SourceRow, ...] = ()
    selected: int = 0  # id of the source in view
    is_scan_due: bool = False  # a filter was changed a moment ago
    new_files: int = 0  # found by the last scan beside those of before
    job: Job = field(default_factory=Job)
    chips: tuple[Chip, ...] = ()
    type_set: str = ""
    is_types_open: bool = False
    new_type: str = ""  # what is being typed into the field that adds one
    kinds: tuple[TypeRow, ...] = ()
    account: str = ""
    is_scanned: bool = False
    reasons: tuple[ReasonRow, ...] = ()
    reason: str = ""  # the one that is explained
    converted: int = 0
    values: Mapping[str, str] = field(default_factory=dict)  # texts of the fields
    units: Mapping[str, str] = field(default_factory=dict)  # of the sizes
    errors: Mapping[str, str] = field(default_factory=dict)  # by field; source and type too
    notes: Mapping[str, str] = field(default_factory=dict)
    prepared: str = ""  # whether the token files are there and up to date
    prepared_tone: str = "muted"
    tokenizer: TokenizerView = field(default_factory=TokenizerView)
    is_advanced_open: bool = False
    is_report_open: bool = False
    report: m.TokenizerReport | None = None
    report_state: str = ""  # waiting | a problem in words
    preview: PreviewView = PreviewView()
    has_boundaries: bool = True
    is_raw: bool = False
    page: str = "main"  # main | files
    files: ListView = ListView()
    paste: tuple[str, str] | None = None  # name and text of a paste that is being written
    paste_error: str = ""

    @property
    def source(self) -> SourceRow | None:
        """The source in view."""
        return next((row for row in self.sources if row.id == self.selected), None)


class Presenter:
    """Turns what the session says into `State`, and what a person does into calls of the session."""

    def __init__(self, session: Session, now: Callable[[], float] = time.monotonic) -> None:
        self.session, self._now = session, now
        self.store = Store(State())
        self._problems: dict[int, str] = {}  # of sources, by id
        self._asked_sources: tuple[SourceConfig, ...] | None = None
        self._drafts: dict[str, str] = {}  # texts that are no values
        self._errors: dict[str, str] = {}
        self._units: dict[str, str] = {}
        self._touched: tuple[str, ...] = ()  # file types switched in this session
        self._scan_at: float | None = None
        self._requests: dict[int, str] = {}  # number -> preview | report
        self._last_used: int | None = None  # before the scan that runs
        self._data_key: tuple[Any, ...] = ()  # what preview, report and lists depend on
        self._reported = ""  # the tokenizer that the report is of
        self._undo: tuple[Project | None, SourceConfig | None] = (None, None)
        self._is_awake = False
        self._pages = lists.Pages(self._load_page)
        bus = session.bus
        bus.subscribe(ProjectChanged, lambda _: self._on_project())
        bus.subscribe(ConfigChanged, lambda _: self._on_config())
        bus.subscribe(DataChanged, lambda _: self._on_data())
        bus.subscribe(RunChanged, lambda _: self._on_run())
        bus.subscribe(RunsChanged, lambda _: self.refresh())
        bus.subscribe(Answered, self._on_answer)
        self._on_project()

    # -- what the session says -------------------------------------------------------------------

    def _on_project(self) -> None:
        self._problems, self._asked_sources = {}, None
        self._drafts, self._errors, self._units, self._touched = {}, {}, {}, ()
        self._scan_at, self._last_used, self._requests = None, None, {}
        self._data_key, self._reported = (), ""
        self._pages.clear()
        old = self.store.state
        names = ("has_boundaries", "is_advanced_open", "is_report_open")
        kept = {name: getattr(old, name) for name in names}
        self.store.update(**(_blank() | kept))
        self.refresh()
        self._check_sources()
        if self._is_awake:  # the lock may be ours now, with the facts as they were
            self._look_again()

    def _on_config(self) -> None:
        self.refresh()
        self._check_sources()

    def _on_data(self) -> None:
        state, facts = self.store.state, self.session.facts
        new = state.new_files
        if self._last_used is not None and not self.session.is_on_data:
            new = max(0, facts.used - self._last_used)
            self._last_used = None
        self.refresh(new_files=new)
        self._check_sources(is_forced=True)
        key = (facts.used, facts.text_bytes, facts.listed, facts.tokenizer_sha256)
        if key != self._data_key:
            self._data_key = key
            self._pages.clear()
            if state.page == "files":
                self._count_files()
            if self._is_awake:
                self._look_again()

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
        if is_locked:  # nobody could mend them
            for name in TOKENIZER_FIELDS:
                self._forget(name)
        root = session.project.root if session.project else Path()
        state = self.store.state
        sources = figures.source_rows(config, root, facts, self._problems, str(Path.home()))
        ids = [row.id for row in sources]
        prepared, prepared_tone = words.describe_prepared(config, facts)
        self.store.update(
            mode="none" if session.project is None else "full" if config.sources else "empty",
            locked=session.why_read_only() if session.project else "",
            busy=self._why_busy(),
            tiles=figures.tiles(config, facts),
            sources=sources,
            selected=state.selected if state.selected in ids else (ids[0] if ids else 0),
            job=words.describe_job(session.run, session.data_job),
            chips=figures.chips(
                config.data.extensions, facts.kinds, self._touched, is_open=state.is_types_open
            ),
            type_set=figures.type_set(config.data.extensions),
            kinds=figures.type_rows(facts.kinds),
            account=figures.account(facts),
            is_scanned=facts.is_scanned,
            reasons=figures.reason_rows(facts),
            converted=facts.converted,
            **self._form(config, facts),
            prepared=prepared,
            prepared_tone=prepared_tone,
            tokenizer=words.describe_tokenizer(config, session.facts, is_locked=is_locked),
            **more,
        )
        self._tell_blockers()

    def _tell_blockers(self) -> None:
        """A text that is no value keeps a run from starting with the old one."""
        new = {}
        if self.session.project is not None:
            for name in self._drafts:
                label = fields.info(_section_of(name), name).label
                new[name] = f"{label} on the Data tab: {self._errors[name]}"
        if new != self.session.now.blockers:
            self.session.now.blockers = new
            self.session.bus.publish(ConfigChanged())

    def _why_busy(self) -> str:
        session = self.session
        if session.project is None:
            return "Open or make a project first."
        if session.read_only:
            return session.read_only
        if session.is_training:
            return "A training run is on; it reads the data by itself."
        if session.is_on_data and session.data_job:
            return (
                "A scan is on."
                if session.data_job.kind == "scan"
                else "The data is being prepared."
            )
        if not any(source.is_on for source in session.config.sources):
            return "No source is switched on."
        return ""

    def _form(self, config: ProjectConfig, facts: Facts) -> dict[str, Any]:
        values, units, notes = {}, {}, {}
        for section, names in ((config.data, DATA_FIELDS), (config.tokenizer, TOKENIZER_FIELDS)):
            for name in names:
                value = getattr(section, name)
                if name in SIZES:
                    text, units[name] = figures.split_size(value, self._units.get(name, ""))
                elif name == "max_files":
                    text = figures.most_text(value)
                elif name == "val_split":
                    text = figures.share_text(value)
                else:
                    text = fields.to_text(section, name, value)
                values[name] = self._drafts.get(name, text)
        if config.data.val_split is None:
            share = figures.val_share(config.data, facts.text_bytes)
            notes["val_split"] = f"{figures.percent(share)} for this much text"
        else:
            notes["val_split"] = "of the documents"
        if facts.vocab_size not in {None, config.tokenizer.target_vocab_size} and (
            figures.is_tokenizer_current(facts, config.tokenizer)
        ):
            notes["target_vocab_size"] = f"{facts.vocab_size:,} in use"
        return {"values": values, "units": units, "errors": dict(self._errors), "notes": notes}

    def _check_sources(self, *, is_forced: bool = False) -> None:
        """Ask the file system which sources are there; it may take its time."""
        session = self.session
        sources = session.config.sources
        if session.project is None or (sources == self._asked_sources and not is_forced):
            return
        self._asked_sources = sources

        def show(found: dict[int, str]) -> None:
            if found != self._problems:
                self._problems = found
                self.refresh()

        session.task("sources", figures.find_problems, session.project.root, sources, then=show)

    # -- sources ---------------------------------------------------------------------------------

    def add_folder(self, path: str) -> None:
        """Add a folder; without a project one is made that is named after it."""
        if self.session.project is None:
            self._create(Path(path).name, [path])
        else:
            self._add([path])

    def add_files(self, paths: list[str]) -> None:
        """Add single files; without a project one is made that is named after the first."""
        if not paths:
            return
        if self.session.project is None:
            self._create(Path(paths[0]).stem, paths)
        else:
            self._add(paths)

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

    def _add(self, paths: list[str]) -> None:
        session = self.session
        if self._refuse():
            return
        before = {source.id for source in session.config.sources}
        try:
            n_new = session.sources.add(paths)
        except (SllmError, OSError) as problem:
            session.report(problem, "Nothing was added")
            return
        if not n_new:
            session.notify("accent", "That is a source already", "Nothing was added.")
            return
        added = [source.id for source in session.config.sources if source.id not in before]
        self.store.update(selected=added[0])

    def _refuse(self) -> bool:
        """Whether nothing can be changed now; a person is told why."""
        why = self.session.why_read_only()
        if why:
            self.session.notify("warn", "Nothing can be changed here", why)
        return bool(why)

    def select_source(self, source_id: int) -> None:
        """Show this source."""
        self._forget("exclude")
        self.store.update(selected=source_id, errors=dict(self._errors))

    def switch_source(self, source_id: int) -> None:
        """On or off."""
        found = self._source(source_id)
        if found and not self._refuse():
            self.session.sources.change(source_id, is_on=not found.is_on)

    def set_exclude(self, source_id: int, text: str) -> None:
        """Patterns of what the source leaves out, with commas between them."""
        found = self._source(source_id)
        patterns = tuple(part.strip() for part in text.split(",") if part.strip())
        if found is None or patterns == found.exclude or self._refuse():
            return
        self.session.sources.change(source_id, exclude=patterns)

    def remove_source(self, source_id: int) -> None:
        """Take it out of the project; a toast offers to undo that."""
        if self._source(source_id) is None or self._refuse():
            return
        removed = self.session.sources.remove(source_id)
        self._undo = (self.session.project, removed)

    def take_undo(self) -> tuple[str, Callable[[], None]] | None:
        """(what was removed, how to bring it back) once after `remove_source`, for the toast."""
        project, removed = self._undo
        self._undo = (None, None)
        if project is None or removed is None:
            return None

        def restore() -> None:
            same = self.session.project is not None and self.session.project.root == project.root
            if same and self._source(removed.id) is None and not self._refuse():
                self.session.sources.restore(removed)
                self.store.update(selected=removed.id)

        place = str((project.root / removed.path).absolute())
        return figures.short_path(place, str(Path.home())), restore

    def source_place(self, source_id: int) -> Path | None:
        """Where a source is, for the file manager."""
        found = self._source(source_id)
        if found is None or self.session.project is None:
            return None
        return self.session.project.source_root(found)

    def _source(self, source_id: int) -> SourceConfig | None:
        return next((s for s in self.session.config.sources if s.id == source_id), None)

    # -- pasted text -----------------------------------------------------------------------------

    def begin_paste(self) -> None:
        """Open the sheet for a text."""
        if not self._refuse():
            self.store.update(paste=("", ""), paste_error="")

    def edit_paste(self, name: str, text: str) -> None:
        """Keep what is written, so that nothing is lost when the window is built anew."""
        if self.store.state.paste is not None:
            self.store.update(paste=(name, text))

    def cancel_paste(self) -> None:
        """Close the sheet."""
        self.store.update(paste=None, paste_error="")

    def add_paste(self, name: str, text: str) -> None:
        """Store the text as a file inside the project and add it as a source."""
        project = self.session.project
        if project is None or self._refuse():
            return
        if not text.strip():
            self.store.update(
                paste=(name, text), paste_error="There is no text yet. Paste or write some."
            )
            return

        def stored(found: Path | SllmError) -> None:
            if isinstance(found, SllmError):
                self.store.update(paste_error=found.what)
            else:
                self.store.update(paste=None, paste_error="")
                self._add([str(found)])

        title = name.strip() or next(line.strip() for line in text.splitlines() if line.strip())
        self.store.update(paste=(name, text), paste_error="")
        self.session.task("paste", try_store_paste, project, title, text, then=stored)

    # -- jobs ------------------------------------------------------------------------------------

    def scan(self) -> None:
        """List all files again; a second press stops it."""
        if self.store.state.job.is_ours:
            self.session.work.stop_data_job()
        elif not self._is_hindered():
            self._scan_at = None
            self.store.update(is_scan_due=False)
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

    def _is_hindered(self) -> bool:
        why = self._why_busy()
        if why:
            self.session.notify("warn", "Not now", why)
        return bool(why)

    def _rescan_soon(self) -> None:
        self._scan_at = self._now() + RESCAN_AFTER_S
        self.store.update(is_scan_due=True)

    def tick(self) -> None:
        """Called while `is_scan_due`: scans a moment after the last change of a filter."""
        if self._scan_at is not None and self._now() >= self._scan_at:
            self._scan_at = None
            self.store.update(is_scan_due=False)
            self.session.work.scan_soon()

    # -- filters and tokenizer settings ----------------------------------------------------------

    def set_field(self, name: str, text: str) -> None:
        """A field was edited: take it over, or say beneath it why not."""
        section = _section_of(name)
        try:
            value = self._parse(section, name, text)
        except (ConfigError, ValueError) as problem:
            self._refuse_field(name, text, words.explain(name, text, problem))
            return
        self._change(name, text, value)

    def _parse(self, section: Any, name: str, text: str) -> Any:
        if name in SIZES:
            return figures.join_size(text, self.store.state.units[name])
        if name == "max_files":
            return figures.parse_most(text)
        if name == "val_split":
            return figures.parse_share(text)
        if section is TokenizerConfig or name == "shuffle_seed":
            text = text.replace(",", "").replace(" ", "")
        return fields.parse(section, name, text)

    def set_unit(self, name: str, unit: str) -> None:
        """Another unit for a size: the number stays, so the size changes."""
        if unit not in figures.UNITS or unit == self.store.state.units[name]:
            return
        text = self.store.state.values[name]
        self._units[name] = unit
        self.store.update(units={**self.store.state.units, name: unit})
        self.set_field(name, text)

    def set_size(self, name: str, n_bytes: int) -> None:
        """A size from a quick button, in the unit that suits it."""
        self._units[name] = figures.split_size(n_bytes)[1]
        self._change(name, "", n_bytes)

    def set_value(self, name: str, value: Any) -> None:
        """A value from a switch or a quick button."""
        self._change(name, "", value)

    def _change(self, name: str, text: str, value: Any) -> None:
        if self._refuse():
            self.refresh()
            return
        old = self.session.config
        values = {name: value}
        try:  # fields that wait for this one, such as the other end of a range, go along
            self.session.change(values | self._waiting(name))
        except ConfigError:
            try:
                self.session.change(values)
            except ConfigError as problem:
                self._refuse_field(name, text, words.explain(name, text, problem))
                return
            self._forget(name)
        else:
            for other in (name, *self._waiting(name)):
                self._forget(other)
        if self.session.config.data != old.data and name != "val_split":
            self._rescan_soon()
        self.refresh()

    def _waiting(self, name: str) -> dict[str, Any]:
        """The other end of a range of sizes, if its text is a number that was refused."""
        twins = {"min_file_bytes": "max_file_bytes", "max_file_bytes": "min_file_bytes"}
        twin = twins.get(name)
        if twin is None or twin not in self._drafts:
            return {}
        try:
            return {twin: self._parse(DataConfig, twin, self._drafts[twin])}
        except (ConfigError, ValueError):
            return {}

    def _refuse_field(self, name: str, text: str, why: str) -> None:
        self._drafts[name], self._errors[name] = text, why
        self.refresh()

    def _forget(self, name: str) -> None:
        self._drafts.pop(name, None)
        self._errors.pop(name, None)

    def toggle_type(self, name: str) -> None:
        """Switch a file type on or off."""
        on = self.session.config.data.extensions
        if name not in self._touched:
            self._touched = (*self._touched, name)
        self._set_types(figures.toggled_types(on, name, self.session.facts.kinds))

    def edit_type(self, text: str) -> None:
        """Keep what is being typed."""
        self.store.update(new_type=text)

    def add_type(self, text: str) -> None:
        """Add a file type that was typed."""
        try:
            name = figures.clean_type(text)
        except ValueError:
            self._errors["type"] = (
                f"{text.strip()[:30]!r} is no ending of a file name such as .txt."
            )
            self.refresh()
            return
        self._errors.pop("type", None)
        self.store.update(new_type="")
        on = self.session.config.data.extensions
        if name == "*":
            self._set_types(("*",))
        elif name in on:
            self.refresh()
        else:
            self._touched = (*self._touched, name)
            self._set_types((*(kind for kind in on if kind != "*"), name))

    def choose_types(self, name: str) -> None:
        """One of the quick sets."""
        self._set_types(figures.TYPE_SETS[name])

    def _set_types(self, types: tuple[str, ...]) -> None:
        if not types:
            self._errors["type"] = "At least one file type must stay on."
            self.refresh()
            return
        self._errors.pop("type", None)
        self._change("extensions", "", types)

    def open_types(self, is_open: bool) -> None:
        """Show all known file types, or those that matter here."""
        self.store.update(is_types_open=is_open)
        self.refresh()

    def reset_filters(self) -> None:
        """All filters as in a new project."""
        if self._refuse():
            return
        default = DataConfig()
        self._units, self._touched = {}, ()
        for name in (*DATA_FIELDS, "type"):
            self._forget(name)
        names = (*DATA_FIELDS, "extensions")
        self.session.change({name: getattr(default, name) for name in names})
        self._rescan_soon()
        self.refresh()

    def open_advanced(self, is_open: bool) -> None:
        """The rarely used settings of the tokenizer."""
        self.store.update(is_advanced_open=is_open)

    def open_report(self, is_open: bool) -> None:
        """The tokenizer's report in full."""
        self.store.update(is_report_open=is_open)

    def take_proposal(self) -> None:
        """The vocabulary that suits the text."""
        if self.store.state.tokenizer.proposal:
            self.set_value("target_vocab_size", self.store.state.tokenizer.proposal)

    # -- the page of files -----------------------------------------------------------------------

    def explain_reason(self, reason: str) -> None:
        """Say what a reason means."""
        self.store.update(reason=reason)

    def open_unused(self) -> None:
        """The page of files that are not used: of the reason that is explained, else of all."""
        state = self.store.state
        known = {row.reason for row in state.reasons}
        self.open_files("unused", state.reason if state.reason in known else "")

    def open_files(self, kind: str, reason: str = "") -> None:
        """The page of files: used, unused or converted."""
        self.store.update(page="files", files=ListView(Query(kind, reason)))
        self._count_files()

    def close_files(self) -> None:
        """Back to the tab."""
        self.store.update(page="main")

    def filter_files(self, **changes: str) -> None:
        """Another kind, reason or search text."""
        files = self.store.state.files
        query = replace(files.query, **changes)
        if "kind" in changes and changes["kind"] != files.query.kind:
            query = replace(query, reason="")
        if query != files.query:
            self.store.update(files=replace(files, query=query, selected=0))
            self._count_files()

    def select_file(self, row: int) -> None:
        """Remember the row that is chosen."""
        self.store.update(files=replace(self.store.state.files, selected=row))

    def file(self, row: int) -> File | None:
        """A row of the list; None while it is being read."""
        return self._pages.row(row)

    def file_place(self, row: int) -> Path | None:
        """Where a file of the list is, for the file manager."""
        found = self._pages.row(row)
        root = self.source_place(found.source_id) if found else None
        if found is None or root is None:
            return None
        return root / decode_path(found.path) if found.path else root

    def open_file(self, row: int) -> None:
        """Show a file of the list in the preview."""
        found = self._pages.row(row)
        if found is None:
            return
        query = self.store.state.files.query
        is_whole = query.kind == "used" and not query.search
        self.store.update(page="main")
        self._show_file(found, row if is_whole else -1)

    def copy_files(self, then: Callable[[str, int], None]) -> None:
        """All paths of the list as a text: ``then(text, number of files)``."""
        session = self.session
        if session.project:
            query = self.store.state.files.query
            session.task(
                "copy files", lists.as_text, session.project, query,
                then=lambda found: then(*found),
            )  # fmt: skip

    def _count_files(self) -> None:
        session, query = self.session, self.store.state.files.query
        self._pages.clear()
        if session.project is None:
            return

        def show(total: int) -> None:
            files = self.store.state.files
            if files.query == query:
                selected = min(files.selected, max(0, total - 1))
                files = replace(files, total=total, selected=selected, version=files.version + 1)
                self.store.update(files=files)

        session.task("count files", lists.count, session.project, query, then=show)

    def _load_page(self, number: int) -> None:
        session, query = self.session, self.store.state.files.query
        if session.project is None:
            return

        def show(rows: tuple[File, ...]) -> None:
            files = self.store.state.files
            if files.query == query:
                self._pages.put(number, rows)
                self.store.update(files=replace(files, version=files.version + 1))

        name = f"files {number}"  # pages do not replace each other
        session.task(name, lists.read_page, session.project, query, number, then=show)

    # -- preview and report ----------------------------------------------------------------------

    def wake(self) -> None:
        """The tab is in view: ask for what only it shows."""
        if not self._is_awake:
            self._is_awake = True
            self._look_again()

    def _look_again(self) -> None:
        """The data or the tokenizer is another: preview and report are of the past."""
        state, facts = self.store.state, self.session.facts
        if self.session.project is None:
            return
        if state.report and state.report.vocab_size and facts.vocab_size is None:
            self.store.update(report=None, report_state="")
        elif facts.vocab_size is not None and facts.tokenizer_sha256 != self._reported:
            self.ask_report()
        if not facts.used:
            self.store.update(preview=PreviewView())
        elif state.preview.file is None:
            self.show_file_at(0)
        else:
            self._ask_preview(state.preview.file)
            self.store.update(preview=replace(self.store.state.preview, total=facts.used))

    def ask_report(self) -> None:
        """Measure how the tokenizer fits the text; takes seconds."""
        if self.session.project is None or self.session.facts.vocab_size is None:
            return
        self._reported = self.session.facts.tokenizer_sha256
        self._drop_requests("report")
        self._requests[self.session.pipes.look(report=True)] = "report"
        self.store.update(report_state="waiting")

    def step_file(self, step: int) -> None:
        """The next (1) or the previous (-1) used file."""
        total = self.session.facts.used
        if total:
            self.show_file_at((max(0, self.store.state.preview.position) + step) % total)

    def show_file_at(self, position: int) -> None:
        """The used file at a place of the list."""
        session = self.session
        if session.project is None:
            return

        def show(rows: tuple[File, ...]) -> None:
            if rows:
                self._show_file(rows[0], position)

        session.task("file at", lists.read_at, session.project, position, then=show)

    def _show_file(self, file: File, position: int) -> None:
        preview = self.store.state.preview
        self.store.update(
            preview=replace(preview, file=file, position=position, total=self.session.facts.used)
        )
        self._ask_preview(file)

    def _ask_preview(self, file: File) -> None:
        self._drop_requests("preview")
        what = {"source_id": file.source_id, "path": file.path.hex()}
        body: dict[str, Any] = {"preview": what, "limit": PREVIEW_CHARS}
        if self.store.state.is_raw:
            body["raw"] = True
        self._requests[self.session.pipes.look(**body)] = "preview"
        self.store.update(preview=replace(self.store.state.preview, is_waiting=True, problem=""))

    def _drop_requests(self, kind: str) -> None:
        self._requests = {n: k for n, k in self._requests.items() if k != kind}

    def show_boundaries(self, is_on: bool) -> None:
        """Token borders in colour, or the plain text."""
        self.store.update(has_boundaries=is_on)

    def show_raw(self, is_raw: bool) -> None:
        """The bytes of the file, or its text."""
        if is_raw != self.store.state.is_raw:
            self.store.update(is_raw=is_raw)
            if self.store.state.preview.file:
                self._ask_preview(self.store.state.preview.file)

    def _on_answer(self, event: Answered) -> None:
        if event.source != "looker":
            return
        message = event.message
        if isinstance(message, m.Failed) and message.code == "E-WORKER-DIED":
            for kind in set(self._requests.values()):
                self._fail(kind, message.text)
            self._requests = {}
            self._reported = ""
            return
        kind = self._requests.pop(getattr(message, "request", 0), "")
        if not kind:
            return
        if isinstance(message, m.Preview):
            preview = replace(
                self.store.state.preview, answer=message, is_waiting=False, problem=""
            )
            self.store.update(preview=preview)
        elif isinstance(message, m.TokenizerReport):
            self.store.update(report=message, report_state="")
        elif isinstance(message, m.Failed):
            self._fail(kind, message.text)

    def _fail(self, kind: str, text: str) -> None:
        said = text.rsplit(" [", 1)[0]
        if kind == "preview":
            preview = replace(self.store.state.preview, answer=None, is_waiting=False, problem=said)
            self.store.update(preview=preview)
        else:
            self.store.update(report_state=said)


def _section_of(name: str) -> type:
    return TokenizerConfig if name in TOKENIZER_FIELDS else DataConfig


def _blank() -> dict[str, Any]:
    """Every field of a state without a project."""
    blank = State()
    return {name: getattr(blank, name) for name in State.__dataclass_fields__}


def try_store_paste(project: Project, title: str, text: str) -> Path | SllmError:
    """`store_paste`, or why it did not work: the sheet stays open then."""
    try:
        return store_paste(project, title, text)
    except SllmError as problem:
        return problem
    except OSError as problem:
        return errors.disk_error(problem, PASTE_FOLDER)


def store_paste(project: Project, title: str, text: str) -> Path:
    """Write a pasted text into the project folder under a name that is free.

    Raises:
        DiskError: it cannot be written.
    """
    plain = "".join(c if c.isalnum() or c in " -_" else " " for c in title)
    stem = " ".join(plain.split())[:60].strip(" .") or "text"
    stem = stem.encode("utf-8")[:100].decode("utf-8", "ignore")
    folder = project.root / PASTE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / f"{stem}.txt", 1
    while path.exists():
        number += 1
        path = folder / f"{stem} {number}.txt"
    write_text(
        path, text.encode("utf-8", "replace").decode() + ("" if text.endswith("\n") else "\n")
    )
    return path

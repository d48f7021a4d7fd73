"""What the Data tab shows: one frozen state, and the rule whether anything can be changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sllm_core import messages as m
from sllm_ui.session import Session
from sllm_ui.tabs.data.figures import Chip, ReasonRow, SizesView, TileText, TypeRow
from sllm_ui.tabs.data.lists import Query
from sllm_ui.tabs.data.source_rows import SourceRow
from sllm_ui.tabs.data.words import Job, PreviewView, TokenizerView


@dataclass(frozen=True)
class ColumnsView:
    """The columns of a source's tables, to be ticked."""

    source_id: int
    name: str
    columns: tuple[tuple[str, str], ...] = ()  # (name, a piece of what stands in it)
    chosen: tuple[str, ...] = ()
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
    preview: PreviewView = field(default_factory=PreviewView)
    look: str = "tokens"  # how the preview shows a file: raw | text | cleaned | tokens
    sizes: SizesView = field(default_factory=SizesView)
    columns: ColumnsView | None = None  # being chosen
    cache: str = ""  # its size; '' while there is none
    can_drop: bool = False  # files can be dragged onto the window
    page: str = "main"  # main | files
    files: ListView = ListView()
    paste: tuple[str, str] | None = None  # name and text of a paste that is being written
    paste_error: str = ""

    @property
    def source(self) -> SourceRow | None:
        """The source in view."""
        return next((row for row in self.sources if row.id == self.selected), None)


def refuse(session: Session) -> bool:
    """Whether nothing can be changed now; a person is told why."""
    why = session.why_read_only()
    if why:
        session.notify("warn", "Nothing can be changed here", why)
    return bool(why)

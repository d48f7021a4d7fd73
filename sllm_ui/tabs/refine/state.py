"""Everything the Refine tab shows, frozen."""

from dataclasses import dataclass, field

from sllm_core import messages as m
from sllm_core.config import CleanConfig, RefineConfig
from sllm_core.corpus.table import Counts
from sllm_ui.tabs.refine.batches import Batch
from sllm_ui.tabs.refine.compare import Comparison

SEGMENTS = ("all", "drop", "copy", "mask", "out")


@dataclass(frozen=True)
class JobView:
    """What is being done with the data now."""

    kind: str = ""  # '' nothing
    is_stopping: bool = False
    text: str = ""
    share: float | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is an analysis: its button turns to Stop."""
        return self.kind == "refine"


@dataclass(frozen=True)
class PreviewView:
    """One file before and after cleaning."""

    name: str = ""
    is_loading: bool = False
    note: str = ""  # why there is no text
    result: Comparison | None = None


@dataclass(frozen=True)
class State:
    """Everything the tab shows. The rows themselves are asked for by number."""

    mode: str = "none"  # none (no project) | empty (no sources) | unlisted | full
    locked: str = ""  # why nothing can be changed
    busy: str = ""  # why no job can begin now
    job: JobView = JobView()
    is_loading: bool = False  # the table is being read
    is_analysed: bool = False
    used: int | None = None  # files, None while not known
    estimate: str = ""  # about how long an analysis takes
    stale: tuple[str, ...] = ()  # what changed since the last analysis
    refine: RefineConfig = field(default_factory=RefineConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)
    line: int = 50  # lowest score, as it is being dragged
    scores: tuple[int, ...] = ()  # files at each score 0 to 100; () unknown
    counts: Counts | None = None
    segment: str = "all"
    filter: str = ""
    filter_error: str = ""
    sort: str = "path"
    is_descending: bool = False
    n_shown: int = 0  # rows of the list
    version: int = 0  # one higher when the rows are others
    chosen: int = 0  # rows chosen beside the one with the cursor
    target: int = 0  # files that a press of Move takes
    preview: PreviewView = PreviewView()
    batch: Batch | None = None  # the one in the undo bar
    earlier: tuple[Batch, ...] = ()  # all of them, newest first
    leaks: m.LeakReport | None = None

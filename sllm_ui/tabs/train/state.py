"""Everything the Train tab shows, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sllm_ui.tabs.train.outlook import NOTHING, Change, Outlook
from sllm_ui.tabs.train.watch import Banner, SampleText, TileText

CHARTS = ("Loss", "Rate", "Gradient")
SIDES = ("Writes", "Log")
PLANNED = "As planned"


@dataclass(frozen=True)
class FormState:
    """The fields: texts, what is wrong, what follows, and whether they can be edited."""

    texts: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    summaries: Mapping[str, str] = field(default_factory=dict)
    locked: str = ""
    locked_live: str = ""  # of the fields that a run takes over while it goes on
    is_advanced: bool = False
    is_next: bool = False  # set up for the run after the one that is on
    budget: str = "Automatic"
    budget_text: str = ""
    budget_error: str = ""
    budget_note: str = ""


@dataclass(frozen=True)
class PresetState:
    """The chooser of presets, and the slider."""

    group: str = "By goal"
    labels: tuple[str, ...] = ()
    label: str = ""
    tip: str = ""
    n_rungs: int = 2
    rung: int = 0
    size: str = "-"


@dataclass(frozen=True)
class AdviceState:
    """Auto-Select: what it does or proposes."""

    status: str = ""  # '' | busy | ready | failed | applied
    words: str = ""  # while busy: what is done; failed: why
    summary: str = ""
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProbeState:
    """The trial step behind the time."""

    status: str = ""  # '' | busy | failed | done
    words: str = ""
    why_not: str = ""  # why Measure cannot be pressed


@dataclass(frozen=True)
class CheckpointText:
    """A row of the list to resume from; ``file`` as it is on the disk, ``name`` as it is shown."""

    file: str
    name: str
    step: str
    val_loss: str
    run: str
    badge: tuple[str, str]
    run_id: str = ""


@dataclass(frozen=True)
class GoState:
    """The button that starts or queues."""

    label: str = "Start training"
    is_queue: bool = False
    why: str = ""  # why it cannot be pressed
    hint: str = ""  # a word of care that does not block


@dataclass(frozen=True)
class ResumeState:
    """The button that goes on, and the list of checkpoints behind it."""

    why: str = ""  # why it cannot be pressed
    tip: str = ""
    is_open: bool = False
    rows: tuple[CheckpointText, ...] = ()
    chosen: int = 0
    limit: str = PLANNED
    limit_text: str = ""
    error: str = ""


@dataclass(frozen=True)
class RunView:
    """A run as shown at the right."""

    id: str
    state: str
    version: int  # of what it has said; charts are drawn anew when it rises
    steps: tuple[tuple[str, str], ...] = ()
    current: int = -1
    is_failed: bool = False
    tiles: tuple[TileText, ...] = ()
    banner: Banner | None = None
    n_lines: int = 0  # of the log
    sample: SampleText | None = None
    n_samples: int = 0
    sample_at: int = 0
    is_live: bool = False
    has_steps: bool = False


@dataclass(frozen=True)
class State:
    """Everything shown on the tab."""

    is_open: bool = False
    form: FormState = FormState()
    preset: PresetState = PresetState()
    advice: AdviceState = AdviceState()
    outlook: Outlook = NOTHING
    probe: ProbeState = ProbeState()
    go: GoState = GoState()
    resume: ResumeState = ResumeState()
    sections: tuple[str, ...] = ("model",)
    run: RunView | None = None
    intro: tuple[tuple[str, str], ...] = ()  # before the first run: title and text of each step
    chart: str = CHARTS[0]
    side: str = ""  # in a short window: Writes or Log instead of the chart
    scale: str = "Linear"
    span: str = "All"

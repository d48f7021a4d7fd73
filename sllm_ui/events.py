"""What a session tells through its bus: events by type. Who wants to know subscribes to them."""

from dataclasses import dataclass

from sllm_core import messages as m
from sllm_core.jobs.vitals import Vitals


@dataclass(frozen=True)
class ProjectChanged:
    """Another project is open, or none; or it became read-only."""


@dataclass(frozen=True)
class ConfigChanged:
    """Settings of the project have new values."""


@dataclass(frozen=True)
class DataChanged:
    """`facts` are new: a scan or a preparation ended."""


@dataclass(frozen=True)
class RunChanged:
    """The run in view, or the data job, said something (at most once a turn)."""


@dataclass(frozen=True)
class RunsChanged:
    """The list of runs or of checkpoints is new."""


@dataclass(frozen=True)
class VitalsChanged:
    """New readings of the machine."""

    vitals: Vitals


@dataclass(frozen=True)
class Answered:
    """A warm worker answered a request."""

    source: str  # writer | looker | adviser
    message: m.Message


@dataclass(frozen=True)
class CheckpointWanted:
    """The Test tab should write with this checkpoint (also in `Archive.wanted`)."""

    file: str


@dataclass(frozen=True)
class TurnEnded:
    """What had come is handled: the moment to show what comes in many small pieces."""


@dataclass(frozen=True)
class Notice:
    """Something a person should hear of: a toast.

    ``action`` is (label, action id), or (label, ``help:page#anchor``).
    """

    kind: str  # good | warn | bad | accent
    title: str
    text: str = ""
    action: tuple[str, str] | None = None

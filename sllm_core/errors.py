"""What can go wrong for a user, each with a stable code, a safe state and a next step.

SllmError
├── ConfigError      E-CFG-*      a setting that cannot be
├── ProjectError     E-PROJECT-*  the project folder
├── LockError        E-LOCK-*     somebody else is writing
├── DataError        E-DATA-*     sources and token files
├── TokenizerError   E-TOK-*      a tokenizer that cannot be used
├── CheckpointError  E-CKPT-*     a checkpoint that is not loaded
├── DiskError        E-DISK-*     a write that did not happen
├── StepMemoryError  E-MEM-*      no room for one step
├── WorkerError      E-WORKER-*   the child process
├── TrainError       E-TRAIN-*    a run that cannot start or go on
├── RunError         E-RUN-*      a run that is not there
├── ResumeError      E-RESUME-*   a run that cannot be continued as asked
├── WindowError      E-UI-*       a window that cannot be shown
└── UsageError       E-USAGE      a command that was not understood

Anything else that is raised is our own mistake: it goes to the log with its traceback.
"""

import errno

CODES: dict[str, str] = {
    "E-CFG-FIELD": "A setting has a value that cannot be used.",
    "E-CFG-KEY": "There is no setting of that name.",
    "E-CFG-CORRUPT": "A settings file could not be read.",
    "E-CFG-VERSION": "A settings file was written by a newer version.",
    "E-PROJECT-MISSING": "The folder is not a project.",
    "E-PROJECT-EXISTS": "There is a project in that folder already.",
    "E-PROJECT-NAME": "A name is not usable as a file name.",
    "E-PROJECT-DB": "The project's index is damaged.",
    "E-LOCK-HELD": "Another window or command is using the project.",
    "E-DATA-CHANGED": "Token files are not what was written.",
    "E-DATA-EMPTY": "There is no text to work with.",
    "E-DATA-STALE": "Prepared data does not belong to the present files or settings.",
    "E-DATA-SMALL": "There is too little text for one window.",
    "E-DATA-SOURCE": "A source folder cannot be read.",
    "E-DATA-BATCH": "There is nothing to take back.",
    "E-DATA-TOKENS": "A token file holds ids outside the vocabulary.",
    "E-TOK-SCHEMA": "The file is not a tokenizer this program can use safely.",
    "E-TOK-LIMIT": "The tokenizer is larger than the limits allow.",
    "E-TOK-LOCKED": "The tokenizer is in use by checkpoints.",
    "E-TOK-TRAIN": "The tokenizer could not be trained.",
    "E-TOK-MISSING": "The project has no tokenizer yet.",
    "E-CKPT-HASH": "A checkpoint is damaged.",
    "E-CKPT-FORMAT": "The file is not a checkpoint this program can read safely.",
    "E-CKPT-CODE": "The file holds program code and was not opened.",
    "E-CKPT-CONFIG": "The settings inside a checkpoint cannot be.",
    "E-CKPT-MISMATCH": "A checkpoint belongs to other data, another tokenizer or another shape.",
    "E-CKPT-VERSION": "A checkpoint was written by a newer version.",
    "E-CKPT-MISSING": "There is no such checkpoint.",
    "E-CKPT-NONFINITE": "A checkpoint holds weights that are not numbers.",
    "E-DISK-FULL": "The disk is full.",
    "E-DISK-FORECAST": "The disk is too full for what comes next.",
    "E-DISK-IO": "The disk reported an error.",
    "E-DISK-READONLY": "The place cannot be written to.",
    "E-DISK-HANDLES": "Too many files are open.",
    "E-MEM-STEP": "One training step does not fit into memory.",
    "E-MEM-SYSTEM": "The computer ran out of memory.",
    "E-WORKER-DIED": "The working process ended without a last word.",
    "E-WORKER-FAULT": "Something went wrong inside the program.",
    "E-TRAIN-STEPS": "The settings give a run without a single step.",
    "E-TRAIN-NAN": "Training produced values that are not numbers.",
    "E-RUN-MISSING": "There is no such run.",
    "E-RESUME-INEXACT": "A resumed run cannot repeat its numbers exactly.",
    "E-RESUME-OPTION": "A resumed run keeps its settings.",
    "E-UI-DISPLAY": "There is no display for the window.",
    "E-UI-TKINTER": "The window's toolkit is not installed.",
    "E-USAGE": "The command was not understood.",
}


class SllmError(Exception):
    """A failure told in the user's words.

    Args:
        reason: last part of the code, such as ``HASH``.
        what: what happened, with the file, field or number named.
        safe: what is safe.
        todo: what to do next.
    """

    area = ""

    def __init__(self, reason: str, what: str, *, safe: str = "", todo: str = "") -> None:
        self.code = f"E-{self.area}-{reason}" if self.area else f"E-{reason}"
        assert self.code in CODES, self.code
        self.what, self.safe, self.todo = what, safe, todo
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """At most three lines, the code at the end of the last one."""
        lines = [part for part in (self.what, self.safe, self.todo) if part]
        lines[-1] += f" [{self.code}]"
        return "\n".join(lines)


class UsageError(SllmError):
    """The command line was not understood."""


class ConfigError(SllmError):
    """A setting that cannot be."""

    area = "CFG"


class ProjectError(SllmError):
    """The project folder is missing, taken or damaged."""

    area = "PROJECT"


class LockError(SllmError):
    """Somebody else is writing."""

    area = "LOCK"


class DataError(SllmError):
    """Sources or token files cannot be used."""

    area = "DATA"


class TokenizerError(SllmError):
    """A tokenizer cannot be used."""

    area = "TOK"


class CheckpointError(SllmError):
    """A checkpoint is not loaded."""

    area = "CKPT"


class DiskError(SllmError):
    """A write did not happen."""

    area = "DISK"


class StepMemoryError(SllmError):
    """One training step does not fit into memory."""

    area = "MEM"


class WorkerError(SllmError):
    """The child process failed."""

    area = "WORKER"


class TrainError(SllmError):
    """A run cannot start or go on."""

    area = "TRAIN"


class RunError(SllmError):
    """A run cannot be found."""

    area = "RUN"


class ResumeError(SllmError):
    """A run cannot be resumed as asked."""

    area = "RESUME"


class WindowError(SllmError):
    """The window cannot be shown."""

    area = "UI"


class Cancelled(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user stopped the work; what was finished before stays."""


# Which words an error of the operating system gets. Anything else is E-DISK-IO.
_OS_REASONS = {
    errno.ENOSPC: ("FULL", "The disk is full"),
    getattr(errno, "EDQUOT", -1): ("FULL", "Your share of the disk is used up"),
    errno.EROFS: ("READONLY", "The place cannot be written to"),
    errno.EACCES: ("READONLY", "The place cannot be written to"),
    errno.EPERM: ("READONLY", "The place cannot be written to"),
    errno.EMFILE: ("HANDLES", "Too many files are open"),
    errno.ENFILE: ("HANDLES", "Too many files are open"),
}

_OS_ADVICE = {
    "FULL": "Free some space, then start the same thing again.",
    "READONLY": "Check the permissions of the folder, or choose another place.",
    "HANDLES": "Close other programs, then start the same thing again.",
    "IO": "Check the disk, then start the same thing again.",
}


def disk_error(problem: OSError, path: object, *, safe: str = "", need: str = "") -> DiskError:
    """The words for a failed write of ``path``; ``need`` says how many bytes it wanted."""
    reason, words = _OS_REASONS.get(problem.errno or 0, ("IO", "The disk reported an error"))
    detail = f" ({problem.strerror or problem})" if reason == "IO" else ""
    tail = f"; {need}" if need else ""
    return DiskError(
        reason,
        f"{words}: {path} was not written{detail}{tail}.",
        safe=safe or "The file that was there before is unchanged.",
        todo=_OS_ADVICE[reason],
    )

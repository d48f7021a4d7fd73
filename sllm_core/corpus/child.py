"""A child of the pool: one request after the other on files of strangers, an answer to each.

Requests and answers are lines of JSON. It ends with its input, takes no more memory and time than
it is given, and whatever a library prints goes to standard error.
"""

import contextlib
import importlib
import io
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from sllm_core.corpus.extract import FileId, SkipFile
from sllm_core.errors import DiskError

Request = dict[str, Any]
Answer = dict[str, Any]
# What a task on a strange file may raise; anything else is a mistake of ours and ends the child.
FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    RecursionError,
    ArithmeticError,
    EOFError,
)
# Name -> module and what makes the task there: called once with the settings, then once a request.
TASKS = {
    "extract": ("sllm_core.corpus.child", "Extractor"),
    "columns": ("sllm_core.corpus.child", "ColumnLister"),
    "analyse": ("sllm_core.corpus.analysis", "Analyst"),
}
_LAST_S = 1.0  # for an item that is under way when the input ends
_GRACE_S = 60  # of processor time past an item's limit, for a child whose owner is gone


class Extractor:
    """Puts the text of a file into the store (`formats.extract`).

    A request has path and out (hexadecimal, names are bytes), id (a `FileId`), format and columns.
    """

    def __init__(self, _settings: dict[str, Any]) -> None:
        from sllm_core.corpus import formats

        self._extract = formats.extract

    def __call__(self, request: Request) -> Answer:
        """The facts of the text, as in `formats.Extracted`."""
        done = self._extract(
            _path(request["path"]),
            FileId(*request["id"]),
            request["format"],
            tuple(request["columns"]),
            _path(request["out"]),
        )
        return {**vars(done), "raw_hash": done.raw_hash.hex(), "columns": list(done.columns)}


class ColumnLister:
    """Names the columns of a table (`formats.table_columns`); a request has path and format."""

    def __init__(self, _settings: dict[str, Any]) -> None:
        from sllm_core.corpus import formats

        self._list = formats.table_columns

    def __call__(self, request: Request) -> Answer:
        """`columns`: pairs of a name and a sample."""
        return {"columns": self._list(_path(request["path"]), request["format"])}


def _path(text: str) -> Path:
    return Path(os.fsdecode(bytes.fromhex(text)))


def answer(task: Callable[[Request], Answer], request: Request) -> Answer:
    """What a task says of a request: its facts, a reason for none, or that the disk failed."""
    try:
        return task(request)
    except SkipFile as skip:
        return {"reason": skip.reason, "detail": str(skip)}
    except DiskError as problem:
        reason = problem.code.rsplit("-", 1)[1]
        return {"disk": [reason, problem.what, problem.safe, problem.todo]}
    except MemoryError:
        return {"reason": "limit", "detail": "it needs more memory than one file may have"}
    except FAULTS as problem:
        words = f"{type(problem).__name__}: {problem}"
        return {"reason": "parse", "detail": words[:200]}


def limit_self(memory_bytes: int) -> None:
    """No more memory than this, no core file, and everybody else goes first (POSIX)."""
    try:
        import resource
    except ImportError:  # Windows: the owner watches the memory and set the priority
        return
    os.nice(10)
    for kind, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS knows no such limit of memory
            resource.setrlimit(kind, (most, most))


def limit_time(seconds: float) -> None:
    """The system ends this process when an item takes far more processor time than that.

    Only for a child whose owner was killed while a library went round in circles.
    """
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(time.process_time() + seconds) + _GRACE_S
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """(requests, answers); afterwards nothing a library reads or prints can disturb them."""
    requests = io.open(os.dup(0), "rb")  # noqa: SIM115, UP020 - they live as long as the process
    answers = io.open(os.dup(1), "wb")  # noqa: SIM115, UP020
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _read_requests(stream: BinaryIO, lines: "queue.Queue[bytes]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")
    time.sleep(_LAST_S)
    os._exit(0)  # the owner is gone, and the main thread is inside a library


def main() -> None:
    """Answer until the input ends: a line to begin with, then one request a line."""
    requests, answers = take_pipes()
    begin = json.loads(requests.readline())
    limit_self(begin["memory_bytes"])
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests, lines), daemon=True).start()
    tasks: dict[str, Callable[[Request], Answer]] = {}

    def say(found: Any) -> None:
        answers.write(json.dumps(found).encode("ascii") + b"\n")
        answers.flush()

    while line := lines.get():
        chunk = json.loads(line)
        name = chunk["task"]
        if name not in tasks:
            module, maker = TASKS[name]
            tasks[name] = getattr(importlib.import_module(module), maker)(begin["settings"])
        say("ready")  # what was imported until here is not the time of the first item
        for limit_s, item in chunk["items"]:
            limit_time(limit_s)
            say(answer(tasks[name], item))


if __name__ == "__main__":
    main()

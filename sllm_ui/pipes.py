"""The warm workers: one writes, one looks things up, two measure. Each speaks over a pipe."""

import json
import queue
import time
from dataclasses import asdict
from typing import Any

from sllm_core import messages as m
from sllm_core.config import SamplingConfig
from sllm_core.jobs.runner import PipeProcess
from sllm_ui.chores import Chores
from sllm_ui.events import Answered
from sllm_ui.news import News
from sllm_ui.now import Now

SOURCES = frozenset({"writer", "looker", "adviser", "sizes"})
ONCE = frozenset({"adviser", "sizes"})  # a process for each question, which ends with it


class Pipes:
    """Starts a worker at its first request; answers come as `Answered` with the request's number.

    Args:
        inbox: where the workers' answers come in.
    """

    def __init__(self, now: Now, news: News, chores: Chores, inbox: "queue.Queue[Any]") -> None:
        self._now, self._news, self._chores, self._inbox = now, news, chores, inbox
        self._pipes: dict[str, PipeProcess] = {}
        self._n_requests = 0

    def write(self, prompt: str, checkpoint: str, sampling: SamplingConfig, seed: int) -> int:
        """Ask the warm writer for a text; returns the number of the request."""
        body = {
            "prompt": prompt,
            "checkpoint": checkpoint,
            "settings": asdict(sampling),
            "seed": seed,
        }
        return self._request("writer", "write", body)

    def look(self, **body: Any) -> int:
        """Ask the quick reader: ``preview=``, ``columns=``, ``count=``, ``report=`` (jobs/look.py)."""
        return self._request("looker", "look", body)

    def advise(self, **body: Any) -> int:
        """Ask for a probe or for Auto-Select; one at a time, a new one ends the old."""
        return self._ask_once("adviser", "advise", {"config": asdict(self._now.config), **body})

    def compare_sizes(self) -> int:
        """Ask for vocabulary sizes side by side; one at a time, a new one ends the old."""
        return self._ask_once("sizes", "sizes", {})

    def _ask_once(self, source: str, command: str, body: dict[str, Any]) -> int:
        self._drop(source)
        self._n_requests += 1
        try:
            self._start(source, command, json.dumps({"request": self._n_requests, **body}))
        except OSError as problem:
            self._news.report(problem, "The worker could not be started")
        return self._n_requests

    def cancel(self, source: str, request: int) -> None:
        """End a request early."""
        if source in ONCE:
            self._drop(source)
        elif pipe := self._pipes.get(source):
            pipe.send(json.dumps({"cancel": request}))

    def answered(self, source: str, message: m.Message) -> None:
        """A worker said something; one that died is started anew by the next request."""
        if isinstance(message, m.Failed) and message.code == "E-WORKER-DIED":
            pipe = self._pipes.pop(source, None)
            if pipe:
                self._chores.do_unheard(pipe.close)
        self._news.bus.publish(Answered(source, message))

    def close(self) -> None:
        """End all of them."""
        for pipe in self._pipes.values():
            self._chores.do_unheard(pipe.close)
        self._pipes = {}

    def _request(self, source: str, command: str, body: dict[str, Any]) -> int:
        self._n_requests += 1
        if source not in self._pipes:
            try:
                self._start(source, command)
            except OSError as problem:
                self._news.report(problem, "The worker could not be started")
                words = f"The worker could not be started ({problem.strerror or problem})."
                failed = m.Failed("E-WORKER-DIED", words, request=self._n_requests)
                self._inbox.put((source, failed, time.time()))
                return self._n_requests
        self._pipes[source].send(json.dumps({"request": self._n_requests, **body}))
        return self._n_requests

    def _start(self, source: str, command: str, *more: str) -> None:
        assert self._now.project
        root = str(self._now.project.root)
        self._pipes[source] = PipeProcess(command, root, *more, name=source, out=self._inbox)

    def _drop(self, source: str) -> None:
        pipe = self._pipes.pop(source, None)
        if pipe:
            self._chores.do_unheard(pipe.terminate)

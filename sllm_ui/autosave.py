"""The settings of the project, stored a moment after the last edit."""

import time
from collections.abc import Callable

from sllm_core.config import ProjectConfig
from sllm_core.errors import SllmError
from sllm_ui.chores import Chores
from sllm_ui.events import ConfigChanged
from sllm_ui.news import News
from sllm_ui.now import Now

SAVE_AFTER_S = 0.4  # after the last edit of a field
SAVE_AGAIN_S = 5.0  # after a disk refused


class Autosave:
    """Takes settings over and stores them; a disk that refuses is asked again."""

    def __init__(self, now: Now, news: News, chores: Chores) -> None:
        self._now, self._news, self._chores = now, news, chores
        self._unsaved_since: float | None = None
        self._end_saving: Callable[[], None] | None = None  # while a task stores them
        self._is_refusal_told = False  # the disk refuses, and the user knows

    def put(self, config: ProjectConfig) -> None:
        """These are the settings now."""
        if config == self._now.config:
            return
        self._now.config = config
        self._unsaved_since = time.monotonic()
        self._news.bus.publish(ConfigChanged())

    def tick(self) -> None:
        """Called a few times a second: stores settings a moment after the last edit."""
        since, now = self._unsaved_since, self._now
        if since is None or self._end_saving or time.monotonic() - since < SAVE_AFTER_S:
            return
        self._unsaved_since = None
        if now.project and not now.read_only:
            self._end_saving = self._chores.do(
                "save", now.project.save_config, now.config,
                then=lambda _: self._stored(), on_error=self._not_stored,
            )  # fmt: skip

    def save_now(self) -> None:
        """Store unsaved settings before something that must not lose them."""
        now = self._now
        is_stored = self._unsaved_since is None and self._end_saving is None
        if is_stored or not now.project or now.read_only:
            return
        if self._end_saving:  # older values must not come last
            self._end_saving()
        self._unsaved_since = None
        try:
            now.project.save_config(now.config)
        except SllmError as problem:
            self._not_stored(problem)
        else:
            self._stored()

    def clear(self) -> None:
        """Another project, or none: nothing is unsaved."""
        self._unsaved_since, self._end_saving, self._is_refusal_told = None, None, False

    def _stored(self) -> None:
        self._end_saving, self._is_refusal_told = None, False

    def _not_stored(self, problem: SllmError) -> None:
        """Keep the values and try again later; a disk that stays full is told once."""
        self._end_saving = None
        if self._unsaved_since is None:
            self._unsaved_since = time.monotonic() + SAVE_AGAIN_S
        if not self._is_refusal_told:
            self._is_refusal_told = True
            self._news.report(problem, "The settings were not stored")

"""The Train tab: settings and forecast at the left, the run at the right."""

import tkinter as tk
from typing import Any

from sllm_ui.tabs.train.presenter import Presenter
from sllm_ui.tabs.train.state import State
from sllm_ui.tabs.train.view_forecast import ForecastCard, GoRow, ResumeCard
from sllm_ui.tabs.train.view_form import SettingsCard
from sllm_ui.tabs.train.view_run import GAP, TILE, RunSide
from sllm_ui.widgets.kit import Box, Desk, px

# All in logical px.
PAD = 16
COLUMN = 384  # the left column
SHORT = 640  # a page lower than this has samples and log behind a switch
ROW = 84  # what a second row of figures takes
TICK_MS = 250


class View(Box):
    """Two columns; below `SHORT` both leave out what a switch or a tooltip can say."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "page", padding=px(PAD))
        self._presenter, self._desk = presenter, desk
        self._timer = ""
        self._is_short: bool | None = None
        self.columnconfigure(1, weight=1)
        self.rowconfigure(0, weight=1)
        left = Box(self, width=px(COLUMN))
        left.grid(row=0, column=0, sticky="ns", padx=(0, px(PAD)))
        left.pack_propagate(False)
        self._go = GoRow(left, presenter, desk)
        self._forecast = ForecastCard(left, presenter)
        self._resume = ResumeCard(left, presenter)
        self._settings = SettingsCard(left, presenter, desk)
        self._run = RunSide(self, presenter, desk)
        self._go.pack(side="bottom", fill="x", pady=(px(12), 0))
        self._forecast.pack(side="bottom", fill="x", pady=(px(12), 0))
        self._settings.pack(fill="both", expand=True)
        self._run.grid(row=0, column=1, sticky="nsew")
        presenter.settle = self._settings.flush
        self.bind("<Configure>", self._on_size, "+")
        self.bind("<Map>", lambda event: self._beat(), "+")
        self.bind("<Destroy>", self._on_destroy, "+")

    def render(self, old: State | None, new: State) -> None:
        """Show what differs."""

        def differs(*names: str) -> bool:
            return old is None or any(getattr(old, n) != getattr(new, n) for n in names)

        if differs("form", "sections", "preset", "advice", "is_open"):
            self._settings.render(old, new)
        if differs("outlook", "probe"):
            self._forecast.render(new)
        if differs("resume"):
            self._resume.render(new)
        if differs("resume", "go", "run", "form", "advice"):
            self._go.render(old, new)
        if old is None or old.resume.is_open != new.resume.is_open:
            self._show_resume(new.resume.is_open)
        if differs("run", "intro", "chart", "side", "scale", "span", "go"):
            self._run.render(old, new)

    def focus_first(self) -> None:
        """Ctrl+F: the first setting."""
        self._settings.focus_first()

    def _show_resume(self, is_open: bool) -> None:
        shown, hidden = (
            (self._resume, self._forecast) if is_open else (self._forecast, self._resume)
        )
        hidden.pack_forget()
        shown.pack(side="bottom", fill="x", pady=(px(12), 0), before=self._settings)
        if is_open:
            self._resume.focus_first()

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is not self:
            return
        room = event.width - 2 * px(PAD) - px(COLUMN) - px(PAD)
        two_rows = px(ROW) if room < 6 * px(TILE) + 5 * px(GAP) else 0  # of figures
        is_short = event.height - 2 * px(PAD) < px(SHORT) + two_rows
        if is_short != self._is_short:
            self._is_short = is_short
            self._forecast.set_short(is_short)
            self._run.set_short(is_short, self._presenter.store.state)

    def _beat(self) -> None:
        """Four times a second while the tab is in view."""
        if self._timer:
            return

        def turn() -> None:
            self._timer = ""
            if self.winfo_viewable():
                self._presenter.tick()
                self._run.beat()
                self._timer = self.after(TICK_MS, turn)

        self._timer = self.after(TICK_MS, turn)

    def _on_destroy(self, event: "tk.Event[Any]") -> None:
        if event.widget is self:
            if self._timer:
                self.after_cancel(self._timer)
                self._timer = ""
            self._presenter.settle = lambda: None

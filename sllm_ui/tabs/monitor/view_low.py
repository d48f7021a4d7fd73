"""The machine in detail, and the log of the run in view."""

import tkinter as tk
from collections.abc import Callable
from itertools import chain

import ttkbootstrap as tb

from sllm_ui.runstate import LogLine
from sllm_ui.tabs.monitor import loglines
from sllm_ui.tabs.monitor.loglines import LEVELS
from sllm_ui.tabs.monitor.presenter import Presenter, State
from sllm_ui.widgets.controls import button, combo, entry
from sllm_ui.widgets.kit import (
    Box,
    Card,
    Desk,
    Elided,
    Scroll,
    label,
    pane,
    picture,
    px,
    skin,
    tooltip,
)

REFRESH_MS = 250
AT_ONCE = 150  # lines put into the pane in one turn
LATER_MS = 15
TONES = {"good": "good", "warning": "warn", "error": "bad"}


class MachineCard(Card):
    """Processor, memory, all graphics cards, disk."""

    def __init__(self, master: tk.Misc) -> None:
        super().__init__(master, "Machine", "pc-display", pad=14)
        self.configure(padding=(px(14), px(14), px(2), px(14)))
        ground = Scroll(self.body)
        ground.pack(fill="both", expand=True)
        self._list = Box(ground)
        self._list.pack(fill="x")
        self._list.columnconfigure(1, weight=1)
        self._rows: list[tuple[tb.Label, Elided]] = []
        self._names: list[str] = []

    def show(self, machine: tuple[tuple[str, str], ...]) -> None:
        """The readings of now."""
        names = [name for name, _ in machine]
        if names != self._names:
            self._build(names)
        for (_, shown), (_, value) in zip(self._rows, machine, strict=True):
            shown.set_text(value)

    def _build(self, names: list[str]) -> None:
        self._names, self._rows = names, []
        for child in self._list.winfo_children():
            child.destroy()
        for row, name in enumerate(names):
            title = label(self._list, name, "body", "fg2")
            value = Elided(self._list, "", anchor="e")
            title.grid(row=row, column=0, sticky="w", pady=px(2))
            value.grid(row=row, column=1, sticky="ew", pady=px(2), padx=(px(8), 0))
            self._rows.append((title, value))


class LogCard(Card):
    """What the run said, filtered by level and words."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "Log", "terminal", pad=14)
        self._presenter, self._desk = presenter, desk
        self._shown: list[LogLine] = []  # those in the pane, and before them the waiting ones
        self._waiting: list[LogLine] = []
        self._timers: dict[str, str] = {}
        copy = button(
            self.head, icon="clipboard", kind="ghost", small=True, command=self._copy,
            tip="Copy the lines that are shown",
        )  # fmt: skip
        copy.pack(side="right")
        row = Box(self.body)
        row.pack(fill="x", pady=(0, px(8)))
        self._level = combo(
            row, list(LEVELS), width=9, on_change=presenter.set_level,
            tip="Show all lines, or only warnings and errors",
        )  # fmt: skip
        self._level.pack(side="right", padx=(px(6), 0))
        picture(row, "search", 14, "muted").pack(side="left", padx=(0, px(6)))
        self._search = entry(
            row, "", width=6, on_change=presenter.set_search,
            tip="Show only lines that hold these words",
        )  # fmt: skip
        self._search.pack(side="left", fill="x", expand=True)
        panel, self._text = pane(self.body, 4, mono=True, wrap="word", read_only=True)
        indent = skin().fonts["mono_s"].measure("00:00:00  ")
        self._text.configure(font="mono_s")
        self._text.tag_configure("line", lmargin2=indent)
        tooltip(self._text, "What the run has said")
        panel.pack(fill="both", expand=True)
        self.bind("<Destroy>", self._on_destroy, "+")

    def focus_search(self) -> None:
        """Begin to type words to look for."""
        self._search.focus_set()

    def render(self, old: State | None, new: State) -> None:
        """Take choices over, and show the lines soon."""
        if old is None or (old.level, old.search) != (new.level, new.search):
            self._level.set_value(new.level)
            self._search.set_value(new.search)
        if old is None or old.log_n != new.log_n:
            self._soon("show", REFRESH_MS, self._show)

    def _show(self) -> None:
        """Bring the pane to what the log is now; what is there already is left alone."""
        lines = self._presenter.log_lines()
        change = loglines.change(self._shown, lines)
        is_at_end = change is None or self._text.yview()[1] >= 1.0
        if change is None and lines == self._shown and lines:
            return
        self._text.configure(state="normal")
        if change is None:
            self._text.delete("1.0", "end")
            self._shown, self._waiting = lines, lines[:-AT_ONCE]
            self._insert("end", lines[-AT_ONCE:])
            if not lines:
                self._text.insert("end", self._nothing(), "muted")
        else:
            n_dropped, begin = change
            n_unseen = min(n_dropped, len(self._waiting))
            self._waiting = self._waiting[n_unseen:]
            if n_dropped > n_unseen:
                self._text.delete("1.0", f"{n_dropped - n_unseen + 1}.0")
            self._shown = lines
            self._insert("end", lines[begin:])
        self._text.configure(state="disabled")
        if is_at_end:
            self._text.see("end-1c")
        if self._waiting:
            self._soon("older", LATER_MS, self._show_older)

    def _show_older(self) -> None:
        """Older lines come above those in view, some at a time."""
        part, self._waiting = self._waiting[-AT_ONCE:], self._waiting[:-AT_ONCE]
        is_at_end = self._text.yview()[1] >= 1.0
        self._text.configure(state="normal")
        self._insert("1.0", part)
        self._text.configure(state="disabled")
        if is_at_end:
            self._text.see("end-1c")
        if self._waiting:
            self._soon("older", LATER_MS, self._show_older)

    def _insert(self, where: str, lines: list[LogLine]) -> None:
        pieces = (
            (
                f"{loglines.stamp_of(line)}  ", ("line", "muted"),
                f"{loglines.text_of(line)}\n", ("line", TONES.get(line.level, "fg")),
            )
            for line in lines
        )  # fmt: skip
        parts = list(chain.from_iterable(pieces))
        if parts:  # one call for all: each costs as much as twenty lines
            self._text.tk.call(str(self._text), "insert", where, *parts)

    def _nothing(self) -> str:
        state = self._presenter.store.state
        if state.search.strip() or state.level != LEVELS[0]:
            return "No line is like that."
        return "This run has said nothing yet."

    def _copy(self) -> None:
        lines = [f"{loglines.stamp_of(line)}  {loglines.text_of(line)}" for line in self._shown]
        self._desk.copy("\n".join(lines))
        noun = "line is" if len(lines) == 1 else "lines are"
        self._desk.toast("good", "Copied", f"{len(lines):,} {noun} on the clipboard.")

    def _soon(self, name: str, delay_ms: int, call: Callable[[], None]) -> None:
        """Do it at most once in a while."""
        if name not in self._timers:

            def run() -> None:
                self._timers.pop(name, None)
                call()

            self._timers[name] = self.after(delay_ms, run)

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            for timer in self._timers.values():
                self.after_cancel(timer)
            self._timers.clear()

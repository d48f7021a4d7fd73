"""The Monitor tab: runs, their checkpoints and settings, curves side by side, machine, log."""

import time
import tkinter as tk
from pathlib import Path
from typing import Any

from sllm_ui.runstate import LogLine
from sllm_ui.tabs.monitor.presenter import AXES, LEVELS, METRICS, Presenter, State
from sllm_ui.widgets import kit
from sllm_ui.widgets.chart import LiveChart
from sllm_ui.widgets.controls import (
    Segmented,
    button,
    check,
    combo,
    empty,
    entry,
    set_button,
    slider,
)
from sllm_ui.widgets.curves import smooth
from sllm_ui.widgets.kit import Box, Card, Desk, Fill, Panel, enable, label, pane, px, skin, tooltip
from sllm_ui.widgets.readout import legend
from sllm_ui.widgets.table import Col, VTable

WIDE = 1080  # logical px of the page at which machine and log stand side by side
CHART_MS = 250
LOG_MS = 250
LOG_SHOWN = 1000
TONES = {"good": "good", "warning": "warn", "error": "bad", "info": ""}


class View(Box):
    """Runs and checkpoints at the left, curves, machine and log at the right."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "page", padding=(px(16), px(16), px(4), px(16)))
        self._presenter, self._desk = presenter, desk
        self._timers: dict[str, str] = {}
        self._wide: bool | None = None
        self._lines: dict[str, tuple[str, float, float]] = {}
        self._empty = self._build_empty()
        self._main = Box(self)
        self._main.columnconfigure(0, weight=11, uniform="column")
        self._main.columnconfigure(1, weight=13, uniform="column")
        self._main.rowconfigure(0, weight=1)
        left, self._right = Fill(self._main, 700), Fill(self._main, 640)
        left.grid(row=0, column=0, sticky="nsew", padx=(0, px(8)))
        self._right.grid(row=0, column=1, sticky="nsew")
        self._build_runs(left)
        self._build_checkpoints(left)
        self._build_differences(left)
        self._build_chart(self._right)
        self._build_low(self._right)
        self.bind("<Configure>", self._arrange, "+")
        self.bind("<Destroy>", self._on_destroy, "+")

    # -- building ------------------------------------------------------------------------------

    def _build_empty(self) -> Panel:
        ground = Panel(self, pad=0)
        box = empty(
            ground, "activity", "No runs yet",
            "Every training run is listed here with its curves, checkpoints, settings and log. "
            "Start one on the Train tab.",
            [("Go to Train", "graph-up", "primary", lambda: self._desk.act("tab_train"))],
        )  # fmt: skip
        box.place(relx=0.5, rely=0.42, anchor="center")
        return ground

    def _build_runs(self, master: tk.Misc) -> None:
        card = Card(master, "Runs", "list-task", pad=14)
        card.pack(fill="x", pady=(0, px(12)))
        presenter = self._presenter
        tools: list[tuple[str, str, str, Any]] = [
            (
                "trash",
                "Delete",
                "Delete the run: its curves, samples and log",
                self._ask_delete_run,
            ),
            (
                "clipboard-plus",
                "Queue",
                "Queue a run with the same settings",
                presenter.enqueue_copy,
            ),
            ("copy", "Clone", "Take over its settings for the next run", self._clone),
            ("chat-left-text", "Note", "Write a note to the run", self._ask_note),
            ("pencil", "Rename", "Give the run a name", self._ask_name),
            ("pin-angle", "Pin", "Keep the run at the head of the list", presenter.pin_run),
        ]
        self._run_tools = {}
        for icon, name, tip, command in tools:
            made = button(card.head, icon=icon, kind="ghost", small=True, tip=tip, command=command)
            made.pack(side="right")
            self._run_tools[name] = made
        self._runs = VTable(
            card.body,
            [
                Col("Name", 124, kind="strong", stretch=1), Col("Model", 62, "e", drop=2),
                Col("Status", 92, kind="badge"), Col("Loss", 58, "e"),
                Col("Bits/byte", 72, "e", drop=1), Col("Time", 62, "e", "muted", drop=3),
            ],
            row_height=32, visible=5, on_select=lambda _: self._on_runs_chosen(), multi=True,
        )  # fmt: skip
        self._runs.pack(fill="x")
        self._note = label(card.body, "", "caption", "muted", justify="left")
        kit.wrap(self._note)

    def _build_checkpoints(self, master: tk.Misc) -> None:
        card = self._checkpoints_card = Card(master, "Checkpoints", "archive", pad=14)
        card.pack(fill="x", pady=(0, px(12)))
        self._checkpoints = VTable(
            card.body,
            [
                Col("File", 110, kind="strong", stretch=1), Col("Step", 66, "e"),
                Col("Val loss", 70, "e"), Col("Size", 78, "e", "muted", drop=1),
                Col("", 92, kind="badge", drop=2),
            ],
            row_height=32, visible=4, on_select=lambda _: self._on_checkpoint_chosen(),
            on_open=lambda _: self._test(),
        )  # fmt: skip
        self._checkpoints.pack(fill="x")
        row = Box(card.body)
        row.pack(fill="x", pady=(px(10), 0))
        self._tools = {}
        presenter = self._presenter
        wanted: list[tuple[str, str, str, str, Any]] = [
            (
                "Resume",
                "play-fill",
                "primary",
                "Go on with the run from this checkpoint",
                self._resume,
            ),
            ("Test", "chat-square-text", "default", "Write with it on the Test tab", self._test),
            (
                "Verify",
                "shield-check",
                "default",
                "Read the whole file and compare it with what was saved",
                presenter.verify,
            ),
            (
                "Pin",
                "pin-angle",
                "default",
                "Never delete this one by itself",
                presenter.pin_checkpoint,
            ),
            ("Delete", "trash", "ghost", "Delete the file", self._ask_delete_checkpoint),
            (
                "Reveal",
                "folder2-open",
                "ghost",
                "Show the folder in the file manager",
                self._reveal,
            ),
        ]
        for n, (name, icon, kind, tip, command) in enumerate(wanted):
            words = name if n < 4 else ""
            made = button(row, words, icon, kind, small=True, tip=tip, command=command)
            made.pack(side="left", padx=(px(6) if n else 0, 0))
            self._tools[name] = made

    def _build_differences(self, master: tk.Misc) -> None:
        card = self._differences_card = Card(master, "Settings", "file-diff", pad=14)
        card.pack(fill="both", expand=True)
        self._only = check(
            card.head, "Only what differs", True,
            on_change=lambda on: self._presenter.set_view(only_different=on),
            tip="Show only the settings in which the two runs differ, or all of them",
        )  # fmt: skip
        self._only.pack(side="right")
        self._differences = VTable(
            card.body,
            [Col("Setting", 130, stretch=1), Col("this run", 110, "e", "strong"), Col("the other", 110, "e", "muted")],
            row_height=28, visible=4,
        )  # fmt: skip
        self._differences.pack(fill="both", expand=True)

    def _build_chart(self, master: tk.Misc) -> None:
        card = self._chart_card = Card(master, "Curves", "graph-down", pad=14)
        card.pack(fill="both", expand=True)
        row = Box(card.body)
        row.pack(side="bottom", fill="x", pady=(px(8), 0))
        label(row, "Smoothing", "caption", "muted").pack(side="left")
        self._smoothing = slider(
            row, 0, 0.99, 0.6, on_change=lambda v: self._presenter.set_view(smoothing=round(v, 2)),
            tip="0 shows every value; higher values show the trend", length=px(72),
        )  # fmt: skip
        self._smoothing.pack(side="left", padx=px(8))
        self._smoothing_text = label(row, "0.60", "caption", "fg2")
        self._smoothing_text.pack(side="left")
        self._axis = Segmented(
            row, list(AXES), command=lambda v: self._presenter.set_view(axis=v),
            tips=["By steps", "By tokens seen", "By minutes of training"],
        )  # fmt: skip
        self._axis.pack(side="right")
        self._metric = combo(
            row, list(METRICS), width=15, on_change=lambda v: self._presenter.set_view(metric=v),
            tip="What is drawn",
        )  # fmt: skip
        self._metric.pack(side="right", padx=px(8))
        save = button(
            card.head, icon="image", kind="ghost", small=True, command=self._ask_picture,
            tip="Save the chart as a picture",
        )  # fmt: skip
        save.pack(side="right")
        self._legend = Box(card.head)
        self._legend.pack(side="left", padx=px(4))
        ground = Panel(card.body, fill="field", pad=1, r=8, border="field")
        ground.pack(fill="both", expand=True)
        self._chart = LiveChart(ground, {}, 120)
        self._chart.set_empty("Choose a run: its curve is drawn here.")
        self._chart.pack(fill="both", expand=True, padx=px(2), pady=px(2))

    def _build_low(self, master: tk.Misc) -> None:
        low = self._low = Box(master, height=px(300))
        low.pack(fill="x", pady=(px(12), 0))
        low.grid_propagate(False)
        low.rowconfigure(0, weight=1)
        self._machine_card = Card(low, "Machine", "pc-display", pad=14)
        self._machine_card.body.columnconfigure(1, weight=1)
        self._machine: list[tuple[Any, Any]] = []
        card = self._log_card = Card(low, "Log", "terminal", pad=14)
        copy = button(
            card.head, icon="clipboard", kind="ghost", small=True, command=self._copy_log,
            tip="Copy the lines that are shown",
        )  # fmt: skip
        copy.pack(side="right")
        self._level = combo(
            card.head, list(LEVELS), width=9, on_change=lambda v: self._presenter.set_view(level=v),
            tip="Show all lines, or only warnings and errors",
        )  # fmt: skip
        self._level.pack(side="right", padx=px(6))
        self._search = entry(
            card.head, "", width=10, on_change=lambda v: self._presenter.set_view(search=v),
            tip="Show only lines that hold these words",
        )  # fmt: skip
        self._search.pack(side="right", fill="x", expand=True, padx=(px(12), 0))
        panel, self._log = pane(card.body, 4, mono=True, wrap="none", read_only=True)
        self._log.configure(font="mono_s")
        tooltip(self._log, "What the run has said")
        panel.pack(fill="both", expand=True)
        self._shown: list[LogLine] = []

    def _arrange(self, event: "tk.Event[tk.Misc]") -> None:
        """Machine and log side by side on a wide page, one above the other on a narrow one."""
        if event.widget is not self:
            return
        is_wide = event.width >= px(WIDE)
        if is_wide == self._wide:
            return
        self._wide = is_wide
        self._low.configure(height=px(300 if is_wide else 560))
        self._right.set_min_height(640 if is_wide else 900)
        self._low.columnconfigure((0, 1), weight=0, uniform="")
        columns = (0, 1) if is_wide else (0,)
        self._low.columnconfigure(columns, weight=1, uniform="low")
        self._low.rowconfigure((0, 1), weight=1, uniform="" if is_wide else "low")
        self._low.rowconfigure(1, weight=0 if is_wide else 1, uniform="" if is_wide else "low")
        gap = px(12)
        self._machine_card.grid(row=0, column=0, sticky="nsew", padx=(0, gap if is_wide else 0))
        below: dict[str, Any] = {"row": 0, "column": 1} if is_wide else {"row": 1, "column": 0}
        self._log_card.grid(**below, sticky="nsew", pady=(0 if is_wide else gap, 0))

    # -- showing ---------------------------------------------------------------------------------

    def render(self, old: State | None, new: State) -> None:
        """Show what differs."""

        def differs(*names: str) -> bool:
            return old is None or any(getattr(old, n) != getattr(new, n) for n in names)

        if differs("rows"):
            self._show_whole(bool(new.rows))
        if differs("rows", "chosen"):
            self._show_runs(new)
        if differs("checkpoints", "checkpoint"):
            self._show_checkpoints(new)
        if differs("checkpoints", "checkpoint", "why_not_resume", "read_only", "chosen", "rows"):
            self._show_tools(new)
        if differs("differences", "other", "chosen"):
            self._show_differences(new)
        if differs("machine"):
            self._show_machine(new)
        if differs("metric", "axis", "smoothing", "level", "search", "only_different"):
            self._metric.set_value(new.metric)
            self._axis.set_value(new.axis)
            self._smoothing.set_value(new.smoothing)
            self._smoothing_text.configure(text=f"{new.smoothing:.2f}")
            self._level.set_value(new.level)
            self._search.set_value(new.search)
            self._only.set_value(new.only_different)
        if differs("curves_n", "chosen", "metric", "axis", "smoothing"):
            self._soon("chart", CHART_MS, self._draw)
        if differs("log_n"):
            self._soon("log", LOG_MS, self._show_log)

    def focus_first(self) -> None:
        """Ctrl+F: the filter of the log."""
        self._search.focus_set()

    def _show_whole(self, is_any: bool) -> None:
        shown, hidden = (self._main, self._empty) if is_any else (self._empty, self._main)
        hidden.pack_forget()
        shown.pack(fill="both", expand=True, padx=(0, px(12) if shown is self._empty else 0))

    def _show_runs(self, state: State) -> None:
        rows = state.rows

        def row(i: int) -> tuple[Any, ...]:
            run = rows[i]
            name = f"{'★ ' if run.is_pinned else ''}{run.name}"
            return (name, run.model, run.status, run.loss, run.bpb, run.time)

        places = [i for i, run in enumerate(rows) if run.id in state.chosen]
        self._runs.show(len(rows), row, places)
        chosen = self._presenter.run_row()
        note = chosen.note if chosen else ""
        self._note.configure(text=note)
        if note:
            self._note.pack(fill="x", pady=(px(8), 0))
        else:
            self._note.pack_forget()
        self._checkpoints_card.set_hint(f"of {chosen.name}" if chosen else "")

    def _show_checkpoints(self, state: State) -> None:
        rows = state.checkpoints
        place = next((i for i, row in enumerate(rows) if row.file == state.checkpoint), 0)
        self._checkpoints.show(
            len(rows),
            lambda i: (rows[i].file, rows[i].step, rows[i].val_loss, rows[i].size, rows[i].badge),
            place if rows else None,
        )

    def _show_tools(self, state: State) -> None:
        chosen = self._presenter.run_row()
        none = "" if state.checkpoint else "The run has no checkpoint yet."
        locked = state.read_only
        is_queued = chosen is not None and chosen.status[0] == "Queued"
        set_button(self._tools["Resume"], "Start" if is_queued else "Resume")
        enable(
            self._tools["Resume"],
            not (state.why_not_resume or (none and not is_queued)),
            state.why_not_resume or none,
        )
        for name in ("Test", "Verify", "Reveal"):
            enable(self._tools[name], not none, none)
        for name in ("Pin", "Delete"):
            enable(self._tools[name], not (none or locked), none or locked)
        row = next((c for c in state.checkpoints if c.file == state.checkpoint), None)
        set_button(self._tools["Pin"], "Unpin" if row and row.is_pinned else "Pin")
        live = chosen is not None and chosen.status[0] in {
            "Training",
            "Paused",
            "Starting",
            "Stopping",
        }
        for name, made in self._run_tools.items():
            why = locked or ("" if chosen else "Choose a run.")
            if name == "Delete" and live:
                why = "The run is on: stop it first."
            enable(made, not why, why)

    def _show_differences(self, state: State) -> None:
        rows = state.differences
        against = f"against {state.other}" if state.other else "against the defaults"
        self._differences_card.set_hint(against if rows else "no difference")
        self._differences.show(len(rows), lambda i: rows[i])

    def _show_machine(self, state: State) -> None:
        body = self._machine_card.body
        if len(self._machine) != len(state.machine):
            for pair in self._machine:
                for widget in pair:
                    widget.destroy()
            self._machine = []
            for i in range(len(state.machine)):
                pair = (label(body, "", "body", "fg2"), label(body, "", "body"))
                pair[0].grid(row=i, column=0, sticky="w", pady=px(2))
                pair[1].grid(row=i, column=1, sticky="e", pady=px(2), padx=(px(8), 0))
                self._machine.append(pair)
        for pair, (name, value) in zip(self._machine, state.machine, strict=True):
            if pair[0].cget("text") != name:
                pair[0].configure(text=name)
            if pair[1].cget("text") != value[:34]:
                pair[1].configure(text=value[:34])

    def _draw(self) -> None:
        state = self._presenter.store.state
        curves = self._presenter.curves()
        colours = skin().p.series
        tones = {run: colours[i % len(colours)] for i, run in enumerate(state.chosen)}
        is_smoothed = state.smoothing > 0 and METRICS[state.metric] not in {
            "val_loss",
            "val_bpb",
            "lr",
        }
        lines: dict[str, tuple[str, float, float]] = {}
        for found in curves:
            if is_smoothed:
                lines[f"{found.run} raw"] = (tones[found.run], 0.8, 0.3)
            lines[found.run] = (tones[found.run], 2.0, 1.0)
        if lines != self._lines:
            self._lines = lines
            self._chart.show_series(lines)
            self._show_legend([(found.name, tones[found.run]) for found in curves])
        for found in curves:
            if is_smoothed:
                self._chart.set(f"{found.run} raw", found.x, found.y)
                self._chart.set(found.run, found.x, smooth(found.y, state.smoothing))
            else:
                self._chart.set(found.run, found.x, found.y)
        self._chart.refresh()

    def _show_legend(self, items: list[tuple[str, str]]) -> None:
        for child in self._legend.winfo_children():
            child.destroy()
        legend(self._legend, [(name[:18], tone) for name, tone in items[:4]]).pack(side="left")

    def _show_log(self) -> None:
        lines = self._presenter.log_lines()[-LOG_SHOWN:]
        if lines == self._shown:
            return
        n = len(self._shown)
        is_longer = n and len(lines) > n and lines[:n] == self._shown
        self._log.configure(state="normal")
        if not is_longer:
            self._log.delete("1.0", "end")
            n = 0
        self._shown = lines
        at_end = self._log.yview()[1] >= 1.0 or not is_longer
        for line in lines[n:]:
            stamp = time.strftime("%H:%M:%S", time.localtime(line.time))
            self._log.insert(
                "end", f"{stamp}  ", "muted", f"{line.text}\n", TONES.get(line.level, "")
            )
        self._log.configure(state="disabled")
        if at_end:
            self._log.see("end")

    def _soon(self, name: str, delay_ms: int, call: Any) -> None:
        """Do it at most once in a while."""
        if name in self._timers:
            return

        def run() -> None:
            self._timers.pop(name, None)
            call()

        self._timers[name] = self.after(delay_ms, run)

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            for timer in self._timers.values():
                self.after_cancel(timer)
            self._timers.clear()

    # -- commands ----------------------------------------------------------------------------------

    def _on_runs_chosen(self) -> None:
        rows = self._presenter.store.state.rows
        first, others = self._runs.selected, sorted(self._runs.chosen)
        places = ([] if first is None else [first]) + others
        self._presenter.choose_runs([rows[i].id for i in places if i < len(rows)])

    def _on_checkpoint_chosen(self) -> None:
        rows = self._presenter.store.state.checkpoints
        place = self._checkpoints.selected
        if place is not None and place < len(rows):
            self._presenter.choose_checkpoint(rows[place].file)

    def _resume(self) -> None:
        if self._presenter.resume():
            self._desk.act("tab_train")

    def _test(self) -> None:
        if self._presenter.store.state.checkpoint:
            self._presenter.test()
            self._desk.act("tab_test")

    def _reveal(self) -> None:
        if not self._presenter.reveal():
            self._desk.toast("warn", "No file manager", "This system has none that can be started.")

    def _clone(self) -> None:
        before = self._presenter.clone()
        if before is not None:
            self._desk.toast(
                "good", "Settings taken over", "The next run has the settings of this one.",
                ("Undo", lambda: self._presenter.undo_clone(before)),
            )  # fmt: skip
            self._desk.act("tab_train")

    def _ask_name(self) -> None:
        row = self._presenter.run_row()
        if row:
            self._desk.dialogs.ask_text("Rename the run", "Name", row.name, self._presenter.rename)

    def _ask_note(self) -> None:
        row = self._presenter.run_row()
        if row:
            self._desk.dialogs.ask_text(
                "Note to the run", row.name, row.note, self._presenter.set_note
            )

    def _ask_delete_run(self) -> None:
        row = self._presenter.run_row()
        if row is None:
            return
        presenter = self._presenter
        self._desk.dialogs.confirm(
            f"Delete {row.name}?",
            "Its curves, samples and log are deleted. Its checkpoints can stay: they can still be "
            "tested and continued from.",
            [
                ("Delete, keep checkpoints", "danger", lambda: presenter.delete_run(with_checkpoints=False)),
                ("Delete with checkpoints", "danger", lambda: presenter.delete_run(with_checkpoints=True)),
                ("Keep it", "default", lambda: None),
            ],
        )  # fmt: skip

    def _ask_delete_checkpoint(self) -> None:
        file = self._presenter.store.state.checkpoint
        self._desk.dialogs.confirm(
            f"Delete {file}?",
            "The file is deleted. The run can then not go on from there.",
            [("Delete", "danger", self._presenter.delete_checkpoint), ("Keep it", "default", lambda: None)],
        )  # fmt: skip

    def _ask_picture(self) -> None:
        def save(path: Path) -> None:
            self._chart.save_picture(path)
            self._desk.toast("good", "Picture saved", str(path))

        self._desk.dialogs.ask_save("Save the chart", save, "curves.png")

    def _copy_log(self) -> None:
        self._desk.copy("\n".join(line.text for line in self._shown))
        self._desk.toast("good", "Copied", f"{len(self._shown):,} lines are on the clipboard.")

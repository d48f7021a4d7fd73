"""Below the settings: the forecast, the list of checkpoints to go on from, and the buttons."""

import tkinter as tk
from typing import Any

from sllm_ui.tabs.train import fieldset
from sllm_ui.tabs.train.outlook import Figure, Part
from sllm_ui.tabs.train.presenter import Presenter
from sllm_ui.tabs.train.state import PLANNED, State
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Stack
from sllm_ui.widgets.controls import button, combo, entry, set_button
from sllm_ui.widgets.kit import Badge, Box, Card, Desk, Elided, enable, label, px, skin, tooltip
from sllm_ui.widgets.table import Col, VTable

MEASURE_TIP = "Time a trial step of these settings on this machine"


class ForecastCard(Card):
    """What the settings mean before anything runs."""

    def __init__(self, master: tk.Misc, presenter: Presenter) -> None:
        super().__init__(master, "Forecast", "speedometer2", pad=14)
        self._presenter = presenter
        self._badge = Badge(self.head, "-", "muted")
        self._badge.pack(side="right")
        self._measure = button(
            self.head, "Measure", "stopwatch", "ghost", small=True, tip=MEASURE_TIP,
            command=self._press,
        )  # fmt: skip
        self._measure.pack(side="right", padx=px(6))
        self._parameters = Amount(self.body, "Parameters")
        self._memory = Amount(self.body, "Memory")
        for amount in (self._parameters, self._memory):
            amount.pack(fill="x")
        self._grid = Box(self.body)
        self._grid.pack(fill="x")
        self._figures: list[tuple[tk.Misc, Any, Any]] = []
        self._advice = label(self.body, "", "caption", "muted", justify="left")
        kit.wrap(self._advice)
        self._is_short = False

    def _press(self) -> None:
        measuring = self._presenter.measuring
        if self._presenter.store.state.probe.status == "busy":
            measuring.cancel_measure()
        else:
            measuring.measure()

    def set_short(self, is_short: bool) -> None:
        """Leave out in a low window what tooltips say too."""
        self._is_short = is_short
        for amount in (self._parameters, self._memory):
            amount.set_short(is_short)
        self._show_advice()

    def render(self, new: State) -> None:
        """Show the numbers."""
        out = new.outlook
        self._badge.show(*out.badge)
        tooltip(self._badge, out.badge_tip or "Whether a training step fits into memory")
        total = sum(part.value for part in out.parameter_parts)
        self._parameters.show("Parameters", out.parameters, out.parameter_parts, total)
        self._memory.show(out.memory_name, out.memory, out.memory_parts, out.memory_total)
        self._show_figures(new)
        self._advice.configure(text=out.advice)
        kit.retone(self._advice, "caption", out.advice_tone)
        self._show_advice()
        self._show_probe(new)

    def _show_advice(self) -> None:
        if self._is_short or not self._advice.cget("text"):
            self._advice.pack_forget()
        else:
            self._advice.pack(fill="x", pady=(px(6), 0))

    def _show_figures(self, new: State) -> None:
        figures = new.outlook.figures
        while len(self._figures) < len(figures):
            self._add_figure(len(self._figures))
        for (box, title, value), figure in zip(self._figures, figures, strict=True):
            title.configure(text=figure.title)
            value.configure(text=self._figure_text(figure, new))
            tip = figure.tip
            if figure.title == "Time" and new.probe.status == "failed":
                tip = f"{tip}\n{new.probe.words}"
            tooltip(box, tip)

    def _figure_text(self, figure: Figure, new: State) -> str:
        is_busy = figure.title == "Time" and new.probe.status == "busy"
        return "measuring" if is_busy else figure.value

    def _add_figure(self, i: int) -> None:
        row, column = divmod(i, 3)
        self._grid.columnconfigure(column, weight=1, uniform="figure")
        box = Box(self._grid)
        box.grid(row=row, column=column, sticky="w", pady=(px(6) if row else 0, 0))
        title, value = label(box, "", "caption", "muted"), label(box, "", "strong")
        title.pack(anchor="w")
        value.pack(anchor="w")
        self._figures.append((box, title, value))

    def _show_probe(self, new: State) -> None:
        if new.probe.status == "busy":
            set_button(self._measure, "Stop", "stop-fill")
            tooltip(self._measure, "Stop the trial")
            enable(self._measure, True)
            return
        set_button(self._measure, "Measure", "stopwatch")
        words = new.probe.words if new.probe.status == "failed" else ""
        tooltip(self._measure, f"{MEASURE_TIP}\n{words}".strip())
        enable(self._measure, not new.probe.why_not, new.probe.why_not)


class Amount(Box):
    """A figure with its parts as a bar and a legend."""

    def __init__(self, master: tk.Misc, title: str) -> None:
        super().__init__(master)
        row = Box(self)
        row.pack(fill="x")
        self._title = label(row, title, "body", "fg2")
        self._title.pack(side="left")
        self._value = label(row, "-", "strong")
        self._value.pack(side="right")
        self._bar = Stack(self, height=8)
        self._bar.pack(fill="x", pady=(px(4), px(3)))
        self._legend = Box(self)
        self._legend.pack(fill="x", pady=(0, px(6)))
        self._dots: list[tuple[Box, Any]] = []

    def set_short(self, is_short: bool) -> None:
        """The legend goes; the bar's tooltip has the same."""
        if is_short:
            self._legend.pack_forget()
            self._bar.pack_configure(pady=(px(4), px(8)))
        else:
            self._bar.pack_configure(pady=(px(4), px(3)))
            self._legend.pack(fill="x", pady=(0, px(6)))

    def show(self, title: str, value: str, parts: tuple[Part, ...], total: float) -> None:
        """Show a sum and its parts."""
        self._title.configure(text=title)
        self._value.configure(text=value)
        colours = skin().p.series
        pairs = [(part.value, colours[i % len(colours)]) for i, part in enumerate(parts)]
        self._bar.show(pairs, total)
        tooltip(self._bar, "\n".join(f"{part.name} {part.text}: {part.tip}" for part in parts))
        told = [part for part in parts if part.value >= 0.02 * sum(p.value for p in parts)][:3]
        while len(self._dots) < len(told):
            self._add_dot(len(self._dots))
        for i, (box, words) in enumerate(self._dots):
            if i < len(told):
                at = parts.index(told[i])
                words[0].configure(image=skin().icon("circle-fill", 8, colours[at % len(colours)]))
                words[1].configure(text=f" {told[i].name} {told[i].text}")
                tooltip(box, told[i].tip)
                box.pack(side="left", padx=(0, px(12)))
            else:
                box.pack_forget()

    def _add_dot(self, i: int) -> None:
        box = Box(self._legend)
        dot = label(box, "", "caption")
        dot.pack(side="left")
        words = label(box, "", "caption", "muted")
        words.pack(side="left")
        self._dots.append((box, (dot, words)))


class ResumeCard(Card):
    """The checkpoints of the project: any of them can be gone on from."""

    def __init__(self, master: tk.Misc, presenter: Presenter) -> None:
        super().__init__(master, "Resume from", "arrow-clockwise", pad=14)
        self._presenter = presenter
        shut = button(
            self.head, icon="x-lg", kind="ghost", small=True, tip="Back to the forecast",
            command=lambda: presenter.resuming.open(False),
        )  # fmt: skip
        shut.pack(side="right")
        self._table = VTable(
            self.body,
            [
                Col("Step", 62, "e", "strong"),
                Col("Val loss", 62, "e"),
                Col("File", 96, stretch=1),
                Col("", 78, kind="badge"),
            ],
            row_height=28,
            visible=4,
            on_select=presenter.resuming.choose,
            on_open=lambda _: presenter.resume_chosen(),
            tip="Checkpoints, those of the newest run first",
        )
        self._table.pack(fill="x")
        self._run = Elided(self.body, "", "caption", "muted")
        self._run.pack(fill="x", pady=(px(4), 0))
        row = Box(self.body)
        row.pack(fill="x", pady=(px(6), 0))
        label(row, "Until", "body", "fg2").pack(side="left")
        kinds = [PLANNED, *(kind for kind in fieldset.BUDGETS if kind != "Automatic")]
        self._kind = combo(
            row, kinds, width=10, on_change=self._limit,
            tip="The limit that ends the run: the one it was planned with, or another",
        )  # fmt: skip
        self._kind.pack(side="left", padx=px(8))
        self._value = entry(
            row, width=10, on_change=lambda _: self._limit(), tip="The value of the new limit"
        )
        self._error = label(self.body, "", "caption", "bad", justify="left")
        kit.wrap(self._error)
        self._go = button(
            self.body, "Resume from here", "play-fill", "primary", command=presenter.resume_chosen
        )
        self._new = button(
            self.body, "New run from its weights", "box-arrow-in-right",
            command=presenter.resuming.continue_chosen,
            tip="Train on with the settings and the text of now: a fresh run that begins with what "
            "this checkpoint has learnt, in its shape. For instance after files were added.",
        )  # fmt: skip
        self._new.pack(side="bottom", fill="x", pady=(px(6), 0))
        self._go.pack(side="bottom", fill="x", pady=(px(10), 0))

    def focus_first(self) -> None:
        """Give the focus to the button that goes on."""
        self._go.focus_set()

    def _limit(self, _: object = None) -> None:
        self._presenter.resuming.set_limit(self._kind.get_value(), self._value.get_value())

    def render(self, new: State) -> None:
        """Show the list and what is chosen."""
        state = new.resume
        rows = state.rows
        self._table.show(
            len(rows),
            lambda i: (rows[i].step, rows[i].val_loss, rows[i].name, rows[i].badge),
            state.chosen if rows else None,
        )
        self._run.set_text(f"Run of {rows[state.chosen].run}" if rows else "No checkpoint yet.")
        self._kind.set_value(state.limit)
        self._value.set_value(state.limit_text)
        if state.limit == PLANNED:
            self._value.pack_forget()
        else:
            self._value.pack(side="left", fill="x", expand=True)
        self._value.state(["invalid" if state.error else "!invalid"])
        self._error.configure(text=state.error)
        if state.error:
            self._error.pack(fill="x", pady=(px(4), 0))
        else:
            self._error.pack_forget()
        why = state.why or state.error or ("" if rows else "There is no checkpoint yet.")
        enable(self._go, not why, why)
        why = state.why or ("" if rows else "There is no checkpoint yet.")
        enable(self._new, not why, why)


class GoRow(Box):
    """Start or queue, resume, and while a run is on what holds it."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master)
        self._presenter, self._desk = presenter, desk
        self._why = label(self, "", "caption", "warn", justify="left")
        kit.wrap(self._why)
        self._row = Box(self)
        self._row.pack(fill="x")
        self._more = button(
            self._row, icon="chevron-down", command=self._toggle,
            tip="Choose the checkpoint to go on from",
        )  # fmt: skip
        self._resume = button(self._row, "Resume", "arrow-clockwise", command=presenter.resume)
        self._start = button(
            self._row, "Start training", "play-fill", "primary", command=presenter.start
        )
        self._start.pack(side="left", fill="x", expand=True)
        self._stop = button(
            self._row, "Stop", "stop-fill", "danger", command=lambda: desk.act("stop"),
            tip="Save a checkpoint, then stop (Ctrl+.)",
        )  # fmt: skip
        self._save = button(
            self._row, icon="save", command=lambda: desk.act("save_now"),
            tip="Save now: write a checkpoint after this step (Ctrl+S)",
        )  # fmt: skip
        self._pause = button(
            self._row, "Pause", "pause-fill", command=lambda: desk.act("pause"),
            tip="Pause after this step; you can write with the model meanwhile (Ctrl+P)",
        )  # fmt: skip
        self._idle = (self._more, self._resume)
        self._live = (self._stop, self._save, self._pause)
        self._is_live: bool | None = None

    def _toggle(self) -> None:
        self._presenter.resuming.open(not self._presenter.store.state.resume.is_open)

    def render(self, old: State | None, new: State) -> None:
        """Show what can be done now."""
        go, resume, run = new.go, new.resume, new.run
        is_other = go.is_queue or resume.is_open or new.advice.status == "ready"
        kind = "default" if is_other else "primary"  # one primary button at a time
        set_button(self._start, go.label, "list-task" if go.is_queue else "play-fill", kind)
        tips = (
            "A run with these settings begins when the present one is done",
            "Begin a new run (Ctrl+Enter)",
        )
        tooltip(self._start, tips[0] if go.is_queue else tips[1])
        enable(self._start, not go.why, go.why)
        tooltip(self._resume, resume.tip or "Go on with the last run")
        enable(self._resume, not resume.why, resume.why)
        why = resume.why or ("" if resume.rows else "There is no checkpoint yet.")
        enable(self._more, not why, why)
        words = (go.why or go.hint) if new.is_open else ""
        self._why.configure(text=words)
        if words:
            self._why.pack(fill="x", pady=(0, px(6)), before=self._row)
        else:
            self._why.pack_forget()
        is_live = run is not None and run.is_live
        if is_live != self._is_live:
            self._is_live = is_live
            self._lay(self._live if is_live else self._idle)
        if is_live and run is not None:
            self._show_live(run.state, run.has_steps)

    def _lay(self, shown: tuple[Any, ...]) -> None:
        """These at the right of Start, from the right edge on."""
        for control in (*self._idle, *self._live):
            control.pack_forget()
        for control in shown:
            gap = px(4 if control is self._more else 8)
            control.pack(side="right", padx=(gap, 0), before=self._start)

    def _show_live(self, state: str, has_steps: bool) -> None:
        is_paused = state == "paused"
        set_button(
            self._pause,
            "Resume" if is_paused else "Pause",
            "play-fill" if is_paused else "pause-fill",
        )
        why = "" if state in {"running", "paused"} else f"The run is {state}."
        enable(self._pause, not why, why)
        why = why or ("" if has_steps else "There is nothing to save before the first step.")
        enable(self._save, not why, why)
        set_button(self._stop, "End now" if state == "stopping" else "Stop")

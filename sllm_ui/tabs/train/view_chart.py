"""The charts of a run: loss, learning rate, gradient; in a low window samples and log beside them."""

import tkinter as tk
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sllm_core import fmt
from sllm_core.errors import SllmError
from sllm_ui.tabs.train.presenter import Presenter
from sllm_ui.tabs.train.state import CHARTS, SIDES, State
from sllm_ui.widgets import kit
from sllm_ui.widgets.chart import LiveChart, legend
from sllm_ui.widgets.controls import Segmented, button
from sllm_ui.widgets.kit import Box, Desk, Panel, px, tooltip

WIDTHS = (460, 600)  # logical px from which there is room for the scale's switch, and the span's
LAST = 1000  # steps of the short view
CHART_TIPS = {
    "Loss": "Training and validation loss",
    "Rate": "The learning rate",
    "Gradient": "Length of the gradient",
    "Writes": "What it writes now",
    "Log": "What the run has said",
}
LEGENDS: dict[str, list[tuple[str, ...]]] = {
    "Loss": [
        ("train", "accent_hi"), ("validation", "good"), ("best", "good", "ring"),
        ("checkpoint", "warn", "tick"), ("sample", "accent_hi", "mark"),
    ],
    "Rate": [("learning rate", "accent_hi")],
    "Gradient": [("gradient norm", "accent_hi")],
}  # fmt: skip


class ChartCard(Panel):
    """Loss, learning rate or gradient; in a low window samples and log as well."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, pad=14)
        self._presenter, self._desk = presenter, desk
        self._charts: dict[str, LiveChart] = {}
        self._sides: dict[str, tuple[Box, Box]] = {}
        self._version = (-1, "", "")
        self._chart = CHARTS[0]
        self._room = len(WIDTHS)
        self._head = Box(self)
        self._head.pack(fill="x", pady=(0, px(8)))
        self._switch: Segmented | None = None
        save = button(
            self._head, icon="image", kind="ghost", small=True, command=self._ask_picture,
            tip="Save the chart as a picture",
        )  # fmt: skip
        self._span = Segmented(
            self._head, ["All", "Last 1k"], command=presenter.watching.set_span,
            tips=["The whole run; double click ends a zoom", "The last thousand steps"],
        )  # fmt: skip
        self._scale = Segmented(
            self._head, ["Linear", "Log"], command=presenter.watching.set_scale,
            tips=["Even scale", "Logarithmic scale: shows what happens late"],
        )  # fmt: skip
        self._tools: tuple[Any, Any, Any] = (save, self._span, self._scale)
        self._body = Box(self)
        self._body.pack(fill="both", expand=True)
        self._plot = Box(self._body)
        self._legend = Box(self._plot)
        self._legend.pack(fill="x", pady=(0, px(6)))
        self._legend_of = ""
        self._ground = Panel(self._plot, fill="field", pad=1, r=8, border="field")
        self._ground.pack(fill="both", expand=True)
        self.bind("<Configure>", self._on_size, "+")
        self.drop_sides()

    # -- samples and log in a low window ---------------------------------------------------------

    def make_sides(self) -> list[tuple[Box, Box]]:
        """Room for samples and log behind the switch: (head, body) of each."""
        self._make_switch((*CHARTS, *SIDES))
        for name in SIDES:
            host = Box(self._body)
            head, body = Box(host), Box(host)
            head.pack(fill="x", pady=(0, px(6)))
            body.pack(fill="both", expand=True)
            self._sides[name] = (host, body)
        self._legend.pack_forget()
        return [(host.winfo_children()[0], body) for host, body in self._sides.values()]  # type: ignore[misc]

    def drop_sides(self) -> None:
        """Samples and log have cards of their own."""
        for host, _ in self._sides.values():
            host.destroy()
        self._sides = {}
        self._make_switch(CHARTS)
        self._legend.pack(fill="x", pady=(0, px(6)), before=self._ground)

    def _make_switch(self, names: tuple[str, ...]) -> None:
        if self._switch:
            self._switch.destroy()
        tips = [CHART_TIPS[name] for name in names]
        self._switch = Segmented(
            self._head, names, command=self._presenter.watching.show_chart, tips=tips
        )
        self._switch.pack(side="left")

    # -- showing -----------------------------------------------------------------------------------

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        room = sum(event.width >= px(width) * kit.skin().breadth for width in WIDTHS)
        if event.widget is self and room != self._room:
            self._room = room
            self._show_tools(self._presenter.store.state)

    def _show_tools(self, state: State) -> None:
        """Picture, span and scale, as far as there is room beside the switch."""
        save, span, scale = self._tools
        room = self._room if self._sides else len(WIDTHS)
        shown = [save, *([span] if room > 1 else []), *([scale] if room else [])]
        for tool in self._tools:
            tool.pack_forget()
        if self._side(state):
            return
        for i, tool in enumerate(shown):
            tool.pack(side="right", padx=(px(8), 0) if i else 0)

    def _side(self, state: State) -> str:
        return state.side if state.side in self._sides else ""

    def render(self, old: State | None, new: State) -> None:
        """Show the chosen chart or side."""
        side = self._side(new)
        assert self._switch
        self._switch.set_value(side or new.chart)
        self._scale.set_value(new.scale)
        self._span.set_value(new.span)
        self._show_tools(new)
        for name, (host, _) in self._sides.items():
            if name == side:
                host.pack(fill="both", expand=True)
            else:
                host.pack_forget()
        if side:
            self._plot.pack_forget()
            return
        self._plot.pack(fill="both", expand=True)
        self._show_plot(new)

    def _show_plot(self, new: State) -> None:
        for name, chart in self._charts.items():
            if name != new.chart:
                chart.pack_forget()
        self._chart = new.chart
        if new.chart not in self._charts:
            self._charts[new.chart] = self._make_chart(new.chart)
        chart = self._charts[new.chart]
        chart.pack(fill="both", expand=True, padx=px(2), pady=px(2))
        chart.set_scale(new.scale.lower())
        chart.set_window(LAST if new.span != "All" else None)
        if self._legend_of != new.chart:
            self._legend_of = new.chart
            for child in self._legend.winfo_children():
                child.destroy()
            legend(self._legend, LEGENDS[new.chart]).pack(side="left")
        self._version = (-1, "", "")
        self.beat()

    def _make_chart(self, name: str) -> LiveChart:
        formats: dict[str, Callable[[float], str] | None] = {
            "Loss": None, "Rate": lambda y: f"{y:.3g}", "Gradient": None
        }  # fmt: skip
        series = {"train": ("accent_hi", 1.1, 0.85)}
        if name == "Loss":
            series["val"] = ("good", 2.2, 1.0)
        made = LiveChart(self._ground, series, 120, yfmt=formats[name])
        made.set_empty("The curve begins with the first step.")
        tooltip(made.canvas, "Drag to look closer, double click for the whole run")
        return made

    def beat(self) -> None:
        """Take the newest numbers over and draw."""
        run = self._presenter.watching.curves()
        chart = self._charts.get(self._chart)
        if run is None or chart is None or chart.hidden:
            return
        version = (run.version, run.id, self._chart)
        if version == self._version:
            return
        self._version = version
        steps = run.curve["step"]
        column = {"Loss": "loss", "Rate": "lr", "Gradient": "grad_norm"}[self._chart]
        chart.set("train", steps, run.curve[column])
        if self._chart == "Loss":
            chart.set("val", run.validations["step"], run.validations["val_loss"])
            guess = self._presenter.watching.guessing()
            chart.hline(*(guess or (None, "")))
            chart.marks("checkpoint", [saved.step for saved in run.saved], "warn", "tick")
            chart.marks("sample", sorted({s.step for s in run.samples}), "accent_hi", "dot")
            best = run.best
            chart.mark_best(best.step if best else None, best.val_loss if best else None)
        chart.refresh()

    def _ask_picture(self) -> None:
        chart, name = self._charts.get(self._chart), self._chart.lower()
        if chart is None:
            return

        def save(path: Path) -> None:
            try:
                chart.save_picture(path)
            except SllmError as problem:
                self._desk.toast("bad", "The picture was not saved", problem.text)
            else:
                self._desk.toast("good", "The picture is saved", fmt.path_text(str(path)))

        self._desk.dialogs.ask_save("Save the chart as a picture", save, f"{name}.png")

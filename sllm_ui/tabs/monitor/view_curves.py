"""The card with the curves of the chosen runs."""

import tkinter as tk
from collections.abc import Callable
from pathlib import Path

from sllm_core import fmt
from sllm_core.errors import SllmError
from sllm_ui.tabs.monitor.curves import AXES, METRICS, Curve, best_point
from sllm_ui.tabs.monitor.presenter import Presenter, State
from sllm_ui.widgets.chart import LiveChart
from sllm_ui.widgets.controls import Segmented, button, combo, slider
from sllm_ui.widgets.curves import human
from sllm_ui.widgets.kit import Box, Card, Desk, Elided, Panel, label, px, skin, tooltip
from sllm_ui.widgets.readout import legend

REFRESH_MS = 250
LEGEND_COLUMNS = 3
COLOURS = (1, 5, 4, 3, 2, 0)  # of palette.series: neighbours in this order are easy to tell apart
FORMATS: dict[str, Callable[[float], str]] = {
    "Learning rate": lambda y: f"{y:.3g}",
    "Tokens per second": human,
}
XNAMES: dict[str, tuple[str, Callable[[float], str] | None]] = {
    "Steps": ("step", None),
    "Tokens": ("tokens", None),
    "Time": ("minute", lambda x: f"{x:.4g}"),
}


class CurvesCard(Card):
    """Chart, legend, and what is drawn over what."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "Curves", "graph-down", pad=14)
        self._presenter, self._desk = presenter, desk
        self._timer = ""
        self._lines: dict[str, tuple[str, float, float]] = {}
        self._named: list[tuple[str, str]] = []
        save = button(
            self.head, icon="image", kind="ghost", small=True, command=self._ask_picture,
            tip="Save the chart as a picture",
        )  # fmt: skip
        save.pack(side="right")
        self._build_controls()
        self._legend = Box(self.body)
        for column in range(LEGEND_COLUMNS):
            self._legend.columnconfigure(column, weight=1, uniform="legend")
        self._ground = Panel(self.body, fill="field", pad=1, r=8, border="field")
        self._ground.pack(fill="both", expand=True)
        self._chart = LiveChart(self._ground, {}, 120)
        tooltip(self._chart.canvas, "Drag to look closer, double click for the whole run")
        self._chart.pack(fill="both", expand=True, padx=px(2), pady=px(2))
        self.bind("<Destroy>", self._on_destroy, "+")

    def _build_controls(self) -> None:
        presenter = self._presenter
        self._row = row = Box(self.body)
        row.pack(side="bottom", fill="x", pady=(px(8), 0))
        self._smooth_row = Box(row)
        label(self._smooth_row, "Smoothing", "caption", "muted").pack(side="left")
        self._smoothing = slider(
            self._smooth_row, 0, 0.99, 0, on_change=presenter.set_smoothing,
            tip="0 shows every value; higher values show the trend", length=px(72),
        )  # fmt: skip
        self._smoothing.pack(side="left", padx=px(8))
        self._smoothing_text = label(self._smooth_row, "", "caption", "fg2", width=4)
        self._smoothing_text.pack(side="left")
        self._axis = Segmented(
            row, list(AXES), command=presenter.set_axis,
            tips=["By steps", "By tokens seen", "By minutes of training"],
        )  # fmt: skip
        self._metric = combo(
            row, list(METRICS), width=15, on_change=presenter.set_metric, tip="What is drawn"
        )
        row.columnconfigure(0, weight=1)

    def arrange(self, is_wide: bool) -> None:
        """One line of controls on a wide page, two on a narrow one."""
        gap = px(8)
        for widget in (self._smooth_row, self._metric, self._axis):
            widget.grid_forget()
        if is_wide:
            self._smooth_row.grid(row=0, column=0, sticky="w")
            self._metric.grid(row=0, column=1, padx=gap)
        else:
            self._metric.grid(row=0, column=0, sticky="ew", padx=(0, gap))
            self._smooth_row.grid(row=1, column=0, columnspan=3, sticky="w", pady=(gap, 0))
        self._axis.grid(row=0, column=2)

    def render(self, old: State | None, new: State) -> None:
        """Take choices over, and draw soon."""

        def differs(*names: str) -> bool:
            return old is None or any(getattr(old, n) != getattr(new, n) for n in names)

        if differs("metric", "axis", "smoothing"):
            self._metric.set_value(new.metric)
            self._axis.set_value(new.axis)
            self._smoothing.set_value(new.smoothing)
            self._smoothing_text.configure(text=f"{new.smoothing:.2f}")
        if differs("curves_n", "chosen", "metric", "axis", "smoothing", "rows"):
            self._soon()

    def _soon(self) -> None:
        """Draw at most once in a while."""
        if not self._timer:
            self._timer = self.after(REFRESH_MS, self._draw)

    def _draw(self) -> None:
        self._timer = ""
        curves = self._presenter.curves()
        state = self._presenter.store.state
        self._chart.set_empty(self._presenter.why_no_curve())
        self._chart.set_axes(*XNAMES[state.axis], FORMATS.get(state.metric))
        series = skin().p.series
        colours = [series[place] for place in COLOURS]
        lines: dict[str, tuple[str, float, float]] = {}
        for curve in curves:
            tone = colours[curve.colour]
            if curve.smoothed is not None:
                lines[f"{curve.run} as measured"] = (tone, 0.8, 0.3)
            lines[_key(curve)] = (tone, 2.0, 1.0)
        if lines != self._lines:
            self._lines = lines
            self._chart.show_series(lines)
        for curve in curves:
            if curve.smoothed is not None:
                self._chart.set(f"{curve.run} as measured", curve.x, curve.y)
            self._chart.set(
                _key(curve), curve.x, curve.y if curve.smoothed is None else curve.smoothed
            )
        is_one = len(curves) == 1 and METRICS[state.metric].startswith("val_")
        best = best_point(curves[0]) if is_one else None
        self._chart.mark_best(*(best or (None, None)))
        self._show_names([(c.name, colours[c.colour]) for c in curves])
        self._chart.refresh()

    def _show_names(self, named: list[tuple[str, str]]) -> None:
        """A legend for several runs; of one the head says the name."""
        if named == self._named:
            return
        self._named = named
        self.set_hint(f"of {named[0][0]}" if len(named) == 1 else "")
        for child in self._legend.winfo_children():
            child.destroy()
        if len(named) < 2:
            self._legend.pack_forget()
            return
        for place, (name, tone) in enumerate(named):
            row, column = divmod(place, LEGEND_COLUMNS)
            item = Box(self._legend)
            legend(item, [("", tone)]).pack(side="left")
            Elided(item, name, "caption", "fg2").pack(side="left", fill="x", expand=True)
            item.grid(row=row, column=column, sticky="ew")
        self._legend.pack(fill="x", pady=(0, px(6)), before=self._ground)

    def _ask_picture(self) -> None:
        def save(path: Path) -> None:
            try:
                self._chart.save_picture(path)
            except SllmError as problem:
                self._desk.toast("bad", "The picture was not saved", problem.text)
            else:
                self._desk.toast("good", "The picture is saved", fmt.path_text(str(path)))

        self._desk.dialogs.ask_save("Save the chart as a picture", save, "curves.png")

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self and self._timer:
            self.after_cancel(self._timer)


def _key(curve: Curve) -> str:
    """The name of a line in the chart; in pictures a $ would begin a formula."""
    return curve.name.replace("$", "\N{FULLWIDTH DOLLAR SIGN}").lstrip("_") or curve.run

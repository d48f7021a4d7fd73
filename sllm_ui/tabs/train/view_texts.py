"""What the run wrote and what it said: samples with a scrubber, and the log."""

from typing import Any

from sllm_ui.tabs.train.presenter import Presenter
from sllm_ui.tabs.train.watch import SampleText
from sllm_ui.tabs.train.watching import clock_text
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import button, slider
from sllm_ui.widgets.kit import Box, Desk, append_text, enable, label, pane, px, tooltip

SHOWN, KEPT = 500, 3000  # lines of the log: at first, and at most
TONES = {"good": "good", "warning": "warn", "error": "bad", "info": ""}


class Samples:
    """What it wrote at a step, with a scrubber over all of them."""

    def __init__(self, head: Box, body: Box, presenter: Presenter) -> None:
        self._presenter = presenter
        self._title = label(head, "", "caption", "muted")
        self._title.pack(side="right")
        bar = Box(body)
        bar.pack(side="bottom", fill="x", pady=(px(8), 0))
        self._back = button(
            bar, icon="chevron-left", kind="ghost", small=True, tip="The samples before",
            command=lambda: self._move(-1),
        )  # fmt: skip
        self._back.pack(side="left")
        self._slider = slider(
            bar, 0, 1, 0, on_change=lambda at: presenter.watching.scrub(round(at)), step=1,
            tip="Go back to what it wrote earlier; the right end follows the run",
        )  # fmt: skip
        self._slider.pack(side="left", fill="x", expand=True, padx=px(8))
        self._on = button(
            bar, icon="chevron-right", kind="ghost", small=True, tip="The samples after",
            command=lambda: self._move(1),
        )  # fmt: skip
        self._on.pack(side="left")
        panel, self._text = pane(body, 3, read_only=True)
        tooltip(self._text, "The prompt in blue, then what the model wrote")
        panel.pack(fill="both", expand=True)
        self._at = 0
        self._shown: SampleText | None = SampleText(-1, ())

    def _move(self, by: int) -> None:
        self._presenter.watching.scrub(self._at + by)

    def render(self, sample: SampleText | None, n: int, at: int) -> None:
        """Show one sample of ``n``."""
        self._at = at
        last = max(1, n - 1)
        if self._slider.hi != last:
            self._slider.hi = last
            self._slider.configure(to=last)
        self._slider.set_value(at if n > 1 else last)
        why = "" if n > 1 else "There are no other samples yet."
        enable(self._slider, not why, why)
        enable(self._back, at > 0, "This is the first.")
        enable(self._on, at < n - 1, "This is the newest.")
        if sample == self._shown:
            return
        self._shown = sample
        self._title.configure(text=f"step {sample.step:,}" if sample else "")
        self._text.configure(state="normal")
        self._text.delete("1.0", "end")
        if sample is None:
            self._text.insert("end", "Samples come with each validation.", "muted")
        else:
            for i, (prompt, text) in enumerate(sample.parts):
                self._text.insert("end", "\n\n" if i else "", "", prompt, "accent", text, "")
        self._text.configure(state="disabled")


class LogPane:
    """The log of the run, new lines at the end."""

    def __init__(self, head: Box, body: Box, presenter: Presenter, desk: Desk) -> None:
        self._presenter, self._desk = presenter, desk
        copy = button(
            head, icon="clipboard", kind="ghost", small=True, tip="Copy the log",
            command=lambda: desk.copy(presenter.watching.log_text()),
        )  # fmt: skip
        copy.pack(side="right")
        panel, self._text = pane(body, 3, mono=True, read_only=True)
        indent = kit.skin().fonts["mono_s"].measure("00:00:00  ")
        self._text.configure(font="mono_s")
        self._text.tag_configure("line", lmargin2=indent)
        self._text.tag_configure("more", lmargin1=indent, lmargin2=indent)
        tooltip(self._text, "What the run has said")
        panel.pack(fill="both", expand=True)
        self._run, self._n = "", 0

    def render(self, run_id: str, n: int) -> None:
        """Add what is new; another run begins anew."""
        if run_id != self._run or n < self._n:
            self._run, self._n = run_id, 0
            self._text.configure(state="normal")
            self._text.delete("1.0", "end")
            self._text.configure(state="disabled")
        if n == self._n:
            return
        lines = self._presenter.watching.log_since(self._n)[-SHOWN:]
        if not lines:  # the run is being read anew: its lines come with the next state
            return
        self._n = n
        is_at_end = not self._text.winfo_ismapped() or self._text.yview()[1] >= 1.0
        append_text(self._text, "")  # notes whether the end is followed
        pieces: list[Any] = []
        for line in lines:
            pieces += [f"{clock_text(line.time)}  ", ("muted", "line")]
            first, _, rest = line.text.partition("\n")
            pieces += [f"{first}\n", (TONES.get(line.level, ""), "line")]
            if rest:
                pieces += [f"{rest}\n", (TONES.get(line.level, ""), "more")]
        self._text.configure(state="normal")
        self._text.insert("end", *pieces)  # one call: a thousand lines cost no more than ten
        extra = int(self._text.index("end-1c").split(".")[0]) - KEPT
        if extra > 0:
            self._text.delete("1.0", f"{extra + 1}.0")
        self._text.configure(state="disabled")
        if is_at_end:
            self._text.see("end-1c")

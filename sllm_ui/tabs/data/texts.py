"""Two cards of the Data tab that show text: prepared data, preview."""

from typing import Any

from sllm_ui.tabs.data.figures import token_ranges
from sllm_ui.tabs.data.parts import Field
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.state import State
from sllm_ui.tabs.data.words import PreviewView, prepared_words, preview_words
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Stack, Stepper
from sllm_ui.widgets.controls import Segmented, button, set_button
from sllm_ui.widgets.kit import Box, Card, Elided, label, px, skin, wrap

MIN_LINES, MAX_LINES = 7, 60
SCROLLED_LINES = 14  # where the column has to be scrolled anyway
LOOKS = {"Raw": "raw", "Text": "text", "Cleaned": "cleaned", "Tokens": "tokens"}
LOOK_TIPS = [
    "The first bytes of the file as it lies on the disk.",
    "The text as it was read from the file, before cleaning.",
    "What is trained on: the text after cleaning.",
    "What is trained on, each token in a colour.",
]


class PreparedCard:
    """The token files: whether they are up to date, and the button that makes them."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self._key: Any = None
        self.card = Card(master, "Prepared data", "gear-wide-connected")
        self._start = button(
            self.card.head, "Prepare data", "play-fill", small=True, command=presenter.prepare,
            tip="Scan, train the tokenizer if needed and encode all files. Training does it by itself.",
        )  # fmt: skip
        self._start.pack(side="right")
        self._words = wrap(label(self.card.body, "", "caption", "muted", justify="left"))
        self._words.pack(fill="x")
        self._steps = Stepper(self.card.body, [], -1)
        self._bar = Stack(self.card.body, height=5)
        self._clear = button(
            self.card.body, "", "eraser", "link", True, presenter.clear_cache,
            "Remove the tokens and texts that are kept so that nothing is read twice. Your files, the "
            "prepared data and checkpoints stay; the next preparation reads and encodes everything.",
        )  # fmt: skip

    def show(self, state: State) -> None:
        """Bring it up to date."""
        key = (state.job, state.prepared, state.busy, state.cache)
        if key == self._key:
            return
        self._key = key
        job = state.job
        is_ours = job.is_ours and job.kind == "prepare"
        set_button(
            self._start,
            "Stop" if is_ours else "Prepare data",
            "stop-fill" if is_ours else "play-fill",
            "danger" if is_ours else "default",
        )
        kit.enable(self._start, is_ours or not state.busy, state.busy)
        is_about = job.kind == "prepare" or bool(job.steps)
        words, tone = prepared_words(job, state.prepared, state.prepared_tone)
        self._words.configure(text=words)
        kit.retone(self._words, "caption", {"good": "fg2"}.get(tone, tone))
        if is_about and job.steps and (job.is_live or job.tone == "bad"):
            states = [step.state for step in job.steps]
            now = next((i for i, name in enumerate(states) if name in {"running", "failed"}), -1)
            if now < 0:
                now = states.count("done")
            self._steps.show([(s.name, s.text) for s in job.steps], now, "failed" in states)
            self._steps.pack(fill="x", pady=(px(8), 0))
        else:
            self._steps.pack_forget()
        if is_about and job.is_live and job.share is not None:
            self._bar.show([(job.share, skin().p.accent)], 1)
            self._bar.pack(fill="x", pady=(px(6), 0))
        else:
            self._bar.pack_forget()
        if state.cache:
            set_button(self._clear, f"Clear cache ({state.cache})")
            kit.enable(self._clear, not state.busy, state.busy)
            self._clear.pack(anchor="w", pady=(px(6), 0))
        else:
            self._clear.pack_forget()


class PreviewCard:
    """A file as it is, as text, as training reads it, and with its tokens in colours."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self._presenter = presenter
        self._key: Any = None
        self._shown: Any = None
        self.card = Card(master, "Preview", "eye")
        self._add_head()
        self.panel, self.text = kit.pane(self.card.body, MIN_LINES, mono=True, read_only=True)
        self.panel.pack(fill="both", expand=True)
        kit.tooltip(self.text, "The beginning of the file, as chosen below.")
        tint(self.text)
        self._words = Elided(self.card.body, "", "caption", "muted")
        self._words.pack(fill="x", pady=(px(8), 0))
        row = Box(self.card.body)
        row.pack(fill="x", pady=(px(6), 0))
        self._look = Segmented(
            row, list(LOOKS), "Tokens", lambda name: presenter.reading.choose_look(LOOKS[name]),
            tips=LOOK_TIPS,
        )  # fmt: skip
        self._look.pack(side="left")
        self._row = row
        self._add_records()

    def _add_head(self) -> None:
        head, presenter = self.card.head, self._presenter
        self._next = button(
            head, "", "chevron-right", "ghost", True, lambda: presenter.reading.step_file(1),
            "Next file",
        )  # fmt: skip
        self._back = button(
            head, "", "chevron-left", "ghost", True, lambda: presenter.reading.step_file(-1),
            "Previous file",
        )  # fmt: skip
        self._choose = button(
            head, "", "search", "ghost", True, lambda: presenter.files.open("used"),
            "Find a file in the list of all files in use.",
        )  # fmt: skip
        for made in (self._next, self._back, self._choose):
            made.pack(side="right")

    def _add_records(self) -> None:
        """The documents of a table, one after the other."""
        box = self._records = Box(self.card.body)
        label(box, "Record", "caption", "muted").pack(side="left", padx=(0, px(6)))
        self._record = Field(box, self._go, 7, "Which document of the table, from 1.")
        self._record.entry.pack(side="left")
        self._of = label(box, "", "caption", "muted")
        self._of.pack(side="left", padx=px(6))
        self._before = button(
            box, "", "chevron-left", "ghost", True, lambda: self._step(-1), "Previous record"
        )
        self._behind = button(
            box, "", "chevron-right", "ghost", True, lambda: self._step(1), "Next record"
        )
        for made in (self._before, self._behind):
            made.pack(side="left")

    def _go(self, text: str) -> None:
        digits = text.replace(",", "").strip()
        if digits.isdecimal():
            self._presenter.reading.show_record(int(digits) - 1)

    def _step(self, by: int) -> None:
        reading = self._presenter.reading
        reading.show_record(self._presenter.store.state.preview.record + by)

    def flush(self) -> None:
        """Take what is being typed."""
        self._record.flush()

    def show(self, state: State) -> None:
        """Bring it up to date."""
        view = state.preview
        key = (view, state.look, state.is_scanned)
        if key == self._key:
            return
        self._key = key
        total = (
            f"{view.position + 1:,} of {view.total:,}  "
            if view.position >= 0 and view.total
            else ""
        )
        self.card.set_hint(f"{total}{view.file.name}" if view.file else "")
        why = "" if view.total else "No file is in use yet."
        for made in (self._next, self._back, self._choose):
            kit.enable(made, not why, why)
        self._look.set_value(next(name for name, look in LOOKS.items() if look == state.look))
        self._show_record(view)
        self._words.set_text(preview_words(view, state.look))
        shown = (view.answer, view.problem, view.file is None, state.look, state.is_scanned)
        if shown != self._shown:
            self._shown = shown
            self._fill(state)

    def _show_record(self, view: PreviewView) -> None:
        n = view.file.records if view.file else None
        if not n:
            self._records.pack_forget()
            return
        self._record.show(f"{view.record + 1:,}")
        self._of.configure(text=f"of {n:,}")
        kit.enable(self._before, view.record > 0, "This is the first one.")
        kit.enable(self._behind, view.record < n - 1, "This is the last one.")
        self._records.pack(fill="x", pady=(px(6), 0), before=self._row)

    def _fill(self, state: State) -> None:
        view = state.preview
        if view.problem:
            fill(self.text, view.problem)
        elif view.answer is None:
            words = "Reading" if view.file else "Files in use can be looked at here after a scan."
            if state.is_scanned and not view.file:
                words = "No file is in use."
            fill(self.text, words)
        else:
            answer = view.answer
            ends = answer.ends if state.look == "tokens" else ()
            fill(self.text, answer.text or answer.note, ends)


def tint(text: Any) -> None:
    """Give a pane of text a tag for each tint of tokens."""
    for i, colour in enumerate(skin().p.tokens):
        text.tag_configure(f"token{i}", background=colour)
    text.tag_raise("sel")


def fill(text: Any, content: str, ends: tuple[int, ...] = ()) -> None:
    """Show a text with the tokens that end at ``ends`` tinted, in few calls of Tcl."""
    groups = token_ranges(content, ends, len(skin().p.tokens), _is_wide(text))
    text.configure(state="normal")
    text.replace("1.0", "end", content)
    for i, group in enumerate(groups):
        if group:
            text.tag_add(f"token{i}", *group)
    text.configure(state="disabled")
    text.yview_moveto(0)


def _is_wide(text: Any) -> bool:
    """Whether this Tcl counts a character beyond U+FFFF as two."""
    return int(text.tk.call("string", "length", "\U0001f600")) == 2

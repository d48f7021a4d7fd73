"""The cards at the right of the Data tab: tokenizer, prepared data, preview."""

from typing import Any

from sllm_core import fmt
from sllm_core.config import TokenizerConfig
from sllm_core.messages import TokenizerReport
from sllm_ui.tabs.data.figures import percent, token_ranges
from sllm_ui.tabs.data.parts import Figure
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.state import State
from sllm_ui.tabs.data.words import prepared_words
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Bars, Stack, Stepper
from sllm_ui.widgets.controls import Section, Segmented, button, check, set_button
from sllm_ui.widgets.form import Form
from sllm_ui.widgets.kit import Badge, Box, Card, Desk, Elided, Panel, label, px, skin, wrap

MIN_LINES, MAX_LINES = 7, 60
SCROLLED_LINES = 14  # where the column has to be scrolled anyway


class TokenizerCard:
    """What cuts the text into tokens: its state, its settings, how well it fits."""

    def __init__(self, master: Box, presenter: Presenter, desk: Desk) -> None:
        self._presenter, self._desk = presenter, desk
        self._key: Any = None
        self.card = Card(master, "Tokenizer", "scissors")
        self._badge = Badge(self.card.head, "None", "muted")
        self._badge.pack(side="right")
        body = self.card.body
        self._state = wrap(label(body, "", "caption", "fg2", justify="left"))
        self._form = Form(body, TokenizerConfig, ["target_vocab_size"], presenter.filters.set_field)
        self._form.pack(fill="x")
        self._add_advice(body)
        self._add_figures(body)
        self._add_buttons(body)
        self._add_advanced(body)
        self._report = ReportSection(body, presenter)

    def _add_advice(self, body: Box) -> None:
        tip = Panel(body, fill="field", pad=0, r=8)
        tip.configure(padding=(px(12), px(8), px(10), px(8)))
        tip.pack(fill="x", pady=px(8))
        kit.picture(tip, "lightbulb", 15, "warn").pack(
            side="left", anchor="n", padx=(0, px(10)), pady=px(1)
        )
        right = Box(tip)
        right.pack(side="left", fill="x", expand=True)
        self._advice = wrap(label(right, "", "caption", "fg2", justify="left"), 4)
        self._advice.pack(fill="x")
        self._take = button(right, "", None, "link", True, self._presenter.take_proposal, "")

    def _add_figures(self, body: Box) -> None:
        row = Box(body)
        row.pack(fill="x")
        self._figures = {
            name: Figure(row, title, tip)
            for name, title, tip in (
                ("each", "Bytes per token", "More is better: the same text in fewer tokens. 3 to 4.5 is usual."),
                ("never", "Never used", "Tokens that occur nowhere in the prepared text."),
                ("rare", "Rarely used", "Tokens that occur fewer than ten times in the prepared text."),
                ("longest", "Longest token", "The longest piece of text that is one token."),
            )
        }  # fmt: skip
        for i, figure in enumerate(self._figures.values()):
            figure.box.grid(row=0, column=i, sticky="w")
            row.columnconfigure(i, weight=1)

    def _add_buttons(self, body: Box) -> None:
        row = Box(body)
        row.pack(fill="x", pady=(px(10), px(4)))
        self._train = button(
            row, "Train again", "arrow-repeat", small=True, command=self._presenter.train_tokenizer,
            tip="Learn a tokenizer from the text with the settings above, then encode all files.",
        )  # fmt: skip
        self._train.pack(side="left")
        self._import = button(
            row, "Import tokenizer.json", "box-arrow-in-down", small=True, command=self._ask_file,
            tip="Use a byte-level BPE tokenizer of the GPT-2, Llama 3 or Qwen2 kind instead.",
        )  # fmt: skip
        self._import.pack(side="left", padx=px(8))

    def _ask_file(self) -> None:
        self._desk.dialogs.ask_files(
            "Import a tokenizer.json",
            lambda found: self._presenter.import_tokenizer(str(found[0])),
            kinds=[("Tokenizers", ["*.json"]), ("All files", ["*"])],
            multiple=False,
        )

    def _add_advanced(self, body: Box) -> None:
        presenter = self._presenter
        is_open = presenter.store.state.is_advanced_open
        section = Section(body, "Advanced", is_open=is_open, on_toggle=presenter.open_advanced)
        section.pack(fill="x")
        names = ["split", "min_frequency", "tokenizer_sample_bytes"]
        self._advanced = Form(section.body, TokenizerConfig, names, presenter.filters.set_field)
        self._advanced.pack(fill="x")
        self._section = section

    def show(self, state: State) -> None:
        """Bring it up to date."""
        key = (
            state.tokenizer, state.values, state.notes, state.errors, state.locked, state.busy,
            state.report, state.report_state,
        )  # fmt: skip
        if key == self._key:
            return
        self._key = key
        view, locked = state.tokenizer, state.locked
        self._badge.show(view.badge, view.tone)
        self.card.set_hint(view.hint)
        if view.text:
            self._state.configure(text=view.text)
            self._state.pack(fill="x", pady=(0, px(6)), before=self._form)
        else:
            self._state.pack_forget()
        self._form.render(state.values, state.errors, state.notes, locked or view.locked)
        self._advanced.render(state.values, state.errors, {}, locked or view.locked)
        values = state.values
        self._section.set_summary(
            f"split {values['split']}, seen at least {values['min_frequency']} times"
        )
        self._advice.configure(text=view.advice)
        if view.proposal and not locked:
            set_button(self._take, f"Use {view.proposal:,}")
            kit.tooltip(self._take, f"Set the vocabulary to {view.proposal:,} tokens.")
            self._take.pack(anchor="w", pady=(px(2), 0))
        else:
            self._take.pack_forget()
        why = locked or view.locked or state.busy
        set_button(self._train, "Train" if view.badge == "None" else "Train again")
        for control in (self._train, self._import):
            kit.enable(control, not why, why)
        self._show_report(state)

    def _show_report(self, state: State) -> None:
        report = state.report
        texts = dict.fromkeys(
            self._figures, "measuring" if state.report_state == "waiting" else "-"
        )
        if report is not None:
            texts = {
                "each": fmt.number(report.bytes_per_token, 2),
                "never": f"{report.n_never:,}",
                "rare": f"{report.n_rare:,}",
                "longest": f"{report.longest_bytes} bytes",
            }
        for name, figure in self._figures.items():
            figure.show(texts[name])
        self._report.show(report, state.report_state)


class ReportSection:
    """The tokenizer's report in full."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        is_open = presenter.store.state.is_report_open
        self._section = Section(master, "Report", is_open=is_open, on_toggle=presenter.open_report)
        self._section.pack(fill="x")
        body = self._section.body
        self._words = wrap(label(body, "", "caption", "fg2", justify="left"))
        self._words.pack(fill="x", pady=(0, px(6)))
        label(body, "Bytes per token, by file type", "caption", "muted").pack(anchor="w")
        self._bars = Bars(body, row_height=22, label=62, right=50)
        self._bars.pack(fill="x")
        self._line_panel, self._line = kit.pane(body, 2, mono=True, read_only=True)
        self._line_panel.pack(fill="x", pady=(px(8), 0))
        kit.tooltip(self._line, "A line of your text; each tint is one token.")
        tint(self._line)
        self._again = button(
            body, "Measure again", "arrow-repeat", "ghost", True, presenter.reading.ask_report,
            "Measure on a sample of the project's files; takes seconds.",
        )  # fmt: skip
        self._again.pack(anchor="w", pady=(px(6), 0))
        self._key: Any = ()

    def show(self, report: TokenizerReport | None, state: str) -> None:
        """Bring it up to date."""
        if (report, state) == self._key:
            return
        self._key = (report, state)
        kit.enable(self._again, state != "waiting", "It is being measured.")
        if report is None:
            words = {"waiting": "It is being measured.", "": "There is no tokenizer yet."}
            self._words.configure(text=words.get(state, state))
            self._section.set_summary("measuring" if state == "waiting" else "")
            self._bars.show([])
            self._line_panel.pack_forget()
            return
        self._section.set_summary(report.advice)
        self._words.configure(text=report_words(report, "" if state == "waiting" else state))
        self._bars.show([(kind, each, f"{each:.2f}") for kind, each in report.by_type.items()])
        if report.line_ends:
            self._line_panel.pack(fill="x", pady=(px(8), 0), before=self._again)
            fill(self._line, report.line, report.line_ends)
        else:
            self._line_panel.pack_forget()


def report_words(report: TokenizerReport, problem: str = "") -> str:
    """The report in sentences."""
    longest = " ".join(fmt.path_text(report.longest_text).split()) or "blanks"
    lines = [report.advice]
    if report.gpt2_bytes_per_token:
        lines.append(report.gpt2_note)
    if report.sample_tokens:
        lines.append(
            f"Measured on {fmt.size(report.sample_bytes)} of {report.sample_files:,} files; never and "
            f"rarely used on {fmt.count(report.counted_tokens)} tokens."
        )
    shares = [
        f"{percent(share)} {what}"
        for share, what in (
            (report.blank_share, "blanks"),
            (report.digit_share, "digits"),
            (report.byte_share, "single bytes"),
        )
        if share is not None
    ]
    if shares:
        lines.append(f"Of these tokens {', '.join(shares)}.")
    if report.doc_tokens_p50 is not None and report.doc_tokens_p99 is not None:
        lines.append(
            f"A usual file has {report.doc_tokens_p50:,} tokens; one in a hundred has more than "
            f"{report.doc_tokens_p99:,}."
        )
    lines.append(f"Longest token: {longest[:80]}")
    if problem:
        lines.append(problem)
    return "\n".join(filter(None, lines))


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

    def show(self, state: State) -> None:
        """Bring it up to date."""
        key = (state.job, state.prepared, state.busy)
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


class PreviewCard:
    """A file as training reads it, its tokens in colours."""

    def __init__(self, master: Box, presenter: Presenter) -> None:
        self._presenter = presenter
        self._key: Any = None
        self._shown: Any = None
        self.card = Card(master, "Preview", "eye")
        head = self.card.head
        self._next = button(
            head,
            "",
            "chevron-right",
            "ghost",
            True,
            lambda: presenter.reading.step_file(1),
            "Next file",
        )
        self._back = button(
            head,
            "",
            "chevron-left",
            "ghost",
            True,
            lambda: presenter.reading.step_file(-1),
            "Previous file",
        )
        self._choose = button(
            head, "", "search", "ghost", True, lambda: presenter.files.open("used"),
            "Find a file in the list of all files in use.",
        )  # fmt: skip
        for made in (self._next, self._back, self._choose):
            made.pack(side="right")
        self.panel, self.text = kit.pane(self.card.body, MIN_LINES, mono=True, read_only=True)
        self.panel.pack(fill="both", expand=True)
        kit.tooltip(self.text, "The beginning of the file; each tint is one token.")
        tint(self.text)
        self._words = Elided(self.card.body, "", "caption", "muted")
        self._words.pack(fill="x", pady=(px(8), 0))
        row = Box(self.card.body)
        row.pack(fill="x", pady=(px(6), 0))
        self._raw = Segmented(
            row, ["Text", "Bytes"], "Text", lambda value: presenter.reading.show_raw(value == "Bytes"),
            tips=["As training reads it.", "As it lies on the disk."],
        )  # fmt: skip
        self._raw.pack(side="left")
        self._borders = check(
            row, "Show boundaries", True, presenter.reading.show_boundaries,
            "Colour the tokens, so that their borders can be seen.",
        )  # fmt: skip
        self._borders.pack(side="right")

    def show(self, state: State) -> None:
        """Bring it up to date."""
        view = state.preview
        has_tokenizer = state.tokenizer.badge != "None"
        key = (view, state.has_boundaries, state.is_raw, has_tokenizer, state.is_scanned)
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
        self._raw.set_value("Bytes" if state.is_raw else "Text")
        self._borders.set_value(state.has_boundaries)
        no_borders = "" if has_tokenizer else "There is no tokenizer yet: Prepare data makes one."
        no_borders = "Bytes have no tokens." if state.is_raw else no_borders
        kit.enable(self._borders, not no_borders, no_borders)
        self._words.set_text(preview_words(state))
        shown = (
            view.answer,
            view.problem,
            view.file is None,
            state.has_boundaries,
            state.is_scanned,
        )
        if shown != self._shown:
            self._shown = shown
            self._fill(state)

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
            ends = answer.ends if state.has_boundaries else ()
            fill(self.text, answer.text or answer.note, ends)


def preview_words(state: State) -> str:
    """Characters, tokens, bytes a token and encoding of what is in view."""
    view, answer = state.preview, state.preview.answer
    if view.is_waiting and answer is None:
        return "Reading"
    if answer is None or view.problem:
        return ""
    if state.is_raw:
        return answer.note or f"{answer.n_bytes:,} bytes"
    n_chars = f"{len(answer.text):,} characters"
    parts = [f"first {n_chars} of {fmt.size(answer.n_bytes)}" if answer.is_cut else n_chars]
    if answer.n_tokens:
        n_bytes = len(answer.text.encode("utf-8", "replace"))
        parts += [f"{answer.n_tokens:,} tokens", f"{n_bytes / answer.n_tokens:.2f} bytes per token"]
    parts.append(f"converted from {answer.encoding}" if answer.is_converted else answer.encoding)
    if answer.n_tokens is None and answer.text:
        parts.append("no tokenizer yet, so no tokens")
    return "    ".join(filter(None, parts))


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

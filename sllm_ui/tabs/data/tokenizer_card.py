"""The card of the tokenizer: its state, its settings, sizes side by side, how well it fits."""

from typing import Any

from sllm_core import fmt
from sllm_core.config import TokenizerConfig
from sllm_core.messages import TokenizerReport
from sllm_ui.tabs.data.figures import SizeRow, SizesView, percent
from sllm_ui.tabs.data.parts import ROW, Figure, Sized
from sllm_ui.tabs.data.presenter import Presenter
from sllm_ui.tabs.data.state import State
from sllm_ui.tabs.data.texts import fill, tint
from sllm_ui.tabs.data.words import sizes_advice
from sllm_ui.widgets import kit
from sllm_ui.widgets.bars import Bars, Stack
from sllm_ui.widgets.controls import Section, button, set_button
from sllm_ui.widgets.form import Form
from sllm_ui.widgets.kit import Badge, Box, Card, Desk, Elided, Panel, label, px, skin, wrap
from sllm_ui.widgets.table import Col, VTable


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
            row, "Import", "box-arrow-in-down", small=True, command=self._ask_file,
            tip="Use a tokenizer.json instead: byte-level BPE of the GPT-2, Llama 3 or Qwen2 kind.",
        )  # fmt: skip
        self._import.pack(side="left", padx=px(8))
        self._sizes = SizesPart(body, row, self._presenter)

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
            state.report, state.report_state, state.sizes, state.mode,
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
        measured = sizes_advice(state.sizes, view)
        self._advice.configure(text=measured or view.advice)
        if view.proposal and not locked and not measured:
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
        self._sizes.show(state)

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


class SizesPart:
    """Vocabulary sizes side by side: the button that measures them, the table, taking one."""

    def __init__(self, body: Box, row: Box, presenter: Presenter) -> None:
        self._presenter = presenter
        self._rows: tuple[SizeRow, ...] = ()
        self._key: Any = None
        self._start = button(
            row, "Compare sizes", "bar-chart-steps", small=True, command=presenter.sizing.compare,
            tip="Learn vocabularies of several sizes from a sample of your text and measure each on "
            "text it was not learnt from; takes seconds to a minute. Nothing is changed.",
        )  # fmt: skip
        self._start.pack(side="left")
        self._box = Box(body)
        self._box.pack(fill="x")
        self._step = Elided(self._box, "", "caption", "fg2")
        self._bar = Stack(self._box, height=5)
        self._holder = Sized(self._box)
        cols = [
            Col("Tokens", 76, "e", kind="strong"),
            Col("Bytes per token", 104, "e", tip="More is better: the same text in fewer tokens."),
            Col("Of the model", 88, "e", tip="Share of the parameters that the table of tokens takes.", drop=1),
            Col("Never used", 82, "e", tip="Tokens that occur nowhere in the measured text.", drop=2),
            Col("Rare", 60, "e", tip="Tokens that occur fewer than ten times there.", drop=3),
            Col("", 84, kind="badge", stretch=1),
        ]  # fmt: skip
        self._table = VTable(
            self._holder, cols, row_height=ROW, on_select=lambda _: self._show_take(),
            on_open=lambda _: self._take_chosen(),
            tip="Sizes of the vocabulary. Return or a double click takes one.",
        )  # fmt: skip
        self._table.pack(fill="both", expand=True)
        self._why = wrap(label(self._box, "", "caption", "fg2", justify="left"))
        self._take = button(
            self._box, "Take it", None, "link", True, self._take_chosen,
            "Set the vocabulary to the chosen size; Prepare data makes it.",
        )  # fmt: skip
        self._locked = ""

    def _chosen(self) -> SizeRow | None:
        place = self._table.selected
        return self._rows[place] if place is not None and place < len(self._rows) else None

    def _take_chosen(self) -> None:
        row = self._chosen()
        if row is not None and not self._locked:
            self._presenter.sizing.take(row.size)

    def _show_take(self) -> None:
        row = self._chosen()
        if row is not None:
            set_button(self._take, f"Take {row.name}")
            kit.enable(self._take, not self._locked, self._locked)

    def show(self, state: State) -> None:
        """Bring it up to date."""
        view, locked = state.sizes, state.locked or state.tokenizer.locked
        idle = "" if state.kinds else "No file is in use."
        key = (view, locked, idle)
        if key == self._key:
            return
        self._key, self._locked = key, locked
        set_button(
            self._start,
            "Stop" if view.is_on else "Compare sizes",
            "stop-fill" if view.is_on else "bar-chart-steps",
            "danger" if view.is_on else "default",
        )
        kit.enable(self._start, view.is_on or not idle, idle)
        for part in (self._step, self._bar, self._holder, self._why, self._take):
            part.pack_forget()
        if view.is_on or view.problem:
            self._step.set_text(view.problem or view.step)
            self._step.set_tone("bad" if view.problem else "fg2")
            self._step.pack(fill="x", pady=(px(4), px(4)))
        if view.share is not None:
            self._bar.show([(view.share, skin().p.accent)], 1)
            self._bar.pack(fill="x", pady=(0, px(6)))
        self._rows = view.rows
        if view.rows:
            self._show_rows(view)

    def _show_rows(self, view: SizesView) -> None:
        rows = view.rows
        advised = next((i for i, row in enumerate(rows) if row.is_advised), 0)
        self._holder.set_rows(len(rows))
        self._holder.pack(fill="x", pady=(px(4), px(4)))
        self._table.show(len(rows), lambda i: _size_cells(rows[i]), advised)
        self._why.configure(text="\n".join(filter(None, (view.reason, view.note))))
        self._why.pack(fill="x", pady=(px(2), 0))
        self._take.pack(anchor="w", pady=(px(2), px(6)))
        self._show_take()


def _size_cells(row: SizeRow) -> tuple[Any, ...]:
    badge: Any = ("Advised", "good") if row.is_advised else ""
    return row.name, row.each, row.part, row.never, row.rare, badge


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

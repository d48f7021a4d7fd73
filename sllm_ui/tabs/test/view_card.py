"""The sampling card: presets, sliders with their numbers, seed, stop texts."""

import tkinter as tk
from collections.abc import Callable
from functools import partial

from sllm_core import fields
from sllm_core.config import SamplingConfig
from sllm_ui.tabs.test import sampling as cards
from sllm_ui.tabs.test.presenter import Presenter
from sllm_ui.tabs.test.sampling import CardState
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import button, check, combo, entry, slider
from sllm_ui.widgets.form import explain
from sllm_ui.widgets.kit import Box, Card, Desk, enable, label, px, tooltip

REST_MS = 200  # after the last move of a slider
TYPING_MS = 400
OWN = "Own values"


class SamplingCard(Card):
    """How the next token is drawn: presets, sliders with their numbers, seed and stop texts."""

    def __init__(
        self,
        master: tk.Misc,
        presenter: Presenter,
        desk: Desk,
        later: Callable[[str, int, Callable[[], None]], None],
    ) -> None:
        super().__init__(master, "Sampling", "sliders2", pad=14)
        self._it, self._sampler = presenter, presenter.sampler
        self._desk, self._later = desk, later
        reset = button(
            self.head, "Reset", kind="ghost", small=True, command=self._reset,
            tip="All values as they were at first",
        )  # fmt: skip
        reset.pack(side="right")
        self._build_presets()
        self._fields = {
            name: _Field(self.body, name, self._typed, self._left, self._slid)
            for name in cards.SLIDING
        }
        for name in ("sample_seed", "stop"):
            self._fields[name] = _Field(self.body, name, self._typed, self._left)
        self._new_seed = check(
            self.body, "New seed each time", on_change=self._sampler.set_new_seed,
            tip="Draws a seed for each writing, so that each text is another one. The seed that "
            "was drawn is shown above.",
        )  # fmt: skip
        self._new_seed.pack(anchor="w", pady=(px(8), 0))
        self._order = label(self.body, "", "caption", "muted", justify="left", width=1)
        kit.wrap(self._order).pack(fill="x", pady=(px(8), 0))
        self._note = label(self.body, "", "caption", "warn", justify="left", width=1)
        kit.wrap(self._note)
        self._pending: dict[str, str] = {}  # typed and not told yet

    def _build_presets(self) -> None:
        row = Box(self.body)
        row.pack(fill="x", pady=(0, px(4)))
        self._delete = button(
            row, icon="trash", kind="ghost", small=True, command=self._do_delete,
            tip="Delete this preset of yours",
        )  # fmt: skip
        self._delete.pack(side="right")
        save = button(
            row, icon="bookmark-plus", kind="ghost", small=True, command=self._ask_name,
            tip="Keep these values as a preset of your own, for all projects",
        )  # fmt: skip
        save.pack(side="right", padx=(px(4), 0))
        self._presets = combo(
            row, [OWN], width=8, on_change=self._chosen,
            tip="Balanced for most texts, Precise for safe ones, Bold for surprising ones, Greedy "
            "always takes the likeliest token; and those you saved.",
        )  # fmt: skip
        self._presets.pack(side="left", fill="x", expand=True)

    def render(self, old: CardState | None, new: CardState) -> None:
        """Show what differs."""
        if old is None or (old.preset, old.mine) != (new.preset, new.mine):
            self._presets.set_values([*cards.BUILT_IN, *new.mine])
            self._presets.set_value(new.preset or OWN)
            is_mine = new.preset in new.mine
            enable(self._delete, is_mine, "Only presets of your own can be deleted.")
        if old is None or (old.texts, old.errors) != (new.texts, new.errors):
            for name, field in self._fields.items():
                if name not in self._pending:
                    field.show(new.texts[name], new.errors.get(name, ""))
                field.place(new.values)
        if old is None or old.is_new_seed != new.is_new_seed:
            self._new_seed.set_value(new.is_new_seed)
            why = "A new seed is drawn each time."
            enable(self._fields["sample_seed"].entry, not new.is_new_seed, why)
        if old is None or old.order != new.order:
            self._order.configure(text=new.order)
        if old is None or old.note != new.note:
            self._note.configure(text=new.note)
            if new.note:
                self._note.pack(fill="x", pady=(px(6), 0))
            else:
                self._note.pack_forget()

    def flush(self) -> None:
        """Take over what is being typed now."""
        pending, self._pending = self._pending, {}
        for name, text in pending.items():
            self._sampler.set_text(name, text)

    def _typed(self, name: str, text: str) -> None:
        self._pending[name] = text
        self._later("typed", TYPING_MS, self.flush)

    def _left(self, name: str) -> None:
        self.flush()
        self._sampler.leave_field(name)

    def _slid(self, name: str, value: float) -> None:
        self._pending.pop(name, None)
        self._sampler.slide(name, value)
        self._later("commit", REST_MS, self._sampler.commit)

    def _chosen(self, name: str) -> None:
        self._pending = {}
        self._sampler.choose_preset(name)

    def _reset(self) -> None:
        self._pending = {}
        before = self._it.store.state.card.values
        self._sampler.reset()
        if before != self._it.store.state.card.values:
            undo = ("Undo", partial(self._sampler.set_values, before))
            self._desk.toast("accent", "All values are as at first", "", undo)

    def _ask_name(self) -> None:
        card = self._it.store.state.card
        name = card.preset if card.preset in card.mine else ""
        self._desk.dialogs.ask_text(
            "Save these values", "Name", name, self._sampler.save_preset,
            check=self._sampler.why_not_name, ok="Save",
        )  # fmt: skip

    def _do_delete(self) -> None:
        card = self._it.store.state.card
        name, values = card.preset, card.values
        self._sampler.delete_preset(name)

        def undo() -> None:
            self._sampler.set_values(values)
            self._sampler.save_preset(name)

        self._desk.toast("accent", "The preset is deleted", name, ("Undo", undo))


class _Field:
    """Label, number and, for some, a slider beneath; an error in red."""

    def __init__(
        self,
        master: Box,
        name: str,
        on_type: Callable[[str, str], None],
        on_leave: Callable[[str], None],
        on_slide: Callable[[str, float], None] | None = None,
    ) -> None:
        self._name = name
        tip = explain(SamplingConfig, name)
        words = fields.info(SamplingConfig, name).label
        self._box = Box(master)
        self._box.pack(fill="x", pady=(px(5), 0))
        row = Box(self._box)
        row.pack(fill="x")
        said = label(row, words, "body", "fg2", **({} if on_slide else {"width": 12}))
        said.pack(side="left")
        tooltip(said, tip)
        self.entry = entry(
            row, width=7, on_change=partial(on_type, name), tip=tip, mono=name == "stop"
        )
        self.entry.pack(side="right", fill="x", expand=on_slide is None)
        self.entry.bind("<FocusOut>", lambda event: on_leave(name), "+")
        self.entry.bind("<Return>", lambda event: on_leave(name), "+")
        self._slider = None
        if on_slide:
            self.entry.configure(justify="right")
            slide = cards.SLIDES[name]
            self._slider = slider(
                self._box, slide.low, slide.high, slide.low, partial(on_slide, name), slide.step,
                tip=tip,
            )  # fmt: skip
            self._slider.pack(fill="x", pady=(px(1), 0))
        self._error = label(self._box, "", "caption", "bad", justify="left", width=1)
        kit.wrap(self._error)

    def show(self, text: str, error: str) -> None:
        """Show a text and what is wrong with it."""
        self.entry.set_value(text)
        self.entry.state(["invalid" if error else "!invalid"])
        if error:
            self._error.configure(text=error)
            self._error.pack(fill="x")
        else:
            self._error.pack_forget()

    def place(self, sampling: SamplingConfig) -> None:
        """Bring the slider to the value."""
        if self._slider is not None:
            self._slider.set_value(float(getattr(sampling, self._name)))

"""The card of settings: Auto-Select and its proposal, presets, the size slider, the form."""

import tkinter as tk
from collections.abc import Callable

from sllm_ui.tabs.train import fieldset
from sllm_ui.tabs.train.fieldset import FormSection
from sllm_ui.tabs.train.outlook import GROUPS
from sllm_ui.tabs.train.presenter import Presenter
from sllm_ui.tabs.train.state import AdviceState, FormState, PresetState, State
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import (
    Section,
    button,
    check,
    combo,
    entry,
    set_button,
    slider,
)
from sllm_ui.widgets.form import LABEL_WIDTH, UNIT_WIDTH, Form
from sllm_ui.widgets.kit import Box, Desk, Elided, Panel, Scroll, enable, label, px, skin, tooltip

AUTO_TIP = (
    "Measure this computer and this data for some seconds, and propose all settings with reasons"
)
BUDGET_TIPS = {
    "Automatic": "As many passes as the text and the size call for.",
    "Epochs": "Passes over the text.",
    "Steps": "Updates of the weights.",
    "Tokens": "Tokens to learn from, repeated ones too.",
    "Time": "Training time, such as 45m or 1h30m.",
}


class SettingsCard(Panel):
    """Everything that can be chosen before Start."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, pad=0)
        self._presenter, self._desk = presenter, desk
        self.configure(padding=(px(16), px(14), px(6), px(6)))
        head = Box(self)
        head.pack(fill="x", padx=(0, px(10)))
        label(head, "Model and run", "h2").pack(side="left")
        self._auto = button(
            head, "Auto-Select", "magic", small=True, tip=AUTO_TIP, command=self._press_auto
        )
        self._auto.pack(side="right")
        self._strip = Strip(self)
        self._form = Box(self)
        self._form.pack(fill="both", expand=True)
        self._presets = Presets(self._form, presenter)
        self._presets.pack(fill="x", pady=(px(10), px(6)), padx=(0, px(10)))
        scroll = Scroll(self._form)
        scroll.pack(fill="both", expand=True)
        self.sections = {part.id: FormPart(scroll, presenter, part) for part in fieldset.SECTIONS}
        for part in self.sections.values():
            part.pack(fill="x")
        Box(scroll, "line", height=px(1)).pack(fill="x")
        self._advanced = check(
            scroll, "Show advanced settings", on_change=presenter.set_advanced,
            tip="Settings that are rarely changed, in every section",
        )  # fmt: skip
        self._advanced.pack(anchor="w", pady=px(8))
        self._advice = AdvicePanel(self, presenter)

    def flush(self) -> None:
        """Take in what is being typed."""
        for part in self.sections.values():
            part.flush()

    def focus_first(self) -> None:
        """Give the focus to the first choice."""
        self._presets.group.focus_set()

    def _press_auto(self) -> None:
        if self._presenter.store.state.advice.status == "busy":
            self._presenter.measuring.cancel_advice()
        else:
            self._presenter.auto_select()

    def render(self, old: State | None, new: State) -> None:
        """Show what differs."""
        if old is None or old.preset != new.preset or old.form.locked != new.form.locked:
            self._presets.render(new.preset, new.form.locked)
        if old is None or old.form != new.form or old.sections != new.sections:
            for part in self.sections.values():
                part.render(new.form, part.id in new.sections)
            self._advanced.set_value(new.form.is_advanced)
        if old is None or old.advice != new.advice:
            self._show_advice(old, new.advice)
        self._show_auto(new)
        self._show_strip(new)

    def _show_auto(self, new: State) -> None:
        if new.advice.status == "busy":
            set_button(self._auto, "Stop", "stop-fill")
            tooltip(self._auto, "Stop measuring; nothing is changed")
            enable(self._auto, True)
        else:
            set_button(self._auto, "Auto-Select", "magic")
            tooltip(self._auto, AUTO_TIP)
            why = self._presenter.measuring.why_not_advise()
            enable(self._auto, not why, why)

    def _show_advice(self, old: State | None, new: AdviceState) -> None:
        is_shown = new.status in {"busy", "ready", "failed"}
        was_shown = old is not None and old.advice.status in {"busy", "ready", "failed"}
        self._advice.render(new)
        if is_shown and not was_shown:
            self._form.pack_forget()
            self._advice.pack(fill="both", expand=True, padx=(0, px(10)), pady=(px(10), px(8)))
        elif not is_shown:
            self._advice.pack_forget()
            self._form.pack(fill="both", expand=True)
        if new.status == "ready":
            self._advice.focus_first()

    def _show_strip(self, new: State) -> None:
        """One line above the form: Undo of Auto-Select, or what a run locks."""
        presenter = self._presenter
        if new.advice.status == "applied":
            self._strip.show(
                "Auto-Select is applied.", "accent", "Undo", presenter.measuring.undo_advice,
                "Bring back the settings from before",
            )  # fmt: skip
        elif new.go.is_queue and not new.form.locked_live:
            if new.form.is_next:
                self._strip.show(
                    "These are for the next run.", "accent", "Done", lambda: presenter.plan_next(False),
                    "Lock the settings again",
                )  # fmt: skip
            else:
                self._strip.show(
                    "A run is on with its own copy of these.", "muted", "Set up next run",
                    lambda: presenter.plan_next(True),
                    "Unlock the settings for a run that waits until this one is done",
                )  # fmt: skip
        else:
            self._strip.pack_forget()
            return
        self._strip.pack(fill="x", padx=(0, px(10)), pady=(px(10), 0), before=self._below())

    def _below(self) -> tk.Misc:
        return self._form if self._form.winfo_manager() else self._advice


class Strip(Panel):
    """A line with words and one link."""

    def __init__(self, master: tk.Misc) -> None:
        super().__init__(master, fill="raised", pad=0, r=6, border="raised")
        self.configure(padding=(px(10), px(2), px(4), px(2)))
        self._action: Callable[[], object] = lambda: None
        self._link = button(self, "Undo", kind="link", small=True, command=self._act)
        self._link.pack(side="right")
        self._words = Elided(self, "", "caption", "fg2")
        self._words.pack(side="left", fill="x", expand=True)

    def _act(self) -> None:
        self._action()

    def show(
        self, words: str, tone: str, link: str, action: Callable[[], object], tip: str
    ) -> None:
        """Say something and offer one thing to do."""
        self._action = action
        self._words.set_text(words)
        set_button(self._link, link)
        tooltip(self._link, tip)


class Presets(Box):
    """Chooser of presets, and the one knob."""

    def __init__(self, master: tk.Misc, presenter: Presenter) -> None:
        super().__init__(master)
        self._presenter = presenter
        row = Box(self)
        row.pack(fill="x")
        self.group = combo(
            row, list(GROUPS), width=12, on_change=presenter.choose_group,
            tip="What you know: the goal, the memory of the card, the amount of text, or the size",
        )  # fmt: skip
        self.group.pack(side="left")
        self._preset = combo(row, [], width=16, on_change=presenter.choose_preset)
        self._preset.pack(side="left", fill="x", expand=True, padx=(px(8), 0))
        knob = Box(self)
        knob.pack(fill="x", pady=(px(8), 0))
        label(knob, "Size", "body", "fg2").pack(side="left")
        self._value = label(knob, "-", "strong", width=8, anchor="e")
        self._value.pack(side="right")
        self._slider = slider(
            knob, 0, 1, 0, on_change=lambda rung: presenter.set_size(round(rung)), step=1,
            tip="One knob for the size: sets width, layers and heads together and leaves the batch "
            "open. It ends at what fits this machine.",
        )  # fmt: skip
        self._slider.pack(side="left", fill="x", expand=True, padx=(px(10), px(4)))

    def render(self, new: PresetState, locked: str) -> None:
        """Show the choice."""
        self.group.set_value(new.group)
        self._preset.set_values(new.labels)
        self._preset.set_value(new.label)
        tooltip(self._preset, f"Shape and recipe from a table.\n{new.tip}")
        last = max(1, new.n_rungs - 1)
        if self._slider.hi != last:
            self._slider.hi = last
            self._slider.configure(to=last)
        self._slider.set_value(new.rung)
        self._value.configure(text=new.size)
        for control in (self._preset, self._slider):
            enable(control, not locked, locked)


class NamedForm(Form):
    """A form that knows its fields."""

    def __init__(
        self,
        master: tk.Misc,
        section: type,
        names: tuple[str, ...],
        on_edit: Callable[[str, str], object],
    ) -> None:
        self.names = names
        super().__init__(master, section, names, on_edit)


class FormPart(Section):
    """A section of the form; its fields are made when it is first opened."""

    def __init__(self, master: tk.Misc, presenter: Presenter, part: FormSection) -> None:
        self.id, self._part, self._presenter = part.id, part, presenter
        self._forms: list[tuple[NamedForm, bool, bool]] = []  # form, is_live, is_advanced
        self._budget: Budget | None = None
        self._is_built = False
        super().__init__(
            master, part.title, is_open=False,
            on_toggle=lambda is_on: presenter.toggle_section(part.id, is_on),
        )  # fmt: skip

    def render(self, new: FormState, is_open: bool) -> None:
        """Show values, and what a shut section says."""
        self.set_summary(self._words(new))
        if is_open != self.is_open:
            self.toggle()
        if not is_open:
            return
        self._build()
        if self._budget:
            self._budget.render(new)
        for form, is_live, is_advanced in self._forms:
            if not is_advanced or new.is_advanced or self._has_error(form, new):
                form.render(
                    new.texts, new.errors, new.notes, new.locked_live if is_live else new.locked
                )
                if not form.winfo_manager():
                    form.pack(fill="x", padx=(px(19), 0), after=self._before(form))
            else:
                form.pack_forget()

    def flush(self) -> None:
        """Take in what is being typed."""
        for form, _, _ in self._forms:
            form.flush()
        if self._budget:
            self._budget.flush()

    def _words(self, new: FormState) -> str:
        wrong = [name for name in new.errors if fieldset.SECTION_OF[name] == self.id]
        if self.id == "training" and new.budget_error:
            wrong.append("budget")
        return "needs a look" if wrong else new.summaries.get(self.id, "")

    def _has_error(self, form: NamedForm, new: FormState) -> bool:
        return any(name in new.errors for name in form.names)

    def _build(self) -> None:
        if self._is_built:
            return
        self._is_built = True
        self._top = Box(self.body, height=1)
        self._top.pack(fill="x")
        if self.id == "training":
            self._budget = Budget(self.body, self._presenter)
            self._budget.pack(fill="x", padx=(px(19), 0))
        for is_advanced in (False, True):
            for group in self._part.groups:
                names = fieldset.names_of(group, is_advanced=is_advanced)
                if names:
                    form = NamedForm(self.body, group.section, names, self._presenter.set_field)
                    self._forms.append((form, group.is_live, is_advanced))

    def _before(self, form: Form) -> tk.Misc:
        """The packed widget that ``form`` comes behind."""
        shown: tk.Misc = self._budget or self._top
        for other, _, _ in self._forms:
            if other is form:
                break
            if other.winfo_manager():
                shown = other
        return shown


class Budget(Box):
    """The limit that ends a run: its kind and its value."""

    def __init__(self, master: tk.Misc, presenter: Presenter) -> None:
        super().__init__(master)
        self._presenter, self._timer, self._told = presenter, "", ""
        breadth = skin().breadth
        self.columnconfigure(0, minsize=px(LABEL_WIDTH * breadth))
        self.columnconfigure(1, weight=1)
        self.columnconfigure(2, minsize=px(UNIT_WIDTH * breadth))
        label(self, "Train until", "body", "fg2").grid(
            row=0, column=0, sticky="w", padx=(0, px(10))
        )
        self._kind = combo(
            self, list(fieldset.BUDGETS), width=10, on_change=presenter.set_budget_kind,
            tip="The limit that ends the run",
        )  # fmt: skip
        self._kind.grid(row=0, column=1, sticky="ew", pady=px(3))
        self._value = entry(self, width=10, on_change=lambda text: self._typed())
        for event in ("<FocusOut>", "<Return>", "<KP_Enter>"):
            self._value.bind(event, lambda event: self.flush(), "+")
        self._beneath = label(self, "", "caption", "muted", justify="left", wraplength=px(200))

    def destroy(self) -> None:
        """Take what was typed, then go."""
        self.flush()
        super().destroy()

    def _typed(self) -> None:
        self._stop_timer()
        self._timer = self.after(400, self.flush)

    def _stop_timer(self) -> None:
        if self._timer:
            self.after_cancel(self._timer)
            self._timer = ""

    def flush(self) -> None:
        """Take in what is being typed."""
        self._stop_timer()
        text = self._value.get_value().strip()
        if text != self._told:
            self._told = text
            self._presenter.set_budget(text)

    def render(self, new: FormState) -> None:
        """Show kind and value."""
        self._kind.set_value(new.budget)
        tooltip(self._kind, f"The limit that ends the run.\n{BUDGET_TIPS[new.budget]}")
        if not self._timer:
            self._told = new.budget_text
            self._value.set_value(new.budget_text)
        tooltip(self._value, BUDGET_TIPS[new.budget])
        self._value.state(["invalid" if new.budget_error else "!invalid"])
        for control in (self._kind, self._value):
            enable(control, not new.locked, new.locked)
        if new.budget == "Automatic":
            self._value.grid_remove()
        else:
            self._value.grid(row=1, column=1, sticky="ew", pady=(0, px(3)))
        words = new.budget_error or new.budget_note
        if words:
            kit.retone(self._beneath, "caption", "bad" if new.budget_error else "muted")
            self._beneath.configure(text=words)
            self._beneath.grid(row=2, column=1, columnspan=2, sticky="w", pady=(0, px(4)))
        else:
            self._beneath.grid_remove()


class AdvicePanel(Box):
    """What Auto-Select does, then what it proposes and why."""

    def __init__(self, master: tk.Misc, presenter: Presenter) -> None:
        super().__init__(master)
        self._presenter = presenter
        self._row = Box(self)
        self._row.pack(side="bottom", fill="x", pady=(px(10), 0))
        self._apply = button(
            self._row, "Apply", "check-lg", "primary", command=presenter.apply_advice,
            tip="Take these settings over; Undo brings the old ones back",
        )  # fmt: skip
        self._keep = button(
            self._row, "Keep mine", kind="ghost", command=presenter.measuring.dismiss_advice,
            tip="Change nothing",
        )  # fmt: skip
        self._again = button(
            self._row, "Try again", "arrow-clockwise", command=presenter.auto_select,
            tip="Measure once more",
        )  # fmt: skip
        self._panel, self._text = kit.pane(self, 6, read_only=True, padx=px(12))
        tooltip(self._text, "What Auto-Select found")
        self._panel.pack(fill="both", expand=True)
        self._text.tag_configure("space", spacing1=px(8))
        self._text.tag_configure(
            "reason", foreground=skin().p.muted, font="caption", spacing3=px(2)
        )
        self._text.tag_configure("old", foreground=skin().p.muted, font="caption")
        self._text.tag_configure("warned", foreground=skin().ink("warn"), spacing1=px(8))

    def focus_first(self) -> None:
        """Give the focus to Apply."""
        self._apply.focus_set()

    def render(self, new: AdviceState) -> None:
        """Show how far it is."""
        for control in (self._apply, self._keep, self._again):
            control.pack_forget()
        if new.status == "ready":
            self._apply.pack(side="left", fill="x", expand=True)
            self._keep.pack(side="left", padx=(px(8), 0))
        elif new.status == "failed":
            self._again.pack(side="left")
            self._keep.pack(side="left", padx=(px(8), 0))
        self._text.configure(state="normal")
        self._text.delete("1.0", "end")
        if new.status == "busy":
            self._text.insert("end", "Measuring\n", "strong")
            self._text.insert("end", f"{new.words}\n", "reason")
            self._text.insert(
                "end", "\nThis takes about ten seconds. Nothing is changed.", "reason"
            )
        elif new.status == "failed":
            self._text.insert("end", "Auto-Select could not measure\n", ("strong", "bad"))
            self._text.insert("end", new.words, "fg2")
        else:
            self._say_proposal(new)
        self._text.configure(state="disabled")

    def _say_proposal(self, new: AdviceState) -> None:
        self._text.insert("end", new.summary)
        for warning in new.warnings:
            self._text.insert("end", f"\n{warning}", "warned")
        for change in new.changes:
            self._text.insert("end", f"\n{change.words}", ("strong", "space"))
            before = f"   now {change.before}" if change.before else "   as it is"
            self._text.insert("end", before, "old")
            self._text.insert("end", f"\n{change.reason}", "reason")

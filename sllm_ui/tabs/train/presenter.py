"""What the Train tab shows and does: settings, forecast, start. No widgets.

Its parts have a class each: `measuring` (Auto-Select, trial step), `resuming`, `watching` (the run).
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sllm_core import fields, fmt, presets
from sllm_core import messages as m
from sllm_core.errors import ConfigError
from sllm_ui.bus import Store
from sllm_ui.events import (
    Answered,
    ConfigChanged,
    DataChanged,
    ProjectChanged,
    RunChanged,
    RunsChanged,
    VitalsChanged,
)
from sllm_ui.session import Session
from sllm_ui.tabs.train import fieldset, forecast, outlook, shapes
from sllm_ui.tabs.train.fieldset import Draft
from sllm_ui.tabs.train.forecast import Forecast, Machine
from sllm_ui.tabs.train.measuring import Measuring
from sllm_ui.tabs.train.resuming import Resuming
from sllm_ui.tabs.train.state import FormState, GoState, PresetState, ResumeState, State
from sllm_ui.tabs.train.watching import Watching

DOUBLE_S = 1.5  # a second press on Start so soon is a double click, not a wish for a second run
ON_A_RUN = "A run is on. Set up next run unlocks what counts for another one."


class Presenter:
    """Turns what a person does on the tab into calls of the session, and its events into a state."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.store = Store(State(sections=session.settings.values.sections))
        self.settle: Callable[[], None] = lambda: None  # a view takes in what is being typed
        self.measuring = Measuring(session, self.store, self._refresh)
        self.resuming = Resuming(session, self.store)
        self.watching = Watching(session, self.store, self.resuming)
        self._forecast: Forecast | None = None
        self._drafts: dict[str, Draft] = {}
        self._budget_draft: tuple[str, Draft] | None = None  # (kind, what was typed)
        self._machine = Machine()
        self._started_at = -DOUBLE_S
        self._seen: tuple[object, ...] = ()
        bus = session.bus
        bus.subscribe(ProjectChanged, lambda _: self._on_project())
        bus.subscribe(ConfigChanged, lambda _: self._on_config())
        bus.subscribe(DataChanged, lambda _: self._refresh())
        bus.subscribe(RunsChanged, lambda _: self._refresh())
        bus.subscribe(VitalsChanged, lambda _: self._on_vitals())
        bus.subscribe(RunChanged, lambda _: self._on_run())
        bus.subscribe(Answered, self.measuring.on_answer)
        self._on_project()

    # -- what happened -----------------------------------------------------------------------------

    def _on_project(self) -> None:
        self._forget_drafts()
        self._seen = ()
        self.measuring.reset()
        group = self.store.state.preset.group
        for preset in presets.PRESETS:
            if preset.name == self.session.config.preset:
                group = next(g for g, kind in outlook.GROUPS.items() if kind == preset.group)
        empty = State()
        self.store.update(
            is_open=self.session.project is not None, advice=empty.advice, probe=empty.probe,
            resume=ResumeState(), form=replace(self.store.state.form, is_next=False),
            preset=replace(empty.preset, group=group),
        )  # fmt: skip
        self._refresh()

    def _on_config(self) -> None:
        self.measuring.on_config()
        self._refresh()

    def _on_vitals(self) -> None:
        if self._look() != self._machine:
            self._refresh()

    def _on_run(self) -> None:
        """Now for what a person waits for, else with the next tick: messages come by hundreds."""
        run = self.session.run
        job = self.session.data_job
        is_on_data = job is not None and job.is_live
        seen = (run and (run.id, run.state), is_on_data)
        news = (run.current, len(run.samples), run.validation) if run else ()
        old, self._seen = self._seen, (seen, news)
        if old[:1] != (seen,):
            if self.session.is_training:  # begun here, in the run bar or on another tab
                self.measuring.give_way()
            if not self.session.is_training and self.store.state.form.is_next:
                self._change_form(is_next=False)
            self._refresh()
        elif old[1:] != (news,):
            self.watching.show()

    def tick(self) -> None:
        """A few times a second while the tab is in view: the run's figures, an idle trial."""
        if self.watching.is_stale():
            self.watching.show()
        if not self._drafts:
            self.measuring.measure_when_idle()

    def _refresh(self) -> None:
        """All of the page anew from the session."""
        session = self.session
        self._machine = self._look()
        text = forecast.expected_text(session.config, session.facts, is_locked=self._is_locked)
        f = forecast.make_forecast(session.config, text, self._machine, None)
        probed = self.measuring.look_up(f)
        if probed is not None:
            f = forecast.make_forecast(session.config, text, self._machine, probed)
        self._forecast = f
        self.measuring.follow(f)
        self.store.update(
            form=self._form(f), preset=self._preset(f), outlook=outlook.outlook(f), go=self._go(f),
            probe=self.measuring.probe(), resume=self.resuming.state(), intro=self._intro(f),
            run=self.watching.state(),
        )  # fmt: skip

    @property
    def _is_locked(self) -> bool:
        """Whether checkpoints hold on to the tokenizer."""
        return bool(self.session.archive.checkpoints)

    def _look(self) -> Machine:
        """The machine in steps of a hundredth, so that small changes do not redraw the page."""
        vitals, is_on = self.session.vitals, self.session.is_training
        own = (vitals.app_ram_bytes or 0) if vitals and is_on else 0
        new = forecast.look_at(self.session.config, vitals, own)
        if new.device == "cuda" and is_on and self._machine.device == "cuda":
            new = replace(new, free_bytes=self._machine.free_bytes)
        if new.free_bytes is not None and new.total_bytes:
            grain = max(1, new.total_bytes // 100)
            new = replace(new, free_bytes=new.free_bytes // grain * grain)
        if new.disk_free_bytes is not None:
            new = replace(new, disk_free_bytes=new.disk_free_bytes >> 28 << 28)
        return new

    # -- settings --------------------------------------------------------------------------------

    def set_field(self, name: str, text: str) -> None:
        """Take over what was typed or chosen; what is no value stays in its field with the reason."""
        form = self.store.state.form
        if form.locked_live if name in m.LIVE else form.locked:
            return
        values, self._drafts = fieldset.edit(self.session.config, self._drafts, name, text)
        if values:
            self._tell_run(values)
        self._change(values)

    def _change(self, values: dict[str, Any]) -> None:
        """Store values; the page is shown anew once, whether they were new or not."""
        before = self.session.config
        self.session.change(values)
        if self.session.config is before:
            self._refresh()

    def _tell_run(self, values: dict[str, Any]) -> None:
        live = {name: v for name, v in values.items() if name in m.LIVE and v is not None}
        if live and self.session.is_training and not self.store.state.form.is_next:
            self.session.work.change_live(live)

    def set_budget_kind(self, kind: str) -> None:
        """Choose the limit that counts; it gets a sensible value."""
        if self.store.state.form.locked or kind not in fieldset.BUDGETS:
            return
        self._budget_draft = None
        values: dict[str, Any] = {}
        if kind != fieldset.budget_of(self.session.config)[0]:
            value = fieldset.first_budget(kind, self._forecast)
            values = fieldset.budget_values(self.session.config, kind, value)
        self._change(values)

    def set_budget(self, text: str) -> None:
        """The value of the limit."""
        kind, config = self.store.state.form.budget, self.session.config
        if self.store.state.form.locked or kind == "Automatic":
            return
        try:
            value = fieldset.parse_budget(kind, text)
            values = fieldset.budget_values(config, kind, value)
        except ConfigError as problem:
            self._budget_draft = (kind, Draft(text, fields.short(problem)))
            self._refresh()
        else:
            self._budget_draft = None
            self._change(values)

    def toggle_section(self, name: str, is_on: bool) -> None:
        """Open or shut a section, and remember it."""
        rest = tuple(section for section in self.store.state.sections if section != name)
        new = (*rest, name) if is_on else rest
        self.session.settings.change(sections=new)
        self.store.update(sections=new)

    def set_advanced(self, is_on: bool) -> None:
        """Show the rarely needed settings too."""
        self._change_form(is_advanced=is_on)

    def plan_next(self, is_on: bool) -> None:
        """Unlock the form for the run after the one that is on."""
        self._change_form(is_next=is_on)
        self._refresh()

    def _forget_drafts(self) -> None:
        self._drafts, self._budget_draft = {}, None

    def _change_form(self, **changes: Any) -> None:
        self.store.update(form=replace(self.store.state.form, **changes))

    def _form(self, f: Forecast) -> FormState:
        config, form = self.session.config, self.store.state.form
        holder = self.session.why_read_only()
        is_on = self.session.is_training and not form.is_next
        kind, text, note = fieldset.budget_of(config)
        error = ""
        if self._budget_draft:
            kind, draft = self._budget_draft
            text, error = draft.text, draft.reason
        drafts = {name: draft.text for name, draft in self._drafts.items()}
        return replace(
            form,
            texts={**fieldset.texts_of(config), **drafts},
            errors={name: draft.reason for name, draft in self._drafts.items()},
            notes=fieldset.notes_of(config, f),
            summaries=fieldset.summaries_of(config, f),
            locked=holder or (ON_A_RUN if is_on else ""),
            locked_live=holder,
            budget=kind,
            budget_text=text,
            budget_error=error,
            budget_note=note,
        )

    # -- presets and size --------------------------------------------------------------------------

    def choose_group(self, group: str) -> None:
        """Presets by goal, GPU memory, dataset or size."""
        if group in outlook.GROUPS and self._forecast:
            self.store.update(preset=replace(self.store.state.preset, group=group))
            self.store.update(preset=self._preset(self._forecast))

    def choose_preset(self, label: str) -> None:
        """Take over shape and recipe of the preset with this label."""
        name = next((name for name, shown in self._labels() if shown == label), "")
        if name and not self.store.state.form.locked:
            self._forget_drafts()
            self.session.choose_preset(name)
        self._refresh()

    def set_size(self, rung: int) -> None:
        """The one knob: a position of the slider."""
        if self._forecast is None or self.store.state.form.locked:
            return
        rungs = self._rungs(self._forecast)
        self._forget_drafts()
        self._change(rungs[max(0, min(rung, len(rungs) - 1))].values())

    def _labels(self) -> tuple[tuple[str, str], ...]:
        session, group = self.session, self.store.state.preset.group
        return outlook.preset_labels(
            group, session.config, session.facts, is_locked=self._is_locked
        )

    def _rungs(self, f: Forecast) -> tuple[shapes.Shape, ...]:
        """The sizes that fit this machine."""
        model, room = self.session.config.model, f.machine.free_bytes
        rungs = shapes.ladder(model, f.text.vocab_size)
        if room is None:
            return rungs
        shape = replace(model, vocab_size=f.text.vocab_size)
        is_half, most = f.machine.device == "cuda", int(forecast.MEMORY_SHARE * room)
        return rungs[: shapes.count_fitting(rungs, shape, f.train, most, is_half)]

    def _preset(self, f: Forecast) -> PresetState:
        pairs, rungs = self._labels(), self._rungs(f)
        used = outlook.preset_in_use(self.session.config)
        label = next((label for name, label in pairs if used and name == used.name), "")
        return PresetState(
            group=self.store.state.preset.group,
            labels=tuple(label for _, label in pairs),
            label=label or (used.name if used else outlook.OWN),
            tip=outlook.preset_tip(used),
            n_rungs=len(rungs),
            rung=shapes.nearest_rung(rungs, f.parameters.total),
            size=fmt.count(f.parameters.total),
        )

    # -- Auto-Select -------------------------------------------------------------------------------

    def auto_select(self) -> None:
        """Measure this machine and this data, and propose settings."""
        self.settle()
        self.measuring.auto_select()

    def apply_advice(self) -> None:
        """Take the proposal over."""
        if self.measuring.apply_advice():
            self._forget_drafts()
            self._refresh()

    # -- start and resume --------------------------------------------------------------------------

    def why_not_start(self) -> str:
        """Why no run can start with these settings; '' when it can."""
        self.settle()
        return self.session.why_not_start() or self._why_not_settings()

    def _why_not_settings(self) -> str:
        for name, draft in self._drafts.items():
            return f"{fieldset.label_of(name)}: {draft.reason}"
        if self._budget_draft:
            kind, draft = self._budget_draft
            return f"{kind}: {draft.reason}"
        for why in self.session.now.blockers.values():
            return why
        return forecast.why_not(self._forecast) if self._forecast else ""

    def _go(self, f: Forecast) -> GoState:
        session = self.session
        if session.is_training:
            why = session.why_read_only() or self._why_not_settings()
            return GoState("Queue", True, why)
        why = session.why_not_start() or self._why_not_settings()
        is_risky = not why and f.fit == "no"
        hint = "It may not fit into the memory that is free now." if is_risky else ""
        return GoState("Start training", False, why, hint)

    def start(self) -> bool:
        """Start a run, or queue one while another is on."""
        self.settle()
        if self.session.is_training:
            if self.store.state.go.why or time.monotonic() - self._started_at < DOUBLE_S:
                return False
            self.session.work.enqueue()
            self.plan_next(False)
            return True
        if why := self.why_not_start():
            self.session.notify("warn", "Training cannot start", why)
            return False
        self._started_at = time.monotonic()
        return self.session.work.start_training()

    def resume(self) -> bool:
        """Go on with the last run."""
        return self.resuming.resume()

    def resume_chosen(self) -> bool:
        """Go on from the checkpoint that is chosen in the list."""
        return self.resuming.resume_chosen()

    # -- before the first run ------------------------------------------------------------------------

    def _intro(self, f: Forecast) -> tuple[tuple[str, str], ...]:
        """Three steps of what will happen, with this project's numbers."""
        facts = self.session.facts
        files = "your files"
        if facts.used:
            files = f"{facts.used:,} files with {fmt.size(facts.text_bytes)} of text"
        size = fmt.count(f.parameters.total)
        return (
            (
                "It reads",
                f"Start reads {files} and turns them into tokens. Later runs do this only where "
                "something has changed.",
            ),
            (
                "It learns",
                f"A model of {size} parameters learns to guess the next token. You see its loss "
                "fall, and what it writes, while it learns.",
            ),
            (
                "You try it",
                "Pause at any time and write with it on the Test tab. Checkpoints are kept, so "
                "nothing is lost when you stop.",
            ),
        )

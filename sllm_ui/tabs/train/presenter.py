"""What the Train tab shows and does: settings, forecast, start and resume, the run. No widgets."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sllm_core import config as configs
from sllm_core import fmt, presets
from sllm_core import messages as m
from sllm_core.errors import ConfigError
from sllm_ui.bus import Store
from sllm_ui.runstate import LogLine, RunState
from sllm_ui.session import (
    Answered,
    ConfigChanged,
    DataChanged,
    ProjectChanged,
    RunChanged,
    RunsChanged,
    Session,
    VitalsChanged,
)
from sllm_ui.tabs.train import fieldset, forecast, outlook, shapes, watch
from sllm_ui.tabs.train.fieldset import Draft
from sllm_ui.tabs.train.forecast import Forecast, Machine
from sllm_ui.tabs.train.state import (
    CHARTS,
    PLANNED,
    AdviceState,
    CheckpointText,
    FormState,
    GoState,
    PresetState,
    ProbeState,
    RunView,
    State,
)

SETTLED_S = 2.5  # after the last change a trial step may be made unasked
MEASURED = 64  # trials that are remembered
ON_A_RUN = "A run is on with these settings. Set up next run unlocks them for another one."


class Presenter:
    """Turns what a person does on the tab into calls of the session, and its events into a state."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.store = Store(State(sections=session.settings.values.sections))
        self.forecast: Forecast | None = None
        self.settle: Callable[[], None] = lambda: None  # a view takes in what is being typed
        self._drafts: dict[str, Draft] = {}
        self._budget_draft: tuple[str, Draft] | None = None  # (kind, what was typed)
        self._machine = Machine()
        self._measured: dict[str, m.Probed] = {}
        self._refused: dict[str, str] = {}  # trials that failed, and why
        self._pending = (0, "", "")  # request, auto or probe, key of the trial
        self._changed_at = time.monotonic()
        self._before: configs.ProjectConfig | None = None  # Auto-Select was applied to it
        self._applied: configs.ProjectConfig | None = None
        self._proposal: m.Proposal | None = None
        self._sample_step: int | None = None  # None follows the newest
        self._samples: tuple[watch.SampleText, ...] = ()
        self._seen: tuple[object, ...] = ()
        bus = session.bus
        bus.subscribe(ProjectChanged, lambda _: self._on_project())
        bus.subscribe(ConfigChanged, lambda _: self._on_config())
        bus.subscribe(DataChanged, lambda _: self._refresh())
        bus.subscribe(VitalsChanged, lambda _: self._on_vitals())
        bus.subscribe(RunChanged, lambda _: self._on_run())
        bus.subscribe(RunsChanged, lambda _: self._refresh())
        bus.subscribe(Answered, self._on_answer)
        self._on_project()

    # -- what happened -----------------------------------------------------------------------------

    def _on_project(self) -> None:
        self._drafts, self._budget_draft, self._proposal = {}, None, None
        self._before = self._applied = None
        self._pending, self._sample_step, self._seen = (0, "", ""), None, ()
        self._measured, self._refused = {}, {}
        state = State(sections=self.session.settings.values.sections)
        group = self.store.state.preset.group
        used = next((p for p in presets.PRESETS if p.name == self.session.config.preset), None)
        if used:
            group = next(name for name, kind in outlook.GROUPS.items() if kind == used.group)
        self.store.update(
            advice=state.advice, probe=state.probe, go=state.go, form=FormState(),
            preset=PresetState(group=group), is_open=self.session.project is not None,
        )  # fmt: skip
        self._refresh()

    def _on_config(self) -> None:
        if self.session.config != self._applied and self.store.state.advice.status == "applied":
            self.store.update(advice=AdviceState())
        self._refresh()

    def _on_vitals(self) -> None:
        if self._look() != self._machine:
            self._refresh(is_change=False)

    def _on_run(self) -> None:
        """Now for what a person waits for, else with the next tick: messages come by hundreds."""
        run = self.session.run
        seen = (run.id, run.state, run.current, len(run.samples), run.validation) if run else ()
        if seen == self._seen:
            return
        had = self._seen[:2]
        self._seen = seen
        if had != seen[:2]:
            if had[:1] != seen[:1]:
                self._sample_step = None
            if not self.session.is_training and self.store.state.form.is_next:
                self._change_form(is_next=False)
            self._refresh(is_change=False)
        else:
            self._show_run()

    def tick(self) -> None:
        """A few times a second while the tab is in view: the run's figures, and an idle trial."""
        run, shown = self.session.run, self.store.state.run
        if run is not None and (run.is_live or shown is None or shown.version != run.version):
            self._show_run()
        if time.monotonic() - self._changed_at > SETTLED_S and self._may_probe_unasked():
            self.measure()

    def _refresh(self, *, is_change: bool = True) -> None:
        """All of the page anew from the session."""
        if is_change:
            self._changed_at = time.monotonic()
        session = self.session
        self._machine = self._look()
        text = forecast.expected_text(session.config, session.facts, is_locked=self._is_locked)
        probed = self._measured.get(self._probe_key(text))
        self.forecast = forecast.make_forecast(session.config, text, self._machine, probed)
        self._show_form()
        self._show_presets()
        self._show_probe()
        self.store.update(outlook=outlook.outlook(self.forecast), intro=self._intro())
        self._show_go()
        self._show_run()

    # -- settings --------------------------------------------------------------------------------

    def set_field(self, name: str, text: str) -> None:
        """Take over what was typed or chosen; what is no value stays in its field with the reason."""
        if self._why_locked(name):
            return
        values, self._drafts = fieldset.edit(self.session.config, self._drafts, name, text)
        if values:
            self._tell_run(values)
            self.session.change(values)
        self._refresh()

    def _tell_run(self, values: dict[str, Any]) -> None:
        live = {n: v for n, v in values.items() if n in m.LIVE and v is not None}
        if live and self.session.is_training and not self.store.state.form.is_next:
            self.session.change_live(live)

    def set_budget_kind(self, kind: str) -> None:
        """Choose the limit that counts; it gets a sensible value."""
        if self.store.state.form.locked or kind not in fieldset.BUDGETS:
            return
        self._budget_draft = None
        value = fieldset.first_budget(kind, self.forecast)
        if kind != fieldset.budget_of(self.session.config)[0]:
            self.session.change(fieldset.budget_values(self.session.config, kind, value))
        self._refresh()

    def set_budget(self, text: str) -> None:
        """The value of the limit."""
        kind = self.store.state.form.budget
        if self.store.state.form.locked or kind == "Automatic":
            return
        try:
            values = fieldset.budget_values(
                self.session.config, kind, fieldset.parse_budget(kind, text)
            )
        except ConfigError as problem:
            self._budget_draft = (kind, Draft(text, fieldset.short(problem)))
        else:
            self._budget_draft = None
            self.session.change(values)
        self._refresh()

    def choose_group(self, group: str) -> None:
        """Presets by goal, GPU memory, dataset or size."""
        self.store.update(preset=replace(self.store.state.preset, group=group))
        self._show_presets()

    def choose_preset(self, label: str) -> None:
        """Take over shape and recipe of the preset with this label."""
        state = self.store.state
        names = dict(zip(state.preset.labels, self._preset_names(), strict=True))
        if label in names and not state.form.locked:
            self._forget_drafts()
            self.session.choose_preset(names[label])
        self._show_presets()

    def set_size(self, rung: int) -> None:
        """The one knob: a position of the slider."""
        if self.store.state.form.locked:
            return
        shape = self._rungs()[max(0, min(rung, len(self._rungs()) - 1))]
        self._forget_drafts()
        self.session.change(shape.values())
        self._refresh()

    def toggle_section(self, name: str, is_on: bool) -> None:
        """Open or shut a section, and remember it."""
        old = self.store.state.sections
        new = (
            (*old, name)
            if is_on and name not in old
            else tuple(s for s in old if s != name or is_on)
        )
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

    def _why_locked(self, name: str) -> str:
        form = self.store.state.form
        return form.locked_live if name in m.LIVE else form.locked

    def _show_form(self) -> None:
        assert self.forecast
        session, form = self.session, self.store.state.form
        holder = session.why_read_only()
        is_on = session.is_training and not form.is_next
        kind, text, note = fieldset.budget_of(session.config)
        error = ""
        if self._budget_draft:
            kind, draft = self._budget_draft
            text, error = draft.text, draft.reason
        drafts = {name: draft.text for name, draft in self._drafts.items()}
        self._change_form(
            texts={**fieldset.texts_of(session.config), **drafts},
            errors={name: draft.reason for name, draft in self._drafts.items()},
            notes=fieldset.notes_of(session.config, self.forecast),
            summaries=fieldset.summaries_of(session.config, self.forecast),
            locked=holder or (ON_A_RUN if is_on else ""),
            locked_live=holder,
            budget=kind, budget_text=text, budget_error=error, budget_note=note,
        )  # fmt: skip

    # -- presets and size --------------------------------------------------------------------------

    def _labels(self) -> tuple[tuple[str, str], ...]:
        session, group = self.session, self.store.state.preset.group
        return outlook.preset_labels(
            group, session.config, session.facts, is_locked=self._is_locked
        )

    def _preset_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._labels())

    def _rungs(self) -> tuple[shapes.Shape, ...]:
        assert self.forecast
        f, model = self.forecast, self.session.config.model
        rungs = shapes.ladder(model, f.text.vocab_size)
        room = self._machine.free_bytes
        if room is None:
            return rungs
        shape = replace(model, vocab_size=f.text.vocab_size)
        is_half = self._machine.device == "cuda"
        n = shapes.count_fitting(rungs, shape, f.train, int(forecast.MEMORY_SHARE * room), is_half)
        return rungs[:n]

    def _show_presets(self) -> None:
        assert self.forecast
        pairs = self._labels()
        used = outlook.preset_in_use(self.session.config)
        label = next((label for name, label in pairs if used and name == used.name), "")
        rungs, total = self._rungs(), self.forecast.parameters.total
        self.store.update(
            preset=PresetState(
                group=self.store.state.preset.group,
                labels=tuple(label for _, label in pairs),
                label=label or (used.name if used else outlook.OWN),
                tip=_preset_tip(used),
                n_rungs=len(rungs),
                rung=shapes.nearest_rung(rungs, total),
                size=fmt.count(total),
            )
        )

    @property
    def _is_locked(self) -> bool:
        """Whether checkpoints hold on to the tokenizer."""
        return bool(self.session.checkpoints)

    # -- Auto-Select -------------------------------------------------------------------------------

    def auto_select(self) -> None:
        """Measure this machine and this data, and propose settings."""
        why = self.why_not_advise()
        if why:
            self.session.notify("warn", "Auto-Select cannot start", why)
            return
        self.session.save_now_config()
        self._ask("auto", "")
        self._proposal = None
        self.store.update(advice=AdviceState("busy", "Looking at this computer and the text."))
        self._show_probe()

    def why_not_advise(self) -> str:
        """Why nothing can be measured now; '' when it can."""
        if why := self.session.why_read_only():
            return why
        if not any(source.is_on for source in self.session.config.sources):
            return "Add a folder with text on the Data tab first."
        if self.session.is_training:
            return "A run is on: the machine is busy with it."
        return "The data is being read." if self.session.is_on_data else ""

    def cancel_advice(self) -> None:
        """Stop measuring; nothing was changed."""
        self._cancel("auto")
        self.store.update(advice=AdviceState())
        self._show_probe()

    def apply_advice(self) -> None:
        """Take the proposal over; `undo_advice` brings the old settings back."""
        proposal, old = self._proposal, self.session.config
        if proposal is None or self.store.state.form.locked:
            return
        try:
            new = replace(configs.with_values(old, proposal.values), preset="")
        except ConfigError as problem:
            self.store.update(advice=AdviceState("failed", problem.text))
            return
        self._forget_drafts()
        self._before, self._applied = old, new
        self.store.update(advice=AdviceState("applied", summary=proposal.summary))
        self.session.replace_config(new)
        self._refresh()

    def dismiss_advice(self) -> None:
        """Keep the present settings."""
        self._proposal = None
        self.store.update(advice=AdviceState())

    def undo_advice(self) -> None:
        """The settings from before Auto-Select."""
        before, self._before = self._before, None
        if before is not None and not self.store.state.form.locked:
            self.store.update(advice=AdviceState())
            self.session.replace_config(before)
            self._refresh()

    # -- the trial step ------------------------------------------------------------------------------

    def measure(self) -> None:
        """Time a trial step of these settings."""
        if self.forecast is None or self.why_not_measure():
            return
        key = self._probe_key(self.forecast.text)
        self._refused.pop(key, None)
        train = self.session.config.train
        values = {
            name: fieldset.value_of(self.session.config, name)
            for name in (*fieldset.SHOWN, *fieldset.LIMITS)
        }
        tokens = self.forecast.text.train_tokens or 0
        self._ask("probe", key, values=values, train_tokens=tokens)
        words = "Trying one step" if not train.deterministic else "Trying one exact step"
        self.store.update(probe=ProbeState("busy", words))

    def cancel_measure(self) -> None:
        """Stop the trial."""
        key = self._pending[2]
        self._cancel("probe")
        self._refused[key] = "Stopped"
        self._show_probe()

    def why_not_measure(self) -> str:
        """Why no trial step can be made now; '' when it can."""
        if self.session.project is None:
            return "Open or make a project first."
        if self.session.is_training:
            return "A run is on: its speed would count for nothing."
        if self.session.is_on_data:
            return "The data is being read."
        return "Auto-Select is measuring." if self._pending[1] == "auto" else ""

    def _may_probe_unasked(self) -> bool:
        f = self.forecast
        if f is None or self._pending[0] or self.why_not_measure() or self.session.read_only:
            return False
        key = self._probe_key(f.text)
        is_known = key in self._measured or key in self._refused
        has_text = f.text.train_tokens is not None and bool(f.n_windows)
        return not is_known and has_text and not self._drafts and forecast.is_quick_to_probe(f)

    def _probe_key(self, text: forecast.Text) -> str:
        config = self.session.config
        batch = forecast.make_forecast(config, text, self._machine, None).train.batch_size
        return forecast.probe_key(config, text.vocab_size, batch or 1)

    def _ask(self, do: str, key: str, **body: Any) -> None:
        if self._pending[1] == "probe":  # the session ends it for the new question
            self._show_probe()
        self._pending = (self.session.advise(do=do, **body), do, key)

    def _cancel(self, do: str) -> None:
        if self._pending[1] == do:
            self.session.cancel("adviser", self._pending[0])
            self._pending = (0, "", "")

    def _on_answer(self, answer: Answered) -> None:
        if answer.source != "adviser" or not self._pending[0]:
            return
        message, (request, do, key) = answer.message, self._pending
        if isinstance(message, m.Log) and do == "auto":
            advice = AdviceState("busy", message.text)
            self.store.update(advice=advice)
        elif isinstance(message, m.Probed) and message.request == request:
            self._pending = (0, "", "")
            self._measured = dict(list(self._measured.items())[1 - MEASURED :]) | {key: message}
            self._refresh(is_change=False)
        elif isinstance(message, m.Proposal) and message.request == request:
            self._pending = (0, "", "")
            self._take_proposal(message)
        elif isinstance(message, m.Failed) and message.request in {0, request}:
            self._pending = (0, "", "")
            if do == "auto":
                self.store.update(advice=AdviceState("failed", message.text))
            else:
                self._refused[key] = message.text
            self._show_probe()

    def _take_proposal(self, proposal: m.Proposal) -> None:
        self._proposal = proposal
        changes = outlook.changes_of(self.session.config, proposal)
        self.store.update(
            advice=AdviceState(
                "ready", summary=proposal.summary, changes=changes, warnings=proposal.warnings
            )
        )
        self.session.refresh_data()  # it may have scanned
        self._show_probe()

    def _show_probe(self) -> None:
        why = self.why_not_measure()
        key = self._probe_key(self.forecast.text) if self.forecast else ""
        if self._pending[1] == "probe":
            probe = ProbeState("busy", "Trying one step")
        elif key in self._measured:
            probe = ProbeState("done", why_not=why)
        else:
            refused = self._refused.get(key, "")
            probe = ProbeState("failed" if refused else "", refused, why)
        self.store.update(probe=probe)

    def _look(self) -> Machine:
        """The machine in steps of a hundredth, so that small changes do not redraw the page."""
        vitals, own = self.session.vitals, 0
        if vitals and self.session.is_training:
            own = vitals.app_ram_bytes or 0
        new = forecast.look_at(self.session.config, vitals, own)
        if new.device == "cuda" and self.session.is_training:
            return replace(new, free_bytes=self._machine.free_bytes)
        if new.free_bytes is not None and new.total_bytes:
            grain = max(1, new.total_bytes // 100)
            new = replace(new, free_bytes=new.free_bytes // grain * grain)
        if new.disk_free_bytes is not None:
            new = replace(new, disk_free_bytes=new.disk_free_bytes >> 28 << 28)
        return new

    # -- start and resume ------------------------------------------------------------------------------

    def why_not_start(self) -> str:
        """Why no run can start with these settings; '' when it can."""
        self.settle()
        if why := self.session.why_not_start():
            return why
        return self._why_not_settings()

    def _why_not_settings(self) -> str:
        for name, draft in self._drafts.items():
            return f"{fieldset.label_of(name)}: {draft.reason}"
        if self._budget_draft:
            kind, draft = self._budget_draft
            return f"{kind}: {draft.reason}"
        return forecast.why_not(self.forecast) if self.forecast else ""

    def start(self) -> bool:
        """Start a run, or queue one while another is on."""
        self.settle()
        if self.session.is_training:
            if self._why_not_settings() or self.session.why_read_only():
                return False
            self.session.enqueue()
            self.plan_next(False)
            return True
        if why := self.why_not_start():
            self.session.notify("warn", "Training cannot start", why)
            return False
        self._drop_probe()
        return self.session.start_training()

    def resume(self) -> bool:
        """Go on with the last run from its newest checkpoint; a complete one asks for more first."""
        if self.session.run and self.session.run.state == "done":
            self.choose_checkpoint(True)
            return False
        self._drop_probe()
        return self.session.resume(self._last_run_id())

    def _drop_probe(self) -> None:
        """The machine is needed for the run."""
        self._cancel("probe")
        self._show_probe()

    def choose_checkpoint(self, is_on: bool) -> None:
        """Open or shut the list of checkpoints."""
        if not is_on:
            self._change_go(is_choosing=False)
            return
        run, limit, text = self.session.run, PLANNED, ""
        if run and run.state == "done" and run.total_steps:  # complete: it needs another limit
            limit, text = "Steps", str(2 * run.total_steps)
        self._change_go(is_choosing=True, chosen=0, limit=limit, limit_text=text, limit_error="")

    def select_checkpoint(self, row: int) -> None:
        """A row of the list."""
        self._change_go(chosen=row)

    def set_resume_limit(self, kind: str, text: str) -> None:
        """Another limit for the resumed run; as planned keeps its own."""
        error = ""
        if kind != PLANNED:
            text = text or fieldset.limit_text(kind, fieldset.first_budget(kind, self.forecast))
            try:
                fieldset.parse_budget(kind, text)
            except ConfigError as problem:
                error = fieldset.short(problem)
        self._change_go(limit=kind, limit_text=text, limit_error=error)

    def resume_chosen(self) -> bool:
        """Go on from the chosen checkpoint."""
        go = self.store.state.go
        if go.resume_why or go.limit_error or not 0 <= go.chosen < len(go.rows):
            return False
        changes: dict[str, Any] | None = None
        if go.limit != PLANNED:
            value = fieldset.parse_budget(go.limit, go.limit_text)
            changes = {**dict.fromkeys(fieldset.LIMITS), fieldset.BUDGETS[go.limit]: value}
        row = go.rows[go.chosen]
        self._drop_probe()
        self._change_go(is_choosing=False)
        return self.session.resume(row.run_id, row.file, changes)

    def _change_go(self, **changes: Any) -> None:
        self.store.update(go=replace(self.store.state.go, **changes))

    def _last_run_id(self) -> str:
        run = self.session.run
        if run is not None:
            return run.id
        return next((info.run for info in self.session.runs if info.state != "queued"), "")

    def _show_go(self) -> None:
        session, f = self.session, self.forecast
        is_queue = session.is_training
        if is_queue:
            why = session.why_read_only() or self._why_not_settings()
        else:
            why = session.why_not_start() or self._why_not_settings()
        rows = tuple(checkpoint_text(row) for row in session.checkpoints)
        resume_why = session.why_read_only() or ("A run is on." if session.is_training else "")
        if not resume_why and not self._last_run_id():
            resume_why = "There is no run yet."
        hint = ""
        if f and not why and f.fit == "no":
            hint = "It may not fit into the memory that is free now."
        old = self.store.state.go
        self._change_go(
            label="Queue this run" if is_queue else "Start training",
            is_queue=is_queue, why=why, hint=hint, rows=rows, resume_why=resume_why,
            resume_tip=self._resume_tip(), is_choosing=old.is_choosing and not resume_why,
            chosen=min(old.chosen, max(0, len(rows) - 1)),
        )  # fmt: skip

    def _resume_tip(self) -> str:
        newest = self._newest_step(self._last_run_id())
        if newest is None:
            return "Go on with the last run."
        return f"Go on with the last run from its checkpoint of step {newest:,}."

    def _newest_step(self, run_id: str) -> int | None:
        rows = [
            row.step for row in self.session.checkpoints if row.run == run_id and row.state == "ok"
        ]
        return max(rows, default=None)

    # -- the run ---------------------------------------------------------------------------------------

    def _show_run(self) -> None:
        run = self.session.run
        if run is None:
            self._samples = ()
            self.store.update(run=None)
            return
        now = time.time()
        steps, current, is_failed = watch.step_texts(run, now)
        self._samples = watch.sample_texts(run)
        at = self._sample_index()
        vocab = self.session.facts.vocab_size
        self.store.update(
            run=RunView(
                id=run.id, state=run.state, version=run.version, steps=steps, current=current,
                is_failed=is_failed, tiles=watch.tiles(run, vocab, now),
                banner=watch.banner(run, self._newest_step(run.id)), n_lines=run.n_lines,
                sample=self._samples[at] if self._samples else None,
                n_samples=len(self._samples), sample_at=at, is_live=run.is_live,
            )
        )  # fmt: skip

    def _sample_index(self) -> int:
        last = len(self._samples) - 1
        if self._sample_step is None:
            return max(0, last)
        earlier = [i for i, sample in enumerate(self._samples) if sample.step <= self._sample_step]
        return earlier[-1] if earlier else 0

    def scrub(self, at: int) -> None:
        """Show the samples of another step; the last position follows the run."""
        if self._samples:
            at = max(0, min(at, len(self._samples) - 1))
            is_last = at == len(self._samples) - 1
            self._sample_step = None if is_last else self._samples[at].step
            self._show_run()

    def log_since(self, n: int) -> list[LogLine]:
        """Lines of the log behind the ``n``-th; all that is kept if that one fell off."""
        run = self.session.run
        if run is None:
            return []
        new = run.n_lines - n
        return (
            list(run.log)
            if new >= len(run.log)
            else list(run.log)[len(run.log) - new :]
            if new > 0
            else []
        )

    def curves(self) -> RunState | None:
        """The run whose columns the charts draw."""
        return self.session.run

    def guessing(self) -> tuple[float, str] | None:
        """The loss of pure guessing, ln V, and its words."""
        from math import log

        vocab = self.session.facts.vocab_size
        if not vocab:
            return None
        return log(vocab), f"ln(V) = {log(vocab):.2f}, guessing"

    def show_chart(self, name: str) -> None:
        """Loss, learning rate or gradient norm; in a short window also Writes or Log."""
        if name in CHARTS:
            self.store.update(chart=name, side="")
        else:
            self.store.update(side=name)

    def set_scale(self, scale: str) -> None:
        """Linear or logarithmic."""
        self.store.update(scale=scale)

    def set_span(self, span: str) -> None:
        """All steps or the last thousand."""
        self.store.update(span=span)

    def _intro(self) -> tuple[tuple[str, str], ...]:
        """Before the first run: what will happen, with this project's numbers."""
        facts, f = self.session.facts, self.forecast
        files = (
            f"{facts.used:,} files with {fmt.size(facts.text_bytes)} of text"
            if facts.used
            else "your files"
        )
        size = fmt.count(f.parameters.total) if f else "-"
        return (
            ("It reads", f"Start reads {files} and turns them into tokens. The next run does this only where something changed."),
            ("It learns", f"A model with {size} parameters learns to guess the next token. You see the loss fall, and what it writes, step by step."),
            ("You try it", "Pause at any time and write with it on the Test tab. Checkpoints are kept, so nothing is lost when you stop."),
        )  # fmt: skip


def checkpoint_text(row: Any) -> CheckpointText:
    """A row of the ledger as the list shows it."""
    badge = ("", "muted")
    if "best" in row.roles:
        badge = ("best", "good")
    elif row.state == "superseded":
        badge = ("left behind", "muted")
    elif "pinned" in row.roles:
        badge = ("pinned", "accent")
    return CheckpointText(
        file=row.file, step=f"{row.step:,}", val_loss=fmt.number(row.val_loss),
        run=run_text(row.run), badge=badge, run_id=row.run,
    )  # fmt: skip


def run_text(run_id: str) -> str:
    """``20261122-184218-train-ab12 -> 22 Nov 18:42``; another name as it is."""
    try:
        return time.strftime("%d %b %H:%M", time.strptime(run_id[:15], "%Y%m%d-%H%M%S"))
    except ValueError:
        return fmt.path_text(run_id)


def _preset_tip(preset: presets.Preset | None) -> str:
    if preset is None:
        return "The settings are your own; choosing a preset replaces shape and recipe."
    words = f", {preset.purpose}" if preset.purpose else ""
    return f"{preset.d_model} wide, {preset.n_layers} layers, window {preset.seq_len:,}{words}"

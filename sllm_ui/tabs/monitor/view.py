"""The Monitor tab: runs, their checkpoints and settings, curves side by side, machine, log."""

import tkinter as tk
from typing import Any

from sllm_core import fmt
from sllm_ui.tabs.monitor.presenter import AGAINST, LONGEST_NAME, Presenter, State
from sllm_ui.tabs.monitor.rows import COLUMNS
from sllm_ui.tabs.monitor.view_curves import CurvesCard
from sllm_ui.tabs.monitor.view_low import LogCard, MachineCard
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import Button, button, check, combo, empty, set_button
from sllm_ui.widgets.kit import Box, Card, Desk, Elided, Fill, Panel, enable, px, tooltip
from sllm_ui.widgets.table import Col, VTable

WIDE = 1080  # logical px of the page at which machine and log stand side by side


class View(Box):
    """Runs, checkpoints and settings at the left, curves, machine and log at the right."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "page", padding=(px(16), px(16), px(4), px(16)))
        self._presenter, self._desk = presenter, desk
        self._is_wide: bool | None = None
        self._shown: tk.Misc | None = None
        self._empty = self._build_empty()
        self._main = Box(self)
        self._main.columnconfigure(0, weight=11, uniform="column")
        self._main.columnconfigure(1, weight=13, uniform="column")
        self._main.rowconfigure(0, weight=1)
        left, self._right = Fill(self._main, 760), Fill(self._main, 640)
        left.grid(row=0, column=0, sticky="nsew", padx=(0, px(8)))
        self._right.grid(row=0, column=1, sticky="nsew")
        self._runs = RunsCard(left, presenter, desk)
        self._checkpoints = CheckpointsCard(left, presenter, desk)
        self._settings = SettingsCard(left, presenter)
        for card in (self._runs, self._checkpoints):
            card.pack(fill="x", pady=(0, px(12)))
        self._settings.pack(fill="both", expand=True)
        self._curves = CurvesCard(self._right, presenter, desk)
        self._curves.pack(fill="both", expand=True)
        self._low = Box(self._right, height=px(300))
        self._low.pack(fill="x", pady=(px(12), 0))
        self._low.grid_propagate(False)
        self._machine, self._log = MachineCard(self._low), LogCard(self._low, presenter, desk)
        self.bind("<Configure>", self._arrange, "+")

    def _build_empty(self) -> Panel:
        ground = Panel(self, pad=0)
        box = empty(
            ground, "activity", "No runs yet",
            "Every training run is listed here with its curves, checkpoints, settings and log. "
            "Start one on the Train tab.",
            [("Go to Train", "graph-up", "primary", lambda: self._desk.act("tab_train"))],
        )  # fmt: skip
        box.place(relx=0.5, rely=0.42, anchor="center")
        return ground

    def _arrange(self, event: "tk.Event[tk.Misc]") -> None:
        """Machine and log side by side on a wide page, one above the other on a narrow one."""
        if event.widget is not self:
            return
        is_wide = event.width >= px(WIDE)
        if is_wide == self._is_wide:
            return
        self._is_wide = is_wide
        self._low.configure(height=px(300 if is_wide else 560))
        self._right.set_min_height(640 if is_wide else 1000)
        self._low.columnconfigure((0, 1), weight=0, uniform="")
        self._low.columnconfigure((0, 1) if is_wide else (0,), weight=1, uniform="low")
        self._low.rowconfigure(0, weight=1, uniform="" if is_wide else "low")
        self._low.rowconfigure(1, weight=0 if is_wide else 1, uniform="" if is_wide else "low")
        gap = px(12)
        self._machine.grid(row=0, column=0, sticky="nsew", padx=(0, gap if is_wide else 0))
        below: dict[str, Any] = {"row": 0, "column": 1} if is_wide else {"row": 1, "column": 0}
        self._log.grid(**below, sticky="nsew", pady=(0 if is_wide else gap, 0))
        self._curves.arrange(is_wide)
        self._checkpoints.arrange(is_wide)
        self._runs.arrange(is_wide)

    def render(self, old: State | None, new: State) -> None:
        """Show what differs."""

        def differs(*names: str) -> bool:
            return old is None or any(getattr(old, n) != getattr(new, n) for n in names)

        if differs("rows", "is_read", "is_open"):
            self._show_whole(not new.rows and new.is_read)
        if differs("rows", "chosen", "sort"):
            self._runs.show(new)
        if differs("rows", "chosen", "read_only", "why_not_delete_run"):
            self._runs.show_tools(new)
        if differs("checkpoints", "checkpoint", "rows", "chosen"):
            self._checkpoints.show(new)
        if differs(
            "checkpoints", "checkpoint", "why_not_resume", "why_not_delete", "read_only", "chosen"
        ):
            self._checkpoints.show_tools(new)
        if differs("differences", "sides", "against", "all_settings"):
            self._settings.show(new)
        if differs("machine"):
            self._machine.show(new.machine)
        self._curves.render(old, new)
        self._log.render(old, new)

    def _show_whole(self, is_empty: bool) -> None:
        shown = self._empty if is_empty else self._main
        if shown is not self._shown:
            (self._main if is_empty else self._empty).pack_forget()
            shown.pack(fill="both", expand=True, padx=(0, px(12) if is_empty else 0))
            self._shown = shown

    def focus_first(self) -> None:
        """Ctrl+F: the filter of the log."""
        self._log.focus_search()


class RunsCard(Card):
    """The table of runs and what can be done with the one in view."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "Runs", "list-task", pad=14)
        self._presenter, self._desk, self._is_wide = presenter, desk, True
        self._seen: tuple[str, tuple[int, bool], int] | None = None  # what was scrolled to
        tools: list[tuple[str, str, str, Any]] = [
            ("delete", "trash", "Delete the run: its curves, samples and log", self._ask_delete),
            ("queue", "clipboard-plus", "Queue a run with the same settings: it starts when the present one is done, or at once", presenter.enqueue_copy),
            ("clone", "copy", "Clone: take its settings over for the next run", self._clone),
            ("note", "chat-left-text", "Write a note to the run", self._ask_note),
            ("rename", "pencil", "Give the run a name", self._ask_name),
            ("pin", "pin-angle", "Pin: keep the run at the head of the list", presenter.pin_run),
        ]  # fmt: skip
        self._tools = {}
        for name, icon, tip, command in tools:
            made = button(self.head, icon=icon, kind="ghost", small=True, tip=tip, command=command)
            made.pack(side="right")
            self._tools[name] = made
        widths = {
            "Name": Col("Name", 124, kind="strong", stretch=1),
            "Model": Col("Model", 62, "e", drop=2, tip="Parameters of the model"),
            "Status": Col("Status", 92, kind="badge"),
            "Loss": Col("Loss", 58, "e", tip="Best validation loss"),
            "Bits/byte": Col("Bits/byte", 72, "e", drop=1, tip="Of the best validation: comparable between tokenizers"),
            "Tokens/s": Col("Tokens/s", 70, "e", "muted", drop=4),
            "Time": Col("Time", 62, "e", "muted", drop=3, tip="Time of training"),
        }  # fmt: skip
        self._table = VTable(
            self.body, [widths[name] for name in COLUMNS], row_height=32, visible=5,
            on_select=lambda _: self._choose(), on_sort=presenter.sort_by, multi=True,
            tip="Click a run to look at it, Ctrl+click or Shift+click to compare up to six",
        )  # fmt: skip
        self._table.pack(fill="x")
        self._note = Elided(self.body, "", "caption", "muted")

    def arrange(self, is_wide: bool) -> None:
        """The hint needs a wide page."""
        self._is_wide = is_wide
        self.show(self._presenter.store.state)

    def show(self, state: State) -> None:
        """The table, the choice and the note."""
        rows = state.rows
        places = [i for i, run in enumerate(rows) if run.id in state.chosen]
        self._table.set_sort(*state.sort)
        self._table.show(len(rows), lambda i: rows[i].texts(), places)
        main = self._presenter.run_row()
        if main is not None and (main.id, state.sort, len(rows)) != self._seen:
            self._seen = main.id, state.sort, len(rows)
            self._table.see(rows.index(main))
        note = main.note if main else ""
        self._note.set_text(note)
        if note:
            self._note.pack(fill="x", pady=(px(8), 0))
        else:
            self._note.pack_forget()
        n, hint = len(state.chosen), ""
        if n > 1:
            hint = f"{n} compared"
        elif len(rows) > 1 and self._is_wide:
            hint = "Ctrl+click to compare"
        self.set_hint(hint)

    def show_tools(self, state: State) -> None:
        """Which buttons can act."""
        why = state.read_only or ("" if state.chosen else "Choose a run.")
        for name, made in self._tools.items():
            reason = state.why_not_delete_run if name == "delete" else why
            enable(made, not reason, reason)
        main = self._presenter.run_row()
        is_pinned = main is not None and main.is_pinned
        set_button(self._tools["pin"], icon="pin-angle-fill" if is_pinned else "pin-angle")
        words = "Unpin the run" if is_pinned else "Pin: keep the run at the head of the list"
        tooltip(self._tools["pin"], words)

    def _choose(self) -> None:
        presenter = self._presenter
        rows = presenter.store.state.rows
        presenter.choose_runs([rows[i].id for i in sorted(self._table.chosen) if i < len(rows)])
        self.show(presenter.store.state)  # what was not taken over is not marked either

    def _clone(self) -> None:
        before = self._presenter.clone()
        if before is not None:
            self._desk.toast(
                "good", "Settings taken over", "The next run has the settings of this one.",
                ("Undo", lambda: self._presenter.undo_clone(before)),
            )  # fmt: skip
            self._desk.act("tab_train")

    def _ask_name(self) -> None:
        row = self._presenter.run_row()
        if row:
            self._desk.dialogs.ask_text(
                "Rename the run", "Name", self._presenter.name_and_note()[0] or row.name,
                self._presenter.rename, check=_name_problem,
                text="An empty name gives it the time of its start again.",
            )  # fmt: skip

    def _ask_note(self) -> None:
        row = self._presenter.run_row()
        if row:
            self._desk.dialogs.ask_text(
                "Note to the run", row.name, self._presenter.name_and_note()[1],
                self._presenter.set_note,
            )  # fmt: skip

    def _ask_delete(self) -> None:
        row, presenter = self._presenter.run_row(), self._presenter
        if row is None:
            return
        files = presenter.its_files()
        words = "Its curves, samples and log are deleted for good."
        choices: list[tuple[str, str, Any]] = []
        if files:
            words += f" What it saved ({files}) can stay: the Test tab still opens it."
            choices = [
                ("Delete run and checkpoints", "danger", lambda: presenter.delete_run(with_checkpoints=True)),
                ("Delete run only", "danger", lambda: presenter.delete_run(with_checkpoints=False)),
            ]  # fmt: skip
        else:
            choices = [("Delete", "danger", lambda: presenter.delete_run(with_checkpoints=False))]
        self._desk.dialogs.confirm(
            f"Delete {row.name}?", words, [*choices, ("Cancel", "default", None)]
        )


class CheckpointsCard(Card):
    """The checkpoints of the run in view and what can be done with the chosen one."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, "Checkpoints", "archive", pad=14)
        self._presenter, self._desk, self._is_wide = presenter, desk, True
        self._table = VTable(
            self.body,
            [
                Col("File", 104, kind="strong", stretch=1), Col("Step", 62, "e"),
                Col("Val loss", 66, "e"), Col("Size", 78, "e", "muted", drop=2),
                Col("", 96, kind="badge", drop=1),
            ],
            row_height=32, visible=4, on_select=lambda _: self._choose(),
            on_open=lambda _: self._test(), tip="Double click writes with a checkpoint",
        )  # fmt: skip
        self._table.pack(fill="x")
        self._nothing = kit.label(self._table, "", "body", "muted")
        row = Box(self.body)
        row.pack(fill="x", pady=(px(10), 0))
        wanted: list[tuple[str, str, str, str, Any]] = [
            ("Resume", "play-fill", "primary", "Go on with the run from this checkpoint", self._resume),
            ("Test", "chat-square-text", "default", "Write with it on the Test tab", self._test),
            ("Verify", "shield-check", "default", "Verify: read the whole file and compare it with what was saved", presenter.verify),
            ("Pin", "pin-angle", "default", "Pin: never delete this one by itself", presenter.pin_checkpoint),
            ("Delete", "trash", "ghost", "Delete the file", self._ask_delete),
            ("Reveal", "folder2-open", "ghost", "Show the folder in the file manager", self._reveal),
        ]  # fmt: skip
        self._tools: dict[str, Button] = {}
        for name, icon, kind, tip, command in wanted:
            words = "" if kind == "ghost" else name
            made = button(row, words, icon, kind, small=True, tip=tip, command=command)
            made.pack(side="left", padx=(px(6) if self._tools else 0, 0))
            self._tools[name] = made

    def arrange(self, is_wide: bool) -> None:
        """On a narrow page two of the buttons are icons only."""
        self._is_wide = is_wide
        for made in list(self._tools.values())[1:]:
            made.pack_configure(padx=(px(6 if is_wide else 3), 0))
        self._show_words(self._presenter.store.state)

    def show(self, state: State) -> None:
        """The table."""
        rows = state.checkpoints
        main = self._presenter.run_row()
        self.set_hint(f"of {main.name}" if main else "")
        place = next((i for i, row in enumerate(rows) if row.file == state.checkpoint), 0)
        self._table.show(
            len(rows),
            lambda i: (rows[i].name, rows[i].step, rows[i].val_loss, rows[i].size, rows[i].badge or ""),
            place if rows else None,
        )  # fmt: skip
        if rows:
            self._nothing.place_forget()
        else:
            waits = main is not None and main.state == "queued"
            words = "This run has not begun." if waits else "This run has no checkpoint."
            self._nothing.configure(text=words)
            self._nothing.place(relx=0.5, rely=0.55, anchor="center")

    def show_tools(self, state: State) -> None:
        """Which buttons can act."""
        none = "" if state.checkpoint else "This run has no checkpoint."
        enable(self._tools["Resume"], not state.why_not_resume, state.why_not_resume)
        for name in ("Test", "Verify", "Reveal"):
            enable(self._tools[name], not none, none)
        pin = none or state.read_only
        enable(self._tools["Pin"], not pin, pin)
        enable(self._tools["Delete"], not state.why_not_delete, state.why_not_delete)
        self._show_words(state)

    def _show_words(self, state: State) -> None:
        main = self._presenter.run_row()
        is_queued = main is not None and main.state == "queued"
        set_button(self._tools["Resume"], "Start" if is_queued else "Resume")
        words = "Start this run now" if is_queued else "Go on with the run from this checkpoint"
        tooltip(self._tools["Resume"], words)
        row = next((c for c in state.checkpoints if c.file == state.checkpoint), None)
        is_pinned = row is not None and row.is_pinned
        pin = "Unpin" if is_pinned else "Pin"
        icon = "pin-angle-fill" if is_pinned else "pin-angle"
        set_button(self._tools["Pin"], pin if self._is_wide else "", icon)
        set_button(self._tools["Verify"], "Verify" if self._is_wide else "")
        words = "Unpin: it may be deleted by itself again" if is_pinned else "Pin: never delete this one by itself"  # fmt: skip
        tooltip(self._tools["Pin"], words)

    def _choose(self) -> None:
        rows, place = self._presenter.store.state.checkpoints, self._table.selected
        if place is not None and place < len(rows):
            self._presenter.choose_checkpoint(rows[place].file)

    def _resume(self) -> None:
        back = self._presenter.going_back()
        if back is None:
            self._go_on_from_here()
            return

        def take_newest() -> None:
            self._presenter.choose_checkpoint(back.newest)
            self._go_on_from_here()

        self._desk.dialogs.confirm(
            back.title, back.text,
            [(back.newest_words, "primary", take_newest), (back.here, "default", self._go_on_from_here),
             ("Cancel", "default", None)],
        )  # fmt: skip

    def _go_on_from_here(self) -> None:
        total = self._presenter.complete_at()
        if not total:
            self._go_on()
            return
        self._desk.dialogs.ask_text(
            "The run is complete", "Steps in all", str(2 * total),
            lambda text: self._go_on(_steps(text)), check=lambda text: _steps_problem(text, total),
            ok="Go on", text=f"All {total:,} planned steps are done. How far should it go on?",
        )  # fmt: skip

    def _go_on(self, max_steps: int | None = None) -> None:
        if self._presenter.resume(max_steps):
            self._desk.act("tab_train")

    def _test(self) -> None:
        if self._presenter.store.state.checkpoint:
            self._presenter.test()
            self._desk.act("tab_test")

    def _reveal(self) -> None:
        if not self._presenter.reveal():
            self._desk.toast("warn", "No file manager", "This system has none that can be started.")

    def _ask_delete(self) -> None:
        presenter = self._presenter
        name = fmt.path_text(presenter.store.state.checkpoint)
        self._desk.dialogs.confirm(
            f"Delete {name}?", presenter.what_is_lost(),
            [("Delete", "danger", presenter.delete_checkpoint), ("Cancel", "default", None)],
        )  # fmt: skip


class SettingsCard(Card):
    """What differs between the settings of two runs."""

    def __init__(self, master: tk.Misc, presenter: Presenter) -> None:
        super().__init__(master, "Settings", "file-diff", pad=14)
        self._all = check(
            self.head, "All", on_change=presenter.set_all_settings,
            tip="Show all settings, not only those that differ",
        )  # fmt: skip
        self._all.pack(side="right")
        self._against = combo(
            self.head, list(AGAINST), AGAINST[0], width=9, on_change=presenter.set_against,
            tip="What is compared: the second chosen run or the one before; the defaults; or what "
            "is set for the next run",
        )  # fmt: skip
        self._against.pack(side="right", padx=(0, px(10)))
        self._table = VTable(
            self.body,
            [Col("Setting", 120, stretch=2), Col("", 100, "e", "strong", stretch=1), Col("", 100, "e", "muted", stretch=1)],
            row_height=28, visible=3,
        )  # fmt: skip
        self._table.pack(fill="both", expand=True)
        self._nothing = kit.label(self._table, "", "body", "muted")

    def show(self, state: State) -> None:
        """The table and the choices."""
        rows = state.differences
        self._all.set_value(state.all_settings)
        self._against.set_value(state.against)
        for column, name in enumerate(state.sides, 1):
            self._table.set_title(column, name)
        self.set_hint(f"{len(rows)} differ" if rows and not state.all_settings else "")
        self._table.show(len(rows), lambda i: rows[i])
        if rows or not state.sides[1]:
            self._nothing.place_forget()
        else:
            self._nothing.configure(text="No setting differs.")
            self._nothing.place(relx=0.5, rely=0.6, anchor="center")


def _name_problem(text: str) -> str:
    return f"At most {LONGEST_NAME} letters." if len(text) > LONGEST_NAME else ""


def _steps(text: str) -> int:
    return int(text.replace(",", "").replace(" ", "") or 0)


def _steps_problem(text: str, total: int) -> str:
    try:
        steps = _steps(text)
    except ValueError:
        return "A whole number of steps, such as 20000."
    return "" if total < steps <= 10**9 else f"More than {total:,}: these are done."

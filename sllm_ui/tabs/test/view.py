"""The Test tab: checkpoint, prompt and answer at the left, sampling at the right."""

import tkinter as tk
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sllm_core import fmt
from sllm_ui.actions import BY_ID
from sllm_ui.tabs.test.passages import MAX_PANE, Piece
from sllm_ui.tabs.test.presenter import Presenter, State
from sllm_ui.tabs.test.view_card import SamplingCard
from sllm_ui.tabs.test.words import EMPTY, Problem
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import button, combo, empty, set_button
from sllm_ui.widgets.kit import Box, Card, Desk, Panel, Scroll, enable, label, px, skin, tooltip
from sllm_ui.widgets.passage import Passage, PassagePane

SIDE_PX = 296  # of the sampling column, its scrollbar included
SETTLE_MS = 300  # after the last key
# The prompt card's width below which words leave its row of buttons, one step after the other.
STEPS_PX = (600, 520, 430)
OPEN = "Open a file ..."
CHECKPOINTS = (("Checkpoints", ("*.pt", "*.pth", "*.ckpt")), ("All files", ("*",)))
TEXTS = (("Texts", ("*.txt", "*.md", "*.py", "*.json")), ("All files", ("*",)))


class View(Box):
    """The page."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, padding=(px(16), px(16), px(4), px(16)))
        self._it, self._desk = presenter, desk
        self._afters: dict[str, str] = {}
        self._state = presenter.store.state
        self._empty: Box | None = None
        self._body = Box(self)
        self._body.columnconfigure(0, weight=1)
        self._body.rowconfigure(2, weight=1)
        self._build_head()
        self._problem = Box(self._body)
        left = Box(self._body)
        left.grid(row=2, column=0, sticky="nsew")
        self._build_prompt(left)
        self._build_answer(left)
        side = Scroll(self._body, width=SIDE_PX * skin().breadth - 12)
        side.grid(row=2, column=1, sticky="ns", padx=(px(12), 0))
        self._sampling = SamplingCard(side, presenter, desk, self._later)
        self._sampling.pack(fill="x")

    # -- building ------------------------------------------------------------------------------

    def _build_head(self) -> None:
        head = Box(self._body)
        head.grid(row=0, column=0, columnspan=2, sticky="ew", padx=(0, px(12)), pady=(0, px(12)))
        right = {"side": "right"}
        self._save = button(
            head, icon="download", kind="ghost", small=True, command=self._ask_save,
            tip="Save the text to a file",
        )  # fmt: skip
        self._save.pack(**right)
        self._copy = button(
            head, icon="clipboard", kind="ghost", small=True, command=self._do_copy,
            tip="Copy the whole text",
        )  # fmt: skip
        self._copy.pack(**right)
        load = button(
            head, icon="folder2-open", kind="ghost", small=True, command=self._ask_prompt,
            tip="Take the prompt from a text file",
        )  # fmt: skip
        load.pack(**right)
        self._rate = label(head, "", "strong", "good")
        self._rate.pack(side="right", padx=px(12))
        tooltip(self._rate, "How fast it writes, without reading the prompt")
        self._first = label(head, "", "caption", "muted")
        tooltip(self._first, "From the press of the button, loading included")
        self._chooser = combo(
            head, [""], width=50, on_change=self._choose,
            tip="The checkpoint that writes: best has the lowest validation loss, last is the "
            "newest, and any other can be taken, from other folders as well.",
        )  # fmt: skip
        self._chooser.pack(side="left", padx=(0, px(12)))
        self._keys: dict[str, str] = {}  # title -> key of a choice

    def _build_prompt(self, left: Box) -> None:
        it = self._it
        card = Card(left, "Prompt", "chat-left-text", pad=14)
        card.pack(fill="x")
        self._count = label(card.head, "", "caption", "muted")
        self._count.pack(side="right")
        self._prompt = PassagePane(card.body, self._edit_prompt, 3, MAX_PANE)
        self._prompt.panel.pack(fill="x")
        tooltip(self._prompt.text, "The beginning that the model goes on from")
        row = Box(card.body)
        row.pack(fill="x", pady=(px(10), 0))
        make = partial(button, row)
        self._write = make("Write", "play-fill", "primary", command=it.write)
        self._continue = make("Continue", "skip-end", command=it.go_on)
        self._retry = make("Retry", "arrow-repeat", command=it.retry)
        self._stop = make("Stop", "stop-fill", command=it.stop)
        self._undo = make("Undo", "arrow-counterclockwise", command=it.undo)
        for made, tip in (
            (self._write, "Write behind the prompt (Ctrl+Enter)"),
            (self._continue, "Go on from the end of the text, with what you changed in it"),
            (self._retry, "The same beginning again, with the next seed"),
            (self._stop, "End after this token; what is written stays"),
            (self._undo, "Back to the text before the last writing"),
        ):
            made.pack(side="left", fill="y", padx=(0, px(8)))
            tooltip(made, tip)
        self._keys_hint = label(row, "Ctrl+Enter", "caption", "muted")
        self._step = -1
        card.bind("<Configure>", self._fit, "+")

    def _build_answer(self, left: Box) -> None:
        self._answer_card = card = Card(left, "Answer", "pencil", pad=14)
        card.pack(fill="both", expand=True, pady=(px(12), 0))
        label(card.head, "written", "caption", "fg").pack(side="right")
        label(card.head, "given", "caption", "muted").pack(side="right", padx=(px(12), px(8)))
        look = {
            "font": "read",
            "fg": skin().ink("muted"),
            "spacing1": px(4),
            "spacing2": px(7),
            "spacing3": px(4),
        }
        self._answer = PassagePane(card.body, self._it.edit_passage, 4, MAX_PANE, **look)
        self._answer.panel.pack(fill="both", expand=True)
        tooltip(
            self._answer.text,
            "What you gave is pale, what the model wrote is bright. Change it as you like: "
            "Continue goes on from what stands here.",
        )
        for text in (self._prompt.text, self._answer.text):
            for key in ("<Control-Return>", "<Control-KP_Enter>"):
                text.bind(key, self._write_key)

    def _edit_prompt(self, passage: Passage) -> None:
        self._it.edit_prompt("".join(text for text, _ in passage))

    def _write_key(self, event: object) -> str:
        self._it.write()
        return "break"

    def _fit(self, event: "tk.Event[tk.Misc]") -> None:
        """Leave words away where the row of buttons has little room."""
        step = sum(event.width < px(least * skin().breadth) for least in STEPS_PX)
        if step == self._step:
            return
        self._step = step
        self._keys_hint.pack_forget()
        if step == 0:
            self._keys_hint.pack(side="left", padx=px(4))
        for made, words, last in (
            (self._retry, "Retry", 1),
            (self._undo, "Undo", 1),
            (self._continue, "Continue", 2),
        ):
            set_button(made, words if step <= last else "")
        if step <= 2:
            self._first.pack(side="right", after=self._rate)
        else:
            self._first.pack_forget()

    # -- showing -------------------------------------------------------------------------------

    def render(self, old: State | None, new: State) -> None:
        """Show what differs."""
        self._state = new

        def differs(*names: str) -> bool:
            return old is None or any(getattr(old, name) != getattr(new, name) for name in names)

        if differs("empty"):
            self._show_empty(new.empty)
        if differs("choices", "choice"):
            self._show_choices(new)
        if differs("problem"):
            self._show_problem(new.problem)
        for widget, name in ((self._rate, "rate"), (self._first, "first"), (self._count, "count")):
            if differs(name):
                widget.configure(text=getattr(new, name))
        if differs("status"):
            self._answer_card.set_hint(new.status)
        self._prompt.show((Piece(new.prompt),) if new.prompt else ())
        self._answer.show(new.passage)
        if differs("phase", "why"):
            self._show_reasons(new)
        if old is None:
            for name, pane in self._panes():
                if name in self._it.places:
                    pane.go_to(self._it.places[name])
        if differs("card"):
            self._sampling.render(old.card if old else None, new.card)
        if new.is_count_due and differs("prompt", "is_count_due"):
            self._later("settle", SETTLE_MS, self._it.settle)

    def focus_first(self) -> None:
        """The prompt is what one types in."""
        self._prompt.text.focus_set()

    def destroy(self) -> None:
        """Keep what only the widgets know, for the view that comes after."""
        for pending in self._afters.values():
            self.after_cancel(pending)
        self._sampling.flush()
        self._it.sampler.commit()
        self._it.remember()
        self._it.places = {name: pane.place() for name, pane in self._panes()}
        super().destroy()

    def _panes(self) -> tuple[tuple[str, PassagePane], ...]:
        return ("prompt", self._prompt), ("answer", self._answer)

    def _later(self, name: str, delay_ms: int, call: Callable[[], None]) -> None:
        """Do something once, a while after the last time it was asked for."""
        if name in self._afters:
            self.after_cancel(self._afters[name])

        def do() -> None:
            del self._afters[name]
            call()

        self._afters[name] = self.after(delay_ms, do)

    def _show_empty(self, kind: str) -> None:
        if self._empty is not None:
            self._empty.destroy()
            self._empty = None
        if not kind:
            self._body.pack(fill="both", expand=True)
            return
        self._body.pack_forget()
        words = EMPTY[kind]
        self._empty = Box(self)
        self._empty.pack(fill="both", expand=True)
        buttons = []
        for i, (text, action) in enumerate(words.buttons):
            act = self._ask_checkpoint if action == "file" else partial(self._desk.act, action)
            icon = BY_ID[action].icon if action in BY_ID else "file-earmark"
            buttons.append((text, icon, "default" if i else "primary", act))
        made = empty(self._empty, words.icon, words.title, words.text, buttons)
        made.place(relx=0.5, rely=0.46, anchor="center")

    def _show_choices(self, state: State) -> None:
        self._keys = {choice.title: choice.key for choice in state.choices}
        self._chooser.set_values([*self._keys, OPEN])
        title = next((c.title for c in state.choices if c.key == state.choice), "")
        self._chooser.set_value(title)

    def _show_problem(self, problem: Problem | None) -> None:
        for child in self._problem.winfo_children():
            child.destroy()
        if problem is None:
            self._problem.grid_remove()
            return
        self._problem.grid(
            row=1, column=0, columnspan=2, sticky="ew", padx=(0, px(12)), pady=(0, px(12))
        )
        fill, tone = f"{problem.tone}_bg", problem.tone
        panel = Panel(self._problem, fill=fill, pad=0, r=8, border=fill)
        panel.configure(padding=(px(14), px(8), px(8), px(8)))
        panel.pack(fill="x")
        row = Box(panel)
        row.pack(fill="x")
        close = button(
            row, icon="x-lg", kind="ghost", small=True, command=self._it.dismiss, tip="Close"
        )
        close.pack(side="right")
        acts: dict[str, Callable[[], object]] = {
            "retry": self._it.try_again,
            "pause": self._it.pause_run,
            "other": self._it.use_other,
            "train": partial(self._desk.act, "tab_train"),
        }
        for action, words in reversed(problem.actions):
            made = button(row, words, small=True, command=acts[action])
            made.pack(side="right", padx=(px(8), 0))
        box = Box(row)
        box.pack(side="left", fill="x", expand=True)
        kit.wrap(label(box, problem.text, "body", tone, justify="left", width=1)).pack(fill="x")
        if problem.lines:
            lines = "\n".join(fmt.path_text(line)[:200] for line in problem.lines)
            told = label(panel, lines, "mono_s", "fg2", justify="left", width=1)
            kit.wrap(told, 36).pack(fill="x", pady=(px(6), px(2)))

    def _show_reasons(self, state: State) -> None:
        why = state.why
        for made, name in (
            (self._write, "write"),
            (self._continue, "continue"),
            (self._retry, "retry"),
            (self._stop, "stop"),
            (self._undo, "undo"),
            (self._copy, "copy"),
            (self._save, "save"),
        ):
            enable(made, not why[name], why[name])
        set_button(self._stop, kind="default" if why["stop"] else "danger")
        is_on = state.phase != "idle"
        enable(self._answer.text, not is_on, "It is writing: the text can be changed after that.")

    # -- what a person does ----------------------------------------------------------------------

    def _choose(self, title: str) -> None:
        if title == OPEN:
            self._show_choices(self._state)
            self._ask_checkpoint()
        else:
            self._it.choose(self._keys[title])

    def _ask_checkpoint(self) -> None:
        def take(found: list[Path]) -> None:
            if found:
                self._it.open_file(str(found[0]))

        self._desk.dialogs.ask_files("Open a checkpoint", take, kinds=CHECKPOINTS, multiple=False)

    def _ask_prompt(self) -> None:
        def take(found: list[Path]) -> None:
            if found:
                self._it.load_prompt(str(found[0]))

        self._desk.dialogs.ask_files("Take a prompt from a file", take, kinds=TEXTS, multiple=False)

    def _do_copy(self) -> None:
        text = self._it.whole_text()
        self._desk.copy(text)
        self._desk.toast("good", "Copied", f"{len(text):,} characters")

    def _ask_save(self) -> None:
        self._desk.dialogs.ask_save(
            "Save the text", lambda path: self._it.save_text(str(path)), "text.txt"
        )

"""Questions the window asks: sheets over it, one at a time, and choosers of files and folders."""

import tkinter as tk
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from sllm_ui.widgets import folders, kit
from sllm_ui.widgets.chooser import Ask, Chooser, Offer
from sllm_ui.widgets.controls import Button, entry, set_button
from sllm_ui.widgets.folders import Kind
from sllm_ui.widgets.kit import Box, px
from sllm_ui.widgets.overlay import Choice, Sheet

MAX_RECENT = 5
Check = Callable[[str], str]


class _Question:
    """The question that is open: its sheet, how to answer it, how to give up."""

    def __init__(self, title: str, sheet: Sheet | None) -> None:
        self.title, self.sheet = title, sheet
        self.choices: list[str] = []
        self.answer: Callable[[object], bool] = lambda _: False
        self.on_cancel: Callable[[], object] | None = None


class Dialogs:
    """All questions of one window. While one is open, the next one waits for its turn.

    ``recent`` are folders that were chosen before, newest first; ``on_recent`` is told when they
    change, so that the app can keep them.
    """

    def __init__(
        self,
        root: tk.Misc,
        recent: Sequence[str] = (),
        on_recent: Callable[[tuple[str, ...]], object] | None = None,
    ) -> None:
        self._root, self._on_recent = root, on_recent
        self.recent = tuple(recent)
        self._now: _Question | None = None
        self._waiting: deque[Callable[[], None]] = deque()

    # For tests and for the app.

    @property
    def is_open(self) -> bool:
        """A question is on the screen."""
        return self._now is not None

    @property
    def title(self) -> str:
        """Title of the open question, '' without one."""
        return self._now.title if self._now else ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The buttons of the open question."""
        return tuple(self._now.choices) if self._now else ()

    def answer(self, value: object = None) -> bool:
        """Answer the open question: a button's label, a text, a path or a list of paths.

        False if the answer is not accepted; the question stays then.
        """
        return self._now is not None and self._now.answer(value)

    def cancel(self) -> None:
        """Give the open question up, as Escape does."""
        if self._now is not None:
            self._close(self._now.on_cancel)

    def close_all(self) -> None:
        """Take everything away without an answer, before the window is built anew."""
        self._waiting.clear()
        if self._now is not None:
            self._close(None)

    # Questions.

    def confirm(
        self,
        title: str,
        text: str,
        choices: Sequence[Choice],
        on_cancel: Callable[[], object] | None = None,
    ) -> None:
        """Ask with buttons: (label, kind, callback). A choice without callback is the way out.

        Without such a choice a Cancel button is added. Return presses the primary button; where
        there is none (danger), the way out has the focus.
        """
        self._ask(lambda: self._open_confirm(title, text, choices, on_cancel))

    def ask_text(
        self,
        title: str,
        label: str,
        value: str,
        on_ok: Callable[[str], object],
        check: Check | None = None,
        ok: str = "OK",
        text: str = "",
    ) -> None:
        """Ask for one line; ``check`` returns what is wrong with it, '' if nothing is."""
        self._ask(lambda: self._open_text(title, label, value, on_ok, check, ok, text))

    def custom(
        self,
        title: str,
        build: Callable[[Box], tk.Misc | None],
        choices: Sequence[Choice],
        width: float = 520,
        height: float = 0,
        on_cancel: Callable[[], object] | None = None,
    ) -> None:
        """A sheet with a body of one's own; ``build`` returns the widget that gets the focus."""
        self._ask(lambda: self._open_custom(title, build, choices, width, height, on_cancel))

    def ask_folder(
        self, title: str, on_ok: Callable[[Path], object], start: Path | None = None
    ) -> None:
        """Ask for a folder that exists, or is made in the chooser."""
        self._ask(
            lambda: self._open_chooser(
                title, Ask("folder", self._start(start)), lambda found: on_ok(found[0])
            )
        )

    def ask_files(
        self,
        title: str,
        on_ok: Callable[[list[Path]], object],
        start: Path | None = None,
        kinds: Sequence[Kind] | None = None,
        multiple: bool = True,
    ) -> None:
        """Ask for files; ``kinds`` are (words, patterns), the first one is in force."""
        ask = Ask("files", self._start(start), tuple(kinds or ()), multiple)
        self._ask(lambda: self._open_chooser(title, ask, on_ok))

    def ask_save(
        self,
        title: str,
        on_ok: Callable[[Path], object],
        name: str,
        start: Path | None = None,
    ) -> None:
        """Ask where to save; a file that exists is replaced only after a second press."""
        ask = Ask("save", self._start(start), name=name)
        self._ask(lambda: self._open_chooser(title, ask, lambda found: on_ok(found[0])))

    # One at a time.

    def _ask(self, make: Callable[[], None]) -> None:
        if self._now is not None:
            self._waiting.append(make)
        else:
            make()

    def _close(self, then: Callable[[], object] | None) -> None:
        """Take the sheet away first: what follows may ask the next question."""
        question, self._now = self._now, None
        if question is not None and question.sheet is not None:
            question.sheet.close()
        if then is not None:
            then()
        if self._now is None and self._waiting:
            self._waiting.popleft()()

    # Sheets.

    def _open_confirm(
        self,
        title: str,
        text: str,
        choices: Sequence[Choice],
        on_cancel: Callable[[], object] | None,
    ) -> None:
        self._open_custom(title, lambda body: _paragraphs(body, text), choices, 460, 0, on_cancel)

    def _open_custom(
        self,
        title: str,
        build: Callable[[Box], tk.Misc | None],
        choices: Sequence[Choice],
        width: float,
        height: float,
        on_cancel: Callable[[], object] | None,
    ) -> None:
        every = list(choices)
        if all(callback is not None for _, _, callback in every):
            every.append(("Cancel", "default", None))
        main = next((choice for choice in every if choice[1] == "primary"), None)
        out = next(choice for choice in every if choice[2] is None)

        def close(choice: Choice) -> None:
            self._close(choice[2] or on_cancel)

        sheet = Sheet(self._root, title, width, height, self.cancel, lambda: close(main or out))
        question = self._now = _Question(title, sheet)
        question.choices, question.on_cancel = [words for words, _, _ in every], on_cancel
        first = build(sheet.body)
        buttons = sheet.add_buttons(every, close)
        sheet.hold.adopt()

        def answer(value: object) -> bool:
            choice = next((one for one in every if one[0] == value), None)
            if choice is not None:
                close(choice)
            return choice is not None

        question.answer = answer
        (first or buttons[every.index(main or out)]).focus_set()

    def _open_text(
        self,
        title: str,
        label: str,
        value: str,
        on_ok: Callable[[str], object],
        check: Check | None,
        ok: str,
        text: str,
    ) -> None:
        problem = check or (lambda _: "")

        def done() -> bool:
            words = field.get().strip()
            wrong = problem(words)
            show(wrong)
            if not wrong:
                self._close(lambda: on_ok(words))
            return not wrong

        def show(wrong: str) -> None:
            field.state(["invalid" if wrong else "!invalid"])
            fault.configure(text=wrong)
            kit.enable(buttons[0], not wrong, wrong)

        sheet = Sheet(self._root, title, 460, 0, self.cancel, done)
        question = self._now = _Question(title, sheet)
        question.choices = [ok, "Cancel"]
        _paragraphs(sheet.body, text)
        kit.label(sheet.body, label, "body", "fg2").pack(anchor="w")
        field = entry(
            sheet.body, value, on_change=lambda words: show(problem(words.strip())), tip=label
        )
        field.pack(fill="x", pady=(px(4), 0))
        fault = kit.wrap(kit.label(sheet.body, "", "caption", "bad", justify="left"))
        fault.pack(anchor="w", fill="x", pady=(px(4), 0))
        out: Choice = ("Cancel", "default", None)
        buttons = sheet.add_buttons(
            [(ok, "primary", done), out], lambda choice: self.cancel() if choice is out else done()
        )
        sheet.hold.adopt()

        def answer(words: object) -> bool:
            field.set_value(words)
            return done()

        question.answer = answer
        field.focus_set()
        field.select_range(0, "end")
        field.icursor("end")

    # Files.

    def _start(self, start: Path | None) -> Path:
        for place in (start, *map(Path, self.recent[:1])):
            if place is not None:
                nearest = next((p for p in (place, *place.parents) if p.is_dir()), None)
                if nearest is not None and nearest != Path(nearest.anchor):
                    return nearest.absolute()
        return Path.home()

    def _remember(self, folder: Path) -> None:
        name = str(folder)
        self.recent = (name, *(one for one in self.recent if one != name))[:MAX_RECENT]
        if self._on_recent is not None:
            self._on_recent(self.recent)

    def _open_chooser(self, title: str, ask: Ask, on_ok: Callable[[list[Path]], object]) -> None:
        if folders.has_own_chooser():
            self._open_system(title, ask, on_ok)
            return

        def done(found: list[Path]) -> None:
            if found:
                self._remember(found[0] if ask.mode == "folder" else found[0].parent)
                self._close(lambda: on_ok(found))

        def offer(now: Offer) -> None:
            if buttons:
                set_button(buttons[0], now.words, kind=now.kind)
                kit.enable(buttons[0], now.is_possible, now.why_not)

        buttons: list[Button] = []

        def accept() -> None:
            chooser.accept()

        sheet = Sheet(self._root, title, 900, 620, self.cancel, accept)
        question = self._now = _Question(title, sheet)
        chooser = Chooser(sheet.body, ask, self.recent, done, offer)
        chooser.pack(fill="both", expand=True)
        out: Choice = ("Cancel", "default", None)
        buttons += sheet.add_buttons(
            [("Choose", "primary", accept), out],
            lambda choice: self.cancel() if choice is out else accept(),
        )
        question.choices = ["Choose", "Cancel"]
        sheet.hold.adopt()

        def answer(value: object) -> bool:
            given = value if isinstance(value, list | tuple) else [value]
            found = [Path(str(one)) for one in given if one is not None]
            done(found)
            return bool(found)

        question.answer = answer
        chooser.offer()
        chooser.focus_list()

    def _open_system(self, title: str, ask: Ask, on_ok: Callable[[list[Path]], object]) -> None:
        """The system's own chooser, which waits inside Tk."""
        # Windows and macOS open their native choosers through it; the rule is about Tk's own
        # message boxes, which no test could answer.
        from tkinter import filedialog  # noqa: TID251

        self._now = _Question(title, None)
        where = {"parent": self._root, "title": title, "initialdir": str(ask.start)}
        types = [(words, " ".join(patterns) or "*") for words, patterns in ask.kinds]
        if ask.mode == "folder":
            names: Sequence[str] = [filedialog.askdirectory(mustexist=True, **where)]  # type: ignore[arg-type]
        elif ask.mode == "save":
            names = [filedialog.asksaveasfilename(initialfile=ask.name, **where)]  # type: ignore[arg-type]
        elif ask.is_multiple:
            names = filedialog.askopenfilenames(filetypes=types, **where) or ()  # type: ignore[arg-type]
        else:
            names = [filedialog.askopenfilename(filetypes=types, **where)]  # type: ignore[arg-type]
        found = [Path(name) for name in names if name]
        if found:
            self._remember(found[0] if ask.mode == "folder" else found[0].parent)
        self._close((lambda: on_ok(found)) if found else None)


def _paragraphs(body: Box, text: str) -> None:
    """A text in the body, broken at its width."""
    if text:
        made = kit.wrap(kit.label(body, text, "body", "fg2", justify="left"))
        made.pack(anchor="w", fill="x", pady=(0, px(8)))

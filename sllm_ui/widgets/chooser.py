"""The file chooser of systems that have none of their own: places, path, list, all by keyboard."""

import os
import time
import tkinter as tk
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sllm_core import fmt
from sllm_ui.widgets import folders, kit
from sllm_ui.widgets.controls import button, check, combo, entry
from sllm_ui.widgets.folders import Item, Kind, shown
from sllm_ui.widgets.kit import Box, px
from sllm_ui.widgets.table import Col, VTable

_SLICE_S = 0.012  # of reading a big folder, between two looks at the keyboard
_TYPING_S = 1.0  # letters typed within this time are one beginning
_COLUMNS = ("name", "size", "time")
_TAG = "SllmChooser"
_CONTROL, _ALT = 0x0004, 0x0008  # bits of an event's state


@dataclass(frozen=True)
class Ask:
    """What is asked: ``mode`` is folder, files or save."""

    mode: str
    start: Path
    kinds: Sequence[Kind] = ()
    is_multiple: bool = False
    name: str = ""


@dataclass(frozen=True)
class Offer:
    """What the main button would do now."""

    words: str
    is_possible: bool
    why_not: str = ""
    kind: str = "primary"


class Chooser(Box):
    """Looks through folders and hands over what was chosen."""

    def __init__(
        self,
        master: tk.Misc,
        ask: Ask,
        recent: Sequence[str],
        on_done: Callable[[list[Path]], object],
        on_offer: Callable[[Offer], object],
    ) -> None:
        super().__init__(master)
        self._ask, self._on_done, self._on_offer = ask, on_done, on_offer
        self.folder = ask.start
        self._all: list[Item] = []
        self._shown: list[Item] = []
        self._facts: dict[str, tuple[int, float]] = {}
        self._order, self._is_down, self._has_hidden = "name", False, False
        self._patterns: Sequence[str] = ask.kinds[0][1] if ask.kinds else ()
        self._work: Iterator[str] = iter(())
        self._timer = ""
        self._wanted = ""  # the name to select when the folder has been read
        self._replacing: Path | None = None  # asked about, a second press replaces it
        self._typed, self._typed_at = "", 0.0
        self.columnconfigure(1, weight=1)
        self.rowconfigure(1, weight=1)
        self._make_places(recent)
        self._make_bar()
        self._make_list()
        self._make_foot()
        self.bind("<Destroy>", self._on_destroy, "+")
        _tag(self)
        self.open_folder(ask.start)

    # Widgets.

    def _make_places(self, recent: Sequence[str]) -> None:
        side = kit.Scroll(self, width=168, lane=14)
        side.grid(row=0, column=0, rowspan=3, sticky="ns")
        for place in folders.places(recent):
            one = button(
                side, kit.cut(place.label, "body", px(110), "middle"), place.icon, "nav",
                anchor="w", command=partial(self.open_folder, place.path),
                tip=shown(str(place.path)),
            )  # fmt: skip
            one.pack(fill="x")

    def _make_bar(self) -> None:
        bar = Box(self)
        bar.grid(row=0, column=1, sticky="ew", pady=(0, px(8)))
        up = button(
            bar, icon="arrow-up", command=self.open_parent,
            tip="The folder above  Backspace",
        )  # fmt: skip
        up.pack(side="left", padx=(0, px(8)))
        self._path = entry(
            bar,
            on_change=lambda _: self._say(""),
            tip="Type a path; Tab completes it, Enter opens it  Ctrl+L",
        )
        self._path.pack(side="left", fill="x", expand=True)
        self._path.bind("<Tab>", self._complete)
        self._path.bind("<Return>", self._go)
        self._path.bind("<KP_Enter>", self._go)
        self._word = kit.Elided(self, "", "caption", "muted", where="end")
        self._word.grid(row=2, column=1, sticky="ew", pady=(px(6), 0))

    def _make_list(self) -> None:
        self.table = VTable(
            self,
            [
                Col("Name", 200, stretch=1),
                Col("Size", 86, "e", "muted"),
                Col("Changed", 138, "w", "muted", drop=1),
            ],
            on_select=self._on_select,
            on_open=self._on_open,
            on_sort=self._on_sort,
            multi=self._ask.is_multiple,
        )
        self.table.grid(row=1, column=1, sticky="nsew")
        # The rows are the last canvas of a table; the first is its head.
        self._rows = [c for c in self.table.winfo_children() if isinstance(c, tk.Canvas)][-1]

    def _make_foot(self) -> None:
        foot = Box(self)
        foot.grid(row=3, column=0, columnspan=2, sticky="ew", pady=(px(10), 0))
        self._name_field = None
        if self._ask.mode == "save":
            kit.label(foot, "Name", "body", "fg2").pack(side="left", padx=(0, px(8)))
            self._name_field = entry(
                foot, self._ask.name, 30, on_change=lambda _: self.offer(), tip="Name of the file"
            )
            self._name_field.pack(side="left", fill="x", expand=True, padx=(0, px(12)))
        if self._ask.mode != "files":
            self._make_new_folder(foot)
        if self._ask.kinds:
            names = [words for words, _ in self._ask.kinds]
            combo(foot, names, names[0], 22, self._choose_kind, "Which files are listed").pack(
                side="right"
            )
        self._hidden = check(
            foot, "Hidden", False, self._show_hidden, "List names that begin with a dot  Ctrl+H"
        )
        self._hidden.pack(side="right", padx=(px(12), px(12)))

    def _make_new_folder(self, foot: Box) -> None:
        holder = Box(foot)
        holder.pack(side="left")
        row = Box(holder)
        field = entry(row, "", 18, tip="Name of the new folder, Enter makes it")

        def begin() -> None:
            start.pack_forget()
            row.pack(side="left")
            field.set_value("New folder")
            field.focus_set()
            field.select_range(0, "end")

        def end(event: object = None) -> str:
            row.pack_forget()
            start.pack(side="left")
            start.focus_set()
            return "break"

        def make(event: object = None) -> str:
            if self.make_folder(field.get().strip()):
                end()
                self.focus_list()
            return "break"

        start = button(holder, "New folder", "folder-plus", command=begin, small=True)
        start.pack(side="left")
        field.pack(side="left")
        field.bind("<Return>", make)
        field.bind("<KP_Enter>", make)
        field.bind("<Escape>", end)
        button(row, "Make", small=True, command=make).pack(side="left", padx=px(6))
        button(row, icon="x-lg", kind="ghost", small=True, command=end, tip="No new folder").pack(
            side="left"
        )

    # Doing.

    def focus_list(self) -> None:
        """Put the keyboard where it is used first."""
        if self._name_field is not None:
            self._name_field.focus_set()
            self._name_field.select_range(0, len(Path(self._name_field.get()).stem))
            self._name_field.icursor("end")
        else:
            self._rows.focus_set()

    def open_parent(self) -> str:
        """Go one folder up, on the one that was left."""
        if self.folder.parent != self.folder:
            self.open_folder(self.folder.parent, self.folder.name)
        return "break"

    def open_folder(self, folder: Path, select: str = "") -> bool:
        """List another folder; False, and the reason is shown, if it cannot be read."""
        self._cancel()
        try:
            reading = folders.read(folder)
            first = next(reading, None)
        except (OSError, ValueError) as problem:
            if isinstance(problem, OSError):
                self._say(folders.reading_problem(folder, problem), is_bad=True)
            else:
                self._say("This is no path.", is_bad=True)
            return False
        self.folder, self._wanted, self._replacing = folder, select, None
        self._all, self._facts = [first] if first else [], {}
        self._path.set_value(shown(str(folder)))
        self._path.icursor("end")
        self._path.state(["!invalid"])
        self._word.set_text("")
        self._start(self._listing(reading))
        return True

    def make_folder(self, name: str) -> bool:
        """A new folder in this one; it is opened."""
        problem = folders.name_problem(name)
        if problem:
            self._say(problem, is_bad=True)
            return False
        path = self.folder / name
        try:
            path.mkdir()
        except FileExistsError:
            self._say(f"{shown(name)} exists already.", is_bad=True)
            return False
        except OSError as error:
            self._say(f"{shown(name)} was not made: {error.strerror or error}.", is_bad=True)
            return False
        return self.open_folder(path)

    def accept(self) -> None:
        """Take what is chosen, or open the folder that is."""
        chosen = self.chosen()
        if self._ask.mode == "files":
            if len(chosen) == 1 and chosen[0].is_dir():
                self.open_folder(chosen[0])
            elif chosen:
                self._on_done([path for path in chosen if not path.is_dir()])
            return
        if self._ask.mode == "save":
            offer = self._save_offer()
            if not offer.is_possible:
                self._say(offer.why_not, is_bad=True)
                return
            if chosen[0].exists() and self._replacing != chosen[0]:
                self._replacing = chosen[0]
                self._say(f"{shown(chosen[0].name)} exists already. Replace it?", is_bad=True)
                self.offer()
                return
        self._on_done(chosen)

    def chosen(self) -> list[Path]:
        """What the main button would hand over."""
        if self._name_field is not None:
            return [self.folder / self._name_field.get().strip()]
        rows = [self._shown[i] for i in sorted(self.table.chosen) if i < len(self._shown)]
        if self._ask.mode == "folder":
            names = [item.name for item in rows if item.is_dir][:1]
            return [self.folder / names[0]] if names else [self.folder]
        return [self.folder / item.name for item in rows]

    # Work in slices: 50 000 names take longer than a key may wait.

    def _listing(self, reading: Iterator[Item]) -> Iterator[str]:
        """Read the folder; each step says how far it is."""
        try:
            for item in reading:
                self._all.append(item)
                yield f"Reading, {len(self._all):,} names so far"
        except OSError as problem:
            self._say(folders.reading_problem(self.folder, problem), is_bad=True)
        if self._order != "name":
            yield from self._weighing()

    def _weighing(self) -> Iterator[str]:
        """Ask the disk for size and date of every name, to sort by them."""
        for i, item in enumerate(self._all):
            self._fact(item.name)
            yield f"Looking at sizes and dates, {i:,} of {len(self._all):,}"

    def _start(self, work: Iterator[str]) -> None:
        self._cancel()
        self._work = work
        self._go_on()

    def _go_on(self) -> None:
        self._timer = ""
        end = time.perf_counter() + _SLICE_S
        for words in self._work:
            if time.perf_counter() > end:
                self._word.set_text(words)
                self._timer = self.after(1, self._go_on)
                return
        self._fill()

    def _cancel(self) -> None:
        if self._timer:
            self.after_cancel(self._timer)
            self._timer = ""

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self:
            self._cancel()

    def _fill(self) -> None:
        """Filter, sort and show what has been read."""
        is_kind = folders.matcher(self._patterns)
        listed = [
            item
            for item in self._all
            if (self._has_hidden or not item.name.startswith("."))
            and (item.is_dir or is_kind(item.key))
        ]
        self._shown = folders.arrange(listed, self._order, self._is_down, self._fact)
        at = self._index(self._wanted)
        self.table.set_sort(_COLUMNS.index(self._order), self._is_down)
        self.table.show(len(self._shown), self._row, at)
        self.table.see(at or 0)
        self._say(self._summary())
        self.offer()

    def _summary(self) -> str:
        hidden = len(self._all) - len(self._shown)
        if not self._all:
            return "This folder is empty."
        words = f"{len(self._shown):,} listed"
        return f"{words}, {hidden:,} left out (hidden or of another kind)" if hidden else words

    def _index(self, name: str) -> int | None:
        return next((i for i, item in enumerate(self._shown) if name and item.name == name), None)

    def _fact(self, name: str) -> tuple[int, float]:
        if name not in self._facts:
            self._facts[name] = folders.size_and_time(self.folder / name)
        return self._facts[name]

    def _row(self, i: int) -> tuple[str, str, str]:
        item = self._shown[i]
        size, changed = self._fact(item.name)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(changed)) if changed > 0 else ""
        if item.is_dir:
            return f"{shown(item.name)}/", "folder", when
        return shown(item.name), fmt.size(size) if size >= 0 else "", when

    # What a person does.

    def _on_select(self, i: int) -> None:
        if self._name_field is not None and 0 <= i < len(self._shown) and not self._shown[i].is_dir:
            self._name_field.set_value(shown(self._shown[i].name))
        self.offer()

    def _on_open(self, i: int) -> None:
        item = self._shown[i]
        if item.is_dir:
            self.open_folder(self.folder / item.name)
        elif self._ask.mode != "folder":
            self.accept()

    def _on_sort(self, column: int) -> None:
        by = _COLUMNS[column]
        self._is_down = not self._is_down if by == self._order else by != "name"
        self._order = by
        if self._timer:
            return  # what is going on ends with sorting
        if by == "name":
            self._fill()
        else:
            self._start(self._weighing())

    def _choose_kind(self, words: str) -> None:
        self._patterns = dict(self._ask.kinds)[words]
        self._fill()

    def _show_hidden(self, is_on: bool) -> None:
        self._has_hidden = is_on
        self._fill()

    def on_key(self, event: "tk.Event[tk.Misc]") -> str | None:
        """Keys of the chooser, before the widget that has the focus gets them."""
        key, state, is_list = event.keysym, int(event.state), event.widget is self._rows
        if state & _CONTROL and key.lower() == "l":
            self._path.focus_set()
            self._path.select_range(0, "end")
        elif state & _CONTROL and key.lower() == "h":
            self._hidden.invoke()
        elif (key == "Up" and state & _ALT) or (key == "BackSpace" and is_list):
            self.open_parent()
        elif is_list and not state & (_CONTROL | _ALT) and self._is_typed(event.char):
            self._type(event.char)
        else:
            return None
        return "break"

    def _is_typed(self, letter: str) -> bool:
        """A blank belongs to a name only after letters; alone it chooses a row."""
        is_fresh = time.monotonic() - self._typed_at > _TYPING_S
        return letter.isprintable() and letter != "" and not (letter == " " and is_fresh)

    def _type(self, letter: str) -> None:
        """Go to the first name that begins with what is typed."""
        now = time.monotonic()
        self._typed = letter if now - self._typed_at > _TYPING_S else self._typed + letter
        self._typed_at = now
        start = self._typed.casefold()
        at = next((i for i, item in enumerate(self._shown) if item.key.startswith(start)), None)
        if at is not None:
            self.table.show(len(self._shown), self._row, at)
            self.table.see(at)
            self._on_select(at)

    def _complete(self, event: "tk.Event[tk.Misc]") -> str | None:
        text = self._path.get()
        if text == shown(str(self.folder)) or not text.strip():
            return None  # nothing typed: Tab goes on
        done, names = folders.complete(text, self.folder, self._ask.mode == "folder")
        if done != text:
            self._path.set_value(done)
            self._path.icursor("end")
            self._path.xview("end")
        if not names and done == text:
            self._say("No name here begins like this.", is_bad=True, at_path=True)
        elif len(names) > 1:
            self._say(f"{len(names):,}: " + "   ".join(shown(name) for name in names[:40]))
        return "break"

    def _go(self, event: "tk.Event[tk.Misc]") -> str:
        text = self._path.get()
        if text == shown(str(self.folder)):
            self.accept()
            return "break"
        path = folders.typed_path(text, self.folder)
        try:
            is_file = path.is_file()
        except (OSError, ValueError):
            is_file = False
        if is_file and self._ask.mode == "files":
            self._on_done([path])
        elif is_file and self._name_field is not None:
            self.open_folder(path.parent)
            self._name_field.set_value(path.name)
            self.offer()
        elif self.open_folder(path):
            self._rows.focus_set()
        else:
            self._path.state(["invalid"])
        return "break"

    def _say(self, text: str, is_bad: bool = False, at_path: bool = False) -> None:
        self._word.set_text(text)
        self._word.set_tone("bad" if is_bad else "muted")
        self._path.state(["invalid" if at_path else "!invalid"])

    # What the main button says.

    def offer(self) -> None:
        """Say what the main button would do now."""
        if self._name_field is not None:
            self._on_offer(self._save_offer())
            return
        chosen = self.chosen()
        if self._ask.mode == "folder":
            name = shown(chosen[0].name or str(chosen[0]))
            self._on_offer(Offer(f"Choose {kit.cut(name, 'strong', px(220), 'middle')}", True))
        elif len(chosen) == 1 and self._is_folder(chosen[0]):
            self._on_offer(Offer("Open folder", True))
        else:
            words = "Choose file" if len(chosen) < 2 else f"Choose {len(chosen):,} files"
            self._on_offer(Offer(words, bool(chosen), "Choose a file in the list."))

    def _is_folder(self, path: Path) -> bool:
        i = self._index(path.name)
        return i is not None and self._shown[i].is_dir

    def _save_offer(self) -> Offer:
        assert self._name_field is not None
        name = self._name_field.get().strip()
        problem = folders.name_problem(name)
        path = self.folder / name if not problem else self.folder
        if not problem and path.is_dir():
            problem = f"{shown(name)} is a folder."
        if not problem and not os.access(self.folder, os.W_OK):
            problem = "You may not write into this folder."
        if self._replacing is not None and self._replacing != path:
            self._replacing = None
            self._say("")
        if self._replacing is not None:
            return Offer("Replace", True, kind="danger")
        return Offer("Save", not problem, problem)


def _tag(chooser: Chooser) -> None:
    """Let every widget of it ask the chooser first; one binding serves all choosers."""
    root = chooser.winfo_toplevel()
    if not root.bind_class(_TAG):
        root.bind_class(_TAG, "<KeyPress>", _on_key)
    waiting: list[tk.Misc] = [chooser]
    while waiting:
        widget = waiting.pop()
        widget.bindtags((_TAG, *widget.bindtags()))
        waiting += widget.winfo_children()


def _on_key(event: "tk.Event[tk.Misc]") -> str | None:
    widget: tk.Misc | None = event.widget
    while isinstance(widget, tk.Misc):
        if isinstance(widget, Chooser):
            return widget.on_key(event)
        widget = widget.master
    return None

"""The command palette: type a few letters of what you want, press Enter."""

import tkinter as tk
from collections.abc import Callable, Sequence
from typing import Protocol

from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import entry
from sllm_ui.widgets.kit import Panel, px, skin, surface_of
from sllm_ui.widgets.overlay import Hold, close_on_click_outside

_ROW = 46  # logical px
_MAX_ROWS = 8
_WIDTH = 580
_MAX_RECENT = 5


class Action(Protocol):
    """What the palette needs to know of a command."""

    @property
    def id(self) -> str:
        """What ``on_run`` is given."""

    @property
    def label(self) -> str:
        """Its name."""

    @property
    def group(self) -> str:
        """Where it belongs."""

    @property
    def help(self) -> str:
        """One sentence."""

    @property
    def icon(self) -> str:
        """Name of its picture, '' without."""

    @property
    def shown_keys(self) -> str:
        """Its shortcut as a person reads it, '' without."""


def score(query: str, action: Action) -> float | None:
    """How well a command fits what was typed; None if a word fits nothing of it."""
    label = action.label.casefold()
    words, rest = label.split(), f"{action.group} {action.help}".casefold()
    total = 0.0
    for word in query.casefold().split():
        if words[0].startswith(word):
            total += 5
        elif any(one.startswith(word) for one in words):
            total += 4
        elif word in label:
            total += 3
        elif any(one.startswith(word) for one in rest.split()):
            total += 1.5
        elif _is_subsequence(word, label):
            total += 0.5
        else:
            return None
    return total


def _is_subsequence(letters: str, text: str) -> bool:
    """The letters come in this order: ``svck`` in ``save checkpoint``."""
    rest = iter(text)
    return len(letters) > 1 and all(letter in rest for letter in letters)


def ranked(
    query: str,
    actions: Sequence[Action],
    why: Callable[[str], str],
    recent: Sequence[str] = (),
) -> list[tuple[Action, str]]:
    """The commands that fit, best first, each with why it cannot run now ('' if it can)."""
    found = []
    for order, action in enumerate(actions):
        points = score(query, action)
        if points is not None:
            reason = why(action.id)
            used = recent.index(action.id) if action.id in recent and not query.strip() else 99
            found.append(((-points, bool(reason), used, order), action, reason))
    found.sort(key=lambda row: row[0])
    return [(action, reason) for _, action, reason in found]


class CommandPalette:
    """``why(id)`` tells why a command cannot run now, '' if it can; ``on_run(id)`` runs it."""

    def __init__(
        self,
        root: tk.Misc,
        actions: Sequence[Action],
        on_run: Callable[[str], object],
        why: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._root, self._on_run, self._why = root, on_run, why
        self._actions = [action for action in actions if action.id != "palette"]
        self._recent: list[str] = []
        self._panel: Panel | None = None

    @property
    def is_open(self) -> bool:
        """It is on the screen."""
        return self._panel is not None

    def toggle(self) -> None:
        """Open it, or close it."""
        if self._panel is not None:
            self.close()
        else:
            self.open()

    def open(self) -> None:
        """Show it with an empty field."""
        if self._panel is not None:
            return
        panel = self._panel = Panel(
            self._root, fill="card", pad=10, r=12, border="accent_hi", on="page"
        )
        self._field = entry(panel, "", on_change=lambda _: self._list(), tip="Words of a command")
        self._field.pack(fill="x", pady=(0, px(8)))
        self._rows = _Rows(panel, self._run)
        self._rows.pack(fill="x")
        for key, by in (("Up", -1), ("Down", 1), ("Prior", -_MAX_ROWS), ("Next", _MAX_ROWS)):
            self._field.bind(f"<{key}>", self._mover(by))
        width = min(px(_WIDTH), self._root.winfo_width() - px(32))
        panel.place(relx=0.5, y=px(64), anchor="n", width=width)
        panel.tk.call("raise", str(panel))
        self._hold = Hold(panel, self.close, self._rows.run, self.close)
        close_on_click_outside(panel, self.close)
        self._list()
        self._field.focus_set()

    def close(self) -> None:
        """Take it away."""
        if self._panel is not None:
            panel, self._panel = self._panel, None
            self._hold.release()
            panel.destroy()

    def search(self, text: str) -> None:
        """Search for a text, as if it had been typed."""
        self._field.set_value(text)
        self._list()

    @property
    def found(self) -> list[str]:
        """Ids of the commands in the list."""
        return [action.id for action, _ in self._rows.found] if self.is_open else []

    def _mover(self, by: int) -> Callable[[object], str]:
        def move(event: object) -> str:
            self._rows.step(by)
            return "break"

        return move

    def _list(self) -> None:
        self._rows.show(ranked(self._field.get(), self._actions, self._why, self._recent))

    def _run(self, name: str) -> None:
        self._recent = [name, *(one for one in self._recent if one != name)][:_MAX_RECENT]
        self.close()
        self._on_run(name)


class _Rows(tk.Canvas):
    """The list of commands; the field above keeps the keyboard."""

    def __init__(self, master: tk.Misc, on_run: Callable[[str], object]) -> None:
        ground = skin().surface(surface_of(master))
        super().__init__(
            master, bg=ground, height=px(_ROW), width=px(100), highlightthickness=0, bd=0
        )
        self.found: list[tuple[Action, str]] = []
        self._run_one = on_run
        self._at, self._top = 0, 0
        self._seen: tuple[int, int] | None = None  # where the pointer was
        self.bind("<Configure>", lambda _: self._draw())
        self.bind("<Motion>", self._hover)
        self.bind("<Button-1>", self._press)

    def show(self, found: list[tuple[Action, str]]) -> None:
        """Another list; its first row is chosen."""
        self.found, self._at, self._top = found, 0, 0
        n = max(1, min(len(found), _MAX_ROWS))
        self.configure(height=px(_ROW) * n)
        self._draw()

    def step(self, by: int) -> None:
        """Choose another row; the ends meet for single steps."""
        if self.found:
            last = len(self.found) - 1
            at = self._at + by
            if abs(by) == 1:
                at %= last + 1
            self._at = max(0, min(at, last))
            self._top = min(max(self._top, self._at - _MAX_ROWS + 1), self._at)
            self._draw()

    def run(self) -> None:
        """Run the chosen command, if it can run."""
        if self.found and not self.found[self._at][1]:
            self._run_one(self.found[self._at][0].id)

    def on_wheel(self, notches: float) -> bool:
        """Scroll the list."""
        if len(self.found) <= _MAX_ROWS:
            return False
        self._top = max(0, min(self._top + round(notches), len(self.found) - _MAX_ROWS))
        self._at = min(max(self._at, self._top), self._top + _MAX_ROWS - 1)
        self._draw()
        return True

    def _hover(self, event: "tk.Event[tk.Misc]") -> None:
        # A list that opens under a resting pointer must not take its choice from it.
        is_first, self._seen = self._seen is None, (event.x_root, event.y_root)
        at = self._top + event.y // px(_ROW)
        if not is_first and at != self._at and 0 <= at < len(self.found):
            self._at = at
            self._draw()

    def _press(self, event: "tk.Event[tk.Misc]") -> None:
        at = self._top + event.y // px(_ROW)
        if 0 <= at < len(self.found):
            self._at = at
            self._draw()
            self.run()

    def _draw(self) -> None:
        self.delete("all")
        p, width = skin().p, self.winfo_width()
        if width < px(_ROW):  # not on the screen yet
            return
        if not self.found:
            self.create_text(
                px(14), px(_ROW) / 2, anchor="w", text="No command is called so.", fill=p.muted,
                font="body",
            )  # fmt: skip
            return
        for i, (action, reason) in enumerate(self.found[self._top : self._top + _MAX_ROWS]):
            self._draw_row(i * px(_ROW), width, action, reason, self._top + i == self._at)
        if len(self.found) > _MAX_ROWS:  # a thin bar: there is more
            high = px(_ROW) * _MAX_ROWS
            y0 = high * self._top / len(self.found)
            y1 = high * (self._top + _MAX_ROWS) / len(self.found)
            x = width - px(3)
            self.create_line(
                x, y0 + px(3), x, y1 - px(3), fill=p.line2, width=px(4), capstyle="round"
            )

    def _draw_row(self, y: int, width: int, action: Action, reason: str, is_chosen: bool) -> None:
        p, middle = skin().p, y + px(_ROW) // 2
        if is_chosen:
            size, ground = (width - px(10), px(_ROW) - px(2)), str(self.cget("bg"))
            tile = skin().tile(size, px(7), p.select, p.select, ground)
            self.create_image(0, y + px(1), anchor="nw", image=str(tile))
        if action.icon:
            ink = "muted" if reason else "accent_hi"
            self.create_image(px(20), middle, image=skin().icon(action.icon, 16, ink))
        keys = skin().fonts["caption"].measure(action.shown_keys) if action.shown_keys else 0
        room = width - px(44) - px(20) - (keys + px(16) if keys else 0)
        ink, words = (p.muted, reason) if reason else (p.fg, action.help)
        self.create_text(
            px(42), middle - px(9), anchor="w", font="body", fill=ink,
            text=kit.cut(action.label, "body", room),
        )  # fmt: skip
        self.create_text(
            px(42), middle + px(10), anchor="w", font="caption",
            fill=p.warn if reason and is_chosen else p.fg2 if is_chosen else p.muted,
            text=kit.cut(words, "caption", room),
        )  # fmt: skip
        if keys:
            self.create_text(
                width - px(20), middle, anchor="e", text=action.shown_keys, font="caption",
                fill=p.fg2 if is_chosen else p.muted,
            )  # fmt: skip

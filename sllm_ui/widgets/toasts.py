"""Messages in the corner of the window, and the list of those that were shown."""

import time
import tkinter as tk
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import button
from sllm_ui.widgets.kit import Box, Panel, px
from sllm_ui.widgets.overlay import Hold, close_on_click_outside

Action = tuple[str, Callable[[], object]]

MAX_SHOWN = 4
MAX_HISTORY = 100
MAX_TEXT = 320  # letters in a toast; the list of messages shows all
_ICONS = {
    "good": "check-circle-fill",
    "warn": "exclamation-triangle-fill",
    "bad": "x-circle-fill",
    "accent": "info-circle-fill",
}
_SHOWN_MS = {"good": 5000, "accent": 5000, "warn": 9000, "bad": 15000}
_ACTION_MS = 4000  # longer where there is something to decide
_AGAIN_MS = 1200  # under the pointer or with the focus it waits this long and looks again


@dataclass(frozen=True)
class Message:
    """One message as the list keeps it; ``count`` is how often it came in a row."""

    at: float  # wall seconds
    kind: str
    title: str
    text: str
    count: int = 1

    def is_same(self, other: "Message") -> bool:
        """The same words."""
        return (self.kind, self.title, self.text) == (other.kind, other.title, other.text)


class _Toast(Panel):
    """One message on the screen."""

    def __init__(
        self,
        master: tk.Misc,
        message: Message,
        action: Action | None,
        width: int,
        on_close: Callable[[], object],
    ) -> None:
        super().__init__(master, fill="raised", pad=0, r=10, border="line2", on="page")
        self.configure(padding=(px(14), px(10), px(10), px(11)))
        self.message, self.timer = message, ""
        kit.picture(self, _ICONS[message.kind], 18, message.kind).pack(
            side="left", anchor="n", padx=(0, px(12)), pady=px(2)
        )
        close = button(
            self, icon="x-lg", kind="ghost", small=True, command=on_close, tip="Close  Esc"
        )
        close.pack(side="right", anchor="n")
        column = Box(self)
        column.pack(side="left", fill="both", expand=True, padx=(0, px(6)))
        room = width - px(110)
        self._title = kit.label(column, message.title, "strong", wraplength=room, justify="left")
        self._title.pack(anchor="w")
        if message.text:
            words = message.text
            words = words if len(words) <= MAX_TEXT else words[: MAX_TEXT - 1] + "…"
            kit.label(column, words, "caption", "fg2", wraplength=room, justify="left").pack(
                anchor="w", pady=(px(1), 0)
            )
        _on_click(self, on_close)
        if action is not None:
            words, do = action

            def act() -> None:
                on_close()
                do()

            link = button(column, words, kind="link", small=True, anchor="w", command=act)
            link.pack(anchor="w", pady=(px(3), 0))
        self._bind_escape(on_close)

    def _bind_escape(self, on_close: Callable[[], object]) -> None:
        for child in _all(self):
            child.bind("<Escape>", lambda _: on_close())

    def show_again(self, message: Message) -> None:
        """The same words once more: count them."""
        self.message = message
        self._title.configure(text=f"{message.title}  ({message.count})")

    def is_watched(self) -> bool:
        """The pointer is on it, or the focus is in it."""
        x, y = self.winfo_pointerxy()
        left, top = self.winfo_rootx(), self.winfo_rooty()
        is_under = left <= x < left + self.winfo_width() and top <= y < top + self.winfo_height()
        return is_under or str(self.tk.call("focus")).startswith(str(self))


class Toasts:
    """Messages placed in the window, bottom right, the newest lowest.

    ``history`` are the messages of before (the window was built anew); ``on_change`` is told when
    the list or what is unread changes. Escape anywhere: call ``dismiss_newest``.
    """

    def __init__(
        self,
        root: tk.Misc,
        bottom: float = 60,
        history: Iterable[Message] = (),
        on_change: Callable[[], object] | None = None,
    ) -> None:
        self._root, self._bottom, self._on_change = root, bottom, on_change
        self.history: deque[Message] = deque(history, MAX_HISTORY)  # oldest first
        self.n_unread = 0
        self._shown: list[_Toast] = []
        self._lay_job = ""
        self._popover: _Popover | None = None

    @property
    def shown(self) -> tuple[Message, ...]:
        """What is on the screen, oldest first."""
        return tuple(toast.message for toast in self._shown)

    def show(
        self, kind: str, title: str, text: str = "", action: Action | None = None, ms: int = 0
    ) -> None:
        """Say something; ``kind`` is good, warn, bad or accent, ``action`` (label, callback)."""
        message = Message(time.time(), kind, title, text)
        last = self.history[-1] if self.history else None
        if last is not None and last.is_same(message):
            message = replace(message, count=last.count + 1)
            self.history[-1] = message
        else:
            self.history.append(message)
        self.n_unread += 1
        same = next((toast for toast in self._shown if toast.message.is_same(message)), None)
        if same is not None and action is None:
            same.show_again(message)
        else:
            same = self._add(message, action)
        lasting = _SHOWN_MS[kind] + (_ACTION_MS if action else 0)
        self._wait(same, ms or lasting)
        self._changed()

    def dismiss_newest(self) -> bool:
        """Take the newest away, as Escape does; False if there is none."""
        if self._popover is not None:
            self._popover.close()
            return True
        if self._shown:
            self._hide(self._shown[-1])
            return True
        return False

    def clear(self) -> None:
        """Forget all messages."""
        self.history.clear()
        self.n_unread = 0
        self._changed()

    def close(self) -> None:
        """Take all away and cancel every timer, before the window is built anew."""
        if self._popover is not None:
            self._popover.close()
        for toast in list(self._shown):
            self._hide(toast)
        if self._lay_job:
            self._root.after_cancel(self._lay_job)
            self._lay_job = ""

    def toggle_history(self) -> None:
        """Open the list of messages under the bell, or close it."""
        if self._popover is not None:
            self._popover.close()
            return
        self.n_unread = 0
        self._popover = _Popover(self._root, list(self.history), self._closed, self.clear)
        self._changed()

    # One by one.

    def _add(self, message: Message, action: Action | None) -> _Toast:
        while len(self._shown) >= MAX_SHOWN:
            mild = [toast for toast in self._shown if toast.message.kind != "bad"]
            self._hide((mild or self._shown)[0])
        toast = _Toast(self._root, message, action, self._width(), lambda: self._hide(toast))
        self._shown.append(toast)
        self._lay_soon()
        return toast

    def _width(self) -> int:
        return max(px(220), min(px(350), self._root.winfo_width() - px(40)))

    def _wait(self, toast: _Toast, ms: int) -> None:
        if toast.timer:
            toast.after_cancel(toast.timer)
        toast.timer = toast.after(ms, lambda: self._expire(toast))

    def _expire(self, toast: _Toast) -> None:
        toast.timer = ""
        if toast.is_watched():
            self._wait(toast, _AGAIN_MS)
        else:
            self._hide(toast)

    def _hide(self, toast: _Toast) -> None:
        if toast not in self._shown:
            return
        self._shown.remove(toast)
        if toast.timer:
            toast.after_cancel(toast.timer)
            toast.timer = ""
        toast.destroy()
        self._lay_soon()

    def _lay_soon(self) -> None:
        if not self._lay_job:
            self._lay_job = self._root.after_idle(self._lay)

    def _lay(self) -> None:
        """Stack them from the bottom; what would stand above the window goes."""
        self._lay_job = ""
        if not self._shown:
            return
        self._root.update_idletasks()  # their heights; once for all that came in this turn
        y, width = px(self._bottom), self._width()
        for toast in reversed(list(self._shown)):
            height = toast.winfo_reqheight()
            if y + height > self._root.winfo_height() and toast is not self._shown[-1]:
                self._hide(toast)
                continue
            toast.place(relx=1, rely=1, x=-px(20), y=-y, anchor="se", width=width)
            toast.tk.call("raise", str(toast))
            y += height + px(10)

    def _closed(self) -> None:
        self._popover = None

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()


class _Popover:
    """The list of messages, newest first."""

    def __init__(
        self,
        root: tk.Misc,
        messages: list[Message],
        on_close: Callable[[], object],
        on_clear: Callable[[], object],
    ) -> None:
        self._on_close = on_close
        self._panel = Panel(root, fill="raised", pad=0, r=10, border="line2", on="page")
        self._panel.configure(padding=(px(16), px(12), px(6), px(12)))
        head = Box(self._panel)
        head.pack(fill="x", pady=(0, px(8)), padx=(0, px(10)))
        kit.label(head, "Messages", "h2").pack(side="left")
        close = button(
            head, icon="x-lg", kind="ghost", small=True, command=self.close, tip="Close  Esc"
        )
        close.pack(side="right")

        def clear() -> None:
            self.close()
            on_clear()

        place = {"relx": 1, "x": -px(12), "y": px(52), "anchor": "ne", "width": px(400)}
        if messages:
            wipe = button(
                head, "Clear", kind="ghost", small=True, command=clear, tip="Forget all messages"
            )
            wipe.pack(side="right", padx=(0, px(4)))
            rows = kit.Scroll(self._panel, width=360)
            rows.pack(fill="both", expand=True)
            for message in reversed(messages):
                self._row(rows, message)
            self._panel.update_idletasks()
            needed = rows.winfo_reqheight() + head.winfo_reqheight() + px(36)
            place["height"] = min(needed, max(px(160), root.winfo_height() - px(124)))
        else:
            words = kit.label(self._panel, "Nothing has been said yet.", "body", "muted")
            words.pack(anchor="w", pady=(0, px(6)))
        self._panel.place(**place)
        self._panel.tk.call("raise", str(self._panel))
        self._hold = Hold(self._panel, self.close, lambda: None, self.close)
        close_on_click_outside(self._panel, self.close)
        close.focus_set()

    def close(self) -> None:
        """Take it away."""
        self._hold.release()
        self._panel.destroy()
        self._on_close()

    def _row(self, rows: Box, message: Message) -> None:
        row = Box(rows)
        row.pack(fill="x", pady=(0, px(10)))
        kit.picture(row, _ICONS[message.kind], 14, message.kind).pack(
            side="left", anchor="n", padx=(0, px(10)), pady=px(3)
        )
        column = Box(row)
        column.pack(side="left", fill="x", expand=True)
        count = f"  ({message.count})" if message.count > 1 else ""
        top = Box(column)
        top.pack(fill="x")
        kit.label(top, _when(message.at), "caption", "muted").pack(side="right", anchor="n")
        kit.label(top, message.title + count, "strong", wraplength=px(250), justify="left").pack(
            side="left", anchor="w"
        )
        if message.text:
            kit.label(
                column, message.text, "caption", "fg2", wraplength=px(310), justify="left"
            ).pack(anchor="w")


def _when(at: float) -> str:
    """The time of a message; the day too when it was not today."""
    then, now = time.localtime(at), time.localtime()
    is_today = then[:3] == now[:3]
    return time.strftime("%H:%M:%S" if is_today else "%d %b %H:%M", then)


def _all(widget: tk.Misc) -> list[tk.Misc]:
    found = [widget]
    for child in widget.winfo_children():
        found += _all(child)
    return found


def _on_click(toast: Panel, on_close: Callable[[], object]) -> None:
    """A click on its words closes it; its buttons keep their own."""
    for part in _all(toast):
        if part.winfo_class() in {"TLabel", "TFrame"}:
            part.bind("<Button-1>", lambda _: on_close())

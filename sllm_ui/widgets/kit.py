"""The grounds of the window: surfaces, texts, panels, scrolled pages, panes of text and tooltips.

A container knows the surface it shows (`surf`), and what is put on it follows.
"""

import tkinter as tk
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import ttkbootstrap as tb

from sllm_ui.theme import Skin
from sllm_ui.widgets import habits
from sllm_ui.widgets.habits import Tips

if TYPE_CHECKING:
    from sllm_ui.widgets.dialogs import Dialogs

TIP_TAG = habits.TIP_TAG  # the tag of widgets whose tooltip comes by itself
WHEEL_PX = 48  # how far one notch of the wheel goes
BADGE_FILLS = {"muted": "raised", "fg2": "raised", "fg": "raised"}


class Toast(Protocol):
    """Shows a message in the corner of the window."""

    def __call__(
        self,
        kind: str,
        title: str,
        text: str,
        action: tuple[str, Callable[[], None]] | None = None,
    ) -> None:
        """``kind`` is good, warn, bad or accent; ``action`` is a label and what it does."""


class ShowHelp(Protocol):
    """Opens the help."""

    def __call__(self, page: str, anchor: str = "") -> None:
        """Show a page of it, at an anchor."""


class ShowMenu(Protocol):
    """Hangs a menu under a widget."""

    def __call__(
        self,
        anchor: tk.Misc,
        rows: Sequence[tuple[str, str, str, Callable[[], None]]],
        width: int = 300,
    ) -> None:
        """A row is (icon, text, why it cannot be now, what it does); without text it is a line."""


@dataclass(frozen=True)
class Desk:
    """What the window does for its views."""

    dialogs: "Dialogs"
    toast: Toast
    act: Callable[[str], None]  # runs an action of the table by its id
    help: ShowHelp
    copy: Callable[[str], None]  # puts a text on the clipboard
    menu: ShowMenu


class _Now:
    """The skin in use and its tooltips: one window a process."""

    skin: Skin
    tips: Tips


def setup(skin: Skin) -> None:
    """Take a skin into use; widgets made from now on wear it."""
    is_first = getattr(_Now, "skin", None) is None or _Now.skin.root is not skin.root
    _Now.skin = skin
    if is_first:
        _Now.tips = Tips(skin.root)
        habits.bind(skin.root, _Now.tips)
    _Now.tips.hide()
    _Now.tips.skin = skin


def skin() -> Skin:
    """The skin in use."""
    return _Now.skin


def px(length: float) -> int:
    """Logical to real pixels."""
    return _Now.skin.px(length)


def surface_of(widget: tk.Misc | None) -> str:
    """The name of the surface that a child of ``widget`` lies on."""
    while widget is not None:
        found: str | None = getattr(widget, "surf", None)
        if found:
            return found
        widget = widget.master
    return "page"


def restyle(widget: tk.Misc, style: str) -> None:
    """Give a widget one of the skin's styles, without ttkbootstrap reading its name first."""
    widget.tk.call(str(widget), "configure", "-style", style)


# Tooltips and states


def tooltip(widget: tk.Misc, text: str) -> None:
    """Say what a widget is for when the pointer rests on it; again replaces the text."""
    _Now.tips.texts[str(widget)] = text
    _Now.tips.tag(widget)


def tip_of(widget: tk.Misc) -> str:
    """The tooltip that a widget has."""
    return _Now.tips.texts.get(str(widget), "")


def tooltip_here(widget: tk.Misc, text: str) -> None:
    """Show a text beside the pointer soon (for parts of a canvas); an empty one takes it away."""
    _Now.tips.arm(widget, text)


def enable(widget: tk.Misc, is_on: bool, why: str = "") -> None:
    """Switch a control on or off; off, its tooltip says why."""
    reasons = _Now.tips.reasons
    if is_on or not why:
        reasons.pop(str(widget), None)
    else:
        reasons[str(widget)] = why
        _Now.tips.tag(widget)
    _set_enabled(widget, is_on)


def _set_enabled(widget: tk.Misc, is_on: bool) -> None:
    if isinstance(widget, tk.Text):
        widget.configure(state="normal" if is_on else "disabled")
    elif not isinstance(widget, tb.Label | tk.Canvas):  # ttk would dot the icons of a label
        widget.tk.call(str(widget), "state", "!disabled" if is_on else "disabled")
    for child in widget.winfo_children():
        _set_enabled(child, is_on)


# Grounds


class Box(tb.Frame):
    """Flat frame on its parent's surface, or on another one."""

    def __init__(self, master: tk.Misc, surface: str | None = None, **kw: Any) -> None:
        self.surf = surface or surface_of(master)
        super().__init__(master, style=_Now.skin.frame(self.surf), **kw)


class Panel(tb.Frame):
    """Rounded panel of the colour ``fill`` on its parent's surface."""

    def __init__(
        self,
        master: tk.Misc,
        fill: str = "card",
        pad: float = 16,
        r: int = 10,
        border: str = "line",
        on: str | None = None,
        **kw: Any,
    ) -> None:
        self.surf, self.border = fill, border
        self._on, self._radius = on or surface_of(master), r
        style = _Now.skin.panel(fill, self._on, r, border)
        super().__init__(master, style=style, padding=px(pad), **kw)

    def set_look(self, fill: str, border: str) -> None:
        """Change the colours, for a choice or a state; what lies on it keeps its own."""
        self.surf, self.border = fill, border
        restyle(self, _Now.skin.panel(fill, self._on, self._radius, border))


class Card(Panel):
    """Panel with a title line (`head`, room for buttons at its right) and a `body`."""

    def __init__(
        self,
        master: tk.Misc,
        title: str,
        icon: str | None = None,
        hint: str = "",
        pad: float = 16,
        **kw: Any,
    ) -> None:
        super().__init__(master, pad=pad, **kw)
        self.head = Box(self)
        self.head.pack(fill="x", pady=(0, px(10)))
        if icon:
            picture(self.head, icon, 15, "accent").pack(side="left", padx=(0, px(8)))
        self.title = label(self.head, title, "h2")
        self.title.pack(side="left")
        self._hint: Elided | None = None
        self.body = Box(self)
        self.body.pack(fill="both", expand=True)
        self.set_hint(hint)

    def set_hint(self, text: str) -> None:
        """Say a few words beside the title."""
        if self._hint is None and text:
            self._hint = Elided(self.head, text, "caption", "muted")
            self._hint.pack(side="left", fill="x", expand=True, padx=px(10), after=self.title)
        elif self._hint is not None:
            self._hint.set_text(text)


# Texts


def label(
    master: tk.Misc, text: str = "", role: str = "body", tone: str = "fg", **kw: Any
) -> tb.Label:
    """A text in a role (tiny caption body strong h2 read h1 figure hero mono) and a tone."""
    style = _Now.skin.label(role, surface_of(master), tone)
    return tb.Label(master, text=text, style=style, **kw)


def retone(widget: tk.Misc, role: str, tone: str) -> None:
    """Change the role and tone of a label."""
    restyle(widget, _Now.skin.label(role, surface_of(widget.master), tone))


def picture(master: tk.Misc, icon: str, size: int = 16, tone: str = "fg2") -> tb.Label:
    """An icon by itself."""
    return label(master, image=_Now.skin.icon(icon, size, tone))


EDGES = 4  # logical px left and right of the text of a label: as wide as these it loses letters


def wrap(widget: tb.Label, margin: float = 0) -> tb.Label:
    """Let a label break its lines at its parent's width, less ``margin`` and its own edges."""

    def fit(event: "tk.Event[tk.Misc]") -> None:
        widget.configure(wraplength=max(px(80), event.width - px(margin + EDGES)))

    widget.master.bind("<Configure>", fit, "+")
    return widget


def cut(text: str, role: str, room: int, where: str = "end") -> str:
    """The text with an ellipsis at its end (or in its middle, for paths) that fits ``room`` px."""
    font = _Now.skin.fonts[role]
    if font.measure(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        n = (low + high + 1) // 2
        low, high = (n, high) if font.measure(_shorten(text, n, where)) <= room else (low, n - 1)
    return _shorten(text, low, where) if low else "…"


def _shorten(text: str, n: int, where: str) -> str:
    if where == "middle":
        return text[: n // 3] + "…" + text[len(text) - (n - n // 3) :]
    return text[:n].rstrip() + "…"


class Elided(tb.Label):
    """A text that asks for no room: pack it with fill="x"; cut, it shows all as its tooltip."""

    def __init__(
        self,
        master: tk.Misc,
        text: str = "",
        role: str = "body",
        tone: str = "fg",
        where: str = "end",
        **kw: Any,
    ) -> None:
        style = _Now.skin.label(role, surface_of(master), tone)
        super().__init__(master, style=style, width=1, **kw)
        self._text, self._role, self._where, self._room = text, role, where, 0
        self.bind("<Configure>", self._fit)

    def set_text(self, text: str) -> None:
        """Show another text."""
        if text != self._text:
            self._text = text
            self._show()

    def set_tone(self, tone: str) -> None:
        """Show it in another tone."""
        retone(self, self._role, tone)

    def _fit(self, event: "tk.Event[tk.Misc]") -> None:
        if event.width != self._room:
            self._room = event.width
            self._show()

    def _show(self) -> None:
        if self._room:
            short = cut(self._text, self._role, self._room - px(3), self._where)
            self.configure(text=short)
            tooltip(self, self._text if short != self._text else "")


class Badge(Panel):
    """A small tinted word of state; tones good, warn, bad, accent and muted."""

    def __init__(self, master: tk.Misc, text: str, tone: str = "good") -> None:
        fill = BADGE_FILLS.get(tone, f"{tone}_bg")
        super().__init__(master, fill=fill, pad=0, r=5, border=fill)
        self.configure(padding=(px(7), px(1), px(7), px(2)))
        self._label = label(self, text, "caption", tone)
        self._label.pack()

    def show(self, text: str, tone: str) -> None:
        """Say another word in another tone."""
        fill = BADGE_FILLS.get(tone, f"{tone}_bg")
        if fill != self.surf:
            self.set_look(fill, fill)
        self._label.configure(text=text)
        retone(self._label, "caption", tone)


class Tile(Panel):
    """A figure with its name above and a note below."""

    def __init__(
        self,
        master: tk.Misc,
        title: str,
        value: str = "-",
        note: str = "",
        tone: str = "fg",
        tip: str | None = None,
    ) -> None:
        super().__init__(master, pad=0, r=8)
        self.configure(padding=(px(14), px(9), px(12), px(9)))
        Elided(self, title, "caption", "muted").pack(fill="x")
        self._value = label(self, value, "figure", tone, width=1)
        self._value.pack(fill="x", pady=(px(1), 0))
        self._note = Elided(self, note, "caption", "muted")
        self._note.pack(fill="x")
        self._text, self._tone, self._role = value, tone, "figure"
        self._value.bind("<Configure>", lambda event: self._fit())
        if tip:
            tooltip(self, tip)

    def show(self, value: str, note: str = "", tone: str = "fg") -> None:
        """Show a figure, its tone and its note."""
        if (value, tone) != (self._text, self._tone):
            self._text, self._tone = value, tone
            self._value.configure(text=value)
            retone(self._value, self._role, tone)
            self._fit()
        self._note.set_text(note)

    def _fit(self) -> None:
        """A figure that is too long for the tile is set smaller, never cut."""
        room, fonts = self._value.winfo_width(), _Now.skin.fonts
        roles = ("figure", "h1", "h2", "strong")
        role = next((r for r in roles if fonts[r].measure(self._text) <= room), "caption")
        if role != self._role and room > 1:
            self._role = role
            retone(self._value, role, self._tone)

    def set_compact(self, is_compact: bool) -> None:
        """Leave the note away where there is little room."""
        if is_compact:
            self._note.pack_forget()
        else:
            self._note.pack(fill="x")


class Flow(Box):
    """Grid that takes as many columns as its width allows; full rows: 6, 3 or 2 of six."""

    def __init__(self, master: tk.Misc, min_width: float, gap: float = 12, **kw: Any) -> None:
        super().__init__(master, **kw)
        self._min_width, self._gap, self._columns, self._n = px(min_width), px(gap), 0, 0
        self.bind("<Configure>", lambda event: self._lay(event.width))

    def _lay(self, width: int) -> None:
        kids: list[Any] = self.winfo_children()
        if not kids:
            return
        n = max(1, min(len(kids), (width + self._gap) // (self._min_width + self._gap)))
        while len(kids) % n and n > 1 and len(kids) > n:
            n -= 1
        if (n, len(kids)) == (self._columns, self._n):
            return
        for column in range(self._columns):
            self.columnconfigure(column, weight=0, uniform="")
        self._columns, self._n = n, len(kids)
        for i, kid in enumerate(kids):
            row, column = divmod(i, n)
            gaps = {"padx": (self._gap * (column > 0), 0), "pady": (self._gap * (row > 0), 0)}
            kid.grid(row=row, column=column, sticky="nsew", **gaps)
            if isinstance(kid, Tile):
                kid.set_compact(len(kids) > n)
        for column in range(n):
            self.columnconfigure(column, weight=1, uniform="flow")


# Scrolling


class Scroll(Box):
    """A ground that scrolls: put children into it; `pack` and `grid` place it with its bar.

    The bar has a lane of its own at the right that is always kept, so that it can come and go
    without changing a width: a layout that looks at its width would never come to rest.
    """

    def __init__(
        self,
        master: tk.Misc,
        surface: str | None = None,
        width: float = 100,
        lane: float = 12,
        min_height: float = 0,
    ) -> None:
        self.outer = Box(master, surface)
        ground = _Now.skin.surface(self.outer.surf)
        self._canvas = tk.Canvas(
            self.outer, bg=ground, highlightthickness=0, bd=0, width=px(width), height=px(100)
        )
        self._canvas.pack(side="left", fill="both", expand=True, padx=(0, px(lane)))
        self._bar = tb.Scrollbar(
            self.outer, command=self._canvas.yview, style=_Now.skin.scrollbar(self.outer.surf)
        )
        super().__init__(self._canvas, self.outer.surf)
        self._min_height, self._is_gone = px(min_height), False
        self._item = self._canvas.create_window(0, 0, window=self, anchor="nw")
        self._canvas.configure(yscrollcommand=self._on_view)
        self._canvas.bind("<Configure>", self._on_canvas)
        self.bind("<Configure>", self._on_inner)
        for manager in (tk.Pack, tk.Grid, tk.Place):
            word = manager.__name__.lower()
            for name in (word, *(f"{word}_{what}" for what in ("configure", "forget", "info"))):
                setattr(self, name, getattr(self.outer, name))
        self.grid_remove = self.outer.grid_remove  # type: ignore[method-assign]
        self.winfo_ismapped = self.outer.winfo_ismapped  # type: ignore[method-assign]

    def destroy(self) -> None:
        """Destroy the frame around it too."""
        if self._is_gone:
            super().destroy()
        else:
            self._is_gone = True
            self.outer.destroy()

    def _on_canvas(self, event: "tk.Event[tk.Misc]") -> None:
        self._canvas.itemconfigure(self._item, width=event.width)
        if self._min_height:
            self._canvas.itemconfigure(self._item, height=max(self._min_height, event.height))

    def set_min_height(self, height: float) -> None:
        """Scroll when there is less room than this, in logical px."""
        self._min_height = px(height)
        self._canvas.itemconfigure(
            self._item, height=max(self._min_height, self._canvas.winfo_height())
        )

    def _on_inner(self, event: "tk.Event[tk.Misc]") -> None:
        self._canvas.configure(scrollregion=(0, 0, event.width, event.height))

    def _on_view(self, first: float, last: float) -> None:
        self._bar.set(first, last)
        if float(first) <= 0 and float(last) >= 1:
            self._bar.place_forget()
        else:
            self._bar.place(relx=1, relheight=1, anchor="ne")

    def on_wheel(self, notches: float) -> bool:
        """Scroll by the wheel; False if everything is in view."""
        first, last = self._canvas.yview()
        if first <= 0 and last >= 1:
            return False
        self.scroll_to(first * self.winfo_height() + notches * px(WHEEL_PX))
        return True

    def scroll_to(self, y: float) -> None:
        """Show the ground from ``y`` px on."""
        self._canvas.yview_moveto(max(0.0, y) / max(1, self.winfo_height()))

    def on_focus_in(self, widget: tk.Misc) -> None:
        """Keep what has the focus in view."""
        self.see(widget)

    def see(self, widget: tk.Misc) -> None:
        """Scroll until a widget on it is in view."""
        top = widget.winfo_rooty() - self.winfo_rooty()
        first = self._canvas.yview()[0] * self.winfo_height()
        room, height = self._canvas.winfo_height(), widget.winfo_height()
        if top < first or height > room:
            self.scroll_to(top - px(8))
        elif top + height > first + room:
            self.scroll_to(top + height + px(8) - room)


class Fill(Scroll):
    """A page that fills its window, and scrolls only when that is lower than ``min_height``."""

    def __init__(self, master: tk.Misc, min_height: float, **kw: Any) -> None:
        super().__init__(master, min_height=min_height, **kw)


# Panes of text

_FOLLOWED: "WeakSet[tk.Text]" = WeakSet()  # panes whose end stays in view


def pane(
    master: tk.Misc,
    height: int = 8,
    mono: bool = False,
    wrap: str = "word",
    read_only: bool = False,
    **kw: Any,
) -> tuple[Panel, tk.Text]:
    """A text pane inside a rounded panel; the panel is what is placed."""
    look, p = _Now.skin, _Now.skin.p
    panel = Panel(master, fill="field", pad=1, r=8, border="line2")
    options: dict[str, Any] = {
        "bg": p.field,
        "fg": p.fg,
        "insertbackground": p.fg,
        "selectbackground": p.select,
        "selectforeground": p.fg,
        "inactiveselectbackground": p.select,
        "insertwidth": px(1.5),
        "relief": "flat",
        "bd": 0,
        "highlightthickness": 0,
        "font": "mono" if mono else "body",
        "padx": px(12),
        "pady": px(8),
        "spacing1": px(1),
        "spacing3": px(2),
        "width": 10,
        "takefocus": True,
    }
    text = tk.Text(panel, height=height, wrap=wrap, **(options | kw))  # type: ignore[arg-type]
    bar = tb.Scrollbar(panel, command=text.yview, style=look.scrollbar("field"))

    def on_view(first: float, last: float) -> None:
        bar.set(first, last)
        if float(first) <= 0 and float(last) >= 1:
            bar.place_forget()
        else:
            bar.place(relx=1, relheight=1, anchor="ne", x=-px(3), y=px(3), height=-px(6))

    def on_tab(event: "tk.Event[tk.Text]") -> str:
        following = text.tk_focusNext()
        if following is not None:
            following.focus_set()
        return "break"

    text.configure(yscrollcommand=on_view)
    text.pack(fill="both", expand=True, padx=px(2), pady=px(2))
    text.bind("<FocusIn>", lambda event: panel.set_look("field", "accent_hi"))
    text.bind("<FocusOut>", lambda event: panel.set_look("field", "line2"))
    text.bind("<Tab>", on_tab)
    text.bind("<Configure>", lambda event: text.see("end-1c") if text in _FOLLOWED else None)
    text.bind("<Button-1>", lambda event: text.focus_set(), "+")
    for tone in ("fg2", "muted", "accent", "good", "warn", "bad"):
        text.tag_configure(tone, foreground=look.ink(tone))
    text.tag_configure("strong", font="strong")
    if read_only:
        text.configure(state="disabled")
    return panel, text


def set_text(text: tk.Text, content: str) -> None:
    """Replace what a pane shows; nothing happens when it shows that already."""
    if text.get("1.0", "end-1c") == content:
        return
    state = str(text.cget("state"))
    text.configure(state="normal")
    text.replace("1.0", "end", content)
    text.configure(state=state)  # type: ignore[call-overload]


def append_text(text: tk.Text, content: str, tag: str = "", limit: int = 3000) -> None:
    """Add to a pane's end and follow it if the end was in view; the oldest lines go."""
    state = str(text.cget("state"))
    if text.winfo_ismapped() and text.yview()[1] < 1.0:
        _FOLLOWED.discard(text)
    else:
        _FOLLOWED.add(text)
    text.configure(state="normal")
    text.insert("end", content, tag or ())
    extra = int(text.index("end-1c").split(".")[0]) - limit
    if extra > 0:
        text.delete("1.0", f"{extra + 1}.0")
    text.configure(state=state)  # type: ignore[call-overload]
    if text in _FOLLOWED:
        text.see("end-1c")


class Spark(tk.Canvas):
    """A line of the last values, 0 to 1, without axes."""

    def __init__(
        self, master: tk.Misc, tone: str = "accent", height: float = 30, n: int = 60
    ) -> None:
        look = _Now.skin
        ground = look.surface(surface_of(master))
        size = {"height": px(height), "width": px(60)}
        super().__init__(master, bg=ground, highlightthickness=0, bd=0, **size)  # type: ignore[arg-type]
        self._values: list[float] = []
        self._n = n
        self._area = self.create_polygon(0, 0, 0, 0, fill=look.surface(f"{tone}_bg"), outline="")
        self._line = self.create_line(0, 0, 0, 0, fill=look.ink(tone), width=px(1.5))
        self.bind("<Configure>", lambda event: self._draw())

    def set_values(self, values: Sequence[float]) -> None:
        """Show these, the newest last at the right end; nothing where there is none yet."""
        self._values = list(values)[-self._n :]
        self._draw()

    def _draw(self) -> None:
        width, height = self.winfo_width(), self.winfo_height()
        points = spark_points(self._values, self._n, width, height)
        state = "normal" if points else "hidden"
        for item in (self._line, self._area):
            self.itemconfigure(item, state=state)
        if points:
            self.coords(self._line, *points)
            self.coords(self._area, *points, width, height, points[0], height)


def spark_points(values: Sequence[float], n: int, width: int, height: int) -> list[float]:
    """X and y of the values in turn, the last at the right; none for fewer than two."""
    first, points = n - len(values), []
    for i, value in enumerate(values, start=first):
        points += [i * width / (n - 1), height - 2 - min(1.0, max(0.0, value)) * (height - 5)]
    return points if len(values) > 1 else []

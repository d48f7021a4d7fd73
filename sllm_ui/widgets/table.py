"""A table that draws only the rows in view, so that 200,000 of them cost no more than twenty."""

import tkinter as tk
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ttkbootstrap as tb
from PIL import Image, ImageDraw

from sllm_ui.widgets import kit
from sllm_ui.widgets.kit import Box, px

ROLES = {"strong": "strong", "mono": "mono_s", "muted": "caption"}
TONES = {"strong": "fg", "muted": "muted"}
PAD, HEAD, BAR_LANE = 8, 28, 12  # logical px
REMEMBERED = 5000  # shortened texts
CONTROL, SHIFT = 0x0004, 0x0001


@dataclass(frozen=True)
class Col:
    """A column. Narrow tables leave columns away, those with the highest `drop` first."""

    title: str
    width: float  # logical px, without what it is stretched by
    anchor: str = "w"  # w, e or center
    kind: str = "text"  # text strong muted mono bar badge
    stretch: int = 0  # share of the room that is left
    drop: int = 0
    tip: str = ""


@dataclass(frozen=True)
class _Place:
    """A column as it stands now; real px."""

    index: int
    col: Col
    x: int
    width: int


class VTable(Box):
    """Rows by number: ``row(i)`` gives a value a column, asked for when the row comes into view.

    A value of a text column is a text or (text, tone), of a badge (text, tone) or "", of a bar a
    share 0..1, (share, tone) or (share, tone, text), or a text without a bar, such as "-".

    ``on_menu(i, anchor)`` is asked for what can be done with row ``i``: by the other mouse button
    or the menu key; it hangs under ``anchor``. ``on_key(keysym)`` hears of keys that mean nothing
    here, and says whether one meant something.
    """

    def __init__(
        self,
        master: tk.Misc,
        cols: Sequence[Col],
        count: int = 0,
        row: Callable[[int], Sequence[Any]] | None = None,
        row_height: float = 30,
        visible: int | None = None,
        on_select: Callable[[int], object] | None = None,
        on_open: Callable[[int], object] | None = None,
        on_sort: Callable[[int], object] | None = None,
        multi: bool = False,
        tip: str = "",
        on_menu: Callable[[int, tk.Misc], object] | None = None,
        on_key: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__(master)
        self._cols, self._is_multi, self._tip = list(cols), multi, tip
        self._count, self._row = count, row or (lambda i: [""] * len(cols))
        self._on_select, self._on_open, self._on_sort = on_select, on_open, on_sort
        self._height, self._head_height = px(row_height), px(HEAD)
        self._on_menu, self._on_key = on_menu, on_key
        self._top, self._hover, self._anchor = 0, -1, 0
        self.selected: int | None = None
        self.chosen: frozenset[int] = frozenset()
        self._sorted: tuple[int, bool] | None = None
        self._head_at = 0
        self._places: list[_Place] = []
        self._lines: list[_Line] = []
        self._short: dict[tuple[str, str, int], str] = {}
        p, ground = kit.skin().p, kit.skin().surface(self.surf)
        plain: dict[str, Any] = {
            "bg": ground,
            "bd": 0,
            "highlightthickness": px(1),
            "highlightbackground": ground,
            "highlightcolor": p.accent_hi,
            "width": px(100),
        }
        self._head = tk.Canvas(self, height=self._head_height, takefocus=bool(on_sort), **plain)
        self._head.configure(highlightthickness=0)
        body_height = self._height * (visible or 4)
        self._body = tk.Canvas(self, height=body_height, takefocus=True, **plain)
        self._head.pack(fill="x")
        self._body.pack(fill="both", expand=True)
        self._bar = tb.Scrollbar(self, command=self._drag, style=kit.skin().scrollbar(self.surf))
        self._spot = tk.Frame(self._body, width=1, height=1, bg=ground)  # what a menu hangs under
        self._bind_events()

    def show(
        self,
        count: int,
        row: Callable[[int], Sequence[Any]],
        selected: int | Collection[int] | None = None,
    ) -> None:
        """Show other rows; ``selected`` None takes the choice away, a collection is for `multi`."""
        had_bar = self._has_bar()
        self._count, self._row = count, row
        several = selected if isinstance(selected, Collection) else ()
        wanted = min(several, default=None) if not isinstance(selected, int) else selected
        self.selected = wanted if wanted is not None and 0 <= wanted < count else None
        rest = {i for i in several if 0 <= i < count}
        self.chosen = frozenset(rest or ({self.selected} if self.selected is not None else ()))
        if had_bar != self._has_bar():
            self._build()
        else:
            self._refresh()

    def set_sort(self, column: int, is_descending: bool = False) -> None:
        """Mark the column by which the rows are sorted."""
        if self._sorted != (column, is_descending):
            self._sorted = (column, is_descending)
            self._draw_head()

    def set_title(self, column: int, title: str) -> None:
        """Another word at the head of a column."""
        if self._cols[column].title != title:
            self._cols[column] = replace(self._cols[column], title=title)
            self._build()

    def see(self, index: int) -> None:
        """Scroll until a row is in view."""
        self._top = max(min(self._top, index), index - self._n() + 1)
        self._refresh()

    # What it is made of

    def _bind_events(self) -> None:
        body, head = self._body, self._head
        body.bind("<Configure>", lambda event: self._build())
        for sequence, handle in {
            "<Button-1>": self._press,
            "<Double-Button-1>": self._open_at,
            "<Motion>": self._move,
            "<Leave>": self._leave,
            "<Key>": self._key,
        }.items():
            body.bind(sequence, handle)
        if self._on_menu is not None:
            other = (
                "<Button-2>" if body.tk.call("tk", "windowingsystem") == "aqua" else "<Button-3>"
            )
            body.bind(other, self._press_menu)
        head.bind("<Button-1>", self._press_head)
        head.bind("<Motion>", self._move_head)
        head.bind("<Key>", self._key_head)
        head.bind("<Leave>", lambda event: kit.tooltip_here(head, ""))
        for sequence in ("<FocusIn>", "<FocusOut>"):
            head.bind(sequence, lambda event: self._draw_head())

    def _n(self) -> int:
        """How many whole rows are in view."""
        return max(1, (self._body.winfo_height() - 2 * px(1)) // self._height)

    def _has_bar(self) -> bool:
        return self._count > self._n()

    def _lay(self, width: int) -> None:
        """Divide the width: leave columns away, then stretch, or shrink what still is too wide."""
        breadth = kit.skin().breadth
        live = list(range(len(self._cols)))
        asked = [px(col.width * breadth) for col in self._cols]
        while sum(asked[i] for i in live) > width and any(self._cols[i].drop for i in live):
            live.remove(max(live, key=lambda i: self._cols[i].drop))
        fixed = sum(asked[i] for i in live)
        shares = sum(self._cols[i].stretch for i in live)
        squeeze = min(1.0, width / max(1, fixed))
        x, self._places = 0, []
        for i in live:
            extra = max(0, width - fixed) * self._cols[i].stretch // shares if shares else 0
            own = int(asked[i] * squeeze) + extra
            self._places.append(_Place(i, self._cols[i], x, own))
            x += own

    def _build(self) -> None:
        """Draw everything anew: after a change of size, or when the bar comes or goes."""
        width = self._body.winfo_width()
        if width <= 1:
            return
        has_bar = self._has_bar()
        self._lay(width - (px(BAR_LANE) if has_bar else 0))
        self._short.clear()
        self._body.delete("all")
        rows = -(-(self._body.winfo_height() - 2 * px(1)) // self._height)  # the last may be cut
        end = self._places[-1].x + self._places[-1].width if self._places else 0
        self._lines = [_Line(self._body, k, self._height, end, self._places) for k in range(rows)]
        if has_bar:
            ring = px(1)
            inside: dict[str, Any] = {"x": -ring, "y": ring, "height": -2 * ring}
            self._bar.place(in_=self._body, relx=1, relheight=1, anchor="ne", **inside)
        else:
            self._bar.place_forget()
        self._draw_head()
        self._refresh()

    def _draw_head(self) -> None:
        head, p = self._head, kit.skin().p
        head.delete("all")
        # focus_get() fails while a combobox shows its list, which Python does not know
        is_focused, middle = str(head.tk.call("focus")) == str(head), self._head_height // 2 - px(2)
        for place in self._places:
            mark, ink = "", p.muted
            if self._sorted is not None and self._sorted[0] == place.index:
                mark, ink = ("  ↓" if self._sorted[1] else "  ↑"), p.fg2
            room = place.width - 2 * px(PAD)
            text = kit.cut(place.col.title, "caption", room - px(14 if mark else 0)) + mark
            _text(head, place, middle, text, ink, "caption")
            if is_focused and place.index == self._head_at:
                head.create_rectangle(
                    place.x + px(2),
                    px(1),
                    place.x + place.width - px(3),
                    self._head_height - px(4),
                    outline=p.accent_hi,
                    width=px(1.5),
                )
        y = self._head_height - 1
        head.create_line(0, y, head.winfo_width(), y, fill=p.line)

    def _refresh(self) -> None:
        """Fill the rows in view."""
        self._top = max(0, min(self._top, self._count - self._n()))
        for k, line in enumerate(self._lines):
            i = self._top + k
            if i < self._count:
                line.show(self._row(i), self._cut)
                self._colour(k)
            else:
                line.hide()
        if self._count:
            last = min(1.0, (self._top + self._n()) / self._count)
            self._bar.set(self._top / self._count, last)

    def _colour(self, k: int) -> None:
        """The ground of line ``k``: chosen, under the pointer or plain."""
        if not 0 <= k < len(self._lines) or self._top + k >= self._count:
            return
        i = self._top + k
        name = "select" if i in self.chosen else "raised" if k == self._hover else self.surf
        self._lines[k].set_ground(kit.skin().surface(name))

    def _cut(self, text: str, role: str, room: int) -> str:
        """The text as it fits; paths lose their middle. Measuring is slow, so it is remembered."""
        key = (text, role, room)
        if key not in self._short:
            if len(self._short) > REMEMBERED:
                self._short.clear()
            where = "middle" if "/" in text or "\\" in text else "end"
            self._short[key] = kit.cut(text.replace("\n", " "), role, room, where)
        return self._short[key]

    # Scrolling

    def on_wheel(self, notches: float) -> bool:
        """Scroll by the wheel; False if all rows are in view."""
        if not self._has_bar():
            return False
        self._top += round(notches * 3) or (1 if notches > 0 else -1)
        self._refresh()
        return True

    def _drag(self, what: str, amount: str, unit: str = "") -> None:
        if what == "moveto":
            self._top = round(float(amount) * self._count)
        else:
            self._top += int(amount) * (self._n() if unit == "pages" else 3)
        self._refresh()

    # Choosing

    def _line_at(self, y: int) -> int:
        k = y // self._height
        return k if k >= 0 and self._top + k < self._count else -1

    def _press(self, event: "tk.Event[tk.Misc]") -> None:
        self._body.focus_set()
        k = self._line_at(event.y)
        if k >= 0:
            state = int(event.state)
            self._choose(self._top + k, bool(state & CONTROL), bool(state & SHIFT))

    def _open_at(self, event: "tk.Event[tk.Misc]") -> None:
        k = self._line_at(event.y)
        if k >= 0 and self._on_open is not None:
            self._on_open(self._top + k)

    def _choose(self, i: int, is_added: bool = False, is_range: bool = False) -> None:
        """Choose row ``i`` as a person does."""
        if self._count == 0:
            return
        i = max(0, min(i, self._count - 1))
        if self._is_multi and is_range:
            low, high = sorted((self._anchor, i))
            self.chosen = frozenset(range(low, high + 1))
        elif self._is_multi and is_added:
            self.chosen, self._anchor = self.chosen ^ {i}, i
        else:
            self.chosen, self._anchor = frozenset({i}), i
        self.selected = i
        self.see(i)
        if self._on_select is not None:
            self._on_select(i)

    def _key(self, event: "tk.Event[tk.Misc]") -> str | None:
        at = -1 if self.selected is None else self.selected
        steps = {"Up": -1, "Down": 1, "Prior": -self._n(), "Next": self._n()}
        key, state = event.keysym.removeprefix("KP_"), int(event.state)
        if key in steps:
            self._choose(at + steps[key], is_range=bool(state & SHIFT))
        elif key in {"Home", "End"}:
            self._choose(0 if key == "Home" else self._count - 1, is_range=bool(state & SHIFT))
        elif key in {"Return", "Enter"} and self._on_open is not None and at >= 0:
            self._on_open(at)
        elif key == "space" and at >= 0:
            self._choose(at, is_added=True)
        elif key.lower() == "a" and state & CONTROL and self._is_multi and self._count:
            self.chosen = frozenset(range(self._count))
            self._choose_all()
        elif (key == "Menu" or (key == "F10" and state & SHIFT)) and self._on_menu and at >= 0:
            self.see(at)
            self._hang_menu(at, px(40), (at - self._top + 1) * self._height)
        elif self._on_key is None or not self._on_key(key):
            return None
        return "break"

    def _press_menu(self, event: "tk.Event[tk.Misc]") -> None:
        self._body.focus_set()
        k = self._line_at(event.y)
        if k >= 0:
            i = self._top + k
            if i not in self.chosen:
                self._choose(i)
            self._hang_menu(i, event.x, event.y)

    def _hang_menu(self, i: int, x: int, y: int) -> None:
        self._spot.place(x=x, y=y)
        self._spot.update_idletasks()
        assert self._on_menu is not None
        self._on_menu(i, self._spot)

    def focus_rows(self) -> None:
        """Give the keyboard to the rows."""
        self._body.focus_set()

    def _choose_all(self) -> None:
        self.selected = self.selected or 0
        self._refresh()
        if self._on_select is not None:
            self._on_select(self.selected)

    # Pointer and header

    def _move(self, event: "tk.Event[tk.Misc]") -> None:
        k = self._line_at(event.y)
        place = self._place_at(event.x)
        full = self._lines[k].cut_text(place) if k >= 0 and place is not None else ""
        self._say(self._body, (k, place), full or (self._tip if k < 0 else ""))
        if k != self._hover:
            old, self._hover = self._hover, k
            self._colour(old)
            self._colour(k)

    def _leave(self, event: "tk.Event[tk.Misc]") -> None:
        old, self._hover = self._hover, -1
        self._colour(old)
        self._said = None
        kit.tooltip_here(self._body, "")

    _said: object = None

    def _say(self, canvas: tk.Canvas, where: object, text: str) -> None:
        """Arm the tooltip of a place once, not at each move over it."""
        if where != self._said:
            self._said = where
            kit.tooltip_here(canvas, text)

    def _place_at(self, x: int) -> _Place | None:
        return next((p for p in self._places if p.x <= x < p.x + p.width), None)

    def _move_head(self, event: "tk.Event[tk.Misc]") -> None:
        place = self._place_at(event.x)
        if place is not None:
            sort = f"Sort by {place.col.title}" if self._on_sort and place.col.title else ""
            self._say(self._head, ("head", place.index), place.col.tip or sort)
            self._head.configure(cursor="hand2" if sort else "")

    def _press_head(self, event: "tk.Event[tk.Misc]") -> None:
        place = self._place_at(event.x)
        if place is not None and self._on_sort is not None:
            self._head_at = place.index
            self._on_sort(place.index)

    def _key_head(self, event: "tk.Event[tk.Misc]") -> str | None:
        indexes = [place.index for place in self._places]
        if not indexes or self._on_sort is None:
            return None
        at = indexes.index(self._head_at) if self._head_at in indexes else 0
        if event.keysym in {"Left", "Right"}:
            step = 1 if event.keysym == "Right" else -1
            self._head_at = indexes[max(0, min(at + step, len(indexes) - 1))]
            self._draw_head()
        elif event.keysym in {"Return", "space", "KP_Enter"}:
            self._on_sort(indexes[at])
        elif event.keysym == "Down":
            self._body.focus_set()
        else:
            return None
        return "break"


def _text(canvas: tk.Canvas, place: _Place, y: int, text: str, fill: str, font: str) -> int:
    x = {
        "w": place.x + px(PAD),
        "e": place.x + place.width - px(PAD),
        "center": place.x + place.width // 2,
    }[place.col.anchor]
    anchor: Any = place.col.anchor
    return canvas.create_text(x, y, anchor=anchor, text=text, fill=fill, font=font)


class _Line:
    """One line of the canvas, which shows one row after the other as the table scrolls."""

    def __init__(
        self, canvas: tk.Canvas, k: int, height: int, width: int, places: Sequence[_Place]
    ) -> None:
        self._canvas, self._middle = canvas, k * height + height // 2
        self._is_hidden = True
        look, y = kit.skin(), k * height
        self._ground = canvas.create_rectangle(0, y, width, y + height, width=0, state="hidden")
        foot = y + height - 1
        self._foot = canvas.create_line(0, foot, width, foot, fill=look.p.line, state="hidden")
        self._fill = ""
        self._cells: list[tuple[_Place, list[int]]] = []
        self._values: list[Any] = [None] * len(places)
        self._full: dict[int, str] = {}
        for place in places:
            self._cells.append((place, self._make(place)))

    def _make(self, place: _Place) -> list[int]:
        """The items of one cell."""
        canvas, p, y = self._canvas, kit.skin().p, self._middle
        if place.col.kind == "badge":
            image = canvas.create_image(0, 0, anchor="nw", state="hidden")
            text = canvas.create_text(place.x + 2 * px(PAD), y, anchor="w", font="caption")
            return [image, text]
        if place.col.kind == "bar":
            box = (place.x + px(PAD), y - px(3), place.x + px(PAD) + self._bar(place), y + px(3))
            trough = canvas.create_rectangle(*box, fill=p.raised, width=0, state="hidden")
            value = canvas.create_rectangle(*box, width=0, state="hidden")
            right = place.x + place.width - px(PAD)
            figure = canvas.create_text(right, y, anchor="e", fill=p.fg2, font="caption")
            return [trough, value, figure]
        tone = TONES.get(place.col.kind, "fg2")
        font = ROLES.get(place.col.kind, "body")
        return [_text(canvas, place, y, "", kit.skin().ink(tone), font)]

    @staticmethod
    def _bar(place: _Place) -> int:
        """How long a full bar is: what the figure leaves."""
        return max(px(8), place.width - px(54))

    def show(self, values: Sequence[Any], cut: Callable[[str, str, int], str]) -> None:
        """Show a row; cells that show its value already are left alone."""
        if self._is_hidden:
            self._is_hidden = False
            for item in (self._ground, self._foot):
                self._canvas.itemconfigure(item, state="normal")
        for n, (place, items) in enumerate(self._cells):
            value = values[place.index]
            if value != self._values[n]:
                self._values[n] = value
                {"badge": self._badge, "bar": self._share}.get(place.col.kind, self._words)(
                    place, items, value, cut
                )

    def hide(self) -> None:
        """Show nothing: there are fewer rows than room."""
        if not self._is_hidden:
            self._is_hidden = True
            for item in (self._ground, self._foot):
                self._canvas.itemconfigure(item, state="hidden")
            self._values = [None] * len(self._values)
            for place, items in self._cells:
                empty = {"badge": self._badge, "bar": self._share}.get(place.col.kind, self._words)
                empty(place, items, "", lambda text, role, room: text)

    def set_ground(self, colour: str) -> None:
        """Paint the ground."""
        if colour != self._fill:
            self._fill = colour
            self._canvas.itemconfigure(self._ground, fill=colour)

    def cut_text(self, place: _Place) -> str:
        """The whole text of a cell if not all of it is shown."""
        return self._full.get(place.index, "")

    def _words(
        self, place: _Place, items: list[int], value: Any, cut: Callable[[str, str, int], str]
    ) -> None:
        text, tone = value if isinstance(value, tuple) else (value, "")
        text = "" if text is None else str(text)
        role = ROLES.get(place.col.kind, "body")
        short = cut(text, role, place.width - 2 * px(PAD) + px(2))
        self._full[place.index] = text if short != text else ""
        ink = kit.skin().ink(tone or TONES.get(place.col.kind, "fg2"))
        self._canvas.itemconfigure(items[0], text=short, fill=ink)

    def _share(
        self, place: _Place, items: list[int], value: Any, cut: Callable[[str, str, int], str]
    ) -> None:
        trough, bar, figure = items
        canvas = self._canvas
        if value is None or isinstance(value, str):
            for item in (trough, bar):
                canvas.itemconfigure(item, state="hidden")
            canvas.itemconfigure(figure, text=value or "")
            return
        share, tone, text = _share_parts(value)
        length = self._bar(place) * min(1.0, max(0.0, share))
        x, y = place.x + px(PAD), self._middle
        canvas.coords(bar, x, y - px(3), x + length, y + px(3))
        canvas.itemconfigure(trough, state="normal")
        canvas.itemconfigure(bar, state="normal", fill=kit.skin().ink(tone))
        canvas.itemconfigure(figure, text=text)

    def _badge(
        self, place: _Place, items: list[int], value: Any, cut: Callable[[str, str, int], str]
    ) -> None:
        image, label = items
        text, tone = value or ("", "muted")
        short = cut(text, "caption", place.width - 3 * px(PAD))
        self._full[place.index] = text if short != text else ""
        look, canvas = kit.skin(), self._canvas
        canvas.itemconfigure(label, text=short, fill=look.ink(tone))
        if not short:
            canvas.itemconfigure(image, state="hidden")
            return
        fill = look.surface(kit.BADGE_FILLS.get(tone, f"{tone}_bg"))
        x0, y0, x1, y1 = canvas.bbox(label)
        size = (x1 - x0 + 2 * px(7), y1 - y0 + px(3))
        picture = look.photo(("badge", size, fill), lambda: _pill(size, fill))
        canvas.itemconfigure(image, image=picture, state="normal")
        canvas.coords(image, x0 - px(7), y0 - px(1))


def _share_parts(value: Any) -> tuple[float, str, str]:
    """A bar's value as share, tone, text."""
    parts = value if isinstance(value, tuple) else (value,)
    share = float(parts[0])
    tone = parts[1] if len(parts) > 1 else "accent"
    return share, tone, parts[2] if len(parts) > 2 else f"{share * 100:.0f}"


def _pill(size: tuple[int, int], fill: str) -> Image.Image:
    """The ground of a badge, clear outside its round corners, for it lies on changing rows."""
    width, height = size[0] * 4, size[1] * 4
    big = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    ImageDraw.Draw(big).rounded_rectangle((0, 0, width - 1, height - 1), px(5) * 4, fill=fill)
    return big.resize(size, Image.Resampling.LANCZOS)

"""The manual as a page: list and search at the left, text at the right."""

import tkinter as tk
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from sllm_ui.tabs.help import pages
from sllm_ui.tabs.help.pages import Block, Row, Span, Spans
from sllm_ui.tabs.help.presenter import ENTRIES, Presenter, State, hit_blocks, is_address
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import Button, button, entry
from sllm_ui.widgets.kit import Box, Desk, Scroll, enable, label, pane, picture, px, skin, tooltip

LIST_PX = 250
COLUMN_PX = 860  # the widest a text is set: longer lines are hard to follow
# Room above a block and below it, in logical px: lines of their own, because a tag's own spacing
# would be filled with its background.
_GAPS = {"h1": 2, "h2": 14, "h3": 8, "text": 3, "contents": 3, "code": 5, "table": 5, "hit": 5}
_GAPS |= {"note": 5}
_AFTER = {"h1": 5, "h2": 3, "contents": 5, "code": 5, "table": 5, "note": 5}
RELAY_MS = 120  # after the last change of width
_MANY_COLUMNS = 5  # from here on a table is set smaller


class View(Box):
    """The help page."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master, padding=(px(16), px(16), px(16), px(16)))
        self._presenter, self._desk = presenter, desk
        left = Box(self, width=px(LIST_PX))
        left.pack(side="left", fill="y", padx=(0, px(12)))
        left.pack_propagate(False)
        self._build_list(left)
        right = Box(self)
        right.pack(side="left", fill="both", expand=True)
        self._build_reader(right)
        self._bind_history(self)

    def _bind_history(self, widget: tk.Misc) -> None:
        """Back and forward work wherever the focus is on this page."""
        presenter = self._presenter
        widget.bind("<Alt-Left>", partial(_do, presenter.go_back))
        widget.bind("<Alt-Right>", partial(_do, presenter.go_forward))
        for child in widget.winfo_children():
            self._bind_history(child)

    def _build_list(self, left: Box) -> None:
        tip = "Finds words in all pages. Enter opens the first hit, Esc shows the pages again."
        row = Box(left)
        row.pack(fill="x")
        picture(row, "search", 14, "muted").pack(side="left", padx=(px(4), px(8)))
        self._search = entry(row, on_change=self._presenter.search, tip=tip)
        self._search.pack(side="left", fill="x", expand=True)
        self._search.bind("<Return>", lambda event: self._open_first())
        self._search.bind("<Down>", lambda event: self._found.text.focus_set())
        self._search.bind("<Escape>", lambda event: self._clear())
        self._count = label(left, "Search all pages", "caption", "muted")
        self._count.pack(anchor="w", padx=px(2), pady=(px(4), px(8)))
        self._found: Reader = Reader(
            left, self._follow, "The places found: a click, or Tab and Enter."
        )
        self._pages = Scroll(left, lane=6)
        self._buttons: dict[str, Button] = {}
        for item in ENTRIES:
            made = button(
                self._pages, item.title, item.icon, "nav", anchor="w", tip=item.tip,
                command=partial(self._presenter.open, item.name),
            )  # fmt: skip
            made.pack(fill="x", pady=(0, px(2)))
            self._buttons[item.name] = made

    def _build_reader(self, right: Box) -> None:
        head = Box(right)
        head.pack(fill="x", pady=(0, px(8)))
        self._back = button(
            head, icon="arrow-left", kind="ghost", small=True, tip="Back  Alt+Left",
            command=self._presenter.go_back,
        )  # fmt: skip
        self._back.pack(side="left")
        self._forward = button(
            head, icon="arrow-right", kind="ghost", small=True, tip="Forward  Alt+Right",
            command=self._presenter.go_forward,
        )  # fmt: skip
        self._forward.pack(side="left", padx=px(4))
        button(
            head, "Back to work", "x-lg", "ghost", small=True, tip="Closes the help  F1",
            command=partial(self._desk.act, "help"),
        ).pack(side="right")  # fmt: skip
        tip = "Arrows, PgUp and PgDn scroll; Tab goes from link to link, Enter follows one."
        self.reader = Reader(right, self._follow, tip, self._presenter.note_top)
        self.reader.pack(fill="both", expand=True)

    # -- what the person does --------------------------------------------------------------------

    def focus_first(self) -> None:
        """Go to the search field."""
        self._search.focus_set()
        self._search.selection_range(0, "end")

    def _follow(self, target: str) -> None:
        address = self._presenter.follow(target)
        if is_address(address):
            self._desk.copy(address)
            self._desk.toast("accent", "Address copied", f"{address} - paste it into a browser.")

    def _open_first(self) -> str:
        hits = self._presenter.store.state.hits
        if hits:
            self._presenter.open(hits[0].page, hits[0].anchor)
            self.reader.text.focus_set()
        return "break"

    def _clear(self) -> str:
        self._presenter.search("")
        return "break"

    # -- showing ---------------------------------------------------------------------------------

    def render(self, old: State | None, new: State) -> None:
        """Show what differs."""
        if old is None or (old.query, old.hits) != (new.query, new.hits):
            self._show_search(new)
        if old is None or old.jumps != new.jumps:
            for name, made in self._buttons.items():
                made.state(["selected" if name == new.place.page else "!selected"])
            enable(self._back, bool(new.back), "There is nothing before this page.")
            enable(self._forward, bool(new.forward), "There is nothing after this page.")
            self.reader.show(new.blocks, new.words)
            self.reader.go(new.place.anchor, new.place.top)
            if not str(self.tk.call("focus")).startswith(str(self)):
                self.reader.text.focus_set()
        elif old.words != new.words:
            self.reader.show(new.blocks, new.words)
            self.reader.go("", new.place.top)

    def _show_search(self, new: State) -> None:
        if not new.query or self._search.get_value().strip() != new.query.strip():
            self._search.set_value(new.query)
        if not new.query:
            self._count.configure(text="Search all pages")
            self._found.pack_forget()
            self._pages.pack(fill="both", expand=True)
            return
        number = len(new.hits)
        many = f"{number} places" if number < pages.MAX_HITS else f"The first {number} places"
        words = {0: "Nothing found. Fewer or other words?", 1: "1 place"}
        self._count.configure(text=words.get(number, many))
        self._pages.pack_forget()
        if number:
            self._found.pack(fill="both", expand=True)
            self._found.show(hit_blocks(new.hits, new.words), ())
            self._found.go("", (0, 0))
        else:
            self._found.pack_forget()


def _do(action: Callable[[], None], event: object) -> str:
    action()
    return "break"


class Reader:
    """Blocks of a page as text: scrolled and followed by mouse and keys.

    Args:
        on_link: gets the target of a link that is followed.
        tip: what the tooltip says.
        on_top: gets the block and character at the top whenever that changes.
    """

    def __init__(
        self,
        master: tk.Misc,
        on_link: Callable[[str], None],
        tip: str,
        on_top: Callable[[tuple[int, int]], None] | None = None,
    ) -> None:
        self._on_link, self._on_top = on_link, on_top
        self.panel, self.text = pane(master, read_only=True, cursor="arrow", takefocus=True)
        self.pack, self.pack_forget = self.panel.pack, self.panel.pack_forget
        self._is_page = on_top is not None
        tooltip(self.text, tip)
        # Known to whoever asks for it, but not shown: it would cover what is being read.
        self.text.bindtags([tag for tag in self.text.bindtags() if tag != kit.TIP_TAG])
        self._widths: dict[tuple[str, str, frozenset[str]], int] = {}
        self._blocks: tuple[Block, ...] = ()
        self._words: tuple[str, ...] = ()
        self._starts: list[tuple[int, int]] = []  # line and character of each block
        self._links: list[tuple[str, str]] = []  # (tag, target) from the top down
        self._focus = -1
        self._room, self._timer, self._is_filling = 0, "", True  # True until it is first shown
        self._asked: tuple[str, tuple[int, int] | None] = ("", None)  # where `go` was to go
        self._went = (0, 0)  # and where that was
        self._tags()
        self._bind()

    # -- set-up ----------------------------------------------------------------------------------

    def _tags(self) -> None:
        look, tag = skin(), self.text.tag_configure
        p, body = look.p, look.fonts["body"]
        for role in ("h1", "h2"):
            tag(role, font=role)
        tag("h3", font="strong")
        tag("text", spacing2=px(3))
        tag("contents", font="caption", spacing2=px(6))
        tag("snippet", font="caption", foreground=p.fg2)
        for name, fill in (("note", p.accent_bg), ("block", p.card)):
            margins = dict.fromkeys(("lmargin1", "lmargin2", "rmargin"), px(12))
            fills = dict.fromkeys(("background", "lmargincolor", "rmargincolor"), fill)
            tag(name, {**margins, **fills, "spacing2": px(2)})
        tag("block", font="mono_s", wrap="none", spacing3=px(2))
        for depth in (1, 2, 3):
            inner = px(20) * depth
            tag(f"list{depth}", lmargin1=inner - px(16), lmargin2=inner, tabs=(inner,))
        tag("row", wrap="none", spacing1=0, spacing3=px(1))
        tag("row-top", spacing1=px(4))
        tag("row-end", spacing3=px(5))
        tag("rule", font=(look.ui_family, -1), background=p.line, spacing1=0, spacing3=0)
        tag("caption", font="caption")
        for height in {*_GAPS.values(), *_AFTER.values()}:
            tag(f"gap{height}", font=(look.ui_family, -px(height)), spacing1=0, spacing3=0)
        tag("code", font="mono_s")
        tag("em", font=(look.ui_family, int(body.cget("size")), "italic"))
        tag("head", font="strong", foreground=p.fg2)
        tag("muted", font="caption", foreground=p.muted)
        tag("link", foreground=p.accent_hi)
        tag("near", underline=True)
        tag("focus", background=p.select, underline=True)
        tag("hit-word", background=p.select)
        self.text.tag_raise("sel")

    def _bind(self) -> None:
        text = self.text
        scrolls: dict[str, tuple[int, Literal["units", "pages"]]] = {
            "<Up>": (-3, "units"), "<Down>": (3, "units"), "<Prior>": (-1, "pages"),
            "<Next>": (1, "pages"), "<space>": (1, "pages"),
        }  # fmt: skip
        for key, (n, what) in scrolls.items():
            text.bind(key, partial(self._scroll, n, what))
        text.bind("<Home>", lambda event: self._move_to(0.0))
        text.bind("<End>", lambda event: self._move_to(1.0))
        text.bind("<Tab>", lambda event: self._next_link(1))
        text.bind("<Shift-Tab>", lambda event: self._next_link(-1))
        if text.tk.call("tk", "windowingsystem") == "x11":
            text.bind("<ISO_Left_Tab>", lambda event: self._next_link(-1))
        for key in ("<Return>", "<KP_Enter>"):
            text.bind(key, lambda event: self._follow_focus())
        text.bind("<FocusOut>", lambda event: self._focus_link(-1), "+")
        text.bind("<Configure>", self._on_size)
        text.bind("<Destroy>", lambda event: self._cancel())
        text.tag_bind("link", "<Enter>", self._on_enter)
        text.tag_bind("link", "<Motion>", self._on_enter)
        text.tag_bind("link", "<Leave>", self._on_leave)
        text.tag_bind("link", "<ButtonRelease-1>", self._on_click)
        show_bar = str(text.cget("yscrollcommand"))

        def on_view(first: float, last: float) -> None:
            text.tk.call(show_bar, first, last)
            self._tell_top()

        text.configure(yscrollcommand=on_view)

    # -- filling ---------------------------------------------------------------------------------

    def show(self, blocks: tuple[Block, ...], words: tuple[str, ...]) -> None:
        """Show these blocks, with ``words`` marked; `go` says where."""
        self._blocks, self._words = blocks, words
        if self.text.winfo_width() > 1:
            self._fit_column()
            self._fill()

    def _fill(self) -> None:
        text, self._is_filling = self.text, True
        text.configure(state="normal")
        text.delete("1.0", "end")
        text.mark_unset(*(name for name in text.mark_names() if name.startswith("@")))
        text.tag_delete(*(tag for tag, _ in self._links), "none")
        self._links, self._starts, self._focus = [], [], -1
        for block in self._blocks:
            line, character = text.index("end-1c").split(".")
            self._starts.append((int(line), int(character)))
            self._gap(_GAPS.get(block.kind, 0))
            self._mark(block.anchor)
            if block.kind == "table":
                self._insert_table(block)
            else:
                self._insert_block(block)
            self._gap(_AFTER.get(block.kind, 0))
        text.configure(state="disabled")
        self._is_filling = False

    def _gap(self, height: int, *tags: str) -> None:
        if height:
            self._insert(["\n", (*tags, f"gap{height}")])

    def _mark(self, anchor: str) -> None:
        if anchor:
            self.text.mark_set(f"@{anchor}", "end-1c")
            self.text.mark_gravity(f"@{anchor}", "left")

    def _insert_block(self, block: Block) -> None:
        tags: tuple[str, ...] = (block.kind if block.kind != "code" else "block",)
        if block.depth:
            tags = (*tags, f"list{min(3, block.depth)}")
        parts: list[Any] = []
        if block.marker:
            parts += [f"{block.marker}\t", tags]
        elif block.depth:
            parts += ["\t", tags]
        for span in pages.mark(block.spans, self._words):
            parts += [span.text, (*tags, *self._styles(span))]
        is_filled = block.kind in {"code", "note"}
        if is_filled:
            self._gap(5, *tags)
        self._insert([*parts, "\n", tags])
        if is_filled:
            self._gap(5, *tags)

    def _insert(self, parts: list[Any]) -> None:
        self.text.tk.call(str(self.text), "insert", "end", *parts)

    def _styles(self, span: Span) -> tuple[str, ...]:
        """The tags of a span; a link gets one of its own, too."""
        styles = {"hit": "hit-word"}
        tags = [styles.get(style, style) for style in sorted(span.styles)]
        if span.target:
            name = f"go{len(self._links)}"
            if not self._links or self._links[-1][1] != span.target:
                self._links.append((name, span.target))
            tags += ["link", self._links[-1][0]]
        return tuple(tags)

    # -- tables ----------------------------------------------------------------------------------

    def _insert_table(self, block: Block) -> None:
        role = "caption" if len(block.rows[0].cells) >= _MANY_COLUMNS else "body"
        measure = partial(self._measure, role)
        marked = [
            Row(tuple(pages.mark(cell, self._words) for cell in row.cells), row.anchor)
            for row in block.rows
        ]
        head = Row(tuple(_bold(cell) for cell in marked[0].cells))
        rows = [head, *marked[1:]]
        widths = pages.column_widths(rows, max(px(200), self._room), measure)
        stops = [sum(widths[: i + 1]) for i in range(len(widths) - 1)]
        name = f"table{len(self._starts)}"
        self.text.tag_configure(name, tabs=tuple(stops), wrap="none")
        for number, row in enumerate(rows):
            self._mark(row.anchor)
            base = ("row", name, "head" if number == 0 else role)
            self._insert_row(pages.lay_row(row, widths, measure), base)

    def _insert_row(self, lines: list[tuple[Spans, ...]], base: tuple[str, ...]) -> None:
        parts: list[Any] = []
        for number, line in enumerate(lines):
            top = ("row-top",) if number == 0 else ()
            end = ("row-end",) if number == len(lines) - 1 else ()
            tags = (*base, *top, *end)
            for column, spans in enumerate(line):
                if column:
                    parts += ["\t", tags]
                for span in spans:
                    parts += [span.text, (*tags, *self._styles(span))]
            parts += ["\n", tags]
        self._insert([*parts, "\n", ("rule",)])

    def _measure(self, role: str, span: Span) -> int:
        key = (role, span.text, span.styles)
        if key not in self._widths:
            role = "mono_s" if "code" in span.styles else role
            role = "strong" if "strong" in span.styles else role
            self._widths[key] = skin().fonts[role].measure(span.text)
        return self._widths[key]

    # -- size and place --------------------------------------------------------------------------

    def _fit_column(self) -> bool:
        """Keep the column of text readable; whether its width has changed."""
        width, least = self.text.winfo_width(), px(24 if self._is_page else 14)
        pad = max(least, (width - px(COLUMN_PX)) // 2)
        if int(str(self.text.cget("padx"))) != pad:
            self.text.configure(padx=pad)
        room = width - 2 * pad
        is_new, self._room = room != self._room, room
        return is_new

    def _on_size(self, event: "tk.Event[tk.Misc]") -> None:
        self._cancel()
        if self._is_filling:
            self._relay()
        else:
            self._timer = self.text.after(RELAY_MS, self._relay)

    def _cancel(self) -> None:
        if self._timer:
            self.text.after_cancel(self._timer)
            self._timer = ""

    def _relay(self) -> None:
        """Set the tables anew for another width, staying where the reader is."""
        self._timer = ""
        is_first, top = self._is_filling, self._top()
        has_moved = not is_first and top != self._went
        has_tables = any(block.kind == "table" for block in self._blocks)
        if (self._fit_column() and has_tables) or is_first:
            self._fill()
        self.go(*(("", top) if has_moved else self._asked))

    def go(self, anchor: str, top: tuple[int, int] | None = None) -> None:
        """Show the page from ``top`` on if that is given, else from ``anchor`` or its beginning."""
        self._asked = (anchor, top)
        if self._is_filling:
            return
        where = "1.0"
        if top is not None and top[0] < len(self._starts):
            line, character = self._starts[top[0]]
            where = f"{line}.{character} + {top[1]} chars"
        elif anchor and f"@{anchor}" in self.text.mark_names():
            where = f"@{anchor}"
        self.text.yview(where)
        self._went = self._top()
        self._tell_top()

    def _top(self) -> tuple[int, int]:
        """Block and character at the top of what is in view."""
        if not self._starts:
            return 0, 0
        line, character = map(int, self.text.index("@0,0").split("."))
        number = max(0, bisect_right(self._starts, (line, character)) - 1)
        start = "{}.{}".format(*self._starts[number])
        counted = self.text.tk.call(str(self.text), "count", "-chars", start, f"{line}.{character}")
        return number, int(str(counted).strip("()").split(",")[0] or 0)

    def _tell_top(self) -> None:
        if self._on_top and not self._is_filling and not self._timer:
            self._on_top(self._top())

    # -- keys and pointer --------------------------------------------------------------------------

    def _scroll(self, n: int, what: Literal["units", "pages"], event: object) -> str:
        self.text.yview_scroll(n, what)
        return "break"

    def _move_to(self, share: float) -> str:
        self.text.yview_moveto(share)
        return "break"

    def _next_link(self, way: int) -> str:
        """The focus goes to the next link on the page, and out of the page after the last."""
        at = self._focus + way if self._focus >= 0 else self._first_from_view(way)
        if 0 <= at < len(self._links):
            self._focus_link(at)
            return "break"
        self._focus_link(-1)
        found = self.text.tk_focusNext() if way > 0 else self.text.tk_focusPrev()
        if found is not None:
            found.focus_set()
        return "break"

    def _first_from_view(self, way: int) -> int:
        """The first link from the top of what is in view on, or the last one before its end."""
        top, end = self.text.index("@0,0"), self.text.index(f"@0,{self.text.winfo_height()}")
        numbers = range(len(self._links))
        if way > 0:
            below = (n for n in numbers if self.text.compare(f"go{n}.first", ">=", top))
            return next(below, -1)
        above = (n for n in reversed(numbers) if self.text.compare(f"go{n}.first", "<=", end))
        return next(above, -1)

    def _focus_link(self, number: int) -> None:
        self.text.tag_remove("focus", "1.0", "end")
        self._focus = number
        if number >= 0:
            tag, _ = self._links[number]
            self.text.tag_add("focus", f"{tag}.first", f"{tag}.last")
            self.text.see(f"{tag}.first")

    def _follow_focus(self) -> str:
        if self._focus >= 0:
            self._on_link(self._links[self._focus][1])
        return "break"

    def _link_at(self, event: "tk.Event[tk.Misc]") -> tuple[str, str] | None:
        tags = self.text.tag_names(f"@{event.x},{event.y}")
        return next((link for link in self._links if link[0] in tags), None)

    def _on_enter(self, event: "tk.Event[tk.Misc]") -> None:
        link = self._link_at(event)
        self._on_leave(event)
        if link:
            self.text.configure(cursor="hand2")
            self.text.tag_add("near", f"{link[0]}.first", f"{link[0]}.last")

    def _on_leave(self, event: "tk.Event[tk.Misc]") -> None:
        self.text.configure(cursor="arrow")
        self.text.tag_remove("near", "1.0", "end")

    def _on_click(self, event: "tk.Event[tk.Misc]") -> None:
        link = self._link_at(event)
        if link and not self.text.tag_ranges("sel"):
            self._on_link(link[1])


def _bold(cell: Spans) -> Spans:
    return tuple(Span(span.text, span.styles | {"strong"}, span.target) for span in cell)

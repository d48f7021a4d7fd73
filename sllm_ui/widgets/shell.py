"""The frame of the window: sidebar, tab bar, run bar, and the menu of projects."""

import tkinter as tk
from collections.abc import Callable, Sequence
from functools import partial

import ttkbootstrap as tb
from PIL import Image, ImageDraw, ImageTk
from ttkbootstrap.style.icons import IconRenderer

from sllm_ui.actions import BY_ID, TABS
from sllm_ui.shell import Bar, Meter, ShellState
from sllm_ui.widgets import kit
from sllm_ui.widgets.controls import button
from sllm_ui.widgets.kit import Badge, Box, Elided, Panel, enable, label, px, skin, tooltip

DOTS = {"empty": "", "ready": "muted", "running": "accent_hi", "done": "good", "failed": "bad"}
DOT_WORDS = {
    "empty": "nothing here yet",
    "ready": "ready",
    "running": "running",
    "done": "done",
    "failed": "failed",
}
HISTORY = 60  # readings a spark line shows
# The last readings by meter and the one they end with: they outlive a change of theme or zoom.
_histories: dict[str, tuple[Meter, tuple[float, ...]]] = {}
Act = Callable[[str], None]


def logo(size: int) -> ImageTk.PhotoImage:
    """The program's sign in logical pixels."""

    def make() -> Image.Image:
        p, n, scale = skin().p, px(size), 4
        image = Image.new("RGB", (n * scale, n * scale), p.side)
        draw = ImageDraw.Draw(image)
        draw.rounded_rectangle((0, 0, n * scale - 1, n * scale - 1), n * scale // 4, fill=p.accent)
        image = image.resize((n, n), Image.Resampling.LANCZOS)
        layers = IconRenderer.render("layers-fill", round(n * 0.56), p.on_accent)
        at = ((n - layers.width) // 2, (n - layers.height) // 2)
        image.paste(layers, at, layers)
        return image

    return skin().photo(("logo", size), make)


class MeterView(Panel):
    """One reading: name, figure, unit and a line of the last minute."""

    def __init__(self, master: tk.Misc, meter: Meter) -> None:
        super().__init__(master, fill="card", pad=0, r=8)
        self.configure(padding=(px(12), px(6), px(12), px(4)))
        top = Box(self)
        top.pack(fill="x")
        label(top, meter.name, "caption", "fg2").pack(side="left")
        self._unit = label(top, "", "tiny", "muted")
        self._unit.pack(side="right")
        self._figure = label(top, "", "strong")
        self._figure.pack(side="right", padx=(0, px(5)))
        self._app = label(self, "", "tiny", "muted")
        self._spark = kit.Spark(self, meter.tone, 28, HISTORY)
        self._spark.pack(fill="x", pady=(px(2), 0))
        tooltip(self, meter.tip or meter.name)
        self.show(meter)

    def show(self, meter: Meter) -> None:
        """Set the figures and add to the line; an unknown share leaves the line as it is."""
        self._figure.configure(text=meter.figure)
        self._unit.configure(text=meter.unit)
        self._app.configure(text=meter.app)
        if meter.app and not self._app.winfo_manager():
            self._app.pack(anchor="w", before=self._spark)
        self._spark.set_values(history(meter))


def history(meter: Meter) -> tuple[float, ...]:
    """The last shares of a meter with this reading, which counts once; an unknown one adds none."""
    last, shares = _histories.get(meter.name, (None, ()))
    if meter.share is not None and meter is not last:
        shares = (*shares, meter.share)[-HISTORY:]
        _histories[meter.name] = meter, shares
    return shares


class Sidebar(Box):
    """Logo, project, machine, settings, help."""

    def __init__(self, master: tk.Misc, act: Act, on_menu: Callable[[], None]) -> None:
        super().__init__(master, "side", width=px(232), padding=(px(16), px(16), px(16), px(12)))
        self.pack_propagate(False)
        self._act = act
        self._head()
        self.card = self._project_card(on_menu)
        row = Box(self)
        row.pack(fill="x", pady=(px(8), px(18)))
        row.columnconfigure((0, 1), weight=1, uniform="half")
        for column, name in enumerate(("new", "open")):
            action = BY_ID[name]
            made = button(
                row, action.label.split()[0], action.icon, small=True,
                command=partial(act, name), tip=f"{action.help}  {action.shown_keys}",
            )  # fmt: skip
            made.grid(
                row=0,
                column=column,
                sticky="ew",
                padx=(0, px(4)) if column == 0 else (px(4), 0),
                ipady=px(2),
            )
        self._foot()
        self._machine = Box(self)
        self._machine.pack(fill="both", expand=True)
        label(self._machine, "This computer", "caption", "muted").pack(anchor="w", pady=(0, px(6)))
        self._meters: dict[str, MeterView] = {}
        self._gpu = label(self._machine, "", "caption", "muted", wraplength=px(196))
        self._gpu.pack(side="bottom", anchor="sw")

    def _head(self) -> None:
        head = Box(self)
        head.pack(fill="x", pady=(0, px(18)))
        sign = tb.Label(head, image=logo(36), style=skin().label("body", "side"))
        sign.pack(side="left", padx=(0, px(10)))
        column = Box(head)
        column.pack(side="left")
        label(column, "sLLM Trainer", "h2").pack(anchor="w")
        label(column, "Small models, your text", "tiny", "muted").pack(anchor="w")

    def _project_card(self, on_menu: Callable[[], None]) -> "ProjectCard":
        card = ProjectCard(self, on_menu)
        card.pack(fill="x")
        return card

    def _foot(self) -> None:
        foot = Box(self)
        foot.pack(side="bottom", fill="x")
        for name, text in (("settings", "Settings"), ("help", "Help")):
            action = BY_ID[name]
            row = Box(foot)
            row.pack(fill="x")
            made = button(
                row, text, action.icon, "nav", anchor="w",
                command=partial(self._act, name), tip=f"{action.help}  {action.shown_keys}",
            )  # fmt: skip
            made.pack(side="left", fill="x", expand=True)
            key = label(row, action.shown_keys, "tiny", "muted")
            key.place(relx=1, rely=0.5, anchor="e", x=-px(8))

    def render(self, old: ShellState | None, new: ShellState) -> None:
        """Show what differs."""
        if old is None or (old.title, old.path, old.read_only) != (
            new.title,
            new.path,
            new.read_only,
        ):
            self.card.show(new)
        if old is None or old.vitals_n != new.vitals_n:
            self._show_meters(new.meters)
            self._gpu.configure(text=new.gpu)

    def _show_meters(self, meters: Sequence[Meter]) -> None:
        names = [meter.name for meter in meters]
        for name in [name for name in self._meters if name not in names]:
            self._meters.pop(name).destroy()
        for meter in meters:
            if meter.name not in self._meters:
                view = MeterView(self._machine, meter)
                view.pack(fill="x", pady=(0, px(8)))
                self._meters[meter.name] = view
            else:
                self._meters[meter.name].show(meter)


class ProjectCard(Panel):
    """The open project; opens the menu of projects by mouse or keyboard."""

    def __init__(self, master: tk.Misc, on_menu: Callable[[], None]) -> None:
        super().__init__(master, fill="card", pad=0, r=8)
        self.configure(padding=(px(2), px(2), px(2), px(2)))
        inner = Box(self, padding=(px(9), px(6), px(7), px(6)))
        inner.pack(fill="x", padx=px(4), pady=px(1))
        self.more = button(
            inner, icon="chevron-expand", kind="ghost", small=True, command=on_menu,
            tip="Recent projects; save as, duplicate, rename, delete",
        )  # fmt: skip
        self.more.pack(side="right")
        self._title = Elided(inner, "", "strong")
        self._title.pack(fill="x")
        self._path = Elided(inner, "", "tiny", "muted", where="middle")
        self._path.pack(fill="x")
        for widget in (self, inner, self._title, self._path):
            widget.bind("<Button-1>", lambda _: on_menu())
            widget.configure(cursor="hand2")

    def show(self, state: ShellState) -> None:
        """Name and place, shortened to the card."""
        self._title.set_text(state.title)
        self._path.set_text("Read-only" if state.read_only else state.path)
        tooltip(self, f"{state.title}\n{state.path}\n{state.read_only}".strip())


class TabBar(Box):
    """The tabs with icon, state dot and accent underline; commands, theme and messages at the right."""

    def __init__(self, master: tk.Misc, act: Act, is_dark: bool) -> None:
        super().__init__(master, "side")
        self._var = tk.StringVar(self, "")
        self._buttons: dict[str, tb.Radiobutton] = {}
        for number, name in enumerate(TABS):
            action = BY_ID[f"tab_{name}"]
            made = tb.Radiobutton(
                self, text=f"  {action.label}", value=name, variable=self._var,
                style=skin().tab("side"), compound="left", cursor="hand2",
                command=partial(act, f"tab_{name}"),
            )  # fmt: skip
            made.pack(side="left", padx=(px(8) if number == 0 else 0, 0))
            self._buttons[name] = made
            self.dot(name, "empty")
        right = Box(self)
        right.pack(side="right", padx=px(12))
        self.messages = self._tool(right, act, "messages", "bell")
        self._tool(right, act, "theme", "moon-stars" if is_dark else "sun")
        self._tool(right, act, "palette", "search", "Search commands")

    def _tool(self, master: tk.Misc, act: Act, name: str, icon: str, text: str = "") -> tb.Button:
        action = BY_ID[name]
        tip = f"{action.help}  {action.shown_keys}".strip()
        made = button(master, text, icon, "ghost", small=True, command=lambda: act(name), tip=tip)
        made.pack(side="right", padx=px(1))
        return made

    def select(self, name: str) -> None:
        """Show which tab is in view ('' for a page that has none)."""
        self._var.set(name)

    def dot(self, name: str, state: str) -> None:
        """The state of a tab as a dot on its icon."""
        action = BY_ID[f"tab_{name}"]
        images = tuple(_dotted(action.icon, DOTS[state], tone) for tone in ("fg2", "accent_hi"))
        self._buttons[name].configure(image=(images[0], "selected", images[1]))  # type: ignore[arg-type]
        words = f"{action.help} ({DOT_WORDS[state]})  {action.shown_keys}"
        tooltip(self._buttons[name], words)

    def render(self, old: ShellState | None, new: ShellState) -> None:
        """Show dots that differ."""
        for name, state in new.dots.items():
            if old is None or old.dots.get(name) != state:
                self.dot(name, state)


def _dotted(icon: str, dot: str, tone: str) -> ImageTk.PhotoImage:
    """An icon with a dot at its upper right, ringed by the bar's colour."""

    def make() -> Image.Image:
        p, w, h, scale = skin().p, px(22), px(18), 4
        image = Image.new("RGBA", (w, h), (0, 0, 0, 0))
        image.alpha_composite(IconRenderer.render(icon, px(16), getattr(p, tone)), (0, px(1)))
        if dot:
            layer = Image.new("RGBA", (w * scale, h * scale), (0, 0, 0, 0))
            draw = ImageDraw.Draw(layer)
            x, y, r = (w - px(5)) * scale, round(px(4.5) * scale), px(3) * scale
            ring = r + round(px(1.5) * scale)
            draw.ellipse((x - ring, y - ring, x + ring, y + ring), fill=p.side)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=getattr(p, dot))
            image.alpha_composite(layer.resize((w, h), Image.Resampling.LANCZOS))
        return image

    return skin().photo(("tab", icon, dot, tone), make)


# Words, icon and kind of the run bar's buttons by action.
RUN_BUTTONS = {
    "save_now": ("Save now", "save", "default"),
    "pause": ("Pause", "pause-fill", "default"),
    "stop": ("Stop", "stop-fill", "danger"),
    "resume": ("Continue", "arrow-clockwise", "default"),
    "start": ("Start training", "play-fill", "default"),
}


class RunBar(Box):
    """Always there: what runs, how far, how long still, and what can be done about it."""

    def __init__(self, master: tk.Misc, act: Act) -> None:
        super().__init__(master, "side", padding=(px(16), px(7), px(12), px(7)))
        self._act = act
        self._badge = Badge(self, "Ready", "good")
        self._badge.pack(side="left")
        self._text = label(self, "", "body", "fg2")
        self._text.pack(side="left", padx=(px(12), px(16)))
        self._buttons = Box(self)
        self._buttons.pack(side="right")
        self._made: dict[str, tb.Button] = {}
        self._left = label(self, "", "body", "fg2")
        self._percent = label(self, "", "strong")
        self._bar = tb.Progressbar(self, style=skin().progress("side"), maximum=1000)
        self._is_busy = False
        self._is_paused = False

    def render(self, old: ShellState | None, new: ShellState) -> None:
        """Show the bar when it differs."""
        if old is None or old.bar != new.bar:
            self._show(new.bar)

    def _show(self, bar: Bar) -> None:
        self._badge.show(bar.word, bar.tone)
        self._text.configure(text=bar.text)
        self._left.configure(text=bar.left)
        self._percent.configure(text="" if bar.share is None else f"{100 * bar.share:.0f} %")
        self._bar.configure(value=1000 * (bar.share or 0))
        if bar.is_busy != self._is_busy:
            self._is_busy = bar.is_busy
            for widget in (self._left, self._percent, self._bar):
                widget.pack_forget()
            if bar.is_busy:
                self._left.pack(side="right", padx=px(16))
                self._percent.pack(side="right", padx=(px(12), 0))
                self._bar.pack(side="left", fill="x", expand=True)
        is_paused = bar.word == "Paused"
        if tuple(self._made) != bar.buttons or is_paused != self._is_paused:
            self._is_paused = is_paused
            self._show_buttons(bar)

    def _show_buttons(self, bar: Bar) -> None:
        for made in self._made.values():
            made.destroy()
        self._made = {}
        for name in bar.buttons:
            text, icon, kind = RUN_BUTTONS[name]
            if name == "pause" and self._is_paused:
                text, icon = "Resume", "play-fill"
            if name == "stop" and bar.word == "Stopping":
                text = "End now"
            action = BY_ID[name]
            made = button(
                self._buttons, text, icon, kind, small=True,
                command=partial(self._act, name),
                tip=f"{action.help}  {action.shown_keys}".strip(),
            )  # fmt: skip
            made.pack(side="left", padx=(px(8), 0), ipady=px(1))
            self._made[name] = made


class Menu:
    """A list of commands in a panel that hangs under a widget.

    The app tells it of clicks and of Esc: in this Python, taking one handler of an event away
    takes all of them away.
    """

    def __init__(self, root: tk.Misc) -> None:
        self._root = root
        self._panel: Panel | None = None
        self._anchor: tk.Misc | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is in view."""
        return self._panel is not None

    def toggle(
        self,
        anchor: tk.Misc,
        rows: Sequence[tuple[str, str, str, Callable[[], None]]],
        width: int = 300,
    ) -> None:
        """Show ``rows`` of (icon, text, why not, command); a row without text is a heading or line."""
        if self._panel is not None:
            self.close()
            return
        panel = self._panel = Panel(self._root, fill="raised", pad=0, r=8, border="line2")
        panel.configure(padding=(px(6), px(6), px(6), px(6)))
        first = None
        for icon, text, why, command in rows:
            if not text:
                line = tk.Frame(panel, height=px(1), bg=skin().p.line2)
                line.pack(fill="x", pady=px(5), padx=px(6))
                continue
            row = button(
                panel, text, icon or None, "nav", small=True, anchor="w",
                command=partial(self._choose, command), tip=why or text,
            )  # fmt: skip
            row.pack(fill="x")
            enable(row, not why, why)
            row.bind("<Down>", lambda e: _next_focus(e.widget, 1))
            row.bind("<Up>", lambda e: _next_focus(e.widget, -1))
            first = first or (None if why else row)
        root_x, root_y = self._root.winfo_rootx(), self._root.winfo_rooty()
        x, y = anchor.winfo_rootx() - root_x, anchor.winfo_rooty() - root_y + anchor.winfo_height()
        x = max(px(8), min(x, self._root.winfo_width() - px(width) - px(8)))
        panel.update_idletasks()
        height, below = panel.winfo_reqheight(), y + px(4)
        if below + height > self._root.winfo_height():  # no room: above what it hangs under
            below = max(px(8), y - anchor.winfo_height() - px(4) - height)
        panel.place(x=x, y=below, width=px(width))
        panel.lift()
        panel.bind("<Destroy>", self._on_destroy, "+")
        self._anchor = anchor
        if first is not None:
            first.focus_set()

    def _choose(self, command: Callable[[], None]) -> None:
        self.close()
        command()

    def click(self, widget: object) -> None:
        """The app tells every click: one elsewhere closes the menu."""
        if self._panel is not None:
            parts = (self._panel, self._anchor)
            if not any(str(widget).startswith(str(part)) for part in parts if part is not None):
                self.close()

    def escape(self) -> bool:
        """Close it and give the focus back; False when it was not open."""
        if self._panel is None:
            return False
        self.close()
        if self._anchor is not None and self._anchor.winfo_exists():
            self._anchor.focus_set()
        return True

    def _on_destroy(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self._panel:
            self._panel = None

    def close(self) -> None:
        """Take it away."""
        if self._panel is not None:
            panel, self._panel = self._panel, None
            panel.destroy()


def _next_focus(widget: tk.Misc, step: int) -> str:
    target = widget.tk_focusNext() if step > 0 else widget.tk_focusPrev()
    if target is not None:
        target.focus_set()
    return "break"

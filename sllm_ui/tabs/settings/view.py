"""The settings page: looks, behaviour, places, about."""

import tkinter as tk
from pathlib import Path

import ttkbootstrap as tb

from sllm_ui import paths
from sllm_ui.settings import ZOOMS
from sllm_ui.tabs.settings.presenter import CREDITS, Presenter, State
from sllm_ui.widgets.controls import Segmented, button, check, combo, entry
from sllm_ui.widgets.kit import (
    Box,
    Card,
    Desk,
    Elided,
    Scroll,
    enable,
    label,
    px,
    retone,
    wrap,
)

WIDTH_PX = 760  # of the column of cards: wider, a label and its control drift apart
NAME_PX = 190
_DIR_NOTE = "Each project is made in a folder of its own in there."
THEMES = {"Dark": "dark", "Light": "light"}


class View(Box):
    """The settings page."""

    def __init__(self, master: tk.Misc, presenter: Presenter, desk: Desk) -> None:
        super().__init__(master)
        self._presenter, self._desk = presenter, desk
        page = Scroll(self)
        page.pack(fill="both", expand=True, padx=(px(16), px(4)), pady=px(16))
        self._first: Card | None = None
        self._column = Box(page)
        self._column.pack(anchor="n", fill="x")
        self._problem = label(self._column, "", "body", "warn", justify="left")
        wrap(self._problem, 8)
        self._build_looks()
        self._build_work()
        self._build_places()
        self._build_about()
        # The width that is given, never that of the ground: its padding would widen it again.
        self.bind("<Configure>", self._fit, "+")

    def _fit(self, event: "tk.Event[tk.Misc]") -> None:
        side = max(0, (event.width - px(32 + WIDTH_PX)) // 2)
        self._column.pack_configure(padx=side)

    def _card(self, title: str, icon: str) -> Box:
        card = Card(self._column, title, icon)
        card.pack(fill="x", pady=(0, px(12)))
        self._first = self._first or card
        card.body.columnconfigure(0, minsize=px(NAME_PX))
        card.body.columnconfigure(1, weight=1)
        return card.body

    def _row(self, body: Box, name: str, note: str = "") -> Box:
        """A line with a name and room for controls; beneath it what they mean."""
        at = body.grid_size()[1]
        label(body, name, "body", "fg2").grid(row=at, column=0, sticky="w")
        room = Box(body)
        room.grid(row=at, column=1, sticky="ew", pady=(px(2), px(2) if note else px(6)))
        if note:
            self._note(body, note)
        return room

    def _note(self, body: Box, text: str) -> tb.Label:
        line = Box(body)
        line.grid(row=body.grid_size()[1], column=1, sticky="ew", pady=(0, px(8)))
        words = label(line, text, "caption", "muted", justify="left")
        words.pack(anchor="w")
        return wrap(words)

    # -- cards -----------------------------------------------------------------------------------

    def _build_looks(self) -> None:
        body = self._card("Looks", "palette")
        row = self._row(body, "Theme", "Ctrl+Shift+L switches it at any time.")
        self._theme = Segmented(
            row, list(THEMES), command=lambda name: self._presenter.set_theme(THEMES[name]),
            icons=["moon-stars", "sun"], tips=["Light text on dark blue.", "Dark text on white."],
        )  # fmt: skip
        self._theme.pack(side="left")
        self._system = button(
            row, "As the system", kind="ghost", small=True, command=self._presenter.follow_system,
            tip="Takes over, once, the theme that the desktop has now.",
        )  # fmt: skip
        row = self._row(
            body, "Zoom", "Beside the scale of the display. Also Ctrl++ and Ctrl+-, 80 to 200 %."
        )
        self._zoom = combo(
            row, [_percent(zoom) for zoom in ZOOMS], width=8, on_change=self._choose_zoom,
            tip="Size of everything in the window, 80 to 200 %; the default is 100 %.",
        )  # fmt: skip
        self._zoom.pack(side="left")

    def _build_work(self) -> None:
        body = self._card("While a run is on", "cpu")
        row = self._row(
            body, "Sleep",
            "The screen may still go dark. Counts for runs that are started from now on. "
            "Closing the lid still sends a laptop to sleep.",
        )  # fmt: skip
        self._awake = check(
            row, "Keep the computer awake", on_change=self._presenter.set_keep_awake,
            tip="Without it a computer that falls asleep by itself stands still in the middle of "
            "a run. Default: on.",
        )  # fmt: skip
        self._awake.pack(side="left")

    def _build_places(self) -> None:
        body = self._card("Places", "folder2-open")
        row = self._row(body, "New projects go to")
        button(
            row, "Choose", "folder2-open", small=True, command=self._choose_dir,
            tip="Choose the folder in which new projects are made.",
        ).pack(side="right", padx=(px(8), 0))  # fmt: skip
        self._dir = entry(
            row, tip="The folder in which new projects are made, each in one of its own. It is "
            "made when it is needed. Empty: the documents folder.",
        )  # fmt: skip
        self._dir.pack(side="left", fill="x", expand=True)
        for event in ("<FocusOut>", "<Return>"):
            self._dir.bind(event, self._commit_dir, "+")
        self._dir_note = self._note(body, _DIR_NOTE)
        row = self._row(body, "Folders")
        button(
            row, "Settings", "folder2-open", small=True, command=self._show_settings_dir,
            tip="Opens the folder with these settings and the window's log.",
        ).pack(side="left")  # fmt: skip
        self._logs = button(
            row, "Logs of the project", "folder2-open", small=True, command=self._show_logs,
            tip="Opens the folder with what all runs of the open project have said.",
        )  # fmt: skip
        self._logs.pack(side="left", padx=px(8))
        row = self._row(body, "Desktop", "The shortcut starts this program from where it is now.")
        button(
            row, "Make a desktop shortcut", "box-arrow-up-right", small=True,
            command=self._presenter.make_shortcut,
            tip="Puts a starter into the desktop's menu, and on the desktop where there is one.",
        ).pack(side="left")  # fmt: skip

    def _build_about(self) -> None:
        body = self._card("About", "info-circle")
        for name, value in self._presenter.store.state.about:
            row = self._row(body, name)
            shown = Elided(row, value, where="middle")
            shown.pack(fill="x", pady=px(2))
        row = self._row(body, "Credits")
        words = label(row, CREDITS, "body", "fg", justify="left")
        words.pack(anchor="w", pady=px(2))
        wrap(words)
        foot = Box(self._column)
        foot.pack(fill="x")
        self._reset = button(
            foot, "Reset this page", "arrow-counterclockwise", small=True,
            command=self._presenter.reset,
            tip="Brings back the defaults of this page. Projects are not touched.",
        )  # fmt: skip
        self._reset.pack(side="left")
        self._undo = button(
            foot, "Undo", kind="link", small=True, command=self._presenter.undo,
            tip="Brings back the settings as they were before the reset.",
        )  # fmt: skip

    # -- what the person does --------------------------------------------------------------------

    def focus_first(self) -> None:
        """Go to the first control."""
        self._theme.buttons[self._theme.get_value()].focus_set()

    def _choose_zoom(self, text: str) -> None:
        self._presenter.set_zoom(int(text.split()[0]) / 100)

    def _choose_dir(self) -> None:
        self._desk.dialogs.ask_folder(
            "Where new projects go",
            lambda folder: self._presenter.set_projects_dir(str(folder)),
            start=Path(self._presenter.store.state.projects_dir),
        )

    def _commit_dir(self, event: "tk.Event[tk.Misc]") -> None:
        text = self._dir.get_value()
        if text != self._presenter.store.state.projects_dir:
            self._presenter.set_projects_dir(text)

    def _show_settings_dir(self) -> None:
        self._show_folder(paths.settings_dir())

    def _show_logs(self) -> None:
        self._show_folder(Path(self._presenter.store.state.logs_dir))

    def _show_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._desk.toast("warn", "There is no such folder yet", str(folder))
        elif not paths.reveal(folder):
            self._desk.copy(str(folder))
            words = f"Its path is on the clipboard: {folder}"
            self._desk.toast("warn", "No file manager was found", words)

    # -- showing ---------------------------------------------------------------------------------

    def render(self, old: State | None, new: State) -> None:
        """Show the state; it changes by single clicks, so all of it each time."""
        if new.problem:
            self._problem.configure(text=new.problem)
            self._problem.pack(fill="x", pady=(0, px(12)), before=self._first)
        else:
            self._problem.pack_forget()
        names = {theme: name for name, theme in THEMES.items()}
        self._theme.set_value(names[new.theme])
        if new.system_theme:
            self._system.pack(side="left", padx=px(8))
            is_other = new.system_theme != new.theme
            enable(self._system, is_other, f"The system is {new.system_theme}, as this is.")
        self._zoom.set_value(_percent(new.zoom))
        self._awake.set_value(new.keep_awake)
        self._show_dir(new)
        enable(self._logs, bool(new.logs_dir), "Open a project first.")
        enable(self._reset, not new.is_default, "Everything here is at its default.")
        if new.can_undo:
            self._undo.pack(side="left", padx=px(12))
        else:
            self._undo.pack_forget()

    def _show_dir(self, new: State) -> None:
        self._dir.set_value(new.projects_dir)
        self._dir.state(["invalid" if new.projects_dir_error else "!invalid"])
        self._dir_note.configure(text=new.projects_dir_error or _DIR_NOTE)
        retone(self._dir_note, "caption", "bad" if new.projects_dir_error else "muted")


def _percent(share: float) -> str:
    return f"{round(100 * share)} %"

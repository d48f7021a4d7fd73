"""The window: frame, pages, keys, and what happens when it is closed."""

import importlib
import logging
import os
import queue
import sys
import tkinter as tk
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import ttkbootstrap as tb

from sllm_core import errors, fmt
from sllm_core.errors import SllmError
from sllm_core.project import check_name
from sllm_ui import paths
from sllm_ui.actions import ACTIONS, BY_ID, TABS
from sllm_ui.events import Notice, ProjectChanged, RunChanged
from sllm_ui.pump import Pump
from sllm_ui.session import Session
from sllm_ui.settings import ZOOMS, AppSettings, Settings
from sllm_ui.shell import ShellPresenter, ShellState, why_not
from sllm_ui.theme import LIGHT, NAVY, Skin
from sllm_ui.widgets import drop, kit
from sllm_ui.widgets.controls import button
from sllm_ui.widgets.dialogs import Dialogs
from sllm_ui.widgets.kit import Box, Desk, Panel, label, px, skin
from sllm_ui.widgets.palette import CommandPalette
from sllm_ui.widgets.shell import Menu, RunBar, Sidebar, TabBar, logo
from sllm_ui.widgets.toasts import Message, Toasts

log = logging.getLogger(__name__)
PAGES = (*TABS, "help", "settings")
MIN_SIZE = (1024, 640)
FIRST_SIZE = (1440, 900)
TICK_MS = 250
SAVE_SIZE_MS = 800


class Window:
    """The one window of a process.

    Args:
        folder: a project to open first; '' opens the last one.
        settings: what the window remembers.
        scale: of the display, 1.0 for 96 dpi; None asks the display.
    """

    toasts: Toasts
    dialogs: Dialogs
    palette: CommandPalette

    def __init__(self, folder: str, settings: Settings, scale: float | None = None) -> None:
        self._folder = folder
        self.settings = settings
        self.inbox: queue.Queue[Any] = queue.Queue()
        scaling: dict[str, Any] = {} if scale is None else {"scaling": scale * 96 / 72}
        self.root = tb.App("sLLM Trainer", iconphoto=None, **scaling)
        self.root.withdraw()
        self.session = Session(settings, self.inbox)
        self.shell = ShellPresenter(self.session)
        self.presenters: dict[str, Any] = {}
        self.page = settings.values.tab if settings.values.tab in TABS else TABS[0]
        self._back_from_help = self.page
        self._afters: dict[str, str] = {}
        self._is_closing = self._is_built = False
        self.pump = Pump(self.root.after, self.inbox, self.session.handle, self.session.flush)
        self.root.report_callback_exception = self._on_callback_error
        self.root.protocol("WM_DELETE_WINDOW", self.ask_close)
        self._bind_keys()
        self.session.bus.subscribe(Notice, self._on_notice)
        self.session.bus.subscribe(RunChanged, lambda _: self._finish_closing())
        self.session.bus.subscribe(ProjectChanged, lambda _: self._on_project())
        self.shell.store.listen(self._render_shell)
        settings.listen(self._on_settings)
        self._tell_workers()
        self.build()
        self._place()

    # -- building ------------------------------------------------------------------------------

    def build(self) -> None:
        """Make every widget anew in the theme and zoom that are set."""
        history: tuple[Message, ...] = ()
        if self._is_built:
            history = tuple(self.toasts.history)
            self.dialogs.close_all()
            self.palette.close()
            self.toasts.close()
            if self._unlisten:  # else the view that goes away would still be told
                self._unlisten()
        for child in self.root.winfo_children():
            child.destroy()
        values = self.settings.values
        palette = NAVY if values.theme == "dark" else LIGHT
        kit.setup(Skin(self.root, palette, values.zoom))
        self.root.configure(background=skin().p.page)
        screen = self.root.winfo_screenwidth(), self.root.winfo_screenheight() - px(40)
        self.root.minsize(
            *(min(px(length), most) for length, most in zip(MIN_SIZE, screen, strict=True))
        )
        self.views: dict[str, Any] = {}
        self._rendered: dict[str, Any] = {}
        self._unlisten: Callable[[], None] | None = None
        self.toasts = Toasts(self.root, history=history)
        self.dialogs = Dialogs(self.root)
        self.menu = Menu(self.root)
        self.palette = CommandPalette(
            self.root, ACTIONS, self.act, lambda name: why_not(self.session, name)
        )
        self.desk = Desk(
            dialogs=self.dialogs, toast=self.toasts.show, act=self.act, help=self.open_help,
            copy=self.copy, menu=self.menu.toggle,
        )  # fmt: skip
        self.sidebar = Sidebar(self.root, self.act, self._project_menu)
        self.sidebar.pack(side="left", fill="y")
        self._line("left")
        self.tabs = TabBar(self.root, self.act, values.theme == "dark")
        self.tabs.pack(fill="x")
        self._line("top")
        self.bar = RunBar(self.root, self.act)
        self.bar.pack(side="bottom", fill="x")
        self._line("bottom")
        self._strip = Box(self.root, "page")
        self.host = Box(self.root, "page")
        self.host.pack(fill="both", expand=True)
        self._is_built = True
        self._render_shell(None, self.shell.store.state)
        self.show(self.page)

    def _line(self, side: Literal["left", "top", "bottom"]) -> None:
        """A line of one pixel between two parts of the frame."""
        line = tk.Frame(self.root, width=px(1), height=px(1), bg=skin().p.line)
        line.pack(side=side, fill="y" if side == "left" else "x")

    def _place(self) -> None:
        values = self.settings.values
        width, height = self.root.winfo_screenwidth(), self.root.winfo_screenheight()
        wide, high = min(px(FIRST_SIZE[0]), width), min(px(FIRST_SIZE[1]), height)
        self.root.geometry(_on_screen(values.geometry, width, height) or f"{wide}x{high}")
        if values.is_maximized and self.root.tk.call("tk", "windowingsystem") != "x11":
            self.root.state("zoomed")
        elif values.is_maximized:
            self.root.attributes("-zoomed", True)
        self.root.bind("<Configure>", self._on_configure, "+")

    def _render_shell(self, old: ShellState | None, new: ShellState) -> None:
        for part in (self.sidebar, self.tabs, self.bar):
            part.render(old, new)
        if old is None or old.read_only != new.read_only:
            self._show_strip(new)
        if old is None or old.title != new.title:
            title = f"{new.title} - sLLM Trainer" if new.is_open else "sLLM Trainer"
            self.root.title(title)

    def _show_strip(self, state: ShellState) -> None:
        """A line above the page when the project belongs to somebody else."""
        for child in self._strip.winfo_children():
            child.destroy()
        self._strip.pack_forget()
        if not state.read_only:
            return
        panel = Panel(self._strip, fill="warn_bg", pad=0, r=8, border="warn_bg")
        panel.configure(padding=(px(14), px(7), px(8), px(7)))
        panel.pack(fill="x", padx=px(16), pady=(px(12), 0))
        again = button(
            panel, "Try again", small=True, command=self._retry_lock,
            tip="Edit the project as soon as the other one has let go of it.",
        )  # fmt: skip
        again.pack(side="right")
        words = f"Read-only: {state.read_only} Everything can be looked at; nothing is changed."
        text = label(panel, words, "body", "warn", justify="left")
        text.pack(side="left", fill="x", expand=True)
        kit.wrap(text, 140)
        self._strip.pack(fill="x", before=self.host)

    def _retry_lock(self) -> None:
        if not self.session.retry_lock():
            self.toasts.show("warn", "Still in use", self.session.read_only)

    # -- pages -----------------------------------------------------------------------------------

    def presenter(self, name: str) -> Any:
        """The presenter of a page, made when first asked for."""
        if name not in self.presenters:
            module = importlib.import_module(f"sllm_ui.tabs.{name}.presenter")
            self.presenters[name] = module.Presenter(self.session)
        return self.presenters[name]

    def show(self, name: str) -> None:
        """Bring a page into view; built when it is first shown."""
        if self._unlisten:
            self._unlisten()
            self._unlisten = None
        for view in self.views.values():
            view.pack_forget()
        presenter = self.presenter(name)
        if name not in self.views:
            module = importlib.import_module(f"sllm_ui.tabs.{name}.view")
            self.views[name] = module.View(self.host, presenter, self.desk)
        view = self.views[name]
        view.pack(fill="both", expand=True)
        self.page = name
        self.tabs.select(name if name in TABS else "")

        def render(_: Any, new: Any) -> None:
            old, self._rendered[name] = self._rendered.get(name), new
            view.render(old, new)

        old = self._rendered.get(name)
        if old is None or old != presenter.store.state:
            render(None, presenter.store.state)
        self._unlisten = presenter.store.listen(render)
        if name in TABS and self.settings.values.tab != name:
            self.settings.change(tab=name)

    def open_help(self, page: str = "", anchor: str = "") -> None:
        """Show a help page; '' is that of the page in view."""
        if self.page in TABS:
            self._back_from_help = self.page
        wanted = page or {"help": "index", "settings": "window"}.get(self.page, self.page)
        self.presenter("help").open(wanted, anchor)
        self.show("help")

    def copy(self, text: str) -> None:
        """Put text into the clipboard."""
        self.root.clipboard_clear()
        self.root.clipboard_append(text)

    # -- actions ---------------------------------------------------------------------------------

    def act(self, name: str) -> None:
        """Do an action of the table, or say why it cannot be done now."""
        if self.dialogs.is_open and name not in {"theme", "zoom_in", "zoom_out"}:
            return
        self.menu.close()
        is_writing = name == "start" and self.page == "test"
        why = "" if is_writing else why_not(self.session, name)
        if why:
            self.toasts.show("warn", f"{BY_ID[name].label}: not now", why)
            return
        if name.startswith("tab_"):
            self.show(name.removeprefix("tab_"))
        else:
            getattr(self, f"do_{name}")()

    def do_new(self) -> None:
        """Ask for a name and make an empty project."""

        def make(text: str) -> None:
            folder = self.session.free_folder(text)
            self._try("The project was not made", lambda: self.session.create(folder, []))
            self.show("data")

        words = "It gets a folder of its own. Your files stay where they are."
        self.dialogs.ask_text(
            "New project", "Name", "", make, check=_name_problem, ok="Make it", text=words
        )

    def do_open(self) -> None:
        """Ask for a project folder."""
        start = self.settings.values.recent[:1]
        self.dialogs.ask_folder(
            "Open a project", self.open_project,
            start=Path(start[0]).parent if start else None,
        )  # fmt: skip

    def open_project(self, folder: str | Path) -> None:
        """Open it, or say why not; one that is gone leaves the list."""
        project = self.session.project
        if project and project.root == Path(folder).absolute() and not self.session.read_only:
            return  # what goes on in it stays in view
        is_open = self._try("The project was not opened", lambda: self.session.open(folder))
        if not is_open and not Path(folder).exists():
            self.settings.forget(str(folder))
            self.shell.refresh()

    def do_sample(self) -> None:
        """Make and open the sample."""
        self.session.open_sample()

    def do_save_as(self) -> None:
        """Copy everything to another place."""
        self._ask_copy("Save project as", with_everything=True)

    def do_duplicate(self) -> None:
        """Copy sources and settings only."""
        self._ask_copy("Duplicate settings", with_everything=False)

    def _ask_copy(self, title: str, *, with_everything: bool) -> None:
        assert self.session.project
        name = self.session.project.root.name

        def make(text: str) -> None:
            folder = self.session.free_folder(text)
            self.session.copy_project(folder, with_everything=with_everything)

        self.dialogs.ask_text(title, "Name of the copy", f"{name} copy", make, check=_name_problem)

    def do_rename(self) -> None:
        """Ask for another name."""
        assert self.session.project
        self.dialogs.ask_text(
            "Rename project", "Name", self.session.project.root.name,
            lambda text: self._try("Not renamed", lambda: self.session.rename_project(text)),
            check=_name_problem,
        )  # fmt: skip

    def do_delete(self) -> None:
        """Ask, then move the project to the trash."""
        assert self.session.project
        root = self.session.project.root
        self.dialogs.confirm(
            f"Delete {fmt.path_text(root.name)}?",
            f"{fmt.path_text(str(root))}\nwith its runs and checkpoints goes to the system's trash. "
            "The files you train on are not touched.",
            [
                ("Move to trash", "danger", lambda: self._try("Not deleted", self.session.delete_project)),
                ("Keep it", "default", None),
            ],
        )  # fmt: skip

    def do_reveal(self) -> None:
        """Show the folder in the file manager."""
        assert self.session.project
        if not paths.reveal(self.session.project.root):
            self.toasts.show("warn", "No file manager", str(self.session.project.root))

    def do_scan(self) -> None:
        """List the files again."""
        self.session.work.scan()
        self.show("data")

    def do_prepare(self) -> None:
        """Tokenizer and token files."""
        self.session.work.prepare()
        self.show("data")

    def do_analyse(self) -> None:
        """Score the files; a second press stops it."""
        self.show("refine")
        self.presenter("refine").analyse()

    def do_move_to_trash(self) -> None:
        """Move what is proposed."""
        self.show("refine")
        self.presenter("refine").remove("trash")

    def do_exclude(self) -> None:
        """Leave out what is proposed."""
        self.show("refine")
        self.presenter("refine").remove("exclude")

    def do_undo_remove(self) -> None:
        """Bring back the last batch."""
        self.presenter("refine").batches.undo_last()

    def do_report_csv(self) -> None:
        """Ask where, then write the table of files."""
        self.show("refine")
        self.views["refine"].ask_report()

    def do_check_leaks(self) -> None:
        """Ask what is compared with the training text."""
        self.show("refine")
        self.views["refine"].ask_leaks()

    def do_auto_select(self) -> None:
        """Measure and propose."""
        self.show("train")
        self.presenter("train").auto_select()

    def do_start(self) -> None:
        """Start training; on the Test tab: write."""
        if self.page == "test":
            self.presenter("test").write()
            return
        if self.presenter("train").start():
            self.show("train")

    def do_resume(self) -> None:
        """Go on with the last run."""
        self.presenter("train").resume()
        self.show("train")

    def do_pause(self) -> None:
        """Pause, or go on."""
        self.session.work.pause()

    def do_save_now(self) -> None:
        """Checkpoint after this step."""
        self.session.work.save_now()
        self.toasts.show("accent", "Saving after this step", "")

    def do_stop(self) -> None:
        """Ask once, then save and stop; a run that is stopping already can be ended."""
        run = self.session.run
        if run is None or not run.is_live:
            self.session.work.stop()
        elif run.state == "stopping":
            self.dialogs.confirm(
                "End the worker now?",
                "It is still saving its last checkpoint. Ended now, the run goes on later from the "
                "checkpoint before.",
                [("Wait", "primary", None), ("End it now", "danger", self.session.work.stop)],
            )  # fmt: skip
        else:
            self.dialogs.confirm(
                "Stop the run?",
                "A checkpoint is saved first, so that the run can go on from here later.",
                [("Save and stop", "primary", self.session.work.stop), ("Go on training", "default", None)],
            )  # fmt: skip

    def do_settings(self) -> None:
        """Show the settings; from there back to where they were opened."""
        if self.page == "settings":
            self.show(self._back_from_help)
        else:
            self._back_from_help = self.page if self.page in TABS else self._back_from_help
            self.show("settings")

    def do_help(self) -> None:
        """Help for what is in view; from help back to where it was opened."""
        if self.page == "help":
            self.show(self._back_from_help)
        else:
            self.open_help()

    def do_keys(self) -> None:
        """The list of keys."""
        self.open_help("keys")

    def do_palette(self) -> None:
        """Search commands."""
        self.palette.open()

    def do_find(self) -> None:
        """Go to the search field of the page."""
        self.views[self.page].focus_first()

    def do_theme(self) -> None:
        """Switch light and dark."""
        self.settings.change(theme="light" if self.settings.values.theme == "dark" else "dark")

    def do_zoom_in(self) -> None:
        """One step larger."""
        self._zoom(1)

    def do_zoom_out(self) -> None:
        """One step smaller."""
        self._zoom(-1)

    def do_zoom_reset(self) -> None:
        """The usual size."""
        self.settings.change(zoom=1.0)

    def _zoom(self, step: int) -> None:
        nearest = min(ZOOMS, key=lambda zoom: abs(zoom - self.settings.values.zoom))
        place = max(0, min(len(ZOOMS) - 1, ZOOMS.index(nearest) + step))
        self.settings.change(zoom=ZOOMS[place])

    def do_messages(self) -> None:
        """The last messages."""
        self.toasts.toggle_history()

    def do_shortcut(self) -> None:
        """Make a starter on the desktop."""
        self.presenter("settings").make_shortcut()

    def do_quit(self) -> None:
        """Close the window."""
        self.ask_close()

    def _project_menu(self) -> None:
        rows: list[tuple[str, str, str, Callable[[], None]]] = []
        for name, folder, _ in self.shell.store.state.recent[:6]:
            rows.append(("folder2", name[:34], "", lambda folder=folder: self.open_project(folder)))  # type: ignore[misc]
        if rows:
            rows.append(("", "", "", lambda: None))
        for name in ("new", "open", "sample", "save_as", "duplicate", "rename", "reveal", "delete"):
            action = BY_ID[name]
            why = why_not(self.session, name)
            rows.append((action.icon, action.label, why, lambda name=name: self.act(name)))  # type: ignore[misc]
        self.menu.toggle(self.sidebar.card, rows)

    def _try(self, title: str, action: Callable[[], object]) -> bool:
        try:
            action()
        except SllmError as problem:
            self.toasts.show("bad", title, problem.text)
            return False
        except OSError as problem:
            told = errors.disk_error(problem, problem.filename or "a file")
            self.toasts.show("bad", title, told.text)
            return False
        return True

    # -- keys --------------------------------------------------------------------------------------

    def _bind_keys(self) -> None:
        """Every key of the table fires everywhere: what Tk's text fields do with it is taken away.

        Bound to the window itself, because a dialog or the palette shuts that out while it is open.
        """
        for action in ACTIONS:
            for key in action.keys:
                for kind in ("Text", "TEntry", "TCombobox", "TSpinbox", "Entry"):
                    self.root.unbind_class(kind, key)
                for virtual in self.root.event_info():
                    if key in self.root.event_info(virtual):
                        self.root.event_delete(virtual, key)
                self.root.bind(key, lambda _, name=action.id: self._on_key(name))  # type: ignore[misc]
        self.root.bind("<Escape>", lambda _: self._on_escape())
        self.root.bind_all("<Button-1>", lambda event: self.menu.click(event.widget), "+")

    def _on_key(self, name: str) -> str:
        self.act(name)
        return "break"

    def _on_escape(self) -> None:
        """Close what lies on top; never stop anything."""
        if self.menu.escape() or self.toasts.dismiss_newest():
            return
        if self.page not in TABS:
            self.show(self._back_from_help)

    # -- events --------------------------------------------------------------------------------------

    def _on_notice(self, notice: Notice) -> None:
        action = None
        is_in_bar = notice.action == ("Undo", "undo_remove") and notice.kind == "good"
        if is_in_bar and self.page == "refine":  # there a line with Undo says it, and stays
            return
        if notice.action:
            text, name = notice.action
            page, _, anchor = name.removeprefix("help:").partition("#")
            is_help = name.startswith("help:")
            action = (text, lambda: self.open_help(page, anchor) if is_help else self.act(name))
        self.toasts.show(notice.kind, notice.title, notice.text, action)

    def _on_project(self) -> None:
        if self.session.project is None and self.page in TABS:
            self.show("data")

    def _on_settings(self, old: AppSettings, new: AppSettings) -> None:
        self._tell_workers()
        if (old.theme, old.zoom) != (new.theme, new.zoom) and not self._is_closing:
            self.build()

    def _tell_workers(self) -> None:
        """What holds for every worker that is started from now on (jobs.awake)."""
        os.environ["SLLM_KEEP_AWAKE"] = "1" if self.settings.values.keep_awake else "0"

    def _on_configure(self, event: "tk.Event[tk.Misc]") -> None:
        if event.widget is self.root:
            self._later("size", SAVE_SIZE_MS, self._remember_size)

    def _remember_size(self) -> None:
        if self.root.tk.call("tk", "windowingsystem") == "x11":
            is_maximized = bool(self.root.attributes("-zoomed"))
        else:
            is_maximized = self.root.state() == "zoomed"
        if is_maximized:
            self.settings.change(is_maximized=True)
        else:
            self.settings.change(is_maximized=False, geometry=self.root.geometry())

    def _later(self, name: str, delay_ms: int, call: Callable[[], None]) -> None:
        """Do something once, a while after the last time it was asked for."""
        if name in self._afters:
            self.root.after_cancel(self._afters[name])
        self._afters[name] = self.root.after(delay_ms, call)

    def _tick(self) -> None:
        self.session.tick()
        self._later("tick", TICK_MS, self._tick)

    def _on_callback_error(
        self, kind: type[BaseException], problem: BaseException, trace: TracebackType | None
    ) -> None:
        """Our own mistake: to the log with its traceback, and a word to the person."""
        log.error("a callback failed", exc_info=(kind, problem, trace))
        if self.root.winfo_exists():
            self.toasts.show(
                "bad", "Something went wrong in the window",
                f"Runs are not affected. The details are in {log_path().name} in the settings folder.",
            )  # fmt: skip

    # -- life ------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Show the window until it is closed."""
        self.start()
        self.root.mainloop()
        return 0

    def start(self) -> None:
        """Paint first, then read the project and begin to watch the machine."""
        self.root.deiconify()
        self.root.update_idletasks()
        self._later("begin", 20, self._begin)

    def _begin(self) -> None:
        self._set_icon()
        self.pump.start()
        if self.settings.problem:
            self.toasts.show("warn", "Settings", self.settings.problem)
        folder = self._folder or next(iter(self.settings.values.recent), "")
        if folder and self.session.project is None:  # somebody may have been quicker
            self._open_first(folder)
        self.session.start_watch()
        if drop.enable(self.root, self._on_drop):
            self.presenter("data").allow_drop()
        self._tick()

    def _on_drop(self, paths: list[str], text: str) -> None:
        """Something was dragged onto the window: sources, or a text to paste."""
        if not self.dialogs.is_open:
            self.show("data")
            self.presenter("data").drop(paths, text)

    def _open_first(self, folder: str) -> None:
        try:
            self.session.open(folder)
        except SllmError as problem:
            self.toasts.show("warn", "The last project was not opened", problem.text)
            if not self._folder and not Path(folder).exists():
                self.settings.forget(folder)

    def _set_icon(self) -> None:
        self.root.iconphoto(True, logo(48))  # type: ignore[arg-type]

    def ask_close(self) -> None:
        """Close; with a run on, ask what becomes of it."""
        if self._is_closing or self.dialogs.is_open:
            return
        run = self.session.run
        if run is None or not run.is_live or self.session.read_only:  # another one's run goes on
            self.close()
            return
        self.dialogs.confirm(
            "A run is on",
            "It can go on in the background: the next start shows it again. Or it saves a checkpoint "
            "and stops, and goes on when you want.",
            [
                ("Keep training", "primary", self.close),
                ("Save and stop", "default", self._stop_and_close),
                ("Stay here", "ghost", None),
            ],
        )  # fmt: skip

    def _stop_and_close(self) -> None:
        run = self.session.run
        if run is not None and run.is_live:
            self._is_closing = True
            if run.state != "stopping":
                self.session.work.stop()
            self.toasts.show("accent", "Saving a checkpoint", "The window closes when it is safe.")
        self._finish_closing()

    def _finish_closing(self) -> None:
        if self._is_closing and not self.session.is_training:
            self._later("close", 1, self.close)

    def close(self) -> None:
        """Let go of everything and end."""
        self._is_closing = True
        self.session.work.stop_data_job()
        self.pump.stop()
        for pending in self._afters.values():
            self.root.after_cancel(pending)
        self.session.close()
        self.root.destroy()


def _name_problem(text: str) -> str:
    try:
        check_name(text, "project name")
    except SllmError as problem:
        return problem.what
    return ""


def _on_screen(geometry: str, width: int, height: int) -> str:
    """A stored geometry, if the window would be seen there; else ''."""
    try:
        size, x, y = geometry.replace("-", "+-").split("+", 2)[0], *_place_of(geometry)
        wide, high = (int(part) for part in size.split("x"))
    except ValueError:
        return ""
    is_seen = -50 <= x <= width - 200 and -50 <= y <= height - 100
    return geometry if is_seen and 200 <= wide <= 2 * width and 200 <= high <= 2 * height else ""


def _place_of(geometry: str) -> tuple[int, int]:
    _, x, y = geometry.replace("+-", "+~").split("+")
    return int(x.replace("~", "-")), int(y.replace("~", "-"))


def log_path() -> Path:
    """Where the window writes its own mistakes."""
    return paths.settings_dir() / "window.log"


def _start_log() -> None:
    try:
        log_path().parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.FileHandler(log_path(), encoding="utf-8", delay=True)
    except OSError:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)


def main(folder: str | None = None) -> int:
    """Open the window; the exit code of the process."""
    _start_log()
    try:
        window = Window(folder or "", Settings(paths.settings_dir()))
    except tk.TclError as problem:
        if "display" not in str(problem):
            raise
        sys.stderr.write(
            f"There is no display to open a window on ({problem}).\n"
            "Nothing was changed. Everything can be done from the command line as well: "
            "sllm.py --help [E-UI-DISPLAY]\n"
        )
        return 1
    return window.run()

"""A small window for a first start without a terminal: what is being set up, and what went wrong.

Plain tkinter, because nothing else is installed yet; the syntax of Python 3.6, because it also
has to say that a Python is too old.
"""

import os
import queue
import shutil
import sys
import threading
from pathlib import Path

# The window's own colours, written here because its theme cannot be imported yet.
GROUND, CARD, INK, QUIET, ACCENT = "#0b1426", "#111d35", "#e8eefc", "#93a4c8", "#4f8cff"
POLL_MS = 100
MANAGERS = (
    ("apt-get", "sudo apt install python3-tk"),
    ("dnf", "sudo dnf install python3-tkinter"),
    ("pacman", "sudo pacman -S tk"),
    ("zypper", "sudo zypper install python3-tk"),
)


def find_obstacle() -> str:
    """Why no window can be shown here, in words; '' when one can."""
    try:
        import tkinter as tk  # noqa: F401
    except ImportError:
        return no_tkinter()
    is_x11 = sys.platform not in ("win32", "darwin")
    if is_x11 and not os.environ.get("DISPLAY"):
        return no_display("the variable DISPLAY is not set")
    return ""


def no_tkinter() -> str:
    """The words for a Python without tkinter, with this system's own way to get it."""
    from sllm_core.errors import WindowError

    version = "{}.{}".format(*sys.version_info[:2])
    way = "Install the complete Python from python.org (its installer offers tcl/tk)"
    if sys.platform == "darwin":
        way = f"Install it: brew install python-tk@{version} (or Python from python.org)"
    elif sys.platform != "win32":
        ways = [words for name, words in MANAGERS if shutil.which(name)]
        way = f"Install it: {(ways or [MANAGERS[0][1]])[0]}"
    return WindowError(
        "TKINTER",
        f"This Python ({sys.executable}) comes without tkinter, which the window is made with.",
        safe="Nothing was changed; every command works without it (python3 sllm.py --help).",
        todo=f"{way}, then start again.",
    ).text


def no_display(why: str) -> str:
    """The words for a machine without a screen, with the commands that do the same."""
    from sllm_core.errors import WindowError

    return WindowError(
        "DISPLAY",
        f"The window needs a display, and there is none here ({why}).",
        safe="Nothing was changed.",
        todo="Every command works without one: python3 sllm.py demo, or python3 sllm.py --help. "
        "Over ssh, ssh -X brings the window to your screen.",
    ).text


def show_set_up(root: Path) -> None:
    """Set up in sight, if there is anything to set up; returns when all is there.

    Where no window can be opened nothing is shown, and the caller goes on as in a terminal.
    """
    from sllm_core import bootstrap

    try:
        if bootstrap.is_set_up(root):
            return
        problem = ""
    except bootstrap.SetupError as error:
        problem = str(error)
    if find_obstacle():
        return
    import tkinter as tk

    try:
        window = SetUpWindow(root)
    except tk.TclError:  # no display after all
        return
    if problem:
        window.fail(problem)
    else:
        window.begin()
    window.tk.mainloop()
    if not window.is_ready:
        sys.exit(1)


class Ended(Exception):  # noqa: N818 - an answer: the person closed the window
    """The set-up should end; the next start goes on from there."""


class SetUpWindow:
    """Title, what is going on, a bar, the steps so far, and a button."""

    def __init__(self, root: Path) -> None:
        import tkinter as tk
        from tkinter import ttk

        self.is_ready = False
        self._root = root
        self._said = queue.Queue()  # type: queue.Queue[tuple[str, str]]
        self._ending = threading.Event()
        self._thread = None  # type: threading.Thread | None
        self.tk = tk.Tk()
        self.tk.title("sLLM Trainer")
        self.tk.configure(background=GROUND, padx=28, pady=24)
        self.tk.minsize(620, 380)
        left, top = (self.tk.winfo_screenwidth() - 720) // 2, self.tk.winfo_screenheight() // 4
        self.tk.geometry(f"720x460+{max(0, left)}+{max(0, top)}")
        self.tk.protocol("WM_DELETE_WINDOW", self.close)
        self.tk.bind("<Escape>", lambda _: self.close())
        self._head = self._label("sLLM Trainer is being set up", 18, INK)
        self._note = self._label(
            "Needed once: about a gigabyte is fetched, which takes some minutes.\n"
            "You can close this at any time; the next start goes on from there.", 11, QUIET
        )  # fmt: skip
        style = ttk.Style(self.tk)
        style.theme_use("clam")
        style.configure(
            "Setup.Horizontal.TProgressbar", troughcolor=CARD, background=ACCENT, bordercolor=CARD,
            lightcolor=ACCENT, darkcolor=ACCENT,
        )  # fmt: skip
        self._bar = ttk.Progressbar(
            self.tk, mode="indeterminate", style="Setup.Horizontal.TProgressbar"
        )
        self._bar.pack(fill="x", pady=(16, 12))
        self._foot = tk.Frame(self.tk, background=GROUND)
        self._foot.pack(side="bottom", fill="x", pady=(14, 0))
        self._button = self._make_button("Stop", self.close)
        self._again = self._make_button("Try again", self.begin)
        self._again.pack_forget()
        self._text = tk.Text(
            self.tk, height=10, wrap="word", background=CARD, foreground=INK, relief="flat",
            padx=12, pady=10, borderwidth=0, highlightthickness=0, state="disabled",
            font=("TkFixedFont", 10),
        )  # fmt: skip
        self._text.pack(fill="both", expand=True)

    def _label(self, text: str, size: int, colour: str):  # type: ignore[no-untyped-def]
        import tkinter as tk

        made = tk.Label(
            self.tk, text=text, background=GROUND, foreground=colour, justify="left", anchor="w",
            font=("TkDefaultFont", size, "bold" if colour == INK else "normal"),
        )  # fmt: skip
        made.pack(fill="x", pady=(0, 4))
        return made

    def _make_button(self, text: str, command):  # type: ignore[no-untyped-def]
        import tkinter as tk

        made = tk.Button(
            self._foot, text=text, command=command, background=CARD, foreground=INK, relief="flat",
            activebackground=ACCENT, activeforeground=INK, padx=18, pady=8, borderwidth=0,
            highlightthickness=2, highlightbackground=GROUND, highlightcolor=ACCENT,
        )  # fmt: skip
        made.pack(side="right", padx=(8, 0))
        return made

    def begin(self) -> None:
        """Start (again) in a thread; Tk stays here."""
        self._again.pack_forget()
        self._head.configure(text="sLLM Trainer is being set up")
        self._bar.start(12)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        self.tk.after(POLL_MS, self._poll)

    def _work(self) -> None:
        from sllm_core import bootstrap

        try:
            bootstrap.prepare(self._root, self._listen)
        except Ended:
            self._said.put(("ended", ""))
        except bootstrap.SetupError as error:
            self._said.put(("failed", str(error)))
        except OSError as error:
            self._said.put(("failed", f"{error}\nNothing else was changed. Start again."))
        else:
            self._said.put(("ready", ""))

    def _listen(self, words: str) -> None:
        if self._ending.is_set():
            raise Ended
        if words:
            self._said.put(("step", words))

    def _poll(self) -> None:
        while not self._said.empty():
            kind, words = self._said.get()
            if kind == "step":
                self._append(words)
            elif kind == "failed":
                self.fail(words)
                return
            else:
                self.is_ready = kind == "ready"
                self.tk.destroy()
                return
        self.tk.after(POLL_MS, self._poll)

    def _append(self, words: str) -> None:
        self._text.configure(state="normal")
        self._text.insert("end", f"{words}\n")
        self._text.see("end")
        self._text.configure(state="disabled")

    def fail(self, words: str) -> None:
        """Say what went wrong; it can be selected and tried again."""
        self._thread = None
        self._bar.stop()
        self._head.configure(text="The set-up did not come to its end")
        self._note.configure(text="What happened, what is safe and what to do stands below.\n")
        self._append(f"\n{words}")
        self._button.configure(text="Close")
        self._again.pack(side="right", padx=(8, 0))
        self._again.focus_set()

    def close(self) -> None:
        """End the set-up; a running pip is ended first."""
        if self._thread is None:
            self.tk.destroy()
            return
        self._head.configure(text="Stopping")
        self._ending.set()

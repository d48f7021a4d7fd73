"""One real window a session, under Xvfb or on a screen; each test gets it without a project.

After each test: no error in a callback, no ERROR in the log, no timer and no Toplevel left over.
A Tk call from another thread raises at the place where it is made.
"""

import logging
import os
import shutil
import subprocess
import threading
import time
import tkinter as tk

import pytest

pytest.importorskip("tkinter", reason="this Python has no tkinter")
HAS_DISPLAY = bool(os.environ.get("DISPLAY")) or os.name == "nt"
# Timers of the window itself; every other one must be gone when a test ends.
OWN_TIMERS = ("_turn", "_tick", "_remember_size", "poll", "idle")


def pytest_collection_modifyitems(items):
    for item in items:
        if "/gui/" in item.path.as_posix():
            item.add_marker(pytest.mark.gui)
            if not HAS_DISPLAY:
                item.add_marker(pytest.mark.skip(reason="no display: install Xvfb"))


class Guard:
    """Stands before the Tcl interpreter and refuses calls from foreign threads."""

    def __init__(self, tk_app):
        self._tk, self._thread = tk_app, threading.get_ident()

    def __getattr__(self, name):
        if threading.get_ident() != self._thread:
            raise AssertionError(f"tk.{name} was called from {threading.current_thread().name}")
        return getattr(self._tk, name)


class Errors(logging.Handler):
    def __init__(self):
        super().__init__(logging.ERROR)
        self.found = []

    def emit(self, record):
        self.found.append(self.format(record))


@pytest.fixture(scope="session")
def the_window(tmp_path_factory):
    import ttkbootstrap as tb

    from sllm_ui import app
    from sllm_ui.settings import Settings

    class GuardedApp(tb.App):
        def __init__(self, *args, **kw):
            super().__init__(*args, **kw)
            self.tk = Guard(self.tk)

    home = tmp_path_factory.mktemp("home")
    original, tb.App = tb.App, GuardedApp
    try:
        window = app.Window("", Settings(home / "settings"), scale=1.0)
    finally:
        tb.App = original
    window.settings.change(projects_dir=str(home / "projects"))
    window.root.geometry("1440x900+0+0")
    window.start()
    errors = Errors()
    logging.getLogger().addHandler(errors)
    window.test_errors = errors
    until(window, window.root.winfo_viewable)
    yield window
    logging.getLogger().removeHandler(errors)
    window.close()


def until(window, condition, timeout=20.0, what=""):
    """Let the window live until ``condition()`` holds; its value is returned."""
    end = time.monotonic() + timeout
    while True:
        window.root.update()
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.005)


@pytest.fixture
def window(the_window):
    """The window without a project, on the Data tab, 1440 x 900, dark, zoom 1."""
    w = the_window
    w.test_errors.found.clear()
    w.settings.change(theme="dark", zoom=1.0, recent=())
    w.root.geometry("1440x900+0+0")
    park_pointer(w)
    w.show("data")
    w.root.update()
    tops = {str(t) for t in toplevels(w.root)}
    yield w
    if w.dialogs.is_open:
        w.dialogs.cancel()
    w.palette.close()
    w.menu.close()
    if w.session.run is not None and w.session.run.is_live:
        w.session.work.stop()
        until(w, lambda: not w.session.is_working, 60, "the run stops")
    w.session.work.stop_data_job()
    until(w, lambda: not w.session.is_on_data, 60, "the data job stops")
    w.session.close_project()
    while w.toasts.shown:
        w.toasts.dismiss_newest()
    park_pointer(w)
    w.root.update()
    time.sleep(0.3)  # delayed redraws that were asked for just now
    w.root.update()
    assert not w.test_errors.found, "\n".join(w.test_errors.found)
    assert {str(t) for t in toplevels(w.root)} <= tops, "a Toplevel is left over"
    left = timers(w.root)
    assert not left, f"timers are left over: {left}"


def toplevels(widget):
    found = []
    for child in widget.winfo_children():
        if isinstance(child, tk.Toplevel):
            found.append(child)
        found += toplevels(child)
    return found


def park_pointer(window):
    """Beside the window, where it calls no tooltip: a test with a real pointer leaves it anywhere."""
    window.root.event_generate("<Motion>", warp=True, x=1900, y=1060)


def timers(root):
    left = []
    for name in root.tk.splitlist(root.tk.call("after", "info")):
        script = str(root.tk.call("after", "info", name)[0])
        if not any(own in script for own in OWN_TIMERS):
            left.append(script)
    return left


@pytest.fixture
def soon(window):
    """``soon(condition)``: wait for it with the window alive."""
    return lambda condition, timeout=20.0, what="": until(window, condition, timeout, what)


@pytest.fixture
def corpus(tmp_path):
    """A folder with a few dozen kilobytes of text."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(24):
        lines = (
            f"Line {n} of text {i}: the sea was calm and the boat went out {n * i}.\n"
            for n in range(60)
        )
        (folder / f"text_{i:02d}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


TINY = {
    "d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 32, "seq_len": 32, "batch_size": 8,
    "target_vocab_size": 300, "precision": "fp32", "sample_tokens": 8, "val_windows": 4,
}  # fmt: skip


def children(widget):
    """A widget and everything below it."""
    yield widget
    for child in widget.winfo_children():
        yield from children(child)


def find(widget, text):
    """The visible control whose text holds ``text``."""
    for child in children(widget):
        try:
            words = str(child.cget("text"))
        except tk.TclError:
            continue
        if (
            text in words
            and child.winfo_viewable()
            and child.winfo_class() in {"TButton", "TRadiobutton", "Toolbutton", "TCheckbutton"}
        ):
            return child
    raise AssertionError(f"no control {text!r} is in view")


@pytest.fixture
def pointer(window):
    """``pointer(widget)``: a real click in the middle of a widget, by xdotool."""
    if not shutil.which("xdotool"):
        pytest.skip("xdotool is not there")

    def click(widget, button=1):
        window.root.update()
        x = widget.winfo_rootx() + widget.winfo_width() // 2
        y = widget.winfo_rooty() + widget.winfo_height() // 2
        command = ["xdotool", "mousemove", "--sync", str(x), str(y), "click", str(button)]
        subprocess.run(command, check=True, timeout=10)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            window.root.update()
            time.sleep(0.005)

    return click

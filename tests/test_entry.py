"""sllm.py opens the window, runs a command, or says in words why it cannot."""

import importlib.util
import os
import sys

import pytest

import sllm
import sllm_setup_window as setup
from sllm_core import bootstrap
from tests.helpers import ROOT, run_python

HAS_DISPLAY = bool(os.environ.get("DISPLAY")) or os.name == "nt"


def test_no_word_and_a_project_ask_for_the_window_and_nothing_else_does(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert sllm.asks_for_the_window([])
    assert sllm.asks_for_the_window([str(tmp_path)])
    for words in (["runs"], ["--help"], [str(tmp_path), "x"], [str(tmp_path.parent)]):
        assert not sllm.asks_for_the_window(words)


def start(*words, **environment):
    program = f"import sys; sys.argv = ['sllm.py', *{list(words)!r}]\n" + (
        "import runpy; runpy.run_path('sllm.py', run_name='__main__')"
    )
    return run_python(program, **environment)


@pytest.mark.skipif(os.name == "nt", reason="Windows always has a display")
def test_without_a_display_the_commands_are_named_and_nothing_is_set_up(tmp_path):
    done = start(DISPLAY="", WAYLAND_DISPLAY="", SLLM_VENV=str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.rstrip().endswith("[E-UI-DISPLAY]")
    assert "sllm.py demo" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("platform", "tools", "way"),
    [
        ("linux", {"apt-get"}, "apt install python3-tk"),
        ("linux", {"dnf"}, "dnf install python3-tkinter"),
        ("linux", {"pacman"}, "pacman -S tk"),
        ("linux", set(), "apt install python3-tk"),
        ("darwin", set(), "brew install python-tk@"),
        ("win32", set(), "python.org"),
    ],
)
def test_a_python_without_tkinter_gets_its_systems_own_advice(monkeypatch, platform, tools, way):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(setup.shutil, "which", lambda name: name if name in tools else None)
    monkeypatch.setitem(sys.modules, "tkinter", None)
    words = setup.find_obstacle()
    assert way in words
    assert words.endswith("[E-UI-TKINTER]")
    assert len(words.splitlines()) == 3


def test_what_is_set_up_is_not_shown(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "is_set_up", lambda _: True)
    monkeypatch.setattr(setup, "SetUpWindow", pytest.fail)
    setup.show_set_up(tmp_path)


def test_a_set_up_that_nobody_can_see_goes_on_as_in_a_terminal(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "is_set_up", lambda _: False)
    monkeypatch.setattr(setup, "find_obstacle", lambda: "no display")
    monkeypatch.setattr(setup, "SetUpWindow", pytest.fail)
    setup.show_set_up(tmp_path)


def test_a_listener_hears_the_steps_and_can_end_the_set_up(monkeypatch, tmp_path):
    heard = []

    def work(root, wanted):
        bootstrap._say("Downloading torch")
        bootstrap._tell("")

    monkeypatch.setattr(bootstrap, "is_set_up", lambda _: False)
    monkeypatch.setattr(bootstrap, "_set_up", work)
    (tmp_path / "requirements.txt").write_text("tiny==1\n")
    bootstrap.prepare(tmp_path, heard.append)
    assert heard == ["Downloading torch", ""]

    def stop(_):
        raise setup.Ended

    with pytest.raises(setup.Ended):
        bootstrap.prepare(tmp_path, stop)
    bootstrap._say("afterwards")
    assert heard == ["Downloading torch", ""]


SHOWN = """
import sys, threading
from pathlib import Path
import sllm_setup_window as setup
from sllm_core import bootstrap
failures = ["E-SETUP-NETWORK"] * int(sys.argv[1])

def prepare(root, listener):
    assert threading.current_thread() is not threading.main_thread()
    listener("Downloading torch")
    if sys.argv[2] == "wait":
        while True:
            listener("")
    if failures:
        raise bootstrap.SetupError("NETWORK", "no way out", failures.pop(), "try again")

bootstrap.prepare = prepare
bootstrap.is_set_up = lambda _: False
window = None
begin = setup.SetUpWindow.begin

def watch(self):
    global window
    window = self
    begin(self)
    if sys.argv[2] == "wait":
        self.tk.after(300, self.close)

setup.SetUpWindow.begin = watch
fail = setup.SetUpWindow.fail

def failed(self, words):
    fail(self, words)
    print(self._text.get("1.0", "end"), self._head.cget("text"))
    assert self._again.winfo_manager()
    self.tk.after(50, self._again.invoke if sys.argv[2] == "again" else self.close)

setup.SetUpWindow.fail = failed
setup.show_set_up(Path("."))
print("ready")
"""


@pytest.mark.skipif(not HAS_DISPLAY, reason="no display: install Xvfb")
@pytest.mark.skipif(importlib.util.find_spec("tkinter") is None, reason="no tkinter")
@pytest.mark.parametrize(
    ("failures", "way", "code", "said"),
    [
        (0, "run", 0, "ready"),
        (1, "again", 0, "no way out"),
        (1, "close", 1, "The set-up did not come to its end"),
        (0, "wait", 1, ""),
    ],
    ids=["through", "failed and tried again", "failed and closed", "closed on the way"],
)
def test_the_set_up_window_leads_on_or_ends(failures, way, code, said):
    done = run_python(SHOWN, failures, way)
    assert done.returncode == code, done.stderr
    assert said in done.stdout
    assert done.stderr == ""


def test_the_icon_of_the_shortcut_is_there():
    from PIL import Image

    with Image.open(ROOT / "assets" / "icon.png") as image:
        assert image.size == (256, 256)
    assert (ROOT / "assets" / "icon.ico").stat().st_size > 1000

"""A few roads with a real pointer and a real keyboard, through the X server."""

import shutil
import subprocess
import time

import pytest

from tests.gui.conftest import find, until

pytestmark = pytest.mark.skipif(not shutil.which("xdotool"), reason="xdotool is not there")


def type_keys(window, *words):
    """Keys by xdotool, into the window that has the focus."""
    subprocess.run(["xdotool", *words], check=True, timeout=20)
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        window.root.update()
        time.sleep(0.005)


def test_four_clicks_lead_from_the_first_start_to_a_run_on_an_own_folder(
    window, corpus, pointer, soon
):
    clicks = 0

    def click(widget):
        nonlocal clicks
        clicks += 1
        pointer(widget)

    click(find(window.host, "Add a folder"))
    soon(lambda: window.dialogs.is_open)
    window.dialogs.answer(corpus)  # typed and confirmed: two more
    clicks += 2
    soon(lambda: window.session.facts.used == 24, 60)
    window.session.change({"max_steps": 4000, "d_model": 32, "n_layers": 1, "n_heads": 2})
    click(find(window.bar, "Start training"))
    soon(lambda: window.session.run is not None and window.session.run.is_live, 30, "a run")
    assert clicks <= 6
    assert window.page == "train"


def test_tabs_palette_and_help_by_pointer_and_keyboard(window, pointer):
    for name in ("Train", "Monitor", "Test", "Data"):
        pointer(find(window.tabs, name))
        assert window.page == name.lower()
    pointer(find(window.tabs, "Search commands"))
    assert window.palette.is_open
    type_keys(window, "type", "--delay", "15", "monitor")
    type_keys(window, "key", "Return")
    until(window, lambda: window.page == "monitor", 5)
    type_keys(window, "key", "F1")
    until(window, lambda: window.page == "help", 5)
    type_keys(window, "key", "Escape")
    until(window, lambda: window.page == "monitor", 5)

"""A person's whole way through the window, with real workers: folder, scan, train, write, resume."""

import os
import signal

import pytest

from sllm_core import messages as m
from sllm_core.jobs import runs
from sllm_ui.events import Answered
from tests.gui.conftest import TINY, find, until

pytestmark = pytest.mark.timeout(240)


def add_project(window, corpus, **settings):
    """A project on ``corpus`` with tiny settings, through the window's own actions."""
    window.presenter("data").add_folder(corpus)
    until(window, lambda: window.session.project is not None, what="a project was made")
    window.session.change({**TINY, **settings})
    until(window, lambda: window.session.facts.used == 24, 60, "the folder was scanned")


def start(window):
    window.show("train")
    window.act("start")
    return until(
        window,
        lambda: window.session.run if window.session.run and window.session.run.step else None,
        120,
        "the first step",
    )


def answer(window, prompt):
    """What the warm writer writes behind a prompt."""
    found = []
    stop = window.session.bus.subscribe(Answered, lambda event: found.append(event.message))
    try:
        window.session.pipes.write(prompt, "last", window.session.config.sampling, 1)
        until(
            window,
            lambda: any(isinstance(x, m.Generated | m.Failed) for x in found),
            90,
            "an answer",
        )
    finally:
        stop()
    return found[-1]


def test_from_an_own_folder_to_a_model_that_writes(window, corpus, soon):
    add_project(
        window, corpus, max_steps=4000, val_interval=20, sample_interval=20, save_interval=20
    )
    assert window.session.facts.listed == 24
    run = start(window)
    soon(
        lambda: run.step.step >= 45 and run.samples and run.validations.n and run.saved,
        120,
        "curve, samples, checkpoints",
    )
    assert run.curve["step"][0] == 1
    window.act("pause")
    soon(lambda: run.state == "paused", 30, "it paused")
    at = run.step.step
    written = answer(window, "Line")
    assert isinstance(written, m.Generated), written
    assert run.step.step == at, "a paused run does not step"
    window.act("pause")
    soon(lambda: run.step.step > at + 5, 60, "it went on")
    window.act("stop")
    assert window.dialogs.is_open, "Stop asks once"
    window.dialogs.answer("Save and stop")
    soon(lambda: run.state == "stopped", 60, "it stopped")
    steps, folder, run_id = run.step.step, window.session.project.root, run.id
    window.session.close_project()
    assert window.page == "data"
    window.open_project(folder)
    soon(
        lambda: window.session.run is not None and window.session.run.state == "stopped",
        what="the run is shown again",
    )
    assert window.session.run.step.step == steps
    window.act("resume")
    soon(
        lambda: window.session.run.is_live and window.session.run.step.step > steps + 3,
        120,
        "it went on where it was",
    )
    again = window.session.run
    assert again.id == run_id
    assert (again.curve["step"][1:] - again.curve["step"][:-1] == 1).all(), (
        "no step is missing or doubled"
    )


def test_a_killed_worker_is_explained_and_the_run_goes_on(window, corpus, soon):
    add_project(window, corpus, max_steps=4000, save_interval=10)
    run = start(window)
    soon(lambda: len(run.saved) >= 2, 60, "two checkpoints")
    pid = runs.worker_pid(window.session.project.runs_dir / run.id)
    os.kill(pid, signal.SIGKILL)
    soon(lambda: run.state == "interrupted", 30, "it was noticed")
    assert "SIGKILL" in run.end.signal
    assert any("interrupted" in message.title for message in window.toasts.history)
    window.act("resume")
    soon(
        lambda: window.session.run.is_live and window.session.run.step.step > 12, 120, "it went on"
    )


def test_start_is_refused_with_the_reason_and_once_only(window, corpus, soon):
    window.act("start")
    assert window.session.run is None
    add_project(window, corpus, max_steps=4000)
    window.show("train")
    window.act("start")
    window.act("start")
    soon(lambda: window.session.run is not None and window.session.run.step, 120)
    assert len(runs.run_ids(window.session.project, "train")) == 1


def test_the_window_can_be_closed_while_a_run_is_on_and_finds_it_again(window, corpus, soon):
    add_project(window, corpus, max_steps=100_000, save_interval=50)
    run = start(window)
    folder = window.session.project.root
    window.ask_close()
    assert window.dialogs.is_open
    assert "Keep training" in window.dialogs.choices
    window.dialogs.cancel()
    window.session.close_project()  # what Keep training does before the window goes
    window.open_project(folder)
    soon(
        lambda: window.session.run is not None and window.session.run.state == "running",
        what="attached",
    )
    at = window.session.run.step.step
    soon(lambda: window.session.run.step.step > at + 5, 60, "it is followed live")
    assert window.session.run.id == run.id


@pytest.mark.slow
def test_every_tab_can_be_shown_in_both_themes_and_three_zooms(window, corpus, soon):
    add_project(window, corpus)
    for zoom in (1.0, 1.5, 0.8):
        for theme in ("light", "dark"):
            window.settings.change(theme=theme, zoom=zoom)
            for page in ("data", "refine", "train", "test", "monitor", "settings"):
                window.show(page)
                window.root.update()
            window.open_help("data")
            window.root.update()
    assert find(window.root, "Back to work")

"""The Monitor page asks before a run goes on from a checkpoint that is not its newest."""

import pytest

from sllm_ui.tabs.monitor.rows import GoingBack
from sllm_ui.tabs.monitor.view import CheckpointsCard

QUESTION = GoingBack("Go back 41 steps?", "Why.", "Use step 585", "new.pt", "Go on from step 626")


@pytest.mark.parametrize(
    ("answer", "did"),
    [
        ("Go on from step 626", ["choose new.pt", "resume"]),
        ("Use step 585", ["resume"]),
        ("Cancel", []),
    ],
)
def test_an_older_checkpoint_is_asked_about_first(window, monkeypatch, answer, did):
    presenter, done = window.presenter("monitor"), []
    monkeypatch.setattr(presenter, "going_back", lambda: QUESTION)
    monkeypatch.setattr(presenter, "complete_at", lambda: 0)
    monkeypatch.setattr(presenter, "choose_checkpoint", lambda file: done.append(f"choose {file}"))
    monkeypatch.setattr(presenter, "resume", lambda _: bool(done.append("resume")))
    card = CheckpointsCard(window.root, presenter, window.desk)
    card._tools["Resume"].state(["!disabled"])
    card._tools["Resume"].invoke()
    assert done == []
    window.dialogs.answer(answer)
    window.root.update()
    assert done == did
    card.destroy()

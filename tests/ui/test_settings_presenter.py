"""The settings page: each change counts at once, is stored, and can be taken back."""

import plistlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sllm_ui import paths
from sllm_ui.bus import Bus
from sllm_ui.events import ProjectChanged
from sllm_ui.settings import AppSettings, Settings
from sllm_ui.tabs.settings import presenter
from sllm_ui.tabs.settings.presenter import Presenter


class FakeSession:
    """What the presenter needs of the session."""

    def __init__(self, folder: Path) -> None:
        self.bus, self.settings, self.project = Bus(), Settings(folder), None
        self.tasks, self.notices = [], []

    def task(self, name, function, *arguments, then):
        self.tasks.append((name, function, arguments, then))

    def notify(self, *words):
        self.notices.append(words)


@pytest.fixture
def session(tmp_path):
    return FakeSession(tmp_path / "settings")


@pytest.fixture
def page(session):
    return Presenter(session)


@pytest.fixture
def changes(session):
    heard = []
    session.settings.listen(lambda *change: heard.append(change))
    return heard


def test_a_change_is_stored_and_announced_at_once(page, session, changes, tmp_path):
    page.set_theme("light")
    page.set_zoom(1.5)
    page.set_keep_awake(False)
    assert len(changes) == 3
    stored = Settings(tmp_path / "settings").values
    assert (stored.theme, stored.zoom, stored.keep_awake) == ("light", 1.5, False)
    state = page.store.state
    assert (state.theme, state.zoom, state.keep_awake) == ("light", 1.5, False)


def test_what_is_already_so_announces_nothing(page, changes):
    page.set_theme("dark")
    page.set_zoom(1.0)
    page.set_theme("")
    page.set_theme("pink")
    assert changes == []


def test_a_zoom_between_the_steps_is_the_nearest(page):
    page.set_zoom(1.32)
    assert page.store.state.zoom == 1.25


def test_reset_brings_back_the_defaults_and_can_be_taken_back(page, session, tmp_path):
    session.settings.change(recent=("/a",), geometry="800x600+1+1", tab="test")
    page.set_theme("light")
    page.set_projects_dir(str(tmp_path))
    before = session.settings.values
    assert not page.store.state.is_default
    assert not page.store.state.can_undo
    page.reset()
    assert page.store.state.is_default
    assert page.store.state.can_undo
    now = session.settings.values
    assert (now.theme, now.projects_dir) == ("dark", "")
    assert (now.recent, now.geometry, now.tab) == (("/a",), "800x600+1+1", "test")
    page.undo()
    assert session.settings.values == before
    assert not page.store.state.can_undo


def test_what_is_changed_after_a_reset_is_not_undone(page, session):
    page.set_theme("light")
    page.reset()
    page.set_zoom(1.5)
    assert not page.store.state.can_undo
    page.undo()
    assert (session.settings.values.theme, session.settings.values.zoom) == ("dark", 1.5)


def test_where_new_projects_go(page, session, tmp_path):
    assert page.store.state.projects_dir == str(paths.projects_dir())
    page.set_projects_dir(f" {tmp_path / 'not there yet'} ")
    assert session.settings.values.projects_dir == str(tmp_path / "not there yet")
    page.set_projects_dir("")
    assert session.settings.values.projects_dir == ""
    page.set_projects_dir(str(paths.projects_dir()))
    assert session.settings.values.projects_dir == ""


@pytest.mark.parametrize(
    ("text", "part"), [("relative/place", "whole path"), ("FILE", "is a file"), ("\0", "character")]
)
def test_a_place_that_cannot_be_is_refused_with_the_reason(page, session, tmp_path, text, part):
    if text == "FILE":
        (tmp_path / "a file").write_text("x")
        text = str(tmp_path / "a file" / "below")
    page.set_projects_dir(text)
    assert part in page.store.state.projects_dir_error
    session.settings.change(tab="test")
    assert page.store.state.projects_dir == text  # stays in the field, to be mended
    assert session.settings.values.projects_dir == ""
    page.set_projects_dir(str(tmp_path))
    assert page.store.state.projects_dir_error == ""


def test_changes_made_elsewhere_are_seen(page, session):
    session.settings.change(theme="light", zoom=1.25)
    assert (page.store.state.theme, page.store.state.zoom) == ("light", 1.25)


def test_the_shortcut_is_made_off_the_window_s_thread(page, session):
    page.make_shortcut()
    ((_, function, arguments, then),) = session.tasks
    assert function.__module__ == "sllm_core.shortcut"
    assert arguments == (paths.ROOT, Path(sys.executable))
    then(Path("/desk/sllm.desktop"))
    assert session.notices == [("good", "The shortcut is made", "/desk/sllm.desktop")]


def test_the_logs_are_those_of_the_open_project(page, session, tmp_path):
    assert page.store.state.logs_dir == ""
    session.project = SimpleNamespace(root=tmp_path)
    session.bus.publish(ProjectChanged())
    assert page.store.state.logs_dir == str(tmp_path / "logs")


def test_a_settings_file_that_cannot_be_read_is_told(tmp_path):
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "window.json").write_text("{")
    page = Presenter(FakeSession(folder))
    assert "could not be read" in page.store.state.problem
    assert page.store.state.theme == AppSettings().theme


def test_about_names_version_and_licence(page):
    about = dict(page.store.state.about)
    assert about["Licence"] == "MIT"
    assert about["Version"][0].isdigit()


# --- the system's theme


def test_the_mac_s_theme(tmp_path):
    file = tmp_path / "prefs.plist"
    assert presenter.mac_theme(file) == ""
    file.write_bytes(plistlib.dumps({"AppleInterfaceStyle": "Dark"}))
    assert presenter.mac_theme(file) == "dark"
    file.write_bytes(plistlib.dumps({"other": 1}))
    assert presenter.mac_theme(file) == "light"
    file.write_bytes(b"junk")
    assert presenter.mac_theme(file) == ""


@pytest.mark.parametrize(
    ("text", "theme"),
    [
        ("[Colors:Window]\nBackgroundNormal=32,35,38\n", "dark"),
        ("[Colors:Window]\nBackgroundNormal=239,240,241\n", "light"),
        ("[Colors:Window]\nBackgroundNormal=a,b,c\n", ""),
        ("[Other]\nx=1\n", ""),
        ("no ini at all", ""),
    ],
)
def test_the_theme_of_kde(tmp_path, text, theme):
    (tmp_path / "kdeglobals").write_text(text)
    assert presenter.kde_theme(tmp_path / "kdeglobals") == theme


@pytest.mark.parametrize(
    ("text", "theme"),
    [
        ("[Settings]\ngtk-application-prefer-dark-theme=1\n", "dark"),
        ("[Settings]\ngtk-application-prefer-dark-theme=false\n", "light"),
        ("[Settings]\ngtk-theme-name=x\n", ""),
    ],
)
def test_the_theme_of_gtk(tmp_path, text, theme):
    (tmp_path / "settings.ini").write_text(text)
    assert presenter.gtk_theme(tmp_path / "settings.ini") == theme


def test_a_system_that_does_not_say_gives_nothing(tmp_path, monkeypatch):
    if sys.platform not in {"win32", "darwin"}:
        monkeypatch.delenv("GTK_THEME", raising=False)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        assert presenter.system_theme() == ""
        monkeypatch.setenv("GTK_THEME", "Adwaita:dark")
        assert presenter.system_theme() == "dark"

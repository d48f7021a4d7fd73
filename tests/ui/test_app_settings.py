"""What the window remembers survives a restart; what cannot be read or stored is said, not lost."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from sllm_ui.settings import MAX_RECENT, ZOOMS, AppSettings, Settings


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "settings"


def stored(folder):
    return json.loads((folder / "window.json").read_text(encoding="utf-8"))


def write(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "window.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Settings(folder)


def test_without_a_file_all_is_default_and_nothing_is_written(folder):
    settings = Settings(folder)
    assert (settings.values, settings.problem) == (AppSettings(), "")
    assert not folder.exists()
    settings.change(theme="dark", zoom=1.0)  # the defaults
    assert not folder.exists()


def test_only_what_differs_from_the_defaults_is_stored(folder):
    settings = Settings(folder)
    settings.change(theme="light", zoom=1.25)
    assert stored(folder) == {"theme": "light", "zoom": 1.25}
    settings.change(theme="dark")
    assert stored(folder) == {"zoom": 1.25}
    settings.change(sections=(), keep_awake=False)
    assert stored(folder) == {"zoom": 1.25, "sections": [], "keep_awake": False}


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "theme": st.sampled_from(["dark", "light"]),
        "zoom": st.sampled_from(ZOOMS),
        "keep_awake": st.booleans(),
        "is_maximized": st.booleans(),
        "projects_dir": st.text(),
        "geometry": st.text(max_size=9),
        "writer": st.text(),
        "recent": st.lists(st.text(), max_size=4).map(tuple),
        "sections": st.lists(st.text(max_size=5), max_size=3).map(tuple),
        "sampling_presets": st.lists(st.text(max_size=5), max_size=3).map(tuple),
    },
)


@given(st.lists(VALUES, max_size=3))
@how(deadline=None, max_examples=25)
def test_a_second_start_finds_what_the_first_one_stored(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("s")
    settings, wanted = Settings(folder), {}
    for values in changes:
        settings.change(**values)
        wanted |= values
    again = Settings(folder)
    assert again.problem == ""
    assert again.values == settings.values == AppSettings(**wanted)


def test_a_path_with_undecodable_bytes_comes_back(folder):
    name = b"/data/\xff\xfe".decode("utf-8", "surrogateescape")
    Settings(folder).remember(name)
    again = Settings(folder)
    assert (again.values.recent, again.problem) == ((name,), "")


BROKEN = {
    "empty": "",
    "torn": '{"theme": "li',
    "no object": "[1, 2]",
    "a number": "3",
    "a text": '"dark"',
    "null": "null",
    "not UTF-8": b'{"writer": "\xff"}',
    "too deep": '{"a": ' + "[" * 100_000,
    "zeros": "\0" * 40,
    "wrong theme": '{"theme": "pink"}',
    "theme no text": '{"theme": 3}',
    "zoom too large": '{"zoom": 9}',
    "zoom not a number": '{"zoom": NaN}',
    "zoom beyond all numbers": '{"zoom": 1' + "0" * 400 + "}",
    "zoom a yes": '{"zoom": true}',
    "awake no yes or no": '{"keep_awake": 1}',
    "recent no list": '{"recent": "abc"}',
    "recent of numbers": '{"recent": [1]}',
    "geometry null": '{"geometry": null}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_set_aside_and_reported(folder, text):
    settings = write(folder, text)
    assert settings.values == AppSettings()
    assert "window.corrupt" in settings.problem
    kept = (folder / "window.corrupt").read_bytes()
    assert kept == (text if isinstance(text, bytes) else text.encode())
    assert not (folder / "window.json").exists()
    settings.change(theme="light")
    assert Settings(folder).values == AppSettings(theme="light")
    assert Settings(folder).problem == ""


def test_keys_of_a_newer_version_are_passed_over(folder):
    settings = write(folder, '{"theme": "light", "hologram": {"on": true}}')
    assert (settings.values, settings.problem) == (AppSettings(theme="light"), "")


def test_a_whole_number_is_a_zoom(folder):
    settings = write(folder, '{"zoom": 2}')
    assert (settings.values.zoom, settings.problem) == (2.0, "")
    assert type(settings.values.zoom) is float


@pytest.mark.parametrize("kind", ["enospc", "erofs", "short", "eio"])
def test_a_disk_that_refuses_is_said_and_the_window_goes_on(folder, arm, kind):
    settings = Settings(folder)
    settings.change(zoom=1.5)
    heard = []
    settings.listen(lambda _, new: heard.append(new.theme))
    arm(f"settings.save:1:{kind}")
    settings.change(theme="light")
    assert settings.values.theme == "light"
    assert heard == ["light"]
    assert "cannot be stored" in settings.problem
    assert stored(folder) == {"zoom": 1.5}  # what was there before is whole
    assert [path.name for path in folder.iterdir()] == ["window.json"]
    settings.change(writer="x")  # the disk is well again
    assert Settings(folder).values == AppSettings(theme="light", zoom=1.5, writer="x")


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    settings = Settings(tmp_path / "file" / "settings")
    assert settings.values == AppSettings()
    settings.change(theme="light")
    assert settings.values.theme == "light"
    assert "cannot be stored" in settings.problem


def test_a_broken_file_that_cannot_be_moved_stays_and_is_said(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    settings = write(folder, "{")
    assert settings.values == AppSettings()
    assert "left where it is" in settings.problem
    assert (folder / "window.json").read_text() == "{"


def test_recent_projects_are_few_newest_first_and_named_once(folder):
    settings = Settings(folder)
    for n in range(MAX_RECENT + 3):
        settings.remember(Path(f"/p/{n}"))
    newest = [f"/p/{n}" for n in reversed(range(3, MAX_RECENT + 3))]
    assert list(settings.values.recent) == newest
    settings.remember(Path("/p/7"))
    assert settings.values.recent[0] == "/p/7"
    assert sorted(settings.values.recent) == sorted(newest)
    settings.forget("/p/7")
    settings.forget("/nowhere")
    assert "/p/7" not in settings.values.recent
    assert len(settings.values.recent) == MAX_RECENT - 1
    assert Settings(folder).values == settings.values


def test_listeners_hear_old_and_new_and_only_of_changes(folder):
    settings, heard = Settings(folder), []
    settings.listen(lambda old, new: heard.append((old.zoom, new.zoom)))
    settings.change(zoom=1.5)
    settings.change(zoom=1.5)
    assert heard == [(1.0, 1.5)]
    assert stored(folder) == {"zoom": 1.5}  # it is on the disk when they hear of it


def test_the_zooms_are_a_ladder_around_one():
    assert list(ZOOMS) == sorted(set(ZOOMS))
    assert AppSettings().zoom in ZOOMS
    assert all(
        field.default is not dataclasses.MISSING for field in dataclasses.fields(AppSettings)
    )

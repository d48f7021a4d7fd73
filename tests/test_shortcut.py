"""The entry in the start menu starts this program, wherever it lies."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sllm_core import shortcut
from sllm_core.errors import DiskError

NASTY = [
    "/opt/sllm",
    "/home/a b/it's",
    '/x/"quoted" $HOME `id` \\back',
    "/100%/%f %U",
    "/zeile\numbruch",
    "/日本/ÄÖ",
]


def values(text):
    """Keys of a desktop entry, its string escapes undone."""
    assert text.isprintable() or set(text) - {"\n"}
    found = {}
    for line in text.splitlines()[1:]:
        key, _, value = line.partition("=")
        for code, letter in (("\\n", "\n"), ("\\t", "\t"), ("\\r", "\r"), ("\\\\", "\0")):
            value = value.replace("\\\\", "\0") if code == "\\n" else value
            value = value.replace(code, letter)
        found[key] = value.replace("\0", "\\")
    return found


def words(command):
    """A command line as the specification reads it: double quotes, four escapes, %% for %."""
    assert command.startswith('"') and command.endswith('"')
    found = []
    for quoted in re.findall(r'"((?:[^"\\]|\\.)*)"', command, flags=re.DOTALL):
        assert not re.search(r"(?<!\\)(?:\\\\)*[`$]", quoted), "a shell would read this"
        assert not re.search(r"%(?!%)", quoted.replace("%%", "")), "a field code would be filled in"
        found.append(re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL).replace("%%", "%"))
    return found


@pytest.mark.parametrize("folder", NASTY)
def test_no_path_can_break_out_of_the_linux_entry(folder):
    root = Path(folder)
    entry = values(shortcut.desktop_file(root, root / "bin" / "python3"))
    assert words(entry["Exec"]) == [str(root / "bin" / "python3"), str(root / "sllm.py")]
    assert entry["Path"] == folder
    assert entry["Terminal"] == "false"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def linux(home, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    return home


def test_without_a_desktop_the_menu_alone_gets_it(linux):
    place = shortcut.install(Path("/opt/sllm"), Path("/usr/bin/python3"))
    assert place == linux / ".local/share/applications/sllm-trainer.desktop"
    assert os.access(place, os.X_OK)
    assert [path.name for path in place.parent.iterdir()] == [place.name], "no draft is left"


def test_the_desktop_is_found_in_the_persons_language(linux):
    (linux / "Schreibtisch").mkdir()
    (linux / ".config").mkdir()
    (linux / ".config" / "user-dirs.dirs").write_text('XDG_DESKTOP_DIR="$HOME/Schreibtisch"\n')
    place = shortcut.install(Path("/opt/sllm"), Path("/usr/bin/python3"))
    assert place.parent == linux / "Schreibtisch"
    assert shortcut.install(Path("/opt/sllm"), Path("/usr/bin/python3")) == place, "made anew"


def test_an_environments_python_is_not_what_starts_it(linux):
    place = shortcut.install(Path("/opt/sllm"), Path(sys.executable))
    assert words(values(place.read_text())["Exec"])[0] == sys._base_executable


def test_the_mac_entry_is_a_script_that_a_shell_reads_whole(home, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    (home / "Desktop").mkdir()
    root = Path("/x/it's $(id)")
    place = shortcut.install(root, Path("/usr/bin/python3"))
    line = place.read_text().splitlines()[1]
    assert shlex.split(line) == ["exec", "/usr/bin/python3", str(root / "sllm.py")]


def test_no_path_is_part_of_the_windows_script(home, monkeypatch):
    asked = []

    def run(command, env, **_):
        asked.append((command, env))
        return subprocess.CompletedProcess(command, 0, "C:\\menu\\a.lnk\nC:\\desk\\a.lnk\n", "")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "run", run)
    root = Path("/a'; Remove-Item b")
    assert shortcut.install(root, home / "python.exe") == Path("C:\\desk\\a.lnk")
    ((command, env),) = asked
    assert not any("Remove-Item" in word for word in command)
    assert env["SLLM_LINK_ARGUMENTS"] == f'"{root / "sllm.py"}"'


def test_a_refusal_of_windows_is_told_with_its_words(home, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Zugriff verweigert")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DiskError, match="Zugriff verweigert"):
        shortcut.install(Path("/a"), Path("/b/python.exe"))


def test_a_place_that_cannot_be_written_is_a_message(linux):
    (linux / ".local").write_text("a file, no folder")
    with pytest.raises(DiskError):
        shortcut.install(Path("/a"), Path("/b/python3"))

"""`.gitignore` files mean here what they mean to git."""

import os
import shutil
import subprocess

import pytest

from tests.helpers import change, make_project, rows, scan

FILES = [
    "a.txt", "b.log", "keep.log", "build/out.txt", "src/build/deep.txt", "src/a.tmp", "src/b.txt",
    "src/inner/c.tmp", "src/inner/d.txt", "docs/x.md", "docs/private/y.md", "docs/private/z.md",
    "#hash.txt", "blank name.txt", "ümlaut.txt", "q/r/s/t.txt", "q/only.txt",
]  # fmt: skip
RULES = {
    "": "# a comment\n*.log\n!keep.log\n/build/\n*.tmp\nblank\\ name.txt\n\\#hash.txt\nq/**/t.txt\n",
    "src": "!a.tmp\ninner/d.txt\n",
    "docs/private": "*\n!z.md\n",
}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text of {name}\n")
    for place, text in RULES.items():
        (folder / place / ".gitignore").write_text(text)
    return folder


def used(ours) -> set[str]:
    return {name for name, (state, _) in rows(ours).items() if state == "used"}


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_same_files_are_left_out_as_by_git(tmp_path, source):
    def git(*words: str) -> str:
        here = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-c", "core.quotePath=false", *words]
        return subprocess.run(
            command, cwd=source, env=here, capture_output=True, text=True, check=True
        ).stdout

    git("init", "-q")
    listed = set(git("ls-files", "--others", "--exclude-standard").splitlines())
    ours = make_project(tmp_path / "project", source)
    change(ours, extensions=(".txt", ".md", ".log", ".tmp"))
    scan(ours)
    assert used(ours) == {name for name in listed if not name.endswith(".gitignore")}
    assert used(ours) != set(FILES)


def test_it_can_be_switched_off(tmp_path, source):
    ours = make_project(tmp_path / "project", source)
    change(ours, use_gitignore=False, extensions=(".txt", ".md", ".log", ".tmp"))
    said = scan(ours)
    assert used(ours) == set(FILES)
    assert "ignored" not in said.reasons


def test_patterns_that_could_take_for_ever_and_odd_files_are_passed_over(tmp_path, source):
    (source / ".gitignore").write_bytes(b"*a" * 60 + b"b\n\xff\xfe\n!\n[\n*.log\n")
    (source / ("a" * 200)).write_text("x")
    (source / "q" / ".gitignore").mkdir()
    (source / "docs" / ".gitignore").symlink_to("/dev/zero")
    ours = make_project(tmp_path / "project", source)
    change(ours, extensions=(".txt", ".log"))
    scan(ours)
    assert rows(ours)["b.log"] == ("skipped", "ignored")
    assert rows(ours)["a.txt"] == ("used", "")

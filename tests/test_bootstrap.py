"""The first start makes the environment, and whatever spoils it is repaired by the next one."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from sllm_core import bootstrap

ROOT = Path(__file__).parents[1]
BASE = sys._base_executable  # the tests run inside the environment; a first start does not
FIRST_FILES = [
    "sllm.py",
    "sllm_setup_window.py",
    "sllm_core/bootstrap.py",
    "sllm_core/__init__.py",
]
NOWHERE = "http://127.0.0.1:9/"  # nothing listens there
posix = pytest.mark.skipif(sys.platform == "win32", reason="the cause is a POSIX one")

CLI = """
import json, sys
import tiny
def main(argv=None):
    print(json.dumps({"prefix": sys.prefix, "args": sys.argv[1:], "tiny": tiny.VERSION}))
    return 7
"""


def make_wheel(folder: Path, version: str) -> None:
    """The smallest package that pip installs."""
    info = f"tiny-{version}.dist-info"
    files = {
        "tiny.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,{len(text)}\n" for name, text in files.items())
    record += f"{info}/RECORD,,\n"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)


class App:
    """A copy of the app that needs one tiny package and no network."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.stamp = self.venv / bootstrap.STAMP
        (root / "sllm_core").mkdir(parents=True)
        shutil.copy(ROOT / "sllm.py", root)
        shutil.copy(ROOT / "sllm_core" / "bootstrap.py", root / "sllm_core")
        (root / "sllm_core" / "__init__.py").write_text("")
        (root / "sllm_core" / "cli.py").write_text(CLI)
        make_wheel(root / "wheels", "1.0")
        make_wheel(root / "wheels", "2.0")
        self.require("tiny==1.0")

    def require(self, *lines: str) -> None:
        (self.root / "requirements.txt").write_text("\n".join(lines) + "\n")

    def begin(self, *args: str, python: str = BASE, wrap: tuple = (), **variables: str):
        own = ("PIP_", "SLLM_", "PYTHON", "COVERAGE_")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(own)},
            "HOME": str(self.root / "home"),
            "LOCALAPPDATA": str(self.root / "home"),
            "XDG_DATA_HOME": str(self.root / "home"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": (self.root / "wheels").as_uri(),  # pip splits at spaces
            **variables,
        }
        return subprocess.Popen(
            [*wrap, python, str(self.root / "sllm.py"), *(args or ["runs"])],
            env={name: value for name, value in environment.items() if value},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, *args: str, **options) -> subprocess.CompletedProcess:
        process = self.begin(*args, **options)
        said, told = process.communicate()
        return subprocess.CompletedProcess(args, process.returncode, said, told)

    def site(self) -> Path:
        return next(self.venv.rglob("site-packages"))


def assert_ran(done: subprocess.CompletedProcess, venv: Path, version: str = "1.0", args=("runs",)):
    """The command line itself was reached, in the environment, with its output untouched."""
    assert done.returncode == 7, done.stderr
    message = json.loads(done.stdout)
    assert Path(message["prefix"]).resolve() == venv.resolve()
    assert (message["tiny"], message["args"]) == (version, list(args))


def assert_refused(done: subprocess.CompletedProcess, code: str) -> None:
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert f"{code}: " in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> App:
    """An app after its first start. Making an environment takes seconds, so most tests share it."""
    app = App(tmp_path_factory.mktemp("my apps") / "sllm")
    done = app.start("train", "a b", "--json")
    assert_ran(done, app.venv, args=["train", "a b", "--json"])
    assert "Processing tiny-1.0" in done.stderr
    assert "Ready after" in done.stderr
    return app


@pytest.fixture
def app(made: App) -> App:
    made.require("tiny==1.0")
    return made


@pytest.fixture
def new(tmp_path: Path) -> App:
    return App(tmp_path / "sllm")


# The ordinary life of an environment


def test_a_later_start_says_nothing_and_changes_nothing(app: App):
    app.start()
    before = {path: path.stat().st_mtime_ns for path in app.venv.glob("*")}
    done = app.start("--json")
    assert_ran(done, app.venv, args=["--json"])
    assert done.stderr == ""
    assert before == {path: path.stat().st_mtime_ns for path in app.venv.glob("*")}


def test_a_start_with_the_environments_own_python_is_fine_too(app: App):
    done = app.start(python=str(bootstrap._python_of(app.venv)))
    assert_ran(done, app.venv)


def test_options_of_the_interpreter_survive_the_restart(app: App):
    (app.root / "show.py").write_text(
        "import sys\nfrom pathlib import Path\nfrom sllm_core import bootstrap\n"
        "bootstrap.ensure(Path(__file__).parent)\n"
        "print(sys.flags.optimize, sys.prefix != sys.base_prefix, sys.argv[1:])\n"
    )
    done = subprocess.run(
        [BASE, "-O", str(app.root / "show.py"), "x y"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 True ['x y']\n"


def test_new_requirements_are_installed_and_reworded_comments_are_not(app: App):
    app.require("tiny==2.0  # the newer one")
    assert_ran(app.start(), app.venv, version="2.0")
    app.require("# why", "tiny==2.0 # because")
    assert app.start().stderr == ""


def test_an_extra_is_installed_once_and_does_not_trouble_the_plain_start(app: App):
    app.start()
    (app.root / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[project.optional-dependencies]\ndev = ["tiny>=1"]\n'
    )
    (app.root / "dev.py").write_text(
        "from pathlib import Path\nfrom sllm_core import bootstrap\n"
        "bootstrap.ensure(Path(__file__).parent, 'dev')\n"
        "import tiny\nprint(tiny.VERSION)\n"
    )
    variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (app.root / "wheels").as_uri()}
    command = [BASE, str(app.root / "dev.py")]
    for told in ("Ready after", ""):
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, check=True
        )
        assert done.stdout == "1.0\n"
        assert told in done.stderr
        assert told or not done.stderr
    assert app.start().stderr == ""


# What interrupts or spoils it


def test_without_a_stamp_pip_runs_again(app: App):
    app.stamp.unlink()
    assert_ran(app.start(), app.venv)
    assert app.stamp.exists()


def test_a_package_that_a_kill_left_half_written_is_installed_again(app: App):
    app.start()
    app.stamp.unlink()
    (app.site() / "tiny.py").write_text("")
    (app.site() / "~iny").mkdir()
    done = app.start()
    assert_ran(done, app.venv)
    assert "Repairing tiny-1.0" in done.stderr
    assert not (app.site() / "~iny").exists()


@posix
def test_a_kill_in_the_middle_of_pip_is_repaired_by_the_next_start(app: App):
    app.start()
    app.require("tiny==2.0")
    process = app.begin()
    for line in process.stderr:
        if "Processing tiny-2.0" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not app.stamp.exists()  # or the old one would vouch for what pip was replacing
    app.require("tiny==1.0")
    assert_ran(app.start(), app.venv)


@posix
def test_ctrl_c_ends_with_130_and_one_line(app: App):
    # A child inherits that Ctrl-C is ignored, as it is where the tests run in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    app.stamp.unlink(missing_ok=True)
    process = app.begin()
    for line in process.stderr:
        if line.startswith("Needed once"):
            break
    process.send_signal(signal.SIGINT)
    said, told = process.communicate()
    assert (process.returncode, said) == (130, "")
    assert told.splitlines()[-1].startswith("Stopped.")
    assert "Traceback" not in told
    assert_ran(app.start(), app.venv)


@posix
def test_two_starts_at_once_make_one_environment_and_the_second_says_that_it_waits(app: App):
    app.stamp.unlink(missing_ok=True)
    first, second = app.begin("1"), app.begin("2")
    told = []
    for process, name in ((first, "1"), (second, "2")):
        said, words = process.communicate()
        told.append(words)
        assert process.returncode == 7, words
        assert json.loads(said)["args"] == [name]
    assert sorted(words.count("Another start is setting up") for words in told) == [0, 1]
    assert sorted(words.count("Ready after") for words in told) == [0, 1]


@posix
def test_a_pip_that_outlives_its_killed_start_keeps_the_lock(tmp_path: Path):
    (tmp_path / bootstrap.LOG).touch()
    starter = (
        "import sys, time\nfrom pathlib import Path\nfrom sllm_core import bootstrap\n"
        "venv = Path(sys.argv[1])\nlock = (venv / bootstrap.LOCK).open('ab')\n"
        "bootstrap._wait_for(lock, venv)\nprint('locked', flush=True)\n"
        "bootstrap._run([sys.executable, '-c', 'import sys, time; print(1, flush=True); "
        "time.sleep(1.5)'], venv, lock)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", starter, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    while not (tmp_path / bootstrap.LOG).read_bytes():  # until its child is at work
        time.sleep(0.02)
    process.kill()
    process.communicate()
    with (tmp_path / bootstrap.LOCK).open("ab") as lock:
        assert not bootstrap._try_lock(lock)
        bootstrap._wait_for(lock, tmp_path)  # until the child has ended


@posix
def test_an_environment_that_was_copied_or_lost_its_python_is_made_anew(app: App, tmp_path: Path):
    app.start()
    there = App(tmp_path / "elsewhere")
    shutil.copytree(app.venv, there.venv, symlinks=True)
    assert_ran(there.start(), there.venv)
    assert str(there.root) in (there.venv / "bin" / "pip").read_text()
    assert app.start().stderr == ""  # the original is untouched

    # Making it anew takes seconds: for the other causes it is enough that they are seen.
    python = bootstrap._python_of(there.venv)
    assert bootstrap._is_ready(there.venv, ["tiny==1.0"])
    assert bootstrap._find_site_packages(there.venv) == there.site()
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert not bootstrap._is_ready(there.venv, ["tiny==1.0"])
    assert bootstrap._find_site_packages(there.venv) is None
    python.unlink()
    python.write_bytes(b"\x7fELF no more")
    python.chmod(0o755)
    assert not bootstrap._is_ready(there.venv, ["tiny==1.0"])
    assert bootstrap._find_site_packages(there.venv) is None


# Where it lives


def test_sllm_venv_chooses_the_folder_and_never_empties_one_that_is_not_ours(new: App):
    photos = new.root / "photos"
    photos.mkdir()
    (photos / "1.jpg").touch()
    assert_refused(new.start(SLLM_VENV=str(photos)), "E-SETUP-FOLDER")
    assert [path.name for path in photos.iterdir()] == ["1.jpg"]


def test_sllm_venv_is_used_when_it_is_ready(new: App, app: App):
    app.start()
    assert_ran(new.start(SLLM_VENV=str(app.venv)), app.venv)
    assert not new.venv.exists()


def test_no_bootstrap_leaves_everything_to_the_user(new: App):
    (new.root / "tiny.py").write_text("VERSION = 'mine'\n")
    done = new.start(SLLM_NO_BOOTSTRAP="1")
    assert_ran(done, Path(sys.base_prefix), version="mine")
    assert not new.venv.exists()


def without_override() -> tuple:
    """How to start a program that the rights of files apply to, for root as well."""
    if os.geteuid() != 0:
        return ()
    wrap = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    if not shutil.which("setpriv") or subprocess.call([*wrap, "true"]) != 0:
        pytest.skip("root may write everywhere, and setpriv is not there to give that up")
    return wrap


@posix
def test_a_read_only_app_uses_the_data_folder_and_else_says_what_is_missing(new: App):
    wrap = without_override()
    home = new.root / "home"
    home.mkdir()
    for folder in (home, new.root):
        folder.chmod(0o555)
    try:
        assert_refused(new.start(wrap=wrap), "E-SETUP-PERMISSION")
        home.chmod(0o755)
        # A full disk is a quick end; the place it names is the one that was chosen.
        done = new.start(wrap=wrap, SLLM_FAKE_FREE="1000")
        assert_refused(done, "E-SETUP-DISK")
        assert f" {home}{os.sep}" in done.stderr
        assert not new.venv.exists()
    finally:
        new.root.chmod(0o755)


# Clear words, each from its real cause where a test can bring it about


def test_a_disk_that_is_too_full_is_seen_before_anything_is_fetched(new: App):
    done = new.start(SLLM_FAKE_FREE=str(1024**3))
    assert_refused(done, "E-SETUP-DISK")
    assert "1.0 GiB are free" in done.stderr
    assert "2.0 GiB" in done.stderr


def test_a_lost_network_is_told_from_other_failures_and_from_a_missing_build(app: App):
    app.require("tiny==9.0")
    # pip tells of a lost connection only when it tries again.
    network = {"PIP_NO_INDEX": "", "PIP_INDEX_URL": NOWHERE, "PIP_RETRIES": "1"}
    assert_refused(app.start(**network), "E-SETUP-NETWORK")
    done = app.start()
    assert_refused(done, "E-SETUP-WHEEL")
    assert "tiny==9.0" in done.stderr
    app.require("tiny=>9")
    done = app.start()
    assert_refused(done, "E-SETUP-PIP")
    assert "tiny=>9" in done.stderr  # pip's own last lines
    assert str(app.venv / bootstrap.LOG) in done.stderr


@posix
def test_a_python_without_ensurepip_is_told_the_package_to_install(new: App):
    """Such as Debian's, taken apart: the same program with a library that lacks one folder."""
    library = Path(os.__file__).parent
    bare = new.root / "python"
    (bare / "bin").mkdir(parents=True)
    shutil.copy(Path(BASE).resolve(), bare / "bin" / "python3")
    (bare / "lib" / library.name).mkdir(parents=True)
    for path in library.iterdir():
        if path.name != "ensurepip":
            (bare / "lib" / library.name / path.name).symlink_to(path)
    python = str(bare / "bin" / "python3")
    probe = [python, "-I", "-c", "import sys; sys.exit(sys.prefix != sys.argv[1])", str(bare)]
    if subprocess.call(probe, stderr=subprocess.DEVNULL) != 0:
        pytest.skip("this Python cannot be copied")
    done = new.start(python=python)
    assert_refused(done, "E-SETUP-VENV")
    assert "sudo apt install python3-venv" in done.stderr


def test_a_python_that_cannot_find_itself_does_not_restart_for_ever(app: App):
    app.start()
    done = app.start(SLLM_RESTARTED="1")
    assert_refused(done, "E-SETUP-RESTART")


def test_an_old_python_is_refused_with_its_version_and_a_way_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sllm.py"])
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    monkeypatch.setattr(bootstrap, "_runs", lambda _: False)
    for platform, way in (("linux", "apt install"), ("darwin", "brew"), ("win32", "py -3.13")):
        monkeypatch.setattr(sys, "platform", platform)
        with pytest.raises(bootstrap.SetupError, match=r"Python 3\.8\.18") as caught:
            bootstrap.ensure(ROOT)
        assert caught.value.code == "E-SETUP-PYTHON"
        assert way in str(caught.value)
    monkeypatch.setattr(bootstrap, "_runs", lambda name: name != "python3.13")
    with pytest.raises(bootstrap.SetupError, match=r"start with `python3\.12 sllm\.py`"):
        bootstrap.ensure(ROOT)


@pytest.mark.parametrize("name", FIRST_FILES)
def test_the_first_files_are_read_by_pythons_too_old_to_run_the_app(name: str):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 6))
    future = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "__future__" not in [node.module for node in future]  # annotations: Python 3.7


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "DISK",
        ),
        ("OSError: [Errno 122] Disk quota exceeded", "DISK"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError'\n"
            "ERROR: No matching distribution found for torch",
            "NETWORK",
        ),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", "NETWORK"),
        ("ERROR: [Errno 13] Permission denied: '/x'\nCheck the permissions.", "PERMISSION"),
        ("ERROR: x.whl is not a supported wheel on this platform.", "WHEEL"),
        ("ERROR: something new", "PIP"),
        ("", "PIP"),
    ],
)
def test_pips_words_become_a_code(said: str, code: str, tmp_path: Path):
    error = bootstrap._explain_pip(2, said, tmp_path)
    assert error.code == f"E-SETUP-{code}"
    assert len(str(error).splitlines()) >= 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (899.8 MB)",
            "Downloading torch-2.13.0, 899.8 MB",
        ),
        ("  Downloading numpy-2.4.6-cp311-x.whl.metadata (62 kB)", ""),
        (
            "Processing /a folder/tiny-1.0-py3-none-any.whl (from -r x (line 1))",
            "Processing tiny-1.0",
        ),
        ("Installing collected packages: a, b, c", "Installing 3 packages"),
        ("Requirement already satisfied: numpy in x", ""),
        ("WARNING: Retrying (Retry(total=4", "The package index does not answer; trying again"),
    ],
)
def test_a_line_of_pip_is_shown_as_a_step_or_not_at_all(line: str, words: str):
    assert bootstrap._step(line) == words

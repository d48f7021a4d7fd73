"""Gives the app its own Python environment on the first start, and costs next to nothing later.

`ensure` makes a folder `.venv` beside sllm.py (or in the user's data folder where that is not
writable), installs requirements.txt there with pip and starts the same command again inside it.

SLLM_VENV=FOLDER chooses another folder; SLLM_NO_BOOTSTRAP=1 is for people who manage their
environment themselves: nothing is looked at and nothing is changed.

What is in the folder besides the environment:
    sllm-setup.lock    locked while a set-up runs; also marks the folder as ours to rebuild
    sllm-setup.log     everything pip said, for the newest set-up
    sllm-setup.stamp   what is installed, for which place and which Python; written last

An old Python must get clear words, not a SyntaxError: this file keeps to the syntax of Python 3.6,
so annotations that need a newer one are quoted.
"""

import csv
import errno
import io
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

NEEDED_PYTHON = (3, 11)
# A CPU-only environment takes 1.0 GiB, and what pip fetches lies beside it until all is installed.
# A CUDA build of torch needs several times more; if that fills the disk, pip's words tell us.
NEEDED_BYTES = 2 * 1024**3
SILENCE_S = 10  # after so long without a word from pip, say that it is still at work
RESTARTED = "SLLM_RESTARTED"
# Without the user's PYTHONPATH and packages; each line of output at once, and in UTF-8.
ISOLATED = ("-I", "-u", "-X", "utf8")
_LISTENERS: "list[Callable[[str], None]]" = []
LOCK, LOG, STAMP, FETCHED = (f"sllm-setup.{end}" for end in ("lock", "log", "stamp", "tmp"))

# What pip's words mean; the first match wins. A full disk can look like anything, so it leads;
# a lost network ends in "No matching distribution", so that comes last.
REASONS = (
    (
        "DISK",
        r"No space left on device|Errno 28\b|Disk quota exceeded|not enough space on the disk",
    ),
    (
        "NETWORK",
        r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|ConnectionError|ProxyError"
        r"|SSLError|CERTIFICATE_VERIFY_FAILED|IncompleteRead|Connection reset|Connection aborted"
        r"|Connection broken|name resolution|getaddrinfo failed|Network is unreachable|timed out"
        r"|Could not fetch URL|HTTP error 5\d\d|5\d\d Server Error",
    ),
    ("PERMISSION", r"Permission denied|Access is denied|Errno 13\b|Read-only file system"),
    ("WHEEL", r"No matching distribution found|is not a supported wheel on this platform"),
)
NO_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class SetupError(Exception):
    """The environment could not be made: a code, what happened, what is safe, what to do."""

    def __init__(self, reason: str, happened: str, safe: str, advice: str) -> None:
        self.code = f"E-SETUP-{reason}"
        super().__init__(f"{self.code}: {happened}\n{safe}\n{advice}")


def ensure(root: Path, extra: "str | None" = None) -> None:
    """Returns inside an environment that has what `root` asks for; otherwise makes it and restarts.

    Args:
        root: The folder of sllm.py, requirements.txt and pyproject.toml.
        extra: A list of `[project.optional-dependencies]` in pyproject.toml to install as well.
    """
    check_python()
    if os.environ.get("SLLM_NO_BOOTSTRAP") == "1":
        return
    wanted = _read_packages(root, extra)
    ready = next((venv for venv in _places(root) if _is_ready(venv, wanted)), None)
    if ready and ready.resolve() == Path(sys.prefix).resolve():
        os.environ.pop(RESTARTED, None)  # a child of ours that runs another Python may restart too
        return
    if os.environ.pop(RESTARTED, None):
        raise SetupError(
            "RESTART",
            f"the Python of {ready or 'the environment'} reports {sys.prefix} as its place.",
            "Nothing was changed.",
            "Start without PYTHONHOME and without tools that change Python's place, or remove that "
            "folder.",
        )
    _restart(ready or _set_up(root, wanted))


def is_set_up(root: Path) -> bool:
    """Whether `ensure` has nothing to install.

    Raises:
        SetupError: E-SETUP-PYTHON.
    """
    check_python()
    if os.environ.get("SLLM_NO_BOOTSTRAP") == "1":
        return True
    wanted = _read_packages(root, None)
    return any(_is_ready(venv, wanted) for venv in _places(root))


def prepare(root: Path, listener: "Callable[[str], None]") -> None:
    """Sets up what `ensure` would, and stays in this process.

    Args:
        root: The folder of sllm.py.
        listener: Told each step; called with '' many times a second. What it raises ends the
            set-up, and the next one goes on from there.
    """
    _LISTENERS.append(listener)
    try:
        if not is_set_up(root):
            _set_up(root, _read_packages(root, None))
    finally:
        _LISTENERS.remove(listener)


def check_python() -> None:
    """Refuses a Python that is too old.

    Raises:
        SetupError: E-SETUP-PYTHON, with the way to a newer one.
    """
    if sys.version_info >= NEEDED_PYTHON:
        return
    newer = [name for name in ("python3.11", "python3.12", "python3.13") if _runs(name)]
    script = "-m tests" if sys.argv[0].endswith("__main__.py") else "sllm.py"
    if newer:
        advice = f"This computer has a newer one: start with `{newer[-1]} {script}`."
    elif sys.platform == "win32":
        advice = f"Install Python 3.13 from python.org, then start with `py -3.13 {script}`."
    elif sys.platform == "darwin":
        advice = (
            "Install Python 3.13 from python.org (or `brew install python@3.13 python-tk@3.13`), "
            f"then start with `python3.13 {script}`."
        )
    else:
        advice = (
            "Install a newer Python with your system's package manager (Debian 12, Ubuntu 24.04 "
            "and newer have one:\n`sudo apt install python3 python3-venv python3-tk`), then start "
            f"with `python3 {script}`."
        )
    found = ".".join(str(part) for part in sys.version_info[:3])
    raise SetupError(
        "PYTHON",
        f"sLLM Trainer needs Python 3.11 or newer, and this is Python {found} ({sys.executable}).",
        "Nothing was installed or changed.",
        advice,
    )


def _runs(name: str) -> bool:
    """Whether there is such a Python. pyenv leaves names that only say how to get one."""
    try:
        quiet = subprocess.DEVNULL
        return subprocess.call([name, "-c", ""], stdin=quiet, stdout=quiet, stderr=quiet) == 0
    except OSError:
        return False


def _read_packages(root: Path, extra: "str | None") -> "list[str]":
    """One line a package, comments left out: rewording a reason must not reinstall anything."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = [line.split(" #")[0].strip() for line in lines if not line.startswith("#")]
    if extra:
        import tomllib  # Python 3.11; only the tests and the exports come here

        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        packages += project["optional-dependencies"][extra]
    return [package for package in packages if package]


def _places(root: Path) -> "Iterator[Path]":
    """Where the environment may live, the best place first."""
    chosen = os.environ.get("SLLM_VENV")
    if chosen:
        yield Path(chosen).expanduser().absolute()
        return
    yield root / ".venv"
    # Two copies of the app may ask for different versions, so each has a folder of its own.
    copy = f"{zlib.crc32(os.fsencode(str(root.resolve()))):08x}"
    yield _data_folder() / f"venv-{copy}"


def _data_folder() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "sLLM Trainer"
    elif sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "sLLM Trainer"
    else:
        shared = os.environ.get("XDG_DATA_HOME")
        return (Path(shared) if shared else Path.home() / ".local" / "share") / "sllm-trainer"


def _python_of(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _is_ready(venv: Path, wanted: "list[str]") -> bool:
    """The stamp names every wanted package, for this place and this very Python."""
    try:
        stamp = (venv / STAMP).read_text(encoding="utf-8").splitlines()
        return set(wanted + _identity(venv)) <= set(stamp)
    except (OSError, ValueError):
        return False


def _identity(venv: Path) -> "list[str]":
    """Changes when the folder is moved or copied, and when its base Python is replaced.

    Looking is enough: starting the environment's Python at each start to see whether it lives
    would cost more than all the rest.
    """
    python = _python_of(venv).resolve()
    status = python.stat()
    return [f"venv {venv.resolve()}", f"python {python} {status.st_size} {status.st_mtime_ns}"]


def _set_up(root: Path, wanted: "list[str]") -> Path:
    """Makes or repairs the environment in the first place that can be written."""
    venv = root / ".venv"
    try:
        venv, lock = _open_first(_places(root))
        with lock:
            _wait_for(lock, venv)
            if not _is_ready(venv, wanted):  # another start may have done it while we waited
                _install(root, venv, wanted, lock)
    except OSError as error:
        raise _explain(error, venv) from error
    return venv


def _open_first(places: "Iterable[Path]") -> "tuple[Path, io.BufferedWriter]":
    """Opens the lock of the first folder that can be written, making the folder if needed."""
    refusal = OSError(errno.EACCES, "no place for the environment")
    for venv in places:
        if venv.is_dir() and any(venv.iterdir()) and not _is_ours(venv):
            raise SetupError(
                "FOLDER",
                f"{venv} is not empty and is no environment of Python's venv module.",
                "Nothing in it was touched.",
                "Let SLLM_VENV name a new folder, or set SLLM_NO_BOOTSTRAP=1 if you manage the "
                "environment yourself.",
            )
        try:
            venv.mkdir(parents=True, exist_ok=True)
            return venv, (venv / LOCK).open("ab")
        except OSError as error:
            if error.errno not in NO_WRITE:
                raise
            refusal = error
    raise refusal


def _is_ours(venv: Path) -> bool:
    return (venv / "pyvenv.cfg").exists() or (venv / LOCK).exists()


def _wait_for(lock: "io.BufferedWriter", venv: Path) -> None:
    """Holds the lock until the file is closed. The system frees it however a process ends."""
    told = False
    while not _try_lock(lock):
        if not told:
            _say(f"Another start is setting up {venv}; waiting for it (Ctrl-C is safe).")
            told = True
        _tell("")
        time.sleep(0.2)


def _try_lock(lock: "io.BufferedWriter") -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


def _install(root: Path, venv: Path, wanted: "list[str]", lock: "io.BufferedWriter") -> None:
    began = time.monotonic()
    shutil.rmtree(venv / FETCHED, ignore_errors=True)  # left by a killed set-up
    _check_disk(venv)
    _say(
        f"Setting up the Python packages of sLLM Trainer in {venv}\n"
        "Needed once, takes minutes; Ctrl-C is safe, the next start goes on from there."
    )
    (venv / LOG).write_bytes(b"")
    site = _find_site_packages(venv)
    if site is None:
        site = _rebuild(venv, lock)
    # Without a stamp, a set-up that is cut short here is finished by the next start.
    (venv / STAMP).unlink(missing_ok=True)
    _forget_torn_packages(site)
    # The file too, for lines that are options; an extra's packages have no file of their own.
    packages = ["-r", str(root / "requirements.txt"), *_plain(wanted)]
    pip = ["-m", "pip", "install", "--no-input", "--progress-bar", "off", *packages]
    code, said = _run([str(_python_of(venv)), *ISOLATED, *pip], venv, lock)
    if code != 0:
        raise _explain_pip(code, said, venv)
    _write_stamp(venv, wanted)
    _say(f"Ready after {time.monotonic() - began:.0f} s.")


def _plain(wanted: "list[str]") -> "list[str]":
    return [package for package in wanted if not package.startswith("-")]


def _check_disk(venv: Path) -> None:
    needed = NEEDED_BYTES - _size_of(venv)
    fake = os.environ.get("SLLM_FAKE_FREE")  # the hook of the tests
    free = int(fake) if fake else shutil.disk_usage(venv).free
    if free < needed:
        raise _disk_full(
            f"{free / 1024**3:.1f} GiB are free at {venv}, and setting up needs about "
            f"{needed / 1024**3:.1f} GiB."
        )


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:  # pip removes its files while we look
            continue
    return total


def _find_site_packages(venv: Path) -> "Path | None":
    """Asks the environment's Python where packages go; None if it was moved or cannot answer."""
    try:
        settings = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
        # Python 3.11 and newer note the command that made the environment: it ends in the place.
        made = re.search(r"^command = (.*)$", settings, re.MULTILINE)
        if made and not made.group(1).endswith((f" {venv}", f" {venv.resolve()}")):
            return None
        question = (
            f"import sys, sysconfig, pip; assert sys.version_info >= {NEEDED_PYTHON}; "
            "print(sysconfig.get_path('purelib'))"
        )
        answer = subprocess.run(
            [str(_python_of(venv)), "-I", "-X", "utf8", "-c", question],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Path(answer.stdout.decode("utf-8").strip())


def _rebuild(venv: Path, lock: "io.BufferedWriter") -> Path:
    """Makes the environment anew, and keeps its lock: another start may be waiting for it."""
    for path in venv.iterdir():
        if path.name in (LOCK, LOG):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    # Inside an environment this is the Python that it was made from; sys.executable has just gone.
    base = getattr(sys, "_base_executable", None) or sys.executable
    # In two steps, as venv does not pass on why pip could not be put in.
    make = ["-m", "venv", "--without-pip", str(venv)]
    add_pip = ["-m", "ensurepip", "--upgrade", "--default-pip"]
    for python, step in ((base, make), (str(_python_of(venv)), add_pip)):
        code, said = _run([python, *ISOLATED, *step], venv, lock)
        if re.search(r"No module named '?(venv|ensurepip)|ensurepip is not available", said):
            raise SetupError(
                "VENV",
                f"this Python ({base}) comes without its venv module.",
                "Nothing outside the app's own folder was changed.",
                "On Debian and Ubuntu: `sudo apt install python3-venv` (or python3."
                f"{sys.version_info[1]}-venv); elsewhere install the complete Python. Start again.",
            )
        if code != 0:
            raise _explain_pip(code, said, venv)
    site = _find_site_packages(venv)
    if site is None:
        raise _explain(OSError(errno.EIO, "the new environment's Python does not answer"), venv)
    return site


def _forget_torn_packages(site: Path) -> None:
    """Lets pip install again what a kill or a power cut left half written.

    pip takes a package for installed as soon as its metadata folder is there, whatever the state
    of its files. So a package whose files are not all present in full loses that folder.
    """
    for half_removed in site.glob("~*"):  # pip's name for what it was about to replace
        shutil.rmtree(half_removed, ignore_errors=True)
    for metadata in site.glob("*.dist-info"):
        if not _is_whole(metadata):
            _say(f"Repairing {metadata.name[: -len('.dist-info')]}: some of its files are damaged.")
            shutil.rmtree(metadata)


def _is_whole(metadata: Path) -> bool:
    try:
        with (metadata / "RECORD").open(encoding="utf-8", newline="") as record:
            rows = [row for row in csv.reader(record) if not row[0].endswith(".pyc")]
        sizes = [((metadata.parent / name).stat().st_size, size) for name, _, size in rows]
        return all(not noted or present == int(noted) for present, noted in sizes)
    except (OSError, ValueError, csv.Error):
        return False


def _run(command: "list[str]", venv: Path, lock: "io.BufferedWriter") -> "tuple[int, str]":
    """Runs one command, shows its steps, and returns its exit code and all it said.

    It writes into the log file, not into a pipe, so that it lives on if we are killed. It holds
    the lock as well: the next start then waits for its end, and never works beside it.
    """
    fetched = venv / FETCHED
    fetched.mkdir(exist_ok=True)
    # A small /tmp is no place for torch. PIP_USER: a user's setting that cannot work in here.
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(fetched))
    with (venv / LOG).open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **places, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            pass_fds=() if sys.platform == "win32" else (lock.fileno(),),
        )
    try:
        _follow(process, venv, start)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        shutil.rmtree(fetched, ignore_errors=True)
    with (venv / LOG).open("rb") as log:
        log.seek(start)
        return process.returncode, log.read().decode("utf-8", "replace")


def _follow(process: "subprocess.Popen[bytes]", venv: Path, start: int) -> None:
    """Shows the steps of a running pip as its log grows, until it ends."""
    began = spoke = time.monotonic()
    with (venv / LOG).open("rb") as log:
        log.seek(start)
        rest = b""
        while process.poll() is None:
            *lines, rest = (rest + log.read()).split(b"\n")
            steps = [_step(line.decode("utf-8", "replace")) for line in lines]
            now = time.monotonic()
            if now - spoke > SILENCE_S:
                steps.append(f"still at work: {_size_of(venv) / 1e6:.0f} MB on disk")
            for step in filter(None, steps):
                _say(f"[{now - began:4.0f} s] {step}")
                spoke = now
            _tell("")
            time.sleep(0.1)


def _step(line: str) -> str:
    """The words for one line of pip; none where it is not a step of a package."""
    line = line.strip().split(" (from ")[0]
    if line.startswith("WARNING: Retrying"):
        return "The package index does not answer; trying again"
    if line.startswith("Installing collected packages:"):
        return f"Installing {line.count(',') + 1} packages"
    # Of a file, name, version and size are of interest, not its folder and tags.
    step = re.match(
        r"(Downloading|Using cached|Processing) (?:.*[/\\])?([^/\\]+?)(?:-(?:cp|pp|py)\d\S*)?"
        r"(?: \(([\d.]+ \w+)\))?$",
        line,
    )
    if step and ".metadata" not in line:
        return f"{step.group(1)} {step.group(2)}" + (f", {step.group(3)}" if step.group(3) else "")
    return line if line.startswith("Building wheel for ") else ""


def _write_stamp(venv: Path, wanted: "list[str]") -> None:
    if hasattr(os, "sync"):
        os.sync()  # the power may fail: no stamp on the disk before the packages are there too
    lines = [*_identity(venv), *wanted]
    draft = venv / f"{STAMP}.tmp"
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(venv / STAMP)


def _explain_pip(code: int, said: str, venv: Path) -> SetupError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    reason = next((name for name, words in REASONS if re.search(words, said)), "PIP")
    if shutil.disk_usage(venv).free < 2**20:  # too full to tell us so
        reason = "DISK"
    what = errors[-1].replace("ERROR: ", "") if errors else f"exit code {code}"
    log = f"All that pip said: {venv / LOG}"
    kept = "What was installed so far is kept, and the next start goes on from there."
    if reason == "DISK":
        return _disk_full(f"the disk became full while packages were installed: {what}")
    if reason == "PERMISSION":
        return _no_permission(f"pip may not write a file: {what}")
    if reason == "NETWORK":
        advice = f"Check the connection (and HTTPS_PROXY behind a proxy), start again. {log}"
        return SetupError(reason, "pip could not reach the package index.", kept, advice)
    if reason == "WHEEL":
        found = f"Python {sys.version.split()[0]} on {sys.platform}"
        advice = f"Use a 64-bit Python 3.11, 3.12 or 3.13, or check the connection. {log}"
        return SetupError(reason, f"no build for {found}: {what}", kept, advice)
    last = "\n".join(f"    {line[:200]}" for line in lines[-4:])
    advice = f"Start again; if it stays, these are pip's last lines:\n{last}\n{log}"
    return SetupError(reason, f"pip failed with exit code {code}.", kept, advice)


def _explain(error: OSError, venv: Path) -> SetupError:
    if error.errno in NO_SPACE:
        return _disk_full(f"the disk is full: {error}")
    if error.errno in NO_WRITE:
        return _no_permission(f"there is no permission to write: {error}")
    advice = "Let SLLM_VENV name a folder on another disk, then start again."
    return SetupError("IO", f"{venv} could not be set up: {error}", "Your files are safe.", advice)


def _disk_full(happened: str) -> SetupError:
    return SetupError(
        "DISK",
        happened,
        "Your own files were not touched; a started set-up goes on from where it was.",
        "Free some space, or let SLLM_VENV name a folder on another disk, then start again.",
    )


def _no_permission(happened: str) -> SetupError:
    return SetupError(
        "PERMISSION",
        happened,
        "Nothing outside the app's own folder was changed.",
        "Give yourself the right to write there, or let SLLM_VENV name a folder of your own, then "
        "start again.",
    )


def _restart(venv: Path) -> None:
    """Starts the same command with the environment's Python, in this process where possible."""
    os.environ[RESTARTED] = "1"
    os.environ.pop("__PYVENV_LAUNCHER__", None)  # macOS: would point the new Python at the old
    command = [str(_python_of(venv)), *sys.orig_argv[1:]]
    if sys.platform == "win32":
        # Windows' exec returns to the shell at once and leaves two programs reading one keyboard.
        process = subprocess.Popen(command)
        while True:
            try:
                sys.exit(process.wait())
            except KeyboardInterrupt:  # the child got it too and decides
                continue
    os.execv(command[0], command)


def _say(words: str) -> None:
    """Writes to standard error: standard output belongs to the messages of --json."""
    _tell(words)
    if sys.stderr:  # a Python without a console has none
        sys.stderr.write(f"{words}\n")
        sys.stderr.flush()


def _tell(words: str) -> None:
    for listener in _LISTENERS:
        listener(words)

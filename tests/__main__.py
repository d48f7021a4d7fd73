"""Sets up what the tests need, then runs them: python3 -m tests [pytest arguments].

Without -m of your own, all but the slow and the gpu tests run. On Linux without a display the
window's tests get one from Xvfb; where Xvfb is missing too, they skip.
"""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

from sllm import set_up


@contextmanager
def display():
    """A screen for the window's tests, where the machine has none."""
    xvfb = shutil.which("Xvfb")
    if sys.platform != "linux" or os.environ.get("DISPLAY") or not xvfb:
        yield
        return
    read_end, write_end = os.pipe()
    screen = ["-screen", "0", "1920x1080x24", "-dpi", "96", "-nolisten", "tcp"]
    server = subprocess.Popen(
        [xvfb, "-displayfd", str(write_end), *screen],
        pass_fds=[write_end],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the tests; the screen outlives their last window
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end, encoding="ascii") as pipe:
            number = pipe.readline().strip()  # empty if Xvfb ended instead
        if number:
            os.environ["DISPLAY"] = f":{number}"
        yield
    finally:
        os.environ.pop("DISPLAY", None)
        server.terminate()
        server.wait()


def main() -> int:
    """Runs pytest in this process."""
    set_up("dev")
    import pytest

    arguments = sys.argv[1:]
    if not any(argument.startswith("-m") for argument in arguments):
        arguments = ["-m", "not slow and not gpu", *arguments]
    with display():
        return pytest.main(arguments)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""sLLM Trainer: trains small language models on your own files, on your own computer.

`python3 sllm.py` opens the window, `python3 sllm.py PROJECT_FOLDER` opens it on a project,
`python3 sllm.py --help` lists the commands. The first start sets up what is needed. Keeps to the
syntax of Python 3.6: see sllm_core/bootstrap.py.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def set_up(extra: "str | None" = None) -> None:
    """Continues inside the app's own environment, or ends with words that help."""
    from sllm_core import bootstrap

    try:
        bootstrap.ensure(ROOT, extra)
    except bootstrap.SetupError as error:
        sys.exit(str(error))  # to standard error, exit code 1
    except KeyboardInterrupt:
        print("Stopped. The next start goes on with the set-up from there.", file=sys.stderr)
        sys.exit(130)


def asks_for_the_window(words: "list[str]") -> bool:
    """No word at all, or the folder of a project."""
    return not words or (len(words) == 1 and Path(words[0], "config.json").is_file())


def open_window(folder: "str | None") -> int:
    """The window; a set-up that nobody can see in a terminal is shown in one of its own."""
    import sllm_setup_window

    if not has_terminal():
        sllm_setup_window.show_set_up(ROOT)
    try:
        from sllm_core import bootstrap

        bootstrap.check_python()
    except bootstrap.SetupError as error:
        sys.exit(str(error))
    obstacle = sllm_setup_window.find_obstacle()
    if obstacle:
        sys.exit(obstacle)
    set_up()
    import tkinter as tk

    from sllm_ui.app import main

    try:
        return main(folder)
    except tk.TclError as error:
        if "display" not in str(error):
            raise
        sys.exit(sllm_setup_window.no_display(str(error)))


def has_terminal() -> bool:
    """Whether anybody reads what is printed."""
    return any(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


if __name__ == "__main__":
    if asks_for_the_window(sys.argv[1:]):
        sys.exit(open_window(sys.argv[1] if sys.argv[1:] else None))
    set_up()
    from sllm_core.cli import main

    sys.exit(main())

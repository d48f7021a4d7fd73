"""Files, folders and text that are dragged onto the window, where the system's library loads."""

import logging
import tkinter as tk
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)
MOST_CHARS = 20_000_000  # of a dropped text


def enable(root: tk.Tk, on_drop: Callable[[list[str], str], object]) -> bool:
    """Tell ``on_drop(paths, text)`` of what is dropped anywhere on the window.

    False where it cannot work: tkinterdnd2 is not installed, or its library does not fit this Tk.
    """
    try:
        from tkinterdnd2 import TkinterDnD  # optional: its place is in requirements.txt

        TkinterDnD.require(root)
        root.tk.call("tkdnd::drop_target", "register", str(root), ("DND_Files", "DND_Text"))
    except (ImportError, RuntimeError, tk.TclError) as problem:
        log.info("nothing can be dragged onto the window: %s", problem)
        return False

    def dropped(paths: Sequence[str], text: str) -> str:
        # Only told now: the program that files come from waits for this answer.
        root.after_idle(lambda: on_drop(list(paths), text))
        return "copy"

    def files(data: str) -> str:
        paths = local(root.tk.splitlist(data))
        return dropped(paths, "") if paths else "refuse_drop"

    def words(data: str) -> str:
        return dropped((), data[:MOST_CHARS])

    # Of the substitutions only %D is asked for: it alone is quoted by tkdnd as a value.
    for kind, take in (("DND_Files", files), ("DND_Text", words)):
        root.tk.call("bind", str(root), f"<<Drop:{kind}>>", f"{root.register(take)} %D")
    return True


def local(names: Sequence[str]) -> list[str]:
    """The paths of this computer among what was dropped; addresses of the web are left out."""
    here = [name.removeprefix("localhost") for name in names]  # file://localhost/home/... is a path
    return [name for name in here if Path(name).is_absolute()]

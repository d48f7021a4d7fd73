"""Pictures of every page in every theme, size and zoom, and what can be checked in them.

    python -m tests.gui.pictures OUT [--project FOLDER]     (with a display; without: xvfb-run)

Without a project the sample is made and trained for a minute. `assets/screenshot.png` of the
README is `train-dark-1440x900.png` of such a round. Somebody has to look at the pictures; the
checks find what no eye is needed for: cut texts, controls outside the window, Tk's own grey.
"""

import argparse
import itertools
import sys
import tempfile
import time
import tkinter as tk
from pathlib import Path

import numpy as np
from PIL import Image, ImageGrab

TEXTS = {
    "TLabel",
    "TButton",
    "TCheckbutton",
    "TRadiobutton",
    "Toolbutton",
    "TEntry",
    "TCombobox",
    "TSpinbox",
}
GREYS = ((0xD9, 0xD9, 0xD9), (0xEC, 0xEC, 0xEC), (0xC3, 0xC3, 0xC3), (0xF0, 0xF0, 0xF0))
PAGES = ("data", "refine", "train", "test", "monitor", "help", "settings")


def live(window, seconds):
    """Let the window live for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        window.root.update()
        time.sleep(0.01)


def show(window, page):
    """Bring a page into view."""
    if page == "help":
        window.open_help("train")
    else:
        window.show(page)
    live(window, 0.2)


def visible(widget):
    """Every widget in view below this one."""
    for child in widget.winfo_children():
        if child.winfo_ismapped() and child.winfo_viewable():
            yield child
            yield from visible(child)


def scrolled_in(widget):
    """Whether it lies on ground that scrolls: there a part may be out of view."""
    while widget is not None:
        if isinstance(widget, tk.Canvas):
            return True
        widget = widget.master
    return False


def cut(window):
    """Texts and controls with less room than they ask for, or outside the window."""
    found = []
    right = window.root.winfo_rootx() + window.root.winfo_width()
    bottom = window.root.winfo_rooty() + window.root.winfo_height()
    for widget in visible(window.root):
        kind = widget.winfo_class()
        if kind not in TEXTS or type(widget).__name__ == "Elided":
            continue
        wide, high = widget.winfo_width(), widget.winfo_height()
        lacks = (
            kind not in {"TEntry", "TCombobox", "TSpinbox"} and wide < widget.winfo_reqwidth() - 1
        )
        lacks = lacks or high < widget.winfo_reqheight() - 1
        outside = widget.winfo_rootx() + wide > right + 1 or (
            widget.winfo_rooty() + high > bottom + 1 and not scrolled_in(widget)
        )
        if lacks or outside:
            words = ""
            if kind in {"TLabel", "TButton", "TCheckbutton", "TRadiobutton", "Toolbutton"}:
                words = str(widget.cget("text"))[:40]
            room = f"{wide}x{high} of {widget.winfo_reqwidth()}x{widget.winfo_reqheight()}"
            found.append(f"{kind} {words!r} {room}{' outside' if outside else ''} {widget}")
    return found


def picture(window):
    """What is on the screen where the window is."""
    root = window.root
    x, y = root.winfo_rootx(), root.winfo_rooty()
    box = (x, y, x + root.winfo_width(), y + root.winfo_height())
    return ImageGrab.grab(box, xdisplay="")


def greys(image: Image.Image):
    """Pixels of Tk's own greys."""
    pixels = np.asarray(image.convert("RGB"))
    return sum(int((pixels == grey).all(axis=2).sum()) for grey in GREYS)


def luminance(colour):
    """Relative luminance of #rrggbb (WCAG 2.1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    """Contrast ratio of two colours."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def take_all(window, out: Path):
    """Every page in every theme and size; returns what the checks found."""
    problems = []
    looks = itertools.product(
        ("dark", "light"), (("1440x900", 1.0), ("1180x720", 1.0), ("1900x1040", 1.5))
    )
    for theme, (size, zoom) in looks:
        window.settings.change(theme=theme, zoom=zoom)
        window.root.geometry(f"{size}+0+0")
        window.root.event_generate("<Motion>", warp=True, x=2, y=2)  # no tooltip in a picture
        for page in PAGES:
            show(window, page)
            live(window, 1.0)
            while window.toasts.dismiss_newest():
                live(window, 0.1)
            image = picture(window)
            name = f"{page}-{theme}-{size}{'-150' if zoom > 1 else ''}"
            image.save(out / f"{name}.png")
            problems += [f"{name}: {line}" for line in cut(window)]
            if (n := greys(image)) > 20 and theme == "dark":
                problems.append(f"{name}: {n} grey pixels")
    return problems


def main():
    """Make the pictures."""
    from sllm_core import sample
    from sllm_ui.app import Window
    from sllm_ui.settings import Settings

    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--project", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    folder = (
        arguments.project or sample.open_or_create(Path(tempfile.mkdtemp()) / "python-library").root
    )
    window = Window(str(folder), Settings(Path(tempfile.mkdtemp())), 1.0)
    window.start()
    live(window, 3)
    if not arguments.project:
        window.session.change({"max_time_s": 60.0})
        window.act("start")
        end = time.monotonic() + 300
        while window.session.is_training and time.monotonic() < end:
            live(window, 1)
    problems = take_all(window, arguments.out)
    window.close()
    sys.stdout.write("\n".join(problems) or "nothing found")


if __name__ == "__main__":
    main()

"""`sllm.py doctor`: what this computer has, lacks and does slowly, in words."""

import importlib.util
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from sllm_core import faults, fmt, hardware
from sllm_core.messages import Finding

LOW_RAM_BYTES = 8 << 30
LOW_DISK_BYTES = 5 << 30
_NEEDED = ("torch", "tokenizers", "numpy", "safetensors", "psutil", "filelock")
_USEFUL = {
    "tiktoken": "about seven times faster encoding",
    "gigatoken": "about eight times faster encoding again (Linux on x86-64)",
    "pyarrow": "Parquet files",
    "tkinterdnd2": "files dropped onto the window",
}
_WINDOW = ("ttkbootstrap", "Pillow", "matplotlib", "markdown-it-py", "send2trash")


def examine() -> list[Finding]:
    """Every finding, problems included; imports torch."""
    machine = hardware.look()
    out = [
        Finding("system", "good", f"{machine.system}, Python {platform.python_version()}"),
        Finding("processor", "good", f"{machine.processor}, {machine.n_cores} cores for this"),
        _memory(machine),
        _disk(),
    ]
    out += [_package(name, needed=True) for name in _NEEDED]
    out += [_package(name, needed=False) for name in _USEFUL]
    out += _torch(machine)
    out += _window()
    return out


def _memory(machine: hardware.Machine) -> Finding:
    text = f"{fmt.size(machine.ram_bytes)}, {fmt.size(machine.ram_free_bytes)} free"
    if machine.ram_bytes < LOW_RAM_BYTES:
        return Finding("memory", "note", f"{text}; 8 GiB or more are advised: use small presets")
    return Finding("memory", "good", text)


def _disk() -> Finding:
    free = faults.free_bytes(Path.cwd())
    level = "note" if free < LOW_DISK_BYTES else "good"
    return Finding("disk", level, f"{fmt.size(free)} free in this folder")


def _package(name: str, *, needed: bool) -> Finding:
    version = _version(name)
    if version is not None:
        return Finding(name, "good", version)
    if needed:
        text = f"is missing; install it: {Path(sys.executable).name} -m pip install {name}"
        return Finding(name, "problem", text)
    return Finding(name, "note", f"is not installed; it gives {_USEFUL[name]}")


def _torch(machine: hardware.Machine) -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return []
    from sllm_core import device

    chosen = device.choose("auto", "auto")
    out = [Finding("precision", "good", f"{chosen.precision}: {chosen.precision_reason}")]
    if chosen.name == "cuda":
        out.append(Finding("graphics card", "good", f"{chosen.title} is used"))
    elif machine.gpus:
        text = (
            f"{machine.gpus[0].name} is there, but this torch cannot use it; install a CUDA build "
            "(README: choosing a build of torch)"
        )
        out.append(Finding("graphics card", "problem", text))
    else:
        out.append(Finding("graphics card", "note", "no NVIDIA GPU found: training on the CPU"))
    return out


def _window() -> list[Finding]:
    """Toolkit and libraries of the window; the commands work without them."""
    missing = [name for name in _WINDOW if _version(name) is None]
    if missing:
        pip = f"{Path(sys.executable).name} -m pip install {' '.join(missing)}"
        libraries = Finding("window", "problem", f"lacks {', '.join(missing)}: {pip}")
    else:
        found = ", ".join(f"{name} {_version(name)}" for name in _WINDOW)
        libraries = Finding("window", "good", found)
    if importlib.util.find_spec("tkinter") is None or importlib.util.find_spec("_tkinter") is None:
        text = "is missing, so the window cannot open (Debian: sudo apt install python3-tk)"
        return [Finding("tkinter", "note", text), libraries]
    if sys.platform not in {"win32", "darwin"} and not os.environ.get("DISPLAY"):
        text = "is there; no display, so the window cannot open from here"
        return [Finding("tkinter", "note", text), libraries]
    return [Finding("tkinter", "good", "is there"), libraries]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

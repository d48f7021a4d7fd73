"""`sllm.py doctor`: what this computer has, lacks and does slowly, in words."""

import importlib.util
import platform
import sys
from importlib import metadata
from pathlib import Path

from sllm_core import faults, fmt, hardware
from sllm_core.messages import Finding

LOW_RAM_BYTES = 8 << 30
LOW_DISK_BYTES = 5 << 30
_NEEDED = ("torch", "tokenizers", "numpy", "safetensors", "psutil", "filelock")
_USEFUL = {"tiktoken": "about five times faster encoding"}


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
    out.append(_window())
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
    try:
        return Finding(name, "good", metadata.version(name))
    except metadata.PackageNotFoundError:
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


def _window() -> Finding:
    if importlib.util.find_spec("tkinter") is None or importlib.util.find_spec("_tkinter") is None:
        return Finding("tkinter", "note", "is missing (Debian: apt install python3-tk)")
    return Finding("tkinter", "good", "is there")

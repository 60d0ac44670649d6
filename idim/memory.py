"""Peak memory: of the device where there is one, else of this process."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

_CLEAR, _STATUS = (Path("/proc/self", name) for name in ("clear_refs", "status"))


def reset_peak(device: torch.device) -> None:
    """Begin a new peak. Only Linux can: elsewhere the process's highest ever stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def peak(device: torch.device) -> int:
    """Bytes at the highest since ``reset_peak``.

    Args:
        device: a GPU counts what torch allocated on it; a CPU what this process had resident.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        return _field("VmHWM")
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def now(device: torch.device) -> int:
    """Bytes held at this moment, counted as ``peak`` counts; without /proc, the peak itself."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _field("VmRSS") if _STATUS.exists() else peak(device)


def _field(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

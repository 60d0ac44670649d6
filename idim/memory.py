"""Peak memory: of the device where there is one, else of this process."""

from __future__ import annotations

import ctypes
import mmap
import resource
import sys
from pathlib import Path

import torch

_PAGEOUT = 21  # linux/mman.h, which Python does not name
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak(device: torch.device) -> None:
    """Begin a new peak. Where the system has no way to (not Linux), the process's highest ever stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        _CLEAR.write_text("5")
    except OSError:
        pass


def peak(device: torch.device) -> int:
    """Bytes at the highest since ``reset_peak``: allocated on the device, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        return _field("VmHWM")
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def now(device: torch.device) -> int:
    """Bytes held at this moment, counted as ``peak`` counts them; on a system without /proc, the peak."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _field("VmRSS") if _STATUS.exists() else peak(device)


def _field(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def release(x: torch.Tensor) -> None:
    """Tell the system that hardly any of x will be read, and that in no order.

    Where x lies in a mapped file, its pages leave memory and come back one by one when they are read; elsewhere nothing happens that
    a program could notice. Nothing is lost in either case. Linux only.
    """
    if x.device.type != "cpu" or not sys.platform.startswith("linux") or not x.is_contiguous():
        return
    start = -(-x.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (x.data_ptr() + x.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - start
    for advice in (mmap.MADV_RANDOM, _PAGEOUT) if size > 0 else ():
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), advice)  # a kernel that does not know it does nothing

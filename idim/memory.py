"""Peak memory: of the device where there is one, else of this process."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import resource
import sys
from pathlib import Path

import torch

_CLEAR, _STATUS, _MAPS = (Path("/proc/self", name) for name in ("clear_refs", "status", "maps"))


def reset_peak(device: torch.device) -> None:
    """Begin a new peak. Where the system has no way to (not Linux), the process's highest ever stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


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


def in_file(x: torch.Tensor) -> bool:
    """Whether x lies in a private mapping of a file, as loaded weights often do, and still holds what the file does. Linux only; reads the file once."""
    if x.device.type != "cpu" or not x.is_contiguous() or not _MAPS.exists() or not x.nbytes:
        return False
    start, stop, found = x.data_ptr(), x.data_ptr() + x.nbytes, None
    for line in _MAPS.read_text().splitlines():
        places, permissions, offset, _, inode, *path = line.split(maxsplit=5)
        low, high = (int(place, 16) for place in places.split("-"))
        if low <= start < high and stop <= high and permissions[3] == "p" and int(inode):
            found = Path(path[0]), int(offset, 16) + start - low, int(inode)
    if found is None or not found[0].is_file() or found[0].stat().st_ino != found[2]:
        return False
    held = x.detach().reshape(-1).view(torch.uint8)
    with open(found[0], "rb") as file:
        file.seek(found[1])
        return all(
            torch.equal(part, torch.frombuffer(bytearray(file.read(len(part))), dtype=torch.uint8))
            for part in held.split(1 << 22)
        )


def leave_to_file(x: torch.Tensor) -> None:
    """Let go of the memory of x, for which ``in_file`` holds: it comes back from the file when it is read. What was written to it since is lost."""
    start = -(-x.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (
        (x.data_ptr() + x.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - start
    )  # the whole pages inside: others' bytes may lie on the edges
    if size > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_DONTNEED)

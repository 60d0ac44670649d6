"""theta_0: the memory that a model came in, which may lie in a file."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable
from pathlib import Path

import torch

_MAPS = Path("/proc/self/maps")
_COMPARED_AT_ONCE = 1 << 22  # bytes


def in_file(x: torch.Tensor) -> bool:
    """Whether x lies in a private mapping of a file and still holds what the file does.

    Loaded weights often lie so. Only Linux can tell. Cost: reads the file's part once.
    """
    if x.device.type != "cpu" or not x.is_contiguous() or not _MAPS.exists() or not x.nbytes:
        return False
    start, stop = x.data_ptr(), x.data_ptr() + x.nbytes
    found: tuple[Path, int, int] | None = None  # the file, where in it x begins, its inode
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
            for part in held.split(_COMPARED_AT_ONCE)
        )


def leave_to_file(x: torch.Tensor) -> None:
    """Give the memory of x back to the system, which reads it from the file when it is next used.

    Args:
        x: a tensor for which ``in_file`` holds. What was written to it since is lost.
    """
    # Only whole pages: the bytes of others may lie on the edges.
    start = -(-x.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (x.data_ptr() + x.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - start
    if size > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


class Origins:
    """theta_0 of each weight.

    Attributes:
        tensors: theta_0 by index, in the memory that the model came in.
        filed: indices of those that are left to their file after each use.
    """

    def __init__(self, weights: Iterable[torch.Tensor], lean: bool):
        self.tensors = [p.detach() for p in weights]
        self.filed = {i for i, x in enumerate(self.tensors) if in_file(x)} if lean else set()
        self.used(self.filed)

    def used(self, indices: Iterable[int]) -> None:
        """Note that these were read, and will not be for a while."""
        if not self.filed:
            return
        for i in self.filed & set(indices):
            leave_to_file(self.tensors[i])

    def keep(self) -> None:
        """Leave nothing to a file from now on, because somebody may write."""
        self.filed.clear()

    def to(self, device: torch.device) -> None:
        """Move theta_0 to another device."""
        self.tensors = [x.to(device) for x in self.tensors]
        self.keep()

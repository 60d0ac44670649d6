"""What runs are made with: how many at once, on which devices, on which cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What the user gives to an executor. It changes no result but its last bits.

    Args:
        workers: runs at once; 0 for as many as there is room for.
        per_device: runs that share one GPU.
        address: of a Ray cluster; empty for one that is started here.
        same_bits: whether each run is made on one thread, by algorithms that repeat themselves.
    """

    workers: int = 0
    per_device: int = 1
    address: str = ""
    same_bits: bool = False

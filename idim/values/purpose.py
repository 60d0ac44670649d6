"""Why a run is made."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    """Why a run is made. A record keeps it as ``kind``."""

    BASELINE = "baseline"  # full fine-tuning, which sets the threshold
    TUNE = "tune"  # chooses a rate, on the tuning split
    SEARCH = "search"  # a point of the curve that a search reads
    SWEEP = "sweep"  # a point of the curve that a sweep reads
    CHECK = "check"  # the same run again with twice the budget
    RATE = "rate"  # the same run again with another rate
    WITNESS = "witness"  # the largest size: does the arm train at all?
    FLOOR = "floor"  # the head alone: what an arm that trains it freely is at size 0
    LOCKED = "locked"  # scores the split that decides nothing
    SINGLE = "single"  # asked for by itself

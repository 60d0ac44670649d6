"""How many runs a search will make: before any of them, and on the way. Pure."""

from __future__ import annotations

import math

from idim.search.design import ADAPTIVE, Limits

#: An adaptive search makes at least so many runs, and most end after so many.
_LEAST, _USUAL = 6, 18


def runs_of(design: str, limits: Limits) -> tuple[int, int, int]:
    """The least, the usual and the largest number of runs of a whole search."""
    if design == "grid":
        n = len(limits.grid) * limits.repeats
        return n, n, n
    if design in ADAPTIVE:
        most = limits.max_runs
        return min(_LEAST, most), min(_USUAL, most), most
    # Up or down by factors of four to a bracket, which is then halved.
    octaves = math.log2(max(limits.largest / limits.smallest, 2))
    halvings = math.ceil(math.log2(max(2 / math.log2(limits.ratio), 1)))
    n = limits.repeats
    least, most = n * (2 + halvings), n * (math.ceil(octaves / 2) + halvings)
    return tuple(min(v, limits.max_runs) for v in (least, (least + most) // 2, most))  # type: ignore[return-value] # three of them


def runs_left(design: str, limits: Limits, made: int, width: float) -> int:
    """How many more runs are expected of a search.

    The width of an interval falls as one over the root of its runs, so a width of k times the goal
    takes k^2 times the runs.

    Args:
        design: of the search.
        limits: of the search.
        made: runs so far.
        width: octaves from the middle of the interval to its further end; infinite where nothing
            bounds it.
    """
    least, usual, most = runs_of(design, limits)
    if design not in ADAPTIVE:
        return max(usual - made, 0)
    if not math.isfinite(width):
        return max(min(max(usual - made, 1), most - made), 0)
    wanted = made * (width / math.log2(limits.ratio)) ** 2
    return max(min(math.ceil(max(wanted, least)), most) - made, 0)

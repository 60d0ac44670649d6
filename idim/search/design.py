"""Which d to try next, and when to stop: one table, DESIGNS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from idim.search.threshold import Point, bracket

#: The first step of the geometric bracket.
_STRIDE = 4


@dataclass(frozen=True)
class Limits:
    """What the search may try: d in [smallest, largest], from ``start``; ``repeats`` runs a value of d."""

    smallest: int
    largest: int
    start: int
    repeats: int
    ratio: float
    max_runs: int


@dataclass(frozen=True)
class Next:
    """Run these: (d, index of the repeat), all independent of each other."""

    runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Stop:
    """``finished`` is False where a cap, not the answer, ended the search."""

    reason: str
    finished: bool = True


def bisect(history: Sequence[Point], tau: float, floor: float, strict: bool, limits: Limits) -> Next | Stop:
    """Geometric bracket, then bisection on log d.

    From ``start`` by factors of four, upwards while it fails and downwards while it passes; then the middle of the bracket in
    log d until high/low <= ratio or no whole number lies between. A d is decided by the mean of ``repeats`` fresh runs.
    """
    count: dict[int, int] = {}
    for p in history:
        count[p.d] = count.get(p.d, 0) + 1
    for d in sorted(count):
        if count[d] < limits.repeats:
            return _ask(d, count[d], history, limits)
    if not count:
        return _ask(limits.start, 0, history, limits)
    b = bracket(history, tau, floor, strict)
    if b.high is None:
        if b.low == limits.largest:
            return Stop("the largest d fails")
        return _ask(min(b.low * _STRIDE, limits.largest), 0, history, limits)
    if b.low is None:
        if b.high == limits.smallest:
            return Stop("the smallest d passes")
        return _ask(max(b.high // _STRIDE, limits.smallest), 0, history, limits)
    if b.high <= b.low * limits.ratio:
        return Stop("the bracket is narrow enough")
    middle = round(math.sqrt(b.low * b.high))
    if middle in (b.low, b.high):
        return Stop("no whole number lies between")
    return _ask(middle, 0, history, limits)


def grid(values: Sequence[int], history: Sequence[Point], limits: Limits) -> Next | Stop:
    """The published way: every value, ``repeats`` times."""
    count: dict[int, int] = {}
    for p in history:
        count[p.d] = count.get(p.d, 0) + 1
    wanted = tuple((d, i) for d in values for i in range(count.get(d, 0), limits.repeats))
    return Next(wanted) if wanted else Stop("the grid is done")


def _ask(d: int, done: int, history: Sequence[Point], limits: Limits) -> Next | Stop:
    left = limits.max_runs - len(history)
    runs = tuple((d, i) for i in range(done, min(limits.repeats, done + left)))
    return Next(runs) if runs else Stop(f"the cap of {limits.max_runs} runs is reached", finished=False)

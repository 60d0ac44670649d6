"""What the runs alone say of where the curve crosses tau: no shape is assumed but that it does not fall."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from idim.search.threshold import Point, Target

#: Standard errors by which runs must pass or fail tau before they contradict an interval. One in a
#: thousand blocks of runs does so by chance, and a search asks of some twenty.
_SURE = 3.3


@dataclass(frozen=True)
class Block:
    """Neighbouring d that the isotonic curve gives one value: from ``first`` to ``last``, in log2 d."""

    first: float
    last: float
    value: float
    runs: int


def blocks(
    points: Sequence[Point], floor: float, middle: Callable[[list[float]], float] = fmean
) -> list[Block]:
    """The best non-decreasing curve, by pooling adjacent violators (Ayer et al. 1955). A failed run scores the floor.

    ``middle`` of a block's scores is its value: the mean for least squares, the median for least absolute error.
    """
    pools: list[tuple[list[float], list[float]]] = []  # scores, log2 d
    for d in sorted({p.d for p in points}):
        pools.append(
            ([floor if p.score is None else p.score for p in points if p.d == d], [math.log2(d)])
        )
        while len(pools) > 1 and middle(pools[-2][0]) >= middle(pools[-1][0]):
            scores, xs = pools.pop()
            pools[-1] = (pools[-1][0] + scores, pools[-1][1] + xs)
    return [Block(xs[0], xs[-1], middle(scores), len(scores)) for scores, xs in pools]


def isotonic(points: Sequence[Point], target: Target) -> float | None:
    """log2 d where the isotonic curve of mean scores crosses tau, on a line between neighbours; None where it does not."""
    found = blocks(points, target.baseline.chance)
    for left, right in itertools.pairwise(found):
        if left.value < target.tau <= right.value:
            return left.last + (right.first - left.last) * (target.tau - left.value) / (
                right.value - left.value
            )
    return None


def neighbours(points: Sequence[Point], target: Target) -> tuple[float, float] | None:
    """log2 of the two neighbouring d between which the isotonic curve of medians crosses tau; None where it does not."""
    found = blocks(points, target.baseline.chance, median)
    for left, right in itertools.pairwise(found):
        if left.value < target.tau <= right.value:
            return left.last, right.first
    return None


def agrees(points: Sequence[Point], target: Target, low: float, high: float, noise: float) -> bool:
    """Whether runs contradict an interval of x90 (log2 d): those below it pass for sure, or those above it fail.

    ``noise``: standard deviation of one run, in units of the score. Medians, so that one failed run decides nothing.
    """
    for block in blocks(points, target.baseline.chance, median):
        # A median of n errs by 1.25 times as much as a mean.
        error = 1.25 * noise / math.sqrt(block.runs)
        if block.first < low and block.value - target.tau > _SURE * error:
            return False
        # A single run may have failed; none passes by failing.
        if block.last > high and target.tau - block.value > _SURE * error and block.runs > 1:
            return False
    return True

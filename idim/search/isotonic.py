"""What the runs alone say of where the curve crosses tau.

Nothing is assumed of the curve except that it does not fall. x is log2 d, and x90 is log2 d90.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from idim.search.threshold import Point, Target

#: A block of runs contradicts an interval only if it lies this many standard errors beyond tau. By
#: chance one block in a thousand does. A search looks at about twenty.
_SURE = 3.3


@dataclass(frozen=True)
class Block:
    """Neighbouring d at which the isotonic curve has one value.

    Args:
        first: x of the smallest d.
        last: x of the largest d.
        value: the curve's value.
        runs: the number of runs at these d.
    """

    first: float
    last: float
    value: float
    runs: int


def blocks(
    points: Sequence[Point], floor: float, middle: Callable[[list[float]], float] = fmean
) -> list[Block]:
    """The non-decreasing curve that fits the scores best.

    It pools adjacent violators (Ayer et al. 1955): neighbours that do not rise become one
    block.

    Args:
        points: the finished runs.
        floor: the score of a failed run.
        middle: the value of a block, from its scores. The mean gives the least-squares fit, and the
            median the fit of least absolute error.

    Returns:
        The blocks, in the order of d. Their values rise.
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
    """The x where the isotonic curve of mean scores crosses tau. None if it does not cross.

    Between two neighbouring blocks the curve is a straight line over x.
    """
    found = blocks(points, target.baseline.chance)
    for left, right in itertools.pairwise(found):
        if left.value < target.tau <= right.value:
            return left.last + (right.first - left.last) * (target.tau - left.value) / (
                right.value - left.value
            )
    return None


def neighbours(points: Sequence[Point], target: Target) -> tuple[float, float] | None:
    """The two neighbouring x between which the isotonic curve of medians crosses tau.

    None if it does not cross.
    """
    found = blocks(points, target.baseline.chance, median)
    for left, right in itertools.pairwise(found):
        if left.value < target.tau <= right.value:
            return left.last, right.first
    return None


def agrees(points: Sequence[Point], target: Target, low: float, high: float, noise: float) -> bool:
    """Whether the runs are consistent with an interval of x90.

    They contradict it if a block that begins below it surely passes tau, or if a block that ends
    above it surely fails. A block's value is its median, so that one failed run decides nothing.

    Args:
        points: the finished runs.
        target: the threshold.
        low: the lower end of the interval, as x.
        high: the upper end of the interval, as x.
        noise: the standard deviation of one run, in units of the score.

    Returns:
        False if the runs contradict the interval, else True.
    """
    for block in blocks(points, target.baseline.chance, median):
        # The standard error of a median is 1.25 times that of a mean.
        error = 1.25 * noise / math.sqrt(block.runs)
        if block.first < low and block.value - target.tau > _SURE * error:
            return False
        # A single run above may have failed, so a second must agree. No run passes by failing.
        if block.last > high and target.tau - block.value > _SURE * error and block.runs > 1:
            return False
    return True

"""What a history says of d90: a bracket, which assumes nothing, or an interval with a level, from the posterior."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from idim.search.design import LEVEL, TAILS, Limits
from idim.search.isotonic import agrees
from idim.search.posterior import Posterior
from idim.search.threshold import Point, Target, bracket


def bracketed(points: Sequence[Point], target: Target) -> dict[str, Any] | None:
    """Its estimate is the smallest d seen to pass; it has no level, because it is not a confidence interval."""
    b = bracket(points, target)
    if b.high is None and b.low is None:
        return None
    return {"estimate": b.high, "low": b.low, "high": b.high, "level": None}


class Belief:
    """The posterior after a history, for every question that its curve answers."""

    def __init__(self, points: Sequence[Point], target: Target, smallest: int, largest: int):
        self.limits, self.points = Limits(smallest, largest), points
        self.known = Posterior(points, target, *self.limits.octaves)

    def interval(self, target: Target, spread: float = 0.0) -> dict[str, Any]:
        """d where the curve crosses this threshold, rounded outwards to whole numbers.

        low is null where it may lie below what can be tried, high where above. ``spread``: a further
        standard error of the threshold, in shares of the gain.
        """
        low, middle, high = self.known.interval(TAILS, target, spread)
        bottom = math.log2(self.limits.smallest)
        return {
            "estimate": self._within(middle, math.ceil),
            "low": None if low < bottom else self._within(low, math.floor),
            "high": self._within(high, math.ceil),
            "level": LEVEL,
        }

    def _within(self, x: float, rounded: Callable[[float], int]) -> int | None:
        if x > math.log2(self.limits.largest) + 1e-9:
            return None
        return min(max(self.limits.smallest, rounded(2**x)), self.limits.largest)

    @property
    def reached(self) -> float:
        """How likely it is that some d that can be tried reaches the threshold."""
        return self.known.rank(math.log2(self.limits.largest))

    def agrees(self, target: Target) -> bool:
        """Whether the runs alone, with no curve assumed, leave the interval standing."""
        low, middle, high = self.known.interval(TAILS, target)
        noise = self.known.noise(min(middle, math.log2(self.limits.largest)))
        return agrees(self.points, target, low, high, noise)

    def band(self, low: float, high: float, n: int = 33) -> list[dict[str, float]]:
        """The curve between two d: its mean, and the quantiles of it (not of a run's score) at the interval's level."""
        rows = []
        for i in range(n):
            x = math.log2(low) + math.log2(high / low) * i / (n - 1)
            lower, middle, upper = self.known.scores(x, TAILS)
            rows.append({"d": 2**x, "low": lower, "mean": middle, "high": upper})
        return rows

    def slope(self, d: int) -> float:
        """Of the mean curve at d, in score an octave."""
        return max(self.known.slope(math.log2(d)), 1e-9)

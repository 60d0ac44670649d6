"""What a history of runs says of d90: a bracket or an interval.

A bracket assumes nothing and has no level. An interval comes from the posterior and has a level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from idim.search.design import LEVEL, TAILS, Limits
from idim.search.isotonic import agrees
from idim.search.posterior import Posterior
from idim.search.threshold import Point, Target, bracket


def bracketed(points: Sequence[Point], target: Target) -> dict[str, Any] | None:
    """The bracket of d90 as an answer.

    Returns:
        A dict. ``estimate`` and ``high`` are the smallest d that passed. ``low`` is the largest d
        that failed. ``level`` is None, because a bracket is not a confidence interval. None if
        there are no runs.
    """
    b = bracket(points, target)
    if b.high is None and b.low is None:
        return None
    return {"estimate": b.high, "low": b.low, "high": b.high, "level": None}


class Belief:
    """The posterior after a history of runs, and the answers to all questions about its curve.

    Args:
        points: the finished runs.
        target: the threshold that the search looked for.
        smallest: the smallest d that the search may try.
        largest: the largest d that the search may try.

    Cost: one ``Posterior``, which ``known`` holds.
    """

    def __init__(self, points: Sequence[Point], target: Target, smallest: int, largest: int):
        self.limits, self.points = Limits(smallest, largest), points
        self.known = Posterior(points, target, *self.limits.octaves)

    def interval(self, target: Target, spread: float = 0.0) -> dict[str, Any]:
        """The d where the curve crosses a threshold.

        Args:
            target: the threshold. It need not be the one that the search looked for.
            spread: a further standard error of the threshold, as a fraction of the gain.

        Returns:
            A dict. ``estimate`` is the median, rounded up. ``low`` is rounded down and ``high``
            up. These two are None if they lie above the largest d, and ``low`` is the largest d
            there. Below the smallest d, ``low`` is None and the other two are the smallest d.
            ``level`` is ``LEVEL``.

        Cost: about 2 ms, without a new posterior.
        """
        low, middle, high = self.known.interval(TAILS, target, spread)
        bottom = math.log2(self.limits.smallest)
        return {
            "estimate": self._within(middle, math.ceil),
            "low": None if low < bottom else self._within(low, math.floor) or self.limits.largest,
            "high": self._within(high, math.ceil),
            "level": LEVEL,
        }

    def _within(self, x: float, rounded: Callable[[float], int]) -> int | None:
        """2^x as a whole number that can be tried; None if it lies above the largest d."""
        if x > math.log2(self.limits.largest) + 1e-9:
            return None
        return min(max(self.limits.smallest, rounded(2**x)), self.limits.largest)

    @property
    def reached(self) -> float:
        """The probability that the curve reaches the threshold at or below the largest d."""
        return self.known.rank(math.log2(self.limits.largest))

    def agrees(self, target: Target) -> bool:
        """Whether the runs alone are consistent with the interval.

        This check assumes only that the curve does not fall: see ``isotonic.agrees``.
        """
        low, middle, high = self.known.interval(TAILS, target)
        noise = self.known.noise(min(middle, math.log2(self.limits.largest)))
        return agrees(self.points, target, low, high, noise)

    def band(self, low: float, high: float, n: int = 33) -> list[dict[str, float]]:
        """The curve between two d, to be drawn.

        Args:
            low: the first d.
            high: the last d.
            n: the number of rows. Their d are evenly spaced in log d.

        Returns:
            A list of dicts with the keys ``d``, ``low``, ``mean`` and ``high``. The last three
            are the quantiles ``TAILS`` of the curve, so ``mean`` is its median. They are not
            quantiles of a run's score.
        """
        rows = []
        for i in range(n):
            x = math.log2(low) + math.log2(high / low) * i / (n - 1)
            lower, middle, upper = self.known.scores(x, TAILS)
            rows.append({"d": 2**x, "low": lower, "mean": middle, "high": upper})
        return rows

    def slope(self, d: int) -> float:
        """The slope of the mean curve at d, in score per octave of d. At least 1e-9."""
        return max(self.known.slope(math.log2(d)), 1e-9)

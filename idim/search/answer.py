"""What a history says of d90: a bracket, which assumes nothing, or an interval with a level, from the posterior."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from idim.search.design import LEVEL, TAILS, Limits
from idim.search.posterior import Posterior
from idim.search.threshold import Point, Target, bracket, means


def bracketed(points: Sequence[Point], target: Target) -> dict | None:
    """Its estimate is the smallest d seen to pass; it has no level, because it is not a confidence interval."""
    b = bracket(points, target)
    if b.high is None and b.low is None:
        return None
    return {"estimate": b.high, "low": b.low, "high": b.high, "level": None}


class Belief:
    """The posterior after a history, for every question that its curve answers. Needs two baselines: one has no error to carry."""

    def __init__(self, points: Sequence[Point], target: Target, smallest: int, largest: int):
        self.limits = Limits(smallest, largest)
        self.known = Posterior(points, target, *self.limits.octaves)

    def interval(self, target: Target) -> dict:
        """d where the curve crosses this threshold: low is null where it may lie below what can be tried, high where above."""
        x = self.known.crossing(target, TAILS)
        low, estimate, high = (self._within(v) for v in x)
        return {
            "estimate": estimate, "low": None if x[0] < math.log2(self.limits.smallest) else low, "high": high, "level": LEVEL,
        }

    def _within(self, x: float) -> int | None:
        return None if x > math.log2(self.limits.largest) else max(self.limits.smallest, round(2**x))

    def band(self, low: float, high: float, n: int = 33) -> list[dict]:
        """The curve between two d: its mean, and the quantiles of it (not of a run's score) at the interval's level."""
        rows = []
        for i in range(n):
            x = math.log2(low) + math.log2(high / low) * i / (n - 1)
            lower, middle, upper = self.known.scores(x, TAILS)
            rows.append({"d": 2**x, "low": lower, "mean": middle, "high": upper})
        return rows

    def shift(self, d: int, score: float) -> float:
        """Octaves by which d90 would move if runs at d scored like this one."""
        x = math.log2(d)
        return (self.known.mean_score(x) - score) / max(self.known.slope(x), 1e-9)

    def noise(self, d: int) -> float:
        """Of one run, in octaves of d90."""
        x = math.log2(d)
        return self.known.noise(x) / max(self.known.slope(x), 1e-9)


def isotonic(points: Sequence[Point], target: Target) -> float | None:
    """log2 d where the best non-decreasing curve through the mean scores crosses the threshold; None where it does not.

    Pool adjacent violators (Ayer et al. 1955), then a line between neighbours: no shape is assumed. The model's check.
    """
    counts = Counter(p.d for p in points)
    pools: list[list] = []  # [sum, runs, [log2 d, ...]]
    for d, mean in means(points, target.baseline.chance).items():
        pools.append([mean * counts[d], counts[d], [math.log2(d)]])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, runs, xs = pools.pop()
            pools[-1] = [pools[-1][0] + total, pools[-1][1] + runs, pools[-1][2] + xs]
    curve = [(x, total / runs) for total, runs, xs in pools for x in xs]
    for (x0, y0), (x1, y1) in zip(curve, curve[1:], strict=False):
        if y0 < target.tau <= y1:
            return x0 + (x1 - x0) * (target.tau - y0) / (y1 - y0)
    return None

"""What a few pairs of runs say of a change, or a few runs of a score: the posterior of the mean.

The two runs of a pair share P, the start and the data order, so that they differ by the change
alone. The noise of a pair is not known. Its prior is centred on the noise that the search saw in
single runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.special import ndtr

#: The prior of log(the noise / what was seen elsewhere) is normal about 0, with this standard
#: deviation: the two runs of a pair share some noise. Where runs may fail now and then they scatter
#: a hundred times more than runs that learn, and it is Student's t of two degrees. The grid reaches
#: out to so many of these units, above at least to the largest possible noise; so many nodes.
_SPREAD, _REACH, _NODES = 0.6, 2.5, 25
#: A check says that something changed only if it is this sure. The answer promises 95 %. A check
#: must be surer, because it looks at two factors or budgets and adds pairs while it is unsure.
SURE = 0.98
#: A check that is less sure than this is done: more pairs would not change its mind.
UNLIKELY = 0.5
#: A check begins with so many pairs, and makes at most so many.
FIRST, MOST = 2, 4


@dataclass(frozen=True)
class Change:
    """The posterior of the mean difference of some pairs.

    It is a mixture of normal distributions about ``mean``, one for each node of the pairs' noise.

    Args:
        mean: the mean of the differences.
        n: the number of pairs.
        error: the standard error of the mean at each node.
        odds: the probability of each node.
    """

    mean: float
    n: int
    error: np.ndarray  # (S,)
    odds: np.ndarray  # (S,)

    @classmethod
    def of(cls, differences: Sequence[float], noise: float, most: float = 0.0) -> Change:
        """The posterior after some pairs. The prior of the mean difference is flat.

        Args:
            differences: for each pair, the score with the change minus the score without.
            noise: the standard deviation of one run, in the unit of the differences.
            most: the largest one that is possible, where runs may fail now and then.
        """
        return cls._after(differences, math.sqrt(2) * noise, math.sqrt(2) * most)

    @classmethod
    def of_runs(cls, differences: Sequence[float], noise: float, most: float) -> Change:
        """The posterior after some single runs, each held against the same score.

        Args:
            differences: for each run, its score minus that score.
            noise: the standard deviation that runs of another kind have.
            most: the largest one that is possible.
        """
        return cls._after(differences, noise, most)

    @classmethod
    def _after(cls, differences: Sequence[float], noise: float, most: float) -> Change:
        """``noise``, ``most``: of a difference."""
        n, mean, noise = len(differences), fmean(differences), max(noise, 1e-12)
        reach = max(_REACH, math.log(max(most / noise, 1.0)) / _SPREAD)
        z = np.linspace(-_REACH, reach, round((_NODES - 1) * (_REACH + reach) / (2 * _REACH)) + 1)
        prior = -1.5 * np.log1p(z**2 / 2) if most else -0.5 * z**2
        scale = noise * np.exp(_SPREAD * z)
        square = sum((v - mean) ** 2 for v in differences)
        log = prior - (n - 1) * np.log(scale) - square / (2 * scale**2)
        odds = np.exp(log - log.max())
        return cls(mean, n, scale / math.sqrt(n), odds / odds.sum())

    def above(self, bound: float, other: Change | None = None, weight: float = 0.0) -> float:
        """The probability that this change, minus ``weight`` times the other, exceeds the bound."""
        if other is None:
            return float(self.odds @ ndtr((self.mean - bound) / self.error))
        error = np.sqrt(self.error[:, None] ** 2 + (weight * other.error[None, :]) ** 2)
        likely = ndtr((self.mean - weight * other.mean - bound) / error)
        return float(self.odds @ likely @ other.odds)

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """The two ends of the central interval of the mean change, which holds ``level`` of it."""
        nodes = self.mean + np.linspace(-8, 8, 801) * float(self.odds @ self.error)
        below = np.array([1 - self.above(v) for v in nodes])
        low, high = np.interp([(1 - level) / 2, (1 + level) / 2], below, nodes)
        return float(low), float(high)


def lost(changes: Sequence[Change]) -> float:
    """What runs lose by not having the best of these changes, or none.

    The errors of all are averaged over, as if they were independent and normal.

    Args:
        changes: one for each other choice that was tried in pairs, such as another rate.

    Returns:
        The expected loss, in the unit of the differences. Never negative.
    """
    nodes, odds = np.polynomial.hermite_e.hermegauss(15)
    odds = odds / odds.sum()
    best, likely = np.zeros(1), np.ones(1)
    for change in changes:
        mean = change.mean + nodes * math.sqrt(float(change.odds @ change.error**2))
        best = np.maximum(best[:, None], mean).ravel()
        likely = (likely[:, None] * odds).ravel()
    return float(best @ likely)

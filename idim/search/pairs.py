"""What a few pairs of runs say of a change: posterior of a mean difference, and the odds that it is large.

Two runs of a pair share P, start and data order, so that only the change tells them apart. The noise of
a pair is not known: its prior lies about what the search saw of single runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.special import ndtr

#: log of a pair's noise over sqrt(2) of one run's: the runs of a pair share some of it.
_SPREAD, _REACH, _NODES = 0.6, 2.5, 25
#: A check says that something changed only when it is this sure. Two factors or budgets are looked at,
#: and pairs are added while it is not sure, so this is more than the 95 % that the answer promises.
SURE = 0.98
#: Below this a check is done: more pairs would not change its mind.
UNLIKELY = 0.5
#: Pairs to begin with, and at most.
FIRST, MOST = 2, 4


@dataclass(frozen=True)
class Change:
    """The mean difference of some pairs: (noise nodes, their weights), both for normal errors."""

    mean: float
    n: int
    error: np.ndarray  # (S,) standard error of the mean
    odds: np.ndarray  # (S,)

    @classmethod
    def of(cls, differences: Sequence[float], noise: float) -> Change:
        """``noise``: standard deviation of one run, in the differences' unit."""
        n, mean = len(differences), fmean(differences)
        z = np.linspace(-_REACH, _REACH, _NODES)
        scale = math.sqrt(2) * max(noise, 1e-12) * np.exp(_SPREAD * z)
        square = sum((v - mean) ** 2 for v in differences)
        log = -0.5 * z**2 - (n - 1) * np.log(scale) - square / (2 * scale**2)
        odds = np.exp(log - log.max())
        return cls(mean, n, scale / math.sqrt(n), odds / odds.sum())

    def above(self, bound: float, other: Change | None = None, weight: float = 0.0) -> float:
        """How likely it is that this change, less ``weight`` times the other, is above the bound."""
        if other is None:
            return float(self.odds @ ndtr((self.mean - bound) / self.error))
        error = np.sqrt(self.error[:, None] ** 2 + (weight * other.error[None, :]) ** 2)
        likely = ndtr((self.mean - weight * other.mean - bound) / error)
        return float(self.odds @ likely @ other.odds)

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Ends of the central interval of the mean change."""
        nodes = self.mean + np.linspace(-8, 8, 801) * float(self.odds @ self.error)
        below = np.array([1 - self.above(v) for v in nodes])
        low, high = np.interp([(1 - level) / 2, (1 + level) / 2], below, nodes)
        return float(low), float(high)

"""Which learning rate is best at each size: one posterior from all tuning runs. Pure, in NumPy.

The gain is full fine-tuning's score minus chance. Scores are counted as fractions of the gain. All
logarithms are natural. At one size the score over the learning rate is

    h exp(-q (log rate - best)^2).

Above the best rate it may fall faster, because runs there diverge. h is free at each size, and all
sizes share q. The best rate of full fine-tuning is unknown. So is the law that leads from it to the
best rate at a size:

    log best(size) = log best(full) + a * place + b.

In a subspace place = log(D / d). At d = D an orthonormal P is a rotation of weight space, so b is
small. A score is Student-t4 about the surface, or, one time in twenty, anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trial:
    """One tuning run.

    Args:
        place: the place of its size in the law. None for full fine-tuning.
        log_rate: the logarithm of its learning rate.
        share: its score, as a fraction of the gain.
    """

    place: float | None
    log_rate: float
    share: float


@dataclass(frozen=True)
class Law:
    """The prior of a and b, before any run.

    Args:
        slope: the mean of a.
        slope_spread: the standard deviation of a. If it is 0, a is the mean.
        offset: the mean of b.
        offset_spread: the standard deviation of b.
        slopes: the range of a.
    """

    slope: float
    slope_spread: float
    offset: float
    offset_spread: float
    slopes: tuple[float, float] = (0.0, 1.0)


#: The prior of a subspace. In what was measured (MNIST FC, MiniLM on three tasks, digits) a lies
#: near 3/4 and b near -0.25.
SUBSPACE = Law(0.75, 0.1, -0.25, 0.4)
#: How far the best rate of full fine-tuning lies from the default one, in e-folds: the standard
#: deviation, and the most.
_FULL_SPREAD, _FULL_REACH = 1.2, 4.6
#: The values that these may have, and the prior probability of each: q; the factor by which q is
#: larger above the best rate; the noise, as a fraction of the gain.
_CURVATURES, _CURVATURE_ODDS = (0.005, 0.012, 0.03, 0.1), (0.25, 0.35, 0.25, 0.15)
_FALLS, _FALL_ODDS = (1.0, 5.0), (0.4, 0.6)
_NOISES, _NOISE_ODDS = (0.01, 0.03, 0.08), (0.35, 0.4, 0.25)
#: The fraction of scores that may be anything.
_ODD = 0.05
#: Nodes: of the best rate of full fine-tuning, a, b, the best rate at one place, and h.
_FULLS, _SLOPES, _OFFSETS, _NODES, _HEIGHTS = 61, 11, 13, 181, 24
#: The best rate at the budget of tuning runs is not quite the best one at the whole budget. This is
#: the standard deviation between the two, in e-folds.
_BUDGET_SPREAD = 0.2


class Surface:
    """The posterior of the best rates, after a list of trials.

    Args:
        trials: the tuning runs.
        guess: the default rate of full fine-tuning. The rate itself, not its logarithm.
        law: the prior of a and b.
        known: whether the rate of full fine-tuning was given, so that it is no guess.
        noise: the least noise of a score, as a fraction of the gain. A few scores that agree by
            luck are no more exact than their split allows.

    Cost: some 50 ms.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        guess: float,
        law: Law = SUBSPACE,
        known: bool = False,
        noise: float = 0.0,
    ):
        self._law = law
        spread = 0.05 if known else _FULL_SPREAD
        reach = 4 * spread if known else _FULL_REACH
        self._full = math.log(guess) + np.linspace(-reach, reach, _FULLS)
        low, high = law.slopes
        self._slope = np.linspace(low, high, _SLOPES) if law.slope_spread else np.array([law.slope])
        self._offset = law.offset + law.offset_spread * np.linspace(-2.7, 2.7, _OFFSETS)
        log = (
            -0.5 * ((self._full - math.log(guess)) / spread)[:, None, None] ** 2
            - 0.5 * ((self._slope - law.slope) / max(law.slope_spread, 1e-9))[None, :, None] ** 2
            - 0.5 * ((self._offset - law.offset) / law.offset_spread)[None, None, :] ** 2
        )
        shape = np.log(
            np.array(_CURVATURE_ODDS)[:, None, None]
            * np.array(_FALL_ODDS)[None, :, None]
            * np.array(_NOISE_ODDS)
        )
        joint = shape[:, :, :, None, None, None] + log  # (Q, R, S, L, a, b)
        for place in sorted({t.place for t in trials}, key=lambda p: (p is not None, p or 0.0)):
            where = self._best(place)
            nodes = np.linspace(where.min() - 0.1, where.max() + 0.1, _NODES)
            seen = _likelihood(nodes, [t for t in trials if t.place == place], noise)
            for q, r, s in np.ndindex(seen.shape[:3]):
                joint[q, r, s] += np.interp(where, nodes, seen[q, r, s])
        weight = np.exp(joint - joint.max())
        self._weight = weight / weight.sum()
        self._where = self._weight.sum(axis=(0, 1, 2))

    def _best(self, place: float | None) -> np.ndarray:
        """The log of the best rate in each cell: (L, a, b)."""
        shape = (len(self._full), len(self._slope), len(self._offset))
        if place is None:
            return np.broadcast_to(self._full[:, None, None], shape)
        return (
            self._full[:, None, None]
            + self._slope[None, :, None] * place
            + self._offset[None, None, :]
        )

    def best(self, place: float | None) -> tuple[float, float]:
        """The mean and the standard deviation of the log of the best rate at a place.

        ``place`` is None for full fine-tuning.
        """
        where = self._best(place)
        mean = float((self._where * where).sum())
        variance = float((self._where * (where - mean) ** 2).sum())
        return mean, math.sqrt(variance + (0.0 if place is None else _BUDGET_SPREAD**2))

    def loss(self, place: float, log_rate: float) -> float:
        """The expected loss of a run at this rate against one at the best rate.

        Args:
            place: the place of the run's size in the law.
            log_rate: the logarithm of the run's rate.

        Returns:
            The loss as a fraction of h. Callers take h as 1, which is the whole gain.
        """
        off = (log_rate - self._best(place))[None, None]
        q = np.array(_CURVATURES)[:, None, None, None, None]
        fall = np.where(off > 0, np.array(_FALLS)[None, :, None, None, None], 1.0)
        lost = 1 - np.exp(-q * fall * (off**2 + _BUDGET_SPREAD**2))
        return float((self._weight.sum(axis=2) * lost).sum())


def _likelihood(nodes: np.ndarray, trials: Sequence[Trial], least: float) -> np.ndarray:
    """The log likelihood of one place's scores: (Q, R, S, nodes).

    The last axis is the best log rate of the place. h is averaged over its nodes.
    """
    height = np.linspace(0.0, 1.15, _HEIGHTS)
    q = np.array(_CURVATURES)[:, None, None, None]
    noise = np.maximum(_NOISES, least)[None, None, :, None, None]
    total = np.zeros((len(_CURVATURES), len(_FALLS), len(_NOISES), _HEIGHTS, len(nodes)))
    for t in trials:
        off = t.log_rate - nodes
        fall = np.where(off > 0, np.array(_FALLS)[None, :, None, None], 1.0)
        level = np.exp(-q * fall * off**2)[:, :, :, None, :]  # (Q, R, 1, 1, nodes)
        z = (t.share - height[:, None] * level) / noise
        total += np.log((1 - _ODD) * 0.375 * (1 + z**2 / 4) ** -2.5 / noise + _ODD)
    top = total.max()
    found: np.ndarray = np.log(np.exp(total - top).mean(axis=3)) + top
    return found

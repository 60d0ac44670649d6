"""Which learning rate is best at each size: one posterior from all tuning runs. Pure, in NumPy.

The score over log rate, in shares of what full fine-tuning gains, is h exp(-q (log rate - best)^2); above
the best rate it may fall faster (runs there diverge). h is free at each size, q is shared. The best
rate of full fine-tuning is unknown, and so is the law that leads from it to the best rate at a size:

    log best(size) = log best(full) + a * place + b,

where place = log(D / d) in a subspace: at d = D an orthonormal P is a rotation of weight space, so b is
small. A score is Student-t4 about the surface, or (1 in 20) anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trial:
    """One run: where (None: full fine-tuning), at which log rate, and the share of the gain it scored."""

    place: float | None
    log_rate: float
    share: float


@dataclass(frozen=True)
class Law:
    """What is believed of a and b before any run: mean, spread, and for a where it must lie."""

    slope: float
    slope_spread: float
    offset: float
    offset_spread: float
    slopes: tuple[float, float] = (0.0, 1.0)


#: Of a subspace: a near 3/4 in what was measured (MNIST FC, MiniLM on three tasks, digits), b near -0.25.
SUBSPACE = Law(0.75, 0.1, -0.25, 0.4)
#: How far the best rate of full fine-tuning may lie from the default one, in e-folds.
_FULL_SPREAD, _FULL_REACH = 1.2, 4.6
#: Of q, of how much faster the score falls above the best rate, and of the noise in shares.
_CURVATURES, _CURVATURE_ODDS = (0.005, 0.012, 0.03, 0.1), (0.25, 0.35, 0.25, 0.15)
_FALLS, _FALL_ODDS = (1.0, 5.0), (0.4, 0.6)
_NOISES, _NOISE_ODDS = (0.01, 0.03, 0.08), (0.35, 0.4, 0.25)
_ODD = 0.05
_FULLS, _SLOPES, _OFFSETS, _NODES, _HEIGHTS = 61, 11, 13, 181, 24
#: The best rate at a budget of the tuning runs is not quite that at the whole budget.
_BUDGET_SPREAD = 0.2


class Surface:
    """After a list of trials. ``guess``: the default rate of full fine-tuning; ``known``: it was given, not guessed.

    ``noise``: what a score errs by at least, in shares: a few scores that agree by luck are no more exact than their split.
    Rates are natural logarithms. Cost: some 50 ms.
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
        """log of the best rate in each cell: (L, a, b)."""
        shape = (len(self._full), len(self._slope), len(self._offset))
        if place is None:
            return np.broadcast_to(self._full[:, None, None], shape)
        return (
            self._full[:, None, None]
            + self._slope[None, :, None] * place
            + self._offset[None, None, :]
        )

    def best(self, place: float | None) -> tuple[float, float]:
        """Mean and standard deviation of the log of the best rate at a place; None is full fine-tuning."""
        where = self._best(place)
        mean = float((self._where * where).sum())
        variance = float((self._where * (where - mean) ** 2).sum())
        return mean, math.sqrt(variance + (0.0 if place is None else _BUDGET_SPREAD**2))

    def loss(self, place: float, log_rate: float) -> float:
        """The share of the gain that a run at this rate is expected to lose to one at the best rate."""
        off = (log_rate - self._best(place))[None, None]
        q = np.array(_CURVATURES)[:, None, None, None, None]
        fall = np.where(off > 0, np.array(_FALLS)[None, :, None, None, None], 1.0)
        lost = 1 - np.exp(-q * fall * (off**2 + _BUDGET_SPREAD**2))
        return float((self._weight.sum(axis=2) * lost).sum())


def _likelihood(nodes: np.ndarray, trials: Sequence[Trial], least: float) -> np.ndarray:
    """log p of one place's scores, were its best log rate each of the nodes: (Q, R, S, nodes)."""
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
    return np.log(np.exp(total - top).mean(axis=3)) + top

"""Where the curve of score against d crosses its threshold: a posterior on a grid, deterministic, in NumPy.

The curve over x = log2 d is f(x) = c + (A - c) sigmoid(k (x - x90) + logit g), g = (tau - c) / (A - c), so that f(x90) = tau. Unknown are x90, the
slope k per octave, the height A = full + a (full - c), the full score, on which tau depends, and the noise sigma of one run. A score is
0.98 Student-t4(s) + 0.02 uniform between chance and full: heavy tails for unlucky runs, the uniform part for failed ones. s^2 is sigma^2, and what a
run's own P moves its curve by, and what the true curve may differ from the logistic's shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from idim.search.threshold import Point, Target

#: log k ~ N(log 0.7, 0.6^2): the published curves have slopes of 0.34 to 0.93 an octave.
_SLOPE, _SLOPE_SPREAD = math.log(0.7), 0.6
#: log sigma ~ N(log 0.01, 0.8^2), in units of the score.
_NOISE, _NOISE_SPREAD = math.log(0.01), 0.8
#: What the curve reaches at large d, over full training, as a share of what full training gains.
HEIGHTS = (-0.06, -0.02, 0.02, 0.08)
#: The share of runs that fail and then score anything between chance and full.
FAILED = 0.02
#: How far the curve's shape is trusted: a score this share of its distance from tau off the curve is no surprise. Near tau, where it decides, the runs speak.
MISFIT = 0.1
#: Octaves: every run draws its own P, which moves its curve to the left or right.
PROJECTION = 0.2
_CELLS, _SLOPES, _NOISES, _FULLS = 40, 15, 7, 5
#: The prior's range in standard deviations.
_REACH = 2.7
#: A zoom keeps all but this much of the mass at either end.
_CUT = 1e-5
_ZOOMS = 8
_PARTS = 8


@dataclass(frozen=True)
class Axes:
    """The grid: nodes in the middle of equal cells, and prior weights. ``shift`` is logit g; cells whose curve never reaches tau weigh nothing."""

    x: np.ndarray  # (X,)
    k: np.ndarray  # (K,)
    full: np.ndarray  # (F,)
    gain: np.ndarray  # (A, F): A - c
    shift: np.ndarray  # (A, F)
    tau: np.ndarray  # (F,): over chance
    sigma: np.ndarray  # (S,)
    weight: np.ndarray  # (S, 1, K, A, F), sums to 1 over all cells

    @classmethod
    def of(cls, target: Target, octaves: Range, slopes: Range, fulls: Range, noises: Range) -> Axes:
        base = target.baseline
        slope, noise, steps = slopes.middles(_SLOPES), noises.middles(_NOISES), fulls.middles(_FULLS)
        # The mean of n runs lies about the true one as Student's t with n - 1 degrees; where n runs agree to the last digit it is not zero.
        full = base.mean + max(base.se or 0.0, 1e-4 * (base.mean - base.chance)) * steps
        free = max(1, base.n - 1)
        gain = (1 + np.array(HEIGHTS))[:, None] * (full - base.chance)[None, :]
        tau = np.array([target.at(f) for f in full]) - base.chance
        with np.errstate(divide="ignore", invalid="ignore"):
            g = tau / gain
        inside = (gain > 0) & (g > 0) & (g < 1)
        g = np.where(inside, g, 0.5)
        weight = (
            np.exp(-0.5 * noise**2)[:, None, None, None, None] * np.exp(-0.5 * slope**2)[None, None, :, None, None]
            * inside * (1 + steps**2 / free) ** (-(free + 1) / 2)
        )
        return cls(
            octaves.middles(_CELLS), np.exp(_SLOPE + _SLOPE_SPREAD * slope), full, gain, np.log(g / (1 - g)), tau,
            np.exp(_NOISE + _NOISE_SPREAD * noise), weight / (_CELLS * weight.sum()),
        )

    def curve(self, x: float) -> tuple[np.ndarray, np.ndarray]:
        """The gain over chance at x, and the variance there of what is not sigma's. () -> (X, K, A, F) each."""
        z = (self.k * (self.x[:, None] - x))[:, :, None, None] - self.shift
        level = 1 / (1 + np.exp(z))
        gain = self.gain * level
        slope = self.k[:, None, None] * gain * (1 - level)
        return gain, (MISFIT * (gain - self.tau)) ** 2 + (PROJECTION * slope) ** 2


@dataclass(frozen=True)
class Range:
    low: float
    high: float

    def middles(self, n: int) -> np.ndarray:
        edges = np.linspace(self.low, self.high, n + 1)
        return (edges[:-1] + edges[1:]) / 2

    def holding(self, mass: np.ndarray) -> Range:
        """The cells between which all but _CUT of the mass at either end lies, and one more on each side."""
        below = int(np.searchsorted(mass.cumsum(), _CUT))
        above = mass.size - int(np.searchsorted(mass[::-1].cumsum(), _CUT))
        cell = (self.high - self.low) / mass.size
        return Range(self.low + cell * max(0, below - 1), self.low + cell * min(mass.size, above + 1))


class Posterior:
    """After a history of runs. Cost: some 1e5 cells a run and zoom, 20 ms for ten runs.

    ``low`` and ``high`` bound x90's uniform prior. The grid is laid over the prior first, then again over what holds the mass along x90, k, full and sigma,
    until it does not shrink any more: a coarse grid would be too sure of itself where runs agree.
    """

    def __init__(self, history: Sequence[Point], target: Target, low: float, high: float):
        self.target = target
        # In an order of their own: the same runs give the same bits however they came.
        ordered = sorted(history, key=lambda p: (p.d, p.score is None, p.score, p.side))
        ranges = [Range(low, high), *[Range(-_REACH, _REACH)] * 3]
        for _ in range(_ZOOMS):
            axes = Axes.of(target, *ranges)
            weight = _weigh(axes, ordered, target)
            joint = weight.sum(axis=0)
            masses = [joint.sum(axis=tuple(i for i in range(4) if i != axis)) for axis in (0, 1, 3)] + [weight.sum(axis=(1, 2, 3, 4))]
            closer = [r.holding(mass) for r, mass in zip(ranges, masses, strict=True)]
            if all(c.high - c.low > 0.7 * (r.high - r.low) for c, r in zip(closer, ranges, strict=True)):
                break
            ranges = closer
        self.axes, self.mass = axes, masses[0]
        half = (axes.x[1] - axes.x[0]) / 2
        self._edges = np.append(axes.x - half, axes.x[-1] + half)
        #: Without sigma, which no curve depends on: (X, K, A, F).
        self.joint = joint
        self._variance = (weight.sum(axis=(2, 3, 4)) * (2 * axes.sigma**2)[:, None]).sum(axis=0) / np.maximum(self.mass, 1e-300)

    def quantile(self, p: float | np.ndarray) -> np.ndarray:
        """Of x90."""
        return np.interp(p, np.concatenate([[0.0], self.mass.cumsum()]), self._edges)

    def rank(self, x: float) -> float:
        """P(x90 <= x)."""
        return float(np.interp(x, self._edges, np.concatenate([[0.0], self.mass.cumsum()])))

    def crossing(self, target: Target, p: Sequence[float]) -> list[float]:
        """Quantiles of the x where the same curve crosses another threshold; infinite where it never does."""
        c, axes = target.baseline.chance, self.axes
        g = (np.array([target.at(f) for f in axes.full]) - c)[None, :] / axes.gain
        with np.errstate(divide="ignore", invalid="ignore"):
            there = np.where(g >= 1, np.inf, np.where(g <= 0, -np.inf, np.log(g / (1 - g))))
        # A cell's mass lies all over it, not in its middle.
        within = (self._edges[1] - self._edges[0]) * Range(-0.5, 0.5).middles(_PARTS)
        x = axes.x[:, None, None, None] + ((there - axes.shift)[None, :, :] / axes.k[:, None, None])[None]
        return _quantiles(x[..., None] + within, np.repeat(self.joint[..., None] / _PARTS, _PARTS, axis=-1), p)

    def mean_score(self, x: float) -> float:
        return self.target.baseline.chance + float((self.joint * self.axes.curve(x)[0]).sum())

    def scores(self, x: float, p: Sequence[float]) -> list[float]:
        """Quantiles of the curve at x."""
        return [self.target.baseline.chance + v for v in _quantiles(self.axes.curve(x)[0], self.joint, p)]

    def slope(self, x: float) -> float:
        """Of the mean curve, in score an octave."""
        return (self.mean_score(x + 0.25) - self.mean_score(x - 0.25)) / 0.5

    def noise(self, x: float) -> float:
        """Standard deviation of one run at x, its failures aside."""
        return math.sqrt(float((self._variance * self.mass).sum() + (self.joint * 2 * self.axes.curve(x)[1]).sum()))

    def information(self, x: float) -> float:
        """Nats that one more score at x is expected to tell about x90.

        Mutual information of x90 and the score, which is taken as normal given x90, with the mean and variance of the grid.
        """
        p = self.mass
        held = p > 1e-9
        f, other = (v[held] for v in self.axes.curve(x))
        share = self.joint[held] / p[held][:, None, None, None]
        mean = (share * f).sum(axis=(1, 2, 3))
        variance = np.maximum((share * (f * f + 2 * other)).sum(axis=(1, 2, 3)) - mean**2, 0) + self._variance[held]
        p, spread = p[held], np.sqrt(variance)
        y = np.linspace((mean - 4 * spread).min(), (mean + 4 * spread).max(), 161)
        density = (p / spread) @ np.exp(-0.5 * ((y[None, :] - mean[:, None]) / spread[:, None]) ** 2) / math.sqrt(2 * math.pi)
        whole = -(density * np.log(np.maximum(density, 1e-300))).sum() * (y[1] - y[0])
        return float(whole - (p * 0.5 * np.log(2 * math.pi * math.e * variance)).sum())


def _quantiles(values: np.ndarray, weight: np.ndarray, p: Sequence[float]) -> list[float]:
    order = np.argsort(values, axis=None)
    mass = weight.ravel()[order].cumsum()
    at = np.searchsorted(mass, np.asarray(p) * mass[-1])
    return [float(v) for v in values.ravel()[order][np.minimum(at, mass.size - 1)]]


def _weigh(axes: Axes, history: Sequence[Point], target: Target) -> np.ndarray:
    """Prior times likelihood, normalised: (S, X, K, A, F)."""
    c = target.baseline.chance
    loose = FAILED / max(target.baseline.mean - c, 1e-9)
    weight = np.repeat(axes.weight, _CELLS, axis=1)
    for point in history:
        # A run that diverged is one that learned nothing; the uniform part keeps it from deciding alone.
        score = point.bound if point.side else c if point.score is None else point.score
        curve, other = axes.curve(math.log2(point.d))
        residual = score - c - curve
        square = residual * residual / 4
        # Sigma by sigma: what is at hand stays in the cache.
        for sigma, cells in zip(axes.sigma, weight, strict=True):
            variance = sigma**2 + other
            w = 1 + square / variance
            if point.side:
                # Student's t with 4 degrees: F(t) = 1/2 + 3/8 u (1 - u^2 / 12), u = t / sqrt(1 + t^2 / 4).
                u = residual / np.sqrt(variance * w)
                below = 0.5 + 0.375 * u * (1 - u * u / 12)
                cells *= (1 - FAILED) * (1 - below if point.side == "above" else below) + FAILED / 2
            else:
                cells *= (1 - FAILED) * 0.375 / (w * w * np.sqrt(variance * w)) + loose
        # Thirty densities of a hundred each stay far inside a double's range; three hundred do not.
        weight /= weight.max()
    return weight / weight.sum()

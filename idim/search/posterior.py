"""Where the curve of score against d crosses its threshold: a posterior on a grid, deterministic, in NumPy.

All scores are counted in shares of what full fine-tuning gains: 0 is chance, 1 the mean of the full
runs. So no prior has a unit, and an affine change of the score changes nothing.

The curve over x = log2 d is f(x) = A sigmoid(k (x - at) + logit 0.85): a height A, a slope k per
octave, and the place where it has 85 % of its height. A run at x scores f(x) with a noise that has
three parts: sigma; what the run's own P moves its curve by (w octaves); and what the true curve may
differ from a logistic. It is 0.98 Student-t4 + 0.02 uniform. In some worlds the rate fails beyond some
d, or below one: there a score says nothing of the curve.

What full fine-tuning would score with endless runs, what the rate's error costs, and (for new data)
the error of the evaluation split move the threshold, not the curve: they are integrated afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit, ndtr, stdtrit

from idim.search.isotonic import neighbours
from idim.search.threshold import Point, Target

#: log k: most curves lie about 0.7 an octave (the published ones have 0.34 to 0.93). The rest lie
#: anywhere, up to steps that are sharper than two whole numbers lie apart.
_SLOPE, _SLOPE_SPREAD, _SLOPES = math.log(0.7), 0.6, (math.log(0.08), math.log(1e6))
_SLOPE_ODD = 0.2
#: log sigma, in shares of the gain. Vision tasks have about 0.01, a task of MRPC's size 0.1.
_NOISE, _NOISE_SPREAD, _NOISES = math.log(0.013), 0.9, (math.log(0.003), math.log(0.5))
_NOISE_ODD = 0.15
#: A over full fine-tuning: mostly within a tenth of 1, sometimes much less, so that a curve may
#: never reach tau. A narrower prior would let the runs of the subspace correct full fine-tuning's own.
_HEIGHT, _HEIGHT_SPREAD, _HEIGHT_ODD, _HEIGHTS = 1.005, 0.04, 0.12, (0.6, 1.15)
#: Where the curve is placed: at this fraction of its own height.
_PLACE = math.log(0.85 / 0.15)
#: The fraction of runs that fail. A failed run scores chance, give or take, or anything up to full.
FAILED = 0.02
AT_CHANCE, CHANCE_NOISE = 0.6, 0.02
#: From some d on, a failed rate scores chance as surely as a curve that lies there. Up to some d it
#: has to be told from the lower end of every curve, so it is believed less readily.
_ABOVE, _BELOW = (0.85, 0.07), (0.5, 0.07)
#: How far the curve's shape is trusted: a score this fraction of its distance from tau off the curve
#: is no surprise, up to a limit in shares. Near tau, where it decides, the runs speak.
MISFIT, MISFIT_MOST = 0.3, 0.08
#: Octaves by which a run's own P moves its curve, and how likely each is.
PROJECTION, PROJECTION_ODDS = (0.05, 0.4), (0.3, 0.7)
#: How likely it is that the rate fails from some d on, or up to some d.
_FAILS_ABOVE, _FAILS_BELOW = 0.06, 0.03
_MARKS = 8
#: Cells of the last pass along place, log k, height and log sigma, and of those that look for where the mass is.
_FINE, _COARSE = (40, 12, 9, 6), (30, 8, 6, 4)
#: Passes before the last, and the part of the cells that stays spread over the whole prior.
_PASSES, _EVEN = 3, 0.1
#: Octaves: bins of x90, and how far beyond the places of curves they reach.
_BIN, _BEYOND = 0.01, 30.0
#: Probabilities between which full fine-tuning's true score takes one node each: fine in the tails,
#: because the mean of two runs has Cauchy's.
_FULL_EDGES = np.array(
    [0, 0.002, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.99, 0.998, 1]
)
#: The error of one full run, in shares of the gain, where nothing else is known of it.
_ONE_RUN = 0.02
#: Shares are rounded here, so that scores in percent give the same bits.
_DIGITS = 9


@dataclass(frozen=True)
class Shares:
    """A target in shares of the gain: tau = slope * full + offset, where full is 1 give or take ``se``."""

    slope: float
    offset: float
    full: np.ndarray  # (F,) what full fine-tuning may truly score
    odds: np.ndarray  # (F,) how likely each is

    @classmethod
    def of(cls, target: Target) -> Shares:
        base = target.baseline
        c, g = base.chance, base.mean - base.chance
        offset = round((target.at(c) - c) / g, _DIGITS)
        slope = round((target.at(base.mean) - c) / g - offset, _DIGITS)
        middle = (_FULL_EDGES[:-1] + _FULL_EDGES[1:]) / 2
        if base.se is None:
            # One run tells nothing of its own error.
            se, free = max(base.assumed / g, _ONE_RUN), 4
        else:
            # Runs that agree to the last digit still have some error.
            se, free = max(base.se / g, 1e-4), base.n - 1
        full = 1 + round(se, _DIGITS) * stdtrit(free, middle)
        return cls(slope, offset, np.maximum(full, 0.05), np.diff(_FULL_EDGES))

    @property
    def tau(self) -> float:
        return self.slope + self.offset

    def height(self, edges: np.ndarray) -> np.ndarray:
        """Edges of A cells -> (A, F): the prior mass of each cell with each true score of full fine-tuning."""
        return (
            _mass(
                edges[:, None] / self.full[None, :], _HEIGHT, _HEIGHT_SPREAD, _HEIGHT_ODD, _HEIGHTS
            )
            * self.odds
        )


def failed(share: float, chance: float = AT_CHANCE, noise: float = CHANCE_NOISE) -> float:
    """Density of what a failed run scores, in shares of the gain: ``chance`` is how often that is chance."""
    near = 0.375 / noise * (1 + (share / noise) ** 2 / 4) ** -2.5
    return chance * near + (1 - chance) * (1.0 if -0.1 < share < 1.1 else 0.1)


def misfit_variance(distance: np.ndarray) -> np.ndarray:
    """Of a score about the curve, from its distance to tau in shares."""
    square = (MISFIT * distance) ** 2
    return square / (1 + square / MISFIT_MOST**2)


def _mass(
    edges: np.ndarray, middle: float, spread: float, odd: float, ends: tuple[float, float]
) -> np.ndarray:
    """Of each cell between edges (along the first axis): a normal density, and the rest anywhere between the ends.

    Masses, not densities in the middle: a peak that is narrower than a cell must not be lost in it.
    """
    usual = ndtr((edges - middle) / spread)
    anywhere = np.clip((edges - ends[0]) / (ends[1] - ends[0]), 0, 1)
    return np.diff((1 - odd) * usual + odd * anywhere, axis=0) + 1e-12


@dataclass(frozen=True)
class Axes:
    """The grid: cells between edges, finer where the mass lies. Noise is one axis of all pairs of sigma and w."""

    edges: tuple[np.ndarray, ...]  # of place, log k, height, log sigma
    at: np.ndarray  # (X,)
    k: np.ndarray  # (K,)
    height: np.ndarray  # (A,)
    sigma: np.ndarray  # (S,)
    prior: np.ndarray  # (S, W, X, K, A)
    joint: np.ndarray  # (A, F): of height and full, sums to 1 over F

    @classmethod
    def of(cls, shares: Shares, edges: Sequence[np.ndarray]) -> Axes:
        at, slope, height, noise = ((e[:-1] + e[1:]) / 2 for e in edges)
        joint = shares.height(edges[2])
        of_at, of_height = np.diff(edges[0]), joint.sum(axis=1)
        of_slope = _mass(edges[1], _SLOPE, _SLOPE_SPREAD, _SLOPE_ODD, _SLOPES)
        of_noise = _mass(edges[3], _NOISE, _NOISE_SPREAD, _NOISE_ODD, _NOISES)
        pairs = of_noise[:, None] * np.array(PROJECTION_ODDS)
        prior = pairs[:, :, None, None, None] * of_at[:, None, None] * of_slope[:, None] * of_height
        # Weights in single precision: they are sums of densities, good to a part in a million.
        prior = (prior / prior.max()).astype(np.float32)
        return cls(
            tuple(edges),
            at,
            np.exp(slope),
            height,
            np.exp(noise),
            prior,
            joint / of_height[:, None],
        )

    def curve(self, x: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The curve at x in shares, its slope an octave, and its variance over a cell. () -> (X, K, A) each.

        A cell stands for all curves in it: curve and variance are exact over its places and, to first
        order, over its slopes and heights. So no curve that is steeper than a cell is wide falls between cells.
        """
        cell, log_k, height_cell = (np.diff(e) for e in self.edges[:3])
        width = self.k * cell[:, None]
        middle = self.k * (x - self.at[:, None]) + _PLACE  # (X, K)
        low, high = middle - width / 2, middle + width / 2
        total = np.logaddexp(0, high) - np.logaddexp(0, low)
        rise = expit(high) - expit(low)
        # Of a cell that is narrow for its slope the difference of two logarithms has no digits left.
        exact = width > 1e-4
        level = np.where(exact, total / width, expit(middle))
        square = np.where(exact, (total - rise) / width, level**2)
        steep = np.where(exact, self.k * rise / width, self.k * level * (1 - level))
        # Far from the crossing a change of k moves nothing, however large.
        tilt = np.minimum(np.abs(middle - _PLACE) * steep / self.k * log_k, 0.5) ** 2 / 12
        spread = np.maximum(square - level**2, 0.0) + tilt
        gain = self.height * level[:, :, None]
        within = self.height**2 * spread[:, :, None] + height_cell**2 / 12 * (level**2)[:, :, None]
        return gain, self.height * steep[:, :, None], within

    def middles(self, x: float) -> tuple[np.ndarray, np.ndarray]:
        """The curve at x and its slope an octave, of each cell's middle alone. () -> (X, K, A) each."""
        level = expit(self.k * (x - self.at[:, None]) + _PLACE)[:, :, None]
        gain = self.height * level
        return gain, self.k[:, None] * gain * (1 - level)


def _finer(edges: np.ndarray, mass: np.ndarray, n: int) -> np.ndarray:
    """n cells over the same range, most of them where the mass is."""
    root = np.sqrt(np.maximum(mass, 0.0))
    share = (1 - _EVEN) * root / root.sum() + _EVEN * np.diff(edges) / (edges[-1] - edges[0])
    return np.interp(np.linspace(0, 1, n + 1), np.append(0.0, share.cumsum() / share.sum()), edges)


class Posterior:
    """After a history of runs. Cost: about 1e5 cells a run; 10 ms for ten runs.

    ``low`` and ``high`` bound log2 of the d that can be tried, an octave more on either side. A coarse
    grid over the whole prior finds where the mass lies; a fine one is laid there.
    """

    def __init__(self, history: Sequence[Point], target: Target, low: float, high: float):
        self.target, self.shares, self._history = target, Shares.of(target), history
        base = target.baseline
        self._chance, self._gain = base.chance, base.mean - base.chance
        # In an order of their own: the same runs give the same bits however they came.
        ordered = sorted(history, key=lambda p: (p.d, p.score is None, p.score, p.side))
        seen = [self._seen(p) for p in ordered]
        ends = (low - 3, high + 1), _SLOPES, (0.4, 1.35), _NOISES
        edges = [np.linspace(*pair, n + 1) for pair, n in zip(ends, _COARSE, strict=True)]
        # A step between two neighbouring runs fills one cell, however close they lie.
        edges[0] = np.union1d(edges[0], neighbours(ordered, target) or ())
        for cells in (_COARSE,) * (_PASSES - 1) + (_FINE,):
            _, weight = _weighed(self.shares, edges, seen)
            edges = [
                _finer(e, mass, n) for e, mass, n in zip(edges, _masses(weight), cells, strict=True)
            ]
        self.axes, weight = _weighed(self.shares, edges, seen)
        #: Of the curve alone: (X, K, A).
        self.joint = weight.sum(axis=(0, 1))
        of_sigma, of_projection = weight.sum(axis=(1, 2, 3, 4)), weight.sum(axis=(0, 2, 3, 4))
        self._sigma2 = float(of_sigma @ self.axes.sigma**2)
        self._projection2 = float(of_projection @ np.square(PROJECTION))
        self._x, self._below = self._crossings(self.target)

    def _seen(self, point: Point) -> tuple[float, float, str, float]:
        """log2 d, the score in shares, and for a run that stopped early its side and bound."""
        c, g = self._chance, self._gain
        score = 0.0 if point.score is None else (point.score - c) / g + point.handicap
        bound = (point.bound - c) / g if point.side else 0.0
        return math.log2(point.d), round(score, _DIGITS), point.side, round(bound, _DIGITS)

    # Where the curve crosses a threshold.

    def _crossings(self, target: Target, spread: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """The distribution of x where the curve crosses: places, and the mass at or below each.

        ``spread`` is a further error of the threshold, in shares. Mass that is missing at the end
        belongs to curves that never cross.
        """
        axes, shares = self.axes, Shares.of(target)
        tau, odds = shares.slope * shares.full + shares.offset, axes.joint[:, :, None]
        # What the rate costs at d90: the square of a normal error, so mostly little and sometimes much.
        shift, weight = np.zeros(1), np.ones(1)
        if target.loss or spread:
            z = np.array([-2.1, -1.3, -0.7, -0.2, 0.2, 0.7, 1.3, 2.1])
            normal = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
            losses = target.loss * np.square(z[4:]) if target.loss else np.zeros(1)
            errors, of_error = (spread * z, normal) if spread else (np.zeros(1), np.ones(1))
            of_loss = 2 * normal[4:] if target.loss else np.ones(1)
            shift = (errors[:, None] - losses[None, :]).ravel()
            weight = (of_error[:, None] * of_loss[None, :]).ravel()
        g = (tau[None, :, None] + shift) / axes.height[:, None, None]  # (A, F, E)
        inside = (g > 0) & (g < 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            to = np.where(inside, np.log(g / (1 - g)), np.where(g >= 1, np.inf, -np.inf)) - _PLACE
        mass = self.joint[:, :, :, None] * (odds * weight).reshape(
            len(axes.height), -1
        )  # (X, K, A, F * E)
        offset = to.reshape(len(axes.height), -1)[None] / axes.k[:, None, None]  # (K, A, F * E)
        first, last = axes.edges[0][0] - _BEYOND, axes.edges[0][-1] + _BEYOND
        n = math.ceil((last - first) / _BIN)
        # Each cell's mass lies evenly over its bins: the sum of a step up and a step down.
        length = np.maximum(np.rint(np.diff(axes.edges[0]) / _BIN), 1).astype(np.int64)[
            :, None, None, None
        ]
        with np.errstate(invalid="ignore"):
            start = np.rint((axes.edges[0][:-1, None, None, None] + offset - first) / _BIN)
        mass = np.where(start > n - 1, 0.0, mass / length)
        start = np.clip(np.nan_to_num(start, posinf=0.0, neginf=0.0), 0, n - 1).astype(np.int64)
        stop = np.minimum(start + length, n)
        steps = np.bincount(start.ravel(), mass.ravel(), n + 1) - np.bincount(
            stop.ravel(), mass.ravel(), n + 1
        )
        return first + _BIN * np.arange(1, n + 1), steps.cumsum().cumsum()[:n]

    def quantile(self, p: float | Sequence[float] | np.ndarray) -> np.ndarray:
        """Of x90; infinite where that much of the mass never crosses."""
        return _quantile(self._x, self._below, p)

    def rank(self, x: float) -> float:
        """P(x90 <= x)."""
        return float(np.interp(x, self._x, self._below))

    def interval(
        self, p: Sequence[float], target: Target | None = None, spread: float = 0.0
    ) -> tuple[float, float, float]:
        """Lower end, middle and upper end of x90: quantiles, but what the runs bracket is never left out.

        For another ``target``, where the search did not look, they are quantiles alone. An end is infinite where that much of the mass never crosses.
        ``spread``: a further standard error of the threshold, in shares of the gain.
        """
        crossings = (
            (self._x, self._below)
            if target is None and not spread
            else self._crossings(target or self.target, spread)
        )
        low, middle, high = (float(v) for v in _quantile(*crossings, np.asarray(p)))
        between = neighbours(self._history, self.target) if target in (None, self.target) else None
        return (
            (min(low, between[0]), middle, max(high, between[1]))
            if between
            else (low, middle, high)
        )

    # The curve, in units of the score.

    def _score(self, share: float) -> float:
        return self._chance + self._gain * share

    def mean_score(self, x: float) -> float:
        return self._score(float((self.joint * self.axes.curve(x)[0]).sum()))

    def scores(self, x: float, p: Sequence[float]) -> list[float]:
        """Quantiles of the curve at x."""
        gain = self.axes.curve(x)[0]
        order = np.argsort(gain, axis=None)
        mass = self.joint.ravel()[order].cumsum()
        at = np.searchsorted(mass, np.asarray(p) * mass[-1])
        return [self._score(float(v)) for v in gain.ravel()[order][np.minimum(at, mass.size - 1)]]

    def slope(self, x: float) -> float:
        """Of the mean curve, in score an octave."""
        return (self.mean_score(x + 0.25) - self.mean_score(x - 0.25)) / 0.5

    def noise(self, x: float) -> float:
        """Standard deviation of one run at x, its failures aside, in units of the score."""
        gain, steep, _ = self.axes.curve(x)
        other = misfit_variance(gain - self.shares.tau) + self._projection2 * steep**2
        return self._gain * math.sqrt(2 * (self._sigma2 + float((self.joint * other).sum())))

    @property
    def sigma(self) -> float:
        """Noise of one run at a fixed d, in shares of the gain."""
        return math.sqrt(self._sigma2)

    # What one more run would tell.

    @cached_property
    def _bins(self) -> tuple[np.ndarray, int]:
        """For each cell of the curve the bin of its x90, full fine-tuning taken at its mean: (X, K, A), and how many bins."""
        axes = self.axes
        g = self.shares.tau / axes.height
        with np.errstate(divide="ignore", invalid="ignore"):
            to = (
                np.where(g < 1, np.log(g / (1 - g)), np.inf) - _PLACE
                if self.shares.tau > 0
                else np.full(g.shape, -np.inf)
            )
        x90 = axes.at[:, None, None] + to[None, :] / axes.k[:, None]
        finite = x90[np.isfinite(x90)]
        edges = self.quantile(np.linspace(0, 1, 33)[1:-1])
        edges = np.unique(edges[np.isfinite(edges)])
        if not finite.size or not edges.size:
            return np.zeros(x90.shape, dtype=np.int64), 1
        return np.searchsorted(edges, np.where(np.isfinite(x90), x90, np.inf)), edges.size + 1

    def information(self, x: float) -> float:
        """Nats that one more score at x is expected to tell about x90.

        Mutual information of x90, in bins of like mass, and the score, which is taken as normal given x90.
        """
        bins, n = self._bins
        gain, steep = self.axes.middles(x)
        noise = (
            self._sigma2 + misfit_variance(gain - self.shares.tau) + self._projection2 * steep**2
        )
        flat, joint = bins.ravel(), self.joint
        parts = (joint, joint * gain, joint * (gain**2 + 2 * noise))
        sums = np.stack([np.bincount(flat, v.ravel(), n) for v in parts])
        p, mean, square = sums[:, sums[0] > 1e-9]
        mean, square = mean / p, square / p
        spread = np.sqrt(np.maximum(square - mean**2, 1e-12))
        y = np.linspace((mean - 4 * spread).min(), (mean + 4 * spread).max(), 161)
        density = (
            (p / spread)
            @ np.exp(-0.5 * ((y[None, :] - mean[:, None]) / spread[:, None]) ** 2)
            / math.sqrt(2 * math.pi)
        )
        whole = -(density * np.log(np.maximum(density, 1e-300))).sum() * (y[1] - y[0])
        return float(whole - (p * 0.5 * np.log(2 * math.pi * math.e * spread**2)).sum())


def _quantile(
    x: np.ndarray, below: np.ndarray, p: float | Sequence[float] | np.ndarray
) -> np.ndarray:
    found = np.interp(p, below, x)
    return np.where(np.asarray(p) <= below[-1] - 1e-9, found, np.inf)


def _masses(weight: np.ndarray) -> list[np.ndarray]:
    """Marginals along place, slope, height and sigma."""
    joint = weight.sum(axis=(0, 1))
    return [
        joint.sum(axis=(1, 2)),
        joint.sum(axis=(0, 2)),
        joint.sum(axis=(0, 1)),
        weight.sum(axis=(1, 2, 3, 4)),
    ]


def _weighed(
    shares: Shares, edges: Sequence[np.ndarray], seen: Sequence[tuple[float, float, str, float]]
) -> tuple[Axes, np.ndarray]:
    """Prior times likelihood, normalised: (S, W, X, K, A)."""
    axes = Axes.of(shares, edges)
    weight = axes.prior.copy()
    steps = sorted({x for x, *_ in seen})
    # From step i on the rate fails; up to step i it fails; and (the rest) it nowhere does.
    # A few places where that may begin are enough.
    marks = set(steps[1 :: max(1, math.ceil((len(steps) - 1) / _MARKS))])
    scale, starts, lost, lost_below = 0.0, [], 0.0, 0.0
    for x in steps:
        if x in marks:
            starts.append((weight.copy(), scale, lost, lost_below))
        gain, steep, within = (v.astype(np.float32) for v in axes.curve(x))
        misfit = within + misfit_variance(gain - np.float32(shares.tau))
        # P moves a run along the curve, but never out of what the curve reaches.
        room = gain * (axes.height.astype(np.float32) - gain)
        moved = [np.minimum(np.square(np.float32(w) * steep), room) + misfit for w in PROJECTION]
        for _, score, side, bound in (s for s in seen if s[0] == x):
            lost += math.log(0.5 if side else failed(score, *_ABOVE))
            lost_below += math.log(0.5 if side else failed(score, *_BELOW))
            _take(weight, axes, gain, moved, bound if side else score, side)
            # Thirty densities of a hundred each stay far inside a double's range; three hundred do not.
            top = weight.max()
            weight /= top
            scale += math.log(top)
    total = (1 - _FAILS_ABOVE - _FAILS_BELOW) * weight
    above, below = _FAILS_ABOVE / max(1, len(starts)), _FAILS_BELOW / max(1, len(starts))
    for prefix, at, before, before_below in starts:
        total += np.float32(above * math.exp(min(at - scale + lost - before, 80.0))) * prefix
        np.divide(weight, prefix, out=prefix, where=prefix > 1e-30)
        prefix *= np.float32(below * math.exp(min(before_below - at, 80.0))) * axes.prior
        total += prefix
    total = total.astype(np.float64)
    return axes, total / total.sum()


def _take(
    weight: np.ndarray,
    axes: Axes,
    gain: np.ndarray,
    moved: Sequence[np.ndarray],
    score: float,
    side: str,
) -> None:
    """Multiply the weights, in place, by the likelihood of one run.

    ``moved``: for each strength of P's effect the variance about the curve without sigma's part.
    """
    off, lost = np.float32(score) - gain, np.float32(FAILED * failed(score))
    quarter = np.square(off) / 4
    sigma2 = np.square(axes.sigma).astype(np.float32)[:, None, None, None]
    for w, rest in enumerate(moved):
        variance = rest + sigma2  # (S, X, K, A)
        whole = variance + quarter
        if side:
            # Student's t with 4 degrees: F(t) = 1/2 + 3/8 u (1 - u^2 / 12), u = t / sqrt(1 + t^2 / 4).
            u = off / np.sqrt(whole)
            under = 0.5 + 0.375 * u * (1 - u * u / 12)
            weight[:, w] *= (1 - FAILED) * (1 - under if side == "above" else under) + FAILED / 2
        else:
            # 3/8 (1 + r^2 / 4 v)^(-5/2) / sqrt(v), with one root.
            variance /= whole
            np.square(variance, out=variance)
            variance /= np.sqrt(whole, out=whole)
            variance *= np.float32((1 - FAILED) * 0.375)
            variance += lost
            weight[:, w] *= variance

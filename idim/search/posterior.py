"""Where the curve of score against d crosses tau: a posterior on a grid, deterministic, in NumPy.

x is log2 d, and x90 is log2 d90, where the curve crosses tau. The gain is the mean score of the
full runs minus chance. All scores are counted as fractions of the gain: 0 is chance, and 1 is the
mean of the full runs. So no prior has a unit, and an affine change of the score changes nothing.

The curve is f(x) = A sigmoid(k (x - at) + logit 0.85). A is its height, and k is its slope per
octave of d. At the place ``at`` the curve has 85 % of its height.

A run at x scores f(x) plus noise. The noise is Student-t4, and its scale has three parts: sigma;
the effect of the run's own P, which moves the curve by some w octaves; and the misfit, because the
true curve need not be a logistic. Two runs in a hundred fail, whatever the curve. In some worlds
the learning rate fails above some d, or below some d. There a score says nothing of the curve.

Three things move the threshold and not the curve: the true mean of full fine-tuning, the cost of
the rate's error, and, for new data, the error of the evaluation split. They are integrated
afterwards.
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

# NumPy's stubs say Any of a product with a Python number. Such returns are marked no-any-return.

# A prior below is normal with a mean and a standard deviation. With a small probability (``_ODD``)
# the value lies anywhere in a range instead.

#: The prior of log k. Most curves have a k of about 0.7 per octave, and the published ones have
#: 0.34 to 0.93. The rest may have any k, up to steps so sharp that they fit between two whole
#: numbers.
_SLOPE, _SLOPE_SPREAD, _SLOPES = math.log(0.7), 0.6, (math.log(0.08), math.log(1e6))
_SLOPE_ODD = 0.2
#: The prior of log sigma, a fraction of the gain. Vision tasks have about 0.01, and a task of
#: MRPC's size has 0.1.
_NOISE, _NOISE_SPREAD, _NOISES = math.log(0.013), 0.9, (math.log(0.003), math.log(0.5))
_NOISE_ODD = 0.15
#: The prior of A over the true mean of full fine-tuning. It lies mostly within a tenth of 1.
#: Sometimes it is much less, so that a curve may never reach tau. With a narrower prior the runs of
#: the subspace would correct the mean of the full runs.
_HEIGHT, _HEIGHT_SPREAD, _HEIGHT_ODD, _HEIGHTS = 1.005, 0.04, 0.12, (0.6, 1.15)
#: logit 0.85: the curve has 85 % of its height at its place.
_PLACE = math.log(0.85 / 0.15)
#: The fraction of runs that fail.
FAILED = 0.02
#: The fraction of failed runs that score chance, and the noise about it. The others score anything
#: up to full fine-tuning.
AT_CHANCE, CHANCE_NOISE = 0.6, 0.02
#: The same two numbers where the learning rate fails above some d, and where it fails below some d.
#: Above, a run with a failed rate scores chance as surely as a run whose curve lies at chance.
#: Below, every curve has a lower end that looks like a failed rate. So a failure is believed less
#: readily there.
_ABOVE, _BELOW = (0.85, 0.07), (0.5, 0.07)
#: How far the true curve may lie from a logistic: by this fraction of the distance from tau, up to
#: a limit, a fraction of the gain. So near tau, where x90 is decided, the runs count more than the
#: shape.
MISFIT, MISFIT_MOST = 0.3, 0.08
#: w: by how many octaves a run's own P moves its curve, and the prior probability of each.
PROJECTION, PROJECTION_ODDS = (0.05, 0.4), (0.3, 0.7)
#: The prior probability that the learning rate fails above some d, and that it fails below some d.
_FAILS_ABOVE, _FAILS_BELOW = 0.06, 0.03
#: The most d at which such a failure may begin.
_MARKS = 8
#: The number of cells along place, log k, height and log sigma: in the last pass, and in the passes
#: before it, which look for the mass.
_FINE, _COARSE = (40, 12, 9, 6), (30, 8, 6, 4)
#: The number of passes before the last, and the fraction of the cells that stay spread evenly over
#: the whole prior.
_PASSES, _EVEN = 3, 0.1
#: In octaves: the width of a bin of x90, and how far the bins reach beyond the places of curves.
_BIN, _BEYOND = 0.01, 30.0
#: The true mean of full fine-tuning has one node between each two of these probabilities. They are
#: dense in the tails, because with two runs the mean's error has the tails of a Cauchy
#: distribution.
_FULL_EDGES = np.array(
    [0, 0.002, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.99, 0.998, 1]
)
#: The standard error of a single full run is at least this fraction of the gain.
_ONE_RUN = 0.02
#: Fractions of the gain are rounded to so many digits. So scores in percent give the same bits.
_DIGITS = 9


@dataclass(frozen=True)
class Shares:
    """A target, as fractions of the gain: tau = slope * full + offset.

    Args:
        slope: how much tau rises with full fine-tuning's true mean.
        offset: what does not rise with it.
        full: the nodes of full fine-tuning's true mean. The mean of the full runs is 1.
        odds: the probability of each node.
    """

    slope: float
    offset: float
    full: np.ndarray  # (F,)
    odds: np.ndarray  # (F,)

    @classmethod
    def of(cls, target: Target) -> Shares:
        """The target in fractions of the gain. The mean's error is Student's t over its runs."""
        base = target.baseline
        c, g = base.chance, base.mean - base.chance
        offset = round((target.at(c) - c) / g, _DIGITS)
        slope = round((target.at(base.mean) - c) / g - offset, _DIGITS)
        middle = (_FULL_EDGES[:-1] + _FULL_EDGES[1:]) / 2
        if base.se is None:
            # A single run tells nothing of its own error.
            se, free = max(base.assumed / g, _ONE_RUN), 4
        else:
            # Runs that agree to the last digit still have some error.
            se, free = max(base.se / g, 1e-4), base.n - 1
        full = 1 + round(se, _DIGITS) * stdtrit(free, middle)
        return cls(slope, offset, np.maximum(full, 0.05), np.diff(_FULL_EDGES))

    @property
    def tau(self) -> float:
        """The threshold at the mean of the full runs."""
        return self.slope + self.offset

    def height(self, edges: np.ndarray) -> np.ndarray:
        """The prior mass of each height cell with each node of full. Edges (A + 1,) -> (A, F)."""
        return (  # type: ignore[no-any-return]
            _mass(
                edges[:, None] / self.full[None, :], _HEIGHT, _HEIGHT_SPREAD, _HEIGHT_ODD, _HEIGHTS
            )
            * self.odds
        )


def failed(share: float, chance: float = AT_CHANCE, noise: float = CHANCE_NOISE) -> float:
    """The density of a failed run's score.

    Args:
        share: the score, as a fraction of the gain.
        chance: how often such a run scores chance. Else it scores anything up to full fine-tuning.
        noise: the noise about chance, as a fraction of the gain.
    """
    near = 0.375 / noise * (1 + (share / noise) ** 2 / 4) ** -2.5
    return chance * near + (1 - chance) * (1.0 if -0.1 < share < 1.1 else 0.1)  # type: ignore[no-any-return]


def misfit_variance(distance: np.ndarray) -> np.ndarray:
    """The variance of a score because the true curve need not be a logistic.

    ``distance`` is the curve's distance from tau. Both are in fractions of the gain.
    """
    square = (MISFIT * distance) ** 2
    return square / (1 + square / MISFIT_MOST**2)


def _mass(
    edges: np.ndarray, middle: float, spread: float, odd: float, ends: tuple[float, float]
) -> np.ndarray:
    """The prior mass of each cell between edges, along the first axis.

    The prior is uniform between ``ends`` with probability ``odd``, and else normal. The mass is
    that of the whole cell, so a peak that is narrower than a cell is not lost.
    """
    usual = ndtr((edges - middle) / spread)
    anywhere = np.clip((edges - ends[0]) / (ends[1] - ends[0]), 0, 1)
    return np.diff((1 - odd) * usual + odd * anywhere, axis=0) + 1e-12  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Axes:
    """The grid: cells between edges, which are finer where the mass lies.

    Its axes are sigma (S), w (W), place (X), slope (K) and height (A). F is that of
    ``Shares.full``.

    Args:
        edges: the edges of the cells of place, log k, height and log sigma.
        at: the middle of each cell of place.
        k: the slope in the middle of each cell of log k.
        height: the middle of each cell of height.
        sigma: sigma in the middle of each cell of log sigma.
        prior: the prior of each cell, up to a factor.
        joint: for each height, the probability of each node of full. Sums to 1 over F.
    """

    edges: tuple[np.ndarray, ...]
    at: np.ndarray  # (X,)
    k: np.ndarray  # (K,)
    height: np.ndarray  # (A,)
    sigma: np.ndarray  # (S,)
    prior: np.ndarray  # (S, W, X, K, A)
    joint: np.ndarray  # (A, F)

    @classmethod
    def of(cls, shares: Shares, edges: Sequence[np.ndarray]) -> Axes:
        """The grid between these edges, and its prior."""
        at, slope, height, noise = ((e[:-1] + e[1:]) / 2 for e in edges)
        joint = shares.height(edges[2])
        of_at, of_height = np.diff(edges[0]), joint.sum(axis=1)
        of_slope = _mass(edges[1], _SLOPE, _SLOPE_SPREAD, _SLOPE_ODD, _SLOPES)
        of_noise = _mass(edges[3], _NOISE, _NOISE_SPREAD, _NOISE_ODD, _NOISES)
        pairs = of_noise[:, None] * np.array(PROJECTION_ODDS)
        prior = pairs[:, :, None, None, None] * of_at[:, None, None] * of_slope[:, None] * of_height
        # Single precision is enough: weights are sums of densities, good to a part in a million.
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
        """The curve at x, its slope per octave, and its variance over a cell. () -> (X, K, A) each.

        A cell stands for all curves in it. Curve and variance are exact over the cell's places, and
        of first order over its slopes and heights. So a curve does not fall between cells, even if
        it is steeper than a cell is wide.
        """
        cell, log_k, height_cell = (np.diff(e) for e in self.edges[:3])
        width = self.k * cell[:, None]
        middle = self.k * (x - self.at[:, None]) + _PLACE  # (X, K)
        low, high = middle - width / 2, middle + width / 2
        total = np.logaddexp(0, high) - np.logaddexp(0, low)
        rise = expit(high) - expit(low)
        # If a cell is narrow for its slope, the difference of the logarithms has no digits left.
        exact = width > 1e-4
        level = np.where(exact, total / width, expit(middle))
        square = np.where(exact, (total - rise) / width, level**2)
        steep = np.where(exact, self.k * rise / width, self.k * level * (1 - level))
        # How far the cell's range of log k moves the curve, to first order. It is bounded, because
        # far from the crossing even a large change of k moves nothing.
        tilt = np.minimum(np.abs(middle - _PLACE) * steep / self.k * log_k, 0.5) ** 2 / 12
        spread = np.maximum(square - level**2, 0.0) + tilt
        gain = self.height * level[:, :, None]
        within = self.height**2 * spread[:, :, None] + height_cell**2 / 12 * (level**2)[:, :, None]
        return gain, self.height * steep[:, :, None], within

    def middles(self, x: float) -> tuple[np.ndarray, np.ndarray]:
        """The curve at x and its slope per octave, in each cell's middle. () -> (X, K, A) each."""
        level = expit(self.k * (x - self.at[:, None]) + _PLACE)[:, :, None]
        gain = self.height * level
        return gain, self.k[:, None] * gain * (1 - level)


def _finer(edges: np.ndarray, mass: np.ndarray, n: int) -> np.ndarray:
    """The edges of n cells over the same range. Most of the cells lie where the mass is."""
    root = np.sqrt(np.maximum(mass, 0.0))
    share = (1 - _EVEN) * root / root.sum() + _EVEN * np.diff(edges) / (edges[-1] - edges[0])
    return np.interp(np.linspace(0, 1, n + 1), np.append(0.0, share.cumsum() / share.sum()), edges)  # type: ignore[no-any-return]


class Posterior:
    """The posterior after a history of runs.

    A coarse grid over the whole prior finds where the mass lies. The fine grid is laid there.

    Args:
        history: the finished runs, in any order.
        target: the threshold that the search looks for.
        low: x of the smallest d that can be tried, minus one octave.
        high: x of the largest d that can be tried, plus one octave.

    Cost: about 1e5 cells a run; about 20 ms for ten runs.
    """

    def __init__(self, history: Sequence[Point], target: Target, low: float, high: float):
        self.target, self.shares, self._history = target, Shares.of(target), history
        base = target.baseline
        self._chance, self._gain = base.chance, base.mean - base.chance
        # Sorted, so that the same runs give the same bits in whatever order they came.
        ordered = sorted(history, key=lambda p: (p.d, p.score is None, p.score, p.side))
        seen = [self._seen(p) for p in ordered]
        ends = (low - 3, high + 1), _SLOPES, (0.4, 1.35), _NOISES
        edges = [np.linspace(*pair, n + 1) for pair, n in zip(ends, _COARSE, strict=True)]
        # The runs on either side of the crossing are edges, so that a step between them fills a
        # cell, however close they lie.
        edges[0] = np.union1d(edges[0], neighbours(ordered, target) or ())
        for cells in (_COARSE,) * (_PASSES - 1) + (_FINE,):
            _, weight = _weighed(self.shares, edges, seen)
            edges = [
                _finer(e, mass, n) for e, mass, n in zip(edges, _masses(weight), cells, strict=True)
            ]
        self.axes, weight = _weighed(self.shares, edges, seen)
        #: The probability of each curve: (X, K, A).
        self.joint = weight.sum(axis=(0, 1))
        of_sigma, of_projection = weight.sum(axis=(1, 2, 3, 4)), weight.sum(axis=(0, 2, 3, 4))
        self._sigma2 = float(of_sigma @ self.axes.sigma**2)
        self._projection2 = float(of_projection @ np.square(PROJECTION))
        self._x, self._below = self._crossings(self.target)

    def _seen(self, point: Point) -> tuple[float, float, str, float]:
        """A run's x, its score, its side and its bound, the scores as fractions of the gain.

        What the run's rate has cost it is added to its score. A run without a score scores chance.
        """
        c, g = self._chance, self._gain
        score = 0.0 if point.score is None else (point.score - c) / g + point.handicap
        bound = (point.bound - c) / g if point.side else 0.0
        return math.log2(point.d), round(score, _DIGITS), point.side, round(bound, _DIGITS)

    # Where the curve crosses a threshold.

    def _crossings(self, target: Target, spread: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """The distribution of the x where the curve crosses a threshold.

        Args:
            target: the threshold.
            spread: a further standard error of the threshold, as a fraction of the gain.

        Returns:
            Values of x, and the mass at or below each. The mass that is missing at the end belongs
            to curves that never cross.
        """
        axes, shares = self.axes, Shares.of(target)
        tau, odds = shares.slope * shares.full + shares.offset, axes.joint[:, :, None]
        # The rate's error costs the square of a normal error at d90: mostly little, at times much.
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
        # A cell's mass lies evenly over its bins: a step up, a step down, and their running sum.
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
        """Quantiles of x90. One is infinite if less than that much of the mass crosses tau."""
        return _quantile(self._x, self._below, p)

    def rank(self, x: float) -> float:
        """The probability that x90 is at most x."""
        return float(np.interp(x, self._x, self._below))

    def interval(
        self, p: Sequence[float], target: Target | None = None, spread: float = 0.0
    ) -> tuple[float, float, float]:
        """The lower end, the middle and the upper end of an interval of the crossing.

        The three are quantiles. But for the target that the search looked for, the ends are moved
        outwards, if need be, to the two neighbouring runs between which the medians cross tau.

        Args:
            p: the three probabilities.
            target: another threshold than the one that the search looked for.
            spread: a further standard error of the threshold, as a fraction of the gain.

        Returns:
            Three values of x. One is infinite if less than that much of the mass crosses.
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
        """A fraction of the gain as a score."""
        return self._chance + self._gain * share

    def mean_score(self, x: float) -> float:
        """The mean of the curve at x."""
        return self._score(float((self.joint * self.axes.curve(x)[0]).sum()))

    def scores(self, x: float, p: Sequence[float]) -> list[float]:
        """Quantiles of the curve at x, which are not quantiles of a run's score."""
        gain = self.axes.curve(x)[0]
        order = np.argsort(gain, axis=None)
        mass = self.joint.ravel()[order].cumsum()
        at = np.searchsorted(mass, np.asarray(p) * mass[-1])
        return [self._score(float(v)) for v in gain.ravel()[order][np.minimum(at, mass.size - 1)]]

    def slope(self, x: float) -> float:
        """The slope of the mean curve at x, in score per octave."""
        return (self.mean_score(x + 0.25) - self.mean_score(x - 0.25)) / 0.5

    def noise(self, x: float) -> float:
        """The standard deviation of one run at x that does not fail, in units of the score."""
        gain, steep, _ = self.axes.curve(x)
        other = misfit_variance(gain - self.shares.tau) + self._projection2 * steep**2
        return self._gain * math.sqrt(2 * (self._sigma2 + float((self.joint * other).sum())))

    @property
    def sigma(self) -> float:
        """The noise of one run at a fixed d, as a fraction of the gain."""
        return math.sqrt(self._sigma2)

    # What one more run would tell.

    @cached_property
    def _bins(self) -> tuple[np.ndarray, int]:
        """The bin of x90 that each curve's own x90 lies in, (X, K, A), and the number of bins.

        Full fine-tuning is taken at the mean of its runs.
        """
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
        """How many nats one more score at x is expected to tell about x90.

        This is the mutual information of the score and x90. x90 is in bins of equal mass. Given its
        bin, the score is taken to be normal.
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
    """The x with mass p at or below it. Infinite where the whole mass is less than p."""
    found = np.interp(p, below, x)
    return np.where(np.asarray(p) <= below[-1] - 1e-9, found, np.inf)


def _masses(weight: np.ndarray) -> list[np.ndarray]:
    """The marginal masses of place, slope, height and sigma."""
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
    """The grid between these edges, and the posterior of each cell: (S, W, X, K, A), with sum 1.

    The posterior is a mixture of three worlds: the rate fails nowhere, it fails above some d, or it
    fails below some d.
    """
    axes = Axes.of(shares, edges)
    weight = axes.prior.copy()
    steps = sorted({x for x, *_ in seen})
    # A failure begins at one of these x. A few of them are enough.
    marks = set(steps[1 :: max(1, math.ceil((len(steps) - 1) / _MARKS))])
    scale, starts, lost, lost_below = 0.0, [], 0.0, 0.0
    for x in steps:
        if x in marks:
            starts.append((weight.copy(), scale, lost, lost_below))
        gain, steep, within = (v.astype(np.float32) for v in axes.curve(x))
        misfit = within + misfit_variance(gain - np.float32(shares.tau))
        # P moves a run along the curve, so the score stays between chance and the curve's height.
        room = gain * (axes.height.astype(np.float32) - gain)
        moved = [np.minimum(np.square(np.float32(w) * steep), room) + misfit for w in PROJECTION]
        for _, score, side, bound in (s for s in seen if s[0] == x):
            lost += math.log(0.5 if side else failed(score, *_ABOVE))
            lost_below += math.log(0.5 if side else failed(score, *_BELOW))
            _take(weight, axes, gain, moved, bound if side else score, side)
            # A product of many densities leaves the range of single precision, so scale each time.
            top = weight.max()
            weight /= top
            scale += math.log(top)
    total = (1 - _FAILS_ABOVE - _FAILS_BELOW) * weight
    above, below = _FAILS_ABOVE / max(1, len(starts)), _FAILS_BELOW / max(1, len(starts))
    for prefix, at, before, before_below in starts:
        # The curve explains the runs below this x, and a failed rate those from it on.
        total += np.float32(above * math.exp(min(at - scale + lost - before, 80.0))) * prefix
        # A failed rate explains the runs below this x. The quotient is how well the curve explains
        # those from it on.
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

    Args:
        weight: the weights, (S, W, X, K, A).
        axes: the grid.
        gain: the curve at the run's x, (X, K, A).
        moved: for each w, the variance about the curve without sigma's part, (X, K, A).
        score: the run's score, or its bound if it stopped early.
        side: "above" or "below" if it stopped early, else "".
    """
    off, lost = np.float32(score) - gain, np.float32(FAILED * failed(score))
    quarter = np.square(off) / 4
    sigma2 = np.square(axes.sigma).astype(np.float32)[:, None, None, None]
    for w, rest in enumerate(moved):
        variance = rest + sigma2  # (S, X, K, A)
        whole = variance + quarter
        if side:
            # The distribution function of Student's t with 4 degrees of freedom:
            # F(t) = 1/2 + 3/8 u (1 - u^2 / 12), where u = t / sqrt(1 + t^2 / 4).
            u = off / np.sqrt(whole)
            under = 0.5 + 0.375 * u * (1 - u * u / 12)
            weight[:, w] *= (1 - FAILED) * (1 - under if side == "above" else under) + FAILED / 2
        else:
            # Its density, 3/8 (1 + r^2 / 4 v)^(-5/2) / sqrt(v), with one root.
            variance /= whole
            np.square(variance, out=variance)
            variance /= np.sqrt(whole, out=whole)
            variance *= np.float32((1 - FAILED) * 0.375)
            variance += lost
            weight[:, w] *= variance

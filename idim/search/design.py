"""Which d to run next, and when to stop.

A design is a function ``(history, target, limits, flying) -> Next | Stop``. ``flying`` are the d of
runs that are being made, whose scores nobody knows yet. The same history and the same flying runs
give the same decision. ``DESIGNS`` is the table of all designs. x is log2 d throughout, and x90 is
log2 d90.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from idim.search.isotonic import agrees
from idim.search.posterior import Posterior
from idim.search.threshold import Point, Target, bracket

#: While ``bisect`` looks for a bracket, each d is this factor above or below the one before.
_STRIDE = 4
#: The level that the interval of an adaptive design claims.
LEVEL = 0.9
#: The lower end, the estimate and the upper end of that interval are these quantiles of the
#: posterior. They hold 96 % of its mass, more than the level, because no real curve follows the
#: model exactly. results/search holds the measured coverage.
TAILS = (0.02, 0.5, 0.98)
#: The search stops once this much of the posterior lies within the factor asked for. It is more
#: than the level: with the level, one estimate in ten would miss the factor.
ENOUGH = 0.98
#: d90 counts as reached only if the curve crosses tau at or below the largest d with at least this
#: probability.
SURE = 0.95
#: A run is near if it lies within this many octaves of the posterior's median of x90. Only a run
#: that is not near may stop early. A narrow interval counts only if several runs are near.
NEAR = 0.75
#: An adaptive design makes at least so many runs, unless the cap is lower, and so many near ones
#: before it calls the interval narrow enough. No run counts as far before it.
_RUNS, _RUNS_NEAR = 6, 5
#: The design ``quantiles`` tries these quantiles of x90 in this order.
_CYCLE = (0.5, 0.25, 0.75, 0.1, 0.9)
#: The design ``posterior`` compares so many places for its next run.
_CANDIDATES = 17
#: Another full run is made only if, without the error of the full runs, the interval would be less
#: than this times as wide.
_DOMINATES = 0.7


@dataclass(frozen=True)
class Limits:
    """What a search may try.

    Args:
        smallest: the smallest d.
        largest: the largest d.
        start: the first d of ``bisect``.
        repeats: how many runs ``bisect`` and ``grid`` make at each d.
        ratio: the factor to reach: between the ends of a bracket, or between the middle of an
            interval and either end.
        max_runs: the most runs of a search. ``grid`` ignores it.
        grid: every d that ``grid`` runs, as of a published curve.
    """

    smallest: int
    largest: int
    start: int = 1
    repeats: int = 1
    ratio: float = 1.25
    max_runs: int = 30
    grid: tuple[int, ...] = ()

    @property
    def octaves(self) -> tuple[float, float]:
        """The range of x90 for ``Posterior``: what can be tried, and an octave beyond each edge.

        The octave beyond lets the posterior find that x90 lies outside what can be tried.
        """
        return math.log2(self.smallest) - 1, math.log2(self.largest) + 1


@dataclass(frozen=True)
class Run:
    """One run to make.

    Args:
        d: where to run.
        repeat: the number of runs at the same d before this one.
        far: whether the run lies far from d90, so that it may stop early.
    """

    d: int
    repeat: int
    far: bool = False


@dataclass(frozen=True)
class Next:
    """Make these runs. None of them depends on another."""

    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Stop:
    """End the search, for this reason. ``finished`` is False if the cap ended it, not an answer.

    An adaptive design that reaches the cap is finished: its answer is the interval, however wide.
    """

    reason: str
    finished: bool = True


def posterior(
    history: Sequence[Point], target: Target, limits: Limits, flying: Sequence[int] = ()
) -> Next | Stop:
    """Run the d that tells most about x90 for its cost.

    A flying run is thought to score what the curve is expected to be at its d. So the next run goes
    where a score tells something else. Stops rest on finished runs alone.

    The search stops in one of four cases. The first three need ``_RUNS`` runs, and the runs alone
    must be consistent with the interval (``isotonic.agrees``).

    - The interval is narrow: ``ENOUGH`` of the mass of d90 lies within a factor ``ratio`` of its
      median on both sides, or rounds up to one whole number. ``_RUNS_NEAR`` runs are near.
    - The curve crosses tau above the largest d with more than the probability ``SURE``. Two runs
      lie less than an octave below that d.
    - The curve crosses tau below the smallest d with more than the probability ``SURE``. Two runs
      lie less than an octave above that d.
    - The cap is reached. Then the answer is the interval, however wide.

    Cost: one ``Posterior``, a second one where runs fly, and its ``information`` at up to
    ``_CANDIDATES`` places.
    """
    return _adapt(history, target, limits, flying, _informative)


def quantiles(
    history: Sequence[Point], target: Target, limits: Limits, flying: Sequence[int] = ()
) -> Next | Stop:
    """Run a quantile of x90: .5, .25, .75, .1 and .9 in turn.

    In all else this design is ``posterior``.
    """
    return _adapt(
        history,
        target,
        limits,
        flying,
        lambda known, history, limits, flying: float(
            known.quantile(_CYCLE[(len(history) + len(flying)) % len(_CYCLE)])
        ),
    )


def _adapt(
    history: Sequence[Point],
    target: Target,
    limits: Limits,
    flying: Sequence[int],
    choose: Callable[[Posterior, Sequence[Point], Limits, Sequence[int]], float],
) -> Next | Stop:
    """The next run of an adaptive design, or its stop.

    ``choose`` gives the next x.
    """
    known = Posterior(history, target, *limits.octaves)
    low, middle, high = known.interval(((1 - ENOUGH) / 2, 0.5, (1 + ENOUGH) / 2))
    bottom, top = math.log2(limits.smallest), math.log2(limits.largest)
    near = sum(abs(math.log2(p.d) - middle) <= NEAR for p in history)
    if len(history) >= _RUNS and agrees(history, target, low, high, known.noise(min(middle, top))):
        # A single run may have failed, so an edge needs two.
        if known.rank(top) < 1 - SURE and sum(math.log2(p.d) > top - 1 for p in history) >= 2:
            return Stop("the largest d fails")
        if known.rank(bottom) > SURE and sum(math.log2(p.d) < bottom + 1 for p in history) >= 2:
            return Stop("the smallest d passes")
        narrow = math.isfinite(high) and (
            max(high - middle, middle - low) <= math.log2(limits.ratio)
            or math.ceil(2**low) == math.ceil(2**high)
        )
        if near >= _RUNS_NEAR and narrow:
            return Stop("the interval is narrow enough")
    if len(history) + len(flying) >= limits.max_runs:
        return Stop(f"the cap of {limits.max_runs} runs is reached")
    x = choose(known, history, limits, flying)
    d = min(max(round(2 ** min(max(x, bottom), top)), limits.smallest), limits.largest)
    far = abs(math.log2(d) - middle) > NEAR and len(history) >= _RUNS_NEAR
    return Next((Run(d, [*(p.d for p in history), *flying].count(d), far),))


def wants_baseline(history: Sequence[Point], target: Target, limits: Limits) -> bool:
    """Whether another run of full fine-tuning tells more about d90 than a run at another d.

    It does if the interval is too wide, and if an exact mean of the full runs would make it much
    narrower (``_DOMINATES``).

    Cost: two ``Posterior``.
    """
    if len(history) < _RUNS:
        return False
    exact = replace(target, baseline=replace(target.baseline, se=0.0))
    widths = []
    for question in (target, exact):
        low, middle, high = Posterior(history, question, *limits.octaves).quantile(
            ((1 - ENOUGH) / 2, 0.5, (1 + ENOUGH) / 2)
        )
        widths.append(max(high - middle, middle - low) if math.isfinite(high) else math.inf)
    return widths[0] > math.log2(limits.ratio) and widths[1] < _DOMINATES * widths[0]


def _informative(
    known: Posterior, history: Sequence[Point], limits: Limits, flying: Sequence[int]
) -> float:
    """The one x whose score tells most about x90, for its expected cost.

    A flying run is thought to score the mean of the curve.
    """
    if flying:
        thought = [Point(d, known.mean_score(math.log2(d))) for d in flying]
        known = Posterior([*history, *thought], known.target, *limits.octaves)
    bottom, top = math.log2(limits.smallest), math.log2(limits.largest)
    # Where the curve may never cross, a quantile is infinite. Then the places end at the largest d.
    low, middle, high = (min(max(float(v), bottom - 1), top + 1) for v in known.quantile(TAILS))
    # In an interval this narrow only near runs can be missing, so only near places are compared.
    room = NEAR if high - low <= 2 * NEAR else max(high - middle, middle - low) + 1.5
    places = [
        min(max(middle + room * (2 * i / (_CANDIDATES - 1) - 1), bottom), top)
        for i in range(_CANDIDATES)
    ]
    # A far run may stop early, so it costs only a fraction of a whole run. Count it in steps, not
    # in seconds. A run's seconds hardly depend on d, and no decision may depend on the machine.
    far = [p.share for p in history if abs(math.log2(p.d) - middle) > NEAR]
    cost = fmean(far) if far else 1.0
    return max(
        dict.fromkeys(places),
        key=lambda x: known.information(x) / (cost if abs(x - middle) > NEAR else 1.0),
    )


def bisect(
    history: Sequence[Point], target: Target, limits: Limits, flying: Sequence[int] = ()
) -> Next | Stop:
    """Find a bracket by factors of four, then halve it in log d.

    The search begins at ``start``. It goes up while d fails, and down while d passes. Then it tries
    the middle of the bracket in log d, until high / low <= ``ratio`` or no whole number lies
    between. The mean of ``repeats`` fresh runs decides whether a d passes. It decides only while no
    run flies.
    """
    count = Counter(p.d for p in history)
    for d in sorted(count):
        if count[d] < limits.repeats:
            return _ask(d, count[d], history, limits)
    if not count:
        return _ask(limits.start, 0, history, limits)
    b = bracket(history, target)
    if b.high is None:
        assert b.low is not None  # Some run was made: it passed or it failed.
        if b.low == limits.largest:
            return Stop("the largest d fails")
        return _ask(min(b.low * _STRIDE, limits.largest), 0, history, limits)
    if b.low is None:
        if b.high == limits.smallest:
            return Stop("the smallest d passes")
        return _ask(max(b.high // _STRIDE, limits.smallest), 0, history, limits)
    if b.high <= b.low * limits.ratio:
        return Stop("the bracket is narrow enough")
    middle = round(math.sqrt(b.low * b.high))
    if middle in (b.low, b.high):
        return Stop("no whole number lies between")
    return _ask(middle, 0, history, limits)


def grid(
    history: Sequence[Point], target: Target, limits: Limits, flying: Sequence[int] = ()
) -> Next | Stop:
    """The published way: run every d of a grid ``repeats`` times. It decides while no run flies."""
    count = Counter(p.d for p in history)
    wanted = tuple(Run(d, i) for d in limits.grid for i in range(count[d], limits.repeats))
    return Next(wanted) if wanted else Stop("the grid is done")


#: Every design, by the name that the flag ``--design`` takes.
DESIGNS: dict[str, Callable[[Sequence[Point], Target, Limits, Sequence[int]], Next | Stop]] = {
    "posterior": posterior,
    "quantiles": quantiles,
    "bisect": bisect,
    "grid": grid,
}
#: The designs whose answer is an interval. The answer of the others is a bracket.
ADAPTIVE = ("posterior", "quantiles")


def _ask(d: int, done: int, history: Sequence[Point], limits: Limits) -> Next | Stop:
    """The runs at d that are missing after ``done`` of them, as many as the cap allows."""
    left = limits.max_runs - len(history)
    runs = tuple(Run(d, i) for i in range(done, min(limits.repeats, done + left)))
    return (
        Next(runs)
        if runs
        else Stop(f"the cap of {limits.max_runs} runs is reached", finished=False)
    )

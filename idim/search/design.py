"""Which d to try next, and when to stop: one table, DESIGNS."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from idim.search.isotonic import agrees
from idim.search.posterior import Posterior
from idim.search.threshold import Point, Target, bracket

#: The first step of the geometric bracket.
_STRIDE = 4
#: The adaptive designs' interval: between these quantiles.
LEVEL = 0.9
#: Its ends are these quantiles of the posterior: it holds 96 % of what the model believes, because no
#: world is the model. So chosen, the interval holds d90 in 87 of 100 searches or more in every world of results/search.
TAILS = (0.02, 0.5, 0.98)
#: The search stops once this much lies within the factor asked for: more than the level, or one estimate in ten would miss it.
ENOUGH = 0.98
#: And d90 counts as reached only where the curve crosses tau within what can be tried, this surely.
SURE = 0.95
#: A run may stop early only further than this many octaves from the middle of what is believed of x90; and an answer needs runs nearer than this.
NEAR = 0.75
_RUNS, _RUNS_NEAR = 6, 5
#: Without a reason to prefer one: the posterior's quantiles in this order.
_CYCLE = (0.5, 0.25, 0.75, 0.1, 0.9)
_CANDIDATES = 17
#: Full runs are added while the interval would be less than this as wide without their error.
_DOMINATES = 0.7


@dataclass(frozen=True)
class Limits:
    """What the search may try: d in [smallest, largest], from ``start``; ``repeats`` runs a value of d; ``workers`` runs at once.

    ``ratio``: how far apart the ends of a bracket, or an end of an interval and its middle, may be. ``grid``: the values of a published curve.
    """

    smallest: int
    largest: int
    start: int = 1
    repeats: int = 1
    ratio: float = 1.25
    max_runs: int = 30
    workers: int = 1
    grid: tuple[int, ...] = ()

    @property
    def octaves(self) -> tuple[float, float]:
        """Where x90 may lie, for a prior: an octave more on either side, so that both edges can be found to be passed."""
        return math.log2(self.smallest) - 1, math.log2(self.largest) + 1


@dataclass(frozen=True)
class Run:
    """One run at d; ``repeat`` counts those at the same d. ``far``: from where the answer lies, so that it may stop early."""

    d: int
    repeat: int
    far: bool = False


@dataclass(frozen=True)
class Next:
    """Run these, all independent of each other."""

    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Stop:
    """``finished`` is False where a cap, not the answer, ended the search."""

    reason: str
    finished: bool = True


def posterior(history: Sequence[Point], target: Target, limits: Limits) -> Next | Stop:
    """The d that tells most about x90 for its cost; with several workers, quantiles of the posterior.

    Stops where ``ENOUGH`` of the mass lies within a factor ``ratio`` of its middle on both sides, once
    several runs lie near it and the runs alone, with no curve assumed, agree; where an edge of what
    can be tried is passed; or at the cap, and then the wide interval is the answer.
    """
    return _adapt(history, target, limits, _informative)


def quantiles(history: Sequence[Point], target: Target, limits: Limits) -> Next | Stop:
    """As posterior, with its quantiles .5, .25, .75, .1, .9 in turn."""
    return _adapt(
        history,
        target,
        limits,
        lambda known, history, limits: [float(known.quantile(_CYCLE[len(history) % len(_CYCLE)]))],
    )


def _adapt(
    history: Sequence[Point],
    target: Target,
    limits: Limits,
    choose: Callable[[Posterior, Sequence[Point], Limits], list[float]],
) -> Next | Stop:
    known = Posterior(history, target, *limits.octaves)
    low, middle, high = known.interval(((1 - ENOUGH) / 2, 0.5, (1 + ENOUGH) / 2))
    bottom, top = math.log2(limits.smallest), math.log2(limits.largest)
    near = sum(abs(math.log2(p.d) - middle) <= NEAR for p in history)
    if len(history) >= _RUNS and agrees(history, target, low, high, known.noise(min(middle, top))):
        # Two runs at an edge, since one may have failed.
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
    left = limits.max_runs - len(history)
    if left <= 0:
        return Stop(f"the cap of {limits.max_runs} runs is reached")
    workers = min(limits.workers, left)
    if workers == 1:
        places = choose(known, history, limits)
    else:
        places = [float(known.quantile((i + 0.5) / workers)) for i in range(workers)]
    done, runs = Counter(p.d for p in history), []
    for x in places:
        d = min(max(round(2 ** min(max(x, bottom), top)), limits.smallest), limits.largest)
        runs.append(
            Run(d, done[d], abs(math.log2(d) - middle) > NEAR and len(history) >= _RUNS_NEAR)
        )
        done[d] += 1
    return Next(tuple(runs))


def wants_baseline(history: Sequence[Point], target: Target, limits: Limits) -> bool:
    """Whether the error of the full runs keeps the interval wide: another of them then tells more than another d."""
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


def _informative(known: Posterior, history: Sequence[Point], limits: Limits) -> list[float]:
    bottom, top = math.log2(limits.smallest), math.log2(limits.largest)
    # A curve may never cross: then the places end at the largest d.
    low, middle, high = (min(max(float(v), bottom - 1), top + 1) for v in known.quantile(TAILS))
    # Once only the count of near runs is missing, no other place is any use.
    room = NEAR if high - low <= 2 * NEAR else max(high - middle, middle - low) + 1.5
    places = [
        min(max(middle + room * (2 * i / (_CANDIDATES - 1) - 1), bottom), top)
        for i in range(_CANDIDATES)
    ]
    # What early stopping saves far away. In steps, not in seconds: those hardly depend on d, and decisions must not depend on the machine.
    far = [p.share for p in history if abs(math.log2(p.d) - middle) > NEAR]
    cost = fmean(far) if far else 1.0
    return [
        max(
            dict.fromkeys(places),
            key=lambda x: known.information(x) / (cost if abs(x - middle) > NEAR else 1.0),
        )
    ]


def bisect(history: Sequence[Point], target: Target, limits: Limits) -> Next | Stop:
    """Geometric bracket, then bisection on log d.

    From ``start`` by factors of four, upwards while it fails and downwards while it passes; then the middle of the bracket in
    log d until high/low <= ratio or no whole number lies between. A d is decided by the mean of ``repeats`` fresh runs.
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


def grid(history: Sequence[Point], target: Target, limits: Limits) -> Next | Stop:
    """The published way: every value of a grid, ``repeats`` times."""
    count = Counter(p.d for p in history)
    wanted = tuple(Run(d, i) for d in limits.grid for i in range(count[d], limits.repeats))
    return Next(wanted) if wanted else Stop("the grid is done")


#: By the name that ``--design`` takes.
DESIGNS: dict[str, Callable[[Sequence[Point], Target, Limits], Next | Stop]] = {
    "posterior": posterior,
    "quantiles": quantiles,
    "bisect": bisect,
    "grid": grid,
}
#: Those that end in an interval, not in a bracket.
ADAPTIVE = ("posterior", "quantiles")


def _ask(d: int, done: int, history: Sequence[Point], limits: Limits) -> Next | Stop:
    left = limits.max_runs - len(history)
    runs = tuple(Run(d, i) for i in range(done, min(limits.repeats, done + left)))
    return (
        Next(runs)
        if runs
        else Stop(f"the cap of {limits.max_runs} runs is reached", finished=False)
    )

"""The rates that trials teach: one law over all sizes. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from idim import arms
from idim.search.surface import Law, Surface, Trial
from idim.values.plan import Plan

#: A size where no rate reaches this share of what full fine-tuning gains says nothing of rates.
LEARNS = 0.25
#: One that reaches this share of it learned well.
_WELL = 0.5
#: How far beyond the rates that were tried a rate may lie.
_BEYOND = 3.0
#: A rate is contradicted only where the runs beside it score so many times their noise below the
#: best one.
_SURE = 3.0
#: The law over sizes is overruled where its rate scores less than this fraction of the best one.
#: The rates tried lie a factor of three apart, so a better one may well lie between two of them.
_FAR_OFF = 0.7
#: By how much the law's spreads grow where trials contradict it.
_LOOSER = 3.0


@dataclass(frozen=True)
class Rates:
    """The rate at each size, what it is expected to cost there, and what was tried to find out."""

    rate: Callable[[int], float]
    #: The share of full's gain that a run at (size, rate) loses to one at the best rate.
    loss: Callable[[int, float], float] = lambda size, rate: 0.0
    #: Sizes at which some rate learned.
    learned: tuple[int, ...] = ()
    #: The factor that the rate may be off by, 68 times in 100.
    spread: Callable[[int], float] = lambda size: 1.0
    trials: tuple[Trial, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Fitted:
    """The surface of an arm's trials, over its sizes.

    Args:
        plan: whose arm says where its sizes lie in the law, and what is believed before any trial.
        trials: the tuning runs, those of full fine-tuning among them.
        full: the rate of full fine-tuning: the default one, or the one that was chosen.
        noise: the least noise of a score, as a fraction of the gain.
        law: what is believed before any trial; None for what the arm says.
    """

    plan: Plan
    trials: tuple[Trial, ...]
    full: float
    noise: float = 0.0
    law: Law | None = None
    surface: Surface = field(init=False, repr=False)

    def __post_init__(self) -> None:
        prior = arms.ARMS[self.plan.arm].prior(self.plan.settings)
        law = self.law or Law(*dataclasses.astuple(prior))
        known = bool(self.plan.full_rate)
        made = Surface(self.trials, self.full, law, known=known, noise=self.noise)
        object.__setattr__(self, "law", law)
        object.__setattr__(self, "surface", made)

    def settled(self) -> Fitted:
        """The surface that the trials do not contradict.

        Where the rate that it finds at a size is contradicted by the trials there, the law moves to
        the best rates tried and is held more loosely: what runs scored counts for more than what is
        usual.
        """
        law, moves = self.law, [move for move in self._contradictions().values() if move]
        if not moves or law is None:
            return self
        loose = dataclasses.replace(
            law,
            offset=law.offset + fmean(moves),
            offset_spread=_LOOSER * law.offset_spread,
            slope_spread=_LOOSER * law.slope_spread,
        )
        return dataclasses.replace(self, law=loose)

    def _contradictions(self) -> dict[float, float]:
        """By place, how many e-folds the best rate tried lies off the surface's, if trials say so.

        0 where a rate learned and trials say nothing against the surface.
        """
        moves = {}
        for place in sorted({t.place for t in self.trials if t.place is not None}):
            there = [t for t in self.trials if t.place == place]
            top, best = max(there, key=lambda t: t.share), self.surface.best(place)[0]
            if top.share >= LEARNS:
                off = contradicted(best, there, self.noise, _FAR_OFF)
                moves[place] = top.log_rate - best if off else 0.0
        return moves

    def _overruled(self) -> dict[float, float]:
        """The same, but for a best rate beyond those tried where none of these learned well.

        There a better one may well lie beyond.
        """
        moves = self._contradictions()
        for place in moves:
            there = [t for t in self.trials if t.place == place]
            rates, top = [t.log_rate for t in there], max(t.share for t in there)
            beyond = not min(rates) <= self.surface.best(place)[0] <= max(rates)
            if beyond and top < _WELL:
                moves[place] = 0.0
        return moves

    @property
    def shift(self) -> float:
        """By how much the settings of the arm move the logarithm of every rate."""
        return arms.ARMS[self.plan.arm].shift(self.plan.facts, self.plan.settings)

    def place(self, size: int) -> float:
        """Where a size lies in the law."""
        return arms.ARMS[self.plan.arm].place(size, self.plan.facts)

    def trial(self, size: int, rate: float, share: float) -> Trial:
        """A run of the arm, as the surface takes it."""
        return Trial(self.place(size), math.log(rate) - self.shift, share)

    def best(self, size: int) -> tuple[float, float]:
        """The mean and the standard deviation of the logarithm of the best rate at a size."""
        middle, error = self.surface.best(self.place(size))
        return middle + self.shift, error

    def with_trials(self, more: Sequence[Trial]) -> Fitted:
        """The surface with these trials, too."""
        return dataclasses.replace(self, trials=(*self.trials, *more))

    def rates(self, tried: Mapping[float, float], learned: tuple[int, ...] = ()) -> Rates:
        """The rate at each size: the law's, within a factor of three of those that learned.

        A surface knows slopes. Where the score falls off a cliff, its best rate may be one that was
        tried and failed. Where trials still say so, the best rate tried is taken; between such
        sizes and others the law moves by degrees.

        Args:
            tried: rates of the arm, and the share of full's gain that each reached.
            learned: sizes at which some rate learned.
        """
        kept = {r: s for r, s in tried.items() if s >= LEARNS}
        if kept and arms.ARMS[self.plan.arm].spans:
            # At d = D an orthonormal P is a rotation, so the rate of full fine-tuning is tried.
            kept = {self.full: 1.0, **kept}
        moves = self._overruled() or {0.0: 0.0}

        def rate(size: int) -> float:
            move = float(np.interp(self.place(size), list(moves), list(moves.values())))
            return rounded(within(math.exp(self.best(size)[0] + move), kept))

        return Rates(
            rate,
            lambda size, used: self.surface.loss(self.place(size), math.log(used) - self.shift),
            learned,
            lambda size: math.exp(self.best(size)[1]),
            self.trials,
        )


def untuned(plan: Plan) -> Callable[[int], float]:
    """The rate at each size without tuning: what was given, or the default law of the arm."""
    if plan.arm_rate:
        return lambda size: plan.arm_rate
    arm, full = arms.ARMS[plan.arm], plan.recipe.learning_rate
    return lambda size: arm.rate(full, size, plan.facts, plan.settings)


def contradicted(log_rate: float, trials: Sequence[Trial], noise: float, fraction: float) -> bool:
    """Whether trials of one size say that a rate is far from the best one.

    Args:
        log_rate: the logarithm of the rate.
        trials: what was tried there. Between two of them the share is interpolated.
        noise: the noise of a share.
        fraction: a rate is far off if it scores less than this fraction of the best one.
    """
    tried = sorted((t.log_rate, t.share) for t in trials)
    here = float(np.interp(log_rate, [x for x, _ in tried], [share for _, share in tried]))
    best = max(share for _, share in tried)
    return here < fraction * best and best - here > _SURE * noise


def within(rate: float, tried: Mapping[float, float]) -> float:
    """Not further than a factor of three from rates that were tried and learned."""
    return min(max(rate, min(tried) / _BEYOND), max(tried) * _BEYOND) if tried else rate


def rounded(rate: float) -> float:
    """To three digits, so that a last bit that differs between machines asks for no other run."""
    return float(f"{rate:.3g}")

"""Tuning runs and their scores: what each rate gains over chance, on the tuning split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Protocol

from idim import specs
from idim.answers.evidence import chance_of
from idim.protocols import TUNE_SHARE
from idim.values.metric import metric
from idim.values.plan import Plan
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.spec import Spec

#: A tuning split of fewer examples than this takes several seeds a rate, up to so many.
_EXAMPLES, _SEEDS = 400, 4
#: Runs that share examples and seeds differ by less than each of them errs.
_PAIRED = 0.7


class Score(Protocol):
    """Tries rates at a size. All that tuning asks of the world."""

    def __call__(
        self, size: int | None, rates: Sequence[float], whole: bool = False
    ) -> dict[float, float]:
        """What each rate gains over chance, in units of the score.

        Args:
            size: the arm's; None for full fine-tuning.
            rates: what to try.
            whole: whether a run gets the whole budget, not the share that tuning runs get.
        """


def scorer(plan: Plan, made: Callable[[Sequence[Spec]], Sequence[Record]], arm: str = "") -> Score:
    """A ``Score`` that makes runs.

    Args:
        plan: what is measured.
        made: gives the records for specifications, in their order.
        arm: another arm than the plan's, one that has no size.
    """

    def score(size: int | None, rates: Sequence[float], whole: bool = False) -> dict[float, float]:
        budget, n, split = 1.0 if whole else TUNE_SHARE, seeds(plan), plan.data.tuning_split
        records = made(
            [
                specs.make(plan, Purpose.TUNE, size, i, rate, split=split, budget=budget, arm=arm)
                for rate in rates
                for i in range(n)
            ]
        )
        chance = _chance(plan, records)
        gains = [0.0 if r.score is None else r.score - chance for r in records]
        return {rate: fmean(gains[k * n : (k + 1) * n]) for k, rate in enumerate(rates)}

    return score


def tunes(plan: Plan) -> bool:
    """Whether rates are tuned. The toy has one well-scaled batch, which serves as every split."""
    return plan.protocol.tune and bool(plan.data.splits) and plan.facts.exponent > 0


def noise(plan: Plan, gain: float) -> float:
    """What the mean score of one rate errs by at least, as a share of full's gain."""
    n = plan.data.splits[plan.data.tuning_split] * seeds(plan)
    return _PAIRED * metric(plan.data.metric).sampling_error(0.9, n) / max(gain, 1e-9)


def steps(plan: Plan) -> int:
    """Optimiser steps of a tuning run."""
    return specs.steps_of(plan, Purpose.TUNE, TUNE_SHARE)


def seeds(plan: Plan) -> int:
    """Seeds a rate, the same for every rate: a small split tells rates apart only by several."""
    examples = plan.data.splits[plan.data.tuning_split]
    return max(1, min(_SEEDS, math.ceil(_EXAMPLES / examples)))


def _chance(plan: Plan, records: Sequence[Record]) -> float:
    """Of the split that rates are chosen on."""
    # Where it is not known, the baselines say so.
    return chance_of(records, plan.data.guess) or 0.0

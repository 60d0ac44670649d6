"""Which rates to try, at which sizes, until the law is known well enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from idim import arms
from idim.rates import trials
from idim.rates.law import LEARNS, Fitted, Rates, rounded, untuned, within
from idim.rates.trials import Score
from idim.search.surface import Surface, Trial
from idim.values.plan import Plan

#: Rates tried at a size, as multiples of the law's.
_TRIED = (1 / 3, 1.0, 3.0)
#: The same where the answer lies, at the whole budget.
_REFINED = (0.5, 1.0, 2.0)
#: Runs at one size beyond the first three, while the best rate lies outside those tried.
_MORE = 3
#: e-folds: a best rate that is known this well is not looked for beyond those tried.
_KNOWN = 0.4
#: The second size lies this factor below the first one, or above it.
_STRIDE = 8
#: Scores below this share of full's gain count as this.
_LEAST = -0.1

Say = Callable[[str], object]


def full_rate(plan: Plan, score: Score, say: Say) -> tuple[float, list[Trial]]:
    """The rate of full fine-tuning, and the runs it was chosen by."""
    default = plan.recipe.learning_rate
    if not trials.tunes(plan) or plan.full_rate:
        return default, []
    tried: dict[float, float] = {}
    wanted = [f * default for f in _TRIED]
    while wanted:
        tried |= score(None, wanted)
        found = _of_full(tried)
        least = trials.noise(plan, max(tried.values()))
        best = Surface(found, default, noise=least).best(None)
        wanted = _outside(tried, best)
    rate = rounded(within(math.exp(best[0]), tried))
    say(
        f"full: rate {rate:g}, from {len(tried)} runs of {trials.steps(plan)} steps "
        "on the tuning split"
    )
    return rate, found


def rates_over_sizes(plan: Plan, score: Score, say: Say, full: float, known: list[Trial]) -> Rates:
    """The arm's rates: given, by its law, or tuned at two sizes.

    Args:
        plan: what is measured.
        score: tries rates.
        say: gets a line for what was found.
        full: the rate of full fine-tuning.
        known: the runs that it was chosen by.
    """
    if plan.arm_rate:
        return Rates(lambda size: plan.arm_rate)
    if plan.facts.exponent == 0:
        return Rates(lambda size: full)
    if not trials.tunes(plan):
        law, by_law = Fitted(plan, tuple(known), full).rates({}), untuned(plan)
        return Rates(lambda size: rounded(by_law(size)), law.loss, (), law.spread, law.trials)
    reference = _reference(score, full)
    fitted = Fitted(plan, tuple(known), full, trials.noise(plan, reference))
    arm, letter = arms.ARMS[plan.arm], plan.letter
    least, size = arm.tuning_sizes(plan.facts)
    size = _clipped(size, least, plan)
    tried: dict[int, dict[float, float]] = {}
    learned: list[int] = []
    while size not in tried:
        tried[size], fitted = _tried(fitted, score, size, reference)
        top = max(tried[size].values())
        if top >= LEARNS:
            learned.append(size)
            if len(learned) == 2:
                break
            size = _clipped(size // _STRIDE, least, plan)
            if size in tried:
                break
        else:
            say(
                f"{plan.arm}: no rate learns more than {max(top, 0):.0%} of full's gain "
                f"at {letter} = {size} in {trials.steps(plan)} steps; larger {letter} are tried"
            )
            larger = [other for other in tried if other > size]
            if not larger and not learned:
                size = _clipped(size * _STRIDE, least, plan)
    if not learned:
        say(
            f"{plan.arm}: no {letter} that was tried learns while tuning; "
            "the rate is the law's, and uncertain"
        )
    every = {r: s for size in tried for r, s in tried[size].items()}
    found = fitted.rates(every, tuple(learned))
    for size in learned:
        say(
            f"{plan.arm}: rate {found.rate(size):g} at {letter} = {size}, "
            f"give or take a factor {found.spread(size):.2g}"
        )
    return found


def refined(plan: Plan, score: Score, full: float, rates: Rates, size: int) -> Rates:
    """The rates with three more runs at one size, at the whole budget."""
    reference = _reference(score, full)
    fitted = Fitted(plan, rates.trials, full, trials.noise(plan, reference))
    gains = score(size, [rounded(f * rates.rate(size)) for f in _REFINED], True)
    fitted = fitted.with_trials(
        [fitted.trial(size, rate, _share(gain, reference)) for rate, gain in gains.items()]
    )
    tried = {
        math.exp(t.log_rate + fitted.shift): t.share for t in fitted.trials if t.place is not None
    }
    return fitted.rates(tried, (*rates.learned, size))


def _tried(
    before: Fitted, score: Score, size: int, reference: float
) -> tuple[dict[float, float], Fitted]:
    """The shares of full's gain by rate at one size, and the surface with them."""
    tried: dict[float, float] = {}
    fitted, middle = before, before.best(size)[0]
    wanted = [rounded(f * math.exp(middle)) for f in _TRIED]
    while wanted:
        tried |= {r: _share(gain, reference) for r, gain in score(size, wanted).items()}
        fitted = before.with_trials([before.trial(size, r, s) for r, s in tried.items()])
        learns = max(tried.values()) >= LEARNS
        wanted = _outside(tried, fitted.best(size)) if learns else []
    return tried, fitted


def _reference(score: Score, full: float) -> float:
    """What full fine-tuning gains over chance, within the budget of a tuning run."""
    return max(*score(None, [full]).values(), 1e-9)


def _of_full(tried: Mapping[float, float]) -> list[Trial]:
    top = max(*tried.values(), 1e-9)
    return [Trial(None, math.log(r), _share(gain, top)) for r, gain in tried.items()]


def _share(gain: float, reference: float) -> float:
    return max(_LEAST, gain / reference)


def _clipped(size: int, least: int, plan: Plan) -> int:
    return max(least, min(size, plan.limits.largest))


def _outside(tried: Mapping[float, float], best: tuple[float, float]) -> list[float]:
    """A rate beyond those tried, where the best one may lie there.

    Args:
        tried: a score for each rate.
        best: the logarithm of the best rate, and the error of that.
    """
    if len(tried) >= len(_TRIED) + _MORE:
        return []
    low, high = min(tried), max(tried)
    top, (middle, error) = max(tried, key=lambda r: tried[r]), best
    error = error if error > _KNOWN else 0.0
    under, over = math.log(low) - (middle - error), middle + error - math.log(high)
    if top == low or under > max(0.0, over):
        return [rounded(low / 3)]
    if top == high or over > 0:
        return [rounded(high * 3)]
    return []

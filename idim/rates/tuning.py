"""Which rates to try, at which sizes, until the law is known well enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from idim import arms
from idim.rates import trials
from idim.rates.law import LEARNS, Fitted, Rates, contradicted, rounded, untuned, within
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
#: Where no rate of full fine-tuning learns, so many more are tried, each this factor beyond.
_BLIND, _FAR = 4, 9.0
#: The rate of full fine-tuning scores at least this fraction of the best one tried.
_NEAR_BEST = 0.9
#: A rate whose gain is not above its noise by a factor of three has not learned.
_UNSEEN = 1 / 3
#: Two rates tried beside the best are no further from it than this factor.
_WIDE = 4.0
#: Scores below this share of full's gain count as this.
_LEAST = -0.1

Say = Callable[[str], object]


def full_rate(plan: Plan, score: Score, say: Say) -> tuple[float, list[Trial]]:
    """The rate of full fine-tuning, and the runs it was chosen by."""
    default = plan.recipe.learning_rate
    if not trials.tunes(plan) or plan.full_rate:
        return default, []
    return one_rate(plan, score, say, arms.FULL, default)


def one_rate(
    plan: Plan, score: Score, say: Say, name: str, default: float, size: int | None = None
) -> tuple[float, list[Trial]]:
    """The rate of an arm that has one size, and the runs it was chosen by.

    Args:
        plan: what is measured.
        score: tries rates of this arm.
        say: gets a line for what was found.
        name: of the arm.
        default: the first guess.
        size: what ``score`` is told.
    """
    tried: dict[float, float] = {}
    wanted, guess, blind = [f * default for f in _TRIED], default, 0
    while wanted:
        tried |= score(size, wanted)
        top = max(tried, key=lambda rate: tried[rate])
        least = trials.noise(plan, tried[top])
        if tried[top] <= 0 or least > _UNSEEN:
            # No rate learns. The best one lies far below those tried, or far above.
            wanted = _far(tried, blind)
            blind += 1
            best = (math.log(default), 0.0)
            continue
        found = _of_full(tried)
        best = Surface(found, guess, noise=least).best(None)
        if contradicted(best[0], found, least, _NEAR_BEST):
            # The default rate is a bad guess. The best rate tried is a better one.
            guess = top
            best = Surface(found, guess, noise=least).best(None)
            if contradicted(best[0], found, least, _NEAR_BEST):
                best = (math.log(top), best[1])
        wanted = _outside(tried, best, blind)
    rate = rounded(within(math.exp(best[0]), tried))
    if blind > _BLIND:
        say(f"{name}: none of {len(tried)} rates learns while tuning; the default rate is taken")
    say(
        f"{name}: rate {rate:g}, from {len(tried)} rates tried in runs of {trials.steps(plan)} "
        "steps on the tuning split"
    )
    return rate, _of_full(tried)


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
    if plan.facts.exponent == 0 or arms.ARMS[plan.arm].trainless:
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
        last = not learned and (bool(tried) or size == plan.limits.largest)
        tried[size], fitted = _tried(fitted, score, size, reference, last)
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
    found = fitted.settled().rates(every, tuple(learned))
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
    return fitted.settled().rates(tried, (*rates.learned, size))


def _tried(
    before: Fitted, score: Score, size: int, reference: float, last: bool
) -> tuple[dict[float, float], Fitted]:
    """The shares of full's gain by rate at one size, and the surface with them.

    ``last``: whether no other size is left. Then, if no rate learns, others far off are tried.
    """
    tried: dict[float, float] = {}
    fitted, middle, blind = before, before.best(size)[0], 0
    wanted = [rounded(f * math.exp(middle)) for f in _TRIED]
    while wanted:
        tried |= {r: _share(gain, reference) for r, gain in score(size, wanted).items()}
        fitted = before.with_trials([before.trial(size, r, s) for r, s in tried.items()])
        if max(tried.values()) >= LEARNS:
            wanted = _outside(tried, fitted.best(size), blind)
        else:
            wanted = _far(tried, blind) if last else []
            blind += 1
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


def _far(tried: Mapping[float, float], before: int) -> list[float]:
    """A rate far from those tried: below them first, then above, in turn."""
    if before == _BLIND:
        return []
    return [rounded(max(tried) * _FAR if before % 2 else min(tried) / _FAR)]


def _outside(
    tried: Mapping[float, float], best: tuple[float, float], blind: int = 0
) -> list[float]:
    """A rate beside those tried, where the best one may lie there.

    Args:
        tried: a score for each rate.
        best: the logarithm of the best rate, and the error of that.
        blind: how many of the rates were tried because none had learned.
    """
    if len(tried) >= len(_TRIED) + _MORE + blind:
        return []
    low, high = min(tried), max(tried)
    top, (middle, error) = max(tried, key=lambda r: tried[r]), best
    under = [r for r in tried if r < top]
    over = [r for r in tried if r > top]
    for beside in (max(under, default=top), min(over, default=top)):
        if not 1 / _WIDE < beside / top < _WIDE:
            return [rounded(math.sqrt(beside * top))]
    error = error if error > _KNOWN else 0.0
    below, above = math.log(low) - (middle - error), middle + error - math.log(high)
    if top == low or below > max(0.0, above):
        return [rounded(low / 3)]
    if top == high or above > 0:
        return [rounded(high * 3)]
    return []

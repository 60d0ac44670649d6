"""What the checks of a search say: pairs of runs with one change, and the largest size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from statistics import median

from idim.answers.evidence import pairs_of, passes_of, size_of, spread_of
from idim.arms import ARMS, FULL
from idim.search.answer import Belief
from idim.search.design import ADAPTIVE
from idim.search.isotonic import isotonic
from idim.search.pairs import Change, lost
from idim.search.threshold import Baseline, Target
from idim.values.findings import Checks, Converged, Crossing, Moved, Shapeless, Witness
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record
from idim.values.training import Status

#: Octaves: what counts as another d90 (a factor of 1.25).
MOVES = 0.32
#: What counts as undertrained: twice the budget surely gains more than this share of the gain.
UNDERTRAINED = 0.01


def checks_of(
    records: Sequence[Record],
    base: Baseline,
    target: Target,
    belief: Belief | None,
    found: Crossing | None,
    question: Question,
) -> Checks:
    """What the checks say so far."""
    gain = base.mean - base.chance
    longer = pairs_of(records, base.chance, Purpose.CHECK, FULL)
    full = None
    if longer and gain > 0:
        full = Change.of([b - a for a, b, _ in longer], spread_of(base))
    sized = ARMS[question.arm].size is not None
    out = Checks(
        converged=_converged(full, gain) if full else None,
        witness=_witness(records, base) if sized else None,
        floor=passes_of([r for r in records if r.kind == Purpose.FLOOR], target),
        point=None
        if sized
        else passes_of([r for r in records if r.kind == Purpose.SEARCH], target),
    )
    if belief is None or not found or not found.estimate:
        return out
    steep, noise = belief.slope(found.estimate), belief.known.sigma * gain
    moves = MOVES * steep
    moved = None
    if budget := pairs_of(records, base.chance, Purpose.CHECK, question.arm):
        change = Change.of([b - a for a, b, _ in budget], noise, gain)
        weight = target.at(1.0) - target.at(0.0)
        moved = Moved(
            change.n,
            (change.mean - (weight * full.mean if full else 0.0)) / steep,
            change.above(moves, full, weight),
        )
    rates = None
    if changes := _rate_changes(records, base, belief, question, gain):
        rates = {
            f"{factor:g}": Moved(change.n, change.mean / steep, change.above(moves))
            for factor, change in changes.items()
        }
    shapeless = None
    if question.design in ADAPTIVE:
        crossing = isotonic([*belief.points], target)
        d = None if crossing is None else round(2**crossing)
        shapeless = Shapeless(d, belief.agrees(target))
    return dataclasses.replace(out, budget=moved, rate=rates, isotonic=shapeless)


def rate_loss(
    records: Sequence[Record], base: Baseline, belief: Belief, question: Question
) -> float | None:
    """What the runs of a search lose to their rates, as pairs measure it.

    It is what the best of the rates tried gains. No curve is laid through them: scores are flat
    about the best rate and fall off a cliff above it, where a parabola would find too much.

    Returns:
        The loss as a fraction of the gain. None where no pairs were made at both half and twice
        the rate.
    """
    changes = _rate_changes(records, base, belief, question)
    if not {0.5, 2.0} <= set(changes):
        return None
    return lost([*changes.values()]) / (base.mean - base.chance)


def _rate_changes(
    records: Sequence[Record], base: Baseline, belief: Belief, question: Question, most: float = 0.0
) -> dict[float, Change]:
    """How the score changes with the rate, by the factor on it. ``most``: as of ``Change.of``."""
    made = pairs_of(records, base.chance, Purpose.RATE, question.arm)
    noise = belief.known.sigma * (base.mean - base.chance)
    return {
        factor: Change.of([b - a for a, b, f in made if f == factor], noise, most)
        for factor in sorted({f for *_, f in made})
    }


def _converged(full: Change, gain: float) -> Converged:
    low, high = full.interval()
    sure = full.above(UNDERTRAINED * gain)
    return Converged(full.n, full.mean, low, high, sure, sure >= 0.95)


def _witness(records: Iterable[Record], base: Baseline) -> Witness | None:
    """What the largest d that was tried reaches, as a share of full fine-tuning's gain."""
    kinds = (Purpose.SEARCH, Purpose.WITNESS)
    runs = [r for r in records if r.kind in kinds and r.status != Status.STOPPED]
    if not runs or base.mean <= base.chance:
        return None
    d = max(size_of(r) for r in runs)
    scores = [r.score for r in runs if size_of(r) == d]
    shares = [0.0 if s is None else (s - base.chance) / (base.mean - base.chance) for s in scores]
    return Witness(d, median(shares), len(shares))

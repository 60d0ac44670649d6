"""What a measurement ends with."""

from __future__ import annotations

from idim.arms import ARMS
from idim.search.answer import Belief
from idim.search.design import SURE
from idim.search.pairs import SURE as PAIRS_SURE
from idim.search.threshold import Target, signal
from idim.values.findings import Checks, Crossing
from idim.values.question import Question
from idim.values.verdict import Verdict

#: A witness must reach this share of full fine-tuning's gain, or the rate failed.
WITNESS = 0.9


def verdict_of(
    target: Target,
    found: Crossing | None,
    question: Question,
    belief: Belief | None,
    checks: Checks,
) -> Verdict:
    """The verdict of what was found, as far as the checks tell."""
    base = target.baseline
    if not signal(base, question.n_scored, question.metric):
        return Verdict.NO_SIGNAL
    if base.chance >= target.tau:
        return Verdict.TRIVIAL
    if checks.floor and checks.floor.probability >= PAIRS_SURE:
        return Verdict.HEAD_ALONE
    if not question.finished:
        return Verdict.UNFINISHED
    if point := checks.point:
        if point.probability >= PAIRS_SURE:
            return Verdict.REACHED
        return Verdict.NOT_REACHED if point.probability <= 1 - PAIRS_SURE else Verdict.UNFINISHED
    witness = checks.witness
    enough = min(WITNESS, (target.tau - base.chance) / (base.mean - base.chance))
    # Only where the largest size trains all of D must it reach what full fine-tuning does.
    failed = (
        ARMS[question.arm].spans
        and witness is not None
        and witness.share < enough
        and witness.d >= question.largest / 2
    )
    if found and found.level and belief is not None:
        if belief.reached < SURE:
            if failed:
                return Verdict.RATE_FAILED
            # Too few runs may tell neither that a d reaches tau, nor that none does.
            return Verdict.NOT_REACHED if belief.reached <= 1 - SURE else Verdict.UNFINISHED
        if not belief.agrees(target):
            return Verdict.CONTRADICTORY
    elif found is None or found.estimate is None:
        return Verdict.RATE_FAILED if failed else Verdict.NOT_REACHED
    elif found.low is not None and found.high is not None and found.low >= found.high:
        return Verdict.CONTRADICTORY
    budget = checks.budget
    if budget and budget.probability >= PAIRS_SURE:
        return Verdict.BUDGET_LIMITED
    return Verdict.REACHED

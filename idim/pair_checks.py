"""Checks of an answer: pairs of runs with one change, and a witness at the largest size."""

from __future__ import annotations

import math
from collections.abc import Callable

from idim import arms, specs
from idim.answers.checks import checks_of, rate_loss
from idim.answers.evidence import crossing_of, size_of
from idim.inquiry import Inquiry
from idim.rates import trials
from idim.rates.tuning import one_rate
from idim.search import pairs
from idim.search.design import SURE
from idim.values.plan import Plan
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.spec import Spec
from idim.values.training import Status

#: The largest D at which a witness trains all of D.
_AFFORDABLE = 10**8


def name_full(inquiry: Inquiry, rate: float) -> None:
    """Name the first runs of ``check_full``: they depend on the rate of full alone."""
    protocol = inquiry.plan.protocol
    if protocol.budget_check:
        first = range(min(pairs.FIRST, protocol.baselines))
        inquiry.ahead([_longer(inquiry.plan, rate, i) for i in first])


def check_full(inquiry: Inquiry, rate: float) -> None:
    """Does full fine-tuning gain from twice the budget?"""
    plan = inquiry.plan
    if plan.protocol.budget_check:
        _pair(inquiry, lambda i: _longer(plan, rate, i), plan.protocol.baselines)


def _longer(plan: Plan, rate: float, i: int) -> Spec:
    """A baseline at twice the budget."""
    return specs.make(plan, Purpose.CHECK, None, i, rate, budget=2.0, drawn=Purpose.BASELINE)


def check_floor(inquiry: Inquiry, full: float) -> bool:
    """Does the head alone pass, where the arm trains it freely? ``full``: the rate of full."""
    plan, arm = inquiry.plan, inquiry.plan.floor
    rate = _rate_of(inquiry, arm, full)

    def alone(i: int) -> Spec:
        return specs.make(plan, Purpose.FLOOR, None, i, rate, arm=arm)

    return _until_sure(inquiry, alone, pairs.FIRST) >= pairs.SURE


def measure_point(inquiry: Inquiry, full: float) -> None:
    """Does an arm that has no size pass? ``full``: the rate of full fine-tuning."""
    plan = inquiry.plan
    rate = plan.arm_rate or _rate_of(inquiry, "", full)
    most = plan.limits.repeats

    def run(i: int) -> Spec:
        return specs.make(plan, Purpose.SEARCH, 0, i, rate)

    _until_sure(inquiry, run, most)


def _rate_of(inquiry: Inquiry, other: str, full: float) -> float:
    """The rate of an arm that is run at one size: of ``other``, or where that is empty the plan's.

    Tuned, or by its law from that of full fine-tuning.
    """
    plan, name = inquiry.plan, other or inquiry.plan.arm
    rate = arms.ARMS[name].rate(full, 0, plan.facts, plan.settings)
    if trials.tunes(plan):
        score = trials.scorer(plan, inquiry.execute, other)
        rate, _ = one_rate(plan, score, inquiry.say, name, rate, None if other else 0)
    return rate


def _until_sure(inquiry: Inquiry, spec: Callable[[int], Spec], n: int) -> float:
    """Make ``n`` runs of one size, then more while they do not tell. How likely they pass."""
    base, target = inquiry.sure_base, inquiry.target
    most, odds = max(n, pairs.MOST) if n > 1 else n, 0.5
    for i in range(most):
        if i < n or 1 - pairs.SURE < odds < pairs.SURE:
            run = spec(i)
            inquiry.execute([run])
            found = checks_of(inquiry.made, base, target, None, None, inquiry.question)
            passes = found.floor if run.kind == Purpose.FLOOR else found.point
            odds = passes.probability if passes else 0.0
    return odds


def name_answer(inquiry: Inquiry, answer: int) -> None:
    """Name the first runs of ``check_answer``."""
    near, protocol = _nearest(inquiry, inquiry.estimate or answer), inquiry.plan.protocol
    changes = [(Purpose.CHECK, 1.0, 2.0)] if protocol.budget_check else []
    changes += [(Purpose.RATE, f, 1.0) for f in (0.5, 2.0) if protocol.rate_check]
    inquiry.ahead([_again(inquiry, r, *c) for c in changes for r in near[: pairs.FIRST]])


def check_answer(inquiry: Inquiry, answer: int) -> None:
    """Would the answer be smaller with twice the budget, or at another rate?

    ``answer``: the size that passes, for a bracket that the model of the curve does not follow.
    """
    near, protocol = _nearest(inquiry, inquiry.estimate or answer), inquiry.plan.protocol
    if protocol.budget_check:
        _pair(inquiry, lambda i: _again(inquiry, near[i], Purpose.CHECK, 1.0, 2.0), len(near))
    for factor in (0.5, 2.0) if protocol.rate_check else ():
        _pair(inquiry, lambda i: _again(inquiry, near[i], Purpose.RATE, factor), len(near))
    # Pairs at half and at twice the rate measure what a tuning run could only suggest.
    measured = rate_loss(inquiry.made, inquiry.sure_base, inquiry.belief, inquiry.question)
    if measured is not None:
        inquiry.asked.note_loss(measured)


def witness(inquiry: Inquiry, rate: Callable[[int], float]) -> None:
    """Where no size passes for sure: does the whole space train, at the rate of the law?"""
    plan, largest = inquiry.plan, inquiry.plan.limits.largest
    if (
        not (plan.protocol.witness and arms.ARMS[plan.arm].spans and inquiry.can_cross)
        or plan.facts.D > _AFFORDABLE
        or inquiry.belief.reached >= SURE
    ):
        return
    there = sum(size_of(r) == largest and r.status != Status.STOPPED for r in inquiry.history)
    inquiry.execute(
        [specs.make(plan, Purpose.WITNESS, largest, i, rate(largest)) for i in range(2 - there)]
    )


def _nearest(inquiry: Inquiry, estimate: int) -> list[Record]:
    """The whole runs nearest to the answer."""
    whole = [r for r in inquiry.history if r.status != Status.STOPPED]
    return sorted(whole, key=lambda r: (abs(math.log2(size_of(r) / estimate)), r.key))[: pairs.MOST]


def _again(
    inquiry: Inquiry, record: Record, purpose: Purpose, factor: float, budget: float = 1.0
) -> Spec:
    """The specification of a run that is like this one but for its rate or its budget."""
    size, used = size_of(record), record.rate
    for repeat in range(sum(size_of(r) == size for r in inquiry.history)):
        spec = specs.make(
            inquiry.plan,
            purpose,
            size,
            repeat,
            float(f"{factor * used:.3g}"),
            budget=budget,
            drawn=Purpose.SEARCH,
        )
        if spec.seeds == record.spec.seeds:
            return spec
    raise AssertionError("a run of this search has none of its seeds")


def _pair(inquiry: Inquiry, spec: Callable[[int], Spec], most: int) -> None:
    """Add pairs, two and then one at a time, while they do not tell whether the change matters."""
    n, most = min(pairs.FIRST, most), min(pairs.MOST, most)
    done = 0
    while done < n:
        wanted = [spec(i) for i in range(done, n)]
        inquiry.execute(wanted)
        done = n
        if n < most and pairs.UNLIKELY < _odds(inquiry, wanted[0]) < pairs.SURE:
            n += 1


def _odds(inquiry: Inquiry, spec: Spec) -> float:
    """How likely the check that this run belongs to thinks it that the change matters."""
    belief = inquiry.belief if inquiry.can_cross else None
    base, target = inquiry.sure_base, inquiry.target
    found = crossing_of(inquiry.points, target, belief) if belief else None
    checks = checks_of(inquiry.made, base, target, belief, found, inquiry.question)
    if spec.arm == arms.FULL:
        return checks.converged.probability if checks.converged else 0.0
    if spec.kind == Purpose.CHECK:
        return checks.budget.probability if checks.budget else 0.0
    return max((v.probability for v in (checks.rate or {}).values()), default=0.0)

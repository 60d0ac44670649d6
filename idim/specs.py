"""The specifications of runs: from a plan, a purpose, a size, a rate. Pure, and free of torch."""

from __future__ import annotations

import dataclasses
import hashlib

from idim import arms
from idim.protocols import TUNE_STEPS
from idim.values.plan import Plan
from idim.values.purpose import Purpose
from idim.values.spec import SEEDS, Spec


def make(
    plan: Plan,
    purpose: Purpose,
    size: int | None,
    repeat: int,
    rate: float,
    *,
    split: str = "measure",
    budget: float = 1.0,
    stop: tuple[float, ...] | None = None,
    drawn: Purpose | None = None,
    arm: str = "",
) -> Spec:
    """The specification of one run.

    Args:
        plan: what is measured.
        purpose: why the run is made.
        size: d, or a rank; 0 for an arm that has no size. None: a run of full fine-tuning.
        repeat: the number of runs like this one before it. Each draws fresh seeds.
        rate: the learning rate.
        split: what it is scored on.
        budget: a factor on the number of steps.
        stop: the threshold, chance and noise, of a run that may stop early.
        drawn: the purpose of the run whose seeds it shares (P, theta_0, order, dropout), where the
            two are compared as a pair.
        arm: another arm than the plan's, one that has no size.
    """
    settings = {} if size is None or arm else arms.ARMS[plan.arm].at(plan.settings, size).to_json()
    arm = arm or (arms.FULL if size is None else plan.arm)
    recipe = dataclasses.replace(plan.recipe, learning_rate=rate)
    if purpose == Purpose.TUNE:
        # The curve of a short run is of no use, and the scores would take as long as the steps.
        recipe = dataclasses.replace(recipe, evaluations=1)
    if budget != 1.0:
        recipe = dataclasses.replace(recipe, max_steps=steps_of(plan, purpose, budget))
    return Spec(
        model=plan.model,
        task=plan.task,
        arm=arm,
        recipe=recipe,
        options=plan.options,
        protocol=plan.protocol.name,
        kind=purpose,
        split=split,
        seeds=_seeds(plan, drawn or purpose, arm, size or 0, repeat),
        settings=settings,
        task_fingerprint=plan.data.fingerprint,
        model_fingerprint=plan.model_fingerprint,
        stop=stop,
    )


def steps_of(plan: Plan, purpose: Purpose, budget: float) -> int:
    """Optimiser steps of a run with this fraction of the budget."""
    steps = max(1, round(budget * plan.steps))
    if purpose == Purpose.TUNE:
        # Fewer steps say nothing of rates: all of them would look too small.
        steps = max(steps, min(plan.steps, TUNE_STEPS))
    return steps


def _seeds(plan: Plan, purpose: Purpose, arm: str, size: int, repeat: int) -> dict[str, int]:
    """Four fresh seeds for each run.

    The same master seed gives the same ones, so a search resumes. Two tasks share none.
    """
    run = f"{plan.seed}/{plan.model}/{plan.task}/{purpose}/{arm}/{size}/{repeat}"
    return {
        name: int.from_bytes(hashlib.sha256(f"{run}/{name}".encode()).digest()[:6], "little")
        for name in SEEDS
    }

"""The answer of a search, from its records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from idim.answers.checks import checks_of
from idim.answers.evidence import (
    baseline_of,
    cost_of,
    crossing_of,
    levels_of,
    points_of,
    target_of,
    too_few,
)
from idim.answers.verdict import verdict_of
from idim.search.answer import Belief
from idim.search.design import ADAPTIVE
from idim.search.threshold import means, sampling_error
from idim.values.findings import Crossing, Fit, Locked, Mean, Tried
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.verdict import Verdict

#: The shares of full fine-tuning at which d is told.
LEVELS = (0.5, 0.75, 0.9, 0.95)
#: Runs this many octaves from d90 are taken together for the locked score.
_LOCKED_NEAR = 0.35


def search_summary(mine: list[Record], question: Question) -> SearchSummary:
    """Brackets, or intervals where the design is built on them; ``interval`` in any case."""
    q = question
    base = baseline_of(mine, q.n_scored, q.metric)
    points = points_of(mine, q.handicaps)
    out = SearchSummary(
        model=q.model,
        task=q.task,
        arm=q.arm,
        projection=q.projection,
        protocol=q.protocol,
        metric=q.metric,
        D=q.D,
        m=q.m,
        scope=q.scope,
        structure=q.structure,
        steps=q.steps,
        design=q.design,
        examples=_examples(mine, q),
        verdict=Verdict.BASELINE_FAILED,
        rule=q.rule,
        threshold=q.threshold,
        left_out=q.left_out,
        cost=cost_of(mine),
        study=q.study,
        id=q.id,
        keys=frozenset(q.keys),
    )
    if base is None or too_few(base, q):
        return out
    target = target_of(base, q)
    belief, gain = None, base.mean - base.chance
    if points and gain > 0 and base.chance < target.tau < base.mean + 0.05 * gain:
        belief = Belief(points, target, q.smallest, q.largest)
    adaptive = belief if q.design in ADAPTIVE else None
    curve = tuple(
        Tried(
            d,
            mean,
            sum(p.d == d for p in points),
            target.passes(mean),
            sum(bool(p.side) for p in points if p.d == d),
        )
        for d, mean in means(points, base.chance).items()
    )

    def reached(rule: str, fraction: float = 0.9) -> Crossing | None:
        asked = dataclasses.replace(target, rule=rule, fraction=fraction)
        return crossing_of(points, asked, adaptive)

    by = q.rule if q.rule != "absolute" else "chance"
    found = {f"d{level * 100:.0f}": reached(by, level) for level in LEVELS}
    found |= {f"d90_{rule}": reached(rule) for rule in ("raw", "chance")}
    # What was asked for. It is d90 unless another threshold or an absolute one was asked for.
    found["answer"] = answer = crossing_of(points, target, adaptive)
    if q.rule != "absolute" and math.isclose(q.threshold, 0.9):
        found["d90"] = answer
    checks = checks_of(mine, base, target, belief, answer, q)
    sampling = sampling_error(base, q.n_scored, q.metric, q.threshold)
    # For other examples than those of this evaluation split.
    new_data = belief.interval(target, sampling / gain) if belief and sampling else None
    return dataclasses.replace(
        out,
        verdict=verdict_of(target, answer, q, belief, checks),
        levels=levels_of(target),
        curve=curve,
        interval=Crossing(**belief.interval(target)) if belief else None,
        interval_new_data=Crossing(**new_data) if new_data else None,
        reachable=belief.reached if belief else None,
        fit=tuple(Fit(**f) for f in adaptive.band(curve[0].size, curve[-1].size))
        if adaptive and len(curve) > 1
        else None,
        found=found,
        locked=_locked(mine, answer),
        checks=checks,
    )


def _examples(records: Sequence[Record], question: Question) -> Mapping[str, int]:
    """How many examples train, tune, measure and are locked."""
    said = (r.training.splits for r in records if r.training.splits)
    return next(said, {"measure": question.n_scored})


def _locked(records: Iterable[Record], found: Crossing | None) -> Locked | None:
    """Scores on the split that decides nothing: full runs, and the runs nearest to d90."""
    if not found or not found.estimate:
        return None
    full: list[float] = []
    near: list[float] = []
    for r in records:
        value = r.training.locked
        if value is None:
            continue
        if r.kind == Purpose.BASELINE:
            full.append(value)
        elif abs(math.log2(r.training.d_total / found.estimate)) <= _LOCKED_NEAR:
            near.append(value)
    if not full or not near:
        return None
    return Locked(Mean(fmean(full), len(full)), Mean(fmean(near), len(near)))

"""The answer of a sweep, from its records."""

from __future__ import annotations

import dataclasses

from idim.answers.evidence import baseline_of, cost_of, crossing_of, levels_of, target_of
from idim.answers.verdict import verdict_of
from idim.arms import ARMS
from idim.search.threshold import Point, Target, means
from idim.values.findings import Checks, Tried
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record
from idim.values.sweep_summary import SweepSummary
from idim.values.verdict import Verdict


def sweep_summary(mine: list[Record], question: Question) -> SweepSummary:
    """Score against LoRA rank, and r90 by both rules."""
    q = question
    base, size = baseline_of(mine), ARMS[q.arm].size
    assert size is not None
    swept = {r.key: r for r in mine if r.kind == Purpose.SWEEP}
    name = size.name
    rank = {key: r.spec.settings[name] for key, r in swept.items()}
    points = [Point(rank[key], r.score) for key, r in swept.items()]
    first = next(iter(swept.values()), None)
    said = first.training.adaptation if first else {}
    out = SweepSummary(
        model=q.model,
        task=q.task,
        arm=q.arm,
        protocol=q.protocol,
        n_scored=q.n_scored,
        metric=q.metric,
        D=q.D,
        tuned=bool(q.tuned),
        alpha_rule=said.get("alpha_rule"),
        targets=tuple(said["targets"]) if said else None,
        verdict=Verdict.BASELINE_FAILED,
        rule=q.rule,
        cost=cost_of(mine),
        study=q.study,
        id=q.id,
        keys=frozenset(q.keys),
    )
    if base is None:
        return out
    target = target_of(base, q)
    trained = {rank[key]: r.training.d_total for key, r in swept.items()}
    rates = {rank[key]: r.rate for key, r in swept.items()}
    found = crossing_of(points, target, None)
    return dataclasses.replace(
        out,
        verdict=verdict_of(target, found, q, None, Checks()),
        levels=levels_of(target),
        curve=tuple(
            Tried(
                r, mean, sum(p.d == r for p in points), target.passes(mean), 0, trained[r], rates[r]
            )
            for r, mean in means(points, base.chance).items()
        ),
        r90=found,
        r90_raw=crossing_of(points, Target(base, "raw"), None),
        r90_chance=crossing_of(points, Target(base, "chance"), None),
    )

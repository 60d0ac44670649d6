"""The answer of a search, from its records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from idim.answers.checks import checks_of
from idim.answers.evidence import (
    baseline_of,
    belief_of,
    cost_of,
    crossing_of,
    levels_of,
    points_of,
    size_of,
    target_of,
    too_few,
)
from idim.answers.verdict import verdict_of
from idim.arms import ARMS
from idim.search.design import ADAPTIVE
from idim.search.pairs import SURE
from idim.search.threshold import Baseline, means, sampling_error
from idim.values.findings import Crossing, Fit, Locked, Mean, Passes, Tried
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import level_name
from idim.values.verdict import Verdict

#: The shares of full fine-tuning at which d is told.
LEVELS = (0.5, 0.75, 0.9, 0.95)
#: Runs this many octaves from d90 are taken together for the locked score.
_LOCKED_NEAR = 0.35


def search_summary(mine: list[Record], question: Question) -> SearchSummary:
    """Brackets, or intervals where the design is built on them; ``interval`` in any case."""
    missing = len({*question.keys} - {r.key for r in mine})
    # What was found without them may be another answer.
    q = dataclasses.replace(question, finished=question.finished and not missing)
    size = ARMS[q.arm].size
    letter = size.letter if size else ""
    base = baseline_of(mine, q.n_scored, q.metric)
    points = points_of(mine, q.handicaps)
    searched = {size_of(r): r for r in mine if r.kind == Purpose.SEARCH}
    out = SearchSummary(
        letter=letter,
        **_setting(q, searched.values()),
        model=q.model,
        task=q.task,
        arm=q.arm,
        protocol=q.protocol,
        metric=q.metric,
        D=q.D,
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
    # A bracket or a grid shows no interval where full fine-tuning itself falls short.
    most = math.inf if q.design in ADAPTIVE else base.mean + 0.05 * gain
    if size and points and gain > 0 and base.chance < target.tau < most:
        belief = belief_of(points, target, q)
    adaptive = belief if q.design in ADAPTIVE else None
    curve = tuple(
        Tried(
            d,
            mean,
            sum(p.d == d for p in points),
            target.passes(mean),
            sum(bool(p.side) for p in points if p.d == d),
            *((searched[d].training.d_total, searched[d].rate) if letter != "d" else ()),
        )
        for d, mean in means(points, base.chance).items()
    )

    def reached(rule: str, fraction: float) -> Crossing | None:
        asked = dataclasses.replace(target, rule=rule, fraction=fraction, absolute=None)
        return crossing_of(points, asked, adaptive)

    by = q.rule if q.rule != "absolute" else "chance"
    found, answer = {}, None
    if size:
        found = {level_name(letter, level): reached(by, level) for level in LEVELS}
        for fraction in dict.fromkeys((0.9, q.threshold)):
            name = level_name(letter, fraction)
            found |= {f"{name}_{rule}": reached(rule, fraction) for rule in ("raw", "chance")}
        # What was asked for. It is a level unless an absolute score was asked for.
        found["answer"] = answer = crossing_of(points, target, adaptive)
        if q.rule != "absolute":
            found[level_name(letter, q.threshold)] = answer
    checks = checks_of(mine, base, target, belief, answer, q)
    sampling = sampling_error(target, q.n_scored, q.metric)
    # For other examples than those of this evaluation split.
    new_data = belief.interval(target, sampling / gain) if belief and sampling else None
    # A grid of a subspace shows its means alone, as it is published.
    shown = adaptive if letter == "d" else belief
    return dataclasses.replace(
        out,
        verdict=verdict_of(target, answer, q, belief, checks),
        remark="; ".join(_remarks(out, answer, q, checks.floor, base, missing)),
        levels=levels_of(target),
        curve=curve,
        interval=Crossing(**belief.interval(target)) if belief else None,
        interval_new_data=Crossing(**new_data) if new_data else None,
        reachable=belief.reached if belief else None,
        fit=tuple(Fit(**f) for f in shown.band(curve[0].size, curve[-1].size))
        if shown and len(curve) > 1
        else None,
        found=found,
        locked=_locked(mine, answer),
        checks=checks,
    )


def _setting(question: Question, records: Iterable[Record]) -> dict[str, Any]:
    """How the arm was set up: its subspace, or what it says of itself at every size alike."""
    q, size = question, ARMS[question.arm].size
    if size and size.letter == "d":
        return {"projection": q.projection, "m": q.m, "scope": q.scope, "structure": q.structure}
    said = [r.training.adaptation for r in records if r.training.adaptation]
    first = said[0] if said else {}
    alike = {k: v for k, v in first.items() if all(s.get(k) == v for s in said)}
    return {"adapted": {k: v for k, v in alike.items() if not size or k != size.name}}


def _remarks(
    summary: SearchSummary,
    found: Crossing | None,
    question: Question,
    floor: Passes | None,
    base: Baseline,
    missing: int,
) -> Iterator[str]:
    """What the verdict alone would hide."""
    smallest, letter = question.smallest, summary.letter
    if letter != "d" and found and found.low is None and found.high == smallest:
        # An answer at the smallest size may have another cause.
        head = str(summary.adapted.get("head", "")).startswith("trained freely")
        # Where the head alone was measured, it may be known not to do.
        may = head and (floor is None or floor.probability > 1 - SURE)
        yield f"passes at {letter} = {smallest} already" + (
            ": the head alone may do" if may else ""
        )
    if missing:
        yield f"{missing} of its runs are not in the store: the same call makes them again"
    if base.se is None and not base.assumed:
        yield "one full run: whether it beats chance by more than noise is not known"


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
        elif abs(math.log2(size_of(r) / found.estimate)) <= _LOCKED_NEAR:
            near.append(value)
    if not full or not near:
        return None
    return Locked(Mean(fmean(full), len(full)), Mean(fmean(near), len(near)))

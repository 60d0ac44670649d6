"""From records to what a search reads: full fine-tuning, points, thresholds, pairs, costs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from types import MappingProxyType

from idim.arms import ARMS
from idim.search.answer import Belief, bracketed
from idim.search.design import ADAPTIVE
from idim.search.pairs import Change
from idim.search.posterior import Shares
from idim.search.threshold import Baseline, Point, Target
from idim.values.findings import Cost, Crossing, Levels, Passes
from idim.values.metric import metric
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record
from idim.values.spec import Spec
from idim.values.training import Status

#: How far a run lies from the mean of its like where a task is noisy, as a fraction of the gain.
_NOISY = 0.06


def baseline_of(
    records: Iterable[Record], n_scored: int = 0, metric_name: str = ""
) -> Baseline | None:
    """Full fine-tuning as its runs show it; None where none of them ended well.

    Chance is the better of guessing the commonest label and the untouched model. It is not known
    where neither has a score that is a number; then there is no baseline either.
    """
    runs = [r for r in records if r.kind == Purpose.BASELINE and r.score is not None]
    if not runs or (chance := chance_of(runs, runs[0].training.majority)) is None:
        return None
    base = Baseline.of([r.score for r in runs if r.score is not None], chance)
    assumed = metric(metric_name).sampling_error(base.mean, n_scored)
    return dataclasses.replace(base, assumed=assumed)


def chance_of(records: Iterable[Record], guess: float | None) -> float | None:
    """The better of guessing and of the untouched model, whose score is the mean over the records.

    Args:
        records: whose untouched models count where their score is a number.
        guess: the score of guessing the commonest label; None where nobody can guess.
    """
    untouched = [r.training.untouched for r in records if r.training.untouched is not None]
    known = ([fmean(untouched)] if untouched else []) + ([] if guess is None else [guess])
    return max(known, default=None)


def too_few(base: Baseline | None, question: Question) -> bool:
    """Whether full fine-tuning is not known well enough.

    No full run ended well; or only one did, and the design carries their error.
    """
    return base is None or (base.n < 2 and question.design in ADAPTIVE)


def size_of(record: Record) -> int:
    """The size of the arm in a run: d, or a rank; 0 where the arm, or the record, has none."""
    return size_of_spec(record.spec)


def size_of_spec(spec: Spec) -> int:
    """The size of the arm in a run that may not have been made yet."""
    size = ARMS[spec.arm].size
    found = spec.settings.get(size.name) if size else None
    return found if isinstance(found, int) else 0


def points_of(
    records: Iterable[Record], handicaps: Mapping[str, float] = MappingProxyType({})
) -> list[Point]:
    """The runs of a search as points of its curve.

    Args:
        records: all at hand; others than a search's are left aside.
        handicaps: what its rate is thought to have cost each run, by key.
    """
    points = []
    for r in records:
        if r.kind == Purpose.SEARCH:
            stopped = dataclasses.asdict(r.training.stopped) if r.training.stopped else {}
            cost = handicaps.get(r.key, 0.0)
            points.append(Point(size_of(r), r.score, **stopped, handicap=cost))
    return points


def target_of(base: Baseline, question: Question) -> Target:
    """The threshold of the question."""
    q = question
    return Target(base, q.rule, q.threshold, q.absolute, q.strict, q.loss)


def belief_of(points: Sequence[Point], target: Target, question: Question) -> Belief:
    """What the points say of the curve, over the sizes that the question may try."""
    return Belief(points, target, question.smallest, question.largest)


def pairs_of(
    records: Iterable[Record], floor: float, kind: Purpose, arm: str
) -> list[tuple[float, float, float]]:
    """Pairs of the same run with one change.

    Args:
        records: all at hand.
        floor: what a failed run scores.
        kind: why the second run was made.
        arm: the arm of both.

    Returns:
        The score of the first, that of the second, and the factor on the rate.
    """

    def same(r: Record) -> str:
        return json.dumps([r.spec.arm, r.spec.seeds, size_of(r)], sort_keys=True)

    records = list(records)
    first = {
        same(r): r
        for r in records
        if r.kind in (Purpose.SEARCH, Purpose.BASELINE) and r.status != Status.STOPPED
    }
    found = []
    for r in records:
        if r.kind == kind and r.spec.arm == arm and same(r) in first:
            one = first[same(r)]
            a, b = (floor if v.score is None else v.score for v in (one, r))
            found.append((a, b, float(f"{r.rate / one.rate:.2g}")))
    return found


def spread_of(base: Baseline) -> float:
    """How far one run of full fine-tuning lies from their mean; a guess where there is one run."""
    return base.se * math.sqrt(base.n) if base.se else 0.02 * (base.mean - base.chance)


def passes_of(runs: Sequence[Record], target: Target) -> Passes | None:
    """What runs of one size score, and how likely their mean passes; None where there is no gain.

    The runs are thought to scatter as those of full fine-tuning do, until they show otherwise.
    They may scatter as far as the gain.
    """
    base, gain = target.baseline, target.baseline.mean - target.baseline.chance
    if not runs or gain <= 0:
        return None
    scores = [base.chance if r.score is None else r.score for r in runs]
    # One full run does not show it. Then runs of a noisy task are thought of, as MRPC's.
    noise = spread_of(base) if base.se is not None else _NOISY * gain
    over = Change.of_runs([s - target.tau for s in scores], noise, gain)
    mean = over.mean + target.tau
    # The threshold is as sure as the full runs that it follows from.
    shares = Shares.of(target)
    moved = shares.slope * gain * (shares.full - 1)
    sure = sum(p * over.above(m) for p, m in zip(shares.odds, moved, strict=True))
    return Passes(mean, len(runs), (mean - base.chance) / gain, float(sure))


def crossing_of(points: Sequence[Point], target: Target, belief: Belief | None) -> Crossing | None:
    """Where the curve reaches the target: by the model of the curve, or without one a bracket."""
    found = belief.interval(target) if belief else bracketed(points, target)
    return None if found is None else Crossing(**found)


def levels_of(target: Target) -> Levels:
    base = target.baseline
    raw, chance = (Target(base, rule, target.fraction).tau for rule in ("raw", "chance"))
    return Levels(target.tau, raw, chance, base.chance, base.mean, base.se, base.n)


def cost_of(records: Iterable[Record]) -> Cost:
    runs: dict[str, int] = {}
    seconds: dict[str, float] = {}
    failed = 0
    for r in records:
        kind = str(r.kind)
        runs[kind] = runs.get(kind, 0) + 1
        seconds[kind] = round(seconds.get(kind, 0.0) + r.training.seconds, 1)
        failed += not r.status.scored
    return Cost(runs, seconds, failed)

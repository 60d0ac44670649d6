"""What a score must reach, and what a curve of scores says about where it does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Point:
    """One finished run at d. ``score`` is None where it diverged or failed: it counts as a failure to pass.

    ``side``: the run stopped early, after ``share`` of its steps, because it would end "above" or "below" ``bound``.
    ``handicap``: what its rate, off the best, is thought to have cost it, in shares of the gain.
    """

    d: int
    score: float | None
    side: str = ""
    bound: float = 0.0
    share: float = 1.0
    handicap: float = 0.0


@dataclass(frozen=True)
class Baseline:
    """The full runs: their mean, standard error over runs (None for one run), count; and the score of knowing nothing.

    ``assumed``: the error of the mean where one run cannot tell it, from the size of the evaluation split.
    """

    mean: float
    se: float | None
    n: int
    chance: float
    assumed: float = 0.0

    @classmethod
    def of(cls, scores: list[float], chance: float, assumed: float = 0.0) -> Baseline:
        se = stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
        return cls(fmean(scores), se, len(scores), chance, assumed)


@dataclass(frozen=True)
class Target:
    """What a run must reach. raw: fraction x full. chance: chance + fraction x (full - chance). absolute: the given score.

    Where scores are negative, as minus a loss is, a fraction of one means nothing, and raw is as chance. ``strict``: more than that.
    ``loss``: what the error of the rates is expected to cost a run near d90, in shares of the gain.
    """

    baseline: Baseline
    rule: str
    fraction: float = 0.9
    absolute: float | None = None
    strict: bool = False
    loss: float = 0.0

    def at(self, full: float) -> float:
        """The threshold, were ``full`` the score of full training."""
        if self.absolute is not None:
            return float(self.absolute)
        floor = self.baseline.chance if self.rule == "chance" or self.baseline.chance < 0 else 0.0
        return floor + self.fraction * (full - floor)

    @property
    def tau(self) -> float:
        return self.at(self.baseline.mean)

    def passes(self, score: float) -> bool:
        return score > self.tau if self.strict else score >= self.tau


@dataclass(frozen=True)
class Bracket:
    """``low``: the largest d that failed; ``high``: the smallest that passed. None where there is none.

    low >= high means that the runs contradict each other within their noise.
    """

    low: int | None
    high: int | None


def means(points: Iterable[Point], floor: float) -> dict[int, float]:
    """Mean score at each d, in order; a failed run counts as the floor."""
    by_d: dict[int, list[float]] = {}
    for p in points:
        by_d.setdefault(p.d, []).append(floor if p.score is None else p.score)
    return {d: fmean(by_d[d]) for d in sorted(by_d)}


def bracket(points: Iterable[Point], target: Target) -> Bracket:
    verdicts = {
        d: target.passes(score) for d, score in means(points, target.baseline.chance).items()
    }
    return Bracket(
        max((d for d, ok in verdicts.items() if not ok), default=None),
        min((d for d, ok in verdicts.items() if ok), default=None),
    )


def sampling_error(
    baseline: Baseline, n_scored: int, metric: str, fraction: float = 0.9
) -> float | None:
    """Standard error of (curve - tau) at d90 from which examples the evaluation split happens to hold.

    In units of the score; None for a metric whose error is not known. Of a right-or-wrong score: what a
    run at d90 gets right is taken to be part of what full fine-tuning gets right, so an example counts
    1 - q, -q or 0 in (right at d90) - q (right by full fine-tuning).
    """
    if metric not in ("accuracy", "exact_match") or not n_scored:
        return None
    full = min(1.0, max(0.0, baseline.mean))
    there = baseline.chance + fraction * (full - baseline.chance)
    mean = there - fraction * full
    square = there * (1 - fraction) ** 2 + (full - there) * fraction**2
    return math.sqrt(max(square - mean**2, 0.0) / n_scored)


def score_error(mean: float, n_scored: int, metric: str) -> float:
    """Standard error of one score from which examples the split happens to hold; 0 for a metric where it is not known."""
    p = min(1.0, max(0.0, mean))
    # A correlation's is about 1 / sqrt(n) where there is none to find.
    spread = {
        "accuracy": math.sqrt(p * (1 - p)),
        "exact_match": math.sqrt(p * (1 - p)),
        "matthews": 1.0,
        "pearson": 1.0,
        "spearman": 1.0,
    }
    return spread.get(metric, 0.0) / math.sqrt(n_scored) if n_scored else 0.0


def signal(baseline: Baseline, n_scored: int, metric: str) -> bool:
    """Whether full training beats chance by four standard errors: of the runs, or of the scored sample if that is larger."""
    return baseline.mean - baseline.chance > 4 * max(
        score_error(baseline.mean, n_scored, metric), baseline.se or 0.0
    )

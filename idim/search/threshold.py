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
    """

    d: int
    score: float | None
    side: str = ""
    bound: float = 0.0
    share: float = 1.0


@dataclass(frozen=True)
class Baseline:
    """The full runs: their mean, standard error over runs (None for one run), count; and the score of knowing nothing."""

    mean: float
    se: float | None
    n: int
    chance: float

    @classmethod
    def of(cls, scores: list[float], chance: float) -> Baseline:
        se = stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
        return cls(fmean(scores), se, len(scores), chance)


@dataclass(frozen=True)
class Target:
    """What a run must reach. raw: fraction x full. chance: chance + fraction x (full - chance). absolute: the given score.

    Where scores are negative, as minus a loss is, a fraction of one means nothing, and raw is as chance. ``strict``: more than that.
    """

    baseline: Baseline
    rule: str
    fraction: float = 0.9
    absolute: float | None = None
    strict: bool = False

    def at(self, full: float) -> float:
        """The threshold, were ``full`` the score of full training."""
        if self.rule == "absolute":
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
    verdicts = {d: target.passes(score) for d, score in means(points, target.baseline.chance).items()}
    return Bracket(
        max((d for d, ok in verdicts.items() if not ok), default=None),
        min((d for d, ok in verdicts.items() if ok), default=None),
    )


def signal(baseline: Baseline, n_scored: int, metric: str) -> bool:
    """Whether full training beats chance by four standard errors: of the runs, or of the scored sample if that is larger."""
    p = min(1.0, max(0.0, baseline.mean))
    # A correlation's sampling error is about 1 / sqrt(n) where there is none to find; of a user's own metric it is not known.
    spread = math.sqrt(p * (1 - p)) if metric in ("accuracy", "exact_match") else 1.0 if metric in ("matthews", "pearson", "spearman") else 0.0
    sampling = spread / math.sqrt(n_scored) if n_scored else 0.0
    return baseline.mean - baseline.chance > 4 * max(sampling, baseline.se or 0.0)

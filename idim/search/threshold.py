"""What a score must reach, the bracket of runs that fail and pass, and the errors of scores."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Point:
    """One finished run.

    Args:
        d: where it ran.
        score: its final score. None if the run diverged or failed: that counts as not passing.
        side: "above" or "below" if the run stopped early, because it would end on that side of
            ``bound``. Else "".
        bound: the threshold that it was compared with.
        share: the fraction of its steps that it made.
        handicap: what its rate is thought to have cost it, as a fraction of the gain, because the
            rate was not the best.
    """

    d: int
    score: float | None
    side: str = ""
    bound: float = 0.0
    share: float = 1.0
    handicap: float = 0.0


@dataclass(frozen=True)
class Baseline:
    """The runs of full fine-tuning. The gain is their mean minus chance.

    Args:
        mean: their mean score.
        se: the standard error of the mean, from the spread of the runs. None if there is one run.
        n: the number of runs.
        chance: the score of knowing nothing.
        assumed: the standard error of the mean if there is one run, from the size of the evaluation
            split.
    """

    mean: float
    se: float | None
    n: int
    chance: float
    assumed: float = 0.0

    @classmethod
    def of(cls, scores: list[float], chance: float, assumed: float = 0.0) -> Baseline:
        """The baseline that these scores of full fine-tuning make."""
        se = stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
        return cls(fmean(scores), se, len(scores), chance, assumed)


@dataclass(frozen=True)
class Target:
    """What a run must reach: the threshold tau.

    The rule "raw" asks for fraction x full. The rule "chance" asks for chance + fraction x (full -
    chance). Where chance is negative, as it is for minus a loss, a fraction of a score means
    nothing. There "raw" is the same as "chance".

    Args:
        baseline: the runs of full fine-tuning.
        rule: "raw", "chance" or "absolute".
        fraction: the fraction that the rule asks for.
        absolute: the threshold itself. If it is given, ``rule`` and ``fraction`` do not count.
        strict: whether a run must score more than tau. Else tau itself passes.
        loss: what the error of the rates is expected to cost a run near d90, as a fraction of the
            gain.
    """

    baseline: Baseline
    rule: str
    fraction: float = 0.9
    absolute: float | None = None
    strict: bool = False
    loss: float = 0.0

    def at(self, full: float) -> float:
        """The threshold if full fine-tuning scored ``full``."""
        if self.absolute is not None:
            return float(self.absolute)
        floor = self.baseline.chance if self.rule == "chance" or self.baseline.chance < 0 else 0.0
        return floor + self.fraction * (full - floor)

    @property
    def slope(self) -> float:
        """How much the threshold rises with the score of full fine-tuning."""
        return self.at(1.0) - self.at(0.0)

    @property
    def tau(self) -> float:
        """The threshold, at the mean of the full runs."""
        return self.at(self.baseline.mean)

    def passes(self, score: float) -> bool:
        """Whether a score reaches tau."""
        return score > self.tau if self.strict else score >= self.tau


@dataclass(frozen=True)
class Bracket:
    """The largest d that failed, ``low``, and the smallest d that passed, ``high``.

    Each is None if there is no such d. If low >= high, the runs contradict each other.
    """

    low: int | None
    high: int | None


def means(points: Iterable[Point], floor: float) -> dict[int, float]:
    """The mean score at each d, in the order of d. A failed run scores the floor."""
    by_d: dict[int, list[float]] = {}
    for p in points:
        by_d.setdefault(p.d, []).append(floor if p.score is None else p.score)
    return {d: fmean(by_d[d]) for d in sorted(by_d)}


def bracket(points: Iterable[Point], target: Target) -> Bracket:
    """The bracket of d90. The mean score at each d decides whether that d passes."""
    verdicts = {
        d: target.passes(score) for d, score in means(points, target.baseline.chance).items()
    }
    return Bracket(
        max((d for d, ok in verdicts.items() if not ok), default=None),
        min((d for d, ok in verdicts.items() if ok), default=None),
    )


def sampling_error(target: Target, n_scored: int, metric: str) -> float | None:
    """The standard error of (curve - tau) at d90 that comes from the choice of evaluation examples.

    With it an interval holds for new data too. It is known for scores that count right answers.
    There the examples that the better of two models gets right are taken to hold all that the
    other gets right. Where full fine-tuning is the better one, and tau rises by q with its score,
    an example adds 1 - q, -q or 0 to (right at d90) - q (right by full fine-tuning).

    Args:
        target: what is asked for. An absolute threshold does not move with full fine-tuning.
        n_scored: the number of examples in the evaluation split.
        metric: the name of the metric.

    Returns:
        The error in units of the score. None if it is not known for the metric.
    """
    if metric not in ("accuracy", "exact_match") or not n_scored:
        return None
    q = target.slope
    full, there = (min(1.0, max(0.0, v)) for v in (target.baseline.mean, target.tau))
    both, mean = min(full, there), there - q * full
    square = both * (1 - q) ** 2 + (full - both) * q**2 + (there - both)
    return math.sqrt(max(square - mean**2, 0.0) / n_scored)


def score_error(mean: float, n_scored: int, metric: str) -> float:
    """The standard error of one score that comes from the choice of the split's examples.

    Args:
        mean: the expected score.
        n_scored: the number of examples in the split.
        metric: the name of the metric.

    Returns:
        The error in units of the score. 0 if it is not known for the metric.
    """
    p = min(1.0, max(0.0, mean))
    # The standard error of a correlation is about 1 / sqrt(n) if the true correlation is 0.
    spread = {
        "accuracy": math.sqrt(p * (1 - p)),
        "exact_match": math.sqrt(p * (1 - p)),
        "matthews": 1.0,
        "pearson": 1.0,
        "spearman": 1.0,
    }
    return spread.get(metric, 0.0) / math.sqrt(n_scored) if n_scored else 0.0


def signal(baseline: Baseline, n_scored: int, metric: str) -> bool:
    """Whether full fine-tuning beats chance by more than four standard errors.

    The error is that of the runs or that of the scored examples, whichever is larger.
    """
    return baseline.mean - baseline.chance > 4 * max(
        score_error(baseline.mean, n_scored, metric), baseline.se or 0.0
    )

"""The metrics: what a score may be, how it is made, and how far it errs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: An array of labels or guesses: NumPy's, or what NumPy can read, as a tensor on the CPU.
Labels = Any

_ROUNDING = 1e-6


class Better(StrEnum):
    """Which way a metric improves, as its users know it."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True)
class Metric:
    """One metric.

    A stored score is always better when it is higher. A metric that is better when it is lower
    is stored with its sign turned, and its name says so: ``-loss``.
    """

    name: str
    better: Better = Better.HIGHER
    #: The smallest and the largest score.
    low: float = -math.inf
    high: float = math.inf
    #: (truth, guess) -> score; None where the model's own output is needed.
    score: Callable[[Labels, Labels], float] | None = None
    #: truth -> the score of guessing the commonest label; None where no guess applies.
    chance: Callable[[Labels], float] | None = None

    def holds(self, score: float) -> bool:
        """Whether the metric can have this score."""
        return self.low - _ROUNDING <= score <= self.high + _ROUNDING

    def sampling_error(self, value: float, n: int) -> float:
        """The standard error of a score on ``n`` examples; 0 where it is not known."""
        # The search holds the formulas, by name. Imported here because it loads NumPy.
        from idim.search.threshold import score_error

        return score_error(value, n, self.name)


def metric(name: str) -> Metric:
    """The metric of this name. One that a program brings may have any score."""
    return METRICS.get(name, Metric(name))


def _accuracy(truth: Labels, guess: Labels) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(truth, guess))


def _matthews(truth: Labels, guess: Labels) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(truth, guess))


def _correlation(name: str) -> Callable[[Labels, Labels], float]:
    """A correlation of scipy's; 0 where either side is constant."""

    def score(truth: Labels, guess: Labels) -> float:
        import numpy as np
        from scipy import stats

        a, b = (np.asarray(values, dtype=np.float64) for values in (truth, guess))
        return float(getattr(stats, name)(a, b).statistic) if np.ptp(a) and np.ptp(b) else 0.0

    return score


def _commonest(truth: Labels) -> float:
    import numpy as np

    counts = np.unique(np.asarray(truth), return_counts=True)[1]
    return float(counts.max()) / max(1, len(np.asarray(truth)))


def _nothing(truth: Labels) -> float:
    return 0.0


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("accuracy", low=0.0, high=1.0, score=_accuracy, chance=_commonest),
        Metric("token_accuracy", low=0.0, high=1.0),
        Metric("exact_match", low=0.0, high=1.0),
        Metric("matthews", low=-1.0, high=1.0, score=_matthews, chance=_nothing),
        Metric("pearson", low=-1.0, high=1.0, score=_correlation("pearsonr"), chance=_nothing),
        Metric("spearman", low=-1.0, high=1.0, score=_correlation("spearmanr"), chance=_nothing),
        Metric("-loss", Better.LOWER, high=0.0),
    )
}

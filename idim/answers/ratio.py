"""How many times as large one d90 is as another, with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from idim.answers.evidence import baseline_of, belief_of, points_of, target_of, too_few
from idim.errors import IdimError, expected
from idim.search.design import LEVEL, TAILS
from idim.values.findings import Comparison, Ratio
from idim.values.question import Question
from idim.values.record import Record
from idim.values.summary import asked_name

#: Quantiles of each x90 that stand for its distribution.
_NODES = np.linspace(0.0005, 0.9995, 1000)


@dataclass(frozen=True)
class _Places:
    """Quantiles of log2 d90, as the answer of its search is told: a whole number that can be tried.

    Attributes:
        least, middle, most: (1000,). They differ where d90 may lie below the smallest d, or above
            the largest, or nowhere.
    """

    least: np.ndarray
    middle: np.ndarray
    most: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, smallest: int, largest: int) -> _Places:
        """``x``: quantiles of where the curve crosses, infinite where it never does."""
        below, above = x < math.log2(smallest) - 1e-9, x > math.log2(largest) + 1e-9
        d = 2 ** np.minimum(x, math.log2(largest) + 1)
        down, up = (
            np.log2(np.clip(whole, smallest, largest))
            for whole in (np.floor(d + 1e-9), np.ceil(d - 1e-9))
        )
        up = np.where(above, np.inf, up)
        return cls(np.where(below, -np.inf, down), up, up)


def ratio(records: Iterable[Record], one: Question, other: Question) -> Ratio:
    """d90 of ``one`` over d90 of ``other``.

    Both curves are taken as independent. Runs that both questions share, as the full runs of SAID
    and DID, make the interval a little too wide.

    Args:
        records: all at hand.
        one, other: two questions, each of an arm that has a d.

    Returns:
        The middle of the ratio's distribution and its interval. An end is None where one of the
        curves may never cross, so that nothing bounds the ratio there.

    Raises:
        IdimError: a question's runs give no curve, or most likely no d that can be tried passes.

    Cost: two posteriors, and three quantiles of a million differences.
    """
    mine = list(records)
    a, b = _places(mine, one), _places(mine, other)
    # Where neither curve may ever cross, the ratio may be anything.
    ends = [
        _quantile(above, below, p, unknown)
        for p, above, below, unknown in zip(
            TAILS,
            (a.least, a.middle, a.most),
            (b.most, b.middle, b.least),
            (-np.inf, 0.0, np.inf),
            strict=True,
        )
    ]
    low, estimate, high = (2**v if math.isfinite(v) else None for v in ends)
    return Ratio(estimate, low, high, LEVEL)


def _quantile(above: np.ndarray, below: np.ndarray, p: float, unknown: float) -> float:
    """A quantile of all differences. ``unknown`` stands for infinity less infinity."""
    with np.errstate(invalid="ignore"):
        octaves = (above[:, None] - below[None, :]).ravel()
    known = np.nan_to_num(octaves, nan=unknown, posinf=np.inf, neginf=-np.inf)
    return float(np.quantile(known, p, method="nearest"))


def ratios(
    records: Iterable[Record], questions: Sequence[Question], letters: Mapping[str, str]
) -> list[Comparison]:
    """The ratio of every two questions on one model, task and budget that ask for the same.

    Args:
        records: all at hand.
        questions: in the order in which they are to be told.
        letters: the letter of each arm's size.

    Returns:
        One for each pair whose runs give two curves.

    Cost: that of ``ratio`` for each pair.
    """
    mine, found = list(records), []
    for one, other in combinations(questions, 2):
        unit = letters.get(one.arm)
        name = asked_name(unit or "", one.rule, one.threshold, one.absolute)
        same = asked_name(letters.get(other.arm, ""), other.rule, other.threshold, other.absolute)
        if one.study != other.study or not unit or name != same:
            continue
        try:
            times = ratio(mine, one, other)
        except IdimError:  # one of them has no curve, and its summary says so
            continue
        found.append(Comparison(one.model, one.task, name, one.arm, other.arm, times))
    return found


def _places(records: list[Record], question: Question) -> _Places:
    """Where d90 may lie.

    Raises:
        IdimError: the runs give no curve, or one that most likely crosses at no d that can be
            tried.
    """
    mine = question.of(records)
    base, points = baseline_of(mine, question.n_scored, question.metric), None
    if base is not None and not too_few(base, question):
        points = points_of(mine, question.handicaps)
    if base is None or not points:
        raise expected("ratio", "a search with full runs and runs at some d", question.id)
    target = target_of(base, question)
    x = belief_of(points, target, question).known.quantile(_NODES)
    found = _Places.of(x, question.smallest, question.largest)
    if math.isinf(np.median(found.middle)):
        what = f"runs that reach the threshold at {question.largest} or below"
        raise expected("ratio", what, question.id)
    return found

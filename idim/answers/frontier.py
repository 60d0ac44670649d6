"""Score against trained numbers: every arm of a study on one scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, stdev

from idim.answers.evidence import baseline_of, levels_of, passes_of, size_of, target_of
from idim.arms import ARMS
from idim.search.threshold import Target
from idim.values.findings import Levels
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record
from idim.values.training import Status


@dataclass(frozen=True)
class Place:
    """One arm at one size.

    Attributes:
        arm, letter, size: the size is 0 for an arm that has none.
        trained: the numbers that it trains, its head included.
        mean, error, n: of its scores. The error is that of the mean; None for one run.
        share: of what full fine-tuning gains.
        probability: how likely its mean passes.
        seconds: of one step.
        memory: bytes, at the peak of a run.
        merges: whether its result can be folded into the model's own weights.
    """

    arm: str
    letter: str
    size: int
    trained: int
    mean: float
    error: float | None
    n: int
    share: float
    probability: float
    seconds: float
    memory: int
    merges: bool

    @property
    def file_bytes(self) -> int:
        """Of what it trains, in fp32."""
        return 4 * self.trained


#: A size passes where it is this likely.
SURE = 0.95


def places(records: Iterable[Record], questions: Sequence[Question]) -> list[Place]:
    """Every size of every arm that these questions tried, smallest first.

    Args:
        records: all at hand.
        questions: of one study, whose full runs they share.
    """
    mine, found = list(records), []
    for question in questions:
        runs = question.of(mine)
        base = baseline_of(runs, question.n_scored, question.metric)
        if base is None or base.mean <= base.chance:
            continue
        target = target_of(base, question)
        whole = [r for r in runs if r.kind == Purpose.SEARCH and r.status != Status.STOPPED]
        for size in sorted({size_of(r) for r in whole}):
            found.append(_place([r for r in whole if size_of(r) == size], target))
    return sorted(found, key=lambda p: (p.trained, p.arm))


def cheapest(found: Iterable[Place]) -> Place | None:
    """The place with the fewest trained numbers that surely passes; None where none does."""
    return min((p for p in found if p.probability >= SURE), key=lambda p: p.trained, default=None)


def levels(records: Iterable[Record], questions: Sequence[Question]) -> Levels | None:
    """Full fine-tuning and the thresholds, from the first question that has them."""
    mine = list(records)
    for question in questions:
        base = baseline_of(question.of(mine), question.n_scored, question.metric)
        if base is not None:
            return levels_of(target_of(base, question))
    return None


def _place(runs: list[Record], target: Target) -> Place:
    first, passes = runs[0], passes_of(runs, target)
    assert passes is not None  # full fine-tuning gains something
    arm = ARMS[first.spec.arm]
    scores = [target.baseline.chance if r.score is None else r.score for r in runs]
    return Place(
        arm=arm.name,
        letter=arm.size.letter if arm.size else "",
        size=size_of(first),
        # A run that failed early has not counted them.
        trained=max(r.training.d_total for r in runs),
        mean=passes.mean,
        error=stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None,
        n=passes.n,
        share=passes.share,
        probability=passes.probability,
        seconds=median(r.training.seconds / max(1, r.training.steps) for r in runs),
        memory=max(r.training.peak_memory_bytes for r in runs),
        merges=arm.merges,
    )

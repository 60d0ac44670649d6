"""Whether records can answer a question."""

from __future__ import annotations

from collections.abc import Iterable

from idim.answers.evidence import size_of
from idim.arms import ARMS, FLOOR, FULL
from idim.values.fields import Unfit, same
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record


def check_answers(question: Question, records: Iterable[Record]) -> None:
    """Check that a question's records can answer it.

    Args:
        question: with the keys of its runs.
        records: all that are at hand; others than its own are left aside.

    Raises:
        Unfit: names the run that cannot.
    """
    size = ARMS[question.arm].size
    over_d = size is not None and size.letter == "d"
    either = (FULL, question.arm)
    arms = {
        Purpose.BASELINE: (FULL,),
        Purpose.TUNE: (*either, FLOOR),
        Purpose.CHECK: either,
        Purpose.FLOOR: (FLOOR,),
    }
    for r in question.of(records):
        name = f"run {r.key}"
        for what, a, b in (
            ("model", r.spec.model, question.model),
            ("task", r.spec.task, question.task),
            ("metric", r.training.metric, question.metric),
        ):
            same(f"{what} of {name} and of the question", a, b)
        # Early records of arms that add weights count the added ones in D.
        if over_d or r.spec.arm == FULL:
            same(f"D of {name} and of the question", r.setting.D, question.D)
        allowed = arms.get(r.kind, (question.arm,))
        if r.spec.arm not in allowed:
            raise Unfit(f"arm of {name}: expected {' or '.join(allowed)}; got {r.spec.arm}")
        low, high, there = question.smallest, question.largest, size_of(r)
        if size and r.kind == Purpose.SEARCH and not low <= there <= high:
            raise Unfit(f"{size.letter} of {name}: expected {low} to {high}; got {there}")

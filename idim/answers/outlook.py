"""What a search knows so far, and what it still expects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from idim.answers.evidence import baseline_of, belief_of, crossing_of, points_of, target_of
from idim.search.design import ADAPTIVE, Limits
from idim.search.expected import runs_left
from idim.values.outlook import Outlook
from idim.values.question import Question
from idim.values.record import Record
from idim.values.summary import asked_name

#: Runs of the checks after a search, in runs of the whole budget: pairs at twice the budget, and
#: at other rates.
BUDGET_CHECK, RATE_CHECK = 6, 6


def outlook_of(
    question: Question,
    limits: Limits,
    letter: str,
    full: Sequence[Record],
    history: Sequence[Record],
    checks: int = 0,
    workers: int = 1,
) -> Outlook | None:
    """What a stop now would answer, and what the rest will take.

    Args:
        question: what is asked.
        limits: what may be tried.
        letter: of the size.
        full: the runs of full fine-tuning.
        history: the runs of the search so far.
        checks: the runs that follow a search.
        workers: how many runs are made at once.

    Returns:
        None where full fine-tuning gains nothing over chance, or no run was made.

    Cost: one posterior.
    """
    base = baseline_of(full, question.n_scored, question.metric)
    if base is None or base.mean <= base.chance or not history:
        return None
    target = target_of(base, question)
    points = points_of(history, question.handicaps)
    belief = belief_of(points, target, question)
    adaptive = question.design in ADAPTIVE
    found = crossing_of(points, target, belief if adaptive else None)
    width = math.inf
    if found and found.estimate and found.low and found.high:
        width = max(math.log2(found.high / found.estimate), math.log2(found.estimate / found.low))
    more = runs_left(question.design, limits, len(history), width) + checks
    each = fmean(r.training.seconds for r in history)
    name = asked_name(letter, question.rule, question.threshold, question.absolute)
    return Outlook(name, found, len(history), more, more * each / max(workers, 1))

"""Whether the learning curve of a run already tells on which side of tau the run will end."""

from __future__ import annotations

from collections.abc import Sequence

#: No learning curve is judged before this fraction of the budget.
_EARLIEST = 0.25
#: A learning curve slows down. In the rest of the budget its pace is at most this fraction of its
#: average pace so far.
_PACE = 0.5
#: Fractions of the way from chance to tau. A run that passes must pass by at least the first. A run
#: that is too slow must have gained more than the second, the margin for noise included.
_SPARE, _BEGUN = 0.02, 0.2


#: A verdict must hold even if the score moves towards tau by this many standard deviations of one
#: run. So a task with few examples stops few runs.
_NOISES = 4.0


def outlook(
    curve: Sequence[tuple[float, float]], tau: float, chance: float, noise: float = 0.0
) -> str:
    """On which side of tau a run will end, if its learning curve so far makes that all but sure.

    "above": the last score and the mean of the last three both pass tau with a margin. "below": at
    half of its average pace so far, the run would not reach tau in the rest of its budget. A run
    that has hardly begun to learn is not judged, because a plateau may end. Margins grow with
    ``noise``.

    Args:
        curve: pairs (fraction of the budget, score). The first is the untouched model's.
        tau: the threshold.
        chance: the score of knowing nothing.
        noise: the standard deviation of one run's score.

    Returns:
        "above" or "below", or "" if the run must go on.
    """
    share, last = curve[-1]
    if not _EARLIEST <= share < 1 or len(curve) < 4:
        return ""
    smooth, way = sum(score for _, score in curve[-3:]) / 3, tau - chance
    if min(smooth, last) >= tau + max(_SPARE * way, _NOISES * noise):
        return "above"
    gain = max(smooth, last) + _NOISES * noise - chance
    if gain > _BEGUN * way and gain * (1 + _PACE * (1 - share) / share) < way:
        return "below"
    return ""

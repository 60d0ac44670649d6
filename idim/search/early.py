"""Whether a run's outcome is already known, from its learning curve so far."""

from __future__ import annotations

from collections.abc import Sequence

#: No curve is judged before this share of the budget.
_EARLIEST = 0.25
#: How much of its gain so far a curve may add in what is left of its budget, at the same pace: a curve that learns slows down.
_PACE = 0.5
#: Shares of the way from chance to tau: what a curve that passes must have to spare, and what it must have learned to be called too slow.
_SPARE, _BEGUN = 0.02, 0.2


#: How many times one run's noise a score must lie beyond tau, so that a task of few examples stops few runs.
_NOISES = 4.0


def outlook(
    curve: Sequence[tuple[float, float]], tau: float, chance: float, noise: float = 0.0
) -> str:
    """ "above" or "below" tau, where the run is all but sure to end there; else "".

    ``curve``: (share of the budget, score), the untouched score first. ``noise``: standard deviation of one run's score. Above: the last score and the mean of the last three pass with something to
    spare. Below: not even half the average pace so far would reach tau in the rest of the budget. A run that has not begun to learn is left alone:
    plateaus end.
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

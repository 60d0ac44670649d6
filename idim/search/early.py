"""Whether a run's outcome is already known, from its learning curve so far."""

from __future__ import annotations

from collections.abc import Sequence

#: No curve is judged before this share of the budget.
_EARLIEST = 0.25
#: How much of its gain so far a curve may add in what is left of its budget, at the same pace: a curve that learns slows down.
_PACE = 0.5


def outlook(curve: Sequence[tuple[float, float]], tau: float, chance: float) -> str:
    """"above" or "below" tau, where the run is sure to end there; else "".

    ``curve``: (share of the budget, score), the untouched score first. Above: the mean of the last three scores, and the last, pass by a margin of a
    fifth of the way from chance to tau that an early pass has left to lose. Below: even at half the average pace so far the rest would not be enough.
    """
    share, last = curve[-1]
    if share < _EARLIEST or share >= 1 or len(curve) < 4:
        return ""
    smooth = sum(score for _, score in curve[-3:]) / 3
    if min(smooth, last) >= tau + 0.02 * (tau - chance):
        return "above"
    forecast = max(smooth, last) + _PACE * max(0.0, max(smooth, last) - chance) * (1 - share) / share
    # A run that has not begun to learn may begin yet: plateaus end.
    if last - chance > 0.2 * (tau - chance) and forecast < tau:
        return "below"
    return ""

"""The scores of a search by size, as a table."""

from __future__ import annotations

import pandas as pd

from idim.values.summary import Summary


def curve_frame(s: Summary) -> pd.DataFrame:
    """One row a size: the numbers that it trains, its rate, its mean score, and whether it passes.

    Columns that say nothing are left out.
    """
    frame = pd.DataFrame(
        {
            s.letter: t.size,
            "d_total": t.trained,
            "rate": t.rate,
            "mean": t.mean,
            "n": t.n,
            "stopped": t.stopped,
            "passes": "yes" if t.passes else "no",
        }
        for t in s.curve
    )
    if s.letter == "d":
        frame = frame.drop(columns=["d_total", "rate"])
    if not s.letter:
        frame = frame.drop(columns=s.letter)
    if not frame["stopped"].any():
        frame = frame.drop(columns="stopped")
    return frame

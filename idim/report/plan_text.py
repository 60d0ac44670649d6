"""The plan of a search before it: what will be run, how long that takes, and how much memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd


def plan_text(
    title: str, parts: Iterable[Mapping[str, object]], total: tuple[str, str, str], memory: int
) -> str:
    """A row for each purpose, and what all takes.

    Args:
        title: what is measured.
        parts: each with purpose, arm, least, usual, most, steps and seconds.
        total: the least, the usual and the longest time, in words.
        memory: bytes at the peak of a run.
    """
    rows = [
        {
            "purpose": p["purpose"],
            "arm": p["arm"],
            "runs": f"{p['usual']}"
            + ("" if p["least"] == p["most"] else f" ({p['least']} to {p['most']})"),
            "steps": f"{p['steps']:,}",
            "seconds a run": f"{p['seconds']:.1f}",
        }
        for p in parts
    ]
    least, usual, most = total
    return "\n".join(
        [
            title,
            "",
            str(pd.DataFrame(rows).to_string(index=False)),
            "",
            f"all together about {usual} ({least} to {most}), at most {memory / 1e6:,.0f} MB",
            "Nothing was kept. Seconds are those of a few steps on this machine now.",
        ]
    )

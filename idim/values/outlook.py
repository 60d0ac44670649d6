"""What a search knows before its end, and what it still expects."""

from __future__ import annotations

from dataclasses import dataclass

from idim.values.findings import Crossing


@dataclass(frozen=True)
class Outlook:
    """What a stop now would answer, and what the rest is expected to take."""

    #: What the answer is called: d90.
    name: str
    answer: Crossing | None
    #: Runs of the search so far, and how many more are expected, the checks included.
    runs: int
    more: int
    #: Seconds that these are expected to take; None before any run was made.
    seconds: float | None

"""What the texts of a search and of a sweep have in common."""

from __future__ import annotations

import pandas as pd

from idim.values.findings import Comparison, Crossing, Ratio
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.sweep_summary import SweepSummary


def answer_of(s: Summary) -> Crossing | None:
    """Where the threshold that was asked for is reached: an interval, or a bracket."""
    if isinstance(s, SweepSummary):
        return s.r90
    return s.answer if isinstance(s, SearchSummary) else None


def interval_of(s: Summary) -> Crossing | None:
    """The 90 % interval by the model of the curve; None where there is none."""
    return s.interval if isinstance(s, SearchSummary) else None


def bracket_of(s: Summary) -> Crossing | None:
    """The bracket, where the design of the search ends with one."""
    found = answer_of(s)
    return None if found is None or found.level else found


def answer_text(found: Crossing | None) -> str:
    """A bracket ``512 < d <= 1024`` as ``(512, 1024]``; an interval as ``760 [690, 850]``."""
    if not found:
        return "not measured"
    low, high = found.low, found.high
    if found.level:
        if found.estimate is None:
            return f"> {low}" if low else "not bounded"
        return f"{found.estimate} [{low or '..'}, {high or '..'}]"
    if high is None:
        return f"> {low}"
    if low is None:
        return f"<= {high}"
    return f"({low}, {high}]" if low < high else f"{high} passes, {low} fails"


def ratio_text(found: Ratio) -> str:
    """A ratio with its interval: ``3.7 [2.4, 4.8]``. Two dots where nothing bounds it."""
    low, middle, high = (
        ".." if v is None else f"{v:.1f}" for v in (found.low, found.estimate, found.high)
    )
    return f"{middle} [{low}, {high}]"


def comparison_text(found: Comparison) -> str:
    """One line for each pair of arms, as `idim compare` prints it below its table."""
    return (
        f"{found.model} × {found.task}: {found.name} of {found.one} over that of "
        f"{found.other} = {ratio_text(found.ratio)}"
    )


def shown(frame: pd.DataFrame) -> str:
    """A table, its numbers with four places."""
    text: str = frame.to_string(index=False, float_format=lambda v: f"{v:.4f}")
    return text


def cost_text(s: Summary) -> str:
    """The line that says how many runs were trained, and how long."""
    runs, seconds, failed = s.cost.runs, s.cost.seconds, s.cost.failed_runs
    kinds = ", ".join(f"{n} {kind} ({seconds[kind]:.0f} s)" for kind, n in runs.items())
    return (
        f"cost: {sum(runs.values())} runs, {sum(seconds.values()):.0f} s of training: {kinds}"
        + (f", {failed} of them failed" if failed else "")
    )

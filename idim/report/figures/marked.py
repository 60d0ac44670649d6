"""Points that know their records: a page shows what a run was where the pointer rests on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from idim.answers.evidence import size_of
from idim.arms import ARMS
from idim.report.words import answer_of
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.summary import Summary
from idim.values.training import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: How the name of a point in an SVG begins; the record's key follows.
RUN = "run:"
#: The runs that a curve is made of.
CURVE = (Purpose.SEARCH, Purpose.SWEEP)


def runs_of(records: Iterable[Record], summary: Summary, *kinds: Purpose) -> list[Record]:
    """The summary's own runs of these kinds that have a score."""
    return [r for r in records if r.kind in kinds and r.key in summary.keys and r.score is not None]


def by_master_seed(records: Sequence[Record], summaries: Sequence[Summary]) -> list[list[Summary]]:
    """The searches of a study by their full runs: those of one master seed share some."""
    full = {r.key for r in records if r.kind == Purpose.BASELINE}
    groups: list[list[Summary]] = []
    for summary in summaries:
        shared = [g for g in groups if any(s.keys & summary.keys & full for s in g)]
        for group in shared:
            groups.remove(group)
        groups.append([s for group in shared for s in group] + [summary])
    return groups


def scaled(records: Iterable[Record]) -> list[Record]:
    """The runs of a curve that kept their learned scales, with the names of the layers."""
    return [
        r
        for r in records
        if r.kind in CURVE
        and isinstance(said := r.training.adaptation.get("scales"), list)
        and isinstance(names := r.training.adaptation.get("groups"), list)
        and len(said) == len(names) > 0
        and all(isinstance(v, (int, float)) for v in said)
    ]


def nearest(records: Sequence[Record], summary: Summary) -> Record | None:
    """The run of a search nearest to its answer that says which P it used; None without one."""
    found = answer_of(summary)
    goal = found.estimate if found and found.estimate else 0
    mine = [
        r
        for r in records
        if r.key in summary.keys
        and r.kind == Purpose.SEARCH
        and isinstance(r.training.adaptation.get("projection"), dict)
    ]
    return min(mine, key=lambda r: abs(size_of(r) - goal), default=None)


def point(axes: Axes, x: float, record: Record, y: float | None = None, **how: Any) -> None:
    """One run as a point at its score, or at ``y``."""
    at = y if y is not None else 0.0 if record.score is None else record.score
    axes.plot([x], [at], ls="none", gid=RUN + record.key, **how)


def said_of(record: Record) -> str:
    """A run in one line, as a page shows it where the pointer rests."""
    size, training = ARMS[record.spec.arm].size, record.training
    parts = [f"{record.kind} run, {ARMS[record.spec.arm].shown}"]
    if size:
        parts.append(f"{size.letter} = {size_of(record):,}")
    score = "no score" if record.score is None else f"{training.metric} {record.score:.4f}"
    parts += [
        score,
        f"rate {record.rate:.3g}",
        f"{training.steps:,} steps",
        f"{training.seconds:,.0f} s",
        f"record {record.key}",
    ]
    if record.status != Status.OK:
        parts.insert(2, str(record.status))
    return ", ".join(parts)

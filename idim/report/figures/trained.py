"""Score against trained numbers: every arm of a study on one axis, and published results."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from idim.answers.evidence import size_of
from idim.answers.frontier import Place
from idim.answers.imported import Imported
from idim.arms import ARMS
from idim.report.figures.against_size import draw_levels
from idim.report.figures.marked import CURVE
from idim.report.style import MID, drawn, legend, panels, short, size_axis, style
from idim.values.findings import Fit, Levels
from idim.values.record import Record
from idim.values.summary import Summary
from idim.values.training import Status

_TRAINED = "trained numbers (a freely trained head included)"

#: The most sizes whose means are joined.
_JOINED = 8


@dataclass(frozen=True)
class Reached:
    """What runs of one arm and size score: the mean, its standard error (None: one run), n.

    ``shots``: the size of an arm that trains nothing; else 0.
    """

    arm: str
    trained: int
    mean: float
    error: float | None
    n: int
    shots: int = 0


def reached(records: Sequence[Record], summaries: Sequence[Summary]) -> list[Reached]:
    """One row for each arm and number of trained numbers, over all searches of a study.

    A run that failed scores chance.
    """
    by: dict[tuple[str, int, int], list[float]] = {}
    for summary in summaries:
        if summary.levels is None:
            continue
        mine = [r for r in records if r.key in summary.keys and r.kind in CURVE]
        runs = [r for r in mine if r.status != Status.STOPPED]
        # A run that failed early has not counted them.
        counted = {size_of(r): r.training.d_total for r in runs if r.training.d_total}
        for run in runs:
            arm, size = run.spec.arm, size_of(run)
            shots = size if ARMS[arm].trainless else 0
            trained = 0 if shots else counted.get(size, size)
            score = summary.levels.chance if run.score is None else run.score
            by.setdefault((arm, trained, shots), []).append(score)
    rows = []
    for (arm, trained, shots), scores in sorted(by.items()):
        error = stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
        rows.append(Reached(arm, trained, fmean(scores), error, len(scores), shots))
    return rows


def of_places(found: Sequence[Place]) -> list[Reached]:
    """The places of a frontier, as rows of the figure."""
    return [
        Reached(p.arm, p.trained, p.mean, p.error, p.n, p.size if ARMS[p.arm].trainless else 0)
        for p in found
    ]


@drawn
def figure_against_trained(
    title: str,
    rows: Sequence[Reached],
    levels: Levels | None,
    rule: str = "",
    metric: str = "",
    results: Sequence[Imported] = (),
    fits: Sequence[tuple[str, Sequence[Fit]]] = (),
) -> Figure:
    """Our arms with their errors; published results, one run each, in a panel below them.

    Scores of other models and tasks have a scale of their own. The trained numbers have one scale.
    ``fits``: for an arm whose numbers are its size, the curve that its runs follow.
    """
    ours = bool(rows) and levels is not None
    figure, each = panels(ours + bool(results) or 1, 2.3)
    if ours and levels is not None:
        draw_levels(each[0], levels, rule)
        for arm, fit in fits:
            each[0].plot([f.d for f in fit], [f.mean for f in fit], color=style(arm)[0], lw=1)
        _ours(each[0], rows, {arm for arm, _ in fits})
        each[0].set_ylabel(short(metric))
        each[0].set_title(short(title))
        size_axis(each[0], [r.trained for r in rows if r.trained])
        each[0].set_xlabel(_TRAINED)
        legend(figure, each[0])
    if results:
        _theirs(each[-1], results)
    return figure


def _ours(axes: Axes, rows: Sequence[Reached], fitted: Collection[str]) -> None:
    """Each arm's means and errors; joined where they are few and no curve is fitted to them."""
    for r in rows:
        if not r.trained:
            # A logarithmic axis has no place for it.
            label = f"{ARMS[r.arm].shown}, {r.shots} examples (n = {r.n})"
            axes.axhline(r.mean, color=style(r.arm)[0], ls=(0, (1, r.shots)), lw=1, label=label)
    for arm in dict.fromkeys(r.arm for r in rows if r.trained):
        mine = [r for r in rows if r.arm == arm]
        colour, marker = style(arm)
        joined = len(mine) <= _JOINED and arm not in fitted
        axes.errorbar(
            [r.trained for r in mine],
            [r.mean for r in mine],
            [r.error or 0.0 for r in mine],
            marker=marker,
            color=colour,
            # Many sizes with a run each are a cloud, and a line through it would be a scribble.
            ls="-" if joined else "none",
            alpha=1.0 if joined else 0.6,
            lw=0.8,
            capsize=2,
            label=f"{ARMS[arm].shown} ({_counted(mine)})",
        )


def _counted(rows: Sequence[Reached]) -> str:
    """How many runs stand behind each point."""
    counts = sorted({r.n for r in rows})
    return f"n = {counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "")


def _theirs(axes: Axes, results: Sequence[Imported]) -> None:
    # Names would run into each other: each point has a number, and the key its name.
    for i, r in enumerate(results, 1):
        axes.plot(r.trained, r.score, "o", mfc="none", color=MID, ms=3)
        where = {"xytext": (3, 2), "textcoords": "offset points", "fontsize": 6}
        axes.annotate(str(i), (r.trained, r.score), **where)  # type: ignore[arg-type] # its stubs
    key = "\n".join(f"{i:>2}  {short(r.method)}" for i, r in enumerate(results, 1))
    axes.annotate(
        key, (0.0, -0.25), xycoords="axes fraction", va="top", fontsize=6, annotation_clip=False
    )
    models = ", ".join(dict.fromkeys(r.model for r in results))
    axes.set_title(f"published, one run each: {short(models)}")
    axes.set_ylabel(short(results[0].metric))
    size_axis(axes, [r.trained for r in results])
    axes.set_xlabel(_TRAINED)

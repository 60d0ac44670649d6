"""Score against d, or against the size of another arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from idim.answers.evidence import size_of
from idim.arms import ARMS
from idim.report.figures.marked import CURVE, by_master_seed, point, runs_of
from idim.report.style import FAINT, INK, MID, drawn, legend, panels, short, size_axis, style
from idim.report.words import answer_of, bracket_of, interval_of
from idim.values.findings import Levels
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.training import Status


@drawn
def figure_against_size(records: Sequence[Record], summaries: Sequence[Summary]) -> Figure:
    """Every run a point, the curve with its band, the thresholds with their error, the answer.

    Searches with one baseline share a panel. Those of another master seed have their own.

    Args:
        records: all at hand.
        summaries: of one study and one kind of size, each with levels and a curve.
    """
    together = by_master_seed(records, summaries)
    figure, each = panels(len(together), 1.9, sharex=True, sharey=True)
    for i, (axes, group) in enumerate(zip(each, together, strict=True)):
        sure = max(group, key=lambda s: s.levels.n if s.levels else 0)
        _panel(axes, records, group, sure)
        which = f"master seed {i + 1} of {len(together)}\n" if len(together) > 1 else ""
        axes.set_title(which + _levels_text(sure), fontsize=6.5, loc="left", color=MID)
    sizes = [t.size for s in summaries for t in s.curve]
    size_axis(each[0], sizes)
    first = summaries[0]
    over_d = first.letter == "d"
    each[-1].set_xlabel(
        "d (trained numbers, scales included)" if over_d else f"{_size_name(first)} {first.letter}"
    )
    figure.supylabel(short(first.metric), fontsize=8)
    what = f"{short(first.model)} × {short(first.task)}, {short(first.protocol)}"
    figure.suptitle(f"{what}, D = {EngFormatter(places=1, sep='')(first.D)}", fontsize=8)
    legend(figure)
    return figure


def _size_name(summary: Summary) -> str:
    size = ARMS[summary.arm].size
    return size.name if size else ""


def _levels_text(s: Summary) -> str:
    levels = s.levels
    assert levels is not None
    error = "" if levels.se is None else f" ± {levels.se:.2g}"
    return (
        f"full {levels.full:.3f}{error} (n = {levels.n}), threshold {levels.tau:.3f}, "
        f"chance {levels.chance:.3f}"
    )


def _panel(
    axes: Axes, records: Sequence[Record], summaries: Sequence[Summary], sure: Summary
) -> None:
    assert sure.levels is not None
    draw_levels(axes, sure.levels, sure.rule)
    floor = sure.checks.floor if isinstance(sure, SearchSummary) else None
    if floor:
        axes.axhline(floor.mean, color="#0072B2", ls=(0, (5, 1, 1, 1)), lw=1, label="head alone")
    for summary in summaries:
        _curve(axes, records, summary)


def _curve(axes: Axes, records: Sequence[Record], summary: Summary) -> None:
    """The runs of a search, what is thought of its curve, and its answer."""
    colour, marker = style(summary.arm)
    name = ARMS[summary.arm].shown
    runs = runs_of(records, summary, *CURVE)
    labelled: set[str] = set()
    for run in runs:
        stopped = run.status == Status.STOPPED
        label = f"{name}: a run" + (", stopped early" if stopped else "")
        point(
            axes,
            size_of(run),
            run,
            marker=marker,
            color=colour,
            mfc="none" if stopped else colour,
            alpha=0.6,
            label=None if label in labelled else label,
        )
        labelled.add(label)
    fit = summary.fit if isinstance(summary, SearchSummary) else None
    if fit:
        places = [f.d for f in fit]
        axes.plot(places, [f.mean for f in fit], color=colour, label=f"{name}: curve, 90 % band")
        low, high = [f.low for f in fit], [f.high for f in fit]
        axes.fill_between(places, low, high, color=colour, alpha=0.15, lw=0)
    else:
        _means(axes, runs, summary, colour, f"{name}: mean ± its error")
    _answer(axes, summary, colour, marker)


def _means(axes: Axes, runs: Sequence[Record], summary: Summary, colour: str, label: str) -> None:
    """The means by size, joined, each with its standard error where it has several runs."""
    errors = []
    for t in summary.curve:
        scores = [r.score for r in runs if size_of(r) == t.size and r.score is not None]
        errors.append(stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0)
    sizes, means = [t.size for t in summary.curve], [t.mean for t in summary.curve]
    axes.errorbar(sizes, means, errors, color=colour, capsize=2, lw=1, label=label)


def _answer(axes: Axes, summary: Summary, colour: str, marker: str) -> None:
    """The interval, or the bracket, at the height of the threshold.

    It runs to the edge of what was tried where nothing bounds it.
    """
    levels, name = summary.levels, ARMS[summary.arm].shown
    tried = [t.size for t in summary.curve]
    assert levels is not None
    for found in (interval_of(summary), bracket_of(summary)):
        if not found or not tried or found.low is found.high is None:
            continue
        low: float = min(tried) if found.low is None else max(found.low, 1)
        high: float = max(tried) if found.high is None else found.high
        # The interval can lie beyond what was tried; the axis shows what was tried.
        low, high = max(low, min(tried) / 1.5), min(high, max(tried) * 1.5)
        if low > high:
            continue
        what = "90 % interval" if found.level else "bracket"
        width = 4.5 if found.level else 1.5
        axes.plot(
            [low, high], [levels.tau] * 2, "-", color=colour, lw=width, alpha=0.45,
            solid_capstyle="butt", zorder=3, label=f"{name}: {what}",
        )  # fmt: skip
    if (best := answer_of(summary)) and best.estimate and best.level:
        axes.plot(
            [best.estimate],
            [levels.tau],
            marker,
            color=INK,
            ms=6,
            mfc="none",
            zorder=4,
            label=f"{name}: {summary.asked}, the middle",
        )


def draw_levels(axes: Axes, levels: Levels, rule: str = "") -> None:
    """Full fine-tuning and the threshold with their errors, the other threshold, and chance."""
    full, se = levels.full, levels.se
    axes.axhline(full, color=INK, lw=1, label="full fine-tuning ± its error")
    if se:
        axes.axhspan(full - se, full + se, color=INK, alpha=0.1, lw=0)
    named = {"chance": ("chance-corrected", levels.tau_chance), "raw": ("raw", levels.tau_raw)}
    if rule == "absolute":
        named = {"absolute": ("absolute", levels.tau)} | named
    for key, (name, tau) in named.items():
        used = key == rule or (not rule and key == "chance")
        axes.axhline(tau, color=MID, ls="--" if used else ":", lw=1, label=f"{name} threshold")
        if used and se and key != "absolute":
            half = se * _share(levels, tau)
            axes.axhspan(tau - half, tau + half, color=MID, alpha=0.12, lw=0)
    axes.axhline(levels.chance, color=FAINT, lw=1, label="chance")


def _share(levels: Levels, tau: float) -> float:
    """By how much a threshold moves with full fine-tuning."""
    if math.isclose(tau, levels.tau_raw):
        return tau / levels.full if levels.full else 0.0
    gain = levels.full - levels.chance
    return (tau - levels.chance) / gain if gain else 0.0

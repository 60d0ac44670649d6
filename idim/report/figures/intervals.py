"""Answers beside each other: an interval a search, on one axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from matplotlib.figure import Figure

from idim.arms import ARMS
from idim.report.figures.captions import bounded
from idim.report.style import COLUMN, INK, drawn, legend, short, size_axis, style
from idim.report.words import answer_of, interval_of
from idim.values.summary import Summary


@drawn
def figure_of_intervals(summaries: Sequence[Summary]) -> Figure:
    """One row a search over d: the middle and the 90 % interval, or the bracket as a thin line.

    An arrow leads to where nothing bounds an interval.
    """
    rows = [s for s in summaries if bounded(s)]
    figure = Figure(figsize=(COLUMN, 0.8 + 0.29 * len(rows)), layout="constrained")
    axes = figure.subplots()
    ends: list[float] = []
    for s in rows:
        for found in (interval_of(s), answer_of(s)):
            ends += [v for v in (found.low, found.estimate, found.high) if v] if found else []
    least, most = min(ends) / 1.6, max(ends) * 1.6
    for at, s in enumerate(reversed(rows)):
        colour, marker = style(s.arm)
        found = interval_of(s) or answer_of(s)
        assert found is not None and found.estimate is not None
        low, high = found.low or least, found.high or most
        axes.plot(
            [low, high], [at, at], "-", color=colour, lw=2.4 if found.level else 1,
            solid_capstyle="butt", label=f"{ARMS[s.arm].shown}: 90 % interval"
            if found.level else f"{ARMS[s.arm].shown}: bracket",
        )  # fmt: skip
        if found.low is None:
            axes.plot([least], [at], "<", color=colour)
        if found.high is None:
            axes.plot([most], [at], ">", color=colour)
        if found.level:
            axes.plot([found.estimate], [at], marker, color=INK, mfc="white")
    names = [f"{short(s.model)[-16:]} × {short(s.task)[-16:]}" for s in rows]
    seen = Counter(zip(names, (s.arm for s in rows), strict=True))
    told: Counter[tuple[str, str]] = Counter()
    labels = []
    for name, s in zip(names, rows, strict=True):
        told[name, s.arm] += 1
        again = f" ({told[name, s.arm]})" if seen[name, s.arm] > 1 else ""
        labels.append(f"{name}\n{ARMS[s.arm].shown}, {short(s.protocol)}{again}")
    axes.set_yticks(range(len(rows)), labels[::-1], fontsize=6)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    size_axis(axes, ends, own=False)
    axes.set_xlim(least / 1.1, most * 1.1)
    axes.set_xlabel(f"{rows[0].asked} (logarithmic)")
    legend(figure, axes)
    return figure

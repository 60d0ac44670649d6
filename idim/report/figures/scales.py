"""Learned scales by layer: what the structure-aware part of a subspace did."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from idim.answers.evidence import size_of
from idim.arms import ARMS
from idim.report.figures.marked import scaled
from idim.report.style import COLUMN, INK, drawn, short, style
from idim.values.record import Record
from idim.values.summary import Summary


@drawn
def figure_of_scales(records: Sequence[Record], summary: Summary) -> Figure:
    """One row a layer, one point a run. A scale starts at 1; a layer at 0 does not move."""
    runs = scaled([r for r in records if r.key in summary.keys])
    names = [str(n) for n in runs[0].training.adaptation["groups"]]
    figure = Figure(figsize=(COLUMN, 0.9 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    colour, marker = style(summary.arm)
    largest = max(size_of(r) for r in runs)
    axes.axvline(1.0, color=INK, lw=0.8)
    for r in runs:
        values = r.training.adaptation["scales"][: len(names)]
        axes.plot(
            values, range(len(values)), marker, color=colour, ls="none", gid=f"run:{r.key}",
            alpha=0.25 + 0.6 * size_of(r) / largest,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), [short(n)[-30:] for n in names], fontsize=6.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"learned scale (n = {len(runs)} runs; it starts at 1)")
    axes.set_title(f"{short(summary.model)} × {short(summary.task)}, {ARMS[summary.arm].shown}")
    return figure

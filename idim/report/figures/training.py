"""How runs were trained: the rates that were tried and used, and the score on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from idim.answers.evidence import size_of
from idim.arms import ARMS, FULL
from idim.report.figures.marked import CURVE, point, runs_of
from idim.report.style import INK, MID, SCALE, drawn, legend, panels, short, shown, size_axis, style
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.summary import Summary

_TRIED = (Purpose.TUNE, Purpose.RATE)


def tuned(records: Sequence[Record], summary: Summary) -> list[Record]:
    """The runs that tried a rate for the arm or for full fine-tuning."""
    return runs_of(records, summary, *_TRIED)


@drawn
def figure_of_rates(records: Sequence[Record], summary: Summary) -> Figure:
    """Each rate that was tried, where, and its score as a colour; and the rates that runs used.

    Full fine-tuning stands at d = D, and for an arm of another size in a panel of its own.
    """
    tried = tuned(records, summary)
    used = runs_of(records, summary, *CURVE)
    over_d = summary.letter == "d"
    mine = [r for r in tried if r.spec.arm == summary.arm or (over_d and r.spec.arm == FULL)]
    figure, (axes,) = panels(1, 2.3)
    scores = [r.score for r in tried if r.score is not None] or [0.0, 1.0]
    norm = Normalize(min(scores), max(scores))
    labelled = set()

    def place(r: Record) -> float:
        return size_of(r) or summary.D

    for r in mine:
        label = f"{shown(r.spec.arm)}: a rate tried"
        point(
            axes,
            place(r),
            r,
            r.rate,
            marker="D" if r.spec.arm == FULL else style(r.spec.arm)[1],
            color=SCALE(norm(r.score or 0.0)),
            mec=INK,
            mew=0.4,
            ms=5,
            label=None if label in labelled else label,
        )
        labelled.add(label)
    lines = sorted({(size_of(r), r.rate) for r in used})
    axes.plot(
        [x for x, _ in lines], [y for _, y in lines], "-", color=MID, lw=1,
        label="the rate that runs used", zorder=1,
    )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    size_axis(axes, [place(r) for r in mine] + [x for x, _ in lines])
    letter = summary.letter
    axes.set_xlabel("d (full fine-tuning at D)" if over_d else letter or "the arm has no size")
    axes.set_ylabel("learning rate")
    axes.set_title(f"{short(summary.model)} × {short(summary.task)}, {ARMS[summary.arm].shown}")
    if mine:
        scale = ScalarMappable(norm, SCALE)
        figure.colorbar(scale, ax=axes, label=f"{short(summary.metric)} (tuning split)", pad=0.02)
    legend(figure, axes)
    return figure


@drawn
def figure_of_learning(records: Sequence[Record], summary: Summary) -> Figure:
    """The score at each evaluation of the runs of a search, by size; full fine-tuning in black."""
    runs = runs_of(records, summary, *CURVE)
    full = runs_of(records, summary, Purpose.BASELINE)
    figure, (axes,) = panels(1, 2.3)
    sizes = [size_of(r) for r in runs if size_of(r)]
    norm = LogNorm(min(sizes), max(sizes) * (1 + 1e-9)) if sizes else None
    for r in runs:
        places = [(p.step, p.score) for p in r.training.curve if p.score is not None]
        axes.plot(
            *zip(*places, strict=True),
            color=SCALE(norm(size_of(r))) if norm and size_of(r) else style(summary.arm)[0],
            lw=0.8,
            gid=f"run:{r.key}",
        )
    for i, r in enumerate(full):
        places = [(p.step, p.score) for p in r.training.curve if p.score is not None]
        label = f"full fine-tuning (n = {len(full)})" if not i else None
        axes.plot(*zip(*places, strict=True), color=INK, lw=1, label=label, gid=f"run:{r.key}")
    if summary.levels:
        axes.axhline(summary.levels.tau, color=MID, ls="--", lw=1, label="threshold")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(short(summary.metric))
    axes.set_title(f"{short(summary.model)} × {short(summary.task)}, {ARMS[summary.arm].shown}")
    if norm and len(set(sizes)) > 1:
        scale = ScalarMappable(norm, SCALE)
        ticks = [t for t in _round(min(sizes), max(sizes)) if min(sizes) <= t <= max(sizes)]
        bar = figure.colorbar(scale, ax=axes, label=summary.letter, pad=0.02)
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        bar.set_ticks(ticks or [min(sizes), max(sizes)])
        bar.ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    legend(figure, axes)
    return figure


@drawn
def figure_of_run(record: Record) -> Figure:
    """The score at each evaluation of one run."""
    figure, (axes,) = panels(1, 1.7)
    colour, marker = style(record.spec.arm)
    places = [(p.step, p.score) for p in record.training.curve if p.score is not None]
    axes.plot(*zip(*places, strict=True), "-", marker=marker, color=colour)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(short(record.training.metric))
    return figure


def _round(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two numbers."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    subs = (1, 2, 5) if last - first < 3 else (1,)
    return [s * 10.0**e for e in range(first, last + 1) for s in subs]

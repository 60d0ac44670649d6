"""Figures: score against d, and score against LoRA rank beside it."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from idim.answers.evidence import size_of
from idim.arms import ARMS
from idim.errors import printable
from idim.values.findings import Levels
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.sweep_summary import SweepSummary
from idim.values.training import Status

#: One colour and marker an arm, readable without colour too (Okabe & Ito's palette).
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Of another number than the colours, so that no two arms have both alike.
_MARKERS = ("", "o", "s", "^", "v", "D", "P", "X")
#: The longest name of a model or a task in a title.
_NAME = 48


def plain_names() -> AbstractContextManager[None]:
    """A folder may have two dollar signs, between which matplotlib would read mathematics."""
    return matplotlib.rc_context({"text.parse_math": False})


def _plain(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def drawn(*args: Any) -> Figure:
        with plain_names():
            return draw(*args)

    return drawn


def png(figure: Figure) -> bytes:
    """A figure of this module as a picture."""
    out = io.BytesIO()
    with plain_names(), warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(out, format="png", dpi=140)
    return out.getvalue()


def score_against_d(records: Sequence[Record], summaries: Sequence[SearchSummary]) -> bytes:
    """``figure_against_d`` as a PNG."""
    return png(figure_against_d(records, summaries))


def score_against_rank(
    records: Sequence[Record], sweep: Summary, searches: Sequence[SearchSummary]
) -> bytes:
    """``figure_against_rank`` as a PNG."""
    return png(figure_against_rank(records, sweep, searches))


def style(arm: str) -> tuple[str, str]:
    """The colour and the marker of an arm."""
    at = list(ARMS).index(arm)
    return _COLOURS[at % len(_COLOURS)], _MARKERS[at % len(_MARKERS)]


def short(name: str) -> str:
    """A long path keeps its end, where paths differ."""
    name = " ".join(printable(name).split())
    return name if len(name) <= _NAME else "…" + name[-_NAME:]


@_plain
def figure_against_d(records: Sequence[Record], summaries: Sequence[SearchSummary]) -> Figure:
    """Every run a point, means joined, thresholds as lines, the answer shaded."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    _curves(axes, records, summaries)
    first = summaries[0]
    _levels(axes, first)
    axes.set_title(
        f"{short(first.model)} × {short(first.task)}  "
        f"({short(first.protocol)}, {first.steps} steps, D = {first.D:,})",
        fontsize=10,
    )
    axes.set_ylabel(short(first.metric))
    _legend(axes)
    return figure


@_plain
def figure_against_rank(
    records: Sequence[Record], sweep: Summary, searches: Sequence[SearchSummary]
) -> Figure:
    """An arm over its rank at the left; searches over d at the right, on one scale of scores."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    if isinstance(sweep, SearchSummary):
        _curves(left, records, [sweep])
        rule = str(sweep.adapted.get("alpha_rule", ""))
    else:
        assert isinstance(sweep, SweepSummary)
        _swept(left, records, sweep)
        rule = sweep.alpha_rule or ""
    rates = sorted({f"{t.rate:.2g}" for t in sweep.curve}, key=float)
    ends = " to ".join(dict.fromkeys((rates[0], rates[-1])))
    left.set_xlabel(f"rank r   ({short(rule)}, rate {ends})")
    left.set_ylabel(short(sweep.metric))
    if searches:
        _curves(right, records, searches)
    else:
        right.text(
            0.5,
            0.5,
            "no DID or SAID runs in this store",
            ha="center",
            va="center",
            transform=right.transAxes,
            color="0.4",
        )
        right.set_xticks([])
    for axes in (left, right):
        _levels(axes, sweep)
        _legend(axes)
    figure.suptitle(
        f"{short(sweep.model)} × {short(sweep.task)}  ({short(sweep.protocol)})", fontsize=10
    )
    return figure


def _swept(axes: Axes, records: Sequence[Record], sweep: SweepSummary) -> None:
    """A sweep as older stores keep it: its runs, and the means joined."""
    colour, marker = style(sweep.arm)
    runs = _scored(records, sweep, Purpose.SWEEP)
    places = [size_of(r) for r in runs]
    axes.plot(places, _scores(runs), marker, color=colour, alpha=0.35, ms=5)
    ranks = [t.size for t in sweep.curve]
    axes.plot(
        ranks,
        [t.mean for t in sweep.curve],
        "-" + marker,
        color=colour,
        label=ARMS[sweep.arm].shown,
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])


def _scored(records: Sequence[Record], summary: Summary, kind: Purpose) -> list[Record]:
    return [r for r in records if r.kind == kind and r.key in summary.keys and r.score is not None]


def _scores(records: Sequence[Record]) -> list[float]:
    return [r.score for r in records if r.score is not None]


def _curves(axes: Axes, records: Sequence[Record], summaries: Sequence[SearchSummary]) -> None:
    for summary in summaries:
        colour, marker = style(summary.arm)
        name = ARMS[summary.arm].shown
        runs = _scored(records, summary, Purpose.SEARCH)
        for stopped, fill in ((False, colour), (True, "none")):
            some = [r for r in runs if (r.status == Status.STOPPED) == stopped]
            axes.plot(
                [size_of(r) for r in some],
                _scores(some),
                marker,
                color=colour,
                mfc=fill,
                alpha=0.5,
                ms=5,
                label=f"{name}, stopped early" if stopped and some else None,
            )
        if fit := summary.fit:
            places = [f.d for f in fit]
            axes.plot(
                places,
                [f.mean for f in fit],
                color=colour,
                label=f"{name}: posterior curve, 90 % band",
            )
            low, high = [f.low for f in fit], [f.high for f in fit]
            axes.fill_between(places, low, high, color=colour, alpha=0.15, lw=0)
        else:
            axes.plot(
                [t.size for t in summary.curve],
                [t.mean for t in summary.curve],
                "-" + marker,
                color=colour,
                ms=5,
                label=name,
            )
        answer = summary.answer
        if answer and answer.high:
            axes.axvspan(answer.low or answer.high, answer.high, color=colour, alpha=0.12, lw=0)
    axes.set_xscale("log", base=2)
    shown = _apart(sorted({t.size for summary in summaries for t in summary.curve}))
    axes.set_xticks(shown, [f"{d:,}" for d in shown], fontsize=8)
    axes.set_xticks([], minor=True)
    letter = summaries[0].letter
    axes.set_xlabel("d, trained numbers (scales included)" if letter == "d" else letter)


def _apart(tried: list[int]) -> list[int]:
    """Those whose labels do not run into each other on a logarithmic axis.

    They lie at least a fourteenth of the axis apart. The last one stays.
    """
    room = math.log(tried[-1] / tried[0]) / 14 if tried else 0.0
    shown: list[int] = []
    for d in reversed(tried):
        if not shown or math.log(shown[-1] / d) >= room:
            shown.append(d)
    return shown[::-1]


def _levels(axes: Axes, summary: Summary) -> None:
    """The levels of a summary, and what the head alone scores."""
    assert summary.levels is not None
    draw_levels(axes, summary.levels, summary.rule)
    floor = summary.checks.floor if isinstance(summary, SearchSummary) else None
    if floor:
        label = f"head alone {floor.mean:.3f} (n={floor.n})"
        axes.axhline(floor.mean, color="#0072B2", ls=(0, (5, 1, 1, 1)), lw=1, label=label)


def draw_levels(axes: Axes, levels: Levels, rule: str = "") -> None:
    """Full fine-tuning, the thresholds and chance, as lines."""
    full, se = levels.full, levels.se
    spread = "" if se is None else f" ± {se:.2g}"
    axes.axhline(full, color="black", lw=1, label=f"full {full:.3f}{spread} (n={levels.n})")
    if se:
        axes.axhspan(full - se, full + se, color="black", alpha=0.08, lw=0)
    if rule == "absolute":
        label = f"absolute threshold {levels.tau:.3f}"
        axes.axhline(levels.tau, color="#CC79A7", ls="-.", lw=1, label=label)
    for tau, line, width, name in (
        (levels.tau_chance, "--", 1, "chance-corrected"),
        (levels.tau_raw, ":", 1.2, "raw"),
    ):
        axes.axhline(tau, color="0.35", ls=line, lw=width, label=f"{name} threshold {tau:.3f}")
    axes.axhline(levels.chance, color="0.75", lw=1, label=f"chance {levels.chance:.3f}")
    axes.grid(alpha=0.2)


def _legend(axes: Axes) -> None:
    # Searches with several master seeds share their labels.
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), fontsize=7.5, framealpha=0.9, loc="best")

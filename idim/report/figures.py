"""Figures: score against d, and score against LoRA rank beside it."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from functools import wraps

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from idim.errors import printable
from idim.report.summary import score_of

#: One colour and marker an arm, readable without colour too (Okabe & Ito's palette).
STYLE = {
    "full": ("#000000", ""),
    "did": ("#0072B2", "o"),
    "said": ("#D55E00", "s"),
    "lora": ("#009E73", "^"),
}


#: The longest name of a model or a task in a title.
_NAME = 48


#: Names are text. A folder may have two dollar signs, between which matplotlib would read
#: mathematics.
_NAMES = {"text.parse_math": False}


def _plain(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def drawn(*args) -> Figure:
        with matplotlib.rc_context(_NAMES):
            return draw(*args)

    return drawn


def png(figure: Figure) -> bytes:
    """A figure of this module as a picture."""
    out = io.BytesIO()
    with matplotlib.rc_context(_NAMES), warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(out, format="png", dpi=140)
    return out.getvalue()


def score_against_d(records: list[dict], summaries: list[dict]) -> bytes:
    """``figure_against_d`` as a PNG."""
    return png(figure_against_d(records, summaries))


def score_against_rank(records: list[dict], sweep: dict, searches: list[dict]) -> bytes:
    """``figure_against_rank`` as a PNG."""
    return png(figure_against_rank(records, sweep, searches))


def _short(name: str) -> str:
    """A long path keeps its end, where paths differ."""
    name = " ".join(printable(name).split())
    return name if len(name) <= _NAME else "…" + name[-_NAME:]


@_plain
def figure_against_d(records: list[dict], summaries: list[dict]) -> Figure:
    """Every run a point, means joined, full training and both thresholds as lines, the bracket shaded."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    _curves(axes, records, summaries)
    first = summaries[0]
    _levels(axes, first)
    axes.set_title(
        f"{_short(first['model'])} × {_short(first['task'])}  ({_short(first['protocol'])}, {first['steps']} steps, D = {first['D']:,})",
        fontsize=10,
    )
    axes.set_ylabel(_short(first["metric"]))
    _legend(axes)
    return figure


@_plain
def figure_against_rank(records: list[dict], sweep: dict, searches: list[dict]) -> Figure:
    """LoRA over its rank at the left; DID and SAID over d at the right, on the same scale of scores."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colour, marker = STYLE["lora"]
    runs = [
        r
        for r in records
        if r["kind"] == "sweep" and r["key"] in sweep["keys"] and score_of(r) is not None
    ]
    left.plot(
        [r["train_info"]["adaptation"]["rank"] for r in runs],
        [score_of(r) for r in runs],
        marker,
        color=colour,
        alpha=0.35,
        ms=5,
    )
    left.plot(
        [c["rank"] for c in sweep["curve"]],
        [c["mean"] for c in sweep["curve"]],
        "-" + marker,
        color=colour,
        label="LoRA",
    )
    left.set_xscale("log", base=2)
    left.set_xticks([c["rank"] for c in sweep["curve"]], [str(c["rank"]) for c in sweep["curve"]])
    rates = sorted({f"{c['rate']:.2g}" for c in sweep["curve"]}, key=float)
    left.set_xlabel(
        f"rank r   ({_short(sweep['alpha_rule'])}, rate {' to '.join(dict.fromkeys((rates[0], rates[-1])))})"
    )
    left.set_ylabel(_short(sweep["metric"]))
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
        f"{_short(sweep['model'])} × {_short(sweep['task'])}  ({_short(sweep['protocol'])})",
        fontsize=10,
    )
    return figure


def _curves(axes: Axes, records: list[dict], summaries: list[dict]) -> None:
    for summary in summaries:
        colour, marker = STYLE[summary["arm"]]
        runs = [
            r
            for r in records
            if r["kind"] == "search" and r["key"] in summary["keys"] and score_of(r) is not None
        ]
        for stopped, fill in ((False, colour), (True, "none")):
            some = [r for r in runs if (r["status"] == "stopped") == stopped]
            axes.plot(
                [r["train_info"]["d_total"] for r in some],
                [score_of(r) for r in some],
                marker,
                color=colour,
                mfc=fill,
                alpha=0.5,
                ms=5,
                label=f"{summary['arm'].upper()}, stopped early" if stopped and some else None,
            )
        curve, fit = summary["curve"], summary["fit"]
        if fit:
            axes.plot(
                [f["d"] for f in fit],
                [f["mean"] for f in fit],
                color=colour,
                label=f"{summary['arm'].upper()}: posterior curve, 90 % band",
            )
            axes.fill_between(
                [f["d"] for f in fit],
                [f["low"] for f in fit],
                [f["high"] for f in fit],
                color=colour,
                alpha=0.15,
                lw=0,
            )
        else:
            axes.plot(
                [c["d"] for c in curve],
                [c["mean"] for c in curve],
                "-" + marker,
                color=colour,
                ms=5,
                label=summary["arm"].upper(),
            )
        answer = summary["answer"]
        if answer and answer["high"]:
            axes.axvspan(
                answer["low"] or answer["high"], answer["high"], color=colour, alpha=0.12, lw=0
            )
    axes.set_xscale("log", base=2)
    tried = sorted({c["d"] for summary in summaries for c in summary["curve"]})
    shown = _apart(tried)
    axes.set_xticks(shown, [f"{d:,}" for d in shown], fontsize=8)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("d, trained numbers (scales included)")


def _apart(tried: list[int]) -> list[int]:
    """Those whose labels do not run into each other on a logarithmic axis: at least a fourteenth of it apart; the last stays."""
    room = math.log(tried[-1] / tried[0]) / 14 if tried else 0.0
    shown: list[int] = []
    for d in reversed(tried):
        if not shown or math.log(shown[-1] / d) >= room:
            shown.append(d)
    return shown[::-1]


def _levels(axes: Axes, summary: dict) -> None:
    full = summary["full"]
    spread = "" if full["se"] is None else f" ± {full['se']:.2g}"
    axes.axhline(
        full["mean"], color="black", lw=1, label=f"full {full['mean']:.3f}{spread} (n={full['n']})"
    )
    if full["se"]:
        axes.axhspan(
            full["mean"] - full["se"], full["mean"] + full["se"], color="black", alpha=0.08, lw=0
        )
    if summary["rule"] == "absolute":
        axes.axhline(
            summary["tau"],
            color="#CC79A7",
            ls="-.",
            lw=1,
            label=f"absolute threshold {summary['tau']:.3f}",
        )
    axes.axhline(
        summary["tau_chance"],
        color="0.35",
        ls="--",
        lw=1,
        label=f"chance-corrected threshold {summary['tau_chance']:.3f}",
    )
    axes.axhline(
        summary["tau_raw"],
        color="0.35",
        ls=":",
        lw=1.2,
        label=f"raw threshold {summary['tau_raw']:.3f}",
    )
    axes.axhline(summary["chance"], color="0.75", lw=1, label=f"chance {summary['chance']:.3f}")
    axes.grid(alpha=0.2)


def _legend(axes: Axes) -> None:
    # Searches with several master seeds share their labels.
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), fontsize=7.5, framealpha=0.9, loc="best")

"""Figures: score against d, and score against LoRA rank beside it."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)
from matplotlib.axes import Axes  # noqa: E402

from idim.report.summary import score_of  # noqa: E402

#: One colour and marker an arm, readable without colour too (Okabe & Ito's palette).
STYLE = {"full": ("#000000", ""), "did": ("#0072B2", "o"), "said": ("#D55E00", "s"), "lora": ("#009E73", "^")}


def score_against_d(records: list[dict], summaries: list[dict], path: Path) -> Path:
    """Every run a point, means joined, full training and both thresholds as lines, the bracket shaded."""
    figure, axes = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    _curves(axes, records, summaries)
    first = summaries[0]
    _levels(axes, first)
    axes.set_title(f"{first['model']} × {first['task']}  ({first['protocol']}, {first['steps']} steps, D = {first['D']:,})", fontsize=10)
    axes.set_ylabel(first["metric"])
    _legend(axes)
    return _save(figure, path)


def score_against_rank(records: list[dict], sweep: dict, searches: list[dict], path: Path) -> Path:
    """LoRA over its rank at the left; DID and SAID over d at the right, on the same scale of scores."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.4), sharey=True, layout="constrained")
    colour, marker = STYLE["lora"]
    runs = [r for r in records if r["kind"] == "sweep" and r["key"] in sweep["keys"] and score_of(r) is not None]
    left.plot([r["train_info"]["adaptation"]["rank"] for r in runs], [score_of(r) for r in runs], marker, color=colour, alpha=0.35, ms=5)
    left.plot([c["rank"] for c in sweep["curve"]], [c["mean"] for c in sweep["curve"]], "-" + marker, color=colour, label="LoRA")
    left.set_xscale("log", base=2)
    left.set_xticks([c["rank"] for c in sweep["curve"]], [str(c["rank"]) for c in sweep["curve"]])
    rates = sorted({f"{c['rate']:.2g}" for c in sweep["curve"]}, key=float)
    left.set_xlabel(f"rank r   ({sweep['alpha_rule']}, rate {' to '.join(dict.fromkeys((rates[0], rates[-1])))})")
    left.set_ylabel(sweep["metric"])
    if searches:
        _curves(right, records, searches)
    else:
        right.text(0.5, 0.5, "no DID or SAID runs in this store", ha="center", va="center", transform=right.transAxes, color="0.4")
        right.set_xticks([])
    for axes in (left, right):
        _levels(axes, sweep)
        _legend(axes)
    figure.suptitle(f"{sweep['model']} × {sweep['task']}  ({sweep['protocol']})", fontsize=10)
    return _save(figure, path)


def _curves(axes: Axes, records: list[dict], summaries: list[dict]) -> None:
    for summary in summaries:
        colour, marker = STYLE[summary["arm"]]
        runs = [r for r in records if r["kind"] == "search" and r["key"] in summary["keys"] and score_of(r) is not None]
        for stopped, fill in ((False, colour), (True, "none")):
            some = [r for r in runs if (r["status"] == "stopped") == stopped]
            axes.plot([r["train_info"]["d_total"] for r in some], [score_of(r) for r in some], marker, color=colour, mfc=fill, alpha=0.5, ms=5,
                      label=f"{summary['arm'].upper()}, stopped early" if stopped and some else None)
        curve, fit = summary["curve"], summary["fit"]
        if fit:
            axes.plot([f["d"] for f in fit], [f["mean"] for f in fit], color=colour, label=f"{summary['arm'].upper()}: posterior curve, 90 % band")
            axes.fill_between([f["d"] for f in fit], [f["low"] for f in fit], [f["high"] for f in fit], color=colour, alpha=0.15, lw=0)
        else:
            axes.plot([c["d"] for c in curve], [c["mean"] for c in curve], "-" + marker, color=colour, ms=5, label=summary["arm"].upper())
        answer = summary["answer"]
        if answer and answer["high"]:
            axes.axvspan(answer["low"] or answer["high"], answer["high"], color=colour, alpha=0.12, lw=0)
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
    axes.axhline(full["mean"], color="black", lw=1, label=f"full {full['mean']:.3f}{spread} (n={full['n']})")
    if full["se"]:
        axes.axhspan(full["mean"] - full["se"], full["mean"] + full["se"], color="black", alpha=0.08, lw=0)
    if summary["rule"] == "absolute":
        axes.axhline(summary["tau"], color="#CC79A7", ls="-.", lw=1, label=f"absolute threshold {summary['tau']:.3f}")
    axes.axhline(summary["tau_chance"], color="0.35", ls="--", lw=1, label=f"chance-corrected threshold {summary['tau_chance']:.3f}")
    axes.axhline(summary["tau_raw"], color="0.35", ls=":", lw=1.2, label=f"raw threshold {summary['tau_raw']:.3f}")
    axes.axhline(summary["chance"], color="0.75", lw=1, label=f"chance {summary['chance']:.3f}")
    axes.grid(alpha=0.2)


def _legend(axes: Axes) -> None:
    # Searches with several master seeds share their labels.
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), fontsize=7.5, framealpha=0.9, loc="best")


def _save(figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    plt.close(figure)
    return path

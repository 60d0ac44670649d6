"""Score against trained numbers: the table, the sentence and the figure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from idim.answers.frontier import Place, cheapest
from idim.answers.imported import Imported
from idim.arms import ARMS
from idim.report.figures import draw_levels, plain_names, short, style
from idim.values.findings import Levels


def frontier_text(
    title: str, found: Sequence[Place], levels: Levels, times: dict[str, tuple[float, float | None]]
) -> str:
    """Every arm at every size, what each costs, and which passes with the fewest numbers.

    Args:
        title: what was measured.
        found: smallest first.
        levels: full fine-tuning and the thresholds.
        times: of an arm, its evaluation unmerged and merged, over that of the untouched model.
    """
    rows = []
    for p in found:
        unmerged, merged = times.get(p.arm, (None, None))
        rows.append(
            {
                "arm": p.arm,
                "size": f"{p.letter} = {p.size}" if p.letter else "",
                "trained": f"{p.trained:,}",
                "mean": f"{p.mean:.4f}",
                "±": "" if p.error is None else f"{p.error:.4f}",
                "n": p.n,
                "of gain": f"{p.share:.0%}",
                "P(passes)": f"{p.probability:.2f}",
                "file MB": f"{p.file_bytes / 1e6:.3g}",
                "peak MB": f"{p.memory / 1e6:,.0f}",
                "ms/step": f"{1e3 * p.seconds:.0f}",
                "latency": "" if unmerged is None else f"{unmerged:.2f}",
                "merged": "" if merged is None else f"{merged:.2f}",
            }
        )
    frame = pd.DataFrame(rows)
    for name in ("latency", "merged"):
        if rows and not frame[name].any():
            frame = frame.drop(columns=name)
    least = cheapest(found)
    answer = "no arm surely passes at a size that was tried"
    if least is not None:
        at = f" at {least.letter} = {least.size}" if least.letter else ""
        answer = f"the fewest numbers that surely pass: {least.trained:,}, by {least.arm}{at}"
    return "\n".join(
        [
            title,
            f"full fine-tuning {levels.full:.4f} (n = {levels.n}); chance {levels.chance:.4f}; "
            f"a run passes from {levels.tau:.4f}",
            "",
            frame.to_string(index=False),
            "",
            answer,
            "trained: with the head, where it is trained freely. latency: an evaluation over the "
            "untouched model's.",
        ]
    )


def imported_frame(results: Sequence[Imported]) -> pd.DataFrame:
    """One row a published result."""
    return pd.DataFrame(
        {
            "method": r.method,
            "model": r.model,
            "trained": f"{r.trained:,}",
            r.metric: f"{r.score:.3f}",
            "runs": 1,
            "seconds": f"{r.seconds:,.0f}",
            "file MB": f"{r.file_bytes / 1e6:.3g}",
        }
        for r in results
    )


def frontier_figure(
    title: str,
    found: Sequence[Place],
    levels: Levels | None,
    metric: str = "",
    results: Sequence[Imported] = (),
) -> Figure:
    """Our arms with their errors; published results, one run each, in a panel beside them.

    Scores of other models and tasks have a scale of their own. The trained numbers have one scale.
    """
    panels = bool(found) + bool(results)
    with plain_names():
        figure = Figure(figsize=(7.4 * panels, 5.2), layout="constrained")
        each = figure.subplots(1, panels, squeeze=False)[0]
        if found and levels:
            _ours(each[0], found, levels)
            each[0].set_ylabel(short(metric))
            each[0].set_title(short(title), fontsize=10)
        if results:
            _theirs(each[-1], results)
        for axes in each:
            axes.set_xscale("log")
            # 1k, 1M, 1G: with no mathematics in a label.
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("trained numbers (a head that is trained freely included)")
            axes.grid(alpha=0.2)
    return figure


def _ours(axes: Axes, found: Sequence[Place], levels: Levels) -> None:
    draw_levels(axes, levels)
    for arm in dict.fromkeys(p.arm for p in found):
        mine = [p for p in found if p.arm == arm and p.trained]
        colour, marker = style(arm)
        for p in found:
            if p.arm == arm and not p.trained:
                # A logarithmic axis has no place for it.
                label = f"{ARMS[arm].shown}, {p.letter} = {p.size}"
                axes.axhline(p.mean, color=colour, ls=(0, (1, p.size)), lw=1, label=label)
        if not mine:
            continue
        axes.errorbar(
            [p.trained for p in mine],
            [p.mean for p in mine],
            [p.error or 0.0 for p in mine],
            marker=marker or "o",
            color=colour,
            ms=5,
            lw=1,
            capsize=2,
            label=ARMS[arm].shown,
        )
    axes.legend(fontsize=6.5, ncols=2, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _theirs(axes: Axes, results: Sequence[Imported]) -> None:
    # Names would run into each other: each point has a number, and the key its name.
    for i, r in enumerate(results, 1):
        axes.plot(r.trained, r.score, "o", mfc="none", color="0.6", ms=3)
        where = {"xytext": (3, 2), "textcoords": "offset points", "fontsize": 6}
        axes.annotate(str(i), (r.trained, r.score), **where)  # type: ignore[arg-type]
    key = "\n".join(f"{i:>2}  {short(r.method)}" for i, r in enumerate(results, 1))
    axes.annotate(
        key, (1.02, 1.0), xycoords="axes fraction", va="top", fontsize=6, annotation_clip=False
    )
    models = ", ".join(dict.fromkeys(r.model for r in results))
    axes.set_title(f"published, one run each: {short(models)}", fontsize=10)
    axes.set_ylabel(short(results[0].metric))

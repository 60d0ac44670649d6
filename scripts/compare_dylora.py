"""DyLoRA's curve over the rank, from one run each, beside LoRA's from a run a rank.

    python scripts/compare_dylora.py results/frontier

The store holds runs of both, as `idim frontier --arms lora:1/2/4/8,dylora:8` makes them. The script
writes dylora.txt and dylora.png beside the store's runs. A difference is DyLoRA's mean less LoRA's
at the same rank, with the error of both.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd
from matplotlib.figure import Figure

from idim.answers.evidence import size_of
from idim.report.style import png
from idim.store import Store
from idim.values.purpose import Purpose
from idim.values.record import Record


def by_rank(records: list[Record], arm: str) -> dict[int, list[float]]:
    """The scores of an arm at each rank: a run may give several."""
    found: dict[int, list[float]] = {}
    for record in records:
        if record.spec.arm != arm or record.kind != Purpose.SEARCH or record.score is None:
            continue
        curve = record.training.adaptation.get("by_size") or {size_of(record): record.score}
        for rank, score in curve.items():
            found.setdefault(int(rank), []).append(score)
    return dict(sorted(found.items()))


def error(scores: list[float]) -> float:
    """Of their mean; not a number for one score."""
    return stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    args = parser.parse_args()
    records = Store(args.store, create=False).all()
    one, each = by_rank(records, "dylora"), by_rank(records, "lora")
    rows = [
        {
            "rank": rank,
            "DyLoRA": fmean(one[rank]),
            "± ": error(one[rank]),
            "n": len(one[rank]),
            "LoRA": fmean(each[rank]),
            "±": error(each[rank]),
            "n ": len(each[rank]),
            "difference": fmean(one[rank]) - fmean(each[rank]),
            " ±": math.hypot(error(one[rank]), error(each[rank])),
        }
        for rank in one
        if rank in each
    ]
    if not rows:
        raise SystemExit(f"{args.store}: expected runs of dylora and lora at a rank of both")
    text = pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3f}")
    (args.store / "dylora.txt").write_text(text + "\n")
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, found, colour, marker in (
        ("DyLoRA, all ranks from each run", one, "#0072B2", "o"),
        ("LoRA, a run a rank", each, "#D55E00", "s"),
    ):
        means, errors = [fmean(v) for v in found.values()], [error(v) for v in found.values()]
        runs = max(len(v) for v in found.values())
        axes.errorbar(
            list(found), means, errors, marker=marker, color=colour, ms=4, lw=1, capsize=2,
            label=f"{name} (n = {runs})",
        )  # fmt: skip
    ranks = sorted({*one, *each})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.set_xlabel("rank r")
    axes.set_ylabel("score (mean and its error)")
    axes.grid(alpha=0.2)
    axes.legend(fontsize=8, loc="best")
    (args.store / "dylora.png").write_bytes(png(figure))
    print(text)


if __name__ == "__main__":
    main()

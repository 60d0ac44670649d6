"""DyLoRA's curve over the rank, from one run each, beside LoRA's from a run a rank.

    python scripts/compare_dylora.py results/frontier

The store holds runs of both, as `idim frontier --arms lora:1/2/4/8,dylora:8` makes them. The script
writes dylora.json, dylora.txt and dylora.png beside the store's runs. A difference is DyLoRA's mean
less LoRA's at the same rank, with the error of both.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import kept
import pandas as pd
from matplotlib.figure import Figure

from idim.answers.evidence import size_of
from idim.store import Store
from idim.values.purpose import Purpose
from idim.values.record import Record


def by_rank(records: list[Record], arm: str) -> dict[str, list[float]]:
    """The scores of an arm at each rank: a run may give several. Ranks are text, as in JSON."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record.spec.arm != arm or record.kind != Purpose.SEARCH or record.score is None:
            continue
        curve = record.training.adaptation.get("by_size") or {size_of(record): record.score}
        for rank, score in curve.items():
            found.setdefault(str(rank), []).append(score)
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def error(scores: list[float]) -> float:
    """Of their mean; not a number for one score."""
    return stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    args = parser.parse_args()
    found = compared(Store(args.store, create=False))
    if not set.intersection(*map(set, found.values())):
        raise SystemExit(f"{args.store}: expected runs of dylora and lora at a rank of both")
    kept.write(args.store / "dylora.json", found, text, figure)


def compared(store: Store, before: Any = None) -> dict[str, dict[str, list[float]]]:
    """The scores of both at every rank. ``before``: what an older call gave; it does not count."""
    records = store.all()
    return {name: by_rank(records, arm) for name, arm in (("DyLoRA", "dylora"), ("LoRA", "lora"))}


def text(found: dict[str, dict[str, list[float]]]) -> str:
    """A line for each rank that both have."""
    one, each = found["DyLoRA"], found["LoRA"]
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
    return pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3f}") + "\n"


def figure(found: dict[str, dict[str, list[float]]]) -> Figure:
    """Score against rank, for both."""
    drawn = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = drawn.subplots()
    for name, label, colour, marker in (
        ("DyLoRA", "DyLoRA, all ranks from each run", "#0072B2", "o"),
        ("LoRA", "LoRA, a run a rank", "#D55E00", "s"),
    ):
        ranks, scores = list(map(int, found[name])), list(found[name].values())
        axes.errorbar(
            ranks, list(map(fmean, scores)), list(map(error, scores)), marker=marker, color=colour,
            ms=4, lw=1, capsize=2, label=f"{label} (n = {max(map(len, scores))})",
        )  # fmt: skip
    ranks = sorted({int(rank) for by in found.values() for rank in by})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.set_xlabel("rank r")
    axes.set_ylabel("score (mean and its error)")
    axes.grid(alpha=0.2)
    axes.legend(fontsize=8, loc="best")
    return drawn


if __name__ == "__main__":
    main()

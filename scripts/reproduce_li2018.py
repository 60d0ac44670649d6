"""Train MNIST FC or LeNet in subspaces by the published recipe. Compare with the published curve.

    python scripts/reproduce_li2018.py --data-dir path/to/mnist \\
        --published path/to/li2018_curves.json

A run of mnist-fc at 100 epochs takes some 300 seconds on one core. If the script is started again,
it does not repeat the runs in --out.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import kept
import pandas as pd

from idim import conductor
from idim.answers.summary import derive, keep
from idim.config import Config
from idim.report.page import draw
from idim.report.words import answer_text
from idim.resolve import resolve
from idim.store import Store
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.watcher import Watcher

CURVES = {"mnist-fc": "mnist_fc_784_200_200_10", "mnist-lenet": "mnist_lenet"}


def published_at(rows: list[list[float]], d: int) -> float:
    """The published mean score at d. If d was not run, it is interpolated in log d."""
    by_d: dict[int, list[float]] = {}
    for x, y in rows:
        if x:
            by_d.setdefault(x, []).append(y)
    if d in by_d:
        return fmean(by_d[d])
    below, above = max(x for x in by_d if x < d), min(x for x in by_d if x > d)
    t = math.log(d / below) / math.log(above / below)
    return (1 - t) * fmean(by_d[below]) + t * fmean(by_d[above])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--published", required=True)
    parser.add_argument("--model", choices=CURVES, default="mnist-fc")
    parser.add_argument("--grid", default="100,300,500,625,750,1000")
    parser.add_argument("--epochs", type=float, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="results/li2018")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    grid = tuple(int(d) for d in args.grid.split(","))
    config = Config(
        args.model,
        "idx",
        arm="did",
        protocol="li2018",
        grid=grid,
        data_dir=args.data_dir,
        num_train_epochs=args.epochs,
        baselines=args.seeds,
        repeats=args.seeds,
        max_runs=10**6,
        out=args.out,
        workers=args.workers,
    )
    watcher = Watcher(say=lambda line: print(line, flush=True))
    store = Store(args.out)
    summary = conductor.measure(resolve(config), store, watcher)
    summaries = derive(store)
    keep(store, summaries)
    list(draw(store, summaries))
    published = json.loads(Path(args.published).read_text())["curves"][CURVES[args.model]]
    found = {"id": summary.id, "model": args.model, "epochs": args.epochs}
    found |= compared(summary, store.all(), {d: published_at(published, d) for d in grid})
    kept.write(Path(args.out, f"{args.model}.json"), found, text)


def again(store: Store, found: dict[str, Any]) -> dict[str, Any]:
    """What the records say today, beside the published scores of then."""
    (summary,) = [s for s in derive(store) if s.id == found["id"]]
    assert isinstance(summary, SearchSummary)
    published = {row["d"]: row["published"] for row in found["rows"]}
    return found | compared(summary, store.all(), published)


def compared(
    summary: SearchSummary, records: list[Record], published: dict[int, float]
) -> dict[str, Any]:
    """Our scores beside the published ones at every d of these, and what the search answers."""
    runs = [r for r in records if r.kind == Purpose.SEARCH and r.key in summary.keys]
    rows = []
    for d in published:
        scores = [r.score for r in runs if r.training.d_total == d]
        late = [[p.score for p in r.training.curve] for r in runs if r.training.d_total == d]
        gain = fmean(c[-1] - c[int(0.8 * (len(c) - 1))] for c in late)
        rows.append(
            {
                "d": d,
                "n": len(scores),
                "ours": fmean(scores),
                "lowest": min(scores),
                "highest": max(scores),
                "published": published[d],
                "difference": fmean(scores) - published[d],
                "gain in the last fifth": gain,
            }
        )
    return {
        "rows": rows,
        "full": summary.levels.full,
        "n": summary.levels.n,
        "answer": answer_text(summary.answer),
        "interval": answer_text(summary.interval),
        "tau of the own baseline": summary.levels.tau_raw,
        "d90 of the own baseline": answer_text(summary.crossing("raw")),
    }


def text(found: dict[str, Any]) -> str:
    """The table, and the answers."""
    table = pd.DataFrame(found["rows"]).to_string(index=False, float_format=lambda v: f"{v:.4f}")
    return (
        f"{found['model']}, {found['epochs']:g} epochs, "
        f"full {found['full']:.4f} (n = {found['n']})\n{table}\n"
        f"d at accuracy > 0.900: {found['answer']}; "
        f"by the model of the curve {found['interval']}\n"
        f"d90 of the own baseline, threshold {found['tau of the own baseline']:.4f}: "
        f"{found['d90 of the own baseline']}\n"
    )


if __name__ == "__main__":
    main()

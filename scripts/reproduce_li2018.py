"""Train MNIST FC or LeNet in subspaces by the published recipe. Compare with the published curve.

    python scripts/reproduce_li2018.py --data-dir path/to/mnist \\
        --published path/to/li2018_curves.json

A run of mnist-fc at 100 epochs takes some 300 seconds on one core. If the script is started again,
it does not repeat the runs in --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean

import pandas as pd

from idim import conductor
from idim.answers.summary import derive, keep
from idim.config import Config
from idim.report.page import draw
from idim.report.words import answer_text
from idim.resolve import resolve
from idim.store import Store, write_json
from idim.values.purpose import Purpose
from idim.watcher import Watcher

CURVES = {"mnist-fc": "mnist_fc_784_200_200_10", "mnist-lenet": "mnist_lenet"}


def published_at(rows: list[list[float]], d: int) -> float | None:
    """The published mean score at d. If d was not run, it is interpolated in log d."""
    import math

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
    runs = [r for r in store.all() if r.kind == Purpose.SEARCH and r.key in summary.keys]
    rows = []
    for d in grid:
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
                "published": published_at(published, d),
                "gain in the last fifth": gain,
            }
        )
    frame = pd.DataFrame(rows)
    frame.insert(6, "difference", frame["ours"] - frame["published"])
    text = frame.to_string(index=False, float_format=lambda v: f"{v:.4f}")
    lines = [
        f"{args.model}, {args.epochs:g} epochs, "
        f"full {summary.levels.full:.4f} (n = {summary.levels.n})",
        text,
        f"d at accuracy > 0.900: {answer_text(summary.answer)}; "
        f"by the model of the curve {answer_text(summary.interval)}",
        f"d90 of the own baseline, threshold {summary.levels.tau_raw:.4f}: "
        f"{answer_text(summary.crossing('raw'))}",
    ]
    print("\n".join(lines))
    Path(args.out, f"{args.model}.txt").write_text("\n".join(lines) + "\n")
    write_json(
        Path(args.out, f"{args.model}.json"), {"rows": json.loads(frame.to_json(orient="records"))}
    )


if __name__ == "__main__":
    main()

"""Measure d90 of a small net on digits by brute force: many d, many seeds, every rate tuned.

    python scripts/measure_digits.py --workers 2

At each d the script tries seven rates, with five seeds each, and takes the one with the best mean
on the tuning split. Then it scores twelve fresh seeds on the measuring split. No curve is assumed:
d90 is where the isotonic mean crosses tau. A bootstrap over the seeds of full fine-tuning and of
every d gives the interval. The script writes digits.json into --out. Searches are compared with
that value.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import numpy as np

from idim import specs
from idim.config import Config
from idim.resolve import resolve
from idim.runs import Runs
from idim.search.isotonic import isotonic
from idim.search.threshold import Baseline, Point, Target
from idim.store import Store, write_json
from idim.values.purpose import Purpose
from idim.watcher import Watcher

D = (48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320)
FULL_RATES = (0.003, 0.006, 0.01, 0.02, 0.03, 0.06)
FACTORS = (0.18, 0.3, 0.5, 0.8, 1.3, 2.2, 3.7)
TUNING, SEEDS, FULL_SEEDS, AGAIN = 5, 12, 20, 2000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", default="idim-out/digits", help="all records; not kept")
    parser.add_argument("--out", type=Path, default=Path("results/digits"))
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    # No search in results/ used this master seed.
    config = Config(
        "mlp:64-32-10", "digits", arm="did", seed=20_261, out=args.store, workers=args.workers
    )
    plan = resolve(config)
    runs = Runs(plan, Store(args.store), Watcher(say=lambda line: print(line, flush=True)))

    def tuned(d: int | None, rates: list[float]) -> tuple[float, dict[str, float]]:
        wanted = [
            specs.make(plan, Purpose.TUNE, d, i, r, split="tune")
            for r in rates
            for i in range(TUNING)
        ]
        scores = [r.score or 0.0 for r in runs.of(wanted, "did" if d else "full")]
        mean = {r: fmean(scores[n * TUNING : (n + 1) * TUNING]) for n, r in enumerate(rates)}
        return max(mean, key=mean.get), {f"{r:g}": round(v, 4) for r, v in mean.items()}

    full_rate, full_tried = tuned(None, list(FULL_RATES))
    records = runs.of(
        [specs.make(plan, Purpose.BASELINE, None, i, full_rate) for i in range(FULL_SEEDS)], "full"
    )
    full = [r.score for r in records]
    chance = max(records[0].training.majority, fmean(r.training.untouched for r in records))
    table = {}
    for d in D:
        law = full_rate * (plan.facts.D / d) ** 0.75
        rate, tried = tuned(d, [float(f"{f * law:.3g}") for f in FACTORS])
        found = runs.of([specs.make(plan, Purpose.SEARCH, d, i, rate) for i in range(SEEDS)], "did")
        table[d] = {
            "rate": rate,
            "of the law": rate / law,
            "tuning": tried,
            "scores": [r.score or chance for r in found],
        }

    def crossing(fulls: list[float], scores: dict[int, list[float]]) -> float | None:
        target = Target(Baseline.of(fulls, chance), "chance")
        return isotonic([Point(d, s) for d, each in scores.items() for s in each], target)

    draw = np.random.default_rng(0)
    again = [
        crossing(
            list(draw.choice(full, len(full))),
            {d: list(draw.choice(v["scores"], SEEDS)) for d, v in table.items()},
        )
        for _ in range(AGAIN)
    ]
    ends = np.quantile([v for v in again if v is not None], (0.05, 0.5, 0.95))
    write_json(
        args.out / "digits.json",
        {
            "model": config.model,
            "task": config.task,
            "arm": "did",
            "steps": plan.steps,
            "D": plan.facts.D,
            "chance": chance,
            "full": {"rate": full_rate, "tuning": full_tried, "scores": full},
            "d": {str(d): v for d, v in table.items()},
            "d90": {
                "estimate": 2 ** crossing(full, {d: v["scores"] for d, v in table.items()}),
                "low": 2 ** ends[0],
                "high": 2 ** ends[2],
            },
        },
    )
    print(
        f"d90 = {2 ** ends[1]:.0f} [{2 ** ends[0]:.0f}, {2 ** ends[2]:.0f}], "
        f"90 % of {AGAIN} bootstrap samples"
    )


if __name__ == "__main__":
    main()

"""Train MNIST FC at 40 values of d with 20 seeds each, and keep every learning curve in one table.

    python scripts/make_replay.py --data-dir path/to/mnist --workers 2

scripts/study_search.py replays searches on the table. The script makes 820 runs of some 5 seconds
on one core, and 24 longer ones, which show whether the recipe has converged. If it is started
again, it does not repeat the runs in --store.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from statistics import fmean, median

from idim import specs
from idim.config import Config
from idim.rates.law import untuned
from idim.resolve import resolve
from idim.runs import Runs
from idim.store import Store, write_json
from idim.values.purpose import Purpose
from idim.watcher import Watcher

SEEDS = 20
D = sorted({round(2 ** (4 + 9 * i / 39)) for i in range(40)})
#: Longer budgets, as multiples of the usual one. At which d they are tried, and with how many
#: seeds.
LONGER, LONGER_D, LONGER_SEEDS = (2.0, 4.0), (D[15], D[22], D[28]), 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--store", default="idim-replay", help="all records; not kept")
    parser.add_argument("--out", type=Path, default=Path("results/replay/mnist-fc.json"))
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    config = Config(
        "mnist-fc",
        "idx",
        arm="did",
        data_dir=args.data_dir,
        batch_size=256,
        num_train_epochs=5,
        learning_rate=3e-3,
        out=args.store,
        workers=args.workers,
    )
    plan = resolve(config)
    runs = Runs(plan, Store(args.store), Watcher(say=lambda line: print(line, flush=True)))
    rate = untuned(plan)
    wanted = {("full", i): specs.make(plan, Purpose.BASELINE, None, i, 3e-3) for i in range(SEEDS)}
    wanted |= {
        (d, i): specs.make(plan, Purpose.SEARCH, d, i, rate(d)) for d in D for i in range(SEEDS)
    }
    wanted |= {
        (f, d, i): specs.make(plan, Purpose.CHECK, d, i, rate(d), budget=f)
        for f in LONGER
        for d in LONGER_D
        for i in range(LONGER_SEEDS)
    }
    records = dict(zip(wanted, runs.of(list(wanted.values()), "replay"), strict=True))
    one = records[D[0], 0]

    def curves(size: int | str) -> list[list[float]]:
        return [[p.score for p in records[size, i].training.curve] for i in range(SEEDS)]

    def longer(f: float, d: int) -> float:
        """How much the mean score at d gains from f times the budget."""
        return fmean(records[f, d, i].score for i in range(LONGER_SEEDS)) - fmean(
            c[-1] for c in curves(d)
        )

    full = [records["full", i].training for i in range(SEEDS)]
    write_json(
        args.out,
        {
            "recipe": dataclasses.asdict(one.spec.recipe) | {"learning_rate": "3e-3 (D / d)^0.75"},
            "D": plan.facts.D,
            "steps": one.training.steps,
            "packages": one.origin.packages,
            "git_commit": one.origin.git_commit,
            "task_fingerprint": plan.data.fingerprint,
            "seconds": median(r.training.seconds for r in records.values()),
            "seeds": SEEDS,
            "chance": max(full[0].majority, fmean(i.untouched for i in full)),
            "gain of longer runs": {
                f"{f:g}": {str(d): longer(f, d) for d in LONGER_D} for f in LONGER
            },
            "shares": [p.step / one.training.steps for p in one.training.curve],
            "full": curves("full"),
            "d": {str(d): curves(d) for d in D},
        },
    )


if __name__ == "__main__":
    main()

"""Which optimiser and schedule for theta? The d90 of each, on two tasks, and how the rate moves it.

    python scripts/study_optimizers.py --data-dir path/to/mnist --workers 2

For each pair of optimiser and schedule the script searches coarsely for the best rate at two d. It
draws a straight line of log rate in log d through the two. Then it finds d90 from runs at four or
five d, two or four seeds each, with the rate at a quarter, half, once, twice and four times the
line. It also notes how many seconds a run takes.

All pairs have one threshold: chance-corrected, from full fine-tuning by Adam with a linear
schedule. All pairs share their seeds, so they see the same projections. The script writes
study.json and study.txt into --out. If it is started again, it does not repeat the runs in --store.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import kept
import pandas as pd
import torch

from idim import specs, train
from idim.answers.evidence import baseline_of, points_of
from idim.config import Config
from idim.rates.law import untuned
from idim.resolve import resolve
from idim.runs import Runs
from idim.search.answer import Belief
from idim.search.threshold import Target
from idim.store import Store
from idim.values.purpose import Purpose
from idim.values.recipe import CHOICES
from idim.values.record import Record
from idim.watcher import Watcher


class FullMatrix(torch.optim.Optimizer):
    """Adam with the whole second-moment matrix V of theta instead of its diagonal.

    A step is theta -= rate * (V + floor)^(-1/2) m. V is d x d, so this is for small d. The floor is
    a tenth of V's mean eigenvalue, because V is built from few gradients. The root is computed anew
    at every power of two and at every multiple of ``EVERY``. Unlike Adam, this optimiser does not
    depend on the basis of the subspace.

    Sources: GGT (Agarwal et al. 2019), Shampoo (Gupta et al. 2018).
    """

    EVERY, FLOOR = 64, 0.1

    def __init__(self, groups: list[dict], betas: tuple[float, float]):
        super().__init__(groups, {"betas": betas})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                self._move(p, group["lr"], *group["betas"])

    def _move(self, p: torch.Tensor, rate: float, beta1: float, beta2: float) -> None:
        state, g = self.state[p], p.grad.flatten()
        if not state:
            state |= {
                "step": 0,
                "m": torch.zeros_like(g),
                "V": torch.zeros(g.numel(), g.numel(), device=g.device),
            }
        state["step"] += 1
        step, V = state["step"], state["V"]
        state["m"].lerp_(g, 1 - beta1)
        V.mul_(beta2).addr_(g, g, alpha=1 - beta2)
        if step % self.EVERY == 0 or step & (step - 1) == 0:
            values, vectors = torch.linalg.eigh(V / (1 - beta2**step))
            values = values.clamp_min(0)
            state["root"] = (
                vectors * (values + self.FLOOR * values.mean() + 1e-30).rsqrt()
            ) @ vectors.T
        p -= rate * (state["root"] @ (state["m"] / (1 - beta1**step))).view_as(p)


# Added at import, so that the worker processes know it too.
CHOICES["optimizer"] += ("full-matrix",)
train.OPTIMIZERS["full-matrix"] = lambda groups, recipe: FullMatrix(groups, (0.9, recipe.beta2))

PAIRS = (
    ("adam", "linear"),
    ("adam", "constant"),
    ("sgd", "linear"),
    ("sgd", "constant"),
    ("full-matrix", "linear"),
)
#: The rates: first, at two d, these multiples of the start. Then these multiples of the line.
COARSE, ABOUT = (1 / 16, 1 / 4, 1.0, 4.0, 16.0), (1 / 4, 1 / 2, 1.0, 2.0, 4.0)
#: SGD starts from this rate at every d. P has unit columns, so a step does not shrink as d grows.
SGD_RATE = 3.0
BASELINES = 5


def tasks(
    data_dir: str | None, store: str, workers: int
) -> list[tuple[Config, tuple[int, ...], int]]:
    """For each task: what is trained, at which d, and with how many seeds at each."""
    common = {
        "arm": "did",
        "out": store,
        "workers": workers,
        "learning_rate": 3e-3,
        "baselines": BASELINES,
    }
    listed = [
        (
            Config("mlp:64-200-200-10", "digits", batch_size=64, num_train_epochs=20, **common),
            (80, 120, 170, 240, 340),
            4,
        )
    ]
    if data_dir:
        listed.append(
            (
                Config(
                    "mnist-fc",
                    "idx",
                    data_dir=data_dir,
                    batch_size=256,
                    num_train_epochs=5,
                    **common,
                ),
                (400, 570, 800, 1130),
                2,
            )
        )
    return listed


def measure(config: Config, sizes: tuple[int, ...], seeds: int) -> Iterator[dict]:
    """One row for each pair of optimiser and schedule."""
    plan = resolve(config)
    runs = Runs(plan, Store(config.out), Watcher(say=lambda line: print(line, flush=True)))
    full = runs.of(
        [
            specs.make(plan, Purpose.BASELINE, None, i, config.learning_rate)
            for i in range(BASELINES)
        ],
        "full",
    )
    target = Target(baseline_of(full), "chance")
    law = untuned(plan)

    def run(wanted: list[tuple[int, int, float]], optimizer: str, schedule: str) -> list[Record]:
        made = [specs.make(plan, Purpose.SEARCH, d, i, rate) for d, i, rate in wanted]
        changed = [
            dataclasses.replace(
                s,
                recipe=dataclasses.replace(
                    s.recipe, optimizer=optimizer, schedule=schedule, evaluations=1
                ),
            )
            for s in made
        ]
        return runs.of(changed, f"did/{optimizer}/{schedule}")

    for optimizer, schedule in PAIRS:
        start = (lambda d: SGD_RATE) if optimizer == "sgd" else law
        ends = (sizes[0], sizes[-1])
        tried = [(d, f) for d in ends for f in COARSE]
        scores = [
            r.score or 0.0
            for r in run([(d, 0, f * start(d)) for d, f in tried], optimizer, schedule)
        ]
        best = [
            math.log(
                start(d) * max((s, f) for s, (e, f) in zip(scores, tried, strict=True) if e == d)[1]
            )
            for d in ends
        ]
        slope = (best[1] - best[0]) / math.log(ends[1] / ends[0])

        def rate(d: int) -> float:
            return math.exp(best[0] + slope * math.log(d / ends[0]))

        wanted = [(f, d, i) for f in ABOUT for d in sizes for i in range(seeds)]
        records = run([(d, i, f * rate(d)) for f, d, i in wanted], optimizer, schedule)
        row = {
            "task": f"{config.model} x {config.task}",
            "optimizer": optimizer,
            "schedule": schedule,
            "rate": {str(d): rate(d) for d in ends},
            "d90": {},
        }
        for f in ABOUT:
            mine = [r for r, (g, _, _) in zip(records, wanted, strict=True) if g == f]
            answer = Belief(points_of(mine), target, 1, plan.facts.D).interval(target)
            row["d90"][f"{f:g}"] = answer | {
                "scores": {
                    str(d): [r.score for r in mine if r.training.d_total == d] for d in sizes
                }
            }
        yield row | {
            "seconds": median(r.training.seconds for r in records),
            "tau": target.tau,
            "full": target.baseline.mean,
        }


def text(found: dict) -> str:
    """d90 by every pair of optimiser and schedule."""

    def cell(answer: dict) -> str:
        bounds = [f"{answer[k]:,}" if answer[k] else "-" for k in ("estimate", "low", "high")]
        return f"{bounds[0]} [{bounds[1]}, {bounds[2]}]"

    frame = pd.DataFrame(
        [
            {
                "task": r["task"],
                "optimizer": r["optimizer"],
                "schedule": r["schedule"],
                "rates": " to ".join(f"{v:.2g}" for v in r["rate"].values()),
                **{f"x {f}": cell(a) for f, a in r["d90"].items()},
                "seconds": round(r["seconds"], 1),
            }
            for r in found["rows"]
        ]
    )
    return (
        f"d90 [90 % interval] with the rate at these multiples of the best line\n\n"
        f"{frame.to_string(index=False)}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="MNIST's folder; without it, digits alone")
    parser.add_argument("--store", default="idim-optimizers", help="all records; not kept")
    parser.add_argument("--out", type=Path, default=Path("results/optimizers"))
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    rows = []
    for config, sizes, seeds in tasks(args.data_dir, args.store, args.workers):
        for row in measure(config, sizes, seeds):
            rows.append(row)
            kept.write(args.out / "study.json", {"rows": rows}, text)


if __name__ == "__main__":
    main()

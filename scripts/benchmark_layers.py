"""Time P theta and its gradient through a model's weights, one after the other, for large d.

    python scripts/benchmark_layers.py --out results/projections

A training step forms the weights layer by layer, from the first to the last, and takes their
gradients from the last to the first. The weights are of MiniLM's shapes: D = 22.7 million in some
hundred tensors. d runs up to D: then one block holds all weights. Where blocks are long, a block is
kept from one weight to the next; for comparison it is made again for each weight, too. These and a
copy of D floats are timed in turn. Some three minutes on two cores; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import kept
import pandas as pd
import torch

import projections
from projections.engines import products

WIDTH, LAYERS, WORDS, PLACES = 384, 6, 30_522, 512
DIMENSIONS = (10_000, 100_000, 1_000_000, 4_000_000, 22_713_986)
REPEATS = 3
GROUPS = LAYERS + 2


def sizes() -> list[int]:
    """The numbers of MiniLM's weights, in order."""
    n = WIDTH
    layer = [n * n, n] * 4 + [n, n, 4 * n * n, 4 * n, 4 * n * n, n, n, n]
    return [WORDS * n, PLACES * n, 2 * n, n, n, *layer * LAYERS, n * n, n, 2 * n, 2]


class Step:
    """The weights and gradients that one step goes through."""

    def __init__(self) -> None:
        self.sizes = sizes()
        self.D = sum(self.sizes)
        self.origin, self.out, self.gradient = torch.randn(3, self.D)
        self.scales = torch.linspace(0.5, 2, GROUPS)

    def take(self, p: projections.Projection, theta: torch.Tensor) -> None:
        """Form all weights, then take their gradients, with a scale for each group."""
        places, start = [], 0
        for n in self.sizes:
            places.append(slice(start, start + n))
            start += n
        image = p.image(theta)
        for i, at in enumerate(places):
            move = projections.Shift(
                at.start, self.out[at], self.origin[at], float(self.scales[i % GROUPS])
            )
            image.shift_all([move])
        total = p.scaled_gradient(image, self.scales)
        for i, at in reversed(list(enumerate(places))):
            total.add_all([projections.GradientPart(self.gradient[at], at.start, i % GROUPS)])
        total.finish(theta)


def measure(step: Step, family: str, d: int) -> dict:
    """One case: both ways' times as ratios to a copy."""
    p = projections.make(family, step.D, min(d, step.D), seed=1)
    theta = torch.linspace(-1, 1, p.d)
    timed: dict[str, Callable[[], object]] = {
        "copy": lambda: step.out.copy_(step.origin),
        "kept": lambda: step.take(p, theta),
    }
    if p.grain > products.LONG:
        timed["again"] = lambda: made_again(step, p, theta)
    times: dict[str, list[float]] = {name: [] for name in timed}
    step.take(p, theta)
    for _ in range(REPEATS):
        for name, run in timed.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    ms = {name: 1e3 * median(each) for name, each in times.items()}
    return {
        "family": family,
        "d": p.d,
        "engine": p.engine,
        "block": p.grain,
        "repeats": REPEATS,
        **{f"{name}_ms": each for name, each in ms.items()},
        **{f"{name}_ratio": each / ms["copy"] for name, each in ms.items() if name != "copy"},
    }


def made_again(step: Step, p: projections.Projection, theta: torch.Tensor) -> None:
    """The step with no block kept."""
    long, products.LONG = products.LONG, step.D * 2
    try:
        step.take(p, theta)
    finally:
        products.LONG = long


def text(record: dict) -> str:
    """All cases."""
    table = pd.DataFrame(record["rows"]).to_string(index=False, float_format=_number, na_rep="-")
    return (
        f"P theta and its gradient through {record['tensors']} weights, D = {record['D']:,}, "
        f"{record['threads']} threads, {record['device']}, torch {record['torch']}.\n{table}\n"
    )


def _number(x: float) -> str:
    return f"{x:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", default="orthonormal")
    parser.add_argument("--dimensions", default=",".join(map(str, DIMENSIONS)))
    parser.add_argument("--out", default="results/projections")
    args = parser.parse_args()
    step, rows = Step(), []
    for family in args.families.split(","):
        for d in map(int, args.dimensions.split(",")):
            rows.append(measure(step, family, d))
            print(rows[-1], flush=True)
    record = {
        "rows": rows,
        "D": step.D,
        "tensors": len(step.sizes),
        "threads": torch.get_num_threads(),
        "device": platform.machine(),
        "torch": torch.__version__,
    }
    kept.write(Path(args.out, "layers.json"), record, text)


if __name__ == "__main__":
    main()

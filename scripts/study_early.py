"""How often early stopping errs, on every kept set of runs with whole learning curves.

    python scripts/study_early.py

The mean final score at each d of a set is a threshold in turn. The script follows every whole run
that lies more than NEAR octaves from that d until early stopping would end it. The noise of a run
comes from the set's runs at the same d. If there are too few at every d, it comes from the runs of
full fine-tuning. The script writes early.json into --out. It takes seconds.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import fmean, pstdev, stdev

from scipy import stats

from idim.search.design import NEAR
from idim.search.early import outlook
from idim.store import Store, write_json
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.training import Status

RESULTS = Path(__file__).resolve().parent.parent / "results"
Curves = dict[int, list[list[tuple[float, float]]]]  # by d: (fraction of the steps, score)


def replay() -> tuple[Curves, list[float], float]:
    """The table of MNIST FC: learning curves by d, scores of full runs, chance."""
    table = json.loads((RESULTS / "replay/mnist-fc.json").read_text())
    curves = {
        int(d): [list(zip(table["shares"], c, strict=True)) for c in each]
        for d, each in table["d"].items()
    }
    return curves, [c[-1] for c in table["full"]], table["chance"]


def kept(store: Store, question: Question) -> tuple[Curves, list[float], float]:
    """The same for one kept search."""
    records = question.of(store.all())
    full = [r for r in records if r.kind == Purpose.BASELINE and r.score is not None]
    chance = max(fmean(r.training.untouched for r in full), full[0].training.majority or -math.inf)
    curves: Curves = {}
    for r in records:
        if r.kind == Purpose.SEARCH and r.status == Status.OK:
            info = r.training
            curves.setdefault(info.d_total, []).append(
                [(p.step / info.steps, p.score) for p in info.curve]
            )
    return curves, [r.score for r in full], chance


def judged(curves: Curves, full: list[float], chance: float) -> dict:
    """Follow every run against every threshold whose d lies far enough from its own.

    Args:
        curves: the learning curves by d.
        full: the scores of full fine-tuning.
        chance: the score of knowing nothing.

    Returns:
        One row: how many runs were judged and stopped, and how many of the stops were wrong.
    """
    spreads = [stdev(finals) for c in curves.values() if len(finals := [v[-1][1] for v in c]) > 2]
    noise = fmean(spreads) if spreads else stdev(full) if len(full) > 2 else pstdev(full)
    asked = stopped = wrong = 0
    erring = set()
    for d0, there in curves.items():
        tau = fmean(c[-1][1] for c in there)
        far = [
            (d, i)
            for d, c in curves.items()
            if abs(math.log2(d / d0)) > NEAR
            for i in range(len(c))
        ]
        for run in far:
            curve = curves[run[0]][run[1]]
            asked += tau > chance
            for n in range(1, len(curve)) if tau > chance else ():
                if side := outlook(curve[:n], tau, chance, noise):
                    stopped += 1
                    if (curve[-1][1] >= tau) != (side == "above"):
                        wrong += 1
                        erring.add(run)
                    break
    # A run that is judged at forty thresholds is still one run.
    runs = sum(map(len, curves.values()))
    return {
        "runs": runs,
        "thresholds": len(curves),
        "noise": noise,
        "judged": asked,
        "stopped": stopped,
        "wrong": wrong,
        "runs ever wrong": len(erring),
        "upper 95 % limit": float(
            stats.beta.ppf(0.95, len(erring) + 1, max(runs - len(erring), 1))
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "search")
    args = parser.parse_args()
    rows = {"replay": judged(*replay())}
    for folder in sorted(p.parent for p in RESULTS.glob("*/searches")):
        store = Store(folder, create=False)
        for question in store.questions():
            if question.arm != "lora":
                rows[f"{folder.name}/{question.id}"] = judged(*kept(store, question))
    write_json(args.out / "early.json", rows)
    for name, row in rows.items():
        print(
            f"{name}: {row['wrong']} wrong of {row['stopped']} stops "
            f"({row['judged']} judged, {row['runs']} runs)"
        )


if __name__ == "__main__":
    main()

"""Which rule for LoRA's alpha needs one rate for all ranks? Trains ranks x rates x rules x seeds.

    python scripts/study_ranks.py --model minilm --task trec6 --steps 115
    python scripts/study_ranks.py --model mlp:64-32-10 --task digits --steps 200
    python scripts/study_ranks.py --model mnist-fc --task idx --data-dir path/to/mnist --steps 400

The rules are alpha = 2 r, a fixed alpha of 2, 4, 16 and 32, and rsLoRA's alpha / sqrt(r). For each
rule and rank the best rate is the top of a parabola through the mean scores over the logarithm of
the rate, near the best one tried. The slope of its logarithm over that of the rank says how the
best rate moves: 0 is flat. The script writes ranks-MODEL-TASK.json and .txt into --out. It keeps
every run, and goes on where it was.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import fmean

import kept
import numpy as np
import pandas as pd

from idim import conductor
from idim.config import Config
from idim.resolve import resolve_single
from idim.store import Store

#: By the rule's name: the arm, and its alpha; 0 is twice the rank.
RULES = {
    "alpha = 2 r": ("lora", 0),
    "alpha = 2": ("lora", 2),
    "alpha = 4": ("lora", 4),
    "alpha = 16": ("lora", 16),
    "alpha = 32": ("lora", 32),
    "16 over sqrt(r)": ("rslora", 16),
}


def best(scores: dict[float, float]) -> float:
    """The logarithm of the best rate, by a parabola through the best one tried and its neighbours.

    At an end of the rates it is that end.
    """
    rates = sorted(scores)
    at = max(range(len(rates)), key=lambda i: scores[rates[i]])
    if at in (0, len(rates) - 1):
        return math.log(rates[at])
    x = np.log(rates[at - 1 : at + 2])
    a, b, _ = np.polyfit(x, [scores[r] for r in rates[at - 1 : at + 2]], 2)
    return float(np.clip(-b / (2 * a), x[0], x[-1])) if a < 0 else float(x[1])


def text(found: dict) -> str:
    """The best rate of every rank, and how it moves with the rank."""
    table = pd.DataFrame(found["rows"]).to_string(index=False, float_format=lambda v: f"{v:.3g}")
    slopes = [f"{rule}: best rate ~ rank^{v:+.2f}" for rule, v in found["slopes"].items()]
    return "\n".join([table, "", *slopes]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--full-rate", type=float, default=0.0, help="default: the model's own")
    parser.add_argument("--ranks", default="1,4,16,64")
    parser.add_argument("--rules", default=",".join(RULES), help="default: all")
    parser.add_argument("--factors", default="1,3,10,30,100", help="rates over full fine-tuning's")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--max-seq-length", type=int, default=24)
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--out", type=Path, default=Path("results/ranks"))
    args = parser.parse_args()
    store = Store(args.out)
    common = {
        "model": args.model,
        "task": args.task,
        "max_steps": args.steps,
        "max_seq_length": args.max_seq_length,
        "data_dir": args.data_dir,
        "precision": args.precision,
        "out": str(args.out),
    }
    first = resolve_single(Config(**common, arm="lora", rank=1))
    full = args.full_rate or first.recipe.learning_rate
    ranks = [r for r in map(int, args.ranks.split(",")) if r <= first.facts.width]
    rows = []
    rules = {name: RULES[name] for name in args.rules.split(",")}
    factors = [float(factor) for factor in args.factors.split(",")]
    for rule, (arm, alpha) in rules.items():
        for rank in ranks:
            scores = {}
            for factor in factors:
                asked = {"arm": arm, "rank": rank, "lora_alpha": alpha}
                asked["alpha_twice_rank"] = not alpha
                found = []
                for seed in range(args.seeds):
                    rate = {"lora_learning_rate": factor * full, "seed": seed}
                    plan = resolve_single(Config(**common, **asked, **rate))
                    record = conductor.train_one(plan, store)
                    found.append(record.score or 0.0)
                scores[factor * full] = fmean(found)
            rows.append(
                {
                    "rule": rule,
                    "rank": rank,
                    "best rate": math.exp(best(scores)),
                    "score": max(scores.values()),
                    **{f"{factor:g}x": scores[factor * full] for factor in factors},
                }
            )
            print(rows[-1], flush=True)
    slopes = {}
    for rule in rules:
        mine = [r for r in rows if r["rule"] == rule]
        x, y = np.log([r["rank"] for r in mine]), np.log([r["best rate"] for r in mine])
        slopes[rule] = float(np.polyfit(x, y, 1)[0]) if len(mine) > 1 else math.nan
    name = f"ranks-{args.model}-{args.task}".replace(":", "-").replace("/", "-")
    found = {"rows": rows, "slopes": slopes, "seeds": args.seeds}
    kept.write(args.out / f"{name}.json", found, text)


if __name__ == "__main__":
    main()

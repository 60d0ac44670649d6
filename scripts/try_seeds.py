"""Search digits from ten master seeds, and compare every answer with scripts/measure_digits.py.

    python scripts/try_seeds.py

Each seed is searched twice: with the README's grid, and with the protocol trust unchanged. An
interval agrees if it overlaps the 90 % interval of the brute-force value. The script writes
seeds.json and seeds.txt into --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import kept
import pandas as pd

from idim import conductor
from idim.config import Config
from idim.report.words import answer_text
from idim.resolve import resolve
from idim.store import Store
from idim.values.findings import Crossing

LINES = {"grid": {"design": "grid", "grid": (32, 64, 128, 256), "repeats": 3}, "trust": {}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--store", default="idim-out/seeds", help="all records; not kept")
    parser.add_argument("--out", type=Path, default=Path("results/digits"))
    args = parser.parse_args()
    truth = json.loads((args.out / "digits.json").read_text())["d90"]
    rows = []
    for name, more in LINES.items():
        for seed in range(args.seeds):
            config = Config("mlp:64-32-10", "digits", arm="did", seed=seed, **more)
            found = conductor.measure(resolve(config), Store(args.store))
            interval = found.interval or Crossing(None, None, None, None)
            rows.append(
                {
                    "line": name,
                    "seed": seed,
                    "verdict": str(found.verdict),
                    "interval": answer_text(found.interval),
                    "new data": answer_text(found.interval_new_data),
                    "bracket": ""
                    if found.answer is None or found.answer.level
                    else answer_text(found.answer),
                    "overlaps": (interval.low or 0) <= truth["high"]
                    and (interval.high or float("inf")) >= truth["low"],
                    "full": round(found.levels.full, 4),
                    "runs": sum(found.cost.runs.values()),
                }
            )
            print(rows[-1], flush=True)
    kept.write(args.out / "seeds.json", {"truth": truth, "rows": rows}, text)


def text(found: dict) -> str:
    """Every search, and how many hold the truth."""
    frame, truth = pd.DataFrame(found["rows"]), found["truth"]
    counts = frame.groupby("line").agg(
        overlap=("overlaps", "sum"),
        n=("overlaps", "size"),
        not_reached=("verdict", lambda v: int((v == "not_reached").sum())),
    )
    return (
        f"{frame.to_string(index=False)}\n\nheld against d90 = {truth['estimate']:.0f} "
        f"[{truth['low']:.0f}, {truth['high']:.0f}]\n{counts.to_string()}\n"
    )


if __name__ == "__main__":
    main()

"""How often early stopping errs: every run of the replay table that lies far from a threshold, judged at each of its evaluations.

    python scripts/study_early.py

The mean score at each d of the table serves as a threshold in turn; every run further than NEAR octaves from that d is followed until it would be stopped. Writes
early.json into --out. Takes seconds.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import fmean

from scipy import stats

from idim.search.design import NEAR
from idim.search.early import outlook
from idim.store import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path("results/replay/mnist-fc.json"))
    parser.add_argument("--out", type=Path, default=Path("results/search"))
    args = parser.parse_args()
    table = json.loads(args.table.read_text())
    curves, shares = {int(d): c for d, c in table["d"].items()}, table["shares"]
    judged = stopped = wrong = 0
    spent, erring = 0.0, set()
    for d0, there in curves.items():
        tau = fmean(c[-1] for c in there)
        for d, i in ((d, i) for d in curves if abs(math.log2(d / d0)) > NEAR for i in range(len(curves[d]))):
            curve, share = curves[d][i], 1.0
            judged += 1
            for n in range(1, len(curve)):
                if side := outlook(list(zip(shares[:n], curve[:n], strict=True)), tau, table["chance"]):
                    share, stopped = shares[n - 1], stopped + 1
                    if (curve[-1] >= tau) != (side == "above"):
                        wrong += 1
                        erring.add((d, i))
                    break
            spent += share
    # One run judged at forty thresholds is still one run.
    runs = sum(map(len, curves.values()))
    row = {
        "thresholds": len(curves), "runs": runs, "judged": judged, "stopped": stopped, "wrong": wrong, "runs ever wrong": len(erring),
        "upper 95 % limit": float(stats.beta.ppf(0.95, len(erring) + 1, runs - len(erring))), "steps spent": spent / judged,
    }
    write_json(args.out / "early.json", row)
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()

"""How often the checks by pairs report a change that is not there, and how often they see one.

    python scripts/study_checks.py

In each world single runs scatter by a noise, and the two runs of a pair share a part of it. The
check is told a noise such as a search finds it: right within a factor, not exactly. The script adds
pairs as the conductor does. It writes checks.json and checks.txt into --out. It takes a minute.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import kept
import numpy as np
import pandas as pd
from scipy import stats

from idim.answers.checks import MOVES
from idim.search.pairs import FIRST, MOST, SURE, UNLIKELY, Change

#: The noise of one run, in octaves of d90: on an easy task, a middling one, and one of MRPC's size.
NOISES = {"easy": 0.15, "middling": 0.4, "like MRPC": 1.0}
#: The fraction of a run's variance that the two runs of a pair share.
SHARED = (0.0, 0.5, 0.9)
#: By how many octaves d90 truly falls.
SHIFTS = (0.0, 0.32, 1.0)


def checked(
    draw: np.random.Generator, noise: float, shared: float, shift: float, tails: float
) -> bool:
    """Whether one check says that d90 falls by a factor 1.25, with as many pairs as it asks for.

    Args:
        draw: the random numbers of this check.
        noise: the noise of one run, in octaves.
        shared: the fraction of a run's variance that a pair shares.
        shift: by how many octaves d90 truly falls.
        tails: the degrees of freedom of the noise, a Student's t. Infinite for normal noise.
    """
    told = noise * math.exp(0.3 * draw.standard_normal())
    spread = noise * math.sqrt(2 * (1 - shared))
    scale = spread / math.sqrt(tails / (tails - 2)) if math.isfinite(tails) else spread
    differences: list[float] = []
    while len(differences) < MOST:
        for _ in range(FIRST if not differences else 1):
            error = draw.standard_t(tails) if math.isfinite(tails) else draw.standard_normal()
            differences.append(shift + scale * float(error))
        odds = Change.of(differences, told).above(MOVES)
        if not UNLIKELY < odds < SURE:
            break
    return odds >= SURE


def text(found: dict) -> str:
    """How often a check says so, in each case."""
    frame = pd.DataFrame(found["rows"])
    return frame.to_string(index=False, float_format="{:.4f}".format) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicates", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("results/search"))
    args = parser.parse_args()
    rows = []
    for name, noise in NOISES.items():
        for shared in SHARED:
            for tails in (math.inf, 4.0):
                row = {
                    "task": name,
                    "noise, octaves": noise,
                    "shared": shared,
                    "tails": "normal" if math.isinf(tails) else "Student t4",
                }
                for shift in SHIFTS:
                    draw = np.random.default_rng(
                        [
                            int(100 * noise),
                            int(10 * shared),
                            int(100 * shift),
                            int(math.isinf(tails)),
                        ]
                    )
                    said = sum(
                        checked(draw, noise, shared, shift, tails) for _ in range(args.replicates)
                    )
                    row[f"says so at {shift:g}"] = said / args.replicates
                    if shift == 0.0:
                        row["upper 95 %"] = float(
                            stats.beta.ppf(0.95, said + 1, args.replicates - said)
                        )
                rows.append(row)
    found = {"replicates": args.replicates, "octaves": MOVES, "rows": rows}
    kept.write(args.out / "checks.json", found, text)


if __name__ == "__main__":
    main()

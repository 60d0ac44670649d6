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
#: What full fine-tuning gains, in octaves of d90 by the slope of the curve there.
GAIN = 10.0
#: By how many octaves d90 truly falls.
SHIFTS = (0.0, 0.32, 1.0)


#: The laws of a pair's noise: degrees of freedom of a Student's t, and how often a run fails.
LAWS = {"normal": (math.inf, 0.0), "Student t4": (4.0, 0.0), "1 in 10 fails": (math.inf, 0.1)}


def checked(
    draw: np.random.Generator, noise: float, shared: float, shift: float, tails: float, fails: float
) -> bool:
    """Whether one check says that d90 falls by a factor 1.25, with as many pairs as it asks for.

    Args:
        draw: the random numbers of this check.
        noise: the noise of one run, in octaves.
        shared: the fraction of a run's variance that a pair shares.
        shift: by how many octaves d90 truly falls.
        tails: the degrees of freedom of the noise, a Student's t. Infinite for normal noise.
        fails: the fraction of runs that score what chance does.
    """
    told = noise * math.exp(0.3 * draw.standard_normal())
    spread = noise * math.sqrt(2 * (1 - shared))
    scale = spread / math.sqrt(tails / (tails - 2)) if math.isfinite(tails) else spread
    differences: list[float] = []
    while len(differences) < MOST:
        for _ in range(FIRST if not differences else 1):
            error = draw.standard_t(tails) if math.isfinite(tails) else draw.standard_normal()
            lost = GAIN * (draw.binomial(1, fails) - draw.binomial(1, fails)) if fails else 0.0
            differences.append(shift + scale * float(error) + lost)
        odds = Change.of(differences, told, GAIN).above(MOVES)
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
            for law, (tails, fails) in LAWS.items():
                row = {"task": name, "noise, octaves": noise, "shared": shared, "noise": law}
                for shift in SHIFTS:
                    draw = np.random.default_rng(
                        [
                            int(100 * noise),
                            int(10 * shared),
                            int(100 * shift),
                            int(math.isinf(tails)) + 2 * int(fails > 0),
                        ]
                    )
                    asked = noise, shared, shift, tails, fails
                    said = sum(checked(draw, *asked) for _ in range(args.replicates))
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

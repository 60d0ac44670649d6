"""Write the tables of measured numbers into README.md, between their markers.

python scripts/write_tables.py          # writes
python scripts/write_tables.py --check  # exit code 1 where the document and the records differ
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
#: What holds in each world of the simulation study.
WORLDS = {
    "logistic-0.3": "a flat curve, 0.3 an octave",
    "logistic-0.5": "0.5 an octave",
    "logistic-0.7": "0.7, the middle of published curves",
    "logistic-1": "1 an octave",
    "logistic-1.5": "a steep curve",
    "weibull": "another shape",
    "gompertz": "another shape",
    "dip": "a dip of two sigma an octave above d90",
    "failures": "5 % failed runs",
    "noise-grows": "noise that grows with d",
    "heavy-tails": "Student's t with 1.5 degrees",
    "projection-0.1": "a run's P moves its curve by 0.1 octaves",
    "projection-0.2": "by 0.2",
    "projection-0.4": "by 0.4",
    "chance-too-high": "chance believed 0.3, is 0.11",
    "chance-too-low": "chance believed 0.11, is 0.3",
    "edge-low": "d90 at the smallest d",
    "edge-high": "d90 at the largest d",
    "mrpc-like": "guessing 0.684, full 0.78, noise 0.012",
    "unit-100": "scores in percent",
    "unit-0.01": "scores times 0.01",
    "mrpc-like-percent": "`mrpc-like` in percent",
    "step-2.5": "a step, 2.5 an octave",
    "step-5": "5 an octave",
    "step-10": "10 an octave",
    "step-inf": "all at once",
    "saturates-0.85": "ends at 0.85 of the gain: no d90",
    "saturates-0.88": "at 0.88: no d90",
    "saturates-0.89": "at 0.89: no d90",
    "saturates-0.92": "at 0.92",
    "baselines-2": "two full runs",
    "baselines-3": "three",
    "mrpc-like-3": "`mrpc-like`, three full runs",
    "examples-100": "100 evaluation examples",
    "examples-300": "300",
    "examples-1000": "1,000",
    "power-0.5": "a power law",
    "power-1": "a steeper one",
    "bump": "a bump of two sigma an octave below d90",
    "noise-falls": "noise that falls with d",
    "rate-fails-small": "rates that fail 1.5 octaves below d90",
    "rate-fails-large": "rates that fail 1.5 octaves above d90",
    **{f"integer-{d}": f"d90 = {d}, whole numbers to 384" for d in (1, 2, 3, 5, 8)},
    "replay": "searches on the table of real runs",
}


def study() -> str:
    rows = json.loads((ROOT / "results/search/study.json").read_text())["rows"]
    lines = [
        "| `world` | what holds in it | searches | coverage (at least) | reached | within 1.25 | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, about in WORLDS.items():
        row = rows.get(f"{name}/posterior")
        if row is None:
            continue
        covered = "–" if "no d90" in about else f"{row['coverage']:.3f} ({row['lower']:.3f})"
        within = "–" if "no d90" in about else f"{row['within 1.25']:.3f}"
        lines.append(
            f"| `{name}` | {about} | {row['n']} | {covered} | {row['reached']:.3f} | {within} | {row['runs']:.1f} |"
        )
    return "\n".join(lines)


TABLES = {"study": study}


def written(text: str) -> str:
    """The document with every table made anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)", re.S)
        text = pattern.sub(lambda m, make=make: f"{m[1]}{make()}\n{m[2]}", text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    before = README.read_text()
    after = written(before)
    if args.check:
        sys.exit(before != after)
    README.write_text(after)


if __name__ == "__main__":
    main()

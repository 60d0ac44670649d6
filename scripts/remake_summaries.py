"""Make every kept summary anew from its records, and compare old and new in one table.

    python scripts/remake_summaries.py --old REVISION

The script reads the old summaries from that revision of the repository. It writes changes.json and
changes.txt into --out. It also writes the summaries and figures of every store under results/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import kept
import pandas as pd

from idim.answers.summary import derive, keep
from idim.report.page import draw
from idim.report.words import answer_text
from idim.store import Store
from idim.values.findings import Crossing

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--old", required=True, help="a revision that holds the summaries to compare with"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "search")
    args = parser.parse_args()
    rows = []
    for folder in sorted(p.parent for p in (ROOT / "results").glob("*/searches")):
        store = Store(folder, create=False)
        summaries = derive(store)
        keep(store, summaries)
        list(draw(store, summaries))
        for path in sorted((folder / "summaries").glob("*.json")):
            new, old = json.loads(path.read_text()), _at(args.old, path)
            letter = "r90" if new["arm"] == "lora" else "d90"
            for rule in dict.fromkeys((new["rule"], "chance", "raw")):
                key = "answer" if rule == "absolute" else f"{letter}_{rule}"
                rows.append(
                    {
                        "store": folder.name,
                        "task": new["task"],
                        "arm": new["arm"],
                        "protocol": new["protocol"],
                        "rule": rule,
                        "old verdict": old and old["verdict"],
                        "new verdict": new["verdict"],
                        "old": _text(old.get(key)) if old else "none",
                        "new": _text(new.get(key)),
                        "old interval": _text((old or {}).get("interval"))
                        if rule == new["rule"]
                        else "",
                        "new interval": _text(new.get("interval")) if rule == new["rule"] else "",
                    }
                )
    kept.write(args.out / "changes.json", {"old": args.old, "rows": rows}, text)


def text(found: dict) -> str:
    """Old and new beside each other."""
    return pd.DataFrame(found["rows"]).to_string(index=False, na_rep="") + "\n"


def _text(found: dict | None) -> str:
    return answer_text(found and Crossing(**found))


def _at(revision: str, path: Path) -> dict | None:
    """A file of the repository at a revision. None if it did not exist there."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "show", f"{revision}:{path.relative_to(ROOT)}"],
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


if __name__ == "__main__":
    main()

"""Keep what `idim frontier --json` printed beside the store's runs, and write and draw it.

    idim frontier --model minilm --task trec6 --out STORE --json > printed.json
    python scripts/keep_frontier.py STORE < printed.json

The script writes frontier.json, frontier.txt and frontier.png. The scores and costs in them are
those of the store's records; times of evaluations are in no record.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import kept
from matplotlib.figure import Figure

from idim.answers import frontier
from idim.report.figures.trained import figure_against_trained, of_places
from idim.report.frontier import frontier_text, title
from idim.store import Store
from idim.values.findings import Levels


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    args = parser.parse_args()
    kept.write(args.store / "frontier.json", json.load(sys.stdin), text, figure)


def again(store: Store, found: dict[str, Any]) -> dict[str, Any]:
    """The same with what the records say today."""
    questions = [q for q in store.questions() if q.id in found["questions"]]
    records = store.all()
    places, levels = frontier.places(records, questions), frontier.levels(records, questions)
    assert levels
    cheapest = frontier.cheapest(places)
    return found | {
        "levels": levels.to_json(),
        "places": [dataclasses.asdict(place) for place in places],
        "cheapest": cheapest and dataclasses.asdict(cheapest),
    }


def parts(found: dict[str, Any]) -> tuple[list[frontier.Place], Levels]:
    """Every arm's sizes, and what they are held against."""
    levels = Levels.from_json(found["levels"])
    assert levels
    return [frontier.Place(**place) for place in found["places"]], levels


def text(found: dict[str, Any]) -> str:
    """What the command prints without --json."""
    head = title(found["model"], found["task"], found["protocol"], found["steps"])
    times = {arm: (v["unmerged"], v["merged"]) for arm, v in found["latency"].items()}
    return frontier_text(head, *parts(found), times) + "\n"


def figure(found: dict[str, Any]) -> Figure:
    """What the command draws."""
    places, levels = parts(found)
    head = f"{found['model']} × {found['task']}, {found['protocol']}"
    return figure_against_trained(head, of_places(places), levels, found["rule"], found["metric"])


if __name__ == "__main__":
    main()

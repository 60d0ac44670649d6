"""Arms on several tasks, in one table and one figure.

    python scripts/compare_tasks.py results/trec6 results/recommend --arms did,said,lora \\
        --tasks trec6,halves/movie-reviews/first,halves/sst2/first --out results/recommend

It reads the searches that the stores hold, and writes tasks.json, .txt and .png. The figure shows
the share of full fine-tuning's gain against the numbers that were trained. A rank stands in it
where it has three runs or more. A d has mostly one run, because a search spreads its runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kept
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from idim.answers import frontier
from idim.answers.summary import summarise
from idim.arms import ARMS
from idim.report.style import drawn, legend, panels, size_axis, style
from idim.report.words import answer_of, answer_text, interval_of
from idim.store import Store
from idim.values.findings import Crossing
from idim.values.question import Question
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import plain

_RUNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--arms", default="did,said,lora")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    asked = {"tasks": args.tasks.split(","), "arms": args.arms.split(",")}
    found = compared(asked | {"stores": [p.name for p in args.stores]}, args.stores[0].parent)
    for task in asked["tasks"]:
        if task not in {row["task"] for row in found["rows"]}:
            raise SystemExit(f"--tasks: expected tasks that the stores have searched; got {task}")
    kept.write(args.out / "tasks.json", found, text, figure)


def again(store: Store, before: dict[str, Any]) -> dict[str, Any]:
    """The same with what the records say today."""
    return compared(before, store.root.parent)


def compared(asked: dict[str, Any], results: Path) -> dict[str, Any]:
    """Every search of these arms and tasks, task by task.

    Args:
        asked: names of stores, of tasks and of arms.
        results: the folder that holds the stores.
    """
    stores = [Store(results / name, create=False) for name in asked["stores"]]
    read = [(store.questions(), store.all()) for store in stores]
    rows = [
        _row(records, question)
        for task in asked["tasks"]
        for arm in asked["arms"]
        for questions, records in read
        for question in questions
        if (question.task, question.arm) == (task, arm)
    ]
    return {name: asked[name] for name in ("stores", "tasks", "arms")} | {"rows": rows}


def _row(records: Sequence[Record], question: Question) -> dict[str, Any]:
    """One search: its levels, its answer, and the share of the gain at every size."""
    s = summarise(records, question)
    assert isinstance(s, SearchSummary) and s.levels
    floor = s.checks.floor
    return {
        "task": s.task,
        "arm": s.arm,
        "id": s.id,
        "design": s.design,
        "name": s.asked,
        "verdict": str(s.verdict),
        "answer": plain(interval_of(s) or answer_of(s)),
        "full": s.levels.full,
        "chance": s.levels.chance,
        "threshold": s.levels.tau,
        "head alone": floor and floor.mean,
        "runs": sum(s.cost.runs.values()),
        "places": [
            {"size": p.size, "trained": p.trained, "share": p.share, "n": p.n,
             "error": p.error and p.error / (s.levels.full - s.levels.chance)}
            for p in frontier.places(records, [question])
        ],
    }  # fmt: skip


def named(task: str) -> str:
    """A half of a task is named by it."""
    parts = task.split("/")
    return f"{parts[-2]}, {parts[-1]} half" if len(parts) > 1 else task


def interval(row: dict[str, Any]) -> str:
    """What a search answers: its 90 % interval, or a bracket where it has none."""
    return answer_text(Crossing(**row["answer"])) if row["answer"] else "–"


def text(found: dict[str, Any]) -> str:
    """A row a search, and the scores of every rank."""
    rows = []
    for row in found["rows"]:
        rows.append(
            {
                "task": named(row["task"]),
                "arm": row["arm"],
                "design": row["design"],
                "full": f"{row['full']:.3f}",
                "chance": f"{row['chance']:.3f}",
                "to reach": f"{row['threshold']:.3f}",
                "verdict": row["verdict"],
                "": row["name"],
                "90 % interval": interval(row),
                "runs": row["runs"],
            }
        )
    lines = [pd.DataFrame(rows).to_string(index=False), "", "share of the gain, ± its error (n):"]
    for row, places in ranked(found):
        cells = [f"{p['size']}: {p['share']:.3f} ± {p['error']:.3f} ({p['n']})" for p in places]
        lines.append(f"{named(row['task'])}, {row['arm']} r = " + "; ".join(cells))
    return "\n".join(lines) + "\n"


def ranked(found: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The searches over ranks, with the ranks that have runs enough."""
    for row in found["rows"]:
        size = ARMS[row["arm"]].size
        places = [p for p in row["places"] if p["n"] >= _RUNS]
        if places and size and size.letter != "d":
            yield row, places


@drawn
def figure(found: dict[str, Any]) -> Figure:
    """A panel a task."""
    drawing, each = panels(len(found["tasks"]), 2.1, sharex=True)
    sizes: list[float] = []
    for axes, task in zip(each, found["tasks"], strict=True):
        sizes += _panel(axes, [row for row in found["rows"] if row["task"] == task])
        axes.set_title(named(task))
    size_axis(each[-1], sizes, own=False)
    each[-1].set_xlabel("trained numbers (a freely trained head included)")
    legend(drawing, *each)
    return drawing


def _panel(axes: Axes, rows: list[dict[str, Any]]) -> list[float]:
    """One task's searches. Gives the numbers of trained numbers that it shows."""
    axes.axhline(1.0, color="0.6", lw=0.8)
    axes.axhline(0.9, color="0.3", lw=0.8, ls="--", label="90 % of the gain")
    for row in rows:
        if row["head alone"] is not None:
            share = (row["head alone"] - row["chance"]) / (row["full"] - row["chance"])
            axes.axhline(share, color="0.6", lw=0.8, ls=":", label="head alone")
            break
    sizes, below = [], -0.05
    over_ranks = {row["id"]: places for row, places in ranked({"rows": rows})}
    for row in rows:
        name, (colour, marker) = ARMS[row["arm"]].shown, style(row["arm"])
        places = over_ranks.get(row["id"]) or row["places"]
        trained, shares = ([p[k] for p in places] for k in ("trained", "share"))
        if row["id"] in over_ranks:
            label, errors = f"{name}, ranks of {_RUNS} runs or more", [p["error"] for p in places]
            axes.errorbar(
                trained, shares, errors, marker=marker, color=colour, ms=4, lw=1, capsize=2,
                label=label,
            )  # fmt: skip
        elif ARMS[row["arm"]].spans:
            label, answer = f"{name}, a run a d", row["answer"]
            axes.plot(trained, shares, marker, color=colour, ms=3, alpha=0.6, label=label)
            if answer and answer["level"] and (answer["low"] or answer["high"]):
                # Below the runs, a line for each search, where nothing hides it. Where an end is
                # open, the line goes to the last size tried, with an arrow.
                below -= 0.07
                label = f"{name}: {row['name']}, 90 % interval"
                low, high = answer["low"] or min(trained), answer["high"] or max(trained)
                axes.plot([low, high], [below, below], color=colour, lw=2.4, label=label)
                for end, open_end, tip in ((low, "low", "<"), (high, "high", ">")):
                    if not answer[open_end]:
                        axes.plot(end, below, tip, color=colour, ms=6, clip_on=False)
        else:
            continue  # a search over ranks, with a run or two at each
        sizes += trained
    axes.set_ylabel("share of the gain")
    axes.set_ylim(below - 0.1, 1.15)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    return sizes


if __name__ == "__main__":
    main()

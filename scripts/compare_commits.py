"""Time the training steps and the quick search of this checkout against those of another, in turn.

    git worktree add --detach ../before COMMIT   # and build its native engine
    python scripts/compare_commits.py ../before

Each arm of ``benchmark_steps.py`` lives in two processes, one with the packages of either checkout.
They take their steps in turn, and which goes first is drawn anew each round. Two processes of one
checkout differ by some per cent, because their memory lies elsewhere. So there are several pairs of
processes. The ratio of a pair, this checkout over the other, is the median of its rounds' ratios;
the ratio given is the median of the pairs', with the smallest and the largest of them. The quick
search is a whole command, and each time it starts with an empty store; a pair is one command of
each. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median

import kept
import pandas as pd
import torch

HERE = Path(__file__).resolve().parents[1]
_SAID = ("orthonormal+said", "fastfood+said", "onehot+said", "orthonormal+said+lean")
#: The arms that are compared, the pairs of processes, and the rounds of each.
CASES = {
    "minilm-16x32": (("full", *_SAID), 5, 9),
    "mnist-fc-128": (("full", "orthonormal", "fastfood", "onehot", "sparse"), 11, 61),
}
#: Whole commands, and how often each is run.
SEARCHES = {
    "quick, 20 steps a run": (
        ["search", "--model", "minilm", "--task", "movie-reviews", "--quick", "--max-steps", "20"],
        3,
    ),
    "digits": (["search", "--model", "mlp:64-32-10", "--task", "digits", "--quick"], 5),
}
#: A process with one arm of a case. For each line it reads it takes a step that wakes it up, and
#: one whose seconds it prints, as in a loop.
_ONE_ARM = """
import sys, torch, benchmark_steps as b
arm = b.Arm(b.CASES[sys.argv[1]], sys.argv[2], torch.device("cpu"))
for _ in sys.stdin:
    arm.step()
    print("seconds", arm.step(), flush=True)
"""


def environment(checkout: Path) -> dict[str, str]:
    """Where Python finds this checkout's packages before any that are installed."""
    path = os.pathsep.join([str(checkout), str(checkout / "scripts")])
    return {**os.environ, "PYTHONPATH": path}


class Process:
    """One arm, with the packages of one checkout."""

    def __init__(self, checkout: Path, case: str, arm: str):
        self.running = subprocess.Popen(
            [sys.executable, "-c", _ONE_ARM, case, arm],
            env=environment(checkout),
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self) -> float:
        assert self.running.stdin and self.running.stdout
        self.running.stdin.write("\n")
        self.running.stdin.flush()
        for line in self.running.stdout:
            if line.startswith("seconds "):
                time.sleep(0.01)  # torch's threads wait for work a moment before they sleep
                return float(line.split()[1])
        raise SystemExit(f"a step failed with exit code {self.running.wait()}")

    def stop(self) -> None:
        assert self.running.stdin
        self.running.stdin.close()
        self.running.wait()


def compare(other: Path, case: str, arm: str, pairs: int, rounds: int) -> dict:
    """Training steps, with the packages of either checkout."""
    found = []
    for pair in range(pairs):
        both = {"this": Process(HERE, case, arm), "other": Process(other, case, arm)}
        seconds: dict[str, list[float]] = {name: [] for name in both}
        order = Random(pair)
        for process in both.values():
            for _ in range(3):
                process.step()
        for _ in range(rounds):
            for name in order.sample(list(both), 2):
                seconds[name].append(both[name].step())
        for process in both.values():
            process.stop()
        found.append(seconds)
    return row(case, arm, found)


def searched(other: Path, name: str) -> dict:
    """The wall time of a whole command, with the packages of either checkout."""
    command, pairs = SEARCHES[name]
    found: list[dict[str, list[float]]] = []
    order = Random(0)
    for _ in range(pairs):
        found.append({"this": [], "other": []})
        for which in order.sample(list(found[-1]), 2):
            checkout = HERE if which == "this" else other
            with tempfile.TemporaryDirectory() as out:
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "idim", *command, "--out", out],
                    env=environment(checkout),
                    cwd=checkout,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                found[-1][which].append(time.perf_counter() - began)
    return row("search", name, found)


def row(case: str, arm: str, found: list[dict[str, list[float]]]) -> dict:
    """Medians over the pairs, and the ratio with both extremes."""
    ratios = [
        median(a / b for a, b in zip(pair["this"], pair["other"], strict=True)) for pair in found
    ]
    return {
        "case": case,
        "arm": arm,
        "pairs": len(found),
        "rounds": len(found[0]["this"]),
        "ms": 1e3 * median(median(pair["this"]) for pair in found),
        "other ms": 1e3 * median(median(pair["other"]) for pair in found),
        "ratio": median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def commit(checkout: Path) -> str:
    done = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def text(record: dict) -> str:
    """The ratio of every case."""
    table = pd.DataFrame(record["rows"]).to_string(index=False, float_format=lambda x: f"{x:.3g}")
    return (
        f"Time at {record['this']} over {record['other']}, {record['threads']} threads, "
        f"torch {record['torch']}.\n{table}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--cases", default=",".join([*CASES, "search"]))
    parser.add_argument("--arms", help="rather than the case's own")
    parser.add_argument("--out", default="results/steps")
    args = parser.parse_args()
    other = args.other.resolve()
    rows = []
    for case in args.cases.split(","):
        if case == "search":
            for name in SEARCHES:
                rows.append(searched(other, name))
                print(rows[-1], flush=True)
            continue
        arms, pairs, rounds = CASES[case]
        for arm in args.arms.split(",") if args.arms else arms:
            rows.append(compare(other, case, arm, pairs, rounds))
            print(rows[-1], flush=True)
    record = {
        "rows": rows,
        "this": commit(HERE),
        "other": commit(other),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    path = Path(args.out, "compared.json")
    # Cases that were not asked for stay as they were measured, if the commits are the same.
    if path.exists():
        before = json.loads(path.read_text())
        asked = {(r["case"], r["arm"]) for r in rows}
        if (before["this"], before["other"]) == (record["this"], record["other"]):
            others = [r for r in before["rows"] if (r["case"], r["arm"]) not in asked]
            record["rows"] = [*others, *rows]
    kept.write(path, record, text)


if __name__ == "__main__":
    main()

"""Time the training steps and the quick search of this checkout against those of another, in turn.

    git worktree add --detach ../before COMMIT   # and build its native engine
    python scripts/compare_commits.py ../before

Each arm of ``benchmark_steps.py`` lives in two processes, one with the packages of either checkout.
They take their steps in turn, and which goes first is drawn anew each round. A ratio, this checkout
over the other, is the median of the rounds' ratios, with the 95 % interval that its order
statistics give. The quick search is a whole command, and each time it starts with an empty store;
of its few ratios the smallest and the largest are given. Run it on an idle machine.
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
#: The arms that are compared, and the rounds.
CASES = {
    "minilm-16x32": (("full", *_SAID), 81),
    "mnist-fc-128": (("full", "orthonormal", "fastfood", "onehot", "sparse"), 601),
}
#: Whole commands, and how often each is run.
SEARCHES = {
    "quick, 20 steps a run": (
        ["search", "--model", "minilm", "--task", "movie-reviews", "--quick", "--max-steps", "20"],
        3,
    ),
    "digits": (["search", "--model", "mlp:64-32-10", "--task", "digits", "--quick"], 5),
}
#: A process with one arm of a case. It takes a step for each line it reads, and prints the seconds.
_ONE_ARM = """
import sys, torch, benchmark_steps as b
arm = b.Arm(b.CASES[sys.argv[1]], sys.argv[2], torch.device("cpu"))
for _ in sys.stdin:
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


def compare(other: Path, case: str, arm: str, rounds: int) -> dict:
    both = {"this": Process(HERE, case, arm), "other": Process(other, case, arm)}
    seconds: dict[str, list[float]] = {name: [] for name in both}
    order = Random(0)
    for process in both.values():
        for _ in range(3):
            process.step()
    for _ in range(rounds):
        for name in order.sample(list(both), 2):
            seconds[name].append(both[name].step())
    for process in both.values():
        process.stop()
    return row(case, arm, seconds)


def searched(other: Path, name: str) -> dict:
    """The wall time of a whole command, with the packages of either checkout."""
    command, rounds = SEARCHES[name]
    seconds: dict[str, list[float]] = {"this": [], "other": []}
    order = Random(0)
    for _ in range(rounds):
        for which in order.sample(list(seconds), 2):
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
                seconds[which].append(time.perf_counter() - began)
    return row("search", name, seconds)


def row(case: str, arm: str, seconds: dict[str, list[float]]) -> dict:
    """Medians, and the ratio with its 95 % interval; of a few rounds, with both extremes."""
    from scipy.stats import quantile_test

    ratios = [a / b for a, b in zip(seconds["this"], seconds["other"], strict=True)]
    low, high = min(ratios), max(ratios)
    if len(ratios) > 10:
        low, high = quantile_test(ratios, q=median(ratios), p=0.5).confidence_interval(0.95)
    return {
        "case": case,
        "arm": arm,
        "rounds": len(ratios),
        "ms": 1e3 * median(seconds["this"]),
        "other ms": 1e3 * median(seconds["other"]),
        "ratio": median(ratios),
        "low": float(low),
        "high": float(high),
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
    parser.add_argument("--rounds", type=int, help="rather than the case's own")
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
        arms, rounds = CASES[case]
        for arm in arms:
            rows.append(compare(other, case, arm, args.rounds or rounds))
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

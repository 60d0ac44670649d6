"""Runs a minute with two workers against one, over whole searches, start included.

    python scripts/benchmark_workers.py --out results/robustness
    python scripts/benchmark_workers.py --mnist path/to/mnist --out results/robustness

Wants an idle machine. Each search is a process of its own with a fresh store. The digits search is
the trust protocol with a budget that makes it last more than a minute. With --mnist, MNIST FC is
searched instead. Each way is measured several times, in turn. The record keeps what it had of the
other search.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DIGITS = ("--model", "mlp:64-32-10", "--task", "digits", "--arm", "did", "--max-steps", "1400")
MNIST = ("--model", "mnist-fc", "--task", "idx", "--arm", "did")


def searched(words: tuple[str, ...], workers: int, seed: int) -> dict[str, float]:
    """One search: how long it took, and how many runs it made."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "idim", "search", *words, "--out", f"{folder}/o"]
        command += ["--workers", str(workers), "--seed", str(seed), "--json"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        if done.returncode not in (0, 3):
            raise SystemExit(done.stderr)
        runs = len(list(Path(folder, "o", "runs").glob("*.json")))
    return {"workers": workers, "seed": seed, "seconds": round(seconds, 1), "runs": runs}


def compared(words: tuple[str, ...], repeats: int) -> dict[str, object]:
    """One worker and two, in turn."""
    rows = [searched(words, workers, seed) for seed in range(repeats) for workers in (1, 2)]
    for row in rows:
        print(row, flush=True)
    one, two = ([r for r in rows if r["workers"] == n] for n in (1, 2))

    def pace(found: list[dict[str, float]]) -> float:
        return statistics.median(60 * r["runs"] / r["seconds"] for r in found)

    def took(found: list[dict[str, float]]) -> float:
        return statistics.median(r["seconds"] for r in found)

    return {
        "runs a minute, two over one": round(pace(two) / pace(one), 2),
        "time, two over one": round(took(two) / took(one), 2),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", help="the folder with MNIST's files")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    name, words = "digits", DIGITS
    if args.mnist:
        name, words = "mnist-fc", (*MNIST, "--data-dir", args.mnist)
    found: dict[str, Any] = {"load before": os.getloadavg()[0], "cores": os.cpu_count()}
    found |= compared(words, args.repeats)
    print(name, {k: v for k, v in found.items() if k != "rows"})
    if args.out:
        path = args.out / "workers.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        args.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**kept, name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

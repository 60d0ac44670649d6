"""Runs a minute with two workers against one, over whole searches, start included.

    python scripts/benchmark_workers.py --out results/robustness
    python scripts/benchmark_workers.py --mnist path/to/mnist --out results/robustness
    python scripts/benchmark_workers.py --mnist path/to/mnist --deterministic --out …
    python scripts/benchmark_workers.py --steps --out results/robustness

Wants an idle machine. Each search is a process of its own with a fresh store. The digits search is
the trust protocol with a budget that makes it last more than a minute. With --mnist, MNIST FC is
searched instead. With --deterministic every run has one thread, also that of one worker. A shared
is fast and slow by turns, for longer than a search lasts. So the two searches of a pair go on
in turn, a few seconds each: while one runs, all processes of the other are stopped. The seconds of
a search are those in which it ran. A ratio is the median of the pairs'. With --steps it measures
what bounds the second search: a training step of MNIST FC by one process on all cores, by one on
half of them, and by two processes at once with half of them each, in turn. The record keeps what it
had of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Seconds that a search runs before it is the other's turn.
TURN = 3.0
DIGITS = ("--model", "mlp:64-32-10", "--task", "digits", "--arm", "did", "--max-steps", "2000")
MNIST = ("--model", "mnist-fc", "--task", "idx", "--arm", "did")


#: A process that makes 100 steps for each line that it reads, and prints the seconds of one.
STEPS = """
import sys, time, torch, benchmark_steps as b
torch.set_num_threads(int(sys.argv[1]))
arm = b.Arm(b.CASES["mnist-fc-128"], "orthonormal", torch.device("cpu"))
for _ in sys.stdin:
    print(sum(arm.step() for _ in range(100)) / 100, flush=True)
"""


def stepped(repeats: int) -> dict[str, object]:
    """Milliseconds of a step on all cores, on half of them, and there with another beside it."""
    cores = os.cpu_count() or 1
    home = Path(__file__).resolve().parents[1]
    places = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(home / "scripts")])}
    half = max(1, cores // 2)
    alone, *both = [
        subprocess.Popen(
            [sys.executable, "-c", STEPS, str(threads)],
            env=places,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in (cores, half, half)
    ]

    def turn(processes: list[subprocess.Popen[str]]) -> float:
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        return statistics.fmean(
            1e3 * float(process.stdout.readline()) for process in processes if process.stdout
        )

    turns = [(turn([alone]), turn(both[:1]), turn(both)) for _ in range(repeats + 1)]
    rows = turns[1:]  # the first one wakes up
    for process in (alone, *both):
        process.communicate()
    one, undisturbed, two = (statistics.median(row[k] for row in rows) for k in range(3))
    ratios = [row[2] / 2 / row[0] for row in rows]
    least = statistics.median(row[1] / 2 / row[0] for row in rows)
    return {
        "repeats": repeats,
        "ms, one on all cores": round(one, 2),
        "ms, one on half of them": round(undisturbed, 2),
        "ms, two at once": round(two, 2),
        "time, two over one, if they did not slow each other": round(least, 2),
        "time, two over one": round(statistics.median(ratios), 2),
        "low": round(min(ratios), 2),
        "high": round(max(ratios), 2),
    }


class Search:
    """A whole search, which runs only in its turns."""

    def __init__(self, words: tuple[str, ...], workers: int, seed: int, folder: str):
        self.workers, self.seed, self._out = workers, seed, Path(folder, str(workers))
        command = [sys.executable, "-m", "idim", "search", *words, "--out", str(self._out)]
        self._command = [*command, "--workers", str(workers), "--seed", str(seed), "--json"]
        self._running: subprocess.Popen[str] | None = None
        self.seconds = 0.0

    def turn(self) -> bool:
        """Let it run for a while. Whether it goes on after that."""
        began = time.perf_counter()
        if self._running is None:
            # In a group of its own, which holds its workers, too.
            self._running = subprocess.Popen(
                self._command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        else:
            os.killpg(self._running.pid, signal.SIGCONT)
        try:
            self._running.wait(TURN)
        except subprocess.TimeoutExpired:
            os.killpg(self._running.pid, signal.SIGSTOP)
        self.seconds += time.perf_counter() - began
        if self._running.returncode is None:
            return True
        if self._running.returncode not in (0, 3):
            assert self._running.stderr
            raise SystemExit(self._running.stderr.read())
        return False

    @property
    def row(self) -> dict[str, float]:
        """How long it took, and how many runs it made."""
        runs = len(list((self._out / "runs").glob("*.json")))
        seconds = round(self.seconds, 1)
        return {"workers": self.workers, "seed": self.seed, "seconds": seconds, "runs": runs}


def pair(words: tuple[str, ...], seed: int) -> list[dict[str, float]]:
    """The same search with one worker and with two, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        searches = [Search(words, workers, seed, folder) for workers in (1, 2)]
        left = list(searches)
        while left:
            left = [search for search in left if search.turn()]
        rows = [search.row for search in searches]
    print(*rows, flush=True)
    return rows


def compared(words: tuple[str, ...], repeats: int) -> dict[str, object]:
    """Pairs of searches, and the medians of their ratios."""
    pairs = [pair(words, seed) for seed in range(repeats)]
    times = [two["seconds"] / one["seconds"] for one, two in pairs]
    paces = [two["runs"] / two["seconds"] / (one["runs"] / one["seconds"]) for one, two in pairs]
    return {
        "runs a minute, two over one": round(statistics.median(paces), 2),
        "time, two over one": round(statistics.median(times), 2),
        "rows": [row for both in pairs for row in both],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", help="the folder with MNIST's files")
    parser.add_argument("--deterministic", action="store_true", help="one thread for every run")
    parser.add_argument("--steps", action="store_true", help="steps of MNIST FC alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    name, words = "digits", DIGITS
    if args.mnist:
        name, words = "mnist-fc", (*MNIST, "--data-dir", args.mnist)
    if args.deterministic:
        name, words = f"{name}, deterministic", (*words, "--deterministic")
    found: dict[str, Any] = {"load before": os.getloadavg()[0], "cores": os.cpu_count()}
    if args.steps:
        name = "a step of mnist-fc"
    found |= stepped(30) if args.steps else compared(words, args.repeats)
    print(name, {k: v for k, v in found.items() if k != "rows"})
    if args.out:
        path = args.out / "workers.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        args.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**kept, name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

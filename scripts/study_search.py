"""Prove the search's calibration: simulate whole searches in scenarios of known d90, and replay them on a table of real runs.

    python scripts/study_search.py                      # everything: about 40 minutes on two cores
    python scripts/study_search.py --scenarios logistic-0.7,dip --replicates 200 --out study

Writes study.json, study.txt and study.png into --out; rows that are there, made by the same code, are kept. Replicate i of a scenario draws from its own generator, so any of them can be made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from scipy import stats

from idim.search.answer import isotonic
from idim.search.design import DESIGNS, Limits, Stop
from idim.search.early import outlook
from idim.search.posterior import FAILED, HEIGHTS, MISFIT, PROJECTION, Posterior
from idim.search.threshold import Baseline, Point, Target
from idim.store import write_json

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

LIMITS = Limits(smallest=1, largest=199_210)
GRID = tuple(round(2**x) for x in np.linspace(5, 15, 25))
WITHIN = math.log2(1.25)


@dataclass(frozen=True)
class Scenario:
    """A world: how the score depends on d, and how runs scatter about it. ``specified``: the posterior's own model holds in it."""

    name: str
    slope: float | None = None  # None: drawn from the published range
    sigma: float = 0.01
    shape: str = "logistic"
    chance: float = 0.11
    full: float = 0.98
    believed_chance: float | None = None
    full_noise: float = 0.003
    dip: float = 0.0  # in sigmas, an octave above x90
    failures: float = 0.0
    growth: float = 0.0  # of the noise, an octave
    freedom: float = 4.0  # of Student's t
    projection: float = 0.0  # octaves by which a run's P shifts its curve
    x90: tuple[float, float] = (6.0, 13.0)
    specified: bool = False
    vision: bool = False

    def curve(self, slope: float, height: float, x90: float) -> Callable[[float], float]:
        """Score at x, with the threshold at x90 and, there, the slope that a logistic of this k has."""
        tau = self.believed + 0.9 * (self.full - self.believed)
        span = height - self.chance
        g = (tau - self.chance) / span
        steep = slope * g * (1 - g)
        if self.shape == "logistic":
            at = math.log(g / (1 - g))
            level = lambda u: 1 / (1 + math.exp(-(slope * u + at)))  # noqa: E731
        elif self.shape == "weibull":
            # 1 - exp(-z), z = z0 2^(b u): its slope at 0 is b ln 2 z0 exp(-z0).
            z = -math.log(1 - g)
            b = steep / (math.log(2) * z * (1 - g))
            level = lambda u: 1 - math.exp(-z * 2 ** min(b * u, 60))  # noqa: E731
        else:
            # Gompertz: exp(-z), z = z0 exp(-b u): its slope at 0 is b z0 exp(-z0).
            z = -math.log(g)
            b = steep / (z * g)
            level = lambda u: math.exp(-z * math.exp(min(-b * u, 50)))  # noqa: E731
        dip = self.dip * self.sigma
        return lambda x: self.chance + span * level(x - x90) - dip * math.exp(-0.5 * ((x - x90 - 1) / 0.3) ** 2)

    @property
    def believed(self) -> float:
        return self.chance if self.believed_chance is None else self.believed_chance

    def score(self, curve: Callable[[float], float], x: float, x90: float, draw: np.random.Generator) -> float | None:
        if self.failures and draw.random() < self.failures:
            return None if draw.random() < 0.5 else float(draw.uniform(self.chance, self.full))
        noise = self.sigma * 2 ** (self.growth * (x - x90)) * draw.standard_t(self.freedom)
        return curve(x + self.projection * draw.standard_normal()) + noise


VISION = dict(vision=True)
SCENARIOS = (
    *(Scenario(f"logistic-{k:g}", k, specified=True, **VISION) for k in (0.3, 0.5, 0.7, 1.0, 1.5)),
    Scenario("weibull", shape="weibull", **VISION), Scenario("gompertz", shape="gompertz", **VISION),
    Scenario("dip", dip=2.0), Scenario("failures", failures=0.05), Scenario("noise-grows", growth=0.3), Scenario("heavy-tails", freedom=1.5, sigma=0.007),
    *(Scenario(f"projection-{w:g}", projection=w, **VISION) for w in (0.1, 0.2, 0.4)),
    Scenario("chance-too-high", believed_chance=0.3), Scenario("chance-too-low", chance=0.3, believed_chance=0.11),
    Scenario("edge-low", x90=(0.0, 1.0)), Scenario("edge-high", x90=(math.log2(199_210) - 1, math.log2(199_210))),
    Scenario("mrpc-like", chance=0.684, full=0.78, sigma=0.012, full_noise=0.012, specified=True),
)
BY_NAME = {s.name: s for s in SCENARIOS}


@dataclass
class Result:
    """One replicate: did the interval hold the truth, how far off was the estimate, what did it cost."""

    covered: bool
    error: float  # octaves, of the estimate
    runs: int
    width: float  # octaves, of the interval's wider side
    stop: str
    share: float = 0.0  # of whole runs' steps spent, where runs may stop early
    false_stops: int = 0
    stops: int = 0


def search(target: Target, limits: Limits, design: str, run: Callable[[int, bool], Point]) -> tuple[list[Point], str]:
    history: list[Point] = []
    while not isinstance(step := DESIGNS[design](history, target, limits), Stop):
        history += [run(r.d, r.far) for r in step.runs]
    return history, step.reason


def judge(history: Sequence[Point], target: Target, limits: Limits, truth: float, baselines: int, stop: str) -> Result:
    low, middle, high = Posterior(history, target, *limits.octaves).quantile((0.05, 0.5, 0.95))
    return Result(
        bool(low <= truth <= high), float(middle - truth), len(history) + baselines, float(max(high - middle, middle - low)), stop,
    )


def simulate(name: str, design: str, workers: int, i: int) -> Result:
    scenario = BY_NAME[name]
    draw = np.random.default_rng([i, *name.encode()])
    slope = scenario.slope or float(draw.uniform(0.34, 0.93))
    x90 = float(draw.uniform(*scenario.x90))
    height = scenario.full + float(draw.choice(HEIGHTS)) * (scenario.full - scenario.chance)
    curve = scenario.curve(slope, height, x90)
    base = Baseline.of([scenario.full + scenario.full_noise * float(draw.standard_normal()) for _ in range(5)], scenario.believed)
    limits = Limits(LIMITS.smallest, LIMITS.largest, workers=workers, repeats=3, grid=GRID)

    def run(d: int, far: bool) -> Point:
        return Point(d, scenario.score(curve, math.log2(d), x90, draw))

    target = Target(base, "chance")
    history, stop = search(target, limits, design, run)
    if design == "grid":
        return published(history, target, x90, draw)
    return judge(history, target, limits, x90, 5, stop)


def published(history: Sequence[Point], target: Target, truth: float, draw: np.random.Generator) -> Result:
    """The published way: the first grid value whose mean passes, and a bootstrap over its seeds for an interval."""
    by_d = {d: np.array([target.baseline.chance if p.score is None else p.score for p in history if p.d == d]) for d in GRID}
    scores = np.stack(list(by_d.values()))  # (grid, seeds)

    def first(means: np.ndarray) -> float:
        passing = np.flatnonzero(means >= target.tau)
        return math.log2(GRID[passing[0]]) if passing.size else math.log2(GRID[-1]) + 1

    again = [first(np.take_along_axis(scores, draw.integers(0, 3, scores.shape), 1).mean(1)) for _ in range(200)]
    low, high = np.quantile(again, (0.05, 0.95))
    found = first(scores.mean(1))
    return Result(bool(low <= truth <= high), found - truth, len(history) + 3, float(max(high - found, found - low)), "grid")


def calibrate(i: int) -> float:
    """The rank of the true x90 in its posterior, all unknowns drawn from the prior: uniform if the computation is right."""
    draw = np.random.default_rng([i, 99])

    def cut(spread: float = 2.7) -> float:
        while abs(z := draw.standard_normal()) > spread:
            pass
        return float(z)

    low, high = LIMITS.octaves
    x90, chance = float(draw.uniform(low, high)), 0.11
    base = Baseline(0.98, 0.003 / math.sqrt(5), 5, chance)
    while abs(z := draw.standard_t(4)) > 3.0:
        pass
    full = base.mean + base.se * float(z)
    slope, sigma = 0.7 * math.exp(0.6 * cut()), 0.01 * math.exp(0.8 * cut())
    scenario = Scenario("prior", slope, sigma, chance=chance, full=full)
    curve = scenario.curve(slope, full + float(draw.choice(HEIGHTS)) * (full - chance), x90)

    tau = chance + 0.9 * (full - chance)

    def run(d: int, far: bool) -> Point:
        if draw.random() < FAILED:
            return Point(d, float(draw.uniform(chance, full)))
        x = math.log2(d)
        mean, steep = curve(x), (curve(x + 1e-4) - curve(x - 1e-4)) / 2e-4
        scale = math.sqrt(sigma**2 + (MISFIT * (mean - tau)) ** 2 + (PROJECTION * steep) ** 2)
        return Point(d, mean + scale * float(draw.standard_t(4)))

    target = Target(base, "chance")
    history, _ = search(target, Limits(LIMITS.smallest, LIMITS.largest, max_runs=12), "posterior", run)
    return Posterior(history, target, low, high).rank(x90)


class Table:
    """Real runs: for each of many d, learning curves of many seeds. ``truth``: where their isotonic mean crosses the threshold."""

    def __init__(self, path: Path):
        raw = json.loads(path.read_text())
        self.shares, self.chance = raw["shares"], raw["chance"]
        self.full = [c[-1] for c in raw["full"]]
        self.curves = {int(d): curves for d, curves in raw["d"].items()}
        self.d = sorted(self.curves)
        self.target = Target(Baseline.of(self.full, self.chance), "chance")
        self.truth = isotonic([Point(d, c[-1]) for d in self.d for c in self.curves[d]], self.target)

    def nearest(self, d: int) -> int:
        return min(self.d, key=lambda v: abs(math.log2(v / d)))


_TABLE: Table | None = None


def load(path: Path) -> None:
    global _TABLE
    _TABLE = Table(path) if path.is_file() else None


def replay(design: str, early: bool, i: int) -> Result:
    """A search whose runs are drawn from the table, each at most once; 5 of its full runs are the baselines."""
    table, draw = _TABLE, np.random.default_rng([i, 7])
    base = Baseline.of([float(v) for v in draw.choice(table.full, 5, replace=False)], table.chance)
    target = Target(base, "chance")
    left = {d: list(draw.permutation(len(c))) for d, c in table.curves.items()}
    spent, stops, false_stops = 0.0, 0, 0

    def run(d: int, far: bool) -> Point:
        nonlocal spent, stops, false_stops
        d = table.nearest(d)
        if not left[d]:
            d = min((v for v in table.d if left[v]), key=lambda v: abs(math.log2(v / d)))
        curve = table.curves[d][left[d].pop()]
        for n in range(4, len(curve)) if far and early else ():
            side = outlook(list(zip(table.shares[:n], curve[:n], strict=True)), target.tau, table.chance)
            if side:
                stops, spent = stops + 1, spent + table.shares[n - 1]
                false_stops += target.passes(curve[-1]) != (side == "above")
                return Point(d, curve[n - 1], side, target.tau, table.shares[n - 1])
        spent += 1
        return Point(d, curve[-1])

    limits = Limits(table.d[0], LIMITS.largest)
    history, stop = search(target, limits, design, run)
    result = judge(history, target, limits, table.truth, 5, stop)
    result.share, result.stops, result.false_stops = spent / len(history), stops, false_stops
    return result


def row(name: str, design: str, results: list[Result], **more: object) -> dict:
    n, covered = len(results), sum(r.covered for r in results)
    runs = [r.runs for r in results]
    return {
        "scenario": name, "design": design, "n": n, "coverage": covered / n, "lower": float(stats.beta.ppf(0.025, covered, n - covered + 1)),
        "within 1.25": float(np.mean([abs(r.error) <= WITHIN for r in results])), "bias": float(np.mean([r.error for r in results])),
        "runs": float(np.mean(runs)), "runs p95": float(np.quantile(runs, 0.95)), "capped": float(np.mean(["cap" in r.stop for r in results])),
        "half width": float(np.median([r.width for r in results])), **more,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--scenarios", default=",".join(BY_NAME), help="names with commas")
    parser.add_argument("--table", type=Path, default=Path("results/replay/mnist-fc.json"))
    parser.add_argument("--out", type=Path, default=Path("results/search"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    n, file = args.replicates, args.out / "study.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    if kept.get("code") != code():
        kept = {"code": code(), "rows": {}}
    jobs = [(name, "posterior", 1) for name in args.scenarios.split(",")]
    jobs += [(name, design, workers) for name, design, workers in COMPARED if name in args.scenarios.split(",")]
    with ProcessPoolExecutor(args.workers, initializer=load, initargs=(args.table,)) as pool:
        def many(function, *fixed):
            return list(pool.map(function, *([v] * n for v in fixed), range(n), chunksize=10))

        def keep(key: str, make: Callable[[], dict]) -> None:
            if kept["rows"].get(key, {}).get("n") != n:
                kept["rows"][key] = make()
                write_json(file, kept)
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in kept["rows"][key].items()}, flush=True)

        for name, design, workers in jobs:
            label = f"{design}, {workers} workers" if workers > 1 else design
            more = {"specified": BY_NAME[name].specified, "vision": BY_NAME[name].vision}
            keep(f"{name}/{label}", lambda: row(name, label, many(simulate, name, design, workers), **more))
        keep("calibration", lambda: ranked(many(calibrate)))
        for design, early in REPLAYED if args.table.is_file() else ():
            label = f"{design}{', early stopping' if early else ''}"
            keep(f"replay/{label}", lambda: replayed(label, many(replay, design, early)))
    rows = [v for k, v in kept["rows"].items() if k != "calibration"]
    frame, ranks = pd.DataFrame(rows), kept["rows"]["calibration"]
    shown = frame.drop(columns=["specified", "vision"]).to_string(index=False, float_format="{:.3f}".format, na_rep="")
    text = f"{shown}\n\nranks of x90 in 20 bins, n = {ranks['n']}: chi-squared p = {ranks['p']:.3f}\n{' '.join(map(str, ranks['counts']))}"
    print(text)
    (args.out / "study.txt").write_text(text + "\n")
    draw(frame, np.array(ranks["counts"]), args.out / "study.png")


#: Beside the default design: the simple option, several runs at once, and the published way.
COMPARED = (("logistic-0.7", "quantiles", 1), ("logistic-0.7", "posterior", 4), ("logistic-0.7", "grid", 1), ("weibull", "grid", 1))
REPLAYED = (("posterior", True), ("posterior", False), ("quantiles", False))


def code() -> str:
    """A digest of what decides the results: the search and this study. Rows made by other code are made again."""
    root = Path(__file__).resolve().parent.parent
    files = [*sorted((root / "idim" / "search").glob("*.py")), Path(__file__)]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


def ranked(ranks: list[float]) -> dict:
    counts = np.histogram(ranks, bins=20, range=(0, 1))[0]
    return {"n": len(ranks), "counts": counts.tolist(), "p": float(stats.chisquare(counts).pvalue)}


def replayed(label: str, results: list[Result]) -> dict:
    return row(
        "replay", label, results, share=float(np.mean([r.share for r in results])), stops=sum(r.stops for r in results),
        false_stops=sum(r.false_stops for r in results),
    )


def draw(frame: pd.DataFrame, counts: np.ndarray, path: Path) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 5.4), width_ratios=(3, 3, 2), layout="constrained")
    names = [f"{r.scenario} ({r.design})" if r.design != "posterior" else r.scenario for r in frame.itertuples()]
    y = np.arange(len(frame))[::-1]
    left.errorbar(frame["coverage"], y, xerr=[frame["coverage"] - frame["lower"], np.zeros(len(frame))], fmt="o", ms=4, color="#0072B2")
    left.axvline(0.9, color="0.3", ls="--", lw=1)
    left.set_yticks(y, names, fontsize=7.5)
    left.set_xlabel("coverage of the 90 % interval (bar: lower 95 % limit)")
    middle.plot(frame["runs"], y, "s", ms=4, color="#D55E00", label="mean")
    middle.plot(frame["runs p95"], y, "|", color="#D55E00", label="95 of 100 need fewer")
    middle.axvline(78 / 4, color="0.3", ls="--", lw=1, label="a quarter of 78")
    middle.set_yticks([])
    middle.set_xlabel("runs, baselines counted")
    middle.set_xscale("log", base=2)
    middle.set_xticks([8, 16, 32, 64], ["8", "16", "32", "64"])
    middle.legend(fontsize=8)
    right.bar((np.arange(20) + 0.5) / 20, counts, width=0.045, color="#009E73")
    right.axhline(counts.sum() / 20, color="0.3", ls="--", lw=1)
    right.set_xlabel("rank of the true x90 in its posterior")
    for axes in (left, middle):
        axes.grid(alpha=0.2)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()

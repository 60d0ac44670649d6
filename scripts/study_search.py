"""Test the search's calibration: simulate whole searches where d90 is known, and replay real runs.

    python scripts/study_search.py                      # everything: about an hour on two cores
    python scripts/study_search.py --scenarios logistic-0.7,dip --replicates 200 --out study

The script writes study.json, study.txt and study.png into --out. It keeps the rows that are already
there if the same code made them, with as many replicates or more. Each replicate of a scenario
draws from its own generator, so any one of them can be made again.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import kept
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from idim.search import posterior
from idim.search.design import ADAPTIVE, DESIGNS, SURE, TAILS, Limits, Next, Run, Stop
from idim.search.early import outlook
from idim.search.isotonic import agrees, isotonic
from idim.search.posterior import FAILED, PROJECTION, PROJECTION_ODDS, Posterior, misfit_variance
from idim.search.threshold import Baseline, Point, Target
from idim.store import write_json

LIMITS = Limits(smallest=1, largest=199_210)
#: What a curve reaches at large d, minus full fine-tuning, as a fraction of the gain.
HEIGHTS = (-0.06, -0.02, 0.02, 0.08)
GRID = tuple(round(2**x) for x in np.linspace(5, 15, 25))
WITHIN = math.log2(1.25)


@dataclass(frozen=True)
class Scenario:
    """A world: how the score depends on d, and how runs scatter about the curve.

    x is log2 d throughout. The fields count scores in the world's own unit, and ``unit`` multiplies
    every score at the end. ``specified`` says that the posterior's own model holds here. ``vision``
    says that the world is like a vision task.
    """

    name: str
    slope: float | None = None  # None: drawn from the published range
    sigma: float = 0.01
    shape: str = "logistic"
    chance: float = 0.11
    full: float = 0.98
    believed_chance: float | None = None
    full_noise: float = 0.003
    baselines: int = 5
    dip: float = 0.0  # depth in sigmas, an octave above x90; if negative, a bump an octave below
    failures: float = 0.0
    growth: float = 0.0  # of log2 of the noise, per octave
    freedom: float = 4.0  # degrees of freedom of the noise, a Student's t
    projection: float = 0.0  # standard deviation of the octaves by which a run's P moves its curve
    x90: tuple[float, float] = (6.0, 13.0)
    height: float | None = None  # where the curve ends, as a fraction of the gain; None: drawn
    unit: float = 1.0
    examples: int = 0  # if not 0, a score is the fraction of right answers among so many examples
    fails: str = ""  # "small" or "large": the rate fails on that side, from 1.5 octaves off x90 on
    largest: int = 199_210
    specified: bool = False
    vision: bool = False

    @property
    def reachable(self) -> bool:
        """Whether some d reaches the threshold."""
        return self.height is None or self.height > 0.9

    def curve(self, slope: float, height: float, x90: float) -> Callable[[float], float]:
        """The score as a function of x. It crosses the threshold at x90.

        There it has the slope that a logistic curve with k = ``slope`` has.
        """
        tau = self.believed + 0.9 * (self.full - self.believed)
        span = height - self.chance
        # If no d reaches tau, x90 is where the curve has 90 % of its height.
        g = (tau - self.chance) / span if self.reachable else 0.9
        steep = slope * g * (1 - g)
        if self.shape == "step":

            def level(u):
                return (
                    float(u >= 0)
                    if math.isinf(slope)
                    else 1 / (1 + math.exp(min(-(slope * u + math.log(g / (1 - g))), 600)))
                )
        elif self.shape == "logistic":
            at = math.log(g / (1 - g))
            level = lambda u: 1 / (1 + math.exp(-(slope * u + at)))  # noqa: E731
        elif self.shape == "weibull":
            # 1 - exp(-z) with z = z0 2^(b u). The slope at 0 is b ln 2 z0 exp(-z0).
            z = -math.log(1 - g)
            b = steep / (math.log(2) * z * (1 - g))
            level = lambda u: 1 - math.exp(-z * 2 ** min(b * u, 60))  # noqa: E731
        elif self.shape == "power":
            # 1 - (1 - g) 2^(-b u), but never below 0. The slope at 0 is b ln 2 (1 - g).
            b = steep / (math.log(2) * (1 - g))
            level = lambda u: max(0.0, 1 - (1 - g) * 2 ** min(-b * u, 60))  # noqa: E731
        else:
            # Gompertz: exp(-z) with z = z0 exp(-b u). The slope at 0 is b z0 exp(-z0).
            z = -math.log(g)
            b = steep / (z * g)
            level = lambda u: math.exp(-z * math.exp(min(-b * u, 50)))  # noqa: E731
        dip, side = abs(self.dip) * self.sigma, math.copysign(1, self.dip)
        return lambda x: (
            self.chance
            + span * level(x - x90)
            - side * dip * math.exp(-0.5 * ((x - x90 - side) / 0.3) ** 2)
        )

    @property
    def believed(self) -> float:
        """The chance level that the search is told."""
        return self.chance if self.believed_chance is None else self.believed_chance

    def score(
        self, curve: Callable[[float], float], x: float, x90: float, draw: np.random.Generator
    ) -> float | None:
        """The score of one run at x. None if it diverged."""
        if self.failures and draw.random() < self.failures:
            return (
                None
                if draw.random() < 0.5
                else float(draw.uniform(self.chance, self.full)) * self.unit
            )
        mean = curve(x + self.projection * draw.standard_normal())
        if self.fails and (x < x90 - 1.5 if self.fails == "small" else x > x90 + 1.5):
            mean = self.chance
        return self.scored(
            mean, self.sigma * 2 ** (self.growth * (x - x90)) * draw.standard_t(self.freedom), draw
        )

    def scored(self, mean: float, noise: float, draw: np.random.Generator) -> float:
        """A score from its mean and its noise. With ``examples`` it counts right answers."""
        if self.examples:
            return (
                float(draw.binomial(self.examples, min(max(mean + noise, 0.0), 1.0)))
                / self.examples
                * self.unit
            )
        return (mean + noise) * self.unit


VISION = {"vision": True}
OLD = (
    *(Scenario(f"logistic-{k:g}", k, specified=True, **VISION) for k in (0.3, 0.5, 0.7, 1.0, 1.5)),
    Scenario("weibull", shape="weibull", **VISION),
    Scenario("gompertz", shape="gompertz", **VISION),
    Scenario("dip", dip=2.0),
    Scenario("failures", failures=0.05),
    Scenario("noise-grows", growth=0.3),
    Scenario("heavy-tails", freedom=1.5, sigma=0.007),
    *(Scenario(f"projection-{w:g}", projection=w, **VISION) for w in (0.1, 0.2, 0.4)),
    Scenario("chance-too-high", believed_chance=0.3),
    Scenario("chance-too-low", chance=0.3, believed_chance=0.11),
    Scenario("edge-low", x90=(0.0, 1.0)),
    Scenario("edge-high", x90=(math.log2(199_210) - 1, math.log2(199_210))),
    Scenario("mrpc-like", chance=0.684, full=0.78, sigma=0.012, full_noise=0.012, specified=True),
)
MRPC = {"chance": 0.684, "full": 0.78, "sigma": 0.012, "full_noise": 0.012}
NEW = (
    # The same runs in other units must give the same answers.
    *(Scenario(f"unit-{u:g}", unit=u) for u in (100.0, 0.01)),
    Scenario("mrpc-like-percent", unit=100.0, **MRPC),
    *(Scenario(f"step-{k:g}", k, shape="step") for k in (2.5, 5.0, 10.0, math.inf)),
    *(Scenario(f"saturates-{a:g}", height=a) for a in (0.85, 0.88, 0.89, 0.92)),
    *(Scenario(f"baselines-{n}", baselines=n) for n in (2, 3)),
    Scenario("mrpc-like-3", baselines=3, **MRPC),
    *(
        Scenario(f"examples-{n}", examples=n, sigma=0.004, full=0.93, full_noise=0.003)
        for n in (100, 300, 1000)
    ),
    *(Scenario(f"power-{k:g}", k, shape="power") for k in (0.5, 1.0)),
    Scenario("bump", dip=-2.0),
    Scenario("noise-falls", growth=-0.3),
    *(Scenario(f"rate-fails-{side}", fails=side) for side in ("small", "large")),
    # Small whole numbers, such as LoRA's rank. The widest layer has 384.
    *(
        Scenario(f"integer-{d}", x90=(math.log2(d - 0.999), math.log2(d)), largest=384)
        for d in (1, 2, 3, 5, 8, 60)
    ),
)
SCENARIOS = OLD + NEW
BY_NAME = {s.name: s for s in SCENARIOS}


@dataclass
class Result:
    """One replicate: whether the interval held the truth, the estimate's error, and the cost.

    ``runs`` counts the runs of full fine-tuning too. ``stops`` counts the runs that stopped early,
    and ``false_stops`` those of them that would have ended on the other side of tau.
    """

    covered: bool
    error: float  # octaves, of the estimate
    runs: int
    width: float  # octaves, from the middle to the farther end of the interval
    stop: str
    share: float = 0.0  # steps that were made, over those of whole runs; if runs may stop early
    false_stops: int = 0
    stops: int = 0
    reached: bool = False


def search(
    target: Target,
    limits: Limits,
    design: str,
    run: Callable[[int, bool], Point],
    history: list[Point] | None = None,
    workers: int = 1,
) -> tuple[list[Point], str]:
    """Make the runs that a design asks for, and append them to ``history``.

    With several workers an adaptive design decides while runs fly. They come back in the order in
    which they were asked for.

    Returns the history, and why the design stopped.
    """
    history = [] if history is None else history
    flying: list[Run] = []
    while True:
        step = DESIGNS[design](history, target, limits, [r.d for r in flying])
        if isinstance(step, Stop) and not flying:
            return history, step.reason
        flying += () if isinstance(step, Stop) else step.runs
        few = workers if design in ADAPTIVE and isinstance(step, Next) else 1
        while len(flying) >= few:
            first = flying.pop(0)
            history.append(run(first.d, first.far))


def judge(
    history: Sequence[Point],
    target: Target,
    limits: Limits,
    truth: float,
    baselines: int,
    stop: str,
) -> Result:
    """The result of a search. ``truth`` is the true x90.

    It is infinite if no d reaches tau. Then only an interval without an upper end holds it.
    """
    known = Posterior(history, target, *limits.octaves)
    low, middle, high = known.interval(TAILS)
    # The interval that is printed has whole numbers, rounded outwards.
    ends = tuple(
        round_(2**v) if math.isfinite(v) else math.inf
        for round_, v in ((math.floor, low), (math.ceil, high))
    )
    d90 = math.ceil(2**truth - 1e-9) if math.isfinite(truth) else math.inf
    width = max(high - middle, middle - low) if math.isfinite(high) else math.inf
    error = middle - truth if math.isfinite(middle) and math.isfinite(truth) else math.inf
    return Result(
        ends[0] <= d90 <= ends[1],
        error,
        len(history) + baselines,
        width,
        stop,
        reached=known.rank(math.log2(limits.largest)) >= SURE
        and agrees(history, target, low, high, known.noise(min(middle, 60.0))),
    )


def simulate(name: str, design: str, workers: int, i: int) -> Result:
    """Replicate i of one scenario under one design."""
    scenario = BY_NAME[name]
    draw = np.random.default_rng([i, *name.encode()])
    slope = scenario.slope or float(draw.uniform(0.34, 0.93))
    x90 = float(draw.uniform(*scenario.x90))
    share = float(draw.choice(HEIGHTS)) if scenario.height is None else scenario.height - 1
    height = scenario.full + share * (scenario.full - scenario.chance)
    curve = scenario.curve(slope, height, x90)
    fulls = [
        scenario.scored(scenario.full, scenario.full_noise * float(draw.standard_normal()), draw)
        for _ in range(scenario.baselines)
    ]
    base = Baseline.of(fulls, scenario.believed * scenario.unit)
    limits = Limits(LIMITS.smallest, scenario.largest, repeats=3, grid=GRID)

    def run(d: int, far: bool) -> Point:
        return Point(d, scenario.score(curve, math.log2(d), x90, draw))

    target = Target(base, "chance")
    history, stop = search(target, limits, design, run, workers=workers)
    if design == "grid":
        return published(history, target, x90, draw)
    return judge(
        history, target, limits, x90 if scenario.reachable else math.inf, scenario.baselines, stop
    )


def published(
    history: Sequence[Point], target: Target, truth: float, draw: np.random.Generator
) -> Result:
    """The published way: the first d of the grid whose mean passes, and a bootstrap over its seeds.

    d90 lies between that d and the one before it, so the interval begins at the lower of the two.
    """
    by_d = {
        d: np.array(
            [target.baseline.chance if p.score is None else p.score for p in history if p.d == d]
        )
        for d in GRID
    }
    scores = np.stack(list(by_d.values()))  # (grid, seeds)
    x = np.log2(np.array([LIMITS.smallest, *GRID, 2 * GRID[-1]]))

    def first(means: np.ndarray) -> int:
        passing = np.flatnonzero(means >= target.tau)
        return int(passing[0]) + 1 if passing.size else len(GRID) + 1

    again = [
        first(np.take_along_axis(scores, draw.integers(0, 3, scores.shape), 1).mean(1))
        for _ in range(200)
    ]
    lowest, highest = (int(v) for v in np.quantile(again, (0.05, 0.95), method="nearest"))
    low, high, found = x[lowest - 1], x[highest], first(scores.mean(1))
    middle = (x[found - 1] + x[found]) / 2
    return Result(
        bool(low <= truth <= high),
        middle - truth,
        len(history) + 3,
        float(max(high - middle, middle - low)),
        "grid",
        reached=found <= len(GRID),
    )


def calibrate(i: int) -> float:
    """The rank of the true x90 in its posterior. Every unknown is drawn from the prior.

    If the computation is right, the ranks of many replicates are uniform.
    """
    draw = np.random.default_rng([i, 99])

    def mixed(middle: float, spread: float, odd: float, ends: tuple[float, float]) -> float:
        while True:
            v = (
                draw.uniform(*ends)
                if draw.random() < odd
                else middle + spread * draw.standard_normal()
            )
            if ends[0] < v < ends[1]:
                return float(v)

    low, high = LIMITS.octaves
    chance, base = 0.11, Baseline(0.98, 0.003 / math.sqrt(5), 5, 0.11)
    gain = base.mean - chance
    full = 1 + base.se / gain * float(draw.standard_t(4))
    at = float(draw.uniform(low - 3, high + 1))
    k = math.exp(
        mixed(posterior._SLOPE, posterior._SLOPE_SPREAD, posterior._SLOPE_ODD, posterior._SLOPES)
    )
    sigma = math.exp(
        mixed(posterior._NOISE, posterior._NOISE_SPREAD, posterior._NOISE_ODD, posterior._NOISES)
    )
    height = full * mixed(
        posterior._HEIGHT, posterior._HEIGHT_SPREAD, posterior._HEIGHT_ODD, posterior._HEIGHTS
    )
    octaves = float(draw.choice(PROJECTION, p=PROJECTION_ODDS))
    place = math.log(0.85 / 0.15)
    g = 0.9 * full / height
    x90 = at + (math.log(g / (1 - g)) - place) / k if g < 1 else math.inf

    def run(d: int, far: bool) -> Point:
        if draw.random() < FAILED:
            share = (
                posterior.CHANCE_NOISE * float(draw.standard_t(4))
                if draw.random() < posterior.AT_CHANCE
                else float(draw.uniform(0, 1))
            )
            return Point(d, chance + gain * share)
        level = 1 / (1 + math.exp(min(-k * (math.log2(d) - at) - place, 500)))
        mean, steep = height * level, k * height * level * (1 - level)
        moved = min((octaves * steep) ** 2, mean * (height - mean))
        scale = math.sqrt(sigma**2 + float(misfit_variance(np.float64(mean - 0.9))) + moved)
        return Point(d, chance + gain * (mean + scale * float(draw.standard_t(4))))

    target = Target(base, "chance")
    history, _ = search(
        target, Limits(LIMITS.smallest, LIMITS.largest, max_runs=12), "posterior", run
    )
    known = Posterior(history, target, low, high)
    if x90 < high + 1:
        return known.rank(x90)
    # All that lies beyond what can be tried is one place, so its rank is drawn at random.
    return float(draw.uniform(known.rank(high + 1), 1))


class Table:
    """Real runs: the learning curves of many seeds at each of many d.

    ``truth`` is the x where their isotonic mean crosses the threshold.
    """

    def __init__(self, path: Path):
        raw = json.loads(path.read_text())
        self.shares, self.chance = raw["shares"], raw["chance"]
        self.full = [c[-1] for c in raw["full"]]
        self.curves = {int(d): curves for d, curves in raw["d"].items()}
        self.d = sorted(self.curves)
        self.target = Target(Baseline.of(self.full, self.chance), "chance")
        self.truth = isotonic(
            [Point(d, c[-1]) for d in self.d for c in self.curves[d]], self.target
        )

    def nearest(self, d: int) -> int:
        """The d of the table that is nearest to this one, in log d."""
        return min(self.d, key=lambda v: abs(math.log2(v / d)))


_TABLE: Table | None = None


def load(path: Path) -> None:
    """Read the table into this process, for ``replay``."""
    global _TABLE
    _TABLE = Table(path) if path.is_file() else None


def replay(design: str, early: bool, i: int) -> Result:
    """A search whose runs come from the table. Each is used at most once.

    Five of the table's runs of full fine-tuning are the baselines.
    """
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
        noise = sigma() if far and early else 0.0
        for n in range(4, len(curve)) if far and early else ():
            so_far = list(zip(table.shares[:n], curve[:n], strict=True))
            side = outlook(so_far, target.tau, table.chance, noise)
            if side:
                stops, spent = stops + 1, spent + table.shares[n - 1]
                false_stops += target.passes(curve[-1]) != (side == "above")
                return Point(d, curve[n - 1], side, target.tau, table.shares[n - 1])
        spent += 1
        return Point(d, curve[-1])

    limits, history = Limits(table.d[0], LIMITS.largest), []

    def sigma() -> float:
        """The noise of one run, in units of the score, as the conductor takes it."""
        return Posterior(history, target, *limits.octaves).sigma * (base.mean - base.chance)

    history, stop = search(target, limits, design, run, history)
    result = judge(history, target, limits, table.truth, 5, stop)
    result.share, result.stops, result.false_stops = spent / len(history), stops, false_stops
    return result


def row(name: str, design: str, results: list[Result], **more: object) -> dict:
    """One row of the results: the summary of many replicates."""
    n, covered = len(results), sum(r.covered for r in results)
    runs, widths = [r.runs for r in results], [r.width for r in results]
    errors = [r.error for r in results if math.isfinite(r.error)]
    return {
        "scenario": name,
        "design": design,
        "n": n,
        "coverage": covered / n,
        "lower": float(stats.beta.ppf(0.025, covered, n - covered + 1)),
        "reached": float(np.mean([r.reached for r in results])),
        "within 1.25": float(np.mean([abs(r.error) <= WITHIN for r in results])),
        "bias": float(np.mean(errors)) if errors else None,
        "runs": float(np.mean(runs)),
        "runs p95": float(np.quantile(runs, 0.95)),
        "capped": float(np.mean(["cap" in r.stop for r in results])),
        "half width": float(np.median(widths)) if math.isfinite(np.median(widths)) else None,
        **more,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--scenarios", default=",".join(BY_NAME), help="names with commas")
    parser.add_argument("--table", type=Path, default=Path("results/replay/mnist-fc.json"))
    parser.add_argument("--out", type=Path, default=Path("results/search"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    n, file = args.replicates, args.out / "study.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    if found.get("code") != code():
        found = {"code": code(), "rows": {}}
    jobs = [(name, "posterior", 1) for name in args.scenarios.split(",")]
    jobs += [
        (name, design, workers)
        for name, design, workers in COMPARED
        if name in args.scenarios.split(",")
    ]
    with ProcessPoolExecutor(args.workers, initializer=load, initargs=(args.table,)) as pool:

        def many(function, *fixed):
            return list(pool.map(function, *([v] * n for v in fixed), range(n), chunksize=10))

        def keep(key: str, make: Callable[[], dict]) -> None:
            before, world = found["rows"].get(key, {}), _world(key)
            if before.get("n", 0) < n or before.get("world", "") != world:
                found["rows"][key] = make() | ({"world": world} if world else {})
                write_json(file, found)
                print(
                    {
                        k: round(v, 3) if isinstance(v, float) else v
                        for k, v in found["rows"][key].items()
                    },
                    flush=True,
                )

        for name, design, workers in jobs:
            label = f"{design}, {workers} workers" if workers > 1 else design
            more = {"specified": BY_NAME[name].specified, "vision": BY_NAME[name].vision}
            keep(
                f"{name}/{label}",
                lambda: row(name, label, many(simulate, name, design, workers), **more),
            )
        keep("calibration", lambda: ranked(many(calibrate)))
        for design, early in REPLAYED if args.table.is_file() else ():
            label = f"{design}{', early stopping' if early else ''}"
            keep(f"replay/{label}", lambda: replayed(label, many(replay, design, early)))
    kept.write(file, found, text, figure)


def text(found: dict) -> str:
    """A line for each row, and the ranks."""
    ranks = found["rows"]["calibration"]
    shown = (
        frame(found)
        .drop(columns=["specified", "vision", "world"])
        .to_string(index=False, float_format="{:.3f}".format, na_rep="")
    )
    return (
        f"{shown}\n\nranks of x90 in 20 bins, n = {ranks['n']}: chi-squared p = {ranks['p']:.3f}\n"
        f"{' '.join(map(str, ranks['counts']))}\n"
    )


def frame(found: dict) -> pd.DataFrame:
    """The rows. Where there is no d90, no interval can hold it; there "reached" is what counts."""
    rows = [v for k, v in found["rows"].items() if k != "calibration"]
    made = pd.DataFrame(rows)
    without = [r["scenario"] in BY_NAME and not BY_NAME[r["scenario"]].reachable for r in rows]
    made.loc[without, ["coverage", "lower", "within 1.25", "bias", "half width"]] = np.nan
    return made


#: What is compared with the default design: the simple design, several workers, the published way.
COMPARED = (
    ("logistic-0.7", "quantiles", 1),
    ("logistic-0.7", "posterior", 4),
    ("logistic-0.7", "grid", 1),
    ("weibull", "grid", 1),
)
REPLAYED = (("posterior", True), ("posterior", False), ("quantiles", False))


def code() -> str:
    """A digest of the code that decides the results: this study, and the search as it imports it.

    Comments, docstrings and the annotations of functions do not count. If the digest differs, every
    row is made again. The table of worlds does not count: each row names its own.
    """
    files = [Path(__file__).resolve()]
    root = files[0].parent.parent
    for file in files:  # it grows
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("idim.search"):
                for name in (node.module, *(f"{node.module}.{a.name}" for a in node.names)):
                    found = (root / str(name).replace(".", "/")).with_suffix(".py")
                    if found.is_file() and found not in files:
                        files.append(found)
    return hashlib.sha256("".join(map(_bare, sorted(files))).encode()).hexdigest()[:12]


def _world(key: str) -> str:
    """A digest of the world that a row is of; empty where it is of none."""
    scenario = BY_NAME.get(key.partition("/")[0])
    return hashlib.sha256(repr(scenario).encode()).hexdigest()[:12] if scenario else ""


#: What of this file decides no result, or only that of some rows.
_SHOWING = ("main", "text", "frame", "figure", "code", "_world", "_bare")
_TABLES = ("OLD", "NEW", "MRPC", "VISION", "SCENARIOS", "BY_NAME", "_SHOWING", "_TABLES")


def _bare(file: Path) -> str:
    """A file's code without imports, comments, docstrings and the annotations of functions.

    What only shows the results is left out too.
    """
    tree = ast.parse(file.read_text())
    tree.body = [
        node
        for node in tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and getattr(node, "name", "") not in _SHOWING
        and not (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in _TABLES)
    ]
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree)


def ranked(ranks: list[float]) -> dict:
    """The ranks in 20 bins, and the p-value of a chi-squared test that they are uniform."""
    counts = np.histogram(ranks, bins=20, range=(0, 1))[0]
    return {"n": len(ranks), "counts": counts.tolist(), "p": float(stats.chisquare(counts).pvalue)}


def replayed(label: str, results: list[Result]) -> dict:
    """A row of searches on the table, with their early stops."""
    return row(
        "replay",
        label,
        results,
        share=float(np.mean([r.share for r in results])),
        stops=sum(r.stops for r in results),
        false_stops=sum(r.false_stops for r in results),
    )


def figure(found: dict) -> Figure:
    """Coverage and runs of every row, and the ranks."""
    rows, counts = frame(found), np.array(found["rows"]["calibration"]["counts"])
    drawn = Figure(figsize=(13, 0.19 * len(rows)), layout="constrained")
    left, middle, right = drawn.subplots(1, 3, width_ratios=(3, 3, 2))
    names = [
        f"{r.scenario} ({r.design})" if r.design != "posterior" else r.scenario
        for r in rows.itertuples()
    ]
    y = np.arange(len(rows))[::-1]
    left.errorbar(
        rows["coverage"],
        y,
        xerr=[rows["coverage"] - rows["lower"], np.zeros(len(rows))],
        fmt="o",
        ms=4,
        color="#0072B2",
    )
    left.axvline(0.9, color="0.3", ls="--", lw=1)
    left.set_yticks(y, names, fontsize=8)
    left.set_ylim(-1, len(rows))
    left.set_xlabel("coverage of the 90 % interval (bar: lower 95 % limit)")
    middle.plot(rows["runs"], y, "s", ms=4, color="#D55E00", label="mean")
    middle.plot(rows["runs p95"], y, "|", color="#D55E00", label="95 of 100 need fewer")
    middle.axvline(78 / 4, color="0.3", ls="--", lw=1, label="a quarter of 78")
    middle.set_yticks([])
    middle.set_xlabel("runs, baselines counted")
    middle.set_xscale("log", base=2)
    middle.set_xticks([8, 16, 32, 64], ["8", "16", "32", "64"])
    middle.legend(fontsize=8, loc="lower right")
    middle.set_ylim(-1, len(rows))
    right.bar((np.arange(20) + 0.5) / 20, counts, width=0.045, color="#009E73")
    right.axhline(counts.sum() / 20, color="0.3", ls="--", lw=1)
    right.set_xlabel("rank of the true x90 in its posterior")
    for axes in (left, middle):
        axes.grid(alpha=0.2)
    return drawn


if __name__ == "__main__":
    main()

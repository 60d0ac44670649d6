"""Thresholds, brackets, the design and verdicts: pure functions."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from idim.answers.checks import rate_loss
from idim.answers.evidence import baseline_of, passes_of, points_of, target_of
from idim.answers.summary import summarise
from idim.report.html import sentences
from idim.report.layout import layout_frame
from idim.report.search_text import checks_text, search_text
from idim.report.words import answer_text
from idim.search.answer import Belief
from idim.search.design import ADAPTIVE, DESIGNS, Limits, Next, Run, Stop, bisect, grid
from idim.search.early import outlook
from idim.search.isotonic import agrees, isotonic
from idim.search.pairs import Change, lost
from idim.search.posterior import Posterior
from idim.search.threshold import (
    Baseline,
    Bracket,
    Point,
    Target,
    bracket,
    means,
    sampling_error,
    signal,
)
from idim.values.findings import Checks, Crossing, Moved
from idim.values.options import Options
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.recipe import Recipe
from idim.values.record import Record, Setting
from idim.values.search_summary import SearchSummary
from idim.values.spec import Spec
from idim.values.training import Status, Training


def test_thresholds():
    base = Baseline.of([0.8, 0.9, 0.85], chance=0.6)
    assert base.mean == pytest.approx(0.85)
    assert base.se == pytest.approx(0.05 / math.sqrt(3))
    assert Target(base, "raw").tau == pytest.approx(0.765)
    assert Target(base, "chance").tau == pytest.approx(0.6 + 0.9 * 0.25)
    assert Target(base, "absolute", absolute=0.7).tau == 0.7
    assert Target(base, "chance", 0.5).at(0.7) == pytest.approx(0.65)
    assert Baseline.of([0.8], 0.5).se is None


def at(tau: float, strict: bool = False, chance: float = 0.0) -> Target:
    return Target(Baseline(1.0, 0.01, 5, chance), "absolute", absolute=tau, strict=strict)


def test_means_count_a_failed_run_at_the_floor():
    assert means([Point(4, 0.9), Point(4, None), Point(2, 0.6)], floor=0.5) == {2: 0.6, 4: 0.7}


def test_bracket_and_strictness():
    points = [Point(8, 0.5), Point(16, 0.7), Point(32, 0.9)]
    assert bracket(points, at(0.7)) == Bracket(8, 16)
    assert bracket(points, at(0.7, strict=True)) == Bracket(16, 32)
    assert bracket(points, at(0.95)) == Bracket(32, None)
    assert bracket(points, at(0.1)) == Bracket(None, 8)
    assert bracket([Point(8, 0.9), Point(16, 0.5)], at(0.7)) == Bracket(16, 8)


def test_signal_needs_four_standard_errors_of_runs_and_of_the_sample():
    assert signal(Baseline(0.80, 0.01, 5, 0.68), 408, "accuracy")
    assert not signal(Baseline(0.80, 0.04, 5, 0.68), 408, "accuracy")
    assert not signal(Baseline(0.75, 0.001, 5, 0.68), 408, "accuracy")
    assert not signal(Baseline(0.01, 0.001, 5, 0.0), 1000, "matthews")


def measured(
    truth: float, limits: Limits, score=lambda d, truth, i: float(d >= truth)
) -> tuple[list[Point], Stop]:
    history: list[Point] = []
    for _ in range(200):
        step = bisect(history, at(0.5), limits)
        if isinstance(step, Stop):
            return history, step
        history += [Point(r.d, score(r.d, truth, r.repeat)) for r in step.runs]
    raise AssertionError("the search does not stop")


@pytest.mark.parametrize("truth", [1, 2, 7, 100, 101, 750, 6_000, 99_999, 100_000])
@pytest.mark.parametrize("repeats", [1, 3])
def test_bisection_brackets_a_sharp_threshold(truth, repeats):
    limits = Limits(1, 100_000, 128, repeats, 1.25, 10_000)
    history, stop = measured(truth, limits)
    b = bracket(history, at(0.5))
    assert b.high is not None and b.high >= truth and (b.low is None or b.low < truth)
    if b.low:
        assert b.high <= b.low * 1.25 or b.high - b.low == 1
    else:
        assert truth == 1 and stop.reason == "the smallest d passes"
    assert len(history) <= repeats * 20


def test_bisection_gives_up_at_the_largest_d_and_at_the_cap():
    limits = Limits(1, 1000, 128, 2, 1.25, 10_000)
    history, stop = measured(10**9, limits)
    assert stop.reason == "the largest d fails" and bracket(history, at(0.5)) == Bracket(1000, None)
    history, stop = measured(700, Limits(1, 1000, 128, 3, 1.01, 7))
    assert stop == Stop("the cap of 7 runs is reached", finished=False) and len(history) == 7


def test_bisection_never_contradicts_itself_under_noise():
    for seed in range(50):
        draw = random.Random(seed)
        noisy = lambda d, truth, i: 1 / (1 + (truth / d)) + draw.gauss(0, 0.15)  # noqa: E731
        history, _ = measured(500, Limits(1, 10**6, 64, 2, 1.25, 200), noisy)
        b = bracket(history, at(0.5))
        assert b.low is None or b.high is None or b.low < b.high


def test_the_same_history_gives_the_same_decision_however_it_was_cut():
    limits = Limits(1, 100_000, 128, 3, 1.25, 100)
    history, _ = measured(750, limits)
    for n in range(0, len(history), 2):
        step = bisect(history[:n], at(0.5), limits)
        assert isinstance(step, Next)
        run = step.runs[0]
        assert history[n].d == run.d and run.repeat == sum(p.d == run.d for p in history[:n])


def test_grid_asks_for_what_is_missing():
    limits = Limits(1, 100, repeats=2, grid=(4, 8))
    assert grid([], at(0.5), limits) == Next((Run(4, 0), Run(4, 1), Run(8, 0), Run(8, 1)))
    assert grid([Point(4, 1.0), Point(8, 1.0), Point(4, 0.9)], at(0.5), limits) == Next(
        (Run(8, 1),)
    )
    assert isinstance(
        grid([Point(4, 1.0)] * 2, at(0.5), Limits(1, 100, repeats=2, grid=(4,))), Stop
    )


# The posterior, and the designs on it.


CHANCE = Target(Baseline(0.98, 0.001, 5, 0.1), "chance")
WIDE = Limits(1, 200_000)


def world(x90: float, slope: float = 0.7, sigma: float = 0.01, seed: int = 0):
    """A logistic curve that crosses CHANCE at x90, and normal noise."""
    noise = random.Random(seed)
    at90 = math.log(0.9 / 0.1)

    def score(d: int) -> float:
        return (
            0.1
            + 0.88 / (1 + math.exp(-slope * (math.log2(d) - x90) - at90))
            + noise.gauss(0, sigma)
        )

    return score


def searched(score, design: str, limits: Limits, workers: int = 1) -> tuple[list[Point], str]:
    """A search whose runs come back in the order in which they were asked for."""
    history: list[Point] = []
    flying: list[int] = []
    while True:
        step = DESIGNS[design](history, CHANCE, limits, flying)
        if isinstance(step, Stop):
            if not flying:
                return history, step.reason
        else:
            assert all(limits.smallest <= r.d <= limits.largest for r in step.runs)
            flying += [r.d for r in step.runs]
        while len(flying) >= workers or (flying and isinstance(step, Stop)):
            d = flying.pop(0)
            history.append(Point(d, score(d)))


@pytest.mark.parametrize("design", ADAPTIVE)
@pytest.mark.parametrize("workers", [1, 3])
def test_an_adaptive_search_finds_d90_within_a_quarter(design, workers):
    for seed, x90 in enumerate((4.0, 7.5, 9.7, 12.3, 15.0)):
        history, reason = searched(world(x90, seed=seed), design, Limits(1, 200_000), workers)
        found = Belief(history, CHANCE, 1, 200_000).interval(CHANCE)
        assert found["low"] < found["estimate"] < found["high"] and found["level"] == 0.9
        assert found["high"] / found["estimate"] <= 1.26 and abs(
            math.log2(found["estimate"]) - x90
        ) < 2 * math.log2(1.25)
        assert len(history) <= 30 and reason == "the interval is narrow enough"


def test_an_adaptive_search_says_when_no_d_passes_and_when_all_do():
    assert searched(lambda d: 0.2, "posterior", WIDE)[1] == "the largest d fails"
    assert searched(lambda d: 0.97, "posterior", WIDE)[1] == "the smallest d passes"
    history, reason = searched(world(9.0, sigma=0.2), "posterior", WIDE)
    assert reason == "the cap of 30 runs is reached" and len(history) == 30
    found = Belief(history, CHANCE, 1, 200_000).interval(CHANCE)
    assert found["high"] is None or found["high"] > 2 * found["estimate"]


def test_the_posterior_does_not_depend_on_the_order_of_runs():
    history = searched(world(9.0), "posterior", WIDE)[0]
    ways = [
        Posterior(h, CHANCE, *WIDE.octaves)
        for h in (history, history[::-1], sorted(history, key=lambda p: p.score))
    ]
    assert len({tuple(w.quantile((0.05, 0.5, 0.95))) for w in ways}) == 1


@pytest.mark.parametrize("design", ADAPTIVE)
def test_an_adaptive_search_decides_the_same_however_its_history_was_cut(design):
    limits = Limits(1, 200_000)
    history = searched(world(9.0), design, limits)[0]
    for n in range(0, len(history), 2):
        (run,) = DESIGNS[design](history[:n], CHANCE, limits).runs
        assert run.d == history[n].d


@pytest.mark.parametrize("design", ADAPTIVE)
def test_a_run_that_flies_moves_the_next_one_and_ends_nothing(design):
    limits = Limits(1, 200_000)
    history = searched(world(9.0, seed=3), design, limits)[0]
    for n in (0, 2, len(history) - 1):
        (first,) = DESIGNS[design](history[:n], CHANCE, limits).runs
        flying = [first.d]
        for _ in range(3):
            step = DESIGNS[design](history[:n], CHANCE, limits, flying)
            assert isinstance(step, Next)  # what flies is no reason to stop
            # Whatever comes, it is a run of its own.
            assert step.runs[0].repeat == [*(p.d for p in history[:n]), *flying].count(
                step.runs[0].d
            )
            flying.append(step.runs[0].d)
        if n < 3:  # little is known: the runs are spread
            assert len(set(flying)) > 2
    # The cap counts what flies.
    flying = [500] * (30 - 4)
    step = DESIGNS[design](history[:4], CHANCE, limits, flying)
    assert isinstance(step, Stop) and "cap of 30" in step.reason
    assert isinstance(DESIGNS[design](history[:4], CHANCE, limits, flying[1:]), Next)


@pytest.mark.parametrize(
    ("scale", "shift"), [(100.0, 0.0), (0.01, 0.0), (1.0, -3.0), (37.0, 12.5), (1e-6, 0.0)]
)
@pytest.mark.parametrize("design", ADAPTIVE)
def test_the_unit_of_the_score_changes_nothing(design, scale, shift):
    """Scores in percent, times .01 or shifted: the same runs, the same interval, bit for bit."""
    limits, score = Limits(1, 200_000, max_runs=12), world(9.0, sigma=0.03, seed=3)
    base = Baseline.of([0.981, 0.979, 0.983], 0.1)
    other = Target(
        Baseline.of([scale * v + shift for v in (0.981, 0.979, 0.983)], scale * 0.1 + shift),
        "chance",
    )
    ways = []
    for target, unit in (
        (Target(base, "chance"), lambda v: v),
        (other, lambda v: scale * v + shift),
    ):
        history: list[Point] = []
        noisy = {}
        while not isinstance(step := DESIGNS[design](history, target, limits), Stop):
            history += [
                Point(r.d, unit(noisy.setdefault((r.d, r.repeat), score(r.d)))) for r in step.runs
            ]
        score = world(9.0, sigma=0.03, seed=3)
        ways.append(
            (
                [p.d for p in history],
                Belief(history, target, 1, 200_000).known.interval((0.05, 0.5, 0.95)),
            )
        )
    assert ways[0] == ways[1]


def test_a_curve_that_ends_below_the_threshold_is_not_reached_and_one_above_is():
    def ends(height: float):
        noise = random.Random(1)
        return lambda d: (
            0.1
            + 0.88 * height / (1 + math.exp(-0.7 * (math.log2(d) - 8) - 2))
            + noise.gauss(0, 0.01)
        )

    for height, reached in ((0.85, False), (1.0, True)):
        history = searched(ends(height), "posterior", WIDE)[0]
        belief = Belief(history, CHANCE, 1, 200_000)
        assert (belief.reached >= 0.95) == reached and (
            belief.interval(CHANCE)["high"] is not None
        ) == reached


@pytest.mark.parametrize("x90", [5.35, 7.2, 10.9])
def test_an_interval_never_leaves_out_what_its_runs_bracket(x90):
    noise = random.Random(2)
    history = searched(
        lambda d: (0.98 if math.log2(d) >= x90 else 0.1) + noise.gauss(0, 0.005), "posterior", WIDE
    )[0]
    found = Belief(history, CHANCE, 1, 200_000).interval(CHANCE)
    assert found["low"] <= 2**x90 <= found["high"]
    fails, passes = (
        pick(p.d for p in history if (p.score > 0.5) == side)
        for pick, side in ((max, False), (min, True))
    )
    assert found["low"] <= fails and passes <= found["high"]


def test_an_interval_that_its_runs_contradict_does_not_stand():
    runs = [Point(d, s) for d, s in ((64, 0.2), (90, 0.95), (95, 0.96), (100, 0.95), (200, 0.97))]
    assert agrees(runs, CHANCE, 6.2, 6.6, 0.01) and not agrees(runs, CHANCE, 7.0, 7.5, 0.01)
    assert not agrees([Point(d, 0.3) for d in (64, 128, 256, 512)], CHANCE, 4.0, 5.0, 0.01)


def test_two_baselines_carry_the_tail_of_their_error():
    history = searched(world(9.0), "posterior", WIDE)[0]
    widths = []
    for n in (2, 3, 10):
        known = Posterior(history, Target(Baseline(0.98, 0.008, n, 0.1), "chance"), *WIDE.octaves)
        low, _, high = known.interval((0.05, 0.5, 0.95))
        widths.append(high - low)
    assert widths[0] > 1.1 * widths[1] and widths[1] > 1.1 * widths[2], widths


def test_failed_runs_do_not_decide_and_outliers_neither():
    clean = [
        Point(round(2**x), world(9.0, sigma=0.0)(round(2**x)))
        for x in (7.0, 8.0, 8.5, 8.8, 9.0, 9.2, 9.5, 10.0)
    ]
    known = Posterior(clean, CHANCE, *WIDE.octaves)
    for odd in (Point(1000, None), Point(1000, 0.3), Point(100, 0.97)):
        moved = Posterior([*clean, odd], CHANCE, *WIDE.octaves)
        assert abs(moved.quantile(0.5) - known.quantile(0.5)) < 0.2


def test_a_stopped_run_counts_on_its_side_only():
    near = [Point(d, world(9.0, sigma=0.0)(d)) for d in (300, 700)]
    alone = Posterior(near, CHANCE, *WIDE.octaves)
    tau = CHANCE.tau
    above = Posterior([*near, Point(400, 0.95, "above", tau, 0.4)], CHANCE, *WIDE.octaves)
    below = Posterior([*near, Point(600, 0.5, "below", tau, 0.4)], CHANCE, *WIDE.octaves)
    assert above.quantile(0.5) < alone.quantile(0.5) < below.quantile(0.5)
    # What the score was when it stopped says nothing more.
    again = Posterior([*near, Point(400, 0.90, "above", tau, 0.4)], CHANCE, *WIDE.octaves)
    assert again.quantile(0.5) == above.quantile(0.5)


def test_other_thresholds_come_from_the_same_curve_in_their_order():
    belief = Belief(searched(world(9.0), "posterior", WIDE)[0], CHANCE, 1, 200_000)
    levels = [belief.interval(Target(CHANCE.baseline, "chance", q)) for q in (0.5, 0.75, 0.9, 0.95)]
    assert [v["estimate"] for v in levels] == sorted(v["estimate"] for v in levels)
    # logit .5 is 0 and logit .9 is log 9: with slope .7 the halves lie 3.1 octaves apart.
    assert abs(math.log2(levels[2]["estimate"] / levels[0]["estimate"]) - math.log(9) / 0.7) < 0.5
    own, direct = belief.interval(CHANCE), belief.known.quantile((0.05, 0.5, 0.95))
    assert [own[k] for k in ("low", "estimate", "high")] == pytest.approx(list(2**direct), rel=0.05)


def test_the_error_of_few_baselines_widens_the_interval():
    history = searched(world(9.0), "posterior", WIDE)[0]
    widths = []
    for se in (0.0005, 0.01):
        found = Belief(history, Target(Baseline(0.98, se, 5, 0.1), "chance"), 1, 200_000)
        low, high = found.known.quantile((0.05, 0.95))
        widths.append(high - low)
    assert widths[1] > 1.5 * widths[0]


def test_the_isotonic_crossing():
    rising = [Point(4, 0.2), Point(16, 0.6), Point(64, 0.8)]
    assert isotonic(rising, at(0.7)) == pytest.approx(5.0)
    # 0.9 and 0.5 pool to 0.7, and cross between 16 and 32.
    assert isotonic(
        [Point(4, 0.2), Point(16, 0.5), Point(32, 0.9), Point(64, 0.5), Point(256, 1.0)], at(0.6)
    ) == pytest.approx(4.5)
    assert isotonic(rising, at(0.9)) is None and isotonic(rising, at(0.1)) is None


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        ([(0, 0.1), (0.2, 0.95), (0.4, 0.96), (0.6, 0.96)], "above"),
        ([(0, 0.1), (0.2, 0.95), (0.4, 0.96), (0.6, 0.8)], ""),
        ([(0, 0.1), (0.25, 0.40), (0.5, 0.45), (0.75, 0.46)], "below"),
        ([(0, 0.1), (0.25, 0.1), (0.5, 0.1), (0.75, 0.12)], ""),  # a plateau may end
        ([(0, 0.1), (0.25, 0.7), (0.5, 0.8), (0.75, 0.85)], ""),
        ([(0, 0.1), (0.05, 0.95), (0.1, 0.95), (0.15, 0.95)], ""),  # too early
        ([(0, 0.1), (0.5, 0.95), (0.75, 0.95), (1.0, 0.95)], ""),  # done anyway
    ],
)
def test_what_a_curve_foretells(curve, verdict):
    assert outlook(curve, 0.9, 0.1) == verdict


# Verdicts, from records.


KEYS = ("1",)


def record(
    kind: str,
    score: float | None,
    d: int = 0,
    untouched: float = 0.5,
    status: str = "ok",
    seed: int = 0,
    rate: float = 0.1,
    arm: str = "",
    key: str = "1",
) -> Record:
    spec = Spec(
        "m",
        "t",
        arm or ("did" if d else "full"),
        Recipe(rate),
        Options(),
        "trust",
        Purpose(kind),
        "measure",
        {"projection": seed},
        {"d": d},
    )
    training = Training("accuracy", score, untouched, majority=0.5, d_total=d, seconds=1.0)
    return Record(spec, Status(status), training, Setting(1000), key=key)


QUESTION = Question(
    id="q",
    study="s",
    arm_key="c",
    keys=KEYS,
    model="m",
    task="t",
    arm="did",
    projection="orthonormal",
    scope="global",
    structure=None,
    protocol="trust",
    metric="accuracy",
    D=1000,
    m=0,
    smallest=1,
    largest=1000,
    rule="chance",
    absolute=None,
    strict=False,
    threshold=0.9,
    design="bisect",
    left_out=(),
    n_scored=1000,
    steps=10,
    finished=True,
)
FULL = [record("baseline", s) for s in (0.9, 0.91, 0.89)]


@pytest.mark.parametrize("design", ["bisect", "posterior"])
@pytest.mark.parametrize("level", [0.5, 0.75, 0.9, 0.95])
def test_an_absolute_threshold_moves_no_other_level(design, level):
    """What 50 to 95 % of the gain take does not depend on the score that was asked for."""
    runs = [record("search", 0.1 + 0.09 * i, 2**i, seed=i) for i in range(1, 9)]
    asked = replace(QUESTION, rule="absolute", absolute=0.42, design=design)
    found = summarise([*FULL, *runs], asked).to_json()
    same = replace(QUESTION, threshold=level, design="bisect")
    alone = summarise([*FULL, *runs], same).to_json()["answer"]
    got = found[f"d{level * 100:.0f}"]
    if design == "bisect":
        assert got == alone and found["d90_chance"] == found["d90"]
    else:
        low, high = alone["low"] or 1, alone["high"] or 1000
        assert low / 1.5 <= (got["estimate"] or 1000) <= high * 1.5
    assert found["answer"] != found["d95"]


@pytest.mark.parametrize(
    ("records", "finished", "verdict"),
    [
        ([*FULL, record("search", 0.7, 64), record("search", 0.88, 128)], True, "reached"),
        ([*FULL, record("search", 0.7, 64), record("search", 0.88, 128)], False, "unfinished"),
        ([*FULL, record("search", 0.7, 64)], True, "not_reached"),
        ([*FULL, record("search", None, 64, status="diverged")], True, "not_reached"),
        ([*FULL, record("search", 0.88, 64), record("search", 0.7, 128)], True, "contradictory"),
        # All of D at work, and still far from full fine-tuning: the rate failed, not the subspace.
        ([*FULL, record("search", 0.7, 64), record("witness", 0.72, 1000)], True, "rate_failed"),
        ([*FULL, record("search", 0.7, 64), record("witness", 0.89, 1000)], True, "not_reached"),
        # One unpaired run at twice the budget decides nothing.
        (
            [
                *FULL,
                record("search", 0.7, 64),
                record("search", 0.88, 128),
                record("check", 0.89, 64, seed=5),
            ],
            True,
            "reached",
        ),
        ([record("baseline", 0.51), record("baseline", 0.49)], True, "no_signal"),
        ([record("baseline", None, status="diverged")], True, "baseline_failed"),
        ([], True, "baseline_failed"),
    ],
)
def test_verdicts(records, finished, verdict):
    summary = summarise(records, replace(QUESTION, finished=finished))
    assert summary.verdict == verdict
    assert summary.cost.failed_runs == sum(r.status != "ok" for r in records)


@pytest.mark.parametrize("top", [0.83, 0.845, 0.855, 0.86, 0.865, 0.875, 0.89])
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_neither_verdict_is_given_at_even_odds(top, n):
    """Both take a probability of 95 %; between them the runs do not tell."""
    low = [record("search", 0.52 + 0.05 * i, 2 ** (i + 1), seed=i) for i in range(6)]
    runs = [record("search", top + 0.002 * (i % 3 - 1), 1000, seed=20 + i) for i in range(n)]
    found = summarise([*FULL, *low, *runs], replace(QUESTION, design="posterior"))
    says = {"reached": found.reachable >= 0.95, "not_reached": found.reachable <= 0.05}
    if found.verdict in says:
        assert says[found.verdict]
    else:
        # The runs train all of D here, and should do as well as full fine-tuning.
        assert found.verdict in ("unfinished", "contradictory", "rate_failed")
    if found.verdict == "not_reached":
        # It says how far the runs went, however sure they are.
        assert found.answer.high is None and 1 <= found.answer.low <= 1000
        assert answer_text(found.answer).startswith("> ")


@pytest.mark.parametrize("absolute", [0.87, 0.9, 0.905, 0.92, 0.95, 2.0])
def test_a_harder_goal_is_never_reached_more_surely(absolute):
    """One lucky run is no answer where the threshold lies above full fine-tuning either."""
    runs = [record("search", 0.5 + 0.04 * i, 2 ** (i + 1), seed=i) for i in range(8)]
    runs += [record("search", s, 1000, seed=20 + i) for i, s in enumerate((0.88, 0.951, 0.89))]
    asked = replace(QUESTION, design="posterior", rule="absolute", absolute=absolute)
    found = summarise([*FULL, *runs], asked)
    easier = summarise([*FULL, *runs], replace(asked, absolute=absolute - 0.02))
    assert found.reachable is not None and found.reachable <= easier.reachable + 1e-9
    assert found.verdict != "reached" or found.reachable >= 0.95
    if absolute >= 0.92:
        assert found.verdict == "not_reached"  # and not by a lucky run


def test_a_question_that_lost_runs_has_no_answer():
    runs = [record("search", 0.7, 64), record("search", 0.88, 128)]
    runs = [replace(r, key=f"k{i}") for i, r in enumerate((*FULL, *runs))]
    asked = replace(QUESTION, keys=tuple(r.key for r in runs))
    assert summarise(runs, asked).verdict == "reached"
    for gone in range(len(FULL), len(runs)):
        found = summarise([r for i, r in enumerate(runs) if i != gone], asked)
        assert found.verdict == "unfinished"
        assert found.remark == "1 of its runs are not in the store: the same call makes them again"
        assert found.remark in search_text(found)
        assert SearchSummary.from_json(found.to_json()).remark == found.remark


def test_an_untouched_score_that_is_no_number_is_none():
    """It is not 0, which may lie above all scores."""
    for untouched in ((-3.0, -3.0, -3.0), (-3.0, None, -3.0), (None, None, -3.0)):
        runs = [
            replace(r, training=replace(r.training, untouched=u, majority=None, score=-1.0))
            for r, u in zip(FULL, untouched, strict=True)
        ]
        assert baseline_of(runs, 100, "-loss").chance == -3.0
        guessed = [replace(r, training=replace(r.training, majority=-2.0)) for r in runs]
        assert baseline_of(guessed, 100, "-loss").chance == -2.0
    nothing = [
        replace(r, training=replace(r.training, untouched=None, majority=None)) for r in FULL
    ]
    assert baseline_of(nothing) is None
    assert summarise(nothing, QUESTION).verdict == "baseline_failed"


def test_one_full_run_of_a_metric_without_an_error_is_told():
    runs = [record("baseline", 0.9), record("search", 0.7, 64), record("search", 0.88, 128)]
    loss = [replace(r, training=replace(r.training, metric="-loss")) for r in runs]
    found = summarise(loss, replace(QUESTION, metric="-loss"))
    assert "one full run: whether it beats chance" in found.remark
    assert found.remark in search_text(found) and "a smaller one does not" in search_text(found)
    assert summarise(runs, QUESTION).remark == ""


@pytest.mark.parametrize("sd", [0.012, 0.025, 0.04])
@pytest.mark.parametrize(("full", "runs"), [(1, 1), (1, 3), (2, 3), (3, 3), (5, 3)])
def test_runs_that_fall_short_seldom_pass_for_sure(sd, full, runs):
    """Their true mean lies half a run's scatter below the threshold, of a gain of .4."""
    draw, sure = np.random.default_rng(0), 0
    for _ in range(300):
        scores = draw.normal(0.9, sd, full)
        base = replace(Baseline.of(list(scores), 0.5), assumed=0.012)
        mine = [record("search", s, 64) for s in draw.normal(0.86 - 0.5 * sd, sd, runs)]
        sure += passes_of(mine, Target(base, "chance")).probability >= 0.95
    assert sure / 300 <= 0.08


@pytest.mark.parametrize("rule", ["chance", "raw", "absolute"])
@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.95])
@pytest.mark.parametrize(("chance", "full"), [(0.1, 0.98), (0.684, 0.88), (0.51, 0.92)])
def test_the_error_of_the_examples_is_that_of_drawing_them_again(rule, fraction, chance, full):
    """The examples of one of the two models are all among those of the other."""
    absolute = chance + fraction * (1 - chance) if rule == "absolute" else None
    target = Target(Baseline(full, 0.003, 3, chance), rule, fraction, absolute)
    n, there = 400, target.tau
    shares = [min(there, full), max(full - there, 0), max(there - full, 0)]
    drawn = np.random.default_rng(0).multinomial(n, [*shares, 1 - sum(shares)], 20_000) / n
    theirs, ours = drawn[:, 0] + drawn[:, 1], drawn[:, 0] + drawn[:, 2]
    moved = ours - np.array([target.at(v) for v in theirs])
    assert sampling_error(target, n, "accuracy") == pytest.approx(moved.std(), rel=0.03)


def test_one_baseline_is_too_few_for_an_interval_and_enough_for_a_bracket():
    records = [
        record("baseline", 0.9),
        record("baseline", None, status="diverged"),
        record("search", 0.7, 64),
        record("search", 0.88, 128),
    ]
    assert summarise(records, QUESTION).verdict == "reached"
    assert summarise(records, replace(QUESTION, design="posterior")).verdict == "baseline_failed"


def test_trivial_when_knowing_nothing_passes():
    full = [record("baseline", 0.755, untouched=0.70), record("baseline", 0.757, untouched=0.70)]
    assert summarise(full, replace(QUESTION, rule="raw")).verdict == "trivial"
    assert summarise(full, replace(QUESTION, n_scored=100_000)).verdict == "not_reached"


def test_both_thresholds_are_always_there():
    summary = summarise([*FULL, record("search", 0.82, 64), record("search", 0.88, 128)], QUESTION)
    levels = summary.levels
    assert (levels.tau_chance, levels.tau_raw) == (pytest.approx(0.86), pytest.approx(0.81))
    assert summary.found["d90"] == summary.answer == Crossing(128, 64, 128, None)
    assert summary.crossing("raw") == Crossing(64, None, 64, None)
    assert summary.cost.runs == {"baseline": 3, "search": 2}


def paired(kind: str, gains: list[float], rate: float = 0.1) -> list[Record]:
    """Runs at 64, 90 and 128, and each again with one change that gains this much."""
    runs = [(64, 0.80), (90, 0.85), (90, 0.855), (128, 0.88)]
    first = [record("search", score, d, seed=i) for i, (d, score) in enumerate(runs)]
    again = [
        record(kind, runs[i][1] + gain, runs[i][0], seed=i, rate=rate)
        for i, gain in enumerate(gains)
    ]
    return [*FULL, *first, *again]


def test_twice_the_budget_is_judged_by_pairs_and_against_full_fine_tuning_at_twice_the_budget():
    far = summarise(paired("check", [0.05, 0.05, 0.05, 0.02]), QUESTION)
    assert far.verdict == "budget_limited" and far.checks.budget.probability > 0.98
    same = summarise(paired("check", [0.001, -0.002]), QUESTION)
    assert same.verdict == "reached" and same.checks.budget.probability < 0.5
    # Full fine-tuning gains as much, so tau rises with it.
    full = [record("baseline", s, seed=i) for i, s in enumerate((0.9, 0.91, 0.89))]
    longer = [record("check", s + 0.055, seed=i) for i, s in enumerate((0.9, 0.91, 0.89))]
    risen = summarise([*full, *longer, *paired("check", [0.05, 0.05, 0.05, 0.02])[3:]], QUESTION)
    assert risen.verdict == "reached" and risen.checks.converged.undertrained


def test_another_rate_is_judged_by_pairs():
    summary = summarise(paired("rate", [0.04, 0.045, 0.04], rate=0.2), QUESTION)
    assert summary.checks.rate["2"].probability > 0.98
    summary = summarise(paired("rate", [-0.04, -0.045], rate=0.2), QUESTION)
    assert summary.checks.rate["2"].probability < 0.01


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize(
    ("half", "twice", "loses"),
    [(-0.1, -0.3, 0.0), (-0.02, -3.0, 0.0), (0.05, -3.0, 0.05), (-0.1, 0.2, 0.2)],
)
def test_runs_lose_to_their_rate_what_the_best_of_the_rates_tried_gains(half, twice, loses, scale):
    exact = [Change.of([scale * v] * 4, 1e-5 * scale) for v in (half, twice)]
    assert lost(exact) == pytest.approx(scale * loses, abs=1e-5 * scale)
    assert lost(exact[::-1]) == pytest.approx(lost(exact))


def test_a_loss_that_pairs_measure_is_never_below_what_one_of_them_gains():
    draw = np.random.default_rng(0)
    for _ in range(200):
        a, b, noise = draw.normal(0, 0.05), draw.normal(0, 0.05), draw.uniform(1e-3, 0.05)
        found = lost([Change.of([a, a], noise), Change.of([b, b], noise)])
        assert found >= max(a, b, 0.0) - 1e-12
    flat = Change.of([0.0, 0.0], 0.01)
    assert 0 < lost([flat, flat]) < 0.01  # noise alone
    assert lost([]) == 0


def test_the_loss_of_a_search_needs_pairs_at_both_rates():
    twice = paired("rate", [-0.04, -0.045], rate=0.2)
    half = [
        record("rate", s, d, seed=i, rate=0.05) for i, (d, s) in enumerate([(64, 0.81), (90, 0.86)])
    ]
    base = baseline_of(twice)
    belief = Belief(points_of(twice), target_of(base, QUESTION), 10, 1000)
    assert rate_loss(twice, base, belief, QUESTION) is None
    found = rate_loss([*twice, *half], base, belief, QUESTION)
    assert 0.01 / 0.4 < found < 0.03 / 0.4  # of a gain of 0.4


def test_runs_that_the_search_did_not_ask_for_do_not_count():
    found = [*FULL, record("search", 0.7, 64), record("search", 0.88, 128)]
    stranger = record("search", 0.1, 128, key="stranger")
    assert summarise([*found, stranger], QUESTION) == summarise(found, QUESTION)


@pytest.mark.parametrize(
    ("octaves", "told"),
    [
        (0.64, "d90 smaller by 0.64 octaves"),
        (-0.2, "d90 larger by 0.20 octaves"),
        (-65.5, "d90 larger by more than 10 octaves"),
    ],
)
def test_a_check_says_which_way_the_answer_moves(octaves, told):
    found = summarise([*FULL, record("search", 0.7, 64)], QUESTION)
    checks = Checks(rate={"2": Moved(pairs=2, octaves=octaves, probability=0.1)})
    (line,) = checks_text(replace(found, checks=checks))
    assert line.startswith(f"check, 2 times the rate (2 pairs): {told}; smaller by 0.32 or more")


@pytest.mark.parametrize("ratio", [0.3, 1, 3, 10, 30, 100])
def test_a_few_runs_are_as_sure_as_they_may_be(ratio):
    """However much an arm's runs scatter beside those of full fine-tuning, who is sure is right."""
    draw, known = np.random.default_rng(int(10 * ratio)), 0.003
    noise, sure, right = ratio * known, [], []
    for _ in range(1000):
        truth = draw.uniform(-4, 4) * noise
        runs = truth + noise * draw.standard_normal(3)
        odds = Change.of_runs(runs, known, most=0.7).above(0.0)
        sure.append(max(odds, 1 - odds))
        right.append((odds > 0.5) == (truth > 0))
    for bound, least in ((0.95, 0.975), (0.999, 0.99)):
        found = [r for s, r in zip(sure, right, strict=True) if s > bound]
        assert not found or np.mean(found) > least
        assert len(found) > 300 or bound > 0.95


@pytest.mark.parametrize("design", ["bisect", "posterior"])
@pytest.mark.parametrize("rule", ["chance", "raw", "absolute"])
@pytest.mark.parametrize("fraction", [0.5, 0.75, 0.8, 0.9, 0.925, 0.99])
def test_an_answer_goes_by_the_name_of_what_was_asked(design, rule, fraction):
    """No text calls d90 what reaches another level, or a level what reaches a given score."""
    runs = [record("search", 0.1 + 0.09 * i, 2**i, seed=i) for i in range(1, 10)]
    absolute = 0.72 if rule == "absolute" else None
    asked = replace(QUESTION, rule=rule, threshold=fraction, absolute=absolute, design=design)
    found = summarise([*FULL, *runs], asked)
    level = f"d{100 * fraction:g}"
    assert found.level == level and found.asked == ("d at 0.72" if absolute else level)
    if not absolute:
        assert found.answer == found.crossing(rule) == found.found[level]
    assert SearchSummary.from_json(json.loads(json.dumps(found.to_json()))) == replace(
        found, keys=frozenset()
    )
    (line,) = [row for row in search_text(found).splitlines() if "the rule of this search" in row]
    assert answer_text(found.answer) in line and f"{found.levels.tau:.4f}" in line
    assert line.startswith(f"{level}," if not absolute else "d at the absolute")
    told = sentences.answer(found)
    assert f"{found.asked} " in told
    assert f"{found.asked} " in layout_frame([found]).columns[1].replace(",", " ")
    for text in (line, told):
        assert level == "d90" or "d90" not in text

"""Thresholds, brackets, the design and verdicts: pure functions."""

from __future__ import annotations

import math
import random

import pytest

from idim.report.summary import summarise
from idim.search.design import Limits, Next, Stop, bisect, grid
from idim.search.threshold import Baseline, Bracket, Point, bracket, means, signal


def test_thresholds():
    base = Baseline.of([0.8, 0.9, 0.85], chance=0.6)
    assert base.mean == pytest.approx(0.85)
    assert base.se == pytest.approx(0.05 / math.sqrt(3))
    assert base.tau(0.9, "raw") == pytest.approx(0.765)
    assert base.tau(0.9, "chance") == pytest.approx(0.6 + 0.9 * 0.25)
    assert base.tau(0.9, "absolute", 0.7) == 0.7
    assert Baseline.of([0.8], 0.5).se is None


def test_means_count_a_failed_run_at_the_floor():
    assert means([Point(4, 0.9), Point(4, None), Point(2, 0.6)], floor=0.5) == {2: 0.6, 4: 0.7}


def test_bracket_and_strictness():
    points = [Point(8, 0.5), Point(16, 0.7), Point(32, 0.9)]
    assert bracket(points, 0.7, 0) == Bracket(8, 16)
    assert bracket(points, 0.7, 0, strict=True) == Bracket(16, 32)
    assert bracket(points, 0.95, 0) == Bracket(32, None)
    assert bracket(points, 0.1, 0) == Bracket(None, 8)
    assert bracket([Point(8, 0.9), Point(16, 0.5)], 0.7, 0) == Bracket(16, 8)


def test_signal_needs_four_standard_errors_of_runs_and_of_the_sample():
    assert signal(Baseline(0.80, 0.01, 5, 0.68), 408, "accuracy")
    assert not signal(Baseline(0.80, 0.04, 5, 0.68), 408, "accuracy")
    assert not signal(Baseline(0.75, 0.001, 5, 0.68), 408, "accuracy")
    assert not signal(Baseline(0.01, 0.001, 5, 0.0), 1000, "matthews")


def measured(truth: float, limits: Limits, score=lambda d, truth, i: float(d >= truth)) -> tuple[list[Point], Stop]:
    history: list[Point] = []
    for _ in range(200):
        step = bisect(history, 0.5, 0.0, False, limits)
        if isinstance(step, Stop):
            return history, step
        history += [Point(d, score(d, truth, i)) for d, i in step.runs]
    raise AssertionError("the search does not stop")


@pytest.mark.parametrize("truth", [1, 2, 7, 100, 101, 750, 6_000, 99_999, 100_000])
@pytest.mark.parametrize("repeats", [1, 3])
def test_bisection_brackets_a_sharp_threshold(truth, repeats):
    limits = Limits(1, 100_000, 128, repeats, 1.25, 10_000)
    history, stop = measured(truth, limits)
    b = bracket(history, 0.5, 0.0)
    assert b.high is not None and b.high >= truth and (b.low is None or b.low < truth)
    if b.low:
        assert b.high <= b.low * 1.25 or b.high - b.low == 1
    else:
        assert truth == 1 and stop.reason == "the smallest d passes"
    assert len(history) <= repeats * 20


def test_bisection_gives_up_at_the_largest_d_and_at_the_cap():
    limits = Limits(1, 1000, 128, 2, 1.25, 10_000)
    history, stop = measured(10**9, limits)
    assert stop.reason == "the largest d fails" and bracket(history, 0.5, 0) == Bracket(1000, None)
    history, stop = measured(700, Limits(1, 1000, 128, 3, 1.01, 7))
    assert stop == Stop("the cap of 7 runs is reached", finished=False) and len(history) == 7


def test_bisection_never_contradicts_itself_under_noise():
    for seed in range(50):
        draw = random.Random(seed)
        noisy = lambda d, truth, i: 1 / (1 + (truth / d)) + draw.gauss(0, 0.15)  # noqa: E731
        history, _ = measured(500, Limits(1, 10**6, 64, 2, 1.25, 200), noisy)
        b = bracket(history, 0.5, 0.0)
        assert b.low is None or b.high is None or b.low < b.high


def test_the_same_history_gives_the_same_decision_however_it_was_cut():
    limits = Limits(1, 100_000, 128, 3, 1.25, 100)
    history, _ = measured(750, limits)
    for n in range(0, len(history), 2):
        step = bisect(history[:n], 0.5, 0.0, False, limits)
        assert isinstance(step, Next)
        d, i = step.runs[0]
        assert history[n].d == d and i == sum(p.d == d for p in history[:n])


def test_grid_asks_for_what_is_missing():
    limits = Limits(1, 100, 1, 2, 1.25, 100)
    assert grid([4, 8], [], limits) == Next(((4, 0), (4, 1), (8, 0), (8, 1)))
    assert grid([4, 8], [Point(4, 1.0), Point(8, 1.0), Point(4, 0.9)], limits) == Next(((8, 1),))
    assert isinstance(grid([4], [Point(4, 1.0)] * 2, limits), Stop)


# Verdicts, from records.


KEYS = [str(i) for i in range(10)]


def record(kind: str, score: float | None, d: int = 0, untouched: float = 0.5, status: str = "ok") -> dict:
    return {
        "kind": kind, "status": status, "key": "1",
        "train_info": {"score": score, "untouched": untouched, "majority": 0.5, "d_total": d, "seconds": 1.0, "adaptation": {}},
    }


QUESTION = {
    "keys": KEYS, "model": "m", "task": "t", "arm": "did", "projection": "orthonormal", "scope": "global",
    "structure": None, "protocol": "trust", "metric": "accuracy", "D": 1000, "m": 0, "rule": "chance", "absolute": None,
    "strict": False, "threshold": 0.9, "left_out": [], "n_scored": 1000, "steps": 10, "finished": True,
}
FULL = [record("baseline", s) for s in (0.9, 0.91, 0.89)]


@pytest.mark.parametrize(("records", "finished", "verdict"), [
    ([*FULL, record("search", 0.7, 64), record("search", 0.88, 128)], True, "reached"),
    ([*FULL, record("search", 0.7, 64), record("search", 0.88, 128)], False, "unfinished"),
    ([*FULL, record("search", 0.7, 64)], True, "not_reached"),
    ([*FULL, record("search", None, 64, status="diverged")], True, "not_reached"),
    ([*FULL, record("search", 0.88, 64), record("search", 0.7, 128)], True, "contradictory"),
    ([*FULL, record("search", 0.7, 64), record("search", 0.88, 128), record("check", 0.89, 64)], True, "budget_limited"),
    ([*FULL, record("search", 0.7, 64), record("search", 0.88, 128), record("check", 0.71, 64)], True, "reached"),
    ([record("baseline", 0.51), record("baseline", 0.49)], True, "no_signal"),
    ([record("baseline", None, status="diverged")], True, "baseline_failed"),
    ([], True, "baseline_failed"),
])
def test_verdicts(records, finished, verdict):
    summary = summarise(records, QUESTION | {"finished": finished})
    assert summary["verdict"] == verdict
    assert summary["failed_runs"] == sum(r["status"] != "ok" for r in records)


def test_trivial_when_knowing_nothing_passes():
    full = [record("baseline", 0.755, untouched=0.70), record("baseline", 0.757, untouched=0.70)]
    assert summarise(full, QUESTION | {"rule": "raw"})["verdict"] == "trivial"
    assert summarise(full, QUESTION | {"n_scored": 100_000})["verdict"] == "not_reached"


def test_both_thresholds_are_always_there():
    summary = summarise([*FULL, record("search", 0.82, 64), record("search", 0.88, 128)], QUESTION)
    assert summary["tau_chance"] == pytest.approx(0.86) and summary["tau_raw"] == pytest.approx(0.81)
    assert summary["d90"] == {"estimate": 128, "low": 64, "high": 128, "level": None}
    assert summary["d90_raw"] == {"estimate": 64, "low": None, "high": 64, "level": None}
    assert summary["runs"] == {"baseline": 3, "search": 2}


def test_checks_and_locked_runs_of_another_answer_do_not_count():
    found = [*FULL, record("search", 0.7, 64), record("search", 0.88, 128)]
    other = [record("check", 0.9, 32), record("locked", 0.99, 256)]
    summary = summarise([*found, *other], QUESTION)
    assert summary["verdict"] == "reached" and summary["locked_score"] is None


def test_runs_that_the_search_did_not_ask_for_do_not_count():
    found = [*FULL, record("search", 0.7, 64), record("search", 0.88, 128)]
    stranger = record("search", 0.1, 128) | {"key": "stranger"}
    assert summarise([*found, stranger], QUESTION) == summarise(found, QUESTION)

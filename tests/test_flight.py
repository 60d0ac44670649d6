"""Searches whose runs end in any order: that crash, go on, and share a folder."""

from __future__ import annotations

import json
import random
import shutil
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "scripts"))
import imagined
from imagined import Crash, Imagined, planned, score_of

from idim import conductor, runs
from idim.store import Store
from idim.values.outlook import Outlook
from idim.values.plan import Plan
from idim.values.purpose import Purpose
from idim.values.spec import Spec
from idim.values.summary import Summary
from idim.watcher import Watcher


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(tune=False, checks=False)


def searched(monkeypatch, plan: Plan, store: Store, executor: Imagined) -> Summary:
    monkeypatch.setitem(runs.EXECUTORS, "local", lambda *_: executor)
    return conductor.measure(plan, store)


def told(summary: Summary) -> str:
    return json.dumps(summary.to_json(), sort_keys=True)


def keys(store: Store) -> set[str]:
    return {r.key for r in store.all()}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_search_that_is_done_repeats_its_decisions_with_any_number_of_workers(
    tmp_path, monkeypatch, plan, workers
):
    store, made = Store(tmp_path), Counter()
    first = searched(monkeypatch, plan, store, Imagined(workers, 1, made))
    assert first.verdict in ("reached", "budget_limited") and set(made.values()) == {1}
    assert set(store.question(plan.id).keys) == keys(store)
    kept = [json.loads(p.read_text())["in_flight"] for p in tmp_path.glob("decisions/*/*.json")]
    assert kept and any(kept) == (workers > 1)  # one worker knows all at each decision
    again = searched(monkeypatch, plan, Store(tmp_path), Imagined(3 - workers % 3, 2, made))
    assert told(again) == told(first) and set(made.values()) == {1}


@pytest.mark.parametrize("design", ["posterior", "quantiles", "bisect"])
def test_a_search_that_ran_out_of_time_says_no_more_than_its_runs(tmp_path, monkeypatch, design):
    """The same call without a limit goes on, and has the answer that it would have had."""
    plan = planned(tune=False, checks=False, design=design, max_runs=30)
    monkeypatch.setitem(runs.EXECUTORS, "local", lambda *_: Imagined(1, 1, Counter()))
    short = conductor.measure(plan, Store(tmp_path / "a"), minutes=1e-9)
    assert sum(t.n for t in short.curve) < 4 and short.verdict == "unfinished"
    on = conductor.measure(plan, Store(tmp_path / "a"))
    whole = conductor.measure(plan, Store(tmp_path / "b"))
    assert told(on) == told(whole) and whole.verdict == "reached"


def test_the_order_in_which_runs_end_is_all_that_workers_change(tmp_path, monkeypatch, plan):
    found = {}
    for seed in range(2):
        store = Store(tmp_path / str(seed))
        found[seed] = searched(monkeypatch, plan, store, Imagined(3, seed, Counter()))
    one = found[0].interval, found[1].interval
    assert one[0].low < one[1].estimate < one[0].high and one[1].low < one[0].estimate < one[1].high


@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_that_crashes_often_trains_nothing_twice_but_what_flew(
    tmp_path, monkeypatch, plan, workers
):
    draw, made, lost = random.Random(workers), Counter(), 0
    store = Store(tmp_path / "o")
    while True:
        executor = Imagined(draw.randint(1, workers), draw.random(), made, draw.randint(0, 4))
        try:
            found = searched(monkeypatch, plan, Store(store.root), executor)
            break
        except Crash:
            lost += 1
    assert lost > 1 and set(made.values()) == {1}
    assert not list((store.root / "claims").iterdir())
    # The answer is that of a search which was never disturbed, given the same runs.
    fresh = Store(tmp_path / "fresh")
    shutil.copytree(store.root / "runs", fresh.root / "runs", dirs_exist_ok=True)
    shutil.copytree(store.root / "decisions", fresh.root / "decisions")
    again = searched(monkeypatch, plan, fresh, Imagined(1, 0, made))
    assert told(again) == told(found) and set(made.values()) == {1}


class Noted(Imagined):
    """Notes what begins, and at each wait how many workers rest."""

    def __init__(self, slots, seed):
        super().__init__(slots, seed, Counter())
        self.begun, self.rests = [], []

    def submit(self, spec, progress=None, save=""):
        self.begun.append(spec)
        super().submit(spec)

    def wait(self, seconds=None):
        self.rests.append((len(self.begun), self.free))
        return super().wait(seconds)


def longer(spec: Spec) -> bool:
    return spec.kind == Purpose.CHECK and spec.arm == "full"


@pytest.mark.parametrize("design", ["posterior", "quantiles", "bisect"])
@pytest.mark.parametrize("workers", [2, 3, 5])
@pytest.mark.parametrize("tune", [True, False])
def test_no_worker_rests_while_a_check_of_full_can_be_made(
    tmp_path, monkeypatch, design, workers, tune
):
    executor = Noted(workers, 1)
    searched(monkeypatch, planned(tune=tune, design=design), Store(tmp_path), executor)
    begun = executor.begun
    kinds = [s.kind for s in begun]
    named, first = kinds.index(Purpose.BASELINE), [i for i, s in enumerate(begun) if longer(s)][:2]
    assert len(first) == 2
    for done, free in executor.rests:
        assert not free or not named < done <= first[1], (done, free, kinds)
    # What is asked for goes first.
    assert kinds[named : named + 3] == [Purpose.BASELINE] * 3


def test_one_worker_makes_each_run_as_it_is_asked_for(tmp_path, monkeypatch):
    """So that a limit of minutes counts the check of full, too."""
    executor = Noted(1, 1)
    searched(monkeypatch, planned(tune=True), Store(tmp_path), executor)
    kinds = [s.kind for s in executor.begun]
    full = [i for i, s in enumerate(executor.begun) if longer(s)]
    assert kinds.index(Purpose.BASELINE) < full[0] < full[-1] < kinds.index(Purpose.SEARCH)


def test_a_check_that_is_not_needed_counts_nowhere(tmp_path, monkeypatch):
    """Full fine-tuning learns nothing, so the check that began beside it is ended."""
    monkeypatch.setattr(imagined, "score_of", lambda spec: 0.1)
    plan, store, executor = planned(tune=False), Store(tmp_path), Noted(2, 1)
    found = searched(monkeypatch, plan, store, executor)
    assert found.verdict == "no_signal" and any(longer(s) for s in executor.begun)
    kinds = {r.kind for r in store.some(store.question(plan.id).keys)}
    assert kinds == {Purpose.BASELINE} and not list((store.root / "claims").iterdir())


@pytest.mark.parametrize("workers", [1, 3])
def test_a_whole_search_repeats_its_answer_with_any_number_of_workers(
    tmp_path, monkeypatch, workers
):
    plan, store, made = planned(tune=True), Store(tmp_path), Counter()
    first = searched(monkeypatch, plan, store, Imagined(workers, 1, made))
    assert first.checks.converged and first.checks.budget and set(made.values()) == {1}
    for other in (1, 2, 5):
        again = searched(monkeypatch, plan, Store(tmp_path), Imagined(other, 2, made))
        assert told(again) == told(first) and set(made.values()) == {1}


def test_what_is_left_of_a_search_counts_the_checks_of_full(tmp_path, monkeypatch):
    plan, tasks = planned(tune=True), {}
    for workers in (1, 2):
        knows: list[Outlook] = []
        watcher = Watcher(lambda line: None, lambda name: None, knows.append, lambda record: None)
        executor = Noted(workers, 1)
        monkeypatch.setitem(runs.EXECUTORS, "local", lambda *_, made=executor: made)
        conductor.measure(plan, Store(tmp_path / str(workers)), watcher)
        tasks[workers] = knows[0].more
        begun = sum(longer(s) for s in executor.begun)
        assert begun >= 2
    assert tasks[1] <= tasks[2] <= tasks[1] + 4


def test_a_record_that_is_gone_is_made_again_in_its_place(tmp_path, monkeypatch, plan):
    store, made = Store(tmp_path), Counter()
    first = searched(monkeypatch, plan, store, Imagined(3, 1, made))
    for key in sorted(keys(store))[::4]:
        (store.root / "runs" / f"{key}.json").unlink()
    again = searched(monkeypatch, plan, Store(tmp_path), Imagined(2, 2, made))
    strip = {"seconds", "cost"}
    assert {k: v for k, v in again.to_json().items() if k not in strip} == {
        k: v for k, v in first.to_json().items() if k not in strip
    }
    assert set(made.values()) == {1, 2}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("same", [True, False], ids=["one question", "two questions"])
def test_searches_that_share_a_folder_train_nothing_twice(
    tmp_path, monkeypatch, plan, same, workers
):
    """Two of each question, at once, in threads."""
    made: Counter[str] = Counter()
    plans = [plan, plan if same else planned(tune=False, checks=False, threshold=0.8)]
    monkeypatch.setitem(
        runs.EXECUTORS, "local", lambda *_: Imagined(workers, threading.get_ident(), made)
    )
    monkeypatch.setattr(runs, "_LOOK", 0.002)
    found: dict[int, str] = {}

    def search(i: int) -> None:
        found[i] = told(conductor.measure(plans[i % 2], Store(tmp_path)))

    threads = [threading.Thread(target=search, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 and set(made.values()) == {1}
    assert found[0] == found[2] and found[1] == found[3]
    # Each answer is that of its records.
    for i, asked in enumerate(plans):
        assert told(conductor.measure(asked, Store(tmp_path))) == found[i]
    assert set(made.values()) == {1}


@pytest.mark.parametrize("seed", [1, 2, 6, 9, 11])
def test_a_search_that_is_done_makes_no_more_checks(tmp_path, monkeypatch, seed):
    """Whether more pairs are wanted follows from the pairs that were asked for until then."""

    def better_at_twice_the_rate(spec: Spec) -> float:
        score = score_of(spec) + random.Random(spec.key).gauss(0, 0.03)
        twice = spec.kind == Purpose.RATE and spec.recipe.learning_rate > 0.01
        return round(min(max(score + 0.04 * twice, 0.0), 1.0), 4)

    monkeypatch.setattr(imagined, "score_of", better_at_twice_the_rate)
    plan, store, made = planned(tune=False, seed=seed), Store(tmp_path), Counter()
    first = searched(monkeypatch, plan, store, Imagined(1, 1, made))
    again = searched(monkeypatch, plan, Store(tmp_path), Imagined(1, 1, made))
    assert told(again) == told(first) and set(made.values()) == {1}

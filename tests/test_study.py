"""Rates over d: what is tried, what is read off it, and how far it may lead."""

from __future__ import annotations

import dataclasses
import math

import pytest

from idim import rates
from idim.config import Config
from idim.search.surface import SUBSPACE, Law, Surface, Trial
from idim.store import Store
from idim.study import Study
from idim.values.purpose import Purpose
from idim.values.record import Record, Setting
from idim.values.training import Status, Training

FULL = 0.02


def study(
    monkeypatch, best, learns=lambda arm, size: True, **more
) -> tuple[Study, list[tuple[str, int, float]]]:
    """A study whose runs score by how near their rate is to ``best(arm, size)``."""
    made = Study(Config("mlp:64-16-10", "digits", **{"arm": "did", **more}))
    tried: list[tuple[str, int, float]] = []

    def execute(store, specs, curve):
        records = []
        for s in specs:
            size, rate = s.settings.get("d") or s.settings.get("rank") or 0, s.recipe.learning_rate
            tried.append((s.arm, size, rate))
            score = 0.9 * math.exp(-0.02 * math.log(rate / best(s.arm, size)) ** 2)
            score = max(0.1, score) if learns(s.arm, size) else 0.1
            training = Training("accuracy", score, untouched=0.1, majority=None)
            records.append(Record(s, Status.OK, training, Setting(made.D)))
        return records

    monkeypatch.setattr(made, "execute", execute)
    return made, tried


def law(made: Study, slope: float = 0.75, factor: float = 0.8):
    """The best rate of a world that keeps the law."""
    return lambda arm, d: FULL if arm == "full" else factor * FULL * (made.D / d) ** slope


def tuned(made: Study, tmp_path, arm: str = "did") -> rates.Rates:
    full, trials = rates.full_rate(made, Store(tmp_path))
    return rates.subspace_rates(made, Store(tmp_path), arm, full, trials)


@pytest.mark.parametrize("arm", ["did", "said"])
@pytest.mark.parametrize(("slope", "factor"), [(0.75, 0.8), (0.6, 1.0), (0.9, 0.5)])
def test_rates_come_near_the_best_at_every_d_from_few_runs(
    monkeypatch, tmp_path, arm, slope, factor
):
    made, _tried = study(monkeypatch, lambda arm, d: 1.0, arm=arm)
    monkeypatch.setattr(
        made, "execute", study(monkeypatch, law(made, slope, factor), arm=arm)[0].execute
    )
    found = tuned(made, tmp_path, arm)
    assert len(found.learned) == 2
    for d in (24, 64, 200, 600, made.D):
        assert abs(math.log(found.rate(d) / law(made, slope, factor)(arm, d))) < math.log(3)


def test_full_is_tuned_by_more_than_one_argmax(monkeypatch, tmp_path):
    for best in (1e-4, 1e-3, 3e-2):
        made, tried = study(monkeypatch, lambda arm, d: best)
        full, _ = rates.full_rate(made, Store(tmp_path))
        assert abs(math.log(full / best)) < math.log(2) and len({r for *_, r in tried}) <= 6


def test_a_size_where_nothing_learns_sends_the_search_to_larger_ones(monkeypatch, tmp_path):
    said = []
    made, _tried = study(
        monkeypatch, lambda arm, d: FULL, learns=lambda arm, size: arm == "full" or size > 600
    )
    monkeypatch.setattr(made, "watch", type(made.watch)(say=said.append))
    found = tuned(made, tmp_path)
    assert (
        found.learned
        and min(found.learned) > 600
        and any("larger d are tried" in line for line in said)
    )


def test_where_nothing_learns_at_all_the_law_is_taken_and_it_is_said(monkeypatch, tmp_path):
    said = []
    made, _ = study(monkeypatch, lambda arm, d: FULL, learns=lambda arm, size: arm == "full")
    monkeypatch.setattr(made, "watch", type(made.watch)(say=said.append))
    found = tuned(made, tmp_path)
    full, _ = rates.full_rate(made, Store(tmp_path))
    assert not found.learned and any("no d that was tried learns" in line for line in said)
    # A line through one noisy best rate and a default one once led to rates of 431,000.
    for d in (1, 10, 100, made.D):
        assert found.rate(d) < 3 * full * made.D / d


def test_no_rate_lies_further_than_a_factor_three_from_those_that_learned(monkeypatch, tmp_path):
    made, _ = study(monkeypatch, lambda arm, d: 1.0)
    found = tuned(made, tmp_path)
    learned = [
        math.exp(t.log_rate) for t in found.trials if t.place is not None and t.share >= 0.25
    ]
    for d in (1, 2, 8, 64, made.D):
        assert min(learned) / 3.01 <= found.rate(d) <= 3.01 * max(learned)


def test_a_rate_off_the_best_is_known_to_cost(monkeypatch, tmp_path):
    made, _ = study(monkeypatch, lambda arm, d: 1.0)
    monkeypatch.setattr(made, "execute", study(monkeypatch, law(made))[0].execute)
    found = tuned(made, tmp_path)
    at = found.rate(200)
    costs = [found.loss(200, f * at) for f in (1, 3, 9, 27)]
    assert 0 < costs[0] < 0.05 and costs == sorted(costs) and costs[-1] > 3 * costs[0]


def test_a_given_rate_is_taken_as_it_is(monkeypatch, tmp_path):
    made, tried = study(
        monkeypatch, lambda arm, d: 1.0, subspace_learning_rate=0.05, learning_rate=0.01
    )
    found = tuned(made, tmp_path)
    assert found.rate(100) == 0.05 and found.loss(100, 0.05) == 0.0 and not tried


def test_lora_gets_a_rate_for_each_rank(monkeypatch, tmp_path):
    made, tried = study(monkeypatch, lambda arm, r: FULL if arm == "full" else 0.2 / r**0.5)
    full, trials = rates.full_rate(made, Store(tmp_path))
    found = rates.rank_rates(made, Store(tmp_path), "lora", full, trials, (1, 4, 16))
    assert {r for arm, r, _ in tried if arm == "lora"} == {1, 4, 16} and 2 < found.rate(
        1
    ) / found.rate(16) < 16


def test_a_tuning_run_has_a_floor_of_steps_and_none_has_more_than_the_whole():
    for steps, wanted in ((1000, 500), (150, 100), (60, 60)):
        made = Study(Config("mlp:64-16-10", "digits", arm="did", max_steps=steps))
        assert made.spec(Purpose.TUNE, "did", 50, 0, 0.1, "tune", 0.5).recipe.max_steps == wanted


def test_a_small_data_set_is_not_left_undertrained_by_default():
    assert Study(Config("mlp:64-16-10", "digits", arm="did")).steps == 400
    assert Study(Config("mlp:64-16-10", "digits", arm="did", max_steps=45)).steps == 45


def test_the_surface_does_not_depend_on_the_order_of_trials():
    trials = [
        Trial(p, math.log(r), s)
        for p, r, s in ((None, 0.01, 1.0), (None, 0.03, 0.9), (3.0, 0.1, 0.8), (3.0, 0.3, 0.7))
    ]
    ways = {Surface(t, 0.01).best(3.0) for t in (trials, trials[::-1])}
    assert len({(round(m, 9), round(s, 9)) for m, s in ways}) == 1


def test_without_trials_the_surface_is_its_law():
    mean, spread = Surface([], 0.01, Law(0.5, 0.1, 0.2, 0.3)).best(4.0)
    assert mean == pytest.approx(math.log(0.01) + 2.0 + 0.2, abs=0.1) and spread > 0.5
    assert SUBSPACE.slopes == (0.0, 1.0)


def test_seeds_differ_by_model_and_task():
    def seeds(model: str, task: str) -> tuple:
        return tuple(
            Study(Config(model, task, arm="did"))
            .spec(Purpose.SEARCH, "did", 50, 0, 0.1)
            .seeds.values()
        )

    assert len({seeds("mlp:64-16-10", "digits"), seeds("mlp:64-17-10", "digits")}) == 2


def test_a_pair_shares_its_seeds():
    made = Study(Config("mlp:64-16-10", "digits", arm="did"))
    one, again = (
        made.spec(Purpose.SEARCH, "did", 50, 1, 0.1),
        made.spec(Purpose.CHECK, "did", 50, 1, 0.1, budget=2.0, drawn=Purpose.SEARCH),
    )
    assert (
        one.seeds == again.seeds
        and again.recipe.max_steps == 2 * made.steps
        and one.key != again.key
    )


def test_whatever_changes_the_runs_or_the_answer_is_another_question_in_the_same_store(tmp_path):
    def asked(**more) -> str:
        return Study(Config("mlp:64-16-10", "digits", arm="did", **more))._question("did").id

    changes = [
        {},
        {"seed": 1},
        {"grid": (8, 64)},
        {"grid": (8, 128)},
        {"baselines": 4},
        {"learning_rate": 0.01},
        {"max_runs": 9},
        {"workers": 2},
        {"threshold": 0.8},
        {"design": "bisect", "repeats": 2},
        {"subspace_learning_rate": 0.1},
        {"tune": False},
    ]
    assert len({asked(**c) for c in changes}) == len(changes)
    assert asked() == asked(out=str(tmp_path), data_dir="elsewhere", engine="plain", lean=True)


def test_asking_again_keeps_what_was_found(tmp_path):
    store, made = (
        Store(tmp_path),
        Study(Config("mlp:64-16-10", "digits", arm="did", out=str(tmp_path))),
    )
    made.ask(store, "did")
    made.note(store, finished=True)
    made.question = dataclasses.replace(made.question, keys=("ab" * 10,))
    made.note(store)
    made.ask(store, "did")
    assert made.question.keys == ("ab" * 10,) and made.question.finished

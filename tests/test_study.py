"""Rates over d."""

from __future__ import annotations

import math

import pytest

from idim.config import Config
from idim.search.threshold import Baseline
from idim.store import Store
from idim.study import Study

BASE = Baseline(0.95, 0.001, 5, 0.1)


def study(monkeypatch, best, learns=lambda size: True, **more) -> tuple[Study, list[tuple[int, float]]]:
    """A study whose runs score by how near their rate is to ``best(size)``."""
    made = Study(Config("mlp:64-16-10", "digits", arm="did", **more))
    tried: list[tuple[int, float]] = []

    def execute(store, specs, curve):
        records = []
        for s in specs:
            size, rate = s.settings.get("d") or s.settings.get("rank"), s.recipe.learning_rate
            tried.append((size, rate))
            score = 0.9 - 0.1 * abs(math.log(rate / best(size))) if learns(size) else 0.1
            records.append({"status": "ok", "train_info": {"score": score}})
        return records

    monkeypatch.setattr(made, "execute", execute)
    return made, tried


def test_the_rate_is_the_line_through_the_best_rates_at_the_anchors(monkeypatch, tmp_path):
    made, tried = study(monkeypatch, lambda d: 0.3 * d**-0.5)
    rate = made.rate(Store(tmp_path), "did", [8, 64, 512], BASE)
    # Rates are tried a factor of three apart, so the line is right within the root of three.
    for d in (8, 30, 64, 200, 512, 1000):
        assert abs(math.log(rate(d) / (0.3 * d**-0.5))) < math.log(3) / 2 + 1e-9
    assert {d for d, _ in tried} == {8, 64, 512} and all(sum(d == a for d, _ in tried) >= 5 for a in (8, 64, 512))


def test_tuning_goes_on_while_the_best_rate_lies_at_an_edge(monkeypatch, tmp_path):
    made, tried = study(monkeypatch, lambda d: 3.0**4 * made.law("did")(d))
    rate = made.rate(Store(tmp_path), "did", [64], BASE)
    assert rate(64) == pytest.approx(3.0**4 * made.law("did")(64)) and len(tried) == 5 + 3
    # One anchor: the line goes through full training's rate at d = D.
    assert rate(made.D) == pytest.approx(made.law("did")(made.D))


def test_an_anchor_where_nothing_learns_does_not_bend_the_law(monkeypatch, tmp_path):
    made, tried = study(monkeypatch, lambda d: made.law("did")(d), learns=lambda d: d > 8)
    rate = made.rate(Store(tmp_path), "did", [8, 64, 512], BASE)
    assert rate(64) == pytest.approx(made.law("did")(64)) and sum(d == 8 for d, _ in tried) == 5
    made, _ = study(monkeypatch, lambda d: 1.0, learns=lambda d: False)
    assert made.rate(Store(tmp_path), "did", [8, 64], BASE)(100) == made.law("did")(100)


def test_lora_gets_a_rate_for_each_rank(monkeypatch, tmp_path):
    made, tried = study(monkeypatch, lambda r: 0.1 / r)
    rate = made.rate(Store(tmp_path), "lora", [1, 4, 16], BASE)
    assert {r for r, _ in tried} == {1, 4, 16} and 4 < rate(1) / rate(16) < 60


def test_a_given_rate_is_taken_as_it_is(monkeypatch, tmp_path):
    made, tried = study(monkeypatch, lambda d: 1.0, subspace_learning_rate=0.05)
    assert made.rate(Store(tmp_path), "did", [8, 64], BASE)(100) == 0.05 and not tried


def test_another_master_seed_is_another_question_in_the_same_store(tmp_path):
    ids = [Study(Config("mlp:64-16-10", "digits", arm="did", seed=seed, out=str(tmp_path)))._question("did")["id"] for seed in (0, 1, 0)]
    assert ids[0] == ids[2] != ids[1]

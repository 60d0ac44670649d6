"""Rates over sizes: what is tried, what is read off it, and how far it may lead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from idim.arms import FULL as FULL_ARM
from idim.config import Config
from idim.rates.law import Fitted, Rates
from idim.rates.trials import scorer
from idim.rates.tuning import full_rate, rates_over_sizes
from idim.resolve import resolve
from idim.search.surface import SUBSPACE, Law, Surface, Trial
from idim.values.plan import Plan
from idim.values.record import Record, Setting
from idim.values.training import Status, Training

FULL = 0.02


@dataclass
class World:
    """Runs that score by how near their rate is to ``best(arm, size)``."""

    plan: Plan
    best: Callable[[str, int], float]
    learns: Callable[[str, int], bool] = lambda arm, size: True
    #: The share of the best score at so many e-folds above the best rate.
    shape: Callable[[float], float] = lambda off: math.exp(-0.02 * off**2)
    tried: list[tuple[str, int, float]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self, specs) -> list[Record]:
        records = []
        for s in specs:
            size, rate = s.settings.get("d") or s.settings.get("rank") or 0, s.recipe.learning_rate
            self.tried.append((s.arm, size, rate))
            share = self.shape(math.log(rate / self.best(s.arm, size)))
            score = max(0.1, 0.9 * share) if self.learns(s.arm, size) else 0.1
            training = Training("accuracy", score, untouched=0.1, majority=None)
            records.append(Record(s, Status.OK, training, Setting(self.plan.facts.D)))
        return records

    def full(self) -> tuple[float, list[Trial]]:
        return full_rate(self.plan, scorer(self.plan, self.run), self.said.append)

    def tuned(self) -> Rates:
        score = scorer(self.plan, self.run)
        return rates_over_sizes(self.plan, score, self.said.append, *self.full())


def planned(arm: str = "did", **more) -> Plan:
    return resolve(Config("mlp:64-16-10", "digits", arm=arm, **more))


def law(plan: Plan, slope: float = 0.75, factor: float = 0.8) -> Callable[[str, int], float]:
    """The best rate of a world that keeps the law, in d or in a rank."""
    place = (lambda r: 1 / r) if plan.letter == "r" else (lambda d: plan.facts.D / d)
    return lambda arm, size: FULL if arm == FULL_ARM else factor * FULL * place(size) ** slope


@pytest.mark.parametrize(
    ("arm", "slope", "factor"),
    [
        *((arm, *way) for arm in ("did", "said") for way in ((0.75, 0.8), (0.6, 1.0), (0.9, 0.5))),
        *(("lora", *way) for way in ((0.25, 10.0), (0.0, 15.0), (0.5, 10.0))),
    ],
)
def test_rates_come_near_the_best_at_every_size_from_few_runs(arm, slope, factor):
    plan = planned(arm)
    world = World(plan, law(plan, slope, factor))
    found = world.tuned()
    assert len(found.learned) == 2 and len(world.tried) <= 30 * 3
    for size in (1, 2, 4, 8, 16) if arm == "lora" else (24, 64, 200, 600, plan.facts.D):
        assert abs(math.log(found.rate(size) / world.best(arm, size))) < math.log(3)


def test_full_is_tuned_by_more_than_one_argmax():
    for best in (1e-4, 1e-3, 3e-2):
        world = World(planned(), lambda arm, d: best)
        full, _ = world.full()
        assert abs(math.log(full / best)) < math.log(2)
        assert len({r for *_, r in world.tried}) <= 6


def falling(q: float, cliff: float) -> Callable[[float], float]:
    """A smooth rise to the best rate. Above it scores are flat, and at the cliff they fall to 0."""

    def shape(off: float) -> float:
        if off > cliff:
            return 0.0
        return 1 - 0.02 * off if off > 0 and math.isfinite(cliff) else math.exp(-q * off**2)

    return shape


@pytest.mark.parametrize("cliff", [0.7, 1.5, math.inf])
@pytest.mark.parametrize("q", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("factor", [0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 10.0, 50.0, 300.0])
def test_full_is_tuned_where_it_learns_however_far_from_the_default_that_is(factor, q, cliff):
    plan, shape = planned(), falling(q, cliff)
    world = World(plan, lambda arm, d: factor * plan.recipe.learning_rate, shape=shape)
    full, _ = world.full()
    assert shape(math.log(full / world.best(FULL_ARM, 0))) > 0.8
    assert len({r for *_, r in world.tried}) <= 10


def test_where_no_rate_of_full_learns_it_is_said():
    world = World(planned(), lambda arm, d: FULL, learns=lambda arm, size: False)
    full, _ = world.full()
    assert full == world.plan.recipe.learning_rate
    assert any("learns while tuning" in line for line in world.said)


@pytest.mark.parametrize("cliff", [0.7, math.inf])
@pytest.mark.parametrize("q", [0.03, 0.1])
@pytest.mark.parametrize(("slope", "factor"), [(0.75, 5.0), (0.75, 0.1), (0.2, 1.0), (1.0, 3.0)])
def test_trials_that_contradict_the_law_count_for_more_than_it(slope, factor, q, cliff):
    plan, shape = planned(), falling(q, cliff)
    world = World(plan, law(plan, slope, factor), shape=shape)
    found = world.tuned()
    assert found.learned
    for size in found.learned:
        assert shape(math.log(found.rate(size) / world.best("did", size))) > 0.8


def test_a_size_where_nothing_learns_sends_the_search_to_larger_ones():
    world = World(
        planned(), lambda arm, d: FULL, learns=lambda arm, size: arm == FULL_ARM or size > 600
    )
    found = world.tuned()
    assert found.learned and min(found.learned) > 600
    assert any("larger d are tried" in line for line in world.said)


@pytest.mark.parametrize("arm", ["did", "lora"])
def test_where_nothing_learns_at_all_the_law_is_taken_and_it_is_said(arm):
    plan = planned(arm)
    world = World(plan, lambda arm, d: FULL, learns=lambda arm, size: arm == FULL_ARM)
    found = world.tuned()
    full, _ = world.full()
    assert not found.learned
    assert any(f"no {plan.letter} that was tried learns" in line for line in world.said)
    # A line through one noisy best rate and a default one once led to rates of 431,000.
    for size in (1, 10, 16) if arm == "lora" else (1, 10, 100, plan.facts.D):
        most = 30 * full if arm == "lora" else 3 * full * plan.facts.D / size
        assert found.rate(size) < most


@pytest.mark.parametrize("arm", ["did", "lora"])
def test_no_rate_lies_further_than_a_factor_three_from_those_that_learned(arm):
    plan = planned(arm)
    found = World(plan, lambda arm, d: 1.0).tuned()
    learned = [
        math.exp(t.log_rate) for t in found.trials if t.place is not None and t.share >= 0.25
    ]
    for size in (1, 2, 8, 16) if arm == "lora" else (1, 2, 8, 64, plan.facts.D):
        assert min(learned) / 3.01 <= found.rate(size) <= 3.01 * max(learned)


@pytest.mark.parametrize(("arm", "size"), [("did", 200), ("lora", 3)])
def test_a_rate_off_the_best_is_known_to_cost(arm, size):
    plan = planned(arm)
    found = World(plan, law(plan) if arm == "did" else law(plan, 0.25, 10.0)).tuned()
    at = found.rate(size)
    costs = [found.loss(size, f * at) for f in (1, 3, 9, 27)]
    assert 0 < costs[0] < 0.05 and costs == sorted(costs) and costs[-1] > 3 * costs[0]


@pytest.mark.parametrize(("arm", "flag"), [("did", "subspace"), ("lora", "lora")])
def test_a_given_rate_is_taken_as_it_is(arm, flag):
    plan = planned(arm, learning_rate=0.01, **{f"{flag}_learning_rate": 0.05})
    world = World(plan, lambda arm, d: 1.0)
    found = world.tuned()
    assert found.rate(8) == 0.05 and found.loss(8, 0.05) == 0.0 and not world.tried


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


#: Tuning runs on TREC-6 of full fine-tuning (0) and of LoRA+ at rank 8 and 1: rate and accuracy.
#: Chance is .2255.
LORAPLUS = {
    0: {5e-5: 0.8643, 0.00015: 0.9256, 0.00045: 0.9015, 0.00135: 0.3720, 0.000268: 0.9059},
    8: {0.000228: 0.8053, 0.000683: 0.9059, 0.00205: 0.9037, 0.00615: 0.2385},
    1: {0.000766: 0.7593, 0.0023: 0.2407, 0.0069: 0.2385, 0.000255: 0.5339},
}


def test_no_rate_is_taken_that_was_tried_and_failed():
    """The surface has the best rate of rank 1 at .0024, beside a run that had failed."""
    shares = {
        rank: {rate: (score - 0.2255) / (0.9059 - 0.2255) for rate, score in runs.items()}
        for rank, runs in LORAPLUS.items()
    }
    plan = planned("loraplus")
    full = tuple(Trial(None, math.log(r), s) for r, s in shares.pop(0).items())
    bare = Fitted(plan, full, 0.000268, noise=0.02)
    found = bare.with_trials(
        [bare.trial(rank, r, s) for rank, runs in shares.items() for r, s in runs.items()]
    ).settled()
    rates = found.rates({r: s for runs in shares.values() for r, s in runs.items()})
    assert math.exp(found.best(1)[0]) > 0.0015 and rates.rate(1) == 0.000766
    assert rates.rate(1) <= rates.rate(2) <= rates.rate(4) <= rates.rate(8) < 0.003


@pytest.mark.parametrize("arm", ["did", "lora", "loraplus"])
@pytest.mark.parametrize("cliff", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("q", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("factor", [0.1, 0.5, 3.0, 10.0])
def test_no_rate_contradicts_what_was_tried(arm, factor, q, cliff):
    """Beside a steep rise and a cliff, too, a rate lies where runs learn."""
    plan = planned(arm)
    world = World(plan, law(plan, 0.75 if arm == "did" else 0.3, factor), shape=falling(q, cliff))
    found = world.tuned()
    for size in found.learned:
        mine = [rate for name, s, rate in world.tried if (name, s) == (arm, size)]
        shares = {math.log(r): world.shape(math.log(r / world.best(arm, size))) for r in mine}
        taken = np.interp(
            math.log(found.rate(size)), sorted(shares), [shares[x] for x in sorted(shares)]
        )
        assert taken >= 0.69 * max(shares.values())

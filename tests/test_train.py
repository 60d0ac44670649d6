"""The loop: budgets, schedules, the rule for the final score, and runs that diverge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from idim.groups import Group
from idim.train import _final, _rate, train
from idim.values.recipe import Recipe


class Line:
    """Fit y = 3 x on one batch; the score is minus the loss."""

    x = torch.linspace(-1, 1, 8)[:, None]

    def train_size(self):
        return 8

    def batches(self, batch_size, seed):
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        yield from order.split(batch_size)

    def loss(self, module, batch):
        return (module(self.x[batch]) - 3 * self.x[batch]).square().mean()

    def score(self, module, split):
        return -float(self.loss(module, torch.arange(8)))

    def tokens(self, batch):
        return len(batch)


def fit(**changes):
    recipe = Recipe(**{"learning_rate": 0.1, "epochs": 20, "batch_size": 4, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.1))
    return train(
        module,
        [Group("weights", tuple(module.parameters()))],
        Line(),
        recipe,
        split="measure",
        seed_data=1,
        seed_dropout=2,
    ), module


def test_it_learns_and_tells_what_it_did():
    outcome, _ = fit()
    assert outcome.status == "ok" and outcome.final > outcome.untouched
    assert outcome.steps == 40 and outcome.tokens == 160
    assert [p["step"] for p in outcome.learning_curve] == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_it_learns_in_every_precision_by_every_optimizer(optimizer, precision):
    outcome, module = fit(optimizer=optimizer, precision=precision, clip=1.0, epochs=60)
    assert outcome.status == "ok" and outcome.final > outcome.untouched
    assert all(p.dtype == torch.float32 for p in module.parameters())


def test_the_same_seeds_give_the_same_curve_and_no_global_draw():
    state = torch.random.get_rng_state()
    assert fit()[0].learning_curve == fit()[0].learning_curve
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_curve():
    outcome, _ = fit(learning_rate=1e30, optimizer="sgd", epochs=200)
    assert outcome.status == "diverged" and "loss" in outcome.reason and outcome.learning_curve


def test_l2_acts_on_matrices_and_not_on_biases():
    pulled, module = fit(l2=10.0)
    assert abs(module[0].weight.item()) < 0.5 and pulled.status == "ok"


@pytest.mark.parametrize(
    ("recipe", "n", "steps"),
    [
        (Recipe(1, epochs=3, batch_size=32), 100, 12),
        (Recipe(1, epochs=0.5, batch_size=32), 100, 2),
        (Recipe(1, max_steps=7), 100, 7),
        (Recipe(1, epochs=0.001), 10, 1),
    ],
)
def test_budgets(recipe, n, steps):
    assert recipe.steps(n) == steps


def test_schedules():
    def rates(**kwargs):
        return [_rate(s, 10, Recipe(1, **kwargs)) for s in range(10)]

    assert rates(schedule="constant") == [1.0] * 10
    assert rates(schedule="linear") == pytest.approx([1 - s / 10 for s in range(10)])
    assert rates(schedule="cosine")[5] == pytest.approx(0.5)
    warm = rates(schedule="linear", warmup=0.5)
    assert (
        warm[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        and warm[5] == 1.0
        and warm[9] == pytest.approx(0.2)
    )


def test_the_final_score():
    assert _final([1.0, 2.0, 3.0, 4.0], "last") == 4.0
    assert _final([1.0, 2.0, 3.0, 4.0], "mean_of_last_3") == 3.0
    assert math.isnan(_final([], "last"))

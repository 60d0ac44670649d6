"""Laws over the table of arms, and LoRA's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from idim import arms, config, models, train
from idim.cli.flags import names_in
from idim.errors import IdimError
from idim.values import adaptation, recipe

SETTINGS = {
    "d": 50,
    "projection": "orthonormal",
    "scope": "global",
    "structure": "layer",
    "rank": 2,
    "seed_projection": 7,
}


def net() -> nn.Module:
    return models.load("mlp:20-16-12-3", 3, seed=1).module


@pytest.mark.parametrize("arm", arms.ARMS)
def test_an_arm_starts_at_the_model_and_trains_what_it_says(arm):
    x = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    before = net()(x)
    adapted = arms.build(arm, net(), SETTINGS)
    torch.testing.assert_close(adapted.module(x), before)
    params = [p for group in adapted.groups.values() for p in group]
    assert (
        adapted.d_total
        == sum(p.numel() for p in params)
        == {
            "full": 20 * 16 + 16 + 16 * 12 + 12 + 12 * 3 + 3,
            "did": 50,
            "said": 50,
            "lora": 2 * (20 + 16) + 2 * (16 + 12) + 12 * 3 + 3,
        }[arm]
    )
    frozen = [copy.deepcopy(p) for p in params]
    optimizer = torch.optim.SGD(params, lr=0.1)
    # Twice: some arms have parameters whose gradient is zero at the start (LoRA's A, SAID's scales).
    for _ in range(2):
        adapted.module(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(not torch.equal(a, b) for a, b in zip(params, frozen, strict=True))
    assert not torch.allclose(adapted.module(x), before)


@pytest.mark.parametrize("arm", arms.ARMS)
def test_an_arm_depends_on_its_seed_alone(arm):
    state = torch.random.get_rng_state()
    x = torch.ones(2, 20)

    def moved(seed: int) -> torch.Tensor:
        adapted = arms.build(arm, net(), {**SETTINGS, "seed_projection": seed})
        with torch.no_grad():
            for group in adapted.groups.values():
                for p in group:
                    p.add_(0.1)
        return adapted.module(x)

    assert torch.equal(moved(1), moved(1))
    assert torch.equal(moved(1), moved(2)) == (arm == "full")
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("arm", ["full", "did", "said"])
def test_an_arm_leaves_alone_what_its_owner_froze(arm):
    model = net()
    first = next(m for m in model.modules() if isinstance(m, nn.Linear)).requires_grad_(False)
    before = [p.detach().clone() for p in first.parameters()]
    adapted = arms.build(arm, model, SETTINGS)
    assert adapted.info["frozen"] == 20 * 16 + 16
    params = [p for group in adapted.groups.values() for p in group]
    optimizer = torch.optim.SGD(params, lr=0.1)
    adapted.module(torch.ones(5, 20)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, first.parameters(), strict=True))
    assert adapted.d_total == (16 * 12 + 12 + 12 * 3 + 3 if arm == "full" else 50)
    adapted.close()
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    with pytest.raises(
        IdimError, match="model: expected at least one weight with requires_grad=True"
    ):
        arms.build(arm, net().requires_grad_(False), SETTINGS)


@pytest.mark.parametrize("arm", arms.SUBSPACE_ARMS)
def test_a_closed_arm_gives_the_model_back_as_it_came(arm):
    """So that a run leaves nothing to the next, should both get the same module."""
    model = nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    adapted = arms.build(arm, model, SETTINGS)
    adapted.module.train()
    adapted.module(torch.randn(5, 20)).square().mean().backward()
    with torch.no_grad():
        for p in adapted.groups["theta"]:
            p -= p.grad
    adapted.module(torch.randn(5, 20))
    assert not any(
        torch.equal(model.state_dict()[name], x) for name, x in before.items() if "num" not in name
    )
    adapted.close()
    assert all(torch.equal(model.state_dict()[name], x) for name, x in before.items())


def test_loras_rule_for_alpha():
    assert arms.build("lora", net(), SETTINGS).info["alpha_rule"] == "alpha = 2 r"
    assert arms.build("lora", net(), {**SETTINGS, "lora_alpha": 8}).info["lora_alpha"] == 8


@pytest.mark.parametrize(
    ("text", "parts", "adapted"),
    [
        ("1,3", ["1", "3"], ["1", "3"]),
        (r"[13]{1,2}", [r"[13]{1,2}"], ["1", "3"]),
        (r"3|1{1,2}", [r"3|1{1,2}"], ["1", "3"]),
        (r"1{1,2}, 3", ["1{1,2}", "3"], ["1", "3"]),
        (r"(1|(2|3)){1,1}", [r"(1|(2|3)){1,1}"], None),
        (r"[1,2]", [r"[1,2]"], None),
        (r"1{1,2},1", [r"1{1,2}", "1"], ["1"]),
    ],
)
def test_targets_may_be_names_and_regular_expressions_with_commas(text, parts, adapted):
    assert names_in(text, "--targets") == parts
    if adapted:
        model = nn.Sequential(*(nn.Linear(4, 4) if i % 2 else nn.ReLU() for i in range(6)))
        built = arms.build("lora", model, {**SETTINGS, "targets": parts})
        assert built.info["targets"] == adapted


def test_mistakes():
    with pytest.raises(IdimError, match="arm: expected one of full, did, said, lora"):
        arms.build("nosuch", net(), SETTINGS)
    with pytest.raises(IdimError, match="targets: expected names"):
        arms.build("lora", net(), {**SETTINGS, "targets": ["nosuch"]})


@pytest.mark.parametrize(
    ("name", "D"),
    [("mnist-fc", 199_210), ("mnist-lenet", 44_426), ("toy", 1000), ("mlp:4-3-10", 55)],
)
def test_sizes_of_built_in_nets(name, D):
    first, second, other = (models.load(name, 10, seed=s) for s in (1, 1, 2))
    assert first.D == D
    assert first.fingerprint == second.fingerprint
    assert (first.fingerprint != other.fingerprint) == (name != "toy")


def test_what_config_offers_is_what_there_is():
    """Values may not import torch, so they name the arms and what a recipe may say themselves."""
    assert set(config.ARMS) == set(arms.ARMS) == set(adaptation.ARMS)
    assert recipe.CHOICES["precision"] == ("fp32", *train.COMPUTE)
    assert recipe.CHOICES["optimizer"] == tuple(train.OPTIMIZERS)

"""Laws over the table of arms, and LoRA's own."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import one_more_arm
import pytest
import torch
from more_peft_arms import DELORA, HRA
from one_more_arm import First
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from idim import arms, models, run, specs, train
from idim.arms.peft import Peft
from idim.cli.flags import names_in
from idim.config import Config
from idim.errors import IdimError
from idim.resolve import resolve_single
from idim.store import Store
from idim.values import recipe
from idim.values.arm import ModelFacts
from idim.values.purpose import Purpose

SETTINGS = {
    "d": 50,
    "projection": "orthonormal",
    "scope": "global",
    "structure": "layer",
    "rank": 2,
    "layers": 1,
    "tokens": 3,
    "bottleneck": 2,
    "frequencies": 20,
    "bases": 2,
    "length": 8,
}
#: Arms that one file or one row of peft's table adds.
MORE = (First(), HRA, DELORA)
#: Arms that cannot carry a small plain net, and why.
NOT_PLAIN = {
    "longlora": "a decoder",
    "icl": "a decoder that continues a text",
    "norms": "modules that Norms can adapt",
    **dict.fromkeys(
        ("prompttuning", "ptuning", "prefixtuning", "prefixmlp", "llamaadapter"),
        "a transformers model for text",
    ),
}
EVERY = (*arms.ARMS, *(arm.name for arm in MORE))
ALL = [arm for arm in EVERY if arm not in NOT_PLAIN]
#: Those that peft brings.
PEFT = [arm.name for arm in (*arms.ARMS.values(), *MORE) if isinstance(arm, Peft)]
PEFT = [arm for arm in PEFT if arm in ALL]
#: Arms that draw nothing.
SEEDLESS = ("full", "head", "topk", "bitfit", "ia3", First.name)
#: All its factors are read from one vector, so that none of them can be zero at first.
NOT_AT_THE_MODEL = ("unilora",)
_HEAD = 12 * 3 + 3


@pytest.fixture(autouse=True)
def more(monkeypatch):
    for arm in MORE:
        monkeypatch.setitem(arms.ARMS, arm.name, arm)


def net() -> nn.Module:
    return models.load("mlp:20-16-12-3", 3, seed=1).module


@pytest.mark.parametrize("arm", ALL)
def test_an_arm_starts_at_the_model_and_trains_what_it_says(arm):
    x = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    before = net()(x)
    adapted = arms.build(arm, net(), SETTINGS, 7)
    tolerance = {"atol": 1e-2, "rtol": 0} if arm in NOT_AT_THE_MODEL else {}
    if arm != "qlora":  # whose weights are rounded
        torch.testing.assert_close(adapted.module(x), before, **tolerance)
    params = [p for group in adapted.groups for p in group.params]
    assert (
        adapted.d_total
        == sum(p.numel() for p in params)
        == {
            "full": 20 * 16 + 16 + 16 * 12 + 12 + _HEAD,
            "did": 50,
            "said": 50,
            "head": _HEAD,
            "topk": 16 * 12 + 12 + _HEAD,
            "bitfit": 16 + 12 + _HEAD,
            "first": 20 * 16 + 16,
            **dict.fromkeys(
                ("lora", "rslora", "loraplus", "dylora", "qlora"), 2 * 36 + 2 * 28 + _HEAD
            ),
            "dora": 2 * 36 + 16 + 2 * 28 + 12 + _HEAD,
            "adalora": 3 * 36 + 3 + 3 * 28 + 3 + _HEAD,
            "ia3": 16 + 12 + _HEAD,
            "vera": (2 + 16) + (2 + 12) + _HEAD,
            "fourierft": 20 + 20 + _HEAD,
            # Two bases of rank 8 for the wide layer; each has a number a row and one a rank.
            "randlora": 88 + _HEAD,
            "unilora": 8 + _HEAD,
            "tinylora": 8 + 8 + _HEAD,
            "bottleneck": (2 * 2 * 16 + 2 + 16) + (2 * 2 * 12 + 2 + 12) + _HEAD,
            "hra": 4 * 20 + 4 * 16 + _HEAD,
            "delora": 2 * 36 + 1 + 2 * 28 + 1 + _HEAD,
        }[arm]
    )
    frozen = [copy.deepcopy(p) for p in params]
    optimizer = torch.optim.SGD(params, lr=0.1)
    # Twice, because some parameters start with a gradient of zero: LoRA's A, SAID's scales.
    for _ in range(2):
        adapted.module(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(not torch.equal(a, b) for a, b in zip(params, frozen, strict=True))
    assert not torch.allclose(adapted.module(x), before)


@pytest.mark.parametrize("arm", ALL)
def test_an_arm_depends_on_its_seed_alone(arm):
    state = torch.random.get_rng_state()
    x = torch.ones(2, 20)

    def moved(seed: int) -> torch.Tensor:
        adapted = arms.build(arm, net(), SETTINGS, seed)
        with torch.no_grad():
            for group in adapted.groups:
                for p in group.params:
                    p.add_(0.1)
        return adapted.module(x)

    assert torch.equal(moved(1), moved(1))
    assert torch.equal(moved(1), moved(2)) == (arm in SEEDLESS)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("arm", ["full", "did", "said"])
def test_an_arm_leaves_alone_what_its_owner_froze(arm):
    model = net()
    first = next(m for m in model.modules() if isinstance(m, nn.Linear)).requires_grad_(False)
    before = [p.detach().clone() for p in first.parameters()]
    adapted = arms.build(arm, model, SETTINGS, 7)
    assert adapted.info["frozen"] == 20 * 16 + 16
    params = [p for group in adapted.groups for p in group.params]
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
        arms.build(arm, net().requires_grad_(False), SETTINGS, 7)


@pytest.mark.parametrize("arm", arms.over("d"))
def test_a_closed_arm_gives_the_model_back_as_it_came(arm):
    """So that a run leaves nothing to the next, should both get the same module."""
    model = nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    adapted = arms.build(arm, model, SETTINGS, 7)
    adapted.module.train()
    adapted.module(torch.randn(5, 20)).square().mean().backward()
    with torch.no_grad():
        for p in adapted.groups[0].params:
            p -= p.grad
    adapted.module(torch.randn(5, 20))
    assert not any(
        torch.equal(model.state_dict()[name], x) for name, x in before.items() if "num" not in name
    )
    adapted.close()
    assert all(torch.equal(model.state_dict()[name], x) for name, x in before.items())


@pytest.mark.parametrize(("arm", "why"), NOT_PLAIN.items())
def test_an_arm_says_why_it_cannot_carry_a_model(arm, why):
    with pytest.raises(IdimError, match=rf"^model: expected .*{why}") as told:
        arms.build(arm, net(), SETTINGS, 7)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("arm", EVERY)
def test_what_an_arm_is_told_is_kept_and_read_again(arm):
    settings = arms.ARMS[arm].Settings.of(SETTINGS | {"targets": ("1", "3"), "unknown": 1})
    kept = json.loads(json.dumps(settings.to_json()))
    assert arms.ARMS[arm].Settings.of(kept) == settings and "unknown" not in kept


@pytest.mark.parametrize("arm", EVERY)
def test_an_arm_has_a_line_a_source_and_sizes_with_rates(arm):
    found = arms.ARMS[arm]
    assert found.name == arm and found.about.endswith(".") and found.source and found.shown
    facts = ModelFacts(D=1000, tensors=6, groups=3, width=16, depth=2, exponent=0.75)
    low, high = found.limits(facts)
    settings = found.Settings.of(SETTINGS)
    assert 1 <= low <= high <= facts.D + found.scales(facts)
    assert all(found.rate(0.01, size, facts, settings) > 0 for size in (low, high))
    assert found.label(settings).startswith(arm)
    assert found.size is None or found.size.name in settings.to_json()
    assert hasattr(Config("m", "t"), found.rate_flag)


@pytest.mark.parametrize("arm", ALL)
def test_a_run_of_an_arm_is_a_record_that_the_store_takes(arm, tmp_path):
    config = Config("mlp:64-8-10", "digits", max_steps=2, max_train_samples=64, arm="full")
    spec = specs.make(resolve_single(config), Purpose.SINGLE, None, 0, 0.01)
    told = arms.ARMS[arm].Settings.of(SETTINGS).to_json()
    spec = dataclasses.replace(spec, arm=arm, settings=told)
    record, lost, store = run.execute(spec), run.lost(spec, "killed"), Store(tmp_path)
    store.put(record)
    assert store.all() == [record] and record.status == "ok" and not store.skipped
    assert arms.check_record(lost) is lost and lost.status == "failed"


def test_an_arm_is_one_file_of_at_most_thirty_lines():
    assert len(Path(one_more_arm.__file__).read_text().splitlines()) <= 30


def test_importing_the_arms_loads_neither_torch_nor_peft():
    code = "import sys, idim.arms, idim.config; sys.exit(bool({'torch', 'peft'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("arm", PEFT)
def test_a_method_of_peft_merges_where_it_says_so(arm):
    x = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    built = arms.build(arm, net(), SETTINGS, 7)
    with torch.no_grad():
        for p in built.groups[0].params:
            p.add_(0.1)
    trained = built.module(x)
    if not arms.ARMS[arm].merges:
        if arm == "qlora":
            return  # peft would merge, and round
        with pytest.raises((AttributeError, IdimError)):
            built.module.merge_and_unload()
    else:
        merged = built.module.merge_and_unload()
        assert not any(isinstance(m, BaseTunerLayer) for m in merged.modules())
        # fp32 rounds by the size of what is summed, not by that of a small sum.
        size = trained.abs().max()
        torch.testing.assert_close(merged(x) / size, trained / size, atol=3e-6, rtol=0)


@pytest.mark.parametrize("arm", PEFT)
def test_a_method_of_peft_takes_targets_and_says_which_it_adapted(arm):
    build = functools.partial(arms.build, arm, seed=7)
    built = build(net(), settings={**SETTINGS, "targets": ("3",)})
    assert built.info["targets"] == ["3"] and built.info["head"] == "trained freely, counted"
    shown = re.escape(arms.ARMS[arm].shown)
    for wrong, what in (("nosuch", "names"), ("nosuch.*", "a pattern of names")):
        with pytest.raises(IdimError, match=f"^targets: expected {what} of modules that {shown}"):
            build(net(), settings={**SETTINGS, "targets": (wrong,)})
    size = arms.ARMS[arm].size
    if size:
        with pytest.raises(IdimError, match=f"^{size.name}: expected a whole number of at least 1"):
            build(net(), settings={**SETTINGS, size.name: 0})


def test_loras_rule_for_alpha():
    # What a record says without an alpha is from before there was a fixed one.
    assert arms.build("lora", net(), SETTINGS, 7).info["alpha_rule"] == "alpha = 2 r"
    lora = arms.ARMS["lora"]
    for asked, alpha, rule in (
        ({}, 4, "alpha = 4"),
        ({"lora_alpha": 8}, 8, "alpha = 8"),
        ({"alpha_twice_rank": True}, 6, "alpha = 2 r"),
    ):
        told = lora.at(lora.told(asked), 3)
        info = lora.adapt(net(), told, 7).info
        assert (info["lora_alpha"], info["alpha_rule"]) == (alpha, rule)
        assert told.alpha == alpha


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
        built = arms.build("lora", model, {**SETTINGS, "targets": parts}, 7)
        assert built.info["targets"] == adapted


def test_mistakes():
    with pytest.raises(IdimError, match="arm: expected one of full, did, said, lora, rslora,"):
        arms.build("nosuch", net(), SETTINGS, 7)


@pytest.mark.parametrize(
    ("name", "D"),
    [("mnist-fc", 199_210), ("mnist-lenet", 44_426), ("toy", 1000), ("mlp:4-3-10", 55)],
)
def test_sizes_of_built_in_nets(name, D):
    first, second, other = (models.load(name, 10, seed=s) for s in (1, 1, 2))
    assert first.D == D
    assert first.fingerprint == second.fingerprint
    assert (first.fingerprint != other.fingerprint) == (name != "toy")


def test_what_a_recipe_offers_is_what_there_is():
    """Values may not import torch, so they name what a recipe may say themselves."""
    assert recipe.CHOICES["precision"] == ("fp32", *train.COMPUTE)
    assert recipe.CHOICES["optimizer"] == tuple(train.OPTIMIZERS)


def test_the_letter_of_a_size_names_nothing_else():
    """A row of a curve has its size under this letter, beside its mean and its number of runs."""
    for arm in arms.ARMS.values():
        assert arm.size is None or arm.size.letter not in ("n", "mean", "passes", "stopped", "rate")

"""A copy of a wrapped model is on its own: nothing that either does is seen by the other."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from peft import PeftModel, get_peft_model
from test_readers import IDS, Net, move, net, plain
from torch import nn
from torch.optim.swa_utils import AveragedModel

import idim
from idim.errors import IdimError
from idim.subspace import Subspace


def saved(x):
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "torch.save": saved,
}
MODELS = {
    **WAYS,
    "AveragedModel": lambda m: AveragedModel(m).module,
    "inside another": lambda m: copy.deepcopy(nn.ModuleList([m]))[0],
}


def wrapped(lean: bool = False, **more) -> Subspace:
    sub = Subspace(net(), 50, structure="layer", lean=lean, **more)
    move(sub)
    return sub


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in module.state_dict().items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("way", MODELS)
def test_a_copy_of_the_model_is_plain(way, lean):
    sub = wrapped(lean)
    twin = MODELS[way](sub.model)
    right = state(plain(sub))
    assert all(torch.allclose(x, right[name], atol=1e-6) for name, x in state(twin).items())
    for module in twin.modules():
        assert (
            not module._forward_pre_hooks
            and not module._forward_hooks
            and not module._state_dict_pre_hooks
            and not module._load_state_dict_pre_hooks
        )
        assert not {"forward", "__getstate__"} & module.__dict__.keys() and not getattr(
            module, "sparse", False
        )
    assert all(
        type(p) is nn.Parameter and p.requires_grad and not hasattr(p, "_idim_wrapped")
        for p in twin.parameters()
    )
    before = state(twin)
    move(sub)
    assert same(before, state(twin))
    mine, theta = state(sub.model), sub.theta.detach().clone()
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.1)
    twin(IDS).square().sum().backward()
    optimizer.step()
    assert same(mine, state(sub.model)) and torch.equal(theta, sub.theta) and sub.theta.grad is None
    Subspace(twin, 20)  # and may be wrapped itself


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_the_subspace_moves_a_model_of_its_own(way, lean, quiet):
    sub = wrapped(lean, quiet=quiet)
    twin = WAYS[way](sub)
    assert twin.model is not sub.model and twin.projection.checksum() == sub.projection.checksum()
    assert same(state(twin.model), state(sub.model)) and same(state(twin), state(sub))
    for mover, other in ((sub, twin), (twin, sub)):
        before, out, own = state(other.model), other.model(IDS).detach(), mover.model(IDS).detach()
        move(mover)
        assert (
            same(before, state(other.model))
            and torch.equal(out, other.model(IDS))
            and other.theta.grad is None
        )
        assert not torch.equal(mover.model(IDS), own)
    assert torch.equal(sub.theta, twin.theta), "both made the same steps"
    assert same(state(twin.undo()), state(net())) and not same(state(sub.model), state(net()))
    assert [p.requires_grad for p in twin.model.parameters()] == [True] * len(
        list(net().parameters())
    )


@pytest.mark.parametrize("way", WAYS)
def test_model_and_subspace_are_copied_together(way):
    sub = wrapped()
    model, twin = WAYS[way]([sub.model, sub])
    assert twin.model is model
    move(twin)
    assert torch.allclose(model(IDS), plain(twin)(IDS), atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_keeps_what_was_frozen_and_how_buffers_began(way):
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    model[2].requires_grad_(False)
    start = state(model)
    sub = Subspace(model, 5)
    model(torch.randn(9, 6) + 3)
    twin = WAYS[way](sub)
    assert twin.frozen == sub.frozen == ("2.weight", "2.bias") and twin.D == sub.D
    assert torch.equal(twin.model[1].running_mean, model[1].running_mean) and not torch.equal(
        model[1].running_mean, start["1.running_mean"]
    )
    undone = twin.undo()
    assert (
        same(state(undone), start)
        and [p.requires_grad for p in undone.parameters()] == [True] * 4 + [False] * 2
    )


def test_what_cannot_be_copied_says_so():
    sub = wrapped()
    sub.undo()
    with pytest.raises(IdimError, match="copy: expected a subspace that still moves its model"):
        copy.deepcopy(sub)


def a_peft_model() -> PeftModel:
    return get_peft_model(net(), idim.SubspaceConfig(d=50, structure="layer"))


@pytest.mark.parametrize("way", {**WAYS, "AveragedModel": lambda m: AveragedModel(m).module})
def test_a_peft_model_is_copied_with_its_subspace(way):
    model = a_peft_model()
    move(model.base_model.held.sub)
    twin = (WAYS | {"AveragedModel": lambda m: AveragedModel(m).module})[way](model)
    assert type(twin) is PeftModel and torch.equal(twin(IDS), model(IDS))
    before = model(IDS).detach()
    move(twin.base_model.held.sub)
    assert torch.equal(before, model(IDS)) and not torch.equal(before, twin(IDS))
    assert [n for n, p in twin.named_parameters() if p.requires_grad] == [
        n for n, p in model.named_parameters() if p.requires_grad
    ]
    assert same(state(twin.unload()), state(net()))


CASTS = {
    "to": lambda m: m.to(torch.bfloat16),
    "bfloat16": lambda m: m.bfloat16(),
    "half": lambda m: m.half(),
    "double": lambda m: m.double(),
}


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("whole", ["model", "subspace", "peft"])
def test_casting_casts_the_weights_and_leaves_theta(whole, cast, lean, engine):
    """theta_0 + P theta is formed in fp32 and then rounded to the precision of the model."""
    model = a_peft_model() if whole == "peft" else net()
    sub = (
        model.base_model.held.sub
        if whole == "peft"
        else Subspace(model, 50, structure="layer", lean=lean, engine=engine)
    )
    move(sub)
    CASTS[cast](sub if whole == "subspace" else model)
    dtype = next(CASTS[cast](nn.Linear(1, 1)).parameters()).dtype
    for _ in range(2):
        assert all(p.dtype == dtype for p in sub.model.parameters()) and {
            p.dtype for p in sub.parameters()
        } == {torch.float32}
        right = state(plain(sub))
        assert all(
            torch.allclose(x.float(), right[name].to(dtype).float(), rtol=1e-2, atol=1e-4)
            for name, x in state(sub.model).items()
        )
        sub.model(IDS).float().square().mean().backward()
        assert torch.isfinite(sub.theta.grad).all() and sub.theta.grad.dtype == torch.float32
        with torch.no_grad():
            sub.theta -= sub.theta.grad
        sub.theta.grad = None
    assert same(state(sub.undo()), state(net()))


def test_a_subspace_is_not_moved_to_where_there_are_no_numbers():
    with pytest.raises(
        IdimError, match="subspace: expected a device that holds numbers; got 'meta'"
    ):
        Subspace(Net(), 5).to("meta")

"""What autograd and torch.func keep of a wrapped model's weights is read at the right theta."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import get_peft_model
from test_readers import IDS, Net, move, net, plain
from torch import nn

import idim
from idim.errors import IdimError
from idim.subspace import Subspace

LEAN = pytest.mark.parametrize("lean", [False, True])


def wrapped(lean: bool = False, structure: str | None = "layer") -> Subspace:
    sub = Subspace(net(), 50, structure=structure, lean=lean)
    move(sub)
    return sub


def grads(sub: Subspace) -> torch.Tensor:
    return torch.cat([p.grad for p in sub.parameters()])


def right(sub: Subspace, call) -> torch.Tensor:
    """The gradient where nothing happens between the two passes."""
    twin = copy.deepcopy(sub)
    call(twin.model).square().mean().backward()
    return grads(twin)


@torch.no_grad()
def reference(sub: Subspace) -> None:
    sub.enabled = False
    sub.model(IDS)
    sub.enabled = True


@torch.no_grad()
def step(sub: Subspace) -> None:
    for p in sub.parameters():
        p += 0.5


@torch.no_grad()
def step_and_look(sub: Subspace) -> None:
    step(sub)
    sub.model(IDS)


def whole(sub: Subspace) -> None:
    step(sub)
    sub.sync()


BETWEEN = {
    "a pass of the untouched model": reference,
    "a step": step,
    "a step and a pass": step_and_look,
    "a step, and all weights read": whole,
}
CALLS = {
    "the model": lambda m: m(IDS),
    "reads a table whole": lambda m: m(IDS, whole=True),
    "a part": lambda m: m.hidden(IDS),
    "a look-up": lambda m: m.words(IDS),
    "checkpointed": lambda m: torch.utils.checkpoint.checkpoint(m, IDS, use_reentrant=False),
}


@LEAN
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("between", BETWEEN)
def test_a_backward_pass_is_made_where_its_forward_pass_was(between, call, lean):
    """Or torch says that the weights were modified, as it does of a plain model's."""
    sub = wrapped(lean)
    want, out = right(sub, CALLS[call]), CALLS[call](sub.model)
    BETWEEN[between](sub)
    loss = out.square().mean()
    if call == "a part" and not lean and between != "a step":
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        return
    loss.backward()
    torch.testing.assert_close(grads(sub), want, rtol=1e-4, atol=1e-7)
    with torch.no_grad():
        torch.testing.assert_close(sub.model(IDS), plain(sub)(IDS), rtol=1e-4, atol=1e-5)


@LEAN
def test_passes_with_and_without_the_adapter_take_turns(lean):
    sub = wrapped(lean)
    want = right(sub, lambda m: m(IDS) + m(IDS + 1))
    first = sub.model(IDS)
    reference(sub)
    second = sub.model(IDS + 1)
    reference(sub)
    (first + second).square().mean().backward()
    torch.testing.assert_close(grads(sub), want, rtol=1e-4, atol=1e-7)


@LEAN
def test_one_backward_pass_has_one_theta(lean):
    """And one that was refused leaves nothing behind."""
    sub = wrapped(lean)
    first = sub.model(IDS)
    step(sub)
    with pytest.raises(IdimError, match="backward: expected forward passes at one theta"):
        (first + sub.model(IDS)).sum().backward()
    step(sub)
    sub.zero_grad()
    want = right(sub, lambda m: m(IDS))
    sub.model(IDS).square().mean().backward()
    torch.testing.assert_close(grads(sub), want, rtol=1e-4, atol=1e-7)
    assert torch.equal(sub.model(IDS), sub.model(IDS))
    torch.testing.assert_close(sub.model(IDS), plain(sub)(IDS), rtol=1e-4, atol=1e-5)


def test_an_adapter_is_switched_off_within_a_step():
    """As trl does for its reference; with or without ``no_grad``, as under a LoRA."""
    got = []
    for grad in (None, False, True):
        model = get_peft_model(net(), idim.SubspaceConfig(d=50))
        sub = model.base_model.held.sub
        move(sub)
        out, ref = model(IDS), torch.zeros(2, 3)
        if grad is not None:
            with torch.set_grad_enabled(grad), model.disable_adapter():
                ref = 0 * model(IDS)
        (out + ref).square().mean().backward()
        got.append(grads(sub))
        assert not any(p.requires_grad for p in sub.model.parameters())
    assert got[0].any() and torch.equal(got[0], got[1]) and torch.equal(got[0], got[2])


@LEAN
def test_autocast_keeps_no_weights_of_another_theta(lean):
    sub = wrapped(lean)
    with torch.autocast("cpu", torch.bfloat16):
        moved = sub.model(IDS)
        sub.enabled = False
        start, want = sub.model(IDS), net()(IDS)
    assert torch.equal(start, want) and not torch.equal(moved, want)


def twice(m: Net) -> None:
    loss = m(IDS, whole=True).square().mean()
    loss.backward(retain_graph=True)
    loss.backward()


def apart(m: Net) -> None:
    looked_up, read = m(IDS).square().mean(), (m.words.weight * m.words.weight).sum()
    looked_up.backward()
    read.backward()


@LEAN
@pytest.mark.parametrize("losses", [twice, apart])
def test_a_table_is_whole_while_its_first_graphs_live(losses, lean):
    sub, model = Subspace(net(), 50, lean=lean), net()
    losses(sub.model)
    losses(model)
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    grad = torch.cat([part.flatten() for part in parts])
    torch.testing.assert_close(sub.theta.grad, sub.projection.adjoint(grad), rtol=1e-4, atol=1e-6)


@LEAN
def test_a_view_that_was_taken_before_the_first_step_follows_theta(lean):
    sub = Subspace(net(), 50, lean=lean)
    view = sub.model.words.weight.detach()
    for _ in range(2):
        move(sub)
        sub.model(IDS)
        torch.testing.assert_close(view, plain(sub).words.weight.detach(), rtol=1e-4, atol=1e-6)
    assert torch.equal(sub.undo().words.weight, net().words.weight)


X = torch.linspace(-1, 1, 12).view(2, 6)
TRANSFORMS = {
    "grad": lambda m: torch.func.grad(lambda x: m(x).square().sum())(X),
    "grad of a part": lambda m: torch.func.grad(lambda x: m[0](x).square().sum())(X),
    "jacrev": lambda m: torch.func.jacrev(m)(X),
    "jacfwd": lambda m: torch.func.jacfwd(m)(X),
    "vmap": lambda m: torch.func.vmap(m)(X[None].expand(3, 2, 6)),
    "jvp": lambda m: torch.func.jvp(m, (X,), (X,))[1],
}


@LEAN
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_torch_func_see_the_present_weights(name, lean):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Tanh())
        model = nn.Sequential(block, nn.Linear(6, 2))
    sub = Subspace(model, 10, lean=lean)
    for _ in range(2):
        step(sub)
        got = TRANSFORMS[name](model)
        assert torch.equal(got, TRANSFORMS[name](copy.deepcopy(model)))

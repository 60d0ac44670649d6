"""Whoever reads a wrapped model's weights, in whatever way, gets them at the present theta.

A plain model with these weights is the judge.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, prune
from torch.optim.swa_utils import AveragedModel

from idim.subspace import Subspace
from idim.subspace.watched import Watched

IDS = torch.tensor([[1, 5, 7], [300, 2, 7]])
ALL = torch.arange(400)


class Net(nn.Module):
    """Looks words up in training and may read the whole table, as recommenders do.

    It has blocks, a list of lists, and a weight that is read directly.
    """

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(400, 6), nn.Linear(6, 3)
        self.layers = nn.ModuleList(
            [
                nn.Linear(6, 6),
                nn.ModuleList([nn.Linear(6, 6)]),
                nn.Sequential(nn.Linear(6, 6, bias=False)),
            ]
        )

    def hidden(self, ids):
        x = self.words(ids).mean(1)
        x = self.layers[1][0](torch.tanh(self.layers[0](x)))
        return nn.functional.linear(x, self.layers[2][0].weight)

    def forward(self, ids, whole: bool = False):
        return self.hidden(ids) @ self.words.weight.T if whole else self.out(self.hidden(ids))


def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


def move(sub: Subspace, steps: int = 2) -> None:
    """Train, so that tables have gradients, and end with a theta that no pass has seen."""
    optimizer = torch.optim.SGD(sub.parameters(), lr=1.0)
    for _ in range(steps):
        nn.functional.cross_entropy(sub.model(IDS), torch.tensor([0, 2])).backward()
        optimizer.step()
        optimizer.zero_grad()


def plain(sub: Subspace) -> Net:
    """A model that nothing moves, with the weights as P makes them."""
    model, delta = net(), sub.projection(sub.theta.detach())
    named = dict(model.named_parameters())
    with torch.no_grad():
        for s in sub.layout.slices:
            scale = 1 if sub.scales is None else sub.scales[s.group]
            named[s.name] += (scale * delta[s.start : s.stop]).view_as(named[s.name])
    return model


def kept(module: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def seen_by_a_hook_on_everything(model: Net) -> torch.Tensor:
    seen = []
    handle = nn.modules.module.register_module_forward_pre_hook(
        lambda m, args: seen.append(parameters_to_vector(model.parameters()))
    )
    model(IDS)
    handle.remove()
    return torch.stack(seen)


def seen_by_a_hook_put_first(model: Net) -> torch.Tensor:
    seen = []
    handle = model.register_forward_pre_hook(
        lambda m, args: seen.append(parameters_to_vector(m.parameters())), prepend=True
    )
    model(IDS)
    handle.remove()
    return seen[0]


READERS = {
    "the model": lambda m: m(IDS),
    "its forward, without hooks": lambda m: m.forward(IDS),
    "the whole table in evaluation": lambda m: m(IDS, whole=True),
    "a part of the model": lambda m: m.hidden(IDS),
    "the table's module": lambda m: m.words(input=ALL[::7]),
    "a block": lambda m: m.layers[0](torch.ones(2, 6)),
    "a list's member": lambda m: m.layers[1][0](torch.ones(2, 6)),
    "attribute": lambda m: m.words.weight.detach().clone(),
    ".data": lambda m: m.words.weight.data,
    "a row": lambda m: m.words.weight[399],
    "a list of numbers": lambda m: torch.tensor(m.words.weight.tolist()),
    "an array": lambda m: torch.from_numpy(m.words.weight.detach().numpy()),
    "unbound": lambda m: torch.stack(list(m.words.weight)),
    "F.embedding": lambda m: nn.functional.embedding(ALL, m.words.weight),
    "F.embedding_bag": lambda m: nn.functional.embedding_bag(ALL[None], weight=m.words.weight),
    "named_parameters": lambda m: torch.cat([p.flatten() for _, p in m.named_parameters()]),
    "parameters_to_vector": lambda m: parameters_to_vector(m.parameters()),
    "norms of a list": lambda m: torch.stack(torch._foreach_norm(list(m.parameters()))),
    "state_dict": lambda m: torch.cat([x.flatten() for x in m.state_dict().values()]),
    "state_dict, the weights themselves": lambda m: torch.cat(
        [x.flatten() for x in m.state_dict(keep_vars=True).values()]
    ),
    "functional_call": lambda m: functional_call(
        m, dict(m.named_parameters()), (IDS,), {"whole": True}
    ),
    "functional_call, detached": lambda m: functional_call(
        m, {k: p.detach() for k, p in m.named_parameters()}, (IDS,), {"whole": True}
    ),
    "deepcopy": lambda m: copy.deepcopy(m)(IDS, whole=True),
    "deepcopy of a part": lambda m: copy.deepcopy(m.words)(ALL),
    "deepcopy of a weight": lambda m: copy.deepcopy(m.layers[0].weight),
    "torch.save": lambda m: kept(m)(IDS, whole=True),
    "torch.save of a part": lambda m: kept(m.layers)[0].weight,
    "pickle": lambda m: pickle.loads(pickle.dumps(m))(IDS, whole=True),
    "AveragedModel": lambda m: AveragedModel(m)(IDS, whole=True),
    "AveragedModel, updated": lambda m: (
        a := AveragedModel(net()),
        a.update_parameters(m),
        a(IDS, whole=True),
    )[-1],
    "load_state_dict": lambda m: (
        n := net(),
        n.load_state_dict(m.state_dict()),
        n(IDS, whole=True),
    )[-1],
    "a larger table": lambda m: nn.Embedding(
        404, 6, _weight=torch.cat([m.words.weight.data, torch.ones(4, 6)])
    )(ALL),
    "vmap": lambda m: torch.vmap(m.hidden)(IDS[:, None]),
    "cast": lambda m: m.words.weight.to(torch.bfloat16),
    "a global hook": seen_by_a_hook_on_everything,
    "a hook put first": seen_by_a_hook_put_first,
}


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("family", ["orthonormal", "onehot", "dense", "sparse"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_gets_the_present_weights(reader, family, lean):
    if lean and family == "sparse":
        pytest.skip("lean takes no family that gathers the whole gradient")
    model = net()
    sub = Subspace(model, 50, family, "layer", lean=lean)
    for seen in (False, True):  # whether a forward pass has followed the last change of theta
        move(sub)
        if seen:
            model(IDS)
        right = plain(sub)
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                torch.testing.assert_close(
                    READERS[reader](model).detach(),
                    READERS[reader](right).detach(),
                    rtol=1e-5,
                    atol=1e-6,
                )
    assert sub._weights.tables or family not in ("orthonormal", "onehot")


@pytest.mark.parametrize("lean", [False, True])
def test_every_reader_may_read_before_the_first_step(lean):
    for reader, read in READERS.items():
        model = net()
        Subspace(model, 50, lean=lean)
        assert torch.equal(read(model).detach(), read(net()).detach()), reader


@pytest.mark.parametrize(
    "look",
    [
        lambda w: w.data,
        lambda w: w.detach().numpy(),
        lambda w: w.detach()[390:],
        lambda w: w.T.detach(),
    ],
)
def test_a_view_of_a_table_follows_theta_as_one_of_any_weight(look):
    model = net()
    sub = Subspace(model, 50)
    move(sub)
    view = look(model.words.weight)
    for _ in range(3):
        move(sub, 1)
        model(IDS)
        torch.testing.assert_close(
            torch.as_tensor(view),
            torch.as_tensor(look(plain(sub).words.weight)),
            rtol=1e-5,
            atol=1e-6,
        )
    table = sub._weights.tables[0]
    assert table.fresh.all()
    del view
    move(sub, 1)
    model(IDS)
    assert not table.fresh.all(), (
        "once the view is gone, only the rows that are looked up are formed"
    )


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize(
    "read",
    [
        lambda m: m(IDS),
        lambda m: m(IDS, whole=True),
        lambda m: m.forward(IDS),
        lambda m: m.hidden(IDS),
        lambda m: m(IDS) + parameters_to_vector(m.parameters()).square().mean(),
        lambda m: functional_call(m, dict(m.named_parameters()), (IDS,)),
        lambda m: (
            torch.utils.checkpoint.checkpoint(m, IDS, use_reentrant=False)
            + torch.utils.checkpoint.checkpoint(m, IDS + 50, use_reentrant=False)
        ),
    ],
)
def test_what_is_read_trains_theta_right(read, lean):
    """Through a part of the model too, whose call no hook of the whole model sees."""
    sub, start = Subspace(net(), 50, lean=lean), net()
    p = sub.projection
    theta = torch.zeros(50, requires_grad=True)
    for _ in range(4):
        read(sub.model).square().mean().backward()
        delta = p(theta)
        named = dict(start.named_parameters())
        weights = {
            s.name: named[s.name].detach() + delta[s.start : s.stop].view_as(named[s.name])
            for s in sub.layout.slices
        }
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
        twin = net()
        for name, w in leaves.items():
            dict(twin.named_parameters())[name].data = w.detach()
        read(twin).square().mean().backward()
        grad = torch.cat(
            [
                torch.zeros_like(q).flatten() if q.grad is None else q.grad.flatten()
                for q in twin.parameters()
            ]
        )
        want = p.adjoint(grad)
        torch.testing.assert_close(sub.theta.grad, want, rtol=1e-4, atol=1e-6)
        with torch.no_grad():
            for t in (sub.theta, theta):
                t -= 0.05 * want
        sub.theta.grad = None


def test_a_pass_of_the_whole_model_costs_no_watching():
    """Weights are watched between forward passes alone, and tables of which rows are missing."""
    model, classes = net(), []
    sub = Subspace(model, 50)
    model.layers[0].register_forward_hook(
        lambda *_: classes.append({n: type(p) for n, p in model.named_parameters()})
    )
    move(sub)
    model(IDS)
    assert {name for name, kind in classes[-1].items() if kind is Watched} == {"words.weight"}
    assert all(type(p) is Watched for p in model.parameters())
    assert all(type(p) is nn.Parameter for p in sub.bake().parameters())


def weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(nn.Linear(6, 4))


HOOKED = {
    "weight_norm": weight_norm,
    "weight_norm as a parametrization": lambda: nn.utils.parametrizations.weight_norm(
        nn.Linear(6, 4)
    ),
    "spectral_norm": lambda: nn.utils.spectral_norm(nn.Linear(6, 4)),
    "spectral_norm as a parametrization": lambda: nn.utils.parametrizations.spectral_norm(
        nn.Linear(6, 4)
    ),
    "prune": lambda: prune.l1_unstructured(nn.Linear(6, 4), "weight", 0.5),
    "prune twice": lambda: prune.random_unstructured(
        prune.l1_unstructured(nn.Linear(6, 4), "weight", 0.5), "bias", 0.5
    ),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(6, 4)),
}
PLACES = {
    "the model itself": lambda layer: layer,
    "a block": lambda layer: nn.Sequential(layer, nn.Linear(4, 2)),
    "inside a block": lambda layer: nn.Sequential(nn.Sequential(layer, nn.Tanh()), nn.Linear(4, 2)),
    "in a list of lists": lambda layer: Chain(
        nn.ModuleList([nn.ModuleList([layer, nn.Linear(4, 2)])])
    ),
    "in a dictionary": lambda layer: Chain(
        nn.ModuleList([nn.ModuleDict({"a": layer, "b": nn.Linear(4, 2)})])
    ),
}


class Chain(nn.Module):
    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def forward(self, x):
        for part in self.parts:
            for layer in part.values() if isinstance(part, nn.ModuleDict) else part:
                x = layer(x)
        return x


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hook", HOOKED)
def test_hooks_that_came_first_see_the_present_weights(hook, place):
    """With and without lean, training makes the same theta.

    And a call after a change of theta gives what it gives when it is repeated.
    """
    x, thetas, outs = torch.linspace(-1, 1, 18).view(3, 6), [], []
    for lean in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = PLACES[place](HOOKED[hook]())
        model.eval()  # spectral_norm moves its buffers in training
        sub = Subspace(model, 9, lean=lean)
        for _ in range(3):
            model(x).square().sum().backward()
            with torch.no_grad():
                sub.theta -= 0.5 * sub.theta.grad
            sub.theta.grad = None
        first, second = model(x), model(x)
        assert torch.equal(first, second) and torch.isfinite(first).all()
        thetas.append(sub.theta.detach().clone())
        outs.append(first.detach())
        torch.testing.assert_close(sub.bake()(x), first)
    assert thetas[0].norm() > 1e-3
    torch.testing.assert_close(*thetas, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-6)

"""Subspace against an explicit matrix and a plain reference, and wrong ways to ask for it."""

from __future__ import annotations

import doctest
import importlib

import pytest
import torch
from torch import nn
from torch.func import functional_call

import projections
from idim.errors import IdimError
from idim.subspace import Subspace

FAMILIES = list(projections.KINDS)
STRUCTURES = [None, "layer", "module", "tensor"]


class Small(nn.Module):
    """A small language model: tied embedding, encoder layers with norms and dropout, positions."""

    def __init__(self, tied: bool = True, dropout: float = 0.1):
        super().__init__()
        self.words = nn.Embedding(23, 8)
        self.places = nn.Embedding(16, 8)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
            for _ in range(2)
        )
        self.out = nn.Linear(8, 23)
        if tied:
            self.out.weight = self.words.weight

    def forward(self, ids):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


def small(tied: bool = True, seed: int = 0, **kwargs) -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Small(tied, **kwargs)


IDS = torch.tensor([[1, 5, 5, 2], [7, 0, 3, 22]])


def loss_of(model, ids=IDS, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out = model(ids)
    return nn.functional.cross_entropy(out.flatten(0, 1).double(), ids.roll(1).flatten())


def explicit(sub: Subspace) -> torch.Tensor:
    """P as a matrix in fp64, from the same identity."""
    sizes = sub.layout.sizes if sub.scope == "tensor" else None
    p = projections.make(
        sub.projection.family,
        sub.D,
        sub.theta.numel(),
        seed=sub.projection.seed,
        dtype=torch.float64,
        sizes=sizes,
    )
    return p.as_matrix()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("scope", projections.SCOPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_is_the_matrix_transposed_times_the_weights_gradient(
    family, scope, structure, tied
):
    """Everything in fp64 on one side: autograd through theta_0 + scale * P theta."""
    model = small(tied)
    sub = Subspace(model, 40, family, structure, scope, seed=5)
    with torch.no_grad():
        sub.theta.copy_(
            0.3 * torch.randn(sub.theta.shape, generator=torch.Generator().manual_seed(1))
        )
        if sub.scales is not None:
            sub.scales.copy_(
                1 + 0.2 * torch.randn(sub.scales.shape, generator=torch.Generator().manual_seed(2))
            )
    loss_of(model).backward()

    reference = small(tied).double()
    theta = sub.theta.detach().double().requires_grad_()
    scales = None if sub.scales is None else sub.scales.detach().double().requires_grad_()
    move = explicit(sub) @ theta
    named = dict(reference.named_parameters())
    weights = {}
    for s in sub.layout.slices:
        step = (
            move[s.start : s.stop] if scales is None else scales[s.group] * move[s.start : s.stop]
        )
        weights[s.name] = named[s.name].detach() + step.view_as(named[s.name])

    def run(ids):
        return functional_call(reference, weights, (ids,), tie_weights=True)

    expected = loss_of(run)
    expected.backward()
    assert (sub.theta.grad.double() - theta.grad).norm() / theta.grad.norm() < 1e-5
    if scales is not None:
        assert (sub.scales.grad.double() - scales.grad).norm() / scales.grad.norm() < 1e-5
    assert all(p.grad is None for p in model.parameters())


def test_the_lineage_spoils_thetas_gradient_and_not_the_scales():
    """The public code divides theta's gradient by each tensor's n; lambda multiplies later."""
    model = small(dropout=0.0)
    sub = Subspace(model, 70, "fastfood-lineage", "tensor", "tensor", seed=5)
    with torch.no_grad():
        sub.theta.copy_(
            0.3 * torch.randn(sub.theta.shape, generator=torch.Generator().manual_seed(1))
        )
        sub.scales.copy_(
            1 + 0.2 * torch.randn(sub.scales.shape, generator=torch.Generator().manual_seed(2))
        )
    loss_of(model).backward()

    plain = small(dropout=0.0)
    named = dict(plain.named_parameters())
    matrix, theta = explicit(sub), sub.theta.detach().double()
    with torch.no_grad():
        for s in sub.layout.slices:
            named[s.name] += (
                (sub.scales[s.group].double() * (matrix[s.start : s.stop] @ theta))
                .float()
                .view_as(named[s.name])
            )
    loss_of(plain).backward()
    of_theta, of_scales = torch.zeros_like(theta), torch.zeros(len(sub.scales), dtype=torch.float64)
    for s in sub.layout.slices:
        rows, gradient = matrix[s.start : s.stop], named[s.name].grad.double().view(-1)
        n = max(2, 1 << (s.size - 1).bit_length())
        of_theta += float(sub.scales.detach()[s.group]) * (rows.T @ gradient) / n
        of_scales[s.group] += gradient @ (rows @ theta)
    assert (sub.theta.grad.double() - of_theta).norm() / of_theta.norm() < 1e-5
    assert (sub.scales.grad.double() - of_scales).norm() / of_scales.norm() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_p_is_the_same_for_fp32_and_bf16_models(family):
    sums = {
        Subspace(small().to(dtype), 30, family, seed=2).projection.checksum()
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert len(sums) == 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("structure", [None, "layer"])
def test_two_hundred_steps_agree_with_a_plain_reference(family, structure):
    ids = [
        torch.randint(0, 23, (2, 4), generator=torch.Generator().manual_seed(i)) for i in range(200)
    ]
    model = small(dropout=0.0)
    sub = Subspace(model, 60, family, structure, seed=3)
    optimizer = torch.optim.SGD(sub.parameters(), lr=0.05)
    for batch in ids:
        loss_of(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    reference = small(dropout=0.0)
    p = projections.make(family, sub.D, sub.theta.numel(), seed=3)
    theta = torch.zeros(p.d, requires_grad=True)
    scales = torch.ones(len(sub.layout.groups), requires_grad=True)
    origin = {n: w.detach() for n, w in reference.named_parameters()}
    optimizer = torch.optim.SGD([theta, scales] if structure else [theta], lr=0.05)
    for batch in ids:
        move = p(theta)
        weights = {
            s.name: origin[s.name]
            + scales[s.group] * move[s.start : s.stop].view_as(origin[s.name])
            for s in sub.layout.slices
        }
        loss_of(
            lambda x, w=weights: functional_call(reference, w, (x,), tie_weights=True), batch
        ).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert theta.norm() > 0.01
    torch.testing.assert_close(sub.theta.detach(), theta.detach(), rtol=1e-3, atol=1e-5)


def test_tied_weights_stay_tied_and_count_once():
    model = small(tied=True)
    D = sum(p.numel() for p in model.parameters())
    sub = Subspace(model, 10)
    assert (
        sub.D
        == D
        == sum(p.numel() for p in small(tied=False).parameters()) - model.words.weight.numel()
    )
    with torch.no_grad():
        sub.theta.normal_(generator=torch.Generator().manual_seed(0))
    loss_of(model).backward()
    assert model.out.weight is model.words.weight
    baked = sub.bake()
    assert baked.out.weight is baked.words.weight


def test_the_start_is_the_model_itself_and_undo_brings_it_back():
    model = small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ids_before = loss_of(model).item()
    sub = Subspace(model, 10, structure="layer")
    assert loss_of(model).item() == ids_before
    with torch.no_grad():
        sub.theta.fill_(1.0)
    assert loss_of(model).item() != ids_before
    model = sub.undo()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not model._forward_pre_hooks and all(p.requires_grad for p in model.parameters())


def test_only_theta_and_scales_are_parameters():
    model = small()
    sub = Subspace(model, 20, structure="layer")
    m = len(sub.layout.groups)
    assert sub.layout.groups == ("embeddings", "layers.0", "layers.1", "head") or m == 4
    assert [p.numel() for p in sub.parameters()] == [20 - m, m]
    assert set(sub.state_dict()) == {"theta", "scales"}
    assert type(model) is Small


@pytest.mark.parametrize("family", FAMILIES)
def test_unused_embedding_rows_are_right_whenever_they_are_looked_at(family):
    """state_dict, bake and later batches see every row of a table as theta makes it."""
    model, lookup = small(tied=False), torch.tensor([[1, 2]])
    sub = Subspace(model, 30, family, seed=2)
    origin = small(tied=False).words.weight.detach()
    with torch.no_grad():
        sub.theta.normal_(generator=torch.Generator().manual_seed(0))
    model(lookup)
    piece = sub.layout.slices[0]
    want = origin + (sub.projection(sub.theta.detach())[: piece.size]).view_as(origin)
    torch.testing.assert_close(model.words.weight[[1, 2]].detach(), want[[1, 2]])
    torch.testing.assert_close(model.state_dict()["words.weight"], want)
    with torch.no_grad():
        sub.theta.mul_(2)
    model(torch.tensor([[9]]))
    torch.testing.assert_close(sub.bake().words.weight.detach(), origin + 2 * (want - origin))


@pytest.mark.parametrize(
    "kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad]
)
@pytest.mark.parametrize("how", [{"fused": True}, {"foreach": True}, {}])
def test_weights_follow_theta_whatever_changed_it(kind, how):
    """torch's fused optimisers change a parameter without counting up its version."""
    model = small()
    sub = Subspace(model, 20, structure="layer")
    optimizer = kind(sub.parameters(), lr=0.1, **how)
    for _ in range(3):
        loss_of(model).backward()
        optimizer.step()
        optimizer.zero_grad()
        loss_of(model)
        p = sub.projection(sub.theta.detach())
        piece = next(s for s in sub.layout.slices if s.name == "out.bias")
        want = (
            small().out.bias.detach()
            + sub.scales.detach()[piece.group] * p[piece.start : piece.stop]
        )
        torch.testing.assert_close(model.out.bias.detach(), want)
    assert sub.theta.norm() > 0


@pytest.mark.parametrize("tied", [True, False])
def test_a_theta_that_is_loaded_is_followed_back_to_zero_too(tied):
    model = small(tied)
    sub = Subspace(model, 20)
    empty = {key: value.clone() for key, value in sub.state_dict().items()}
    with torch.no_grad():
        sub.theta.fill_(0.5)
    model(IDS)
    sub.load_state_dict(empty)
    assert torch.equal(model.eval()(IDS), small(tied).eval()(IDS))
    assert torch.equal(model.words.weight, small(tied).words.weight)


def test_gradients_accumulate_over_micro_batches():
    model = small(dropout=0.0)
    sub = Subspace(model, 25, structure="module")
    first, second = IDS[:1], IDS[1:]
    (loss_of(model, first) + loss_of(model, second)).backward()
    together = sub.theta.grad.clone(), sub.scales.grad.clone()
    sub.zero_grad()
    loss_of(model, first).backward()
    loss_of(model, second).backward()
    torch.testing.assert_close(sub.theta.grad, together[0])
    torch.testing.assert_close(sub.scales.grad, together[1])


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_thetas_gradient_carries_no_graph_though_the_weights_gradients_do(engine):
    grads = []
    for create_graph in (False, True):
        sub = Subspace(small(tied=False), 40, "orthonormal", "module", engine=engine)
        with torch.no_grad():
            sub.theta.copy_(torch.linspace(-1, 1, len(sub.theta)))
        loss_of(sub).backward(create_graph=create_graph)
        assert not any(p.grad.requires_grad for p in sub.parameters())
        grads.append(torch.cat([p.grad for p in sub.parameters()]))
    assert torch.equal(*grads)


def test_a_bf16_model_is_formed_in_fp32():
    model = small().to(torch.bfloat16)
    origin = model.out.bias.detach().float().clone()
    sub = Subspace(model, 10, seed=1)
    with torch.no_grad():
        sub.theta.fill_(0.37)
    sub.sync()
    piece = next(s for s in sub.layout.slices if s.name == "out.bias")
    move = sub.projection(sub.theta.detach())[piece.start : piece.stop]
    assert torch.equal(model.out.bias.detach(), (origin + move).to(torch.bfloat16))


def test_include_leaves_the_rest_frozen_and_out_of_D():
    model = small(tied=False)
    sub = Subspace(model, 10, include=lambda name: name.startswith("layers."))
    assert sum(p.numel() for p in model.layers.parameters()) == sub.D
    before = model.words.weight.detach().clone()
    loss_of(model).backward()
    with torch.no_grad():
        sub.theta.fill_(1.0)
    sub.sync()
    assert torch.equal(before, model.words.weight) and not model.words.weight.requires_grad


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"d": 0}, "d: expected a whole number of at least 1; got 0"),
        ({"d": 10**9}, "d: expected at most D ="),
        ({"d": 4, "structure": "layer"}, "d: expected more than the 4 structure-aware scales"),
        ({"d": 5, "projection": "nosuch"}, "expected one of dense, sparse"),
        ({"d": 5, "structure": "nosuch"}, "structure: expected one of layer, module, tensor"),
        ({"d": 5, "scope": "nosuch"}, "scope: expected one of global, tensor"),
    ],
)
def test_bad_arguments_are_refused_and_the_model_is_left_alone(arguments, said):
    model = small()
    with pytest.raises(IdimError, match=said):
        Subspace(model, **arguments)
    assert not model._forward_pre_hooks and all(p.requires_grad for p in model.parameters())
    Subspace(model, 5)


def test_models_that_cannot_be_wrapped():
    with pytest.raises(IdimError, match="at least one parameter"):
        Subspace(nn.ReLU(), 1)
    with pytest.raises(IdimError, match="meta device"):
        Subspace(nn.Linear(3, 3, device="meta"), 1)
    quantised = nn.Module()
    quantised.weight = nn.Parameter(torch.zeros(4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(IdimError, match="floating-point"):
        Subspace(quantised, 1)
    model = small()
    Subspace(model, 5)
    with pytest.raises(IdimError, match="no subspace moves yet"):
        Subspace(model, 5)


def test_two_parameters_in_one_memory_are_refused():
    """They would be moved apart. As one parameter under two names they are tied."""
    model = small(tied=False)
    model.out.weight = nn.Parameter(model.words.weight)
    with pytest.raises(IdimError, match=r"words\.weight and out\.weight, which are two"):
        Subspace(model, 5)
    model.out.weight = model.words.weight
    assert sum(p.numel() for p in small().parameters()) == Subspace(model, 5).D


def test_a_lazy_model_is_to_be_called_first():
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(IdimError, match="weights that have a shape; call a lazy model once; got"):
        Subspace(model, 5)
    model(torch.ones(1, 3))
    assert Subspace(model, 5).D == 16


@pytest.mark.parametrize("module", ["idim.subspace.facade", "idim.subspace.adapter.config"])
def test_examples_run(module):
    found = importlib.import_module(module)
    tried = doctest.testmod(found, extraglobs={"torch": torch})
    assert tried.attempted and not tried.failed


class Looks(nn.Module):
    """Looks words up, and may also read the table itself, as DeBERTa does."""

    def __init__(self, directly: bool):
        super().__init__()
        self.directly = directly
        self.words, self.out = nn.Embedding(600, 4, padding_idx=0), nn.Linear(4, 3)

    def forward(self, ids):
        x = self.words(ids).mean(1)
        return self.out(x + self.words.weight.square().mean(0) if self.directly else x)


def looks(directly: bool) -> Looks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Looks(directly)


@pytest.mark.parametrize("start", [0.0, 0.3])
@pytest.mark.parametrize("directly", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_tables_train_as_if_they_were_formed_whole(family, directly, start):
    """Rows met first, met again and never met; a table that is read elsewhere too.

    Also with a theta that does not start at zero.
    """
    batches = [
        torch.tensor([[1, 2, 2], [0, 599, 1]]),
        torch.tensor([[2, 7, 0], [300, 7, 7]]),
        torch.tensor([[1, 300, 5], [5, 5, 5]]),
    ]
    model, reference = looks(directly), looks(directly)
    sub = Subspace(model, 20, family, "module", seed=1)
    p = projections.make(family, sub.D, 18, seed=1)
    theta, scales = torch.full((18,), start, requires_grad=True), torch.ones(2, requires_grad=True)
    with torch.no_grad():
        sub.theta.fill_(start)
    origin = {n: w.detach() for n, w in reference.named_parameters()}
    for ids in [*batches, *batches]:
        model(ids).square().sum().backward()
        move = p(theta)
        weights = {
            s.name: origin[s.name]
            + scales[s.group] * move[s.start : s.stop].view_as(origin[s.name])
            for s in sub.layout.slices
        }
        functional_call(reference, weights, (ids,)).square().sum().backward()
        torch.testing.assert_close(sub.theta.grad, theta.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(sub.scales.grad, scales.grad, rtol=1e-4, atol=1e-6)
        with torch.no_grad():
            for t in (sub.theta, sub.scales, theta, scales):
                t -= 0.2 * t.grad
                t.grad = None
    assert model.words.sparse == (sub.projection.row_wise and not directly)
    assert (
        torch.equal(sub.undo().words.weight, looks(directly).words.weight)
        and not model.words.sparse
    )


def test_a_released_subspace_is_freed():
    import gc
    import weakref

    model = small()
    sub = Subspace(model, 5)
    loss_of(model).backward()
    gone = weakref.ref(sub.release())
    del model, sub
    gc.collect()
    assert gone() is None


class Counts(nn.Module):
    """Buffers of every kind that training moves.

    In place, by another tensor, from nothing, in another shape, not in the state_dict, of whole
    numbers.
    """

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("total", torch.zeros(4))
        self.register_buffer("last", torch.ones(2, 4))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("cache", None)
        self.register_buffer("hidden", torch.zeros(3), persistent=False)
        self.register_buffer("still", torch.arange(5.0))

    def forward(self, x):
        if self.training:
            self.total += x.detach().mean(0)
            self.last = x.detach().clone()
            self.seen += 1
            self.cache = x.detach().sum(0)
            self.hidden.add_(1)
        return self.layer(x) + self.total + self.last.mean(0) + self.hidden.sum()


WITH_BUFFERS = {
    "BatchNorm": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
    "BatchNorm without affine": lambda: nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False)
    ),
    "InstanceNorm": lambda: nn.Sequential(
        nn.Linear(4, 4),
        nn.Unflatten(1, (2, 2)),
        nn.InstanceNorm1d(2, track_running_stats=True),
        nn.Flatten(),
    ),
    "spectral_norm": lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 4))),
    "the model itself": Counts,
    "inside": lambda: nn.Sequential(nn.Linear(4, 4), Counts()),
    "shared": lambda: (lambda norm: nn.Sequential(nn.Linear(4, 4), norm, nn.Linear(4, 4), norm))(
        nn.BatchNorm1d(4)
    ),
}


def with_buffers(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WITH_BUFFERS[name]()


def run(sub: Subspace, seed: int = 0) -> None:
    draw = torch.Generator().manual_seed(seed)
    sub.model.train()
    for _ in range(4):
        sub.model(torch.randn(8, 4, generator=draw) + 2).square().mean().backward()
        with torch.no_grad():
            sub.theta -= 0.1 * sub.theta.grad
        sub.theta.grad = None
    sub.model.eval()


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in model.named_buffers()}


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("name", WITH_BUFFERS)
def test_undo_restores_what_training_moves_beside_the_weights(name, lean):
    x, model, start = torch.ones(3, 4), with_buffers(name).eval(), with_buffers(name).eval()
    outs = []
    for _ in range(2):  # and one run leaves nothing to the next
        sub = Subspace(model, 6, lean=lean)
        run(sub)
        outs.append(model(x).detach())
        now, before = buffers(sub.undo()), buffers(start)
        assert now.keys() == before.keys() and all(
            torch.equal(now[key], before[key]) for key in before
        )
    assert torch.equal(*outs) and not torch.allclose(outs[0], start(x))
    assert torch.allclose(model(x), start(x))


@pytest.mark.parametrize("name", WITH_BUFFERS)
def test_a_state_dict_brings_along_what_training_moved(name):
    x, first = torch.ones(3, 4), Subspace(with_buffers(name), 6, structure="layer")
    assert set(first.state_dict()) == {"theta", "scales"}, (
        "what stays where it was is the model's own"
    )
    empty = {key: value.clone() for key, value in first.state_dict().items()}
    run(first)
    second = Subspace(with_buffers(name), 6, structure="layer")
    run(second, seed=1)  # which moved its own
    kept = first.state_dict()
    assert not any("hidden" in key or "still" in key for key in kept)
    assert second.load_state_dict(kept) == ([], [])
    own, other = (s.model.eval().state_dict() for s in (first, second))
    assert all(
        torch.allclose(other[key], own[key], atol=1e-6)
        for key in own
        if "cache" not in key and other[key].shape == own[key].shape
    )
    if "Counts" not in str(first.model):
        assert torch.equal(second.model(x), first.model(x))
    second.load_state_dict(empty)
    assert all(
        torch.equal(value, with_buffers(name).state_dict()[key])
        for key, value in second.model.state_dict().items()
        if "cache" not in key
    )


FROZEN = {
    "a layer": lambda m: m.layers[0].requires_grad_(False),
    "a bias": lambda m: m.out.bias.requires_grad_(False),
    "a tied table": lambda m: m.words.weight.requires_grad_(False),
    "all but the last": lambda m: (m.requires_grad_(False), m.layers[1].requires_grad_(True)),
}


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize(
    "chosen", [None, lambda name: name.startswith(("layers.", "words.", "out."))]
)
@pytest.mark.parametrize("frozen", FROZEN)
def test_what_its_owner_froze_stays_and_is_not_part_of_D(frozen, chosen, lean):
    model = small()
    FROZEN[frozen](model)
    required = {name: p.requires_grad for name, p in model.named_parameters()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sub = Subspace(model, 20, include=chosen, lean=lean)
    moved = {name for name, r in required.items() if r and (chosen is None or chosen(name))}
    assert set(sub._weights.names) == moved and sum(before[name].numel() for name in moved) == sub.D
    asked = {
        name
        for name, _ in model.named_parameters(remove_duplicate=False)
        if chosen is None or chosen(name)
    }
    assert set(sub.frozen) == {
        name
        for name in asked
        if not dict(model.named_parameters(remove_duplicate=False))[name].requires_grad
    }
    assert sub.frozen_size == sum(
        p.numel() for name, p in model.named_parameters() if not required[name] and name in asked
    )
    for _ in range(2):
        loss_of(model).backward()
        with torch.no_grad():
            sub.theta -= sub.theta.grad
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], before[name]) for name in before if name not in moved)
    assert any(not torch.equal(now[name], before[name]) for name in moved)
    assert {name: p.requires_grad for name, p in sub.undo().named_parameters()} == required


def test_a_model_of_which_all_is_frozen_is_refused():
    model = small().requires_grad_(False)
    with pytest.raises(
        IdimError,
        match="model: expected at least one weight with requires_grad=True; "
        "got 'Small, of which all",
    ):
        Subspace(model, 5)
    model.out.bias.requires_grad_(True)
    with pytest.raises(
        IdimError,
        match="d: expected at most D = 23, the number of weights that may be trained; "
        r".* tensors are frozen; got 24",
    ):
        Subspace(model, 24)


class Stateful(nn.Module):
    """A table with padding, one that is also read whole, a block, a norm that counts, a head."""

    def __init__(self, tied: bool):
        super().__init__()
        self.words, self.places = nn.Embedding(40, 6, padding_idx=0), nn.Embedding(5, 6)
        self.layers = nn.ModuleList([nn.Linear(6, 6)])
        self.norm, self.out = nn.BatchNorm1d(6), nn.Linear(6, 40)
        if tied:
            self.out.weight = self.words.weight

    def forward(self, ids):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1])) + self.places.weight.mean(0)
        return self.out(self.norm(self.layers[0](x).flatten(0, 1)))


def stateful(tied: bool = False, seed: int = 0) -> Stateful:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Stateful(tied)


def step(sub: Subspace, ids: torch.Tensor = IDS) -> None:
    nn.functional.cross_entropy(sub.model.train()(ids % 40), ids.flatten()).backward()
    with torch.no_grad():
        for p in sub.parameters():
            p -= p.grad.clamp(-0.1, 0.1)
            p.grad = None


def states(sub: Subspace) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The model's and the subspace's, as a file has them."""
    first, second = (
        {key: x.clone() for key, x in module.state_dict().items()} for module in (sub.model, sub)
    )
    return first, second


def all_that_is_seen(sub: Subspace) -> dict[str, torch.Tensor]:
    """Of a trained subspace: outputs, at theta_0 too, states, a further step, and the end."""
    sub.model.eval()
    seen = {"out": sub.model(IDS).detach()} | states(sub)[0]
    sub.enabled = False
    seen["theta_0"] = sub.model(IDS).detach()
    sub.enabled = True
    seen["out again"] = sub.model(IDS).detach()
    step(sub)
    seen["theta, a step on"] = sub.theta.detach().clone()
    model = sub.bake().eval()
    return seen | {"baked": model(IDS).detach(), "table": model.words.weight.detach().clone()}


#: What was done to a fresh subspace before it loads.
BEFORE_LOADING = {
    "nothing": lambda sub: None,
    "a forward pass": lambda sub: sub.model.eval()(IDS),
    "a backward pass": lambda sub: sub.model(IDS).sum().backward(),
    "steps": lambda sub: [step(sub, IDS + 3) for _ in range(2)],
    "a look at the table": lambda sub: sub.model.words.weight.norm(),
}


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("structure", "scope"), [(None, "global"), ("layer", "global"), ("tensor", "tensor")]
)
@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loaded_states_make_the_subspace_that_was_saved(
    family, engine, structure, scope, tied, lean
):
    """Whichever of the two comes first, and whatever the one that loads did before."""
    if lean and projections.KINDS[family].staged:
        pytest.skip("not lean")

    def made(engine: str = engine) -> Subspace:
        return Subspace(
            stateful(tied), 40, family, structure, scope, seed=3, engine=engine, lean=lean
        )

    def trained() -> Subspace:
        sub = made()
        for _ in range(3):
            step(sub)
        return sub

    of_model, of_sub = states(trained())
    right = all_that_is_seen(trained())
    assert (right["out"] - right["theta_0"]).abs().max() > 0.01
    fresh = [(before, made()) for before in BEFORE_LOADING.values()]
    for before, sub in [*fresh, (step, trained()), (BEFORE_LOADING["steps"], made("plain"))]:
        for order in (1, -1):
            before(sub)
            sub.zero_grad()
            for module, state in [(sub.model, of_model), (sub, of_sub)][::order]:
                module.load_state_dict(state)
            if order == 1:
                assert torch.allclose(sub.model.eval()(IDS), right["out"], rtol=1e-4, atol=1e-5)
        for key, x in all_that_is_seen(sub).items():
            torch.testing.assert_close(x, right[key], rtol=1e-4, atol=1e-5, msg=key)


UNLOADABLE = {
    "another base": lambda sub, of_model, of_sub: (
        sub.model.load_state_dict(stateful(seed=1).state_dict()),
        sub.load_state_dict(of_sub),
    ),
    "the model's state alone": lambda sub, of_model, of_sub: sub.model.load_state_dict(of_model),
    "a part of it": lambda sub, of_model, of_sub: sub.model.words.load_state_dict(
        {"weight": of_model["words.weight"]}
    ),
    "another theta": lambda sub, of_model, of_sub: (
        sub.load_state_dict({key: 2 * x for key, x in of_sub.items()}),
        sub.model.load_state_dict(of_model),
    ),
}


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("way", UNLOADABLE)
def test_a_state_that_theta_does_not_make_of_this_base_is_refused(way, lean):
    """Until what came is put right, whoever uses the weights is told."""
    saved = Subspace(stateful(), 40, lean=lean)
    for _ in range(3):
        step(saved)
    of_model, of_sub = states(saved)
    sub = Subspace(stateful(), 40, lean=lean)
    UNLOADABLE[way](sub, of_model, of_sub)
    for use in (sub.model.eval(), lambda _: sub.model.state_dict(), lambda _: sub.bake()) * 2:
        with pytest.raises(
            IdimError, match=r"load_state_dict: expected words\.weight as theta makes it of this"
        ):
            use(IDS)
    sub.load_state_dict(of_sub)
    sub.model.load_state_dict(of_model)
    torch.testing.assert_close(sub.model(IDS), saved.model.eval()(IDS))
    UNLOADABLE[way](sub, of_model, of_sub)
    assert torch.equal(sub.undo().words.weight, stateful().words.weight)


def test_a_state_is_not_assigned():
    sub = Subspace(stateful(), 40)
    with pytest.raises(IdimError, match="load_state_dict: expected numbers to copy into the"):
        nn.ModuleList([sub.model]).load_state_dict(
            {f"0.{key}": x for key, x in stateful(seed=1).state_dict().items()}, assign=True
        )
    assert sub.undo().load_state_dict(stateful(seed=1).state_dict(), assign=True)


@pytest.mark.parametrize("lean", [False, True])
def test_a_copy_that_fails_changes_nothing(lean):
    sub = Subspace(stateful(), 40, lean=lean)
    for weight in (sub.model.words.weight, sub.model.layers[0].weight):
        with pytest.raises(RuntimeError):
            weight.copy_(torch.zeros(7))
    torch.testing.assert_close(sub.model.eval()(IDS), stateful().eval()(IDS))


def test_a_rounded_state_of_the_same_base_is_taken():
    saved = Subspace(stateful(), 40)
    step(saved)
    of_model, of_sub = states(saved)
    sub = Subspace(stateful(), 40)
    sub.model.load_state_dict(
        {k: x.bfloat16() for k, x in of_model.items() if "norm" not in k}
        | {k: x for k, x in of_model.items() if "norm" in k}
    )
    sub.load_state_dict(of_sub)
    torch.testing.assert_close(sub.model.eval()(IDS), saved.model.eval()(IDS))


@pytest.mark.parametrize(
    "write",
    [
        lambda sub: sub.model.words.weight.data.zero_(),
        lambda sub: nn.init.ones_(sub.model.words.weight),
        lambda sub: sub.model.state_dict()["words.weight"].zero_(),
    ],
)
def test_what_others_write_to_a_table_is_never_theta_0(write):
    sub = Subspace(stateful(), 40)
    write(sub)
    step(sub)
    step(sub)
    assert torch.equal(sub.undo().words.weight, stateful().words.weight)


def test_theta_0_that_was_given_out_stays_theta_0():
    sub = Subspace(stateful(), 40)
    sub.fresh = ("words.weight",)
    given = [sub.state_dict()["fresh_words__weight"], dict(sub.origins())["words.weight"]]
    for _ in range(3):
        step(sub)
    assert all(torch.equal(x, stateful().words.weight) for x in given)

"""A wrapped model stays what it was to those who train it.

Memory formats, checkpointing, compiling, generating, several processes.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.utils.checkpoint import checkpoint

from idim.errors import IdimError
from idim.subspace import Subspace, releases
from idim.subspace.by_hand import by_our_hand
from idim.subspace.lean import Block
from idim.subspace.mapped import in_file, leave_to_file


class Blocks(nn.Module):
    """A table, blocks, one of them called twice, and a head.

    The blocks' attention reads its output matrix itself.
    """

    def __init__(self, width: int = 16, tied: bool = False, reentrant: bool | None = None):
        super().__init__()
        self.reentrant = reentrant
        self.words = nn.Embedding(300, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 32, dropout=0.1, batch_first=True)
            for _ in range(2)
        )
        self.out = nn.Linear(width, 300 if tied else 3)
        if tied:
            self.out.weight = self.words.weight

    def forward(self, ids):
        x = self.words(ids)
        for layer in [*self.layers, self.layers[0]]:
            x = (
                layer(x)
                if self.reentrant is None
                else checkpoint(layer, x, use_reentrant=self.reentrant)
            )
        return self.out(x).mean(1)


IDS = torch.randint(300, (6, 4, 5), generator=torch.Generator().manual_seed(0))


def made(cls=Blocks, **kwargs) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return cls(**kwargs)


def trained(sub: Subspace, steps: int = 5, call=None) -> torch.Tensor:
    """theta after some steps, dropout and all."""
    call = call or sub.model
    optimizer = torch.optim.Adam(sub.parameters(), lr=0.05)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for ids in IDS[:steps]:
            nn.functional.cross_entropy(call(ids), ids[:, 0] % 3).backward()
            optimizer.step()
            optimizer.zero_grad()
    return sub.theta.detach().clone()


@pytest.mark.parametrize("structure", [None, "layer"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["orthonormal", "fastfood", "onehot"])
def test_lean_trains_to_the_same_theta(family, tied, structure):
    whole, lean = (Subspace(made(tied=tied), 40, family, structure, lean=x) for x in (False, True))
    torch.testing.assert_close(trained(whole), trained(lean), rtol=1e-4, atol=1e-5)
    block = lean.model.layers[0].linear1.weight
    with by_our_hand():
        assert block.isnan().all() and block.untyped_storage().nbytes() == 4, (
            "between its calls a block has no weights"
        )
    torch.testing.assert_close(
        block, whole.model.layers[0].linear1.weight, rtol=1e-4, atol=1e-5
    )  # and yet reads right
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(lean.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        trained(whole), trained(lean), rtol=1e-3, atol=1e-4
    )  # it goes on after its weights were looked at
    start = made(tied=tied).state_dict()
    assert all(torch.equal(value, start[name]) for name, value in lean.undo().state_dict().items())


def test_lean_keeps_no_weights_between_the_passes(monkeypatch):
    """Of every matrix of a block, autograd has the name; of no other tensor."""
    named, unpack = set(), Block._unpack

    def noted(self, kept):
        if not isinstance(kept, torch.Tensor):
            named.add(kept.i)
        return unpack(self, kept)

    monkeypatch.setattr(Block, "_unpack", noted)
    sub = Subspace(made(), 40, lean=True)
    loss = sub.model(IDS[0]).sum()
    pending, seen = [loss.grad_fn], set()
    while pending:
        if (node := pending.pop()) is not None and node not in seen:
            seen.add(node)
            for name in dir(node):
                if name.startswith("_saved_"):
                    getattr(node, name)
            pending += [n for n, _ in node.next_functions]
    names = [s.name for s in sub.layout.slices]
    assert named >= {
        i
        for i, name in enumerate(names)
        if name.startswith("layers.") and sub._weights.origins.tensors[i].dim() == 2
    }


def test_lean_takes_blocks_of_several_dtypes():
    """A norm in single precision amid bf16, as large models have."""
    thetas = []
    for lean in (False, True):
        model = made()
        for layer in model.layers:
            layer.linear1.to(torch.bfloat16)
            layer.linear1.register_forward_pre_hook(lambda _, args: args[0].bfloat16())
            layer.linear1.register_forward_hook(lambda _, args, out: out.float())
        thetas.append(trained(Subspace(model, 40, lean=lean)))
    torch.testing.assert_close(*thetas, rtol=1e-4, atol=1e-5)


def test_lean_keeps_no_row_of_an_embedding_beyond_a_step():
    sub = Subspace(made(), 40, lean=True)
    trained(sub, 3)
    looked_up = {1: IDS[1].unique(), 2: IDS[2].unique()}
    gone = torch.tensor(sorted(set(looked_up[1].tolist()) - set(looked_up[2].tolist())))
    table = sub._weights.tables[0]
    assert (
        table.proven
        and len(gone)
        and not table.fresh[gone].any()
        and table.fresh[looked_up[2]].all()
    )


def test_lean_lets_blocks_go_whose_weights_are_not_all_used():
    model = made()
    model.layers[0].spare, model.layers[1].spare = nn.Linear(3, 3), nn.Linear(3, 3)
    sub = Subspace(model, 40, lean=True)
    trained(sub, 1)
    assert all(block._room is None for block in sub._weights.blocks)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("family", ["orthonormal", "onehot"])
def test_a_look_in_inference_mode_changes_nothing(family, lean):
    thetas = []
    for look in (False, True):
        sub = Subspace(made(), 40, projection=family, structure="layer", lean=lean)
        if look:
            sub.eval()
            with torch.inference_mode():
                sub.model(IDS[5])
            sub.train()
        thetas.append(trained(sub))
    assert torch.equal(*thetas)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("quiet", [False, True])
def test_a_forgotten_model_is_freed(lean, quiet):
    sub = Subspace(made(), 40, lean=lean, quiet=quiet)
    trained(sub, 2)
    model = weakref.ref(sub.model)
    del sub
    gc.collect()
    assert model() is None


def from_file(path, n: int = 1 << 16) -> torch.Tensor:
    torch.arange(n, dtype=torch.float32).numpy().tofile(path)
    return torch.from_file(str(path), shared=False, size=n)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="told by /proc")
def test_what_lies_in_a_file_is_told_from_what_was_changed(tmp_path):
    x = from_file(tmp_path / "weights")
    assert (
        in_file(x)
        and in_file(x[5:70].view(5, 13))
        and not in_file(x.clone())
        and not in_file(x[::2])
    )
    leave_to_file(x[3:])
    assert torch.equal(x, torch.arange(len(x), dtype=torch.float32))
    x[5] = -1
    assert not in_file(x) and in_file(x[6:])
    shared = torch.from_file(str(tmp_path / "weights"), shared=True, size=len(x))
    assert not in_file(shared)  # writing to it is writing to the file


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="told by /proc")
def test_lean_leaves_a_mapped_start_to_its_file(tmp_path):
    """The same training as from memory of its own.

    And weights that were changed since they were mapped are not lost.
    """
    thetas = []
    for from_file in (False, True):
        model, start = made(), made()
        if from_file:
            whole = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
            whole.numpy().tofile(tmp_path / "weights")
            parts = torch.from_file(str(tmp_path / "weights"), shared=False, size=len(whole)).split(
                [p.numel() for p in model.parameters()]
            )
            for p, part in zip(model.parameters(), parts, strict=True):
                p.data = part.view(p.shape)
        with torch.no_grad():
            model.out.weight[0] += 1
            start.out.weight[0] += 1
        sub = Subspace(model, 40, lean=True)
        assert {sub._weights.names[i] for i in sub._weights.origins.filed} == (
            {name for name, _ in model.named_parameters()} - {"out.weight"} if from_file else set()
        )
        thetas.append(trained(sub))
        assert all(
            torch.equal(now, before)
            for now, before in zip(sub.undo().parameters(), start.parameters(), strict=True)
        )
        with torch.no_grad():
            model.words.weight.fill_(5.0)
        sub.moves()
        assert model.words.weight.eq(5.0).all()
    assert torch.equal(*thetas)


def test_lean_asks_for_gradients_folded_as_they_come():
    model = made()
    with pytest.raises(
        IdimError,
        match="lean: expected a projection that takes gradients in as they come, "
        "as orthonormal does; got 'sparse'",
    ):
        Subspace(model, 10, "sparse", lean=True)
    assert all(p.requires_grad for p in model.parameters()) and not model._forward_pre_hooks


def test_lean_names_the_torch_that_it_needs(monkeypatch):
    monkeypatch.setattr(releases, "_TOP_HOOKS", None)
    model = made()
    with pytest.raises(IdimError, match=r"lean: expected torch 2\.8 or later; got"):
        Subspace(model, 10, lean=True)
    assert all(p.requires_grad for p in model.parameters()) and not model._forward_pre_hooks
    Subspace(model, 10)


@pytest.mark.parametrize("release", [(2, 6), (2, 7), (2, 13)])
def test_versions_are_set_as_each_torch_sets_them(monkeypatch, release):
    asked = []

    def one(tensor, version):
        asked.append((tensor, version))

    def several(tensors, versions):
        asked.extend(zip(tensors, versions, strict=True))

    call = one if release < (2, 7) else several
    monkeypatch.setattr(releases, "_RELEASE", release)
    monkeypatch.setattr(releases, "_AUTOGRAD", SimpleNamespace(_unsafe_set_version_counter=call))
    tensors = [torch.zeros(2), torch.zeros(3)]
    releases.set_versions(tensors, 9)
    assert [(id(t), v) for t, v in asked] == [(id(t), 9) for t in tensors]


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 3),
        )

    def forward(self, ids):
        x = ids[:, :3, None, None].float().expand(-1, -1, 8, 8) / 300
        return self.net(x)


@pytest.mark.parametrize("lean", [True, False])
def test_channels_last_stays_and_trains_alike(lean):
    plain, last = made(Image), made(Image).to(memory_format=torch.channels_last)
    a, b = Subspace(plain, 30), Subspace(last, 30, lean=lean)
    torch.testing.assert_close(trained(a), trained(b), rtol=1e-4, atol=1e-5)
    a.sync()
    b.sync()
    torch.testing.assert_close(plain.net[2].weight, last.net[2].weight, rtol=1e-4, atol=1e-5)
    assert lean or last.net[2].weight.is_contiguous(memory_format=torch.channels_last)


def bert(**kwargs):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=300,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
        **kwargs,
    )
    return BertForSequenceClassification(config)


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_nothing(lean, reentrant):
    plain, checked = (made(bert).train() for _ in range(2))
    checked.gradient_checkpointing_enable({"use_reentrant": reentrant})
    if reentrant:
        checked.enable_input_require_grads()
    a, b = (
        Subspace(plain, 40, structure="layer"),
        Subspace(checked, 40, structure="layer", lean=lean),
    )
    torch.testing.assert_close(
        trained(b, call=lambda x: b.model(x).logits), trained(a, call=lambda x: a.model(x).logits)
    )


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_shared_block_may_be_checkpointed(lean, reentrant):
    """Reentrant checkpointing gives a weight that two calls share two gradients a pass."""
    a = Subspace(made(tied=True), 40, structure="layer")
    b = Subspace(made(tied=True, reentrant=reentrant), 40, structure="layer", lean=lean)
    torch.testing.assert_close(trained(b), trained(a), rtol=1e-4, atol=1e-5)


def test_a_compiled_model_trains_alike():
    plain, compiled = (
        made(bert, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0) for _ in range(2)
    )
    a, b = Subspace(plain, 40), Subspace(compiled, 40)
    call = torch.compile(compiled, backend="aot_eager")
    torch.testing.assert_close(
        trained(b, call=lambda x: call(x).logits),
        trained(a, call=lambda x: a.model(x).logits),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("lean", [True, False])
def test_a_wrapped_decoder_generates(lean):
    from transformers import GPT2Config, GPT2LMHeadModel

    def decoder():
        config = GPT2Config(
            vocab_size=300,
            n_positions=32,
            n_embd=16,
            n_layer=2,
            n_head=2,
            eos_token_id=299,
            pad_token_id=299,
        )
        return GPT2LMHeadModel(config).eval()

    plain, wrapped = made(decoder), made(decoder)
    sub = Subspace(wrapped, 20, lean=lean)
    written = [m.generate(IDS[0], max_new_tokens=5, do_sample=False) for m in (plain, wrapped)]
    assert torch.equal(*written) and wrapped.config is sub.model.config
    with torch.no_grad():
        sub.theta.fill_(3.0)
    moved = wrapped.generate(IDS[0], max_new_tokens=5, do_sample=False)
    assert torch.equal(sub.bake().generate(IDS[0], max_new_tokens=5, do_sample=False), moved)


def test_bf16_says_how_much_it_rounds_away():
    sub = Subspace(made(), 40)
    assert sub.rounded_away(torch.bfloat16) == 0
    with torch.no_grad():
        sub.theta.fill_(1e-3)
    small = sub.rounded_away(torch.bfloat16)
    with torch.no_grad():
        sub.theta.fill_(10.0)
    assert (
        small > 0.8
        and sub.rounded_away(torch.bfloat16) < 0.1
        and sub.rounded_away(torch.float32) == 0
    )


def _rank(rank: int, port: int, where: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    sent = []
    inner = distributed.all_reduce
    distributed.all_reduce = lambda x, **kwargs: (sent.append(x.numel()), inner(x, **kwargs))[1]
    model = made().eval()
    sub = Subspace(model, 40, structure="layer", group=distributed.group.WORLD)
    optimizer = torch.optim.Adam(sub.parameters(), lr=0.05)
    for ids in IDS:
        mine = ids[2 * rank : 2 * rank + 2]
        with sub.no_sync():
            (nn.functional.cross_entropy(model(mine[:1]), mine[:1, 0] % 3) / 2).backward()
        (nn.functional.cross_entropy(model(mine[1:]), mine[1:, 0] % 3) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.save((sub.theta.detach(), sub.scales.detach(), sent), f"{where}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_reach_the_theta_of_one(tmp_path):
    """Each has half of every batch, in two micro-batches. They send d numbers a step, not D."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_rank, (port, str(tmp_path)), nprocs=2)
    (theta, scales, sent), (other, _, _) = (torch.load(tmp_path / f"{r}.pt") for r in (0, 1))
    model = made().eval()
    sub = Subspace(model, 40, structure="layer")
    optimizer = torch.optim.Adam(sub.parameters(), lr=0.05)
    for ids in IDS:
        nn.functional.cross_entropy(model(ids), ids[:, 0] % 3).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(theta, other) and sent == [40] * len(IDS)
    torch.testing.assert_close(theta, sub.theta.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(scales, sub.scales.detach(), rtol=1e-3, atol=1e-4)

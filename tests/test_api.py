"""idim.measure: a model and data in memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from transformers import BertConfig, BertForSequenceClassification

import idim
from idim.errors import IdimError

FAST = {"arm": "did", "learning_rate": 0.01, "max_steps": 60, "baselines": 2, "tune": False, "checks": False}


def blobs(n: int, seed: int) -> TensorDataset:
    """Three classes about corners of a cube in 10 dimensions."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (n,), generator=draw)
    return TensorDataset(F.one_hot(y, 10) * 2.0 + torch.randn(n, 10, generator=draw), y)


def net(seed: int) -> nn.Module:
    torch.manual_seed(seed % 2**31)
    return nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 3))


TRAIN, TEST = blobs(600, 0), blobs(300, 1)


def test_a_module_and_two_data_sets_give_a_summary_and_a_store(tmp_path):
    lines = []
    summary = idim.measure(net(0), TRAIN, TEST, out=str(tmp_path), say=lines.append, **FAST)
    assert summary["verdict"] == "reached" and (summary["d90"]["low"] or 1) < summary["d90"]["high"]
    assert summary["D"] == 283 and summary["metric"] == "accuracy" and 0.3 < summary["chance"] < 0.5
    assert any("baseline full" in line for line in lines)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    assert idim.measure(net(0), TRAIN, TEST, out=str(tmp_path), **FAST) == summary
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()} == kept


def test_another_start_or_other_data_under_the_same_names_are_other_runs(tmp_path):
    first = idim.measure(net(0), TRAIN, TEST, out=str(tmp_path), **FAST)
    runs = len(list((tmp_path / "runs").iterdir()))
    idim.measure(net(1), TRAIN, TEST, out=str(tmp_path), **FAST)
    more = len(list((tmp_path / "runs").iterdir()))
    idim.measure(net(0), blobs(500, 2), TEST, out=str(tmp_path), **FAST)
    assert runs < more < len(list((tmp_path / "runs").iterdir()))
    assert idim.measure(net(0), TRAIN, TEST, out=str(tmp_path), **FAST) == first


def test_the_model_that_was_given_is_not_touched(tmp_path):
    model = net(0)
    before = [p.clone() for p in model.parameters()]
    idim.measure(model, TRAIN, TEST, out=str(tmp_path), **FAST)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True)) and all(p.requires_grad for p in model.parameters())


def test_a_loss_and_a_metric_of_ones_own(tmp_path):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(500, 10, generator=draw)
    data = TensorDataset(x, x[:, :1] - x[:, 1:2])

    def nearness(out: torch.Tensor, y: torch.Tensor) -> float:
        return -float(F.mse_loss(out, y))

    summary = idim.measure(
        lambda seed: nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 1)), data, data, nearness, loss=lambda m, b: F.mse_loss(m(b[0]), b[1]),
        out=str(tmp_path), **FAST)
    # A loss has no majority class: the untouched model is where it starts, and the threshold lies nine tenths of the way.
    assert summary["metric"] == "nearness" and summary["chance"] < summary["tau"] < summary["full"]["mean"] < 0
    assert summary["tau"] == pytest.approx(summary["chance"] + 0.9 * (summary["full"]["mean"] - summary["chance"]))


def test_mappings_and_a_transformer(tmp_path):
    config = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=16)
    rows = [{"input_ids": torch.tensor([3 + i % 2, 5, 6]), "labels": i % 2} for i in range(200)]
    summary = idim.measure(
        BertForSequenceClassification(config), rows, rows, out=str(tmp_path), **FAST | {"arm": "said", "max_steps": 30})
    assert summary["m"] == 3 and summary["full"]["mean"] == 1.0


@pytest.mark.parametrize(("change", "says"), [
    ({"metric": "nosuch"}, "metric: expected one of accuracy, matthews"), ({"train": []}, "train: expected at least one example"),
    ({"train": iter(TRAIN)}, "train: expected a data set with a length"), ({"name": "minilm"}, "name: expected one that idim does not use itself"),
    ({"task": "digits"}, "task: expected one that idim does not use itself"), ({"workers": 2}, "workers: expected 1"), ({"arm": "nosuch"}, "--arm: expected one of"),
    ({"model": nn.Linear(3, 3)}, "--model: expected one that takes the inputs of task"),
])
def test_mistakes(tmp_path, change, says):
    given = {"model": net(0), "train": TRAIN, "evaluation": TEST, "out": str(tmp_path / "out")} | FAST | change
    with pytest.raises(IdimError, match=says):
        idim.measure(**given)
    assert not (tmp_path / "out").exists()

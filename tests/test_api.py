"""idim.measure: a model and data in memory."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
from collections.abc import Callable

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DataCollatorWithPadding,
    EvalPrediction,
)

import idim
from idim import config, specs
from idim.errors import IdimError
from idim.executors.here import Here
from idim.resolve import resolve
from idim.source import InMemory
from idim.tasks.in_memory import InMemoryTask
from idim.tasks.takes import Brought, Takes
from idim.tasks.user_metric import chosen
from idim.values.findings import Cost
from idim.values.metric import METRICS, metric
from idim.values.purpose import Purpose
from idim.values.search_summary import SearchSummary
from idim.values.verdict import Verdict

FAST = {
    "arm": "did",
    "learning_rate": 0.01,
    "max_steps": 60,
    "baselines": 2,
    "tune": False,
    "checks": False,
}


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
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True)) and all(
        p.requires_grad for p in model.parameters()
    )


def test_a_loss_and_a_metric_of_ones_own(tmp_path):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(500, 10, generator=draw)
    data = TensorDataset(x, x[:, :1] - x[:, 1:2])

    def nearness(out: torch.Tensor, y: torch.Tensor) -> float:
        return -float(F.mse_loss(out, y))

    summary = idim.measure(
        lambda seed: nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 1)),
        data,
        data,
        nearness,
        loss=lambda m, b: F.mse_loss(m(b[0]), b[1]),
        out=str(tmp_path),
        **FAST,
    )
    # A loss has no majority class. It starts at the untouched model, and the threshold lies nine
    # tenths of the way.
    assert (
        summary["metric"] == "nearness"
        and summary["chance"] < summary["tau"] < summary["full"]["mean"] < 0
    )
    assert summary["tau"] == pytest.approx(
        summary["chance"] + 0.9 * (summary["full"]["mean"] - summary["chance"])
    )


def test_mappings_and_a_transformer(tmp_path):
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    rows = [{"input_ids": torch.tensor([3 + i % 2, 5, 6]), "labels": i % 2} for i in range(200)]
    summary = idim.measure(
        BertForSequenceClassification(config),
        rows,
        rows,
        out=str(tmp_path),
        **FAST | {"arm": "said", "max_steps": 30},
    )
    assert summary["m"] == 3 and summary["full"]["mean"] == 1.0


# What users hold.

WORDS = ("good", "bad", "very", "film", "the", "a")
TEXTS = [" ".join(WORDS[(i * 5 + j * j) % 6] for j in range(2 + i % 5)) for i in range(60)]
CLASSES = [int("good" in text) for text in TEXTS]


def bert(folder, **more) -> BertForSequenceClassification:
    """Random, with weights so large that its guesses differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = BertForSequenceClassification.from_pretrained(folder, **more)
        for p in made.parameters():
            p.data.normal_(std=0.3)
    return made.eval()


def tokenised(tokenizer, **more) -> list[dict]:
    return [
        {"input_ids": tokenizer(text).input_ids, "labels": y} | more
        for text, y in zip(TEXTS, CLASSES, strict=True)
    ]


def relabelled(tokenizer, labels) -> list[dict]:
    return [row | {"labels": labels[row["labels"]]} for row in tokenised(tokenizer)]


def columns(tokenizer) -> dict:
    return {"input_ids": [row["input_ids"] for row in tokenised(tokenizer)], "label": CLASSES}


#: What a user may hold -> (a data set made with a tokenizer, what comes with it).
HELD = {
    "rows of unequal length": lambda t: (tokenised(t), {}),
    "rows and a tokenizer": lambda t: (tokenised(t), {"tokenizer": t}),
    "rows and a collator": lambda t: (
        tokenised(t, idx=3, text="x"),
        {"collate": DataCollatorWithPadding(t)},
    ),
    "a loader with a collator": lambda t: (
        DataLoader(tokenised(t), 4, collate_fn=DataCollatorWithPadding(t)),
        {},
    ),
    "a loader": lambda t: (DataLoader(tokenised(t), 4), {}),
    "columns": lambda t: (columns(t), {}),
    "a data frame": lambda t: (pd.DataFrame(columns(t)), {}),
    "inputs and labels apart": lambda t: (
        ([{"input_ids": row} for row in columns(t)["input_ids"]], np.array(CLASSES)),
        {},
    ),
    "a tokenised Dataset": lambda t: (
        Dataset.from_dict(columns(t) | {"idx": list(range(60)), "text": TEXTS}),
        {},
    ),
    "a Dataset of tensors": lambda t: (Dataset.from_dict(columns(t)).with_format("torch"), {}),
    "a raw Dataset": lambda t: (
        Dataset.from_dict({"text": TEXTS, "label": CLASSES}),
        {"tokenizer": t},
    ),
    "a raw Dataset and the model's own tokenizer": lambda t: (
        Dataset.from_dict({"sentence": TEXTS, "label": CLASSES}),
        {},
    ),
    "pairs with a text": lambda t: (list(zip(TEXTS, CLASSES, strict=True)), {"tokenizer": t}),
    "other names of columns": lambda t: (
        [
            {"a": "x", "b": text, "c": "y", "stars": y}
            for text, y in zip(TEXTS, CLASSES, strict=True)
        ],
        {"tokenizer": t, "text_columns": ("b",), "label_column": "stars"},
    ),
    "names": lambda t: (relabelled(t, ("no", "yes")), {}),
    "truth values": lambda t: (relabelled(t, (False, True)), {}),
    "-1 and 1": lambda t: (relabelled(t, (-1, 1)), {}),
    "-1.0 and 1.0": lambda t: (relabelled(t, (-1.0, 1.0)), {}),
    "3 and 7": lambda t: (relabelled(t, (3, 7)), {}),
    "floats": lambda t: (relabelled(t, (0.0, 1.0)), {}),
    "scalar tensors": lambda t: (relabelled(t, (torch.tensor(0), torch.tensor(1))), {}),
    "numpy's numbers": lambda t: (relabelled(t, (np.int32(0), np.int32(1))), {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", HELD)
def test_whatever_holds_the_data_the_score_is_that_of_each_text_alone(kind, dtype, tiny_bert):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    model = bert(tiny_bert).to(dtype)
    data, brought = HELD[kind](tokenizer)
    task = InMemoryTask(
        "t", data, data, "accuracy", None, takes=Takes.of(model), brought=Brought(**brought)
    )
    with torch.no_grad():
        guesses = [
            int(model(**tokenizer(text, return_tensors="pt")).logits.argmax()) for text in TEXTS
        ]
        task.check(model)
        share = task.score(model, "measure")
    # In bf16 a near tie may fall either way.
    assert share == pytest.approx(
        np.mean(np.equal(guesses, CLASSES)), abs=0 if dtype == torch.float32 else 0.05
    )
    assert (task.classes, task.majority) == (2, max(np.mean(CLASSES), 1 - np.mean(CLASSES)))
    task.loss(model, torch.arange(6)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_names_are_numbered_as_the_model_does(tiny_bert):
    names = {"id2label": {0: "Yes", 1: "No"}, "label2id": {"Yes": 0, "No": 1}}
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    rows = relabelled(tokenizer, ("no", "yes"))
    given = InMemoryTask(
        "t", rows, rows, "accuracy", None, takes=Takes.of(bert(tiny_bert, **names))
    )
    assert given.names == ("Yes", "No") and given._batch("measure", torch.arange(60))[
        "labels"
    ].tolist() == [1 - y for y in CLASSES]


@pytest.mark.parametrize(
    ("labels", "outputs", "names", "numbers"),
    [
        ((1, 2, 3, 4, 5), 5, "1 2 3 4 5", "0 1 2 3 4"),
        ((-1, 1), 2, "-1 1", "0 1"),
        ((9, 10, 11), 4, "9 10 11", "0 1 2"),
        # What the model has an output for means that output.
        ((1, 2, 4), 5, "", "1 2 4"),
        ((0, 1, 2), 3, "", "0 1 2"),
    ],
)
def test_whole_numbers_that_are_no_outputs_are_classes_in_their_order(
    labels, outputs, names, numbers
):
    takes = Takes(fields=("input_ids",), outputs=outputs)
    rows = [{"input_ids": [3, 5, i], "labels": y} for i in range(30) for y in labels]
    task = InMemoryTask("t", rows, rows, "accuracy", None, takes=takes)
    seen = task._batch("measure", torch.arange(len(labels)))["labels"].tolist()
    assert task.names == tuple(names.split()) and seen == [int(n) for n in numbers.split()]
    assert any("are the classes 0, 1" in note for note in task.notes) == bool(names)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ((1, 2, 3), "classes 0..1, or at most 2 names or other whole numbers; got 2"),
        ((0, -100), "got -100"),
        ((0, 1.5), 'use metric="pearson".; got 1.5'),
    ],
)
def test_numbers_that_are_no_classes_are_refused(labels, says):
    takes = Takes(fields=("input_ids",), outputs=2)
    rows = [{"input_ids": [3, 5, i], "labels": y} for i in range(30) for y in labels]
    with pytest.raises(IdimError, match=f"train: labels: expected .*{says}"):
        InMemoryTask("t", rows, rows, "accuracy", None, takes=takes)


def test_two_arrays_are_two_data_sets():
    """What an array prints is cut short: two that differ in the middle are not one."""
    one, other = (
        [(np.arange(5000.0), 0), (np.arange(5000.0) + k * (np.arange(5000) == 2500), 1)] * 20
        for k in (0, 1)
    )
    assert (
        InMemoryTask("t", one, one, "accuracy", None).fingerprint
        != InMemoryTask("t", other, one, "accuracy", None).fingerprint
    )


def test_labels_of_a_loss_of_ones_own_stay_and_are_classes_for_the_metric():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    data = [(row, -1.0 if row[0] < 0 else 1.0) for row in x]
    module = nn.Linear(3, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 0, 0]]))
        module.bias.zero_()
        seen = []
        task = InMemoryTask(
            "t",
            data,
            data,
            "accuracy",
            lambda m, b: seen.append(b[1]) or F.soft_margin_loss(m(b[0]).flatten(), b[1]),
        )
        task.check(module)
        assert task.score(module, "measure") == 1.0 and set(seen[0].tolist()) <= {-1.0, 1.0}


def test_a_model_in_bf16_is_measured(tmp_path, tiny_bert):
    data = Dataset.from_dict(
        {
            "text": [
                f"the {'very ' * (i % 3)}{w} film" for i in range(100) for w in ("good", "bad")
            ],
            "label": [True, False] * 100,
        }
    )
    summary = idim.measure(
        BertForSequenceClassification.from_pretrained(tiny_bert, dtype=torch.bfloat16),
        data,
        data,
        out=str(tmp_path),
        **FAST | {"max_steps": 30},
    )
    assert summary["full"]["mean"] == 1.0 and summary["chance"] == 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("arm", ["did", "said", "lora"])
def test_numbers_reach_a_model_in_its_own_precision(tmp_path, dtype, arm):
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(0), dtype=dtype)
    data = TensorDataset(x, (x[:, 0] > 0).long())
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 2)).to(dtype)
    sizes = {"ranks": (1,)} if arm == "lora" else {"grid": (30,)}
    asked = {"arm": arm, "design": "grid", "protocol": "quick", "learning_rate": 0.03} | sizes
    found = idim.measure(net, data, data, max_steps=30, out=str(tmp_path), **asked)
    assert len(found["curve"]) == 1 and found["failed_runs"] == 0


@pytest.mark.parametrize("arm", ["did", "said"])
def test_what_its_owner_froze_is_no_part_of_D(tmp_path, arm):
    """A search asks for no d that the other weights leave no room for."""
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, (x[:, 0] > 0).long())
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 2))
    net[0].requires_grad_(False)
    asked = {"arm": arm, "protocol": "quick", "learning_rate": 0.03, "out": str(tmp_path)}
    found = idim.measure(net, data, data, max_steps=30, **asked)
    assert found["D"] == 42 and max(row["d"] for row in found["curve"]) <= 42 + found["m"]
    before = len(list((tmp_path / "runs").iterdir()))
    with pytest.raises(IdimError, match=r"--grid: expected values of d from .* D = 42"):
        idim.measure(net, data, data, max_steps=30, design="grid", grid=(60,), **asked)
    net[2].requires_grad_(False)
    with pytest.raises(IdimError, match="model: expected at least one weight with requires_grad"):
        idim.measure(net, data, data, max_steps=30, **asked)
    assert len(list((tmp_path / "runs").iterdir())) == before


def nets() -> dict[str, Callable[[], nn.Module]]:
    """Modules of the same weights under the same names that compute something else."""

    class Scaled(nn.Module):
        def __init__(self, k: float):
            super().__init__()
            self.inner, self.k = plain(nn.ReLU()), k

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.k * self.inner(x)

    class Turned(Scaled):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(-x)

    def plain(*between: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        layers = nn.Linear(10, 20), nn.Linear(20, 2)
        return nn.Sequential(layers[0], *between, layers[1])

    def frozen() -> nn.Module:
        net = plain(nn.ReLU())
        net[0].requires_grad_(False)
        return net

    return {
        "relu": lambda: plain(nn.ReLU()),
        "tanh": lambda: plain(nn.Tanh()),
        "leaky": lambda: plain(nn.LeakyReLU(1e-9)),
        "leakier": lambda: plain(nn.LeakyReLU(2e-9)),
        "dropout": lambda: plain(nn.Sequential(nn.ReLU(), nn.Dropout(0.1))),
        "more dropout": lambda: plain(nn.Sequential(nn.ReLU(), nn.Dropout(0.2))),
        "frozen": frozen,
        "scaled": lambda: Scaled(1.0),
        "scaled more": lambda: Scaled(2.0),
        "turned": lambda: Turned(1.0),
    }


def test_what_a_program_brings_is_told_apart_by_what_it_does(tmp_path):
    """One store, one name. The same call twice is the same question; any other is another one."""
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, (x[:, 0] > 0).long())
    cross = nn.functional.cross_entropy
    ways: dict[str, dict] = {name: {"model": make} for name, make in nets().items()}
    ways |= {
        "loss": {"loss": lambda m, b: cross(m(b[0]), b[1])},
        "smoother loss": {"loss": lambda m, b: cross(m(b[0]), b[1], label_smoothing=0.5)},
        "collator": {"data_collator": lambda rows: default_collate([(0 * a, b) for a, b in rows])},
        "hits": {"metric": lambda out, truth: float((out.argmax(-1) == truth).float().mean())},
        "misses": {"metric": lambda out, truth: -float((out.argmax(-1) != truth).float().mean())},
    }
    asked = {"arm": "did", "protocol": "quick", "design": "grid", "grid": (30,)}
    asked |= {"learning_rate": 0.03, "max_steps": 2, "out": str(tmp_path)}

    def made(more: dict) -> str:
        more = {"model": nets()["relu"], "metric": "accuracy"} | more
        model = more.pop("model")()
        before = [p.clone() for p in model.parameters()]
        found = idim.measure(model, data, data, more.pop("metric"), **asked, **more)
        assert model.training and all(map(torch.equal, before, model.parameters()))
        return found["id"]

    ids = {name: made(more) for name, more in ways.items()}
    runs = len(list((tmp_path / "runs").iterdir()))
    # Cross entropy of one's own does what the default does: these may be the same runs.
    same = {ids["relu"], ids.pop("loss")}
    assert len(set(ids.values())) == len(ids) and len(same) <= 2
    assert {name: made(more) for name, more in ways.items() if name != "loss"} == ids
    assert len(list((tmp_path / "runs").iterdir())) == runs


def two_scores(prediction: EvalPrediction) -> dict:
    hits = float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())
    return {"hits": hits, "misses": hits - 1}


class Endless(IterableDataset):
    def __iter__(self):
        yield from TRAIN


def nothing_to_read(**more) -> list[dict]:
    return [{"input_ids": [3, 5, 6], "labels": i % 2} | more for i in range(40)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metric": "nosuch"}, "metric: expected one of accuracy, matthews"),
        ({"train": []}, "train: expected at least one example"),
        ({"train": iter(TRAIN)}, "train: expected a data set with a length"),
        ({"name": "minilm"}, "name: expected one that idim does not use itself"),
        ({"task": "digits"}, "task: expected one that idim does not use itself"),
        ({"workers": 2}, "workers: expected 1"),
        ({"arm": "nosuch"}, "--arm: expected one of"),
        ({"model": nn.Linear(3, 3)}, "--model: expected one that takes the inputs of task"),
        ({"model": 3}, "model: expected a module, or a function of a seed"),
        ({"model": nn.ReLU()}, "model: expected a module with weights"),
        ({"model": lambda: net(0)}, "model: expected a module, or a function of a seed"),
        ({"model": nn.Linear(10, 1)}, "of one output cross entropy is always 0"),
        ({"train": DataLoader(Endless())}, "train: expected a data set with a length"),
        ({"train": DatasetDict(train=Dataset.from_dict({"x": [1]}))}, "not several by name"),
        ({"train": "text"}, "train: expected a data set with a length"),
        ({"train": {"x": [1, 2], "labels": [1]}}, "train: expected columns of one length"),
        ({"train": [torch.zeros(10)] * 30}, "train: example: expected inputs and a label"),
        ({"train": [{"x": torch.zeros(10)}] * 30}, "train: example: expected a label"),
        ({"train": [(torch.zeros(10), None)] * 30}, "train: labels: expected names or numbers"),
        ({"train": [(torch.zeros(10), {})] * 30}, "train: labels: expected names or numbers"),
        ({"train": [(torch.zeros(10), float("inf"))] * 30}, "train: labels: expected finite"),
        ({"train": [(torch.zeros(10), 1 << 70)] * 30}, "of at most 64 bits"),
        ({"train": [(torch.zeros(10), 10**12)] * 30}, "train: labels: expected classes"),
        ({"train": [(torch.zeros(10), 0.5)] * 30}, "train: labels: expected classes"),
        (
            {"train": [(torch.zeros(10), y) for y in ("a", 1)] * 30},
            "train: labels: expected names or numbers, not both",
        ),
        ({"train": [(torch.zeros(10), -2)] * 30}, "train: labels: expected classes"),
        (
            {"train": [(torch.zeros(10), y) for y in "ab"] * 30},
            "evaluation: labels: expected the classes of train",
        ),
        ({"evaluation": [(torch.zeros(10), 7)] * 9}, "evaluation: labels: expected the classes of"),
        ({"model": nn.Linear(10, 2)}, "3 classes, but 2 outputs"),
        (
            {"evaluation": [(torch.zeros(4), 1), (torch.zeros(4), 0)]},
            "--model: expected one that takes the inputs",
        ),
        (
            {"evaluation": [(torch.zeros(3 + i), i % 2) for i in range(9)]},
            "evaluation: expected examples that make a batch",
        ),
        ({"metric": lambda out, y: "high"}, "metric <lambda>: expected one that gives a score"),
        ({"metric": lambda out, y: out}, "metric <lambda>: expected one that gives a score"),
        ({"metric": lambda out, y: 1 / 0}, "ZeroDivisionError"),
        ({"metric": 7}, "metric: expected a name, or"),
        ({"compute_metrics": 7}, "compute_metrics: expected a function"),
        ({"compute_metrics": two_scores}, "metric: expected one of hits, misses; got None"),
        ({"compute_metrics": two_scores, "metric": "f1"}, "metric: expected one of hits, misses"),
        ({"compute_metrics": two_scores, "metric": two_scores}, "the name of an entry"),
        ({"compute_metrics": lambda p: 0.5}, "compute_metrics: expected a dict of scores by name"),
        ({"compute_metrics": lambda p: {}}, "compute_metrics: expected a dict of scores by name"),
        ({"compute_metrics": lambda p: {"f1": None}}, "expected one that gives a score"),
        ({"arm": "full"}, "--arm: expected one of did, said, lora"),
        ({"learning_rte": 0.1}, "options: expected one of arm, protocol"),
        ({"data_dir": "x"}, "options: expected one of arm, protocol"),
        ({"max_steps": "60"}, "--max-steps: expected a whole number"),
    ],
)
def test_mistakes(tmp_path, change, says):
    given = (
        {"model": net(0), "train": TRAIN, "evaluation": TEST, "out": str(tmp_path / "out")}
        | FAST
        | change
    )
    with pytest.raises(IdimError, match=says):
        idim.measure(**given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        ([{"text": "a", "label": 1}] * 30, {}, "tokenizer: expected one for the texts of train"),
        ([{"image": 3, "label": 1}] * 30, {}, "train: example: expected what the model takes"),
        (
            [{"a": "x", "b": "y", "c": "z", "label": 1}] * 30,
            {},
            "train: example: expected what the model takes",
        ),
        (
            [*nothing_to_read(), {"input_ids": [3]}],
            {},
            "train: example: expected a value of labels",
        ),
        ([*nothing_to_read(), {"labels": 1}], {}, "train: example: expected a value of input_ids"),
        (nothing_to_read(labels=2), {}, "train: labels: expected classes 0..1"),
        (nothing_to_read(input_ids=[99]), {}, "--model: expected one that takes"),
        (nothing_to_read() + nothing_to_read(labels="x"), {}, "not both"),
        (nothing_to_read(input_ids=[3] * 40), {}, "--model: expected one that takes"),
        (
            [row | {"labels": f"n{i % 3}"} for i, row in enumerate(nothing_to_read())],
            {},
            "train: labels: expected at most 2 names",
        ),
        (
            nothing_to_read(),
            {"data_collator": lambda rows: rows[0]["nosuch"]},
            'evaluation: expected examples that make a batch; got "KeyError',
        ),
    ],
)
def test_mistakes_with_a_transformer(tmp_path, rows, more, says):
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    with pytest.raises(IdimError, match=says) as told:
        idim.measure(
            BertForSequenceClassification(config),
            rows,
            rows,
            out=str(tmp_path / "out"),
            **FAST | more,
        )
    assert not (tmp_path / "out").exists() and len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("name", METRICS)
def test_a_users_metric_may_have_the_name_of_ours_and_any_unit(name):
    def rule(outputs, labels) -> float:
        return 100.0

    rule.__name__ = name
    for wanted in (chosen(rule, None), chosen(name, lambda p: {name: 100.0})):
        made = InMemoryTask("t", TRAIN, TEST, wanted, None)
        with torch.no_grad():
            score = made.score(net(0), "measure")
        assert score == 100.0 and metric(made.metric).holds(score) and name in made.metric
        assert made.metric != name and made.majority is None


def test_a_metric_in_percent_gives_the_same_answer_whatever_it_is_called(tmp_path):
    def share(outputs, labels) -> float:
        return float((outputs.argmax(-1) == labels).double().mean())

    def percent(outputs, labels) -> float:
        return 100 * share(outputs, labels)

    share.__name__ = percent.__name__ = "accuracy"
    found = [
        idim.measure(net(0), TRAIN, TEST, metric, out=str(tmp_path / unit), max_runs=10, **FAST)
        for unit, metric in (("1", share), ("100", percent))
    ]
    assert found[0]["answer"] == found[1]["answer"] and found[0]["verdict"] == found[1]["verdict"]
    assert found[1]["tau"] == pytest.approx(100 * found[0]["tau"])


def test_two_measurements_at_once_under_the_same_names_keep_apart():
    """What a program brought is passed along, so no call changes what another one sees."""
    sources = [
        InMemory(
            "m",
            lambda seed, k=k: net(k),
            "t",
            lambda o, data=data: InMemoryTask("t", data, TEST, "accuracy", None, o),
        )
        for k, data in ((0, TRAIN), (1, blobs(500, 2)))
    ]
    asked = config.make({"model": "m", "task": "t", **FAST})
    made = [(source, resolve(asked, source)) for source in sources]
    alone = [plan.model_fingerprint for _, plan in made]
    assert alone[0] != alone[1]
    assert made[0][1].data.fingerprint != made[1][1].data.fingerprint
    for (source, plan), fingerprint in zip(made * 2, alone * 2, strict=True):
        spec = specs.make(plan, Purpose.SINGLE, 20, 0, 0.01)
        here = Here.alone(source)
        here.submit(spec)
        _, record = here.wait()
        assert record.setting.model_fingerprint == fingerprint
        assert record.setting.task_fingerprint == plan.data.fingerprint


#: Two baselines and two d, in seconds.
SHORT = FAST | {"grid": (8, 64), "repeats": 1}


@pytest.mark.parametrize(
    ("entry", "prefix"),
    [("hits", ""), ("hits", "eval_"), ("eval_hits", ""), ("eval_hits", "eval_")],
)
def test_an_entry_of_compute_metrics_is_found_with_trainers_prefix_or_without(entry, prefix):
    seen = []

    def compute(prediction: EvalPrediction) -> dict:
        seen.append(prediction)
        return {prefix + name: value for name, value in two_scores(prediction).items()}

    module = net(0)
    made = InMemoryTask("t", TRAIN, TEST, chosen(entry, compute), None)
    with torch.no_grad():
        score = made.score(module, "measure")
        outputs = torch.cat([module(x[None]) for x, _ in TEST])
    labels = torch.stack([y for _, y in TEST])
    assert made.metric == entry and score == pytest.approx(
        float((outputs.argmax(-1) == labels).double().mean())
    )
    assert isinstance(seen[0].predictions, np.ndarray) and isinstance(seen[0].label_ids, np.ndarray)
    np.testing.assert_allclose(seen[0].predictions, outputs.numpy(), atol=1e-6)
    assert seen[0].label_ids.tolist() == labels.tolist()


def test_rows_of_unequal_length_reach_compute_metrics_padded(tiny_bert):
    """As with Trainer, a label of -100 is a place where nothing is asked."""
    config = BertConfig.from_pretrained(tiny_bert, num_labels=2)
    model = BertForTokenClassification(config).eval()
    rows = [
        {
            "input_ids": [5 + (i + j) % 6 for j in range(n)],
            "labels": [(i + j) % 2 for j in range(n)],
        }
        for i, n in enumerate([3] * 20 + [7] * 20)
    ]
    seen = []

    def compute(prediction: EvalPrediction) -> dict:
        asked = prediction.label_ids != -100
        seen.append(asked)
        right = prediction.predictions.argmax(-1) == prediction.label_ids
        return {"share": float(right[asked].mean())}

    made = InMemoryTask("t", rows, rows, chosen(None, compute), None, takes=Takes.of(model))
    with torch.no_grad():
        score = made.score(model, "measure")
        right = [
            guess == label
            for row in rows
            for guess, label in zip(
                model(torch.tensor([row["input_ids"]])).logits[0].argmax(-1).tolist(),
                row["labels"],
                strict=True,
            )
        ]
    assert score == pytest.approx(np.mean(right)) and seen[0].sum() == 20 * 3 + 20 * 7


def test_what_is_returned_is_a_dict_and_prints_and_draws_itself(tmp_path, caplog, capsys):
    with caplog.at_level(logging.INFO, "idim"):
        found = idim.measure(net(0), TRAIN, TEST, out=str(tmp_path / "out"), **SHORT)
    assert any("baseline full" in line for line in caplog.messages)
    assert capsys.readouterr() == ("", "")  # standard error is no terminal
    assert json.loads(json.dumps(found)) == found == pickle.loads(pickle.dumps(found))
    assert isinstance(found, idim.Measurement) and str(found).startswith("model × task, arm did")
    shutil.rmtree(tmp_path / "out")  # the runs are drawn all the same
    figure = found.figure()
    assert isinstance(figure, matplotlib.figure.Figure)
    drawn = [line for line in figure.axes[0].lines if list(line.get_xdata()) == [8, 64]]
    assert list(drawn[0].get_ydata()) == [c["mean"] for c in found["curve"]]
    assert found._repr_png_().startswith(b"\x89PNG")
    assert all(
        part in found._repr_html_() for part in ("when model learns task", "<svg role=", "<table")
    )


def test_without_a_full_run_there_is_text_and_no_figure():
    found = idim.Measurement(
        SearchSummary(
            **dict.fromkeys(("model", "task", "protocol", "metric"), "x"),
            arm="did",
            **dict.fromkeys(("projection", "scope", "structure", "design", "rule"), "x"),
            **dict.fromkeys(("D", "m", "steps"), 1),
            examples={},
            threshold=0.9,
            left_out=(),
            verdict=Verdict.BASELINE_FAILED,
            cost=Cost({}, {}, 0),
        )
    )
    assert found._repr_png_() is None and "<svg" not in found._repr_html_()
    with pytest.raises(IdimError, match="figure: expected a full run that ended well"):
        found.figure()


def test_progress_is_shown_where_it_is_asked_for(tmp_path, capsys):
    idim.measure(net(0), TRAIN, TEST, out=str(tmp_path), progress=True, **SHORT)
    out, err = capsys.readouterr()
    assert out == "" and "baseline full" in err and "search did d=64" in err


def test_lora_is_swept_over_its_ranks(tmp_path):
    idim.measure(net(0), TRAIN, TEST, out=str(tmp_path), **SHORT)
    found = idim.measure(
        net(0), TRAIN, TEST, out=str(tmp_path), **FAST | {"arm": "lora", "ranks": [1, 3]}, repeats=1
    )
    assert [c["r"] for c in found["curve"]] == [1, 3] and "r90" in found
    assert found["runs"] == {"baseline": 2, "search": 2}
    assert "arm lora" in str(found) and found._repr_png_().startswith(b"\x89PNG")
    assert found.figure().axes[0].get_xlabel() == "rank r"


def test_the_public_names_are_listed_and_there():
    assert {*idim.__all__} <= {*dir(idim)} and "sys" not in dir(idim)
    assert all(getattr(idim, name) is not None for name in idim.__all__)

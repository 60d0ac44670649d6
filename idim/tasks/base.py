"""What a task is: named splits of examples, a metric, and what chance gives."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from idim.errors import expected
from idim.tasks import mistakes
from idim.values.metric import METRICS as METRIC_TABLE
from idim.values.metric import metric

#: What the part of a folder that is measured on may be called, in order of preference.
EVALUATION = ("validation", "val", "test")


class Task(ABC):
    """The data of one task, ready for one model.

    Splits: train; tune, to choose rates; measure, the score of every run; locked, scored once.
    """

    name: str
    metric: str
    classes: int
    fingerprint: str
    #: What a transformers model ends in for it: "sequence" (classes of a text), "image" (of an
    #: image) or "language" (tokens).
    head: str = "sequence"
    #: What its classes are called, in their order; () where they are numbers.
    names: tuple[str, ...] = ()
    #: The better of guessing the commonest class and knowing nothing; None where no guess applies.
    majority: float | None
    #: What was done to the data that its owner should know of.
    notes: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest score that its metric can give."""
        known = metric(self.metric)
        return known.low, known.high

    @abstractmethod
    def train_size(self) -> int: ...

    @abstractmethod
    def batches(self, batch_size: int, seed: int) -> Iterator[object]:
        """One pass over the training split in an order drawn from seed."""

    @abstractmethod
    def loss(self, module: nn.Module, batch: Any) -> torch.Tensor: ...

    @abstractmethod
    def score(self, module: nn.Module, split: str) -> float: ...

    def check(self, module: nn.Module) -> None:
        """One forward pass. It raises what it likes where the module does not take the inputs."""
        self.loss(module, next(self.batches(2, 0)))

    def tokens(self, batch: Any) -> int:
        return 0

    def guess(self, split: str) -> float | None:
        """What guessing the commonest class scores on a split; None where no guess applies."""
        return self.majority

    def sizes(self) -> dict[str, int]:
        return {}


def carve(n: int, fractions: dict[str, float], cap: int = 1000) -> dict[str, torch.Tensor]:
    """Disjoint index sets of ``range(n)``, the same on every machine.

    Each named fraction gets its part, of at most ``cap``. The rest is train.
    """
    order = shuffled(n, seed=20181)
    out, at = {}, 0
    for name, share in fractions.items():
        size = min(cap, round(share * n))
        out[name] = order[at : at + size].sort().values
        at += size
    out["train"] = order[at:].sort().values
    return out


def capped(index: torch.Tensor, most: int) -> torch.Tensor:
    """A random subset of at most ``most`` (0: all), by a fixed seed, in order."""
    if not most or most >= len(index):
        return index
    return index[shuffled(len(index), seed=20212)[:most].sort().values]


def shuffled(n: int, seed: int) -> torch.Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed % (1 << 63)))


def grouped(lengths: torch.Tensor, batch_size: int, seed: int) -> list[torch.Tensor]:
    """Batches of indices in an order drawn from seed, each of examples of similar length."""
    # Sorting inside windows of 16 batches keeps padding low. Shuffling the batches keeps length
    # from ordering them.
    batches = []
    for window in shuffled(lengths.numel(), seed).split(16 * batch_size):
        batches += window[lengths[window].argsort(stable=True)].split(batch_size)
    return [batches[i] for i in shuffled(len(batches), seed + 1).tolist()]


@dataclass(frozen=True)
class Classes:
    """Names of classes in their order, the number of each name that the data uses, and what their
    owner should know."""

    names: tuple[str, ...]
    number: Mapping[str, int]
    notes: tuple[str, ...] = ()


def classes_of(names: Iterable[str], labels: Iterable[tuple[str, int]], where: str) -> Classes:
    """Classes numbered as the model numbers them where it knows all their names (in any case of
    letters), else in the order given; sets are sorted.

    ``labels``: the model's names and their numbers, each of 0..n-1 once. Where it has names that
    are not these, a note says so.
    """
    names = sorted(names) if isinstance(names, (set, frozenset)) else list(names)
    known = dict(labels)
    folded = {_folded(name): number for name, number in known.items()}
    for own, key in ((known, str), (folded, _folded)):
        if (
            names
            and len(own) == len(known)
            and len({key(name) for name in names}) == len(names)
            and all(key(name) in own for name in names)
        ):
            return Classes(
                tuple(sorted(known, key=lambda name: known[name])),
                {name: own[key(name)] for name in names},
            )
    notes: tuple[str, ...] = ()
    if known:
        notes = (
            f"{where}: the model calls its classes {_few(known)}, the data {_few(names)}; "
            "the data's order was taken",
        )
    return Classes(tuple(names), {name: i for i, name in enumerate(names)}, notes)


def _folded(name: str) -> str:
    return name.strip().casefold()


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def check_labels(labels: torch.Tensor, classes: int, where: str) -> None:
    bad = labels[(labels < 0) | (labels >= classes)]
    if bad.numel():
        raise expected(
            f"{where}: labels", f"whole numbers 0..{classes - 1}", sorted(set(bad.tolist()))[:5]
        )


def check_split(n: int, where: str) -> None:
    if n == 0:
        raise expected(where, "at least one example", "none")


def majority_of(labels: torch.Tensor) -> float:
    """The score of guessing the commonest label."""
    chance = METRIC_TABLE["accuracy"].chance
    assert chance is not None
    return chance(labels.numpy())


def _scorer(name: str) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """The metric's score, of tensors."""
    score = METRIC_TABLE[name].score
    assert score is not None
    return lambda truth, guess: score(truth.numpy(), guess.numpy())


#: Of tasks whose label is a class: (truth, guess) -> score.
METRICS = {name: _scorer(name) for name in ("accuracy", "matthews")}
#: Of tasks whose label is a number, not a class.
REGRESSION = {name: _scorer(name) for name in ("pearson", "spearman")}
#: Of tasks whose label is text that follows a prompt (tasks/completion.py).
COMPLETION = ("loss", "token_accuracy", "exact_match")


class Supervised(Task):
    """Examples with one label each: of ``classes``, or a number for a regression.

    A regression has one of the metrics in REGRESSION, and ``classes`` is then 1.

    Subclasses say how a batch of indices becomes inputs.
    """

    def __init__(
        self,
        name: str,
        metric: str,
        labels: dict[str, torch.Tensor],
        classes: int,
        digest: hashlib._Hash,
        named: Classes | None = None,
    ):
        self.name, self.metric, self.classes = name, metric, classes
        self.labels = labels
        if named:
            self.names, self.notes = named.names, named.notes
        for split, y in labels.items():
            check_split(y.numel(), f"{name}, {split} split")
            if metric not in REGRESSION:
                check_labels(y, classes, f"{name}, {split} split")
            digest.update(split.encode() + y.numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        self.majority = majority_of(labels["measure"]) if metric == "accuracy" else 0.0
        splits = {split: y.tolist() for split, y in labels.items()}
        parts = f"{name}, train split", f"{name}, measure split"
        if metric in REGRESSION:
            mistakes.of_numbers(splits, metric, parts)
        else:
            self.notes += mistakes.of_classes(
                name, splits, lambda v: self.names[v] if self.names else str(v), parts
            )

    @abstractmethod
    def inputs(self, split: str, index: torch.Tensor, device: torch.device) -> Any: ...

    @abstractmethod
    def logits(self, module: nn.Module, inputs: Any) -> torch.Tensor: ...

    def guess(self, split: str) -> float | None:
        if split == "measure" or self.metric != "accuracy":
            return self.majority
        return majority_of(self.labels[split])

    def order(self, seed: int, batch_size: int) -> list[torch.Tensor]:
        return list(shuffled(self.train_size(), seed).split(batch_size))

    def train_size(self) -> int:
        return self.labels["train"].numel()

    def sizes(self) -> dict[str, int]:
        return {split: y.numel() for split, y in self.labels.items()}

    def batches(self, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
        yield from self.order(seed, batch_size)

    def loss(self, module: nn.Module, batch: Any) -> torch.Tensor:
        device = next(module.parameters()).device
        logits = self.logits(module, self.inputs("train", batch, device)).float()
        labels = self.labels["train"][batch].to(device)
        return (
            F.mse_loss(logits.squeeze(-1), labels)
            if self.metric in REGRESSION
            else F.cross_entropy(logits, labels)
        )

    def evaluation_order(self, split: str, module: nn.Module) -> list[torch.Tensor]:
        return list(torch.arange(self.labels[split].numel()).split(512))

    def score(self, module: nn.Module, split: str) -> float:
        device = next(module.parameters()).device
        truth, guess = [], []
        for index in self.evaluation_order(split, module):
            logits = self.logits(module, self.inputs(split, index, device))
            if not torch.isfinite(logits).all():
                return math.nan
            guess.append(
                (
                    logits.float().squeeze(-1) if self.metric in REGRESSION else logits.argmax(-1)
                ).cpu()
            )
            truth.append(self.labels[split][index])
        if self.metric in REGRESSION:
            return REGRESSION[self.metric](torch.cat(truth), torch.cat(guess))
        return METRICS[self.metric](torch.cat(truth), torch.cat(guess))

"""Tasks whose examples have one label each."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from idim.tasks import mistakes
from idim.tasks.base import Task
from idim.tasks.classes import Classes, check_labels
from idim.tasks.scores import METRICS, REGRESSION, majority_of
from idim.tasks.splits import check_split, shuffled


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

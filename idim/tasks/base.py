"""What a task is: named splits of examples, a metric, and what chance gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from idim.errors import expected


@dataclass(frozen=True)
class Shots:
    """Examples that a decoder reads before a text.

    Attributes:
        tokens: of all of them.
        at: after how many of a text's own tokens they belong.
        most: tokens of the longest examples that might have been drawn, with the longest text.
    """

    tokens: tuple[int, ...]
    at: int
    most: int


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

    def shots(self, k: int, seed: int) -> Shots:
        """k training examples, as a decoder reads them before a text.

        Args:
            k: how many, at least 1.
            seed: draws the examples and their order.

        Raises:
            IdimError: the task has no such form, or fewer examples.
        """
        raise expected("task", "prompts and completions, for examples in a text", self.name)

    def terms(self, module: nn.Module, batch: Any) -> int:
        """Of how many terms the loss of a batch is the mean: its examples."""
        return len(batch)

    def tokens(self, batch: Any) -> int:
        return 0

    def guess(self, split: str) -> float | None:
        """What guessing the commonest class scores on a split; None where no guess applies."""
        return self.majority

    def sizes(self) -> dict[str, int]:
        return {}

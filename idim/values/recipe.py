"""How long and how to train."""

from __future__ import annotations

import math
from dataclasses import dataclass

from idim.errors import one_of

#: What each named choice of a recipe may be.
CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("adam", "adamw", "sgd"),
    "schedule": ("constant", "linear", "cosine"),
    "rule": ("last", "mean_of_last_3"),
    "precision": ("fp32", "bf16", "fp16"),
}


@dataclass(frozen=True)
class Recipe:
    """How long and how to train. Every arm of a measurement has the same one, but for its rates.

    Args:
        learning_rate: the highest of the schedule.
        epochs: passes over the training split, where ``max_steps`` is 0.
        max_steps: optimiser steps; 0 lets ``epochs`` decide.
        batch_size: examples a step.
        optimizer: one of ``CHOICES["optimizer"]``.
        beta2: of Adam.
        weight_decay: of what is trained, the scales excepted.
        schedule: "constant", "linear" or "cosine"; the last two end at 0.
        warmup: the fraction of the steps in which the rate rises.
        l2: a penalty ``l2 * |w|^2`` on the matrices and kernels that the model computes with (not
            on biases), whatever is trained.
        clip: the largest norm of the gradient; 0 for no limit.
        scale_learning_rate: of structure-aware scales; None for ``learning_rate``.
        evaluations: how many, evenly spread; the last one is at the last step.
        rule: the final score: that of the "last" evaluation, or "mean_of_last_3".
        precision: "fp32", "bf16" or "fp16": what the model computes in.

    Raises:
        IdimError: an unknown name.

    >>> Recipe(1e-3, epochs=3, batch_size=32).steps(train_size=100)
    12
    """

    learning_rate: float
    epochs: float = 1.0
    max_steps: int = 0
    batch_size: int = 32
    optimizer: str = "adam"
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: str = "linear"
    warmup: float = 0.0
    l2: float = 0.0
    clip: float = 0.0
    scale_learning_rate: float | None = None
    evaluations: int = 4
    rule: str = "last"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise one_of(name, known, getattr(self, name))

    def steps(self, train_size: int) -> int:
        """Optimiser steps of a run on so many examples."""
        a_pass = max(1, math.ceil(train_size / self.batch_size))
        return self.max_steps or max(1, round(self.epochs * a_pass))

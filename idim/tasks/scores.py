"""What a task's guesses score, by the names of metrics."""

from __future__ import annotations

from collections.abc import Callable

import torch

from idim.values.metric import METRICS as METRIC_TABLE


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


def majority_of(labels: torch.Tensor) -> float:
    """The score of guessing the commonest label."""
    chance = METRIC_TABLE["accuracy"].chance
    assert chance is not None
    return chance(labels.numpy())

"""Li et al.'s toy problem, whose intrinsic dimension is known: ten."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from idim.tasks.base import Task
from idim.values.options import Options

_DECADES = 4


class ToySums(Task):
    """Ten sums of 100 weights each must equal 1..10. The whole problem is one batch.

    The score counts decades of loss: 1 when the loss has fallen to 1e-4 of its start, 0.75 at
    1e-3, 0 at the start.
    """

    name, metric, classes, fingerprint = "toy", "decades of loss / 4", 10, "li2018-toy-1000-10"
    majority = None

    def train_size(self) -> int:
        return 1

    def batches(self, batch_size: int, seed: int) -> Iterator[None]:
        yield None

    def _loss(self, out: torch.Tensor) -> torch.Tensor:
        target = torch.arange(1, 11, dtype=out.dtype, device=out.device)
        return (out - target).square().mean()

    def loss(self, module: nn.Module, batch: Any) -> torch.Tensor:
        return self._loss(module())

    def score(self, module: nn.Module, split: str) -> float:
        start = self._loss(torch.zeros(10))
        ratio = float(self._loss(module()) / start)
        if not math.isfinite(ratio):
            return math.nan
        return min(1.0, max(0.0, -math.log10(max(ratio, 1e-12)) / _DECADES))

    def sizes(self) -> dict[str, int]:
        return {"constraints": 10}


def toy(options: Options) -> ToySums:
    return ToySums()

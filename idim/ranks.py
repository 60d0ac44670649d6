"""Processes that make one run together: each takes its part of every batch.

A ``Ranks`` of one process does everything itself, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import distributed, nn

from idim.errors import expected


class Divides(Protocol):
    """What a part of a batch must be known by."""

    def terms(self, module: nn.Module, batch: Any) -> int: ...


class Dismissed(Exception):
    """The first process is done, while this one waits for what it finds."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run.

    They hold the same weights. Each computes the loss of its examples, and the gradients are added
    up, so that all take the same step. It is the step that one process would take on the whole
    batch, up to rounding, where neither dropout nor the padding of a part plays a role.

    Args:
        rank: the number of this one. The first, 0, scores and keeps records.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def part(self, data: Divides, module: nn.Module, batch: Any) -> tuple[Any, float]:
        """This process's examples of a batch, and their share of the terms of its loss."""
        if self.count == 1:
            return batch, 1.0
        if not isinstance(batch, torch.Tensor):  # it cannot be divided: all do the whole
            return batch, 1 / self.count
        mine = batch[self.rank :: self.count]
        if not len(mine):  # fewer examples than processes: one that counts for nothing
            return batch[:1], 0.0
        return mine, data.terms(module, mine) / data.terms(module, batch)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.count == 1:
            return value
        value = value.detach().clone()
        distributed.all_reduce(value)
        return value

    def add_up(self, params: Iterable[torch.Tensor]) -> None:
        """Make every gradient the sum over all processes."""
        if self.count == 1:
            return
        under_way = [
            distributed.all_reduce(p.grad, async_op=True) for p in params if p.grad is not None
        ]
        for one in under_way:
            if one is not None:
                one.wait()

    def of_first(self, make: Callable[[], Any]) -> Any:
        """What the first process makes; the others wait for it.

        Raises:
            Dismissed: the first process said that all is over.
        """
        if self.count == 1:
            return make()
        said = [("made", make()) if self.rank == 0 else None]
        distributed.broadcast_object_list(said)
        if said[0] is None:
            raise Dismissed
        return said[0][1]

    def check(self, module: nn.Module) -> None:
        """See that all processes can train this module together, and hold the same one.

        Raises:
            IdimError: they cannot, or do not.
        """
        if self.count == 1:
            return
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                what = "a model without batch normalisation, whose batches are not divided"
                raise expected("torchrun", what, type(layer).__name__)
        with torch.no_grad():
            sums = torch.stack([p.sum(dtype=torch.float64) for p in module.parameters()])
        first = self.of_first(lambda: sums.cpu())
        differs = torch.tensor(float(not torch.equal(first, sums.cpu())), device=sums.device)
        if self.total(differs) > 0:
            what = "the same weights in every process"
            raise expected("torchrun", what, "others: are all packages of one version?")


#: A run that one process makes.
ALONE = Ranks()

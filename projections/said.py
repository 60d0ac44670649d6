"""Structure-aware gradients: ``theta_i = theta_0,i + lambda_group * (P theta)_i`` is bilinear, so one pass of g serves both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from projections.base import Accumulator, Image, Projection


class Shares(ABC):
    """What the weights' gradient g means for theta and for the scales, gathered from ranges of g in any order.

    ``scales`` ``(groups,)`` or None for P theta alone (one group, scale 1). ``image`` is P theta at the same theta.
    """

    def __init__(self, p: Projection, image: Image, scales: torch.Tensor | None):
        self._p, self._image, self._scales = p, image, scales

    @abstractmethod
    def add(self, g: torch.Tensor, start: int, group: int) -> None:
        """Take in ``g (n,)`` as entries ``start .. start + n``, all of one group. It may be kept until ``finish``."""

    def add_all(self, jobs: list[tuple[torch.Tensor, int, int]]) -> None:
        """``add`` for each ``(g, start, group)``; threads share the work of all."""
        for g, start, group in jobs:
            self.add(g, start, group)

    @abstractmethod
    def add_rows(self, g: torch.Tensor, starts: torch.Tensor, group: int) -> None:
        """Take in ``g (k, length)`` on the disjoint ranges ``[s, s + length)``, all of one group."""

    @abstractmethod
    def finish(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``sum over groups of lambda_group P^T g_group`` ``(d,)``, and ``<g_group, P theta>`` ``(groups,)`` or None."""


class GroupedShares(Shares):
    """An accumulator a group. For any family; costs a ``finish`` a group."""

    def __init__(self, p: Projection, image: Image, scales: torch.Tensor | None):
        super().__init__(p, image, scales)
        self._sums: dict[int, Accumulator] = {}

    def add(self, g: torch.Tensor, start: int, group: int) -> None:
        self._of(group).add(g, start)

    def add_all(self, jobs: list[tuple[torch.Tensor, int, int]]) -> None:
        of_group: dict[int, list[tuple[torch.Tensor, int]]] = {}
        for g, start, group in jobs:
            of_group.setdefault(group, []).append((g, start))
        for group, own in of_group.items():
            self._of(group).add_all(own)

    def add_rows(self, g: torch.Tensor, starts: torch.Tensor, group: int) -> None:
        self._of(group).add_rows(g, starts)

    def _of(self, group: int) -> Accumulator:
        group = 0 if self._scales is None else group
        if group not in self._sums:
            self._sums[group] = self._p.accumulator()
        return self._sums[group]

    def finish(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        out = torch.zeros_like(theta)
        along = None if self._scales is None else torch.zeros_like(self._scales)
        for group, total in self._sums.items():
            share = total.finish()
            if along is None:
                out += share
            else:
                along[group] = total.along(share, theta)
                out.addcmul_(share, self._scales[group])
        return out, along

"""Structure-aware gradients: ``theta_i = theta_0,i + lambda_group * (P theta)_i`` is bilinear, so one pass of g serves both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from projections.neighbours import together

if TYPE_CHECKING:
    from projections.base import Accumulator, Image, Projection


class Shares(ABC):
    """What the weights' gradient g means for theta and for the scales, gathered from ranges of g in any order.

    ``scales`` ``(groups,)`` or None for P theta alone (one group, scale 1). ``image`` is P theta at the same theta.
    """

    def __init__(self, p: Projection, image: Image, scales: torch.Tensor | None):
        self._p, self._image, self._scales = p, image, scales

    @abstractmethod
    def add_all(self, jobs: list[tuple[torch.Tensor, int, int]]) -> None:
        """Take in each ``(g, start, group)``: g, of n numbers in any shape, as entries ``start .. start + n``, all of one group. They may be kept until ``finish``."""

    @abstractmethod
    def add_rows(self, g: torch.Tensor, starts: torch.Tensor, group: int) -> None:
        """Take in ``g (k, length)`` on the ranges ``[s, s + length)``, which may repeat, all of one group."""

    @abstractmethod
    def finish(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``sum over groups of lambda_group P^T g_group`` ``(d,)``, and ``<g_group, P theta>`` ``(groups,)`` or None."""


def joined(
    jobs: list[tuple[torch.Tensor, int, int]], dtype: torch.dtype
) -> list[tuple[torch.Tensor, int, int]]:
    """In one dimension and dtype, small neighbours in one group as one."""
    flat = [(g.reshape(-1).to(dtype), start, group) for g, start, group in jobs]
    parts = together(flat, lambda job: (job[1], job[0].numel(), job[2]))
    return [
        part[0] if len(part) == 1 else (torch.cat([g for g, _, _ in part]), *part[0][1:])
        for part in parts
    ]


class GroupedShares(Shares):
    """An accumulator a group. For any family; costs a ``finish`` a group."""

    def __init__(self, p: Projection, image: Image, scales: torch.Tensor | None):
        super().__init__(p, image, scales)
        self._sums: dict[int, Accumulator] = {}

    def add_all(self, jobs: list[tuple[torch.Tensor, int, int]]) -> None:
        for g, start, group in joined(jobs, self._p.dtype):
            self._of(group).add(g, start)

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

"""An accumulator for families whose transpose is cheap only over all of D."""

from __future__ import annotations

from collections.abc import Callable

import torch

from projections.contract import Accumulator


class Staged(Accumulator):
    """Keeps the ranges of v and applies P^T once, at the end.

    Args:
        D: the length of v.
        dtype: of v.
        device: of v.
        apply: P^T, ``(D,) -> (d,)``.

    Cost: where v comes in several ranges, D numbers of memory more.
    """

    def __init__(
        self,
        D: int,
        dtype: torch.dtype,
        device: torch.device,
        apply: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self._D, self._dtype, self._device, self._apply = D, dtype, device, apply
        self._ranges: list[tuple[int, torch.Tensor]] = []

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        self._ranges.append((start, v))

    def finish(self) -> torch.Tensor:
        if len(self._ranges) == 1 and self._ranges[0][1].numel() == self._D:
            return self._apply(self._ranges[0][1])
        whole = torch.zeros(self._D, dtype=self._dtype, device=self._device)
        for start, v in self._ranges:
            whole[start : start + v.numel()] += v
        return self._apply(whole)

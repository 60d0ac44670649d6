"""Images and accumulators of the families whose arithmetic an engine does."""

from __future__ import annotations

import torch

from projections.base import Accumulator, Image, Projection
from projections.engines.contract import SHIFTING


class WorkedImage(Image):
    """``values``: what the engine forms P theta from."""

    def __init__(self, p: Projection, values: torch.Tensor):
        super().__init__(p)
        self.values = values

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        self._p.work.form(self.values, start, out[None])

    def shift(self, out: torch.Tensor, origin: torch.Tensor, scale: torch.Tensor | float, start: int = 0) -> None:
        p = self._p
        if p.engine in SHIFTING and out.dtype == origin.dtype == p.dtype and out.is_contiguous() and origin.is_contiguous():
            p.work.form(self.values, start, out[None], origin[None], scale)
        else:
            super().shift(out, origin, scale, start)

    def rows(self, starts: torch.Tensor, length: int) -> torch.Tensor:
        out = torch.empty(len(starts), length, dtype=self._p.dtype, device=self._p.device)
        self._p.work.form(self.values, starts, out)
        return out


class WorkedAccumulator(Accumulator):
    """``sums``: what the engine folds v into; the projection's ``unfold`` makes ``(d,)`` of them."""

    def __init__(self, p: Projection, sums: torch.Tensor):
        self._p, self._sums = p, sums

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        self._p.work.fold(self._sums, start, v.reshape(1, -1))

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        self._p.work.fold(self._sums, starts, v.contiguous())

    def finish(self) -> torch.Tensor:
        return self._p.unfold(self._sums)

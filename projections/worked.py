"""Images and accumulators of the families whose arithmetic an engine does."""

from __future__ import annotations

import torch

from projections.base import Accumulator, Image, Job, Projection
from projections.engines.contract import SHIFTING


class WorkedImage(Image):
    """``values``: what the engine forms P theta from."""

    def __init__(self, p: Projection, values: torch.Tensor):
        super().__init__(p)
        self.values = values

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        self._p.work.form(self.values, start, out[None])

    def shift_all(self, jobs: list[Job]) -> None:
        p = self._p
        if p.engine in SHIFTING and all(x.dtype == p.dtype and x.is_contiguous() for _, *pair, _ in jobs for x in pair):
            p.work.form_all(self.values, [(start, out[None], origin[None], scale) for start, out, origin, scale in jobs])
        else:
            super().shift_all(jobs)

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

    def add_all(self, jobs: list[tuple[torch.Tensor, int]]) -> None:
        self._p.work.fold_all(self._sums, [(start, v.reshape(1, -1), 1.0) for v, start in jobs])

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        self._p.work.fold(self._sums, starts, v.contiguous())

    def finish(self) -> torch.Tensor:
        return self._p.unfold(self._sums)

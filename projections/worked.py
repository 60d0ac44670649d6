"""Images, accumulators and shares of the families whose arithmetic an engine does."""

from __future__ import annotations

import torch

from projections.base import Accumulator, Image, Job, Projection
from projections.said import Shares, joined


class WorkedImage(Image):
    """``values``: what the engine forms P theta from."""

    def __init__(self, p: Projection, values: torch.Tensor):
        super().__init__(p)
        self.values = values

    def __del__(self):
        self._p.work.leave(self.values)

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        self._p.work.form(self.values, start, out[None])

    def shift_all(self, jobs: list[Job]) -> None:
        fused, others = [], []
        for job in jobs:
            (
                fused
                if self._fuses(job[1], job[2]) and job[1].numel() >= self._p.work.worth
                else others
            ).append(job)
        if fused:
            self._p.work.shift_all(self.values, fused)
        super().shift_all(others)

    def rows(self, starts: torch.Tensor, length: int) -> torch.Tensor:
        out = torch.empty(len(starts), length, dtype=self._p.dtype, device=self._p.device)
        self._p.work.form(self.values, starts, out)
        return out

    def shift_rows(
        self,
        table: torch.Tensor,
        origin: torch.Tensor,
        rows: torch.Tensor,
        scale: torch.Tensor | float,
        start: int,
    ) -> None:
        if self._p.work.shifts_rows and self._fuses(table, origin):
            self._p.work.shift_rows(self.values, start, rows, table, origin, scale)
        else:
            super().shift_rows(table, origin, rows, scale, start)

    def _fuses(self, out: torch.Tensor, origin: torch.Tensor) -> bool:
        return (
            self._p.work.shifts
            and out.dtype == origin.dtype == self._p.dtype
            and out.is_contiguous()
            and origin.is_contiguous()
        )


class WorkedAccumulator(Accumulator):
    """The engine folds v into sums; the projection's ``unfold`` makes ``(d,)`` of them."""

    def __init__(self, p: Projection):
        self._p, self._sums = p, p.work.zeros()

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        self._p.work.fold_all(self._sums, [(start, v, 0)])

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        self._p.work.fold_all(self._sums, [(starts, v.contiguous(), 0)])

    def finish(self) -> torch.Tensor:
        sums, self._sums = self._sums, None  # the projection's from now on
        return self._p.unfold(sums)


class WorkedShares(Shares):
    """One set of sums for all groups: a scale goes in with the gradient, and <g, P theta> comes out of the same pass."""

    def __init__(self, p: Projection, image: Image, scales: torch.Tensor | None):
        super().__init__(p, image, scales)
        self._sums = p.work.zeros()
        self._along = None if scales is None else torch.zeros_like(scales, dtype=torch.float64)

    def add_all(self, jobs: list[tuple[torch.Tensor, int, int]]) -> None:
        jobs = jobs if self._p.work.worth == 0 else joined(jobs, self._p.dtype)
        self._fold([(start, g, group) for g, start, group in jobs])

    def add_rows(self, g: torch.Tensor, starts: torch.Tensor, group: int) -> None:
        self._fold([(starts, g.contiguous(), group)])

    def _fold(self, jobs: list[tuple[int | torch.Tensor, torch.Tensor, int]]) -> None:
        along = self._p.work.fold_all(self._sums, jobs, self._image.values, self._scales)
        if along is not None:
            self._along += along

    def finish(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        sums, self._sums = self._sums, None  # as above
        return self._p.unfold(sums), None if self._along is None else self._along.to(theta.dtype)

"""Images, accumulators and gradients of the families whose arithmetic an engine does."""

from __future__ import annotations

import torch

from projections.contract import Accumulator, GradientPart, Image, ScaledGradient, Shift
from projections.engines.contract import Engine, Fold
from projections.engines.plan import Plan
from projections.grouped import coalesce_parts


class EngineImage(Image):
    """P theta by an engine.

    Args:
        engine: does the arithmetic.
        theta: ``(d,)``.
        grain: as of ``Image``.
    """

    def __init__(self, engine: Engine[Plan], theta: torch.Tensor, grain: int) -> None:
        super().__init__(engine.plan.dtype, engine.plan.device, grain)
        self._engine = engine
        #: What the engine forms P theta from.
        self.values = engine.values(theta)

    def __del__(self) -> None:
        if hasattr(self, "values"):  # not where theta was refused
            self._engine.recycle(self.values)

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        self._engine.form(self.values, start, out[None])

    def shift_all(self, jobs: list[Shift]) -> None:
        fused: list[Shift] = []
        others: list[Shift] = []
        for job in jobs:
            large = job.out.numel() >= self._engine.call_floats
            if large and self._fuses(job.out, job.origin):
                fused.append(job)
            else:
                others.append(job)
        if fused:
            self._engine.shift_all(self.values, fused)
        super().shift_all(others)

    def rows(self, starts: torch.Tensor, length: int) -> torch.Tensor:
        out = self._empty(len(starts), length)
        self._engine.form(self.values, starts, out)
        return out

    def shift_rows(
        self,
        table: torch.Tensor,
        origin: torch.Tensor,
        rows: torch.Tensor,
        scale: torch.Tensor | float,
        start: int,
    ) -> None:
        if self._engine.shifts_rows and self._fuses(table, origin):
            self._engine.shift_rows(self.values, start, rows, table, origin, scale)
        else:
            super().shift_rows(table, origin, rows, scale, start)

    def _fuses(self, out: torch.Tensor, origin: torch.Tensor) -> bool:
        return (
            self._engine.shifts
            and out.dtype == origin.dtype == self.dtype
            and out.is_contiguous()
            and origin.is_contiguous()
        )


class EngineAccumulator(Accumulator):
    """P^T v by an engine, which folds v into sums."""

    def __init__(self, engine: Engine[Plan]) -> None:
        self._engine, self._sums = engine, engine.zeros()

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        self._engine.fold_all(self._sums, [Fold(start, v, 0)])

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        self._engine.fold_all(self._sums, [Fold(starts, v.contiguous(), 0)])

    def finish(self) -> torch.Tensor:
        sums = self._sums
        del self._sums  # the engine may reuse them
        return self._engine.unfold(sums)


class EngineScaledGradient(ScaledGradient):
    """One set of sums for all groups.

    A group's scale goes in with its gradient, and ``<g, P theta>`` comes out of the same pass.
    """

    def __init__(
        self, engine: Engine[Plan], image: EngineImage, scales: torch.Tensor | None
    ) -> None:
        super().__init__(scales)
        # The image, not its values alone: they may be overwritten once nobody holds the image.
        self._engine, self._image, self._sums = engine, image, engine.zeros()
        self._inner = None if scales is None else torch.zeros_like(scales, dtype=torch.float64)

    def add_all(self, parts: list[GradientPart]) -> None:
        if self._engine.call_floats:
            parts = coalesce_parts(parts, self._engine.plan.dtype)
        self._fold([Fold(start, g, group) for g, start, group in parts])

    def add_rows(self, g: torch.Tensor, starts: torch.Tensor, group: int) -> None:
        self._fold([Fold(starts, g.contiguous(), group)])

    def _fold(self, jobs: list[Fold]) -> None:
        inner = self._engine.fold_all(self._sums, jobs, self._image.values, self._scales)
        if self._inner is not None and inner is not None:
            self._inner += inner

    def finish(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        sums = self._sums
        del self._sums  # the engine may reuse them
        inner = None if self._inner is None else self._inner.to(theta.dtype)
        return self._engine.unfold(sums), inner

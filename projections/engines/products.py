"""Images, accumulators and gradients of the families whose arithmetic an engine does."""

from __future__ import annotations

from functools import partial

import torch

from projections.contract import Accumulator, GradientPart, Image, ScaledGradient, Shift
from projections.engines import chunk_floats
from projections.engines.contract import Engine, Fold
from projections.engines.plan import Plan
from projections.grouped import coalesce_parts
from projections.pieces import LONG, Pieces


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
        #: Where blocks are long, those of P theta.
        make = partial(_piece, engine, self.values)
        self.pieces = Pieces(engine.plan.D, grain, make) if grain > LONG else None

    def __del__(self) -> None:
        if hasattr(self, "values"):  # not where theta was refused
            self._engine.recycle(self.values)

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        if self.pieces is None or self.pieces.whole(start, out.numel()):
            self._engine.form(self.values, start, out[None])
        else:
            self.pieces.write(out, start)

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
        if self.pieces is not None:
            for i in torch.argsort(starts).tolist():
                self.pieces.write(out[i], int(starts[i]))
            return out
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
            and self.pieces is None
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
        #: Where blocks are long: the block that gathers gradients, and where it begins.
        self._gathered, self._start = torch.empty(0), -1

    def add_all(self, parts: list[GradientPart]) -> None:
        if self._engine.call_floats:
            parts = coalesce_parts(parts, self._engine.plan.dtype)
        self._fold([Fold(start, g, group) for g, start, group in parts])

    def add_rows(self, g: torch.Tensor, starts: torch.Tensor, group: int) -> None:
        self._fold([Fold(starts, g.contiguous(), group)])

    def _fold(self, jobs: list[Fold]) -> None:
        if (pieces := self._image.pieces) is not None:
            for starts, v, group in jobs:
                if isinstance(starts, int):
                    self._gather(pieces, starts, v.reshape(-1), group)
                else:
                    for i in torch.argsort(starts, stable=True).tolist():
                        self._gather(pieces, int(starts[i]), v[i], group)
            return
        inner = self._engine.fold_all(self._sums, jobs, self._image.values, self._scales)
        if self._inner is not None and inner is not None:
            self._inner += inner

    def _gather(self, pieces: Pieces, start: int, v: torch.Tensor, group: int) -> None:
        """Add v, on the range from ``start`` on, to the block that it lies in.

        P^T is linear. So a block's transform is taken once for all gradients in it.
        """
        v = v.to(self._engine.plan.dtype)
        cover = list(pieces.cover(start, v.numel()))
        # Gradients come from the last weight to the first. So the block at hand may lie last.
        at_last = bool(cover) and cover[-1][0] == self._start
        for first, inside, at in reversed(cover) if at_last else cover:
            if self._start != first:
                self._flush()
                self._gathered, self._start = v.new_zeros(pieces.length(first)), first
            if self._scales is None or self._inner is None:
                self._gathered[inside] += v[at]
                continue
            self._gathered[inside].addcmul_(v[at], self._scales[group].to(v.dtype))
            self._inner[group] += _inner(v[at], pieces.piece(first)[inside])

    def _flush(self) -> None:
        """Fold the block that gathers."""
        if self._start >= 0:
            self._engine.fold_all(self._sums, [Fold(self._start, self._gathered, 0)])
            self._gathered, self._start = torch.empty(0), -1

    def finish(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        self._flush()
        sums = self._sums
        del self._sums  # the engine may reuse them
        inner = None if self._inner is None else self._inner.to(theta.dtype)
        return self._engine.unfold(sums), inner


def _piece(engine: Engine[Plan], values: torch.Tensor, start: int, n: int) -> torch.Tensor:
    """P theta on ``[start, start + n)``."""
    made = torch.empty(n, dtype=engine.plan.dtype, device=engine.plan.device)
    engine.form(values, start, made[None])
    return made


def _inner(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``<x, y>`` in double: the parts' products are short sums."""
    step = chunk_floats(x.device)
    parts = zip(torch.split(x, step), torch.split(y, step), strict=True)
    return torch.stack([torch.dot(a, b) for a, b in parts]).double().sum()

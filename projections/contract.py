"""What a projection gives to its users: an image, an accumulator, a scaled gradient.

Each works on ranges of D, so that nothing of D's size need exist. None of them holds a projection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

from projections.coalesce import coalesce
from projections.engines import chunk_floats

_ROWS_CHUNK = 1 << 22  # floats


class Shift(NamedTuple):
    """A request: ``out = origin + scale * (P theta)[start : start + n]``.

    ``out`` and ``origin`` (theta_0 there) have one shape with n entries, which lie in D in order.
    """

    start: int
    out: torch.Tensor
    origin: torch.Tensor
    scale: torch.Tensor | float


class GradientPart(NamedTuple):
    """The gradient of the weights ``start .. start + n``, which belong to one group.

    ``g`` has n entries in any shape.
    """

    g: torch.Tensor
    start: int
    group: int


class Image(ABC):
    """P theta for one theta, computed range by range. It is valid until theta changes.

    Args:
        dtype: of the arithmetic.
        device: where P lives.
        grain: ranges that begin and end at its multiples cost least.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device, grain: int = 1) -> None:
        self.dtype, self.device, self.grain = dtype, device, grain

    @abstractmethod
    def write(self, out: torch.Tensor, start: int = 0) -> None:
        """Write ``(P theta)[start : start + n]``, a range within D.

        Args:
            out: ``(n,)`` of the image's dtype. Its numbers may lie apart in memory.
            start: where the range begins.
        """

    def shift(
        self, out: torch.Tensor, origin: torch.Tensor, scale: torch.Tensor | float, start: int = 0
    ) -> None:
        """Write ``origin + scale * (P theta)[start : start + n]`` into ``out``.

        The sum is formed in the image's dtype, whatever the dtypes of ``out`` and ``origin``. The
        work is cut into chunks, so no copy of ``out`` is made.

        Args:
            out: n entries in any shape; its memory must be in order.
            origin: theta_0 there, in the same shape.
            scale: a number, or a tensor without dimensions.
            start: where the range begins in D.
        """
        self.shift_all([Shift(start, out, origin, scale)])

    def _shift(
        self, out: torch.Tensor, origin: torch.Tensor, scale: torch.Tensor | float, start: int
    ) -> None:
        n, step = out.numel(), max(self.grain, chunk_floats(self.device))
        buffer = self._empty(min(n, step))
        for lo in range(start - start % step, start + n, step):
            a, b = max(lo, start), min(lo + step, start + n)
            move = buffer[: b - a]
            self.write(move, a)
            at = slice(a - start, b - start)
            _add(out[at], origin[at], move, scale)

    def shift_all(self, jobs: list[Shift]) -> None:
        """Do several shifts. This costs less than one call for each: threads share all the work."""
        flat = [
            Shift(job.start, job.out.view(-1), job.origin.reshape(-1), job.scale) for job in jobs
        ]
        for run in coalesce(flat, lambda job: (job.start, job.out.numel(), None)):
            if len(run) == 1:
                start, out, origin, scale = run[0]
                self._shift(out, origin, scale, start)
                continue
            sizes = [job.out.numel() for job in run]
            moves = self._empty(sum(sizes))
            self.write(moves, run[0].start)
            for job, move in zip(run, torch.split(moves, sizes), strict=True):
                _add(job.out, job.origin, move, job.scale)

    def rows(self, starts: torch.Tensor, length: int) -> torch.Tensor:
        """P theta on the ranges ``[s, s + length)``: ``(k,) -> (k, length)``.

        Embedding tables need this, because a batch looks up few of their rows.
        """
        out = self._empty(len(starts), length)
        for row, start in zip(out, starts.tolist(), strict=True):
            self.write(row, start)
        return out

    def shift_rows(
        self,
        table: torch.Tensor,
        origin: torch.Tensor,
        rows: torch.Tensor,
        scale: torch.Tensor | float,
        start: int,
    ) -> None:
        """Shift these rows of a table.

        Args:
            table: ``(n, width)``, written in place.
            origin: theta_0 of the whole table, ``(n, width)``.
            rows: which rows, ``(k,)``.
            scale: a number, or a tensor without dimensions.
            start: where the table begins in D.
        """
        width = table.shape[1]
        # In chunks, so that all rows of a large vocabulary need no second copy of the table.
        for part in torch.split(rows, max(1, _ROWS_CHUNK // width)):
            move = self.rows(start + part * width, width)
            _add(move, origin.index_select(0, part), move, scale)
            table.index_copy_(0, part, move.to(table.dtype))

    def _empty(self, *shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)


def _add(
    out: torch.Tensor, origin: torch.Tensor, move: torch.Tensor, scale: torch.Tensor | float
) -> None:
    """``out = origin + scale * move``, formed in move's dtype. Overwrites ``move``."""
    moved = torch.add(origin.to(move.dtype), move.mul_(scale), out=move)
    if out is not move:
        out.copy_(moved)


class Accumulator(ABC):
    """P^T v, gathered from ranges of v in any order."""

    @abstractmethod
    def add(self, v: torch.Tensor, start: int = 0) -> None:
        """Take in ``v`` ``(n,)`` of the projection's dtype.

        It lies on the range ``[start, start + n)`` within D, which may overlap others. The
        accumulator may keep ``v`` itself until ``finish``, so do not overwrite it.
        """

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        """Take in ``v`` ``(k, length)`` on the ranges ``[s, s + length)``, which may repeat."""
        for row, start in zip(v, starts.tolist(), strict=True):
            self.add(row, start)

    @abstractmethod
    def finish(self) -> torch.Tensor:
        """Return P^T of all that was added: ``(d,)``. Call it once, last."""

    def inner(self, adjoint: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """Return ``<v, P theta>`` for the v that was added. ``adjoint`` is what ``finish`` gave."""
        return torch.dot(adjoint, theta)


class ScaledGradient(ABC):
    """What the weights' gradient g means for theta and for the structure-aware scales.

    The weights are ``theta_0 + scale_group * P theta``. That is bilinear, so one pass over g gives
    both gradients. g comes in ranges, in any order.

    Args:
        scales: ``(groups,)``; None for P theta alone, which is one group of scale 1.
    """

    def __init__(self, scales: torch.Tensor | None) -> None:
        self._scales = scales

    @abstractmethod
    def add_all(self, parts: list[GradientPart]) -> None:
        """Take in these parts of g. It may keep them until ``finish``; do not overwrite them."""

    @abstractmethod
    def add_rows(self, g: torch.Tensor, starts: torch.Tensor, group: int) -> None:
        """Take in ``g`` ``(k, length)`` on the ranges ``[s, s + length)`` of one group.

        Ranges may repeat.
        """

    @abstractmethod
    def finish(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the gradients of theta and of the scales. Call it once, last.

        Args:
            theta: the one that the weights were formed from, ``(d,)``.

        Returns:
            ``sum over groups of scale_group P^T g_group`` ``(d,)``, and ``<g_group, P theta>``
            ``(groups,)``, which is None where there are no scales.
        """

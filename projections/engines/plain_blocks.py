"""Hadamard blocks in torch operations."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.engines import chunk_floats
from projections.engines.contract import BlockEngine, Fold
from projections.engines.plan import BlockPlan
from projections.hadamard import transform_between

#: Numbers of blocks: a range of them, or a tensor ``(n,)``.
_Blocks = slice | torch.Tensor


class PlainBlocks(BlockEngine):
    """Works in chunks that stay in cache, through three kept buffers.

    Fresh memory would cost as much in page faults as the arithmetic does.
    """

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__(plan)
        self._step = max(1, chunk_floats(plan.device) // plan.block)
        self._scratch: torch.Tensor | None = None

    @property
    def scratch(self) -> list[torch.Tensor]:
        return [] if self._scratch is None else [self._scratch]

    def halves(self, padded: torch.Tensor) -> torch.Tensor:
        plan = self.plan
        half = torch.empty(plan.halves, plan.block, dtype=plan.dtype, device=plan.device)
        for lo, hi in self._half_spans():
            a, b, _ = self._buffers(hi - lo)
            torch.mul(self._signs(lo, hi), padded, out=a)
            torch.index_select(self._transformed(a, b), 1, plan.gather, out=half[lo:hi])
        return half

    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        plan = self.plan
        out = torch.zeros(plan.block, dtype=plan.dtype, device=plan.device)
        for lo, hi in self._half_spans():
            a, b, _ = self._buffers(hi - lo)
            torch.index_select(buckets[lo:hi], 1, self._place, out=a)
            out += self._transformed(a, b).mul_(self._signs(lo, hi)).sum(0)
        return out

    def form(self, values: torch.Tensor, starts: int | torch.Tensor, out: torch.Tensor) -> None:
        plan, n = self.plan, self.plan.block
        if isinstance(starts, int):
            for first, last, lo, hi in self._spans(starts, out.shape[1]):
                at = first % plan.halves
                x = self._formed(values[at : at + last - first], slice(first, last)).view(-1)
                out[0, lo - starts : hi - starts] = x[lo - first * n : hi - first * n]
            return
        blocks, place = self._cover(starts, out.shape[1])
        formed = torch.empty(len(blocks), n, dtype=plan.dtype, device=plan.device)
        for part, piece in self._chunks(blocks, formed):
            piece.copy_(self._formed(values[part % plan.halves], part))
        torch.index_select(formed.view(-1), 0, place.view(-1), out=out.view(-1))

    def fold_all(
        self,
        sums: torch.Tensor,
        jobs: list[Fold],
        values: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        if scales is None:
            for starts, v, _ in jobs:
                self._fold(sums, starts, v, 1.0, None)
            return None
        inner = torch.zeros_like(scales, dtype=torch.float64)
        for starts, v, group in jobs:
            inner[group] += self._fold(sums, starts, v, scales[group], values)
        return inner

    def _fold(
        self,
        buckets: torch.Tensor,
        starts: int | torch.Tensor,
        v: torch.Tensor,
        factor: torch.Tensor | float,
        half: torch.Tensor | None,
    ) -> torch.Tensor | float:
        """Do one job. Returns ``<v, P theta>``, or 0 without first halves."""
        if isinstance(starts, int):
            return self._fold_range(buckets, starts, v.reshape(-1), factor, half)
        return self._fold_rows(buckets, *_merged(starts, v), factor, half)

    def _fold_range(
        self,
        buckets: torch.Tensor,
        start: int,
        v: torch.Tensor,
        factor: torch.Tensor | float,
        half: torch.Tensor | None,
    ) -> torch.Tensor | float:
        plan, rows = self.plan, self.plan.block
        inner: torch.Tensor | float = 0.0
        for first, last, lo, hi in self._spans(start, len(v)):
            x, n = v[lo - start : hi - start], last - first
            if hi - lo != n * rows:
                padded = torch.zeros(n * rows, dtype=plan.dtype, device=plan.device)
                padded[lo - first * rows : hi - first * rows] = x
                x = padded
            at = slice(first % plan.halves, first % plan.halves + n)
            x = self._transposed(x.view(n, rows), slice(first, last))
            if half is not None:
                inner = inner + torch.dot(x.view(-1), half[at].view(-1)).double()
            buckets[at].addcmul_(x, torch.as_tensor(factor, dtype=x.dtype, device=x.device))
        return inner

    def _fold_rows(
        self,
        buckets: torch.Tensor,
        starts: torch.Tensor,
        v: torch.Tensor,
        factor: torch.Tensor | float,
        half: torch.Tensor | None,
    ) -> torch.Tensor | float:
        plan, n = self.plan, self.plan.block
        inner: torch.Tensor | float = 0.0
        blocks, place = self._cover(starts, v.shape[1])
        spread = torch.zeros(len(blocks) * n, dtype=plan.dtype, device=plan.device)
        spread[place.view(-1)] = v.reshape(-1)
        for part, piece in self._chunks(blocks, spread.view(-1, n)):
            x, at = self._transposed(piece, part), part % plan.halves
            if half is not None:
                inner = inner + torch.dot(x.view(-1), half[at].view(-1)).double()
            buckets.index_add_(0, at, x.mul_(factor))
        return inner

    def _transformed(self, x: torch.Tensor, spare: torch.Tensor) -> torch.Tensor:
        """H of each row, in one of the two buffers."""
        return transform_between(x, spare)[0]

    def _signs(self, lo: int, hi: int) -> torch.Tensor:
        """The B_j of first halves ``lo .. hi``: ``(hi - lo, block)``."""
        signs = random.unpack_signs(self.plan.signs[lo:hi], self.plan.dtype)
        return signs[:, : self.plan.block]

    def _multiply(
        self, x: torch.Tensor, blocks: _Blocks, out: torch.Tensor, spare: torch.Tensor
    ) -> None:
        """``out = M_b x_b`` for each row of x."""
        middle = self.plan.middle[blocks]
        if middle.dtype == torch.uint8:
            middle = random.unpack_signs(middle, self.plan.dtype, out=spare)
        torch.mul(x, middle, out=out)

    def _formed(self, half: torch.Tensor, blocks: _Blocks) -> torch.Tensor:
        """``H M_b half_b``."""
        a, b, spare = self._buffers(half.shape[0])
        self._multiply(half, blocks, a, spare)
        return self._transformed(a, b)

    def _transposed(self, v: torch.Tensor, blocks: _Blocks) -> torch.Tensor:
        """``M_b H v_b``."""
        a, b, spare = self._buffers(v.shape[0])
        a.copy_(v)
        x = self._transformed(a, b)
        self._multiply(x, blocks, x, spare)
        return x

    def _buffers(self, n: int) -> list[torch.Tensor]:
        """Three buffers of n blocks."""
        floats, kept = n * self.plan.block, self._scratch
        if kept is None or kept.shape[1] < floats or kept.is_inference():
            kept = torch.empty(3, floats, dtype=self.plan.dtype, device=self.plan.device)
            self._scratch = kept
        return [buffer[:floats].view(n, -1) for buffer in kept]

    def _chunks(
        self, blocks: torch.Tensor, x: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The numbers of blocks, and the blocks themselves, so many as stay in cache."""
        return zip(torch.split(blocks, self._step), torch.split(x, self._step), strict=True)

    def _half_spans(self) -> Iterator[tuple[int, int]]:
        for lo in range(0, self.plan.halves, self._step):
            yield lo, min(lo + self._step, self.plan.halves)

    def _spans(self, start: int, n: int) -> Iterator[tuple[int, int, int, int]]:
        """A range of D in chunks of blocks. No chunk wraps around J.

        Yields:
            The first and last block, and the first and last entry.
        """
        rows, stop = self.plan.block, start + n
        first = start // rows
        while first * rows < stop:
            last = min(
                (first // self._step + 1) * self._step,
                (first // self.plan.halves + 1) * self.plan.halves,
                -(-stop // rows),
            )
            yield first, last, max(start, first * rows), min(stop, last * rows)
            first = last

    def _cover(self, starts: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The blocks ``(b,)`` that hold the ranges, and each entry's place in them."""
        entry = starts[:, None] + torch.arange(length, device=self.plan.device)
        blocks, place = torch.unique(entry // self.plan.block, return_inverse=True)
        return blocks, place * self.plan.block + entry % self.plan.block


def _merged(starts: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranges ``(k,)`` and ``(k, length)`` without repetition.

    What repeats is added up, in a fixed order on every device.
    """
    shape = (int(starts.max()) + 1, v.shape[1])
    whole = torch.sparse_coo_tensor(starts[None], v, shape, check_invariants=True).coalesce()
    return whole.indices()[0], whole.values()

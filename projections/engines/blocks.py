"""The Hadamard blocks' sums: what they ask of an engine, and the plain form in torch operations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from projections import random
from projections.engines import at_once
from projections.engines.contract import Engine, merged
from projections.hadamard import transform_between

if TYPE_CHECKING:
    from projections.blocks import HadamardBlocks


class BlockEngine(Engine):
    """Values are an image's first halves, sums the buckets: ``(J, m)`` both. Block b has those of j = b modulo J.

    ``form`` gives ``H M_b half_j``, and ``fold_all`` adds ``M_b H v_b``, whose product with half_j is what v has along P theta.
    """

    def __init__(self, p: HadamardBlocks):
        super().__init__(p)
        self._place = torch.argsort(p.gather).to(torch.int32)  # Pi^T as a gather

    def zeros(self) -> torch.Tensor:
        return torch.zeros(self.p.halves, self.p.m, dtype=self.p.dtype, device=self.p.device)

    @abstractmethod
    def halves(self, theta: torch.Tensor) -> torch.Tensor:
        """``Pi H B_j theta`` for theta ``(m,)`` and every j: ``(J, m)``."""

    @abstractmethod
    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        """The sum over j of ``B_j H Pi^T bucket_j``: ``(m,)``. The buckets are the engine's from then on."""


class PlainBlocks(BlockEngine):
    """In chunks that stay in cache, through three kept buffers: fresh memory costs as much in page faults as the arithmetic."""

    def __init__(self, p: HadamardBlocks):
        super().__init__(p)
        self._step = max(1, at_once(p.device) // p.m)
        self._scratch: torch.Tensor | None = None

    @property
    def kept(self) -> list[torch.Tensor]:
        return [] if self._scratch is None else [self._scratch]

    def halves(self, theta: torch.Tensor) -> torch.Tensor:
        p = self.p
        half = torch.empty(p.halves, p.m, dtype=p.dtype, device=p.device)
        for lo, hi in self._half_spans():
            a, b, _ = self._buffers(hi - lo)
            torch.mul(self._outer(lo, hi), theta, out=a)
            torch.index_select(self._transformed(a, b), 1, p.gather, out=half[lo:hi])
        return half

    def form(self, half, starts, out) -> None:
        p = self.p
        if isinstance(starts, int):
            for first, last, lo, hi in self._spans(starts, out.shape[1]):
                at = first % p.halves
                x = self._blocks(half[at : at + last - first], slice(first, last)).view(-1)
                out[0, lo - starts : hi - starts] = x[lo - first * p.m : hi - first * p.m]
            return
        blocks, place = self._cover(starts, out.shape[1])
        x = torch.empty(len(blocks), p.m, dtype=p.dtype, device=p.device)
        for part, piece in zip(blocks.split(self._step), x.split(self._step), strict=True):
            piece.copy_(self._blocks(half[part % p.halves], part))
        torch.index_select(x.view(-1), 0, place.view(-1), out=out.view(-1))

    def fold_all(self, buckets, jobs, half=None, scales=None):
        along = None if scales is None else torch.zeros_like(scales, dtype=torch.float64)
        for starts, v, group in jobs:
            if scales is None:
                self._fold(buckets, starts, v, 1.0, None)
            else:
                along[group] += self._fold(buckets, starts, v, scales[group], half)
        return along

    def _fold(self, buckets, starts, v, factor, half):
        """One job; returns what v has along P theta, 0 without halves."""
        p, along = self.p, 0.0
        if isinstance(starts, int):
            v = v.reshape(-1)
            for first, last, lo, hi in self._spans(starts, len(v)):
                x, n = v[lo - starts : hi - starts], last - first
                if hi - lo != n * p.m:
                    padded = torch.zeros(n * p.m, dtype=p.dtype, device=p.device)
                    padded[lo - first * p.m : hi - first * p.m] = x
                    x = padded
                at = slice(first % p.halves, first % p.halves + n)
                x = self._transposed(x.view(n, p.m), slice(first, last))
                if half is not None:
                    along += torch.dot(x.view(-1), half[at].view(-1)).double()
                buckets[at].addcmul_(x, torch.as_tensor(factor, dtype=x.dtype, device=x.device))
            return along
        starts, v = merged(starts, v)
        blocks, place = self._cover(starts, v.shape[1])
        x = torch.zeros(len(blocks) * p.m, dtype=p.dtype, device=p.device)
        x[place.view(-1)] = v.reshape(-1)
        for part, piece in zip(
            blocks.split(self._step), x.view(-1, p.m).split(self._step), strict=True
        ):
            x, at = self._transposed(piece, part), part % p.halves
            if half is not None:
                along += torch.dot(x.view(-1), half[at].view(-1)).double()
            buckets.index_add_(0, at, x.mul_(factor))
        return along

    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        p = self.p
        out = torch.zeros(p.m, dtype=p.dtype, device=p.device)
        for lo, hi in self._half_spans():
            a, b, _ = self._buffers(hi - lo)
            torch.index_select(buckets[lo:hi], 1, self._place, out=a)
            out += self._transformed(a, b).mul_(self._outer(lo, hi)).sum(0)
        return out

    def _transformed(self, x: torch.Tensor, spare: torch.Tensor) -> torch.Tensor:
        return transform_between(x, spare, self.p.engine == "fht")[0]

    def _outer(self, lo: int, hi: int) -> torch.Tensor:
        """Signs B of first halves ``lo .. hi``: ``(hi - lo, m)``."""
        return random.unpack_signs(self.p.outer[lo:hi], self.p.dtype)[:, : self.p.m]

    def _multiply(
        self, x: torch.Tensor, blocks: slice | torch.Tensor, out: torch.Tensor, spare: torch.Tensor
    ) -> None:
        middle = self.p.middle[blocks]
        torch.mul(
            x,
            random.unpack_signs(middle, self.p.dtype, out=spare)
            if middle.dtype == torch.uint8
            else middle,
            out=out,
        )

    def _blocks(self, half: torch.Tensor, blocks: slice | torch.Tensor) -> torch.Tensor:
        a, b, spare = self._buffers(half.shape[0])
        self._multiply(half, blocks, a, spare)
        return self._transformed(a, b)

    def _transposed(self, v: torch.Tensor, blocks: slice | torch.Tensor) -> torch.Tensor:
        a, b, spare = self._buffers(v.shape[0])
        a.copy_(v)
        x = self._transformed(a, b)
        self._multiply(x, blocks, x, spare)
        return x

    def _buffers(self, n: int) -> list[torch.Tensor]:
        m = self.p.m
        if self._scratch is None or self._scratch.shape[1] < n * m or self._scratch.is_inference():
            self._scratch = torch.empty(3, n * m, dtype=self.p.dtype, device=self.p.device)
        return [buffer[: n * m].view(n, m) for buffer in self._scratch]

    def _half_spans(self) -> Iterator[tuple[int, int]]:
        for lo in range(0, self.p.halves, self._step):
            yield lo, min(lo + self._step, self.p.halves)

    def _spans(self, start: int, n: int) -> Iterator[tuple[int, int, int, int]]:
        """A range of D in chunks: (first block, last block, first entry, last entry). No chunk wraps around J."""
        m, stop = self.p.m, start + n
        first = start // m
        while first * m < stop:
            last = min(
                (first // self._step + 1) * self._step,
                (first // self.p.halves + 1) * self.p.halves,
                -(-stop // m),
            )
            yield first, last, max(start, first * m), min(stop, last * m)
            first = last

    def _cover(self, starts: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The blocks that hold the ranges, and where in those blocks each entry lies: ``(b,)`` and ``(k, length)``."""
        entry = starts[:, None] + torch.arange(length, device=self.p.device)
        blocks, place = torch.unique(entry // self.p.m, return_inverse=True)
        return blocks, place * self.p.m + entry % self.p.m

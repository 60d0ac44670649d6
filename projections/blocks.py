"""What the Hadamard families share: D cut into blocks of m, each ``H diag Pi H diag``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch

from projections import random
from projections.base import Accumulator, Image, Projection
from projections.hadamard import transform_between

_CHUNK = 1 << 16  # floats worked on at once: a quarter of a megabyte, which stays in a core's cache
_HALVES = 1 << 20  # floats of first halves that are kept and shared, at least 64 of them
_OUTER, _PERMUTATION = 0, 1  # streams of the seed; the subclasses' own start at 2


class HadamardBlocks(Projection):
    """Rows ``[b m, (b + 1) m)`` of P are ``scale * H M_b Pi H B_j``, j = b modulo J, cut to d columns.

    M_b is the family's own diagonal, drawn for each block; B_j a diagonal of signs, drawn for each of J =
    max(64, 2^20 / m) first halves; Pi one permutation of m. Given Pi and B, the M_b alone make the blocks independent and
    every entry symmetric, so sharing Pi and the first halves ``Pi H B_j theta`` among blocks costs no independence there. It
    makes the first of the two transforms nearly free, and stores a bit a weight less. What B_j is for is a direction that is
    constant over whole blocks, where M_b gives no more than a sign: the energy that P captures of it is an average over J
    independent terms, not D/m, and so has relative variance 2/d + 2/J at most.
    """

    def __init__(self, D: int, d: int, m: int, *, seed: int, device: str | torch.device, dtype: torch.dtype):
        super().__init__(D, d, seed=seed, device=device, dtype=dtype)
        self.m = m
        self.blocks = -(-D // m)
        self.halves = min(self.blocks, max(64, _HALVES // m))
        self._signs = random.packed_signs(seed, _OUTER, self.halves * max(m, 8), device).view(self.halves, -1)
        self._gather = random.permute(torch.arange(m, device=device), m, seed, _PERMUTATION)
        self._scatter = torch.argsort(self._gather)
        self._step = max(1, _CHUNK // m)
        self._scratch: torch.Tensor | None = None

    @abstractmethod
    def multiply_middle(self, x: torch.Tensor, blocks: slice | torch.Tensor, out: torch.Tensor, spare: torch.Tensor) -> None:
        """``out = M x`` for ``x (n, m)`` on the given blocks; out may be x; ``spare`` is a third buffer like them."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """What makes the columns unit."""

    @property
    def chunk(self) -> int:
        return self._step * self.m

    def image(self, theta: torch.Tensor) -> BlockImage:
        return BlockImage(self, theta)

    def accumulator(self) -> Accumulator:
        return BlockAccumulator(self)

    def outer(self, lo: int, hi: int) -> torch.Tensor:
        """Signs B of first halves ``lo .. hi``: ``(hi - lo, m)``."""
        return random.unpack_signs(self._signs[lo:hi], self.dtype)[:, : self.m]

    def buffers(self, n: int) -> list[torch.Tensor]:
        """Three kept buffers ``(n, m)``: allocating anew for each chunk costs as much in page faults as the arithmetic."""
        if self._scratch is None or self._scratch.shape[1] < n * self.m:
            self._scratch = torch.empty(3, n * self.m, dtype=self.dtype, device=self.device)
        return [buffer[: n * self.m].view(n, self.m) for buffer in self._scratch]

    def half_spans(self) -> Iterator[tuple[int, int]]:
        for lo in range(0, self.halves, self._step):
            yield lo, min(lo + self._step, self.halves)

    def spans(self, start: int, n: int) -> Iterator[tuple[int, int, int, int]]:
        """A range of D in chunks: (first block, last block, first entry, last entry). No chunk wraps around J."""
        stop = start + n
        first = start // self.m
        while first * self.m < stop:
            last = min((first // self._step + 1) * self._step, -(-stop // self.m))
            yield first, last, max(start, first * self.m), min(stop, last * self.m)
            first = last

    def cover(self, starts: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The blocks that hold the ranges, and where in those blocks each entry lies: ``(b,)`` and ``(k, length)``."""
        entry = starts[:, None] + torch.arange(length, device=self.device)
        blocks, place = torch.unique(entry // self.m, return_inverse=True)
        return blocks, place * self.m + entry % self.m

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self._signs
        yield self._gather


class BlockImage(Image):
    """Holds the J first halves ``Pi H B_j theta``; each block then takes one diagonal and one transform."""

    def __init__(self, p: HadamardBlocks, theta: torch.Tensor):
        self._p = p
        scaled = torch.zeros(p.m, dtype=p.dtype, device=p.device)
        torch.mul(theta, p.scale, out=scaled[: p.d])
        self._half = torch.empty(p.halves, p.m, dtype=p.dtype, device=p.device)
        for lo, hi in p.half_spans():
            a, b, _ = p.buffers(hi - lo)
            torch.mul(p.outer(lo, hi), scaled, out=a)
            torch.index_select(transform_between(a, b)[0], 1, p._gather, out=self._half[lo:hi])

    def _blocks(self, half: torch.Tensor, blocks: slice | torch.Tensor) -> torch.Tensor:
        a, b, spare = self._p.buffers(half.shape[0])
        self._p.multiply_middle(half, blocks, a, spare)
        return transform_between(a, b)[0]

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        p = self._p
        for first, last, lo, hi in p.spans(start, out.numel()):
            at = first % p.halves
            x = self._blocks(self._half[at: at + last - first], slice(first, last)).view(-1)
            out[lo - start: hi - start] = x[lo - first * p.m: hi - first * p.m]

    def rows(self, starts: torch.Tensor, length: int) -> torch.Tensor:
        """P theta on the ranges ``[s, s + length)``: ``(k,) -> (k, length)``. For embedding tables, of which a batch needs few rows."""
        p = self._p
        blocks, place = p.cover(starts, length)
        x = torch.empty(len(blocks), p.m, dtype=p.dtype, device=p.device)
        for part, piece in zip(blocks.split(p._step), x.split(p._step), strict=True):
            piece.copy_(self._blocks(self._half[part % p.halves], part))
        return x.view(-1)[place]


class BlockAccumulator(Accumulator):
    """Adds each block's ``M_b H v_b`` to the bucket of its first half, and does the first halves' transpose once."""

    def __init__(self, p: HadamardBlocks):
        self._p = p
        self._buckets = torch.zeros(p.halves, p.m, dtype=p.dtype, device=p.device)

    def _blocks(self, v: torch.Tensor, blocks: slice | torch.Tensor) -> torch.Tensor:
        a, b, spare = self._p.buffers(v.shape[0])
        a.copy_(v)
        a, b = transform_between(a, b)
        self._p.multiply_middle(a, blocks, a, spare)
        return a

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        p = self._p
        for first, last, lo, hi in p.spans(start, v.numel()):
            x, n = v[lo - start: hi - start], last - first
            if hi - lo != n * p.m:
                padded = torch.zeros(n * p.m, dtype=p.dtype, device=p.device)
                padded[lo - first * p.m: hi - first * p.m] = x
                x = padded
            at = first % p.halves
            self._buckets[at: at + n] += self._blocks(x.view(n, p.m), slice(first, last))

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        """Take in ``v (k, length)`` on the disjoint ranges ``[s, s + length)``."""
        p = self._p
        blocks, place = p.cover(starts, v.shape[1])
        x = torch.zeros(len(blocks) * p.m, dtype=p.dtype, device=p.device)
        x[place.view(-1)] = v.reshape(-1)
        for part, piece in zip(blocks.split(p._step), x.view(-1, p.m).split(p._step), strict=True):
            self._buckets.index_add_(0, part % p.halves, self._blocks(piece, part))

    def finish(self) -> torch.Tensor:
        p = self._p
        out = torch.zeros(p.m, dtype=p.dtype, device=p.device)
        for lo, hi in p.half_spans():
            a, b, _ = p.buffers(hi - lo)
            torch.index_select(self._buckets[lo:hi], 1, p._scatter, out=a)
            out += transform_between(a, b)[0].mul_(p.outer(lo, hi)).sum(0)
        return out[: p.d].mul_(p.scale)

"""What the Hadamard families share: D cut into blocks of m, each ``H diag Pi H diag``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch

from projections import random
from projections.base import Projection
from projections.hadamard import transform_between

_CHUNK = 1 << 16  # floats worked on at once: a quarter of a megabyte, which stays in a core's cache
_OUTER, _PERMUTATION = 0, 1  # streams of the seed; the subclasses' own start at 2


class HadamardBlocks(Projection):
    """Rows ``[b m, (b + 1) m)`` of P are ``scale * H M_b Pi H B_b``, cut to d columns.

    B_b is a diagonal of signs drawn for each block, M_b the family's own diagonal, and Pi one permutation of m shared
    by all blocks. Sharing Pi costs no independence between blocks: given Pi, B_b and M_b alone make them independent.
    It saves 8 bytes a weight or a permutation made anew at every step.
    """

    def __init__(self, D: int, d: int, m: int, *, seed: int, device: str | torch.device, dtype: torch.dtype):
        super().__init__(D, d, seed=seed, device=device, dtype=dtype)
        self.m = m
        self.blocks = -(-D // m)
        self._signs = random.packed_signs(seed, _OUTER, self.blocks * max(m, 8), device).view(self.blocks, -1)
        self._gather = random.permute(torch.arange(m, device=device), m, seed, _PERMUTATION)
        self._scatter = torch.argsort(self._gather)
        self._scratch: torch.Tensor | None = None

    @abstractmethod
    def _multiply_middle(self, x: torch.Tensor, select: slice | torch.Tensor, spare: torch.Tensor) -> None:
        """``x (n, m)`` times the diagonal M of the selected blocks, in place; ``spare`` is a buffer like x."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """What makes the columns unit."""

    @property
    def chunk(self) -> int:
        return max(1, _CHUNK // self.m) * self.m

    def _buffers(self, n: int) -> list[torch.Tensor]:
        """Three kept buffers ``(n, m)``: allocating anew for each chunk would cost more than the arithmetic."""
        if self._scratch is None or self._scratch.shape[1] < n * self.m:
            self._scratch = torch.empty(3, n * self.m, dtype=self.dtype, device=self.device)
        return [buffer[: n * self.m].view(n, self.m) for buffer in self._scratch]

    def _forward(self, theta: torch.Tensor, select, n: int) -> torch.Tensor:
        """P theta on the selected blocks: ``(d,) -> (n, m)``, in a buffer that the next call reuses."""
        a, b, spare = self._buffers(n)
        packed = self._signs[select]
        if self.m < 8:
            a.copy_(random.unpack_signs(packed, self.dtype)[:, : self.m])
        else:
            random.unpack_signs(packed, self.dtype, out=a)
        scaled = torch.zeros(self.m, dtype=self.dtype, device=self.device)
        torch.mul(theta, self.scale, out=scaled[: self.d])
        a, b = transform_between(a.mul_(scaled), b)
        torch.index_select(a, 1, self._gather, out=b)
        self._multiply_middle(b, select, spare)
        return transform_between(b, a)[0]

    def _backward(self, v: torch.Tensor, select, out: torch.Tensor) -> None:
        """``out += P^T v`` on the selected blocks: ``(n, m) -> (d,)``. v is left as it was."""
        n = v.shape[0]
        a, b, spare = self._buffers(n)
        a.copy_(v)
        a, b = transform_between(a, b)
        self._multiply_middle(a, select, spare)
        torch.index_select(a, 1, self._scatter, out=b)
        a, b = transform_between(b, a)
        packed = self._signs[select]
        if self.m < 8:
            b = random.unpack_signs(packed, self.dtype)[:, : self.m]
        else:
            random.unpack_signs(packed, self.dtype, out=b)
        out.add_(a.mul_(b).sum(0)[: self.d], alpha=self.scale)

    def _spans(self, start: int, n: int) -> Iterator[tuple[int, int, int, int]]:
        """Pieces of a range as (first block, last block, offset into them, entries)."""
        stop = start + n
        step = self.chunk // self.m
        first = start // self.m
        while first * self.m < stop:
            last = min(first + step, -(-stop // self.m))
            lo, hi = max(start, first * self.m), min(stop, last * self.m)
            yield first, last, lo, hi
            first = last

    def write(self, theta: torch.Tensor, out: torch.Tensor, start: int = 0) -> None:
        for first, last, lo, hi in self._spans(start, out.numel()):
            x = self._forward(theta, slice(first, last), last - first).view(-1)
            out[lo - start: hi - start] = x[lo - first * self.m: hi - first * self.m]

    def adjoint_add(self, v: torch.Tensor, out: torch.Tensor, start: int = 0) -> None:
        for first, last, lo, hi in self._spans(start, v.numel()):
            x = v[lo - start: hi - start]
            if hi - lo != (last - first) * self.m:
                padded = torch.zeros((last - first) * self.m, dtype=self.dtype, device=self.device)
                padded[lo - first * self.m: hi - first * self.m] = x
                x = padded
            self._backward(x.view(last - first, self.m), slice(first, last), out)

    # Rows of an embedding: many short ranges, of which a batch needs few.

    def _cover(self, starts: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The blocks that hold the ranges, and where in those blocks each entry lies: ``(b,)`` and ``(k, length)``."""
        entry = starts[:, None] + torch.arange(length, device=self.device)
        blocks, place = torch.unique(entry // self.m, return_inverse=True)
        return blocks, place * self.m + entry % self.m

    def write_rows(self, theta: torch.Tensor, starts: torch.Tensor, length: int) -> torch.Tensor:
        """P theta on the ranges ``[s, s + length)``: ``(k,) -> (k, length)``."""
        blocks, place = self._cover(starts, length)
        step = max(1, _CHUNK // self.m)
        x = torch.cat([self._forward(theta, part, len(part)).clone() for part in blocks.split(step)])
        return x.view(-1)[place]

    def adjoint_add_rows(self, v: torch.Tensor, starts: torch.Tensor, out: torch.Tensor) -> None:
        """``out += P^T v`` for v ``(k, length)`` on the disjoint ranges ``[s, s + length)``."""
        blocks, place = self._cover(starts, v.shape[1])
        x = torch.zeros(len(blocks) * self.m, dtype=self.dtype, device=self.device)
        x[place.view(-1)] = v.reshape(-1)
        step = max(1, _CHUNK // self.m)
        for part, piece in zip(blocks.split(step), x.view(-1, self.m).split(step), strict=True):
            self._backward(piece, part, out)

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self._signs
        yield self._gather

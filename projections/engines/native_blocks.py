"""The Hadamard blocks' sums by the compiled loops: a block is signed, transformed and written while it lies in the first-level cache."""

from __future__ import annotations

import torch

from projections.engines.blocks import BlockEngine
from projections.engines.native import PARTS, NativeSums, call, ranges


class NativeBlocks(NativeSums, BlockEngine):
    def __init__(self, p):
        super().__init__(p)
        packed = p.middle.dtype == torch.uint8
        self._middle = (p.middle, None) if packed else (None, p.middle.to(p.dtype))
        self._kept: torch.Tensor | None = None  # buckets of the last time: fresh memory costs more than the products with it

    def zeros(self) -> torch.Tensor:
        kept, self._kept = self._kept, None
        return super().zeros() if kept is None else kept.zero_()

    def halves(self, theta: torch.Tensor) -> torch.Tensor:
        p = self.p
        half = torch.empty(p.halves, p.m, dtype=p.dtype)
        call("halves", p.dtype, half.numel(), p.m, p.halves, theta, p.outer, p.gather, half)
        return half

    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        p = self.p
        out = torch.empty(p.m, dtype=p.dtype)
        call("unhalve", p.dtype, buckets.numel(), p.m, p.halves, buckets, p.outer, p.scatter, out)
        self._kept = buckets
        return out

    def _read(self, half: torch.Tensor, work: int, jobs: list[tuple]) -> None:
        call("form", self.p.dtype, work, self.p.m, self.p.halves, half, *self._middle, ranges(jobs), len(jobs))

    def _add(self, buckets, work, jobs, half, along) -> None:
        call("fold", self.p.dtype, work, self.p.m, self.p.halves, half, *self._middle, ranges(jobs), len(jobs), buckets, along)

    def _parts(self, buckets: torch.Tensor) -> int:
        return PARTS

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
        self._scratch: torch.Tensor | None = None

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"_scratch": None}

    @property
    def kept(self) -> list[torch.Tensor]:
        return super().kept + ([] if self._scratch is None else [self._scratch])

    def zeros(self) -> torch.Tensor:
        return self._empty(self.p.halves, self.p.m).zero_()

    def halves(self, theta: torch.Tensor) -> torch.Tensor:
        p = self.p
        half = self._empty(p.halves, p.m)
        self._call("halves", half.numel(), theta, p.outer, p.gather, half)
        return half

    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        p = self.p
        out = torch.empty(p.m, dtype=p.dtype)
        self._call("unhalve", buckets.numel(), buckets, p.outer, self._place, out)
        self.leave(buckets)
        return out

    def _read(self, half: torch.Tensor, work: int, jobs: list[tuple]) -> None:
        self._call("form", work, half, *self._middle, ranges(jobs), len(jobs))

    def _add(self, buckets, work, jobs, half, along) -> None:
        self._call("fold", work, half, *self._middle, ranges(jobs), len(jobs), buckets, along)

    def _call(self, loop: str, work: int, *arguments) -> None:
        p, threads = self.p, torch.get_num_threads()
        # Taken while in use: another thread's call makes its own.
        scratch, self._scratch = self._scratch, None
        if scratch is None or len(scratch) < threads:
            scratch = torch.empty(threads, 2, p.m, dtype=p.dtype)
        call(loop, p.dtype, work, p.m, p.halves, *arguments, scratch)
        self._scratch = scratch

    def _parts(self, buckets: torch.Tensor) -> int:
        return PARTS

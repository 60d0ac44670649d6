"""The Hadamard blocks' sums by the compiled loops."""

from __future__ import annotations

import numpy as np
import torch

from projections.engines import compiled
from projections.engines.blocks import BlockEngine
from projections.engines.compiled import array, parallel, places


class NumbaBlocks(BlockEngine):
    def __init__(self, p):
        super().__init__(p)
        self._table = compiled.sign_table(p.dtype)
        middle = array(p.middle)
        self._middle = (middle, None) if p.middle.dtype == torch.uint8 else (None, middle.astype(self._table.dtype, copy=False))
        self._outer, self._gather, self._scatter = array(p.outer), array(p.gather), array(p.scatter)
        self._scratch: list[np.ndarray] = []

    def halves(self, theta: torch.Tensor) -> torch.Tensor:
        p = self.p
        half = torch.empty(p.halves, p.m, dtype=p.dtype)
        x, out = array(theta), array(half)
        self._run(half.numel(), compiled.halves, x, self._outer, self._gather, self._table, out)
        return half

    def form(self, half, starts, out, origin=None, scale=1.0) -> None:
        z = None if origin is None else array(origin)
        self._run(
            out.numel(), compiled.form, array(half), *self._middle, self._table, places(starts), out.shape[1], z,
            self._table.dtype.type(float(scale)), array(out),
        )

    def fold(self, buckets, starts, v, factor=1.0, half=None):
        along = np.zeros(torch.get_num_threads())
        self._run(
            v.numel(), compiled.fold, array(buckets), *self._middle, self._table, places(starts), v.shape[1], array(v),
            self._table.dtype.type(float(factor)), None if half is None else array(half), along,
        )
        return float(along.sum())

    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        self._run(buckets.numel(), compiled.unhalve, array(buckets), self._outer, self._scatter, self._table)
        return buckets.sum(0)

    def _run(self, work: int, loop, *arguments) -> None:
        def run(part: int, parts: int) -> None:
            loop(*arguments, self._scratch[part], part, parts)

        while len(self._scratch) < torch.get_num_threads():
            self._scratch.append(np.empty((2, self.p.m), self._table.dtype))
        parallel(run, work)


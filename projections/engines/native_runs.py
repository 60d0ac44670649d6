"""One-hot's sums by the compiled loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from projections.engines.native import NativeSums, call, ranges
from projections.engines.runs import RunEngine

if TYPE_CHECKING:
    from projections.onehot import OneHot

_MOST_PARTS = 8  # a part has sums of its own, since two runs may reach the same coordinate


class NativeRuns(NativeSums, RunEngine):
    def __init__(self, p: OneHot):
        super().__init__(p)
        self._order, self._place, self._norm = (
            p.order.to(torch.int32),
            p.place.to(torch.int32),
            p.norm[p.order],
        )

    def values(self, theta: torch.Tensor) -> torch.Tensor:
        p, out = self.p, self._empty(self.p.run + self.p.d)
        call(
            "deal",
            p.dtype,
            out.numel(),
            p.d,
            out.numel() // p.d,
            theta.contiguous(),
            self._norm,
            self._order,
            out,
        )
        return out

    def unfold(self, sums: torch.Tensor) -> torch.Tensor:
        p, out = self.p, torch.empty(self.p.d, dtype=self.p.dtype)
        call(
            "collect",
            p.dtype,
            sums.numel(),
            p.d,
            sums.numel() // p.d,
            sums,
            p.norm,
            self._place,
            out,
        )
        self.leave(sums)
        return out

    def zeros(self) -> torch.Tensor:
        # Where runs are few, sums for each part would cost more than they save.
        return self._empty(
            min(_MOST_PARTS, max(1, self.p.runs // 8)), self.p.run + self.p.d
        ).zero_()

    def _read(self, values: torch.Tensor, work: int, jobs: list[tuple]) -> None:
        call("read", self.p.dtype, work, *self._runs(values), ranges(jobs), len(jobs))

    def _add(self, sums, work, jobs, values, along) -> None:
        call(
            "add",
            self.p.dtype,
            work,
            *self._runs(values),
            ranges(jobs),
            len(jobs),
            sums,
            *sums.shape,
            along,
        )

    def _runs(self, values: torch.Tensor | None) -> tuple:
        p = self.p
        return p.run, p.signs.shape[1], values, p.signs, p.shifts

    def _parts(self, sums: torch.Tensor) -> int:
        return len(sums)

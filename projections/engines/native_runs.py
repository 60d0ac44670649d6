"""One-hot's sums by the compiled loops."""

from __future__ import annotations

import torch

from projections.engines.native import NativeSums, call, ranges
from projections.engines.runs import RunEngine

_MOST_PARTS = 8  # a part has sums of its own, since two runs may reach the same coordinate


class NativeRuns(NativeSums, RunEngine):
    def zeros(self) -> torch.Tensor:
        # Where runs are few, sums for each part would cost more than they save.
        return torch.zeros(min(_MOST_PARTS, max(1, self.p.runs // 8)), self.p.run + self.p.d, dtype=self.p.dtype)

    def _read(self, values: torch.Tensor, work: int, jobs: list[tuple]) -> None:
        call("read", self.p.dtype, work, *self._runs(values), ranges(jobs), len(jobs))

    def _add(self, sums, work, jobs, values, along) -> None:
        call("add", self.p.dtype, work, *self._runs(values), ranges(jobs), len(jobs), sums, *sums.shape, along)

    def _runs(self, values: torch.Tensor | None) -> tuple:
        p = self.p
        return p.run, p.signs.shape[1], values, p.signs, p.shifts

    def _parts(self, sums: torch.Tensor) -> int:
        return len(sums)

"""One-hot runs by the compiled loops."""

from __future__ import annotations

import torch

from projections.engines.contract import RunEngine
from projections.engines.native import Argument, Ranges, call, packed
from projections.engines.native_engine import NativeEngine
from projections.engines.plan import RunPlan

_MOST_PARTS = 8


class NativeRuns(NativeEngine[RunPlan], RunEngine):
    """Each part of the work has sums of its own, because two runs may reach one coordinate."""

    def __init__(self, plan: RunPlan) -> None:
        super().__init__(plan)
        self._order, self._place = plan.order.to(torch.int32), plan.place.to(torch.int32)
        self._norm = plan.norm[plan.order]

    def values(self, theta: torch.Tensor) -> torch.Tensor:
        plan = self.plan
        out = self._empty(plan.run + plan.d)
        rounds = out.numel() // plan.d
        given = theta.contiguous(), self._norm, self._order, out
        call("deal", plan.dtype, out.numel(), plan.d, rounds, *given)
        return out

    def unfold(self, sums: torch.Tensor) -> torch.Tensor:
        plan = self.plan
        out = torch.empty(plan.d, dtype=plan.dtype)
        rounds = sums.numel() // plan.d
        given = sums, plan.norm, self._place, out
        call("collect", plan.dtype, sums.numel(), plan.d, rounds, *given)
        self.recycle(sums)
        return out

    def zeros(self) -> torch.Tensor:
        # Where runs are few, sums for each part would cost more than they save.
        parts = min(_MOST_PARTS, max(1, self.plan.runs // 8))
        return self._empty(parts, self.plan.run + self.plan.d).zero_()

    def _read(self, values: torch.Tensor, work: int, ranges: list[Ranges]) -> None:
        given = *self._runs(values), packed(ranges), len(ranges)
        call("read", self.plan.dtype, work, *given)

    def _add(
        self,
        sums: torch.Tensor,
        work: int,
        ranges: list[Ranges],
        values: torch.Tensor | None,
        inner: torch.Tensor | None,
    ) -> None:
        given = *self._runs(values), packed(ranges), len(ranges), sums, *sums.shape, inner
        call("add", self.plan.dtype, work, *given)

    def _runs(self, values: torch.Tensor | None) -> tuple[Argument, ...]:
        plan = self.plan
        return plan.run, plan.signs.shape[1], values, plan.signs, plan.shifts

    def _parts(self, sums: torch.Tensor) -> int:
        return len(sums)

"""One-hot runs in torch operations."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.engines import chunk_floats
from projections.engines.contract import Fold, RunEngine


class PlainRuns(RunEngine):
    """Works in chunks of whole runs that stay in cache."""

    def values(self, theta: torch.Tensor) -> torch.Tensor:
        plan = self.plan
        return (theta * plan.norm).index_select(0, plan.order).repeat(plan.run // plan.d + 1)

    def unfold(self, sums: torch.Tensor) -> torch.Tensor:
        plan = self.plan
        return sums.view(-1, plan.d).sum(0).index_select(0, plan.place).mul_(plan.norm)

    def zeros(self) -> torch.Tensor:
        return torch.zeros(self.plan.run, dtype=self.plan.dtype, device=self.plan.device)

    def form(self, values: torch.Tensor, starts: int | torch.Tensor, out: torch.Tensor) -> None:
        if not isinstance(starts, int):
            place, sign = self._each(starts, out.shape[1])
            torch.mul(values[place], sign, out=out)
            return
        L, shifts = self.plan.run, self.plan.shifts
        entered = values.unfold(0, L, 1)  # row s: a run that is entered at s
        for first, last, lo, hi in self._spans(starts, out.shape[1]):
            signed = entered.index_select(0, shifts[first:last]).mul_(self._signs(first, last))
            x = signed.view(-1)
            out[0, lo - starts : hi - starts] = x[lo - first * L : hi - first * L]

    def fold_all(
        self,
        sums: torch.Tensor,
        jobs: list[Fold],
        values: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        if scales is None or values is None:
            for starts, v, _ in jobs:
                self._fold(sums, starts, v)
            return None
        inner = torch.zeros_like(scales, dtype=torch.float64)
        for starts, v, group in jobs:
            own = torch.zeros_like(sums)
            self._fold(own, starts, v)
            inner[group] += torch.dot(own, values[: self.plan.run]).double()
            sums.addcmul_(own, scales[group])
        return inner

    def _fold(self, sums: torch.Tensor, starts: int | torch.Tensor, v: torch.Tensor) -> None:
        plan, L = self.plan, self.plan.run
        if not isinstance(starts, int):
            place, sign = self._each(starts, v.shape[1])
            sums.index_add_(0, (place % L).view(-1), (v * sign).view(-1))
            return
        v = v.reshape(-1)
        for first, last, lo, hi in self._spans(starts, len(v)):
            n = last - first
            # Each run twice, end to end: a range of that is the run turned back to coordinate 0.
            twice = torch.zeros(n, 2, L, dtype=plan.dtype, device=plan.device)
            once = torch.zeros(n * L, dtype=plan.dtype, device=plan.device)
            once[lo - first * L : hi - first * L] = v[lo - starts : hi - starts]
            torch.mul(once.view(n, L), self._signs(first, last), out=twice[:, 0])
            twice[:, 1] = twice[:, 0]
            at = 2 * L * torch.arange(n, device=plan.device) + L - plan.shifts[first:last]
            sums += twice.view(-1).unfold(0, L, 1).index_select(0, at).sum(0)

    def _signs(self, first: int, last: int) -> torch.Tensor:  # (last - first, L)
        signs = random.unpack_signs(self.plan.signs[first:last], self.plan.dtype)
        return signs[:, : self.plan.run]

    def _each(self, starts: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each weight of the ranges reads, and with which sign: ``(k, length)`` both."""
        plan = self.plan
        entry = starts[:, None] + torch.arange(length, device=plan.device)
        run, inside = entry // plan.run, entry % plan.run
        byte = plan.signs.view(-1)[run * plan.signs.shape[1] + inside // 8].long()
        return plan.shifts[run] + inside, (1 - 2 * ((byte >> inside % 8) & 1)).to(plan.dtype)

    def _spans(self, start: int, n: int) -> Iterator[tuple[int, int, int, int]]:
        """A range of D in chunks of whole runs.

        Yields:
            The first and last run, and the first and last entry.
        """
        L, stop = self.plan.run, start + n
        step = max(1, chunk_floats(self.plan.device) // L)
        for first in range(start // L, -(-stop // L), step):
            last = min(first + step, -(-stop // L))
            yield first, last, max(start, first * L), min(stop, last * L)

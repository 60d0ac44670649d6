"""One-hot's sums by the compiled loops."""

from __future__ import annotations

import torch

from projections.engines import compiled
from projections.engines.compiled import array, parallel, places
from projections.engines.runs import RunEngine


class NumbaRuns(RunEngine):
    def __init__(self, p):
        super().__init__(p)
        self._table = compiled.sign_table(p.dtype)
        self._signs, self._shifts = array(p.signs), array(p.shifts)

    def zeros(self) -> torch.Tensor:
        # One for each thread, since two runs may reach the same coordinate; where runs are few, these would cost more than they save.
        return torch.zeros(min(torch.get_num_threads(), max(1, self.p.runs // 8)), self.p.run + self.p.d, dtype=self.p.dtype)

    def form(self, values, starts, out, origin=None, scale=1.0) -> None:
        x, z, y = array(values), None if origin is None else array(origin), array(out)
        at, factor = places(starts), self._table.dtype.type(float(scale))

        def run(part: int, parts: int) -> None:
            compiled.read_runs(x, self._signs, self._shifts, self._table, self.p.run, at, z, factor, y, part, parts)

        parallel(run, out.numel())

    def fold(self, sums, starts, v) -> None:
        x, at, total = array(v), places(starts), array(sums)

        def run(part: int, parts: int) -> None:
            compiled.add_runs(total[part], self._signs, self._shifts, self._table, self.p.run, at, x, part, parts)

        parallel(run, v.numel(), len(total))

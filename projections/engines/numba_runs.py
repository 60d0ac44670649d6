"""One-hot's sums, compiled."""

from __future__ import annotations

import torch

from projections.engines.compiled import array, jit, parallel, places, sign_table
from projections.engines.runs import RunEngine


class NumbaRuns(RunEngine):
    def __init__(self, p):
        super().__init__(p)
        self._table = sign_table(p.dtype)
        self._signs, self._shifts = array(p.signs), array(p.shifts)

    def zeros(self) -> torch.Tensor:
        # One for each thread, since two runs may reach the same coordinate; where runs are few, these would cost more than they save.
        return torch.zeros(min(torch.get_num_threads(), max(1, self.p.runs // 8)), self.p.run + self.p.d, dtype=self.p.dtype)

    def form(self, values, starts, out, origin=None, scale=1.0) -> None:
        self.form_all(values, [(starts, out, origin, scale)])

    def form_all(self, values, jobs) -> None:
        x = array(values)
        calls = [
            (places(starts), None if origin is None else array(origin), self._table.dtype.type(float(scale)), array(out))
            for starts, out, origin, scale in jobs
        ]

        def run(part: int, parts: int) -> None:
            for at, z, factor, y in calls:
                _read(x, self._signs, self._shifts, self._table, self.p.run, at, z, factor, y, part, parts)

        parallel(run, sum(out.numel() for _, out, _, _ in jobs))

    def fold(self, sums, starts, v, factor=1.0, values=None) -> None:
        self.fold_all(sums, [(starts, v, factor)])

    def fold_all(self, sums, jobs, values=None) -> None:
        total, calls = array(sums), [(places(starts), array(v)) for starts, v, _ in jobs]

        def run(part: int, parts: int) -> None:
            for at, x in calls:
                _add(total[part], self._signs, self._shifts, self._table, self.p.run, at, x, part, parts)

        parallel(run, sum(v.numel() for _, v, _ in jobs), len(total))


@jit
def _read(values, signs, shifts, table, L, starts, origin, scale, out, part, parts):
    """``out = origin + scale * s_i values[shift_r + i - r L]`` for the weights i of the ranges, r their run; origin may be None."""
    length = out.shape[1]
    for row in range(starts.shape[0]):
        start = starts[row]
        for r in range(start // L, (start + length + L - 1) // L):
            if r % parts != part:
                continue
            lo, hi = max(start, r * L), min(start + length, r * L + L)
            inside, n = lo - r * L, hi - lo
            x, y, s = values[shifts[r] + inside: shifts[r] + inside + n], out[row, lo - start: hi - start], signs[r]
            head = min(-inside % 8, n)  # up to where a byte of signs begins
            whole = (n - head) // 8
            for i in range(n - 8 * whole):
                i += 8 * whole * (i >= head)
                bit = (s[(inside + i) >> 3] >> ((inside + i) & 7)) & 1
                y[i] = -x[i] if bit else x[i]
            for k in range(whole):
                t, i = table[s[((inside + head) >> 3) + k]], head + 8 * k
                u, v = x[i: i + 8], y[i: i + 8]
                for c in range(8):
                    v[c] = u[c] * t[c]
            if origin is not None:
                z = origin[row, lo - start: hi - start]
                for i in range(n):
                    y[i] = z[i] + scale * y[i]


@jit
def _add(sums, signs, shifts, table, L, starts, v, part, parts):
    """``sums[shift_r + i - r L] += s_i v_i`` for the weights i of the ranges, r their run."""
    length = v.shape[1]
    for row in range(starts.shape[0]):
        start = starts[row]
        for r in range(start // L, (start + length + L - 1) // L):
            if r % parts != part:
                continue
            lo, hi = max(start, r * L), min(start + length, r * L + L)
            inside, n = lo - r * L, hi - lo
            x, y, s = v[row, lo - start: hi - start], sums[shifts[r] + inside: shifts[r] + inside + n], signs[r]
            head = min(-inside % 8, n)
            whole = (n - head) // 8
            for i in range(n - 8 * whole):
                i += 8 * whole * (i >= head)
                bit = (s[(inside + i) >> 3] >> ((inside + i) & 7)) & 1
                y[i] += -x[i] if bit else x[i]
            for k in range(whole):
                t, i = table[s[((inside + head) >> 3) + k]], head + 8 * k
                u, w = x[i: i + 8], y[i: i + 8]
                for c in range(8):
                    w[c] += u[c] * t[c]

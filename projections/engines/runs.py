"""One-hot's sums: what they ask of an engine, and the plain form in torch operations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch

from projections import random
from projections.engines import at_once
from projections.engines.contract import Engine


class RunEngine(Engine):
    """Values are theta's coordinates in their order, round after round; sums are those of whole rounds of d.

    Weight i of run r has ``s_i values[shift_r + i - r L]``.
    """

    @abstractmethod
    def values(self, theta: torch.Tensor) -> torch.Tensor:
        """Of theta ``(d,)``: rounds enough that a run is one range of them wherever it is entered, ``(L + d,)``."""

    @abstractmethod
    def unfold(self, sums: torch.Tensor) -> torch.Tensor:
        """The transpose: ``(d,)`` of sums over rounds. The sums are the engine's from then on."""


class PlainRuns(RunEngine):
    def values(self, theta: torch.Tensor) -> torch.Tensor:
        p = self.p
        return (theta * p.norm).index_select(0, p.order).repeat(p.run // p.d + 1)

    def unfold(self, sums: torch.Tensor) -> torch.Tensor:
        p = self.p
        return sums.view(-1, p.d).sum(0).index_select(0, p.place).mul_(p.norm)

    def zeros(self) -> torch.Tensor:
        return torch.zeros(self.p.run, dtype=self.p.dtype, device=self.p.device)

    def form(self, values, starts, out) -> None:
        if not isinstance(starts, int):
            place, sign = self._each(starts, out.shape[1])
            torch.mul(values[place], sign, out=out)
            return
        L = self.p.run
        entered = values.unfold(0, L, 1)  # row s: a run that is entered at s
        for first, last, lo, hi in self._spans(starts, out.shape[1]):
            x = (
                entered.index_select(0, self.p.shifts[first:last])
                .mul_(self._signs(first, last))
                .view(-1)
            )
            out[0, lo - starts : hi - starts] = x[lo - first * L : hi - first * L]

    def fold_all(self, sums, jobs, values=None, scales=None):
        along = None if scales is None else torch.zeros_like(scales, dtype=torch.float64)
        for starts, v, group in jobs:
            if scales is None:
                self._fold(sums, starts, v)
                continue
            share = torch.zeros_like(sums)
            self._fold(share, starts, v)
            along[group] += torch.dot(share, values[: self.p.run]).double()
            sums.addcmul_(share, scales[group])
        return along

    def _fold(self, sums, starts, v) -> None:
        L = self.p.run
        if not isinstance(starts, int):
            place, sign = self._each(starts, v.shape[1])
            sums.index_add_(0, (place % L).view(-1), (v * sign).view(-1))
            return
        v = v.reshape(-1)
        for first, last, lo, hi in self._spans(starts, len(v)):
            n = last - first
            # Each run twice, end to end: a range of that is the run turned back to coordinate 0.
            twice = torch.zeros(n, 2, L, dtype=self.p.dtype, device=self.p.device)
            once = torch.zeros(n * L, dtype=self.p.dtype, device=self.p.device)
            once[lo - first * L : hi - first * L] = v[lo - starts : hi - starts]
            torch.mul(once.view(n, L), self._signs(first, last), out=twice[:, 0])
            twice[:, 1] = twice[:, 0]
            at = 2 * L * torch.arange(n, device=self.p.device) + L - self.p.shifts[first:last]
            sums += twice.view(-1).unfold(0, L, 1).index_select(0, at).sum(0)

    def _signs(self, first: int, last: int) -> torch.Tensor:  # (last - first, L)
        return random.unpack_signs(self.p.signs[first:last], self.p.dtype)[:, : self.p.run]

    def _each(self, starts: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each weight of the ranges reads, and with which sign: ``(k, length)`` both."""
        p = self.p
        entry = starts[:, None] + torch.arange(length, device=p.device)
        run, inside = entry // p.run, entry % p.run
        byte = p.signs.view(-1)[run * p.signs.shape[1] + inside // 8].long()
        return p.shifts[run] + inside, (1 - 2 * ((byte >> inside % 8) & 1)).to(p.dtype)

    def _spans(self, start: int, n: int) -> Iterator[tuple[int, int, int, int]]:
        """A range of D in chunks of whole runs: (first run, last run, first entry, last entry)."""
        L, stop, step = self.p.run, start + n, max(1, at_once(self.p.device) // self.p.run)
        for first in range(start // L, -(-stop // L), step):
            last = min(first + step, -(-stop // L))
            yield first, last, max(start, first * L), min(stop, last * L)

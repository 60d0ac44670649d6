from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.base import Accumulator, Image, Projection
from projections.engines.runs import PlainRuns, RunEngine

_SIGNS, _ORDER, _SHIFTS = 0, 1, 2
_SHORTEST_RUN = 512


class OneHot(Projection):
    """Every weight reads one coordinate, with a sign: a balanced partition of the weights into d groups.

    ``(P theta)_i = s_i theta_c(i) / sqrt(n_c(i))``, n_c the number of weights that read coordinate c. D is cut into runs of L weights, L
    the smallest multiple of d of at least 512; run r reads the coordinates in the order of one random permutation of d, over and over,
    entered at a random place of its own. So every n_c is D/d, rounded down or up.
    Law: s_i fair and independent, c(i) uniform. Columns are disjoint and unit: ``P^T P = I`` exactly for any D and d. The energy that
    P captures of a fixed direction has mean d/D; of a single weight it is 1/n_c, always.
    Cost: O(D) time, one multiplication a weight; D/8 bytes of signs stored and 8 a run.
    Source: Uni-LoRA 2025 partitions LoRA's factors so, GPart 2026 (arXiv 2605.14841) the weights, unsigned.
    """

    family = "onehot"

    def __init__(self, D: int, d: int, *, seed: int = 0, device="cpu", dtype=torch.float32, engine="auto"):
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        self.run = d * -(-_SHORTEST_RUN // d)
        self.runs = -(-D // self.run)
        self.signs = random.packed_signs(seed, _SIGNS, self.runs * 8 * -(-self.run // 8), device).view(self.runs, -1)
        self.order = random.permute(torch.arange(d, device=device), d, seed, _ORDER)
        # Below 2^32 d, so the product of a word and d keeps inside 63 bits.
        self.shifts = (random.words(seed, _SHIFTS, 0, self.runs, device) * d) >> 32
        count = torch.full((d,), D // d, device=device)
        # What the last, cut run reads beyond whole rounds.
        count[self.order[(self.shifts[-1] + torch.arange(D % d, device=device)) % d]] += 1
        # Per-tensor scope has tensors of fewer than d weights: some coordinates are then read by none.
        self.norm = count.clamp(min=1).double().rsqrt().to(dtype)  # (d,)
        self.place = torch.argsort(self.order)
        self.work = _engine(self)

    @property
    def engines(self) -> tuple[str, ...]:
        return ("numba",)

    @property
    def row_wise(self) -> bool:
        return True

    def image(self, theta: torch.Tensor) -> Image:
        return _Read(self, theta)

    def accumulator(self) -> Accumulator:
        return _Gathered(self)

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self.signs
        yield self.order
        yield self.shifts


class _Read(Image):
    def __init__(self, p: OneHot, theta: torch.Tensor):
        super().__init__(p)
        # The coordinates in their order, round after round: a run is one range of it, wherever it is entered.
        self._round = (theta * p.norm).index_select(0, p.order).repeat(p.run // p.d + 1)

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        self._p.work.form(self._round, start, out[None])

    def shift(self, out: torch.Tensor, origin: torch.Tensor, scale: torch.Tensor | float, start: int = 0) -> None:
        p = self._p
        if p.engine == "numba" and out.dtype == origin.dtype == p.dtype and out.is_contiguous() and origin.is_contiguous():
            p.work.form(self._round, start, out[None], origin[None], scale)
        else:
            super().shift(out, origin, scale, start)

    def rows(self, starts: torch.Tensor, length: int) -> torch.Tensor:
        out = torch.empty(len(starts), length, dtype=self._p.dtype, device=self._p.device)
        self._p.work.form(self._round, starts, out)
        return out


class _Gathered(Accumulator):
    def __init__(self, p: OneHot):
        self._p = p
        self._sums = p.work.zeros()

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        self._p.work.fold(self._sums, start, v.reshape(1, -1))

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        self._p.work.fold(self._sums, starts, v.contiguous())

    def finish(self) -> torch.Tensor:
        p = self._p
        return self._sums.view(-1, p.d).sum(0).index_select(0, p.place).mul_(p.norm)


def _engine(p: OneHot) -> RunEngine:
    if p.engine == "numba":
        from projections.engines.numba_runs import NumbaRuns

        return NumbaRuns(p)
    return PlainRuns(p)

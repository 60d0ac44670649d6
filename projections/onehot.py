from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.base import Accumulator, Image, Projection
from projections.engines.runs import PlainRuns, RunEngine
from projections.said import Shares
from projections.worked import WorkedAccumulator, WorkedImage, WorkedShares

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

    def __init__(
        self, D: int, d: int, *, seed: int = 0, device="cpu", dtype=torch.float32, engine="auto"
    ):
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        self.run = d * -(-_SHORTEST_RUN // d)
        self.runs = -(-D // self.run)
        self.signs = random.packed_signs(
            seed, _SIGNS, self.runs * 8 * -(-self.run // 8), device
        ).view(self.runs, -1)
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
        return ("native",)

    @property
    def row_wise(self) -> bool:
        return True

    def image(self, theta: torch.Tensor) -> Image:
        self._fits(theta, self.d, "theta")
        return WorkedImage(self, self.work.values(theta))

    def accumulator(self) -> Accumulator:
        return WorkedAccumulator(self)

    def shares(self, image: Image, scales: torch.Tensor | None) -> Shares:
        return WorkedShares(self, image, scales)

    def unfold(self, sums: torch.Tensor) -> torch.Tensor:  # rounds of d -> (d,), overwriting them
        return self.work.unfold(sums)

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self.signs
        yield self.order
        yield self.shifts


def _engine(p: OneHot) -> RunEngine:
    if p.engine == "native":
        from projections.engines.native_runs import NativeRuns

        return NativeRuns(p)
    return PlainRuns(p)

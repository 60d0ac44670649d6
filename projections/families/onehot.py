"""One entry in each row: a balanced, signed partition of the weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.engines.plan import RunPlan
from projections.engines.table import run_engine
from projections.families.engine_projection import EngineProjection

_SIGNS, _ORDER, _SHIFTS = 0, 1, 2
_SHORTEST_RUN = 512


class OneHot(EngineProjection):
    """Every weight reads one coordinate, with a sign: a balanced partition into d groups.

    ``(P theta)_i = s_i theta_c(i) / sqrt(n_c(i))``, with n_c the number of weights that read
    coordinate c. D is cut into runs of L weights, L the smallest multiple of d of at least 512. Run
    r reads the coordinates in the order of one random permutation of d, over and over, and enters
    it at a random place of its own. So every n_c is D/d, rounded down or up.

    Law: s_i fair and independent, c(i) uniform. Columns are disjoint and unit: ``P^T P = I``
    exactly for any D and d. The energy that P captures of a fixed direction has mean d/D; of a
    single weight it is 1/n_c, always.

    Cost: O(D) time, one multiplication a weight. Stored: D/8 bytes of signs and 8 a run.

    Raises:
        ProjectionError: as of ``Projection``.

    Source: Uni-LoRA 2025 partitions LoRA's factors so; GPart 2026 (arXiv 2605.14841) the weights,
    without signs.
    """

    family = "onehot"

    def __init__(
        self,
        D: int,
        d: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: str = "auto",
    ) -> None:
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        run = d * -(-_SHORTEST_RUN // d)
        runs = -(-D // run)
        signs = random.packed_signs(seed, _SIGNS, runs * 8 * -(-run // 8), device).view(runs, -1)
        order = random.permute(torch.arange(d, device=device), d, seed, _ORDER)
        # Below 2^32 d, so the product of a word and d stays inside 63 bits.
        shifts = (random.words(seed, _SHIFTS, 0, runs, device) * d) >> 32
        count = torch.full((d,), D // d, device=device)
        # The last run is cut. These are the coordinates that it reads beyond whole rounds.
        count[order[(shifts[-1] + torch.arange(D % d, device=device)) % d]] += 1
        self.plan = RunPlan(
            D=D,
            d=d,
            dtype=dtype,
            device=self.device,
            run=run,
            signs=signs,
            order=order,
            place=torch.argsort(order),
            shifts=shifts,
            # In per-tensor scope a tensor of fewer than d weights leaves coordinates unread.
            norm=count.clamp(min=1).double().rsqrt().to(dtype),
        )
        self.work = run_engine(self.engine, self.plan)

    @property
    def engines(self) -> tuple[str, ...]:
        return ("native",)

    @property
    def row_wise(self) -> bool:
        return True

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self.plan.signs
        yield self.plan.order
        yield self.plan.shifts

"""The scaled gradient of any family, from one accumulator for each group."""

from __future__ import annotations

from collections.abc import Callable

import torch

from projections.coalesce import coalesce
from projections.contract import Accumulator, GradientPart, ScaledGradient


def coalesce_parts(parts: list[GradientPart], dtype: torch.dtype) -> list[GradientPart]:
    """Flatten and cast the parts, and join small neighbours of one group."""
    flat = [GradientPart(g.reshape(-1).to(dtype), start, group) for g, start, group in parts]
    runs = coalesce(flat, lambda part: (part.start, part.g.numel(), part.group))
    return [
        run[0]
        if len(run) == 1
        else GradientPart(torch.cat([part.g for part in run]), run[0].start, run[0].group)
        for run in runs
    ]


class GroupedGradient(ScaledGradient):
    """Needs nothing of a family but its accumulators.

    Args:
        new_accumulator: makes an empty one.
        dtype: of the projection.
        scales: ``(groups,)`` or None.

    Cost: one ``finish`` for each group.
    """

    def __init__(
        self,
        new_accumulator: Callable[[], Accumulator],
        dtype: torch.dtype,
        scales: torch.Tensor | None,
    ) -> None:
        super().__init__(scales)
        self._new_accumulator, self._dtype = new_accumulator, dtype
        self._sums: dict[int, Accumulator] = {}

    def add_all(self, parts: list[GradientPart]) -> None:
        for g, start, group in coalesce_parts(parts, self._dtype):
            self._of(group).add(g, start)

    def add_rows(self, g: torch.Tensor, starts: torch.Tensor, group: int) -> None:
        self._of(group).add_rows(g, starts)

    def _of(self, group: int) -> Accumulator:
        group = 0 if self._scales is None else group
        if group not in self._sums:
            self._sums[group] = self._new_accumulator()
        return self._sums[group]

    def finish(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        of_theta = torch.zeros_like(theta)
        if self._scales is None:
            for total in self._sums.values():
                of_theta += total.finish()
            return of_theta, None
        of_scales = torch.zeros_like(self._scales)
        for group, total in self._sums.items():
            adjoint = total.finish()
            of_scales[group] = total.inner(adjoint, theta)
            of_theta.addcmul_(adjoint, self._scales[group])
        return of_theta, of_scales

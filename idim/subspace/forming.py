"""Writes ``theta_0 + scale * P theta`` into memory, for the point that it was last set to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

import projections
from idim.subspace.mapped import Origins
from idim.subspace.point import Point


class Former:
    """Forms weights by their index.

    Args:
        params: the weights.
        layout: where each lies in D, and its group.
        origins: theta_0.

    Attributes:
        image: P theta at the point; None before the first one.
    """

    def __init__(self, params: list[nn.Parameter], layout: projections.Layout, origins: Origins):
        self._params, self._slices, self._origins = params, layout.slices, origins
        self._groups = len(layout.groups)
        self.image: projections.Image | None = None
        self._scales: Sequence[torch.Tensor | float] = [1.0] * self._groups

    def go_to(self, p: projections.Projection, point: Point) -> None:
        """Form at this point from now on. Cost: what all weights have in common of P theta."""
        theta, scales = point.theta.detach(), point.scales
        self.image = None  # the next one may use its memory
        self.image = p.image(theta if point.enabled else torch.zeros_like(theta))
        if scales is None or not point.enabled:
            self._scales = [1.0] * self._groups
        else:
            # On a GPU tensors, because to look at their values would be to wait for them.
            scales = scales.detach()
            self._scales = scales.unbind() if scales.is_cuda else scales.tolist()

    def form(self, indices: Sequence[int]) -> None:
        """Form these weights in their place. By our hand."""
        made = {i: self._params[i].data for i in indices}
        # Of a weight that lies in another order (channels last) a copy is formed.
        reordered = {i: p for i, p in made.items() if not p.is_contiguous()}
        for i, p in reordered.items():
            made[i] = torch.empty(p.shape, dtype=p.dtype, device=p.device)
        self._shift(made)
        for i, p in reordered.items():
            p.copy_(made[i])

    @torch.no_grad()
    def make(self, i: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Weight i in memory of its own; default: in its own dtype."""
        origin = self._origins.tensors[i]
        made = torch.empty(origin.shape, dtype=dtype or self._params[i].dtype, device=origin.device)
        self._shift({i: made})
        return made

    @torch.no_grad()
    def form_rows(self, i: int, rows: torch.Tensor) -> None:
        """Form these rows ``(k,)`` of table i in their place."""
        piece = self._slices[i]
        self._image().shift_rows(
            self._params[i].data,
            self._origins.tensors[i],
            rows,
            self._scales[piece.group],
            piece.start,
        )
        self._origins.used([i])

    def _shift(self, out: dict[int, torch.Tensor]) -> None:
        """Write the weights with these indices into contiguous memory."""
        slices, scales, origins = self._slices, self._scales, self._origins.tensors
        self._image().shift_all(
            [
                projections.Shift(slices[i].start, x, origins[i], scales[slices[i].group])
                for i, x in out.items()
            ]
        )
        self._origins.used(out)

    def _image(self) -> projections.Image:
        assert self.image is not None, "weights are formed after go_to"
        return self.image

"""What the families have in common whose arithmetic an engine does."""

from __future__ import annotations

import torch

from projections.base import Projection
from projections.contract import Accumulator, Image, ScaledGradient
from projections.engines.contract import Engine
from projections.engines.plan import Plan
from projections.engines.products import EngineAccumulator, EngineImage, EngineScaledGradient


class EngineProjection(Projection):
    """A family that draws its random tensors into a plan and leaves the products to an engine.

    A subclass sets ``work`` at the end of ``__init__``.
    """

    work: Engine[Plan]

    def image(self, theta: torch.Tensor) -> Image:
        # The engine may read theta by its address alone.
        self._fits(theta, self.d, "theta")
        return EngineImage(self.work, theta, self.grain)

    def write(self, theta: torch.Tensor, out: torch.Tensor) -> None:
        self._fits(theta, self.d, "theta")
        self.work.form_whole(theta, out)

    def accumulator(self) -> Accumulator:
        return EngineAccumulator(self.work)

    def scaled_gradient(self, image: Image, scales: torch.Tensor | None) -> ScaledGradient:
        if not isinstance(image, EngineImage):
            raise TypeError(f"image: expected one of this projection; got {type(image).__name__}")
        return EngineScaledGradient(self.work, image, scales)

    def stored(self) -> list[torch.Tensor]:
        return self.work.plan.tensors

    @property
    def scratch(self) -> list[torch.Tensor]:
        return self.work.scratch

    def share_scratch(self, other: Projection) -> None:
        if isinstance(other, EngineProjection):
            self.work.share_scratch(other.work)

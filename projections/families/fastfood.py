"""Fastfood in blocks."""

from __future__ import annotations

import torch

from projections import random
from projections.families.blocks import HadamardBlocks

_GAUSSIAN = 2


class Fastfood(HadamardBlocks):
    """Stacked Fastfood: ``P_b = s H G_b Pi H B_j``, G_b Gaussian and B_j signs.

    Its blocks have n rows, the next power of two of d. ``HadamardBlocks`` says what blocks share.

    Law: given G, an entry is a sum of n signed Gaussians, close to N(0, 1/D). Columns are unit
    exactly when n divides D and have mean square 1 otherwise. ``P^T P`` is I in expectation. Its
    eigenvalues spread more than a Gaussian matrix's, and for d >= 0.2 D badly so.

    Cost: O(D log d) time, 4 bytes a weight stored.

    Raises:
        ProjectionError: as of ``Projection``.

    Source: Le, Sarlos & Smola 2013. Gradients are P's true transpose.
    """

    family = "fastfood"

    @staticmethod
    def block_for(d: int) -> int:
        return max(2, 1 << (d - 1).bit_length())

    def diagonals(self) -> torch.Tensor:
        count = self.blocks * self.block
        weights = random.gaussians(self.seed, _GAUSSIAN, 0, count, self.device)
        return weights.view(self.blocks, self.block)

    def scale(self, middle: torch.Tensor) -> float:
        # In double precision and summed on the CPU: the scale is part of P, so the device must
        # not change it.
        energy = float(middle.cpu().double().square().sum())
        # A column of a whole block has squared norm n |G_b|^2. A block cut at D keeps its part of
        # the rows on average.
        return float((energy * self.D / self.blocks) ** -0.5)

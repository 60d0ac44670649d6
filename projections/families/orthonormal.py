"""Blocks of signed Hadamard transforms: the default family."""

from __future__ import annotations

import torch

from projections import random
from projections.families.blocks import HadamardBlocks

_MIDDLE = 2
_SMALLEST_BLOCK = 256


class Orthonormal(HadamardBlocks):
    """Stacked blocks of signed Hadamard transforms, each sqrt(n) times an orthogonal matrix.

    ``P_b = D^(-1/2) H S_b Pi H B_j / sqrt(n)``, with S_b and B_j random signs and n (``block``) the
    next power of two of d, at least 256. ``HadamardBlocks`` says what blocks share.

    Law: each entry is ``D^(-1/2)`` times a normalised sum of n signs, hence close to N(0, 1/D).
    Blocks are independent given Pi and B. ``P^T P = I`` exactly when n divides D; otherwise its
    eigenvalues lie within n/D of 1 (n <= D). A row has norm sqrt(n/D) over the n columns, so for
    d = n the energy that P captures of a single weight is d/D itself, where a Gaussian's varies.

    Cost: O(D log d) time. Stored: D/8 bytes, and for the J first halves max(64 n, 2^20)/8 more. A
    product takes 4 J n bytes of scratch: 4 MiB up to d = 16,384, then 256 n.

    Raises:
        ProjectionError: as of ``Projection``.

    Source: subsampled randomised Hadamard transforms (Ailon & Chazelle 2009), stacked as in
    Fastfood (Le et al. 2013).
    """

    family = "orthonormal"

    @staticmethod
    def block_for(d: int) -> int:
        return max(_SMALLEST_BLOCK, 1 << (d - 1).bit_length())

    def diagonals(self) -> torch.Tensor:
        signs = random.packed_signs(self.seed, _MIDDLE, self.blocks * self.block, self.device)
        return signs.view(self.blocks, -1)

    def scale(self, middle: torch.Tensor) -> float:
        return float((self.D * self.block) ** -0.5)

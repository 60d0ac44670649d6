from __future__ import annotations

import torch

from projections import random
from projections.blocks import HadamardBlocks

_MIDDLE = 2
_SMALLEST_BLOCK = 256


class Orthonormal(HadamardBlocks):
    """Stacked blocks of signed Hadamard transforms: sqrt(m) times an orthogonal matrix each. The default.

    ``P_b = D^(-1/2) H S_b Pi H B_j / sqrt(m)``, S_b and B_j random signs, m the next power of two of d, at least 256;
    ``blocks.py`` says what is shared among blocks.

    Law: each entry is ``D^(-1/2)`` times a normalised sum of m signs, hence close to N(0, 1/D); blocks are independent
    given Pi and B. ``P^T P = I`` exactly when m divides D; otherwise its eigenvalues lie within m/D of 1 (m <= D).
    A row has norm sqrt(m/D) over the m columns, so for d = m the energy that P captures of a single weight is d/D
    itself, where a Gaussian's would vary.
    Cost: O(D log d) time; stored, D/8 bytes and for the J first halves max(64 m, 2^20)/8 more. A product takes 4 J m bytes of
    scratch: 4 MiB up to d = 16,384, then 256 m.
    Source: subsampled randomised Hadamard transforms (Ailon & Chazelle 2009) stacked as in Fastfood (Le et al. 2013).
    """

    family = "orthonormal"

    def __init__(
        self, D: int, d: int, *, seed: int = 0, device="cpu", dtype=torch.float32, engine="auto"
    ):
        m = max(_SMALLEST_BLOCK, 1 << (d - 1).bit_length())
        super().__init__(D, d, m, seed=seed, device=device, dtype=dtype, engine=engine)

    def diagonals(self) -> torch.Tensor:
        return random.packed_signs(self.seed, _MIDDLE, self.blocks * self.m, self.device).view(
            self.blocks, -1
        )

    @property
    def scale(self) -> float:
        return (self.D * self.m) ** -0.5

from __future__ import annotations

import torch

from projections import random
from projections.blocks import HadamardBlocks

_GAUSSIAN = 2


class Fastfood(HadamardBlocks):
    """Stacked Fastfood: ``P_b = s H G_b Pi H B_j`` with G_b Gaussian, B_j signs and m the next power of two of d.
    ``blocks.py`` says what is shared among blocks.

    Law: given G, an entry is a sum of m signed Gaussians, close to N(0, 1/D). Columns are unit exactly when m divides D
    and have mean square 1 otherwise. ``P^T P`` is I in expectation; its eigenvalues spread more than a Gaussian matrix's, and
    for d >= 0.2 D badly so.
    Cost: O(D log d) time, 4 bytes a weight stored.
    Source: Le, Sarlos & Smola 2013. Gradients are P's true transpose.
    """

    family = "fastfood"

    def __init__(
        self, D: int, d: int, *, seed: int = 0, device="cpu", dtype=torch.float32, engine="auto"
    ):
        super().__init__(
            D,
            d,
            max(2, 1 << (d - 1).bit_length()),
            seed=seed,
            device=device,
            dtype=dtype,
            engine=engine,
        )
        # In double precision, and summed on the CPU: the scale is part of P and must not depend on the device.
        energy = float(self.middle.cpu().double().square().sum())
        # A column of a whole block has squared norm m |G_b|^2; a block cut at D keeps its share of rows on average.
        self._scale = (energy * D / self.blocks) ** -0.5

    def diagonals(self) -> torch.Tensor:
        return random.gaussians(self.seed, _GAUSSIAN, 0, self.blocks * self.m, self.device).view(
            self.blocks, self.m
        )

    @property
    def scale(self) -> float:
        return self._scale

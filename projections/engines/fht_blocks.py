"""The plain form with the transform of the fast-hadamard-transform package, for CUDA."""

from __future__ import annotations

import torch
from fast_hadamard_transform import hadamard_transform

from projections.engines.plain_blocks import PlainBlocks


class FhtBlocks(PlainBlocks):
    """Hadamard blocks of at most 2^15 rows, in single precision."""

    def _transformed(self, x: torch.Tensor, spare: torch.Tensor) -> torch.Tensor:
        return spare.copy_(hadamard_transform(x))

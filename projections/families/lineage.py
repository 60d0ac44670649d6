"""A faulty Fastfood of public code, kept so that published numbers can be redone."""

from __future__ import annotations

import torch

from projections.contract import Accumulator, Image
from projections.families.fastfood_whole import FastfoodWhole
from projections.staged import Staged


class LineageFastfood(FastfoodWhole):
    """Fastfood with the two faults of its most copied public code.

    The forward product is right. The backward one is the true transpose times 1/n, n the next
    power of two of D: the code divides by sqrt(n) in each of its two backward transforms and not in
    the forward ones. And where d exceeds n, theta is cropped to its first n entries. Neither the
    law of adjoints nor that of full rank holds, hence it is no member of ``KINDS``. It is used with
    per-tensor scope.

    Raises:
        ProjectionError: as of ``Projection``.

    Source: the lineage of rabeehk/compacter.
    """

    family = "fastfood-lineage"

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
        n = max(2, 1 << (D - 1).bit_length())
        super().__init__(D, min(d, n), seed=seed, device=device, dtype=dtype, engine=engine)
        self.d = d

    def image(self, theta: torch.Tensor) -> Image:
        return super().image(theta[: self.columns])

    def accumulator(self) -> Accumulator:
        return _Divided(self)

    def transpose(self, v: torch.Tensor) -> torch.Tensor:
        """The faulty transpose: ``(D,) -> (d,)``."""
        out = torch.zeros(self.d, dtype=self.dtype, device=self.device)
        out[: self.columns] = self._transpose(v) / self.n
        return out


class _Divided(Staged):
    """The factor 1/n reaches theta's gradient alone.

    A structure-aware scale multiplies P theta outside the faulty code, so its gradient is right.
    """

    def __init__(self, p: LineageFastfood) -> None:
        super().__init__(p.D, p.dtype, p.device, p.transpose)
        self._n = p.n

    def inner(self, adjoint: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return super().inner(adjoint, theta) * self._n

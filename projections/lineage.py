from __future__ import annotations

import torch

from projections.base import Accumulator, Image, Staged
from projections.fastfood_whole import FastfoodWhole


class LineageFastfood(FastfoodWhole):
    """Fastfood with the two faults of its most copied public code, kept so that published numbers can be redone.

    The forward product is right. The backward one is the true transpose times 1/n, n the next power of two of D: the code
    divides by sqrt(n) in each of its two backward transforms and not in the forward ones. And where d exceeds n, theta is
    cropped to its first n entries. Neither law of adjoints nor of full rank holds; hence it is no member of ``KINDS``.
    Used with per-tensor scope. Source: the lineage of rabeehk/compacter.
    """

    family = "fastfood-lineage"

    def __init__(
        self, D: int, d: int, *, seed: int = 0, device="cpu", dtype=torch.float32, engine="auto"
    ):
        n = max(2, 1 << (D - 1).bit_length())
        super().__init__(D, min(d, n), seed=seed, device=device, dtype=dtype, engine=engine)
        self.d = d

    def image(self, theta: torch.Tensor) -> Image:
        return super().image(theta[: self.columns])

    def accumulator(self) -> Accumulator:
        return _Divided(self, self._transpose)

    def _transpose(self, v: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(self.d, dtype=self.dtype, device=self.device)
        out[: self.columns] = super()._transpose(v) / self.n
        return out


class _Divided(Staged):
    """The factor 1/n reaches theta's gradient alone: a structure-aware scale multiplies P theta outside the faulty code."""

    def along(self, share: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return super().along(share, theta) * self._p.n

from __future__ import annotations

import torch

from projections.fastfood import FastfoodWhole


class LineageFastfood(FastfoodWhole):
    """Fastfood with the two faults of its most copied public code, kept so that published numbers can be redone.

    The forward product is right. The backward one is the true transpose times 1/n, n the next power of two of D: the code
    divides by sqrt(n) in each of its two backward transforms and not in the forward ones. And where d exceeds n, theta is
    cropped to its first n entries. Neither law of adjoints nor of full rank holds; hence it is no member of ``KINDS``.
    Used with per-tensor scope. Source: the lineage of rabeehk/compacter.
    """

    family = "fastfood-lineage"

    def __init__(self, D: int, d: int, *, seed: int = 0, device="cpu", dtype=torch.float32):
        n = max(2, 1 << (D - 1).bit_length())
        super().__init__(D, min(d, n), seed=seed, device=device, dtype=dtype)
        self._used, self.d = self.d, d

    def write(self, theta: torch.Tensor, out: torch.Tensor, start: int = 0) -> None:
        self._cropped(super().write, theta[: self._used], out, start)

    def adjoint_add(self, v: torch.Tensor, out: torch.Tensor, start: int = 0) -> None:
        self._cropped(super().adjoint_add, v / self.m, out[: self._used], start)

    def _cropped(self, product, *args) -> None:
        whole, self.d = self.d, self._used
        try:
            product(*args)
        finally:
            self.d = whole

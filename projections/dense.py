from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.base import Accumulator, Image, Projection, ProjectionError

_ENTRIES = 0
ENTRIES_AT_ONCE = 1 << 20  # some 25 MB while they are drawn


class Dense(Projection):
    """A full Gaussian matrix.

    Law: entries independent N(0, 1/D), on 65,536 levels; column norms are 1 +- (2 D)^(-1/2). ``P^T P`` has the
    Marchenko-Pastur spectrum on ``(1 +- sqrt(d/D))^2``.
    Cost: O(D d) time. Stored (4 D d bytes) while that is at most ``memory`` bytes, otherwise regenerated in blocks of rows
    at every product, many times slower; with ``regenerate=False`` such a matrix is refused.
    Source: Li et al. 2018.
    """

    family = "dense"

    def __init__(
        self,
        D: int,
        d: int,
        *,
        seed: int = 0,
        device="cpu",
        dtype=torch.float32,
        memory: int = 1 << 31,
        regenerate: bool = True,
        engine="auto",
    ):
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        size = D * d * dtype.itemsize
        if size > memory and not regenerate:
            raise ProjectionError(
                f"dense: expected a matrix of at most {memory:,} bytes; {D} x {d} in {dtype} takes {size:,}"
            )
        self._step = max(1, ENTRIES_AT_ONCE // d)
        self._matrix = None
        if size <= memory:
            self._matrix = torch.empty(D, d, dtype=dtype, device=device)
            for lo in range(0, D, self._step):
                hi = min(lo + self._step, D)
                self._matrix[lo:hi] = self._made(lo, hi)

    def _made(self, lo: int, hi: int) -> torch.Tensor:  # (hi - lo, d)
        entries = random.gaussians(
            self.seed, _ENTRIES, lo * self.d, (hi - lo) * self.d, self.device
        )
        return entries.view(hi - lo, self.d).to(self.dtype) * self.D**-0.5

    def rows(self, start: int, n: int) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Rows ``start .. start + n`` of the matrix in pieces ``lo .. hi``, stored or made anew."""
        if self._matrix is not None:
            yield 0, n, self._matrix[start : start + n]
            return
        for lo in range(0, n, self._step):
            hi = min(lo + self._step, n)
            yield lo, hi, self._made(start + lo, start + hi)

    def image(self, theta: torch.Tensor) -> Image:
        return _Product(self, theta)

    def accumulator(self) -> Accumulator:
        return _Sum(self)

    def ingredients(self) -> Iterator[torch.Tensor]:
        # The first and last rows stand for the matrix: every entry is a function of the seed and its position.
        n = min(self.D, 64)
        yield random.gaussians(self.seed, _ENTRIES, 0, n * self.d, self.device)
        yield random.gaussians(self.seed, _ENTRIES, (self.D - n) * self.d, n * self.d, self.device)


class _Product(Image):
    def __init__(self, p: Dense, theta: torch.Tensor):
        super().__init__(p)
        self._theta = theta

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        for lo, hi, rows in self._p.rows(start, out.numel()):
            torch.mv(rows, self._theta, out=out[lo:hi])


class _Sum(Accumulator):
    def __init__(self, p: Dense):
        self._p = p
        self._total = torch.zeros(p.d, dtype=p.dtype, device=p.device)

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        for lo, hi, rows in self._p.rows(start, v.numel()):
            self._total.addmv_(rows.t(), v[lo:hi])

    def finish(self) -> torch.Tensor:
        return self._total

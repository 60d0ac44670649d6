"""A full Gaussian matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from projections import random
from projections.base import Projection, ProjectionError
from projections.contract import Accumulator, Image

_ENTRIES = 0
CHUNK_ENTRIES = 1 << 20  # some 25 MB while they are drawn

#: Rows ``[start, start + n)`` in pieces: the first and last row of each, from 0, and the rows.
_Rows = Callable[[int, int], Iterator[tuple[int, int, torch.Tensor]]]


class Dense(Projection):
    """A full Gaussian matrix.

    Law: entries independent N(0, 1/D), on 65,536 levels; column norms are 1 +- (2 D)^(-1/2).
    ``P^T P`` has the Marchenko-Pastur spectrum on ``(1 +- sqrt(d/D))^2``.

    Cost: O(D d) time. The matrix is stored (4 D d bytes in single precision) while that is at most
    ``memory`` bytes. Otherwise blocks of its rows are drawn anew in every product, which is many
    times slower.

    Args:
        memory: bytes that it may store.
        regenerate: whether a larger matrix is drawn anew; False refuses it.

    Raises:
        ProjectionError: the matrix is larger than ``memory`` and may not be drawn anew.

    Source: Li et al. 2018.
    """

    family = "dense"

    def __init__(
        self,
        D: int,
        d: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: str = "auto",
        memory: int = 1 << 31,
        regenerate: bool = True,
    ) -> None:
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        size = D * d * dtype.itemsize
        if size > memory and not regenerate:
            raise ProjectionError(
                f"dense: expected a matrix of at most {memory:,} bytes; {D} x {d} in {dtype} "
                f"takes {size:,}"
            )
        self._step = max(1, CHUNK_ENTRIES // d)
        self._matrix: torch.Tensor | None = None
        if size <= memory:
            self._matrix = torch.empty(D, d, dtype=dtype, device=device)
            for lo in range(0, D, self._step):
                hi = min(lo + self._step, D)
                self._matrix[lo:hi] = self._drawn(lo, hi)

    def _drawn(self, lo: int, hi: int) -> torch.Tensor:  # (hi - lo, d)
        count = (hi - lo) * self.d
        entries = random.gaussians(self.seed, _ENTRIES, lo * self.d, count, self.device)
        return entries.view(hi - lo, self.d).to(self.dtype) * float(self.D**-0.5)

    def _rows(self, start: int, n: int) -> Iterator[tuple[int, int, torch.Tensor]]:
        if self._matrix is not None:
            yield 0, n, self._matrix[start : start + n]
            return
        for lo in range(0, n, self._step):
            hi = min(lo + self._step, n)
            yield lo, hi, self._drawn(start + lo, start + hi)

    def image(self, theta: torch.Tensor) -> Image:
        return _Product(self._rows, theta)

    def accumulator(self) -> Accumulator:
        return _Sum(self._rows, torch.zeros(self.d, dtype=self.dtype, device=self.device))

    def ingredients(self) -> Iterator[torch.Tensor]:
        # The first and last rows stand for the matrix, because every entry is a function of the
        # seed and its position.
        n = min(self.D, 64)
        yield random.gaussians(self.seed, _ENTRIES, 0, n * self.d, self.device)
        yield random.gaussians(self.seed, _ENTRIES, (self.D - n) * self.d, n * self.d, self.device)


class _Product(Image):
    def __init__(self, rows: _Rows, theta: torch.Tensor) -> None:
        super().__init__(theta.dtype, theta.device)
        self._rows, self._theta = rows, theta

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        for lo, hi, rows in self._rows(start, out.numel()):
            torch.mv(rows, self._theta, out=out[lo:hi])


class _Sum(Accumulator):
    def __init__(self, rows: _Rows, total: torch.Tensor) -> None:
        self._rows, self._total = rows, total

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        for lo, hi, rows in self._rows(start, v.numel()):
            self._total.addmv_(rows.t(), v[lo:hi])

    def finish(self) -> torch.Tensor:
        return self._total

"""Very sparse signs."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.base import Projection, ProjectionError
from projections.contract import Accumulator, Image
from projections.staged import Staged

_PLACES, _SIGNS = 0, 1
_CHUNK_ENTRIES = 1 << 20


class Sparse(Projection):
    """Every column holds the same number n of entries +-n^(-1/2), at random distinct places.

    n = D / s with s = sqrt(D), hence n = sqrt(D). Li, Hastie & Church draw each entry with
    probability 1/s. To fix the count gives the same density and makes every column unit exactly.

    Law: places uniform without replacement within a column, columns independent, signs fair. A
    weight stays where it was with probability (1 - n/D)^d, about exp(-d / sqrt D); ``untouched``
    is the fraction that never moves.

    Cost: O(d sqrt D) time, 20 bytes an entry in single precision.

    Args:
        memory: bytes that its entries may take.

    Raises:
        ProjectionError: the entries take more than ``memory``.

    Source: Achlioptas 2001; Li, Hastie & Church 2006.
    """

    family = "sparse"
    staged = True

    def __init__(
        self,
        D: int,
        d: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: str = "auto",
        memory: int = 1 << 33,
    ) -> None:
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        n = max(1, round(D**0.5))
        size = d * n * (12 + 2 * dtype.itemsize)
        if size > memory:
            raise ProjectionError(
                f"sparse: expected entries of at most {memory:,} bytes; {d} columns of {n} "
                f"entries take {size:,}"
            )
        slots = torch.arange(n, device=device).expand(d, n)
        places = random.permute(slots, D, seed, _PLACES).reshape(-1)
        packed = random.packed_signs(seed, _SIGNS, d * n, device)
        signs = random.unpack_signs(packed, dtype)[: d * n]
        # The entries are held twice: by column, so that the adjoint is a gather and a sum; and by
        # row, so that a range of D is a range of entries.
        self._place, self._place_value = places.to(torch.int32), signs * n**-0.5
        column = torch.arange(d, device=device).repeat_interleave(n)
        order = torch.argsort(places * d + column)
        self._row, self._column = places[order].to(torch.int32), column[order].to(torch.int32)
        self._value = signs[order] * n**-0.5
        count = torch.bincount(places, minlength=D)
        self._edge = torch.cat((count.new_zeros(1), count.cumsum(0))).to(torch.int32)
        #: The fraction of the weights that no column touches.
        self.untouched = float((count == 0).sum()) / D

    def image(self, theta: torch.Tensor) -> Image:
        return _Scattered(self, theta)

    def accumulator(self) -> Accumulator:
        return Staged(self.D, self.dtype, self.device, self._transpose)

    def _transpose(self, v: torch.Tensor) -> torch.Tensor:  # (D,) -> (d,)
        out = torch.empty(self.d, dtype=self.dtype, device=self.device)
        n = self._place.numel() // self.d
        columns = max(1, _CHUNK_ENTRIES // n)
        for lo in range(0, self.d, columns):
            hi = min(lo + columns, self.d)
            at = slice(lo * n, hi * n)
            entries = v.index_select(0, self._place[at]).mul_(self._place_value[at])
            torch.sum(entries.view(hi - lo, n), 1, out=out[lo:hi])
        return out

    def scatter(self, theta: torch.Tensor, out: torch.Tensor, start: int) -> None:
        """Write rows ``start .. start + n`` of P theta into ``out`` ``(n,)``."""
        out.zero_()
        first, last = int(self._edge[start]), int(self._edge[start + out.numel()])
        for lo in range(first, last, _CHUNK_ENTRIES):
            at = slice(lo, min(lo + _CHUNK_ENTRIES, last))
            entries = theta.index_select(0, self._column[at]).mul_(self._value[at])
            out.index_add_(0, self._row[at] - start, entries)

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self._row
        yield self._column
        yield (self._value > 0).to(torch.uint8)


class _Scattered(Image):
    def __init__(self, p: Sparse, theta: torch.Tensor) -> None:
        super().__init__(p.dtype, p.device)
        self._p, self._theta = p, theta

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        self._p.scatter(self._theta, out, start)

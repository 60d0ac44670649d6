from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.base import Accumulator, Image, Projection, ProjectionError, Staged

_PLACES, _SIGNS = 0, 1
_ENTRIES_AT_ONCE = 1 << 20


class Sparse(Projection):
    """Very sparse signs: every column holds the same number n of entries +-n^(-1/2), at random distinct places.

    n = D / s with s = sqrt(D), hence n = sqrt(D). Li, Hastie & Church draw each entry with probability 1/s; fixing the
    count gives the same density and makes every column unit exactly, with no renormalisation.
    Law: places uniform without replacement within a column, columns independent, signs fair. A weight is left where it
    was with probability (1 - n/D)^d, about exp(-d / sqrt D); ``untouched`` is the fraction that never moves.
    Cost: O(d sqrt D) time, 20 bytes an entry; more than ``memory`` bytes (8 GiB) of them are refused.
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
        device="cpu",
        dtype=torch.float32,
        engine="auto",
        memory: int = 1 << 33,
    ):
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        n = max(1, round(D**0.5))
        size = d * n * (12 + 2 * dtype.itemsize)
        if size > memory:
            raise ProjectionError(
                f"sparse: expected entries of at most {memory:,} bytes; {d} columns of {n} entries take {size:,}"
            )
        slots = torch.arange(n, device=device).expand(d, n)
        places = random.permute(slots, D, seed, _PLACES).reshape(-1)
        signs = random.unpack_signs(random.packed_signs(seed, _SIGNS, d * n, device), dtype)[
            : d * n
        ]
        # Twice: by column, so that the adjoint is a gather and a sum; by row, so that a range of D is a range of entries.
        self._place, self._place_value = places.to(torch.int32), signs * n**-0.5
        column = torch.arange(d, device=device).repeat_interleave(n)
        order = torch.argsort(places * d + column)
        self._row, self._column = places[order].to(torch.int32), column[order].to(torch.int32)
        self._value = signs[order] * n**-0.5
        count = torch.bincount(places, minlength=D)
        self._edge = torch.cat((count.new_zeros(1), count.cumsum(0))).to(torch.int32)
        self.untouched = float((count == 0).sum()) / D

    def image(self, theta: torch.Tensor) -> Image:
        return _Scattered(self, theta)

    def accumulator(self) -> Accumulator:
        return Staged(self, self._transpose)

    def _transpose(self, v: torch.Tensor) -> torch.Tensor:  # (D,) -> (d,)
        out = torch.empty(self.d, dtype=self.dtype, device=self.device)
        n = self._place.numel() // self.d
        columns = max(1, _ENTRIES_AT_ONCE // n)
        for lo in range(0, self.d, columns):
            hi = min(lo + columns, self.d)
            at = slice(lo * n, hi * n)
            torch.sum(
                v.index_select(0, self._place[at]).mul_(self._place_value[at]).view(hi - lo, n),
                1,
                out=out[lo:hi],
            )
        return out

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self._row
        yield self._column
        yield (self._value > 0).to(torch.uint8)


class _Scattered(Image):
    def __init__(self, p: Sparse, theta: torch.Tensor):
        super().__init__(p)
        self._theta = theta

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        p = self._p
        out.zero_()
        for lo in range(
            int(p._edge[start]), (end := int(p._edge[start + out.numel()])), _ENTRIES_AT_ONCE
        ):
            at = slice(lo, min(lo + _ENTRIES_AT_ONCE, end))
            out.index_add_(
                0, p._row[at] - start, self._theta.index_select(0, p._column[at]).mul_(p._value[at])
            )

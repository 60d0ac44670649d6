"""Fastfood in one block, as it was published for intrinsic dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from projections import random
from projections.base import Projection
from projections.contract import Accumulator, Image
from projections.engines import chunk_floats
from projections.hadamard import transform_long
from projections.pieces import Pieces
from projections.staged import Staged

_SIGNS, _PERMUTATION, _GAUSSIAN = 0, 1, 2
_PIECE = 1 << 23  # floats of the one large buffer

#: ``read(out, start, factor)`` adds ``factor * x[start : start + len(out)]`` to ``out``.
_Read = Callable[[torch.Tensor, int, float], None]


class FastfoodWhole(Projection):
    """Fastfood with a single block: ``P = s H G Pi H B``, as Li et al. 2018 used it.

    P is n by n, n the next power of two of D; D of its rows and d of its columns are kept.

    Law: as ``fastfood`` with a single block; columns have mean square 1.

    Cost: O(D log D + D n / 2^23) time. Stored: 8 bytes for each of n entries, hence 8 to 16 a
    weight. It works in pieces of n, at most 2^23 floats each. A range of D costs as much as the
    pieces that it touches; an image keeps the last one for the next range.

    Raises:
        ProjectionError: as of ``Projection``.

    Source: Li, Farkhoor, Liu & Yosinski 2018, after Le et al. 2013.

    Three facts let it do without an array of n entries. Only theta's first k entries are not zero,
    k the next power of two of d, so the first transform is one of k, repeated n / k times. Next,
    ``H_n = H_a (x) H_c``: a piece of c = n / a entries of ``H_n z`` is H_c of the sum of z's a
    pieces, each with a sign. And z is made anew for every piece, from its two stored ingredients.
    """

    family = "fastfood-whole"
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
    ) -> None:
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        #: Rows of the whole block, and how many of its columns theta reads.
        self.n, self.columns = max(2, 1 << (D - 1).bit_length()), d
        self._short = 1 << (d - 1).bit_length()
        self._piece = min(self.n, _PIECE)
        packed = random.packed_signs(seed, _SIGNS, d, device)
        self._signs = random.unpack_signs(packed, dtype)[:d]
        self._weights = torch.empty(self.n, dtype=torch.float32, device=device)
        # Where the permuted entry lies in the short transform, which repeats.
        self._source = torch.empty(self.n, dtype=torch.int32, device=device)
        energy = 0.0
        for lo, hi in _spans(self.n, self.device):
            self._weights[lo:hi] = random.gaussians(seed, _GAUSSIAN, lo, hi - lo, device)
            self._source[lo:hi] = self._permuted(lo, hi) & (self._short - 1)
            # In double precision and summed on the CPU: the scale is part of P, so the device must
            # not change it.
            energy += float(self._weights[lo:hi].cpu().double().square().sum())
        self._scale = (energy * D) ** -0.5

    @property
    def grain(self) -> int:
        return self._piece

    def image(self, theta: torch.Tensor) -> Image:
        padded = torch.zeros(self._short, dtype=self.dtype, device=self.device)
        torch.mul(theta, self._signs, out=padded[: self.columns])
        return _Tiled(self, transform_long(padded).mul_(self._scale))

    def accumulator(self) -> Accumulator:
        return Staged(self.D, self.dtype, self.device, self._transpose)

    def middle(
        self, short: torch.Tensor, out: torch.Tensor, start: int, factor: float, spare: torch.Tensor
    ) -> None:
        """Add ``factor * z[start : start + n]`` to ``out`` ``(n,)``, z the input of the second H.

        ``short`` is the scaled first transform of theta; ``spare`` is scratch of at least n floats.
        """
        at, spare = slice(start, start + len(out)), spare[: len(out)]
        torch.index_select(short, 0, self._source[at], out=spare)
        out.addcmul_(spare, self._weights[at], value=factor)

    def pieces(self, first: int, last: int, read: _Read) -> Iterator[tuple[int, torch.Tensor]]:
        """The pieces ``first .. last`` of ``H_n x``, one after the other in one buffer.

        Args:
            first: the first piece's number.
            last: the number after the last piece's.
            read: reads x.

        Yields:
            Where the piece lies in n, and its values, which the caller may overwrite.
        """
        c = self._piece
        y = torch.empty(c, dtype=self.dtype, device=self.device)
        for p in range(first, last):
            y.zero_()
            for lo, hi in _spans(c, self.device):
                for r in range(self.n // c):
                    read(y[lo:hi], r * c + lo, -1.0 if (p & r).bit_count() % 2 else 1.0)
            yield p * c, transform_long(y)

    def _transpose(self, v: torch.Tensor) -> torch.Tensor:  # (D,) -> (d,)
        def read(out: torch.Tensor, start: int, factor: float) -> None:
            x = v[start : start + len(out)]  # beyond D there are zeros
            out[: len(x)].add_(x, alpha=factor)

        # In double precision, because many terms go into each sum, one after the other.
        sums = torch.zeros(self._short, dtype=torch.float64, device=self.device)
        for start, w in self.pieces(0, self.n // self._piece, read):
            for lo, hi in _spans(len(w), self.device):
                at = slice(start + lo, start + hi)
                sums.index_add_(0, self._source[at], w[lo:hi].mul_(self._weights[at]).double())
        scaled = transform_long(sums)[: self.columns].mul_(self._scale)
        return scaled.to(self.dtype).mul_(self._signs)

    def _permuted(self, lo: int, hi: int) -> torch.Tensor:
        place = torch.arange(lo, hi, device=self.device)
        return random.permute(place, self.n, self.seed, _PERMUTATION)

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield random.packed_signs(self.seed, _SIGNS, max(self.n, 8), self.device)
        for lo, hi in _spans(self.n, self.device):
            yield self._permuted(lo, hi)
        yield self._weights


class _Tiled(Image):
    """``short``: the first transform ``s H B theta``. All of z's entries are multiples of its."""

    def __init__(self, p: FastfoodWhole, short: torch.Tensor) -> None:
        super().__init__(p.dtype, p.device, p.grain)
        spare = self._empty(min(p.n, chunk_floats(p.device)))
        self._pieces = Pieces(p.D, p.grain, partial(_piece, p, short, spare))

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        self._pieces.write(out, start)


def _piece(
    p: FastfoodWhole, short: torch.Tensor, spare: torch.Tensor, start: int, n: int
) -> torch.Tensor:
    """P theta on one of p's pieces."""

    def read(out: torch.Tensor, start: int, factor: float) -> None:
        p.middle(short, out, start, factor, spare)

    number = start // p.grain
    ((_, y),) = p.pieces(number, number + 1, read)
    return y[:n]


def _spans(n: int, device: torch.device) -> Iterator[tuple[int, int]]:
    step = chunk_floats(device)
    for lo in range(0, n, step):
        yield lo, min(lo + step, n)

from __future__ import annotations

from collections.abc import Iterator

import torch

from projections import random
from projections.base import Accumulator, Image, Projection, Staged
from projections.engines import at_once
from projections.hadamard import transform_long

_SIGNS, _PERMUTATION, _GAUSSIAN = 0, 1, 2
_PIECE = 1 << 23  # floats of the one large buffer


class FastfoodWhole(Projection):
    """Fastfood with one block of the next power of two of D, as Li et al. 2018 used it: ``P = s H G Pi H B``, n rows by n columns,
    of which D rows and d columns are kept.

    Law: as ``fastfood`` with a single block; columns have mean square 1.
    Cost: O(D log D + D n / 2^23) time and 8 bytes an entry of n, hence 8 to 16 a weight. Works in pieces of n, at most 2^23 floats each. A range
    of D costs as much as the pieces it touches.
    Source: Li, Farkhoor, Liu & Yosinski 2018, after Le et al. 2013.

    Three facts let it do without an array of n entries. Of theta's n entries only the first m, the next power of two of d, are not zero,
    so the first transform is one of m, repeated n / m times. ``H_n = H_a (x) H_c``: a piece of c = n / a entries of ``H_n z`` is H_c of the
    sum of z's a pieces, each with a sign. And z is made anew for every piece, from its two stored ingredients.
    """

    family = "fastfood-whole"
    staged = True

    def __init__(
        self, D: int, d: int, *, seed: int = 0, device="cpu", dtype=torch.float32, engine="auto"
    ):
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        self.n, self.columns = max(2, 1 << (D - 1).bit_length()), d
        self.m = 1 << (d - 1).bit_length()
        self._piece = min(self.n, _PIECE)
        self.signs = random.unpack_signs(random.packed_signs(seed, _SIGNS, d, device), dtype)[:d]
        self.weights = torch.empty(self.n, dtype=torch.float32, device=device)
        # Where the permuted entry lies in the transform of m, which repeats.
        self.source = torch.empty(self.n, dtype=torch.int32, device=device)
        energy = 0.0
        for lo, hi in _spans(self.n, device):
            self.weights[lo:hi] = random.gaussians(seed, _GAUSSIAN, lo, hi - lo, device)
            self.source[lo:hi] = self._permuted(lo, hi) & (self.m - 1)
            # In double precision, and summed on the CPU: the scale is part of P and must not depend on the device.
            energy += float(self.weights[lo:hi].cpu().double().square().sum())
        self.scale = (energy * D) ** -0.5

    @property
    def grain(self) -> int:
        return self._piece

    def image(self, theta: torch.Tensor) -> Image:
        padded = torch.zeros(self.m, dtype=self.dtype, device=self.device)
        torch.mul(theta, self.signs, out=padded[: self.columns])
        return _Tiled(self, transform_long(padded).mul_(self.scale))

    def accumulator(self) -> Accumulator:
        return Staged(self, self._transpose)

    def pieces(self, first: int, last: int, read) -> Iterator[tuple[int, torch.Tensor]]:
        """``(H_n x)[lo: lo + c]`` for the pieces first .. last, one after the other in one buffer, with their places lo.

        ``read(out, start, factor)`` adds ``factor * x[start: start + len(out)]`` to out.
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

        # In double precision: n / m terms go into each sum, one after the other.
        sums = torch.zeros(self.m, dtype=torch.float64, device=self.device)
        for start, w in self.pieces(0, self.n // self._piece, read):
            for lo, hi in _spans(len(w), self.device):
                at = slice(start + lo, start + hi)
                sums.index_add_(0, self.source[at], w[lo:hi].mul_(self.weights[at]).double())
        return transform_long(sums)[: self.columns].mul_(self.scale).to(self.dtype).mul_(self.signs)

    def _permuted(self, lo: int, hi: int) -> torch.Tensor:
        return random.permute(
            torch.arange(lo, hi, device=self.device), self.n, self.seed, _PERMUTATION
        )

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield random.packed_signs(self.seed, _SIGNS, max(self.n, 8), self.device)
        for lo, hi in _spans(self.n, self.device):
            yield self._permuted(lo, hi)
        yield self.weights


class _Tiled(Image):
    """``first``: the first transform ``s H_m B theta``, of which z's entries are multiples."""

    def __init__(self, p: FastfoodWhole, first: torch.Tensor):
        super().__init__(p)
        self._first = first
        self._spare = torch.empty(min(p.n, at_once(p.device)), dtype=p.dtype, device=p.device)

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        for at, piece in self._pieces(start, out.numel()):
            out[at] = piece

    def _shift(
        self, out: torch.Tensor, origin: torch.Tensor, scale: torch.Tensor | float, start: int
    ) -> None:
        for at, piece in self._pieces(start, out.numel()):
            out[at] = piece.mul_(scale).add_(origin[at])

    def _pieces(self, start: int, n: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """The range in pieces: where each lies in the range, and its values, which may be overwritten."""
        c = self._p.grain
        for place, y in self._p.pieces(start // c, -(-(start + n) // c), self._read):
            lo, hi = max(start, place), min(start + n, place + c)
            yield slice(lo - start, hi - start), y[lo - place : hi - place]

    def _read(self, out: torch.Tensor, start: int, factor: float) -> None:
        at, spare = slice(start, start + len(out)), self._spare[: len(out)]
        torch.index_select(self._first, 0, self._p.source[at], out=spare)
        out.addcmul_(spare, self._p.weights[at], value=factor)


def _spans(n: int, device: str | torch.device) -> Iterator[tuple[int, int]]:
    step = at_once(torch.device(device))
    for lo in range(0, n, step):
        yield lo, min(lo + step, n)

"""What the Hadamard families share: D cut into blocks of m, each ``H diag Pi H diag``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch

from projections import random
from projections.base import Accumulator, Image, Projection
from projections.engines.blocks import BlockEngine, PlainBlocks
from projections.said import Shares
from projections.worked import WorkedAccumulator, WorkedImage, WorkedShares

_HALVES = 1 << 20  # floats of first halves that are kept and shared, at least 64 of them
_ONE_BLOCK = 1 << 17  # the largest single block that the compiled loops take
_TRITON = (1 << 8, 1 << 14)  # from two matrix products of 16 to what one program's registers hold
_FHT = 1 << 15  # the largest transform of the fast-hadamard-transform package
_OUTER, _PERMUTATION = 0, 1  # streams of the seed; the subclasses' own start at 2


class HadamardBlocks(Projection):
    """Rows ``[b m, (b + 1) m)`` of P are ``scale * H M_b Pi H B_j``, j = b modulo J, cut to d columns.

    M_b is the family's own diagonal, drawn for each block; B_j a diagonal of signs, drawn for each of J =
    max(64, 2^20 / m) first halves; Pi one permutation of m. Given Pi and B, the M_b alone make the blocks independent and
    every entry symmetric, so sharing Pi and the first halves ``Pi H B_j theta`` among blocks costs no independence there. It
    makes the first of the two transforms nearly free, and stores a bit a weight less. It costs something where a direction is
    constant over whole blocks, because there M_b gives no more than a sign. With energy e_b in block b, the energy that P of
    signs captures of it has relative variance

        2/d + 2 sum of e_b e_c over blocks b != c of one first half / (sum of e_b)^2.

    The second term is 0 while there are no more blocks than first halves (D <= 2^20), about 2/J at most for a direction spread
    evenly over all blocks, and up to 2 for one that lies in the blocks of a single first half. A Gaussian M_b adds to it.

    ``middle`` makes the diagonals: ``(blocks, m / 8)`` bytes of packed signs, or ``(blocks, m)`` numbers.
    """

    def __init__(
        self,
        D: int,
        d: int,
        m: int,
        *,
        seed: int,
        device: str | torch.device,
        dtype: torch.dtype,
        engine: str,
    ):
        self.m, self.blocks = m, -(-D // m)
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        self.halves = min(self.blocks, max(64, _HALVES // m))
        self.outer = random.packed_signs(seed, _OUTER, self.halves * max(m, 8), device).view(
            self.halves, -1
        )
        self.gather = random.permute(torch.arange(m, device=device), m, seed, _PERMUTATION).to(
            torch.int32
        )
        self.middle = self.diagonals()
        self.work = _engine(self)

    @abstractmethod
    def diagonals(self) -> torch.Tensor:
        """The M_b of all blocks."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """What makes the columns unit."""

    @property
    def engines(self) -> tuple[str, ...]:
        able = []
        # Signs are packed by eight; one block is one thread's work, and beyond a cache the matrix library wins.
        if self.m >= 8 and (self.blocks > 1 or self.m <= _ONE_BLOCK):
            able.append("native")
        if _TRITON[0] <= self.m <= _TRITON[1]:
            able.append("triton")
        return (*able, "fht") if self.m <= _FHT else tuple(able)

    @property
    def grain(self) -> int:
        return self.m

    @property
    def row_wise(self) -> bool:
        return self.blocks > 1

    def image(self, theta: torch.Tensor) -> Image:
        """From the J first halves ``Pi H B_j theta``; each block then takes one diagonal and one transform."""
        self._fits(theta, self.d, "theta")
        padded = torch.zeros(self.m, dtype=self.dtype, device=self.device)
        torch.mul(theta, self.scale, out=padded[: self.d])
        return WorkedImage(self, self.work.halves(padded))

    def accumulator(self) -> Accumulator:
        """Adds each block's ``M_b H v_b`` to the bucket of its first half, and does the first halves' transpose once."""
        return WorkedAccumulator(self)

    def unfold(self, buckets: torch.Tensor) -> torch.Tensor:  # (J, m) -> (d,), overwriting them
        return self.work.unhalve(buckets)[: self.d].mul_(self.scale)

    def shares(self, image: Image, scales: torch.Tensor | None) -> Shares:
        return WorkedShares(self, image, scales)

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self.outer
        yield self.gather.long()
        yield self.middle


def _engine(p: HadamardBlocks) -> BlockEngine:
    if p.engine == "native":
        # Here, because it need not be there.
        from projections.engines.native_blocks import NativeBlocks

        return NativeBlocks(p)
    if p.engine == "triton":
        from projections.engines.triton_blocks import TritonBlocks

        return TritonBlocks(p)
    return PlainBlocks(p)

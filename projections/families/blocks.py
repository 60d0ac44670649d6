"""What the Hadamard families share: D cut into blocks of rows, each ``H diag Pi H diag``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch

from projections import random
from projections.engines.plan import BlockPlan
from projections.engines.table import block_engine
from projections.families.engine_projection import EngineProjection
from projections.pieces import LONG

_HALVES_FLOATS = 1 << 20  # numbers in the first halves that blocks share
_FEWEST_HALVES = 64
_LARGEST_SINGLE_BLOCK = 1 << 17  # of the compiled loops
_TRITON = (1 << 8, 1 << 14)  # from two matrix products of 16 to what one program's registers hold
_FHT = 1 << 15  # the largest transform of the fast-hadamard-transform package
_SIGNS, _PERMUTATION = 0, 1  # streams of the seed; the subclasses' own start at 2


class HadamardBlocks(EngineProjection):
    """Rows ``[b n, (b + 1) n)`` of P are ``scale * H M_b Pi H B_j``, cut to d columns.

    Here n is ``block``, j is b modulo J, and J = max(64, 2^20 / n) is the number of first halves.
    M_b is the family's own diagonal, drawn for each block; B_j is a diagonal of signs, drawn for
    each first half; Pi is one permutation of n.

    Law: given Pi and B, the M_b alone make the blocks independent and every entry symmetric. So
    blocks may share Pi and the first halves ``Pi H B_j theta``. That makes the first of the two
    transforms nearly free and stores a bit a weight less. It costs something where a direction is
    constant over whole blocks, because there M_b gives no more than a sign. With energy e_b in
    block b, the energy that P of signs captures of it has relative variance

        2/d + 2 sum of e_b e_c over blocks b != c of one first half / (sum of e_b)^2.

    The second term is 0 while there are no more blocks than first halves (D <= 2^20). It is about
    2/J at most for a direction spread evenly over all blocks, and up to 2 for one that lies in the
    blocks of a single first half. A Gaussian M_b adds to it.
    """

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
        n = self.block = self.block_for(d)
        self.blocks = -(-D // n)
        super().__init__(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
        halves = min(self.blocks, max(_FEWEST_HALVES, _HALVES_FLOATS // n))
        signs = random.packed_signs(seed, _SIGNS, halves * max(n, 8), device).view(halves, -1)
        gather = random.permute(torch.arange(n, device=device), n, seed, _PERMUTATION)
        middle = self.diagonals()
        self.plan = BlockPlan(
            D=D,
            d=d,
            dtype=dtype,
            device=self.device,
            block=n,
            scale=self.scale(middle),
            signs=signs,
            gather=gather.to(torch.int32),
            middle=middle,
        )
        self.work = block_engine(self.engine, self.plan)

    @staticmethod
    @abstractmethod
    def block_for(d: int) -> int:
        """Rows of a block: a power of two of at least d."""

    @abstractmethod
    def diagonals(self) -> torch.Tensor:
        """The M_b of all blocks, in one of the two forms of ``BlockPlan.middle``."""

    @abstractmethod
    def scale(self, middle: torch.Tensor) -> float:
        """What makes the columns unit, given the M_b."""

    @property
    def engines(self) -> tuple[str, ...]:
        able = []
        # Signs are packed by eight. One block is one thread's work, and where it is larger than a
        # cache the matrix library wins.
        if self.block >= 8 and (self.blocks > 1 or self.block <= _LARGEST_SINGLE_BLOCK):
            able.append("native")
        if _TRITON[0] <= self.block <= _TRITON[1]:
            able.append("triton")
        if self.block <= _FHT:
            able.append("fht")
        return tuple(able)

    @property
    def grain(self) -> int:
        return self.block

    @property
    def row_wise(self) -> bool:
        # Of a long block a table's rows cost as much as the table.
        return self.blocks > 1 and self.block <= LONG

    def ingredients(self) -> Iterator[torch.Tensor]:
        yield self.plan.signs
        yield self.plan.gather.long()
        yield self.plan.middle

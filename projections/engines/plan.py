"""All that an engine sees of a projection: its sizes and its random tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Plan:
    """What every plan has.

    Args:
        D: how many weights P moves.
        d: how many coordinates it reads.
        dtype: of the arithmetic.
        device: where the tensors live.
    """

    D: int
    d: int
    dtype: torch.dtype
    device: torch.device

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors that the plan holds."""
        return [x for x in vars(self).values() if isinstance(x, torch.Tensor)]


@dataclass(frozen=True, eq=False)
class BlockPlan(Plan):
    """P cut into blocks of rows: block b is ``scale * H M_b Pi H B_j``, j = b modulo J.

    It is cut to its first d columns. J is the number of first halves ``Pi H B_j``.

    Args:
        block: rows of a block, a power of two.
        scale: what makes P's columns unit.
        signs: the B_j, packed by eight into bytes: ``(J, max(block, 8) / 8)`` uint8.
        gather: Pi, as the place that each entry is read from: ``(block,)`` int32.
        middle: the M_b: ``(blocks, block / 8)`` uint8 of packed signs, or ``(blocks, block)``
            numbers in single precision.
    """

    block: int
    scale: float
    signs: torch.Tensor
    gather: torch.Tensor
    middle: torch.Tensor

    @property
    def halves(self) -> int:
        """J."""
        return self.signs.size(0)


@dataclass(frozen=True, eq=False)
class RunPlan(Plan):
    """P cut into runs of rows, each row with one entry.

    Row i of run r is ``sign_(r, i) * norm_c`` in column c, ``c = order[(shifts_r + i) modulo d]``.

    Args:
        run: rows of a run, a multiple of d.
        signs: packed by eight into bytes, each run from a whole byte: ``(runs, ceil(run / 8))``.
        order: the order in which a run reads the coordinates: ``(d,)`` int64.
        place: the inverse of ``order``: ``(d,)`` int64.
        shifts: where each run enters that order: ``(runs,)`` int64 in [0, d).
        norm: the size of each column's entries: ``(d,)``.
    """

    run: int
    signs: torch.Tensor
    order: torch.Tensor
    place: torch.Tensor
    shifts: torch.Tensor
    norm: torch.Tensor

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return self.signs.size(0)

"""What an engine does for a family: it forms P theta on ranges of D and folds gradients back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch

from projections.contract import Shift
from projections.engines.plan import BlockPlan, Plan, RunPlan

#: Covariant: what asks for an engine of any plan takes one of blocks.
AnyPlan = TypeVar("AnyPlan", bound=Plan, covariant=True)


class Fold(NamedTuple):
    """A request: add v, which lies on these ranges of D, to the sums.

    ``starts`` is one place in D, and then v has any shape; or it is the places ``(k,)`` of k
    ranges, which may repeat, and then v is ``(k, length)``. All of v belongs to one group.
    """

    starts: int | torch.Tensor
    v: torch.Tensor
    group: int


class Engine(ABC, Generic[AnyPlan]):
    """One form of a family's arithmetic.

    ``values`` are what the engine makes of theta once, for all ranges; ``sums`` are what it gathers
    of P^T v.
    """

    #: Whether it has ``shift_all``, which forms ``origin + scale * P theta`` in one pass.
    shifts: ClassVar[bool] = False
    #: Whether it has ``shift_rows``.
    shifts_rows: ClassVar[bool] = False
    #: A call costs as much as work on this many floats. Smaller neighbours had better be joined.
    call_floats: ClassVar[int] = 1 << 18

    def __init__(self, plan: AnyPlan) -> None:
        self.plan = plan

    def share_scratch(self, other: Engine[Plan]) -> None:
        """Share ``other``'s scratch memory. Never use both at the same time."""

    def recycle(self, x: torch.Tensor) -> None:
        """Take values or sums that nobody reads any more; the next ones may use their memory."""

    @property
    def scratch(self) -> list[torch.Tensor]:
        """Memory that is kept from one product to the next."""
        return []

    @abstractmethod
    def values(self, theta: torch.Tensor) -> torch.Tensor:
        """What ``form`` reads, from theta ``(d,)``."""

    @abstractmethod
    def form(self, values: torch.Tensor, starts: int | torch.Tensor, out: torch.Tensor) -> None:
        """Write P theta on the ranges ``[s, s + length)`` into ``out`` ``(k, length)``.

        ``starts`` is one place, and then k is 1, or it is ``(k,)`` places, which may repeat.
        """

    def form_whole(self, theta: torch.Tensor, out: torch.Tensor) -> None:
        """Write P theta on all of D into ``out`` ``(D,)``."""
        values = self.values(theta)
        self.form(values, 0, out[None])
        self.recycle(values)

    def shift_all(self, values: torch.Tensor, jobs: list[Shift]) -> None:
        """Do the shifts. Each ``out`` and ``origin`` is contiguous and of the plan's dtype."""
        raise NotImplementedError

    def shift_rows(
        self,
        values: torch.Tensor,
        start: int,
        rows: torch.Tensor,
        table: torch.Tensor,
        origin: torch.Tensor,
        scale: torch.Tensor | float,
    ) -> None:
        """Shift rows ``(k,)`` of a table ``(n, width)`` that begins at ``start`` in D.

        ``table`` and ``origin`` are contiguous, of one shape and of the plan's dtype.
        """
        raise NotImplementedError

    @abstractmethod
    def zeros(self) -> torch.Tensor:
        """Empty sums."""

    @abstractmethod
    def fold_all(
        self,
        sums: torch.Tensor,
        jobs: list[Fold],
        values: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """Add each job's v to the sums, times its group's scale where there are scales.

        Args:
            sums: changed in place.
            jobs: ranges of v.
            values: those of an image. Scales need them.
            scales: ``(groups,)`` or None.

        Returns:
            ``<v, P theta>`` of each group, ``(groups,)`` in float64, where there are scales.
        """

    @abstractmethod
    def unfold(self, sums: torch.Tensor) -> torch.Tensor:
        """P^T v from the sums: ``(d,)``. The engine may overwrite and reuse the sums."""


class BlockEngine(Engine[BlockPlan]):
    """Values are the first halves of an image, sums are buckets: both ``(J, block)``.

    Block b reads first half j = b modulo J and adds to bucket j. ``form`` gives ``H M_b half_j``;
    ``fold_all`` adds ``M_b H v_b``, whose product with half_j is v_b's part of ``<v, P theta>``.
    """

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__(plan)
        self._place = torch.argsort(plan.gather).to(torch.int32)  # Pi^T as a gather

    def values(self, theta: torch.Tensor) -> torch.Tensor:
        return self.halves(self.padded(theta))

    def padded(self, theta: torch.Tensor) -> torch.Tensor:
        """Theta times the scale, with zeros up to a block: ``(d,) -> (block,)``."""
        plan = self.plan
        padded = torch.zeros(plan.block, dtype=plan.dtype, device=plan.device)
        torch.mul(theta, plan.scale, out=padded[: plan.d])
        return padded

    def unfold(self, sums: torch.Tensor) -> torch.Tensor:
        return self.unhalve(sums)[: self.plan.d].mul_(self.plan.scale)

    def zeros(self) -> torch.Tensor:
        plan = self.plan
        return torch.zeros(plan.halves, plan.block, dtype=plan.dtype, device=plan.device)

    @abstractmethod
    def halves(self, padded: torch.Tensor) -> torch.Tensor:
        """``Pi H B_j padded`` for every j: ``(block,) -> (J, block)``."""

    @abstractmethod
    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        """The sum over j of ``B_j H Pi^T bucket_j``: ``(J, block) -> (block,)``.

        The engine may overwrite and reuse the buckets.
        """


class RunEngine(Engine[RunPlan]):
    """Values are theta's coordinates in the plan's order, round after round: at least ``run + d``.

    So a run reads one range of them, wherever it enters: weight i of run r is
    ``sign_(r, i) * values[shifts_r + i]``. Sums are those of whole rounds of d.
    """

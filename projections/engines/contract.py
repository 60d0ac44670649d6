"""What an engine does for a family: form P theta on ranges of D, and fold ranges of a vector back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

if TYPE_CHECKING:
    from projections.base import Job, Projection


class Engine(ABC):
    """``values`` is what a family makes of theta once, ``sums`` what it gathers of P^T v.

    ``starts`` is one place in D, or the places ``(k,)`` of k ranges, which may repeat; out and v are ``(k, length)``. Where it is one place, v has any shape.
    """

    #: Whether it forms ``origin + scale * P theta`` in one pass, and whether for rows of a table too; only then has it these methods.
    shifts: ClassVar[bool] = False
    shifts_rows: ClassVar[bool] = False
    #: Floats below which a range costs as much as a call does, so that neighbours had better be put together.
    worth: ClassVar[int] = 1 << 18

    def __init__(self, p: Projection):
        self.p = p

    def share(self, other: Engine) -> None:  # noqa: B027 (most engines keep no buffers)
        """Be left what the other is left, too: the two are used in turn."""

    def leave(self, x: torch.Tensor) -> None:  # noqa: B027 (most engines keep no buffers)
        """Values or sums that nobody reads any more: the engine may make the next ones in their memory."""

    @property
    def kept(self) -> list[torch.Tensor]:
        """Memory that is held from one product to the next, beyond what ``stored_bytes`` counts."""
        return []

    @abstractmethod
    def zeros(self) -> torch.Tensor:
        """Sums to fold into."""

    @abstractmethod
    def form(self, values: torch.Tensor, starts: int | torch.Tensor, out: torch.Tensor) -> None:
        """``out = P theta`` on the ranges."""

    def shift_all(self, values: torch.Tensor, jobs: list[Job]) -> None:
        """``out = origin + scale * P theta`` for each ``(start, out, origin, scale)`` with out and origin of one shape, in order; threads share the work of all."""
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
        """The same for rows ``(k,)`` of a table and of its origin, ``(n, width)`` both, which begins at ``start`` in D."""
        raise NotImplementedError

    @abstractmethod
    def fold_all(
        self,
        sums: torch.Tensor,
        jobs: list[tuple[int | torch.Tensor, torch.Tensor, int]],
        values: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """For each ``(starts, v, group)`` add v on the ranges to the sums, times its group's scale where there are scales ``(groups,)``.

        With scales, and then the values of an image too, ``<v, P theta>`` of each group comes back: ``(groups,)`` in fp64.
        """


def merged(starts: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranges ``(k,)`` and ``(k, length)`` without repetition: what repeats is added up, in a fixed order on every device."""
    whole = torch.sparse_coo_tensor(
        starts[None], v, (int(starts.max()) + 1, v.shape[1]), check_invariants=True
    ).coalesce()
    return whole.indices()[0], whole.values()

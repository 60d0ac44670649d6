"""What an engine does for a family: form P theta on ranges of D, and fold ranges of a vector back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from projections.base import Projection

#: Engines that form ``origin + scale * P theta`` in one pass.
SHIFTING = ("numba", "triton")


class Engine(ABC):
    """``values`` is what a family makes of theta once, ``sums`` what it gathers of P^T v.

    ``starts`` is one place in D, or the places ``(k,)`` of k ranges; out, origin and v are ``(k, length)``.
    """

    def __init__(self, p: Projection):
        self.p = p

    @abstractmethod
    def form(
        self, values: torch.Tensor, starts: int | torch.Tensor, out: torch.Tensor, origin: torch.Tensor | None = None,
        scale: torch.Tensor | float = 1.0,
    ) -> None:
        """``out = origin + scale * P theta`` on the ranges. Only the engines in ``SHIFTING`` take an origin."""

    def form_all(self, values: torch.Tensor, jobs: list[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor | float]]) -> None:
        """``form`` for each ``(start, out, origin, scale)`` with out and origin ``(1, n)``; at once, where threads share the work."""
        for start, out, origin, scale in jobs:
            self.form(values, start, out, origin, scale)

    @abstractmethod
    def fold(
        self, sums: torch.Tensor, starts: int | torch.Tensor, v: torch.Tensor, factor: torch.Tensor | float = 1.0,
        values: torch.Tensor | None = None,
    ) -> torch.Tensor | float:
        """Add ``factor * v`` on the ranges to the sums. Where a family can, <v, P theta> comes back for the values of an image."""

    def fold_all(
        self, sums: torch.Tensor, jobs: list[tuple[int, torch.Tensor, torch.Tensor | float]], values: torch.Tensor | None = None,
    ) -> list[torch.Tensor | float]:
        """``fold`` for each ``(start, v, factor)`` with v ``(1, n)``; at once, where threads share the work."""
        return [self.fold(sums, start, v, factor, values) for start, v, factor in jobs]

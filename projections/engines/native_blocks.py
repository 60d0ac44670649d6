"""Hadamard blocks by the compiled loops.

A block is signed, transformed and written while it lies in the first-level cache.
"""

from __future__ import annotations

from typing import Any

import torch

from projections.engines.contract import BlockEngine, Engine
from projections.engines.native import PARTS, Argument, Ranges, call, packed
from projections.engines.native_engine import NativeEngine
from projections.engines.plan import BlockPlan, Plan


class NativeBlocks(NativeEngine[BlockPlan], BlockEngine):
    """Keeps four blocks of scratch memory for each thread."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__(plan)
        packed = plan.middle.dtype == torch.uint8
        self._middle = (plan.middle, None) if packed else (None, plan.middle.to(plan.dtype))
        self._scratch: torch.Tensor | None = None
        #: Sums that a product left 0, by the form that they have.
        self._zero: dict[tuple[int, int], torch.Tensor] = {}

    def share_scratch(self, other: Engine[Plan]) -> None:
        super().share_scratch(other)
        if isinstance(other, NativeBlocks):
            self._zero = other._zero

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_scratch": None, "_zero": {}}

    @property
    def scratch(self) -> list[torch.Tensor]:
        own = [] if self._scratch is None else [self._scratch]
        return [*super().scratch, *self._zero.values(), *own]

    def zeros(self) -> torch.Tensor:
        left = self._zero.pop((self.plan.halves, self.plan.block), None)
        return super().zeros() if left is None else left

    def halves(self, padded: torch.Tensor) -> torch.Tensor:
        half = self._empty(self.plan.halves, self.plan.block)
        self._call("halves", half.numel(), padded, self.plan.signs, self.plan.gather, half)
        return half

    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        out = torch.empty(self.plan.block, dtype=self.plan.dtype)
        self._call("unhalve", buckets.numel(), buckets, self.plan.signs, self._place, out)
        if not buckets.is_inference():  # those cannot be written outside of inference mode
            self._zero[self.plan.halves, self.plan.block] = buckets
        return out

    def form_whole(self, theta: torch.Tensor, out: torch.Tensor) -> None:
        plan = self.plan
        # The loops see an address alone: what does not fit it goes the way that looks.
        if not out.is_contiguous() or out.dtype != plan.dtype or out.numel() != plan.D:
            super().form_whole(theta, out)
            return
        whole = Ranges(0, 1, plan.D, memory=out.data_ptr())
        self._form(plan.D, None, (self.padded(theta), plan.signs, plan.gather), [whole])

    def _read(self, values: torch.Tensor, work: int, ranges: list[Ranges]) -> None:
        self._form(work, values, (None, None, None), ranges)

    def _form(
        self,
        work: int,
        values: torch.Tensor | None,
        first: tuple[torch.Tensor | None, ...],
        ranges: list[Ranges],
    ) -> None:
        """Form P theta on the ranges.

        Args:
            work: numbers to form.
            values: the first halves; None to make each where it is needed. A whole product then
                needs no memory for all of them.
            first: what they are made of: theta ``(block,)``, its signs and the order.
            ranges: of D.
        """
        self._call("form", work, values, *first, *self._middle, packed(ranges), len(ranges))

    def _add(
        self,
        sums: torch.Tensor,
        work: int,
        ranges: list[Ranges],
        values: torch.Tensor | None,
        inner: torch.Tensor | None,
    ) -> None:
        given = values, *self._middle, packed(ranges), len(ranges), sums, inner
        self._call("fold", work, *given)

    def _call(self, loop: str, work: int, *arguments: Argument) -> None:
        plan, threads = self.plan, torch.get_num_threads()
        # Taken while in use, so that another thread's call makes its own.
        scratch, self._scratch = self._scratch, None
        if scratch is None or scratch.size(0) < threads:
            scratch = torch.empty(threads, 4, plan.block, dtype=plan.dtype)
        call(loop, plan.dtype, work, plan.block, plan.halves, *arguments, scratch)
        self._scratch = scratch

    def _parts(self, sums: torch.Tensor) -> int:
        return PARTS

"""What the two families' compiled engines have in common."""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import Any

import torch

from projections.contract import Shift
from projections.engines.contract import AnyPlan, Engine, Fold
from projections.engines.native import Ranges, address
from projections.engines.plan import Plan


class NativeEngine(Engine[AnyPlan]):
    """Turns requests into ranges, over which a subclass has the two loops ``_read`` and ``_add``.

    The loops see an address alone. So what they get must be in order, of their type and alive.
    """

    shifts = shifts_rows = True
    call_floats = 0

    def __init__(self, plan: AnyPlan) -> None:
        super().__init__(plan)
        # Fresh pages cost more than the arithmetic on them. So values and sums that nobody needs
        # any more go to the next ones of their size.
        self._recycled: dict[int, torch.Tensor] = {}

    def share_scratch(self, other: Engine[Plan]) -> None:
        if isinstance(other, NativeEngine):
            self._recycled = other._recycled

    def recycle(self, x: torch.Tensor) -> None:
        if not x.is_inference():  # those cannot be written outside of inference mode
            self._recycled[x.numel()] = x

    def _empty(self, *shape: int) -> torch.Tensor:
        old = self._recycled.pop(prod(shape), None)
        return torch.empty(shape, dtype=self.plan.dtype) if old is None else old.view(shape)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recycled": {}}

    @property
    def scratch(self) -> list[torch.Tensor]:
        return list(self._recycled.values())

    @abstractmethod
    def _read(self, values: torch.Tensor, work: int, ranges: list[Ranges]) -> None:
        """Write ``factor * P theta``, on top of the origin where there is one, into the memory."""

    @abstractmethod
    def _add(
        self,
        sums: torch.Tensor,
        work: int,
        ranges: list[Ranges],
        values: torch.Tensor | None,
        inner: torch.Tensor | None,
    ) -> None:
        """Add ``factor * memory`` to the sums, and ``<memory, P theta>`` to its group in inner."""

    @abstractmethod
    def _parts(self, sums: torch.Tensor) -> int:
        """How many sums of ``<v, P theta>`` ``_add`` keeps for each group."""

    def form(self, values: torch.Tensor, starts: int | torch.Tensor, out: torch.Tensor) -> None:
        _check_inside("starts", starts, out.shape[1], self.plan.D)
        fits = out.is_contiguous() and out.dtype == self.plan.dtype
        made = out if fits else torch.empty(out.shape, dtype=self.plan.dtype)
        start, places = (
            (0, _indices(starts)) if isinstance(starts, torch.Tensor) else (starts, None)
        )
        count, length = out.shape
        ranges = Ranges(
            start=start, number=count, length=length, starts=address(places), memory=made.data_ptr()
        )
        self._read(values, out.numel(), [ranges])
        if made is not out:
            out.copy_(made)

    def shift_all(self, values: torch.Tensor, jobs: list[Shift]) -> None:
        ranges, work, D = [], 0, self.plan.D
        for start, out, origin, scale in jobs:
            n = out.numel()
            _check_inside("starts", start, n, D)
            work += n
            # By place: names cost a tenth of a small job.
            memory, theta_0 = out.data_ptr(), origin.data_ptr()
            ranges.append(Ranges(start, 1, n, 0, 0, 0, memory, theta_0, float(scale)))
        self._read(values, work, ranges)

    def shift_rows(
        self,
        values: torch.Tensor,
        start: int,
        rows: torch.Tensor,
        table: torch.Tensor,
        origin: torch.Tensor,
        scale: torch.Tensor | float,
    ) -> None:
        width, rows = table.shape[1], _indices(rows)
        _check_inside("rows", rows, 1, len(table))
        starts = rows * width
        ranges = Ranges(
            start=start,
            number=len(rows),
            length=width,
            starts=starts.data_ptr(),
            at=rows.data_ptr(),
            memory=table.data_ptr(),
            origin=origin.data_ptr(),
            factor=float(scale),
        )
        self._read(values, len(rows) * width, [ranges])

    def fold_all(
        self,
        sums: torch.Tensor,
        jobs: list[Fold],
        values: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        factors = None if scales is None else scales.tolist()
        inner = None
        if factors is not None:
            inner = torch.zeros(len(factors), self._parts(sums), dtype=torch.float64)
        alive, ranges, work = [], [], 0
        D, dtype = self.plan.D, self.plan.dtype
        for starts, v, group in jobs:
            if v.dtype != dtype or not v.is_contiguous():
                v = v.to(dtype).contiguous()
            start, places, order, count, length = 0, None, None, 1, v.numel()
            if isinstance(starts, torch.Tensor):
                # In order, neighbours share a block's transform.
                places, order = torch.sort(_indices(starts), stable=True)
                count, length = v.shape
            else:
                start = starts
            _check_inside("starts", starts, length, D)
            alive.append((places, order, v))
            work += v.numel()
            group, factor = (0, 1.0) if factors is None else (group, factors[group])
            at = address(places), address(order)
            ranges.append(Ranges(start, count, length, group, *at, v.data_ptr(), 0, factor))
        self._add(sums, work, ranges, None if factors is None else values, inner)
        return None if inner is None else inner.sum(1)


def _indices(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.int64).contiguous()


def _check_inside(name: str, starts: int | torch.Tensor, length: int, n: int) -> None:
    """Raise IndexError for a range outside ``[0, n)``, which the loops do not look for."""
    if isinstance(starts, torch.Tensor):
        first, last = (int(x) for x in torch.aminmax(starts)) if len(starts) else (0, 0)
    else:
        first = last = starts
    if not 0 <= first <= last <= n - length:
        raise IndexError(f"{name}: expected ranges of {length} within {n:,}; got {first} to {last}")

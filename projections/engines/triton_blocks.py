"""Hadamard blocks as fused Triton kernels for CUDA.

One program does one block, and nothing of the transform goes through the device's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

from projections.contract import Shift
from projections.engines.plain_blocks import PlainBlocks
from projections.engines.plan import BlockPlan

# Triton's own decorator has no types. Inside a kernel numbers and pointers are tensors, too.
_jit: Callable[[Callable[..., Any]], Any] = triton.jit


@_jit
def _hadamard(n: tl.constexpr) -> tl.tensor:
    """The (n, n) matrix: -1 to the number of bits that i and j share."""
    shared = tl.arange(0, n)[:, None] & tl.arange(0, n)[None, :]
    shared ^= shared >> 8
    shared ^= shared >> 4
    shared ^= shared >> 2
    shared ^= shared >> 1
    return (1 - 2 * (shared & 1)).to(tl.float32)


@_jit
def _transform(x: tl.tensor, a: tl.constexpr, b: tl.constexpr) -> tl.tensor:
    """H_a x H_b for x ``(a, b)``: the transform of its a b entries in order, in full precision."""
    x = tl.dot(_hadamard(a), x, input_precision="ieee")
    return tl.dot(x, _hadamard(b), input_precision="ieee")


@_jit
def _middle(
    pointer: tl.tensor, block: tl.tensor, entry: tl.tensor, rows: tl.constexpr, packed: tl.constexpr
) -> tl.tensor:
    """The diagonal M of a block at these entries."""
    # One return: Triton asks all returns for one type, those of the branch not taken too.
    if packed:
        byte = tl.load(pointer + block * (rows // 8) + entry // 8).to(tl.int32)
        diagonal = (1 - 2 * ((byte >> (entry % 8)) & 1)).to(tl.float32)
    else:
        diagonal = tl.load(pointer + block * rows + entry)
    return diagonal


@_jit
def _form(
    half: tl.tensor,
    middle: tl.tensor,
    out: tl.tensor,
    origin: tl.tensor,
    scale: tl.tensor,
    start: tl.tensor,
    n: tl.tensor,
    J: tl.tensor,
    shifted: tl.constexpr,
    packed: tl.constexpr,
    a: tl.constexpr,
    b: tl.constexpr,
) -> None:
    rows: tl.constexpr = a * b
    block = start // rows + tl.program_id(0).to(tl.int64)
    entry = tl.arange(0, a)[:, None] * b + tl.arange(0, b)[None, :]
    x = tl.load(half + (block % J) * rows + entry) * _middle(middle, block, entry, rows, packed)
    x = _transform(x, a, b)
    at = block * rows - start + entry
    inside = (at >= 0) & (at < n)
    if shifted:
        x = tl.load(origin + at, mask=inside, other=0.0) + tl.load(scale) * x
    tl.store(out + at, x, mask=inside)


@_jit
def _fold(
    buckets: tl.tensor,
    middle: tl.tensor,
    v: tl.tensor,
    factor: tl.tensor,
    half: tl.tensor,
    inner: tl.tensor,
    start: tl.tensor,
    n: tl.tensor,
    J: tl.tensor,
    count: tl.tensor,
    scaled: tl.constexpr,
    packed: tl.constexpr,
    a: tl.constexpr,
    b: tl.constexpr,
) -> None:
    # One program goes through one bucket's blocks in order, so that no sum depends on which
    # program was first.
    rows: tl.constexpr = a * b
    first = start // rows
    k = tl.program_id(0).to(tl.int64)
    entry = tl.arange(0, a)[:, None] * b + tl.arange(0, b)[None, :]
    total = tl.zeros((a, b), tl.float32)
    for step in range(k, count, J):
        block = first + step
        at = block * rows - start + entry
        x = tl.load(v + at, mask=(at >= 0) & (at < n), other=0.0)
        total += _transform(x, a, b) * _middle(middle, block, entry, rows, packed)
    at = ((first + k) % J) * rows + entry
    if scaled:
        tl.store(inner + k, tl.sum(total * tl.load(half + at)))
        total *= tl.load(factor)
    tl.store(buckets + at, tl.load(buckets + at) + total)


class TritonBlocks(PlainBlocks):
    """The two products with the blocks, fused. First halves and short ranges are the plain form's.

    In single precision, for blocks of 2^8 to 2^14 rows.
    """

    shifts = True

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__(plan)
        bits = plan.block.bit_length() - 1
        self._shape = {
            "a": 1 << (bits // 2),
            "b": 1 << (bits - bits // 2),
            "packed": plan.middle.dtype == torch.uint8,
            "num_warps": 4 if plan.block <= 1 << 11 else 8,
        }

    def form(self, values: torch.Tensor, starts: int | torch.Tensor, out: torch.Tensor) -> None:
        if isinstance(starts, int):
            self._form(values, starts, out)
        else:
            super().form(values, starts, out)

    def shift_all(self, values: torch.Tensor, jobs: list[Shift]) -> None:
        for start, out, origin, scale in jobs:
            self._form(values, start, out, origin, scale)

    def _form(
        self,
        half: torch.Tensor,
        start: int,
        out: torch.Tensor,
        origin: torch.Tensor | None = None,
        scale: torch.Tensor | float = 1.0,
    ) -> None:
        plan, n = self.plan, out.numel()
        _form[(self._touched(start, n),)](
            half,
            plan.middle,
            out,
            out if origin is None else origin,
            torch.as_tensor(scale, dtype=plan.dtype, device=plan.device),
            start,
            n,
            plan.halves,
            shifted=origin is not None,
            **self._shape,
        )

    def _fold_range(
        self,
        buckets: torch.Tensor,
        start: int,
        v: torch.Tensor,
        factor: torch.Tensor | float,
        half: torch.Tensor | None,
    ) -> torch.Tensor | float:
        plan, n = self.plan, v.numel()
        count = self._touched(start, n)
        programs = min(count, plan.halves)
        inner = torch.zeros(1 if half is None else programs, device=plan.device)
        _fold[(programs,)](
            buckets,
            plan.middle,
            v.contiguous(),
            torch.as_tensor(factor, dtype=plan.dtype, device=plan.device),
            buckets if half is None else half,
            inner,
            start,
            n,
            plan.halves,
            count,
            scaled=half is not None,
            **self._shape,
        )
        return inner.double().sum()

    def _touched(self, start: int, n: int) -> int:
        """How many blocks the range touches."""
        return -(-(start + n) // self.plan.block) - start // self.plan.block

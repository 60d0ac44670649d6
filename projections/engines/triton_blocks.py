"""The Hadamard blocks' sums as fused Triton kernels: one program a block, nothing of the transform's in the device's memory."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from projections.engines.blocks import PlainBlocks


@triton.jit
def _hadamard(n: tl.constexpr):
    """The (n, n) matrix: -1 to the number of bits that i and j share."""
    shared = tl.arange(0, n)[:, None] & tl.arange(0, n)[None, :]
    shared ^= shared >> 8
    shared ^= shared >> 4
    shared ^= shared >> 2
    shared ^= shared >> 1
    return (1 - 2 * (shared & 1)).to(tl.float32)


@triton.jit
def _transform(x, a: tl.constexpr, b: tl.constexpr):
    """H_a x H_b for x ``(a, b)``: the transform of its a b entries in order. In full single precision."""
    x = tl.dot(_hadamard(a), x, input_precision="ieee")
    return tl.dot(x, _hadamard(b), input_precision="ieee")


@triton.jit
def _middle(pointer, block, entry, m: tl.constexpr, packed: tl.constexpr):
    """The diagonal M of a block at the entries."""
    if packed:
        byte = tl.load(pointer + block * (m // 8) + entry // 8).to(tl.int32)
        return (1 - 2 * ((byte >> (entry % 8)) & 1)).to(tl.float32)
    return tl.load(pointer + block * m + entry)


@triton.jit
def _form(
    half,
    middle,
    out,
    origin,
    scale,
    start,
    n,
    J,
    shifted: tl.constexpr,
    packed: tl.constexpr,
    a: tl.constexpr,
    b: tl.constexpr,
):
    m: tl.constexpr = a * b
    block = start // m + tl.program_id(0).to(tl.int64)
    entry = tl.arange(0, a)[:, None] * b + tl.arange(0, b)[None, :]
    x = tl.load(half + (block % J) * m + entry) * _middle(middle, block, entry, m, packed)
    x = _transform(x, a, b)
    at = block * m - start + entry
    inside = (at >= 0) & (at < n)
    if shifted:
        x = tl.load(origin + at, mask=inside, other=0.0) + tl.load(scale) * x
    tl.store(out + at, x, mask=inside)


@triton.jit
def _fold(
    buckets,
    middle,
    v,
    factor,
    half,
    along,
    start,
    n,
    J,
    count,
    scaled: tl.constexpr,
    packed: tl.constexpr,
    a: tl.constexpr,
    b: tl.constexpr,
):
    # One program a bucket: it goes through the bucket's blocks in order, so no sum depends on who came first.
    m: tl.constexpr = a * b
    first = start // m
    k = tl.program_id(0).to(tl.int64)
    entry = tl.arange(0, a)[:, None] * b + tl.arange(0, b)[None, :]
    total = tl.zeros((a, b), tl.float32)
    for step in range(k, count, J):
        block = first + step
        at = block * m - start + entry
        x = tl.load(v + at, mask=(at >= 0) & (at < n), other=0.0)
        total += _transform(x, a, b) * _middle(middle, block, entry, m, packed)
    at = ((first + k) % J) * m + entry
    if scaled:
        tl.store(along + k, tl.sum(total * tl.load(half + at)))
        total *= tl.load(factor)
    tl.store(buckets + at, tl.load(buckets + at) + total)


class TritonBlocks(PlainBlocks):
    """The two products with the blocks, fused; the first halves and short ranges as in the plain form."""

    shifts = True

    def __init__(self, p):
        super().__init__(p)
        bits = p.m.bit_length() - 1
        self._shape = {
            "a": 1 << (bits // 2),
            "b": 1 << (bits - bits // 2),
            "packed": p.middle.dtype == torch.uint8,
        }
        self._shape["num_warps"] = 4 if p.m <= 1 << 11 else 8

    def form(self, half, starts, out) -> None:
        if not isinstance(starts, int):
            return super().form(half, starts, out)
        self._form(half, starts, out)
        return None

    def shift_all(self, half, jobs) -> None:
        for start, out, origin, scale in jobs:
            self._form(half, start, out, origin, scale)

    def _form(self, half, start, out, origin=None, scale=1.0) -> None:
        p, n = self.p, out.numel()
        factor = torch.as_tensor(scale, dtype=p.dtype, device=p.device)
        _form[(-(-(start + n) // p.m) - start // p.m,)](
            half,
            p.middle,
            out,
            out if origin is None else origin,
            factor,
            start,
            n,
            p.halves,
            shifted=origin is not None,
            **self._shape,
        )

    def _fold(self, buckets, starts, v, factor, half):
        if not isinstance(starts, int):
            return super()._fold(buckets, starts, v, factor, half)
        p, n = self.p, v.numel()
        count = -(-(starts + n) // p.m) - starts // p.m
        programs = min(count, p.halves)
        along = torch.zeros(programs if half is not None else 1, device=p.device)
        _fold[(programs,)](
            buckets,
            p.middle,
            v.contiguous(),
            torch.as_tensor(factor, dtype=p.dtype, device=p.device),
            buckets if half is None else half,
            along,
            starts,
            n,
            p.halves,
            count,
            scaled=half is not None,
            **self._shape,
        )
        return along.double().sum()

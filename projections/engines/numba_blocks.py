"""The Hadamard blocks' sums, compiled: a block is signed, transformed and written while it lies in the first-level cache.

Every loop takes ``part`` and ``parts`` and does the blocks whose first half is ``part`` modulo ``parts``: so no two threads write to one
bucket, and what is added to a bucket is added in one order whatever the number of threads.
"""

from __future__ import annotations

import numpy as np
import torch

from projections.engines.blocks import BlockEngine
from projections.engines.compiled import array, jit, parallel, places, sign_table

_NEAR = 4096  # floats transformed at once before the wider strides: half of a first-level cache


class NumbaBlocks(BlockEngine):
    def __init__(self, p):
        super().__init__(p)
        self._table = sign_table(p.dtype)
        middle = array(p.middle)
        self._middle = (middle, None) if p.middle.dtype == torch.uint8 else (None, middle.astype(self._table.dtype, copy=False))
        self._outer, self._gather, self._scatter = array(p.outer), array(p.gather), array(p.scatter)
        self._scratch: list[np.ndarray] = []

    def halves(self, theta: torch.Tensor) -> torch.Tensor:
        p = self.p
        half = torch.empty(p.halves, p.m, dtype=p.dtype)
        x, out = array(theta), array(half)
        self._run(_halves, half.numel(), [(x, self._outer, self._gather, self._table, out)])
        return half

    def form(self, half, starts, out, origin=None, scale=1.0) -> None:
        self.form_all(half, [(starts, out, origin, scale)])

    def form_all(self, half, jobs) -> None:
        first = array(half), *self._middle, self._table
        self._run(_form, sum(out.numel() for _, out, _, _ in jobs), [
            (*first, places(starts), out.shape[1], None if origin is None else array(origin), self._table.dtype.type(float(scale)), array(out))
            for starts, out, origin, scale in jobs
        ])

    def fold(self, buckets, starts, v, factor=1.0, half=None):
        return self.fold_all(buckets, [(starts, v, factor)], half)[0]

    def fold_all(self, buckets, jobs, half=None):
        along = np.zeros((len(jobs), torch.get_num_threads()))
        first, x = (array(buckets), *self._middle, self._table), None if half is None else array(half)
        self._run(_fold, sum(v.numel() for _, v, _ in jobs), [
            (*first, places(starts), v.shape[1], array(v), self._table.dtype.type(float(factor)), x, row)
            for (starts, v, factor), row in zip(jobs, along, strict=True)
        ])
        return along.sum(1).tolist()

    def unhalve(self, buckets: torch.Tensor) -> torch.Tensor:
        self._run(_unhalve, buckets.numel(), [(array(buckets), self._outer, self._scatter, self._table)])
        return buckets.sum(0)

    def _run(self, loop, work: int, calls: list[tuple]) -> None:
        """Each thread makes its part of every call, so that it is woken once."""
        def run(part: int, parts: int) -> None:
            for arguments in calls:
                loop(*arguments, self._scratch[part], part, parts)

        while len(self._scratch) < torch.get_num_threads():
            self._scratch.append(np.empty((2, self.p.m), self._table.dtype))
        parallel(run, work)


@jit
def _wide(x, h):
    """The levels of the transform from stride h on, two at a time, in place."""
    n = x.shape[0]
    while h * 4 <= n:
        for i in range(0, n, 4 * h):
            a, b, c, d = x[i: i + h], x[i + h: i + 2 * h], x[i + 2 * h: i + 3 * h], x[i + 3 * h: i + 4 * h]
            for j in range(h):
                p, q, r, s = a[j] + b[j], a[j] - b[j], c[j] + d[j], c[j] - d[j]
                a[j], b[j], c[j], d[j] = p + r, q + s, p - r, q - s
        h *= 4
    if h < n:
        for i in range(0, n, 2 * h):
            a, b = x[i: i + h], x[i + h: i + 2 * h]
            for j in range(h):
                p, q = a[j], b[j]
                a[j], b[j] = p + q, p - q


@jit
def _eight(a, b, c, d, e, f, g, h):
    """The transform of eight numbers."""
    a, b, c, d, e, f, g, h = a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h
    a, c, b, d, e, g, f, h = a + c, a - c, b + d, b - d, e + g, e - g, f + h, f - h
    return a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h


# Below, the counters run from 0 by 1, strides are literal and x is never y: only so are these loops turned into vector instructions.


@jit
def _narrow(x, y):
    """The levels of strides 1, 2 and 4, from x to y, which may be one."""
    for k in range(y.shape[0] // 8):
        i = 8 * k
        y[i], y[i + 1], y[i + 2], y[i + 3], y[i + 4], y[i + 5], y[i + 6], y[i + 7] = _eight(
            x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7])


@jit
def _rest(y):
    """The levels of y that ``_narrow`` leaves, in place."""
    for near in range(0, y.shape[0], _NEAR):
        v = y[near: min(near + _NEAR, y.shape[0])]
        if v.shape[0] < 64:
            _wide(v, 8)
            continue
        for k in range(v.shape[0] // 64):
            z = v[64 * k: 64 * k + 64]
            for i in range(8):
                z[i], z[i + 8], z[i + 16], z[i + 24], z[i + 32], z[i + 40], z[i + 48], z[i + 56] = _eight(
                    z[i], z[i + 8], z[i + 16], z[i + 24], z[i + 32], z[i + 40], z[i + 48], z[i + 56])
        _wide(v, 64)
    _wide(y, _NEAR)


@jit
def _sign(x, signs, table, y):
    """``y = signs * x``."""
    for k in range(signs.shape[0]):
        t, i = table[signs[k]], 8 * k
        u, v = x[i: i + 8], y[i: i + 8]
        for c in range(8):
            v[c] = u[c] * t[c]


@jit
def _transform_signed(x, signs, table, y):
    """``y = H (signs * x)``."""
    _sign(x, signs, table, y)
    _narrow(y, y)
    _rest(y)


@jit
def _transform_scaled(x, weights, y):
    """``y = H (weights * x)``."""
    for i in range(y.shape[0]):
        y[i] = weights[i] * x[i]
    _narrow(y, y)
    _rest(y)


@jit
def _transform(x, y):
    """``y = H x``."""
    _narrow(x, y)
    _rest(y)


@jit
def _halves(theta, signs, gather, table, half, scratch, part, parts):
    """``half[j] = Pi H B_j theta``; theta ``(m,)`` is padded with zeros."""
    x = scratch[0]
    for j in range(part, half.shape[0], parts):
        _transform_signed(theta, signs[j], table, x)
        row = half[j]
        for i in range(row.shape[0]):
            row[i] = x[gather[i]]


@jit
def _form(half, signs, weights, table, starts, length, origin, scale, out, scratch, part, parts):
    """``out[r] = origin[r] + scale * (P theta)[starts[r]: starts[r] + length]``; one of signs and weights, and origin, may be None."""
    J, m = half.shape
    block = scratch[0]
    have = -1
    for r in range(starts.shape[0]):
        start = starts[r]
        stop = start + length
        for b in range(start // m, (stop + m - 1) // m):
            if (b % J) % parts != part:
                continue
            if b != have:
                if signs is not None:
                    _transform_signed(half[b % J], signs[b], table, block)
                if weights is not None:
                    _transform_scaled(half[b % J], weights[b], block)
                have = b
            lo, hi = max(start, b * m), min(stop, b * m + m)
            x, y = block[lo - b * m: hi - b * m], out[r, lo - start: hi - start]
            if origin is not None:
                z = origin[r, lo - start: hi - start]
                for i in range(hi - lo):
                    y[i] = z[i] + scale * x[i]
            if origin is None:
                for i in range(hi - lo):
                    y[i] = x[i]


@jit
def _multiply(x, signs, weights, table):
    """``x = M x`` in place."""
    if signs is not None:
        for k in range(signs.shape[0]):
            t, i = table[signs[k]], 8 * k
            y = x[i: i + 8]
            for c in range(8):
                y[c] *= t[c]
    if weights is not None:
        for i in range(x.shape[0]):
            x[i] *= weights[i]


def _dot(x, y):
    """In as many sums at once as the machine has lanes: only their order differs between machines."""
    total = x.dtype.type(0)
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


_dot = jit(_dot, fastmath={"reassoc", "contract"})


@jit
def _pour(buckets, b, v, signs, weights, table, factor, half, x):
    """``buckets[b mod J] += factor * M_b H v``; returns ``<M_b H v, half_j>`` where there is a half. x is scratch."""
    j = b % buckets.shape[0]
    _transform(v, x)
    if signs is not None:
        _multiply(x, signs[b], None, table)
    if weights is not None:
        _multiply(x, None, weights[b], table)
    bucket = buckets[j]
    for i in range(x.shape[0]):
        bucket[i] += factor * x[i]
    along = 0.0
    if half is not None:
        along += _dot(x, half[j])
    return along


@jit
def _fold(buckets, signs, weights, table, starts, length, v, factor, half, along, scratch, part, parts):
    """``buckets[b mod J] += factor * M_b H v_b`` for the blocks b that hold the ranges ``v (k, length)``.

    With first halves (else None), ``along[part]`` becomes this part's ``<v, P theta>``. Neighbouring ranges that share a block are put
    together first: sorted starts cost one transform a block.
    """
    J, m = buckets.shape
    gathered, spare = scratch[0], scratch[1]
    have, total = -1, 0.0
    for r in range(starts.shape[0]):
        start = starts[r]
        stop = start + length
        for b in range(start // m, (stop + m - 1) // m):
            if (b % J) % parts != part:
                continue
            if start <= b * m and b * m + m <= stop:
                whole = v[r, b * m - start: b * m + m - start]
                total += _pour(buckets, b, whole, signs, weights, table, factor, half, spare)
                continue
            if b != have:
                if have >= 0:
                    total += _pour(buckets, have, gathered, signs, weights, table, factor, half, spare)
                gathered[:] = 0
                have = b
            lo, hi = max(start, b * m), min(stop, b * m + m)
            x, y = v[r, lo - start: hi - start], gathered[lo - b * m: hi - b * m]
            for i in range(hi - lo):
                y[i] += x[i]
    if have >= 0:
        total += _pour(buckets, have, gathered, signs, weights, table, factor, half, spare)
    along[part] = total


@jit
def _unhalve(buckets, signs, scatter, table, scratch, part, parts):
    """``bucket_j = B_j H Pi^T bucket_j`` in place; their sum is P^T v."""
    x = scratch[0]
    for j in range(part, buckets.shape[0], parts):
        row = buckets[j]
        for i in range(row.shape[0]):
            x[i] = row[scatter[i]]
        _transform(x, row)
        _multiply(row, signs[j], None, table)

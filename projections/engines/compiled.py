"""Loops compiled by numba for the CPU: a block is signed, transformed and written while it lies in the first-level cache.

Every function of blocks takes ``part`` and ``parts`` and does the blocks whose first half is ``part`` modulo ``parts``: so no two threads write
to one bucket, and what is added to a bucket is added in one order whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

import numba
import numpy as np
import torch


def _jit(function: Callable, **options):
    """Compiled at its first call and kept on disk; in memory alone where nothing can be written."""
    try:
        return numba.njit(function, nogil=True, cache=True, **options)
    except RuntimeError:
        return numba.njit(function, nogil=True, **options)


_NEAR = 4096  # floats transformed at once before the wider strides: half of a first-level cache


def parallel(run: Callable[[int, int], None], work: int, most: int = 1 << 30) -> None:
    """``run(part, parts)`` for every part, on as many threads as torch uses; on one where the work (floats) is small."""
    parts = min(torch.get_num_threads(), max(1, work // (1 << 15)), most)
    if parts == 1:
        return run(0, 1)
    others = [_pool(parts - 1).submit(run, part, parts) for part in range(1, parts)]
    run(0, parts)
    wait(others)
    for other in others:
        other.result()


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="idim")


@lru_cache(maxsize=2)
def sign_table(dtype: torch.dtype) -> np.ndarray:
    """Byte -> its eight signs, lowest bit first: ``(256, 8)``."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    return np.ascontiguousarray((1 - 2 * bits).astype(np.float64 if dtype == torch.float64 else np.float32))


def array(x: torch.Tensor) -> np.ndarray:
    """The tensor's own memory as an array."""
    return x.detach().numpy()


def places(starts: int | torch.Tensor) -> np.ndarray:
    return np.array([starts]) if isinstance(starts, int) else array(starts)


@_jit
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


@_jit
def _eight(a, b, c, d, e, f, g, h):
    """The transform of eight numbers."""
    a, b, c, d, e, f, g, h = a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h
    a, c, b, d, e, g, f, h = a + c, a - c, b + d, b - d, e + g, e - g, f + h, f - h
    return a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h


# Below, the counters run from 0 by 1 and x is never y: only so are these loops turned into vector instructions.


@_jit
def _transform_signed(x, signs, table, y):
    """``y = H (signs * x)``. The three narrowest levels are done on the way in."""
    for near in range(0, y.shape[0], _NEAR):
        n = min(_NEAR, y.shape[0] - near)
        u, v, s = x[near: near + n], y[near: near + n], signs[near >> 3: (near + n) >> 3]
        for k in range(n // 8):
            t, i = table[s[k]], 8 * k
            v[i], v[i + 1], v[i + 2], v[i + 3], v[i + 4], v[i + 5], v[i + 6], v[i + 7] = _eight(
                u[i] * t[0], u[i + 1] * t[1], u[i + 2] * t[2], u[i + 3] * t[3],
                u[i + 4] * t[4], u[i + 5] * t[5], u[i + 6] * t[6], u[i + 7] * t[7])
        _wide(v, 8)
    _wide(y, _NEAR)


@_jit
def _transform_scaled(x, weights, y):
    """``y = H (weights * x)``."""
    for near in range(0, y.shape[0], _NEAR):
        n = min(_NEAR, y.shape[0] - near)
        u, v, w = x[near: near + n], y[near: near + n], weights[near: near + n]
        for k in range(n // 8):
            i = 8 * k
            v[i], v[i + 1], v[i + 2], v[i + 3], v[i + 4], v[i + 5], v[i + 6], v[i + 7] = _eight(
                u[i] * w[i], u[i + 1] * w[i + 1], u[i + 2] * w[i + 2], u[i + 3] * w[i + 3],
                u[i + 4] * w[i + 4], u[i + 5] * w[i + 5], u[i + 6] * w[i + 6], u[i + 7] * w[i + 7])
        _wide(v, 8)
    _wide(y, _NEAR)


@_jit
def _transform(x, y):
    """``y = H x``."""
    for near in range(0, y.shape[0], _NEAR):
        n = min(_NEAR, y.shape[0] - near)
        u, v = x[near: near + n], y[near: near + n]
        for k in range(n // 8):
            i = 8 * k
            v[i], v[i + 1], v[i + 2], v[i + 3], v[i + 4], v[i + 5], v[i + 6], v[i + 7] = _eight(
                u[i], u[i + 1], u[i + 2], u[i + 3], u[i + 4], u[i + 5], u[i + 6], u[i + 7])
        _wide(v, 8)
    _wide(y, _NEAR)


@_jit
def halves(theta, signs, gather, table, half, scratch, part, parts):
    """``half[j] = Pi H B_j theta``; theta ``(m,)`` is padded with zeros."""
    x = scratch[0]
    for j in range(part, half.shape[0], parts):
        _transform_signed(theta, signs[j], table, x)
        row = half[j]
        for i in range(row.shape[0]):
            row[i] = x[gather[i]]


@_jit
def form(half, signs, weights, table, starts, length, origin, scale, out, scratch, part, parts):
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


@_jit
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


_dot = _jit(_dot, fastmath={"reassoc", "contract"})


@_jit
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


@_jit
def fold(buckets, signs, weights, table, starts, length, v, factor, half, along, scratch, part, parts):
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


@_jit
def unhalve(buckets, signs, scatter, table, scratch, part, parts):
    """``bucket_j = B_j H Pi^T bucket_j`` in place; their sum is P^T v."""
    x = scratch[0]
    for j in range(part, buckets.shape[0], parts):
        row = buckets[j]
        for i in range(row.shape[0]):
            x[i] = row[scatter[i]]
        _transform(x, row)
        _multiply(row, signs[j], None, table)


@_jit
def read_runs(values, signs, shifts, table, L, starts, origin, scale, out, part, parts):
    """``out = origin + scale * s_i values[shift_r + i - r L]`` for the weights i of the ranges, r their run; origin may be None."""
    length = out.shape[1]
    for row in range(starts.shape[0]):
        start = starts[row]
        for r in range(start // L, (start + length + L - 1) // L):
            if r % parts != part:
                continue
            lo, hi = max(start, r * L), min(start + length, r * L + L)
            inside, n = lo - r * L, hi - lo
            x, y, s = values[shifts[r] + inside: shifts[r] + inside + n], out[row, lo - start: hi - start], signs[r]
            head = min(-inside % 8, n)  # up to where a byte of signs begins
            whole = (n - head) // 8
            for i in range(n - 8 * whole):
                i += 8 * whole * (i >= head)
                bit = (s[(inside + i) >> 3] >> ((inside + i) & 7)) & 1
                y[i] = -x[i] if bit else x[i]
            for k in range(whole):
                t, i = table[s[((inside + head) >> 3) + k]], head + 8 * k
                u, v = x[i: i + 8], y[i: i + 8]
                for c in range(8):
                    v[c] = u[c] * t[c]
            if origin is not None:
                z = origin[row, lo - start: hi - start]
                for i in range(n):
                    y[i] = z[i] + scale * y[i]


@_jit
def add_runs(sums, signs, shifts, table, L, starts, v, part, parts):
    """``sums[shift_r + i - r L] += s_i v_i`` for the weights i of the ranges, r their run."""
    length = v.shape[1]
    for row in range(starts.shape[0]):
        start = starts[row]
        for r in range(start // L, (start + length + L - 1) // L):
            if r % parts != part:
                continue
            lo, hi = max(start, r * L), min(start + length, r * L + L)
            inside, n = lo - r * L, hi - lo
            x, y, s = v[row, lo - start: hi - start], sums[shifts[r] + inside: shifts[r] + inside + n], signs[r]
            head = min(-inside % 8, n)
            whole = (n - head) // 8
            for i in range(n - 8 * whole):
                i += 8 * whole * (i >= head)
                bit = (s[(inside + i) >> 3] >> ((inside + i) & 7)) & 1
                y[i] += -x[i] if bit else x[i]
            for k in range(whole):
                t, i = table[s[((inside + head) >> 3) + k]], head + 8 * k
                u, w = x[i: i + 8], y[i: i + 8]
                for c in range(8):
                    w[c] += u[c] * t[c]


@_jit
def philox_words(first, stream, k0, k1, out, part, parts):
    """Philox4x32-10 of the blocks ``first ..``, four words each, in order: the same bits as ``random.philox``."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for block in range(part, out.shape[0] // 4, parts):
        at = np.uint64(first + block)
        c0, c1, c2, c3 = at & low, at >> half, np.uint64(stream) & low, np.uint64(0)
        a, b = np.uint64(k0), np.uint64(k1)
        for _ in range(10):
            p, q = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
            c0, c1, c2, c3 = (q >> half) ^ c1 ^ a, q & low, (p >> half) ^ c3 ^ b, p & low
            a, b = (a + np.uint64(0x9E3779B9)) & low, (b + np.uint64(0xBB67AE85)) & low
        i = 4 * block
        out[i], out[i + 1], out[i + 2], out[i + 3] = c0, c1, c2, c3


@_jit
def feistel(position, n, low, high, keys, out, part, parts):
    """The keyed bijection of ``random.permute``; ``keys (rows, rounds)``, position and out ``(rows, k)``."""
    rows, k = position.shape
    mask = np.int64(0xFFFFFFFF)
    chunk = -(-k // parts)
    for row in range(rows):
        for i in range(part * chunk, min((part + 1) * chunk, k)):
            x = position[row, i]
            while True:
                a, b = x >> low, x & ((1 << low) - 1)
                for r in range(keys.shape[1]):
                    even = r % 2 == 0
                    mixed = (((b if even else a) ^ keys[row, r]) * np.int64(0x9E3779B1)) & mask
                    mixed = ((mixed ^ (mixed >> 15)) * np.int64(0x85EBCA77)) & mask
                    mixed = ((mixed ^ (mixed >> 13)) >> 3) & ((1 << (high if even else low)) - 1)
                    if even:
                        a ^= mixed
                    else:
                        b ^= mixed
                x = (a << low) | b
                if x < n:
                    break
            out[row, i] = x

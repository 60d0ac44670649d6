"""Philox words and Feistel permutations, compiled: the bits of ``random.py``, many times faster."""

from __future__ import annotations

import numpy as np
import torch

from projections.engines.compiled import array, jit, parallel


def words(key: tuple[int, int], stream: int, first: int, blocks: int) -> torch.Tensor:
    """The words of Philox blocks ``first .. first + blocks``, in order: ``(4 blocks,)`` int64."""
    out = torch.empty(4 * blocks, dtype=torch.int64)
    cells = array(out)
    parallel(lambda part, parts: _philox(first, stream, *key, cells, part, parts), out.numel())
    return out


def permute(position: torch.Tensor, n: int, low: int, high: int, keys: torch.Tensor) -> torch.Tensor:
    """Position ``(k,)`` or ``(rows, k)`` through the network of ``random.permute`` with keys ``(rows, rounds)``."""
    rows = len(keys)
    out = torch.empty_like(position, memory_format=torch.contiguous_format)
    x, y, k = array(position.reshape(rows, -1)), array(out.view(rows, -1)), array(keys)
    parallel(lambda part, parts: _feistel(x, n, low, high, k, y, part, parts), out.numel())
    return out


@jit
def _philox(first, stream, k0, k1, out, part, parts):
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


@jit
def _feistel(position, n, low, high, keys, out, part, parts):
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

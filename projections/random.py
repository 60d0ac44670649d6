"""Counter-based random bits: Philox4x32-10 (Salmon et al. 2011) in integer torch operations.

Every value is a function of ``(seed, stream, position)`` alone. The device, the number of threads
and the cut into chunks change nothing. Torch's own generators promise none of that across versions.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import torch

from projections.engines import why_unavailable

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_FEISTEL_ROUNDS = 8
SIGN_CHUNK = 1 << 18  # bytes


def philox(counter: tuple[torch.Tensor, ...], key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """One Philox4x32-10 block for each counter.

    Args:
        counter: four int64 tensors of one shape, each entry in [0, 2^32).
        key: two integers in [0, 2^32).

    Returns:
        Four int64 tensors of that shape, each entry in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap modulo 2^64, which keeps both 32-bit halves of the unsigned product.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def _is_compiled(device: str | torch.device) -> bool:
    """Whether the compiled loops work there. They make the same bits many times faster."""
    if torch.device(device).type != "cpu":
        return False
    return why_unavailable("native", torch.device("cpu"), torch.float32) is None


def words(
    seed: int, stream: int, start: int, count: int, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Words ``start .. start + count`` of a stream: ``(count,)`` int64, uniform on [0, 2^32).

    Cost: 8 bytes a word, and some 50 more while they are made without the compiled loops.
    """
    first, last = start // 4, -(-(start + count) // 4)
    key = (seed & _MASK, (seed >> 32) & _MASK)
    wanted = slice(start - 4 * first, start - 4 * first + count)
    if _is_compiled(device):
        from projections.engines import native

        return native.words(key, stream & _MASK, first, last - first)[wanted]
    block = torch.arange(first, last, dtype=torch.int64, device=device)
    zero = torch.zeros_like(block)
    out = philox((block & _MASK, block >> 32, zero + (stream & _MASK), zero), key)
    return torch.stack(out, dim=1).reshape(-1)[wanted]


def packed_signs(
    seed: int, stream: int, count: int, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Fair random bits, eight to a byte: ``(ceil(count / 8),)`` uint8.

    They are made in chunks, so that the peak of memory stays small.
    """
    n_bytes = -(-count // 8)
    out = torch.empty(n_bytes, dtype=torch.uint8, device=device)
    piece = SIGN_CHUNK
    shifts = torch.arange(0, 32, 8, device=device)
    for lo in range(0, n_bytes, piece):
        hi = min(lo + piece, n_bytes)
        w = words(seed, stream, lo // 4, -(-(hi - lo) // 4), device)
        out[lo:hi] = ((w[:, None] >> shifts) & 0xFF).to(torch.uint8).reshape(-1)[: hi - lo]
    return out


@lru_cache(maxsize=8)
def _sign_table(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    byte = torch.arange(256, device=device)
    bit = (byte[:, None] >> torch.arange(8, device=device)) & 1
    return (1 - 2 * bit).to(dtype)  # (256, 8)


def unpack_signs(
    packed: torch.Tensor, dtype: torch.dtype, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Turn bits into +1 and -1: ``(..., n)`` packed bytes -> ``(..., 8 n)``.

    A look-up in a table copies eight signs at a time.

    Args:
        packed: uint8.
        dtype: of the signs.
        out: where to write them, contiguous. Default: new memory.
    """
    table = _sign_table(packed.device, dtype)
    if out is None:
        out = torch.empty(
            *packed.shape[:-1], 8 * packed.shape[-1], dtype=dtype, device=packed.device
        )
    torch.index_select(table, 0, packed.reshape(-1).to(torch.int32), out=out.view(-1, 8))
    return out


@lru_cache(maxsize=1)
def _normal_table() -> torch.Tensor:
    """The inverse normal CDF at 65,536 midpoints, scaled to variance one: ``(65536,)`` float64.

    It is a table, because log and cos differ between devices in the last place.
    """
    quantile = NormalDist().inv_cdf
    upper = torch.tensor(
        [quantile((i + 0.5) / 65536) for i in range(32768, 65536)], dtype=torch.float64
    )
    table = torch.cat((-upper.flip(0), upper))
    return table / table.square().mean().sqrt()


@lru_cache(maxsize=8)
def _normal_table_on(device: torch.device) -> torch.Tensor:
    return _normal_table().to(torch.float32).to(device)


def gaussians(
    seed: int, stream: int, start: int, count: int, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Standard normals ``start .. start + count`` of a stream: ``(count,)`` float32.

    They lie on 65,536 levels.
    """
    first = start // 2
    w = words(seed, stream, first, -(-(start + count) // 2) - first, device)
    index = torch.stack((w & 0xFFFF, w >> 16), dim=1).reshape(-1)[
        start - 2 * first : start - 2 * first + count
    ]
    return _normal_table_on(torch.device(device)).index_select(0, index)


def permute(position: torch.Tensor, n: int, seed: int, stream: int) -> torch.Tensor:
    """A keyed bijection of ``range(n)``.

    A Feistel network permutes the next power of two. What falls outside of the range goes through
    it again, until it is inside.

    Args:
        position: int64 in [0, n), ``(k,)`` for one key, or ``(rows, k)`` for one key a row.
        n: the length of the range.
        seed: of the keys.
        stream: of the keys.

    Returns:
        Where each position goes: int64 of position's shape.
    """
    bits = max(2, (n - 1).bit_length())
    low, high = bits // 2, bits - bits // 2
    rows = position.shape[0] if position.dim() == 2 else 1
    keys = words(seed, stream, 0, rows * _FEISTEL_ROUNDS, position.device).view(
        rows, _FEISTEL_ROUNDS
    )
    if _is_compiled(position.device):
        from projections.engines import native

        return native.permute(position, n, low, high, keys)
    keys = keys if position.dim() == 2 else keys[0]

    def network(x: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        a, b = x >> low, x & ((1 << low) - 1)
        for r in range(_FEISTEL_ROUNDS):
            key = keys[r] if rows is None else keys[rows, r]
            source, width = (b, high) if r % 2 == 0 else (a, low)
            mixed = ((source ^ key) * 0x9E3779B1) & _MASK
            mixed = ((mixed ^ (mixed >> 15)) * 0x85EBCA77) & _MASK
            mixed = ((mixed ^ (mixed >> 13)) >> 3) & ((1 << width) - 1)
            a, b = (a ^ mixed, b) if r % 2 == 0 else (a, b ^ mixed)
        return (a << low) | b

    flat = position.reshape(-1)
    owner = None
    if position.dim() == 2:
        owner = torch.arange(rows, device=position.device).repeat_interleave(position.shape[1])
    flat = network(flat, owner)
    outside = (flat >= n).nonzero().flatten()
    while outside.numel():
        walked = network(flat[outside], None if owner is None else owner[outside])
        flat[outside] = walked
        outside = outside[walked >= n]
    return flat.view_as(position)

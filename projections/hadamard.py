"""The Walsh-Hadamard transform as Kronecker factors.

``H_ab = H_a (x) H_b``: a transform of 1,024 is two multiplications by a 32 x 32 matrix, which a matrix library runs at
full speed, where a butterfly of ten passes does not.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from projections.engines import at_once

_LARGEST_FACTOR_BITS = 6
_NEAR = 1 << 12  # the longest stretch that is transformed before the wide strides


@lru_cache(maxsize=64)
def _matrix(bits: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    h = torch.ones(1, 1, dtype=dtype, device=device)
    base = torch.tensor([[1, 1], [1, -1]], dtype=dtype, device=device)
    for _ in range(bits):
        h = torch.kron(h, base)
    return h


@lru_cache(maxsize=64)
def _factors(bits: int) -> tuple[int, ...]:
    """Exponents of the factors, as equal as they come, none above 2^6."""
    count = max(1, -(-bits // _LARGEST_FACTOR_BITS))
    return tuple(bits // count + (i < bits % count) for i in range(count))


def transform(x: torch.Tensor) -> torch.Tensor:
    """Unnormalised transform of each row: ``(n, m) -> (n, m)``, m a power of two. Involutive up to a factor m.

    Cost: ``2 n m`` times the sum of the factors (64 for m = 1,024) floating-point operations.
    """
    return transform_between(x.clone(), torch.empty_like(x))[0]


def transform_long(x: torch.Tensor) -> torch.Tensor:
    """``transform`` of one long row ``(m,)``, in place and in parts that stay in cache: its rows of 4,096, then across them."""
    near = min(x.numel(), _NEAR)
    rows, step = x.view(-1, near), at_once(x.device)
    spare = torch.empty(2, min(x.numel(), step), dtype=x.dtype, device=x.device)
    for part in rows.split(max(1, step // near)):
        result, _ = transform_between(part, spare[0, : part.numel()].view_as(part))
        if result is not part:
            part.copy_(result)
    if len(rows) > 1:
        for part in rows.split(max(1, step // len(rows)), dim=1):
            a, b = (y[: part.numel()].view(1, -1) for y in spare)
            a.view_as(part).copy_(part)
            part.copy_(transform_between(a, b, width=part.shape[1])[0].view_as(part))
    return x


def transform_between(
    x: torch.Tensor, spare: torch.Tensor, fht: bool = False, width: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """``transform`` in two contiguous buffers of one shape, allocating nothing; returns (result, the other buffer).

    Fresh memory costs page faults, which on a CPU take as long as the arithmetic. ``fht``: by the fast-hadamard-transform package.
    ``width``: a row holds m / width entries to transform, each of that many neighbouring numbers.
    """
    if fht:
        from fast_hadamard_transform import hadamard_transform

        return spare.copy_(hadamard_transform(x)), x
    n, m = x.shape
    before, after = n, m
    for bits in _factors((m // width).bit_length() - 1):
        h = _matrix(bits, x.device, x.dtype)
        size = 1 << bits
        after //= size
        if after == 1:
            torch.mm(x.view(-1, size), h, out=spare.view(-1, size))
        else:
            torch.bmm(
                h.expand(before, size, size),
                x.view(before, size, after),
                out=spare.view(before, size, after),
            )
        before *= size
        x, spare = spare, x
    return x, spare

"""The Walsh-Hadamard transform as Kronecker factors.

``H_ab = H_a (x) H_b``: a transform of 1,024 is two multiplications by a 32 x 32 matrix. A matrix
library runs those at full speed, which it does not with a butterfly of ten passes.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from projections.engines import chunk_floats

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
    """The unnormalised transform of each row: ``(k, n) -> (k, n)``, n a power of two.

    It is its own inverse up to a factor n.

    Cost: ``2 k n`` times the sum of the factors (64 for n = 1,024) floating-point operations.
    """
    return transform_between(x.clone(), torch.empty_like(x))[0]


def transform_long(x: torch.Tensor) -> torch.Tensor:
    """``transform`` of one long row ``(n,)``, in place; returns x.

    It works in parts that stay in cache: rows of 4,096 first, then across them.
    """
    near = min(x.numel(), _NEAR)
    rows, step = x.view(-1, near), chunk_floats(x.device)
    spare = torch.empty(2, min(x.numel(), step), dtype=x.dtype, device=x.device)
    for part in torch.split(rows, max(1, step // near)):
        result, _ = transform_between(part, spare[0, : part.numel()].view_as(part))
        if result is not part:
            part.copy_(result)
    if len(rows) > 1:
        for part in torch.split(rows, max(1, step // len(rows)), dim=1):
            a, b = (y[: part.numel()].view(1, -1) for y in spare)
            a.view_as(part).copy_(part)
            part.copy_(transform_between(a, b, width=part.shape[1])[0].view_as(part))
    return x


def transform_between(
    x: torch.Tensor, spare: torch.Tensor, width: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """``transform`` that allocates nothing: it goes to and fro between two buffers.

    Fresh memory costs page faults, which on a CPU take as long as the arithmetic.

    Args:
        x: ``(k, n)``, contiguous, overwritten.
        spare: contiguous, of x's shape, overwritten.
        width: a row holds n / width entries to transform, each of this many neighbouring numbers.

    Returns:
        The buffer with the result, and the other one.
    """
    before, after = x.shape
    for bits in _factors((after // width).bit_length() - 1):
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

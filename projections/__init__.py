"""Random linear maps R^d -> R^D on torch tensors, the same bits on every device.

``make`` builds one. ``KINDS`` is the table of families, and ``ENGINES`` the forms of arithmetic.

    >>> import torch
    >>> p = make("orthonormal", D=10_000, d=100, seed=1)
    >>> p(torch.ones(100)).shape, p.adjoint(torch.ones(10_000)).shape
    (torch.Size([10000]), torch.Size([100]))
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature

import torch

from projections.base import Projection, ProjectionError
from projections.contract import Accumulator, GradientPart, Image, ScaledGradient, Shift
from projections.engines import ENGINES
from projections.families import FLAWED, KINDS
from projections.layout import GLOBAL, SCOPES, STRUCTURES, TENSOR, Layout
from projections.per_tensor import PerTensor

__all__ = [
    "ENGINES",
    "FLAWED",
    "GLOBAL",
    "KINDS",
    "SCOPES",
    "STRUCTURES",
    "TENSOR",
    "Accumulator",
    "GradientPart",
    "Image",
    "Layout",
    "PerTensor",
    "Projection",
    "ProjectionError",
    "ScaledGradient",
    "Shift",
    "make",
]


def make(
    family: str,
    D: int,
    d: int,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    sizes: tuple[int, ...] | None = None,
    engine: str = "auto",
    **options: object,
) -> Projection:
    """Build the projection that ``(family, D, d, seed)`` names.

    Args:
        family: one of ``KINDS``; with ``sizes`` also one of ``FLAWED``.
        D: how many weights it moves.
        d: how many coordinates it reads, from 1 to D.
        seed: of the random bits.
        device: where it lives.
        dtype: of the arithmetic.
        sizes: the lengths of the parameter tensors in order. They ask for per-tensor scope: one
            independent map with unit columns for each tensor, all reading the same theta. Without
            them the scope is global: one map with unit columns over all of D.
        engine: one of ``ENGINES``. "auto" takes the fastest form of the arithmetic that works here.
        options: the family's own. ``dense`` takes ``memory`` (bytes that it may store) and
            ``regenerate``; ``sparse`` takes ``memory``.

    Raises:
        ProjectionError: the family or an option is unknown, the sizes are not ``1 <= d <= D``, or
            the engine cannot work here.

    Cost: draws the random bits, once; the family's class says how much it stores.
    """
    table = KINDS if sizes is None else KINDS | FLAWED
    if family not in table:
        raise ProjectionError(f"projection: expected one of {', '.join(table)}; got {family!r}")
    for name, value in (("D", D), ("d", d)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ProjectionError(f"{name}: expected a whole number of at least 1; got {value!r}")
    if d > D:
        raise ProjectionError(
            f"d: expected at most D = {D}, the number of weights it moves; got {d}"
        )
    kind = table[family]
    known = set(signature(kind).parameters) - {"D", "d", "seed", "device", "dtype", "engine"}
    for name in options.keys() - known:
        raise ProjectionError(
            f"{family}: expected {' or '.join(sorted(known)) or 'no options'}; got {name!r}"
        )
    anything: Callable[..., Projection] = kind
    build = partial(anything, **options)
    if sizes is None:
        return build(D, d, seed=seed, device=device, dtype=dtype, engine=engine)
    return PerTensor(build, sizes, d, seed=seed, device=device, dtype=dtype, engine=engine)

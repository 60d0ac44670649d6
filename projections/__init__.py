"""Random linear maps R^d -> R^D on torch tensors, the same bits on every device.

``KINDS`` is the table of families. A new family is one file and one line here; the laws in
``tests/test_projections.py`` run over the table, so it inherits every test.
"""

from __future__ import annotations

from functools import partial
from inspect import signature

import torch

from projections.base import Accumulator, Image, Job, Projection, ProjectionError
from projections.blocks import HadamardBlocks
from projections.dense import Dense
from projections.engines import ENGINES
from projections.fastfood import Fastfood
from projections.fastfood_whole import FastfoodWhole
from projections.layout import GLOBAL, SCOPES, STRUCTURES, TENSOR, Layout, PerTensor
from projections.lineage import LineageFastfood
from projections.onehot import OneHot
from projections.orthonormal import Orthonormal
from projections.said import Shares
from projections.sparse import Sparse

KINDS: dict[str, type[Projection]] = {
    kind.family: kind for kind in (Dense, Sparse, Fastfood, FastfoodWhole, Orthonormal, OneHot)
}
#: Kept to redo published numbers; the laws do not hold for it, so it is not among the families.
FLAWED: dict[str, type[Projection]] = {LineageFastfood.family: LineageFastfood}

__all__ = [
    "ENGINES",
    "FLAWED",
    "GLOBAL",
    "KINDS",
    "SCOPES",
    "STRUCTURES",
    "TENSOR",
    "Accumulator",
    "HadamardBlocks",
    "Image",
    "Job",
    "Layout",
    "PerTensor",
    "Projection",
    "ProjectionError",
    "Shares",
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
    """Build the projection named by ``(family, D, d, seed)``.

    ``sizes``, the lengths of the parameter tensors in order, asks for per-tensor scope: one independent map with
    unit columns for each tensor, all reading the same theta. Without it the scope is global: one map, unit columns
    over all of D. ``engine`` is one of ``ENGINES``; "auto" takes the fastest form of the arithmetic that works here.
    ``options`` are the family's own: dense takes ``memory`` (bytes it may store) and ``regenerate``, sparse ``memory``.

    Raises ``ProjectionError`` for an unknown family or option, for sizes that are not ``1 <= d <= D``, and for an engine that cannot work here.
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
    if sizes is None:
        return kind(D, d, seed=seed, device=device, dtype=dtype, engine=engine, **options)
    return PerTensor(
        partial(kind, **options), sizes, d, seed=seed, device=device, dtype=dtype, engine=engine
    )

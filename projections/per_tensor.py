"""Per-tensor scope: one independent map for each parameter tensor."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator

import torch

from projections.base import Projection
from projections.contract import Accumulator, Image


class PerTensor(Projection):
    """Wraps one independent map of the same family for each tensor. All read the same theta.

    Law: columns are unit within each tensor, so over D they have norm sqrt(number of tensors), and
    a small tensor moves as far as a large one. Never compare it with global scope.

    Cost: the sum of the parts'.

    Args:
        kind: makes the map of one tensor from its size and d, as a family's class does.
        sizes: the lengths of the tensors, in order.
        d: how many coordinates every map reads.
        seed: each map gets a seed of its own, made from this one.
        device: as of ``Projection``.
        dtype: as of ``Projection``.
        engine: as of ``Projection``, for each map.

    Raises:
        ProjectionError: as the family does.

    Source: Aghajanyan et al. 2021.
    """

    def __init__(
        self,
        kind: Callable[..., Projection],
        sizes: tuple[int, ...],
        d: int,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: str = "auto",
    ) -> None:
        super().__init__(sum(sizes), d, seed=seed, device=device, dtype=dtype, engine="plain")
        self.sizes = sizes
        self._parts = [
            kind(size, d, seed=_child(seed, i), device=device, dtype=dtype, engine=engine)
            for i, size in enumerate(sizes)
        ]
        for part in self._parts[1:]:
            part.share_scratch(self._parts[0])  # the parts work one after the other
        self.family, self.version = self._parts[0].family, self._parts[0].version
        self.engine = "+".join(sorted({part.engine for part in self._parts}))
        self._starts = [0]
        for size in sizes:
            self._starts.append(self._starts[-1] + size)

    def image(self, theta: torch.Tensor) -> Image:
        return _PerTensorImage(self, [part.image(theta) for part in self._parts])

    def accumulator(self) -> Accumulator:
        return _PerTensorAccumulator(self)

    def part_accumulator(self, i: int) -> Accumulator:
        """An empty accumulator of the i-th tensor's map."""
        return self._parts[i].accumulator()

    @property
    def row_wise(self) -> bool:
        return any(part.row_wise for part in self._parts)

    def holder(self, starts: torch.Tensor) -> tuple[int, torch.Tensor]:
        """The one tensor that holds all these places, and where they lie in it."""
        i = bisect_right(self._starts, int(starts[0])) - 1
        return i, starts - self._starts[i]

    def overlaps(self, start: int, n: int) -> Iterator[tuple[int, int, int, int]]:
        """Cut a range of D at the tensors.

        Yields:
            The tensor's index, the first and last of the range's entries in it, and where that
            begins in the tensor.
        """
        for i, (part, lo) in enumerate(zip(self._parts, self._starts, strict=False)):
            a, b = max(start, lo), min(start + n, lo + part.D)
            if a < b:
                yield i, a - start, b - start, a - lo

    def ingredients(self) -> Iterator[torch.Tensor]:
        for part in self._parts:
            yield from part.ingredients()

    @property
    def scratch(self) -> list[torch.Tensor]:
        return list({id(x): x for part in self._parts for x in part.scratch}.values())

    @property
    def stored_bytes(self) -> int:
        return sum(part.stored_bytes for part in self._parts)

    @property
    def identity(self) -> dict[str, object]:
        return {**super().identity, "sizes": list(self.sizes)}


class _PerTensorImage(Image):
    def __init__(self, p: PerTensor, images: list[Image]) -> None:
        super().__init__(p.dtype, p.device)
        self._p, self._images = p, images

    def write(self, out: torch.Tensor, start: int = 0) -> None:
        for i, a, b, at in self._p.overlaps(start, out.numel()):
            self._images[i].write(out[a:b], at)

    def _shift(
        self, out: torch.Tensor, origin: torch.Tensor, scale: torch.Tensor | float, start: int
    ) -> None:
        for i, a, b, at in self._p.overlaps(start, out.numel()):
            self._images[i].shift(out[a:b], origin[a:b], scale, at)

    def rows(self, starts: torch.Tensor, length: int) -> torch.Tensor:
        i, places = self._p.holder(starts)
        return self._images[i].rows(places, length)


class _PerTensorAccumulator(Accumulator):
    def __init__(self, p: PerTensor) -> None:
        self._p = p
        self._parts: dict[int, Accumulator] = {}
        self._finished: list[tuple[Accumulator, torch.Tensor]] = []

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        for i, a, b, at in self._p.overlaps(start, v.numel()):
            self._of(i).add(v[a:b], at)

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        i, places = self._p.holder(starts)
        self._of(i).add_rows(v, places)

    def _of(self, i: int) -> Accumulator:
        if i not in self._parts:
            self._parts[i] = self._p.part_accumulator(i)
        return self._parts[i]

    def finish(self) -> torch.Tensor:
        self._finished = [(part, part.finish()) for part in self._parts.values()]
        out = torch.zeros(self._p.d, dtype=self._p.dtype, device=self._p.device)
        for _, adjoint in self._finished:
            out += adjoint
        return out

    def inner(self, adjoint: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return torch.stack([part.inner(own, theta) for part, own in self._finished]).sum()


def _child(seed: int, index: int) -> int:
    """A seed for the index-th tensor.

    Golden-ratio steps modulo 2^64 keep the children of nearby seeds apart.
    """
    return (seed + (index + 1) * 0x9E3779B97F4A7C15) % (1 << 64)

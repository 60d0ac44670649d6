"""Where each weight lies in D: parameters as slices, slices in groups, and one map for each tensor."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from projections.base import Accumulator, Image, Projection

GLOBAL, TENSOR = "global", "tensor"
#: The scopes in which P's columns are unit: over all of D, or over each tensor.
SCOPES = (GLOBAL, TENSOR)
#: What a structure-aware scale belongs to.
STRUCTURES = ("layer", "module", "tensor")


@dataclass(frozen=True)
class Slice:
    """One parameter tensor's place: ``[start, start + size)`` of D."""

    name: str
    start: int
    size: int
    group: int

    @property
    def stop(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Layout:
    """Slices in the order of the model's parameters, and the names of the groups they belong to."""

    slices: tuple[Slice, ...]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, named: Iterable[tuple[str, torch.Tensor]], structure: str | None = None) -> Layout:
        """Lay out ``(name, tensor)`` pairs; a tensor met again under another name (a tied weight) takes no more room.

        ``structure`` puts the tensors in groups: by ``layer`` (each numbered block; what comes before the blocks, or calls itself an embedding,
        as ``embeddings``; the rest as ``head``; without numbered blocks, each module), ``module`` or ``tensor``; None is one group of all.
        """
        seen: set[int] = set()
        names, sizes = [], []
        for name, tensor in named:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                names.append(name)
                sizes.append(tensor.numel())
        labels = _labels(names, structure)
        groups = tuple(dict.fromkeys(labels))
        slices, start = [], 0
        for name, size, label in zip(names, sizes, labels, strict=True):
            slices.append(Slice(name, start, size, groups.index(label)))
            start += size
        return cls(tuple(slices), groups)

    @property
    def D(self) -> int:
        return self.slices[-1].stop if self.slices else 0

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(s.size for s in self.slices)


def _labels(names: list[str], structure: str | None) -> list[str]:
    if structure is None:
        return ["all"] * len(names)
    if structure == "tensor":
        return list(names)
    modules = [name.rpartition(".")[0] or name for name in names]
    if structure == "module":
        return modules
    blocks = [_block(name) for name in names]
    numbered = [i for i, block in enumerate(blocks) if block]
    if not numbered:
        return modules
    first = numbered[0]
    return [
        block or ("embeddings" if i < first or "embed" in names[i] else "head")
        for i, block in enumerate(blocks)
    ]


def _block(name: str) -> str | None:
    """``a.layer.3.b.weight`` -> ``a.layer.3``: the path up to its first number."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: i + 1])
    return None


class PerTensor(Projection):
    """One independent map of the same family for each tensor, all reading the same theta: per-tensor scope.

    Columns are unit within each tensor, so over D they have norm sqrt(number of tensors), and a small tensor moves as far as
    a large one. Never comparable with global scope. Source: Aghajanyan et al. 2021.
    """

    def __init__(
        self,
        kind: Callable[..., Projection],
        sizes: tuple[int, ...],
        d: int,
        *,
        seed: int,
        device,
        dtype,
        engine="auto",
    ):
        super().__init__(sum(sizes), d, seed=seed, device=device, dtype=dtype, engine="plain")
        self.sizes = sizes
        self._parts = [
            kind(size, d, seed=_child(seed, i), device=device, dtype=dtype, engine=engine)
            for i, size in enumerate(sizes)
        ]
        workers = [part.work for part in self._parts if hasattr(part, "work")]
        for work in workers[1:]:
            work.share(workers[0])
        self.family, self.version = self._parts[0].family, self._parts[0].version
        self.engine = "+".join(sorted({part.engine for part in self._parts}))
        self._starts = [0]
        for size in sizes:
            self._starts.append(self._starts[-1] + size)

    def image(self, theta: torch.Tensor) -> Image:
        return _Images(self, [part.image(theta) for part in self._parts])

    def accumulator(self) -> Accumulator:
        return _Sums(self)

    @property
    def row_wise(self) -> bool:
        return any(part.row_wise for part in self._parts)

    def holder(self, starts: torch.Tensor) -> tuple[int, torch.Tensor]:
        """The one tensor that holds all these places, and where in it they lie."""
        i = bisect_right(self._starts, int(starts[0])) - 1
        return i, starts - self._starts[i]

    def overlaps(self, start: int, n: int) -> Iterator[tuple[int, int, int, int]]:
        """A range of D in tensors: (which, first and last of the range's entries, where that begins in the tensor)."""
        for i, (part, lo) in enumerate(zip(self._parts, self._starts, strict=False)):
            a, b = max(start, lo), min(start + n, lo + part.D)
            if a < b:
                yield i, a - start, b - start, a - lo

    def ingredients(self) -> Iterator[torch.Tensor]:
        for part in self._parts:
            yield from part.ingredients()

    @property
    def stored_bytes(self) -> int:
        return sum(part.stored_bytes for part in self._parts)

    @property
    def identity(self) -> dict[str, object]:
        return {**super().identity, "sizes": list(self.sizes)}


class _Images(Image):
    def __init__(self, p: PerTensor, images: list[Image]):
        super().__init__(p)
        self._images = images

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


class _Sums(Accumulator):
    def __init__(self, p: PerTensor):
        self._p = p
        self._parts: dict[int, Accumulator] = {}

    def add(self, v: torch.Tensor, start: int = 0) -> None:
        for i, a, b, at in self._p.overlaps(start, v.numel()):
            self._of(i).add(v[a:b], at)

    def add_rows(self, v: torch.Tensor, starts: torch.Tensor) -> None:
        i, places = self._p.holder(starts)
        self._of(i).add_rows(v, places)

    def _of(self, i: int) -> Accumulator:
        if i not in self._parts:
            self._parts[i] = self._p._parts[i].accumulator()
        return self._parts[i]

    def finish(self) -> torch.Tensor:
        self._shares = [(part, part.finish()) for part in self._parts.values()]
        out = torch.zeros(self._p.d, dtype=self._p.dtype, device=self._p.device)
        for _, share in self._shares:
            out += share
        return out

    def along(self, share: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return torch.stack([part.along(own, theta) for part, own in self._shares]).sum()


def _child(seed: int, index: int) -> int:
    """A seed for the index-th tensor: golden-ratio steps modulo 2^64 keep the children of nearby seeds apart."""
    return (seed + (index + 1) * 0x9E3779B97F4A7C15) % (1 << 64)

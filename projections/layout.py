"""Where each weight lies in D: parameters as slices, and slices in groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

GLOBAL, TENSOR = "global", "tensor"
#: The scopes in which P's columns are unit: over all of D, or over each tensor.
SCOPES = (GLOBAL, TENSOR)
#: What a structure-aware scale belongs to.
STRUCTURES = ("layer", "module", "tensor")


@dataclass(frozen=True)
class Slice:
    """One parameter tensor's place: ``[start, start + size)`` of D.

    Args:
        name: of the parameter.
        start: its first entry's place.
        size: how many entries it has.
        group: the index of the group that it belongs to.
    """

    name: str
    start: int
    size: int
    group: int

    @property
    def stop(self) -> int:
        """The place after its last entry's."""
        return self.start + self.size


@dataclass(frozen=True)
class Layout:
    """Slices in the order of the model's parameters, and the names of their groups."""

    slices: tuple[Slice, ...]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, named: Iterable[tuple[str, torch.Tensor]], structure: str | None = None) -> Layout:
        """Lay out parameters one after the other.

        Args:
            named: names and tensors. A tensor that comes again under another name (a tied weight)
                takes no more room.
            structure: what a group is. "layer": each numbered block is one; what comes before the
                blocks or calls itself an embedding is the group ``embeddings``; the rest is the
                group ``head``. Without numbered blocks, each module is one. "module" and "tensor"
                speak for themselves. None puts all tensors into one group.
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
        """How many weights there are."""
        return self.slices[-1].stop if self.slices else 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """The lengths of the tensors, in order: what per-tensor scope asks for."""
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

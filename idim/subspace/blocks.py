"""Which modules of a model are the blocks that a lean subspace forms one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from idim.subspace.embeddings import users
from idim.subspace.watched import can_be_watched


def blocks(
    model: nn.Module, weights: Sequence[nn.Parameter], skip: Iterable[int]
) -> list[tuple[nn.Module, list[int]]]:
    """Find the outermost members of ``nn.ModuleList`` and ``nn.Sequential``.

    A member that cannot be called, as a list in a list or a dictionary in one, gives way to its own
    members.

    Args:
        model: any module.
        weights: those that move.
        skip: indices of weights that are formed in another way.

    Returns:
        Each block, with the indices of the weights that no module outside it owns.
    """
    using, left_out = users(model), set(skip)
    found: list[tuple[nn.Module, list[int]]] = []
    inside: set[int] = set()
    for container in model.modules():
        if id(container) in inside or not isinstance(container, (nn.ModuleList, nn.Sequential)):
            continue
        for child in _callable(container):
            if id(child) in inside:
                continue
            within = {id(m) for m in child.modules()}
            inside |= within
            indices = [
                i
                for i, p in enumerate(weights)
                if i not in left_out
                and can_be_watched(p)
                and all(id(m) in within for m in using[id(p)])
            ]
            if indices:
                found.append((child, indices))
    return found


def _callable(container: nn.Module) -> Iterator[nn.Module]:
    for child in container.children():
        forward: Any = type(child).forward
        if forward is nn.Module.forward and "forward" not in vars(child):
            yield from _callable(child)
        else:
            yield child

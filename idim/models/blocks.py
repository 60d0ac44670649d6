"""Where a model's layers are, and where each of them writes its result."""

from __future__ import annotations

from torch import nn


def blocks(module: nn.Module) -> list[str]:
    """Names of a model's layers, first to last.

    They are the members of its outermost lists (``nn.ModuleList``) of modules of one class. A net
    without such a list has the modules that own weights instead, but for the last, its output.
    """
    found: list[str] = []
    for name, part in module.named_modules():
        if any(name.startswith(f"{block}.") for block in found):
            continue
        if isinstance(part, nn.ModuleList) and len({type(member) for member in part}) == 1:
            found += [f"{name}.{i}" for i, member in enumerate(part) if list(member.parameters())]
    if found:
        return found
    return [name for name, part in module.named_modules() if name and _owns(part)][:-1]


def sublayers(module: nn.Module) -> list[str]:
    """Names of the linear layers through which a model's layers write their results.

    Each part of a layer (attention, a feed-forward net) ends in one. It is as wide as the layer.
    Of a net without a list of layers these are its linear layers but the last.
    """
    from transformers.pytorch_utils import Conv1D

    kinds, named = (nn.Linear, Conv1D), dict(module.named_modules())
    found: list[str] = []
    for block in blocks(module):
        linear = {n: m for n, m in named[block].named_modules() if isinstance(m, kinds)}
        if not linear:
            continue
        width = _out(list(linear.values())[-1])
        # Lists within a layer, as T5's, are looked through.
        ends: dict[str, str] = {}
        for name in linear:
            parts = name.split(".")
            part = next((p for p in parts if not p.isdigit() and p != "layer"), name)
            lead = ".".join(parts[: parts.index(part) + 1]) if part in parts else name
            ends[lead] = name
        found += [f"{block}.{n}" if n else block for n in ends.values() if _out(linear[n]) == width]
    return found


def _out(layer: nn.Module) -> int:
    # transformers' Conv1D keeps its weight the other way round.
    size: int = layer.out_features if isinstance(layer, nn.Linear) else layer.nf  # type: ignore[assignment]
    return size


def _owns(part: nn.Module) -> bool:
    return next(part.parameters(recurse=False), None) is not None

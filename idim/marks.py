"""A mark on the weights that a subspace moved for good. Copies and pickles of the model keep it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

_MOVED = "_idim_moved"  # on a module: the names of its own weights that moved


def mark_moved(model: nn.Module, weights: Iterable[nn.Parameter]) -> None:
    """Note that these weights are no longer those of the checkpoint that the model came from."""
    ids = {id(p) for p in weights}
    for module in model.modules():
        names = {name for name, p in module._parameters.items() if id(p) in ids}
        if names:
            vars(module)[_MOVED] = names | vars(module).get(_MOVED, set())


def moved(model: nn.Module) -> set[str]:
    """Names of the weights that were noted, a tied one under each of its names."""
    return {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules(remove_duplicate=False)
        for name in vars(module).get(_MOVED, ())
    }

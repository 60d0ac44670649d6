"""Which weights of a base model an adapter moves, and which starts it brings along."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from idim import models
from idim.errors import expected


def fresh(model: nn.Module, asked: list[str] | None) -> list[str]:
    """The parameters whose start an adapter must bring along.

    Args:
        asked: names of modules or parameters, of which all are taken.

    Returns:
        Names of those, and of the ones that the base model on disk lacks.
    """
    wanted = [
        name
        for name, _ in model.named_parameters()
        for part in asked or ()
        if f"{name}.".startswith(f"{part}.") or ("." not in part and part in name.split("."))
    ]
    return sorted({*wanted, *models.fresh(model)})


def included(model: nn.Module, targets: list[str] | str | None) -> Callable[[str], bool] | None:
    """The parameters of the modules that an adapter moves.

    Returns:
        A predicate on parameter names, or None for all of them.

    Raises:
        IdimError: no module with weights has such a name.
    """
    if targets is None:
        return None
    if isinstance(targets, str):
        names = set(models.matching(model, targets))
    else:
        names = {
            n
            for n, _ in model.named_modules()
            if any(n == t or n.endswith("." + t) for t in targets)
        }
    owned = {
        f"{n}.{p}" if n else p
        for n, m in model.named_modules()
        if n in names
        for p, _ in m.named_parameters()
    }
    if not owned:
        raise expected("target_modules", "names of modules with weights", targets)
    return owned.__contains__


def frozen(model: nn.Module) -> list[str]:
    """The outermost modules of which all weights are frozen, and frozen weights elsewhere."""
    found: list[str] = []
    for name, module in model.named_modules():
        if f"{name}.".startswith(tuple(f"{outer}." for outer in found)):
            continue
        params = list(module.parameters())
        if name and params and not any(p.requires_grad for p in params):
            found.append(name)
        else:
            found += [
                f"{name}.{key}".lstrip(".")
                for key, p in module.named_parameters(recurse=False)
                if not p.requires_grad
            ]
    return found


def freeze(model: nn.Module, names: list[str]) -> None:
    """Freeze these modules and weights and nothing else, whatever was frozen before."""
    inside = tuple(f"{name}." for name in names)
    for name, p in model.named_parameters():
        if p.is_floating_point():
            p.requires_grad_(not f"{name}.".startswith(inside))


def num_labels(model: nn.Module) -> int | None:
    """The classes of a sequence classifier; None for any other model."""
    if "ForSequenceClassification" not in type(model).__name__:
        return None
    return getattr(getattr(model, "config", None), "num_labels", None)

"""Which weights of a model move, and in how many dimensions."""

from __future__ import annotations

import numbers
from collections.abc import Callable

from torch import nn
from torch.nn.parameter import is_lazy

from idim.errors import expected
from idim.subspace.watched import is_adopted

Named = list[tuple[str, nn.Parameter]]


def chosen(
    model: nn.Module, include: Callable[[str], bool] | None
) -> tuple[Named, tuple[str, ...]]:
    """Choose the weights to move.

    Args:
        model: any module.
        include: a predicate on names; None takes every parameter.

    Returns:
        Names and weights to move, a tied weight under each of its names; and the names of the
        weights that their owner froze (``requires_grad=False``), which stay as they are.

    Raises:
        IdimError: no parameter was included, all of them are frozen, or one of them is on the meta
            device, not yet initialised, not floating point, moved by another subspace, or in the
            memory of another one.
    """
    asked = [
        (name, p)
        for name, p in model.named_parameters(remove_duplicate=False)
        if include is None or include(name)
    ]
    if not asked:
        raise expected(
            "model", "a module with at least one parameter to move", type(model).__name__
        )
    for name, p in asked:
        if is_lazy(p):
            raise expected("model", "weights that have a shape; call a lazy model once", name)
        if p.is_meta:
            raise expected("model", "weights in memory", f"{name} on the meta device")
        if not p.is_floating_point():
            raise expected("model", "floating-point weights", f"{name} in {p.dtype}")
        if is_adopted(p):
            raise expected("model", "weights that no subspace moves yet", f"{name}, which one does")
    found = [(name, p) for name, p in asked if p.requires_grad]
    _refuse_shared_memory(found)
    if not found:
        raise expected(
            "model",
            "at least one weight with requires_grad=True",
            f"{type(model).__name__}, of which all {len(asked)} are frozen",
        )
    return found, tuple(name for name, p in asked if not p.requires_grad)


def _refuse_shared_memory(named: Named) -> None:
    """Two parameters over one memory would be moved apart, where plain training moves both."""
    seen: dict[tuple[int, int], tuple[str, nn.Parameter]] = {}
    for name, p in named:
        other, q = seen.setdefault((p.data_ptr(), p.nbytes), (name, p))
        if q is not p and p.nbytes:
            raise expected(
                "model",
                "weights that share memory to be one parameter, as tied weights are",
                f"{other} and {name}, which are two",
            )


def size_of_theta(d: int, m: int, D: int, frozen: int) -> int:
    """Split d trainable numbers into m scales and theta.

    Args:
        d: trainable numbers in all.
        m: structure-aware scales.
        D: weights that move.
        frozen: tensors that their owner froze; for the message alone.

    Returns:
        ``d - m``.

    Raises:
        IdimError: d is no whole number, is not above m, or leaves more for theta than D.
    """
    if isinstance(d, bool) or not isinstance(d, numbers.Integral) or d < 1:
        raise expected("d", "a whole number of at least 1", d)
    d = int(d)
    if d <= m:
        raise expected("d", f"more than the {m} structure-aware scales, which are part of it", d)
    if d - m > D:
        beside = f" that may be trained; {frozen} tensors are frozen" if frozen else ""
        raise expected("d", f"at most D = {D}, the number of weights{beside}", d)
    return d - m

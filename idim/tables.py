"""Embedding tables of which only the rows that a batch looks up are formed. Exact: the others do not enter the model's output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class Table:
    """The weight of an embedding, its present rows, and the hook that forms a row before it is looked up.

    The look-up's gradient is made sparse, so that neither memory nor time is spent on the other rows; and a gradient that
    comes dense shows that something else reads the table. Until the first one has shown that nothing does, the table is formed whole (at
    theta = 0 it is theta_0 itself). From then on a row exists once it was looked up, and ``lean`` until theta changes.
    """

    def __init__(self, owner: nn.Embedding, form: Callable[[torch.Tensor], None], lean: bool = False):
        self.weight, self.proven, self._lean = owner.weight, False, lean
        self.fresh = torch.zeros(len(owner.weight), dtype=torch.bool, device=owner.weight.device)
        self._owner, self._form = owner, form
        self._hook = owner.register_forward_pre_hook(torch.compiler.disable(self._look))
        # A compiled graph has no sparse gradients, so the look-up stays out of it.
        owner.forward, owner.sparse = torch.compiler.disable(owner.forward), True

    def prove(self, grad: torch.Tensor) -> bool:
        """Take in a gradient. False: it is dense, so something else than the look-up reads the table."""
        if grad.is_sparse and not self.proven:
            self.proven = True
            # On a CPU memory that nobody wrote to takes no room: rows that are never looked up never do.
            self.weight.data = torch.empty_like(self.weight)
            self.fresh.zero_()
        return grad.is_sparse

    def outdate(self) -> None:
        """No row is up to date any more."""
        if self._lean and self.proven:
            self.weight.data = torch.empty_like(self.weight)
        self.fresh.zero_()

    def missing(self) -> torch.Tensor:
        return (~self.fresh).nonzero().flatten()

    def close(self) -> None:
        self._hook.remove()
        self._owner.sparse = False
        del self._owner.forward

    def _look(self, _: nn.Module, args: tuple) -> None:
        if self.proven:
            rows = torch.unique(args[0])
            rows = rows[~self.fresh[rows]]
            if rows.numel():
                self._form(rows)


def users(model: nn.Module) -> dict[int, list[nn.Module]]:
    """The modules that own each parameter, by its id: more than one where it is tied."""
    found: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            found.setdefault(id(p), []).append(module)
    return found


def owners(model: nn.Module, weights: list[nn.Parameter]) -> dict[int, nn.Embedding]:
    """Which weights are tables that only one plain embedding owns. A tied table is read whole elsewhere: there every row counts."""
    found, using = {}, users(model)
    for i, p in enumerate(weights):
        (first, *others) = using[id(p)]
        plain = type(first) is nn.Embedding and not (first.sparse or first.scale_grad_by_freq or first.max_norm is not None)
        if plain and not others:
            found[i] = first
    return found

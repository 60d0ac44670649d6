"""Embedding tables of which only the rows that a batch looks up are formed. Exact: whoever else reads the table gets it whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from idim.watched import by_our_hand, can_be_watched


class Table:
    """The weight of an embedding, its present rows, and a look-up that forms a row before it is read.

    The look-up's gradient is made sparse, so that neither memory nor time is spent on the other rows; and a gradient that
    comes dense shows that something else trains the table. Until the first one has shown that nothing does, the table is formed whole (at
    theta = 0 it is theta_0 itself). From then on its weight is watched: a row exists once it was looked up (``lean``: until theta changes),
    all of them once anything but the look-up reads the weight, and at every change of theta while a view of it lives.
    """

    def __init__(
        self,
        owner: nn.Embedding,
        form: Callable[[torch.Tensor], None],
        renew: Callable[[], None],
        lean: bool = False,
    ):
        self.owner, self.weight, self.proven, self._lean = owner, owner.weight, False, lean
        self.fresh = torch.zeros(len(owner.weight), dtype=torch.bool, device=owner.weight.device)
        self._form, self._renew, self._read = form, renew, False
        self._owners_forward = owner.__dict__.get("forward")
        self._look_up_as_before = owner.forward
        # A compiled graph has no sparse gradients, so the look-up stays out of it.
        self._forward = torch.compiler.disable(self._look_up)
        owner.forward, owner.sparse = self._forward, True

    @property
    def before(self) -> dict[str, object]:
        """What was set on the owner, as it was."""
        return {"forward": self._owners_forward, "sparse": False}

    def prove(self, grad: torch.Tensor) -> bool:
        """Take in a gradient. False: it is dense, so something else than the look-up trains the table."""
        if grad.is_sparse and not self.proven:
            self.proven = True
            self._let_go()
            self.fresh.zero_()
        return grad.is_sparse

    def outdate(self) -> None:
        """No row is up to date any more."""
        if self._lean and self.proven:
            self._let_go()
        self.fresh.zero_()
        if self.proven and self._read:
            # Views of a weight follow theta, so a table that still has some is formed whole.
            self._read = _has_views(self.weight)
            if self._read:
                self.form_whole()

    def form_whole(self) -> None:
        self._form(self.missing())

    def missing(self) -> torch.Tensor:
        return (~self.fresh).nonzero().flatten()

    def be_read(self) -> None:
        """Something but the look-up is about to read the weight."""
        if self.proven:
            self._read = True
            self.form_whole()

    def close(self) -> None:
        self.proven = False
        self.owner.sparse = False
        if self.owner.__dict__.get("forward") is self._forward:
            del self.owner.forward
            if self._owners_forward is not None:
                self.owner.forward = self._owners_forward

    def _let_go(self) -> None:
        # On a CPU memory that nobody wrote to takes no room: rows that are never looked up never do.
        self.weight.data = torch.empty_like(self.weight)

    def _look_up(self, *args, **kwargs) -> torch.Tensor:
        ours = (
            self.owner.weight is self.weight
        )  # else the caller lent it another one, as functional_call does
        if self.proven and ours:
            with by_our_hand():
                self._renew()
                ids = args[0] if args else kwargs["input"]
                if torch._C._functorch.is_functorch_wrapped_tensor(
                    ids
                ):  # vmap looks up it cannot say what
                    self.form_whole()
                else:
                    rows = torch.unique(ids)
                    rows = rows[~self.fresh[rows]]
                    if rows.numel():
                        self._form(rows)
            with torch._C.DisableTorchFunctionSubclass():
                return self._look_up_as_before(*args, **kwargs)
        return self._look_up_as_before(*args, **kwargs)


def _has_views(x: torch.Tensor) -> bool:
    """Whether anything but x uses its memory: a view, an array, a graph that saved it."""
    alone = torch.empty(1)
    return _uses(x) > _uses(alone)


def _uses(x: torch.Tensor) -> int:
    return torch._C._storage_Use_Count(x.untyped_storage()._cdata)


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
        plain = type(first) is nn.Embedding and not (
            first.sparse or first.scale_grad_by_freq or first.max_norm is not None
        )
        if plain and not others and can_be_watched(p):
            found[i] = first
    return found

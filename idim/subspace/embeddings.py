"""Embedding tables of which only the rows that a batch looks up are formed.

This is exact: whoever else reads such a table gets it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from idim.subspace.by_hand import by_our_hand
from idim.subspace.home import Bookmark, Home
from idim.subspace.watched import can_be_watched


class Table:
    """The weight of an embedding, of which a row is formed before it is looked up.

    The look-up's gradient is made sparse, so that the other rows cost neither memory nor time. A
    gradient that comes dense shows that something else trains the table. Until the first gradient
    has shown that nothing does, the table is formed whole; at theta = 0 it is theta_0 itself, until
    somebody else reads or writes it.

    From then on (``proven``) its weight is watched. A row is formed when it is looked up, and lost
    when theta changes. All rows are formed once anything but the look-up reads the weight, and at
    every change of theta while a view of the weight lives.

    Args:
        owner: the embedding.
        form: forms rows ``(k,)`` in their place.
        home: what knows where the weights are.
        lean: give the memory of all rows back at each change of theta.

    Attributes:
        proven: whether nothing but the look-up trains the table.
        fresh: which rows are up to date ``(rows,)``.
    """

    def __init__(
        self,
        owner: nn.Embedding,
        form: Callable[[torch.Tensor], None],
        home: Home,
        lean: bool = False,
    ):
        self.owner, self.weight, self.proven, self._lean = owner, owner.weight, False, lean
        self.fresh = torch.zeros(len(owner.weight), dtype=torch.bool, device=owner.weight.device)
        self._form, self._home, self._read = form, home, False
        self._to_let_go, self._users = lean, 0
        self._owners_forward = vars(owner).get("forward")
        self._look_up_as_before = owner.forward
        # A compiled graph has no sparse gradients, so the look-up stays out of it.
        self._forward = torch.compiler.disable(self._look_up)
        vars(owner)["forward"], owner.sparse = self._forward, True

    @property
    def before(self) -> dict[str, object]:
        """What was set on the owner, and its values before."""
        return {"forward": self._owners_forward, "sparse": False}

    def prove(self, grad: torch.Tensor) -> bool:
        """Look at a gradient. Returns False if it is dense: something else trains the table too."""
        if grad.is_sparse and not self.proven:
            self.proven = True
            # Until theta changes the table is whole: what autograd saved of it may still be used.
            self.fresh.fill_(True)
            self._to_let_go = True
        return grad.is_sparse

    def outdate(self) -> None:
        """No row is up to date any more."""
        self.fresh.zero_()
        if not self.proven or not (self._read or self._to_let_go):
            return
        # Views of a weight follow theta, so a table that still has some is formed whole.
        self._read = _uses(self.weight) > _uses(torch.empty(1))
        if self._read:
            self.form_whole()
        elif self._to_let_go:
            self._let_go()

    def form_whole(self) -> None:
        """Form every row that is not up to date."""
        self._form_rows(self.missing())

    def missing(self) -> torch.Tensor:
        """The rows that are not up to date ``(k,)``."""
        return (~self.fresh).nonzero().flatten()

    def be_read(self) -> None:
        """Something but the look-up is about to read the weight."""
        if self.proven:
            self._read = True
            self.form_whole()

    def note_users(self) -> None:
        """Note how many use the weight's memory now, which is theta_0's."""
        self._users = _uses(self.weight)

    def is_viewed(self) -> bool:
        """Whether views of the weight were taken since."""
        return _uses(self.weight) > self._users

    def close(self) -> None:
        """Give the owner its look-up back."""
        self.proven = False
        self.owner.sparse = False
        own = vars(self.owner)
        if own.get("forward") is self._forward:
            del own["forward"]
            if self._owners_forward is not None:
                own["forward"] = self._owners_forward

    def _let_go(self) -> None:
        # On a CPU, memory that nobody wrote to takes no room.
        self.weight.data = torch.empty_like(self.weight)
        self._to_let_go = self._lean

    def _form_rows(self, rows: torch.Tensor) -> None:
        if len(rows):
            self._form(rows)
            self.fresh[rows] = True

    def _look_up(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        # Else the caller lent the owner another weight, as functional_call does.
        if not self.proven or self.owner.weight is not self.weight:
            return self._look_up_as_before(*args, **kwargs)
        with by_our_hand():
            self._home.renew()
            ids = args[0] if args else kwargs["input"]
            if torch._C._functorch.is_functorch_wrapped_tensor(ids):
                # vmap cannot say which rows it looks up.
                self.form_whole()
            else:
                rows = torch.unique(ids)
                self._form_rows(rows[~self.fresh[rows]])
        with torch._C.DisableTorchFunctionSubclass():
            out = self._look_up_as_before(*args, **kwargs)
        if not self._home.running and out.grad_fn is not None:
            out.register_hook(Bookmark(self._home))
        return out


def _uses(x: torch.Tensor) -> int:
    """How many use x's memory: x itself, views, arrays, graphs that saved one."""
    return torch._C._storage_Use_Count(x.untyped_storage()._cdata)


def users(model: nn.Module) -> dict[int, list[nn.Module]]:
    """The modules that own each parameter, by its id. A tied one has several."""
    found: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            found.setdefault(id(p), []).append(module)
    return found


def owners(model: nn.Module, weights: Sequence[nn.Parameter]) -> dict[int, nn.Embedding]:
    """The weights that are tables of one plain embedding, by index.

    A tied table is left out: somebody else reads it whole, so every row counts.
    """
    found: dict[int, nn.Embedding] = {}
    using = users(model)
    for i, p in enumerate(weights):
        (first, *others) = using[id(p)]
        if not others and isinstance(first, nn.Embedding) and _is_plain(first, p):
            found[i] = first
    return found


def _is_plain(owner: nn.Embedding, weight: nn.Parameter) -> bool:
    """Whether the look-up is torch's own, of a plain parameter."""
    unusual = owner.sparse or owner.scale_grad_by_freq or owner.max_norm is not None
    return type(owner) is nn.Embedding and not unusual and can_be_watched(weight)

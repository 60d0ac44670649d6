"""Weights that exist only while their block runs: formed for its forward pass, and again for its backward pass."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from idim.tables import users


@dataclass(frozen=True)
class _Weight:
    """What autograd keeps in place of a view of weight i."""

    i: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


_ALIGNED = 64  # bytes: what vector instructions like best


class Block:
    """A module whose weights (indices into ``weights``) are formed on entering it and let go on leaving it, both ways.

    In between they read as NaN: nothing outside the block may use them unnoticed. Autograd, which would keep them for the backward
    pass, is given their names instead. That pass enters the block by the gradient of its output and leaves a weight with
    the weight's own gradient; where no output told of it, autograd asks ``make(i)`` for a copy.
    """

    def __init__(
        self, module: nn.Module, indices: list[int], weights: list[nn.Parameter], form: Callable[[list[int]], None],
        make: Callable[[int], torch.Tensor],
    ):
        self._indices, self._weights, self._form, self._make = indices, weights, form, make
        self._entered: list[saved_tensors_hooks | None] = []
        # Where each begins in the room that they share, in bytes.
        self._starts = [0, *accumulate(-(-weights[i].nbytes // _ALIGNED) * _ALIGNED for i in indices)]
        self._room: torch.Tensor | None = None
        self._open: set[int] = set()  # formed, for the backward pass
        self._hooks = [
            module.register_forward_pre_hook(self._enter), module.register_forward_hook(self._leave, always_call=True),
        ]
        self._let_go(indices)

    def done(self, i: int) -> None:
        """Weight i has its gradient."""
        if i in self._open:
            self._open.discard(i)
            self._let_go([i])

    def end(self) -> None:
        """The backward pass is over; weights without a gradient are let go too."""
        left, self._open = self._open, set()
        self._let_go(left)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, *_) -> None:
        if not self._open:  # else a forward pass within the backward pass, as checkpointing makes
            self._fill()
        hooks = None
        # Where autograd's hooks are somebody else's, what they keep is theirs to decide.
        if torch.is_grad_enabled() and torch._C._autograd._top_saved_tensors_default_hooks(True) is None:
            hooks = saved_tensors_hooks(self._pack, self._unpack)
            hooks.__enter__()
        self._entered.append(hooks)

    def _leave(self, module: nn.Module, args: tuple, out: object) -> None:
        hooks = self._entered.pop() if self._entered else None
        if hooks is not None:
            hooks.__exit__()
        if not self._open:
            self._let_go(self._indices)
        for tensor in _tensors(out):
            if tensor.requires_grad:
                tensor.register_hook(self._reenter)

    def _reenter(self, _: torch.Tensor) -> None:
        if not self._open:
            self._fill()
            self._open = set(self._indices)

    def _fill(self) -> None:
        # In one piece: many small ones would leave holes that nothing else fits into.
        own = [self._weights[i] for i in self._indices]
        self._room = torch.empty(self._starts[-1], dtype=torch.uint8, device=own[0].device)
        for p, start in zip(own, self._starts, strict=False):
            p.data = self._room[start: start + p.nbytes].view(p.dtype).view(p.shape)
        self._form(self._indices)

    def _let_go(self, indices: Iterable[int]) -> None:
        if not self._open:
            self._room = None
        for i in indices:
            p = self._weights[i]
            p.data = torch.full((), torch.nan, dtype=p.dtype, device=p.device).expand(p.shape)

    def _pack(self, x: torch.Tensor) -> torch.Tensor | _Weight:
        if self._room is None or x.untyped_storage().data_ptr() != self._room.untyped_storage().data_ptr():
            return x
        at = bisect_right(self._starts, x.storage_offset() * x.itemsize) - 1
        return _Weight(self._indices[at], tuple(x.shape), x.stride(), x.storage_offset() - self._starts[at] // x.itemsize)

    def _unpack(self, kept: torch.Tensor | _Weight) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        whole = self._weights[kept.i].detach() if kept.i in self._open else self._make(kept.i)
        return whole.as_strided(kept.shape, kept.stride, whole.storage_offset() + kept.offset)


def _tensors(out: object) -> Iterator[torch.Tensor]:
    if isinstance(out, torch.Tensor):
        yield out
    elif isinstance(out, Mapping):
        for part in out.values():
            yield from _tensors(part)
    elif isinstance(out, (list, tuple)):
        for part in out:
            yield from _tensors(part)


def blocks(model: nn.Module, weights: list[nn.Parameter], skip: set[int]) -> list[tuple[nn.Module, list[int]]]:
    """The outermost members of ``nn.ModuleList`` and ``nn.Sequential``, each with the weights that no module outside it owns."""
    using = users(model)
    found: list[tuple[nn.Module, list[int]]] = []
    inside: set[int] = set()
    for module in model.modules():
        if id(module) in inside or not isinstance(module, (nn.ModuleList, nn.Sequential)):
            continue
        for child in module:
            own = {id(m) for m in child.modules()}
            inside |= own
            indices = [i for i, p in enumerate(weights) if i not in skip and all(id(m) in own for m in using[id(p)])]
            if indices:
                found.append((child, indices))
    return found

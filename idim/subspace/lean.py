"""Weights that exist only while their block runs, forward and again backward."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.hooks import unserializable_hook

from idim.subspace.by_hand import by_our_hand
from idim.subspace.copies import Hook
from idim.subspace.forming import Former
from idim.subspace.home import Bookmark, Home
from idim.subspace.outputs import entries
from idim.subspace.point import Point
from idim.subspace.releases import saves_by_its_own_hand
from idim.subspace.watched import unwatch, watch


@dataclass(frozen=True)
class _Weight:
    """What autograd keeps in place of a view of weight i."""

    i: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    point: Point | None  # where it was formed


_ALIGNED = 64  # bytes: what vector instructions like best


class Block:
    """A module whose weights are formed when a pass enters it, and lost when the pass leaves it.

    In between their memory is NaN and they are watched: whoever reads one outside the block works
    on a copy. Autograd, which would keep them for the backward pass, is given their names instead.
    The backward pass enters the block with the gradient of the block's output. It leaves a weight
    with the weight's own gradient. Where no output told of it, autograd asks for a copy.

    Args:
        module: the block.
        indices: of its weights in ``weights``.
        weights: all weights of the subspace.
        former: forms weights in their place, or in other memory.
        home: what knows where the weights are.
    """

    def __init__(
        self,
        module: nn.Module,
        indices: list[int],
        weights: Sequence[nn.Parameter],
        former: Former,
        home: Home,
    ):
        self.module, self.indices, self._weights = module, indices, weights
        self._former, self._home = former, home
        self._entered: list[saved_tensors_hooks | None] = []
        self._room: torch.Tensor | None = None
        self._starts: list[int] = []  # where each begins in the room that they share, in bytes
        self._open: set[int] = set()  # formed, for the backward pass
        self._whole = False  # every weight is formed, in memory of its own
        # First of all hooks: others may read the weights, as those of prune and weight_norm do.
        self._hooks = [
            module.register_forward_pre_hook(Hook(self._enter), prepend=True),
            module.register_forward_hook(Hook(self._leave), always_call=True),
        ]
        self._let_go(indices)

    def done(self, i: int) -> None:
        """Weight i has its gradient."""
        if i in self._open:
            self._open.discard(i)
            self._let_go([i])

    def end(self) -> None:
        """The backward pass is over. Weights without a gradient are let go too."""
        left, self._open = self._open, set()
        self._let_go(left)

    def holds(self, i: int) -> bool:
        """Whether weight i's memory is what theta makes of it now."""
        return self._whole or i in self._open

    def form_whole(self) -> None:
        """Form every weight in memory of its own, until theta changes or the block runs."""
        self.make_room()
        self._former.form(self.indices)

    def make_room(self) -> None:
        """Give every weight memory of its own, for others to write to."""
        for i in self.indices:
            self._weights[i].data = torch.empty_like(
                self._weights[i], memory_format=torch.contiguous_format
            )
        self._whole = True

    def outdate(self) -> None:
        """Theta has changed. What a backward pass left open that broke off is outdated too."""
        if self._whole or self._open:
            self._open = set()
            self._let_go(self.indices)

    def close(self) -> None:
        """Take the hooks off. The caller gives the weights their memory."""
        for hook in self._hooks:
            hook.remove()
        unwatch(self._weights[i] for i in self.indices)

    def _enter(self, *_: object) -> None:
        if not self._open:  # else a forward pass within the backward pass, as checkpointing makes
            self._fill()
        hooks = None
        if _weights_are_kept():
            with by_our_hand():
                unwatch(self._weights[i] for i in self.indices)
                self.form_whole()
        # Where autograd's hooks are somebody else's, what they keep is theirs to decide.
        elif torch.is_grad_enabled() and saves_by_its_own_hand():
            hooks = saved_tensors_hooks(self._pack, self._unpack)
            hooks.__enter__()
        self._entered.append(hooks)

    def _leave(self, module: nn.Module, args: object, out: object) -> None:
        hooks = self._entered.pop() if self._entered else None
        if hooks is not None:
            hooks.__exit__()
        if self._whole:
            watch(self._weights[i] for i in self.indices)
        elif not self._open:
            self._let_go(self.indices)
        if torch.is_grad_enabled():
            bookmark = Bookmark(self._home)
            for tensor in entries(out):
                tensor.register_hook(bookmark)
                tensor.register_hook(self._reenter)

    @unserializable_hook  # type: ignore[untyped-decorator]  # torch's
    def _reenter(self, _: torch.Tensor) -> None:
        if not self._open and not self._whole:
            self._fill()
            self._open = set(self.indices)

    def _fill(self) -> None:
        weights = [self._weights[i] for i in self.indices]
        with by_our_hand():
            self._home.renew()
            unwatch(weights)
            self._whole = False
            # In one piece: many small ones would leave holes that nothing else fits into.
            self._starts = [0, *accumulate(-(-p.nbytes // _ALIGNED) * _ALIGNED for p in weights)]
            self._room = torch.empty(self._starts[-1], dtype=torch.uint8, device=weights[0].device)
            for p, start in zip(weights, self._starts, strict=False):
                p.data = self._room[start : start + p.nbytes].view(p.dtype).view(p.shape)
            self._former.form(self.indices)

    def _let_go(self, indices: Iterable[int]) -> None:
        if not self._open:
            self._room = None
        self._whole = False
        with by_our_hand():
            for i in indices:
                p = self._weights[i]
                p.data = torch.full((), torch.nan, dtype=p.dtype, device=p.device).expand(p.shape)
        watch(self._weights[i] for i in indices)

    def _pack(self, x: torch.Tensor) -> torch.Tensor | _Weight:
        if (
            self._room is None
            or x.untyped_storage().data_ptr() != self._room.untyped_storage().data_ptr()
        ):
            return x
        at = bisect_right(self._starts, x.storage_offset() * x.itemsize) - 1
        return _Weight(
            self.indices[at],
            tuple(x.shape),
            x.stride(),
            int(x.storage_offset()) - self._starts[at] // x.itemsize,
            self._home.formed,
        )

    def _unpack(self, kept: torch.Tensor | _Weight) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        if kept.point is not None:
            self._home.go_back_to(kept.point)
        if kept.i in self._open:
            whole = self._weights[kept.i].detach()
        else:
            whole = self._former.make(kept.i)
        return whole.as_strided(kept.shape, kept.stride, whole.storage_offset() + kept.offset)


def _weights_are_kept() -> bool:
    """Whether autograd, or a transform of torch.func, keeps the weights themselves."""
    transformed = torch._C._functorch.peek_interpreter_stack() is not None
    # Torch's stubs lack it.
    told = torch._C._autograd._saved_tensors_hooks_is_enabled()  # type: ignore[attr-defined]
    return transformed or not told

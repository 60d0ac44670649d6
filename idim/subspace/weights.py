"""The weights: ``theta_0 + scale * P theta``, formed in place whenever theta has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import nn

import projections
from idim.subspace.embeddings import Table, owners
from idim.subspace.lean import Block, blocks
from idim.subspace.mapped import Origins
from idim.subspace.point import Point
from idim.subspace.watched import (
    Watched,
    adopt,
    by_our_hand,
    can_be_watched,
    release,
    unwatch,
    watch,
)


def in_backward() -> bool:
    """Whether autograd runs a backward pass in this thread."""
    return torch._C._current_graph_task_id() != -1


class Weights:
    """The weights that a subspace moves, each in one of three ways.

    A kept weight is formed anew at each change of theta. A table is formed row by row
    (``embeddings``), and a lean block while it runs (``lean``).

    A plain object, because to set an attribute of a module costs as much as some of the work.

    Args:
        model: the module that owns the weights.
        params: the weights, each once; layout has their places in D.
        names: of the weights.
        layout: where each weight lies in D, and its group.
        projection: P.
        make: makes P on another device.
        where: the present point in the subspace.
        lean: hold theta_0 alone.

    Attributes:
        origins: theta_0.
        image: P theta at ``formed``; None before the first pass.
        formed: the point that the weights were last formed at.
        running: a forward pass of the whole model runs; it began with weights of the present
            theta, which stays while it runs.
        loose: the weights that are watched between passes of the whole model, and whole within.
    """

    def __init__(
        self,
        model: nn.Module,
        params: list[nn.Parameter],
        names: list[str],
        layout: projections.Layout,
        projection: projections.Projection,
        make: Callable[[torch.device], projections.Projection],
        where: Callable[[], Point],
        lean: bool,
    ):
        self.params, self.names, self.layout, self._make_projection = params, names, layout, make
        self.where = where
        self.projection = projection
        self.image: projections.Image | None = None
        self.formed: Point | None = None
        self.running = False
        self._ours = True  # until the model is let go of
        for i, p in enumerate(params):
            p.requires_grad_(True)
            adopt(p, self, i)
        # theta_0 is the memory that the model came in, which may be a mapped file; the weights get
        # their own.
        self.origins = Origins(params, lean)
        found = owners(model, params) if self.projection.row_wise else {}
        in_blocks = blocks(model, params, found) if lean else []
        self.tables = {
            i: Table(owner, partial(self._form_rows, i), self.renew, lean)
            for i, owner in found.items()
        }
        self.blocks = [
            Block(module, indices, params, self._form, self.made, self.renew)
            for module, indices in in_blocks
        ]
        self.block_of = {i: block for block in self.blocks for i in block.indices}
        self._kept = [i for i in range(len(params)) if i not in self.block_of]
        self._watchable = [i for i in self._kept if can_be_watched(params[i])]
        for i in set(self._kept) - set(found):
            params[i].data = params[i].detach().clone()
        self.loose: list[nn.Parameter] = []
        self._list_loose()

    def _list_loose(self) -> None:
        self.loose = [
            self.params[i]
            for i in self._watchable
            if not (i in self.tables and self.tables[i].proven)
        ]

    # Forming.

    def renew(self) -> None:
        """Form the weights, if theta is no longer what they were formed from. By our hand."""
        # Theta stays while a pass runs.
        if self.running or in_backward():
            return
        point = self.where()
        if self.formed is not None and self.formed.equals(point):
            return
        self.follow(self.params[0].device)
        theta = point.theta.detach()
        self.image = self.projection.image(theta if point.enabled else torch.zeros_like(theta))
        if not self._ours:
            return
        proven = {i for i, table in self.tables.items() if table.proven}
        # At theta = 0 a table that is still theta_0 is right as it is.
        starts = {i for i in self.tables.keys() - proven if self._is_start(i)}
        if starts and (self.formed is not None or (point.enabled and bool(theta.any()))):
            self._unalias(starts)
            starts = set()
        self._form([i for i in self._kept if i not in proven | starts])
        for table in self.tables.values():
            table.outdate()
        for block in self.blocks:
            block.outdate()
        self.formed = point.copy()

    def follow(self, device: torch.device) -> None:
        """Go to the device that the weights were moved to. P is made anew there."""
        _, theta, scales = self.where()
        if device == theta.device:
            return
        for p in (theta, scales):
            if p is not None:
                p.data = p.data.to(device)
                p.grad = None if p.grad is None else p.grad.to(device)
        self.projection = self._make_projection(device)
        self.origins.to(device)
        for table in self.tables.values():
            table.fresh = table.fresh.to(device)
        self.formed = None

    def _is_start(self, i: int) -> bool:
        """Whether this table's memory is still theta_0's."""
        return self.params[i].data_ptr() == self.origins.tensors[i].data_ptr()

    def _unalias(self, tables: Iterable[int]) -> None:
        for i in tables:
            if self._is_start(i):
                self.params[i].data = torch.empty_like(self.origins.tensors[i])

    def _scales(self) -> Sequence[torch.Tensor | float]:
        """The scale of each group. On a GPU tensors, because their values would take a wait."""
        enabled, _, scales = self.where()
        if scales is None or not enabled:
            return [1.0] * len(self.layout.groups)
        scales = scales.detach()
        return scales.unbind() if scales.is_cuda else scales.tolist()

    @torch.no_grad()
    def _form(self, indices: list[int]) -> None:
        """These weights, in their place."""
        made = {i: self.params[i].data for i in indices}
        # Of a weight that lies in another order (channels last) a copy is formed.
        reordered = {i: p for i, p in made.items() if not p.is_contiguous()}
        for i, p in reordered.items():
            made[i] = torch.empty(p.shape, dtype=p.dtype, device=p.device)
        self._shift(made)
        for i, p in reordered.items():
            p.copy_(made[i])

    def _shift(self, out: dict[int, torch.Tensor]) -> None:
        """Write the weights with these indices into contiguous memory."""
        slices, scales, origins = self.layout.slices, self._scales(), self.origins.tensors
        assert self.image is not None  # whoever forms weights has called renew
        self.image.shift_all(
            [
                projections.Shift(slices[i].start, x, origins[i], scales[slices[i].group])
                for i, x in out.items()
            ]
        )
        self.origins.used(out)

    @torch.no_grad()
    def made(self, i: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Weight i at the present theta, in memory of its own."""
        origin = self.origins.tensors[i]
        made = torch.empty(origin.shape, dtype=dtype or self.params[i].dtype, device=origin.device)
        self._shift({i: made})
        return made

    @torch.no_grad()
    def _form_rows(self, i: int, rows: torch.Tensor) -> None:
        if not len(rows):
            return
        assert self.image is not None  # as above
        piece = self.layout.slices[i]
        self.image.shift_rows(
            self.params[i].data,
            self.origins.tensors[i],
            rows,
            self._scales()[piece.group],
            piece.start,
        )
        self.origins.used([i])
        self.tables[i].fresh[rows] = True

    # Readers.

    def ready(self, indices: list[int]) -> dict[int, torch.Tensor]:
        """Somebody reads these watched weights: bring their memory up to date.

        Returns:
            For each weight that has no memory of its own now, a copy.
        """
        copies = {}
        with by_our_hand():
            self.renew()
            for i in indices:
                if i in self.tables:
                    self.tables[i].be_read()
                elif i in self.block_of and not self.block_of[i].holds(i):
                    copies[i] = self.made(i)
        return copies

    def sync(self) -> None:
        """Bring every weight's memory up to date with theta, in one go. Cheap when it is."""
        if not self._ours:
            return
        with by_our_hand():
            self.renew()
            for table in self.tables.values():
                if table.proven:
                    table.form_whole()
            for i, block in self.block_of.items():
                if not block.holds(i):
                    block.form_whole()

    def at(self, i: int, dtype: torch.dtype) -> torch.Tensor:
        """Weight i at the present theta in this dtype. Call ``renew`` first, by our hand.

        Returns:
            The weight's own memory where it holds that, else a copy.
        """
        weight = self.params[i]
        by_rows = self.projection.row_wise or i in self.block_of
        if self._ours and not by_rows and weight.dtype == dtype:
            return weight.detach()
        return self.made(i, dtype)

    def settle(self, i: int, grad: torch.Tensor) -> None:
        """Learn from a gradient of table i whether anything but the look-up trains it."""
        if self.tables[i].prove(grad):
            watch([self.params[i]])
        else:
            self.tables.pop(i).close()
            self._unalias([i])
            self.formed = None
        self._list_loose()

    # Leaving.

    def undo(self) -> None:
        """Give every weight theta_0's memory back."""
        with by_our_hand():
            for p, origin in zip(self.params, self.origins.tensors, strict=True):
                p.data = origin

    def let_go(self) -> None:
        """The weights are plain from now on, at the values that they have."""
        self._ours = False
        for table in self.tables.values():
            table.close()
        for block in self.blocks:
            block.close()
        unwatch(p for p in self.params if isinstance(p, Watched))
        for p in self.params:
            release(p)
        self.origins.keep()  # whoever has the model may write

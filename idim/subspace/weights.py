"""The weights of a subspace: when each is formed, and who is told apart from whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

import projections
from idim.errors import expected
from idim.subspace.blocks import blocks
from idim.subspace.by_hand import by_our_hand
from idim.subspace.embeddings import Table, owners
from idim.subspace.forming import Former
from idim.subspace.lean import Block
from idim.subspace.loaded import Loaded
from idim.subspace.mapped import Origins
from idim.subspace.point import Point
from idim.subspace.releases import set_versions
from idim.subspace.watched import Watched, adopt, can_be_watched, release, unwatch, watch

#: How far apart the versions are that autograd sees of a weight formed at two points. Others'
#: writes raise a version by one each.
_STRIDE = 1 << 10
#: autograd's number of no backward pass.
_NO_TASK = -1


def in_backward() -> bool:
    """Whether autograd runs a backward pass in this thread."""
    return torch._C._current_graph_task_id() != _NO_TASK


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
        former: what forms them.
        loaded: what others copied into them.
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
        self.formed: Point | None = None
        self._before: Point | None = None  # formed before that one
        self._version = 0
        self._reached: tuple[int, Point | None] = (_NO_TASK, None)  # which backward pass, and where
        self.running = False
        self._ours = True  # until the model is let go of
        for i, p in enumerate(params):
            p.requires_grad_(True)
            adopt(p, self, i)
        # theta_0 is the memory that the model came in, which may be a mapped file; the weights get
        # their own.
        self.origins = Origins(params, lean)
        self.former = former = Former(params, layout, self.origins)
        self.loaded = Loaded(params, names, former, self.origins)
        found = owners(model, params) if self.projection.row_wise else {}
        in_blocks = blocks(model, params, found) if lean else []
        self.tables = {
            i: Table(owner, partial(former.form_rows, i), self, lean) for i, owner in found.items()
        }
        self.blocks = [
            Block(module, indices, params, former, self) for module, indices in in_blocks
        ]
        self.block_of = {i: block for block in self.blocks for i in block.indices}
        self._kept = [i for i in range(len(params)) if i not in self.block_of]
        self._stamped = tuple(params[i] for i in self._kept)
        self._watchable = [i for i in self._kept if can_be_watched(params[i])]
        for i in set(self._kept) - set(found):
            params[i].data = params[i].detach().clone()
        for table in self.tables.values():
            table.note_users()
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
        if (device := self.params[0].device) != point.theta.device:
            self.follow(device)
            point = self.where()
        self.loaded.compare(self.projection, point)
        if not self._ours:
            self.former.go_to(self.projection, point)
        elif self._before is not None and self._before.equals(point):
            # There and back again, as a pass without the adapter goes. What autograd saved at that
            # point is valid again.
            self._go_to(self._before)
        else:
            self._go_to(point.copy(self._next_version()))

    def _go_to(self, point: Point) -> None:
        self.former.go_to(self.projection, point)
        proven = {i for i, table in self.tables.items() if table.proven}
        # At theta = 0 a table that is still theta_0 is right as it is.
        starts = {i for i in self.tables if self._is_start(i)}
        if starts and (self.formed is not None or (point.enabled and bool(point.theta.any()))):
            self._unalias(starts)
            starts = set()
        self.former.form([i for i in self._kept if i not in proven | starts])
        for table in self.tables.values():
            table.outdate()
        for block in self.blocks:
            block.outdate()
        self.formed, self._before = point, self.formed
        self._stamp(point.version)
        # Autocast would take its copies of the weights, which are those of another point.
        torch.clear_autocast_cache()

    def _next_version(self) -> int:
        self._version = (self._version + _STRIDE) % (1 << 32)
        return self._version

    def _stamp(self, version: int) -> None:
        # Autograd refuses to use what it saved of a weight that has another version by now.
        set_versions(self._stamped, version)

    def go_back_to(self, point: Point) -> None:
        """Form the weights as they were in the forward pass that a backward pass reaches now.

        Raises:
            IdimError: this backward pass has been at another point. The gradients of both passes
                meet in one sum before we see them, so they cannot be told apart.
        """
        task = torch._C._current_graph_task_id()
        if task != _NO_TASK and self._reached[0] == task and self._reached[1] is not point:
            raise expected(
                "backward",
                "forward passes at one theta; call it once for each of them",
                "passes between which theta changed",
            )
        self._reached = task, point
        if self.formed is point:
            return
        with by_our_hand():
            self.loaded.compare(self.projection, self.where())
            self._go_to(point)
            # What of a table the forward pass read is not known any more.
            for table in self.tables.values():
                if table.proven:
                    table.form_whole()

    def forget(self) -> None:
        """Form the weights anew before the next forward pass, theta changed or not."""
        self.formed = self._before = None

    def follow(self, device: torch.device) -> None:
        """Go to the device that the weights were moved to. P is made anew there."""
        _, theta, scales, _ = self.where()
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
        self.forget()

    def _is_start(self, i: int) -> bool:
        """Whether this table's memory is still theta_0's."""
        return self.params[i].data_ptr() == self.origins.tensors[i].data_ptr()

    def _unalias(self, tables: Iterable[int]) -> None:
        """Tell the memory of these tables from theta_0's; a view of a table stays a view of it."""
        for i in tables:
            origin = self.origins.tensors[i]
            if self.tables[i].is_viewed():
                self.origins.tensors[i] = origin.clone()
                self.origins.filed.discard(i)
            else:
                self.params[i].data = torch.empty_like(origin)

    def open_origins(self) -> None:
        """Somebody may write to theta_0 from now on."""
        self.origins.keep()
        for i in self.tables:
            self.part(i)

    def part(self, i: int) -> None:
        """Tell the memory of weight i from theta_0's, because somebody may write to either."""
        if i in self.tables:
            with by_our_hand():
                if self._is_start(i):
                    self._unalias([i])
                    self.params[i].data.copy_(self.origins.tensors[i])

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
                    self.part(i)  # whoever has a view of it may write
                    self.tables[i].be_read()
                elif i in self.block_of and not self.block_of[i].holds(i):
                    copies[i] = self.former.make(i)
        return copies

    @contextmanager
    def writing(self, i: int, dtype: torch.dtype) -> Iterator[None]:
        """Somebody copies numbers of this dtype into this watched weight in here."""
        with by_our_hand():
            self.part(i)
            if i in self.block_of and not self.block_of[i].holds(i):
                self.block_of[i].make_room()
            self.forget()
        yield
        self.loaded.note(i, dtype)

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
        return self.former.make(i, dtype)

    @torch.no_grad()
    def settle(self, i: int, grad: torch.Tensor) -> None:
        """Learn from a gradient of table i whether anything but the look-up trains it."""
        if self.tables[i].prove(grad):
            watch([self.params[i]])
        else:
            self.part(i)
            self.tables.pop(i).close()
        self._list_loose()

    # Leaving.

    def undo(self) -> None:
        """Give every weight theta_0's memory back."""
        self.loaded.drop()
        with by_our_hand():
            for p, origin in zip(self.params, self.origins.tensors, strict=True):
                p.data = origin
            self._stamp(self._next_version())

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

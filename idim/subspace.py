"""The reparameterisation: a model whose only trainable state is theta (and the structure-aware scales)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

import torch
from torch import nn

import projections
from idim.errors import IdimError, expected, one_of


class Subspace(nn.Module):
    """Move a model's weights only along ``theta_0 + scale_group * P theta``, with ``d`` trainable numbers in all.

    The model is called as before; its class, config, hooks and state_dict stay. Before a forward pass that follows a change of
    theta, the weights are formed in fp32 and written in place; in the backward pass each weight's gradient g is folded
    into ``theta.grad += scale * P^T g`` the moment it is complete, and freed. Hence no gradient and no optimiser state
    of size D. What is held: theta_0 and the weights (8 bytes a parameter in fp32) and P's own bytes.

    Args:
        model: any module. Parameters that share storage by being one object (tied weights) are counted and moved once.
        d: trainable numbers in all. With a structure, m of them are scales and theta has ``d - m`` entries.
        projection: a family of ``projections.KINDS``.
        structure: None (DID), or what a scale belongs to: "layer", "module" or "tensor" (SAID).
        scope: "global" (P has unit columns over all of D) or "tensor" (over each tensor).
        seed: of P alone.
        include: a predicate on parameter names; the others stay frozen and are not part of D. Default: all of them.
        engine: the form of P's arithmetic, one of ``projections.ENGINES``. Default: the fastest that works here.

    Attributes: ``theta`` ``(d - m,)``, ``scales`` ``(m,)`` or None, ``projection``, ``layout``, ``D``.
    Errors: ``IdimError`` for a model without parameters, meta tensors, weights that are not floating point, a model wrapped
    already, ``d < 1``, ``d > D``, ``d <= m``. The model is then left as it was.
    Cost: one product with P for each change of theta and one with its transpose for each backward pass; embedding rows that no
    batch asked for are skipped in both, which is exact.
    Source: Li et al. 2018; Aghajanyan et al. 2021.
    """

    def __init__(
        self, model: nn.Module, d: int, projection: str = "orthonormal", structure: str | None = None,
        scope: str = projections.GLOBAL, seed: int = 0, include: Callable[[str], bool] | None = None, engine: str = "auto",
    ):
        super().__init__()
        chosen = _chosen(model, include)
        if structure is not None and structure not in projections.STRUCTURES:
            raise one_of("structure", projections.STRUCTURES, structure)
        if scope not in projections.SCOPES:
            raise one_of("scope", projections.SCOPES, scope)
        self.layout = projections.Layout.of(chosen, structure)
        m = len(self.layout.groups) if structure else 0
        d_theta = _dimension(d, m, self.layout.D)
        weights = list({id(p): p for _, p in chosen}.values())
        device = weights[0].device
        try:
            self.projection = projections.make(
                projection, self.layout.D, d_theta, seed=seed, device=device,
                sizes=self.layout.sizes if scope == projections.TENSOR else None, engine=engine,
            )
        except projections.ProjectionError as error:
            raise IdimError(str(error)) from None
        self.structure, self.scope, self.d = structure, scope, d
        self.theta = nn.Parameter(torch.zeros(d_theta, device=device))
        self.scales = nn.Parameter(torch.ones(m, device=device)) if m else None

        # Kept out of the module's registries: parameters() must be theta and the scales, nothing else.
        self._hold = (model, weights)
        self._origin = [p.detach().clone() for p in weights]
        self._starts = [piece.start for piece in self.layout.slices]
        self._formed: tuple[int, ...] | None = None
        self._image: projections.Image | None = None
        self._shares: projections.Shares | None = None
        self._were = [(p, p.requires_grad) for p in model.parameters()]
        for p in model.parameters():
            p.requires_grad_(False)
        for p in weights:
            p.requires_grad_(True)
            p._idim_wrapped = True
        self._rows = self._row_tables(model)
        self._hooks = [model.register_forward_pre_hook(lambda *_: self._before_forward())]
        self._hooks.append(model.register_state_dict_pre_hook(lambda *_: self.sync()))
        for i, p in enumerate(weights):
            self._hooks.append(p.register_post_accumulate_grad_hook(self._folder(i)))

    @property
    def D(self) -> int:
        return self.layout.D

    @property
    def model(self) -> nn.Module:
        return self._hold[0]

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)

    # Forming the weights.

    def _version(self) -> tuple[int, ...]:
        return (self.theta._version, self.scales._version if self.scales is not None else 0)

    def _scale(self, i: int) -> torch.Tensor | float:
        return 1.0 if self.scales is None else self.scales.detach()[self.layout.slices[i].group]

    def _before_forward(self) -> None:
        # Left over only where a backward pass broke off.
        self._shares = None
        if self._formed != self._version():
            self._image = self.projection.image(self.theta.detach())
            self._form(skip=self._rows)
            for table in self._rows.values():
                table.fresh.zero_()
            self._formed = self._version()

    def sync(self) -> None:
        """Bring every weight up to date with theta, unused embedding rows too. Cheap when they are."""
        self._before_forward()
        for i, table in self._rows.items():
            self._form_rows(i, table, (~table.fresh).nonzero().flatten())

    @torch.no_grad()
    def _form(self, skip: dict) -> None:
        """Every weight but the skipped ones. What two weights share of P's grain is made once, for both."""
        weights, slices, grain = self._hold[1], self.layout.slices, self.projection.grain
        for run in _runs([i for i in range(len(weights)) if i not in skip]):
            at, stop = slices[run[0]].start, slices[run[-1]].stop
            for i in run:
                piece = slices[i]
                end = piece.stop if piece.stop == stop else piece.stop - piece.stop % grain
                if end > at:
                    self._form_range(i, at, end)
                    at = end
                if at < piece.stop:
                    at = self._form_shared(at, min(at - at % grain + grain, stop))

    def _form_shared(self, start: int, stop: int) -> int:
        move = torch.empty(stop - start, device=self.theta.device)
        self._image.write(move, start)
        for i in range(bisect_right(self._starts, start) - 1, bisect_left(self._starts, stop)):
            piece = self.layout.slices[i]
            a, b = max(piece.start, start), min(piece.stop, stop)
            at = slice(a - piece.start, b - piece.start)
            _shift(self._hold[1][i].data.view(-1)[at], self._origin[i].view(-1)[at], move[a - start: b - start], self._scale(i))
        return stop

    def _form_range(self, i: int, start: int, stop: int) -> None:
        at = slice(start - self.layout.slices[i].start, stop - self.layout.slices[i].start)
        self._image.shift(self._hold[1][i].data.view(-1)[at], self._origin[i].view(-1)[at], self._scale(i), start)

    @torch.no_grad()
    def _form_rows(self, i: int, table: _Rows, rows: torch.Tensor) -> None:
        width, start = self._hold[1][i].shape[1], self.layout.slices[i].start
        # In pieces, so that forming a whole table of a large vocabulary needs no second copy of it.
        for part in rows.split(max(1, (1 << 22) // width)):
            move = self._image.rows(start + part * width, width)
            moved = torch.empty_like(move)
            _shift(moved, self._origin[i][part], move, self._scale(i))
            self._hold[1][i].data[part] = moved.to(self._hold[1][i].dtype)
        table.fresh[rows] = True

    # Folding the gradients.

    def _folder(self, i: int) -> Callable[[torch.Tensor], None]:
        piece = self.layout.slices[i]

        @torch.no_grad()
        def fold(p: torch.Tensor) -> None:
            grad, p.grad = p.grad, None
            if self._shares is None:
                torch.autograd.Variable._execution_engine.queue_callback(self._finish)
                if self._image is None:  # a part of the model was called by itself
                    self._image = self.projection.image(self.theta.detach())
                self._shares = self.projection.shares(self._image, None if self.scales is None else self.scales.detach())
            if i in self._rows and not self._rows[i].checked:
                self._check_rows(i, grad)
            if i in self._rows:
                rows = self._rows[i].fresh.nonzero().flatten()
                self._shares.add_rows(grad[rows].float(), piece.start + rows * p.shape[1], piece.group)
            else:
                self._shares.add(grad.reshape(-1).float(), piece.start, piece.group)

        return fold

    @torch.no_grad()
    def _finish(self) -> None:
        """At the end of a backward pass: what was gathered goes into the gradients of theta and of the scales."""
        shares, self._shares = self._shares, None
        of_theta, of_scales = shares.finish(self.theta.detach())
        _accumulate(self.theta, of_theta)
        if self.scales is not None:
            _accumulate(self.scales, of_scales)

    # Embedding tables: only the rows that a batch looks up.

    def _row_tables(self, model: nn.Module) -> dict[int, _Rows]:
        if not self.projection.row_wise:
            return {}
        users: dict[int, list[nn.Module]] = {}
        for module in model.modules():
            for p in module.parameters(recurse=False):
                users.setdefault(id(p), []).append(module)
        tables = {}
        for i, p in enumerate(self._hold[1]):
            owner = users[id(p)]
            # A tied or otherwise shared table is read whole elsewhere, so there every row counts.
            if len(owner) == 1 and type(owner[0]) is nn.Embedding and not owner[0].sparse and owner[0].max_norm is None:
                tables[i] = table = _Rows(torch.zeros(p.shape[0], dtype=torch.bool, device=p.device))
                table.hook = owner[0].register_forward_pre_hook(self._looker(i, table))
        return tables

    def _check_rows(self, i: int, grad: torch.Tensor) -> None:
        """Once, at the first gradient: a table whose other rows matter too is read elsewhere than in its look-up."""
        table = self._rows[i]
        table.checked = True
        if bool((grad[~table.fresh] != 0).any()):
            table.hook.remove()
            self._rows.pop(i)
            self._formed = None

    def _looker(self, i: int, table: _Rows) -> Callable:
        def look(module: nn.Module, args: tuple) -> None:
            rows = torch.unique(args[0])
            rows = rows[~table.fresh[rows]]
            if rows.numel():
                self._form_rows(i, table, rows)

        return look

    # Leaving.

    def bake(self) -> nn.Module:
        """The model with plain weights at their present values, no longer tied to this object."""
        self.sync()
        return self.release()

    def undo(self) -> nn.Module:
        """The model as it was before it was wrapped."""
        with torch.no_grad():
            for p, origin in zip(self._hold[1], self._origin, strict=True):
                p.data.copy_(origin)
        return self.release()

    def release(self) -> nn.Module:
        """Let go of the model, its weights as they are. Without it the hooks keep the model in memory for good."""
        for hook in [*self._hooks, *(t.hook for t in self._rows.values())]:
            hook.remove()
        for p in self._hold[1]:
            del p._idim_wrapped
        for p, required in self._were:
            p.requires_grad_(required)
        return self.model


class _Rows:
    """Which rows of an embedding table are formed for the present theta."""

    def __init__(self, fresh: torch.Tensor):
        self.fresh = fresh
        self.hook = None
        self.checked = False


def _chosen(model: nn.Module, include: Callable[[str], bool] | None) -> list[tuple[str, nn.Parameter]]:
    chosen = [
        (name, p) for name, p in model.named_parameters(remove_duplicate=False) if include is None or include(name)
    ]
    if not chosen:
        raise expected("model", "a module with at least one parameter to move", type(model).__name__)
    for name, p in chosen:
        if p.is_meta:
            raise expected("model", "weights in memory", f"{name} on the meta device")
        if not p.is_floating_point():
            raise expected("model", "floating-point weights", f"{name} in {p.dtype}")
        if getattr(p, "_idim_wrapped", False):
            raise expected("model", "weights that no subspace moves yet", f"{name}, which one does")
    return chosen


def _dimension(d: int, m: int, D: int) -> int:
    if isinstance(d, bool) or not isinstance(d, int) or d < 1:
        raise expected("d", "a whole number of at least 1", d)
    if d <= m:
        raise expected("d", f"more than the {m} structure-aware scales, which are part of it", d)
    if d - m > D:
        raise expected("d", f"at most D = {D}, the number of weights", d)
    return d - m


def _runs(indices: Iterable[int]) -> list[list[int]]:
    """Consecutive indices together: ``[0, 1, 4] -> [[0, 1], [4]]``."""
    runs: list[list[int]] = []
    for i in indices:
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _shift(out: torch.Tensor, origin: torch.Tensor, move: torch.Tensor, scale: torch.Tensor | float) -> None:
    """``out = origin + scale * move``, formed in fp32 whatever out's dtype."""
    if out.dtype != torch.float32 or origin.dtype != torch.float32:
        out.copy_(origin.float() + move * scale)
    elif isinstance(scale, float):
        torch.add(origin, move, alpha=scale, out=out)
    else:
        torch.addcmul(origin, move, scale, out=out)


def _accumulate(p: nn.Parameter, grad: torch.Tensor) -> None:
    if p.grad is None:
        p.grad = grad.detach().clone()
    else:
        p.grad.add_(grad)

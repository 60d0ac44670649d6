"""The reparameterisation: a model whose only trainable state is theta (and the structure-aware scales)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from weakref import ref

import torch
from torch import distributed, nn

import projections
from idim import memory
from idim.errors import IdimError, expected, one_of
from idim.lean import Block, blocks
from idim.tables import Table, owners


#: Floats of gradients that are gathered before they are folded, so that threads need not be woken for each.
_WAITING = 1 << 21


@dataclass
class _Now:
    """What changes every step. Not in the module itself, where to set an attribute costs as much as some of the work."""

    formed: tuple[bool, torch.Tensor, torch.Tensor | None] | None = None  # enabled, theta, scales: what the weights were last formed from
    image: projections.Image | None = None
    shares: projections.Shares | None = None
    waiting: dict[int, torch.Tensor] = field(default_factory=dict)
    floats: int = 0  # that wait


class Subspace(nn.Module):
    """Move a model's weights only along ``theta_0 + scale_group * P theta``, with ``d`` trainable numbers in all.

    The model is called as before; its class, config, hooks and state_dict stay. Before a forward pass that follows a change of
    theta, the weights are formed in fp32 and written in place; in the backward pass each weight's gradient g is folded
    into ``theta.grad += scale * P^T g`` the moment it is complete, and freed. Hence no optimiser state and no gradient of size D
    (sparse and fastfood-whole alone gather the whole gradient before they fold it). What is held: theta_0, which is the
    memory the model came in, the weights (together 8 bytes a parameter in fp32) and P's own bytes.

    Args:
        model: any module. Parameters that share storage by being one object (tied weights) are counted and moved once.
        d: trainable numbers in all. With a structure, m of them are scales and theta has ``d - m`` entries.
        projection: a family of ``projections.KINDS``.
        structure: None (DID), or what a scale belongs to: "layer", "module" or "tensor" (SAID).
        scope: "global" (P has unit columns over all of D) or "tensor" (over each tensor).
        seed: of P alone.
        include: a predicate on parameter names; the others stay frozen and are not part of D. Default: all of them.
        engine: the form of P's arithmetic, one of ``projections.ENGINES``. Default: the fastest that works here.
        lean: hold theta_0 alone (4 bytes a parameter in fp32), and leave it to the file that it is mapped from, if it is. The weights of a block (a member of an ``nn.ModuleList`` or
            ``nn.Sequential``) then exist while it runs, and read as NaN between; call ``sync`` to look at them. Costs one more product
            with P a backward pass. Not for ``torch.compile``.
        quiet: the weights ask for gradients only from a forward pass to the end of its backward pass, so that whoever lists what is trainable
            in between (an optimiser, a count) finds theta and the scales alone. The model must then be called as a whole.
        group: a ``torch.distributed`` process group. Each backward pass then leaves the mean over its ranks in the gradients:
            d numbers are sent, not D.

    Attributes: ``theta`` ``(d - m,)``, ``scales`` ``(m,)`` or None, ``projection``, ``layout``, ``D``.
    Errors: ``IdimError`` for a model without parameters, meta tensors, weights that are not floating point, a model wrapped
    already, ``d < 1``, ``d > D``, ``d <= m``, lean with a family that gathers the whole gradient. The model is then left as it was.
    Cost: one product with P for each change of theta and one with its transpose for each backward pass; embedding rows that no
    batch asked for are skipped in both, which is exact.
    Source: Li et al. 2018; Aghajanyan et al. 2021.
    """

    def __init__(
        self, model: nn.Module, d: int, projection: str = "orthonormal", structure: str | None = None,
        scope: str = projections.GLOBAL, seed: int = 0, include: Callable[[str], bool] | None = None, engine: str = "auto",
        lean: bool = False, quiet: bool = False, group: distributed.ProcessGroup | None = None,
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
        # Of a tied weight the first name: the last to be written here.
        names = {id(p): name for name, p in reversed(chosen)}
        self._names = [names[id(p)] for p in weights]
        device = weights[0].device
        try:
            self.projection = projections.make(
                projection, self.layout.D, d_theta, seed=seed, device=device,
                sizes=self.layout.sizes if scope == projections.TENSOR else None, engine=engine,
            )
        except projections.ProjectionError as error:
            raise IdimError(str(error)) from None
        if lean and (projections.KINDS | projections.FLAWED)[projection].staged:
            raise expected("lean", "a projection that takes gradients in as they come, as orthonormal does", projection)
        self.structure, self.scope, self.d, self.lean, self.quiet = structure, scope, d, lean, quiet
        #: False: the model runs at theta_0.
        self.enabled = True
        self.theta = nn.Parameter(torch.zeros(d_theta, device=device))
        self.scales = nn.Parameter(torch.ones(m, device=device)) if m else None

        # Kept out of the module's registries: parameters() must be theta and the scales, nothing else.
        self._hold = (model, weights, group)
        self._reduces = True
        self._now = _Now()
        self._were = [(p, p.requires_grad) for p in model.parameters()]
        for p in model.parameters():
            p.requires_grad_(False)
        for p in weights:
            p.requires_grad_(True)
            p._idim_wrapped = True
        # theta_0 is the memory that the model came in, which may be a mapped file; the weights get their own.
        self._origin = [p.detach() for p in weights]
        self._filed = {i for i, x in enumerate(self._origin) if memory.in_file(x)} if lean else set()
        self._leave_to_file(self._filed)
        found = owners(model, weights) if self.projection.row_wise else {}
        in_blocks = blocks(model, weights, set(found)) if lean else []
        self._tables = {i: Table(owner, partial(self._form_rows, i), lean) for i, owner in found.items()}
        self._blocks = [Block(module, indices, weights, self._form, self._made) for module, indices in in_blocks]
        self._block_of = {i: block for block, (_, indices) in zip(self._blocks, in_blocks, strict=True) for i in indices}
        self._kept = [i for i in range(len(weights)) if i not in self._block_of]
        for i in set(self._kept) - set(found):
            weights[i].data = weights[i].detach().clone()
        # A compiler need not look into what forms the weights.
        before = torch.compiler.disable(lambda *_: self._on_forward())
        self._hooks = [model.register_forward_pre_hook(before)]
        self._hooks.append(model.register_state_dict_pre_hook(lambda *_: self.sync()))
        for i, p in enumerate(weights):
            self._hooks.append(p.register_post_accumulate_grad_hook(partial(_take_in, ref(self), i)))
            if quiet:
                # A second backward pass through the same graph finds them asleep again.
                self._hooks.append(p.register_hook(partial(_wake, ref(p))))
                p.requires_grad_(False)
        self.register_load_state_dict_post_hook(lambda *_: self.forget())

    @property
    def D(self) -> int:
        return self.layout.D

    @property
    def model(self) -> nn.Module:
        return self._hold[0]

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)

    def origins(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names of the weights, each once, and theta_0's memory. After writing into it call ``forget``."""
        self._filed.clear()  # whoever has it may write
        return zip(self._names, self._origin, strict=True)

    # Forming the weights.

    def _unchanged(self) -> bool:
        """Whether the weights are those of the present theta and scales.

        By value, d comparisons: torch's count of a tensor's changes (``_version``) misses those of its fused optimisers.
        """
        if self._now.formed is None:
            return False
        enabled, theta, scales = self._now.formed
        return enabled == self.enabled and torch.equal(theta, self.theta) and (scales is None or torch.equal(scales, self.scales))

    def forget(self) -> None:
        """Form the weights anew before the next forward pass, theta changed or not."""
        self._now.formed = None

    def _scale_of(self) -> Callable[[int], torch.Tensor | float]:
        """From a weight's index to its scale. On a GPU a tensor: to look at its value would be to wait for it."""
        if self.scales is None or not self.enabled:
            return lambda i: 1.0
        scales = self.scales.detach()
        each = scales.unbind() if scales.is_cuda else scales.tolist()
        return lambda i: each[self.layout.slices[i].group]

    def _on_forward(self) -> None:
        if self.quiet and self.enabled and torch.is_grad_enabled():
            for p in self._hold[1]:
                p.requires_grad_(True)
        self._before_forward()

    def _before_forward(self) -> None:
        # Left over only where a backward pass broke off.
        now = self._now
        now.shares, now.floats = None, 0
        now.waiting.clear()
        if self._unchanged():
            return
        theta = self.theta.detach()
        now.image = self.projection.image(theta if self.enabled else torch.zeros_like(theta))
        if not self._hooks:  # the model has been let go of
            return
        unproven = [i for i, table in self._tables.items() if not table.proven]
        skip = set(self._tables)  # at theta = 0 an unproven table is theta_0 itself
        if unproven and (now.formed is not None or self.enabled and bool(theta.any())):
            self._unalias(unproven)
            skip -= set(unproven)
        self._form([i for i in self._kept if i not in skip])
        for table in self._tables.values():
            table.outdate()
        now.formed = self.enabled, theta.clone(), None if self.scales is None else self.scales.detach().clone()

    def _unalias(self, tables: Iterable[int]) -> None:
        """Give a table whose memory is still theta_0's its own."""
        for i in tables:
            if self._hold[1][i].data_ptr() == self._origin[i].data_ptr():
                self._hold[1][i].data = torch.empty_like(self._origin[i])

    def sync(self) -> None:
        """Bring every weight up to date with theta, unused embedding rows too. Cheap when they are."""
        self._before_forward()
        if not self._hooks:
            return
        for i, table in self._tables.items():
            if table.proven:
                self._form_rows(i, table.missing())
        for i in self._block_of:
            self._hold[1][i].data = torch.empty_like(self._origin[i])
        self._form(sorted(self._block_of))

    @torch.no_grad()
    def _form(self, indices: list[int]) -> None:
        """These weights, in their place."""
        made = {i: self._hold[1][i].data for i in indices}
        # Of a weight that lies in another order (channels last) a copy is formed.
        reordered = {i: p for i, p in made.items() if not p.is_contiguous()}
        for i, p in reordered.items():
            made[i] = torch.empty(p.shape, dtype=p.dtype, device=p.device)
        self._shift(made)
        for i, p in reordered.items():
            p.copy_(made[i])

    def _shift(self, out: dict[int, torch.Tensor]) -> None:
        """``theta_0 + scale * P theta`` of the weights with these indices, into contiguous memory."""
        slices, scale = self.layout.slices, self._scale_of()
        self._now.image.shift_all([(slices[i].start, x, self._origin[i], scale(i)) for i, x in out.items()])
        self._leave_to_file(out)

    def _leave_to_file(self, indices: Iterable[int]) -> None:
        for i in self._filed & set(indices):
            memory.leave_to_file(self._origin[i])

    @torch.no_grad()
    def _made(self, i: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Weight i at the present theta, in memory of its own."""
        origin = self._origin[i]
        made = torch.empty(origin.shape, dtype=dtype or origin.dtype, device=origin.device)
        self._shift({i: made})
        return made

    @torch.no_grad()
    def _form_rows(self, i: int, rows: torch.Tensor) -> None:
        if not len(rows):
            return
        self._now.image.shift_rows(self._hold[1][i].data, self._origin[i], rows, self._scale_of()(i), self.layout.slices[i].start)
        self._leave_to_file([i])
        self._tables[i].fresh[rows] = True

    def moves(self) -> dict[str, torch.Tensor]:
        """How far each weight has moved from theta_0, by name, in fp32; D floats in all."""
        self._before_forward()
        return {name: self._made(i, torch.float32) - origin.float() for i, (name, origin) in enumerate(zip(self._names, self._origin, strict=True))}

    def rounded_away(self, dtype: torch.dtype) -> float:
        """The share of the weights that theta moves whose move is lost when they are rounded to ``dtype``, as for computing in bf16."""
        moved = lost = 0
        self._before_forward()
        for i, origin in enumerate(self._origin):
            plain = not (self.projection.row_wise or i in self._block_of) and origin.dtype == torch.float32
            now, before = self._hold[1][i].detach() if plain else self._made(i, torch.float32), origin.float()
            off = now != before
            moved += int(off.sum())
            lost += int((off & (now.to(dtype) == before.to(dtype))).sum())
        return lost / max(1, moved)

    # Folding the gradients.

    def _take_in(self, i: int, p: nn.Parameter) -> None:
        """Weight i has its gradient."""
        now = self._now
        grad, p.grad = p.grad, None
        if now.shares is None:
            self._begin()
        if i in self._tables and not self._tables[i].prove(grad):
            self._tables.pop(i).close()
            self._unalias([i])
            now.formed = None
        if grad.is_sparse:
            self._fold_rows(i, grad)
        else:
            if i in now.waiting:  # reentrant checkpointing gives a shared weight one gradient a call
                self._fold_waiting()
            now.waiting[i] = grad
            now.floats += grad.numel()
            if now.floats >= _WAITING:
                self._fold_waiting()
        if i in self._block_of:
            self._block_of[i].done(i)

    @torch.no_grad()
    def _begin(self) -> None:
        """The first gradient of a backward pass."""
        now, scales = self._now, self.scales
        torch.autograd.Variable._execution_engine.queue_callback(self._finish)
        if now.image is None:  # a part of the model was called by itself
            now.image = self.projection.image(self.theta.detach())
        now.shares = self.projection.shares(now.image, None if scales is None else scales.detach())

    @torch.no_grad()
    def _fold_rows(self, i: int, grad: torch.Tensor) -> None:
        # As the look-up made it, row by row: to add up what repeats is the fold's work.
        piece = self.layout.slices[i]
        self._now.shares.add_rows(grad._values().float(), piece.start + grad._indices()[0] * grad.shape[1], piece.group)

    @torch.no_grad()
    def _fold_waiting(self) -> None:
        """The gradients that came since the last time."""
        now, slices = self._now, self.layout.slices
        jobs = [(grad, slices[i].start, slices[i].group) for i, grad in sorted(now.waiting.items())]
        now.waiting.clear()
        now.floats = 0
        now.shares.add_all(jobs)

    @torch.no_grad()
    def _finish(self) -> None:
        """At the end of a backward pass: what was gathered goes into the gradients of theta and of the scales."""
        self._fold_waiting()
        shares, self._now.shares = self._now.shares, None
        if self.quiet:
            for p in self._hold[1]:
                p.requires_grad_(False)
        for block in self._blocks:
            block.end()
        of_theta, of_scales = shares.finish(self.theta.detach())
        _accumulate(self.theta, of_theta)
        if self.scales is not None:
            _accumulate(self.scales, of_scales)
        if self._hold[2] is not None and self._reduces:
            self._reduce(self._hold[2])

    def _reduce(self, group: distributed.ProcessGroup) -> None:
        # Whole gradients, so that what no_sync() left out comes too; a mean of what is the same everywhere changes nothing.
        whole = torch.cat([p.grad.view(-1) for p in self.parameters()])
        distributed.all_reduce(whole, group=group)
        whole /= group.size()
        for p, part in zip(self.parameters(), whole.split([p.numel() for p in self.parameters()]), strict=True):
            p.grad.copy_(part.view_as(p))

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Backward passes in here send nothing; the first one outside sends for all, as with DistributedDataParallel."""
        self._reduces = False
        try:
            yield
        finally:
            self._reduces = True

    # Leaving.

    def bake(self) -> nn.Module:
        """The model with plain weights at their present values, no longer tied to this object."""
        self.sync()
        return self.release()

    def undo(self) -> nn.Module:
        """The model as it was before it was wrapped."""
        with torch.no_grad():
            for p, origin in zip(self._hold[1], self._origin, strict=True):
                p.data = origin
        return self.release()

    def release(self) -> nn.Module:
        """Let go of the model, its weights as they are: table rows and lean blocks that are not formed hold nothing, which ``bake`` mends.

        Once is enough; again does nothing.
        """
        if not self._hooks:
            return self.model
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for part in [*self._tables.values(), *self._blocks]:
            part.close()
        for p in self._hold[1]:
            del p._idim_wrapped
        for p, required in self._were:
            p.requires_grad_(required)
        self._filed.clear()  # whoever has the model may write
        return self.model


# What a tensor's hooks refer to, the collector of cycles cannot see: so they refer weakly, and a forgotten model is freed.


def _take_in(sub: ref[Subspace], i: int, p: nn.Parameter) -> None:
    if (this := sub()) is not None:
        this._take_in(i, p)


def _wake(p: ref[nn.Parameter], grad: torch.Tensor) -> None:
    p().requires_grad_(True)


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


def _accumulate(p: nn.Parameter, grad: torch.Tensor) -> None:
    if p.grad is None:
        p.grad = grad.detach().clone()
    else:
        p.grad.add_(grad)

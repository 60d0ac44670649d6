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
from idim.buffers import Buffers
from idim.copies import Guest, Hook
from idim.errors import IdimError, expected, one_of
from idim.lean import Block, blocks
from idim.tables import Table, owners
from idim.watched import Watched, by_our_hand, can_be_watched, unwatch, watch

#: Floats of gradients that are gathered before they are folded, so that threads need not be woken for each.
_WAITING = 1 << 21


@dataclass
class _Now:
    """What changes every step. Not in the module itself, where to set an attribute costs as much as some of the work."""

    formed: tuple[bool, torch.Tensor, torch.Tensor | None] | None = (
        None  # enabled, theta, scales: what the weights were last formed from
    )
    image: projections.Image | None = None
    gradient: projections.ScaledGradient | None = None
    waiting: dict[int, torch.Tensor] = field(default_factory=dict)
    floats: int = 0  # that wait
    running: bool = (
        False  # a forward pass of the whole model, which began with weights of the present theta
    )


class Subspace(nn.Module):
    """Move a model's weights only along ``theta_0 + scale_group * P theta``, with ``d`` trainable numbers in all.

    The model is called as before; its class, config, hooks and state_dict stay. Before a forward pass that follows a change of
    theta, the weights are formed in fp32 and written in place; in the backward pass each weight's gradient g is folded
    into ``theta.grad += scale * P^T g`` the moment it is complete, and freed. Hence no optimiser state and no gradient of size D
    (sparse and fastfood-whole alone gather the whole gradient before they fold it). What is held: theta_0, which is the
    memory the model came in, the weights (together 8 bytes a parameter in fp32) and P's own bytes.

    Whoever reads a weight in any other way (a hook, a part of the model called by itself, ``parameters()``) gets it at the present theta too.
    A copy or pickle of the model alone is a plain model at the present weights; one of the subspace, or of both, moves a model of its own.
    Casting the model casts its weights; theta, the scales and theta_0 keep their precision.

    Args:
        model: any module. Parameters that share storage by being one object (tied weights) are counted and moved once. Those with
            ``requires_grad=False`` stay as they are and are not part of D.
        d: trainable numbers in all. With a structure, m of them are scales and theta has ``d - m`` entries.
        projection: a family of ``projections.KINDS``.
        structure: None (DID), or what a scale belongs to: "layer", "module" or "tensor" (SAID).
        scope: "global" (P has unit columns over all of D) or "tensor" (over each tensor).
        seed: of P alone.
        include: a predicate on parameter names; the others stay frozen and are not part of D. Default: all of them.
        engine: the form of P's arithmetic, one of ``projections.ENGINES``. Default: the fastest that works here.
        lean: hold theta_0 alone (4 bytes a parameter in fp32), and leave it to the file that it is mapped from, if it is. The weights of a block
            (a member of an ``nn.ModuleList`` or ``nn.Sequential``) then exist while it runs; who reads one in between is given a copy, which costs
            a product with P each time. Costs one more product with P a backward pass. Not for ``torch.compile``.
        quiet: the weights ask for gradients only from a forward pass to the end of its backward pass, so that whoever lists what is trainable
            in between (an optimiser, a count) finds theta and the scales alone. The model must then be called as a whole.
        group: a ``torch.distributed`` process group. Each backward pass then leaves the mean over its ranks in the gradients:
            d numbers are sent, not D.

    Attributes: ``theta`` ``(d - m,)``, ``scales`` ``(m,)`` or None, ``projection``, ``layout``, ``D``, ``frozen`` (names of the weights that their
    owner froze).
    Errors: ``IdimError`` for a model without parameters that may be trained, meta tensors, weights that are not floating point, a model wrapped
    already, ``d < 1``, ``d > D``, ``d <= m``, lean with a family that gathers the whole gradient. The model is then left as it was.
    Cost: one product with P for each change of theta and one with its transpose for each backward pass; embedding rows that no
    batch asked for are skipped in both, which is exact.
    Source: Li et al. 2018; Aghajanyan et al. 2021.
    """

    def __init__(
        self,
        model: nn.Module,
        d: int,
        projection: str = "orthonormal",
        structure: str | None = None,
        scope: str = projections.GLOBAL,
        seed: int = 0,
        include: Callable[[str], bool] | None = None,
        engine: str = "auto",
        lean: bool = False,
        quiet: bool = False,
        group: distributed.ProcessGroup | None = None,
    ):
        super().__init__()
        chosen, self.frozen = _chosen(model, include)
        if structure is not None and structure not in projections.STRUCTURES:
            raise one_of("structure", projections.STRUCTURES, structure)
        if scope not in projections.SCOPES:
            raise one_of("scope", projections.SCOPES, scope)
        self.layout = projections.Layout.of(chosen, structure)
        m = len(self.layout.groups) if structure else 0
        d_theta = _dimension(d, m, self.layout.D, len(self.frozen))
        weights = list({id(p): p for _, p in chosen}.values())
        # A tied weight keeps its first name, because the loop runs backwards.
        names = {id(p): name for name, p in reversed(chosen)}
        self._names = [names[id(p)] for p in weights]
        device = weights[0].device
        self._settings = {
            "d": d,
            "projection": projection,
            "structure": structure,
            "scope": scope,
            "seed": seed,
            "engine": engine,
            "lean": lean,
            "quiet": quiet,
        }
        self.projection = self._make_projection(d_theta, device)
        if lean and (projections.KINDS | projections.FLAWED)[projection].staged:
            raise expected(
                "lean",
                "a projection that takes gradients in as they come, as orthonormal does",
                projection,
            )
        self.structure, self.scope, self.d, self.lean, self.quiet = structure, scope, d, lean, quiet
        #: False: the model runs at theta_0.
        self.enabled = True
        #: Names of weights and buffers of which ``state_dict`` has the start, because the model on disk lacks them.
        self.fresh: tuple[str, ...] = ()
        self.theta = nn.Parameter(torch.zeros(d_theta, device=device))
        self.scales = nn.Parameter(torch.ones(m, device=device)) if m else None

        # Kept out of the module's registries: parameters() must be theta and the scales, nothing else.
        self._hold = (model, weights, group)
        self._reduces = True
        self._now = _Now()
        self._beside = Buffers(model)
        self._were = [(p, p.requires_grad) for p in model.parameters()]
        for p in model.parameters():
            p.requires_grad_(False)
        for i, p in enumerate(weights):
            p.requires_grad_(True)
            p._idim_wrapped = ref(self), i
        # theta_0 is the memory that the model came in, which may be a mapped file; the weights get their own.
        self._origin = [p.detach() for p in weights]
        self._filed = (
            {i for i, x in enumerate(self._origin) if memory.in_file(x)} if lean else set()
        )
        self._leave_to_file(self._filed)
        found = owners(model, weights) if self.projection.row_wise else {}
        in_blocks = blocks(model, weights, set(found)) if lean else []
        self._tables = {
            i: Table(owner, partial(self._form_rows, i), self._renew, lean)
            for i, owner in found.items()
        }
        self._blocks = [
            Block(module, indices, weights, self._form, self._made, self._renew)
            for module, indices in in_blocks
        ]
        self._block_of = {
            i: block
            for block, (_, indices) in zip(self._blocks, in_blocks, strict=True)
            for i in indices
        }
        self._kept = [i for i in range(len(weights)) if i not in self._block_of]
        self._watchable = [i for i in self._kept if can_be_watched(weights[i])]
        for i in set(self._kept) - set(found):
            weights[i].data = weights[i].detach().clone()
        # First of all hooks: others may read the weights.
        self._hooks = [model.register_forward_pre_hook(Hook(self._on_forward), prepend=True)]
        self._hooks.append(model.register_forward_hook(Hook(self._after_forward), always_call=True))
        self._hooks.append(model.register_state_dict_pre_hook(Hook(self._on_state_dict)))
        changed = {id(table.owner): table.before for table in self._tables.values()}
        touched = [model, *found.values(), *(block.module for block in self._blocks)]
        self._guests = [
            Guest(module, **changed.get(id(module), {}))
            for module in {id(module): module for module in touched}.values()
        ]
        for i, p in enumerate(weights):
            self._hooks.append(
                p.register_post_accumulate_grad_hook(partial(_take_in, ref(self), i))
            )
            if quiet:
                # A second backward pass through the same graph finds them asleep again.
                self._hooks.append(p.register_hook(partial(_wake, ref(p))))
                p.requires_grad_(False)
        self._list_loose()
        watch(self._loose)
        self.register_load_state_dict_post_hook(lambda *_: self.forget())

    def _make_projection(self, d_theta: int, device: torch.device) -> projections.Projection:
        asked = self._settings
        sizes = self.layout.sizes if asked["scope"] == projections.TENSOR else None
        try:
            return projections.make(
                asked["projection"],
                self.layout.D,
                d_theta,
                seed=asked["seed"],
                device=device,
                sizes=sizes,
                engine=asked["engine"],
            )
        except projections.ProjectionError as error:
            raise IdimError(str(error)) from None

    def _list_loose(self) -> None:
        """The weights that are watched between forward passes of the whole model, and whole within."""
        self._loose = [
            self._hold[1][i]
            for i in self._watchable
            if not (i in self._tables and self._tables[i].proven)
        ]

    @property
    def D(self) -> int:
        return self.layout.D

    @property
    def frozen_size(self) -> int:
        """Numbers in the weights that their owner froze, which D leaves out."""
        named = dict(self.model.named_parameters(remove_duplicate=False))
        return sum(
            p.numel() for p in {id(named[name]): named[name] for name in self.frozen}.values()
        )

    @property
    def model(self) -> nn.Module:
        return self._hold[0]

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)

    def origins(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names of the weights, each once, and theta_0's memory. After writing into it call ``forget``."""
        self._filed.clear()  # whoever has it may write
        return zip(self._names, self._origin, strict=True)

    def owner_had(self, required: list[tuple[nn.Parameter, bool]]) -> None:
        """What of the model may be trained once it is let go of, where that is not what may be moved now."""
        self._were = required

    # Forming the weights.

    def _unchanged(self) -> bool:
        """Whether the weights are those of the present theta and scales.

        By value, d comparisons: torch's count of a tensor's changes (``_version``) misses those of its fused optimisers.
        """
        if self._now.formed is None:
            return False
        enabled, theta, scales = self._now.formed
        return (
            enabled == self.enabled
            and torch.equal(theta, self.theta)
            and (scales is None or torch.equal(scales, self.scales))
        )

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

    def _on_forward(self, *_) -> None:
        now, awake = self._now, self.quiet and self.enabled and torch.is_grad_enabled()
        now.running = False
        with by_our_hand():
            if not _in_backward():
                # Left over only where a backward pass broke off.
                now.gradient, now.floats = None, 0
                now.waiting.clear()
            self._renew()
            if awake:
                for p in self._hold[1]:
                    p.requires_grad_(True)
        unwatch(self._loose)
        now.running = True

    def _after_forward(self, *_) -> None:
        self._now.running = False
        watch(self._loose)

    def _on_state_dict(self, *_) -> None:
        self.sync()

    def _renew(self) -> None:
        """Form the weights, if theta is no longer what they were formed from. By our hand."""
        now = self._now
        # Theta stays while a pass runs.
        if now.running or _in_backward() or self._unchanged():
            return
        self._follow(self._hold[1][0].device)
        theta = self.theta.detach()
        now.image = self.projection.image(theta if self.enabled else torch.zeros_like(theta))
        if not self._hooks:  # the model has been let go of
            return
        proven = {i for i, table in self._tables.items() if table.proven}
        starts = {
            i for i in self._tables.keys() - proven if self._is_start(i)
        }  # at theta = 0 such a table is right as it is
        if starts and (now.formed is not None or (self.enabled and bool(theta.any()))):
            self._unalias(starts)
            starts = set()
        self._form([i for i in self._kept if i not in proven | starts])
        for part in [*self._tables.values(), *self._blocks]:
            part.outdate()
        now.formed = (
            self.enabled,
            theta.clone(),
            None if self.scales is None else self.scales.detach().clone(),
        )

    def _is_start(self, i: int) -> bool:
        """Whether this table's memory is still theta_0's."""
        return self._hold[1][i].data_ptr() == self._origin[i].data_ptr()

    def _unalias(self, tables: Iterable[int]) -> None:
        for i in tables:
            if self._is_start(i):
                self._hold[1][i].data = torch.empty_like(self._origin[i])

    def ready(self, indices: list[int]) -> dict[int, torch.Tensor]:
        """Somebody reads these watched weights: bring their memory up to date, or, where they have none, return copies by index."""
        copies = {}
        with by_our_hand():
            self._renew()
            for i in indices:
                if i in self._tables:
                    self._tables[i].be_read()
                elif i in self._block_of and not self._block_of[i].holds(i):
                    copies[i] = self._made(i)
        return copies

    def sync(self) -> None:
        """Bring every weight's memory up to date with theta, in one go. Cheap when it is."""
        if not self._hooks:
            return
        with by_our_hand():
            self._renew()
            for table in self._tables.values():
                if table.proven:
                    table.form_whole()
            for i, block in self._block_of.items():
                if not block.holds(i):
                    block.form_whole()

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
        self._now.image.shift_all(
            [
                projections.Shift(slices[i].start, x, self._origin[i], scale(i))
                for i, x in out.items()
            ]
        )
        self._leave_to_file(out)

    def _leave_to_file(self, indices: Iterable[int]) -> None:
        for i in self._filed & set(indices):
            memory.leave_to_file(self._origin[i])

    @torch.no_grad()
    def _made(self, i: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Weight i at the present theta, in memory of its own."""
        origin = self._origin[i]
        made = torch.empty(
            origin.shape, dtype=dtype or self._hold[1][i].dtype, device=origin.device
        )
        self._shift({i: made})
        return made

    @torch.no_grad()
    def _form_rows(self, i: int, rows: torch.Tensor) -> None:
        if not len(rows):
            return
        self._now.image.shift_rows(
            self._hold[1][i].data,
            self._origin[i],
            rows,
            self._scale_of()(i),
            self.layout.slices[i].start,
        )
        self._leave_to_file([i])
        self._tables[i].fresh[rows] = True

    def moves(self) -> dict[str, torch.Tensor]:
        """How far each weight has moved from theta_0, by name, in fp32; D floats in all."""
        with by_our_hand():
            self._renew()
            return {
                name: self._made(i, torch.float32) - origin.float()
                for i, (name, origin) in enumerate(zip(self._names, self._origin, strict=True))
            }

    def rounded_away(self, dtype: torch.dtype) -> float:
        """The share of the weights that theta moves whose move is lost when they are rounded to ``dtype``, as for computing in bf16."""
        moved = lost = 0
        with by_our_hand():
            self._renew()
            for i, origin in enumerate(self._origin):
                weight = self._hold[1][i]
                plain = (
                    not (self.projection.row_wise or i in self._block_of)
                    and weight.dtype == torch.float32
                )
                now, before = (
                    weight.detach() if plain else self._made(i, torch.float32),
                    origin.float(),
                )
                off = now != before
                moved += int(off.sum())
                lost += int((off & (now.to(dtype) == before.to(dtype))).sum())
        return lost / max(1, moved)

    # Folding the gradients.

    def _take_in(self, i: int, p: nn.Parameter) -> None:
        """Weight i has its gradient."""
        now = self._now
        grad, p.grad = p.grad, None
        if now.gradient is None:
            self._begin()
        if i in self._tables and not (grad.is_sparse and self._tables[i].proven):
            self._settle(i, grad)
        if grad.is_sparse:
            self._fold_rows(i, grad)
        else:
            if (
                i in now.waiting
            ):  # reentrant checkpointing gives a shared weight one gradient a call
                self._fold_waiting()
            now.waiting[i] = grad
            now.floats += grad.numel()
            if now.floats >= _WAITING:
                self._fold_waiting()
        if i in self._block_of:
            self._block_of[i].done(i)

    def _settle(self, i: int, grad: torch.Tensor) -> None:
        """Table i is only looked up, as its gradient shows for the first time, or something else trains it too."""
        if self._tables[i].prove(grad):
            watch([self._hold[1][i]])
        else:
            self._tables.pop(i).close()
            self._unalias([i])
            self._now.formed = None
        self._list_loose()

    @torch.no_grad()
    def _begin(self) -> None:
        """The first gradient of a backward pass."""
        now, scales = self._now, self.scales
        torch.autograd.Variable._execution_engine.queue_callback(self._finish)
        if now.image is None:  # a part of the model was called by itself
            now.image = self.projection.image(self.theta.detach())
        now.gradient = self.projection.scaled_gradient(
            now.image, None if scales is None else scales.detach()
        )

    @torch.no_grad()
    def _fold_rows(self, i: int, grad: torch.Tensor) -> None:
        # As the look-up made it, row by row: to add up what repeats is the fold's work.
        piece = self.layout.slices[i]
        self._now.gradient.add_rows(
            grad._values().float(), piece.start + grad._indices()[0] * grad.shape[1], piece.group
        )

    @torch.no_grad()
    def _fold_waiting(self) -> None:
        """The gradients that came since the last time."""
        now, slices = self._now, self.layout.slices
        parts = [
            projections.GradientPart(grad, slices[i].start, slices[i].group)
            for i, grad in sorted(now.waiting.items())
        ]
        now.waiting.clear()
        now.floats = 0
        now.gradient.add_all(parts)

    @torch.no_grad()
    def _finish(self) -> None:
        """At the end of a backward pass: what was gathered goes into the gradients of theta and of the scales."""
        self._fold_waiting()
        gradient, self._now.gradient = self._now.gradient, None
        if self.quiet:
            with torch._C.DisableTorchFunctionSubclass():
                for p in self._hold[1]:
                    p.requires_grad_(False)
        for block in self._blocks:
            block.end()
        of_theta, of_scales = gradient.finish(self.theta.detach())
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
        for p, part in zip(
            self.parameters(), whole.split([p.numel() for p in self.parameters()]), strict=True
        ):
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
        """The model with plain weights at their present values, no longer tied to this object. Once is enough; again does nothing."""
        self.sync()
        return self._let_go()

    release = bake

    def undo(self) -> nn.Module:
        """The model as it was before it was wrapped: its weights, its buffers, and what of it may be trained."""
        with by_our_hand():
            for p, origin in zip(self._hold[1], self._origin, strict=True):
                p.data = origin
        self._beside.restore()
        return self._let_go()

    def _let_go(self) -> nn.Module:
        if not self._hooks:
            return self.model
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for guest in self._guests:
            guest.leave()
        for part in [*self._tables.values(), *self._blocks]:
            part.close()
        unwatch(p for p in self._hold[1] if isinstance(p, Watched))
        for p in self._hold[1]:
            del p._idim_wrapped
        for p, required in self._were:
            p.requires_grad_(required)
        self._filed.clear()  # whoever has the model may write
        return self.model

    # What is saved, copied and cast.

    def _fresh_starts(self) -> dict[str, torch.Tensor]:
        """The memory of the starts that ``state_dict`` has, by name of the weight."""
        named = dict(self.model.named_parameters()) | dict(
            zip(self._names, self._origin, strict=True)
        )
        return {name: named[name].detach() for name in self.fresh if name in named}

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        kept, moved = self._beside.kept(), self._beside.moved()
        destination |= {prefix + _key(_START, name): x for name, x in self._fresh_starts().items()}
        destination |= {
            prefix + _key(_BUFFER, name): x
            for name, x in kept.items()
            if name in moved or name in self.fresh
        }

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        local_metadata,
        strict,
        missing_keys,
        unexpected_keys,
        error_msgs,
    ) -> None:
        starts = {prefix + _key(_START, name): x for name, x in self._fresh_starts().items()}
        buffers = {prefix + _key(_BUFFER, name): name for name in self._beside.names}
        if prefix + "theta" in state_dict:
            self._beside.restore()  # what the file lacks was not moved
        self._beside.put(
            {name: state_dict[key] for key, name in buffers.items() if key in state_dict}
        )
        for key, place in starts.items():
            if key not in state_dict:
                missing_keys.append(key)
            elif state_dict[key].shape != place.shape:
                error_msgs.append(
                    f"{key}: expected shape {tuple(place.shape)}; got {tuple(state_dict[key].shape)}"
                )
            else:
                self._filed.clear()
                with torch.no_grad():
                    place.copy_(state_dict[key])
        rest = {key: x for key, x in state_dict.items() if key not in starts and key not in buffers}
        super()._load_from_state_dict(
            rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Subspace:
        """Cast or move the model. Theta and the scales follow to its device, and stay in single precision."""
        if fn(torch.empty(1, device=self.theta.device)).is_meta:
            raise expected("subspace", "a device that holds numbers", "meta")
        self.model._apply(fn)
        with by_our_hand():
            self._follow(self._hold[1][0].device)
        return self

    def _follow(self, device: torch.device) -> None:
        """To the device that the weights were moved to: P is made anew there."""
        if device == self.theta.device:
            return
        for p in self.parameters():
            p.data = p.data.to(device)
            p.grad = None if p.grad is None else p.grad.to(device)
        self.projection = self._make_projection(len(self.theta), device)
        self._origin = [x.to(device) for x in self._origin]
        self._filed.clear()
        for table in self._tables.values():
            table.fresh = table.fresh.to(device)
        self.forget()

    def __reduce_ex__(self, protocol: int):
        """A copy, or a pickle, moves a copy of the model."""
        if not self._hooks:
            raise expected(
                "copy", "a subspace that still moves its model", "one that has let go of it"
            )
        if self._hold[2] is not None:
            raise expected("copy", "a subspace of one process", "one with a process group")
        names = {id(p): name for name, p in self.model.named_parameters()}
        state = {
            "theta": self.theta,
            "scales": self.scales,
            "enabled": self.enabled,
            "fresh": self.fresh,
            "frozen": self.frozen,
            "training": self.training,
            "were": {names[id(p)]: required for p, required in self._were if id(p) in names},
            "starts": dict(zip(self._names, self._origin, strict=True)),
            "buffers": self._beside.starts(),
        }
        return _rewrapped, (self.model, self._settings, state)


_START, _BUFFER = "fresh_", "buffer_"


def _key(kind: str, name: str) -> str:
    """In ``state_dict``; a dot in it would be taken for a module's."""
    return kind + name.replace(".", "__")


def _rewrapped(model: nn.Module, settings: dict[str, object], state: dict[str, object]) -> Subspace:
    """A subspace over a plain copy of the model of another one, in that one's state."""
    named = dict(model.named_parameters(remove_duplicate=False))
    moved = frozenset(id(named[name]) for name in state["starts"])
    for name, required in state["were"].items():
        named[name].requires_grad_(required)
    for name, start in state["starts"].items():
        named[name].data = start
    beside = Buffers(model)
    beside.put(state["buffers"])
    sub = Subspace(
        model, **settings, include=lambda name: id(named[name]) in moved or name in state["frozen"]
    )
    beside.restore()
    sub.theta, sub.scales = state["theta"], state["scales"]
    sub.enabled, sub.fresh = state["enabled"], state["fresh"]
    return sub.train(state["training"])


# What a tensor's hooks refer to, the collector of cycles cannot see: so they refer weakly, and a forgotten model is freed.


def _take_in(sub: ref[Subspace], i: int, p: nn.Parameter) -> None:
    if (this := sub()) is not None:
        with torch._C.DisableTorchFunctionSubclass():
            this._take_in(i, p)


def _wake(p: ref[nn.Parameter], grad: torch.Tensor) -> None:
    with torch._C.DisableTorchFunctionSubclass():
        p().requires_grad_(True)


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _chosen(
    model: nn.Module, include: Callable[[str], bool] | None
) -> tuple[list[tuple[str, nn.Parameter]], tuple[str, ...]]:
    """Names and weights to move, and the names of those that their owner froze."""
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
        if p.is_meta:
            raise expected("model", "weights in memory", f"{name} on the meta device")
        if not p.is_floating_point():
            raise expected("model", "floating-point weights", f"{name} in {p.dtype}")
        if getattr(p, "_idim_wrapped", False):
            raise expected("model", "weights that no subspace moves yet", f"{name}, which one does")
    chosen = [(name, p) for name, p in asked if p.requires_grad]
    if not chosen:
        raise expected(
            "model",
            "at least one weight with requires_grad=True",
            f"{type(model).__name__}, of which all {len(asked)} are frozen",
        )
    return chosen, tuple(name for name, p in asked if not p.requires_grad)


def _dimension(d: int, m: int, D: int, frozen: int) -> int:
    if isinstance(d, bool) or not isinstance(d, int) or d < 1:
        raise expected("d", "a whole number of at least 1", d)
    if d <= m:
        raise expected("d", f"more than the {m} structure-aware scales, which are part of it", d)
    if d - m > D:
        beside = f" that may be trained; {frozen} tensors are frozen" if frozen else ""
        raise expected("d", f"at most D = {D}, the number of weights{beside}", d)
    return d - m


def _accumulate(p: nn.Parameter, grad: torch.Tensor) -> None:
    if p.grad is None:
        p.grad = grad.detach().clone()
    else:
        p.grad.add_(grad)

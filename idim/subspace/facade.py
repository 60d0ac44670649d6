"""``Subspace``: a model whose only trainable state is theta, and the structure-aware scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import distributed, nn

import projections
from idim.errors import IdimError, expected, one_of
from idim.marks import mark_moved
from idim.subspace import measures, saved
from idim.subspace.buffers import Buffers
from idim.subspace.by_hand import by_our_hand
from idim.subspace.choice import chosen, size_of_theta
from idim.subspace.gradients import Gradients
from idim.subspace.hooks import Hooks
from idim.subspace.point import Point
from idim.subspace.releases import why_not_lean
from idim.subspace.weights import Weights


class Subspace(nn.Module):
    """Move a model's weights only along ``theta_0 + scale_group * P theta``.

    ``d`` numbers are trained in all. The model is called as before; its class, config, hooks and
    state_dict stay. Before a forward pass that follows a change of theta, the weights are formed in
    fp32 and written in place. In the backward pass each weight's gradient g is folded into
    ``theta.grad += scale * P^T g`` the moment it is complete, and freed. So there is no optimiser
    state and no gradient of size D. (Only sparse and fastfood-whole gather the whole gradient
    before they fold it.)

    Memory: theta_0, which is the memory that the model came in, and the weights (together 8 bytes
    a parameter in fp32); and P's own bytes.

    Whoever reads a weight in any other way (a hook, a part of the model called by itself,
    ``parameters()``) gets it at the present theta too. A backward pass sees the weights that its
    forward pass saw, also where theta has changed since; where that cannot be, it says so. A copy
    or pickle of the model alone is a plain model at the present weights. One of the subspace, or of
    both, moves a model of its own.
    The model's ``state_dict`` has the present weights, the subspace's has theta. Load both, in any
    order. Weights that are loaded are compared, when they are next used, with what theta makes of
    theta_0: those of another base or of another theta are refused.
    Casting the model casts its weights; theta, the scales and theta_0 keep their precision.

    Args:
        model: any module. A tied weight (one parameter under several names) is counted and moved
            once. Weights with ``requires_grad=False`` stay as they are and are not part of D.
        d: trainable numbers in all. With a structure, m of them are scales and theta has ``d - m``
            entries.
        projection: a family of ``projections.KINDS``.
        structure: None (DID), or what a scale belongs to: "layer", "module" or "tensor" (SAID).
        scope: "global" (P has unit columns over all of D) or "tensor" (over each tensor).
        seed: of P alone.
        include: a predicate on parameter names. The other weights stay as they are and are not part
            of D. Default: all of them.
        engine: the form of P's arithmetic, one of ``projections.ENGINES``. Default: the fastest
            that works here.
        lean: hold theta_0 alone (4 bytes a parameter in fp32), and leave it to the file that it is
            mapped from, if it is. The weights of a block (a member of an ``nn.ModuleList`` or
            ``nn.Sequential``) then exist while it runs. Who reads one in between is given a copy,
            which costs a product with P each time. Costs one more product with P a backward pass.
            Not for ``torch.compile``.
        quiet: the weights ask for gradients only from a forward pass to the end of its backward
            pass. Whoever lists what is trainable in between (an optimiser, a count) finds theta and
            the scales alone. The model must then be called as a whole.
        group: a ``torch.distributed`` process group. Each backward pass then leaves the mean over
            its ranks in the gradients: d numbers are sent, not D.

    Attributes:
        theta: ``(d - m,)``, zero at the start.
        scales: ``(m,)``, one at the start; None without a structure.
        layout: where each weight lies in D.
        enabled: False runs the model at theta_0.
        frozen: names of the weights that their owner froze.
        fresh: names of weights and buffers of which ``state_dict`` has the start, because the model
            on disk lacks them. Empty; whoever saves sets it.

    Raises:
        IdimError: the model has no parameter that may be trained, or weights that are on the meta
            device, not floating point, moved by a subspace already, or two in the same memory;
            ``d < 1``, ``d > D`` or ``d <= m``; or lean with a family that gathers the whole
            gradient. The model is then left as it was.

    Cost: one product with P for each change of theta, and one with its transpose for each backward
    pass. Embedding rows that no batch asked for are skipped in both, which is exact.

    Source: Li et al. 2018; Aghajanyan et al. 2021.

    >>> model = torch.nn.Linear(3, 2)
    >>> sub = Subspace(model, d=4)
    >>> sub.D, [name for name, _ in sub.named_parameters()]
    (8, ['theta'])
    >>> model(torch.ones(1, 3)).sum().backward()
    >>> sub.theta.grad.shape, model.weight.grad
    (torch.Size([4]), None)
    >>> sub.bake() is model
    True
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
        named, self.frozen = chosen(model, include)
        if structure is not None and structure not in projections.STRUCTURES:
            raise one_of("structure", projections.STRUCTURES, structure)
        if scope not in projections.SCOPES:
            raise one_of("scope", projections.SCOPES, scope)
        self.layout = projections.Layout.of(named, structure)
        m = len(self.layout.groups) if structure else 0
        d_theta = size_of_theta(d, m, self.layout.D, len(self.frozen))
        sizes = self.layout.sizes if scope == projections.TENSOR else None
        make = partial(_projection, projection, self.layout.D, d_theta, seed, sizes, engine)
        params = list({id(p): p for _, p in named}.values())
        # A tied weight keeps its first name, because the loop runs backwards.
        names = {id(p): name for name, p in reversed(named)}
        device = params[0].device
        first = make(device)
        if lean and (needs := why_not_lean()):
            raise expected("lean", needs, torch.__version__)
        if lean and (projections.KINDS | projections.FLAWED)[projection].staged:
            raise expected(
                "lean",
                "a projection that takes gradients in as they come, as orthonormal does",
                projection,
            )
        self.structure, self.scope, self.d, self.lean, self.quiet = structure, scope, d, lean, quiet
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
        self.enabled = True
        self.fresh: tuple[str, ...] = ()
        self.theta = nn.Parameter(torch.zeros(d_theta, device=device))
        self.scales = nn.Parameter(torch.ones(m, device=device)) if m else None

        # In a tuple, so that parameters() has theta and the scales, and not the model's.
        self._model = (model,)
        self._buffers_of_model = Buffers(model)
        self._were = [(p, p.requires_grad) for p in model.parameters()]
        for p in model.parameters():
            p.requires_grad_(False)
        ordered = [names[id(p)] for p in params]
        self._weights = Weights(model, params, ordered, self.layout, first, make, self._where, lean)
        self._gradients = Gradients(self._weights, quiet, group)
        self._hooks: Hooks | None = Hooks(model, self._weights, self._gradients, quiet)
        # torch has no types here.
        self.register_load_state_dict_post_hook(lambda *_: self.forget())  # type: ignore[no-untyped-call]

    def _where(self) -> Point:
        return Point(self.enabled, self.theta, self.scales)

    @property
    def D(self) -> int:
        """Weights that move."""
        return self.layout.D

    @property
    def projection(self) -> projections.Projection:
        """P."""
        return self._weights.projection

    @property
    def frozen_size(self) -> int:
        """Numbers in the weights that their owner froze, which D leaves out."""
        named = dict(self.model.named_parameters(remove_duplicate=False))
        frozen = {id(named[name]): named[name] for name in self.frozen}
        return sum(p.numel() for p in frozen.values())

    @property
    def model(self) -> nn.Module:
        """The model that is moved."""
        return self._model[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model."""
        return self.model(*args, **kwargs)

    # The weights.

    def origins(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names of the weights, each once, and theta_0's memory. After writing call ``forget``."""
        self._weights.open_origins()
        return zip(self._weights.names, self._weights.origins.tensors, strict=True)

    def forget(self) -> None:
        """Form the weights anew before the next forward pass, theta changed or not."""
        self._weights.forget()

    def sync(self) -> None:
        """Bring every weight's memory up to date with theta, in one go. Cheap when it is."""
        self._weights.sync()

    def moves(self) -> dict[str, torch.Tensor]:
        """How far each weight has moved from theta_0, by name, in fp32. Cost: D floats in all."""
        return measures.moves(self._weights)

    def rounded_away(self, dtype: torch.dtype) -> float:
        """How much of the move a precision loses.

        Args:
            dtype: what the model computes in, as ``torch.bfloat16``.

        Returns:
            The fraction of the moved weights that are what they were once rounded to ``dtype``.
        """
        return measures.rounded_away(self._weights, dtype)

    def no_sync(self) -> AbstractContextManager[None]:
        """Let backward passes in here send nothing to the group.

        The first one outside sends for all, as with DistributedDataParallel.
        """
        return self._gradients.no_sync()

    # Leaving.

    def bake(self) -> nn.Module:
        """Let go of the model, with plain weights at their present values. Again does nothing.

        Weights that moved are marked, because they are no longer those of the model's checkpoint:
        an adapter that is made on top of them must bring them along (``idim.models.fresh``).
        """
        self.sync()
        if self._hooks is not None and self.enabled and bool(self.theta.any()):
            mark_moved(self.model, self._weights.params)
        return self._let_go()

    release = bake

    def undo(self) -> nn.Module:
        """Give the model back as it was: weights, buffers, and what of it may be trained."""
        self._weights.undo()
        self._buffers_of_model.restore()
        return self._let_go()

    def owner_had(self, required: list[tuple[nn.Parameter, bool]]) -> None:
        """Say which weights may be trained once the model is let go of.

        Default: those that were so when it was wrapped.
        """
        self._were = required

    def _let_go(self) -> nn.Module:
        if self._hooks is None:
            return self.model
        self._hooks.remove()
        self._hooks = None
        self._weights.let_go()
        for p, required in self._were:
            p.requires_grad_(required)
        return self.model

    # What is saved, copied and cast.

    def _fresh_starts(self) -> dict[str, torch.Tensor]:
        """The memory of the starts that ``state_dict`` has, by name of the weight."""
        weights = self._weights
        for i, name in enumerate(weights.names):
            if name in self.fresh:
                weights.part(i)  # whoever has a state has its memory
        named: dict[str, torch.Tensor] = dict(self.model.named_parameters())
        named |= zip(weights.names, weights.origins.tensors, strict=True)
        return {name: named[name].detach() for name in self.fresh if name in named}

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        found = saved.extras(self._fresh_starts(), self._buffers_of_model, self.fresh)
        destination.update({prefix + key: x for key, x in found.items()})

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        rest = saved.load(
            state_dict,
            prefix,
            self._fresh_starts(),
            self._buffers_of_model,
            self._weights.open_origins,
            missing_keys,
            error_msgs,
        )
        super()._load_from_state_dict(
            rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Subspace:
        """Cast or move the model. Theta and the scales follow to its device, and stay in fp32."""
        if fn(torch.empty(1, device=self.theta.device)).is_meta:
            raise expected("subspace", "a device that holds numbers", "meta")
        self.model._apply(fn)
        with by_our_hand():
            self._weights.follow(self._weights.params[0].device)
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """A copy, or a pickle, moves a copy of the model."""
        if self._hooks is None:
            raise expected(
                "copy", "a subspace that still moves its model", "one that has let go of it"
            )
        if self._gradients.group is not None:
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
            "starts": dict(zip(self._weights.names, self._weights.origins.tensors, strict=True)),
            "buffers": self._buffers_of_model.starts(),
        }
        return rewrapped, (self.model, self._settings, state)


def rewrapped(model: nn.Module, settings: dict[str, Any], state: dict[str, Any]) -> Subspace:
    """Make a copied or unpickled subspace.

    Args:
        model: a plain copy of the other one's model.
        settings: the arguments that the other one was made with.
        state: what ``Subspace.__reduce_ex__`` wrote.
    """
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


def _projection(
    family: str,
    D: int,
    d: int,
    seed: int,
    sizes: tuple[int, ...] | None,
    engine: str,
    device: torch.device,
) -> projections.Projection:
    try:
        return projections.make(family, D, d, seed=seed, device=device, sizes=sizes, engine=engine)
    except projections.ProjectionError as error:
        raise IdimError(str(error)) from None

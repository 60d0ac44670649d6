"""The subspace where peft looks for adapters."""

from __future__ import annotations

from typing import cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

import projections
from idim.errors import IdimError, expected
from idim.subspace.adapter import scope
from idim.subspace.adapter.config import SubspaceConfig, is_fresh
from idim.subspace.facade import Subspace


class SubspaceLayer(nn.Module, BaseTunerLayer):
    """Holds a Subspace as peft's layers hold their adapters.

    Args:
        model: the base model, which is wrapped.
        config: of the adapter. What is to be filled in is filled in.
        adapter: its name.

    Raises:
        IdimError: the model cannot be wrapped so, or is not the one that the adapter was made for.
            It is then left as it was.
    """

    adapter_layer_names = ("subspace",)
    other_param_names = ()

    def __init__(self, model: nn.Module, config: SubspaceConfig, adapter: str):
        nn.Module.__init__(self)
        config.fresh_modules = scope.fresh(model, config.fresh_modules)
        were = [(p, p.requires_grad) for p in model.parameters()]
        classes = scope.num_labels(model)
        if config.projection_checksum is None:
            config.frozen = scope.frozen(model)
        else:
            if config.num_labels not in (None, classes):
                raise expected(
                    "num_labels", f"{config.num_labels}, as the adapter's base model had", classes
                )
            scope.freeze(model, config.frozen or [])
        try:
            sub = _wrapped(model, config)
        except (IdimError, projections.ProjectionError) as error:
            for p, required in were:
                p.requires_grad_(required)
            raise IdimError(str(error)) from None
        sub.owner_had(were)
        config.D, config.num_labels = sub.D, classes
        config.projection_checksum = sub.projection.checksum()
        sub.fresh = _fresh(model, config)
        self.subspace = nn.ModuleDict({adapter: sub})
        self._active_adapter = adapter
        self._disable_adapters = False
        self.merged_adapters: list[str] = []

    @property
    def sub(self) -> Subspace:
        """The subspace."""
        (sub,) = self.subspace.values()
        return cast(Subspace, sub)

    def enable_adapters(self, enabled: bool) -> None:
        """Let the model run in the subspace, or at theta_0."""
        self._disable_adapters = not enabled
        self.sub.enabled = enabled
        self.sub.requires_grad_(enabled)


def _wrapped(model: nn.Module, config: SubspaceConfig) -> Subspace:
    """A subspace over the model, whose P is the one that the adapter was made with."""
    sub = Subspace(
        model,
        config.d,
        config.projection,
        config.structure,
        config.scope,
        config.projection_seed,
        include=scope.included(model, config.target_modules),
        lean=config.lean,
        quiet=True,
    )
    try:
        if config.D not in (None, sub.D):
            raise expected(
                "base model",
                f"one of which the adapter moves {config.D} weights, as where it was made",
                f"{sub.D}",
            )
        if config.projection_checksum:
            sub.projection.verify(config.projection_checksum)
    except (IdimError, projections.ProjectionError):
        sub.undo()
        raise
    return sub


def _fresh(model: nn.Module, config: SubspaceConfig) -> tuple[str, ...]:
    """Names of the weights and buffers whose start is saved with the adapter."""
    weights = [name for name, _ in model.named_parameters() if is_fresh(name, config)]
    # A buffer of a fresh module, as the statistics of a norm, is as fresh as its weights.
    owners = {name.rpartition(".")[0] for name in weights}
    buffers = [
        name
        for name, _ in model.named_buffers()
        if is_fresh(name, config) or name.rpartition(".")[0] in owners
    ]
    return (*weights, *buffers)

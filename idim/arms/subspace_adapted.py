"""A model whose weights move along theta_0 + P theta. Loads torch."""

from __future__ import annotations

from typing import Any

from torch import nn

from idim import models
from idim.arms.base import Adapted
from idim.arms.subspace_settings import SubspaceSettings
from idim.groups import Group
from idim.subspace import Subspace


def adapted(
    model: nn.Module, settings: SubspaceSettings, structure: str | None, seed: int
) -> Adapted:
    """Put a model into a subspace, with scales by ``structure``."""
    sub = Subspace(
        model,
        settings.d,
        settings.projection,
        structure,
        settings.scope,
        seed,
        engine=settings.engine,
        lean=settings.lean,
    )
    groups = [Group("theta", (sub.theta,))]
    if sub.scales is not None:
        scales = Group("scales", (sub.scales,), rate="scale_learning_rate", decay=False)
        groups.append(scales)
    info = {
        "d_theta": sub.theta.numel(),
        "m": 0 if sub.scales is None else sub.scales.numel(),
        "D": sub.D,
        "frozen": sub.frozen_size,
        "family": settings.projection,
        "scope": settings.scope,
        "structure": structure,
        "groups": list(sub.layout.groups) if structure else None,
        "projection": sub.projection.identity,
        "projection_checksum": sub.projection.checksum(),
        "engine": sub.projection.engine,
        "head": "inside D",
        "untouched_weights": getattr(sub.projection, "untouched", 0.0),
    }

    def save(folder: str) -> None:
        from idim.peft_plugin import save_subspace

        save_subspace(sub, folder)
        models.save_labels(model, folder)

    def learned() -> dict[str, Any]:
        return {} if sub.scales is None else {"scales": sub.scales.detach().tolist()}

    return Adapted(
        _Called(sub),
        tuple(groups),
        info,
        learned=learned,
        save=save if hasattr(model, "config") else None,
        merge=sub.bake,
        close=sub.undo,
        rounded_away=sub.rounded_away,
    )


class _Called(nn.Module):
    """Owns the subspace and its model, so that train() and eval() reach both."""

    def __init__(self, sub: Subspace):
        super().__init__()
        self.subspace, self.model = sub, sub.model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)

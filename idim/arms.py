"""Ways to adapt a model: each takes a model and returns what to train. One table, ARMS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from idim import models
from idim.errors import IdimError, expected, one_of
from idim.subspace import Subspace


@dataclass
class Adapted:
    """A model made trainable: call ``module``, optimise ``groups``; ``info`` goes into the record; ``close`` when done."""

    module: nn.Module
    groups: dict[str, list[nn.Parameter]]
    info: dict[str, object] = field(default_factory=dict)
    close: Callable[[], object] = lambda: None
    #: The share of the weights' moves that computing in a precision loses; 0 where the weights themselves are trained.
    rounded_away: Callable[[torch.dtype], float] = lambda dtype: 0.0
    #: Writes what was trained into a folder; ends the training.
    save: Callable[[str], object] | None = None

    @property
    def d_total(self) -> int:
        """Trainable numbers, counted from what the optimiser is given."""
        return sum(p.numel() for group in self.groups.values() for p in group)


def full(model: nn.Module, settings: Mapping) -> Adapted:
    """Every weight is trained that its owner did not freeze."""
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise expected(
            "model",
            "at least one weight with requires_grad=True",
            f"{type(model).__name__}, of which all are frozen",
        )
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    return Adapted(
        model,
        {"weights": weights},
        {"frozen": frozen},
        save=getattr(model, "save_pretrained", None),
    )


def did(model: nn.Module, settings: Mapping) -> Adapted:
    """Direct intrinsic dimension: theta_0 + P theta (Li et al. 2018)."""
    return _subspace(model, settings, None)


def said(model: nn.Module, settings: Mapping) -> Adapted:
    """Structure-aware: theta_0 + lambda_layer * P theta, the scales part of d (Aghajanyan et al. 2021)."""
    return _subspace(model, settings, settings.get("structure") or "layer")


def _subspace(model: nn.Module, settings: Mapping, structure: str | None) -> Adapted:
    sub = Subspace(
        model,
        settings["d"],
        settings["projection"],
        structure,
        settings["scope"],
        settings["seed_projection"],
        engine=settings.get("engine", "auto"),
        lean=settings.get("lean", False),
    )
    groups = {"theta": [sub.theta]}
    if sub.scales is not None:
        groups["scales"] = [sub.scales]
    info = {
        "d_theta": sub.theta.numel(),
        "m": 0 if sub.scales is None else sub.scales.numel(),
        "D": sub.D,
        "frozen": sub.frozen_size,
        "family": settings["projection"],
        "scope": settings["scope"],
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

    return Adapted(
        _Called(sub),
        groups,
        info,
        sub.undo,
        sub.rounded_away,
        save if hasattr(model, "config") else None,
    )


class _Called(nn.Module):
    """Owns the subspace and its model, so that train() and eval() reach both."""

    def __init__(self, sub: Subspace):
        super().__init__()
        self.subspace, self.model = sub, sub.model

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs)


def lora(model: nn.Module, settings: Mapping) -> Adapted:
    """LoRA through peft (Hu et al. 2021), on peft's targets for the model or else on every linear
    layer. Output layers and fresh weights are trained freely, and counted."""
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    rank = settings["rank"]
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise expected("rank", "a whole number of at least 1", rank)
    alpha = settings.get("lora_alpha") or 2 * rank
    heads = _heads(model)
    inside = tuple(f"{name}." for name in heads)  # of no names nothing begins with
    targets, kind = (
        list(settings.get("targets") or ()),
        getattr(getattr(model, "config", None), "model_type", ""),
    )
    if not targets and kind not in TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING:
        targets = [models.ALL_LINEAR]
    found: dict[str, None] = {}
    for target in targets:
        names = [target]
        if models.is_pattern(target):
            matched = models.matching(model, target)
            names = [name for name in matched if not f"{name}.".startswith(inside)]
        if not names:
            raise expected("targets", "a pattern of names of modules that LoRA can adapt", target)
        found.update(dict.fromkeys(names))
    targets = list(found)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=targets or None,
        modules_to_save=heads or None,
        lora_dropout=0.0,
    )
    # peft draws its factors from torch's generator; ours is forked around it, so no other draw is disturbed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed_projection"])
        try:
            wrapped = get_peft_model(model, config)
        except ValueError as error:
            said = (str(error).splitlines() or [""])[0][:300]
            raise IdimError(
                f"targets: expected names of modules that LoRA can adapt; {said}"
            ) from None
    params = [p for p in wrapped.parameters() if p.requires_grad]
    info = {
        "rank": rank,
        "lora_alpha": alpha,
        "alpha_rule": f"alpha = {alpha / rank:g} r",
        "targets": sorted(
            [config.target_modules]
            if isinstance(config.target_modules, str)
            else config.target_modules or []
        ),
        "head": "trained freely, counted" if heads else "none",
    }

    def save(folder: str) -> None:
        wrapped.save_pretrained(folder)
        models.save_labels(model, folder)

    return Adapted(wrapped, {"lora": params}, info, save=save if hasattr(model, "config") else None)


def _heads(model: nn.Module) -> list[str]:
    """Names of the layers that LoRA trains freely: a transformers model's output layers and what
    its checkpoint lacks, or a plain net's last linear layer."""
    if hasattr(model, "config"):
        return models.layers(model, models.fresh(model))
    linear = [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    return linear[-1:] if len(linear) > 1 else []


ARMS: dict[str, Callable[[nn.Module, Mapping], Adapted]] = {
    "full": full,
    "did": did,
    "said": said,
    "lora": lora,
}
#: Arms measured over d, for which d90 is defined.
SUBSPACE_ARMS = ("did", "said")


def build(arm: str, model: nn.Module, settings: Mapping) -> Adapted:
    if arm not in ARMS:
        raise one_of("arm", ARMS, arm)
    return ARMS[arm](model, settings)

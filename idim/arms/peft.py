"""Arms that peft brings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idim.arms.base import Adapted, Arm, ArmSettings, ModelFacts, Prior, Size
from idim.errors import IdimError, expected
from idim.groups import Group
from idim.protocols import LORA_FACTOR
from idim.values import fields
from idim.values.fields import Field, same
from idim.values.record import Record

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoraSettings(ArmSettings):
    """``lora_alpha`` 0 is twice the rank. No targets: peft's, or else every linear layer."""

    rank: int = 0
    lora_alpha: int = 0
    targets: tuple[str, ...] = ()


_FIELDS: dict[str, Field] = {
    "settings.rank": fields.POSITIVE,
    "adaptation.rank": fields.POSITIVE,
    "adaptation.alpha_rule": fields.TEXT,
    "adaptation.targets": fields.TEXTS,
}


class Lora(Arm):
    name = "lora"
    title = "LoRA"
    about = (
        "LoRA through peft (Hu et al. 2021), on peft's targets for the model or else on every "
        "linear layer. Output layers and fresh weights are trained freely, and counted."
    )
    source = "Hu et al. 2021"
    Settings = LoraSettings
    size = Size("rank", "r")
    rate_flag = "lora_learning_rate"
    # The rate falls as the rank grows where alpha is twice the rank.
    prior = Prior(0.25, 0.25, math.log(LORA_FACTOR), 0.7)

    def label(self, settings: LoraSettings) -> str:
        alpha = f"alpha{settings.lora_alpha}" if settings.lora_alpha else "2r"
        return "/".join([self.name, ",".join(settings.targets) or "default", alpha])

    def rate(self, full: float, size: int, facts: ModelFacts, settings: LoraSettings) -> float:
        return LORA_FACTOR * full

    def check(self, record: Record) -> None:
        said, settings = dict(record.training.adaptation), dict(record.spec.settings)
        fields.check({"settings": settings, "adaptation": said}, _FIELDS)
        same("rank and the configuration's rank", said["rank"], settings["rank"])

    def adapt(self, model: nn.Module, settings: LoraSettings, seed: int) -> Adapted:
        import torch
        from peft import LoraConfig, get_peft_model

        from idim import models

        rank = settings.rank
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise expected("rank", "a whole number of at least 1", rank)
        alpha = settings.lora_alpha or 2 * rank
        heads = _heads(model)
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=_targets(model, settings.targets, heads) or None,
            modules_to_save=heads or None,
            lora_dropout=0.0,
        )
        # peft draws its factors from torch's generator. It is forked, so no other draw moves.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                wrapped = get_peft_model(model, config)
            except ValueError as error:
                said = (str(error).splitlines() or [""])[0][:300]
                raise IdimError(
                    f"targets: expected names of modules that LoRA can adapt; {said}"
                ) from None
        adapted = config.target_modules or []
        info = {
            "rank": rank,
            "lora_alpha": alpha,
            "alpha_rule": f"alpha = {alpha / rank:g} r",
            "targets": sorted([adapted] if isinstance(adapted, str) else adapted),
            "head": "trained freely, counted" if heads else "none",
        }

        def save(folder: str) -> None:
            wrapped.save_pretrained(folder)
            models.save_labels(model, folder)

        params = tuple(p for p in wrapped.parameters() if p.requires_grad)
        saves = save if hasattr(model, "config") else None
        return Adapted(wrapped, (Group("factors", params),), info, save=saves)


def _heads(model: nn.Module) -> list[str]:
    """Names of the layers that are trained freely.

    They are a transformers model's output layers and what its checkpoint lacks, or a plain net's
    last linear layer.
    """
    from torch import nn

    from idim import models

    if hasattr(model, "config"):
        return models.layers(model, models.fresh(model))
    linear = [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    return linear[-1:] if len(linear) > 1 else []


def _targets(model: nn.Module, asked: tuple[str, ...], heads: list[str]) -> list[str]:
    """Names of the modules to adapt; none where peft knows them for this kind of model."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    from idim import models

    inside = tuple(f"{name}." for name in heads)  # of no names nothing begins with
    kind = getattr(getattr(model, "config", None), "model_type", "")
    if not asked and kind not in TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING:
        asked = (models.ALL_LINEAR,)
    found: dict[str, None] = {}
    for target in asked:
        names = [target]
        if models.is_pattern(target):
            matched = models.matching(model, target)
            names = [name for name in matched if not f"{name}.".startswith(inside)]
        if not names:
            raise expected("targets", "a pattern of names of modules that LoRA can adapt", target)
        found.update(dict.fromkeys(names))
    return list(found)

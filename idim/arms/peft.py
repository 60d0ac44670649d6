"""Arms that peft brings. One table, ``METHODS``, with one row a method.

A row names peft's configuration class and says what to put into it. Importing this loads neither
torch nor peft.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from idim.arms.base import Adapted, Arm, Prior, Size
from idim.errors import IdimError, expected, first_line
from idim.groups import Group
from idim.protocols import LORA_FACTOR
from idim.values import fields
from idim.values.arm import ArmSettings, ModelFacts
from idim.values.fields import Field, same
from idim.values.record import Record

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PeftSettings(ArmSettings):
    """No targets: peft's for the model, or else every linear layer."""

    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoraSettings(PeftSettings):
    """``lora_alpha`` 0 is twice the rank."""

    rank: int = 0
    lora_alpha: int = 0

    @property
    def alpha(self) -> int:
        """LoRA's alpha, also where none was given."""
        return self.lora_alpha or 2 * self.rank


@dataclass(frozen=True, eq=False, kw_only=True)
class Peft(Arm):
    """One method of peft: a row of the table.

    Output layers and fresh weights are trained freely, and counted.
    """

    name: str
    title: str
    about: str
    source: str
    #: The name of its configuration class in peft.
    config: str
    #: From the settings, the modules asked for and the seed: what the configuration is told beside
    #: ``target_modules`` and ``modules_to_save``. No modules: peft chooses those of the model.
    options: Callable[[Any, list[str], int], Mapping[str, Any]] = lambda told, asked, seed: {}
    Settings: type[PeftSettings] = PeftSettings
    size: Size | None = None
    #: From the facts of a model: the largest size. The smallest is 1.
    largest: Callable[[ModelFacts], int] = lambda facts: facts.D
    #: The rate before tuning, as a multiple of full fine-tuning's.
    factor: float = 1.0
    prior: Prior = Arm.prior
    rate_flag: str = Arm.rate_flag
    #: From the settings: what a record says of them beside the size, and what each must be.
    notes: Callable[[Any], Mapping[str, Any]] = lambda told: {}
    noted: Mapping[str, Field] = field(default_factory=dict)
    #: From the settings: what tells its curves apart beside the targets.
    variant: Callable[[Any], str] = lambda told: ""
    #: Whether peft can fold what was trained into the model's own weights.
    merges: bool = True

    def label(self, settings: PeftSettings) -> str:
        parts = [self.name, ",".join(settings.targets) or "default", self.variant(settings)]
        return "/".join(part for part in parts if part)

    def limits(self, facts: ModelFacts) -> tuple[int, int]:
        return 1, self.largest(facts)

    def rate(self, full: float, size: int, facts: ModelFacts, settings: PeftSettings) -> float:
        return self.factor * full

    def check(self, record: Record) -> None:
        said, settings = dict(record.training.adaptation), dict(record.spec.settings)
        known: dict[str, Field] = {"adaptation.targets": fields.TEXTS}
        known |= {f"adaptation.{name}": what for name, what in self.noted.items()}
        if self.size:
            size = self.size.name
            known |= {f"{where}.{size}": fields.POSITIVE for where in ("settings", "adaptation")}
        fields.check({"settings": settings, "adaptation": said}, known)
        if self.size:
            same(f"{size} and the configuration's {size}", said[size], settings[size])
        super().check(record)

    def adapt(self, model: nn.Module, settings: PeftSettings, seed: int) -> Adapted:
        import peft
        import torch

        from idim import models

        info: dict[str, Any] = {}
        if self.size:
            size = getattr(settings, self.size.name)
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise expected(self.size.name, "a whole number of at least 1", size)
            info[self.size.name] = size
        heads = _heads(model)
        make = getattr(peft, self.config)
        asked = _targets(model, settings.targets, heads, self)
        config = make(
            **self.options(settings, asked, seed),
            target_modules=asked or None,
            modules_to_save=heads or None,
        )
        # peft draws from torch's generator. It is forked, so no other draw moves.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                wrapped = peft.get_peft_model(model, config)
            except ValueError as error:
                raise IdimError(
                    f"targets: expected names of modules that {self.shown} can adapt; "
                    f"{first_line(error)}"
                ) from None
        adapted = config.target_modules or []
        info |= {
            **self.notes(settings),
            "targets": sorted([adapted] if isinstance(adapted, str) else adapted),
            "head": "trained freely, counted" if heads else "none",
        }

        def save(folder: str) -> None:
            wrapped.save_pretrained(folder)
            models.save_labels(model, folder)

        params = tuple(p for p in wrapped.parameters() if p.requires_grad)
        saves = save if hasattr(model, "config") else None
        return Adapted(wrapped, (Group("factors", params),), info, save=saves)


METHODS = (
    Peft(
        name="lora",
        title="LoRA",
        about="LoRA through peft (Hu et al. 2021), on peft's targets for the model or else on "
        "every linear layer. Output layers and fresh weights are trained freely, and counted.",
        source="Hu et al. 2021",
        config="LoraConfig",
        options=lambda told, asked, seed: {
            "r": told.rank,
            "lora_alpha": told.alpha,
            "lora_dropout": 0.0,
        },
        Settings=LoraSettings,
        size=Size("rank", "r"),
        largest=lambda facts: facts.width,
        factor=LORA_FACTOR,
        # The rate falls as the rank grows where alpha is twice the rank.
        prior=Prior(0.25, 0.25, math.log(LORA_FACTOR), 0.7),
        rate_flag="lora_learning_rate",
        notes=lambda told: {
            "lora_alpha": told.alpha,
            "alpha_rule": f"alpha = {told.alpha / told.rank:g} r",
        },
        noted={"alpha_rule": fields.TEXT},
        variant=lambda told: f"alpha{told.lora_alpha}" if told.lora_alpha else "2r",
    ),
)


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


def _targets(model: nn.Module, asked: tuple[str, ...], heads: list[str], arm: Peft) -> list[str]:
    """Names of the modules to adapt; none where peft knows them for this kind of model.

    Args:
        model: the model.
        asked: names or patterns.
        heads: the layers that are trained freely. A pattern does not take them.
        arm: the method.

    Raises:
        IdimError: where a pattern matches nothing.
    """
    from peft.utils import constants

    from idim import models

    inside = tuple(f"{name}." for name in heads)  # of no names nothing begins with
    kind = getattr(getattr(model, "config", None), "model_type", "")
    method = arm.config.removesuffix("Config").upper()
    known = getattr(constants, f"TRANSFORMERS_MODELS_TO_{method}_TARGET_MODULES_MAPPING", {})
    if not asked and kind not in known:
        asked = (models.ALL_LINEAR,)
    found: dict[str, None] = {}
    for target in asked:
        names = [target]
        if models.is_pattern(target):
            matched = models.matching(model, target)
            names = [name for name in matched if not f"{name}.".startswith(inside)]
        if not names:
            what = f"a pattern of names of modules that {arm.shown} can adapt"
            raise expected("targets", what, target)
        found.update(dict.fromkeys(names))
    return list(found)

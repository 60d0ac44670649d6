"""An arm that peft brings: one row of ``METHODS`` makes one.

Importing this loads neither torch nor peft.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from idim.arms.base import Adapted, Arm, Prior, Size
from idim.arms.heads import heads
from idim.errors import IdimError, expected, first_line
from idim.groups import Group
from idim.values import fields
from idim.values.arm import ArmSettings, ModelFacts
from idim.values.fields import Field, same
from idim.values.record import Record

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

#: Among the targets: those that peft knows for this kind of model.
DEFAULT = "default"
#: What every method adapts where the user says nothing (``idim.models.ALL_LINEAR``).
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class PeftSettings(ArmSettings):
    """No targets: peft's for the model, or else every linear layer."""

    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What a row makes a configuration of.

    Attributes:
        model: as it came.
        settings: of the arm.
        targets: names of the modules to adapt. None: peft chooses those of the model.
        seed: of all that the method draws.
        size: the value of its size; 0 where it has none.
    """

    model: nn.Module
    settings: Any
    targets: list[str]
    seed: int
    size: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Peft(Arm):
    """One method of peft: a row of the table.

    Output layers and fresh weights are trained freely, and counted.
    """

    name: str
    title: str
    about: str
    source: str
    frees_head: bool = True
    #: The name of its configuration class, and where that is.
    config: str
    module: str = "peft"
    #: What the configuration is told beside ``target_modules`` and ``modules_to_save``.
    options: Callable[[Asked], Mapping[str, Any]] = lambda asked: {}
    Settings: type[PeftSettings] = PeftSettings
    size: Size | None = None
    #: From the facts of a model: the largest size. The smallest is 1.
    largest: Callable[[ModelFacts], int] = lambda facts: facts.D
    #: The sizes to try where a user names none.
    usual: tuple[int, ...] = (1, 2, 4, 8, 16)
    #: The rate before tuning, as a multiple of full fine-tuning's.
    factor: float = 1.0
    #: From the settings: what is believed of its best rate; none: a rate near ``factor``, within a
    #: factor 4 or so.
    believed: Callable[[Any], Prior] | None = None
    #: From what a user asked for: settings of other names or meanings.
    reads: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda values: {}
    rate_flag: str = Arm.rate_flag
    #: From the settings: what a record says of them beside the size, and what each must be.
    notes: Callable[[Any], Mapping[str, Any]] = lambda told: {}
    noted: Mapping[str, Field] = field(default_factory=dict)
    #: From the settings: what tells its curves apart beside the targets.
    variant: Callable[[Any], str] = lambda told: ""
    #: Whether peft can fold what was trained into the model's own weights.
    merges: bool = True
    #: The modules that it adapts where the user names none; without it every linear layer.
    own_targets: Callable[[nn.Module], list[str]] | None = None
    #: Whether its configuration takes ``target_modules``.
    adapts_modules: bool = True
    #: The layers that are trained whole beside the head.
    whole: Callable[[nn.Module], list[str]] = lambda model: []
    #: Changes the model before peft sees it. Raises for one that the method cannot carry.
    prepare: Callable[[Asked], None] = lambda asked: None
    #: Changes what the loop is given: groups, hooks, sizes.
    dress: Callable[[PeftModel, Asked, Adapted], None] = lambda wrapped, asked, adapted: None

    def prior(self, settings: PeftSettings) -> Prior:
        if self.believed is not None:
            return self.believed(settings)
        return Prior(0.0, 0.5, math.log(self.factor), 1.4)

    def told(self, values: Mapping[str, Any]) -> PeftSettings:
        usual = () if self.own_targets else (ALL_LINEAR,)
        targets = tuple(values.get("targets", ())) or usual
        if targets == (DEFAULT,):
            targets = ()
        return self.Settings.of({**values, "targets": targets, **self.reads(values)})

    def label(self, settings: PeftSettings) -> str:
        targets = ",".join(settings.targets) or ("" if self.own_targets else DEFAULT)
        return "/".join(part for part in (self.name, targets, self.variant(settings)) if part)

    def limits(self, facts: ModelFacts) -> tuple[int, int]:
        return 1, max(1, self.largest(facts))

    def usual_sizes(self, facts: ModelFacts) -> tuple[int, ...]:
        low, high = self.limits(facts)
        return tuple(size for size in self.usual if low <= size <= high)

    def first_size(self, facts: ModelFacts) -> int:
        return self.usual[len(self.usual) // 2]

    def tuning_sizes(self, facts: ModelFacts) -> tuple[int, int]:
        return self.usual[0], self.usual[-2]

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

        size = getattr(settings, self.size.name) if self.size else 0
        if self.size and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise expected(self.size.name, "a whole number of at least 1", size)
        head = heads(model)
        targets = self._targets(model, settings.targets, head)
        asked = Asked(model, settings, targets, seed, size)
        with torch.random.fork_rng(devices=[]):
            self.prepare(asked)
        make = getattr(import_module(self.module), self.config)
        trained = [*head, *self.whole(model)]
        given = {"target_modules": targets or None, "modules_to_save": trained or None}
        takes = {f.name for f in dataclasses.fields(make)}
        if not self.adapts_modules:
            del given["target_modules"]
        config = make(**self.options(asked), **{k: v for k, v in given.items() if k in takes})
        # peft draws from torch's generator. It is forked, so no other draw moves.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # Of norms, which an arm trains on purpose.
            warnings.filterwarnings("ignore", "Unsupported layer type")
            torch.manual_seed(seed)
            try:
                wrapped = peft.get_peft_model(model, config)
            except (ValueError, NotImplementedError, TypeError, AttributeError) as error:
                named = self.adapts_modules and (settings.targets or not self.own_targets)
                what = "targets: expected names of modules" if named else "model: expected one"
                raise IdimError(
                    f"{what} that {self.shown} can adapt; {first_line(error)}"
                ) from None
        adapts = getattr(config, "target_modules", None) or []
        info = {
            **({self.size.name: size} if self.size else {}),
            **self.notes(settings),
            "targets": sorted([adapts] if isinstance(adapts, str) else adapts),
            "head": "trained freely, counted" if head else "none",
        }

        def save(folder: str) -> None:
            wrapped.save_pretrained(folder)
            models.save_labels(model, folder)

        params = tuple(p for p in wrapped.parameters() if p.requires_grad)
        saves = save if hasattr(model, "config") else None
        merge = wrapped.merge_and_unload if self.merges else None
        adapted = Adapted(wrapped, (Group("factors", params),), info, save=saves, merge=merge)
        self.dress(wrapped, asked, adapted)
        return adapted

    def _targets(self, model: nn.Module, asked: tuple[str, ...], head: list[str]) -> list[str]:
        """Names of the modules to adapt; none where peft knows them for this kind of model.

        Args:
            model: the model.
            asked: names or patterns.
            head: the layers that are trained freely. A pattern does not take them.

        Raises:
            IdimError: where a pattern matches nothing.
        """
        from peft.utils import constants

        from idim import models

        if not self.adapts_modules:
            return []
        inside = tuple(f"{name}." for name in head)  # of no names nothing begins with
        if self.own_targets and not asked:
            found = [n for n in self.own_targets(model) if not f"{n}.".startswith(inside)]
            if not found:
                what = f"one with modules that {self.shown} can adapt"
                raise expected("model", what, type(model).__name__)
            return found
        kind = getattr(getattr(model, "config", None), "model_type", "")
        method = self.config.removesuffix("Config").upper()
        known = getattr(constants, f"TRANSFORMERS_MODELS_TO_{method}_TARGET_MODULES_MAPPING", {})
        if not asked and kind not in known:
            asked = (ALL_LINEAR,)
        named: dict[str, None] = {}
        for target in asked:
            names = [target]
            if models.is_pattern(target):
                matched = models.matching(model, target)
                names = [name for name in matched if not f"{name}.".startswith(inside)]
            if not names:
                what = f"a pattern of names of modules that {self.shown} can adapt"
                raise expected("targets", what, target)
            named.update(dict.fromkeys(names))
        return list(named)

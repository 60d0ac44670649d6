"""Arms that train some of the model's own weights, and its head: the head alone, BitFit, the norms,
the last layers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idim.arms.base import Adapted, Arm, Prior, Size
from idim.arms.heads import heads
from idim.errors import expected
from idim.groups import Group
from idim.values.arm import ArmSettings, ModelFacts

if TYPE_CHECKING:
    from torch import nn


#: The best rate of few numbers lies some ten times above that of all.
_FEW = Prior(0.0, 0.5, math.log(10), 1.5)


class Part(Arm):
    """What they have in common: all other weights are frozen while it trains."""

    #: What it trains beside the head, in words.
    trains: str

    def rate(self, full: float, size: int, facts: ModelFacts, settings: ArmSettings) -> float:
        return round(math.exp(self.belief.offset), 6) * full

    def adapt(self, model: nn.Module, settings: Any, seed: int) -> Adapted:
        head = heads(model)
        named = dict(model.named_parameters())
        wanted = {*self.chosen(model, settings, head), *_within(head, named)}
        before = [(p, p.requires_grad) for p in named.values()]
        params = tuple(p for name, p in named.items() if name in wanted and p.requires_grad)
        if not params:
            raise expected("model", f"one with {self.trains}, to train", type(model).__name__)
        for name, p in named.items():
            p.requires_grad_(name in wanted and p.requires_grad)

        def close() -> None:
            for p, trained in before:
                p.requires_grad_(trained)

        info = {
            **self.said(settings),
            "head": "trained freely, counted" if head else "none",
            "frozen": sum(p.numel() for p in named.values()) - sum(p.numel() for p in params),
        }
        save = getattr(model, "save_pretrained", None)
        groups = (Group("weights", params),)
        return Adapted(model, groups, info, save=save, merge=lambda: model, close=close)

    @abstractmethod
    def chosen(self, model: nn.Module, settings: Any, head: list[str]) -> Iterable[str]:
        """Names of the parameters that are trained beside the head's."""

    def said(self, settings: Any) -> dict[str, Any]:
        """What a record says of its size."""
        return {}


class Head(Part):
    name = "head"
    title = "Head"
    about = "Only the output layers and fresh weights are trained: a linear probe."
    source = "a linear probe"
    trains = "output layers or fresh weights"
    belief = _FEW

    def chosen(self, model: nn.Module, settings: Any, head: list[str]) -> Iterable[str]:
        return ()


class BitFit(Part):
    name = "bitfit"
    title = "BitFit"
    about = "Only the biases are trained, and the head (Ben Zaken et al. 2022)."
    source = "Ben Zaken et al. 2022"
    trains = "biases"
    belief = _FEW

    def chosen(self, model: nn.Module, settings: Any, head: list[str]) -> Iterable[str]:
        found = [name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "bias"]
        if not set(found) - set(_within(head, found)):
            # Only its head has some, so that it would be the head alone.
            raise expected("model", "one with biases outside its head", type(model).__name__)
        return found


@dataclass(frozen=True)
class LayersSettings(ArmSettings):
    layers: int = 0


class Layers(Part):
    name = "topk"
    title = "Last layers"
    about = "The last k layers are trained, and the head."
    source = "partial fine-tuning"
    trains = "layers"
    Settings = LayersSettings
    size = Size("layers", "k")
    frees_head = True

    def limits(self, facts: ModelFacts) -> tuple[int, int]:
        return 1, max(1, facts.depth)

    def tuning_sizes(self, facts: ModelFacts) -> tuple[int, int]:
        return 1, max(1, facts.depth // 2)

    def first_size(self, facts: ModelFacts) -> int:
        return 1

    def usual_sizes(self, facts: ModelFacts) -> tuple[int, ...]:
        return tuple(range(1, self.limits(facts)[1] + 1))

    def chosen(self, model: nn.Module, settings: LayersSettings, head: list[str]) -> Iterable[str]:
        from idim import models

        outside = [b for b in models.blocks(model) if b not in head]
        if not 1 <= settings.layers <= len(outside):
            raise expected("layers", f"a number from 1 to {len(outside)}", settings.layers)
        return _within(outside[-settings.layers :], dict(model.named_parameters()))

    def said(self, settings: LayersSettings) -> dict[str, Any]:
        return {"layers": settings.layers}


def _within(modules: Iterable[str], names: Iterable[str]) -> list[str]:
    """Which of these parameters lie in one of the modules."""
    inside = tuple(f"{module}." for module in modules)
    return [name for name in names if name.startswith(inside)]

"""Training in a random subspace: theta_0 + P theta, with or without scales."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

from idim.arms.base import DIMENSION, Adapted, Arm, Prior
from idim.arms.subspace_settings import SubspaceSettings
from idim.values import fields
from idim.values.arm import ModelFacts
from idim.values.fields import Field, Unfit, same
from idim.values.record import Record

if TYPE_CHECKING:
    from torch import nn

#: The scope in which each tensor has unit columns of its own (``projections.TENSOR``).
TENSOR = "tensor"
#: The d at which rates are tried first, in square roots of D.
_FIRST = 4.0
_FIELDS: dict[str, Field] = {
    "settings.d": fields.POSITIVE,
    "adaptation.family": fields.TEXT,
    "adaptation.scope": fields.TEXT,
    "adaptation.projection_checksum?": fields.TEXT,
    "adaptation.projection?": fields.OBJECT,
    "adaptation.D": fields.POSITIVE,
    "adaptation.d_theta": fields.POSITIVE,
    "adaptation.m": fields.WHOLE,
}


class Subspace(Arm):
    """What both arms have in common."""

    Settings = SubspaceSettings
    size = DIMENSION
    carries_all = True
    spans = True
    rate_flag = "subspace_learning_rate"
    # A slope near 3/4 fits what was measured: MNIST FC, MiniLM on three tasks, digits.
    belief = Prior(0.75, 0.1, -0.25, 0.4)

    def label(self, settings: SubspaceSettings) -> str:
        return "/".join([self.name, settings.projection, settings.scope])

    def limits(self, facts: ModelFacts) -> tuple[int, int]:
        m = self.scales(facts)
        return m + 1, facts.D + m

    def usual_sizes(self, facts: ModelFacts) -> tuple[int, ...]:
        return ()

    def first_size(self, facts: ModelFacts) -> int:
        # A quarter of sqrt(D), the order of published values, as a power of two.
        first: int = 2 ** max(1, round(math.log2(math.sqrt(facts.D) / 4)))
        return first

    def rate(self, full: float, size: int, facts: ModelFacts, settings: SubspaceSettings) -> float:
        norm = math.sqrt(facts.tensors) if settings.scope == TENSOR else 1.0
        rate: float = full * (facts.D / (size - self.scales(facts))) ** facts.exponent / norm
        return rate

    def place(self, size: int, facts: ModelFacts) -> float:
        return math.log(facts.D / (size - self.scales(facts)))

    def shift(self, facts: ModelFacts, settings: SubspaceSettings) -> float:
        # Unit columns in each of T tensors give P a norm sqrt(T) times as large, so the same move
        # takes a smaller rate.
        return -0.5 * math.log(facts.tensors) if settings.scope == TENSOR else 0.0

    def tuning_sizes(self, facts: ModelFacts) -> tuple[int, int]:
        return self.scales(facts) + 4, round(_FIRST * math.sqrt(facts.D))

    def numbers(self, settings: SubspaceSettings, D: int) -> int:
        return settings.d

    def check(self, record: Record) -> None:
        said, d, D = dict(record.training.adaptation), record.training.d_total, record.setting.D
        settings = dict(record.spec.settings)
        fields.check({"settings": settings, "adaptation": said}, _FIELDS)
        same("d_total and the configuration's d", d, settings["d"])
        same("d_total and the sum of d_theta and m", d, said["d_theta"] + said["m"])
        if d > D + said["m"]:
            raise Unfit(f"d_total: expected at most D + m, {D + said['m']}; got {d}")

    def adapt(self, model: nn.Module, settings: SubspaceSettings, seed: int) -> Adapted:
        from idim.arms.subspace_adapted import adapted

        return adapted(model, settings, self.structure(settings), seed)

    @abstractmethod
    def structure(self, settings: SubspaceSettings) -> str | None:
        """By what the scales are grouped; None for no scales."""


class Did(Subspace):
    name = "did"
    about = "Direct intrinsic dimension: theta_0 + P theta (Li et al. 2018)."
    source = "Li et al. 2018"

    def structure(self, settings: SubspaceSettings) -> str | None:
        return None


class Said(Subspace):
    name = "said"
    about = (
        "Structure-aware: theta_0 + lambda_layer * P theta, the scales part of d "
        "(Aghajanyan et al. 2021)."
    )
    source = "Aghajanyan et al. 2021"

    def label(self, settings: SubspaceSettings) -> str:
        return f"{super().label(settings)}/{settings.structure}"

    def scales(self, facts: ModelFacts) -> int:
        return facts.groups

    def structure(self, settings: SubspaceSettings) -> str | None:
        return settings.structure

"""Full fine-tuning: what every other arm is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idim.arms.base import Adapted, Arm
from idim.errors import expected
from idim.groups import Group
from idim.values.arm import ArmSettings
from idim.values.fields import Unfit
from idim.values.record import Record

if TYPE_CHECKING:
    from torch import nn


class Full(Arm):
    name = "full"
    about = "Every weight is trained that its owner did not freeze."
    source = "full fine-tuning"
    carries_all = True
    rate_flag = "learning_rate"

    def adapt(self, model: nn.Module, settings: ArmSettings, seed: int) -> Adapted:
        weights = tuple(p for p in model.parameters() if p.requires_grad)
        if not weights:
            raise expected(
                "model",
                "at least one weight with requires_grad=True",
                f"{type(model).__name__}, of which all are frozen",
            )
        frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        save = getattr(model, "save_pretrained", None)
        groups = (Group("weights", weights),)
        return Adapted(model, groups, {"frozen": frozen}, save=save, merge=lambda: model)

    def numbers(self, settings: ArmSettings, D: int) -> int:
        return D

    def check(self, record: Record) -> None:
        D, d_total = record.setting.D, record.training.d_total
        if d_total > D:
            raise Unfit(f"d_total: expected at most D, {D}; got {d_total}")

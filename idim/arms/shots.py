"""In-context learning: the untouched model reads k examples before each text. No training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idim.arms.base import Adapted, Arm, Size
from idim.errors import expected
from idim.values.arm import ArmSettings, ModelFacts
from idim.values.record import Record

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ShotsSettings(ArmSettings):
    shots: int = 0


class Shots(Arm):
    name = "icl"
    title = "In context"
    about = (
        "No training: the model reads k examples of the training split, drawn anew for each run, "
        "before each text (Brown et al. 2020). For decoders and completions."
    )
    source = "Brown et al. 2020"
    Settings = ShotsSettings
    size = Size("shots", "k")
    merges = False
    trainless = True

    def limits(self, facts: ModelFacts) -> tuple[int, int]:
        return 1, 64

    def frontier_sizes(self, facts: ModelFacts) -> tuple[int, ...]:
        return 1, 2, 4, 8

    def first_size(self, facts: ModelFacts) -> int:
        return 2

    def adapt(self, model: nn.Module, settings: ShotsSettings, seed: int) -> Adapted:
        from idim import models
        from idim.tuners.shots import Shown

        if models.is_encoder_decoder(model) or not getattr(model, "can_generate", bool)():
            raise expected("model", "a decoder that continues a text", type(model).__name__)
        shown = Shown(model)

        def read(task: Any) -> None:
            found, most = task.shots(settings.shots, seed), models.positions_of(model.config)
            if most and found.most > most:
                what = f"examples and a text of at most {most} tokens, as the model has places for"
                raise expected("shots", what, f"up to {found.most} with {settings.shots}")
            shown.show(found.tokens, found.at)

        return Adapted(shown, (), {"shots": settings.shots}, read=read)

    def check(self, record: Record) -> None:
        """It trains nothing, which is right."""

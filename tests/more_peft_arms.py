"""Two more methods of peft, each one row: (IA)3, which has no size, and VeRA."""

from __future__ import annotations

from dataclasses import dataclass

from idim.arms.base import Size
from idim.arms.peft import Peft, PeftSettings


@dataclass(frozen=True)
class VeraSettings(PeftSettings):
    rank: int = 0


IA3 = Peft(
    name="ia3",
    title="(IA)3",
    about="A factor for each output of a layer (Liu et al. 2022).",
    source="Liu et al. 2022",
    config="IA3Config",
    options=lambda told, asked, seed: {"feedforward_modules": [] if asked else None},
)
VERA = Peft(
    name="vera",
    title="VeRA",
    about="LoRA's factors are random and frozen, and scaled (Kopiczko et al. 2024).",
    source="Kopiczko et al. 2024",
    config="VeraConfig",
    options=lambda told, asked, seed: {"r": told.rank, "projection_prng_key": seed},
    Settings=VeraSettings,
    size=Size("rank", "r"),
)

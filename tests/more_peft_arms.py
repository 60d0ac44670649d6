"""Two more methods of peft, each one row: HRA and DeLoRA."""

from __future__ import annotations

from idim.arms.base import RANK
from idim.arms.methods import RankSettings
from idim.arms.peft import Peft

HRA = Peft(
    name="hra",
    title="HRA",
    about="A chain of reflections, which turns each weight (Yuan et al. 2024).",
    source="Yuan et al. 2024",
    config="HRAConfig",
    options=lambda asked: {"r": 2 * asked.size},
    Settings=RankSettings,
    size=RANK,
)
DELORA = Peft(
    name="delora",
    title="DeLoRA",
    about="LoRA with its direction apart from its strength (Bini et al. 2025).",
    source="Bini et al. 2025",
    config="DeloraConfig",
    options=lambda asked: {"r": asked.size},
    Settings=RankSettings,
    size=RANK,
)

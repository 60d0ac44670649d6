"""Makes the subspace known to peft: ``get_peft_model(model, SubspaceConfig(d=10_000))``.

Importing this file does it, and ``idim`` imports the file as soon as peft is imported. Saved models
name the classes by this path, so it stays.
"""

from __future__ import annotations

from idim.subspace.adapter.config import NAME, SAVED_NAME, SubspaceConfig, is_fresh
from idim.subspace.adapter.layer import SubspaceLayer
from idim.subspace.adapter.saving import save_subspace
from idim.subspace.adapter.tuner import PREFIX, SubspaceTuner
from idim.tuners.bottleneck import BottleneckConfig
from idim.tuners.register import register

#: The name in pickles that older versions wrote.
Held = SubspaceLayer

__all__ = [
    "NAME",
    "BottleneckConfig",
    "Held",
    "SubspaceConfig",
    "SubspaceLayer",
    "SubspaceTuner",
    "is_fresh",
    "save_subspace",
]

register(NAME, SubspaceConfig, SubspaceTuner, PREFIX, saved=SAVED_NAME)

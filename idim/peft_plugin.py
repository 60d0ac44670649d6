"""Makes the subspace known to peft: ``get_peft_model(model, SubspaceConfig(d=10_000))``.

Importing this file does it, and ``idim`` imports the file as soon as peft is imported. Saved models
name the classes by this path, so it stays.
"""

from __future__ import annotations

from typing import Any

from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)

from idim.subspace.adapter.config import NAME, SAVED_NAME, SubspaceConfig, is_fresh
from idim.subspace.adapter.layer import SubspaceLayer
from idim.subspace.adapter.saving import save_subspace
from idim.subspace.adapter.tuner import PREFIX, SubspaceTuner
from idim.tuners.bottleneck import BottleneckConfig

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

# peft's tables take a plain string where its own methods have a member of an enum.
_configs: dict[Any, Any] = PEFT_TYPE_TO_CONFIG_MAPPING
_tuners: dict[Any, Any] = PEFT_TYPE_TO_TUNER_MAPPING
_prefixes: dict[Any, Any] = PEFT_TYPE_TO_PREFIX_MAPPING
_configs[NAME] = _configs[SAVED_NAME] = SubspaceConfig
_tuners[NAME] = SubspaceTuner
_prefixes[NAME] = PREFIX

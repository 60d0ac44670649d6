"""Makes a method of ours known to peft."""

from __future__ import annotations

from typing import Any

from peft import PeftConfig
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner

# peft's tables take a plain string where its own methods have a member of an enum.
_CONFIGS: dict[Any, Any] = PEFT_TYPE_TO_CONFIG_MAPPING
_TUNERS: dict[Any, Any] = PEFT_TYPE_TO_TUNER_MAPPING
_PREFIXES: dict[Any, Any] = PEFT_TYPE_TO_PREFIX_MAPPING


def register(
    name: str, config: type[PeftConfig], tuner: type[BaseTuner], prefix: str, saved: str = ""
) -> None:
    """Enter a method into peft's three tables.

    Args:
        name: what ``peft_type`` is.
        config: what ``get_peft_model`` is given.
        tuner: what puts it into a model.
        prefix: of the names of its parameters.
        saved: what ``peft_type`` is in a saved configuration, where that is another word.
    """
    _CONFIGS[name], _TUNERS[name], _PREFIXES[name] = config, tuner, prefix
    if saved:
        _CONFIGS[saved] = config

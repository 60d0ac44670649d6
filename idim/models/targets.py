"""Which modules a target stands for: a name, every linear layer, or a regular expression."""

from __future__ import annotations

import time
from typing import Any

from torch import nn

from idim.errors import expected
from idim.models.weights import head

#: What stands for every linear layer but the output's, as in peft.
ALL_LINEAR = "all-linear"
_PATTERN_SECONDS = 1.0


def linear(module: nn.Module) -> list[str]:
    """Names of the linear layers but those of the output."""
    from transformers.pytorch_utils import Conv1D

    embeddings: Any = getattr(module, "get_output_embeddings", None)
    out = embeddings() if embeddings else None
    kinds, last = (nn.Linear, Conv1D), head(module)
    return [
        name
        for name, m in module.named_modules()
        if isinstance(m, kinds) and m is not out and f"{name}.weight" not in last
    ]


def is_pattern(target: str) -> bool:
    """Whether a target stands for modules' names as ``matching`` reads it; else it is the end of a
    name."""
    return target == ALL_LINEAR or bool(set(target) & set("^$*+?{}[]()|\\"))


def matching(module: nn.Module, pattern: str) -> list[str]:
    """Names of the modules that a pattern stands for: ``all-linear``, or a regular expression of
    the whole name.

    Errors: no regular expression, or one that takes longer than a second: some take years.
    """
    import regex

    if pattern == ALL_LINEAR:
        return linear(module)
    try:
        made = regex.compile(pattern)
        began = time.monotonic()
        # Of each name at most what is left of the second.
        return [
            name
            for name, _ in module.named_modules()
            if made.fullmatch(name, timeout=max(1e-3, _PATTERN_SECONDS - time.monotonic() + began))
        ]
    except (regex.error, TimeoutError, RecursionError, OverflowError) as error:
        raise expected(
            "targets",
            "a regular expression that is matched within a second",
            f"{pattern[:100]}: {error or 'too long'}",
        ) from None

"""The layers that every small arm trains freely, and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def heads(model: nn.Module) -> list[str]:
    """Names of a model's head.

    They are a transformers model's output layers and what its checkpoint lacks, or a plain net's
    last linear layer. A language model whose checkpoint is whole has none.
    """
    from torch import nn

    from idim import models

    if hasattr(model, "config"):
        return models.layers(model, models.fresh(model))
    linear = [name for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    return linear[-1:] if len(linear) > 1 else []

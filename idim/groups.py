"""What the loop is told of parameters: which are trained alike, and at which rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an arm loads no torch when it is imported
    from torch import nn


@dataclass(frozen=True)
class Group:
    """Parameters that are trained alike."""

    name: str
    params: tuple[nn.Parameter, ...]
    #: The field of the recipe that holds their rate, and a factor on it.
    rate: str = "learning_rate"
    rate_factor: float = 1.0
    #: Whether the recipe's weight decay acts on them.
    decay: bool = True

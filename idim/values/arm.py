"""What an arm is told, and what it knows of a model before it is adapted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from idim.values.fields import Json


@dataclass(frozen=True)
class ModelFacts:
    """What an arm needs to know of a model before it is adapted."""

    #: The numbers that full fine-tuning trains.
    D: int
    #: Its parameter tensors, and its groups of layers, by the structure that was asked for.
    tensors: int
    groups: int
    #: The largest rank that a matrix of weights can have: the smaller of its two sides.
    width: int
    #: Its layers, as a stack of blocks.
    depth: int
    #: How fast the best rate falls as the size grows, for this kind of model.
    exponent: float


@dataclass(frozen=True)
class ArmSettings:
    """What an arm must be told. The fields are its flags; ``__post_init__`` checks them."""

    def to_json(self) -> Json:
        """What a record keeps."""
        plain = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From values by name, as a record, a file or flags hold them. Others are left aside."""
        names = [f.name for f in dataclasses.fields(cls) if f.name in values]
        found = {name: values[name] for name in names}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})

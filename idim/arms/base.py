"""The contract of an arm: what it trains, at which sizes, at which rates.

Importing an arm loads no torch, so that the command line can list the arms and check their flags.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from idim.groups import Group
from idim.values.fields import Json, Unfit
from idim.values.record import Record

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Size:
    """What an arm is measured over: the name of the setting, and the letter in an answer."""

    name: str
    letter: str


@dataclass(frozen=True)
class Prior:
    """What is believed of an arm's best rate before any run.

    ``log best(size) = log best(full) + slope * place(size) + offset``, each with its spread.
    """

    slope: float
    slope_spread: float
    offset: float
    offset_spread: float


@dataclass(frozen=True)
class ModelFacts:
    """What an arm needs to know of a model before it is adapted."""

    #: The numbers that full fine-tuning trains.
    D: int
    #: Its parameter tensors, and its groups of layers, by the structure that was asked for.
    tensors: int
    groups: int
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


@dataclass
class Adapted:
    """A model made trainable. Call ``module``, train ``groups``, and ``close`` it at the end."""

    module: nn.Module
    groups: tuple[Group, ...]
    #: What the arm says of itself in a record.
    info: dict[str, Any] = field(default_factory=dict)
    #: Called after each step of the optimiser.
    after_step: Callable[[], object] | None = None
    #: Writes what was trained into a folder, and ends the training. None: it cannot be saved.
    save: Callable[[str], object] | None = None
    #: Gives the model back as it came.
    close: Callable[[], object] = lambda: None
    #: The fraction of the weights' moves that a precision loses; 0 where weights are trained.
    rounded_away: Callable[[torch.dtype], float] = lambda dtype: 0.0

    @property
    def d_total(self) -> int:
        """Trainable numbers, counted from what the optimiser is given."""
        return sum(p.numel() for group in self.groups for p in group.params)


class Arm(ABC):
    """One way to train a model. Subclasses are final, and nothing changes in their objects."""

    name: str
    #: One line for a list, and where the method comes from.
    about: str
    source: str
    #: What a reader calls it, where that is not its name in capitals.
    title: str = ""
    Settings: type[ArmSettings] = ArmSettings
    #: None for an arm that comes in one size only.
    size: Size | None = None
    #: Whether it can carry every model. Otherwise it is tried on the model before any training.
    carries_all: bool = False
    #: The flag that gives its rate, in place of tuning.
    rate_flag: str = "learning_rate"
    prior: Prior = Prior(0.0, 0.5, 0.0, 1.0)

    @abstractmethod
    def adapt(self, model: nn.Module, settings: Any, seed: int) -> Adapted:
        """Make a model trainable.

        Args:
            model: is changed in place.
            settings: of the arm's own class.
            seed: of all that the arm draws. Nothing else may be drawn from.

        Raises:
            IdimError: for a model that the arm cannot carry.
        """

    @property
    def shown(self) -> str:
        """What a reader calls it."""
        return self.title or self.name.upper()

    def label(self, settings: Any) -> str:
        """What the runs of one curve have in common."""
        return self.name

    def scales(self, facts: ModelFacts) -> int:
        """How many of its numbers are scales, which every size includes."""
        return 0

    def limits(self, facts: ModelFacts) -> tuple[int, int]:
        """The smallest and the largest size for this model."""
        return 1, facts.D

    def rate(self, full: float, size: int, facts: ModelFacts, settings: Any) -> float:
        """The rate before tuning, from that of full fine-tuning."""
        return full

    def numbers(self, settings: Any, D: int) -> int:
        """The numbers that it trains, where the settings alone say it; else 0."""
        return 0

    def check(self, record: Record) -> None:
        """Check what a record says of the arm.

        Raises:
            Unfit: says what does not fit.
        """
        if record.training.d_total < 1:
            raise Unfit(f"d_total: expected at least 1; got {record.training.d_total}")

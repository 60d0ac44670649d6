"""The contract of an arm: what it trains, at which sizes, at which rates.

Importing an arm loads no torch, so that the command line can list the arms and check their flags.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from idim.groups import Group
from idim.values.arm import ArmSettings, ModelFacts
from idim.values.fields import Unfit
from idim.values.record import Record

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Size:
    """What an arm is measured over.

    Args:
        name: of the setting.
        letter: in an answer.
        flag: the flag that gives one value.
        several: the flag that lists values to try.
    """

    name: str
    letter: str
    flag: str = "size"
    several: str = "sizes"


DIMENSION = Size("d", "d", "d", "grid")
RANK = Size("rank", "r", "rank", "ranks")


@dataclass(frozen=True)
class Prior:
    """What is believed of an arm's best rate before any run.

    ``log best(size) = log best(full) + slope * place(size) + offset``, each with its spread.
    """

    slope: float
    slope_spread: float
    offset: float
    offset_spread: float


@dataclass
class Adapted:
    """A model made trainable. Call ``module``, train ``groups``, and ``close`` it at the end."""

    module: nn.Module
    groups: tuple[Group, ...]
    #: What the arm says of itself in a record.
    info: dict[str, Any] = field(default_factory=dict)
    #: Given the task before anything else, where the arm reads its examples.
    read: Callable[[Any], object] | None = None
    #: Asked after training: what it learned that a record keeps beside ``info``.
    learned: Callable[[], dict[str, Any]] = dict
    #: Told how many steps there will be, before the first.
    begin: Callable[[int], object] | None = None
    #: Added to each batch's loss.
    penalty: Callable[[], torch.Tensor] | None = None
    #: Called after each step of the optimiser with its number, while the gradients are there.
    after_step: Callable[[int], object] | None = None
    #: Sizes that the trained module can be scored at, and what sets it to one of them.
    sizes: tuple[int, ...] = ()
    set_size: Callable[[int], object] = lambda size: None
    #: Writes what was trained into a folder, and ends the training. None: it cannot be saved.
    save: Callable[[str], object] | None = None
    #: Folds what was trained into the model's own weights, and ends the training. None: it cannot.
    merge: Callable[[], nn.Module] | None = None
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
    rate_flag: str = "arm_learning_rate"
    #: What is believed of its best rate, whatever its settings.
    belief: Prior = Prior(0.0, 0.5, 0.0, 1.0)
    #: Whether it trains the model's head freely, beside its size.
    frees_head: bool = False
    #: Whether it trains nothing, and is scored as it is, without a step.
    trainless: bool = False
    #: Whether what it trains can be folded into the model's own weights.
    merges: bool = True
    #: Whether its largest size trains all that full fine-tuning trains, by a rotation of it.
    spans: bool = False

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

    def told(self, values: Mapping[str, Any]) -> Any:
        """The settings, from what a user asked for by the names of its flags."""
        return self.Settings.of(values)

    def at(self, settings: Any, size: int) -> Any:
        """The settings at a size."""
        return dataclasses.replace(settings, **{self.size.name: size}) if self.size else settings

    def limits(self, facts: ModelFacts) -> tuple[int, int]:
        """The smallest and the largest size for this model."""
        return 1, facts.D

    def usual_sizes(self, facts: ModelFacts) -> tuple[int, ...]:
        """The grid where a user names none; empty for an arm that has no usual one."""
        low, high = self.limits(facts)
        return tuple(size for size in (1, 2, 4, 8, 16) if low <= size <= high)

    def frontier_sizes(self, facts: ModelFacts) -> tuple[int, ...]:
        """A few sizes that show how the score grows: a small, a middle and a large one."""
        usual = self.usual_sizes(facts)
        if len(usual) < 2:
            low, high = self.limits(facts)
            first = min(max(self.first_size(facts), low), high)
            usual = tuple(sorted({max(low, first // 4), first, min(high, first * 4)}))
        return tuple(sorted({usual[0], usual[len(usual) // 2], usual[-1]}))

    def first_size(self, facts: ModelFacts) -> int:
        """Where a bracket begins."""
        return 4

    def rate(self, full: float, size: int, facts: ModelFacts, settings: Any) -> float:
        """The rate before tuning, from that of full fine-tuning."""
        return full

    def prior(self, settings: Any) -> Prior:
        """What is believed of its best rate, before any run with these settings."""
        return self.belief

    def place(self, size: int, facts: ModelFacts) -> float:
        """Where a size lies in the law of rates (``Prior``)."""
        return -math.log(size)

    def shift(self, facts: ModelFacts, settings: Any) -> float:
        """By how much the settings move the logarithm of every rate."""
        return 0.0

    def tuning_sizes(self, facts: ModelFacts) -> tuple[int, int]:
        """The smallest size at which rates are tried, and the one at which they are tried first."""
        return 1, 8

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

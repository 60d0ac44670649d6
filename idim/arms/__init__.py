"""The arms: ways to train a model. One table, ``ARMS``. Importing it loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from idim.arms.base import Adapted, Arm
from idim.arms.full import Full
from idim.arms.heads import heads
from idim.arms.methods import METHODS
from idim.arms.parts import BitFit, Head, Layers
from idim.arms.shots import Shots
from idim.arms.subspace import Did, Said
from idim.errors import one_of
from idim.values.fields import Unfit
from idim.values.question import Question
from idim.values.record import Record
from idim.values.training import Status

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "ARMS",
    "DEFAULT",
    "FLOOR",
    "FULL",
    "SIZES_FLAGS",
    "SIZE_FLAGS",
    "SWEPT",
    "Adapted",
    "build",
    "check_question",
    "check_record",
    "heads",
    "measured",
    "named",
    "over",
]
_EVERY: tuple[Arm, ...] = (Full(), Did(), Said(), *METHODS, Head(), Layers(), BitFit(), Shots())
ARMS: dict[str, Arm] = {arm.name: arm for arm in _EVERY}
#: The arm that sets the threshold, and the one that is measured where the user names none.
FULL, DEFAULT = Full.name, Said.name
#: What arms that train the head freely are at size 0.
FLOOR = Head.name
#: The flags that give one size of an arm, and those that list several.
SIZE_FLAGS = sorted({arm.size.flag for arm in ARMS.values() if arm.size})
SIZES_FLAGS = sorted({arm.size.several for arm in ARMS.values() if arm.size})
#: What a sweep measures where the user names nothing.
SWEPT = METHODS[0].name


def named(name: str, flag: str = "arm") -> Arm:
    """The arm of this name.

    Raises:
        IdimError: there is none.
    """
    if name not in ARMS:
        raise one_of(flag, ARMS, name)
    return ARMS[name]


def measured() -> list[str]:
    """The names of the arms that are held against full fine-tuning."""
    return [name for name in ARMS if name != FULL]


def over(letter: str) -> tuple[str, ...]:
    """The names of the arms whose size has this letter."""
    return tuple(arm.name for arm in ARMS.values() if arm.size and arm.size.letter == letter)


def build(arm: str, model: nn.Module, settings: Mapping[str, Any], seed: int) -> Adapted:
    """Make a model trainable by an arm, with the settings that a record keeps."""
    found = named(arm)
    return found.adapt(model, found.Settings.of(settings), seed)


def check_record(record: Record) -> Record:
    """The record, if its arm is known and agrees with what the record says of it.

    Raises:
        Unfit: says what does not fit.
    """
    if record.spec.arm not in ARMS:
        raise Unfit(f"arm: expected one of {', '.join(ARMS)}; got {record.spec.arm!r:.60}")
    # A run that failed before it was adapted says nothing.
    if record.training.adaptation or record.status != Status.FAILED:
        ARMS[record.spec.arm].check(record)
    return record


def check_question(question: Question) -> Question:
    """The question, if its arm is one that is measured.

    Raises:
        Unfit: says what does not fit.
    """
    known = measured()
    if question.arm not in known:
        raise Unfit(f"arm: expected one of {', '.join(known)}; got {question.arm!r:.60}")
    return question

"""What a measurement answers."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from idim.values.fields import Json
from idim.values.findings import Cost, Crossing, Levels, Tried
from idim.values.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Summary(ABC):
    """What a question's records say. Everything in it can be derived again from them."""

    model: str
    task: str
    arm: str
    protocol: str
    metric: str
    D: int
    verdict: Verdict
    cost: Cost
    #: The rule of the question, and the scores that follow; None where full fine-tuning failed.
    rule: str
    levels: Levels | None = None
    curve: tuple[Tried, ...] = ()
    study: str = ""
    id: str = ""
    #: The letter of the size that was varied: d, or r for a rank.
    letter: str = "d"
    #: The runs that it is derived from. Not kept: the question has them.
    keys: frozenset[str] = frozenset()

    @abstractmethod
    def crossing(self, rule: str) -> Crossing | None:
        """Where 90 % is reached by this rule, raw or chance; None where it was not measured."""

    @abstractmethod
    def to_json(self) -> Json:
        """What is kept and printed."""


def plain(value: Any) -> Any:
    """A dataclass in JSON; None stays None."""
    return None if value is None else dataclasses.asdict(value)


def made(kind: type, value: Json | None) -> Any:
    """The dataclass that ``plain`` made JSON of."""
    return None if value is None else kind(**value)

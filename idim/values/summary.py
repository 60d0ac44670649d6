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

    @property
    def fraction(self) -> float:
        """The fraction of full fine-tuning that the thresholds ask for, but for an absolute one."""
        return 0.9

    @property
    def level(self) -> str:
        """What the size is called that reaches this fraction: d90, r50; "" without a size."""
        return level_name(self.letter, self.fraction)

    @property
    def asked(self) -> str:
        """What the size is called that was asked for: as ``level``, or "d at 0.8"."""
        tau = self.levels.tau if self.levels else None
        return asked_name(self.letter, self.rule, self.fraction, tau)

    @abstractmethod
    def crossing(self, rule: str) -> Crossing | None:
        """Where ``fraction`` is reached by this rule, raw or chance; None where not measured."""

    @abstractmethod
    def to_json(self) -> Json:
        """What is kept and printed."""


def level_name(letter: str, fraction: float) -> str:
    """What the smallest size is called that reaches a fraction: d90, r50, d92.5."""
    return f"{letter}{100 * fraction:.4g}" if letter else ""


def asked_name(letter: str, rule: str, fraction: float, absolute: float | None) -> str:
    """What the size is called that a question asks for.

    Args:
        letter: of the size; "" for an arm that has none.
        rule: of the question.
        fraction: of full fine-tuning.
        absolute: the score, where the rule is "absolute"; None where it is not known.
    """
    if rule == "absolute" and letter:
        return f"{letter} at the score" if absolute is None else f"{letter} at {absolute:.4g}"
    return level_name(letter, fraction)


def plain(value: Any) -> Any:
    """A dataclass in JSON; None stays None."""
    return None if value is None else dataclasses.asdict(value)


def made(kind: type, value: Json | None) -> Any:
    """The dataclass that ``plain`` made JSON of."""
    return None if value is None else kind(**value)

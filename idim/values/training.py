"""What training gave: how it ended, and every score on the way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from idim.values import fields
from idim.values.fields import Field, Json, Unfit, same
from idim.values.metric import metric


class Status(StrEnum):
    """How a run ends."""

    OK = "ok"
    STOPPED = "stopped"  # early, because it was known on which side of the threshold it would end
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def scored(self) -> bool:
        """Whether such a run has a score. The others count as failures of their size."""
        return self in (Status.OK, Status.STOPPED)


@dataclass(frozen=True)
class Evaluation:
    """A score on the way; None where it was not a number."""

    step: int
    score: float | None


@dataclass(frozen=True)
class Stopped:
    """Where a run that stopped early would have ended: above or below ``bound``."""

    side: str
    bound: float
    #: The share of the steps that were made.
    share: float


@dataclass(frozen=True)
class Training:
    """What training gave. A record keeps it as ``train_info``."""

    metric: str
    score: float | None
    untouched: float | None
    #: The score of guessing the commonest label; None where no guess applies.
    majority: float | None
    #: The score on the split that decides nothing.
    locked: float | None = None
    curve: tuple[Evaluation, ...] = ()
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    #: Trained numbers.
    d_total: int = 0
    #: What the arm says of itself.
    adaptation: Mapping[str, Any] = field(default_factory=dict)
    #: How many examples train, tune, measure and are locked.
    splits: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    stopped: Stopped | None = None

    def to_json(self) -> Json:
        """What a record keeps of it."""
        plain = dataclasses.asdict(self)
        return plain | {"curve": list(plain["curve"]), "warnings": list(plain["warnings"])}

    @classmethod
    def from_json(cls, value: Json) -> Training:
        """The same from JSON whose fields are checked."""
        given = {f.name: value[f.name] for f in dataclasses.fields(cls)}
        return cls(
            **given
            | {
                "curve": tuple(Evaluation(**p) for p in value["curve"]),
                "warnings": tuple(value["warnings"]),
                "stopped": Stopped(**value["stopped"]) if value["stopped"] else None,
            }
        )


#: The fields of ``train_info``.
FIELDS: dict[str, Field] = {
    "metric": fields.TEXT,
    **{name: fields.maybe(fields.NUMBER) for name in ("score", "untouched", "majority", "locked")},
    "curve": fields.CURVE,
    **dict.fromkeys(("steps", "tokens", "peak_memory_bytes", "d_total"), fields.WHOLE),
    "seconds": fields.DURATION,
    "adaptation": fields.OBJECT,
    "splits": fields.COUNTS,
    "warnings": fields.TEXTS,
    "stopped": fields.maybe(fields.STOPPED),
}


def check_scores(status: Status, training: Training, rule: str) -> None:
    """Check that the scores agree with each other.

    Args:
        status: how the run ended.
        training: what it gave.
        rule: how the recipe makes the score of a run from its evaluations.

    Raises:
        Unfit: where a score is none of its metric, or not what the curve ends in.
    """
    scores = [p.score for p in training.curve]
    known = metric(training.metric)
    stated = (training.score, training.untouched, training.locked, training.majority)
    for score in (*stated, *scores):
        if score is not None and not known.holds(score):
            raise Unfit(
                f"{known.name}: expected a score from {known.low:g} to {known.high:g}; "
                f"got {score:g}"
            )
    steps = [p.step for p in training.curve]
    if steps != sorted(set(steps)):
        raise Unfit("train_info.curve: expected steps that grow")
    if not status.scored:
        return
    if training.score is None:
        raise Unfit(f"train_info.score: expected a number of a run that ended {status}; got null")
    if (status == Status.STOPPED) != (training.stopped is not None):
        raise Unfit(
            "train_info.stopped: expected it of a run that stopped early alone; "
            f"got {training.stopped!r:.60}"
        )
    # An arm that trains nothing makes no step, and is scored once.
    if len(scores) < (2 if training.steps else 1):
        raise Unfit("train_info.curve: expected scores before and after training")
    same("untouched and the curve's first score", training.untouched, scores[0])
    after = scores[1:] or scores
    last = after[-3:] if rule == "mean_of_last_3" else after[-1:]
    numbers = [v for v in last if v is not None]
    if len(numbers) < len(last) or not math.isclose(
        training.score, sum(numbers) / len(numbers), rel_tol=1e-9, abs_tol=1e-12
    ):
        raise Unfit(f"the score {training.score:g} is not what its curve ends in")

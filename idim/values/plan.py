"""All that a measurement needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from idim.search.design import Limits
from idim.values.arm import ArmSettings, ModelFacts
from idim.values.options import Options
from idim.values.protocol import Protocol
from idim.values.question import Question
from idim.values.recipe import Recipe
from idim.values.resources import Resources


@dataclass(frozen=True)
class TaskFacts:
    """What a measurement needs to know of a task."""

    fingerprint: str
    metric: str
    #: How many examples train, tune, measure and are locked. Empty where one batch serves as all.
    splits: Mapping[str, int]
    #: What guessing the commonest label scores on the split that rates are chosen on; None where
    #: no guess applies.
    guess: float | None
    #: What was done to the data that its owner should know of.
    notes: tuple[str, ...] = ()

    @property
    def tuning_split(self) -> str:
        """The split that rates are chosen on."""
        return "tune" if self.splits.get("tune") else "measure"

    @property
    def n_scored(self) -> int:
        """How many examples a score is measured on."""
        return self.splits.get("measure", 0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One arm on one model and task, by one protocol. ``resolve`` makes it and checks it all."""

    #: The question that it answers, and the study that it belongs to: digests of what they hold.
    id: str
    study: str
    model: str
    task: str
    arm: str
    #: The arm that it is at size 0; empty where there is none.
    floor: str
    #: The letter of its size: d, or r for a rank. Empty where it has none.
    letter: str
    #: What the arm is told. A measurement sets the size run by run.
    settings: ArmSettings
    #: What the runs of the arm's curve have in common.
    arm_key: str
    protocol: Protocol
    #: Of every run, but for its rate.
    recipe: Recipe
    options: Options
    facts: ModelFacts
    data: TaskFacts
    #: Of a model in a folder, whose name does not fix its content.
    model_fingerprint: str
    #: How many of the arm's numbers are scales.
    m: int
    #: The sizes that may be tried, and how many runs.
    limits: Limits
    #: Optimiser steps of a run.
    steps: int
    #: The master seed.
    seed: int
    #: The fraction of full fine-tuning to reach.
    threshold: float
    #: The rates that the user gave for full fine-tuning and for the arm; 0 where none.
    full_rate: float = 0.0
    arm_rate: float = 0.0
    #: What makes the runs, by its name, and with what.
    executor: str = "local"
    resources: Resources = Resources()
    #: The size of a single run. A measurement chooses its sizes itself.
    size: int = 0

    def question(self, tuned: bool | None = None) -> Question:
        """What a summary needs to know besides the records."""
        p = self.protocol
        return Question(
            id=self.id,
            study=self.study,
            arm_key=self.arm_key,
            model=self.model,
            task=self.task,
            arm=self.arm,
            projection=p.projection,
            scope=p.scope,
            structure=p.structure if self.m else None,
            protocol=p.name,
            design=p.design,
            metric=self.data.metric,
            D=self.facts.D,
            m=self.m,
            smallest=self.limits.smallest,
            largest=self.limits.largest,
            rule=p.rule,
            absolute=p.absolute,
            strict=p.strict,
            threshold=self.threshold,
            left_out=p.left_out,
            n_scored=self.data.n_scored,
            steps=self.steps,
            tuned=tuned,
        )

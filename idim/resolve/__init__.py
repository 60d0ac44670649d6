"""The one door: from what a user asked for to a plan. All that a user may mistake is found here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Any

import projections
from idim import arms, models
from idim.arms.base import Arm
from idim.config import WHERE, Config
from idim.errors import expected
from idim.models import Loaded
from idim.protocols import RATE_EXPONENTS
from idim.resolve import checks, training
from idim.search.design import Limits
from idim.source import CATALOGUES, Source
from idim.tasks.base import Task
from idim.values.arm import ArmSettings, ModelFacts
from idim.values.plan import Plan, TaskFacts
from idim.values.protocol import Protocol
from idim.values.resources import Resources

#: What of a configuration changes neither the runs nor the answer.
_SAME_ANSWER = (*WHERE, "report_to", "data_dir", "engine", "lean", "deterministic")
#: What names of questions were made of once, and does not count any more: it keeps its value.
_ONCE = {"workers": 1}
#: Fields that came later. Unless they are given, a question keeps the name that it had.
_NEWER = ("size", "sizes", "arm_learning_rate", "alpha_twice_rank")
#: By the letter of the size. Raised when the way to an answer changes, so that an older answer is
#: not taken up.
_QUESTIONS = {"d": 2, "r": 4}


def resolve(config: Config, source: Source = CATALOGUES) -> Plan:
    """The plan of a measurement: all that ``conductor.measure`` needs. Trains nothing.

    Args:
        config: what was asked for.
        source: gives the model and the task.

    Raises:
        IdimError: one line, for whatever cannot be measured.

    Cost: the task is read, the model is loaded, and one batch goes through it.
    """
    checks.measurable(config)
    plan, task = _plan(config, source)
    checks.sizes(plan)
    checks.repeats(config, plan)
    checks.absolute(config, plan)
    checks.carried(plan, task, source, max(plan.limits.grid, default=plan.limits.smallest))
    return plan


def resolve_single(config: Config, source: Source = CATALOGUES) -> Plan:
    """The plan of one run, at the size that was asked for. Otherwise as ``resolve``."""
    plan, task = _plan(config, source)
    size = arms.ARMS[plan.arm].size
    plan = dataclasses.replace(plan, size=getattr(config, size.flag) if size else 0)
    checks.single(config, plan, source)
    checks.carried(plan, task, source, plan.size)
    return plan


def _plan(config: Config, source: Source) -> tuple[Plan, Task]:
    protocol, arm = config.chosen, arms.ARMS[config.arm]
    kind = checks.kind(config, source)
    checks.projection(config, protocol)
    options = training.options(config, protocol, kind, source)
    task = source.task(config.model, config.task, options)
    loaded = source.load(config.model, task, 0)
    checks.fits(loaded.module, task, config.model)
    recipe = training.recipe(config, protocol, kind, task)
    facts = _facts(loaded, protocol, kind)
    data = _data(task)
    settings = _settings(config, protocol, arm)
    given = _given(config, arm)
    arm_key = f"{arm.label(settings)}/{given:g}" if given else arm.label(settings)
    study = _digest(
        [
            config.model,
            config.task,
            data.fingerprint,
            protocol.name,
            {k: v for k, v in dataclasses.asdict(recipe).items() if "learning_rate" not in k},
            options.recorded(),
        ]
    )[:12]
    fingerprint = loaded.fingerprint if source.may_change(config.model) else ""
    asked = {
        k: v
        for k, v in dataclasses.asdict(config).items()
        if k not in _SAME_ANSWER and (v or k not in _NEWER)
    } | _ONCE
    letter = arm.size.letter if arm.size else ""
    digest = _digest([_QUESTIONS.get(letter, 1), study, fingerprint, arm_key, asked])[:6]
    said = "-".join([config.model, config.task, config.arm, protocol.name])
    name = re.sub(r"[^\w.-]+", "_", said)
    plan = Plan(
        id=f"{name}-{digest}",
        study=study,
        model=config.model,
        task=config.task,
        arm=config.arm,
        floor=arms.FLOOR if arm.size and arm.frees_head and arms.heads(loaded.module) else "",
        letter=letter,
        settings=settings,
        arm_key=arm_key,
        protocol=protocol,
        recipe=recipe,
        options=options,
        facts=facts,
        data=data,
        model_fingerprint=fingerprint,
        m=arm.scales(facts),
        limits=_limits(config, protocol, arm, facts),
        steps=recipe.steps(task.train_size()),
        seed=config.seed,
        threshold=config.threshold,
        full_rate=config.learning_rate,
        arm_rate=given or _constant(protocol, arm),
        executor=config.executor,
        resources=Resources(
            config.workers, config.runs_per_device, config.ray_address, config.deterministic
        ),
    )
    return plan, task


def _facts(loaded: Loaded, protocol: Protocol, kind: str) -> ModelFacts:
    named = [(name, p) for name, p in loaded.module.named_parameters() if p.requires_grad]
    if not named:
        raise expected(
            "model",
            "at least one weight with requires_grad=True",
            f"{type(loaded.module).__name__}, of which all are frozen",
        )
    layout = projections.Layout.of(named, protocol.structure)
    return ModelFacts(
        D=layout.D,
        tensors=len(layout.slices),
        groups=len(layout.groups),
        width=max((min(p.shape[0], p[0].numel()) for _, p in named if p.dim() > 1), default=1),
        depth=len(models.blocks(loaded.module)),
        exponent=RATE_EXPONENTS[kind],
    )


def _data(task: Task) -> TaskFacts:
    found = TaskFacts(task.fingerprint, task.metric, task.sizes(), None, task.notes)
    return dataclasses.replace(found, guess=task.guess(found.tuning_split))


def _settings(config: Config, protocol: Protocol, arm: Arm) -> ArmSettings:
    """What the arm is told, but for its size."""
    family = (projections.KINDS | projections.FLAWED)[protocol.projection]
    told: dict[str, Any] = dataclasses.asdict(config) | {
        "projection": protocol.projection,
        "scope": protocol.scope,
        "structure": protocol.structure,
        "version": family.version,
    }
    settings: ArmSettings = arm.at(arm.told(told), 0)
    return settings


def _given(config: Config, arm: Arm) -> float:
    """The rate of the arm that the user gave; 0 where none. That of full is not the arm's."""
    rate: float = 0.0 if arm.name == arms.FULL else getattr(config, arm.rate_flag)
    return rate


def _constant(protocol: Protocol, arm: Arm) -> float:
    """A protocol's constant, which is a rate over d; 0 where it has none."""
    over_d = arm.size is not None and arm.size.letter == "d"
    return protocol.rate or 0.0 if protocol.rate_law == "constant" and over_d else 0.0


def _limits(config: Config, protocol: Protocol, arm: Arm, facts: ModelFacts) -> Limits:
    smallest, largest = arm.limits(facts)
    grid = getattr(config, arm.size.several) if arm.size else ()
    if protocol.design == "grid" and not grid:
        grid = arm.usual_sizes(facts)
    return Limits(
        smallest,
        largest,
        min(max(arm.first_size(facts), smallest), largest),
        protocol.repeats,
        protocol.ratio,
        config.max_runs,
        tuple(sorted(grid)),
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

"""What a user may mistake, found before anything is trained. Each raises one line."""

from __future__ import annotations

import math

import torch
from torch import nn

import projections
from idim import arms
from idim.config import Config
from idim.errors import expected, one_of
from idim.search.design import ADAPTIVE
from idim.source import Source
from idim.tasks.base import Task
from idim.values.metric import metric
from idim.values.plan import Plan
from idim.values.protocol import Protocol


def kind(config: Config, source: Source) -> str:
    """The kind of model: toy, net or transformer. The toy needs its own task."""
    if (config.model == "toy") != (config.task == "toy"):
        raise expected(
            "--task toy",
            "the model toy, and no other task with it",
            f"--model {config.model} --task {config.task}",
        )
    if config.model == "toy":
        return "toy"
    return "transformer" if source.is_transformer(config.model) else "net"


def projection(config: Config, protocol: Protocol) -> None:
    """The family of P is known, and can do what was asked of it."""
    name, known = protocol.projection, projections.KINDS | projections.FLAWED
    flawed = name in projections.FLAWED and protocol.scope != projections.TENSOR
    if name not in known or flawed:
        raise one_of("--projection", projections.KINDS, name)
    if config.lean and known[name].staged:
        raise expected(
            "--lean", "a projection that takes gradients in as they come, as orthonormal does", name
        )


def fits(module: nn.Module, task: Task, name: str) -> None:
    """The model takes the task's inputs. Costs one forward pass."""
    if task.name == "toy":
        return
    try:
        with torch.no_grad():
            task.check(module.eval())
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise expected(
            "--model", f"one that takes the inputs of {task.name}", f"{name}: {said}"
        ) from None


def measurable(config: Config) -> None:
    """The arm is one that is held against full fine-tuning. A list of sizes is for its own arm."""
    size = arms.ARMS[config.arm].size
    if config.arm not in arms.measured():
        raise one_of("--arm", arms.measured(), config.arm)
    for flag in arms.SIZES_FLAGS:
        own = size.several if size else ""
        if flag != own and (given := getattr(config, flag)):
            what = f"none with {config.arm}, " + (
                f"whose --{own} are tried" if own else "which has no size"
            )
            raise expected(f"--{flag}", what, given)


def repeats(config: Config, plan: Plan) -> None:
    """An adaptive design repeats no size, and needs the error of full fine-tuning."""
    protocol = plan.protocol
    if protocol.design not in ADAPTIVE:
        return
    if config.repeats and arms.ARMS[plan.arm].size:
        raise expected(
            "--repeats",
            f"a bracket or a grid; the design {protocol.design} draws fresh seeds for every run "
            "and chooses where to run",
            config.repeats,
        )
    if protocol.baselines < 2:
        raise expected(
            "--baselines",
            "at least 2 for an interval: one run has no error to carry",
            protocol.baselines,
        )


def sizes(plan: Plan) -> None:
    """The design grid has sizes to try, no other design has, and the arm can have them."""
    size, limits, design = arms.ARMS[plan.arm].size, plan.limits, plan.protocol.design
    if size is None:
        return
    for value in limits.grid:
        if not limits.smallest <= value <= limits.largest:
            raise expected(
                f"--{size.several}",
                f"values of {size.letter} from {limits.smallest} to {limits.largest} "
                f"{_bounds(plan)}",
                value,
            )
    if (design == "grid") != bool(limits.grid):
        raise expected(
            f"--{size.several}",
            f"values of {size.letter} with --design grid, and with no other",
            f"--design {design}",
        )


def _bounds(plan: Plan) -> str:
    """Where the ends of what can be tried come from."""
    if arms.ARMS[plan.arm].spans:
        return f"({plan.m} scales, D = {plan.facts.D})"
    return f"(for {plan.arm} on this model)"


def absolute(config: Config, plan: Plan) -> None:
    """The metric can have the score that is to be reached."""
    known = metric(plan.data.metric)
    if config.absolute is not None and not known.low <= config.absolute <= known.high:
        range_ = f"{known.name} from {known.low:g} to {known.high:g}"
        if math.isinf(known.low):
            range_ = "minus a loss, which is not above 0"
        raise expected("--absolute", range_, config.absolute)


def single(config: Config, plan: Plan, source: Source) -> None:
    """The arm can have the size of a single run, and what it trains can be saved."""
    size, limits = arms.ARMS[plan.arm].size, plan.limits
    # One file of settings may serve several arms. But the arm must have its own.
    own = size is not None and bool(plan.size)
    for flag in () if own else arms.SIZE_FLAGS:
        if getattr(config, flag):
            what = f"whose size is --{size.flag}" if size else "which has no size"
            raise expected(f"--{flag}", f"none with {plan.arm}, {what}", getattr(config, flag))
    if size and not limits.smallest <= plan.size <= limits.largest:
        raise expected(
            f"--{size.flag}",
            f"a number from {limits.smallest} to {limits.largest} {_bounds(plan)}",
            plan.size,
        )
    if config.save and not source.is_pretrained(config.model):
        raise expected(
            "--save", "a transformers model, whose start can be loaded again", config.model
        )


def carried(plan: Plan, task: Task, source: Source, size: int) -> None:
    """The arm can carry the model at this size, and the model then still takes the task's inputs.

    Tokens before a text, for one, may leave no positions for the longest text. Costs a forward pass
    of it.
    """
    found = arms.ARMS[plan.arm]
    if found.carries_all:
        return
    loaded = source.load(plan.model, task, 0)
    adapted = found.adapt(loaded.module, found.at(plan.settings, size), 0)
    if adapted.read:
        adapted.read(task)
    fits(adapted.module, task, f"{plan.model} with {plan.arm}")
    adapted.close()

"""How much longer a model takes to answer with an arm's changes in it, unmerged and merged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from idim import arms
from idim.source import CATALOGUES, Source
from idim.tasks.base import Task
from idim.train import score_once
from idim.values.plan import Plan

#: Each form is timed so often at least, and again until so many seconds are spent or the most is.
_FEWEST, _MOST, _SECONDS = 3, 41, 2.0


@dataclass(frozen=True)
class Latency:
    """Times of an evaluation, as ratios to that of the untouched model.

    ``merged`` is None where an arm cannot be folded into the model's own weights.
    """

    unmerged: float
    merged: float | None


def latency(plan: Plan, size: int, source: Source = CATALOGUES) -> Latency:
    """Time the evaluation of a split by the untouched model, and with an arm at this size.

    Nothing is trained: a step of training changes numbers and no shapes. The three forms are timed
    in turn, and the medians of the rounds' ratios are given.

    Cost: twelve evaluations of the smallest split, or two seconds.
    """
    task = source.task(plan.model, plan.task, plan.options)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    split = min(task.sizes(), key=lambda name: task.sizes()[name])
    arm = arms.ARMS[plan.arm]

    def load() -> nn.Module:
        return source.load(plan.model, task, 0).module.to(device)

    def adapted() -> arms.Adapted:
        made = arm.adapt(load(), arm.at(plan.settings, size), 0)
        if made.read:
            made.read(task)
        return made

    forms: dict[str, nn.Module] = {"untouched": load(), "unmerged": adapted().module}
    if merge := adapted().merge:
        forms["merged"] = merge()
    for form in forms.values():
        _seconds(form, task, plan, split)  # the first evaluation makes what later ones keep
    rounds: list[dict[str, float]] = []
    while len(rounds) < _FEWEST or (
        len(rounds) < _MOST and sum(sum(r.values()) for r in rounds) < _SECONDS
    ):
        rounds.append({name: _seconds(form, task, plan, split) for name, form in forms.items()})
    ratio: Callable[[str], float] = lambda name: median(r[name] / r["untouched"] for r in rounds)  # noqa: E731
    return Latency(ratio("unmerged"), ratio("merged") if "merged" in forms else None)


def _seconds(module: nn.Module, task: Task, plan: Plan, split: str) -> float:
    began = time.perf_counter()
    score_once(module, task, plan.recipe, split)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began

"""What a search will cost: its runs by purpose, and a few steps of each arm on the clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass

from idim import arms, run, specs
from idim.protocols import TUNE_SHARE
from idim.rates import trials
from idim.search import pairs
from idim.search.expected import runs_of
from idim.source import CATALOGUES, Source
from idim.values.plan import Plan
from idim.values.purpose import Purpose

#: Steps on the clock, and those that they are held against, so that loading and scoring fall out.
_STEPS, _FEW = 9, 1
#: Rates tried: at the least, as a rule and at the most, for full fine-tuning and at each size.
_RATES = (3, 5, 6)


@dataclass(frozen=True)
class Timed:
    """One arm on the clock: seconds of a step and of an evaluation; bytes at the peak."""

    step: float
    evaluation: float
    memory: int

    def seconds(self, steps: int, evaluations: int) -> float:
        """Of a run. It is scored before its first step, too."""
        return steps * self.step + (evaluations + 1) * self.evaluation


@dataclass(frozen=True)
class Part:
    """The runs that a search makes for one purpose.

    Attributes:
        purpose: why they are made.
        arm: which arm they train.
        least, usual, most: how many there will be.
        steps: optimiser steps of each.
        seconds: of each.
    """

    purpose: str
    arm: str
    least: int
    usual: int
    most: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class Rehearsal:
    """What a search will make, and what that takes on this machine now."""

    parts: tuple[Part, ...]
    memory: int
    workers: int

    def total(self, which: str) -> float:
        """Seconds of all runs: ``which`` is least, usual or most."""
        counts: list[int] = [getattr(p, which) for p in self.parts]
        seconds = (n * p.seconds for n, p in zip(counts, self.parts, strict=True))
        return sum(seconds) / self.workers


def rehearse(plan: Plan, source: Source = CATALOGUES) -> Rehearsal:
    """Train a few steps of each arm, keep nothing, and count what the whole search will take.

    Args:
        plan: of the search.
        source: gives the model and the task.

    Cost: ten steps and four evaluations for each of two arms, and four loads of the model.
    """
    size = _middle(plan)
    clocks = {None: _timed(plan, None, source), size: _timed(plan, size, source)}
    return Rehearsal(
        tuple(_parts(plan, size, clocks)),
        max(clock.memory for clock in clocks.values()),
        max(plan.resources.workers, 1),
    )


def _middle(plan: Plan) -> int:
    """A size in the middle of what may be tried; 0 of an arm that has none."""
    if not plan.letter:
        return 0
    limits = plan.limits
    grid = sorted(limits.grid)
    if plan.protocol.design == "grid" and grid:
        return grid[len(grid) // 2]
    return limits.start or round((limits.smallest * limits.largest) ** 0.5)


def _timed(plan: Plan, size: int | None, source: Source) -> Timed:
    rate = plan.recipe.learning_rate / 100  # what is learned does not matter; it must not diverge
    spec = specs.make(plan, Purpose.SINGLE, size, 0, rate)

    def clock(steps: int) -> tuple[float, float, int]:
        recipe = dataclasses.replace(spec.recipe, max_steps=steps, evaluations=1)
        times: list[float] = []
        record = run.execute(
            dataclasses.replace(spec, recipe=recipe),
            lambda *_: times.append(time.perf_counter()),
            "",
            source,
        )
        took = times[1] - times[0] if len(times) > 1 else record.training.seconds
        return took, record.training.seconds, record.training.peak_memory_bytes

    # The longer one first: what only a first run takes weighs least in it.
    long, _, memory = clock(_STEPS)
    short, _, _ = clock(_FEW)
    step = max((long - short) / (_STEPS - _FEW), 1e-6)
    return Timed(step, max(short - _FEW * step, 0.0), memory)


def _parts(plan: Plan, size: int, clocks: Mapping[int | None, Timed]) -> list[Part]:
    protocol, found = plan.protocol, []
    evaluations = plan.recipe.evaluations

    def part(
        purpose: Purpose, of: int | None, counts: tuple[int, int, int], budget: float = 1.0
    ) -> None:
        if not counts[2]:
            return
        steps = specs.steps_of(plan, purpose, budget)
        seconds = clocks[of].seconds(steps, 1 if purpose == Purpose.TUNE else evaluations)
        name = arms.FULL if of is None else plan.arm
        found.append(Part(str(purpose), name, *counts, steps, seconds))

    def times(n: int) -> tuple[int, int, int]:
        least, usual, most = _RATES
        return n * least, n * usual, n * most

    tunes, seeds = trials.tunes(plan), trials.seeds(plan)
    if tunes and not plan.full_rate:
        part(Purpose.TUNE, None, times(seeds), TUNE_SHARE)
    full = protocol.baselines
    part(Purpose.BASELINE, None, (full, full, max(full, protocol.most_baselines)))
    if protocol.budget_check:
        part(Purpose.CHECK, None, (pairs.FIRST, pairs.FIRST, pairs.MOST), 2.0)
    if not plan.letter:
        part(Purpose.SEARCH, size, (pairs.FIRST, pairs.FIRST, pairs.MOST))
        return found
    if tunes and not plan.arm_rate:
        part(Purpose.TUNE, size, times(2 * seeds), TUNE_SHARE)
    part(Purpose.SEARCH, size, runs_of(protocol.design, plan.limits))
    if protocol.budget_check:
        part(Purpose.CHECK, size, (0, pairs.FIRST, pairs.MOST), 2.0)
    if protocol.rate_check:
        part(Purpose.RATE, size, (0, 2 * pairs.FIRST, 2 * pairs.MOST))
    return found

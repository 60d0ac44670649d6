"""The conductor: baselines, rates, the runs that a design asks for, then the checks."""

from __future__ import annotations

import math
import time
from statistics import fmean

from idim import arms, pair_checks, specs
from idim.answers.evidence import size_of, too_few
from idim.inquiry import Inquiry
from idim.rates.law import Rates, untuned
from idim.rates.trials import scorer
from idim.rates.tuning import full_rate, rates_over_sizes, refined
from idim.runs import Runs
from idim.search.design import ADAPTIVE, DESIGNS, NEAR, Stop, wants_baseline
from idim.search.surface import Trial
from idim.search.threshold import signal
from idim.source import CATALOGUES, Source
from idim.store import Store
from idim.values.plan import Plan
from idim.values.purpose import Purpose
from idim.values.record import Record
from idim.values.search_summary import SearchSummary
from idim.values.summary import Summary
from idim.values.verdict import Verdict
from idim.watcher import SILENT, Watcher

#: A search whose rates may cost this many octaves of the answer tries rates there anew.
_LOSES = 0.08


def measure(
    plan: Plan,
    store: Store,
    watcher: Watcher = SILENT,
    source: Source = CATALOGUES,
    minutes: float = 0.0,
) -> Summary:
    """Find the smallest size of an arm that passes: d90 of a subspace, r90 of LoRA.

    Args:
        plan: as ``resolve`` made it.
        store: keeps every run as it finishes.
        watcher: is told what happens.
        source: gives the model and the task, as it gave them to ``resolve``.
        minutes: after so many no more sizes are tried; 0 for no limit. The answer then rests on
            the runs that there are. A later call goes on from them.

    Returns:
        The answer, and all that stands around it.
    """
    _tell_notes(plan, watcher)
    inquiry = Inquiry(plan, store, watcher, source)
    try:
        return _Measurement(inquiry, minutes).measured()
    finally:
        inquiry.close()


def train_one(
    plan: Plan, store: Store, watcher: Watcher = SILENT, source: Source = CATALOGUES, save: str = ""
) -> Record:
    """One run, at the plan's size: its record. ``save``: a folder for what it trains."""
    _tell_notes(plan, watcher)
    spec = specs.make(plan, Purpose.SINGLE, plan.size, 0, untuned(plan)(plan.size))
    return Runs(plan, store, watcher, source).of([spec], plan.arm_key, save)[0]


def _tell_notes(plan: Plan, watcher: Watcher) -> None:
    for note in plan.data.notes:
        watcher.say(f"note: {note}")


class _Measurement:
    """The order of a measurement, and the rates that it uses."""

    def __init__(self, inquiry: Inquiry, minutes: float = 0.0):
        self.ends = time.monotonic() + 60 * minutes if minutes else math.inf
        self.inquiry, self.plan = inquiry, inquiry.plan
        self.score = scorer(inquiry.plan, inquiry.execute)
        self.full = 0.0
        self.rates = Rates(lambda size: 0.0)

    def measured(self) -> Summary:
        inquiry, protocol = self.inquiry, self.plan.protocol
        self.full, trials = full_rate(self.plan, self.score, inquiry.say)
        # Alone, a check is made when it is asked for: the time limit counts it.
        fill = inquiry.several
        if fill:
            pair_checks.name_full(inquiry, self.full)
        inquiry.train_full(self.full, protocol.baselines)
        if too_few(inquiry.base, inquiry.question):
            return inquiry.answer(True)
        base, target = inquiry.sure_base, inquiry.target
        question, known = inquiry.question, f"full {base.mean:.4f}, chance {base.chance:.4f}"
        if base.chance >= target.tau or not signal(base, question.n_scored, question.metric):
            inquiry.say(f"{known}: nothing to search for")
            return inquiry.answer(True)
        inquiry.say(f"{known}: a run passes from {target.tau:.4f} ({protocol.rule} rule)")
        if not fill:
            pair_checks.check_full(inquiry, self.full)
        finished, at = self.searched(trials)
        if fill:
            if at:
                pair_checks.name_answer(inquiry, at)
            pair_checks.check_full(inquiry, self.full)
        if at:
            pair_checks.check_answer(inquiry, at)
        return inquiry.answer(finished)

    def searched(self, trials: list[Trial]) -> tuple[bool, int | None]:
        """Make the runs that the answer follows from.

        Args:
            trials: the runs that the rate of full fine-tuning was chosen by.

        Returns:
            Whether there is an answer, and the size that checks are made at; None for no checks.
        """
        inquiry, protocol, letter = self.inquiry, self.plan.protocol, self.plan.letter
        if not letter:
            pair_checks.measure_point(inquiry, self.full)
            return True, None
        alone = protocol.witness and self.plan.floor and pair_checks.check_floor(inquiry, self.full)
        # A grid shows the whole curve in any case.
        if alone and protocol.design in ADAPTIVE:
            inquiry.say(f"{self.plan.floor}: it passes by itself, so no {letter} is searched for")
            return True, None
        self.use(rates_over_sizes(self.plan, self.score, inquiry.say, self.full, trials))
        stop = self.tried()
        if protocol.rate_check and self.may_lose() > _LOSES and (at := inquiry.estimate):
            before = self.rates.rate(at)
            self.use(refined(self.plan, self.score, self.full, self.rates, at))
            inquiry.say(f"the rate at {letter} = {at} is {self.rates.rate(at):g}, was {before:g}")
            # The error of the rates enters the interval: the design may ask for more runs.
            stop = self.tried()
        pair_checks.witness(inquiry, self.rates.rate)
        found = inquiry.answer(stop.finished)
        # A resumed search may know its checks already.
        trains = not arms.ARMS[self.plan.arm].trainless
        assert isinstance(found, SearchSummary)
        checked = trains and found.verdict in (Verdict.REACHED, Verdict.BUDGET_LIMITED)
        return stop.finished, found.answer.estimate if checked and found.answer else None

    def use(self, found: Rates) -> None:
        """Take these rates from here on, and note what the runs so far may have lost to theirs."""
        self.rates = found
        self.note_loss()

    def note_loss(self) -> None:
        """Keep what the rates may cost at the answer, as a fraction of the gain.

        It enters the interval as an error, on one side. The scores themselves stay as they are: a
        surface of few tuning runs says that a rate is off more surely than by how much.
        """
        self.inquiry.asked.note_loss(self.expected_loss())

    def expected_loss(self) -> float:
        """What the tuning runs expect runs near the answer to lose to their rates."""
        if not self.inquiry.can_cross or not (at := self.inquiry.estimate):
            return 0.0
        near = [
            (size_of(r), r.rate)
            for r in self.inquiry.history
            if abs(math.log2(size_of(r) / at)) <= NEAR
        ]
        used = near or [(at, self.rates.rate(at))]
        return fmean(self.rates.loss(size, rate) for size, rate in used)

    def may_lose(self) -> float:
        """Octaves of the answer that the rates may cost."""
        if not (lost := self.expected_loss()) or not (at := self.inquiry.estimate):
            return 0.0
        return lost * self.inquiry.gain / self.inquiry.belief.slope(at)

    def tried(self) -> Stop:
        """Ask the design for runs until it stops."""
        inquiry, plan = self.inquiry, self.plan
        design, protocol = DESIGNS[plan.protocol.design], plan.protocol
        # A bracket and a grid decide by whole batches.
        together = protocol.design not in ADAPTIVE
        while True:
            flying = inquiry.decide(together)
            inquiry.tell()
            if len(inquiry.full) < protocol.most_baselines and wants_baseline(
                inquiry.points, inquiry.target, plan.limits
            ):
                inquiry.train_full(self.full, len(inquiry.full) + 1)
            step = design(inquiry.points, inquiry.target, plan.limits, flying)
            if not isinstance(step, Stop) and inquiry.history and time.monotonic() > self.ends:
                # A bracket that is cut short says nothing of the d that it did not try.
                step = Stop("the time for it is spent", protocol.design in ADAPTIVE)
            if isinstance(step, Stop):
                if not flying:
                    break
                together = True  # what flies may say otherwise
                continue
            together = protocol.design not in ADAPTIVE
            early = (inquiry.target.tau, inquiry.sure_base.chance, self.noise())
            for run in step.runs:
                stop = early if run.far and protocol.early else None
                rate = self.rates.rate(run.d)
                inquiry.flight.ask(
                    specs.make(plan, Purpose.SEARCH, run.d, run.repeat, rate, stop=stop)
                )
        self.note_loss()
        inquiry.say(step.reason)
        return step

    def noise(self) -> float:
        """Of one run, in units of the score, rounded so that a last bit asks for no other run."""
        if not self.inquiry.can_cross:
            return 0.0
        return float(f"{self.inquiry.belief.known.sigma * self.inquiry.gain:.2g}")

"""The conductor: baselines, rates, then the search or the sweep, then the checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

from idim import arms, rates
from idim.answers.checks import checks_of, rate_loss
from idim.answers.evidence import baseline_of, points_of, target_of, too_few
from idim.answers.summary import summarise
from idim.config import Config
from idim.errors import IdimError, expected, one_of
from idim.rates import Rates
from idim.search import pairs
from idim.search.answer import Belief
from idim.search.design import ADAPTIVE, DESIGNS, NEAR, SURE, Limits, Stop, wants_baseline
from idim.search.threshold import Baseline, Point, Target, signal
from idim.source import CATALOGUES, Source
from idim.store import Store
from idim.study import Study, Watcher
from idim.values.findings import Crossing
from idim.values.purpose import Purpose
from idim.values.question import Question
from idim.values.record import Record
from idim.values.spec import Spec
from idim.values.summary import Summary
from idim.values.training import Status
from idim.values.verdict import Verdict

#: A search whose rates may cost this many octaves of d90 tries rates at d90 anew.
_LOSES = 0.08
#: The largest D at which a witness trains all of D.
_AFFORDABLE = 10**8


def check_search(study: Study) -> None:
    arm, c = study.config.arm, study.config
    if arm not in arms.over("d"):
        raise one_of("--arm", arms.over("d"), arm)
    m, most = study.m(arm), study.D + study.m(arm)
    for d in c.grid:
        if not m < d <= most:
            raise expected(
                "--grid", f"values of d from {m + 1} to {most} ({m} scales, D = {study.D})", d
            )
    design = study.protocol.design
    if (design == "grid") != bool(c.grid):
        raise expected(
            "--grid", "values of d with --design grid, and with no other", f"--design {design}"
        )
    low, high = study.task.bounds
    if c.absolute is not None and not low <= c.absolute <= high:
        range_ = (
            "minus a loss, which is not above 0"
            if math.isinf(low)
            else f"{study.task.metric} from {low:g} to {high:g}"
        )
        raise expected("--absolute", range_, c.absolute)
    if design in ADAPTIVE and c.repeats:
        raise expected(
            "--repeats",
            f"a bracket or a grid; the design {design} draws fresh seeds for every run and chooses where to run",
            c.repeats,
        )
    if design in ADAPTIVE and study.protocol.baselines < 2:
        raise expected(
            "--baselines",
            "at least 2 for an interval: one run has no error to carry",
            study.protocol.baselines,
        )


#: Tells nobody anything.
SILENT = Watcher()


def search(config: Config, watcher: Watcher = SILENT, source: Source = CATALOGUES) -> Summary:
    """Measure d90.

    Every run is kept in ``config.out`` as it finishes.
    """
    study = Study(config, watcher, source)
    check_search(study)
    return _Search(study, Store(config.out)).measured()


class _Search:
    """One question, its store, and what is known so far."""

    def __init__(self, study: Study, store: Store):
        self.study, self.store, self.arm = study, store, study.config.arm
        # What an earlier time found out of rates is found out again, so that the same runs are asked for.
        study.ask(store, self.arm)
        study.question = replace(self.question, loss=0.0, handicaps={})
        self.limits = _limits(study, self.arm)
        self.history: list[Record] = []

    @property
    def question(self) -> Question:
        assert self.study.question is not None
        return self.study.question

    def measured(self) -> Summary:
        study = self.study
        self.full, trials = rates.full_rate(study, self.store)
        self.runs = study.baselines(self.store, self.full, study.protocol.baselines)
        if too_few(self.base, self.question):
            return self.answer(True)
        study.watch.say(
            f"full {self.base.mean:.4f}, chance {self.base.chance:.4f}: a d passes from {self.target.tau:.4f} "
            f"({study.protocol.rule} rule)"
        )
        if self.base.chance >= self.target.tau or not signal(
            self.base, self.question.n_scored, self.question.metric
        ):
            return self.answer(True)
        if study.protocol.budget_check:
            self.paired(self.twice_full, len(self.runs))
        self.use(rates.subspace_rates(study, self.store, self.arm, self.full, trials))
        stop = self.tried()
        if study.protocol.rate_check and self.may_lose() > _LOSES and self.asked():
            d = self.estimate
            before = self.rates.rate(d)
            self.use(rates.refined(study, self.store, self.arm, self.full, self.rates, d))
            study.watch.say(f"the rate at d = {d} is {self.rates.rate(d):g}, was {before:g}")
            # The runs so far lost something to their rates: the design decides whether they do.
            stop = self.tried()
        self.witnessed()
        found = self.answer(stop.finished)
        # A resumed search may know its checks already.
        if found.verdict in (Verdict.REACHED, Verdict.BUDGET_LIMITED):
            near = self.nearest()
            if study.protocol.budget_check:
                self.paired(lambda i: self.again(near[i], Purpose.CHECK, 1.0, 2.0), len(near))
            for factor in (0.5, 2.0) if study.protocol.rate_check else ():
                self.paired(lambda i, f=factor: self.again(near[i], Purpose.RATE, f), len(near))
            self.note_measured_loss()
        return self.answer(stop.finished)

    @property
    def base(self) -> Baseline | None:
        return baseline_of(self.runs, self.question.n_scored, self.question.metric)

    @property
    def target(self) -> Target:
        return target_of(self.base, self.question)

    @property
    def points(self) -> list[Point]:
        return points_of(self.history)

    @property
    def made(self) -> list[Record]:
        """All runs that were made for this question."""
        return self.question.of(self.store.all())

    @property
    def belief(self) -> Belief:
        return Belief(self.points, self.target, self.limits.smallest, self.limits.largest)

    @property
    def estimate(self) -> int | None:
        return self.belief.interval(self.target)["estimate"]

    def answer(self, finished: bool) -> Summary:
        return _answered(self.study, self.store, finished)

    def use(self, found: Rates) -> None:
        """Take these rates from here on, and note what the runs so far may have lost to theirs."""
        self.rates = found
        self.note_loss()

    def note_loss(self) -> None:
        """Keep what the rates may cost at d90, as a fraction of the gain.

        It enters the interval as an error, on one side. The scores themselves stay as they are: a
        surface of few tuning runs says that a rate is off more surely than by how much.
        """
        self.study.note(self.store, loss=round(self.expected_loss(), 5))

    def expected_loss(self) -> float:
        """What the tuning runs expect runs near d90 to lose to their rates."""
        if not self.asked() or not (d := self.estimate):
            return 0.0
        near = [
            (size, r.rate)
            for r in self.history
            if (size := r.training.d_total) and abs(math.log2(size / d)) <= NEAR
        ]
        used = near or [(d, self.rates.rate(d))]
        return fmean(self.rates.loss(size, rate) for size, rate in used)

    def note_measured_loss(self) -> None:
        """Pairs at half and at twice the rate measure what a tuning run could only suggest."""
        measured = rate_loss(self.made, self.base, self.belief, self.question)
        if measured is not None:
            self.study.note(self.store, loss=round(measured, 5))

    def tried(self) -> Stop:
        """Ask the design for runs until it stops."""
        study, design = self.study, DESIGNS[self.study.protocol.design]
        while True:
            if len(self.runs) < study.protocol.most_baselines and wants_baseline(
                self.points, self.target, self.limits
            ):
                self.runs += study.baselines(
                    self.store, self.full, len(self.runs) + 1, len(self.runs)
                )
            step = design(self.points, self.target, self.limits)
            if isinstance(step, Stop):
                break
            early = (self.target.tau, self.base.chance, self.noise())
            specs = [
                study.spec(
                    Purpose.SEARCH,
                    self.arm,
                    run.d,
                    run.repeat,
                    self.rates.rate(run.d),
                    stop=early if run.far and study.protocol.early else None,
                )
                for run in step.runs
            ]
            self.history += study.execute(self.store, specs, study.curve(self.arm))
        self.note_loss()
        study.watch.say(step.reason)
        return step

    def noise(self) -> float:
        """Of one run, in units of the score, rounded so that a last bit asks for no other run."""
        gain = self.base.mean - self.base.chance
        return float(f"{self.belief.known.sigma * gain:.2g}") if self.asked() else 0.0

    def asked(self) -> bool:
        """Whether the curve can be asked where it crosses tau."""
        return bool(self.history) and self.base.chance < self.target.tau

    def may_lose(self) -> float:
        """Octaves of d90 that the rates may cost."""
        if not (lost := self.expected_loss()):
            return 0.0
        return lost * (self.base.mean - self.base.chance) / self.belief.slope(self.estimate)

    def witnessed(self) -> None:
        """Where no d passes for sure: does the whole space train, at the rate that the law gives it?"""
        study, largest = self.study, self.limits.largest
        if (
            not (study.protocol.witness and self.asked())
            or study.D > _AFFORDABLE
            or self.belief.reached >= SURE
        ):
            return
        there = sum(
            r.training.d_total == largest and r.status != Status.STOPPED for r in self.history
        )
        specs = [
            study.spec(Purpose.WITNESS, self.arm, largest, i, self.rates.rate(largest))
            for i in range(2 - there)
        ]
        study.execute(self.store, specs, study.curve(self.arm))

    # Checks by pairs: the same run with one change.

    def twice_full(self, i: int) -> Spec:
        return self.study.spec(
            Purpose.CHECK, arms.FULL, 0, i, self.full, budget=2.0, drawn=Purpose.BASELINE
        )

    def nearest(self) -> list[Record]:
        """The whole runs nearest to d90."""
        d = self.estimate
        whole = [r for r in self.history if r.status != Status.STOPPED]
        return sorted(whole, key=lambda r: (abs(math.log2(r.training.d_total / d)), r.key))[
            : pairs.MOST
        ]

    def again(self, record: Record, kind: Purpose, factor: float, budget: float = 1.0) -> Spec:
        """The specification of a run that is like this one but for its rate or its budget."""
        d, used = record.training.d_total, record.rate
        for repeat in range(sum(r.training.d_total == d for r in self.history)):
            spec = self.study.spec(
                kind,
                self.arm,
                d,
                repeat,
                float(f"{factor * used:.3g}"),
                budget=budget,
                drawn=Purpose.SEARCH,
            )
            if spec.seeds == record.spec.seeds:
                return spec
        raise AssertionError("a run of this search has none of its seeds")

    def paired(self, spec: Callable[[int], Spec], most: int) -> None:
        """Add pairs, two and then one at a time, while they do not tell whether the change matters."""
        n, most = min(pairs.FIRST, most), min(pairs.MOST, most)
        done = 0
        while done < n:
            specs = [spec(i) for i in range(done, n)]
            self.study.execute(self.store, specs, self.study.curve(specs[0].arm))
            done = n
            if n < most and pairs.UNLIKELY < self.odds(specs[0]) < pairs.SURE:
                n += 1

    def odds(self, spec: Spec) -> float:
        """How likely the check that this run belongs to thinks it that the change matters."""
        belief = self.belief if self.asked() else None
        found = Crossing(**belief.interval(self.target)) if belief else None
        checks = checks_of(self.made, self.base, self.target, belief, found, self.question)
        if spec.arm == arms.FULL:
            return checks.converged.probability if checks.converged else 0.0
        if spec.kind == Purpose.CHECK:
            return checks.budget.probability if checks.budget else 0.0
        return max((v.probability for v in (checks.rate or {}).values()), default=0.0)


def sweep(config: Config, watcher: Watcher = SILENT, source: Source = CATALOGUES) -> Summary:
    """Score against LoRA rank, under the same budget and evaluation rule as a search."""
    study, arm = Study(config, watcher, source), config.arm
    if arm not in arms.over("r"):
        raise one_of("--arm", arms.over("r"), arm)
    ranks = sorted(config.ranks or (1, 2, 4, 8, 16))
    _probe(study, arm, max(ranks))
    store = Store(config.out)
    study.ask(store, arm, tuned=study.protocol.tune and not study.given_rate(arm))
    full, trials = rates.full_rate(study, store)
    study.baselines(store, full, study.protocol.baselines)
    # One rate does not fit all ranks: what is best at 4 can be far too high at 16.
    rate = rates.rank_rates(study, store, arm, full, trials, ranks).rate
    specs = [
        study.spec(Purpose.SWEEP, arm, r, i, rate(r))
        for r in ranks
        for i in range(study.protocol.repeats)
    ]
    study.execute(store, specs, study.curve(arm))
    return _answered(study, store, True)


def train_one(config: Config, watcher: Watcher = SILENT) -> Record:
    """One run of one arm: its record."""
    study = Study(config, watcher)
    arm = config.arm
    found = arms.ARMS[arm]
    size: int = getattr(config, found.size.name) if found.size else 0
    _probe(study, arm, size)
    low, high = found.limits(study.facts)
    if found.size and not low <= size <= high:
        raise expected(
            f"--{found.size.name}",
            f"a number from {low} to {high} ({study.m(arm)} scales, D = {study.D})",
            size,
        )
    if config.save and not study.source.is_pretrained(config.model):
        raise expected(
            "--save", "a transformers model, whose start can be loaded again", config.model
        )
    store = Store(config.out)
    rate = study.given_rate(arm) or study.law(arm)(size)
    return study.execute(
        store, [study.spec(Purpose.SINGLE, arm, size, 0, rate)], study.curve(arm), config.save
    )[0]


def _answered(study: Study, store: Store, finished: bool) -> Summary:
    """Note how the question ends, and answer it from its records."""
    assert study.question is not None
    try:
        study.note(store, finished=finished)
    except IdimError as error:  # a full disk: the answer is known all the same
        study.watch.say(f"warning: the question was not kept; {error}")
    return summarise(store.all(), study.question)


def _limits(study: Study, arm: str) -> Limits:
    m, D, c, p = study.m(arm), study.D, study.config, study.protocol
    # A quarter of sqrt(D), the order of published values, as a power of two.
    start = 2 ** max(1, round(math.log2(math.sqrt(D) / 4)))
    smallest = m + 1
    return Limits(
        smallest,
        D + m,
        max(start, smallest),
        p.repeats,
        p.ratio,
        c.max_runs,
        c.workers,
        tuple(sorted(c.grid)),
    )


def _probe(study: Study, arm: str, size: int) -> None:
    """Find out before training whether the arm can carry the model."""
    found = arms.ARMS[arm]
    if not found.carries_all:
        loaded = study.source.load(study.config.model, study.task, 0)
        found.adapt(loaded.module, study.settings(arm, size), 0).close()
